//! Convolution, batch norm, ReLU and a [`ConvPool`](crate::geometry::ConvPool) in one.
//!
//! Batch norm needs the whole batch, so each direction has two rounds over it. What a round
//! computes of an image is used while it is in the cache:
//!
//! ```text
//! forward    round 1   x -> z = x ⋆ w1 + b1, moments of z
//!            round 2   z -> a = relu(norm(z)) -> a ⋆ w2 -> bias, relu, pool, dropout -> y, codes
//! backward   round 1   dy, codes -> d(a ⋆ w2) -> dw2, da -> masked by a > 0: dn, sums of dn
//!            round 2   dn -> dz -> dw1, dx
//! ```
//!
//! Only z and dn are written to memory; a is computed again. All sums have the orders of the
//! kernels of the menu that this stands for, so the bits are theirs.

use std::ops::Range;

use super::batch_norm::{
    FACTORS, ImageMoments, InputGradient, MaskedGradients, Normalise, gradient_factors, multiply,
    statistics,
};
use super::conv_pool::{Stage, bias_gradient};
use super::conv2d::{Convolution, WeightSums};
use super::finish::Finish;
use super::isa::Isa;
use super::reduce::tree_of_slices;
use super::scratch::Scratch;
use crate::geometry::{ConvBlock, SHARD};
use crate::threads;

/// z, its statistics, y and codes from x; the running statistics move.
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_block_forward(
    g: &ConvBlock,
    x: &[f32],
    w1: &[f32],
    bias1: &[f32],
    gamma: &[f32],
    beta: &[f32],
    w2: &[f32],
    bias2: &[f32],
    z: &mut [f32],
    mean: &mut [f32],
    inverse_deviation: &mut [f32],
    y: &mut [f32],
    codes: &mut [u8],
    running_mean: &mut [f32],
    running_variance: &mut [f32],
) {
    let isa = Isa::current();
    convolve_and_gather(
        isa,
        g,
        [x, w1, bias1],
        z,
        [&mut *mean, &mut *inverse_deviation],
        [running_mean, running_variance],
    );
    let stage = Stage::new(isa, &g.second);
    let weights = stage.conv.pack_forward(&g.second.conv, w2);
    let weights = weights.view();
    let mut scale = Scratch::new(gamma.len());
    let mut scale = scale.write();
    multiply(gamma, inverse_deviation, &mut scale);
    let scale = &*scale;
    let (len, out_len) = (g.second.conv.image_len(), stage.pool.out_image_len());
    let images = stage.conv.images_at_once();
    threads::chunks2((y, images * out_len), (codes, images * out_len), |task, y, codes| {
        let (first, count) = (task * images, y.len() / out_len);
        let z = &z[first * len..(first + count) * len];
        let mut a = Scratch::new(count * len);
        let mut a = a.write();
        isa.run(Normalise { x: z, mean, scale, beta, relu: true, y: &mut a });
        stage.forward(first, &a, &weights, bias2, y, codes);
    });
}

/// Round 1 forward: z = x ⋆ w1 + b1, and its statistics.
fn convolve_and_gather(
    isa: Isa,
    g: &ConvBlock,
    [x, w, bias]: [&[f32]; 3],
    z: &mut [f32],
    batch: [&mut [f32]; 2],
    running: [&mut [f32]; 2],
) {
    let (conv, channels) = (Convolution::new(isa, &g.first), g.first.out_channels());
    let weights = conv.pack_forward(&g.first, w);
    let weights = weights.view();
    let mut means = Scratch::new(g.first.images() * channels);
    let mut squares = Scratch::new(g.first.images() * channels);
    let (mut means, mut squares) = (means.write(), squares.write());
    let (len, out_len) = (g.first.image_len(), g.first.out_image_len());
    let images = conv.images_at_once();
    let few = images * channels;
    threads::chunks3(
        (z, images * out_len),
        (&mut means, few),
        (&mut squares, few),
        |task, z, means, squares| {
            let x = &x[task * images * len..];
            let finish = Finish { bias, relu: false };
            conv.forward(&weights, &x[..z.len() / out_len * len], finish, z);
            let moments = means.chunks_exact_mut(channels).zip(squares.chunks_exact_mut(channels));
            for (image, (means, squares)) in z.chunks_exact_mut(out_len).zip(moments) {
                isa.run(ImageMoments { image, means, squares });
            }
        },
    );
    statistics(isa, &g.norm(), [&means, &squares], batch, running);
}

