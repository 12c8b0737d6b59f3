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
//!
//! A *thin* block, whose first convolution costs less than reading its result from memory, computes z
//! again and, where a shard is one task, keeps no dn either. It rounds one weight gradient otherwise:
//! see `thin.rs`.

mod thin;

use std::ops::Range;

use crate::cpu::batch_norm::{
    FACTORS, InputGradient, MaskedGradients, Normalise, gradient_factors, multiply, statistics,
};
use crate::cpu::channels::totals;
use crate::cpu::conv_pool::{ImagesOut, Stage};
use crate::cpu::conv2d::{Convolution, PartOfGradient, Tasks};
use crate::cpu::finish::Finish;
use crate::cpu::isa::Isa;
use crate::cpu::moments::ImageMoments;
use crate::cpu::panels::PanelsView;
use crate::cpu::scratch::Scratch;
use crate::geometry::ConvBlock;
use crate::threads::{self, cut};
use thin::{Patches, thin_weight_gradient};

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
    let conv = Convolution::new(isa, &g.first);
    let weights = conv.pack_forward(&g.first, w1);
    let first = First { isa, g, conv, weights: Some(weights.view()), x, bias: bias1 };
    let batch = [&mut *mean, &mut *inverse_deviation];
    first.statistics(z, batch, [running_mean, running_variance]);

    let stage = Stage::new(isa, &g.second);
    let weights = stage.conv.pack_forward(&g.second.conv, w2);
    let weights = weights.view();
    let mut scale = Scratch::new(gamma.len());
    let mut scale = scale.write();
    multiply(gamma, inverse_deviation, &mut scale);
    let (scale, z) = (&*scale, &*z);
    let (len, out_len) = (g.second.conv.image_len(), stage.pool.out_image_len());
    let images = stage.conv.images_of_batch(g.first.images());
    let outputs = (cut(y, images * out_len), cut(codes, images * out_len));
    threads::each(outputs, |task, (y, codes)| {
        let (start, count) = (task * images, y.len() / out_len);
        let mut a = Scratch::new(count * len);
        let mut a = a.write();
        first.with_z(z, start..start + count, |z| {
            isa.run(Normalise { x: z, mean, scale, beta, relu: true, y: &mut a });
        });
        stage.forward(start, &a, &weights, bias2, y, codes);
    });
}

/// The first convolution.
struct First<'a> {
    isa: Isa,
    g: &'a ConvBlock,
    conv: Convolution,
    /// For z, where it is computed and not kept from before.
    weights: Option<PanelsView<'a>>,
    x: &'a [f32],
    bias: &'a [f32],
}

impl First<'_> {
    /// Round 1 forward: z, where it is kept, and its statistics.
    fn statistics(&self, z: &mut [f32], batch: [&mut [f32]; 2], running: [&mut [f32]; 2]) {
        let (g, channels) = (&self.g.first, self.bias.len());
        let mut means = Scratch::new(g.images() * channels);
        let mut squares = Scratch::new(g.images() * channels);
        let (mut means, mut squares) = (means.write(), squares.write());
        let out_len = g.out_image_len();
        let images = self.conv.images_of_batch(g.images());
        let few = images * channels;
        let outputs = (cut(z, images * out_len), cut(&mut means, few), cut(&mut squares, few));
        threads::each(outputs, |task, (z, means, squares)| {
            let range = task * images..task * images + means.len() / channels;
            let len = if self.g.is_thin() { range.len() * out_len } else { 0 };
            let mut scratch = Scratch::new(len);
            let mut scratch = scratch.write();
            let z = if self.g.is_thin() { &mut *scratch } else { z };
            self.convolve(range, z);
            let moments = means.chunks_exact_mut(channels).zip(squares.chunks_exact_mut(channels));
            for (image, (means, squares)) in z.chunks_exact_mut(out_len).zip(moments) {
                self.isa.run(ImageMoments { image, means, squares });
            }
        });
        statistics(self.isa, &self.g.norm(), [&means, &squares], batch, running);
    }

    fn convolve(&self, images: Range<usize>, z: &mut [f32]) {
        let finish = Finish { bias: self.bias, relu: false };
        let weights = self.weights.as_ref().expect("packed wherever z is computed");
        self.conv.forward(weights, self.inputs(images), finish, z);
    }

    fn inputs(&self, images: Range<usize>) -> &[f32] {
        let len = self.g.first.image_len();
        &self.x[images.start * len..images.end * len]
    }

    /// Calls `body` with z of some images: read from `kept` or, in a thin block, computed again.
    fn with_z(&self, kept: &[f32], images: Range<usize>, body: impl FnOnce(&[f32])) {
        let len = self.g.first.out_image_len();
        if !self.g.is_thin() {
            return body(&kept[images.start * len..images.end * len]);
        }
        let mut z = Scratch::new(images.len() * len);
        let mut z = z.write();
        self.convolve(images, &mut z);
        body(&z);
    }
}

