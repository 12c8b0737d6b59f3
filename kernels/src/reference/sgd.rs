//! The update by SGD with Nesterov's momentum.

use super::Real;
use crate::geometry::Sgd;

/// One update, in this order of operations, where g is the gradient times `summary[3]`:
///
/// - g = weight_decay value + g, with one rounding for product and sum; weight_decay is 0 but for
///   the first `decaying` values
/// - velocity = momentum velocity + g, likewise; 0 if |velocity| <= 1e-30
/// - value = value - rate (momentum velocity + g), with one rounding inside the bracket
///
/// Velocities that small would go on into the denormal numbers, which processors are slow with.
/// Nothing changes if `summary[2]` is 0.
pub fn sgd<T: Real>(
    g: &Sgd,
    gradients: &[T],
    summary: &[T],
    values: &mut [T],
    velocities: &mut [T],
) {
    if summary[2] == T::zero() {
        return;
    }
    let [rate, momentum, weight_decay] =
        [g.rate, g.momentum, g.weight_decay].map(|x| T::nearest(x.into()));
    let smallest = T::nearest(1e-30_f32.into());
    for i in 0..g.len() {
        let weight_decay = if i < g.decaying() { weight_decay } else { T::zero() };
        let gradient = weight_decay.mul_add(values[i], gradients[i] * summary[3]);
        let velocity = momentum.mul_add(velocities[i], gradient);
        velocities[i] = if velocity.abs() > smallest { velocity } else { T::zero() };
        values[i] = values[i] - rate * momentum.mul_add(velocities[i], gradient);
    }
}
