//! The larger of each number and 0. Any shape.

use serde::{Deserialize, Serialize};

use super::parameters::Requests;
use super::{Build, Describe, Pass, Site, Stage};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Rectification.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relu {}

impl Describe for Relu {
    fn output(&self, input: Shape) -> Shape {
        input
    }
    fn build(&self, _: &Site, _: &mut Requests) -> Build {
        Box::new(|_| Box::new(Rectify))
    }
}

struct Rectify;

impl Stage for Rectify {
    fn forward(&self, x: &Tensor, _: Pass) -> Tensor {
        x.relu()
    }
}
