//! Fetching a data set that is nowhere on this machine: from its mirrors, one after the other,
//! then out of Debian's package.
//!
//! One process fetches at a time, the others wait and find the files. Whatever kills it, only
//! whole and published files have their names; the rest is gone on with or cleared away by the
//! next one.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::download::{self, Attempt, Failure, Patience};
use super::{DebianPackage, KnownDataSet, KnownFile, apt, find_file, places};
use crate::error::{Error, Result};

/// Long enough for slow lines, and short enough that a machine without any hears so in seconds.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    stall: Duration::from_secs(20),
    program: Duration::from_secs(60),
};

/// Held by the process that fetches; it has that process's number.
const LOCK: &str = ".download.lock";

/// Hears how a download goes.
pub trait Reporter {
    /// Something happened that a waiting person wants to know: one line.
    fn note(&mut self, text: &str);

    /// Of `file`, so many bytes are there, out of `total` where that is known. Called many times
    /// a second, at first with what an earlier attempt left.
    fn transferred(&mut self, file: &str, bytes: u64, total: Option<u64>);

    /// No more bytes of that file come for now, be it whole or not.
    fn transfer_ended(&mut self);
}

/// The directory that has the files of `known`, which are fetched if there is none.
pub(super) fn obtain(known: &KnownDataSet, reporter: &mut dyn Reporter) -> Result<PathBuf> {
    let places = (known.places)();
    if let Some(notice) = places::chosen_in_vain(&places) {
        reporter.note(&notice);
    }
    if let Some(directory) = places::first_complete(&places) {
        return Ok(directory);
    }
    let folder = PathBuf::from(known.folder);
    match fetch(known, &folder, PATIENCE, reporter)? {
        failures if failures.is_empty() => Ok(folder),
        failures => Err(places::not_found(known, &places, &failures)),
    }
}

/// Fetches the files that `folder` lacks. Returns why each source failed, and nothing if all
/// files are there.
fn fetch(
    known: &KnownDataSet,
    folder: &Path,
    patience: Patience,
    reporter: &mut dyn Reporter,
) -> Result<Vec<String>> {
    let _lock = lock(known, folder, reporter)?;
    if missing(known, folder).next().is_none() {
        return Ok(Vec::new());
    }
    apt::remove_leftovers(folder);
    reporter.note(&format!(
        "{} is not on this machine; fetching it into {}",
        known.title,
        std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).display()
    ));
    let mut failures = Vec::new();
    let mut failed = |name: &str, problem: &str, reporter: &mut dyn Reporter| {
        let failure = format!("{name}: {problem}");
        reporter.note(&failure);
        failures.push(failure);
    };
    let agent = download::agent(patience);
    for base in known.mirrors {
        // A mirror that fails once is left, so that a dead network is not asked for each file.
        let attempt = missing(known, folder).try_for_each(|file| {
            download::download(&agent, base, file, folder, patience.stall, reporter)
        });
        match attempt {
            Ok(()) => return Ok(Vec::new()),
            Err(Failure::Source(problem)) => failed(base, &problem, reporter),
            Err(Failure::Machine(error)) => return Err(error),
        }
    }
    if let Some(package) = &known.debian {
        let name = format!("Debian's package {}", package.name);
        match from_debian(package, known, folder, patience, reporter) {
            Ok(()) => return Ok(Vec::new()),
            Err(Failure::Source(problem)) => failed(&name, &problem, reporter),
            Err(Failure::Machine(error)) => return Err(error),
        }
    }
    Ok(failures)
}

fn from_debian(
    package: &DebianPackage,
    known: &KnownDataSet,
    folder: &Path,
    patience: Patience,
    reporter: &mut dyn Reporter,
) -> Attempt<()> {
    let unpacked = apt::fetch(package, folder, patience.program, reporter)?;
    let directory = unpacked.directory(package.directory);
    missing(known, folder)
        .try_for_each(|file| download::import(file, &directory.join(file.packed_name()), folder))
}

/// The files that are not in `folder`, whole and under their names.
fn missing<'a>(known: &'a KnownDataSet, folder: &'a Path) -> impl Iterator<Item = &'a KnownFile> {
    known.files.iter().filter(move |file| find_file(folder, file.name).is_none())
}

/// Makes `folder` and waits until no other process fetches into it. The system lets go of the
/// lock when the process ends, however it ends.
fn lock(known: &KnownDataSet, folder: &Path, reporter: &mut dyn Reporter) -> Result<File> {
    let fault = |action: &str, path: &Path, fault: &io::Error| {
        Error::Storage(format!(
            "{} is not on this machine and must be fetched, but toile cannot {action} {}: {fault}; \
             start in a folder that can be written to, or set TOILE_DATA_DIR",
            known.title,
            path.display()
        ))
    };
    fs::create_dir_all(folder).map_err(|error| fault("create", folder, &error))?;
    let path = folder.join(LOCK);
    let cannot_lock = |error: io::Error| fault("lock", &path, &error);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut lock = options.open(&path).map_err(cannot_lock)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            reporter.note(&format!(
                "{} is fetching {} into {}; waiting for it",
                holder(&lock),
                known.title,
                folder.display()
            ));
            lock.lock().map_err(cannot_lock)?;
        }
        Err(TryLockError::Error(error)) => return Err(cannot_lock(error)),
    }
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(cannot_lock)?;
    Ok(lock)
}

/// Who holds the lock, as far as its file tells.
fn holder(lock: &File) -> String {
    let mut text = String::new();
    let _ = lock.take(20).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(process) => format!("process {process}"),
        Err(_) => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests;
