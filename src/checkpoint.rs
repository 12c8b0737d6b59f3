//! Model files: a network's numbers as safetensors, with what is needed to use them.
//!
//! The metadata says which network it is, its classes and how pixels become numbers, so a file
//! is complete by itself. Reading one executes nothing and trusts nothing.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toile_kernels::Device;

use crate::error::{Error, Result};
use crate::models;
use crate::nn::{Sequential, Summary};
use crate::ops::gather::Normalization;
use crate::shape::Shape;

/// The version of the model files that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The largest model file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The longest header that is read, in bytes: names, shapes and metadata.
const MAX_HEADER_BYTES: u64 = 1 << 20;

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
        let layers = models::layers(&architecture.network, architecture.input, classes.len())?;
        let network = Sequential::new(&layers, Shape::new(&architecture.input), device, seed);
        Ok(Model { network, architecture, classes, normalization: Normalization::default() })
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
        let mut hash = Sha256::new();
        for (_, _, bytes) in self.tensors() {
            hash.update(&bytes);
        }
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes any text");
            text
        })
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

    /// Reads a model file.
    ///
    /// # Errors
    /// [`Error::Input`] that names the file and what is wrong with it.
    pub fn load(path: &Path, device: Device) -> Result<Model> {
        let bytes = read_whole(path)?;
        Model::from_bytes(&bytes, device)
            .map_err(|fault| Error::Input(format!("{}: {fault}", path.display())))
    }

    /// Reads the content of a model file.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn from_bytes(bytes: &[u8], device: Device) -> std::result::Result<Model, String> {
        let not_a_model = |fault| format!("this is no model file of toile: {fault}");
        check_header_size(bytes).map_err(not_a_model)?;
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|f| not_a_model(f.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|f| not_a_model(f.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            metadata.get(name).ok_or_else(|| not_a_model(format!("its metadata lacks `{name}`")))
        };
        check_version(field("format_version")?)?;
        let architecture: Architecture = parse("architecture", field("architecture")?)?;
        let classes: Vec<String> = parse("classes", field("classes")?)?;
        check_classes(&classes)?;
        let normalization: Normalization = parse("preprocessing", field("preprocessing")?)?;
        if !(normalization.offset.is_finite() && normalization.divisor.is_normal()) {
            return Err("its `preprocessing` is not finite".into());
        }
        // The file must be as large as the network before anything that large is allocated.
        let layers = models::layers(&architecture.network, architecture.input, classes.len())
            .map_err(|fault| fault.to_string())?;
        let expected = Summary::of(&layers, Shape::new(&architecture.input)).parameters();
        let found: usize = file.tensors().iter().map(|(_, t)| t.data().len() / 4).sum();
        if found != expected {
            return Err(format!("it holds {found} numbers, its network has {expected}"));
        }
        let mut model =
            Model::new(architecture, classes, device, 0).map_err(|fault| fault.to_string())?;
        model.normalization = normalization;
        model.set_tensors(&file)?;
        Ok(model)
    }

    /// Takes over all tensors of a file, or none and says all that is wrong.
    fn set_tensors(&mut self, file: &SafeTensors) -> std::result::Result<(), String> {
        let mut faults = Vec::new();
        let mut found = Vec::new();
        for p in self.network.parameters().iter() {
            match file.tensor(p.name()) {
                Err(_) => faults.push(format!("{} is missing", p.name())),
                Ok(t) if t.dtype() != Dtype::F32 => {
                    faults.push(format!("{} is {:?}, expected F32", p.name(), t.dtype()));
                }
                Ok(t) if t.shape() != p.shape().dims() => faults.push(format!(
                    "{} has shape {:?}, expected {}",
                    p.name(),
                    t.shape(),
                    p.shape()
                )),
                Ok(t) => {
                    let numbers = t.data().chunks_exact(4);
                    let values: Vec<f32> = numbers
                        .map(|b| f32::from_le_bytes(b.try_into().expect("chunks of four")))
                        .collect();
                    if values.iter().any(|x| !x.is_finite()) {
                        faults.push(format!("{} holds numbers that are not finite", p.name()));
                    }
                    found.push((p.name().to_owned(), values));
                }
            }
        }
        let known = |name: &str| self.network.parameters().iter().any(|p| p.name() == name);
        let surplus = file.names().into_iter().filter(|name| !known(name));
        faults.extend(surplus.map(|name| format!("{} is not known", name.escape_debug())));
        if !faults.is_empty() {
            let more = faults.len().saturating_sub(MOST_FAULTS);
            faults.truncate(MOST_FAULTS);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            return Err(format!("its tensors do not fit the network: {}{more}", faults.join("; ")));
        }
        for (name, values) in found {
            self.network.parameters_mut().set(&name, &values);
        }
        Ok(())
    }
}

fn check_header_size(bytes: &[u8]) -> std::result::Result<(), String> {
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if length > MAX_HEADER_BYTES {
        return Err(format!("a header has at most {MAX_HEADER_BYTES} bytes, this one {length}"));
    }
    Ok(())
}

