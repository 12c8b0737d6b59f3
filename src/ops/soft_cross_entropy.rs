//! Softmax and cross-entropy against distributions over the classes: loss = mean over images of
//! `- sum over k of target[k] ln softmax(logits)[k]`; [N, K] and [N, K] -> a scalar.
//! dlogits = (softmax(logits) sum(target) - target) / N, where a row's sum is 1 as a rule.

use toile_kernels::geometry::{self, SUMMARY_LEN};
use toile_kernels::{Buffer, soft_cross_entropy_backward, soft_cross_entropy_forward};

use super::cross_entropy::{Loss, geometry_of};
use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The probabilities and the targets are kept; their difference is the result's slope.
struct SoftCrossEntropy {
    g: geometry::CrossEntropy,
    probabilities: Buffer,
    targets: Buffer,
}

impl Tensor {
    /// The mean cross-entropy of these logits against `targets`, [N, K], which
    /// [`soft_targets`](super::targets::soft_targets) makes and which have no gradient. `summary`,
    /// four numbers, receives the mean loss and the number of hits: images whose first largest
    /// logit is their label's.
    ///
    /// # Panics
    /// If this is not [N, K] with K from 1 to 256, the targets are not as many, or there is not
    /// one label below K for each image.
    #[must_use]
    #[track_caller]
    pub fn soft_cross_entropy(
        &self,
        targets: &Buffer,
        labels: &Buffer,
        summary: &mut Buffer,
    ) -> Loss {
        let g = geometry_of("soft_cross_entropy", self.shape());
        let mut probabilities = self.buffer_for(g.len());
        let mut each = self.buffer_for(g.images());
        soft_cross_entropy_forward(
            &g,
            self.buffer(),
            targets,
            labels,
            &mut probabilities,
            &mut each,
            summary,
        );
        let mean = Tensor::from_op(Shape::new(&[]), summary.slice(0..1), &[self], || {
            SoftCrossEntropy { g, probabilities: probabilities.clone(), targets: targets.clone() }
        });
        Loss { mean, each, probabilities }
    }
}

impl Backward for SoftCrossEntropy {
    fn name(&self) -> &'static str {
        "soft_cross_entropy"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        let Self { g, probabilities, targets } = *self;
        soft_cross_entropy_backward(&g, &gradient, &probabilities, &targets, &mut slots.slot(0));
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [n, k] = [draw.between(1, 18), draw.size()];
    let shape = Shape::new(&[n, k]);
    let labels: Vec<u8> = (0..n).map(|_| draw.between(0, k - 1) as u8).collect();
    // Not distributions: the gradient is right for any rows.
    let targets: Vec<f64> = draw.reals(shape.len()).iter().map(|x| x.abs()).collect();
    vec![Case {
        name: format!("soft_cross_entropy {shape}"),
        inputs: vec![(shape, draw.reals(shape.len()).iter().map(|x| 4.0 * x).collect())],
        function: Box::new(move |x| {
            let device = x[0].device();
            let targets = Buffer::from_slice(device, &targets);
            let labels = Buffer::from_slice(device, &labels);
            let mut summary = Buffer::zeros(device, SUMMARY_LEN);
            x[0].soft_cross_entropy(&targets, &labels, &mut summary).mean
        }),
    }]
}
