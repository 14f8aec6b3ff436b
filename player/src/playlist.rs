//! Playlists: a list of addresses where a stream was expected.
//!
//! Stations publish their address in one, in a format of Winamp's time: `.m3u`, `.pls`, seldom `.xspf`. All are read
//! tolerantly: by what they contain, whatever a server calls them; text is UTF-8 or, failing that, Windows-1252 or, with
//! a mark at its beginning, UTF-16; lines end as they like; what is not understood is passed over.
//! Two that look alike are told apart and refused by name: HLS, which cuts a stream into files behind a list that
//! changes, and `.asx` of Windows Media.
//!
//! A playlist comes from anywhere. No more than [`MOST_BYTES`] of it are read and [`MOST_ENTRIES`] entries taken; one from
//! the network leads into the network only, never to a file of this machine. An entry may be a playlist again: follow
//! [`MOST_NESTED`] of them, and no more, since they may lead in a circle.
//!
//! Nothing here does I/O, but for a look at which reading of a path leads to a file.

use std::collections::BTreeMap;
use std::path::Path;

use thiserror::Error;
use url::{ParseError, Url};

use crate::address::without_credentials;
use crate::text;

/// A longer one is none. A megabyte is some ten thousand songs.
pub const MOST_BYTES: usize = 1 << 20;

/// Of more entries, the first so many count.
pub const MOST_ENTRIES: usize = 10_000;

/// Playlists in playlists.
pub const MOST_NESTED: usize = 4;

/// Of more places for one song, the first so many count.
const MOST_LOCATIONS: usize = 8;

/// A longer address is none.
const MOST_ADDRESS_BYTES: usize = 4_096;

/// What an XML document has room for: some elements for each entry.
const MOST_XML_NODES: u32 = 200_000;

/// Why there is nothing to play in a playlist.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlaylistError {
    /// HLS, by its tags.
    #[error("this is an HLS stream (.m3u8), which is not supported; the station may have an MP3 or AAC stream, too")]
    Hls,
    /// Windows Media.
    #[error("this is a Windows Media playlist (.asx), which is not supported")]
    Asx,
    /// Beyond [`MOST_BYTES`].
    #[error("the playlist is longer than {MOST_BYTES} bytes")]
    TooLong,
    /// No address in it.
    #[error("the playlist is empty")]
    Empty,
    /// Addresses, and none that can be played.
    #[error("the playlist leads nowhere that can be played from here; the first address in it is {first:?}")]
    Unusable {
        /// The first of them.
        first: String,
    },
    /// Not even XML.
    #[error("the playlist cannot be read: {0}")]
    Xml(#[from] roxmltree::Error),
}

/// What a playlist is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line for each address.
    M3u,
    /// `File1=`, as in a configuration file.
    Pls,
    /// XML.
    Xspf,
    /// Looks like [`Kind::M3u`]; cannot be played.
    Hls,
    /// Looks like XML; cannot be played.
    Asx,
}

/// Where a playlist was found: what addresses in it are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base<'a> {
    /// In the network, after all redirects.
    Address(&'a str),
    /// In a file.
    File(&'a Path),
}

/// Something to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// An address that begins with `http://` or `https://`; or, of a playlist in a file, the path of another file.
    pub address: String,
    /// Where the same is to be had if not there.
    pub others: Vec<String>,
    /// What it is called there. Free of control characters.
    pub title: Option<String>,
}

/// What is in a playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// What can be played, in order; never empty where there was no error.
    pub entries: Vec<Entry>,
    /// How many more there are that cannot be played from here.
    pub left_out: usize,
    /// The first of these. Free of control characters and passwords.
    pub first_left_out: Option<String>,
}

/// Recognises playlists and reads them.
#[derive(Clone, Copy, Debug)]
pub struct Playlist;

