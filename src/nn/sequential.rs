//! A network that is a list of layers, with its numbers.

use toile_kernels::Device;

use super::inference::Inference;
use super::plan::{Fusion, Plan, stages};
use super::{Layer, Parameter, Parameters, Pass, Stage, Summary};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A list of layers with parameters on a device.
///
/// Training takes `&mut self`, since it moves running statistics; inference takes `&self` and
/// may run on many threads at once.
pub struct Sequential {
    layers: Vec<Layer>,
    /// The parameters of each layer.
    layer_parameters: Vec<Vec<Parameter>>,
    stages: Vec<Box<dyn Stage>>,
    parameters: Parameters,
    summary: Summary,
    device: Device,
}

impl Sequential {
    /// Gives `layers` initial numbers, a function of `seed`, for images of shape `input`.
    ///
    /// # Panics
    /// If a layer does not fit what comes before it, naming the layer and the shape.
    #[must_use]
    #[track_caller]
    pub fn new(layers: &[Layer], input: Shape, device: Device, seed: u64) -> Sequential {
        Sequential::with_fusion(layers, input, device, seed, Fusion::On)
    }

    /// The same with a choice of whether layers are fused to stages.
    ///
    /// # Panics
    /// As [`Sequential::new`].
    #[must_use]
    #[track_caller]
    pub fn with_fusion(
        layers: &[Layer],
        input: Shape,
        device: Device,
        seed: u64,
        fusion: Fusion,
    ) -> Sequential {
        let (plan, requests) = Plan::new(layers, input);
        let parameters = Parameters::new(requests, device, seed);
        let placed = plan.place(&parameters);
        let stages = stages(&placed, fusion);
        let layer_parameters = placed.into_iter().map(|placed| placed.parameters).collect();
        Sequential {
            layers: layers.to_vec(),
            layer_parameters,
            stages,
            parameters,
            summary: plan.summary,
            device,
        }
    }

    /// The answer for a batch [N, ...]: nothing is recorded and nothing changes.
    ///
    /// # Panics
    /// If the images are of another shape than the network's.
    #[must_use]
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.run(x, Pass::Inference)
    }

    /// This network as one that only answers, and quickly: make it once and ask it often.
    #[must_use]
    pub fn inference(&self) -> Inference<'_> {
        let inputs = self.summary.rows.iter().map(|row| row.output);
        let inputs = std::iter::once(self.summary.input).chain(inputs);
        let layers = self.layers.iter().zip(inputs).zip(&self.layer_parameters);
        Inference::new(self, layers.map(|((layer, input), all)| (layer, input, &all[..])))
    }

    /// The result for a batch of training step `step` under `seed`, recorded for backward.
    /// Running statistics move.
    ///
    /// # Panics
    /// If the images are of another shape than the network's.
    #[must_use]
    #[track_caller]
    pub fn forward_train(&mut self, x: &Tensor, seed: u64, step: u32) -> Tensor {
        self.run(x, Pass::Training { seed, step })
    }

    #[track_caller]
    fn run(&self, x: &Tensor, pass: Pass) -> Tensor {
        let (found, expected) = (x.shape().of_one(), self.summary.input);
        assert_eq!(found, expected, "images of another shape than the network's");
        self.stages.iter().fold(x.clone(), |x, stage| stage.forward(&x, pass))
    }

    /// The layers.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The named numbers.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The named numbers, to be set.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The table of layers.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Where the numbers live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }
}
