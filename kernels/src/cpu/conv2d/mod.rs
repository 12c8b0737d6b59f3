//! Convolution: two algorithms behind one face, and the menu's passes over a batch.
//!
//! [`algorithm`] is the table that says which convolution is computed how: a function of the
//! geometry alone, so it is the same on every instruction set and any number of threads. Networks
//! that only answer know two more ways: `pairs` for images of one channel, and `single` for a single
//! image that is a single tile.

mod direct;
mod forms;
mod frame;
mod frequency;
mod pairs;
mod pooled;
mod single;
mod tasks;
mod tiles;
mod transform;
mod weights;
mod winograd;
mod winograd_backward;

use std::ops::Range;

use super::finish::Finish;
use super::isa::{Isa, direct_only};
use super::panels::{Panels, PanelsView};
use super::scratch::Scratch;
use super::simd::LANES;
use crate::geometry::{Conv2d, Pool2d};
use crate::threads;
use direct::Direct;
pub(super) use tasks::{PartOfGradient, Tasks};
use winograd::Winograd;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Products over the taps of the kernel: any geometry.
    Direct,
    /// Winograd's minimal filtering by tiles of so many output pixels in each direction.
    Winograd(usize),
}

/// The forms of Winograd's algorithm, by their output pixels in each direction.
const FORMS: [usize; 4] = [2, 4, 5, 6];

/// The algorithm for a geometry, forward and for the gradients: the one with the fewest
/// multiply-adds a channel, and of equals that with the smallest tiles.
#[must_use]
pub fn algorithm(g: &Conv2d) -> Algorithm {
    let blocks = |channels: usize| channels.is_multiple_of(LANES);
    let fits = (g.kernel_height, g.kernel_width, g.stride) == (3, 3, 1)
        && blocks(g.in_channels())
        && blocks(g.out_channels());
    if !fits || direct_only() {
        return Algorithm::Direct;
    }
    let mut best = (9 * g.out_pixels(), Algorithm::Direct);
    for outputs in FORMS {
        let tiles = g.out_height().div_ceil(outputs) * g.out_width().div_ceil(outputs);
        let products = tiles * (outputs + 2) * (outputs + 2);
        if products < best.0 {
            best = (products, Algorithm::Winograd(outputs));
        }
    }
    best.1
}

/// Tasks that a batch is cut into at least, where it has so many images and no more workers. More of
/// them would read the weights more often than a few images pay for.
const TASKS: usize = 4;

/// What the weight gradient of some images is summed up in.
pub(super) struct Sums<'a> {
    /// As many numbers as [`Convolution::few_at_a_time`] gives.
    pub sums: &'a mut [f32],
    /// Whether the sums begin with these images, from 0, and do not go on from what is there.
    pub begin: bool,
    /// Whether there are no other images: then the sums become the gradient itself.
    pub whole: bool,
    /// The input channels whose weights they are for.
    pub channels: Range<usize>,
}

/// Images, and what their weight gradient is summed up in.
pub(super) type WeightSums<'a> = (&'a [f32], Sums<'a>);

/// A convolution of a few images at a time, inside a task.
#[derive(Clone, Copy)]
pub(super) enum Convolution {
    Direct(Direct),
    Winograd(Winograd),
}

impl Convolution {
    /// # Panics
    /// If the geometry is impossible.
    pub fn new(isa: Isa, g: &Conv2d) -> Convolution {
        assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
        match algorithm(g) {
            Algorithm::Direct => Convolution::Direct(Direct::new(isa, g)),
            Algorithm::Winograd(outputs) => Convolution::Winograd(Winograd::new(isa, g, outputs)),
        }
    }

    /// One that answers only, and reads what has just been computed.
    pub fn for_inference(isa: Isa, g: &Conv2d) -> Convolution {
        match Convolution::new(isa, g) {
            Convolution::Winograd(winograd) => {
                Convolution::Winograd(Winograd { from_memory: false, ..winograd })
            }
            Convolution::Direct(direct) => Convolution::Direct(direct.in_pairs()),
        }
    }

    /// One that computes a single image on several threads faster, with the same bits but for what
    /// `single` says, if there is one.
    pub fn for_single_image(&self) -> Option<Convolution> {
        match self {
            Convolution::Direct(_) => None,
            Convolution::Winograd(winograd) => winograd.of_single_tile().map(Convolution::Winograd),
        }
    }

    /// One whose output is that of a pool behind it, if it can do that work as well.
    pub fn pooled(&self, pool: &Pool2d) -> Option<Convolution> {
        match self {
            Convolution::Direct(_) => None,
            Convolution::Winograd(winograd) => winograd.pooled(pool).map(Convolution::Winograd),
        }
    }

    /// Whether its output is that of a pool.
    pub fn is_pooled(&self) -> bool {
        matches!(self, Convolution::Winograd(winograd) if winograd.pooled)
    }

