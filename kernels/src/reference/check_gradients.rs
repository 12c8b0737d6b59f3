//! The look at all gradients before an update.

use super::Real;
use crate::geometry::CheckGradients;

/// `summary[2]` becomes 1 if the loss `summary[0]` is finite and all gradients are below 2^63 in
/// magnitude, so that they and their squares are finite; else 0. `summary[3]` becomes what the
/// update is to scale the gradients by: largest_norm / |gradients| where that is below 1 and
/// there is a limit, else 1 (Pascanu et al., arXiv:1211.5063, section 3.2).
pub fn check_gradients<T: Real>(g: &CheckGradients, gradients: &[T], summary: &mut [T]) {
    let limit = T::nearest(2.0_f64.powi(63));
    let usable = summary[0].is_finite() && gradients.iter().all(|g| g.abs() < limit);
    summary[2] = if usable { T::one() } else { T::zero() };
    summary[3] = T::one();
    if g.largest_norm > 0.0 && usable {
        let squares = gradients.iter().map(|&x| x.into() * x.into());
        let norm = squares.sum::<f64>().sqrt();
        summary[3] = T::nearest((f64::from(g.largest_norm) / norm).min(1.0));
    }
}
