//! The form of six outputs.

use super::{Form, Line, lines};
use crate::cpu::simd::Simd;

/// Six outputs from eight inputs: points 0, 1, -1, 2, -2, 1/2, -1/2, infinity.
pub(in crate::cpu::conv2d) struct Six;

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
    OutputGradient OutputGradient6: 6 => 8, |s, [y0, y1, y2, y3, y4, y5]| {
        let (two, minus_two, four) = (s.splat(2.0), s.splat(-2.0), s.splat(4.0));
        let (even, odd) = (s.add(s.add(y0, y4), y2), s.add(s.add(y1, y5), y3));
        let even2 = s.fma(four, s.fma(four, y4, y2), y0);
        let odd2 = s.fma(four, s.fma(four, y5, y3), y1);
        let even_half = s.fma(four, s.fma(four, y0, y2), y4);
        let odd_half = s.fma(four, s.fma(four, y1, y3), y5);
        [
            y0,
            s.add(even, odd),
            s.sub(even, odd),
            s.fma(two, odd2, even2),
            s.fma(minus_two, odd2, even2),
            s.fma(two, even_half, odd_half),
            s.sub(s.mul(two, even_half), odd_half),
            y5,
        ]
    }
    InputGradient InputGradient6: 8 => 8, |s, [v0, v1, v2, v3, v4, v5, v6, v7]| {
        let (two, half, quarter) = (s.splat(2.0), s.splat(0.5), s.splat(0.25));
        let (four, minus_five) = (s.splat(4.0), s.splat(-5.0));
        let (middle, minus_middle) = (s.splat(5.25), s.splat(-5.25));
        let (minus_ones, minus_twos) = (s.splat(-4.25), s.splat(-2.5));
        let (sum, difference) = (s.add(v1, v2), s.sub(v1, v2));
        let (sum2, difference2) = (s.add(v3, v4), s.sub(v3, v4));
        let (sum_half, difference_half) = (s.add(v5, v6), s.sub(v5, v6));
        [
            v0,
            s.fma(two, difference_half, s.fma(half, difference2, s.sub(difference, v7))),
            s.fma(minus_middle, v0, s.fma(four, sum_half, s.fma(quarter, sum2, sum))),
            s.fma(
                minus_twos,
                s.add(difference2, difference_half),
                s.fma(middle, v7, s.mul(minus_ones, difference)),
            ),
            s.fma(
                minus_five,
                s.fma(quarter, sum2, sum_half),
                s.fma(middle, v0, s.mul(minus_ones, sum)),
            ),
            s.fma(
                minus_middle,
                v7,
                s.fma(half, difference_half, s.fma(two, difference2, difference)),
            ),
            s.add(s.sub(sum, v0), s.add(sum2, sum_half)),
            v7,
        ]
    }
    WeightGradient WeightGradient6: 8 => 3, |s, [u0, u1, u2, u3, u4, u5, u6, u7]| {
        let (two, four) = (s.splat(2.0), s.splat(4.0));
        let minus_two_ninths = s.splat(-2.0 / 9.0);
        let (ninetieth, hundred_eightieth) = (s.splat(1.0 / 90.0), s.splat(1.0 / 180.0));
        let (sum, difference) = (s.add(u1, u2), s.sub(u1, u2));
        let sum2 = s.mul(ninetieth, s.add(u3, u4));
        let difference2 = s.mul(ninetieth, s.sub(u3, u4));
        let sum_half = s.mul(hundred_eightieth, s.add(u5, u6));
        let difference_half = s.mul(hundred_eightieth, s.sub(u5, u6));
        [
            s.fma(minus_two_ninths, sum, s.fma(four, sum_half, s.add(sum2, u0))),
            s.fma(minus_two_ninths, difference, s.mul(two, s.add(difference2, difference_half))),
            s.fma(minus_two_ninths, sum, s.fma(four, sum2, s.add(sum_half, u7))),
        ]
    }
}
