//! The larger of each number and 0. Any shape.

use serde::{Deserialize, Serialize};

use super::{Describe, Parameter, Pass, Site, Stage};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Rectification.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relu {}

impl Describe for Relu {
    fn output(&self, input: Shape) -> Shape {
        input
    }
    fn stage(&self, _: &Site, _: &[Parameter]) -> Box<dyn Stage> {
        Box::new(Rectify)
    }
}

struct Rectify;

impl Stage for Rectify {
    fn forward(&self, x: &Tensor, _: Pass) -> Tensor {
        x.relu()
    }
}
