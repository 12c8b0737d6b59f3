//! The engine against the golden numbers of `tests/golden`, which PyTorch computed: here the
//! reference network, in `golden/operations.rs` single operations.
//!
//! A bound is either a promise (first loss 1e-5, gradients 1e-4 of their norm, ten losses 1e-4 of
//! those in float64 and 1e-3 of those in float32) or follows from the noise that the golden file
//! records beside each quantity: what float32 rounding alone makes of it in PyTorch. Tables with
//! `-- --nocapture`.

mod golden;

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use toile::ops::batch_norm::Constants;
use toile::optim::OptimizerSettings;
use toile::{Device, Shape};

use golden::inputs::{self, Batch, Tensors, sha256, tensors_sha256};
use golden::reference_network::{Entry, Golden, Inputs, Pass, Run};
use golden::{DEVICES, Table, distance, norm, read, table};

fn golden_numbers() -> Golden {
    read("reference_network.json")
}

fn named() -> Vec<(String, Shape)> {
    Run::new(Device::Cpu).named()
}

fn initial_tensors() -> Tensors {
    inputs::initial_tensors(&named())
}

fn check_inputs(expected: &Inputs, tensors: &Tensors, batch: fn(u32) -> Batch) {
    assert_eq!(tensors_sha256(tensors), expected.tensors_sha256, "SHA-256 of all tensors");
    assert_eq!(expected.batches.len(), 10, "batches in the golden file");
    for golden in &expected.batches {
        let (made, step) = (batch(golden.step), golden.step);
        assert_eq!(made.pixels[..8], golden.first_pixels, "first pixels of batch {step}");
        assert_eq!(made.labels, golden.labels, "labels of batch {step}");
        assert_eq!(sha256(&made.pixels), golden.pixels_sha256, "SHA-256 of batch {step}'s pixels");
    }
}

/// All else rests on this: names, shapes and order of the tensors, and every bit that goes in.
#[test]
fn inputs_are_the_same() {
    let golden = golden_numbers();
    let tensors = initial_tensors();
    assert_eq!(tensors.len(), golden.inputs.tensors.len(), "tensors");
    for ((name, shape, values), expected) in tensors.iter().zip(&golden.inputs.tensors) {
        assert_eq!(name, &expected.name);
        assert_eq!(shape.dims(), expected.shape, "shape of {name}");
        assert_eq!(values[..4], expected.first_values, "first values of {name}");
    }
    check_inputs(&golden.inputs, &tensors, inputs::batch);
    let ten_steps = &golden.ten_steps.inputs;
    check_inputs(ten_steps, &inputs::ten_steps_tensors(&named()), inputs::ten_steps_batch);
    let templates: Vec<u8> = (0..10).flat_map(inputs::template).collect();
    assert_eq!(Some(sha256(&templates)), ten_steps.templates_sha256, "SHA-256 of the templates");
}

/// The engine's defaults are the settings of the golden runs.
#[test]
fn settings_are_the_same() {
    let golden = golden_numbers().settings;
    let Constants { epsilon, momentum } = Constants::default();
    assert_eq!(epsilon, golden.batch_norm_eps as f32, "batch norm's eps");
    assert_eq!(momentum, golden.batch_norm_momentum as f32, "batch norm's momentum");
    let OptimizerSettings { beta1, beta2, epsilon, .. } = OptimizerSettings::default();
    let adam = golden.adam;
    assert_eq!([beta1, beta2, epsilon], [adam.beta1, adam.beta2, adam.eps], "Adam's constants");
}

