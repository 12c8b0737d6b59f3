//! What data files may do to us, and what they get for it: never a panic, a hang or a silently
//! short data set, always a message that names the file.

mod idx_files;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use idx_files::{UNSIGNED_BYTE, gzip, idx_bytes, image_bytes};
use tempfile::TempDir;
use toile::data::{FILE_NAMES, Source, Split};
use toile::data::{TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS};
use toile::error::{Error, Result};

const FLOAT: u8 = 0x0d;

fn label_bytes(labels: &[u8]) -> Vec<u8> {
    idx_bytes(UNSIGNED_BYTE, &[labels.len() as u32], labels)
}

/// Six training and four test images of 4 x 5 pixels in three classes, all files plain.
fn good_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        image_bytes(6, 4, 5),
        label_bytes(&[2, 0, 1, 1, 0, 2]),
        image_bytes(4, 4, 5),
        label_bytes(&[1, 0, 2, 2]),
    ];
    for (name, bytes) in FILE_NAMES.iter().zip(files) {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

fn load(directory: &Path) -> Result<(Split, Split)> {
    let mut source = Source::locate(directory)?;
    Ok((source.load_train()?, source.load_test()?))
}

fn assert_is_good(directory: &Path) {
    let (train, test) = load(directory).unwrap();
    assert_eq!((train.images.count, train.images.rows, train.images.columns), (6, 4, 5));
    assert_eq!(train.images.pixels, image_bytes(6, 4, 5)[16..]);
    assert_eq!(train.images.image(5), &image_bytes(6, 4, 5)[16 + 5 * 20..]);
    assert_eq!(train.labels, [2, 0, 1, 1, 0, 2]);
    assert_eq!(test.images.pixels, image_bytes(4, 4, 5)[16..]);
    assert_eq!(test.labels, [1, 0, 2, 2]);
}

/// One fault: which file of a good directory is spoilt, how, and what the message must say.
struct Case {
    number: u32,
    fault: &'static str,
    file: &'static str,
    spoil: fn(&Path),
    words: &'static [&'static str],
}

const fn case(
    number: u32,
    fault: &'static str,
    file: &'static str,
    spoil: fn(&Path),
    words: &'static [&'static str],
) -> Case {
    Case { number, fault, file, spoil, words }
}

fn rewrite(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    fs::write(path, change(fs::read(path).unwrap())).unwrap();
}

