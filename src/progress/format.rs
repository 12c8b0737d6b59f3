//! Numbers and sentences of the terminal; every row fits a window of 80 columns.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Plan, Position, StopReason, Summary};
use crate::error::plain;
use crate::run_folder::HistoryRow;

/// What training on an image costs, with validating one as the unit: a backward pass is about
/// two forward passes.
const TRAIN_WORK: u64 = 3;

/// Where an epoch stands, and how long it and the run will still take.
#[derive(Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) work_done: u64,
    pub(super) total_work: u64,
    /// Training images per second; `None` before the first.
    images_per_second: Option<f64>,
    /// Seconds to the end of the epoch, and of the run if it takes all its epochs.
    remaining: Option<(f64, f64)>,
}

impl Estimate {
    pub(super) fn new(plan: &Plan, epoch: u64, position: &Position, elapsed: Duration) -> Self {
        let total_work = TRAIN_WORK * plan.train_images + plan.validation_images;
        let work_done = (TRAIN_WORK * position.trained + position.validated).min(total_work);
        let work_here = work_done.saturating_sub(TRAIN_WORK * position.before);
        let remaining = (work_here > 0).then(|| {
            let seconds_per_work = elapsed.as_secs_f64() / work_here as f64;
            let of_epoch = seconds_per_work * (total_work - work_done) as f64;
            let epochs_after = plan.epochs.saturating_sub(epoch) as f64;
            (of_epoch, of_epoch + epochs_after * seconds_per_work * total_work as f64)
        });
        let images_per_second = (position.train_seconds > 0.0)
            .then(|| (position.trained - position.before) as f64 / position.train_seconds);
        Self { work_done, total_work, images_per_second, remaining }
    }

    pub(super) fn percent(&self) -> u64 {
        100 * self.work_done / self.total_work.max(1)
    }
}

pub(super) fn position_text(position: &Position, estimate: &Estimate) -> String {
    let mut text = String::new();
    if let Some((loss, accuracy)) = position.running {
        let _ = write!(text, "loss {}  acc {:.1}%", number(loss), 100.0 * accuracy);
    }
    match estimate.images_per_second {
        _ if position.validated > 0 => text.push_str("  validating"),
        Some(rate) => drop(write!(text, "  {} img/s", whole(rate))),
        None => {}
    }
    if let Some((of_epoch, of_run)) = estimate.remaining {
        let _ = write!(text, "  {} left (run {})", duration(of_epoch), duration(of_run));
    }
    text
}

pub(super) fn plan_text(plan: &Plan) -> String {
    let Plan { recipe, seed, epochs, train_images, validation_images, .. } = plan;
    let goes_on = match plan.first_step {
        0 => String::new(),
        step => format!(", going on after step {step}"),
    };
    format!(
        "toile {} | {} threads, {} | recipe {recipe}, seed {seed}, at most {epochs} epoch{}\n\
         run   {}{goes_on}\n\
         data  {train_images} images to train on, {validation_images} to validate, {} classes\n\
         model {} parameters\n\n\
         {}\n\n\
         (* best val_loss so far, v learning rate lowered)",
        env!("CARGO_PKG_VERSION"),
        plan.threads,
        plan.isa,
        if *epochs == 1 { "" } else { "s" },
        shown(&plan.run),
        plan.classes.len(),
        plan.parameters,
        plan.network,
    )
}

pub(super) fn row_heading() -> String {
    columns(["epoch", "loss", "acc", "val_loss", "val_acc", "", "lr", "", "img/s", "time"])
}

pub(super) fn row(row: &HistoryRow, best: bool, learning_rate_lowered: bool) -> String {
    columns([
        &row.epoch.to_string(),
        &number(row.loss),
        &percentage(row.accuracy),
        &number(row.val_loss),
        &percentage(row.val_accuracy),
        if best { " *" } else { "" },
        &format!("{:.1e}", row.learning_rate),
        if learning_rate_lowered { " v" } else { "" },
        &whole(row.images_per_second),
        &duration(row.seconds),
    ])
}

