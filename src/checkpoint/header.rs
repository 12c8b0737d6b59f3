//! The first part of a safetensors file: what it says about its tensors, checked before any of
//! their numbers is read.
//!
//! The format's own library answers most faults with one sentence for all of them, and takes
//! the last of two tensors of one name. A model file may come from anywhere, so each fault is
//! told here with its tensor and its numbers.

use std::collections::HashMap;
use std::fmt;

use safetensors::tensor::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::error::shortened;

/// The bytes before the header: its length, a little-endian number.
const LENGTH_BYTES: u64 = 8;

/// The longest header that is read, in bytes: names, shapes and metadata.
pub(crate) const MAX_HEADER_BYTES: u64 = 1 << 20;

/// As much of a file's start as can be needed to parse its header, in bytes.
pub(crate) const MAX_START_BYTES: u64 = LENGTH_BYTES + MAX_HEADER_BYTES;

/// How files that people take for model files begin. None of them is looked into.
const FOREIGN: [(&[u8], &str); 8] = [
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes (.h5)"),
    (b"PK\x03\x04", "a zip archive, as PyTorch (.pt, .pth) and Keras (.keras) write"),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x08", "perhaps an ONNX file"),
];
const PICKLE: &str = "a Python pickle, as PyTorch and scikit-learn write (.pkl, .pt)";

/// A tensor as the header describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Where its bytes begin and end, from the end of the header.
    pub data_offsets: [usize; 2],
}

/// A header whose tensors cover the rest of their file, each byte once.
#[derive(Debug)]
pub(crate) struct Header {
    /// Texts by their names.
    pub metadata: HashMap<String, String>,
    /// Names and tensors, in the order of their bytes.
    pub tensors: Vec<(String, Entry)>,
    /// Where the tensors' bytes begin in the file.
    pub data_start: usize,
}

impl Header {
    /// Reads the header of a file of `file_bytes` bytes that begins with `start`: the whole
    /// file, or its first [`MAX_START_BYTES`].
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn parse(start: &[u8], file_bytes: u64) -> Result<Header, String> {
        let text = header_text(start, file_bytes)?;
        let Content { metadata, mut tensors } = serde_json::from_str(text).map_err(|fault| {
            format!(
                "its header is not that of a safetensors file: {}",
                shortened(&fault.to_string())
            )
        })?;
        tensors.sort_by_key(|(_, entry)| entry.data_offsets);
        let data_start = LENGTH_BYTES as usize + text.len();
        let data_bytes = check_offsets(&tensors)?;
        let found = file_bytes - data_start as u64;
        if data_bytes as u64 != found {
            return Err(format!(
                "its tensors take {data_bytes} bytes after the header, but the file has {found}: \
                 it was cut, something was joined to it, or it is a checkpoint"
            ));
        }
        Ok(Header { metadata, tensors, data_start })
    }

    /// The bytes that all tensors take.
    pub fn data_bytes(&self) -> usize {
        self.tensors.last().map_or(0, |(_, entry)| entry.data_offsets[1])
    }
}

fn header_text(start: &[u8], file_bytes: u64) -> Result<&str, String> {
    if start.is_empty() {
        return Err("the file is empty".into());
    }
    let length = start.first_chunk().map(|length| u64::from_le_bytes(*length));
    // Some short headers happen to have a length of such bytes.
    if length.is_none_or(|length| length > MAX_HEADER_BYTES)
        && let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| start.starts_with(magic))
    {
        return Err(format!("it looks like {what}, and toile reads safetensors files only"));
    }
    let length = length.ok_or_else(|| {
        format!("the file has only {file_bytes} bytes, expected {LENGTH_BYTES} before the header")
    })?;
    if length > MAX_HEADER_BYTES {
        return Err(format!(
            "its header announces {length} bytes, expected at most {MAX_HEADER_BYTES}"
        ));
    }
    let end = LENGTH_BYTES + length;
    let bytes = start.get(LENGTH_BYTES as usize..end as usize).ok_or_else(|| {
        format!("its header announces {length} bytes, but the file has only {file_bytes}")
    })?;
    std::str::from_utf8(bytes).map_err(|fault| format!("its header is no UTF-8 text: {fault}"))
}

/// Checks that each tensor begins where the one before it ends and is as long as its shape
/// says; returns where the last one ends.
fn check_offsets(tensors: &[(String, Entry)]) -> Result<usize, String> {
    tensors.iter().try_fold(0, |expected, (name, entry)| {
        let name = shortened(name);
        let [begin, end] = entry.data_offsets;
        if begin != expected {
            return Err(format!(
                "tensor {name} begins at byte {begin}, expected {expected}: tensors overlap, or \
                 leave a hole"
            ));
        }
        let numbers = entry.shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        let bits = numbers.and_then(|numbers| numbers.checked_mul(entry.dtype.bitsize()));
        let shape = shortened(&format!("{:?}", entry.shape));
        let bits = bits
            .ok_or_else(|| format!("tensor {name} of shape {shape} is larger than any memory"))?;
        let found = end.checked_sub(begin);
        if !bits.is_multiple_of(8) || found != Some(bits / 8) {
            return Err(format!(
                "tensor {name} of shape {shape} and type {:?} takes {} bytes, but its offsets are \
                 {begin} and {end}",
                entry.dtype,
                bits.div_ceil(8)
            ));
        }
        Ok(end)
    })
}

/// A header's JSON, in which no name may stand twice.
#[derive(Default)]
struct Content {
    metadata: HashMap<String, String>,
    tensors: Vec<(String, Entry)>,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by their names")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Content, M::Error> {
        let mut content = Content::default();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(M::Error::custom(format!("{} stands in it twice", shortened(&name))));
            }
            if name == "__metadata__" {
                content.metadata = map.next_value()?;
            } else {
                content.tensors.push((name, map.next_value()?));
            }
        }
        Ok(content)
    }
}
