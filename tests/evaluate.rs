//! The `evaluate` program on several models, on mirror images, and one model against another,
//! beside plain loops over what each model answers. The models were never trained: they need not
//! be right, only different.

mod made_up_data;

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::{TempDir, tempdir};
use toile::checkpoint::{Architecture, Model};
use toile::{Device, Shape, Tensor};

const IMAGES: usize = 120;
const CLASSES: usize = 4;
const PIXELS: usize = 28 * 28;

/// A folder with a data set and three models, `0`, `1` and `2`.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    made_up_data::write(&folder.path().join("data"), 40, IMAGES as u32, CLASSES as u32);
    for seed in 0..3 {
        fs::write(folder.path().join(seed.to_string()), model(seed).to_bytes()).unwrap();
    }
    folder
}

fn model(seed: u64) -> Model {
    let architecture = Architecture { network: "reference".into(), input: [28, 28, 1] };
    let classes = ["Boot", "Coat", "Bag", "Hat"].map(String::from).to_vec();
    Model::new(architecture, classes, Device::Cpu, seed).unwrap()
}

fn evaluate(folder: &TempDir, line: &str) -> Output {
    let mut command = Command::cargo_bin("evaluate").unwrap();
    command.current_dir(folder.path()).env_remove("TOILE_ISA").env_remove("RAYON_NUM_THREADS");
    command.args(line.split(' ')).args(["--data", "data"]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn result(folder: &TempDir, line: &str) -> Value {
    let output = evaluate(folder, &format!("{line} --json"));
    assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The test images, without the header of their file.
fn images(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("data/t10k-images-idx3-ubyte")).unwrap()[16..].to_vec()
}

fn labels(folder: &Path) -> Vec<usize> {
    let file = fs::read(folder.join("data/t10k-labels-idx1-ubyte")).unwrap();
    file[8..].iter().map(|&label| usize::from(label)).collect()
}

/// The images with each line reversed.
fn mirrored(images: &[u8]) -> Vec<u8> {
    images.chunks(28).flat_map(|line| line.iter().rev().copied()).collect()
}

/// What a model answers, a row an image.
fn probabilities(seed: u64, images: &[u8]) -> Vec<Vec<f64>> {
    let numbers: Vec<f32> = images.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let shape = Shape::new(&[images.len() / PIXELS, 28, 28, 1]);
    let answers = model(seed).network.forward(&Tensor::new(Device::Cpu, shape, &numbers)).softmax();
    let answers: Vec<f64> = answers.to_vec().into_iter().map(|p: f32| f64::from(p)).collect();
    answers.chunks(CLASSES).map(<[f64]>::to_vec).collect()
}

fn mean(answers: &[Vec<Vec<f64>>]) -> Vec<Vec<f64>> {
    let value = |image: usize, class: usize| {
        answers.iter().map(|rows| rows[image][class]).sum::<f64>() / answers.len() as f64
    };
    (0..IMAGES).map(|image| (0..CLASSES).map(|class| value(image, class)).collect()).collect()
}

/// Which images are recognised.
fn hits(rows: &[Vec<f64>], labels: &[usize]) -> Vec<bool> {
    let is_hit = |(row, &label): (&Vec<f64>, &usize)| row.iter().all(|p| *p <= row[label]);
    rows.iter().zip(labels).map(is_hit).collect()
}

fn count(hits: &[bool]) -> usize {
    hits.iter().filter(|&&hit| hit).count()
}

fn assert_worth(found: &Value, rows: &[Vec<f64>], labels: &[usize]) {
    let accuracy = count(&hits(rows, labels)) as f64 / IMAGES as f64;
    assert_eq!(found["accuracy"], accuracy);
    let loss = |(row, &label): (&Vec<f64>, &usize)| -row[label].ln();
    let loss = rows.iter().zip(labels).map(loss).sum::<f64>() / IMAGES as f64;
    let found = found["loss"].as_f64().unwrap();
    assert!((found - loss).abs() < 1e-5, "loss {found}, expected {loss}");
}

#[test]
fn several_models_answer_by_their_mean_probability() {
    let folder = folder();
    let (images, labels) = (images(folder.path()), labels(folder.path()));
    let answers = [2, 0, 1].map(|seed| probabilities(seed, &images));
    let found = result(&folder, "2 0 1");
    assert_worth(&found, &mean(&answers), &labels);
    let hashes = [2, 0, 1].map(|seed| model(seed).weights_sha256());
    let models = found["models"].as_array().unwrap();
    assert_eq!(models.len(), 3);
    for (place, name) in ["2", "0", "1"].into_iter().enumerate() {
        assert_eq!(models[place]["name"], name);
        assert_eq!(models[place]["weights_sha256"], hashes[place]);
        assert_worth(&models[place], &answers[place], &labels);
    }
    let joint = Sha256::digest(hashes.concat());
    let joint: String = joint.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found["weights_sha256"], joint);
    let one = result(&folder, "0");
    assert_eq!(found["parameters"], 3 * one["parameters"].as_u64().unwrap());
    assert_eq!((&one["tta"], &found["tta"]), (&false.into(), &false.into()));
    assert_eq!(one["models"].as_array().unwrap().len(), 1);
    assert_eq!(one["models"][0]["weights_sha256"], one["weights_sha256"]);
    assert!(one["models"][0].get("name").is_none(), "{one}");
}

#[test]
fn the_same_model_twice_is_that_model_and_is_told() {
    let folder = folder();
    let (one, twice) = (result(&folder, "1"), result(&folder, "1 1"));
    for key in ["accuracy", "accuracy_interval", "calibration_error", "confusion", "loss"] {
        assert_eq!(one[key], twice[key], "{key}");
    }
    let told = text(&evaluate(&folder, "1 1").stderr);
    assert!(told.contains("warning: 1 and 1 hold the same weights"), "{told}");
    assert!(!text(&evaluate(&folder, "1 2").stderr).contains("warning"));
}

#[test]
fn each_image_and_its_mirror_image_answer_together() {
    let folder = folder();
    let (seen, labels) = (images(folder.path()), labels(folder.path()));
    let turned = mirrored(&seen);
    assert_ne!(seen, turned);
    let answers =
        [0, 1].map(|seed| mean(&[probabilities(seed, &seen), probabilities(seed, &turned)]));
    let plain = result(&folder, "0 1");
    let found = result(&folder, "0 1 --tta");
    assert_worth(&found, &mean(&answers), &labels);
    assert_worth(&found["models"][1], &answers[1], &labels);
    assert_eq!(found["tta"], true);
    assert_ne!(found["loss"], plain["loss"]);
    // The other way round it is the same, to the bit; without --tta it is not.
    let path = folder.path().join("data/t10k-images-idx3-ubyte");
    let header = fs::read(&path).unwrap()[..16].to_vec();
    fs::write(&path, [header, turned].concat()).unwrap();
    assert_eq!(result(&folder, "0 1 --tta"), found);
    assert_ne!(result(&folder, "0 1"), plain);
}

#[test]
fn two_sides_are_compared_image_by_image() {
    let folder = folder();
    let (images, labels) = (images(folder.path()), labels(folder.path()));
    let side = |seeds: &[u64]| {
        let answers: Vec<_> = seeds.iter().map(|&seed| probabilities(seed, &images)).collect();
        hits(&mean(&answers), &labels)
    };
    let alone = result(&folder, "0");
    for (line, this, other) in [
        ("0 --against 1", side(&[0]), side(&[1])),
        ("0 --against 1 --against 2", side(&[0]), side(&[1, 2])),
        ("0 --against 0", side(&[0]), side(&[0])),
    ] {
        let mut found = result(&folder, line);
        let comparison = found.as_object_mut().unwrap().remove("comparison").unwrap();
        assert_eq!(found, alone, "{line}: nothing else changes");
        let pairs = || this.iter().zip(&other);
        for (key, pair) in [
            ("both_right", (true, true)),
            ("only_this_right", (true, false)),
            ("only_other_right", (false, true)),
            ("neither_right", (false, false)),
        ] {
            let images = pairs().filter(|&(&this, &other)| (this, other) == pair).count();
            assert_eq!(comparison[key], images, "{line}: {key}");
            assert!(images > 0 || line.ends_with('0'), "{line}: no image is {key}");
        }
        let difference = (count(&this) as f64 - count(&other) as f64) / IMAGES as f64;
        let found = comparison["difference"].as_f64().unwrap();
        assert!((found - difference).abs() < 1e-12, "{line}: {found}");
        assert_eq!(comparison["other"]["accuracy"], count(&other) as f64 / IMAGES as f64);
        assert_eq!(comparison["other"]["models"][0]["name"], line.split(' ').nth(2).unwrap());
    }
    let same = &result(&folder, "0 --against 0")["comparison"];
    assert_eq!((&same["p_value"], &same["difference"]), (&1.0.into(), &0.0.into()));
}

#[test]
fn a_person_is_told_of_all_this() {
    let folder = folder();
    let told = text(&evaluate(&folder, "0 1 --tta --against 2").stdout);
    for words in [
        "Test accuracy ",
        " % (95 % interval ",
        "Calibration error ",
        "the mean of those to an image and to its mirror image",
        "The mean of 2 models; each by itself:\n  accuracy ",
        "  0\n",
        "  1\n",
        "Most confused: ",
        "\n\nAgainst 2: accuracy ",
        "\nDifference of accuracy ",
        " points (95 % interval ",
        "Images right: both ",
        "McNemar's exact test: p = ",
    ] {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    let told = text(&evaluate(&folder, "0 --against 2 --against 1").stdout);
    assert!(told.contains("\n\nAgainst the mean of 2 models: accuracy "), "{told}");
    let alone = text(&evaluate(&folder, "0").stdout);
    for words in ["mean of", "mirror", "Against"] {
        assert!(!alone.contains(words), "{words:?} in {alone}");
    }
}
