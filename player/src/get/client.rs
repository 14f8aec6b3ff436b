//! The questions that a download asks of a server, and what is made of the answers.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use roundelay::Span;
use ureq::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE, TRANSFER_ENCODING};
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, Body, BodyReader, Error, ResponseExt, Timeout};

use super::GetError;
use super::fields::{ContentRange, Version, accepts_ranges, is_station, retry_after};
use super::halt::Halt;
use super::hangup::TellsCutsFromEnds;
use super::proxy::{FindsWhatIsAsked, Proxies, ThroughProxies};
use super::retry::Trouble;
use crate::address::Address;
use crate::redirects::{Cookies, FollowError, follow, is_redirect, personal};
use crate::response_head::TolerantHeads;
use crate::source;

/// Who asks for one file. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    /// Where it is asked for first.
    first: Address,
    /// Where the last answer came from, after all redirects. Shared by the clones.
    target: Arc<Mutex<Address>>,
    cookies: Cookies,
    halt: Halt,
}

/// What the server has.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// How long it is, if the server says.
    pub(super) len: Option<u64>,
    /// Whether it comes in parts, too.
    pub(super) in_parts: bool,
    /// Nothing but the end of the connection says where it ends.
    pub(super) open_ended: bool,
    pub(super) version: Version,
}

impl Offer {
    /// The same, of any version. The caller takes all of it in order, and compares what comes again after a cut.
    pub(super) fn nameless(self) -> Self {
        Self { in_parts: false, version: Version::default(), ..self }
    }
}

/// A body that is being received.
pub(super) struct Stream {
    body: BodyReader<'static>,
    url: String,
    /// The offset in the file of the byte that comes next.
    position: u64,
    /// Where it ends, if the server said so: what comes beyond is not wanted.
    end: Option<u64>,
    /// The connection can be used again after the last byte.
    reusable: bool,
}

