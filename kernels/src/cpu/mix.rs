//! Mixing the images of a batch with their partners: a task an image.

use super::isa::Isa;
use super::simd::{Kernel, Simd};
use crate::geometry::Mix;
use crate::threads::{self, cut};

/// mixed\[i\] = share x\[i\] + (1 - share) x\[N - 1 - i\], or x\[i\] with a rectangle of x\[N - 1 - i\];
/// shares\[i\] = the share of x\[i\]: [N, H, W, C] -> [N, H, W, C] \[N\]
///
/// # Panics
/// If the geometry has a fault.
pub fn mix(g: &Mix, x: &[f32], mixed: &mut [f32], shares: &mut [f32]) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    let (isa, len) = (Isa::current(), g.image_len());
    let image = |i: usize| &x[i * len..][..len];
    threads::each((cut(mixed, len), cut(shares, 1)), |i, (mixed, share)| {
        let (x, partner, mixture) = (image(i), image(g.images() - 1 - i), g.mixture(i));
        share[0] = mixture.share;
        let Some(pasted) = mixture.pasted else {
            return isa.run(Mean { share: mixture.share, x, partner, mixed });
        };
        mixed.copy_from_slice(x);
        let row_len = g.width() * g.channels();
        for row in pasted.top..pasted.top + pasted.height {
            let columns = pasted.left * g.channels()..(pasted.left + pasted.width) * g.channels();
            mixed[row * row_len..][columns.clone()]
                .copy_from_slice(&partner[row * row_len..][columns]);
        }
    });
}

struct Mean<'a> {
    share: f32,
    x: &'a [f32],
    partner: &'a [f32],
    mixed: &'a mut [f32],
}

impl Kernel for Mean<'_> {
    type Output = ();
    /// A plain loop: the compiler turns it into vectors of the instruction set.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (mixed, (x, partner)) in self.mixed.iter_mut().zip(self.x.iter().zip(self.partner)) {
            *mixed = self.share * x + (1.0 - self.share) * partner;
        }
    }
}
