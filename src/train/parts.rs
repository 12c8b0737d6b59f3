//! Which images of the training file are trained on and which validate.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::recipe::Config;

/// The parts of a training file.
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
                 back for validation, found {}, which is the recipe's unless you gave it; give a \
                 smaller one, such as --val-size {}",
                images.saturating_sub(1),
                config.val_size,
                (images / 10).max(1)
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
