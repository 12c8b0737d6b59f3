//! The engine's operations against `ops.json`: small and awkward inputs, with PyTorch's results
//! in float64.
//!
//! Where the file's results are exact in float32 in any order of summation, both devices have to
//! return them exactly. Elsewhere float32 gets some of its roundings (6e-8), and the plain loops
//! in float64 what is left of constants such as an eps of 1e-3, which the engine holds in float32.

use serde::Deserialize;
use toile::autograd::{Gradients, backward};
use toile::nn::{Dense, Sequential};
use toile::ops::batch_norm::{Constants, RunningStatistics};
use toile::ops::conv2d::Window;
use toile::ops::targets::soft_targets;
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, Shape, Tensor};
use toile_kernels::geometry::SUMMARY_LEN;

use super::{DEVICES, Table, distance, largest_distance, numbers, read, table};

#[derive(Deserialize)]
struct Golden {
    conv2d: Vec<Product>,
    max_pool2d: Vec<MaxPool2d>,
    batch_norm: Vec<BatchNorm>,
    softmax_cross_entropy: Vec<CrossEntropy>,
    linear: Vec<Product>,
    adam: Vec<AdamSteps>,
    soft_cross_entropy: Vec<SoftCrossEntropy>,
}

#[derive(Deserialize)]
struct Stored {
    shape: Vec<usize>,
    #[serde(deserialize_with = "numbers")]
    values: Vec<f64>,
}

impl Stored {
    fn on(&self, device: Device) -> Tensor {
        Tensor::new(device, Shape::new(&self.shape), &self.values)
    }
    fn buffer(&self, device: Device) -> Buffer {
        Buffer::from_slice(device, &self.values)
    }
}

/// Runs `compare` for every case on both devices; names are "case, device".
fn for_each<C>(
    title: &str,
    cases: &[C],
    name: fn(&C) -> &str,
    compare: impl Fn(&mut Compared, &C),
) {
    assert!(!cases.is_empty(), "{title}: the golden file has no case");
    table(title, |table| {
        for case in cases {
            for device in DEVICES {
                compare(&mut Compared { table, name: name(case), device }, case);
            }
        }
    });
}

/// One case on one device.
struct Compared<'a> {
    table: &'a mut Table,
    name: &'a str,
    device: Device,
}

impl Compared<'_> {
    fn label(&self, what: &str) -> String {
        format!("{}, {:?}, {what}", self.name, self.device)
    }
    /// The bound of this device.
    fn bound(&self, cpu: f64, reference: f64) -> f64 {
        if self.device == Device::Cpu { cpu } else { reference }
    }
    fn equal(&mut self, what: &str, found: &Buffer, expected: &Stored) {
        self.table.equal(&self.label(what), &found.to_vec::<f64>(), &expected.values);
    }
    fn near(&mut self, what: &str, found: &Buffer, expected: &Stored, bound: f64) {
        let error = distance(&found.to_vec::<f64>(), &expected.values);
        self.table.check(&self.label(what), error, bound, None);
    }
    /// Like `near`, number by number.
    fn each_near(&mut self, what: &str, found: &Buffer, expected: &Stored, bound: f64) {
        let error = largest_distance(&found.to_vec::<f64>(), &expected.values);
        self.table.check(&self.label(what), error, bound, None);
    }
}

fn gradient<'a>(gradients: &'a Gradients, variable: &Tensor) -> &'a Buffer {
    gradients.of(variable).expect("a gradient")
}

/// A convolution or a linear layer.
#[derive(Deserialize)]
struct Product {
    name: String,
    #[serde(default)]
    stride: usize,
    #[serde(default)]
    padding: usize,
    input: Stored,
    weight: Stored,
    bias: Stored,
    output_gradient: Stored,
    output: Stored,
    input_gradient: Stored,
    weight_gradient: Stored,
    bias_gradient: Stored,
}

fn compare_product(
    on: &mut Compared,
    case: &Product,
    product: impl Fn(&Tensor, &Tensor) -> Tensor,
) {
    let variable = |stored: &Stored| stored.on(on.device).variable();
    let [x, weight, bias] = [&case.input, &case.weight, &case.bias].map(variable);
    let y = product(&x, &weight).add_bias(&bias);
    assert_eq!(y.shape().dims(), case.output.shape, "{}: shape of the output", case.name);
    let gradients = backward(&y, case.output_gradient.buffer(on.device));
    on.equal("output", y.buffer(), &case.output);
    on.equal("input gradient", gradient(&gradients, &x), &case.input_gradient);
    on.equal("weight gradient", gradient(&gradients, &weight), &case.weight_gradient);
    on.equal("bias gradient", gradient(&gradients, &bias), &case.bias_gradient);
}

#[test]
fn conv2d() {
    for_each(
        "conv2d",
        &read::<Golden>("ops.json").conv2d,
        |case| &case.name,
        |on, case| {
            let window = Window { stride: case.stride, padding: case.padding };
            compare_product(on, case, |x, weight| x.conv2d(weight, window));
        },
    );
}

