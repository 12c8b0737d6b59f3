//! The products of Winograd's algorithm: a matrix product at every frequency.

use super::tiles::Spectrum;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::tile::{Adjacent, Right, Spaced, accumulate, heights, unrolled, with_height};

/// Frequencies at which the products of a single tile are computed together: one alone has too few
/// sums to cover the latency of an FMA.
const FREQUENCIES_TOGETHER: usize = 4;

/// `to[f][tile, column] = sum over k of left[f][tile, k] right[f][k, column]` at every frequency f:
/// the forward pass, and the input gradient with the weights the other way around.
pub(super) struct Products<'a> {
    pub left: &'a [f32],
    pub left_spectrum: Spectrum,
    /// Packed weights: [panel][frequency][k][panel's width], a panel as wide as a tile.
    pub right: &'a [f32],
    pub to: &'a mut [f32],
    pub to_spectrum: Spectrum,
    /// The largest tile height to use.
    pub tile_rows: usize,
}

impl Kernel for Products<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if S::TILE_VECTORS == 2 { self.panels::<S, 2>(s) } else { self.panels::<S, 1>(s) }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn panels<S: Simd, const NV: usize>(mut self, s: S) {
        let (left, to) = (self.left_spectrum, self.to_spectrum);
        let panels = to.blocks.div_ceil(NV);
        let panel_len = left.frequencies * left.blocks * LANES * NV * LANES;
        assert_eq!((left.frequencies, left.tiles), (to.frequencies, to.tiles), "two spectra");
        assert_eq!(self.left.len(), left.len(), "the left operand's size");
        assert_eq!(self.right.len(), panels * panel_len, "the weights' size");
        assert_eq!(self.to.len(), to.len(), "the result's size");
        // Of a single tile several frequencies at a time; those that are left over one by one.
        let single = if left.tiles == 1 { left.frequencies } else { 0 };
        let single = single - single % FREQUENCIES_TOGETHER;
        for panel in 0..panels {
            for frequency in (0..single).step_by(FREQUENCIES_TOGETHER) {
                // SAFETY: the operands' sizes were checked above.
                unsafe { self.single::<S, FREQUENCIES_TOGETHER, NV>(s, panel, frequency) };
            }
            for frequency in single..left.frequencies {
                let mut first = 0;
                for rows in heights(left.tiles, S::TILE_ROWS.min(self.tile_rows)) {
                    // SAFETY: the operands' sizes were checked above.
                    with_height!(rows, S, MR => unsafe {
                        self.tile::<S, MR, NV>(s, panel, frequency, first);
                    });
                    first += rows;
                }
            }
        }
    }

    /// The only tile's products at frequencies `frequency..frequency + F`.
    ///
    /// # Safety
    /// `panels` must have checked the operands; there must be one tile, and the panel and the
    /// frequencies must exist.
    #[inline(always)]
    unsafe fn single<S: Simd, const F: usize, const NV: usize>(
        &mut self,
        s: S,
        panel: usize,
        frequency: usize,
    ) {
        let (left, to) = (self.left_spectrum, self.to_spectrum);
        let depth = left.blocks * LANES;
        let (from_step, to_step) = (left.frequency_step(), to.frequency_step());
        let right = (panel * left.frequencies + frequency) * depth * NV * LANES;
        let blocks = to.blocks - panel * NV;
        // SAFETY: the sizes say that all three operands hold these frequencies; the blocks of a
        // single tile lie one after the other.
        unsafe {
            let a = self.left.as_ptr().add(frequency * from_step);
            let b = self.right.as_ptr().add(right);
            let mut sums = [[s.splat(0.0); NV]; F];
            for k in 0..depth {
                unrolled!(R in F => {
                    let left = s.splat(*a.add(R * from_step + k));
                    unrolled!(V in NV => {
                        let right = s.load(b.add(((R * depth + k) * NV + V) * LANES));
                        sums[R][V] = s.fma(left, right, sums[R][V]);
                    });
                });
            }
            let to = self.to.as_mut_ptr().add(frequency * to_step + panel * NV * LANES);
            unrolled!(R in F => {
                unrolled!(V in NV => if V < blocks {
                    s.store(to.add(R * to_step + V * LANES), sums[R][V]);
                });
            });
        }
    }

    /// # Safety
    /// `panels` must have checked the operands; the panel, the frequency and tiles
    /// `first..first + MR` must exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        s: S,
        panel: usize,
        frequency: usize,
        first: usize,
    ) {
        let (left, to) = (self.left_spectrum, self.to_spectrum);
        let depth = left.blocks * LANES;
        let a = frequency * left.frequency_step() + first * LANES;
        let b = (panel * left.frequencies + frequency) * depth * NV * LANES;
        let mut sums = [[s.splat(0.0); NV]; MR];
        for block in 0..left.blocks {
            // SAFETY: the sizes say that both operands hold this block of this frequency.
            unsafe {
                let a = Spaced(self.left.as_ptr().add(a + block * left.block_step()));
                let start = self.right.as_ptr().add(b + block * LANES * NV * LANES);
                let b = Right { start, row: NV * LANES, vector: LANES };
                sums = accumulate(s, sums, (a, 1), b, LANES);
            }
        }
        let at = frequency * to.frequency_step() + first * LANES;
        let blocks = to.blocks - panel * NV;
        // SAFETY: the size says that the result holds these blocks of this frequency.
        unsafe {
            let to_start = self.to.as_mut_ptr().add(at + panel * NV * to.block_step());
            unrolled!(R in MR => {
                unrolled!(V in NV => if V < blocks {
                    s.store(to_start.add(V * to.block_step() + R * LANES), sums[R][V]);
                });
            });
        }
    }
}

