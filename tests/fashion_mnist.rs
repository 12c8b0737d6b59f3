//! The real Fashion-MNIST, where this machine has it, against what is published about it.
//!
//! Without the data these tests say so and pass; with `TOILE_REQUIRE_DATA=1` they fail instead.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use toile::data::{Source, Split};

fn locate() -> Option<Source> {
    match Source::locate(Path::new("fashion-mnist")) {
        Ok(source) => Some(source),
        Err(error) if error.exit_code() == 1 => {
            let required = std::env::var("TOILE_REQUIRE_DATA").is_ok_and(|value| value == "1");
            assert!(!required, "TOILE_REQUIRE_DATA=1, but {error}");
            // Written directly: the test harness would swallow a print.
            io::stderr().write_all(format!("SKIPPED, no data: {error}\n").as_bytes()).unwrap();
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn assert_balanced(part: &Split, images_a_class: usize) {
    for class in 0..10 {
        let found = part.labels.iter().filter(|&&label| label == class).count();
        assert_eq!(found, images_a_class, "class {class}");
    }
}

#[test]
fn it_is_the_published_data_set() {
    let Some(mut source) = locate() else { return };
    assert_eq!(source.name(), "fashion-mnist");
    assert_eq!(source.image_size(), (28, 28));
    assert_eq!(source.class_names().len(), 10);
    assert_eq!(
        (&*source.class_names()[0], &*source.class_names()[9]),
        ("T-shirt/top", "Ankle boot")
    );

    let train = source.load_train().unwrap();
    let test = source.load_test().unwrap();
    assert_eq!((train.images.count, test.images.count), (60_000, 10_000));
    assert_balanced(&train, 6_000);
    assert_balanced(&test, 1_000);

    // The constants that others normalise with: mean 0.2860, standard deviation 0.3530.
    let values = train.images.pixels.iter().map(|&pixel| f64::from(pixel) / 255.0);
    let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    let count = train.images.pixels.len() as f64;
    let mean = sum / count;
    let deviation = (squares / count - mean * mean).sqrt();
    assert!((mean - 0.2860).abs() < 5e-5, "{mean}");
    assert!((deviation - 0.3530).abs() < 5e-5, "{deviation}");

    let published: BTreeMap<_, _> = include_str!("../data/SHA256SUMS")
        .lines()
        .map(|line| line.split_once("  fashion-mnist/").unwrap())
        .map(|(sum, name)| (name, sum.to_owned()))
        .collect();
    assert_eq!(*source.fingerprint(), published);
}

#[test]
fn a_directory_with_its_labels_has_its_class_names() {
    let Some(known) = locate() else { return };
    let source = Source::locate(known.directory()).unwrap();
    assert_eq!(source.class_names(), known.class_names());
}
