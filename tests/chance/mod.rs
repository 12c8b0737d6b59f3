//! What chance allows.

/// Of `n` draws with probability `p`, `found` is within five standard deviations of the mean.
#[track_caller]
pub fn check_binomial(found: usize, n: usize, p: f64) {
    let (mean, deviation) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
    let distance = (found as f64 - mean).abs() / deviation;
    assert!(distance < 5.0, "{found} of {n}, expected {mean} ± {deviation}");
}
