//! The sizes of kernels that stand for several layers.

use super::{BatchNorm, Channels, Conv2d, Dropout, Pool2d};

/// A convolution and what follows it until the image is smaller: bias, ReLU, max-pooling, dropout.
///
/// A window of one pixel pools nothing, and a rate of 0 drops nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvPool {
    /// The convolution.
    pub conv: Conv2d,
    /// Height of the pool's window; it has at most 254 pixels.
    pub window_height: u32,
    /// Width of the pool's window.
    pub window_width: u32,
    /// Step between windows, in both directions.
    pub window_stride: u32,
    /// 1 if the gradient of the input is wanted, else 0: its buffer is empty then.
    pub input_gradient: u32,
    /// Dropout of what the pool leaves.
    pub dropout: Dropout,
}

/// The code of a window without gradient: its maximum is not above 0, or it was dropped.
pub const NO_GRADIENT: u8 = 255;

impl ConvPool {
    /// The pool behind the convolution.
    #[must_use]
    pub fn pool(&self) -> Pool2d {
        Pool2d {
            images: self.conv.images,
            height: self.conv.out_height() as u32,
            width: self.conv.out_width() as u32,
            channels: self.conv.out_channels,
            window_height: self.window_height,
            window_width: self.window_width,
            stride: self.window_stride,
        }
    }
    /// Output pixels and channels of the convolution.
    #[must_use]
    pub fn channels(&self) -> Channels {
        Channels {
            images: self.conv.images,
            pixels: self.conv.out_pixels() as u32,
            channels: self.conv.out_channels,
        }
    }
    /// Numbers of the output batch.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.pool().output_len()
    }
    /// Numbers of the input gradient's buffer.
    #[must_use]
    pub fn input_gradient_len(&self) -> usize {
        if self.input_gradient == 0 { 0 } else { self.conv.input_len() }
    }
    /// Why this geometry is impossible, if it is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let window = u64::from(self.window_height) * u64::from(self.window_width);
        match self.conv.fault().or_else(|| self.pool().fault()) {
            None if window >= u64::from(NO_GRADIENT) => Some("the window has more than 254 pixels"),
            None if self.dropout.len() != self.output_len() => Some("dropout of another length"),
            fault => fault,
        }
    }
}

/// The most terms that an output of a thin block's first convolution has.
pub const THIN_DEPTH: usize = 16;

/// A convolution with bias, batch norm and ReLU before a [`ConvPool`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvBlock {
    /// The first convolution.
    pub first: Conv2d,
    /// Added to the variance before the square root.
    pub epsilon: f32,
    /// Share of the old running statistics that a step keeps.
    pub momentum: f32,
    /// The second convolution, whose input is the first one's normalised output. Its
    /// `input_gradient` speaks of the block's input.
    pub second: ConvPool,
}

impl ConvBlock {
    /// The batch norm between the convolutions.
    #[must_use]
    pub fn norm(&self) -> BatchNorm {
        BatchNorm {
            images: self.first.images,
            pixels: self.first.out_pixels() as u32,
            channels: self.first.out_channels,
            epsilon: self.epsilon,
            momentum: self.momentum,
        }
    }
    /// Whether the first convolution is computed again where its result is needed, rather than
    /// kept: it costs less than reading that from memory. Its weight gradient is then summed up
    /// in another way, for which no input gradient may be wanted and no padding be there.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        let first = &self.first;
        self.second.input_gradient == 0 && first.padding == 0 && first.depth() <= THIN_DEPTH
    }
    /// Numbers that are kept of the first convolution's result: all, or none of a thin block.
    #[must_use]
    pub fn kept_len(&self) -> usize {
        if self.is_thin() { 0 } else { self.first.output_len() }
    }
    /// Numbers of the input gradient's buffer.
    #[must_use]
    pub fn input_gradient_len(&self) -> usize {
        if self.second.input_gradient == 0 { 0 } else { self.first.input_len() }
    }
    /// Why this geometry is impossible, if it is.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let (first, second) = (&self.first, &self.second.conv);
        let output = [first.images(), first.out_height(), first.out_width(), first.out_channels()];
        let input = [second.images(), second.height(), second.width(), second.in_channels()];
        first
            .fault()
            .or_else(|| self.second.fault())
            .or_else(|| (output != input).then_some("the second convolution takes other images"))
    }
}
