//! What a model's answers are worth: from probabilities to the numbers that people compare.
//!
//! Everything is computed once, here, in f64 and in index order, so that the program's report,
//! its JSON and its pictures cannot disagree. Definitions are scikit-learn's; a ratio whose
//! denominator is zero is 0.

mod report;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

pub use report::ClassificationReport;

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
        assert!((1..=256).contains(&classes), "Predictions: 1 to 256 classes, not {classes}");
        assert_eq!(
            probabilities.len(),
            truth.len() * classes,
            "Predictions: {} labels of {classes} classes need as many probabilities",
            truth.len()
        );
        let (predicted, confidence) =
            probabilities.chunks_exact(classes).map(most_probable).unzip();
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

/// The first maximum and its class. Ties go to the lower class, as NumPy's argmax has it.
fn most_probable(row: &[f32]) -> (u8, f32) {
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

/// The result of one model on one data set; serialises to the content of `evaluation.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The fraction of images recognised, 0 to 1.
    pub accuracy: f64,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// The number of images.
    pub images: usize,
    /// The classes' names, by class number.
    pub classes: Vec<String>,
    /// Each class by itself, by class number.
    pub per_class: Vec<ClassMetrics>,
    /// How many images of the row's class were taken for the column's.
    pub confusion: Vec<Vec<usize>>,
    /// How many numbers the model stores, running statistics included.
    pub parameters: usize,
    /// SHA-256 of all tensors in the order of the file, as little-endian f32, in hexadecimal.
    pub weights_sha256: String,
}

impl Evaluation {
    /// Sums up predictions and the loss of each image, `[images]`, in nats.
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
        Self {
            accuracy: ratio(hits, images),
            loss: losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / images as f64,
            images,
            classes: classes.to_vec(),
            per_class,
            confusion,
            parameters,
            weights_sha256,
        }
    }

    /// The report per class, as text (`Display`) or as JSON (`Serialize`).
    #[must_use]
    pub fn report(&self) -> ClassificationReport<'_> {
        ClassificationReport::new(self)
    }

    /// The 95 % Wilson score interval of the accuracy: what another sample of as many images
    /// could have shown.
    #[must_use]
    pub fn accuracy_interval(&self) -> (f64, f64) {
        const QUANTILE: f64 = 1.959_963_984_540_054;
        let count = self.images as f64;
        let shrink = 1.0 + QUANTILE * QUANTILE / count;
        let centre = self.accuracy + QUANTILE * QUANTILE / (2.0 * count);
        let variance = self.accuracy * (1.0 - self.accuracy) / count
            + QUANTILE * QUANTILE / (4.0 * count * count);
        let half_width = QUANTILE * variance.sqrt();
        (((centre - half_width) / shrink).max(0.0), ((centre + half_width) / shrink).min(1.0))
    }

    /// The most frequent mistakes as `(true class, predicted class, images)`, most frequent
    /// first and at most `limit` of them; equals in the order of the class numbers.
    #[must_use]
    pub fn most_confused(&self, limit: usize) -> Vec<(usize, usize, usize)> {
        let mut mistakes = Vec::new();
        for (truth, row) in self.confusion.iter().enumerate() {
            for (predicted, &count) in row.iter().enumerate() {
                if truth != predicted && count > 0 {
                    mistakes.push((truth, predicted, count));
                }
            }
        }
        mistakes.sort_by_key(|&(_, _, count)| std::cmp::Reverse(count));
        mistakes.truncate(limit);
        mistakes
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