/// `sums[f][c, o] += sum over tiles of left[f][tile, c] right[f][tile, o]` at every frequency f:
/// the weight gradient, a chain over the tiles.
pub(super) struct GradientProducts<'a> {
    pub left: &'a [f32],
    pub left_spectrum: Spectrum,
    pub right: &'a [f32],
    pub right_spectrum: Spectrum,
    /// [frequency][c][o]
    pub sums: &'a mut [f32],
    /// Whether the sums begin here, from 0, and do not go on from what is there.
    pub begin: bool,
    /// The largest tile height to use.
    pub tile_rows: usize,
}

impl Kernel for GradientProducts<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (left, right) = (self.left_spectrum, self.right_spectrum);
        assert_eq!((left.frequencies, left.tiles), (right.frequencies, right.tiles), "two spectra");
        assert_eq!(self.left.len(), left.len(), "the left operand's size");
        assert_eq!(self.right.len(), right.len(), "the right operand's size");
        let size = left.frequencies * left.blocks * LANES * right.blocks * LANES;
        assert_eq!(self.sums.len(), size, "the result's size");
        for frequency in 0..left.frequencies {
            for block in 0..left.blocks {
                let mut column = 0;
                while column < right.blocks {
                    if S::TILE_VECTORS == 2 && column + 2 <= right.blocks {
                        self.tiles::<S, 2>(s, frequency, block, column);
                        column += 2;
                    } else {
                        self.tiles::<S, 1>(s, frequency, block, column);
                        column += 1;
                    }
                }
            }
        }
    }
}

impl GradientProducts<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const NV: usize>(
        &mut self,
        s: S,
        frequency: usize,
        block: usize,
        column: usize,
    ) {
        let mut first = 0;
        for rows in heights(LANES, S::TILE_ROWS.min(self.tile_rows)) {
            // SAFETY: `run` checked the operands and calls for blocks that they have.
            with_height!(rows, S, MR => unsafe {
                self.tile::<S, MR, NV>(s, frequency, block, first, column);
            });
            first += rows;
        }
    }

    /// # Safety
    /// `run` must have checked the operands; channels `first..first + MR` of the left block and
    /// the right blocks `column..column + NV` must exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        s: S,
        frequency: usize,
        block: usize,
        first: usize,
        column: usize,
    ) {
        let (left, right) = (self.left_spectrum, self.right_spectrum);
        let row_len = right.blocks * LANES;
        let row = (frequency * left.blocks + block) * LANES + first;
        // SAFETY: the sizes say that all three operands hold these blocks of this frequency.
        unsafe {
            let c = self.sums.as_mut_ptr().add(row * row_len + column * LANES);
            let mut sums = [[s.splat(0.0); NV]; MR];
            if !self.begin {
                unrolled!(R in MR => {
                    unrolled!(V in NV => sums[R][V] = s.load(c.add(R * row_len + V * LANES)));
                });
            }
            let a = frequency * left.frequency_step() + block * left.block_step() + first;
            let b = frequency * right.frequency_step() + column * right.block_step();
            let a = (Adjacent(self.left.as_ptr().add(a)), LANES);
            let start = self.right.as_ptr().add(b);
            let b = Right { start, row: LANES, vector: right.block_step() };
            let sums = accumulate(s, sums, a, b, left.tiles);
            unrolled!(R in MR => {
                unrolled!(V in NV => s.store(c.add(R * row_len + V * LANES), sums[R][V]));
            });
        }
    }
}