/// All gradients from dy and what the forward pass left.
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_block_backward(
    g: &ConvBlock,
    dy: &[f32],
    codes: &[u8],
    x: &[f32],
    w1: &[f32],
    bias1: &[f32],
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
    let channels = gamma.len();
    let mut sums = Scratch::new(g.first.images() * channels);
    let mut xhat_sums = Scratch::new(g.first.images() * channels);
    let (mut sums, mut xhat_sums) = (sums.write(), xhat_sums.write());
    let mut scale = Scratch::new(channels);
    let mut scale = scale.write();
    multiply(gamma, inverse_deviation, &mut scale);
    let conv = Convolution::new(isa, &g.first);
    let weights = g.is_thin().then(|| conv.pack_forward(&g.first, w1));
    let weights = weights.as_ref().map(|weights| weights.view());
    let first = First { isa, g, conv, weights, x, bias: bias1 };
    let norm = Norm { mean, inverse_deviation, scale: &scale, beta };
    let stage = Stage::new(isa, &g.second);
    let tasks = Tasks::new(&stage.conv, &g.second.conv, true);
    let second = Second { isa, g, dy, codes, z, first: &first, norm, stage };
    // A thin block keeps dn only where its sums are tasks of their own.
    let kept = if g.is_thin() && !tasks.apart { 0 } else { g.second.conv.input_len() };
    let [of_dn, of_xhat] = thin::sums_len(g);
    let [mut dn, mut of_dn, mut of_xhat] = [kept, of_dn, of_xhat].map(Scratch::new);
    let (mut dn, mut of_dn, mut of_xhat) = (dn.write(), of_dn.write(), of_xhat.write());
    let left = [&mut *dn, &mut *of_dn, &mut *of_xhat];
    second.gradients(&tasks, w2, left, [&mut sums, &mut xhat_sums], dw2, dbias2);

    let mut factors = Scratch::new(FACTORS * channels);
    let mut factors = factors.write();
    let given = [gamma, mean, inverse_deviation];
    gradient_factors(isa, &g.norm(), [&sums, &xhat_sums], given, [dgamma, dbeta], &mut factors);
    if g.is_thin() {
        thin_weight_gradient(isa, [&of_dn, &of_xhat], &factors, dw1);
    } else {
        first_gradients(isa, g, [x, z, &dn, &factors], w1, dx, dw1);
    }
}

/// Batch norm as it was in the forward pass.
#[derive(Clone, Copy)]
struct Norm<'a> {
    mean: &'a [f32],
    inverse_deviation: &'a [f32],
    /// gamma inverse_deviation
    scale: &'a [f32],
    beta: &'a [f32],
}

/// Round 1 backward: from y to the normalised numbers.
struct Second<'a> {
    isa: Isa,
    g: &'a ConvBlock,
    dy: &'a [f32],
    codes: &'a [u8],
    z: &'a [f32],
    first: &'a First<'a>,
    norm: Norm<'a>,
    stage: Stage<'a>,
}

