//! Folders of data files: which are taken, and what is said about them. What becomes of broken
//! files is the table of `bad_input`.

mod idx_files;

use std::fs;
use std::path::Path;

use flate2::Compression;
use idx_files::{UNSIGNED_BYTE, gzip, idx_bytes, image_bytes};
use tempfile::TempDir;
use toile::data::{FILE_NAMES, Source, Split, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS};
use toile::error::Result;

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
