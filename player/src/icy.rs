//! ICY metadata: the song titles that radio stations mix into the audio.
//!
//! A client that sends `Icy-MetaData: 1` gets, after every `icy-metaint` bytes of audio, one byte that counts blocks of
//! sixteen, and that many blocks of text such as `StreamTitle='Artist - Title';`, filled up with zeros. Nobody ever
//! wrote that down as a standard, and stations send all sorts of things, so reading is tolerant: whatever the bytes
//! are, the audio comes out whole and the worst title is a missing one.
//!
//! Nothing here does I/O.

use std::num::NonZeroUsize;

use crate::text::{self, printable};

/// The count of blocks is one byte.
const MAX_BLOCKS: usize = 255;
const BLOCK_BYTES: usize = 16;

/// What [`IcyDemux`] finds in the bytes of a response body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of audio, never empty.
    Audio(&'a [u8]),
    /// A block of metadata, which says what is heard from here on.
    Metadata(Metadata),
}

/// What a metadata block says. A field that it does not mention stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `StreamTitle`, usually "Artist - Title". Free of control characters, so that it can be shown on a terminal.
    pub title: Option<String>,
    /// `StreamUrl`, of the song, its cover, or the station. Free of control characters.
    pub url: Option<String>,
}

/// Takes a body apart into audio and metadata, however it is cut into reads.
///
/// ```
/// use roundelay_player::icy::{IcyDemux, Piece};
/// let mut demux = IcyDemux::new(std::num::NonZeroUsize::new(4));
/// let mut body = &b"abcd\x01StreamTitle='X';efgh\x00ij"[..];
/// let mut audio = Vec::new();
/// while let Some(piece) = demux.next_piece(&mut body) {
///     match piece {
///         Piece::Audio(bytes) => audio.extend_from_slice(bytes),
///         Piece::Metadata(metadata) => assert_eq!(metadata.title.as_deref(), Some("X")),
///     }
/// }
/// # assert_eq!(audio, b"abcdefghij");
/// ```
#[derive(Debug)]
pub struct IcyDemux {
    /// Bytes of audio between two blocks of metadata; `None` for a station that sends no metadata.
    interval_bytes: Option<NonZeroUsize>,
    expecting: Expecting,
    /// The metadata block so far.
    block: Vec<u8>,
}

/// What the next byte belongs to. A count is never 0.
#[derive(Debug)]
enum Expecting {
    Audio { bytes_left: usize },
    BlockCount,
    Block { bytes_left: usize },
}

impl IcyDemux {
    /// A demultiplexer for a body with metadata every `interval_bytes`, or without any.
    #[must_use]
    pub fn new(interval_bytes: Option<NonZeroUsize>) -> Self {
        let expecting = Self::audio(interval_bytes);
        Self { interval_bytes, expecting, block: Vec::new() }
    }

    fn audio(interval_bytes: Option<NonZeroUsize>) -> Expecting {
        Expecting::Audio { bytes_left: interval_bytes.map_or(usize::MAX, NonZeroUsize::get) }
    }

    /// Takes the next piece off the front of `input`. `None` once all of it is taken; go on with what is read next.
    pub fn next_piece<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        while !input.is_empty() {
            match self.expecting {
                Expecting::Audio { bytes_left } => return Some(Piece::Audio(self.take_audio(input, bytes_left))),
                Expecting::BlockCount => self.take_block_count(input),
                Expecting::Block { bytes_left } => {
                    if self.take_block(input, bytes_left) {
                        return Some(Piece::Metadata(Metadata::parse(&self.block)));
                    }
                }
            }
        }
        None
    }

    fn take_audio<'a>(&mut self, input: &mut &'a [u8], bytes_left: usize) -> &'a [u8] {
        let audio = take(input, bytes_left);
        self.expecting = match self.interval_bytes {
            None => Self::audio(None),
            Some(_) if audio.len() == bytes_left => Expecting::BlockCount,
            Some(_) => Expecting::Audio { bytes_left: bytes_left - audio.len() },
        };
        audio
    }

    fn take_block_count(&mut self, input: &mut &[u8]) {
        let bytes_left = take(input, 1).first().map_or(0, |&count| usize::from(count) * BLOCK_BYTES);
        self.block.clear();
        self.expecting =
            if bytes_left == 0 { Self::audio(self.interval_bytes) } else { Expecting::Block { bytes_left } };
    }

    /// Whether the block is complete.
    fn take_block(&mut self, input: &mut &[u8], bytes_left: usize) -> bool {
        let part = take(input, bytes_left);
        self.block.extend_from_slice(part);
        let complete = part.len() == bytes_left;
        self.expecting = if complete {
            Self::audio(self.interval_bytes)
        } else {
            Expecting::Block { bytes_left: bytes_left - part.len() }
        };
        complete
    }
}

