//! Batch normalisation, a channel at a time: [N, P, C] in, [N, P, C] out, \[C\] for the rest.

use super::{Real, batch_sum, shards, tree_sum};
use crate::geometry::BatchNorm;

/// What is known of a set of numbers: how many, their mean, and the sum of the squared deviations
/// from it.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    const NONE: Moments = Moments { count: 0.0, mean: 0.0, squares: 0.0 };

    /// The moments of both sets together (Chan, Golub and LeVeque, 1979).
    fn merge(self, other: Moments) -> Moments {
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        let mean = self.mean + delta * (other.count / count);
        let between = delta * delta * (self.count * other.count / count);
        Moments { count, mean, squares: self.squares + other.squares + between }
    }
}

/// The moments of channel `c` of image `n`: a chain over the pixels for the mean, another for the
/// squares.
fn image_moments<T: Real>(g: &BatchNorm, x: &[T], n: usize, c: usize) -> Moments {
    let image = &x[n * g.image_len()..][..g.image_len()];
    let pixels = || image.iter().skip(c).step_by(g.channels());
    let count = g.pixels() as f64;
    let mean = pixels().fold(T::zero(), |sum, &x| sum + x) / T::nearest(count);
    let squares = pixels().fold(T::zero(), |sum, &x| (x - mean).mul_add(x - mean, sum));
    Moments { count, mean: mean.into(), squares: squares.into() }
}

/// `1 / sqrt(variance + epsilon)`
fn inverse_deviation<T: Real>(g: &BatchNorm, variance: f64) -> T {
    T::nearest(1.0 / (variance + f64::from(g.epsilon)).sqrt())
}

/// y = (x - mean) scale + beta with scale = gamma inverse_deviation, rounded after each of: the
/// difference, the scale, the multiply-add.
pub(super) fn normalise<T: Real>(
    g: &BatchNorm,
    x: &[T],
    [gamma, beta, mean, inverse_deviation]: [&[T]; 4],
    y: &mut [T],
) {
    for i in 0..g.len() {
        let c = i % g.channels();
        y[i] = (x[i] - mean[c]).mul_add(gamma[c] * inverse_deviation[c], beta[c]);
    }
}

/// y = gamma (x - mean) inverse_deviation + beta with the batch's mean and variance, which also
/// move the running ones: running = momentum running + (1 - momentum) batch.
///
/// The variance is `squares / n` in y and `squares / (n - 1)` in the running one (`/ n` where
/// n = 1), with n = N P.
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn batch_norm_forward<T: Real>(
    g: &BatchNorm,
    x: &[T],
    gamma: &[T],
    beta: &[T],
    y: &mut [T],
    mean: &mut [T],
    inverse: &mut [T],
    running_mean: &mut [T],
    running_variance: &mut [T],
) {
    let momentum = f64::from(g.momentum);
    let moved = |old: T, new: f64| T::nearest(momentum * old.into() + (1.0 - momentum) * new);
    for c in 0..g.channels() {
        let shard_moments = |shard: std::ops::Range<usize>| {
            let images = shard.map(|n| image_moments(g, x, n, c));
            images.reduce(Moments::merge).unwrap_or(Moments::NONE)
        };
        let shards = shards(g.images()).map(shard_moments).collect();
        let all = tree_sum(shards, Moments::merge).unwrap_or(Moments::NONE);
        mean[c] = T::nearest(all.mean);
        inverse[c] = inverse_deviation(g, all.squares / all.count);
        running_mean[c] = moved(running_mean[c], all.mean);
        running_variance[c] = moved(running_variance[c], all.squares / (all.count - 1.0).max(1.0));
    }
    normalise(g, x, [gamma, beta, mean, inverse], y);
}

/// dbeta = sum dy, dgamma = sum dy xhat, dx = scale (dy - dbeta / n - xhat dgamma / n), with
/// xhat = (x - mean) inverse_deviation, scale = gamma inverse_deviation and n = N P.
///
/// Rounded in dx: both quotients, xhat, scale, dy - dbeta / n, the multiply-add that subtracts
/// the rest, the product with the scale.
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn batch_norm_backward<T: Real>(
    g: &BatchNorm,
    dy: &[T],
    x: &[T],
    gamma: &[T],
    mean: &[T],
    inverse_deviation: &[T],
    dx: &mut [T],
    dgamma: &mut [T],
    dbeta: &mut [T],
) {
    let count = (g.images() * g.pixels()) as f64;
    for c in 0..g.channels() {
        let xhat = |i: usize| (x[i] - mean[c]) * inverse_deviation[c];
        let pixels =
            |n: usize| (0..g.pixels()).map(move |p| (n * g.pixels() + p) * g.channels() + c);
        let sum_dy = batch_sum(g.images(), |n| pixels(n).fold(T::zero(), |s, i| s + dy[i]).into());
        let sum_dy_xhat = batch_sum(g.images(), |n| {
            pixels(n).fold(T::zero(), |s, i| dy[i].mul_add(xhat(i), s)).into()
        });
        (dbeta[c], dgamma[c]) = (T::nearest(sum_dy), T::nearest(sum_dy_xhat));

        let (mean_dy, mean_dy_xhat) = (T::nearest(sum_dy / count), T::nearest(sum_dy_xhat / count));
        let scale = gamma[c] * inverse_deviation[c];
        for i in (0..g.images()).flat_map(pixels) {
            dx[i] = scale * (-xhat(i)).mul_add(mean_dy_xhat, dy[i] - mean_dy);
        }
    }
}

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta with the running mean and variance
pub fn batch_norm_inference<T: Real>(
    g: &BatchNorm,
    x: &[T],
    gamma: &[T],
    beta: &[T],
    mean: &[T],
    variance: &[T],
    y: &mut [T],
) {
    let inverse: Vec<T> = variance.iter().map(|&v| inverse_deviation(g, v.into())).collect();
    normalise(g, x, [gamma, beta, mean, &inverse], y);
}