fn columns(cells: [&str; 10]) -> String {
    let [epoch, loss, accuracy, val_loss, val_accuracy, best, rate, lowered, speed, time] = cells;
    let line = format!(
        "{epoch:>5} {loss:>8} {accuracy:>8} {val_loss:>9} {val_accuracy:>8}{best:<2} \
         {rate:>8}{lowered:<2} {speed:>8} {time:>7}"
    );
    line.trim_end().to_owned()
}

pub(super) fn stop_text(reason: StopReason, epochs: u64, best_epoch: Option<u64>) -> String {
    let best = best_epoch.map(|epoch| format!(" Best epoch: {epoch}.")).unwrap_or_default();
    match reason {
        StopReason::EpochLimit if epochs == 1 => format!("done: the one epoch trained.{best}"),
        StopReason::EpochLimit => format!("done: all {epochs} epochs trained.{best}"),
        StopReason::StepLimit => format!("done: the limit on steps is reached.{best}"),
        StopReason::EarlyStopping => {
            let waited = epochs - best_epoch.unwrap_or(0).min(epochs);
            format!(
                "stopped: val_loss has not improved for {waited} epochs.{best} \
                 Best weights restored."
            )
        }
        StopReason::Interrupted => {
            format!("interrupted in epoch {}; the run is saved.{best}", epochs + 1)
        }
        StopReason::Terminated => {
            format!("terminated in epoch {}; the run is saved.{best}", epochs + 1)
        }
    }
}

/// What to do after a run, each line after a line feed.
pub(super) fn next_text(summary: &Summary) -> String {
    let run = quoted(&summary.run);
    match summary.evaluation {
        Some(_) => format!("\nNext: {}", command("predict", &format!("--model {run} IMAGE..."))),
        None => format!("\nGo on with: {}", command("train", &format!("--resume {run}"))),
    }
}

/// A command line as the user would type it: cargo tells the programs that it runs of itself, and
/// else one program lies beside the other.
pub(super) fn command(program: &str, arguments: &str) -> String {
    if std::env::var_os("CARGO").is_some() {
        return format!("cargo run --release --bin {program} -- {arguments}");
    }
    let typed = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    format!("{} {arguments}", quoted(&typed.with_file_name(program)))
}

/// A path as a terminal may show it.
pub(super) fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

/// A path as a word of a command line.
pub(super) fn quoted(path: &Path) -> String {
    let text = shown(path);
    let is_word = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(is_word) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// At most 8 characters.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 999.9 { format!("{value:.4}") } else { format!("{value:.1e}") }
}

/// At most 8 characters.
fn whole(value: f64) -> String {
    if value.abs() < 1e7 { format!("{value:.0}") } else { format!("{value:.1e}") }
}

pub(super) fn percentage(fraction: f64) -> String {
    format!("{:.2}%", 100.0 * fraction)
}

