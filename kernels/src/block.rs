//! Blocks of memory: aligned, taken from and returned to free lists by size class, and lent out
//! in ranges that are checked against each other at run time.
//!
//! Training asks for the same sizes in every epoch, so after the first one the free lists serve
//! all of them and the allocator sees none. That must hold whichever worker runs which task, so
//! a task's working memory comes from a list of its worker's core, and a block that is missing
//! there is made for every worker. (The system backs a block with memory only when it is used,
//! and workers above the number of cores use the same few by turns.)

mod ledger;

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Mutex;

use crate::threads::{self, MAX_THREADS};
use ledger::{Ledger, Loan};

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

/// A block that no one uses at present. It holds the next one of its list.
struct Unused(NonNull<Option<Unused>>);
// SAFETY: an unused block is a plain address that only its holder touches.
unsafe impl Send for Unused {}

/// The blocks of a size class. As a list needs no memory but theirs, none is taken to keep them.
struct Class {
    unused: Option<Unused>,
    /// Blocks that the tasks of a worker hold at present.
    held: u32,
    /// Blocks that were made for a worker's tasks.
    made: u32,
}

/// Blocks by size class. What is known of a class lies in one cache line, for that has often left
/// the cache when the next block is asked for.
struct Blocks([Class; CLASSES]);

impl Blocks {
    const NONE: Blocks = Blocks([const { Class { unused: None, held: 0, made: 0 } }; CLASSES]);

    fn pop(&mut self, class: usize) -> Option<NonNull<u8>> {
        let unused = &mut self.0[class].unused;
        let Unused(first) = unused.take()?;
        // SAFETY: `push` wrote the next one there, and nobody used the block since.
        *unused = unsafe { first.read() };
        Some(first.cast())
    }

    fn push(&mut self, class: usize, start: NonNull<u8>) {
        let (unused, first) = (&mut self.0[class].unused, start.cast());
        // SAFETY: a block has at least 256 bytes, aligned to 64, and nobody uses this one.
        unsafe { first.write(unused.take()) };
        *unused = Some(Unused(first));
    }
}

/// The blocks of results and of working memory outside of tasks, which nobody counts.
static SHARED: Mutex<Blocks> = Mutex::new(Blocks::NONE);

/// The blocks of tasks: the unused ones by the core of their worker, in whose cache they are, and
/// the counts by the place of the worker.
static OWN: [Mutex<Blocks>; MAX_THREADS] = [const { Mutex::new(Blocks::NONE) }; MAX_THREADS];

/// Where the unused blocks of the worker at `place` are, which it shares with others if there are
/// more than cores.
fn own(place: usize) -> &'static Mutex<Blocks> {
    &OWN[place % threads::cores().min(MAX_THREADS)]
}

/// How many size classes there are: four to a doubling.
const CLASSES: usize = 4 * usize::BITS as usize;

/// The size class of `bytes` and the size that its blocks have. Four classes to a doubling: at
/// most a fifth of a block lies idle.
fn size_class(bytes: usize) -> (usize, usize) {
    let bytes = bytes.max(256);
    let exponent = bytes.ilog2() as usize;
    let quarter = (1usize << exponent) / 4;
    let step = (bytes - (1 << exponent)).div_ceil(quarter);
    (4 * exponent + step, (1 << exponent) + step * quarter)
}

/// A new block of `size` bytes.
fn allocate(size: usize) -> NonNull<u8> {
    allocate_many(size, 1)
}

/// So many new blocks of `size` bytes, a multiple of [`ALIGNMENT`], one after the other; the first
/// one's start. Blocks are never given back to the allocator, so nobody needs to know where the
/// memory began.
///
/// The allocator is asked for all of them at once, and for no more than its own alignment: zeros of
/// little memory or of a larger alignment it would write, while these are pages that the system
/// gives when they are first touched.
fn allocate_many(size: usize, count: usize) -> NonNull<u8> {
    let bytes = size.checked_mul(count).and_then(|bytes| bytes.checked_add(ALIGNMENT));
    let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes, 16).ok());
    let layout = layout.expect("blocks are smaller than the address space");
    // SAFETY: the size is not 0.
    let memory = unsafe { alloc_zeroed(layout) };
    let memory = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
    // SAFETY: the first aligned byte is at most `ALIGNMENT` bytes on, inside the memory.
    unsafe { memory.add(memory.align_offset(ALIGNMENT)) }
}

