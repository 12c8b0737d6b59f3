//! The `predict` program as a shell sees it. The model is one that was never trained: what it
//! says is of no matter, that it always says the same is.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use toile::Device;
use toile::checkpoint::{Architecture, Model};

/// A folder with a model, and the files of `tests/images` that are named, in a folder `images`.
fn folder(images: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    write_model(&folder.path().join("model.safetensors"), [28, 28, 1]);
    fs::create_dir(folder.path().join("images")).unwrap();
    for name in images {
        fs::copy(fixture(name), folder.path().join("images").join(name)).unwrap();
    }
    folder
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name)
}

fn write_model(path: &Path, input: [usize; 3]) {
    let architecture = Architecture { network: "reference".into(), input };
    let classes = ["Boot", "Coat", "Bag", "Hat", "Sock"].map(String::from).to_vec();
    let model = Model::new(architecture, classes, Device::Cpu, 7).unwrap();
    fs::write(path, model.to_bytes()).unwrap();
}

fn predict<I: AsRef<OsStr>>(folder: &TempDir, arguments: impl IntoIterator<Item = I>) -> Output {
    let mut command = Command::cargo_bin("predict").unwrap();
    command.current_dir(folder.path()).env_remove("TOILE_ISA").env_remove("RAYON_NUM_THREADS");
    command.args(["--model", "model.safetensors"]).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn json_has_the_promised_keys_and_nothing_else() {
    let folder = folder(&["rgb.png"]);
    let output = predict(&folder, ["images/rgb.png", "--json", "--top-k", "2"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let [line] = &lines(&output)[..] else { panic!("one line an image") };
    let keys: Vec<_> = line.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["confidence", "file", "label", "milliseconds", "top"]);
    assert_eq!(line["file"], "images/rgb.png");
    let top = line["top"].as_array().unwrap();
    assert_eq!(top.len(), 2);
    for class in top {
        assert_eq!(class.as_object().unwrap().keys().collect::<Vec<_>>(), ["confidence", "label"]);
    }
    assert_eq!((&line["label"], &line["confidence"]), (&top[0]["label"], &top[0]["confidence"]));
    assert!(top[0]["confidence"].as_f64() >= top[1]["confidence"].as_f64());
    assert!(line["milliseconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn all_classes_add_up_to_one() {
    let folder = folder(&["rgb.png"]);
    let output = predict(&folder, ["images/rgb.png", "--json", "--top-k", "1000"]);
    let top = lines(&output)[0]["top"].as_array().unwrap().clone();
    let sum: f64 = top.iter().map(|class| class["confidence"].as_f64().unwrap()).sum();
    assert!(top.len() == 5 && (sum - 1.0).abs() < 1e-6, "{top:?}");
}

/// Sorted by name, without other files and folders inside; the same answer alone or together.
#[test]
fn a_folder_is_answered_in_order() {
    let folder = folder(&["rgb.png", "grey.jpg", "palette.gif"]);
    let images = folder.path().join("images");
    fs::write(images.join("notes.txt"), "no image").unwrap();
    fs::create_dir(images.join("more.png")).unwrap();
    fs::rename(images.join("rgb.png"), images.join("RGB.PNG")).unwrap();
    let output = predict(&folder, ["images", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let together = lines(&output);
    let files: Vec<_> = together.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["images/RGB.PNG", "images/grey.jpg", "images/palette.gif"]);
    for line in together {
        let alone = predict(&folder, [line["file"].as_str().unwrap(), "--json", "--threads", "3"]);
        assert_eq!(lines(&alone)[0]["top"], line["top"]);
    }
}

/// More images than fit a batch.
#[test]
fn many_files_come_in_their_order() {
    let folder = folder(&[]);
    let names: Vec<_> = (0..150).map(|i| format!("images/{i:03}.png")).collect();
    for (i, name) in names.iter().enumerate() {
        let name = folder.path().join(name);
        fs::copy(fixture(["rgb.png", "grey.png"][i % 2]), name).unwrap();
    }
    let found = lines(&predict(&folder, ["--json", "images"]));
    assert_eq!(
        found.iter().map(|line| &line["file"]).collect::<Vec<_>>(),
        names.iter().collect::<Vec<_>>()
    );
    for line in 2..150 {
        assert_eq!(found[line]["top"], found[line - 2]["top"], "image {line}");
    }
    assert_ne!(found[0]["top"], found[1]["top"]);
}

#[test]
fn a_person_sees_bars_the_model_and_what_was_done() {
    let folder = folder(&["rgb.png"]);
    let output = predict(&folder, ["images/rgb.png"]);
    let told = text(&output.stdout);
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("images/rgb.png  (model model.safetensors, "), "{told}");
    for line in &lines[1..4] {
        assert!(line.contains(" %  [") && line.ends_with(']'), "{told}");
    }
    assert!(lines[4].starts_with("  unsure: no class reaches 50 %"), "{told}");
    assert!(lines[5].starts_with("  13x9 RGB PNG -> grey, "), "{told}");
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    assert!(!told.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn bad_usage_is_refused() {
    let folder = folder(&["rgb.png"]);
    let table: &[(&str, i32, &[&str])] = &[
        ("images/rgb.png --top-k -1", 2, &["--top-k", "1 or more"]),
        ("images/rgb.png --topk 1", 2, &["--topk", "--top-k"]),
        ("images/rgb.png --background grey", 2, &["--background", "auto", "dark", "light"]),
        ("images/rgb.png --threads 0", 2, &["--threads", "1 or more"]),
        ("images/rgb.png --device gpu", 6, &["without GPU support"]),
    ];
    for (line, code, words) in table {
        let output = predict(&folder, line.split_whitespace());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{line}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{line}: {message}");
        assert_eq!(text(&output.stdout), "", "{line}");
    }
    write_model(&folder.path().join("model.safetensors"), [28, 28, 3]);
    let output = predict(&folder, ["images/rgb.png"]);
    let message = text(&output.stderr);
    assert!(output.status.code() == Some(2) && message.contains("3 channels"), "{message}");
}

#[test]
fn help_names_every_flag() {
    let help = text(&predict(&folder(&[]), ["--help"]).stdout);
    let words = ["--model", "--top-k", "--background", "--threads", "--device", "--json", "WebP"];
    for word in words.iter().chain(&["runs/latest", "TOILE_ISA", "2  bad usage", "Examples"]) {
        assert!(help.contains(word), "no {word} in {help}");
    }
}

/// Other sizes of model get images of their size.
#[test]
fn a_models_own_size_decides() {
    let folder = folder(&["rgb.png"]);
    write_model(&folder.path().join("model.safetensors"), [32, 40, 1]);
    let told = text(&predict(&folder, ["images/rgb.png"]).stdout);
    assert!(told.contains("centred\n  in 40x32"), "{told}");
}

#[cfg(unix)]
#[test]
fn names_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = folder(&[]);
    let name = OsStr::from_bytes(b"images/\x1b[2J\xff.png");
    fs::copy(fixture("rgb.png"), folder.path().join(name)).unwrap();
    let output = predict(&folder, [name, OsStr::new("--json")]);
    assert_eq!(lines(&output)[0]["file"], "images/\u{1b}[2J\u{fffd}.png");
    let told = text(&predict(&folder, [name]).stdout);
    assert!(told.starts_with("images/\\u{1b}[2J\u{fffd}.png  (model"), "{told}");
    assert_eq!(text(&predict(&folder, ["images"]).stdout).lines().count(), told.lines().count());
}
