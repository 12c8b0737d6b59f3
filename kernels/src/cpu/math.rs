//! exp and ln in f64 from additions, multiplications, divisions and bit operations alone: the
//! same bits on every target, which the functions of the system's library do not promise.
//!
//! Both split off a power of two and evaluate a series on what is left; the result is within an
//! ulp or two of the true value.

/// ln 2 in two parts: the first ends in 21 zero bits, so that its product with an exponent is
/// exact; the second is the rest.
const LN_2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
const LN_2_LOW: f64 = f64::from_bits(0x3DEA_39EF_3579_3C76);

/// 2^exponent, for exponents of normal numbers (-1022 to 1023).
#[inline(always)]
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// e^x; 0 and infinity where the result leaves the range, NaN for NaN.
#[must_use]
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    /// 1 / n! for n from 13 down to 2: on |r| <= ln(2) / 2 the next term is below 2^-57.
    const COEFFICIENTS: [f64; 12] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
    ];
    /// Adding 1.5 * 2^52 pushes the fraction out: what comes back is the nearest whole number.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    if x.is_nan() {
        return x;
    }
    // Beyond these the result is 0 or infinite; within them the exponent fits two factors.
    let x = x.clamp(-750.0, 710.0);
    let whole = (x * std::f64::consts::LOG2_E + ROUNDER) - ROUNDER;
    let r = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let series = COEFFICIENTS.iter().fold(0.0, |sum, c| sum * r + c);
    let mantissa = 1.0 + (r + r * r * series);
    let exponent = whole as i64;
    let half = exponent / 2;
    mantissa * power_of_two(half) * power_of_two(exponent - half)
}

/// The natural logarithm; -infinity at 0, NaN below it and for NaN.
#[must_use]
#[inline(always)]
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    // Denormal numbers have no exponent of their own: scale them up first.
    let (x, scaled) = if x < f64::MIN_POSITIVE { (x * power_of_two(54), 54) } else { (x, 0) };
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023 - scaled;
    let mut mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln(1 + f) = 2 artanh(s) = 2 s + 2 s^3 / 3 + 2 s^5 / 5 + ... with s = f / (2 + f). f is exact
    // and s is not, so 2 s is written as f - s f, and that as f - f^2 / 2 + s f^2 / 2.
    let f = mantissa - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let series = (1..=12).rev().fold(0.0, |sum, n| (sum + 2.0 / f64::from(2 * n + 1)) * z);
    let square = 0.5 * f * f;
    let exponent = exponent as f64;
    let small = s * (square + series) + exponent * LN_2_LOW;
    exponent * LN_2_HIGH - ((square - small) - f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// Distance in representable numbers.
    fn ulps(a: f64, b: f64) -> u64 {
        assert_eq!(a.is_sign_negative(), b.is_sign_negative(), "{a} and {b}");
        a.to_bits().abs_diff(b.to_bits())
    }

    /// Numbers in [0, 1).
    fn uniforms(purpose: u32) -> impl Iterator<Item = f64> {
        let stream = Stream { seed: 1, purpose, step: 0 };
        (0..200_000).map(move |i| {
            let [a, b, ..] = stream.block(i);
            (f64::from(a) + f64::from(b) / 4_294_967_296.0) / 4_294_967_296.0
        })
    }

    #[test]
    fn exp_is_within_an_ulp_of_the_system() {
        for u in uniforms(1) {
            for x in [u * 1454.0 - 745.0, u * 2.0 - 1.0, u * -30.0, u * 1e-8] {
                assert!(ulps(exp(x), x.exp()) <= 1, "exp({x:e}) = {:e}", exp(x));
            }
        }
    }

    #[test]
    fn ln_is_within_an_ulp_of_the_system() {
        for u in uniforms(2) {
            let any = f64::from_bits((u * f64::INFINITY.to_bits() as f64) as u64);
            for x in [any, u + 1e-300, 1.0 + u, 1.0 + u * 1e-6, 1.0 - u * 1e-3, u * 256.0 + 1.0] {
                assert!(ulps(ln(x), x.ln()) <= 1, "ln({x:e}) = {:e}", ln(x));
            }
        }
    }

    #[test]
    fn extremes() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp(f64::INFINITY), f64::INFINITY);
        assert_eq!(exp(710.0), f64::INFINITY);
        assert_eq!(exp(-746.0), 0.0);
        assert!(exp(709.7).is_finite());
        assert!(exp(-745.0) > 0.0);
        assert!(exp(f64::NAN).is_nan());
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        assert_eq!(ln(-0.0), f64::NEG_INFINITY);
        assert_eq!(ln(f64::INFINITY), f64::INFINITY);
        assert!(ln(-1.0).is_nan());
        assert!(ln(f64::NAN).is_nan());
        let smallest = f64::from_bits(1);
        assert!(ulps(ln(smallest), smallest.ln()) <= 1);
    }
}
