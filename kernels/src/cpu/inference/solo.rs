//! A single image on several threads: the chunks of a plan's phases, which the threads take as they
//! come.
//!
//! What a chunk leaves on the way, such as the frequencies of its tiles, nobody else reads: it
//! stays in the cache of its core. Only results of phases pass from one core to another: by places
//! that one worker writes and others read, from where each, the writer too, copies them to memory
//! of its own. The README of the CPU's folder says why.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::conv_layer::ConvLayer;
use super::plan::{Cut, MOST_PHASES, Part, Plan};
use super::{After, Step, What};
use crate::cpu::finish::Finish;
use crate::cpu::isa::Isa;
use crate::cpu::panels::PanelsView;
use crate::cpu::products::RowProduct;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::threads::Shared;
use crate::threads::phases::{in_phases, workers};

/// The most chunks of a phase: one bit each.
const MOST_CHUNKS: usize = u64::BITS as usize;

/// Numbers between what two chunks pass on: a page, which a prefetcher that goes line by line does not
/// cross. Within it, a core that reads ahead takes lines from the one that is about to write them.
const APART: usize = 1024;

impl Plan {
    /// The answer `y` to an image `x`.
    pub fn run(&self, isa: Isa, steps: &[Step], x: &[f32], y: &mut [f32]) {
        let (mut chunks, mut starts, mut end) = ([0; MOST_PHASES], [0; MOST_PHASES], 0);
        for (i, phase) in self.phases.iter().enumerate() {
            // Chunks of a convolution transform, or even compute, what they share, each for itself:
            // no more of them than workers.
            let most = if phase.shares_work { workers() } else { MOST_CHUNKS };
            (chunks[i], starts[i]) = (phase.chunks.min(most), end);
            end += chunks[i] * (phase.passed_len(chunks[i]) + APART);
        }
        let mut passed = Scratch::new(end + APART);
        let mut passed = passed.write();
        let (passed, y) = (Shared::new(&mut passed), Shared::new(y));
        let chunks = &chunks[..self.phases.len()];
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let run = Run { isa, plan: self, steps, chunks, x, passed, starts, turn, y };
        in_phases(chunks, |all| {
            let mut results = Scratch::new(self.places[steps.len()]);
            let mut worker =
                Worker { results: &mut results.write(), computed: [0; MOST_PHASES], complete: 0 };
            all.work_off(|phase, chunk| run.chunk(&mut worker, phase, chunk));
        });
    }
}

/// One image on its way.
struct Run<'a> {
    isa: Isa,
    plan: &'a Plan,
    steps: &'a [Step],
    /// How many chunks each phase has.
    chunks: &'a [usize],
    x: &'a [f32],
    /// What passes from worker to worker: results of phases.
    passed: Shared<'a>,
    /// Where in `passed` a phase's results begin.
    starts: [usize; MOST_PHASES],
    turn: usize,
    y: Shared<'a>,
}

/// What a worker knows of the image.
struct Worker<'a> {
    /// The results of all steps, as far as it needs them.
    results: &'a mut [f32],
    /// Which chunks of each phase it has computed, a bit each.
    computed: [u64; MOST_PHASES],
    /// How many phases' results it has, those of the last of them in full.
    complete: usize,
}

