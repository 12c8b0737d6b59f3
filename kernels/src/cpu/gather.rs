//! Picking a batch out of a resident data set: bytes in, real numbers out.

use super::isa::Isa;
use super::simd::{Kernel, Simd};
use crate::geometry::Gather;
use crate::threads;

/// x\[i\] = (pixels\[order\[i\]\] - offset) / divisor: [available, image] \[N\] -> [N, image]
///
/// # Panics
/// If an entry of the order is not less than the number of available images.
pub fn gather(g: &Gather, pixels: &[u8], order: &[u32], x: &mut [f32]) {
    check_order(g, order);
    let (isa, len) = (Isa::current(), g.image_len());
    threads::chunks(x, len.max(1), |i, x| {
        let bytes = &pixels[order[i] as usize * len..][..len];
        isa.run(Convert { bytes, offset: g.offset, divisor: g.divisor, x });
    });
}

pub(super) fn check_order(g: &Gather, order: &[u32]) {
    for &image in order {
        assert!(image < g.available, "image {image} of a data set of {}", g.available);
    }
}

struct Convert<'a> {
    bytes: &'a [u8],
    offset: f32,
    divisor: f32,
    x: &'a mut [f32],
}

impl Kernel for Convert<'_> {
    type Output = ();
    /// A plain loop: the compiler turns it into vectors of the instruction set.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (x, &byte) in self.x.iter_mut().zip(self.bytes) {
            *x = (f32::from(byte) - self.offset) / self.divisor;
        }
    }
}

/// picked\[i\] = labels\[order\[i\]\]: \[available\] \[N\] -> \[N\]
///
/// # Panics
/// If an entry of the order is not less than the number of available images.
pub fn gather_labels(g: &Gather, labels: &[u8], order: &[u32], picked: &mut [u8]) {
    check_order(g, order);
    for (picked, &image) in picked.iter_mut().zip(order) {
        *picked = labels[image as usize];
    }
}
