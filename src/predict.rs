//! What a model says about image files: the one call behind the `predict` program.
//!
//! A file goes through [`decode`] (any format to brightness) and [`prepare`] (any size to the
//! model's input, with a sentence on what was done); the answers come from the same code as
//! those of [`crate::evaluate`].

pub mod decode;
mod files;
mod prepare;
mod resample;
mod sharpen;
mod text;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use toile_kernels::threads::Workers;
use toile_kernels::{Device, Isa};

use crate::checkpoint::Model;
use crate::data::{Images, Split};
use crate::error::{Error, Result, check_device, plain};
use crate::evaluate::{answer, resident};
use crate::run_folder::ModelLocation;

pub use prepare::{Background, Prepared, prepare};
pub use text::prediction_text;

/// Images that are answered together: enough to keep the kernels busy, few enough that a folder
/// of any size needs little memory and answers come soon.
const BATCH: usize = 64;

/// Predictions to be made.
#[derive(Clone, Debug)]
pub struct PredictOptions {
    /// Image files, and folders whose image files are meant, sorted by name.
    pub images: Vec<PathBuf>,
    /// A run folder, a link to one, or a file of weights.
    pub model: PathBuf,
    /// How many classes an answer names, from 1; more than there are means all.
    pub top: usize,
    /// What stands behind the objects.
    pub background: Background,
    /// Worker threads, 1 to 64.
    pub threads: usize,
    /// What computes.
    pub device: Device,
}

/// The answer to one image.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The image.
    pub file: PathBuf,
    /// The name of the model that answered: its run, or its file.
    pub model: String,
    /// What was done to the image, in words.
    pub steps: String,
    /// Whether nothing stands out in the image, so that the answer says nothing.
    pub blank: bool,
    /// The likeliest classes, the likeliest first; never empty.
    pub top: Vec<ClassConfidence>,
    /// Time to read and prepare the image, and its share of its batch's time.
    pub milliseconds: f64,
}

/// A class, and how likely the model holds it to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassConfidence {
    /// The class's name.
    pub label: String,
    /// 0 to 1; those of all classes add up to 1.
    pub confidence: f32,
}

impl Prediction {
    /// The prediction as a JSON object in one line. A file name that is no UTF-8 is shown as
    /// near as possible.
    #[must_use]
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            file: &'a str,
            label: &'a str,
            confidence: f32,
            top: &'a [ClassConfidence],
            milliseconds: f64,
        }
        let ClassConfidence { label, confidence } = &self.top[0];
        let line = Line {
            file: &self.file.to_string_lossy(),
            label,
            confidence: *confidence,
            top: &self.top,
            milliseconds: self.milliseconds,
        };
        serde_json::to_string(&line).expect("a prediction is plain values")
    }
}

/// A model that answers to prepared images.
pub struct Predictor {
    model: Model,
    name: String,
}

impl Predictor {
    /// Loads a model from a run folder, a link to one, or a file of weights.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no model, or none for grey images.
    pub fn load(path: &Path, device: Device) -> Result<Predictor> {
        let location = ModelLocation::find(path)?;
        let model = Model::find(&location, device)?;
        let channels = model.architecture.input[2];
        if channels != 1 {
            return Err(Error::Input(format!(
                "{} takes images of {channels} channels; predict prepares grey ones, of 1",
                location.weights.display()
            )));
        }
        // `latest` is a link: the run's own name says more.
        let named = location.run.unwrap_or(location.weights);
        let named = named.canonicalize().unwrap_or(named);
        let name = named.file_name().unwrap_or(named.as_os_str());
        Ok(Predictor { model, name: name.to_string_lossy().into_owned() })
    }

    /// Width and height of the images that the model takes, in pixels.
    #[must_use]
    pub fn input_size(&self) -> (usize, usize) {
        let [height, width, _] = self.model.architecture.input;
        (width, height)
    }

