//! The graphics card beside the CPU, from whole steps to whole runs: the same losses and gradients
//! within stated bounds, the same bits from two runs, nothing made anew once shapes are known.
//!
//! On a machine without one nothing is checked, unless `TOILE_REQUIRE_GPU` is set. A program that
//! acts as a graphics card, such as Mesa's lavapipe, will do; it takes seconds for a step.

mod made_up_data;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{TempDir, tempdir};
use toile::nn::{Parameter, Sequential};
use toile::ops::mix::Mix;
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor, models};
use toile_kernels::gpu;
use toile_kernels::rng::Stream;

/// The right to use the device, if there is one: a test at a time, since counters are the
/// process's.
fn device() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    gpu::is_there().then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One at which rounding does not decide. At 1e-3, the CPU's own losses with FMA and without are 3 %
/// apart after twenty steps, and at 1e-4 those of direct convolution and of Winograd's algorithm
/// are 0.09 %, since Adam makes whole steps of gradients that are next to 0.
const LEARNING_RATE: f64 = 2e-5;

/// The reference network, and what its first steps on made-up images need.
struct Training {
    network: Sequential,
    optimizer: Optimizer,
    images: Tensor,
    labels: Buffer,
    summary: Buffer,
    step: u32,
}

impl Training {
    fn new(device: Device, count: usize) -> Training {
        let image = Shape::new(&[28, 28, 1]);
        let network = Sequential::new(&models::reference(10), image, device, 42);
        let stream = Stream { seed: 1, purpose: 0, step: 0 };
        let shape = image.batch(count);
        // Noise, brighter in a band that stands for the class.
        let band = |i: usize| f32::from(u8::from(i / 28 % 10 == i / 784 % 10));
        let pixel = |i: usize| 0.5 * (stream.uniform(i as u64) + band(i));
        let pixels: Vec<f32> = (0..shape.len()).map(pixel).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        Training {
            optimizer: Optimizer::new(network.parameters(), OptimizerSettings::default()),
            network,
            images: Tensor::new(device, shape, &pixels),
            labels: Buffer::from_slice(device, &labels),
            summary: Buffer::zeros(device, SUMMARY_LEN),
            step: 0,
        }
    }

    /// Makes one step and returns its loss.
    fn step(&mut self) -> f32 {
        let logits = self.network.forward_train(&self.images, 42, self.step);
        let loss = logits.cross_entropy(&self.labels, &mut self.summary);
        let parameters = self.network.parameters();
        parameters.check_reached(&loss.mean.backward());
        self.optimizer.update(parameters, LEARNING_RATE, self.step.into(), &mut self.summary);
        self.step += 1;
        self.summary.to_vec::<f32>()[0]
    }

    /// The gradients of each trained tensor, by its name.
    fn gradients(&self) -> Vec<(String, Vec<f32>)> {
        let parameters = self.network.parameters();
        let trained = parameters.iter().filter(|parameter| parameter.is_trained());
        let gradient = |parameter: &Parameter| {
            let place = parameter.place().expect("trained parameters have gradients");
            (parameter.name().to_owned(), parameters.gradients().slice(place).to_vec())
        };
        trained.map(gradient).collect()
    }
}

#[test]
fn gradients_are_those_of_the_cpu() {
    let Some(_turn) = device() else { return };
    let [cpu, card] = [Device::Cpu, Device::Gpu].map(|device| {
        let mut training = Training::new(device, 4);
        let loss = training.step();
        (loss, training.gradients())
    });
    assert!((cpu.0 - card.0).abs() <= 1e-5 * cpu.0, "losses {} and {}", cpu.0, card.0);
    for ((name, cpu), (_, card)) in cpu.1.iter().zip(&card.1) {
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
        let gap = norm(&mut cpu.iter().zip(card).map(|(a, b)| a - b));
        let length = norm(&mut cpu.iter().copied());
        assert!(gap <= 1e-4 * length, "{name}: {gap} away at a norm of {length}");
        assert!(length > 0.0, "{name} has no gradient");
    }
}

/// Losses that feel the updates: at five times the rate the last is 9 % lower.
#[test]
fn twenty_losses_are_those_of_the_cpu() {
    let Some(_turn) = device() else { return };
    let mut cpu = Training::new(Device::Cpu, 8);
    let mut card = Training::new(Device::Gpu, 8);
    for step in 1..=20 {
        let (cpu, card) = (cpu.step(), card.step());
        assert!((cpu - card).abs() <= 1e-5 * cpu, "step {step}: {cpu} and {card}");
    }
}

#[test]
fn two_runs_give_the_same_bits_and_make_nothing_anew() {
    let Some(_turn) = device() else { return };
    let mut trainings = [0; 2].map(|_| Training::new(Device::Gpu, 3));
    for training in &mut trainings {
        let _ = [training.step(), training.step()];
    }
    let before = gpu::counters();
    trainings[0].step();
    let after = gpu::counters();
    assert_eq!(
        (before.blocks, before.pipelines, before.bind_groups),
        (after.blocks, after.pipelines, after.bind_groups),
        "a step made something anew"
    );
    assert!(after.submissions - before.submissions <= 1, "{before:?} {after:?}");
    trainings[1].step();
    let bits = trainings.each_ref().map(|training| {
        let values = training.network.parameters().iter().map(|p| p.values().to_vec::<f32>());
        values.flatten().map(f32::to_bits).collect::<Vec<_>>()
    });
    assert!(bits[0] == bits[1], "two runs ended with other bits");
}

