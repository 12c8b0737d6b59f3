//! The update by SGD with Nesterov's momentum: one pass over gradients, values and velocities.

use std::ops::Range;

use super::elementwise::TASK_LEN;
use super::handover::HandOver;
use super::isa::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::Sgd;
use crate::threads::{self, cut};

/// Velocities up to this are set to 0: they would only go on into the denormal numbers, which
/// processors are slow with.
const SMALLEST: f32 = 1e-30;

/// g = weight_decay value + gradient `summary[3]`, velocity = momentum velocity + g,
/// value = value - rate (momentum velocity + g); weight_decay is 0 but for the first `decaying`
/// values.
///
/// Nothing changes if `summary[2]` is 0.
pub fn sgd(
    g: &Sgd,
    gradients: &[f32],
    summary: &[f32],
    values: &mut [f32],
    velocities: &mut [f32],
) {
    if summary[2] == 0.0 {
        return;
    }
    let isa = Isa::current();
    let all = values.len();
    let outputs = (cut(values, TASK_LEN), cut(velocities, TASK_LEN));
    threads::each(outputs, |task, (values, velocities)| {
        let gradients = &gradients[task * TASK_LEN..][..values.len()];
        let (scale, len) = (summary[3], values.len());
        let mut update = |part: Range<usize>, decay| {
            let gradients = &gradients[part.clone()];
            let values = &mut values[part.clone()];
            let velocities = &mut velocities[part];
            isa.run(Update { g, decay, scale, gradients, values, velocities, all });
        };
        let decaying = g.decaying().saturating_sub(task * TASK_LEN).min(len);
        update(0..decaying, g.weight_decay);
        update(decaying..len, 0.0);
    });
}

struct Update<'a> {
    g: &'a Sgd,
    decay: f32,
    /// What the gradients are multiplied by.
    scale: f32,
    gradients: &'a [f32],
    values: &'a mut [f32],
    velocities: &'a mut [f32],
    /// How many values there are in all tasks.
    all: usize,
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (zero, scale, rate) = (s.splat(0.0), s.splat(self.scale), s.splat(self.g.rate));
        let (momentum, decay) = (s.splat(self.g.momentum), s.splat(self.decay));
        let (smallest, minus_smallest) = (s.splat(SMALLEST), s.splat(-SMALLEST));
        // SAFETY: the last line ends it.
        let out = unsafe { HandOver::of(self.all) };
        let values = self.values.chunks_mut(LANES).zip(self.velocities.chunks_mut(LANES));
        for (gradient, (value_slice, velocity_slice)) in self.gradients.chunks(LANES).zip(values) {
            let value = s.load_slice(value_slice);
            let gradient = s.fma(decay, value, s.mul(s.load_slice(gradient), scale));
            let velocity = s.fma(momentum, s.load_slice(velocity_slice), gradient);
            let negative = s.select_gt(minus_smallest, velocity, velocity, zero);
            let velocity = s.select_gt(velocity, smallest, velocity, negative);
            s.store_slice(velocity_slice, velocity);
            let step = s.mul(rate, s.fma(momentum, velocity, gradient));
            out.store_slice(s, value_slice, s.sub(value, step));
        }
        out.end(s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps from 1 with gradients 0.5, rate 0.1, momentum 0.8 and decay 0.1, by hand:
    /// g = 0.6, velocity = 0.6, value = 1 - 0.1 (0.48 + 0.6) = 0.892;
    /// g = 0.5892, velocity = 1.0692, value = 0.892 - 0.1 (0.85536 + 0.5892) = 0.747544.
    /// Where nothing decays: velocities 0.5 and 0.9, values 0.91 and 0.788.
    #[test]
    fn two_steps_by_hand() {
        let g = Sgd { len: 20, decaying: 7, rate: 0.1, momentum: 0.8, weight_decay: 0.1 };
        let (mut values, mut velocities) = ([1.0; 20], [0.0; 20]);
        for [first, last] in [[0.892, 0.91], [0.747_544, 0.788]] {
            sgd(&g, &[1.0; 20], &[0.0, 0.0, 1.0, 0.5], &mut values, &mut velocities);
            let near = |values: &[f32], expected: f32| {
                assert!(values.iter().all(|x| (x - expected).abs() < 1e-6), "{values:?}");
            };
            near(&values[..7], first);
            near(&values[7..], last);
        }
        let before = (values, velocities);
        sgd(&g, &[1.0; 20], &[0.0, 0.0, 0.0, 0.5], &mut values, &mut velocities);
        assert_eq!((values, velocities), before);
    }
}
