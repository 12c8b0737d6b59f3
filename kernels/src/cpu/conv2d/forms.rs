//! The short convolutions behind Winograd's algorithm, in one dimension.
//!
//! A form of M outputs computes y = d ⋆ g, where d has T = M + 2 numbers and g three, as
//! y = Aᵀ [(G g) ⊙ (Bᵀ d)]: T products instead of 3 M (S. Winograd, "Arithmetic complexity of
//! computations", 1980; for networks: Lavin and Gray, arXiv:1509.09308). Every output is bilinear
//! in d and g, so both gradients are the same matrices the other way around:
//!
//! ```text
//! dd = B [(G g) ⊙ (A dy)]        dg = Gᵀ [(Bᵀ d) ⊙ (A dy)]
//! ```
//!
//! Two dimensions are one applied to columns and then to rows. The matrices come from points by
//! the construction of Toom and Cook; a test derives the identities again. The more points, the
//! fewer products and the larger the matrices' numbers, and so the error: forms of five and six
//! outputs serve inference alone and have no gradients.

use crate::cpu::simd::Simd;

/// A linear map of `FROM` numbers to `TO` numbers, in all lanes at once.
pub(super) trait Line<const FROM: usize, const TO: usize> {
    /// The map.
    fn apply<S: Simd>(s: S, x: [S::V; FROM]) -> [S::V; TO];
}

/// The transforms of a form with `M` outputs from `T` inputs.
pub(super) trait Form<const T: usize, const M: usize> {
    /// Bᵀ d
    type Input: Line<T, T>;
    /// Aᵀ m
    type Output: Line<T, M>;
    /// G g
    type Weight: Line<3, T>;
}

/// The transforms for the gradients, of a form that serves training.
pub(super) trait Gradients<const T: usize, const M: usize>: Form<T, M> {
    /// A y, the adjoint of `Output`
    type OutputGradient: Line<M, T>;
    /// B v, the adjoint of `Input`
    type InputGradient: Line<T, T>;
    /// Gᵀ u, the adjoint of `Weight`
    type WeightGradient: Line<T, 3>;
}

macro_rules! lines {
    ($face:ident<$inputs:literal, $outputs:literal> for $form:ident;
     $($line:ident $name:ident: $from:literal => $to:literal, |$s:ident, $x:pat_param| $body:block)*) => {
        impl $face<$inputs, $outputs> for $form {
            $(type $line = $name;)*
        }
        $(pub(super) struct $name;
        impl Line<$from, $to> for $name {
            #[inline(always)]
            fn apply<S: Simd>($s: S, $x: [S::V; $from]) -> [S::V; $to] $body
        })*
    };
}

/// Two outputs from four inputs: points 0, 1, -1, infinity.
pub(super) struct Two;

lines! {
    Form<4, 2> for Two;
    Input Input2: 4 => 4, |s, [d0, d1, d2, d3]| {
        [s.sub(d0, d2), s.add(d1, d2), s.sub(d2, d1), s.sub(d1, d3)]
    }
    Output Output2: 4 => 2, |s, [m0, m1, m2, m3]| {
        [s.add(m0, s.add(m1, m2)), s.sub(s.sub(m1, m2), m3)]
    }
    Weight Weight2: 3 => 4, |s, [g0, g1, g2]| {
        let half = s.splat(0.5);
        let ends = s.add(g0, g2);
        [g0, s.mul(half, s.add(ends, g1)), s.mul(half, s.sub(ends, g1)), g2]
    }
}

lines! {
    Gradients<4, 2> for Two;
    OutputGradient OutputGradient2: 2 => 4, |s, [y0, y1]| {
        [y0, s.add(y0, y1), s.sub(y0, y1), s.sub(s.splat(0.0), y1)]
    }
    InputGradient InputGradient2: 4 => 4, |s, [v0, v1, v2, v3]| {
        [v0, s.add(s.sub(v1, v2), v3), s.sub(s.add(v1, v2), v0), s.sub(s.splat(0.0), v3)]
    }
    WeightGradient WeightGradient2: 4 => 3, |s, [u0, u1, u2, u3]| {
        let half = s.splat(0.5);
        let (sum, difference) = (s.add(u1, u2), s.sub(u1, u2));
        [s.fma(half, sum, u0), s.mul(half, difference), s.fma(half, sum, u3)]
    }
}

/// Four outputs from six inputs: points 0, 1, -1, 2, -2, infinity.
pub(super) struct Four;

