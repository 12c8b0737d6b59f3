//! The form of two outputs.

use super::{Form, Line, lines};
use crate::cpu::simd::Simd;

/// Two outputs from four inputs: points 0, 1, -1, infinity.
pub(in crate::cpu::conv2d) struct Two;

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
