//! A convolution with bias, ReLU, max-pooling and dropout, while its output is in the cache.
//!
//! A task goes through all of it with one or a few images; what lies between the convolution
//! and the pool is never written to memory. One byte a pooled number says all that the gradient
//! needs: the maximum's place in its window, or that there is no gradient.

use super::channels::{PixelSums, totals};
use super::conv2d::{Convolution, WeightSums};
use super::elementwise::DropCoded;
use super::finish::Finish;
use super::isa::Isa;
use super::panels::PanelsView;
use super::pool::{self, maximum, store_codes, window};
use super::reduce::tree_of_slices;
use super::scratch::Scratch;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::{ConvPool, NO_GRADIENT, Pool2d, shard_len};
use crate::threads;

/// y = dropout(pool(relu(x ⋆ w + bias))), codes: [N, H, W, C] [Kh, Kw, C, O] \[O\] -> [N, H', W', O]
pub fn conv_pool_forward(
    g: &ConvPool,
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    y: &mut [f32],
    codes: &mut [u8],
) {
    let stage = Stage::new(Isa::current(), g);
    let weights = stage.conv.pack_forward(&g.conv, w);
    let weights = weights.view();
    let out_len = stage.pool.out_image_len();
    let images = stage.conv.images_of_batch(g.conv.images());
    threads::chunks2((y, images * out_len), (codes, images * out_len), |task, y, codes| {
        let first = task * images;
        let x = &x[first * g.conv.image_len()..];
        let x = &x[..y.len() / out_len * g.conv.image_len()];
        stage.forward(first, x, &weights, bias, y, codes);
    });
}

/// dx, dw and dbias from dy and the codes. The sums of dw and dbias have the orders of
/// `conv2d_backward_weight` and `bias_backward`.
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_pool_backward(
    g: &ConvPool,
    dy: &[f32],
    codes: &[u8],
    x: &[f32],
    w: &[f32],
    dx: &mut [f32],
    dw: &mut [f32],
    dbias: &mut [f32],
) {
    let isa = Isa::current();
    let stage = Stage::new(isa, g);
    let weights = (g.input_gradient != 0).then(|| stage.conv.pack_backward(&g.conv, w));
    let weights = weights.as_ref().map(|weights| weights.view());
    let (len, out_len) = (g.conv.image_len(), stage.pool.out_image_len());
    let shard_len = shard_len(g.conv.images());
    let shards = g.conv.images().div_ceil(shard_len);
    let mut parts = Scratch::new(shards * w.len());
    let mut parts = parts.write();
    let mut bias_sums = Scratch::new(g.conv.images() * dbias.len());
    let mut bias_sums = bias_sums.write();
    let images = stage.conv.images_at_once();
    threads::chunks3(
        (dx, shard_len * len),
        (&mut parts, w.len()),
        (&mut bias_sums, shard_len * dbias.len()),
        |shard, dx, part, bias_sums| {
            let end = shard * shard_len + bias_sums.len() / dbias.len();
            stage.conv.weight_gradient(part, |sums| {
                for first in (shard * shard_len..end).step_by(images) {
                    let range = first..end.min(first + images);
                    let place = first - shard * shard_len..range.end - shard * shard_len;
                    let out = range.start * out_len..range.end * out_len;
                    let dx = weights
                        .as_ref()
                        .map(|weights| (weights, &mut dx[place.start * len..place.end * len]));
                    let x = &x[range.start * len..range.end * len];
                    stage.backward(
                        (&dy[out.clone()], &codes[out]),
                        WeightSums { x, sums, begin: place.start == 0 },
                        &mut bias_sums[place.start * dbias.len()..place.end * dbias.len()],
                        dx,
                    );
                }
            });
        },
    );
    tree_of_slices(isa, &parts, w.len(), dw);
    bias_gradient(isa, &bias_sums, dbias);
}