/// Bytes in a unit that people read, such as `26.4 MB`; a megabyte has 1,000,000.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// At most 7 characters.
pub(super) fn duration(seconds: f64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    // A conversion from float saturates, and not a number becomes 0.
    let seconds = seconds.round() as u64;
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m {:02}s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{}h {:02}m", seconds / HOUR, seconds % HOUR / MINUTE),
        _ if seconds < 100 * DAY => format!("{}d {:02}h", seconds / DAY, seconds % DAY / HOUR),
        _ => ">99d".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            run: "runs/x".into(),
            recipe: "reference".into(),
            seed: 42,
            epochs: 10,
            first_step: 0,
            train_images: 1000,
            validation_images: 300,
            classes: vec!["a".into(), "b".into()],
            parameters: 7,
            network: "layers".into(),
            threads: 2,
            isa: "avx2".into(),
        }
    }

    fn position(trained: u64, validated: u64) -> Position {
        let running = Some((0.5, 0.25));
        Position { before: 0, trained, validated, running, train_seconds: 5.0 }
    }

    #[test]
    fn a_path_in_a_command_is_one_word_and_harmless() {
        for (path, expected) in [
            ("runs/fashion-mnist-quick-001", "runs/fashion-mnist-quick-001"),
            ("runs/two words", "'runs/two words'"),
            ("it's", r"'it'\''s'"),
            ("a\u{1b}[31m\nb", r"'a\u{1b}[31m\nb'"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }

    #[test]
    fn durations_read_like_a_clock() {
        for (seconds, expected) in [
            (0.0, "0s"),
            (59.4, "59s"),
            (59.6, "1m 00s"),
            (3599.0, "59m 59s"),
            (3600.0, "1h 00m"),
            (86_400.0 * 2.5, "2d 12h"),
            (1e300, ">99d"),
            (f64::NAN, "0s"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn bytes_are_counted_in_thousands() {
        for (count, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (29_515, "29.5 kB"),
            (26_421_880, "26.4 MB"),
            (2_000_000_000, "2.0 GB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn the_estimate_counts_validation_and_all_epochs_to_come() {
        // Work: 3 x 1000 + 300 = 3300 an epoch; half of training is 1500 in 15 s, so 33 s an epoch.
        let estimate = Estimate::new(&plan(), 3, &position(500, 0), Duration::from_secs(15));
        let (of_epoch, of_run) = estimate.remaining.unwrap();
        assert!((of_epoch - 18.0).abs() < 1e-9);
        assert!((of_run - (18.0 + 7.0 * 33.0)).abs() < 1e-9);
        assert_eq!(estimate.images_per_second, Some(100.0));
        assert_eq!(estimate.percent(), 45);
    }

    #[test]
    fn an_epoch_that_goes_on_is_estimated_by_what_was_done_here() {
        // 500 images in 15 s here, after 300 elsewhere: 200 and the validation are left.
        let position = Position { before: 300, ..position(800, 0) };
        let estimate = Estimate::new(&plan(), 3, &position, Duration::from_secs(15));
        let (of_epoch, _) = estimate.remaining.unwrap();
        assert!((of_epoch - 9.0).abs() < 1e-9);
        assert_eq!(estimate.images_per_second, Some(100.0));
        let begun = Position { trained: 300, ..position };
        assert_eq!(Estimate::new(&plan(), 3, &begun, Duration::ZERO).remaining, None);
    }

    #[test]
    fn nothing_is_estimated_from_nothing() {
        let estimate = Estimate::new(&plan(), 1, &position(0, 0), Duration::from_secs(15));
        assert_eq!(estimate.remaining, None);
        let empty = Plan { train_images: 0, validation_images: 0, ..plan() };
        assert_eq!(Estimate::new(&empty, 1, &position(9, 9), Duration::ZERO).percent(), 0);
        let last = Estimate::new(&plan(), 99, &position(1000, 300), Duration::from_secs(33));
        assert_eq!(last.remaining, Some((0.0, 0.0)));
    }

    #[test]
    fn rows_fit_the_window_whatever_happens() {
        assert!(row_heading().len() <= 80);
        for extreme in [0.0, 0.5, 999.99999, 1e9, 1e300, 1e-300, f64::INFINITY, f64::NAN] {
            let history = HistoryRow {
                epoch: 100_000,
                loss: extreme,
                accuracy: 1.0,
                val_loss: extreme,
                val_accuracy: 1.0,
                learning_rate: extreme,
                seconds: extreme,
                images_per_second: extreme,
            };
            let line = row(&history, true, true);
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
            let mut position = position(999, 0);
            position.running = Some((extreme, 1.0));
            let estimate = Estimate::new(&plan(), 1, &position, Duration::from_secs(86_000));
            let line = format!("100000/100000  99% {}", position_text(&position, &estimate));
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let history = HistoryRow {
            epoch: 31,
            loss: 0.1012,
            accuracy: 0.963,
            val_loss: 0.1998,
            val_accuracy: 0.934,
            learning_rate: 1e-4,
            seconds: 20.0,
            images_per_second: 2649.3,
        };
        let lines = [row_heading(), row(&history, true, true)];
        let expected = [
            "epoch     loss      acc  val_loss  val_acc         lr      img/s    time",
            "   31   0.1012   96.30%    0.1998   93.40% *   1.0e-4 v     2649     20s",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn it_is_said_why_a_run_stopped() {
        let text = stop_text(StopReason::EarlyStopping, 36, Some(26));
        assert!(text.contains("10 epochs") && text.contains("epoch: 26"), "{text}");
        let text = stop_text(StopReason::EpochLimit, 50, Some(44));
        assert!(text.contains("all 50 epochs"), "{text}");
    }
}