impl Second<'_> {
    /// What is left for round 2, each image's sums of dn and of dn xhat, dw2 and dbias2. Left are dn,
    /// where it is kept, and a thin block's sums of dn and of xhat.
    fn gradients(
        &self,
        tasks: &Tasks,
        w: &[f32],
        [dn, of_dn, of_xhat]: [&mut [f32]; 3],
        [sums, xhat_sums]: [&mut [f32]; 2],
        dw: &mut [f32],
        dbias: &mut [f32],
    ) {
        let (g, channels) = (&self.g.second.conv, self.norm.mean.len());
        let weights = self.stage.conv.pack_backward(g, w);
        let weights = weights.view();
        let mut bias_sums = Scratch::new(g.images() * dbias.len());
        let mut bias_sums = bias_sums.write();
        let [dn_sums_len, xhat_sums_len] = thin::shard_sums_len(self.g);
        let thin = (cut(of_dn, dn_sums_len), cut(of_xhat, xhat_sums_len));
        let nothing = (cut(&mut [], dn_sums_len), cut(&mut [], xhat_sums_len));
        let (thin, thin_apart) = if tasks.apart { (nothing, thin) } else { (thin, nothing) };
        let outputs = (
            cut(&mut *dn, tasks.images * g.image_len()),
            cut(sums, tasks.images * channels),
            cut(xhat_sums, tasks.images * channels),
            cut(&mut bias_sums, tasks.images * dbias.len()),
            thin,
        );
        let (of_dn, of_xhat) = thin_apart;
        let beside = (of_xhat, |shard, sums: &mut [f32]| self.add_xhat_of(shard, sums));
        tasks.gradients(self.isa, dw, outputs, beside, |images, gradient, out| {
            let out = out.map(|(dn, sums, xhat_sums, bias_sums, (of_dn, of_xhat))| Out {
                dn,
                sums,
                xhat_sums,
                bias_sums,
                of_dn,
                of_xhat,
            });
            self.task(&weights, images, gradient, out);
        });
        threads::each(of_dn, |shard, sums| self.add_dn_of(shard, dn, sums));
        totals(self.isa, &bias_sums, dbias);
    }

    /// Round 1 for images `all`, as far as it is wanted: their weight gradient and what is their own.
    fn task(
        &self,
        weights: &PanelsView,
        all: Range<usize>,
        gradient: Option<PartOfGradient>,
        mut out: Option<Out>,
    ) {
        let (g, stage) = (&self.g.second.conv, &self.stage);
        let (len, out_len) = (g.image_len(), stage.pool.out_image_len());
        let mut patches = Patches::NONE;
        stage.conv.few_at_a_time(all.clone(), gradient, |images, weight_sums| {
            let here = images.start - all.start..images.end - all.start;
            let outputs = images.start * out_len..images.end * out_len;
            let dy = (&self.dy[outputs.clone()], &self.codes[outputs]);
            let mut a = Scratch::new(here.len() * len);
            let mut a = a.write();
            self.first.with_z(self.z, images.clone(), |z| {
                let Norm { mean, scale, beta, .. } = self.norm;
                self.isa.run(Normalise { x: z, mean, scale, beta, relu: true, y: &mut a });
                let weight_sums = weight_sums.map(|sums| (&*a, sums));
                let Some(out) = &mut out else { return stage.backward(dy, weight_sums, None) };
                let of = |len: usize| here.start * len..here.end * len;
                let mut passing =
                    Scratch::new(if out.dn.is_empty() { here.len() * len } else { 0 });
                let mut passing = passing.write();
                let dn = if out.dn.is_empty() { &mut *passing } else { &mut out.dn[of(len)] };
                let bias_sums = &mut out.bias_sums[of(g.out_channels())];
                let dx = Some((weights, &mut *dn));
                stage.backward(dy, weight_sums, Some(ImagesOut { bias_sums, dx }));
                let channels = self.norm.mean.len();
                let sums = [&mut out.sums[of(channels)], &mut out.xhat_sums[of(channels)]];
                let adds_thin = !out.of_dn.is_empty();
                self.mask_and_sum(z, &mut a, dn, sums, adds_thin);
                if adds_thin {
                    let begin = here.start == 0;
                    self.first.add_patches_times(images.clone(), dn, (out.of_dn, begin));
                    self.first.add_xhat(images, &a, (out.of_xhat, begin), &mut patches);
                }
            });
        });
        if let Some(out) = out {
            patches.write(out.of_xhat, self.g);
        }
    }

    /// da, of some images, becomes dn, which is 0 where a is not above 0; its and dn xhat's sums of
    /// each image. If `keep_xhat`, a becomes xhat.
    fn mask_and_sum(
        &self,
        z: &[f32],
        a: &mut [f32],
        da: &mut [f32],
        [sums, xhat_sums]: [&mut [f32]; 2],
        keep_xhat: bool,
    ) {
        let (len, channels) = (self.g.second.conv.image_len(), self.norm.mean.len());
        let sums = sums.chunks_exact_mut(channels).zip(xhat_sums.chunks_exact_mut(channels));
        let images = a.chunks_exact_mut(len).zip(da.chunks_exact_mut(len));
        for ((x, (positive, gradient)), (sums, xhat_sums)) in
            z.chunks_exact(len).zip(images).zip(sums)
        {
            self.isa.run(MaskedGradients {
                x,
                mean: self.norm.mean,
                inverse_deviation: self.norm.inverse_deviation,
                gradient,
                positive,
                keep_xhat,
                sums,
                xhat_sums,
            });
        }
    }
}

/// Where results of some images go, but for the weights' gradient: to nowhere where there is no room.
struct Out<'a> {
    dn: &'a mut [f32],
    sums: &'a mut [f32],
    xhat_sums: &'a mut [f32],
    bias_sums: &'a mut [f32],
    of_dn: &'a mut [f32],
    of_xhat: &'a mut [f32],
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
    let tasks = Tasks::new(&conv, &g.first, wanted);
    let dx = cut(dx, tasks.images * len);
    tasks.gradients(isa, dw, dx, (), |all, gradient, mut dx| {
        conv.few_at_a_time(all.clone(), gradient, |images, sums| {
            let out = images.start * out_len..images.end * out_len;
            let mut dz = Scratch::new(out.len());
            let mut dz = dz.write();
            isa.run(InputGradient { dy: &dn[out.clone()], x: &z[out], factors, dx: &mut dz });
            let here = (images.start - all.start) * len..(images.end - all.start) * len;
            let dx = weights.as_ref().zip(dx.as_deref_mut());
            let dx = dx.map(|(weights, dx)| (weights, &mut dx[here]));
            let x = &x[images.start * len..images.end * len];
            conv.backward(&dz, sums.map(|sums| (x, sums)), dx);
        });
    });
}
