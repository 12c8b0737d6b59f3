//! Results that other cores read next.

use super::simd::{LANES, Simd};
use crate::threads;

/// How results are written that other workers read and this one writes anew in every step.
///
/// A core that writes to a cache line which another core has read since must take it back first.
/// On the processor that this was measured on that takes 6 ns a line, and 28 where the two cores
/// share no cache; fetching lines ahead for writing does not help. Written past the caches a line
/// takes 2 ns, and its readers, whose processors run ahead of them, 1.6 instead of 0.8.
///
/// To end it when it is dropped would be safer, but then the compiler keeps it in memory: on one
/// thread a step of one image took 1.6 times as long.
#[derive(Clone, Copy)]
pub(super) struct HandOver {
    past_caches: bool,
}

impl HandOver {
    /// To the other workers of the caller's pool. In a pool of one, results stay in the cache.
    ///
    /// # Safety
    /// [`HandOver::end`] must follow before any other thread is told that results are there. After a
    /// panic there are none.
    pub unsafe fn to_others() -> HandOver {
        HandOver { past_caches: threads::count() > 1 }
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
