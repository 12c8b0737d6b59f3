//! Softmax and cross-entropy of rows of logits, [N, K]. Rows are computed in `f64` and rounded
//! where they are stored.

use super::{Real, batch_sum};
use crate::geometry::{CrossEntropy, SUMMARY_LEN};

/// The place of the first largest logit; a NaN is larger than nothing.
fn first_largest<T: Real>(logits: &[T]) -> usize {
    (1..logits.len()).fold(0, |best, k| if logits[k] > logits[best] { k } else { best })
}

/// probability\[k\] = exp(x\[k\] - max) / sum, where sum is that of exp(x\[k\] - max) in order of k.
/// Returns (max, sum).
pub(super) fn softmax_row<T: Real>(logits: &[T], probabilities: &mut [T]) -> (f64, f64) {
    let max: f64 = logits[first_largest(logits)].into();
    let exp = |x: T| libm::exp(x.into() - max);
    let sum = logits.iter().fold(0.0, |sum, &x| sum + exp(x));
    for (probability, &x) in probabilities.iter_mut().zip(logits) {
        *probability = T::nearest(exp(x) / sum);
    }
    (max, sum)
}

/// probabilities = softmax(logits), a row an image: [N, K] -> [N, K]
pub fn softmax<T: Real>(g: &CrossEntropy, logits: &[T], probabilities: &mut [T]) {
    let rows = logits.chunks(g.classes()).zip(probabilities.chunks_mut(g.classes()));
    for (logits, probabilities) in rows {
        softmax_row(logits, probabilities);
    }
}

/// loss = ln(sum) - (x\[label\] - max), which is -ln softmax(x)\[label\]; summary = (mean of the losses
/// as stored, hits, 0, 0): [N, K] \[N\] -> [N, K] \[N\] \[4\]
///
/// # Panics
/// If a label is not less than the number of classes.
pub fn cross_entropy_forward<T: Real>(
    g: &CrossEntropy,
    logits: &[T],
    labels: &[u8],
    probabilities: &mut [T],
    losses: &mut [T],
    summary: &mut [T],
) {
    for n in 0..g.images() {
        let row = n * g.classes()..(n + 1) * g.classes();
        let (logits, label) = (&logits[row.clone()], usize::from(labels[n]));
        assert!(label < g.classes(), "label {label} of image {n} is not one of the classes");
        let (max, sum) = softmax_row(logits, &mut probabilities[row]);
        losses[n] = T::nearest(libm::log(sum) - (logits[label].into() - max));
    }
    summarize(g, logits, labels, losses, summary);
}

/// summary = (mean of the losses, hits, 0, 0)
///
/// # Panics
/// If a label is not less than the number of classes.
pub(super) fn summarize<T: Real>(
    g: &CrossEntropy,
    logits: &[T],
    labels: &[u8],
    losses: &[T],
    summary: &mut [T],
) {
    let mut hits = 0;
    for n in 0..g.images() {
        let (logits, label) = (&logits[n * g.classes()..][..g.classes()], usize::from(labels[n]));
        assert!(label < g.classes(), "label {label} of image {n} is not one of the classes");
        hits += usize::from(first_largest(logits) == label);
    }
    let mean = batch_sum(g.images(), |n| losses[n].into()) / g.images() as f64;
    let values: [f64; SUMMARY_LEN] = [mean, hits as f64, 0.0, 0.0];
    summary.copy_from_slice(&values.map(T::nearest));
}

/// dlogits = (probabilities - onehot(label)) (dloss / N): \[1\] [N, K] \[N\] -> [N, K]
///
/// # Panics
/// If a label is not less than the number of classes.
pub fn cross_entropy_backward<T: Real>(
    g: &CrossEntropy,
    dloss: &[T],
    probabilities: &[T],
    labels: &[u8],
    dlogits: &mut [T],
) {
    let factor = dloss[0] / T::nearest(g.images() as f64);
    for n in 0..g.images() {
        let label = usize::from(labels[n]);
        assert!(label < g.classes(), "label {label} of image {n} is not one of the classes");
        for k in 0..g.classes() {
            let i = n * g.classes() + k;
            let onehot = if k == label { T::one() } else { T::zero() };
            dlogits[i] = (probabilities[i] - onehot) * factor;
        }
    }
}
