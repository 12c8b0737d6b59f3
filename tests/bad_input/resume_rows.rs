//! Cases 19 and 35 to 41: going on with a run whose folder, checkpoints, logs or data are not what
//! they were.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{After, Row, make_pipe, rewrite};

const LAST: &str = "stopped/last.ckpt";
const PREVIOUS: &str = "stopped/previous.ckpt";
const METRICS: &str = "stopped/metrics.jsonl";
const HISTORY: &str = "stopped/training_history.csv";
const EVALUATION: &str = "stopped/evaluation.json";
const CONFIG: &str = "stopped/config.toml";
const LABELS: &str = "data/train-labels-idx1-ubyte";

const PARTS: &[&str] = &["data", "stopped"];
const GO_ON: &str = "train --resume stopped --max-steps 7";
const NEW_RUN: &str = "start a new run";
const OWN_BACK: &str = "put the run's own back, or start a new run";
const NO_CHECKPOINT: &str = "this is no checkpoint of toile";
const MISFIT: &str = "the checkpoint of stopped does not fit its run";

/// Length of the hash at the end of a checkpoint.
const HASH_BYTES: usize = 32;

type Header = Map<String, Value>;

fn refused(
    case: u32,
    name: &'static str,
    spoil: fn(&Path),
    exit_code: i32,
    tells: [&'static str; 4],
) -> Row {
    Row { parts: PARTS, ..Row::refused(case, name, spoil, GO_ON, exit_code, tells) }
}

/// A command that is refused whatever the run holds.
fn command(name: &'static str, command: &str, tells: [&'static str; 4]) -> Row {
    Row { parts: PARTS, ..Row::refused(40, name, |_| (), command, 2, tells) }
}

/// A run that goes on to the weights of the one that was never stopped.
fn arrives(case: u32, name: &'static str, spoil: fn(&Path), tells: &[&'static str]) -> Row {
    let row = Row::works(case, name, spoil, GO_ON, has_arrived);
    Row { parts: PARTS, tells: tells.to_vec(), ..row }
}

