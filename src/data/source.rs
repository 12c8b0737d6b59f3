//! A data set that was found and checked: what the trainer opens.
//!
//! All four files are looked at before anything else happens, so that a run cannot fail on its
//! last line because of a test file that was never there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::idx::{self, IdxContent, IdxFile, IdxHeader};
use super::{FILE_NAMES, Images, KNOWN_DATA_SETS, KnownDataSet, Split};
use super::{Reporter, obtain, places};
use super::{TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS};
use crate::error::{Error, Result};

/// Four files whose headers are right and agree, and whose classes are known.
#[derive(Debug)]
pub struct Source {
    name: String,
    directory: PathBuf,
    /// Set when it was asked for by name: then every file must be the published one.
    known: Option<&'static KnownDataSet>,
    train: Part,
    test: Part,
    train_labels: Vec<u8>,
    test_labels: Vec<u8>,
    class_names: Vec<String>,
    fingerprint: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
struct Part {
    images: DataFile,
    labels: DataFile,
}

#[derive(Debug)]
struct DataFile {
    name: &'static str,
    path: PathBuf,
    content: IdxContent,
    header: IdxHeader,
}

impl Source {
    /// Finds a data set by its name, or takes a directory that holds the four files of
    /// [`FILE_NAMES`], plain or gzipped. Checks their presence, their headers and that they
    /// agree, and reads the training labels, which say what the classes are. Looks at this
    /// machine only; [`Source::obtain`] looks further.
    ///
    /// # Errors
    /// [`Error::Failure`] when a data set known by name is nowhere to be found;
    /// [`Error::Input`] when a file is missing, damaged or does not fit the others, when class
    /// numbers leave a gap, or when a known data set is not the published one;
    /// [`Error::Storage`] when reading fails.
    pub fn locate(name_or_directory: &Path) -> Result<Source> {
        if let Some(known) = super::known_by_name(name_or_directory.as_os_str()) {
            let places = (known.places)();
            let directory = places::first_complete(&places)
                .ok_or_else(|| places::not_found(known, &places, &[]))?;
            return Source::open(known.name.to_owned(), &directory, Some(known));
        }
        if !fs::metadata(name_or_directory).is_ok_and(|metadata| metadata.is_dir()) {
            let names: Vec<_> = super::known_names().collect();
            return Err(Error::Input(format!(
                "{}: neither a readable directory nor a data set known by name ({}); \
                 a directory must hold {}, each plain or with .gz",
                name_or_directory.display(),
                names.join(", "),
                FILE_NAMES.join(", "),
            )));
        }
        Source::open(directory_name(name_or_directory), name_or_directory, None)
    }

    /// Like [`Source::locate`]; a data set known by name that is nowhere on this machine is
    /// fetched first, from its mirrors or else out of Debian's package, into its folder below the
    /// current directory. `reporter` hears how that goes. Files appear there whole, with the
    /// published content, or not at all, whoever else fetches them at the same time; what an
    /// interrupted run leaves behind, the next one goes on with.
    ///
    /// # Errors
    /// As for [`Source::locate`]; [`Error::Failure`] tells every place and every source that was
    /// tried. [`Error::Storage`] also when the files cannot be written.
    pub fn obtain(name_or_directory: &Path, reporter: &mut dyn Reporter) -> Result<Source> {
        match super::known_by_name(name_or_directory.as_os_str()) {
            Some(known) => {
                let directory = obtain::obtain(known, reporter)?;
                Source::open(known.name.to_owned(), &directory, Some(known))
            }
            None => Source::locate(name_or_directory),
        }
    }

    fn open(
        name: String,
        directory: &Path,
        known: Option<&'static KnownDataSet>,
    ) -> Result<Source> {
        require_presence(directory)?;
        let train = Part::open(directory, TRAIN_IMAGES, TRAIN_LABELS)?;
        let test = Part::open(directory, TEST_IMAGES, TEST_LABELS)?;
        require_same_size(&train.images, &test.images)?;
        let mut fingerprint = BTreeMap::new();
        let labels = train.labels.read(known, &mut fingerprint)?;
        let class_names = class_names(&train.labels.path, &labels)?;
        let test_labels = test.labels.read(known, &mut fingerprint)?.body;
        check_labels(&test.labels.path, &test_labels, class_names.len())?;
        Ok(Source {
            name,
            directory: directory.to_owned(),
            known,
            train,
            test,
            train_labels: labels.body,
            test_labels,
            class_names,
            fingerprint,
        })
    }

