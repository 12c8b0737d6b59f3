//! A training run from its settings to its results: the calls behind the `train` program.

mod parts;
mod saved;
mod session;
mod stop;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use toile_kernels::threads::Workers;
use toile_kernels::{BITS_VERSION, Device, Isa};

use crate::checkpoint::{Architecture, Model};
use crate::data::{self, Source, Split};
use crate::error::{Error, Result};
use crate::evaluate::{evaluate_split, resident};
use crate::metrics::Evaluation;
use crate::models;
use crate::ops::gather::Resident;
use crate::progress::{Plan, Progress};
use crate::recipe::{Config, Overrides};
use crate::run_folder::{
    CONFIG, EVALUATION, Environment, PREDICTIONS, REPORT_JSON, REPORT_TEXT, RunFolder,
};
use parts::Parts;
use saved::{Checkpoint, Origin};
use session::Session;

pub use crate::progress::{StopReason, Summary};
pub use stop::Stop;

/// The most numbers that one result of a training batch has: 1 GiB. About ten such results are
/// alive at once.
const MOST_NUMBERS: usize = 1 << 28;

/// With what a run is computed, and how it is asked to stop: nothing here decides its weights.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Worker threads, 1 to 64.
    pub threads: usize,
    /// What computes.
    pub device: Device,
    /// The way to end the run before its time.
    pub stop: Stop,
}

/// A run to be made: its settings, and all that does not decide its weights.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The settings; only these decide the weights that come out.
    pub config: Config,
    /// The folder that run folders lie in.
    pub out: PathBuf,
    /// The run folder's name; without one it is numbered.
    pub name: Option<OsString>,
    /// Whether an earlier run of that name may be deleted.
    pub overwrite: bool,
    /// With what it is computed.
    pub execution: Execution,
}

/// A run to go on with. Its settings are those of its folder, but for these.
#[derive(Clone, Debug)]
pub struct ResumeOptions {
    /// The run folder, or a link to it.
    pub run: PathBuf,
    /// Another number of epochs, not below those that were begun.
    pub epochs: Option<usize>,
    /// Another limit on steps, not below those that were made.
    pub max_steps: Option<u64>,
    /// Another interval between checkpoints, in steps.
    pub save_every: Option<u64>,
    /// With what it is computed.
    pub execution: Execution,
}

/// Trains as `options` say, writes the run folder and reports to `progress`.
///
/// # Errors
/// Every [`Error`]; the run folder keeps what was done until then.
pub fn train(options: &TrainOptions, progress: &mut Progress) -> Result<Summary> {
    let mut config = options.config.clone();
    config.check()?;
    // The settings must mean the same data when they are used from another folder.
    let is_name = data::known_names().any(|name| config.data.as_os_str() == name);
    if !is_name && config.data.is_dir() {
        config.data = std::path::absolute(&config.data).map_err(|fault| {
            Error::Storage(format!("cannot resolve {}: {fault}", config.data.display()))
        })?;
    }
    let setup = Setup::of(config, &options.execution, progress)?;
    let run = RunFolder::create(
        &options.out,
        &setup.config.data,
        &setup.config.recipe,
        options.name.as_deref(),
        options.overwrite,
        &setup.config.to_toml(),
    )?;
    setup.complete(&run, None, progress)
}

/// Goes on with a run as if it had never stopped. A run that has finished is only told of.
///
/// # Errors
/// Every [`Error`]; [`Error::Input`] if settings, data or build are others than the run's.
pub fn resume(options: &ResumeOptions, progress: &mut Progress) -> Result<Summary> {
    let run = RunFolder::open(&options.run)?;
    let changed = Overrides {
        epochs: options.epochs,
        max_steps: options.max_steps,
        save_every: options.save_every,
        ..Overrides::default()
    };
    let path = run.file(CONFIG);
    if !path.is_file() {
        return Err(Error::Input(format!(
            "{} holds no {CONFIG}: the run was stopped before it began; start it again",
            run.path().display()
        )));
    }
    let config = Config::resolve(&Overrides::load(&path)?, &changed)?;
    let checkpoint = Checkpoint::newest(&run, progress)?;
    if let Some(checkpoint) = &checkpoint {
        check_origin(checkpoint, &config, &run)?;
        if let Some(summary) = finished(checkpoint, &config, &run) {
            progress.note(
                "this run has finished; nothing is left to do. To train on, raise the limit that \
                 ended it: --epochs or --max-steps",
            );
            progress.ended(&summary)?;
            return Ok(summary);
        }
    }
    let setup = Setup::of(config, &options.execution, progress)?;
    if let Some(checkpoint) = &checkpoint {
        check_data(checkpoint, &setup, &run)?;
    }
    setup.complete(&run, checkpoint, progress)
}

