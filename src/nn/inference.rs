//! A network that only answers: folded, packed, and shared by any number of threads.

use toile_kernels::geometry::Pool2d;
use toile_kernels::inference;
use toile_kernels::{Device, Kind};

use super::parameters::Parameter;
use super::{Layer, Sequential};
use crate::ops::conv2d::{Window, conv_geometry};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// The answers of a network as it was when this was made: batch norm is folded into the weights
/// before it, and these are packed once, so that a single image is answered quickly. An image's
/// answer is the same bits alone and in any batch, unless numbers come near the ends of the range of
/// f32. Threads may ask at the same time.
pub struct Inference<'a> {
    network: &'a Sequential,
    /// On devices that have it; elsewhere the layers answer one by one.
    packed: Option<inference::Inference>,
}

impl<'a> Inference<'a> {
    /// `layers` of `network`, each with the shape of one image that comes in and its parameters.
    pub(super) fn new<'b>(
        network: &'a Sequential,
        layers: impl Iterator<Item = (&'b Layer, Shape, &'b [Parameter])>,
    ) -> Self {
        let packed = (network.device() == Device::Cpu)
            .then(|| inference::Inference::new(&fold(layers), network.summary().input.len()));
        Inference { network, packed }
    }

    /// The logits of a batch [N, ...]: [N, classes].
    ///
    /// # Panics
    /// If the images are of another shape than the network's.
    #[must_use]
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let Some(packed) = &self.packed else { return self.network.forward(x) };
        let (found, expected) = (x.shape().of_one(), self.network.summary().input);
        assert_eq!(found, expected, "images of another shape than the network's");
        let images = x.shape().dims()[0];
        let mut y = toile_kernels::Buffer::unspecified(
            Device::Cpu,
            Kind::Real,
            images * packed.output_len(),
        );
        packed.run(x.buffer(), &mut y);
        Tensor::from_buffer(self.network.summary().output().batch(images), y)
    }
}

/// The layers of a network that only answers; what does nothing then is left out.
fn fold<'b>(
    all: impl Iterator<Item = (&'b Layer, Shape, &'b [Parameter])>,
) -> Vec<inference::Layer> {
    let mut layers: Vec<inference::Layer> = Vec::new();
    for (layer, input, parameters) in all {
        let values = |i: usize| parameters[i].values().to_vec::<f32>();
        match layer {
            Layer::Conv2d(conv) => {
                let window = Window { stride: conv.stride, padding: conv.padding };
                let mut one = vec![1];
                one.extend(input.dims());
                let shape = parameters[0].shape();
                let geometry = conv_geometry("inference", Shape::new(&one), shape, window);
                layers.push(inference::Layer::Conv {
                    geometry,
                    weight: values(0),
                    bias: values(1),
                });
            }
            Layer::Dense(_) => {
                layers.push(inference::Layer::Dense { weight: values(0), bias: values(1) });
            }
            Layer::BatchNorm(norm) => {
                let numbers = [0, 1, 2, 3].map(values);
                let (scale, shift) = scale_and_shift(&numbers, norm.epsilon);
                fold_norm(&mut layers, &scale, &shift);
            }
            Layer::Relu(_) => layers.push(inference::Layer::Relu),
            Layer::MaxPool2d(pool) => {
                let [height, width, channels] = input.expect("inference", "an image [H, W, C]");
                layers.push(inference::Layer::MaxPool(Pool2d {
                    images: 1,
                    height: size(height),
                    width: size(width),
                    channels: size(channels),
                    window_height: size(pool.window),
                    window_width: size(pool.window),
                    stride: size(pool.stride),
                }));
            }
            Layer::Dropout(_) | Layer::Flatten(_) => {}
        }
    }
    layers
}

/// scale = gamma / sqrt(variance + epsilon) and shift = beta - mean scale, in f64.
fn scale_and_shift(
    [gamma, beta, mean, variance]: &[Vec<f32>; 4],
    epsilon: f32,
) -> (Vec<f64>, Vec<f64>) {
    let scale: Vec<f64> = gamma
        .iter()
        .zip(variance)
        .map(|(&gamma, &v)| f64::from(gamma) / (f64::from(v) + f64::from(epsilon)).sqrt())
        .collect();
    let shift = beta.iter().zip(mean).zip(&scale);
    let shift = shift.map(|((&beta, &mean), scale)| f64::from(beta) - f64::from(mean) * scale);
    let shift = shift.collect();
    (scale, shift)
}

/// Folds a batch norm into the product before it, or adds it as a step of its own.
fn fold_norm(layers: &mut Vec<inference::Layer>, scale: &[f64], shift: &[f64]) {
    match layers.last_mut() {
        // Behind a Flatten, which is no step here, it may have more numbers than a convolution has
        // channels.
        Some(
            inference::Layer::Conv { weight, bias, .. } | inference::Layer::Dense { weight, bias },
        ) if bias.len() == scale.len() => {
            for row in weight.chunks_exact_mut(scale.len()) {
                for (weight, scale) in row.iter_mut().zip(scale) {
                    *weight = (f64::from(*weight) * scale) as f32;
                }
            }
            for ((bias, scale), shift) in bias.iter_mut().zip(scale).zip(shift) {
                *bias = (f64::from(*bias) * scale + shift) as f32;
            }
        }
        _ => layers.push(inference::Layer::Affine {
            scale: scale.iter().map(|&x| x as f32).collect(),
            shift: shift.iter().map(|&x| x as f32).collect(),
        }),
    }
}