/// Gzips the file where it is, then changes the compressed bytes.
fn gzip_and(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    rewrite(path, |bytes| {
        let mut compressed = gzip(&bytes, Compression::default());
        change(&mut compressed);
        compressed
    });
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    case(1, "missing", TEST_LABELS, |path| fs::remove_file(path).unwrap(), &["no such file", "all four", "train-images-idx3-ubyte"]),
    case(2, "zero bytes", TRAIN_IMAGES, |path| fs::write(path, b"").unwrap(), &["empty"]),
    case(3, "gzip cut inside its header", TRAIN_LABELS, |path| gzip_and(path, |bytes| bytes.truncate(7)), &["truncated gzip header"]),
    case(4, "gzip cut mid-stream", TRAIN_IMAGES, |path| gzip_and(path, |bytes| bytes.truncate(bytes.len() / 2)), &["truncated gzip data"]),
    case(4, "gzip cut inside its checksum", TRAIN_IMAGES, |path| gzip_and(path, |bytes| bytes.truncate(bytes.len() - 5)), &["truncated gzip data", "136 unpacked bytes"]),
    case(5, "one payload bit flipped", TRAIN_IMAGES, flip_a_stored_bit, &["damaged gzip data", "checksum"]),
    case(6, "garbage after the gzip member", TEST_IMAGES, |path| gzip_and(path, |bytes| bytes.extend(b"garbage")), &["followed by bytes that are not gzip data"]),
    case(7, "a second gzip member", TEST_IMAGES, |path| gzip_and(path, |bytes| bytes.extend(gzip(b"more", Compression::default()))), &["4 items of 20 bytes", "80 bytes", "at least 81 bytes"]),
    case(8, "a bomb", TEST_IMAGES, write_bomb, &["80 bytes in all", "at least 81 bytes"]),
    case(10, "labels given as images", TRAIN_IMAGES, |path| fs::write(path, label_bytes(&[0; 6])).unwrap(), &["holds labels", "0x00000801", "expected images", "0x00000803"]),
    case(10, "images given as labels", TRAIN_LABELS, |path| fs::write(path, image_bytes(6, 4, 5)).unwrap(), &["holds images", "0x00000803", "expected labels", "0x00000801"]),
    case(10, "neither images nor labels", TRAIN_IMAGES, |path| fs::write(path, idx_bytes(UNSIGNED_BYTE, &[6, 2, 2, 5], &[0; 120])).unwrap(), &["4 dimensions", "expected images"]),
    case(10, "no IDX file at all", TRAIN_IMAGES, |path| fs::write(path, b"<html>404 not found</html>").unwrap(), &["not an IDX file", "0x3c68746d"]),
    case(11, "float elements", TRAIN_IMAGES, |path| fs::write(path, idx_bytes(FLOAT, &[6, 4, 5], &[0; 480])).unwrap(), &["unsupported element type", "0x0d", "float"]),
    case(12, "sizes whose product overflows", TRAIN_IMAGES, |path| fs::write(path, idx_bytes(UNSIGNED_BYTE, &[u32::MAX; 3], &[0; 9])).unwrap(), &["4294967295", "too large"]),
    case(12, "sizes over the limit", TRAIN_LABELS, |path| fs::write(path, idx_bytes(UNSIGNED_BYTE, &[u32::MAX], &[0; 9])).unwrap(), &["4294967295", "too large", "2147483648"]),
    case(12, "a header that is cut", TRAIN_IMAGES, |path| rewrite(path, |bytes| bytes[..11].to_vec()), &["truncated IDX header", "11 bytes", "expected 16"]),
    case(12, "a header that is cut, gzipped", TRAIN_IMAGES, |path| fs::write(path, gzip(&image_bytes(6, 4, 5)[..11], Compression::default())).unwrap(), &["truncated IDX header", "11 bytes", "expected 16"]),
    case(13, "one item too few", TRAIN_IMAGES, |path| rewrite(path, |bytes| bytes[..16 + 5 * 20].to_vec()), &["6 items", "120 bytes", "100 bytes (5 whole items)"]),
    case(13, "one item too many", TRAIN_LABELS, |path| rewrite(path, |bytes| [bytes, vec![0]].concat()), &["6 items", "7 bytes (7 whole items)"]),
    case(13, "one item too few, gzipped", TRAIN_IMAGES, |path| fs::write(path, gzip(&image_bytes(6, 4, 5)[..16 + 5 * 20], Compression::default())).unwrap(), &["6 items", "120 bytes", "100 bytes (5 whole items)"]),
    case(13, "one item too many, gzipped", TRAIN_LABELS, |path| { rewrite(path, |bytes| [bytes, vec![0]].concat()); gzip_and(path, |_| ()); }, &["6 items", "at least 7 bytes"]),
    case(14, "images and labels differ in count", TEST_LABELS, |path| fs::write(path, label_bytes(&[1, 0, 2])).unwrap(), &["4 images", "3 labels", TEST_IMAGES]),
    case(15, "zero items", TRAIN_IMAGES, |path| fs::write(path, image_bytes(0, 4, 5)).unwrap(), &["[0, 4, 5]", "no zero"]),
    case(15, "zero-sized rows", TRAIN_IMAGES, |path| fs::write(path, image_bytes(6, 4, 0)).unwrap(), &["[6, 4, 0]", "no zero"]),
    case(16, "a gap in the training labels", TRAIN_LABELS, |path| fs::write(path, label_bytes(&[0, 1, 2, 2, 255, 1])).unwrap(), &["label 255 at index 4", "no label is 3"]),
    case(16, "no class zero", TRAIN_LABELS, |path| fs::write(path, label_bytes(&[1, 1, 2, 2, 3, 1])).unwrap(), &["label 1 at index 0", "no label is 0"]),
    case(16, "a test label that is no class", TEST_LABELS, |path| fs::write(path, label_bytes(&[1, 0, 2, 10])).unwrap(), &["label 10 at index 3", "at most 2"]),
    case(17, "test images of another size", TEST_IMAGES, |path| fs::write(path, image_bytes(4, 5, 4)).unwrap(), &["4x5 pixels", "5x4", TRAIN_IMAGES]),
    case(18, "a directory", TRAIN_IMAGES, |path| { fs::remove_file(path).unwrap(); fs::create_dir(path).unwrap(); }, &["a directory", "expected a regular file"]),
    case(18, "a file over the limit", TRAIN_IMAGES, |path| File::options().write(true).open(path).unwrap().set_len(3 << 30).unwrap(), &["3221225472 bytes", "limit of 2147483648"]),
    #[cfg(unix)]
    case(18, "a named pipe without a writer", TEST_LABELS, |path| { fs::remove_file(path).unwrap(); make_pipe(path); }, &["a pipe", "expected a regular file"]),
    #[cfg(unix)]
    case(18, "an endless device", TRAIN_IMAGES, |path| link_to(path, "/dev/zero"), &["device", "expected a regular file"]),
    #[cfg(unix)]
    case(18, "a link to nothing", TRAIN_IMAGES, |path| link_to(path, "/nothing/here"), &["no such file"]),
];

