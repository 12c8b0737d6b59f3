//! Checkpoints: everything that a run needs to go on from an optimizer step, in one file.
//!
//! There is no state of a random generator to save: every draw is a function of seed and step.
//! A file is a safetensors file and the SHA-256 of it, so that damage is told from a file that
//! does not fit.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::serialize;
use crate::error::{Error, Result, shortened};
use crate::files::read_regular;
use crate::progress::{Progress, StopReason};
use crate::recipe::Config;
use crate::run_folder::{LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, RunFolder};
use crate::schedule::{EarlyStopping, ReduceOnPlateau};

/// The version of the checkpoints that this build writes.
const FORMAT_VERSION: u32 = 3;

/// The largest checkpoint that is read, in bytes: four times the largest model file.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Length of the hash at the end of a file.
const HASH_BYTES: usize = 32;

/// The numbers and counters of a run, but for its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
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

impl State {
    /// Of a run that has made no step.
    pub fn new(config: &Config) -> State {
        State {
            step: 0,
            epoch: 1,
            running: Running::default(),
            learning_rate: config.learning_rate,
            plateau: ReduceOnPlateau::new(config.plateau),
            early_stopping: EarlyStopping::new(config.early_stopping),
        }
    }

    /// Checks what can be told without the run's data.
    fn check(&self) -> std::result::Result<(), &'static str> {
        if self.epoch == 0 {
            return Err("expected an epoch of 1 or more, found 0");
        }
        match self.early_stopping.best_epoch() > Some(self.early_stopping.epoch()) {
            true => Err("the best epoch has not come yet"),
            false => Ok(()),
        }
    }

    /// Which of the run's limits is reached, if one is.
    pub fn limit_reached(&self, config: &Config) -> Option<StopReason> {
        if self.steps_are_used_up(config) {
            return Some(StopReason::StepLimit);
        }
        if self.early_stopping.is_over() {
            return Some(StopReason::EarlyStopping);
        }
        (self.epoch > config.epochs as u64).then_some(StopReason::EpochLimit)
    }

    /// The epoch whose weights are kept because its validation loss was the least, counted from
    /// 1; none where the last ones count.
    pub fn best_epoch(&self, config: &Config) -> Option<u64> {
        let best = self.early_stopping.best_epoch().filter(|_| config.early_stopping.enabled);
        best.map(u64::from)
    }

    pub fn steps_are_used_up(&self, config: &Config) -> bool {
        config.max_steps.is_some_and(|max| self.step >= max)
    }
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

/// What a run must find again to go on to the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Version of toile, for messages.
    pub toile: String,
    /// [`toile_kernels::BITS_VERSION`].
    pub bits_version: u32,
    /// [`toile_kernels::Device::arithmetic`].
    pub arithmetic: String,
    /// All settings.
    pub config: Config,
    /// SHA-256 of the unpacked data files that were read before the first step, by file name.
    pub data: BTreeMap<String, String>,
}

/// A run between two steps.
#[derive(Debug, PartialEq)]
pub(super) struct Checkpoint {
    pub origin: Origin,
    pub state: State,
    /// The weights, as a model file.
    pub model: Vec<u8>,
    /// The best epoch's weights, as a model file.
    pub best: Option<Vec<u8>>,
    /// The moving average of the weights, as a model file, where the recipe has one.
    pub average: Option<Vec<u8>>,
    /// The optimizer's moments.
    pub moments: Vec<Vec<f32>>,
}

const MOMENTS: [&str; 2] = ["first_moment", "second_moment"];

/// Why a file is no checkpoint to go on from.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// It is not what was written: an older one may serve.
    Damaged(String),
    /// It is whole, and of no use to this build.
    Refused(String),
}