impl Playlist {
    /// What kind of playlist this is, if it is one: by its first bytes (a kilobyte will do) or, of text that shows nothing,
    /// by the type that the server gives or the end of its name.
    #[must_use]
    pub fn recognise(content_type: Option<&str>, address: &str, beginning: &[u8]) -> Option<Kind> {
        let beginning = &beginning[..beginning.len().min(4_096)];
        let text = decode(beginning).to_ascii_lowercase();
        let text = text.trim_start();
        if text.starts_with("#extm3u") || text.starts_with("#ext-x-") {
            return Some(m3u_or_hls(text));
        }
        if text.starts_with("[playlist]") {
            return Some(Kind::Pls);
        }
        if text.starts_with("<asx") || text.starts_with("[reference]") {
            return Some(Kind::Asx);
        }
        if text.starts_with('<') {
            // Behind an XML declaration and comments. A web page that speaks of playlists is none.
            return if text.contains("<asx") {
                Some(Kind::Asx)
            } else {
                text.contains("<playlist").then_some(Kind::Xspf)
            };
        }
        if !text::is_text(beginning) {
            return None;
        }
        if let Some(kind) = kind_of_lines(text) {
            return Some(kind);
        }
        match Kind::of_type(content_type).or_else(|| Kind::of_name(address))? {
            Kind::M3u => Some(m3u_or_hls(text)),
            kind => Some(kind),
        }
    }

    /// What is in a playlist that was found at `base`.
    ///
    /// # Errors
    /// [`PlaylistError`], if there is nothing to play.
    pub fn parse(kind: Kind, bytes: &[u8], base: Base<'_>) -> Result<List, PlaylistError> {
        if bytes.len() > MOST_BYTES {
            return Err(PlaylistError::TooLong);
        }
        let text = decode(bytes);
        let mut entries = Entries { base, list: List::default() };
        match kind {
            Kind::M3u => read_m3u(&text, &mut entries)?,
            Kind::Pls => read_pls(&text, &mut entries),
            Kind::Xspf => read_xspf(&text, &mut entries)?,
            Kind::Hls => return Err(PlaylistError::Hls),
            Kind::Asx => return Err(PlaylistError::Asx),
        }
        match entries.list {
            list if !list.entries.is_empty() => Ok(list),
            List { first_left_out: Some(first), .. } => Err(PlaylistError::Unusable { first }),
            _ => Err(PlaylistError::Empty),
        }
    }
}

impl Kind {
    /// What a server says. Of text it need not be true: a list is often sent as `audio/mpeg`, or as nothing in particular.
    fn of_type(content_type: Option<&str>) -> Option<Self> {
        let name = content_type?.split(';').next()?.trim().to_ascii_lowercase();
        match name.as_str() {
            "audio/x-mpegurl"
            | "audio/mpegurl"
            | "audio/x-m3u"
            | "audio/m3u"
            | "application/x-mpegurl"
            | "application/mpegurl"
            | "application/vnd.apple.mpegurl" => Some(Self::M3u),
            "audio/x-scpls" | "audio/scpls" | "application/pls" | "application/pls+xml" => Some(Self::Pls),
            "application/xspf+xml" => Some(Self::Xspf),
            "video/x-ms-asx" | "audio/x-ms-wax" | "video/x-ms-wvx" => Some(Self::Asx),
            _ => None,
        }
    }

    fn of_name(address: &str) -> Option<Self> {
        let path = address.split(['?', '#']).next()?;
        let (_, extension) = path.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "m3u" | "m3u8" => Some(Self::M3u),
            "pls" => Some(Self::Pls),
            "xspf" => Some(Self::Xspf),
            "asx" | "wax" | "wvx" => Some(Self::Asx),
            _ => None,
        }
    }
}

/// `text` in small letters.
fn m3u_or_hls(text: &str) -> Kind {
    if text.lines().any(|line| line.trim_start().starts_with("#ext-x-")) { Kind::Hls } else { Kind::M3u }
}

/// What plain text is by its lines: it may lack the first one, or have others before it. The last line may be cut.
fn kind_of_lines(text: &str) -> Option<Kind> {
    let mut lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    if lines.clone().any(|line| line == "[playlist]" || pls_number(line, "file").is_some()) {
        return Some(Kind::Pls);
    }
    let first = lines.find(|line| !line.starts_with('#'))?;
    let is_address = first.starts_with("http://") || first.starts_with("https://");
    let begins_with_m3u = || text.lines().any(|line| line.trim_start().starts_with("#ext"));
    (is_address || begins_with_m3u()).then(|| m3u_or_hls(text))
}

