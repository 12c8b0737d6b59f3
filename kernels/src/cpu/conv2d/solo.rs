//! Winograd's algorithm on a single image, cut into parts that several threads can do at once:
//! halves of the image where tiles go to frequencies and back, and ranges of frequencies where
//! these are multiplied. The sums are those of [`Winograd::forward`].

use std::ops::Range;

use super::forms::{Form, Four, Two, through};
use super::frequency::Products;
use super::tiles::{FromFrequencies, Images, Spectrum, Tiling, ToFrequencies};
use super::winograd::{Winograd, with_form};
use crate::cpu::finish::Finish;
use crate::cpu::simd::LANES;

/// The parts of one image's convolution.
pub(in crate::cpu) struct Solo<'a> {
    winograd: &'a Winograd,
    /// Rows of tiles in each half; one half where there are few tiles.
    halves: Vec<usize>,
}

/// An image with fewer tiles than this is not halved.
const TILES_TO_HALVE: usize = 9;
/// Parts of the products of all halves together.
const PARTS: usize = 6;

impl<'a> Solo<'a> {
    pub fn new(winograd: &'a Winograd) -> Solo<'a> {
        let rows = winograd.tiling.rows;
        let halved = winograd.tiling.tiles() >= TILES_TO_HALVE;
        let halves = if halved { vec![rows / 2, rows - rows / 2] } else { vec![rows] };
        Solo { winograd, halves }
    }

    /// How many halves there are.
    pub fn halves(&self) -> usize {
        self.halves.len()
    }

    /// How many parts the products of each half have.
    pub fn parts(&self) -> usize {
        PARTS / self.halves()
    }

    /// Where the frequencies of the inputs of half `half` lie among those of all.
    pub fn inputs_of(&self, half: usize) -> Range<usize> {
        self.range(half, self.winograd.inputs)
    }

    /// Where the products of half `half` lie among those of all.
    pub fn products_of(&self, half: usize) -> Range<usize> {
        self.range(half, self.winograd.outputs)
    }

    fn range(&self, half: usize, side: Images) -> Range<usize> {
        let len = |half: usize| self.spectrum(half, side).len();
        let start: usize = (0..half).map(len).sum();
        start..start + len(half)
    }

    fn spectrum(&self, half: usize, side: Images) -> Spectrum {
        let tiling = self.winograd.tiling;
        Spectrum {
            frequencies: tiling.frequencies(),
            blocks: side.channels / LANES,
            tiles: self.halves[half] * tiling.columns,
        }
    }

    /// The first row of tiles of a half, and the half as an image of its own.
    fn half(&self, half: usize) -> (usize, Tiling) {
        let first = self.halves[..half].iter().sum();
        (first, Tiling { rows: self.halves[half], ..self.winograd.tiling })
    }

    /// The pixels of the output that half `half` writes, as a range of its numbers.
    pub fn outputs_of(&self, half: usize) -> Range<usize> {
        let [height, width] = self.winograd.outputs.size;
        let (first, tiling) = self.half(half);
        let row_len = width * self.winograd.outputs.channels;
        let rows = first * tiling.outputs..((first + tiling.rows) * tiling.outputs).min(height);
        rows.start * row_len..rows.end * row_len
    }

    /// Part 1: the input's tiles of a half to their frequencies.
    pub fn transform(&self, half: usize, x: &[f32], to: &mut [f32]) {
        with_form!(self, self.winograd.tiling.outputs, transform_by(half, x, to));
    }

    fn transform_by<F: Form<T, M>, const T: usize, const M: usize>(
        &self,
        half: usize,
        x: &[f32],
        to: &mut [f32],
    ) {
        let (first, tiling) = self.half(half);
        let inputs = self.winograd.inputs;
        self.winograd.isa.run(through::<F::Input, _, T, T>(ToFrequencies {
            tiling,
            images: x,
            layout: Images { first_row: first * tiling.outputs, ..inputs },
            spectrum: self.spectrum(half, inputs),
            to,
        }));
    }

    /// The frequencies that part `part` of the products multiplies.
    fn frequencies(&self, part: usize) -> Range<usize> {
        let all = self.winograd.tiling.frequencies();
        all * part / self.parts()..all * (part + 1) / self.parts()
    }

    /// Where part `part` of the products of half `half` lies among those of all.
    pub fn part_of(&self, half: usize, part: usize) -> Range<usize> {
        let spectrum = self.spectrum(half, self.winograd.outputs);
        let (start, step) = (self.products_of(half).start, spectrum.frequency_step());
        let part = self.frequencies(part);
        start + part.start * step..start + part.end * step
    }

    /// Part 2: the products of some frequencies of a half, from the frequencies of all inputs.
    pub fn multiply(
        &self,
        (half, part): (usize, usize),
        weights: &[f32],
        from: &[f32],
        to: &mut [f32],
    ) {
        let part = self.frequencies(part);
        let some = |side: Images| Spectrum { frequencies: part.len(), ..self.spectrum(half, side) };
        let (left_spectrum, to_spectrum) =
            (some(self.winograd.inputs), some(self.winograd.outputs));
        let start = self.inputs_of(half).start + part.start * left_spectrum.frequency_step();
        self.winograd.isa.run(Products {
            left: &from[start..][..left_spectrum.len()],
            left_spectrum,
            right: weights,
            right_frequencies: (part.start, self.winograd.tiling.frequencies()),
            to,
            to_spectrum,
            tile_rows: self.winograd.tile_rows,
        });
    }

    /// Part 3: a half of the output, `y`, from its products.
    pub fn finish(&self, half: usize, from: &[f32], finish: Finish, y: &mut [f32]) {
        with_form!(self, self.winograd.tiling.outputs, finish_by(half, from, finish, y));
    }

    fn finish_by<F: Form<T, M>, const T: usize, const M: usize>(
        &self,
        half: usize,
        from: &[f32],
        finish: Finish,
        y: &mut [f32],
    ) {
        let (outputs, (_, tiling)) = (self.winograd.outputs, self.half(half));
        let [_, width] = outputs.size;
        let rows = y.len() / (width * outputs.channels);
        self.winograd.isa.run(through::<F::Output, _, T, M>(FromFrequencies {
            tiling,
            from,
            spectrum: self.spectrum(half, outputs),
            images: y,
            layout: Images { size: [rows, width], ..outputs },
            finish: Some(finish),
        }));
    }
}
