//! The tensors, images and labels that the golden runs start from, made again by the formulas of
//! `network.py` and README.md.

use sha2::{Digest, Sha256};
use toile::Shape;
use toile_kernels::rng::Stream;

const SEED: u64 = 2024;
const PURPOSE_TENSORS: u32 = 1000;
const PURPOSE_PIXELS: u32 = 2000;
const PURPOSE_LABELS: u32 = 2001;
const PURPOSE_TEMPLATES: u32 = 2002;
const PIXELS: usize = 784;
const CLASSES: u32 = 10;

/// Names, shapes and values, in file order.
pub type Tensors = Vec<(String, Shape, Vec<f32>)>;

/// Images as bytes [N, 28, 28, 1], and labels.
pub struct Batch {
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
}

impl Batch {
    /// The first images alone.
    pub fn first(mut self, images: usize) -> Batch {
        self.pixels.truncate(images * PIXELS);
        self.labels.truncate(images);
        self
    }
}

fn words(step: u32, purpose: u32, count: usize) -> impl Iterator<Item = u32> {
    let stream = Stream { seed: SEED, purpose, step };
    (0..count as u64).map(move |i| stream.word(i))
}

/// The initial tensors of the single passes, for the names and shapes of the engine's network.
pub fn initial_tensors(named: &[(String, Shape)]) -> Tensors {
    let tensor = |(number, (name, shape)): (u32, &(String, Shape))| {
        let stream = Stream { seed: SEED, purpose: PURPOSE_TENSORS + number, step: 0 };
        let values = (0..shape.len() as u64).map(|i| initial(name, *shape, stream.uniform(i)));
        (name.clone(), *shape, values.collect())
    };
    (0..).zip(named).map(tensor).collect()
}

/// One number of the tensor `name` from a number in [0, 1), with at most one rounding.
fn initial(name: &str, shape: Shape, uniform: f32) -> f32 {
    let signed = 2.0 * uniform - 1.0;
    match kind(name) {
        "weight" => {
            let (window, fans) = shape.dims().split_at(shape.rank() - 2);
            let fans = window.iter().product::<usize>() * (fans[0] + fans[1]);
            signed * (6.0 / fans as f64).sqrt() as f32
        }
        "bias" | "mean" => signed * 0.1,
        "beta" => signed * 0.2,
        "gamma" | "variance" => 0.5 + uniform,
        other => panic!("{other} is not part of any layer"),
    }
}

fn kind(name: &str) -> &str {
    name.split_once('.').expect("a name such as conv1.weight").1
}

/// The start of the ten steps: the weights of the single passes, and one number, with alternating
/// sign before a relu, for each other tensor.
pub fn ten_steps_tensors(named: &[(String, Shape)]) -> Tensors {
    let start = |(name, shape, initial): (String, Shape, Vec<f32>)| {
        let (value, alternates) = match (name.as_str(), kind(&name)) {
            (_, "weight") => return (name, shape, initial),
            ("conv2.bias" | "conv4.bias" | "dense2.bias", _) => (3.0, true),
            (_, "beta") => (0.5, true),
            (_, "gamma") => (0.0625, false),
            (_, "variance") => (1.0, false),
            _ => (0.0, false),
        };
        let sign = |i: usize| if alternates && i % 2 == 1 { -1.0 } else { 1.0 };
        (name, shape, (0..shape.len()).map(|i| sign(i) * value).collect())
    };
    initial_tensors(named).into_iter().map(start).collect()
}

/// The batch of 32 images of noise of one step.
pub fn batch(step: u32) -> Batch {
    Batch {
        pixels: words(step, PURPOSE_PIXELS, 32 * PIXELS).map(byte).collect(),
        labels: words(step, PURPOSE_LABELS, 32).map(label).collect(),
    }
}

/// The picture that the images of `class` in the ten steps are made from.
pub fn template(class: u32) -> Vec<u8> {
    words(class, PURPOSE_TEMPLATES, PIXELS).map(byte).collect()
}

/// The batch of 64 learnable images of one of the ten steps.
pub fn ten_steps_batch(step: u32) -> Batch {
    let templates: Vec<_> = (0..CLASSES).map(template).collect();
    let labels: Vec<u8> = words(step, PURPOSE_LABELS, 64).map(label).collect();
    let pixel = |(i, word): (usize, u32)| {
        let template = templates[usize::from(labels[i / PIXELS])][i % PIXELS];
        ((3 * u32::from(template) + u32::from(byte(word))) / 4) as u8
    };
    let pixels = words(step, PURPOSE_PIXELS, 64 * PIXELS).enumerate().map(pixel).collect();
    Batch { pixels, labels }
}

fn byte(word: u32) -> u8 {
    (word >> 24) as u8
}

fn label(word: u32) -> u8 {
    (word % CLASSES) as u8
}

/// Of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of all numbers one after another, little-endian.
pub fn tensors_sha256(tensors: &Tensors) -> String {
    let numbers = tensors.iter().flat_map(|(_, _, values)| values);
    sha256(&numbers.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}
