//! Gradient checks: an operation's own backward against central differences, both in f64.

use toile_kernels::rng::{Stream, philox4x32};
use toile_kernels::{Buffer, Device};

use crate::autograd::backward;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The largest relative error that a right gradient may show.
pub const TOLERANCE: f64 = 1e-6;

/// One thing to check: a function of some tensors, and where to check it.
pub struct Case {
    /// What is checked, with its sizes, for messages.
    pub name: String,
    /// The variables' shapes and values. None at all says that the operation differentiates
    /// nothing: then its result must want no gradient.
    pub inputs: Vec<(Shape, Vec<f64>)>,
    /// The function.
    pub function: Box<dyn Fn(&[Tensor]) -> Tensor>,
}

/// A source of sizes and values for cases, a function of its seed.
pub struct Draw {
    seed: u64,
    next: u64,
    largest: usize,
}

impl Draw {
    /// Sizes drawn will be 1 to `largest`.
    #[must_use]
    pub fn new(seed: u64, largest: usize) -> Draw {
        Draw { seed, next: 0, largest }
    }

    fn word(&mut self) -> u32 {
        let block =
            philox4x32([self.next as u32, 0, 0, 0], [self.seed as u32, (self.seed >> 32) as u32]);
        self.next += 1;
        block[0]
    }

    /// A size from 1 to the largest.
    pub fn size(&mut self) -> usize {
        self.between(1, self.largest)
    }

    /// A whole number from `low` to `high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.word() as usize % (high - low + 1)
    }

    /// A number in [-1, 1).
    pub fn real(&mut self) -> f64 {
        f64::from(Stream { seed: self.seed, purpose: 1, step: self.word() }.uniform(0)) * 2.0 - 1.0
    }

    /// `n` numbers in [-1, 1).
    pub fn reals(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.real()).collect()
    }

    /// `n` numbers of which no two, and none and 0, are closer than 0.001: for functions with
    /// kinks there.
    pub fn distinct_reals(&mut self, n: usize) -> Vec<f64> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.between(0, i));
        }
        let step = 2.0 / (n as f64 + 1.0);
        assert!(step > 0.002, "too many numbers to keep apart");
        order.iter().map(|&i| (i as f64 + 0.75) * step - 1.0 + 0.2 * step * self.real()).collect()
    }
}

/// Checks all gradients of `case` and returns the largest relative error.
///
/// The gradient of `sum(function(inputs) * weights)`, with fixed random weights, is compared
/// with the central difference for every number of every input. The error of an input is the
/// norm of the difference over the larger of the two gradients' norms; gradients smaller than
/// what the weights alone come to are measured against that instead, since differences of a
/// function cannot show a zero better than its own rounding.
///
/// # Errors
/// A text that names the case, the input and the figures.
pub fn check(case: &Case) -> Result<f64, String> {
    let tensor =
        |shape: Shape, values: &[f64]| Tensor::new(Device::Reference, shape, values).variable();
    let variables: Vec<_> = case.inputs.iter().map(|(s, v)| tensor(*s, v)).collect();
    let output = (case.function)(&variables);
    if variables.is_empty() {
        return if output.wants_gradient() {
            Err(format!("{}: a result without variables wants a gradient", case.name))
        } else {
            Ok(0.0)
        };
    }
    let weights = Draw::new(output.shape().len() as u64, 1).reals(output.shape().len());
    let objective = |inputs: &[Tensor]| -> f64 {
        let output: Vec<f64> = (case.function)(inputs).to_vec();
        output.iter().zip(&weights).map(|(y, w)| y * w).sum()
    };
    let gradients = backward(&output, Buffer::from_slice(Device::Reference, &weights));
    let mut worst = 0.0f64;
    for (i, (shape, values)) in case.inputs.iter().enumerate() {
        let found = gradients.of(&variables[i]);
        let found: Vec<f64> = found.ok_or(format!("{}: input {i} unreached", case.name))?.to_vec();
        let difference = |k: usize| {
            let h = 1e-5 * values[k].abs().max(1.0);
            let at = |x: f64| {
                let mut moved = values.clone();
                moved[k] = x;
                let mut inputs = variables.clone();
                inputs[i] = Tensor::new(Device::Reference, *shape, &moved);
                objective(&inputs)
            };
            let (above, below) = (values[k] + h, values[k] - h);
            (at(above) - at(below)) / (above - below)
        };
        let expected: Vec<f64> = (0..values.len()).map(difference).collect();
        let gap: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
        let scale = norm(&found).max(norm(&expected)).max(1e-2 * norm(&weights));
        let error = norm(&gap) / scale;
        if error.is_nan() || error > TOLERANCE {
            return Err(format!(
                "{}: gradient of input {i} is off by {error:.1e} of its norm\n \
                 backward: {found:?}\n expected: {expected:?}",
                case.name
            ));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}
