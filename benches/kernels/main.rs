//! The kernels of the reference network and how far from the silicon they are, in two parts:
//!
//! - `ladder`: every layer that multiplies, in every pass of a training, from naive loops up to
//!   Winograd's algorithm, in GFLOP/s and as a share of the FMA peak;
//! - `traffic`: the passes that only move memory, in GB/s beside a plain copy.
//!
//! Criterion times both, and at the end a table each says what its lines come to. Where a whole
//! step's time goes is shown by `examples/profile.rs`, what whole steps take by `benches/step.rs`
//! and `examples/throughput.rs`, and how that grows by `benches/scaling.py`.
//!
//! ```text
//! cargo bench --bench kernels                 # all of it, about four minutes
//! cargo bench --bench kernels -- 'conv2 '     # rows of one layer
//! cargo bench --bench kernels -- traffic      # only what moves memory
//! cargo bench --bench kernels -- --test       # check, run each once, measure nothing
//! ```

#[path = "../common/mod.rs"]
mod common;
mod ladder;
mod traffic;

use std::time::Instant;

use common::SAMPLES;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use toile_kernels::rng::Stream;
use toile_kernels::threads::Workers;

/// Images of a batch.
const BATCH: u32 = 128;

/// The pools that benchmarks run in: one thread, and all.
type Pools = [Workers; 2];

/// Benchmarks `body` in `pool`. Returns the seconds of its fastest call, since whatever else runs
/// on the machine only slows calls down; criterion's line shows the spread. `None` if this
/// benchmark was not asked for.
fn fastest_seconds(
    group: &mut BenchmarkGroup<WallTime>,
    id: &str,
    work: &Throughput,
    pool: &Workers,
    body: &mut (dyn FnMut() + Send),
) -> Option<f64> {
    let (mut calls, mut fastest) = (0, f64::INFINITY);
    group.throughput(work.clone());
    group.bench_function(format!("{id}, threads {}", pool.count()), |bencher| {
        bencher.iter_custom(|times| {
            let mut call = || {
                let start = Instant::now();
                body();
                let elapsed = start.elapsed();
                fastest = fastest.min(elapsed.as_secs_f64());
                elapsed
            };
            calls += times;
            pool.run(|| (0..times).map(|_| call()).sum())
        });
    });
    // Fewer calls than samples are a test, or a benchmark that was not asked for.
    (calls >= SAMPLES as u64).then_some(fastest)
}

/// Made-up numbers from -1 to 1, others for each `purpose`.
fn numbers(len: usize, purpose: u32) -> Vec<f32> {
    let stream = Stream { seed: 1, purpose, step: 0 };
    (0..len as u64).map(|i| 2.0 * stream.uniform(i) - 1.0).collect()
}

/// A line of a table: a name, then cells of this many characters aligned to the right.
fn line(name: &str, width: usize, cells: impl Iterator<Item = String>) -> String {
    let line = cells.fold(format!("{name:23}"), |line, cell| line + &format!("{cell:>width$}"));
    line.trim_end().to_owned() + "\n"
}

fn main() {
    ladder::check();
    let pools = [Workers::new(1).expect("a worker thread"), common::all_workers()];
    let mut criterion = common::criterion(0.8);
    let ladder = ladder::measure(&mut criterion, &pools);
    let traffic = traffic::measure(&mut criterion, &pools);
    criterion.final_summary();
    print!("{}{}", ladder.unwrap_or_default(), traffic.unwrap_or_default());
}
