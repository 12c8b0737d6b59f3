//! Tells what a trained model sees in image files.

mod common;

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use clap_complete::Shell;
use toile::error::{Error, Result};
use toile::predict::{Background, PredictOptions, Prediction, predict, prediction_text};
use toile::progress::{Progress, Style};

const EXAMPLES: &str = "\
An image becomes what the model was trained on: grey, bright on black, cut to the object, its
longer side as long as the input, sharpened if that made it smaller, centred. The end of an
answer says what was done; an image that is grey and of the input's size already is at most
inverted. Of an animation the first frame counts.

Examples, where predict stands for: cargo run --release --bin predict --
  predict boot.png                          the newest run under runs/ answers
  predict photos/ shirt.jpg                 the image files of a folder, and one more
  predict --background light coat.jpg       where the object was inverted wrongly
  predict --model runs/fashion-mnist-reference-003 --top-k 10 boot.png
  predict --json photos/                    for scripts: one JSON object a line";

/// Tell what image files show: the likeliest classes, how sure the model is, and what was done
/// to the image.
#[derive(Debug, Parser)]
#[command(name = "predict", version, after_help = common::after_help(EXAMPLES, false, &[]))]
struct Flags {
    /// Image files (PNG, JPEG, GIF, BMP, WebP, TIFF, PNM), or folders: their image files,
    /// sorted by name, without those of folders inside
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,

    /// A run folder, or a file of weights
    #[arg(long, value_name = "RUN|MODEL", default_value = "runs/latest")]
    model: PathBuf,

    /// How many classes to name
    #[arg(long, value_name = "K", default_value = "3", allow_negative_numbers = true, value_parser = parse_top)]
    top_k: usize,

    /// What stands behind the object; a light background is inverted
    #[arg(long, default_value = "auto")]
    background: BackgroundFlag,

    /// Worker threads, up to 64 [default: RAYON_NUM_THREADS, else one for each processor]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = common::parse_threads)]
    threads: Option<u64>,

    /// What computes
    #[arg(long, default_value = "cpu")]
    device: common::DeviceFlag,

    /// Write one JSON object a line to stdout: file, label, confidence, top, milliseconds
    #[arg(long)]
    json: bool,

    /// Write completions for a shell to stdout, and do nothing else
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<Shell>,
}

/// What stands behind the object.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackgroundFlag {
    /// Decided for each image
    Auto,
    /// Dark, as in the data set
    Dark,
    /// Light, as in most product photos
    Light,
}

fn parse_top(text: &str) -> std::result::Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number >= 1);
    number.ok_or_else(|| "must be a whole number, 1 or more".to_owned())
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    common::exit::<Flags>(flags.completions, || run(&flags))
}

fn run(flags: &Flags) -> Result<u8> {
    let (threads, notice) = common::threads(flags.threads);
    if let Some(notice) = notice {
        Progress::new(Style::detect(flags.json, false)).note(&notice);
    }
    let options = PredictOptions {
        images: flags.images.clone(),
        model: flags.model.clone(),
        top: flags.top_k,
        background: match flags.background {
            BackgroundFlag::Auto => Background::Auto,
            BackgroundFlag::Dark => Background::Dark,
            BackgroundFlag::Light => Background::Light,
        },
        threads,
        device: flags.device.resolve()?,
    };
    let mut code = 0;
    let tell = |answer: Result<Prediction>| match answer {
        Ok(prediction) if flags.json => write_line(&prediction.json()),
        Ok(prediction) => write_line(&prediction_text(&prediction)),
        Err(fault) => {
            common::tell_error(&fault.to_string());
            code = code.max(fault.exit_code());
            Ok(ControlFlow::Continue(()))
        }
    };
    predict(&options, tell)?;
    Ok(code)
}

/// Writes a result; where nobody reads any more, there is no reason to go on.
fn write_line(text: &str) -> Result<ControlFlow<()>> {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(fault) => Err(Error::Storage(format!("cannot write to standard output: {fault}"))),
    }
}
