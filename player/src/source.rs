//! The network's end of the ring: connects to a station over HTTP, and writes what it sends.
//!
//! A station that hangs up, stalls or cannot be reached any more is called again, at growing intervals; meanwhile the
//! player plays what the ring still holds. Every connection is noted in the [`Timeline`] with the offset at which its
//! bytes begin, since a decoder has to start anew there; so is every title with the offset from which it applies, and
//! whatever a decoder needs that begins later ([`head`](crate::head)).

use std::fmt;
use std::io::{self, Cursor, Read};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use roundelay::{RingDriver, StorageError, Writer};
use thiserror::Error;
use ureq::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, Body};

use crate::address::Address;
use crate::bit_rate::BitRate;
use crate::decode::DecoderState;
use crate::head::HeadScanner;
use crate::icy::{IcyDemux, Piece};
use crate::playlist::{self, Playlist};
use crate::redirects::{Cookies, FollowError, follow, personal};
use crate::response_head::TolerantHeads;
use crate::text;
use crate::timeline::{Connection, Timeline};

/// A station that takes longer to answer, or sends nothing for so long, is called again.
const STALL: Duration = Duration::from_secs(10);

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// With enough audio ahead, what comes is taken in portions of so long: a packet comes many times a second, and for none
/// of them need a processor wake up.
const PORTION: Duration = Duration::from_millis(450);

const BUFFER_BYTES: usize = 64 << 10;

/// So much of an answer tells what it is.
const TELLING_BYTES: usize = 1_024;

/// A file that is said to be longer is a stream: as much as 13 hours of the best sound that there is.
const MAX_FILE_BYTES: u64 = 16 << 30;

/// Why nothing more comes from the station.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no connection. Of the very first one, a wrong address is more likely than a passing fault.
    #[error("cannot listen to {address}: {}", Words(.reason))]
    Connect {
        /// What was to be listened to, without a password.
        address: String,
        /// What went wrong.
        #[source]
        reason: Box<Refusal>,
    },
    /// What comes is for people to read.
    #[error("{address} is no stream but a page{}: give the address of the stream itself, or of its playlist",
        .content_type.as_ref().map_or_else(String::new, |name| format!(" ({name})")))]
    Page {
        /// What was to be listened to, without a password.
        address: String,
        /// What the server says that it is.
        content_type: Option<String>,
    },
    /// No thread for the connection.
    #[error("cannot start a thread for the connection: {0}")]
    Thread(#[source] io::Error),
    /// The ring took no more.
    #[error("the ring failed: {0}")]
    Storage(#[from] StorageError),
}

impl SourceError {
    /// Whether the server refuses for good, as far as it says: it would answer the same the next time.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        let Self::Connect { reason, .. } = self else { return false };
        match reason.0 {
            FollowError::Ask(ureq::Error::StatusCode(code)) => {
                (400..500).contains(&code) && !matches!(code, 408 | 425 | 429)
            }
            _ => false,
        }
    }

    fn refused(address: &Address, reason: FollowError) -> Self {
        Self::Connect { address: address.to_string(), reason: Box::new(reason.into()) }
    }
}

/// What came of a request in place of an answer.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct Refusal(#[from] FollowError);

/// A server that answered.
#[derive(Debug)]
pub struct Tuned {
    /// Where it was called, before all redirects.
    called: Address,
    /// Where it answered.
    address: Address,
    client: Client,
    response: Response<Body>,
    /// What was read of the body to see what it is.
    beginning: Vec<u8>,
}

impl Tuned {
    /// Calls the server at `address`.
    ///
    /// # Errors
    /// [`SourceError::Connect`], [`SourceError::Page`].
    pub fn call(address: &Address) -> Result<Self, SourceError> {
        Self::call_by(&Client::new(), address)
    }

