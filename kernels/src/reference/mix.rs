//! Mixing the images of a batch with their partners.

use super::Real;
use crate::geometry::Mix;

/// mixed\[i\] = share x\[i\] + (1 - share) x\[N - 1 - i\], or x\[i\] with a rectangle of x\[N - 1 - i\];
/// shares\[i\] = the share of x\[i\]: [N, H, W, C] -> [N, H, W, C] \[N\]
///
/// # Panics
/// If the geometry has a fault.
pub fn mix<T: Real>(g: &Mix, x: &[T], mixed: &mut [T], shares: &mut [T]) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    for i in 0..g.images() {
        let mixture = g.mixture(i);
        let share = T::nearest(mixture.share.into());
        shares[i] = share;
        for j in 0..g.image_len() {
            let own = x[i * g.image_len() + j];
            let other = x[(g.images() - 1 - i) * g.image_len() + j];
            let (row, column) = (j / g.channels() / g.width(), j / g.channels() % g.width());
            mixed[i * g.image_len() + j] = match mixture.pasted {
                None => share * own + (T::one() - share) * other,
                Some(pasted) if pasted.contains(row, column) => other,
                Some(_) => own,
            };
        }
    }
}
