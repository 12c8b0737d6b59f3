//! What a model's answers are worth: from probabilities to the numbers that people compare.
//!
//! Everything is computed once, here, in f64 and in index order, so that the program's report,
//! its JSON and its pictures cannot disagree. Definitions are scikit-learn's; a ratio whose
//! denominator is zero is 0.

mod calibration;
mod comparison;
mod interval;
mod report;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use interval::wilson;

pub use calibration::{Calibration, CalibrationBin};
pub use comparison::{Comparison, Other, PairedCounts};
pub use report::ClassificationReport;

/// How many pairs of classes [`Evaluation::most_confused`] lists at most.
const MOST_CONFUSED: usize = 5;

/// A model's answer to each image of a data set, in the order of the data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The label of each image.
    pub truth: Vec<u8>,
    /// The most probable class of each image; of equals, the first.
    pub predicted: Vec<u8>,
    /// The probability of the predicted class, 0 to 1.
    pub confidence: Vec<f32>,
}

impl Predictions {
    /// Takes the labels, `[images]`, and the class probabilities, row-major `[images, classes]`.
    ///
    /// # Panics
    /// Panics unless `probabilities` holds 1 to 256 numbers for each label.
    #[must_use]
    #[track_caller]
    pub fn new(truth: &[u8], probabilities: &[f32], classes: usize) -> Self {
        check_sizes(truth, probabilities.len(), classes);
        let (predicted, confidence) =
            probabilities.chunks_exact(classes).map(most_probable).unzip();
        Self { truth: truth.to_vec(), predicted, confidence }
    }

    /// Like [`Predictions::new`] of means of several answers, which have more digits: these
    /// decide, and the confidence is rounded afterwards.
    ///
    /// # Panics
    /// Panics unless `probabilities` holds 1 to 256 numbers for each label.
    #[must_use]
    #[track_caller]
    pub fn of_means(truth: &[u8], probabilities: &[f64], classes: usize) -> Self {
        check_sizes(truth, probabilities.len(), classes);
        let rows = probabilities.chunks_exact(classes).map(most_probable);
        let (predicted, confidence) =
            rows.map(|(class, probability)| (class, probability as f32)).unzip();
        Self { truth: truth.to_vec(), predicted, confidence }
    }

    /// The file `predictions.csv`: `index,true,predicted,confidence`, classes as numbers.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::from("index,true,predicted,confidence\n");
        for (index, truth) in self.truth.iter().enumerate() {
            let (predicted, confidence) = (self.predicted[index], self.confidence[index]);
            writeln!(text, "{index},{truth},{predicted},{confidence}")
                .expect("a String takes any text");
        }
        text
    }
}

#[track_caller]
fn check_sizes(truth: &[u8], probabilities: usize, classes: usize) {
    assert!((1..=256).contains(&classes), "Predictions: 1 to 256 classes, not {classes}");
    assert_eq!(
        probabilities,
        truth.len() * classes,
        "Predictions: {} labels of {classes} classes need as many probabilities",
        truth.len()
    );
}

/// The first maximum and its class. Ties go to the lower class, as NumPy's argmax has it.
fn most_probable<P: Copy + PartialOrd>(row: &[P]) -> (u8, P) {
    let mut best = 0;
    for (class, probability) in row.iter().enumerate() {
        if *probability > row[best] {
            best = class;
        }
    }
    (u8::try_from(best).expect("at most 256 classes"), row[best])
}

/// One class of an [`Evaluation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// The class's name.
    pub name: String,
    /// The fraction of the class's images that were recognised; the same number as `recall`.
    pub accuracy: f64,
    /// The fraction of this class among the images that were taken for it.
    pub precision: f64,
    /// The fraction of the class's images that were recognised.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// The number of images of this class.
    pub support: usize,
}

/// Two classes of which images of one are taken for the other, in that direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusedPair {
    /// The name of the images' class.
    #[serde(rename = "true")]
    pub truth: String,
    /// The name of the class that they are taken for.
    pub predicted: String,
    /// How many they are.
    pub images: usize,
}

/// One of the models that an [`Evaluation`] is of, by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluatedModel {
    /// How it was called where it stands beside others. One model alone has no name here: its
    /// result is the same wherever its run lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The fraction of images recognised, 0 to 1.
    pub accuracy: f64,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// SHA-256 of all its tensors in the order of the file, as little-endian f32, in hexadecimal.
    pub weights_sha256: String,
}

