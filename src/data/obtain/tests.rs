//! The download against servers that cut, stall and lie, against other processes, and against
//! programs that only call themselves apt-get.

mod lies;
#[cfg(unix)]
mod programs;
mod server;

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::data::FILE_NAMES;
use server::{Answer, Request, Server, Then};

/// The largest file of the fixture, and how much of it arrives where an answer breaks off.
const LARGE: &str = "train-images-idx3-ubyte.gz";
const CUT: usize = 50_000;

/// A connection on this machine needs no patience; a stall must be longer than any hiccup.
const HASTE: Patience = Patience {
    connect: Duration::from_secs(20),
    stall: Duration::from_secs(2),
    program: Duration::from_secs(3),
};

/// The content of each of [`FILE_NAMES`]: bytes that do not pack well, more of them for images.
static CONTENTS: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| {
    let mut state = 1_u32;
    [200_000, 300, 40_000, 100].map(|length| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    })
});

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A file as a mirror has it.
fn packed(file: &str) -> Vec<u8> {
    let index = FILE_NAMES.iter().position(|name| file == format!("{name}.gz")).unwrap();
    gzip(&CONTENTS[index])
}

/// The fixture as a data set that is known by name.
fn known(mirrors: &[&str], debian: Option<DebianPackage>) -> KnownDataSet {
    let mut index = 0;
    let files = FILE_NAMES.map(|name| {
        let content = &CONTENTS[index];
        index += 1;
        let sha256: String =
            Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        KnownFile {
            name,
            sha256: sha256.leak(),
            unpacked_bytes: content.len() as u64,
            packed_bytes: gzip(content).len() as u64,
        }
    });
    let mirrors: Vec<&str> = mirrors.iter().map(|base| &*(*base).to_owned().leak()).collect();
    KnownDataSet {
        name: "fixture",
        title: "The fixture",
        class_names: &[],
        files,
        places: Vec::new,
        folder: "data/fixture",
        mirrors: mirrors.leak(),
        debian,
    }
}

fn headed(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn raw(bytes: Vec<u8>) -> Answer {
    Answer { bytes, then: Then::Close }
}

/// What an honest server sends.
fn honest(request: &Request, _: usize) -> Answer {
    let file = packed(&request.file);
    let size = file.len();
    let bytes = match request.from {
        None => headed("200 OK", &format!("Content-Length: {size}\r\n"), &file),
        Some(from) if from >= size => {
            headed("416 Range Not Satisfiable", "Content-Length: 0\r\n", b"")
        }
        Some(from) => {
            let (last, length) = (size - 1, size - from);
            let headers = format!(
                "Content-Range: bytes {from}-{last}/{size}\r\nContent-Length: {length}\r\n"
            );
            headed("206 Partial Content", &headers, &file[from..])
        }
    };
    Answer { bytes, then: Then::Close }
}

/// The honest answer without what follows the first [`CUT`] bytes of its body.
fn cut(request: &Request, then: Then) -> Answer {
    let mut bytes = honest(request, 0).bytes;
    let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    bytes.truncate(body + CUT);
    Answer { bytes, then }
}

/// Keeps what it hears, and tells of notes as they come.
#[derive(Default)]
struct Listener {
    notes: Vec<String>,
    heard: Option<Sender<String>>,
    transfers: Vec<(String, u64, Option<u64>)>,
}

impl Reporter for Listener {
    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
        if let Some(heard) = &self.heard {
            let _ = heard.send(text.to_owned());
        }
    }
    fn transferred(&mut self, file: &str, bytes: u64, total: Option<u64>) {
        self.transfers.push((file.to_owned(), bytes, total));
    }
    fn transfer_ended(&mut self) {}
}

/// Fetches into `folder`; returns each source's failure and what was noted on the way.
fn run(mirrors: &[&Server], folder: &Path) -> (Vec<String>, Vec<String>) {
    let bases: Vec<&str> = mirrors.iter().map(|server| &*server.base).collect();
    let mut listener = Listener::default();
    let failures = fetch(&known(&bases, None), folder, HASTE, &mut listener).unwrap();
    (failures, listener.notes)
}