impl Stream {
    fn new(response: Response<Body>, position: u64, end: Option<u64>) -> Self {
        let url = response.get_uri().to_string();
        let wanted = end.map(|end| end - position);
        let reusable = wanted.is_some() && wanted == content_length(&response);
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
    /// A client for what is at `address`, that takes a silence of `patience` for a cut.
    ///
    /// # Errors
    /// [`GetError::Proxy`].
    pub(super) fn new(address: &Address, connections: usize, patience: Duration) -> Result<Self, GetError> {
        Self::beside(None, address, connections, patience)
    }

    /// As [`new`](Self::new), beside the client whose connection brings what comes first: it is halted with the others, and
    /// what cookies it was given the others send, too.
    pub(super) fn beside(
        first: Option<source::Client>,
        address: &Address,
        connections: usize,
        patience: Duration,
    ) -> Result<Self, GetError> {
        let proxies = Proxies::of_environment(address)?;
        // The machine's own certificates, or those of the file that SSL_CERT_FILE names.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .user_agent(concat!("roundelay/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .proxy(proxies.tunnel())
            // A redirect may lead to a safer place, never to a less safe one.
            .https_only(address.is_secure())
            .http_status_as_error(false)
            // They are followed here.
            .max_redirects(0)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            // Not a total: a download lasts as long as it lasts.
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience))
            .build();
        let resolver = FindsWhatIsAsked::new(proxies.clone());
        let connector = ThroughProxies::new(proxies).chain(TellsCutsFromEnds).chain(TolerantHeads::default());
        let agent = Agent::with_parts(config, connector, resolver);
        let halt = Halt::new(first.iter().map(|first| first.agent.clone()).chain([agent.clone()]).collect::<Vec<_>>());
        let cookies = first.map(|first| first.cookies).unwrap_or_default();
        Ok(Self { agent, first: address.clone(), target: Arc::new(Mutex::new(address.clone())), cookies, halt })
    }

    /// Ends all of it.
    pub(super) fn halt(&self) -> &Halt {
        &self.halt
    }

    /// Asks what there is, and begins to receive it.
    pub(super) fn open(&self) -> Result<(Offer, Option<Stream>), Trouble> {
        self.open_range("bytes=0-")
    }

    /// Asks what there is, for a client that has something already, `here` bytes long in all: without receiving any of it,
    /// if the server lets it.
    ///
    /// One byte is asked for, and not the head alone: what many servers say in answer to `HEAD` is not so.
    pub(super) fn look(&self, here: u64) -> Result<(Offer, Option<Stream>), Trouble> {
        let (offer, stream) = self.open_range("bytes=0-0")?;
        if offer.len == Some(here) {
            return Ok((offer, stream));
        }
        // It became longer or shorter, if that is so. It is asked for in the way in which it would be sent: to a question
        // for a part, some answer with a page, or with that part under the name of the whole.
        let (whole, body) = self.open_whole()?;
        if stream.is_none() && whole.len == offer.len && offer.version.allows(&whole.version) {
            return Ok((offer, None));
        }
        Ok((whole, body))
    }

    fn open_range(&self, range: &str) -> Result<(Offer, Option<Stream>), Trouble> {
        let response = self.ask(Some((range, None))).map_err(|error| self.first_trouble(error))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => match ContentRange::of(response.headers()) {
                Some(ContentRange::Part { span, len: Some(len) })
                    if span.start == 0 && len <= roundelay::MAX_OFFSET && is_as_long_as(&response, span) =>
                {
                    let offer = offer(&response, Some(len), true);
                    // One byte was a question; a part that was asked for without an end is the beginning of an answer.
                    let stream = (range != "bytes=0-0").then(|| Stream::new(response, 0, Some(span.end)));
                    Ok((offer, stream))
                }
                // Parts in parts, or of nobody knows what: as good as none.
                _ => self.open_whole(),
            },
            // An empty file has no part, and some servers know no parts.
            status if refuses_parts(status) => self.open_whole(),
            StatusCode::OK if is_slice(&response) => self.open_whole(),
            _ => whole(response),
        }
    }

    /// Asks for the file from its first byte to its last.
    pub(super) fn open_whole(&self) -> Result<(Offer, Option<Stream>), Trouble> {
        whole(self.ask(None).map_err(|error| self.first_trouble(error))?)
    }

    /// Asks again for the whole of what was offered before.
    pub(super) fn open_again(&self, offer: &Offer) -> Result<Stream, Trouble> {
        let response = self.ask(None).map_err(|error| self.later_trouble(error))?;
        let (now, stream) = whole(response)?;
        if !offer.version.is_surely(&now.version) || (offer.len.is_some() && now.len != offer.len) {
            return Err(changed("another version was sent").into());
        }
        stream.ok_or_else(|| GetError::Nonsense(format!("{} has no body now", self.first)).into())
    }

    /// Asks for the bytes of `span`, provided that they are still those that were offered. What comes may end earlier.
    pub(super) fn open_part(&self, offer: &Offer, span: Span) -> Result<Stream, Trouble> {
        // `span` is never empty: there is a byte to ask for.
        let range = format!("bytes={}-{}", span.start, span.end - 1);
        let asked = self.ask(Some((&range, offer.version.validator())));
        let response = asked.map_err(|error| self.later_trouble(error))?;
        let version = Version::of(response.headers());
        let same_len = |len: Option<u64>| len.is_none() || offer.len.is_none() || len == offer.len;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let Some(ContentRange::Part { span: sent, len }) = ContentRange::of(response.headers()) else {
                    return Err(nonsense(&response, &range));
                };
                if !offer.version.allows(&version) || !same_len(len) {
                    return Err(changed("a part of another version was sent").into());
                }
                // `If-Range` is ignored by some. A part has to name the version that it is of (RFC 9110, 15.3.7).
                if !offer.version.is_surely(&version) {
                    return Err(changed("a part was sent that does not name its version").into());
                }
                if sent.start != span.start || !is_as_long_as(&response, sent) {
                    return Err(nonsense(&response, &range));
                }
                Ok(Stream::new(response, span.start, Some(sent.end.min(span.end))))
            }
            // With `If-Range` that is how a server says that the file is another one.
            StatusCode::OK if offer.version.is_surely(&version) && same_len(content_length(&response)) => {
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

    /// Asks where the last answer came from, and follows redirects from there. What one led to may be good for a while
    /// only: where it is not any more, the first address is asked again.
    fn ask(&self, range: Option<(&str, Option<&str>)>) -> Result<Response<Body>, FollowError> {
        let target = self.target().clone();
        let mut answer = self.ask_at(&target, range);
        let has_gone = answer.as_ref().map_or(true, |(_, response)| is_gone(response.status()));
        if has_gone && target != self.first && !self.halt.is_halted() {
            answer = self.ask_at(&self.first, range);
        }
        let (address, response) = answer?;
        *self.target() = address;
        Ok(response)
    }

    fn ask_at(
        &self,
        address: &Address,
        range: Option<(&str, Option<&str>)>,
    ) -> Result<(Address, Response<Body>), FollowError> {
        follow(address, &self.cookies, |address| {
            // The bytes of the file, and not of something that was made of them on the way.
            let request = self.agent.get(address.uri()).header(ACCEPT_ENCODING, "identity");
            let mut request = personal(request, address, &self.cookies);
            if let Some((range, only_if)) = range {
                request = request.header(RANGE, range);
                if let Some(validator) = only_if {
                    request = request.header(IF_RANGE, validator);
                }
            }
            request.call()
        })
    }

    fn target(&self) -> MutexGuard<'_, Address> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went wrong with the first question: an address that does not answer is a wrong one more likely than a passing
    /// fault.
    fn first_trouble(&self, error: FollowError) -> Trouble {
        let unreachable = match &error {
            FollowError::Ask(Error::Io(error)) => error.kind() == io::ErrorKind::ConnectionRefused,
            FollowError::Ask(Error::Timeout(timeout)) => matches!(timeout, Timeout::Connect | Timeout::Resolve),
            FollowError::Ask(error) => matches!(
                error,
                Error::HostNotFound | Error::ConnectionFailed | Error::ConnectProxyFailed(_) | Error::Protocol(_)
            ),
            _ => false,
        };
        match error {
            FollowError::Ask(error) if unreachable => {
                GetError::Unreachable { url: self.target().to_string(), reason: Box::new(error) }.into()
            }
            error => self.later_trouble(error),
        }
    }

    /// What went wrong with a question to a server that has answered before.
    fn later_trouble(&self, error: FollowError) -> Trouble {
        let url = self.target().to_string();
        match error {
            FollowError::Ask(Error::RequireHttpsOnly(to)) => {
                GetError::Redirect { url, reason: format!("{to} is not secure, as the address given is") }.into()
            }
            // Of all that is read while a connection is made, this can only be said of TLS.
            FollowError::Ask(Error::Io(reason)) if reason.kind() == io::ErrorKind::InvalidData => {
                GetError::Insecure { url, reason: Box::new(Error::Io(reason)) }.into()
            }
            FollowError::Ask(error @ (Error::Rustls(_) | Error::Tls(_) | Error::TlsRequired | Error::Pem(_))) => {
                GetError::Insecure { url, reason: Box::new(error) }.into()
            }
            FollowError::Ask(error) => Trouble::passing(GetError::Unreachable { url, reason: Box::new(error) }),
            error => GetError::Redirect { url, reason: error.to_string() }.into(),
        }
    }
}

