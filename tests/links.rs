//! The pages point to files that are there.

use std::path::Path;

/// The targets of a page's links and pictures, `](...)`, without those on the web and in the page.
fn targets(page: &str) -> Vec<&str> {
    let target = |rest: &'_ str| -> usize { rest.find([')', '#']).unwrap_or(rest.len()) };
    page.split("](")
        .skip(1)
        .map(|rest| &rest[..target(rest)])
        .filter(|target| !target.is_empty() && !target.starts_with("http"))
        .collect()
}

#[test]
fn every_link_has_its_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    let mut checked = 0;
    for page in [
        "README.md",
        "docs/coming-from-keras.md",
        "docs/training.md",
        "data/README.md",
        "tests/golden/README.md",
    ] {
        let path = root.join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        for target in targets(&text) {
            checked += 1;
            if !path.parent().unwrap().join(target).exists() {
                missing.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(checked > 10, "only {checked} links were found");
    assert!(missing.is_empty(), "links to nothing: {}", missing.join(", "));
}

#[test]
fn a_link_to_nothing_would_be_seen() {
    let page = "[a](docs/x.md) ![b](y.png) [c](https://z) [d](#there) [e](f.md#part)";
    assert_eq!(targets(page), ["docs/x.md", "y.png", "f.md"]);
}
