//! Convolution by Winograd's algorithm: tiles to frequencies, a matrix product at each, and back.
//!
//! ```text
//! x --Bᵀ d B--> V --- V U  --> P --Aᵀ P A--> y
//!                \                                  U = G g Gᵀ
//!                 +-- Vᵀ M --> dU --Gᵀ dU G--> dw
//!                /
//! dy --A y Aᵀ--> M --- M Uᵀ --> dV --B dV Bᵀ--> dx   (tiles that overlap are added up)
//! ```
//!
//! Both gradients share M, if one task computes them. Each output is one chain in each product; which
//! images are transformed together changes no sum.

use std::ops::Range;

use super::forms::{self, Form};
use super::frequency::Products;
use super::pooled::ToPooled;
use super::single::{self, SingleTile};
use super::tiles::{FromFrequencies, Images, Spectrum, Tiling, ToFrequencies};
use super::transform::through;
use super::weights;
use crate::cpu::finish::Finish;
use crate::cpu::isa::{Isa, tile_rows_limit};
use crate::cpu::panels::{Panels, PanelsView, panel_width};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::LANES;
use crate::geometry::{Conv2d, Pool2d, SHARD};

/// How many tiles are best computed at once: products of fewer rows would read the weights too often,
/// and more would leave the cache. The first of these where they cost the same.
const TILES_AT_ONCE: [usize; 2] = [32, 16];

/// Numbers of tiles that are found in an L2 cache of 1 MB: some more than it holds, since they are not
/// needed all at once.
const CACHED: usize = 5 << 16;

/// How often a tile's numbers move if they are not found there. Transforms and products write or read
/// them seven times in all; eight parts what was measured to be faster from what was not.
const PASSES: usize = 8;

/// A convolution of kernel 3 by 3 and stride 1 whose channels are multiples of 16, by tiles of
/// `outputs` by `outputs` output pixels.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Winograd {
    pub isa: Isa,
    pub tile_rows: usize,
    pub tiling: Tiling,
    pub inputs: Images,
    pub outputs: Images,
    /// Whether inputs are likely to be far from the caches.
    pub from_memory: bool,
    /// Whether the outputs are the maxima of windows of 2 by 2.
    pub pooled: bool,
    /// Whether an image is a single tile, whose products are made from the taps.
    pub from_taps: bool,
}

/// Calls the method with the constants of the form in use.
macro_rules! with_form {
    ($of:expr, $method:ident($($argument:expr),*)) => {
        match $of.tiling.outputs {
            2 => $of.$method::<forms::Two, 4, 2>($($argument),*),
            4 => $of.$method::<forms::Four, 6, 4>($($argument),*),
            5 => $of.$method::<forms::Five, 7, 5>($($argument),*),
            6 => $of.$method::<forms::Six, 8, 6>($($argument),*),
            outputs => unreachable!("no form of {outputs} outputs"),
        }
    };
}

pub(super) use with_form;

impl Winograd {
    pub fn new(isa: Isa, g: &Conv2d, outputs: usize) -> Winograd {
        let tiling = Tiling::of(g, outputs);
        let inputs = Images {
            size: [g.height(), g.width()],
            padding: g.padding(),
            first_row: 0,
            channels: g.in_channels(),
        };
        let outputs = Images {
            size: [g.out_height(), g.out_width()],
            padding: 0,
            first_row: 0,
            channels: g.out_channels(),
        };
        let tile_rows = tile_rows_limit();
        Winograd {
            isa,
            tile_rows,
            tiling,
            inputs,
            outputs,
            from_memory: true,
            pooled: false,
            from_taps: false,
        }
    }

    /// One that takes the products of a single image from the taps, if that is a single tile of the
    /// smallest form, 16 sums and what they are made of stay in registers, and there are several panels
    /// for several threads.
    pub fn of_single_tile(&self) -> Option<Winograd> {
        let is_single = self.tiling.tiles() == 1 && self.tiling.outputs == 2;
        let width = panel_width(self.isa);
        let pays = width > LANES && self.outputs.channels > width;
        (is_single && pays).then_some(Winograd { from_taps: true, ..*self })
    }

    /// The same with the maxima of a pool's windows as its outputs, if these are 2 by 2 and no tile
    /// cuts one.
    pub fn pooled(&self, pool: &Pool2d) -> Option<Winograd> {
        let windows = [pool.window_height(), pool.window_width(), pool.stride()] == [2; 3];
        if !windows || !self.tiling.outputs.is_multiple_of(2) {
            return None;
        }
        let size = [pool.out_height(), pool.out_width()];
        // A row or column of pixels that no window reaches needs no tiles.
        let [rows, columns] = size.map(|size| size.div_ceil(self.tiling.outputs / 2));
        Some(Winograd {
            tiling: Tiling { rows, columns, ..self.tiling },
            outputs: Images { size, ..self.outputs },
            pooled: true,
            ..*self
        })
    }

    /// How many images are best given to one call.
    pub fn images_at_once(&self) -> usize {
        let [many, few] = TILES_AT_ONCE;
        let tiles = if self.traffic(few) < self.traffic(many) { few } else { many };
        tiles.div_ceil(self.tiling.tiles()).next_power_of_two().min(SHARD)
    }

