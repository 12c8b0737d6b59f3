//! Loops over slices that are cut into chunks: task i writes chunk i of each.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use super::share;

/// Calls `task(i, chunk)` for the consecutive chunks of `length` elements of `out`.
pub fn chunks<T: Send>(out: &mut [T], length: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    each(cut(out, length), task);
}

/// Calls `task(i, chunk)` for every chunk of `outputs`: one of [`cut`], or a tuple of such, whose
/// chunks come as a tuple. A slice that is empty, because nobody wants it, has an empty chunk wherever
/// the others have one.
///
/// # Panics
/// If the outputs do not all fall into the same number of chunks.
pub(crate) fn each<O: Outputs>(outputs: O, task: impl Fn(usize, O::Chunk) + Sync) {
    run((outputs, task));
}

/// Runs the tasks of a loop, or of several at once: outputs with the task for each of their chunks as
/// [`each`] takes them, or [`Beside`] of two loops.
///
/// # Panics
/// If the outputs of a loop do not all fall into the same number of chunks.
pub(crate) fn run(tasks: impl Loop) {
    // SAFETY: `share` calls each `i` once, and the loop is gone after that.
    share(tasks.count(), |i| unsafe { tasks.call(i) });
}

/// Tasks that write outputs.
pub(crate) trait Loop: Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Calls task `i`.
    ///
    /// # Safety
    /// Nobody may call the same one twice.
    unsafe fn call(&self, i: usize);
}

impl<O: Outputs, F: Fn(usize, O::Chunk) + Sync> Loop for (O, F) {
    fn count(&self) -> usize {
        self.0.checked_count()
    }

    unsafe fn call(&self, i: usize) {
        // SAFETY: as the caller promises.
        self.1(i, unsafe { self.0.take(i) });
    }
}

/// No tasks.
impl Loop for () {
    fn count(&self) -> usize {
        0
    }

    unsafe fn call(&self, _: usize) {}
}

/// Two loops at once. The tasks of the first, which should be the longer ones, are spread among those
/// of the second.
pub(crate) struct Beside<A, B>(pub A, pub B);

impl<A: Loop, B: Loop> Loop for Beside<A, B> {
    fn count(&self) -> usize {
        self.0.count() + self.1.count()
    }

    unsafe fn call(&self, i: usize) {
        let (firsts, all) = (self.0.count(), self.count());
        // How many of the calls before `i` are the first loop's: 0, 1, ... and each at most once.
        let before = |i: usize| (i * firsts).div_ceil(all);
        let place = before(i);
        // SAFETY: each `i` of the first loop has a place of its own, and the places of the second are
        // all the others in turn; no `i` comes twice, as the caller promises.
        unsafe {
            match before(i + 1) > place {
                true => self.0.call(place),
                false => self.1.call(i - place),
            }
        }
    }
}

/// Whether `test` holds for every chunk: an order-free question, so any schedule may answer it.
pub(crate) fn all_chunks<T: Sync>(
    data: &[T],
    length: usize,
    test: impl Fn(&[T]) -> bool + Sync,
) -> bool {
    assert!(length > 0, "chunks of no length");
    let holds = AtomicBool::new(true);
    share(data.len().div_ceil(length), |i| {
        let chunk = &data[i * length..data.len().min((i + 1) * length)];
        if !test(chunk) {
            holds.store(false, Ordering::Relaxed);
        }
    });
    holds.into_inner()
}

/// `slice` in chunks of `length` elements.
pub(crate) fn cut<T>(slice: &mut [T], length: usize) -> Chunks<'_, T> {
    assert!(length > 0 || slice.is_empty(), "chunks of no length");
    let (start, len) = (slice.as_mut_ptr(), slice.len());
    Chunks { start, len, length: length.max(1), slice: PhantomData }
}

/// The chunks of a slice, each of which is taken once by whichever thread.
pub(crate) struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out parts of a `&mut [T]` that do not overlap, which may be sent if `T` may.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

/// What the tasks of a loop write.
pub(crate) trait Outputs: Sync {
    /// What one task writes.
    type Chunk;

    /// How many chunks there are.
    fn count(&self) -> usize;

    /// Whether this falls into `count` chunks; nothing falls into as many empty ones.
    fn falls_into(&self, count: usize) -> bool;

    /// Chunk `i`, which is empty where there is nothing.
    ///
    /// # Safety
    /// Nobody may take the same one twice.
    ///
    /// # Panics
    /// If there is something, and no such chunk of it.
    unsafe fn take(&self, i: usize) -> Self::Chunk;

    /// How many chunks all of them have.
    fn checked_count(&self) -> usize {
        let count = self.count();
        assert!(self.falls_into(count), "chunks of unequal number");
        count
    }
}

