//! The training loop: epochs of steps, validation, and what follows from it.

mod keep;
mod step;

use std::time::Instant;

use toile_kernels::Buffer;
use toile_kernels::geometry::SUMMARY_LEN;

use super::parts::Parts;
use super::saved::{Checkpoint, Origin, Running, State};
use super::stop::Stop;
use crate::checkpoint::Model;
use crate::data::batches::shuffled;
use crate::error::{Error, Result, check_device};
use crate::evaluate::answer;
use crate::ops::gather::Resident;
use crate::optim::Optimizer;
use crate::progress::{Progress, StopReason};
use crate::recipe::Config;
use crate::run_folder::{
    FAILED_STEP, HistoryLog, HistoryRow, LAST_CHECKPOINT, MetricsLog, RunFolder, StepMetrics,
};
use crate::schedule::Verdict;
use keep::Keeper;

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
    stop: &'a Stop,
    origin: Origin,
    model: Model,
    /// The moving average of the model's numbers, where the recipe has one.
    average: Option<Model>,
    optimizer: Optimizer,
    data: Resident,
    parts: Parts,
    state: State,
    history: HistoryLog,
    metrics: MetricsLog,
    keeper: Keeper,
    /// The summaries of an epoch's steps; the host reads them when it wants to.
    ring: Buffer,
    /// When this process began the epoch in progress.
    epoch_began: Option<Instant>,
}

