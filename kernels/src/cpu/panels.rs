//! The right operand of a product, packed so that a tile reads it from front to back.

use super::isa::Isa;
use super::scratch::Scratch;
use super::simd::{Kernel, LANES, Simd};
use crate::block::Frozen;
use crate::threads;

/// The right operand of a product in panels as wide as a tile: `[panel][depth][width]`, the last
/// panel filled up with zeros.
pub(super) struct Panels {
    data: Frozen,
    depth: usize,
    columns: usize,
    width: usize,
}

impl Panels {
    /// Packs `depth` by `columns` numbers; `fill(k, first, row)` writes row k from column
    /// `first` on into `row`, a panel at a time.
    pub fn pack(
        isa: Isa,
        depth: usize,
        columns: usize,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> Panels {
        Self::fill(isa, depth, columns, |first, packed| {
            let width = packed.len() / depth;
            let used = width.min(columns - first);
            for (k, row) in packed.chunks_exact_mut(width).enumerate() {
                fill(k, first, &mut row[..used]);
                row[used..].fill(0.0);
            }
        })
    }

    /// Packs the transpose of `b`: [columns, depth].
    pub fn pack_transposed(isa: Isa, depth: usize, columns: usize, b: &[f32]) -> Panels {
        assert_eq!(b.len(), columns * depth, "a transposed operand's size");
        Self::fill(isa, depth, columns, |first, packed| {
            let width = packed.len() / depth;
            let used = width.min(columns - first);
            let b = &b[first * depth..(first + used) * depth];
            isa.run(PackTransposed { b, depth, width, packed });
        })
    }

    /// Panels of `depth` rows that `fill(first, panel)` writes, each from column `first` on.
    pub fn fill(
        isa: Isa,
        depth: usize,
        columns: usize,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Panels {
        Self::fill_all(isa, depth, columns, |width, packed| {
            threads::chunks(packed, (depth * width).max(1), |panel, packed| {
                fill(panel * width, packed);
            });
        })
    }

    /// Panels of `depth` rows, all of which `fill(width, panels)` writes.
    pub fn fill_all(
        isa: Isa,
        depth: usize,
        columns: usize,
        fill: impl FnOnce(usize, &mut [f32]),
    ) -> Panels {
        let width = panel_width(isa);
        let mut data = Scratch::new(columns.div_ceil(width) * depth * width);
        fill(width, &mut data.write());
        Panels { data: data.freeze(), depth, columns, width }
    }

    /// Lends the packed numbers to the products.
    pub fn view(&self) -> PanelsView<'_> {
        PanelsView { data: &self.data, depth: self.depth, columns: self.columns, width: self.width }
    }
}

/// Packed panels, lent for reading.
#[derive(Clone, Copy)]
pub(super) struct PanelsView<'a> {
    pub data: &'a [f32],
    pub depth: usize,
    pub columns: usize,
    pub width: usize,
}

impl PanelsView<'_> {
    /// How many panels there are.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The panels `range` alone, as columns from 0 on.
    pub fn some(&self, range: std::ops::Range<usize>) -> Self {
        let panel_len = self.depth * self.width;
        PanelsView {
            data: &self.data[range.start * panel_len..range.end * panel_len],
            columns: self.columns.min(range.end * self.width) - range.start * self.width,
            ..*self
        }
    }

    /// Checks that the panels are as wide as a tile of `NV` vectors and whole.
    #[inline(always)]
    pub fn check<const NV: usize>(&self) {
        assert_eq!(self.width, NV * LANES, "panels packed for another instruction set");
        self.check_any();
    }

    /// Checks that the panels, however wide, are whole.
    #[inline(always)]
    pub fn check_any(&self) {
        assert_eq!(self.data.len(), self.count() * self.depth * self.width, "the panels' size");
    }
}

/// How many columns a tile, and so a panel, has on an instruction set.
pub(super) fn panel_width(isa: Isa) -> usize {
    isa.run(PanelWidth)
}

struct PanelWidth;

impl Kernel for PanelWidth {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::TILE_VECTORS * LANES
    }
}

/// One panel: the transpose of the rows of `b`, and zeros where it has too few of them.
struct PackTransposed<'a> {
    b: &'a [f32],
    depth: usize,
    width: usize,
    /// [depth][width]
    packed: &'a mut [f32],
}

impl Kernel for PackTransposed<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PackTransposed { b, depth, width, packed } = self;
        let mut rows = [s.splat(0.0); LANES];
        for from in (0..depth).step_by(LANES) {
            // Sixteen rows at a time: more, often far apart, would drive each other out of the cache.
            for first in (0..width).step_by(LANES) {
                for (i, row) in rows.iter_mut().enumerate() {
                    let all = b.get((first + i) * depth..).unwrap_or_default();
                    let part = &all[from.min(all.len())..depth.min(all.len())];
                    *row = s.load_slice(part);
                }
                let columns = s.transpose(rows);
                let depths = packed[from * width..].chunks_exact_mut(width);
                for (to, &column) in depths.zip(&columns) {
                    s.store_slice(&mut to[first..], column);
                }
            }
        }
    }
}
