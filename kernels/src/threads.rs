//! The only place that cuts work into tasks and meets rayon.
//!
//! Work is cut by shape alone, never by the number of threads: a task owns a slice of the output
//! and computes it in the order that the kernel's contract states, so any number of threads in
//! any order of execution leaves the same bits. Nothing here adds numbers up.

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

/// Calls `task(i, chunk)` for the consecutive chunks of `length` elements of `out`.
pub fn chunks<T: Send>(out: &mut [T], length: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= length {
        if !out.is_empty() {
            task(0, out);
        }
        return;
    }
    out.par_chunks_mut(length).enumerate().for_each(|(i, chunk)| task(i, chunk));
}

/// Like [`chunks`] over two outputs at once; both must fall into the same number of chunks.
pub fn chunks2<T: Send, U: Send>(
    (a, a_length): (&mut [T], usize),
    (b, b_length): (&mut [U], usize),
    task: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    assert_eq!(a.len().div_ceil(a_length), b.len().div_ceil(b_length), "chunks of unequal number");
    a.par_chunks_mut(a_length)
        .zip(b.par_chunks_mut(b_length))
        .enumerate()
        .for_each(|(i, (a, b))| task(i, a, b));
}

/// Like [`chunks2`] over three outputs.
pub fn chunks3<T: Send, U: Send, V: Send>(
    (a, a_length): (&mut [T], usize),
    (b, b_length): (&mut [U], usize),
    (c, c_length): (&mut [V], usize),
    task: impl Fn(usize, &mut [T], &mut [U], &mut [V]) + Sync,
) {
    let count = a.len().div_ceil(a_length);
    assert_eq!(count, b.len().div_ceil(b_length), "chunks of unequal number");
    assert_eq!(count, c.len().div_ceil(c_length), "chunks of unequal number");
    a.par_chunks_mut(a_length)
        .zip(b.par_chunks_mut(b_length))
        .zip(c.par_chunks_mut(c_length))
        .enumerate()
        .for_each(|(i, ((a, b), c))| task(i, a, b, c));
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
