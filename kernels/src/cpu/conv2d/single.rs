//! The products of a single tile of two by two outputs, straight from the nine taps.
//!
//! The weights of one tile are used once, so what takes time is to read them, and at 16 frequencies
//! they are nearly twice as many as at nine taps. Here they go from taps to frequencies in registers
//! on their way to the products. The halves in that map are left to the other operand, which has far
//! fewer numbers: `(v / 2) u` and `v (u / 2)` round alike, so the bits are those of packed weights, as
//! long as to halve and to double these numbers changes nothing but their exponents.

use super::tiles::Spectrum;
use crate::cpu::isa::Isa;
use crate::cpu::panels::Panels;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::geometry::Conv2d;

/// Inputs of a tile in each direction.
const T: usize = 4;
const FREQUENCIES: usize = T * T;
const TAPS: usize = 9;
/// What the map of the weights of one row or column leaves out.
const HALVES: [f32; T] = [1.0, 0.5, 0.5, 1.0];

/// The weights: [block of 16 output channels][input channel][tap][16], and zeros in a panel's blocks
/// that are too many.
pub(super) fn pack(isa: Isa, g: &Conv2d, w: &[f32]) -> Panels {
    let (depth, columns) = (g.in_channels(), g.out_channels());
    assert_eq!(w.len(), TAPS * depth * columns, "the weights' size");
    Panels::fill(isa, TAPS * depth, columns, |first, panel| {
        for (block, to) in panel.chunks_exact_mut(depth * TAPS * LANES).enumerate() {
            let column = first + block * LANES;
            for (k, to) in to.chunks_exact_mut(TAPS * LANES).enumerate() {
                for (tap, to) in to.chunks_exact_mut(LANES).enumerate() {
                    match w[(tap * depth + k) * columns..][..columns].get(column..column + LANES) {
                        Some(from) => to.copy_from_slice(from),
                        None => to.fill(0.0),
                    }
                }
            }
        }
    })
}

/// `to[f][column] = sum over k of left[f][k] right[f][k, column]` at every frequency f, where `right`
/// are the taps' frequencies.
pub(super) struct SingleTile<'a> {
    pub left: &'a [f32],
    pub left_spectrum: Spectrum,
    /// As [`pack`] packs them.
    pub taps: &'a [f32],
    pub to: &'a mut [f32],
    pub to_spectrum: Spectrum,
}

impl Kernel for SingleTile<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (left, to) = (self.left_spectrum, self.to_spectrum);
        let depth = left.blocks * LANES;
        for spectrum in [left, to] {
            assert_eq!((spectrum.frequencies, spectrum.tiles), (FREQUENCIES, 1), "a single tile");
        }
        assert_eq!(self.left.len(), left.len(), "the left operand's size");
        assert_eq!(self.to.len(), to.len(), "the result's size");
        let block_len = depth * TAPS * LANES;
        assert!(self.taps.len() >= to.blocks * block_len, "the taps' size");
        let mut halved = Scratch::new(depth * FREQUENCIES);
        let mut halved = halved.write();
        halve(s, self.left, left, &mut halved);
        for (block, taps) in self.taps.chunks_exact(block_len).take(to.blocks).enumerate() {
            // SAFETY: `halved` and `taps` have so many numbers for each of `depth`.
            let sums = unsafe { products(s, halved.as_ptr(), taps.as_ptr(), depth) };
            for (f, sum) in sums.into_iter().flatten().enumerate() {
                let at = f * to.frequency_step() + to.tile(block, 0);
                s.store_slice(&mut self.to[at..at + LANES], sum);
            }
        }
    }
}

/// The left operand times what the weights' map leaves out, the other way around: [k][f].
#[inline(always)]
fn halve<S: Simd>(s: S, from: &[f32], spectrum: Spectrum, to: &mut [f32]) {
    let factors: [f32; LANES] = core::array::from_fn(|f| HALVES[f / T] * HALVES[f % T]);
    let factors = s.load_slice(&factors);
    for (block, to) in to.chunks_exact_mut(LANES * FREQUENCIES).enumerate() {
        let mut rows = [s.splat(0.0); FREQUENCIES];
        for (f, row) in rows.iter_mut().enumerate() {
            let at = f * spectrum.frequency_step() + spectrum.tile(block, 0);
            *row = s.load_slice(&from[at..at + LANES]);
        }
        for (to, row) in to.chunks_exact_mut(FREQUENCIES).zip(s.transpose(rows)) {
            s.store_slice(to, s.mul(row, factors));
        }
    }
}

/// The sums at all frequencies of 16 columns, by rows.
///
/// # Safety
/// 16 numbers must be readable at `left` and 9 times 16 at `taps` for each of `depth`.
#[inline(always)]
unsafe fn products<S: Simd>(
    s: S,
    mut left: *const f32,
    mut taps: *const f32,
    depth: usize,
) -> [[S::V; T]; T] {
    let mut sums = [[s.splat(0.0); T]; T];
    for _ in 0..depth {
        // SAFETY: the caller guarantees the numbers of this step.
        unsafe {
            let tap = |i: usize| s.load(taps.add(i * LANES));
            let [a0, b0, c0, d0] = frequencies(s, [tap(0), tap(3), tap(6)]);
            let [a1, b1, c1, d1] = frequencies(s, [tap(1), tap(4), tap(7)]);
            let [a2, b2, c2, d2] = frequencies(s, [tap(2), tap(5), tap(8)]);
            let [a, b, c, d] = sums;
            sums = [
                add_row(s, left, [a0, a1, a2], a),
                add_row(s, left.add(T), [b0, b1, b2], b),
                add_row(s, left.add(2 * T), [c0, c1, c2], c),
                add_row(s, left.add(3 * T), [d0, d1, d2], d),
            ];
            (left, taps) = (left.add(FREQUENCIES), taps.add(TAPS * LANES));
        }
    }
    sums
}

/// A row of products at its frequencies.
///
/// # Safety
/// `T` numbers must be readable at `left`.
#[inline(always)]
unsafe fn add_row<S: Simd>(s: S, left: *const f32, row: [S::V; 3], sums: [S::V; T]) -> [S::V; T] {
    let [u0, u1, u2, u3] = frequencies(s, row);
    let [m0, m1, m2, m3] = sums;
    // SAFETY: the caller guarantees the numbers.
    let [v0, v1, v2, v3] = unsafe { left.cast::<[f32; T]>().read() };
    [
        s.fma(s.splat(v0), u0, m0),
        s.fma(s.splat(v1), u1, m1),
        s.fma(s.splat(v2), u2, m2),
        s.fma(s.splat(v3), u3, m3),
    ]
}

/// The form's map of a row or a column of taps, without its halves.
#[inline(always)]
fn frequencies<S: Simd>(s: S, [g0, g1, g2]: [S::V; 3]) -> [S::V; T] {
    let ends = s.add(g0, g2);
    [g0, s.add(ends, g1), s.sub(ends, g1), g2]
}
