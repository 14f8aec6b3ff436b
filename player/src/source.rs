//! The network's end of the ring: connects to a station over HTTP, and writes what it sends.
//!
//! A station that hangs up, stalls or cannot be reached any more is called again, at growing intervals; meanwhile the
//! player plays what the ring still holds. Every connection is noted in the [`Timeline`] with the offset at which its
//! bytes begin, since a decoder has to start anew there; so is every title with the offset from which it applies, and
//! whatever a decoder needs that begins later ([`head`](crate::head)).

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use roundelay::{RingDriver, StorageError, Writer};
use thiserror::Error;
use ureq::http::header::ACCEPT_ENCODING;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, Body, ResponseExt};

use crate::decode::DecoderState;
use crate::head::HeadScanner;
use crate::icy::{IcyDemux, Piece};
use crate::shoutcast::UnderstandsIcy;
use crate::text::{self, printable};
use crate::timeline::{Connection, Timeline};

/// A station that takes longer to answer, or sends nothing for so long, is called again.
const STALL: Duration = Duration::from_secs(10);

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// With enough audio ahead, what comes is taken in portions of so long: a packet comes many times a second, and for none
/// of them need a processor wake up.
const PORTION: Duration = Duration::from_millis(450);

const BUFFER_BYTES: usize = 64 << 10;

/// Why nothing more comes from the station.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The very first connection failed: a wrong address more likely than a passing fault.
    #[error("cannot listen to {url}: {}", words(.reason))]
    Connect {
        /// What was to be listened to.
        url: String,
        /// What went wrong.
        #[source]
        reason: Box<ureq::Error>,
    },
    /// What comes is for people to read.
    #[error(
        "{url} is no stream but a page ({content_type}): give the address of the stream itself, or of its playlist"
    )]
    Page {
        /// What was to be listened to.
        url: String,
        /// What the server says that it is.
        content_type: String,
    },
    /// No thread for the connection.
    #[error("cannot start a thread for the connection: {0}")]
    Thread(#[source] io::Error),
    /// The ring took no more.
    #[error("the ring failed: {0}")]
    Storage(#[from] StorageError),
}

/// A server that answered, before anything of its answer is read.
#[derive(Debug)]
pub struct Tuned {
    url: String,
    agent: Agent,
    response: Response<Body>,
}

impl Tuned {
    /// Calls the server at `url`.
    ///
    /// # Errors
    /// [`SourceError::Connect`], [`SourceError::Page`].
    pub fn call(url: &str) -> Result<Self, SourceError> {
        let agent = new_agent(url);
        let response = connect(&agent, url)
            .map_err(|reason| SourceError::Connect { url: url.to_owned(), reason: Box::new(reason) })?;
        if let Some(content_type) = page_type(&response) {
            return Err(SourceError::Page { url: url.to_owned(), content_type });
        }
        Ok(Self { url: url.to_owned(), agent, response })
    }

    /// The media type, if the server says.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.response.body().mime_type()
    }

    /// Where it answers, after all redirects.
    #[must_use]
    pub fn address(&self) -> String {
        self.response.get_uri().to_string()
    }

    /// The length of what comes, if it is a file, and no station's stream.
    #[must_use]
    pub fn file_len(&self) -> Option<u64> {
        self.response.body().content_length().filter(|&len| len > 0 && !is_station(&self.response))
    }

    /// Where it was called, before all redirects.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The answer, for somebody who goes on with it, and whose connection it comes by.
    pub(crate) fn into_answer(self) -> (Agent, Response<Body>) {
        (self.agent, self.response)
    }

    /// Bits a second, if the station says.
    #[must_use]
    pub fn bits_per_second(&self) -> Option<u64> {
        // Some say it twice.
        let kilobits = header(&self.response, "icy-br")?;
        kilobits.split(',').next()?.trim().parse::<u64>().ok().filter(|&rate| rate > 0)?.checked_mul(1_000)
    }

    /// The first `most` bytes of what comes: of something short, all of it.
    ///
    /// # Errors
    /// If it was cut.
    pub fn read(self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.response.into_body().into_reader().take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A station that is being listened to.
#[derive(Debug)]
pub struct Source {
    agent: Agent,
    counts: Arc<Counts>,
    /// Dropped to stop the thread between two connections.
    stop: mpsc::Sender<()>,
}

/// What others may want to know. Each is written by the connection's thread alone, and orders nothing else: `Relaxed`.
#[derive(Debug, Default)]
struct Counts {
    bytes_in: AtomicU64,
    reconnects: AtomicU64,
    connected: AtomicBool,
}

impl Source {
    /// Listens to a station that answered, on a thread that writes to `writer` for `decoder`. `ended` is called when it is
    /// over: the stream was complete, was stopped, or failed; the ring then is committed, cancelled or failed.
    ///
    /// # Errors
    /// [`SourceError::Thread`].
    pub fn listen(
        tuned: Tuned,
        writer: Writer<RingDriver>,
        timeline: Arc<Timeline>,
        decoder: DecoderState,
        ended: impl FnOnce(Result<(), SourceError>) + Send + 'static,
    ) -> Result<Self, SourceError> {
        let Tuned { url, agent, response } = tuned;
        let counts = Arc::<Counts>::default();
        let (stop, stopped) = mpsc::channel();
        let (thread_agent, thread_counts) = (agent.clone(), counts.clone());
        let mut reception =
            Reception { url, agent: thread_agent, writer, timeline, decoder, counts: thread_counts, stopped };
        let run = move || {
            let result = reception.run(response);
            if let Err(error) = &result {
                reception.writer.fail(StorageError::other(error.to_string()));
            }
            ended(result);
        };
        thread::Builder::new().name("source".into()).spawn(run).map_err(SourceError::Thread)?;
        Ok(Self { agent, counts, stop })
    }

    /// Bytes of audio received.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.counts.bytes_in.load(Relaxed)
    }

    /// Times that the connection was made again.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.counts.reconnects.load(Relaxed)
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.counts.connected.load(Relaxed)
    }

    /// Hangs up. Cancel the ring first, or this is taken for one more fault of the network.
    ///
    /// Does not wait for the thread: it may be in the middle of calling an address that never answers, which nothing
    /// can interrupt, and a user who wants to leave has no reason to wait for that.
    pub fn stop(self) {
        drop(self.stop);
        self.agent.shutdown();
    }
}