impl<'a, T: Send> Outputs for Chunks<'a, T> {
    type Chunk = &'a mut [T];

    fn count(&self) -> usize {
        self.len.div_ceil(self.length)
    }

    fn falls_into(&self, count: usize) -> bool {
        self.len == 0 || self.count() == count
    }

    unsafe fn take(&self, i: usize) -> &'a mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        assert!(i < self.count(), "chunk {i} of {}", self.count());
        let start = i * self.length;
        let len = self.length.min(self.len - start);
        // SAFETY: inside the slice, as just checked, and nobody else's, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Nothing to write.
impl Outputs for () {
    type Chunk = ();

    fn count(&self) -> usize {
        0
    }

    fn falls_into(&self, _: usize) -> bool {
        true
    }

    unsafe fn take(&self, _: usize) {}
}

macro_rules! tuples_of_outputs {
    ($(($($O:ident $o:ident),+))+) => {
        $(impl<$($O: Outputs),+> Outputs for ($($O,)+) {
            type Chunk = ($($O::Chunk,)+);

            fn count(&self) -> usize {
                let ($($o,)+) = self;
                [$($o.count()),+].into_iter().max().unwrap_or(0)
            }

            fn falls_into(&self, count: usize) -> bool {
                let ($($o,)+) = self;
                true $(&& $o.falls_into(count))+
            }

            unsafe fn take(&self, i: usize) -> Self::Chunk {
                let ($($o,)+) = self;
                // SAFETY: as the caller promises.
                unsafe { ($($o.take(i),)+) }
            }
        })+
    };
}

tuples_of_outputs! {
    (A a, B b)
    (A a, B b, C c)
    (A a, B b, C c, D d, E e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that nobody wants has no numbers, and a chunk wherever the others have one.
    #[test]
    fn an_empty_output_has_empty_chunks() {
        let (mut nothing, mut numbers) = ([0; 0], [0; 10]);
        each((cut(&mut nothing, 7), cut(&mut numbers, 4)), |i, (nothing, numbers)| {
            assert!(nothing.is_empty());
            numbers.fill(i as i32);
        });
        assert_eq!(numbers, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
    }

    #[test]
    #[should_panic(expected = "chunks of unequal number")]
    fn outputs_of_one_loop_have_as_many_chunks() {
        let (mut a, mut b, mut c) = ([0; 10], [0; 10], [0; 10]);
        each((cut(&mut a, 4), cut(&mut b, 4), cut(&mut c, 5)), |_, _| {});
    }

    #[test]
    #[should_panic(expected = "chunks of unequal number")]
    fn outputs_of_a_loop_beside_another_have_as_many_chunks() {
        let (mut a, mut b, mut c) = ([0; 3], [0; 10], [0; 10]);
        let unequal = ((cut(&mut b, 4), cut(&mut c, 5)), |_, _: (&mut [_], &mut [_])| {});
        run(Beside((cut(&mut a, 1), |_, _: &mut [_]| {}), unequal));
    }

    #[test]
    fn several_loops_at_once_do_what_each_does_alone() {
        for threads in 1..=3 {
            let (mut a, mut b, mut c, mut d) = ([0; 10], [0; 3], [0; 5], [0; 7]);
            super::super::Workers::new(threads).unwrap().run(|| {
                let of_two = |i, (a, (b, ())): (&mut [_], (&mut [_], ()))| {
                    a.fill(i);
                    b.fill(10 + i);
                };
                let nothing = (cut(&mut [0; 0], 3), |_, _: &mut [_]| panic!("no task"));
                let others = Beside(
                    (cut(&mut c, 1), |i, c: &mut [_]| c.fill(20 + i)),
                    (cut(&mut d, 7), |i, d: &mut [_]| d.fill(30 + i)),
                );
                let two = (cut(&mut a, 4), (cut(&mut b, 1), ()));
                run(Beside((two, of_two), Beside(nothing, Beside((), others))));
            });
            assert_eq!(a, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
            assert_eq!((b, c, d), ([10, 11, 12], [20, 21, 22, 23, 24], [30; 7]));
        }
    }

    #[test]
    fn the_first_of_two_loops_is_spread_among_the_second() {
        let (order, mut a, mut b) = (std::sync::Mutex::new(String::new()), [0; 2], [0; 6]);
        let call = |name: char| order.lock().unwrap().push(name);
        super::super::Workers::new(1).unwrap().run(|| {
            let first = (cut(&mut a, 1), |_, _: &mut [_]| call('a'));
            crate::threads::run_task(|| {
                run(Beside(first, (cut(&mut b, 1), |_, _: &mut [_]| call('b'))));
            });
        });
        assert_eq!(order.into_inner().unwrap(), "abbbabbb");
    }
}
