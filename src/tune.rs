//! A search over a recipe's settings: the call behind the `tune` program.
//!
//! Random draws from a space, of which the better part goes on to longer runs ([`rungs`]). Every
//! run is an ordinary run folder that `train` would make of the same settings, but for its
//! evaluation: the test images stay closed, and runs are compared on the validation part alone.

mod halving;
mod space;

use std::cmp::Ordering;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::data::Source;
use crate::error::{Error, Result};
use crate::progress::{Progress, StopReason, Style, Summary};
use crate::recipe::{Config, Overrides};
use crate::run_folder::{CONFIG, RunFolder, read_history};
use crate::train::{Execution, ResumeOptions, TrainOptions, resume, train};
use crate::train::{check_fit, with_absolute_paths};

pub use crate::progress::{Found, Trial};
pub use halving::{Rung, rungs};
pub use space::Space;

/// A row a run.
pub const TRIALS: &str = "trials.csv";
/// The settings of the winner, a config file.
pub const BEST: &str = "best.toml";

/// A search to be made.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    /// The settings that trials start from. Its seed decides the draws, and is each run's; its
    /// epochs are those of the longest runs.
    pub config: Config,
    /// What is drawn.
    pub space: Space,
    /// Trials, the recipe as it stands included: 1 or more.
    pub trials: usize,
    /// One trial in so many goes on to a longer run: 2 or more.
    pub eta: usize,
    /// The folder that the search's folder lies in.
    pub out: PathBuf,
    /// The folder's name; without one it is numbered. A search goes on in the folder that an
    /// earlier call with the same settings left.
    pub name: Option<OsString>,
    /// With what it is computed. `evaluates` is ignored: no run of a search is evaluated.
    pub execution: Execution,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All runs were made.
    Found(Found),
    /// It was asked to stop; the run in progress was saved.
    Stopped(StopReason),
}

/// Searches as `options` say, writes `trials.csv` and `best.toml`, and reports to `progress`.
/// Runs that the folder has already are not made again, and a stopped one is gone on with.
///
/// # Errors
/// Every [`Error`]. Settings that do not fit the data are refused before anything is trained; a
/// trial whose numbers do not stay finite ends no search, unless all are such.
///
/// # Panics
/// If there are no trials, or `eta` is below 2.
pub fn tune(options: &TuneOptions, progress: &mut Progress) -> Result<Outcome> {
    let config = with_absolute_paths(&options.config)?;
    let source = Source::obtain(&config.data, progress)?;
    let draw = |trial| config.with(&options.space.draw(config.seed, trial));
    let trials = u32::try_from(options.trials).expect("trials are limited");
    let configs: Vec<Config> = (0..trials).map(draw).collect::<Result<_>>()?;
    for (trial, config) in configs.iter().enumerate() {
        check_fit(config, &source).map_err(|fault| misfit(trial, config, fault, options))?;
    }
    drop(source);
    let rungs = rungs(options.trials, config.epochs, options.eta);
    let plan = plan(options, &config, &rungs);
    let commented: String = plan.lines().map(|line| format!("# {line}\n")).collect();
    let folder = RunFolder::of_search(
        &options.out,
        options.name.as_deref(),
        &format!("{commented}{}", config.to_toml()),
    )?;
    progress.search_started(&format!("search {}\n{plan}", folder.path().display()));
    let execution = Execution { evaluates: false, ..options.execution.clone() };
    let mut search = Search { options, execution, configs, folder: &folder, rows: Vec::new() };
    if let Some(reason) = search.climb(&rungs, progress)? {
        let name = folder.path().file_name().unwrap_or_default().display();
        progress.note(&format!(
            "stopped; the run is saved. The same command with --name {name} goes on with the search"
        ));
        return Ok(Outcome::Stopped(reason));
    }
    let found = search.conclude(config.val_size)?;
    progress.search_ended(&found)?;
    Ok(Outcome::Found(found))
}

