//! Every kernel of the menu against the reference, on every instruction set of this machine.
//!
//! For random awkward shapes: whole numbers must come out exactly, real numbers within a stated
//! tolerance of the reference in f64; the bits must not depend on AVX2 or AVX-512, on the height
//! of the matrix tiles or on the number of threads, and must be those of the reference in f32
//! where it fixes the order of all sums.

mod common;

use common::Tolerance::{LargestTerms, Terms, Value};
use common::geometries::{
    random_augment, random_batch_norm, random_block, random_channels, random_codes,
    random_conv_pool, random_conv2d, random_cross_entropy, random_dropout, random_gather,
    random_gemm, random_large_winograd, random_mix, random_pairs, random_pool2d,
    random_single_tile, random_targets, random_winograd, random_winograd_block,
};
use common::{
    Call, Fill, Kernel, Promise, Random, check, check_bits, one_layer, unwritten, unwritten_bytes,
};
use toile_kernels::geometry::{
    Adam, CheckGradients, Conv2d, ConvBlock, CrossEntropy, Elements, MoveTowards, SUMMARY_LEN, Sgd,
    Targets,
};
use toile_kernels::{Buffer, Isa, MENU};

/// Products and convolutions: all is promised.
const PRODUCT: Promise = Promise { exact: true, bits: true, tiles: true, tolerance: Terms(2e-6) };
/// Kernels that add up at most: no tiles.
const SUM: Promise = Promise { tiles: false, ..PRODUCT };
/// Kernels that divide or take roots: whole numbers are nothing special.
const QUOTIENT: Promise =
    Promise { exact: false, bits: true, tiles: false, tolerance: Value(1e-5) };
/// Kernels with an exponential function, which the reference takes from elsewhere: within a
/// rounding of f32.
const EXPONENTIAL: Promise =
    Promise { exact: false, bits: false, tiles: false, tolerance: Value(1.2e-7) };

/// Makes a test of each case, another one for the graphics card, and the names of all.
macro_rules! cases {
    ($($kernel:ident: $promise:expr, $make:expr;)*) => {
        const CASES: &[&str] = &[$(stringify!($kernel)),*];
        $(#[test]
        fn $kernel() {
            check(stringify!($kernel), &$promise, $make);
        })*
        #[cfg(feature = "gpu")]
        mod on_gpu {
            use super::*;
            $(#[test]
            fn $kernel() {
                common::on_gpu::check(stringify!($kernel), &$promise, $make);
            })*
        }
    };
}

