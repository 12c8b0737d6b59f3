//! Two answers to the same images: which is better, and whether that could be chance.
//!
//! Images that both get right, or both wrong, say nothing about which is better; the images that
//! only one gets right do. That makes a paired comparison sharper than a look at two intervals.

use serde::{Deserialize, Serialize};

use super::interval::QUANTILE;
use super::{EvaluatedModel, Evaluation, Predictions};

/// How many images each of two sides got right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairedCounts {
    /// Both.
    pub both_right: usize,
    /// Only what is evaluated.
    pub only_this_right: usize,
    /// Only what it is compared with.
    pub only_other_right: usize,
    /// None of them.
    pub neither_right: usize,
}

impl PairedCounts {
    /// Counts two answers to the same images.
    ///
    /// # Panics
    /// Panics if they are not answers to the same labels.
    #[must_use]
    #[track_caller]
    pub fn of(this: &Predictions, other: &Predictions) -> Self {
        assert_eq!(this.truth, other.truth, "PairedCounts: answers to other images");
        let mut counts = [[0; 2]; 2];
        for (image, truth) in this.truth.iter().enumerate() {
            let is_right = |side: &Predictions| usize::from(side.predicted[image] == *truth);
            counts[is_right(this)][is_right(other)] += 1;
        }
        let [[neither_right, only_other_right], [only_this_right, both_right]] = counts;
        Self { both_right, only_this_right, only_other_right, neither_right }
    }

    /// The number of images.
    #[must_use]
    pub fn images(&self) -> usize {
        self.both_right + self.only_this_right + self.only_other_right + self.neither_right
    }

    /// This accuracy minus the other one, -1 to 1.
    #[must_use]
    pub fn difference(&self) -> f64 {
        let [this, other] = [self.only_this_right, self.only_other_right].map(|n| n as f64);
        (this - other) / self.images().max(1) as f64
    }

    /// The 95 % interval of the difference: Wald's with one image more on each side (Bonett and
    /// Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions
    /// based on paired data", J. Educ. Behav. Stat. 37:479-488), which Fagerland et al. 2014
    /// (Stat. Med. 33:2850-2875) recommend. Its middle is a little nearer to 0 than the
    /// difference.
    #[must_use]
    pub fn difference_interval(&self) -> [f64; 2] {
        let count = (self.images() + 2) as f64;
        let [this, other] =
            [self.only_this_right, self.only_other_right].map(|n| (n + 1) as f64 / count);
        let middle = this - other;
        let half_width = QUANTILE * ((this + other - middle * middle) / count).sqrt();
        [(middle - half_width).max(-1.0), (middle + half_width).min(1.0)]
    }

    /// How likely so unequal counts, or more unequal ones, are where none of the two is better:
    /// McNemar's test (1947, Psychometrika 12:153-157), exact and two-sided. 0 where it is below
    /// the least f64.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        let (this, other) = (self.only_this_right, self.only_other_right);
        if this == other {
            return 1.0;
        }
        (2.0 * lower_tail(this + other, this.min(other))).min(1.0)
    }
}

/// The probability of at most `most` heads, less than half of `tosses`, with a fair coin. The
/// largest term is taken through logarithms, since a power of 1/2 would be 0 from 1,075 tosses
/// on; the others follow by their ratios.
fn lower_tail(tosses: usize, most: usize) -> f64 {
    let log_factorial = |n: usize| libm::lgamma(n as f64 + 1.0);
    let log_choose = log_factorial(tosses) - log_factorial(most) - log_factorial(tosses - most);
    let log_largest = log_choose - tosses as f64 * std::f64::consts::LN_2;
    let (mut sum, mut term) = (1.0, 1.0);
    for heads in (1..=most).rev() {
        term *= heads as f64 / (tosses - heads + 1) as f64;
        if term < f64::EPSILON * f64::EPSILON {
            break;
        }
        sum += term;
    }
    libm::exp(log_largest) * sum
}

/// What an evaluation is compared with, by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// The fraction of images recognised, 0 to 1.
    pub accuracy: f64,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// The models, in the order in which they were given.
    pub models: Vec<EvaluatedModel>,
}

/// The comparison of an evaluation with another one of the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The other side.
    pub other: Other,
    /// Who got how many images right.
    #[serde(flatten)]
    pub counts: PairedCounts,
    /// [`PairedCounts::difference`]
    pub difference: f64,
    /// [`PairedCounts::difference_interval`], from low to high
    pub difference_interval: [f64; 2],
    /// [`PairedCounts::p_value`]
    pub p_value: f64,
}

impl Comparison {
    /// Compares by counts with an evaluation of the other side.
    #[must_use]
    pub fn new(counts: PairedCounts, other: &Evaluation) -> Self {
        let other =
            Other { accuracy: other.accuracy, loss: other.loss, models: other.models.clone() };
        Self {
            other,
            counts,
            difference: counts.difference(),
            difference_interval: counts.difference_interval(),
            p_value: counts.p_value(),
        }
    }
}
