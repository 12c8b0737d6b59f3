//! Batch normalisation, a channel at a time.
//!
//! Forward: a task an image finds the image's mean and squared deviations in f32 while the image
//! is in the cache; these few numbers are merged in f64; a second pass normalises. Backward: the
//! same with the two sums that dgamma and dbeta are, and dx.

use super::channels::{
    ChannelBlock, TASK_CHANNELS, channel_blocks, load_channels, store_channels, totals_of,
};
use super::elementwise::{larger, task_rows_len};
use super::isa::Isa;
use super::moments::{ImageMoments, MergeMoments};
use super::scratch::Scratch;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::BatchNorm;
use crate::threads::{self, cut};

/// y = gamma (x - mean) inverse_deviation + beta with the batch's own statistics; the running ones
/// move towards them: [N, P, C] \[C\] \[C\] -> [N, P, C] \[C\] \[C\] \[C\] \[C\]
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn batch_norm_forward(
    g: &BatchNorm,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [f32],
    mean: &mut [f32],
    inverse_deviation: &mut [f32],
    running_mean: &mut [f32],
    running_variance: &mut [f32],
) {
    let (isa, channels) = (Isa::current(), g.channels().max(1));
    let mut means = Scratch::new(g.images() * g.channels());
    let mut squares = Scratch::new(g.images() * g.channels());
    let (mut means, mut squares) = (means.write(), squares.write());
    let outputs = (cut(&mut means, channels), cut(&mut squares, channels));
    threads::each(outputs, |n, (means, squares)| {
        let image = &x[n * g.image_len()..][..g.image_len()];
        isa.run(ImageMoments { image, means, squares });
    });
    let running = [running_mean, running_variance];
    statistics(isa, g, [&means, &squares], [mean, inverse_deviation], running);
    normalise(isa, x, [gamma, beta, mean, inverse_deviation], y);
}

/// The batch's mean and inverse deviation from its images' moments, [N, C] [N, C]; the running
/// mean and variance move towards them.
pub(super) fn statistics(
    isa: Isa,
    g: &BatchNorm,
    [means, squares]: [&[f32]; 2],
    [mean, inverse_deviation]: [&mut [f32]; 2],
    [running_mean, running_variance]: [&mut [f32]; 2],
) {
    let momentum = f64::from(g.momentum);
    let moved = |old: f32, new: f64| (momentum * f64::from(old) + (1.0 - momentum) * new) as f32;
    let batch = (cut(mean, TASK_CHANNELS), cut(inverse_deviation, TASK_CHANNELS));
    let running = (cut(running_mean, TASK_CHANNELS), cut(running_variance, TASK_CHANNELS));
    threads::each((batch, running), |task, (batch, running)| {
        let (mean, inverse_deviation) = batch;
        let (running_mean, running_variance) = running;
        let range = task * TASK_CHANNELS..task * TASK_CHANNELS + mean.len();
        let finish = |i: usize, count: f64, batch_mean: f64, batch_squares: f64| {
            mean[i] = batch_mean as f32;
            inverse_deviation[i] = self::inverse_deviation(g, batch_squares / count);
            running_mean[i] = moved(running_mean[i], batch_mean);
            let unbiased = batch_squares / (count - 1.0).max(1.0);
            running_variance[i] = moved(running_variance[i], unbiased);
        };
        isa.run(MergeMoments { g, range, means, squares, finish });
    });
}

/// `1 / sqrt(variance + epsilon)`
fn inverse_deviation(g: &BatchNorm, variance: f64) -> f32 {
    (1.0 / (variance + f64::from(g.epsilon)).sqrt()) as f32
}

