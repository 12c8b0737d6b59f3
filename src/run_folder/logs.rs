//! The two files that grow: one row an epoch, one line a step.
//!
//! Rows are appended, never rewritten, so a killed run leaves at most a torn last line and
//! lines beyond its checkpoint. A resumed run cuts both off before it goes on. What a full disk
//! does not take stays in memory until it does.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{HISTORY, METRICS, RunFolder, storage};
use crate::error::{Error, Result};
use crate::files::{MAX_RESULT_BYTES, read_regular};

/// Longer than any line that is written here; a longer one is damage.
const LONGEST_LINE: u64 = 4096;

const HISTORY_HEADER: &str =
    "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds,images_per_second\n";

/// One epoch of `training_history.csv`; the fields are its columns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Counted from 1.
    pub epoch: u64,
    /// Mean training loss over the epoch, in nats, dropout on.
    pub loss: f64,
    /// Training accuracy over the epoch, 0 to 1, dropout on.
    pub accuracy: f64,
    /// Mean loss on the validation part after the epoch, in nats.
    pub val_loss: f64,
    /// Accuracy on the validation part after the epoch, 0 to 1.
    pub val_accuracy: f64,
    /// The learning rate in the middle of the epoch.
    pub learning_rate: f64,
    /// Duration of this epoch alone, validation included.
    pub seconds: f64,
    /// Training images per second of training.
    pub images_per_second: f64,
}

/// One step of `metrics.jsonl`; the fields are its keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Optimizer steps in all, counted from 1.
    pub step: u64,
    /// The epoch that the step belongs to, counted from 1.
    pub epoch: u64,
    /// Mean loss of the batch, in nats.
    pub loss: f64,
    /// Accuracy on the batch, 0 to 1.
    pub accuracy: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
}

/// Lines that wait for each other before they are written.
const GATHERED_BYTES: usize = 1 << 13;

/// Appends to `training_history.csv`.
#[derive(Debug)]
pub struct HistoryLog(Log);

impl HistoryLog {
    /// Starts the file anew.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file.
    pub fn create(run: &RunFolder) -> Result<Self> {
        let mut log = Log::create(run.file(HISTORY))?;
        log.append(HISTORY_HEADER);
        log.sync()?;
        Ok(Self(log))
    }

    /// Goes on after the row of `last_epoch`; later rows are cut off by the first sync.
    ///
    /// # Errors
    /// [`Error::Input`] if the headings or rows up to that epoch are missing, [`Error::Storage`] if
    /// the file cannot be read.
    pub fn resume(run: &RunFolder, last_epoch: u64) -> Result<Self> {
        let epoch = |line: &str| {
            if line == HISTORY_HEADER { Some(0) } else { line.split(',').next()?.parse().ok() }
        };
        let log = Log::resume(run.file(HISTORY), "epoch", last_epoch, &epoch)?;
        if log.cut == Some(0) {
            return Err(Error::Input(format!(
                "{}: expected a line of headings, found none; put the file back, or start a new run",
                log.path.display()
            )));
        }
        Ok(Self(log))
    }

    /// Adds one epoch.
    pub fn append(&mut self, row: &HistoryRow) {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        writer.serialize(row).expect("a row is plain numbers");
        let line = writer.into_inner().expect("a Vec takes any bytes");
        self.0.append(&String::from_utf8(line).expect("numbers are written in ASCII"));
    }

    /// Brings all rows to the disk. To be called before a checkpoint is written, so that a
    /// checkpoint never knows more epochs than this file.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file; the rows are kept for the next call.
    pub fn sync(&mut self) -> Result<()> {
        self.0.sync()
    }
}

/// The rows of a run's `training_history.csv`.
///
/// # Errors
/// [`Error::Storage`] if the file cannot be read or holds anything but rows.
pub fn read_history(run: &RunFolder) -> Result<Vec<HistoryRow>> {
    let path = run.file(HISTORY);
    let read = || -> csv::Result<Vec<HistoryRow>> {
        let text = read_regular(&path, MAX_RESULT_BYTES)?;
        csv::Reader::from_reader(text.as_slice()).deserialize().collect()
    };
    read().map_err(|fault| storage("read", &path, &io::Error::other(fault)))
}

/// Appends to `metrics.jsonl`; lines are gathered and reach the file in larger pieces.
#[derive(Debug)]
pub struct MetricsLog(Log);

