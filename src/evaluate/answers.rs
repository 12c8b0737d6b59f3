//! What models answer to labelled images: one by one, to mirror images, and on average.

use std::ops::Range;

use toile_kernels::geometry::SUMMARY_LEN;
use toile_kernels::{Buffer, Device};

use crate::checkpoint::Model;
use crate::data::Split;
use crate::ops::gather::Resident;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Images of one inference batch, where the largest result of so many is not too large.
const BATCH: usize = 500;

/// The most numbers that one result of an inference batch has: 64 MB.
const MOST_NUMBERS: usize = 1 << 24;

/// Brings images and labels to the device as bytes.
pub(crate) fn resident(part: &Split, device: Device) -> Resident {
    Resident {
        pixels: Buffer::from_slice(device, &part.images.pixels),
        labels: Buffer::from_slice(device, &part.labels),
        image: Shape::new(&[part.images.rows, part.images.columns, 1]),
    }
}

/// A model's answers to labelled images, in their order.
#[derive(Default)]
pub(crate) struct Answers {
    /// `[images, classes]`
    pub probabilities: Vec<f32>,
    /// The cross-entropy of each image, in nats.
    pub losses: Vec<f32>,
    /// Images whose first largest logit is their label's.
    pub hits: usize,
}

/// Runs images `range` of `data` through the model. `go_on` hears how many are finished; where it
/// says no, there is no answer.
pub(crate) fn answer(
    model: &Model,
    data: &Resident,
    range: Range<usize>,
    go_on: impl FnMut(usize) -> bool,
) -> Option<Answers> {
    let batches = spans(model, range).map(|span| {
        let order: Vec<u32> = (span.start as u32..span.end as u32).collect();
        data.batch(&Buffer::from_slice(data.pixels.device(), &order), model.normalization)
    });
    answer_batches(model, batches, go_on)
}

/// Runs the mirror image of each image through the model. They are made batch by batch.
fn answer_mirrored(model: &Model, part: &Split) -> Answers {
    let device = model.network.device();
    let batches = spans(model, 0..part.labels.len()).map(|span| {
        let mirrored = part.mirrored(span);
        let order: Vec<u32> = (0..mirrored.labels.len() as u32).collect();
        let data = resident(&mirrored, device);
        data.batch(&Buffer::from_slice(device, &order), model.normalization)
    });
    answer_batches(model, batches, |_| true).expect("nothing stops it")
}

/// The images of each batch.
fn spans(model: &Model, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let batch = (MOST_NUMBERS / model.network.summary().largest_result()).clamp(1, BATCH);
    range.clone().step_by(batch).map(move |start| start..(start + batch).min(range.end))
}

fn answer_batches(
    model: &Model,
    batches: impl Iterator<Item = (Tensor, Buffer)>,
    mut go_on: impl FnMut(usize) -> bool,
) -> Option<Answers> {
    let mut answers = Answers::default();
    let mut summary = Buffer::zeros(model.network.device(), SUMMARY_LEN);
    let network = model.network.inference();
    for (x, labels) in batches {
        let loss = network.forward(&x).cross_entropy(&labels, &mut summary);
        answers.probabilities.extend(loss.probabilities.to_vec::<f32>());
        answers.losses.extend(loss.each.to_vec::<f32>());
        answers.hits += summary.to_vec::<f32>()[1] as usize;
        if !go_on(answers.losses.len()) {
            return None;
        }
    }
    Some(answers)
}

/// The mean of the probabilities of several answers to the same images, in f64 and in the order
/// in which they come. Of one answer it is that answer, to the bit.
#[derive(Default)]
pub(super) struct Mean {
    answers: usize,
    /// The sums, `[images, classes]`.
    probabilities: Vec<f64>,
    /// Of each image, what the cross-entropy of the summed probabilities is: it is kept as a
    /// logarithm, since a probability may be too small for a number where its loss is not.
    losses: Vec<f64>,
}

impl Mean {
    /// The answers of a model to each image or, with `tta`, the means of those to each image and
    /// to its mirror image. `data` is `part` on the model's device.
    pub fn of(model: &Model, part: &Split, data: &Resident, tta: bool) -> Mean {
        let mut mean = Mean::default();
        let answers = answer(model, data, 0..part.labels.len(), |_| true);
        mean.add_answers(&answers.expect("nothing stops it"));
        if tta {
            mean.add_answers(&answer_mirrored(model, part));
        }
        mean
    }

    fn add_answers(&mut self, answers: &Answers) {
        let numbers = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        self.sum(numbers(&answers.probabilities), numbers(&answers.losses));
    }

    /// Takes another mean as one more answer.
    pub fn add(&mut self, other: &Mean) {
        self.sum(other.probabilities(), other.losses().collect());
    }

    fn sum(&mut self, probabilities: Vec<f64>, losses: Vec<f64>) {
        self.answers += 1;
        if self.answers == 1 {
            (self.probabilities, self.losses) = (probabilities, losses);
            return;
        }
        for (sum, probability) in self.probabilities.iter_mut().zip(probabilities) {
            *sum += probability;
        }
        for (sum, loss) in self.losses.iter_mut().zip(losses) {
            let (less, more) = (sum.min(loss), sum.max(loss));
            *sum = less - libm::log1p(libm::exp(less - more));
        }
    }

    /// `[images, classes]`
    pub fn probabilities(&self) -> Vec<f64> {
        self.probabilities.iter().map(|sum| sum / self.answers as f64).collect()
    }

    /// The cross-entropy of each image, in nats.
    fn losses(&self) -> impl Iterator<Item = f64> {
        let more = libm::log(self.answers as f64);
        self.losses.iter().map(move |sum| sum + more)
    }

    /// The cross-entropy of each image, in nats, with an engine's digits.
    pub fn rounded_losses(&self) -> Vec<f32> {
        self.losses().map(|loss| loss as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(probabilities: &[f32], losses: &[f32]) -> Answers {
        Answers { probabilities: probabilities.to_vec(), losses: losses.to_vec(), hits: 0 }
    }

    #[test]
    fn one_answer_is_its_own_mean() {
        let one = answers(&[0.1, 0.9, 0.3, 0.7], &[2.3, 0.356_674_94]);
        let mut mean = Mean::default();
        mean.add_answers(&one);
        let mut again = Mean::default();
        again.add(&mean);
        let probabilities: Vec<f32> = again.probabilities().iter().map(|&p| p as f32).collect();
        assert_eq!((probabilities, again.rounded_losses()), (one.probabilities, one.losses));
    }

    /// -ln((1/8 + 1/2 + 1/4) / 3), and as much where each probability is e^-800 times that.
    #[test]
    fn the_loss_is_that_of_the_mean_probability() {
        let expected = -(0.875_f64 / 3.0).ln();
        for shift in [0.0, 800.0] {
            let mut mean = Mean::default();
            for probability in [0.125_f32, 0.5, 0.25] {
                mean.add_answers(&answers(&[probability], &[shift - probability.ln()]));
            }
            assert_eq!(mean.probabilities(), [0.875 / 3.0]);
            let found: Vec<f64> = mean.losses().collect();
            assert!((found[0] - f64::from(shift) - expected).abs() < 1e-4, "{found:?}");
        }
    }
}
