//! A single image on several threads: every step of the network cut into phases, and these into
//! chunks that the threads take as they come.

use std::ops::Range;

use super::{After, Pool, Step, What};
use crate::cpu::conv2d::{Convolution, Solo};
use crate::cpu::finish::Finish;
use crate::cpu::isa::{Isa, tile_rows_limit};
use crate::cpu::products::{Grid, RowProduct};
use crate::cpu::scratch::Scratch;
use crate::cpu::tile::PANELS_TOGETHER;
use crate::threads::phases::{MOST_PHASES, Shared, in_phases};

/// Chunks of a phase whose rows or columns can be cut at will.
const CHUNKS: usize = 6;

/// A pool with fewer results than this is not cut.
const LEN_TO_CUT: usize = 2048;

/// What a phase does of its step.
#[derive(Clone, Copy)]
enum Part {
    /// All of it.
    Whole,
    /// Some rows of a direct convolution.
    Rows,
    /// A half of the image to frequencies.
    Transform,
    /// Some frequencies of a half.
    Multiply,
    /// A half of the convolution's output.
    Finish,
    /// Some rows of the pool.
    Pool,
    /// Some columns of a full connection.
    Columns,
}

/// What is done before the next phase begins.
struct Phase {
    /// Parts of steps, one after the other in each chunk: several only where there is one chunk.
    parts: Vec<(usize, Part)>,
    chunks: usize,
}

/// Adds a part to the last phase, if that and the part are one chunk, or as a phase of its own.
fn add(phases: &mut Vec<Phase>, step: usize, part: Part, chunks: usize) {
    match phases.last_mut() {
        Some(last) if (last.chunks, chunks) == (1, 1) => last.parts.push((step, part)),
        _ => phases.push(Phase { parts: vec![(step, part)], chunks }),
    }
}

/// The phases of a network, and the working memory that they share.
pub(super) struct Plan {
    phases: Vec<Phase>,
    memory: Memory,
}

/// Where things lie in the working memory: results by turns in two places.
#[derive(Clone, Copy, Default)]
struct Memory {
    results: [usize; 2],
    /// Of a convolution before its pool.
    convolved: usize,
    /// Frequencies of inputs and of products.
    inputs: usize,
    products: usize,
}

impl Memory {
    fn len(self) -> usize {
        self.results[0] + self.results[1] + self.convolved + self.inputs + self.products
    }
    fn result(self, step: usize, len: usize) -> Range<usize> {
        let start = if step.is_multiple_of(2) { 0 } else { self.results[0] };
        start..start + len
    }
    fn convolved(self, len: usize) -> Range<usize> {
        let start = self.results[0] + self.results[1];
        start..start + len
    }
    fn inputs(self) -> Range<usize> {
        let start = self.convolved(self.convolved).end;
        start..start + self.inputs
    }
    fn products(self) -> Range<usize> {
        let start = self.inputs().end;
        start..start + self.products
    }
}

/// Range `i` of `count` of the numbers `0..len`.
fn share(len: usize, i: usize, count: usize) -> Range<usize> {
    len * i / count..len * (i + 1) / count
}

/// `range`, `start` numbers further on.
fn moved(range: Range<usize>, start: usize) -> Range<usize> {
    range.start + start..range.end + start
}

