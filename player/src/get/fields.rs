//! The header fields that a download depends on, read as if an enemy had written them.

use std::time::{Duration, SystemTime};

use roundelay::Span;
use ureq::http::HeaderMap;
use ureq::http::header::{ACCEPT_RANGES, CONTENT_RANGE, DATE, ETAG, HeaderName, LAST_MODIFIED, RETRY_AFTER};

/// Longer than any server's; a longer one is not remembered.
const MAX_VALIDATOR_BYTES: usize = 512;

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// `Content-Range: bytes 0-99/1234`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentRange {
    /// The bytes that follow, and the length of the whole if it is known.
    Part { span: Span, len: Option<u64> },
    /// None follow; the whole is this long.
    Unsatisfied { len: u64 },
}

impl ContentRange {
    /// `None` if there is no such field, or none that makes sense.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(CONTENT_RANGE).iter();
        let field = fields.next()?;
        // Two of them say nothing that can be trusted.
        if fields.next().is_some() {
            return None;
        }
        Self::parse(field.to_str().ok()?)
    }

    fn parse(field: &str) -> Option<Self> {
        let (unit, value) = field.trim().split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, len) = value.trim().split_once('/')?;
        let len = if len == "*" { None } else { Some(number(len)?) };
        if range == "*" {
            return len.map(|len| Self::Unsatisfied { len });
        }
        let (first, last) = range.split_once('-')?;
        let span = Span { start: number(first)?, end: number(last)?.checked_add(1)? };
        let inside = span.start < span.end && len.is_none_or(|len| span.end <= len);
        inside.then_some(Self::Part { span, len })
    }
}

/// Digits and nothing else: `u64`'s own parser would take a sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// By what a version of the file is told from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// With its quotes, and without the mark of a weak one.
    etag: Option<String>,
    /// The tag is no weak one.
    is_strong: bool,
    modified: Option<String>,
}

impl Version {
    /// Only what tells versions apart byte for byte. A weak tag does not say so much, nor does a time of modification
    /// that is no earlier than the answer: the file can change again within that second.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let field = |name| text(headers, name).filter(|text| !text.is_empty() && text.len() <= MAX_VALIDATOR_BYTES);
        let quoted = |tag: &&str| tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
        let time = |text: &str| httpdate::parse_http_date(text).ok();
        let date = field(DATE).and_then(time);
        let settled = |modified: &&str| time(modified).zip(date).is_some_and(|(modified, date)| modified < date);
        let tag = field(ETAG);
        Self {
            etag: tag.map(|tag| tag.strip_prefix("W/").unwrap_or(tag)).filter(quoted).map(str::to_owned),
            is_strong: tag.as_ref().is_some_and(quoted),
            modified: field(LAST_MODIFIED).filter(settled).map(str::to_owned),
        }
    }

    /// What goes into `If-Range`.
    pub(super) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().filter(|_| self.is_strong).or(self.modified.as_deref())
    }

    /// Whether an answer that says `other` is of the same version, as far as versions are named at all.
    pub(super) fn is_surely(&self, other: &Self) -> bool {
        self.allows(other) && self.validator().is_none_or(|validator| other.validator() == Some(validator))
    }

    /// Whether an answer that says `other` can be of the same version: it does not contradict.
    pub(super) fn allows(&self, other: &Self) -> bool {
        let agree = |one: &Option<String>, other: &Option<String>| match (one, other) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        agree(&self.etag, &other.etag) && agree(&self.modified, &other.modified)
    }
}

/// Whether the server says that it sends parts.
pub(super) fn accepts_ranges(headers: &HeaderMap) -> bool {
    text(headers, ACCEPT_RANGES).is_some_and(|units| units.eq_ignore_ascii_case("bytes"))
}

/// Whether the server says that it is a station.
pub(super) fn is_station(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("icy-"))
}

