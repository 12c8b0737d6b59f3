//! Model files: a network's numbers as safetensors, with what is needed to use them.
//!
//! The metadata says which network it is, its classes and how pixels become numbers, so a file
//! is complete by itself. Reading one executes nothing and trusts nothing.

mod file;
mod header;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toile_kernels::Device;

use crate::error::{Error, Result, shortened};
use crate::models::{self, DropoutRates};
use crate::nn::{Sequential, Summary};
use crate::ops::gather::Normalization;
use crate::run_folder::{BEST_WEIGHTS, EVALUATION, ModelLocation};
use crate::shape::Shape;
use header::{Entry, Header, MAX_START_BYTES};

/// The version of the model files that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The largest model file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The longest name of a class, in characters.
const MAX_CLASS_NAME: usize = 100;

/// How many faults of a file's tensors a message lists.
const MOST_FAULTS: usize = 40;

/// Which network a model file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The network's name in [`models`].
    pub network: String,
    /// Height, width and channels of an image.
    pub input: [usize; 3],
}

/// A network that can be used: its numbers, classes and preprocessing.
pub struct Model {
    /// The network and its numbers.
    pub network: Sequential,
    /// Which network it is.
    pub architecture: Architecture,
    /// The classes' names, by class number.
    pub classes: Vec<String>,
    /// How bytes become numbers.
    pub normalization: Normalization,
}

impl Model {
    /// A network of a known architecture with initial numbers.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such network or it does not take such images.
    pub fn new(
        architecture: Architecture,
        classes: Vec<String>,
        device: Device,
        seed: u64,
    ) -> Result<Model> {
        Model::to_train(architecture, classes, (DropoutRates::default(), 0), device, seed)
    }

