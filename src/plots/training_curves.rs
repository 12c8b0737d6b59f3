//! `training_curves.png`: loss, accuracy and learning rate over the epochs, and what happened.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::canvas::{Align, Area, Canvas, Font};
use super::style::{
    BELOW_HEADING, BODY, GREY, GRID, INK, MARGIN, RULE, SMALL, TRAINING, VALIDATION, WIDTH,
    counted, heading, percent, short,
};
use crate::progress::StopReason;
use crate::run_folder::HistoryRow;

const HEIGHT: usize = 1500;
const LEFT: f64 = 190.0;
const RIGHT: f64 = WIDTH as f64 - 320.0;
/// Of each panel, from top to bottom.
const LOSS: (f64, f64) = (BELOW_HEADING + 90.0, 740.0);
const ACCURACY: (f64, f64) = (790.0, 1150.0);
const RATE: (f64, f64) = (1200.0, 1330.0);
/// Up to so many epochs are points on the line.
const MOST_POINTS: usize = 30;
/// Up to so many learning rates are marked one by one.
const MOST_RATES: usize = 8;
/// More epochs have thinner lines.
const CROWDED: usize = 200;
const LINE: f64 = 4.0;

/// What the rows of a history do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The epoch whose weights were kept, counted from 1, where the best ones are.
    pub best_epoch: Option<u64>,
    /// Why training ended.
    pub stop: StopReason,
    /// Whether the learning rate falls on plateaus alone, and no schedule lowers it.
    pub falls_on_plateaus: bool,
}

/// Draws loss, accuracy and learning rate over the epochs. `rows` are in the order of their
/// epochs, of which a run has less than 2^32; losses of any size are shown.
#[must_use]
pub fn training_curves(rows: &[HistoryRow], marks: &Marks) -> Vec<u8> {
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    heading(&mut canvas, WIDTH as f64, "Training curves", &summary(rows, marks));
    let epochs: Vec<f64> = rows.iter().map(|row| row.epoch as f64).collect();
    let first = epochs.first().copied().unwrap_or(1.0);
    let last = epochs.last().copied().unwrap_or(1.0).max(first);
    let x = Axis::exact(first - 0.5, last + 0.5, (LEFT, RIGHT), 12);

    let values = |value: fn(&HistoryRow) -> f64| rows.iter().map(value).collect::<Vec<_>>();
    let losses = [values(|row| row.loss), values(|row| row.val_loss)];
    let y = Axis::fitting(&losses.concat(), (LOSS.1, LOSS.0), 6);
    let unit = if y.is_logarithmic() { "loss (nats, logarithmic)" } else { "loss (nats)" };
    let loss = Panel { x, y, top: LOSS.0, bottom: LOSS.1 };
    let accuracies = [values(|row| 100.0 * row.accuracy), values(|row| 100.0 * row.val_accuracy)];
    let y = Axis::linear(&accuracies.concat(), (ACCURACY.1, ACCURACY.0), 5);
    let accuracy = Panel { x, y, top: ACCURACY.0, bottom: ACCURACY.1 };
    let rates = values(|row| row.learning_rate);
    let y = Axis::logarithmic(&rates, (RATE.1, RATE.0), 2);
    let rate = Panel { x, y, top: RATE.0, bottom: RATE.1 };

    loss.draw(&mut canvas, unit, loss.y.ticks());
    accuracy.draw(&mut canvas, "accuracy (%)", accuracy.y.ticks());
    rate.draw(&mut canvas, "", rate_ticks(&rates).unwrap_or_else(|| rate.y.ticks()));
    for panel in [&loss, &accuracy, &rate] {
        panel.draw_events(&mut canvas, rows, marks);
    }
    draw_labels(&mut canvas, &event_labels(x, rows, marks));
    for (panel, [training, validation]) in [(&loss, &losses), (&accuracy, &accuracies)] {
        panel.draw_curve(&mut canvas, &epochs, training, TRAINING);
        panel.draw_curve(&mut canvas, &epochs, validation, VALIDATION);
        panel.draw_best(&mut canvas, &epochs, validation, marks);
    }
    loss.draw_names(&mut canvas, &losses, loss_text);
    accuracy.draw_names(&mut canvas, &accuracies, |value| format!("{value:.2} %"));
    draw_rates(&mut canvas, &rate, rows);
    draw_epochs(&mut canvas, x, first, last);
    canvas.into_png()
}

/// The line below the title.
fn summary(rows: &[HistoryRow], marks: &Marks) -> String {
    let epochs = counted(rows.len(), "epoch");
    let best = rows.iter().find(|row| Some(row.epoch) == marks.best_epoch);
    let (what, when, row) = match (best, rows.last()) {
        (Some(best), _) => ("best validation loss", format!("epoch {}", best.epoch), best),
        (None, Some(last)) => ("validation loss", "the last".to_owned(), last),
        (None, None) => return epochs,
    };
    format!(
        "{epochs}; {what} {} after {when}, with {} of the validation images recognised",
        loss_text(row.val_loss),
        percent(row.val_accuracy, 2)
    )
}