/// y = (x - mean) scale + beta with scale = gamma inverse_deviation
fn normalise(
    isa: Isa,
    x: &[f32],
    [gamma, beta, mean, inverse_deviation]: [&[f32]; 4],
    y: &mut [f32],
) {
    let mut scale = Scratch::new(gamma.len());
    let mut scale = scale.write();
    multiply(gamma, inverse_deviation, &mut scale);
    let (scale, len) = (&*scale, task_rows_len(gamma.len()));
    threads::chunks(y, len, |task, y| {
        isa.run(Normalise { x: &x[task * len..][..y.len()], mean, scale, beta, relu: false, y });
    });
}

/// product = a b
pub(super) fn multiply(a: &[f32], b: &[f32], product: &mut [f32]) {
    for ((product, a), b) in product.iter_mut().zip(a).zip(b) {
        *product = a * b;
    }
}

/// y = (x - mean) scale + beta, and where `relu` the larger of that and 0: [P, C] -> [P, C]
pub(super) struct Normalise<'a> {
    pub x: &'a [f32],
    pub mean: &'a [f32],
    pub scale: &'a [f32],
    pub beta: &'a [f32],
    pub relu: bool,
    pub y: &'a mut [f32],
}

impl Kernel for Normalise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        channel_blocks(s, self.mean.len(), &mut self);
    }
}

impl ChannelBlock for Normalise<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(&mut self, s: S, channel: usize) {
        let mean = load_channels::<S, VECTORS>(s, self.mean, channel);
        let scale = load_channels::<S, VECTORS>(s, self.scale, channel);
        let beta = load_channels::<S, VECTORS>(s, self.beta, channel);
        let (channels, zero) = (self.mean.len(), s.splat(0.0));
        for (x, y) in self.x.chunks_exact(channels).zip(self.y.chunks_exact_mut(channels)) {
            let (x, y) = (&x[channel..], &mut y[channel..]);
            for i in 0..VECTORS {
                let deviation = s.sub(s.load_slice(&x[i * LANES..]), mean[i]);
                let normal = s.fma(deviation, scale[i], beta[i]);
                let normal = if self.relu { larger(s, normal, zero) } else { normal };
                s.store_slice(&mut y[i * LANES..], normal);
            }
        }
    }
}

/// dx, dgamma and dbeta: [N, P, C] [N, P, C] \[C\] \[C\] \[C\] -> [N, P, C] \[C\] \[C\]
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn batch_norm_backward(
    g: &BatchNorm,
    dy: &[f32],
    x: &[f32],
    gamma: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let (isa, channels) = (Isa::current(), g.channels().max(1));
    let mut sums = Scratch::new(g.images() * g.channels());
    let mut xhat_sums = Scratch::new(g.images() * g.channels());
    let (mut sums, mut xhat_sums) = (sums.write(), xhat_sums.write());
    let outputs = (cut(&mut sums, channels), cut(&mut xhat_sums, channels));
    threads::each(outputs, |n, (sums, xhat_sums)| {
        let image = n * g.image_len()..(n + 1) * g.image_len();
        let (dy, x) = (&dy[image.clone()], &x[image]);
        isa.run(ImageGradients { dy, x, mean, inverse_deviation, sums, xhat_sums });
    });
    let mut factors = Scratch::new(FACTORS * g.channels());
    let mut factors = factors.write();
    let statistics = [gamma, mean, inverse_deviation];
    gradient_factors(isa, g, [&sums, &xhat_sums], statistics, [dgamma, dbeta], &mut factors);
    let (factors, len) = (&*factors, task_rows_len(g.channels()));
    threads::chunks(dx, len, |task, dx| {
        let range = task * len..task * len + dx.len();
        isa.run(InputGradient { dy: &dy[range.clone()], x: &x[range], factors, dx });
    });
}

/// How many numbers a channel [`InputGradient`] goes by: mean, inverse deviation, scale, mean of dy,
/// minus the mean of dy xhat.
pub(super) const FACTORS: usize = 5;

