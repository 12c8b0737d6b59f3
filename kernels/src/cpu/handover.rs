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
/// Others see what was written when this goes, before anything that its thread writes later.
pub(super) struct HandOver<S: Simd> {
    simd: S,
    past_caches: bool,
}

impl<S: Simd> HandOver<S> {
    /// To the other workers of the caller's pool. In a pool of one, results stay in the cache.
    pub fn to_others(simd: S) -> HandOver<S> {
        HandOver { simd, past_caches: threads::count() > 1 }
    }

    /// Like [`Simd::store`].
    ///
    /// # Safety
    /// 16 f32 must be writable at `to`.
    #[inline(always)]
    pub unsafe fn store(&self, to: *mut f32, v: S::V) {
        // SAFETY: the caller guarantees the place.
        unsafe {
            if self.past_caches {
                self.simd.store_past_caches(to, v);
            } else {
                self.simd.store(to, v);
            }
        }
    }

    /// Like [`Simd::store_slice`].
    #[inline(always)]
    pub fn store_slice(&self, to: &mut [f32], v: S::V) {
        if to.len() < LANES {
            return self.simd.store_slice(to, v);
        }
        // SAFETY: the slice holds 16 elements, as just checked.
        unsafe { self.store(to.as_mut_ptr(), v) };
    }
}

impl<S: Simd> Drop for HandOver<S> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.past_caches {
            self.simd.end_past_caches();
        }
    }
}
