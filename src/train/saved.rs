//! Checkpoints: everything that a run needs to go on from an optimizer step, in one file.
//!
//! There is no state of a random generator to save: every draw is a function of seed and step.

#[cfg(test)]
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::checkpoint::serialize;
use crate::schedule::{EarlyStopping, ReduceOnPlateau};

/// The version of the checkpoints that this build writes.
const FORMAT_VERSION: u32 = 1;

/// The numbers and counters of a run, but for its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    format_version: u32,
    /// Optimizer steps in all.
    pub step: u64,
    /// The epoch in progress, counted from 1.
    pub epoch: u64,
    /// What the steps of that epoch came to so far.
    pub running: Running,
    pub learning_rate: f64,
    pub plateau: ReduceOnPlateau,
    pub early_stopping: EarlyStopping,
}

/// What an epoch's steps came to so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    /// Steps whose summaries were read.
    pub steps: usize,
    /// Images of those steps.
    pub images: usize,
    /// Sum over images of their batches' mean losses, in nats.
    pub loss_sum: f64,
    /// Images that were recognised.
    pub hits: f64,
    /// Seconds that the epoch took in earlier processes.
    pub seconds: f64,
}

impl Running {
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.images as f64
    }
    pub fn accuracy(&self) -> f64 {
        self.hits / self.images as f64
    }
}

/// A run between two steps.
#[derive(Debug, PartialEq)]
pub(super) struct Checkpoint {
    pub state: State,
    /// The weights, as a model file.
    pub model: Vec<u8>,
    /// The best epoch's weights, as a model file.
    pub best: Option<Vec<u8>>,
    /// Adam's moments.
    pub moments: [Vec<f32>; 2],
}

const MOMENTS: [&str; 2] = ["first_moment", "second_moment"];

impl State {
    pub fn new(
        step: u64,
        epoch: u64,
        running: Running,
        learning_rate: f64,
        plateau: ReduceOnPlateau,
        early_stopping: EarlyStopping,
    ) -> State {
        State {
            format_version: FORMAT_VERSION,
            step,
            epoch,
            running,
            learning_rate,
            plateau,
            early_stopping,
        }
    }
}

impl Checkpoint {
    /// The content of a checkpoint file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let moments = self
            .moments
            .each_ref()
            .map(|m| -> Vec<u8> { m.iter().flat_map(|x| x.to_le_bytes()).collect() });
        let view = |dtype, len, bytes| {
            TensorView::new(dtype, vec![len], bytes).expect("a tensor's bytes fit its shape")
        };
        let mut views = vec![("model", view(Dtype::U8, self.model.len(), &self.model))];
        if let Some(best) = &self.best {
            views.push(("best", view(Dtype::U8, best.len(), best)));
        }
        for (name, bytes) in MOMENTS.into_iter().zip(&moments) {
            views.push((name, view(Dtype::F32, bytes.len() / 4, bytes)));
        }
        let state = serde_json::to_string(&self.state).expect("plain values");
        serialize(views, [("state", state)])
    }
}

#[cfg(test)]
impl Checkpoint {
    /// Reads the content of a checkpoint file.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let no_checkpoint = |fault| format!("this is no checkpoint of toile: {fault}");
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|f| no_checkpoint(f.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|f| no_checkpoint(f.to_string()))?;
        let metadata = header.metadata().as_ref();
        let state = metadata.and_then(|metadata| metadata.get("state"));
        let state = state.ok_or_else(|| no_checkpoint("its metadata lacks `state`".into()))?;
        let state: State =
            serde_json::from_str(state).map_err(|f| format!("its `state` cannot be read: {f}"))?;
        if state.format_version != FORMAT_VERSION {
            return Err(format!(
                "its format version is {}, this build reads {FORMAT_VERSION}",
                state.format_version
            ));
        }
        let part = |name: &str, dtype| match file.tensor(name) {
            Ok(tensor) if tensor.dtype() == dtype => Ok(tensor.data()),
            _ => Err(no_checkpoint(format!("it lacks `{name}` of type {dtype:?}"))),
        };
        let moment = |name| -> Result<Vec<f32>, String> {
            let numbers = part(name, Dtype::F32)?.chunks_exact(4);
            Ok(numbers.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect())
        };
        let best = match file.tensor("best") {
            Ok(_) => Some(part("best", Dtype::U8)?.to_vec()),
            Err(_) => None,
        };
        Ok(Checkpoint {
            state,
            model: part("model", Dtype::U8)?.to_vec(),
            best,
            moments: [moment(MOMENTS[0])?, moment(MOMENTS[1])?],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{EarlyStoppingSettings, PlateauSettings};

    fn checkpoint() -> Checkpoint {
        let running =
            Running { steps: 3, images: 300, loss_sum: 0.1 + 0.2, hits: 99.0, seconds: 1.5 };
        let mut early_stopping = EarlyStopping::new(EarlyStoppingSettings::default());
        early_stopping.observe(0.7);
        let plateau = ReduceOnPlateau::new(PlateauSettings::default());
        Checkpoint {
            state: State::new(17, 2, running, 2e-4, plateau, early_stopping),
            model: vec![1, 2, 3],
            best: Some(vec![4, 5]),
            moments: [vec![0.25, -1e-30], vec![f32::MIN_POSITIVE, 3.0]],
        }
    }

    #[test]
    fn a_file_gives_the_same_checkpoint() {
        for best in [None, Some(vec![4, 5])] {
            let saved = Checkpoint { best, ..checkpoint() };
            assert_eq!(Checkpoint::from_bytes(&saved.to_bytes()), Ok(saved));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = checkpoint().to_bytes();
        for len in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
}
