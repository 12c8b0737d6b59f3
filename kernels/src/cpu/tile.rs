//! The matrix tile: the one inner loop behind every product of the engine.
//!
//! A tile is a few rows by one or two vectors of sums that stay in registers while the depth
//! goes by. Each sum is one FMA chain in the order of the depth, begun at 0 or taken up where an
//! earlier part of the depth left it. The height of a tile, the width of a vector register and the
//! number of threads therefore cannot change a bit of the result.

use super::simd::{LANES, Simd};

/// Cuts `rows` into tile heights of at most `limit`, as equal as possible.
pub(super) fn heights(rows: usize, limit: usize) -> impl Iterator<Item = usize> {
    let tiles = rows.div_ceil(limit);
    let (height, higher) = (rows / tiles.max(1), rows % tiles.max(1));
    let mut owed = 0;
    // Without a division for each: a small tile does not take much longer than one.
    (0..tiles).map(move |_| {
        owed += higher;
        let one_more = usize::from(owed >= tiles);
        owed -= one_more * tiles;
        height + one_more
    })
}

/// Calls `$call` with the constant `$mr` equal to `$rows`.
macro_rules! with_height {
    ($rows:expr, $s:ident, $mr:ident => $call:expr; $($height:literal)*) => {
        match $rows {
            $($height if $height <= <$s as Simd>::TILE_ROWS => { const $mr: usize = $height; $call })*
            rows => unreachable!("no tile of {rows} rows"),
        }
    };
    ($rows:expr, $s:ident, $mr:ident => $call:expr) => {
        with_height!($rows, $s, $mr => $call; 1 2 3 4 5 6 7 8 9 10 11 12)
    };
}

pub(super) use with_height;

