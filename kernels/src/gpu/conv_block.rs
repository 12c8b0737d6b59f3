//! A convolution with batch norm and ReLU before another that ends in a pool. The normalised
//! images between the two are made anew by the backward pass, and so is the first convolution's
//! result in a thin block.

use super::batch_norm;
use super::conv_pool::{conv_pool_backward, conv_pool_forward};
use super::conv2d::conv2d_forward_with_bias;
use super::memory::Memory;
use super::{conv2d_backward_input, conv2d_backward_weight};
use crate::buffer::Kind;
use crate::geometry::{ConvBlock, ConvPool};

/// z = x ⋆ w1 + bias1 with its statistics; y and codes from relu(norm(z))
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_block_forward(
    g: &ConvBlock,
    x: &Memory,
    w1: &Memory,
    bias1: &Memory,
    gamma: &Memory,
    beta: &Memory,
    w2: &Memory,
    bias2: &Memory,
    z: &mut Memory,
    mean: &mut Memory,
    inverse_deviation: &mut Memory,
    y: &mut Memory,
    codes: &mut Memory,
    running_mean: &mut Memory,
    running_variance: &mut Memory,
) {
    let norm = g.norm();
    let mut convolved = if g.is_thin() { like_result(g) } else { z.clone() };
    conv2d_forward_with_bias(&g.first, x, w1, bias1, &mut convolved);
    let running = [running_mean, running_variance];
    batch_norm::statistics(&norm, &convolved, [mean, inverse_deviation], running);
    let mut between = like_result(g);
    let by = [gamma, beta, &*mean, &*inverse_deviation];
    batch_norm::normalise(&norm, &convolved, by, true, &mut between);
    conv_pool_forward(&g.second, &between, w2, bias2, y, codes);
}

/// All gradients from dy and what the forward pass left
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_block_backward(
    g: &ConvBlock,
    dy: &Memory,
    codes: &Memory,
    x: &Memory,
    w1: &Memory,
    bias1: &Memory,
    z: &Memory,
    gamma: &Memory,
    beta: &Memory,
    mean: &Memory,
    inverse_deviation: &Memory,
    w2: &Memory,
    dx: &mut Memory,
    dw1: &mut Memory,
    dgamma: &mut Memory,
    dbeta: &mut Memory,
    dw2: &mut Memory,
    dbias2: &mut Memory,
) {
    let norm = g.norm();
    let mut convolved = if g.is_thin() { like_result(g) } else { z.clone() };
    if g.is_thin() {
        conv2d_forward_with_bias(&g.first, x, w1, bias1, &mut convolved);
    }
    let mut between = like_result(g);
    let by = [gamma, beta, mean, inverse_deviation];
    batch_norm::normalise(&norm, &convolved, by, true, &mut between);
    let mut dbetween = like_result(g);
    let second = ConvPool { input_gradient: 1, ..g.second };
    conv_pool_backward(&second, dy, codes, &between, w2, &mut dbetween, dw2, dbias2);
    let mut dconvolved = between;
    let of = [&dbetween, &convolved, gamma, mean, inverse_deviation];
    batch_norm::backward(&norm, of, Some(beta), &mut dconvolved, [dgamma, dbeta]);
    conv2d_backward_weight(&g.first, x, &dconvolved, dw1);
    if g.second.input_gradient != 0 {
        conv2d_backward_input(&g.first, &dconvolved, w1, dx);
    }
}

/// Memory for the first convolution's result.
fn like_result(g: &ConvBlock) -> Memory {
    Memory::unspecified(Kind::Real, g.first.output_len())
}