/// The result of one model, or of several whose probabilities are averaged, on one data set;
/// serialises to the content of `evaluation.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The fraction of images recognised, 0 to 1.
    pub accuracy: f64,
    /// The 95 % Wilson score interval of the accuracy, from low to high: what another sample of
    /// as many images could have shown.
    pub accuracy_interval: [f64; 2],
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// The number of images.
    pub images: usize,
    /// The expected calibration error, 0 to 1: [`Calibration::error`].
    pub calibration_error: f64,
    /// The classes' names, by class number.
    pub classes: Vec<String>,
    /// Each class by itself, by class number.
    pub per_class: Vec<ClassMetrics>,
    /// How many images of the row's class were taken for the column's.
    pub confusion: Vec<Vec<usize>>,
    /// The most frequent mistakes, most frequent first, at most five; equals in the order of the
    /// class numbers, that of the true class first.
    pub most_confused: Vec<ConfusedPair>,
    /// How many numbers the models store in all, running statistics included.
    pub parameters: usize,
    /// Of one model, SHA-256 of all tensors in the order of the file, as little-endian f32, in
    /// hexadecimal; of several, SHA-256 of these texts, one after the other.
    pub weights_sha256: String,
    /// The models, in the order in which they were given.
    pub models: Vec<EvaluatedModel>,
    /// Whether each answer is the mean of those to an image and to its mirror image.
    pub tta: bool,
    /// How others answered the same images, if that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

impl Evaluation {
    /// Sums up one model's predictions and the loss of each image, `[images]`, in nats.
    ///
    /// # Panics
    /// Panics if there is no image, if the counts differ, or if a class number has no name.
    #[must_use]
    #[track_caller]
    pub fn new(
        predictions: &Predictions,
        losses: &[f32],
        classes: &[String],
        parameters: usize,
        weights_sha256: String,
    ) -> Self {
        let images = predictions.truth.len();
        assert!(images > 0, "Evaluation: no images");
        assert_eq!(images, losses.len(), "Evaluation: images and losses differ in number");
        let confusion = confusion(predictions, classes.len());
        let per_class: Vec<ClassMetrics> = (0..classes.len())
            .map(|class| class_metrics(class, &classes[class], &confusion))
            .collect();
        let hits: usize = (0..classes.len()).map(|class| confusion[class][class]).sum();
        let accuracy = ratio(hits, images);
        let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / images as f64;
        let model =
            EvaluatedModel { name: None, accuracy, loss, weights_sha256: weights_sha256.clone() };
        Self {
            accuracy,
            accuracy_interval: wilson(hits, images),
            loss,
            images,
            calibration_error: Calibration::of(predictions).error(),
            classes: classes.to_vec(),
            per_class,
            most_confused: most_confused(&confusion, classes),
            confusion,
            parameters,
            weights_sha256,
            models: vec![model],
            tta: false,
            comparison: None,
        }
    }

    /// The report per class, as text (`Display`) or as JSON (`Serialize`).
    #[must_use]
    pub fn report(&self) -> ClassificationReport<'_> {
        ClassificationReport::new(self)
    }
}

#[track_caller]
fn confusion(predictions: &Predictions, classes: usize) -> Vec<Vec<usize>> {
    let mut confusion = vec![vec![0; classes]; classes];
    for (&truth, &predicted) in predictions.truth.iter().zip(&predictions.predicted) {
        assert!(
            usize::from(truth.max(predicted)) < classes,
            "Evaluation: class {} among {classes} classes",
            truth.max(predicted)
        );
        confusion[usize::from(truth)][usize::from(predicted)] += 1;
    }
    confusion
}

fn most_confused(confusion: &[Vec<usize>], classes: &[String]) -> Vec<ConfusedPair> {
    let mut mistakes = Vec::new();
    for (truth, row) in confusion.iter().enumerate() {
        for (predicted, &images) in row.iter().enumerate() {
            if truth != predicted && images > 0 {
                mistakes.push((truth, predicted, images));
            }
        }
    }
    // The sort keeps equals in their order.
    mistakes.sort_by_key(|&(_, _, images)| std::cmp::Reverse(images));
    let name = |class: usize| classes[class].clone();
    let pair = |&(truth, predicted, images): &(usize, usize, usize)| ConfusedPair {
        truth: name(truth),
        predicted: name(predicted),
        images,
    };
    mistakes.iter().take(MOST_CONFUSED).map(pair).collect()
}

fn class_metrics(class: usize, name: &str, confusion: &[Vec<usize>]) -> ClassMetrics {
    let hits = confusion[class][class];
    let support: usize = confusion[class].iter().sum();
    let predicted: usize = confusion.iter().map(|row| row[class]).sum();
    let recall = ratio(hits, support);
    ClassMetrics {
        name: name.to_owned(),
        accuracy: recall,
        precision: ratio(hits, predicted),
        recall,
        // From the counts, not from the two rounded ratios.
        f1: ratio(2 * hits, support + predicted),
        support,
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
