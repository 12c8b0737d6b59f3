//! Where a training step's time goes: the reference network cut into parts, a row for each part
//! and pass, beside what the processor could do at most.
//!
//! The parts are networks of their own that hand each other their numbers and gradients, so
//! together they do what one step does, in its order and on the numbers it has; and the same step
//! in one piece is timed in every round, to show what the cuts cost. Parts end where the plan
//! starts a new stage or could start one; `--each-layer` cuts finer, and nothing is fused then.
//! FLOP are those of direct convolution, so Winograd's algorithm may pass the FMA peak. Bytes are
//! the numbers that go in and come out, once each; what stays within a part is not counted.
//!
//! ```text
//! cargo run --release --example profile
//! cargo run --release --example profile -- --threads 1 --each-layer
//! ```
//!
//! `benches/kernels` times the kernels behind these rows one by one.

use std::fmt;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use toile::nn::{Fusion, Layer, Sequential, Summary};
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor, autograd, models};
use toile_kernels::rng::Stream;
use toile_kernels::threads::{self, Workers};
use toile_kernels::{Isa, peak};

const SEED: u64 = 42;
const LEARNING_RATE: f64 = 1e-3;
/// Rounds before the first that counts.
const WARM_UP: u32 = 5;
/// Rounds from one measurement of the FMA peak and the copy to the next; the best counts, since
/// what else runs on the machine only slows them down.
const YARDSTICK_EVERY: u32 = 5;
/// Numbers of the copy that says how fast memory is: as many as the first convolution leaves.
const COPIED: usize = 128 * 26 * 26 * 32;
/// Numbers that a task of the copy takes.
const COPIED_AT_ONCE: usize = 1 << 14;
/// Layers of each part: two blocks of convolutions, a convolution, three dense layers, each with
/// what follows.
const PARTS: [usize; 6] = [7, 7, 4, 4, 3, 1];

