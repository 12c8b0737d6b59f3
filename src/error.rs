//! The world's faults: files, disks, devices. A programmer's mistake (shapes) panics instead.
//!
//! Each variant carries one of the exit codes that the programs promise, and its text names
//! the place, what was expected, what was found and what to do.

/// A fault that the caller can do something about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bad usage or bad input: a flag, a config file, a data or model file. Exit code 2.
    #[error("{0}")]
    Input(String),
    /// Something is missing that could not be obtained. Exit code 1.
    #[error("{0}")]
    Failure(String),
    /// The run folder belongs to another process. Exit code 3.
    #[error("{0}")]
    Locked(String),
    /// A loss or a gradient is not finite. Exit code 4.
    #[error("{0}")]
    NotFinite(String),
    /// Reading or writing storage failed. Exit code 5.
    #[error("{0}")]
    Storage(String),
    /// The compute device is missing or failed. Exit code 6.
    #[error("{0}")]
    Device(String),
}

/// A result whose error is an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The process exit code of this fault.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Failure(_) => 1,
            Error::Input(_) => 2,
            Error::Locked(_) => 3,
            Error::NotFinite(_) => 4,
            Error::Storage(_) => 5,
            Error::Device(_) => 6,
        }
    }
}

/// Says whether the device that computes has failed since it was opened: then nothing that was
/// read from it counts.
///
/// # Errors
/// [`Error::Device`] if it has.
pub(crate) fn check_device() -> Result<()> {
    match toile_kernels::fault() {
        Some(fault) => Err(Error::Device(format!(
            "{fault}; --device cpu goes without it, also for a run that is resumed"
        ))),
        None => Ok(()),
    }
}

/// The longest piece of outside text that a message repeats, in characters.
const LONGEST_PIECE: usize = 200;

/// Text from outside, such as a path or a name in a file, with everything that a terminal could
/// obey, or not show, escaped.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        match c {
            '\'' | '"' | '\\' => plain.push(c),
            _ => plain.extend(c.escape_debug()),
        }
        plain
    })
}

/// The [`plain`] start of a text from outside that may have any length.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_PIECE) {
        Some((end, _)) => plain(&text[..end]) + "...",
        None => plain(text),
    }
}
