//! Intervals, calibration and the comparison of two models against SciPy's, scikit-learn's and
//! statsmodels' numbers.
//!
//! `tests/golden/statistics.py` writes them.

use std::path::Path;

use serde::Deserialize;
use toile::metrics::{Calibration, Evaluation, PairedCounts, Predictions};

#[derive(Deserialize)]
struct Golden {
    intervals: Vec<IntervalCase>,
    calibration: Vec<CalibrationCase>,
    paired: Vec<PairedCase>,
}

#[derive(Deserialize)]
struct IntervalCase {
    hits: usize,
    images: usize,
    interval: [f64; 2],
}

#[derive(Deserialize)]
struct CalibrationCase {
    name: String,
    confidence: Vec<f32>,
    right: Vec<bool>,
    counts: Vec<usize>,
    /// Of the bins that are not empty.
    accuracies: Vec<f64>,
    confidences: Vec<f64>,
    error: f64,
}

#[derive(Deserialize)]
struct PairedCase {
    /// Right: both, only this, only the other, neither.
    counts: [usize; 4],
    difference: f64,
    interval: [f64; 2],
    p_value: f64,
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/statistics.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Answers to images of class 0.
fn predictions(right: &[bool], confidence: &[f32]) -> Predictions {
    let predicted = right.iter().map(|&right| u8::from(!right)).collect();
    Predictions { truth: vec![0; right.len()], predicted, confidence: confidence.to_vec() }
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn the_intervals_are_scipys() {
    for IntervalCase { hits, images, interval } in golden().intervals {
        let right: Vec<bool> = (0..images).map(|image| image < hits).collect();
        let predictions = predictions(&right, &vec![1.0; images]);
        let losses = vec![0.0; images];
        let classes = ["a".to_owned(), "b".to_owned()];
        let found = Evaluation::new(&predictions, &losses, &classes, 0, String::new());
        for (found, expected) in found.accuracy_interval.into_iter().zip(interval) {
            assert_close(found, expected, 1e-14, &format!("{hits} of {images}"));
        }
    }
}

#[test]
fn the_bins_are_scikit_learns() {
    for case in golden().calibration {
        let calibration = Calibration::of(&predictions(&case.right, &case.confidence));
        let counts: Vec<usize> = calibration.bins().iter().map(|bin| bin.images).collect();
        assert_eq!(counts, case.counts, "{}", case.name);
        let filled: Vec<_> = calibration.bins().iter().filter(|bin| bin.images > 0).collect();
        assert_eq!(filled.len(), case.accuracies.len(), "{}", case.name);
        for (place, bin) in filled.into_iter().enumerate() {
            assert_close(bin.accuracy(), case.accuracies[place], 1e-14, &case.name);
            assert_close(bin.confidence(), case.confidences[place], 1e-14, &case.name);
        }
        assert_close(calibration.error(), case.error, 1e-14, &case.name);
        let total = calibration.total();
        let hits = case.right.iter().filter(|&&right| right).count();
        assert_eq!((total.images, total.hits), (case.right.len(), hits), "{}", case.name);
    }
}

#[test]
fn the_comparison_is_statsmodels() {
    for PairedCase { counts, difference, interval, p_value } in golden().paired {
        let [both_right, only_this_right, only_other_right, neither_right] = counts;
        let paired = PairedCounts { both_right, only_this_right, only_other_right, neither_right };
        let what = format!("{counts:?}");
        assert_close(paired.difference(), difference, 1e-15, &what);
        for (found, expected) in paired.difference_interval().into_iter().zip(interval) {
            assert_close(found, expected, 1e-11, &what);
        }
        assert_close(paired.p_value() / p_value, 1.0, 1e-9, &what);
    }
}

/// Published: Cavo et al. 2012 as treated by Fagerland, Lydersen and Laake.
#[test]
fn a_published_comparison_comes_out() {
    let paired = PairedCounts {
        both_right: 59,
        only_this_right: 6,
        only_other_right: 16,
        neither_right: 80,
    };
    let [low, high] = paired.difference_interval();
    let found = format!("{:.4} {low:.4} {high:.4} {:.6}", paired.difference(), paired.p_value());
    assert_eq!(found, "-0.0621 -0.1195 -0.0032 0.052479");
}

#[test]
fn the_sides_change_the_sign_and_nothing_else() {
    let this = predictions(&[true, true, true, false, false], &[0.5; 5]);
    let other = predictions(&[true, false, false, true, false], &[0.5; 5]);
    let (counts, turned) = (PairedCounts::of(&this, &other), PairedCounts::of(&other, &this));
    let expected =
        PairedCounts { both_right: 1, only_this_right: 2, only_other_right: 1, neither_right: 1 };
    assert_eq!(counts, expected);
    assert_eq!(turned, PairedCounts { only_this_right: 1, only_other_right: 2, ..expected });
    assert_eq!(counts.difference(), -turned.difference());
    let [low, high] = counts.difference_interval();
    assert_eq!([-high, -low], turned.difference_interval());
    assert_eq!(counts.p_value(), turned.p_value());
}