impl<'a> Session<'a> {
    /// A run before its first step.
    pub fn new(
        config: &'a Config,
        run: &'a RunFolder,
        stop: &'a Stop,
        origin: Origin,
        (model, data, parts): (Model, Resident, Parts),
    ) -> Result<Session<'a>> {
        Ok(Session {
            config,
            run,
            stop,
            origin,
            optimizer: Optimizer::new(model.network.parameters(), config.optimizer),
            state: State::new(config),
            history: HistoryLog::create(run)?,
            metrics: MetricsLog::create(run)?,
            keeper: Keeper::default(),
            ring: Buffer::zeros(model.network.device(), parts.steps(config) * SUMMARY_LEN),
            epoch_began: None,
            average: (config.average_decay > 0.0).then(|| model.copy()),
            model,
            data,
            parts,
        })
    }

    /// A run that goes on from a checkpoint. `model` is one of the run's architecture, for the
    /// data; the checkpoint's numbers take the place of its own.
    ///
    /// # Errors
    /// [`Error::Input`] if checkpoint, model, data and logs do not fit each other.
    pub fn resume(
        config: &'a Config,
        run: &'a RunFolder,
        stop: &'a Stop,
        origin: Origin,
        checkpoint: Checkpoint,
        (mut model, data, parts): (Model, Resident, Parts),
    ) -> Result<Session<'a>> {
        let misfit = |fault: &str| {
            let folder = run.path().display();
            Error::Input(format!(
                "the checkpoint of {folder} does not fit its run: {fault}; put the run's own back, \
                 or start a new run"
            ))
        };
        let Checkpoint { state, model: weights, best, average, moments, .. } = checkpoint;
        check_counters(&state, &parts, config).map_err(misfit)?;
        let device = model.network.device();
        let load = |bytes: &[u8]| {
            let saved = Model::from_bytes(bytes, device).map_err(|f| misfit(&f))?;
            if (&saved.architecture, &saved.classes) != (&model.architecture, &model.classes) {
                return Err(misfit("its network or its classes are others than the data's"));
            }
            Ok(saved)
        };
        let saved = load(&weights)?;
        if let Some(best) = &best {
            load(best)?;
        }
        let averaged = average.as_deref().map(load).transpose()?;
        if averaged.is_some() != (config.average_decay > 0.0) {
            return Err(misfit("it has an average of the weights, or lacks one"));
        }
        model.network.parameters_mut().copy_from(saved.network.parameters());
        // A run that began with a trained model took this over from it.
        model.normalization = saved.normalization;
        let average = averaged.map(|saved| {
            let mut average = model.copy();
            average.network.parameters_mut().copy_from(saved.network.parameters());
            average
        });
        let mut optimizer = Optimizer::new(model.network.parameters(), config.optimizer);
        if optimizer.moments().len() != moments.len() {
            return Err(misfit("it was saved by another optimizer"));
        }
        for (moment, saved) in optimizer.moments_mut().iter_mut().zip(&moments) {
            if moment.len() != saved.len() {
                return Err(misfit("its optimizer's moments have another length"));
            }
            moment.copy_from(saved);
        }
        let mut keeper = Keeper::with_best(best);
        if !config.early_stopping.enabled && state.epoch > 1 && state.running.steps == 0 {
            // The last epoch's weights count, and their file may have been lost.
            keeper.keep_weights(average.as_ref().unwrap_or(&model).to_bytes(), false);
        }
        Ok(Session {
            config,
            run,
            stop,
            origin,
            optimizer,
            history: HistoryLog::resume(run, state.epoch - 1)?,
            metrics: MetricsLog::resume(run, state.step)?,
            keeper,
            ring: Buffer::zeros(device, parts.steps(config) * SUMMARY_LEN),
            epoch_began: None,
            average,
            model,
            state,
            data,
            parts,
        })
    }

    /// Trains until a limit is reached, the validation loss stops improving, or the run is asked
    /// to stop; then everything is on the disk.
    pub fn run(&mut self, progress: &mut Progress) -> Result<Ended> {
        let mut epochs = self.state.epoch - 1;
        // An epoch that was cut short still wants its validation.
        let mut end = match self.state.running.steps {
            0 => self.state.limit_reached(self.config),
            _ => None,
        };
        let reason = loop {
            if let Some(reason) = end {
                break reason;
            }
            if let Some(asked) = self.finish_epoch(progress)? {
                self.save()?;
                break asked;
            }
            epochs += 1;
            if self.state.running.steps == self.parts.steps(self.config) {
                self.state.epoch += 1;
                self.state.running = Running::default();
                self.epoch_began = None;
                self.save_or_warn(progress)?;
            }
            end = self.state.limit_reached(self.config);
        };
        self.settle()?;
        let best_epoch = self.state.best_epoch(self.config);
        progress.stopped(reason, epochs, best_epoch);
        Ok(Ended { reason, epochs, steps: self.state.step, best_epoch })
    }

    /// The steps that are left of the epoch, its validation and its row; unless the run is asked
    /// to stop before.
    fn finish_epoch(&mut self, progress: &mut Progress) -> Result<Option<StopReason>> {
        let start = Instant::now();
        self.epoch_began = Some(start);
        let images_before = self.state.running.images as u64;
        progress.epoch_started(self.state.epoch, images_before);
        self.train_epoch(progress)?;
        if let Some(asked) = self.stop.requested() {
            return Ok(Some(asked));
        }
        let train_seconds = self.seconds();
        let validated = self.validate(progress);
        check_device()?;
        let Some((val_loss, val_accuracy)) = validated else {
            return Ok(self.stop.requested());
        };
        if !val_loss.is_finite() {
            return Err(Error::NotFinite(format!(
                "the validation loss after epoch {} is not finite, so its weights are of no use. \
                 {} keeps what earlier epochs left; try a lower --lr",
                self.state.epoch,
                self.run.path().display(),
            )));
        }

        let verdict = self.state.early_stopping.observe(val_loss);
        let rate = self.state.learning_rate;
        let next_rate = self.state.plateau.next_learning_rate(val_loss, rate);
        let steps = self.state.running.steps as u64;
        let middle = self.state.step - steps + steps / 2;
        let row = HistoryRow {
            epoch: self.state.epoch,
            loss: self.state.running.loss(),
            accuracy: self.state.running.accuracy(),
            val_loss,
            val_accuracy,
            learning_rate: self.rate_of(middle),
            seconds: self.seconds(),
            images_per_second: self.state.running.images as f64 / train_seconds,
        };
        self.keep_weights(&verdict)?;
        self.history.append(&row);
        progress.epoch_ended(&row, verdict.new_best, next_rate < rate);
        self.state.learning_rate = next_rate;
        Ok(None)
    }

    /// Seconds of the epoch in progress, in all processes that worked on it.
    fn seconds(&self) -> f64 {
        let here = self.epoch_began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        self.state.running.seconds + here
    }

    /// Notes the weights if they are the ones that count so far.
    fn keep_weights(&mut self, verdict: &Verdict) -> Result<()> {
        let keeps_best = self.config.early_stopping.enabled;
        if verdict.new_best || !keeps_best {
            let weights = self.counting().to_bytes();
            check_device()?;
            self.keeper.keep_weights(weights, keeps_best);
        }
        Ok(())
    }

    /// The steps that are left of the epoch, or as many as the run has left, or those until the
    /// run is asked to stop.
    fn train_epoch(&mut self, progress: &mut Progress) -> Result<()> {
        let number = u32::try_from(self.state.epoch).expect("epochs are limited");
        let order = shuffled(self.parts.training, self.config.seed, number);
        let order = Buffer::from_slice(self.model.network.device(), &order);
        let batch = self.config.batch_size;
        for place in self.state.running.steps..self.parts.steps(self.config) {
            if self.state.steps_are_used_up(self.config) || self.stop.requested().is_some() {
                break;
            }
            let end = ((place + 1) * batch).min(order.len());
            self.train_step(&order.slice(place * batch..end), place);
            let cut_short = self.state.steps_are_used_up(self.config) && end < order.len();
            if self.save_is_due() || cut_short {
                self.read_ring(&order)?;
                self.save_or_warn(progress)?;
            }
            if progress.is_due() {
                self.read_ring(&order)?;
                self.tell(progress);
            }
        }
        self.read_ring(&order)?;
        self.tell(progress);
        Ok(())
    }

    fn tell(&self, progress: &mut Progress) {
        let running = &self.state.running;
        progress.trained(running.images as u64, running.loss(), running.accuracy());
    }

    /// Reads what the steps since the last read left in the ring, and logs it. `order` is the
    /// epoch's.
    fn read_ring(&mut self, order: &Buffer) -> Result<()> {
        let batch = self.config.batch_size;
        let before_epoch = (self.state.epoch - 1) * self.parts.steps(self.config) as u64;
        let done = (self.state.step - before_epoch) as usize;
        let unread = self.state.running.steps * SUMMARY_LEN..done * SUMMARY_LEN;
        let summaries: Vec<f64> = self.ring.slice(unread).to_vec();
        check_device()?;
        for summary in summaries.chunks_exact(SUMMARY_LEN) {
            let running = &mut self.state.running;
            let first = running.steps * batch;
            let images = batch.min(self.parts.training - first);
            let step = before_epoch + running.steps as u64 + 1;
            let (loss, hits, updated) = (summary[0], summary[1], summary[2] != 0.0);
            if !updated {
                // The steps before are what one will look at; a disk that does not take them must
                // not hide why the run ends.
                let _ = self.metrics.sync();
                let failed = order.slice(first..first + images);
                return Err(self.not_finite(step, loss, &failed));
            }
            running.steps += 1;
            running.images += images;
            running.loss_sum += loss * images as f64;
            running.hits += hits;
            self.metrics.append(&StepMetrics {
                step,
                epoch: self.state.epoch,
                loss,
                accuracy: hits / images as f64,
                learning_rate: self.rate_of(step - 1),
            });
        }
        Ok(())
    }

    /// The model whose numbers count: the average, where there is one.
    fn counting(&self) -> &Model {
        self.average.as_ref().unwrap_or(&self.model)
    }

    /// Mean loss and accuracy on the validation part; none if the run is asked to stop.
    fn validate(&self, progress: &mut Progress) -> Option<(f64, f64)> {
        let answers =
            answer(self.counting(), &self.data, self.parts.validation.clone(), |images| {
                progress.validated(images as u64);
                self.stop.requested().is_none()
            })?;
        let images = self.parts.validation.len() as f64;
        let loss: f64 = answers.losses.iter().map(|&loss| f64::from(loss)).sum();
        Some((loss / images, answers.hits as f64 / images))
    }

    /// The error of a step whose update was not made; what is known of it is left in the run
    /// folder.
    fn not_finite(&self, step: u64, loss: f64, images: &Buffer) -> Error {
        let (epoch, batch) = (self.state.epoch, self.state.running.steps + 1);
        let what = if loss.is_finite() { "a gradient" } else { "the loss" };
        let images: Vec<u32> = images.to_vec();
        let known = serde_json::json!({
            "step": step,
            "epoch": epoch,
            "batch": batch,
            "not_finite": what,
            "learning_rate": self.rate_of(step - 1),
            "images": images,
        });
        let folder = self.run.path().display();
        let mut kept = match self.run.write(FAILED_STEP, known.to_string().as_bytes()) {
            Ok(()) => format!("{folder} keeps in {FAILED_STEP} which images the batch had"),
            Err(fault) => fault.to_string(),
        };
        if self.run.file(LAST_CHECKPOINT).is_file() {
            kept += ", and the last good checkpoint";
        }
        Error::NotFinite(format!(
            "{what} of step {step} (epoch {epoch}, batch {batch}) is not finite: the update was \
             not made and the run stopped. {kept}; start again with a lower --lr"
        ))
    }
}

/// Checks that a checkpoint's counters agree with each other and with the run.
fn check_counters(
    state: &State,
    parts: &Parts,
    config: &Config,
) -> std::result::Result<(), &'static str> {
    let steps = parts.steps(config) as u64;
    let running = &state.running;
    let images = (running.steps.saturating_mul(config.batch_size)).min(parts.training);
    let before = state.epoch.checked_sub(1).and_then(|epochs| epochs.checked_mul(steps));
    if before.and_then(|before| before.checked_add(running.steps as u64)) != Some(state.step)
        || running.steps as u64 > steps
        || running.images != images
        || state.epoch > u64::from(u32::MAX)
    {
        return Err("its counters of steps, epochs and images disagree");
    }
    if !(state.learning_rate.is_finite() && state.learning_rate > 0.0) {
        return Err("its learning rate is not above 0");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