    /// As [`call`](Self::call), by a client that has made earlier calls.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_by(client: &Client, called: &Address) -> Result<Self, SourceError> {
        let (address, response) = follow(called, &client.cookies, |address| client.ask(address))
            .map_err(|reason| SourceError::refused(called, reason))?;
        if let code @ (204 | 205 | 304) = response.status().as_u16() {
            // Nothing follows, now or later.
            return Err(SourceError::refused(called, ureq::Error::StatusCode(code).into()));
        }
        let (called, client) = (called.clone(), client.clone());
        let mut tuned = Self { called, address, client, response, beginning: Vec::new() };
        tuned.take_part_for_whole();
        // Audio shows by its first bytes. Text may go on as a list, or as a page.
        while tuned.beginning.len() < TELLING_BYTES && text::is_text(&tuned.beginning) {
            if !tuned.read_more() {
                break;
            }
        }
        if tuned.is_page() {
            let content_type = tuned.content_type().map(str::to_owned);
            return Err(SourceError::Page { address: tuned.called.to_string(), content_type });
        }
        Ok(tuned)
    }

    /// Some servers answer with a part, though none was asked for. One that begins the file, and says how long that is, is the
    /// download's to go on with; any other is heard as it comes.
    fn take_part_for_whole(&mut self) {
        if self.response.status() != StatusCode::PARTIAL_CONTENT || self.part_len().is_some() {
            return;
        }
        *self.response.status_mut() = StatusCode::OK;
        self.response.headers_mut().remove(CONTENT_RANGE);
    }

    /// The length of the file of which the first part comes.
    fn part_len(&self) -> Option<u64> {
        let range = self.response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
        let (range, len) = range.trim().split_once('/')?;
        let is_first = range.trim_start_matches("bytes").trim_start().starts_with("0-");
        len.parse().ok().filter(|_| is_first && self.response.status() == StatusCode::PARTIAL_CONTENT)
    }

    /// Reads more of the beginning, if more comes. A connection that breaks off here does so again where it is listened to.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        let length = self.response.body_mut().as_reader().read(&mut buffer).unwrap_or(0);
        self.beginning.extend_from_slice(&buffer[..length]);
        length > 0
    }

    /// What is for people to read, and not to hear.
    fn is_page(&self) -> bool {
        if !text::is_text(&self.beginning) {
            return false;
        }
        let start = text::decode(&self.beginning).trim_start().to_ascii_lowercase();
        let is_html = start.starts_with("<!doctype html") || start.starts_with("<html");
        let is_of_pages =
            matches!(self.content_type(), Some("text/html" | "application/xhtml+xml" | "application/json"));
        is_html || is_of_pages && !is_station(&self.response) && self.list_kind().is_none()
    }

    /// What kind of playlist it is, if it is one.
    #[must_use]
    pub fn list_kind(&self) -> Option<playlist::Kind> {
        Playlist::recognise(self.content_type(), self.address.as_str(), &self.beginning)
    }

    /// The beginning of what comes: all of it that was read yet, and at least a kilobyte of text.
    #[must_use]
    pub fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// The media type, if the server says, without its parameters.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        content_type(&self.response)
    }

    /// Where it answers, after all redirects.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The length of what comes, if it is a file, and no station's stream.
    #[must_use]
    pub fn file_len(&self) -> Option<u64> {
        let is_file = |len: &u64| (1..=MAX_FILE_BYTES).contains(len) && !is_station(&self.response);
        self.part_len().or_else(|| content_length(&self.response)).filter(is_file)
    }

    /// Where it was called, before all redirects.
    #[must_use]
    pub fn called(&self) -> &Address {
        &self.called
    }

    /// The answer, for somebody who goes on with it, and whose connection it comes by.
    pub(crate) fn into_answer(self) -> (Client, Address, Response<Body>) {
        let (head, body) = self.response.into_parts();
        let body = Cursor::new(self.beginning).chain(body.into_reader());
        (self.client, self.address, Response::from_parts(head, Body::builder().reader(body)))
    }

    /// Bits a second, if the station says.
    #[must_use]
    pub fn bits_per_second(&self) -> Option<u64> {
        // Some say it twice.
        let kilobits = header(&self.response, "icy-br")?;
        kilobits.split(',').next()?.trim().parse::<u64>().ok().filter(|&rate| rate > 0)?.checked_mul(1_000)
    }

    /// What its beginning says of the bit rate. Reads as much of it as there is of one second, or comes within one.
    pub fn measure(&mut self) -> Option<BitRate> {
        const MOST_BYTES: usize = 256 << 10;
        const MOST_TIME: Duration = Duration::from_secs(1);
        const ENOUGH_SECONDS: f64 = 1.0;
        let began = Instant::now();
        let (mut measured, mut wanted) = (None::<BitRate>, 2 * TELLING_BYTES);
        loop {
            let is_all = self.beginning.len() >= MOST_BYTES || began.elapsed() > MOST_TIME || !self.read_more();
            // Not after each packet: all of it is read anew.
            if self.beginning.len() >= wanted || is_all {
                measured = BitRate::measure(&self.audio());
                wanted = self.beginning.len() * 5 / 4;
            }
            if is_all || measured.is_some_and(|rate| rate.seconds >= ENOUGH_SECONDS) {
                return measured;
            }
        }
    }

    /// The beginning, without titles.
    fn audio(&self) -> Vec<u8> {
        let mut demux = IcyDemux::new(metadata_interval(&self.response));
        let (mut audio, mut rest) = (Vec::new(), &self.beginning[..]);
        while let Some(piece) = demux.next_piece(&mut rest) {
            if let Piece::Audio(bytes) = piece {
                audio.extend_from_slice(bytes);
            }
        }
        audio
    }

    /// The first `most` bytes of what comes: of something short, all of it.
    ///
    /// # Errors
    /// If it was cut.
    pub fn read(self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let (_, _, answer) = self.into_answer();
        answer.into_body().into_reader().take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A station that is being listened to.
#[derive(Debug)]
pub struct Source {
    client: Client,
    counts: Arc<Counts>,
    /// Dropped to stop the thread between two connections.
    stop: mpsc::Sender<()>,
}

/// What others may want to know. Each number is written by the connection's thread alone, and orders nothing else:
/// `Relaxed`.
#[derive(Debug, Default)]
struct Counts {
    bytes_in: AtomicU64,
    reconnects: AtomicU64,
    connected: AtomicBool,
    /// Why there is no connection, if that is known.
    trouble: Mutex<Option<String>>,
}

impl Counts {
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Listens to a station that answered, on a thread that writes to `writer` for `decoder`, and calls it `again` when it
    /// has hung up. `ended` is called when it is over: the stream was complete, was stopped, or failed; the ring then is
    /// committed, cancelled or failed.
    ///
    /// # Errors
    /// [`SourceError::Thread`].
    pub fn listen(
        tuned: Tuned,
        again: impl FnMut(&Client) -> Again + Send + 'static,
        writer: Writer<RingDriver>,
        timeline: Arc<Timeline>,
        decoder: DecoderState,
        ended: impl FnOnce(Result<(), SourceError>) + Send + 'static,
    ) -> Result<Self, SourceError> {
        let client = tuned.client.clone();
        let counts = Arc::<Counts>::default();
        let (stop, stopped) = mpsc::channel();
        let (thread_client, thread_counts) = (client.clone(), counts.clone());
        let again = Box::new(again);
        let mut reception =
            Reception { again, client: thread_client, writer, timeline, decoder, counts: thread_counts, stopped };
        let run = move || {
            let result = reception.run(tuned);
            if let Err(error) = &result {
                reception.writer.fail(StorageError::other(error.to_string()));
            }
            ended(result);
        };
        thread::Builder::new().name("source".into()).spawn(run).map_err(SourceError::Thread)?;
        Ok(Self { client, counts, stop })
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

    /// Why there is no connection now, if the station was called again and did not answer as it should.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.counts.trouble().clone().filter(|_| !self.is_connected())
    }

    /// Hangs up. Cancel the ring first, or this is taken for one more fault of the network.
    ///
    /// Does not wait for the thread: it may be in the middle of calling an address that never answers, which nothing
    /// can interrupt, and a user who wants to leave has no reason to wait for that.
    pub fn stop(self) {
        drop(self.stop);
        self.client.agent.shutdown();
    }
}

/// What came of calling a station again.
#[derive(Debug)]
pub enum Again {
    /// It answers.
    Here(Box<Tuned>),
    /// It does not answer now, for this reason; it is called again after a while.
    Away(Option<SourceError>),
    /// It refuses for good, and something else is to be played.
    Gone(SourceError),
}

/// Who calls. Clones share their connections and cookies.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) agent: Agent,
    pub(crate) cookies: Cookies,
}

