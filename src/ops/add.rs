//! c = a + b; da = dc, db = dc. Any shape, the same for both.

use toile_kernels::geometry::Elements;
use toile_kernels::{Buffer, add_assign};

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// Nothing is kept.
struct Add;

impl Tensor {
    /// The sum of two tensors of one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    #[must_use]
    #[track_caller]
    pub fn add(&self, other: &Tensor) -> Tensor {
        assert_eq!(self.shape(), other.shape(), "add: the shapes of the operands");
        let mut sum = Buffer::zeros(self.device(), self.shape().len());
        let g = Elements { len: size(sum.len()) };
        add_assign(&g, self.buffer(), &mut sum);
        add_assign(&g, other.buffer(), &mut sum);
        Tensor::from_op(self.shape(), sum, &[self, other], || Add)
    }
}

impl Backward for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        slots.hand_on(0, &gradient);
        slots.hand_on(1, &gradient);
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let shape = Shape::new(&[draw.size(), draw.size()]);
    let operand = |draw: &mut Draw| (shape, draw.reals(shape.len()));
    vec![
        Case {
            name: format!("add {shape}"),
            inputs: vec![operand(draw), operand(draw)],
            function: Box::new(|x| x[0].add(&x[1])),
        },
        Case {
            name: format!("add {shape} to itself"),
            inputs: vec![operand(draw)],
            function: Box::new(|x| x[0].add(&x[0])),
        },
    ]
}
