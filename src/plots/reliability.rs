//! `reliability.png`: whether the model is right as often as it says, and how often it says so.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::canvas::{Align, Area, Canvas, Font};
use super::style::{
    BELOW_HEADING, BODY, GREY, GRID, INK, MARGIN, RULE, SMALL, TEST, WIDTH, WRONG, count, counted,
    heading, percent,
};
use crate::metrics::{Calibration, CalibrationBin};

const HEIGHT: usize = 1500;
const LEFT: f64 = 190.0;
const RIGHT: f64 = WIDTH as f64 - 400.0;
/// Top and bottom of the panels.
const ACCURACY: (f64, f64) = (BELOW_HEADING + 30.0, 1010.0);
const COUNTS: (f64, f64) = (1090.0, 1330.0);
/// What stays free between neighbouring bars.
const GAP: f64 = 6.0;
/// What answers are less often right than the model says.
const TOO_SURE: RGBColor = RGBColor(246, 205, 205);
/// What they are more often right: still right answers, so still green.
const NOT_SURE_ENOUGH: RGBColor = RGBColor(126, 200, 176);
/// The thickness of the lines on bars.
const LINE: f64 = 4.0;

/// Draws accuracy and number of the answers in each bin of confidence. Where bars end on the
/// diagonal, the model is right as often as it says.
#[must_use]
pub fn reliability(calibration: &Calibration) -> Vec<u8> {
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    heading(&mut canvas, WIDTH as f64, "Reliability", &summary(calibration));
    let x = Axis::exact(0.0, 100.0, (LEFT, RIGHT), 5);
    let y = Axis::exact(0.0, 100.0, (ACCURACY.1, ACCURACY.0), 5);
    draw_grid(&mut canvas, x, y);
    for (bin, area) in columns(calibration, ACCURACY) {
        draw_accuracy(&mut canvas, bin, area, y);
    }
    let diagonal = [(LEFT, ACCURACY.1), (RIGHT, ACCURACY.0)];
    canvas.line(&diagonal, LINE / 2.0, GREY);
    draw_counts(&mut canvas, calibration);
    for panel in [ACCURACY, COUNTS] {
        canvas.fill(Area::new(LEFT, panel.1 - 1.0, RIGHT - LEFT, 2.0), RULE);
        canvas.fill(Area::new(LEFT - 1.0, panel.0, 2.0, panel.1 - panel.0), RULE);
    }
    draw_key(&mut canvas);
    canvas.into_png()
}

/// The line below the title.
fn summary(calibration: &Calibration) -> String {
    let total = calibration.total();
    format!(
        "{}: {} right, mean confidence {}; expected calibration error {} in {} bins",
        counted(total.images, "test image"),
        percent(total.accuracy(), 2),
        percent(total.confidence(), 2),
        percent(calibration.error(), 2),
        calibration.bins().len(),
    )
}

/// The bins and their columns in a panel.
fn columns(
    calibration: &Calibration,
    (top, bottom): (f64, f64),
) -> impl Iterator<Item = (&CalibrationBin, Area)> {
    let bins = calibration.bins();
    let width = (RIGHT - LEFT) / bins.len() as f64;
    bins.iter().enumerate().map(move |(place, bin)| {
        let left = LEFT + place as f64 * width + GAP / 2.0;
        (bin, Area::new(left, top, width - GAP, bottom - top))
    })
}

/// The lines behind the accuracies, and what is written along both panels.
fn draw_grid(canvas: &mut Canvas, x: Axis, y: Axis) {
    for (value, text) in y.ticks() {
        let y = y.place(value);
        canvas.fill(Area::new(LEFT, y - 1.0, RIGHT - LEFT, 2.0), GRID);
        canvas.text(LEFT - 18.0, y, &text, SMALL, Align::End);
    }
    for (value, text) in x.ticks() {
        for (_, bottom) in [ACCURACY, COUNTS] {
            canvas.fill(Area::new(x.place(value) - 1.0, bottom, 2.0, 10.0), RULE);
            canvas.text(x.place(value), bottom + 32.0, &text, SMALL, Align::Middle);
        }
    }
    for (title, (top, bottom)) in [("right answers (%)", ACCURACY), ("images", COUNTS)] {
        let middle = f64::midpoint(top, bottom);
        canvas.text_upwards(MARGIN + 10.0, middle, title, BODY, Align::Middle);
    }
    let middle = f64::midpoint(LEFT, RIGHT);
    let title = "confidence: probability of the answer (%)";
    canvas.text(middle, COUNTS.1 + 82.0, title, BODY, Align::Middle);
}

