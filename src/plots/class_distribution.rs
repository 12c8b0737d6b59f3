//! `class_distribution.png`: how many images each class has in each part of the data.

use plotters::style::RGBColor;

use super::canvas::{Align, Area, Canvas, Font};
use super::style::{
    BELOW_HEADING, BODY, INK, MARGIN, RULE, SMALL, TEST, TRAINING, VALIDATION, WIDTH, count,
    counted, heading,
};

/// The longest a class's name may become.
const LONGEST_NAME: f64 = 340.0;
/// The height that the rows of many classes share.
const ROWS_HEIGHT: f64 = 2000.0;
const ROW_HEIGHTS: (f64, f64) = (8.0, 72.0);
const LEAST_EM: f64 = 16.0;
/// Between the columns of the parts.
const GAP: f64 = 50.0;

/// Draws a row a class with a bar for each part: training, validation, test. Each part has its
/// own scale, which starts at zero.
///
/// # Panics
/// Panics unless each part has a count for each class.
#[must_use]
#[track_caller]
pub fn class_distribution(
    classes: &[String],
    training: &[usize],
    validation: &[usize],
    test: &[usize],
) -> Vec<u8> {
    let parts = [
        ("training", training, TRAINING),
        ("validation", validation, VALIDATION),
        ("test", test, TEST),
    ];
    for (name, counts, _) in parts {
        assert_eq!(counts.len(), classes.len(), "class_distribution: {name} counts and classes");
    }
    let row = (ROWS_HEIGHT / classes.len() as f64).clamp(ROW_HEIGHTS.0, ROW_HEIGHTS.1).floor();
    let top = BELOW_HEADING + 60.0;
    let height = top + row * classes.len() as f64 + MARGIN;
    let mut canvas = Canvas::new(WIDTH, height as usize);
    let line = format!("{}; each part on its own scale from zero", counted(classes.len(), "class"));
    heading(&mut canvas, WIDTH as f64, "Class distribution", &line);

    let font = Font { em: (0.62 * row).clamp(LEAST_EM, BODY.em), ..BODY };
    let names = draw_names(&mut canvas, classes, font, top, row);
    let left = MARGIN + names + 20.0;
    let width = (WIDTH as f64 - MARGIN - left - 2.0 * GAP) / 3.0;
    for (index, (name, counts, color)) in parts.into_iter().enumerate() {
        let area =
            Area::new(left + index as f64 * (width + GAP), top, width, row * classes.len() as f64);
        let title = format!("{name}: {}", counted(counts.iter().sum(), "image"));
        let title_font = BODY.bold().colored(color);
        let title = title_font.fit(&title, width + GAP - 10.0);
        canvas.text(area.left, top - 34.0, &title, title_font, Align::Start);
        draw_part(&mut canvas, area, counts, color, font);
    }
    canvas.into_png()
}

/// Writes the names, as many as there is room for, and returns the length of the longest.
fn draw_names(canvas: &mut Canvas, classes: &[String], font: Font, top: f64, row: f64) -> f64 {
    let every = (1.2 * font.em / row).ceil().max(1.0) as usize;
    let texts: Vec<String> =
        classes.iter().step_by(every).map(|name| font.fit(name, LONGEST_NAME)).collect();
    let widest = texts.iter().map(|text| font.width(text)).fold(0.0, f64::max);
    for (place, text) in texts.iter().enumerate() {
        let y = top + ((place * every) as f64 + 0.5) * row;
        canvas.text(MARGIN + widest, y, text, font, Align::End);
    }
    widest
}

/// The bars of one part, each with its number where rows are high enough.
fn draw_part(canvas: &mut Canvas, area: Area, counts: &[usize], color: RGBColor, font: Font) {
    let row = (area.bottom - area.top) / counts.len() as f64;
    let numbered = row >= 1.2 * font.em;
    let font = Font { em: font.em.min(SMALL.em), ..font }.colored(INK);
    let numbers: Vec<String> = counts.iter().map(|&number| count(number)).collect();
    let widest = numbers.iter().map(|text| font.width(text)).fold(0.0, f64::max);
    let room = area.right - area.left - if numbered { widest + 12.0 } else { 0.0 };
    let largest = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    for (class, (&number, text)) in counts.iter().zip(&numbers).enumerate() {
        let top = area.top + class as f64 * row;
        let length = room * number as f64 / largest;
        let bar = Area::new(area.left, top + 0.18 * row, length, 0.64 * row);
        canvas.fill(bar, color);
        if numbered {
            canvas.text(bar.right + 12.0, top + row / 2.0, text, font, Align::Start);
        }
    }
    if !numbered {
        let y = area.bottom + 24.0;
        canvas.text(area.left, y, "0", SMALL, Align::Start);
        canvas.text(area.left + room, y, &count(largest as usize), SMALL, Align::End);
    }
    canvas.fill(Area { left: area.left - 2.0, right: area.left, ..area }, RULE);
}
