//! The settings of an experiment, and where they come from: recipe, then config file, then flags.
//!
//! A resolved [`Config`] says everything that decides the weights that come out, and nothing
//! else: where results go, how many threads work and on which device are no part of it. Written
//! as `config.toml`, it runs the same experiment again.

pub(crate) mod file;
pub mod limits;
mod overrides;
mod path_text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::models::DropoutRates;
use crate::ops::augment::{Augmentation, Flip};
use crate::ops::mix::Mixing;
use crate::optim::OptimizerSettings;
use crate::schedule::{EarlyStoppingSettings, PlateauSettings, ScheduleKind, ScheduleSettings};
pub use overrides::{
    AugmentationOverrides, DropoutOverrides, EarlyStoppingOverrides, MixingOverrides,
    OptimizerOverrides, Overrides, PlateauOverrides, ScheduleOverrides,
};

/// The recipe that is used when none is named.
pub const DEFAULT_RECIPE: &str = "standard";

/// The data set that is used when none is named.
pub const DEFAULT_DATA: &str = "fashion-mnist";

/// A named set of settings.
#[derive(Debug)]
pub struct Recipe {
    /// What `--recipe` calls it.
    pub name: &'static str,
    /// One line for the help text.
    pub summary: &'static str,
    settings: fn() -> Config,
}

/// All recipes, the default first. A new one is one more entry. None sets `limit`, `max_steps`,
/// `save_every`, `init` or `freeze`: a config file could not unset them.
pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: DEFAULT_RECIPE,
        summary: "as quick, with 40 epochs of images that are also moved and partly erased",
        settings: standard,
    },
    Recipe {
        name: "quick",
        summary: "AdamW through one cycle of the learning rate, 16 epochs of mirrored images",
        settings: quick,
    },
    Recipe {
        name: "reference",
        summary: "Keras's: Adam, at most 50 epochs, early stopping, learning rate lowered on plateaus",
        settings: reference,
    },
];

fn reference() -> Config {
    Config {
        recipe: "reference".to_owned(),
        data: PathBuf::from(DEFAULT_DATA),
        epochs: 50,
        batch_size: 128,
        learning_rate: 1e-3,
        seed: 42,
        val_size: 5000,
        limit: None,
        max_steps: None,
        save_every: None,
        init: None,
        freeze: None,
        standardize: false,
        label_smoothing: 0.0,
        average_decay: 0.0,
        early_stopping: EarlyStoppingSettings::default(),
        plateau: PlateauSettings::default(),
        schedule: ScheduleSettings::default(),
        optimizer: OptimizerSettings::default(),
        dropout: DropoutRates::default(),
        augmentation: Augmentation::default(),
        mixing: Mixing::default(),
    }
}

/// A short cycle with less dropout than the reference: there is no time to overfit. The last
/// weights count, so that validation decides nothing: few images are held back for it. (The
/// settings were chosen with 5,000.)
fn quick() -> Config {
    Config {
        recipe: "quick".to_owned(),
        epochs: 16,
        batch_size: 64,
        learning_rate: 2e-3,
        val_size: 1000,
        standardize: true,
        label_smoothing: 0.1,
        early_stopping: EarlyStoppingSettings { enabled: false, ..Default::default() },
        plateau: PlateauSettings { enabled: false, ..Default::default() },
        schedule: ScheduleSettings {
            kind: ScheduleKind::OneCycle,
            warm_up: 0.2,
            ..Default::default()
        },
        optimizer: OptimizerSettings { beta2: 0.99, weight_decay: 0.05, ..Default::default() },
        dropout: DropoutRates { convolution: 0.1, dense: 0.3 },
        augmentation: Augmentation { flip: Flip::Alternating, ..Default::default() },
        ..reference()
    }
}

/// A longer cycle, which needs harder images.
fn standard() -> Config {
    let quick = quick();
    Config {
        recipe: DEFAULT_RECIPE.to_owned(),
        epochs: 40,
        augmentation: Augmentation { shift: 1, erasing: 0.25, ..quick.augmentation },
        ..quick
    }
}

