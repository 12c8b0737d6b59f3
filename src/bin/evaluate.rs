//! Evaluates trained models on the test images.

mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueHint};
use clap_complete::Shell;
use toile::error::Result;
use toile::evaluate::{EvaluateOptions, evaluate};
use toile::progress::{Progress, Style, evaluation_text};
use toile::recipe::limits;

/// The exit code of a model that is not good enough.
const BELOW_DEMAND: u8 = 10;

/// The exit code that only this program ends by.
const OWN_EXIT_CODES: [(u8, &str); 1] = [(BELOW_DEMAND, "accuracy below --fail-under")];

const EXAMPLES: &str = "\
Examples, where evaluate stands for: cargo run --release --bin evaluate --
  evaluate                                  the newest run under runs/
  evaluate runs/fashion-mnist-reference-003 one run
  evaluate runs/a runs/b runs/c             three models, their probabilities averaged
  evaluate runs/a --tta                     each image and its mirror image, averaged
  evaluate runs/a --against runs/b          which is better, and is that more than chance?
  evaluate model.safetensors --data photos  a file of weights on other data
  evaluate --fail-under 0.93 --json         for scripts: exit code 10 below 93 %";

/// Measure trained models on the test images: accuracy with its 95 % interval, loss, calibration
/// error, precision, recall and F1 of each class, and the most frequent mistakes.
#[derive(Debug, Parser)]
#[command(name = "evaluate", version, after_help = common::after_help(EXAMPLES, true, &OWN_EXIT_CODES))]
struct Flags {
    /// A run folder, or a file of weights; of several, which must take the same images and know
    /// the same classes, the probabilities are averaged
    #[arg(value_name = "RUN|MODEL", default_value = "runs/latest", value_hint = ValueHint::AnyPath)]
    models: Vec<PathBuf>,

    /// Compare with another model on the same images: counts of what only one gets right,
    /// difference of accuracy, McNemar's test; given several times, with the mean of those
    #[arg(long, value_name = "RUN|MODEL", value_hint = ValueHint::AnyPath)]
    against: Vec<PathBuf>,

    /// Take the mean of the probabilities of each image and of its mirror image (left-right);
    /// with --against, on both sides
    #[arg(long)]
    tta: bool,

    /// fashion-mnist, or a folder with the four IDX files [default: the data of the first run]
    #[arg(long, value_name = "NAME|DIR", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,

    /// Worker threads, up to 64 [default: RAYON_NUM_THREADS, else one for each processor]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = common::parse_threads)]
    threads: Option<u64>,

    /// What computes
    #[arg(long, default_value = "cpu")]
    device: common::DeviceFlag,

    /// End with exit code 10 if the accuracy is below this, 0 to 1
    #[arg(long, value_name = "ACCURACY", allow_negative_numbers = true, value_parser = |text: &str| limits::FAIL_UNDER.parse(text))]
    fail_under: Option<f64>,

    /// Write the content of evaluation.json to stdout, in one line
    #[arg(long)]
    json: bool,

    /// Write completions for a shell to stdout, and do nothing else
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<Shell>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    common::exit::<Flags>(flags.completions, || run(&flags))
}

fn run(flags: &Flags) -> Result<u8> {
    let mut progress = Progress::new(Style::detect(flags.json, false));
    let (threads, notice) = common::threads(flags.threads);
    if let Some(notice) = notice {
        progress.note(&notice);
    }
    let options = EvaluateOptions {
        models: flags.models.clone(),
        against: flags.against.clone(),
        tta: flags.tta,
        data: flags.data.clone(),
        threads,
        device: flags.device.resolve()?,
    };
    let evaluation = evaluate(&options, &mut progress)?;
    let text = match flags.json {
        true => serde_json::to_string(&evaluation).expect("an evaluation is plain values"),
        false => evaluation_text(&evaluation).trim_end().to_owned(),
    };
    progress.results(&text)?;
    match flags.fail_under {
        Some(least) if evaluation.accuracy < least => {
            let accuracy = evaluation.accuracy;
            common::tell_error(&format!("accuracy {accuracy} is below --fail-under {least}"));
            Ok(BELOW_DEMAND)
        }
        _ => Ok(0),
    }
}
