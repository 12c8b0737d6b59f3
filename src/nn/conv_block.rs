//! The stage for a convolution with batch norm and ReLU before another that ends in a pool: the
//! two blocks of the reference network.

use super::batch_norm::Normalize;
use super::conv_pool::After;
use super::conv2d::Convolve;
use super::plan::Fused;
use super::{Layer, Pass, Placed, Stage};
use crate::ops::conv_block::{Parameters, Settings};
use crate::tensor::Tensor;

/// Fuses convolution, batch norm, ReLU, convolution, ReLU, and a pool and dropout behind them.
pub(super) fn fuse(rest: &[Placed]) -> Fused {
    let (start, end) = rest.split_at_checked(4)?;
    let [first, norm, relu, second] = start else { unreachable!("four were taken") };
    let (
        Layer::Conv2d(first_layer),
        Layer::BatchNorm(norm_layer),
        Layer::Relu(_),
        Layer::Conv2d(second_layer),
    ) = (first.layer, norm.layer, relu.layer, second.layer)
    else {
        return None;
    };
    let (count, after) = After::take(end)?;
    let stage = ConvBlock {
        first: Convolve::new(first_layer, &first.parameters),
        norm: Normalize::new(norm_layer, &norm.parameters),
        second: Convolve::new(second_layer, &second.parameters),
        after,
        alone: rest[..4 + count].iter().map(Placed::stage).collect(),
    };
    Some((4 + count, Box::new(stage)))
}

struct ConvBlock {
    first: Convolve,
    norm: Normalize,
    second: Convolve,
    after: After,
    /// The same layers one by one, for inference.
    alone: Vec<Box<dyn Stage>>,
}

impl Stage for ConvBlock {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let Pass::Training { seed, step } = pass else {
            return self.alone.iter().fold(x.clone(), |x, stage| stage.forward(&x, pass));
        };
        let parameters = Parameters {
            weight1: &self.first.weight.tensor(true),
            bias1: &self.first.bias.tensor(true),
            gamma: &self.norm.gamma.tensor(true),
            beta: &self.norm.beta.tensor(true),
            weight2: &self.second.weight.tensor(true),
            bias2: &self.second.bias.tensor(true),
        };
        let settings = Settings {
            windows: [self.first.window, self.second.window],
            constants: self.norm.constants,
            tail: self.after.tail(seed, step),
        };
        x.conv_block(&parameters, &mut self.norm.running.clone(), settings)
    }
}
