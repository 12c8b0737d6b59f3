//! Debian's package as one more mirror.
//!
//! `apt-get` knows the mirrors and keys of its system, so it fetches its list and the package, but
//! into a private folder: that takes no root, installs nothing and writes nothing else. The
//! package is then unpacked there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::download::{Attempt, Failure, printable, storage};
use super::{DebianPackage, Reporter};

/// What the private folders' names begin with.
const PREFIX: &str = ".apt-";
/// In the private folder: settings, what the programs say, and what is unpacked.
const SETTINGS: &str = "apt.conf";
const LOG: &str = "log";
const UNPACKED: &str = "unpacked";

/// How long one program may take, however much it does.
const LONGEST_STEP: Duration = Duration::from_secs(20 * 60);
const POLL: Duration = Duration::from_millis(100);

/// Comes after the system's settings, of which proxies and keys matter here. Hooks would work on
/// the system, and lists of anything but packages would only take time. Paths that start with a
/// dot count from the current folder.
const PRIVATE_SETTINGS: &str = r##"
#clear APT::Update;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear Acquire::IndexTargets::deb::CNF;
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::State "./state/";
Dir::State::status "./status";
Dir::Cache "./cache/";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "./log-folder/";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "1";
Acquire::http::Timeout "10";
Acquire::https::Timeout "10";
"##;

/// How apt, dpkg and tar say that the disk is full.
const FULL_DISK: [&str; 2] = ["No space left on device", "enough free space"];

/// How lines begin that tell why something failed.
const COMPLAINTS: [&str; 4] = ["E: ", "W: Failed to fetch", "dpkg", "tar: "];

/// An unpacked package, until the value is dropped.
pub(super) struct Unpacked {
    root: TempDir,
}

impl Unpacked {
    /// What would lie in `directory` if the package were installed.
    pub(super) fn directory(&self, directory: &str) -> PathBuf {
        self.root.path().join(UNPACKED).join(directory.trim_start_matches('/'))
    }
}

/// Fetches and unpacks `package` into a new folder in `folder`. A program that shows no sign of
/// work for as long as `silence` is stopped.
pub(super) fn fetch(
    package: &DebianPackage,
    folder: &Path,
    silence: Duration,
    reporter: &mut dyn Reporter,
) -> Attempt<Unpacked> {
    let root = private_folder(folder).map_err(|fault| storage("write", folder, &fault))?;
    let path = root.path();
    let mut step = |program: &str, arguments: &[&str], what: &str| {
        let ended = run(program, arguments, path, silence, what, reporter);
        reporter.transfer_ended();
        ended
    };
    // One unreachable source of many is a failure of the update, and perhaps not one of ours.
    step("apt-get", &["--quiet", "update"], "Debian's list of packages")?;
    let status = step("apt-get", &["--quiet", "download", package.name], package.name)?;
    require_success("apt-get download", status, path)?;
    let Some(file) = find_package(path) else {
        return Err(Failure::Source("apt-get download left no package".to_owned()));
    };
    let status = step("dpkg-deb", &["--extract", &file, UNPACKED], "unpacking")?;
    require_success("dpkg-deb", status, path)?;
    Ok(Unpacked { root })
}

/// Removes what killed processes left. A program of theirs may still be at work there, so this
/// need not succeed; the next one tries again.
pub(super) fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn private_folder(folder: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    // What apt downloads as root it downloads as another user, who must be let in.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    let root = builder.tempdir_in(folder)?;
    for directory in ["state/lists/partial", "cache/archives/partial", UNPACKED] {
        fs::create_dir_all(root.path().join(directory))?;
    }
    fs::write(root.path().join("status"), "")?;
    let include = |path: &&str| Path::new(path).exists();
    let mut settings: String = ["/etc/apt/apt.conf.d/", "/etc/apt/apt.conf"]
        .iter()
        .filter(|path| include(path))
        .map(|path| format!("#include \"{path}\";\n"))
        .collect();
    settings.push_str(PRIVATE_SETTINGS);
    fs::write(root.path().join(SETTINGS), settings)?;
    Ok(root)
}

/// Runs a program in the private folder; `what` says what comes into that folder.
fn run(
    program: &str,
    arguments: &[&str],
    root: &Path,
    silence: Duration,
    what: &str,
    reporter: &mut dyn Reporter,
) -> Attempt<ExitStatus> {
    // A file, as nobody empties a pipe here.
    let log_path = root.join(LOG);
    let log = File::options().create(true).append(true).open(&log_path);
    let logs = log.and_then(|log| Ok((log.try_clone()?, log)));
    let (stdout, stderr) = logs.map_err(|fault| storage("write", &log_path, &fault))?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .envs([("APT_CONFIG", format!("./{SETTINGS}").as_str()), ("LC_ALL", "C")])
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(|fault| Failure::Source(format!("{program} cannot be run ({fault})")))?;
    let start = Instant::now();
    let first = bytes_in(root);
    let (mut bytes, mut changed) = (first, start);
    loop {
        let ended = child.try_wait().map_err(|fault| {
            Failure::Source(format!("{program} cannot be waited for ({fault})"))
        })?;
        let now = bytes_in(root);
        if now != bytes {
            (bytes, changed) = (now, Instant::now());
        }
        reporter.transferred(what, bytes.saturating_sub(first), None);
        if let Some(status) = ended {
            return Ok(status);
        }
        if changed.elapsed() >= silence || start.elapsed() >= LONGEST_STEP {
            let _ = child.kill();
            let _ = child.wait();
            let seconds = start.elapsed().as_secs_f64();
            return Err(Failure::Source(format!(
                "{program} hung, stopped after {seconds:.1} seconds"
            )));
        }
        thread::sleep(POLL);
    }
}

fn require_success(step: &str, status: ExitStatus, root: &Path) -> Attempt<()> {
    if status.success() {
        return Ok(());
    }
    let log = fs::read(root.join(LOG)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    // No other source would help, and this one may be fine.
    if FULL_DISK.iter().any(|words| log.contains(words)) {
        return Err(storage("write", root, &io::ErrorKind::StorageFull.into()));
    }
    Err(Failure::Source(format!("{step} failed ({status}): {}", complaints(&log))))
}

/// The last things that apt and dpkg complained of.
fn complaints(log: &str) -> String {
    let is_complaint = |line: &&str| COMPLAINTS.iter().any(|beginning| line.starts_with(beginning));
    let mut lines: Vec<&str> = log.lines().filter(is_complaint).rev().take(2).collect();
    lines.reverse();
    printable(&lines.join("; "))
}

/// The name of the package file in the private folder.
fn find_package(root: &Path) -> Option<String> {
    let entries = fs::read_dir(root).ok()?.flatten();
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| name.ends_with(".deb")).map(|name| format!("./{name}"))
}

/// The bytes of all files below a folder; of a folder that is being written to, about so many.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
