//! What a folder holds before and after a program ran in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files up to this size are compared by content, larger ones by size and time.
const COMPARED_BYTES: u64 = 16 << 20;

/// Holds the number of the process that last used a run folder, so even a look changes it.
const LOCK: &str = ".toile.lock";

/// What is seen of a file without opening pipes or devices.
#[derive(PartialEq)]
pub struct Seen {
    bytes: u64,
    kind: fs::FileType,
    changed: Option<SystemTime>,
    content: Option<u64>,
}

/// What lies in a folder and the folders inside, but for locks.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let compared = metadata.is_file() && metadata.len() <= COMPARED_BYTES;
            let seen = Seen {
                bytes: metadata.len(),
                kind: metadata.file_type(),
                changed: metadata.is_file().then(|| metadata.modified().unwrap()),
                content: compared.then(|| hash(&fs::read(&path).unwrap())),
            };
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            if path.file_name() != Some(OsStr::new(LOCK)) {
                found.insert(path, seen);
            }
        }
    }
    found
}

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}

/// What is gone, has changed or is new.
pub fn differences(
    before: &BTreeMap<PathBuf, Seen>,
    after: &BTreeMap<PathBuf, Seen>,
) -> Vec<String> {
    let lost = before.keys().filter(|path| !after.contains_key(*path));
    let lost = lost.map(|path| format!("{} is gone", path.display()));
    let changed = after.iter().filter_map(|(path, seen)| match before.get(path) {
        Some(old) if old == seen => None,
        Some(_) => Some(format!("{} has changed", path.display())),
        None => Some(format!("{} is new", path.display())),
    });
    lost.chain(changed).collect()
}
