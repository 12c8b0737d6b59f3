//! Cases 44, 46 to 52, 71 to 74, 77 and 79: flags, results that nobody reads, numbers that
//! overflow, signals, a folder in use, and runs too large for memory.

use std::fs::{self, File};
use std::path::Path;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::harness::{After, GOOD_TRAINING, ODD_NAME, Row, labels, odd_name};
use crate::idx_files::{UNSIGNED_BYTE, idx_bytes};

const HELP: &str = "try '--help'";
const EPOCHS: &str = "from 1 to 100000";
const RATE: &str = "a finite number above 0";

/// A flag of train that is refused before anything else is looked at.
fn flag(case: u32, name: &'static str, flags: &str, tells: [&'static str; 4]) -> Row {
    Row::refused(case, name, |_| (), &format!("train {flags}"), 2, tells)
}

/// A run that is good but for `flags`.
fn training(flags: &str) -> String {
    format!("{GOOD_TRAINING} --out . --name new {flags}")
}

#[rustfmt::skip]
pub fn rows() -> Vec<Row> {
    vec![
        flag(46, "--epochs 0", "--epochs 0", ["--epochs", EPOCHS, "'0'", HELP]),
        flag(46, "--epochs -1", "--epochs -1", ["--epochs", EPOCHS, "'-1'", HELP]),
        flag(46, "--epochs 10^99", &format!("--epochs 1{}", "0".repeat(99)), ["--epochs", EPOCHS, "'10000", HELP]),
        flag(46, "--epochs of 100,000 digits", &format!("--epochs {}", "9".repeat(100_000)), ["--epochs", EPOCHS, "'99999", HELP]),
        flag(46, "--epochs above the limit", "--epochs 100001", ["--epochs", EPOCHS, "'100001'", HELP]),
        flag(46, "--epochs that is no number", "--epochs many", ["--epochs", EPOCHS, "'many'", HELP]),
        Row::refused(46, "epochs of a config file below 1", |f| fs::write(f.join("mine.toml"), "epochs = -1\n").unwrap(), "train --config mine.toml", 2, ["mine.toml", EPOCHS, "found -1", "epochs must be"]),
        flag(47, "--batch-size 0", "--batch-size 0", ["--batch-size", "from 1 to 65536", "'0'", HELP]),
        flag(47, "--batch-size above the limit", "--batch-size 65537", ["--batch-size", "from 1 to 65536", "'65537'", HELP]),
        Row::refused(47, "--batch-size above the training part", |_| (), &last_batch_size(31), 2, ["--batch-size", "expected at most 30", "found 31", "choose a smaller one"]),
        Row::works(47, "--limit below --batch-size", |_| (), &format!("{} --limit 5", last_batch_size(30)), is_complete),
        Row::refused(47, "--val-size of the whole training file", |_| (), "train --data data --val-size 40 --out . --name new", 2, ["--val-size", "at most 39", "found 40", "holds 40 images"]),
        flag(48, "--lr nan", "--lr nan", ["--lr", RATE, "'nan'", HELP]),
        flag(48, "--lr inf", "--lr inf", ["--lr", RATE, "'inf'", HELP]),
        flag(48, "--lr 1e999", "--lr 1e999", ["--lr", RATE, "'1e999'", HELP]),
        flag(48, "--lr 0", "--lr 0", ["--lr", RATE, "'0'", HELP]),
        flag(48, "--lr -0.1", "--lr -0.1", ["--lr", RATE, "'-0.1'", HELP]),
        flag(49, "a flag that is not known", "--batchsize 3", ["--batchsize", "--batch-size", "unexpected argument", HELP]),
        Row::refused(49, "a flag of evaluate that is not known", |_| (), "evaluate run --jsn", 2, ["--jsn", "--json", "unexpected argument", HELP]),
        Row::refused(49, "a config file that is a picture", |f| fs::write(f.join("mine.toml"), b"\x89PNG\r\n\x1a\n").unwrap(), "train --config mine.toml", 2, ["config file mine.toml", "expected settings as text in TOML", "no UTF-8", "check the path"]),
        Row::refused(49, "a key of a config file that is not known", |f| fs::write(f.join("mine.toml"), "batchsize = 3\n").unwrap(), "train --config mine.toml", 2, ["mine.toml", "`batch_size`", "unknown key `batchsize`", "nearest"]),
        Row::works(50, "paths that are not UTF-8", |f| fs::rename(f.join("data"), f.join(odd_name())).unwrap(), &format!("train --data {ODD_NAME} --val-size 10 --batch-size 10 --max-steps 1 --out . --name new"), is_complete),
        flag(51, "--threads 0", "--threads 0", ["--threads", "1 or more", "'0'", HELP]),
        flag(51, "--threads -2", "--threads -2", ["--threads", "1 or more", "'-2'", HELP]),
        Row { tells: vec!["--threads 1000000", "taking 64"], ..Row::works(51, "--threads 1000000", |_| (), &training("--threads 1000000"), is_complete) },
        Row { reader_leaves: true, ..Row::works(52, "nobody reads the results", |_| (), &training(""), is_complete) },
        Row { reader_leaves: true, ..Row::works(52, "nobody reads the JSON lines", |_| (), &training("--json"), is_complete) },
        Row { reader_leaves: true, ..Row::works(52, "nobody reads the report", |_| (), "evaluate run --data data", |_| true) },
        Row { after: After::Is(keeps_the_first_step), ..Row::refused(72, "a learning rate that overflows", |_| (), &training("--lr 1e30 --save-every 1"), 4, ["the loss of step 2 (epoch 1, batch 2) is not finite", "the update was not made", "./new keeps in failed_step.json which images the batch had, and the last good checkpoint", "a lower --lr"]) },
        Row { parts: &["data", "failed"], keeps: vec!["failed/last.ckpt"], after: After::Is(|f| f.join("failed/failed_step.json").is_file()), ..Row::refused(71, "going on to a step that is not finite", |_| (), "train --resume failed", 4, ["the loss of step 2 (epoch 1, batch 2) is not finite", "the update was not made", "failed keeps in failed_step.json which images the batch had, and the last good checkpoint", "a lower --lr"]) },
        Row { after: After::Is(|f| !f.join("new/evaluation.json").exists()), ..Row::refused(71, "weights that overflow in the last step", |_| (), &training("--lr 1e30").replace("--max-steps 3", "--max-steps 1"), 4, ["the validation loss after epoch 1", "is not finite", "keeps what earlier epochs left", "a lower --lr"]) },
        signalled(73, "SIGINT", SIGINT, 130),
        signalled(74, "SIGTERM", SIGTERM, 143),
        Row::refused(44, "a file where run folders are to lie", |_| (), &training("").replace("--out .", "--out run/config.toml"), 5, ["cannot create", "run/config.toml", "something else is in the place", "choose another --out"]),
        Row::refused(77, "going on in a run folder in use", hold, "train --resume run", 3, ["run", "process 4242", "in use", "wait"]),
        Row::refused(77, "a run folder in use", hold, &format!("{GOOD_TRAINING} --out . --name run --overwrite"), 3, ["./run", "process 4242", "in use", "wait"]),
        Row::refused(79, "batches that fit no memory", write_large_data, "train --data large --batch-size 65536 --out . --name new", 2, ["--batch-size", "expected at most 528", "found 65536", "choose a smaller one"]),
        #[cfg(target_os = "linux")]
        Row { address_space_kib: Some(1 << 20), ..Row::refused(79, "a run that does not fit a GiB", write_large_data, "train --data large --out . --name new", 2, ["memory", "GiB that are free", "needs about", "choose a smaller --batch-size"]) },
        #[cfg(target_os = "linux")]
        Row { address_space_kib: Some(1 << 20), ..Row::refused(79, "test images that do not fit a GiB", write_many_test_images, "evaluate run --data data", 2, ["memory", "GiB that are free", "needs about 1.", "a smaller test file"]) },
    ]
}

