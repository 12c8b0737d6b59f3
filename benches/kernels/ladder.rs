//! The ladder: each rung computes the same convolution, and each was somebody's answer to why
//! the one below is slow.
//!
//! - the naive loops of `reference`, in f32: every multiply-add waits for the last;
//! - an explicit column buffer (`im2col`) and a product by `matrixmultiply`, on one thread, which
//!   is all that this crate uses as it comes: the sums stay in registers;
//! - an explicit column buffer and the engine's own product: on every thread, with the widest
//!   vectors of the CPU;
//! - the same tiles over the image in place: the column buffer's traffic is gone;
//! - what the engine's table chooses, where that is Winograd's algorithm: fewer multiplications.
//!   FLOP are counted as for direct convolution, so this rung may pass the FMA peak.
//!
//! All are checked against the naive loops first.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput};
use toile_kernels::cpu::im2col::{self, Product};
use toile_kernels::geometry::{Conv2d, Gemm, SHARD};
use toile_kernels::{Algorithm, Isa, algorithm, cpu, peak, reference, with_direct_convolution};

use crate::{BATCH, Pools, fastest_seconds, line, numbers};

/// Images that the naive loops are timed on: they are slow, and equally slow an image.
const NAIVE_BATCH: u32 = 1;
/// Images of the checks: more than one shard, the last a part, so that sums have to be merged.
const CHECKED_BATCH: u32 = SHARD as u32 + 1;
/// How far a result may be from that of the naive loops, as a share of their largest: sums of
/// up to ten thousand terms in f32, in another order.
const TOLERANCE: f32 = 1e-5;
/// The same for Winograd's algorithm, whose transforms round once more on either side.
const WINOGRAD_TOLERANCE: f32 = 2e-5;

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
    Direct,
    Chosen,
}

/// One function of the geometry, two operands and the result.
type Kernel = fn(&Conv2d, &[f32], &[f32], &mut [f32]);

impl Method {
    const ALL: [Method; 5] =
        [Method::Naive, Method::MatrixMultiply, Method::Columns, Method::Direct, Method::Chosen];

    /// Two lines.
    fn heading(self) -> [&'static str; 2] {
        match self {
            Method::Naive => ["naive", "loops"],
            Method::MatrixMultiply => ["im2col +", "m.mult."],
            Method::Columns => ["im2col +", "ours"],
            Method::Direct => ["ours, in", "place"],
            Method::Chosen => ["ours, by", "table"],
        }
    }

