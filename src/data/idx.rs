//! The IDX format: a big-endian header and one byte a value, plain or gzipped.
//!
//! Nothing in such a file is believed before it is checked. The header comes first and bounds
//! what is read of the body, so a damaged or hostile file costs an [`Error`] and little else;
//! a gzip stream is always read past its last value, because only its end carries the checksum.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use byteorder::{BigEndian, ByteOrder};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The most bytes that a file may have, on disk as well as unpacked: 2 GiB, which is 2.7 million
/// images of 28 x 28 pixels.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// What to do about a file that was damaged on its way.
const FETCH_AGAIN: &str = "fetch the file again";

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UNSIGNED_BYTE: u8 = 0x08;

/// What a file is expected to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdxContent {
    /// Grey images: count, rows, columns.
    Images,
    /// Class numbers: count.
    Labels,
}

impl IdxContent {
    fn rank(self) -> u8 {
        match self {
            IdxContent::Images => 3,
            IdxContent::Labels => 1,
        }
    }

    /// The first four bytes: two zeros, the element type, the number of dimensions.
    fn magic(self) -> [u8; 4] {
        [0, 0, UNSIGNED_BYTE, self.rank()]
    }

    fn header_bytes(self) -> u64 {
        4 + 4 * u64::from(self.rank())
    }

    fn of_magic(magic: [u8; 4]) -> Option<IdxContent> {
        [IdxContent::Images, IdxContent::Labels]
            .into_iter()
            .find(|content| content.magic() == magic)
    }

    fn name(self) -> &'static str {
        match self {
            IdxContent::Images => "images",
            IdxContent::Labels => "labels",
        }
    }
}

/// The sizes that a file announces; all are at least 1, their product is at most
/// [`MAX_FILE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdxHeader {
    /// The number of items.
    pub count: usize,
    /// Pixels from top to bottom; 1 for labels.
    pub rows: usize,
    /// Pixels from left to right; 1 for labels.
    pub columns: usize,
}

impl IdxHeader {
    fn item_bytes(&self) -> u64 {
        self.rows as u64 * self.columns as u64
    }

    fn body_bytes(&self) -> u64 {
        self.count as u64 * self.item_bytes()
    }
}

/// A whole file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxFile {
    /// The announced sizes; `count * rows * columns` is the length of `body`.
    pub header: IdxHeader,
    /// The values, item after item, each in row-major order.
    pub body: Vec<u8>,
    /// SHA-256 of header and body as they are unpacked, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Reads and checks the header alone. For a plain file the length on disk is checked too.
///
/// # Errors
/// [`Error::Input`] when the file is missing, is no regular file, is too large, or its header is
/// not that of `content`; [`Error::Storage`] when reading fails.
pub fn read_header(path: &Path, content: IdxContent) -> Result<IdxHeader> {
    let (header, _) = Reader::open(path)?.header(content)?;
    Ok(header)
}

/// Reads a whole file, to the end of its stream.
///
/// # Errors
/// As for [`read_header`]; also [`Error::Input`] when the body is not exactly as long as the
/// header says, or when the gzip stream is damaged or followed by anything else.
pub fn read(path: &Path, content: IdxContent) -> Result<IdxFile> {
    let mut reader = Reader::open(path)?;
    let (header, header_bytes) = reader.header(content)?;
    let expected = header.body_bytes();
    // The one byte more tells a body that is too long, and carries a gzip stream past its checksum.
    let body = reader.take(expected + 1)?;
    if body.len() as u64 != expected {
        return Err(reader.wrong_length(&header, body.len() as u64));
    }
    let mut hasher = Sha256::new();
    hasher.update(&header_bytes);
    hasher.update(&body);
    let sha256 = hexadecimal(hasher);
    Ok(IdxFile { header, body, sha256 })
}

/// A hash as checksum lists write it, in lower-case hexadecimal digits.
pub(super) fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