impl Plan {
    /// The phases of `steps`.
    pub fn new<'a>(steps: impl Iterator<Item = &'a Step>) -> Plan {
        let (mut phases, mut memory) = (Vec::new(), Memory::default());
        for (i, step) in steps.enumerate() {
            let mut add = |part, chunks: usize| add(&mut phases, i, part, chunks);
            match &step.what {
                What::Conv { convolution: Convolution::Direct(direct), after, .. } => {
                    add(Part::Rows, direct.out_rows().min(CHUNKS));
                    memory.convolved = memory.convolved.max(after.convolved_len());
                }
                What::Conv { convolution: Convolution::Winograd(winograd), after, .. } => {
                    let solo = Solo::new(winograd);
                    add(Part::Transform, solo.halves());
                    add(Part::Multiply, solo.halves() * solo.parts());
                    add(Part::Finish, solo.halves());
                    let last = solo.halves() - 1;
                    memory.inputs = memory.inputs.max(solo.inputs_of(last).end);
                    memory.products = memory.products.max(solo.products_of(last).end);
                    memory.convolved = memory.convolved.max(after.convolved_len());
                }
                What::Dense { weights, .. } => {
                    add(
                        Part::Columns,
                        weights.view().count().div_ceil(PANELS_TOGETHER).min(CHUNKS),
                    );
                }
                What::Affine { .. } | What::Relu | What::MaxPool(_) => add(Part::Whole, 1),
            }
            if let What::Conv { after: After { pool: Some(pool), .. }, .. } = &step.what {
                add(Part::Pool, if pool.out_image_len() < LEN_TO_CUT { 1 } else { 2 });
            }
            let result = &mut memory.results[i % 2];
            *result = (*result).max(step.output_len);
        }
        Plan { phases, memory }
    }

    /// Whether [`Plan::run`] takes so many phases, and there are any.
    pub fn is_usable(&self) -> bool {
        (1..=MOST_PHASES).contains(&self.phases.len())
    }

    /// The answer `y` to an image `x`.
    pub fn run<'a>(
        &self,
        isa: Isa,
        steps: impl Iterator<Item = &'a Step>,
        x: &[f32],
        y: &mut [f32],
    ) {
        let mut lens = vec![x.len()];
        let steps: Vec<&Step> = steps.collect();
        lens.extend(steps.iter().map(|step| step.output_len));
        let mut memory = Scratch::new(self.memory.len());
        let mut memory = memory.write();
        let run = Run {
            isa,
            steps: &steps,
            lens: &lens,
            x,
            places: self.memory,
            memory: Shared::new(&mut memory),
            y: Shared::new(y),
        };
        let mut chunks = [0; MOST_PHASES];
        for (chunks, phase) in chunks.iter_mut().zip(&self.phases) {
            *chunks = phase.chunks;
        }
        in_phases(&chunks[..self.phases.len()], |phase, chunk| {
            let phase = &self.phases[phase];
            for &(step, part) in &phase.parts {
                run.chunk(step, part, chunk, phase.chunks);
            }
        });
    }
}

/// One image on its way.
struct Run<'a> {
    isa: Isa,
    steps: &'a [&'a Step],
    /// Numbers before each step and after the last.
    lens: &'a [usize],
    x: &'a [f32],
    places: Memory,
    memory: Shared<'a>,
    y: Shared<'a>,
}

