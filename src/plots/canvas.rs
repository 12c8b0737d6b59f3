//! A page to draw on, and the PNG that it becomes.
//!
//! plotters draws lines and discs, but puts their edges on whole pixels. So everything is drawn
//! larger than it will be seen and averaged at the end. Letters come straight from the font:
//! plotters would drop the space that each has at its left, and words would run together.
//! Lengths are pixels of the finished picture, from its upper left corner.

use std::sync::LazyLock;

use ab_glyph::{Font as _, FontRef, PxScale, ScaleFont, point};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::{Color, RGBColor, ShapeStyle};

/// Drawn pixels for each pixel of the picture, in each direction.
const OVERSAMPLING: usize = 2;
const SCALE: f64 = OVERSAMPLING as f64;

static REGULAR: LazyLock<FontRef<'static>> =
    LazyLock::new(|| embedded(include_bytes!("font/OpenSans-Regular.ttf")));
static SEMIBOLD: LazyLock<FontRef<'static>> =
    LazyLock::new(|| embedded(include_bytes!("font/OpenSans-Semibold.ttf")));
/// Half the height of a capital letter, in em.
const HALF_CAPITAL: f64 = 1462.0 / 2048.0 / 2.0;
/// Nobody reads more of a name, and measuring it must not take long.
const LONGEST_TEXT: usize = 200;

/// Drawing to memory has nothing that could fail.
const INFALLIBLE: &str = "memory takes any drawing";

fn embedded(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the embedded font is valid")
}

/// A rectangle with sides parallel to the page's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// The least x.
    pub left: f64,
    /// The least y.
    pub top: f64,
    /// The greatest x.
    pub right: f64,
    /// The greatest y.
    pub bottom: f64,
}

impl Area {
    /// From its upper left corner and its size.
    pub fn new(left: f64, top: f64, width: f64, height: f64) -> Self {
        Self { left, top, right: left + width, bottom: top + height }
    }

    /// The same area and `by` pixels more on each side.
    pub fn grown(self, by: f64) -> Self {
        Self::new(
            self.left - by,
            self.top - by,
            self.right - self.left + 2.0 * by,
            self.bottom - self.top + 2.0 * by,
        )
    }
}

/// Which point of a text its place means, in the direction of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Its start.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub struct Font {
    /// The size, in pixels an em.
    pub em: f64,
    /// Semibold instead of regular.
    pub bold: bool,
    /// The colour.
    pub color: RGBColor,
}

impl Font {
    /// The regular face.
    pub const fn new(em: f64, color: RGBColor) -> Self {
        Self { em, bold: false, color }
    }

    /// The same in semibold.
    pub const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    /// The same in another colour.
    pub const fn colored(self, color: RGBColor) -> Self {
        Self { color, ..self }
    }

    /// The length of a text.
    pub fn width(self, text: &str) -> f64 {
        self.walk(text, |_, _| ()) / SCALE
    }

    /// The text, or its beginning and end around an ellipsis so that it fits. Control
    /// characters become spaces.
    pub fn fit(self, text: &str, width: f64) -> String {
        let space = |c: char| if c.is_control() { ' ' } else { c };
        let letters: Vec<char> = text.chars().take(LONGEST_TEXT).map(space).collect();
        let whole: String = letters.iter().collect();
        if whole.len() == text.len() && self.width(&whole) <= width {
            return whole;
        }
        // Names of one family often differ only at their ends.
        let shortened = |kept: usize| {
            let (head, tail) = (kept - kept / 3, kept / 3);
            let head: String = letters[..head].iter().collect();
            let tail: String = letters[letters.len() - tail..].iter().collect();
            format!("{}…{}", head.trim_end(), tail.trim_start())
        };
        let mut fitting = (0..letters.len()).rev().map(shortened);
        fitting.find(|text| self.width(text) <= width).unwrap_or_default()
    }

    fn face(self) -> &'static FontRef<'static> {
        if self.bold { &SEMIBOLD } else { &REGULAR }
    }

    /// Calls `place` with each letter and where it begins, and returns where the text ends, in
    /// drawn pixels.
    fn walk(self, text: &str, mut place: impl FnMut(char, f64)) -> f64 {
        let face = self.face().as_scaled(self.scale());
        let mut end = 0.0;
        let mut before = None;
        for letter in text.chars() {
            let glyph = face.glyph_id(letter);
            if let Some(before) = before.replace(glyph) {
                end += f64::from(face.kern(before, glyph));
            }
            place(letter, end);
            end += f64::from(face.h_advance(glyph));
        }
        end
    }

    fn scale(self) -> PxScale {
        let face = self.face();
        let em = face.units_per_em().expect("the embedded font is valid");
        PxScale::from((self.em * SCALE) as f32 * face.height_unscaled() / em)
    }
}