/// A loss, of common size with as many decimals as any other, so that two can be compared.
fn loss_text(loss: f64) -> String {
    if (1e-3..10.0).contains(&loss) { format!("{loss:.3}") } else { short(loss) }
}

/// One of the diagrams, which lie above each other.
struct Panel {
    x: Axis,
    y: Axis,
    top: f64,
    bottom: f64,
}

impl Panel {
    /// The grid, the axis at the left and its title.
    fn draw(&self, canvas: &mut Canvas, title: &str, ticks: Vec<(f64, String)>) {
        let mut written: Vec<f64> = Vec::new();
        for (value, text) in ticks {
            let y = self.y.place(value);
            if written.iter().any(|other| (other - y).abs() < 1.3 * SMALL.em) {
                continue;
            }
            written.push(y);
            canvas.fill(Area::new(LEFT, y - 1.0, RIGHT - LEFT, 2.0), GRID);
            canvas.text(LEFT - 18.0, y, &text, SMALL, Align::End);
        }
        canvas.fill(Area::new(LEFT, self.bottom - 1.0, RIGHT - LEFT, 2.0), RULE);
        canvas.fill(Area::new(LEFT - 1.0, self.top, 2.0, self.bottom - self.top), RULE);
        let middle = (self.top + self.bottom) / 2.0;
        canvas.text_upwards(MARGIN + 10.0, middle, title, BODY, Align::Middle);
    }

    /// Vertical lines where the learning rate fell, at the best epoch and at the end.
    fn draw_events(&self, canvas: &mut Canvas, rows: &[HistoryRow], marks: &Marks) {
        let mut line = |epoch: f64, color| {
            canvas.dashes(self.x.place(epoch), self.top, self.bottom, 2.0, color);
        };
        for (epoch, _) in drops(rows, marks) {
            line(epoch, RULE);
        }
        if let Some(epoch) = best_epoch(rows, marks) {
            line(epoch, VALIDATION);
        }
        let height = self.bottom - self.top;
        canvas.fill(Area::new(RIGHT - 1.0, self.top, 2.0, height), INK);
    }

    fn draw_curve(&self, canvas: &mut Canvas, epochs: &[f64], values: &[f64], color: RGBColor) {
        let finite = epochs.iter().zip(values).filter(|(_, value)| value.is_finite());
        let points: Vec<(f64, f64)> =
            finite.map(|(&epoch, &value)| (self.x.place(epoch), self.y.place(value))).collect();
        let width = if points.len() > CROWDED { LINE / 2.0 } else { LINE };
        canvas.line(&points, width, color);
        if points.len() <= MOST_POINTS {
            for &(x, y) in &points {
                canvas.disc(x, y, 7.0, color);
            }
        }
    }

    /// A ring around the best epoch.
    fn draw_best(&self, canvas: &mut Canvas, epochs: &[f64], values: &[f64], marks: &Marks) {
        let is_best = |&(epoch, _): &(&f64, &f64)| Some(*epoch as u64) == marks.best_epoch;
        if let Some((&epoch, &value)) = epochs.iter().zip(values).find(is_best) {
            let (x, y) = (self.x.place(epoch), self.y.place(value));
            canvas.disc(x, y, 12.0, VALIDATION);
            canvas.disc(x, y, 7.0, RGBColor(255, 255, 255));
        }
    }

    /// Names both curves where they end, one above the other.
    fn draw_names(&self, canvas: &mut Canvas, values: &[Vec<f64>; 2], written: fn(f64) -> String) {
        const DISTANCE: f64 = 38.0;
        let ends = [values[0].last(), values[1].last()];
        let [Some(&training), Some(&validation)] = ends else { return };
        let mut names = [(training, "training", TRAINING), (validation, "validation", VALIDATION)];
        names.sort_by(|a, b| b.0.total_cmp(&a.0));
        let places = names.map(|(value, _, _)| self.y.place(value));
        // Where they would collide they move apart from their middle, inside the panel.
        let half = DISTANCE.max(places[1] - places[0]) / 2.0;
        let middle = f64::midpoint(places[0], places[1]);
        let middle = middle.clamp(self.top + half, self.bottom - half);
        for ((value, name, color), y) in names.into_iter().zip([middle - half, middle + half]) {
            let x = RIGHT + 22.0;
            canvas.text(x, y, name, BODY.colored(color).bold(), Align::Start);
            let x = x + BODY.bold().width("validation ") + 6.0;
            canvas.text(x, y, &written(value), BODY.colored(color), Align::Start);
        }
    }
}

/// Where the learning rate fell on a plateau, between two epochs, and by which factor; none if that
/// was too often to tell them apart.
fn drops(rows: &[HistoryRow], marks: &Marks) -> Vec<(f64, f64)> {
    if !marks.falls_on_plateaus {
        return Vec::new();
    }
    let fell = |pair: &[HistoryRow]| {
        let factor = pair[1].learning_rate / pair[0].learning_rate;
        (factor < 1.0).then_some((pair[1].epoch as f64 - 0.5, factor))
    };
    let drops: Vec<_> = rows.windows(2).filter_map(fell).collect();
    if drops.len() < MOST_RATES { drops } else { Vec::new() }
}

