//! Optimizers: one pass over the arenas of parameters, gradients and what is remembered of them.

use serde::{Deserialize, Serialize};
use toile_kernels::{Buffer, adam, check_gradients, geometry, move_towards, sgd};

use crate::nn::Parameters;
use crate::shape::size;

/// The rule of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Adam (Kingma and Ba, arXiv:1412.6980) in Keras's form: epsilon is added to the square
    /// root of the uncorrected second moment, and both bias corrections go into the rate. Its
    /// weight decay is decoupled: with one it is AdamW (Loshchilov and Hutter, arXiv:1711.05101).
    Adam,
    /// Stochastic gradient descent with Nesterov's momentum, in PyTorch's form: the learning rate
    /// multiplies the velocity, and weight decay is part of the gradient.
    Sgd,
}

/// How an [`Optimizer`] behaves; the default is Keras's Adam.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerSettings {
    /// The rule of an update.
    pub rule: Rule,
    /// Adam's decay of the first moment, at least 0 and below 1.
    pub beta1: f64,
    /// Adam's decay of the second moment, at least 0 and below 1.
    pub beta2: f64,
    /// Added to the square root of Adam's second moment, at least 1e-30.
    pub epsilon: f64,
    /// What is left of SGD's velocity after a step, at least 0 and below 1.
    pub momentum: f64,
    /// How fast weights shrink, 0 or more; biases and batch norm's parameters never do.
    pub weight_decay: f64,
    /// The largest norm of all gradients together: longer ones are scaled down to it (Pascanu et
    /// al., arXiv:1211.5063). 0 is no limit.
    pub largest_norm: f64,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        OptimizerSettings {
            rule: Rule::Adam,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            momentum: 0.9,
            weight_decay: 0.0,
            largest_norm: 0.0,
        }
    }
}

impl OptimizerSettings {
    /// Adam's constants for no parameters. Its rate is
    /// learning rate · sqrt(1 - beta2^t) / (1 - beta1^t) with t = step + 1, in f64; the powers are
    /// `libm`'s, so that they are the same bits on every platform.
    fn adam(&self, learning_rate: f64, step: u64) -> geometry::Adam {
        let OptimizerSettings { beta1, beta2, epsilon, weight_decay, .. } = *self;
        let left = |beta: f64| 1.0 - libm::pow(beta, (step + 1) as f64);
        geometry::Adam {
            len: 0,
            decaying: 0,
            rate: (learning_rate * libm::sqrt(left(beta2)) / left(beta1)) as f32,
            share1: (1.0 - beta1) as f32,
            share2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            decay: (learning_rate * weight_decay) as f32,
        }
    }
}

/// Updates parameters by their gradients.
pub struct Optimizer {
    settings: OptimizerSettings,
    /// Laid out like the arena of parameters: Adam's two moments, or SGD's velocities.
    moments: Vec<Buffer>,
}

impl Optimizer {
    /// An optimizer for `parameters`, its moments at 0.
    #[must_use]
    pub fn new(parameters: &Parameters, settings: OptimizerSettings) -> Optimizer {
        let zeros = || Buffer::zeros(parameters.values().device(), parameters.values().len());
        let count = match settings.rule {
            Rule::Adam => 2,
            Rule::Sgd => 1,
        };
        Optimizer { settings, moments: (0..count).map(|_| zeros()).collect() }
    }

    /// One update with the gradients in the arena. It is made only if the loss in `summary[0]` is
    /// finite and all gradients are below 2^63 in magnitude; `summary[2]` becomes 1 or 0
    /// accordingly, and `summary[3]` what the gradients were scaled by.
    /// `step` counts updates from 0; `learning_rate` is that of this step.
    pub fn update(
        &mut self,
        parameters: &Parameters,
        learning_rate: f64,
        step: u64,
        summary: &mut Buffer,
    ) {
        let g = geometry::CheckGradients {
            len: size(parameters.gradients().len()),
            largest_norm: self.settings.largest_norm as f32,
        };
        check_gradients(&g, parameters.gradients(), summary);
        let (gradients, mut values) = (parameters.gradients(), parameters.values().clone());
        let [len, decaying] = [values.len(), parameters.weights_len()].map(size);
        let moment = |number: usize| self.moments[number].clone();
        match self.settings.rule {
            Rule::Adam => {
                let g = geometry::Adam { len, decaying, ..self.settings.adam(learning_rate, step) };
                let (mut first, mut second) = (moment(0), moment(1));
                adam(&g, gradients, summary, &mut values, &mut first, &mut second);
            }
            Rule::Sgd => {
                let g = geometry::Sgd {
                    len,
                    decaying,
                    rate: learning_rate as f32,
                    momentum: self.settings.momentum as f32,
                    weight_decay: self.settings.weight_decay as f32,
                };
                sgd(&g, gradients, summary, &mut values, &mut moment(0));
            }
        }
    }

    /// What is remembered of earlier gradients, laid out like the arena of parameters: Adam's
    /// first and second moments, or SGD's velocities.
    #[must_use]
    pub fn moments(&self) -> &[Buffer] {
        &self.moments
    }

    /// The same, to be set.
    pub fn moments_mut(&mut self) -> &mut [Buffer] {
        &mut self.moments
    }
}

/// Moves the numbers of `average`, running statistics included, a share of the way towards those of
/// another model of the same layers: an exponential moving average of weights.
///
/// # Panics
/// If the layers are others, or other ones are frozen.
#[track_caller]
pub fn move_average(average: &Parameters, parameters: &Parameters, share: f32) {
    assert!(average.are_laid_out_like(parameters), "an average of other parameters");
    let arenas = [Parameters::values, Parameters::statistics];
    for (to, from) in arenas.map(|arena| (arena(average), arena(parameters))) {
        let g = geometry::MoveTowards { len: size(from.len()), share };
        move_towards(&g, from, &mut to.clone());
    }
}

#[cfg(test)]
mod tests {
    use toile_kernels::Device;
    use toile_kernels::geometry::SUMMARY_LEN;

    use super::*;
    use crate::nn::{BatchNorm, Dense, Sequential};
    use crate::shape::Shape;

    /// At a rate of 1 and a decay of 0.25, 1 becomes 0.75 where the gradient is 0.
    #[track_caller]
    fn check_what_decays(rule: Rule, frozen: usize, weights: &[&str]) {
        let layers = [Dense::new(3).into(), BatchNorm::default().into(), Dense::new(2).into()];
        let network = Sequential::with_frozen(&layers, Shape::new(&[4]), Device::Cpu, 0, frozen);
        let parameters = network.parameters();
        parameters.values().clone().fill(1.0);
        let default = OptimizerSettings::default();
        let settings = OptimizerSettings { rule, momentum: 0.0, weight_decay: 0.25, ..default };
        let mut summary = Buffer::zeros(Device::Cpu, SUMMARY_LEN);
        Optimizer::new(parameters, settings).update(parameters, 1.0, 0, &mut summary);
        for parameter in parameters.iter().filter(|parameter| parameter.place().is_some()) {
            let name = parameter.name();
            let expected = if weights.contains(&name) { 0.75 } else { 1.0 };
            let values: Vec<f32> = parameter.values().to_vec();
            assert!(values.iter().all(|&x| x == expected), "{rule:?}, {name}: {values:?}");
        }
    }

    #[test]
    fn only_trained_weights_decay() {
        for rule in [Rule::Adam, Rule::Sgd] {
            check_what_decays(rule, 0, &["dense1.weight", "dense2.weight"]);
            check_what_decays(rule, 2, &["dense2.weight"]);
        }
    }
}
