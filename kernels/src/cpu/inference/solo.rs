//! A single image on several threads: a phase a step of the network, cut into chunks that the
//! threads take as they come.
//!
//! What a chunk leaves on the way, such as the frequencies of its tiles, nobody else reads: it
//! stays in the cache of its core. Only results of steps pass from one core to another.

use std::ops::Range;

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
}

impl Phase {
    /// The phase of step `i` alone.
    fn new(isa: Isa, i: usize, step: &Step) -> Phase {
        let (cut, chunks) = match &step.what {
            What::Conv { convolution, .. } => {
                let layer = ConvLayer::of(isa, step);
                let ([height, width, _], panels) = (convolution.output(), layer.weights.count());
                if height * width < PIXELS_TO_CUT && panels > 1 {
                    (Cut::Panels, panels)
                } else {
                    (Cut::Rows, layer.output()[0].div_ceil(layer.rows_together()))
                }
            }
            What::Dense { weights, .. } => {
                (Cut::Panels, weights.view().count().div_ceil(PANELS_TOGETHER))
            }
            What::Affine { .. } | What::Relu | What::MaxPool(_) => (Cut::Whole, 1),
        };
        Phase { steps: i..i + 1, cut: if chunks == 1 { Cut::Whole } else { cut }, chunks }
    }
}

/// The phases of a network.
pub(super) struct Plan {
    phases: Vec<Phase>,
    /// Numbers of the working memory: results by turns in two places.
    places: [usize; 2],
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

impl Plan {
    /// The phases of `steps`.
    pub fn new<'a>(isa: Isa, steps: impl Iterator<Item = &'a Step>) -> Plan {
        let (mut phases, mut places, mut thin) = (Vec::<Phase>::new(), [0; 2], false);
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
            places[i % 2] = step.output_len.max(places[i % 2]);
        }
        Plan { phases, places }
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
        let mut memory = Scratch::new(self.places.iter().sum());
        let mut memory = memory.write();
        let (even, odd) = memory.split_at_mut(self.places[0]);
        let results = [even, odd].map(Shared::new);
        let run = Run { isa, steps: &steps, x, results, y: Shared::new(y) };
        let mut chunks = [0; MOST_PHASES];
        for (chunks, phase) in chunks.iter_mut().zip(&self.phases) {
            // Rows between two chunks are read, or computed, by both: no more chunks than workers.
            let most = if phase.cut == Cut::Rows { workers() } else { phase.chunks };
            *chunks = phase.chunks.min(most);
        }
        in_phases(&chunks[..self.phases.len()], |phase, chunk| {
            run.chunk(&self.phases[phase], chunk, chunks[phase]);
        });
    }
}

/// One image on its way.
struct Run<'a> {
    isa: Isa,
    steps: &'a [&'a Step],
    x: &'a [f32],
    /// Of steps with even and with odd numbers.
    results: [Shared<'a>; 2],
    y: Shared<'a>,
}

