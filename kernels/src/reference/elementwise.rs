//! Bias, ReLU, addition and dropout.

use super::{Real, batch_sum};
use crate::geometry::{Channels, Dropout, Elements, MoveTowards};

/// y\[i, c\] = x\[i, c\] + bias\[c\]: [N P, C] \[C\] -> [N P, C]
pub fn bias_forward<T: Real>(g: &Channels, x: &[T], bias: &[T], y: &mut [T]) {
    for i in 0..g.len() {
        y[i] = x[i] + bias[i % g.channels()];
    }
}

/// dbias\[c\] = sum over images and pixels of dy\[n, p, c\]: [N, P, C] -> \[C\]
pub fn bias_backward<T: Real>(g: &Channels, dy: &[T], dbias: &mut [T]) {
    for c in 0..g.channels() {
        let image_sum = |n: usize| {
            let image = &dy[n * g.image_len()..][..g.image_len()];
            (0..g.pixels()).fold(T::zero(), |sum, p| sum + image[p * g.channels() + c])
        };
        dbias[c] = T::nearest(batch_sum(g.images(), |n| image_sum(n).into()));
    }
}

/// y = max(x, 0); NaN stays NaN, and so does -0.
pub fn relu_forward<T: Real>(g: &Elements, x: &[T], y: &mut [T]) {
    for i in 0..g.len() {
        y[i] = if x[i] < T::zero() { T::zero() } else { x[i] };
    }
}

/// dx = dy where y > 0, else 0
pub fn relu_backward<T: Real>(g: &Elements, y: &[T], dy: &[T], dx: &mut [T]) {
    for i in 0..g.len() {
        dx[i] = if y[i] > T::zero() { dy[i] } else { T::zero() };
    }
}

/// sum += x
pub fn add_assign<T: Real>(g: &Elements, x: &[T], sum: &mut [T]) {
    for i in 0..g.len() {
        sum[i] = sum[i] + x[i];
    }
}

/// average = (x - average) share + average, with one rounding for product and sum
pub fn move_towards<T: Real>(g: &MoveTowards, x: &[T], average: &mut [T]) {
    let share = T::nearest(g.share.into());
    for i in 0..g.len() {
        average[i] = (x[i] - average[i]).mul_add(share, average[i]);
    }
}

/// y = x · 1 / (1 - rate), the factor rounded to f32, where word i of the stream is at least the threshold, else 0
pub fn dropout<T: Real>(g: &Dropout, x: &[T], y: &mut [T]) {
    let scale = T::nearest(g.scale().into());
    for i in 0..g.len() {
        let keeps = g.stream().word(i as u64) >= g.threshold();
        y[i] = if keeps { x[i] * scale } else { T::zero() };
    }
}
