//! The pictures of a run folder: pure functions from results to PNG files.
//!
//! The same values give the same bytes on every machine: letters come from a font in the
//! program, not from the system. Any number of classes, any name and any history has its
//! picture; what does not fit is shortened or left out, never written over something else.

mod axis;
mod canvas;
mod class_distribution;
mod confusion_matrix;
mod image_grid;
mod reliability;
mod style;
mod training_curves;

use crate::data::Images;
use crate::metrics::{Calibration, Evaluation, Predictions};
use crate::run_folder::{
    CLASS_DISTRIBUTION, CONFUSION_MATRIX, CONFUSION_MATRIX_NORMALIZED, HistoryRow, RELIABILITY,
    SAMPLE_PREDICTIONS, TRAINING_CURVES, WORST_ERRORS,
};

pub use class_distribution::class_distribution;
pub use confusion_matrix::{confusion_matrix, confusion_matrix_normalized};
pub use image_grid::{sample_predictions, worst_errors};
pub use reliability::reliability;
pub use training_curves::{Marks, training_curves};

/// All that a finished run's pictures show.
#[derive(Clone, Copy, Debug)]
pub struct Figures<'a> {
    /// The epochs, in order.
    pub history: &'a [HistoryRow],
    /// What happened besides.
    pub marks: Marks,
    /// The result on the test images; it also names the classes.
    pub evaluation: &'a Evaluation,
    /// The answer to each test image.
    pub predictions: &'a Predictions,
    /// The test images.
    pub test_images: &'a Images,
    /// The label of each image that was trained on.
    pub training_labels: &'a [u8],
    /// The label of each image that validated.
    pub validation_labels: &'a [u8],
}

impl Figures<'_> {
    /// Draws all seven pictures; returns each file's name in the run folder and its content.
    ///
    /// # Panics
    /// Panics if images and predictions differ in number, or if a class has no name.
    #[must_use]
    #[track_caller]
    pub fn draw(&self) -> [(&'static str, Vec<u8>); 7] {
        let Self { evaluation, predictions, test_images, .. } = *self;
        let classes = &evaluation.classes;
        let counts = |labels| class_counts(labels, classes.len());
        [
            (TRAINING_CURVES, training_curves(self.history, &self.marks)),
            (CONFUSION_MATRIX, confusion_matrix(evaluation)),
            (CONFUSION_MATRIX_NORMALIZED, confusion_matrix_normalized(evaluation)),
            (RELIABILITY, reliability(&Calibration::of(predictions))),
            (SAMPLE_PREDICTIONS, sample_predictions(test_images, predictions, classes)),
            (WORST_ERRORS, worst_errors(test_images, predictions, classes)),
            (
                CLASS_DISTRIBUTION,
                class_distribution(
                    classes,
                    &counts(self.training_labels),
                    &counts(self.validation_labels),
                    &counts(&predictions.truth),
                ),
            ),
        ]
    }
}

/// How many labels name each class.
fn class_counts(labels: &[u8], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for &label in labels {
        counts[usize::from(label)] += 1;
    }
    counts
}