fn new_agent(url: &str) -> Agent {
    // The machine's own certificates, or those of the file that SSL_CERT_FILE names.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let mut config = Agent::config_builder()
        .user_agent(concat!("roundelay/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .timeout_resolve(Some(STALL))
        .timeout_connect(Some(STALL))
        .timeout_recv_response(Some(STALL))
        // Not a total: a live stream lasts as long as it lasts.
        .timeout_per_read(Some(STALL));
    if is_loopback(url) {
        // A proxy of the environment's cannot reach this machine's loopback.
        config = config.proxy(None);
    }
    let connector = DefaultConnector::new().chain(UnderstandsIcy);
    Agent::with_parts(config.build(), connector, DefaultResolver::default())
}

fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.as_ref().and_then(Uri::host).is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

fn connect(agent: &Agent, url: &str) -> Result<Response<Body>, ureq::Error> {
    // The bytes of a file, and not of something that was made of them on the way.
    agent.get(url).header("Icy-MetaData", "1").header(ACCEPT_ENCODING, "identity").call()
}

/// Why there is no connection, for people.
fn words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::StatusCode(code) => {
            let reason = StatusCode::from_u16(*code).ok().and_then(|status| status.canonical_reason());
            format!("the server answers {code} {}", reason.unwrap_or("and does not say why"))
        }
        ureq::Error::Io(error) => text::without_code(error),
        ureq::Error::HostNotFound => "there is no such host".to_owned(),
        ureq::Error::Timeout(_) => "it does not answer".to_owned(),
        error => error.to_string(),
    }
}

/// The media type of what is for people to read, not to hear.
fn page_type(response: &Response<Body>) -> Option<String> {
    let content_type = response.body().mime_type()?;
    matches!(content_type, "text/html" | "application/xhtml+xml" | "application/json").then(|| content_type.to_owned())
}

/// How a connection ended that was no failure.
enum End {
    /// The server had said how long the body is, or where it ends, and it was all there.
    Complete,
    /// A live stream has no end: somebody hung up, or stalled.
    HungUp,
}

/// The thread's side.
struct Reception {
    url: String,
    agent: Agent,
    writer: Writer<RingDriver>,
    timeline: Arc<Timeline>,
    decoder: DecoderState,
    counts: Arc<Counts>,
    stopped: mpsc::Receiver<()>,
}