/// Takes up to `max` bytes off the front.
fn take<'a>(input: &mut &'a [u8], max: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(input.len().min(max));
    *input = rest;
    taken
}

impl Metadata {
    /// Reads a block, with or without the zeros behind it.
    ///
    /// Values may contain quotes (`StreamTitle='Don't';`), may lack the closing quote where the block ends, and may be
    /// in UTF-8, with a character cut at the end, or in Windows-1252. A title may be a list of fields itself
    /// (`title="Song",artist="Singer"`), as large networks send it, or have entities (`Tom &amp; Jerry`), as programs send
    /// it that take it from a web page.
    #[must_use]
    pub fn parse(block: &[u8]) -> Self {
        let length = block.iter().position(|&byte| byte == 0).unwrap_or(block.len());
        let mut metadata = Self::default();
        let mut rest = &block[..length];
        while let Some((key, value, behind)) = next_field(rest) {
            rest = behind;
            // Each by itself: one that is cut is no reason to read the others wrongly.
            let value = || printable(&text::decode(value));
            if key.eq_ignore_ascii_case(b"StreamTitle") {
                let title = value();
                metadata.title = Some(text::without_entities(&title_in_fields(&title).unwrap_or(title)));
            } else if key.eq_ignore_ascii_case(b"StreamUrl") {
                metadata.url = Some(value());
            }
        }
        metadata
    }
}

/// Key, value, and what comes behind them, for the first `key='value';` in `text`.
fn next_field(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let equals = find(text, b"='")?;
    let (key, rest) = (&text[..equals], &text[equals + 2..]);
    // A value ends at `';` where that is followed by the next field or by nothing: a title may contain it.
    let mut from = 0;
    while let Some(end) = find(&rest[from..], b"';").map(|at| from + at) {
        let behind = rest[end + 2..].trim_ascii_start();
        if behind.is_empty() || starts_with_key(behind) {
            return Some((key.trim_ascii(), &rest[..end], behind));
        }
        from = end + 2;
    }
    let mut value = rest;
    while let Some(shorter) = value.strip_suffix(b";") {
        value = shorter;
    }
    Some((key.trim_ascii(), value.strip_suffix(b"'").unwrap_or(rest), b""))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Whether a field begins here. Those of advertisements have names such as `adw_ad`.
fn starts_with_key(text: &[u8]) -> bool {
    let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let key_bytes = text.iter().take_while(|byte| is_of_key(byte)).count();
    key_bytes > 0 && text[key_bytes..].starts_with(b"='")
}

/// The title in `title="Song",artist="Singer",…` or in `Singer - text="Song" …`; `None` if it is a plain one.
fn title_in_fields(text: &str) -> Option<String> {
    const TITLES: [&str; 2] = ["title", "text"];
    let (before, fields) = match text.split_once(" - text=\"") {
        Some((before, _)) => (before.trim(), &text[before.len() + " - ".len()..]),
        None => ("", text.trim_start()),
    };
    if !["title", "artist", "text"].iter().any(|name| field_of(fields, name).is_some() && fields.starts_with(name)) {
        return None;
    }
    let title = TITLES.iter().find_map(|name| field_of(fields, name)).unwrap_or_default();
    let artist = field_of(fields, "artist").filter(|artist| !artist.is_empty()).unwrap_or(before);
    Some(match (artist, title) {
        ("", one) | (one, "") => one.to_owned(),
        (artist, title) => format!("{artist} - {title}"),
    })
}

/// The value of `name="value"` among fields that commas or spaces separate. It ends at a quote with nothing or such a
/// separator behind it: a title may contain others.
fn field_of<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let opening = format!("{name}=\"");
    let is_first = |at: usize| at == 0 || fields[..at].ends_with([',', ' ']);
    let start = fields.match_indices(&opening).map(|(at, _)| at).find(|&at| is_first(at))? + opening.len();
    let value = &fields[start..];
    let is_last = |at: usize| {
        let behind = value[at + 1..].trim_start_matches([',', ' ']);
        let name_bytes = behind.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        behind.is_empty() || name_bytes > 0 && behind[name_bytes..].starts_with('=')
    };
    let end = value.match_indices('"').map(|(at, _)| at).find(|&at| is_last(at));
    Some(value[..end.unwrap_or(value.len())].trim())
}