    /// The probabilities of the classes for each image, a row an image. The images that are
    /// asked about together do not change the answers.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the answers are no numbers, [`Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If an image is of another size than [`Predictor::input_size`].
    #[track_caller]
    pub fn probabilities(&self, images: &[&Prepared]) -> Result<Vec<Vec<f32>>> {
        let (columns, rows) = self.input_size();
        let pixels = images.iter().flat_map(|image| image.pixels.iter().copied()).collect();
        let images = Images { count: images.len(), rows, columns, pixels };
        assert_eq!(images.pixels.len(), images.count * rows * columns, "an image does not fit");
        // Labels are needed for a loss, which nobody asks for.
        let labels = vec![0; images.count];
        let data = resident(&Split { images, labels }, self.model.network.device());
        let answers = answer(&self.model, &data, 0..data.labels.len(), |_| true);
        let answers = answers.expect("nothing stops it");
        check_device()?;
        if answers.probabilities.iter().any(|p| !p.is_finite()) {
            return Err(Error::NotFinite(format!(
                "the answers of {} are not finite: its weights are of no use",
                plain(&self.name)
            )));
        }
        let classes = self.model.classes.len();
        Ok(answers.probabilities.chunks_exact(classes).map(<[f32]>::to_vec).collect())
    }

    /// The `top` likeliest classes of a row of probabilities; of equal ones the first class.
    fn likeliest(&self, probabilities: &[f32], top: usize) -> Vec<ClassConfidence> {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let answer = |&class: &usize| ClassConfidence {
            label: self.model.classes[class].clone(),
            confidence: probabilities[class],
        };
        order.iter().take(top.max(1)).map(answer).collect()
    }
}

/// Answers to image files, in their order. `tell` gets each answer, or the fault of a file that
/// has none, and says whether anybody still listens.
///
/// # Errors
/// [`Error::Input`] if the model cannot be used, [`Error::Failure`] if threads cannot be had,
/// [`Error::NotFinite`] if answers are no numbers, [`Error::Device`] if the device fails, and
/// whatever `tell` returns. A file's fault ends nothing.
pub fn predict(
    options: &PredictOptions,
    mut tell: impl FnMut(Result<Prediction>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    Isa::from_environment().map_err(Error::Input)?;
    let predictor = Predictor::load(&options.model, options.device)?;
    let workers = Workers::new(options.threads).map_err(Error::Failure)?;
    let mut files = options.images.iter().flat_map(|path| files::expand(path)).peekable();
    while files.peek().is_some() {
        let read =
            |file: Result<PathBuf>| file.and_then(|file| Read::new(file, options, &predictor));
        let batch: Vec<_> = files.by_ref().take(BATCH).map(read).collect();
        for answer in answer_batch(batch, options, &predictor, &workers)? {
            if tell(answer)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A file that was read and prepared.
struct Read {
    file: PathBuf,
    prepared: Prepared,
    milliseconds: f64,
}

impl Read {
    fn new(file: PathBuf, options: &PredictOptions, predictor: &Predictor) -> Result<Read> {
        let start = Instant::now();
        let picture = decode::read(&file)?;
        let (width, height) = predictor.input_size();
        let prepared = prepare(&picture, options.background, width, height);
        Ok(Read { file, prepared, milliseconds: milliseconds_since(start) })
    }
}

/// The answers to a batch, faults in their places.
fn answer_batch(
    batch: Vec<Result<Read>>,
    options: &PredictOptions,
    predictor: &Predictor,
    workers: &Workers,
) -> Result<Vec<Result<Prediction>>> {
    let start = Instant::now();
    let images: Vec<&Prepared> = batch.iter().flatten().map(|read| &read.prepared).collect();
    let rows = workers.run(|| predictor.probabilities(&images))?;
    let share = milliseconds_since(start) / images.len().max(1) as f64;
    let mut rows = rows.iter();
    let answer = |read: Read| Prediction {
        file: read.file,
        model: predictor.name.clone(),
        steps: read.prepared.steps,
        blank: read.prepared.blank,
        top: predictor.likeliest(rows.next().expect("a row for each image"), options.top),
        milliseconds: read.milliseconds + share,
    };
    let mut answer = answer;
    Ok(batch.into_iter().map(|read| read.map(&mut answer)).collect())
}

fn milliseconds_since(start: Instant) -> f64 {
    1e3 * start.elapsed().as_secs_f64()
}
