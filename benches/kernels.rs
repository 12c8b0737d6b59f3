//! The kernels behind the reference network's layers against their alternatives: whether not
//! building a column buffer pays, and how far from the silicon it all is.
//!
//! Every layer that multiplies, in every pass that training needs, by
//!
//! - the naive loops of `reference`, in f32;
//! - an explicit column buffer (`im2col`) and a product by `matrixmultiply`, on one thread, which
//!   is all that this crate uses as it comes;
//! - an explicit column buffer and the engine's own product;
//! - the kernels of the engine, which read the image in place.
//!
//! All are checked against the naive loops first. Then criterion times them, and at the end a
//! table compares them with each other and with the FMA peak of the same run.
//!
//! ```text
//! cargo bench --bench kernels                 # all of it, about two minutes
//! cargo bench --bench kernels -- 'conv2 '     # rows of one layer
//! cargo bench --bench kernels -- --test       # check, run each once, measure nothing
//! ```

mod common;

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use common::SAMPLES;
use criterion::{Criterion, SamplingMode, Throughput};
use toile_kernels::cpu::im2col::{self, Product};
use toile_kernels::geometry::{Conv2d, Gemm, SHARD};
use toile_kernels::rng::Stream;
use toile_kernels::threads::Workers;
use toile_kernels::{Isa, cpu, peak, reference};

/// Images of a batch.
const BATCH: u32 = 128;
/// Images that the naive loops are timed on: they are slow, and equally slow an image.
const NAIVE_BATCH: u32 = 1;
/// Images of the checks: a shard and one more, so that sums over a batch have to be merged.
const CHECKED_BATCH: u32 = SHARD as u32 + 1;
/// How far a result may be from that of the naive loops, as a share of their largest: sums of
/// up to ten thousand terms in f32, in another order.
const TOLERANCE: f32 = 1e-5;

/// A layer of the reference network (`toile::models`): a convolution, or a dense layer as one
/// of a single pixel.
struct Layer {
    name: &'static str,
    /// Height and width of the input.
    side: u32,
    in_channels: u32,
    out_channels: u32,
    /// Height and width of the kernel; 1 for dense layers.
    kernel: u32,
}

const fn conv(name: &'static str, side: u32, in_channels: u32, out_channels: u32) -> Layer {
    Layer { name, side, in_channels, out_channels, kernel: 3 }
}

const fn dense(name: &'static str, in_channels: u32, out_channels: u32) -> Layer {
    Layer { name, side: 1, in_channels, out_channels, kernel: 1 }
}

const LAYERS: [Layer; 8] = [
    conv("conv1", 28, 1, 32),
    conv("conv2", 26, 32, 32),
    conv("conv3", 12, 32, 64),
    conv("conv4", 10, 64, 64),
    conv("conv5", 4, 64, 128),
    dense("dense1", 512, 512),
    dense("dense2", 512, 256),
    dense("dense3", 256, 10),
];

impl Layer {
    fn is_dense(&self) -> bool {
        self.kernel == 1
    }

    fn geometry(&self, images: u32) -> Conv2d {
        Conv2d {
            images,
            height: self.side,
            width: self.side,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            kernel_height: self.kernel,
            kernel_width: self.kernel,
            stride: 1,
            padding: 0,
        }
    }
}

/// What training asks of a layer.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Forward,
    InputGradient,
    WeightGradient,
}

impl Pass {
    const ALL: [Pass; 3] = [Pass::Forward, Pass::InputGradient, Pass::WeightGradient];

    fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::InputGradient => "input gradient",
            Pass::WeightGradient => "weight gradient",
        }
    }

    /// Two operands of made-up numbers, and the length of the result.
    fn operands(self, g: &Conv2d) -> (Vec<f32>, Vec<f32>, usize) {
        let numbers = |len: usize, purpose: u32| -> Vec<f32> {
            let stream = Stream { seed: 1, purpose, step: 0 };
            (0..len as u64).map(|i| 2.0 * stream.uniform(i) - 1.0).collect()
        };
        let (x, w, y) = (g.input_len(), g.weight_len(), g.output_len());
        let (left, right, result) = match self {
            Pass::Forward => (x, w, y),
            Pass::InputGradient => (y, w, x),
            Pass::WeightGradient => (x, y, w),
        };
        (numbers(left, 0), numbers(right, 1), result)
    }
}

/// All rows of the table. Nobody asks for the gradient of the images.
fn rows() -> impl Iterator<Item = (&'static Layer, Pass)> {
    let rows = LAYERS.iter().flat_map(|layer| Pass::ALL.map(|pass| (layer, pass)));
    rows.filter(|(layer, pass)| layer.name != "conv1" || *pass != Pass::InputGradient)
}

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Naive,
    MatrixMultiply,
    Columns,
    Engine,
}

