//! Runs that are stopped, killed and starved from outside, and gone on with: they end with the
//! bits, the history and the step log of the run that was never stopped.
#![cfg(unix)]

mod made_up_data;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGKILL, SIGTERM};
use tempfile::{TempDir, tempdir};

/// 192 images to train on in batches of 16, so 12 steps an epoch.
const DATA: &str = "--data data --recipe reference --val-size 64 --batch-size 16 --out o";

/// Four epochs, and a save every 5 steps.
const RUN: &str = "--data data --recipe reference --val-size 64 --batch-size 16 --out o \
                   --epochs 4 --save-every 5";

/// A folder with 256 training and 64 test images of noise in 4 classes.
fn data() -> TempDir {
    let folder = tempdir().unwrap();
    made_up_data::write(&folder.path().join("data"), 256, 64, 4);
    folder
}

fn train(folder: &TempDir, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(folder.path()).args(line.split_whitespace());
    for variable in ["RAYON_NUM_THREADS", "TOILE_DATA_DIR", "TOILE_ISA", "RUST_LOG", "CI"] {
        command.env_remove(variable);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs to the end and expects this exit code; gives what was said on stdout and stderr.
fn ends(folder: &TempDir, line: &str, exit_code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = train(folder, line).output().unwrap();
    let (stdout, stderr) = (text(&stdout), text(&stderr));
    assert_eq!(status.code(), Some(exit_code), "{line}: {stdout}{stderr}");
    assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    (stdout, stderr)
}

fn run(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join("o").join(name)
}

/// What must be the same however often a run was stopped.
#[derive(Debug, PartialEq)]
struct Result {
    weights_sha256: String,
    /// The history but for what clocks put in it: seconds and images per second.
    history: Vec<String>,
    metrics: String,
    config: String,
    predictions: String,
    report: String,
}

fn result(run: &Path) -> Result {
    let read = |name: &str| fs::read_to_string(run.join(name)).unwrap();
    let evaluation: serde_json::Value = serde_json::from_str(&read("evaluation.json")).unwrap();
    let without_clocks = |row: &str| row.rsplitn(3, ',').last().unwrap().to_owned();
    Result {
        weights_sha256: evaluation["weights_sha256"].as_str().unwrap().to_owned(),
        history: read("training_history.csv").lines().map(without_clocks).collect(),
        metrics: read("metrics.jsonl"),
        config: read("config.toml"),
        predictions: read("predictions.csv"),
        report: read("classification_report.txt"),
    }
}

fn send(child: &Child, signal: i32) {
    let (signal, pid) = (format!("-{signal}"), child.id().to_string());
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// Waits until the run has made its first step, so that there is something to stop.
fn wait_for(path: &Path) {
    let start = Instant::now();
    while !fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        assert!(start.elapsed() < Duration::from_secs(60), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn kill_9_at_any_moment_loses_nothing() {
    kill_and_go_on(6);
}

#[test]
#[ignore = "takes two minutes; the test above is the same with fewer kills"]
fn fifty_kills_lose_nothing() {
    kill_and_go_on(50);
}

/// Kills runs at moments spread over the whole of one, from its first file to its last.
fn kill_and_go_on(kills: u32) {
    let folder = data();
    let start = Instant::now();
    ends(&folder, &format!("{RUN} --name whole"), 0);
    let duration = start.elapsed();
    let expected = result(&run(&folder, "whole"));
    let mut killed = 0;
    for kill in 0..kills {
        let name = format!("killed-{kill}");
        let path = run(&folder, &name);
        let mut child = train(&folder, &format!("{RUN} --name {name}")).spawn().unwrap();
        wait_for(&path.join("config.toml"));
        // The golden ratio spreads any number of moments evenly.
        let share = (f64::from(kill) * 0.618_033_988_749_895).fract();
        std::thread::sleep(duration.mul_f64(share * 0.95));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        ends(&folder, &format!("--resume o/{name}"), 0);
        assert_eq!(result(&path), expected, "kill {kill} after {share:.3} of the run");
        let left: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    }
    println!("{kills} of {kills} ended like the run that was never stopped; {killed} were killed");
    assert!(killed >= kills / 2, "only {killed} runs were still going when they were killed");
}

#[test]
fn a_run_that_is_killed_again_and_again_arrives() {
    let folder = data();
    ends(&folder, &format!("{RUN} --name whole"), 0);
    let mut child = train(&folder, &format!("{RUN} --name stopped")).spawn().unwrap();
    let path = run(&folder, "stopped");
    wait_for(&path.join("last.ckpt"));
    for kill in 0..8 {
        child.kill().unwrap();
        child.wait().unwrap();
        child = train(&folder, "--resume o/stopped --save-every 1").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(150 + 40 * kill));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ends(&folder, "--resume o/stopped --save-every 5 --threads 3", 0);
    assert_eq!(result(&path), result(&run(&folder, "whole")));
}

#[test]
fn a_run_that_was_asked_to_stop_goes_on_to_the_same_end() {
    let folder = data();
    ends(&folder, &format!("{RUN} --name whole"), 0);
    let expected = result(&run(&folder, "whole"));
    for (signal, exit_code, name) in [(SIGINT, 130, "interrupted"), (SIGTERM, 143, "terminated")] {
        let child = train(&folder, &format!("{RUN} --name {name}")).spawn().unwrap();
        let path = run(&folder, name);
        wait_for(&path.join("last.ckpt"));
        send(&child, signal);
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert_eq!(status.code(), Some(exit_code), "{}", text(&stderr));
        ends(&folder, &format!("--resume o/{name}"), 0);
        assert_eq!(result(&path), expected);
    }
}

#[test]
fn a_second_signal_leaves_at_once() {
    let folder = tempdir().unwrap();
    made_up_data::write(&folder.path().join("data"), 1100, 64, 4);
    // A batch as large as the part: one step takes long enough for two signals.
    let line = "--data data --val-size 76 --batch-size 1024 --epochs 1000 --out o --name n -q";
    let child = train(&folder, line).spawn().unwrap();
    wait_for(&run(&folder, "n").join("last.ckpt"));
    let signals = format!("kill -INT {0}; sleep 0.02; kill -INT {0}", child.id());
    assert!(Command::new("sh").args(["-c", &signals]).status().unwrap().success());
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(text(&stdout), "", "a run that was saved says where");
    ends(&folder, "--resume o/n --epochs 2", 0);
}

#[test]
fn a_finished_run_says_so_and_may_be_given_more() {
    let folder = data();
    ends(&folder, &format!("{RUN} --name whole"), 0);
    let cases = [("--epochs 2", "--epochs 4"), ("--epochs 4 --max-steps 17", "--max-steps 48")];
    for (given, raised) in cases {
        ends(&folder, &format!("{DATA} --save-every 5 --name short --overwrite {given}"), 0);
        let path = run(&folder, "short");
        let before = result(&path);
        let (stdout, stderr) = ends(&folder, "--resume o/short", 0);
        assert!(
            stderr.contains("finished") && stdout.contains("Test accuracy"),
            "{stdout}{stderr}"
        );
        assert_eq!(result(&path), before);
        ends(&folder, &format!("--resume o/short {raised}"), 0);
        let expected = result(&run(&folder, "whole"));
        let config = fs::read_to_string(path.join("config.toml")).unwrap();
        assert_eq!(result(&path), Result { config, ..expected });
    }
}

/// A file that was lost is made again, and another run's evaluation is not told as this one's.
#[test]
fn a_finished_run_is_made_whole_again() {
    let folder = data();
    let last_counts = DATA.replace("reference", "quick");
    ends(&folder, &format!("{DATA} --epochs 1 --seed 8 --name other"), 0);
    for line in [format!("{DATA} --epochs 2"), format!("{last_counts} --epochs 2")] {
        ends(&folder, &format!("{line} --name n --overwrite"), 0);
        let path = run(&folder, "n");
        let before = (result(&path), fs::read(path.join("best.safetensors")).unwrap());
        fs::remove_file(path.join("best.safetensors")).unwrap();
        let other = run(&folder, "other").join("evaluation.json");
        for damage in [None, Some(other)] {
            if let Some(other) = damage {
                fs::copy(other, path.join("evaluation.json")).unwrap();
            }
            ends(&folder, "--resume o/n", 0);
            let after = (result(&path), fs::read(path.join("best.safetensors")).unwrap());
            assert!(after == before, "{line}");
        }
    }
}

/// More epochs change how the rate goes on, which is said; more steps change nothing.
#[test]
fn who_stretches_a_schedule_is_told() {
    let folder = data();
    let run = format!("{} --epochs 2 --seed 1", DATA.replace("reference", "quick"));
    ends(&folder, &format!("{run} --name whole"), 0);
    ends(&folder, &format!("{run} --name n --max-steps 7"), 0);
    ends(&folder, "--resume o/n --max-steps 1000", 0);
    let [mut stopped, whole] = ["n", "whole"].map(|name| result(&self::run(&folder, name)));
    // The one setting in which they differ.
    stopped.config = stopped.config.replace("max_steps = 1000\n", "");
    assert_eq!(stopped, whole);
    let (_, said) = ends(&folder, "--resume o/n --epochs 3", 0);
    assert!(said.contains("go through 2 epochs") && said.contains("through 3"), "{said}");
    let history = fs::read_to_string(self::run(&folder, "n").join("training_history.csv")).unwrap();
    assert_eq!(history.lines().count(), 4, "{history}");
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let folder = data();
    let line = format!("{DATA} --name n --epochs 1000 --save-every 5");
    let mut child = train(&folder, &line).spawn().unwrap();
    wait_for(&run(&folder, "n").join("last.ckpt"));
    for second in ["--resume o/n".to_owned(), format!("{RUN} --name n --overwrite")] {
        let (_, stderr) = ends(&folder, &second, 3);
        assert!(stderr.contains(&format!("process {}", child.id())), "{stderr}");
    }
    send(&child, SIGKILL);
    child.wait().unwrap();
}

/// A disk of 24 MiB of its own, which something else fills while the run goes on: the run warns,
/// goes on, and saves once there is room. Mounting needs a namespace that the user may make.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_does_not_end_a_run() {
    let folder = data();
    ends(&folder, &format!("{DATA} --name whole --epochs 40"), 0);
    let script = r#"
        mkdir small && mount -t tmpfs -o size=24m none small || exit 99
        "$0" --data data --recipe reference --val-size 64 --batch-size 16 --epochs 40 --out small --name n 2>told &
        while ! [ -s small/n/previous.ckpt ]; do sleep 0.01; done
        head -c 100m /dev/zero >small/filler 2>/dev/null
        while ! grep -q 'tries to save again' told; do sleep 0.01; done
        rm small/filler
        wait $!
        code=$?
        mkdir o/full && cp -r small/n/. o/full
        exit $code
    "#;
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_train")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let told = fs::read_to_string(folder.path().join("told")).unwrap_or_default();
    assert_eq!(output.status.code(), Some(0), "{told}{}", text(&output.stderr));
    assert!(told.contains("No space left on device"), "{told}");
    let path = run(&folder, "full");
    let config = fs::read_to_string(path.join("config.toml")).unwrap();
    assert_eq!(result(&path), Result { config, ..result(&run(&folder, "whole")) });
}
