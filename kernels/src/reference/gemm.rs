//! Matrix products.

use super::{Real, shards, tree_sum};
use crate::geometry::Gemm;

/// c\[m, n\] = sum over k of a\[m, k\] b\[k, n\]: [M, K] [K, N] -> [M, N]
pub fn gemm_nn<T: Real>(g: &Gemm, a: &[T], b: &[T], c: &mut [T]) {
    for m in 0..g.rows() {
        for n in 0..g.columns() {
            let mut sum = T::zero();
            for k in 0..g.depth() {
                sum = a[m * g.depth() + k].mul_add(b[k * g.columns() + n], sum);
            }
            c[m * g.columns() + n] = sum;
        }
    }
}

/// c\[m, n\] = sum over k of a\[m, k\] b\[n, k\]: [M, K] [N, K] -> [M, N]
pub fn gemm_nt<T: Real>(g: &Gemm, a: &[T], b: &[T], c: &mut [T]) {
    for m in 0..g.rows() {
        for n in 0..g.columns() {
            let mut sum = T::zero();
            for k in 0..g.depth() {
                sum = a[m * g.depth() + k].mul_add(b[n * g.depth() + k], sum);
            }
            c[m * g.columns() + n] = sum;
        }
    }
}

/// c\[m, n\] = sum over k of a\[k, m\] b\[k, n\]: [K, M] [K, N] -> [M, N]
///
/// k counts batch positions: a chain a shard, and the tree over the shards.
pub fn gemm_tn<T: Real>(g: &Gemm, a: &[T], b: &[T], c: &mut [T]) {
    for m in 0..g.rows() {
        for n in 0..g.columns() {
            let shard_sum = |shard: std::ops::Range<usize>| {
                shard.fold(T::zero(), |sum, k| {
                    a[k * g.rows() + m].mul_add(b[k * g.columns() + n], sum)
                })
            };
            let sums = shards(g.depth()).map(shard_sum).collect();
            c[m * g.columns() + n] = tree_sum(sums, |a, b| a + b).unwrap_or(T::zero());
        }
    }
}
