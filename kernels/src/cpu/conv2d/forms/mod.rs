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
//! fewer products and the larger the matrices' numbers, and so the error.

mod five;
mod four;
mod six;
mod two;

use crate::cpu::simd::Simd;

pub(super) use five::Five;
pub(super) use four::Four;
pub(super) use six::Six;
pub(super) use two::Two;

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
    /// A y, the adjoint of `Output`
    type OutputGradient: Line<M, T>;
    /// B v, the adjoint of `Input`
    type InputGradient: Line<T, T>;
    /// Gᵀ u, the adjoint of `Weight`
    type WeightGradient: Line<T, 3>;
}

/// A form from its six maps.
macro_rules! lines {
    (Form<$inputs:literal, $outputs:literal> for $form:ident;
     $($line:ident $name:ident: $from:literal => $to:literal, |$s:ident, $x:pat_param| $body:block)*) => {
        impl Form<$inputs, $outputs> for $form {
            $(type $line = $name;)*
        }
        $(pub(in crate::cpu::conv2d) struct $name;
        impl Line<$from, $to> for $name {
            #[inline(always)]
            fn apply<S: Simd>($s: S, $x: [S::V; $from]) -> [S::V; $to] $body
        })*
    };
}
use lines;

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
    fn check_gradients<F: Form<T, M>, const T: usize, const M: usize>() {
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
        check_gradients::<Five, 7, 5>();
    }

    #[test]
    fn six_outputs() {
        check::<Six, 8, 6>();
        check_gradients::<Six, 8, 6>();
    }
}
