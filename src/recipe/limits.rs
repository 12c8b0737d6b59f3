//! The allowed range of every setting, in one place for flags, config files and callers.

/// A setting that is a whole number from `least` to `most`, both included.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// The setting's key in a config file.
    pub key: &'static str,
    /// The least allowed value.
    pub least: u64,
    /// The greatest allowed value.
    pub most: u64,
}

impl Whole {
    const fn new(key: &'static str, least: u64, most: u64) -> Self {
        Self { key, least, most }
    }

    /// Accepts a value in the range.
    ///
    /// # Errors
    /// A sentence that names the setting, the range and the value.
    pub fn check(&self, value: i128) -> Result<(), String> {
        let range = i128::from(self.least)..=i128::from(self.most);
        if range.contains(&value) {
            return Ok(());
        }
        Err(format!("{} must be {}, found {value}", self.key, self.range()))
    }

    /// Reads a flag's value.
    ///
    /// # Errors
    /// A sentence that names the range, which also covers numbers too long for any integer.
    pub fn parse(&self, text: &str) -> Result<u64, String> {
        text.parse()
            .ok()
            .filter(|value| (self.least..=self.most).contains(value))
            .ok_or_else(|| format!("must be {}", self.range()))
    }

    fn range(&self) -> String {
        format!("a whole number from {} to {}", self.least, self.most)
    }
}

/// A setting that is a finite number with a lower bound and perhaps an upper one.
#[derive(Clone, Copy, Debug)]
pub struct Real {
    /// The setting's key in a config file.
    pub key: &'static str,
    /// What is allowed, in words.
    pub range: &'static str,
    allowed: fn(f64) -> bool,
}

impl Real {
    /// Accepts a value in the range.
    ///
    /// # Errors
    /// A sentence that names the setting, the range and the value.
    pub fn check(&self, value: f64) -> Result<(), String> {
        if value.is_finite() && (self.allowed)(value) {
            return Ok(());
        }
        Err(format!("{} must be {}, found {value}", self.key, self.range))
    }

    /// Reads a flag's value.
    ///
    /// # Errors
    /// A sentence that names the range.
    pub fn parse(&self, text: &str) -> Result<f64, String> {
        text.parse()
            .ok()
            .filter(|&value| self.check(value).is_ok())
            .ok_or_else(|| format!("must be {}", self.range))
    }
}

const fn share(key: &'static str) -> Real {
    Real { key, range: "a number from 0 to 1", allowed: |value| (0.0..=1.0).contains(&value) }
}

/// Kernels compute with f32, so it must not round to 1 there.
const fn share_below_one(key: &'static str) -> Real {
    let allowed = |value| (0.0..1.0).contains(&value) && (value as f32) < 1.0;
    Real { key, range: "a number from 0 to below 1 (at most 0.9999999)", allowed }
}

const ABOVE_ZERO: &str = "a finite number above 0";
const ZERO_OR_MORE: &str = "a finite number, 0 or more";

/// Counts of images and steps: far above any real use, far below any overflow.
const MANY: u64 = 1_000_000_000;

/// Passes over the training part.
pub const EPOCHS: Whole = Whole::new("epochs", 1, 100_000);
/// Images per step.
pub const BATCH_SIZE: Whole = Whole::new("batch_size", 1, 65_536);
/// Images held back for validation.
pub const VAL_SIZE: Whole = Whole::new("val_size", 1, MANY);
/// Training images used.
pub const LIMIT: Whole = Whole::new("limit", 1, MANY);
/// Steps in all.
pub const MAX_STEPS: Whole = Whole::new("max_steps", 1, MANY);
/// Steps between checkpoints.
pub const SAVE_EVERY: Whole = Whole::new("save_every", 1, MANY);
/// Any 64-bit number is a seed.
pub const SEED: Whole = Whole::new("seed", 0, u64::MAX);
/// Worker threads that are obeyed; flags above it are clamped with a notice.
pub const THREADS: Whole = Whole::new("threads", 1, 64);
/// Epochs that early stopping waits.
pub const EARLY_STOPPING_PATIENCE: Whole = Whole::new("early_stopping.patience", 1, 100_000);
/// Epochs before the learning rate is lowered.
pub const PLATEAU_PATIENCE: Whole = Whole::new("plateau.patience", 1, 100_000);
/// The highest learning rate.
pub const LEARNING_RATE: Real =
    Real { key: "learning_rate", range: ABOVE_ZERO, allowed: |value| value > 0.0 };
