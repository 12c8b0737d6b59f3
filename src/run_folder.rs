//! The folder of one run: how it is named, claimed, found again and written to.
//!
//! Other programs read these folders while runs go on, runs are killed at any moment, and two
//! of them may be started at once. So a folder is claimed by one process, small files appear
//! whole or not at all, and nothing that toile did not write is ever deleted.

mod claim;
mod environment;
mod logs;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub use environment::Environment;
pub use logs::{HistoryLog, HistoryRow, MetricsLog, StepMetrics, read_history};

/// Resolved settings.
pub const CONFIG: &str = "config.toml";
/// Where and with what the run was made.
pub const ENVIRONMENT: &str = "env.json";
/// One line a step.
pub const METRICS: &str = "metrics.jsonl";
/// One row an epoch.
pub const HISTORY: &str = "training_history.csv";
/// The weights that count.
pub const BEST_WEIGHTS: &str = "best.safetensors";
/// The newest checkpoint.
pub const LAST_CHECKPOINT: &str = "last.ckpt";
/// The checkpoint before the newest.
pub const PREVIOUS_CHECKPOINT: &str = "previous.ckpt";
/// The result on the test images.
pub const EVALUATION: &str = "evaluation.json";
/// The report as text.
pub const REPORT_TEXT: &str = "classification_report.txt";
/// The report as JSON.
pub const REPORT_JSON: &str = "classification_report.json";
/// The answer to each test image.
pub const PREDICTIONS: &str = "predictions.csv";
/// Loss, accuracy and learning rate over the epochs.
pub const TRAINING_CURVES: &str = "training_curves.png";
/// What was taken for what, in images.
pub const CONFUSION_MATRIX: &str = "confusion_matrix.png";
/// What was taken for what, in percent of each true class.
pub const CONFUSION_MATRIX_NORMALIZED: &str = "confusion_matrix_normalized.png";
/// Right answers by confidence.
pub const RELIABILITY: &str = "reliability.png";
/// Test images and the answers to them.
pub const SAMPLE_PREDICTIONS: &str = "sample_predictions.png";
/// The wrong answers of which the model was most certain.
pub const WORST_ERRORS: &str = "worst_errors.png";
/// How many images each class has in each part of the data.
pub const CLASS_DISTRIBUTION: &str = "class_distribution.png";

/// What is known of a step whose numbers were not finite.
pub const FAILED_STEP: &str = "failed_step.json";

/// Held by the process that writes to the folder; also the mark of a folder made by toile.
const LOCK: &str = ".toile.lock";
/// Files on their way to another name.
const TEMPORARY: &str = ".toile-";
/// The link to the newest run.
const LATEST: &str = "latest";

/// What a run writes under a fixed name before it ends.
const FILES: &[&str] = &[
    LOCK,
    CONFIG,
    ENVIRONMENT,
    METRICS,
    HISTORY,
    BEST_WEIGHTS,
    LAST_CHECKPOINT,
    PREVIOUS_CHECKPOINT,
];

/// What a run writes when it ends; the first one is written last.
const RESULTS: &[&str] = &[
    EVALUATION,
    PREDICTIONS,
    REPORT_TEXT,
    REPORT_JSON,
    FAILED_STEP,
    TRAINING_CURVES,
    CONFUSION_MATRIX,
    CONFUSION_MATRIX_NORMALIZED,
    RELIABILITY,
    SAMPLE_PREDICTIONS,
    WORST_ERRORS,
    CLASS_DISTRIBUTION,
];

/// A run folder that this process has claimed until the value is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes those of its files that the results of a finished run are in, so that a run that
    /// goes on is not taken for one that has ended. The one that says so goes first.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file.
    pub fn remove_results(&self) -> Result<()> {
        RESULTS.iter().try_for_each(|name| self.remove(name))
    }

    /// Removes one of its files, if it is there.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.file(name);
        match std::fs::remove_file(&path) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => {
                Err(storage("remove", &path, &fault))
            }
            _ => Ok(()),
        }
    }

    /// Writes one of its files, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        write_whole(&self.file(name), content)
    }

    /// Like [`RunFolder::write`], and keeps the old content under the name `previous`. At every
    /// moment one of the two names holds a whole file.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file.
    pub fn replace(&self, name: &str, previous: &str, content: &[u8]) -> Result<()> {
        let (file, kept) = (self.file(name), self.file(previous));
        if file.exists() {
            let keep = || -> io::Result<()> {
                // A second name first: a rename would leave a moment without the first one.
                let link = self.path.join(format!("{TEMPORARY}{previous}"));
                let _ = std::fs::remove_file(&link);
                std::fs::hard_link(&file, &link).or_else(|_| {
                    // Some file systems have no hard links.
                    std::fs::copy(&file, &link).map(drop)
                })?;
                std::fs::rename(&link, &kept)
            };
            keep().map_err(|fault| storage("keep the old checkpoint as", &kept, &fault))?;
        }
        self.write(name, content)
    }
}

