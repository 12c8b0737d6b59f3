//! The passes that multiply next to nothing: their floor is the traffic to and from memory.
//!
//! The sizes are those of the reference network, the kernels those of the menu, each alone. In a
//! training most of them run fused with a convolution, on numbers that are in the cache already;
//! this table says what that saves.

use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput};
use toile_kernels::geometry::{
    Adam, BatchNorm, Channels, CheckGradients, Dropout, Elements, Pool2d, SUMMARY_LEN,
};
use toile_kernels::{cpu, threads};

use crate::{BATCH, Pools, fastest_seconds, line, numbers};

/// Numbers that the optimizer of the reference network updates.
const PARAMETERS: u32 = 536_874;
/// Pixels and channels of an image that the first convolution leaves.
const PIXELS: u32 = 26 * 26;
const CHANNELS: u32 = 32;
/// Numbers that a task of the plain copy takes.
const COPIED_AT_ONCE: usize = 1 << 14;

/// A kernel on made-up numbers.
struct Pass {
    name: &'static str,
    /// Bytes that it has to read and write if each operand moves once a sweep over the batch.
    bytes: usize,
    body: Box<dyn FnMut() + Send>,
}

impl Pass {
    /// A pass that moves so many f32 and bytes.
    fn new(
        name: &'static str,
        [reals, bytes]: [usize; 2],
        body: impl FnMut() + Send + 'static,
    ) -> Pass {
        Pass { name, bytes: 4 * reals + bytes, body: Box::new(body) }
    }
}

/// All passes, the plain copy first.
fn passes() -> Vec<Pass> {
    [elementwise(), batch_norm(), pool_and_dropout(), vec![update()]]
        .into_iter()
        .flatten()
        .collect()
}

fn elementwise() -> Vec<Pass> {
    let g = Channels { images: BATCH, pixels: PIXELS, channels: CHANNELS };
    let len = g.len();
    let elements = Elements { len: len as u32 };
    let operands = || (numbers(len, 0), numbers(len, 1), vec![0.0; len]);
    let (x, _, mut y) = operands();
    let copy = Pass::new("plain copy", [2 * len, 0], move || {
        threads::chunks(&mut y, COPIED_AT_ONCE, |i, y| {
            y.copy_from_slice(&x[i * COPIED_AT_ONCE..][..y.len()]);
        });
        black_box(&y);
    });
    let ((x, _, mut y), bias) = (operands(), numbers(g.channels(), 2));
    let bias_forward = Pass::new("bias", [2 * len, 0], move || {
        cpu::bias_forward(&g, &x, &bias, black_box(&mut y));
    });
    let ((dy, ..), mut dbias) = (operands(), vec![0.0; g.channels()]);
    let bias_backward = Pass::new("bias gradient", [len, 0], move || {
        cpu::bias_backward(&g, &dy, black_box(&mut dbias));
    });
    let (x, _, mut y) = operands();
    let relu_forward = Pass::new("relu", [2 * len, 0], move || {
        cpu::relu_forward(&elements, &x, black_box(&mut y));
    });
    let (y, dy, mut dx) = operands();
    let relu_backward = Pass::new("relu gradient", [3 * len, 0], move || {
        cpu::relu_backward(&elements, &y, &dy, black_box(&mut dx));
    });
    vec![copy, bias_forward, bias_backward, relu_forward, relu_backward]
}

fn batch_norm() -> Vec<Pass> {
    let (epsilon, momentum) = (1e-3, 0.99);
    let g = BatchNorm { images: BATCH, pixels: PIXELS, channels: CHANNELS, epsilon, momentum };
    let (len, channels) = (g.len(), g.channels());
    let (x, mut y) = (numbers(len, 0), vec![0.0; len]);
    let [gamma, beta, ones] = [1, 2, 3].map(|_| vec![1.0; channels]);
    let mut left = [0, 1, 2, 3].map(|_| vec![1.0; channels]);
    let (given, shift) = (x.clone(), beta.clone());
    let forward = Pass::new("norm", [3 * len, 0], move || {
        let [mean, deviation, running_mean, running_variance] = &mut left;
        let y = black_box(&mut y);
        cpu::batch_norm_forward(
            &g,
            &given,
            &gamma,
            &shift,
            y,
            mean,
            deviation,
            running_mean,
            running_variance,
        );
    });
    let (given, scale, mut y) = (x.clone(), ones.clone(), vec![0.0; len]);
    let inference = Pass::new("norm, inference", [2 * len, 0], move || {
        cpu::batch_norm_inference(&g, &given, &scale, &beta, &beta, &scale, black_box(&mut y));
    });
    let (dy, mut dx) = (numbers(len, 1), vec![0.0; len]);
    let [mut dgamma, mut dbeta] = [0, 1].map(|_| vec![0.0; channels]);
    let backward = Pass::new("norm gradient", [5 * len, 0], move || {
        let dx = black_box(&mut dx);
        cpu::batch_norm_backward(&g, &dy, &x, &ones, &ones, &ones, dx, &mut dgamma, &mut dbeta);
    });
    vec![forward, inference, backward]
}