/// Uncompressed blocks keep the pixels as they are, so only the checksum can tell.
fn flip_a_stored_bit(path: &Path) {
    rewrite(path, |bytes| {
        let mut stored = gzip(&bytes, Compression::none());
        let pixel = stored.windows(4).position(|window| *window == bytes[40..44]).unwrap();
        stored[pixel] ^= 1;
        stored
    });
}

/// A gibibyte of zeros behind a header that announces 80 bytes. Its end is cut off: whoever
/// unpacks it all reports a truncated stream, not a body that is too long.
fn write_bomb(path: &Path) {
    let mut bytes = Vec::new();
    let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
    encoder.write_all(&image_bytes(4, 4, 5)[..16]).unwrap();
    assert_eq!(io::copy(&mut io::repeat(0).take(1 << 30), &mut encoder).unwrap(), 1 << 30);
    encoder.finish().unwrap();
    assert!(bytes.len() < 16 << 20, "the bomb is meant to be small: {} bytes", bytes.len());
    bytes.truncate(bytes.len() - 100);
    fs::write(path, bytes).unwrap();
}

#[cfg(unix)]
fn make_pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[cfg(unix)]
fn link_to(path: &Path, target: &str) {
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
}

#[test]
fn every_fault_is_told_by_file_and_reason() {
    for Case { number, fault, file, spoil, words } in CASES {
        let directory = good_directory();
        let path = directory.path().join(file);
        spoil(&path);
        let error = load(directory.path()).expect_err(fault);
        assert!(matches!(error, Error::Input(_)), "case {number}, {fault}: {error:?}");
        let text = error.to_string();
        // A file that is not there is told by its directory and its name.
        let folder = directory.path().to_str().unwrap();
        for word in words.iter().chain([file, &folder]) {
            assert!(text.contains(word), "case {number}, {fault}: no {word:?} in {text:?}");
        }
    }
}

#[test]
fn a_directory_that_is_none_is_told() {
    let directory = good_directory();
    let absent = directory.path().join("absent");
    for path in [absent.as_path(), &directory.path().join(TRAIN_IMAGES), Path::new("fashion-mnits")]
    {
        let error = Source::locate(path).expect_err("not a directory");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("fashion-mnist"), "{text}");
    }
}

#[test]
fn good_files_load_whatever_their_packing_and_suffix() {
    let plain = good_directory();
    assert_is_good(plain.path());

    let compressed = good_directory();
    let without_suffix = good_directory();
    let wrong_suffix = good_directory();
    let two_members = good_directory();
    for name in FILE_NAMES {
        let bytes = fs::read(plain.path().join(name)).unwrap();
        let suffixed = |directory: &TempDir| directory.path().join(format!("{name}.gz"));

        fs::write(suffixed(&compressed), gzip(&bytes, Compression::best())).unwrap();
        fs::remove_file(compressed.path().join(name)).unwrap();

        fs::write(without_suffix.path().join(name), gzip(&bytes, Compression::default())).unwrap();

        fs::rename(wrong_suffix.path().join(name), suffixed(&wrong_suffix)).unwrap();

        let halves = bytes.split_at(bytes.len() / 2);
        let members = [halves.0, halves.1].map(|half| gzip(half, Compression::default()));
        fs::write(two_members.path().join(name), members.concat()).unwrap();
    }
    for directory in [compressed, without_suffix, wrong_suffix, two_members] {
        assert_is_good(directory.path());
    }
}

#[test]
fn a_located_directory_is_described() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("my clothes");
    fs::rename(good_directory().keep(), &inner).unwrap();
    let mut source = Source::locate(&inner).unwrap();
    assert_eq!(source.name(), "my_clothes");
    assert_eq!(source.image_size(), (4, 5));
    assert_eq!((source.train_count(), source.test_count()), (6, 4));
    assert_eq!(source.class_names(), ["0", "1", "2"]);

    let labels = [&TEST_LABELS, &TRAIN_LABELS];
    assert_eq!(source.fingerprint().keys().collect::<Vec<_>>(), labels);
    source.load_test().unwrap();
    source.load_train().unwrap();
    assert_eq!(source.fingerprint().len(), 4);
    // By sha256sum, of 00 00 08 01, 00 00 00 06, 02 00 01 01 00 02.
    assert_eq!(
        source.fingerprint()[TRAIN_LABELS],
        "a89a27bf3bb74b21738402c609aaaa21c6fc72fb427500d62df291d1efd233a5"
    );
}

#[test]
fn a_file_that_changes_after_it_was_located_is_refused() {
    let directory = good_directory();
    let mut source = Source::locate(directory.path()).unwrap();
    fs::write(directory.path().join(TRAIN_IMAGES), image_bytes(7, 4, 5)).unwrap();
    let error = source.load_train().expect_err("changed");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("has changed"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_path_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::rename(good_directory().keep(), &inner).unwrap();
    assert_is_good(&inner);
}
