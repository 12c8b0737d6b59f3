//! The maximum of each square window: [N, H, W, C] -> [N, H', W', C].

use serde::{Deserialize, Serialize};

use super::{Describe, Parameter, Pass, Site, Stage};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Max-pooling without padding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaxPool2d {
    /// Height and width of the window, at most 16.
    pub window: usize,
    /// Pixels between neighbouring windows.
    pub stride: usize,
}

impl MaxPool2d {
    /// Windows that touch and do not overlap.
    #[must_use]
    pub fn new(window: usize) -> MaxPool2d {
        MaxPool2d { window, stride: window }
    }
}

impl Describe for MaxPool2d {
    fn output(&self, input: Shape) -> Shape {
        let [height, width, channels] = input.expect("max_pool2d", "an image [H, W, C]");
        let out = |size: usize| {
            let reach = size.checked_sub(self.window).unwrap_or_else(|| {
                panic!("max_pool2d: a window of {} does not fit an image {input}", self.window)
            });
            reach / self.stride.max(1) + 1
        };
        Shape::new(&[out(height), out(width), channels])
    }

    fn stage(&self, _: &Site, _: &[Parameter]) -> Box<dyn Stage> {
        Box::new(Pool(*self))
    }
}

struct Pool(MaxPool2d);

impl Stage for Pool {
    fn forward(&self, x: &Tensor, _: Pass) -> Tensor {
        x.max_pool2d([self.0.window; 2], self.0.stride)
    }
}