impl Client {
    fn new() -> Self {
        // The machine's own certificates, or those of the file that SSL_CERT_FILE names.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .user_agent(concat!("roundelay/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            // Redirects are followed here.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(STALL))
            .timeout_connect(Some(STALL))
            .timeout_recv_response(Some(STALL))
            // Not a total: a live stream lasts as long as it lasts.
            .timeout_per_read(Some(STALL));
        let connector = DefaultConnector::new().chain(TolerantHeads { stations_are_endless: true });
        let agent = Agent::with_parts(config.build(), connector, DefaultResolver::default());
        Self { agent, cookies: Cookies::default() }
    }

    fn ask(&self, address: &Address) -> Result<Response<Body>, ureq::Error> {
        let mut request = personal(self.agent.get(address.uri()), address, &self.cookies);
        if address.is_loopback() {
            // A proxy of the environment's cannot reach this machine's loopback.
            request = request.config().proxy(None).build();
        }
        // The bytes of a file, and not of something that was made of them on the way.
        request.header("Icy-MetaData", "1").header(ACCEPT_ENCODING, "identity").call()
    }
}

/// Why there is no connection, for people.
struct Words<'a>(&'a Refusal);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match &self.0.0 {
            FollowError::Ask(error) => error,
            error => return error.fmt(f),
        };
        match error {
            ureq::Error::StatusCode(code) => {
                let reason = StatusCode::from_u16(*code).ok().and_then(|status| status.canonical_reason());
                write!(f, "the server answers {code} {}", reason.unwrap_or("and does not say why"))
            }
            ureq::Error::HostNotFound => f.write_str("there is no such host"),
            ureq::Error::Timeout(_) => f.write_str("it does not answer"),
            // Its words begin with "io: ".
            ureq::Error::Io(error) => error.fmt(f),
            error => error.fmt(f),
        }
    }
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
    again: Box<dyn FnMut(&Client) -> Again + Send>,
    client: Client,
    writer: Writer<RingDriver>,
    timeline: Arc<Timeline>,
    decoder: DecoderState,
    counts: Arc<Counts>,
    stopped: mpsc::Receiver<()>,
}

