//! Softmax and cross-entropy: a few threads share a row.

use super::dispatch::{Dispatch, WORKGROUP};
use super::memory::Memory;
use crate::buffer::Kind;
use crate::geometry::CrossEntropy;

const FILE: &str = "cross_entropy";

/// The most threads that share a row.
const MOST_LANES: usize = 32;

/// Threads that share a row: as many as it has classes, rounded up to a power of two.
fn lanes(g: &CrossEntropy) -> usize {
    g.classes().next_power_of_two().min(MOST_LANES)
}

fn call<'a>(
    file: &'static str,
    entry: &'static str,
    g: &CrossEntropy,
    lanes: usize,
) -> Dispatch<'a> {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    Dispatch::new(file, entry)
        .constant("ROWS", g.images)
        .constant("CLASSES", g.classes)
        .constant("LANES", lanes as u32)
}

/// A call of a function of `file` for which [`threads`] share the rows.
pub(super) fn by_rows<'a>(
    file: &'static str,
    entry: &'static str,
    g: &CrossEntropy,
) -> Dispatch<'a> {
    call(file, entry, g, lanes(g))
}

/// The threads that share all rows.
pub(super) fn threads(g: &CrossEntropy) -> usize {
    g.images() * lanes(g)
}

/// probabilities = softmax(logits), a row an image: [N, K] -> [N, K]
pub fn softmax(g: &CrossEntropy, logits: &Memory, probabilities: &mut Memory) {
    by_rows(FILE, "softmax", g).read(logits).write(probabilities).run(threads(g));
}

/// losses = -ln softmax(logits)\[label\]; summary = (mean loss, hits, 0, 0):
/// [N, K] \[N\] -> [N, K] \[N\] \[4\]
///
/// A label that is not less than the number of classes makes the loss NaN.
pub fn cross_entropy_forward(
    g: &CrossEntropy,
    logits: &Memory,
    labels: &Memory,
    probabilities: &mut Memory,
    losses: &mut Memory,
    summary: &mut Memory,
) {
    let hits = Memory::unspecified(Kind::Real, g.images());
    by_rows(FILE, "cross_entropy_forward", g)
        .read(logits)
        .write(probabilities)
        .read(labels)
        .write(losses)
        .write(&hits)
        .run(threads(g));
    summarize(g, losses, &hits, summary);
}

/// summary = (mean of the losses, sum of the hits, 0, 0)
pub(super) fn summarize(g: &CrossEntropy, losses: &Memory, hits: &Memory, summary: &mut Memory) {
    call(FILE, "summarize", g, WORKGROUP)
        .read(losses)
        .read(hits)
        .write(summary)
        .run_workgroups([1, 1, 1]);
}

/// dlogits = (probabilities - onehot(label)) (dloss / N): \[1\] [N, K] \[N\] -> [N, K]
pub fn cross_entropy_backward(
    g: &CrossEntropy,
    dloss: &Memory,
    probabilities: &Memory,
    labels: &Memory,
    dlogits: &mut Memory,
) {
    by_rows(FILE, "cross_entropy_backward", g)
        .read(dloss)
        .read(probabilities)
        .read(labels)
        .write(dlogits)
        .run(g.len());
}
