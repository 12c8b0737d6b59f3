//! AVX2 with FMA: a vector is two ymm registers.

use core::arch::x86_64::*;

use crate::cpu::simd::{Kernel, LANES, Simd};

/// Proof that this CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if this CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Avx2(()))
    }
}

#[target_feature(enable = "avx2,fma")]
fn run_enabled<K: Kernel>(s: Avx2, kernel: K) -> K::Output {
    kernel.run(s)
}

/// Lanes 0 to 7 and 8 to 15.
#[derive(Clone, Copy)]
pub struct Pair(__m256, __m256);

/// Wraps intrinsic calls; the token proves that the CPU has them.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: an `Avx2` exists only where `detect` found the instructions; a pointer, where
        // one is passed, is valid for 16 elements by the contract of the trait's method.
        unsafe { $call }
    };
}

/// The eight bytes at `from` as f32.
///
/// # Safety
/// 8 bytes must be readable at `from`, and the CPU must have AVX2.
#[inline(always)]
unsafe fn load_8_bytes(from: *const u8) -> __m256 {
    // SAFETY: the caller guarantees both.
    unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
}

/// The transpose of eight lanes of eight rows.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn transpose_8(mut rows: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: the caller guarantees the instructions.
    unsafe {
        // Four rows at a time: the squares of 4 by 4 that lie in each half of the registers.
        for rows in rows.chunks_exact_mut(4) {
            let [a, b, c, d] = [rows[0], rows[1], rows[2], rows[3]];
            let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            rows[0] = _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd);
            rows[1] = _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd);
            rows[2] = _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high);
            rows[3] = _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high);
        }
        // Then the halves themselves: row `i` of both has a part of columns i and i + 4.
        for i in 0..4 {
            let (a, b) = (rows[i], rows[i + 4]);
            rows[i] = _mm256_permute2f128_ps::<0x20>(a, b);
            rows[i + 4] = _mm256_permute2f128_ps::<0x31>(a, b);
        }
    }
    rows
}

impl Simd for Avx2 {
    type V = Pair;
    // 12 sums, two halves of the right operand and a broadcast: 15 of 16 registers.
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        intrinsic!(run_enabled(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        let v = intrinsic!(_mm256_set1_ps(x));
        Pair(v, v)
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Pair {
        intrinsic!(Pair(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Pair) {
        intrinsic!({
            _mm256_storeu_ps(to, v.0);
            _mm256_storeu_ps(to.add(8), v.1);
        });
    }
    #[inline(always)]
    unsafe fn store_past_caches(self, to: *mut f32, v: Pair) {
        // The instruction asks for aligned places, and a line in two parts would be written twice.
        if to.addr().is_multiple_of(64) {
            intrinsic!({
                _mm256_stream_ps(to, v.0);
                _mm256_stream_ps(to.add(8), v.1);
            });
        } else {
            // SAFETY: the caller guarantees the place.
            unsafe { self.store(to, v) };
        }
    }
    #[inline(always)]
    fn end_past_caches(self) {
        intrinsic!(_mm_sfence());
    }
    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        intrinsic!(Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        intrinsic!(Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        intrinsic!(Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn fma(self, a: Pair, b: Pair, c: Pair) -> Pair {
        intrinsic!(Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)))
    }
    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        intrinsic!(Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn sqrt(self, a: Pair) -> Pair {
        intrinsic!(Pair(_mm256_sqrt_ps(a.0), _mm256_sqrt_ps(a.1)))
    }
    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        intrinsic!(Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn select_gt(self, a: Pair, b: Pair, x: Pair, y: Pair) -> Pair {
        intrinsic!(Pair(
            _mm256_blendv_ps(y.0, x.0, _mm256_cmp_ps::<_CMP_GT_OQ>(a.0, b.0)),
            _mm256_blendv_ps(y.1, x.1, _mm256_cmp_ps::<_CMP_GT_OQ>(a.1, b.1)),
        ))
    }
    #[inline(always)]
    fn select_eq(self, a: Pair, b: Pair, x: Pair, y: Pair) -> Pair {
        intrinsic!(Pair(
            _mm256_blendv_ps(y.0, x.0, _mm256_cmp_ps::<_CMP_EQ_OQ>(a.0, b.0)),
            _mm256_blendv_ps(y.1, x.1, _mm256_cmp_ps::<_CMP_EQ_OQ>(a.1, b.1)),
        ))
    }
    #[inline(always)]
    fn transpose(self, mut rows: [Pair; LANES]) -> [Pair; LANES] {
        let low = |first: usize| core::array::from_fn(|i| rows[first + i].0);
        let high = |first: usize| core::array::from_fn(|i| rows[first + i].1);
        let (above, below) = intrinsic!((
            [transpose_8(low(0)), transpose_8(low(8))],
            [transpose_8(high(0)), transpose_8(high(8))],
        ));
        for i in 0..8 {
            rows[i] = Pair(above[0][i], above[1][i]);
            rows[i + 8] = Pair(below[0][i], below[1][i]);
        }
        rows
    }
    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: every x86-64 has the instruction, and it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> Pair {
        intrinsic!(Pair(load_8_bytes(from), load_8_bytes(from.add(8))))
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, v: Pair) {
        intrinsic!({
            let words = _mm256_packus_epi32(_mm256_cvttps_epi32(v.0), _mm256_cvttps_epi32(v.1));
            // The pack works within 128-bit halves: put the four quarters back in lane order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let low = _mm256_castsi256_si128(words);
            let high = _mm256_extracti128_si256::<1>(words);
            _mm_storeu_si128(to.cast(), _mm_packus_epi16(low, high));
        });
    }
}
