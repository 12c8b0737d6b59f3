//! The pictures of a run folder, measured: their pixels are read back and compared with what
//! they should show.

use image::RgbImage;
use proptest::prelude::*;
use toile::data::Images;
use toile::metrics::{Calibration, Evaluation, Predictions};
use toile::plots::{
    Figures, Marks, class_distribution, confusion_matrix, confusion_matrix_normalized, reliability,
    sample_predictions, training_curves, worst_errors,
};
use toile::progress::StopReason;
use toile::run_folder::HistoryRow;

/// No picture has anything so close to its edge, in pixels.
const BORDER: u32 = 20;
const MARKS: Marks =
    Marks { best_epoch: Some(2), stop: StopReason::EarlyStopping, falls_on_plateaus: true };

fn decode(png: &[u8]) -> RgbImage {
    image::load_from_memory_with_format(png, image::ImageFormat::Png).unwrap().into_rgb8()
}

fn names(classes: usize) -> Vec<String> {
    (0..classes).map(|class| format!("class {class}")).collect()
}

fn images(count: usize, rows: usize, columns: usize) -> Images {
    let pixels = (0..count * rows * columns).map(|place| (place % 251) as u8).collect();
    Images { count, rows, columns, pixels }
}

/// Answers to as many images as there are pairs of true and predicted class; the confidence
/// falls from each to the next.
fn predictions(pairs: &[(u8, u8)]) -> Predictions {
    Predictions {
        truth: pairs.iter().map(|pair| pair.0).collect(),
        predicted: pairs.iter().map(|pair| pair.1).collect(),
        confidence: (0..pairs.len()).map(|place| 1.0 / (1.0 + place as f32)).collect(),
    }
}

fn evaluation(predictions: &Predictions, names: &[String]) -> Evaluation {
    let losses = vec![0.5; predictions.truth.len()];
    Evaluation::new(predictions, &losses, names, 1000, String::new())
}

/// Rows with the given losses and learning rates.
fn history(epochs: &[(f64, f64)]) -> Vec<HistoryRow> {
    let row = |(place, &(loss, learning_rate)): (usize, &(f64, f64))| HistoryRow {
        epoch: place as u64 + 1,
        loss,
        accuracy: 0.5,
        val_loss: 2.0,
        val_accuracy: 0.7,
        learning_rate,
        seconds: 1.0,
        images_per_second: 1.0,
    };
    epochs.iter().enumerate().map(row).collect()
}

fn is_red(pixel: [u8; 3]) -> bool {
    pixel[0] > 150 && pixel[1] < 80 && pixel[2] < 80
}

fn is_green(pixel: [u8; 3]) -> bool {
    pixel[1] > 100 && pixel[0] < 80 && pixel[2] < 120
}

fn is_blue(pixel: [u8; 3]) -> bool {
    pixel[2] > 120 && pixel[0] < 60
}

fn is_orange(pixel: [u8; 3]) -> bool {
    pixel[0] > 180 && (60..140).contains(&pixel[1]) && pixel[2] < 60
}

/// Stretches of equal pixels in one line, as `(start, length, pixel)`.
fn runs(picture: &RgbImage, y: u32) -> Vec<(u32, u32, [u8; 3])> {
    let mut runs: Vec<(u32, u32, [u8; 3])> = Vec::new();
    for x in 0..picture.width() {
        let pixel = picture.get_pixel(x, y).0;
        match runs.last_mut() {
            Some((_, length, last)) if *last == pixel => *length += 1,
            _ => runs.push((x, 1, pixel)),
        }
    }
    runs
}

/// The frames around images of `size` pixels, in reading order: whether each is green (right).
fn frames(picture: &RgbImage, size: u32) -> Vec<bool> {
    let is_edge = |length: u32| (size..size + 20).contains(&length);
    let edges = |y: u32| {
        let runs = runs(picture, y).into_iter();
        runs.filter(|&(_, length, pixel)| is_edge(length) && (is_red(pixel) || is_green(pixel)))
            .map(|(_, _, pixel)| is_green(pixel))
            .collect::<Vec<bool>>()
    };
    let lines: Vec<_> = (0..picture.height()).map(edges).collect();
    // A frame begins where the line above has none, and its lower edge ends it.
    let starts = (1..lines.len()).filter(|&y| !lines[y].is_empty() && lines[y - 1].is_empty());
    starts.step_by(2).flat_map(|y| lines[y].clone()).collect()
}

