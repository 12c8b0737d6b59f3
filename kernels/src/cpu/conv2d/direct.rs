//! Convolution as three products without a column buffer. (Networks that only answer have another
//! forward pass for images of one channel: `pairs`.)
//!
//! In an NHWC image, the pixels under one row of the kernel are `Kw C` contiguous numbers, and a
//! whole patch is `Kh` such runs. So the left operand of each product is the image itself, read
//! with strides; only the small weights are packed. Padding and a backward stride become zeros
//! in a copy of one image at a time, which stays in the cache.

use std::ops::Range;

use super::WeightSums;
use super::frame::Frame;
use super::pairs::{self, Pairs};
use crate::cpu::finish::Finish;
use crate::cpu::isa::{Isa, tile_rows_limit};
use crate::cpu::panels::{Panels, PanelsView};
use crate::cpu::products::{ColumnProduct, Grid, RowProduct, Steps};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::LANES;
use crate::geometry::{Conv2d, SHARD, THIN_DEPTH};

/// So many output pixels are wanted at once, so that small images still fill a tile.
const PIXELS_AT_ONCE: usize = 64;

/// Widest panel of any instruction set: rows of a right operand that is read in place must be
/// readable up to a multiple of it.
const WIDEST: usize = 2 * LANES;

/// Any convolution.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Direct {
    isa: Isa,
    tile_rows: usize,
    g: Conv2d,
    padded: Frame,
    /// Whether the forward pass takes its outputs in pairs.
    in_pairs: bool,
}

impl Direct {
    pub fn new(isa: Isa, g: &Conv2d) -> Direct {
        let padded = Frame {
            inner: [g.height(), g.width()],
            outer: [g.height(), g.width()].map(|size| size + 2 * g.padding()),
            origin: [g.padding(), g.padding()],
            channels: g.in_channels(),
        };
        Direct { isa, tile_rows: tile_rows_limit(), g: *g, padded, in_pairs: false }
    }

    /// One that takes its outputs in pairs if it can.
    pub fn in_pairs(self) -> Direct {
        Direct { in_pairs: pairs::fits(&self.g), ..self }
    }

    /// How many images are best given to one call.
    pub fn images_at_once(&self) -> usize {
        PIXELS_AT_ONCE.div_ceil(self.g.out_pixels()).min(SHARD)
    }

    /// Height, width and channels of an output image.
    pub fn output(&self) -> [usize; 3] {
        [self.g.out_height(), self.g.out_width(), self.g.out_channels()]
    }

    /// Whether a patch has at most [`THIN_DEPTH`] numbers.
    pub fn is_thin(&self) -> bool {
        self.g.depth() <= THIN_DEPTH
    }

    /// The input rows behind output rows `rows`.
    pub fn input_rows(&self, rows: Range<usize>) -> Range<usize> {
        let g = &self.g;
        let end = (rows.end - 1) * g.stride() + g.kernel_height() - g.padding();
        (rows.start * g.stride()).saturating_sub(g.padding())..end.min(g.height())
    }

    /// The weights for [`Direct::forward`].
    pub fn pack_forward(&self, w: &[f32]) -> Panels {
        let (g, columns) = (&self.g, self.g.out_channels());
        if self.in_pairs {
            return pairs::pack(self.isa, g, w);
        }
        Panels::pack(self.isa, g.depth(), columns, |k, first, row| {
            row.copy_from_slice(&w[k * columns + first..][..row.len()]);
        })
    }

    /// The weights for the input gradient of [`Direct::backward`]: the kernel turned by 180
    /// degrees, its channels exchanged.
    pub fn pack_backward(&self, w: &[f32]) -> Panels {
        let (inputs, outputs) = (self.g.in_channels(), self.g.out_channels());
        let taps = self.g.kernel_height() * self.g.kernel_width();
        Panels::pack(self.isa, taps * outputs, inputs, |k, first, row| {
            let (tap, output) = (taps - 1 - k / outputs, k % outputs);
            for (j, to) in row.iter_mut().enumerate() {
                *to = w[(tap * inputs + first + j) * outputs + output];
            }
        })
    }

    /// y of some images.
    pub fn forward(&self, weights: &PanelsView, x: &[f32], finish: Finish, y: &mut [f32]) {
        let images = y.len() / self.g.out_image_len();
        self.forward_rows(weights, x, [images, self.g.out_height()], 0, finish, y);
    }

    /// Of the outputs of some images: `[images, rows]` from row `first` on.
    pub fn forward_rows(
        &self,
        weights: &PanelsView,
        x: &[f32],
        [images, rows]: [usize; 2],
        first: usize,
        finish: Finish,
        y: &mut [f32],
    ) {
        let g = &self.g;
        let row_len = self.padded.outer[1] * g.in_channels();
        self.padded.with_framed(x, |x| {
            if self.in_pairs {
                return self.isa.run(Pairs {
                    x: &x[first * row_len..],
                    row_len,
                    image_len: self.padded.len(),
                    outputs: [images, rows, g.out_width()],
                    weights,
                    finish,
                    y,
                });
            }
            self.isa.run(RowProduct {
                a: &x[first * g.stride() * row_len..],
                rows: Grid {
                    counts: [images, rows, g.out_width()],
                    steps: Steps {
                        block: self.padded.len(),
                        line: g.stride() * row_len,
                        point: g.stride() * g.in_channels(),
                    },
                },
                runs: g.kernel_height(),
                run_step: row_len,
                run_len: g.kernel_width() * g.in_channels(),
                b: weights,
                b_row: 0,
                c: y,
                finish,
                skips_zeros: false,
                tile_rows: self.tile_rows,
            });
        });
    }

