//! Optimizers: one pass over the arenas of parameters, gradients and moments.

use toile_kernels::{Buffer, adam, geometry};

use crate::nn::Parameters;
use crate::shape::size;

/// The constants of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConstants {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub epsilon: f64,
}

impl Default for AdamConstants {
    /// Keras's: 0.9, 0.999, 1e-7.
    fn default() -> Self {
        AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }
    }
}

/// Adam (Kingma and Ba, arXiv:1412.6980) in Keras's form: epsilon is added to the square root
/// of the uncorrected second moment, and both bias corrections go into the rate.
pub struct Adam {
    constants: AdamConstants,
    first_moment: Buffer,
    second_moment: Buffer,
}

impl Adam {
    /// An optimizer for `parameters`, its moments at 0.
    #[must_use]
    pub fn new(parameters: &Parameters, constants: AdamConstants) -> Adam {
        let zeros = || Buffer::zeros(parameters.values().device(), parameters.values().len());
        Adam { constants, first_moment: zeros(), second_moment: zeros() }
    }

    /// One update with the gradients in the arena. It is made only if the loss in
    /// `summary[0]` and all gradients are finite; `summary[2]` becomes 1 or 0 accordingly.
    /// `step` counts updates from 0; `learning_rate` is that of this step.
    pub fn update(
        &mut self,
        parameters: &Parameters,
        learning_rate: f64,
        step: u64,
        summary: &mut Buffer,
    ) {
        let AdamConstants { beta1, beta2, epsilon } = self.constants;
        let g = geometry::Adam {
            len: size(parameters.values().len()),
            rate: corrected_rate(learning_rate, self.constants, step),
            share1: (1.0 - beta1) as f32,
            share2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
        };
        adam(
            &g,
            parameters.gradients(),
            &mut parameters.values().clone(),
            &mut self.first_moment,
            &mut self.second_moment,
            summary,
        );
    }

    /// The moments, laid out like the arena of parameters.
    #[must_use]
    pub fn moments(&self) -> [&Buffer; 2] {
        [&self.first_moment, &self.second_moment]
    }

    /// The moments, to be set.
    pub fn moments_mut(&mut self) -> [&mut Buffer; 2] {
        [&mut self.first_moment, &mut self.second_moment]
    }
}

/// learning rate · sqrt(1 - beta2^t) / (1 - beta1^t) with t = step + 1, in f64. The powers are
/// `libm`'s, so that they are the same bits on every platform.
fn corrected_rate(learning_rate: f64, constants: AdamConstants, step: u64) -> f32 {
    let t = (step + 1) as f64;
    let left = |beta: f64| 1.0 - libm::pow(beta, t);
    (learning_rate * libm::sqrt(left(constants.beta2)) / left(constants.beta1)) as f32
}
