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
use crate::memory;
use crate::metrics::Evaluation;
use crate::models;
use crate::nn::Summary as NetworkSummary;
use crate::progress::{Plan, Progress};
use crate::recipe::Config;
use crate::run_folder::{
    CONFIG, ENVIRONMENT, EVALUATION, Environment, PREDICTIONS, REPORT_TEXT, RunFolder,
};
use crate::shape::Shape;
use session::{Parts, Session};

pub use crate::progress::{StopReason, Summary};

/// The most numbers that one result of a training batch has: 1 GiB.
const MOST_NUMBERS: usize = 1 << 28;

/// About so many results as large as the largest are alive at once in a step, as measured.
const RESULTS_ALIVE: usize = 10;

/// About so many copies of the weights are alive at once: gradients, moments, the best epoch's,
/// and those on their way to checkpoints, as measured.
const COPIES_OF_WEIGHTS: usize = 16;

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
    let mut source = Source::locate(&config.data)?;
    let (rows, columns) = source.image_size();
    let architecture =
        Architecture { network: models::REFERENCE.to_owned(), input: [rows, columns, 1] };
    let parts = Parts::of(&config, source.train_count())?;
    check_batch(&config, &parts)?;
    check_memory(&config, &parts, &source, &architecture)?;
    let workers = Workers::new(options.threads).map_err(Error::Failure)?;
    let classes = source.class_names().to_vec();
    let model = Model::new(architecture, classes, options.device, config.seed)?;
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

/// Refuses batches that the training part cannot fill. A `limit` below the batch size is meant:
/// its images are then one batch.
fn check_batch(config: &Config, parts: &Parts) -> Result<()> {
    let most = parts.validation.start;
    if config.batch_size > most {
        return Err(Error::Input(format!(
            "--batch-size: {most} images are left to train on beside {} for validation, so \
             expected at most {most}, found {}; choose a smaller one",
            parts.validation.len(),
            config.batch_size
        )));
    }
    Ok(())
}

/// Refuses images that the network does not take, batches whose results would not fit a common
/// machine's memory, and runs that would not fit this one's.
fn check_memory(
    config: &Config,
    parts: &Parts,
    source: &Source,
    architecture: &Architecture,
) -> Result<()> {
    let [rows, columns, _] = architecture.input;
    let classes = source.class_names().len();
    let layers =
        models::layers(&architecture.network, architecture.input, classes).map_err(|fault| {
            let directory = source.directory().display();
            Error::Input(format!("{directory}: {fault}; scale the images, or take others"))
        })?;
    let summary = NetworkSummary::of(&layers, Shape::new(&architecture.input));
    let batch = config.batch_size.min(parts.training);
    let largest = summary.largest_result();
    if batch.saturating_mul(largest) > MOST_NUMBERS {
        return Err(Error::Input(format!(
            "--batch-size: for images of {rows} by {columns} pixels, expected at most {}, found \
             {batch}; choose a smaller one",
            MOST_NUMBERS / largest,
        )));
    }
    let numbers = RESULTS_ALIVE * batch * largest + COPIES_OF_WEIGHTS * summary.parameters();
    let images = source.train_count() + source.test_count();
    // While images are brought to the device, there are two copies.
    let bytes = 4 * numbers as u64 + 2 * (images * rows * columns) as u64;
    memory::require(bytes, "choose a smaller --batch-size, or fewer or smaller images")
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
