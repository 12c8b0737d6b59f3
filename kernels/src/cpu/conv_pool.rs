//! A convolution with bias, ReLU, max-pooling and dropout, while its output is in the cache.
//!
//! A task goes through all of it with one or a few images; what lies between the convolution
//! and the pool is never written to memory. One byte a pooled number says all that the gradient
//! needs: the maximum's place in its window, or that there is no gradient.

use super::channels::{PixelSums, totals};
use super::conv2d::{Convolution, Tasks, WeightSums};
use super::elementwise::DropCoded;
use super::finish::Finish;
use super::isa::Isa;
use super::panels::PanelsView;
use super::pool::{self, maximum, store_codes, window};
use super::scratch::Scratch;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::{ConvPool, NO_GRADIENT, Pool2d};
use crate::threads::{self, cut};

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
    let outputs = (cut(y, images * out_len), cut(codes, images * out_len));
    threads::each(outputs, |task, (y, codes)| {
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
    let (len, out_len, images) = (g.conv.image_len(), stage.pool.out_image_len(), g.conv.images());
    let channels = dbias.len();
    let mut bias_sums = Scratch::new(images * channels);
    let mut bias_sums = bias_sums.write();
    let tasks = Tasks::new(&stage.conv, &g.conv, weights.is_some());
    let bias_chunks = cut(&mut bias_sums, tasks.images * channels);
    let outputs = (cut(dx, tasks.images * len), bias_chunks);
    tasks.gradients(isa, dw, outputs, (), |all, gradient, mut out| {
        stage.conv.few_at_a_time(all.clone(), gradient, |images, sums| {
            let place = images.start - all.start..images.end - all.start;
            let of = |len: usize| place.start * len..place.end * len;
            let out = out.as_mut().map(|(dx, bias_sums)| ImagesOut {
                bias_sums: &mut bias_sums[of(channels)],
                dx: weights.as_ref().map(|weights| (weights, &mut dx[of(len)])),
            });
            let x = &x[images.start * len..images.end * len];
            let outputs = images.start * out_len..images.end * out_len;
            let dy = (&dy[outputs.clone()], &codes[outputs]);
            stage.backward(dy, sums.map(|sums| (x, sums)), out);
        });
    });
    totals(isa, &bias_sums, dbias);
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

    /// The gradients of some images from `(dy, codes)`, as far as they are wanted: that of the weights
    /// is summed up, what is the images' own written.
    pub fn backward(
        &self,
        (dy, codes): (&[f32], &[u8]),
        sums: Option<WeightSums>,
        out: Option<ImagesOut>,
    ) {
        let (len, out_len) = (self.pool.image_len(), self.pool.out_image_len());
        let mut spread = Scratch::new(dy.len() / out_len * len);
        let mut spread = spread.write();
        let inputs = dy.chunks_exact(out_len).zip(codes.chunks_exact(out_len));
        for ((dy, codes), image) in inputs.zip(spread.chunks_exact_mut(len)) {
            let scale = self.g.dropout.scale();
            self.isa.run(pool::Backward { g: &self.pool, dy, codes, scale, dx: image });
        }
        let dx = out.and_then(|ImagesOut { bias_sums, dx }| {
            let sums = bias_sums.chunks_exact_mut(self.pool.channels());
            for (image, sums) in spread.chunks_exact(len).zip(sums) {
                self.isa.run(PixelSums { image, sums });
            }
            dx
        });
        self.conv.backward(&spread, sums, dx);
    }
}

/// What the backward pass of some images leaves beside the weights' gradient.
pub(super) struct ImagesOut<'a> {
    /// Each image's bias gradient.
    pub bias_sums: &'a mut [f32],
    /// The input gradient, with the weights behind it, if it is wanted.
    pub dx: Option<(&'a PanelsView<'a>, &'a mut [f32])>,
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
