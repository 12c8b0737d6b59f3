//! What each style shows, on which stream, and what a closed pipe does.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use toile::data::Reporter;
use toile::metrics::{Evaluation, Predictions};
use toile::progress::{Plan, Progress, StopReason, Style, Summary};
use toile::run_folder::HistoryRow;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

fn evaluation() -> Evaluation {
    let predictions = Predictions::new(&[0, 1], &[1.0, 0.0, 0.75, 0.25], 2);
    let classes = ["cat".to_owned(), "dog".to_owned()];
    Evaluation::new(&predictions, &[0.5, 1.0], &classes, 7, "ab".into())
}

/// A run of two epochs, the second of them not better.
fn run(progress: &mut Progress) -> toile::error::Result<()> {
    progress.started(&Plan {
        run: "runs/pets-001".into(),
        recipe: "reference".into(),
        seed: 42,
        epochs: 2,
        first_step: 0,
        train_images: 100,
        validation_images: 10,
        classes: vec!["cat".into(), "dog".into()],
        parameters: 7,
        network: "layers".into(),
        threads: 2,
        isa: "avx2".into(),
    });
    for epoch in 1..=2 {
        progress.epoch_started(epoch, 0);
        progress.trained(50, 0.5, 0.75);
        progress.validated(10);
        let row = HistoryRow {
            epoch,
            loss: 0.5,
            accuracy: 0.75,
            val_loss: 0.25,
            val_accuracy: 0.875,
            learning_rate: 1e-3,
            seconds: 2.0,
            images_per_second: 50.0,
        };
        progress.epoch_ended(&row, epoch == 1, epoch == 2);
    }
    progress.note("a notice");
    progress.stopped(StopReason::EpochLimit, 2, Some(1));
    progress.ended(&Summary {
        run: "runs/pets-001".into(),
        reason: StopReason::EpochLimit,
        epochs: 2,
        steps: 4,
        best_epoch: Some(1),
        seconds: 4.5,
        evaluation: Some(evaluation()),
    })
}

fn shown(style: Style) -> (String, String) {
    let (results, log) = (Shared::default(), Shared::default());
    let streams = (Box::new(results.clone()), Box::new(log.clone()));
    run(&mut Progress::to_streams(style, streams.0, streams.1)).unwrap();
    (results.text(), log.text())
}

#[test]
fn lines_show_a_row_an_epoch_on_stderr_and_results_on_stdout() {
    let (results, log) = shown(Style::Lines);
    let rows: Vec<_> = log.lines().filter(|line| line.contains("0.2500")).collect();
    assert_eq!(rows.len(), 2, "{log}");
    assert!(rows[0].contains("87.50% *") && !rows[0].contains(" v "), "{log}");
    assert!(rows[1].contains("1.0e-3 v") && !rows[1].contains('*'), "{log}");
    for text in ["runs/pets-001", "val_loss", "a notice", "all 2 epochs"] {
        assert!(log.contains(text), "no {text:?} in {log}");
    }
    assert!(log.lines().all(|line| line.chars().count() <= 80), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    for text in ["Test accuracy 50.00 %", "dog as cat 1", "weighted avg", "runs/pets-001"] {
        assert!(results.contains(text), "no {text:?} in {results}");
    }
}

#[test]
fn quiet_shows_results_only() {
    let (results, log) = shown(Style::Quiet);
    assert_eq!(log, "");
    assert_eq!(results, shown(Style::Lines).0);
}

#[test]
fn json_is_one_object_a_line() {
    let (results, log) = shown(Style::Json);
    assert_eq!(log, "a notice\n");
    let events: Vec<Value> =
        results.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["start", "epoch", "epoch", "end"]);
    assert_eq!(events[0]["run"], "runs/pets-001");
    let epoch = json!({
        "type": "epoch", "epoch": 1, "loss": 0.5, "accuracy": 0.75, "val_loss": 0.25,
        "val_accuracy": 0.875, "learning_rate": 0.001, "seconds": 2.0,
        "images_per_second": 50.0, "best": true, "learning_rate_lowered": false,
    });
    assert_eq!(events[1], epoch);
    assert_eq!(events[3]["reason"], "epoch_limit");
    assert_eq!(events[3]["evaluation"], serde_json::to_value(evaluation()).unwrap());
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for style in [Style::Bar, Style::Lines, Style::Quiet, Style::Json] {
        let closed = || Box::new(Failing(io::ErrorKind::BrokenPipe));
        run(&mut Progress::to_streams(style, closed(), closed())).unwrap();
    }
}

#[test]
fn results_that_cannot_be_stored_are_an_error_and_lost_progress_is_not() {
    let full = || Box::new(Failing(io::ErrorKind::StorageFull));
    for style in [Style::Lines, Style::Quiet, Style::Json] {
        let fault = run(&mut Progress::to_streams(style, full(), full())).unwrap_err();
        assert_eq!(fault.exit_code(), 5);
        assert!(fault.to_string().contains("standard output"), "{fault}");
        run(&mut Progress::to_streams(style, Box::new(Shared::default()), full())).unwrap();
    }
}

#[test]
fn progress_is_not_due_where_nobody_would_see_it() {
    for style in [Style::Quiet, Style::Json, Style::Lines] {
        assert!(!Progress::new(style).is_due());
    }
}

#[test]
fn a_signal_gives_its_own_exit_code() {
    assert_eq!(StopReason::EarlyStopping.exit_code(), 0);
    assert_eq!(StopReason::Interrupted.exit_code(), 130);
    assert_eq!(StopReason::Terminated.exit_code(), 143);
}

#[test]
fn a_download_is_told_of_to_people_only() {
    let download = |style| {
        let (results, log) = (Shared::default(), Shared::default());
        let streams = (Box::new(results.clone()), Box::new(log.clone()));
        let mut progress = Progress::to_streams(style, streams.0, streams.1);
        Reporter::note(&mut progress, "fetching it");
        // 500 bytes were left by an earlier run, and the mirror of the second file begins again.
        for (file, bytes) in [("a.gz", 500), ("a.gz", 30_000), ("b.gz", 900), ("b.gz", 0)] {
            progress.transferred(file, bytes, Some(30_000));
        }
        progress.transfer_ended();
        progress.transferred("c.gz", 2_000_000, None);
        progress.transfer_ended();
        progress.transfer_ended();
        assert_eq!(results.text(), "");
        log.text()
    };
    for style in [Style::Lines, Style::Bar] {
        let log = download(style);
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), 3, "{log}");
        assert_eq!(lines[0], "fetching it");
        assert!(lines[1].starts_with("b.gz: 0 B in "), "{log}");
    }
    assert_eq!(download(Style::Quiet), "");
    assert_eq!(download(Style::Json), "");
}