    /// Numbers that the backward pass moves past the L2 cache for each tile, if so many tiles are
    /// computed at once: the weights and their gradient, read and written, and the tiles themselves,
    /// where they are not found there. Few tiles are best for conv2 of a reference network four times
    /// as wide, which trains 1.03 times as fast by that (two threads, batch 128).
    fn traffic(&self, tiles: usize) -> usize {
        let [inputs, outputs] = [&self.inputs, &self.outputs].map(|images| images.channels);
        let frequencies = self.tiling.frequencies();
        let tile = frequencies * (inputs + outputs);
        let passes = if tiles * tile <= CACHED { 0 } else { PASSES };
        3 * frequencies * inputs * outputs / tiles + passes * tile
    }

    /// Height, width and channels of an output image.
    pub fn output(&self) -> [usize; 3] {
        let [height, width] = self.outputs.size;
        [height, width, self.outputs.channels]
    }

    /// How many output rows a row of tiles has.
    pub fn rows_together(&self) -> usize {
        self.tiling.outputs / if self.pooled { 2 } else { 1 }
    }

    /// The input rows behind the tiles of output rows `rows`, which begin with a row of tiles.
    pub fn input_rows(&self, rows: Range<usize>) -> Range<usize> {
        let (inputs, tile) = (self.inputs, self.rows_together());
        let [start, end] =
            [rows.start / tile, rows.end.div_ceil(tile)].map(|row| row * self.tiling.outputs);
        start.saturating_sub(inputs.padding)..(end + 2 - inputs.padding).min(inputs.size[0])
    }

    /// Numbers that a shard sums up for the weight gradient of so many input channels.
    pub fn sums_len(&self, channels: usize) -> usize {
        self.tiling.frequencies() * channels * self.outputs.channels
    }

    /// The weights for [`Winograd::forward`].
    pub fn pack_forward(&self, g: &Conv2d, w: &[f32]) -> Panels {
        if self.from_taps {
            return single::pack(self.isa, g, w);
        }
        with_form!(self, pack_forward_by(g, w))
    }

    fn pack_forward_by<F: Form<T, M>, const T: usize, const M: usize>(
        &self,
        g: &Conv2d,
        w: &[f32],
    ) -> Panels {
        weights::pack_forward::<F::Weight, T>(self.isa, g, w)
    }

    /// The weights for the input gradient of [`Winograd::backward`].
    pub fn pack_backward(&self, g: &Conv2d, w: &[f32]) -> Panels {
        with_form!(self, pack_backward_by(g, w))
    }

    fn pack_backward_by<F: Form<T, M>, const T: usize, const M: usize>(
        &self,
        g: &Conv2d,
        w: &[f32],
    ) -> Panels {
        weights::pack_backward::<F::Weight, T>(self.isa, g, w)
    }

    /// y of some images.
    pub fn forward(&self, weights: &[f32], x: &[f32], finish: Finish, y: &mut [f32]) {
        with_form!(self, forward_by(weights, x, finish, y));
    }

    /// Output rows `rows` of one image, from a multiple of the tiles' rows on, of the channels that
    /// `weights` give.
    pub fn forward_part(
        &self,
        weights: &PanelsView,
        x: &[f32],
        rows: Range<usize>,
        finish: Finish,
        y: &mut [f32],
    ) {
        let (tile, outputs) = (self.rows_together(), self.outputs);
        assert!(rows.start.is_multiple_of(tile), "a part begins inside a tile");
        let size = [rows.len(), outputs.size[1]];
        let first_row = rows.start / tile * self.tiling.outputs;
        let part = Winograd {
            tiling: Tiling { rows: rows.len().div_ceil(tile), ..self.tiling },
            inputs: Images { first_row, ..self.inputs },
            outputs: Images { size, channels: weights.columns, ..outputs },
            ..*self
        };
        part.forward(weights.data, x, finish, y);
    }

    fn forward_by<F: Form<T, M>, const T: usize, const M: usize>(
        &self,
        weights: &[f32],
        x: &[f32],
        finish: Finish,
        y: &mut [f32],
    ) {
        let (from, to) = self.spectra(y.len());
        let mut memory = Scratch::new(from.len() + to.len());
        let mut memory = memory.write();
        let (v, products) = memory.split_at_mut(from.len());
        self.isa.run(through::<F::Input, _, T, T>(ToFrequencies {
            tiling: self.tiling,
            images: x,
            layout: self.inputs,
            from_memory: self.from_memory,
            first_block: 0,
            spectrum: from,
            to: v,
        }));
        if self.from_taps {
            self.isa.run(SingleTile {
                left: v,
                left_spectrum: from,
                taps: weights,
                to: products,
                to_spectrum: to,
            });
        } else {
            self.isa.run(Products {
                left: v,
                left_spectrum: from,
                right: weights,
                to: products,
                to_spectrum: to,
                tile_rows: self.tile_rows,
            });
        }
        let (tiling, layout) = (self.tiling, self.outputs);
        let (from, spectrum, images) = (&*products, to, y);
        if self.pooled {
            let pooled = ToPooled { tiling, from, spectrum, images, layout, finish };
            return self.isa.run(through::<F::Output, _, T, M>(pooled));
        }
        let finish = Some(finish);
        let written = FromFrequencies { tiling, from, spectrum, images, layout, finish };
        self.isa.run(through::<F::Output, _, T, M>(written));
    }

    /// The spectra of inputs and outputs of as many images as have `output_len` outputs.
    pub(super) fn spectra(&self, output_len: usize) -> (Spectrum, Spectrum) {
        let [height, width] = self.outputs.size;
        let images = output_len / (height * width * self.outputs.channels);
        let spectrum = |channels: usize| Spectrum {
            frequencies: self.tiling.frequencies(),
            blocks: channels / LANES,
            tiles: images * self.tiling.tiles(),
        };
        (spectrum(self.inputs.channels), spectrum(self.outputs.channels))
    }
}