    /// How many images are best given to one call; at most [`SHARD`](crate::geometry::SHARD).
    pub fn images_at_once(&self) -> usize {
        match self {
            Convolution::Direct(direct) => direct.images_at_once(),
            Convolution::Winograd(winograd) => winograd.images_at_once(),
        }
    }

    /// How many images a task of a batch of so many takes: fewer than at once where the batch is
    /// small. Which images a task takes changes no sum, so their number may depend on the workers'.
    pub fn images_of_batch(&self, batch: usize) -> usize {
        self.images_at_once().min(batch / TASKS.max(threads::sharing())).max(1)
    }

    /// Height, width and channels of an output image.
    pub fn output(&self) -> [usize; 3] {
        match self {
            Convolution::Direct(direct) => direct.output(),
            Convolution::Winograd(winograd) => winograd.output(),
        }
    }

    /// How many output rows are computed together.
    pub fn rows_together(&self) -> usize {
        match self {
            Convolution::Direct(_) => 1,
            Convolution::Winograd(winograd) => winograd.rows_together(),
        }
    }

    /// Whether an output costs no more than to read it from another core.
    pub fn is_thin(&self) -> bool {
        matches!(self, Convolution::Direct(direct) if direct.is_thin())
    }

    /// The rows of an image that output rows `rows` are made of, from a multiple of
    /// [`Convolution::rows_together`] on.
    pub fn input_rows(&self, rows: Range<usize>) -> Range<usize> {
        match self {
            Convolution::Direct(direct) => direct.input_rows(rows),
            Convolution::Winograd(winograd) => winograd.input_rows(rows),
        }
    }

    /// The weights for [`Convolution::forward`].
    pub fn pack_forward(&self, g: &Conv2d, w: &[f32]) -> Panels {
        match self {
            Convolution::Direct(direct) => direct.pack_forward(w),
            Convolution::Winograd(winograd) => winograd.pack_forward(g, w),
        }
    }

    /// The weights for the input gradient of [`Convolution::backward`].
    pub fn pack_backward(&self, g: &Conv2d, w: &[f32]) -> Panels {
        match self {
            Convolution::Direct(direct) => direct.pack_backward(w),
            Convolution::Winograd(winograd) => winograd.pack_backward(g, w),
        }
    }

    /// y of some images.
    pub fn forward(&self, weights: &PanelsView, x: &[f32], finish: Finish, y: &mut [f32]) {
        match self {
            Convolution::Direct(direct) => direct.forward(weights, x, finish, y),
            Convolution::Winograd(winograd) => winograd.forward(weights.data, x, finish, y),
        }
    }

    /// Output rows `rows` of one image, from a multiple of [`Convolution::rows_together`] on, of
    /// the channels that `weights` give.
    pub fn forward_part(
        &self,
        weights: &PanelsView,
        x: &[f32],
        rows: Range<usize>,
        finish: Finish,
        y: &mut [f32],
    ) {
        match self {
            Convolution::Direct(direct) => {
                direct.forward_rows(weights, x, [1, rows.len()], rows.start, finish, y);
            }
            Convolution::Winograd(winograd) => winograd.forward_part(weights, x, rows, finish, y),
        }
    }

    /// The most equal parts, by input channels, that a weight gradient can be computed in.
    fn most_parts(&self) -> usize {
        match self {
            Convolution::Direct(_) => 1,
            Convolution::Winograd(winograd) => winograd.inputs.channels / LANES,
        }
    }

    /// Calls `body` for a few of the images `all` at a time. If `gradient` is there, `all` are a shard,
    /// whose weight gradient it becomes: `body` is given what [`Convolution::backward`] adds up for it,
    /// the gradient itself or, at frequencies, more numbers than that.
    pub fn few_at_a_time(
        &self,
        all: Range<usize>,
        gradient: Option<PartOfGradient>,
        mut body: impl FnMut(Range<usize>, Option<Sums>),
    ) {
        let at_once = self.images_at_once();
        let whole = all.len() <= at_once;
        let mut few = |mut sums: Option<(&mut [f32], Range<usize>)>| {
            for first in all.clone().step_by(at_once) {
                let begin = first == all.start;
                let sums = sums.as_mut().map(|(sums, channels)| Sums {
                    sums,
                    begin,
                    whole,
                    channels: channels.clone(),
                });
                body(first..all.end.min(first + at_once), sums);
            }
        };
        match (self, gradient) {
            (_, None) => few(None),
            (Convolution::Winograd(winograd), Some(part)) if !whole => {
                let mut sums = Scratch::new(winograd.sums_len(part.channels.len()));
                let mut sums = sums.write();
                few(Some((&mut sums, part.channels)));
                winograd.finish(&sums, part.numbers);
            }
            (_, Some(part)) => few(Some((part.numbers, part.channels))),
        }
    }

