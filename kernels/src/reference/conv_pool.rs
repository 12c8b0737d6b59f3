//! A convolution and what follows it, as the kernels that it stands for one after the other.

use super::{
    Real, bias_backward, bias_forward, conv2d_backward_input, conv2d_backward_weight,
    conv2d_forward, dropout, max_pool2d_backward, max_pool2d_forward, relu_forward,
};
use crate::geometry::{ConvPool, Elements, NO_GRADIENT};

/// y = dropout(pool(relu(x ⋆ w + bias))); codes = the place of each window's maximum, or
/// [`NO_GRADIENT`] where it is not above 0 or was dropped.
pub fn conv_pool_forward<T: Real>(
    g: &ConvPool,
    x: &[T],
    w: &[T],
    bias: &[T],
    y: &mut [T],
    codes: &mut [u8],
) {
    let len = g.conv.output_len();
    let [mut convolved, mut biased, mut positive] = [(); 3].map(|()| vec![T::zero(); len]);
    let mut pooled = vec![T::zero(); y.len()];
    conv2d_forward(&g.conv, x, w, &mut convolved);
    bias_forward(&g.channels(), &convolved, bias, &mut biased);
    relu_forward(&Elements { len: len as u32 }, &biased, &mut positive);
    max_pool2d_forward(&g.pool(), &positive, &mut pooled, codes);
    dropout(&g.dropout, &pooled, y);
    for (i, code) in codes.iter_mut().enumerate() {
        let kept = g.dropout.stream().word(i as u64) >= g.dropout.threshold();
        if !(kept && pooled[i] > T::zero()) {
            *code = NO_GRADIENT;
        }
    }
}

/// dx, dw and dbias from dy and the codes.
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_pool_backward<T: Real>(
    g: &ConvPool,
    dy: &[T],
    codes: &[u8],
    x: &[T],
    w: &[T],
    dx: &mut [T],
    dw: &mut [T],
    dbias: &mut [T],
) {
    let scale = T::nearest(g.dropout.scale().into());
    let none = |&code: &u8| code == NO_GRADIENT;
    let taken = dy.iter().zip(codes);
    let dpooled: Vec<T> =
        taken.map(|(&dy, code)| if none(code) { T::zero() } else { dy * scale }).collect();
    let places: Vec<u8> = codes.iter().map(|code| if none(code) { 0 } else { *code }).collect();
    let mut dconvolved = vec![T::zero(); g.conv.output_len()];
    max_pool2d_backward(&g.pool(), &dpooled, &places, &mut dconvolved);
    bias_backward(&g.channels(), &dconvolved, dbias);
    conv2d_backward_weight(&g.conv, x, &dconvolved, dw);
    if g.input_gradient != 0 {
        conv2d_backward_input(&g.conv, &dconvolved, w, dx);
    }
}
