//! Dropout (Srivastava et al., JMLR 2014), inverted: inference does nothing. Any shape.

use serde::{Deserialize, Serialize};
use toile_kernels::rng::{Stream, purpose};

use super::{Describe, Parameter, Pass, Site, Stage};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// In training, sets a share of the numbers to 0 and scales up the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// The share, at least 0 and below 1.
    pub rate: f32,
}

impl Dropout {
    /// Dropout of this share.
    #[must_use]
    pub fn new(rate: f32) -> Dropout {
        Dropout { rate }
    }
}

impl Describe for Dropout {
    fn output(&self, input: Shape) -> Shape {
        input
    }

    fn stage(&self, site: &Site, _: &[Parameter]) -> Box<dyn Stage> {
        Box::new(Drop::at(self, site))
    }
}

/// A layer's rate and the purpose of its masks.
pub(super) struct Drop {
    pub rate: f32,
    purpose: u32,
}

impl Drop {
    pub fn at(layer: &Dropout, site: &Site) -> Drop {
        Drop { rate: layer.rate, purpose: purpose::dropout(site.number) }
    }

    /// The mask of a training step.
    pub fn stream(&self, seed: u64, step: u32) -> Stream {
        Stream { seed, purpose: self.purpose, step }
    }
}

impl Stage for Drop {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        match pass {
            Pass::Training { seed, step } if self.rate > 0.0 => {
                x.dropout(self.rate, self.stream(seed, step))
            }
            _ => x.clone(),
        }
    }
}