/// What a search will do, and so what says whether another is the same.
fn plan(options: &TuneOptions, config: &Config, rungs: &[Rung]) -> String {
    let steps: Vec<_> = rungs
        .iter()
        .map(|Rung { trials, epochs }| format!("{trials} of {epochs} epochs"))
        .collect();
    format!(
        "{} trials of recipe {}, seed {}, one in {} going on; runs: {}\n{}",
        options.trials,
        config.recipe,
        config.seed,
        options.eta,
        steps.join(", then "),
        options.space.to_string().trim_end()
    )
}

/// The fault of a trial that does not fit the data, with what it drew.
fn misfit(trial: usize, config: &Config, fault: Error, options: &TuneOptions) -> Error {
    if trial == 0 {
        return fault;
    }
    let settings = options.space.values(config);
    let settings: Vec<_> =
        settings.iter().map(|(key, value)| format!("{key} {}", Trial::shown(value))).collect();
    Error::Input(format!("trial {trial}, of {}: {fault}", settings.join(", ")))
}

struct Search<'a> {
    options: &'a TuneOptions,
    execution: Execution,
    /// The settings of each trial, at full length.
    configs: Vec<Config>,
    folder: &'a RunFolder,
    /// All runs so far.
    rows: Vec<Trial>,
}

impl Search<'_> {
    /// Makes all runs; the reason if it was asked to stop before.
    fn climb(&mut self, rungs: &[Rung], progress: &mut Progress) -> Result<Option<StopReason>> {
        let mut trials: Vec<usize> = (0..self.options.trials).collect();
        for (rung, &Rung { trials: places, epochs }) in rungs.iter().enumerate() {
            trials.truncate(places);
            for &trial in &trials {
                match self.run(rung, trial, epochs)? {
                    Ok(row) => {
                        progress.trial_ended(&row);
                        self.rows.push(row);
                        self.folder.write(TRIALS, self.table().as_bytes())?;
                    }
                    Err(reason) => return Ok(Some(reason)),
                }
            }
            let finite = |row: &&Trial| row.rung == rung && row.val_accuracy.is_some();
            let mut finished: Vec<_> = self.rows.iter().filter(finite).collect();
            finished.sort_by(|a, b| better_first(a, b));
            trials = finished.iter().map(|row| row.trial).collect();
        }
        Ok(None)
    }

    /// Makes a run, or takes it from its folder.
    fn run(
        &self,
        rung: usize,
        trial: usize,
        epochs: usize,
    ) -> Result<std::result::Result<Trial, StopReason>> {
        let config = Config { epochs, ..self.configs[trial].clone() };
        let out = self.folder.file(&format!("rung-{rung}"));
        let name = format!("trial-{trial:03}");
        let run = out.join(&name);
        let mut row = Trial {
            trial,
            rung,
            epochs,
            val_accuracy: None,
            val_loss: None,
            run: run.clone(),
            settings: self.options.space.values(&config),
        };
        // Of a run only its row is shown, and what went wrong.
        let (results, log) = (Box::new(io::sink()), Box::new(io::stderr()));
        let mut progress = Progress::to_streams(Style::Quiet, results, log);
        let execution = self.execution.clone();
        let ended = if run.exists() {
            check_trial(&run, &config)?;
            let (epochs, max_steps, save_every) = (None, None, None);
            resume(
                &ResumeOptions { run: run.clone(), epochs, max_steps, save_every, execution },
                &mut progress,
            )
        } else {
            let name = Some(name.into());
            train(&TrainOptions { config, out, name, overwrite: false, execution }, &mut progress)
        };
        match ended {
            Ok(Summary { reason, .. }) if reason.exit_code() != 0 => return Ok(Err(reason)),
            Ok(summary) => {
                let (accuracy, loss) = validated(&run, summary.best_epoch)?;
                (row.val_accuracy, row.val_loss) = (Some(accuracy), Some(loss));
            }
            Err(Error::NotFinite(_)) => {}
            Err(fault) => return Err(fault),
        }
        Ok(Ok(row))
    }

    /// Ranks the trials and writes the winner's settings.
    fn conclude(&self, validation_images: usize) -> Result<Found> {
        let mut ranking: Vec<Trial> = Vec::new();
        for row in self.rows.iter().rev() {
            if ranking.iter().all(|later| later.trial != row.trial) {
                ranking.push(row.clone());
            }
        }
        ranking.sort_by(better_first);
        if ranking[0].val_accuracy.is_none() {
            return Err(Error::NotFinite(format!(
                "{}: the numbers of no trial stayed finite; try lower learning rates",
                self.folder.path().display()
            )));
        }
        let best = self.configs[ranking[0].trial].to_toml();
        self.folder.write(BEST, best.as_bytes())?;
        let (folder, config) = (self.folder.path().to_owned(), self.folder.file(BEST));
        Ok(Found { folder, config, validation_images, ranking })
    }

    /// The content of `trials.csv`.
    fn table(&self) -> String {
        let keys: Vec<&String> = self.rows[0].settings.keys().collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let fixed = ["rung", "trial", "epochs", "val_accuracy", "val_loss"];
        let header = fixed.into_iter().chain(keys.iter().map(|key| key.as_str()));
        writer.write_record(header).expect("a Vec takes any record");
        let shown = |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
        for row in &self.rows {
            let counts = [row.rung, row.trial, row.epochs].map(|count| count.to_string());
            let figures = [shown(row.val_accuracy), shown(row.val_loss)];
            let settings = row.settings.values().map(Trial::shown);
            let record = counts.into_iter().chain(figures).chain(settings);
            writer.write_record(record).expect("all rows have the same settings");
        }
        String::from_utf8(writer.into_inner().expect("a Vec takes any bytes")).expect("text")
    }
}

