//! Softmax and cross-entropy: loss = mean over images of `-ln softmax(logits)[label]`;
//! [N, K] and N labels -> a scalar. dlogits = (softmax(logits) - onehot(label)) / N.

use toile_kernels::geometry::{self, SUMMARY_LEN};
use toile_kernels::{Buffer, cross_entropy_backward, cross_entropy_forward, softmax};

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// The probabilities are kept; they are the result's own slope.
struct CrossEntropy {
    g: geometry::CrossEntropy,
    probabilities: Buffer,
    labels: Buffer,
}

/// What [`Tensor::cross_entropy`] computes.
pub struct Loss {
    /// The mean loss, a scalar, in nats.
    pub mean: Tensor,
    /// The loss of each image, `[N]`.
    pub each: Buffer,
    /// softmax(logits), [N, K].
    pub probabilities: Buffer,
}

impl Tensor {
    /// The mean cross-entropy of these logits. `summary`, four numbers, receives the mean loss
    /// and the number of hits: images whose first largest logit is their label's.
    ///
    /// # Panics
    /// If this is not [N, K] with K from 1 to 256, or there is not one label below K for each
    /// image.
    #[must_use]
    #[track_caller]
    pub fn cross_entropy(&self, labels: &Buffer, summary: &mut Buffer) -> Loss {
        let g = geometry_of("cross_entropy", self.shape());
        let mut probabilities = self.buffer_for(g.len());
        let mut each = self.buffer_for(g.images());
        cross_entropy_forward(&g, self.buffer(), labels, &mut probabilities, &mut each, summary);
        let mean = Tensor::from_op(Shape::new(&[]), summary.slice(0..1), &[self], || {
            CrossEntropy { g, probabilities: probabilities.clone(), labels: labels.clone() }
        });
        Loss { mean, each, probabilities }
    }

    /// The probabilities of the classes, a row an image: [N, K] -> [N, K]. It has no gradient;
    /// training goes through [`Tensor::cross_entropy`].
    ///
    /// # Panics
    /// If this is not [N, K].
    #[must_use]
    #[track_caller]
    pub fn softmax(&self) -> Tensor {
        let g = geometry_of("softmax", self.shape());
        let mut probabilities = self.buffer_for(g.len());
        softmax(&g, self.buffer(), &mut probabilities);
        Tensor::from_op(self.shape(), probabilities, &[self], || super::NoGradient("softmax"))
    }
}

#[track_caller]
pub(super) fn geometry_of(op: &str, shape: Shape) -> geometry::CrossEntropy {
    let [n, k] = shape.expect(op, "logits [N, K]");
    let g = geometry::CrossEntropy { images: size(n), classes: size(k) };
    if let Some(fault) = g.fault() {
        panic!("{op}: {fault}: {shape}");
    }
    g
}

impl Backward for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        let Self { g, probabilities, labels } = *self;
        cross_entropy_backward(&g, &gradient, &probabilities, &labels, &mut slots.slot(0));
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [n, k] = [draw.between(1, 18), draw.size()];
    let shape = Shape::new(&[n, k]);
    let labels: Vec<u8> = (0..n).map(|_| draw.between(0, k - 1) as u8).collect();
    vec![Case {
        name: format!("cross_entropy {shape}"),
        inputs: vec![(shape, draw.reals(shape.len()).iter().map(|x| 4.0 * x).collect())],
        function: Box::new(move |x| {
            let device = x[0].device();
            let labels = Buffer::from_slice(device, &labels);
            x[0].cross_entropy(&labels, &mut Buffer::zeros(device, SUMMARY_LEN)).mean
        }),
    }]
}
