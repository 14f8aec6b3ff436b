//! Any bytes as the answer of a server, sent over a connection as by a server: the client never panics, never hangs,
//! never takes more than was announced, and never takes bytes for others than those that it asked for.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use roundelay::{MAX_OFFSET, Span};
use roundelay_player::get::fuzzing::{Answer, Client};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{LazyLock, Mutex},
    thread,
    time::Duration,
};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    question: Question,
    /// The first is the answer to the first question, and so on; then the server hangs up at once.
    answers: [Lines<'a>; 2],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Question {
    Whole,
    Look,
    Part(u8, u8, u8),
}

/// An answer, of lines that are likely to be understood, and of a body.
#[derive(Arbitrary, Debug)]
struct Lines<'a> {
    head: Vec<Line<'a>>,
    ended: bool,
    body: &'a [u8],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Line<'a> {
    Status(Status),
    Length(i8),
    LongLength(u64),
    /// The very part that was asked for.
    Asked,
    Range(u8, u8, Option<u8>),
    Unsatisfied(u8),
    Chunked,
    AcceptRanges,
    Etag(u8),
    Retry(u8),
    Location(bool),
    Close,
    Raw(&'a [u8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Status {
    Ok,
    Part,
    Unsatisfiable,
    Moved,
    Missing,
    Busy,
    Icy,
    Continue,
    Other(u16),
}

impl Status {
    fn text(self) -> String {
        match self {
            Self::Ok => "HTTP/1.1 200 OK".into(),
            Self::Part => "HTTP/1.1 206 Partial Content".into(),
            Self::Unsatisfiable => "HTTP/1.1 416 No".into(),
            Self::Moved => "HTTP/1.1 302 Found".into(),
            Self::Missing => "HTTP/1.0 404 Not Found".into(),
            Self::Busy => "HTTP/1.1 503 Busy".into(),
            Self::Icy => "ICY 200 OK".into(),
            Self::Continue => "HTTP/1.1 100 Continue\r\n".into(),
            Self::Other(n) => format!("HTTP/1.1 {n} X"),
        }
    }
}

impl Lines<'_> {
    /// As an answer to whoever asks for `part` of `len` bytes.
    fn bytes(&self, part: Span, len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in &self.head {
            match *line {
                Line::Asked => {
                    let (first, last) = (part.start, part.end - 1);
                    bytes
                        .extend(format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {first}-{last}/{len}").into_bytes());
                }
                Line::Status(status) => bytes.extend(status.text().into_bytes()),
                Line::Length(by) => {
                    let length = (self.body.len() as u64).saturating_add_signed(by.into());
                    bytes.extend(format!("Content-Length: {length}").into_bytes());
                }
                Line::LongLength(length) => bytes.extend(format!("content-length: {length}").into_bytes()),
                Line::Range(first, last, len) => {
                    let len = len.map_or("*".into(), |len| len.to_string());
                    bytes.extend(format!("Content-Range: bytes {first}-{last}/{len}").into_bytes());
                }
                Line::Unsatisfied(len) => bytes.extend(format!("Content-Range: bytes */{len}").into_bytes()),
                Line::Chunked => bytes.extend(b"Transfer-Encoding: chunked"),
                Line::AcceptRanges => bytes.extend(b"Accept-Ranges: bytes"),
                Line::Etag(tag) => bytes.extend(format!("ETag: \"{tag}\"").into_bytes()),
                Line::Retry(seconds) => bytes.extend(format!("Retry-After: {seconds}").into_bytes()),
                Line::Location(there) => bytes.extend(if there { &b"Location: /"[..] } else { b"Location: x:y:z" }),
                Line::Close => bytes.extend(b"Connection: close"),
                Line::Raw(raw) => bytes.extend(raw),
            }
            bytes.extend(b"\r\n");
        }
        if self.ended {
            bytes.extend(b"\r\n");
        }
        bytes.extend(self.body);
        bytes
    }
}

/// No search for leaks: the thread that looks up an address for the client may still be on its way out, and what it has
/// is then found with nobody.
#[unsafe(no_mangle)]
extern "C" fn __lsan_is_turned_off() -> std::ffi::c_int {
    1
}

/// What is answered next; what is not there is answered by hanging up.
static NEXT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

static URL: LazyLock<String> = LazyLock::new(|| {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let url = format!("http://{}/", socket.local_addr().expect("it has one"));
    thread::spawn(move || {
        for client in socket.incoming().flatten() {
            answer(client);
        }
    });
    url
});

/// Reads the head of a question, and answers.
fn answer(mut client: TcpStream) {
    let mut question = Vec::new();
    let mut part = [0; 1024];
    while !question.ends_with(b"\r\n\r\n") {
        match client.read(&mut part) {
            Ok(n @ 1..) => question.extend_from_slice(&part[..n]),
            _ => return,
        }
    }
    let answer = NEXT.lock().expect("nobody panics with it").pop().unwrap_or_default();
    let _ = client.write_all(&answer);
    let _ = client.shutdown(Shutdown::Both);
}

/// All bytes of a body were sent, in this order.
fn check(answered: &Answer, part: Option<Span>, sent: &[Vec<u8>]) {
    assert!(answered.len.is_none_or(|len| len <= MAX_OFFSET), "no file is so long");
    let Some((began, body, complete)) = &answered.body else { return };
    assert_eq!(*began, part.map_or(0, |part| part.start));
    if let Some(part) = part {
        // It may end early, and then there is something of it.
        assert!(body.len() as u64 <= part.len() && (!complete || !body.is_empty()));
    } else if let Some(len) = answered.len {
        assert!(body.len() as u64 <= len, "more than there is");
    }
    // Chunks are put together, so that it need not be in one piece there.
    let found = sent.iter().any(|sent| {
        let mut sent = sent.iter();
        body.iter().all(|byte| sent.any(|sent| sent == byte))
    });
    assert!(found, "bytes that nobody sent");
}

fuzz_target!(|input: Input<'_>| {
    let client = Client::new(&URL, Duration::from_secs(5)).expect("an address");
    let (part, len) = match input.question {
        Question::Part(start, len, rest) => {
            let part = Span { start: start.into(), end: u64::from(start) + 1 + u64::from(len) };
            (part, part.end + u64::from(rest))
        }
        Question::Whole | Question::Look => (Span { start: 0, end: 20 }, 20),
    };
    let sent: Vec<_> = input.answers.iter().map(|answer| answer.bytes(part, len)).collect();
    *NEXT.lock().expect("nobody panics with it") = sent.iter().rev().cloned().collect();
    let (answered, part) = match input.question {
        Question::Whole => (client.open(), None),
        Question::Look => (client.look(), None),
        Question::Part(..) => (client.open_part(part, len), Some(part)),
    };
    if let Ok(answered) = answered {
        check(&answered, part, &sent);
    }
});
