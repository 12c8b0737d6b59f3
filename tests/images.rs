//! Image files of all kinds are read as Pillow reads them, and what is no whole image of
//! reasonable size is refused in words.
//!
//! `tests/golden/images.py` wrote the files of `tests/images` and Pillow's answers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use toile::error::Error;
use toile::predict::decode::{self, Picture};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

#[derive(serde::Deserialize)]
struct Expected {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    alpha: Option<Vec<u8>>,
}

#[test]
fn files_are_seen_as_pillow_sees_them() {
    let cases = std::fs::read_to_string(folder().join("pillow.json")).unwrap();
    let cases: BTreeMap<String, Expected> = serde_json::from_str(&cases).unwrap();
    assert!(cases.len() >= 30, "{} files", cases.len());
    for (name, expected) in cases {
        let found = decode::read(&folder().join(&name)).unwrap();
        assert_eq!((found.width, found.height), (expected.width, expected.height), "{name}");
        assert_eq!(found.alpha, expected.alpha, "{name}");
        // JPEG leaves the rounding of its transforms open; all else is exact.
        let most = if found.kind.ends_with("JPEG") { 2 } else { 0 };
        for (at, (found, expected)) in found.luma.iter().zip(&expected.luma).enumerate() {
            assert!(found.abs_diff(*expected) <= most, "{name}: pixel {at}: {found} {expected}");
        }
        assert_eq!(found.luma.len(), expected.luma.len(), "{name}");
    }
}

#[test]
fn it_is_told_what_a_file_holds() {
    let picture = |name: &str| decode::decode(&fixture(name)).unwrap();
    let told = |name: &str| {
        let Picture { kind, coloured, animated, turned, .. } = picture(name);
        (kind, coloured, animated, turned)
    };
    assert_eq!(told("grey-16-bit.png"), ("16-bit grey PNG".into(), false, false, false));
    assert_eq!(told("rgba.webp"), ("RGBA WebP".into(), true, false, false));
    assert_eq!(told("jpeg-named.png"), ("RGB JPEG".into(), true, false, false));
    assert_eq!(told("turned.jpg"), ("RGB JPEG".into(), true, false, true));
    assert_eq!(told("animated.gif"), ("RGBA GIF".into(), true, true, false));
    assert_eq!(told("animated.png"), ("RGB PNG".into(), true, true, false));
    assert!(!told("palette.gif").2);
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut sum = flate2::Crc::new();
    sum.update(kind);
    sum.update(data);
    [&(data.len() as u32).to_be_bytes(), &kind[..], data, &sum.sum().to_be_bytes()].concat()
}

/// A PNG of 8-bit samples that announces this size, with these chunks.
fn png(width: u32, height: u32, colour_type: u8, chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, colour_type, 0, 0, 0]];
    let start = [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header.concat())].concat();
    [start, chunks.concat(), chunk(b"IEND", b"")].concat()
}

/// So many zeros, compressed.
fn zeros(bytes: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for start in (0..bytes).step_by(1 << 20) {
        encoder.write_all(&vec![0; (bytes - start).min(1 << 20)]).unwrap();
    }
    encoder.finish().unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    decode::decode(bytes).expect_err("no image")
}

fn assert_refused(what: &str, bytes: &[u8], words: &[&str]) {
    let message = refusal(bytes);
    for word in words {
        assert!(message.contains(word), "{what}: no {word:?} in {message}");
    }
}

#[test]
fn sizes_beyond_the_limits_are_refused_before_memory_is_taken() {
    let too_large = ["too large", "16384 pixels", "256 MiB"];
    let idat = [chunk(b"IDAT", &zeros(100))];
    assert_refused("a side", &png(65_535, 65_535, 2, &[]), &too_large);
    assert_refused("a side, some data", &png(u32::MAX >> 1, 1, 0, &idat), &too_large);
    assert_refused("an area", &png(16_384, 16_384, 6, &idat), &too_large);
    assert_refused("an area", &png(16_384, 16_384, 6, &idat), &["16384x16384"]);
    assert_refused("a JPEG", &jpeg_header(65_535, 65_535), &["too large"]);
    assert_refused("a PGM", b"P5 4294967295 4294967295 255\n", &["too large"]);
    assert_refused("a PPM", b"P6 70000 1 255\n", &["too large"]);
    let mut gif = fixture("palette.gif");
    gif[6..10].fill(0xff);
    assert_refused("a GIF", &gif, &["too large"]);
    let mut bmp = fixture("rgb.bmp");
    bmp[18..26].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
    refusal(&bmp);
}