#[test]
fn a_run_has_its_seven_pictures_and_the_same_bytes_each_time() {
    let predictions = predictions(&[(0, 0), (1, 2), (2, 2), (1, 1)]);
    let evaluation = evaluation(&predictions, &names(3));
    let history = history(&[(3.0, 0.1), (1.0, 0.1), (0.9, 0.01)]);
    let figures = Figures {
        history: &history,
        marks: MARKS,
        evaluation: &evaluation,
        predictions: &predictions,
        test_images: &images(4, 28, 28),
        training_labels: &[0, 1, 2, 2],
        validation_labels: &[0, 0],
    };
    let drawn = figures.draw();
    let expected = [
        "training_curves.png",
        "confusion_matrix.png",
        "confusion_matrix_normalized.png",
        "reliability.png",
        "sample_predictions.png",
        "worst_errors.png",
        "class_distribution.png",
    ];
    assert_eq!(drawn.each_ref().map(|(name, _)| *name), expected);
    assert!(drawn == figures.draw(), "the same figures gave other bytes");
    for (name, png) in &drawn {
        let width = decode(png).width();
        assert!((1200..=2000).contains(&width), "{name} is {width} pixels wide");
    }
    // The pictures are those of the single functions, with these counts.
    let expected = class_distribution(&names(3), &[1, 1, 2], &[2, 0, 0], &[1, 2, 1]);
    assert!(drawn[6].1 == expected, "other counts were drawn");
}

#[test]
fn right_answers_have_green_frames_and_wrong_ones_red() {
    // 50 images of which every second is shown; of those every third is wrong.
    let is_wrong = |image: usize| image.is_multiple_of(6);
    let pairs: Vec<_> = (0..50).map(|image| (0, u8::from(is_wrong(image)))).collect();
    let png = sample_predictions(&images(50, 28, 28), &predictions(&pairs), &names(2));
    let expected: Vec<bool> = (0..25).map(|place| !is_wrong(2 * place)).collect();
    assert_eq!(frames(&decode(&png), 280), expected);
}

