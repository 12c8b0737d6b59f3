//! Trains a network: flags in, a run folder out.

mod common;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Parser, ValueHint};
use clap_complete::Shell;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use toile::error::{Error, Result};
use toile::progress::{Progress, Style};
use toile::recipe::limits::{self, Real, Whole};
use toile::recipe::{Config, Overrides, RECIPES};
use toile::train::{Execution, ResumeOptions, Stop, StopReason, TrainOptions, resume, train};

/// Where run folders lie if nothing else is said.
const DEFAULT_OUT: &str = "runs";

/// The exit codes that only this program ends by.
const OWN_EXIT_CODES: [(u8, &str); 3] = [
    (3, "run folder in use by another process"),
    (130, "interrupted; the run is saved unless it was interrupted twice"),
    (143, "terminated; likewise"),
];

const EXAMPLES: &str = "\
Settings come from the recipe, then --config, then flags; the later wins. The run folder's
config.toml holds the result and can be given to --config.

Examples, where train stands for: cargo run --release --bin train --
  train                                   the reference run on Fashion-MNIST
  train --data photos/idx --name photos   your own IDX files, into runs/photos/
  train --epochs 2                        a quick look, in a minute
  train --config runs/latest/config.toml  the same experiment again
  train --data DIR --init runs/latest --freeze dense2
                                          teach a trained model other classes
  train --resume runs/latest              go on with a run that was stopped
  train --json > run.jsonl                one JSON object a line, for programs";

/// Train an image classifier and write its weights, history and report to a run folder, `runs/<data>-<recipe>-NNN/` unless --out and --name say otherwise.
#[derive(Debug, Parser)]
#[command(name = "train", version, allow_negative_numbers = true, after_help = common::after_help(EXAMPLES, true, &OWN_EXIT_CODES))]
struct Flags {
    /// fashion-mnist (found on this machine or fetched, see data/README.md), or a folder with the
    /// four IDX files, plain or gzipped [default: fashion-mnist]
    #[arg(long, value_name = "NAME|DIR", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,

    /// The named settings to start from [default: reference]
    #[arg(long, value_name = "NAME", value_parser = recipe_names())]
    recipe: Option<String>,

    /// A TOML file of settings, such as a run's config.toml; wins over the recipe
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The most passes over the training images, 1 to 100000 [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = whole(limits::EPOCHS))]
    epochs: Option<u64>,

    /// Images per optimizer step, 1 to 65536 [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = whole(limits::BATCH_SIZE))]
    batch_size: Option<u64>,

    /// The highest learning rate, above 0 [default: the recipe's]
    #[arg(long, value_name = "RATE", value_parser = real(limits::LEARNING_RATE))]
    lr: Option<f64>,

    /// Decides initial weights, order and changes of images, and dropout; the same seed gives the same
    /// weights, bit for bit, on any number of threads [default: 42]
    #[arg(long, value_name = "N", value_parser = whole(limits::SEED))]
    seed: Option<u64>,

    /// Images at the end of the training file that are held back for validation [default: 5000]
    #[arg(long, value_name = "N", value_parser = whole(limits::VAL_SIZE))]
    val_size: Option<u64>,

    /// Train on the first N images only; the validation images stay the same [default: all]
    #[arg(long, value_name = "N", value_parser = whole(limits::LIMIT))]
    limit: Option<u64>,

    /// Start from the numbers of a trained model, a run folder or a file; its last layer starts
    /// anew where the classes are others in number
    #[arg(long, value_name = "RUN|FILE", value_hint = ValueHint::AnyPath)]
    init: Option<PathBuf>,

    /// Keep the layers up to this one, such as dense2, as --init has them
    #[arg(long, value_name = "LAYER", requires = "init")]
    freeze: Option<String>,

    /// End the run, as if it had finished, after N optimizer steps in all [default: no limit]
    #[arg(long, value_name = "N", value_parser = whole(limits::MAX_STEPS))]
    max_steps: Option<u64>,

    /// Save a checkpoint every N optimizer steps [default: each epoch, and every 60 seconds]
    #[arg(long, value_name = "N", value_parser = whole(limits::SAVE_EVERY))]
    save_every: Option<u64>,

    /// Worker threads, up to 64 [default: RAYON_NUM_THREADS, else one for each processor]
    #[arg(long, value_name = "N", value_parser = common::parse_threads)]
    threads: Option<u64>,

    /// What computes
    #[arg(long, default_value = "cpu")]
    device: common::DeviceFlag,

    /// The folder that run folders lie in; `latest` in it points to the newest run
    /// [default: runs]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: Option<PathBuf>,

    /// The run folder's name inside --out; without one it is numbered, `<data>-<recipe>-NNN`
    #[arg(long)]
    name: Option<OsString>,

    /// Go on with a stopped run as if it had never stopped, to the same bits; settings come from
    /// its folder. Beside it only --threads, --device, --epochs, --max-steps, --save-every,
    /// --json and -q
    #[arg(long, value_name = "RUN", conflicts_with_all = NOT_WITH_RESUME, value_hint = ValueHint::DirPath)]
    resume: Option<PathBuf>,

    /// Delete the earlier run of the same --name first; a folder that holds anything but a
    /// run is never touched
    #[arg(long, requires = "name")]
    overwrite: bool,

    /// Write one JSON object a line to stdout: start, epoch ..., end
    #[arg(long)]
    json: bool,

    /// Show results and errors only
    #[arg(short, long)]
    quiet: bool,

    /// Write completions for a shell to stdout, and do nothing else
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<Shell>,
}