// A phase reads what earlier phases wrote and no chunk of it writes; its chunks write ranges that
// do not overlap. That is what every SAFETY note below rests on; `in_phases` keeps the order.
impl Run<'_> {
    /// What goes into step `step`.
    fn input(&self, step: usize) -> &[f32] {
        let Some(before) = step.checked_sub(1) else { return self.x };
        // SAFETY: the step before wrote it in an earlier phase, and this step writes elsewhere.
        unsafe { self.memory.read(self.places.result(before, self.lens[step])) }
    }

    /// Numbers `range` of the result of step `step`, for writing.
    ///
    /// # Safety
    /// Only one chunk may ask for them.
    #[allow(clippy::mut_from_ref, reason = "the caller promises that ranges do not overlap")]
    unsafe fn output(&self, step: usize, range: Range<usize>) -> &mut [f32] {
        // SAFETY: this chunk's alone, as the caller promises.
        unsafe {
            if step + 1 == self.steps.len() {
                return self.y.write(range);
            }
            let place = self.places.result(step, self.steps[step].output_len);
            self.memory.write(moved(range, place.start))
        }
    }

    /// Numbers `range` of what a convolution leaves before its pool, or of the step's result
    /// where there is none.
    ///
    /// # Safety
    /// Only one chunk may ask for them.
    #[allow(clippy::mut_from_ref, reason = "the caller promises that ranges do not overlap")]
    unsafe fn convolved(&self, step: usize, after: &After, range: Range<usize>) -> &mut [f32] {
        // SAFETY: this chunk's alone, as the caller promises.
        unsafe {
            match after.pool {
                Some(_) => self.memory.write(moved(range, self.places.convolved(0).start)),
                None => self.output(step, range),
            }
        }
    }

    fn chunk(&self, step: usize, part: Part, chunk: usize, chunks: usize) {
        match (&self.steps[step].what, part) {
            (
                What::Conv { convolution: Convolution::Direct(direct), weights, after },
                Part::Rows,
            ) => {
                let rows = share(direct.out_rows(), chunk, chunks);
                let row_len = direct.out_row_len();
                let range = rows.start * row_len..rows.end * row_len;
                // SAFETY: chunks are rows of their own.
                let y = unsafe { self.convolved(step, after, range) };
                let weights = weights.view();
                let size = [1, rows.len()];
                let x = self.input(step);
                direct.forward_rows(&weights, x, size, rows.start, after.finish(), y);
            }
            (What::Conv { convolution: Convolution::Winograd(winograd), weights, after }, part)
                if !matches!(part, Part::Pool) =>
            {
                let solo = Solo::new(winograd);
                self.winograd(step, part, chunk, &solo, weights.view().data, after);
            }
            (What::Conv { after: After { pool: Some(pool), .. }, .. }, _) => {
                let rows = share(pool.out_height(), chunk, chunks);
                let row_len = pool.out_width() * pool.channels();
                let first = rows.start * pool.stride() * pool.width() * pool.channels();
                let place = self.places.convolved(pool.image_len());
                // SAFETY: earlier phases wrote it; chunks are rows of their own.
                let (x, y) = unsafe {
                    let range = rows.start * row_len..rows.end * row_len;
                    (self.memory.read(place), self.output(step, range))
                };
                self.isa.run(Pool { g: pool, x: &x[first..], y });
            }
            (What::Dense { inputs, weights, after }, _) => {
                let weights = weights.view();
                let some = share(weights.count().div_ceil(PANELS_TOGETHER), chunk, chunks);
                let end = (some.end * PANELS_TOGETHER).min(weights.count());
                let some = some.start * PANELS_TOGETHER..end;
                let start = some.start * weights.width;
                let b = weights.some(some);
                // SAFETY: chunks are columns of their own.
                let y = unsafe { self.output(step, start..start + b.columns) };
                self.isa.run(RowProduct {
                    a: self.input(step),
                    rows: Grid::line(1, *inputs),
                    runs: 1,
                    run_step: 0,
                    run_len: *inputs,
                    b: &b,
                    b_row: 0,
                    c: y,
                    finish: Finish {
                        bias: &after.bias[start..start + b.columns],
                        relu: after.relu,
                    },
                    tile_rows: tile_rows_limit(),
                });
            }
            _ => {
                let all = 0..self.steps[step].output_len;
                // SAFETY: such a phase has one chunk.
                let y = unsafe { self.output(step, all) };
                self.steps[step].run(self.isa, 1, self.input(step), y);
            }
        }
    }

    fn winograd(
        &self,
        step: usize,
        part: Part,
        chunk: usize,
        solo: &Solo,
        weights: &[f32],
        after: &After,
    ) {
        let (inputs, products) = (self.places.inputs(), self.places.products());
        match part {
            Part::Transform => {
                // SAFETY: halves have ranges of their own.
                let to = unsafe { self.memory.write(moved(solo.inputs_of(chunk), inputs.start)) };
                solo.transform(chunk, self.input(step), to);
            }
            Part::Multiply => {
                let (half, part) = (chunk / solo.parts(), chunk % solo.parts());
                let range = moved(solo.part_of(half, part), products.start);
                // SAFETY: earlier phases wrote the inputs; parts have ranges of their own.
                let (from, to) = unsafe { (self.memory.read(inputs), self.memory.write(range)) };
                solo.multiply((half, part), weights, from, to);
            }
            _ => {
                let range = moved(solo.products_of(chunk), products.start);
                // SAFETY: earlier phases wrote the products; halves are rows of their own.
                let (from, y) = unsafe {
                    (self.memory.read(range), self.convolved(step, after, solo.outputs_of(chunk)))
                };
                solo.finish(chunk, from, after.finish(), y);
            }
        }
    }
}

impl After {
    /// Numbers of one image's convolution that a pool follows; 0 where none does.
    fn convolved_len(&self) -> usize {
        self.pool.map_or(0, |pool| pool.image_len())
    }
}