/// A block of `class` for a task of the worker at `place`. If none was made for it, every worker
/// gets one: a task needs the same blocks whoever runs it, so what one lacked, no one lacks later.
/// (Only what workers of an earlier, smaller pool left may hide from one that others lack it.)
fn take_own(place: usize, class: usize, size: usize) -> NonNull<u8> {
    let lacks = {
        let Class { held, made, .. } = &mut lock(&OWN[place]).0[class];
        *held += 1;
        *held > *made
    };
    if lacks {
        // Outside of a pool the only worker is the caller, at whichever place.
        let workers = threads::count_here();
        let others = (0..workers).filter(|&worker| worker != place);
        let first = allocate_many(size, others.clone().count() + 1);
        for (i, worker) in others.chain([place]).enumerate() {
            lock(&OWN[worker]).0[class].made += 1;
            // SAFETY: there is a block for each of the workers.
            lock(own(worker)).push(class, unsafe { first.add(i * size) });
        }
    }
    let unused = lock(own(place)).pop(class);
    unused.unwrap_or_else(|| allocate(size))
}

/// Takes a block of `class` back from a task of the worker at `place`.
fn give_back_own(place: usize, class: usize, start: NonNull<u8>) {
    lock(own(place)).push(class, start);
    lock(&OWN[place]).0[class].held -= 1;
}

/// A block of memory, all of it initialised at all times.
pub struct Block {
    start: NonNull<u8>,
    /// Bytes that may be used.
    bytes: usize,
    /// The place of the worker whose tasks it goes back to; none if it goes back to all.
    home: Option<usize>,
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
        Block::take(bytes, None)
    }

    /// The same for working memory. Inside a task it is a block that this worker used before,
    /// since that is in its core's cache.
    ///
    /// # Panics
    /// If no memory is that large.
    pub fn own(bytes: usize) -> Block {
        Block::take(bytes, threads::place_of_task())
    }

    fn take(bytes: usize, home: Option<usize>) -> Block {
        assert!(bytes <= isize::MAX as usize / 2, "no memory holds a block of {bytes} bytes");
        let (class, size) = size_class(bytes);
        let start = match home {
            Some(place) => take_own(place, class, size),
            None => {
                let unused = lock(&SHARED).pop(class);
                unused.unwrap_or_else(|| allocate(size))
            }
        };
        Block { start, bytes, home, loans: Mutex::default() }
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
        let (class, _) = size_class(self.bytes);
        match self.home {
            Some(place) => give_back_own(place, class, self.start),
            None => lock(&SHARED).push(class, self.start),
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
        lock(&self.block.loans).remove(&Loan { bytes: self.bytes.clone(), writes });
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

    /// The numbers of unused blocks of a size class in the lists of the first four cores.
    fn unused(class: usize) -> [usize; 4] {
        std::array::from_fn(|core| {
            let mut list = lock(&OWN[core]);
            let all: Vec<_> = std::iter::from_fn(|| list.pop(class)).collect();
            all.iter().for_each(|&start| list.push(class, start));
            all.len()
        })
    }

    /// What one worker needed, all may need some time, and at once: the first makes it for all.
    #[test]
    fn every_worker_finds_the_working_memory_that_one_needed() {
        // A size that no other test asks for.
        let bytes = 7_777_777;
        let (class, _) = size_class(bytes);
        let two_blocks = || (Block::own(bytes), Block::own(bytes));
        // Two for each of three workers, and workers above the number of cores share.
        let mut all = [0; 4];
        (0..3).for_each(|worker| all[worker % threads::cores()] += 2);
        threads::Workers::new(3).unwrap().run(|| {
            drop(two_blocks());
            assert_eq!(unused(class), [0; 4], "outside of tasks only one thread asks");
            threads::chunks(&mut [0], 1, |_, _| drop(two_blocks()));
            assert_eq!(unused(class), all);
            let meet = std::sync::Barrier::new(3);
            threads::chunks(&mut [0; 3], 1, |_, _| {
                let _blocks = two_blocks();
                meet.wait();
                assert_eq!(unused(class), [0; 4], "all of them are in use, and no new one");
                meet.wait();
            });
            assert_eq!(unused(class), all);
        });
    }

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