/// A page in RGB, white at first.
pub struct Canvas {
    width: usize,
    height: usize,
    /// Rows of the enlarged page.
    bytes: Vec<u8>,
}

impl Canvas {
    /// A white page of so many pixels.
    pub fn new(width: usize, height: usize) -> Self {
        let bytes = vec![255; width * height * 3 * OVERSAMPLING * OVERSAMPLING];
        Self { width, height, bytes }
    }

    fn backend(&mut self) -> BitMapBackend<'_> {
        let size =
            (self.width as u32 * OVERSAMPLING as u32, self.height as u32 * OVERSAMPLING as u32);
        BitMapBackend::with_buffer(&mut self.bytes, size)
    }

    /// Fills a rectangle; one that is empty stays so.
    pub fn fill(&mut self, area: Area, color: RGBColor) {
        let (left, top) = pixel(area.left, area.top);
        let (right, bottom) = pixel(area.right, area.bottom);
        if left < right && top < bottom {
            let color = color.filled();
            let drawn = self.backend().draw_rect((left, top), (right, bottom), &color, true);
            drawn.expect(INFALLIBLE);
        }
    }

    /// Draws the outline of a rectangle, inside of it.
    pub fn frame(&mut self, area: Area, thickness: f64, color: RGBColor) {
        let Area { left, top, right, bottom } = area;
        self.fill(Area { bottom: top + thickness, ..area }, color);
        self.fill(Area { top: bottom - thickness, ..area }, color);
        self.fill(Area { right: left + thickness, ..area }, color);
        self.fill(Area { left: right - thickness, ..area }, color);
    }

    /// Joins points by a line with round ends and corners.
    pub fn line(&mut self, points: &[(f64, f64)], thickness: f64, color: RGBColor) {
        let width = (thickness * SCALE).round() as u32;
        let style = ShapeStyle { color: color.to_rgba(), filled: true, stroke_width: width };
        for ends in points.windows(2) {
            let ends = [pixel(ends[0].0, ends[0].1), pixel(ends[1].0, ends[1].1)];
            self.backend().draw_path(ends, &style).expect(INFALLIBLE);
        }
        for &(x, y) in points {
            self.disc(x, y, thickness / 2.0, color);
        }
    }

    /// Draws a dashed vertical line.
    pub fn dashes(&mut self, x: f64, top: f64, bottom: f64, thickness: f64, color: RGBColor) {
        const DASH: f64 = 10.0;
        let mut start = top;
        while start < bottom {
            let end = (start + DASH).min(bottom);
            self.fill(Area::new(x - thickness / 2.0, start, thickness, end - start), color);
            start += 2.0 * DASH;
        }
    }

    /// Fills a circle.
    pub fn disc(&mut self, x: f64, y: f64, radius: f64, color: RGBColor) {
        let radius = (radius * SCALE).round() as u32;
        let drawn = self.backend().draw_circle(pixel(x, y), radius, &color.filled(), true);
        drawn.expect(INFALLIBLE);
    }

    /// Writes a text from left to right; `y` is the middle of its capital letters.
    pub fn text(&mut self, x: f64, y: f64, text: &str, font: Font, align: Align) {
        let (x, y) = (x - before(align, font.width(text)), y + HALF_CAPITAL * font.em);
        self.letters((x, y), (1, 0), text, font);
    }

    /// Writes a text upwards; `x` is the middle of its capital letters.
    pub fn text_upwards(&mut self, x: f64, y: f64, text: &str, font: Font, align: Align) {
        let (x, y) = (x + HALF_CAPITAL * font.em, y + before(align, font.width(text)));
        self.letters((x, y), (0, -1), text, font);
    }

    /// Writes letters from a place on their base line on, in the direction `(cos, sin)`.
    fn letters(&mut self, from: (f64, f64), (cos, sin): (i32, i32), text: &str, font: Font) {
        let from = pixel(from.0, from.1);
        let size = (self.width * OVERSAMPLING, self.height * OVERSAMPLING);
        let is_inside =
            |(x, y): (i32, i32)| (0..size.0 as i32).contains(&x) && (0..size.1 as i32).contains(&y);
        let mut backend = self.backend();
        font.walk(text, |letter, start| {
            let glyph = font.face().glyph_id(letter);
            let glyph = glyph.with_scale_and_position(font.scale(), point(start as f32, 0.0));
            let Some(outline) = font.face().outline_glyph(glyph) else { return };
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, coverage| {
                let (x, y) = (corner.x as i32 + x as i32, corner.y as i32 + y as i32);
                let place = (from.0 + cos * x - sin * y, from.1 + sin * x + cos * y);
                if is_inside(place) {
                    let color = font.color.mix(f64::from(coverage.min(1.0)));
                    backend.draw_pixel(place, color.to_backend_color()).expect(INFALLIBLE);
                }
            });
        });
    }

    /// The picture as a PNG file.
    pub fn into_png(self) -> Vec<u8> {
        let mut png = Vec::new();
        let encoder =
            PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::NoFilter);
        let (width, height) = (self.width as u32, self.height as u32);
        let written = encoder.write_image(&self.averaged(), width, height, ExtendedColorType::Rgb8);
        written.expect("a Vec takes any picture");
        png
    }

    /// The page in its final size.
    fn averaged(&self) -> Vec<u8> {
        const COUNT: u16 = (OVERSAMPLING * OVERSAMPLING) as u16;
        let row_bytes = self.width * 3;
        let mut picture = Vec::with_capacity(row_bytes * self.height);
        for rows in self.bytes.chunks_exact(row_bytes * OVERSAMPLING * OVERSAMPLING) {
            let mut sums = vec![0u16; row_bytes];
            for row in rows.chunks_exact(row_bytes * OVERSAMPLING) {
                for (place, drawn) in row.chunks_exact(3).enumerate() {
                    let sum = &mut sums[place / OVERSAMPLING * 3..][..3];
                    for (sum, &value) in sum.iter_mut().zip(drawn) {
                        *sum += u16::from(value);
                    }
                }
            }
            picture.extend(sums.iter().map(|sum| ((sum + COUNT / 2) / COUNT) as u8));
        }
        picture
    }
}

