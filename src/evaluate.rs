//! The worth of trained models on the test images: the one call behind the `evaluate` program.

mod answers;

use std::path::{Path, PathBuf};

use toile_kernels::threads::Workers;
use toile_kernels::{Device, Isa};

use crate::checkpoint::{Model, joint_sha256};
use crate::data::{Source, Split};
use crate::error::{Error, Result, check_device, plain, shortened};
use crate::memory;
use crate::metrics::{Comparison, EvaluatedModel, Evaluation, PairedCounts, Predictions};
use crate::ops::gather::Resident;
use crate::progress::Progress;
use crate::recipe::{DEFAULT_DATA, Overrides};
use crate::run_folder::{CONFIG, ModelLocation};
use answers::Mean;

pub(crate) use answers::{answer, resident};

/// An evaluation to be made.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// Run folders, links to some, or files of weights, at least one; the probabilities of
    /// several are averaged in this order.
    pub models: Vec<PathBuf>,
    /// What these are compared with, in the same way; none for no comparison.
    pub against: Vec<PathBuf>,
    /// Whether each image is answered together with its mirror image, on both sides.
    pub tta: bool,
    /// The data set; without one, that of the first model's run.
    pub data: Option<PathBuf>,
    /// Worker threads, 1 to 64.
    pub threads: usize,
    /// What computes.
    pub device: Device,
}

/// A model, where it was found, and how it was called.
struct Found {
    model: Model,
    location: ModelLocation,
    name: String,
}

impl Found {
    fn new(path: &Path, device: Device) -> Result<Found> {
        let location = ModelLocation::find(path)?;
        let model = Model::find(&location, device)?;
        Ok(Found { model, location, name: plain(&path.display().to_string()) })
    }
}

/// Evaluates models on the test images, together.
///
/// # Errors
/// [`Error::Input`] if a model or the data cannot be used or do not fit each other,
/// [`Error::Failure`] or [`Error::Storage`] if the data cannot be obtained or kept,
/// [`Error::NotFinite`] if answers are no numbers, [`Error::Device`] if the device fails.
///
/// # Panics
/// If no model is given.
pub fn evaluate(options: &EvaluateOptions, progress: &mut Progress) -> Result<Evaluation> {
    Isa::from_environment().map_err(Error::Input)?;
    let find = |paths: &[PathBuf]| -> Result<Vec<Found>> {
        paths.iter().map(|path| Found::new(path, options.device)).collect()
    };
    let (these, others) = (find(&options.models)?, find(&options.against)?);
    let first = these.first().expect("at least one model");
    these.iter().chain(&others).try_for_each(|other| check_alike(first, other))?;
    [&these, &others].iter().for_each(|side| warn_of_twins(side, progress));
    let data = match (&options.data, &first.location.run) {
        (Some(data), _) => data.clone(),
        (None, Some(run)) => {
            Overrides::load(&run.join(CONFIG))?.data.unwrap_or_else(|| DEFAULT_DATA.into())
        }
        (None, None) => DEFAULT_DATA.into(),
    };
    let mut source = Source::obtain(&data, progress)?;
    check_fit(&first.model, &source, &first.location.weights)?;
    memory::require(needed_bytes(&first.model, source.test_count()), "take a smaller test file")?;
    for found in these.iter().chain(&others) {
        let weights = found.location.weights.display();
        progress.note(&format!("{weights} on {}", source.directory().display()));
    }
    let workers = Workers::new(options.threads).map_err(Error::Failure)?;
    let test = source.load_test()?;
    workers.run(|| {
        let data = resident(&test, options.device);
        let test = Test { part: &test, data: &data, tta: options.tta };
        let (predictions, mut evaluation) = evaluate_mean(&these, &test, these.len() > 1)?;
        if !others.is_empty() {
            let (theirs, other) = evaluate_mean(&others, &test, true)?;
            let counts = PairedCounts::of(&predictions, &theirs);
            evaluation.comparison = Some(Comparison::new(counts, &other));
        }
        Ok(evaluation)
    })
}

