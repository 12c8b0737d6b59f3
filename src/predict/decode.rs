//! The content of an image file as brightness: eight bits a pixel, whatever the format.
//!
//! The content decides the format, not the file's name. What a file announces is checked before
//! memory is taken for it; colour profiles and gamma are not looked at.

use std::fs::{self, File};
use std::io::{Cursor, Read as _};
use std::path::Path;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{
    AnimationDecoder as _, ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat,
    ImageReader, Limits,
};

use crate::error::{Error, Result, plain};

/// The largest file that is read, in bytes: 128 MiB.
pub const MAX_FILE_BYTES: u64 = 128 << 20;

/// The most pixels that an image may have on a side.
pub const MAX_SIDE: u32 = 16_384;

/// The most bytes that the pixels may take once decoded: 256 MiB, so that a photo of 64
/// megapixels (192 MB) passes and a small file that unfolds without end does not.
pub const MAX_DECODED_BYTES: u64 = 256 << 20;

/// The most bytes that a PNG's notes, such as its colour profile, may take: its decoder unfolds
/// them with nobody asking. The decoder's limit does not count the pixels.
const MAX_PNG_NOTE_BYTES: u64 = 8 << 20;

/// The kinds of image that are read, for messages.
const FORMATS: &str = "PNG, JPEG, GIF, BMP, WebP, TIFF, PNM";

/// The weights of red, green and blue in brightness, in 1/65536: ITU-R BT.601 (0.299, 0.587,
/// 0.114), on the values as they are stored. Pillow uses the same.
const LUMA: [u32; 3] = [19_595, 38_470, 7_471];

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels from left to right, at least 1.
    pub width: usize,
    /// Pixels from top to bottom, at least 1.
    pub height: usize,
    /// Brightness, 0 to 255: `[height, width]`.
    pub luma: Vec<u8>,
    /// How opaque each pixel is, 0 to 255; `None` if all are 255.
    pub alpha: Option<Vec<u8>>,
    /// Whether any pixel is not grey.
    pub coloured: bool,
    /// What the file holds, such as `RGB JPEG`.
    pub kind: String,
    /// Whether more frames followed in the file.
    pub animated: bool,
    /// Whether it was turned or mirrored as its EXIF data ask.
    pub turned: bool,
}

/// Reads an image file.
///
/// # Errors
/// [`Error::Input`] that names the file, if it is missing, no regular file, too large, or no
/// whole image of a known format; [`Error::Storage`] if reading fails.
pub fn read(path: &Path) -> Result<Picture> {
    let name = plain(&path.to_string_lossy());
    let bytes = read_whole(path, &name)?;
    decode(&bytes).map_err(|fault| Error::Input(format!("{name}: {fault}")))
}

/// The content of a regular file: a pipe or a device could make us wait for ever.
fn read_whole(path: &Path, name: &str) -> Result<Vec<u8>> {
    let input = |fault: String| Error::Input(format!("{name}: {fault}"));
    let cannot_open = |fault| input(format!("cannot open the image: {fault}"));
    if !fs::metadata(path).map_err(cannot_open)?.is_file() {
        return Err(input("expected an image file, found no regular file".into()));
    }
    let file = File::open(path).map_err(cannot_open)?;
    let length = file.metadata().map_err(cannot_open)?.len();
    if length > MAX_FILE_BYTES {
        return Err(input(format!(
            "an image file has at most {MAX_FILE_BYTES} bytes, this one {length}"
        )));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|fault| Error::Storage(format!("cannot read {name}: {fault}")))?;
    Ok(bytes)
}

/// Decodes the content of an image file; of an animation the first frame.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn decode(bytes: &[u8]) -> std::result::Result<Picture, String> {
    if bytes.is_empty() {
        return Err("the file is empty, expected an image".into());
    }
    let format = image::guess_format(bytes).ok().filter(ImageFormat::reading_enabled);
    let format = format.ok_or_else(|| format!("not an image of a known kind ({FORMATS})"))?;
    let name = format_name(format);
    if format == ImageFormat::Jpeg && !has_jpeg_end(bytes) {
        return Err("truncated JPEG: its end marker is missing".into());
    }
    let explain = |fault| explain(name, &fault);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits(format));
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("a {name} of {width}x{height} pixels: there is nothing to see"));
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(too_large(&format!("{name} of {width}x{height} pixels")));
    }
    // A damaged note about the orientation does not damage the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let kind = format!("{} {name}", colour_name(decoder.color_type()));
    let mut image = DynamicImage::from_decoder(decoder).map_err(explain)?;
    image.apply_orientation(orientation);
    Ok(Picture {
        kind,
        animated: is_animated(format, bytes),
        turned: orientation != Orientation::NoTransforms,
        ..to_luma(image)
    })
}

