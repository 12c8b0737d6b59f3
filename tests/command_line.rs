//! The programs as a shell sees them: flags, messages and exit codes.

use std::path::Path;
use std::process::{Output, Stdio};

use assert_cmd::Command;
use tempfile::{TempDir, tempdir};

/// A program that starts in an empty folder, with nothing in its environment that it reads.
fn program(name: &str, folder: &TempDir) -> Command {
    let mut command = Command::cargo_bin(name).unwrap();
    command.current_dir(folder.path());
    for variable in ["RAYON_NUM_THREADS", "TOILE_DATA_DIR", "TOILE_ISA", "RUST_LOG", "CI"] {
        command.env_remove(variable);
    }
    command
}

/// Writes the four IDX files of a data set of 100 training and 10 test images to a folder.
fn write_data(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (part, count) in [("train", 100_u32), ("t10k", 10)] {
        let mut images = [[0, 0, 8, 3], count.to_be_bytes(), [0, 0, 0, 28], [0, 0, 0, 28]].concat();
        images.extend((0..count * 28 * 28).map(|pixel| (pixel % 251) as u8));
        let mut labels = [[0, 0, 8, 1], count.to_be_bytes()].concat();
        labels.extend((0..count).map(|image| (image % 10) as u8));
        std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `line`, a program and its arguments, and compares exit code and message.
fn assert_refused(folder: &TempDir, line: &str, exit_code: i32, words: &[&str]) {
    let mut arguments = line.split(' ');
    let Output { status, stdout, stderr } =
        program(arguments.next().unwrap(), folder).args(arguments).output().unwrap();
    let message = text(&stderr);
    assert_eq!(status.code(), Some(exit_code), "{line}: {message}");
    assert_eq!(text(&stdout), "", "{line}");
    assert!(message.starts_with("error: "), "{line}: {message}");
    for word in words {
        assert!(message.contains(word), "{line}: no {word:?} in {message}");
    }
}

#[test]
fn bad_flags_and_values_are_refused_with_the_way_out() {
    let table: &[(&str, i32, &[&str])] = &[
        ("train --seed -1", 2, &["--seed", "0 to 18446744073709551615"]),
        ("train --seed 18446744073709551616", 2, &["--seed", "18446744073709551615"]),
        ("train --val-size 0", 2, &["--val-size", "from 1"]),
        ("train --limit 0", 2, &["--limit", "from 1"]),
        ("train --limit -3", 2, &["--limit", "from 1"]),
        ("train --max-steps 0", 2, &["--max-steps", "from 1"]),
        ("train --save-every -1", 2, &["--save-every", "from 1"]),
        ("train --device tpu", 2, &["--device", "cpu", "gpu"]),
        ("train --device gpu", 6, &["without GPU support", "--device cpu"]),
        ("train --recipe fancy", 2, &["--recipe", "reference"]),
        ("train --epoch 3", 2, &["--epoch", "--epochs"]),
        ("train fashion-mnist", 2, &["fashion-mnist"]),
        ("train --config missing.toml", 2, &["missing.toml"]),
        ("train --config .", 2, &["regular file"]),
        ("train --data DATA --val-size 10 --batch-size 9 --name a/b", 2, &["a/b", "folder name"]),
        ("train --data DATA --val-size 10 --batch-size 9 --name ..", 2, &["folder name"]),
        ("train --data DATA --val-size 10 --batch-size 9 --name latest", 2, &["latest"]),
        ("evaluate", 2, &["runs/latest", "train one first"]),
        ("evaluate nowhere", 2, &["nowhere"]),
        ("evaluate .", 2, &["best.safetensors"]),
        ("evaluate --fail-under 1.5", 2, &["--fail-under", "0 to 1"]),
        ("evaluate --fail-under -1", 2, &["--fail-under", "0 to 1"]),
        ("evaluate --fail-under nan", 2, &["--fail-under", "0 to 1"]),
        ("evaluate --threads 0", 2, &["--threads", "1 or more"]),
        ("evaluate --device gpu", 6, &["without GPU support"]),
    ];
    let folder = tempdir().unwrap();
    let data = tempdir().unwrap();
    write_data(data.path());
    for (line, exit_code, words) in table {
        let line = line.replace("DATA", data.path().to_str().unwrap());
        assert_refused(&folder, &line, *exit_code, words);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a refused run left files");
}

#[test]
fn help_names_every_flag_variable_and_exit_code() {
    let folder = tempdir().unwrap();
    let environment = ["TOILE_DATA_DIR", "TOILE_ISA", "RAYON_NUM_THREADS", "NO_COLOR"];
    let exit_codes = ["1  failure", "2  bad usage", "4  numbers not finite", "6  device"];
    let flags = [
        "--data",
        "--recipe",
        "--config",
        "--epochs",
        "--batch-size",
        "--lr",
        "--seed",
        "--val-size",
        "--limit",
        "--max-steps",
        "--save-every",
        "--threads",
        "--device",
        "--out",
        "--name",
        "--overwrite",
        "--json",
        "--quiet",
        "-q",
        "runs",
        "reference",
        "--resume",
        "3  run folder in use",
        "130  interrupted",
        "42",
        "5000",
    ];
    let evaluate = [
        "RUN|MODEL",
        "--against",
        "--tta",
        "--data",
        "--threads",
        "--device",
        "--fail-under",
        "--json",
        "10  accuracy",
        "evaluate runs/a runs/b",
        "evaluate runs/a --tta",
        "evaluate runs/a --against runs/b",
    ];
    let tune = [
        "--data",
        "--recipe",
        "--config",
        "--epochs",
        "--seed",
        "--val-size",
        "--limit",
        "--threads",
        "--device",
        "--space",
        "--trials",
        "--eta",
        "--out",
        "--name",
        "--json",
        "-q",
        "best.toml",
        "test images stay closed",
        "3  run folder in use",
        "130  interrupted",
    ];
    let programs = [("train", &flags[..]), ("evaluate", &evaluate), ("tune", &tune)];
    for (name, words) in programs {
        let output = program(name, &folder).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout);
        for word in words.iter().chain(&environment).chain(&exit_codes) {
            assert!(help.contains(word), "{name}: no {word:?} in {help}");
        }
    }
}

#[test]
fn the_version_is_the_crates() {
    let folder = tempdir().unwrap();
    for name in ["train", "evaluate", "tune"] {
        let output = program(name, &folder).arg("--version").output().unwrap();
        assert_eq!(text(&output.stdout), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_reader_that_went_away_does_not_make_a_program_panic() {
    for arguments in [&["--help"][..], &["--epochs", "0"]] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_train"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 2)), "{arguments:?}: {code:?}");
    }
}

#[test]
fn what_the_flags_say_is_written_to_the_run_folder() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("mine.toml"), "epochs = 7\nbatch_size = 32\n").unwrap();
    write_data(&folder.path().join("tiny"));
    let line = "--config mine.toml --epochs 2 --seed 18446744073709551615 --limit 64 --max-steps 1 \
                --val-size 10 --data tiny --out o --name n --threads 2";
    program("train", &folder).args(line.split_whitespace()).assert().success();
    let config = std::fs::read_to_string(folder.path().join("o/n/config.toml")).unwrap();
    let lines = [
        "epochs = 2",
        "batch_size = 32",
        "limit = 64",
        "max_steps = 1",
        "seed = \"18446744073709551615\"",
        "val_size = 10",
    ];
    for line in lines {
        assert!(config.lines().any(|found| found == line), "no {line} in {config}");
    }
    for absent in ["threads", "device", "out", "name"] {
        assert!(!config.contains(&format!("\n{absent} =")), "{config}");
    }
    assert!(config.lines().any(|line| line.starts_with("data = \"/") && line.ends_with("/tiny\"")));
    let environment = std::fs::read(folder.path().join("o/n/env.json")).unwrap();
    let environment: serde_json::Value = serde_json::from_slice(&environment).unwrap();
    assert_eq!(environment["threads"], 2);
    let latest = std::fs::read_link(folder.path().join("o/latest")).unwrap();
    assert_eq!(latest, Path::new("n"));
    assert_refused(
        &folder,
        "train --data tiny --val-size 10 --batch-size 9 --out o --name n",
        2,
        &["o/n", "--overwrite"],
    );
}

#[test]
fn an_unusable_number_of_threads_is_told() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("tiny"));
    let threads = std::thread::available_parallelism().unwrap().get().min(64);
    for (variable, flag, expected, notice) in [
        ("two", "", threads, "notice: RAYON_NUM_THREADS two is not a whole number"),
        ("99", "", 64, "notice: RAYON_NUM_THREADS 99 is more than toile uses; taking 64"),
        ("two", "--threads 99", 64, "notice: --threads 99 is more than toile uses; taking 64"),
        ("two", "--threads 3", 3, ""),
        ("3", "", 3, ""),
        ("0", "", threads, ""),
    ] {
        let line = format!("--data tiny --val-size 10 --max-steps 1 --name n --overwrite {flag}");
        let run = program("train", &folder)
            .args(line.split_whitespace())
            .env("RAYON_NUM_THREADS", variable)
            .output()
            .unwrap();
        let stderr = text(&run.stderr);
        assert!(run.status.success(), "{stderr}");
        let notices: Vec<_> = stderr.lines().filter(|line| line.starts_with("notice")).collect();
        assert_eq!(notices.len(), usize::from(!notice.is_empty()), "{stderr}");
        assert!(notices.iter().all(|found| found.starts_with(notice)), "{stderr}");
        let environment = std::fs::read(folder.path().join("runs/n/env.json")).unwrap();
        let environment: serde_json::Value = serde_json::from_slice(&environment).unwrap();
        assert_eq!(environment["threads"], expected, "{variable} {flag}");
    }
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempdir().unwrap();
    let odd = OsStr::from_bytes(b"odd-\xff");
    let config = folder.path().join(odd);
    std::fs::write(&config, "epochs = 3\nval_size = 10\nbatch_size = 9\nmax_steps = 1\n").unwrap();
    let data = OsStr::from_bytes(b"d-\xfd");
    write_data(&folder.path().join(data));
    let arguments = [OsStr::new("--config"), odd, "--out".as_ref(), OsStr::from_bytes(b"o-\xfe")];
    let output = program("train", &folder)
        .args(arguments)
        .args([OsStr::new("--name"), odd, "--data".as_ref(), data])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = folder.path().join(OsStr::from_bytes(b"o-\xfe")).join(odd);
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("epochs = 3") && config.contains("253"), "{config}");
}