#[test]
fn the_worst_errors_are_the_most_confident_ones() {
    // Each image has a brightness of its own, so the picture tells which one is where.
    let mut shown = images(8, 28, 28);
    for (image, pixels) in shown.pixels.chunks_exact_mut(28 * 28).enumerate() {
        pixels.fill(100 + 10 * image as u8);
    }
    let mut answers =
        predictions(&[(0, 1), (0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (0, 0)]);
    answers.confidence = vec![0.6, 1.0, 0.9, 1.0, 0.7, 1.0, 0.9, 1.0];
    let picture = decode(&worst_errors(&shown, &answers, &names(2)));
    assert_eq!(frames(&picture, 280), [false; 4]);
    let image_line = (0..picture.height()).map(|y| runs(&picture, y)).find_map(|runs| {
        let grey = |&&(_, length, pixel): &&(u32, u32, [u8; 3])| {
            length == 280 && pixel[0] == pixel[1] && pixel[0] < 255
        };
        let images: Vec<u8> = runs.iter().filter(grey).map(|(_, _, pixel)| pixel[0]).collect();
        (!images.is_empty()).then_some(images)
    });
    // By confidence, equals by their place: images 2, 6, 4 and 0.
    assert_eq!(image_line.unwrap(), [120, 160, 140, 100]);
}

#[test]
fn a_model_without_errors_has_a_picture_without_images() {
    let png = worst_errors(&images(3, 28, 28), &predictions(&[(0, 0); 3]), &names(1));
    let picture = decode(&png);
    assert!(frames(&picture, 280).is_empty());
    assert!(picture.height() < 300, "{} pixels high", picture.height());
}

/// More images are a darker cell; with 30 classes cells have no numbers and are flat.
#[test]
fn cells_darken_with_their_count() {
    let counted = |class: u8| std::iter::repeat_n((0, class), usize::from(class).pow(2));
    let pairs: Vec<_> = (0..30).flat_map(counted).collect();
    let evaluation = evaluation(&predictions(&pairs), &names(30));
    for png in [confusion_matrix(&evaluation), confusion_matrix_normalized(&evaluation)] {
        let picture = decode(&png);
        let row = (0..picture.height()).find_map(|y| {
            let cells = runs(&picture, y).into_iter().filter(|run| (36..40).contains(&run.1));
            let cells: Vec<_> = cells.map(|(_, _, pixel)| pixel).collect();
            (cells.len() == 30).then_some(cells)
        });
        let brightness: Vec<u32> = row
            .unwrap()
            .iter()
            .map(|pixel| pixel.iter().map(|&part| u32::from(part)).sum())
            .collect();
        assert!(brightness.is_sorted_by(|a, b| a > b), "{brightness:?}");
    }
}

#[test]
fn bars_are_as_long_as_their_counts() {
    let counts = [4000, 1000, 3000, 2000, 0];
    let picture = decode(&class_distribution(&names(5), &counts, &[7; 5], &[0; 5]));
    let bar = |y| runs(&picture, y).into_iter().find(|run| is_blue(run.2) && run.1 > 40);
    let lines: Vec<_> = (0..picture.height()).map(bar).collect();
    let starts = (1..lines.len()).filter(|&y| lines[y].is_some() && lines[y - 1].is_none());
    let lengths: Vec<u32> = starts.map(|y| lines[y].unwrap().1).collect();
    assert_eq!(lengths.len(), 4, "{lengths:?}");
    for (length, count) in lengths.iter().zip(counts) {
        let expected = f64::from(lengths[0]) * count as f64 / 4000.0;
        assert!((f64::from(*length) - expected).abs() <= 1.0, "{lengths:?}");
    }
}

fn is_pale_red(pixel: [u8; 3]) -> bool {
    pixel == [246, 205, 205]
}

fn is_pale_green(pixel: [u8; 3]) -> bool {
    pixel == [126, 200, 176]
}

/// Four bins of known accuracy, confidence and size, measured beside the middle of their columns.
#[test]
fn reliability_bars_are_as_high_as_their_numbers() {
    let bins = [(2, 1.0, 10), (5, 0.8, 20), (8, 0.9, 30), (11, 0.2, 40)];
    let confidence = |bin: u32| (f64::from(bin) + 0.5) / 15.0;
    let mut answers = predictions(&[]);
    for (bin, accuracy, images) in bins {
        let hits = (accuracy * f64::from(images)).round() as i32;
        answers.truth.extend((0..images).map(|image| u8::from(image >= hits)));
        answers.predicted.extend((0..images).map(|_| 0));
        answers.confidence.extend((0..images).map(|_| confidence(bin) as f32));
    }
    let picture = decode(&reliability(&Calibration::of(&answers)));
    for (bin, accuracy, images) in bins {
        let x = (190.0 + (f64::from(bin) + 0.25) * 1210.0 / 15.0) as u32;
        let column: Vec<_> = (0..picture.height()).map(|y| picture.get_pixel(x, y).0).collect();
        let first = |is: fn([u8; 3]) -> bool| column.iter().position(|&p| is(p)).unwrap() as f64;
        // Full green ends at the lower of accuracy and confidence, the gap at the higher; it is
        // green as well where answers are right more often than the model says.
        let gap = if accuracy > confidence(bin) { is_pale_green } else { is_pale_red };
        let (green, pale) = (first(is_green), first(gap));
        for (found, fraction) in
            [(green, accuracy.min(confidence(bin))), (pale, accuracy.max(confidence(bin)))]
        {
            let expected = 1010.0 - 790.0 * fraction;
            assert!((found - expected).abs() <= 3.0, "bin {bin}: {found}, expected {expected}");
        }
        let counts = column[1090..].iter();
        let grey = counts.filter(|&&pixel| pixel == [95, 103, 112]).count();
        let whole = 240.0 - 1.6 * 24.0;
        let expected = whole * f64::from(images) / 40.0;
        assert!((grey as f64 - expected).abs() <= 4.0, "bin {bin}: {grey}, expected {expected}");
    }
}

/// The columns in which so much is orange that a vertical line must be there.
fn orange_lines(picture: &RgbImage) -> Vec<u32> {
    let orange =
        |x: u32| (0..picture.height()).filter(|&y| is_orange(picture.get_pixel(x, y).0)).count();
    (0..picture.width()).filter(|&x| orange(x) > 300).collect()
}

#[test]
fn the_best_epoch_has_a_line_at_its_place() {
    let rows = history(&[(3.0, 0.1), (2.0, 0.1), (1.5, 0.1), (1.2, 0.1), (1.0, 0.1)]);
    let draw = |best_epoch| {
        let marks = Marks { best_epoch, stop: StopReason::EpochLimit, ..MARKS };
        orange_lines(&decode(&training_curves(&rows, &marks)))
    };
    assert_eq!(draw(None), [0; 0]);
    assert_eq!(draw(Some(9)), [0; 0], "an epoch without a row cannot be marked");
    let lines = [1, 2, 3].map(|epoch| draw(Some(epoch))[0]);
    assert_eq!(lines[1] - lines[0], lines[2] - lines[1], "{lines:?}");
    assert!(lines[0] < lines[1]);
}

/// The training curve's height in a column: the least y of its blue.
fn curve(picture: &RgbImage, x: u32) -> u32 {
    (200..1000).find(|&y| is_blue(picture.get_pixel(x, y).0)).unwrap()
}

#[test]
fn equal_ratios_of_widely_spread_losses_are_equal_steps() {
    let rows = history(&[(1e4, 0.1), (1e3, 0.1), (1e2, 0.1), (1e1, 0.1), (1e0, 0.1)]);
    let picture = decode(&training_curves(&rows, &MARKS));
    // On a logarithmic scale this history is a straight line; on a linear one it is a cliff.
    let heights = [400, 600, 800, 1000, 1200].map(|x| f64::from(curve(&picture, x)));
    let steps: Vec<f64> = heights.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| (step - steps[0]).abs() <= 2.0 && *step > 20.0), "{steps:?}");
}

