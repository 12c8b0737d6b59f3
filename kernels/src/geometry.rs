//! Sizes and constants of kernels as named fields, and what follows from them.
//!
//! The structs are `#[repr(C)]` with 4-byte fields: a shader reads the same struct. Fields are
//! `u32` for that reason; the methods of the same names give them as `usize`.
//!
//! Letters in the docs: N images, H W height and width, C input channels, O output channels,
//! Kh Kw kernel size, H' W' output size. Images are NHWC, convolution weights HWIO
//! ([Kh, Kw, C, O]), dense weights [in, out].

mod fused;

pub use augment::{
    Augment, Change, ERASED_AREA, ERASED_ASPECT, FLIP_ALTERNATING, FLIP_NONE, FLIP_RANDOM, Gather,
    MAX_SIDE, Rectangle,
};
pub use fused::{ConvBlock, ConvPool, NO_GRADIENT, THIN_DEPTH};
pub use mix::{CUTMIX, MIXUP, Mix, Mixture, Targets};
pub use update::{Adam, CheckGradients, MoveTowards, Sgd};

/// The most batch positions that are summed as one unit.
pub const SHARD: usize = 16;

/// The batch positions that are summed as one unit, in a batch of so many. A sum over a batch runs
/// through each shard in order, and merges the shards' sums by the tree of
/// [`crate::reference::tree_sum`].
///
/// A shard's gradients are one task while there are enough shards for the threads, so there are at
/// least two from five images on; not many more, since each costs sums of its own.
#[must_use]
pub const fn shard_len(batch: usize) -> usize {
    if batch >= 2 * SHARD {
        SHARD
    } else if batch >= SHARD {
        SHARD / 2
    } else {
        SHARD / 4
    }
}

/// The product of sizes.
///
/// # Panics
/// If it is larger than any memory: kernels rely on lengths that did not wrap around.
fn product(sizes: &[usize]) -> usize {
    let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    product
        .filter(|&product| product <= isize::MAX as usize / 8)
        .unwrap_or_else(|| panic!("sizes {sizes:?} come to more numbers than any memory holds"))
}

macro_rules! geometry {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }
     $($(#[$real_doc:meta])* $real:ident: $type:ty,)*) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u32,)*
            $($(#[$real_doc])* pub $real: $type,)*
        }
        #[allow(clippy::len_without_is_empty, reason = "a field may be called len")]
        impl $name {
            $($(#[$field_doc])* #[must_use] #[inline] pub fn $field(&self) -> usize {
                self.$field as usize
            })*
        }
    };
}

// Behind the macro that they use.
mod augment;
mod mix;
mod update;

geometry! {
    /// Numbers whose arrangement does not matter.
    Elements {
        /// How many numbers there are.
        len,
    }
}

geometry! {
    /// N images of P pixels of C channels.
    Channels {
        /// N
        images,
        /// P; 1 for dense features.
        pixels,
        /// C
        channels,
    }
}

impl Channels {
    /// All numbers of the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        product(&[self.images(), self.image_len()])
    }
    /// Whether there are no numbers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The numbers of one image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        product(&[self.pixels(), self.channels()])
    }
}

geometry! {
    /// A matrix product with a result of M rows and N columns, K terms an element.
    Gemm {
        /// M
        rows,
        /// N
        columns,
        /// K
        depth,
    }
}

impl Gemm {
    /// Numbers of the left operand.
    #[must_use]
    pub fn left_len(&self) -> usize {
        product(&[self.rows(), self.depth()])
    }
    /// Numbers of the right operand.
    #[must_use]
    pub fn right_len(&self) -> usize {
        product(&[self.depth(), self.columns()])
    }
    /// Numbers of the result.
    #[must_use]
    pub fn result_len(&self) -> usize {
        product(&[self.rows(), self.columns()])
    }
}

geometry! {
    /// A two-dimensional convolution (cross-correlation) of NHWC images with HWIO weights.
    Conv2d {
        /// N
        images,
        /// H
        height,
        /// W
        width,
        /// C
        in_channels,
        /// O
        out_channels,
        /// Kh
        kernel_height,
        /// Kw
        kernel_width,
        /// Step between output pixels, in both directions.
        stride,
        /// Zeros around the image, on each side; less than the kernel in that direction.
        padding,
    }
}

