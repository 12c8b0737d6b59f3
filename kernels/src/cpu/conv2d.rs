//! Convolution as three products without a column buffer.
//!
//! In an NHWC image, the pixels under one row of the kernel are `Kw C` contiguous numbers, and a
//! whole patch is `Kh` such runs. So the left operand of each product is the image itself, read
//! with strides; only the small weights are packed. Padding and a backward stride become zeros
//! in a copy of one image at a time, which stays in the cache.

use super::isa::{Isa, tile_rows_limit};
use super::panels::Panels;
use super::scratch::Scratch;
use super::simd::LANES;
use super::tile::{ColumnProduct, RowProduct, Steps};
use crate::geometry::{Conv2d, SHARD};
use crate::threads;

/// A task of the forward pass takes at least this many output pixels, so that small images
/// still fill a tile.
const TASK_PIXELS: usize = 64;

/// The images of a shard whose weight gradient is summed in one go take at most this many
/// bytes, input and output gradient together: they should stay in a core's second-level cache.
const CACHED_BYTES: usize = 256 << 10;

/// Widest panel of any instruction set: rows of a right operand that is read in place must be
/// readable up to a multiple of it.
const WIDEST: usize = 2 * LANES;

/// y = x ⋆ w: [N, H, W, C] [Kh, Kw, C, O] -> [N, H', W', O]
pub fn conv2d_forward(g: &Conv2d, x: &[f32], w: &[f32], y: &mut [f32]) {
    let (isa, tile_rows) = (Isa::current(), tile_rows_limit());
    let out_channels = g.out_channels();
    let panels = Panels::pack(isa, g.depth(), out_channels, |k, first, row| {
        row.copy_from_slice(&w[k * out_channels + first..][..row.len()]);
    });
    let b = panels.view();
    let padded = PaddedImage::of(g);
    let images_a_task = TASK_PIXELS.div_ceil(g.out_pixels());
    let offsets: Vec<usize> = (0..images_a_task)
        .flat_map(|image| padded.patch_offsets(g).map(move |offset| image * padded.len() + offset))
        .collect();
    threads::chunks(y, images_a_task * g.out_image_len(), |task, y| {
        let images = y.len() / g.out_image_len();
        let first = task * images_a_task;
        let x = &x[first * g.image_len()..][..images * g.image_len()];
        padded.with_images(g, x, |x| {
            isa.run(RowProduct {
                a: x,
                offsets: &offsets[..images * g.out_pixels()],
                runs: g.kernel_height(),
                run_step: padded.width * g.in_channels(),
                run_len: g.kernel_width() * g.in_channels(),
                b: &b,
                b_row: 0,
                c: y,
                tile_rows,
            });
        });
    });
}

/// dx from dy and w: a convolution of dy, spread out by the stride and surrounded by zeros, with
/// the kernel turned by 180 degrees and its channels exchanged.
pub fn conv2d_backward_input(g: &Conv2d, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let (isa, tile_rows) = (Isa::current(), tile_rows_limit());
    let (kh, kw) = (g.kernel_height(), g.kernel_width());
    let (inputs, outputs) = (g.in_channels(), g.out_channels());
    let panels = Panels::pack(isa, kh * kw * outputs, inputs, |k, first, row| {
        let (tap, output) = (kh * kw - 1 - k / outputs, k % outputs);
        for (j, to) in row.iter_mut().enumerate() {
            *to = w[(tap * inputs + first + j) * outputs + output];
        }
    });
    let b = panels.view();
    let spread = SpreadGradient::of(g);
    let offsets: Vec<usize> = (0..g.width()).map(|column| column * outputs).collect();
    threads::chunks(dx, g.image_len(), |image, dx| {
        let mut scratch = Scratch::zeros(spread.height * spread.row_len);
        let mut dy_spread = scratch.write();
        spread.fill(g, &dy[image * g.out_image_len()..][..g.out_image_len()], &mut dy_spread);
        for (row, dx) in dx.chunks_exact_mut(g.width() * inputs).enumerate() {
            let kernel_rows = spread.rows_with_gradient(g, row);
            isa.run(RowProduct {
                a: &dy_spread[(row + kernel_rows.start) * spread.row_len..],
                offsets: &offsets,
                runs: kernel_rows.len(),
                run_step: spread.row_len,
                run_len: kw * outputs,
                b: &b,
                b_row: kernel_rows.start * kw * outputs,
                c: dx,
                tile_rows,
            });
        }
    });
}