    /// The gradients of some images, as far as they are wanted: that of the weights is summed up, that
    /// of the input written, from `(weights, dx)`.
    pub fn backward(
        &self,
        dy: &[f32],
        sums: Option<WeightSums>,
        dx: Option<(&PanelsView, &mut [f32])>,
    ) {
        if sums.is_none() && dx.is_none() {
            return;
        }
        match self {
            Convolution::Direct(direct) => direct.backward(dy, sums, dx),
            Convolution::Winograd(winograd) => {
                winograd.backward(dy, sums, dx.map(|(weights, dx)| (weights.data, dx)));
            }
        }
    }
}

/// y = x ⋆ w: [N, H, W, C] [Kh, Kw, C, O] -> [N, H', W', O]
pub fn conv2d_forward(g: &Conv2d, x: &[f32], w: &[f32], y: &mut [f32]) {
    let convolution = Convolution::new(Isa::current(), g);
    let weights = convolution.pack_forward(g, w);
    let weights = weights.view();
    let images = convolution.images_of_batch(g.images());
    threads::chunks(y, images * g.out_image_len(), |task, y| {
        let x = &x[task * images * g.image_len()..];
        let x = &x[..y.len() / g.out_image_len() * g.image_len()];
        convolution.forward(&weights, x, Finish::NONE, y);
    });
}

/// dx from dy and w: [N, H', W', O] [Kh, Kw, C, O] -> [N, H, W, C]
pub fn conv2d_backward_input(g: &Conv2d, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let convolution = Convolution::new(Isa::current(), g);
    let weights = convolution.pack_backward(g, w);
    let weights = weights.view();
    let images = convolution.images_of_batch(g.images());
    threads::chunks(dx, images * g.image_len(), |task, dx| {
        let dy = &dy[task * images * g.out_image_len()..];
        let dy = &dy[..dx.len() / g.image_len() * g.out_image_len()];
        convolution.backward(dy, None, Some((&weights, dx)));
    });
}

/// dw from x and dy: one chain through each shard, shards merged by the tree.
pub fn conv2d_backward_weight(g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let isa = Isa::current();
    let convolution = Convolution::new(isa, g);
    Tasks::new(&convolution, g, false).gradients(isa, dw, (), (), |images, gradient, _| {
        convolution.few_at_a_time(images, gradient, |images, sums| {
            let x = &x[images.start * g.image_len()..images.end * g.image_len()];
            let dy = &dy[images.start * g.out_image_len()..images.end * g.out_image_len()];
            convolution.backward(dy, sums.map(|sums| (x, sums)), None);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::panels::panel_width;

    /// The last convolution of the reference network, of which one image is one tile.
    #[test]
    fn single_tiles_are_made_from_taps_where_vectors_are_wide() {
        let conv5 = Conv2d {
            images: 1,
            height: 4,
            width: 4,
            in_channels: 64,
            out_channels: 128,
            kernel_height: 3,
            kernel_width: 3,
            stride: 1,
            padding: 0,
        };
        let isa = Isa::current();
        let single = |g| Convolution::for_inference(isa, &g).for_single_image();
        assert_eq!(single(conv5).is_some(), panel_width(isa) > LANES);
        assert!(single(Conv2d { height: 5, ..conv5 }).is_none(), "two tiles");
        assert!(single(Conv2d { out_channels: 32, ..conv5 }).is_none(), "a single panel");
    }

    /// Tiles of such a geometry would begin outside of the image.
    #[test]
    #[should_panic(expected = "padding must be less than the kernel")]
    fn an_impossible_geometry_is_refused() {
        let g = Conv2d {
            images: 1,
            height: 4,
            width: 4,
            in_channels: 16,
            out_channels: 16,
            kernel_height: 3,
            kernel_width: 3,
            stride: 1,
            padding: 9,
        };
        conv2d_forward(&g, &[0.0; 256], &[0.0; 9 * 256], &mut vec![0.0; g.output_len()]);
    }

    /// Sums over nothing.
    #[test]
    fn the_weight_gradient_of_no_images_is_zero() {
        let g = |in_channels| Conv2d {
            images: 0,
            height: 6,
            width: 6,
            in_channels,
            out_channels: 16,
            kernel_height: 3,
            kernel_width: 3,
            stride: 1,
            padding: 0,
        };
        for threads in [1, 8] {
            threads::Workers::new(threads).unwrap().run(|| {
                for g in [g(1), g(48)] {
                    let mut dw = vec![7.5; g.weight_len()];
                    conv2d_backward_weight(&g, &[], &[], &mut dw);
                    assert!(dw.iter().all(|&dw| dw == 0.0), "{g:?} on {threads} threads");
                }
            });
        }
    }
}