/// The number in `file12=`; 0 if the line has no number. `line` is in small letters.
fn pls_number(line: &str, field: &str) -> Option<u32> {
    let number = line.split_once('=')?.0.trim().strip_prefix(field)?;
    if number.is_empty() { Some(0) } else { number.parse().ok() }
}

/// The text of `bytes`, without a mark at its beginning.
fn decode(bytes: &[u8]) -> String {
    match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, _)) if encoding != encoding_rs::UTF_8 => encoding.decode(bytes).0.into_owned(),
        mark => text::decode(&bytes[mark.map_or(0, |(_, length)| length)..]),
    }
}

/// What was found so far.
struct Entries<'a> {
    base: Base<'a>,
    list: List,
}

impl Entries<'_> {
    fn add(&mut self, address: &str, title: Option<&str>) {
        let address = address.trim();
        if address.is_empty() {
            return;
        }
        match resolve(address, self.base).filter(|_| self.list.entries.len() < MOST_ENTRIES) {
            Some(address) => {
                let title = title.map(printable).filter(|title| !title.is_empty());
                self.list.entries.push(Entry { address, others: Vec::new(), title });
            }
            None => {
                self.list.left_out += 1;
                let unusable = || without_credentials(address).chars().take(200).collect();
                self.list.first_left_out.get_or_insert_with(unusable);
            }
        }
    }
}

/// Where `address` leads from `base`, if that is somewhere.
fn resolve(address: &str, base: Base<'_>) -> Option<String> {
    if address.len() > MOST_ADDRESS_BYTES || address.contains('\0') {
        return None;
    }
    let web = |url: Url| matches!(url.scheme(), "http" | "https").then(|| url.into());
    match base {
        Base::Address(base) => match Url::parse(address) {
            // The name of a file may have a colon in it.
            Ok(_) if address.contains(": ") && !address.contains("://") => {
                web(Url::parse(base).ok()?.join(&format!("./{address}")).ok()?)
            }
            Ok(url) => web(url),
            Err(ParseError::RelativeUrlWithoutBase) => web(Url::parse(base).ok()?.join(address).ok()?),
            Err(_) => None,
        },
        Base::File(base) => match Url::parse(address) {
            Ok(url) if url.scheme() == "file" => url.to_file_path().ok()?.to_str().map(str::to_owned),
            // Without two slashes behind it, a colon is part of the name of a file.
            Ok(url) if address.contains("://") && url.scheme().len() > 1 => web(url),
            Err(_) if starts_with(address, "http://") || starts_with(address, "https://") => None,
            _ => path_of(address, base.parent().unwrap_or(Path::new(""))),
        },
    }
}

/// The path that `name` leads to from `folder`. What no file is called is read as other programs write it: with the
/// backslashes of Windows, or escaped as in an address.
fn path_of(name: &str, folder: &Path) -> Option<String> {
    let with_slashes = name.replace('\\', "/");
    let readings = [unescape(name), with_slashes.clone(), unescape(&with_slashes)];
    let as_written = folder.join(name);
    let path = if as_written.exists() {
        None
    } else {
        readings.iter().map(|name| folder.join(name)).find(|path| path.exists())
    };
    path.unwrap_or(as_written).to_str().map(str::to_owned)
}

/// As [`text::printable`], and no longer than anybody reads.
fn printable(text: &str) -> String {
    const MOST_CHARACTERS: usize = 500;
    text::printable(text).chars().take(MOST_CHARACTERS).collect()
}

fn read_m3u(text: &str, entries: &mut Entries<'_>) -> Result<(), PlaylistError> {
    let mut title = None;
    for line in text.split(['\n', '\r']).map(str::trim) {
        if starts_with(line, "#EXT-X-") {
            return Err(PlaylistError::Hls);
        }
        if starts_with(line, "#EXTINF:") {
            title = title_of_extinf(&line["#EXTINF:".len()..]);
        } else if !line.is_empty() && !line.starts_with('#') {
            entries.add(line, title.take());
        }
    }
    Ok(())
}

