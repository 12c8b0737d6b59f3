//! Every image as one row of features: [N, H, W, C] -> [N, H W C].

use serde::{Deserialize, Serialize};

use super::{Describe, Parameter, Pass, Site, Stage};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Turns images into rows; nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flatten {}

impl Describe for Flatten {
    fn output(&self, input: Shape) -> Shape {
        Shape::new(&[input.len()])
    }
    fn stage(&self, _: &Site, _: &[Parameter]) -> Box<dyn Stage> {
        Box::new(ToRows)
    }
}

struct ToRows;

impl Stage for ToRows {
    fn forward(&self, x: &Tensor, _: Pass) -> Tensor {
        x.flatten()
    }
}