/// dgamma, dbeta and the factors of dx, [[`FACTORS`], C], from the images' sums, [N, C] [N, C].
pub(super) fn gradient_factors(
    isa: Isa,
    g: &BatchNorm,
    [sums, xhat_sums]: [&[f32]; 2],
    [gamma, mean, inverse_deviation]: [&[f32]; 3],
    [dgamma, dbeta]: [&mut [f32]; 2],
    factors: &mut [f32],
) {
    let (count, channels) = ((g.images() * g.pixels()) as f64, g.channels());
    let (given, derived) = factors.split_at_mut(2 * channels);
    given[..channels].copy_from_slice(mean);
    given[channels..].copy_from_slice(inverse_deviation);
    let (scale, means) = derived.split_at_mut(channels);
    let (mean_dy, minus_mean_dy_xhat) = means.split_at_mut(channels);
    multiply(gamma, inverse_deviation, scale);
    let gradients = (cut(dgamma, TASK_CHANNELS), cut(dbeta, TASK_CHANNELS));
    let means = (cut(mean_dy, TASK_CHANNELS), cut(minus_mean_dy_xhat, TASK_CHANNELS));
    threads::each((gradients, means), |task, ((dgamma, dbeta), (mean_dy, minus_mean_dy_xhat))| {
        let range = task * TASK_CHANNELS..task * TASK_CHANNELS + dgamma.len();
        totals_of(isa, sums, channels, range.clone(), |i, total| {
            (dbeta[i], mean_dy[i]) = (total as f32, (total / count) as f32);
        });
        totals_of(isa, xhat_sums, channels, range, |i, total| {
            (dgamma[i], minus_mean_dy_xhat[i]) = (total as f32, -(total / count) as f32);
        });
    });
}

/// The sums of dy and of dy xhat over an image's pixels: [P, C] [P, C] -> \[C\] \[C\]
pub(super) struct ImageGradients<'a> {
    pub dy: &'a [f32],
    pub x: &'a [f32],
    pub mean: &'a [f32],
    pub inverse_deviation: &'a [f32],
    pub sums: &'a mut [f32],
    pub xhat_sums: &'a mut [f32],
}

impl Kernel for ImageGradients<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        channel_blocks(s, self.mean.len(), &mut self);
    }
}

impl ChannelBlock for ImageGradients<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(&mut self, s: S, channel: usize) {
        let zeros = [s.splat(0.0); VECTORS];
        let means = load_channels::<S, VECTORS>(s, self.mean, channel);
        let inverses = load_channels::<S, VECTORS>(s, self.inverse_deviation, channel);
        let (mut sums, mut xhat_sums) = (zeros, zeros);
        for pixel in (channel..self.x.len()).step_by(self.mean.len()) {
            let statistics = means.iter().zip(&inverses);
            let sums = sums.iter_mut().zip(&mut xhat_sums);
            for (i, ((&mean, &inverse), (sum, xhat_sum))) in statistics.zip(sums).enumerate() {
                let dy = s.load_slice(&self.dy[pixel + i * LANES..]);
                let x = s.load_slice(&self.x[pixel + i * LANES..]);
                let xhat = s.mul(s.sub(x, mean), inverse);
                *sum = s.add(*sum, dy);
                *xhat_sum = s.fma(dy, xhat, *xhat_sum);
            }
        }
        store_channels(s, self.sums, channel, &sums);
        store_channels(s, self.xhat_sums, channel, &xhat_sums);
    }
}

/// dn = dy where the result of a ReLU behind the batch norm is above 0, else 0; and the sums of
/// [`ImageGradients`] for dn. In place: memory that a few images do not touch stays in the cache
/// for something else.
pub(super) struct MaskedGradients<'a> {
    pub x: &'a [f32],
    pub mean: &'a [f32],
    pub inverse_deviation: &'a [f32],
    /// dy, which becomes dn.
    pub gradient: &'a mut [f32],
    /// The result of the ReLU, which becomes xhat if `keep_xhat`.
    pub positive: &'a mut [f32],
    pub keep_xhat: bool,
    pub sums: &'a mut [f32],
    pub xhat_sums: &'a mut [f32],
}