/// All gradients from dy and what the forward pass left.
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_block_backward(
    g: &ConvBlock,
    dy: &[f32],
    codes: &[u8],
    x: &[f32],
    w1: &[f32],
    z: &[f32],
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    w2: &[f32],
    dx: &mut [f32],
    dw1: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    dw2: &mut [f32],
    dbias2: &mut [f32],
) {
    let isa = Isa::current();
    let images = g.first.images();
    let mut dn = Scratch::new(z.len());
    let mut dn = dn.write();
    let mut sums = Scratch::new(images * gamma.len());
    let mut xhat_sums = Scratch::new(images * gamma.len());
    let (mut sums, mut xhat_sums) = (sums.write(), xhat_sums.write());
    let mut scale = Scratch::new(gamma.len());
    let mut scale = scale.write();
    multiply(gamma, inverse_deviation, &mut scale);
    let second = Second { isa, g, dy, codes, z, beta, mean, inverse_deviation, scale: &scale };
    second.gradients(w2, &mut dn, [&mut sums, &mut xhat_sums], dw2, dbias2);

    let mut factors = Scratch::new(FACTORS * gamma.len());
    let mut factors = factors.write();
    let given = [gamma, mean, inverse_deviation];
    gradient_factors(isa, &g.norm(), [&sums, &xhat_sums], given, [dgamma, dbeta], &mut factors);
    first_gradients(isa, g, [x, z, &dn, &factors], w1, dx, dw1);
}

/// Round 1 backward: from y to the normalised numbers.
struct Second<'a> {
    isa: Isa,
    g: &'a ConvBlock,
    dy: &'a [f32],
    codes: &'a [u8],
    z: &'a [f32],
    beta: &'a [f32],
    mean: &'a [f32],
    inverse_deviation: &'a [f32],
    scale: &'a [f32],
}

