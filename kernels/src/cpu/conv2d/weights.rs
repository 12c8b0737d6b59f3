//! Weights at the frequencies of Winograd's algorithm, and their gradient back from there.

use super::forms::Line;
use super::transform::{Square, Through, both_ways, through};
use crate::cpu::handover::HandOver;
use crate::cpu::isa::Isa;
use crate::cpu::panels::Panels;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::geometry::Conv2d;
use crate::threads;

/// U = G g Gᵀ for the forward pass, packed: [panel][frequency][depth][panel's width]. The depth is
/// input channels, the columns are output channels.
pub(super) fn pack_forward<L: Line<3, T>, const T: usize>(
    isa: Isa,
    g: &Conv2d,
    w: &[f32],
) -> Panels {
    pack::<L, T>(isa, g.in_channels(), g.out_channels(), w)
}

/// The same for the input gradient: depth and columns the other way around.
pub(super) fn pack_backward<L: Line<3, T>, const T: usize>(
    isa: Isa,
    g: &Conv2d,
    w: &[f32],
) -> Panels {
    let (inputs, outputs) = (g.in_channels(), g.out_channels());
    let mut turned = Scratch::new(w.len());
    threads::chunks(&mut turned.write(), inputs * outputs, |tap, turned| {
        let w = &w[tap * inputs * outputs..];
        for (output, row) in turned.chunks_exact_mut(inputs).enumerate() {
            for (input, to) in row.iter_mut().enumerate() {
                *to = w[input * outputs + output];
            }
        }
    });
    pack::<L, T>(isa, outputs, inputs, &turned.read())
}

/// `w` is [tap][depth][columns].
fn pack<L: Line<3, T>, const T: usize>(
    isa: Isa,
    depth: usize,
    columns: usize,
    w: &[f32],
) -> Panels {
    Panels::fill(isa, T * T * depth, columns, |first, to| {
        let width = to.len() / (T * T * depth);
        isa.run(through::<L, _, 3, T>(PackPanel { w, depth, columns, first, width, to }));
    })
}

/// One panel: [frequency][depth][width], columns `first..first + width` of `w`.
struct PackPanel<'a> {
    w: &'a [f32],
    depth: usize,
    columns: usize,
    first: usize,
    width: usize,
    to: &'a mut [f32],
}

impl<L: Line<3, T>, const T: usize> Kernel for Through<PackPanel<'_>, L, 3, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PackPanel { w, depth, columns, first, width, to } = self.kernel;
        assert_eq!(w.len(), 9 * depth * columns, "the weights' size");
        assert_eq!(to.len(), T * T * depth * width, "the panel's size");
        assert!(columns.is_multiple_of(LANES) && width.is_multiple_of(LANES), "blocks of 16");
        let (tap, frequency) = (depth * columns, depth * width);
        let out = HandOver::to_others();
        for k in 0..depth {
            for v in (0..width).step_by(LANES) {
                let at = k * width + v;
                if first + v >= columns {
                    (0..T * T).for_each(|i| to[i * frequency + at..][..LANES].fill(0.0));
                    continue;
                }
                // SAFETY: the sizes say that all taps have row k and its 16 columns from
                // `first + v` on, and all frequencies of the panel a vector at `at`.
                unsafe {
                    let from = w.as_ptr().add(k * columns + first + v);
                    let from = Square::read_only(from, 3 * tap, tap);
                    let to = to.as_mut_ptr().add(at);
                    let to = Square { start: to, row: T * frequency, column: frequency };
                    both_ways::<L, S, 3, T>(s, from, to, out);
                }
            }
        }
        out.end(s);
    }
}

/// dw = Gᵀ dU G: from [frequency][c][o] to [tap][c][o].
pub(super) struct WeightGradient<'a> {
    pub frequencies: &'a [f32],
    pub dw: &'a mut [f32],
}

impl<L: Line<T, 3>, const T: usize> Kernel for Through<WeightGradient<'_>, L, T, 3> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let WeightGradient { frequencies, dw } = self.kernel;
        let size = dw.len() / 9;
        assert_eq!(frequencies.len(), T * T * size, "the frequencies' size");
        assert_eq!(dw.len(), 9 * size, "the gradient's size");
        assert!(size.is_multiple_of(LANES), "blocks of 16");
        let out = HandOver::to_others();
        for at in (0..size).step_by(LANES) {
            // SAFETY: the sizes say that every frequency and every tap has 16 numbers at `at`.
            unsafe {
                let from = frequencies.as_ptr().add(at);
                let from = Square::read_only(from, T * size, size);
                let to = dw.as_mut_ptr().add(at);
                let to = Square { start: to, row: 3 * size, column: size };
                both_ways::<L, S, T, 3>(s, from, to, out);
            }
        }
        out.end(s);
    }
}
