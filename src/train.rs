//! A training run from its settings to its results: the one call behind the `train` program.

mod saved;
mod session;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use toile_kernels::threads::Workers;
use toile_kernels::{Device, Isa};

use crate::checkpoint::{Architecture, Model};
use crate::data::{self, Source, Split};
use crate::error::{Error, Result};
use crate::evaluate::{evaluate_split, resident};
use crate::metrics::Evaluation;
use crate::models;
use crate::progress::{Plan, Progress};
use crate::recipe::Config;
use crate::run_folder::{
    CONFIG, ENVIRONMENT, EVALUATION, Environment, PREDICTIONS, REPORT_TEXT, RunFolder,
};
use session::{Parts, Session};

pub use crate::progress::{StopReason, Summary};

/// The most numbers that one result of a training batch has: 1 GiB. About ten such results are
/// alive at once.
const MOST_NUMBERS: usize = 1 << 28;

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
    /// Worker threads, 1 to 64.
    pub threads: usize,
    /// What computes.
    pub device: Device,
}

/// Trains as `options` say, writes the run folder and reports to `progress`.
///
/// # Errors
/// Every [`Error`]; the run folder keeps what was done until then.
pub fn train(options: &TrainOptions, progress: &mut Progress) -> Result<Summary> {
    let isa = Isa::from_environment().map_err(Error::Input)?;
    let mut config = options.config.clone();
    config.check()?;
    // The settings must mean the same data when they are used from another folder.
    let is_name = data::known_names().any(|name| config.data.as_os_str() == name);
    if !is_name && config.data.is_dir() {
        config.data = std::path::absolute(&config.data).map_err(|fault| {
            Error::Storage(format!("cannot resolve {}: {fault}", config.data.display()))
        })?;
    }
    let mut source = Source::obtain(&config.data, progress)?;
    let (rows, columns) = source.image_size();
    let architecture =
        Architecture { network: models::REFERENCE.to_owned(), input: [rows, columns, 1] };
    let parts = Parts::of(&config, source.train_count())?;
    let workers = Workers::new(options.threads).map_err(Error::Failure)?;
    let classes = source.class_names().to_vec();
    let model = Model::new(architecture, classes, options.device, config.seed)?;
    check_memory(&config, &model)?;
    let data = resident(&source.load_train()?, options.device);

    let name = options.name.as_deref();
    let run =
        RunFolder::create(&options.out, &config.data, &config.recipe, name, options.overwrite)?;
    run.write(CONFIG, config.to_toml().as_bytes())?;
    write_environment(&run, isa, options.threads, &source)?;
    progress.started(&Plan {
        run: run.path().to_owned(),
        recipe: config.recipe.clone(),
        seed: config.seed,
        epochs: parts.epochs(&config),
        train_images: parts.training as u64,
        validation_images: parts.validation.len() as u64,
        classes: model.classes.clone(),
        parameters: model.network.summary().parameters(),
        network: model.network.summary().to_string(),
        threads: options.threads,
        isa: isa.name().to_owned(),
    });
    let start = Instant::now();
    let summary = workers.run(|| {
        let mut session = Session::new(&config, &run, model, data, parts)?;
        let ended = session.run(progress)?;
        let test = source.load_test()?;
        let evaluation = conclude(&session.into_best()?, &test, &run)?;
        write_environment(&run, isa, options.threads, &source)?;
        Ok(Summary {
            run: run.path().to_owned(),
            reason: ended.reason,
            epochs: ended.epochs,
            steps: ended.steps,
            best_epoch: ended.best_epoch,
            seconds: start.elapsed().as_secs_f64(),
            evaluation: Some(evaluation),
        })
    })?;
    progress.ended(&summary)?;
    Ok(summary)
}

/// Evaluates the model that counts on the test images and writes the results.
fn conclude(model: &Model, test: &Split, run: &RunFolder) -> Result<Evaluation> {
    let (predictions, evaluation) = evaluate_split(model, test)?;
    let json = serde_json::to_vec_pretty(&evaluation).expect("plain values");
    run.write(PREDICTIONS, predictions.to_csv().as_bytes())?;
    run.write(REPORT_TEXT, evaluation.report().to_string().as_bytes())?;
    run.write(EVALUATION, &json)?;
    Ok(evaluation)
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

fn write_environment(run: &RunFolder, isa: Isa, threads: usize, source: &Source) -> Result<()> {
    let fingerprint = serde_json::to_value(source.fingerprint()).expect("plain text");
    let data = serde_json::json!({
        "name": source.name(),
        "directory": source.directory().display().to_string(),
        "sha256": fingerprint,
    });
    let environment = Environment::gather(isa.name(), threads, data);
    let environment = serde_json::to_vec_pretty(&environment).expect("plain values");
    run.write(ENVIRONMENT, &environment)
}
