//! The update by Adam: one pass over gradients, values and both moments.

use std::ops::Range;

use super::elementwise::TASK_LEN;
use super::handover::HandOver;
use super::isa::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::Adam;
use crate::threads::{self, cut};

/// Moments up to these are set to 0: they would only go on into the denormal numbers, which
/// processors are slow with.
const SMALLEST_FIRST: f32 = 1e-30;
const SMALLEST_SECOND: f32 = 1e-36;

/// m = (g - m) (1 - beta1) + m, v = (g g - v) (1 - beta2) + v,
/// value = (value - decay value) - (rate m) / (sqrt(v) + epsilon), where g is the gradient times
/// `summary[3]`; decay is 0 but for the first `decaying` values.
///
/// Nothing changes if `summary[2]` is 0.
pub fn adam(
    g: &Adam,
    gradients: &[f32],
    summary: &[f32],
    values: &mut [f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
) {
    if summary[2] == 0.0 {
        return;
    }
    let isa = Isa::current();
    let all = values.len();
    let outputs =
        (cut(values, TASK_LEN), cut(first_moment, TASK_LEN), cut(second_moment, TASK_LEN));
    threads::each(outputs, |task, (values, first_moment, second_moment)| {
        let gradients = &gradients[task * TASK_LEN..][..values.len()];
        let (scale, len) = (summary[3], values.len());
        let mut update = |part: Range<usize>, decay| {
            let gradients = &gradients[part.clone()];
            let values = &mut values[part.clone()];
            let first_moment = &mut first_moment[part.clone()];
            let second_moment = &mut second_moment[part];
            let moments = [first_moment, second_moment];
            isa.run(Update { g, decay, scale, gradients, values, moments, all });
        };
        let decaying = g.decaying().saturating_sub(task * TASK_LEN).min(len);
        update(0..decaying, g.decay);
        update(decaying..len, 0.0);
    });
}

struct Update<'a> {
    g: &'a Adam,
    decay: f32,
    /// What the gradients are multiplied by.
    scale: f32,
    gradients: &'a [f32],
    values: &'a mut [f32],
    /// The first and the second.
    moments: [&'a mut [f32]; 2],
    /// How many values there are in all tasks.
    all: usize,
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (zero, scale, decay) = (s.splat(0.0), s.splat(self.scale), s.splat(self.decay));
        let (rate, epsilon) = (s.splat(self.g.rate), s.splat(self.g.epsilon));
        let (share1, share2) = (s.splat(self.g.share1), s.splat(self.g.share2));
        let (first, minus_first) = (s.splat(SMALLEST_FIRST), s.splat(-SMALLEST_FIRST));
        let second = s.splat(SMALLEST_SECOND);
        // The values are packed by whoever needs them next; gradients and moments stay.
        // SAFETY: the last line ends it.
        let out = unsafe { HandOver::of(self.all) };
        let [first_moment, second_moment] = self.moments;
        let moments = first_moment.chunks_mut(LANES).zip(second_moment.chunks_mut(LANES));
        let values = self.values.chunks_mut(LANES);
        for ((gradient, value), (m_slice, v_slice)) in
            self.gradients.chunks(LANES).zip(values).zip(moments)
        {
            let gradient = s.mul(s.load_slice(gradient), scale);
            let (m, v) = (s.load_slice(m_slice), s.load_slice(v_slice));
            let m = s.fma(s.sub(gradient, m), share1, m);
            let v = s.fma(s.sub(s.mul(gradient, gradient), v), share2, v);
            let negative = s.select_gt(minus_first, m, m, zero);
            let m = s.select_gt(m, first, m, negative);
            let v = s.select_gt(v, second, v, zero);
            s.store_slice(m_slice, m);
            s.store_slice(v_slice, v);
            let step = s.div(s.mul(rate, m), s.add(s.sqrt(v), epsilon));
            let old = s.load_slice(value);
            out.store_slice(s, value, s.sub(s.sub(old, s.mul(decay, old)), step));
        }
        out.end(s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: Adam = Adam {
        len: 20,
        decaying: 20,
        rate: 0.1,
        share1: 0.1,
        share2: 0.001,
        epsilon: 1e-7,
        decay: 0.0,
    };

    /// Updates twenty values of 1 from zero moments.
    fn update(g: &Adam, gradient: f32, summary: [f32; 4]) -> ([f32; 20], [f32; 20]) {
        let (mut values, mut m, mut v) = ([1.0; 20], [0.0; 20], [0.0; 20]);
        adam(g, &[gradient; 20], &summary, &mut values, &mut m, &mut v);
        (values, m)
    }

    #[test]
    fn an_unusable_step_changes_nothing() {
        let (values, m) = update(&Adam { decay: 0.5, ..G }, 0.5, [1.0, 3.0, 0.0, 1.0]);
        assert_eq!((values, m), ([1.0; 20], [0.0; 20]));
    }

    /// From zero moments m = 0.05 and sqrt(v) = 0.5 sqrt(0.001): the step is
    /// 0.1 * 0.05 / 0.0158114 = 0.316228. Scaling the gradient down to a fourth leaves it as it
    /// is; decay takes a tenth of the value before.
    #[test]
    fn a_first_step_by_hand() {
        for (decay, scale, expected) in
            [(0.0, 1.0, 0.683_772), (0.0, 0.25, 0.683_772), (0.1, 1.0, 0.583_772)]
        {
            let (values, m) = update(&Adam { decay, ..G }, 0.5, [1.0, 3.0, 1.0, scale]);
            assert!(values.iter().all(|&x| (x - expected).abs() < 1e-5), "{values:?}");
            assert!(m.iter().all(|&m| (m - 0.05 * scale).abs() < 1e-7));
        }
    }

    #[test]
    fn the_last_values_keep_what_decays_at_the_first() {
        let usable = [1.0, 0.0, 1.0, 1.0];
        let (values, _) = update(&Adam { decaying: 7, decay: 0.25, ..G }, 0.0, usable);
        assert_eq!(values[..7], [0.75; 7]);
        assert_eq!(values[7..], [1.0; 13]);
    }

    #[test]
    fn tiny_moments_become_zero() {
        let usable = [1.0, 0.0, 1.0, 1.0];
        assert_eq!(update(&G, 1e-30, usable).1, [0.0; 20]);
        assert!(update(&G, -1e-28, usable).1.iter().all(|&m| m < -9e-30));
    }
}
