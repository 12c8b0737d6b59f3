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
//! Two dimensions are one applied to columns and then to rows. The matrices come from the points
//! 0, 1, -1, 2, -2 and infinity by the construction of Toom and Cook; a test derives the
//! identities again.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::cpu::finish::FinishVector;
use crate::cpu::simd::Simd;

/// A linear map of `FROM` numbers to `TO` numbers, in all lanes at once.
pub(super) trait Line<const FROM: usize, const TO: usize> {
    /// The map.
    fn apply<S: Simd>(s: S, x: [S::V; FROM]) -> [S::V; TO];
}

/// The six transforms of a form with `M` outputs from `T` inputs.
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

macro_rules! lines {
    ($(#[$doc:meta])* $form:ident: $inputs:literal => $outputs:literal;
     $($line:ident $name:ident: $from:literal => $to:literal, |$s:ident, $x:pat_param| $body:block)*) => {
        $(#[$doc])*
        pub(super) struct $form;
        impl Form<$inputs, $outputs> for $form {
            $(type $line = $name;)*
        }
        $(pub(super) struct $name;
        impl Line<$from, $to> for $name {
            #[inline(always)]
            fn apply<S: Simd>($s: S, $x: [S::V; $from]) -> [S::V; $to] $body
        })*
    };
}

lines! {
    /// Two outputs from four inputs: points 0, 1, -1, infinity.
    Two: 4 => 2;
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

lines! {
    /// Four outputs from six inputs: points 0, 1, -1, 2, -2, infinity.
    Four: 6 => 4;
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

/// A kernel that applies the map `L`.
pub(super) struct Through<K, L, const FROM: usize, const TO: usize> {
    /// What is mapped and where it goes.
    pub kernel: K,
    line: PhantomData<L>,
}

/// `kernel` through the map `L`.
pub(super) fn through<L: Line<FROM, TO>, K, const FROM: usize, const TO: usize>(
    kernel: K,
) -> Through<K, L, FROM, TO> {
    Through { kernel, line: PhantomData }
}

/// A square of vectors in memory: where the first lies, and the steps to the next row and column.
#[derive(Clone, Copy)]
pub(super) struct Square {
    pub start: *mut f32,
    pub row: usize,
    pub column: usize,
}

impl Square {
    /// A square that is only read.
    pub fn read_only(start: *const f32, row: usize, column: usize) -> Square {
        Square { start: start.cast_mut(), row, column }
    }

    /// # Safety
    /// The square must have this place.
    #[inline(always)]
    pub unsafe fn at(self, i: usize, j: usize) -> *mut f32 {
        // SAFETY: the caller's square lies inside one slice.
        unsafe { self.start.add(i * self.row + j * self.column) }
    }
}

/// What becomes of a number in the place that it is for.
pub(super) trait Sink<S: Simd>: Copy {
    /// The new content of the place that `v` is for.
    ///
    /// # Safety
    /// 16 f32 must be readable at `place`.
    unsafe fn place(self, s: S, place: *const f32, v: S::V) -> S::V;
}

/// It takes the place.
#[derive(Clone, Copy)]
pub(super) struct Overwrite;

impl<S: Simd> Sink<S> for Overwrite {
    #[inline(always)]
    unsafe fn place(self, _: S, _: *const f32, v: S::V) -> S::V {
        v
    }
}

/// It is added to what is there.
#[derive(Clone, Copy)]
pub(super) struct Add;

impl<S: Simd> Sink<S> for Add {
    #[inline(always)]
    unsafe fn place(self, s: S, place: *const f32, v: S::V) -> S::V {
        // SAFETY: the caller guarantees it.
        s.add(unsafe { s.load(place) }, v)
    }
}

impl<S: Simd> Sink<S> for FinishVector<S::V> {
    #[inline(always)]
    unsafe fn place(self, s: S, _: *const f32, v: S::V) -> S::V {
        self.apply(s, v)
    }
}

/// Applies a map to the columns of `from` and then to the rows of what this gives, and puts the
/// result to `to` by way of `sink`.
///
/// # Safety
/// `FROM` by `FROM` vectors of `from` must be readable, `TO` by `TO` of `to` writable.
#[inline(always)]
pub(super) unsafe fn both_ways<L: Line<FROM, TO>, S: Simd, const FROM: usize, const TO: usize>(
    s: S,
    from: Square,
    to: Square,
    sink: impl Sink<S>,
) {
    // Left without initial values: to write these would cost a third of the transform.
    let mut half = [const { [const { MaybeUninit::<S::V>::uninit() }; FROM] }; TO];
    for j in 0..FROM {
        let mut column = [s.splat(0.0); FROM];
        for (i, column) in column.iter_mut().enumerate() {
            // SAFETY: the caller guarantees the places of both squares.
            *column = unsafe { s.load(from.at(i, j)) };
        }
        for (half, value) in half.iter_mut().zip(L::apply(s, column)) {
            half[j].write(value);
        }
    }
    for (i, half) in half.iter().enumerate() {
        let mut row = [s.splat(0.0); FROM];
        for (row, half) in row.iter_mut().zip(half) {
            // SAFETY: the loop above wrote every column of every row.
            *row = unsafe { half.assume_init() };
        }
        for (j, value) in L::apply(s, row).into_iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                let to = to.at(i, j);
                s.store(to, sink.place(s, to, value));
            }
        }
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

    /// Every product of unit vectors d and g must come out as d ⋆ g, and the three gradient
    /// transforms must be the transposes of the others: that is all there is to a form.
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
        let output = matrix(T, |m| numbers::<M>(F::Output::apply(s, vectors(m))));
        let output_gradient = matrix(M, |y| numbers(F::OutputGradient::apply(s, vectors(y))));
        assert_adjoint("output", &output, &output_gradient);
        let input_gradient = matrix(T, |v| numbers(F::InputGradient::apply(s, vectors(v))));
        assert_adjoint("input", &input, &input_gradient);
        let weight_gradient = matrix(T, |u| numbers(F::WeightGradient::apply(s, vectors(u))));
        assert_adjoint("weight", &weight, &weight_gradient);
    }

    #[test]
    fn two_outputs() {
        check::<Two, 4, 2>();
    }

    #[test]
    fn four_outputs() {
        check::<Four, 6, 4>();
    }
}