impl Second<'_> {
    /// dn, each image's sums of dn and of dn xhat, dw2 and dbias2.
    fn gradients(
        &self,
        w: &[f32],
        dn: &mut [f32],
        [sums, xhat_sums]: [&mut [f32]; 2],
        dw: &mut [f32],
        dbias: &mut [f32],
    ) {
        let (g, channels) = (&self.g.second, self.mean.len());
        let stage = Stage::new(self.isa, g);
        let weights = stage.conv.pack_backward(&g.conv, w);
        let weights = weights.view();
        let len = g.conv.image_len();
        let shards = g.conv.images().div_ceil(SHARD);
        let mut parts = Scratch::new(shards * w.len());
        let mut parts = parts.write();
        let mut bias_sums = Scratch::new(g.conv.images() * dbias.len());
        let mut bias_sums = bias_sums.write();
        let outputs = dbias.len();
        let images = stage.conv.images_at_once();
        threads::chunks5(
            (dn, SHARD * len),
            (sums, SHARD * channels),
            (xhat_sums, SHARD * channels),
            (&mut parts, w.len()),
            (&mut bias_sums, SHARD * outputs),
            |shard, dn, sums, xhat_sums, part, bias_sums| {
                let mut weight_sums = Scratch::new(stage.conv.sums_len(&g.conv));
                let mut weight_sums = weight_sums.write();
                let mut first = shard * SHARD;
                let few = dn.chunks_mut(images * len).zip(bias_sums.chunks_mut(images * outputs));
                let few = few.zip(sums.chunks_mut(images * channels));
                for (((dn, bias_sums), sums), xhat_sums) in
                    few.zip(xhat_sums.chunks_mut(images * channels))
                {
                    let range = first..first + dn.len() / len;
                    first = range.end;
                    let mut a = Scratch::new(dn.len());
                    let mut a = a.write();
                    self.normalised(range.clone(), &mut a);
                    let mut da = Scratch::new(dn.len());
                    let mut da = da.write();
                    let out_len = stage.pool.out_image_len();
                    let out = range.start * out_len..range.end * out_len;
                    stage.backward(
                        (&self.dy[out.clone()], &self.codes[out]),
                        WeightSums {
                            x: &a,
                            sums: &mut weight_sums,
                            begin: range.start == shard * SHARD,
                        },
                        bias_sums,
                        Some((&weights, &mut da)),
                    );
                    self.mask_and_sum(range, [&a, &da], dn, [sums, xhat_sums]);
                }
                stage.conv.finish(&weight_sums, part);
            },
        );
        tree_of_slices(self.isa, &parts, w.len(), dw);
        bias_gradient(self.isa, &bias_sums, dbias);
    }

    /// a = relu(norm(z)) of some images.
    fn normalised(&self, images: Range<usize>, a: &mut [f32]) {
        let len = self.g.second.conv.image_len();
        self.isa.run(Normalise {
            x: &self.z[images.start * len..images.end * len],
            mean: self.mean,
            scale: self.scale,
            beta: self.beta,
            relu: true,
            y: a,
        });
    }

    /// dn, which is da where a is above 0, and its and dn xhat's sums of each of some images.
    fn mask_and_sum(
        &self,
        images: Range<usize>,
        [a, da]: [&[f32]; 2],
        dn: &mut [f32],
        [sums, xhat_sums]: [&mut [f32]; 2],
    ) {
        let (len, channels) = (self.g.second.conv.image_len(), self.mean.len());
        let sums = sums.chunks_exact_mut(channels).zip(xhat_sums.chunks_exact_mut(channels));
        for ((i, dn), (sums, xhat_sums)) in dn.chunks_exact_mut(len).enumerate().zip(sums) {
            let (n, here) = (images.start + i, i * len..(i + 1) * len);
            self.isa.run(MaskedGradients {
                dy: &da[here.clone()],
                positive: &a[here],
                x: &self.z[n * len..(n + 1) * len],
                mean: self.mean,
                inverse_deviation: self.inverse_deviation,
                dn,
                sums,
                xhat_sums,
            });
        }
    }
}

/// Round 2 backward: from the normalised numbers to dw1 and, where it is wanted, dx.
fn first_gradients(
    isa: Isa,
    g: &ConvBlock,
    [x, z, dn, factors]: [&[f32]; 4],
    w: &[f32],
    dx: &mut [f32],
    dw: &mut [f32],
) {
    let conv = Convolution::new(isa, &g.first);
    let wanted = !dx.is_empty();
    let weights = wanted.then(|| conv.pack_backward(&g.first, w));
    let weights = weights.as_ref().map(|weights| weights.view());
    let (len, out_len) = (g.first.image_len(), g.first.out_image_len());
    let shards = g.first.images().div_ceil(SHARD);
    let mut parts = Scratch::new(shards * w.len());
    let mut parts = parts.write();
    let mut unwanted = Scratch::new(shards);
    let mut unwanted = unwanted.write();
    let dx = if wanted { (dx, SHARD * len) } else { (&mut *unwanted, 1) };
    let images = conv.images_at_once();
    threads::chunks2(dx, (&mut parts, w.len()), |shard, dx, part| {
        let mut sums = Scratch::new(conv.sums_len(&g.first));
        let mut sums = sums.write();
        let end = g.first.images().min((shard + 1) * SHARD);
        for first in (shard * SHARD..end).step_by(images) {
            let range = first..end.min(first + images);
            let out = range.start * out_len..range.end * out_len;
            let mut dz = Scratch::new(out.len());
            let mut dz = dz.write();
            isa.run(InputGradient { dy: &dn[out.clone()], x: &z[out], factors, dx: &mut dz });
            let place = (first - shard * SHARD) * len;
            let dx = weights
                .as_ref()
                .map(|weights| (weights, &mut dx[place..place + range.len() * len]));
            let x = &x[range.start * len..range.end * len];
            let sums = WeightSums { x, sums: &mut sums, begin: first == shard * SHARD };
            conv.backward(&dz, Some(sums), dx);
        }
        conv.finish(&sums, part);
    });
    tree_of_slices(isa, &parts, w.len(), dw);
}