lines! {
    Form<6, 4> for Four;
    Input Input4: 6 => 6, |s, [d0, d1, d2, d3, d4, d5]| {
        let (two, four) = (s.splat(2.0), s.splat(4.0));
        let (minus_two, minus_four, minus_five) = (s.splat(-2.0), s.splat(-4.0), s.splat(-5.0));
        let (even, odd) = (s.fma(minus_four, d2, d4), s.fma(minus_four, d1, d3));
        let (even2, odd2) = (s.sub(d4, d2), s.sub(d3, d1));
        [
            s.fma(four, d0, s.fma(minus_five, d2, d4)),
            s.add(even, odd),
            s.sub(even, odd),
            s.fma(two, odd2, even2),
            s.fma(minus_two, odd2, even2),
            s.fma(four, d1, s.fma(minus_five, d3, d5)),
        ]
    }
    Output Output4: 6 => 4, |s, [m0, m1, m2, m3, m4, m5]| {
        let (sum, difference) = (s.add(m1, m2), s.sub(m1, m2));
        let (sum2, difference2) = (s.add(m3, m4), s.sub(m3, m4));
        [
            s.add(s.add(m0, sum), sum2),
            s.fma(s.splat(2.0), difference2, difference),
            s.fma(s.splat(4.0), sum2, sum),
            s.add(s.fma(s.splat(8.0), difference2, difference), m5),
        ]
    }
    Weight Weight4: 3 => 6, |s, [g0, g1, g2]| {
        let (minus_sixth, twenty_fourth) = (s.splat(-1.0 / 6.0), s.splat(1.0 / 24.0));
        let (ends, ends2) = (s.add(g0, g2), s.fma(s.splat(4.0), g2, g0));
        [
            s.mul(s.splat(0.25), g0),
            s.mul(minus_sixth, s.add(ends, g1)),
            s.mul(minus_sixth, s.sub(ends, g1)),
            s.mul(twenty_fourth, s.fma(s.splat(2.0), g1, ends2)),
            s.mul(twenty_fourth, s.fma(s.splat(-2.0), g1, ends2)),
            g2,
        ]
    }
}

lines! {
    Gradients<6, 4> for Four;
    OutputGradient OutputGradient4: 4 => 6, |s, [y0, y1, y2, y3]| {
        let four = s.splat(4.0);
        let (even, odd) = (s.add(y0, y2), s.add(y1, y3));
        let (even2, odd2) = (s.fma(four, y2, y0), s.fma(four, y3, y1));
        [
            y0,
            s.add(even, odd),
            s.sub(even, odd),
            s.fma(s.splat(2.0), odd2, even2),
            s.fma(s.splat(-2.0), odd2, even2),
            y3,
        ]
    }
    InputGradient InputGradient4: 6 => 6, |s, [v0, v1, v2, v3, v4, v5]| {
        let (two, four) = (s.splat(2.0), s.splat(4.0));
        let (minus_two, minus_four, minus_five) = (s.splat(-2.0), s.splat(-4.0), s.splat(-5.0));
        let (sum, difference) = (s.add(v1, v2), s.sub(v1, v2));
        let (sum2, difference2) = (s.add(v3, v4), s.sub(v3, v4));
        [
            s.mul(four, v0),
            s.fma(minus_four, difference, s.fma(minus_two, difference2, s.mul(four, v5))),
            s.fma(minus_five, v0, s.sub(s.mul(minus_four, sum), sum2)),
            s.fma(two, difference2, s.fma(minus_five, v5, difference)),
            s.add(v0, s.add(sum, sum2)),
            v5,
        ]
    }
    WeightGradient WeightGradient4: 6 => 3, |s, [u0, u1, u2, u3, u4, u5]| {
        let (sixth, twelfth, twenty_fourth) =
            (s.splat(1.0 / 6.0), s.splat(1.0 / 12.0), s.splat(1.0 / 24.0));
        let (sum, difference) = (s.add(u1, u2), s.sub(u1, u2));
        let (sum2, difference2) = (s.add(u3, u4), s.sub(u3, u4));
        let minus_sixth = s.splat(-1.0 / 6.0);
        [
            s.fma(s.splat(0.25), u0, s.fma(twenty_fourth, sum2, s.mul(minus_sixth, sum))),
            s.fma(twelfth, difference2, s.mul(minus_sixth, difference)),
            s.fma(sixth, s.sub(sum2, sum), u5),
        ]
    }
}

/// Five outputs from seven inputs: points 0, 1, -1, 2, -2, 1/2, infinity.
pub(super) struct Five;

