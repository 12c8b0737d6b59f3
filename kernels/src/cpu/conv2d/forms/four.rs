//! The form of four outputs.

use super::{Form, Line, lines};
use crate::cpu::simd::Simd;

/// Four outputs from six inputs: points 0, 1, -1, 2, -2, infinity.
pub(in crate::cpu::conv2d) struct Four;

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
