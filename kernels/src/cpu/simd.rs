//! The vector operations that the kernels use, and nothing else.
//!
//! A vector has 16 logical f32 lanes on every instruction set (one zmm register, two ymm, or
//! what `wide` makes of it). Every operation works lane by lane and lanes are never added up, so
//! a kernel written once over this trait gives the same bits on every implementation whose
//! `fma` rounds once.

/// Logical lanes of a vector.
pub const LANES: usize = 16;

/// An instruction set, passed by value: having one proves that this CPU runs it.
pub trait Simd: Copy + Send + Sync {
    /// Sixteen f32 lanes.
    type V: Copy;
    /// Rows of the largest matrix tile whose sums stay in registers.
    const TILE_ROWS: usize;
    /// Vectors in a row of that tile: 1 or 2.
    const TILE_VECTORS: usize;

    /// Runs `kernel` with the instruction set enabled for all that is inlined into it.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// 16 f32 must be readable at `from`; no alignment is asked for.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// 16 f32 must be writable at `to`; no alignment is asked for.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// [`Simd::store`] past the caches, if the CPU can and `to` is the start of a cache line.
    /// # Safety
    /// As for [`Simd::store`], and [`Simd::end_past_caches`] must follow before anybody uses what is
    /// there, this thread included.
    #[inline(always)]
    unsafe fn store_past_caches(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller guarantees it.
        unsafe { self.store(to, v) }
    }
    /// Whatever was stored past the caches is seen before anything that this thread stores later.
    #[inline(always)]
    fn end_past_caches(self) {}
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once (`portable` without hardware FMA: twice)
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The square root, rounded once.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// Lanes of `x` where `a > b`, else of `y` (NaN compares false).
    fn select_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Lanes of `x` where `a == b`, else of `y` (NaN compares false).
    fn select_eq(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Lanes of `a` where `a > b`, else of `b`: of `b` too where one is NaN, or both are zeros.
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        self.select_gt(a, b, a, b)
    }
    /// The transpose: lane j of vector i becomes lane i of vector j.
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES];
    /// Asks for the cache line of an address, which need not be readable, to be brought closer.
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    /// Sixteen bytes as f32.
    /// # Safety
    /// 16 bytes must be readable at `from`.
    unsafe fn load_u8(self, from: *const u8) -> Self::V;
    /// Lanes, whole numbers 0 to 255, as sixteen bytes.
    /// # Safety
    /// 16 bytes must be writable at `to`.
    unsafe fn store_u8(self, to: *mut u8, v: Self::V);

    /// The first `LANES` elements of `from`; missing ones are 0.
    #[inline(always)]
    fn load_slice(self, from: &[f32]) -> Self::V {
        if from.len() >= LANES {
            // SAFETY: the slice holds 16 elements, as just checked.
            unsafe { self.load(from.as_ptr()) }
        } else {
            let lanes = filled_up(from);
            // SAFETY: `lanes` holds 16 elements.
            unsafe { self.load(lanes.as_ptr()) }
        }
    }

    /// Writes the first `LANES` elements of `to`, or as many as it has.
    #[inline(always)]
    fn store_slice(self, to: &mut [f32], v: Self::V) {
        if to.len() >= LANES {
            // SAFETY: the slice holds 16 elements, as just checked.
            unsafe { self.store(to.as_mut_ptr(), v) }
        } else {
            let mut lanes = [0.0; LANES];
            // SAFETY: `lanes` holds 16 elements.
            unsafe { self.store(lanes.as_mut_ptr(), v) };
            cut_off(to, &lanes);
        }
    }
}

/// `from`, which is shorter than a vector, with zeros behind it. Kept out of the way, or loops
/// would save their vectors around the call that is never made.
#[cold]
#[inline(never)]
fn filled_up(from: &[f32]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes[..from.len()].copy_from_slice(from);
    lanes
}

/// The first numbers of `lanes`, as many as `to` has.
#[cold]
#[inline(never)]
fn cut_off(to: &mut [f32], lanes: &[f32; LANES]) {
    to.copy_from_slice(&lanes[..to.len()]);
}

/// A body of code that is compiled once for every instruction set.
///
/// `run` must be `#[inline(always)]`: only what is inlined into [`Simd::run`] may use the
/// instructions that it enables.
pub trait Kernel {
    /// What the kernel returns.
    type Output;
    /// The body.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;

    /// Transposes sixteen rows, read from and written to place 0, 1, 2, ... of a cache line, past
    /// the caches.
    struct Transpose<'a> {
        rows: &'a [f32],
        columns: &'a mut [f32],
    }

    impl Kernel for Transpose<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let mut rows = [s.splat(0.0); LANES];
            for (row, from) in rows.iter_mut().zip(self.rows.chunks_exact(LANES)) {
                *row = s.load_slice(from);
            }
            for (to, column) in self.columns.chunks_exact_mut(LANES).zip(s.transpose(rows)) {
                // SAFETY: the chunk holds 16 elements.
                unsafe { s.store_past_caches(to.as_mut_ptr(), column) };
            }
            s.end_past_caches();
        }
    }

    #[test]
    fn lanes_and_vectors_change_places() {
        let rows: Vec<f32> = (0..LANES * LANES).map(|i| i as f32).collect();
        for isa in Isa::available() {
            for start in 0..LANES {
                let mut columns = vec![-1.0; start + LANES * LANES];
                isa.run(Transpose { rows: &rows, columns: &mut columns[start..] });
                assert!(columns[..start].iter().all(|&x| x == -1.0), "{isa}: written before");
                for (i, &x) in columns[start..].iter().enumerate() {
                    let expected = rows[i % LANES * LANES + i / LANES];
                    assert_eq!(x, expected, "{isa}: vector {}, lane {}", i / LANES, i % LANES);
                }
            }
        }
    }
}