lines! {
    Form<7, 5> for Five;
    Input Input5: 7 => 7, |s, [d0, d1, d2, d3, d4, d5, d6]| {
        let (two, four) = (s.splat(2.0), s.splat(4.0));
        let (minus_two, minus_four, minus_five) = (s.splat(-2.0), s.splat(-4.0), s.splat(-5.0));
        let minus_half = s.splat(-0.5);
        // What the point 1/2 adds to the six points of `Input4`, which follow.
        let [e0, e1, e2, e3, e4, e5] =
            [(d0, d1), (d1, d2), (d2, d3), (d3, d4), (d4, d5), (d5, d6)]
                .map(|(d, next)| s.fma(minus_half, d, next));
        let (even, odd) = (s.fma(minus_four, e2, e4), s.fma(minus_four, e1, e3));
        let (even2, odd2) = (s.sub(e4, e2), s.sub(e3, e1));
        [
            s.fma(four, s.sub(e0, e2), even2),
            s.add(even, odd),
            s.sub(even, odd),
            s.fma(two, odd2, even2),
            s.fma(minus_two, odd2, even2),
            s.fma(four, d1, s.fma(minus_five, d3, d5)),
            s.fma(minus_four, odd2, s.sub(e5, e3)),
        ]
    }
    Output Output5: 7 => 5, |s, [m0, m1, m2, m3, m4, m5, m6]| {
        let (two, four, eight, sixteen) = (s.splat(2.0), s.splat(4.0), s.splat(8.0), s.splat(16.0));
        let (sum, difference) = (s.add(m1, m2), s.sub(m1, m2));
        let (sum2, difference2) = (s.add(m3, m4), s.sub(m3, m4));
        [
            s.fma(sixteen, m5, s.add(s.add(m0, sum), sum2)),
            s.fma(eight, m5, s.fma(two, difference2, difference)),
            s.fma(four, s.add(sum2, m5), sum),
            s.fma(two, m5, s.fma(eight, difference2, difference)),
            s.add(s.fma(sixteen, sum2, sum), s.add(m5, m6)),
        ]
    }
    Weight Weight5: 3 => 7, |s, [g0, g1, g2]| {
        let (two, half) = (s.splat(2.0), s.splat(0.5));
        let (ends, ends2) = (s.add(g0, g2), s.fma(s.splat(4.0), g2, g0));
        [
            s.mul(s.splat(-0.5), g0),
            s.mul(s.splat(-1.0 / 3.0), s.add(ends, g1)),
            s.mul(s.splat(1.0 / 9.0), s.sub(ends, g1)),
            s.mul(s.splat(1.0 / 36.0), s.fma(two, g1, ends2)),
            s.mul(s.splat(-1.0 / 60.0), s.fma(s.splat(-2.0), g1, ends2)),
            s.mul(s.splat(1.0 / 45.0), s.fma(two, g0, s.fma(half, g2, g1))),
            g2,
        ]
    }
}

/// Six outputs from eight inputs: points 0, 1, -1, 2, -2, 1/2, -1/2, infinity.
pub(super) struct Six;

