//! What all pictures share: colours, sizes of letters, the heading, and how numbers are written.
//!
//! Colours are told apart by people who see no red or no green; where right and wrong matter, a
//! mark says it too. Letters stay readable at half size.

use plotters::style::RGBColor;

use super::canvas::{Align, Canvas, Font};

/// The width of most pictures: 20 cm at 230 pixels an inch.
pub const WIDTH: usize = 1800;
/// What stays free around everything.
pub const MARGIN: f64 = 60.0;
/// Where the part below the heading begins.
pub const BELOW_HEADING: f64 = 190.0;

/// Letters.
pub const INK: RGBColor = RGBColor(33, 37, 41);
/// Letters that matter less.
pub const GREY: RGBColor = RGBColor(95, 103, 112);
/// Axes and outlines.
pub const RULE: RGBColor = RGBColor(173, 181, 189);
/// Grids.
pub const GRID: RGBColor = RGBColor(228, 231, 235);
/// The training part.
pub const TRAINING: RGBColor = RGBColor(0, 101, 168);
/// The validation part.
pub const VALIDATION: RGBColor = RGBColor(213, 94, 0);
/// The test part.
pub const TEST: RGBColor = RGBColor(0, 140, 105);
/// A right answer.
pub const RIGHT: RGBColor = RGBColor(27, 133, 67);
/// A wrong answer.
pub const WRONG: RGBColor = RGBColor(200, 30, 40);

/// Names and other text of normal size.
pub const BODY: Font = Font::new(28.0, INK);
/// Numbers along axes, remarks.
pub const SMALL: Font = Font::new(24.0, GREY);

/// Writes a title, and one line below it.
pub fn heading(canvas: &mut Canvas, width: f64, title: &str, line: &str) {
    let room = width - 2.0 * MARGIN;
    let title_font = Font::new(42.0, INK).bold();
    canvas.text(MARGIN, 70.0, &title_font.fit(title, room), title_font, Align::Start);
    let line_font = BODY.colored(GREY);
    canvas.text(MARGIN, 128.0, &line_font.fit(line, room), line_font, Align::Start);
}

/// A count with its thousands set apart: `10,000`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 image`, `2 images`, `10 classes`.
pub fn counted(number: usize, thing: &str) -> String {
    let ending = match number {
        1 => "",
        _ if thing.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {thing}{ending}", count(number))
}

/// A fraction in percent with so many decimals: `93.4 %`.
pub fn percent(fraction: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", 100.0 * fraction)
}

/// A number with at most three digits that count: `0.0002`, `1.5e-7`. An exponent of three
/// digits leaves room for one, so that no number takes more than nine characters.
pub fn short(number: f64) -> String {
    if number != 0.0 && !(1e-99..1e99).contains(&number.abs()) {
        return format!("{number:.0e}");
    }
    let rounded: f64 = format!("{number:.2e}").parse().unwrap_or(number);
    let plain = rounded == 0.0 || (1e-4..1e5).contains(&rounded.abs());
    if plain { rounded.to_string() } else { format!("{rounded:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let counts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let numbers = [0.001 * 0.2, 0.001, 3e-7, 12.345, 1234.0, 1e9, 0.0].map(short);
        assert_eq!(numbers, ["0.0002", "0.001", "3e-7", "12.3", "1230", "1e9", "0"]);
        let extremes = [-1.634e-308, 1.79e308, -1.634e-98, f64::NAN].map(short);
        assert_eq!(extremes, ["-2e-308", "2e308", "-1.63e-98", "NaN"]);
        let things = [counted(1, "class"), counted(2, "class"), counted(0, "image")];
        assert_eq!(things, ["1 class", "2 classes", "0 images"]);
    }
}
