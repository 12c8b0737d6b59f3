//! Runs one program on one spoilt folder and looks at everything that it did.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wait4::{ResUse, Wait4};

use crate::idx_files::{UNSIGNED_BYTE, idx_bytes, image_bytes};
use crate::image_files::good_png;
use crate::snapshot::{differences, snapshot};

/// A program that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(20);

/// Images of the good data set: training file and test file.
pub const TRAIN_COUNT: u32 = 40;
pub const TEST_COUNT: u32 = 10;

/// The command line of a good training run on the good data set.
pub const GOOD_TRAINING: &str =
    "train --data data --recipe reference --val-size 10 --batch-size 10 --max-steps 3";

/// A run that reached a limit of steps in its second epoch, of three steps each.
const STOPPED_RUN: &str = "--data data --recipe reference --val-size 10 --batch-size 10";

/// One bad input.
pub struct Row {
    /// The number of the case in the list of faults that the table follows.
    pub case: u32,
    /// What is wrong.
    pub name: &'static str,
    /// What the folder holds: `data`, a good data set; `run`, a good run; `stopped`, one that
    /// stopped at step 5, with the one of 7 steps that it was to become in `whole.json`;
    /// `failed`, one whose second step was not finite.
    pub parts: &'static [&'static str],
    /// Spoils that folder.
    pub spoil: fn(&Path),
    /// The program and its arguments, started in that folder. [`ODD_NAME`] in it is a name that
    /// is not UTF-8.
    pub command: String,
    pub exit_code: i32,
    /// What the message tells: the file or flag, what was expected, what was found, and what to
    /// do. A row that works has nothing to tell.
    pub tells: Vec<&'static str>,
    /// What is found among its results.
    pub shows: Vec<&'static str>,
    pub after: After,
    /// Files that are left as they were.
    pub keeps: Vec<&'static str>,
    /// The instruction set that it is told to use, if any.
    pub isa: Option<&'static str>,
    /// The signal that it gets when `new/last.ckpt` is there.
    pub signal: Option<i32>,
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
            parts: &["data", "run"],
            spoil,
            command: command.to_owned(),
            exit_code,
            tells: tells.to_vec(),
            shows: Vec::new(),
            after: After::Untouched,
            keeps: Vec::new(),
            isa: None,
            signal: None,
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

/// A good data set, runs on it, and what good calls cost.
pub struct Good {
    folder: TempDir,
    peaks: BTreeMap<&'static str, u64>,
}

/// The folder that rows are run in, one after the other: runs remember where their data is.
const PLACE: &str = "place";

/// The folder of what rows are spoilt from.
const KEPT: &str = "kept";

impl Good {
    /// Makes all that rows are spoilt from.
    ///
    /// A program is charged with the most memory that this process ever took before it. That can
    /// make a row look worse than it is, never better, as long as it is less than good runs take.
    pub fn make() -> Good {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(PLACE);
        fs::create_dir(&place).unwrap();
        write_data(&place.join("data"));
        fs::write(place.join("good.png"), good_png()).unwrap();
        let mut peaks = BTreeMap::new();
        let commands = [
            ("train", format!("{GOOD_TRAINING} --out . --name run")),
            ("evaluate", "evaluate run".to_owned()),
            ("predict", "predict --model run good.png".to_owned()),
        ];
        for (program, command) in commands {
            peaks.insert(program, peak_of(&command, &place));
            let floor = peak_of(&format!("{program} --version"), &place);
            println!(
                "{program}: MiB of a good run {}, of none {}",
                peaks[program] >> 20,
                floor >> 20
            );
            assert!(floor < peaks[program], "{program} is charged with this test's own memory");
        }
        for (name, flags, exit_code) in [
            ("stopped", "--max-steps 5 --save-every 2", 0),
            ("whole", "--max-steps 7", 0),
            ("failed", FAILS, 4),
        ] {
            let command = format!("train {STOPPED_RUN} --out . --name {name} {flags}");
            let row = Row { exit_code, ..Row::works(0, "good", |_| (), &command, |_| true) };
            used_by(&row, &place);
        }
        fs::rename(place.join("whole/evaluation.json"), place.join("whole.json")).unwrap();
        fs::rename(place, folder.path().join(KEPT)).unwrap();
        Good { folder, peaks }
    }

    /// The peak memory of a good call of the row's program.
    pub fn peak_bytes(&self, row: &Row) -> u64 {
        self.peaks[row.command.split_whitespace().next().unwrap()]
    }

