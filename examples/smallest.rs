//! The smallest training loop: a network, an optimizer, and data made up on the spot.
//!
//! The images are 8 by 8 pixels of noise with a bright line across (class 0) or down (class 1).
//!
//! ```text
//! cargo run --release --example smallest
//! ```

use toile::nn::{Conv2d, Dense, Flatten, Layer, MaxPool2d, Relu, Sequential};
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor};
use toile_kernels::rng::Stream;

const IMAGES: usize = 64;
const SEED: u64 = 42;

/// Batch number `step`: images [N, 8, 8, 1] and a label each. Random numbers are a function of
/// what they are for, so there is no generator to carry around.
fn batch(step: u32) -> (Tensor, Buffer) {
    let noise = Stream { seed: SEED, purpose: 1, step };
    let line = Stream { seed: SEED, purpose: 2, step };
    let mut pixels: Vec<f32> = (0..IMAGES as u64 * 64).map(|i| 0.5 * noise.uniform(i)).collect();
    let mut labels = vec![0u8; IMAGES];
    for (i, image) in pixels.chunks_exact_mut(64).enumerate() {
        let word = line.word(i as u64);
        let (label, place) = (word % 2, (word / 2 % 8) as usize);
        let (start, step) = if label == 0 { (8 * place, 1) } else { (place, 8) };
        image.iter_mut().skip(start).step_by(step).take(8).for_each(|pixel| *pixel += 0.5);
        labels[i] = label as u8;
    }
    let shape = Shape::new(&[IMAGES, 8, 8, 1]);
    (Tensor::new(Device::Cpu, shape, &pixels), Buffer::from_slice(Device::Cpu, &labels))
}

fn main() {
    // A network is a list of layers; it gets its numbers when it is told what images will come.
    let layers: [Layer; 5] = [
        Conv2d::new(8, 3).into(),
        Relu {}.into(),
        MaxPool2d::new(2).into(),
        Flatten {}.into(),
        Dense::new(2).into(),
    ];
    let mut network = Sequential::new(&layers, Shape::new(&[8, 8, 1]), Device::Cpu, SEED);
    let mut optimizer = Optimizer::new(network.parameters(), OptimizerSettings::default());
    // Receives the mean loss and the hits of the latest batch; reading it is up to the caller.
    let mut summary = Buffer::zeros(Device::Cpu, SUMMARY_LEN);
    for step in 0..=100 {
        // Every batch is new, so the figures below are on images never seen before.
        let (images, labels) = batch(step);
        let loss = network.forward_train(&images, SEED, step).cross_entropy(&labels, &mut summary);
        loss.mean.backward(); // fills the arena of gradients that the optimizer reads
        optimizer.update(network.parameters(), 0.01, u64::from(step), &mut summary);
        if step % 20 == 0 {
            let numbers: Vec<f32> = summary.to_vec();
            println!("step {step:3}  loss {:.3}  right {:2} of {IMAGES}", numbers[0], numbers[1]);
        }
    }
}
