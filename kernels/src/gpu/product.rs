//! Matrix products by tiles: what `gemm` and the three passes of `conv2d` have in common.

use super::channels::sum_slices;
use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::buffer::Kind;

/// Numbers of a tile that a thread has, 4 x 4.
const NUMBERS_OF_THREAD: usize = 16;
/// Terms that a workgroup reads at a time.
const STEP: usize = 16;
/// As many workgroups keep a large card busy; with fewer tiles the terms are cut into slices.
const ENOUGH_WORKGROUPS: usize = 256;
/// Fewer terms are not worth a second dispatch that adds slices up.
const LEAST_CUT: usize = 256;
/// The least terms that are worth a slice of their own.
const LEAST_SLICE: usize = 64;
/// The most tiles of rows in the first direction of a dispatch, as in `tile.wgsl`.
const ROW_TILES: usize = 65_535;

/// A product [rows, depth] [depth, columns], whose operands the shader finds by itself.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    /// Whether the left operand's neighbours in memory are neighbouring terms, not rows.
    pub left_along_depth: bool,
    /// Whether the right operand's neighbours in memory are neighbouring columns, not terms.
    pub right_along_columns: bool,
    /// The numbers that lie together in each operand: whole vectors are read where they are
    /// multiples of four.
    pub together: [usize; 2],
    /// Whether the terms may be cut into slices: not where a sum is changed when it is stored.
    pub may_cut: bool,
}

impl Product {
    /// Rows and columns of a workgroup's tile: no wider, and then no higher, than the result needs.
    fn tile(&self) -> (usize, usize) {
        match (self.rows, self.columns) {
            (_, 33..) => (64, 64),
            (65.., _) => (128, 32),
            _ => (64, 32),
        }
    }

    /// Adds what all products have to `dispatch`, and runs it: `result` = `left` times `right`.
    /// Of the shader's own there may be `more` operands.
    ///
    /// Whether and how the terms are cut is a function of the three sizes alone, and with it the
    /// order of every sum.
    pub fn run<'a>(
        &self,
        dispatch: Dispatch<'a>,
        [left, right]: [&'a Memory; 2],
        more: &[&'a Memory],
        result: &'a Memory,
    ) {
        let (tile_rows, tile_columns) = self.tile();
        let column_tiles = self.columns.div_ceil(tile_columns);
        let row_tiles = self.rows.div_ceil(tile_rows);
        let wanted = ENOUGH_WORKGROUPS / (row_tiles * column_tiles).max(1);
        let most = if self.depth < LEAST_CUT { 1 } else { self.depth / LEAST_SLICE };
        let slice = self.depth.div_ceil(wanted.min(most).max(1)).next_multiple_of(STEP);
        let slices = self.depth.div_ceil(slice.max(1)).max(1);
        let is_cut = slices > 1 && self.may_cut;
        let (slice, slices) = if is_cut { (slice, slices) } else { (self.depth, 1) };

        let len = self.rows * self.columns;
        let parts = is_cut.then(|| Memory::unspecified(Kind::Real, slices * len));
        let vectors = |memory: &Memory, together: usize| {
            u32::from(memory.offset().is_multiple_of(4) && together.is_multiple_of(4))
        };
        let workgroups =
            [row_tiles.min(ROW_TILES), column_tiles * slices, row_tiles.div_ceil(ROW_TILES)];
        let target = parts.as_ref().unwrap_or(result);
        let by_vectors = self.right_along_columns && vectors(target, self.columns) == 1;
        let dispatch = dispatch
            .entry(if by_vectors { "product_by_vectors" } else { "product" })
            .constant("ROWS", self.rows as u32)
            .constant("COLUMNS", self.columns as u32)
            .constant("DEPTH", self.depth as u32)
            .constant("SLICE", slice as u32)
            .constant("COLUMN_TILES", column_tiles as u32)
            .constant("THREADS", (tile_rows * tile_columns / NUMBERS_OF_THREAD) as u32)
            .constant("COLUMN_VECTORS", (tile_columns / 4) as u32)
            .constant("LEFT_ALONG_DEPTH", u32::from(self.left_along_depth))
            .constant("RIGHT_ALONG_COLUMNS", u32::from(self.right_along_columns))
            .constant("LEFT_VECTORS", vectors(left, self.together[0]))
            .constant("RIGHT_VECTORS", vectors(right, self.together[1]))
            .read(left)
            .read(right)
            .write(target);
        more.iter()
            .fold(dispatch, |dispatch, operand| dispatch.read(operand))
            .run_workgroups(workgroups);
        if let Some(parts) = &parts {
            sum_slices(slices, len, parts, result);
        }
    }
}
