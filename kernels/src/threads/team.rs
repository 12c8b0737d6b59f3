//! A team of workers for a whole training: they enter rayon's pool once and then wait awake for
//! one piece of work after the other, most of them parallel loops.
//!
//! A step is some fifty loops of a few hundred microseconds. A pool whose workers fall asleep in
//! between pays for waking them, and on a virtual machine that is as long as a small loop. Here
//! a worker that runs out of work looks for the next loop for about a millisecond before it
//! sleeps, unless there are more workers than cores.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Apart;
use super::claims::Claims;
use super::probe::Probe;

/// How long a worker waits awake for the next loop.
const AWAKE: Duration = Duration::from_millis(1);
/// Looks at a counter between two looks at the clock.
const SPINS: usize = 200;

/// Work that every worker takes a part in.
struct Work<'a> {
    /// A worker's part, by who it is.
    part: &'a (dyn Fn(usize) + Sync),
    /// Of the first part that panicked on a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Workers that do one piece of work after the other together. One thread leads, the others help.
pub(super) struct Team {
    helpers: usize,
    /// How long a helper waits awake.
    awake: Duration,
    news: Apart<News>,
    /// Helpers that may be looking at the work in progress.
    inside: Apart<AtomicUsize>,
    /// How many helpers sleep.
    asleep: Apart<Mutex<usize>>,
    wake: Condvar,
    probe: Probe,
}

/// What helpers look for.
struct News {
    /// Counts the pieces of work, so that a helper sees a new one.
    generation: AtomicUsize,
    /// The work in progress; null in between.
    current: AtomicPtr<Work<'static>>,
    over: AtomicBool,
}

thread_local! {
    /// The team that this thread leads.
    static LEADS: Cell<*const Team> = const { Cell::new(ptr::null()) };
}

impl Team {
    /// A team of `threads` workers, which wait awake if each has a core.
    fn new(threads: usize) -> Team {
        Team {
            helpers: threads - 1,
            news: Apart(News {
                generation: AtomicUsize::new(0),
                current: AtomicPtr::new(ptr::null_mut()),
                over: AtomicBool::new(false),
            }),
            inside: Apart(AtomicUsize::new(0)),
            asleep: Apart(Mutex::new(0)),
            wake: Condvar::new(),
            probe: Probe::new(),
            awake: if threads <= super::cores() { AWAKE } else { Duration::ZERO },
        }
    }

    /// Calls `lead` on this thread of a pool of `threads` workers; the loops that it begins are
    /// shared with the others.
    pub fn run<R: Send>(threads: usize, lead: impl FnOnce() -> R + Send) -> R {
        if threads < 2 || Team::is_led() {
            return lead();
        }
        let team = Team::new(threads);
        let lead = || {
            let _leading = Leading::new(&team);
            lead()
        };
        super::beside(team.helpers, |who| team.help(who), lead)
    }

    /// Whether this thread leads a team.
    pub fn is_led() -> bool {
        !LEADS.get().is_null()
    }

    /// Calls `body(i)` for `i` in `0..count` on the team that this thread leads; says no where it
    /// leads none. From time to time it measures first, by [`Probe`].
    pub fn lead(count: usize, body: &(dyn Fn(usize) + Sync)) -> bool {
        Team::with_led(|team| {
            // Helpers that sleep would be measured waking up. The last answer stays then.
            if !team.awake.is_zero() {
                team.probe.before_loop(team.helpers, |part| team.share(part));
            }
            let claims = Claims::new(count, team.helpers + 1);
            team.share(&|who| {
                while let Some(i) = claims.claim(who) {
                    body(i);
                }
            });
        })
    }

    /// Calls `part(0)` here and `part(who)` on whichever helper of the team that this thread leads
    /// comes before that returns; says no where it leads none. A helper may come twice, once it has
    /// done its part.
    pub fn call(part: &(dyn Fn(usize) + Sync)) -> bool {
        Team::with_led(|team| team.share(part))
    }

    /// Calls `body` with the team that this thread leads; says no where it leads none.
    fn with_led(body: impl FnOnce(&Team)) -> bool {
        // SAFETY: `Leading` sets the pointer while it borrows the team, and clears it before
        // that ends; this thread cannot end it before `body` returns.
        unsafe { LEADS.get().as_ref() }.map(body).is_some()
    }

