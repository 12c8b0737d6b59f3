//! The classification report in the layout that scikit-learn made familiar.
//!
//! Scripts parse that layout, and people compare its digits, so both are kept exactly: column
//! widths, the rounding of ties to even, and the order in which averages are summed.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{ClassMetrics, Evaluation};

const DIGITS: usize = 2;
const LONGEST_HEADING: &str = "weighted avg";

/// Precision, recall, F1 and support of each class and on average.
///
/// `Display` writes the text of `classification_report.txt`, ending in a line feed;
/// `Serialize` writes the dictionary of `classification_report.json`.
#[derive(Debug)]
pub struct ClassificationReport<'a> {
    evaluation: &'a Evaluation,
    macro_average: [f64; 3],
    weighted_average: [f64; 3],
}

/// Precision, recall and F1, in the order of the columns.
const COLUMNS: [fn(&ClassMetrics) -> f64; 3] =
    [|class| class.precision, |class| class.recall, |class| class.f1];

impl<'a> ClassificationReport<'a> {
    pub(super) fn new(evaluation: &'a Evaluation) -> Self {
        let classes = &evaluation.per_class;
        let macro_average = COLUMNS.map(|column| {
            let values: Vec<f64> = classes.iter().map(column).collect();
            pairwise_sum(&values) / values.len() as f64
        });
        let weighted_average = COLUMNS.map(|column| {
            let values: Vec<f64> =
                classes.iter().map(|class| column(class) * class.support as f64).collect();
            pairwise_sum(&values) / evaluation.images as f64
        });
        Self { evaluation, macro_average, weighted_average }
    }
}

/// A sum in NumPy's order: eight running sums in blocks of at most 128, and blocks halved
/// recursively above that. The order shows where an average falls on a rounding tie.
fn pairwise_sum(values: &[f64]) -> f64 {
    const LANES: usize = 8;
    const BLOCK: usize = 128;
    if values.len() < LANES {
        return values.iter().sum();
    }
    if values.len() > BLOCK {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % LANES);
        return pairwise_sum(left) + pairwise_sum(right);
    }
    let mut chunks = values.chunks_exact(LANES);
    let mut lanes = [0.0; LANES];
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let blocks = ((a + b) + (c + d)) + ((e + f) + (g + h));
    chunks.remainder().iter().fold(blocks, |sum, value| sum + value)
}

impl fmt::Display for ClassificationReport<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evaluation { per_class, images, accuracy, .. } = self.evaluation;
        let width = per_class
            .iter()
            .map(|class| class.name.chars().count())
            .chain([LONGEST_HEADING.len()])
            .max()
            .unwrap_or_default();
        let row = |out: &mut fmt::Formatter<'_>, name: &str, values: [f64; 3], support: usize| {
            let [precision, recall, f1] = values;
            write!(out, "{name:>width$}  {precision:>9.DIGITS$} {recall:>9.DIGITS$} ")?;
            writeln!(out, "{f1:>9.DIGITS$} {support:>9}")
        };
        writeln!(
            out,
            "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n",
            "", "precision", "recall", "f1-score", "support"
        )?;
        for class in per_class {
            row(out, &class.name, COLUMNS.map(|column| column(class)), class.support)?;
        }
        writeln!(
            out,
            "\n{:>width$}  {:>9} {:>9} {accuracy:>9.DIGITS$} {images:>9}",
            "accuracy", "", ""
        )?;
        row(out, "macro avg", self.macro_average, *images)?;
        row(out, LONGEST_HEADING, self.weighted_average, *images)
    }
}

/// One row of the dictionary.
struct Row {
    values: [f64; 3],
    support: usize,
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        for (key, value) in ["precision", "recall", "f1-score"].iter().zip(self.values) {
            map.serialize_entry(key, &value)?;
        }
        map.serialize_entry("support", &self.support)?;
        map.end()
    }
}

impl Serialize for ClassificationReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Evaluation { per_class, images, accuracy, .. } = self.evaluation;
        let mut map = serializer.serialize_map(Some(per_class.len() + 3))?;
        for class in per_class {
            let values = COLUMNS.map(|column| column(class));
            map.serialize_entry(&class.name, &Row { values, support: class.support })?;
        }
        map.serialize_entry("accuracy", accuracy)?;
        let averages =
            [("macro avg", self.macro_average), (LONGEST_HEADING, self.weighted_average)];
        for (name, values) in averages {
            map.serialize_entry(name, &Row { values, support: *images })?;
        }
        map.end()
    }
}
