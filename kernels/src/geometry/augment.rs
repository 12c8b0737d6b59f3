//! The sizes of picking images out of a data set, as they are and changed, and what is drawn for
//! each image that is changed.

use super::product;
use crate::rng::{Stream, purpose};

geometry! {
    /// Picks images of a resident data set and turns bytes into numbers:
    /// `(byte - offset) / divisor`.
    Gather {
        /// Images to pick.
        images,
        /// Images of the data set.
        available,
        /// Bytes of one image.
        image_len,
    }
    /// Subtracted first, in steps of a byte.
    offset: f32,
    /// Divides the difference; 255 maps bytes to 0..=1.
    divisor: f32,
}

geometry! {
    /// Picks images of a resident data set like [`Gather`], changed on the way: flipped left to
    /// right, turned about the centre, moved, and a rectangle of them erased, in this order.
    Augment {
        /// Images to pick.
        images,
        /// Images of the data set.
        available,
        /// H, at most [`MAX_SIDE`].
        height,
        /// W, at most [`MAX_SIDE`].
        width,
        /// C
        channels,
        /// Lower half of the seed.
        seed_low,
        /// Upper half of the seed.
        seed_high,
        /// The epoch: each shows an image with other changes.
        epoch,
        /// [`FLIP_NONE`], [`FLIP_RANDOM`] or [`FLIP_ALTERNATING`].
        flip,
        /// The largest move up, down, left and right, in pixels; less than the sides.
        shift,
    }
    /// The largest turn either way, in degrees, 0 to 180.
    rotation: f32,
    /// The share of images of which a rectangle is erased, 0 to 1.
    erasing: f32,
    /// Subtracted first, in steps of a byte.
    offset: f32,
    /// Divides the difference; 255 maps bytes to 0..=1.
    divisor: f32,
}

/// No image is flipped.
pub const FLIP_NONE: u32 = 0;
/// Half of the images, others in every epoch.
pub const FLIP_RANDOM: u32 = 1;
/// Half of the images, the other half in the next epoch: an image is seen both ways in any two
/// epochs (Jordan, arXiv:2404.00498, section 3.6).
pub const FLIP_ALTERNATING: u32 = 2;

/// The largest side of an image that is augmented: places in it, in 1 / 131072 pixel, fit 32 bits.
pub const MAX_SIDE: u32 = 4096;

/// The share of an image that a rectangle to erase covers, from and to. Its largest side is then
/// 0.91 of a square image's, so that every one fits.
pub const ERASED_AREA: [f64; 2] = [0.02, 0.25];
/// The height of a rectangle to erase over its width, from and to; its logarithm is uniform, so
/// that wide ones are as frequent as tall ones.
pub const ERASED_ASPECT: [f64; 2] = [0.3, 1.0 / 0.3];

/// Pixels of an image that form a rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Rectangle {
    /// Whether a pixel is one of them.
    #[must_use]
    pub fn contains(&self, row: usize, column: usize) -> bool {
        (self.top..self.top + self.height).contains(&row)
            && (self.left..self.left + self.width).contains(&column)
    }
}

/// What happens to an image in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether left and right change places.
    pub flipped: bool,
    /// Rows that it moves down.
    pub down: i32,
    /// Columns that it moves to the right.
    pub right: i32,
    /// The sine of its turn, clockwise as it is seen, in 1 / 65536.
    pub sine: i32,
    /// The cosine of its turn, in 1 / 65536.
    pub cosine: i32,
    /// The rectangle that is filled with the bytes of [`Augment::noise`].
    pub erased: Option<Rectangle>,
}

/// The Philox blocks that hold what [`Augment::change`] draws.
const CHANGE_BLOCKS: u64 = 3;

impl Augment {
    /// The same picking without changes; its sizes are those of this kernel's operands.
    #[must_use]
    pub fn gather(&self) -> Gather {
        Gather {
            images: self.images,
            available: self.available,
            image_len: product(&[self.height(), self.width(), self.channels()]) as u32,
            offset: self.offset,
            divisor: self.divisor,
        }
    }

