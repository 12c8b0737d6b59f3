//! What is saved of a run is all there is of it, and it is there whatever happens.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use toile_kernels::Device;
use toile_kernels::rng::Stream;

use super::*;
use crate::checkpoint::Architecture;
use crate::models;
use crate::ops::augment::{Augmentation, Flip};
use crate::ops::gather::Resident;
use crate::ops::mix::{Mix, Mixing};
use crate::optim::{OptimizerSettings, Rule};
use crate::progress::Style;
use crate::run_folder::{LAST_CHECKPOINT, PREVIOUS_CHECKPOINT};
use crate::schedule::{EarlyStoppingSettings, ScheduleKind, ScheduleSettings};
use crate::shape::Shape;

/// 40 images of noise with labels, of which 30 are trained on in batches of 8.
fn start(config: &Config) -> (Model, Resident, Parts) {
    let stream = Stream { seed: 5, purpose: 0, step: 0 };
    let pixels: Vec<u8> = (0..40 * 784).map(|i| (stream.word(i) >> 24) as u8).collect();
    let labels: Vec<u8> = (0..40).map(|i| i % 3).collect();
    let data = Resident {
        pixels: Buffer::from_slice(Device::Cpu, &pixels),
        labels: Buffer::from_slice(Device::Cpu, &labels),
        image: Shape::new(&[28, 28, 1]),
    };
    let architecture = Architecture { network: models::REFERENCE.into(), input: [28, 28, 1] };
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let model = Model::new(architecture, classes, Device::Cpu, config.seed).unwrap();
    (model, data, Parts::of(config, 40).unwrap())
}

fn config() -> Config {
    Config {
        epochs: 3,
        batch_size: 8,
        val_size: 10,
        save_every: Some(1),
        ..Config::of_recipe("reference").unwrap()
    }
}

/// The same with everything that a recipe can turn on.
fn full_config() -> Config {
    Config {
        average_decay: 0.9,
        label_smoothing: 0.1,
        mixing: Mixing { method: Mix::Cutmix, alpha: 1.0 },
        schedule: ScheduleSettings {
            kind: ScheduleKind::OneCycle,
            warm_up: 0.3,
            ..ScheduleSettings::default()
        },
        optimizer: OptimizerSettings {
            weight_decay: 0.1,
            largest_norm: 1.0,
            ..OptimizerSettings::default()
        },
        augmentation: Augmentation {
            flip: Flip::Alternating,
            shift: 2,
            rotation: 5.0,
            erasing: 0.5,
        },
        early_stopping: EarlyStoppingSettings { enabled: false, patience: 1 },
        ..config()
    }
}

/// The same by SGD.
fn sgd_config() -> Config {
    let optimizer = OptimizerSettings { rule: Rule::Sgd, ..OptimizerSettings::default() };
    Config { optimizer, ..config() }
}

fn origin(config: &Config) -> Origin {
    Origin {
        toile: String::new(),
        bits_version: 1,
        arithmetic: String::new(),
        config: config.clone(),
        data: Default::default(),
    }
}

fn folder(out: &tempfile::TempDir, name: &str) -> RunFolder {
    RunFolder::create(out.path(), "d".as_ref(), "r", Some(name.as_ref()), false, "").unwrap()
}

fn session<'a>(config: &'a Config, run: &'a RunFolder, stop: &'a Stop) -> Session<'a> {
    Session::new(config, run, stop, origin(config), start(config)).unwrap()
}

fn go_on<'a>(
    config: &'a Config,
    run: &'a RunFolder,
    stop: &'a Stop,
    checkpoint: Checkpoint,
) -> Result<Session<'a>> {
    Session::resume(config, run, stop, origin(config), checkpoint, start(config))
}

/// The newest checkpoint, without what clocks put in it.
fn saved(run: &RunFolder) -> Checkpoint {
    let (mut checkpoint, _) =
        Checkpoint::newest(run, &mut Progress::new(Style::Quiet)).unwrap().unwrap();
    checkpoint.state.running.seconds = 0.0;
    checkpoint
}

/// What is saved is all there is: a run that goes on from any checkpoint, inside an epoch or
/// between two, ends with the bits of the run that was never stopped.
#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    for config in [config(), full_config(), sgd_config()] {
        check_resumed(&config);
    }
}

fn check_resumed(config: &Config) {
    let (out, stop) = (tempfile::tempdir().unwrap(), Stop::default());
    let mut progress = Progress::new(Style::Quiet);
    let whole = folder(&out, "whole");
    let ended = session(config, &whole, &stop).run(&mut progress).unwrap();
    assert_eq!((ended.epochs, ended.steps), (3, 12));
    assert_eq!(ended.best_epoch.is_some(), config.early_stopping.enabled, "which weights count");
    let expected = saved(&whole);
    let metrics = std::fs::read(whole.file("metrics.jsonl")).unwrap();

    for steps in [1, 3, 4, 6, 9] {
        let run = folder(&out, &format!("stopped-{steps}"));
        let first = Config { max_steps: Some(steps), ..config.clone() };
        session(&first, &run, &stop).run(&mut progress).unwrap();
        let checkpoint = saved(&run);
        assert_eq!(checkpoint.state.step, steps);
        let mut second = go_on(config, &run, &stop, checkpoint).unwrap();
        let ended = second.run(&mut progress).unwrap();
        assert_eq!((ended.epochs, ended.steps), (3, 12));
        assert!(saved(&run) == expected, "another end after a stop at step {steps}");
        assert_eq!(std::fs::read(run.file("metrics.jsonl")).unwrap(), metrics);
    }
}

