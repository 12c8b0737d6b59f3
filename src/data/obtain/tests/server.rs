//! A web server of a few lines that does to its clients what real ones do on bad days.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The last part of the path.
    pub(super) file: String,
    /// The first byte of the range, where one was asked for.
    pub(super) from: Option<usize>,
}

/// What is sent, byte for byte, and what happens then.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) then: Then,
}

#[derive(Clone, Copy)]
pub(super) enum Then {
    Close,
    /// The connection stays open and silent.
    Silence,
    /// The last byte again and again, after a pause each.
    Repeat(Duration),
}

pub(super) struct Server {
    /// The beginning of the address of every file.
    pub(super) base: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves until the test's process ends; `respond` also hears how many requests came before.
    pub(super) fn start(
        respond: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, respond) = (Arc::clone(&requests), Arc::new(respond));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, respond) = (Arc::clone(&log), Arc::clone(&respond));
                thread::spawn(move || serve(&stream.unwrap(), &log, &*respond));
            }
        });
        Server { base, requests }
    }

    /// What was asked for so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Where the requests for one file began.
    pub(super) fn ranges(&self, file: &str) -> Vec<Option<usize>> {
        self.requests().iter().filter(|request| request.file == file).map(|r| r.from).collect()
    }
}

fn serve(
    stream: &TcpStream,
    log: &Mutex<Vec<Request>>,
    respond: &dyn Fn(&Request, usize) -> Answer,
) {
    let head: Vec<String> = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let from = head.iter().find_map(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok()
    });
    let request = Request { file: path.rsplit('/').next().unwrap().to_owned(), from };
    let before = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len() - 1
    };
    let answer = respond(&request, before);
    let mut output = stream;
    if output.write_all(&answer.bytes).is_err() {
        return;
    }
    match answer.then {
        Then::Close => {}
        Then::Silence => thread::sleep(Duration::from_secs(600)),
        Then::Repeat(pause) => {
            let last = *answer.bytes.last().unwrap();
            let again = vec![last; if pause.is_zero() { 1 << 14 } else { 1 }];
            while output.write_all(&again).is_ok() {
                thread::sleep(pause);
            }
        }
    }
}
