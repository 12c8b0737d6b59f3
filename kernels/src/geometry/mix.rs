//! The sizes of targets that are no plain labels and of mixed batches, and what is drawn for
//! those. The partner of image i of a batch of N is image N - 1 - i: batches are shuffled, so that
//! one is as random as any.

use super::augment::{below, unit};
use super::{CrossEntropy, Rectangle, product};
use crate::rng::{Stream, purpose};

geometry! {
    /// The targets of N images of K classes.
    Targets {
        /// N
        images,
        /// K, 1 to 256.
        classes,
        /// 1 if the targets of partners are mixed, else 0: the shares' buffer is empty then.
        mixed,
    }
    /// What is taken from the label and given to all classes alike, 0 up to, but not including, 1.
    smoothing: f32,
}

impl Targets {
    /// Numbers of the targets.
    #[must_use]
    pub fn len(&self) -> usize {
        product(&[self.images(), self.classes()])
    }
    /// Whether there are no numbers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Numbers of the shares' buffer.
    #[must_use]
    pub fn shares_len(&self) -> usize {
        if self.mixed == 0 { 0 } else { self.images() }
    }
    /// Why this geometry is impossible, if it is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let smoothing = (!(0.0..1.0).contains(&self.smoothing)).then_some("smoothing must be 0..1");
        CrossEntropy { images: self.images, classes: self.classes }.fault().or(smoothing)
    }
}

geometry! {
    /// Mixes the images of a batch with their partners.
    Mix {
        /// N
        images,
        /// H
        height,
        /// W
        width,
        /// C
        channels,
        /// [`MIXUP`] or [`CUTMIX`].
        method,
        /// Lower half of the seed.
        seed_low,
        /// Upper half of the seed.
        seed_high,
        /// The optimizer step.
        step,
    }
    /// Shares are drawn from Beta(alpha, alpha): 1 is uniform, smaller mixes less.
    alpha: f32,
}

/// Every pixel is a weighted mean of the two images (Zhang et al., arXiv:1710.09412).
pub const MIXUP: u32 = 0;
/// A rectangle comes from the partner (Yun et al., arXiv:1905.04899).
pub const CUTMIX: u32 = 1;

/// How an image and its partner are mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    /// The image's share of the whole, 0 to 1; the rest is the partner's.
    pub share: f32,
    /// With [`CUTMIX`], the pixels that are the partner's.
    pub pasted: Option<Rectangle>,
}

impl Mix {
    /// Numbers of one image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        product(&[self.height(), self.width(), self.channels()])
    }
    /// Numbers of the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        product(&[self.images(), self.image_len()])
    }
    /// Whether there are no numbers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Why this geometry is impossible, if it is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        if self.height == 0 || self.width == 0 || self.channels == 0 {
            Some("images must have at least 1 row, column and channel")
        } else if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            Some("alpha must be above 0 and finite")
        } else if self.method > CUTMIX {
            Some("there is no such method")
        } else {
            None
        }
    }

    /// How image `i` of the batch is mixed with its partner: each image has a draw of its own,
    /// since a step sees more shares that way than with one for all, and is never as a whole an
    /// easy or a hard one.
    #[must_use]
    pub fn mixture(&self, i: usize) -> Mixture {
        let seed = u64::from(self.seed_low) | u64::from(self.seed_high) << 32;
        let stream = Stream { seed, purpose: purpose::MIX, step: self.step };
        let [angle, radius, row, column] = stream.block(i as u64);
        let share = symmetric_beta(f64::from(self.alpha), [angle, radius]);
        if self.method == MIXUP {
            return Mixture { share: share as f32, pasted: None };
        }
        let side = libm::sqrt(1.0 - share);
        let span = |side: f64, word: u32, most: u32| {
            // The paper's box: its centre is in the image, and what juts out is cut off.
            let half = (side * f64::from(most)) as u32 / 2;
            let centre = below(word, most);
            let (first, end) = (centre.saturating_sub(half), most.min(centre + half));
            (first as usize, (end - first) as usize)
        };
        let (top, height) = span(side, row, self.height);
        let (left, width) = span(side, column, self.width);
        let area = (height * width) as f64 / (self.height() * self.width()) as f64;
        let pasted = Rectangle { top, left, height, width };
        Mixture { share: (1.0 - area) as f32, pasted: Some(pasted) }
    }
}

/// A number from Beta(alpha, alpha), from two words and without rejection: one from Student's t
/// with 2 alpha degrees of freedom by Bailey's polar method, brought to (0, 1) (Devroye: "Random
/// variate generation in one line of code", WSC 1996). libm's functions are the same on
/// every target.
fn symmetric_beta(alpha: f64, words: [u32; 2]) -> f64 {
    // In the middle of each step, so that neither 0 nor 1 is drawn.
    let [angle, radius] = words.map(|word| unit(word) + 0.5 / 4_294_967_296.0);
    let cosine = libm::cos(std::f64::consts::TAU * angle);
    // t^2 / (2 alpha), at times infinite.
    let square = libm::expm1(-libm::log(radius) / alpha) * cosine * cosine;
    let away = 0.5 / libm::sqrt(1.0 + 1.0 / square);
    if cosine < 0.0 { 0.5 - away } else { 0.5 + away }
}