impl Reception {
    fn run(&mut self, first: Response<Body>) -> Result<(), SourceError> {
        let mut response = Some(first);
        let mut retry = FIRST_RETRY;
        loop {
            if let Some(response) = response.take() {
                let began = Instant::now();
                match self.receive(response) {
                    Ok(End::Complete) => return Ok(self.writer.commit(None)?),
                    Ok(End::HungUp) => {}
                    Err(StorageError::Cancelled) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
                // A station that answers and hangs up at once is not to be called without end at short intervals.
                if began.elapsed() > STALL {
                    retry = FIRST_RETRY;
                }
            }
            if self.stopped_within(retry) {
                return Ok(());
            }
            retry = (retry * 2).min(LAST_RETRY);
            // A station under repair may send a page.
            response = connect(&self.agent, &self.url).ok().filter(|response| page_type(response).is_none());
            self.counts.reconnects.fetch_add(response.is_some().into(), Relaxed);
        }
    }

    /// Sleeps, unless the player stops meanwhile.
    fn stopped_within(&self, time: Duration) -> bool {
        self.stopped.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Disconnected)
    }

    /// Writes a body to the ring, until it ends.
    fn receive(&mut self, response: Response<Body>) -> Result<End, StorageError> {
        self.note_connection(&response);
        let interval = header(&response, "icy-metaint").and_then(|value| value.parse::<NonZeroUsize>().ok());
        let mut demux = IcyDemux::new(interval);
        let mut scanner = HeadScanner::new(self.writer.position());
        let has_an_end = response.body().content_length().is_some() || is_whole_when_it_ends(&response);
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        self.counts.connected.store(true, Relaxed);
        let end = loop {
            match body.read(&mut buffer) {
                Ok(0) if has_an_end => break End::Complete,
                // Whether it was a broken line or a stall makes no difference: call again.
                Ok(0) | Err(_) => break End::HungUp,
                Ok(length) => {
                    self.take(&mut demux, &mut scanner, &buffer[..length])?;
                    // All that had come, and there is time.
                    let has_time = length < BUFFER_BYTES / 4 && self.decoder.is_well_ahead();
                    if has_time && self.stopped_within(PORTION) {
                        break End::HungUp;
                    }
                }
            }
        };
        self.counts.connected.store(false, Relaxed);
        Ok(end)
    }

    fn take(&mut self, demux: &mut IcyDemux, scanner: &mut HeadScanner, mut bytes: &[u8]) -> Result<(), StorageError> {
        while let Some(piece) = demux.next_piece(&mut bytes) {
            match piece {
                Piece::Audio(audio) => {
                    // Before it is published: whoever decodes what follows a head can know of it.
                    scanner.push(audio, |head| self.timeline.begun(head));
                    self.writer.append(audio)?;
                    self.counts.bytes_in.fetch_add(audio.len() as u64, Relaxed);
                }
                Piece::Metadata(metadata) => {
                    if let Some(title) = metadata.title {
                        self.timeline.titled(self.writer.position(), title);
                    }
                }
            }
        }
        Ok(())
    }

    /// Before the first byte of the connection is published: whoever reads that byte knows where it came from.
    fn note_connection(&self, response: &Response<Body>) {
        let connection = Connection {
            station_name: header(response, "icy-name").map(|name| printable(&name)),
            content_type: response.body().mime_type().map(str::to_owned),
        };
        self.timeline.connected(self.writer.position(), connection);
    }
}