lines! {
    Form<8, 6> for Six;
    Input Input6: 8 => 8, |s, [d0, d1, d2, d3, d4, d5, d6, d7]| {
        let (two, half) = (s.splat(2.0), s.splat(0.5));
        let (minus_two, minus_half) = (s.splat(-2.0), s.splat(-0.5));
        let (minus_four, minus_quarter) = (s.splat(-4.0), s.splat(-0.25));
        let (middle, minus_middle, minus_ones) =
            (s.splat(5.25), s.splat(-5.25), s.splat(-4.25));
        let (d42, d64, d31, d53) = (s.sub(d4, d2), s.sub(d6, d4), s.sub(d3, d1), s.sub(d5, d3));
        let even = s.fma(minus_ones, d4, s.add(d2, d6));
        let odd = s.fma(minus_ones, d3, s.add(d1, d5));
        let (even2, odd2) = (s.fma(minus_quarter, d42, d64), s.fma(minus_quarter, d31, d53));
        let (even_half, odd_half) = (s.fma(minus_four, d42, d64), s.fma(minus_four, d31, d53));
        [
            s.fma(middle, d42, s.sub(d0, d6)),
            s.add(even, odd),
            s.sub(even, odd),
            s.fma(two, odd2, even2),
            s.fma(minus_two, odd2, even2),
            s.fma(half, odd_half, even_half),
            s.fma(minus_half, odd_half, even_half),
            s.fma(minus_middle, d53, s.sub(d7, d1)),
        ]
    }
    Output Output6: 8 => 6, |s, [m0, m1, m2, m3, m4, m5, m6, m7]| {
        let (two, four, eight) = (s.splat(2.0), s.splat(4.0), s.splat(8.0));
        let (sixteen, thirty_two) = (s.splat(16.0), s.splat(32.0));
        let (sum, difference) = (s.add(m1, m2), s.sub(m1, m2));
        let (sum2, difference2) = (s.add(m3, m4), s.sub(m3, m4));
        let (sum_half, difference_half) = (s.add(m5, m6), s.sub(m5, m6));
        [
            s.fma(thirty_two, sum_half, s.add(s.add(m0, sum), sum2)),
            s.fma(sixteen, difference_half, s.fma(two, difference2, difference)),
            s.fma(eight, sum_half, s.fma(four, sum2, sum)),
            s.fma(four, difference_half, s.fma(eight, difference2, difference)),
            s.fma(two, sum_half, s.fma(sixteen, sum2, sum)),
            s.add(s.fma(thirty_two, difference2, difference), s.add(difference_half, m7)),
        ]
    }
    Weight Weight6: 3 => 8, |s, [g0, g1, g2]| {
        let (two, minus_two, four) = (s.splat(2.0), s.splat(-2.0), s.splat(4.0));
        let minus_two_ninths = s.splat(-2.0 / 9.0);
        let (ninetieth, hundred_eightieth) = (s.splat(1.0 / 90.0), s.splat(1.0 / 180.0));
        let ends = s.add(g0, g2);
        let (ends2, ends_half) = (s.fma(four, g2, g0), s.fma(four, g0, g2));
        [
            g0,
            s.mul(minus_two_ninths, s.add(ends, g1)),
            s.mul(minus_two_ninths, s.sub(ends, g1)),
            s.mul(ninetieth, s.fma(two, g1, ends2)),
            s.mul(ninetieth, s.fma(minus_two, g1, ends2)),
            s.mul(hundred_eightieth, s.fma(two, g1, ends_half)),
            s.mul(hundred_eightieth, s.fma(minus_two, g1, ends_half)),
            g2,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::arch::portable::Portable;
    use crate::cpu::simd::LANES;

    type Numbers = Vec<f64>;

    fn vectors<const N: usize>(x: &[f64]) -> [<Portable as Simd>::V; N] {
        core::array::from_fn(|i| Portable.splat(x[i] as f32))
    }

    fn numbers<const N: usize>(v: [<Portable as Simd>::V; N]) -> Numbers {
        v.map(|v| {
            let mut lanes = [0.0; LANES];
            Portable.store_slice(&mut lanes, v);
            f64::from(lanes[0])
        })
        .to_vec()
    }

    fn unit(n: usize, i: usize) -> Numbers {
        (0..n).map(|k| f64::from(u8::from(k == i))).collect()
    }

    /// The matrix of a linear function, by its columns.
    fn matrix(inputs: usize, f: impl Fn(&[f64]) -> Numbers) -> Vec<Numbers> {
        (0..inputs).map(|i| f(&unit(inputs, i))).collect()
    }

    fn assert_adjoint(name: &str, f: &[Numbers], adjoint: &[Numbers]) {
        for (i, column) in f.iter().enumerate() {
            for (j, &element) in column.iter().enumerate() {
                assert!((element - adjoint[j][i]).abs() < 1e-7, "{name}, element {j}, {i}");
            }
        }
    }

    /// Every product of unit vectors d and g must come out as d ⋆ g.
    fn check<F: Form<T, M>, const T: usize, const M: usize>() {
        let s = Portable;
        let input = matrix(T, |d| numbers(F::Input::apply(s, vectors(d))));
        let weight = matrix(3, |g| numbers(F::Weight::apply(s, vectors(g))));
        for (i, v) in input.iter().enumerate() {
            for (k, u) in weight.iter().enumerate() {
                let product: Numbers = v.iter().zip(u).map(|(v, u)| v * u).collect();
                let y = numbers::<M>(F::Output::apply(s, vectors(&product)));
                for (j, &y) in y.iter().enumerate() {
                    let expected = f64::from(u8::from(i == j + k));
                    assert!((y - expected).abs() < 1e-6, "d{i} g{k} y{j}: {y}");
                }
            }
        }
    }

    /// The gradient transforms must be the transposes of the others.
    fn check_gradients<F: Gradients<T, M>, const T: usize, const M: usize>() {
        let s = Portable;
        let input = matrix(T, |d| numbers(F::Input::apply(s, vectors(d))));
        let input_gradient = matrix(T, |v| numbers(F::InputGradient::apply(s, vectors(v))));
        assert_adjoint("input", &input, &input_gradient);
        let output = matrix(T, |m| numbers::<M>(F::Output::apply(s, vectors(m))));
        let output_gradient = matrix(M, |y| numbers(F::OutputGradient::apply(s, vectors(y))));
        assert_adjoint("output", &output, &output_gradient);
        let weight = matrix(3, |g| numbers(F::Weight::apply(s, vectors(g))));
        let weight_gradient = matrix(T, |u| numbers(F::WeightGradient::apply(s, vectors(u))));
        assert_adjoint("weight", &weight, &weight_gradient);
    }

    #[test]
    fn two_outputs() {
        check::<Two, 4, 2>();
        check_gradients::<Two, 4, 2>();
    }

    #[test]
    fn four_outputs() {
        check::<Four, 6, 4>();
        check_gradients::<Four, 6, 4>();
    }

    #[test]
    fn five_outputs() {
        check::<Five, 7, 5>();
    }

    #[test]
    fn six_outputs() {
        check::<Six, 8, 6>();
    }
}
