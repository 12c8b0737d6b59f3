//! The update by Adam: one pass over gradients, values and both moments.

use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::geometry::Adam;

/// m = (g - m) (1 - beta1) + m, v = (g g - v) (1 - beta2) + v,
/// value = (value - decay value) - (rate m) / (sqrt(v) + epsilon), where g is the gradient times
/// `summary[3]`; decay is 0 but for the first `decaying` values.
///
/// Nothing changes if `summary[2]` is 0.
pub fn adam(
    g: &Adam,
    gradients: &Memory,
    summary: &Memory,
    values: &mut Memory,
    first_moment: &mut Memory,
    second_moment: &mut Memory,
) {
    Dispatch::new("adam", "adam")
        .constant("LEN", g.len)
        .constant("DECAYING", g.decaying)
        .constant("SHARE1", g.share1)
        .constant("SHARE2", g.share2)
        .constant("EPSILON", g.epsilon)
        .read(gradients)
        .read(summary)
        .write(values)
        .write(first_moment)
        .write(second_moment)
        .real(g.rate)
        .real(g.decay)
        .run(g.len());
}
