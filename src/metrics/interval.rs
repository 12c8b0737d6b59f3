//! What another sample of as many images could have shown.

/// The 0.975 quantile of the standard normal distribution: 95 % lie between it and its negative.
pub(super) const QUANTILE: f64 = 1.959_963_984_540_054;

/// The 95 % interval of a fraction by Wilson's score (Wilson 1927, JASA 22:209-212): `hits` of
/// `images` that are at least 1.
pub fn wilson(hits: usize, images: usize) -> [f64; 2] {
    let (fraction, count) = (hits as f64 / images as f64, images as f64);
    let shrink = 1.0 + QUANTILE * QUANTILE / count;
    let centre = fraction + QUANTILE * QUANTILE / (2.0 * count);
    let variance =
        fraction * (1.0 - fraction) / count + QUANTILE * QUANTILE / (4.0 * count * count);
    let half_width = QUANTILE * variance.sqrt();
    [((centre - half_width) / shrink).max(0.0), ((centre + half_width) / shrink).min(1.0)]
}
