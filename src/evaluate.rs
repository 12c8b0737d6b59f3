//! A trained model's worth on the test images: the one call behind the `evaluate` program.

use std::ops::Range;
use std::path::PathBuf;

use toile_kernels::geometry::SUMMARY_LEN;
use toile_kernels::threads::Workers;
use toile_kernels::{Buffer, Device, Isa};

use crate::checkpoint::Model;
use crate::data::{Source, Split};
use crate::error::{Error, Result};
use crate::memory;
use crate::metrics::{Evaluation, Predictions};
use crate::ops::gather::Resident;
use crate::progress::Progress;
use crate::recipe::{DEFAULT_DATA, Overrides};
use crate::run_folder::{CONFIG, ModelLocation};
use crate::shape::Shape;

/// Images of one inference batch, where the largest result of so many is not too large.
const BATCH: usize = 500;

/// The most numbers that one result of an inference batch has: 64 MB.
const MOST_NUMBERS: usize = 1 << 24;

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
/// [`Error::Input`] if the model or the data cannot be used or do not fit each other,
/// [`Error::Failure`] if the data cannot be obtained, [`Error::NotFinite`] if the answers are
/// no numbers.
pub fn evaluate(options: &EvaluateOptions, progress: &mut Progress) -> Result<Evaluation> {
    Isa::from_environment().map_err(Error::Input)?;
    let location = ModelLocation::find(&options.model)?;
    let model = Model::find(&location, options.device)?;
    let data = match (&options.data, &location.run) {
        (Some(data), _) => data.clone(),
        (None, Some(run)) => {
            Overrides::load(&run.join(CONFIG))?.data.unwrap_or_else(|| DEFAULT_DATA.into())
        }
        (None, None) => DEFAULT_DATA.into(),
    };
    let mut source = Source::obtain(&data, progress)?;
    check_fit(&model, &source, &location.weights)?;
    let (rows, columns) = source.image_size();
    // While images are brought to the device, there are two copies.
    let bytes = 2 * (source.test_count() * rows * columns) as u64;
    memory::require(bytes, "take a smaller test file")?;
    progress.note(&format!("{} on {}", location.weights.display(), source.directory().display()));
    let workers = Workers::new(options.threads).map_err(Error::Failure)?;
    let test = source.load_test()?;
    Ok(workers.run(|| evaluate_split(&model, &test))?.1)
}

/// Checks that a model can answer for a data set.
fn check_fit(model: &Model, source: &Source, weights: &std::path::Path) -> Result<()> {
    let (rows, columns) = source.image_size();
    let [height, width, channels] = model.architecture.input;
    if [height, width, channels] != [rows, columns, 1] {
        return Err(Error::Input(format!(
            "{} takes images of {height} by {width} pixels and {channels} channels, those of {} \
             have {rows} by {columns} and 1: choose the data set that the model was trained on",
            weights.display(),
            source.directory().display()
        )));
    }
    if model.classes.len() != source.class_names().len() {
        return Err(Error::Input(format!(
            "{} knows {} classes, {} has {}: choose the data set that the model was trained on",
            weights.display(),
            model.classes.len(),
            source.directory().display(),
            source.class_names().len()
        )));
    }
    Ok(())
}

/// The answers to a test part and what they are worth.
///
/// # Errors
/// [`Error::NotFinite`] if the model's answers are no numbers.
pub(crate) fn evaluate_split(model: &Model, test: &Split) -> Result<(Predictions, Evaluation)> {
    let data = resident(test, model.network.device());
    let answers = answer(model, &data, 0..test.labels.len(), |_| true);
    let answers = answers.expect("nothing stops it");
    let predictions = Predictions::new(&test.labels, &answers.probabilities, model.classes.len());
    let evaluation = Evaluation::new(
        &predictions,
        &answers.losses,
        &model.classes,
        model.network.summary().parameters(),
        model.weights_sha256(),
    );
    if !evaluation.loss.is_finite() {
        return Err(Error::NotFinite(
            "the model's loss on the test images is not finite: its weights are of no use".into(),
        ));
    }
    Ok((predictions, evaluation))
}

/// Brings images and labels to the device as bytes.
pub(crate) fn resident(part: &Split, device: Device) -> Resident {
    Resident {
        pixels: Buffer::from_slice(device, &part.images.pixels),
        labels: Buffer::from_slice(device, &part.labels),
        image: Shape::new(&[part.images.rows, part.images.columns, 1]),
    }
}

/// A model's answers to labelled images, in their order.
#[derive(Default)]
pub(crate) struct Answers {
    /// `[images, classes]`
    pub probabilities: Vec<f32>,
    /// The cross-entropy of each image, in nats.
    pub losses: Vec<f32>,
    /// Images whose first largest logit is their label's.
    pub hits: usize,
}

/// Runs images `range` of `data` through the model. `go_on` hears how many are finished; where it
/// says no, there is no answer.
pub(crate) fn answer(
    model: &Model,
    data: &Resident,
    range: Range<usize>,
    mut go_on: impl FnMut(usize) -> bool,
) -> Option<Answers> {
    let device = data.pixels.device();
    let mut answers = Answers::default();
    let mut summary = Buffer::zeros(device, SUMMARY_LEN);
    let network = model.network.inference();
    let batch = (MOST_NUMBERS / model.network.summary().largest_result()).clamp(1, BATCH);
    for start in range.clone().step_by(batch) {
        let end = (start + batch).min(range.end);
        let order: Vec<u32> = (start as u32..end as u32).collect();
        let (x, labels) = data.batch(&Buffer::from_slice(device, &order), model.normalization);
        let loss = network.forward(&x).cross_entropy(&labels, &mut summary);
        answers.probabilities.extend(loss.probabilities.to_vec::<f32>());
        answers.losses.extend(loss.each.to_vec::<f32>());
        answers.hits += summary.to_vec::<f32>()[1] as usize;
        if !go_on(end - range.start) {
            return None;
        }
    }
    Some(answers)
}
