//! A convolution and what follows it until the image is smaller. Only the convolution's result is
//! written to memory between, and its gradient.

use super::dispatch::Dispatch;
use super::memory::Memory;
use super::pool::{self, whole_words, windows};
use super::{bias_backward, conv2d_backward_input, conv2d_backward_weight, conv2d_forward};
use crate::buffer::Kind;
use crate::geometry::ConvPool;

/// y = dropout(pool(relu(x ⋆ w + bias))) and codes
pub fn conv_pool_forward(
    g: &ConvPool,
    x: &Memory,
    w: &Memory,
    bias: &Memory,
    y: &mut Memory,
    codes: &mut Memory,
) {
    let mut convolved = Memory::unspecified(Kind::Real, g.conv.output_len());
    conv2d_forward(&g.conv, x, w, &mut convolved);
    pool_convolved(g, &convolved, bias, y, codes);
}

/// dx, if it is wanted, dw and dbias from dy and the codes
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn conv_pool_backward(
    g: &ConvPool,
    dy: &Memory,
    codes: &Memory,
    x: &Memory,
    w: &Memory,
    dx: &mut Memory,
    dw: &mut Memory,
    dbias: &mut Memory,
) {
    let mut dconvolved = Memory::unspecified(Kind::Real, g.conv.output_len());
    convolved_gradient(g, dy, codes, &mut dconvolved);
    bias_backward(&g.channels(), &dconvolved, dbias);
    conv2d_backward_weight(&g.conv, x, &dconvolved, dw);
    if g.input_gradient != 0 {
        conv2d_backward_input(&g.conv, &dconvolved, w, dx);
    }
}

/// y = dropout(pool(relu(convolved + bias))) and codes: [N, H, W, O] \[O\] -> [N, H', W', O] twice
pub(super) fn pool_convolved(
    g: &ConvPool,
    convolved: &Memory,
    bias: &Memory,
    y: &mut Memory,
    codes: &mut Memory,
) {
    let dispatch = Dispatch::new("conv_pool", "bias_relu_pool_dropout")
        .constant("THRESHOLD", g.dropout.threshold())
        .constant("SCALE", g.dropout.scale())
        .constant("SEED_LOW", g.dropout.seed_low)
        .constant("SEED_HIGH", g.dropout.seed_high)
        .constant("PURPOSE", g.dropout.purpose);
    windows(&g.pool(), g.output_len(), dispatch)
        .read(convolved)
        .read(bias)
        .write(y)
        .write(whole_words(codes))
        .word(g.dropout.step)
        .run(y.len().div_ceil(4));
}

/// The gradient of the convolution's result from dy and the codes:
/// [N, H', W', O] twice -> [N, H, W, O]
pub(super) fn convolved_gradient(
    g: &ConvPool,
    dy: &Memory,
    codes: &Memory,
    dconvolved: &mut Memory,
) {
    pool::backward(&g.pool(), g.dropout.scale(), dy, codes, dconvolved);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, download, draw, is_there, upload};
    use super::*;
    use crate::geometry::{Conv2d, Dropout};
    use crate::reference;

    /// Windows that tile the image, that overlap, and that leave gaps; and one of a single pixel.
    const WINDOWS: [[u32; 3]; 4] = [[2, 2, 2], [3, 2, 1], [1, 2, 3], [1, 1, 1]];

    /// A convolution by 1 x 1, whose weights are the unit matrix: it changes nothing.
    fn geometry([window_height, window_width, window_stride]: [u32; 3], rate: f32) -> ConvPool {
        let conv = Conv2d {
            images: 3,
            height: 7,
            width: 9,
            in_channels: 5,
            out_channels: 5,
            kernel_height: 1,
            kernel_width: 1,
            stride: 1,
            padding: 0,
        };
        let dropout =
            Dropout { len: 0, seed_low: 3, seed_high: 5, purpose: 7, step: 4_000_000_000, rate };
        let mut g = ConvPool {
            conv,
            window_height,
            window_width,
            window_stride,
            input_gradient: 1,
            dropout,
        };
        g.dropout.len = g.output_len() as u32;
        g
    }

    fn whole_numbers(purpose: u32, len: usize) -> Vec<f64> {
        draw(purpose, len).iter().map(|x| (x * 4.0).round()).collect()
    }

    #[test]
    fn pool_parts_agree_with_the_reference() {
        if !is_there() {
            return;
        }
        for (window, rate) in WINDOWS.into_iter().flat_map(|window| [(window, 0.0), (window, 0.5)])
        {
            let g = geometry(window, rate);
            let channels = g.conv.out_channels();
            let unit: Vec<_> = (0..channels * channels)
                .map(|i| f64::from(u8::from(i % (channels + 1) == 0)))
                .collect();
            let (x, bias) = (whole_numbers(0, g.conv.input_len()), whole_numbers(1, channels));
            let (mut y, mut codes) = (vec![0.0; g.output_len()], vec![0; g.output_len()]);
            reference::conv_pool_forward(&g, &x, &unit, &bias, &mut y, &mut codes);
            let mut y_found = Memory::unspecified(Kind::Real, y.len());
            let mut codes_found = Memory::unspecified(Kind::Byte, codes.len());
            pool_convolved(&g, &upload(&x), &upload(&bias), &mut y_found, &mut codes_found);
            assert_near(&y_found, &y, 0.0);
            assert_eq!(download::<u8>(&codes_found), codes, "{g:?}");

            let dy = whole_numbers(2, g.output_len());
            let (mut dx, mut dw, mut dbias) =
                (x.clone(), vec![0.0; unit.len()], vec![0.0; channels]);
            reference::conv_pool_backward(&g, &dy, &codes, &x, &unit, &mut dx, &mut dw, &mut dbias);
            let mut dx_found = Memory::unspecified(Kind::Real, dx.len());
            convolved_gradient(&g, &upload(&dy), &codes_found, &mut dx_found);
            assert_near(&dx_found, &dx, 0.0);
        }
    }
}
