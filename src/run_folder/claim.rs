//! Naming and claiming: a run gets a folder that no other process writes to.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

use super::{CONFIG, FILE_MODE, FILES, FOLDER_MODE, LATEST, LOCK, RESULTS, RunFolder, TEMPORARY};
use super::{new_temporary, parent, storage, sync_folder, write_whole};
use crate::error::{Error, Result};
use crate::files::read_regular;

/// How the settings of a search begin, in its `config.toml`: those of a run say nothing.
const SEARCH: &str = "# The settings of a search by `tune`\n";

/// Longest part that a data set's name takes in a folder's name, in characters.
const LONGEST_DATA_NAME: usize = 64;

impl RunFolder {
    /// Makes and claims the folder of a new run under `out`, with its settings in `config.toml`,
    /// and lets `latest` point to it. A new folder appears with its settings in it, so that a
    /// run can be resumed from its first moment.
    ///
    /// Without a `name` it is `<data>-<recipe>-NNN`, where NNN follows the highest number in
    /// use and `data` is the last part of its path. With a `name`, an existing folder is
    /// refused unless it is empty or `overwrite` is set; overwriting deletes the files of the
    /// earlier run, and touches nothing if the folder holds anything else.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is no plain folder name, an existing folder, or a
    /// `latest` that is no link; [`Error::Locked`] if another process writes to the folder;
    /// [`Error::Storage`] if it cannot be made.
    pub fn create(
        out: &Path,
        data: &Path,
        recipe: &str,
        name: Option<&OsStr>,
        overwrite: bool,
        config: &str,
    ) -> Result<Self> {
        if let Some(name) = name {
            check_name(name)?;
        }
        check_latest(&out.join(LATEST))?;
        make_out(out)?;
        let run = match name {
            Some(name) => create_named(out, name, overwrite, config)?,
            None => create_numbered(out, &format!("{}-{recipe}", data_name(data)), config)?,
        };
        point_latest(out, run.path.file_name().expect("a run folder has a name"))?;
        Ok(run)
    }

    /// Makes and claims the folder of a search under `out`, `tune-NNN` without a `name`, with
    /// what is searched in `config.toml`; or claims an existing folder of that name and content.
    /// `latest` stays as it is.
    ///
    /// # Errors
    /// As for [`RunFolder::create`]; [`Error::Input`] too if the folder is anything else's.
    pub fn of_search(out: &Path, name: Option<&OsStr>, config: &str) -> Result<Self> {
        name.map_or(Ok(()), check_name)?;
        make_out(out)?;
        let config = &format!("{SEARCH}{config}");
        let Some(name) = name else { return create_numbered(out, "tune", config) };
        let path = out.join(name);
        if appear(&path, config)? {
            return claim(&path);
        }
        let folder = Self::open_any(&path)?;
        let file = folder.file(CONFIG);
        let found = read_regular(&file, config.len() as u64);
        if found.is_ok_and(|found| found == config.as_bytes()) {
            return Ok(folder);
        }
        Err(Error::Input(format!(
            "{} was not made by this search: expected its settings and its space, as they stand in \
             {CONFIG}; to go on with a search, give the same flags and files again, else choose \
             another --name",
            path.display()
        )))
    }

    /// Claims an existing run folder, to go on with its run. A link such as `runs/latest` is
    /// followed once: it may point elsewhere before the run ends.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no folder that toile made, or a search's; [`Error::Locked`] if
    /// another process writes to it; [`Error::Storage`] if that cannot be found out.
    pub fn open(path: &Path) -> Result<Self> {
        if is_search(path) {
            return Err(Error::Input(format!(
                "{}: expected the folder of a run, found that of a search; give its tune command \
                 again, with this --name, to go on with it, or name a run of it, such as \
                 rung-0/trial-000",
                path.display()
            )));
        }
        Self::open_any(path)
    }