// A chunk writes to a place in `passed` that is its own and, in the last phase, to its part of `y`;
// neither the places nor the parts overlap. Others read a place when its phase is over, and nobody
// writes it again.
// That is what every SAFETY note below rests on; `in_phases` keeps the order.
impl Run<'_> {
    fn part(&self, phase: usize, chunk: usize) -> Part {
        let (chunks, phase) = (self.chunks[phase], &self.plan.phases[phase]);
        phase.part(self.isa, &self.steps[phase.steps.end - 1], chunk, chunks)
    }

    /// Where the place of a chunk in `passed` begins, in which its numbers follow each other. The
    /// workers' shares of the places take turns: of two, each writes where it read the image before,
    /// for that is much faster than to take lines back from the one that read them last.
    fn passed_from(&self, phase: usize, chunk: usize) -> usize {
        let chunks = self.chunks[phase];
        let share = (chunks / workers()).max(1);
        let place = (chunk + self.turn % chunks * share) % chunks;
        let len = self.plan.phases[phase].passed_len(chunks);
        self.starts[phase] + APART + place * (len + APART)
    }

    /// Copies to a worker what others have computed of a phase that is over.
    fn complete(&self, worker: &mut Worker, phase: usize) {
        if worker.complete > phase {
            return;
        }
        worker.complete = phase + 1;
        let step = self.plan.phases[phase].steps.end - 1;
        let place = self.plan.places[step];
        let others = (0..self.chunks[phase]).filter(|i| worker.computed[phase] >> i & 1 == 0);
        for chunk in others {
            let part = self.part(phase, chunk);
            let from = self.passed_from(phase, chunk);
            // SAFETY: written in an earlier phase.
            let x = unsafe { self.passed.read(from..from + part.len()) };
            let x = x.chunks_exact(part.columns.len());
            self.isa.run(Copy { x, y: part.of_mut(&mut worker.results[place..]) });
        }
    }

    fn chunk(&self, worker: &mut Worker, phase: usize, chunk: usize) {
        if phase > 0 {
            self.complete(worker, phase - 1);
        }
        let part = self.part(phase, chunk);
        let to = self.passed_from(phase, chunk);
        let most = self.plan.phases[phase].passed_len(self.chunks[phase]);
        assert!(part.len() <= most, "a chunk of {} numbers, and place for {most}", part.len());
        // SAFETY: this chunk's part, in the place that is its own.
        let to = unsafe { self.passed.write(to..to + part.len()) };
        self.compute(worker, phase, &part, to);
        worker.computed[phase] |= 1 << chunk;
        let x = to.chunks_exact(part.columns.len());
        if phase + 1 == self.chunks.len() {
            // SAFETY: this chunk's part of the answer.
            let y = part.ranges().map(|range| unsafe { self.y.write(range) });
            self.isa.run(Copy { x, y });
        } else {
            let place = self.plan.places[self.plan.phases[phase].steps.end - 1];
            self.isa.run(Copy { x, y: part.of_mut(&mut worker.results[place..]) });
        }
    }

    /// Computes a part of the last result of a phase, pixel by pixel.
    fn compute(&self, worker: &mut Worker, phase: usize, part: &Part, to: &mut [f32]) {
        let Range { start, end } = self.plan.phases[phase].steps.clone();
        let step = end - 1;
        match &self.steps[step].what {
            _ if self.plan.phases[phase].cut == Cut::Whole => {
                for step in start..step {
                    let (x, y) = self.operands(worker, step);
                    self.steps[step].run(self.isa, 1, x, y);
                }
                self.steps[step].run(self.isa, 1, self.operands(worker, step).0, to);
            }
            What::Conv { .. } => self.convolve(worker, start..end, part, to),
            &What::Dense { ref weights, skips_zeros, ref after, tile_rows } => {
                let (b, finish) = some(weights.view(), after, &part.columns);
                let a = self.operands(worker, step).0;
                self.isa.run(RowProduct {
                    finish,
                    skips_zeros,
                    ..RowProduct::of_matrices(a, &b, to, tile_rows)
                });
            }
            What::Affine { .. } | What::Relu | What::MaxPool(_) => unreachable!("never cut"),
        }
    }

    /// What goes into step `step` and the place of its result, in a worker's memory.
    fn operands<'a>(&'a self, worker: &'a mut Worker, step: usize) -> (&'a [f32], &'a mut [f32]) {
        let (before, rest) = worker.results.split_at_mut(self.plan.places[step]);
        let x = match step.checked_sub(1) {
            Some(last) => &before[self.plan.places[last]..][..self.steps[last].output_len],
            None => self.x,
        };
        (x, &mut rest[..self.steps[step].output_len])
    }

    /// A part of the result of a convolution, or of two, one after the other.
    fn convolve(&self, worker: &mut Worker, steps: Range<usize>, part: &Part, to: &mut [f32]) {
        let (before, step) = (steps.start, steps.end - 1);
        let layer = ConvLayer::of(self.isa, &self.steps[step]);
        let width = layer.output()[1];
        let rows = part.pixels.start / width..part.pixels.end / width;
        if before < step {
            let first = ConvLayer::of(self.isa, &self.steps[before]);
            let between = layer.convolution.input_rows(layer.convolved_rows(&rows));
            let row_len = self.steps[before].output_len / first.output()[0];
            let (x, y) = self.operands(worker, before);
            let y = &mut y[between.start * row_len..between.end * row_len];
            first.run(&first.weights, first.after.finish(), x, between, y);
        }
        let (weights, finish) = some(layer.weights, layer.after, &part.columns);
        layer.run(&weights, finish, self.operands(worker, step).0, rows, to);
    }
}

/// y = x, slice by slice.
struct Copy<X, Y> {
    x: X,
    y: Y,
}

impl<'a, X, Y> Kernel for Copy<X, Y>
where
    X: Iterator<Item = &'a [f32]>,
    Y: Iterator<Item = &'a mut [f32]>,
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, y) in self.x.zip(self.y) {
            for (x, y) in x.chunks(LANES).zip(y.chunks_mut(LANES)) {
                s.store_slice(y, s.load_slice(x));
            }
        }
    }
}

/// The panels of a product's weights that give some columns, and what follows these.
fn some<'a>(
    weights: PanelsView<'a>,
    after: &'a After,
    columns: &Range<usize>,
) -> (PanelsView<'a>, Finish<'a>) {
    let panels = columns.start / weights.width..columns.end.div_ceil(weights.width);
    let finish = Finish { bias: &after.bias[columns.clone()], relu: after.relu };
    (weights.some(panels), finish)
}