#[rustfmt::skip]
pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        refused(19, "one label of the data changed", |f| rewrite(&f.join(LABELS), |bytes| bytes.swap(8, 9)), 2, ["train-labels-idx1-ubyte has changed", "expected SHA-256", "found", NEW_RUN]),
        refused(19, "the data is gone", |f| fs::remove_dir_all(f.join("data")).unwrap(), 2, ["/data:", "a directory must hold", "neither a readable directory", "fashion-mnist"]),
        arrives(35, "half a checkpoint under a temporary name", |f| fs::write(f.join("stopped/.toile-a1b2c3.tmp"), half(&f.join(LAST))).unwrap(), &[]),
        arrives(36, "killed between the two names of a save", |f| fs::hard_link(f.join(LAST), f.join("stopped/.toile-previous.ckpt")).unwrap(), &[]),
        arrives(36, "the rename reached the disk, the content not", |f| fs::write(f.join(LAST), b"").unwrap(), &["stopped/last.ckpt is damaged", "only 0 bytes", "going on from previous.ckpt"]),
        arrives(36, "the newest is gone", |f| fs::remove_file(f.join(LAST)).unwrap(), &[]),
        arrives(36, "stopped before its first checkpoint", |f| { fs::remove_file(f.join(LAST)).unwrap(); fs::remove_file(f.join(PREVIOUS)).unwrap(); }, &[]),
        arrives(37, "one bit of the newest flipped", flip_last, &["stopped/last.ckpt is damaged", "the hash at its end", "going on from previous.ckpt"]),
        arrives(37, "the newest cut", |f| fs::write(f.join(LAST), half(&f.join(LAST))).unwrap(), &["stopped/last.ckpt is damaged", "the hash at its end", "going on from previous.ckpt"]),
        Row { keeps: vec![PREVIOUS], ..Row { parts: PARTS, ..Row::works(37, "the save after a damaged one", flip_last, "train --resume stopped", |f| weights_of(&f.join(EVALUATION)).is_some()) } },
        refused(38, "all damaged", |f| { flip_last(f); fs::write(f.join(PREVIOUS), b"").unwrap(); }, 5, ["stopped/last.ckpt is damaged", "stopped/previous.ckpt is damaged", "nothing was changed", NEW_RUN]),
        refused(38, "a checkpoint that is a named pipe", |f| make_pipe(&f.join(LAST)), 5, ["cannot read", LAST, "expected a regular file", "4294967296 bytes"]),
        refused(39, "no optimizer state", |f| edit(f, |header, data| remove(header, data, "first_moment")), 2, [MISFIT, "saved by another optimizer", OWN_BACK, NEW_RUN]),
        refused(39, "optimizer state of another length", |f| edit(f, halve_last_moment), 2, [MISFIT, "moments", "another length", NEW_RUN]),
        refused(39, "no weights", |f| edit(f, |header, data| remove(header, data, "model")), 2, [LAST, NO_CHECKPOINT, "it lacks `model`", OWN_BACK]),
        refused(39, "no state", |f| edit(f, |header, _| drop(header["__metadata__"].as_object_mut().unwrap().remove("state"))), 2, [LAST, NO_CHECKPOINT, "lacks `state`", OWN_BACK]),
        refused(39, "counters that disagree", |f| edit_field(f, "state", |state| state["step"] = json!(4)), 2, [MISFIT, "counters", "disagree", NEW_RUN]),
        refused(39, "an epoch before the first", |f| edit_field(f, "state", |state| state["epoch"] = json!(0)), 2, [LAST, "its `state` cannot be read", "expected an epoch of 1 or more, found 0", OWN_BACK]),
        refused(39, "a best epoch that has not come", |f| edit_field(f, "state", |state| state["early_stopping"]["best_epoch"] = json!(9)), 2, [LAST, "its `state` cannot be read", "the best epoch has not come yet", OWN_BACK]),
        refused(39, "settings that no run can have", |f| edit_field(f, "origin", |origin| origin["config"]["batch_size"] = json!(u64::MAX)), 2, [LAST, "its `origin` cannot be read", "batch_size", OWN_BACK]),
        refused(39, "state nested 100,000 deep", |f| edit(f, |header, _| header["__metadata__"]["state"] = json!("[".repeat(100_000))), 2, [LAST, "its `state` cannot be read", "expected", OWN_BACK]),
        refused(39, "a whole file that is something else", |f| write_hashed(&f.join(LAST), b"\x89PNG\r\n\x1a\n".to_vec()), 2, [LAST, NO_CHECKPOINT, "header", OWN_BACK]),
        refused(40, "another learning rate", |f| replace(&f.join(CONFIG), "learning_rate = 0.001", "learning_rate = 0.002"), 2, [CONFIG, "learning_rate: 0.002, not 0.001", "put them back", NEW_RUN]),
        refused(40, "another seed and batch size", |f| { replace(&f.join(CONFIG), "seed = 42", "seed = 43"); replace(&f.join(CONFIG), "batch_size = 10", "batch_size = 15"); }, 2, [CONFIG, "batch_size: 15, not 10; seed: 43, not 42", "put them back", NEW_RUN]),
        refused(40, "settings that are none", |f| fs::write(f.join(CONFIG), "epochs = \u{1b}").unwrap(), 2, [CONFIG, "config file", "string values must be quoted", "\\u{1b}"]),
        Row { isa: Some("portable"), ..refused(40, "other arithmetic", |f| edit_field(f, "origin", |origin| origin["arithmetic"] = json!("fused")), 2, ["stopped was begun by", "fused arithmetic", "this one has portable arithmetic", NEW_RUN]) },
        refused(40, "kernels of another version", |f| edit_field(f, "origin", |origin| origin["bits_version"] = json!(9_999)), 2, ["stopped was begun by", "version 9999", "other weights", NEW_RUN]),
        refused(40, "a checkpoint of a newer version", |f| edit(f, |header, _| header["__metadata__"]["format_version"] = json!("4")), 2, [LAST, "format version is 4", "reads 3", "use the toile that wrote it, or start a new run"]),
        refused(40, "a version with terminal escapes", |f| edit(f, |header, _| header["__metadata__"]["format_version"] = json!("\u{1b}[31m")), 2, [LAST, "format version is \\u{1b}[31m", "reads 3", NEW_RUN]),
        Row { command: format!("{GO_ON} --threads 3"), ..arrives(41, "another number of threads", |_| (), &[]) },
        refused(40, "the step log is gone", |f| fs::remove_file(f.join(METRICS)).unwrap(), 2, [METRICS, "up to step 5", "found no regular file", NEW_RUN]),
        refused(40, "the step log cut short", |f| fs::write(f.join(METRICS), half(&f.join(METRICS))).unwrap(), 2, [METRICS, "ends at step 2", "at step 5", NEW_RUN]),
        refused(40, "the step log is a named pipe", |f| make_pipe(&f.join(METRICS)), 2, [METRICS, "up to step 5", "found no regular file", NEW_RUN]),
        refused(40, "the history is gone", |f| fs::remove_file(f.join(HISTORY)).unwrap(), 2, [HISTORY, "up to epoch 1", "found no regular file", NEW_RUN]),
        refused(40, "the history is a named pipe", |f| make_pipe(&f.join(HISTORY)), 2, [HISTORY, "up to epoch 1", "found no regular file", NEW_RUN]),
        refused(40, "the history cut short", |f| rewrite(&f.join(HISTORY), |bytes| bytes.truncate(90)), 2, [HISTORY, "ends at epoch 0", "at epoch 1", NEW_RUN]),
        refused(40, "no settings", |f| fs::remove_file(f.join(CONFIG)).unwrap(), 2, ["stopped holds no config.toml", "stopped before it began", "start it", "again"]),
        Row { command: "train --resume stopped".into(), after: After::Is(|f| weights_of(&f.join(EVALUATION)).is_some()), ..arrives(40, "a finished run's result is a named pipe", |f| make_pipe(&f.join(EVALUATION)), &[]) },
        Row { command: "train --resume stopped".into(), after: After::Is(|f| weights_of(&f.join(EVALUATION)).is_some()), ..arrives(40, "a finished run's result is a terabyte", |f| File::create(f.join(EVALUATION)).unwrap().set_len(1 << 40).unwrap(), &[]) },
        arrives(40, "where it was begun is a named pipe", |f| make_pipe(&f.join("stopped/env.json")), &[]),
        Row { after: After::Is(|f| !f.join(METRICS).is_file()), ..refused(36, "stopped before its first checkpoint, and the step log is a named pipe", |f| { fs::remove_file(f.join(LAST)).unwrap(); fs::remove_file(f.join(PREVIOUS)).unwrap(); make_pipe(&f.join(METRICS)); }, 5, ["cannot create", METRICS, "something else than a regular file", "remove it"]) },
        command("a folder that is not there", "train --resume nowhere", ["nowhere", "expected the folder of a run", "runs/latest", "found no folder"]),
        command("a folder of something else", "train --resume data", ["data", "expected the folder of a run", "runs/latest", "train did not make"]),
        command("a file", "train --resume stopped/last.ckpt", [LAST, "expected the folder of a run", "runs/latest", "found no folder"]),
        command("--epochs below what was begun", "train --resume stopped --epochs 1", ["--epochs 1", "stopped has reached epoch 2", "already", "expected 2 or more"]),
        command("--max-steps below what was made", "train --resume stopped --max-steps 4", ["--max-steps 4", "stopped has reached step 5", "already", "expected 5 or more"]),
    ];
    let beside = ["--data data", "--recipe reference", "--config stopped/config.toml", "--batch-size 10", "--lr 0.001", "--seed 42", "--val-size 10", "--limit 30", "--out .", "--name n", "--overwrite"];
    rows.extend(beside.map(|flag| {
        let name = flag.split(' ').next().unwrap();
        command(flag, &format!("{GO_ON} {flag}"), ["--resume", name, "cannot be used with", "try '--help'"])
    }));
    rows
}

