//! What this machine can do at most: the yardstick for kernels.

use std::time::Instant;

use crate::Isa;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::threads;

/// The most FMA chains that run side by side. An instruction set runs as many as its tile has
/// rows: their sums fit its registers, and they are at least latency times pipes.
const CHAINS: usize = 12;
/// FMA of a chain in one timed run.
const LENGTH: usize = 1 << 20;

/// The FMA peak in GFLOP/s of `threads` threads of the current pool on the instruction set in
/// force: the best of ten runs of independent chains in registers, about a tenth of a second.
#[must_use]
pub fn fma_gflops(threads: usize) -> f64 {
    let isa = Isa::current();
    let mut sums = vec![0.0f32; threads];
    let chains = isa.run(CountChains);
    let flop = (threads * chains * LENGTH * LANES * 2) as f64;
    let seconds = (0..10).map(|_| {
        let start = Instant::now();
        threads::chunks(&mut sums, 1, |i, sum| {
            sum[0] = isa.run(Chains { start: i as f32, factor: 0.5 });
        });
        start.elapsed().as_secs_f64()
    });
    let best = seconds.fold(f64::INFINITY, f64::min);
    std::hint::black_box(&sums);
    flop / best / 1e9
}

struct CountChains;

impl Kernel for CountChains {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::TILE_ROWS
    }
}

struct Chains {
    start: f32,
    factor: f32,
}

impl Kernel for Chains {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        // All lanes differ, or the compiler would compute equal registers once.
        let lanes = |chain: usize| -> [f32; LANES] {
            core::array::from_fn(|lane| self.start + (chain * LANES + lane) as f32)
        };
        let factor = s.splat(std::hint::black_box(self.factor));
        let mut chains: [S::V; CHAINS] = core::array::from_fn(|i| s.load_slice(&lanes(i)));
        for _ in 0..LENGTH {
            for chain in &mut chains[..S::TILE_ROWS] {
                *chain = s.fma(*chain, factor, factor);
            }
        }
        let mut out = [0.0; LANES];
        let sum = chains.into_iter().fold(s.splat(0.0), |a, b| s.add(a, b));
        s.store_slice(&mut out, sum);
        // All lanes are wanted, or the compiler would leave out those that are not.
        std::hint::black_box(out)[0]
    }
}
