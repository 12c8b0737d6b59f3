//! Trains a network: flags in, a run folder out.

mod common;
#[path = "common/training.rs"]
mod training;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueHint};
use clap_complete::Shell;
use toile::error::Result;
use toile::progress::{Progress, Style};
use toile::recipe::Overrides;
use toile::recipe::limits::{self, Real};
use toile::train::{Execution, ResumeOptions, TrainOptions, resume, train};
use training::{Settings, size, whole};

const EXAMPLES: &str = "\
Settings come from the recipe, then --config, then flags; the later wins. The run folder's
config.toml holds the result and can be given to --config.

Examples, where train stands for: cargo run --release --bin train --
  train                                   the recipe `standard` on Fashion-MNIST
  train --data photos/idx --name photos   your own IDX files, into runs/photos/
  train --epochs 2                        a first look, in half a minute
  train --config runs/latest/config.toml  the same experiment again
  train --data DIR --init runs/latest --freeze dense2
                                          teach a trained model other classes
  train --resume runs/latest              go on with a run that was stopped
  train --json > run.jsonl                one JSON object a line, for programs";

/// Train an image classifier and write its weights, history and report to a run folder, `runs/<data>-<recipe>-NNN/` unless --out and --name say otherwise.
#[derive(Debug, Parser)]
#[command(name = "train", version, allow_negative_numbers = true, after_help = common::after_help(EXAMPLES, true, &training::EXIT_CODES))]
struct Flags {
    #[command(flatten)]
    settings: Settings,

    /// Images per optimizer step, 1 to 65536 [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = whole(limits::BATCH_SIZE))]
    batch_size: Option<u64>,

    /// The highest learning rate, above 0 [default: the recipe's]
    #[arg(long, value_name = "RATE", value_parser = real(limits::LEARNING_RATE))]
    lr: Option<f64>,

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

    /// Save a checkpoint every N optimizer steps too [always: each epoch, and every 60 seconds]
    #[arg(long, value_name = "N", value_parser = whole(limits::SAVE_EVERY))]
    save_every: Option<u64>,

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

fn real(limit: Real) -> impl Fn(&str) -> std::result::Result<f64, String> + Clone {
    move |text| limit.parse(text)
}

impl Flags {
    fn overrides(&self) -> Overrides {
        Overrides {
            batch_size: size(self.batch_size),
            learning_rate: self.lr,
            init: self.init.clone(),
            freeze: self.freeze.clone(),
            max_steps: self.max_steps,
            save_every: self.save_every,
            ..self.settings.overrides()
        }
    }

    fn train_options(&self, execution: Execution) -> Result<TrainOptions> {
        Ok(TrainOptions {
            config: self.settings.config(&self.overrides())?,
            out: training::out(self.out.as_deref()),
            name: self.name.clone(),
            overwrite: self.overwrite,
            execution,
        })
    }

    fn resume_options(&self, run: &Path, execution: Execution) -> ResumeOptions {
        ResumeOptions {
            run: run.to_owned(),
            epochs: size(self.settings.epochs),
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
    let execution = flags.settings.execution(&mut progress)?;
    let summary = match &flags.resume {
        Some(run) => resume(&flags.resume_options(run, execution), &mut progress)?,
        None => train(&flags.train_options(execution)?, &mut progress)?,
    };
    Ok(summary.reason.exit_code())
}
