//! The reference itself by hand: plain numbers of a shape that can be followed on paper.

use toile_kernels::geometry::{BatchNorm, Conv2d, CrossEntropy};
use toile_kernels::reference;

/// One row of five pixels, a kernel of three, padding 1, stride 2: outputs at 0, 2, 4.
const CONV: Conv2d = Conv2d {
    images: 1,
    height: 3,
    width: 5,
    in_channels: 1,
    out_channels: 1,
    kernel_height: 3,
    kernel_width: 3,
    stride: 2,
    padding: 1,
};
/// Only the middle row of the kernel is not 0.
const WEIGHTS: [f64; 9] = [0., 0., 0., 1., 10., 100., 0., 0., 0.];

#[test]
fn convolution_with_stride_and_padding() {
    let x = [1., 2., 3., 4., 5., 0., 0., 0., 0., 0., 5., 4., 3., 2., 1.];
    let mut y = [9.; 6];
    reference::conv2d_forward(&CONV, &x, &WEIGHTS, &mut y);
    assert_eq!(y, [210., 432., 54., 450., 234., 12.]);
}

#[test]
fn convolution_gradients() {
    let dy = [1., 2., 3., 0., 0., 0.];
    let mut dx = [9.; 15];
    reference::conv2d_backward_input(&CONV, &dy, &WEIGHTS, &mut dx);
    assert_eq!(dx[..5], [10., 102., 20., 203., 30.]);
    assert_eq!(dx[5..], [0.; 10]);
    let x = [1., 2., 3., 4., 5., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.];
    let mut dw = [9.; 9];
    reference::conv2d_backward_weight(&CONV, &x, &dy, &mut dw);
    // Left taps read 2 and 4, middle ones 1, 3, 5, right ones 2 and 4.
    assert_eq!(dw, [0., 0., 0., 4. + 12., 1. + 6. + 15., 2. + 8., 0., 0., 0.]);
}

/// 1, 2, 3, 6: mean 3, squared deviations 4 + 1 + 0 + 9 = 14.
#[test]
fn batch_norm_statistics() {
    let g = BatchNorm { images: 2, pixels: 2, channels: 1, epsilon: 0.5, momentum: 0.5 };
    let (mut y, mut mean, mut inverse) = ([0.; 4], [0.], [0.]);
    let (mut running_mean, mut running_variance) = ([1.], [2.]);
    reference::batch_norm_forward(
        &g,
        &[1., 2., 3., 6.],
        &[4.],
        &[10.],
        &mut y,
        &mut mean,
        &mut inverse,
        &mut running_mean,
        &mut running_variance,
    );
    assert_eq!((mean, inverse), ([3.], [0.5]), "variance 3.5 + 0.5 = 4");
    assert_eq!(y, [6., 8., 10., 16.]);
    assert_eq!(running_mean, [2.]);
    assert!((running_variance[0] - (1.0 + 0.5 * 14.0 / 3.0_f64)).abs() < 1e-12);
}

/// exp(ln 2) : exp(ln 6) = 2 : 6.
#[test]
fn cross_entropy_of_two_classes() {
    let g = CrossEntropy { images: 1, classes: 2 };
    let logits = [2.0_f64.ln(), 6.0_f64.ln()];
    let (mut probabilities, mut losses, mut summary) = ([0.; 2], [0.], [9.; 4]);
    reference::cross_entropy_forward(
        &g,
        &logits,
        &[1],
        &mut probabilities,
        &mut losses,
        &mut summary,
    );
    assert!((probabilities[0] - 0.25).abs() < 1e-15 && (probabilities[1] - 0.75).abs() < 1e-15);
    assert!((losses[0] + 0.75_f64.ln()).abs() < 1e-15);
    assert_eq!(summary, [losses[0], 1., 0., 0.]);
}
