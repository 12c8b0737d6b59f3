//! What the benchmarks share: the pool they run in, and how long they measure.

use std::time::Duration;

use criterion::Criterion;
use toile_kernels::threads::{MAX_THREADS, Workers};

/// Samples of a benchmark.
pub const SAMPLES: usize = 10;

/// As many workers as `RAYON_NUM_THREADS` says, else one for each processor.
pub fn all_workers() -> Workers {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|number| number.parse().ok());
    let processors = || std::thread::available_parallelism().map_or(1, Into::into);
    Workers::new(asked.unwrap_or_else(processors).clamp(1, MAX_THREADS)).expect("worker threads")
}

/// Criterion with few samples of `measured` seconds in all, and no pictures: a developer should
/// be able to wait for the whole suite. Flags of the command line go before.
pub fn criterion(measured: f32) -> Criterion {
    Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_secs_f32(measured / 4.0))
        .measurement_time(Duration::from_secs_f32(measured))
        .nresamples(2_000)
        .without_plots()
        .configure_from_args()
}
