//! Run folders: naming, claiming, overwriting, and files that survive being killed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use toile::error::{Error, Result};
use toile::run_folder::{
    Environment, HistoryLog, HistoryRow, MetricsLog, ModelLocation, RunFolder, StepMetrics,
    read_history, write_whole,
};

fn create(out: &TempDir, name: Option<&str>, overwrite: bool) -> Result<RunFolder> {
    let name = name.map(OsStr::new);
    let data = Path::new("fashion-mnist");
    RunFolder::create(out.path(), data, "reference", name, overwrite, "epochs = 1")
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

fn message(result: Result<RunFolder>, exit_code: u8) -> String {
    let fault = result.expect_err("an error");
    assert_eq!(fault.exit_code(), exit_code, "{fault}");
    fault.to_string()
}

#[test]
fn numbers_follow_the_highest_and_latest_follows_the_newest() {
    let out = tempdir().unwrap();
    for expected in ["fashion-mnist-reference-001", "fashion-mnist-reference-002"] {
        let run = create(&out, None, false).unwrap();
        assert_eq!(run.path(), out.path().join(expected));
        assert_eq!(fs::read_link(out.path().join("latest")).unwrap(), Path::new(expected));
    }
    fs::create_dir(out.path().join("fashion-mnist-reference-998")).unwrap();
    fs::create_dir(out.path().join("fashion-mnist-referenced-5000")).unwrap();
    for expected in ["fashion-mnist-reference-999", "fashion-mnist-reference-1000"] {
        assert!(create(&out, None, false).unwrap().path().ends_with(expected));
    }
}

#[test]
fn runs_started_at_once_get_folders_of_their_own() {
    let out = tempdir().unwrap();
    let start = || create(&out, None, false).unwrap().path().to_owned();
    let mut paths: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    paths.sort();
    let expected = (1..=8).map(|n| out.path().join(format!("fashion-mnist-reference-{n:03}")));
    assert_eq!(paths, expected.collect::<Vec<_>>());
}

#[test]
fn a_data_folder_gives_its_last_part_and_only_harmless_characters() {
    let out = tempdir().unwrap();
    for (data, expected) in [
        ("/data/my set", "my_set-quick-001"),
        ("photos/", "photos-quick-001"),
        (".hidden", "hidden-quick-001"),
        ("..", "data-quick-001"),
        ("/", "data-quick-002"),
        ("tür\n", "tür_-quick-001"),
    ] {
        let run = RunFolder::create(out.path(), Path::new(data), "quick", None, false, "").unwrap();
        assert!(run.path().ends_with(expected), "{data}: {}", run.path().display());
    }
}

#[test]
fn a_name_is_the_folder_and_is_not_taken_twice() {
    let out = tempdir().unwrap();
    let run = create(&out, Some("mine"), false).unwrap();
    assert_eq!(run.path(), out.path().join("mine"));
    drop(run);
    let fault = message(create(&out, Some("mine"), false), 2);
    assert!(fault.contains("mine") && fault.contains("--overwrite"), "{fault}");
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let out = tempdir().unwrap();
    for name in ["", ".", "..", "a/b", "/tmp", "../x", "a/", "./a", "latest"] {
        message(create(&out, Some(name), true), 2);
    }
    assert!(names(out.path()).is_empty());
}

#[test]
fn overwriting_deletes_an_earlier_run_and_nothing_else() {
    let out = tempdir().unwrap();
    let run = create(&out, Some("mine"), false).unwrap();
    run.write("evaluation.json", b"old").unwrap();
    run.write("worst_errors.png", b"old").unwrap();
    fs::write(run.file(".toile-abc.tmp"), "torn").unwrap();
    drop(run);
    let run = create(&out, Some("mine"), true).unwrap();
    assert_eq!(names(run.path()), [".toile.lock", "config.toml"]);
    assert_eq!(fs::read(run.file("config.toml")).unwrap(), b"epochs = 1");
}

#[test]
fn overwriting_a_folder_with_anything_foreign_changes_nothing() {
    let out = tempdir().unwrap();
    let run = create(&out, Some("mine"), false).unwrap();
    run.write("config.toml", b"settings").unwrap();
    let folder = run.path().to_owned();
    drop(run);
    let before = names(&folder);
    fs::write(folder.join("thesis.tex"), "years of work").unwrap();
    let fault = message(create(&out, Some("mine"), true), 2);
    assert!(fault.contains("thesis.tex"), "{fault}");
    fs::remove_file(folder.join("thesis.tex")).unwrap();
    fs::create_dir(folder.join("env.json")).unwrap();
    message(create(&out, Some("mine"), true), 2);
    fs::remove_dir(folder.join("env.json")).unwrap();
    assert_eq!(names(&folder), before);
    assert_eq!(fs::read(folder.join("config.toml")).unwrap(), b"settings");
}

#[test]
fn a_folder_that_toile_did_not_make_is_not_overwritten() {
    let out = tempdir().unwrap();
    let folder = out.path().join("settings");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.toml"), "epochs = 3").unwrap();
    message(create(&out, Some("settings"), true), 2);
    assert_eq!(names(&folder), ["config.toml"]);
}

#[test]
fn an_empty_folder_may_be_used() {
    let out = tempdir().unwrap();
    fs::create_dir(out.path().join("mine")).unwrap();
    create(&out, Some("mine"), false).unwrap();
}

#[test]
fn a_folder_in_use_is_locked_and_the_holder_named() {
    let out = tempdir().unwrap();
    let run = create(&out, Some("mine"), false).unwrap();
    run.write("config.toml", b"kept").unwrap();
    let process = format!("process {};", std::process::id());
    for result in [create(&out, Some("mine"), true), RunFolder::open(run.path())] {
        let fault = message(result, 3);
        assert!(fault.contains(&process), "{fault}");
    }
    assert_eq!(fs::read(run.file("config.toml")).unwrap(), b"kept");
    let path = run.path().to_owned();
    fs::write(run.file(".toile-abc.tmp"), "torn").unwrap();
    drop(run);
    RunFolder::open(&path).unwrap();
    assert_eq!(names(&path), [".toile.lock", "config.toml"]);
}

/// A run that was killed before it wrote anything may be started again under its name.
#[test]
fn a_folder_that_holds_nothing_but_its_lock_may_be_used() {
    let out = tempdir().unwrap();
    let run = create(&out, Some("mine"), false).unwrap();
    fs::remove_file(run.file("config.toml")).unwrap();
    fs::write(run.file(".toile-abc.tmp"), "torn").unwrap();
    drop(run);
    let run = create(&out, Some("mine"), false).unwrap();
    assert_eq!(names(run.path()), [".toile.lock", "config.toml"]);
}

/// What is opened by a link stays that folder, wherever the link points later.
#[test]
fn a_link_is_followed_once() {
    let out = tempdir().unwrap();
    let first = create(&out, Some("first"), false).unwrap().path().to_owned();
    let run = RunFolder::open(&out.path().join("latest")).unwrap();
    assert_eq!(run.path(), first);
    create(&out, Some("second"), false).unwrap();
    run.write("evaluation.json", b"{}").unwrap();
    assert!(first.join("evaluation.json").is_file());
}

#[test]
fn only_run_folders_are_opened() {
    let out = tempdir().unwrap();
    message(RunFolder::open(out.path()), 2);
    message(RunFolder::open(&out.path().join("missing")), 2);
}

#[cfg(unix)]
#[test]
fn links_and_other_things_in_the_way_are_left_alone() {
    let out = tempdir().unwrap();
    let elsewhere = tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), out.path().join("linked")).unwrap();
    fs::write(out.path().join("file"), "kept").unwrap();
    for name in ["linked", "file"] {
        let fault = message(create(&out, Some(name), true), 2);
        assert!(fault.contains("not a folder"), "{fault}");
    }
    fs::create_dir(out.path().join("latest")).unwrap();
    let fault = message(create(&out, None, false), 2);
    assert!(fault.contains("latest"), "{fault}");
    assert_eq!(names(out.path()), ["file", "latest", "linked"]);
}