/// A bin's accuracy, the gap to its mean confidence, and the accuracy's interval.
fn draw_accuracy(canvas: &mut Canvas, bin: &CalibrationBin, column: Area, y: Axis) {
    if bin.images == 0 {
        return;
    }
    let place = |fraction: f64| y.place(100.0 * fraction);
    let (accuracy, confidence) = (place(bin.accuracy()), place(bin.confidence()));
    canvas.fill(Area { top: accuracy, ..column }, TEST);
    let color = if bin.accuracy() < bin.confidence() { TOO_SURE } else { NOT_SURE_ENOUGH };
    let (top, bottom) = (accuracy.min(confidence), accuracy.max(confidence));
    canvas.fill(Area { top, bottom, ..column }, color);
    draw_mark(canvas, column, confidence, WRONG);
    let [low, high] = bin.accuracy_interval().map(place);
    let x = f64::midpoint(column.left, column.right);
    draw_interval(canvas, x, high, low);
}

fn draw_interval(canvas: &mut Canvas, x: f64, top: f64, bottom: f64) {
    canvas.fill(Area::new(x - 1.0, top, 2.0, bottom - top), INK);
    for y in [top, bottom] {
        canvas.fill(Area::new(x - 8.0, y - 1.0, 16.0, 2.0), INK);
    }
}

/// A line across a column.
fn draw_mark(canvas: &mut Canvas, column: Area, y: f64, color: RGBColor) {
    canvas.fill(Area { top: y - LINE / 2.0, bottom: y + LINE / 2.0, ..column }, color);
}

/// How many answers each bin has.
fn draw_counts(canvas: &mut Canvas, calibration: &Calibration) {
    // Above the highest bar there is room for its number.
    let top = COUNTS.0 + 1.6 * SMALL.em;
    let largest = calibration.bins().iter().map(|bin| bin.images).max().unwrap_or(0).max(1);
    for (bin, column) in columns(calibration, (top, COUNTS.1)) {
        let height = (column.bottom - column.top) * bin.images as f64 / largest as f64;
        let bar = Area { top: column.bottom - height, ..column };
        canvas.fill(bar, GREY);
        let text = count(bin.images);
        let room = (column.right - column.left) / SMALL.width(&text);
        let font = Font { em: SMALL.em * room.min(1.0), color: INK, ..SMALL };
        let x = f64::midpoint(column.left, column.right);
        canvas.text(x, bar.top - 0.8 * SMALL.em, &text, font, Align::Middle);
    }
}

/// What the signs mean.
fn draw_key(canvas: &mut Canvas) {
    const ROW: f64 = 76.0;
    let sample = |row: usize| Area::new(RIGHT + 40.0, ACCURACY.0 + row as f64 * ROW, 44.0, 44.0);
    let texts = [
        ["right answers", "of the bin"],
        ["mean confidence", "of the bin"],
        ["less often right", "than it says"],
        ["more often right", "than it says"],
        ["95 % interval of", "right answers"],
        ["right as often", "as it says"],
    ];
    for (row, lines) in texts.iter().enumerate() {
        let area = sample(row);
        let (x, y) = (f64::midpoint(area.left, area.right), f64::midpoint(area.top, area.bottom));
        match row {
            0 => canvas.fill(area, TEST),
            1 => draw_mark(canvas, area, y, WRONG),
            2 => canvas.fill(area, TOO_SURE),
            3 => canvas.fill(area, NOT_SURE_ENOUGH),
            4 => draw_interval(canvas, x, area.top, area.bottom),
            _ => {
                let ends = [(area.left, area.bottom), (area.right, area.top)];
                canvas.line(&ends, LINE / 2.0, GREY);
            }
        }
        for (line, text) in lines.iter().enumerate() {
            let y = area.top + 10.0 + 28.0 * line as f64;
            canvas.text(area.right + 18.0, y, text, SMALL, Align::Start);
        }
    }
}
