//! The fixed tree that merges the sums of shards.

use super::isa::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::threads;

/// Numbers of the result that a task merges: a few kilobytes of each slice.
const TASK_LEN: usize = 4096;

/// `out` = the tree sum of the consecutive slices of `length` numbers in `parts`: neighbours
/// (0, 1), (2, 3), ... are added level by level, an odd last one passes up. `parts` is used as
/// working memory.
pub(super) fn tree_of_slices(isa: Isa, parts: &mut [f32], length: usize, out: &mut [f32]) {
    assert_eq!(out.len(), length, "the result is as long as a slice");
    let parts = &*parts;
    threads::chunks(out, TASK_LEN, |task, out| {
        isa.run(MergeRange { parts, length, first: task * TASK_LEN, out });
    });
}

struct MergeRange<'a> {
    parts: &'a [f32],
    length: usize,
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for MergeRange<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.parts.len() / self.length;
        for (i, out) in self.out.chunks_mut(LANES).enumerate() {
            let at = self.first + i * LANES;
            let len = out.len();
            let part = |n: usize| s.load_slice(&self.parts[n * self.length + at..][..len]);
            s.store_slice(out, tree(s, 0, count, &part));
        }
    }
}

/// The tree over parts `from..from + count`: the left subtree takes the largest power of two
/// below `count`, which is what pairing neighbours level by level comes to.
fn tree<S: Simd>(s: S, from: usize, count: usize, part: &impl Fn(usize) -> S::V) -> S::V {
    if count == 1 {
        return part(from);
    }
    let left = count.next_power_of_two() / 2;
    s.add(tree(s, from, left, part), tree(s, from + left, count - left, part))
}
