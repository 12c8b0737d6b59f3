//! Work of a few dozen microseconds on several threads: phases of a few chunks each.
//!
//! A parallel loop a phase would cost as much as the work. Here the threads meet once and then
//! go through all phases together, each taking the next chunk that nobody has; a phase begins
//! when the last one's chunks are done. The caller never waits for a thread that has not come:
//! whatever is not taken, it does itself.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::claims::take_below;

/// The most phases that [`in_phases`] takes.
pub(crate) const MOST_PHASES: usize = 32;
/// Threads beside the caller: small work has no use for more.
const MOST_HELPERS: usize = 3;
/// Looks at a counter before a worker takes chunks from the ranges of others that help.
const SPINS: usize = 400;

/// How many threads go through phases together, the caller included.
pub(crate) fn workers() -> usize {
    super::count().min(1 + MOST_HELPERS)
}

/// Calls `worker` on each of a few threads, which go through the chunks of all phases together, the
/// phases one after the other. A worker takes the same chunks in every call if all come in time.
///
/// # Panics
/// If there are more than [`MOST_PHASES`].
pub(crate) fn in_phases(chunks: &[usize], worker: impl Fn(Chunks) + Sync) {
    assert!(chunks.len() <= MOST_PHASES, "{} phases", chunks.len());
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
    /// Calls `work(phase, chunk)` for every chunk that no other worker takes.
    pub fn work_off(self, mut work: impl FnMut(usize, usize)) {
        let mut others_help = false;
        for phase in 0..self.progress.chunks.len() {
            let work = |chunk| work(phase, chunk);
            others_help = self.progress.work_off(phase, self.who, others_help, work);
        }
    }
}

/// A counter for each phase, in cache lines of their own: a worker that has fetched them for one phase
/// has them for the next. Processors fetch lines in pairs.
#[repr(align(128))]
struct Counters([AtomicUsize; MOST_PHASES]);

impl Counters {
    fn new(first: impl Fn(usize) -> usize) -> Counters {
        Counters(std::array::from_fn(|phase| AtomicUsize::new(first(phase))))
    }
}

/// How far the phases are.
struct Progress<'a> {
    /// How many chunks each has.
    chunks: &'a [usize],
    workers: usize,
    /// The next chunk of each worker's own range.
    next: [Counters; MOST_HELPERS + 1],
    /// How many chunks are done.
    done: Counters,
}

impl<'a> Progress<'a> {
    fn new(chunks: &'a [usize], workers: usize) -> Progress<'a> {
        let share = |who, phase| *chunks.get(phase).unwrap_or(&0) * who / workers;
        let next = std::array::from_fn(|who| Counters::new(|phase| share(who, phase)));
        Progress { chunks, workers, next, done: Counters::new(|_| 0) }
    }

    /// Does chunks of a phase as worker `who` until none is left, and waits until those of others
    /// are done; says whether there were any of these. Where others helped with the last phase they
    /// have a while for their own ranges before this worker even looks at what is left there.
    fn work_off(
        &self,
        phase: usize,
        who: usize,
        others_help: bool,
        mut work: impl FnMut(usize),
    ) -> bool {
        let done = &self.done.0[phase];
        let all_done = || done.load(Ordering::Acquire) == self.chunks[phase];
        let mut count = 0;
        let mut take_from = |range| {
            while let Some(chunk) = self.claim(phase, range) {
                count += 1;
                // Counted as done even if it panics, or the others would wait for ever.
                let _done = Done(done);
                work(chunk);
            }
        };
        take_from(who);
        let mut spins = if others_help { SPINS } else { 0 };
        while spins > 0 && !all_done() {
            spins -= 1;
            std::hint::spin_loop();
        }
        if !all_done() {
            (1..self.workers).for_each(|i| take_from((who + i) % self.workers));
        }
        super::wait(all_done);
        count < self.chunks[phase]
    }

    /// A chunk that nobody has claimed, of a worker's range.
    fn claim(&self, phase: usize, range: usize) -> Option<usize> {
        let end = self.chunks[phase] * (range + 1) / self.workers;
        take_below(&self.next[range].0[phase], end)
    }
}

struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Numbers that several tasks share, such as the chunks of a phase: each writes ranges of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    numbers: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a `&mut [f32]`, which may be sent; its methods leave it to the caller
// that no range is written by one thread and used by another.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Shares `numbers`.
    pub fn new(numbers: &'a mut [f32]) -> Shared<'a> {
        Shared { start: numbers.as_mut_ptr(), len: numbers.len(), numbers: PhantomData }
    }

    /// Where the numbers `range` start, for writing as by [`Shared::write`].
    ///
    /// # Panics
    /// If there are none such.
    pub fn start_of(&self, range: Range<usize>) -> *mut f32 {
        assert!(range.start <= range.end && range.end <= self.len, "a range of shared numbers");
        // SAFETY: in bounds, as just checked.
        unsafe { self.start.add(range.start) }
    }

    /// The numbers `range`, for reading.
    ///
    /// # Safety
    /// Nobody may write to them meanwhile.
    ///
    /// # Panics
    /// If there are none such.
    pub unsafe fn read(&self, range: Range<usize>) -> &'a [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a range of shared numbers");
        // SAFETY: in bounds, as just checked, and unwritten, as the caller promises.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    /// The numbers `range`, for writing.
    ///
    /// # Safety
    /// Nobody else may use them meanwhile.
    ///
    /// # Panics
    /// If there are none such.
    #[allow(clippy::mut_from_ref, reason = "the caller promises that ranges do not overlap")]
    pub unsafe fn write(&self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a range of shared numbers");
        // SAFETY: in bounds, as just checked, and nobody else's, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::threads::Workers;

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

    #[test]
    fn a_panic_ends_the_call() {
        let workers = Workers::new(3).unwrap();
        let faulty = |phase, chunk| assert!((phase, chunk) != (1, 2), "chunk failed");
        let call = || workers.run(|| in_phases(&[4, 4, 4], |chunks| chunks.work_off(faulty)));
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    }
}