impl Kernel for MaskedGradients<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        channel_blocks(s, self.mean.len(), &mut self);
    }
}

impl ChannelBlock for MaskedGradients<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(&mut self, s: S, channel: usize) {
        let zero = s.splat(0.0);
        let means = load_channels::<S, VECTORS>(s, self.mean, channel);
        let inverses = load_channels::<S, VECTORS>(s, self.inverse_deviation, channel);
        let (mut sums, mut xhat_sums) = ([zero; VECTORS], [zero; VECTORS]);
        let channels = self.mean.len();
        let gradients = self.gradient.chunks_exact_mut(channels);
        let changed = gradients.zip(self.positive.chunks_exact_mut(channels));
        for (x, (gradient, positive)) in self.x.chunks_exact(channels).zip(changed) {
            let x = &x[channel..];
            let (gradient, positive) = (&mut gradient[channel..], &mut positive[channel..]);
            for i in 0..VECTORS {
                let from = i * LANES;
                let dy = s.load_slice(&gradient[from..]);
                let masked = s.select_gt(s.load_slice(&positive[from..]), zero, dy, zero);
                s.store_slice(&mut gradient[from..], masked);
                let xhat = s.mul(s.sub(s.load_slice(&x[from..]), means[i]), inverses[i]);
                if self.keep_xhat {
                    s.store_slice(&mut positive[from..], xhat);
                }
                sums[i] = s.add(sums[i], masked);
                xhat_sums[i] = s.fma(masked, xhat, xhat_sums[i]);
            }
        }
        store_channels(s, self.sums, channel, &sums);
        store_channels(s, self.xhat_sums, channel, &xhat_sums);
    }
}

/// dx = scale (dy - mean_dy - xhat mean_dy_xhat)
pub(super) struct InputGradient<'a> {
    pub dy: &'a [f32],
    pub x: &'a [f32],
    /// [[`FACTORS`], C]
    pub factors: &'a [f32],
    pub dx: &'a mut [f32],
}

impl Kernel for InputGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        channel_blocks(s, self.factors.len() / FACTORS, &mut self);
    }
}

impl ChannelBlock for InputGradient<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(&mut self, s: S, channel: usize) {
        let channels = self.factors.len() / FACTORS;
        let mut factors = [[s.splat(0.0); VECTORS]; FACTORS];
        for (factors, all) in factors.iter_mut().zip(self.factors.chunks_exact(channels)) {
            *factors = load_channels::<S, VECTORS>(s, all, channel);
        }
        let [mean, inverse_deviation, scale, mean_dy, minus_mean_dy_xhat] = factors;
        let inputs = self.dy.chunks_exact(channels).zip(self.x.chunks_exact(channels));
        for ((dy, x), dx) in inputs.zip(self.dx.chunks_exact_mut(channels)) {
            let (dy, x, dx) = (&dy[channel..], &x[channel..], &mut dx[channel..]);
            for i in 0..VECTORS {
                let deviation = s.sub(s.load_slice(&x[i * LANES..]), mean[i]);
                let xhat = s.mul(deviation, inverse_deviation[i]);
                let centred = s.sub(s.load_slice(&dy[i * LANES..]), mean_dy[i]);
                let rest = s.fma(xhat, minus_mean_dy_xhat[i], centred);
                s.store_slice(&mut dx[i * LANES..], s.mul(scale[i], rest));
            }
        }
    }
}

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta with the running statistics:
/// [N, P, C] \[C\] \[C\] \[C\] \[C\] -> [N, P, C]
pub fn batch_norm_inference(
    g: &BatchNorm,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    variance: &[f32],
    y: &mut [f32],
) {
    let mut inverse = Scratch::new(variance.len());
    let mut inverse = inverse.write();
    for (inverse, &variance) in inverse.iter_mut().zip(variance) {
        *inverse = inverse_deviation(g, variance.into());
    }
    normalise(Isa::current(), x, [gamma, beta, mean, &inverse], y);
}
