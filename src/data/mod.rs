//! Data sets: where they are found and how they are read.
//!
//! A data set is four IDX files: images and labels of a training part and of a test part.
//! [`Source::locate`] finds and checks them, by name or by directory, and [`Source::obtain`] also
//! fetches what is not there; the parts are then loaded one by one, so that test images stay
//! closed until a training is over. Everything here is bytes in main memory: how they become
//! numbers for a network is not this module's business.

mod apt;
pub mod batches;
mod download;
mod fashion_mnist;
pub mod idx;
mod obtain;
mod places;
mod source;

use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use places::Place;

pub use obtain::Reporter;
pub use source::Source;

/// File name of the training images.
pub const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
/// File name of the training labels.
pub const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
/// File name of the test images.
pub const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
/// File name of the test labels.
pub const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// The names of the four files of a data set; on disk each may also end in `.gz`.
pub const FILE_NAMES: [&str; 4] = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS];

/// Grey images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The number of images.
    pub count: usize,
    /// Pixels from top to bottom.
    pub rows: usize,
    /// Pixels from left to right.
    pub columns: usize,
    /// Brightness, 0 to 255: `[count, rows, columns]`, the last running fastest.
    pub pixels: Vec<u8>,
}

impl Images {
    /// The `rows * columns` pixels of one image.
    ///
    /// # Panics
    /// When `index` is not below `count`.
    #[must_use]
    #[track_caller]
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.rows * self.columns;
        &self.pixels[index * size..][..size]
    }
}

/// A training or a test part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The images.
    pub images: Images,
    /// The class number of each image, as many as there are images.
    pub labels: Vec<u8>,
}

impl Split {
    /// Some of the images, left and right exchanged, with their labels.
    ///
    /// # Panics
    /// When the range reaches beyond the last image.
    #[must_use]
    #[track_caller]
    pub fn mirrored(&self, range: Range<usize>) -> Split {
        let Images { rows, columns, ref pixels, .. } = self.images;
        let mut pixels = pixels[range.start * rows * columns..range.end * rows * columns].to_vec();
        pixels.chunks_exact_mut(columns).for_each(<[u8]>::reverse);
        let images = Images { count: range.len(), rows, columns, pixels };
        Split { images, labels: self.labels[range].to_vec() }
    }
}

/// A data set that has a name of its own.
#[derive(Debug)]
struct KnownDataSet {
    name: &'static str,
    /// Its name for people.
    title: &'static str,
    /// In the order of the class numbers.
    class_names: &'static [&'static str],
    files: [KnownFile; 4],
    /// Where a machine usually keeps it, the first to be looked at first.
    places: fn() -> Vec<Place>,
    /// The folder that fetched files go to, one of `places`.
    folder: &'static str,
    /// What the names of gzipped files are appended to, to fetch them.
    mirrors: &'static [&'static str],
    debian: Option<DebianPackage>,
}

/// A published file.
#[derive(Debug)]
struct KnownFile {
    /// One of [`FILE_NAMES`].
    name: &'static str,
    /// SHA-256 of the unpacked file, in lower-case hexadecimal digits.
    sha256: &'static str,
    unpacked_bytes: u64,
    /// The size of the published `.gz`; other copies may be packed a little differently.
    packed_bytes: u64,
}

/// A package of Debian's that holds the four files, gzipped.
#[derive(Debug)]
struct DebianPackage {
    name: &'static str,
    /// Where an installed package keeps them.
    directory: &'static str,
}

impl KnownDataSet {
    /// # Panics
    /// When `file_name` is not one of [`FILE_NAMES`].
    fn sha256_of(&self, file_name: &str) -> &'static str {
        let entry = self.files.iter().find(|file| file.name == file_name);
        entry.expect("every data set lists all four files").sha256
    }
}

/// The name table: another data set is one more file beside this one, and its line here.
static KNOWN_DATA_SETS: [&KnownDataSet; 1] = [&fashion_mnist::FASHION_MNIST];

/// The names that [`Source::locate`] and [`Source::obtain`] take instead of a directory.
pub fn known_names() -> impl Iterator<Item = &'static str> {
    KNOWN_DATA_SETS.iter().map(|known| known.name)
}

fn known_by_name(name: &OsStr) -> Option<&'static KnownDataSet> {
    KNOWN_DATA_SETS.into_iter().find(|known| name == known.name)
}

/// The path of one of [`FILE_NAMES`] in `directory`; the plain file goes before the gzipped one.
/// A broken link counts as present, so that opening it says what is wrong.
fn find_file(directory: &Path, name: &str) -> Option<PathBuf> {
    [directory.join(name), directory.join(format!("{name}.gz"))]
        .into_iter()
        .find(|path| fs::symlink_metadata(path).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_image_has_its_lines_reversed() {
        let images = Images { count: 3, rows: 2, columns: 3, pixels: (0..18).collect() };
        let part = Split { images, labels: vec![7, 8, 9] };
        let mirrored = part.mirrored(1..3);
        assert_eq!(mirrored.labels, [8, 9]);
        assert_eq!(mirrored.images.count, 2);
        assert_eq!(mirrored.images.image(0), [8, 7, 6, 11, 10, 9]);
        assert_eq!(mirrored.images.image(1), [14, 13, 12, 17, 16, 15]);
        assert_eq!(mirrored.mirrored(0..2).images.pixels, part.images.pixels[6..]);
    }
}