fn best_epoch(rows: &[HistoryRow], marks: &Marks) -> Option<f64> {
    rows.iter()
        .map(|row| row.epoch)
        .find(|&epoch| Some(epoch) == marks.best_epoch)
        .map(|e| e as f64)
}

/// A text above the panels and the place that it belongs to.
struct Label {
    x: f64,
    text: String,
    font: Font,
}

/// What happened, the most important first.
fn event_labels(x: Axis, rows: &[HistoryRow], marks: &Marks) -> Vec<Label> {
    let mut labels = Vec::new();
    if let Some(epoch) = best_epoch(rows, marks) {
        let font = SMALL.colored(VALIDATION).bold();
        labels.push(Label { x: x.place(epoch), text: format!("best: epoch {epoch}"), font });
    }
    if let Some(row) = rows.last() {
        let why = match marks.stop {
            StopReason::EpochLimit => "all epochs trained",
            StopReason::StepLimit => "step limit",
            StopReason::EarlyStopping => "early stopping",
            StopReason::Interrupted => "interrupted",
            StopReason::Terminated => "terminated",
        };
        let text = format!("{why}: epoch {}", row.epoch);
        labels.push(Label { x: RIGHT, text, font: SMALL.colored(INK).bold() });
    }
    for (epoch, factor) in drops(rows, marks) {
        let text = format!("rate × {}", short(factor));
        labels.push(Label { x: x.place(epoch), text, font: SMALL });
    }
    labels
}

/// Writes labels above the first panel, in the lowest of three rows where there is room.
fn draw_labels(canvas: &mut Canvas, labels: &[Label]) {
    const ROW: f64 = 36.0;
    const GAP: f64 = 24.0;
    let mut rows: [Vec<(f64, f64)>; 3] = Default::default();
    for label in labels {
        let width = label.font.width(&label.text);
        let most_right = WIDTH as f64 - MARGIN - width;
        let left = (label.x - width / 2.0).clamp(LEFT, most_right.max(LEFT));
        let is_free = |row: &Vec<(f64, f64)>| {
            row.iter().all(|&(from, to)| left > to + GAP || left + width < from - GAP)
        };
        if let Some(row) = rows.iter().position(is_free) {
            rows[row].push((left, left + width));
            let y = LOSS.0 - 24.0 - row as f64 * ROW;
            canvas.text(left, y, &label.text, label.font, Align::Start);
        }
    }
}

/// The rates themselves, where they are few; those that lie close to an earlier one are left
/// out when they are written.
fn rate_ticks(rates: &[f64]) -> Option<Vec<(f64, String)>> {
    let mut different = rates.to_vec();
    different.dedup();
    let ticks = different.iter().map(|&rate| (rate, short(rate)));
    (different.len() <= MOST_RATES).then(|| ticks.collect())
}

/// The learning rate as steps, and its last value.
fn draw_rates(canvas: &mut Canvas, panel: &Panel, rows: &[HistoryRow]) {
    let mut points = Vec::new();
    for row in rows.iter().filter(|row| row.learning_rate.is_finite()) {
        let y = panel.y.place(row.learning_rate);
        let epoch = row.epoch as f64;
        points.extend([(panel.x.place(epoch - 0.5), y), (panel.x.place(epoch + 0.5), y)]);
    }
    canvas.line(&points, LINE, GREY);
    if let Some(row) = rows.last() {
        let y = panel.y.place(row.learning_rate).min(RATE.1 - 36.0);
        let font = BODY.colored(GREY);
        canvas.text(RIGHT + 22.0, y, "learning rate", font.bold(), Align::Start);
        canvas.text(RIGHT + 22.0, y + 36.0, &short(row.learning_rate), font, Align::Start);
    }
}

/// The axis that all panels share, and what the two parts mean.
fn draw_epochs(canvas: &mut Canvas, x: Axis, first: f64, last: f64) {
    for (epoch, text) in x.ticks() {
        let whole = epoch.fract() == 0.0 && (first..=last).contains(&epoch);
        if whole {
            canvas.fill(Area::new(x.place(epoch) - 1.0, RATE.1, 2.0, 10.0), RULE);
            let text = text.split('.').next().unwrap_or_default();
            canvas.text(x.place(epoch), RATE.1 + 32.0, text, SMALL, Align::Middle);
        }
    }
    canvas.text((LEFT + RIGHT) / 2.0, RATE.1 + 78.0, "epoch", BODY, Align::Middle);
    let remark = "Training: while the weights change, with the recipe's dropout, augmentation and \
                  smoothed labels. Validation: after the epoch, without.";
    canvas.text(LEFT, RATE.1 + 130.0, remark, SMALL, Align::Start);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_common_size_have_equally_many_decimals() {
        let texts = [0.12, 0.1793, 2.31, 0.0004, 1e9].map(loss_text);
        assert_eq!(texts, ["0.120", "0.179", "2.310", "0.0004", "1e9"]);
    }
}
