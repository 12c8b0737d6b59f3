//! Targets from labels, computed in `f64` and rounded where they are stored.

use super::Real;
use crate::geometry::Targets;

/// targets\[i\] = smooth(i), or share\[i\] smooth(i) + (1 - share\[i\]) smooth(N - 1 - i), where
/// smooth(i) = (1 - smoothing) onehot(label\[i\]) + smoothing / K: \[N\] \[N\] -> [N, K]
///
/// # Panics
/// If a label is not less than the number of classes, or the geometry has a fault.
pub fn targets<T: Real>(g: &Targets, labels: &[u8], shares: &[T], targets: &mut [T]) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    let smoothing: f64 = g.smoothing.into();
    let smooth = |n: usize, k: usize| {
        let label = usize::from(labels[n]);
        assert!(label < g.classes(), "label {label} of image {n} is not one of the classes");
        let onehot = if k == label { 1.0 } else { 0.0 };
        (1.0 - smoothing) * onehot + smoothing / g.classes() as f64
    };
    for n in 0..g.images() {
        for k in 0..g.classes() {
            let mut target = smooth(n, k);
            if g.mixed == 1 {
                let share: f64 = shares[n].into();
                target = share * target + (1.0 - share) * smooth(g.images() - 1 - n, k);
            }
            targets[n * g.classes() + k] = T::nearest(target);
        }
    }
}
