//! The look at all gradients before an update.

use super::channels::tree;
use super::elementwise::TASK_LEN;
use super::isa::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::CheckGradients;
use crate::threads;

/// Numbers whose squares are one part of the norm's sum: another length would change its bits.
const PART_LEN: usize = 16 * 1024;

/// `summary[2]` becomes 1 if the loss `summary[0]` is finite and all gradients are below 2^63 in
/// magnitude, else 0; `summary[3]` what the update is to scale the gradients by, at most 1, so that
/// their norm is within the limit.
pub fn check_gradients(g: &CheckGradients, gradients: &[f32], summary: &mut [f32]) {
    let isa = Isa::current();
    let usable = summary[0].is_finite()
        && threads::all_chunks(gradients, TASK_LEN, |numbers| isa.run(AllUsable { numbers }));
    summary[2] = if usable { 1.0 } else { 0.0 };
    summary[3] = 1.0;
    if g.largest_norm > 0.0 && usable {
        let norm = square_sum(isa, gradients).sqrt();
        summary[3] = (f64::from(g.largest_norm) / norm).min(1.0) as f32;
    }
}

/// The sum of squares, by parts that a tree adds up.
fn square_sum(isa: Isa, numbers: &[f32]) -> f64 {
    let mut parts = vec![0.0; numbers.len().div_ceil(PART_LEN)];
    threads::chunks(&mut parts, 1, |task, part| {
        let start = task * PART_LEN;
        let numbers = &numbers[start..numbers.len().min(start + PART_LEN)];
        part[0] = isa.run(Squares { numbers });
    });
    tree(0.0, parts.len(), |part| parts[part], |a, b| a + b)
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

/// The sum of squares in f64: a chain a lane, and the lanes one after the other.
struct Squares<'a> {
    numbers: &'a [f32],
}

impl Kernel for Squares<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0; LANES];
        for numbers in self.numbers.chunks(LANES) {
            for (sum, &x) in sums.iter_mut().zip(numbers) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(largest_norm: f32, gradients: &[f32], loss: f32) -> [f32; 4] {
        let mut summary = [loss, 3.0, 9.0, 9.0];
        let g = CheckGradients { len: gradients.len() as u32, largest_norm };
        check_gradients(&g, gradients, &mut summary);
        summary
    }

    #[test]
    fn anything_not_finite_is_unusable() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0f32.powi(63)] {
            for place in [0, 15, 16, 19] {
                let mut gradients = [0.5; 20];
                gradients[place] = bad;
                assert_eq!(check(1.0, &gradients, 1.0), [1.0, 3.0, 0.0, 1.0]);
            }
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(check(0.0, &[0.5; 20], bad)[2..], [0.0, 1.0]);
        }
        assert_eq!(check(0.0, &[0.5; 20], 1.0), [1.0, 3.0, 1.0, 1.0]);
    }

    /// 40,000 gradients of 0.5 have norm 100: more than two tasks.
    #[test]
    fn long_gradients_are_scaled_down_to_the_limit() {
        let gradients = [0.5; 40_000];
        assert_eq!(check(25.0, &gradients, 1.0)[3], 0.25);
        assert_eq!(check(101.0, &gradients, 1.0)[3], 1.0);
        assert_eq!(check(0.0, &gradients, 1.0)[3], 1.0);
        assert_eq!(check(1.0, &[0.0; 20], 1.0)[3], 1.0, "no gradient at all");
    }
}
