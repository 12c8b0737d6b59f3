//! Convolution with a bias: [N, H, W, C] -> [N, H', W', filters].

use serde::{Deserialize, Serialize};

use super::parameters::{Parameter, ParameterId, Requests};
use super::{Describe, Initializer, Pass, Site, Stage};
use crate::ops::conv2d::Window;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A two-dimensional convolution with a square kernel, and a bias. Weights start Glorot-uniform,
/// biases at 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv2d {
    /// Output channels.
    pub filters: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Pixels between neighbouring windows.
    pub stride: usize,
    /// Zeros around the image, on each side; less than the kernel.
    pub padding: usize,
}

impl Conv2d {
    /// A valid convolution of stride 1.
    #[must_use]
    pub fn new(filters: usize, kernel: usize) -> Conv2d {
        Conv2d { filters, kernel, stride: 1, padding: 0 }
    }

    fn weight_shape(&self, input: Shape) -> Shape {
        Shape::new(&[self.kernel, self.kernel, input.channels(), self.filters])
    }
}

impl Describe for Conv2d {
    fn output(&self, input: Shape) -> Shape {
        let [height, width, _] = input.expect("conv2d", "an image [H, W, C]");
        let out = |size: usize| {
            let reach = (size + 2 * self.padding).checked_sub(self.kernel);
            let reach = reach.unwrap_or_else(|| {
                panic!("conv2d: a kernel of {} does not fit an image {input}", self.kernel)
            });
            reach / self.stride.max(1) + 1
        };
        Shape::new(&[out(height), out(width), self.filters])
    }

    fn multiply_adds(&self, input: Shape) -> usize {
        self.output(input).len() * self.kernel * self.kernel * input.channels()
    }

    fn request(&self, site: &Site, requests: &mut Requests) -> Vec<ParameterId> {
        let taps = self.kernel * self.kernel;
        let shape = self.weight_shape(site.input);
        let glorot = Initializer::GlorotUniform {
            fan_in: taps * site.input.channels(),
            fan_out: taps * self.filters,
        };
        let weight =
            requests.add(format!("{}.weight", site.name), shape, super::Role::Trained, glorot);
        let bias = requests.add(
            format!("{}.bias", site.name),
            Shape::new(&[self.filters]),
            site.bias,
            Initializer::Constant(0.0),
        );
        vec![weight, bias]
    }

    fn stage(&self, _: &Site, parameters: &[Parameter]) -> Box<dyn Stage> {
        Box::new(Convolve::new(self, parameters))
    }
}

/// A layer's parameters and the movement of its kernel.
pub(super) struct Convolve {
    pub weight: Parameter,
    pub bias: Parameter,
    pub window: Window,
}

impl Convolve {
    pub fn new(layer: &Conv2d, parameters: &[Parameter]) -> Convolve {
        let [weight, bias] = parameters else { unreachable!("two were asked for") };
        let window = Window { stride: layer.stride, padding: layer.padding };
        Convolve { weight: weight.clone(), bias: bias.clone(), window }
    }
}

impl Stage for Convolve {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let tracked = pass.is_training();
        x.conv2d(&self.weight.tensor(tracked), self.window).add_bias(&self.bias.tensor(tracked))
    }
}
