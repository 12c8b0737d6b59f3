//! From a decoded image to a model's input, made as Fashion-MNIST's images are: bright on
//! black, cut to the content, the longer side as long as the image, sharpened if that made it
//! smaller, centred.

use super::decode::Picture;
use super::resample::{Area, resample};
use super::sharpen::sharpen;

/// What stands behind the object in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Background {
    /// Decided for each image by its border and its content.
    #[default]
    Auto,
    /// Dark: the image is not inverted.
    Dark,
    /// Light: the image is inverted.
    Light,
}

/// A model's input, and what was done to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Brightness, 0 to 255: `[height, width]`.
    pub pixels: Vec<u8>,
    /// The steps in words, such as `640x480 RGB PNG -> grey, inverted (light background),
    /// cropped to 401x388, sharpened, centred in 28x28`.
    pub steps: String,
    /// Whether nothing stands out from the background, so that an answer says nothing.
    pub blank: bool,
}

/// The least difference from the background, in 1/255 of the range, that counts as content, and
/// the most that noise can raise it to.
const CONTENT: u8 = 16;
const MOST_CONTENT: u8 = 64;

/// One pixel in so many of a row or column has to be content, so that specks are not.
const SPECKS: usize = 200;

/// Makes a model's input of `width` by `height` pixels.
#[must_use]
pub fn prepare(picture: &Picture, background: Background, width: usize, height: usize) -> Prepared {
    let mut steps = Vec::new();
    if picture.animated {
        steps.push("first frame".to_owned());
    }
    if picture.turned {
        steps.push("turned upright".to_owned());
    }
    if picture.coloured {
        steps.push("grey".to_owned());
    }
    let as_it_is = (picture.width, picture.height) == (width, height)
        && !picture.coloured
        && picture.alpha.is_none();
    let (pixels, blank) = match as_it_is {
        true => (keep(&picture.luma, width, background, &mut steps), false),
        false => fit(picture, background, width, height, &mut steps),
    };
    if steps.is_empty() {
        steps.push("taken as it is".into());
    }
    let Picture { width, height, kind, .. } = picture;
    Prepared { pixels, steps: format!("{width}x{height} {kind} -> {}", steps.join(", ")), blank }
}

/// An image that already is as the data set's are.
fn keep(luma: &[u8], width: usize, background: Background, steps: &mut Vec<String>) -> Vec<u8> {
    let light = match background {
        Background::Auto => is_unmistakably_light(luma, width),
        Background::Dark => false,
        Background::Light => true,
    };
    if light {
        steps.push("inverted (light background)".into());
    }
    luma.iter().map(|&value| if light { u8::MAX - value } else { value }).collect()
}

/// Whether most of the border is close to white. Of Fashion-MNIST's 60,000 training images none
/// is so, and all but 7 of their negatives are.
fn is_unmistakably_light(luma: &[u8], width: usize) -> bool {
    median(&border(luma, width)) >= 200
}

/// Any other image; and whether nothing stands out in it.
fn fit(
    picture: &Picture,
    background: Background,
    width: usize,
    height: usize,
    steps: &mut Vec<String>,
) -> (Vec<u8>, bool) {
    let luma = flatten(picture, background, steps);
    let border = border(&luma, picture.width);
    let level = median(&border);
    let light = match background {
        Background::Auto => is_light(&luma, level),
        Background::Dark => false,
        Background::Light => true,
    };
    steps.push(match background {
        Background::Auto => told_background(level, light).to_owned(),
        Background::Dark => "not inverted (told that the background is dark)".to_owned(),
        Background::Light => "inverted (told that the background is light)".to_owned(),
    });
    let table = contrast(level, light);
    let pixels: Vec<u8> = luma.iter().map(|&value| table[usize::from(value)]).collect();
    let threshold = threshold(&border, level, light);
    let whole = Area { left: 0, top: 0, width: picture.width, height: picture.height };
    let area = content(&pixels, picture.width, threshold);
    steps.push(match area {
        None => "nothing stands out, so not cropped".to_owned(),
        Some(area) if area == whole => "nothing to crop".to_owned(),
        Some(area) => format!("cropped to {}x{}", area.width, area.height),
    });
    let blank = area.is_none();
    let area = area.unwrap_or(whole);
    let (mut small, small_width) = scale(&pixels, picture.width, area, width, height);
    // The data set's images were sharpened after they were made small, and before they got their
    // margins.
    if small.len() < area.width * area.height {
        steps.push("sharpened".to_owned());
        small = sharpen(&small, small_width);
    }
    steps.push(format!("centred in {width}x{height}"));
    (centre(&small, small_width, width, height), blank)
}