/// A whole run from outside, on tiny data: what it leaves, what it says, and what comes of it.
#[test]
fn a_run_leaves_what_it_promises() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("tiny"));
    let train = |more: &str| {
        let line = format!("--data tiny --val-size 20 --batch-size 16 --max-steps 7 {more}");
        let output = program("train", &folder).args(line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let told = train("--epochs 2 --out o --name n --json");
    let events: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("JSON lines only")).collect();
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["start", "epoch", "epoch", "end"]);

    let run = folder.path().join("o/n");
    let read = |name: &str| std::fs::read_to_string(run.join(name)).unwrap();
    let history = read("training_history.csv");
    let rows: Vec<_> = history.lines().collect();
    let header =
        "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds,images_per_second";
    assert_eq!(
        (rows[0], rows.len()),
        (header, 3),
        "80 images are 5 steps, so 7 steps are 2 epochs"
    );
    let steps: Vec<serde_json::Value> =
        read("metrics.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys: Vec<_> = steps[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["accuracy", "epoch", "learning_rate", "loss", "step"]);
    let numbers: Vec<_> = steps.iter().map(|step| step["step"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=7).collect::<Vec<_>>());
    let evaluation: serde_json::Value = serde_json::from_str(&read("evaluation.json")).unwrap();
    assert_eq!((&evaluation["parameters"], &evaluation["images"]), (&538_346.into(), &10.into()));
    assert_eq!(read("predictions.csv").lines().count(), 11);
    assert!(read("classification_report.txt").contains("macro avg"));
    let mut files: Vec<_> = std::fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let promised = [
        ".toile.lock",
        "best.safetensors",
        "class_distribution.png",
        "classification_report.json",
        "classification_report.txt",
        "config.toml",
        "confusion_matrix.png",
        "confusion_matrix_normalized.png",
        "env.json",
        "evaluation.json",
        "last.ckpt",
        "metrics.jsonl",
        "predictions.csv",
        "previous.ckpt",
        "reliability.png",
        "sample_predictions.png",
        "training_curves.png",
        "training_history.csv",
        "worst_errors.png",
    ];
    assert_eq!(files, promised);
    for picture in files.iter().filter(|name| name.ends_with(".png")) {
        let bytes = std::fs::read(run.join(picture)).unwrap();
        image::load_from_memory(&bytes).unwrap_or_else(|fault| panic!("{picture}: {fault}"));
    }
    check_model_file(&std::fs::read(run.join("best.safetensors")).unwrap());

    let again = program("evaluate", &folder).args(["o/latest", "--json"]).output().unwrap();
    let again: serde_json::Value = serde_json::from_str(&text(&again.stdout)).unwrap();
    assert_eq!(again, evaluation, "evaluate finds what the run wrote about itself");
    let strict = program("evaluate", &folder).args(["o/n", "--fail-under", "1"]).output().unwrap();
    assert_eq!(strict.status.code(), Some(10), "{}", text(&strict.stderr));

    train("--epochs 2 --out o --name n --overwrite --threads 3 -q");
    let second: serde_json::Value = serde_json::from_str(&read("evaluation.json")).unwrap();
    assert_eq!(second["weights_sha256"], evaluation["weights_sha256"], "same seed, same bits");
    train("--epochs 2 --out o --name m --seed 43 -q");
    let other = std::fs::read_to_string(folder.path().join("o/m/evaluation.json")).unwrap();
    let other: serde_json::Value = serde_json::from_str(&other).unwrap();
    assert_ne!(other["weights_sha256"], evaluation["weights_sha256"], "another seed, other bits");
}

/// Names and metadata of the weights, read without toile.
fn check_model_file(bytes: &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let header = header.as_object().unwrap();
    let mut names = vec!["__metadata__".to_owned()];
    let layers: [(&str, &[&str], usize); 3] = [
        ("conv", &["weight", "bias"], 5),
        ("dense", &["weight", "bias"], 3),
        ("bn", &["gamma", "beta", "mean", "variance"], 4),
    ];
    for (layer, tensors, count) in layers {
        for number in 1..=count {
            names.extend(tensors.iter().map(|tensor| format!("{layer}{number}.{tensor}")));
        }
    }
    names.sort();
    assert_eq!(header.keys().cloned().collect::<Vec<_>>(), names);
    assert_eq!(header["conv2.weight"]["shape"], serde_json::json!([3, 3, 32, 32]));
    assert_eq!(header["dense1.weight"]["shape"], serde_json::json!([512, 512]));
    let keys: Vec<_> = header["__metadata__"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["architecture", "classes", "format_version", "preprocessing"]);
}
