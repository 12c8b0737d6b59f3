//! Some settings, from a config file or from flags, that win over those of a recipe.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, file, path_text};
use crate::models::DropoutRates;
use crate::ops::augment::{Augmentation, Flip};
use crate::ops::mix::{Mix, Mixing};
use crate::optim::{OptimizerSettings, Rule};
use crate::schedule::{EarlyStoppingSettings, PlateauSettings, ScheduleKind, ScheduleSettings};

/// Some settings; what is `None` stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// See [`Config::recipe`].
    pub recipe: Option<String>,
    /// See [`Config::data`].
    #[serde(deserialize_with = "path_text::optional")]
    pub data: Option<PathBuf>,
    /// See [`Config::epochs`].
    pub epochs: Option<usize>,
    /// See [`Config::batch_size`].
    pub batch_size: Option<usize>,
    /// See [`Config::learning_rate`].
    pub learning_rate: Option<f64>,
    /// See [`Config::seed`].
    #[serde(deserialize_with = "file::seed::optional")]
    pub seed: Option<u64>,
    /// See [`Config::val_size`].
    pub val_size: Option<usize>,
    /// See [`Config::limit`].
    pub limit: Option<usize>,
    /// See [`Config::max_steps`].
    pub max_steps: Option<u64>,
    /// See [`Config::save_every`].
    pub save_every: Option<u64>,
    /// See [`Config::init`].
    #[serde(deserialize_with = "path_text::optional")]
    pub init: Option<PathBuf>,
    /// See [`Config::freeze`].
    pub freeze: Option<String>,
    /// See [`Config::standardize`].
    pub standardize: Option<bool>,
    /// See [`Config::label_smoothing`].
    pub label_smoothing: Option<f64>,
    /// See [`Config::average_decay`].
    pub average_decay: Option<f64>,
    /// See [`Config::early_stopping`].
    pub early_stopping: EarlyStoppingOverrides,
    /// See [`Config::plateau`].
    pub plateau: PlateauOverrides,
    /// See [`Config::schedule`].
    pub schedule: ScheduleOverrides,
    /// See [`Config::optimizer`].
    pub optimizer: OptimizerOverrides,
    /// See [`Config::dropout`].
    pub dropout: DropoutOverrides,
    /// See [`Config::augmentation`].
    pub augmentation: AugmentationOverrides,
    /// See [`Config::mixing`].
    pub mixing: MixingOverrides,
}

impl Overrides {
    pub(super) fn apply(&self, config: &mut Config) {
        replace(&mut config.data, &self.data);
        replace(&mut config.epochs, &self.epochs);
        replace(&mut config.batch_size, &self.batch_size);
        replace(&mut config.learning_rate, &self.learning_rate);
        replace(&mut config.seed, &self.seed);
        replace(&mut config.val_size, &self.val_size);
        config.limit = self.limit.or(config.limit);
        config.max_steps = self.max_steps.or(config.max_steps);
        config.save_every = self.save_every.or(config.save_every);
        config.init = self.init.clone().or(config.init.take());
        config.freeze = self.freeze.clone().or(config.freeze.take());
        replace(&mut config.standardize, &self.standardize);
        replace(&mut config.label_smoothing, &self.label_smoothing);
        replace(&mut config.average_decay, &self.average_decay);
        self.early_stopping.apply(&mut config.early_stopping);
        self.plateau.apply(&mut config.plateau);
        self.schedule.apply(&mut config.schedule);
        self.optimizer.apply(&mut config.optimizer);
        self.dropout.apply(&mut config.dropout);
        self.augmentation.apply(&mut config.augmentation);
        self.mixing.apply(&mut config.mixing);
    }
}

fn replace<T: Clone>(setting: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        *setting = value.clone();
    }
}

/// Some settings of a group: the group's fields, each of which may be missing.
macro_rules! of_group {
    ($name:ident of $settings:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[doc = concat!("Some settings of [`", stringify!($settings), "`].")]
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(#[doc = concat!("See [`", stringify!($settings), "::", stringify!($field), "`].")]
            pub $field: Option<$type>,)*
        }

        impl $name {
            fn apply(&self, settings: &mut $settings) {
                $(replace(&mut settings.$field, &self.$field);)*
            }
        }
    };
}

of_group!(EarlyStoppingOverrides of EarlyStoppingSettings { enabled: bool, patience: u32 });
of_group!(PlateauOverrides of PlateauSettings {
    enabled: bool,
    factor: f64,
    patience: u32,
    min_delta: f64,
    floor: f64,
});
of_group!(ScheduleOverrides of ScheduleSettings {
    kind: ScheduleKind,
    warm_up: f64,
    start: f64,
    end: f64,
});
of_group!(OptimizerOverrides of OptimizerSettings {
    rule: Rule,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    momentum: f64,
    weight_decay: f64,
    largest_norm: f64,
});
of_group!(DropoutOverrides of DropoutRates { convolution: f64, dense: f64 });
of_group!(AugmentationOverrides of Augmentation {
    flip: Flip,
    shift: u32,
    rotation: f64,
    erasing: f64,
});
of_group!(MixingOverrides of Mixing { method: Mix, alpha: f64 });
