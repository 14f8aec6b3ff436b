//! The heads of answers, read as tolerantly as players and browsers read them.
//!
//! ureq refuses an answer for one line that it cannot read. Servers of radio stations, and scripts, send such lines:
//! `ICY 200 OK` where HTTP has `HTTP/1.0 200 OK`, as SHOUTcast did before its second version; a name with a space in it;
//! a line without a colon; a folded line; more than a hundred fields; a length of -1. So each head is read here, on its
//! way up, and a plain one is put in its place: the status, and the fields that this program reads. A line that cannot be
//! read is passed over, a folded one belongs to the line before it, and a length that cannot be is left out.
//!
//! Heads of interim answers, such as `100 Continue`, are passed over. Bytes that begin with nothing like a status are left
//! as they are, and so is everything behind a head.

use std::time::Instant;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// A longer head is left to ureq, which refuses it.
const MAX_HEAD_BYTES: usize = 100 << 10;

/// The fields that are passed on, beside those of [`FIELD_PREFIXES`].
const FIELDS: [&str; 14] = [
    "accept-ranges",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "set-cookie",
    "transfer-encoding",
];

/// What stations say of themselves.
const FIELD_PREFIXES: [&str; 2] = ["icy-", "ice-"];

/// What scripts make of -1, and anything beyond, is no length.
const MAX_LENGTH: u64 = i64::MAX as u64 - 1;

/// ureq takes 100. The rest are passed over.
const MAX_FIELDS: usize = 90;

/// The last link of a chain of connectors, or the last but one; behind TLS, if there is any.
///
/// ```
/// use roundelay_player::response_head::TolerantHeads;
/// use ureq::unversioned::resolver::DefaultResolver;
/// use ureq::unversioned::transport::{Connector, DefaultConnector};
///
/// let connector = DefaultConnector::new().chain(TolerantHeads::default());
/// let agent = ureq::Agent::with_parts(ureq::config::Config::default(), connector, DefaultResolver::default());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TolerantHeads {
    /// Of an answer with `icy-` fields no length is passed on: a station's programme has no end, whatever its server says.
    pub stations_are_endless: bool,
}

impl<T: Transport> Connector<T> for TolerantHeads {
    type Out = Translated<T>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<T>) -> Result<Option<Translated<T>>, Error> {
        Ok(chained.map(|inner| Translated {
            inner,
            stations_are_endless: self.stations_are_endless,
            expects: Expects::Head,
            left_over: Vec::new(),
        }))
    }
}

/// A connection whose heads may have been others.
#[derive(Debug)]
pub struct Translated<T> {
    inner: T,
    stations_are_endless: bool,
    expects: Expects,
    /// What was read with a head, and had no more room behind it.
    left_over: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    /// A head: something was asked.
    Head,
    /// What is behind a head.
    Body,
    /// Another protocol, which is not looked at.
    Other,
}