/// Mixes metadata into audio: the station's side of [`IcyDemux`].
#[derive(Debug)]
pub struct IcyMux {
    interval_bytes: NonZeroUsize,
    bytes_to_metadata: usize,
    /// The title that listeners were last told.
    told: Option<String>,
}

impl IcyMux {
    /// A multiplexer that sends metadata every `interval_bytes` bytes of audio.
    #[must_use]
    pub fn new(interval_bytes: NonZeroUsize) -> Self {
        Self { interval_bytes, bytes_to_metadata: interval_bytes.get(), told: None }
    }

    /// Appends `audio` to `out`, with metadata wherever it is due: the title if it is news, else an empty block.
    pub fn push(&mut self, mut audio: &[u8], title: Option<&str>, out: &mut Vec<u8>) {
        while !audio.is_empty() {
            let piece = take(&mut audio, self.bytes_to_metadata);
            out.extend_from_slice(piece);
            self.bytes_to_metadata -= piece.len();
            if self.bytes_to_metadata == 0 {
                self.bytes_to_metadata = self.interval_bytes.get();
                self.push_metadata(title, out);
            }
        }
    }

    fn push_metadata(&mut self, title: Option<&str>, out: &mut Vec<u8>) {
        if self.told.as_deref() == title {
            out.push(0);
            return;
        }
        self.told = title.map(str::to_owned);
        push_block(title.unwrap_or_default(), out);
    }
}

