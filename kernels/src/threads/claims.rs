//! Who does which part of a loop: everybody a range of his own first, then what others left.
//!
//! A worker that does the same images in one loop after the other finds them in its own cache,
//! which counts most where the cores do not share one.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Line;

/// Workers that have a part of every loop of their own.
const RANGES: usize = 16;

/// The calls `0..count` of a loop, each of which is claimed once. At most [`RANGES`] workers have
/// ranges of their own; more of them share these.
pub(super) struct Claims {
    count: usize,
    ranges: usize,
    /// Where each range goes on.
    next: [Line<AtomicUsize>; RANGES],
}

impl Claims {
    /// Nothing is claimed yet, and as many ranges as `workers`, if these are not too many.
    pub fn new(count: usize, workers: usize) -> Self {
        let ranges = workers.clamp(1, RANGES);
        let start = |i| if i < ranges { count * i / ranges } else { 0 };
        let next = std::array::from_fn(|i| Line(AtomicUsize::new(start(i))));
        Claims { count, ranges, next }
    }

    /// A call that nobody has claimed, preferably of worker `who`'s range.
    pub fn claim(&self, who: usize) -> Option<usize> {
        (0..self.ranges).map(|i| (who + i) % self.ranges).find_map(|range| {
            let end = self.count * (range + 1) / self.ranges;
            take_below(&self.next[range].0, end)
        })
    }
}

/// The next number of a counter if it is below `end`; each is given once, and the counter never goes
/// past `end`.
pub(super) fn take_below(next: &AtomicUsize, end: usize) -> Option<usize> {
    let following = |number| (number < end).then_some(number + 1);
    next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, following).ok()
}

#[cfg(test)]
mod tests {
    use super::Claims;

    #[test]
    fn every_call_is_claimed_once_and_ones_own_first() {
        for count in 0..40 {
            for workers in 1..20 {
                let claims = Claims::new(count, workers);
                let mut claimed: Vec<usize> =
                    std::iter::from_fn(|| claims.claim(workers / 2)).collect();
                if workers == 2 && count > 1 {
                    assert_eq!(claimed[0], count / 2, "the second half belongs to the second");
                }
                claimed.sort_unstable();
                assert_eq!(claimed, (0..count).collect::<Vec<_>>());
                assert_eq!(claims.claim(0), None);
            }
        }
    }
}
