//! Addresses in the network, as people, playlists and servers write them.
//!
//! All of them are read by the same rules, those that browsers follow: a space, a letter beyond ASCII, `../`, a host of an
//! international domain and a backslash are understood. What is sent is always ASCII.
//!
//! A user name and a password in an address are sent in an `Authorization` field, and shown nowhere: whatever prints an
//! [`Address`] prints it without them.
//!
//! Nothing here does I/O.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode_byte, utf8_percent_encode};
use thiserror::Error;
use ureq::http::{HeaderValue, Uri};
use url::{Host, Url};

use crate::text;

/// Why an address leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It breaks the rules for addresses.
    #[error("the address {address} cannot be read ({reason}): give one such as http://host:8000/path")]
    Unreadable {
        /// As it was given, without a password.
        address: String,
        /// What is wrong with it.
        #[source]
        reason: url::ParseError,
    },
    /// Neither `http:` nor `https:`.
    #[error("the address {address} does not begin with http:// or https://")]
    Scheme {
        /// As it was given, without a password.
        address: String,
    },
    /// Longer than a request can hold.
    #[error("the address has {bytes} bytes, more than a request can hold: give a shorter one")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// An address that begins with `http://` or `https://`.
///
/// [`Display`](fmt::Display) and [`Debug`] print it without the user name and the password that it may hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// As it was written. Never printed.
    written: Url,
    /// Without credentials and fragment.
    url: Url,
    /// What `url` says, in the form in which a request holds it.
    uri: Uri,
    /// The value of an `Authorization` field.
    authorization: Option<HeaderValue>,
}

impl Address {
    /// Reads an address that somebody wrote.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn read(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(|reason| unreadable(text, reason))?;
        Self::new(url, text)
    }

    /// Where a `Location` field of an answer from this address leads. The credentials of this address go along to the same
    /// scheme, host and port, and nowhere else.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn join(&self, location: &[u8]) -> Result<Self, AddressError> {
        // Bytes that are not UTF-8 mean themselves.
        let text = str::from_utf8(location).map_or_else(|_| escape(location), str::to_owned);
        let mut url = self.written.join(&text).map_err(|reason| unreadable(&text, reason))?;
        let has_its_own = !url.username().is_empty() || url.password().is_some();
        if !has_its_own && url.origin() == self.written.origin() {
            // These fail for an address without a host only.
            let _ = url.set_username(self.written.username());
            let _ = url.set_password(self.written.password());
        }
        Self::new(url, &text)
    }

    fn new(written: Url, text: &str) -> Result<Self, AddressError> {
        if !matches!(written.scheme(), "http" | "https") {
            return Err(AddressError::Scheme { address: without_credentials(text) });
        }
        let authorization = authorization(&written);
        let mut url = written.clone();
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let uri = to_uri(&url).ok_or_else(|| AddressError::TooLong { bytes: url.as_str().len() })?;
        Ok(Self { written, url, uri, authorization })
    }

    /// With credentials: for what is relative to it, or asked again later. Not for people.
    #[must_use]
    pub(crate) fn with_credentials(&self) -> &str {
        self.written.as_str()
    }

    /// What a request is made for. Without credentials.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The value of the `Authorization` field to send, if the address has a user name or a password.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Without credentials.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Without credentials.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Whether it begins with `https://`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether it leads to this machine only.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            None => false,
        }
    }

    /// The last part of its path, for people: the name of a file.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let last = self.url.path_segments()?.next_back()?;
        let bytes: Vec<u8> = percent_decode_str(last).collect();
        Some(text::printable(&text::decode(&bytes))).filter(|name| !name.is_empty())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.as_str())
    }
}

/// Text that may be an address, for people: without a user name and a password, and without control characters.
///
/// Where the text is no address that can be read, all that may be part of a password is left out.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    let text = text::printable(text);
    let Some((scheme, rest)) = text.split_once(":") else { return text };
    let rest = rest.trim_start_matches(['/', '\\']);
    let is_address = text.contains("://") || matches!(&*scheme.to_ascii_lowercase(), "http" | "https");
    if !is_address {
        return text;
    }
    // Of an address that can be read, what is behind the host may contain the character, too.
    let may_contain = match Url::parse(&text) {
        Ok(url) if url.has_host() => rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()),
        _ => rest.len(),
    };
    match rest[..may_contain].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => text,
    }
}

