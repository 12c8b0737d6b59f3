//! From a list of layers to the stages that run.
//!
//! A plan sees each layer with its neighbours. It decides here what no layer can know alone,
//! such as that a bias before a batch normalisation stays idle; fused stages are patterns over
//! the same neighbourhood. Names, parameters and dropout streams belong to the layers, so no
//! decision made here changes a file or a mask.

use std::collections::HashMap;

use super::parameters::{Requests, Role};
use super::summary::{Summary, SummaryRow};
use super::{Build, Layer, Site};
use crate::shape::Shape;

/// What becomes of a list of layers before it has numbers.
pub(super) struct Plan {
    /// The parameters that the layers asked for.
    pub requests: Requests,
    /// One stage a layer, to be finished with the parameters.
    pub stages: Vec<Build>,
    /// What the network looks like.
    pub summary: Summary,
}

impl Plan {
    /// Goes through `layers` for images of shape `input`.
    ///
    /// # Panics
    /// If a layer does not fit what comes before it.
    #[track_caller]
    pub fn new(layers: &[Layer], input: Shape) -> Plan {
        let mut requests = Requests::default();
        let mut stages = Vec::new();
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
            stages.push(layer.as_dyn().build(&site, &mut requests));
            let multiply_adds = layer.as_dyn().multiply_adds(shape);
            shape = layer.as_dyn().output(shape);
            let (trainable, statistics) = requests.counts_from(first);
            rows.push(SummaryRow {
                name: site.name,
                output: shape,
                trainable,
                statistics,
                multiply_adds,
            });
        }
        let tensors = requests.tensors();
        Plan { requests, stages, summary: Summary { input, rows, tensors } }
    }
}