/// Writes a file so that readers, and a machine that loses power, see the old content or the
/// new one, never a part. The new content takes the old one's place only after it was read back.
///
/// # Errors
/// [`Error::Storage`] that names the file; it then still has its old content.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let folder = parent(path);
    let write = || -> io::Result<()> {
        let mut file = new_temporary(FILE_MODE).tempfile_in(folder)?;
        file.write_all(content)?;
        // The rename must not reach the disk before the content does.
        file.as_file().sync_all()?;
        if std::fs::read(file.path())? != content {
            return Err(io::Error::other("it reads back differently; the disk may be failing"));
        }
        file.persist(path)?;
        sync_folder(folder)
    };
    write().map_err(|fault| storage("write", path, &fault))
}

/// Permissions of files and folders before the user's mask: results are as readable as anything
/// else of the user, not private as temporary files are.
const FILE_MODE: u32 = 0o666;
const FOLDER_MODE: u32 = 0o777;

#[cfg_attr(not(unix), allow(unused_variables, reason = "modes are Unix's"))]
fn new_temporary<'a>(mode: u32) -> tempfile::Builder<'a, 'a> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY).suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    builder
}

/// Makes the names in a folder as lasting as the files that they name.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file, and renames are journalled.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn storage(action: &str, path: &Path, fault: &io::Error) -> Error {
    Error::Storage(format!("cannot {action} {}: {fault}", path.display()))
}

/// A model to evaluate or to predict with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLocation {
    /// The file of weights.
    pub weights: PathBuf,
    /// The run folder that it lies in, if it lies in one.
    pub run: Option<PathBuf>,
}

impl ModelLocation {
    /// Finds the weights that `path` means: a run folder (or a link to one, such as
    /// `runs/latest`) means its best weights, a file means itself.
    ///
    /// # Errors
    /// [`Error::Input`] if there is nothing, or no weights, at that path.
    pub fn find(path: &Path) -> Result<Self> {
        let shown = path.display();
        let metadata = std::fs::metadata(path).map_err(|fault| {
            Error::Input(if path.is_symlink() {
                format!("{shown} links to a run that cannot be opened: {fault}")
            } else {
                format!("no run folder or model file at {shown} ({fault}); train one first")
            })
        })?;
        if metadata.is_file() {
            let folder = parent(path);
            // A folder is a run's if toile made it; others may have files of the same names.
            let run = folder.join(LOCK).is_file().then(|| folder.to_owned());
            return Ok(Self { weights: path.to_owned(), run });
        }
        if !metadata.is_dir() {
            return Err(Error::Input(format!(
                "{shown}: expected a run folder or a file of weights, found a pipe, socket or \
                 device; check the path"
            )));
        }
        let weights = path.join(BEST_WEIGHTS);
        if let Err(fault) = weights.metadata()
            && fault.kind() == ErrorKind::PermissionDenied
        {
            return Err(storage("open", &weights, &fault));
        }
        if !weights.is_file() {
            let target = std::fs::read_link(path).map(|run| format!(" (now {})", run.display()));
            let target = target.unwrap_or_default();
            return Err(Error::Input(match path.join(LOCK).is_file() {
                true if claim::is_search(path) => format!(
                    "{shown}{target}: expected the folder of a run, found that of a search; name a \
                     run of it, such as rung-0/trial-000, or train with its best.toml"
                ),
                true => format!(
                    "{shown}{target} holds no {BEST_WEIGHTS}: its run has finished no epoch yet; \
                     wait for it or go on with it by train --resume, or name another run"
                ),
                false => format!(
                    "{shown}{target} holds no {BEST_WEIGHTS}: it is not the folder of a run; \
                     expected one, such as runs/latest, or a file of weights"
                ),
            }));
        }
        Ok(Self { weights, run: Some(path.to_owned()) })
    }
}
