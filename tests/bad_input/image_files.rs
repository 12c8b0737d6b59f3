//! Image files that are broken or hostile, for cases 53 to 57.

use std::io::{Cursor, Read, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Height and width of the good image.
const SIDE: u32 = 28;

/// The zeros that a bomb unpacks to, in bytes.
const BOMB_BYTES: u64 = 1 << 30;

/// A grey image that every reader takes.
pub fn good_png() -> Vec<u8> {
    png(&[header(SIDE, SIDE), chunk(b"IDAT", &pixels())])
}

/// Case 53: four gigabytes of pixels announced, none there.
pub fn png_of_65535_pixels_a_side() -> Vec<u8> {
    png(&[header(65_535, 65_535), chunk(b"IDAT", &zlib(&mut std::io::empty()))])
}

/// Case 53: 256 million pixels announced, within the limits, none there.
pub fn png_of_16000_pixels_a_side() -> Vec<u8> {
    png(&[header(16_000, 16_000), chunk(b"IDAT", &zlib(&mut std::io::empty()))])
}

/// Case 54: a small image whose pixels unpack to a gibibyte.
pub fn png_with_a_bomb_as_pixels() -> Vec<u8> {
    png(&[header(SIDE, SIDE), chunk(b"IDAT", &zlib(&mut std::io::repeat(0).take(BOMB_BYTES)))])
}

/// Case 54: an image that is as large as it says, 900 million pixels in a megabyte.
pub fn png_of_30000_black_pixels_a_side() -> Vec<u8> {
    let bytes = 30_000 * (1 + 30_000);
    png(&[header(30_000, 30_000), chunk(b"IDAT", &zlib(&mut std::io::repeat(0).take(bytes)))])
}

/// Case 54: a good image with a text that unpacks to a gibibyte.
pub fn png_with_a_bomb_as_text() -> Vec<u8> {
    let mut text = b"Comment\0\0".to_vec();
    text.extend(zlib(&mut std::io::repeat(b'a').take(BOMB_BYTES)));
    png(&[header(SIDE, SIDE), chunk(b"zTXt", &text), chunk(b"IDAT", &pixels())])
}

/// Case 54: a good image with a colour profile that unpacks to a gibibyte.
pub fn png_with_a_bomb_as_profile() -> Vec<u8> {
    let mut profile = b"profile\0\0".to_vec();
    profile.extend(zlib(&mut std::io::repeat(0).take(BOMB_BYTES)));
    png(&[header(SIDE, SIDE), chunk(b"iCCP", &profile), chunk(b"IDAT", &pixels())])
}

/// Case 55: cut in the middle of its pixels.
pub fn truncated_png() -> Vec<u8> {
    let mut bytes = good_png();
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// Case 55: one bit of its pixels flipped.
pub fn png_with_a_wrong_checksum() -> Vec<u8> {
    let mut bytes = good_png();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

/// Case 57: a photograph's format under whatever name it is given.
pub fn jpeg() -> Vec<u8> {
    let image = image::GrayImage::from_pixel(SIDE, SIDE, image::Luma([200]));
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    bytes
}

/// Case 57: two frames.
pub fn animated_png() -> Vec<u8> {
    let number = |value: u32| value.to_be_bytes();
    let control = |sequence: u32| {
        let sizes = [sequence, SIDE, SIDE, 0, 0].map(number).concat();
        // A tenth of a second, then the next frame over this one.
        chunk(b"fcTL", &[&sizes[..], &[0, 1, 0, 10, 0, 0]].concat())
    };
    png(&[
        header(SIDE, SIDE),
        chunk(b"acTL", &[number(2), number(0)].concat()),
        control(0),
        chunk(b"IDAT", &pixels()),
        control(1),
        chunk(b"fdAT", &[&number(2)[..], &pixels()].concat()),
    ])
}

fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    [SIGNATURE, &chunks.concat(), &chunk(b"IEND", b"")].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checksum = Crc::new();
    checksum.update(kind);
    checksum.update(data);
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&length, &kind[..], data, &checksum.sum().to_be_bytes()].concat()
}

/// Eight bits of grey a pixel, not interlaced.
fn header(width: u32, height: u32) -> Vec<u8> {
    let sizes = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&sizes[..], &[8, 0, 0, 0, 0]].concat())
}

/// Rows of a gradient, each behind the number of its filter.
fn pixels() -> Vec<u8> {
    let row = |y: u32| std::iter::once(0).chain((0..SIDE).map(move |x| (7 * x + y) as u8));
    let rows: Vec<u8> = (0..SIDE).flat_map(row).collect();
    zlib(&mut &rows[..])
}

fn zlib(content: &mut dyn Read) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(content, &mut encoder).unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

/// Checks that the files are what they are said to be, by a reader that toile did not write.
pub fn check() {
    let decoded = |bytes: &[u8]| image::load_from_memory(bytes).map(|image| image.into_luma8());
    let good = decoded(&good_png()).expect("a good image");
    assert_eq!((good.dimensions(), good.get_pixel(3, 2).0), ((SIDE, SIDE), [7 * 3 + 2]));
    for whole in [animated_png(), jpeg()] {
        assert_eq!(decoded(&whole).expect("a whole image").dimensions(), (SIDE, SIDE));
    }
    for broken in [
        truncated_png(),
        png_with_a_wrong_checksum(),
        png_of_65535_pixels_a_side(),
        png_of_16000_pixels_a_side(),
    ] {
        assert!(decoded(&broken).is_err());
    }
    let size = |bytes: &[u8]| {
        let reader = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap();
        reader.into_dimensions().unwrap()
    };
    assert_eq!(size(&png_of_65535_pixels_a_side()), (65_535, 65_535));
    let large = png_of_30000_black_pixels_a_side();
    assert_eq!(size(&large), (30_000, 30_000));
    let hidden =
        [png_with_a_bomb_as_pixels(), png_with_a_bomb_as_text(), png_with_a_bomb_as_profile()];
    for bomb in hidden.into_iter().chain([large]) {
        assert_eq!(bomb.get(..8), Some(SIGNATURE));
        assert!(bomb.len() < 8 << 20, "a bomb of {} bytes", bomb.len());
    }
}
