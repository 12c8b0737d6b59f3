//! Fetching one published file from one mirror.
//!
//! A mirror is not trusted in anything: it may stop, stall, lie or never end. What it sends goes
//! to a `.part` file that never grows beyond the published size and some slack, and counts as
//! the file only when its unpacked content has the published checksum. A `.part` file may stay
//! behind at any moment; the next attempt, here or at another mirror, goes on where it ends.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::idx::hexadecimal;
use super::{KnownFile, Reporter};
use crate::error::Error;
use crate::run_folder::sync_folder;

/// How often one mirror is asked for one file, as long as each answer brings new bytes.
const MOST_TRIES: u32 = 5;

/// A mirror that sends fewer bytes a second than this is left.
const LEAST_BYTES_PER_SECOND: u64 = 1024;

const BUFFER_BYTES: usize = 1 << 16;

/// How long a silent network is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the address of a mirror, and then again for a connection.
    pub(super) connect: Duration,
    /// For an answer, and then for each further piece of it.
    pub(super) stall: Duration,
    /// For a sign of work of a program that fetches.
    pub(super) program: Duration,
}

/// Why a source gave no file.
#[derive(Debug)]
pub(super) enum Failure {
    /// The source is at fault, another one may do better.
    Source(String),
    /// This machine is at fault, no other source would help.
    Machine(Error),
}

pub(super) type Attempt<T> = std::result::Result<T, Failure>;

/// What a `.part` file has.
enum Content {
    Published,
    /// So many bytes, which may be the beginning of the published file.
    Beginning(u64),
    Wrong(String),
}

impl KnownFile {
    /// No copy of the published file is larger, however it is packed.
    pub(super) fn most_packed_bytes(&self) -> u64 {
        self.packed_bytes + self.packed_bytes / 8 + 4096
    }

    /// The name of the gzipped file, on mirrors as well as here.
    pub(super) fn packed_name(&self) -> String {
        format!("{}.gz", self.name)
    }

    /// Where the file grows until it is whole.
    pub(super) fn part(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.gz.part", self.name))
    }
}

