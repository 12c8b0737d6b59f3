//! Batch normalisation, a channel at a time.
//!
//! What is summed over the batch is found by two dispatches, see [`Cut`]; a third one treats each
//! number by itself. Each direction can take a ReLU along that follows, at no further reading or
//! writing: `conv_block` does.

use super::channels::Cut;
use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::buffer::Kind;
use crate::geometry::BatchNorm;

/// Each number by itself.
const NUMBERS: &str = "batch_norm";
/// Sums over the batch.
const STATISTICS: &str = "batch_norm_statistics";
const GRADIENTS: &str = "batch_norm_gradients";

/// Numbers a channel that the input's gradient goes by.
const FACTORS: usize = 6;

/// y = gamma (x - mean) inverse_deviation + beta with the batch's own statistics; the running ones
/// move towards them
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn batch_norm_forward(
    g: &BatchNorm,
    x: &Memory,
    gamma: &Memory,
    beta: &Memory,
    y: &mut Memory,
    mean: &mut Memory,
    inverse_deviation: &mut Memory,
    running_mean: &mut Memory,
    running_variance: &mut Memory,
) {
    statistics(g, x, [mean, inverse_deviation], [running_mean, running_variance]);
    normalise(g, x, [gamma, beta, mean, inverse_deviation], false, y);
}

/// dx, dgamma and dbeta from what the forward pass saw and left
#[allow(clippy::too_many_arguments, reason = "the operands of the menu")]
pub fn batch_norm_backward(
    g: &BatchNorm,
    dy: &Memory,
    x: &Memory,
    gamma: &Memory,
    mean: &Memory,
    inverse_deviation: &Memory,
    dx: &mut Memory,
    dgamma: &mut Memory,
    dbeta: &mut Memory,
) {
    backward(g, [dy, x, gamma, mean, inverse_deviation], None, dx, [dgamma, dbeta]);
}

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta
pub fn batch_norm_inference(
    g: &BatchNorm,
    x: &Memory,
    gamma: &Memory,
    beta: &Memory,
    mean: &Memory,
    variance: &Memory,
    y: &mut Memory,
) {
    normalise_by(g, x, [gamma, beta, mean, variance], true, false, y);
}

/// The mean and the inverse deviation of x; the running mean and variance move towards them:
/// [N, P, C] -> \[C\] \[C\] \[C\] \[C\]
pub(super) fn statistics(
    g: &BatchNorm,
    x: &Memory,
    [mean, inverse_deviation]: [&mut Memory; 2],
    [running_mean, running_variance]: [&mut Memory; 2],
) {
    let cut = cut(g);
    let parts = Memory::unspecified(Kind::Real, cut.parts() * 2 * g.channels());
    cut.run(Dispatch::new(STATISTICS, "find_moments").read(x).write(&parts));
    let finish = Dispatch::new(STATISTICS, "finish_statistics")
        .constant("PIXELS", pixels(g))
        .constant("PART_PIXELS", cut.part_rows as u32)
        .constant("EPSILON", g.epsilon)
        .constant("OLD_SHARE", g.momentum)
        .constant("NEW_SHARE", 1.0 - f64::from(g.momentum))
        .read(&parts)
        .write(mean)
        .write(inverse_deviation)
        .write(running_mean)
        .write(running_variance);
    cut.of_parts().run(finish);
}

/// y = gamma (x - mean) inverse_deviation + beta, or the larger of that and 0 if there is a ReLU:
/// [N, P, C] and four times \[C\] -> [N, P, C]
pub(super) fn normalise(
    g: &BatchNorm,
    x: &Memory,
    by: [&Memory; 4],
    has_relu: bool,
    y: &mut Memory,
) {
    normalise_by(g, x, by, false, has_relu, y);
}

/// The same, with the variance in the inverse deviation's place if that is what is given.
fn normalise_by(
    g: &BatchNorm,
    x: &Memory,
    [gamma, beta, mean, deviation]: [&Memory; 4],
    gives_variance: bool,
    has_relu: bool,
    y: &mut Memory,
) {
    Dispatch::new(NUMBERS, "normalise")
        .constant("LEN", g.len() as u32)
        .constant("CHANNELS", g.channels)
        .constant("EPSILON", g.epsilon)
        .constant("GIVES_VARIANCE", u32::from(gives_variance))
        .constant("HAS_RELU", u32::from(has_relu))
        .read(x)
        .read(gamma)
        .read(beta)
        .read(mean)
        .read(deviation)
        .write(y)
        .run(g.len());
}

