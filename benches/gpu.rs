//! The graphics card's kernels by its own clock: each convolution and dense layer of the reference
//! network, in TFLOP/s and as a share of what multiply-adds in registers reach in the same run;
//! every shader of a whole training step; and whole steps without that clock, which costs time.
//!
//! ```text
//! cargo bench --features gpu --bench gpu                 # batches of 128
//! cargo bench --features gpu --bench gpu -- --batch 512
//! ```

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use toile::nn::Sequential;
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor, models};
use toile_kernels::geometry::{Conv2d, Gemm};
use toile_kernels::gpu::{self, Timing};
use toile_kernels::rng::Stream;
use toile_kernels::{
    conv2d_backward_input, conv2d_backward_weight, conv2d_forward, gemm_nn, gemm_nt, gemm_tn,
};

/// Calls of each kernel; the median counts.
const ROUNDS: usize = 7;

#[derive(Parser)]
struct Arguments {
    /// Images of a step [default: 128, and 2 where a program acts as the card]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: Option<u32>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let opened = match gpu::open() {
        Ok(opened) => opened,
        Err(fault) => {
            eprintln!("error: {fault}");
            return ExitCode::from(6);
        }
    };
    let batch = arguments.batch.unwrap_or(if opened.is_software { 2 } else { 128 });
    let Some(peak) = gpu::peak_flops() else {
        eprintln!("error: {} has no clock for shaders", opened.name);
        return ExitCode::from(6);
    };
    println!("{} ({}), batches of {batch}", opened.name, opened.backend);
    println!("multiply-adds in registers: {:.3} TFLOP/s\n", peak / 1e12);
    layers(batch, peak);
    let steps = if opened.is_software { 2 } else { 128 };
    step(batch, steps);
    match gpu::fault() {
        Some(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(6)
        }
        None => ExitCode::SUCCESS,
    }
}

fn made_up(len: usize) -> Buffer {
    let stream = Stream { seed: 1, purpose: 0, step: 0 };
    let values: Vec<f32> = (0..len as u64).map(|i| stream.uniform(i) - 0.5).collect();
    Buffer::from_slice(Device::Gpu, &values)
}

/// The median seconds of a kernel, all of its shaders together.
fn seconds(mut kernel: impl FnMut()) -> f64 {
    // The first call compiles.
    kernel();
    let total = |times: Vec<Timing>| times.iter().map(|timing| timing.seconds).sum();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| total(gpu::profile(&mut kernel).expect("the device has a clock")))
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn row(layer: &str, pass: &str, multiply_adds: usize, seconds: f64, peak: f64) {
    let flops = 2.0 * multiply_adds as f64 / seconds;
    println!(
        "{layer:<8} {pass:<16} {:>10.1} us {:>9.3} TFLOP/s {:>6.1} %",
        1e6 * seconds,
        flops / 1e12,
        100.0 * flops / peak
    );
}

fn layers(batch: u32, peak: f64) {
    println!("{:<8} {:<16} {:>13} {:>17} {:>8}", "layer", "pass", "time", "speed", "of peak");
    for (name, side, in_channels, out_channels) in [
        ("conv1", 28, 1, 32),
        ("conv2", 26, 32, 32),
        ("conv3", 12, 32, 64),
        ("conv4", 10, 64, 64),
        ("conv5", 4, 64, 128),
    ] {
        let g = Conv2d {
            images: batch,
            height: side,
            width: side,
            in_channels,
            out_channels,
            kernel_height: 3,
            kernel_width: 3,
            stride: 1,
            padding: 0,
        };
        let [mut x, mut w, mut y] = [g.input_len(), g.weight_len(), g.output_len()].map(made_up);
        let work = g.multiply_adds();
        row(name, "forward", work, seconds(|| conv2d_forward(&g, &x, &w, &mut y)), peak);
        if name != "conv1" {
            let time = seconds(|| conv2d_backward_input(&g, &y, &w, &mut x));
            row(name, "input gradient", work, time, peak);
        }
        let time = seconds(|| conv2d_backward_weight(&g, &x, &y, &mut w));
        row(name, "weight gradient", work, time, peak);
    }
    for (name, inputs, units) in [("dense1", 512, 512), ("dense2", 512, 256), ("dense3", 256, 10)] {
        dense(name, batch, inputs, units, peak);
    }
}

fn dense(name: &str, batch: u32, inputs: u32, units: u32, peak: f64) {
    let [mut x, mut w, mut y] =
        [batch * inputs, inputs * units, batch * units].map(|len| made_up(len as usize));
    let work = (batch * inputs * units) as usize;
    let forward = Gemm { rows: batch, columns: units, depth: inputs };
    row(name, "forward", work, seconds(|| gemm_nn(&forward, &x, &w, &mut y)), peak);
    let input = Gemm { rows: batch, columns: inputs, depth: units };
    row(name, "input gradient", work, seconds(|| gemm_nt(&input, &y, &w, &mut x)), peak);
    let weight = Gemm { rows: inputs, columns: units, depth: batch };
    row(name, "weight gradient", work, seconds(|| gemm_tn(&weight, &x, &y, &mut w)), peak);
}

/// Every shader of a training step, the longest first; and the time of so many steps.
fn step(batch: u32, steps: u32) {
    let image = Shape::new(&[28, 28, 1]);
    let mut network = Sequential::new(&models::reference(10), image, Device::Gpu, 42);
    let mut optimizer = Optimizer::new(network.parameters(), OptimizerSettings::default());
    let shape = image.batch(batch as usize);
    let x = Tensor::from_buffer(shape, made_up(shape.len()));
    let labels: Vec<u8> = (0..batch).map(|i| (i % 10) as u8).collect();
    let labels = Buffer::from_slice(Device::Gpu, &labels);
    let mut summary = Buffer::zeros(Device::Gpu, SUMMARY_LEN);
    let mut take_step = |step: u32| {
        let loss = network.forward_train(&x, 42, step).cross_entropy(&labels, &mut summary);
        network.parameters().check_reached(&loss.mean.backward());
        optimizer.update(network.parameters(), 1e-3, step.into(), &mut summary);
    };
    (0..2).for_each(&mut take_step);
    let times = gpu::profile(|| take_step(2)).expect("the device has a clock");
    let mut shaders: BTreeMap<_, (usize, f64)> = BTreeMap::new();
    for Timing { shader, entry, seconds } in &times {
        let (calls, sum) = shaders.entry((shader, entry)).or_default();
        *calls += 1;
        *sum += seconds;
    }
    let mut shaders: Vec<_> = shaders.into_iter().collect();
    shaders.sort_by(|(_, a), (_, b)| b.1.total_cmp(&a.1));
    let total: f64 = times.iter().map(|timing| timing.seconds).sum();
    println!("\n{} dispatches of a step: {:.1} us", times.len(), 1e6 * total);
    println!("{:<24} {:<24} {:>6} {:>13} {:>8}", "shader", "function", "calls", "time", "of all");
    for ((shader, entry), (calls, seconds)) in shaders {
        println!(
            "{shader:<24} {entry:<24} {calls:>6} {:>10.1} us {:>6.1} %",
            1e6 * seconds,
            100.0 * seconds / total
        );
    }
    let start = Instant::now();
    (3..3 + steps).for_each(&mut take_step);
    black_box(summary.to_vec::<f32>());
    let each = start.elapsed().as_secs_f64() / f64::from(steps);
    println!("\n{steps} steps without that clock: {:.1} us each", 1e6 * each);
}
