//! The training loop: epochs of steps, validation, and what follows from it.

use std::ops::Range;
use std::time::Instant;

use toile_kernels::geometry::SUMMARY_LEN;
use toile_kernels::{Buffer, Device};

use crate::checkpoint::Model;
use crate::data::batches::shuffled;
use crate::error::{Error, Result};
use crate::evaluate::answer;
use crate::ops::gather::Resident;
use crate::optim::{Adam, AdamConstants};
use crate::progress::{Progress, StopReason};
use crate::recipe::Config;
use crate::run_folder::{BEST_WEIGHTS, HistoryLog, HistoryRow, MetricsLog, RunFolder, StepMetrics};
use crate::schedule::{EarlyStopping, ReduceOnPlateau, Verdict};

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
        Ok(Parts { training: limited, validation: training..images })
    }

    /// The most epochs that a run can take.
    pub fn epochs(&self, config: &Config) -> u64 {
        let steps = self.training.div_ceil(config.batch_size) as u64;
        let epochs = config.epochs as u64;
        config.max_steps.map_or(epochs, |max| epochs.min(max.div_ceil(steps)))
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
    /// The summaries of an epoch's steps; the host reads them when it wants to.
    ring: Buffer,
    /// The best epoch's weights as a model file, where the recipe keeps the best.
    best: Option<Vec<u8>>,
}

/// What an epoch's steps came to so far.
#[derive(Default)]
struct Running {
    /// Steps of this epoch that were read from the ring.
    read: usize,
    images: usize,
    loss_sum: f64,
    hits: f64,
}

impl Running {
    fn loss(&self) -> f64 {
        self.loss_sum / self.images as f64
    }
    fn accuracy(&self) -> f64 {
        self.hits / self.images as f64
    }
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
        let steps = parts.training.div_ceil(config.batch_size);
        Ok(Session {
            config,
            run,
            optimizer,
            learning_rate: config.learning_rate,
            plateau: ReduceOnPlateau::new(config.plateau.clone()),
            early_stopping: EarlyStopping::new(config.early_stopping.clone()),
            history: HistoryLog::create(run)?,
            metrics: MetricsLog::create(run)?,
            step: 0,
            ring: Buffer::zeros(Device::Cpu, steps * SUMMARY_LEN),
            best: None,
            model,
            data,
            parts,
        })
    }

    /// Trains until a limit is reached or the validation loss stops improving.
    pub fn run(&mut self, progress: &mut Progress) -> Result<Ended> {
        let mut epoch = 0;
        let reason = loop {
            epoch += 1;
            let verdict = self.epoch(epoch, progress)?;
            if self.steps_are_used_up() {
                break StopReason::StepLimit;
            }
            if verdict.stop {
                break StopReason::EarlyStopping;
            }
            if epoch == self.config.epochs as u64 {
                break StopReason::EpochLimit;
            }
        };
        let best_epoch = self.early_stopping.best_epoch().map(u64::from);
        progress.stopped(reason, epoch, best_epoch);
        Ok(Ended { reason, epochs: epoch, steps: self.step, best_epoch })
    }

    /// The model with the weights that count: the best by validation loss where the recipe
    /// stops early, the last otherwise.
    pub fn into_best(self) -> Result<Model> {
        match self.best {
            Some(bytes) => Model::from_bytes(&bytes, Device::Cpu).map_err(Error::Failure),
            None => Ok(self.model),
        }
    }

    /// One epoch, its validation and its row.
    fn epoch(&mut self, epoch: u64, progress: &mut Progress) -> Result<Verdict> {
        let start = Instant::now();
        progress.epoch_started(epoch);
        let running = self.train_epoch(epoch, progress)?;
        let train_seconds = start.elapsed().as_secs_f64();
        let (val_loss, val_accuracy) = self.validate(progress);

        let verdict = self.early_stopping.observe(val_loss);
        let next_rate = self.plateau.next_learning_rate(val_loss, self.learning_rate);
        let row = HistoryRow {
            epoch,
            loss: running.loss(),
            accuracy: running.accuracy(),
            val_loss,
            val_accuracy,
            learning_rate: self.learning_rate,
            seconds: start.elapsed().as_secs_f64(),
            images_per_second: running.images as f64 / train_seconds,
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

    /// All steps of an epoch, or as many as are left.
    fn train_epoch(&mut self, epoch: u64, progress: &mut Progress) -> Result<Running> {
        let number = u32::try_from(epoch).expect("epochs are limited");
        let order = shuffled(self.parts.training, self.config.seed, number);
        let order = Buffer::from_slice(Device::Cpu, &order);
        let mut running = Running::default();
        for start in (0..order.len()).step_by(self.config.batch_size) {
            if self.steps_are_used_up() {
                break;
            }
            let end = (start + self.config.batch_size).min(order.len());
            self.train_step(&order.slice(start..end), start / self.config.batch_size);
            if progress.is_due() {
                self.read_ring(epoch, &mut running)?;
                progress.trained(running.images as u64, running.loss(), running.accuracy());
            }
        }
        self.read_ring(epoch, &mut running)?;
        progress.trained(running.images as u64, running.loss(), running.accuracy());
        Ok(running)
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
    fn read_ring(&mut self, epoch: u64, running: &mut Running) -> Result<()> {
        let batch = self.config.batch_size;
        let before_epoch = (epoch - 1) * self.parts.training.div_ceil(batch) as u64;
        let done = (self.step - before_epoch) as usize;
        let unread = running.read * SUMMARY_LEN..done * SUMMARY_LEN;
        let summaries: Vec<f64> = self.ring.slice(unread).to_vec();
        for summary in summaries.chunks_exact(SUMMARY_LEN) {
            let place = running.read;
            let images = batch.min(self.parts.training - place * batch);
            let step = before_epoch + place as u64 + 1;
            let (loss, hits, updated) = (summary[0], summary[1], summary[2] != 0.0);
            if !updated {
                return Err(not_finite(step, epoch, place + 1, loss));
            }
            running.read += 1;
            running.images += images;
            running.loss_sum += loss * images as f64;
            running.hits += hits;
            self.metrics.append(&StepMetrics {
                step,
                epoch,
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
}

fn not_finite(step: u64, epoch: u64, batch: usize, loss: f64) -> Error {
    let what = if loss.is_finite() { "a gradient" } else { "the loss" };
    Error::NotFinite(format!(
        "{what} of step {step} (epoch {epoch}, batch {batch}) is not finite; the update was not \
         made and the weights of the best epoch so far are kept. Try a lower --lr"
    ))
}
