//! Whether a run fits: its data into its batches, and all of it into memory. What does not is
//! refused before anything large is allocated.

use super::parts::Parts;
use crate::checkpoint::Architecture;
use crate::data::Source;
use crate::error::{Error, Result};
use crate::memory;
use crate::models;
use crate::nn::Summary;
use crate::recipe::Config;
use crate::shape::Shape;

/// The most numbers that one result of a training batch has: 1 GiB.
const MOST_NUMBERS: usize = 1 << 28;

/// About so many results as large as the largest are alive at once in a step, as measured.
const RESULTS_ALIVE: usize = 10;

/// About so many copies of the weights are alive at once: gradients, moments, the best epoch's,
/// and those on their way to checkpoints, as measured.
const COPIES_OF_WEIGHTS: usize = 16;

/// Refuses batches that the training part cannot fill. A `limit` below the batch size is meant:
/// its images are then one batch.
pub(super) fn check_batch(config: &Config, parts: &Parts) -> Result<()> {
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
pub(super) fn check_memory(
    config: &Config,
    parts: &Parts,
    source: &Source,
    architecture: &Architecture,
) -> Result<()> {
    let [rows, columns, _] = architecture.input;
    let classes = source.class_names().len();
    let layers = models::layers(&architecture.network, architecture.input, classes, config.dropout)
        .map_err(|fault| {
            let directory = source.directory().display();
            Error::Input(format!("{directory}: {fault}; scale the images, or take others"))
        })?;
    let summary = Summary::of(&layers, Shape::new(&architecture.input));
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
