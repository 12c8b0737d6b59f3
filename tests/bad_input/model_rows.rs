//! Cases 20 to 34: model files, each the good run's weights with one thing spoilt; case 80: models
//! that cannot answer together.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Map, Value, json};
use toile::Device;
use toile::checkpoint::{Architecture, Model};

use crate::harness::{Row, make_pipe};

const MODEL: &str = "run/best.safetensors";
const TAKE: &str = "give a run folder, or a best.safetensors";

type Header = Map<String, Value>;

fn row(
    case: u32,
    name: &'static str,
    spoil: fn(&Path),
    expected: &'static str,
    found: &'static str,
    next: &'static str,
) -> Row {
    let command = "evaluate run/best.safetensors --data data";
    Row::refused(case, name, spoil, command, 2, [MODEL, expected, found, next])
}

#[rustfmt::skip]
pub fn rows() -> Vec<Row> {
    vec![
        row(20, "header length above the file's", |f| write(f, &[&100_000_u64.to_le_bytes()[..], b"{}"].concat()), "announces 100000 bytes", "the file has only 10", TAKE),
        row(20, "header length of 2^63", |f| write(f, &[&(1_u64 << 63).to_le_bytes()[..], b"{}"].concat()), "at most 1048576", "9223372036854775808", TAKE),
        row(20, "header length of 2^64 - 1", |f| write(f, &[0xff; 100]), "at most 1048576", "18446744073709551615", TAKE),
        row(20, "a file cut inside the header's length", |f| write(f, b"abc"), "expected 8", "only 3 bytes", TAKE),
        row(21, "a header above 1 MiB that is there", |f| write(f, &[&(2_u64 << 20).to_le_bytes()[..], &vec![b' '; 3 << 20]].concat()), "at most 1048576", "2097152", TAKE),
        row(22, "brackets nested 100,000 deep", |f| write_header(f, "[".repeat(100_000).as_bytes()), "an object of tensors", "sequence", TAKE),
        row(22, "objects nested 100,000 deep", |f| write_header(f, "{\"a\":".repeat(100_000).as_bytes()), "dtype", "unknown field", TAKE),
        row(22, "metadata nested 100,000 deep", |f| edit_metadata(f, "architecture", &"[".repeat(100_000)), "`architecture`", "cannot be read", TAKE),
        row(22, "sizes nested 100,000 deep", |f| write_header(f, format!("{{\"a\":{{\"shape\":{}", "[".repeat(100_000)).as_bytes()), "expected usize", "sequence", TAKE),
        row(23, "a header that is not UTF-8", |f| write_header(f, b"{\"conv\xff1\":{}}"), "UTF-8", "index 6", TAKE),
        row(24, "a tensor's name twice", |f| edit_text(f, |text, _| text.replacen("{", "{\"conv1.bias\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[4608,4736]},", 1)), "header", "conv1.bias stands in it twice", TAKE),
        row(24, "the metadata twice", |f| edit_text(f, |text, _| text.replacen("{", "{\"__metadata__\":{},", 1)), "header", "__metadata__ stands in it twice", TAKE),
        row(25, "tensors that overlap", |f| edit(f, |header, _| header["conv1.weight"]["data_offsets"] = header["conv1.bias"]["data_offsets"].clone()), "expected", "overlap", TAKE),
        row(25, "a tensor that ends before it begins", |f| edit(f, |header, _| header["bn1.beta"]["data_offsets"] = json!([0, -128])), "expected usize", "-128", TAKE),
        row(26, "a hole between tensors", |f| edit(f, |header, _| shift_last(header)), "expected", "leave a hole", TAKE),
        row(26, "bytes after the last tensor", |f| edit(f, |_, data| data.extend(b"PK\x03\x04 another file")), "its tensors take 2153384 bytes", "the file has 2153401", TAKE),
        row(26, "half a gibibyte after the last tensor", |f| File::options().write(true).open(f.join(MODEL)).unwrap().set_len(1 << 29).unwrap(), "its tensors take 2153384 bytes", "joined", TAKE),
        row(26, "cut in the middle", |f| edit(f, |_, data| data.truncate(1_000_000)), "its tensors take 2153384 bytes", "the file has 1000000", TAKE),
        row(26, "a file above the limit", |f| File::options().write(true).open(f.join(MODEL)).unwrap().set_len(1 << 40).unwrap(), "at most 1073741824", "1099511627776", "check the path"),
        row(27, "a shape whose product overflows", |f| edit(f, |header, _| header["bn1.beta"]["shape"] = json!([u64::MAX, 3])), "bn1.beta", "larger than any memory", TAKE),
        row(27, "a shape whose bytes overflow", |f| edit(f, |header, _| header["bn1.beta"]["shape"] = json!([1_u64 << 62])), "bn1.beta", "larger than any memory", TAKE),
        row(27, "a shape of another size than its bytes", |f| edit(f, |header, _| header["bn1.beta"]["shape"] = json!([33])), "takes 132 bytes", "offsets are 0 and 128", TAKE),
        row(28, "numbers of another type", |f| edit(f, |header, _| header["bn1.beta"]["dtype"] = json!("I32")), "expected F32", "bn1.beta is I32", TAKE),
        row(28, "a type that does not exist", |f| edit(f, |header, _| header["bn1.beta"]["dtype"] = json!("F33")), "expected one of", "F33", TAKE),
        row(29, "missing, surplus, mis-shaped: all are told", |f| edit(f, break_three), "[3, 3, 32, 32]", "bn1.beta is missing; conv2.weight has shape [9, 32, 32]", "extra is not known; give a run folder"),
        row(29, "a tensor and its bytes are missing", |f| edit(f, drop_last), "its network", "dense3.weight is missing", TAKE),
        row(29, "no tensors at all", |f| edit(f, |header, data| { header.retain(|name, _| name == "__metadata__"); data.clear(); }), "its network", "dense3.weight is missing", TAKE),
        row(29, "a network of 128 x 128 images without its bytes", |f| edit_metadata(f, "architecture", "{\"network\":\"reference\",\"input\":[128,128,1]}"), "expected [93312, 512]", "dense1.weight has shape [512, 512]", TAKE),
        row(29, "a network that does not exist", |f| edit_metadata(f, "architecture", "{\"network\":\"huge\",\"input\":[28,28,1]}"), "known: reference", "huge", TAKE),
        row(29, "no metadata", |f| edit(f, |header, _| drop(header.remove("__metadata__"))), "`format_version`", "lacks", TAKE),
        row(30, "a weight that is not a number", |f| edit(f, |_, data| set_last(data, f32::NAN)), "expected finite numbers", "dense3.weight", "take another model"),
        row(30, "a weight that is infinite", |f| edit(f, |_, data| set_last(data, f32::NEG_INFINITY)), "expected finite numbers", "dense3.weight", "take another model"),
        row(31, "a newer format", |f| edit_metadata(f, "format_version", "2"), "reads up to 1", "format version is 2", "newer toile"),
        row(31, "a format version that is no number", |f| edit_metadata(f, "format_version", "\u{1b}[2J"), "a number from 1", "\\u{1b}[2J", TAKE),
        Row::refused(32, "one bit of a weight flipped", |f| edit(f, |_, data| data[1_000_000] ^= 1), "evaluate run --data data", 2, [MODEL, "expected the weights of SHA-256", "found", "restore it, or remove run/evaluation.json"]),
        row(32, "the same, given as a file", |f| edit(f, |_, data| data[1_000_000] ^= 1), "expected the weights of SHA-256", "found", "restore it, or remove"),
        Row::refused(32, "an evaluation.json of a terabyte", |f| fs::File::create(f.join("run/evaluation.json")).unwrap().set_len(1 << 40).unwrap(), "evaluate run --data data", 2, ["run/evaluation.json", "at most 16777216 bytes", "found something else", "restore the file, or remove it"]),
        Row::refused(32, "a damaged evaluation.json", |f| fs::write(f.join("run/evaluation.json"), b"{").unwrap(), "evaluate run --data data", 2, ["run/evaluation.json", "`weights_sha256`", "found something else", "restore the file, or remove it"]),
        row(33, "HDF5, as .h5", |f| write(f, &[b"\x89HDF\r\n\x1a\n", &[0; 2000][..]].concat()), "safetensors files only", "HDF5", TAKE),
        row(33, "a zip archive, as .pt and .keras", |f| write(f, &[b"PK\x03\x04", &[0; 2000][..]].concat()), "safetensors files only", "PyTorch (.pt, .pth) and Keras (.keras)", TAKE),
        row(33, "a pickle that would run a command", |f| write(f, b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x0atouch pwned\x94\x85\x94R\x94."), "safetensors files only", "pickle", TAKE),
        row(33, "ONNX", |f| write(f, b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\xff"), "safetensors files only", "ONNX", TAKE),
        row(33, "an empty file", |f| write(f, b""), TAKE, "the file is empty", "as training writes it"),
        Row::refused(33, "a checkpoint instead of weights", |_| (), "evaluate run/last.ckpt --data data", 2, ["run/last.ckpt", "its tensors take", "or it is a checkpoint", TAKE]),
        row(34, "a tensor named as a path", |f| rename_tensor(f, "../../x"), "its network", "../../x is not known", TAKE),
        row(34, "a tensor named by terminal escapes", |f| rename_tensor(f, "\u{1b}[31mred\u{7}"), "its network", "\\u{1b}[31mred\\u{7} is not known", TAKE),
        row(34, "a tensor with a name of a megabyte", |f| rename_tensor(f, &"x".repeat(1_000_000)), "its network", "xxx... is not known", TAKE),
        row(34, "a class named by terminal escapes", |f| edit_metadata(f, "classes", "[\"\\u001b[31mred\"]"), "class 0", "control characters", TAKE),
        row(34, "an unknown key with terminal escapes", |f| edit_metadata(f, "architecture", "{\"\\u001b[31m\":1}"), "expected `network` or `input`", "\\u{1b}[31m", TAKE),
        Row::refused(80, "models of other classes together", |f| write_other(f, [28, 28, 1], 10), "evaluate run other.safetensors --data data", 2, ["class 0 of run/best.safetensors is 0", "that of other.safetensors is kind 0", "know the same classes", "leave one of the two out"]),
        Row::refused(80, "models of other numbers of classes together", |f| write_other(f, [28, 28, 1], 3), "evaluate run other.safetensors --data data", 2, ["run/best.safetensors knows 10 classes", "other.safetensors knows 3", "know the same classes", "leave one of the two out"]),
        Row::refused(80, "a comparison with a model of other images", |f| write_other(f, [32, 40, 1], 10), "evaluate run --against other.safetensors", 2, ["run/best.safetensors takes images of [28, 28, 1]", "other.safetensors of [32, 40, 1]", "take the same images", "leave one of the two out"]),
        Row::refused(80, "a comparison with a run that is not there", |_| (), "evaluate run --against nowhere", 2, ["nowhere", "run folder or model file", "No such file", "train one first"]),
        Row::refused(80, "a second model that is not there", |_| (), "evaluate run nowhere --tta", 2, ["nowhere", "run folder or model file", "No such file", "train one first"]),
        Row::refused(80, "a comparison with nothing", |_| (), "evaluate run --against", 2, ["--against", "a value is required", "RUN|MODEL", "try '--help'"]),
        Row::refused(80, "--tta with a value", |_| (), "evaluate run --tta=twice", 2, ["--tta", "unexpected value", "'twice'", "try '--help'"]),
        Row { tells: vec!["warning: run and run/best.safetensors hold the same weights, which count twice"], ..Row::works(80, "the same weights twice", |_| (), "evaluate run run/best.safetensors --data data", |_| true) },
        Row::refused(34, "a path with terminal escapes", |_| (), "evaluate no\u{1b}[31mthing", 2, ["no\\u{1b}[31mthing", "run folder or model file", "No such file", "train one first"]),
        row(18, "a model that is a named pipe", |f| make_pipe(&f.join(MODEL)), "run folder", "a pipe, socket or device", "check the path"),
    ]
}

/// Writes a model of images of that height, width and channels and so many classes.
fn write_other(folder: &Path, input: [usize; 3], classes: usize) {
    let architecture = Architecture { network: "reference".into(), input };
    let classes = (0..classes).map(|class| format!("kind {class}")).collect();
    let model = Model::new(architecture, classes, Device::Cpu, 0).unwrap();
    fs::write(folder.join("other.safetensors"), model.to_bytes()).unwrap();
}

fn write(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join(MODEL), bytes).unwrap();
}

/// A file with this header and no tensors.
fn write_header(folder: &Path, header: &[u8]) {
    write(folder, &[&(header.len() as u64).to_le_bytes(), header].concat());
}

/// Changes a model file's header, as text, and the bytes of its tensors; the length follows.
fn edit_text(folder: &Path, change: impl FnOnce(&str, &mut Vec<u8>) -> String) {
    let path = folder.join(MODEL);
    let bytes = fs::read(&path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut data = data.to_vec();
    let header = change(std::str::from_utf8(header).unwrap(), &mut data);
    let length = header.len() as u64;
    fs::write(path, [&length.to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
}

/// Changes a model file's header and the bytes of its tensors.
fn edit(folder: &Path, change: impl FnOnce(&mut Header, &mut Vec<u8>)) {
    edit_text(folder, |text, data| {
        let mut header: Header = serde_json::from_str(text).unwrap();
        change(&mut header, data);
        Value::from(header).to_string()
    });
}

fn edit_metadata(folder: &Path, field: &str, text: &str) {
    edit(folder, |header, _| header["__metadata__"][field] = json!(text));
}

fn rename_tensor(folder: &Path, name: &str) {
    edit(folder, |header, _| {
        let tensor = header.remove("bn1.beta").unwrap();
        header.insert(name.to_owned(), tensor);
    });
}

fn shift_last(header: &mut Header) {
    for offset in header["dense3.weight"]["data_offsets"].as_array_mut().unwrap() {
        *offset = json!(offset.as_u64().unwrap() + 4);
    }
}

fn break_three(header: &mut Header, _: &mut Vec<u8>) {
    let tensor = header.remove("bn1.beta").unwrap();
    header.insert("extra".to_owned(), tensor);
    header["conv2.weight"]["shape"] = json!([9, 32, 32]);
}

fn drop_last(header: &mut Header, data: &mut Vec<u8>) {
    let tensor = header.remove("dense3.weight").unwrap();
    data.truncate(tensor["data_offsets"][0].as_u64().unwrap() as usize);
}

fn set_last(data: &mut [u8], value: f32) {
    let end = data.len();
    data[end - 4..].copy_from_slice(&value.to_le_bytes());
}
