//! Fashion-MNIST: what its classes are called, which bytes are the published ones, where a
//! machine usually keeps them, and who hands them out.

use std::env;
use std::path::PathBuf;

use super::places::Place;
use super::{DebianPackage, KnownDataSet, KnownFile};
use super::{TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS};

const FOLDER: &str = "data/fashion-mnist";
const DEBIAN: DebianPackage =
    DebianPackage { name: "dataset-fashion-mnist", directory: "/usr/share/datasets/fashion-mnist" };

pub(super) static FASHION_MNIST: KnownDataSet = KnownDataSet {
    name: "fashion-mnist",
    title: "Fashion-MNIST",
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
    files: [
        KnownFile {
            name: TRAIN_IMAGES,
            sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            unpacked_bytes: 47_040_016,
            packed_bytes: 26_421_880,
        },
        KnownFile {
            name: TRAIN_LABELS,
            sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            unpacked_bytes: 60_008,
            packed_bytes: 29_515,
        },
        KnownFile {
            name: TEST_IMAGES,
            sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            unpacked_bytes: 7_840_016,
            packed_bytes: 4_422_102,
        },
        KnownFile {
            name: TEST_LABELS,
            sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            unpacked_bytes: 10_008,
            packed_bytes: 5_148,
        },
    ],
    places: || {
        let variable =
            |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        places(variable("TOILE_DATA_DIR"), variable("KERAS_HOME"), env::home_dir())
    },
    folder: FOLDER,
    // The last one speaks no https; what it sends is judged by its checksum like everything else.
    mirrors: &[
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ],
    debian: Some(DEBIAN),
};

fn places(chosen: Option<PathBuf>, keras: Option<PathBuf>, home: Option<PathBuf>) -> Vec<Place> {
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let keras = keras.or_else(|| in_home(".keras"));
    let place = |origin, directory| Place { origin, directory };
    vec![
        place("TOILE_DATA_DIR", chosen),
        place("data folder", Some(FOLDER.into())),
        place("Debian's package", Some(DEBIAN.directory.into())),
        place("Keras's cache", keras.map(|keras| keras.join("datasets/fashion-mnist"))),
        place("torchvision's files", Some("data/FashionMNIST/raw".into())),
        place("torchvision's files", in_home("data/FashionMNIST/raw")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_checksum_list_for_the_shell_says_the_same() {
        let listed: Vec<_> = include_str!("../../data/SHA256SUMS")
            .lines()
            .map(|line| line.split_once("  fashion-mnist/").unwrap())
            .map(|(sum, name)| (name, sum))
            .collect();
        let known = FASHION_MNIST.files.iter().map(|file| (file.name, file.sha256));
        assert_eq!(listed, known.collect::<Vec<_>>());
    }
}
