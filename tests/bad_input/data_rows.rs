//! Cases 1 to 18: data files. Training reads the training files before it makes a run folder;
//! evaluating reads the test files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::{GOOD_TRAINING, Row, TEST_COUNT, TRAIN_COUNT, labels, make_pipe, rewrite};
use crate::idx_files::{UNSIGNED_BYTE, gzip, idx_bytes, image_bytes};

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";
const FLOAT: u8 = 0x0d;

/// The bytes of an image.
const IMAGE: usize = 28 * 28;

/// The beginning of an IDX file of images, before the first one.
const HEADER: usize = 16;

const AGAIN: &str = "fetch the file again";
const RIGHT_FILE: &str = "put the right file there";

fn training(case: u32, name: &'static str, spoil: fn(&Path), tells: [&'static str; 4]) -> Row {
    Row::refused(case, name, spoil, &format!("{GOOD_TRAINING} --out . --name new"), 2, tells)
}

fn evaluating(case: u32, name: &'static str, spoil: fn(&Path), tells: [&'static str; 4]) -> Row {
    Row::refused(case, name, spoil, "evaluate run --data data", 2, tells)
}

#[rustfmt::skip]
pub fn rows() -> Vec<Row> {
    vec![
        training(1, "no such folder", |f| fs::remove_dir_all(f.join("data")).unwrap(), ["data:", "a directory must hold", "neither a readable directory", "fashion-mnist"]),
        training(1, "a file is missing", |f| fs::remove_file(train_images(f)).unwrap(), [TRAIN_IMAGES, "all four", "no such file", "put them there"]),
        evaluating(1, "a file is missing", |f| fs::remove_file(test_labels(f)).unwrap(), [TEST_LABELS, "all four", "no such file", "put them there"]),
        training(2, "zero bytes", |f| fs::write(train_images(f), b"").unwrap(), [TRAIN_IMAGES, "expected an IDX file", "empty", "fetch it again"]),
        training(3, "gzip cut inside its header", |f| gzip_and(&train_labels(f), |bytes| bytes.truncate(7)), [TRAIN_LABELS, "whole gzip stream", "truncated gzip header", AGAIN]),
        training(4, "gzip cut mid-stream", |f| gzip_and(&train_images(f), |bytes| bytes.truncate(bytes.len() / 2)), [TRAIN_IMAGES, "whole gzip stream", "truncated gzip data", AGAIN]),
        training(4, "gzip cut inside its checksum", |f| gzip_and(&train_images(f), |bytes| bytes.truncate(bytes.len() - 5)), [TRAIN_IMAGES, "whole gzip stream", "31376 unpacked bytes", AGAIN]),
        training(5, "one payload bit flipped", |f| flip_a_stored_bit(&train_images(f)), [TRAIN_IMAGES, "whole gzip stream", "damaged gzip data (corrupt gzip stream does not have a matching checksum)", AGAIN]),
        evaluating(6, "garbage after the gzip member", |f| gzip_and(&test_images(f), |bytes| bytes.extend(b"garbage")), [TEST_IMAGES, "whole gzip stream", "bytes after its end that are not gzip data", AGAIN]),
        evaluating(7, "a second gzip member", |f| gzip_and(&test_images(f), |bytes| bytes.extend(gzip(b"more", Compression::default()))), [TEST_IMAGES, "7840 bytes in all", "at least 7841 bytes", AGAIN]),
        evaluating(8, "a bomb of a gibibyte", |f| write_bomb(&test_images(f), &image_bytes(TEST_COUNT, 28, 28)[..HEADER]), [TEST_IMAGES, "7840 bytes in all", "at least 7841 bytes", AGAIN]),
        training(8, "a bomb of a gibibyte as labels", |f| write_bomb(&train_labels(f), &labels(TRAIN_COUNT)[..8]), [TRAIN_LABELS, "40 bytes in all", "at least 41 bytes", AGAIN]),
        Row::works(9, "plain files named .gz, gzip without suffix", exchange_suffixes, &format!("{GOOD_TRAINING} --out . --name new"), is_complete),
        training(10, "labels given as images", |f| fs::write(train_images(f), labels(TRAIN_COUNT)).unwrap(), [TRAIN_IMAGES, "expected images (0x00000803)", "holds labels (0x00000801)", "rename"]),
        training(10, "images given as labels", |f| fs::write(train_labels(f), image_bytes(TRAIN_COUNT, 28, 28)).unwrap(), [TRAIN_LABELS, "expected labels (0x00000801)", "holds images (0x00000803)", "rename"]),
        training(10, "neither images nor labels", |f| fs::write(train_images(f), idx_bytes(UNSIGNED_BYTE, &[6, 2, 2, 5], &[0; 120])).unwrap(), [TRAIN_IMAGES, "expected images", "4 dimensions", "convert the file"]),
        training(10, "no IDX file at all", |f| fs::write(train_images(f), b"<html>404 not found</html>").unwrap(), [TRAIN_IMAGES, "expected images", "begins with 0x3c68746d", AGAIN]),
        training(11, "float elements", |f| fs::write(train_images(f), idx_bytes(FLOAT, &[6, 4, 5], &[0; 480])).unwrap(), [TRAIN_IMAGES, "expected 0x08", "unsupported element type 0x0d (32-bit float)", "convert the file"]),
        training(12, "sizes whose product overflows", |f| fs::write(train_images(f), idx_bytes(UNSIGNED_BYTE, &[u32::MAX; 3], &[0; 9])).unwrap(), [TRAIN_IMAGES, "at most 2147483648", "4294967295, 4294967295", AGAIN]),
        training(12, "sizes over the limit", |f| fs::write(train_labels(f), idx_bytes(UNSIGNED_BYTE, &[u32::MAX], &[0; 9])).unwrap(), [TRAIN_LABELS, "at most 2147483648", "4294967295", AGAIN]),
        training(12, "sizes near the limit, without a body", |f| fs::write(train_images(f), gzip(&idx_bytes(UNSIGNED_BYTE, &[2_000_000, 28, 28], b""), Compression::default())).unwrap(), [TRAIN_LABELS, "expected as many", "2000000 images", "fetch both again"]),
        training(12, "a header that is cut", |f| rewrite(&train_images(f), |bytes| bytes.truncate(11)), [TRAIN_IMAGES, "expected 16", "11 bytes", AGAIN]),
        training(12, "a header that is cut, gzipped", |f| fs::write(train_images(f), gzip(&image_bytes(6, 28, 28)[..11], Compression::default())).unwrap(), [TRAIN_IMAGES, "expected 16", "11 bytes", AGAIN]),
        training(13, "one item too few", |f| rewrite(&train_images(f), |bytes| bytes.truncate(HEADER + 39 * IMAGE)), [TRAIN_IMAGES, "announces 40 items", "(39 whole items)", AGAIN]),
        training(13, "one item too many", |f| rewrite(&train_labels(f), |bytes| bytes.push(0)), [TRAIN_LABELS, "announces 40 items", "(41 whole items)", AGAIN]),
        training(13, "one item too few, gzipped", |f| { rewrite(&train_images(f), |bytes| bytes.truncate(HEADER + 39 * IMAGE)); gzip_and(&train_images(f), |_| ()); }, [TRAIN_IMAGES, "announces 40 items", "(39 whole items)", AGAIN]),
        training(13, "one item too many, gzipped", |f| { rewrite(&train_labels(f), |bytes| bytes.push(0)); gzip_and(&train_labels(f), |_| ()); }, [TRAIN_LABELS, "announces 40 items", "at least 41 bytes", AGAIN]),
        evaluating(14, "images and labels differ in count", |f| fs::write(test_labels(f), labels(TEST_COUNT - 1)).unwrap(), [TEST_LABELS, "10 images", "9 labels", "fetch both again"]),
        training(15, "zero items", |f| fs::write(train_images(f), image_bytes(0, 28, 28)).unwrap(), [TRAIN_IMAGES, "expected no zero", "[0, 28, 28]", AGAIN]),
        training(15, "zero-sized rows", |f| fs::write(train_images(f), image_bytes(TRAIN_COUNT, 28, 0)).unwrap(), [TRAIN_IMAGES, "expected no zero", "[40, 28, 0]", AGAIN]),
        training(16, "a gap in the training labels", |f| set_label(&train_labels(f), 4, 255), [TRAIN_LABELS, "without a gap", "label 255 at index 4", "correct the labels"]),
        training(16, "no class zero", |f| rewrite(&train_labels(f), |bytes| bytes[8..].iter_mut().for_each(|label| *label += 1)), [TRAIN_LABELS, "0 to K-1", "label 1 at index 0", "correct the labels"]),
        training(16, "a test label that is no class", |f| set_label(&test_labels(f), 3, 10), [TEST_LABELS, "at most 9", "label 10 at index 3", "correct the labels"]),
        training(17, "test images of another size", |f| fs::write(test_images(f), image_bytes(TEST_COUNT, 32, 32)).unwrap(), [TEST_IMAGES, "28x28 pixels", "32x32", "fetch both again"]),
        evaluating(17, "images of another size than the model's", |f| { for (path, count) in [(train_images(f), TRAIN_COUNT), (test_images(f), TEST_COUNT)] { fs::write(path, image_bytes(count, 32, 32)).unwrap(); } }, ["run/best.safetensors", "28 by 28", "32 by 32", "choose the data set"]),
        training(17, "images too small for the network", |f| { for (path, count) in [(train_images(f), TRAIN_COUNT), (test_images(f), TEST_COUNT)] { fs::write(path, image_bytes(count, 4, 5)).unwrap(); } }, ["data", "24 to 128 pixels", "4 by 5", "scale the images"]),
        training(18, "a directory", |f| { fs::remove_file(train_images(f)).unwrap(); fs::create_dir(train_images(f)).unwrap(); }, [TRAIN_IMAGES, "expected a regular file", "a directory", RIGHT_FILE]),
        training(18, "a file over the limit", |f| File::options().write(true).open(train_images(f)).unwrap().set_len(3 << 30).unwrap(), [TRAIN_IMAGES, "at most 2147483648", "3221225472 bytes", RIGHT_FILE]),
        evaluating(18, "a named pipe without a writer", |f| make_pipe(&test_labels(f)), [TEST_LABELS, "expected a regular file", "a pipe", RIGHT_FILE]),
        training(18, "an endless device", |f| link_to(&train_images(f), "/dev/zero"), [TRAIN_IMAGES, "expected a regular file", "device", RIGHT_FILE]),
        training(18, "a link to nothing", |f| link_to(&train_images(f), "nothing"), [TRAIN_IMAGES, "expected an IDX file", "no such file", "put it there"]),
        training(18, "a link to itself", |f| link_to(&train_images(f), TRAIN_IMAGES), [TRAIN_IMAGES, "expected an IDX file", "cannot be opened", "check the link"]),
    ]
}

