//! The places on a machine where a data set may lie, and what is said when it lies in none.

use std::fs;
use std::path::{Path, PathBuf, absolute};

use super::{FILE_NAMES, KnownDataSet, find_file};
use crate::error::Error;

/// A directory worth a look; none where nothing says which one it would be.
pub(super) struct Place {
    pub(super) origin: &'static str,
    pub(super) directory: Option<PathBuf>,
}

/// The first place that has all four files. Their content is judged by whoever opens them: a
/// damaged copy is worth an error, not a silent step to the next place.
pub(super) fn first_complete(places: &[Place]) -> Option<PathBuf> {
    let complete =
        |directory: &&PathBuf| FILE_NAMES.iter().all(|name| find_file(directory, name).is_some());
    places.iter().filter_map(|place| place.directory.as_ref()).find(complete).cloned()
}

/// What is said where the first place, which the user chose, is passed over.
pub(super) fn chosen_in_vain(places: &[Place]) -> Option<String> {
    let chosen = places.first().filter(|place| place.directory.is_some())?;
    let complete = first_complete(std::slice::from_ref(chosen)).is_some();
    (!complete).then(|| format!("notice: {}; looking elsewhere", describe(chosen)))
}

/// The error for a data set that is in none of `places`; `failures` tells of each attempt to
/// fetch it, if there were any.
pub(super) fn not_found(known: &KnownDataSet, places: &[Place], failures: &[String]) -> Error {
    let mut lines = vec![format!("{} was not found. These places were tried:", known.title)];
    lines.extend(places.iter().map(|place| format!("  {}", describe(place))));
    if !failures.is_empty() {
        lines.push("It could not be fetched either:".to_owned());
        lines.extend(failures.iter().map(|failure| format!("  {failure}")));
    }
    lines.push("Do one of these:".to_owned());
    if !failures.is_empty() {
        lines.push("  connect this machine to the internet and start again".to_owned());
    }
    if let Some(package) = &known.debian {
        lines.push(format!("  install Debian's package {}", package.name));
    }
    lines.push(format!(
        "  put the four files {} (plain or with .gz) into {}",
        FILE_NAMES.join(", "),
        known.folder
    ));
    lines.push("  set TOILE_DATA_DIR to the directory that holds them".to_owned());
    Error::Failure(lines.join("\n"))
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
    use crate::data::{KNOWN_DATA_SETS, TEST_IMAGES, TRAIN_IMAGES, TRAIN_LABELS};

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
    fn a_choice_that_is_passed_over_is_told() {
        let (partial, whole) = (with_files(&[TRAIN_IMAGES]), with_files(&FILE_NAMES));
        let unset = Place { origin: "TOILE_DATA_DIR", directory: None };
        assert_eq!(chosen_in_vain(&[unset, place(partial.path())]), None);
        assert_eq!(chosen_in_vain(&[place(whole.path())]), None);
        let notice = chosen_in_vain(&[place(partial.path()), place(whole.path())]).unwrap();
        let folder = partial.path().to_str().unwrap();
        assert!(notice.contains(folder) && notice.contains("incomplete"), "{notice}");
    }

    #[test]
    fn nothing_found_lists_every_place_and_what_to_do() {
        let (partial, empty) = (with_files(&[TRAIN_IMAGES]), with_files(&[]));
        let absent = empty.path().join("absent");
        let unset = Place { origin: "TOILE_DATA_DIR", directory: None };
        let places = [unset, place(partial.path()), place(empty.path()), place(&absent)];

        assert_eq!(first_complete(&places), None);
        let error = not_found(KNOWN_DATA_SETS[0], &places, &[]);
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
}