/// A client that asks through the proxy that the environment names, if any.
pub(super) fn agent(patience: Patience) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_send_request(Some(patience.stall))
        .timeout_recv_response(Some(patience.stall))
        .timeout_per_read(Some(patience.stall))
        .user_agent(concat!("toile/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Fetches `file` from the mirror whose addresses begin with `base`, into `folder`.
pub(super) fn download(
    agent: &Agent,
    base: &str,
    file: &KnownFile,
    folder: &Path,
    stall: Duration,
    reporter: &mut dyn Reporter,
) -> Attempt<()> {
    let url = format!("{base}{}", file.packed_name());
    let part = file.part(folder);
    // What lies there at first may be another mirror's, or damaged: no fault of this one.
    let mut foreign = true;
    let mut tries = 0;
    let mut reason = String::new();
    loop {
        let held = match examine(file, &part)? {
            Content::Published => return keep(file, folder),
            Content::Beginning(bytes) => bytes,
            Content::Wrong(problem) => {
                remove(&part)?;
                if !foreign {
                    return Err(Failure::Source(format!("{}: {problem}", file.packed_name())));
                }
                foreign = false;
                0
            }
        };
        foreign &= held > 0;
        if tries == MOST_TRIES {
            return Err(Failure::Source(reason));
        }
        tries += 1;
        let transferred = transfer(agent, &url, file, &part, held, stall, reporter);
        reporter.transfer_ended();
        let problem = match transferred {
            Ok(()) => "the file ends too early".to_owned(),
            Err(Failure::Source(problem)) => printable(&problem),
            Err(machine) => return Err(machine),
        };
        reason = format!("{}: {problem}", file.packed_name());
        let now_held = length(&part)?;
        let begins_again = now_held == 0 && held > 0;
        if now_held <= held && !begins_again {
            return Err(Failure::Source(reason));
        }
    }
}

/// Asks once for what `part` lacks, of which it has `held` bytes, and appends what comes.
fn transfer(
    agent: &Agent,
    url: &str,
    file: &KnownFile,
    part: &Path,
    held: u64,
    stall: Duration,
    reporter: &mut dyn Reporter,
) -> Attempt<()> {
    let mut request = agent.get(url);
    if held > 0 {
        request = request.header(header::RANGE, format!("bytes={held}-"));
    }
    let response = request.call().map_err(|fault| Failure::Source(network(&fault, stall)))?;
    let most = file.most_packed_bytes();
    let Some(Answer { start, total }) = answer(&response, held).map_err(Failure::Source)? else {
        return remove(part);
    };
    if let Some(total) = total.filter(|&total| total > most) {
        return Err(Failure::Source(format!("announces {total} bytes, expected at most {most}")));
    }
    let mut output = open_part(part, start).map_err(|fault| cannot_write(part, &fault))?;
    let mut input = response.into_body().into_reader();
    let mut pace = Pace { stall, since: Instant::now(), bytes: 0 };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut position = start;
    loop {
        reporter.transferred(&file.packed_name(), position, total.or(Some(file.packed_bytes)));
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(fault) => {
                return Err(Failure::Source(network(&ureq::Error::from(fault), stall)));
            }
        };
        position += count as u64;
        if position > most {
            drop(output);
            remove(part)?;
            return Err(Failure::Source(format!("sends more than {most} bytes")));
        }
        output.write_all(&buffer[..count]).map_err(|fault| cannot_write(part, &fault))?;
        pace.check(count as u64).map_err(Failure::Source)?;
    }
    match total {
        Some(total) if position < total => {
            Err(Failure::Source(format!("cut off after {position} of {total} bytes")))
        }
        _ => Ok(()),
    }
}

/// What a mirror is about to send.
struct Answer {
    /// The position of its first byte in the file.
    start: u64,
    /// The size of the whole file, where it is announced.
    total: Option<u64>,
}

/// Reads the head of an answer to a request for what follows the first `held` bytes; none if
/// the mirror's file has nothing there.
fn answer(response: &Response<Body>, held: u64) -> std::result::Result<Option<Answer>, String> {
    let text = |name: header::HeaderName| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    match response.status() {
        StatusCode::OK => {
            let total = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
            Ok(Some(Answer { start: 0, total }))
        }
        StatusCode::PARTIAL_CONTENT if held > 0 => {
            let range = text(header::CONTENT_RANGE).unwrap_or_default();
            match content_range(&range) {
                Some((start, total)) if start == held => Ok(Some(Answer { start, total })),
                _ => Err(format!("asked for the bytes from {held} on, it sends {range:?}")),
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE if held > 0 => Ok(None),
        status => Err(format!("answers {status}")),
    }
}

/// First byte and, where it is told, size of the whole file, of `bytes FIRST-LAST/SIZE`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    let plausible = first <= last && size.is_none_or(|size| last < size);
    plausible.then_some((first, size))
}

/// Notices a mirror that is not silent but next to it.
struct Pace {
    stall: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn check(&mut self, bytes: u64) -> std::result::Result<(), String> {
        self.bytes += bytes;
        let seconds = self.since.elapsed().as_secs_f64();
        if seconds < self.stall.as_secs_f64() {
            return Ok(());
        }
        if (self.bytes as f64) < seconds * LEAST_BYTES_PER_SECOND as f64 {
            return Err(format!("too slow: {} bytes in {seconds:.1} seconds", self.bytes));
        }
        (self.since, self.bytes) = (Instant::now(), 0);
        Ok(())
    }
}

/// Compares what lies in `part` with the published file.
fn examine(file: &KnownFile, part: &Path) -> Attempt<Content> {
    let unreadable = |fault: &io::Error| storage("read", part, fault);
    // Opening a named pipe waits for its writer, so the kind of file is looked up before.
    match fs::metadata(part) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Content::Beginning(0)),
        Ok(metadata) if !metadata.is_file() => {
            return Err(unreadable(&io::Error::other("expected a regular file; remove it")));
        }
        _ => {}
    }
    let packed = File::open(part).map_err(|fault| unreadable(&fault))?;
    let packed_bytes = packed.metadata().map_err(|fault| unreadable(&fault))?.len();
    if packed_bytes == 0 {
        return Ok(Content::Beginning(0));
    }
    // The one byte more tells content that is too long, and carries the stream past its checksum.
    let mut content = MultiGzDecoder::new(io::BufReader::new(packed)).take(file.unpacked_bytes + 1);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut unpacked_bytes = 0;
    loop {
        match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                unpacked_bytes += count as u64;
            }
            Err(fault) if fault.raw_os_error().is_some() => return Err(unreadable(&fault)),
            Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Content::Beginning(packed_bytes));
            }
            Err(fault) => return Ok(Content::Wrong(format!("no sound gzip file ({fault})"))),
        }
    }
    let expected = file.unpacked_bytes;
    if unpacked_bytes != expected {
        let found = if unpacked_bytes > expected { "more" } else { "fewer" };
        return Ok(Content::Wrong(format!("unpacks to {found} than {expected} bytes")));
    }
    let found = hexadecimal(hasher);
    if found != file.sha256 {
        let expected = file.sha256;
        return Ok(Content::Wrong(format!(
            "not the published file: expected SHA-256 {expected} of its content, found {found}"
        )));
    }
    Ok(Content::Published)
}

