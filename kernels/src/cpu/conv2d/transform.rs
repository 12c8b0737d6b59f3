//! A short convolution's maps, applied to squares of vectors: to the columns, then to the rows.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::forms::Line;
use crate::cpu::finish::FinishVector;
use crate::cpu::handover::HandOver;
use crate::cpu::simd::Simd;

/// A kernel that applies the map `L`.
pub(super) struct Through<K, L, const FROM: usize, const TO: usize> {
    /// What is mapped and where it goes.
    pub kernel: K,
    line: PhantomData<L>,
}

/// `kernel` through the map `L`.
pub(super) fn through<L: Line<FROM, TO>, K, const FROM: usize, const TO: usize>(
    kernel: K,
) -> Through<K, L, FROM, TO> {
    Through { kernel, line: PhantomData }
}

/// A square of vectors in memory: where the first lies, and the steps to the next row and column.
#[derive(Clone, Copy)]
pub(super) struct Square {
    pub start: *mut f32,
    pub row: usize,
    pub column: usize,
}

impl Square {
    /// A square that is only read.
    pub fn read_only(start: *const f32, row: usize, column: usize) -> Square {
        Square { start: start.cast_mut(), row, column }
    }

    /// # Safety
    /// The square must have this place.
    #[inline(always)]
    pub unsafe fn at(self, i: usize, j: usize) -> *mut f32 {
        // SAFETY: the caller's square lies inside one slice.
        unsafe { self.start.add(i * self.row + j * self.column) }
    }
}

/// How a number gets to the place that it is for.
pub(super) trait Sink<S: Simd>: Copy {
    /// Puts `v` to its place.
    ///
    /// # Safety
    /// 16 f32 must be readable and writable at `place`.
    unsafe fn put(self, s: S, place: *mut f32, v: S::V);
}

/// It takes the place.
#[derive(Clone, Copy)]
pub(super) struct Overwrite;

impl<S: Simd> Sink<S> for Overwrite {
    #[inline(always)]
    unsafe fn put(self, s: S, place: *mut f32, v: S::V) {
        // SAFETY: the caller guarantees the place.
        unsafe { s.store(place, v) }
    }
}

/// It is added to what is there.
#[derive(Clone, Copy)]
pub(super) struct Add;

impl<S: Simd> Sink<S> for Add {
    #[inline(always)]
    unsafe fn put(self, s: S, place: *mut f32, v: S::V) {
        // SAFETY: the caller guarantees the place.
        unsafe { s.store(place, s.add(s.load(place), v)) }
    }
}

impl<S: Simd> Sink<S> for FinishVector<S::V> {
    #[inline(always)]
    unsafe fn put(self, s: S, place: *mut f32, v: S::V) {
        // SAFETY: the caller guarantees the place.
        unsafe { s.store(place, self.apply(s, v)) }
    }
}

impl<S: Simd> Sink<S> for HandOver {
    #[inline(always)]
    unsafe fn put(self, s: S, place: *mut f32, v: S::V) {
        // SAFETY: the caller guarantees the place.
        unsafe { self.store(s, place, v) }
    }
}

/// A row of a square of which only the columns are mapped.
pub(super) type HalfRow<V, const FROM: usize> = [MaybeUninit<V>; FROM];

/// A map of the columns of `from`; it writes all of the rows.
///
/// # Safety
/// `FROM` by `FROM` vectors of `from` must be readable.
#[inline(always)]
pub(super) unsafe fn columns<L: Line<FROM, TO>, S: Simd, const FROM: usize, const TO: usize>(
    s: S,
    from: Square,
) -> [HalfRow<S::V, FROM>; TO] {
    // Left without initial values: to write these would cost a third of the transform.
    let mut half = [const { [const { MaybeUninit::uninit() }; FROM] }; TO];
    for j in 0..FROM {
        let mut column = [s.splat(0.0); FROM];
        for (i, column) in column.iter_mut().enumerate() {
            // SAFETY: the caller guarantees the places of the square.
            *column = unsafe { s.load(from.at(i, j)) };
        }
        for (half, value) in half.iter_mut().zip(L::apply(s, column)) {
            half[j].write(value);
        }
    }
    half
}

/// A map of a row.
///
/// # Safety
/// The row must be one that [`columns`] wrote.
#[inline(always)]
pub(super) unsafe fn row<L: Line<FROM, TO>, S: Simd, const FROM: usize, const TO: usize>(
    s: S,
    half: &HalfRow<S::V, FROM>,
) -> [S::V; TO] {
    let mut row = [s.splat(0.0); FROM];
    for (row, half) in row.iter_mut().zip(half) {
        // SAFETY: the caller guarantees that it was written.
        *row = unsafe { half.assume_init() };
    }
    L::apply(s, row)
}

/// Applies a map to the columns of `from` and then to the rows of what this gives, and puts the
/// result to `to` by way of `sink`.
///
/// # Safety
/// `FROM` by `FROM` vectors of `from` must be readable, `TO` by `TO` of `to` writable.
#[inline(always)]
pub(super) unsafe fn both_ways<L: Line<FROM, TO>, S: Simd, const FROM: usize, const TO: usize>(
    s: S,
    from: Square,
    to: Square,
    sink: impl Sink<S>,
) {
    // SAFETY: the caller guarantees the places of both squares.
    let half = unsafe { columns::<L, S, FROM, TO>(s, from) };
    for (i, half) in half.iter().enumerate() {
        // SAFETY: `columns` wrote this row, and the caller guarantees the places.
        unsafe {
            for (j, value) in row::<L, S, FROM, TO>(s, half).into_iter().enumerate() {
                sink.put(s, to.at(i, j), value);
            }
        }
    }
}
