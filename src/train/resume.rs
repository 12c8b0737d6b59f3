//! Going on with a run that was stopped, and what must not have changed since.

use std::path::PathBuf;

use toile_kernels::{BITS_VERSION, Device};

use super::saved::Checkpoint;
use super::{Execution, Setup, StopReason, Summary};
use crate::checkpoint::Model;
use crate::error::{Error, Result};
use crate::files::{MAX_RESULT_BYTES, read_regular};
use crate::progress::Progress;
use crate::recipe::{Config, Overrides};
use crate::run_folder::{CONFIG, EVALUATION, ModelLocation, RunFolder, read_history};

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
    if let Some((checkpoint, _)) = &checkpoint {
        check_origin(checkpoint, &config, &run, options.execution.device)?;
        warn_of_stretching(checkpoint, &config, progress);
        if let Some(summary) = finished(checkpoint, &config, &run, options.execution.evaluates) {
            progress.note(&finished_text(summary.reason, &config));
            progress.ended(&summary)?;
            return Ok(summary);
        }
    }
    let mut setup = Setup::of(config, &options.execution, progress)?;
    match &checkpoint {
        Some((checkpoint, _)) => check_data(checkpoint, &setup, &run)?,
        None => setup.begin(progress)?,
    }
    setup.complete(&run, checkpoint, progress)
}

/// What is said of a run that has nothing left to do, and how it could have.
fn finished_text(reason: StopReason, config: &Config) -> String {
    let why = match (reason, config.max_steps) {
        (StopReason::StepLimit, Some(limit)) => {
            format!("it ended at --max-steps {limit}; give a greater one to train on")
        }
        (StopReason::EarlyStopping, _) => {
            "its validation loss had stopped improving, so that no greater limit goes on with it"
                .into()
        }
        _ => format!("it ended at --epochs {}; give a greater one to train on", config.epochs),
    };
    format!("this run has finished and nothing is left to do: {why}")
}

/// The summary of a run that has nothing left to do, its evaluation included if it has one.
fn finished(
    checkpoint: &Checkpoint,
    config: &Config,
    run: &RunFolder,
    evaluates: bool,
) -> Option<Summary> {
    let mut state = checkpoint.state.clone();
    let reason = state.limit_reached(config)?;
    let cut_short = state.running.steps > 0;
    if cut_short {
        // The limit lies inside an epoch. The checkpoint, which can go on with that, was saved before
        // it was validated; its row says what came of that, if the run got so far.
        let rows = read_history(run).ok()?;
        let row = rows.iter().find(|row| row.epoch == state.epoch)?;
        state.early_stopping.observe(row.val_loss);
    }
    let evaluation = run.file(EVALUATION);
    // What is no evaluation is written again.
    let evaluation = read_regular(&evaluation, MAX_RESULT_BYTES).ok();
    let evaluation = evaluation.and_then(|text| serde_json::from_slice(&text).ok());
    // Nor is one that speaks of other weights than are there.
    let weights = || Model::find(&ModelLocation::find(run.path()).ok()?, Device::Cpu).ok();
    if evaluates && (evaluation.is_none() || weights().is_none()) {
        return None;
    }
    Some(Summary {
        run: run.path().to_owned(),
        reason,
        epochs: state.epoch - 1 + u64::from(cut_short),
        steps: state.step,
        best_epoch: state.best_epoch(config),
        seconds: 0.0,
        evaluation,
    })
}

/// The arithmetic of graphics cards, as [`Device::arithmetic`] calls it.
const GPU: &str = "gpu";

/// Checks that settings and build are those of the checkpoint.
fn check_origin(
    checkpoint: &Checkpoint,
    config: &Config,
    run: &RunFolder,
    device: Device,
) -> Result<()> {
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
    let arithmetic = device.arithmetic().map_err(Error::Input)?;
    // Who moves a run to a graphics card, or from one, wants that device and not the same bits.
    let moves = [arithmetic, &origin.arithmetic].contains(&GPU);
    let ours = (BITS_VERSION, arithmetic);
    if !moves && (origin.bits_version, origin.arithmetic.as_str()) != ours {
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

/// Says so if other epochs than the run was begun with change how its learning rate goes on.
fn warn_of_stretching(checkpoint: &Checkpoint, config: &Config, progress: &mut Progress) {
    let begun = &checkpoint.origin.config;
    if config.schedule.depends_on_length() && config.epochs != begun.epochs {
        progress.warn(&format!(
            "the learning rate of this run was to go through {} epochs and goes on as if it had \
             gone through {} from the start; a new run gives better weights",
            begun.epochs, config.epochs
        ));
    }
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
