//! Picking a batch out of a resident data set.

use super::Real;
use crate::geometry::Gather;

/// x\[i\] = (pixels\[order\[i\]\] - offset) / divisor: [available, image] [N] -> [N, image]
///
/// # Panics
/// If an entry of the order is not less than the number of available images.
pub fn gather<T: Real>(g: &Gather, pixels: &[u8], order: &[u32], x: &mut [T]) {
    let (offset, divisor) = (T::nearest(g.offset.into()), T::nearest(g.divisor.into()));
    for i in 0..g.images() {
        for j in 0..g.image_len() {
            let byte = pixels[order[i] as usize * g.image_len() + j];
            x[i * g.image_len() + j] = (T::nearest(byte.into()) - offset) / divisor;
        }
    }
}

/// picked\[i\] = labels\[order\[i\]\]: [available] [N] -> [N]
///
/// # Panics
/// If an entry of the order is not less than the number of available images.
pub fn gather_labels(g: &Gather, labels: &[u8], order: &[u32], picked: &mut [u8]) {
    for i in 0..g.images() {
        picked[i] = labels[order[i] as usize];
    }
}