fn starts_with(line: &str, start: &str) -> bool {
    line.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

/// What is behind the length and, in some, `key="value"` pairs: behind the first comma that is in none of those.
fn title_of_extinf(line: &str) -> Option<&str> {
    let mut is_quoted = false;
    let comma = line.char_indices().find(|&(_, c)| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    // A quote that is never closed quotes nothing.
    comma.map(|(at, _)| at).or_else(|| line.find(',')).map(|at| &line[at + 1..])
}

fn read_pls(text: &str, entries: &mut Entries<'_>) {
    let mut files = BTreeMap::<u32, (Option<&str>, Option<&str>)>::new();
    for line in text.split(['\n', '\r']) {
        let Some((_, value)) = line.split_once('=') else { continue };
        let key = line.trim().to_ascii_lowercase();
        // The first of two of the same name counts.
        if let Some(number) = pls_number(&key, "file") {
            files.entry(number).or_default().0.get_or_insert(value);
        } else if let Some(number) = pls_number(&key, "title") {
            files.entry(number).or_default().1.get_or_insert(value);
        }
    }
    for (address, title) in files.into_values() {
        entries.add(address.unwrap_or_default(), title);
    }
}

fn read_xspf(text: &str, entries: &mut Entries<'_>) -> Result<(), PlaylistError> {
    let options = roxmltree::ParsingOptions { nodes_limit: MOST_XML_NODES, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(text, options)?;
    for track in document.descendants().filter(|node| node.tag_name().name() == "track") {
        let field = |name| {
            let element = track.children().find(|node| node.tag_name().name() == name);
            element.and_then(|element| element.text()).map(str::trim).filter(|text| !text.is_empty())
        };
        let title = match (field("creator"), field("title")) {
            (Some(creator), Some(title)) => Some(format!("{creator} - {title}")),
            (one, other) => one.or(other).map(str::to_owned),
        };
        let before = entries.list.entries.len();
        let locations = track.children().filter(|node| node.tag_name().name() == "location");
        for location in locations.filter_map(|node| node.text()).map(str::trim).take(MOST_LOCATIONS) {
            // Locations are URLs even where they are paths.
            match entries.base {
                Base::File(_) if !location.contains("://") => entries.add(&unescape(location), title.as_deref()),
                _ => entries.add(location, title.as_deref()),
            }
        }
        // Further locations are of the same song.
        let others: Vec<_> = entries.list.entries.drain(entries.list.entries.len().min(before + 1)..).collect();
        if let Some(entry) = entries.list.entries.get_mut(before) {
            entry.others.extend(others.into_iter().map(|entry| entry.address));
        }
    }
    Ok(())
}

/// Puts the bytes in place of `%20` and the like.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let escaped = if byte == b'%' { digit(0).zip(digit(1)) } else { None };
        rest = if escaped.is_some() { &behind[2..] } else { behind };
        bytes.push(escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()).unwrap_or(byte));
    }
    decode(&bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Base<'_> = Base::Address("http://radio.example:8000/lists/all.m3u?x=1");

    fn parse(kind: Kind, text: &[u8], base: Base<'_>) -> Vec<(String, Option<String>)> {
        let list = Playlist::parse(kind, text, base).unwrap();
        list.entries.into_iter().map(|entry| (entry.address, entry.title)).collect()
    }

    fn entry(address: &str, title: Option<&str>) -> (String, Option<String>) {
        (address.to_owned(), title.map(str::to_owned))
    }

    #[test]
    fn an_m3u_is_read_with_its_titles_and_relative_addresses() {
        let text = "\u{feff}#EXTM3U\r\n#EXTINF:-1 tvg-name=\"A, B\",Radio Ö, live\r\nhttp://a.example/live\r\n\r\n\
            # a remark\r\nlow.mp3\r\n/root\r\n//b.example/x y\r\n#extinf:12,\r\nhttps://ö.example/ä?q=1";
        assert_eq!(
            parse(Kind::M3u, text.as_bytes(), HERE),
            [
                entry("http://a.example/live", Some("Radio Ö, live")),
                entry("http://radio.example:8000/lists/low.mp3", None),
                entry("http://radio.example:8000/root", None),
                entry("http://b.example/x%20y", None),
                entry("https://xn--nda.example/%C3%A4?q=1", None),
            ]
        );
        assert_eq!(parse(Kind::M3u, b"#EXTINF:1,Bj\xf6rk\rhttp://a.example/", HERE)[0].1.as_deref(), Some("Björk"));
    }

    #[test]
    fn a_playlist_in_a_file_leads_to_files() {
        let base = Base::File(Path::new("music/lists/a.m3u"));
        let text =
            "../song one.mp3\n/abs/two.flac\nfile:///abs/th%20ree.ogg\nhttp://a.example/live\nrtsp://no.example/";
        let addresses: Vec<_> =
            parse(Kind::M3u, text.as_bytes(), base).into_iter().map(|(address, _)| address).collect();
        let mut expected = vec!["music/lists/../song one.mp3", "/abs/two.flac", "http://a.example/live"];
        if cfg!(unix) {
            expected.insert(2, "/abs/th ree.ogg");
            assert_eq!(addresses, expected);
        }
        let xspf = b"<playlist><trackList><track><location>a%20b%c3%b6.mp3</location></track></trackList></playlist>";
        assert_eq!(parse(Kind::Xspf, xspf, base), [entry("music/lists/a b\u{f6}.mp3", None)]);
    }

    #[test]
    fn a_playlist_from_the_network_does_not_lead_to_files() {
        for text in ["file:///etc/passwd", "C:\\secret.mp3", "data:audio/mpeg,x", "mms://old.example/"] {
            let error = Playlist::parse(Kind::M3u, text.as_bytes(), HERE).unwrap_err();
            assert!(matches!(&error, PlaylistError::Unusable { first } if first == text), "{text}: {error}");
        }
        assert_eq!(parse(Kind::M3u, b"/etc/passwd", HERE)[0].0, "http://radio.example:8000/etc/passwd");
    }

    #[test]
    fn a_pls_is_read_in_any_order_and_case() {
        let text = "[Playlist]\nnumberofentries=3\nTITLE2=Two\nfile10=http://a.example/10\nFile2 = http://a.example/2\r\n\
            Title1=One\nLength1=-1\nFILE1=http://a.example/1\nVersion=2\nfile1=http://a.example/again\nFilex=y\n";
        assert_eq!(
            parse(Kind::Pls, text.as_bytes(), HERE),
            [
                entry("http://a.example/1", Some("One")),
                entry("http://a.example/2", Some("Two")),
                entry("http://a.example/10", None),
            ]
        );
    }

    #[test]
    fn an_xspf_is_read() {
        let text = r#"<?xml version="1.0"?><playlist version="1" xmlns="http://xspf.org/ns/0/"><title>All</title>
            <trackList><track><location> http://a.example/1 </location><location>http://b.example/1</location>
            <creator>A</creator><title>B &amp; C</title></track><track><title>nowhere</title></track>
            <track><location>two</location></track></trackList></playlist>"#;
        assert_eq!(
            parse(Kind::Xspf, text.as_bytes(), HERE),
            [entry("http://a.example/1", Some("A - B & C")), entry("http://radio.example:8000/lists/two", None),]
        );
        let entries = Playlist::parse(Kind::Xspf, text.as_bytes(), HERE).unwrap().entries;
        assert_eq!((&*entries[0].others, &*entries[1].others), (&["http://b.example/1".to_owned()][..], &[][..]));
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><playlist>&a;</playlist>";
        assert!(matches!(Playlist::parse(Kind::Xspf, bomb.as_bytes(), HERE), Err(PlaylistError::Xml(_))));
        let (open, close) = ("<a>".repeat(140_000), "</a>".repeat(140_000));
        let deep = Playlist::parse(Kind::Xspf, (open + &close).as_bytes(), HERE);
        assert!(matches!(deep, Err(PlaylistError::Empty | PlaylistError::Xml(_))));
        let deep = "<a>".repeat(MOST_BYTES / 3);
        assert!(matches!(Playlist::parse(Kind::Xspf, deep.as_bytes(), HERE), Err(PlaylistError::Xml(_))));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let hls = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=128000\nlow.m3u8\n";
        let hls_name = "http://a.example/live.m3u8";
        assert_eq!(Playlist::recognise(None, hls_name, hls), Some(Kind::Hls));
        assert_eq!(Playlist::recognise(Some("application/vnd.apple.mpegurl"), "/", hls), Some(Kind::Hls));
        for kind in [Kind::Hls, Kind::M3u] {
            let error = Playlist::parse(kind, hls, HERE).unwrap_err();
            assert!(matches!(error, PlaylistError::Hls));
            assert!(error.to_string().contains("HLS"));
        }
        let asx = b"<asx version=\"3.0\"><entry><ref href=\"http://a.example/\"/></entry></asx>";
        assert_eq!(Playlist::recognise(Some("video/x-ms-asf"), "/", asx), Some(Kind::Asx));
        assert!(matches!(Playlist::parse(Kind::Asx, asx, HERE), Err(PlaylistError::Asx)));
    }

    #[test]
    fn a_playlist_is_recognised_by_what_it_is_then_its_type_then_its_name() {
        let recognise = Playlist::recognise;
        let line = b"http://a.example/live\n";
        assert_eq!(recognise(Some("audio/x-mpegurl; charset=utf-8"), "/listen", line), Some(Kind::M3u));
        assert_eq!(recognise(Some("application/vnd.apple.mpegurl"), "/listen", line), Some(Kind::M3u));
        assert_eq!(recognise(Some("AUDIO/X-SCPLS"), "/listen", b""), Some(Kind::Pls));
        assert_eq!(recognise(Some("text/plain"), "http://a.example/a.PLS?b=.mp3", b""), Some(Kind::Pls));
        assert_eq!(recognise(None, "a.m3u8", line), Some(Kind::M3u));
        assert_eq!(recognise(Some("audio/mpeg"), "/listen", b"  [playlist]\nFile1=x"), Some(Kind::Pls));
        assert_eq!(recognise(Some("audio/x-mpegurl"), "/listen.m3u", b"\xff\xfb\x90\x44"), None);
        assert_eq!(recognise(None, "/listen.m3u", b"OggS\0\x02"), None);
        assert_eq!(recognise(None, "/live", b"ID3\x04"), None);
        assert_eq!(recognise(Some("text/html"), "/", b"<!doctype html><p>our playlists"), None);
        assert_eq!(recognise(None, "/", b"<?xml version='1.0'?><playlist/>"), Some(Kind::Xspf));
    }

    #[test]
    fn a_list_is_known_by_its_lines_whatever_it_is_called() {
        let lists: [(&[u8], Kind); 9] = [
            (b"http://a.example/live\n", Kind::M3u),
            (b"# best ones\r\n\r\nHTTPS://a.example/live\r\n", Kind::M3u),
            (b"\xef\xbb\xbf  http://a.example/live", Kind::M3u),
            (b"# first\n#EXTINF:-1,A\nlow.mp3\n", Kind::M3u),
            (b"\xff\xfeh\0t\0t\0p\0:\0/\0/\0a\0/\0\n\0", Kind::M3u),
            (b"\r\n[Playlist]\r\nFile1=http://a.example/", Kind::Pls),
            (b"; a remark\n[playlist]\nFile1=low.mp3", Kind::Pls),
            (b"NumberOfEntries=1\nFile1=http://a.example/\n", Kind::Pls),
            (b"<?xml version='1.0'?><!-- - --><playlist version='1'>", Kind::Xspf),
        ];
        let types = [
            "binary/octet-stream",
            "application/octet-stream",
            "audio/x-m3u",
            "audio/mpeg",
            "application/xml",
            "text/plain",
            "text/html",
            "nonsense",
        ];
        for (list, kind) in lists {
            for content_type in types.map(Some).into_iter().chain([None]) {
                let recognised = Playlist::recognise(content_type, "http://a.example/listen", list);
                assert_eq!(recognised, Some(kind), "{content_type:?}: {}", list.escape_ascii());
            }
        }
        assert_eq!(parse(Kind::M3u, lists[4].0, HERE), [entry("http://a/", None)]);
        for other in [
            &b"File not found"[..],
            b"<html>http://a.example/",
            b"{\"a\": 1}",
            b"\xff\xfb\x90http://a/",
            b"",
            b"ID3\x04",
        ] {
            assert_eq!(Playlist::recognise(Some("audio/mpeg"), "/listen", other), None, "{}", other.escape_ascii());
        }
        assert_eq!(Playlist::recognise(Some("audio/mpeg"), "/listen.m3u", b"low.mp3\n"), Some(Kind::M3u));
    }

    #[test]
    fn a_name_with_a_colon_is_a_file_here() {
        let base = Base::File(Path::new("music/a.m3u"));
        let names = b"Artist: Song.mp3\n10:15 Saturday Night.mp3\nRe:mix.mp3\n";
        let list = Playlist::parse(Kind::M3u, names, base).unwrap();
        let addresses: Vec<_> = list.entries.iter().map(|entry| &*entry.address).collect();
        assert_eq!(addresses, ["music/Artist: Song.mp3", "music/10:15 Saturday Night.mp3", "music/Re:mix.mp3"]);
        assert_eq!(parse(Kind::M3u, b"A: B.mp3", HERE)[0].0, "http://radio.example:8000/lists/A:%20B.mp3");
        let pls = parse(Kind::Pls, b"File1=Artist: Song.mp3", base);
        assert_eq!(pls, [entry("music/Artist: Song.mp3", None)]);
        for location in ["Artist: Song.mp3", "Artist%3A%20Song.mp3"] {
            let xspf =
                format!("<playlist><trackList><track><location>{location}</location></track></trackList></playlist>");
            assert_eq!(parse(Kind::Xspf, xspf.as_bytes(), base), [entry("music/Artist: Song.mp3", None)]);
        }
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let text = b"http://a.example/1\nrtsp://me:secret@b.example/2\nhttp://c.example:99999/\nhttp://d.example/4\n";
        for base in [HERE, Base::File(Path::new("a.m3u"))] {
            let list = Playlist::parse(Kind::M3u, text, base).unwrap();
            assert_eq!((list.entries.len(), list.left_out), (2, 2));
            assert_eq!(list.first_left_out.as_deref(), Some("rtsp://b.example/2"));
        }
        let many = "a\n".repeat(MOST_ENTRIES + 5);
        assert_eq!(Playlist::parse(Kind::M3u, many.as_bytes(), HERE).unwrap().left_out, 5);
    }

    #[test]
    fn what_is_too_much_is_refused_or_left_out() {
        assert!(matches!(Playlist::parse(Kind::M3u, &vec![b'a'; MOST_BYTES + 1], HERE), Err(PlaylistError::TooLong)));
        let many = "a\n".repeat(MOST_ENTRIES + 5);
        assert_eq!(parse(Kind::M3u, many.as_bytes(), HERE).len(), MOST_ENTRIES);
        let long = "a".repeat(MOST_ADDRESS_BYTES + 1);
        let error = Playlist::parse(Kind::M3u, long.as_bytes(), HERE).unwrap_err();
        assert!(matches!(error, PlaylistError::Unusable { first } if first.len() == 200));
        assert!(matches!(Playlist::parse(Kind::M3u, b"# nothing\n", HERE), Err(PlaylistError::Empty)));
        assert!(matches!(Playlist::parse(Kind::Pls, b"[playlist]", HERE), Err(PlaylistError::Empty)));
    }

    proptest! {
        #[test]
        fn no_playlist_is_too_strange(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..400),
                "(\\[playlist\\]|#EXT(M3U|INF:|-X-)|File|Title|[0-9]|=|,|\"|\n|\r|http://|file:|%|:|/|\\\\|<(/)?(playlist|track|location|title)>|[a-zö\u{0}\u{1b}]){0,60}"
                    .prop_map(String::into_bytes),
            ],
            address in "(http://|file:///|[a-z.]|/|:|\\?|m3u|pls|%){0,12}",
        ) {
            let recognised = Playlist::recognise(None, &address, &bytes);
            let bases = [HERE, Base::Address(&address), Base::File(Path::new(&address))];
            for kind in [Kind::M3u, Kind::Pls, Kind::Xspf, Kind::Hls, Kind::Asx].into_iter().chain(recognised) {
                for base in bases {
                    let Ok(List { entries, .. }) = Playlist::parse(kind, &bytes, base) else { continue };
                    prop_assert!(!entries.is_empty());
                    for Entry { address, others, title } in entries {
                        for address in others.into_iter().chain([address]) {
                            let is_web = address.starts_with("http://") || address.starts_with("https://");
                            prop_assert!(is_web || matches!(base, Base::File(_)), "{}", address);
                        }
                        prop_assert!(title.is_none_or(|title| !title.chars().any(char::is_control)));
                    }
                }
            }
        }
    }
}