#[test]
fn linear() {
    for_each(
        "linear",
        &read::<Golden>("ops.json").linear,
        |case| &case.name,
        |on, case| {
            compare_product(on, case, |x, weight| x.linear(weight));
        },
    );
}

#[derive(Deserialize)]
struct MaxPool2d {
    name: String,
    kernel: [usize; 2],
    stride: [usize; 2],
    input: Stored,
    output: Stored,
    output_gradient: Stored,
    input_gradient: Stored,
}

/// Of the outputs of shape `all` = [N, H, W, C], the indices of those in every `step`-th row and
/// column.
fn every(step: [usize; 2], all: &[usize]) -> Vec<usize> {
    let [_, height, width, channels] = all else { panic!("not a batch of images: {all:?}") };
    let keeps = |i: &usize| {
        let pixel = i / channels;
        (pixel / width % height).is_multiple_of(step[0]) && (pixel % width).is_multiple_of(step[1])
    };
    (0..all.iter().product()).filter(keeps).collect()
}

/// The output gradient is 1, 2, 3, ..., so that the input gradient names each window's winner.
/// Strides that differ between the directions, which the engine does not have, are looked at as
/// some of the windows of the smaller stride.
#[test]
fn max_pool2d() {
    for_each(
        "max-pool",
        &read::<Golden>("ops.json").max_pool2d,
        |case| &case.name,
        |on, case| {
            let x = case.input.on(on.device).variable();
            let stride = case.stride[0].min(case.stride[1]);
            let y = x.max_pool2d(case.kernel, stride);
            let looked_at = every(case.stride.map(|s| s / stride), y.shape().dims());
            let values: Vec<f64> = y.to_vec();
            let values: Vec<f64> = looked_at.iter().map(|&i| values[i]).collect();
            on.table.equal(&on.label("output"), &values, &case.output.values);

            // Which of several NaN in one window gets the gradient is nobody's promise.
            if case.name != "several NaN: PyTorch takes the last" {
                let mut output_gradient = vec![0.0; y.shape().len()];
                assert_eq!(looked_at.len(), case.output_gradient.values.len());
                for (&i, &value) in looked_at.iter().zip(&case.output_gradient.values) {
                    output_gradient[i] = value;
                }
                let gradients = backward(&y, Buffer::from_slice(on.device, &output_gradient));
                on.equal("input gradient", gradient(&gradients, &x), &case.input_gradient);
            }
        },
    );
}

#[derive(Deserialize)]
struct BatchNorm {
    name: String,
    eps: f32,
    momentum: f32,
    input: Stored,
    gamma: Stored,
    beta: Stored,
    running_mean: Stored,
    running_variance: Stored,
    output_gradient: Stored,
    output: Stored,
    new_running_mean: Stored,
    new_running_variance: Stored,
    input_gradient: Stored,
    gamma_gradient: Stored,
    beta_gradient: Stored,
    inference_output: Stored,
}

/// A mean of 100 costs float32 seven bits of what is left when it is subtracted. A momentum of
/// 0.99 in float32 is off by 1e-8, and with it running statistics that move by 100.
#[test]
fn batch_norm() {
    for_each(
        "batch norm",
        &read::<Golden>("ops.json").batch_norm,
        |case| &case.name,
        |on, case| {
            let constants = Constants { epsilon: case.eps, momentum: case.momentum };
            let variable = |stored: &Stored| stored.on(on.device).variable();
            let [x, gamma, beta] = [&case.input, &case.gamma, &case.beta].map(variable);
            let mut running = RunningStatistics {
                mean: case.running_mean.buffer(on.device),
                variance: case.running_variance.buffer(on.device),
            };
            let (bound, large_mean) = (on.bound(1e-6, 1e-7), case.name == "large mean");
            let after_subtraction = if large_mean { on.bound(1e-4, 1e-7) } else { bound };

            let inference = x.batch_norm_inference(&gamma, &beta, &running, constants);
            on.near("inference output", inference.buffer(), &case.inference_output, bound);

            let y = x.batch_norm(&gamma, &beta, &mut running, constants);
            let gradients = backward(&y, case.output_gradient.buffer(on.device));
            on.near("output", y.buffer(), &case.output, after_subtraction);
            let moved = if large_mean { 1e-6 } else { bound };
            on.near("running mean", &running.mean, &case.new_running_mean, moved);
            on.near("running variance", &running.variance, &case.new_running_variance, bound);
            for (what, of, expected, bound) in [
                ("input gradient", &x, &case.input_gradient, after_subtraction),
                ("gamma gradient", &gamma, &case.gamma_gradient, after_subtraction),
                ("beta gradient", &beta, &case.beta_gradient, bound),
            ] {
                on.near(what, gradient(&gradients, of), expected, bound);
            }
        },
    );
}