fn told_background(level: u8, light: bool) -> &'static str {
    match (light, level >= 128) {
        (true, true) => "inverted (light background)",
        (true, false) => "inverted (object darker than background)",
        (false, false) => "not inverted (dark background)",
        (false, true) => "not inverted (object lighter than background)",
    }
}

/// Opaque brightness.
fn flatten(picture: &Picture, background: Background, steps: &mut Vec<String>) -> Vec<u8> {
    let Some(alpha) = &picture.alpha else { return picture.luma.clone() };
    let fill: u8 = match background {
        Background::Dark => 0,
        Background::Light => u8::MAX,
        Background::Auto => {
            let visible: u64 = alpha.iter().map(|&opacity| u64::from(opacity)).sum();
            let pixels = picture.luma.iter().zip(alpha);
            let light: u64 = pixels.map(|(&l, &a)| u64::from(l) * u64::from(a)).sum();
            // Dark content shows on white, light content on black.
            if light < 128 * visible { u8::MAX } else { 0 }
        }
    };
    steps.push(format!("laid over {}", if fill == 0 { "black" } else { "white" }));
    let lay = |(&value, &opacity): (&u8, &u8)| {
        let (value, opacity, fill) = (u32::from(value), u32::from(opacity), u32::from(fill));
        ((value * opacity + fill * (255 - opacity) + 127) / 255) as u8
    };
    picture.luma.iter().zip(alpha).map(lay).collect()
}

/// The pixels along the four sides.
fn border(luma: &[u8], width: usize) -> Vec<u8> {
    let last = luma.len() / width - 1;
    let row = |(y, row): (usize, &[u8])| match y {
        _ if y == 0 || y == last => row.to_vec(),
        _ => vec![row[0], row[width - 1]],
    };
    luma.chunks_exact(width).enumerate().flat_map(row).collect()
}

/// The lower median.
fn median(values: &[u8]) -> u8 {
    let mut values = values.to_vec();
    let middle = (values.len() - 1) / 2;
    *values.select_nth_unstable(middle).1
}

/// Whether what stands out from a background of this level is darker, all in all.
fn is_light(luma: &[u8], level: u8) -> bool {
    let (mut darker, mut lighter) = (0u64, 0u64);
    for &value in luma.iter().filter(|value| value.abs_diff(level) >= CONTENT) {
        let difference = u64::from(value.abs_diff(level));
        *(if value < level { &mut darker } else { &mut lighter }) += difference;
    }
    if darker == lighter { level >= 128 } else { darker > lighter }
}

/// What each brightness becomes: the background 0, the farthest from it 255.
fn contrast(level: u8, light: bool) -> [u8; 256] {
    std::array::from_fn(|value| {
        let (value, level) = (value as u32, u32::from(level));
        let (difference, range) = match light {
            true => (level.saturating_sub(value), level),
            false => (value.saturating_sub(level), 255 - level),
        };
        ((255 * difference + range / 2) / range.max(1)) as u8
    })
}

