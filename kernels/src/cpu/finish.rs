//! What is done to the numbers of a product before they are written.

use super::elementwise::larger;
use super::simd::{LANES, Simd};
use super::tile::{Sums, unrolled};

/// A bias a column, and ReLU.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// Added to each row; empty where there is none.
    pub bias: &'a [f32],
    /// Whether the larger of each number and 0 is taken then.
    pub relu: bool,
}

impl Finish<'_> {
    /// Numbers are written as they are.
    pub const NONE: Finish<'static> = Finish { bias: &[], relu: false };

    /// The same for columns `column..`, a vector of them.
    #[inline(always)]
    pub fn at<S: Simd>(self, s: S, column: usize) -> FinishVector<S::V> {
        let bias = match self.bias.is_empty() {
            true => s.splat(-0.0),
            false => s.load_slice(&self.bias[column.min(self.bias.len())..]),
        };
        FinishVector { bias, least: s.splat(if self.relu { 0.0 } else { f32::NEG_INFINITY }) }
    }

    /// The sums of a tile whose first column is `column` as they are to be written.
    #[inline(always)]
    pub fn apply_to_tile<S: Simd, const MR: usize, const NV: usize>(
        self,
        s: S,
        column: usize,
        mut sums: Sums<S::V, MR, NV>,
    ) -> Sums<S::V, MR, NV> {
        // One branch for all sums: with one for each, they would go through memory.
        if !self.bias.is_empty() {
            unrolled!(V in NV => {
                let first = (column + V * LANES).min(self.bias.len());
                let bias = s.load_slice(&self.bias[first..]);
                unrolled!(R in MR => sums[R][V] = s.add(sums[R][V], bias));
            });
        }
        if self.relu {
            let zero = s.splat(0.0);
            unrolled!(R in MR => {
                unrolled!(V in NV => sums[R][V] = larger(s, sums[R][V], zero));
            });
        }
        sums
    }

    /// Checks that there is a bias for each of `columns`, or none.
    pub fn check(self, columns: usize) {
        let len = self.bias.len();
        assert!(len == 0 || len == columns, "{len} biases for {columns} columns");
    }
}

/// A [`Finish`] of a vector of columns. Without branches, which would cost more than what they
/// spare.
#[derive(Clone, Copy)]
pub(super) struct FinishVector<V> {
    /// -0 in all lanes where there is none: unlike 0, it leaves a zero's sign as it is.
    pub bias: V,
    least: V,
}

impl<V: Copy> FinishVector<V> {
    /// `v` as it is to be written.
    #[inline(always)]
    pub fn apply<S: Simd<V = V>>(self, s: S, v: V) -> V {
        self.limit(s, s.add(v, self.bias))
    }

    /// A number that has its bias as it is to be written.
    #[inline(always)]
    pub fn limit<S: Simd<V = V>>(self, s: S, v: V) -> V {
        larger(s, v, self.least)
    }
}
