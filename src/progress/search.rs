//! How a search looks: a row a run, the ranking, and what to do with the winner.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use toml::Value;

use super::event::{Event, lossy};
use super::format::{command, number, percentage, quoted, shown};
use super::{Progress, Style};
use crate::error::Result;

/// A run of a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The trial's number; 0 is the recipe as it stands.
    pub trial: usize,
    /// How many shorter runs it had before.
    pub rung: usize,
    /// The most epochs of the run.
    pub epochs: usize,
    /// Accuracy on the validation part, 0 to 1, of the weights that the run keeps; none where its
    /// numbers did not stay finite.
    pub val_accuracy: Option<f64>,
    /// Their mean loss on it, in nats.
    pub val_loss: Option<f64>,
    /// The run folder.
    #[serde(serialize_with = "lossy")]
    pub run: PathBuf,
    /// What it has of the searched settings, by their dotted keys.
    pub settings: BTreeMap<String, Value>,
}

impl Trial {
    /// A setting's value for people and tables: short, and text without its quotes.
    #[must_use]
    pub fn shown(value: &Value) -> String {
        match value {
            Value::Float(number) => format!("{number:?}"),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The folder of the search.
    #[serde(serialize_with = "lossy")]
    pub folder: PathBuf,
    /// The config file with the winner's settings.
    #[serde(serialize_with = "lossy")]
    pub config: PathBuf,
    /// Images that the runs were compared on.
    pub validation_images: usize,
    /// The last run of each trial, the best first.
    pub ranking: Vec<Trial>,
}

/// What stands above rows of trials.
const HEADING: &str = "rung trial epochs  val_acc  val_loss  settings";

impl Progress {
    /// A search begins: what it will do, in words.
    pub fn search_started(&mut self, plan: &str) {
        if self.shows_progress() {
            self.log_line(&format!("{plan}\n\n{HEADING}"));
        }
    }

    /// A run of a search ended.
    pub fn trial_ended(&mut self, trial: &Trial) {
        self.event(&Event::Trial(trial));
        if self.shows_progress() {
            self.log_line(&row(trial));
        }
    }

    /// A search ended, and found something.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) if results could not be written, a closed pipe
    /// excepted.
    pub fn search_ended(&mut self, found: &Found) -> Result<()> {
        if self.style == Style::Json {
            self.event(&Event::Found(found));
            return self.take_fault();
        }
        let rows: String = found.ranking.iter().map(|trial| row(trial) + "\n").collect();
        let config = quoted(&found.config);
        let train = |seed| command("train", &format!("--config {config} --seed {seed}"));
        self.results(&format!(
            "Ranking, by the accuracy on {} validation images:\n{HEADING}\n{rows}\
             Best settings: {}\n\
             The test images stayed closed. The best of many looks better than it is, so judge \
             it by seeds that\nthe search did not use:\n  {}\n  {}",
            found.validation_images,
            shown(&found.config),
            train(101),
            train(102),
        ))
    }
}

fn row(trial: &Trial) -> String {
    let Trial { rung, trial: number_of, epochs, val_accuracy, val_loss, settings, .. } = trial;
    let settings: Vec<_> =
        settings.iter().map(|(key, value)| format!("{key} {}", Trial::shown(value))).collect();
    let accuracy = val_accuracy.map_or("diverged".to_owned(), percentage);
    let loss = val_loss.map_or("-".to_owned(), number);
    let as_it_stands = if *number_of == 0 { " (the recipe)" } else { "" };
    format!(
        "{rung:>4} {number_of:>5} {epochs:>6} {accuracy:>8} {loss:>9}  {}{as_it_stands}",
        settings.join(", ")
    )
}
