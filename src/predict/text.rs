//! A prediction as text.

use std::fmt::Write as _;

use super::Prediction;
use crate::error::plain;

/// The columns of a window.
const WIDTH: usize = 80;
const MODEL_WIDTH: usize = 40;
const LABEL_WIDTH: usize = 40;
const BAR_WIDTH: usize = 20;

/// Below this, an answer is called unsure.
const UNSURE: f32 = 0.5;

/// A prediction for a person, without a line feed at its end; it fits a window of 80 columns
/// unless the file's name alone does not.
#[must_use]
pub fn prediction_text(prediction: &Prediction) -> String {
    let Prediction { file, model, steps, blank, top, milliseconds } = prediction;
    let file = plain(&file.to_string_lossy());
    let model = shortened(&plain(model), MODEL_WIDTH);
    let mut text = format!("{file}  (model {model}, {milliseconds:.1} ms)");
    if text.chars().count() > WIDTH {
        text = format!("{file}\n  (model {model}, {milliseconds:.1} ms)");
    }
    let labels: Vec<_> =
        top.iter().map(|class| shortened(&plain(&class.label), LABEL_WIDTH)).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    for (label, class) in labels.iter().zip(top) {
        let percent = 100.0 * class.confidence;
        let _ = write!(text, "\n  {label:<width$}  {percent:>5.1} %  {}", bar(class.confidence));
    }
    if *blank {
        let _ =
            write!(text, "\n  unsure: nothing stands out from the background (see --background)");
    } else if top[0].confidence < UNSURE {
        let _ = write!(
            text,
            "\n  unsure: no class reaches 50 %; the image may show none of the model's classes"
        );
    }
    for line in wrapped(steps, WIDTH - 2) {
        let _ = write!(text, "\n  {line}");
    }
    text
}

fn bar(confidence: f32) -> String {
    let filled = (confidence * BAR_WIDTH as f32).round() as usize;
    let filled = filled.min(BAR_WIDTH);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR_WIDTH - filled))
}

/// At most `width` characters, three dots for what is left out at the end.
fn shortened(text: &str, width: usize) -> String {
    match text.chars().count() {
        count if count <= width => text.to_owned(),
        _ => text.chars().take(width - 3).chain("...".chars()).collect(),
    }
}

/// Broken at spaces into lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            let _ = write!(line, " {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