/// How long the server asks to wait.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let field = text(headers, RETRY_AFTER)?;
    match number(field).filter(|_| !field.is_empty()) {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        // A time that has passed asks for no wait.
        None => Some(httpdate::parse_http_date(field).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let field = |(name, value): &(HeaderName, &str)| (name.clone(), HeaderValue::from_str(value).unwrap());
        fields.iter().map(field).collect()
    }

    #[test]
    fn a_content_range_is_understood() {
        let part = |start, end, len| Some(ContentRange::Part { span: Span { start, end }, len });
        assert_eq!(ContentRange::parse("bytes 0-99/1234"), part(0, 100, Some(1234)));
        assert_eq!(ContentRange::parse("Bytes 5-5/6"), part(5, 6, Some(6)));
        assert_eq!(ContentRange::parse("bytes 7-9/*"), part(7, 10, None));
        assert_eq!(ContentRange::parse("bytes */0"), Some(ContentRange::Unsatisfied { len: 0 }));
    }

    #[test]
    fn a_hostile_content_range_is_none() {
        for hostile in [
            "",
            "bytes",
            "bytes 0-99",
            "bytes 99-0/1234",
            "bytes 0-1234/1234",
            "bytes 0-18446744073709551615/18446744073709551615",
            "bytes 0-18446744073709551616/*",
            "bytes -5/10",
            "bytes +0-9/10",
            "bytes 0-9/+10",
            "bytes 0--9/10",
            "bytes 0-9/",
            "bytes -/10",
            "bytes */*",
            "frames 0-9/10",
            "bytes 0-4, 5-9/10",
        ] {
            assert_eq!(ContentRange::parse(hostile), None, "{hostile:?}");
        }
        let twice = headers(&[(CONTENT_RANGE, "bytes 0-4/10"), (CONTENT_RANGE, "bytes 5-9/10")]);
        let mut both = twice.clone();
        both.append(CONTENT_RANGE, HeaderValue::from_static("bytes 0-4/10"));
        assert_eq!(ContentRange::of(&both), None);
    }

    #[test]
    fn only_what_tells_every_byte_apart_is_a_version() {
        let early = (LAST_MODIFIED, "Sun, 06 Nov 1994 08:49:37 GMT");
        let at_once = (DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = (DATE, "Sun, 06 Nov 1994 08:49:38 GMT");
        let validator = |fields: &[_]| Version::of(&headers(fields)).validator().map(str::to_owned);
        assert_eq!(validator(&[(ETAG, "\"a\""), early.clone(), later.clone()]).as_deref(), Some("\"a\""));
        assert_eq!(validator(&[(ETAG, "W/\"a\""), early.clone(), later]).as_deref(), Some(early.1));
        assert_eq!(validator(&[early.clone(), at_once]), None);
        assert_eq!(validator(&[early]), None);
        assert_eq!(validator(&[(ETAG, "unquoted")]), None);
        assert_eq!(validator(&[(ETAG, &format!("\"{}\"", "x".repeat(5_000)))]), None);
    }

    #[test]
    fn a_version_is_another_if_either_field_is() {
        let version = |etag: Option<&str>, modified: Option<&str>| Version {
            etag: etag.map(str::to_owned),
            is_strong: true,
            modified: modified.map(str::to_owned),
        };
        let known = version(Some("a"), Some("monday"));
        assert!(known.allows(&known) && known.allows(&version(None, None)) && known.allows(&version(Some("a"), None)));
        assert!(!known.allows(&version(Some("b"), Some("monday"))));
        assert!(!known.allows(&version(Some("a"), Some("tuesday"))));
        assert!(known.is_surely(&version(Some("a"), None)) && !known.is_surely(&version(None, Some("monday"))));
        let weak = |etag| Version { is_strong: false, ..version(Some(etag), Some("monday")) };
        assert!(weak("a").is_surely(&weak("a")) && !weak("a").allows(&weak("b")));
        assert!(known.allows(&weak("a")) && !known.is_surely(&weak("a")) && !known.allows(&weak("b")));
        let nameless = version(None, None);
        assert!(nameless.is_surely(&nameless) && nameless.is_surely(&known));
    }

    #[test]
    fn a_wait_is_given_in_seconds_or_as_a_time() {
        let wait = |field| {
            let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
            retry_after(&headers(&[(RETRY_AFTER, field)]), now)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "99999999999999999999"] {
            assert_eq!(wait(nonsense), None, "{nonsense:?}");
        }
    }
}