/// With an average, its numbers are those that count.
#[test]
fn the_average_is_what_is_kept() {
    let (out, stop) = (tempfile::tempdir().unwrap(), Stop::default());
    let config = Config { max_steps: Some(1), ..full_config() };
    let run = folder(&out, "run");
    let (start, _, _) = start(&config);
    session(&config, &run, &stop).run(&mut Progress::new(Style::Quiet)).unwrap();
    let Checkpoint { model, average, .. } = saved(&run);
    assert_eq!(std::fs::read(run.file("best.safetensors")).unwrap(), average.clone().unwrap());
    let values = |bytes: &[u8]| {
        let model = Model::from_bytes(bytes, Device::Cpu).unwrap();
        model.network.parameters().values().to_vec::<f64>()
    };
    let start = start.network.parameters().values().to_vec::<f64>();
    let (model, average) = (values(&model), values(&average.unwrap()));
    assert!(start != model && model != average);
    for ((start, model), average) in start.iter().zip(&model).zip(&average) {
        // After the first step a tenth of the start is left.
        assert!((0.1 * start + 0.9 * model - average).abs() < 1e-6);
    }
}

#[test]
fn a_run_that_is_asked_to_stop_saves_where_it_is() {
    let (out, config) = (tempfile::tempdir().unwrap(), config());
    let run = folder(&out, "run");
    let stop = Stop::default();
    stop.requested_flag().store(Stop::TERMINATE, std::sync::atomic::Ordering::SeqCst);
    let ended = session(&config, &run, &stop).run(&mut Progress::new(Style::Quiet)).unwrap();
    assert_eq!((ended.reason, ended.steps), (StopReason::Terminated, 0));
    assert_eq!(saved(&run).state, State::new(&config));
}

#[test]
fn a_checkpoint_of_something_else_is_refused_in_words() {
    let (out, config, stop) = (tempfile::tempdir().unwrap(), config(), Stop::default());
    let run = folder(&out, "run");
    session(&config, &run, &stop).run(&mut Progress::new(Style::Quiet)).unwrap();
    let refused = |spoil: &dyn Fn(&mut Checkpoint)| {
        let mut checkpoint = saved(&run);
        spoil(&mut checkpoint);
        let result = go_on(&config, &run, &stop, checkpoint);
        let Err(fault) = result.map(drop) else { panic!("a spoilt checkpoint was taken") };
        assert_eq!(fault.exit_code(), 2, "{fault}");
        fault.to_string()
    };
    assert!(refused(&|c| c.state.step += 1).contains("disagree"));
    assert!(refused(&|c| c.state.epoch = u64::MAX).contains("disagree"));
    assert!(refused(&|c| c.state.epoch = 0).contains("disagree"));
    assert!(refused(&|c| c.state.running.steps = usize::MAX).contains("disagree"));
    assert!(refused(&|c| c.state.learning_rate = f64::NAN).contains("learning rate"));
    assert!(refused(&|c| c.moments[1].truncate(1)).contains("moments"));
    assert!(refused(&|c| c.moments.truncate(1)).contains("optimizer"));
    assert!(refused(&|c| c.average = Some(c.model.clone())).contains("average"));
    assert!(refused(&|c| c.model.truncate(9)).contains("does not fit its run"));
    assert!(refused(&|c| c.best = Some(Vec::new())).contains("does not fit its run"));
}

/// Set for the process that saves until it is killed: the folder that it saves in.
const SAVE_IN: &str = "TOILE_TEST_SAVE_IN";

/// The other process of [`a_save_never_destroys_the_last_good_one`]: saves without end, and says
/// after each save which step it was.
#[test]
#[ignore = "runs until it is killed, by a_save_never_destroys_the_last_good_one"]
fn save_until_killed() {
    let out = std::env::var_os(SAVE_IN).expect("only its parent runs it");
    let (config, stop) = (config(), Stop::default());
    let run = RunFolder::open(out.as_ref()).unwrap();
    let mut session = session(&config, &run, &stop);
    loop {
        session.state.step += 1;
        session.save().unwrap();
        println!("\nsaved {}", session.state.step);
    }
}

/// `kill -9` at any moment of a save leaves a checkpoint that loads and is at least as new as the
/// last one that was reported. `TOILE_TEST_KILLS` says how often; a few by default.
#[cfg(unix)]
#[test]
fn a_save_never_destroys_the_last_good_one() {
    let out = tempfile::tempdir().unwrap();
    let kills: u64 = std::env::var("TOILE_TEST_KILLS").map_or(10, |kills| kills.parse().unwrap());
    for kill in 0..kills {
        let path = folder(&out, &format!("run-{kill}")).path().to_owned();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "train::session::tests::save_until_killed"])
            .args(["--ignored", "--nocapture"])
            .env(SAVE_IN, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reported = |line: &str| line.strip_prefix("saved ").and_then(|step| step.parse().ok());
        let mut last: u64 = lines.find_map(|line| reported(&line.unwrap())).unwrap();
        // Moments all over a save, which takes some milliseconds here.
        std::thread::sleep(Duration::from_micros(kill * 7919 % 20_011));
        child.kill().unwrap();
        child.wait().unwrap();
        last = lines.filter_map(|line| reported(&line.ok()?)).last().unwrap_or(last);
        let run = RunFolder::open(&path).unwrap();
        let found = saved(&run).state.step;
        assert!(found >= last, "kill {kill}: step {last} was saved, {found} was found");
        assert!(run.file(LAST_CHECKPOINT).is_file());
        assert!(last < 2 || run.file(PREVIOUS_CHECKPOINT).is_file());
    }
    println!("{kills} of {kills} kills left a checkpoint that loads");
}
