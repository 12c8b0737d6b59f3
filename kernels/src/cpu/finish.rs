//! What is done to the numbers of a product before they are written.

use super::elementwise::larger;
use super::simd::{LANES, Simd};

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

    /// `v`, which is about to be written to columns `column..`.
    #[inline(always)]
    pub fn apply<S: Simd>(self, s: S, v: S::V, column: usize) -> S::V {
        let v = if self.bias.is_empty() {
            v
        } else {
            s.add(v, s.load_slice(&self.bias[column.min(self.bias.len())..]))
        };
        if self.relu { larger(s, v, s.splat(0.0)) } else { v }
    }

    /// Checks that there is a bias for each of `columns`, or none.
    pub fn check(self, columns: usize) {
        let len = self.bias.len();
        assert!(len == 0 || len == columns, "{len} biases for {columns} columns");
    }

    /// The same for the 16 columns of a block: `v` as it is to be written.
    #[inline(always)]
    pub fn of_block<S: Simd>(self, s: S, block: usize) -> Block<S::V> {
        let bias = match self.bias {
            [] => s.splat(0.0),
            bias => s.load_slice(&bias[block * LANES..]),
        };
        Block { bias, has_bias: !self.bias.is_empty(), relu: self.relu }
    }
}

/// A [`Finish`] of 16 columns.
#[derive(Clone, Copy)]
pub(super) struct Block<V> {
    bias: V,
    has_bias: bool,
    relu: bool,
}

impl<V: Copy> Block<V> {
    /// `v`, which is about to be written.
    #[inline(always)]
    pub fn apply<S: Simd<V = V>>(self, s: S, v: V) -> V {
        let v = if self.has_bias { s.add(v, self.bias) } else { v };
        if self.relu { larger(s, v, s.splat(0.0)) } else { v }
    }
}