impl Checkpoint {
    /// The content of a checkpoint file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let moments = self.moments.iter();
        let moments: Vec<Vec<u8>> =
            moments.map(|m| m.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let view = |dtype, len, bytes| {
            TensorView::new(dtype, vec![len], bytes).expect("a tensor's bytes fit its shape")
        };
        let mut views = vec![("model", view(Dtype::U8, self.model.len(), &self.model))];
        for (name, weights) in [("best", &self.best), ("average", &self.average)] {
            let Some(weights) = weights else { continue };
            views.push((name, view(Dtype::U8, weights.len(), weights)));
        }
        for (name, bytes) in MOMENTS.into_iter().zip(&moments) {
            views.push((name, view(Dtype::F32, bytes.len() / 4, bytes)));
        }
        let metadata = [
            ("format_version", FORMAT_VERSION.to_string()),
            ("origin", serde_json::to_string(&self.origin).expect("plain values")),
            ("state", serde_json::to_string(&self.state).expect("plain values")),
        ];
        let mut bytes = serialize(views, metadata);
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    /// Reads the content of a checkpoint file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> std::result::Result<Checkpoint, Fault> {
        let (bytes, hash) = bytes
            .split_last_chunk::<HASH_BYTES>()
            .ok_or_else(|| Fault::Damaged(format!("it has only {} bytes", bytes.len())))?;
        if Sha256::digest(bytes)[..] != hash[..] {
            return Err(Fault::Damaged("its content does not have the hash at its end".into()));
        }
        Checkpoint::parse(bytes).map_err(Fault::Refused)
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Checkpoint, String> {
        let no_checkpoint =
            |fault| format!("this is no checkpoint of toile: {fault}; put the run's own back");
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|f| no_checkpoint(f.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|f| no_checkpoint(f.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            metadata.get(name).ok_or_else(|| no_checkpoint(format!("its metadata lacks `{name}`")))
        };
        let version = field("format_version")?;
        if *version != FORMAT_VERSION.to_string() {
            return Err(format!(
                "its format version is {}, this build reads {FORMAT_VERSION}: use the toile that \
                 wrote it",
                shortened(version)
            ));
        }
        let part = |name: &str, dtype| match file.tensor(name) {
            Ok(tensor) if tensor.dtype() == dtype => Ok(tensor.data()),
            _ => Err(no_checkpoint(format!("it lacks `{name}` of type {dtype:?}"))),
        };
        let is_there = |name: &&str| file.tensor(name).is_ok();
        let moment = |name: &str| -> std::result::Result<Vec<f32>, String> {
            let numbers = part(name, Dtype::F32)?.chunks_exact(4);
            Ok(numbers.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect())
        };
        let weights = |name: &'static str| {
            Some(name).filter(is_there).map(|name| part(name, Dtype::U8).map(<[u8]>::to_vec))
        };
        let origin: Origin = parse_field("origin", field("origin")?)?;
        origin.config.check().map_err(|fault| unread("origin", &fault.to_string()))?;
        let state: State = parse_field("state", field("state")?)?;
        state.check().map_err(|fault| unread("state", fault))?;
        Ok(Checkpoint {
            origin,
            state,
            model: part("model", Dtype::U8)?.to_vec(),
            best: weights("best").transpose()?,
            average: weights("average").transpose()?,
            moments: MOMENTS
                .into_iter()
                .filter(is_there)
                .map(moment)
                .collect::<std::result::Result<_, _>>()?,
        })
    }

    /// The newest whole checkpoint of a run and the name of its file; none if the run was
    /// stopped before its first.
    ///
    /// # Errors
    /// [`Error::Storage`] if there are checkpoints but all are damaged, or reading fails;
    /// [`Error::Input`] if the newest whole one is of no use to this build.
    pub fn newest(
        run: &RunFolder,
        progress: &mut Progress,
    ) -> Result<Option<(Checkpoint, &'static str)>> {
        let mut damaged = Vec::new();
        for name in [LAST_CHECKPOINT, PREVIOUS_CHECKPOINT] {
            let path = run.file(name);
            let Some(bytes) = read(&path)? else { continue };
            match Checkpoint::from_bytes(&bytes) {
                Ok(checkpoint) => {
                    if let Some(fault) = damaged.first() {
                        progress.warn(&format!("{fault}; going on from {name}"));
                    }
                    return Ok(Some((checkpoint, name)));
                }
                Err(Fault::Damaged(fault)) => {
                    damaged.push(format!("{} is damaged: {fault}", path.display()));
                }
                Err(Fault::Refused(fault)) => {
                    return Err(Error::Input(format!(
                        "{}: {fault}, or start a new run",
                        path.display()
                    )));
                }
            }
        }
        match damaged.is_empty() {
            true => Ok(None),
            false => Err(Error::Storage(format!(
                "no checkpoint of {} can be read; nothing was changed, put a whole one back or \
                 start a new run: {}",
                run.path().display(),
                damaged.join("; ")
            ))),
        }
    }
}

fn parse_field<'a, T: Deserialize<'a>>(
    name: &str,
    text: &'a str,
) -> std::result::Result<T, String> {
    serde_json::from_str(text).map_err(|fault| unread(name, &fault.to_string()))
}

fn unread(name: &str, fault: &str) -> String {
    format!("its `{name}` cannot be read: {}; put the run's own back", shortened(fault))
}

/// A file's content; none if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_regular(path, MAX_FILE_BYTES) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(Error::Storage(format!("cannot read {}: {fault}", path.display()))),
        Ok(bytes) => Ok(Some(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Style;

    fn checkpoint() -> Checkpoint {
        let config = Config::of_recipe("reference").unwrap();
        let mut state = State::new(&config);
        state.running =
            Running { steps: 3, images: 300, loss_sum: 0.1 + 0.2, hits: 99.0, seconds: 1.5 };
        state.early_stopping.observe(0.7);
        (state.step, state.epoch, state.learning_rate) = (17, 2, 2e-4);
        Checkpoint {
            origin: Origin {
                toile: "0.1.0".into(),
                bits_version: 1,
                arithmetic: "fused".into(),
                config,
                data: [("train-images-idx3-ubyte".to_owned(), "ab".to_owned())].into(),
            },
            state,
            model: vec![1, 2, 3],
            best: Some(vec![4, 5]),
            average: Some(vec![6]),
            moments: vec![vec![0.25, -1e-30], vec![f32::MIN_POSITIVE, 3.0]],
        }
    }

    #[test]
    fn a_file_gives_the_same_checkpoint() {
        for best in [None, Some(vec![4, 5])] {
            let moments = checkpoint().moments[..1 + usize::from(best.is_none())].to_vec();
            let saved = Checkpoint { average: best.clone(), best, moments, ..checkpoint() };
            assert_eq!(Checkpoint::from_bytes(&saved.to_bytes()), Ok(saved));
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_told() {
        let bytes = checkpoint().to_bytes();
        for len in 0..bytes.len() {
            let fault = Checkpoint::from_bytes(&bytes[..len]);
            assert!(matches!(fault, Err(Fault::Damaged(_))), "{len} bytes");
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let fault = Checkpoint::from_bytes(&flipped);
            assert!(matches!(fault, Err(Fault::Damaged(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_whole_file_that_is_something_else_is_refused() {
        let mut bytes = b"not safetensors".to_vec();
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        assert!(matches!(Checkpoint::from_bytes(&bytes), Err(Fault::Refused(_))));
    }

    /// Whatever part of a save a machine that loses power has done, or undone: what is found is
    /// the old checkpoint or the new one, whole.
    #[test]
    fn every_state_that_a_broken_save_can_leave_loads() {
        let at = |step| {
            let mut checkpoint = checkpoint();
            checkpoint.state.step = step;
            checkpoint.to_bytes()
        };
        let (older, old, new) = (at(1), at(2), at(3));
        let torn = &new[..new.len() / 2];
        let mut zeros = new.clone();
        zeros[100..].fill(0);
        let gone = None;
        // What lies under the names last, previous and a temporary one; the steps that may load.
        let states: [([Option<&[u8]>; 3], u64); 12] = [
            ([gone, gone, Some(&[])], 0),
            ([gone, gone, Some(torn)], 0),
            ([Some(&old), gone, Some(torn)], 2),
            ([Some(&old), Some(&older), Some(&old)], 2),
            ([Some(&old), Some(&old), gone], 2),
            ([Some(&old), Some(&old), Some(torn)], 2),
            ([Some(&old), Some(&old), Some(&new)], 2),
            ([Some(&new), Some(&old), gone], 3),
            // The rename reached the disk and the content did not.
            ([Some(torn), Some(&old), gone], 2),
            ([Some(&[]), Some(&old), gone], 2),
            ([Some(&zeros), Some(&old), gone], 2),
            ([gone, Some(&old), Some(&new)], 2),
        ];
        for (number, (files, step)) in states.iter().enumerate() {
            let out = tempfile::tempdir().unwrap();
            let create =
                || RunFolder::create(out.path(), "d".as_ref(), "r", Some("n".as_ref()), false, "");
            let path = create().unwrap().path().to_owned();
            let names = [LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, ".toile-x.tmp"];
            for (name, content) in names.iter().zip(files) {
                content.map_or(Ok(()), |content| std::fs::write(path.join(name), content)).unwrap();
            }
            let run = RunFolder::open(&path).unwrap();
            let found = Checkpoint::newest(&run, &mut Progress::new(Style::Quiet)).unwrap();
            assert_eq!(found.map_or(0, |(found, _)| found.state.step), *step, "state {number}");
            assert!(!path.join(".toile-x.tmp").exists(), "state {number}");
        }
    }
}
