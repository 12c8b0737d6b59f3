//! Searches over a recipe's settings: flags in, a config file out.

mod common;
#[path = "common/training.rs"]
mod training;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueHint};
use clap_complete::Shell;
use toile::error::Result;
use toile::progress::{Progress, Style};
use toile::recipe::limits;
use toile::tune::{Outcome, Space, TuneOptions, tune};
use training::{Settings, size, whole};

const EXAMPLES: &str = "\
Trial 0 is the recipe as it stands, the others are random draws. All are trained for few epochs;
one in --eta goes on, and is trained anew, for about --eta times as many, up to --epochs. Trials
are compared by their accuracy on the validation images. The test images stay closed, and the best
of many looks better than it is: train it with several other seeds before it is believed.

A space is a TOML file, with a line for each setting that is searched:
  learning_rate = { from = 1e-3, to = 1e-2, scale = \"log\" }
  dropout.dense = { from = 0.0, to = 0.5 }
  schedule.kind = { choices = [\"cosine\", \"one-cycle\"] }

Examples, where tune stands for: cargo run --release --bin tune --
  tune --recipe quick                     16 trials of the usual settings, in 78 epochs
  tune --recipe quick --space mine.toml --trials 32
                                          more trials, of settings of your own
  tune --recipe quick --name a            the same call again goes on with a stopped search
  train --config runs/tune-001/best.toml --seed 101
                                          train the winner";

/// Search for better settings of a recipe, on the validation images alone, and write them to `best.toml` in the search's folder, `runs/tune-NNN/` unless --out and --name say otherwise.
#[derive(Debug, Parser)]
#[command(name = "tune", version, allow_negative_numbers = true, after_help = common::after_help(EXAMPLES, true, &training::EXIT_CODES))]
struct Flags {
    #[command(flatten)]
    settings: Settings,

    /// A TOML file that says which settings are searched, and where [default: learning rate,
    /// weight decay, label smoothing, dropout, shift and erasing]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    space: Option<PathBuf>,

    /// Settings to try, the recipe as it stands included, 1 to 1000
    #[arg(long, value_name = "N", default_value = "16", value_parser = whole(limits::TRIALS))]
    trials: u64,

    /// One trial in so many goes on to a run of so many times the epochs, 2 to 10
    #[arg(long, value_name = "N", default_value = "3", value_parser = whole(limits::ETA))]
    eta: u64,

    /// The folder that the search's folder lies in [default: runs]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: Option<PathBuf>,

    /// The search's name inside --out; a search of that name and the same settings is gone on
    /// with. Without one it is numbered, `tune-NNN`
    #[arg(long)]
    name: Option<OsString>,

    /// Write one JSON object a line to stdout: trial ..., found
    #[arg(long)]
    json: bool,

    /// Show results and errors only
    #[arg(short, long)]
    quiet: bool,

    /// Write completions for a shell to stdout, and do nothing else
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<Shell>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    common::exit::<Flags>(flags.completions, || run(&flags))
}

fn run(flags: &Flags) -> Result<u8> {
    let mut progress = Progress::new(Style::detect(flags.json, flags.quiet));
    let space = flags.space.as_deref().map(Space::load).transpose()?;
    let number = |value| size(Some(value)).expect("there is one");
    let options = TuneOptions {
        config: flags.settings.config(&flags.settings.overrides())?,
        space: space.unwrap_or_else(Space::usual),
        trials: number(flags.trials),
        eta: number(flags.eta),
        out: training::out(flags.out.as_deref()),
        name: flags.name.clone(),
        execution: flags.settings.execution(&mut progress)?,
    };
    Ok(match tune(&options, &mut progress)? {
        Outcome::Found(_) => 0,
        Outcome::Stopped(reason) => reason.exit_code(),
    })
}