enum Stream {
    Plain(BufReader<File>),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(file) => file.read(buffer),
            Stream::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

/// An open file that knows enough to say what is wrong with it.
struct Reader {
    path: PathBuf,
    bytes_on_disk: u64,
    stream: Stream,
    bytes_read: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Reader> {
        let cannot_open = |error: io::Error| cannot_open(path, &error);
        // Opening a named pipe waits for its writer, so the kind of file is looked up before.
        require_regular(path, &fs::metadata(path).map_err(cannot_open)?)?;
        let file = File::open(path).map_err(cannot_open)?;
        let metadata = file.metadata().map_err(cannot_open)?;
        require_regular(path, &metadata)?;
        let bytes_on_disk = metadata.len();
        if bytes_on_disk > MAX_FILE_BYTES {
            return Err(input(
                path,
                format!(
                    "the file has {bytes_on_disk} bytes, expected at most {MAX_FILE_BYTES}; put the \
                     right file there"
                ),
            ));
        }
        let mut file = BufReader::with_capacity(1 << 16, file);
        let start = file.fill_buf().map_err(|error| cannot_read(path, &error))?;
        if start.is_empty() {
            return Err(input(path, "the file is empty, expected an IDX file; fetch it again"));
        }
        let stream = if start.starts_with(&GZIP_MAGIC) {
            Stream::Gzip(Box::new(MultiGzDecoder::new(file)))
        } else {
            Stream::Plain(file)
        };
        Ok(Reader { path: path.to_owned(), bytes_on_disk, stream, bytes_read: 0 })
    }

    /// Reads `limit` bytes, or fewer where the stream ends before.
    fn take(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let outcome = self.stream.by_ref().take(limit).read_to_end(&mut bytes);
        self.bytes_read += bytes.len() as u64;
        match outcome {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.read_fault(&error)),
        }
    }

    fn header(&mut self, content: IdxContent) -> Result<(IdxHeader, Vec<u8>)> {
        let bytes = self.take(content.header_bytes())?;
        let header = parse_header(&bytes, content).map_err(|problem| input(&self.path, problem))?;
        if let Stream::Plain(_) = self.stream {
            let found = self.bytes_on_disk.saturating_sub(content.header_bytes());
            if found != header.body_bytes() {
                return Err(self.wrong_length(&header, found));
            }
        }
        Ok((header, bytes))
    }

    /// Tells a damaged gzip stream from a disk that fails.
    fn read_fault(&self, error: &io::Error) -> Error {
        let Stream::Gzip(decoder) = &self.stream else {
            return cannot_read(&self.path, error);
        };
        let cut = error.kind() == io::ErrorKind::UnexpectedEof;
        let damaged =
            matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
        if error.raw_os_error().is_some() || !(cut || damaged) {
            return cannot_read(&self.path, error);
        }
        let bytes_read = self.bytes_read;
        // The decoder has a header except while it reads one: at the start, or after a member.
        let problem = match (decoder.header().is_some(), bytes_read) {
            (false, 0) if cut => "a truncated gzip header".to_owned(),
            (false, 0) => format!("a damaged gzip header ({error})"),
            (false, _) => format!("bytes after its end that are not gzip data ({error})"),
            (true, _) if cut => format!("truncated gzip data after {bytes_read} unpacked bytes"),
            (true, _) => format!("damaged gzip data ({error})"),
        };
        let expected = "expected one whole gzip stream";
        input(&self.path, format!("{expected}, found {problem}; {FETCH_AGAIN}"))
    }

    /// `found` bytes where `header` announces another number; a gzip stream was not read further
    /// than one byte too many.
    fn wrong_length(&self, header: &IdxHeader, found: u64) -> Error {
        let (count, item_bytes, expected) =
            (header.count, header.item_bytes(), header.body_bytes());
        let at_least = match self.stream {
            Stream::Gzip(_) if found > expected => "at least ",
            _ => "",
        };
        let items = found / item_bytes;
        input(
            &self.path,
            format!(
                "the header announces {count} items of {item_bytes} bytes, {expected} bytes in all, \
                 but the body has {at_least}{found} bytes ({items} whole items); {FETCH_AGAIN}"
            ),
        )
    }
}

