//! The compute kernels of toile: numbers in, numbers out. No tensor, no gradient, no layer.
//!
//! This page is the menu: every kernel's name, its operands and their lengths, a line each. A
//! kernel says *what* it computes, at the size of a layer; *how* (packing, tiles, which
//! algorithm) stays inside the device's folder. Each call runs where its first operand lives:
//!
//! - [`Device::Cpu`]: [`cpu`], SIMD and threads, real numbers in f32;
//! - [`Device::Reference`]: [`mod@reference`], plain loops in f64, the truth that the others are
//!   tested against;
//! - `Device::Gpu`, with the feature `gpu`: the module `gpu`, compute shaders, in f32.
//!
//! Layouts: images NHWC, convolution weights HWIO, dense weights [in, out], all contiguous.
//! See [`geometry`] for the letters. Every float sum has one order, a function of the kernel and
//! its geometry: the same bits on any number of threads and on AVX2 and AVX-512.
//!
//! # Panics
//! Every kernel panics if an operand's length, kind or device does not fit, or if one operand
//! shares memory with another that is written.

pub mod buffer;
pub mod cpu;
pub mod geometry;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod peak;
pub mod reference;
pub mod rng;
pub mod threads;

mod block;

pub use buffer::{Buffer, Device, Kind};
pub use cpu::conv2d::{Algorithm, algorithm};
pub use cpu::inference;
pub use cpu::isa::{Isa, with_direct_convolution, with_forced};

/// The version of the bits: it changes with every build whose kernels give other bits for the
/// same numbers, so that a run begun by one build is not silently gone on with by another.
pub const BITS_VERSION: u32 = 6;

use buffer::operand;
use geometry::{
    Adam, Augment, BatchNorm, Channels, CheckGradients, Conv2d, ConvBlock, ConvPool, CrossEntropy,
    Dropout, Elements, Gather, Gemm, Mix, MoveTowards, Pool2d, SUMMARY_LEN, Sgd, Targets,
};

/// What has gone wrong with a device, if anything has. What was computed or read since does not
/// count, and nothing more is computed on it.
#[must_use]
pub fn fault() -> Option<String> {
    #[cfg(feature = "gpu")]
    return gpu::fault().map(|fault| fault.to_string());
    #[cfg(not(feature = "gpu"))]
    None
}

