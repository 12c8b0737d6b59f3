//! Dropout (Srivastava et al., JMLR 2014), inverted: inference does nothing. Any shape.

use serde::{Deserialize, Serialize};
use toile_kernels::rng::{Stream, purpose};

use super::parameters::Requests;
use super::{Build, Describe, Pass, Site, Stage};
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

    fn build(&self, site: &Site, _: &mut Requests) -> Build {
        let stage = Drop { rate: self.rate, purpose: purpose::dropout(site.number) };
        Box::new(move |_| Box::new(stage))
    }
}

struct Drop {
    rate: f32,
    purpose: u32,
}

impl Stage for Drop {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        match pass {
            Pass::Training { seed, step } if self.rate > 0.0 => {
                x.dropout(self.rate, Stream { seed, purpose: self.purpose, step })
            }
            _ => x.clone(),
        }
    }
}
