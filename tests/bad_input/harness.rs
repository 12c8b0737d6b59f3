//! Runs one program on one spoilt folder and looks at everything that it did.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use wait4::{ResUse, Wait4};

use crate::idx_files::{UNSIGNED_BYTE, idx_bytes, image_bytes};

/// A program that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(20);

/// Files up to this size are compared by content, larger ones by size and time.
const COMPARED_BYTES: u64 = 4 << 20;

/// Images of the good data set: training file and test file.
pub const TRAIN_COUNT: u32 = 40;
pub const TEST_COUNT: u32 = 10;

/// The command line of a good training run on the good data set.
pub const GOOD_TRAINING: &str = "train --data data --val-size 10 --batch-size 10 --max-steps 3";

/// One bad input.
pub struct Row {
    /// The number of the case in the list of faults that the table follows.
    pub case: u32,
    /// What is wrong.
    pub name: &'static str,
    /// Spoils a folder that holds `data/`, a good data set, and `run/`, a good run.
    pub spoil: fn(&Path),
    /// The program and its arguments, started in that folder. [`ODD_NAME`] in it is a name that
    /// is not UTF-8.
    pub command: String,
    pub exit_code: i32,
    /// What the message tells: the file or flag, what was expected, what was found, and what to
    /// do. A row that works has nothing to tell.
    pub tells: Vec<&'static str>,
    pub after: After,
    /// The address space that the program gets, in KiB; without one, the machine's.
    pub address_space_kib: Option<u64>,
    /// Whether the reader of its results goes away before they come.
    pub reader_leaves: bool,
}

/// Stands for the name of [`odd_name`] in a command.
pub const ODD_NAME: &str = "ODD_NAME";

/// A name that is not UTF-8.
pub fn odd_name() -> &'static OsStr {
    OsStr::from_bytes(b"odd-\xff")
}

impl Row {
    /// A row that is refused before anything is done.
    pub fn refused(
        case: u32,
        name: &'static str,
        spoil: fn(&Path),
        command: &str,
        exit_code: i32,
        tells: [&'static str; 4],
    ) -> Row {
        Row {
            case,
            name,
            spoil,
            command: command.to_owned(),
            exit_code,
            tells: tells.to_vec(),
            after: After::Untouched,
            address_space_kib: None,
            reader_leaves: false,
        }
    }

    /// A row that does no harm.
    pub fn works(
        case: u32,
        name: &'static str,
        spoil: fn(&Path),
        command: &str,
        is_right: fn(&Path) -> bool,
    ) -> Row {
        let row = Row::refused(case, name, spoil, command, 0, [""; 4]);
        Row { tells: Vec::new(), after: After::Is(is_right), ..row }
    }
}

/// What is left behind.
pub enum After {
    /// Everything is as it was, and nothing is new.
    Untouched,
    /// This is true of the folder.
    Is(fn(&Path) -> bool),
}

/// What came of a row.
pub struct Outcome {
    pub exit_code: Option<i32>,
    pub seconds: f64,
    /// The most memory that the program had at once.
    pub peak_bytes: u64,
    /// What is not as it must be.
    pub faults: Vec<String>,
}

/// A good data set, a good run on it, and what good calls cost.
pub struct Good {
    folder: TempDir,
    peaks: BTreeMap<&'static str, u64>,
}

impl Good {
    /// Makes all that rows are spoilt from.
    ///
    /// A program is charged with the most memory that this process ever took before it. That can
    /// make a row look worse than it is, never better, as long as it is less than good runs take.
    pub fn make() -> Good {
        let folder = tempfile::tempdir().unwrap();
        write_data(&folder.path().join("data"));
        let mut peaks = BTreeMap::new();
        let commands = [
            ("train", format!("{GOOD_TRAINING} --out . --name run")),
            ("evaluate", "evaluate run".to_owned()),
        ];
        for (program, command) in commands {
            peaks.insert(program, peak_of(&command, folder.path()));
            let floor = peak_of(&format!("{program} --version"), folder.path());
            println!(
                "{program}: MiB of a good run {}, of none {}",
                peaks[program] >> 20,
                floor >> 20
            );
            assert!(floor < peaks[program], "{program} is charged with this test's own memory");
        }
        Good { folder, peaks }
    }

    /// The peak memory of a good call of the row's program.
    pub fn peak_bytes(&self, row: &Row) -> u64 {
        self.peaks[row.command.split_whitespace().next().unwrap()]
    }