cases! {
    gather: Promise { tolerance: Value(1e-7), ..SUM }, |r, fill| {
        let g = random_gather(r, fill);
        call!(gather, g; pixels: byte = r.bytes(g.available() * g.image_len(), 256),
            order: index = r.indices(g.images(), g.available)
            => x: real_mut = unwritten(g.images() * g.image_len()))
    };
    gather_labels: SUM, |r, fill| {
        let g = random_gather(r, fill);
        call!(gather_labels, g; labels: byte = r.bytes(g.available(), 256),
            order: index = r.indices(g.images(), g.available)
            => picked: byte_mut = unwritten_bytes(g.images()))
    };
    augment: Promise { tolerance: Value(1e-7), ..SUM }, |r, fill| {
        let g = random_augment(r, fill);
        let image_len = g.gather().image_len();
        call!(augment, g; pixels: byte = r.bytes(g.available() * image_len, 256),
            order: index = r.indices(g.images(), g.available)
            => x: real_mut = unwritten(g.images() * image_len))
    };
    mix: QUOTIENT, |r, fill| {
        let g = random_mix(r);
        call!(mix, g; x: real = r.reals(g.len(), fill)
            => mixed: real_mut = unwritten(g.len()), shares: real_mut = unwritten(g.images()))
    };
    targets: Promise { tolerance: Value(1e-7), ..QUOTIENT }, |r, fill| {
        let CrossEntropy { images, classes } = random_cross_entropy(r);
        let g = Targets { images, classes, mixed: r.below(2), smoothing: r.pick(&[0.0, 0.1]) };
        call!(targets, g; labels: byte = r.bytes(g.images(), classes),
            shares: real = r.positives(g.shares_len(), fill)
            => targets: real_mut = unwritten(g.len()))
    };
    gemm_nn: PRODUCT, |r, fill| {
        let g = random_gemm(r);
        call!(gemm_nn, g; a: real = r.reals(g.left_len(), fill),
            b: real = r.reals(g.right_len(), fill) => c: real_mut = unwritten(g.result_len()))
    };
    gemm_nt: PRODUCT, |r, fill| {
        let g = random_gemm(r);
        call!(gemm_nt, g; a: real = r.reals(g.left_len(), fill),
            b: real = r.reals(g.right_len(), fill) => c: real_mut = unwritten(g.result_len()))
    };
    gemm_tn: PRODUCT, |r, fill| {
        let g = random_gemm(r);
        call!(gemm_tn, g; a: real = r.reals(g.left_len(), fill),
            b: real = r.reals(g.right_len(), fill) => c: real_mut = unwritten(g.result_len()))
    };
    conv2d_forward: PRODUCT, |r, fill| forward(r, fill, random_conv2d).directly();
    conv2d_backward_input: PRODUCT, |r, fill| input_gradient(r, fill, random_conv2d).directly();
    conv2d_backward_weight: PRODUCT, |r, fill| weight_gradient(r, fill, random_conv2d).directly();
    conv_pool_forward: PRODUCT, |r, fill| {
        pool_forward(r, fill, random_conv2d).directly()
    };
    conv_pool_backward: PRODUCT, |r, fill| {
        pool_backward(r, fill, random_conv2d).directly()
    };
    conv_block_forward: BLOCK, |r, fill| {
        block_forward(r, fill).directly()
    };
    conv_block_backward: BLOCK, |r, fill| {
        block_backward(r, fill, false).directly()
    };
    bias_forward: SUM, |r, fill| {
        let g = random_channels(r);
        call!(bias_forward, g; x: real = r.reals(g.len(), fill),
            bias: real = r.reals(g.channels(), fill) => y: real_mut = unwritten(g.len()))
    };
    bias_backward: SUM, |r, fill| {
        let g = random_channels(r);
        call!(bias_backward, g; dy: real = r.reals(g.len(), fill)
            => dbias: real_mut = unwritten(g.channels()))
    };
    relu_forward: SUM, |r, fill| {
        let g = Elements { len: r.len() };
        call!(relu_forward, g; x: real = r.reals(g.len(), fill)
            => y: real_mut = unwritten(g.len()))
    };
    relu_backward: SUM, |r, fill| {
        let g = Elements { len: r.len() };
        call!(relu_backward, g; y: real = r.reals(g.len(), fill),
            dy: real = r.reals(g.len(), fill) => dx: real_mut = unwritten(g.len()))
    };
    add_assign: SUM, |r, fill| {
        let g = Elements { len: r.len() };
        call!(add_assign, g; x: real = r.reals(g.len(), fill)
            => sum: real_mut = r.reals(g.len(), fill))
    };
    move_towards: SUM, |r, fill| {
        let g = MoveTowards { len: r.len(), share: 0.25 };
        call!(move_towards, g; x: real = r.reals(g.len(), fill)
            => average: real_mut = r.reals(g.len(), fill))
    };
    dropout: SUM, |r, fill| {
        let g = random_dropout(r, fill);
        call!(dropout, g; x: real = r.reals(g.len(), fill) => y: real_mut = unwritten(g.len()))
    };
    batch_norm_forward: QUOTIENT, |r, fill| {
        let g = random_batch_norm(r);
        let c = g.channels();
        call!(batch_norm_forward, g; x: real = r.reals(g.len(), fill),
            gamma: real = r.reals(c, fill), beta: real = r.reals(c, fill)
            => y: real_mut = unwritten(g.len()), mean: real_mut = unwritten(c),
            inverse_deviation: real_mut = unwritten(c), running_mean: real_mut = r.reals(c, fill),
            running_variance: real_mut = r.positives(c, fill))
    };
    // dgamma and dbeta add up to 1,617 terms of up to 16, which cancel.
    batch_norm_backward: Promise { tolerance: Value(1e-4), ..QUOTIENT }, |r, fill| {
        let g = random_batch_norm(r);
        let c = g.channels();
        call!(batch_norm_backward, g; dy: real = r.reals(g.len(), fill),
            x: real = r.reals(g.len(), fill), gamma: real = r.reals(c, fill),
            mean: real = r.reals(c, fill), inverse_deviation: real = r.positives(c, fill)
            => dx: real_mut = unwritten(g.len()), dgamma: real_mut = unwritten(c),
            dbeta: real_mut = unwritten(c))
    };
    batch_norm_inference: QUOTIENT, |r, fill| {
        let g = random_batch_norm(r);
        let c = g.channels();
        call!(batch_norm_inference, g; x: real = r.reals(g.len(), fill),
            gamma: real = r.reals(c, fill), beta: real = r.reals(c, fill),
            mean: real = r.reals(c, fill), variance: real = r.positives(c, fill)
            => y: real_mut = unwritten(g.len()))
    };
    max_pool2d_forward: SUM, |r, fill| {
        let g = random_pool2d(r);
        call!(max_pool2d_forward, g; x: real = r.reals(g.input_len(), fill)
            => y: real_mut = unwritten(g.output_len()),
            codes: byte_mut = unwritten_bytes(g.output_len()))
    };
    max_pool2d_backward: SUM, |r, fill| {
        let g = random_pool2d(r);
        let places = g.window_height * g.window_width;
        call!(max_pool2d_backward, g; dy: real = r.reals(g.output_len(), fill),
            codes: byte = r.bytes(g.output_len(), places)
            => dx: real_mut = unwritten(g.input_len()))
    };
    softmax: EXPONENTIAL, |r, fill| {
        let g = random_cross_entropy(r);
        call!(softmax, g; logits: real = r.reals(g.len(), fill)
            => probabilities: real_mut = unwritten(g.len()))
    };
    cross_entropy_forward: EXPONENTIAL, |r, fill| {
        let g = random_cross_entropy(r);
        call!(cross_entropy_forward, g; logits: real = r.reals(g.len(), fill),
            labels: byte = r.bytes(g.images(), g.classes)
            => probabilities: real_mut = unwritten(g.len()),
            losses: real_mut = unwritten(g.images()), summary: real_mut = unwritten(SUMMARY_LEN))
    };
    cross_entropy_backward: Promise { tolerance: Value(1e-6), ..QUOTIENT }, |r, fill| {
        let g = random_cross_entropy(r);
        call!(cross_entropy_backward, g; dloss: real = r.reals(1, fill),
            probabilities: real = r.positives(g.len(), fill),
            labels: byte = r.bytes(g.images(), g.classes)
            => dlogits: real_mut = unwritten(g.len()))
    };
    soft_cross_entropy_forward: Promise { tolerance: Value(4e-7), ..EXPONENTIAL }, |r, fill| {
        let g = random_cross_entropy(r);
        call!(soft_cross_entropy_forward, g; logits: real = r.reals(g.len(), fill),
            targets: real = random_targets(r, &g),
            labels: byte = r.bytes(g.images(), g.classes)
            => probabilities: real_mut = unwritten(g.len()),
            losses: real_mut = unwritten(g.images()), summary: real_mut = unwritten(SUMMARY_LEN))
    };
    soft_cross_entropy_backward: Promise { tolerance: Value(1e-6), ..QUOTIENT }, |r, fill| {
        let g = random_cross_entropy(r);
        call!(soft_cross_entropy_backward, g; dloss: real = r.reals(1, fill),
            probabilities: real = random_targets(r, &g), targets: real = random_targets(r, &g)
            => dlogits: real_mut = unwritten(g.len()))
    };
    check_gradients: QUOTIENT, |r, fill| {
        let largest_norm = r.pick(&[0.0, 1.5, 1e6]);
        let g = CheckGradients { len: r.len(), largest_norm };
        call!(check_gradients, g; gradients: real = r.reals(g.len(), fill)
            => summary: real_mut = r.reals(SUMMARY_LEN, fill))
    };
    adam: QUOTIENT, |r, fill| {
        let (share1, share2, len) = (0.1, 0.001, r.len());
        let decaying = r.below(len + 1);
        let g = Adam { len, decaying, rate: 1e-3, share1, share2, epsilon: 1e-7, decay: 0.125 };
        call!(adam, g; gradients: real = r.reals(g.len(), fill),
            summary: real = r.reals(SUMMARY_LEN, fill)
            => values: real_mut = r.reals(g.len(), fill),
            first_moment: real_mut = r.reals(g.len(), fill),
            second_moment: real_mut = r.positives(g.len(), fill))
    };
    sgd: QUOTIENT, |r, fill| {
        let len = r.len();
        let decaying = r.below(len + 1);
        let g = Sgd { len, decaying, rate: 0.125, momentum: 0.75, weight_decay: 0.25 };
        call!(sgd, g; gradients: real = r.reals(g.len(), fill),
            summary: real = r.reals(SUMMARY_LEN, fill)
            => values: real_mut = r.reals(g.len(), fill),
            velocities: real_mut = r.reals(g.len(), fill))
    };
}