fn unreadable(text: &str, reason: url::ParseError) -> AddressError {
    match reason {
        url::ParseError::RelativeUrlWithoutBase => AddressError::Scheme { address: without_credentials(text) },
        reason => AddressError::Unreadable { address: without_credentials(text), reason },
    }
}

/// RFC 7617, with the bytes that the address means.
fn authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    // Base64 is ASCII: this does not fail.
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A [`Url`] may contain a few characters that a request must not.
fn to_uri(url: &Url) -> Option<Uri> {
    let is_allowed =
        |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    let mut text = String::with_capacity(url.as_str().len());
    for c in url.as_str().chars() {
        if is_allowed(c) {
            text.push(c);
        } else {
            text.extend(utf8_percent_encode(c.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC));
        }
    }
    text.parse().ok()
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii() { text.push(byte.into()) } else { text.push_str(percent_encode_byte(byte)) }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Address {
        Address::read(text).unwrap()
    }

    fn pair(address: &Address) -> Option<String> {
        let value = address.authorization()?.to_str().unwrap().strip_prefix("Basic ").unwrap();
        Some(String::from_utf8(STANDARD.decode(value).unwrap()).unwrap())
    }

    #[test]
    fn addresses_are_read_as_browsers_read_them() {
        for (text, sent) in [
            ("http://a.example/one two.mp3", "http://a.example/one%20two.mp3"),
            ("  http://a.example/bjö rk?q=ä b#part ", "http://a.example/bj%C3%B6%20rk?q=%C3%A4%20b"),
            ("http://bücher.example/", "http://xn--bcher-kva.example/"),
            ("HTTP://A.Example:80/x", "http://a.example/x"),
            ("https:\\\\a.example\\x", "https://a.example/x"),
            ("http://a.example/a/../b/./c", "http://a.example/b/c"),
            ("http://a.example/%zz%20|^{}\"<>`", "http://a.example/%zz%20%7C%5E%7B%7D%22%3C%3E%60"),
            ("http://a.example/?a|b^c`{d}\"", "http://a.example/?a%7Cb%5Ec%60%7Bd%7D%22"),
            ("http://[::1]:8000/live;?a=b", "http://[::1]:8000/live;?a=b"),
            ("http://a.example", "http://a.example/"),
        ] {
            assert_eq!(read(text).uri().to_string(), sent, "{text}");
        }
    }

    #[test]
    fn a_location_leads_on_from_an_address() {
        let here = read("http://a.example:8000/lists/all.m3u?x=1");
        for (location, there) in [
            (&b"../live/a b.mp3"[..], "http://a.example:8000/live/a%20b.mp3"),
            (b"../../../up", "http://a.example:8000/up"),
            ("/björk".as_bytes(), "http://a.example:8000/bj%C3%B6rk"),
            (b"/bj\xf6rk", "http://a.example:8000/bj%F6rk"),
            (b"//b.example/x y", "http://b.example/x%20y"),
            (b"?y", "http://a.example:8000/lists/all.m3u?y"),
            ("https://bücher.example/ä".as_bytes(), "https://xn--bcher-kva.example/%C3%A4"),
        ] {
            assert_eq!(here.join(location).unwrap().as_str(), there);
        }
        for nowhere in [&b"rtsp://a.example/"[..], b"file:///etc/passwd", b"http://", b"http://a.example:99999/"] {
            assert!(here.join(nowhere).is_err(), "{}", nowhere.escape_ascii());
        }
    }

    #[test]
    fn credentials_are_decoded() {
        for (text, expected) in [
            ("http://user%40:p%40ss@a.example/", Some("user@:p@ss")),
            ("http://me@home.example:secret@a.example/", Some("me@home.example:secret")),
            ("http://us%20er:p:a%2fss@a.example/", Some("us er:p:a/ss")),
            ("http://böb:ü@a.example/", Some("böb:ü")),
            ("http://only@a.example/", Some("only:")),
            ("http://:only@a.example/", Some(":only")),
            ("http://a.example/@b", None),
        ] {
            let address = read(text);
            assert_eq!(pair(&address).as_deref(), expected, "{text}");
            assert!(address.as_str().starts_with("http://a.example/") && !address.uri().to_string().contains("ss@"));
        }
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let here = read("http://me:secret@a.example:8000/x");
        let goes = |location: &[u8]| pair(&here.join(location).unwrap());
        assert_eq!(goes(b"/y").as_deref(), Some("me:secret"));
        assert_eq!(goes(b"http://a.example:8000/y").as_deref(), Some("me:secret"));
        assert_eq!(goes(b"http://you:other@a.example:8000/y").as_deref(), Some("you:other"));
        for elsewhere in [&b"http://a.example/"[..], b"https://a.example:8000/", b"//b.example:8000/"] {
            assert_eq!(goes(elsewhere), None);
        }
    }

    #[test]
    fn credentials_are_never_printed() {
        for text in [
            "http://user%40:sec%40ret@a.example/x",
            "http://user:sec@ret@a.example/x",
            "HTTPS://user:secret@a.example:99999/x",
            "http://user:sec/ret@a.example/x",
            "http://user:sec?ret#word@a.example/x",
            "http:user:secret@a.example/x",
            "http:\\\\user:secret@a.example/x",
            "rtsp://user:secret@a.example/x",
            " http://user:secret@/x",
        ] {
            let mut told = without_credentials(text);
            match Address::read(text) {
                Ok(address) => told += &format!(" {address} {address:?} {:?}", address.authorization()),
                Err(error) => told += &format!(" {error} {error:?}"),
            }
            assert!(!told.contains("sec") && !told.contains("ret") && !told.contains("user"), "{text}: {told}");
        }
        for harmless in ["http://a.example/x@y", "Artist: Song @ Home.mp3", "a@b.mp3", "http://a.example/?to=me@b"] {
            assert_eq!(without_credentials(harmless), harmless);
        }
    }

    #[test]
    fn what_is_no_address_is_told_so() {
        for (text, answer) in [
            ("http://a.example:99999/", "the address http://a.example:99999/ cannot be read (invalid port number): "),
            ("http:///", "cannot be read (empty host): "),
            ("ftp://a.example/", "the address ftp://a.example/ does not begin with http:// or https://"),
            ("a.example/live", "does not begin with http:// or https://"),
            ("", "does not begin with http:// or https://"),
        ] {
            let error = Address::read(text).unwrap_err().to_string();
            assert!(error.contains(answer), "{text}: {error}");
        }
        let long = format!("http://a.example/{}", "x".repeat(70_000));
        assert_eq!(Address::read(&long), Err(AddressError::TooLong { bytes: long.len() }));
    }

    #[test]
    fn loopback_is_known_by_any_of_its_names() {
        for here in ["http://127.0.0.1:8000/x", "http://localhost/", "http://[::1]:8000/", "http://127.1/"] {
            assert!(read(here).is_loopback(), "{here}");
        }
        assert!(!read("http://radio.example/").is_loopback());
    }

    #[test]
    fn a_file_is_called_by_the_end_of_its_address() {
        let name = |text| read(text).file_name();
        assert_eq!(name("http://me:pw@a.example/music/one%20two%1b.mp3?x#y").as_deref(), Some("one two.mp3"));
        assert_eq!(name("http://a.example/bj%F6rk.mp3").as_deref(), Some("björk.mp3"));
        assert_eq!(name("http://me:pw@a.example"), None);
    }

    proptest! {
        #[test]
        fn whatever_can_be_read_can_be_sent(
            text in "(http|https)://([a-zö.]{1,8}|\\[::1\\])(:[0-9]{1,3})?[/\\\\?]([ -~äλ\u{1f}]|\\.\\./|%[0-9a-f]{2}){0,30}",
        ) {
            if let Ok(address) = Address::read(&text) {
                prop_assert!(address.uri().host().is_some());
                prop_assert!(Address::read(&address.uri().to_string()).is_ok());
            }
        }

        #[test]
        fn no_text_is_too_strange(text in "(http|:|/|@|\\\\|\\?|#|[a-zö \u{0}]){0,20}", location in any::<Vec<u8>>()) {
            let _ = without_credentials(&text);
            if let Ok(address) = Address::read(&text) {
                let _ = address.join(&location);
            }
        }
    }
}