/// dbias from the sums of each image: [N, O] -> \[O\]
pub(super) fn bias_gradient(isa: Isa, bias_sums: &[f32], dbias: &mut [f32]) {
    totals(isa, bias_sums, dbias.len(), |c, totals| {
        for (dbias, &total) in dbias[c..].iter_mut().zip(totals) {
            *dbias = total as f32;
        }
    });
}

/// The whole chain on a few images, inside a task.
pub(super) struct Stage<'a> {
    isa: Isa,
    g: &'a ConvPool,
    pub conv: Convolution,
    pub pool: Pool2d,
}

impl<'a> Stage<'a> {
    pub fn new(isa: Isa, g: &'a ConvPool) -> Stage<'a> {
        Stage { isa, g, conv: Convolution::new(isa, &g.conv), pool: g.pool() }
    }

    /// y and codes of the images from number `first` on.
    pub fn forward(
        &self,
        first: usize,
        x: &[f32],
        weights: &PanelsView,
        bias: &[f32],
        y: &mut [f32],
        codes: &mut [u8],
    ) {
        let (len, out_len) = (self.pool.image_len(), self.pool.out_image_len());
        let mut convolved = Scratch::new(y.len() / out_len * len);
        let mut convolved = convolved.write();
        self.conv.forward(weights, x, Finish::NONE, &mut convolved);
        let outputs = y.chunks_exact_mut(out_len).zip(codes.chunks_exact_mut(out_len));
        for (x, (y, codes)) in convolved.chunks_exact(len).zip(outputs) {
            self.isa.run(BiasReluPool { g: &self.pool, x, bias, y, codes });
        }
        let dropout = &self.g.dropout;
        if dropout.rate > 0.0 {
            self.isa.run(DropCoded {
                stream: dropout.stream(),
                first: (first * out_len) as u64,
                threshold: dropout.threshold(),
                scale: dropout.scale(),
                y,
                codes,
            });
        }
    }

    /// The gradients of some images from `(dy, codes)`: that of the weights is summed up; each
    /// image's bias gradient is written to `bias_sums`, and the input gradient from
    /// `(weights, dx)`.
    pub fn backward(
        &self,
        (dy, codes): (&[f32], &[u8]),
        sums: WeightSums,
        bias_sums: &mut [f32],
        dx: Option<(&PanelsView, &mut [f32])>,
    ) {
        let (len, out_len) = (self.pool.image_len(), self.pool.out_image_len());
        let mut spread = Scratch::new(dy.len() / out_len * len);
        let mut spread = spread.write();
        let channels = self.pool.channels();
        let inputs = dy.chunks_exact(out_len).zip(codes.chunks_exact(out_len));
        let outputs = spread.chunks_exact_mut(len).zip(bias_sums.chunks_exact_mut(channels));
        for ((dy, codes), (image, sums)) in inputs.zip(outputs) {
            let scale = self.g.dropout.scale();
            self.isa.run(pool::Backward { g: &self.pool, dy, codes, scale, dx: image });
            self.isa.run(PixelSums { image, sums });
        }
        self.conv.backward(&spread, Some(sums), dx);
    }
}

/// y = pool(relu(x + bias)) of one image, and each maximum's place in its window or
/// [`NO_GRADIENT`]: what the three kernels of the menu do one after the other.
struct BiasReluPool<'a> {
    g: &'a Pool2d,
    x: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
    codes: &'a mut [u8],
}

impl Kernel for BiasReluPool<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (g, channels, zero) = (self.g, self.g.channels(), s.splat(0.0));
        let (none, finish) =
            (s.splat(f32::from(NO_GRADIENT)), Finish { bias: self.bias, relu: true });
        let outputs = self.y.chunks_exact_mut(channels).zip(self.codes.chunks_exact_mut(channels));
        for (i, (y, codes)) in outputs.enumerate() {
            let first = window(g, i / g.out_width(), i % g.out_width());
            for c in (0..channels).step_by(LANES) {
                let (best, code) = maximum(s, g, self.x, first + c, finish.at(s, c));
                s.store_slice(&mut y[c..], best);
                store_codes(s, &mut codes[c..], s.select_gt(best, zero, code, none));
            }
        }
    }
}
