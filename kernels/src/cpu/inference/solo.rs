//! A single image on several threads: a phase a step of the network, cut into chunks that the
//! threads take as they come.
//!
//! What a chunk leaves on the way, such as the frequencies of its tiles, nobody else reads: it
//! stays in the cache of its core. Only results of phases pass from one core to another. Each worker
//! has all results in memory of its own and copies what it did not compute itself, so a cache line
//! is shared by the two that write and read it and by nobody else: to write one that both have read
//! takes several times as long.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{After, Pool, Step, What};
use crate::cpu::conv2d::Convolution;
use crate::cpu::finish::Finish;
use crate::cpu::isa::{Isa, tile_rows_limit};
use crate::cpu::panels::PanelsView;
use crate::cpu::products::{Grid, RowProduct};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::tile::PANELS_TOGETHER;
use crate::geometry::Pool2d;
use crate::threads::phases::{MOST_PHASES, Shared, in_phases, workers};

/// A convolution with at least so many output pixels is cut by rows, a smaller one by channels.
const PIXELS_TO_CUT: usize = 256;

/// What the chunks of a phase are.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    /// All of the steps, one after the other, in a single chunk.
    Whole,
    /// Rows of the step's result.
    Rows,
    /// Panels of the step's weights: channels or columns of its result.
    Panels,
}

/// What is done before the next phase begins.
struct Phase {
    /// Several where they are not cut, and two that are cut by rows where the first is thin: it
    /// costs less to compute rows that two chunks need twice than to wait for them.
    steps: Range<usize>,
    cut: Cut,
    /// The most chunks that there may be.
    chunks: usize,
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
        let cut = if chunks == 1 { Cut::Whole } else { cut };
        Phase { steps: i..i + 1, cut, chunks, chunk_len }
    }
}

impl Phase {
    /// The most numbers that one of `chunks` chunks passes on.
    fn passed_len(&self, chunks: usize) -> usize {
        self.chunks.div_ceil(chunks) * self.chunk_len
    }
}

/// The phases of a network.
pub(super) struct Plan {
    phases: Vec<Phase>,
    /// Where the result of each step begins in a worker's memory, and where the last ends.
    places: Vec<usize>,
    /// Counts the images.
    turn: AtomicUsize,
}

/// The most chunks of a phase: one bit each.
const MOST_CHUNKS: usize = u64::BITS as usize;

/// Numbers between what two chunks pass on: a page, which no prefetcher crosses. Within it, a core
/// that reads ahead takes lines from the one that is about to write them.
const APART: usize = 1024;

/// Range `i` of `count` of the numbers `0..len`.
fn share(len: usize, i: usize, count: usize) -> Range<usize> {
    len * i / count..len * (i + 1) / count
}

/// Range `i` of `count` of the numbers `0..len`, cut only at multiples of `step`.
fn share_by(step: usize, len: usize, i: usize, count: usize) -> Range<usize> {
    let Range { start, end } = share(len.div_ceil(step), i, count);
    start * step..(end * step).min(len)
}