    /// Reads the training images.
    ///
    /// # Errors
    /// [`Error::Input`] when the file is damaged, has changed since it was located, or is not the
    /// published one of a known data set; [`Error::Storage`] when reading fails.
    pub fn load_train(&mut self) -> Result<Split> {
        let images = self.train.images.read(self.known, &mut self.fingerprint)?;
        Ok(Split { images: into_images(images), labels: self.train_labels.clone() })
    }

    /// Reads the test images.
    ///
    /// # Errors
    /// As for [`Source::load_train`].
    pub fn load_test(&mut self) -> Result<Split> {
        let images = self.test.images.read(self.known, &mut self.fingerprint)?;
        Ok(Split { images: into_images(images), labels: self.test_labels.clone() })
    }

    /// The name of the data set, or of its directory with everything but letters, digits, `.`,
    /// `-` and `_` replaced by `_`: fit to be part of a file name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Rows and columns of every image.
    #[must_use]
    pub fn image_size(&self) -> (usize, usize) {
        (self.train.images.header.rows, self.train.images.header.columns)
    }

    /// The number of training images.
    #[must_use]
    pub fn train_count(&self) -> usize {
        self.train.images.header.count
    }

    /// The class number of each training image.
    #[must_use]
    pub fn train_labels(&self) -> &[u8] {
        &self.train_labels
    }

    /// The number of test images.
    #[must_use]
    pub fn test_count(&self) -> usize {
        self.test.images.header.count
    }

    /// The class names in the order of the class numbers: those of a known data set whose
    /// training labels these are, else `"0"`, `"1"`, ...
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// File name (of [`FILE_NAMES`]) and SHA-256 of the unpacked content, for every file that was
    /// read so far: at first the labels, each load adds its images.
    #[must_use]
    pub fn fingerprint(&self) -> &BTreeMap<&'static str, String> {
        &self.fingerprint
    }
}

impl Part {
    fn open(directory: &Path, images: &'static str, labels: &'static str) -> Result<Part> {
        let images = DataFile::open(directory, images, IdxContent::Images)?;
        let labels = DataFile::open(directory, labels, IdxContent::Labels)?;
        if images.header.count != labels.header.count {
            return Err(Error::Input(format!(
                "{} has {} images, but {} has {} labels, expected as many; fetch both again",
                images.path.display(),
                images.header.count,
                labels.path.display(),
                labels.header.count,
            )));
        }
        Ok(Part { images, labels })
    }
}

impl DataFile {
    fn open(directory: &Path, name: &'static str, content: IdxContent) -> Result<DataFile> {
        let path = super::find_file(directory, name).unwrap_or_else(|| directory.join(name));
        let header = idx::read_header(&path, content)?;
        Ok(DataFile { name, path, content, header })
    }

    /// Reads the file and notes its checksum in `fingerprint`; of a `known` data set only the
    /// published file will do.
    fn read(
        &self,
        known: Option<&KnownDataSet>,
        fingerprint: &mut BTreeMap<&'static str, String>,
    ) -> Result<IdxFile> {
        let file = idx::read(&self.path, self.content)?;
        let (path, found) = (self.path.display(), &file.sha256);
        if let Some(known) = known {
            let expected = known.sha256_of(self.name);
            if found != expected {
                return Err(Error::Input(format!(
                    "{path}: not the published file of {}: expected SHA-256 {expected}, found {found}; \
                     fetch the file again, or give its directory as --data to use it as it is",
                    known.name,
                )));
            }
        }
        if file.header != self.header {
            return Err(Error::Input(format!(
                "{path}: the file has changed since it was located, expected {:?}, found {:?}; start again",
                self.header, file.header,
            )));
        }
        fingerprint.insert(self.name, file.sha256.clone());
        Ok(file)
    }
}

