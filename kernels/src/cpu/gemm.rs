//! Matrix products: plain, with either operand transposed.

use super::finish::Finish;
use super::isa::{Isa, tile_rows_limit};
use super::panels::Panels;
use super::products::{Grid, RowProduct, ShardedProduct};
use crate::geometry::Gemm;
use crate::threads;

/// Rows of the result that a task computes.
const TASK_ROWS: usize = 32;

/// c = a b: [M, K] [K, N] -> [M, N]
pub fn gemm_nn(g: &Gemm, a: &[f32], b: &[f32], c: &mut [f32]) {
    let isa = Isa::current();
    let columns = g.columns();
    let panels = Panels::pack(isa, g.depth(), columns, |k, first, row| {
        row.copy_from_slice(&b[k * columns + first..][..row.len()]);
    });
    multiply(isa, g, a, &panels, c);
}

/// c = a bᵀ: [M, K] [N, K] -> [M, N]
pub fn gemm_nt(g: &Gemm, a: &[f32], b: &[f32], c: &mut [f32]) {
    let isa = Isa::current();
    let panels = Panels::pack(isa, g.depth(), g.columns(), |k, first, row| {
        for (j, to) in row.iter_mut().enumerate() {
            *to = b[(first + j) * g.depth() + k];
        }
    });
    multiply(isa, g, a, &panels, c);
}

fn multiply(isa: Isa, g: &Gemm, a: &[f32], panels: &Panels, c: &mut [f32]) {
    let (depth, tile_rows, b) = (g.depth(), tile_rows_limit(), panels.view());
    threads::chunks(c, (TASK_ROWS * g.columns()).max(1), |task, c| {
        let rows = c.len() / g.columns();
        isa.run(RowProduct {
            a: &a[task * TASK_ROWS * depth..],
            rows: Grid::line(rows, depth),
            runs: 1,
            run_step: 0,
            run_len: depth,
            b: &b,
            b_row: 0,
            c,
            finish: Finish::NONE,
            tile_rows,
        });
    });
}

/// c = aᵀ b: [K, M] [K, N] -> [M, N]; K is the batch and is summed by shards.
pub fn gemm_tn(g: &Gemm, a: &[f32], b: &[f32], c: &mut [f32]) {
    let isa = Isa::current();
    let (rows, columns, tile_rows) = (g.rows(), g.columns(), tile_rows_limit());
    let panels = Panels::pack(isa, g.depth(), columns, |k, first, row| {
        row.copy_from_slice(&b[k * columns + first..][..row.len()]);
    });
    let b = panels.view();
    threads::chunks(c, (TASK_ROWS * columns).max(1), |task, c| {
        isa.run(ShardedProduct {
            a: &a[(task * TASK_ROWS).min(a.len())..],
            a_step: rows,
            b: &b,
            c,
            tile_rows,
        });
    });
}
