//! The only place that cuts work into tasks and meets rayon.
//!
//! A task owns a slice of the output and computes it in the order that the kernel's contract states.
//! How many tasks there are may depend on the number of threads; which numbers a sum is made of, and in
//! which order, never does. So any number of threads in any order of execution leaves the same bits.
//! Nothing here adds numbers up.

mod chunks;
mod claims;
pub(crate) mod phases;
mod probe;
mod shared;
mod team;

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use chunks::chunks;
pub(crate) use chunks::{Beside, Loop, Outputs, all_chunks, cut, each, run};
pub(crate) use probe::have_common_cache;
use rayon::prelude::*;
pub(crate) use shared::Shared;
use team::Team;

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

    /// Runs `work` inside the pool: every kernel that it calls uses these workers. Inside the work of
    /// other workers they stay out of it, and those go on with it.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        // A leader that waited for another pool would in the meantime take up its helpers' work, which
        // ends only when it leads on.
        if IN_TASK.get() || Team::is_led() {
            return work();
        }
        self.pool.install(|| Team::run(self.count(), work))
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

/// Calls `work(0)` and, at the same time, `work(1)` to `work(helpers)` on other threads; all that were
/// called have returned when this does. Helpers of a team that do not come in time are not called,
/// and one may come twice; in rayon's pool each is called once, on whichever thread; inside a task
/// only `work(0)` is called.
fn with_helpers(helpers: usize, work: impl Fn(usize) + Sync) {
    let work = |who: usize| {
        if who <= helpers {
            run_task(|| work(who));
        }
    };
    if IN_TASK.get() {
        work(0);
    } else if !Team::call(&work) {
        (0..=helpers).into_par_iter().for_each(work);
    }
}

/// Calls `lead` here and, as soon as they come, `help(1)` to `help(helpers)` on other workers of the
/// pool; all have returned when this does.
fn beside<R: Send>(
    helpers: usize,
    help: impl Fn(usize) + Sync,
    lead: impl FnOnce() -> R + Send,
) -> R {
    let help = &help;
    rayon::scope(|scope| {
        (1..=helpers).for_each(|who| scope.spawn(move |_| help(who)));
        lead()
    })
}

/// Calls `body(i)` for `i` in `0..count`, each as a task: on the team that this thread leads, in
/// rayon's pool where it leads none, or here alone: inside another task, or if there is but one.
pub(crate) fn share(count: usize, body: impl Fn(usize) + Sync) {
    let task = |i: usize| run_task(|| body(i));
    if IN_TASK.get() || count < 2 {
        (0..count).for_each(task);
    } else if !Team::lead(count, &task) {
        (0..count).into_par_iter().for_each(task);
    }
}

/// Looks at what is waited for before a thread lets others have its core.
const SPINS: usize = 200;

/// Waits for others that are at work, leaving them the core from time to time.
fn wait(done: impl Fn() -> bool) {
    let mut spins = 0;
    while !done() {
        spins += 1;
        if spins % SPINS == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

/// In a cache line of its own.
#[repr(align(64))]
struct Line<T>(T);

/// In a pair of cache lines of its own, since processors fetch lines in pairs: whoever waits for it
/// disturbs nothing else.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// How many workers share a loop that begins here: inside a task, one.
pub(crate) fn sharing() -> usize {
    if IN_TASK.get() { 1 } else { count_here() }
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

/// How many cores this process may use; asked once, since the answer takes the system a while.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
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

    /// Workers inside the work of others, in and outside of a task, do all of it and nothing waits for
    /// ever.
    #[test]
    fn workers_inside_of_workers() {
        let inner = Workers::new(3).unwrap();
        for threads in 1..=3 {
            let mut numbers = [[0; 10]; 20];
            Workers::new(threads).unwrap().run(|| {
                for _ in 0..100 {
                    inner.run(|| chunks(&mut numbers, 1, |i, row| row[0].fill(i)));
                }
                chunks(&mut numbers, 1, |_, row| {
                    inner.run(|| chunks(&mut row[0], 1, |j, number| number[0] += 100 * j));
                });
            });
            assert_eq!(numbers, std::array::from_fn(|i| std::array::from_fn(|j| i + 100 * j)));
        }
    }

    /// A loop in a task's body runs in that task: on a team, in a pool and outside of both.
    #[test]
    fn loops_in_tasks_run_there() {
        let sum = || {
            let mut sums = [0; 6];
            chunks(&mut sums, 1, |i, sum| {
                let mut numbers = [0; 9];
                let here = std::thread::current().id();
                chunks(&mut numbers, 2, |_, numbers| {
                    assert_eq!(std::thread::current().id(), here);
                    numbers.fill(i);
                });
                sum[0] = numbers.iter().sum();
            });
            assert_eq!(sums, [0, 9, 18, 27, 36, 45]);
        };
        sum();
        (1..=3).for_each(|threads| Workers::new(threads).unwrap().run(sum));
    }
}