    /// The same with other rates of dropout, which only training sees, and with the first
    /// `frozen` layers kept as they are.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn to_train(
        architecture: Architecture,
        classes: Vec<String>,
        (dropout, frozen): (DropoutRates, usize),
        device: Device,
        seed: u64,
    ) -> Result<Model> {
        let Architecture { network, input } = &architecture;
        let layers = models::layers(network, *input, classes.len(), dropout)?;
        let input = Shape::new(input);
        let network = Sequential::with_frozen(&layers, input, device, seed, frozen);
        Ok(Model { network, architecture, classes, normalization: Normalization::default() })
    }

    /// Another model of the same numbers, and the same frozen layers.
    ///
    /// # Panics
    /// Never: this one was made in the same way.
    #[must_use]
    pub fn copy(&self) -> Model {
        let (architecture, classes) = (self.architecture.clone(), self.classes.clone());
        let start = (DropoutRates::default(), self.network.summary().frozen);
        let copy = Model::to_train(architecture, classes, start, self.network.device(), 0);
        let mut copy = copy.expect("the network exists and takes such images");
        copy.network.parameters_mut().copy_from(self.network.parameters());
        copy.normalization = self.normalization;
        copy
    }

    /// The content of a model file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let metadata = [
            ("format_version", FORMAT_VERSION.to_string()),
            ("architecture", json(&self.architecture)),
            ("classes", json(&self.classes)),
            ("preprocessing", json(&self.normalization)),
        ];
        let tensors = self.tensors();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.dims().to_vec(), bytes);
            (name.as_str(), view.expect("a tensor's bytes fit its shape"))
        });
        serialize(views, metadata)
    }

    /// SHA-256 of all tensors in the order of a model file, in hexadecimal.
    #[must_use]
    pub fn weights_sha256(&self) -> String {
        hexadecimal(
            self.tensors()
                .iter()
                .fold(Sha256::new(), |hash, (_, _, bytes)| hash.chain_update(bytes)),
        )
    }

    /// All tensors as little-endian f32, in the order of a model file: by name.
    fn tensors(&self) -> Vec<(String, Shape, Vec<u8>)> {
        let mut tensors: Vec<_> = self
            .network
            .parameters()
            .iter()
            .map(|p| {
                let values: Vec<f32> = p.values().to_vec();
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                (p.name().to_owned(), p.shape(), bytes)
            })
            .collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    }

    /// Reads a model file. Of one in a run folder, the weights must be those that the run's
    /// `evaluation.json`, if there is one, speaks of.
    ///
    /// # Errors
    /// [`Error::Input`] that names the file and what is wrong with it; [`Error::Storage`] when
    /// reading fails.
    pub fn find(location: &ModelLocation, device: Device) -> Result<Model> {
        let model = Model::load(&location.weights, device)?;
        let evaluated = location.run.as_ref().map(|run| run.join(EVALUATION));
        let is_best = location.weights.file_name() == Some(OsStr::new(BEST_WEIGHTS));
        if let Some(path) = evaluated.filter(|path| is_best && path.is_file()) {
            file::check_hash(&location.weights, &model.weights_sha256(), &path)?;
        }
        Ok(model)
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`Error::Input`] that names the file and what is wrong with it; [`Error::Storage`] when
    /// reading fails.
    pub fn load(path: &Path, device: Device) -> Result<Model> {
        let (mut file, file_bytes) = file::open(path)?;
        let input = |fault| Error::Input(format!("{}: {fault}", path.display()));
        let mut read = |most, bytes: &mut Vec<u8>| {
            let outcome = file.by_ref().take(most).read_to_end(bytes);
            outcome.map_err(|fault| file::cannot_read(path, &fault))
        };
        let mut bytes = Vec::new();
        read(MAX_START_BYTES, &mut bytes)?;
        let header = Header::parse(&bytes, file_bytes).map_err(|f| input(not_a_model(&f)))?;
        // Nothing larger is read or allocated before the header is known to fit a network.
        let mut model = Model::of_header(&header, device).map_err(input)?;
        bytes.drain(..header.data_start);
        read(header.data_bytes().saturating_sub(bytes.len()) as u64, &mut bytes)?;
        model.set_tensors(&header, &bytes).map_err(input)?;
        Ok(model)
    }

    /// Reads the content of a model file.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn from_bytes(bytes: &[u8], device: Device) -> std::result::Result<Model, String> {
        let header = Header::parse(bytes, bytes.len() as u64).map_err(|f| not_a_model(&f))?;
        let mut model = Model::of_header(&header, device)?;
        model.set_tensors(&header, &bytes[header.data_start..])?;
        Ok(model)
    }

    /// The network that a header describes, with initial numbers; the header's tensors are
    /// those of the network.
    fn of_header(header: &Header, device: Device) -> std::result::Result<Model, String> {
        let field = |name: &str| {
            let lacks = || {
                format!(
                    "its metadata lacks `{name}`, as those of checkpoints and of other programs do"
                )
            };
            header.metadata.get(name).ok_or_else(|| not_a_model(&lacks()))
        };
        check_version(field("format_version")?)?;
        let architecture: Architecture = parse("architecture", field("architecture")?)?;
        let classes: Vec<String> = parse("classes", field("classes")?)?;
        check_classes(&classes).map_err(|fault| not_a_model(&fault))?;
        let normalization: Normalization = parse("preprocessing", field("preprocessing")?)?;
        if !(normalization.offset.is_finite() && normalization.divisor.is_normal()) {
            return Err(not_a_model("its `preprocessing` is not finite"));
        }
        let Architecture { network, input } = &architecture;
        let layers = models::layers(network, *input, classes.len(), DropoutRates::default())
            .map_err(|fault| not_a_model(&shortened(&fault.to_string())))?;
        let summary = Summary::of(&layers, Shape::new(&architecture.input));
        check_tensors(header, &summary.tensors)?;
        let mut model =
            Model::new(architecture, classes, device, 0).map_err(|fault| fault.to_string())?;
        model.normalization = normalization;
        Ok(model)
    }

    /// Takes over all tensors of a file, or none. The header is that of [`Model::of_header`].
    fn set_tensors(&mut self, header: &Header, data: &[u8]) -> std::result::Result<(), String> {
        if data.len() != header.data_bytes() {
            return Err("the file changed while it was read; start again".into());
        }
        let numbers = |entry: &Entry| {
            let [begin, end] = entry.data_offsets;
            let numbers = data[begin..end].chunks_exact(4);
            numbers.map(|b| f32::from_le_bytes(b.try_into().expect("chunks of four")))
        };
        let not_finite = |(_, entry): &&(String, Entry)| numbers(entry).any(|x| !x.is_finite());
        let faults: Vec<_> =
            header.tensors.iter().filter(not_finite).map(|(name, _)| name.as_str()).collect();
        if !faults.is_empty() {
            return Err(format!(
                "expected finite numbers, found others in {}: its training failed or the file is \
                 damaged; take another model",
                faults.join(", ")
            ));
        }
        for (name, entry) in &header.tensors {
            let values: Vec<f32> = numbers(entry).collect();
            self.network.parameters_mut().set(name, &values);
        }
        Ok(())
    }
}