    /// The gradients of some images: the sums of the weight gradient, and `dx` with the weights
    /// beside it.
    pub fn backward(
        &self,
        dy: &[f32],
        sums: Option<WeightSums>,
        dx: Option<(&PanelsView, &mut [f32])>,
    ) {
        if let Some(WeightSums { x, sums, begin }) = sums {
            if begin {
                sums.fill(0.0);
            }
            self.weight_gradient(x, dy, sums);
        }
        if let Some((weights, dx)) = dx {
            let (len, out_len) = (self.g.image_len(), self.g.out_image_len());
            for (dx, dy) in dx.chunks_exact_mut(len).zip(dy.chunks_exact(out_len)) {
                self.input_gradient(weights, dy, dx);
            }
        }
    }

    /// A chain through the pixels of the images.
    fn weight_gradient(&self, x: &[f32], dy: &[f32], sums: &mut [f32]) {
        let g = &self.g;
        let (row_len, run_len) =
            (self.padded.outer[1] * g.in_channels(), g.kernel_width() * g.in_channels());
        let gradient = PaddedChannels::of(g);
        let counts = [x.len() / g.image_len(), g.out_height(), g.out_width()];
        self.padded.with_framed(x, |x| {
            gradient.with_images(dy, |dy| {
                for (row, c) in sums.chunks_exact_mut(run_len * g.out_channels()).enumerate() {
                    self.isa.run(ColumnProduct {
                        a: &x[row * row_len..],
                        a_steps: Steps {
                            block: self.padded.len(),
                            line: g.stride() * row_len,
                            point: g.stride() * g.in_channels(),
                        },
                        b: dy,
                        b_steps: Steps {
                            block: gradient.len(),
                            line: g.out_width() * gradient.channels,
                            point: gradient.channels,
                        },
                        counts,
                        c,
                        columns: g.out_channels(),
                        tile_rows: self.tile_rows,
                    });
                }
            });
        });
    }

    /// dx of one image: a convolution of dy, spread out by the stride and surrounded by zeros.
    fn input_gradient(&self, weights: &PanelsView, dy: &[f32], dx: &mut [f32]) {
        let g = &self.g;
        let (inputs, outputs) = (g.in_channels(), g.out_channels());
        let spread = SpreadGradient::of(g);
        let mut scratch = Scratch::zeros(spread.height * spread.row_len);
        let mut dy_spread = scratch.write();
        spread.fill(g, dy, &mut dy_spread);
        for (row, dx) in dx.chunks_exact_mut(g.width() * inputs).enumerate() {
            let kernel_rows = spread.rows_with_gradient(g, row);
            self.isa.run(RowProduct {
                a: &dy_spread[(row + kernel_rows.start) * spread.row_len..],
                rows: Grid::line(g.width(), outputs),
                runs: kernel_rows.len(),
                run_step: spread.row_len,
                run_len: g.kernel_width() * outputs,
                b: weights,
                b_row: kernel_rows.start * g.kernel_width() * outputs,
                c: dx,
                finish: Finish::NONE,
                skips_zeros: false,
                tile_rows: self.tile_rows,
            });
        }
    }
}

/// An output gradient whose channels are filled up with zeros to whole vectors, so that tiles
/// may read past the last channel: the gradient itself where that is the case already.
#[derive(Clone, Copy)]
struct PaddedChannels {
    pixels: usize,
    used: usize,
    channels: usize,
}

impl PaddedChannels {
    fn of(g: &Conv2d) -> Self {
        let used = g.out_channels();
        PaddedChannels { pixels: g.out_pixels(), used, channels: used.next_multiple_of(WIDEST) }
    }

    fn len(self) -> usize {
        self.pixels * self.channels
    }

    fn with_images(self, dy: &[f32], body: impl FnOnce(&[f32])) {
        if self.channels == self.used {
            return body(dy);
        }
        let mut scratch = Scratch::zeros(dy.len() / self.used * self.channels);
        let mut padded = scratch.write();
        for (to, from) in padded.chunks_exact_mut(self.channels).zip(dy.chunks_exact(self.used)) {
            to[..self.used].copy_from_slice(from);
        }
        body(&padded);
    }
}

/// The output gradient of one image laid out so that the gradient of input pixel (i, j) is a
/// plain valid convolution at (i, j): stride - 1 zeros between its pixels, zeros around.
#[derive(Clone, Copy)]
struct SpreadGradient {
    height: usize,
    row_len: usize,
    /// Row and column of output pixel (0, 0).
    origin: (usize, usize),
}

impl SpreadGradient {
    fn of(g: &Conv2d) -> Self {
        let (kh, kw) = (g.kernel_height(), g.kernel_width());
        SpreadGradient {
            height: g.height() + kh - 1,
            row_len: (g.width() + kw - 1) * g.out_channels(),
            origin: (kh - 1 - g.padding(), kw - 1 - g.padding()),
        }
    }

    fn fill(self, g: &Conv2d, dy: &[f32], spread: &mut [f32]) {
        let channels = g.out_channels();
        for (i, pixel) in dy.chunks_exact(channels).enumerate() {
            let row = self.origin.0 + i / g.out_width() * g.stride();
            let column = self.origin.1 + i % g.out_width() * g.stride();
            let at = row * self.row_len + column * channels;
            spread[at..at + channels].copy_from_slice(pixel);
        }
    }

    /// The rows of the kernel's window at input row `row` that see any gradient; the others
    /// would add zeros.
    fn rows_with_gradient(self, g: &Conv2d, row: usize) -> Range<usize> {
        let first = self.origin.0;
        let last = first + (g.out_height() - 1) * g.stride();
        let start = first.saturating_sub(row);
        let end = (last + 1).saturating_sub(row).min(g.kernel_height());
        start.min(end)..end
    }
}
