//! y = the largest number of each window, a channel at a time: [N, H, W, C] -> [N, H', W', C],
//! H' = (H - window) / stride + 1. The first of equals wins; NaN wins over all.
//!
//! dx = the sum of dy over the windows whose largest number the pixel was.

use toile_kernels::{Buffer, Kind, geometry::Pool2d, max_pool2d_backward, max_pool2d_forward};

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// One byte a window names the winner's place in it.
struct MaxPool2d {
    g: Pool2d,
    codes: Buffer,
}

impl Tensor {
    /// The maximum over windows of `window` = [height, width] pixels, `stride` apart.
    ///
    /// # Panics
    /// If this is no batch of images, the window does not fit the image, or it has more than
    /// 256 pixels.
    #[must_use]
    #[track_caller]
    pub fn max_pool2d(&self, window: [usize; 2], stride: usize) -> Tensor {
        let [n, h, w, c] = self.shape().expect("max_pool2d", "images [N, H, W, C]");
        let g = Pool2d {
            images: size(n),
            height: size(h),
            width: size(w),
            channels: size(c),
            window_height: size(window[0]),
            window_width: size(window[1]),
            stride: size(stride),
        };
        if let Some(fault) = g.fault() {
            panic!("max_pool2d: {fault}: {} by {window:?}, stride {stride}", self.shape());
        }
        let mut y = self.buffer_for(g.output_len());
        let mut codes = Buffer::unspecified(self.device(), Kind::Byte, g.output_len());
        max_pool2d_forward(&g, self.buffer(), &mut y, &mut codes);
        let shape = Shape::new(&[n, g.out_height(), g.out_width(), c]);
        Tensor::from_op(shape, y, &[self], || MaxPool2d { g, codes })
    }
}

impl Backward for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        max_pool2d_backward(&self.g, &gradient, &self.codes, &mut slots.slot(0));
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let window = [draw.between(1, 3), draw.between(1, 3)];
    let stride = draw.between(1, 3);
    let shape = Shape::new(&[
        draw.between(1, 2),
        window[0] + draw.size() - 1,
        window[1] + draw.size() - 1,
        draw.between(1, 3),
    ]);
    vec![Case {
        name: format!("max_pool2d {shape} by {window:?}, stride {stride}"),
        inputs: vec![(shape, draw.distinct_reals(shape.len()))],
        function: Box::new(move |x| x[0].max_pool2d(window, stride)),
    }]
}
