//! What a person, or a program, sees of a run: results on stdout, progress on stderr.
//!
//! The trainer reports events; how they look is decided once, here. A reader that goes away
//! (`| head`) must never end a run that took an hour, so a closed pipe is no error.

mod event;
mod format;
mod result;
mod search;
mod transfer;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::{Error, Result, plain};
use crate::run_folder::HistoryRow;

use event::Event;
use transfer::Transfer;

pub use event::{Plan, StopReason, Summary};
pub use result::evaluation_text;
pub use search::{Found, Trial};

/// How a bar is kept from costing time, and how long a log stays silent within an epoch.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The message is cut off where the window ends.
const EPOCH_BAR: &str = "{prefix} {percent:>3}% [{bar:8}] {wide_msg}";

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A live bar on stderr, and a row that stays for each epoch.
    Bar,
    /// The rows only, and a sign of life every 30 seconds: for logs.
    Lines,
    /// Results and errors only.
    Quiet,
    /// One JSON object a line on stdout.
    Json,
}

impl Style {
    /// The style that flags ask for, or else the one that stderr can show: a terminal gets the
    /// bar unless `TERM` is `dumb`, `CI` is set, or `RUST_LOG` asks for logs beside it.
    #[must_use]
    pub fn detect(json: bool, quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = ["CI", "RUST_LOG"].iter().any(|name| std::env::var_os(name).is_some());
        let live = io::stderr().is_terminal() && !dumb && !plain;
        match (json, quiet, live) {
            (true, _, _) => Style::Json,
            (_, true, _) => Style::Quiet,
            (_, _, true) => Style::Bar,
            (_, _, false) => Style::Lines,
        }
    }
}

/// Where a running epoch stands.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Images that an earlier process trained on.
    before: u64,
    /// Images trained on, those included.
    trained: u64,
    validated: u64,
    running: Option<(f64, f64)>,
    train_seconds: f64,
}

/// The running epoch.
#[derive(Debug)]
struct Epoch {
    number: u64,
    started: Instant,
    position: Position,
}

/// Shows a run. It is told what happens and never decides anything.
pub struct Progress {
    style: Style,
    results: Box<dyn Write + Send>,
    log: Box<dyn Write + Send>,
    bar: ProgressBar,
    plan: Option<Plan>,
    epoch: Option<Epoch>,
    transfer: Option<Transfer>,
    shown: Instant,
    fault: Option<io::Error>,
}

impl Progress {
    /// Results go to stdout and progress to stderr.
    #[must_use]
    pub fn new(style: Style) -> Self {
        let progress = Self::to_streams(style, Box::new(io::stdout()), Box::new(io::stderr()));
        if style == Style::Bar {
            progress.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        progress
    }

    /// Results and progress go to streams of the caller's; a bar is then not drawn.
    #[must_use]
    pub fn to_streams(
        style: Style,
        results: Box<dyn Write + Send>,
        log: Box<dyn Write + Send>,
    ) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(bar_style(EPOCH_BAR));
        // Between epochs there is nothing to draw.
        bar.finish_and_clear();
        let shown = Instant::now();
        Self {
            style,
            results,
            log,
            bar,
            plan: None,
            epoch: None,
            transfer: None,
            shown,
            fault: None,
        }
    }

    /// The run begins.
    pub fn started(&mut self, plan: &Plan) {
        self.event(&Event::Start(plan));
        if self.shows_progress() {
            self.log_line(&format::plan_text(plan));
            self.log_line(&format::row_heading());
        }
        self.plan = Some(plan.clone());
    }

    /// An epoch begins, `number` counted from 1, or goes on after `before` of its images.
    pub fn epoch_started(&mut self, number: u64, before: u64) {
        let position =
            Position { before, trained: before, validated: 0, running: None, train_seconds: 0.0 };
        self.epoch = Some(Epoch { number, started: Instant::now(), position });
        self.bar.reset();
        self.show();
    }

    /// Whether [`Progress::trained`] or [`Progress::validated`] would now show something. A
    /// trainer asks first, since reading a loss from a device may make it wait.
    #[must_use]
    pub fn is_due(&self) -> bool {
        match self.style {
            Style::Bar => self.shown.elapsed() >= BAR_INTERVAL,
            Style::Lines => self.shown.elapsed() >= HEARTBEAT,
            Style::Quiet | Style::Json => false,
        }
    }

    /// So many images of the epoch have been trained on, with this mean loss and accuracy.
    pub fn trained(&mut self, images: u64, loss: f64, accuracy: f64) {
        if let Some(epoch) = &mut self.epoch {
            let train_seconds = epoch.started.elapsed().as_secs_f64();
            let running = Some((loss, accuracy));
            let before = epoch.position.before;
            epoch.position =
                Position { before, trained: images, validated: 0, running, train_seconds };
        }
        self.show_if_due();
    }

