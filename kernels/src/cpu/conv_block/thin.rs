//! Thin blocks: their first convolution costs less than reading its result from memory.
//!
//! So z is computed again where it is needed, and since dz = scale (dn - m - xhat q) is linear in
//! dn, 1 and xhat, so is dw1 in the sums of patches times these three. Round 1 adds them up, those of
//! dn in a loop behind it where it has tasks apart; round 2 is a few thousand multiplications. That
//! rounds dw1 otherwise; all other bits stay.

use std::ops::Range;

use super::{First, Norm, Second};
use crate::cpu::batch_norm::{FACTORS, Normalise};
use crate::cpu::conv2d::Sums;
use crate::cpu::isa::Isa;
use crate::cpu::reduce::tree_of_slices;
use crate::cpu::scratch::Scratch;
use crate::geometry::{Conv2d, ConvBlock, THIN_DEPTH, shard_len};

/// Numbers of a shard's two sums, which dw1 of a thin block is made of: of patches times dn, and of
/// patches times xhat and patches alone.
pub(super) fn shard_sums_len(g: &ConvBlock) -> [usize; 2] {
    [g.first.weight_len(), g.first.weight_len() + g.first.depth()]
}

/// The same for a batch; none where the block is not thin.
pub(super) fn sums_len(g: &ConvBlock) -> [usize; 2] {
    let images = if g.is_thin() { g.first.images() } else { 0 };
    shard_sums_len(g).map(|len| images.div_ceil(shard_len(g.first.images())) * len)
}

/// Sums of patches alone, one number a tap and channel.
pub(super) struct Patches([f64; THIN_DEPTH]);

impl Patches {
    pub const NONE: Patches = Patches([0.0; THIN_DEPTH]);

    /// Writes them to the end of a shard's sums of xhat, if there is room.
    pub fn write(self, of_xhat: &mut [f32], g: &ConvBlock) {
        let of_xhat = of_xhat.get_mut(g.first.weight_len()..).unwrap_or_default();
        for (to, sum) in of_xhat.iter_mut().zip(self.0) {
            *to = sum as f32;
        }
    }
}

impl First<'_> {
    /// Adds the patches of some images times the numbers behind them, dn or xhat, to a shard's sums,
    /// which `begin` with these.
    pub fn add_patches_times(
        &self,
        images: Range<usize>,
        numbers: &[f32],
        (sums, begin): (&mut [f32], bool),
    ) {
        // Few taps are a direct convolution's, which sums up nothing but the gradient.
        let sums = &mut sums[..self.g.first.weight_len()];
        let sums = Sums { sums, begin, whole: false, channels: 0..self.g.first.in_channels() };
        self.conv.backward(numbers, Some((self.inputs(images), sums)), None);
    }

    /// The same with xhat, and the patches alone.
    pub fn add_xhat(
        &self,
        images: Range<usize>,
        xhat: &[f32],
        sums: (&mut [f32], bool),
        patches: &mut Patches,
    ) {
        self.add_patches_times(images.clone(), xhat, sums);
        add_patches(&self.g.first, self.inputs(images), &mut patches.0);
    }
}

impl Second<'_> {
    /// A shard's sums of dn, which was kept.
    pub fn add_dn_of(&self, shard: usize, dn: &[f32], sums: &mut [f32]) {
        let all = self.shard(shard);
        let len = self.g.first.out_image_len();
        self.first.conv.few_at_a_time(all.clone(), None, |images, _| {
            let dn = &dn[images.start * len..images.end * len];
            let begin = images.start == all.start;
            self.first.add_patches_times(images, dn, (sums, begin));
        });
    }

    /// A shard's sums of xhat.
    pub fn add_xhat_of(&self, shard: usize, sums: &mut [f32]) {
        let Norm { mean, inverse_deviation: scale, .. } = self.norm;
        let beta = Scratch::zeros(mean.len());
        let beta = &beta.read();
        let all = self.shard(shard);
        let mut patches = Patches::NONE;
        self.first.conv.few_at_a_time(all.clone(), None, |images, _| {
            let mut xhat = Scratch::new(images.len() * self.g.first.out_image_len());
            let mut xhat = xhat.write();
            self.first.with_z(self.z, images.clone(), |x| {
                self.isa.run(Normalise { x, mean, scale, beta, relu: false, y: &mut xhat });
            });
            let begin = images.start == all.start;
            self.first.add_xhat(images, &xhat, (sums, begin), &mut patches);
        });
        patches.write(sums, self.g);
    }

    fn shard(&self, shard: usize) -> Range<usize> {
        let len = shard_len(self.g.first.images());
        shard * len..self.g.first.images().min((shard + 1) * len)
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
/// the means m of dn and q of dn xhat, from the shards' sums.
pub(super) fn thin_weight_gradient(
    isa: Isa,
    [of_dn, of_xhat]: [&[f32]; 2],
    factors: &[f32],
    dw: &mut [f32],
) {
    let channels = factors.len() / FACTORS;
    let depth = dw.len() / channels;
    let mut total = Scratch::new(2 * dw.len() + depth);
    let mut total = total.write();
    let (total_dn, total_xhat) = total.split_at_mut(dw.len());
    tree_of_slices(isa, of_dn, total_dn);
    tree_of_slices(isa, of_xhat, total_xhat);
    let (total_xhat, patches) = total_xhat.split_at(dw.len());
    let factor = |i: usize, c: usize| f64::from(factors[i * channels + c]);
    for (i, dw) in dw.iter_mut().enumerate() {
        let (tap, c) = (i / channels, i % channels);
        let (scale, mean_dn, minus_mean_dn_xhat) = (factor(2, c), factor(3, c), factor(4, c));
        let centred = f64::from(total_dn[i]) - mean_dn * f64::from(patches[tap]);
        *dw = (scale * (centred + minus_mean_dn_xhat * f64::from(total_xhat[i]))) as f32;
    }
}
