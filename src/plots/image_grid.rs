//! `sample_predictions.png` and `worst_errors.png`: images and what the model took them for.

use plotters::style::RGBColor;

use super::canvas::{Align, Area, Canvas, Font};
use super::style::{
    BELOW_HEADING, BODY, GREY, INK, MARGIN, RIGHT, SMALL, WRONG, count, counted, heading, percent,
};
use crate::data::Images;
use crate::metrics::Predictions;

/// A full grid has so many images a side.
const GRID: usize = 5;
/// The room of one image and the text below it.
const PITCH: f64 = 336.0;
/// The most pixels of the picture for an image's longer side.
const LARGEST_IMAGE: usize = 280;
const FRAME: f64 = 8.0;
/// From an image's frame to the next row: two lines of text, and distance.
const TEXT: f64 = 132.0;
/// The width that titles need.
const LEAST_WIDTH: f64 = 1200.0;

/// Draws 25 test images, evenly spaced through the data set, with the answers to them: framed
/// in green where they are right, in red with the true class where they are wrong.
///
/// # Panics
/// Panics if there are not as many predictions as images, or if a class has no name.
#[must_use]
#[track_caller]
pub fn sample_predictions(
    images: &Images,
    predictions: &Predictions,
    classes: &[String],
) -> Vec<u8> {
    let all = predictions.truth.len();
    let shown = all.min(GRID * GRID);
    let chosen: Vec<usize> = (0..shown).map(|place| place * all / shown).collect();
    let right = chosen.iter().filter(|&&image| is_right(predictions, image)).count();
    let line = if shown < all {
        let part = counted(shown, "image");
        format!("{right} of {part} right; evenly spaced through the {} test images", count(all))
    } else {
        format!("{right} of {} right", counted(all, "test image"))
    };
    let grid = ImageGrid { images, predictions, classes };
    grid.draw("Sample predictions", &line, &chosen)
}

/// Draws the 25 wrong answers of which the model was most certain, the most certain first.
///
/// # Panics
/// Panics if there are not as many predictions as images, or if a class has no name.
#[must_use]
#[track_caller]
pub fn worst_errors(images: &Images, predictions: &Predictions, classes: &[String]) -> Vec<u8> {
    let all = predictions.truth.len();
    let mut errors: Vec<usize> = (0..all).filter(|&image| !is_right(predictions, image)).collect();
    // The sort keeps equals in the order of the data set.
    errors.sort_by(|&a, &b| predictions.confidence[b].total_cmp(&predictions.confidence[a]));
    let wrong = errors.len();
    errors.truncate(GRID * GRID);
    let line = if wrong == 0 {
        format!("There are none among {}", counted(all, "test image"))
    } else {
        format!(
            "The {} most confident of {}, among {} ({} wrong)",
            errors.len(),
            counted(wrong, "error"),
            counted(all, "test image"),
            percent(wrong as f64 / all as f64, 2)
        )
    };
    ImageGrid { images, predictions, classes }.draw("Worst errors", &line, &errors)
}

fn is_right(predictions: &Predictions, image: usize) -> bool {
    predictions.truth[image] == predictions.predicted[image]
}

struct ImageGrid<'a> {
    images: &'a Images,
    predictions: &'a Predictions,
    classes: &'a [String],
}

