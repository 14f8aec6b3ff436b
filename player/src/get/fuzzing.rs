//! What is made of a server's answer, in the open. For `fuzz/`, and nobody else.

use std::time::{Duration, SystemTime};

use roundelay::Span;
pub use ureq::http::HeaderMap;

use super::client::{self, Offer, Stream};
use super::fields::{self, ContentRange};
use super::retry::Trouble;
use crate::address::Address;

/// The part that is sent, if one is, and the length of the whole, if it is said.
#[must_use]
pub fn content_range(headers: &HeaderMap) -> Option<(Option<Span>, Option<u64>)> {
    Some(match ContentRange::of(headers)? {
        ContentRange::Part { span, len } => (Some(span), len),
        ContentRange::Unsatisfied { len } => (None, Some(len)),
    })
}

/// By what the version that an answer is of is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(fields::Version);

impl Version {
    /// The version that these name.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        Self(fields::Version::of(headers))
    }

    /// What goes into `If-Range`.
    #[must_use]
    pub fn validator(&self) -> Option<&str> {
        self.0.validator()
    }

    /// Whether the other is certainly the same.
    #[must_use]
    pub fn is_surely(&self, other: &Self) -> bool {
        self.0.is_surely(&other.0)
    }

    /// Whether the other can be the same.
    #[must_use]
    pub fn allows(&self, other: &Self) -> bool {
        self.0.allows(&other.0)
    }
}

/// Whether the server says that it sends parts.
#[must_use]
pub fn accepts_ranges(headers: &HeaderMap) -> bool {
    fields::accepts_ranges(headers)
}

/// How long the server asks to wait.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    fields::retry_after(headers, now)
}

/// Asks one server.
#[derive(Debug)]
pub struct Client {
    client: client::Client,
}

/// What it took an answer for.
#[derive(Debug)]
pub struct Answer {
    /// How long the file is, if the server says.
    pub len: Option<u64>,
    /// Whether it comes in parts.
    pub in_parts: bool,
    /// Where the body begins, what of it came, and whether that was all of it. `None` if there was none to receive.
    pub body: Option<(u64, Vec<u8>, bool)>,
}

impl Client {
    /// A client for `url` that takes a silence of `patience` for a cut. `None` if that is no address.
    #[must_use]
    pub fn new(url: &str, patience: Duration) -> Option<Self> {
        let client = client::Client::new(&Address::read(url).ok()?, 1, patience).ok()?;
        Some(Self { client })
    }

    /// Asks for all of it.
    ///
    /// # Errors
    /// What a user would be told.
    pub fn open(&self) -> Result<Answer, String> {
        let (offer, stream) = self.client.open().map_err(in_words)?;
        Ok(answer(&offer, stream))
    }

    /// Asks what there is.
    ///
    /// # Errors
    /// What a user would be told.
    pub fn look(&self) -> Result<Answer, String> {
        let (offer, stream) = self.client.look(20).map_err(in_words)?;
        Ok(answer(&offer, stream))
    }

    /// Asks for a part of what is `len` bytes long.
    ///
    /// # Errors
    /// What a user would be told.
    pub fn open_part(&self, part: Span, len: u64) -> Result<Answer, String> {
        let version = fields::Version::default();
        let offer = Offer { len: Some(len), in_parts: true, open_ended: false, version };
        let stream = self.client.open_part(&offer, part).map_err(in_words)?;
        Ok(answer(&offer, Some(stream)))
    }
}

fn answer(offer: &Offer, stream: Option<Stream>) -> Answer {
    let body = stream.map(|mut stream| {
        let (began, mut received, mut buf) = (stream.position(), Vec::new(), [0; 300]);
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            received.extend_from_slice(&buf[..n]);
        }
        (began, received, stream.is_at_end())
    });
    Answer { len: offer.len, in_parts: offer.in_parts, body }
}

fn in_words(trouble: Trouble) -> String {
    trouble.into_error().to_string()
}