/// All settings of an experiment, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The recipe that the other settings started from.
    pub recipe: String,
    /// The name of a known data set, or a folder that holds the four IDX files.
    #[serde(with = "path_text")]
    pub data: PathBuf,
    /// The most passes over the training part.
    pub epochs: usize,
    /// Images per optimizer step; the last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// The learning rate that the schedule takes shares of, and that plateaus lower.
    pub learning_rate: f64,
    /// Decides all random numbers.
    #[serde(with = "file::seed")]
    pub seed: u64,
    /// How many images at the end of the training file are held back for validation.
    pub val_size: usize,
    /// Train on only the first so many images of the training part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// End the run after so many optimizer steps in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Steps from one checkpoint to the next, besides those at each epoch's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every: Option<u64>,
    /// A trained model to start from, a run folder or a file. Its preprocessing is taken over
    /// too, whatever `standardize` says.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "path_text::serialize_optional",
        deserialize_with = "path_text::optional"
    )]
    pub init: Option<PathBuf>,
    /// The last of the layers, from the first, that stay as `init` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<String>,
    /// Whether pixels become numbers of mean 0 and deviation 1 over the training part, and not of
    /// 0 to 1.
    pub standardize: bool,
    /// How much of a label goes to all classes alike (Szegedy et al., arXiv:1512.00567, section
    /// 7), at least 0 and below 1.
    pub label_smoothing: f64,
    /// What is left of the averaged weights after a step: the average is what is validated and
    /// kept. 0 for none; at first the average moves faster.
    pub average_decay: f64,
    /// When to stop before the last epoch.
    pub early_stopping: EarlyStoppingSettings,
    /// When to lower the learning rate.
    pub plateau: PlateauSettings,
    /// How the learning rate goes over the run.
    pub schedule: ScheduleSettings,
    /// How gradients change weights.
    pub optimizer: OptimizerSettings,
    /// The network's dropout.
    pub dropout: DropoutRates,
    /// How training images are changed each time they are shown.
    pub augmentation: Augmentation,
    /// How training images are mixed with each other.
    pub mixing: Mixing,
}

