//! Geometries and operands with awkward sizes, small enough for the plain loops.

use toile_kernels::geometry::{
    Augment, BatchNorm, Channels, Conv2d, ConvBlock, ConvPool, CrossEntropy, Dropout, Gather, Gemm,
    Mix, NO_GRADIENT, Pool2d,
};
use toile_kernels::{Algorithm, algorithm};

use super::{Data, Fill, Random};

pub fn random_block(r: &mut Random, fill: Fill) -> ConvBlock {
    if r.below(40) == 0 {
        return large_block(r, fill);
    }
    loop {
        let first = random_conv2d(r);
        if let Some(conv) = random_conv2d_of(r, &first) {
            let second = random_conv_pool(r, fill, conv);
            return ConvBlock { first, epsilon: 1e-3, momentum: 0.99, second };
        }
    }
}

/// One of several shards, each of more images than are computed at once; thin if no input gradient is
/// wanted.
fn large_block(r: &mut Random, fill: Fill) -> ConvBlock {
    let g = |size, [in_channels, out_channels]: [u32; 2], kernel| Conv2d {
        images: 33,
        height: size,
        width: size,
        in_channels,
        out_channels,
        kernel_height: kernel,
        kernel_width: kernel,
        stride: 1,
        padding: 0,
    };
    let second = random_conv_pool(r, fill, g(9, [2, 3], 2));
    ConvBlock { first: g(11, [1, 2], 3), epsilon: 1e-3, momentum: 0.99, second }
}

/// One whose second convolution is computed by Winograd's algorithm, and maybe the first as well.
pub fn random_winograd_block(
    r: &mut Random,
    fill: Fill,
    random: fn(&mut Random) -> Conv2d,
) -> ConvBlock {
    let second = random(r);
    let kernel = r.pick(&[1, 2, 3]);
    let first = Conv2d {
        height: second.height + kernel - 1,
        width: second.width + kernel - 1,
        in_channels: r.pick(&[1, 16, 32]),
        out_channels: second.in_channels,
        kernel_height: kernel,
        kernel_width: kernel,
        padding: 0,
        ..second
    };
    let second = random_conv_pool(r, fill, second);
    ConvBlock { first, epsilon: 1e-3, momentum: 0.99, second }
}

/// A convolution of what `first` gives, if the kernel fits.
fn random_conv2d_of(r: &mut Random, first: &Conv2d) -> Option<Conv2d> {
    let g = Conv2d {
        height: first.out_height() as u32,
        width: first.out_width() as u32,
        in_channels: first.out_channels,
        out_channels: r.channels(),
        ..random_conv2d(r)
    };
    (first.images == g.images && g.fault().is_none() && g.multiply_adds() <= 200_000).then_some(g)
}

/// A window that fits what `conv` gives, and dropout.
pub fn random_conv_pool(r: &mut Random, fill: Fill, conv: Conv2d) -> ConvPool {
    let mut g = ConvPool {
        conv,
        window_height: 1 + r.below(conv.out_height().min(3) as u32),
        window_width: 1 + r.below(conv.out_width().min(3) as u32),
        window_stride: 1 + r.below(3),
        input_gradient: r.below(2),
        dropout: random_dropout(r, fill),
    };
    if r.below(3) == 0 {
        g.dropout.rate = 0.0;
    }
    g.dropout.len = g.output_len() as u32;
    g
}

/// Places in the window, and windows without gradient.
pub fn random_codes(r: &mut Random, g: &ConvPool) -> Data {
    let places = g.window_height * g.window_width;
    let code = |r: &mut Random| match r.below(places + 1) {
        none if none == places => NO_GRADIENT,
        place => place as u8,
    };
    Data::Byte((0..g.output_len()).map(|_| code(r)).collect())
}

pub fn random_gather(r: &mut Random, fill: Fill) -> Gather {
    let divisor = if fill == Fill::Integers { 1.0 } else { r.pick(&[255.0, 127.5, 77.7]) };
    Gather {
        images: r.images(),
        available: 1 + r.below(50),
        image_len: 1 + r.below(200),
        offset: r.pick(&[0.0, 127.5]),
        divisor,
    }
}

pub fn random_augment(r: &mut Random, fill: Fill) -> Augment {
    let Gather { images, available, offset, divisor, .. } = random_gather(r, fill);
    let (height, width) = (1 + r.below(12), 1 + r.below(12));
    Augment {
        images,
        available,
        height,
        width,
        channels: 1 + r.below(3),
        seed_low: r.below(u32::MAX),
        seed_high: r.below(u32::MAX),
        epoch: r.below(9),
        flip: r.below(3),
        shift: r.below(height.min(width)),
        rotation: r.pick(&[0.0, 15.0, 180.0]),
        erasing: r.pick(&[0.0, 0.5, 1.0]),
        offset,
        divisor,
    }
}

pub fn random_mix(r: &mut Random) -> Mix {
    Mix {
        images: r.images(),
        height: 1 + r.below(9),
        width: 1 + r.below(9),
        channels: 1 + r.below(3),
        method: r.below(2),
        seed_low: r.below(u32::MAX),
        seed_high: r.below(u32::MAX),
        step: r.below(1000),
        alpha: r.pick(&[0.2, 1.0, 4.0]),
    }
}

/// Each size small, odd, prime or around a multiple of the lanes; the depth of `gemm_tn` counts
/// images, so it is at times around a multiple of the shard.
pub fn random_gemm(r: &mut Random) -> Gemm {
    let rows = r.pick(&[1, 2, 5, 6, 7, 13, 14, 15, 29, 32, 33, 65, 257]);
    Gemm { rows, columns: r.channels(), depth: r.pick(&[1, 2, 3, 9, 15, 16, 17, 33, 64, 71]) }
}

