//! The questions that a download asks of a server, and what is made of the answers.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use roundelay::Span;
use ureq::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE, TRANSFER_ENCODING,
};
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, Body, BodyReader, Error, ResponseExt, Timeout};

use crate::address::Address;
use crate::redirects::{Cookies, personal};
use crate::source;

use super::GetError;
use super::fields::{ContentRange, Version, accepts_ranges, retry_after};
use super::halt::Halt;
use super::hangup::TellsCutsFromEnds;
use super::retry::Trouble;

/// Who asks. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    /// Where to be let in, and by what.
    personal: Option<(Address, Cookies)>,
    halt: Halt,
}

/// What the server has.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// Where it is, after all redirects.
    pub(super) url: Uri,
    /// How long it is, if the server says.
    pub(super) len: Option<u64>,
    /// Whether it comes in parts, too.
    pub(super) in_parts: bool,
    /// Nothing but the end of the connection says where it ends.
    pub(super) open_ended: bool,
    pub(super) version: Version,
}

/// A body that is being received.
pub(super) struct Stream {
    body: BodyReader<'static>,
    url: String,
    /// The offset in the file of the byte that comes next.
    position: u64,
    /// Where the server said that it ends, if it did.
    end: Option<u64>,
    /// The connection can be used again after the last byte.
    reusable: bool,
}

impl Stream {
    fn new(response: Response<Body>, position: u64, end: Option<u64>) -> Self {
        let url = response.get_uri().to_string();
        let reusable = content_length(&response).is_some();
        Self { body: response.into_body().into_reader(), url, position, end, reusable }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything has come that the server announced.
    pub(super) fn is_at_end(&self) -> bool {
        self.end == Some(self.position)
    }

    /// Receives up to `buf.len()` bytes; 0 where the body ends.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<usize, Trouble> {
        // What a server sends beyond its own word is not part of anything.
        let left = self.end.map_or(u64::MAX, |end| end - self.position);
        let most = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let length = self.body.read(&mut buf[..most]).map_err(|reason| self.cut(reason))?;
        self.position += length as u64;
        if self.reusable && self.is_at_end() {
            // Finds the end without looking at the connection, and gives that back for the next question.
            let _ = self.body.read(&mut [0]);
        }
        Ok(length)
    }

    /// The trouble with a body that ended here.
    pub(super) fn ended_early(&self) -> Trouble {
        self.cut(io::Error::new(io::ErrorKind::UnexpectedEof, "the body ended before its end"))
    }

    fn cut(&self, reason: io::Error) -> Trouble {
        Trouble::passing(GetError::Cut { url: self.url.clone(), reason })
    }
}

impl Client {
    /// A client for `url` that takes a silence of `patience` for a cut.
    pub(super) fn new(url: &Uri, connections: usize, patience: Duration) -> Self {
        Self::beside(None, url, connections, patience)
    }