    /// The kernel, if this is a rung of its own: a dense layer has no patches to copy into
    /// columns, and where the table chooses direct convolution that is the rung below.
    fn kernel(self, layer: &Layer, pass: Pass) -> Option<Kernel> {
        use im2col::{conv2d_backward_input, conv2d_backward_weight, conv2d_forward};
        use {Method::*, Pass::*};
        let chosen = algorithm(&layer.geometry(BATCH));
        let kernel: Kernel = match (self, pass) {
            (Columns, _) if layer.is_dense() => return None,
            (Chosen, _) if chosen == Algorithm::Direct => return None,
            (Direct, Forward) if layer.is_dense() => |g, x, w, y| {
                let product =
                    Gemm { rows: g.images, columns: g.out_channels, depth: g.in_channels };
                cpu::gemm_nn(&product, x, w, y);
            },
            (Direct, InputGradient) if layer.is_dense() => |g, dy, w, dx| {
                let product =
                    Gemm { rows: g.images, columns: g.in_channels, depth: g.out_channels };
                cpu::gemm_nt(&product, dy, w, dx);
            },
            (Direct, WeightGradient) if layer.is_dense() => |g, x, dy, dw| {
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
            (Direct, Forward) => {
                |g, x, w, y| with_direct_convolution(|| cpu::conv2d_forward(g, x, w, y))
            }
            (Direct, InputGradient) => {
                |g, dy, w, dx| with_direct_convolution(|| cpu::conv2d_backward_input(g, dy, w, dx))
            }
            (Direct, WeightGradient) => {
                |g, x, dy, dw| with_direct_convolution(|| cpu::conv2d_backward_weight(g, x, dy, dw))
            }
            (Chosen, Forward) => cpu::conv2d_forward,
            (Chosen, InputGradient) => cpu::conv2d_backward_input,
            (Chosen, WeightGradient) => cpu::conv2d_backward_weight,
        };
        Some(kernel)
    }
}

/// Asserts that every method gives the naive loops' answer.
pub fn check() {
    rows().for_each(|(layer, pass)| check_row(layer, pass));
}

fn check_row(layer: &Layer, pass: Pass) {
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
    let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for method in Method::ALL {
        let share = if method == Method::Chosen { WINOGRAD_TOLERANCE } else { TOLERANCE };
        for (i, (found, expected)) in result(method).iter().flatten().zip(&expected).enumerate() {
            assert!(
                (found - expected).abs() <= share * largest,
                "{} {}, {}: number {i} is {found}, the naive loops say {expected}",
                layer.name,
                pass.name(),
                method.heading().join(" "),
            );
        }
    }
}

/// Columns of the table: a method and the number of the pool that runs it.
const COLUMNS: [(Method, usize); 8] = [
    (Method::Naive, 0),
    (Method::MatrixMultiply, 0),
    (Method::Columns, 0),
    (Method::Direct, 0),
    (Method::Chosen, 0),
    (Method::Columns, 1),
    (Method::Direct, 1),
    (Method::Chosen, 1),
];

/// A row of the table, in GFLOP/s.
struct Row {
    name: String,
    /// The FMA peak of both pools just before the row was measured.
    peaks: [f64; 2],
    /// `None` where nothing was measured.
    columns: [Option<f64>; COLUMNS.len()],
}

/// Times all rungs of all layers; the table, if any was asked for.
pub fn measure(criterion: &mut Criterion, pools: &Pools) -> Option<String> {
    let rows = rows().map(|(layer, pass)| measure_row(criterion, pools, layer, pass));
    let rows: Vec<_> = rows.filter(|row| row.columns.iter().any(Option::is_some)).collect();
    (!rows.is_empty()).then(|| table(&rows, pools))
}

fn measure_row(criterion: &mut Criterion, pools: &Pools, layer: &Layer, pass: Pass) -> Row {
    let name = format!("{:6} {}", layer.name, pass.name());
    let peaks = pools.each_ref().map(|pool| pool.run(|| peak::fma_gflops(pool.count())));
    let mut group = criterion.benchmark_group(&name);
    group.sampling_mode(SamplingMode::Flat);
    let columns = COLUMNS.map(|(method, pool)| {
        let kernel = method.kernel(layer, pass)?;
        let g = layer.geometry(if method == Method::Naive { NAIVE_BATCH } else { BATCH });
        let flop = 2 * g.multiply_adds() as u64;
        let (left, right, len) = pass.operands(&g);
        let mut out = vec![0.0; len];
        let mut body = || kernel(&g, &left, &right, black_box(&mut out));
        let id = method.heading().join(" ");
        // Criterion's "elements" are FLOP here.
        let work = Throughput::Elements(flop);
        let seconds = fastest_seconds(&mut group, &id, &work, &pools[pool], &mut body)?;
        Some(flop as f64 / seconds / 1e9)
    });
    group.finish();
    Row { name, peaks, columns }
}

fn table(rows: &[Row], pools: &Pools) -> String {
    let best = |pool: usize| rows.iter().map(|row| row.peaks[pool]).fold(0.0, f64::max);
    let peaks = [best(0), best(1)];
    let mut text = format!(
        "\nBatch {BATCH}, {}. GFLOP/s of the fastest call at the FLOP of direct convolution, and their\n\
         share of the FMA peak of as many threads, the highest of those measured before each row.\n\
         Naive loops: the reference, one image; its multiply-add is a library call where the target\n\
         has no FMA at compile time. im2col: the column buffer is written and read in every call;\n\
         beside dense layers it is a plain copy of one operand or the result. By table: only where\n\
         it chooses Winograd's algorithm, {}.\n\n",
        Isa::current(),
        winograd_layers(),
    );
    let threads = COLUMNS.map(|(_, pool)| pools[pool].count().to_string());
    text += &line("threads", 9, threads.into_iter());
    for half in 0..2 {
        text += &line("", 9, COLUMNS.iter().map(|(method, _)| method.heading()[half].into()));
    }
    for row in rows {
        let cells = COLUMNS.iter().zip(row.columns).map(|((_, pool), gflops)| {
            gflops.map_or("-".into(), |gflops| {
                let digits = usize::from(gflops < 10.0);
                format!("{gflops:.digits$} {:.0}%", 100.0 * gflops / peaks[*pool])
            })
        });
        text += &line(&row.name, 9, cells);
    }
    let [one, all] = peaks;
    let threads = pools[1].count();
    let _ = writeln!(text, "FMA peak: 1 thread {one:.0}, {threads} threads {all:.0} GFLOP/s");
    text
}

/// Which layers the table gives to Winograd's algorithm, and with what tiles.
fn winograd_layers() -> String {
    let tiles = |layer: &Layer| match algorithm(&layer.geometry(BATCH)) {
        Algorithm::Winograd(tile) => Some(format!("{} F({tile}x{tile})", layer.name)),
        Algorithm::Direct => None,
    };
    LAYERS.iter().filter_map(tiles).collect::<Vec<_>>().join(", ")
}