    fn open_any(path: &Path) -> Result<Self> {
        if let Err(fault) = path.join(LOCK).metadata()
            && fault.kind() == ErrorKind::PermissionDenied
        {
            return Err(storage("open", path, &fault));
        }
        if !path.join(LOCK).is_file() {
            return Err(Error::Input(format!(
                "{}: expected the folder of a run, such as runs/latest, found {}",
                path.display(),
                if path.is_dir() { "a folder that train did not make" } else { "no folder" }
            )));
        }
        let resolved = resolve(path).map_err(|fault| storage("open", path, &fault))?;
        let run = claim(&resolved)?;
        remove_temporaries(&resolved).map_err(|fault| storage("clean", path, &fault))?;
        Ok(run)
    }
}

/// Whether a folder is a search's.
pub(super) fn is_search(path: &Path) -> bool {
    let mut start = Vec::new();
    let config = path.join(CONFIG);
    // Opening a pipe would wait for ever.
    config.is_file()
        && File::open(config)
            .and_then(|file| file.take(SEARCH.len() as u64).read_to_end(&mut start))
            .is_ok()
        && start == SEARCH.as_bytes()
}

/// Where a path leads: itself, unless it is a link.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    // Without a slash at its end, which would hide that it is a link.
    let path: PathBuf = path.components().collect();
    let Ok(target) = std::fs::read_link(&path) else { return Ok(path) };
    // A link to a link is rare enough to lose its short name.
    let target = parent(&path).join(target);
    if target.is_symlink() { target.canonicalize() } else { Ok(target) }
}

/// Removes what a killed process left half-written. Only for the holder of the lock: nobody
/// else is writing then.
fn remove_temporaries(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if is_temporary(&entry.file_name()) && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

fn check_name(name: &OsStr) -> Result<()> {
    let mut parts = Path::new(name).components();
    let plain = matches!(parts.next(), Some(Component::Normal(part)) if part == name);
    if plain && name != LATEST {
        return Ok(());
    }
    Err(Error::Input(format!(
        "a run cannot be named {name:?}: expected one folder name other than {LATEST:?}; \
         --out says where it lies"
    )))
}

/// The last part of the data's path, cut down to what is harmless in a folder's name.
fn data_name(data: &Path) -> String {
    let name = data.file_name().unwrap_or(OsStr::new("data")).to_string_lossy();
    let harmless = |character: char| match character {
        '-' | '_' | '.' => character,
        _ if character.is_alphanumeric() => character,
        _ => '_',
    };
    let name: String =
        name.trim_start_matches('.').chars().take(LONGEST_DATA_NAME).map(harmless).collect();
    if name.is_empty() { "data".into() } else { name }
}

fn create_numbered(out: &Path, prefix: &str, config: &str) -> Result<RunFolder> {
    let mut number = highest_number(out, prefix).map_err(|fault| storage("list", out, &fault))?;
    loop {
        number += 1;
        let path = out.join(format!("{prefix}-{number:03}"));
        // Another run may have taken this number since the folder was listed.
        if appear(&path, config)? {
            return claim(&path);
        }
    }
}

/// Makes a run's folder with its settings in it, in one step; false if something of that name
/// is there already.
fn appear(path: &Path, config: &str) -> Result<bool> {
    let out = parent(path);
    let make = || -> io::Result<tempfile::TempDir> {
        let folder = new_temporary(FOLDER_MODE).tempdir_in(out)?;
        File::create(folder.path().join(LOCK))?;
        Ok(folder)
    };
    let folder = make().map_err(|fault| storage("create", path, &fault))?;
    write_whole(&folder.path().join(CONFIG), config.as_bytes())?;
    let move_there = || -> io::Result<bool> {
        if path.symlink_metadata().is_ok() {
            return Ok(false);
        }
        match std::fs::rename(folder.path(), path) {
            Ok(()) => {}
            Err(fault) if is_taken(&fault) => return Ok(false),
            Err(fault) => return Err(fault),
        }
        // Nothing of that name is left to be removed.
        let _ = folder.keep();
        sync_folder(out)?;
        Ok(true)
    };
    move_there().map_err(|fault| storage("create", path, &fault))
}

fn is_taken(fault: &io::Error) -> bool {
    use ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(fault.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory)
}

fn highest_number(out: &Path, prefix: &str) -> io::Result<u32> {
    let mut highest = 0;
    for entry in std::fs::read_dir(out)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok())
            .filter(|&number: &u32| number < u32::MAX);
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}

