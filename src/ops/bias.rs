//! y = x + bias, a channel at a time: [N, ..., C] [C] -> [N, ..., C].
//!
//! dx = dy; dbias = the sum of dy over images and pixels.

use toile_kernels::geometry::Channels;
use toile_kernels::{Buffer, bias_backward, bias_forward};

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// Only the sizes are kept.
struct Bias {
    g: Channels,
}

impl Tensor {
    /// Adds one number a channel; the channel is the innermost dimension.
    ///
    /// # Panics
    /// If `bias` is not of shape [C].
    #[must_use]
    #[track_caller]
    pub fn add_bias(&self, bias: &Tensor) -> Tensor {
        let g = channels("add_bias", self.shape());
        let [given] = bias.shape().expect("add_bias", "a bias of shape [C]");
        assert_eq!(given, g.channels(), "add_bias: channels of {} and of the bias", self.shape());
        let mut y = self.buffer_for(g.len());
        bias_forward(&g, self.buffer(), bias.buffer(), &mut y);
        Tensor::from_op(self.shape(), y, &[self, bias], || Bias { g })
    }
}

/// Images, pixels and channels of a batch of shape [N, ..., C].
#[track_caller]
pub(super) fn channels(op: &str, shape: Shape) -> Channels {
    assert!(shape.rank() >= 2, "{op}: expected [N, ..., C], found {shape}");
    let [images, channels] = [shape.dims()[0], shape.channels()];
    let pixels = shape.dims()[1..shape.rank() - 1].iter().product();
    Channels { images: size(images), pixels: size(pixels), channels: size(channels) }
}

impl Backward for Bias {
    fn name(&self) -> &'static str {
        "add_bias"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        slots.hand_on(0, &gradient);
        if slots.wants(1) {
            bias_backward(&self.g, &gradient, &mut slots.slot(1));
        }
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let c = draw.size();
    let image = Shape::new(&[draw.between(1, 18), draw.size(), draw.size(), c]);
    let dense = Shape::new(&[draw.size(), c]);
    [image, dense]
        .map(|shape| Case {
            name: format!("add_bias {shape}"),
            inputs: vec![(shape, draw.reals(shape.len())), (Shape::new(&[c]), draw.reals(c))],
            function: Box::new(|x| x[0].add_bias(&x[1])),
        })
        .into()
}