// A step reads what the step before wrote in an earlier phase or in the same single chunk, and
// writes elsewhere; the chunks of a phase write ranges that do not overlap. That is what every
// SAFETY note below rests on; `in_phases` keeps the order.
impl Run<'_> {
    /// What goes into step `step`.
    fn input(&self, step: usize) -> &[f32] {
        let Some(before) = step.checked_sub(1) else { return self.x };
        // SAFETY: the step before wrote it, and this step writes elsewhere.
        unsafe { self.results[before % 2].read(0..self.steps[before].output_len) }
    }

    /// Numbers `range` of the result of step `step`, for writing.
    ///
    /// # Safety
    /// Only one chunk may ask for them.
    #[allow(clippy::mut_from_ref, reason = "the caller promises that ranges do not overlap")]
    unsafe fn output(&self, step: usize, range: Range<usize>) -> &mut [f32] {
        let result = if step + 1 == self.steps.len() { self.y } else { self.results[step % 2] };
        // SAFETY: this chunk's alone, as the caller promises.
        unsafe { result.write(range) }
    }

    fn chunk(&self, phase: &Phase, chunk: usize, chunks: usize) {
        let step = phase.steps.end - 1;
        match &self.steps[step].what {
            _ if phase.cut == Cut::Whole => {
                for step in phase.steps.clone() {
                    let all = 0..self.steps[step].output_len;
                    // SAFETY: such a phase has one chunk.
                    let y = unsafe { self.output(step, all) };
                    self.steps[step].run(self.isa, 1, self.input(step), y);
                }
            }
            What::Conv { .. } => {
                let layer = ConvLayer::of(self.isa, self.steps[step]);
                let ([rows, ..], panels) = (layer.output(), layer.weights.count());
                let (mut rows, mut panels) = (0..rows, 0..panels);
                if phase.cut == Cut::Panels {
                    panels = share_by(1, panels.end, chunk, chunks);
                } else {
                    rows = share_by(layer.rows_together(), rows.end, chunk, chunks);
                }
                self.convolve(phase.steps.clone(), rows, panels);
            }
            What::Dense { weights, after, .. } => {
                let weights = weights.view();
                let panels = share_by(PANELS_TOGETHER, weights.count(), chunk, chunks);
                let (b, columns, finish) = some(weights, after, panels);
                // SAFETY: chunks are columns of their own.
                let y = unsafe { self.output(step, columns) };
                self.isa.run(RowProduct {
                    a: self.input(step),
                    rows: Grid::line(1, b.depth),
                    runs: 1,
                    run_step: 0,
                    run_len: b.depth,
                    b: &b,
                    b_row: 0,
                    c: y,
                    finish,
                    tile_rows: tile_rows_limit(),
                });
            }
            What::Affine { .. } | What::Relu | What::MaxPool(_) => unreachable!("never cut"),
        }
    }

    /// Rows `rows` of the result of a convolution, or of two, one after the other, of the channels
    /// that `panels` give.
    fn convolve(&self, steps: Range<usize>, rows: Range<usize>, panels: Range<usize>) {
        let (before, step) = (steps.start, steps.end - 1);
        let layer = ConvLayer::of(self.isa, self.steps[step]);
        let [_, width, channels] = layer.output();
        let (weights, columns, finish) = some(layer.weights, layer.after, panels);
        let mut part = Scratch::new(rows.len() * width * weights.columns);
        let mut part = part.write();
        if before == step {
            layer.run(&weights, finish, self.input(step), rows.clone(), &mut part);
        } else {
            let first = ConvLayer::of(self.isa, self.steps[before]);
            let between = layer.convolution.input_rows(layer.convolved_rows(&rows));
            let row_len = self.steps[before].output_len / first.output()[0];
            // An image of which only these rows are written and read.
            let mut image = Scratch::new(self.steps[before].output_len);
            let mut image = image.write();
            let to = &mut image[between.start * row_len..between.end * row_len];
            first.run(&first.weights, first.after.finish(), self.input(before), between, to);
            layer.run(&weights, finish, &image, rows.clone(), &mut part);
        }
        // SAFETY: chunks are rows or channels of their own.
        let y = (rows.start * width..rows.end * width).map(|pixel| unsafe {
            let start = pixel * channels;
            self.output(step, start + columns.start..start + columns.end)
        });
        self.isa.run(Copy { x: part.chunks_exact(columns.len()), y });
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

/// y = x, slice by slice: all that other cores will read at once, for stores to what they have in
/// their caches take long one by one.
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
            for at in (0..x.len()).step_by(LANES) {
                s.store_slice(&mut y[at..], s.load_slice(&x[at..]));
            }
        }
    }
}

/// Some panels of a product's weights, its columns, and what follows these.
fn some<'a>(
    weights: PanelsView<'a>,
    after: &'a After,
    panels: Range<usize>,
) -> (PanelsView<'a>, Range<usize>, Finish<'a>) {
    let start = panels.start * weights.width;
    let weights = weights.some(panels);
    let columns = start..start + weights.columns;
    let finish = Finish { bias: &after.bias[columns.clone()], relu: after.relu };
    (weights, columns, finish)
}