#[test]
fn storage_faults_name_the_path() {
    let out = tempdir().unwrap();
    let file = out.path().join("file");
    fs::write(&file, "kept").unwrap();
    let result = RunFolder::create(&file.join("runs"), Path::new("d"), "r", None, false, "");
    assert!(message(result, 5).contains("file"));
    let fault = write_whole(&file.join("config.toml"), b"x").unwrap_err();
    assert!(matches!(&fault, Error::Storage(text) if text.contains("config.toml")), "{fault}");
}

#[test]
fn writing_replaces_the_whole_file_and_leaves_no_other() {
    let out = tempdir().unwrap();
    let path = out.path().join("evaluation.json");
    write_whole(&path, b"a longer text").unwrap();
    write_whole(&path, b"short").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"short");
    assert_eq!(names(out.path()), ["evaluation.json"]);
}

fn row(epoch: u64) -> HistoryRow {
    HistoryRow {
        epoch,
        loss: 0.5,
        accuracy: 0.25,
        val_loss: 0.1 + 0.2,
        val_accuracy: 1.0,
        learning_rate: 1e-4,
        seconds: 20.5,
        images_per_second: 2610.0,
    }
}

const HEADER: &str =
    "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds,images_per_second\n";

#[test]
fn history_has_the_promised_columns_and_exact_numbers() {
    let out = tempdir().unwrap();
    let run = create(&out, None, false).unwrap();
    let mut log = HistoryLog::create(&run).unwrap();
    log.append(&row(1));
    log.sync().unwrap();
    let mut reader = csv::Reader::from_path(run.file("training_history.csv")).unwrap();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>().join(",") + "\n", HEADER);
    let rows: Vec<HistoryRow> = reader.deserialize().map(|row| row.unwrap()).collect();
    assert_eq!(rows, [row(1)]);
    assert_eq!(read_history(&run).unwrap(), rows);
}

