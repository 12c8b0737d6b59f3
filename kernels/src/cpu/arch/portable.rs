//! Every other target: what `wide` makes of sixteen lanes at compile time (NEON, wasm, SSE2).
//!
//! Where the target has no fused multiply-add, `fma` rounds twice: this path agrees with the
//! others to a tolerance, not to the bit.

use wide::f32x8;

use crate::cpu::simd::{Kernel, LANES, Simd};

/// The path that every CPU has.
#[derive(Clone, Copy)]
pub struct Portable;

/// Lanes 0 to 7 and 8 to 15.
type Pair = [f32x8; 2];

#[inline(always)]
fn zip(a: Pair, b: Pair, f: impl Fn(f32x8, f32x8) -> f32x8) -> Pair {
    [f(a[0], b[0]), f(a[1], b[1])]
}

#[inline(always)]
fn lanes(v: Pair) -> [f32; LANES] {
    let (low, high) = (v[0].to_array(), v[1].to_array());
    core::array::from_fn(|i| if i < 8 { low[i] } else { high[i - 8] })
}

#[inline(always)]
fn vector(lanes: [f32; LANES]) -> Pair {
    [f32x8::from(&lanes[..8]), f32x8::from(&lanes[8..])]
}

#[inline(always)]
fn select(a: Pair, b: Pair, x: Pair, y: Pair, test: impl Fn(f32, f32) -> bool) -> Pair {
    let (a, b, x, y) = (lanes(a), lanes(b), lanes(x), lanes(y));
    vector(core::array::from_fn(|i| if test(a[i], b[i]) { x[i] } else { y[i] }))
}

impl Simd for Portable {
    type V = Pair;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        [f32x8::splat(x); 2]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Pair {
        // SAFETY: the caller guarantees 16 readable f32; any alignment will do.
        vector(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Pair) {
        // SAFETY: the caller guarantees 16 writable f32; any alignment will do.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(lanes(v)) };
    }
    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn fma(self, a: Pair, b: Pair, c: Pair) -> Pair {
        [a[0].mul_add(b[0], c[0]), a[1].mul_add(b[1], c[1])]
    }
    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn sqrt(self, a: Pair) -> Pair {
        a.map(f32x8::sqrt)
    }
    #[inline(always)]
    fn select_gt(self, a: Pair, b: Pair, x: Pair, y: Pair) -> Pair {
        select(a, b, x, y, |a, b| a > b)
    }
    #[inline(always)]
    fn select_eq(self, a: Pair, b: Pair, x: Pair, y: Pair) -> Pair {
        select(a, b, x, y, |a, b| a == b)
    }
    #[inline(always)]
    fn transpose(self, rows: [Pair; LANES]) -> [Pair; LANES] {
        let rows = rows.map(lanes);
        core::array::from_fn(|j| vector(core::array::from_fn(|i| rows[i][j])))
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> Pair {
        // SAFETY: the caller guarantees 16 readable bytes.
        let bytes = unsafe { from.cast::<[u8; LANES]>().read_unaligned() };
        vector(bytes.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, v: Pair) {
        // SAFETY: the caller guarantees 16 writable bytes.
        unsafe { to.cast::<[u8; LANES]>().write_unaligned(lanes(v).map(|x| x as u8)) };
    }
}
