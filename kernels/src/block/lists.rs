//! Where blocks come from: free lists by size class, and regions of memory behind them.
//!
//! Training asks for the same sizes in every epoch, so after the first one the free lists serve
//! all of them and the allocator sees none. That must hold whichever worker runs which task, so
//! a task's working memory comes from a list of its worker's core, and a block that is missing
//! there is made for every worker. (The system backs a block with memory only when it is used,
//! and workers above the number of cores use the same few by turns.)
//!
//! A core's blocks lie apart from those of the others, in [`Region`]s; all other blocks come
//! straight from the allocator.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lock;
use crate::threads::{self, MAX_THREADS};

/// Every block starts on a cache line, so a 64-byte vector at its start never crosses one.
const ALIGNMENT: usize = 64;

/// Bytes of a region. Most are never used, and a system that backs pages when they are first
/// touched has no memory for them.
const REGION: usize = 32 << 20;

/// Bytes behind a region that stay unused.
const APART: usize = 64 << 10;

/// How many blocks have been cut from regions.
static CUT: AtomicUsize = AtomicUsize::new(0);

/// A block that no one uses at present. It holds the next one of its list.
struct Unused(NonNull<Option<Unused>>);
// SAFETY: an unused block is a plain address that only its holder touches.
unsafe impl Send for Unused {}

/// The blocks of a size class, in one cache line. As a list needs no memory but theirs, none is taken
/// to keep them.
#[repr(align(16))]
struct Class {
    unused: Option<Unused>,
    /// Blocks that the tasks of a worker hold at present.
    held: u32,
    /// Blocks that were made for a worker's tasks.
    made: u32,
}

/// Memory that a core's blocks are cut from.
///
/// A processor that sees accesses with some step fetches ahead by that step, past the end of what is
/// accessed too, and steps may be tens of kilobytes long. Next to the blocks that another core
/// writes to it would take lines away from there again and again, which costs cores without a common
/// cache a third of their speed. So neighbours in memory belong to the same core.
struct Region {
    start: NonNull<u8>,
    /// Bytes that no block has been cut from.
    left: usize,
}
// SAFETY: it owns the memory that is left.
unsafe impl Send for Region {}

impl Region {
    const NONE: Region = Region { start: NonNull::dangling(), left: 0 };

    /// A new block of `size` bytes, a multiple of [`ALIGNMENT`].
    fn cut(&mut self, size: usize) -> NonNull<u8> {
        assert!(size > 0 && size.is_multiple_of(ALIGNMENT), "blocks end where lines do");
        CUT.fetch_add(1, Ordering::Relaxed);
        if size > REGION / 2 {
            return allocate(size + APART);
        }
        if self.left < size {
            *self = Region { start: allocate(REGION + APART), left: REGION };
        }
        let block = self.start;
        self.left -= size;
        // SAFETY: `size` bytes were left, as just checked or just allocated, so this is their end at
        // most.
        self.start = unsafe { self.start.add(size) };
        block
    }
}

/// How many blocks have been cut for the tasks of all workers since the program began.
pub(crate) fn cut_for_tasks() -> usize {
    CUT.load(Ordering::Relaxed)
}

/// Blocks by size class. What is known of a class lies in one cache line, for that has often left
/// the cache when the next block is asked for.
struct Blocks {
    classes: [Class; CLASSES],
    /// Where new blocks come from; only the cores' lists use it.
    region: Region,
}

impl Blocks {
    const NONE: Blocks = Blocks {
        classes: [const { Class { unused: None, held: 0, made: 0 } }; CLASSES],
        region: Region::NONE,
    };

    fn pop(&mut self, class: usize) -> Option<NonNull<u8>> {
        let unused = &mut self.classes[class].unused;
        let Unused(first) = unused.take()?;
        // SAFETY: `push` wrote the next one there, and nobody used the block since.
        *unused = unsafe { first.read() };
        Some(first.cast())
    }

    /// # Safety
    /// A block of this class that nobody uses must begin at `start`.
    unsafe fn push(&mut self, class: usize, start: NonNull<u8>) {
        let (unused, first) = (&mut self.classes[class].unused, start.cast());
        // SAFETY: a block has at least 256 bytes, aligned to 64, and nobody uses this one.
        unsafe { first.write(unused.take()) };
        *unused = Some(Unused(first));
    }
}

/// Who uses a block, and which list it goes back to.
#[derive(Clone, Copy)]
pub(super) enum Home {
    /// It holds a result.
    Results,
    /// It is working memory outside of tasks, whose parts the tasks of a loop write.
    Loops,
    /// It is working memory of the tasks of the worker at this place.
    Tasks(usize),
}

/// The blocks of results, which nobody counts.
static RESULTS: Mutex<Blocks> = Mutex::new(Blocks::NONE);

/// Those of loops. What the tasks of one loop write there, tasks of the next sum up on whichever
/// core, so parts are in another core's cache, and whoever writes a result there has to take them
/// back first. The next loop's tasks need not, where they write past the caches (`cpu/handover.rs`).
static LOOPS: Mutex<Blocks> = Mutex::new(Blocks::NONE);

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

