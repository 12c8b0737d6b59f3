//! A machine without the data set, without a network and without apt.

use std::io::{self, Write};
use std::path::Path;

use assert_cmd::Command;
use tempfile::tempdir;

#[test]
fn data_that_cannot_be_had_is_an_error_that_lists_what_was_tried() {
    // The one place that no environment moves away.
    if Path::new("/usr/share/datasets/fashion-mnist").exists() {
        // Written directly: the test harness would swallow a print.
        io::stderr().write_all(b"SKIPPED, this machine has the data\n").unwrap();
        return;
    }
    let folder = tempdir().unwrap();
    let mut command = Command::cargo_bin("train").unwrap();
    command.current_dir(&folder);
    for variable in ["TOILE_DATA_DIR", "TOILE_ISA", "KERAS_HOME", "NO_PROXY", "no_proxy"] {
        command.env_remove(variable);
    }
    // Nobody listens at that port, so no request leaves this machine.
    command.env("ALL_PROXY", "http://127.0.0.1:9");
    command.env("HOME", folder.path()).env("PATH", folder.path());
    let output = command.output().unwrap();
    let (stdout, stderr) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    assert!(stdout.is_empty());
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let error = &stderr[stderr.find("error: ").unwrap()..];
    for words in [
        "TOILE_DATA_DIR: not set",
        "data/fashion-mnist",
        ".keras/datasets/fashion-mnist",
        // The proxy was asked, not the mirror.
        "tf-keras-datasets/: train-images-idx3-ubyte.gz: Connection refused",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/: ",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/: ",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/: ",
        "Debian's package dataset-fashion-mnist: apt-get cannot be run",
        "Do one of these:",
    ] {
        assert!(error.contains(words), "no {words:?} in {error}");
    }
    assert!(!folder.path().join("runs").exists(), "a run began without data");
}