/// What the learning rate is multiplied by.
pub const PLATEAU_FACTOR: Real = Real {
    key: "plateau.factor",
    range: "a number above 0 and below 1",
    allowed: |value| value > 0.0 && value < 1.0,
};
/// The fall of the validation loss that counts.
pub const PLATEAU_MIN_DELTA: Real =
    Real { key: "plateau.min_delta", range: ZERO_OR_MORE, allowed: |value| value >= 0.0 };
/// The least learning rate.
pub const PLATEAU_FLOOR: Real =
    Real { key: "plateau.floor", range: ZERO_OR_MORE, allowed: |value| value >= 0.0 };
/// How much of a label goes to all classes alike.
pub const LABEL_SMOOTHING: Real = share_below_one("label_smoothing");
/// What is left of the averaged weights after a step.
pub const AVERAGE_DECAY: Real = share_below_one("average_decay");
/// The steps that warm up.
pub const SCHEDULE_WARM_UP: Real = share_below_one("schedule.warm_up");
/// Where the warm-up begins.
pub const SCHEDULE_START: Real = share("schedule.start");
/// Where the fall ends.
pub const SCHEDULE_END: Real = share("schedule.end");
/// What is left of Adam's first moment after a step.
pub const OPTIMIZER_BETA1: Real = share_below_one("optimizer.beta1");
/// What is left of Adam's second moment after a step.
pub const OPTIMIZER_BETA2: Real = share_below_one("optimizer.beta2");
/// Added to a square root, so that nothing is divided by 0.
pub const OPTIMIZER_EPSILON: Real =
    Real { key: "optimizer.epsilon", range: "at least 1e-30", allowed: |value| value >= 1e-30 };
/// What is left of SGD's velocity after a step.
pub const OPTIMIZER_MOMENTUM: Real = share_below_one("optimizer.momentum");
/// How fast weights shrink.
pub const OPTIMIZER_WEIGHT_DECAY: Real =
    Real { key: "optimizer.weight_decay", range: ZERO_OR_MORE, allowed: |value| value >= 0.0 };
/// The largest norm of the gradients; 0 sets none.
pub const OPTIMIZER_LARGEST_NORM: Real = Real {
    key: "optimizer.largest_norm",
    range: "0, or a finite number from 1e-30",
    allowed: |value| value == 0.0 || value >= 1e-30,
};
/// What dropout behind convolutions sets to 0.
pub const DROPOUT_CONVOLUTION: Real = share_below_one("dropout.convolution");
/// What dropout behind full connections sets to 0.
pub const DROPOUT_DENSE: Real = share_below_one("dropout.dense");
/// How far training images are moved, in pixels; the network takes images of 24 pixels and more.
pub const AUGMENTATION_SHIFT: Whole = Whole::new("augmentation.shift", 0, 12);
/// How far training images are turned, in degrees.
pub const AUGMENTATION_ROTATION: Real = Real {
    key: "augmentation.rotation",
    range: "a number of degrees from 0 to 180",
    allowed: |value| (0.0..=180.0).contains(&value),
};
/// The training images of which a rectangle is erased.
pub const AUGMENTATION_ERASING: Real = share("augmentation.erasing");
/// How evenly training images are mixed.
pub const MIXING_ALPHA: Real = Real {
    key: "mixing.alpha",
    range: "0, or a number from 0.000001 to 100",
    allowed: |value| value == 0.0 || (1e-6..=100.0).contains(&value),
};
/// The accuracy that `--fail-under` demands.
pub const FAIL_UNDER: Real = share("fail_under");

/// Settings that a search tries.
pub const TRIALS: Whole = Whole::new("trials", 1, 1000);
/// One in so many trials of a search goes on to a longer run.
pub const ETA: Whole = Whole::new("eta", 2, 10);

/// The whole-number settings that a config file may hold.
pub(super) const IN_FILES: [Whole; 9] = [
    EPOCHS,
    BATCH_SIZE,
    VAL_SIZE,
    LIMIT,
    MAX_STEPS,
    SAVE_EVERY,
    EARLY_STOPPING_PATIENCE,
    PLATEAU_PATIENCE,
    AUGMENTATION_SHIFT,
];