/// `bytes` of new memory, zeros, which is never given back to the allocator.
///
/// The allocator is asked for no more than its own alignment: zeros of a larger one it would write,
/// while large memory comes as pages that the system gives when they are first touched.
fn allocate(bytes: usize) -> NonNull<u8> {
    let layout = bytes.checked_add(ALIGNMENT).and_then(|all| Layout::from_size_align(all, 16).ok());
    let layout = layout.expect("blocks are smaller than the address space");
    // SAFETY: the size is not 0.
    let memory = unsafe { alloc_zeroed(layout) };
    let memory = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
    // SAFETY: the first aligned byte is at most `ALIGNMENT` bytes on, inside the memory.
    unsafe { memory.add(memory.align_offset(ALIGNMENT)) }
}

/// A block of at least `bytes` bytes, all of them initialised, that begins at a multiple of 64.
pub(super) fn take(bytes: usize, home: Home) -> NonNull<u8> {
    let (class, size) = size_class(bytes);
    let unused = match home {
        Home::Results => lock(&RESULTS).pop(class),
        Home::Loops => lock(&LOOPS).pop(class),
        Home::Tasks(place) => return take_own(place, class, size),
    };
    unused.unwrap_or_else(|| allocate(size))
}

/// Takes a block back.
///
/// # Safety
/// [`take`] gave it for the same `bytes` and `home`, and nobody uses it any more.
pub(super) unsafe fn give_back(start: NonNull<u8>, bytes: usize, home: Home) {
    let (class, _) = size_class(bytes);
    let list = match home {
        Home::Results => &RESULTS,
        Home::Loops => &LOOPS,
        Home::Tasks(place) => own(place),
    };
    // SAFETY: `take` gave a block of this class, which nobody uses, as the caller promises.
    unsafe { lock(list).push(class, start) };
    if let Home::Tasks(place) = home {
        lock(&OWN[place]).classes[class].held -= 1;
    }
}

/// A block of `class` for a task of the worker at `place`. If none was made for it, every worker
/// gets one: a task needs the same blocks whoever runs it, so what one lacked, no one lacks later.
/// (Only what workers of an earlier, smaller pool left may hide from one that others lack it.)
fn take_own(place: usize, class: usize, size: usize) -> NonNull<u8> {
    let lacks = {
        let Class { held, made, .. } = &mut lock(&OWN[place]).classes[class];
        *held += 1;
        *held > *made
    };
    if lacks {
        // Outside of a pool the only worker is the caller, at whichever place.
        let workers = threads::count_here();
        let others = (0..workers).filter(|&worker| workers > 1 && worker != place);
        for worker in others.chain([place]) {
            lock(&OWN[worker]).classes[class].made += 1;
            let mut blocks = lock(own(worker));
            let block = blocks.region.cut(size);
            // SAFETY: it is new and has this class's size.
            unsafe { blocks.push(class, block) };
        }
    }
    let mut blocks = lock(own(place));
    blocks.pop(class).unwrap_or_else(|| blocks.region.cut(size))
}

#[cfg(test)]
mod tests {
    use super::super::Block;
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
    fn blocks_of_a_region_follow_each_other() {
        let [mut a, mut b] = [Region::NONE, Region::NONE];
        let cuts = [256, 640, 1 << 20].map(|size| [a.cut(size), b.cut(size)].map(|at| at.addr()));
        for of_one in [0, 1].map(|region| cuts.map(|cut| cut[region].get())) {
            assert_eq!(of_one.map(|at| at - of_one[0]), [0, 256, 256 + 640]);
            assert!(of_one[0].is_multiple_of(ALIGNMENT));
        }
        let left = a.left;
        a.cut(REGION / 2 + 64);
        assert_eq!(a.left, left, "a large block is a region of its own");
        while a.left >= 1 << 20 {
            a.cut(1 << 20);
        }
        a.cut(1 << 20);
        assert_eq!(a.left, REGION - (1 << 20), "the next region");
    }

    #[test]
    fn the_blocks_of_cores_lie_apart() {
        let (all, meet) = (Mutex::new(Vec::new()), std::sync::Barrier::new(3));
        threads::Workers::new(3).unwrap().run(|| {
            threads::chunks(&mut [0; 3], 1, |_, _| {
                let core = threads::place_of_task().expect("inside a task") % threads::cores();
                // Sizes that no other test asks for.
                let blocks = [5_000, 50_000, 7_000].map(Block::own);
                lock(&all).extend(blocks.iter().map(|block| (core, block.start.addr().get())));
                meet.wait();
            });
        });
        let all = all.into_inner().unwrap();
        for (core, at) in &all {
            for (other, its) in all.iter().filter(|(other, _)| other != core) {
                let apart = at.abs_diff(*its);
                assert!(apart >= APART, "blocks of cores {core} and {other}, {apart} bytes apart");
            }
        }
    }

    #[test]
    fn memory_of_loops_was_never_a_result() {
        // A size that no other test asks for.
        let bytes = 4_444_444;
        let result = Block::new(bytes);
        let start = result.start;
        drop(result);
        assert_ne!(Block::own(bytes).start, start, "outside of a task");
        assert_eq!(Block::new(bytes).start, start);
    }

    /// The numbers of unused blocks of a size class in the lists of the first four cores.
    fn unused(class: usize) -> [usize; 4] {
        std::array::from_fn(|core| {
            let mut list = lock(&OWN[core]);
            let all: Vec<_> = std::iter::from_fn(|| list.pop(class)).collect();
            // SAFETY: they were just taken from there.
            all.iter().for_each(|&start| unsafe { list.push(class, start) });
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
}
