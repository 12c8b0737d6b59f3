//! Blocks of memory: aligned, taken from and returned to free lists, and lent out in ranges that
//! are checked against each other at run time.

mod ledger;
mod lists;

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Mutex;

use crate::threads;
use ledger::{Ledger, Loan};
use lists::Home;
pub(crate) use lists::cut_for_tasks;

/// What the elements of a block may be: plain numbers, for which any bit pattern is a value.
///
/// # Safety
/// Every bit pattern must be valid, zero included, with an alignment of at most 64 bytes.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: numbers are valid in every bit pattern and align to at most 8 bytes.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}

/// A block of memory, all of it initialised at all times.
pub struct Block {
    start: NonNull<u8>,
    /// Bytes that may be used.
    bytes: usize,
    home: Home,
    /// What is lent out at present.
    loans: Mutex<Ledger>,
}

// SAFETY: `start` is owned by the block, and `lend` hands out overlapping ranges only to readers.
unsafe impl Send for Block {}
// SAFETY: as above; the ledger of loans is behind a mutex.
unsafe impl Sync for Block {}

impl Block {
    /// A block of at least `bytes` bytes whose content is unspecified (but initialised).
    ///
    /// # Panics
    /// If no memory is that large.
    pub fn new(bytes: usize) -> Block {
        Block::take(bytes, Home::Results)
    }

    /// The same for working memory. Inside a task it is a block that this worker used before,
    /// since that is in its core's cache; outside, one that never held a result.
    ///
    /// # Panics
    /// If no memory is that large.
    pub fn own(bytes: usize) -> Block {
        Block::take(bytes, threads::place_of_task().map_or(Home::Loops, Home::Tasks))
    }

    fn take(bytes: usize, home: Home) -> Block {
        assert!(bytes <= isize::MAX as usize / 2, "no memory holds a block of {bytes} bytes");
        Block { start: lists::take(bytes, home), bytes, home, loans: Mutex::default() }
    }

    /// Lends elements `range` for reading.
    ///
    /// # Panics
    /// If the range leaves the block or someone is writing to a part of it.
    #[track_caller]
    pub fn read<T: Plain>(&self, range: Range<usize>) -> Read<'_, T> {
        let bytes = self.lend::<T>(&range, false);
        Read(Lent { block: self, bytes, elements: PhantomData })
    }

    /// Lends elements `range` for writing.
    ///
    /// # Panics
    /// If the range leaves the block or any part of it is lent out already.
    #[track_caller]
    pub fn write<T: Plain>(&self, range: Range<usize>) -> Write<'_, T> {
        let bytes = self.lend::<T>(&range, true);
        Write(Lent { block: self, bytes, elements: PhantomData })
    }

    #[track_caller]
    fn lend<T>(&self, range: &Range<usize>, writes: bool) -> Range<usize> {
        let size = size_of::<T>();
        let end = range.end.checked_mul(size);
        assert!(
            range.start <= range.end && end.is_some_and(|end| end <= self.bytes),
            "elements {range:?} of {size} bytes leave a block of {} bytes",
            self.bytes
        );
        let bytes = range.start * size..range.end * size;
        let lent = lock(&self.loans).add(Loan { bytes: bytes.clone(), writes });
        assert!(lent, "a buffer shares memory with another that is written at the same time");
        bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: it came from there with the same arguments, and its loans are over.
        unsafe { lists::give_back(self.start, self.bytes, self.home) };
    }
}

/// Locks; a panic elsewhere leaves what is locked here whole, so poisoning does not matter.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// f32 of a block that nobody can write to any more.
pub struct Frozen {
    block: Block,
    len: usize,
}

impl Frozen {
    /// The first `len` numbers of `block`.
    ///
    /// # Panics
    /// If the block is smaller.
    pub fn new(block: Block, len: usize) -> Frozen {
        let bytes = len.checked_mul(size_of::<f32>());
        assert!(
            bytes.is_some_and(|bytes| bytes <= block.bytes),
            "a block of {} bytes",
            block.bytes
        );
        Frozen { block, len }
    }
}

impl Deref for Frozen {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: in bounds (`new`), aligned and initialised as for `Read`; the block is owned
        // and never lent, so nobody writes to it.
        unsafe { std::slice::from_raw_parts(self.block.start.as_ptr().cast(), self.len) }
    }
}

struct Lent<'a, T> {
    block: &'a Block,
    bytes: Range<usize>,
    elements: PhantomData<T>,
}

impl<T> Lent<'_, T> {
    fn start(&self) -> *mut T {
        // SAFETY: `lend` checked that the range lies inside the block.
        unsafe { self.block.start.as_ptr().add(self.bytes.start) }.cast()
    }
    fn len(&self) -> usize {
        (self.bytes.end - self.bytes.start) / size_of::<T>()
    }
    fn give_back(&self, writes: bool) {
        lock(&self.block.loans).remove(&Loan { bytes: self.bytes.clone(), writes });
    }
}

/// Elements lent for reading.
pub struct Read<'a, T>(Lent<'a, T>);

impl<T> Deref for Read<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: in bounds and unlent to writers (`lend`), aligned (blocks are to 64 bytes and
        // the range to whole elements), initialised (both by `lists::take`), any bits valid
        // (`Plain`).
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }
}

impl<T> Drop for Read<'_, T> {
    fn drop(&mut self) {
        self.0.give_back(false);
    }
}

/// Elements lent for writing.
pub struct Write<'a, T>(Lent<'a, T>);

impl<T> Deref for Write<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: as for `Read`; this loan excludes all others.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }
}

impl<T> DerefMut for Write<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `Read`; this loan excludes all others, and `&mut self` excludes itself.
        unsafe { std::slice::from_raw_parts_mut(self.0.start(), self.0.len()) }
    }
}

impl<T> Drop for Write<'_, T> {
    fn drop(&mut self) {
        self.0.give_back(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unused_block_serves_again() {
        // A size that no other test asks for.
        let bytes = 3_333_333;
        let [a, b] = [Block::new(bytes), Block::new(bytes)];
        let [first, second] = [a.start, b.start];
        assert_ne!(first, second);
        drop(a);
        drop(b);
        let [b, a] = [Block::new(bytes), Block::new(bytes)];
        assert_eq!([a.start, b.start], [first, second], "the last that came back goes first");
    }

    #[test]
    fn disjoint_ranges_may_be_written_together() {
        let block = Block::new(64);
        let (mut a, mut b) = (block.write::<f32>(0..8), block.write::<f32>(8..16));
        a.fill(1.0);
        b.fill(2.0);
        assert_eq!((a[7], b[0]), (1.0, 2.0));
    }

    #[test]
    #[should_panic(expected = "written at the same time")]
    fn overlapping_write_panics() {
        let block = Block::new(64);
        let _a = block.read::<f32>(0..9);
        let _b = block.write::<f32>(8..16);
    }

    #[test]
    fn an_empty_range_clashes_with_nothing() {
        let block = Block::new(64);
        let _a = block.write::<f32>(0..16);
        assert!(block.read::<f32>(5..5).is_empty());
    }

    #[test]
    #[should_panic(expected = "no memory holds")]
    fn an_impossible_size_panics() {
        let _ = Block::new(usize::MAX - 3);
    }

    #[test]
    #[should_panic(expected = "leave a block")]
    fn range_outside_panics() {
        let block = Block::new(64);
        let _a = block.read::<f64>(0..9);
    }
}
