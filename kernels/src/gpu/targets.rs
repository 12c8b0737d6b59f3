//! Targets from labels.

use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::geometry::Targets;

/// targets\[i\] = smooth(i), or share\[i\] smooth(i) + (1 - share\[i\]) smooth(N - 1 - i), where
/// smooth(i) = (1 - smoothing) onehot(label\[i\]) + smoothing / K: \[N\] \[N\] -> [N, K]
///
/// A label that is not less than the number of classes has no target of its own.
///
/// # Panics
/// If the geometry has a fault.
pub fn targets(g: &Targets, labels: &Memory, shares: &Memory, targets: &mut Memory) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    let smoothing = f64::from(g.smoothing);
    let all = smoothing / g.classes() as f64;
    Dispatch::new("targets", "make_targets")
        .constant("IMAGES", g.images)
        .constant("CLASSES", g.classes)
        .constant("MIXED", g.mixed)
        .constant("OWN", (1.0 - smoothing + all) as f32)
        .constant("OTHER", all as f32)
        .read(labels)
        .read(shares)
        .write(targets)
        .run(g.len());
}
