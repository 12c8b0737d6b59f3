//! Cross-entropy against a distribution over the classes: a few threads share a row, as in
//! `cross_entropy.rs`.

use super::cross_entropy::{by_rows, summarize, threads};
use super::memory::Memory;
use crate::buffer::Kind;
use crate::geometry::CrossEntropy;

const FILE: &str = "soft_cross_entropy";

/// losses = - the sum over k of target\[k\] ln softmax(logits)\[k\]; summary = (mean loss, hits, 0,
/// 0), hits by the labels: [N, K] [N, K] \[N\] -> [N, K] \[N\] \[4\]
///
/// A label that is not less than the number of classes makes the loss NaN.
pub fn soft_cross_entropy_forward(
    g: &CrossEntropy,
    logits: &Memory,
    targets: &Memory,
    labels: &Memory,
    probabilities: &mut Memory,
    losses: &mut Memory,
    summary: &mut Memory,
) {
    let hits = Memory::unspecified(Kind::Real, g.images());
    by_rows(FILE, "soft_cross_entropy_forward", g)
        .read(logits)
        .write(probabilities)
        .read(labels)
        .write(losses)
        .write(&hits)
        .read(targets)
        .run(threads(g));
    summarize(g, losses, &hits, summary);
}

/// dlogits = (probabilities times the row's sum of targets - targets) (dloss / N):
/// \[1\] [N, K] [N, K] -> [N, K]
pub fn soft_cross_entropy_backward(
    g: &CrossEntropy,
    dloss: &Memory,
    probabilities: &Memory,
    targets: &Memory,
    dlogits: &mut Memory,
) {
    by_rows(FILE, "soft_cross_entropy_backward", g)
        .read(dloss)
        .read(probabilities)
        .read(targets)
        .write(dlogits)
        .run(threads(g));
}
