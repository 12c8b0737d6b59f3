//! Convolution, batch norm, ReLU and a convolution that ends in a pool, as the kernels that it
//! stands for one after the other.

use super::batch_norm::normalise;
use super::{
    Real, batch_norm_backward, batch_norm_forward, bias_forward, conv_pool_backward,
    conv_pool_forward, conv2d_backward_input, conv2d_backward_weight, conv2d_forward,
    relu_backward, relu_forward,
};
use crate::geometry::{BatchNorm, Channels, ConvBlock, ConvPool, Elements};

/// z = x ⋆ w1 + bias1 with its statistics; y and codes from a = relu(norm(z)).
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_block_forward<T: Real>(
    g: &ConvBlock,
    x: &[T],
    w1: &[T],
    bias1: &[T],
    gamma: &[T],
    beta: &[T],
    w2: &[T],
    bias2: &[T],
    z: &mut [T],
    mean: &mut [T],
    inverse_deviation: &mut [T],
    y: &mut [T],
    codes: &mut [u8],
    running_mean: &mut [T],
    running_variance: &mut [T],
) {
    let norm = g.norm();
    let convolved = convolve(g, x, w1, bias1);
    if !g.is_thin() {
        z.copy_from_slice(&convolved);
    }
    let z = &convolved[..];
    let [mut normal, mut a] = [(); 2].map(|()| vec![T::zero(); z.len()]);
    batch_norm_forward(
        &norm,
        z,
        gamma,
        beta,
        &mut normal,
        mean,
        inverse_deviation,
        running_mean,
        running_variance,
    );
    relu_forward(&Elements { len: z.len() as u32 }, &normal, &mut a);
    conv_pool_forward(&g.second, &a, w2, bias2, y, codes);
}

/// z = x ⋆ w1 + bias1
fn convolve<T: Real>(g: &ConvBlock, x: &[T], w1: &[T], bias1: &[T]) -> Vec<T> {
    let [mut convolved, mut z] = [(); 2].map(|()| vec![T::zero(); g.first.output_len()]);
    conv2d_forward(&g.first, x, w1, &mut convolved);
    let BatchNorm { images, pixels, channels, .. } = g.norm();
    bias_forward(&Channels { images, pixels, channels }, &convolved, bias1, &mut z);
    z
}

/// All gradients from dy and what the forward pass left.
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_block_backward<T: Real>(
    g: &ConvBlock,
    dy: &[T],
    codes: &[u8],
    x: &[T],
    w1: &[T],
    bias1: &[T],
    z: &[T],
    gamma: &[T],
    beta: &[T],
    mean: &[T],
    inverse_deviation: &[T],
    w2: &[T],
    dx: &mut [T],
    dw1: &mut [T],
    dgamma: &mut [T],
    dbeta: &mut [T],
    dw2: &mut [T],
    dbias2: &mut [T],
) {
    let norm = g.norm();
    let again = if g.is_thin() { convolve(g, x, w1, bias1) } else { z.to_vec() };
    let z = &again[..];
    let elements = Elements { len: z.len() as u32 };
    let [mut normal, mut a, mut da, mut dn, mut dz] = [(); 5].map(|()| vec![T::zero(); z.len()]);
    normalise(&norm, z, [gamma, beta, mean, inverse_deviation], &mut normal);
    relu_forward(&elements, &normal, &mut a);
    let second = ConvPool { input_gradient: 1, ..g.second };
    conv_pool_backward(&second, dy, codes, &a, w2, &mut da, dw2, dbias2);
    relu_backward(&elements, &a, &da, &mut dn);
    batch_norm_backward(&norm, &dn, z, gamma, mean, inverse_deviation, &mut dz, dgamma, dbeta);
    conv2d_backward_weight(&g.first, x, &dz, dw1);
    if g.second.input_gradient != 0 {
        conv2d_backward_input(&g.first, &dz, w1, dx);
    }
}
