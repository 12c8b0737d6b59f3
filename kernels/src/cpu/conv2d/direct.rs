//! Convolution as three products without a column buffer. (Networks that only answer have another
//! forward pass for images of one channel: `pairs`.)
//!
//! In an NHWC image, the pixels under one row of the kernel are `Kw C` contiguous numbers, and a
//! whole patch is `Kh` such runs. So the left operand of each product is the image itself, read
//! with strides; only the small weights are packed. Padding and a backward stride become zeros
//! in a copy of a few images.

use std::ops::Range;

use super::frame::Frame;
use super::pairs::{self, Pairs};
use super::{Sums, WeightSums};
use crate::cpu::finish::Finish;
use crate::cpu::isa::{Isa, tile_rows_limit};
use crate::cpu::panels::{Panels, PanelsView};
use crate::cpu::products::{ColumnProduct, Grid, RowProduct, Steps};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::LANES;
use crate::geometry::{Conv2d, SHARD, THIN_DEPTH};

/// So many output pixels are wanted at once, so that the products of small images fill their tiles,
/// those of a few pixels near the border included.
const PIXELS_AT_ONCE: usize = 512;

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
                b_step: g.kernel_width() * g.in_channels(),
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
        if let Some(sums) = sums {
            self.weight_gradient(dy, sums);
        }
        if let Some((weights, dx)) = dx {
            self.input_gradient(weights, dy, dx);
        }
    }

    /// A chain through the pixels of the images.
    fn weight_gradient(&self, dy: &[f32], (x, Sums { sums, begin, channels, .. }): WeightSums) {
        assert_eq!(channels, 0..self.g.in_channels(), "all channels");
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
                        begin,
                        columns: g.out_channels(),
                        tile_rows: self.tile_rows,
                    });
                }
            });
        });
    }

    /// dx of some images: a convolution of dy, spread out by the stride and surrounded by zeros.
    /// Pixels near the border see the zeros around through some taps; products of their own leave
    /// these out.
    fn input_gradient(&self, weights: &PanelsView, dy: &[f32], dx: &mut [f32]) {
        let g = &self.g;
        let spread = SpreadGradient::of(g);
        let mut spread_dy = Scratch::zeros(dy.len() / g.out_image_len() * spread.len());
        let mut spread_dy = spread_dy.write();
        let images = spread_dy.chunks_exact_mut(spread.len());
        for (to, dy) in images.zip(dy.chunks_exact(g.out_image_len())) {
            spread.fill(g, dy, to);
        }
        for rows in spread.rows.groups() {
            for columns in spread.columns.groups() {
                self.input_gradient_at([&rows, &columns], weights, (spread, &spread_dy), dx);
            }
        }
    }

    /// The same for some rows and columns of the images.
    fn input_gradient_at(
        &self,
        [rows, columns]: [&Group; 2],
        weights: &PanelsView,
        (spread, spread_dy): (SpreadGradient, &[f32]),
        dx: &mut [f32],
    ) {
        let g = &self.g;
        let (inputs, outputs) = (g.in_channels(), g.out_channels());
        let counts = [dx.len() / g.image_len(), rows.pixels.len(), columns.pixels.len()];
        // A product's rows lie side by side; those of some columns of an image do not.
        let mut found = Scratch::new(counts.iter().product::<usize>() * inputs);
        let mut found = found.write();
        let row_len = spread.row_len();
        let first = [rows, columns].map(|group| group.pixels.start + group.taps.start);
        self.isa.run(RowProduct {
            a: &spread_dy[first[0] * row_len + first[1] * outputs..],
            rows: Grid {
                counts,
                steps: Steps { block: spread.len(), line: row_len, point: outputs },
            },
            runs: rows.taps.len(),
            run_step: row_len,
            run_len: columns.taps.len() * outputs,
            b: weights,
            b_row: (rows.taps.start * g.kernel_width() + columns.taps.start) * outputs,
            b_step: g.kernel_width() * outputs,
            c: &mut found,
            finish: Finish::NONE,
            skips_zeros: false,
            tile_rows: self.tile_rows,
        });
        let lines = found.chunks_exact(columns.pixels.len() * inputs);
        for (i, line) in lines.enumerate() {
            let (image, row) = (i / rows.pixels.len(), rows.pixels.start + i % rows.pixels.len());
            let pixel = (image * g.height() + row) * g.width() + columns.pixels.start;
            dx[pixel * inputs..][..line.len()].copy_from_slice(line);
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

/// The output gradient of an image laid out so that the gradient of input pixel (i, j) is a plain
/// valid convolution at (i, j): stride - 1 zeros between its pixels, zeros around.
#[derive(Clone, Copy)]
struct SpreadGradient {
    rows: Spread,
    columns: Spread,
    channels: usize,
}

impl SpreadGradient {
    fn of(g: &Conv2d) -> Self {
        let along = |inputs, outputs, taps| Spread {
            inputs,
            outputs,
            taps,
            stride: g.stride(),
            origin: taps - 1 - g.padding(),
        };
        SpreadGradient {
            rows: along(g.height(), g.out_height(), g.kernel_height()),
            columns: along(g.width(), g.out_width(), g.kernel_width()),
            channels: g.out_channels(),
        }
    }

    fn row_len(self) -> usize {
        self.columns.len() * self.channels
    }

    fn len(self) -> usize {
        self.rows.len() * self.row_len()
    }

    fn fill(self, g: &Conv2d, dy: &[f32], spread: &mut [f32]) {
        for (i, pixel) in dy.chunks_exact(self.channels).enumerate() {
            let row = self.rows.place(i / g.out_width());
            let column = self.columns.place(i % g.out_width());
            let at = row * self.row_len() + column * self.channels;
            spread[at..at + self.channels].copy_from_slice(pixel);
        }
    }
}

/// The rows of a [`SpreadGradient`], or its columns.
#[derive(Clone, Copy)]
struct Spread {
    inputs: usize,
    outputs: usize,
    taps: usize,
    stride: usize,
    /// The place of output 0.
    origin: usize,
}

/// Neighbouring rows or columns of the input whose windows reach from the first output to the last, or
/// as far as they go, through the same taps. Between outputs lie the zeros of the stride.
struct Group {
    pixels: Range<usize>,
    taps: Range<usize>,
}

impl Spread {
    fn len(self) -> usize {
        self.inputs + self.taps - 1
    }

    fn place(self, output: usize) -> usize {
        self.origin + output * self.stride
    }

    /// The taps of a window at `pixel` that do not lie before the first output or behind the last.
    fn taps(self, pixel: usize) -> Range<usize> {
        let start = self.origin.saturating_sub(pixel);
        let end = (self.place(self.outputs - 1) + 1).saturating_sub(pixel).min(self.taps);
        start.min(end)..end
    }

    /// All pixels.
    fn groups(self) -> impl Iterator<Item = Group> {
        let mut start = 0;
        std::iter::from_fn(move || {
            if start == self.inputs {
                return None;
            }
            let taps = self.taps(start);
            let others = (start..self.inputs).find(|&pixel| self.taps(pixel) != taps);
            let pixels = start..others.unwrap_or(self.inputs);
            start = pixels.end;
            Some(Group { pixels, taps })
        })
    }
}