/// The start of a grey JPEG of this size, and an end.
fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
    let [h, w] = [height.to_be_bytes(), width.to_be_bytes()];
    let frame = [0xff, 0xc0, 0, 11, 8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0];
    let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
    [&[0xff, 0xd8][..], &frame, &scan, &[0xff, 0xd9]].concat()
}

#[test]
fn cut_files_are_refused() {
    let names = [
        "rgb.png",
        "interlaced.png",
        "rgb.jpg",
        "progressive.jpg",
        "palette.gif",
        "rgb.bmp",
        "rgb.webp",
        "rgb.tiff",
        "rgb.ppm",
    ];
    for name in names {
        let bytes = fixture(name);
        for length in [3, 20, bytes.len() / 2, bytes.len() - 20] {
            refusal(&bytes[..length]);
        }
        decode::decode(&bytes).unwrap();
    }
    assert_refused("half a PNG", &fixture("rgb.png")[..200], &["damaged or truncated PNG"]);
    assert_refused("half a JPEG", &fixture("rgb.jpg")[..900], &["truncated JPEG"]);
}

/// A preview inside the EXIF data has an end marker of its own.
#[test]
fn a_preview_does_not_hide_a_cut() {
    let bytes = fixture("rgb.jpg");
    let preview = [&[0xff, 0xe1, 0, 6][..], &[0xff, 0xd9, 0xff, 0xd9]].concat();
    let with_preview = [&bytes[..2], &preview, &bytes[2..]].concat();
    decode::decode(&with_preview).unwrap();
    let cut = &with_preview[..with_preview.len() - 20];
    assert_refused("a cut JPEG", cut, &["truncated JPEG", "end marker"]);
}

#[test]
fn a_flipped_bit_in_a_png_is_found() {
    let mut bytes = fixture("rgb.png");
    let data = bytes.windows(4).position(|window| window == b"IDAT").unwrap();
    bytes[data + 60] ^= 4;
    assert_refused("a flipped bit", &bytes, &["damaged or truncated PNG"]);
}

#[test]
fn what_is_no_image_is_told_apart() {
    assert_refused("nothing", b"", &["empty"]);
    let known = ["not an image of a known kind", "PNG", "JPEG"];
    assert_refused("a page", b"<html>404 not found</html>", &known);
    assert_refused("an icon, which is not read", b"\0\0\x01\0\x01\0\x10\x10\0\0", &known);
    assert_refused("a size of zero", &png(0, 5, 0, &[]), &["PNG"]);
}

/// Whatever single byte is spoilt, there is an answer or a sentence.
#[test]
fn no_spoilt_byte_makes_a_decoder_panic() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|ending| ending == "json") {
            continue;
        }
        let step = (bytes.len() / 150).max(1);
        for at in (0..bytes.len()).step_by(step) {
            for value in [0, 0xff, bytes[at] ^ 0x81] {
                let mut spoilt = bytes.clone();
                spoilt[at] = value;
                if let Ok(picture) = decode::decode(&spoilt) {
                    assert_eq!(picture.luma.len(), picture.width * picture.height);
                }
            }
        }
    }
}

#[test]
fn a_name_cannot_command_the_terminal() {
    match decode::read(Path::new("evil\u{1b}[2J\u{202e}.png")) {
        Err(Error::Input(message)) => assert!(message.starts_with("evil\\u{1b}[2J\\u{202e}.png:")),
        other => panic!("{other:?}"),
    }
}
