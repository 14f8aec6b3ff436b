//! Just enough of an HTTP server: reads the head of a request, answers `GET`, and leaves the rest of the connection to
//! whoever streams into it.
//!
//! Ready-made servers either collect a body before they send it, or send it in chunks, which radio clients of the old
//! school do not expect. A station sends a head and then audio until somebody hangs up, as Icecast does. Parsing, the
//! part where mistakes are made, is `httparse`'s.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use thiserror::Error;

/// More than any player sends.
const MAX_HEAD_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 64;

/// A client that takes longer than this to say what it wants, or that takes nothing for so long, is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: String,
    /// It sent `Icy-MetaData: 1`.
    pub(super) wants_titles: bool,
}

#[derive(Debug, Error)]
pub(super) enum RequestError {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the request cannot be understood: {0}")]
    Malformed(#[from] httparse::Error),
    #[error("the head of the request is longer than {MAX_HEAD_BYTES} bytes")]
    TooLong,
    #[error("the method is not GET")]
    NotGet,
}

/// Reads the head of a request.
pub(super) fn read_request(stream: &mut TcpStream) -> Result<Request, RequestError> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // A block of audio is to go out when it is there, and not when it fills a packet.
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    loop {
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        head.extend_from_slice(&part[..length]);
        if let Some(request) = parse(&head)? {
            return Ok(request);
        }
        if head.len() > MAX_HEAD_BYTES {
            return Err(RequestError::TooLong);
        }
    }
}

/// `None` while the head is not complete.
fn parse(head: &[u8]) -> Result<Option<Request>, RequestError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(head)?.is_partial() {
        return Ok(None);
    }
    if request.method != Some("GET") {
        return Err(RequestError::NotGet);
    }
    let wants_titles = request
        .headers
        .iter()
        .any(|header| header.name.eq_ignore_ascii_case("icy-metadata") && header.value.trim_ascii() == b"1");
    Ok(Some(Request { path: request.path.unwrap_or_default().to_owned(), wants_titles }))
}

/// Sends a head after which the body lasts as long as the connection.
pub(super) fn send_head(stream: &mut TcpStream, headers: &[(&str, &str)]) -> io::Result<()> {
    let mut head = String::from("HTTP/1.1 200 OK\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Cache-Control: no-cache\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}

/// Answers with an error and a line of text.
pub(super) fn send_error(stream: &mut TcpStream, status: &str, text: &str) -> io::Result<()> {
    let length = text.len() + 1;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(format!("{head}{text}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_it_is_complete() {
        let head = b"GET /live.flac HTTP/1.1\r\nHost: x\r\nicy-metadata: 1\r\n\r\n";
        for end in 0..head.len() {
            assert!(parse(&head[..end]).unwrap().is_none());
        }
        let request = parse(head).unwrap().unwrap();
        assert_eq!(request, Request { path: "/live.flac".into(), wants_titles: true });
        assert!(!parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().wants_titles);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(matches!(parse(b"SOURCE /live HTTP/1.0\r\n\r\n"), Err(RequestError::NotGet)));
        assert!(matches!(parse(b"\x16\x03\x01\x02\x00 a TLS hello"), Err(RequestError::Malformed(_))));
    }
}