impl Reception {
    fn run(&mut self, first: Tuned) -> Result<(), SourceError> {
        let mut here = Some(first);
        let mut retry = FIRST_RETRY;
        loop {
            if let Some(tuned) = here.take() {
                let began = Instant::now();
                match self.receive(tuned) {
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
            match (self.again)(&self.client) {
                Again::Here(tuned) => {
                    self.counts.reconnects.fetch_add(1, Relaxed);
                    here = Some(*tuned);
                }
                Again::Away(why) => *self.counts.trouble() = why.map(|error| error.to_string()),
                Again::Gone(error) => return Err(error),
            }
        }
    }

    /// Sleeps, unless the player stops meanwhile.
    fn stopped_within(&self, time: Duration) -> bool {
        self.stopped.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Disconnected)
    }

    /// Writes a body to the ring, until it ends.
    fn receive(&mut self, tuned: Tuned) -> Result<End, StorageError> {
        let (_, _, response) = tuned.into_answer();
        self.note_connection(&response);
        let mut demux = IcyDemux::new(metadata_interval(&response));
        let mut scanner = HeadScanner::new(self.writer.position());
        let has_an_end = content_length(&response).is_some() || is_whole_when_it_ends(&response);
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        *self.counts.trouble() = None;
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
            station_name: header(response, "icy-name").map(|name| text::without_entities(&name)),
            content_type: content_type(response).map(str::to_owned),
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

/// The media type, without its parameters.
fn content_type(response: &Response<Body>) -> Option<&str> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim).filter(|name| !name.is_empty())
}

/// Of a body that is not in chunks. A length that cannot be has been left out of the head before.
fn content_length(response: &Response<Body>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bytes of audio between two titles.
fn metadata_interval(response: &Response<Body>) -> Option<NonZeroUsize> {
    header(response, "icy-metaint").and_then(|value| value.parse().ok())
}

/// A field's value, for people.
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

    fn call(url: &str) -> Result<Tuned, SourceError> {
        Tuned::call(&Address::read(url).unwrap())
    }

    fn listen(
        url: &str,
        writer: Writer<RingDriver>,
        timeline: Arc<Timeline>,
        ended: impl FnOnce(Result<(), SourceError>) + Send + 'static,
    ) -> Source {
        let tuned = call(url).unwrap();
        let called = tuned.called().clone();
        let again = move |client: &Client| match Tuned::call_by(client, &called) {
            Ok(tuned) => Again::Here(Box::new(tuned)),
            Err(error) => Again::Away(Some(error)),
        };
        Source::listen(tuned, again, writer, timeline, DecoderState::default(), ended).unwrap()
    }

    #[test]
    fn an_address_that_does_not_answer_is_an_error_at_once() {
        let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>";
        for (url, why) in [
            ("http://127.0.0.1:1/", "refused"),
            (&*serve(vec![b"HTTP/1.1 404 No\r\n\r\n"]), "404"),
            (&*serve(vec![page]), "is no stream but a page (text/html)"),
        ] {
            let error = call(url).unwrap_err().to_string();
            assert!(error.contains(url) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_file_is_told_from_a_stream() {
        let file = serve(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"]);
        assert_eq!(call(&file).unwrap().file_len(), Some(5));
        let station = serve(vec![b"HTTP/1.1 200 OK\r\nicy-br: 128, 128\r\nContent-Length: 5\r\n\r\nabcde"]);
        let station = call(&station).unwrap();
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
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n\xff\xfb and now nothing").unwrap();
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
}