fn create_named(out: &Path, name: &OsStr, overwrite: bool, config: &str) -> Result<RunFolder> {
    let path = out.join(name);
    if appear(&path, config)? {
        return claim(&path);
    }
    let shown = path.display();
    // A link is not followed: what lies behind it has another name, and perhaps another owner.
    if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Error::Input(format!("{shown} exists and is not a folder")));
    }
    let files = own_files(&path)?;
    let is_empty = files.iter().all(|name| name == LOCK || is_temporary(name));
    if !is_empty && !overwrite {
        return Err(Error::Input(format!(
            "{shown} exists; go on with that run by --resume, choose another --name, or replace \
             it with --overwrite"
        )));
    }
    let run = claim(&path)?;
    // Whoever held the folder may have written more before it was claimed.
    for file in own_files(&path)?.iter().filter(|&file| file != LOCK) {
        let file = path.join(file);
        std::fs::remove_file(&file).map_err(|fault| storage("remove", &file, &fault))?;
    }
    run.write(CONFIG, config.as_bytes())?;
    Ok(run)
}

/// The files of the run in a folder; none if it is empty, an error if it holds anything else.
fn own_files(path: &Path) -> Result<Vec<OsString>> {
    let list = || -> io::Result<Vec<(OsString, bool)>> {
        std::fs::read_dir(path)?
            .map(|entry| {
                entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?.is_file())))
            })
            .collect()
    };
    let entries = list().map_err(|fault| storage("list", path, &fault))?;
    // A lone config.toml may be a user's own, so the names alone prove nothing.
    let made_by_toile = entries.iter().any(|(name, _)| name == LOCK);
    for (name, is_file) in &entries {
        let known = FILES.iter().chain(RESULTS).any(|file| name == file) || is_temporary(name);
        if !(made_by_toile && known && *is_file) {
            return Err(Error::Input(format!(
                "{} exists and holds {name:?}, which is not of a run; nothing was changed, \
                 choose another --name",
                path.display()
            )));
        }
    }
    Ok(entries.into_iter().map(|(name, _)| name).collect())
}

/// Takes the folder's lock. The system lets go of it when the process ends, however it ends.
fn claim(path: &Path) -> Result<RunFolder> {
    let lock_path = path.join(LOCK);
    let fault = |fault: io::Error| storage("lock", &lock_path, &fault);
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(fault)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(path, &lock)),
        Err(TryLockError::Error(error)) => return Err(fault(error)),
    }
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(fault)?;
    Ok(RunFolder { path: path.to_owned(), _lock: lock })
}

fn locked(path: &Path, lock: &File) -> Error {
    let mut holder = String::new();
    let holder = match lock.take(20).read_to_string(&mut holder) {
        Ok(_) if !holder.is_empty() => format!("process {}", holder.trim()),
        _ => "another process".into(),
    };
    Error::Locked(format!(
        "{} is in use by {holder}; wait for it to end, or start a run of another name",
        path.display()
    ))
}

fn make_out(out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).map_err(|fault| {
        let in_place = out.exists() && !out.is_dir();
        let other = "something else is in the place of this folder; choose another --out";
        let fault = if in_place { io::Error::other(other) } else { fault };
        storage("create", out, &fault)
    })
}

fn check_latest(latest: &Path) -> Result<()> {
    match latest.symlink_metadata() {
        Ok(metadata) if !metadata.is_symlink() => Err(Error::Input(format!(
            "{} exists and is not a link; move it away, or choose another --out",
            latest.display()
        ))),
        _ => Ok(()),
    }
}

/// Replaces the link in one step, so that it points somewhere at any moment.
fn point_latest(out: &Path, run: &OsStr) -> Result<()> {
    let latest = out.join(LATEST);
    let replace = || -> io::Result<()> {
        new_temporary(FILE_MODE)
            .make_in(out, |temporary| link(run, temporary))?
            .persist(&latest)?;
        Ok(())
    };
    replace().map_err(|fault| storage("link", &latest, &fault))
}

#[cfg(unix)]
use std::os::unix::fs::symlink as link;
#[cfg(windows)]
use std::os::windows::fs::symlink_dir as link;