/// Compares one pass over the first images of batch 0. `bound` gives a gradient's from its noise.
fn check_pass(golden: &Golden, pass: &Pass, device: Device, title: &str, bound: fn(f64) -> f64) {
    let mut run = Run::start(device, &initial_tensors());
    let images = pass.images.unwrap_or(32);
    let outcome = run.pass(&inputs::batch(0).first(images));
    let (gradients, tensors) = (run.gradients(), run.tensors());
    table(&format!("{title}, {device:?}"), |table| {
        check_loss(table, pass, device, outcome.loss);
        let bound_of = |entry: &Entry, least: f64| (4.0 * entry.noise.unwrap()).max(least);
        let logits = &pass.logits;
        let error = logits.distance(&outcome.logits);
        table.check("logits", error, bound_of(logits, 0.0), logits.noise);
        let statistics = pass.running_statistics.iter();
        assert_eq!(statistics.len(), 8, "running statistics in the golden file");
        for (name, entry) in statistics {
            let error = entry.distance(&tensors[name]);
            table.check(name, error, bound_of(entry, 1e-6), entry.noise);
        }
        assert!(pass.gradients.keys().eq(gradients.keys()), "the same gradients");
        for (name, entry) in &pass.gradients {
            let gradient = &gradients[name];
            if golden.not_updated.contains(name) {
                table.equal(name, gradient, &vec![0.0; gradient.len()]);
            } else if golden.zero_gradients.contains(name) {
                // Rounding noise, measured against the gradient of the gammas beside it.
                let size = pass.gradients["bn3.gamma"].norm;
                table.check(name, norm(gradient) / size, 1e-5, Some(entry.norm / size));
            } else {
                let noise = entry.noise.unwrap();
                table.check(name, entry.distance(gradient), bound(noise), Some(noise));
            }
        }
    });
}

/// In f64, only the constants that the engine holds in float32 (an eps of 1e-3) make a difference.
fn check_loss(table: &mut Table, pass: &Pass, device: Device, loss: f64) {
    let (golden, bound) = match device {
        Device::Reference => (pass.loss_float64, 1e-7),
        _ => (pass.loss, 1e-5),
    };
    let (error, noise) = ((loss - golden).abs(), (pass.loss - pass.loss_float64).abs());
    table.check("loss", error, bound, Some(noise));
    table.check("loss, relative", error / golden, bound, Some(noise / golden));
}

/// The sharp test of gradients: rounding carries no activation across a kink here, at least in
/// PyTorch.
#[test]
fn a_pass_over_few_images() {
    let golden = golden_numbers();
    for device in DEVICES {
        check_pass(&golden, &golden.few_images, device, "few images", |_| 1e-4);
    }
}

/// In float32, PyTorch carries two activations across a kink, and the engine may carry others: the
/// gradients below differ by some 1e-3, those above hold to 1e-4.
#[test]
fn a_pass_over_the_first_batch() {
    let golden = golden_numbers();
    for device in DEVICES {
        let bound = |noise: f64| (4.0 * noise).max(1e-4);
        check_pass(&golden, &golden.first_batch, device, "first batch", bound);
    }
}

#[test]
fn inference() {
    let entry = golden_numbers().inference_logits;
    table("inference", |table| {
        for device in DEVICES {
            let run = Run::start(device, &initial_tensors());
            let error = entry.distance(&run.inference(&inputs::batch(0)));
            table.check(&format!("logits, {device:?}"), error, 2e-6, entry.noise);
        }
    });
}

/// From values that are not 0, so that a step would show.
#[test]
fn biases_before_a_batch_norm_keep_their_values() {
    let golden = golden_numbers();
    let mut run = Run::start(Device::Cpu, &initial_tensors());
    let before = run.tensors();
    run.pass(&inputs::batch(0).first(4));
    run.update(golden.settings.adam.learning_rate);
    for (name, after) in run.tensors() {
        let kept = after.iter().zip(&before[&name]).filter(|(after, before)| after == before);
        let (kept, len) = (kept.count(), after.len());
        if golden.not_updated.contains(&name) {
            assert_eq!(kept, len, "{name}: how many numbers keep their values");
        } else {
            assert!(kept < len, "{name}: not one of {len} numbers was updated");
        }
    }
}

/// The losses before each update, and all tensors afterwards.
fn ten_steps(device: Device, learning_rate: f64) -> (Vec<f64>, BTreeMap<String, Vec<f64>>) {
    let mut run = Run::start(device, &inputs::ten_steps_tensors(&named()));
    let step = |step: u32| {
        let loss = run.pass(&inputs::ten_steps_batch(step)).loss;
        run.update(learning_rate);
        loss
    };
    ((0..10).map(step).collect(), run.tensors())
}