impl ImageGrid<'_> {
    fn draw(&self, title: &str, line: &str, chosen: &[usize]) -> Vec<u8> {
        let images = self.images;
        assert_eq!(images.count, self.predictions.truth.len(), "images and answers differ");
        // Rows of equal length, or nearly so.
        let rows = chosen.len().div_ceil(GRID);
        let columns = chosen.len().div_ceil(rows.max(1));
        let zoom = (LARGEST_IMAGE / images.rows.max(images.columns)).max(1) as f64;
        let size = (images.columns as f64 * zoom, images.rows as f64 * zoom);
        let width = (columns as f64 * PITCH + 2.0 * MARGIN).max(LEAST_WIDTH);
        let row_height = size.1 + 2.0 * FRAME + TEXT;
        let height = BELOW_HEADING + rows as f64 * row_height + 10.0;
        let mut canvas = Canvas::new(width as usize, height as usize);
        heading(&mut canvas, width, title, line);
        for (row, indices) in chosen.chunks(columns.max(1)).enumerate() {
            // A row that is not full lies in the middle.
            let left = (width - indices.len() as f64 * PITCH) / 2.0;
            for (column, &index) in indices.iter().enumerate() {
                let middle = left + (column as f64 + 0.5) * PITCH;
                let top = BELOW_HEADING + FRAME + row as f64 * row_height;
                let area = Area::new((middle - size.0 / 2.0).round(), top, size.0, size.1);
                self.draw_image(&mut canvas, area, zoom, index);
                self.draw_answer(&mut canvas, middle, area.bottom + FRAME, index);
            }
        }
        canvas.into_png()
    }

    fn draw_image(&self, canvas: &mut Canvas, area: Area, zoom: f64, index: usize) {
        canvas.frame(area.grown(FRAME), FRAME, self.color(index));
        let pixels = self.images.image(index).iter().enumerate();
        for (place, &grey) in pixels {
            let (row, column) = (place / self.images.columns, place % self.images.columns);
            let (x, y) = (area.left + column as f64 * zoom, area.top + row as f64 * zoom);
            canvas.fill(Area::new(x, y, zoom, zoom), RGBColor(grey, grey, grey));
        }
    }

    /// A mark, the predicted class and its confidence; below, the true class if it is another,
    /// and the image's place in the data set.
    fn draw_answer(&self, canvas: &mut Canvas, middle: f64, top: f64, index: usize) {
        const MARK: f64 = 34.0;
        const ROOM: f64 = PITCH - 20.0;
        let right = is_right(self.predictions, index);
        let name = |class: u8| self.classes[usize::from(class)].as_str();
        let (name_font, number_font) = (BODY.colored(self.color(index)).bold(), BODY);
        let confidence = percent(f64::from(self.predictions.confidence[index]), 1);
        let after_name = 10.0 + number_font.width(&confidence);
        let predicted = name(self.predictions.predicted[index]);
        let predicted = name_font.fit(predicted, ROOM - MARK - after_name);
        let name_width = name_font.width(&predicted);

        let mut x = middle - (MARK + name_width + after_name) / 2.0;
        let y = top + 32.0;
        draw_mark(canvas, x, y, right);
        x += MARK;
        canvas.text(x, y, &predicted, name_font, Align::Start);
        x += name_width + after_name;
        canvas.text(x, y, &confidence, number_font, Align::End);

        let place = format!("image {}", count(index));
        let y = y + 38.0;
        if right {
            canvas.text(middle, y, &place, SMALL, Align::Middle);
            return;
        }
        let true_font = Font::new(26.0, INK);
        let place = format!(" · {place}");
        let place_width = SMALL.width(&place);
        let truth = format!("is {}", name(self.predictions.truth[index]));
        let truth = true_font.fit(&truth, ROOM - place_width);
        let x = middle - (true_font.width(&truth) + place_width) / 2.0;
        canvas.text(x, y, &truth, true_font, Align::Start);
        let x = x + true_font.width(&truth);
        canvas.text(x, y, &place, SMALL.colored(GREY), Align::Start);
    }

    fn color(&self, index: usize) -> RGBColor {
        if is_right(self.predictions, index) { RIGHT } else { WRONG }
    }
}

/// A tick or a cross, for those who do not see its colour; `x` is its left edge.
fn draw_mark(canvas: &mut Canvas, x: f64, y: f64, right: bool) {
    let (x, width) = (x + 3.0, 4.5);
    if right {
        canvas.line(&[(x, y + 1.0), (x + 7.0, y + 9.0), (x + 20.0, y - 9.0)], width, RIGHT);
    } else {
        canvas.line(&[(x, y - 9.0), (x + 18.0, y + 9.0)], width, WRONG);
        canvas.line(&[(x, y + 9.0), (x + 18.0, y - 9.0)], width, WRONG);
    }
}
