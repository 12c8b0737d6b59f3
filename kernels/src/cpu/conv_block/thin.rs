//! Thin blocks: their first convolution costs less than reading its result from memory.
//!
//! So z is computed again where it is needed, and since dz = scale (dn - m - xhat q) is linear in
//! dn, 1 and xhat, so is dw1 in the sums of patches times these three. Round 1 adds them up, and
//! round 2 is a few thousand multiplications. That rounds dw1 otherwise; all other bits stay.

use std::ops::Range;

use super::First;
use crate::cpu::batch_norm::FACTORS;
use crate::cpu::conv2d::Sums;
use crate::cpu::isa::Isa;
use crate::cpu::reduce::tree_of_slices;
use crate::cpu::scratch::Scratch;
use crate::geometry::{Conv2d, ConvBlock, THIN_DEPTH};

/// The sums over a shard's patches that dw1 of a thin block is made of: patches times dn, patches
/// times xhat, and patches alone.
pub(super) struct ThinSums<'a> {
    first: &'a First<'a>,
    of_dn: Scratch,
    of_xhat: Scratch,
    /// One number a tap and channel.
    patches: [f64; THIN_DEPTH],
}

impl<'a> ThinSums<'a> {
    /// Numbers of the three sums together.
    pub fn len(g: &ConvBlock) -> usize {
        2 * g.first.weight_len() + g.first.depth()
    }

    pub fn new(first: &'a First<'a>) -> Self {
        // Few taps are a direct convolution's, which sums up nothing but the gradient.
        let [of_dn, of_xhat] = [(); 2].map(|()| Scratch::new(first.g.first.weight_len()));
        ThinSums { first, of_dn, of_xhat, patches: [0.0; THIN_DEPTH] }
    }

    /// Adds some images, of which xhat and dn are given; `begin` says that they are the first.
    pub fn add(&mut self, images: Range<usize>, begin: bool, [xhat, dn]: [&[f32]; 2]) {
        let conv = &self.first.conv;
        let x = self.first.inputs(images);
        let channels = 0..self.first.g.first.in_channels();
        for (sums, factor) in [(&mut self.of_dn, dn), (&mut self.of_xhat, xhat)] {
            let sums = &mut sums.write();
            conv.backward(
                factor,
                Some((x, Sums { sums, begin, channels: channels.clone() })),
                None,
            );
        }
        add_patches(&self.first.g.first, x, &mut self.patches);
    }

    pub fn write(self, to: &mut [f32]) {
        let (of_dn, rest) = to.split_at_mut(self.first.g.first.weight_len());
        let (of_xhat, patches) = rest.split_at_mut(of_dn.len());
        of_dn.copy_from_slice(&self.of_dn.read());
        of_xhat.copy_from_slice(&self.of_xhat.read());
        for (to, sum) in patches.iter_mut().zip(self.patches) {
            *to = sum as f32;
        }
    }
}

/// Adds the patches of some images to `sums`, a number a tap and channel: for each row of the kernel
/// the lines that it sees are added up first, pixel by pixel.
fn add_patches(g: &Conv2d, x: &[f32], sums: &mut [f64; THIN_DEPTH]) {
    let row_len = g.kernel_width() * g.in_channels();
    let line = g.width() * g.in_channels();
    let mut lines = Scratch::new(line);
    let mut lines = lines.write();
    for image in x.chunks_exact(g.image_len()) {
        for (row, sums) in sums[..g.depth()].chunks_exact_mut(row_len).enumerate() {
            lines.fill(0.0);
            for seen in (0..g.out_height()).map(|i| i * g.stride() + row) {
                let seen = &image[seen * line..][..line];
                lines.iter_mut().zip(seen).for_each(|(sum, x)| *sum += x);
            }
            for start in (0..g.out_width()).map(|i| i * g.stride() * g.in_channels()) {
                let patch = &lines[start..][..row_len];
                sums.iter_mut().zip(patch).for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
    }
}

/// Round 2 backward of a thin block: dw1 = scale (sums of dn - m sums of 1 - q sums of xhat) with
/// the means m of dn and q of dn xhat, from what the shards left.
pub(super) fn thin_weight_gradient(isa: Isa, left: &[f32], factors: &[f32], dw: &mut [f32]) {
    let channels = factors.len() / FACTORS;
    let depth = dw.len() / channels;
    let mut total = Scratch::new(2 * dw.len() + depth);
    let mut total = total.write();
    let len = total.len();
    tree_of_slices(isa, left, len, &mut total);
    let (of_dn, rest) = total.split_at(dw.len());
    let (of_xhat, patches) = rest.split_at(dw.len());
    let factor = |i: usize, c: usize| f64::from(factors[i * channels + c]);
    for (i, dw) in dw.iter_mut().enumerate() {
        let (tap, c) = (i / channels, i % channels);
        let (scale, mean_dn, minus_mean_dn_xhat) = (factor(2, c), factor(3, c), factor(4, c));
        let centred = f64::from(of_dn[i]) - mean_dn * f64::from(patches[tap]);
        *dw = (scale * (centred + minus_mean_dn_xhat * f64::from(of_xhat[i]))) as f32;
    }
}
