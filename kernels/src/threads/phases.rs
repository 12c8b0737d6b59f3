//! Work of a few dozen microseconds on several threads: phases of a few chunks each.
//!
//! A parallel loop a phase would cost as much as the work. Here the threads meet once and then
//! go through all phases together, each taking the next chunk that nobody has; a phase begins
//! when the chunks of the one before are done. The caller never waits for a thread that has not come:
//! whatever is not taken, it does itself. When all is over only the caller knows: a helper leaves
//! after its part of the last phase.
//!
//! When an image comes this code has long left the caches, and whatever one core has written the
//! other must fetch, so it pays to touch few cache lines on the way.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Apart;
use super::claims::take_below;

/// Threads beside the caller: small work has no use for more.
const MOST_HELPERS: usize = 3;
const MOST_WORKERS: usize = MOST_HELPERS + 1;
/// Looks at a counter before a worker takes chunks from the ranges of others that help.
const SPINS: usize = 400;

/// How many threads go through phases together, the caller included.
pub(crate) fn workers() -> usize {
    super::count().min(MOST_WORKERS)
}

/// Calls `worker` on each of a few threads, which go through the chunks of all phases together, the
/// phases one after the other. A worker takes the same chunks in every call if all come in time.
pub(crate) fn in_phases(chunks: &[usize], worker: impl Fn(Chunks) + Sync) {
    let workers = workers();
    let progress = Progress::new(chunks, workers);
    let progress = &progress;
    if workers == 1 {
        return worker(Chunks { progress, who: 0 });
    }
    super::with_helpers(workers - 1, |who| worker(Chunks { progress, who }));
}

/// The chunks that a worker takes part in.
pub(crate) struct Chunks<'a> {
    progress: &'a Progress<'a>,
    who: usize,
}

impl Chunks<'_> {
    /// Calls `work(phase, chunk)` for every chunk that no other worker takes. When this returns,
    /// all chunks are done for the caller of [`in_phases`]; for its helpers those of the last phase
    /// may not be.
    pub fn work_off(self, mut work: impl FnMut(usize, usize)) {
        let Chunks { progress, who } = self;
        let (mut now, mut others_help) = (Phase::default(), false);
        for (phase, &chunks) in progress.chunks.iter().enumerate() {
            now.chunks = chunks;
            let mut work = |chunk| work(phase, chunk);
            let is_last = phase + 1 == progress.chunks.len();
            if is_last && who > 0 {
                // What is left is the caller's, who waits for whoever has not left.
                progress.take_from(&now, who, &mut work);
                return;
            }
            others_help = progress.work_off(&now, who, others_help, &mut work);
            now.end(progress.workers);
        }
    }
}

/// A phase as a worker sees it, who counts along.
#[derive(Default)]
struct Phase {
    chunks: usize,
    /// How many chunks the phases before had, in each worker's ranges.
    before: [usize; MOST_WORKERS],
}

impl Phase {
    /// How many chunks have been done when this phase is over.
    fn done(&self) -> usize {
        self.before.iter().sum::<usize>() + self.chunks
    }

    /// The phase is over.
    fn end(&mut self, workers: usize) {
        for (who, before) in self.before[..workers].iter_mut().enumerate() {
            *before += range(self.chunks, workers, who).len();
        }
    }
}

/// How far the phases are. Since no chunk is begun before those of earlier phases are done, one
/// counter goes through all phases.
struct Progress<'a> {
    /// How many chunks each phase has.
    chunks: &'a [usize],
    workers: usize,
    /// How many chunks of each worker's ranges are claimed.
    claimed: [Apart<AtomicUsize>; MOST_WORKERS],
    /// How many chunks are done.
    done: Apart<AtomicUsize>,
}