/// The hash of the weights that an evaluation is of, if it is one.
fn weights_of(path: &Path) -> Option<String> {
    // A pipe that is still there would never end.
    let bytes = path.is_file().then(|| fs::read(path).unwrap())?;
    let evaluation: Value = serde_json::from_slice(&bytes).ok()?;
    evaluation["weights_sha256"].as_str().map(str::to_owned)
}

/// Whether the run ended with the weights of the one that was never stopped, and left nothing on
/// its way to another name.
fn has_arrived(folder: &Path) -> bool {
    let weights = weights_of(&folder.join(EVALUATION));
    let names = fs::read_dir(folder.join("stopped")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    weights.is_some()
        && weights == weights_of(&folder.join("whole.json"))
        && names.all(|name| name == ".toile.lock" || !name.starts_with(".toile"))
}

fn half(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bytes.len() / 2);
    bytes
}

fn flip_last(folder: &Path) {
    rewrite(&folder.join(LAST), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Writes bytes and the hash that makes a whole checkpoint of them.
fn write_hashed(path: &Path, mut bytes: Vec<u8>) {
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    fs::write(path, bytes).unwrap();
}

/// Changes the header of the newest checkpoint and the bytes of its tensors; length and hash
/// follow.
fn edit(folder: &Path, change: impl FnOnce(&mut Header, &mut Vec<u8>)) {
    let path = folder.join(LAST);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - HASH_BYTES);
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let (mut header, mut data) = (serde_json::from_slice(header).unwrap(), data.to_vec());
    change(&mut header, &mut data);
    let header = Value::from(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    write_hashed(&path, [&length, header.as_bytes(), &data].concat());
}

/// Changes a field of the metadata that holds JSON.
fn edit_field(folder: &Path, field: &str, change: impl FnOnce(&mut Value)) {
    edit(folder, |header, _| {
        let text = &mut header["__metadata__"][field];
        let mut value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        change(&mut value);
        *text = json!(value.to_string());
    });
}

/// Where a tensor's bytes begin and end.
fn offsets(tensor: &Value) -> [usize; 2] {
    serde_json::from_value(tensor["data_offsets"].clone()).unwrap()
}

/// Removes a tensor with its bytes; those behind it move up.
fn remove(header: &mut Header, data: &mut Vec<u8>, name: &str) {
    let [begin, end] = offsets(&header.remove(name).unwrap());
    drop(data.drain(begin..end));
    move_up(header, end, end - begin);
}

/// Half of the second moments are lost; what lies behind them moves up.
fn halve_last_moment(header: &mut Header, data: &mut Vec<u8>) {
    let tensor = &mut header["second_moment"];
    let [begin, end] = offsets(tensor);
    let numbers = (end - begin) / 8;
    tensor["shape"] = json!([numbers]);
    tensor["data_offsets"] = json!([begin, begin + 4 * numbers]);
    drop(data.drain(begin + 4 * numbers..end));
    move_up(header, end, end - begin - 4 * numbers);
}

/// Tells that the bytes from `from` on lie `by` bytes before where they lay.
fn move_up(header: &mut Header, from: usize, by: usize) {
    for (_, tensor) in header.iter_mut().filter(|(name, _)| *name != "__metadata__") {
        let [begin, end] = offsets(tensor);
        if begin >= from {
            tensor["data_offsets"] = json!([begin - by, end - by]);
        }
    }
}