/// Whether an answer says that nothing is to be fetched there, now or later.
fn is_gone(status: StatusCode) -> bool {
    let is_of_the_question = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::TOO_MANY_REQUESTS
    );
    status.is_client_error() && !is_of_the_question
}

/// Whether the same question without a range may be answered.
fn refuses_parts(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 405 | 406 | 412 | 416 | 417 | 501)
}

/// An answer to a question for the whole file that somebody else has asked: what is offered, and its beginning.
pub(super) fn take_over(response: Response<Body>) -> Result<(Offer, Option<Stream>), GetError> {
    if let Some(ContentRange::Part { span, len: Some(len) }) = ContentRange::of(response.headers())
        && response.status() == StatusCode::PARTIAL_CONTENT
        && span.start == 0
        && is_as_long_as(&response, span)
    {
        let offer = offer(&response, Some(len), true);
        return Ok((offer, Some(Stream::new(response, 0, Some(span.end)))));
    }
    let in_parts = accepts_ranges(response.headers());
    let (offer, stream) = whole(response).map_err(Trouble::into_error)?;
    Ok((Offer { in_parts, ..offer }, stream))
}

/// What an answer with the whole file says of it.
fn whole(response: Response<Body>) -> Result<(Offer, Option<Stream>), Trouble> {
    let len = match response.status() {
        StatusCode::OK if is_slice(&response) => return Err(nonsense(&response, "the whole file")),
        StatusCode::OK => content_length(&response),
        // Some send parts whatever they are asked for. One that is the whole is as good.
        StatusCode::PARTIAL_CONTENT => match ContentRange::of(response.headers()) {
            Some(ContentRange::Part { span, len: Some(len) })
                if span == (Span { start: 0, end: len }) && is_as_long_as(&response, span) =>
            {
                Some(len)
            }
            _ => return Err(nonsense(&response, "the whole file")),
        },
        _ => return Err(refused(&response)),
    };
    if is_station(response.headers()) {
        return Err(GetError::Endless { url: response.get_uri().to_string() }.into());
    }
    let offer = offer(&response, len, false);
    Ok((offer, Some(Stream::new(response, 0, len))))
}

fn offer(response: &Response<Body>, len: Option<u64>, in_parts: bool) -> Offer {
    let open_ended = len.is_none() && !response.headers().contains_key(TRANSFER_ENCODING);
    Offer { len, in_parts, open_ended, version: Version::of(response.headers()) }
}

/// What the head says of the body.
fn content_length(response: &Response<Body>) -> Option<u64> {
    let is_chunked = response.headers().contains_key(TRANSFER_ENCODING);
    let len = response.headers().get(CONTENT_LENGTH).filter(|_| !is_chunked)?.to_str().ok()?.trim().parse().ok()?;
    (len <= roundelay::MAX_OFFSET).then_some(len)
}

/// Whether the body of a part is as long as the part, as far as the head says.
fn is_as_long_as(response: &Response<Body>, part: Span) -> bool {
    content_length(response).is_none_or(|length| length == part.len())
}

/// Whether an answer that calls itself the whole is a part of it, as some servers answer a question for one.
fn is_slice(response: &Response<Body>) -> bool {
    match ContentRange::of(response.headers()) {
        Some(ContentRange::Part { span, len }) => {
            span != Span { start: 0, end: len.unwrap_or(span.end) } && is_as_long_as(response, span)
        }
        _ => false,
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
    if is_redirect(status) {
        let reason = format!("{status} without a location");
        return GetError::Redirect { url: response.get_uri().to_string(), reason }.into();
    }
    let error = GetError::Refused { url: response.get_uri().to_string(), status: status.to_string() };
    let wait = retry_after(response.headers(), SystemTime::now());
    let passes = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if passes { Trouble::Passing { error, wait } } else { Trouble::Lasting(error) }
}
