//! The stage for a convolution, ReLU, and where they follow max-pooling and dropout.

use toile_kernels::rng::Stream;

use super::conv2d::Convolve;
use super::dropout::Drop;
use super::plan::Fused;
use super::{Layer, MaxPool2d, Pass, Placed, Stage};
use crate::ops::conv_pool::Tail;
use crate::tensor::Tensor;

/// What follows a convolution from its ReLU on.
pub(super) struct After {
    pool: MaxPool2d,
    dropout: Option<Drop>,
}

impl After {
    /// Takes ReLU, pool and dropout from the front of `rest`, and says how many layers these
    /// are; none where there is no ReLU.
    pub fn take(rest: &[Placed]) -> Option<(usize, After)> {
        let kinds = |i: usize| rest.get(i).map(|placed| placed.layer);
        let Some(Layer::Relu(_)) = kinds(0) else { return None };
        let (mut count, mut after) = (1, After { pool: MaxPool2d::new(1), dropout: None });
        if let Some(Layer::MaxPool2d(pool)) = kinds(count)
            && pool.window < 16
        {
            (count, after.pool) = (count + 1, *pool);
        }
        if let Some(Layer::Dropout(layer)) = kinds(count) {
            after.dropout = Some(Drop::at(layer, &rest[count].site));
            count += 1;
        }
        Some((count, after))
    }

    /// The operation's view of it, in a training step.
    pub fn tail(&self, seed: u64, step: u32) -> Tail {
        let none = (0.0, Stream { seed, purpose: 0, step });
        let dropout = self.dropout.as_ref().map(|drop| (drop.rate, drop.stream(seed, step)));
        Tail {
            window: [self.pool.window; 2],
            stride: self.pool.stride,
            dropout: dropout.unwrap_or(none),
        }
    }
}

/// Fuses convolution and ReLU, and a pool and dropout behind them.
pub(super) fn fuse(rest: &[Placed]) -> Fused {
    let Layer::Conv2d(layer) = rest[0].layer else { return None };
    let (count, after) = After::take(&rest[1..])?;
    let conv = Convolve::new(layer, &rest[0].parameters);
    let alone = rest[..=count].iter().map(Placed::stage).collect();
    Some((count + 1, Box::new(ConvPool { conv, after, alone })))
}

struct ConvPool {
    conv: Convolve,
    after: After,
    /// The same layers one by one, for inference.
    alone: Vec<Box<dyn Stage>>,
}

impl Stage for ConvPool {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let Pass::Training { seed, step } = pass else {
            return self.alone.iter().fold(x.clone(), |x, stage| stage.forward(&x, pass));
        };
        let (weight, bias) = (self.conv.weight.tensor(true), self.conv.bias.tensor(true));
        x.conv_pool(&weight, &bias, self.conv.window, self.after.tail(seed, step))
    }
}
