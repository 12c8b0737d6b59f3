//! Optimizers: one pass over the arenas of parameters, gradients and what is remembered of them.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use toile_kernels::{Buffer, adam, check_gradients, geometry, move_towards, sgd};

use crate::nn::{Parameter, Parameters};
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
    /// Added to the square root of Adam's second moment, above 0.
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

/// Updates parameters by their gradients.
pub struct Optimizer {
    settings: OptimizerSettings,
    groups: Vec<Group>,
    /// Laid out like the arena of parameters: Adam's two moments, or SGD's velocities.
    moments: Vec<Buffer>,
}

/// A range of the arena, all of whose numbers decay or none.
struct Group {
    range: Range<usize>,
    decays: bool,
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
        let groups = groups(parameters, settings.weight_decay > 0.0);
        Optimizer { settings, groups, moments: (0..count).map(|_| zeros()).collect() }
    }

    /// One update with the gradients in the arena. It is made only if the loss in
    /// `summary[0]` and all gradients are finite; `summary[2]` becomes 1 or 0 accordingly, and
    /// `summary[3]` what the gradients were scaled by.
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
        for group in &self.groups {
            let of_group = |arena: &Buffer| arena.slice(group.range.clone());
            let (gradients, mut values) =
                (of_group(parameters.gradients()), of_group(parameters.values()));
            let weight_decay = if group.decays { self.settings.weight_decay } else { 0.0 };
            let len = size(group.range.len());
            match self.settings.rule {
                Rule::Adam => {
                    let g = adam_step(&self.settings, len, learning_rate, weight_decay, step);
                    let [mut first, mut second] = [0, 1].map(|i| of_group(&self.moments[i]));
                    adam(&g, &gradients, summary, &mut values, &mut first, &mut second);
                }
                Rule::Sgd => {
                    let g = geometry::Sgd {
                        len,
                        rate: learning_rate as f32,
                        momentum: self.settings.momentum as f32,
                        weight_decay: weight_decay as f32,
                    };
                    let mut velocities = of_group(&self.moments[0]);
                    sgd(&g, &gradients, summary, &mut values, &mut velocities);
                }
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
/// If the layers are others.
#[track_caller]
pub fn move_average(average: &Parameters, parameters: &Parameters, share: f32) {
    let arenas = [Parameters::values, Parameters::statistics];
    for (to, from) in arenas.map(|arena| (arena(average), arena(parameters))) {
        let g = geometry::MoveTowards { len: size(from.len()), share };
        move_towards(&g, from, &mut to.clone());
    }
}

/// The ranges of the arena: one for all of it where nothing decays, else one for each run of
/// parameters that do or do not.
fn groups(parameters: &Parameters, decay: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for parameter in parameters.iter() {
        let Some(range) = parameter.place() else { continue };
        let decays = decay && is_weight(parameter) && parameter.is_trained();
        match groups.last_mut() {
            Some(last) if last.decays == decays && last.range.end == range.start => {
                last.range.end = range.end;
            }
            _ => groups.push(Group { range, decays }),
        }
    }
    groups
}

/// Whether a parameter is a weight of a product: biases and batch norm's have one axis.
fn is_weight(parameter: &Parameter) -> bool {
    parameter.shape().dims().len() > 1
}

/// Adam's rate is learning rate · sqrt(1 - beta2^t) / (1 - beta1^t) with t = step + 1, in f64. The
/// powers are `libm`'s, so that they are the same bits on every platform.
fn adam_step(
    settings: &OptimizerSettings,
    len: u32,
    learning_rate: f64,
    weight_decay: f64,
    step: u64,
) -> geometry::Adam {
    let OptimizerSettings { beta1, beta2, epsilon, .. } = *settings;
    let left = |beta: f64| 1.0 - libm::pow(beta, (step + 1) as f64);
    geometry::Adam {
        len,
        rate: (learning_rate * libm::sqrt(left(beta2)) / left(beta1)) as f32,
        share1: (1.0 - beta1) as f32,
        share2: (1.0 - beta2) as f32,
        epsilon: epsilon as f32,
        decay: (learning_rate * weight_decay) as f32,
    }
}