/// dw from x and dy: one chain through the pixels of each shard, shards merged by the tree.
pub fn conv2d_backward_weight(g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let shards = g.images().div_ceil(SHARD);
    if shards <= 1 {
        shard_weight_gradient(Isa::current(), tile_rows_limit(), g, x, dy, dw);
        return;
    }
    let (isa, tile_rows) = (Isa::current(), tile_rows_limit());
    let mut scratch = Scratch::new(shards * g.weight_len());
    let mut partial = scratch.write();
    threads::chunks(&mut partial, g.weight_len(), |shard, dw| {
        let images = shard * SHARD..((shard + 1) * SHARD).min(g.images());
        let x = &x[images.start * g.image_len()..images.end * g.image_len()];
        let dy = &dy[images.start * g.out_image_len()..images.end * g.out_image_len()];
        shard_weight_gradient(isa, tile_rows, g, x, dy, dw);
    });
    super::reduce::tree_of_slices(isa, &partial, g.weight_len(), dw);
}

fn shard_weight_gradient(
    isa: Isa,
    tile_rows: usize,
    g: &Conv2d,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    dw.fill(0.0);
    let padded = PaddedImage::of(g);
    let gradient = PaddedChannels::of(g);
    let run_len = g.kernel_width() * g.in_channels();
    let bytes = (padded.len() + gradient.len()) * size_of::<f32>();
    let images_at_once = (CACHED_BYTES / bytes).max(1);
    for (x, dy) in
        x.chunks(images_at_once * g.image_len()).zip(dy.chunks(images_at_once * g.out_image_len()))
    {
        let images = x.len() / g.image_len();
        padded.with_images(g, x, |x| {
            gradient.with_images(dy, |dy| {
                for (row, dw) in dw.chunks_exact_mut(run_len * g.out_channels()).enumerate() {
                    isa.run(ColumnProduct {
                        a: &x[row * padded.width * g.in_channels()..],
                        a_steps: Steps {
                            block: padded.len(),
                            line: g.stride() * padded.width * g.in_channels(),
                            point: g.stride() * g.in_channels(),
                        },
                        b: dy,
                        b_steps: Steps {
                            block: gradient.len(),
                            line: g.out_width() * gradient.channels,
                            point: gradient.channels,
                        },
                        counts: [images, g.out_height(), g.out_width()],
                        c: dw,
                        columns: g.out_channels(),
                        tile_rows,
                    });
                }
            });
        });
    }
}

/// An image with its padding: the image itself where there is none.
#[derive(Clone, Copy)]
struct PaddedImage {
    height: usize,
    width: usize,
    channels: usize,
}

impl PaddedImage {
    fn of(g: &Conv2d) -> Self {
        PaddedImage {
            height: g.height() + 2 * g.padding(),
            width: g.width() + 2 * g.padding(),
            channels: g.in_channels(),
        }
    }

    fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Where the patch of each output pixel starts.
    fn patch_offsets(self, g: &Conv2d) -> impl Iterator<Item = usize> {
        let (columns, step, row) =
            (g.out_width(), g.stride() * self.channels, self.width * self.channels);
        let stride = g.stride();
        (0..g.out_pixels())
            .map(move |pixel| pixel / columns * stride * row + pixel % columns * step)
    }

    /// Calls `body` with the images of `x`, padded.
    fn with_images(self, g: &Conv2d, x: &[f32], body: impl FnOnce(&[f32])) {
        if g.padding() == 0 {
            return body(x);
        }
        let images = x.len() / g.image_len();
        let mut scratch = Scratch::zeros(images * self.len());
        let mut padded = scratch.write();
        let row_len = g.width() * self.channels;
        for (i, row) in x.chunks_exact(row_len).enumerate() {
            let (image, line) = (i / g.height(), i % g.height());
            let at = image * self.len()
                + ((line + g.padding()) * self.width + g.padding()) * self.channels;
            padded[at..at + row_len].copy_from_slice(row);
        }
        body(&padded);
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
    fn rows_with_gradient(self, g: &Conv2d, row: usize) -> std::ops::Range<usize> {
        let first = self.origin.0;
        let last = first + (g.out_height() - 1) * g.stride();
        let start = first.saturating_sub(row);
        let end = (last + 1).saturating_sub(row).min(g.kernel_height());
        start.min(end)..end
    }
}