/// Appends the count and the block that tell `title`, cut where it is too long for one.
fn push_block(title: &str, out: &mut Vec<u8>) {
    const OPEN: &str = "StreamTitle='";
    const CLOSE: &str = "';";
    let room = MAX_BLOCKS * BLOCK_BYTES - OPEN.len() - CLOSE.len();
    let cut = (0..=room.min(title.len())).rev().find(|&at| title.is_char_boundary(at)).unwrap_or(0);
    let title = &title[..cut];
    let text_bytes = OPEN.len() + title.len() + CLOSE.len();
    let blocks = text_bytes.div_ceil(BLOCK_BYTES);
    out.push(u8::try_from(blocks).unwrap_or(u8::MAX));
    for part in [OPEN, title, CLOSE] {
        out.extend_from_slice(part.as_bytes());
    }
    out.resize(out.len() + blocks * BLOCK_BYTES - text_bytes, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn title_of(block: &[u8]) -> Option<String> {
        Metadata::parse(block).title
    }

    #[test]
    fn titles_are_read_as_stations_send_them() {
        assert_eq!(title_of(b"StreamTitle='A - B';StreamUrl='http://x/';\0\0").as_deref(), Some("A - B"));
        assert_eq!(Metadata::parse(b"StreamTitle='A';StreamUrl='u';").url.as_deref(), Some("u"));
        assert_eq!(title_of(b"StreamTitle='';").as_deref(), Some(""));
        assert_eq!(title_of(b"streamtitle='lower case';").as_deref(), Some("lower case"));
        assert_eq!(title_of(b"StreamUrl='u'; StreamTitle='behind';").as_deref(), Some("behind"));
    }

    #[test]
    fn quotes_inside_a_title_belong_to_it() {
        assert_eq!(title_of(b"StreamTitle='Don't Stop';").as_deref(), Some("Don't Stop"));
        assert_eq!(title_of(b"StreamTitle='Say 'Hey'; then go';StreamUrl='';").as_deref(), Some("Say 'Hey'; then go"));
    }

    #[test]
    fn a_title_that_is_cut_off_is_shown_as_far_as_it_goes() {
        assert_eq!(title_of(b"StreamTitle='A very long ti").as_deref(), Some("A very long ti"));
        assert_eq!(title_of(b"StreamTitle='closed, no semicolon'").as_deref(), Some("closed, no semicolon"));
        assert_eq!(title_of(b"StreamTitle=").as_deref(), None);
    }

    #[test]
    fn fields_inside_a_title_are_read() {
        let ad = "StreamTitle='';StreamUrl='';adw_ad='true';durationMilliseconds='30000';insertionType='midroll';";
        assert_eq!(title_of(ad.as_bytes()).as_deref(), Some(""));
        for (sent, title) in [
            (
                r#"title="Twisted",artist="Keith Sweat",url="song_spot=\"M\" MediaBaseId=\"0\"""#,
                "Keith Sweat - Twisted",
            ),
            (r#"artist="Keith Sweat",title="Twisted""#, "Keith Sweat - Twisted"),
            (
                r#"Keith Sweat - text="Twisted" song_spot="M" MediaBaseId="1104587" itunesTrackId="0""#,
                "Keith Sweat - Twisted",
            ),
            (r#"title="Say "Hey", then go",artist="A "B" C",url="""#, "A \"B\" C - Say \"Hey\", then go"),
            (r#"title="Only""#, "Only"),
            (r#"title="",artist="""#, ""),
            (r#"artist="Only",title="""#, "Only"),
            (r#"text="Spot Block End" amgTrackId="9876543""#, "Spot Block End"),
            (r#"title="Cut of"#, "Cut of"),
            (r#"The "title" - song"#, r#"The "title" - song"#),
            (r#"A - My title="x""#, r#"A - My title="x""#),
            (r#"x="1",title="a""#, r#"x="1",title="a""#),
        ] {
            assert_eq!(
                title_of(format!("StreamTitle='{sent}';StreamUrl='u';").as_bytes()).as_deref(),
                Some(title),
                "{sent}"
            );
        }
    }

    #[test]
    fn entities_in_a_title_are_characters() {
        let sent = "StreamTitle='Tom &amp; Jerry; L&#8217;amour';StreamUrl='http://x/?a=1&amp;b';";
        let metadata = Metadata::parse(sent.as_bytes());
        assert_eq!(metadata.title.as_deref(), Some("Tom & Jerry; L\u{2019}amour"));
        assert_eq!(metadata.url.as_deref(), Some("http://x/?a=1&amp;b"));
        let fields = br#"StreamTitle='title="A &quot;B&quot;",artist="C &amp; D"';"#;
        assert_eq!(title_of(fields).as_deref(), Some("C & D - A \"B\""));
    }

    #[test]
    fn a_title_is_read_in_its_own_charset() {
        let cut = b"StreamTitle='Bj\xc3\xb6rk - J\xc3';StreamUrl='http://x/\xe9';";
        assert_eq!(title_of(cut).as_deref(), Some("Bj\u{f6}rk - J"));
        assert_eq!(Metadata::parse(cut).url.as_deref(), Some("http://x/\u{e9}"));
        let quotes = b"StreamTitle='Don\x92t \x96 \x93Stop\x94 \x80';";
        assert_eq!(title_of(quotes).as_deref(), Some("Don\u{2019}t \u{2013} \u{201c}Stop\u{201d} \u{20ac}"));
    }

    #[test]
    fn text_that_is_not_utf8_is_latin1() {
        assert_eq!(title_of(b"StreamTitle='Bj\xf6rk';").as_deref(), Some("Björk"));
        assert_eq!(title_of("StreamTitle='Björk';".as_bytes()).as_deref(), Some("Björk"));
    }

    #[test]
    fn a_title_cannot_steer_the_terminal() {
        let hostile = "StreamTitle='\u{1b}[2Jgone\r\n\u{9b}31m \u{202e}abc';";
        assert_eq!(title_of(hostile.as_bytes()).as_deref(), Some("[2Jgone31m abc"));
    }

    #[test]
    fn a_station_tells_each_title_once() {
        let mut mux = IcyMux::new(NonZeroUsize::new(2).unwrap());
        let mut body = Vec::new();
        mux.push(b"aabb", Some("X"), &mut body);
        assert_eq!(body, b"aa\x01StreamTitle='X';bb\x00");
    }

    #[test]
    fn a_title_too_long_for_a_block_is_cut_between_characters() {
        let long = "ö".repeat(4000);
        let mut body = Vec::new();
        push_block(&long, &mut body);
        assert_eq!(body.len(), 1 + MAX_BLOCKS * BLOCK_BYTES);
        let told = title_of(&body[1..]).unwrap();
        assert!(long.starts_with(&told) && told.len() > 4000);
    }

    /// All the audio, and each title with the count of audio bytes before it.
    fn demux(interval_bytes: usize, body: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<(usize, Metadata)>) {
        let mut demux = IcyDemux::new(NonZeroUsize::new(interval_bytes));
        let (mut audio, mut told) = (Vec::new(), Vec::new());
        let mut rest = body;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let mut chunk = take(&mut rest, cuts.next().map_or(usize::MAX, |&cut| cut.max(1)));
            while let Some(piece) = demux.next_piece(&mut chunk) {
                match piece {
                    Piece::Audio(bytes) => audio.extend_from_slice(bytes),
                    Piece::Metadata(metadata) => told.push((audio.len(), metadata)),
                }
            }
        }
        (audio, told)
    }

    proptest! {
        #[test]
        fn however_a_body_is_cut_it_says_the_same(
            interval_bytes in 0usize..70,
            body in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => 0u8..3], 0..2_000),
            cuts in proptest::collection::vec(1usize..90, 1..20),
        ) {
            prop_assert_eq!(demux(interval_bytes, &body, &[]), demux(interval_bytes, &body, &cuts));
        }

        #[test]
        fn what_a_station_mixes_a_client_takes_apart(
            interval_bytes in 1usize..70,
            songs in proptest::collection::vec(("[^\0']{0,40}", proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
            cuts in proptest::collection::vec(1usize..90, 1..20),
        ) {
            let mut mux = IcyMux::new(NonZeroUsize::new(interval_bytes).unwrap());
            let (mut body, mut sent) = (Vec::new(), Vec::new());
            for (title, audio) in &songs {
                mux.push(audio, Some(title), &mut body);
                sent.extend_from_slice(audio);
            }
            let (audio, told) = demux(interval_bytes, &body, &cuts);
            prop_assert_eq!(audio, sent);
            let titles: Vec<_> = songs.iter().map(|(title, _)| printable(title)).collect();
            for (_, metadata) in told {
                prop_assert!(titles.contains(&metadata.title.unwrap_or_default()));
            }
        }

        #[test]
        fn no_metadata_block_is_too_strange(block in proptest::collection::vec(any::<u8>(), 0..4_080)) {
            let metadata = Metadata::parse(&block);
            prop_assert!(metadata.title.unwrap_or_default().chars().all(|c| !c.is_control()));
        }

        #[test]
        fn no_metadata_text_is_too_strange(block in "(Stream(Title|Url)|='|';|'|;|title=\"|artist=\"| - text=\"|\"|,|[a-zA-Z\u{0}\u{1b} öx]){0,40}") {
            prop_assert!(Metadata::parse(block.as_bytes()).title.is_none_or(|title| !title.contains('\0')));
        }
    }
}