/// Checks that two models may answer together, or be compared: they take the same images and know
/// the same classes.
fn check_alike(first: &Found, other: &Found) -> Result<()> {
    let differ = |what: String| {
        Err(Error::Input(format!(
            "{what}: models that answer together or are compared must take the same images and \
             know the same classes; leave one of the two out"
        )))
    };
    let [one, two] = [first, other].map(|found| found.location.weights.display());
    let [input, other_input] = [first, other].map(|found| found.model.architecture.input);
    if input != other_input {
        return differ(format!(
            "{one} takes images of {input:?} (height, width, channels), {two} \
                               of {other_input:?}"
        ));
    }
    let (classes, other_classes) = (&first.model.classes, &other.model.classes);
    if classes.len() != other_classes.len() {
        return differ(format!(
            "{one} knows {} classes, {two} knows {}",
            classes.len(),
            other_classes.len()
        ));
    }
    let mut pairs = classes.iter().zip(other_classes).enumerate();
    match pairs.find(|(_, (name, other))| name != other) {
        Some((class, (name, other))) => differ(format!(
            "class {class} of {one} is {}, that of {two} is {}",
            shortened(name),
            shortened(other)
        )),
        None => Ok(()),
    }
}

/// Says where the same weights stand twice, as `runs/*` has those of `runs/latest`.
fn warn_of_twins(side: &[Found], progress: &mut Progress) {
    let hashes: Vec<String> = side.iter().map(|found| found.model.weights_sha256()).collect();
    for (place, hash) in hashes.iter().enumerate() {
        if let Some(twin) = hashes[..place].iter().position(|other| other == hash) {
            let [one, two] = [twin, place].map(|place| &side[place].name);
            progress.warn(&format!("{one} and {two} hold the same weights, which count twice"));
        }
    }
}

/// About how many bytes an evaluation takes at once. While images are brought to the device there
/// are two copies of them; a probability is there three times in f64: as a model's mean, as its
/// sum, and as the sum over the models.
fn needed_bytes(model: &Model, images: usize) -> u64 {
    let [height, width, channels] = model.architecture.input;
    let bytes = 2 * height * width * channels + 24 * model.classes.len();
    images as u64 * bytes as u64
}

/// Checks that a model can answer for a data set.
fn check_fit(model: &Model, source: &Source, weights: &Path) -> Result<()> {
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

/// A test part, on the host and on the device.
struct Test<'a> {
    part: &'a Split,
    data: &'a Resident,
    tta: bool,
}

/// A model's answers to a test part and what they are worth.
///
/// # Errors
/// [`Error::NotFinite`] if the model's answers are no numbers, [`Error::Device`] if the device
/// fails.
pub(crate) fn evaluate_split(model: &Model, test: &Split) -> Result<(Predictions, Evaluation)> {
    let data = resident(test, model.network.device());
    worth("the model", model, &Mean::of(model, test, &data, false), test)
}

/// The answers of one model, or the means of several, to a test part and what they are worth.
fn evaluate_mean(models: &[Found], test: &Test, named: bool) -> Result<(Predictions, Evaluation)> {
    let mut mean = Mean::default();
    let mut alone = Vec::new();
    for Found { name, model, .. } in models {
        let answers = Mean::of(model, test.part, test.data, test.tta);
        let (_, evaluation) = worth(name, model, &answers, test.part)?;
        mean.add(&answers);
        alone.push(evaluation);
    }
    let hashes: Vec<String> = alone.iter().map(|one| one.weights_sha256.clone()).collect();
    let parameters = alone.iter().map(|one| one.parameters).sum();
    let names = models.iter().map(|found| named.then(|| found.name.clone()));
    let alone = alone.into_iter().flat_map(|one| one.models);
    let models_alone = names.zip(alone).map(|(name, one)| EvaluatedModel { name, ..one }).collect();
    let classes = &models[0].model.classes;
    let (predictions, together) =
        sum_up(&mean, test.part, classes, parameters, joint_sha256(&hashes));
    Ok((predictions, Evaluation { models: models_alone, tta: test.tta, ..together }))
}

/// What one model's answers are worth; `name` is for messages.
fn worth(
    name: &str,
    model: &Model,
    answers: &Mean,
    part: &Split,
) -> Result<(Predictions, Evaluation)> {
    let parameters = model.network.summary().parameters();
    let found = sum_up(answers, part, &model.classes, parameters, model.weights_sha256());
    check_device()?;
    if !found.1.loss.is_finite() {
        return Err(Error::NotFinite(format!(
            "the loss of {name} on the test images is not finite: its weights are of no use"
        )));
    }
    Ok(found)
}

fn sum_up(
    answers: &Mean,
    part: &Split,
    classes: &[String],
    parameters: usize,
    weights_sha256: String,
) -> (Predictions, Evaluation) {
    let predictions = Predictions::of_means(&part.labels, &answers.probabilities(), classes.len());
    let losses = answers.rounded_losses();
    let evaluation = Evaluation::new(&predictions, &losses, classes, parameters, weights_sha256);
    (predictions, evaluation)
}