/// Everything that a run starts from.
struct Setup<'a> {
    execution: &'a Execution,
    isa: Isa,
    config: Config,
    source: Source,
    workers: Workers,
    model: Model,
    data: Resident,
    parts: Parts,
}

impl<'a> Setup<'a> {
    fn of(config: Config, execution: &'a Execution, progress: &mut Progress) -> Result<Setup<'a>> {
        let isa = Isa::from_environment().map_err(Error::Input)?;
        let mut source = Source::obtain(&config.data, progress)?;
        let (rows, columns) = source.image_size();
        let architecture =
            Architecture { network: models::REFERENCE.to_owned(), input: [rows, columns, 1] };
        let parts = Parts::of(&config, source.train_count())?;
        let workers = Workers::new(execution.threads).map_err(Error::Failure)?;
        let classes = source.class_names().to_vec();
        let model = Model::new(architecture, classes, execution.device, config.seed)?;
        check_memory(&config, &model)?;
        tracing::info!(
            data = %source.directory().display(),
            isa = isa.name(),
            threads = execution.threads,
            "ready to train"
        );
        let data = resident(&source.load_train()?, execution.device);
        Ok(Setup { execution, isa, config, source, workers, model, data, parts })
    }

    /// Trains, evaluates, and writes everything that a run leaves.
    fn complete(
        self,
        run: &RunFolder,
        checkpoint: Option<Checkpoint>,
        progress: &mut Progress,
    ) -> Result<Summary> {
        let step = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.state.step);
        let (origin, plan, environment) = (self.origin(), self.plan(run, step), self.environment());
        let Setup { execution, config, mut source, workers, model, data, parts, .. } = self;
        let start = Instant::now();
        let summary = workers.run(|| {
            let stop = &execution.stop;
            let start_with = (model, data, parts);
            let mut session = match checkpoint {
                None => Session::new(&config, run, stop, origin, start_with)?,
                Some(checkpoint) => {
                    Session::resume(&config, run, stop, origin, checkpoint, start_with)?
                }
            };
            // Nothing was changed before it was sure that the run goes on.
            run.remove_results()?;
            run.write(CONFIG, config.to_toml().as_bytes())?;
            environment.record(run, step)?;
            progress.started(&plan);
            stop.answer_by_saving();
            let ended = session.run(progress)?;
            let evaluation = match ended.reason.exit_code() {
                0 => Some(conclude(&session.into_best()?, &mut source, run)?),
                _ => None,
            };
            Ok(Summary {
                run: run.path().to_owned(),
                reason: ended.reason,
                epochs: ended.epochs,
                steps: ended.steps,
                best_epoch: ended.best_epoch,
                seconds: start.elapsed().as_secs_f64(),
                evaluation,
            })
        })?;
        progress.ended(&summary)?;
        Ok(summary)
    }

    fn plan(&self, run: &RunFolder, first_step: u64) -> Plan {
        let summary = self.model.network.summary();
        Plan {
            run: run.path().to_owned(),
            recipe: self.config.recipe.clone(),
            seed: self.config.seed,
            epochs: self.parts.epochs(&self.config),
            first_step,
            train_images: self.parts.training as u64,
            validation_images: self.parts.validation.len() as u64,
            classes: self.model.classes.clone(),
            parameters: summary.parameters(),
            network: summary.to_string(),
            threads: self.execution.threads,
            isa: self.isa.name().to_owned(),
        }
    }

    fn origin(&self) -> Origin {
        let data = self.source.fingerprint();
        Origin {
            toile: env!("CARGO_PKG_VERSION").to_owned(),
            bits_version: BITS_VERSION,
            arithmetic: self.isa.arithmetic().to_owned(),
            config: self.config.clone(),
            data: data.iter().map(|(&name, hash)| (name.to_owned(), hash.clone())).collect(),
        }
    }

    fn environment(&self) -> Environment {
        Environment::gather(self.isa.name(), self.execution.threads, describe(&self.source))
    }
}

/// What identifies the data, as far as it was read.
fn describe(source: &Source) -> serde_json::Value {
    serde_json::json!({
        "name": source.name(),
        "directory": source.directory().display().to_string(),
        "sha256": source.fingerprint(),
    })
}

