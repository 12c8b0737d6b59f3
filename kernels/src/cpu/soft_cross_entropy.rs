//! Cross-entropy against a distribution over the classes. Rows are computed in f64, as those of
//! `cross_entropy.rs` are.

use super::cross_entropy::{TASK_ROWS, check_labels, softmax_row, summarize};
use super::math::ln;
use crate::geometry::CrossEntropy;
use crate::threads::{self, cut};

/// losses = - the sum over k of target\[k\] ln softmax(logits)\[k\]; summary = (mean loss, hits, 0,
/// 0), hits by the labels: [N, K] [N, K] \[N\] -> [N, K] \[N\] \[4\]
///
/// # Panics
/// If a label is not less than the number of classes.
pub fn soft_cross_entropy_forward(
    g: &CrossEntropy,
    logits: &[f32],
    targets: &[f32],
    labels: &[u8],
    probabilities: &mut [f32],
    losses: &mut [f32],
    summary: &mut [f32],
) {
    check_labels(g, labels);
    let classes = g.classes();
    let len = (TASK_ROWS * classes).max(1);
    let outputs = (cut(probabilities, len), cut(losses, TASK_ROWS));
    threads::each(outputs, |task, (probabilities, losses)| {
        let first = task * len;
        let inputs = logits[first..].chunks(classes).zip(targets[first..].chunks(classes));
        let outputs = probabilities.chunks_mut(classes).zip(losses);
        for ((logits, targets), (probabilities, loss)) in inputs.zip(outputs) {
            let (max, sum) = softmax_row(logits, probabilities);
            let surprise = |logit: f32| ln(sum) - (f64::from(logit) - max);
            let terms = logits.iter().zip(targets).filter(|(_, target)| **target != 0.0);
            let add =
                |sum, (&logit, &target): (&f32, &f32)| sum + f64::from(target) * surprise(logit);
            *loss = terms.fold(0.0, add) as f32;
        }
    });
    summarize(g, logits, labels, losses, summary);
}

/// dlogits = (probabilities times the row's sum of targets - targets) (dloss / N):
/// \[1\] [N, K] [N, K] -> [N, K]
pub fn soft_cross_entropy_backward(
    g: &CrossEntropy,
    dloss: &[f32],
    probabilities: &[f32],
    targets: &[f32],
    dlogits: &mut [f32],
) {
    let factor = dloss[0] / g.images() as f32;
    let classes = g.classes();
    let len = (TASK_ROWS * classes).max(1);
    threads::chunks(dlogits, len, |task, dlogits| {
        let first = task * len;
        let inputs = probabilities[first..].chunks(classes).zip(targets[first..].chunks(classes));
        for ((probabilities, targets), dlogits) in inputs.zip(dlogits.chunks_mut(classes)) {
            let whole = targets.iter().fold(0.0, |sum, &target| sum + f64::from(target));
            for (dlogit, (&p, &target)) in dlogits.iter_mut().zip(probabilities.iter().zip(targets))
            {
                *dlogit = (f64::from(p) * whole - f64::from(target)) as f32 * factor;
            }
        }
    });
}
