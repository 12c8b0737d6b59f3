//! `confusion_matrix.png` and `confusion_matrix_normalized.png`: what was taken for what.

use plotters::style::RGBColor;

use super::canvas::{Align, Area, Canvas, Font};
use super::style::{
    BELOW_HEADING, BODY, INK, MARGIN, RULE, SMALL, count, counted, heading, percent,
};
use crate::metrics::Evaluation;

/// Room for the matrix; its side is the largest multiple of the number of classes.
const SIDE: f64 = 1180.0;
/// The longest a class's name may become.
const LONGEST_NAME: f64 = 230.0;
/// More classes have cells that are too small for numbers.
const MOST_NUMBERED: usize = 25;
/// The bar that explains the colours: its distance and its width.
const BAR: (f64, f64) = (50.0, 34.0);
/// The least size of letters, in pixels an em.
const LEAST_EM: f64 = 16.0;
const WHITE: RGBColor = RGBColor(255, 255, 255);

/// Draws how many images of each class (rows) were taken for each class (columns).
#[must_use]
pub fn confusion_matrix(evaluation: &Evaluation) -> Vec<u8> {
    let cell = |&number: &usize| Cell { value: number as f64, text: count(number) };
    let rows = evaluation.confusion.iter().map(|row| row.iter().map(cell).collect());
    let rows: Vec<Vec<Cell>> = rows.collect();
    let largest = rows.iter().flatten().map(|cell| cell.value).fold(1.0, f64::max);
    Matrix { title: "Confusion matrix", rows, largest, unit: "images" }.draw(evaluation)
}

/// Draws which part of each class's images (rows, in percent) was taken for each class (columns).
#[must_use]
pub fn confusion_matrix_normalized(evaluation: &Evaluation) -> Vec<u8> {
    let rows = evaluation.confusion.iter().map(|row| {
        let images = row.iter().sum::<usize>().max(1) as f64;
        let cell = |&number: &usize| {
            let value = 100.0 * number as f64 / images;
            let text = if number == 0 { "0".into() } else { format!("{value:.1}") };
            Cell { value, text }
        };
        row.iter().map(cell).collect()
    });
    let title = "Confusion matrix, each row in percent";
    Matrix { title, rows: rows.collect(), largest: 100.0, unit: "% of the row" }.draw(evaluation)
}

struct Cell {
    value: f64,
    text: String,
}

struct Matrix {
    title: &'static str,
    rows: Vec<Vec<Cell>>,
    /// The value of the darkest colour.
    largest: f64,
    unit: &'static str,
}

impl Matrix {
    fn draw(&self, evaluation: &Evaluation) -> Vec<u8> {
        let classes = self.rows.len();
        let size = (SIDE / classes as f64).floor();
        let names = Names::new(&evaluation.classes, size);
        let area = Area::new(
            MARGIN + 70.0 + names.widest + 20.0,
            BELOW_HEADING,
            size * classes as f64,
            size * classes as f64,
        );
        let below = if names.lying_em.is_some() { names.em } else { names.widest };
        let numbers = SMALL.width(&count(self.largest as usize)).max(SMALL.width(self.unit));
        let width = area.right + BAR.0 + BAR.1 + 16.0 + numbers + MARGIN;
        let mut canvas = Canvas::new(width as usize, (area.bottom + 24.0 + below + 110.0) as usize);
        let line = format!(
            "Accuracy {} on {}; the colour grows with the square root of the number",
            percent(evaluation.accuracy, 2),
            counted(evaluation.images, "test image")
        );
        heading(&mut canvas, width, self.title, &line);
        self.draw_cells(&mut canvas, area, size);
        names.draw(&mut canvas, area, size);
        let (x, y) = (f64::midpoint(area.left, area.right), f64::midpoint(area.top, area.bottom));
        let bold = BODY.bold();
        canvas.text_upwards(MARGIN + 14.0, y, "true class", bold, Align::Middle);
        let y = area.bottom + 24.0 + below + 44.0;
        canvas.text(x, y, "predicted class", bold, Align::Middle);
        self.draw_colors(&mut canvas, area);
        canvas.into_png()
    }

