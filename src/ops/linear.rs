//! y = x w: [N, I] [I, O] -> [N, O]. dx = dy wᵀ; dw = xᵀ dy.

use toile_kernels::geometry::Gemm;
use toile_kernels::{Buffer, gemm_nn, gemm_nt, gemm_tn};

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// Both operands: dx needs w, dw needs x.
struct Linear {
    x: Buffer,
    w: Buffer,
    images: u32,
    inputs: u32,
    outputs: u32,
}

impl Tensor {
    /// Multiplies every row by a matrix.
    ///
    /// ```
    /// use toile::{Device, Shape, Tensor};
    /// let x = Tensor::new(Device::Cpu, Shape::new(&[1, 2]), &[10.0f32, 1.0]);
    /// let w = Tensor::new(Device::Cpu, Shape::new(&[2, 2]), &[1.0f32, 2.0, 3.0, 4.0]);
    /// assert_eq!(x.linear(&w).to_vec::<f32>(), [13.0, 24.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes are not [N, I] and [I, O].
    #[must_use]
    #[track_caller]
    pub fn linear(&self, weight: &Tensor) -> Tensor {
        let [n, i] = self.shape().expect("linear", "rows [N, I]");
        let [wi, o] = weight.shape().expect("linear", "weights [I, O]");
        assert_eq!(i, wi, "linear: inputs of {} and of weights {}", self.shape(), weight.shape());
        let [images, inputs, outputs] = [size(n), size(i), size(o)];
        let mut y = self.buffer_for(n * o);
        let g = Gemm { rows: images, columns: outputs, depth: inputs };
        gemm_nn(&g, self.buffer(), weight.buffer(), &mut y);
        let (x, w) = (self.buffer(), weight.buffer());
        let op = || Linear { x: x.clone(), w: w.clone(), images, inputs, outputs };
        Tensor::from_op(Shape::new(&[n, o]), y, &[self, weight], op)
    }
}

impl Backward for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        if slots.wants(0) {
            let g = Gemm { rows: self.images, columns: self.inputs, depth: self.outputs };
            gemm_nt(&g, &gradient, &self.w, &mut slots.slot(0));
        }
        if slots.wants(1) {
            let g = Gemm { rows: self.inputs, columns: self.outputs, depth: self.images };
            gemm_tn(&g, &self.x, &gradient, &mut slots.slot(1));
        }
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [n, i, o] = [draw.between(1, 18), draw.size(), draw.size()];
    let (x, w) = (Shape::new(&[n, i]), Shape::new(&[i, o]));
    vec![Case {
        name: format!("linear {x} by {w}"),
        inputs: vec![(x, draw.reals(x.len())), (w, draw.reals(w.len()))],
        function: Box::new(|x| x[0].linear(&x[1])),
    }]
}
