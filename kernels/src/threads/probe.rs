//! Whether the cores that the workers run on have a cache in common.
//!
//! That is measured, since the system cannot be asked: a virtual machine that says that its cores
//! share a cache may run now on such cores and now on others. No result depends on the answer, only
//! how it is written (`cpu/handover.rs`).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use super::{Apart, Line};

/// Cache lines that one worker writes after the others have read them.
const LINES: usize = 64;
/// How often they do. The fastest time counts, as whatever else runs only slows them down.
const ROUNDS: usize = 4;
/// How long the writer goes on waiting for the readers, from the first round's begin.
const PATIENCE: Duration = Duration::from_micros(50);
/// The longest time for a line that another core has read, in nanoseconds, for which it is better
/// to write to it in the cache. So many lines are under way together that on the processor this was
/// measured on it takes 2 to 4 where the cores share a cache and 15 where they do not.
const LIMIT_NS: u64 = 8;
/// Loops between two measurements: those of about five steps of training.
const EVERY: usize = 256;
/// The same before the first, when helpers have not come yet, and after one that they did not come
/// to.
const AGAIN: usize = 16;

/// The latest answer. Before the first one it is what costs less where it is wrong.
static COMMON_CACHE: AtomicBool = AtomicBool::new(false);

/// Whether the workers' cores had a cache in common when that was measured last.
pub(crate) fn have_common_cache() -> bool {
    COMMON_CACHE.load(Ordering::Relaxed)
}

/// Measures from time to time.
pub(super) struct Probe {
    /// Loops that may begin before the next measurement.
    left: AtomicUsize,
}

impl Probe {
    pub fn new() -> Probe {
        Probe { left: AtomicUsize::new(AGAIN) }
    }

    /// To be called before every loop with what calls a part with 0 here and with 1 to `helpers` on
    /// other threads.
    pub fn before_loop(&self, helpers: usize, share: impl FnOnce(&(dyn Fn(usize) + Sync))) {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            return;
        }
        let exchange = Exchange::default();
        share(&|who| if who == 0 { exchange.write(helpers, PATIENCE) } else { exchange.read() });
        let (common, left) = conclusion(exchange.nanoseconds());
        if let Some(common) = common {
            COMMON_CACHE.store(common, Ordering::Relaxed);
        }
        self.left.store(left, Ordering::Relaxed);
    }
}

/// Whether there is a common cache, if that is known from what all lines took, and how many loops may
/// begin before the next measurement.
fn conclusion(nanoseconds: Option<u64>) -> (Option<bool>, usize) {
    let common = nanoseconds.map(|nanoseconds| nanoseconds <= LIMIT_NS * LINES as u64);
    (common, if common.is_some() { EVERY } else { AGAIN })
}

/// Lines that go back and forth: round by round the readers read all of them, then the writer
/// writes to all of them.
struct Exchange {
    lines: [Line<AtomicUsize>; LINES],
    /// From 1 on; [`OVER`] in the end.
    round: Apart<AtomicUsize>,
    /// Readers that have done a round, all rounds together.
    done: Apart<AtomicUsize>,
    /// Of the fastest round.
    nanoseconds: AtomicU64,
}

/// No round.
const OVER: usize = usize::MAX;

impl Default for Exchange {
    fn default() -> Self {
        Exchange {
            lines: [const { Line(AtomicUsize::new(0)) }; LINES],
            round: Apart(AtomicUsize::new(1)),
            done: Apart::default(),
            nanoseconds: AtomicU64::new(u64::MAX),
        }
    }
}

impl Exchange {
    /// The writer's part; ends early where the readers keep it waiting longer than `patience`.
    fn write(&self, readers: usize, patience: Duration) {
        let begin = Instant::now();
        let mut fastest = u64::MAX;
        for round in 1..=ROUNDS {
            while self.done.0.load(Ordering::Acquire) < round * readers {
                if begin.elapsed() > patience {
                    self.round.0.store(OVER, Ordering::Release);
                    return;
                }
                std::hint::spin_loop();
            }
            let start = Instant::now();
            for line in &self.lines {
                line.0.store(round, Ordering::Relaxed);
            }
            // The time ends when the lines are here, not when somebody is asked for them.
            fence(Ordering::SeqCst);
            fastest = fastest.min(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
            self.round.0.store(round + 1, Ordering::Release);
        }
        self.round.0.store(OVER, Ordering::Release);
        self.nanoseconds.store(fastest, Ordering::Relaxed);
    }

    /// A reader's part.
    fn read(&self) {
        for round in 1..=ROUNDS {
            // The writer waits for every reader in every round: this is the next one, or all are over.
            super::wait(|| self.round.0.load(Ordering::Acquire) >= round);
            if self.round.0.load(Ordering::Acquire) == OVER {
                return;
            }
            for line in &self.lines {
                std::hint::black_box(line.0.load(Ordering::Relaxed));
            }
            self.done.0.fetch_add(1, Ordering::Release);
        }
    }

    /// What the writer took for all lines, unless it ended early.
    fn nanoseconds(&self) -> Option<u64> {
        let nanoseconds = self.nanoseconds.load(Ordering::Relaxed);
        (nanoseconds < u64::MAX).then_some(nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn written(exchange: &Exchange) -> [usize; LINES] {
        std::array::from_fn(|i| exchange.lines[i].0.load(Ordering::Relaxed))
    }

    /// The last round's number is in all lines, and every reader has read in every round.
    #[test]
    fn every_reader_reads_in_every_round() {
        for readers in 1..=3 {
            let exchange = Exchange::default();
            thread::scope(|scope| {
                (0..readers).for_each(|_| drop(scope.spawn(|| exchange.read())));
                exchange.write(readers, Duration::from_secs(600));
            });
            assert_eq!(written(&exchange), [ROUNDS; LINES]);
            assert_eq!(exchange.done.0.load(Ordering::Relaxed), ROUNDS * readers);
            assert!(exchange.nanoseconds().is_some());
        }
    }

    /// A reader too few: no answer, and nobody waits for ever.
    #[test]
    fn a_reader_that_does_not_come_is_not_waited_for() {
        let exchange = Exchange::default();
        thread::scope(|scope| {
            scope.spawn(|| exchange.read());
            exchange.write(2, Duration::from_millis(1));
        });
        exchange.read();
        assert_eq!(written(&exchange), [0; LINES]);
        assert_eq!(exchange.nanoseconds(), None);
    }

    /// The figures behind [`LIMIT_NS`], and when the next measurement follows.
    #[test]
    fn few_nanoseconds_speak_for_a_common_cache() {
        let lines = LINES as u64;
        assert_eq!(conclusion(Some(4 * lines)), (Some(true), EVERY));
        assert_eq!(conclusion(Some(15 * lines)), (Some(false), EVERY));
        assert_eq!(conclusion(None), (None, AGAIN));
    }

    /// Most loops do not measure.
    #[test]
    fn some_loops_measure() {
        let probe = Probe::new();
        let mut measured = Vec::new();
        for i in 0..2 * (AGAIN + 1) {
            probe.before_loop(1, |part| {
                measured.push(i);
                part(0);
            });
        }
        assert_eq!(measured, [AGAIN, 2 * AGAIN + 1]);
    }
}
