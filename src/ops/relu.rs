//! y = max(x, 0); dx = dy where y > 0. Any shape, kept. NaN stays NaN.

use toile_kernels::geometry::Elements;
use toile_kernels::{Buffer, relu_backward, relu_forward};

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// The result says where the slope is 1.
struct Relu {
    y: Buffer,
}

impl Tensor {
    /// The larger of each number and 0.
    ///
    /// ```
    /// use toile::{Device, Shape, Tensor};
    /// let x = Tensor::new(Device::Cpu, Shape::new(&[3]), &[-2.0f32, 0.0, 3.0]);
    /// assert_eq!(x.relu().to_vec::<f32>(), [0.0, 0.0, 3.0]);
    /// ```
    #[must_use]
    pub fn relu(&self) -> Tensor {
        let mut y = self.buffer_for(self.shape().len());
        relu_forward(&Elements { len: size(y.len()) }, self.buffer(), &mut y);
        Tensor::from_op(self.shape(), y.clone(), &[self], || Relu { y })
    }
}

impl Backward for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        let g = Elements { len: size(self.y.len()) };
        relu_backward(&g, &self.y, &gradient, &mut slots.slot(0));
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let shape = Shape::new(&[draw.size(), draw.size(), draw.size()]);
    vec![Case {
        name: format!("relu {shape}"),
        inputs: vec![(shape, draw.distinct_reals(shape.len()))],
        function: Box::new(|x| x[0].relu()),
    }]
}