/// What a resumed run takes from its folder, or has no use for.
const NOT_WITH_RESUME: [&str; 13] = [
    "data",
    "recipe",
    "config",
    "batch_size",
    "lr",
    "seed",
    "val_size",
    "limit",
    "init",
    "freeze",
    "out",
    "name",
    "overwrite",
];

fn whole(limit: Whole) -> impl Fn(&str) -> std::result::Result<u64, String> + Clone {
    move |text| limit.parse(text)
}

fn real(limit: Real) -> impl Fn(&str) -> std::result::Result<f64, String> + Clone {
    move |text| limit.parse(text)
}

fn recipe_names() -> PossibleValuesParser {
    let value =
        |recipe: &toile::recipe::Recipe| PossibleValue::new(recipe.name).help(recipe.summary);
    PossibleValuesParser::new(RECIPES.iter().map(value))
}

/// A number of things in memory.
fn size(value: Option<u64>) -> Option<usize> {
    value.map(|value| usize::try_from(value).expect("the limits fit any address space"))
}

impl Flags {
    fn overrides(&self) -> Overrides {
        Overrides {
            recipe: self.recipe.clone(),
            data: self.data.clone(),
            epochs: size(self.epochs),
            batch_size: size(self.batch_size),
            learning_rate: self.lr,
            seed: self.seed,
            val_size: size(self.val_size),
            limit: size(self.limit),
            init: self.init.clone(),
            freeze: self.freeze.clone(),
            max_steps: self.max_steps,
            save_every: self.save_every,
            ..Overrides::default()
        }
    }

    fn train_options(&self, execution: Execution) -> Result<TrainOptions> {
        let file = match &self.config {
            Some(path) => Overrides::load(path)?,
            None => Overrides::default(),
        };
        Ok(TrainOptions {
            config: Config::resolve(&file, &self.overrides())?,
            out: self.out.clone().unwrap_or_else(|| DEFAULT_OUT.into()),
            name: self.name.clone(),
            overwrite: self.overwrite,
            execution,
        })
    }

    fn resume_options(&self, run: &Path, execution: Execution) -> ResumeOptions {
        ResumeOptions {
            run: run.to_owned(),
            epochs: size(self.epochs),
            max_steps: self.max_steps,
            save_every: self.save_every,
            execution,
        }
    }
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    common::exit::<Flags>(flags.completions, || run(&flags))
}

fn run(flags: &Flags) -> Result<u8> {
    let mut progress = Progress::new(Style::detect(flags.json, flags.quiet));
    let (threads, notice) = common::threads(flags.threads);
    if let Some(notice) = notice {
        progress.note(&notice);
    }
    let execution =
        Execution { threads, device: flags.device.resolve()?, stop: stop_on_signals()? };
    let summary = match &flags.resume {
        Some(run) => resume(&flags.resume_options(run, execution), &mut progress)?,
        None => train(&flags.train_options(execution)?, &mut progress)?,
    };
    Ok(summary.reason.exit_code())
}

/// Lets SIGINT and SIGTERM ask a run to stop; a second signal ends the process at once, and so
/// does the first one while there is nothing to save yet.
///
/// # Errors
/// [`Error::Failure`] if the system refuses a handler.
fn stop_on_signals() -> Result<Stop> {
    let stop = Stop::default();
    let reasons = [
        (SIGINT, Stop::INTERRUPT, StopReason::Interrupted),
        (SIGTERM, Stop::TERMINATE, StopReason::Terminated),
    ];
    let install = || -> io::Result<()> {
        for (signal, request, reason) in reasons {
            // Handlers run in this order: the second signal finds what the first one left.
            let exit_code = i32::from(reason.exit_code());
            flag::register_conditional_shutdown(signal, exit_code, stop.at_once())?;
            flag::register(signal, stop.at_once())?;
            flag::register_usize(signal, stop.requested_flag(), request)?;
        }
        Ok(())
    };
    install().map_err(|fault| Error::Failure(format!("cannot handle signals: {fault}")))?;
    Ok(stop)
}