/// Chains of kernels with a batch norm among them, and its large gradients.
const BLOCK: Promise = Promise { exact: false, bits: true, tiles: true, tolerance: Value(2e-3) };

/// Checks a pass of convolutions by Winograd's algorithm, which round otherwise than the plain
/// loops: the bits of all instruction sets still agree, and whole numbers come out within the same
/// tolerance, twice as large for the forms of more outputs.
fn check_winograd(
    kernel: &str,
    tolerance: f64,
    make: impl Fn(&mut Random, Fill, fn(&mut Random) -> Conv2d) -> Call,
) {
    let random: [fn(&mut Random) -> Conv2d; 2] = [random_winograd, random_large_winograd];
    for (random, tolerance) in random.into_iter().zip([tolerance, 2.0 * tolerance]) {
        let tolerance = LargestTerms(tolerance);
        let promise = Promise { exact: false, bits: false, tiles: true, tolerance };
        check(kernel, &promise, |r, fill| make(r, fill, random));
    }
}

/// As a share of the largest terms.
const WINOGRAD: f64 = 2e-6;

/// That of weight gradients, which are sums over all tiles.
const WINOGRAD_SUMS: f64 = 6e-6;

#[test]
fn winograd_forward() {
    check_winograd("conv2d_forward", WINOGRAD, forward);
}

