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
    /// The stages of the layers that training does not change.
    frozen_stages: Vec<Box<dyn Stage>>,
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
        Sequential::build(layers, input, device, seed, fusion, 0)
    }

    /// The same with the first `frozen` layers as they are: training passes through them as
    /// inference does, and the optimizer leaves them alone.
    ///
    /// # Panics
    /// As [`Sequential::new`], and if there are fewer layers.
    #[must_use]
    #[track_caller]
    pub fn with_frozen(
        layers: &[Layer],
        input: Shape,
        device: Device,
        seed: u64,
        frozen: usize,
    ) -> Sequential {
        Sequential::build(layers, input, device, seed, Fusion::On, frozen)
    }

    #[track_caller]
    fn build(
        layers: &[Layer],
        input: Shape,
        device: Device,
        seed: u64,
        fusion: Fusion,
        frozen: usize,
    ) -> Sequential {
        let (plan, requests) = Plan::new(layers, input, frozen);
        let parameters = Parameters::new(requests, device, seed);
        let placed = plan.place(&parameters);
        // Stages never span the border.
        let (first, rest) = placed.split_at(frozen);
        let frozen_stages = stages(first, fusion);
        let stages = stages(rest, fusion);
        let layer_parameters = placed.into_iter().map(|placed| placed.parameters).collect();
        Sequential {
            layers: layers.to_vec(),
            layer_parameters,
            frozen_stages,
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
        let frozen = self.frozen_stages.iter();
        let x = frozen.fold(x.clone(), |x, stage| stage.forward(&x, Pass::Inference));
        self.stages.iter().fold(x, |x, stage| stage.forward(&x, pass))
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