/// `$body` for the constant `$i` from 0 up to `$count`, at most 12, without a loop: an array stays
/// in registers only if the compiler sees nothing but constant indices from the start.
macro_rules! unrolled {
    ($i:ident in $count:ident => $body:expr) => {
        unrolled!($i in $count => $body; 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    ($i:ident in $count:ident => $body:expr; $($index:literal)*) => {
        $(if $index < $count {
            const $i: usize = $index;
            $body
        })*
    };
}
pub(super) use unrolled;

/// Where the rows of a tile's left operand start.
pub(super) trait Rows: Copy {
    /// # Safety
    /// `row` must be one of the tile's rows.
    unsafe fn at(self, row: usize) -> *const f32;
    /// The same rows, `step` numbers further on.
    /// # Safety
    /// They must be there.
    unsafe fn moved(self, step: usize) -> Self;
}

/// Rows that start anywhere.
#[derive(Clone, Copy)]
pub(super) struct Scattered<const MR: usize>(pub [*const f32; MR]);

impl<const MR: usize> Rows for Scattered<MR> {
    #[inline(always)]
    unsafe fn at(self, row: usize) -> *const f32 {
        self.0[row]
    }
    #[inline(always)]
    unsafe fn moved(self, step: usize) -> Self {
        // SAFETY: the caller's rows lie inside one slice, and so do those further on.
        Scattered(self.0.map(|row| unsafe { row.add(step) }))
    }
}

/// Rows that start one after the other: the left operand is read down its columns.
#[derive(Clone, Copy)]
pub(super) struct Adjacent(pub *const f32);

impl Rows for Adjacent {
    #[inline(always)]
    unsafe fn at(self, row: usize) -> *const f32 {
        // SAFETY: the caller's rows lie inside one slice.
        unsafe { self.0.add(row) }
    }
    #[inline(always)]
    unsafe fn moved(self, step: usize) -> Self {
        // SAFETY: as above, and so do those further on.
        Adjacent(unsafe { self.0.add(step) })
    }
}

/// Rows that start a vector apart.
#[derive(Clone, Copy)]
pub(super) struct Spaced(pub *const f32);

impl Rows for Spaced {
    #[inline(always)]
    unsafe fn at(self, row: usize) -> *const f32 {
        // SAFETY: the caller's rows lie inside one slice.
        unsafe { self.0.add(row * LANES) }
    }
    #[inline(always)]
    unsafe fn moved(self, step: usize) -> Self {
        // SAFETY: as above, and so do those further on.
        Spaced(unsafe { self.0.add(step) })
    }
}

/// The right operand of a tile: its first vector, the step from row to row and the step from
/// vector to vector in a row.
#[derive(Clone, Copy)]
pub(super) struct Right {
    pub start: *const f32,
    pub row: usize,
    pub vector: usize,
}

impl Right {
    /// Rows of `NV` vectors that lie one after the other, `row` numbers apart.
    #[inline(always)]
    pub fn contiguous(start: *const f32, row: usize) -> Right {
        Right { start, row, vector: LANES }
    }
}

/// The sums of a tile.
pub(super) type Sums<V, const MR: usize, const NV: usize> = [[V; NV]; MR];

/// `sums[r][v] += a.at(r)[k * a_step] * b[k * b.row + v * b.vector ..][..16]` for k in `0..depth`.
///
/// # Safety
/// Every element that this formula names must be readable.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    mut sums: Sums<S::V, MR, NV>,
    (a, a_step): (impl Rows, usize),
    b: Right,
    depth: usize,
) -> Sums<S::V, MR, NV> {
    for k in 0..depth {
        // SAFETY: the caller guarantees all elements that are named here.
        unsafe {
            let row = b.start.add(k * b.row);
            let mut right = [s.splat(0.0); NV];
            unrolled!(V in NV => right[V] = s.load(row.add(V * b.vector)));
            unrolled!(R in MR => {
                let left = s.splat(*a.at(R).add(k * a_step));
                unrolled!(V in NV => sums[R][V] = s.fma(left, right[V], sums[R][V]));
            });
        }
    }
    sums
}

/// Panels that a product of a single row takes together: one alone has too few sums to cover the
/// latency of an FMA.
pub(super) const PANELS_TOGETHER: usize = 4;

/// `sums[p][v] += a[k] * b[p * panel_step + (k * W + v) * 16..][..16]` for k in `depths`: a single row
/// by `P` panels of `W` vectors, of which the first `NV` are wanted.
///
/// # Safety
/// Every element that this formula names must be readable.
#[inline(always)]
pub(super) unsafe fn accumulate_row<S: Simd, const P: usize, const NV: usize, const W: usize>(
    s: S,
    mut sums: Sums<S::V, P, NV>,
    a: *const f32,
    (b, panel_step): (*const f32, usize),
    depths: impl Iterator<Item = usize>,
) -> Sums<S::V, P, NV> {
    for k in depths {
        // SAFETY: the caller guarantees all elements that are named here.
        unsafe {
            let left = s.splat(*a.add(k));
            let row = b.add(k * W * LANES);
            unrolled!(I in P => {
                unrolled!(V in NV => {
                    let right = s.load(row.add(I * panel_step + V * LANES));
                    sums[I][V] = s.fma(left, right, sums[I][V]);
                });
            });
        }
    }
    sums
}

/// Reads a tile of `c`, whose rows are `stride` apart, from its upper left corner on; columns
/// beyond a row's `width` are 0.
#[inline(always)]
pub(super) fn load_tile<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    c: &[f32],
    stride: usize,
    width: usize,
) -> Sums<S::V, MR, NV> {
    let mut sums = [[s.splat(0.0); NV]; MR];
    unrolled!(R in MR => {
        let row = &c[R * stride..R * stride + width];
        unrolled!(V in NV => sums[R][V] = s.load_slice(row.get(V * LANES..).unwrap_or(&[])));
    });
    sums
}

/// Writes a tile to `c`, whose rows are `stride` apart, `width` columns of it.
#[inline(always)]
pub(super) fn store_tile<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    c: &mut [f32],
    stride: usize,
    width: usize,
    sums: &Sums<S::V, MR, NV>,
) {
    if width == NV * LANES {
        // Checked once: a check a vector has the sums wait in memory.
        let to = c[..(MR - 1) * stride + width].as_mut_ptr();
        // SAFETY: the last row ends inside `c`, as just checked, and the others before it.
        unrolled!(R in MR => unsafe {
            unrolled!(V in NV => s.store(to.add(R * stride + V * LANES), sums[R][V]));
        });
        return;
    }
    unrolled!(R in MR => {
        let to = &mut c[R * stride..R * stride + width];
        unrolled!(V in NV => s.store_slice(to.get_mut(V * LANES..).unwrap_or(&mut []), sums[R][V]));
    });
}

#[cfg(test)]
mod tests {
    use super::heights;

    #[test]
    fn heights_cover_all_rows_evenly() {
        for rows in 0..100 {
            for limit in 1..=12 {
                let cut: Vec<_> = heights(rows, limit).collect();
                assert_eq!(cut.iter().sum::<usize>(), rows);
                assert_eq!(cut.len(), rows.div_ceil(limit));
                assert!(cut.iter().all(|h| (1..=limit).contains(h)));
            }
        }
    }
}
