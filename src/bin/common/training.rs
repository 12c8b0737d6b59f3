//! What the programs that train share: their settings, and how they are computed and stopped.

use std::io;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueHint};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use toile::error::{Error, Result};
use toile::progress::Progress;
use toile::recipe::limits::{self, Whole};
use toile::recipe::{Config, Overrides, RECIPES};
use toile::train::{Execution, Stop, StopReason};

use crate::common;

/// Where run folders lie if nothing else is said.
const DEFAULT_OUT: &str = "runs";

/// The exit codes that only programs that train end by.
pub const EXIT_CODES: [(u8, &str); 3] = [
    (3, "run folder in use by another process"),
    (130, "interrupted; the run is saved unless it was interrupted twice"),
    (143, "terminated; likewise"),
];

// A doc comment here would be taken for the program's.
#[derive(Debug, Args)]
pub struct Settings {
    /// fashion-mnist (found on this machine or fetched, see data/README.md), or a folder with the
    /// four IDX files, plain or gzipped [default: fashion-mnist]
    #[arg(long, value_name = "NAME|DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,

    /// The named settings to start from [default: standard]
    #[arg(long, value_name = "NAME", value_parser = recipe_names())]
    pub recipe: Option<String>,

    /// A TOML file of settings, such as a run's config.toml; wins over the recipe
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The most passes over the training images, 1 to 100000 [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = whole(limits::EPOCHS))]
    pub epochs: Option<u64>,

    /// Decides all random numbers, such as initial weights and the order of images; the same seed
    /// gives the same weights, bit for bit, on any number of threads [default: 42]
    #[arg(long, value_name = "N", value_parser = whole(limits::SEED))]
    pub seed: Option<u64>,

    /// Images at the end of the training file that are held back for validation [default: the
    /// recipe's, 5000 of reference]
    #[arg(long, value_name = "N", value_parser = whole(limits::VAL_SIZE))]
    pub val_size: Option<u64>,

    /// Train on the first N images only; the validation images stay the same [default: all]
    #[arg(long, value_name = "N", value_parser = whole(limits::LIMIT))]
    pub limit: Option<u64>,

    /// Worker threads, up to 64 [default: RAYON_NUM_THREADS, else one for each processor]
    #[arg(long, value_name = "N", value_parser = common::parse_threads)]
    pub threads: Option<u64>,

    /// What computes
    #[arg(long, default_value = "cpu")]
    pub device: common::DeviceFlag,
}

impl Settings {
    /// The settings that flags give.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            recipe: self.recipe.clone(),
            data: self.data.clone(),
            epochs: size(self.epochs),
            seed: self.seed,
            val_size: size(self.val_size),
            limit: size(self.limit),
            ..Overrides::default()
        }
    }

    /// The settings of recipe, config file and these flags.
    ///
    /// # Errors
    /// [`Error::Input`] if the config file or a value is not valid.
    pub fn config(&self, flags: &Overrides) -> Result<Config> {
        let file = self.config.as_deref().map(Overrides::load).transpose()?;
        Config::resolve(&file.unwrap_or_default(), flags)
    }

    /// Threads, device and the answer to signals.
    ///
    /// # Errors
    /// [`Error::Device`] if this build lacks the device; [`Error::Failure`] if the system refuses
    /// a handler.
    pub fn execution(&self, progress: &mut Progress) -> Result<Execution> {
        let (threads, notice) = common::threads(self.threads);
        if let Some(notice) = notice {
            progress.note(&notice);
        }
        let (device, stop) = (self.device.resolve()?, stop_on_signals()?);
        Ok(Execution { threads, device, stop, evaluates: true })
    }
}

/// The folder that run folders lie in.
pub fn out(flag: Option<&Path>) -> PathBuf {
    flag.unwrap_or(Path::new(DEFAULT_OUT)).to_owned()
}

pub fn whole(limit: Whole) -> impl Fn(&str) -> std::result::Result<u64, String> + Clone {
    move |text| limit.parse(text)
}

fn recipe_names() -> PossibleValuesParser {
    let value =
        |recipe: &toile::recipe::Recipe| PossibleValue::new(recipe.name).help(recipe.summary);
    PossibleValuesParser::new(RECIPES.iter().map(value))
}

/// A number of things in memory.
pub fn size(value: Option<u64>) -> Option<usize> {
    value.map(|value| usize::try_from(value).expect("the limits fit any address space"))
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
