//! Convolution as three products whose operands are found in the images: no matrix of patches is
//! ever written.

use super::dispatch::Dispatch;
use super::memory::Memory;
use super::product::Product;
use crate::geometry::Conv2d;

/// y = x ⋆ w: [N, H, W, C] [Kh, Kw, C, O] -> [N, H', W', O]
pub fn conv2d_forward(g: &Conv2d, x: &Memory, w: &Memory, y: &mut Memory) {
    convolve(g, x, w, None, y);
}

/// y = x ⋆ w + bias
pub(super) fn conv2d_forward_with_bias(
    g: &Conv2d,
    x: &Memory,
    w: &Memory,
    bias: &Memory,
    y: &mut Memory,
) {
    convolve(g, x, w, Some(bias), y);
}

fn convolve(g: &Conv2d, x: &Memory, w: &Memory, bias: Option<&Memory>, y: &mut Memory) {
    let product = Product {
        rows: g.images() * g.out_pixels(),
        columns: g.out_channels(),
        depth: g.depth(),
        left_along_depth: true,
        right_along_columns: true,
        together: [g.in_channels(), g.out_channels()],
        may_cut: bias.is_none(),
    };
    let (file, entry) = ("conv2d_forward", "product");
    let dispatch = dispatch(g, file, entry).constant("HAS_BIAS", u32::from(bias.is_some()));
    // Something has to be bound there.
    product.run(dispatch, [x, w], &[bias.unwrap_or(w)], y);
}

/// dx from dy and w
pub fn conv2d_backward_input(g: &Conv2d, dy: &Memory, w: &Memory, dx: &mut Memory) {
    let product = Product {
        rows: g.images() * g.height() * g.width(),
        columns: g.in_channels(),
        depth: g.kernel_height() * g.kernel_width() * g.out_channels(),
        left_along_depth: true,
        right_along_columns: false,
        together: [g.out_channels(), g.out_channels()],
        may_cut: true,
    };
    product.run(dispatch(g, "conv2d_backward_input", "product"), [dy, w], &[], dx);
}

/// dw from x and dy
pub fn conv2d_backward_weight(g: &Conv2d, x: &Memory, dy: &Memory, dw: &mut Memory) {
    let product = Product {
        rows: g.depth(),
        columns: g.out_channels(),
        depth: g.images() * g.out_pixels(),
        left_along_depth: false,
        right_along_columns: true,
        together: [g.in_channels(), g.out_channels()],
        may_cut: true,
    };
    product.run(dispatch(g, "conv2d_backward_weight", "product"), [x, dy], &[], dw);
}

fn dispatch<'a>(g: &Conv2d, file: &'static str, entry: &'static str) -> Dispatch<'a> {
    Dispatch::new(file, entry)
        .constant("HEIGHT", g.height)
        .constant("WIDTH", g.width)
        .constant("IN_CHANNELS", g.in_channels)
        .constant("OUT_HEIGHT", g.out_height() as u32)
        .constant("OUT_WIDTH", g.out_width() as u32)
        .constant("OUT_CHANNELS", g.out_channels)
        .constant("KERNEL_WIDTH", g.kernel_width)
        .constant("STRIDE", g.stride)
        .constant("PADDING", g.padding)
}
