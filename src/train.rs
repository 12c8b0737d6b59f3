//! A training run from its settings to its results: the one call behind the `train` program.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::recipe::{Config, DEFAULT_DATA};
use crate::run_folder::{CONFIG, ENVIRONMENT, Environment, RunFolder};

pub use crate::progress::{StopReason, Summary};

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A graphics processor.
    Gpu,
}

impl Device {
    /// Refuses a device that this build cannot use.
    ///
    /// # Errors
    /// [`Error::Device`] for [`Device::Gpu`].
    pub fn check(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Gpu => {
                Err(Error::Device("toile was built without GPU support; use --device cpu".into()))
            }
        }
    }
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
    /// Worker threads, 1 to 64.
    pub threads: usize,
    /// What computes.
    pub device: Device,
}

/// Trains as `options` say, writes the run folder and reports to `progress`.
///
/// # Errors
/// Every [`Error`]; the run folder keeps what was done until then.
pub fn train(options: &TrainOptions, _progress: &mut Progress) -> Result<Summary> {
    options.device.check()?;
    let mut config = options.config.clone();
    config.check()?;
    // The settings must mean the same data when they are used from another folder.
    if config.data.as_os_str() != DEFAULT_DATA && config.data.is_dir() {
        config.data = std::path::absolute(&config.data).map_err(|fault| {
            Error::Storage(format!("cannot resolve {}: {fault}", config.data.display()))
        })?;
    }
    let name = options.name.as_deref();
    let run =
        RunFolder::create(&options.out, &config.data, &config.recipe, name, options.overwrite)?;
    run.write(CONFIG, config.to_toml().as_bytes())?;
    let environment = Environment::gather("unknown", options.threads, Value::Null);
    let environment = serde_json::to_vec_pretty(&environment).expect("plain values");
    run.write(ENVIRONMENT, &environment)?;
    Err(Error::Failure("training is not built yet".into()))
}
