//! The metrics against scikit-learn's, and the small rules that it does not cover.
//!
//! `tests/golden/classification_report.py` writes the fixtures. What is more than scikit-learn's
//! report is compared in `tests/statistics.rs`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use toile::metrics::{Evaluation, Predictions};

#[derive(Deserialize)]
struct Case {
    classes: Vec<String>,
    truth: Vec<u8>,
    predicted: Vec<u8>,
    text: String,
    dictionary: Value,
    accuracy: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<usize>,
    confusion: Option<Vec<Vec<usize>>>,
}

fn cases() -> Vec<(PathBuf, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/classification_report");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        cases.push((path, case));
    }
    cases
}

/// Probabilities whose maximum is the wanted class.
fn one_hot(predicted: &[u8], classes: usize) -> Vec<f32> {
    let mut probabilities = vec![0.0; predicted.len() * classes];
    for (row, &class) in probabilities.chunks_exact_mut(classes).zip(predicted) {
        row[usize::from(class)] = 1.0;
    }
    probabilities
}

fn evaluate(case: &Case) -> Evaluation {
    let probabilities = one_hot(&case.predicted, case.classes.len());
    let predictions = Predictions::new(&case.truth, &probabilities, case.classes.len());
    assert_eq!(predictions.predicted, case.predicted);
    let losses = vec![0.5; case.truth.len()];
    Evaluation::new(&predictions, &losses, &case.classes, 3, String::new())
}

#[test]
fn the_text_is_scikit_learns_byte_for_byte() {
    let cases = cases();
    assert_eq!(cases.len(), 9);
    for (path, case) in &cases {
        assert_eq!(evaluate(case).report().to_string(), case.text, "{}", path.display());
    }
}

#[test]
fn every_number_is_scikit_learns_bit_for_bit() {
    for (path, case) in &cases() {
        let evaluation = evaluate(case);
        let name = path.display();
        assert_eq!(evaluation.accuracy, case.accuracy, "{name}");
        assert_eq!(evaluation.images, case.truth.len(), "{name}");
        for (class, metrics) in evaluation.per_class.iter().enumerate() {
            assert_eq!(metrics.precision, case.precision[class], "{name} class {class}");
            assert_eq!(metrics.recall, case.recall[class], "{name} class {class}");
            assert_eq!(metrics.accuracy, case.recall[class], "{name} class {class}");
            assert_eq!(metrics.f1, case.f1[class], "{name} class {class}");
            assert_eq!(metrics.support, case.support[class], "{name} class {class}");
        }
        if let Some(confusion) = &case.confusion {
            assert_eq!(&evaluation.confusion, confusion, "{name}");
        }
    }
}

#[test]
fn the_dictionary_is_scikit_learns() {
    for (path, case) in &cases() {
        let ours = serde_json::to_value(evaluate(case).report()).unwrap();
        let (ours, theirs) = (ours.as_object().unwrap(), case.dictionary.as_object().unwrap());
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (key, expected) in theirs {
            let Some(row) = expected.as_object() else {
                assert_eq!(&ours[key], expected, "{}", path.display());
                continue;
            };
            for (column, value) in row {
                assert_eq!(ours[key][column].as_f64(), value.as_f64(), "{} {key}", path.display());
            }
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Four images, of which class 0 is recognised once in two.
fn small() -> Evaluation {
    let probabilities = [0.75, 0.25, 0.25, 0.75, 0.125, 0.875, 0.5, 0.5];
    let predictions = Predictions::new(&[0, 0, 1, 1], &probabilities, 2);
    let classes = names(&["cat", "dog"]);
    Evaluation::new(&predictions, &[0.25, 1.5, 0.125, 0.5], &classes, 42, "ab12".into())
}

#[test]
fn evaluation_json_has_exactly_the_promised_keys() {
    let half = json!({"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2});
    let class = |name: &str| {
        let mut class = half.clone();
        class["name"] = json!(name);
        class
    };
    let expected = json!({
        "accuracy": 0.5,
        "accuracy_interval": small().accuracy_interval,
        "loss": 0.59375,
        "images": 4,
        "calibration_error": 0.28125,
        "classes": ["cat", "dog"],
        "per_class": [class("cat"), class("dog")],
        "confusion": [[1, 1], [1, 1]],
        "most_confused": [
            {"true": "cat", "predicted": "dog", "images": 1},
            {"true": "dog", "predicted": "cat", "images": 1},
        ],
        "parameters": 42,
        "weights_sha256": "ab12",
        "models": [{"accuracy": 0.5, "loss": 0.59375, "weights_sha256": "ab12"}],
        "tta": false,
    });
    assert_eq!(serde_json::to_value(small()).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Evaluation>(expected).unwrap(), small());
}

#[test]
fn predictions_csv_lists_class_numbers_and_the_first_maximum() {
    let probabilities = [0.25, 0.5, 0.25, 0.1, 0.45, 0.45, 1.0, 0.0, 0.0];
    let predictions = Predictions::new(&[1, 2, 0], &probabilities, 3);
    assert_eq!(
        predictions.to_csv(),
        "index,true,predicted,confidence\n0,1,1,0.5\n1,2,1,0.45\n2,0,0,1\n"
    );
}

#[test]
fn the_mean_loss_is_summed_in_f64() {
    // In f32 the small losses would vanish beside the large one.
    let predictions = Predictions::new(&[0; 5], &[1.0; 5], 1);
    let losses = [16_777_216.0, 1.0, 1.0, 1.0, 1.0];
    let evaluation = Evaluation::new(&predictions, &losses, &names(&["only"]), 0, String::new());
    assert_eq!(evaluation.loss, 16_777_220.0 / 5.0);
}

/// Six kinds of mistakes, of which five are listed.
#[test]
fn mistakes_are_listed_most_frequent_first() {
    let truth = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2];
    let predicted = [1, 1, 0, 2, 0, 2, 2, 0, 0, 1];
    let predictions = Predictions::new(&truth, &one_hot(&predicted, 3), 3);
    let classes = names(&["a", "b", "c"]);
    let evaluation = Evaluation::new(&predictions, &[0.0; 10], &classes, 0, String::new());
    let pairs: Vec<_> = evaluation
        .most_confused
        .iter()
        .map(|pair| (pair.truth.as_str(), pair.predicted.as_str(), pair.images))
        .collect();
    assert_eq!(pairs, [("a", "b", 2), ("b", "c", 2), ("c", "a", 2), ("a", "c", 1), ("b", "a", 1)]);
}

/// Two means that are one number in f32.
#[test]
fn the_digits_of_a_mean_decide() {
    let (less, more) = (0.4999999999, 0.5000000001);
    let predictions = Predictions::of_means(&[1, 0], &[less, more, more, less], 2);
    assert_eq!(predictions.predicted, [1, 0]);
    assert_eq!(predictions.confidence, [0.5, 0.5]);
}

#[test]
#[should_panic(expected = "no images")]
fn an_empty_evaluation_is_a_mistake() {
    let predictions = Predictions::new(&[], &[], 2);
    let _ = Evaluation::new(&predictions, &[], &names(&["a", "b"]), 0, String::new());
}