    fn draw_cells(&self, canvas: &mut Canvas, area: Area, size: f64) {
        let cells = self.rows.iter().flatten();
        let font = BODY.colored(INK);
        let widest = cells.map(|cell| font.width(&cell.text)).fold(1.0, f64::max);
        // A number takes at most three quarters of its cell.
        let em = (font.em * 0.75 * size / widest).min(0.5 * size).min(36.0);
        let numbered = self.rows.len() <= MOST_NUMBERED && em >= LEAST_EM;
        // Lines between cells would hide small ones.
        let gap = if size >= 20.0 { 1.0 } else { 0.0 };
        for (row, cells) in self.rows.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                let left = area.left + column as f64 * size;
                let top = area.top + row as f64 * size;
                let share = (cell.value / self.largest).sqrt();
                canvas.fill(Area::new(left, top, size - gap, size - gap), shade(share));
                if numbered {
                    let color = match cell.value {
                        0.0 => RULE,
                        _ if share > 0.5 => WHITE,
                        _ => INK,
                    };
                    let font = Font { em, bold: row == column, color };
                    let (x, y) = (left + size / 2.0, top + size / 2.0);
                    canvas.text(x, y, &cell.text, font, Align::Middle);
                }
            }
        }
        canvas.frame(area.grown(2.0), 2.0, RULE);
    }

    /// The bar that explains the colours.
    fn draw_colors(&self, canvas: &mut Canvas, area: Area) {
        let height = (area.bottom - area.top).min(700.0);
        let bar = Area::new(area.right + BAR.0, area.top, BAR.1, height);
        for line in 0..height as usize {
            let y = bar.top + line as f64;
            let share = 1.0 - line as f64 / height;
            canvas.fill(Area { top: y, bottom: y + 1.0, ..bar }, shade(share));
        }
        canvas.frame(bar, 2.0, RULE);
        let place = |value: f64| bar.bottom - (value / self.largest).sqrt() * height;
        for value in self.color_values(place) {
            let y = place(value);
            canvas.fill(Area::new(bar.right, y - 1.0, 8.0, 2.0), RULE);
            canvas.text(bar.right + 16.0, y, &count(value as usize), SMALL, Align::Start);
        }
        canvas.text(bar.left, bar.bottom + 40.0, self.unit, SMALL, Align::Start);
    }

    /// The greatest value, round ones below it as far apart as their texts are high, and 0.
    fn color_values(&self, place: impl Fn(f64) -> f64) -> Vec<f64> {
        const DISTANCE: f64 = 44.0;
        let powers = (0..18).rev().map(|exponent| 10f64.powi(exponent));
        let round = powers.flat_map(|power| [5.0 * power, 2.0 * power, power]);
        let mut values = vec![self.largest];
        for value in round.filter(|&value| value < self.largest) {
            let above = values[values.len() - 1];
            if place(value) - place(above) >= DISTANCE && place(0.0) - place(value) >= DISTANCE {
                values.push(value);
            }
        }
        values.push(0.0);
        values
    }
}

/// The classes' names beside the rows and below the columns.
struct Names {
    /// By class number; empty where there is no room for it.
    texts: Vec<String>,
    em: f64,
    /// The length of the longest.
    widest: f64,
    /// The size below the columns, if names are short enough to lie there.
    lying_em: Option<f64>,
}

impl Names {
    fn new(classes: &[String], size: f64) -> Self {
        let em = (0.7 * size).clamp(LEAST_EM, BODY.em);
        let font = Font { em, ..BODY };
        // Every n-th name where rows are lower than letters.
        let every = (1.2 * em / size).ceil().max(1.0) as usize;
        let mut texts: Vec<String> =
            classes.iter().map(|name| font.fit(name, LONGEST_NAME)).collect();
        for (class, text) in texts.iter_mut().enumerate() {
            if class % every != 0 {
                text.clear();
            }
        }
        let widest = texts.iter().map(|text| font.width(text)).fold(0.0, f64::max);
        let lying_em = em.min(em * (size - 12.0) / widest.max(1.0));
        let lying_em = (lying_em >= 0.75 * em).then_some(lying_em);
        Self { texts, em, widest, lying_em }
    }

    fn draw(&self, canvas: &mut Canvas, area: Area, size: f64) {
        let font = Font { em: self.em, ..BODY };
        for (class, text) in self.texts.iter().enumerate() {
            let middle = (class as f64 + 0.5) * size;
            canvas.text(area.left - 20.0, area.top + middle, text, font, Align::End);
            let x = area.left + middle;
            if let Some(em) = self.lying_em {
                let y = area.bottom + 20.0 + em / 2.0;
                canvas.text(x, y, text, Font { em, ..font }, Align::Middle);
            } else {
                canvas.text_upwards(x, area.bottom + 20.0, text, font, Align::End);
            }
        }
    }
}

/// From nearly white over blue to nearly black.
fn shade(share: f64) -> RGBColor {
    const COLORS: [[f64; 3]; 4] =
        [[232.0, 241.0, 249.0], [158.0, 202.0, 225.0], [33.0, 113.0, 181.0], [8.0, 40.0, 90.0]];
    if share <= 0.0 {
        return RGBColor(248, 249, 250);
    }
    let place = share.min(1.0) * 3.0;
    let index = (place as usize).min(2);
    let part = place - index as f64;
    let mix = |channel: usize| {
        let (from, to) = (COLORS[index][channel], COLORS[index + 1][channel]);
        (from + part * (to - from)).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}