impl<T: Transport> Transport for Translated<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.expects == Expects::Body {
            self.expects = Expects::Head;
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if !self.left_over.is_empty() {
            self.append_left_over();
            return Ok(true);
        }
        if self.expects != Expects::Head {
            return self.inner.await_input(timeout);
        }
        let start = Instant::now();
        let mut next = timeout;
        loop {
            let more = self.inner.await_input(next)?;
            match read_head(self.inner.buffers().input(), !more) {
                Found::Cut if more => {}
                Found::Head { bytes, status, fields } => {
                    self.replace(bytes, fields.into_head(&status, self.stations_are_endless));
                    self.expects = Expects::Body;
                    return Ok(true);
                }
                Found::Cut | Found::Other => {
                    self.expects = Expects::Other;
                    return Ok(more);
                }
            }
            // However slowly it comes, all of it is one answer.
            if !timeout.after.is_not_happening() {
                next.after = timeout.after.saturating_sub(start.elapsed()).into();
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<T: Transport> Translated<T> {
    /// Puts `plain` in place of the first `bytes` bytes of the input.
    fn replace(&mut self, bytes: usize, mut plain: Vec<u8>) {
        let buffers = self.inner.buffers();
        let input = buffers.input();
        plain.extend_from_slice(&input[bytes..]);
        let length = input.len();
        buffers.input_consume(length);
        self.left_over = plain;
        self.append_left_over();
    }

    /// A plain head may be longer than what it replaces by a few bytes, and the buffer may have been full.
    fn append_left_over(&mut self) {
        let buffers = self.inner.buffers();
        let room = buffers.input_append_buf();
        let length = room.len().min(self.left_over.len());
        room[..length].copy_from_slice(&self.left_over[..length]);
        buffers.input_appended(length);
        self.left_over.drain(..length);
    }
}

/// What the bytes behind a request begin with.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It may become a head yet.
    Cut,
    /// The first `bytes` bytes are one.
    Head { bytes: usize, status: Status, fields: Fields },
    /// Something that is for others to refuse.
    Other,
}

/// Reads the head at the beginning of `input`. Where the connection `has_ended`, what has come of a head is all of it.
fn read_head(input: &[u8], has_ended: bool) -> Found {
    let mut lines = Lines { input, at: 0 };
    'heads: loop {
        let status = loop {
            match lines.next() {
                // Some servers end the answer before this one with a line too many.
                Some(b"") => {}
                Some(line) => match Status::read(line) {
                    Some(status) => break status,
                    None => return Found::Other,
                },
                None => {
                    let rest = &input[lines.at..];
                    return if may_become_status(rest) && !has_ended { Found::Cut } else { Found::Other };
                }
            }
        };
        let mut fields = Fields::default();
        loop {
            match lines.next() {
                Some(b"") if status.is_interim() => continue 'heads,
                Some(b"") => break,
                Some(line) => fields.take(line),
                None if has_ended && !status.is_interim() => {
                    lines.at = input.len();
                    break;
                }
                None if input.len() > MAX_HEAD_BYTES || has_ended => return Found::Other,
                None => return Found::Cut,
            }
        }
        return Found::Head { bytes: lines.at, status, fields };
    }
}

/// The complete lines of a head, each without its end: a line feed, with carriage returns before it or not.
struct Lines<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.input[self.at..];
        let mut line = &rest[..rest.iter().position(|&byte| byte == b'\n')?];
        self.at += line.len() + 1;
        while let Some(shorter) = line.strip_suffix(b"\r") {
            line = shorter;
        }
        Some(line)
    }
}

/// The first line of a head.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    /// HTTP/1.1, or something later.
    is_new: bool,
    code: u16,
    reason: String,
}

const MARKS: [&[u8]; 2] = [b"HTTP/", b"ICY"];

impl Status {
    /// `ICY 200 OK` may be in small letters, without its spaces, or with more of them; HTTP may have any version.
    fn read(line: &[u8]) -> Option<Self> {
        let mark = MARKS.into_iter().find(|&mark| starts_with(line, mark))?;
        let mut rest = &line[mark.len()..];
        let mut is_new = false;
        if mark == MARKS[0] {
            let version = &rest[..rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?];
            is_new = version != b"1.0" && !version.starts_with(b"0");
            rest = &rest[version.len()..];
        }
        let (digits, reason) = rest.trim_ascii().split_at_checked(3)?;
        if !digits.iter().all(u8::is_ascii_digit) || reason.first().is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let code = str::from_utf8(digits).ok()?.parse().ok()?;
        let reason = reason.trim_ascii().iter().filter(|byte| (b' '..=b'~').contains(byte)).copied().map(char::from);
        (100..600).contains(&code).then(|| Self { is_new, code, reason: reason.collect() })
    }

    /// Another head follows. That of another protocol does not.
    fn is_interim(&self) -> bool {
        self.code < 200 && self.code != 101
    }
}

fn starts_with(line: &[u8], mark: &[u8]) -> bool {
    line.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark))
}

/// Of a line that is not complete.
fn may_become_status(line: &[u8]) -> bool {
    /// No server has a longer one.
    const MAX_STATUS_BYTES: usize = 512;
    let common = |mark: &[u8]| line.len().min(mark.len());
    line.len() < MAX_STATUS_BYTES
        && (line == b"\r" || MARKS.iter().any(|mark| starts_with(line, &mark[..common(mark)])))
}

