//! Any fields as those of a server's answer: what is read out of them, against what they were made of.
#![no_main]

use arbitrary::Arbitrary;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use roundelay::Span;
use roundelay_player::get::fuzzing::{Version, accepts_ranges, content_range, retry_after};
use std::time::{Duration, SystemTime};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Of one answer, and of another one.
    answers: [Vec<Field<'a>>; 2],
    range: RangeInput,
    raw: Raw<'a>,
    now: u32,
}

#[derive(Arbitrary, Debug)]
enum Field<'a> {
    Etag(bool, u8),
    Modified(u32),
    Date(u32),
    Raw(Name, Raw<'a>),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name {
    ContentRange,
    Etag,
    Modified,
    Date,
    AcceptRanges,
    RetryAfter,
}

/// Text that is likely to be taken for something.
#[derive(Arbitrary, Debug)]
enum Raw<'a> {
    Bytes(&'a [u8]),
    Words(Vec<Word>),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Word {
    Bytes,
    Space,
    Slash,
    Minus,
    Plus,
    Star,
    Quote,
    Weak,
    Zero,
    Number(u64),
    Edge(i8),
    Long(u8),
}

/// A range as a server writes it, right or wrong.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct RangeInput {
    first: Number,
    last: Number,
    len: Option<Number>,
    upper: bool,
}

/// About 0, about the end of what a number can be, or in between.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(u8),
    Large(u8),
    Any(u64),
}

impl Number {
    /// One that may be too large for 64 bits.
    fn value(self) -> u128 {
        match self {
            Self::Small(n) => n.into(),
            Self::Large(n) => u128::from(u64::MAX) + 128 - u128::from(n),
            Self::Any(n) => n.into(),
        }
    }
}

impl Name {
    fn field(self) -> HeaderName {
        match self {
            Self::ContentRange => header::CONTENT_RANGE,
            Self::Etag => header::ETAG,
            Self::Modified => header::LAST_MODIFIED,
            Self::Date => header::DATE,
            Self::AcceptRanges => header::ACCEPT_RANGES,
            Self::RetryAfter => header::RETRY_AFTER,
        }
    }
}

impl Raw<'_> {
    fn value(&self) -> Option<HeaderValue> {
        match self {
            Self::Bytes(bytes) => HeaderValue::from_bytes(bytes).ok(),
            Self::Words(words) => HeaderValue::try_from(words.iter().map(|word| word.text()).collect::<String>()).ok(),
        }
    }
}

impl Word {
    fn text(self) -> String {
        match self {
            Self::Bytes => "bytes".into(),
            Self::Space => " ".into(),
            Self::Slash => "/".into(),
            Self::Minus => "-".into(),
            Self::Plus => "+".into(),
            Self::Star => "*".into(),
            Self::Quote => "\"".into(),
            Self::Weak => "W/".into(),
            Self::Zero => "0".into(),
            Self::Number(n) => n.to_string(),
            Self::Edge(by) => u64::MAX.saturating_add_signed(by.into()).to_string(),
            Self::Long(n) => "x".repeat(3 * usize::from(n)),
        }
    }
}

fn time(seconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
}

fn date(seconds: u32) -> HeaderValue {
    HeaderValue::try_from(httpdate::fmt_http_date(time(seconds))).expect("a date is plain text")
}

fn headers(fields: &[Field<'_>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        let (name, value) = match field {
            Field::Etag(weak, tag) => {
                let weak = if *weak { "W/" } else { "" };
                (header::ETAG, HeaderValue::try_from(format!("{weak}\"{tag}\"")).ok())
            }
            Field::Modified(seconds) => (header::LAST_MODIFIED, Some(date(*seconds))),
            Field::Date(seconds) => (header::DATE, Some(date(*seconds))),
            Field::Raw(name, raw) => (name.field(), raw.value()),
        };
        if let Some(value) = value {
            headers.append(name, value);
        }
    }
    headers
}

fn one(name: HeaderName, value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(name, value)])
}

