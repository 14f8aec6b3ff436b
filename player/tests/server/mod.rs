//! A server that does what it is told: it sends files, in parts or not, and lies, cuts, stalls and changes its mind
//! exactly where a test wants it. It writes down every question.
#![allow(dead_code)] // each test binary uses what it needs

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A question, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// How many connections there were before the one by which it came.
    pub connection: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The bytes that are asked for, of a file of `len` bytes. `None`: all of it.
    pub fn range(&self, len: u64) -> Option<Range<u64>> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let start = first.parse().ok()?;
        let end = if last.is_empty() { len } else { last.parse::<u64>().ok()? + 1 };
        Some(start..end.min(len))
    }
}

/// What to do with a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Wait for the next question.
    Keep,
    /// End it in good order.
    Close,
    /// End it so that the other side gets an error.
    Reset,
    /// Say nothing more, until the server is dropped.
    Silence,
}

/// An answer, byte for byte.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
    /// So many bytes of the body, and then a pause, over and over.
    pub pace: Option<(usize, Duration)>,
    pub after: After,
}

impl Answer {
    /// `status` is as in `200 OK`; every header with its line end.
    pub fn new(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\n{headers}\r\n");
        Self { head, body: body.to_vec(), pace: None, after: After::Keep }
    }

    pub fn then(self, after: After) -> Self {
        Self { after, ..self }
    }

    pub fn paced(self, bytes: usize, pause: Duration) -> Self {
        Self { pace: Some((bytes, pause)), ..self }
    }

    /// The same, but with only the first `bytes` of its body.
    pub fn cut_to(mut self, bytes: usize, after: After) -> Self {
        self.body.truncate(bytes);
        self.then(after)
    }
}

/// A file on a well-behaved server.
#[derive(Clone, Debug)]
pub struct Remote {
    pub bytes: Arc<Vec<u8>>,
    pub etag: Option<&'static str>,
}

impl Remote {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(bytes), etag: Some("\"one\"") }
    }

    fn version(&self) -> String {
        self.etag.map(|etag| format!("ETag: {etag}\r\n")).unwrap_or_default()
    }

    /// The whole of it; no part of it either.
    pub fn whole(&self) -> Answer {
        let headers = format!("Content-Length: {}\r\n{}", self.bytes.len(), self.version());
        Answer::new("200 OK", &headers, &self.bytes)
    }

    /// What a server that knows its trade answers.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let len = self.bytes.len() as u64;
        let unchanged = asked.header("if-range").is_none_or(|version| Some(version) == self.etag);
        let mut answer = match asked.range(len).filter(|_| unchanged) {
            Some(range) if range.is_empty() => {
                let headers = format!("Content-Range: bytes */{len}\r\nContent-Length: 0\r\n{}", self.version());
                Answer::new("416 Range Not Satisfiable", &headers, b"")
            }
            Some(range) => {
                let headers = format!(
                    "Content-Range: bytes {}-{}/{len}\r\nContent-Length: {}\r\n{}",
                    range.start,
                    range.end - 1,
                    range.end - range.start,
                    self.version()
                );
                let part = &self.bytes[range.start as usize..range.end as usize];
                Answer::new("206 Partial Content", &headers, part)
            }
            None => {
                let mut whole = self.whole();
                whole.head = whole.head.replacen("\r\n", "\r\nAccept-Ranges: bytes\r\n", 1);
                whole
            }
        };
        if asked.method == "HEAD" {
            answer.body.clear();
        }
        answer
    }
}

/// The body in chunks, with its end.
pub fn chunked(body: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for chunk in body.chunks(10_000) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    chunks
}

type Answers = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

/// A server on this machine's loopback, until it is dropped.
pub struct Server {
    scheme: &'static str,
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Box<Answers>,
    asked: Mutex<Vec<Asked>>,
    stopped: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Server {
    /// `answers` is given each question, and how many there were before.
    pub fn start(answers: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::with_tls(None, answers)
    }

    /// A server that sends `file` as a server should.
    pub fn of(file: &Remote) -> Self {
        let file = file.clone();
        Self::start(move |asked, _| file.answer(asked))
    }

    pub fn with_tls(
        tls: Option<Arc<rustls::ServerConfig>>,
        answers: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { answers: Box::new(answers), asked: Mutex::default(), stopped, tls });
        let accepting = shared.clone();
        thread::spawn(move || {
            for (connection, client) in socket.incoming().enumerate() {
                if accepting.stopped.load(SeqCst) {
                    break;
                }
                let (shared, Ok(client)) = (accepting.clone(), client) else { continue };
                // A client that hangs up in the middle is part of the tests.
                thread::spawn(move || shared.serve(client, connection));
            }
        });
        Self { scheme, address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Every question so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

trait Line: Read + Write {}
impl<T: Read + Write> Line for T {}

impl Shared {
    fn serve(&self, client: TcpStream, connection: usize) -> io::Result<()> {
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(Duration::from_secs(30)))?;
        client.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut line: Box<dyn Line> = match &self.tls {
            None => Box::new(client.try_clone()?),
            Some(config) => {
                let connection = rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                Box::new(rustls::StreamOwned::new(connection, client.try_clone()?))
            }
        };
        while let Some(asked) = read_question(&mut line, connection)? {
            let before = {
                let mut all = self.asked.lock().unwrap();
                all.push(asked.clone());
                all.len() - 1
            };
            let answer = (self.answers)(&asked, before);
            line.write_all(answer.head.as_bytes())?;
            let (bytes, pause) = answer.pace.unwrap_or((answer.body.len().max(1), Duration::ZERO));
            for piece in answer.body.chunks(bytes) {
                line.write_all(piece)?;
                thread::sleep(pause);
            }
            line.flush()?;
            match answer.after {
                After::Keep => {}
                After::Close => {
                    client.shutdown(Shutdown::Write)?;
                    // Until the client has hung up as well: data that nobody has read would make this a reset.
                    let _ = io::copy(&mut line, &mut io::sink());
                    return Ok(());
                }
                After::Reset => return reset(client),
                After::Silence => {
                    while !self.stopped.load(SeqCst) {
                        thread::sleep(Duration::from_millis(20));
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Closes so that the other side's next read fails.
fn reset(client: TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
    Ok(())
}

fn read_question(line: &mut impl Read, connection: usize) -> io::Result<Option<Asked>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if line.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(&head).map_err(io::Error::other)?;
    let field =
        |field: &httparse::Header<'_>| (field.name.to_lowercase(), String::from_utf8_lossy(field.value).into_owned());
    Ok(Some(Asked {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        headers: request.headers.iter().map(field).collect(),
        connection,
    }))
}