/// The fields of a head that are passed on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    /// Names in small letters.
    kept: Vec<(String, Vec<u8>)>,
    /// The line before was kept, and may go on.
    is_kept: bool,
}

impl Fields {
    fn take(&mut self, line: &[u8]) {
        let printable = |bytes: &[u8]| -> Vec<u8> {
            bytes.trim_ascii().iter().copied().filter(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f).collect()
        };
        if line[0] == b' ' || line[0] == b'\t' {
            if let Some((_, value)) = self.kept.last_mut().filter(|_| self.is_kept) {
                value.push(b' ');
                value.extend(printable(line));
            }
            return;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let name = colon.and_then(|colon| str::from_utf8(line[..colon].trim_ascii()).ok()).unwrap_or_default();
        let name = name.to_ascii_lowercase();
        let is_read = FIELDS.contains(&&*name) || FIELD_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        self.is_kept = is_read && is_name && self.kept.len() < MAX_FIELDS;
        if let Some(colon) = colon.filter(|_| self.is_kept) {
            self.kept.push((name, printable(&line[colon + 1..])));
        }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.kept.iter().filter(move |(kept, _)| kept == name).map(|(_, value)| &value[..])
    }

    fn is_station(&self) -> bool {
        self.kept.iter().any(|(name, _)| name.starts_with("icy-"))
    }

    fn is_chunked(&self) -> bool {
        let mut codings = self.values("transfer-encoding").flat_map(|value| value.split(|&byte| byte == b','));
        codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
    }

    /// The length that the head states, if it states one that can be.
    fn length(&self) -> Option<u64> {
        let mut lengths = self.values("content-length").flat_map(|value| value.split(|&byte| byte == b','));
        let mut read = || {
            let digits = lengths.next()?.trim_ascii();
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            Some(str::from_utf8(digits).ok().filter(|_| is_number).and_then(|digits| digits.parse::<u64>().ok()))
        };
        let first = read()??;
        // Two that differ say nothing.
        let agree = std::iter::from_fn(read).all(|other| other == Some(first));
        (agree && first <= MAX_LENGTH).then_some(first)
    }

    /// A head that ureq reads.
    fn into_head(self, status: &Status, stations_are_endless: bool) -> Vec<u8> {
        let is_chunked = self.is_chunked();
        let is_endless = is_chunked || stations_are_endless && self.is_station();
        let length = self.length().filter(|_| !is_endless);
        // Chunks are what they are in any version. A connection of the old one ends with its answer.
        let version = if status.is_new || is_chunked { "1.1" } else { "1.0" };
        let mut head = format!("HTTP/{version} {} {}\r\n", status.code, status.reason).into_bytes();
        let mut add = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                head.extend_from_slice(part);
            }
        };
        for (name, value) in &self.kept {
            let is_of_the_body = matches!(&**name, "content-length" | "transfer-encoding");
            let is_replaced = name == "connection" && is_chunked && !status.is_new;
            if !is_of_the_body && !is_replaced {
                add(name, value);
            }
        }
        if is_chunked {
            add("transfer-encoding", b"chunked");
            if !status.is_new {
                add("connection", b"close");
            }
        }
        if let Some(length) = length {
            add("content-length", length.to_string().as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    use ureq::unversioned::resolver::DefaultResolver;
    use ureq::unversioned::transport::DefaultConnector;
    use ureq::{Agent, Body};

    use super::*;

    /// The head in place of `input`, and how many bytes it stands for.
    fn plain(input: &[u8]) -> Option<(usize, String)> {
        match read_head(input, false) {
            Found::Head { bytes, status, fields } => {
                Some((bytes, String::from_utf8(fields.into_head(&status, true)).unwrap()))
            }
            Found::Cut | Found::Other => None,
        }
    }

    #[test]
    fn first_lines_are_read_as_servers_send_them() {
        for (line, expected) in [
            (&b"ICY 200 OK\r\n"[..], "HTTP/1.0 200 OK\r\n"),
            (b"icy 200 ok\r\n", "HTTP/1.0 200 ok\r\n"),
            (b"ICY200 OK\r\n", "HTTP/1.0 200 OK\r\n"),
            (b"Icy  200OK \n", "HTTP/1.0 200 OK\r\n"),
            (b"ICY 200\r\n", "HTTP/1.0 200 \r\n"),
            (b"ICY 404 Resource Not Found\r\n", "HTTP/1.0 404 Resource Not Found\r\n"),
            (b"ICY 401 \x1b[2J\xff\r\n", "HTTP/1.0 401 [2J\r\n"),
            (b"HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
            (b"http/1.1 200\r\n", "HTTP/1.1 200 \r\n"),
            (b"HTTP/1.0 302 Found\r\r\n", "HTTP/1.0 302 Found\r\n"),
            (b"HTTP/2 200\n", "HTTP/1.1 200 \r\n"),
            (b"\r\n\nHTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
        ] {
            let input = [line, b"\r\nbody"].concat();
            assert_eq!(plain(&input), Some((input.len() - 4, format!("{expected}\r\n"))), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_head_is_left_alone() {
        for other in [
            b"IC 200",
            &b"ICY banana\r\n"[..],
            b"ICY 2000 OK\r\n",
            b"ICY 20\r\n",
            b"ICY 999 x\r\n",
            b"ICY\r\n",
            b"ICYicles 200 OK\r\n",
            b"HTTP/1.1 banana\r\n",
            b"<html>",
            b"\x16\x03\x01",
            &[b"ICY 200 ".as_slice(), &[b'x'; 600]].concat(),
            &[b"HTTP/1.1 200 OK\r\n".as_slice(), &[b'x'; MAX_HEAD_BYTES]].concat(),
        ] {
            assert_eq!(read_head(other, false), Found::Other, "{}", other.escape_ascii());
        }
        for cut in [
            &b""[..],
            b"I",
            b"ic",
            b"ICY",
            b"ICY 200 OK",
            b"ICY 200 OK\r",
            b"ICY 200 OK\r\n",
            b"ICY 200 OK\r\nicy-name: x\r\n",
            b"H",
            b"\r",
            b"\r\nHTTP/1.1",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20",
        ] {
            assert_eq!(read_head(cut, false), Found::Cut, "{}", cut.escape_ascii());
        }
    }

    fn fields(lines: &str) -> Vec<String> {
        let input = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let (bytes, head) = plain(input.as_bytes()).unwrap();
        assert_eq!(bytes, input.len());
        head.lines().skip(1).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_line_that_cannot_be_read_is_passed_over() {
        for odd in [
            "this is no field\r\n",
            "Bad Name: x\r\n",
            "icy bad: x\r\n",
            ": nothing\r\n",
            "\u{7f}icy-\u{1}: x\r\n",
            "X-\u{f6}: x\n",
            " folded, behind nothing\r\n",
            "Bad Name: x\r\n folded\r\n",
            &"X-Filler: x\r\n".repeat(500),
        ] {
            let lines = format!("{odd}icy-name: A\r\n{odd}Content-Type: audio/mpeg\r\n");
            let expected = ["icy-name: A", "content-type: audio/mpeg"];
            let read = fields(&lines);
            assert_eq!(read.len(), 2, "{read:?}");
            assert!(read[0].starts_with(expected[0]) && read[1] == expected[1], "{odd}: {read:?}");
        }
        assert_eq!(fields("icy-name: A\r\n\t B\r\n  C\r\nicy-br : 128\r\n"), ["icy-name: A B C", "icy-br: 128"]);
        assert_eq!(fields("icy-name:\u{1b}[2J\u{f6}\t.\r\n"), ["icy-name: [2J\u{f6}\t."]);
        assert_eq!(fields(&"Set-Cookie: a=b\r\n".repeat(200)).len(), MAX_FIELDS);
    }

    #[test]
    fn a_length_that_cannot_be_is_left_out() {
        for odd in
            ["-1", "", "0x10", "9223372036854775807", "18446744073709551616", "1, 2", "1\r\nContent-Length: 2", "+1"]
        {
            assert_eq!(fields(&format!("Content-Length: {odd}\r\n")), [""; 0], "{odd}");
        }
        for good in ["5", "5, 5", " 5 ", "05", "5\r\ncontent-length:5"] {
            assert_eq!(fields(&format!("Content-Length: {good}\r\n")), ["content-length: 5"], "{good}");
        }
        assert_eq!(fields("Content-Length: 5\r\nicy-br: 1\r\n"), ["icy-br: 1"]);
        assert_eq!(fields("Content-Length: 5\r\nTransfer-Encoding: gzip, Chunked\r\n"), ["transfer-encoding: chunked"]);
        assert_eq!(fields("Transfer-Encoding: identity\r\n"), [""; 0]);
    }

    #[test]
    fn chunks_are_chunks_in_the_old_version_too() {
        for line in ["HTTP/1.0 200 OK", "ICY 200 OK"] {
            let head = format!("{line}\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n");
            let expected = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
            assert_eq!(plain(head.as_bytes()).unwrap().1, expected);
        }
    }

    #[test]
    fn an_interim_answer_is_passed_over() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLocation: /no\r\n\r\n";
        let (bytes, head) = plain(format!("{interim}HTTP/1.1 404 No\r\n\r\nbody").as_bytes()).unwrap();
        assert_eq!((bytes, &*head), (interim.len() + 19, "HTTP/1.1 404 No\r\n\r\n"));
    }

    #[test]
    fn a_head_may_end_with_its_connection() {
        let cut = b"HTTP/1.1 302 Found\r\nLocation: /there\r\n";
        assert_eq!(read_head(cut, false), Found::Cut);
        let Found::Head { bytes, fields, .. } = read_head(cut, true) else { panic!() };
        assert_eq!((bytes, &fields.kept[..]), (cut.len(), &[("location".to_owned(), b"/there".to_vec())][..]));
        for nothing in [&b""[..], b"ICY", b"HTTP/1.1 200 OK", b"HTTP/1.1 100 Continue\r\n"] {
            assert_eq!(read_head(nothing, true), Found::Other);
        }
    }

    /// What a server sends: in pieces of so many bytes, one after the other.
    fn send(mut client: impl Read + Write, answer: &[u8], piece_bytes: usize) -> io::Result<()> {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            asked.push(byte[0]);
        }
        for piece in answer.chunks(piece_bytes) {
            client.write_all(piece)?;
            client.flush()?;
            if piece_bytes < 100 {
                // Long enough for the other side to see each by itself.
                thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    fn agent(tls: TlsConfig) -> Agent {
        let config = Agent::config_builder()
            .proxy(None)
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        Agent::with_parts(config, DefaultConnector::new().chain(TolerantHeads::default()), DefaultResolver::default())
    }

    type Response = Result<ureq::http::Response<Body>, Error>;

    /// Asks a server that sends this.
    fn ask(answer: &[u8], piece_bytes: usize) -> (Response, thread::JoinHandle<()>) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let answer = answer.to_vec();
        let server = thread::spawn(move || {
            let (client, _) = socket.accept().unwrap();
            client.set_nodelay(true).unwrap();
            // A client that has seen enough hangs up.
            let _ = send(client, &answer, piece_bytes);
        });
        (agent(TlsConfig::default()).get(format!("http://{address}/")).call(), server)
    }

    #[test]
    fn a_connection_that_is_used_again_has_a_head_for_each_answer() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut client, _) = socket.accept().unwrap();
            for body in ["one", "two"] {
                let answer = format!("HTTP/1.1 200 OK\r\nBad Line\r\nContent-Length: 3\r\n\r\n{body}");
                send(&mut client, answer.as_bytes(), 5).unwrap();
            }
        });
        let agent = agent(TlsConfig::default());
        for body in ["one", "two"] {
            let mut response = agent.get(format!("http://{address}/")).call().unwrap();
            assert_eq!(response.body_mut().read_to_string().unwrap(), body);
        }
        server.join().unwrap();
    }

    const BODY: &[u8] = b"ICY 200 OK\r\nand other sound";

    fn answer(line: &str) -> Vec<u8> {
        [line.as_bytes(), b"\r\nicy-name:A station\r\nicy-metaint:16000\r\n\r\n", BODY].concat()
    }

    fn assert_station(response: Response) {
        let mut response = response.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["icy-name"], "A station");
        assert_eq!(response.headers()["icy-metaint"], "16000");
        let mut body = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut body).unwrap();
        assert_eq!(body, BODY);
    }

    #[test]
    fn an_old_server_is_understood_however_its_answer_is_cut() {
        for line in ["ICY 200 OK", "icy200 ok"] {
            for piece_bytes in [1, 2, 3, 7, 11, 12, 1_000] {
                let (response, server) = ask(&answer(line), piece_bytes);
                assert_station(response);
                server.join().unwrap();
            }
        }
    }

    #[test]
    fn other_servers_are_understood_as_before() {
        for piece_bytes in [1, 1_000] {
            let (response, server) = ask(&answer("HTTP/1.1 200 OK"), piece_bytes);
            assert_station(response);
            server.join().unwrap();
        }
    }

    #[test]
    fn a_refusal_is_a_refusal() {
        let (response, server) = ask(&answer("ICY 404 Resource Not Found"), 1);
        assert_eq!(response.unwrap().status(), 404);
        server.join().unwrap();
    }

    #[test]
    fn nonsense_is_an_error() {
        for nonsense in ["ICY banana", "ICY", "ICYHTTP/1.0 200 OK", "HTTP/1.1 2 OK"] {
            let (response, server) = ask(&answer(nonsense), 1);
            assert!(matches!(response, Err(Error::Protocol(_))), "{nonsense}: {response:?}");
            server.join().unwrap();
        }
        for cut_off in ["I", "ICY 200"] {
            let (response, server) = ask(cut_off.as_bytes(), 1);
            assert!(response.is_err(), "{cut_off}");
            server.join().unwrap();
        }
    }

    #[test]
    fn an_answer_that_fills_the_buffer_loses_nothing() {
        // More than ureq takes at a time.
        let sound: Vec<u8> = (0u32..400_000).map(|at| (at % 251) as u8).collect();
        let (response, server) = ask(&[&b"ICY 200 OK\r\n\r\n"[..], &sound].concat(), usize::MAX);
        let mut body = Vec::new();
        response.unwrap().body_mut().as_reader().read_to_end(&mut body).unwrap();
        assert!(body == sound);
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_never_ends_its_line_is_given_up() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (client, _) = socket.accept().unwrap();
            // As slowly as may be: each byte comes in time, and all of them do not.
            let _ = send(client, &b"ICY 200 ".iter().copied().chain([b'x'; 400]).collect::<Vec<_>>(), 1);
        });
        let config = Agent::config_builder().proxy(None).timeout_recv_response(Some(Duration::from_millis(200)));
        let connector = DefaultConnector::new().chain(TolerantHeads::default());
        let agent = Agent::with_parts(config.build(), connector, DefaultResolver::default());
        assert!(matches!(agent.get(format!("http://{address}/")).call(), Err(Error::Timeout(_))));
        server.join().unwrap();
    }

    #[test]
    fn an_old_server_is_understood_behind_tls() {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let config = Arc::new(config);

        let trusted = Certificate::from_der(authority.der()).to_owned();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[trusted])).build();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        for piece_bytes in [1, 1_000] {
            let response = thread::scope(|scope| {
                scope.spawn(|| {
                    let (client, _) = socket.accept().unwrap();
                    client.set_nodelay(true).unwrap();
                    let mut client = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), client);
                    send(&mut client, &answer("ICY 200 OK"), piece_bytes).unwrap();
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                });
                agent(tls.clone()).get(format!("https://{address}/")).call()
            });
            assert_station(response);
        }
    }
}