impl MetricsLog {
    /// Starts the file anew.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file.
    pub fn create(run: &RunFolder) -> Result<Self> {
        Log::create(run.file(METRICS)).map(Self)
    }

    /// Goes on after the line of `last_step`; later lines are cut off by the first sync.
    ///
    /// # Errors
    /// [`Error::Input`] if lines up to that step are missing, [`Error::Storage`] if the file
    /// cannot be read.
    pub fn resume(run: &RunFolder, last_step: u64) -> Result<Self> {
        #[derive(Deserialize)]
        struct Line {
            step: u64,
        }
        let step = |line: &str| Some(serde_json::from_str::<Line>(line).ok()?.step);
        Log::resume(run.file(METRICS), "step", last_step, &step).map(Self)
    }

    /// Adds one step.
    pub fn append(&mut self, step: &StepMetrics) {
        let line = serde_json::to_string(step).expect("a step is plain numbers");
        self.0.append(&(line + "\n"));
    }

    /// Like [`HistoryLog::sync`], for steps.
    ///
    /// # Errors
    /// [`Error::Storage`] that names the file; the lines are kept for the next call.
    pub fn sync(&mut self) -> Result<()> {
        self.0.sync()
    }
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    /// Where the file is to be cut off before anything is written.
    cut: Option<u64>,
    /// What the file has not taken yet.
    pending: Vec<u8>,
}

impl Log {
    fn create(path: PathBuf) -> Result<Self> {
        let create = || match std::fs::metadata(&path) {
            // Opening a pipe would wait for ever.
            Ok(metadata) if !metadata.is_file() => Err(io::Error::other(
                "something else than a regular file is in its place; remove it",
            )),
            _ => File::create(&path),
        };
        let file = create().map_err(|fault| storage("create", &path, &fault))?;
        Ok(Self { path, file, cut: None, pending: Vec::new() })
    }

    fn resume(
        path: PathBuf,
        unit: &str,
        last: u64,
        number_of: &dyn Fn(&str) -> Option<u64>,
    ) -> Result<Self> {
        // Opening a pipe would wait for ever.
        if !path.is_file() {
            return Err(Error::Input(format!(
                "{}: expected the file up to {unit} {last}, where the checkpoint is, found no \
                 regular file; put it back, or start a new run",
                path.display()
            )));
        }
        let open = || -> io::Result<(File, u64, u64)> {
            let file = File::options().read(true).append(true).open(&path)?;
            let (length, reached) = kept_length(&file, last, number_of)?;
            Ok((file, length, reached))
        };
        let (file, length, reached) = open().map_err(|fault| storage("open", &path, &fault))?;
        if reached != last {
            return Err(Error::Input(format!(
                "{} ends at {unit} {reached}, but the checkpoint is at {unit} {last}: lines of it \
                 were lost; put the file back, or start a new run",
                path.display()
            )));
        }
        Ok(Self { path, file, cut: Some(length), pending: Vec::new() })
    }

    fn append(&mut self, line: &str) {
        self.pending.extend_from_slice(line.as_bytes());
        if self.pending.len() >= GATHERED_BYTES {
            // A disk that does not take them is told of by the next sync.
            let _ = self.write();
        }
    }

    /// Writes what is pending; after a fault, whatever was not written still is.
    fn write(&mut self) -> io::Result<()> {
        if let Some(length) = self.cut {
            self.file.set_len(length)?;
            self.cut = None;
        }
        while !self.pending.is_empty() {
            match self.file.write(&self.pending) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.pending.drain(..written)),
                Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let synced = self.write().and_then(|()| self.file.sync_data());
        synced.map_err(|fault| storage("write", &self.path, &fault))
    }
}

/// How many bytes hold whole lines numbered up to `last`, and the last of these numbers.
fn kept_length(
    file: &File,
    last: u64,
    number_of: &dyn Fn(&str) -> Option<u64>,
) -> io::Result<(u64, u64)> {
    let mut reader = BufReader::new(file);
    let (mut length, mut reached) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        let whole = line.ends_with(b"\n").then(|| std::str::from_utf8(&line).ok()).flatten();
        match whole.and_then(number_of) {
            Some(number) if number <= last => {
                length += read as u64;
                reached = number;
            }
            _ => return Ok((length, reached)),
        }
    }
}