impl Plan {
    /// The phases of `steps`.
    pub fn new<'a>(isa: Isa, steps: impl Iterator<Item = &'a Step>) -> Plan {
        let (mut phases, mut places, mut thin) = (Vec::<Phase>::new(), vec![0], false);
        for (i, step) in steps.enumerate() {
            let phase = Phase::new(isa, i, step);
            match phases.last_mut() {
                Some(last) if (last.cut, phase.cut) == (Cut::Whole, Cut::Whole) => {
                    last.steps.end = i + 1;
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

    /// The answer `y` to an image `x`.
    pub fn run<'a>(
        &self,
        isa: Isa,
        steps: impl Iterator<Item = &'a Step>,
        x: &[f32],
        y: &mut [f32],
    ) {
        let steps: Vec<&Step> = steps.collect();
        let (mut chunks, mut starts, mut end) = ([0; MOST_PHASES], [0; MOST_PHASES], 0);
        for (i, phase) in self.phases.iter().enumerate() {
            // Rows between two chunks are read, or computed, by both: no more chunks than workers.
            let most = if phase.cut == Cut::Rows { workers() } else { MOST_CHUNKS };
            (chunks[i], starts[i]) = (phase.chunks.min(most), end);
            end += chunks[i] * (phase.passed_len(chunks[i]) + APART);
        }
        let mut passed = Scratch::new(end + APART);
        let mut passed = passed.write();
        let (passed, y) = (Shared::new(&mut passed), Shared::new(y));
        let chunks = &chunks[..self.phases.len()];
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let run = Run { isa, plan: self, steps: &steps, chunks, x, passed, starts, turn, y };
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
    steps: &'a [&'a Step],
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

/// The numbers of a step's result that a chunk computes: some channels of some pixels.
#[derive(Clone)]
struct Part {
    pixels: Range<usize>,
    columns: Range<usize>,
    /// Of all columns.
    channels: usize,
}

impl Part {
    /// Where its numbers lie in the result.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Part { pixels, columns, channels } = self.clone();
        pixels.map(move |pixel| pixel * channels + columns.start..pixel * channels + columns.end)
    }

    /// How many there are.
    fn len(&self) -> usize {
        self.pixels.len() * self.columns.len()
    }

    /// Its numbers of a result, a pixel at a time.
    fn of<'a>(&self, result: &'a [f32]) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let Part { pixels, columns, channels } = self.clone();
        let pixels = &result[pixels.start * channels..pixels.end * channels];
        pixels.chunks_exact(channels).map(move |pixel| &pixel[columns.clone()])
    }

    /// The same for writing.
    fn of_mut<'a>(&self, result: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32]> + use<'a> {
        let Part { pixels, columns, channels } = self.clone();
        let pixels = &mut result[pixels.start * channels..pixels.end * channels];
        pixels.chunks_exact_mut(channels).map(move |pixel| &mut pixel[columns.clone()])
    }
}