/// Turns each line of the menu into a function that checks the operands' lengths and calls the
/// device's function of the same name; and the names into [`MENU`].
macro_rules! menu {
    ($($(#[$doc:meta])* $kernel:ident($g:ident: $geometry:ty;
        $($input:ident: $input_type:ident[$input_len:expr]),+ =>
        $($output:ident: $output_type:ident[$output_len:expr]),+);)*) => {
        /// The names of all kernels.
        pub const MENU: &[&str] = &[$(stringify!($kernel)),*];
        $($(#[$doc])*
        #[track_caller]
        #[allow(clippy::too_many_arguments, reason = "as many as the kernel has operands")]
        pub fn $kernel($g: &$geometry, $($input: &Buffer,)* $($output: &mut Buffer,)*) {
            let name = stringify!($kernel);
            $(check_len(name, stringify!($input), $input.len(), $input_len);)*
            $(check_len(name, stringify!($output), $output.len(), $output_len);)*
            let [first, ..] = [$($input.device()),*];
            match first {
                Device::Cpu => {
                    #[allow(dead_code, reason = "a kernel may have no real operand")]
                    type Real = f32;
                    cpu::$kernel($g,
                        $(&operand::read::<$input_type>(name, stringify!($input), $input, first),)*
                        $(&mut operand::write::<$output_type>(name, stringify!($output), $output, first),)*)
                }
                Device::Reference => {
                    #[allow(dead_code, reason = "a kernel may have no real operand")]
                    type Real = f64;
                    reference::$kernel($g,
                        $(&operand::read::<$input_type>(name, stringify!($input), $input, first),)*
                        $(&mut operand::write::<$output_type>(name, stringify!($output), $output, first),)*)
                }
                #[cfg(feature = "gpu")]
                Device::Gpu => {
                    #[allow(dead_code, reason = "a kernel may have no real operand")]
                    type Real = f32;
                    use buffer::Element;
                    gpu::$kernel($g,
                        $(&operand::on_gpu(name, stringify!($input), $input, <$input_type>::KIND),)*
                        $(&mut operand::on_gpu(name, stringify!($output), $output, <$output_type>::KIND),)*)
                }
            }
        })*
    };
}

#[track_caller]
fn check_len(kernel: &str, operand: &str, found: usize, expected: usize) {
    assert_eq!(found, expected, "{kernel}: operand `{operand}` has another length than expected");
}

menu! {
    /// x\[i\] = (pixels\[order\[i\]\] - offset) / divisor: a batch as real numbers.
    gather(g: Gather; pixels: u8[g.available() * g.image_len()], order: u32[g.images()]
        => x: Real[g.images() * g.image_len()]);
    /// picked\[i\] = labels\[order\[i\]\]
    gather_labels(g: Gather; labels: u8[g.available()], order: u32[g.images()]
        => picked: u8[g.images()]);
    /// x\[i\] = (changed(pixels\[order\[i\]\]) - offset) / divisor: flipped, turned, moved and
    /// partly erased by random numbers of the image and the epoch
    augment(g: Augment; pixels: u8[g.available() * g.gather().image_len()],
        order: u32[g.images()] => x: Real[g.images() * g.gather().image_len()]);

    /// mixed = (share x + (1 - share) partner's x) or x with a rectangle of the partner's; the
    /// partner of image i is image N - 1 - i
    mix(g: Mix; x: Real[g.len()] => mixed: Real[g.len()], shares: Real[g.images()]);
    /// targets = (1 - smoothing) onehot(label) + smoothing / K, those of partners mixed by shares
    /// if there are any
    targets(g: Targets; labels: u8[g.images()], shares: Real[g.shares_len()]
        => targets: Real[g.len()]);

    /// c = a b: [M, K] [K, N] -> [M, N]
    gemm_nn(g: Gemm; a: Real[g.left_len()], b: Real[g.right_len()] => c: Real[g.result_len()]);
    /// c = a bᵀ: [M, K] [N, K] -> [M, N]
    gemm_nt(g: Gemm; a: Real[g.left_len()], b: Real[g.right_len()] => c: Real[g.result_len()]);
    /// c = aᵀ b: [K, M] [K, N] -> [M, N]; K is the batch and is summed by shards.
    gemm_tn(g: Gemm; a: Real[g.left_len()], b: Real[g.right_len()] => c: Real[g.result_len()]);

    /// y = x ⋆ w: [N, H, W, C] [Kh, Kw, C, O] -> [N, H', W', O]
    conv2d_forward(g: Conv2d; x: Real[g.input_len()], w: Real[g.weight_len()]
        => y: Real[g.output_len()]);
    /// dx from dy and w
    conv2d_backward_input(g: Conv2d; dy: Real[g.output_len()], w: Real[g.weight_len()]
        => dx: Real[g.input_len()]);
    /// dw from x and dy, summed by shards
    conv2d_backward_weight(g: Conv2d; x: Real[g.input_len()], dy: Real[g.output_len()]
        => dw: Real[g.weight_len()]);

    /// y = dropout(pool(relu(x ⋆ w + bias))); a code a number of y: the place of its window's
    /// maximum, or [`geometry::NO_GRADIENT`] where that is not above 0 or was dropped
    conv_pool_forward(g: ConvPool; x: Real[g.conv.input_len()], w: Real[g.conv.weight_len()],
        bias: Real[g.conv.out_channels()]
        => y: Real[g.output_len()], codes: u8[g.output_len()]);
    /// dx, if it is wanted, dw and dbias from dy and the codes
    conv_pool_backward(g: ConvPool; dy: Real[g.output_len()], codes: u8[g.output_len()],
        x: Real[g.conv.input_len()], w: Real[g.conv.weight_len()]
        => dx: Real[g.input_gradient_len()], dw: Real[g.conv.weight_len()],
        dbias: Real[g.conv.out_channels()]);
    /// z = x ⋆ w1 + bias1, which is not kept in a thin block, and its statistics; y and codes as of a `conv_pool_forward` of
    /// relu(batch norm of z)
    conv_block_forward(g: ConvBlock; x: Real[g.first.input_len()], w1: Real[g.first.weight_len()],
        bias1: Real[g.first.out_channels()], gamma: Real[g.first.out_channels()],
        beta: Real[g.first.out_channels()], w2: Real[g.second.conv.weight_len()],
        bias2: Real[g.second.conv.out_channels()]
        => z: Real[g.kept_len()], mean: Real[g.first.out_channels()],
        inverse_deviation: Real[g.first.out_channels()], y: Real[g.second.output_len()],
        codes: u8[g.second.output_len()], running_mean: Real[g.first.out_channels()],
        running_variance: Real[g.first.out_channels()]);
    /// dx, if it is wanted, and the parameters' gradients but for bias1's, which is 0
    conv_block_backward(g: ConvBlock; dy: Real[g.second.output_len()],
        codes: u8[g.second.output_len()], x: Real[g.first.input_len()],
        w1: Real[g.first.weight_len()], bias1: Real[g.first.out_channels()], z: Real[g.kept_len()],
        gamma: Real[g.first.out_channels()], beta: Real[g.first.out_channels()],
        mean: Real[g.first.out_channels()], inverse_deviation: Real[g.first.out_channels()],
        w2: Real[g.second.conv.weight_len()]
        => dx: Real[g.input_gradient_len()], dw1: Real[g.first.weight_len()],
        dgamma: Real[g.first.out_channels()], dbeta: Real[g.first.out_channels()],
        dw2: Real[g.second.conv.weight_len()], dbias2: Real[g.second.conv.out_channels()]);

    /// y = x + bias, a channel at a time
    bias_forward(g: Channels; x: Real[g.len()], bias: Real[g.channels()] => y: Real[g.len()]);
    /// dbias = the sum of dy over images and pixels
    bias_backward(g: Channels; dy: Real[g.len()] => dbias: Real[g.channels()]);
    /// y = max(x, 0); NaN stays NaN
    relu_forward(g: Elements; x: Real[g.len()] => y: Real[g.len()]);
    /// dx = dy where y > 0, else 0; y is what the forward pass returned
    relu_backward(g: Elements; y: Real[g.len()], dy: Real[g.len()] => dx: Real[g.len()]);
    /// sum += x
    add_assign(g: Elements; x: Real[g.len()] => sum: Real[g.len()]);
    /// average += (x - average) share
    move_towards(g: MoveTowards; x: Real[g.len()] => average: Real[g.len()]);
    /// y = x · 1 / (1 - rate) where the mask keeps, else 0; backward is the same call on dy
    dropout(g: Dropout; x: Real[g.len()] => y: Real[g.len()]);

    /// y = gamma (x - mean) inverse_deviation + beta with the batch's own statistics; the running
    /// ones move towards them (variance with n / (n - 1), taken as 1 where n = 1)
    batch_norm_forward(g: BatchNorm; x: Real[g.len()], gamma: Real[g.channels()],
        beta: Real[g.channels()] => y: Real[g.len()], mean: Real[g.channels()],
        inverse_deviation: Real[g.channels()], running_mean: Real[g.channels()],
        running_variance: Real[g.channels()]);
    /// dx, dgamma and dbeta from what the forward pass saw and left
    batch_norm_backward(g: BatchNorm; dy: Real[g.len()], x: Real[g.len()],
        gamma: Real[g.channels()], mean: Real[g.channels()], inverse_deviation: Real[g.channels()]
        => dx: Real[g.len()], dgamma: Real[g.channels()], dbeta: Real[g.channels()]);
    /// y = gamma (x - mean) / sqrt(variance + epsilon) + beta with the running statistics
    batch_norm_inference(g: BatchNorm; x: Real[g.len()], gamma: Real[g.channels()],
        beta: Real[g.channels()], mean: Real[g.channels()], variance: Real[g.channels()]
        => y: Real[g.len()]);

    /// y = the window's maximum, code = its place in the window; the first of equals, NaN wins
    max_pool2d_forward(g: Pool2d; x: Real[g.input_len()]
        => y: Real[g.output_len()], codes: u8[g.output_len()]);
    /// dx = the sum of dy over the windows whose maximum the pixel was
    max_pool2d_backward(g: Pool2d; dy: Real[g.output_len()], codes: u8[g.output_len()]
        => dx: Real[g.input_len()]);

    /// probabilities = softmax(logits), a row an image
    softmax(g: CrossEntropy; logits: Real[g.len()] => probabilities: Real[g.len()]);
    /// losses = -ln softmax(logits)\[label\]; summary = (mean loss, hits, 0, 0), where a hit is an
    /// image whose first largest logit is its label's
    cross_entropy_forward(g: CrossEntropy; logits: Real[g.len()], labels: u8[g.images()]
        => probabilities: Real[g.len()], losses: Real[g.images()], summary: Real[SUMMARY_LEN]);
    /// dlogits = dloss (probabilities - onehot(label)) / N
    cross_entropy_backward(g: CrossEntropy; dloss: Real[1], probabilities: Real[g.len()],
        labels: u8[g.images()] => dlogits: Real[g.len()]);

    /// losses = - the sum over k of target\[k\] ln softmax(logits)\[k\]; summary as of
    /// `cross_entropy_forward`
    soft_cross_entropy_forward(g: CrossEntropy; logits: Real[g.len()], targets: Real[g.len()],
        labels: u8[g.images()]
        => probabilities: Real[g.len()], losses: Real[g.images()], summary: Real[SUMMARY_LEN]);
    /// dlogits = dloss (probabilities times the row's sum of targets - targets) / N
    soft_cross_entropy_backward(g: CrossEntropy; dloss: Real[1], probabilities: Real[g.len()],
        targets: Real[g.len()] => dlogits: Real[g.len()]);

    /// summary\[2\] = 1 if the summary's loss is finite and every gradient below 2^63, else 0;
    /// summary\[3\] = what the update scales the gradients by, to keep their norm within the limit
    check_gradients(g: CheckGradients; gradients: Real[g.len()] => summary: Real[SUMMARY_LEN]);
    /// One update by Adam, if the summary says that the gradients are usable
    adam(g: Adam; gradients: Real[g.len()], summary: Real[SUMMARY_LEN] => values: Real[g.len()],
        first_moment: Real[g.len()], second_moment: Real[g.len()]);
    /// One update by SGD with Nesterov's momentum, likewise
    sgd(g: Sgd; gradients: Real[g.len()], summary: Real[SUMMARY_LEN] => values: Real[g.len()],
        velocities: Real[g.len()]);
}
