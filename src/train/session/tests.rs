//! What is saved of a run is all there is of it.

use toile_kernels::Device;

use super::*;
use crate::checkpoint::Architecture;
use crate::models;
use crate::ops::gather::Resident;
use crate::progress::Style;
use crate::shape::Shape;

impl Session<'_> {
    /// Goes on from a checkpoint.
    fn restore(&mut self, checkpoint: Checkpoint) {
        let Checkpoint { state, model, best, moments } = checkpoint;
        self.model = Model::from_bytes(&model, Device::Cpu).unwrap();
        self.best = best;
        for (moment, saved) in self.optimizer.moments_mut().into_iter().zip(&moments) {
            moment.copy_from(saved);
        }
        (self.step, self.epoch, self.running) = (state.step, state.epoch, state.running);
        self.learning_rate = state.learning_rate;
        (self.plateau, self.early_stopping) = (state.plateau, state.early_stopping);
    }
}

/// 40 images of noise with labels, of which 30 are trained on in batches of 8.
fn data() -> Resident {
    let stream = toile_kernels::rng::Stream { seed: 5, purpose: 0, step: 0 };
    let pixels: Vec<u8> = (0..40 * 784).map(|i| (stream.word(i) >> 24) as u8).collect();
    let labels: Vec<u8> = (0..40).map(|i| i % 3).collect();
    Resident {
        pixels: Buffer::from_slice(Device::Cpu, &pixels),
        labels: Buffer::from_slice(Device::Cpu, &labels),
        image: Shape::new(&[28, 28, 1]),
    }
}

fn session<'a>(config: &'a Config, run: &'a RunFolder) -> Session<'a> {
    let architecture = Architecture { network: models::REFERENCE.into(), input: [28, 28, 1] };
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let model = Model::new(architecture, classes, Device::Cpu, config.seed).unwrap();
    let parts = Parts::of(config, 40).unwrap();
    Session::new(config, run, model, data(), parts).unwrap()
}

/// What is saved is all there is: a run that goes on from any checkpoint, inside an epoch or
/// between two, ends with the bits of the run that was never stopped.
#[test]
fn a_restored_run_ends_with_the_same_bits() {
    let out = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let name = std::ffi::OsStr::new(name);
        RunFolder::create(out.path(), "d".as_ref(), "r", Some(name), false).unwrap()
    };
    let config = Config {
        epochs: 3,
        batch_size: 8,
        val_size: 10,
        save_every: Some(1),
        ..Config::of_recipe("reference").unwrap()
    };
    let mut progress = Progress::new(Style::Quiet);
    let whole_run = folder("whole");
    let mut whole = session(&config, &whole_run);
    let ended = whole.run(&mut progress).unwrap();
    assert_eq!((ended.epochs, ended.steps), (3, 12));
    let expected = whole.checkpoint();

    for stop in [1, 3, 4, 6, 9] {
        let first = Config { max_steps: Some(stop), ..config.clone() };
        let first_run = folder(&format!("first-{stop}"));
        session(&first, &first_run).run(&mut progress).unwrap();
        let bytes = std::fs::read(first_run.file(LAST_CHECKPOINT)).unwrap();
        let second_run = folder(&format!("second-{stop}"));
        let mut second = session(&config, &second_run);
        second.restore(Checkpoint::from_bytes(&bytes).unwrap());
        second.run(&mut progress).unwrap();
        let mut found = second.checkpoint();
        found.state.running.seconds = expected.state.running.seconds;
        assert!(found == expected, "another end after a stop near step {stop}");
    }
}