/// A good run with another batch size.
fn last_batch_size(images: u32) -> String {
    training("").replace("--batch-size 10", &format!("--batch-size {images}"))
}

fn is_complete(folder: &Path) -> bool {
    let files = ["evaluation.json", "best.safetensors", "last.ckpt", "training_history.csv"];
    files.iter().all(|file| folder.join("new").join(file).is_file())
}

/// A run without end that gets a signal after its first step.
fn signalled(case: u32, name: &'static str, signal: i32, exit_code: i32) -> Row {
    let command = training("--save-every 1").replace("--max-steps 3", "--epochs 100000");
    let is_saved =
        |f: &Path| f.join("new/last.ckpt").is_file() && !f.join("new/evaluation.json").exists();
    let word = if signal == SIGINT { "interrupted in epoch" } else { "terminated in epoch" };
    let tells = vec![word, "the run is saved"];
    let row = Row::works(case, name, |_| (), &command, is_saved);
    Row { exit_code, signal: Some(signal), tells, shows: vec!["--resume ./new"], ..row }
}

/// What the first step left, and which ten images the second one had.
fn keeps_the_first_step(folder: &Path) -> bool {
    let run = folder.join("new");
    let read = |name| fs::read(run.join(name)).unwrap();
    let failed: serde_json::Value = serde_json::from_slice(&read("failed_step.json")).unwrap();
    let images = failed["images"].as_array().map(Vec::len);
    run.join("last.ckpt").is_file()
        && !run.join("evaluation.json").exists()
        && String::from_utf8(read("metrics.jsonl")).unwrap().lines().count() == 1
        && (&failed["step"], images) == (&2.into(), Some(10))
}

/// Holds the lock of the good run until the test ends, as a process of another number.
fn hold(folder: &Path) {
    let path = folder.join("run/.toile.lock");
    fs::write(&path, "4242\n").unwrap();
    let lock = File::open(path).unwrap();
    lock.lock().unwrap();
    std::mem::forget(lock);
}

/// Images without pixels: the file has its size, but takes no place on the disk.
fn write_images(path: &Path, count: u32, side: u32) {
    fs::write(path, idx_bytes(UNSIGNED_BYTE, &[count, side, side], &[])).unwrap();
    let bytes = 16 + u64::from(count) * u64::from(side) * u64::from(side);
    File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Two gigabytes of images of 128 x 128 pixels.
fn write_large_data(folder: &Path) {
    let data = folder.join("large");
    fs::create_dir(&data).unwrap();
    for (part, count) in [("train", 120_000), ("t10k", 10)] {
        write_images(&data.join(format!("{part}-images-idx3-ubyte")), count, 128);
        fs::write(data.join(format!("{part}-labels-idx1-ubyte")), labels(count)).unwrap();
    }
}

fn write_many_test_images(folder: &Path) {
    write_images(&folder.join("data/t10k-images-idx3-ubyte"), 1_000_000, 28);
    fs::write(folder.join("data/t10k-labels-idx1-ubyte"), labels(1_000_000)).unwrap();
}
