//! Matrix products, for dense layers.

use super::dispatch::Dispatch;
use super::memory::Memory;
use super::product::Product;
use crate::geometry::Gemm;

/// c = a b: [M, K] [K, N] -> [M, N]
pub fn gemm_nn(g: &Gemm, a: &Memory, b: &Memory, c: &mut Memory) {
    let product = product(g, [true, true], [g.depth(), g.columns()]);
    product.run(Dispatch::new("gemm_nn", "product"), [a, b], &[], c);
}

/// c = a bᵀ: [M, K] [N, K] -> [M, N]
pub fn gemm_nt(g: &Gemm, a: &Memory, b: &Memory, c: &mut Memory) {
    let product = product(g, [true, false], [g.depth(), g.depth()]);
    product.run(Dispatch::new("gemm_nt", "product"), [a, b], &[], c);
}

/// c = aᵀ b: [K, M] [K, N] -> [M, N]
pub fn gemm_tn(g: &Gemm, a: &Memory, b: &Memory, c: &mut Memory) {
    let product = product(g, [false, true], [g.rows(), g.columns()]);
    product.run(Dispatch::new("gemm_tn", "product"), [a, b], &[], c);
}

fn product(
    g: &Gemm,
    [left_along_depth, right_along_columns]: [bool; 2],
    together: [usize; 2],
) -> Product {
    Product {
        rows: g.rows(),
        columns: g.columns(),
        depth: g.depth(),
        left_along_depth,
        right_along_columns,
        together,
        may_cut: true,
    }
}