    /// As [`new`](Self::new), beside the agent whose connection brings what comes first from an address: it is halted with the
    /// others, and what let it in lets the others in.
    pub(super) fn beside(
        first: Option<(source::Client, Address)>,
        url: &Uri,
        connections: usize,
        patience: Duration,
    ) -> Self {
        // The machine's own certificates, or those of the file that SSL_CERT_FILE names.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .user_agent(concat!("roundelay/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            // A redirect may lead to a safer place, never to a less safe one.
            .https_only(url.scheme_str() == Some("https"))
            .http_status_as_error(false)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            // Not a total: a download lasts as long as it lasts.
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience))
            .build();
        let connector = DefaultConnector::new().chain(TellsCutsFromEnds);
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        let all: Vec<_> = first.iter().map(|(first, _)| first.agent.clone()).chain([agent.clone()]).collect();
        let personal = first.map(|(first, address)| (address, first.cookies));
        Self { halt: Halt::new(all), personal, agent }
    }

    /// Ends all of it.
    pub(super) fn halt(&self) -> &Halt {
        &self.halt
    }

    /// Asks what there is, and begins to receive it.
    pub(super) fn open(&self, url: &Uri) -> Result<(Offer, Option<Stream>), Trouble> {
        self.open_range(url, "bytes=0-")
    }

    /// Asks what there is, for a client that has some of it already: without receiving any, if the server lets it.
    pub(super) fn look(&self, url: &Uri) -> Result<(Offer, Option<Stream>), Trouble> {
        // Closed at once: some servers send a body with the head, which would be taken for the next answer.
        let asked = self.agent.head(url).header(ACCEPT_ENCODING, "identity").header(CONNECTION, "close").call();
        let response = asked.map_err(|error| first_trouble(url, error))?;
        let len = response.body().content_length().or_else(|| content_length(&response));
        if response.status() == StatusCode::OK && len.is_some() && accepts_ranges(response.headers()) {
            let offer = offer(&response, len, true)?;
            if offer.version.validator().is_some() {
                return Ok((offer, None));
            }
        }
        // Some servers refuse the question, and some answer it in part. One byte tells as much.
        self.open_range(url, "bytes=0-0")
    }

    fn open_range(&self, url: &Uri, range: &str) -> Result<(Offer, Option<Stream>), Trouble> {
        let response = self.get(url, Some((range, None))).map_err(|error| first_trouble(url, error))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => match ContentRange::of(response.headers()) {
                Some(ContentRange::Part { span, len: Some(len) }) if span.start == 0 => {
                    check_length(&response, span)?;
                    let offer = offer(&response, Some(len), true)?;
                    // One byte was a question; a part that was asked for without an end is the beginning of an answer.
                    let stream = (range != "bytes=0-0").then(|| Stream::new(response, 0, Some(span.end)));
                    Ok((offer, stream))
                }
                // A part of nobody knows what: as good as none.
                Some(ContentRange::Part { span, len: None }) if span.start == 0 => self.open_whole(url),
                _ => Err(nonsense(&response, range)),
            },
            // An empty file has no part.
            StatusCode::RANGE_NOT_SATISFIABLE => self.open_whole(url),
            _ => whole(response),
        }
    }

    /// Asks for the file from its first byte to its last.
    pub(super) fn open_whole(&self, url: &Uri) -> Result<(Offer, Option<Stream>), Trouble> {
        whole(self.get(url, None).map_err(|error| first_trouble(url, error))?)
    }

    /// Asks again for the whole of what was offered before.
    pub(super) fn open_again(&self, offer: &Offer) -> Result<Stream, Trouble> {
        let response = self.get(&offer.url, None).map_err(|error| later_trouble(&offer.url, error))?;
        let (now, stream) = whole(response)?;
        if !offer.version.is_surely(&now.version) || (offer.len.is_some() && now.len != offer.len) {
            return Err(changed("another version was sent").into());
        }
        stream.ok_or_else(|| GetError::Nonsense(format!("{} has no body now", offer.url)).into())
    }

    /// Asks for the bytes of `span`, provided that they are still those that were offered.
    pub(super) fn open_part(&self, offer: &Offer, span: Span) -> Result<Stream, Trouble> {
        // `span` is never empty: there is a byte to ask for.
        let range = format!("bytes={}-{}", span.start, span.end - 1);
        let asked = self.get(&offer.url, Some((&range, offer.version.validator())));
        let response = asked.map_err(|error| later_trouble(&offer.url, error))?;
        let version = Version::of(response.headers());
        let same_len = |len: Option<u64>| len.is_none() || offer.len.is_none() || len == offer.len;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let Some(ContentRange::Part { span: sent, len }) = ContentRange::of(response.headers()) else {
                    return Err(nonsense(&response, &range));
                };
                // It was asked for with `If-Range`, and need not name the version again.
                if !offer.version.allows(&version) || !same_len(len) {
                    return Err(changed("a part of another version was sent").into());
                }
                if sent != span {
                    return Err(nonsense(&response, &range));
                }
                check_length(&response, span)?;
                Ok(Stream::new(response, span.start, Some(span.end)))
            }
            // With `If-Range` that is how a server says that the file is another one.
            StatusCode::OK if offer.version.is_surely(&version) && same_len(response.body().content_length()) => {
                Err(Trouble::NoRanges)
            }
            StatusCode::OK => Err(changed("another version was sent").into()),
            StatusCode::PRECONDITION_FAILED => Err(changed("the server no longer has the version").into()),
            StatusCode::RANGE_NOT_SATISFIABLE => match ContentRange::of(response.headers()) {
                Some(ContentRange::Unsatisfied { len }) if Some(len) != offer.len => {
                    Err(changed("its length is another").into())
                }
                _ => Err(nonsense(&response, &range)),
            },
            _ => Err(refused(&response)),
        }
    }

    fn get(&self, url: &Uri, range: Option<(&str, Option<&str>)>) -> Result<Response<Body>, Error> {
        // The bytes of the file, and not of something that was made of them on the way.
        let mut request = self.agent.get(url).header(ACCEPT_ENCODING, "identity");
        if let Some((address, cookies)) = &self.personal {
            request = personal(request, address, cookies);
        }
        if let Some((range, only_if)) = range {
            request = request.header(RANGE, range);
            if let Some(validator) = only_if {
                request = request.header(IF_RANGE, validator);
            }
        }
        request.call()
    }
}