/// A range that was written as one is read as that, or not at all if it makes no sense.
fn check_range(input: RangeInput) {
    let (first, last, len) = (input.first.value(), input.last.value(), input.len.map(Number::value));
    let unit = if input.upper { "BYTES" } else { "bytes" };
    let whole = len.map_or("*".into(), |len| len.to_string());
    let field = HeaderValue::try_from(format!("{unit} {first}-{last}/{whole}")).expect("plain text");
    let max = u128::from(u64::MAX);
    let makes_sense = first <= last && last < max && len.is_none_or(|len| last < len && len <= max);
    let expected = makes_sense.then(|| {
        let span = Span { start: first as u64, end: last as u64 + 1 };
        (Some(span), len.map(|len| len as u64))
    });
    assert_eq!(content_range(&one(header::CONTENT_RANGE, field)), expected);
}

/// Whatever is understood can be said again, digit by digit.
fn check_raw_range(headers: &HeaderMap) {
    let Some((span, len)) = content_range(headers) else { return };
    let mut fields = headers.get_all(header::CONTENT_RANGE).iter();
    let field = fields.next().and_then(|field| field.to_str().ok()).expect("it was understood");
    assert!(fields.next().is_none(), "one of several was believed");
    let tidy = |text: &str| {
        let text: Vec<_> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|number| !number.is_empty())
            .map(|number| number.trim_start_matches('0').to_owned())
            .collect();
        text
    };
    let len = len.map(|len| len.to_string());
    let said = match span {
        Some(span) => {
            assert!(span.start < span.end);
            format!("{}-{}/{}", span.start, span.end - 1, len.as_deref().unwrap_or("*"))
        }
        None => format!("*/{}", len.expect("a length is all that it says")),
    };
    assert_eq!(tidy(field), tidy(&said), "{field:?}");
    assert!(!field.contains('+') && field.matches('-').count() == usize::from(span.is_some()));
}

fn check_version(fields: &HeaderMap, version: &Version) {
    assert!(version.is_surely(version) && version.allows(version));
    let Some(validator) = version.validator() else { return };
    assert!(validator.len() <= 512);
    HeaderValue::from_str(validator).expect("it can be sent back");
    let known = |name: HeaderName| {
        fields.get(name).is_some_and(|field| field.to_str().is_ok_and(|text| text.trim() == validator))
    };
    if validator.starts_with('"') {
        assert!(known(header::ETAG) && validator.ends_with('"') && validator.len() >= 2);
    } else {
        assert!(known(header::LAST_MODIFIED));
        let read = |name| httpdate::parse_http_date(fields.get(name)?.to_str().ok()?.trim()).ok();
        assert!(read(header::LAST_MODIFIED) < read(header::DATE), "it can change within that second");
    }
}

fuzz_target!(|input: Input<'_>| {
    check_range(input.range);
    let [one_answer, other_answer] = input.answers.each_ref().map(|fields| headers(fields));
    let (version, other) = (Version::of(&one_answer), Version::of(&other_answer));
    check_raw_range(&one_answer);
    if let Some(raw) = input.raw.value() {
        check_raw_range(&one(header::CONTENT_RANGE, raw));
    }
    check_version(&one_answer, &version);
    check_version(&other_answer, &other);
    assert_eq!(version.allows(&other), other.allows(&version));
    if version.is_surely(&other) {
        assert!(version.allows(&other));
        assert!(version.validator().is_none() || version.validator() == other.validator());
    }
    if let (Some(a), Some(b)) = (version.validator(), other.validator()) {
        // Two that are told apart by the same field are not taken for one.
        let same_kind = a.starts_with('"') == b.starts_with('"');
        assert!(a == b || !same_kind || !version.allows(&other));
    }

    let now = time(input.now);
    if let Some(wait) = retry_after(&one_answer, now) {
        let field =
            one_answer.get(header::RETRY_AFTER).and_then(|field| field.to_str().ok()).expect("it was read").trim();
        match httpdate::parse_http_date(field) {
            Ok(at) => assert_eq!(wait, at.duration_since(now).unwrap_or_default()),
            Err(_) => assert_eq!(field.trim_start_matches('0'), wait.as_secs().to_string().trim_start_matches('0')),
        }
    }
    let in_seconds = one(header::RETRY_AFTER, input.now.into());
    assert_eq!(retry_after(&in_seconds, now), Some(Duration::from_secs(input.now.into())));
    assert_eq!(retry_after(&one(header::RETRY_AFTER, date(input.now)), now), Some(Duration::ZERO));
    if accepts_ranges(&one_answer) {
        let field = one_answer.get(header::ACCEPT_RANGES).expect("somebody said so").as_bytes();
        assert!(field.trim_ascii().eq_ignore_ascii_case(b"bytes"));
    }
});
