//! y = x ⋆ w, the cross-correlation of images with a kernel:
//! [N, H, W, C] [Kh, Kw, C, O] -> [N, H', W', O], H' = (H + 2 padding - Kh) / stride + 1.
//!
//! dx is the convolution of dy with the kernel turned by 180 degrees; dw correlates x with dy.

use toile_kernels::{
    Buffer, conv2d_backward_input, conv2d_backward_weight, conv2d_forward, geometry,
};

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// How the kernel moves over the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Pixels between neighbouring windows, at least 1.
    pub stride: usize,
    /// Zeros around the image, on each side; less than the kernel.
    pub padding: usize,
}

impl Default for Window {
    /// Stride 1, no padding.
    fn default() -> Self {
        Window { stride: 1, padding: 0 }
    }
}

/// Both operands: dx needs w, dw needs x.
struct Conv2d {
    g: geometry::Conv2d,
    x: Buffer,
    w: Buffer,
}

impl Tensor {
    /// Convolves a batch of images with a kernel.
    ///
    /// # Panics
    /// If this is no batch of images, `weight` no kernel for its channels, or the kernel does
    /// not fit the padded image.
    #[must_use]
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, window: Window) -> Tensor {
        let g = conv_geometry("conv2d", self.shape(), weight.shape(), window);
        let mut y = self.buffer_for(g.output_len());
        conv2d_forward(&g, self.buffer(), weight.buffer(), &mut y);
        let [n, o] = [g.images(), g.out_channels()];
        let shape = Shape::new(&[n, g.out_height(), g.out_width(), o]);
        let (x, w) = (self.buffer(), weight.buffer());
        Tensor::from_op(shape, y, &[self, weight], || Conv2d { g, x: x.clone(), w: w.clone() })
    }
}

/// The geometry of a convolution of images `x` with a kernel `weight`.
#[track_caller]
pub(crate) fn conv_geometry(op: &str, x: Shape, weight: Shape, window: Window) -> geometry::Conv2d {
    let [n, h, w, c] = x.expect(op, "images [N, H, W, C]");
    let [kh, kw, wc, o] = weight.expect(op, "weights [Kh, Kw, C, O]");
    assert_eq!(c, wc, "{op}: channels of {x} and of weights {weight}");
    let g = geometry::Conv2d {
        images: size(n),
        height: size(h),
        width: size(w),
        in_channels: size(c),
        out_channels: size(o),
        kernel_height: size(kh),
        kernel_width: size(kw),
        stride: size(window.stride),
        padding: size(window.padding),
    };
    if let Some(fault) = g.fault() {
        panic!("{op}: {fault}: {x} by {weight}, {window:?}");
    }
    g
}

impl Backward for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        if slots.wants(0) {
            conv2d_backward_input(&self.g, &gradient, &self.w, &mut slots.slot(0));
        }
        if slots.wants(1) {
            conv2d_backward_weight(&self.g, &self.x, &gradient, &mut slots.slot(1));
        }
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [kh, kw] = [draw.between(1, 3), draw.between(1, 3)];
    let [c, o] = [draw.between(1, 3), draw.between(1, 3)];
    let padding = draw.between(0, kh.min(kw) - 1);
    let window = Window { stride: draw.between(1, 2), padding };
    let x = Shape::new(&[draw.between(1, 2), kh + draw.size() - 1, kw + draw.size() - 1, c]);
    let w = Shape::new(&[kh, kw, c, o]);
    vec![Case {
        name: format!("conv2d {x} by {w}, {window:?}"),
        inputs: vec![(x, draw.reals(x.len())), (w, draw.reals(w.len()))],
        function: Box::new(move |x| x[0].conv2d(&x[1], window)),
    }]
}
