//! The update by SGD with Nesterov's momentum: one pass over gradients, values and velocities.

use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::geometry::Sgd;

/// g = weight_decay value + gradient `summary[3]`, velocity = momentum velocity + g,
/// value = value - rate (momentum velocity + g); weight_decay is 0 but for the first `decaying`
/// values.
///
/// Nothing changes if `summary[2]` is 0.
pub fn sgd(
    g: &Sgd,
    gradients: &Memory,
    summary: &Memory,
    values: &mut Memory,
    velocities: &mut Memory,
) {
    Dispatch::new("sgd", "sgd")
        .constant("LEN", g.len)
        .constant("DECAYING", g.decaying)
        .constant("MOMENTUM", g.momentum)
        .constant("WEIGHT_DECAY", g.weight_decay)
        .read(gradients)
        .read(summary)
        .write(values)
        .write(velocities)
        .real(g.rate)
        .run(g.len());
}