/// All four files are there with their content, and nothing else but the lock.
fn assert_whole(folder: &Path) {
    for (name, content) in FILE_NAMES.iter().zip(CONTENTS.iter()) {
        let mut found = Vec::new();
        let packed = File::open(folder.join(format!("{name}.gz"))).unwrap();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut found).unwrap();
        assert!(found == *content, "{name} has other content");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 5, "there are other files");
}

#[test]
fn a_good_mirror_is_asked_once_for_each_file() {
    let (folder, server) = (tempdir().unwrap(), Server::start(honest));
    let mut listener = Listener::default();
    let known = known(&[&server.base], None);
    assert!(fetch(&known, folder.path(), HASTE, &mut listener).unwrap().is_empty());
    assert_whole(folder.path());
    let expected = FILE_NAMES.map(|name| Request { file: format!("{name}.gz"), from: None });
    assert_eq!(server.requests(), expected);
    let size = packed(LARGE).len() as u64;
    let of_large = |(file, ..): &&(String, u64, Option<u64>)| file == LARGE;
    let transfers: Vec<_> = listener.transfers.iter().filter(of_large).collect();
    assert_eq!(*transfers[0], (LARGE.to_owned(), 0, Some(size)));
    assert_eq!(**transfers.last().unwrap(), (LARGE.to_owned(), size, Some(size)));

    assert!(fetch(&known, folder.path(), HASTE, &mut listener).unwrap().is_empty());
    assert_eq!(server.requests().len(), 4, "what is there was fetched again");
}

#[test]
fn a_file_that_was_cut_goes_on_where_it_ended() {
    let folder = tempdir().unwrap();
    let server = Server::start(|request, before| match before {
        0 | 1 => cut(request, Then::Close),
        _ => honest(request, before),
    });
    assert!(run(&[&server], folder.path()).0.is_empty());
    assert_whole(folder.path());
    assert_eq!(server.ranges(LARGE), [None, Some(CUT), Some(2 * CUT)]);
}

#[test]
fn a_mirror_that_stalls_is_left_and_the_next_goes_on() {
    let folder = tempdir().unwrap();
    let stalling = Server::start(|request, before| match before {
        0 => cut(request, Then::Silence),
        _ => Answer { bytes: Vec::new(), then: Then::Silence },
    });
    let good = Server::start(honest);
    let (failures, notes) = run(&[&stalling, &good], folder.path());
    assert!(failures.is_empty());
    assert!(notes[1].contains(&stalling.base) && notes[1].contains("nothing for 2 s"), "{notes:?}");
    assert_whole(folder.path());
    assert_eq!(stalling.ranges(LARGE), [None, Some(CUT)]);
    assert_eq!(good.ranges(LARGE), [Some(CUT)]);
}

/// What lies under the name of an unfinished file, and where the requests must then begin.
type Leftover = (&'static str, Vec<u8>, Vec<Option<usize>>);

#[test]
fn what_an_earlier_run_left_is_used_if_it_is_of_use() {
    let file = packed(LARGE);
    let other = gzip(&[3; 200_000]);
    let strange = [&other[..60], &[0; 40_000]].concat();
    // A name in the header, as gzip itself writes it, moves all that follows.
    let named = GzBuilder::new().filename("name");
    let mut named = named.write(Vec::new(), Compression::default());
    named.write_all(&CONTENTS[0]).unwrap();
    let differently_packed = named.finish().unwrap()[..CUT].to_vec();
    let cases: [Leftover; 7] = [
        ("nothing", Vec::new(), vec![None]),
        ("the beginning", file[..CUT].to_vec(), vec![Some(CUT)]),
        ("all of it", file.clone(), vec![]),
        (
            "more than all of it",
            [&file[..], b"\x1f\x8b"].concat(),
            vec![Some(file.len() + 2), None],
        ),
        ("other content", other, vec![None]),
        ("damaged content", strange, vec![None]),
        ("another mirror's beginning", differently_packed, vec![Some(CUT), None]),
    ];
    for (what, part, ranges) in cases {
        let (folder, server) = (tempdir().unwrap(), Server::start(honest));
        fs::write(folder.path().join(format!("{LARGE}.part")), part).unwrap();
        let (failures, notes) = run(&[&server], folder.path());
        assert!(failures.is_empty(), "{what}: {failures:?} {notes:?}");
        assert_whole(folder.path());
        assert_eq!(server.ranges(LARGE), ranges, "{what}");
    }
}

#[test]
fn a_server_without_ranges_begins_again() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join(format!("{LARGE}.part")), &packed(LARGE)[..CUT]).unwrap();
    let server =
        Server::start(|request, before| honest(&Request { from: None, ..request.clone() }, before));
    assert!(run(&[&server], folder.path()).0.is_empty());
    assert_whole(folder.path());
    assert_eq!(server.ranges(LARGE), [Some(CUT)]);
}

