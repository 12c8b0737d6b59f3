//! The training loop: epochs of steps, validation, and what follows from it.

use std::ops::Range;
use std::time::{Duration, Instant};

use toile_kernels::Buffer;
use toile_kernels::geometry::SUMMARY_LEN;

use super::saved::{Checkpoint, Running, State};
use crate::checkpoint::Model;
use crate::data::batches::shuffled;
use crate::error::{Error, Result};
use crate::evaluate::answer;
use crate::ops::gather::Resident;
use crate::optim::{Adam, AdamConstants};
use crate::progress::{Progress, StopReason};
use crate::recipe::Config;
use crate::run_folder::{
    BEST_WEIGHTS, HistoryLog, HistoryRow, LAST_CHECKPOINT, MetricsLog, PREVIOUS_CHECKPOINT,
    RunFolder, StepMetrics,
};
use crate::schedule::{EarlyStopping, ReduceOnPlateau, Verdict};

/// Without `--save-every`, a checkpoint is at most this old.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// Which images of the training file are trained on and which validate.
#[derive(Clone)]
pub(super) struct Parts {
    /// The first so many are trained on.
    pub training: usize,
    /// The last ones validate.
    pub validation: Range<usize>,
}

impl Parts {
    /// Splits a training file of `images` images.
    ///
    /// # Errors
    /// [`Error::Input`] if nothing would be left to train on.
    pub fn of(config: &Config, images: usize) -> Result<Parts> {
        if config.val_size >= images {
            return Err(Error::Input(format!(
                "--val-size: the training file holds {images} images, so at most {} can be held \
                 back for validation, found {}",
                images.saturating_sub(1),
                config.val_size
            )));
        }
        let training = images - config.val_size;
        let limited = config.limit.map_or(training, |limit| limit.min(training));
        let parts = Parts { training: limited, validation: training..images };
        // Dropout's random numbers count steps in 32 bits.
        let steps = parts.epochs(config).saturating_mul(parts.steps(config) as u64);
        if steps > u64::from(u32::MAX) {
            return Err(Error::Input(format!(
                "--epochs and --batch-size: a run has at most {} steps, these come to {steps}",
                u32::MAX
            )));
        }
        Ok(parts)
    }

    /// Optimizer steps of an epoch.
    pub fn steps(&self, config: &Config) -> usize {
        self.training.div_ceil(config.batch_size)
    }

    /// The most epochs that a run can take.
    pub fn epochs(&self, config: &Config) -> u64 {
        let epochs = config.epochs as u64;
        let within = |max: u64| epochs.min(max.div_ceil(self.steps(config) as u64));
        config.max_steps.map_or(epochs, within)
    }
}

/// How a run's training ended.
pub(super) struct Ended {
    pub reason: StopReason,
    pub epochs: u64,
    pub steps: u64,
    pub best_epoch: Option<u64>,
}

/// A run in progress.
pub(super) struct Session<'a> {
    config: &'a Config,
    run: &'a RunFolder,
    model: Model,
    optimizer: Adam,
    data: Resident,
    parts: Parts,
    learning_rate: f64,
    plateau: ReduceOnPlateau,
    early_stopping: EarlyStopping,
    history: HistoryLog,
    metrics: MetricsLog,
    /// Optimizer steps in all.
    step: u64,
    /// The epoch in progress, counted from 1.
    epoch: u64,
    /// What the steps of that epoch came to, as far as the host has read it.
    running: Running,
    /// The summaries of an epoch's steps; the host reads them when it wants to.
    ring: Buffer,
    /// The best epoch's weights as a model file, where the recipe keeps the best.
    best: Option<Vec<u8>>,
    last_save: Instant,
}

