//! Whether a model is right as often as it says: accuracy beside confidence.

use super::Predictions;
use super::interval::wilson;

/// The number of bins.
const BINS: usize = 15;

/// The answers whose confidence lies in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    /// How many they are.
    pub images: usize,
    /// How many of them are right.
    pub hits: usize,
    /// The sum of their confidences.
    confidences: f64,
}

impl CalibrationBin {
    /// The fraction of right answers; 0 in an empty bin.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.hits as f64 / self.images.max(1) as f64
    }

    /// The 95 % Wilson score interval of the accuracy; of an empty bin, 0 to 1.
    #[must_use]
    pub fn accuracy_interval(&self) -> [f64; 2] {
        if self.images == 0 { [0.0, 1.0] } else { wilson(self.hits, self.images) }
    }

    /// The mean confidence; 0 in an empty bin.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        self.confidences / self.images.max(1) as f64
    }
}

/// Answers by their confidence, the probability of the predicted class, in 15 bins of equal
/// width. A bin holds its upper end and not its lower one, as in Guo et al. 2017, "On calibration
/// of modern neural networks" (arXiv:1706.04599).
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    bins: [CalibrationBin; BINS],
}

impl Calibration {
    /// Puts each answer into its bin.
    #[must_use]
    pub fn of(predictions: &Predictions) -> Self {
        let mut bins = [CalibrationBin::default(); BINS];
        for (image, &confidence) in predictions.confidence.iter().enumerate() {
            let confidence = f64::from(confidence);
            // A product of so few digits is exact, so no answer slips over the end of a bin.
            let place = (confidence * BINS as f64).ceil() as usize;
            let bin = &mut bins[place.clamp(1, BINS) - 1];
            bin.images += 1;
            bin.hits += usize::from(predictions.truth[image] == predictions.predicted[image]);
            bin.confidences += confidence;
        }
        Self { bins }
    }

    /// The bins, from 0 to 1.
    #[must_use]
    pub fn bins(&self) -> &[CalibrationBin] {
        &self.bins
    }

    /// All answers in one bin.
    #[must_use]
    pub fn total(&self) -> CalibrationBin {
        self.bins.iter().fold(CalibrationBin::default(), |total, bin| CalibrationBin {
            images: total.images + bin.images,
            hits: total.hits + bin.hits,
            confidences: total.confidences + bin.confidences,
        })
    }

    /// The expected calibration error, 0 to 1: the distance of the bins' accuracies from their
    /// mean confidences, averaged over the images. 0 without images.
    #[must_use]
    pub fn error(&self) -> f64 {
        let gap = |bin: &CalibrationBin| (bin.accuracy() - bin.confidence()).abs();
        let sum: f64 = self.bins.iter().map(|bin| bin.images as f64 * gap(bin)).sum();
        sum / self.total().images.max(1) as f64
    }
}