/// One function of the geometry, two operands and the result.
type Kernel = fn(&Conv2d, &[f32], &[f32], &mut [f32]);

impl Method {
    const ALL: [Method; 4] =
        [Method::Naive, Method::MatrixMultiply, Method::Columns, Method::Engine];

    /// Two lines.
    fn heading(self) -> [&'static str; 2] {
        match self {
            Method::Naive => ["naive", "loops"],
            Method::MatrixMultiply => ["im2col +", "matrixmult."],
            Method::Columns => ["im2col +", "our product"],
            Method::Engine => ["in place,", "the engine"],
        }
    }

    /// The kernel, if there is one: a dense layer has no patches to copy into columns.
    fn kernel(self, layer: &Layer, pass: Pass) -> Option<Kernel> {
        use im2col::{conv2d_backward_input, conv2d_backward_weight, conv2d_forward};
        use {Method::*, Pass::*};
        let kernel: Kernel = match (self, pass) {
            (Columns, _) if layer.is_dense() => return None,
            (Engine, Forward) if layer.is_dense() => |g, x, w, y| {
                let product =
                    Gemm { rows: g.images, columns: g.out_channels, depth: g.in_channels };
                cpu::gemm_nn(&product, x, w, y);
            },
            (Engine, InputGradient) if layer.is_dense() => |g, dy, w, dx| {
                let product =
                    Gemm { rows: g.images, columns: g.in_channels, depth: g.out_channels };
                cpu::gemm_nt(&product, dy, w, dx);
            },
            (Engine, WeightGradient) if layer.is_dense() => |g, x, dy, dw| {
                let product =
                    Gemm { rows: g.in_channels, columns: g.out_channels, depth: g.images };
                cpu::gemm_tn(&product, x, dy, dw);
            },
            (Naive, Forward) => reference::conv2d_forward::<f32>,
            (Naive, InputGradient) => reference::conv2d_backward_input::<f32>,
            (Naive, WeightGradient) => reference::conv2d_backward_weight::<f32>,
            (MatrixMultiply, Forward) => {
                |g, x, w, y| conv2d_forward(g, Product::MatrixMultiply, x, w, y)
            }
            (MatrixMultiply, InputGradient) => {
                |g, dy, w, dx| conv2d_backward_input(g, Product::MatrixMultiply, dy, w, dx)
            }
            (MatrixMultiply, WeightGradient) => {
                |g, x, dy, dw| conv2d_backward_weight(g, Product::MatrixMultiply, x, dy, dw)
            }
            (Columns, Forward) => |g, x, w, y| conv2d_forward(g, Product::Ours, x, w, y),
            (Columns, InputGradient) => {
                |g, dy, w, dx| conv2d_backward_input(g, Product::Ours, dy, w, dx)
            }
            (Columns, WeightGradient) => {
                |g, x, dy, dw| conv2d_backward_weight(g, Product::Ours, x, dy, dw)
            }
            (Engine, Forward) => cpu::conv2d_forward,
            (Engine, InputGradient) => cpu::conv2d_backward_input,
            (Engine, WeightGradient) => cpu::conv2d_backward_weight,
        };
        Some(kernel)
    }
}

/// Asserts that every method gives the naive loops' answer.
fn check(layer: &Layer, pass: Pass) {
    let g = layer.geometry(CHECKED_BATCH);
    let (left, right, len) = pass.operands(&g);
    let result = |method: Method| {
        let mut out = vec![f32::NAN; len];
        method.kernel(layer, pass).map(|kernel| {
            kernel(&g, &left, &right, &mut out);
            out
        })
    };
    let expected = result(Method::Naive).expect("there are loops for everything");
    let allowed = TOLERANCE * expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for method in Method::ALL {
        for (i, (found, expected)) in result(method).iter().flatten().zip(&expected).enumerate() {
            assert!(
                (found - expected).abs() <= allowed,
                "{} {}, {}: number {i} is {found}, the naive loops say {expected}",
                layer.name,
                pass.name(),
                method.heading().join(" "),
            );
        }
    }
}

/// Columns of the table: a method and the number of the pool that runs it.
const COLUMNS: [(Method, usize); 6] = [
    (Method::Naive, 0),
    (Method::MatrixMultiply, 0),
    (Method::Columns, 0),
    (Method::Engine, 0),
    (Method::Columns, 1),
    (Method::Engine, 1),
];

