//! Servers that lie.

use super::*;

/// How a mirror lies about the first file, and what must be said of it.
type Lie = (&'static str, fn() -> Answer, &'static str);

const LIES: [Lie; 14] = [
    ("other content", || lie("", &gzip(&[7; 200_000])), "expected SHA-256"),
    ("a web page", || lie("", b"<html>log in first</html>"), "no sound gzip file"),
    ("no answer", || Answer { bytes: Vec::new(), then: Then::Silence }, "nothing for 2 s"),
    ("no HTTP", || raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), "train-images"),
    ("404", || raw(headed("404 Not Found", "Content-Length: 0\r\n", b"")), "404 Not Found"),
    ("500", || raw(headed("500 Oops", "Content-Length: 0\r\n", b"")), "500"),
    (
        "redirect to itself",
        || raw(headed("302 Found", &format!("Location: /{LARGE}\r\n"), b"")),
        "too many redirects",
    ),
    ("too long", || lie("Content-Length: 9000000000\r\n", b"x"), "announces 9000000000 bytes"),
    (
        "endless",
        || Answer { then: Then::Repeat(Duration::ZERO), ..lie("", &packed(LARGE)) },
        "sends more than",
    ),
    (
        "a drip",
        || Answer {
            then: Then::Repeat(Duration::from_millis(20)),
            ..lie("", b"\x1f\x8b\x08\x08\0\0\0\0\0\0name")
        },
        "too slow",
    ),
    ("gzip bomb", || lie("", &gzip(&vec![0; 100 << 20])), "unpacks to more than 200000 bytes"),
    ("shorter content", || lie("", &gzip(&[7; 100])), "unpacks to fewer than 200000 bytes"),
    (
        "a tail",
        || lie("", &[&packed(LARGE)[..], b"another file begins here"].concat()),
        "no sound gzip file",
    ),
    (
        "a range unasked",
        || raw(headed("206 Partial Content", "Content-Range: bytes 5-9/10\r\n", b"12345")),
        "206",
    ),
];

fn lie(headers: &str, body: &[u8]) -> Answer {
    raw(headed("200 OK", headers, body))
}

#[test]
fn a_mirror_that_lies_is_left_and_nothing_of_it_stays() {
    thread::scope(|scope| {
        for (what, answer, words) in LIES {
            scope.spawn(move || {
                let folder = tempdir().unwrap();
                let (liar, good) = (Server::start(move |_, _| answer()), Server::start(honest));
                let (failures, notes) = run(&[&liar, &good], folder.path());
                assert!(failures.is_empty(), "{what}: {failures:?}");
                assert!(notes[1].starts_with(&liar.base), "{what}: {notes:?}");
                assert!(notes[1].contains(words), "{what}: no {words:?} in {notes:?}");
                assert!(notes[1].len() < 400, "{what}: {notes:?}");
                assert_whole(folder.path());
            });
        }
    });
}

#[test]
fn a_range_that_was_not_asked_for_is_not_believed() {
    let file = packed(LARGE);
    let (size, last) = (file.len(), file.len() - 1);
    let wrong = [
        String::new(),
        format!("Content-Range: bytes 0-{last}/{size}\r\n"),
        format!("Content-Range: bytes {}-{last}/{size}\r\n", CUT + 1),
        format!("Content-Range: bytes {CUT}-{size}/{size}\r\n"),
        format!("Content-Range: bytes */{size}\r\n"),
        "Content-Range: bytes 99999999999999999999-0/1\r\n".to_owned(),
        "Content-Range: \u{1b}[2J\r\n".to_owned(),
    ];
    for range in wrong {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join(format!("{LARGE}.part")), &file[..CUT]).unwrap();
        let (header, body) = (range.clone(), file[CUT..].to_vec());
        let liar = Server::start(move |_, _| raw(headed("206 Partial Content", &header, &body)));
        let good = Server::start(honest);
        let (failures, notes) = run(&[&liar, &good], folder.path());
        assert!(failures.is_empty(), "{range}: {failures:?}");
        assert!(notes[1].starts_with(&liar.base), "{range}: {notes:?}");
        assert!(!notes[1].contains('\u{1b}'), "{range}: {notes:?}");
        assert_whole(folder.path());
        assert_eq!(good.ranges(LARGE), [Some(CUT)], "{range}");
    }
}
