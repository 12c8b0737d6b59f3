//! One step of training, and what a recipe does in it.

use toile_kernels::Buffer;
use toile_kernels::geometry::SUMMARY_LEN;

use super::Session;
use crate::ops::mix::Mixing;
use crate::ops::targets::soft_targets;
use crate::optim::move_average;
use crate::tensor::Tensor;

impl Session<'_> {
    /// One optimizer step on the images that `order` names. It returns no number: loss, hits
    /// and whether the update was made go to place `place` of the ring.
    pub(super) fn train_step(&mut self, order: &Buffer, place: usize) {
        let step = u32::try_from(self.state.step).expect("steps are limited");
        let epoch = u32::try_from(self.state.epoch).expect("epochs are limited");
        let (x, labels) = self.data.augmented_batch(
            order,
            self.model.normalization,
            &self.config.augmentation,
            self.config.seed,
            epoch,
        );
        let (x, shares) = self.mix(x, step);
        let mut summary = self.ring.slice(place * SUMMARY_LEN..(place + 1) * SUMMARY_LEN);
        let rate = self.rate_of(self.state.step);
        let network = &mut self.model.network;
        let logits = network.forward_train(&x, self.config.seed, step);
        let smoothing = self.config.label_smoothing as f32;
        let loss = if smoothing > 0.0 || shares.is_some() {
            let classes = self.model.classes.len();
            let targets = soft_targets(&labels, classes, smoothing, shares.as_ref());
            logits.soft_cross_entropy(&targets, &labels, &mut summary)
        } else {
            logits.cross_entropy(&labels, &mut summary)
        };
        let parameters = network.parameters();
        parameters.check_reached(&loss.mean.backward());
        self.optimizer.update(parameters, rate, self.state.step, &mut summary);
        if let Some(average) = &mut self.average {
            let share = 1.0 - average_decay(self.config.average_decay, self.state.step);
            move_average(average.network.parameters(), parameters, share as f32);
        }
        self.state.step += 1;
    }

    /// A batch mixed with itself and the images' own shares, where the recipe mixes.
    fn mix(&self, x: Tensor, step: u32) -> (Tensor, Option<Buffer>) {
        let Mixing { method, alpha } = self.config.mixing;
        if alpha == 0.0 {
            return (x, None);
        }
        let (mixed, shares) = x.mixed(method, alpha as f32, self.config.seed, step);
        (mixed, Some(shares))
    }

    /// The learning rate of step `step`, counted from 0, of the epoch in progress.
    pub(super) fn rate_of(&self, step: u64) -> f64 {
        let steps = self.config.epochs as u64 * self.parts.steps(self.config) as u64;
        self.state.learning_rate * self.config.schedule.factor(step, steps)
    }
}

/// What is left of an average after step `step`, counted from 0: less at first, or the start would
/// weigh for long (as TensorFlow's ExponentialMovingAverage does with `num_updates`).
fn average_decay(decay: f64, step: u64) -> f64 {
    let step = step as f64;
    decay.min((1.0 + step) / (10.0 + step))
}