/// Checks that what a trial left has the trial's settings: somebody may have gone on with it, moved
/// it or changed it.
fn check_trial(run: &Path, config: &Config) -> Result<()> {
    let file = run.join(CONFIG);
    if !file.is_file() {
        return Ok(());
    }
    let expected = with_absolute_paths(config)?;
    let found = Config::resolve(&Overrides::load(&file)?, &Overrides::default())?;
    let mut differences = found.differences(&expected);
    if found.epochs != expected.epochs {
        differences.push(format!("epochs: {}, not {}", found.epochs, expected.epochs));
    }
    if found.max_steps != expected.max_steps {
        differences.push("max_steps".to_owned());
    }
    match differences.is_empty() {
        true => Ok(()),
        false => Err(Error::Input(format!(
            "{}: these settings are not those of the trial: {}; delete the folder, and the search \
             makes it again",
            file.display(),
            differences.join("; ")
        ))),
    }
}

/// Validation accuracy and loss of the weights that a run keeps: of its best epoch where the
/// recipe keeps it, else of the last.
fn validated(run: &Path, best_epoch: Option<u64>) -> Result<(f64, f64)> {
    let history = read_history(&RunFolder::open(run)?)?;
    let kept = |epoch| history.iter().find(|row| row.epoch == epoch);
    let row = best_epoch.map_or(history.last(), kept);
    let row = row.filter(|row| row.val_accuracy.is_finite() && row.val_loss.is_finite());
    let row = row.ok_or_else(|| {
        Error::Input(format!(
            "{}: the history lacks the epoch that counts; delete the folder and start again",
            run.display()
        ))
    })?;
    Ok((row.val_accuracy, row.val_loss))
}

/// The order of a ranking: longer runs before shorter ones, then accuracy, then loss. Accuracy
/// comes first because settings such as label smoothing make a model less sure, and so raise the
/// loss of answers that are as good.
fn better_first(a: &Trial, b: &Trial) -> Ordering {
    // A run that is no use is worse than any other.
    let accuracy = |row: &Trial| row.val_accuracy.unwrap_or(-1.0);
    let loss = |row: &Trial| row.val_loss.unwrap_or(f64::INFINITY);
    let diverged = |row: &Trial| row.val_accuracy.is_none();
    (diverged(a).cmp(&diverged(b)))
        .then(b.rung.cmp(&a.rung))
        .then(accuracy(b).total_cmp(&accuracy(a)))
        .then(loss(a).total_cmp(&loss(b)))
        .then(a.trial.cmp(&b.trial))
}