#[test]
fn redirects_are_followed_with_the_range() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join(format!("{LARGE}.part")), &packed(LARGE)[..CUT]).unwrap();
    let good = Server::start(honest);
    let base = good.base.clone();
    let redirecting = Server::start(move |request, _| {
        let headers = format!("Location: {base}{}\r\nContent-Length: 0\r\n", request.file);
        raw(headed("302 Found", &headers, b""))
    });
    assert!(run(&[&redirecting], folder.path()).0.is_empty());
    assert_whole(folder.path());
    assert_eq!(good.ranges(LARGE), [Some(CUT)]);
}

#[test]
fn when_all_fail_the_message_lists_all() {
    let folder = tempdir().unwrap();
    let status = |status: &'static str| {
        Server::start(move |_, _| raw(headed(status, "Content-Length: 0\r\n", b"")))
    };
    let (first, second) = (status("404 Not Found"), status("503 Busy"));
    let (failures, _) = run(&[&first, &second], folder.path());
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    let error = places::not_found(&known(&[], None), &[], &failures);
    assert_eq!(error.exit_code(), 1);
    let text = error.to_string();
    for word in [&first.base, "404", &second.base, "503", "start again", "TOILE_DATA_DIR"] {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

/// A server that says when it is asked first, and then answers only when it may.
fn waiting_server() -> (Server, Receiver<()>, Sender<()>) {
    let (asked, is_asked) = channel();
    let (go, may_go) = channel::<()>();
    let gates = Mutex::new((asked, may_go));
    let server = Server::start(move |request, before| {
        if before == 0 {
            let (asked, may_go) = &*gates.lock().unwrap();
            asked.send(()).unwrap();
            may_go.recv().unwrap();
        }
        honest(request, before)
    });
    (server, is_asked, go)
}

#[test]
fn of_two_at_once_one_fetches_and_the_other_waits() {
    let folder: TempDir = tempdir().unwrap();
    let (server, is_asked, go) = waiting_server();
    let patience = Patience { stall: Duration::from_secs(60), ..HASTE };
    let (heard, notes) = channel();
    let fetch = |heard| {
        let mut listener = Listener { heard, ..Listener::default() };
        fetch(&known(&[&server.base], None), folder.path(), patience, &mut listener).unwrap()
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| fetch(None));
        is_asked.recv().unwrap();
        let second = scope.spawn(|| fetch(Some(heard)));
        let note = notes.recv().unwrap();
        let own = format!("process {} is fetching The fixture", std::process::id());
        assert!(note.starts_with(&own), "{note}");
        go.send(()).unwrap();
        assert!(first.join().unwrap().is_empty() && second.join().unwrap().is_empty());
    });
    assert_whole(folder.path());
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_disk_that_takes_nothing_is_named() {
    let parent = tempdir().unwrap();
    let server = Server::start(honest);
    let known = known(&[&server.base], None);
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let part = parent.path().join("folder").join(format!("{LARGE}.part"));
    fs::create_dir_all(&part).unwrap();
    for (folder, named) in
        [(file.join("data"), file.join("data")), (parent.path().join("folder"), part)]
    {
        let error = fetch(&known, &folder, HASTE, &mut Listener::default()).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains(named.to_str().unwrap()), "{error}");
    }
}
