//! Reading files that anybody may have put in the place of ours.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest file that is read of those that a run writes for people and other programs, in bytes: a
/// history of as many epochs as a run may have stays below.
pub(crate) const MAX_RESULT_BYTES: u64 = 16 << 20;

/// The content of a regular file of at most `most_bytes`. A pipe or a device could make us wait for
/// ever.
///
/// # Errors
/// What the system says, or that this is something else or larger.
pub(crate) fn read_regular(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    let found = match metadata.len() {
        _ if !metadata.is_file() => Some("a folder, pipe or device".to_owned()),
        bytes => (bytes > most_bytes).then(|| format!("{bytes} bytes")),
    };
    if let Some(found) = found {
        let expected = format!("expected a regular file of at most {most_bytes} bytes");
        return Err(io::Error::other(format!("{expected}, found {found}")));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let kind = |path| read_regular(path, 3).unwrap_err().kind();
        assert_eq!(kind(&path), io::ErrorKind::NotFound);
        for content in ["", "abc"] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read_regular(&path, 3).unwrap(), content.as_bytes());
        }
        std::fs::write(&path, "abcd").unwrap();
        assert_eq!(kind(&path), io::ErrorKind::Other);
        assert_eq!(kind(folder.path()), io::ErrorKind::Other);
    }
}
