//! What `reference_network.json` holds, and the engine's side of it: the reference network
//! without dropout, and its training steps.

use std::collections::BTreeMap;

use serde::Deserialize;
use toile::nn::{Layer, Sequential};
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, Shape, Tensor, models};
use toile_kernels::geometry::SUMMARY_LEN;

use super::inputs::{Batch, Tensors};
use super::norm;

#[derive(Deserialize)]
pub struct Golden {
    pub settings: Settings,
    pub not_updated: Vec<String>,
    pub zero_gradients: Vec<String>,
    pub inputs: Inputs,
    pub first_batch: Pass,
    pub few_images: Pass,
    pub inference_logits: Entry,
    pub ten_steps: TenSteps,
}

#[derive(Deserialize)]
pub struct Settings {
    pub batch_norm_eps: f64,
    pub batch_norm_momentum: f64,
    pub adam: AdamSettings,
}

#[derive(Deserialize)]
pub struct AdamSettings {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
}

#[derive(Deserialize)]
pub struct Inputs {
    pub tensors_sha256: String,
    #[serde(default)]
    pub tensors: Vec<NamedTensor>,
    pub templates_sha256: Option<String>,
    pub batches: Vec<GoldenBatch>,
}

#[derive(Deserialize)]
pub struct NamedTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub first_values: Vec<f32>,
}

#[derive(Deserialize)]
pub struct GoldenBatch {
    pub step: u32,
    pub pixels_sha256: String,
    pub first_pixels: Vec<u8>,
    pub labels: Vec<u8>,
}

/// One training-mode pass.
#[derive(Deserialize)]
pub struct Pass {
    /// How many of the batch's images; all if absent.
    pub images: Option<usize>,
    pub loss: f64,
    pub loss_float64: f64,
    pub logits: Entry,
    pub gradients: BTreeMap<String, Entry>,
    pub running_statistics: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
pub struct TenSteps {
    pub inputs: Inputs,
    pub losses: Vec<f64>,
    pub losses_float64: Vec<f64>,
    pub noise: Vec<f64>,
    pub noise_other_orders: Vec<f64>,
    pub zero_gradients: Vec<String>,
    pub tensors: BTreeMap<String, Entry>,
}

/// A tensor, or evenly spaced samples of it.
#[derive(Deserialize)]
pub struct Entry {
    pub shape: Vec<usize>,
    pub norm: f64,
    pub noise: Option<f64>,
    pub values: Vec<f64>,
}

impl Entry {
    /// Of a whole tensor, the elements that this entry holds.
    #[track_caller]
    pub fn samples(&self, whole: &[f64]) -> Vec<f64> {
        assert_eq!(whole.len(), self.shape.iter().product::<usize>(), "of shape {:?}", self.shape);
        (0..self.values.len()).map(|j| whole[j * whole.len() / self.values.len()]).collect()
    }

    /// The distance of a whole tensor from this one, relative to its norm: that of the samples,
    /// scaled up to all elements, or that of the norms, in which every element counts, whichever
    /// is larger.
    #[track_caller]
    pub fn distance(&self, whole: &[f64]) -> f64 {
        let gap: Vec<f64> =
            self.samples(whole).iter().zip(&self.values).map(|(f, e)| f - e).collect();
        let scale = (whole.len() as f64 / gap.len() as f64).sqrt();
        let of_norms = (norm(whole) - self.norm).abs();
        if of_norms.is_nan() { f64::NAN } else { of_norms.max(norm(&gap) * scale) / self.norm }
    }
}

/// The reference network without dropout, with its optimizer.
pub struct Run {
    network: Sequential,
    optimizer: Optimizer,
    summary: Buffer,
    steps: u32,
}

/// What a training-mode pass gives.
pub struct Outcome {
    pub loss: f64,
    pub logits: Vec<f64>,
}

impl Run {
    /// A network as it is built, before it gets numbers from outside.
    pub fn new(device: Device) -> Run {
        let mut layers = models::reference(10);
        layers.retain(|layer| !matches!(layer, Layer::Dropout(_)));
        let network = Sequential::new(&layers, Shape::new(&[28, 28, 1]), device, 0);
        let optimizer = Optimizer::new(network.parameters(), OptimizerSettings::default());
        Run { network, optimizer, summary: Buffer::zeros(device, SUMMARY_LEN), steps: 0 }
    }

    /// A network with these numbers.
    pub fn start(device: Device, tensors: &Tensors) -> Run {
        let mut run = Run::new(device);
        for (name, _, values) in tensors {
            run.network.parameters_mut().set(name, values);
        }
        run
    }

    /// Names and shapes of all tensors, in the order of the layers.
    pub fn named(&self) -> Vec<(String, Shape)> {
        self.network.parameters().iter().map(|p| (p.name().to_owned(), p.shape())).collect()
    }

    fn images(&self, batch: &Batch) -> Tensor {
        let pixels: Vec<f32> = batch.pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let shape = Shape::new(&[batch.labels.len(), 28, 28, 1]);
        Tensor::new(self.network.device(), shape, &pixels)
    }

    /// Forward and backward in training mode.
    pub fn pass(&mut self, batch: &Batch) -> Outcome {
        let labels = Buffer::from_slice(self.network.device(), &batch.labels);
        let logits = self.network.forward_train(&self.images(batch), 0, self.steps);
        let loss = logits.cross_entropy(&labels, &mut self.summary).mean;
        let outcome = Outcome { loss: loss.to_vec::<f64>()[0], logits: logits.to_vec() };
        self.network.parameters().check_reached(&loss.backward());
        outcome
    }

    /// The optimizer's update, with the gradients of the last pass.
    pub fn update(&mut self, learning_rate: f64) {
        let parameters = self.network.parameters();
        self.optimizer.update(parameters, learning_rate, self.steps.into(), &mut self.summary);
        self.steps += 1;
        assert_eq!(self.summary.to_vec::<f64>()[2], 1.0, "whether the update was made");
    }

    /// The logits of the images in inference mode.
    pub fn inference(&self, batch: &Batch) -> Vec<f64> {
        self.network.forward(&self.images(batch)).to_vec()
    }

    /// All tensors by name.
    pub fn tensors(&self) -> BTreeMap<String, Vec<f64>> {
        let named = |p: &toile::nn::Parameter| (p.name().to_owned(), p.values().to_vec());
        self.network.parameters().iter().map(named).collect()
    }

    /// All gradients by name: those of all tensors but the running statistics.
    pub fn gradients(&self) -> BTreeMap<String, Vec<f64>> {
        let parameters = self.network.parameters();
        let named = |p: &toile::nn::Parameter| {
            Some((p.name().to_owned(), parameters.gradients().slice(p.place()?).to_vec()))
        };
        let gradients: BTreeMap<_, Vec<f64>> = parameters.iter().filter_map(named).collect();
        let count: usize = gradients.values().map(Vec::len).sum();
        assert_eq!(count, parameters.gradients().len(), "gradients that belong to no tensor");
        gradients
    }
}
