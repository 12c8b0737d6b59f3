//! Numbers that several tasks write, each in ranges of its own.

use std::marker::PhantomData;
use std::ops::Range;

/// Numbers that several tasks share.
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
