//! How a single image goes through the network on several threads: what is done before what, and
//! what of it at the same time.

use std::ops::Range;
use std::sync::atomic::AtomicUsize;

use super::conv_layer::ConvLayer;
use super::{Step, What};
use crate::cpu::isa::Isa;
use crate::cpu::simd::LANES;
use crate::cpu::tile::PANELS_TOGETHER;

/// The most phases that [`Plan::run`] takes.
pub(super) const MOST_PHASES: usize = 32;
/// A convolution with at least so many output pixels is cut by rows, a smaller one by channels.
const PIXELS_TO_CUT: usize = 256;

/// What the chunks of a phase are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Cut {
    /// All of the steps, one after the other, in a single chunk.
    Whole,
    /// Rows of the step's result.
    Rows,
    /// Panels of the step's weights: channels or columns of its result.
    Panels,
}

/// What is done before the next phase begins.
pub(super) struct Phase {
    /// Several where they are not cut, and two that are cut by rows where the first is thin: it
    /// costs less to compute rows that two chunks need twice than to wait for them.
    pub steps: Range<usize>,
    pub cut: Cut,
    /// The most chunks that there may be.
    pub chunks: usize,
    /// Whether chunks have work in common that each does for itself.
    pub shares_work: bool,
    /// Numbers of the result that each of so many has, the last perhaps fewer.
    chunk_len: usize,
}

impl Phase {
    /// The phase of step `i` alone.
    fn new(isa: Isa, i: usize, step: &Step) -> Phase {
        let (cut, chunks, chunk_len) = match &step.what {
            What::Conv { convolution, .. } => {
                let layer = ConvLayer::of(isa, step);
                let ([height, width, _], panels) = (convolution.output(), layer.weights.count());
                let ([rows, ..], together) = (layer.output(), layer.rows_together());
                let numbers = step.output_len / layer.weights.columns * layer.weights.width;
                if height * width < PIXELS_TO_CUT && panels > 1 {
                    (Cut::Panels, panels, numbers)
                } else {
                    (Cut::Rows, rows.div_ceil(together), step.output_len / rows * together)
                }
            }
            What::Dense { weights, .. } => {
                let columns = PANELS_TOGETHER * weights.view().width;
                (Cut::Panels, step.output_len.div_ceil(columns), columns)
            }
            What::Affine { .. } | What::Relu | What::MaxPool(_) => (Cut::Whole, 1, step.output_len),
        };
        // Nothing at all is a chunk too.
        let chunks = chunks.max(1);
        let cut = if chunks == 1 { Cut::Whole } else { cut };
        let shares_work = matches!(step.what, What::Conv { .. });
        Phase { steps: i..i + 1, cut, chunks, shares_work, chunk_len }
    }

    /// The part of the result of `step`, the last of the phase, that a chunk of so many computes.
    pub fn part(&self, isa: Isa, step: &Step, chunk: usize, chunks: usize) -> Part {
        match &step.what {
            _ if self.cut == Cut::Whole => {
                Part { pixels: 0..1, columns: 0..step.output_len, channels: step.output_len }
            }
            What::Conv { .. } => {
                let layer = ConvLayer::of(isa, step);
                let [height, width, channels] = layer.output();
                let (mut rows, mut columns) = (0..height, 0..channels);
                if self.cut == Cut::Panels {
                    columns = share_by(layer.weights.width, channels, chunk, chunks);
                } else {
                    rows = share_by(layer.rows_together(), height, chunk, chunks);
                }
                Part { pixels: rows.start * width..rows.end * width, columns, channels }
            }
            What::Dense { weights, .. } => {
                let together = PANELS_TOGETHER * weights.view().width;
                let columns = share_by(together, step.output_len, chunk, chunks);
                Part { pixels: 0..1, columns, channels: step.output_len }
            }
            What::Affine { .. } | What::Relu | What::MaxPool(_) => unreachable!("never cut"),
        }
    }

    /// The most numbers that one of `chunks` chunks passes on, in whole vectors.
    pub fn passed_len(&self, chunks: usize) -> usize {
        (self.chunks.div_ceil(chunks) * self.chunk_len).next_multiple_of(LANES)
    }
}

/// The phases of a network.
pub(super) struct Plan {
    pub phases: Vec<Phase>,
    /// Where the result of each step begins in a worker's memory, and where the last ends.
    pub places: Vec<usize>,
    /// Counts the images.
    pub turn: AtomicUsize,
}

impl Plan {
    /// The phases of `steps`.
    pub fn new(isa: Isa, steps: &[Step]) -> Plan {
        let (mut phases, mut places, mut thin) = (Vec::<Phase>::new(), vec![0], false);
        for (i, step) in steps.iter().enumerate() {
            let phase = Phase::new(isa, i, step);
            match phases.last_mut() {
                Some(last) if (last.cut, phase.cut) == (Cut::Whole, Cut::Whole) => {
                    *last = Phase { steps: last.steps.start..i + 1, ..phase };
                }
                Some(last)
                    if (last.cut, phase.cut) == (Cut::Rows, Cut::Rows)
                        && last.steps.len() == 1
                        && thin =>
                {
                    *last = Phase { steps: i - 1..i + 1, ..phase };
                }
                _ => phases.push(phase),
            }
            thin = matches!(&step.what, What::Conv { convolution, .. } if convolution.is_thin());
            places.push(places[i] + step.output_len.next_multiple_of(LANES));
        }
        Plan { phases, places, turn: AtomicUsize::new(0) }
    }

    /// Whether [`Plan::run`] takes so many phases, and there are any.
    pub fn is_usable(&self) -> bool {
        (1..=MOST_PHASES).contains(&self.phases.len())
    }
}

/// The numbers of a step's result that a chunk computes: some channels of some pixels.
#[derive(Clone)]
pub(super) struct Part {
    pub pixels: Range<usize>,
    pub columns: Range<usize>,
    /// Of all columns.
    pub channels: usize,
}

impl Part {
    /// Where its numbers lie in the result.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Part { pixels, columns, channels } = self.clone();
        pixels.map(move |pixel| pixel * channels + columns.start..pixel * channels + columns.end)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pixels.len() * self.columns.len()
    }

    /// Its numbers of a result, for writing, a pixel at a time.
    pub fn of_mut<'a>(
        &self,
        result: &'a mut [f32],
    ) -> impl Iterator<Item = &'a mut [f32]> + use<'a> {
        let Part { pixels, columns, channels } = self.clone();
        let pixels = &mut result[pixels.start * channels..pixels.end * channels];
        pixels.chunks_exact_mut(channels).map(move |pixel| &mut pixel[columns.clone()])
    }
}

/// Range `i` of `count` of the numbers `0..len`.
fn share(len: usize, i: usize, count: usize) -> Range<usize> {
    len * i / count..len * (i + 1) / count
}

/// Range `i` of `count` of the numbers `0..len`, cut only at multiples of `step`.
fn share_by(step: usize, len: usize, i: usize, count: usize) -> Range<usize> {
    let Range { start, end } = share(len.div_ceil(step), i, count);
    start * step..(end * step).min(len)
}