/// dx, dgamma and dbeta: [N, P, C] twice and \[C\] three times -> [N, P, C] \[C\] \[C\]
///
/// Where a ReLU followed, its beta is given, and dy is that of the ReLU's result: it counts where
/// the normalised number, computed from x as in the forward pass, was above 0.
pub(super) fn backward(
    g: &BatchNorm,
    [dy, x, gamma, mean, inverse_deviation]: [&Memory; 5],
    relu: Option<&Memory>,
    dx: &mut Memory,
    [dgamma, dbeta]: [&mut Memory; 2],
) {
    // Without a ReLU beta is of no effect, but something has to be bound.
    let (beta, has_relu) = (relu.unwrap_or(gamma), u32::from(relu.is_some()));
    let by_channel = |entry: &'static str| {
        Dispatch::new(GRADIENTS, entry).read(gamma).read(beta).read(mean).read(inverse_deviation)
    };
    let cut = cut(g);
    let parts = Memory::unspecified(Kind::Real, cut.parts() * 2 * g.channels());
    let find = by_channel("find_sums").constant("HAS_RELU", has_relu);
    cut.run(find.read(x).read(dy).write(&parts));

    let factors = Memory::unspecified(Kind::Real, FACTORS * g.channels());
    let finish = by_channel("finish_gradients").constant("PIXELS", pixels(g));
    cut.of_parts().run(finish.read(&parts).write(dgamma).write(dbeta).write(&factors));

    Dispatch::new(NUMBERS, "input_gradient")
        .constant("LEN", g.len() as u32)
        .constant("CHANNELS", g.channels)
        .constant("HAS_RELU", has_relu)
        .read(x)
        .read(dy)
        .read(&factors)
        .write(dx)
        .run(g.len());
}

fn cut(g: &BatchNorm) -> Cut {
    Cut::new(g.images() * g.pixels(), g.channels())
}

/// All pixels of the batch.
fn pixels(g: &BatchNorm) -> u32 {
    g.images * g.pixels
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, draw, is_there, upload};
    use super::*;
    use crate::reference;

    /// Many pixels, so that they are cut into parts, the last of which is smaller.
    const G: BatchNorm =
        BatchNorm { images: 33, pixels: 323, channels: 70, epsilon: 1e-3, momentum: 0.9 };

    /// A mean a hundred times the deviation costs no more digits than subtracting it does.
    #[test]
    fn large_means_and_a_relu() {
        if !is_there() {
            return;
        }
        let (len, channels) = (G.len(), G.channels());
        let x: Vec<f64> = draw(0, len).iter().map(|x| f64::from((100.0 + x) as f32)).collect();
        let [gamma, beta, old_mean] = [1, 2, 3].map(|purpose| draw(purpose, channels));
        let [mut y, mut mean, mut inverse] = [len, channels, channels].map(|n| vec![0.0; n]);
        let (mut running_mean, mut running_variance) = (old_mean.clone(), vec![1.0; channels]);
        reference::batch_norm_forward(
            &G,
            &x,
            &gamma,
            &beta,
            &mut y,
            &mut mean,
            &mut inverse,
            &mut running_mean,
            &mut running_variance,
        );
        y.iter_mut().for_each(|y| *y = y.max(0.0));

        let [x, gamma, beta] = [x, gamma, beta].map(|values| upload(&values));
        let [mut y_found, mut mean_found, mut inverse_found] =
            [len, channels, channels].map(|len| Memory::unspecified(Kind::Real, len));
        let mut means_found = upload(&old_mean);
        let mut variances_found = upload(&vec![1.0; channels]);
        let batch = [&mut mean_found, &mut inverse_found];
        statistics(&G, &x, batch, [&mut means_found, &mut variances_found]);
        normalise(&G, &x, [&gamma, &beta, &mean_found, &inverse_found], true, &mut y_found);
        assert_near(&mean_found, &mean, 2e-5);
        assert_near(&inverse_found, &inverse, 2e-6);
        assert_near(&means_found, &running_mean, 2e-6);
        assert_near(&variances_found, &running_variance, 2e-6);
        assert_near(&y_found, &y, 5e-5);
    }

    /// Halves and quarters, which are normalised exactly and to no 0: rounding moves no sign.
    #[test]
    fn relu_masks_the_gradient() {
        if !is_there() {
            return;
        }
        let (len, channels) = (G.len(), G.channels());
        let halves = |purpose, len| -> Vec<f64> {
            draw(purpose, len).iter().map(|x| (x * 6.0).round() / 2.0).collect()
        };
        let (x, dy) = (halves(0, len), halves(1, len));
        let [gamma, mean] = [2, 3].map(|purpose| halves(purpose, channels));
        let (beta, inverse) = (vec![0.125; channels], vec![0.5; channels]);
        let positive: Vec<f64> = (0..len)
            .map(|i| (i, i % channels))
            .map(|(i, c)| if (x[i] - mean[c]) * gamma[c] * 0.5 > -0.125 { dy[i] } else { 0.0 })
            .collect();
        let [mut dx, mut dgamma, mut dbeta] = [len, channels, channels].map(|n| vec![0.0; n]);
        let out = (&mut dx, &mut dgamma, &mut dbeta);
        reference::batch_norm_backward(
            &G, &positive, &x, &gamma, &mean, &inverse, out.0, out.1, out.2,
        );

        let [dy, x, gamma, mean, inverse] =
            [dy, x, gamma, mean, inverse].map(|values| upload(&values));
        let beta = upload(&beta);
        let mut dx_found = Memory::unspecified(Kind::Real, len);
        // Slices of one block, as parameters' gradients are.
        let gradients = Memory::unspecified(Kind::Real, 2 * channels);
        let mut dgamma_found = gradients.slice(0..channels);
        let mut dbeta_found = gradients.slice(channels..2 * channels);
        backward(
            &G,
            [&dy, &x, &gamma, &mean, &inverse],
            Some(&beta),
            &mut dx_found,
            [&mut dgamma_found, &mut dbeta_found],
        );
        assert_near(&dgamma_found, &dgamma, 0.0);
        assert_near(&dbeta_found, &dbeta, 0.0);
        assert_near(&dx_found, &dx, 1e-5);
    }
}