fn train_images(folder: &Path) -> PathBuf {
    folder.join("data").join(TRAIN_IMAGES)
}

fn train_labels(folder: &Path) -> PathBuf {
    folder.join("data").join(TRAIN_LABELS)
}

fn test_images(folder: &Path) -> PathBuf {
    folder.join("data").join(TEST_IMAGES)
}

fn test_labels(folder: &Path) -> PathBuf {
    folder.join("data").join(TEST_LABELS)
}

fn set_label(path: &Path, index: usize, label: u8) {
    rewrite(path, |bytes| bytes[8 + index] = label);
}

/// Gzips the file where it is, then changes the compressed bytes.
fn gzip_and(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    rewrite(path, |bytes| {
        *bytes = gzip(bytes, Compression::default());
        change(bytes);
    });
}

/// Uncompressed blocks keep the pixels as they are, so only the checksum can tell.
fn flip_a_stored_bit(path: &Path) {
    rewrite(path, |bytes| {
        let mut stored = gzip(bytes, Compression::none());
        let pixel = stored.windows(4).position(|window| *window == bytes[40..44]).unwrap();
        stored[pixel] ^= 1;
        *bytes = stored;
    });
}

/// A gibibyte of zeros behind the header of a small file. Its end is cut off: whoever unpacks
/// it all reports a truncated stream, not a body that is too long.
fn write_bomb(path: &Path, header: &[u8]) {
    let mut bytes = Vec::new();
    let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
    encoder.write_all(header).unwrap();
    assert_eq!(io::copy(&mut io::repeat(0).take(1 << 30), &mut encoder).unwrap(), 1 << 30);
    encoder.finish().unwrap();
    assert!(bytes.len() < 16 << 20, "the bomb is meant to be small: {} bytes", bytes.len());
    bytes.truncate(bytes.len() - 100);
    fs::write(path, bytes).unwrap();
}

fn exchange_suffixes(folder: &Path) {
    for path in [train_images(folder), train_labels(folder)] {
        fs::rename(&path, path.with_extension("gz")).unwrap();
    }
    for path in [test_images(folder), test_labels(folder)] {
        gzip_and(&path, |_| ());
    }
}

fn is_complete(folder: &Path) -> bool {
    folder.join("new/evaluation.json").is_file()
}

fn link_to(path: &Path, target: &str) {
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
}