#[test]
fn a_resumed_history_repeats_no_epoch() {
    let out = tempdir().unwrap();
    let run = create(&out, None, false).unwrap();
    let path = run.file("training_history.csv");
    let mut log = HistoryLog::create(&run).unwrap();
    for epoch in 1..=3 {
        log.append(&row(epoch));
    }
    log.sync().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let upto = |lines: usize| whole.split_inclusive('\n').take(lines).collect::<String>();
    fs::write(&path, whole.clone() + "4,0.5,0.2").unwrap();
    HistoryLog::resume(&run, 3).unwrap().sync().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    let mut log = HistoryLog::resume(&run, 2).unwrap();
    log.append(&row(3));
    log.sync().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    HistoryLog::resume(&run, 1).unwrap().sync().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), upto(2));
    let fault = HistoryLog::resume(&run, 2).unwrap_err();
    assert!(fault.to_string().contains("epoch 1") && fault.exit_code() == 2, "{fault}");
    assert_eq!(fs::read_to_string(&path).unwrap(), upto(2), "a refusal cuts nothing");
    HistoryLog::resume(&run, 0).unwrap().sync().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), HEADER);
}

fn step(step: u64) -> StepMetrics {
    StepMetrics { step, epoch: 1, loss: 0.5, accuracy: 0.75, learning_rate: 1e-3 }
}

#[test]
fn a_resumed_metrics_log_repeats_no_step() {
    let out = tempdir().unwrap();
    let run = create(&out, None, false).unwrap();
    let path = run.file("metrics.jsonl");
    let mut log = MetricsLog::create(&run).unwrap();
    for number in 1..=5 {
        log.append(&step(number));
    }
    log.sync().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let first: Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    let expected =
        json!({"step": 1, "epoch": 1, "loss": 0.5, "accuracy": 0.75, "learning_rate": 0.001});
    assert_eq!(first, expected);
    drop(log);
    // A machine that lost power may leave zeros where the last lines were.
    fs::write(&path, whole.clone() + &"\0".repeat(10_000)).unwrap();
    let mut log = MetricsLog::resume(&run, 3).unwrap();
    for number in 4..=5 {
        log.append(&step(number));
    }
    log.sync().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    assert_eq!(MetricsLog::resume(&run, 9).unwrap_err().exit_code(), 2);
}

#[test]
fn the_environment_says_where_the_run_was_made() {
    let environment = Environment::gather("avx2", 3, json!({"images": 7}));
    let value = serde_json::to_value(environment).unwrap();
    assert_eq!(value["toile"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["os"], std::env::consts::OS);
    assert_eq!(value["arch"], std::env::consts::ARCH);
    assert_eq!((&value["isa"], &value["threads"]), (&json!("avx2"), &json!(3)));
    assert_eq!(value["data"]["images"], 7);
    let program = value["command_line"][0].as_str().unwrap();
    assert!(program.contains("run_folder"), "{program}");
}

#[test]
fn a_model_is_found_by_run_by_link_and_by_file() {
    let out = tempdir().unwrap();
    let run = create(&out, None, false).unwrap();
    let fault = ModelLocation::find(run.path()).unwrap_err();
    assert!(fault.to_string().contains("best.safetensors"), "{fault}");
    run.write("best.safetensors", b"weights").unwrap();
    run.write("config.toml", b"").unwrap();
    for path in [run.path().to_owned(), out.path().join("latest")] {
        let model = ModelLocation::find(&path).unwrap();
        assert_eq!(model.weights, path.join("best.safetensors"));
        assert_eq!(model.run, Some(path));
    }
    let model = ModelLocation::find(&run.file("best.safetensors")).unwrap();
    assert_eq!(model.run.as_deref(), Some(run.path()));
    let alone = out.path().join("model.safetensors");
    fs::write(&alone, "weights").unwrap();
    let model = ModelLocation::find(&alone).unwrap();
    assert_eq!(model, ModelLocation { weights: alone, run: None });
}

#[test]
fn a_missing_model_is_bad_input() {
    let out = tempdir().unwrap();
    let run = create(&out, None, false).unwrap();
    let path = run.path().to_owned();
    drop(run);
    fs::remove_dir_all(path).unwrap();
    for (name, word) in [("nothing", "train"), ("latest", "links")] {
        let fault = ModelLocation::find(&out.path().join(name)).unwrap_err();
        assert!(fault.to_string().contains(word) && fault.exit_code() == 2, "{fault}");
    }
}