/// Whether an end that the server announces is the end of it all: of what is made while it is sent, nobody knows the
/// length before. Stations, whose programme has no end, name themselves in fields of their own.
fn is_whole_when_it_ends(response: &Response<Body>) -> bool {
    let is_chunked = header(response, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    is_chunked && !is_station(response)
}

fn is_station(response: &Response<Body>) -> bool {
    response.headers().keys().any(|name| name.as_str().starts_with("icy-"))
}

/// A field's value, in UTF-8 or, failing that, in Latin-1.
fn header(response: &Response<Body>, name: &str) -> Option<String> {
    let value = text::decode(response.headers().get(name)?.as_bytes());
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use roundelay::{CancelToken, OnLap, Resource, RingOptions};

    use super::*;

    fn open_ring() -> (CancelToken, Resource<RingDriver>) {
        let cancel = CancelToken::new();
        let ring = Resource::open(cancel.clone(), RingOptions::new(4096)).unwrap();
        (cancel, ring)
    }

    /// A server that answers each client with the next of `answers` and hangs up.
    fn serve(answers: Vec<&'static [u8]>) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        thread::spawn(move || {
            for answer in answers {
                let (mut client, _) = socket.accept().unwrap();
                let mut request = [0; 1024];
                let length = client.read(&mut request).unwrap();
                assert!(String::from_utf8_lossy(&request[..length]).to_lowercase().contains("icy-metadata: 1"));
                client.write_all(answer).unwrap();
            }
        });
        url
    }

    #[test]
    fn a_station_that_hangs_up_is_called_again_and_its_titles_have_offsets() {
        let url = serve(vec![
            b"HTTP/1.1 200 OK\r\nicy-metaint: 4\r\nicy-name: One\r\n\r\nabcd\x01StreamTitle='X';efgh\x00ij",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: audio/flac\r\n\r\nagain",
        ]);
        let (_, ring) = open_ring();
        let timeline = Arc::new(Timeline::default());
        let (send, ended) = mpsc::channel();
        let source = listen(&url, ring.writer().unwrap(), timeline.clone(), move |r| send.send(r).unwrap());
        let mut stream = String::new();
        ring.cursor(OnLap::Error).read_to_string(&mut stream).unwrap();
        assert_eq!(stream, "abcdefghijagain");
        ended.recv().unwrap().unwrap();
        assert_eq!((source.bytes_in(), source.reconnects()), (15, 1));
        assert_eq!(timeline.title_at(3), None);
        assert_eq!(timeline.title_at(4).as_deref(), Some("X"));
        assert_eq!(timeline.next_connection(0), Some(10));
        assert_eq!(timeline.connection_at(0).unwrap().station_name.as_deref(), Some("One"));
        assert_eq!(timeline.connection_at(10).unwrap().content_type.as_deref(), Some("audio/flac"));
    }

    fn listen(
        url: &str,
        writer: Writer<RingDriver>,
        timeline: Arc<Timeline>,
        ended: impl FnOnce(Result<(), SourceError>) + Send + 'static,
    ) -> Source {
        Source::listen(Tuned::call(url).unwrap(), writer, timeline, DecoderState::default(), ended).unwrap()
    }

    #[test]
    fn an_address_that_does_not_answer_is_an_error_at_once() {
        let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>";
        for (url, why) in [
            ("http://127.0.0.1:1/", "refused"),
            (&*serve(vec![b"HTTP/1.1 404 No\r\n\r\n"]), "404"),
            (&*serve(vec![page]), "is no stream but a page (text/html)"),
        ] {
            let error = Tuned::call(url).unwrap_err().to_string();
            assert!(error.contains(url) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_file_is_told_from_a_stream() {
        let file = serve(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"]);
        assert_eq!(Tuned::call(&file).unwrap().file_len(), Some(5));
        let station = serve(vec![b"HTTP/1.1 200 OK\r\nicy-br: 128, 128\r\nContent-Length: 5\r\n\r\nabcde"]);
        let station = Tuned::call(&station).unwrap();
        assert_eq!((station.file_len(), station.bits_per_second()), (None, Some(128_000)));
    }

    #[test]
    fn stopping_hangs_up_on_a_station_that_is_silent() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let (cancel, ring) = open_ring();
        let (send, ended) = mpsc::channel();
        let writer = ring.writer().unwrap();
        let answer = thread::spawn(move || {
            let (mut client, _) = socket.accept().unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\nand now nothing").unwrap();
            client
        });
        let source = listen(&url, writer, Arc::default(), move |r| send.send(r).unwrap());
        let _client = answer.join().unwrap();
        while source.bytes_in() == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        cancel.cancel();
        source.stop();
        // Long before it would take the silence for a stall.
        ended.recv_timeout(STALL / 2).unwrap().unwrap();
    }

    #[test]
    fn loopback_is_known_by_any_of_its_names() {
        assert!(is_loopback("http://127.0.0.1:8000/x") && is_loopback("http://localhost/"));
        assert!(is_loopback("http://[::1]:8000/"));
        assert!(!is_loopback("http://radio.example/") && !is_loopback("nonsense"));
    }
}
