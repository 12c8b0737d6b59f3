//! The engine's optimizers against `optimizers.json`: PyTorch's AdamW, SGD with Nesterov's
//! momentum and clipping by norm, in float64.

use serde::Deserialize;
use toile::nn::{Dense, Sequential};
use toile::optim::{Optimizer, OptimizerSettings, Rule};
use toile::{Buffer, Device, SUMMARY_LEN, Shape};

use super::{DEVICES, largest_distance, read, table};

#[derive(Deserialize)]
struct Golden {
    learning_rates: LearningRates,
    beta2: f64,
    eps: f64,
    adam: Vec<Case>,
    sgd: Vec<Case>,
}

#[derive(Deserialize)]
struct LearningRates {
    adam: f64,
    sgd: f64,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    weight_decay: f64,
    largest_norm: f64,
    start: Vec<f64>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    gradient: Vec<f64>,
    parameters: Vec<f64>,
}

/// The largest error of the parameters after any step.
fn worst(device: Device, case: &Case, learning_rate: f64, settings: OptimizerSettings) -> f64 {
    let settings = OptimizerSettings {
        weight_decay: case.weight_decay,
        largest_norm: case.largest_norm,
        ..settings
    };
    // Six weights and a bias.
    let network = Sequential::new(&[Dense::new(1).into()], Shape::new(&[6]), device, 0);
    let parameters = network.parameters();
    parameters.values().clone().copy_from(&case.start);
    let mut optimizer = Optimizer::new(parameters, settings);
    let mut summary = Buffer::zeros(device, SUMMARY_LEN);
    let mut after_step = |(number, step): (u64, &Step)| {
        parameters.gradients().clone().copy_from(&step.gradient);
        optimizer.update(parameters, learning_rate, number, &mut summary);
        largest_distance(&parameters.values().to_vec::<f64>(), &step.parameters)
    };
    (0..).zip(&case.steps).map(&mut after_step).fold(0.0, f64::max)
}

#[test]
fn optimizers() {
    let golden: Golden = read("optimizers.json");
    let adam = OptimizerSettings {
        beta2: golden.beta2,
        epsilon: golden.eps,
        ..OptimizerSettings::default()
    };
    let sgd = OptimizerSettings { rule: Rule::Sgd, ..OptimizerSettings::default() };
    table("optimizers", |table| {
        for device in DEVICES {
            // Settings are held in float32 on both devices.
            for case in &golden.adam {
                let error = worst(device, case, golden.learning_rates.adam, adam);
                table.check(&format!("{}, {device:?}", case.name), error, 3e-7, None);
            }
            for case in &golden.sgd {
                let error = worst(device, case, golden.learning_rates.sgd, sgd);
                table.check(&format!("{}, {device:?}", case.name), error, 3e-7, None);
            }
        }
    });
}
