//! Whole steps of the reference network through the library: training (forward, backward and
//! Adam, dropout on) and inference, on one batch of made-up images. Criterion's elements are
//! images. `examples/throughput.rs` gives the same figures as one line of JSON.
//!
//! ```text
//! cargo bench --bench step
//! ```

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use toile::nn::Sequential;
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor, models};
use toile_kernels::rng::Stream;

/// Seconds that a benchmark measures.
const SECONDS: f32 = 5.0;

fn network() -> Sequential {
    Sequential::new(&models::reference(10), Shape::new(&[28, 28, 1]), Device::Cpu, 42)
}

/// `n` made-up images: [N, 28, 28, 1]
fn images(n: usize) -> Tensor {
    let stream = Stream { seed: 1, purpose: 0, step: 0 };
    let pixels: Vec<f32> = (0..n as u64 * 784).map(|i| stream.uniform(i)).collect();
    Tensor::new(Device::Cpu, Shape::new(&[n, 28, 28, 1]), &pixels)
}

fn train(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train");
    group.sampling_mode(SamplingMode::Flat);
    for batch in [32, 128] {
        let mut network = network();
        let mut optimizer = Optimizer::new(network.parameters(), OptimizerSettings::default());
        let x = images(batch);
        let labels: Vec<u8> = (0..batch).map(|i| (i % 10) as u8).collect();
        let labels = Buffer::from_slice(Device::Cpu, &labels);
        let mut summary = Buffer::zeros(Device::Cpu, SUMMARY_LEN);
        let mut step = 0;
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
            bencher.iter(|| {
                let loss = network.forward_train(&x, 42, step).cross_entropy(&labels, &mut summary);
                network.parameters().check_reached(&loss.mean.backward());
                optimizer.update(network.parameters(), 1e-3, u64::from(step), &mut summary);
                step += 1;
            });
        });
    }
}

fn infer(criterion: &mut Criterion) {
    let network = network();
    let network = network.inference();
    let mut group = criterion.benchmark_group("infer");
    group.sampling_mode(SamplingMode::Flat);
    for batch in [1000, 1] {
        let x = images(batch);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
            bencher.iter(|| black_box(network.forward(&x).softmax()));
        });
    }
}

/// Everything runs inside the pool, as a training does.
fn main() {
    common::all_workers().run(|| {
        let mut criterion = common::criterion(SECONDS);
        train(&mut criterion);
        infer(&mut criterion);
        criterion.final_summary();
    });
}
