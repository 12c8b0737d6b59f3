//! AVX-512 (F, BW, DQ, VL): a vector is one zmm register.

use core::arch::x86_64::*;

use crate::cpu::simd::{Kernel, LANES, Simd};

/// Proof that this CPU has AVX-512 F, BW, DQ and VL, and FMA.
#[derive(Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// The token, if this CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Avx512(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_enabled<K: Kernel>(s: Avx512, kernel: K) -> K::Output {
    kernel.run(s)
}

/// Wraps one intrinsic call; the token proves that the CPU has it.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: an `Avx512` exists only where `detect` found the instructions; a pointer, where
        // one is passed, is valid for 16 elements by the contract of the trait's method.
        unsafe { $call }
    };
}

/// Lanes of `a` and `b` by turns: of the lower half of each quarter, and of the upper half.
///
/// # Safety
/// The CPU must have AVX-512 F.
#[inline(always)]
unsafe fn unpack(a: __m512, b: __m512) -> (__m512, __m512) {
    // SAFETY: the caller guarantees the instructions.
    unsafe { (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)) }
}

/// The same with two lanes at a time.
///
/// # Safety
/// The CPU must have AVX-512 F.
#[inline(always)]
unsafe fn unpack_pairs(a: __m512, b: __m512) -> (__m512, __m512) {
    // SAFETY: the caller guarantees the instructions.
    unsafe {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        (_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    }
}

/// Quarters 0 and 2 of `a` and of `b`, and quarters 1 and 3.
///
/// # Safety
/// The CPU must have AVX-512 F.
#[inline(always)]
unsafe fn quarters(a: __m512, b: __m512) -> (__m512, __m512) {
    // SAFETY: the caller guarantees the instructions.
    unsafe {
        let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        (even, _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
    }
}

impl Simd for Avx512 {
    type V = __m512;
    // 24 sums, two vectors of the right operand and a broadcast: 27 of 32 registers. Taller tiles
    // would fit these, but their row addresses no longer fit the general registers.
    const TILE_ROWS: usize = 12;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        intrinsic!(run_enabled(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        intrinsic!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        intrinsic!(_mm512_loadu_ps(from))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        intrinsic!(_mm512_storeu_ps(to, v))
    }
    #[inline(always)]
    unsafe fn store_past_caches(self, to: *mut f32, v: __m512) {
        // The instruction asks for aligned places.
        if to.addr().is_multiple_of(64) {
            intrinsic!(_mm512_stream_ps(to, v));
        } else {
            intrinsic!(_mm512_storeu_ps(to, v));
        }
    }
    #[inline(always)]
    fn end_past_caches(self) {
        intrinsic!(_mm_sfence());
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsic!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        intrinsic!(_mm512_sqrt_ps(a))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn select_gt(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        intrinsic!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x))
    }
    #[inline(always)]
    fn select_eq(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        intrinsic!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), y, x))
    }
    #[inline(always)]
    fn transpose(self, mut rows: [__m512; LANES]) -> [__m512; LANES] {
        // Four rows at a time: the squares of 4 by 4 that lie in each quarter of the registers.
        for rows in rows.chunks_exact_mut(4) {
            let [a, b, c, d] = [rows[0], rows[1], rows[2], rows[3]];
            let (ab, cd) = intrinsic!((unpack(a, b), unpack(c, d)));
            (rows[0], rows[1]) = intrinsic!(unpack_pairs(ab.0, cd.0));
            (rows[2], rows[3]) = intrinsic!(unpack_pairs(ab.1, cd.1));
        }
        // Then the quarters themselves: each group's row `i` has a part of columns i, i + 4, i + 8
        // and i + 12.
        for i in 0..4 {
            let [a, b, c, d] = [rows[i], rows[i + 4], rows[i + 8], rows[i + 12]];
            let (ab, cd) = intrinsic!((quarters(a, b), quarters(c, d)));
            (rows[i], rows[i + 8]) = intrinsic!(quarters(ab.0, cd.0));
            (rows[i + 4], rows[i + 12]) = intrinsic!(quarters(ab.1, cd.1));
        }
        rows
    }
    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: every x86-64 has the instruction, and it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> __m512 {
        intrinsic!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))))
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, v: __m512) {
        intrinsic!(_mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v))))
    }
}
