//! The update by Adam.

use super::Real;
use crate::geometry::Adam;

/// One update, in this order of operations, where g is the gradient times `summary[3]`:
///
/// - m = (g - m) (1 - beta1) + m, with one rounding for product and sum; 0 if |m| <= 1e-30
/// - v = (g g - v) (1 - beta2) + v, likewise; 0 if v <= 1e-36
/// - value = (value - decay value) - (rate m) / (sqrt(v) + epsilon); decay is 0 but for the first
///   `decaying` values
///
/// Moments that small are set to 0 because they would go on into the denormal numbers, which
/// processors are slow with. Nothing changes if `summary[2]` is 0.
pub fn adam<T: Real>(
    g: &Adam,
    gradients: &[T],
    summary: &[T],
    values: &mut [T],
    first_moment: &mut [T],
    second_moment: &mut [T],
) {
    if summary[2] == T::zero() {
        return;
    }
    let [rate, share1, share2, epsilon, decay] =
        [g.rate, g.share1, g.share2, g.epsilon, g.decay].map(|x| T::nearest(x.into()));
    let [smallest_first, smallest_second] = [1e-30_f32, 1e-36].map(|x| T::nearest(x.into()));
    for i in 0..g.len() {
        let (gradient, m, v) = (gradients[i] * summary[3], first_moment[i], second_moment[i]);
        let m = (gradient - m).mul_add(share1, m);
        let v = (gradient * gradient - v).mul_add(share2, v);
        first_moment[i] = if m.abs() > smallest_first { m } else { T::zero() };
        second_moment[i] = if v > smallest_second { v } else { T::zero() };
        let step = rate * first_moment[i] / (second_moment[i].sqrt() + epsilon);
        let decay = if i < g.decaying() { decay } else { T::zero() };
        values[i] = (values[i] - decay * values[i]) - step;
    }
}
