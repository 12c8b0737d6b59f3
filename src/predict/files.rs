//! Which files the arguments mean.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, plain};

/// The endings, in any case, by which a folder's images are known. What is inside decides how
/// they are read.
const ENDINGS: [&str; 12] =
    ["png", "jpg", "jpeg", "gif", "bmp", "webp", "tif", "tiff", "pbm", "pgm", "ppm", "pnm"];

/// The file itself, or the image files directly inside a folder, sorted by name.
pub(super) fn expand(path: &Path) -> Vec<Result<PathBuf>> {
    if !path.is_dir() {
        return vec![Ok(path.to_owned())];
    }
    match image_files(path) {
        Ok(files) if files.is_empty() => vec![Err(Error::Input(format!(
            "{}: no image files in this folder (.{}); folders inside it are not searched",
            plain(&path.to_string_lossy()),
            ENDINGS.join(", .")
        )))],
        Ok(files) => files.into_iter().map(Ok).collect(),
        Err(fault) => vec![Err(Error::Input(format!(
            "{}: cannot list the folder: {fault}",
            plain(&path.to_string_lossy())
        )))],
    }
}

fn image_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = paths.collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|path| has_ending(path) && !path.is_dir());
    files.sort();
    Ok(files)
}

fn has_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|e| ending.eq_ignore_ascii_case(e)))
}