    /// Training of the epoch is over, and so many images have been validated.
    pub fn validated(&mut self, images: u64) {
        if let (Some(epoch), Some(plan)) = (&mut self.epoch, &self.plan) {
            epoch.position.trained = plan.train_images;
            epoch.position.validated = images;
        }
        self.show_if_due();
    }

    /// An epoch ended: its row, whether it is the best so far, and whether the learning rate
    /// of the next one is lower.
    pub fn epoch_ended(&mut self, row: &HistoryRow, best: bool, learning_rate_lowered: bool) {
        self.bar.finish_and_clear();
        self.event(&Event::Epoch { row, best, learning_rate_lowered });
        if self.shows_progress() {
            self.log_line(&format::row(row, best, learning_rate_lowered));
        }
        self.epoch = None;
        self.shown = Instant::now();
    }

    /// Training ended after so many epochs, of which one was the best.
    pub fn stopped(&mut self, reason: StopReason, epochs: u64, best_epoch: Option<u64>) {
        // A signal may have ended the run inside an epoch.
        self.bar.finish_and_clear();
        if self.shows_progress() {
            self.log_line(&format::stop_text(reason, epochs, best_epoch));
        }
    }

    /// The run is over; its results are shown.
    ///
    /// # Errors
    /// [`Error::Storage`] if results could not be written, a closed pipe excepted.
    pub fn ended(&mut self, summary: &Summary) -> Result<()> {
        if self.style == Style::Json {
            self.event(&Event::End(summary));
            return self.take_fault();
        }
        let text = summary.evaluation.as_ref().map(evaluation_text).unwrap_or_default();
        let next = format::next_text(summary);
        self.results(&format!("{text}Run folder: {}{next}", format::shown(&summary.run)))
    }

    /// Says something that is neither a result nor an error.
    pub fn note(&mut self, text: &str) {
        if self.style != Style::Quiet {
            self.log_line(&plain(text));
        }
    }

    /// Says that something went wrong that does not end the run.
    pub fn warn(&mut self, text: &str) {
        self.log_line(&format!("warning: {}", plain(text)));
    }

    /// Writes a result to stdout, and a line feed.
    ///
    /// # Errors
    /// [`Error::Storage`] if results could not be written, a closed pipe excepted.
    pub fn results(&mut self, text: &str) -> Result<()> {
        self.result_line(text);
        self.take_fault()
    }

    fn shows_progress(&self) -> bool {
        matches!(self.style, Style::Bar | Style::Lines)
    }

    fn event(&mut self, event: &Event<'_>) {
        if self.style == Style::Json {
            let line = serde_json::to_string(event).expect("events are plain values");
            self.result_line(&line);
        }
    }

    fn show_if_due(&mut self) {
        if self.is_due() {
            self.show();
        }
    }

    fn show(&mut self) {
        let (Some(plan), Some(epoch)) = (&self.plan, &self.epoch) else { return };
        let estimate =
            format::Estimate::new(plan, epoch.number, &epoch.position, epoch.started.elapsed());
        let prefix = format!("{:>5}/{}", epoch.number, plan.epochs);
        let message = format::position_text(&epoch.position, &estimate);
        let has_begun = epoch.position.trained > epoch.position.before;
        match self.style {
            Style::Bar => {
                self.bar.set_length(estimate.total_work);
                self.bar.set_prefix(prefix);
                self.bar.set_message(message);
                self.bar.set_position(estimate.work_done);
            }
            Style::Lines if has_begun => {
                self.log_line(&format!("{prefix}  {}% {message}", estimate.percent()));
            }
            Style::Lines | Style::Quiet | Style::Json => return,
        }
        self.shown = Instant::now();
    }

    /// Progress that nobody can see is not worth an error.
    fn log_line(&mut self, text: &str) {
        let log = &mut self.log;
        self.bar.suspend(|| {
            let _ = writeln!(log, "{text}").and_then(|()| log.flush());
        });
    }

    fn result_line(&mut self, text: &str) {
        let results = &mut self.results;
        let written =
            self.bar.suspend(|| writeln!(results, "{text}").and_then(|()| results.flush()));
        match written {
            Err(fault) if fault.kind() != io::ErrorKind::BrokenPipe => self.fault = Some(fault),
            _ => {}
        }
    }

    fn take_fault(&mut self) -> Result<()> {
        match self.fault.take() {
            Some(fault) => Err(Error::Storage(format!("cannot write to standard output: {fault}"))),
            None => Ok(()),
        }
    }
}

fn bar_style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    style.progress_chars("#>-")
}
