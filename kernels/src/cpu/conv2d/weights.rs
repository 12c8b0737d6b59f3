//! Weights at the frequencies of Winograd's algorithm, and their gradient back from there.

use super::forms::Line;
use super::transform::{Square, Through, both_ways, through};
use crate::cpu::handover::HandOver;
use crate::cpu::isa::Isa;
use crate::cpu::panels::Panels;
use crate::cpu::products::end_of;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::geometry::Conv2d;
use crate::threads::{self, Shared};

/// U = G g Gᵀ for the forward pass, packed: [panel][frequency][depth][panel's width]. The depth is
/// input channels, the columns are output channels.
pub(super) fn pack_forward<L: Line<3, T>, const T: usize>(
    isa: Isa,
    g: &Conv2d,
    w: &[f32],
) -> Panels {
    pack::<L, T>(isa, Weights { w, depth: g.in_channels(), columns: g.out_channels(), turn: false })
}

/// The same for the input gradient: depth and columns the other way around.
pub(super) fn pack_backward<L: Line<3, T>, const T: usize>(
    isa: Isa,
    g: &Conv2d,
    w: &[f32],
) -> Panels {
    pack::<L, T>(isa, Weights { w, depth: g.out_channels(), columns: g.in_channels(), turn: true })
}

/// The weights of nine taps as the right operand of a product.
#[derive(Clone, Copy)]
struct Weights<'a> {
    /// [tap][depth][columns], or [tap][columns][depth] where they must be turned.
    w: &'a [f32],
    depth: usize,
    columns: usize,
    turn: bool,
}

/// A task each for 16 rows of 16 columns.
fn pack<L: Line<3, T>, const T: usize>(isa: Isa, weights: Weights) -> Panels {
    let Weights { w, depth, columns, .. } = weights;
    assert_eq!(w.len(), 9 * depth * columns, "the weights' size");
    assert!(depth.is_multiple_of(LANES) && columns.is_multiple_of(LANES), "blocks of 16");
    Panels::fill_all(isa, T * T * depth, columns, |width, panels| {
        let panels = Shared::new(panels);
        let (blocks, across) = (depth / LANES, width / LANES);
        threads::share(columns.div_ceil(width) * blocks * across, |task| {
            let row = task / across % blocks * LANES;
            let column = (task / across / blocks * across + task % across) * LANES;
            isa.run(through::<L, _, 3, T>(PackBlock { weights, row, column, width, panels }));
        });
    })
}

/// Rows `row..row + 16` and columns `column..column + 16` of the panels, at all frequencies.
struct PackBlock<'a> {
    weights: Weights<'a>,
    row: usize,
    column: usize,
    width: usize,
    /// [panel][frequency][depth][width]
    panels: Shared<'a>,
}

impl<L: Line<3, T>, const T: usize> Kernel for Through<PackBlock<'_>, L, 3, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PackBlock { weights, row, column, width, panels } = self.kernel;
        let Weights { w, depth, columns, turn } = weights;
        let frequency = depth * width;
        // SAFETY: the last line ends it.
        let out = unsafe { HandOver::of(columns.div_ceil(width) * T * T * frequency) };
        let is_there = column < columns;
        let turned;
        let (from, row_step, tap) = if turn && is_there {
            turned = weights.turned(s, row, column);
            (turned.as_flattened(), LANES, LANES * LANES)
        } else {
            (&w[row * columns + column..], columns, depth * columns)
        };
        let at = column / width * T * T * frequency + row * width + column % width;
        let end = at + (LANES - 1) * width + (T * T - 1) * frequency + LANES;
        // Nothing panics between the first store and the last line.
        let start = panels.start_of(at..end);
        for k in 0..LANES {
            // SAFETY: the panel has a vector in row `row + k` at each frequency, as `start_of` checked
            // for the last one, and nobody else writes these, as `pack` gives each task rows and columns
            // of its own. Every tap has this row and 16 columns from `column` on, by the weights' size;
            // in the turned block it is row k.
            unsafe {
                let to =
                    Square { start: start.add(k * width), row: T * frequency, column: frequency };
                if is_there {
                    let from = from.as_ptr().add(k * row_step);
                    both_ways::<L, S, 3, T>(s, Square::read_only(from, 3 * tap, tap), to, out);
                } else {
                    (0..T * T).for_each(|i| out.store(s, to.at(0, i), s.splat(0.0)));
                }
            }
        }
        out.end(s);
    }
}

impl Weights<'_> {
    /// Sixteen rows from `row` on of sixteen columns from `column` on, a tap each, out of weights that
    /// lie the other way around.
    #[inline(always)]
    fn turned<S: Simd>(&self, s: S, row: usize, column: usize) -> [[f32; LANES * LANES]; 9] {
        let mut turned = [[0.0; LANES * LANES]; 9];
        for (tap, to) in turned.iter_mut().enumerate() {
            let mut rows = [s.splat(0.0); LANES];
            for (i, lanes) in rows.iter_mut().enumerate() {
                *lanes =
                    s.load_slice(&self.w[(tap * self.columns + column + i) * self.depth + row..]);
            }
            for (to, &lanes) in to.chunks_exact_mut(LANES).zip(&s.transpose(rows)) {
                s.store_slice(to, lanes);
            }
        }
        turned
    }
}

/// dw = Gᵀ dU G: from [frequency][c][o] to [tap][c][o], of which these c may be some.
pub(super) struct WeightGradient<'a> {
    pub frequencies: &'a [f32],
    /// From the first c on.
    pub dw: &'a mut [f32],
    /// Numbers of `dw` from one tap to the next.
    pub tap_len: usize,
}

impl<L: Line<T, 3>, const T: usize> Kernel for Through<WeightGradient<'_>, L, T, 3> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let WeightGradient { frequencies, dw, tap_len } = self.kernel;
        let size = frequencies.len() / (T * T);
        assert_eq!(frequencies.len(), T * T * size, "the frequencies' size");
        assert!(end_of(&[(8, tap_len), (1, size)]) <= dw.len(), "the gradient's size");
        assert!(size.is_multiple_of(LANES), "blocks of 16");
        // SAFETY: the last line ends it.
        let out = unsafe { HandOver::of(9 * tap_len) };
        for at in (0..size).step_by(LANES) {
            // SAFETY: the sizes say that every frequency and every tap has 16 numbers at `at`.
            unsafe {
                let from = frequencies.as_ptr().add(at);
                let from = Square::read_only(from, T * size, size);
                let to = dw.as_mut_ptr().add(at);
                let to = Square { start: to, row: 3 * tap_len, column: tap_len };
                both_ways::<L, S, T, 3>(s, from, to, out);
            }
        }
        out.end(s);
    }
}