impl Conv2d {
    /// H' = (H + 2 padding - Kh) / stride + 1
    #[must_use]
    pub fn out_height(&self) -> usize {
        (self.height() + 2 * self.padding() - self.kernel_height()) / self.stride() + 1
    }
    /// W' = (W + 2 padding - Kw) / stride + 1
    #[must_use]
    pub fn out_width(&self) -> usize {
        (self.width() + 2 * self.padding() - self.kernel_width()) / self.stride() + 1
    }
    /// Pixels of an output image.
    #[must_use]
    pub fn out_pixels(&self) -> usize {
        product(&[self.out_height(), self.out_width()])
    }
    /// Terms of an output number: Kh Kw C.
    #[must_use]
    pub fn depth(&self) -> usize {
        product(&[self.kernel_height(), self.kernel_width(), self.in_channels()])
    }
    /// Numbers of one input image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        product(&[self.height(), self.width(), self.in_channels()])
    }
    /// Numbers of one output image.
    #[must_use]
    pub fn out_image_len(&self) -> usize {
        product(&[self.out_pixels(), self.out_channels()])
    }
    /// Numbers of the input batch.
    #[must_use]
    pub fn input_len(&self) -> usize {
        product(&[self.images(), self.image_len()])
    }
    /// Numbers of the output batch.
    #[must_use]
    pub fn output_len(&self) -> usize {
        product(&[self.images(), self.out_image_len()])
    }
    /// Numbers of the weights.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        product(&[self.depth(), self.out_channels()])
    }
    /// Multiply-adds of the forward pass.
    #[must_use]
    pub fn multiply_adds(&self) -> usize {
        product(&[self.output_len(), self.depth()])
    }
    /// Why this geometry is impossible, if it is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let (kh, kw, p) = (self.kernel_height(), self.kernel_width(), self.padding());
        if self.stride == 0 || kh == 0 || kw == 0 || self.in_channels == 0 || self.out_channels == 0
        {
            Some("stride, kernel and channels must be at least 1")
        } else if p >= kh || p >= kw {
            Some("padding must be less than the kernel")
        } else if self.height() + 2 * p < kh || self.width() + 2 * p < kw {
            Some("the kernel is larger than the padded image")
        } else {
            None
        }
    }
}

geometry! {
    /// A two-dimensional max-pooling of NHWC images, without padding.
    Pool2d {
        /// N
        images,
        /// H
        height,
        /// W
        width,
        /// C
        channels,
        /// Height of the window; the window has at most 256 pixels, so that a byte names one.
        window_height,
        /// Width of the window.
        window_width,
        /// Step between windows, in both directions.
        stride,
    }
}

impl Pool2d {
    /// H' = (H - window height) / stride + 1
    #[must_use]
    pub fn out_height(&self) -> usize {
        (self.height() - self.window_height()) / self.stride() + 1
    }
    /// W' = (W - window width) / stride + 1
    #[must_use]
    pub fn out_width(&self) -> usize {
        (self.width() - self.window_width()) / self.stride() + 1
    }
    /// Numbers of one input image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        product(&[self.height(), self.width(), self.channels()])
    }
    /// Numbers of one output image.
    #[must_use]
    pub fn out_image_len(&self) -> usize {
        product(&[self.out_height(), self.out_width(), self.channels()])
    }
    /// Numbers of the input batch.
    #[must_use]
    pub fn input_len(&self) -> usize {
        product(&[self.images(), self.image_len()])
    }
    /// Numbers of the output batch.
    #[must_use]
    pub fn output_len(&self) -> usize {
        product(&[self.images(), self.out_image_len()])
    }
    /// Why this geometry is impossible, if it is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let (wh, ww) = (self.window_height(), self.window_width());
        if self.stride == 0 || wh == 0 || ww == 0 {
            Some("stride and window must be at least 1")
        } else if wh.saturating_mul(ww) > 256 {
            Some("the window has more than 256 pixels")
        } else if self.height() < wh || self.width() < ww {
            Some("the window is larger than the image")
        } else {
            None
        }
    }
}

geometry! {
    /// Batch normalisation over images and pixels, a channel at a time.
    BatchNorm {
        /// N
        images,
        /// P; 1 for dense features.
        pixels,
        /// C
        channels,
    }
    /// Added to the variance before the square root.
    epsilon: f32,
    /// Share of the old running statistics that a step keeps (Keras's convention: 0.99).
    momentum: f32,
}

impl BatchNorm {
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
    /// Numbers of one image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        product(&[self.pixels(), self.channels()])
    }
}

geometry! {
    /// Inverted dropout. The mask is not stored: number `i` is kept if word `i` of the Philox
    /// stream (seed, purpose, step) is at least `rate * 2^32`, and is then multiplied by
    /// `1 / (1 - rate)`, rounded to f32.
    Dropout {
        /// How many numbers there are.
        len,
        /// Lower half of the seed.
        seed_low,
        /// Upper half of the seed.
        seed_high,
        /// The stream's purpose.
        purpose,
        /// The optimizer step.
        step,
    }
    /// Share of the numbers that are set to 0: 0 up to, but not including, 1.
    rate: f32,
}

impl Dropout {
    /// The words of the mask.
    #[must_use]
    pub fn stream(&self) -> crate::rng::Stream {
        crate::rng::Stream {
            seed: u64::from(self.seed_low) | u64::from(self.seed_high) << 32,
            purpose: self.purpose,
            step: self.step,
        }
    }
    /// The smallest word that keeps a number.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        (f64::from(self.rate) * 4_294_967_296.0) as u32
    }
    /// What kept numbers are multiplied by.
    #[must_use]
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.rate)
    }
}

geometry! {
    /// Softmax and cross-entropy of N rows of K logits.
    CrossEntropy {
        /// N
        images,
        /// K, 1 to 256.
        classes,
    }
}

impl CrossEntropy {
    /// Why this geometry is impossible, if it is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        (!(1..=256).contains(&self.classes())).then_some("classes must be 1 to 256")
    }
    /// Numbers of the logits.
    #[must_use]
    pub fn len(&self) -> usize {
        product(&[self.images(), self.classes()])
    }
    /// Whether there are no numbers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Numbers of a step's summary: mean loss, hits, 1 if loss and gradients can be used or else 0,
/// and what the update scales the gradients by.
pub const SUMMARY_LEN: usize = 4;