/// From where on a pixel is content: the noise of the border decides, after contrast.
fn threshold(border: &[u8], level: u8, light: bool) -> u8 {
    let noise: Vec<u8> = border.iter().map(|&value| value.abs_diff(level)).collect();
    let range = u32::from(if light { level } else { u8::MAX - level }).max(1);
    let noise = 4 * 255 * u32::from(median(&noise)) / range;
    noise.clamp(CONTENT.into(), MOST_CONTENT.into()) as u8
}

/// The part that holds all rows and columns with content.
fn content(pixels: &[u8], width: usize, threshold: u8) -> Option<Area> {
    let height = pixels.len() / width;
    let mut columns = vec![0; width];
    let mut rows = vec![0; height];
    for (row, line) in rows.iter_mut().zip(pixels.chunks_exact(width)) {
        for (column, &value) in columns.iter_mut().zip(line) {
            let found = usize::from(value >= threshold);
            *column += found;
            *row += found;
        }
    }
    let range = |counts: &[usize], length: usize| {
        let holds = |&count: &usize| count > length / SPECKS;
        let first = counts.iter().position(holds)?;
        let last = counts.iter().rposition(holds)?;
        Some((first, last + 1 - first))
    };
    let (left, width) = range(&columns, height)?;
    let (top, height) = range(&rows, width)?;
    Some(Area { left, top, width, height })
}

/// Scales the area so that it just fits into `width` by `height` pixels. Returns it and how wide
/// it is.
fn scale(
    pixels: &[u8],
    stride: usize,
    area: Area,
    width: usize,
    height: usize,
) -> (Vec<u8>, usize) {
    // The side that would stick out of the other's scale decides.
    let by_width = area.width * height >= area.height * width;
    let scaled = |side: usize, to: usize, from: usize| ((side * to + from / 2) / from).max(1);
    let (new_width, new_height) = match by_width {
        true => (width, scaled(area.height, width, area.width)),
        false => (scaled(area.width, height, area.height), height),
    };
    (resample(pixels, stride, area, new_width, new_height), new_width)
}

/// Pads an image evenly with black.
fn centre(small: &[u8], small_width: usize, width: usize, height: usize) -> Vec<u8> {
    let small_height = small.len() / small_width;
    // In the data set, a margin that cannot be even is wider at the left and at the top.
    let left = (width - small_width).div_ceil(2);
    let top = (height - small_height).div_ceil(2);
    let mut image = vec![0; width * height];
    for (y, row) in small.chunks_exact(small_width).enumerate() {
        image[(top + y) * width + left..][..small_width].copy_from_slice(row);
    }
    image
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every pixel made a square and black put around: cropped, scaled and centred, the same
        /// pixels come back to the last bit.
        #[test]
        fn whole_factors_come_back_as_they_were(
            shorter in 4usize..=28,
            upright in any::<bool>(),
            values in prop::collection::vec(40u8..=255, 28 * 28),
            factor in 1usize..8,
            margins in prop::array::uniform4(0usize..20),
        ) {
            let (width, height) = if upright { (shorter, 28) } else { (28, shorter) };
            let content_pixels = &values[..width * height];
            let [left, right, top, bottom] = margins;
            let stride = left + width * factor + right;
            let mut large = vec![0; stride * (top + height * factor + bottom)];
            for y in 0..height * factor {
                for x in 0..width * factor {
                    large[(top + y) * stride + left + x] =
                        content_pixels[y / factor * width + x / factor];
                }
            }
            let area = content(&large, stride, CONTENT).unwrap();
            let (small, small_width) = scale(&large, stride, area, 28, 28);
            prop_assert_eq!(&small, content_pixels);
            let centred = centre(&small, small_width, 28, 28);
            let (left, top) = ((28 - width).div_ceil(2), (28 - height).div_ceil(2));
            for (at, &value) in centred.iter().enumerate() {
                let (x, y) = ((at % 28).wrapping_sub(left), (at / 28).wrapping_sub(top));
                let inside = x < width && y < height;
                prop_assert_eq!(value, if inside { content_pixels[y * width + x] } else { 0 });
            }
        }
    }
}