/// What stands for the weights of several models together: SHA-256, in hexadecimal, of their
/// hashes in hexadecimal, one after the other. One model's hash stands for itself.
#[must_use]
pub fn joint_sha256(hashes: &[String]) -> String {
    match hashes {
        [one] => one.clone(),
        several => hexadecimal(Sha256::new().chain_update(several.concat())),
    }
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

/// Checks that a file holds the tensors of a network and no others; says all that is wrong.
fn check_tensors(header: &Header, expected: &[(String, Shape)]) -> std::result::Result<(), String> {
    let mut faults = Vec::new();
    let found: HashMap<&str, &Entry> =
        header.tensors.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
    for (name, shape) in expected {
        match found.get(name.as_str()) {
            None => faults.push(format!("{name} is missing")),
            Some(t) if t.dtype != Dtype::F32 => {
                faults.push(format!("{name} is {:?}, expected F32", t.dtype));
            }
            Some(t) if t.shape != shape.dims() => {
                let found = shortened(&format!("{:?}", t.shape));
                faults.push(format!("{name} has shape {found}, expected {shape}"));
            }
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let surplus = header.tensors.iter().filter(|(name, _)| !known.contains(name.as_str()));
    faults.extend(surplus.map(|(name, _)| format!("{} is not known", shortened(name))));
    if faults.is_empty() {
        return Ok(());
    }
    let more = faults.len().saturating_sub(MOST_FAULTS);
    faults.truncate(MOST_FAULTS);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(not_a_model(&format!("its tensors do not fit its network: {}{more}", faults.join("; "))))
}

/// A fault of a file that training never writes, and what to do about it.
fn not_a_model(fault: &str) -> String {
    format!("{fault}; give a run folder, or a best.safetensors as training writes it")
}

fn check_version(text: &str) -> std::result::Result<(), String> {
    match text.parse::<u32>() {
        Ok(1..=FORMAT_VERSION) => Ok(()),
        Ok(version) if version > FORMAT_VERSION => Err(format!(
            "its format version is {version}, this build reads up to {FORMAT_VERSION}: use a \
             newer toile"
        )),
        _ => Err(not_a_model(&format!(
            "its format version is {}, expected a number from 1",
            shortened(text)
        ))),
    }
}

/// Names are printed and laid out in tables, so they must be short and plain.
fn check_classes(classes: &[String]) -> std::result::Result<(), String> {
    let fits = |name: &String| {
        (1..=MAX_CLASS_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control)
    };
    match classes.iter().position(|name| !fits(name)) {
        Some(class) => Err(format!(
            "the name of class {class} is empty, longer than {MAX_CLASS_NAME} characters, or has \
             control characters"
        )),
        None => Ok(()),
    }
}

fn parse<'a, T: Deserialize<'a>>(field: &str, text: &'a str) -> std::result::Result<T, String> {
    serde_json::from_str(text).map_err(|fault| {
        let fault = shortened(&fault.to_string());
        not_a_model(&format!("its `{field}` cannot be read: {fault}"))
    })
}

/// The content of a safetensors file, a function of tensors and metadata alone: the library
/// writes metadata in the random order of a hash map, so the header is written again, sorted.
pub(crate) fn serialize<'a>(
    tensors: impl IntoIterator<Item = (&'a str, TensorView<'a>)>,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
) -> Vec<u8> {
    let metadata: HashMap<_, _> =
        metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let bytes = safetensors::serialize(tensors, Some(metadata)).expect("plain tensors serialise");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("a header starts with 8 bytes"));
    let (header, data) = bytes[8..].split_at(length as usize);
    // A JSON object of this library is a sorted map.
    let header: serde_json::Value = serde_json::from_slice(header).expect("a header is JSON");
    let mut header = header.to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A value as JSON text.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values")
}