/// An answer to a question for the whole file that somebody else has asked: what is offered, and its beginning.
pub(super) fn take_over(response: Response<Body>) -> Result<(Offer, Option<Stream>), GetError> {
    if let Some(ContentRange::Part { span, len: Some(len) }) = ContentRange::of(response.headers())
        && response.status() == StatusCode::PARTIAL_CONTENT
        && span.start == 0
    {
        let offer = offer(&response, Some(len), true).map_err(Trouble::into_error)?;
        return Ok((offer, Some(Stream::new(response, 0, Some(span.end)))));
    }
    let in_parts = accepts_ranges(response.headers());
    match whole(response) {
        Ok((offer, stream)) => Ok((Offer { in_parts, ..offer }, stream)),
        Err(trouble) => Err(trouble.into_error()),
    }
}

/// What an answer with the whole file says of it.
fn whole(response: Response<Body>) -> Result<(Offer, Option<Stream>), Trouble> {
    if response.status() != StatusCode::OK {
        return Err(refused(&response));
    }
    let len = content_length(&response);
    let offer = offer(&response, len, false)?;
    Ok((offer, Some(Stream::new(response, 0, len))))
}

fn offer(response: &Response<Body>, len: Option<u64>, in_parts: bool) -> Result<Offer, Trouble> {
    let url = response.get_uri().clone();
    if let Some(len) = len.filter(|&len| len > roundelay::MAX_OFFSET) {
        return Err(GetError::Nonsense(format!("{url} is said to be {len} bytes long")).into());
    }
    let open_ended = len.is_none() && !response.headers().contains_key(TRANSFER_ENCODING);
    Ok(Offer { url, len, in_parts, open_ended, version: Version::of(response.headers()) })
}

/// What the head says of a body that is not in chunks.
fn content_length(response: &Response<Body>) -> Option<u64> {
    if response.headers().contains_key(TRANSFER_ENCODING) {
        return None;
    }
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The body of a part is as long as the part.
fn check_length(response: &Response<Body>, part: Span) -> Result<(), Trouble> {
    match response.body().content_length() {
        Some(length) if length != part.len() => {
            let said = format!("{length} bytes are announced for the {} bytes {part}", part.len());
            Err(GetError::Nonsense(said).into())
        }
        _ => Ok(()),
    }
}

fn nonsense(response: &Response<Body>, asked: &str) -> Trouble {
    let field = response.headers().get(CONTENT_RANGE);
    let field = field.map_or_else(|| "nothing".into(), |field| String::from_utf8_lossy(field.as_bytes()));
    let status = response.status().as_u16();
    GetError::Nonsense(format!("asked for {asked}, it answers {status} with a Content-Range of {field}")).into()
}

fn changed(what: &str) -> GetError {
    GetError::Changed { what: what.to_owned() }
}

/// A status that is neither the whole nor a part.
fn refused(response: &Response<Body>) -> Trouble {
    let status = response.status();
    let error = GetError::Refused { url: response.get_uri().to_string(), status: status.to_string() };
    let wait = retry_after(response.headers(), SystemTime::now());
    let passes = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if passes { Trouble::Passing { error, wait } } else { Trouble::Lasting(error) }
}

/// What went wrong with the first question: an address that does not answer is a wrong one more likely than a passing
/// fault.
fn first_trouble(url: &Uri, error: Error) -> Trouble {
    let unreachable = match &error {
        Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        Error::Timeout(timeout) => matches!(timeout, Timeout::Connect | Timeout::Resolve),
        Error::HostNotFound | Error::ConnectionFailed | Error::ConnectProxyFailed(_) | Error::Protocol(_) => true,
        _ => false,
    };
    if unreachable {
        GetError::Unreachable { url: url.to_string(), reason: Box::new(error) }.into()
    } else {
        later_trouble(url, error)
    }
}

/// What went wrong with a question to a server that has answered before.
fn later_trouble(url: &Uri, error: Error) -> Trouble {
    let url = url.to_string();
    let redirect = |reason: &str| GetError::Redirect { url: url.clone(), reason: reason.to_owned() }.into();
    match error {
        // Of all that is read while a connection is made, this can only be said of TLS.
        Error::Io(reason) if reason.kind() == io::ErrorKind::InvalidData => {
            GetError::Insecure { url, reason: Box::new(Error::Io(reason)) }.into()
        }
        Error::Rustls(_) | Error::Tls(_) | Error::TlsRequired | Error::Pem(_) => {
            GetError::Insecure { url, reason: Box::new(error) }.into()
        }
        Error::TooManyRedirects => redirect("there are too many redirects, perhaps in a circle"),
        Error::RequireHttpsOnly(to) => redirect(&format!("{to} is not secure, as the address given is")),
        Error::BadUri(why) => redirect(&why),
        error => Trouble::passing(GetError::Unreachable { url, reason: Box::new(error) }),
    }
}