/// Checks the first bytes of a file; the error is a description without the path.
fn parse_header(bytes: &[u8], content: IdxContent) -> std::result::Result<IdxHeader, String> {
    if let Some(magic) = bytes.first_chunk::<4>() {
        check_magic(*magic, content)?;
    }
    let (expected, found) = (content.header_bytes(), bytes.len());
    if (found as u64) < expected {
        return Err(format!(
            "truncated IDX header: {found} bytes, expected {expected}; {FETCH_AGAIN}"
        ));
    }
    let dimensions: Vec<u32> = bytes[4..].chunks_exact(4).map(BigEndian::read_u32).collect();
    if dimensions.contains(&0) {
        return Err(format!(
            "the header announces sizes {dimensions:?}, expected no zero among them; {FETCH_AGAIN}"
        ));
    }
    let body_bytes =
        dimensions.iter().try_fold(1_u64, |product, &size| product.checked_mul(u64::from(size)));
    if body_bytes.is_none_or(|body_bytes| body_bytes > MAX_FILE_BYTES - expected) {
        return Err(format!(
            "the header announces sizes {dimensions:?}, expected at most {MAX_FILE_BYTES} bytes in \
             all; {FETCH_AGAIN}"
        ));
    }
    let size = |index: usize| dimensions.get(index).map_or(1, |&size| size as usize);
    Ok(IdxHeader { count: size(0), rows: size(1), columns: size(2) })
}

fn check_magic(magic: [u8; 4], content: IdxContent) -> std::result::Result<(), String> {
    if magic == content.magic() {
        return Ok(());
    }
    let (expected, found) = (BigEndian::read_u32(&content.magic()), BigEndian::read_u32(&magic));
    let expected = format!("expected {} (0x{expected:08x})", content.name());
    let [first, second, element_type, rank] = magic;
    Err(if (first, second) != (0, 0) {
        format!("not an IDX file: it begins with 0x{found:08x}, {expected}; {FETCH_AGAIN}")
    } else if element_type != UNSIGNED_BYTE {
        let name = element_type_name(element_type);
        format!(
            "unsupported element type 0x{element_type:02x} ({name}), expected 0x08 (unsigned byte); \
             convert the file"
        )
    } else if let Some(other) = IdxContent::of_magic(magic) {
        format!(
            "the file holds {} (0x{found:08x}), {expected}; if two files are exchanged, rename them",
            other.name()
        )
    } else {
        format!("the file has {rank} dimensions (0x{found:08x}), {expected}; convert the file")
    })
}

fn element_type_name(element_type: u8) -> &'static str {
    match element_type {
        0x09 => "signed byte",
        0x0b => "16-bit integer",
        0x0c => "32-bit integer",
        0x0d => "32-bit float",
        0x0e => "64-bit float",
        _ => "unknown",
    }
}

fn require_regular(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let found = if metadata.is_dir() { "a directory" } else { "a pipe, socket or device" };
    Err(input(path, format!("{found}, expected a regular file; put the right file there")))
}

fn cannot_open(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            input(path, "no such file, expected an IDX file, plain or gzipped; put it there")
        }
        io::ErrorKind::PermissionDenied => {
            input(path, format!("cannot be opened ({error}); make it readable for this user"))
        }
        io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename => {
            input(path, format!("cannot be opened ({error}), expected an IDX file; check the path"))
        }
        _ if path.is_symlink() => {
            input(path, format!("cannot be opened ({error}), expected an IDX file; check the link"))
        }
        _ => cannot_read(path, error),
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Error {
    Error::Storage(format!("{}: reading failed ({error}); check the disk", path.display()))
}

fn input(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::Input(format!("{}: {problem}", path.display()))
}