    /// Makes the folder that a row is run in, and spoils it.
    fn prepare(&self, row: &Row) -> PathBuf {
        let (place, kept) = (self.folder.path().join(PLACE), self.folder.path().join(KEPT));
        fs::create_dir(&place).unwrap();
        for part in row.parts {
            copy_folder(&kept.join(part), &place.join(part));
        }
        if row.parts.contains(&"stopped") {
            fs::copy(kept.join("whole.json"), place.join("whole.json")).unwrap();
        }
        (row.spoil)(&place);
        place
    }

    /// Runs a row.
    pub fn run(&self, row: &Row) -> Outcome {
        let folder = self.prepare(row);
        let streams = tempfile::tempdir().unwrap();
        let before = snapshot(&folder);
        let begin = Instant::now();
        let mut child = start(row, &folder, streams.path());
        if let Some(signal) = row.signal {
            send(signal, &mut child, &folder.join("new/last.ckpt"));
        }
        let used = wait(child);
        let seconds = begin.elapsed().as_secs_f64();
        let said = |stream| {
            let said = fs::read(streams.path().join(stream)).unwrap_or_default();
            String::from_utf8_lossy(&said).into_owned()
        };
        let (message, results) = (said("stderr"), said("stdout"));
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
        let unshown = row.shows.iter().filter(|word| !results.contains(**word));
        faults.extend(unshown.map(|word| format!("the results lack {word:?}")));
        let after = snapshot(&folder);
        match row.after {
            After::Untouched => faults.extend(differences(&before, &after)),
            After::Is(right) if !right(&folder) => {
                faults.push("the folder is not left as it should be".to_owned());
            }
            After::Is(_) => {}
        }
        let kept = row.keeps.iter().map(|name| folder.join(name));
        let changed =
            kept.filter(|path| !before.contains_key(path) || before.get(path) != after.get(path));
        faults.extend(changed.map(|path| format!("{} was not kept", path.display())));
        if !faults.is_empty() {
            faults.push(format!("it said: {message}{results}"));
        }
        fs::remove_dir_all(folder).unwrap();
        let peak_bytes = used.map_or(0, |used| used.rusage.maxrss);
        Outcome { exit_code, seconds, peak_bytes, faults }
    }
}

/// Flags of a run whose first step makes weights that no second one survives.
const FAILS: &str = "--max-steps 5 --lr 1e30 --save-every 1";

/// The peak memory of a command that does its work.
fn peak_of(command: &str, folder: &Path) -> u64 {
    used_by(&Row::works(0, "good", |_| (), command, |_| true), folder).rusage.maxrss
}

/// Runs a row in a folder as it is; it must end as it says.
fn used_by(row: &Row, folder: &Path) -> ResUse {
    let streams = tempfile::tempdir().unwrap();
    let used = wait(start(row, folder, streams.path())).expect("it ends");
    let told = fs::read_to_string(streams.path().join("stderr")).unwrap();
    assert_eq!(used.status.code(), Some(row.exit_code), "{}: {told}", row.command);
    used
}

/// Starts a row's program in `folder`, deaf to the environment, with its output in files.
fn start(row: &Row, folder: &Path, streams: &Path) -> Child {
    let mut words = row.command.split_whitespace();
    let program = match words.next().unwrap() {
        "train" => env!("CARGO_BIN_EXE_train"),
        "evaluate" => env!("CARGO_BIN_EXE_evaluate"),
        "predict" => env!("CARGO_BIN_EXE_predict"),
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
    process.envs(row.isa.map(|isa| ("TOILE_ISA", isa)));
    let stream = |name| Stdio::from(File::create(streams.join(name)).unwrap());
    let results = if row.reader_leaves { Stdio::piped() } else { stream("stdout") };
    process.current_dir(folder).stdin(Stdio::null()).stdout(results).stderr(stream("stderr"));
    let mut child = process.spawn().unwrap();
    drop(child.stdout.take());
    child
}

/// Sends a signal to a program as soon as a file is there, if it comes.
fn send(signal: i32, child: &mut Child, file: &Path) {
    let begin = Instant::now();
    while !file.exists() && begin.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(2));
    }
    let (signal, process) = (format!("-{signal}"), child.id().to_string());
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
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

/// Changes the bytes of a file.
pub fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Puts a named pipe, which nobody writes to, in the place of a file.
pub fn make_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