/// Copies a file that another program fetched, if it is the published one.
pub(super) fn import(file: &KnownFile, packed: &Path, folder: &Path) -> Attempt<()> {
    let part = file.part(folder);
    let no_file =
        |fault: &dyn std::fmt::Display| Failure::Source(format!("{}: {fault}", file.packed_name()));
    // Opening a named pipe waits for its writer, so the kind of file is looked up before.
    if !fs::symlink_metadata(packed).map_err(|fault| no_file(&fault))?.is_file() {
        return Err(no_file(&"not a regular file"));
    }
    let input = File::open(packed).map_err(|fault| no_file(&fault))?;
    let copy = || -> io::Result<()> {
        let mut output = open_part(&part, 0)?;
        io::copy(&mut input.take(file.most_packed_bytes()), &mut output)?;
        Ok(())
    };
    copy().map_err(|fault| cannot_write(&part, &fault))?;
    let problem = match examine(file, &part)? {
        Content::Published => return keep(file, folder),
        Content::Beginning(_) => "the file ends too early".to_owned(),
        Content::Wrong(problem) => problem,
    };
    remove(&part)?;
    Err(no_file(&problem))
}

/// Gives a whole and examined `.part` file its name.
fn keep(file: &KnownFile, folder: &Path) -> Attempt<()> {
    let (part, path) = (file.part(folder), folder.join(file.packed_name()));
    let keep = || -> io::Result<()> {
        // The rename must not reach the disk before the content does.
        File::options().write(true).open(&part)?.sync_all()?;
        fs::rename(&part, &path)?;
        sync_folder(folder)
    };
    keep().map_err(|fault| cannot_write(&path, &fault))
}

/// Opens a `.part` file to write from `start` on; what it had there is gone.
fn open_part(part: &Path, start: u64) -> io::Result<File> {
    let mut output = File::options().write(true).create(true).truncate(false).open(part)?;
    output.set_len(start)?;
    output.seek(SeekFrom::Start(start))?;
    Ok(output)
}

fn length(part: &Path) -> Attempt<u64> {
    match fs::metadata(part) {
        Ok(metadata) => Ok(metadata.len()),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(fault) => Err(storage("read", part, &fault)),
    }
}

fn remove(part: &Path) -> Attempt<()> {
    match fs::remove_file(part) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
            Err(storage("remove", part, &fault))
        }
        _ => Ok(()),
    }
}

fn cannot_write(path: &Path, fault: &io::Error) -> Failure {
    storage("write", path, fault)
}

/// The failure of something on this machine's disk.
pub(super) fn storage(action: &str, path: &Path, fault: &io::Error) -> Failure {
    Failure::Machine(Error::Storage(format!("cannot {action} {}: {fault}", path.display())))
}

/// A fault of the network in words.
fn network(fault: &ureq::Error, stall: Duration) -> String {
    use ureq::Timeout::{PerRead, RecvResponse};
    match fault {
        ureq::Error::HostNotFound => "its address cannot be found".to_owned(),
        ureq::Error::Timeout(PerRead | RecvResponse) => {
            format!("sent nothing for {} seconds", stall.as_secs_f64())
        }
        ureq::Error::Io(fault) => fault.to_string(),
        other => other.to_string(),
    }
}

/// Text from outside as one line that does nothing to a terminal. It may carry two checksums and
/// an address, so more of it is kept than of a name in a file.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 300;
    let harmless = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().take(LONGEST).map(harmless).collect()
}
