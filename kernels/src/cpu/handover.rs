//! Results that go past the caches, since other cores read them next or they would not stay there.

use super::simd::{LANES, Simd};
use crate::threads;

/// Numbers of an array that would not be found in the caches when it is written anew.
const LARGE: usize = 1 << 20;

/// How results are written that other workers read and that are written anew in every step: to the
/// caches, or past them.
///
/// A core that writes to a cache line which another core has read since must take it back first.
/// Where the two cores share no cache, that took 28 ns a line on the processor that this was measured
/// on; fetching lines ahead for writing does not help. Written past the caches a line takes 2 ns, and
/// its readers, whose processors run ahead of them, 1.6 instead of 0.8. Where they share a cache, lines
/// are taken back in 2 to 6 ns, and small arrays are better left there. Large ones, on one thread too,
/// are gone from it before anybody reads them, and packed weights would be fetched only to be
/// overwritten.
///
/// To end it when it is dropped would be safer, but then the compiler keeps it in memory: on one
/// thread a step of one image took 1.6 times as long.
#[derive(Clone, Copy)]
pub(super) struct HandOver {
    past_caches: bool,
}

impl HandOver {
    /// Of so many numbers: an array whose parts several tasks write, or what one task writes of a larger
    /// one.
    ///
    /// # Safety
    /// [`HandOver::end`] must follow before anybody uses what is written, this thread included, and
    /// nothing may panic in between.
    pub unsafe fn of(numbers: usize) -> HandOver {
        let far = threads::count() > 1 && !threads::have_common_cache();
        HandOver { past_caches: far || numbers >= LARGE }
    }

    /// Like [`Simd::store`].
    ///
    /// # Safety
    /// 16 f32 must be writable at `to`.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(self, s: S, to: *mut f32, v: S::V) {
        // SAFETY: the caller guarantees the place.
        unsafe { if self.past_caches { s.store_past_caches(to, v) } else { s.store(to, v) } }
    }

    /// Like [`Simd::store_slice`].
    #[inline(always)]
    pub fn store_slice<S: Simd>(self, s: S, to: &mut [f32], v: S::V) {
        if to.len() < LANES {
            return s.store_slice(to, v);
        }
        // SAFETY: the slice holds 16 elements, as just checked.
        unsafe { self.store(s, to.as_mut_ptr(), v) };
    }

    /// Ends what was written by this thread: others see it before anything that it writes later.
    #[inline(always)]
    pub fn end<S: Simd>(self, s: S) {
        if self.past_caches {
            s.end_past_caches();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;
    use crate::cpu::simd::Kernel;

    /// Writes 1 to every number but those of the first vector.
    struct Ones<'a> {
        out: HandOver,
        to: &'a mut [f32],
    }

    impl Kernel for Ones<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for to in self.to.chunks_mut(LANES).skip(1) {
                self.out.store_slice(s, to, s.splat(1.0));
            }
            self.out.end(s);
        }
    }

    /// Both ways write the same numbers, also where the slice does not begin or end with a cache
    /// line, and nothing beside them.
    #[test]
    fn both_ways_write_the_same() {
        for isa in Isa::available() {
            for past_caches in [false, true] {
                for start in 0..LANES {
                    let mut numbers = [0.0; 5 * LANES];
                    let end = numbers.len() - start / 2;
                    let to = &mut numbers[start..end];
                    isa.run(Ones { out: HandOver { past_caches }, to });
                    let expected =
                        |i: usize| if (start + LANES..end).contains(&i) { 1.0 } else { 0.0 };
                    assert_eq!(numbers, std::array::from_fn(expected), "{isa:?} from {start}");
                }
            }
        }
    }
}
