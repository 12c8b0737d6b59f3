//! The same numbers in another shape; the gradient goes back the same way.

use toile_kernels::Buffer;

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Nothing is kept.
struct Reshape;

impl Tensor {
    /// The same numbers, in the same order, in another shape. Nothing is copied.
    ///
    /// # Panics
    /// If the new shape has more or fewer numbers.
    #[must_use]
    #[track_caller]
    pub fn reshape(&self, shape: Shape) -> Tensor {
        let old = self.shape();
        assert_eq!(old.len(), shape.len(), "reshape: {old} to {shape}: numbers");
        Tensor::from_op(shape, self.buffer().clone(), &[self], || Reshape)
    }

    /// Every image as one row: [N, ...] -> [N, F].
    ///
    /// # Panics
    /// If the tensor is a scalar.
    #[must_use]
    #[track_caller]
    pub fn flatten(&self) -> Tensor {
        assert!(self.shape().rank() > 0, "flatten: expected a batch, found a scalar");
        self.reshape(Shape::new(&[self.shape().dims()[0], self.shape().of_one().len()]))
    }
}

impl Backward for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        slots.hand_on(0, &gradient);
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [a, b, c] = [draw.size(), draw.size(), draw.size()];
    let from = Shape::new(&[a, b, c]);
    vec![
        Case {
            name: format!("reshape {from}"),
            inputs: vec![(from, draw.reals(from.len()))],
            function: Box::new(move |x| x[0].reshape(Shape::new(&[c, a * b]))),
        },
        Case {
            name: format!("flatten {from}"),
            inputs: vec![(from, draw.reals(from.len()))],
            function: Box::new(|x| x[0].flatten()),
        },
    ]
}