// A chunk writes the numbers of its part to `passed` or `y`, and the parts of a phase do not
// overlap; workers read them when the phase is over, and nobody writes them again. That is what
// every SAFETY note below rests on; `in_phases` keeps the order.
impl Run<'_> {
    /// The part of a phase's result that a chunk computes.
    fn part(&self, phase: usize, chunk: usize) -> Part {
        let (chunks, phase) = (self.chunks[phase], &self.plan.phases[phase]);
        let step = self.steps[phase.steps.end - 1];
        match &step.what {
            _ if phase.cut == Cut::Whole => {
                Part { pixels: 0..1, columns: 0..step.output_len, channels: step.output_len }
            }
            What::Conv { .. } => {
                let layer = ConvLayer::of(self.isa, step);
                let [height, width, channels] = layer.output();
                let (mut rows, mut columns) = (0..height, 0..channels);
                if phase.cut == Cut::Panels {
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

    /// Where a chunk's numbers lie in `passed`, one after the other. Chunks take turns: a worker
    /// writes where it read the image before, for that is much faster than to take lines back from
    /// the one that read them last.
    fn passed_from(&self, phase: usize, chunk: usize) -> usize {
        let chunks = self.chunks[phase];
        let turn = chunk.wrapping_add(self.turn) % chunks;
        let len = self.plan.phases[phase].passed_len(chunks);
        self.starts[phase] + APART + turn * (len + APART)
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
        let steps = self.plan.phases[phase].steps.clone();
        let step = steps.end - 1;
        match &self.steps[step].what {
            _ if self.plan.phases[phase].cut == Cut::Whole => {
                for step in steps {
                    let (x, y) = self.operands(worker, step);
                    self.steps[step].run(self.isa, 1, x, y);
                }
            }
            What::Conv { .. } => self.convolve(worker, steps, &part),
            What::Dense { weights, after, .. } => {
                let (b, finish) = some(weights.view(), after, &part.columns);
                let (x, y) = self.operands(worker, step);
                self.isa.run(RowProduct {
                    a: x,
                    rows: Grid::line(1, b.depth),
                    runs: 1,
                    run_step: 0,
                    run_len: b.depth,
                    b: &b,
                    b_row: 0,
                    c: &mut y[part.columns.clone()],
                    finish,
                    tile_rows: tile_rows_limit(),
                });
            }
            What::Affine { .. } | What::Relu | What::MaxPool(_) => unreachable!("never cut"),
        }
        worker.computed[phase] |= 1 << chunk;
        self.pass(worker, phase, chunk, &part);
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
    fn convolve(&self, worker: &mut Worker, steps: Range<usize>, part: &Part) {
        let (before, step) = (steps.start, steps.end - 1);
        let layer = ConvLayer::of(self.isa, self.steps[step]);
        let width = layer.output()[1];
        let rows = part.pixels.start / width..part.pixels.end / width;
        if before < step {
            let first = ConvLayer::of(self.isa, self.steps[before]);
            let between = layer.convolution.input_rows(layer.convolved_rows(&rows));
            let row_len = self.steps[before].output_len / first.output()[0];
            let (x, y) = self.operands(worker, before);
            let to = &mut y[between.start * row_len..between.end * row_len];
            first.run(&first.weights, first.after.finish(), x, between, to);
        }
        let (weights, finish) = some(layer.weights, layer.after, &part.columns);
        let (x, y) = self.operands(worker, step);
        if part.columns.len() == part.channels {
            let y = &mut y[part.pixels.start * part.channels..part.pixels.end * part.channels];
            return layer.run(&weights, finish, x, rows, y);
        }
        let mut packed = Scratch::new(part.pixels.len() * part.columns.len());
        let mut packed = packed.write();
        layer.run(&weights, finish, x, rows, &mut packed);
        self.isa.run(Copy { x: packed.chunks_exact(part.columns.len()), y: part.of_mut(y) });
    }

    /// Passes what a chunk has computed on: to the other workers or, at last, as the answer.
    fn pass(&self, worker: &Worker, phase: usize, chunk: usize, part: &Part) {
        let is_answer = phase + 1 == self.chunks.len();
        let place = self.plan.places[self.plan.phases[phase].steps.end - 1];
        let x = part.of(&worker.results[place..]);
        if is_answer {
            // SAFETY: this chunk's part.
            let y = part.ranges().map(|range| unsafe { self.y.write(range) });
            return self.isa.run(Copy { x, y });
        }
        let to = self.passed_from(phase, chunk);
        // SAFETY: this chunk's part.
        let y = unsafe { self.passed.write(to..to + part.len()) };
        self.isa.run(Copy { x, y: y.chunks_exact_mut(part.columns.len()) });
    }
}

/// A convolution and what follows it.
struct ConvLayer<'a> {
    isa: Isa,
    convolution: &'a Convolution,
    weights: PanelsView<'a>,
    after: &'a After,
}

impl ConvLayer<'_> {
    /// The convolution that a step is.
    fn of(isa: Isa, step: &Step) -> ConvLayer<'_> {
        match &step.what {
            What::Conv { convolution, weights, after } => {
                ConvLayer { isa, convolution, weights: weights.view(), after }
            }
            _ => unreachable!("another step"),
        }
    }

    /// Height, width and channels of the result of one image.
    fn output(&self) -> [usize; 3] {
        let pooled = |pool: Pool2d| [pool.out_height(), pool.out_width(), pool.channels()];
        self.after.pool.map_or_else(|| self.convolution.output(), pooled)
    }

    /// Rows of the result that are best computed together.
    fn rows_together(&self) -> usize {
        let stride = self.after.pool.map_or(1, |pool| pool.stride());
        self.convolution.rows_together().div_ceil(stride)
    }

    /// The rows of the convolution that rows `rows` of the result are made of.
    fn convolved_rows(&self, rows: &Range<usize>) -> Range<usize> {
        let Some(pool) = self.after.pool else { return rows.clone() };
        let first = rows.start * pool.stride();
        let end = (rows.end - 1) * pool.stride() + pool.window_height();
        first - first % self.convolution.rows_together()..end
    }

    /// Rows `rows` of the result, of the channels that `weights` give.
    fn run(
        &self,
        weights: &PanelsView,
        finish: Finish,
        x: &[f32],
        rows: Range<usize>,
        y: &mut [f32],
    ) {
        let convolved = self.convolved_rows(&rows);
        let Some(pool) = self.after.pool else {
            return self.convolution.forward_part(weights, x, convolved, finish, y);
        };
        let pool = Pool2d { channels: weights.columns as u32, ..pool };
        let row_len = pool.width() * pool.channels();
        let above = (rows.start * pool.stride() - convolved.start) * row_len;
        let mut part = Scratch::new(convolved.len() * row_len);
        let mut part = part.write();
        self.convolution.forward_part(weights, x, convolved, finish, &mut part);
        self.isa.run(Pool { g: &pool, x: &part[above..], y });
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
