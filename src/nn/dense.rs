//! A full connection with a bias: [N, I] -> [N, units].

use serde::{Deserialize, Serialize};

use super::parameters::{Parameter, ParameterId, Requests};
use super::{Describe, Initializer, Pass, Role, Site, Stage};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A fully connected layer. Weights start Glorot-uniform, biases at 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dense {
    /// Output features.
    pub units: usize,
}

impl Dense {
    /// A layer with this many outputs.
    #[must_use]
    pub fn new(units: usize) -> Dense {
        Dense { units }
    }
}

impl Describe for Dense {
    fn output(&self, input: Shape) -> Shape {
        let [_] = input.expect("dense", "features [I]");
        Shape::new(&[self.units])
    }

    fn multiply_adds(&self, input: Shape) -> usize {
        input.len() * self.units
    }

    fn request(&self, site: &Site, requests: &mut Requests) -> Vec<ParameterId> {
        let inputs = site.input.len();
        let glorot = Initializer::GlorotUniform { fan_in: inputs, fan_out: self.units };
        let shape = Shape::new(&[inputs, self.units]);
        let weight = requests.add(format!("{}.weight", site.name), shape, Role::Trained, glorot);
        let bias = requests.add(
            format!("{}.bias", site.name),
            Shape::new(&[self.units]),
            site.bias,
            Initializer::Constant(0.0),
        );
        vec![weight, bias]
    }

    fn stage(&self, _: &Site, parameters: &[Parameter]) -> Box<dyn Stage> {
        let [weight, bias] = parameters else { unreachable!("two were asked for") };
        Box::new(Connect { weight: weight.clone(), bias: bias.clone() })
    }
}

struct Connect {
    weight: Parameter,
    bias: Parameter,
}

impl Stage for Connect {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let tracked = pass.is_training();
        x.linear(&self.weight.tensor(tracked)).add_bias(&self.bias.tensor(tracked))
    }
}