/// Kernels of unequal sides, strides and paddings, small enough for the plain loops.
pub fn random_conv2d(r: &mut Random) -> Conv2d {
    loop {
        let g = Conv2d {
            images: r.images(),
            height: 1 + r.below(9),
            width: 1 + r.below(9),
            in_channels: r.channels(),
            out_channels: r.channels(),
            kernel_height: r.pick(&[1, 2, 3, 3, 3, 5]),
            kernel_width: r.pick(&[1, 2, 3, 3, 3, 4]),
            stride: r.pick(&[1, 1, 2, 3]),
            padding: r.pick(&[0, 0, 1, 2, 3]),
        };
        if g.fault().is_none() && g.multiply_adds() <= 200_000 {
            return g;
        }
    }
}

/// Geometries that the table gives to the forms of Winograd's algorithm with two and four outputs:
/// tiles that fit and tiles that reach beyond the image.
pub fn random_winograd(r: &mut Random) -> Conv2d {
    random_tiled(r, &[2, 4])
}

/// The same for the forms with five and six outputs. Some have more shards, and some more images in
/// a shard than are transformed at once, than the plain loops can afford in most.
pub fn random_large_winograd(r: &mut Random) -> Conv2d {
    let [images, height, width] = match r.below(40) {
        0 => [33, 8, 6],
        1 => [3, 26, 26],
        _ => return random_tiled(r, &[5, 6]),
    };
    Conv2d {
        images,
        height,
        width,
        in_channels: r.pick(&[16, 32, 48]),
        out_channels: 16,
        kernel_height: 3,
        kernel_width: 3,
        stride: 1,
        padding: 0,
    }
}

fn random_tiled(r: &mut Random, forms: &[usize]) -> Conv2d {
    loop {
        let g = Conv2d {
            images: r.images(),
            height: 1 + r.below(11),
            width: 1 + r.below(11),
            in_channels: r.pick(&[16, 32, 48]),
            out_channels: r.pick(&[16, 32, 48]),
            kernel_height: 3,
            kernel_width: 3,
            stride: 1,
            padding: r.pick(&[0, 0, 1, 2]),
        };
        let fits = || matches!(algorithm(&g), Algorithm::Winograd(form) if forms.contains(&form));
        if g.fault().is_none() && g.multiply_adds() <= 1_000_000 && fits() {
            return g;
        }
    }
}

/// Images of one channel, narrow and wider than a strip, whose outputs a network that only answers
/// computes in pairs.
pub fn random_pairs(r: &mut Random) -> Conv2d {
    loop {
        let g = Conv2d {
            images: r.images(),
            height: 1 + r.below(9),
            width: r.pick(&[1, 2, 3, 4, 7, 8, 16, 17, 28, 65, 66, 67, 68, 131]),
            in_channels: 1,
            out_channels: r.pick(&[16, 32, 48]),
            kernel_height: 3,
            kernel_width: 3,
            stride: 1,
            padding: r.pick(&[0, 0, 1, 2]),
        };
        if g.fault().is_none() && g.multiply_adds() <= 500_000 {
            return g;
        }
    }
}

/// A single image of a single tile with two outputs a side, or what is left of it, in several panels.
pub fn random_single_tile(r: &mut Random) -> Conv2d {
    let padding = r.pick(&[0, 0, 1]);
    let side = |r: &mut Random| 3 + r.below(2) - 2 * padding;
    Conv2d {
        images: 1,
        height: side(r),
        width: side(r),
        in_channels: r.pick(&[16, 32, 48]),
        out_channels: r.pick(&[48, 64, 80]),
        kernel_height: 3,
        kernel_width: 3,
        stride: 1,
        padding,
    }
}

pub fn random_channels(r: &mut Random) -> Channels {
    let pixels = r.pick(&[1, 1, 2, 9, 23, 49]);
    Channels { images: r.images(), pixels, channels: r.channels() }
}

pub fn random_batch_norm(r: &mut Random) -> BatchNorm {
    let Channels { images, pixels, channels } = random_channels(r);
    BatchNorm { images, pixels, channels, epsilon: 1e-3, momentum: 0.99 }
}

pub fn random_dropout(r: &mut Random, fill: Fill) -> Dropout {
    // Whole numbers stay exact where 1 / (1 - rate) is a power of two.
    let rates: &[f32] = if fill == Fill::Integers { &[0.0, 0.5, 0.75] } else { &[0.1, 0.25, 0.9] };
    let rate = r.pick(rates);
    let [seed_low, seed_high, purpose, step] = [(); 4].map(|()| r.below(u32::MAX));
    Dropout { len: r.len(), seed_low, seed_high, purpose, step, rate }
}

/// Windows that overlap, that tile the image, and that leave gaps and borders.
pub fn random_pool2d(r: &mut Random) -> Pool2d {
    loop {
        let g = Pool2d {
            images: r.images(),
            height: 1 + r.below(9),
            width: 1 + r.below(9),
            channels: r.channels(),
            window_height: 1 + r.below(3),
            window_width: 1 + r.below(3),
            stride: 1 + r.below(4),
        };
        if g.fault().is_none() {
            return g;
        }
    }
}

/// Rows of which each is a distribution but for rounding.
pub fn random_targets(r: &mut Random, g: &CrossEntropy) -> Data {
    let Data::Real(mut targets) = r.positives(g.len(), Fill::Floats) else { unreachable!() };
    for row in targets.chunks_mut(g.classes()) {
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|target| *target /= sum);
    }
    Data::Real(targets)
}

pub fn random_cross_entropy(r: &mut Random) -> CrossEntropy {
    let images = r.pick(&[1, 2, 16, 17, 63, 64, 65, 150]);
    CrossEntropy { images, classes: r.pick(&[1, 2, 3, 10, 17, 100, 256]) }
}
