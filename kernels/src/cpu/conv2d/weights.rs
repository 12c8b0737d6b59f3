//! Weights at the frequencies of Winograd's algorithm, and their gradient back from there.

use super::forms::{Line, Through, both_ways, through};
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
        let step = depth * width;
        for k in 0..depth {
            for v in (0..width).step_by(LANES) {
                let mut taps = [[s.splat(0.0); 3]; 3];
                for (tap, to) in taps.as_flattened_mut().iter_mut().enumerate() {
                    let row = &w[(tap * depth + k) * columns..][..columns];
                    *to = s.load_slice(&row[(first + v).min(columns)..]);
                }
                let frequencies = both_ways::<L, S, 3, T>(s, &taps);
                for (i, &frequency) in frequencies.as_flattened().iter().enumerate() {
                    s.store_slice(&mut to[i * step + k * width + v..], frequency);
                }
            }
        }
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
        for at in (0..size).step_by(LANES) {
            let mut square = [[s.splat(0.0); T]; T];
            for (i, to) in square.as_flattened_mut().iter_mut().enumerate() {
                *to = s.load_slice(&frequencies[i * size + at..]);
            }
            let taps = both_ways::<L, S, T, 3>(s, &square);
            for (tap, &gradient) in taps.as_flattened().iter().enumerate() {
                s.store_slice(&mut dw[tap * size + at..(tap + 1) * size], gradient);
            }
        }
    }
}