impl<'a> Progress<'a> {
    fn new(chunks: &'a [usize], workers: usize) -> Progress<'a> {
        Progress { chunks, workers, claimed: Default::default(), done: Apart::default() }
    }

    /// Does chunks of a phase as worker `who` until none is left, and waits until those of others
    /// are done; says whether there were any of these. Where others helped with the phase before,
    /// they have a while for their own ranges before this worker even looks at what is left there.
    fn work_off(
        &self,
        phase: &Phase,
        who: usize,
        others_help: bool,
        work: &mut impl FnMut(usize),
    ) -> bool {
        let end = phase.done();
        // A worker that comes late may be in a phase that others have left behind.
        let all_done = || self.done.0.load(Ordering::Acquire) >= end;
        let mut count = self.take_from(phase, who, work);
        let mut spins = if others_help { SPINS } else { 0 };
        while spins > 0 && !all_done() {
            spins -= 1;
            std::hint::spin_loop();
        }
        if !all_done() {
            for i in 1..self.workers {
                count += self.take_from(phase, (who + i) % self.workers, work);
            }
        }
        super::wait(all_done);
        count < phase.chunks
    }

    /// Does the chunks of a worker's range that nobody has claimed; says how many.
    fn take_from(&self, phase: &Phase, whose: usize, work: &mut impl FnMut(usize)) -> usize {
        let range = range(phase.chunks, self.workers, whose);
        let before = phase.before[whose];
        let mut count = 0;
        while let Some(i) = take_below(&self.claimed[whose].0, before + range.len()) {
            count += 1;
            // Counted as done even if it panics, or the others would wait for ever.
            let _done = Done(&self.done.0);
            work(range.start + i - before);
        }
        count
    }
}

/// The range of worker `who`. A single chunk is the caller's.
fn range(chunks: usize, workers: usize, who: usize) -> Range<usize> {
    (chunks * who).div_ceil(workers)..(chunks * (who + 1)).div_ceil(workers)
}

struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::threads::{Shared, Workers};

    /// Every chunk sees all of the phase before it: sums of sums come out right.
    #[test]
    fn phases_follow_each_other() {
        for threads in 1..=5 {
            let workers = Workers::new(threads).unwrap();
            for _ in 0..200 {
                let mut numbers = [1.0f32; 8 * 9];
                let shared = Shared::new(&mut numbers);
                workers.run(|| {
                    let sum = |phase, chunk| {
                        // SAFETY: a phase reads what the last one wrote and writes what follows.
                        let (before, to) = unsafe {
                            let at = (phase + 1) * 8 + chunk;
                            (shared.read(phase * 8..phase * 8 + 8), shared.write(at..at + 1))
                        };
                        to[0] = before.iter().sum();
                    };
                    in_phases(&[8; 8], |chunks| chunks.work_off(sum));
                });
                assert_eq!(numbers[8 * 8..], [8f32.powi(8); 8], "{threads} threads");
            }
        }
    }

    /// Whatever numbers of chunks follow each other, each chunk is done once, by whichever workers
    /// there are: a team's, those of rayon's pool, or a task alone.
    #[test]
    fn every_chunk_is_done_once() {
        const CHUNKS: [usize; 7] = [5, 1, 0, 8, 3, 2, 7];
        let count = || {
            let done: [[AtomicUsize; 8]; 7] = Default::default();
            let work = |phase: usize, chunk: usize| {
                done[phase][chunk].fetch_add(1, Ordering::Relaxed);
            };
            in_phases(&CHUNKS, |chunks| chunks.work_off(work));
            for (done, chunks) in done.iter().zip(CHUNKS) {
                let done: Vec<usize> = done.iter().map(|n| n.load(Ordering::Relaxed)).collect();
                assert_eq!(done[..chunks], vec![1; chunks]);
                assert_eq!(done[chunks..], vec![0; 8 - chunks]);
            }
        };
        count();
        for threads in 1..=5 {
            let workers = Workers::new(threads).unwrap();
            workers.run(|| (0..100).for_each(|_| count()));
            workers.run(|| crate::threads::share(3, |_| count()));
        }
    }

    #[test]
    fn a_panic_ends_the_call() {
        let workers = Workers::new(3).unwrap();
        for failing in [(0, 0), (1, 2), (2, 0), (2, 3)] {
            let faulty = |phase, chunk| assert!((phase, chunk) != failing, "chunk failed");
            let call = || workers.run(|| in_phases(&[4, 4, 4], |chunks| chunks.work_off(faulty)));
            assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "{failing:?}");
        }
    }
}
