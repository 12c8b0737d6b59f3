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
        let has_bias = !self.bias.is_empty();
        let bias = match has_bias {
            true => s.load_slice(&self.bias[column.min(self.bias.len())..]),
            false => s.splat(0.0),
        };
        FinishVector { bias, has_bias, relu: self.relu }
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

/// A [`Finish`] of a vector of columns.
#[derive(Clone, Copy)]
pub(super) struct FinishVector<V> {
    bias: V,
    has_bias: bool,
    relu: bool,
}

impl<V: Copy> FinishVector<V> {
    /// `v` as it is to be written.
    #[inline(always)]
    pub fn apply<S: Simd<V = V>>(self, s: S, v: V) -> V {
        let v = if self.has_bias { s.add(v, self.bias) } else { v };
        if self.relu { larger(s, v, s.splat(0.0)) } else { v }
    }
}
