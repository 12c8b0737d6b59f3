//! Batch normalisation over images and pixels: [N, ..., C] -> [N, ..., C].

use serde::{Deserialize, Serialize};

use super::parameters::{Parameter, ParameterId, Requests};
use super::{Describe, Initializer, Pass, Role, Site, Stage};
use crate::ops::batch_norm::{Constants, RunningStatistics};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Batch normalisation with Keras's constants. Gamma and the running variance start at 1, beta
/// and the running mean at 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Added to the variance before the square root.
    pub epsilon: f32,
    /// Share of the old running statistics that a step keeps.
    pub momentum: f32,
}

impl Default for BatchNorm {
    fn default() -> Self {
        let Constants { epsilon, momentum } = Constants::default();
        BatchNorm { epsilon, momentum }
    }
}

impl Describe for BatchNorm {
    fn output(&self, input: Shape) -> Shape {
        input
    }

    fn request(&self, site: &Site, requests: &mut Requests) -> Vec<ParameterId> {
        let shape = Shape::new(&[site.input.channels()]);
        let mut ask = |name: &str, role: Role, value: f32| {
            let name = format!("{}.{name}", site.name);
            requests.add(name, shape, role, Initializer::Constant(value))
        };
        vec![
            ask("gamma", Role::Trained, 1.0),
            ask("beta", Role::Trained, 0.0),
            ask("mean", Role::Statistic, 0.0),
            ask("variance", Role::Statistic, 1.0),
        ]
    }

    fn stage(&self, _: &Site, parameters: &[Parameter]) -> Box<dyn Stage> {
        Box::new(Normalize::new(self, parameters))
    }
}

/// A layer's parameters and constants.
pub(super) struct Normalize {
    pub gamma: Parameter,
    pub beta: Parameter,
    pub running: RunningStatistics,
    pub constants: Constants,
}

impl Normalize {
    pub fn new(layer: &BatchNorm, parameters: &[Parameter]) -> Normalize {
        let [gamma, beta, mean, variance] = parameters else { unreachable!("four were asked for") };
        Normalize {
            gamma: gamma.clone(),
            beta: beta.clone(),
            running: RunningStatistics {
                mean: mean.values().clone(),
                variance: variance.values().clone(),
            },
            constants: Constants { epsilon: layer.epsilon, momentum: layer.momentum },
        }
    }
}

impl Stage for Normalize {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let tracked = pass.is_training();
        let (gamma, beta) = (self.gamma.tensor(tracked), self.beta.tensor(tracked));
        if pass.is_training() {
            x.batch_norm(&gamma, &beta, &mut self.running.clone(), self.constants)
        } else {
            x.batch_norm_inference(&gamma, &beta, &self.running, self.constants)
        }
    }
}