#[derive(Deserialize)]
struct CrossEntropy {
    name: String,
    logits: Stored,
    labels: Vec<u8>,
    losses: Stored,
    loss: f64,
    probabilities: Stored,
    logits_gradient: Stored,
}

#[test]
fn softmax_cross_entropy() {
    let cases = read::<Golden>("ops.json").softmax_cross_entropy;
    for_each(
        "softmax and cross-entropy",
        &cases,
        |case| &case.name,
        |on, case| {
            let logits = case.logits.on(on.device).variable();
            let labels = Buffer::from_slice(on.device, &case.labels);
            let mut summary = Buffer::zeros(on.device, SUMMARY_LEN);
            let loss = logits.cross_entropy(&labels, &mut summary);
            let bound = on.bound(1e-6, 1e-12);
            on.each_near("losses", &loss.each, &case.losses, bound);
            on.each_near("probabilities", &loss.probabilities, &case.probabilities, bound);
            on.each_near("softmax", logits.softmax().buffer(), &case.probabilities, bound);
            let mean = largest_distance(&loss.mean.to_vec::<f64>(), &[case.loss]);
            on.table.check(&on.label("mean loss"), mean, bound, None);
            let gradients = loss.mean.backward();
            on.each_near(
                "logits gradient",
                gradient(&gradients, &logits),
                &case.logits_gradient,
                bound,
            );
        },
    );
}

#[derive(Deserialize)]
struct SoftCrossEntropy {
    smoothing: f32,
    shares: Option<Vec<f64>>,
    targets: Stored,
    #[serde(flatten)]
    loss: CrossEntropy,
}

#[test]
fn soft_cross_entropy() {
    let cases = read::<Golden>("ops.json").soft_cross_entropy;
    for_each(
        "soft targets and cross-entropy",
        &cases,
        |case| &case.loss.name,
        |on, SoftCrossEntropy { smoothing, shares, targets: expected, loss: case }| {
            let logits = case.logits.on(on.device).variable();
            let labels = Buffer::from_slice(on.device, &case.labels);
            let shares = shares.as_ref().map(|shares| Buffer::from_slice(on.device, shares));
            let targets = soft_targets(&labels, case.logits.shape[1], *smoothing, shares.as_ref());
            let mut summary = Buffer::zeros(on.device, SUMMARY_LEN);
            let loss = logits.soft_cross_entropy(&targets, &labels, &mut summary);
            let bound = on.bound(1e-6, 1e-12);
            on.each_near("targets", &targets, expected, bound);
            on.each_near("losses", &loss.each, &case.losses, bound);
            on.each_near("probabilities", &loss.probabilities, &case.probabilities, bound);
            let mean = largest_distance(&loss.mean.to_vec::<f64>(), &[case.loss]);
            on.table.check(&on.label("mean loss"), mean, bound, None);
            let gradients = loss.mean.backward();
            let found = gradient(&gradients, &logits);
            on.each_near("logits gradient", found, &case.logits_gradient, bound);
        },
    );
}

#[derive(Deserialize)]
struct AdamSteps {
    name: String,
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    parameter: Stored,
    steps: Vec<AdamStep>,
}

#[derive(Deserialize)]
struct AdamStep {
    gradient: Stored,
    parameter: Stored,
    first_moment: Stored,
    second_moment: Stored,
}

/// In float32 a parameter near 1 rounds by up to 6e-8 a step; constants such as 1 - beta2 are
/// float32 on every device.
#[test]
fn adam() {
    for_each(
        "Adam",
        &read::<Golden>("ops.json").adam,
        |case| &case.name,
        |on, case| {
            // Any network with as many parameters: six weights and a bias.
            let shape = Shape::new(&[case.parameter.values.len() - 1]);
            let network = Sequential::new(&[Dense::new(1).into()], shape, on.device, 0);
            let parameters = network.parameters();
            let mut values = parameters.values().clone();
            values.copy_from(&case.parameter.values);
            let constants = OptimizerSettings {
                beta1: case.beta1,
                beta2: case.beta2,
                epsilon: case.eps,
                ..OptimizerSettings::default()
            };
            let mut optimizer = Optimizer::new(parameters, constants);
            let mut summary = Buffer::zeros(on.device, SUMMARY_LEN);
            for (number, step) in (0..).zip(&case.steps) {
                parameters.gradients().clone().copy_from(&step.gradient.values);
                optimizer.update(parameters, case.learning_rate, number, &mut summary);
                let what = |what: &str| format!("{what} after step {number}");
                on.each_near(&what("parameter"), &values, &step.parameter, on.bound(2e-7, 1e-9));
                let [first, second] = optimizer.moments() else { panic!("Adam has two moments") };
                on.near(&what("first moment"), first, &step.first_moment, 1e-6);
                on.near(&what("second moment"), second, &step.second_moment, 1e-6);
            }
        },
    );
}