#[test]
fn winograd_inference() {
    check_winograd("inference", WINOGRAD, |r, fill, random| {
        let g = random(r);
        infer(r, fill, g)
    });
}

/// Halves of whole numbers are exact.
#[test]
fn inference_in_pairs() {
    let tolerance = LargestTerms(WINOGRAD);
    let promise = Promise { exact: true, bits: false, tiles: true, tolerance };
    check("inference", &promise, |r, fill| {
        let g = random_pairs(r);
        infer(r, fill, g)
    });
}

/// Several threads take the weights from the taps where vectors are wide enough.
#[test]
fn inference_of_a_single_tile() {
    let tolerance = LargestTerms(WINOGRAD);
    let promise = Promise { exact: true, bits: false, tiles: true, tolerance };
    check("inference", &promise, |r, fill| {
        let g = random_single_tile(r);
        infer(r, fill, g)
    });
}

fn infer(r: &mut Random, fill: Fill, g: Conv2d) -> Call {
    let menu: Kernel<Buffer> = Box::new(move |inputs, outputs| {
        one_layer::infer(&g, &inputs[0], &inputs[1], &mut outputs[0]);
    });
    Call { menu, ..forward(r, fill, |_| g) }
}

#[test]
fn winograd_input_gradient() {
    check_winograd("conv2d_backward_input", WINOGRAD, input_gradient);
}

#[test]
fn winograd_weight_gradient() {
    check_winograd("conv2d_backward_weight", WINOGRAD_SUMS, weight_gradient);
}

#[test]
fn winograd_pool_backward() {
    check_winograd("conv_pool_backward", WINOGRAD_SUMS, pool_backward);
}

/// A block by tiles has the bits of its parts (`tests/fusion.rs`), on any number of threads.
#[test]
fn winograd_block_backward() {
    let random: [fn(&mut Random) -> Conv2d; 2] = [random_winograd, random_large_winograd];
    for random in random {
        check_bits("conv_block_backward", |r, fill| {
            let g = random_winograd_block(r, fill, random);
            block_backward_of(r, fill, g)
        });
    }
}

/// In a thin block the first weight gradient is summed up in another order.
#[test]
fn thin_block_backward() {
    let promise = Promise { bits: false, ..BLOCK };
    check("conv_block_backward", &promise, |r, fill| block_backward(r, fill, true).directly());
}

fn forward(r: &mut Random, fill: Fill, random: impl Fn(&mut Random) -> Conv2d) -> Call {
    let g = random(r);
    call!(conv2d_forward, g; x: real = r.reals(g.input_len(), fill),
        w: real = r.reals(g.weight_len(), fill) => y: real_mut = unwritten(g.output_len()))
}

fn input_gradient(r: &mut Random, fill: Fill, random: fn(&mut Random) -> Conv2d) -> Call {
    let g = random(r);
    call!(conv2d_backward_input, g; dy: real = r.reals(g.output_len(), fill),
        w: real = r.reals(g.weight_len(), fill) => dx: real_mut = unwritten(g.input_len()))
}