/// Evaluates the model that counts on the test images and writes the results; what says that
/// the run has finished comes last.
fn conclude(model: &Model, source: &mut Source, run: &RunFolder) -> Result<Evaluation> {
    let test: Split = source.load_test()?;
    Environment::record_data(run, &describe(source))?;
    let (predictions, evaluation) = evaluate_split(model, &test)?;
    let json = |value: serde_json::Result<Vec<u8>>| value.expect("plain values");
    let report = evaluation.report();
    run.write(PREDICTIONS, predictions.to_csv().as_bytes())?;
    run.write(REPORT_TEXT, report.to_string().as_bytes())?;
    run.write(REPORT_JSON, &json(serde_json::to_vec_pretty(&report)))?;
    run.write(EVALUATION, &json(serde_json::to_vec_pretty(&evaluation)))?;
    Ok(evaluation)
}

/// The summary of a run that has nothing left to do.
fn finished(checkpoint: &Checkpoint, config: &Config, run: &RunFolder) -> Option<Summary> {
    let state = &checkpoint.state;
    let reason = state.limit_reached(config)?;
    let evaluation = std::fs::read(run.file(EVALUATION)).ok()?;
    let cut_short = u64::from(state.running.steps > 0);
    Some(Summary {
        run: run.path().to_owned(),
        reason,
        epochs: state.epoch - 1 + cut_short,
        steps: state.step,
        best_epoch: state.early_stopping.best_epoch().map(u64::from),
        seconds: 0.0,
        evaluation: Some(serde_json::from_slice(&evaluation).ok()?),
    })
}

/// Checks that settings and build are those of the checkpoint.
fn check_origin(checkpoint: &Checkpoint, config: &Config, run: &RunFolder) -> Result<()> {
    let Checkpoint { origin, state, .. } = checkpoint;
    let folder = run.path().display();
    let differences = config.differences(&origin.config);
    if !differences.is_empty() {
        return Err(Error::Input(format!(
            "{}: these settings are not those that the run was begun with: {}; put them back, or \
             start a new run",
            run.file(CONFIG).display(),
            differences.join("; ")
        )));
    }
    let arithmetic = Isa::from_environment().map_err(Error::Input)?.arithmetic();
    if (origin.bits_version, origin.arithmetic.as_str()) != (BITS_VERSION, arithmetic) {
        return Err(Error::Input(format!(
            "{folder} was begun by toile {} with {} arithmetic, version {}; this one has {} \
             arithmetic, version {}, and would end with other weights: go on with the toile, the \
             kind of processor and the TOILE_ISA that it was begun with, or start a new run",
            origin.toile.escape_debug(),
            origin.arithmetic.escape_debug(),
            origin.bits_version,
            arithmetic,
            BITS_VERSION
        )));
    }
    let begun = state.epoch - u64::from(state.running.steps == 0);
    let limits = [
        ("--epochs", Some(config.epochs as u64), begun, "epoch"),
        ("--max-steps", config.max_steps, state.step, "step"),
    ];
    for (flag, limit, reached, unit) in limits {
        if let Some(limit) = limit.filter(|&limit| limit < reached) {
            return Err(Error::Input(format!(
                "{flag} {limit}: the run in {folder} has reached {unit} {reached} already; expected \
                 {reached} or more"
            )));
        }
    }
    Ok(())
}

/// Checks that the data is the one that the run was begun with.
fn check_data(checkpoint: &Checkpoint, setup: &Setup, run: &RunFolder) -> Result<()> {
    for (&name, found) in setup.source.fingerprint() {
        match checkpoint.origin.data.get(name) {
            Some(expected) if expected != found => {
                return Err(Error::Input(format!(
                    "{}: {name} has changed since the run in {} was begun: expected SHA-256 \
                     {}, found {found}; put the file back, or start a new run",
                    setup.source.directory().display(),
                    run.path().display(),
                    expected.escape_debug()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses batches whose results would not fit a common machine's memory.
fn check_memory(config: &Config, model: &Model) -> Result<()> {
    let largest = model.network.summary().largest_result();
    if config.batch_size.saturating_mul(largest) > MOST_NUMBERS {
        let [rows, columns, _] = model.architecture.input;
        return Err(Error::Input(format!(
            "--batch-size: for images of {rows} by {columns} pixels, expected at most {}, found {}",
            MOST_NUMBERS / largest,
            config.batch_size
        )));
    }
    Ok(())
}