    fn share(&self, part: &(dyn Fn(usize) + Sync)) {
        let work = Work { part, panic: Mutex::default() };
        let News { generation, current, .. } = &self.news.0;
        current.store(ptr::from_ref(&work).cast_mut().cast(), Ordering::Release);
        generation.fetch_add(1, Ordering::SeqCst);
        if *lock(&self.asleep.0) > 0 {
            self.wake.notify_all();
        }
        let led = {
            // A loop inside a part is not shared again.
            let _alone = Alone(LEADS.replace(ptr::null()));
            catch_unwind(AssertUnwindSafe(|| part(0)))
        };
        // From here on no helper looks at the work anew; those that do have counted themselves.
        current.store(ptr::null_mut(), Ordering::SeqCst);
        super::wait(|| self.inside.0.load(Ordering::SeqCst) == 0);
        let helped = lock(&work.panic).take();
        if let Some(panic) = led.err().or(helped) {
            resume_unwind(panic);
        }
    }

    /// The life of helper `who`: one piece of work after the other until the team is dissolved.
    fn help(&self, who: usize) {
        let News { generation, current, over } = &self.news.0;
        let mut seen = 0;
        while !over.load(Ordering::SeqCst) {
            if generation.load(Ordering::SeqCst) == seen {
                self.rest(seen);
                continue;
            }
            seen = generation.load(Ordering::SeqCst);
            self.inside.0.fetch_add(1, Ordering::SeqCst);
            let current = current.load(Ordering::SeqCst);
            if !current.is_null() {
                // SAFETY: the leader waits until `inside` is 0 after it has set `current` to null,
                // so work that was seen after counting oneself outlives the count.
                let work = unsafe { &*current };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (work.part)(who))) {
                    lock(&work.panic).get_or_insert(panic);
                }
            }
            self.inside.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Waits for a piece of work after number `seen`, awake at first.
    fn rest(&self, seen: usize) {
        let News { generation, over, .. } = &self.news.0;
        let news = || generation.load(Ordering::SeqCst) != seen || over.load(Ordering::SeqCst);
        let start = Instant::now();
        while start.elapsed() < self.awake {
            for _ in 0..SPINS {
                if news() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        let mut asleep = lock(&self.asleep.0);
        *asleep += 1;
        while !news() {
            asleep = self.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
        *asleep -= 1;
    }
}

/// Locks; no code that may panic runs under these locks, so poisoning does not matter.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, this thread leads a team; then the team is dissolved.
struct Leading<'a>(&'a Team);

impl<'a> Leading<'a> {
    fn new(team: &'a Team) -> Leading<'a> {
        LEADS.set(ptr::from_ref(team));
        Leading(team)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        LEADS.set(ptr::null());
        self.0.news.0.over.store(true, Ordering::SeqCst);
        let _asleep = lock(&self.0.asleep.0);
        self.0.wake.notify_all();
    }
}

/// While it lives, this thread leads nobody.
struct Alone(*const Team);

impl Drop for Alone {
    fn drop(&mut self) {
        LEADS.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::threads::Workers;

    /// Many short loops: every call is made once, and all are over when the loop is.
    #[test]
    fn every_call_is_made_once() {
        for threads in 1..=5 {
            let workers = Workers::new(threads).unwrap();
            let calls: Vec<AtomicU32> = (0..7).map(|_| AtomicU32::new(0)).collect();
            workers.run(|| {
                for round in 1..=2000 {
                    let counted = |i: usize| {
                        calls[i].fetch_add(1, Ordering::Relaxed);
                    };
                    if !Team::lead(calls.len(), &counted) {
                        (0..calls.len()).for_each(counted);
                    }
                    let all = calls.iter().all(|calls| calls.load(Ordering::Relaxed) == round);
                    assert!(all, "{threads} threads, round {round}");
                    if round % 700 == 0 {
                        // Helpers fall asleep, and are woken again.
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        }
    }

    /// A body that panics ends its loop with its message, and the team goes on.
    #[test]
    fn a_panic_is_the_leaders() {
        Workers::new(3).unwrap().run(|| {
            let faulty = |i: usize| assert!(i != 11, "call {i} failed");
            let panic = catch_unwind(|| Team::lead(50, &faulty)).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), "call 11 failed");
            assert!(Team::lead(5, &|_| {}));
        });
    }

    /// A loop in the body of a loop runs where it is.
    #[test]
    fn loops_inside_loops_are_not_shared() {
        Workers::new(2).unwrap().run(|| {
            let led = AtomicU32::new(0);
            Team::lead(8, &|_| {
                led.fetch_add(Team::lead(3, &|_| {}).into(), Ordering::Relaxed);
            });
            assert_eq!(led.load(Ordering::Relaxed), 0);
        });
    }
}