impl Config {
    /// The settings of a named recipe.
    ///
    /// # Errors
    /// [`Error::Input`] if no recipe has that name.
    pub fn of_recipe(name: &str) -> Result<Self> {
        let recipe = RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
            let names: Vec<_> = RECIPES.iter().map(|recipe| recipe.name).collect();
            Error::Input(format!("no recipe is named {name:?}; known: {}", names.join(", ")))
        })?;
        Ok((recipe.settings)())
    }

    /// Resolves recipe, config file and flags; each one wins over those before it. Images of
    /// other data than [`DEFAULT_DATA`] are mirrored only if file or flags say so.
    ///
    /// # Errors
    /// [`Error::Input`] for an unknown recipe or a value outside its allowed range.
    pub fn resolve(file: &Overrides, flags: &Overrides) -> Result<Self> {
        let recipe = flags.recipe.as_deref().or(file.recipe.as_deref());
        let mut config = Self::of_recipe(recipe.unwrap_or(DEFAULT_RECIPE))?;
        let data = flags.data.as_deref().or(file.data.as_deref());
        if data.is_some_and(|data| data != Path::new(DEFAULT_DATA)) {
            // Recipes are made for clothes. What else there is may mean something else in the
            // mirror, as digits and letters do.
            config.augmentation.flip = Flip::None;
        }
        file.apply(&mut config);
        flags.apply(&mut config);
        config.check()?;
        Ok(config)
    }

    /// These settings with some others in their place.
    ///
    /// # Errors
    /// [`Error::Input`] for a value outside its allowed range.
    pub fn with(&self, overrides: &Overrides) -> Result<Self> {
        let mut config = self.clone();
        overrides.apply(&mut config);
        config.check()?;
        Ok(config)
    }

    /// Checks every value against [`limits`].
    ///
    /// # Errors
    /// [`Error::Input`] that names the setting, its allowed range and the value found.
    pub fn check(&self) -> Result<()> {
        let whole = [
            (limits::EPOCHS, Some(self.epochs as u64)),
            (limits::BATCH_SIZE, Some(self.batch_size as u64)),
            (limits::VAL_SIZE, Some(self.val_size as u64)),
            (limits::LIMIT, self.limit.map(|limit| limit as u64)),
            (limits::MAX_STEPS, self.max_steps),
            (limits::SAVE_EVERY, self.save_every),
            (limits::EARLY_STOPPING_PATIENCE, Some(self.early_stopping.patience.into())),
            (limits::PLATEAU_PATIENCE, Some(self.plateau.patience.into())),
            (limits::AUGMENTATION_SHIFT, Some(self.augmentation.shift.into())),
        ];
        let paths = [("data", Some(&self.data)), ("init", self.init.as_ref())];
        for (key, path) in paths {
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(Error::Input(format!("{key} must be a path, found an empty text")));
            }
        }
        for (limit, value) in whole {
            value.map_or(Ok(()), |value| limit.check(value.into())).map_err(Error::Input)?;
        }
        let real = [
            (limits::LEARNING_RATE, self.learning_rate),
            (limits::PLATEAU_FACTOR, self.plateau.factor),
            (limits::PLATEAU_MIN_DELTA, self.plateau.min_delta),
            (limits::PLATEAU_FLOOR, self.plateau.floor),
            (limits::LABEL_SMOOTHING, self.label_smoothing),
            (limits::AVERAGE_DECAY, self.average_decay),
            (limits::SCHEDULE_WARM_UP, self.schedule.warm_up),
            (limits::SCHEDULE_START, self.schedule.start),
            (limits::SCHEDULE_END, self.schedule.end),
            (limits::OPTIMIZER_BETA1, self.optimizer.beta1),
            (limits::OPTIMIZER_BETA2, self.optimizer.beta2),
            (limits::OPTIMIZER_EPSILON, self.optimizer.epsilon),
            (limits::OPTIMIZER_MOMENTUM, self.optimizer.momentum),
            (limits::OPTIMIZER_WEIGHT_DECAY, self.optimizer.weight_decay),
            (limits::OPTIMIZER_LARGEST_NORM, self.optimizer.largest_norm),
            (limits::DROPOUT_CONVOLUTION, self.dropout.convolution),
            (limits::DROPOUT_DENSE, self.dropout.dense),
            (limits::AUGMENTATION_ROTATION, self.augmentation.rotation),
            (limits::AUGMENTATION_ERASING, self.augmentation.erasing),
            (limits::MIXING_ALPHA, self.mixing.alpha),
        ];
        for (limit, value) in real {
            limit.check(value).map_err(Error::Input)?;
        }
        Ok(())
    }

    /// What differs between these settings and `other`, a sentence each; settings that say when
    /// a run ends or saves, and so decide no weights before, are left out.
    #[must_use]
    pub fn differences(&self, other: &Config) -> Vec<String> {
        let settings = |config: &Config| {
            let unlimited =
                Config { epochs: 0, max_steps: None, save_every: None, ..config.clone() };
            let table = toml::Table::try_from(unlimited).expect("settings are plain values");
            let mut found = BTreeMap::new();
            file::values(&table, "", &mut found);
            found
        };
        let (ours, theirs) = (settings(self), settings(other));
        let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        let shown = |value: Option<&String>| value.map_or("nothing".to_owned(), String::clone);
        keys.into_iter()
            .filter(|key| ours.get(*key) != theirs.get(*key))
            .map(|key| format!("{key}: {}, not {}", shown(ours.get(key)), shown(theirs.get(key))))
            .collect()
    }

    /// The content of `config.toml`; [`Overrides::load`] and [`Config::resolve`] give the same
    /// settings back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let settings = toml::to_string(self).expect("settings are plain values");
        format!("# The settings of this run; to repeat it: train --config FILE\n{settings}")
    }
}
