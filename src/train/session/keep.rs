//! What a run keeps on the disk, and what it does when the disk does not take it: the run goes
//! on, and tries again.

use std::time::{Duration, Instant};

use toile_kernels::Buffer;

use super::Session;
use crate::checkpoint::Model;
use crate::error::{Error, Result, check_device};
use crate::progress::Progress;
use crate::run_folder::{BEST_WEIGHTS, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT};
use crate::train::saved::Checkpoint;

/// A checkpoint is at most this old.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long a run waits, but for an epoch's end, after a disk did not take a checkpoint.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What is to be kept and has not reached the disk.
pub(super) struct Keeper {
    /// The best epoch's weights as a model file, where the recipe keeps the best.
    best: Option<Vec<u8>>,
    /// The model file that counts so far, if the disk does not hold it yet.
    weights: Option<Vec<u8>>,
    /// The newest checkpoint, if the disk did not take it.
    checkpoint: Option<Vec<u8>>,
    last_attempt: Instant,
}

impl Default for Keeper {
    fn default() -> Self {
        Keeper { best: None, weights: None, checkpoint: None, last_attempt: Instant::now() }
    }
}

impl Keeper {
    /// Of a run that goes on: the best weights may be missing on the disk.
    pub fn with_best(best: Option<Vec<u8>>) -> Keeper {
        Keeper { weights: best.clone(), best, ..Keeper::default() }
    }

    /// These weights count from now on.
    pub fn keep_weights(&mut self, weights: Vec<u8>, are_best: bool) {
        self.best = are_best.then(|| weights.clone());
        self.weights = Some(weights);
    }
}

impl Session<'_> {
    /// The model with the weights that count: the best by validation loss where the recipe
    /// stops early, the last otherwise.
    pub fn into_best(self) -> Result<Model> {
        match self.keeper.best {
            Some(bytes) => {
                Model::from_bytes(&bytes, self.model.network.device()).map_err(Error::Failure)
            }
            None => Ok(self.average.unwrap_or(self.model)),
        }
    }

    pub(super) fn save_is_due(&self) -> bool {
        let waited = self.keeper.last_attempt.elapsed();
        if self.keeper.checkpoint.is_some() {
            return waited >= RETRY_INTERVAL;
        }
        let due_step = |every| self.state.step.is_multiple_of(every);
        self.config.save_every.is_some_and(due_step) || waited >= SAVE_INTERVAL
    }

    /// Saves; a disk that does not take it is warned of, and tried again later.
    pub(super) fn save_or_warn(&mut self, progress: &mut Progress) -> Result<()> {
        match self.save() {
            Err(Error::Storage(fault)) => {
                progress.warn(&format!(
                    "{fault}; the run goes on and tries to save again within {} s",
                    RETRY_INTERVAL.as_secs()
                ));
                Ok(())
            }
            other => other,
        }
    }

    /// Writes logs, weights and a checkpoint; the checkpoint before it is kept beside it.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file; what could not be written is kept in memory.
    /// [`Error::Device`] if the weights could not be read from the device.
    pub(super) fn save(&mut self) -> Result<()> {
        let checkpoint = self.checkpoint().to_bytes();
        check_device()?;
        self.keeper.checkpoint = Some(checkpoint);
        self.settle()
    }

    /// Writes what is not on the disk yet.
    ///
    /// # Errors
    /// As for [`Session::save`].
    pub(super) fn settle(&mut self) -> Result<()> {
        self.keeper.last_attempt = Instant::now();
        // A checkpoint must never know more than the logs.
        self.metrics.sync()?;
        self.history.sync()?;
        if let Some(weights) = &self.keeper.weights {
            self.run.write(BEST_WEIGHTS, weights)?;
            tracing::debug!(epoch = self.state.epoch, "wrote the weights that count");
            self.keeper.weights = None;
        }
        if let Some(checkpoint) = &self.keeper.checkpoint {
            self.run.replace(LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, checkpoint)?;
            tracing::debug!(
                step = self.state.step,
                bytes = checkpoint.len(),
                milliseconds = self.keeper.last_attempt.elapsed().as_millis(),
                "saved a checkpoint"
            );
            self.keeper.checkpoint = None;
        }
        Ok(())
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let mut state = self.state.clone();
        state.running.seconds = self.seconds();
        Checkpoint {
            origin: self.origin.clone(),
            state,
            model: self.model.to_bytes(),
            best: self.keeper.best.clone(),
            average: self.average.as_ref().map(Model::to_bytes),
            moments: self.optimizer.moments().iter().map(Buffer::to_vec).collect(),
        }
    }
}