/// The draws of many steps go to the device at once.
#[test]
fn mixing_costs_no_submission_a_step() {
    let Some(_turn) = device() else { return };
    let images = Tensor::new(Device::Gpu, Shape::new(&[4, 3, 3, 1]), &[1.0; 36]);
    let mix = |step| images.mixed(Mix::Cutmix, 1.0, 7, step);
    drop(mix(0));
    let before = gpu::counters();
    (1..64).for_each(|step| drop(mix(step)));
    assert_eq!(gpu::counters(), before);
}

fn run(folder: &TempDir, program: &str, line: &str) -> String {
    let program = match program {
        "train" => env!("CARGO_BIN_EXE_train"),
        "evaluate" => env!("CARGO_BIN_EXE_evaluate"),
        _ => env!("CARGO_BIN_EXE_predict"),
    };
    let mut command = Command::new(program);
    command.current_dir(folder.path()).args(line.split_whitespace());
    for variable in ["RAYON_NUM_THREADS", "TOILE_DATA_DIR", "TOILE_ISA", "RUST_LOG", "CI"] {
        command.env_remove(variable);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(0), "{line}: {stdout}{stderr}");
    stdout
}

fn evaluation(text: &str) -> (f64, f64) {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    (value["accuracy"].as_f64().unwrap(), value["loss"].as_f64().unwrap())
}

fn history(run: &Path) -> Vec<(f64, f64)> {
    let text = fs::read_to_string(run.join("training_history.csv")).unwrap();
    let row = |line: &str| {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        (cells[1], cells[3])
    };
    text.lines().skip(1).map(row).collect()
}

/// 320 images to train with, of which 64 validate, and 64 to test with.
const RUN: &str = "--data data --recipe reference --val-size 64 --batch-size 64 --epochs 2 \
                   --lr 1e-4 --out o";

/// `train`, `evaluate` and `predict` end as on the CPU.
#[test]
fn programs_end_as_on_the_cpu() {
    let Some(_turn) = device() else { return };
    let folder = tempdir().unwrap();
    made_up_data::write(&folder.path().join("data"), 320, 64, 4);
    for (name, device) in [("cpu", "cpu"), ("gpu", "gpu")] {
        run(&folder, "train", &format!("{RUN} --device {device} --name {name}"));
    }
    assert_alike(&folder, "cpu", "gpu");
    let [on_cpu, on_gpu] = ["cpu", "gpu"].map(|device| {
        evaluation(&run(&folder, "evaluate", &format!("o/cpu --device {device} --json")))
    });
    assert!((on_cpu.1 - on_gpu.1).abs() <= 1e-4 * on_cpu.1, "{on_cpu:?} and {on_gpu:?}");
    assert!((on_cpu.0 - on_gpu.0).abs() <= 1.0 / 64.0, "{on_cpu:?} and {on_gpu:?}");
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/trousers.png");
    let [on_cpu, on_gpu] = ["cpu", "gpu"].map(|device| {
        let line = format!("{picture} --model o/cpu --device {device} --json");
        let answer: serde_json::Value =
            serde_json::from_str(&run(&folder, "predict", &line)).unwrap();
        (answer["label"].clone(), answer["confidence"].as_f64().unwrap())
    });
    assert_eq!(on_cpu.0, on_gpu.0);
    assert!((on_cpu.1 - on_gpu.1).abs() <= 1e-4, "{on_cpu:?} and {on_gpu:?}");
}

/// A run that was begun on one device and ended on the other is as one that stayed on the CPU.
#[test]
fn a_run_can_be_moved() {
    let Some(_turn) = device() else { return };
    let folder = tempdir().unwrap();
    made_up_data::write(&folder.path().join("data"), 128, 64, 4);
    let settings = RUN.replace("--batch-size 64", "--batch-size 16");
    run(&folder, "train", &format!("{settings} --name stayed"));
    for (name, first, second) in [("from-cpu", "cpu", "gpu"), ("from-gpu", "gpu", "cpu")] {
        let line = format!("{settings} --device {first} --name {name} --max-steps 4");
        run(&folder, "train", &line);
        let line = format!("--resume o/{name} --device {second} --max-steps 1000");
        run(&folder, "train", &line);
        assert_alike(&folder, "stayed", name);
    }
}

/// Two runs have the same losses, but for rounding.
fn assert_alike(folder: &TempDir, expected: &str, found: &str) {
    let [expected, found] =
        [expected, found].map(|name| history(&folder.path().join("o").join(name)));
    assert_eq!(found.len(), expected.len());
    for ((loss, val_loss), (expected_loss, expected_val_loss)) in found.iter().zip(&expected) {
        let gaps = [loss / expected_loss - 1.0, val_loss / expected_val_loss - 1.0];
        assert!(gaps.iter().all(|gap| gap.abs() <= 1e-3), "{found:?} and {expected:?}");
    }
}
