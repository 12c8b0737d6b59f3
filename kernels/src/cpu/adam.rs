//! The update by Adam: one pass over gradients, values and both moments.

use super::elementwise::TASK_LEN;
use super::isa::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::Adam;
use crate::threads;

/// Moments up to these are set to 0: they would only go on into the denormal numbers, which
/// processors are slow with.
const SMALLEST_FIRST: f32 = 1e-30;
const SMALLEST_SECOND: f32 = 1e-36;

/// m = (g - m) (1 - beta1) + m, v = (g g - v) (1 - beta2) + v,
/// value = value - (rate m) / (sqrt(v) + epsilon).
///
/// Nothing changes unless the loss `summary[0]` and all gradients are finite; `summary[2]` becomes
/// 1 if the update was made and 0 if not.
pub fn adam(
    g: &Adam,
    gradients: &[f32],
    values: &mut [f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    summary: &mut [f32],
) {
    let isa = Isa::current();
    let made = summary[0].is_finite()
        && threads::all_chunks(gradients, TASK_LEN, |numbers| isa.run(AllUsable { numbers }));
    summary[2] = if made { 1.0 } else { 0.0 };
    if !made {
        return;
    }
    threads::chunks3(
        (values, TASK_LEN),
        (first_moment, TASK_LEN),
        (second_moment, TASK_LEN),
        |task, values, first_moment, second_moment| {
            let gradients = &gradients[task * TASK_LEN..][..values.len()];
            isa.run(Update { g, gradients, values, first_moment, second_moment });
        },
    );
}

/// Whether all numbers are below 2^63 in magnitude: finite, with finite squares.
struct AllUsable<'a> {
    numbers: &'a [f32],
}

impl Kernel for AllUsable<'_> {
    type Output = bool;
    /// A plain loop without an early end, which the compiler turns into vectors.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        const EXPONENT: u32 = 0x7F80_0000;
        const LIMIT: u32 = (127 + 63) << 23;
        let is_bad = |x: &f32| u32::from(x.to_bits() & EXPONENT >= LIMIT);
        self.numbers.iter().fold(0, |bad, x| bad | is_bad(x)) == 0
    }
}

struct Update<'a> {
    g: &'a Adam,
    gradients: &'a [f32],
    values: &'a mut [f32],
    first_moment: &'a mut [f32],
    second_moment: &'a mut [f32],
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let zero = s.splat(0.0);
        let (rate, epsilon) = (s.splat(self.g.rate), s.splat(self.g.epsilon));
        let (share1, share2) = (s.splat(self.g.share1), s.splat(self.g.share2));
        let (first, minus_first) = (s.splat(SMALLEST_FIRST), s.splat(-SMALLEST_FIRST));
        let second = s.splat(SMALLEST_SECOND);
        let moments = self.first_moment.chunks_mut(LANES).zip(self.second_moment.chunks_mut(LANES));
        let values = self.values.chunks_mut(LANES);
        for ((gradient, value), (m_slice, v_slice)) in
            self.gradients.chunks(LANES).zip(values).zip(moments)
        {
            let gradient = s.load_slice(gradient);
            let (m, v) = (s.load_slice(m_slice), s.load_slice(v_slice));
            let m = s.fma(s.sub(gradient, m), share1, m);
            let v = s.fma(s.sub(s.mul(gradient, gradient), v), share2, v);
            let negative = s.select_gt(minus_first, m, m, zero);
            let m = s.select_gt(m, first, m, negative);
            let v = s.select_gt(v, second, v, zero);
            s.store_slice(m_slice, m);
            s.store_slice(v_slice, v);
            let step = s.div(s.mul(rate, m), s.add(s.sqrt(v), epsilon));
            s.store_slice(value, s.sub(s.load_slice(value), step));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: Adam = Adam { len: 20, rate: 0.1, share1: 0.1, share2: 0.001, epsilon: 1e-7 };

    /// Updates twenty values of 1 from zero moments.
    fn update(gradients: [f32; 20], loss: f32) -> ([f32; 20], [f32; 20], [f32; 4]) {
        let (mut values, mut m, mut v) = ([1.0; 20], [0.0; 20], [0.0; 20]);
        let mut summary = [loss, 3.0, 9.0, 0.0];
        adam(&G, &gradients, &mut values, &mut m, &mut v, &mut summary);
        (values, m, summary)
    }

    #[test]
    fn anything_not_finite_skips_the_whole_update() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 15, 16, 19] {
                let mut gradients = [0.5; 20];
                gradients[place] = bad;
                let (values, m, summary) = update(gradients, 1.0);
                assert_eq!((values, m), ([1.0; 20], [0.0; 20]));
                assert_eq!(summary, [1.0, 3.0, 0.0, 0.0]);
            }
            let (values, _, summary) = update([0.5; 20], bad);
            assert_eq!((values, summary[2]), ([1.0; 20], 0.0));
        }
    }

    /// From zero moments m = 0.05 and sqrt(v) = 0.5 sqrt(0.001): the step is
    /// 0.1 * 0.05 / 0.0158114 = 0.316228.
    #[test]
    fn a_first_step_by_hand() {
        let (values, m, summary) = update([0.5; 20], 1.0);
        assert!(values.iter().all(|&x| (x - (1.0 - 0.316_228)).abs() < 1e-5), "{values:?}");
        assert!(m.iter().all(|&m| (m - 0.05).abs() < 1e-7));
        assert_eq!(summary, [1.0, 3.0, 1.0, 0.0]);
    }

    #[test]
    fn tiny_moments_become_zero() {
        let (_, m, _) = update([1e-30; 20], 1.0);
        assert_eq!(m, [0.0; 20]);
        let (_, m, _) = update([-1e-28; 20], 1.0);
        assert!(m.iter().all(|&m| m < -9e-30));
    }
}