/// A tensor whose exact gradient is 0 walks by rounding noise, of which Adam
/// makes whole steps.
#[test]
fn ten_steps_of_adam() {
    let golden = golden_numbers();
    let (rate, expected) = (golden.settings.adam.learning_rate, &golden.ten_steps);
    let (losses, tensors) = ten_steps(Device::Cpu, rate);
    table("ten steps, Cpu", |table| {
        assert_eq!(expected.losses.len(), losses.len(), "losses in the golden file");
        for (i, (found, golden)) in losses.iter().zip(&expected.losses).enumerate() {
            let noise = expected.noise[i].max(expected.noise_other_orders[i]);
            let error = (found - golden).abs();
            table.check(&format!("loss of step {i}"), error, 1e-3, Some(noise * golden));
            let relative = (found / expected.losses_float64[i] - 1.0).abs();
            let name = format!("loss of step {i}, relative to float64's");
            table.check(&name, relative, 1e-4, Some(noise));
        }
        assert!(expected.tensors.keys().eq(tensors.keys()), "the same tensors");
        for (name, entry) in &expected.tensors {
            if golden.not_updated.contains(name) {
                table.equal(name, &tensors[name], &vec![0.0; tensors[name].len()]);
                continue;
            }
            let bound = if expected.zero_gradients.contains(name) {
                // Each number may have gone the whole way, ten steps, in the other direction.
                20.0 * rate * (tensors[name].len() as f64).sqrt() / entry.norm
            } else {
                4.0 * entry.noise.unwrap().max(1e-6)
            };
            table.check(name, entry.distance(&tensors[name]), bound, entry.noise);
        }
    });
}

/// What is left is the engine's own: constants such as batch norm's epsilon, float32 everywhere.
#[test]
#[ignore = "takes two minutes: ten training steps through the plain loops"]
fn ten_steps_of_adam_in_float64() {
    let golden = golden_numbers();
    let (losses, _) = ten_steps(Device::Reference, golden.settings.adam.learning_rate);
    table("ten steps, Reference", |table| {
        for (i, (found, exact)) in losses.iter().zip(&golden.ten_steps.losses_float64).enumerate() {
            let error = (found / exact - 1.0).abs();
            let noise = golden.ten_steps.noise[i];
            table.check(&format!("loss of step {i}, relative"), error, 1e-7, Some(noise));
        }
    });
}

/// Every element of every gradient, which the golden file only samples.
#[test]
#[ignore = "needs complete gradients: TOILE_GOLDEN_FULL=DIR as tests/golden/README.md says"]
fn complete_gradients() {
    let folder = std::env::var_os("TOILE_GOLDEN_FULL")
        .expect("TOILE_GOLDEN_FULL names no folder; tests/golden/README.md says how to make it");
    let bytes = std::fs::read(Path::new(&folder).join("gradients.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let golden = golden_numbers();
    for (pass, images) in [("first_batch", 32), ("few_images", 4)] {
        for device in DEVICES {
            let mut run = Run::start(device, &initial_tensors());
            run.pass(&inputs::batch(0).first(images));
            let mut gradients = run.gradients();
            gradients.retain(|name, _| !golden.zero_gradients.contains(name));
            check_complete(&file, pass, device, &gradients);
        }
    }
}

fn check_complete(
    file: &SafeTensors,
    pass: &str,
    device: Device,
    gradients: &BTreeMap<String, Vec<f64>>,
) {
    let title = format!("{pass}, complete, {device:?} against PyTorch in float64");
    table(&title, |table| {
        for (name, found) in gradients {
            let exact = complete(file, &format!("{pass}/float64/{name}"));
            let single = complete(file, &format!("{pass}/{name}"));
            let noise = distance(&single, &exact);
            let bound = match (device, pass) {
                (Device::Reference, _) => 1e-6,
                (_, "few_images") => 1e-4,
                _ => (4.0 * noise).max(1e-4),
            };
            table.check(name, distance(found, &exact), bound, Some(noise));
        }
    });
}

fn complete(file: &SafeTensors, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    match tensor.dtype() {
        Dtype::F32 => {
            let numbers = tensor.data().as_chunks().0.iter();
            numbers.map(|&bytes| f32::from_le_bytes(bytes).into()).collect()
        }
        Dtype::F64 => {
            tensor.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
        }
        other => panic!("{name}: expected float32 or float64, found {other:?}"),
    }
}