fn pool_and_dropout() -> Vec<Pass> {
    let g = Pool2d {
        images: BATCH,
        height: 24,
        width: 24,
        channels: CHANNELS,
        window_height: 2,
        window_width: 2,
        stride: 2,
    };
    let (len, out_len) = (g.input_len(), g.output_len());
    let (x, mut y, mut codes) = (numbers(len, 0), vec![0.0; out_len], vec![0; out_len]);
    cpu::max_pool2d_forward(&g, &x, &mut y, &mut codes);
    let given = codes.clone();
    let forward = Pass::new("pool", [len + out_len, out_len], move || {
        cpu::max_pool2d_forward(&g, &x, black_box(&mut y), &mut codes);
    });
    let (dy, mut dx) = (numbers(out_len, 1), vec![0.0; len]);
    let backward = Pass::new("pool gradient", [len + out_len, out_len], move || {
        cpu::max_pool2d_backward(&g, &dy, &given, black_box(&mut dx));
    });
    let rate = 0.25;
    let drop =
        Dropout { len: out_len as u32, seed_low: 1, seed_high: 0, purpose: 0, step: 0, rate };
    let (x, mut y) = (numbers(out_len, 0), vec![0.0; out_len]);
    let dropout = Pass::new("dropout", [2 * out_len, 0], move || {
        cpu::dropout(&drop, &x, black_box(&mut y));
    });
    vec![forward, backward, dropout]
}

fn update() -> Pass {
    let (rate, share1, share2, epsilon) = (1e-3, 0.1, 1e-3, 1e-7);
    let g = Adam { len: PARAMETERS, decaying: 0, rate, share1, share2, epsilon, decay: 0.0 };
    let gradients = numbers(g.len(), 0);
    let [mut values, mut first, mut second] = [0, 1, 2].map(|_| vec![0.0; g.len()]);
    let check = CheckGradients { len: PARAMETERS, largest_norm: 0.0 };
    // Gradients and state are read, the state is written; that all gradients are finite is
    // checked by a sweep of its own.
    Pass::new("adam", [8 * g.len(), 0], move || {
        let mut summary = [0.0; SUMMARY_LEN];
        cpu::check_gradients(&check, &gradients, &mut summary);
        cpu::adam(&g, &gradients, &summary, black_box(&mut values), &mut first, &mut second);
        assert_eq!(summary[2], 1.0, "the update was not made");
    })
}

/// Times all passes; the table, if any was asked for.
pub fn measure(criterion: &mut Criterion, pools: &Pools) -> Option<String> {
    let mut group = criterion.benchmark_group("traffic");
    group.sampling_mode(SamplingMode::Flat);
    let mut rows = Vec::new();
    for mut pass in passes() {
        let work = Throughput::Bytes(pass.bytes as u64);
        let seconds = pools
            .each_ref()
            .map(|pool| fastest_seconds(&mut group, pass.name, &work, pool, &mut *pass.body));
        let rates = seconds.map(|seconds| seconds.map(|s| pass.bytes as f64 / s / 1e9));
        rows.push((pass.name, pass.bytes, rates));
    }
    group.finish();
    rows.retain(|(.., rates)| rates.iter().any(Option::is_some));
    (!rows.is_empty()).then(|| table(&rows, pools))
}

/// A pass's name, its bytes, and its GB/s in each pool.
type Row = (&'static str, usize, [Option<f64>; 2]);

fn table(rows: &[Row], pools: &Pools) -> String {
    let copy = rows.iter().find(|(name, ..)| *name == "plain copy").map(|(.., rates)| *rates);
    let mut text = format!(
        "\nPasses that move memory, batch {BATCH}, each kernel of the menu alone: GB/s of the fastest\n\
         call, and their share of a plain copy's on as many threads. An operand counts once for\n\
         each sweep over the batch that needs it.\n\n",
    );
    let threads = pools.each_ref().map(|pool| format!("threads {}", pool.count()));
    text += &line("", 14, std::iter::once("MB".to_owned()).chain(threads));
    for (name, bytes, rates) in rows {
        let cells = (0..2).map(|pool| match (rates[pool], copy.and_then(|copy| copy[pool])) {
            (Some(rate), Some(copy)) => format!("{rate:.1} {:3.0}%", 100.0 * rate / copy),
            (Some(rate), None) => format!("{rate:.1}"),
            (None, _) => "-".into(),
        });
        let megabytes = format!("{:.1}", *bytes as f64 / 1e6);
        text += &line(name, 14, std::iter::once(megabytes).chain(cells));
    }
    text
}
