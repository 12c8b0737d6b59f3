//! From a list of layers to the stages that run.
//!
//! A plan sees each layer with its neighbours. It decides here what no layer can know alone:
//! that a bias before a batch normalisation stays idle, and which neighbours run as one stage.
//! Names, parameters and dropout streams belong to the layers, so no decision made here changes
//! a file or a mask.

use std::collections::HashMap;

use super::parameters::{ParameterId, Parameters, Requests, Role};
use super::summary::{Summary, SummaryRow};
use super::{Layer, Placed, Site, Stage, conv_block, conv_pool};
use crate::shape::Shape;

/// Whether neighbouring layers run as one stage where the plan knows how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fusion {
    /// They do: the way to train.
    On,
    /// Every layer is a stage of its own, for comparison. The numbers are the same, but
    /// for the first weight gradient of a thin block, which rounds otherwise.
    Off,
}

/// What layers fuse to: how many of them, and the stage that runs these.
pub(super) type Fused = Option<(usize, Box<dyn Stage>)>;

/// The patterns, tried in this order at every layer that no earlier stage runs.
const PATTERNS: &[fn(&[Placed]) -> Fused] = &[conv_block::fuse, conv_pool::fuse];

/// What becomes of a list of layers before it has numbers.
pub(super) struct Plan<'a> {
    layers: Vec<(&'a Layer, Site, Vec<ParameterId>)>,
    /// What the network looks like.
    pub summary: Summary,
}

impl<'a> Plan<'a> {
    /// Goes through `layers` for images of shape `input`; the parameters that they ask for come
    /// beside the plan. Those of the first `frozen` layers are idle.
    ///
    /// # Panics
    /// If a layer does not fit what comes before it.
    #[track_caller]
    pub fn new(layers: &'a [Layer], input: Shape, frozen: usize) -> (Plan<'a>, Requests) {
        let mut requests = Requests::default();
        let mut placed = Vec::new();
        let mut rows = Vec::new();
        let mut counts = HashMap::<&str, usize>::new();
        let mut shape = input;
        for (i, layer) in layers.iter().enumerate() {
            let count = counts.entry(layer.kind()).or_default();
            *count += 1;
            let before_batch_norm = matches!(layers.get(i + 1), Some(Layer::BatchNorm(_)));
            let site = Site {
                name: format!("{}{count}", layer.kind()),
                number: u16::try_from(i).expect("a network has at most 65,536 layers"),
                input: shape,
                bias: if before_batch_norm { Role::Idle } else { Role::Trained },
            };
            let first = requests.len();
            requests.are_frozen = i < frozen;
            let parameters = layer.as_dyn().request(&site, &mut requests);
            let multiply_adds = layer.as_dyn().multiply_adds(shape);
            shape = layer.as_dyn().output(shape);
            let (trainable, statistics) = requests.counts_from(first);
            rows.push(SummaryRow {
                name: site.name.clone(),
                output: shape,
                trainable,
                statistics,
                multiply_adds,
            });
            placed.push((layer, site, parameters));
        }
        let tensors = requests.tensors();
        (Plan { layers: placed, summary: Summary { input, rows, frozen, tensors } }, requests)
    }

    /// The layers with their parameters.
    pub fn place(&self, parameters: &Parameters) -> Vec<Placed<'a>> {
        let place = |(layer, site, ids): &(&'a Layer, Site, Vec<ParameterId>)| Placed {
            layer,
            site: site.clone(),
            parameters: ids.iter().map(|&id| parameters.get(id)).collect(),
        };
        self.layers.iter().map(place).collect()
    }
}

/// The stages that run `layers`.
pub(super) fn stages(layers: &[Placed], fusion: Fusion) -> Vec<Box<dyn Stage>> {
    let mut stages = Vec::new();
    let mut rest = layers;
    while let Some(first) = rest.first() {
        let fused = match fusion {
            Fusion::On => PATTERNS.iter().find_map(|pattern| pattern(rest)),
            Fusion::Off => None,
        };
        let (count, stage) = fused.unwrap_or_else(|| (1, first.stage()));
        stages.push(stage);
        rest = &rest[count..];
    }
    stages
}
