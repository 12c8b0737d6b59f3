//! A training run from its settings to its results: the calls behind the `train` program.

mod conclude;
mod parts;
mod resume;
mod saved;
mod session;
mod size;
mod stop;
mod transfer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use toile_kernels::threads::Workers;
use toile_kernels::{BITS_VERSION, Device};

use crate::checkpoint::{Architecture, Model};
use crate::data::{self, Source};
use crate::error::{Error, Result};
use crate::evaluate::resident;
use crate::models;
use crate::ops::gather::{Normalization, Resident};
use crate::progress::{Plan, Progress};
use crate::recipe::Config;
use crate::run_folder::{CONFIG, Environment, LAST_CHECKPOINT, RunFolder};
use conclude::conclude;
use parts::Parts;
use saved::{Checkpoint, Origin};
use session::Session;
use size::{check_batch, check_memory};
use transfer::{frozen_layers, start_from};

pub use crate::progress::{StopReason, Summary};
pub use resume::{ResumeOptions, resume};
pub use stop::Stop;

/// With what a run is computed, how it is asked to stop, and whether it ends with an evaluation:
/// nothing here decides its weights.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Worker threads, 1 to 64.
    pub threads: usize,
    /// What computes.
    pub device: Device,
    /// The way to end the run before its time.
    pub stop: Stop,
    /// Whether the run ends with an evaluation. Without one the test images stay closed, which
    /// whoever chooses between runs must see to; going on with such a run evaluates it.
    pub evaluates: bool,
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

/// Trains as `options` say, writes the run folder and reports to `progress`.
///
/// # Errors
/// Every [`Error`]; the run folder keeps what was done until then.
pub fn train(options: &TrainOptions, progress: &mut Progress) -> Result<Summary> {
    options.config.check()?;
    let config = with_absolute_paths(&options.config)?;
    let mut setup = Setup::of(config, &options.execution, progress)?;
    setup.begin(progress)?;
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

/// The settings, so that they mean the same data when they are used from another folder, and the
/// same trained model when `latest` points to another run.
pub(crate) fn with_absolute_paths(config: &Config) -> Result<Config> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|fault| Error::Storage(format!("cannot resolve {}: {fault}", path.display())))
    };
    let mut config = config.clone();
    let is_name = data::known_names().any(|name| config.data.as_os_str() == name);
    if !is_name && config.data.is_dir() {
        config.data = absolute(&config.data)?;
    }
    let real = |path: &Path| path.canonicalize().or_else(|_| absolute(path));
    config.init = config.init.as_deref().map(real).transpose()?;
    Ok(config)
}

/// Refuses settings that do not fit the data, or whose run would not fit into memory.
pub(crate) fn check_fit(config: &Config, source: &Source) -> Result<()> {
    fit(config, source).map(drop)
}

/// The network for the data, how many of its layers are frozen, and the data's parts, if they fit the
/// settings and the memory.
fn fit(config: &Config, source: &Source) -> Result<(Architecture, usize, Parts)> {
    let (rows, columns) = source.image_size();
    let architecture =
        Architecture { network: models::REFERENCE.to_owned(), input: [rows, columns, 1] };
    let parts = Parts::of(config, source.train_count())?;
    let frozen = frozen_layers(config, &architecture, source.class_names().len())?;
    check_batch(config, &parts)?;
    check_memory(config, &parts, source, &architecture)?;
    Ok((architecture, frozen, parts))
}

/// Everything that a run starts from.
struct Setup<'a> {
    execution: &'a Execution,
    /// What computes, for messages and `env.json`.
    engine: String,
    arithmetic: &'static str,
    config: Config,
    source: Source,
    workers: Workers,
    model: Model,
    data: Resident,
    parts: Parts,
}

impl<'a> Setup<'a> {
    fn of(config: Config, execution: &'a Execution, progress: &mut Progress) -> Result<Setup<'a>> {
        let engine = execution.device.engine().map_err(Error::Input)?;
        let arithmetic = execution.device.arithmetic().map_err(Error::Input)?;
        let mut source = Source::obtain(&config.data, progress)?;
        let (architecture, frozen, parts) = fit(&config, &source)?;
        let workers = Workers::new(execution.threads).map_err(Error::Failure)?;
        let classes = source.class_names().to_vec();
        let device = execution.device;
        let start = (config.dropout, frozen);
        let mut model = Model::to_train(architecture, classes, start, device, config.seed)?;
        tracing::info!(
            data = %source.directory().display(),
            engine,
            threads = execution.threads,
            "ready to train"
        );
        let images = source.load_train()?;
        if config.standardize {
            let (rows, columns) = source.image_size();
            let image_len = rows * columns;
            model.normalization =
                Normalization::standard(&images.images.pixels[..parts.training * image_len]);
        }
        let data = resident(&images, device);
        Ok(Setup { execution, engine, arithmetic, config, source, workers, model, data, parts })
    }

    /// Takes over the trained model that the settings name, if they do.
    fn begin(&mut self, progress: &mut Progress) -> Result<()> {
        match &self.config.init {
            Some(init) => start_from(&mut self.model, init, progress),
            None => Ok(()),
        }
    }

    /// Trains, evaluates, and writes everything that a run leaves. It goes on from a checkpoint,
    /// if there is one, of the file that is named.
    fn complete(
        self,
        run: &RunFolder,
        checkpoint: Option<(Checkpoint, &'static str)>,
        progress: &mut Progress,
    ) -> Result<Summary> {
        let (checkpoint, file) = checkpoint.unzip();
        let step = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.state.step);
        let (origin, plan, environment) = (self.origin(), self.plan(run, step), self.environment());
        let Setup { execution, config, mut source, workers, model, data, parts, .. } = self;
        let start = Instant::now();
        let summary = workers.run(|| {
            let stop = &execution.stop;
            let start_with = (model, data, parts.clone());
            let mut session = match checkpoint {
                None => Session::new(&config, run, stop, origin, start_with)?,
                Some(checkpoint) => {
                    Session::resume(&config, run, stop, origin, checkpoint, start_with)?
                }
            };
            // Nothing was changed before it was sure that the run goes on.
            run.remove_results()?;
            if file.is_some_and(|file| file != LAST_CHECKPOINT) {
                // The first save would put a damaged file in the place of the only whole one.
                run.remove(LAST_CHECKPOINT)?;
            }
            run.write(CONFIG, config.to_toml().as_bytes())?;
            environment.record(run, step)?;
            progress.started(&plan);
            stop.answer_by_saving();
            let ended = session.run(progress)?;
            let evaluation = match ended.reason.exit_code() {
                0 if execution.evaluates => {
                    let model = session.into_best()?;
                    Some(conclude(&config, &model, &ended, &mut source, &parts, run)?)
                }
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
            isa: self.engine.clone(),
        }
    }

    fn origin(&self) -> Origin {
        let data = self.source.fingerprint();
        Origin {
            toile: env!("CARGO_PKG_VERSION").to_owned(),
            bits_version: BITS_VERSION,
            arithmetic: self.arithmetic.to_owned(),
            config: self.config.clone(),
            data: data.iter().map(|(&name, hash)| (name.to_owned(), hash.clone())).collect(),
        }
    }

    fn environment(&self) -> Environment {
        Environment::gather(&self.engine, self.execution.threads, describe(&self.source))
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