    /// Runs a row in a folder of its own.
    pub fn run(&self, row: &Row) -> Outcome {
        let (folder, streams) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for part in ["data", "run"] {
            copy_folder(&self.folder.path().join(part), &folder.path().join(part));
        }
        (row.spoil)(folder.path());
        let before = snapshot(folder.path());
        let begin = Instant::now();
        let used = wait(start(row, folder.path(), streams.path()));
        let seconds = begin.elapsed().as_secs_f64();
        let message = fs::read(streams.path().join("stderr")).unwrap();
        let message = String::from_utf8_lossy(&message).into_owned();
        let mut faults = Vec::new();
        let exit_code = used.as_ref().and_then(|used| used.status.code());
        if used.is_none() {
            faults.push(format!("still running after {} s", LONGEST.as_secs()));
        }
        if message.contains("panicked") {
            faults.push("it panicked".to_owned());
        }
        if message.chars().any(|c| c.is_control() && c != '\n') {
            faults.push("control characters in its message".to_owned());
        }
        if exit_code != Some(row.exit_code) {
            faults.push(format!("expected exit code {}, found {exit_code:?}", row.exit_code));
        }
        let untold = row.tells.iter().filter(|word| word.is_empty() || !message.contains(**word));
        faults.extend(untold.map(|word| format!("the message lacks {word:?}")));
        match row.after {
            After::Untouched => faults.extend(differences(&before, &snapshot(folder.path()))),
            After::Is(right) if !right(folder.path()) => {
                faults.push("the folder is not left as it should be".to_owned());
            }
            After::Is(_) => {}
        }
        if !faults.is_empty() {
            faults.push(format!("it said: {message}"));
        }
        let peak_bytes = used.map_or(0, |used| used.rusage.maxrss);
        Outcome { exit_code, seconds, peak_bytes, faults }
    }
}

/// The peak memory of a command that does its work.
fn peak_of(command: &str, folder: &Path) -> u64 {
    let row = Row::works(0, "good", |_| (), command, |_| true);
    let streams = tempfile::tempdir().unwrap();
    let used = wait(start(&row, folder, streams.path())).expect("it ends");
    let told = fs::read_to_string(streams.path().join("stderr")).unwrap();
    assert!(used.status.success(), "{command}: {told}");
    used.rusage.maxrss
}

/// Starts a row's program in `folder`, deaf to the environment, with its output in files.
fn start(row: &Row, folder: &Path, streams: &Path) -> Child {
    let mut words = row.command.split_whitespace();
    let program = match words.next().unwrap() {
        "train" => env!("CARGO_BIN_EXE_train"),
        "evaluate" => env!("CARGO_BIN_EXE_evaluate"),
        other => panic!("no program is named {other}"),
    };
    let mut process = match row.address_space_kib {
        None => Command::new(program),
        Some(kib) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh", program]);
            shell
        }
    };
    process.args(words.map(|word| if word == ODD_NAME { odd_name() } else { OsStr::new(word) }));
    for variable in ["RAYON_NUM_THREADS", "TOILE_DATA_DIR", "TOILE_ISA", "RUST_LOG", "CI"] {
        process.env_remove(variable);
    }
    let stream = |name| Stdio::from(File::create(streams.join(name)).unwrap());
    let results = if row.reader_leaves { Stdio::piped() } else { stream("stdout") };
    process.current_dir(folder).stdin(Stdio::null()).stdout(results).stderr(stream("stderr"));
    let mut child = process.spawn().unwrap();
    drop(child.stdout.take());
    child
}

/// Waits for a program; one that hangs is ended, and gives `None`.
fn wait(mut child: Child) -> Option<ResUse> {
    let begin = Instant::now();
    while begin.elapsed() < LONGEST {
        if let Some(used) = child.try_wait4().unwrap() {
            return Some(used);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    let _: ExitStatus = child.wait().unwrap();
    None
}

/// Writes a good data set of 28 x 28 images in ten classes.
fn write_data(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (part, count) in [("train", TRAIN_COUNT), ("t10k", TEST_COUNT)] {
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), image_bytes(count, 28, 28))
            .unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels(count)).unwrap();
    }
}

/// A file of labels, the ten classes in turn.
pub fn labels(count: u32) -> Vec<u8> {
    let labels: Vec<u8> = (0..count).map(|image| (image % 10) as u8).collect();
    idx_bytes(UNSIGNED_BYTE, &[count], &labels)
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What is seen of a file without opening pipes or devices.
#[derive(PartialEq)]
struct Seen {
    bytes: u64,
    kind: fs::FileType,
    changed: Option<SystemTime>,
    content: Option<u64>,
}

fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let compared = metadata.is_file() && metadata.len() <= COMPARED_BYTES;
            let seen = Seen {
                bytes: metadata.len(),
                kind: metadata.file_type(),
                changed: metadata.is_file().then(|| metadata.modified().unwrap()),
                content: compared.then(|| hash(&fs::read(&path).unwrap())),
            };
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, seen);
        }
    }
    found
}

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}

fn differences(before: &BTreeMap<PathBuf, Seen>, after: &BTreeMap<PathBuf, Seen>) -> Vec<String> {
    let lost = before.keys().filter(|path| !after.contains_key(*path));
    let lost = lost.map(|path| format!("{} is gone", path.display()));
    let changed = after.iter().filter_map(|(path, seen)| match before.get(path) {
        Some(old) if old == seen => None,
        Some(_) => Some(format!("{} has changed", path.display())),
        None => Some(format!("{} is new", path.display())),
    });
    lost.chain(changed).collect()
}