    /// Why this geometry is impossible, if it is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&self.height) || !sides.contains(&self.width) || self.channels == 0 {
            Some("images must have 1 to 4096 rows and columns and at least 1 channel")
        } else if self.channels > 255 {
            Some("images must have at most 255 channels")
        } else if self.shift > 0 && self.shift >= self.height.min(self.width) {
            Some("the shift must be less than the image's sides")
        } else if !(0.0..=180.0).contains(&self.rotation) {
            Some("the rotation must be 0 to 180 degrees")
        } else if !(0.0..=1.0).contains(&self.erasing) {
            Some("the probability of erasing must be 0 to 1")
        } else if self.flip > FLIP_ALTERNATING {
            Some("there is no such flip")
        } else {
            None
        }
    }

    fn stream(&self, epoch: u32) -> Stream {
        let seed = u64::from(self.seed_low) | u64::from(self.seed_high) << 32;
        Stream { seed, purpose: purpose::AUGMENT, step: epoch }
    }

    /// The first of an image's own blocks of the stream.
    fn first_block(&self, image: u32) -> u64 {
        let noise = (self.height() * self.width() * self.channels()).div_ceil(16) as u64;
        u64::from(image) * (CHANGE_BLOCKS + noise)
    }

    /// The changes of the image with this number in the data set: a function of seed, epoch and
    /// number alone. Sine and exponential function are libm's, which are the same on every target.
    #[must_use]
    pub fn change(&self, image: u32) -> Change {
        let block = |i: u64| self.stream(self.epoch).block(self.first_block(image) + i);
        let [flip, down, right, turn] = block(0);
        let shift = |word: u32| below(word, 2 * self.shift + 1) as i32 - self.shift as i32;
        let degrees = (2.0 * unit(turn) - 1.0) * f64::from(self.rotation);
        let (sine, cosine) = libm::sincos(degrees.to_radians());
        let [sine, cosine] = [sine, cosine].map(|x| libm::round(x * 65536.0) as i32);
        let flipped = match self.flip {
            FLIP_RANDOM => flip & 1 == 1,
            FLIP_ALTERNATING => {
                let [first, ..] = self.stream(0).block(self.first_block(image));
                (first ^ self.epoch) & 1 == 1
            }
            _ => false,
        };
        let (down, right) = (shift(down), shift(right));
        Change { flipped, down, right, sine, cosine, erased: self.erased(block(1), block(2)) }
    }

    fn erased(
        &self,
        [whether, area, aspect, top]: [u32; 4],
        [left, ..]: [u32; 4],
    ) -> Option<Rectangle> {
        if unit(whether) >= f64::from(self.erasing) {
            return None;
        }
        let between = |[low, high]: [f64; 2], word: u32| low + (high - low) * unit(word);
        let pixels = between(ERASED_AREA, area) * (self.height() * self.width()) as f64;
        let aspect = libm::exp(between(ERASED_ASPECT.map(libm::log), aspect));
        let side = |x: f64, most: usize| (libm::round(libm::sqrt(x)) as usize).clamp(1, most);
        let height = side(pixels * aspect, self.height());
        let width = side(pixels / aspect, self.width());
        let place = |word: u32, room: usize| below(word, room as u32 + 1) as usize;
        let (top, left) = (place(top, self.height() - height), place(left, self.width() - width));
        Some(Rectangle { top, left, height, width })
    }

    /// The block of the stream that the image's [`Augment::noise`] begins with.
    pub(crate) fn first_noise_block(&self, image: u32) -> u64 {
        self.first_block(image) + CHANGE_BLOCKS
    }

    /// The bytes that fill what is erased of the image with this number, in the order of its
    /// pixels and channels. (Zhong et al., arXiv:1708.04896, found random bytes to be the best
    /// filling. Byte 0 would look like the garments' background, which is part of their outlines.)
    pub fn noise(&self, image: u32) -> impl Iterator<Item = u8> + use<> {
        let (stream, first) = (self.stream(self.epoch), self.first_noise_block(image));
        (first..).flat_map(move |block| stream.block(block)).flat_map(u32::to_le_bytes)
    }
}

/// A whole number below `end`, each as often as the others but for 1 in 2^32 / `end`.
pub(super) fn below(word: u32, end: u32) -> u32 {
    ((u64::from(word) * u64::from(end)) >> 32) as u32
}

/// A number in [0, 1), the word times 2^-32.
pub(super) fn unit(word: u32) -> f64 {
    f64::from(word) / 4_294_967_296.0
}
