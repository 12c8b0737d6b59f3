//! Blocks of memory: aligned, taken from and returned to a free list by size class, and lent out
//! in ranges that are checked against each other at run time.
//!
//! Training asks for the same sizes in every step, so after the first step the free list serves
//! all of them and the allocator sees none.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Mutex;

/// Every block starts on a cache line, so a 64-byte vector at its start never crosses one.
const ALIGNMENT: usize = 64;

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

/// A block that no one uses at present.
struct Unused(NonNull<u8>);
// SAFETY: an unused block is a plain address that only its holder touches.
unsafe impl Send for Unused {}

/// Unused blocks by size class.
#[derive(Default)]
struct FreeList(Vec<Vec<Unused>>);

impl FreeList {
    const EMPTY: FreeList = FreeList(Vec::new());

    fn pop(&mut self, class: usize) -> Option<Unused> {
        self.0.get_mut(class).and_then(Vec::pop)
    }

    fn push(&mut self, class: usize, unused: Unused) {
        if self.0.len() <= class {
            self.0.resize_with(class + 1, Vec::new);
        }
        self.0[class].push(unused);
    }
}

/// The unused blocks that any thread may take.
static SHARED: Mutex<FreeList> = Mutex::new(FreeList::EMPTY);

/// The unused blocks of a thread's own working memory, which are in its core's cache. A thread
/// that ends leaves them to all.
#[derive(Default)]
struct Own(FreeList);

impl Drop for Own {
    fn drop(&mut self) {
        let mut shared = lock(&SHARED);
        for (class, blocks) in self.0.0.drain(..).enumerate() {
            blocks.into_iter().for_each(|unused| shared.push(class, unused));
        }
    }
}

thread_local! {
    static OWN: RefCell<Own> = RefCell::default();
}

/// The size class of `bytes` and the size that its blocks have. Four classes to a doubling: at
/// most a fifth of a block lies idle.
fn size_class(bytes: usize) -> (usize, usize) {
    let bytes = bytes.max(256);
    let exponent = bytes.ilog2() as usize;
    let quarter = (1usize << exponent) / 4;
    let step = (bytes - (1 << exponent)).div_ceil(quarter);
    (4 * exponent + step, (1 << exponent) + step * quarter)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGNMENT).expect("a block is smaller than the address space")
}

/// A block of memory, all of it initialised at all times.
pub struct Block {
    start: NonNull<u8>,
    /// Bytes that may be used.
    bytes: usize,
    /// Whether the block goes back to the thread that drops it, and not to all.
    is_own: bool,
    /// What is lent out at present.
    loans: Mutex<Vec<Loan>>,
}

// SAFETY: `start` is owned by the block, and `lend` hands out overlapping ranges only to readers.
unsafe impl Send for Block {}
// SAFETY: as above; the ledger of loans is behind a mutex.
unsafe impl Sync for Block {}

#[derive(PartialEq)]
struct Loan {
    bytes: Range<usize>,
    writes: bool,
}

impl Block {
    /// A block of at least `bytes` bytes whose content is unspecified (but initialised).
    ///
    /// # Panics
    /// If no memory is that large.
    pub fn new(bytes: usize) -> Block {
        Block::take(bytes, false)
    }

    /// The same for working memory that the thread which asks will drop: preferably a block that
    /// it used before, since that is in its core's cache.
    ///
    /// # Panics
    /// If no memory is that large.
    pub fn own(bytes: usize) -> Block {
        Block::take(bytes, true)
    }

    fn take(bytes: usize, is_own: bool) -> Block {
        assert!(bytes <= isize::MAX as usize / 2, "no memory holds a block of {bytes} bytes");
        let (class, size) = size_class(bytes);
        let own = is_own.then(|| OWN.with_borrow_mut(|own| own.0.pop(class))).flatten();
        let unused = own.or_else(|| lock(&SHARED).pop(class));
        let start = unused.map_or_else(
            || {
                // SAFETY: up to the size just checked, `size_class` returns at least 256.
                let start = unsafe { alloc_zeroed(layout(size)) };
                NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout(size)))
            },
            |unused| unused.0,
        );
        Block { start, bytes, is_own, loans: Mutex::default() }
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
        let mut loans = lock(&self.loans);
        let clash = |l: &Loan| {
            let common = l.bytes.start.max(bytes.start)..l.bytes.end.min(bytes.end);
            (l.writes || writes) && !common.is_empty()
        };
        assert!(
            !loans.iter().any(clash),
            "a buffer shares memory with another that is written at the same time"
        );
        loans.push(Loan { bytes: bytes.clone(), writes });
        bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let (class, _) = size_class(self.bytes);
        let unused = || Unused(self.start);
        let own = |own: &RefCell<Own>| own.borrow_mut().0.push(class, unused());
        // A thread that is about to end has no list of its own any more.
        if !self.is_own || OWN.try_with(own).is_err() {
            lock(&SHARED).push(class, unused());
        }
    }
}

/// Locks; a panic elsewhere leaves these lists whole, so poisoning does not matter.
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
        assert!(len * size_of::<f32>() <= block.bytes, "a block of {} bytes", block.bytes);
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
        let loan = Loan { bytes: self.bytes.clone(), writes };
        let mut loans = lock(&self.block.loans);
        let position = loans.iter().position(|l| *l == loan).expect("a loan stays on the ledger");
        loans.swap_remove(position);
    }
}

/// Elements lent for reading.
pub struct Read<'a, T>(Lent<'a, T>);

impl<T> Deref for Read<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: in bounds and unlent to writers (`lend`), aligned (blocks are to 64 bytes and
        // the range to whole elements), initialised (`alloc_zeroed`), any bits valid (`Plain`).
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
    fn classes_are_tight_and_in_order() {
        let mut last = (0, 0);
        for bytes in (1..70_000).step_by(7) {
            let (class, size) = size_class(bytes);
            assert!(size >= bytes && size * 4 <= bytes.max(256) * 5, "{bytes} -> {size}");
            assert!((class, size) >= last);
            assert_eq!(size_class(size), (class, size), "a class's own size belongs to it");
            last = (class, size);
        }
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
