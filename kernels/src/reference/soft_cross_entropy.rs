//! Cross-entropy against a distribution over the classes, [N, K]. Rows are computed in `f64` and
//! rounded where they are stored.

use super::Real;
use super::cross_entropy::{softmax_row, summarize};
use crate::geometry::CrossEntropy;

/// loss = sum over k of target\[k\] (ln(sum) - (x\[k\] - max)), which is - the sum of target\[k\] ln
/// softmax(x)\[k\], where classes whose target is 0 have no say; summary = (mean of the losses as
/// stored, hits by the labels, 0, 0): [N, K] [N, K] \[N\] -> [N, K] \[N\] \[4\]
///
/// # Panics
/// If a label is not less than the number of classes.
pub fn soft_cross_entropy_forward<T: Real>(
    g: &CrossEntropy,
    logits: &[T],
    targets: &[T],
    labels: &[u8],
    probabilities: &mut [T],
    losses: &mut [T],
    summary: &mut [T],
) {
    for n in 0..g.images() {
        let row = n * g.classes()..(n + 1) * g.classes();
        let (max, sum) = softmax_row(&logits[row.clone()], &mut probabilities[row.clone()]);
        let mut loss = 0.0;
        for i in row.filter(|&i| targets[i] != T::zero()) {
            loss += targets[i].into() * (libm::log(sum) - (logits[i].into() - max));
        }
        losses[n] = T::nearest(loss);
    }
    summarize(g, logits, labels, losses, summary);
}

/// dlogits = (probabilities times the row's sum of targets - targets) (dloss / N):
/// \[1\] [N, K] [N, K] -> [N, K]
pub fn soft_cross_entropy_backward<T: Real>(
    g: &CrossEntropy,
    dloss: &[T],
    probabilities: &[T],
    targets: &[T],
    dlogits: &mut [T],
) {
    let factor = dloss[0] / T::nearest(g.images() as f64);
    for n in 0..g.images() {
        let row = n * g.classes()..(n + 1) * g.classes();
        let whole: f64 = targets[row.clone()].iter().fold(0.0, |sum, &target| sum + target.into());
        for i in row {
            let slope: f64 = probabilities[i].into() * whole - targets[i].into();
            dlogits[i] = T::nearest(slope) * factor;
        }
    }
}
