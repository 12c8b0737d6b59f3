//! Fashion-MNIST: what its classes are called, which bytes are the published ones, and where a
//! machine usually keeps them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf, absolute};

use super::{FILE_NAMES, KnownDataSet, find_file};
use super::{TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS};
use crate::error::{Error, Result};

pub(super) static FASHION_MNIST: KnownDataSet = KnownDataSet {
    name: "fashion-mnist",
    class_names: &[
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
    sha256: [
        (TRAIN_IMAGES, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        (TRAIN_LABELS, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        (TEST_IMAGES, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        (TEST_LABELS, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ],
    find,
};

/// The first place that has all four files. Their content is judged by whoever opens them: a
/// damaged copy is worth an error, not a silent step to the next place.
fn find() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let places = places(variable("TOILE_DATA_DIR"), variable("KERAS_HOME"), env::home_dir());
    first_complete(&places).ok_or_else(|| not_found(&places))
}

/// A directory worth a look; none where nothing says which one it would be.
struct Place {
    origin: &'static str,
    directory: Option<PathBuf>,
}

/// All places, the first to be looked at first.
fn places(chosen: Option<PathBuf>, keras: Option<PathBuf>, home: Option<PathBuf>) -> Vec<Place> {
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let keras = keras.or_else(|| in_home(".keras"));
    let place = |origin, directory| Place { origin, directory };
    vec![
        place("TOILE_DATA_DIR", chosen),
        place("data folder", Some("data/fashion-mnist".into())),
        place("Debian's package", Some("/usr/share/datasets/fashion-mnist".into())),
        place("Keras's cache", keras.map(|keras| keras.join("datasets/fashion-mnist"))),
        place("torchvision's files", Some("data/FashionMNIST/raw".into())),
        place("torchvision's files", in_home("data/FashionMNIST/raw")),
    ]
}

fn first_complete(places: &[Place]) -> Option<PathBuf> {
    let complete =
        |directory: &&PathBuf| FILE_NAMES.iter().all(|name| find_file(directory, name).is_some());
    places.iter().filter_map(|place| place.directory.as_ref()).find(complete).cloned()
}

fn not_found(places: &[Place]) -> Error {
    let tried: Vec<_> = places.iter().map(|place| format!("  {}", describe(place))).collect();
    Error::Failure(format!(
        "Fashion-MNIST was not found. These places were tried:\n{}\nDo one of these:\n  \
         install Debian's package dataset-fashion-mnist\n  \
         put the four files {} (plain or with .gz) into data/fashion-mnist\n  \
         set TOILE_DATA_DIR to the directory that holds them",
        tried.join("\n"),
        FILE_NAMES.join(", "),
    ))
}

/// One line on what a place that is not complete has.
fn describe(place: &Place) -> String {
    let Some(directory) = &place.directory else {
        return format!("{}: not set", place.origin);
    };
    let shown = absolute(directory).unwrap_or_else(|_| directory.clone());
    format!("{} ({}): {}", shown.display(), place.origin, contents(directory))
}

fn contents(directory: &Path) -> String {
    if let Err(error) = fs::read_dir(directory) {
        return error.to_string();
    }
    let (present, missing): (Vec<_>, Vec<_>) =
        FILE_NAMES.into_iter().partition(|name| find_file(directory, name).is_some());
    if present.is_empty() {
        return "has none of the four files".to_owned();
    }
    format!("incomplete: has {}, lacks {}", present.join(", "), missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_files(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(directory.path().join(name), b"").unwrap();
        }
        directory
    }

    fn place(directory: &Path) -> Place {
        Place { origin: "a test", directory: Some(directory.to_owned()) }
    }

    #[test]
    fn places_come_in_the_promised_order() {
        let places = places(Some("/chosen".into()), None, Some("/home/someone".into()));
        let directories: Vec<_> =
            places.into_iter().map(|place| place.directory.unwrap()).collect();
        let expected = [
            "/chosen",
            "data/fashion-mnist",
            "/usr/share/datasets/fashion-mnist",
            "/home/someone/.keras/datasets/fashion-mnist",
            "data/FashionMNIST/raw",
            "/home/someone/data/FashionMNIST/raw",
        ];
        assert_eq!(directories, expected.map(PathBuf::from));
    }

    #[test]
    fn the_first_complete_place_wins_plain_or_gzipped() {
        let partial = with_files(&[TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES]);
        let mixed =
            with_files(&[TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, "t10k-labels-idx1-ubyte.gz"]);
        let whole = with_files(&FILE_NAMES);
        let unset = Place { origin: "a test", directory: None };
        let places = [unset, place(partial.path()), place(mixed.path()), place(whole.path())];
        assert_eq!(first_complete(&places).as_deref(), Some(mixed.path()));
    }

    #[test]
    fn nothing_found_lists_every_place_and_what_to_do() {
        let (partial, empty) = (with_files(&[TRAIN_IMAGES]), with_files(&[]));
        let absent = empty.path().join("absent");
        let unset = Place { origin: "TOILE_DATA_DIR", directory: None };
        let places = [unset, place(partial.path()), place(empty.path()), place(&absent)];

        assert_eq!(first_complete(&places), None);
        let error = not_found(&places);
        assert_eq!(error.exit_code(), 1);
        let text = error.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].contains("TOILE_DATA_DIR") && lines[1].ends_with("not set"), "{text}");
        assert!(lines[2].contains(partial.path().to_str().unwrap()), "{text}");
        assert!(
            lines[2].contains("has train-images-idx3-ubyte, lacks train-labels-idx1-ubyte"),
            "{text}"
        );
        assert!(lines[3].contains(empty.path().to_str().unwrap()), "{text}");
        assert!(lines[3].ends_with("none of the four files"), "{text}");
        assert!(lines[4].contains(absent.to_str().unwrap()), "{text}");
        for advice in ["dataset-fashion-mnist", "data/fashion-mnist", "set TOILE_DATA_DIR"] {
            assert!(lines[5..].iter().any(|line| line.contains(advice)), "{advice}: {text}");
        }
    }

    #[test]
    fn the_checksum_list_for_the_shell_says_the_same() {
        let listed: Vec<_> = include_str!("../../data/SHA256SUMS")
            .lines()
            .map(|line| line.split_once("  fashion-mnist/").unwrap())
            .map(|(sum, name)| (name, sum))
            .collect();
        assert_eq!(listed, FASHION_MNIST.sha256);
    }
}