impl<'a> Session<'a> {
    pub fn new(
        config: &'a Config,
        run: &'a RunFolder,
        model: Model,
        data: Resident,
        parts: Parts,
    ) -> Result<Session<'a>> {
        let optimizer = Adam::new(model.network.parameters(), AdamConstants::default());
        Ok(Session {
            config,
            run,
            optimizer,
            learning_rate: config.learning_rate,
            plateau: ReduceOnPlateau::new(config.plateau),
            early_stopping: EarlyStopping::new(config.early_stopping),
            history: HistoryLog::create(run)?,
            metrics: MetricsLog::create(run)?,
            step: 0,
            epoch: 1,
            running: Running::default(),
            ring: Buffer::zeros(model.network.device(), parts.steps(config) * SUMMARY_LEN),
            best: None,
            last_save: Instant::now(),
            model,
            data,
            parts,
        })
    }

    /// Trains until a limit is reached or the validation loss stops improving.
    pub fn run(&mut self, progress: &mut Progress) -> Result<Ended> {
        let mut epochs = self.epoch - 1;
        let reason = loop {
            epochs += 1;
            let verdict = self.finish_epoch(progress)?;
            if self.running.steps == self.parts.steps(self.config) {
                self.epoch += 1;
                self.running = Running::default();
                self.save(0.0)?;
            }
            if self.steps_are_used_up() {
                break StopReason::StepLimit;
            }
            if verdict.stop {
                break StopReason::EarlyStopping;
            }
            if self.epoch > self.config.epochs as u64 {
                break StopReason::EpochLimit;
            }
        };
        let best_epoch = self.early_stopping.best_epoch().map(u64::from);
        progress.stopped(reason, epochs, best_epoch);
        Ok(Ended { reason, epochs, steps: self.step, best_epoch })
    }

    /// The model with the weights that count: the best by validation loss where the recipe
    /// stops early, the last otherwise.
    pub fn into_best(self) -> Result<Model> {
        match self.best {
            Some(bytes) => {
                Model::from_bytes(&bytes, self.model.network.device()).map_err(Error::Failure)
            }
            None => Ok(self.model),
        }
    }

    /// The steps that are left of the epoch, its validation and its row.
    fn finish_epoch(&mut self, progress: &mut Progress) -> Result<Verdict> {
        let start = Instant::now();
        progress.epoch_started(self.epoch);
        self.train_epoch(start, progress)?;
        let train_seconds = self.running.seconds + start.elapsed().as_secs_f64();
        let (val_loss, val_accuracy) = self.validate(progress);
        if !val_loss.is_finite() {
            return Err(Error::NotFinite(format!(
                "the validation loss after epoch {} is not finite, so its weights are of no use. \
                 The run folder keeps what earlier epochs left; try a lower --lr",
                self.epoch
            )));
        }

        let verdict = self.early_stopping.observe(val_loss);
        let next_rate = self.plateau.next_learning_rate(val_loss, self.learning_rate);
        let row = HistoryRow {
            epoch: self.epoch,
            loss: self.running.loss(),
            accuracy: self.running.accuracy(),
            val_loss,
            val_accuracy,
            learning_rate: self.learning_rate,
            seconds: self.running.seconds + start.elapsed().as_secs_f64(),
            images_per_second: self.running.images as f64 / train_seconds,
        };
        self.keep(&verdict)?;
        self.metrics.sync()?;
        self.history.append(&row)?;
        progress.epoch_ended(&row, verdict.new_best, next_rate < self.learning_rate);
        self.learning_rate = next_rate;
        Ok(verdict)
    }

    /// Writes the weights if they are the ones that count so far.
    fn keep(&mut self, verdict: &Verdict) -> Result<()> {
        let keeps_best = self.config.early_stopping.enabled;
        if verdict.new_best || !keeps_best {
            let bytes = self.model.to_bytes();
            self.run.write(BEST_WEIGHTS, &bytes)?;
            self.best = keeps_best.then_some(bytes);
        }
        Ok(())
    }

    fn steps_are_used_up(&self) -> bool {
        self.config.max_steps.is_some_and(|max| self.step >= max)
    }

    /// The steps that are left of the epoch, or as many as the run has left.
    fn train_epoch(&mut self, start: Instant, progress: &mut Progress) -> Result<()> {
        let number = u32::try_from(self.epoch).expect("epochs are limited");
        let order = shuffled(self.parts.training, self.config.seed, number);
        let order = Buffer::from_slice(self.model.network.device(), &order);
        let batch = self.config.batch_size;
        for place in self.running.steps..self.parts.steps(self.config) {
            if self.steps_are_used_up() {
                break;
            }
            let end = ((place + 1) * batch).min(order.len());
            self.train_step(&order.slice(place * batch..end), place);
            let cut_short = self.steps_are_used_up() && end < order.len();
            if self.save_is_due() || cut_short {
                self.read_ring()?;
                self.save(start.elapsed().as_secs_f64())?;
            }
            if progress.is_due() {
                self.read_ring()?;
                self.tell(progress);
            }
        }
        self.read_ring()?;
        self.tell(progress);
        Ok(())
    }

    fn tell(&self, progress: &mut Progress) {
        let running = &self.running;
        progress.trained(running.images as u64, running.loss(), running.accuracy());
    }

    /// One optimizer step on the images that `order` names. It returns no number: loss, hits
    /// and whether the update was made go to place `place` of the ring.
    fn train_step(&mut self, order: &Buffer, place: usize) {
        let (x, labels) = self.data.batch(order, self.model.normalization);
        let mut summary = self.ring.slice(place * SUMMARY_LEN..(place + 1) * SUMMARY_LEN);
        let step = u32::try_from(self.step).expect("steps are limited");
        let network = &mut self.model.network;
        let logits = network.forward_train(&x, self.config.seed, step);
        let loss = logits.cross_entropy(&labels, &mut summary);
        let parameters = network.parameters();
        parameters.check_reached(&loss.mean.backward());
        self.optimizer.update(parameters, self.learning_rate, self.step, &mut summary);
        self.step += 1;
    }

    /// Reads what the steps since the last read left in the ring, and logs it.
    fn read_ring(&mut self) -> Result<()> {
        let batch = self.config.batch_size;
        let before_epoch = (self.epoch - 1) * self.parts.steps(self.config) as u64;
        let done = (self.step - before_epoch) as usize;
        let unread = self.running.steps * SUMMARY_LEN..done * SUMMARY_LEN;
        let summaries: Vec<f64> = self.ring.slice(unread).to_vec();
        for summary in summaries.chunks_exact(SUMMARY_LEN) {
            let place = self.running.steps;
            let images = batch.min(self.parts.training - place * batch);
            let step = before_epoch + place as u64 + 1;
            let (loss, hits, updated) = (summary[0], summary[1], summary[2] != 0.0);
            if !updated {
                return Err(not_finite(step, self.epoch, place + 1, loss));
            }
            self.running.steps += 1;
            self.running.images += images;
            self.running.loss_sum += loss * images as f64;
            self.running.hits += hits;
            self.metrics.append(&StepMetrics {
                step,
                epoch: self.epoch,
                loss,
                accuracy: hits / images as f64,
                learning_rate: self.learning_rate,
            })?;
        }
        Ok(())
    }

    /// Mean loss and accuracy on the validation part.
    fn validate(&self, progress: &mut Progress) -> (f64, f64) {
        let answers = answer(&self.model, &self.data, self.parts.validation.clone(), |images| {
            progress.validated(images as u64);
        });
        let images = self.parts.validation.len() as f64;
        let loss: f64 = answers.losses.iter().map(|&loss| f64::from(loss)).sum();
        (loss / images, answers.hits as f64 / images)
    }

    fn save_is_due(&self) -> bool {
        let due_step = |every| self.step.is_multiple_of(every);
        self.config.save_every.is_some_and(due_step) || self.last_save.elapsed() >= SAVE_INTERVAL
    }

    /// Writes a checkpoint, `seconds` after this process began the epoch; the one before it is
    /// kept beside it. The logs reach the disk first.
    fn save(&mut self, seconds: f64) -> Result<()> {
        self.metrics.sync()?;
        let mut checkpoint = self.checkpoint();
        checkpoint.state.running.seconds += seconds;
        let bytes = checkpoint.to_bytes();
        self.run.replace(LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, &bytes)?;
        self.last_save = Instant::now();
        Ok(())
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            state: State::new(
                self.step,
                self.epoch,
                self.running.clone(),
                self.learning_rate,
                self.plateau.clone(),
                self.early_stopping.clone(),
            ),
            model: self.model.to_bytes(),
            best: self.best.clone(),
            moments: self.optimizer.moments().map(Buffer::to_vec),
        }
    }
}

fn not_finite(step: u64, epoch: u64, batch: usize, loss: f64) -> Error {
    let what = if loss.is_finite() { "a gradient" } else { "the loss" };
    Error::NotFinite(format!(
        "{what} of step {step} (epoch {epoch}, batch {batch}) is not finite: the update was not \
         made and the run stopped. The run folder keeps what earlier epochs left; try a lower --lr"
    ))
}

#[cfg(test)]
mod tests;