fn require_presence(directory: &Path) -> Result<()> {
    let missing: Vec<_> =
        FILE_NAMES.into_iter().filter(|name| super::find_file(directory, name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Input(format!(
        "{}: no such file as {}, plain or with .gz; a data directory must hold all four of \
         {}: put them there, or give another --data",
        directory.display(),
        missing.join(", "),
        FILE_NAMES.join(", "),
    )))
}

fn require_same_size(train: &DataFile, test: &DataFile) -> Result<()> {
    let size = |file: &DataFile| (file.header.rows, file.header.columns);
    if size(train) == size(test) {
        return Ok(());
    }
    let ((train_rows, train_columns), (test_rows, test_columns)) = (size(train), size(test));
    Err(Error::Input(format!(
        "{} has images of {train_rows}x{train_columns} pixels, but {} of {test_rows}x{test_columns}, \
         expected one size; fetch both again",
        train.path.display(),
        test.path.display(),
    )))
}

/// The names of the classes 0..K-1 that occur in `labels`, each of which must.
fn class_names(path: &Path, labels: &IdxFile) -> Result<Vec<String>> {
    let is_these = |known: &&KnownDataSet| known.sha256_of(TRAIN_LABELS) == labels.sha256;
    if let Some(known) = KNOWN_DATA_SETS.into_iter().find(is_these) {
        return Ok(known.class_names.iter().map(ToString::to_string).collect());
    }
    let mut occurs = [false; 256];
    for &label in &labels.body {
        occurs[usize::from(label)] = true;
    }
    let classes = occurs.iter().position(|&occurs| !occurs).unwrap_or(occurs.len());
    match labels.body.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok((0..classes).map(|class| class.to_string()).collect()),
        Some(index) => Err(Error::Input(format!(
            "{}: label {} at index {index}, although no label is {classes}; \
             expected the class numbers 0 to K-1 without a gap, correct the labels",
            path.display(),
            labels.body[index],
        ))),
    }
}

/// Checks that every test label is one of the training labels.
fn check_labels(path: &Path, labels: &[u8], classes: usize) -> Result<()> {
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(()),
        Some(index) => Err(Error::Input(format!(
            "{}: label {} at index {index}, expected at most {}, the highest of the training labels; \
             correct the labels",
            path.display(),
            labels[index],
            classes - 1,
        ))),
    }
}

/// The last part of a path, also where it is written `.` or `..`.
fn directory_name(directory: &Path) -> String {
    let resolved = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let name = directory.file_name().or(resolved.file_name()).unwrap_or(OsStr::new("data"));
    let keep = |letter: char| {
        if letter.is_alphanumeric() || "._-".contains(letter) { letter } else { '_' }
    };
    name.to_string_lossy().chars().map(keep).collect()
}

fn into_images(file: IdxFile) -> Images {
    let IdxHeader { count, rows, columns } = file.header;
    Images { count, rows, columns, pixels: file.body }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One 1x1 image and its label in each part: well-formed, and nothing that was ever published.
    fn tiny_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in [TRAIN_IMAGES, TEST_IMAGES] {
            let bytes = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 77];
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        for name in [TRAIN_LABELS, TEST_LABELS] {
            fs::write(directory.path().join(name), [0, 0, 8, 1, 0, 0, 0, 1, 0]).unwrap();
        }
        directory
    }

    #[test]
    fn a_known_name_takes_the_published_files_only() {
        let directory = tiny_directory();
        let path = directory.path();
        assert!(Source::open("tiny".to_owned(), path, None).is_ok());

        let known = KNOWN_DATA_SETS[0];
        let error = Source::open("tiny".to_owned(), path, Some(known)).expect_err("other labels");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        let found = "dd6678dd4d4a65187aea2998f0283b84b0954bdf39e390aedd72b021aca7a29e";
        let expected = "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9";
        let label_path = path.join(TRAIN_LABELS);
        for word in [label_path.to_str().unwrap(), "fashion-mnist", expected, found, "again"] {
            assert!(text.contains(word), "no {word:?} in {text:?}");
        }
    }

    #[test]
    fn a_directory_lends_its_name_as_a_file_name() {
        let named = |path: &str| directory_name(Path::new(path));
        assert_eq!(named("some/where/kuzushiji-49"), "kuzushiji-49");
        assert_eq!(named("my clothes/\u{1b}[31mred"), "__31mred");
        assert_eq!(named("/"), "data");
        let here = std::env::current_dir().unwrap();
        assert_eq!(named("."), named(here.to_str().unwrap()));
    }
}
