//! The form of five outputs.

use super::{Form, Line, lines};
use crate::cpu::simd::Simd;

/// Five outputs from seven inputs: points 0, 1, -1, 2, -2, 1/2, infinity.
pub(in crate::cpu::conv2d) struct Five;

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
    OutputGradient OutputGradient5: 5 => 7, |s, [y0, y1, y2, y3, y4]| {
        let (two, minus_two, four) = (s.splat(2.0), s.splat(-2.0), s.splat(4.0));
        let (even, odd) = (s.add(s.add(y0, y4), y2), s.add(y1, y3));
        let (even2, odd2) = (s.fma(four, s.fma(four, y4, y2), y0), s.fma(four, y3, y1));
        let (even_half, odd_half) = (s.fma(four, s.fma(four, y0, y2), y4), s.fma(four, y1, y3));
        [
            y0,
            s.add(even, odd),
            s.sub(even, odd),
            s.fma(two, odd2, even2),
            s.fma(minus_two, odd2, even2),
            s.fma(two, odd_half, even_half),
            y4,
        ]
    }
    InputGradient InputGradient5: 7 => 7, |s, [v0, v1, v2, v3, v4, v5, v6]| {
        let (four, minus_two, minus_half) = (s.splat(4.0), s.splat(-2.0), s.splat(-0.5));
        let (minus_four, minus_five) = (s.splat(-4.0), s.splat(-5.0));
        let (sum, difference) = (s.add(v1, v2), s.sub(v1, v2));
        let (sum2, difference2) = (s.add(v3, v4), s.sub(v3, v4));
        // The gradients of what `Input5` makes of neighbours; the last is v6.
        let e0 = s.mul(four, v0);
        let e1 = s.fma(minus_four, difference, s.fma(minus_two, difference2, s.mul(four, v6)));
        let e2 = s.fma(minus_five, v0, s.sub(s.mul(minus_four, sum), sum2));
        let e3 = s.fma(s.splat(2.0), difference2, s.fma(minus_five, v6, difference));
        let e4 = s.add(v0, s.add(sum, sum2));
        [
            s.mul(minus_two, v0),
            s.fma(minus_half, e1, s.fma(four, v5, e0)),
            s.fma(minus_half, e2, e1),
            s.fma(minus_half, e3, s.fma(minus_five, v5, e2)),
            s.fma(minus_half, e4, e3),
            s.fma(minus_half, v6, s.add(e4, v5)),
            v6,
        ]
    }
    WeightGradient WeightGradient5: 7 => 3, |s, [u0, u1, u2, u3, u4, u5, u6]| {
        let (two, half) = (s.splat(2.0), s.splat(0.5));
        let (at1, at_minus1) = (s.mul(s.splat(-1.0 / 3.0), u1), s.mul(s.splat(1.0 / 9.0), u2));
        let (at2, at_minus2) = (s.mul(s.splat(1.0 / 36.0), u3), s.mul(s.splat(-1.0 / 60.0), u4));
        let at_half = s.mul(s.splat(1.0 / 45.0), u5);
        let (sum, difference) = (s.add(at1, at_minus1), s.sub(at1, at_minus1));
        let (sum2, difference2) = (s.add(at2, at_minus2), s.sub(at2, at_minus2));
        [
            s.fma(s.splat(-0.5), u0, s.fma(two, at_half, s.add(sum, sum2))),
            s.fma(two, difference2, s.add(difference, at_half)),
            s.fma(half, at_half, s.fma(s.splat(4.0), sum2, s.add(sum, u6))),
        ]
    }
}