/// The part of a text's length that lies before its place.
fn before(align: Align, width: f64) -> f64 {
    match align {
        Align::Start => 0.0,
        Align::Middle => width / 2.0,
        Align::End => width,
    }
}

/// The enlarged page's pixel at a place.
fn pixel(x: f64, y: f64) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FONT: Font = Font::new(20.0, RGBColor(0, 0, 0));

    /// The columns of the finished page that are not white.
    fn inked_columns(canvas: &Canvas) -> Vec<usize> {
        let picture = canvas.averaged();
        let is_inked = |column: &usize| {
            picture.chunks_exact(canvas.width * 3).any(|row| row[column * 3] < 255)
        };
        (0..canvas.width).filter(is_inked).collect()
    }

    #[test]
    fn texts_are_as_long_as_measured() {
        for (align, from) in [(Align::Start, 100.0), (Align::Middle, 50.0), (Align::End, 0.0)] {
            let mut canvas = Canvas::new(220, 40);
            let width = FONT.width("HHHHHHH");
            canvas.text(100.0, 20.0, "HHHHHHH", FONT, align);
            let columns = inked_columns(&canvas);
            let (first, last) = (columns[0] as f64, columns[columns.len() - 1] as f64);
            let left = 100.0 - width * (100.0 - from) / 100.0;
            assert!((first - left - 2.0).abs() <= 1.5, "{first} but {left}");
            assert!((last - left - width + 3.0).abs() <= 1.5, "{last} but {}", left + width);
        }
    }

    /// Capital letters lie around the height that was asked for.
    #[test]
    fn capitals_are_centred() {
        let mut canvas = Canvas::new(60, 60);
        canvas.text(10.0, 30.0, "H", FONT, Align::Start);
        let picture = canvas.averaged();
        let rows = picture.chunks_exact(60 * 3).enumerate();
        let inked: Vec<usize> =
            rows.filter(|(_, row)| row.iter().any(|&value| value < 128)).map(|(y, _)| y).collect();
        let middle = (inked[0] + inked[inked.len() - 1] + 1) as f64 / 2.0;
        assert!((middle - 30.0).abs() <= 0.5, "{inked:?}");
    }

    /// A filled rectangle covers exactly its pixels.
    #[test]
    fn fills_are_exact() {
        let mut canvas = Canvas::new(8, 3);
        canvas.fill(Area::new(2.0, 1.0, 3.0, 1.0), RGBColor(10, 20, 30));
        canvas.fill(Area::new(7.0, 0.0, 0.0, 3.0), RGBColor(0, 0, 0));
        let picture = canvas.averaged();
        for (place, pixel) in picture.chunks_exact(3).enumerate() {
            let inside = place / 8 == 1 && (2..5).contains(&(place % 8));
            assert_eq!(pixel, if inside { [10, 20, 30] } else { [255; 3] }, "pixel {place}");
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        let fitted = FONT.fit("sandals without heels, size 40", 150.0);
        assert!(fitted.starts_with("sandal") && fitted.ends_with("40"), "{fitted}");
        assert!(fitted.contains('…'));
        assert_eq!(FONT.fit("tab\tand\nline", 500.0), "tab and line");
    }

    proptest! {
        #[test]
        fn fitted_texts_fit(text in "\\PC{0,300}", width in 0.0..400.0f64) {
            let fitted = FONT.fit(&text, width);
            prop_assert!(FONT.width(&fitted) <= width, "{fitted:?}");
            prop_assert!(!fitted.contains(char::is_control));
        }
    }
}
