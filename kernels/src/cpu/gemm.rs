//! Matrix products: plain, with either operand transposed.

use std::ops::Range;

use super::finish::Finish;
use super::isa::{Isa, tile_rows_limit};
use super::panels::{Panels, PanelsView};
use super::products::{Grid, RowProduct, ShardedProduct};
use super::scratch::Scratch;
use crate::geometry::Gemm;
use crate::threads::{self, Shared};

/// Columns and rows of the result that a task computes. It packs its columns of the right operand
/// for itself, so that they stay in its core's cache; many rows make up for it.
const TASK_COLUMNS: usize = 64;
const TASK_ROWS: usize = 256;
/// The same where that gives fewer tasks than there are workers: first fewer columns, then fewer rows.
const FEW_COLUMNS: usize = 32;
const FEW_ROWS: usize = 64;
/// Rows of a task where the result is so narrow that tasks differ in their rows alone.
const NARROW_TASK_ROWS: usize = 32;

/// c = a b: [M, K] [K, N] -> [M, N]
pub fn gemm_nn(g: &Gemm, a: &[f32], b: &[f32], c: &mut [f32]) {
    let (isa, tile_rows) = (Isa::current(), tile_rows_limit());
    by_parts(g, c, |rows, columns, part| {
        let a = &a[rows.start * g.depth()..rows.end * g.depth()];
        let panels = pack(isa, g, b, columns);
        isa.run(RowProduct::of_matrices(a, &panels.view(), part, tile_rows));
    });
}

/// c = a bᵀ: [M, K] [N, K] -> [M, N]
pub fn gemm_nt(g: &Gemm, a: &[f32], b: &[f32], c: &mut [f32]) {
    let (isa, tile_rows) = (Isa::current(), tile_rows_limit());
    by_parts(g, c, |rows, columns, part| {
        let a = &a[rows.start * g.depth()..rows.end * g.depth()];
        let b = &b[columns.start * g.depth()..columns.end * g.depth()];
        let panels = Panels::pack_transposed(isa, g.depth(), columns.len(), b);
        isa.run(RowProduct::of_matrices(a, &panels.view(), part, tile_rows));
    });
}

/// Columns of b: [K, N].
fn pack(isa: Isa, g: &Gemm, b: &[f32], columns: Range<usize>) -> Panels {
    Panels::pack(isa, g.depth(), columns.len(), |k, first, row| {
        row.copy_from_slice(&b[k * g.columns() + columns.start + first..][..row.len()]);
    })
}

impl<'a> RowProduct<'a> {
    /// c = a b of whole matrices, for a task.
    pub(super) fn of_matrices(
        a: &'a [f32],
        b: &'a PanelsView<'a>,
        c: &'a mut [f32],
        tile_rows: usize,
    ) -> RowProduct<'a> {
        RowProduct {
            a,
            rows: Grid::line(c.len() / b.columns, b.depth),
            runs: 1,
            run_step: 0,
            run_len: b.depth,
            b,
            b_row: 0,
            b_step: 0,
            c,
            finish: Finish::NONE,
            skips_zeros: false,
            tile_rows,
        }
    }
}

/// c = aᵀ b: [K, M] [K, N] -> [M, N]; K is the batch and is summed by shards.
pub fn gemm_tn(g: &Gemm, a: &[f32], b: &[f32], c: &mut [f32]) {
    let (isa, tile_rows) = (Isa::current(), tile_rows_limit());
    by_parts(g, c, |rows, columns, part| {
        let panels = pack(isa, g, b, columns);
        isa.run(ShardedProduct {
            a: &a[rows.start.min(a.len())..],
            a_step: g.rows(),
            b: &panels.view(),
            c: part,
            tile_rows,
        });
    });
}

/// Calls `product(rows, columns, part)` for parts of the result c, which it writes: a task each.
fn by_parts(
    g: &Gemm,
    c: &mut [f32],
    product: impl Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync,
) {
    let row_len = g.columns();
    let [task_rows, task_columns] = task_size([g.rows(), row_len]);
    let across = row_len.div_ceil(task_columns);
    let c = Shared::new(c);
    threads::share(across * g.rows().div_ceil(task_rows), |task| {
        let part_of = |i: usize, size: usize, all: usize| i * size..all.min((i + 1) * size);
        let rows = part_of(task / across, task_rows, g.rows());
        let columns = part_of(task % across, task_columns, row_len);
        let mut part = Scratch::new(rows.len() * columns.len());
        let mut part = part.write();
        product(rows.clone(), columns.clone(), &mut part);
        for (row, part) in rows.zip(part.chunks_exact(columns.len())) {
            let start = row * row_len;
            // SAFETY: no two tasks have a row and a column in common.
            unsafe { c.write(start + columns.start..start + columns.end) }.copy_from_slice(part);
        }
    });
}

/// Rows and columns of a task, for a result of such a size. Each number of the result is one chain
/// whatever these are.
fn task_size([rows, columns]: [usize; 2]) -> [usize; 2] {
    if columns <= TASK_COLUMNS {
        return [NARROW_TASK_ROWS, TASK_COLUMNS];
    }
    let sizes = [[TASK_ROWS, TASK_COLUMNS], [TASK_ROWS, FEW_COLUMNS], [FEW_ROWS, FEW_COLUMNS]];
    let is_enough = |[task_rows, task_columns]: &[usize; 2]| {
        rows.div_ceil(*task_rows) * columns.div_ceil(*task_columns) >= threads::sharing()
    };
    sizes.into_iter().find(is_enough).unwrap_or([FEW_ROWS, FEW_COLUMNS])
}
