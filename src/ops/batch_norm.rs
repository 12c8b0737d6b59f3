//! Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167), a channel at a time:
//! y = gamma (x - mean) / sqrt(variance + epsilon) + beta; [N, ..., C] with four times [C].
//!
//! In training, mean and variance (over n) are the batch's own, and the gradient passes through
//! them: with x̂ = (x - mean) / sqrt(variance + epsilon) and means over images and pixels,
//! dx = gamma / sqrt(variance + epsilon) (dy - mean(dy) - x̂ mean(dy x̂)),
//! dgamma = sum(dy x̂), dbeta = sum(dy).

use toile_kernels::{
    Buffer, batch_norm_backward, batch_norm_forward, batch_norm_inference, geometry,
};

use super::NoGradient;
use super::bias::channels;
use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// The constants of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// Added to the variance before the square root.
    pub epsilon: f32,
    /// Share of the old running statistics that a step keeps (Keras's convention).
    pub momentum: f32,
}

impl Default for Constants {
    /// Keras's: 1e-3 and 0.99.
    fn default() -> Self {
        Constants { epsilon: 1e-3, momentum: 0.99 }
    }
}

/// Per-channel statistics, as the inference pass uses them: [C] each.
#[derive(Clone)]
pub struct RunningStatistics {
    /// The running mean.
    pub mean: Buffer,
    /// The running variance, with n - 1.
    pub variance: Buffer,
}

/// The input and the batch's statistics: x̂ is computed again from them.
struct BatchNorm {
    g: geometry::BatchNorm,
    x: Buffer,
    gamma: Buffer,
    mean: Buffer,
    inverse_deviation: Buffer,
}

impl Tensor {
    /// Normalises with the batch's own statistics and moves the running ones towards them.
    ///
    /// # Panics
    /// If this is not [N, ..., C], or the other operands are not [C].
    #[must_use]
    #[track_caller]
    pub fn batch_norm(
        &self,
        gamma: &Tensor,
        beta: &Tensor,
        running: &mut RunningStatistics,
        constants: Constants,
    ) -> Tensor {
        let g = geometry_of(self, gamma, beta, constants);
        let mut y = self.buffer_for(g.len());
        let mut mean = self.buffer_for(g.channels());
        let mut inverse_deviation = self.buffer_for(g.channels());
        batch_norm_forward(
            &g,
            self.buffer(),
            gamma.buffer(),
            beta.buffer(),
            &mut y,
            &mut mean,
            &mut inverse_deviation,
            &mut running.mean,
            &mut running.variance,
        );
        let (x, gamma_values) = (self.buffer(), gamma.buffer());
        Tensor::from_op(self.shape(), y, &[self, gamma, beta], || BatchNorm {
            g,
            x: x.clone(),
            gamma: gamma_values.clone(),
            mean,
            inverse_deviation,
        })
    }

    /// Normalises with the running statistics, for inference: it has no gradient.
    ///
    /// # Panics
    /// If this is not [N, ..., C], or the other operands are not [C].
    #[must_use]
    #[track_caller]
    pub fn batch_norm_inference(
        &self,
        gamma: &Tensor,
        beta: &Tensor,
        running: &RunningStatistics,
        constants: Constants,
    ) -> Tensor {
        let g = geometry_of(self, gamma, beta, constants);
        let mut y = self.buffer_for(g.len());
        batch_norm_inference(
            &g,
            self.buffer(),
            gamma.buffer(),
            beta.buffer(),
            &running.mean,
            &running.variance,
            &mut y,
        );
        Tensor::from_op(self.shape(), y, &[self, gamma, beta], || {
            NoGradient("batch_norm_inference")
        })
    }
}

#[track_caller]
fn geometry_of(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    constants: Constants,
) -> geometry::BatchNorm {
    let c = channels("batch_norm", x.shape());
    for operand in [gamma, beta] {
        let [given] = operand.shape().expect("batch_norm", "gamma and beta of shape [C]");
        assert_eq!(given, c.channels(), "batch_norm: channels of {} and of gamma, beta", x.shape());
    }
    geometry::BatchNorm {
        images: size(c.images()),
        pixels: size(c.pixels()),
        channels: size(c.channels()),
        epsilon: constants.epsilon,
        momentum: constants.momentum,
    }
}

impl Backward for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        let (g, device) = (&self.g, gradient.device());
        let mut dx = slots.slot_or_scratch(0, device, g.len());
        let mut dgamma = slots.slot_or_scratch(1, device, g.channels());
        let mut dbeta = slots.slot_or_scratch(2, device, g.channels());
        batch_norm_backward(
            g,
            &gradient,
            &self.x,
            &self.gamma,
            &self.mean,
            &self.inverse_deviation,
            &mut dx,
            &mut dgamma,
            &mut dbeta,
        );
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let c = draw.between(1, 3);
    let image = Shape::new(&[draw.between(1, 18), draw.size(), draw.size(), c]);
    let dense = Shape::new(&[draw.between(2, 9), c]);
    [image, dense]
        .map(|shape| {
            let parameters = Shape::new(&[c]);
            Case {
                name: format!("batch_norm {shape}"),
                inputs: vec![
                    (shape, draw.reals(shape.len())),
                    (parameters, draw.reals(c)),
                    (parameters, draw.reals(c)),
                ],
                function: Box::new(|x| {
                    let device = x[0].device();
                    let channels = x[1].shape().len();
                    let mut running = RunningStatistics {
                        mean: Buffer::zeros(device, channels),
                        variance: Buffer::zeros(device, channels),
                    };
                    // A large epsilon keeps the curvature of tiny batches within what central
                    // differences resolve.
                    let constants = Constants { epsilon: 0.1, ..Constants::default() };
                    x[0].batch_norm(&x[1], &x[2], &mut running, constants)
                }),
            }
        })
        .into()
}