fn weight_gradient(r: &mut Random, fill: Fill, random: fn(&mut Random) -> Conv2d) -> Call {
    let g = random(r);
    call!(conv2d_backward_weight, g; x: real = r.reals(g.input_len(), fill),
        dy: real = r.reals(g.output_len(), fill) => dw: real_mut = unwritten(g.weight_len()))
}

fn pool_forward(r: &mut Random, fill: Fill, random: fn(&mut Random) -> Conv2d) -> Call {
    let conv = random(r);
    let g = random_conv_pool(r, fill, conv);
    call!(conv_pool_forward, g; x: real = r.reals(conv.input_len(), fill),
        w: real = r.reals(conv.weight_len(), fill), bias: real = r.reals(conv.out_channels(), fill)
        => y: real_mut = unwritten(g.output_len()),
        codes: byte_mut = unwritten_bytes(g.output_len()))
}

fn pool_backward(r: &mut Random, fill: Fill, random: fn(&mut Random) -> Conv2d) -> Call {
    let conv = random(r);
    let g = random_conv_pool(r, fill, conv);
    call!(conv_pool_backward, g; dy: real = r.reals(g.output_len(), fill),
        codes: byte = random_codes(r, &g), x: real = r.reals(conv.input_len(), fill),
        w: real = r.reals(conv.weight_len(), fill)
        => dx: real_mut = unwritten(g.input_gradient_len()),
        dw: real_mut = unwritten(conv.weight_len()),
        dbias: real_mut = unwritten(conv.out_channels()))
}

fn block_forward(r: &mut Random, fill: Fill) -> Call {
    let g = random_block(r, fill);
    let (first, second, channels) = (g.first, g.second.conv, g.first.out_channels());
    call!(conv_block_forward, g; x: real = r.reals(first.input_len(), fill),
        w1: real = r.reals(first.weight_len(), fill), bias1: real = r.reals(channels, fill),
        gamma: real = r.reals(channels, fill), beta: real = r.reals(channels, fill),
        w2: real = r.reals(second.weight_len(), fill),
        bias2: real = r.reals(second.out_channels(), fill)
        => z: real_mut = unwritten(g.kept_len()), mean: real_mut = unwritten(channels),
        inverse_deviation: real_mut = unwritten(channels),
        y: real_mut = unwritten(g.second.output_len()),
        codes: byte_mut = unwritten_bytes(g.second.output_len()),
        running_mean: real_mut = r.reals(channels, fill),
        running_variance: real_mut = r.positives(channels, fill))
}

fn block_backward(r: &mut Random, fill: Fill, thin: bool) -> Call {
    let g = loop {
        let g = random_block(r, fill);
        if g.is_thin() == thin {
            break g;
        }
    };
    block_backward_of(r, fill, g)
}

fn block_backward_of(r: &mut Random, fill: Fill, g: ConvBlock) -> Call {
    let (first, second, channels) = (g.first, g.second.conv, g.first.out_channels());
    call!(conv_block_backward, g; dy: real = r.reals(g.second.output_len(), fill),
        codes: byte = random_codes(r, &g.second), x: real = r.reals(first.input_len(), fill),
        w1: real = r.reals(first.weight_len(), fill), bias1: real = r.reals(channels, fill),
        z: real = r.reals(g.kept_len(), fill), gamma: real = r.reals(channels, fill), beta: real = r.reals(channels, fill),
        mean: real = r.reals(channels, fill), inverse_deviation: real = r.positives(channels, fill),
        w2: real = r.reals(second.weight_len(), fill)
        => dx: real_mut = unwritten(g.input_gradient_len()),
        dw1: real_mut = unwritten(first.weight_len()), dgamma: real_mut = unwritten(channels),
        dbeta: real_mut = unwritten(channels), dw2: real_mut = unwritten(second.weight_len()),
        dbias2: real_mut = unwritten(second.out_channels()))
}

#[test]
fn every_line_of_the_menu_has_a_case() {
    assert_eq!(CASES, MENU, "cases and menu name the same kernels in the same order");
}

/// A machine that is there to test an instruction set must not pass because it lacks it.
#[test]
fn required_instruction_sets_are_here() {
    let required = std::env::var("TOILE_REQUIRE_ISA").unwrap_or_default();
    for name in required.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let here = Isa::available().any(|isa| isa.name() == name);
        assert!(here, "TOILE_REQUIRE_ISA asks for {name}, which this CPU lacks");
    }
}
