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
use crate::nn::Sequential;
use crate::ops::gather::Normalization;
use crate::shape::Shape;

/// The version of the model files that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The largest model file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

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
        let metadata = HashMap::from([
            ("format_version".to_owned(), FORMAT_VERSION.to_string()),
            ("architecture".to_owned(), json(&self.architecture)),
            ("classes".to_owned(), json(&self.classes)),
            ("preprocessing".to_owned(), json(&self.normalization)),
        ]);
        let tensors = self.tensors();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.dims().to_vec(), bytes);
            (name, view.expect("a tensor's bytes fit its shape"))
        });
        safetensors::serialize(views, Some(metadata)).expect("plain tensors serialise")
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
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|f| not_a_model(f.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|f| not_a_model(f.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            metadata.get(name).ok_or_else(|| not_a_model(format!("its metadata lacks `{name}`")))
        };
        let version = field("format_version")?;
        match version.parse::<u32>() {
            Ok(version) if version <= FORMAT_VERSION => {}
            _ => {
                return Err(format!(
                    "its format version is {}, this build reads up to {FORMAT_VERSION}: use a \
                     newer toile",
                    version.escape_debug()
                ));
            }
        }
        let architecture: Architecture = parse("architecture", field("architecture")?)?;
        let classes: Vec<String> = parse("classes", field("classes")?)?;
        let normalization: Normalization = parse("preprocessing", field("preprocessing")?)?;
        let finite = normalization.offset.is_finite() && normalization.divisor.is_normal();
        if !finite {
            return Err("its `preprocessing` is not finite".into());
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
            return Err(format!("its tensors do not fit the network: {}", faults.join("; ")));
        }
        for (name, values) in found {
            self.network.parameters_mut().set(&name, &values);
        }
        Ok(())
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
}
