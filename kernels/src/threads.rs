//! The only place that cuts work into tasks and meets rayon.
//!
//! Work is cut by shape alone, never by the number of threads: a task owns a slice of the output
//! and computes it in the order that the kernel's contract states, so any number of threads in
//! any order of execution leaves the same bits. Nothing here adds numbers up.

pub(crate) mod phases;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// A pool of worker threads that a whole training enters once.
pub struct Workers {
    pool: rayon::ThreadPool,
}

/// The largest number of threads that [`Workers::new`] takes.
pub const MAX_THREADS: usize = 64;

impl Workers {
    /// A pool of `threads` workers, 1 to [`MAX_THREADS`], above the number of cores too.
    ///
    /// # Errors
    /// A text with the cause when the number is out of range or the system refuses a thread.
    pub fn new(threads: usize) -> Result<Self, String> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(format!("threads must be 1 to {MAX_THREADS}, found {threads}"));
        }
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("toile-{i}"))
            .build()
            .map(|pool| Workers { pool })
            .map_err(|e| format!("cannot start {threads} worker threads: {e}"))
    }

    /// Runs `work` inside the pool: every kernel that it calls uses these workers.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// The number of workers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }
}

/// The number of workers of the pool that the caller is in, or would enter. No sum may depend on
/// it.
pub(crate) fn count() -> usize {
    rayon::current_num_threads()
}

/// Calls `work` here and, as soon as they come, on `helpers` other workers; all have returned when
/// this does.
fn with_helpers(helpers: usize, work: impl Fn() + Sync) {
    rayon::scope(|scope| {
        (0..helpers).for_each(|_| scope.spawn(|_| work()));
        work();
    });
}

/// The number of workers that may run tasks at the same time as the caller, itself included.
pub(crate) fn count_here() -> usize {
    rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads().min(MAX_THREADS))
}

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// The place of a thread outside of any pool: they are dealt out in turn.
    static PLACE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % MAX_THREADS
    };
}

/// The place of the caller's thread among those that run tasks, below [`MAX_THREADS`], if the
/// caller is inside a task. A pool's workers have the first places, each its own.
pub(crate) fn place_of_task() -> Option<usize> {
    let place = || rayon::current_thread_index().unwrap_or_else(|| PLACE.with(|&place| place));
    IN_TASK.get().then(|| place() % MAX_THREADS)
}

/// Runs the body of a task.
fn run_task(body: impl FnOnce()) {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            IN_TASK.set(self.0);
        }
    }
    let _before = Before(IN_TASK.replace(true));
    body();
}

/// Calls `task(i, chunk)` for the consecutive chunks of `length` elements of `out`.
pub fn chunks<T: Send>(out: &mut [T], length: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= length {
        if !out.is_empty() {
            run_task(|| task(0, out));
        }
        return;
    }
    let run = |(i, chunk): (usize, &mut [T])| run_task(|| task(i, chunk));
    out.par_chunks_mut(length).enumerate().for_each(run);
}

/// Makes a function like [`chunks`] over several outputs at once.
macro_rules! chunks_of_several {
    ($(#[$doc:meta])* $name:ident: $first:ident $First:ident, $($other:ident $Other:ident),+) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// If the outputs do not all fall into the same number of chunks.
        pub fn $name<$First: Send, $($Other: Send),+>(
            $first: (&mut [$First], usize),
            $($other: (&mut [$Other], usize),)+
            task: impl Fn(usize, &mut [$First], $(&mut [$Other]),+) + Sync,
        ) {
            let count = $first.0.len().div_ceil($first.1);
            $(assert_eq!(count, $other.0.len().div_ceil($other.1), "chunks of unequal number");)+
            let all = $first.0.par_chunks_mut($first.1);
            $(let all = all.zip($other.0.par_chunks_mut($other.1));)+
            all.enumerate().for_each(|(i, chunks_of_several!(@pattern $first $($other)+))| {
                run_task(|| task(i, $first, $($other),+));
            });
        }
    };
    (@pattern $a:ident $b:ident) => { ($a, $b) };
    (@pattern $a:ident $b:ident $c:ident) => { (($a, $b), $c) };
    (@pattern $a:ident $b:ident $c:ident $d:ident $e:ident) => { (((($a, $b), $c), $d), $e) };
}

chunks_of_several! {
    /// Like [`chunks`] over two outputs, each with its own length of chunk.
    chunks2: a A, b B
}
chunks_of_several! {
    /// Like [`chunks2`] over three outputs.
    chunks3: a A, b B, c C
}
chunks_of_several! {
    /// Like [`chunks2`] over five outputs.
    chunks5: a A, b B, c C, d D, e E
}

/// Whether `test` holds for every chunk: an order-free question, so any schedule may answer it.
pub fn all_chunks<T: Sync>(data: &[T], length: usize, test: impl Fn(&[T]) -> bool + Sync) -> bool {
    data.par_chunks(length).all(&test)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// One task that panics ends the whole call with its message; nothing waits for ever, and
    /// the workers are of use afterwards.
    #[test]
    fn a_panic_in_a_task_is_the_callers() {
        let workers = Workers::new(3).unwrap();
        let mut numbers = [0; 100];
        let faulty = |i: usize, chunk: &mut [i32]| {
            assert!(i != 17, "task {i} failed");
            chunk.fill(1);
        };
        let call = || workers.run(|| chunks(&mut numbers, 1, faulty));
        let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "task 17 failed");
        assert_eq!(numbers[17], 0);
        workers.run(|| chunks(&mut numbers, 1, |i, chunk| chunk.fill(i as i32)));
        assert_eq!(numbers, std::array::from_fn(|i| i as i32));
    }
}
