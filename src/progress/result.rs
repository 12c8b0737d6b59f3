//! The result of an evaluation for a person.

use std::fmt::Write;

use crate::metrics::{Comparison, ConfusedPair, EvaluatedModel, Evaluation};

/// The result of an evaluation for a person, ending in a line feed.
#[must_use]
pub fn evaluation_text(evaluation: &Evaluation) -> String {
    let [low, high] = evaluation.accuracy_interval.map(|limit| 100.0 * limit);
    let mut text = format!(
        "Test accuracy {:.2} % (95 % interval {low:.1} to {high:.1}) | loss {:.4} | {} images\n\
         Calibration error {:.2} % (confidence against accuracy, 15 bins)\n",
        100.0 * evaluation.accuracy,
        evaluation.loss,
        evaluation.images,
        100.0 * evaluation.calibration_error,
    );
    if evaluation.tta {
        text += "Each answer is the mean of those to an image and to its mirror image.\n";
    }
    if let several @ [_, _, ..] = &evaluation.models[..] {
        let _ = writeln!(text, "The mean of {} models; each by itself:", several.len());
        text += &models_text(several);
    }
    let _ = writeln!(text, "\n{}", evaluation.report());
    let pair = |ConfusedPair { truth, predicted, images }: &ConfusedPair| {
        format!("{truth} as {predicted} {images}")
    };
    let confused: Vec<String> = evaluation.most_confused.iter().map(pair).collect();
    if !confused.is_empty() {
        let _ = writeln!(text, "Most confused: {}", confused.join(", "));
    }
    if let Some(comparison) = &evaluation.comparison {
        text += &comparison_text(comparison);
    }
    text
}

/// A line a model.
fn models_text(models: &[EvaluatedModel]) -> String {
    models.iter().fold(String::new(), |mut text, model| {
        let _ = writeln!(
            text,
            "  accuracy {:.2} %, loss {:.4}  {}",
            100.0 * model.accuracy,
            model.loss,
            name(model)
        );
        text
    })
}

fn name(model: &EvaluatedModel) -> &str {
    model.name.as_deref().unwrap_or(&model.weights_sha256)
}

fn comparison_text(comparison: &Comparison) -> String {
    let Comparison { other, counts, difference, difference_interval, p_value } = comparison;
    let [low, high] = difference_interval.map(|limit| 100.0 * limit);
    let together = format!("accuracy {:.2} %, loss {:.4}", 100.0 * other.accuracy, other.loss);
    let mut text = match &other.models[..] {
        [one] => format!("\nAgainst {}: {together}\n", name(one)),
        several => format!(
            "\nAgainst the mean of {} models: {together}; each by itself:\n{}",
            several.len(),
            models_text(several)
        ),
    };
    let _ = writeln!(
        text,
        "Difference of accuracy {:+.2} points (95 % interval {low:+.2} to {high:+.2})\n\
         Images right: both {}, only this {}, only the other {}, neither {}\n\
         McNemar's exact test: p = {}",
        100.0 * difference,
        counts.both_right,
        counts.only_this_right,
        counts.only_other_right,
        counts.neither_right,
        p_text(*p_value),
    );
    text
}

/// A probability with three digits that count.
fn p_text(p: f64) -> String {
    match p {
        0.001..=1.0 => format!("{p:.3}"),
        0.0 => "below 1e-300".to_owned(),
        _ => format!("{p:.1e}"),
    }
}
