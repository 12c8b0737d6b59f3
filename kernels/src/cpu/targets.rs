//! Targets from labels: a few numbers an image, in f64.

use super::cross_entropy::check_labels;
use crate::geometry::{CrossEntropy, Targets};

/// targets\[i\] = smooth(i), or share\[i\] smooth(i) + (1 - share\[i\]) smooth(N - 1 - i), where
/// smooth(i) = (1 - smoothing) onehot(label\[i\]) + smoothing / K: \[N\] \[N\] -> [N, K]
///
/// # Panics
/// If a label is not less than the number of classes, or the geometry has a fault.
pub fn targets(g: &Targets, labels: &[u8], shares: &[f32], targets: &mut [f32]) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    check_labels(&CrossEntropy { images: g.images, classes: g.classes }, labels);
    let smoothing = f64::from(g.smoothing);
    let all = smoothing / g.classes() as f64;
    let smooth = |label: u8, k: usize| {
        let onehot = if k == usize::from(label) { 1.0 - smoothing } else { 0.0 };
        onehot + all
    };
    let partners = labels.iter().zip(labels.iter().rev());
    for (i, (targets, (&own, &other))) in targets.chunks_mut(g.classes()).zip(partners).enumerate()
    {
        let share = shares.get(i).map_or(1.0, |&share| f64::from(share));
        for (k, target) in targets.iter_mut().enumerate() {
            *target = (share * smooth(own, k) + (1.0 - share) * smooth(other, k)) as f32;
        }
    }
}