#[test]
fn a_lower_learning_rate_is_marked() {
    let grey = |rate: f64, falls_on_plateaus: bool| {
        let rows = history(&[(3.0, 0.1), (2.0, 0.1), (1.5, rate), (1.2, rate)]);
        let picture = decode(&training_curves(
            &rows,
            &Marks { best_epoch: None, falls_on_plateaus, ..MARKS },
        ));
        let dashes = |x: u32| {
            let column = (300..1150).map(|y| picture.get_pixel(x, y).0);
            column.filter(|&pixel| pixel == [173, 181, 189]).count() > 300
        };
        // Between the axis at the left and the end.
        (250..1400).filter(|&x| dashes(x)).count()
    };
    assert_eq!(grey(0.1, true), 0);
    assert_eq!(grey(0.2, true), 0, "a rate that rises is no drop");
    assert_eq!(grey(0.02, true), 2, "one line, two pixels wide");
    assert_eq!(grey(0.02, false), 0, "a schedule's way");
}

fn assert_margins_are_empty(what: &str, png: &[u8]) {
    let picture = decode(png);
    let (width, height) = picture.dimensions();
    for (x, y, pixel) in picture.enumerate_pixels() {
        let inside =
            (BORDER..width - BORDER).contains(&x) && (BORDER..height - BORDER).contains(&y);
        assert!(inside || pixel.0 == [255; 3], "{what}: something at {x}, {y}");
    }
}

/// Losses of every size, also such as no trainer should ever report.
fn any_loss() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..10.0f64, 0.0..f64::MAX, Just(0.0), Just(f64::MIN_POSITIVE), any::<f64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_history_stays_inside_its_picture(
        epochs in prop::collection::vec((any_loss(), 1e-12..1.0f64), 0..300),
        best in prop::option::of(0..300u64),
        first in prop_oneof![Just(0), any::<u32>()],
    ) {
        let mut rows = history(&epochs);
        for row in &mut rows {
            row.epoch += u64::from(first);
        }
        let marks = Marks { best_epoch: best, stop: StopReason::Terminated, ..MARKS };
        assert_margins_are_empty("training_curves", &training_curves(&rows, &marks));
    }

    #[test]
    fn every_data_set_stays_inside_its_pictures(
        names in prop::collection::vec("\\PC{0,40}|.{0,400}", 1..=256),
        answers in prop::collection::vec((any::<u8>(), any::<u8>(), any::<f32>()), 1..60),
        rows in 24..=128usize,
        columns in 24..=128usize,
    ) {
        let class = |number: u8| (usize::from(number) % names.len()) as u8;
        let predictions = Predictions {
            truth: answers.iter().map(|answer| class(answer.0)).collect(),
            predicted: answers.iter().map(|answer| class(answer.1)).collect(),
            confidence: answers.iter().map(|answer| answer.2.abs().min(1.0)).collect(),
        };
        let evaluation = evaluation(&predictions, &names);
        let images = images(answers.len(), rows, columns);
        let labels: Vec<u8> = predictions.truth.repeat(1000);
        let figures = Figures {
            history: &[],
            marks: MARKS,
            evaluation: &evaluation,
            predictions: &predictions,
            test_images: &images,
            training_labels: &labels,
            validation_labels: &[],
        };
        for (name, png) in figures.draw() {
            assert_margins_are_empty(name, &png);
        }
    }
}