fn limits(format: ImageFormat) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(match format {
        ImageFormat::Png => MAX_PNG_NOTE_BYTES,
        _ => MAX_DECODED_BYTES,
    });
    limits
}

fn explain(name: &str, fault: &ImageError) -> String {
    match fault {
        // The decoder does not say which of its limits was reached.
        ImageError::Limits(_) if name == "PNG" => format!(
            "{}, and texts and colour profile at most {} MiB",
            too_large(name),
            MAX_PNG_NOTE_BYTES >> 20
        ),
        ImageError::Limits(_) => too_large(name),
        ImageError::Unsupported(_) => {
            format!("a {name} of a kind that toile does not read: {}", plain(&fault.to_string()))
        }
        _ => format!("damaged or truncated {name}: {}", plain(&fault.to_string())),
    }
}

fn too_large(what: &str) -> String {
    format!(
        "this {what} is too large: at most {MAX_SIDE} pixels a side and {} MiB once decoded",
        MAX_DECODED_BYTES >> 20
    )
}

fn format_name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::WebP => "WebP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Pnm => "PNM",
        _ => "image",
    }
}

fn colour_name(colour: ColorType) -> &'static str {
    match colour {
        ColorType::L8 => "grey",
        ColorType::La8 => "grey, transparent",
        ColorType::Rgb8 => "RGB",
        ColorType::Rgba8 => "RGBA",
        ColorType::L16 => "16-bit grey",
        ColorType::La16 => "16-bit grey, transparent",
        ColorType::Rgb16 => "16-bit RGB",
        ColorType::Rgba16 => "16-bit RGBA",
        _ => "float",
    }
}

/// Whether a JPEG's data end with its end marker. The decoder fills what is missing with grey,
/// which would be answered as if it had been seen.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    // Over the segments, which may hold a whole small preview, to the first scan.
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == START_OF_SCAN {
            // Inside a scan, 0xff is never followed by a marker's byte.
            return bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]);
        }
        // Any number of 0xff may stand before a marker.
        at += if marker == 0xff { 1 } else { 2 + usize::from(u16::from_be_bytes([high, low])) };
    }
    // No scan at all: the decoder says what is wrong.
    true
}

/// Whether a second frame follows the first.
fn is_animated(format: ImageFormat, bytes: &[u8]) -> bool {
    let content = Cursor::new(bytes);
    match format {
        ImageFormat::Png => PngDecoder::with_limits(content, limits(format))
            .and_then(|decoder| decoder.is_apng())
            .unwrap_or(false),
        ImageFormat::WebP => WebPDecoder::new(content).is_ok_and(|decoder| decoder.has_animation()),
        ImageFormat::Gif => GifDecoder::new(content).is_ok_and(|mut decoder| {
            decoder.set_limits(limits(format)).is_ok()
                && matches!(decoder.into_frames().nth(1), Some(Ok(_)))
        }),
        _ => false,
    }
}

/// Brightness and opacity; the other fields are the caller's.
fn to_luma(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let channels = usize::from(image.color().channel_count());
    // Samples of 16 bits become the nearest of 8 bits.
    let samples = match channels {
        1 => image.into_luma8().into_raw(),
        2 => image.into_luma_alpha8().into_raw(),
        3 => image.into_rgb8().into_raw(),
        _ => image.into_rgba8().into_raw(),
    };
    let has_alpha = channels.is_multiple_of(2);
    let pixels = || samples.chunks_exact(channels);
    let is_coloured = |pixel: &[u8]| pixel[0] != pixel[1] || pixel[1] != pixel[2];
    let alpha: Option<Vec<u8>> =
        has_alpha.then(|| pixels().map(|pixel| pixel[channels - 1]).collect());
    Picture {
        width,
        height,
        coloured: channels >= 3 && pixels().any(is_coloured),
        alpha: alpha.filter(|alpha| alpha.iter().any(|&opacity| opacity != u8::MAX)),
        luma: match channels {
            1 | 2 => pixels().map(|pixel| pixel[0]).collect(),
            _ => pixels().map(|pixel| luma([pixel[0], pixel[1], pixel[2]])).collect(),
        },
        kind: String::new(),
        animated: false,
        turned: false,
    }
}

fn luma(rgb: [u8; 3]) -> u8 {
    let sum: u32 = rgb.iter().zip(LUMA).map(|(&value, weight)| u32::from(value) * weight).sum();
    // The weights add up to 65,536, so this is at most 255.
    ((sum + (1 << 15)) >> 16) as u8
}
