//! A trained model's worth on the test images: the one call behind the `evaluate` program.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::metrics::Evaluation;
use crate::progress::Progress;
use crate::run_folder::ModelLocation;
use crate::train::Device;

/// An evaluation to be made.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// A run folder, a link to one, or a file of weights.
    pub model: PathBuf,
    /// The data set; without one, that of the model's run.
    pub data: Option<PathBuf>,
    /// Worker threads, 1 to 64.
    pub threads: usize,
    /// What computes.
    pub device: Device,
}

/// Evaluates a model on the test images.
///
/// # Errors
/// [`Error::Input`] if the model or the data cannot be used, [`Error::Failure`] if the data
/// cannot be obtained, [`Error::Device`] if the device cannot be used.
pub fn evaluate(options: &EvaluateOptions, _progress: &mut Progress) -> Result<Evaluation> {
    options.device.check()?;
    ModelLocation::find(&options.model)?;
    Err(Error::Failure("evaluation is not built yet".into()))
}