fn check_version(text: &str) -> std::result::Result<(), String> {
    match text.parse::<u32>() {
        Ok(1..=FORMAT_VERSION) => Ok(()),
        Ok(version) if version > FORMAT_VERSION => Err(format!(
            "its format version is {version}, this build reads up to {FORMAT_VERSION}: use a \
             newer toile"
        )),
        _ => Err(format!(
            "its format version is {:.20}, expected a number from 1",
            text.escape_debug().to_string()
        )),
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
    serde_json::from_str(text).map_err(|fault| format!("its `{field}` cannot be read: {fault}"))
}

/// A file's content, if it is a regular file of at most [`MAX_FILE_BYTES`].
fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let input = |fault: String| Error::Input(format!("{}: {fault}", path.display()));
    let cannot_read = |fault: std::io::Error| input(format!("cannot read the model: {fault}"));
    let metadata = std::fs::metadata(path).map_err(cannot_read)?;
    if !metadata.is_file() {
        return Err(input("expected a model file, found no regular file".into()));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(input(format!(
            "a model file has at most {MAX_FILE_BYTES} bytes, this one has {}",
            metadata.len()
        )));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot_read)?;
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(cannot_read)?;
    Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let architecture = Architecture { network: "reference".into(), input: [28, 28, 1] };
        Model::new(architecture, vec!["a".into(), "b".into(), "c".into()], Device::Cpu, 7).unwrap()
    }

    #[test]
    fn a_file_gives_the_same_model() {
        let model = model();
        let again = Model::from_bytes(&model.to_bytes(), Device::Cpu).unwrap();
        assert_eq!(again.weights_sha256(), model.weights_sha256());
        assert_eq!(again.classes, model.classes);
        assert_eq!(again.normalization, model.normalization);
        assert_eq!(again.architecture, model.architecture);
    }

    /// The hash is that of the data part of the file itself.
    #[test]
    fn the_hash_is_of_the_files_data() {
        let bytes = model().to_bytes();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let hash = Sha256::digest(&bytes[8 + header..]);
        let text: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(model().weights_sha256(), text);
    }

    #[test]
    fn faults_are_listed_together() {
        let bytes = model().to_bytes();
        // The same length, so that the header's size still holds.
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let text = String::from_utf8(bytes[8..8 + header].to_vec()).unwrap();
        let text = text.replace("conv1.bias", "conv9.bias").replace("\"bn2.beta\"", "\"bn2.bata\"");
        let broken = [&bytes[..8], text.as_bytes(), &bytes[8 + header..]].concat();
        let fault = Model::from_bytes(&broken, Device::Cpu).err().unwrap();
        for part in ["conv1.bias is missing", "bn2.beta is missing", "conv9.bias is not known"] {
            assert!(fault.contains(part), "{fault}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let mut bytes = model().to_bytes();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        let fault = Model::from_bytes(&bytes, Device::Cpu).err().unwrap();
        assert!(fault.contains("not finite"), "{fault}");
    }

    #[test]
    fn cut_and_garbled_files_are_refused() {
        let bytes = model().to_bytes();
        for broken in [&bytes[..0], &bytes[..7], &bytes[..100], &bytes[..bytes.len() - 1]] {
            assert!(Model::from_bytes(broken, Device::Cpu).is_err());
        }
        let mut newer = bytes.clone();
        let at = newer.windows(20).position(|w| w == b"\"format_version\":\"1\"").unwrap();
        newer[at + 18] = b'9';
        let fault = Model::from_bytes(&newer, Device::Cpu).err().unwrap();
        assert!(fault.contains("format version is 9"), "{fault}");
    }

    /// The content of a file with this metadata and no tensors.
    fn empty(architecture: &str, classes: &str) -> Vec<u8> {
        let metadata = [
            ("format_version", "1"),
            ("architecture", architecture),
            ("classes", classes),
            ("preprocessing", "{\"offset\":0.0,\"divisor\":255.0}"),
        ];
        serialize([], metadata.map(|(name, value)| (name, value.to_owned())))
    }

    #[test]
    fn hostile_metadata_is_refused_before_anything_is_allocated() {
        let good = "{\"network\":\"reference\",\"input\":[28,28,1]}";
        let many = format!("[{}]", vec!["\"a\""; 300].join(","));
        let long = format!("[\"{}\"]", "a".repeat(70_000));
        let cases = [
            (good, "[\"a\"]", "holds 0 numbers"),
            ("{\"network\":\"reference\",\"input\":[128,128,1]}", "[\"a\"]", "holds 0 numbers"),
            ("{\"network\":\"reference\",\"input\":[999999999,28,1]}", "[\"a\"]", "24 to 128"),
            ("{\"network\":\"huge\",\"input\":[28,28,1]}", "[\"a\"]", "no network"),
            ("[[[[", "[\"a\"]", "`architecture` cannot be read"),
            (good, "[]", "classes"),
            (good, &many, "classes"),
            (good, &long, "class 0"),
            (good, "[\"a\",\"\\u001b[2J\"]", "class 1"),
        ];
        for (architecture, classes, words) in cases {
            let fault =
                Model::from_bytes(&empty(architecture, classes), Device::Cpu).err().unwrap();
            assert!(fault.contains(words), "{words}: {fault}");
        }
        let mut header = vec![0xff; 7];
        header.push(0x7f);
        assert!(Model::from_bytes(&header, Device::Cpu).is_err());
    }
}
