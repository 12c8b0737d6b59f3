//! What a network looks like: a table of layers with their sizes and costs.

use std::fmt;

use super::Layer;
use super::plan::Plan;
use crate::shape::Shape;

/// One layer of a [`Summary`].
#[derive(Clone, Debug)]
pub struct SummaryRow {
    /// The layer's name, such as `conv1`.
    pub name: String,
    /// The shape of one image's result.
    pub output: Shape,
    /// Numbers other than running statistics, biases that stay 0 before a batch norm included.
    pub trainable: usize,
    /// Running statistics.
    pub statistics: usize,
    /// Multiply-adds of one image's forward pass.
    pub multiply_adds: usize,
}

/// A network's layers, sizes and costs. Printed, it is a table.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The shape of one image that comes in.
    pub input: Shape,
    /// The layers, in order.
    pub rows: Vec<SummaryRow>,
    /// How many of the layers, the first ones, training leaves as they are.
    pub frozen: usize,
    /// Names and shapes of all tensors that a model file stores.
    pub tensors: Vec<(String, Shape)>,
}

impl Summary {
    /// What `layers` come to for images of shape `input`; no number is allocated.
    ///
    /// # Panics
    /// If a layer does not fit what comes before it.
    #[must_use]
    #[track_caller]
    pub fn of(layers: &[Layer], input: Shape) -> Summary {
        Plan::new(layers, input, 0).0.summary
    }

    /// The shape of one image's result.
    #[must_use]
    pub fn output(&self) -> Shape {
        self.rows.last().map_or(self.input, |row| row.output)
    }

    /// Numbers other than running statistics, of the layers that are not frozen.
    #[must_use]
    pub fn trainable(&self) -> usize {
        self.rows[self.frozen..].iter().map(|row| row.trainable).sum()
    }

    /// All numbers that a model file stores.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.rows.iter().map(|row| row.trainable + row.statistics).sum()
    }

    /// The numbers of the largest result that one image has on its way.
    #[must_use]
    pub fn largest_result(&self) -> usize {
        self.rows.iter().map(|row| row.output.len()).fold(self.input.len(), usize::max)
    }

    /// Multiply-adds of one image's forward pass.
    #[must_use]
    pub fn multiply_adds(&self) -> usize {
        self.rows.iter().map(|row| row.multiply_adds).sum()
    }
}

/// A number with commas between its thousands.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, output: &str, parameters: &str, multiply_adds: &str| {
            writeln!(f, "{name:<10}  {output:<14}  {parameters:>10}  {multiply_adds:>13}")
        };
        row("layer", "output", "parameters", "multiply-adds")?;
        row("input", &self.input.to_string(), "", "")?;
        for r in &self.rows {
            let number = |n: usize| if n == 0 { String::new() } else { grouped(n) };
            let (parameters, multiply_adds) = (r.trainable + r.statistics, r.multiply_adds);
            row(&r.name, &r.output.to_string(), &number(parameters), &number(multiply_adds))?;
        }
        row("total", "", &grouped(self.parameters()), &grouped(self.multiply_adds()))?;
        write!(f, "{} of the parameters are trainable", grouped(self.trainable()))
    }
}
