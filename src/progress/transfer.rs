//! How a download looks.

use std::time::Instant;

use super::format::{bytes, duration};
use super::{BAR_INTERVAL, EPOCH_BAR, HEARTBEAT, Progress, Style, bar_style};
use crate::data::Reporter;

/// A file on its way here.
#[derive(Debug)]
pub(super) struct Transfer {
    file: String,
    started: Instant,
    shown: Instant,
    /// What was there at the start; it says nothing about the speed.
    held: u64,
    bytes: u64,
    total: Option<u64>,
}

impl Transfer {
    /// File and amount, then speed and remaining time as far as `seconds` since its start tell.
    fn text(&self, seconds: f64) -> String {
        let mut text = format!("{}: {}", self.file, bytes(self.bytes));
        if let Some(total) = self.total {
            text += &format!(" of {}", bytes(total));
        }
        let per_second = (self.bytes - self.held) as f64 / seconds.max(1e-3);
        if per_second >= 1.0 {
            text += &format!(", {}/s", bytes(per_second as u64));
            if let Some(total) = self.total {
                let remaining = total.saturating_sub(self.bytes) as f64 / per_second;
                text += &format!(", {} left", duration(remaining));
            }
        }
        text
    }
}

/// A bar or lines, as the style is; programs that want results only are spared it all.
impl Reporter for Progress {
    fn note(&mut self, text: &str) {
        if self.shows_progress() {
            self.log_line(text);
        }
    }

    fn transferred(&mut self, file: &str, bytes: u64, total: Option<u64>) {
        if !self.shows_progress() {
            return;
        }
        let now = Instant::now();
        let transfer = match &mut self.transfer {
            Some(transfer) if transfer.file == file => transfer,
            other => {
                self.bar.set_style(bar_style(match total {
                    Some(_) => "[{wide_bar}] {msg}",
                    None => "{spinner} {msg}",
                }));
                self.bar.reset();
                let file = file.to_owned();
                let (started, held) = (now, bytes);
                other.insert(Transfer { file, started, shown: now, held, bytes, total })
            }
        };
        // A mirror may begin again.
        transfer.held = transfer.held.min(bytes);
        (transfer.bytes, transfer.total) = (bytes, total);
        let interval = if self.style == Style::Bar { BAR_INTERVAL } else { HEARTBEAT };
        if transfer.shown.elapsed() < interval {
            return;
        }
        transfer.shown = now;
        let text = transfer.text(transfer.started.elapsed().as_secs_f64());
        if self.style == Style::Bar {
            self.bar.set_length(total.unwrap_or(0));
            self.bar.set_position(bytes);
            self.bar.set_message(text);
        } else {
            self.log_line(&text);
        }
    }

    fn transfer_ended(&mut self) {
        let Some(transfer) = self.transfer.take() else { return };
        self.bar.finish_and_clear();
        self.bar.set_style(bar_style(EPOCH_BAR));
        let received = bytes(transfer.bytes - transfer.held);
        let seconds = transfer.started.elapsed().as_secs_f64();
        self.log_line(&format!("{}: {received} in {}", transfer.file, duration(seconds)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_counts_what_came_since_the_start() {
        let now = Instant::now();
        let (held, bytes) = (500_000, 10_500_000);
        let transfer =
            |total| Transfer { file: "a.gz".into(), started: now, shown: now, held, bytes, total };
        let text = transfer(Some(25_500_000)).text(4.0);
        assert_eq!(text, "a.gz: 10.5 MB of 25.5 MB, 2.5 MB/s, 6s left");
        assert_eq!(transfer(None).text(4.0), "a.gz: 10.5 MB, 2.5 MB/s");
        let waiting = Transfer { held: bytes, ..transfer(Some(25_500_000)) };
        assert_eq!(waiting.text(9.0), "a.gz: 10.5 MB of 25.5 MB");
        // A mirror that sends more than it announced has nothing left.
        assert!(transfer(Some(1)).text(4.0).ends_with(", 0s left"));
    }
}