/// A row of the table, in GFLOP/s.
struct Row {
    name: String,
    /// The FMA peak of both pools just before the row was measured.
    peaks: [f64; 2],
    /// `None` where nothing was measured.
    columns: [Option<f64>; COLUMNS.len()],
}

/// Times all methods of a row.
fn measure(criterion: &mut Criterion, pools: &[Workers; 2], layer: &Layer, pass: Pass) -> Row {
    let name = format!("{:6} {}", layer.name, pass.name());
    let peaks = pools.each_ref().map(|pool| pool.run(|| peak::fma_gflops(pool.count())));
    let mut group = criterion.benchmark_group(&name);
    group.sampling_mode(SamplingMode::Flat);
    let columns = COLUMNS.map(|(method, pool)| {
        let kernel = method.kernel(layer, pass)?;
        let g = layer.geometry(if method == Method::Naive { NAIVE_BATCH } else { BATCH });
        let flop = 2 * g.multiply_adds() as u64;
        let pool = &pools[pool];
        let (left, right, len) = pass.operands(&g);
        let mut out = vec![0.0; len];
        let (mut calls, mut fastest) = (0, f64::INFINITY);
        // Criterion's "elements" are FLOP here.
        group.throughput(Throughput::Elements(flop));
        let id = format!("{}, threads {}", method.heading().join(" "), pool.count());
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|times| {
                let mut call = || {
                    let start = Instant::now();
                    kernel(&g, &left, &right, black_box(&mut out));
                    let elapsed = start.elapsed();
                    fastest = fastest.min(elapsed.as_secs_f64());
                    elapsed
                };
                calls += times;
                pool.run(|| (0..times).map(|_| call()).sum())
            });
        });
        // Fewer calls than samples are a test, or a benchmark that was not asked for.
        (calls >= SAMPLES as u64).then(|| flop as f64 / fastest / 1e9)
    });
    group.finish();
    Row { name, peaks, columns }
}

/// All rows that were measured.
struct Table {
    threads: [usize; 2],
    rows: Vec<Row>,
}

impl Table {
    /// The highest FMA peak of a pool. Whatever else runs on the machine slows down calls and
    /// peaks alike, so the best is compared with the best; criterion's lines show the spread.
    fn peak(&self, pool: usize) -> f64 {
        self.rows.iter().map(|row| row.peaks[pool]).fold(0.0, f64::max)
    }

    /// A line of right-aligned cells behind a name.
    fn line(
        f: &mut fmt::Formatter,
        name: &str,
        cells: impl Iterator<Item = String>,
    ) -> fmt::Result {
        let line = cells.fold(format!("{name:22}"), |line, cell| line + &format!("{cell:>12}"));
        writeln!(f, "{}", line.trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "\nBatch {BATCH}, {}. GFLOP/s of the fastest call, and their share of the FMA peak of as many\n\
             threads, the highest of those measured before each row.\n\
             Naive loops: the reference, one image; its multiply-add is a library call where the target\n\
             has no FMA at compile time. im2col: the column buffer is written and read in every call;\n\
             beside dense layers it is a plain copy of one operand or the result.\n",
            Isa::current(),
        )?;
        let threads = COLUMNS.map(|(_, pool)| match self.threads[pool] {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        });
        Table::line(f, "", threads.into_iter())?;
        for line in 0..2 {
            Table::line(f, "", COLUMNS.iter().map(|(method, _)| method.heading()[line].into()))?;
        }
        for row in &self.rows {
            let cells = COLUMNS.iter().zip(row.columns).map(|((_, pool), gflops)| {
                gflops.map_or("-".into(), |gflops| {
                    format!("{gflops:.1} {:3.0}%", 100.0 * gflops / self.peak(*pool))
                })
            });
            Table::line(f, &row.name, cells)?;
        }
        let [one, all] = [self.peak(0), self.peak(1)];
        writeln!(f, "FMA peak: 1 thread {one:.0}, {} threads {all:.0} GFLOP/s", self.threads[1])
    }
}

fn main() {
    rows().for_each(|(layer, pass)| check(layer, pass));
    let pools = [Workers::new(1).expect("a worker thread"), common::all_workers()];
    let mut criterion = common::criterion(0.8);
    let rows = rows().map(|(layer, pass)| measure(&mut criterion, &pools, layer, pass));
    let rows: Vec<_> = rows.filter(|row| row.columns.iter().any(Option::is_some)).collect();
    criterion.final_summary();
    if !rows.is_empty() {
        println!("{}", Table { threads: pools.each_ref().map(Workers::count), rows });
    }
}
