//! What a run tells, first to last; with `--json` these are the lines on stdout.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::search::{Found, Trial};
use crate::metrics::Evaluation;
use crate::run_folder::HistoryRow;

/// What is known when a run starts; the first event.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The run folder.
    #[serde(serialize_with = "lossy")]
    pub run: PathBuf,
    /// The recipe's name.
    pub recipe: String,
    /// The seed.
    pub seed: u64,
    /// The most epochs that the run can take, a limit on steps included.
    pub epochs: u64,
    /// Optimizer steps that were made before this process; 0 for a new run.
    pub first_step: u64,
    /// Images of an epoch of training.
    pub train_images: u64,
    /// Images of a validation.
    pub validation_images: u64,
    /// The classes' names.
    pub classes: Vec<String>,
    /// How many numbers the model stores.
    pub parameters: usize,
    /// The network's layers as a table, for people.
    #[serde(skip)]
    pub network: String,
    /// Worker threads.
    pub threads: usize,
    /// The instruction set or device that computes.
    pub isa: String,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// All epochs were trained.
    EpochLimit,
    /// All steps that `--max-steps` allows were taken.
    StepLimit,
    /// The validation loss stopped improving.
    EarlyStopping,
    /// SIGINT; the run was saved.
    Interrupted,
    /// SIGTERM; the run was saved.
    Terminated,
}

impl StopReason {
    /// The exit code of a program whose run ended so.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            StopReason::EpochLimit | StopReason::StepLimit | StopReason::EarlyStopping => 0,
            StopReason::Interrupted => 130,
            StopReason::Terminated => 143,
        }
    }
}

/// What a run came to; the last event.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The run folder.
    #[serde(serialize_with = "lossy")]
    pub run: PathBuf,
    /// Why it ended.
    pub reason: StopReason,
    /// Epochs trained in all.
    pub epochs: u64,
    /// Steps taken in all.
    pub steps: u64,
    /// The epoch whose weights were kept because its validation loss was the least, counted from
    /// 1; none where the last ones count.
    pub best_epoch: Option<u64>,
    /// Duration of this process's part of the run.
    pub seconds: f64,
    /// The result on the test images; none for a run that was interrupted, or of a search.
    pub evaluation: Option<Evaluation>,
}

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    Start(&'a Plan),
    Epoch {
        #[serde(flatten)]
        row: &'a HistoryRow,
        best: bool,
        learning_rate_lowered: bool,
    },
    End(&'a Summary),
    Trial(&'a Trial),
    Found(&'a Found),
}

/// Paths need not be text, and JSON is.
pub(super) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
