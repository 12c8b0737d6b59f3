//! Softmax and cross-entropy. A row is computed in f64 with this crate's own exp and ln: rows are
//! few and short, and so no vector path can differ from another.

use super::channels::tree;
use super::math::{exp, ln};
use crate::geometry::{CrossEntropy, shard_len};
use crate::threads::{self, cut};

/// Rows of a task.
pub(super) const TASK_ROWS: usize = 64;

/// The largest number of classes: labels are bytes.
const MAX_CLASSES: usize = 256;

/// probabilities = softmax(logits), a row an image: [N, K] -> [N, K]
pub fn softmax(g: &CrossEntropy, logits: &[f32], probabilities: &mut [f32]) {
    let len = (TASK_ROWS * g.classes()).max(1);
    threads::chunks(probabilities, len, |task, probabilities| {
        let logits = logits[task * len..].chunks(g.classes());
        for (logits, probabilities) in logits.zip(probabilities.chunks_mut(g.classes())) {
            softmax_row(logits, probabilities);
        }
    });
}

/// The place of the first largest logit; a NaN is larger than nothing.
fn first_largest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, k| if logits[k] > logits[best] { k } else { best })
}

/// Softmax of one row; returns the largest logit and the sum of exp(logit - largest).
pub(super) fn softmax_row(logits: &[f32], probabilities: &mut [f32]) -> (f64, f64) {
    let max = f64::from(logits[first_largest(logits)]);
    let mut powers = [0.0; MAX_CLASSES];
    let powers = &mut powers[..logits.len()];
    let mut sum = 0.0;
    for (power, &logit) in powers.iter_mut().zip(logits) {
        *power = exp(f64::from(logit) - max);
        sum += *power;
    }
    for (probability, power) in probabilities.iter_mut().zip(powers) {
        *probability = (*power / sum) as f32;
    }
    (max, sum)
}

pub(super) fn check_labels(g: &CrossEntropy, labels: &[u8]) {
    for (n, &label) in labels.iter().enumerate() {
        let known = usize::from(label) < g.classes();
        assert!(known, "label {label} of image {n} is not one of the classes");
    }
}

/// losses = -ln softmax(logits)\[label\]; summary = (mean loss, hits, 0, 0):
/// [N, K] \[N\] -> [N, K] \[N\] \[4\]
///
/// # Panics
/// If a label is not less than the number of classes.
pub fn cross_entropy_forward(
    g: &CrossEntropy,
    logits: &[f32],
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
        let logits = logits[task * len..].chunks(classes);
        let rows = logits.zip(probabilities.chunks_mut(classes));
        let labels = &labels[task * TASK_ROWS..];
        for (((logits, probabilities), loss), &label) in rows.zip(losses).zip(labels) {
            let (max, sum) = softmax_row(logits, probabilities);
            *loss = (ln(sum) - (f64::from(logits[usize::from(label)]) - max)) as f32;
        }
    });
    summarize(g, logits, labels, losses, summary);
}

/// summary = (mean of the losses, images whose first largest logit is their label's, 0, 0)
pub(super) fn summarize(
    g: &CrossEntropy,
    logits: &[f32],
    labels: &[u8],
    losses: &[f32],
    summary: &mut [f32],
) {
    let len = shard_len(g.images());
    let shard_sum = |shard: usize| {
        let losses = losses[shard * len..].iter().take(len);
        losses.fold(0.0, |sum, &loss| sum + f64::from(loss))
    };
    let loss = tree(0.0, g.images().div_ceil(len), shard_sum, |a, b| a + b);
    let is_hit = |&(logits, label): &(&[f32], &u8)| first_largest(logits) == usize::from(*label);
    let hits = logits.chunks(g.classes().max(1)).zip(labels).filter(is_hit).count();
    summary.copy_from_slice(&[(loss / g.images() as f64) as f32, hits as f32, 0.0, 0.0]);
}

/// dlogits = (probabilities - onehot(label)) (dloss / N): \[1\] [N, K] \[N\] -> [N, K]
///
/// # Panics
/// If a label is not less than the number of classes.
pub fn cross_entropy_backward(
    g: &CrossEntropy,
    dloss: &[f32],
    probabilities: &[f32],
    labels: &[u8],
    dlogits: &mut [f32],
) {
    check_labels(g, labels);
    let factor = dloss[0] / g.images() as f32;
    let len = (TASK_ROWS * g.classes()).max(1);
    threads::chunks(dlogits, len, |task, dlogits| {
        let probabilities = probabilities[task * len..].chunks(g.classes());
        let rows = probabilities.zip(dlogits.chunks_mut(g.classes()));
        for ((probabilities, dlogits), &label) in rows.zip(&labels[task * TASK_ROWS..]) {
            for (k, (dlogit, p)) in dlogits.iter_mut().zip(probabilities).enumerate() {
                let onehot = if k == usize::from(label) { 1.0 } else { 0.0 };
                *dlogit = (p - onehot) * factor;
            }
        }
    });
}
