//! Opening model files, and holding them against what their run says of them.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::MAX_FILE_BYTES;
use crate::error::{Error, Result, shortened};
use crate::files::{MAX_RESULT_BYTES, read_regular};

/// Opens a regular file of at most [`MAX_FILE_BYTES`] and says how many bytes it has.
pub(super) fn open(path: &Path) -> Result<(File, u64)> {
    let input = |fault: String| Error::Input(format!("{}: {fault}", path.display()));
    let cannot_open = |fault: io::Error| {
        input(format!("the model file cannot be opened ({fault}); check path and permissions"))
    };
    // Opening a named pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(cannot_open)?;
    if !metadata.is_file() {
        return Err(input("expected a model file, found no regular file; check the path".into()));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(input(format!(
            "expected a model file of at most {MAX_FILE_BYTES} bytes, found {}; check the path",
            metadata.len()
        )));
    }
    Ok((File::open(path).map_err(cannot_open)?, metadata.len()))
}

/// A disk that fails.
pub(super) fn cannot_read(path: &Path, fault: &io::Error) -> Error {
    Error::Storage(format!("{}: reading failed ({fault}); check the disk", path.display()))
}

/// The one thing that is needed of an evaluation.
#[derive(Deserialize)]
struct Evaluated {
    weights_sha256: String,
}

/// Checks that the evaluation at `path` is of weights with the hash `found`.
pub(super) fn check_hash(weights: &Path, found: &str, path: &Path) -> Result<()> {
    let shown = path.display();
    let something_else = |fault: &str| {
        Error::Input(format!(
            "{shown}: expected the result of the run with its `weights_sha256`, found something \
             else ({}); restore the file, or remove it",
            shortened(fault)
        ))
    };
    let text =
        read_regular(path, MAX_RESULT_BYTES).map_err(|fault| match fault.raw_os_error() {
            Some(_) => cannot_read(path, &fault),
            None => something_else(&fault.to_string()),
        })?;
    let evaluated: Evaluated =
        serde_json::from_slice(&text).map_err(|fault| something_else(&fault.to_string()))?;
    let expected = shortened(&evaluated.weights_sha256);
    if found == expected {
        return Ok(());
    }
    Err(Error::Input(format!(
        "{}: expected the weights of SHA-256 {expected} that {shown} speaks of, found {found}: one \
         of the two files is not of this run any more; restore it, or remove {shown}",
        weights.display()
    )))
}
