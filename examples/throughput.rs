//! The speed probe: trains and runs the reference network on made-up images and prints one JSON
//! line. Training is dropout on, one fixed batch in memory, forward, backward and Adam; nothing
//! is kept from step to step. `train_gflops` is at the FLOP of direct convolution: 61,988,352 a
//! trained image, unless `--width` says otherwise. Answers are logits, as those of the engines that
//! it is compared with.
//!
//! ```text
//! cargo run --release --example throughput -- --threads 2 --batch 128 --mode all
//! cargo run --release --features gpu --example throughput -- --device gpu
//! ```
//!
//! A graphics card is timed over 16 steps and one look at their last loss, since a look waits for
//! all that was asked for before.
//!
//! `benches/against_peers.py` compares its line with other engines', `benches/scaling.py` looks
//! at how it grows with the work, and `examples/profile.rs` at where a step's time goes.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use toile::nn::{Inference, Layer, Sequential, Summary};
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor, models};
use toile_kernels::peak;
use toile_kernels::rng::Stream;
use toile_kernels::threads::Workers;

/// What one measurement of training should take, in seconds, and the steps that it has at least
/// and at most.
const TRAIN_SECONDS: f64 = 3.0;
const TRAIN_STEPS: [usize; 2] = [5, 40];
/// The same for the steps before.
const WARM_UP_SECONDS: f64 = 1.0;
const WARM_UP_STEPS: [usize; 2] = [1, 8];

#[derive(Parser)]
#[command(about = "Measures training and inference of the reference network")]
struct Arguments {
    /// Worker threads, 1 to 64
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// Images of a training step
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// The device
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// What to measure
    #[arg(long, default_value = "all")]
    mode: Mode,
    /// How many times as wide the network is: channels and units of every layer but the last
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    width: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeviceName {
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu,
}

impl DeviceName {
    fn device(self) -> Device {
        match self {
            DeviceName::Cpu => Device::Cpu,
            #[cfg(feature = "gpu")]
            DeviceName::Gpu => Device::Gpu,
        }
    }

    /// Calls between two looks at a result.
    fn calls_together(self) -> usize {
        match self {
            DeviceName::Cpu => 1,
            #[cfg(feature = "gpu")]
            DeviceName::Gpu => 16,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Train,
    Infer,
    All,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let engine = arguments.device.device().engine();
    let ready =
        engine.and_then(|engine| Ok((engine, Workers::new(usize::from(arguments.threads))?)));
    match ready {
        Ok((engine, workers)) => {
            println!("{}", workers.run(|| measure(&arguments, &engine)));
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: &Arguments, engine: &str) -> serde_json::Value {
    let batch = arguments.batch as usize;
    let mut line = serde_json::json!({
        "threads": arguments.threads,
        "batch": batch,
        "isa": engine,
    });
    if arguments.width != 1 {
        line["width"] = arguments.width.into();
    }
    let mut network = network(arguments.width.into(), arguments.device.device());
    let together = arguments.device.calls_together();
    if arguments.device == DeviceName::Cpu {
        line["peak_gflops"] = round(peak::fma_gflops(usize::from(arguments.threads)));
    }
    if arguments.mode != Mode::Infer {
        let images_per_s = train(&mut network, batch, together);
        line["train_images_per_s"] = round(images_per_s);
        line["train_gflops"] = round(images_per_s * train_flop(network.summary()) / 1e9);
    }
    if arguments.mode != Mode::Train {
        let device = network.device();
        let network = network.inference();
        let seconds = infer((&network, device), 1000, [3, 8], together);
        line["infer_images_per_s"] = round(1000.0 / seconds);
        // One image at a time: each answer is looked at before the next is asked for.
        line["one_image_us"] = round(1e6 * infer((&network, device), 1, [50, 300], 1));
    }
    line
}

fn round(x: f64) -> serde_json::Value {
    ((x * 10.0).round() / 10.0).into()
}

/// The reference network, `width` times as wide.
fn network(width: usize, device: Device) -> Sequential {
    let mut layers = models::reference(10);
    let last = layers.len() - 1;
    for layer in &mut layers[..last] {
        match layer {
            Layer::Conv2d(conv) => conv.filters *= width,
            Layer::Dense(dense) => dense.units *= width,
            _ => {}
        }
    }
    Sequential::new(&layers, Shape::new(&[28, 28, 1]), device, 42)
}

/// FLOP of a trained image by direct convolution: three passes but for the first layer's input
/// gradient, two for a multiply-add.
fn train_flop(network: &Summary) -> f64 {
    2.0 * (3 * network.multiply_adds() - network.rows[0].multiply_adds) as f64
}

/// `n` made-up images.
fn images(n: usize, device: Device) -> Tensor {
    let stream = Stream { seed: 1, purpose: 0, step: 0 };
    let pixels: Vec<f32> = (0..n as u64 * 784).map(|i| stream.uniform(i)).collect();
    Tensor::new(device, Shape::new(&[n, 28, 28, 1]), &pixels)
}

/// Images per second of training: the median of 40 steps after 8, of fewer where they are long.
fn train(network: &mut Sequential, batch: usize, together: usize) -> f64 {
    let device = network.device();
    let mut optimizer = Optimizer::new(network.parameters(), OptimizerSettings::default());
    let x = images(batch, device);
    let labels: Vec<u8> = (0..batch).map(|i| (i % 10) as u8).collect();
    let labels = Buffer::from_slice(device, &labels);
    let mut summary = Buffer::zeros(device, SUMMARY_LEN);
    let mut step = 0;
    let mut take_steps = || {
        for _ in 0..together {
            let loss = network.forward_train(&x, 42, step).cross_entropy(&labels, &mut summary);
            network.parameters().check_reached(&loss.mean.backward());
            optimizer.update(network.parameters(), 1e-3, u64::from(step), &mut summary);
            step += 1;
        }
        black_box(summary.to_vec::<f32>());
    };
    let start = Instant::now();
    take_steps();
    let first = start.elapsed().as_secs_f64();
    let steps =
        |seconds: f64, [least, most]: [usize; 2]| ((seconds / first) as usize).clamp(least, most);
    let warm_up = steps(WARM_UP_SECONDS, WARM_UP_STEPS) - 1;
    let seconds = median_seconds(warm_up, steps(TRAIN_SECONDS, TRAIN_STEPS), &mut take_steps);
    (batch * together) as f64 / seconds
}

/// Median seconds of one inference of `n` images, of which so many are asked for `together`.
fn infer(
    (network, device): (&Inference, Device),
    n: usize,
    [warm_up, rounds]: [usize; 2],
    together: usize,
) -> f64 {
    let x = images(n, device);
    let seconds = median_seconds(warm_up, rounds, &mut || {
        for _ in 1..together {
            black_box(network.forward(&x));
        }
        let last = black_box(network.forward(&x));
        if device != Device::Cpu {
            black_box(last.to_vec::<f32>());
        }
    });
    seconds / together as f64
}

fn median_seconds(warm_up: usize, rounds: usize, body: &mut impl FnMut()) -> f64 {
    (0..warm_up).for_each(|_| body());
    let time = |_| {
        let start = Instant::now();
        body();
        start.elapsed().as_secs_f64()
    };
    let mut seconds: Vec<f64> = (0..rounds).map(time).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[rounds / 2]
}