#[derive(Parser)]
#[command(about = "Shows where the time of a training step of the reference network goes")]
struct Arguments {
    /// Worker threads, 1 to 64
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// Images of a step
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Rounds whose median is shown
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10000))]
    rounds: u32,
    /// A row for each layer, nothing fused; a batch norm stays with the product before it, which
    /// would need its bias without it
    #[arg(long)]
    each_layer: bool,
    /// One JSON object a row instead of the table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ready = Isa::from_environment()
        .and_then(|isa| Ok((isa, Workers::new(usize::from(arguments.threads))?)));
    match ready {
        Ok((isa, workers)) => {
            let profile = workers.run(|| measure(&arguments, isa));
            if arguments.json {
                profile.json().iter().for_each(|row| println!("{row}"));
            } else {
                print!("{profile}");
            }
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: &Arguments, isa: Isa) -> Profile {
    let batch = arguments.batch as usize;
    let layers = models::reference(10);
    let counts = if arguments.each_layer { each_layer(&layers) } else { PARTS.to_vec() };
    let fusion = if arguments.each_layer { Fusion::Off } else { Fusion::On };
    let mut parts = Step::new(&layers, &counts, fusion, batch);
    let mut whole = Step::new(&layers, &[layers.len()], fusion, batch);
    let threads = usize::from(arguments.threads);
    let (mut peak_gflops, mut copy_rate) = (0.0f64, 0.0f64);
    let mut seconds = vec![Vec::new(); parts.rows.len()];
    let mut whole_seconds = Vec::new();
    for round in 0..WARM_UP + arguments.rounds {
        if round % YARDSTICK_EVERY == 0 {
            peak_gflops = peak_gflops.max(peak::fma_gflops(threads));
            copy_rate = copy_rate.max(copy_gb_per_s());
        }
        let of_rows = parts.take(round);
        let of_whole = whole.take(round);
        if round >= WARM_UP {
            seconds.iter_mut().zip(of_rows).for_each(|(row, seconds)| row.push(seconds));
            whole_seconds.push(of_whole.iter().sum());
        }
    }
    Profile {
        batch,
        threads,
        isa,
        peak_gflops,
        copy_gb_per_s: copy_rate,
        rows: parts.rows.into_iter().zip(seconds.iter_mut().map(|row| median(row))).collect(),
        whole_seconds: median(&mut whole_seconds),
    }
}

/// The lengths of parts of one layer. A batch norm goes with the product before it, and so does
/// what moves no number.
fn each_layer(layers: &[Layer]) -> Vec<usize> {
    let mut counts = Vec::new();
    for layer in layers {
        match (layer, counts.last_mut()) {
            (Layer::BatchNorm(_) | Layer::Flatten(_), Some(last)) => *last += 1,
            _ => counts.push(1),
        }
    }
    counts
}

/// The rate of the fastest of some copies, counting what is read and what is written.
fn copy_gb_per_s() -> f64 {
    let from = vec![1.0f32; COPIED];
    let mut to = vec![0.0f32; COPIED];
    let mut copy = || {
        let start = Instant::now();
        threads::chunks(&mut to, COPIED_AT_ONCE, |i, to| {
            to.copy_from_slice(&from[i * COPIED_AT_ONCE..][..to.len()]);
        });
        start.elapsed().as_secs_f64()
    };
    let fastest = (0..20).map(|_| copy()).fold(f64::INFINITY, f64::min);
    (2 * size_of::<f32>() * COPIED) as f64 / fastest / 1e9
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// A training step on one fixed batch, cut into parts.
struct Step {
    parts: Vec<(Sequential, Optimizer)>,
    images: Tensor,
    labels: Buffer,
    /// What is timed, in the order in which a step does it.
    rows: Vec<Row>,
}

/// One part in one pass, and what it has to do.
struct Row {
    layers: String,
    pass: &'static str,
    flop: f64,
    bytes: f64,
}

impl Step {
    /// `layers` in parts of so many layers.
    fn new(layers: &[Layer], counts: &[usize], fusion: Fusion, batch: usize) -> Step {
        let input = Shape::new(&[28, 28, 1]);
        let summary = Summary::of(layers, input);
        let (mut parts, mut forward, mut backward) = (Vec::new(), Vec::new(), Vec::new());
        let (mut first, mut shape) = (0, input);
        for &count in counts {
            let range = first..first + count;
            let network =
                Sequential::with_fusion(&layers[range.clone()], shape, Device::Cpu, SEED, fusion);
            let names: Vec<_> = summary.rows[range].iter().map(|row| row.name.as_str()).collect();
            let [to, from] = rows_of(network.summary(), &names, first == 0, batch);
            forward.push(to);
            backward.insert(0, from);
            (first, shape) = (first + count, network.summary().output());
            let optimizer = Optimizer::new(network.parameters(), OptimizerSettings::default());
            parts.push((network, optimizer));
        }
        assert_eq!(first, layers.len(), "the parts are the network");
        let logits = (batch * shape.len() * size_of::<f32>()) as f64;
        let row = |layers: &str, pass, bytes| Row { layers: layers.into(), pass, flop: 0.0, bytes };
        let loss = [row("loss", "forward", 2.0 * logits), row("loss", "backward", 2.0 * logits)];
        // Gradients, values and two moments are read, the last three written.
        let trained = (summary.trainable() * size_of::<f32>()) as f64;
        let update = row("all", "update", 7.0 * trained);
        let rows = forward.into_iter().chain(loss).chain(backward).chain([update]).collect();
        let stream = Stream { seed: 1, purpose: 0, step: 0 };
        let pixels: Vec<f32> =
            (0..(batch * input.len()) as u64).map(|i| stream.uniform(i)).collect();
        let labels: Vec<u8> = (0..batch).map(|i| (i % 10) as u8).collect();
        Step {
            parts,
            images: Tensor::new(Device::Cpu, input.batch(batch), &pixels),
            labels: Buffer::from_slice(Device::Cpu, &labels),
            rows,
        }
    }

    /// Takes the step; the seconds of each row.
    fn take(&mut self, step: u32) -> Vec<f64> {
        let mut seconds = Vec::with_capacity(self.rows.len());
        let mut last = Instant::now();
        let mut lap = || {
            let now = Instant::now();
            seconds.push(now.duration_since(last).as_secs_f64());
            last = now;
        };
        // Each part's input is a variable of its own, but for the images, whose gradient nobody
        // wants.
        let mut ends = Vec::with_capacity(self.parts.len());
        let mut x = self.images.clone();
        for (network, _) in &mut self.parts {
            let y = network.forward_train(&x, SEED, step);
            let input = std::mem::replace(&mut x, y.variable());
            ends.push((input, y));
            lap();
        }
        let mut summary = Buffer::zeros(Device::Cpu, SUMMARY_LEN);
        let loss = x.cross_entropy(&self.labels, &mut summary);
        lap();
        let mut gradient = loss.mean.backward().of(&x).cloned();
        drop(x);
        lap();
        for (input, y) in ends.into_iter().rev() {
            let dy = gradient.take().expect("only the images have no gradient");
            gradient = autograd::backward(&y, dy).of(&input).cloned();
            drop((input, y));
            lap();
        }
        for (network, optimizer) in &mut self.parts {
            if !network.parameters().gradients().is_empty() {
                let parameters = network.parameters();
                optimizer.update(parameters, LEARNING_RATE, step.into(), &mut summary);
            }
        }
        lap();
        seconds
    }
}

/// What a part has to do forward and backward.
fn rows_of(part: &Summary, names: &[&str], is_first: bool, batch: usize) -> [Row; 2] {
    let layers = match names {
        [first, .., last] if names.len() > 2 => format!("{first} to {last}"),
        _ => names.join(" "),
    };
    let flop = |multiply_adds: usize| (2 * batch * multiply_adds) as f64;
    let forward = flop(part.multiply_adds());
    // The gradient of the input takes as much again, and so does that of the weights.
    let unwanted = if is_first { flop(part.rows[0].multiply_adds) } else { 0.0 };
    let [x, y] = [part.input, part.output()].map(|shape| batch * shape.len());
    let bytes = |numbers: usize| (numbers * size_of::<f32>()) as f64;
    let dx = if is_first { 0 } else { x };
    let trained = part.trainable();
    [
        Row {
            layers: layers.clone(),
            pass: "forward",
            flop: forward,
            bytes: bytes(x + y + trained),
        },
        Row {
            layers,
            pass: "backward",
            flop: 2.0 * forward - unwanted,
            bytes: bytes(x + y + dx + 2 * trained),
        },
    ]
}

/// What was measured.
struct Profile {
    batch: usize,
    threads: usize,
    isa: Isa,
    peak_gflops: f64,
    copy_gb_per_s: f64,
    /// Each row with its seconds.
    rows: Vec<(Row, f64)>,
    whole_seconds: f64,
}

impl Profile {
    fn sum_seconds(&self) -> f64 {
        self.rows.iter().map(|(_, seconds)| seconds).sum()
    }

    fn flop(&self) -> f64 {
        self.rows.iter().map(|(row, _)| row.flop).sum()
    }

    /// One object a row, then one for the whole step.
    fn json(&self) -> Vec<serde_json::Value> {
        let sum = self.sum_seconds();
        let row = |(row, seconds): &(Row, f64)| {
            serde_json::json!({
                "layers": row.layers,
                "pass": row.pass,
                "ms": 1e3 * seconds,
                "share": seconds / sum,
                "gflops": row.flop / seconds / 1e9,
                "gb_per_s": row.bytes / seconds / 1e9,
            })
        };
        let step = serde_json::json!({
            "threads": self.threads,
            "batch": self.batch,
            "isa": self.isa.name(),
            "peak_gflops": self.peak_gflops,
            "copy_gb_per_s": self.copy_gb_per_s,
            "sum_ms": 1e3 * sum,
            "step_ms": 1e3 * self.whole_seconds,
            "step_gflops": self.flop() / self.whole_seconds / 1e9,
            "images_per_s": self.batch as f64 / self.whole_seconds,
        });
        self.rows.iter().map(row).chain([step]).collect()
    }

    /// A line of the table. Rates of nothing are dashes.
    fn line(
        &self,
        f: &mut fmt::Formatter,
        [layers, pass]: [&str; 2],
        [seconds, flop, bytes]: [f64; 3],
    ) -> fmt::Result {
        let rate = |amount: f64, most: f64| {
            let rate = amount / seconds / 1e9;
            let digits = usize::from(rate < 10.0);
            let cells = || (format!("{rate:.digits$}"), format!("{:.0} %", 100.0 * rate / most));
            if amount > 0.0 { cells() } else { ("-".into(), "-".into()) }
        };
        let (gflops, of_peak) = rate(flop, self.peak_gflops);
        let (gb_per_s, of_copy) = rate(bytes, self.copy_gb_per_s);
        let (milliseconds, share) = (1e3 * seconds, 100.0 * seconds / self.sum_seconds());
        writeln!(
            f,
            "{layers:20} {pass:8} {milliseconds:9.3} {share:6.1} % {gflops:>9} {of_peak:>8} \
             {gb_per_s:>8} {of_copy:>8}"
        )
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "A training step of the reference network: batch {}, threads {}, {}.\nFMA peak {:.0} GFLOP/s, plain copy \
             {:.0} GB/s, both of this run.\n\n{:20} {:8} {:>9} {:>8} {:>9} {:>8} {:>8} {:>8}",
            self.batch,
            self.threads,
            self.isa,
            self.peak_gflops,
            self.copy_gb_per_s,
            "layers",
            "pass",
            "ms",
            "share",
            "GFLOP/s",
            "of peak",
            "GB/s",
            "of copy",
        )?;
        for (row, seconds) in &self.rows {
            self.line(f, [&row.layers, row.pass], [*seconds, row.flop, row.bytes])?;
        }
        let (sum, flop) = (self.sum_seconds(), self.flop());
        self.line(f, ["sum of the rows", ""], [sum, flop, 0.0])?;
        self.line(f, ["the step in one", ""], [self.whole_seconds, flop, 0.0])?;
        writeln!(
            f,
            "\n{:.0} images/s in one piece; the sum of the rows differs by {:+.1} %.",
            self.batch as f64 / self.whole_seconds,
            100.0 * (sum / self.whole_seconds - 1.0),
        )
    }
}
