//! The fixed tree that merges the sums of shards.

use super::isa::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::threads;

/// Numbers of the result that a task merges: a few kilobytes of each slice.
const TASK_LEN: usize = 4096;

/// `out` = the tree sum of the consecutive slices of its length in `parts`: neighbours (0, 1),
/// (2, 3), ... are added level by level, an odd last one passes up.
pub(super) fn tree_of_slices(isa: Isa, parts: &[f32], out: &mut [f32]) {
    tree_of_lines(isa, parts, TASK_LEN, |line| line * TASK_LEN, out);
}

/// The same of slices that are in another order than `out`: its line `i`, of `line_len` numbers, is
/// found from `start_of(i)` on in each of them.
pub(super) fn tree_of_lines(
    isa: Isa,
    parts: &[f32],
    line_len: usize,
    start_of: impl Fn(usize) -> usize + Sync,
    out: &mut [f32],
) {
    let length = out.len();
    threads::chunks(out, line_len, |line, out| {
        isa.run(MergeRange { parts, length, first: start_of(line), out });
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
        // A stack of finished subtrees: after n parts it holds one for every bit that n has. Each
        // vector of the result begins with an empty one.
        let mut subtrees = [s.splat(0.0); usize::BITS as usize];
        for (i, out) in self.out.chunks_mut(LANES).enumerate() {
            let at = self.first + i * LANES;
            let len = out.len();
            let mut height = 0;
            for n in 0..count {
                let mut sum = s.load_slice(&self.parts[n * self.length + at..][..len]);
                for _ in 0..(n + 1).trailing_zeros() {
                    height -= 1;
                    sum = s.add(subtrees[height], sum);
                }
                subtrees[height] = sum;
                height += 1;
            }
            while height > 1 {
                height -= 1;
                subtrees[height - 1] = s.add(subtrees[height - 1], subtrees[height]);
            }
            s.store_slice(out, subtrees[0]);
        }
    }
}
