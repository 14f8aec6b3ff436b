//! What a decoder has to be given before it can begin in the middle of a stream.
//!
//! MP3 and AAC can be entered anywhere: each frame says what it is. The others say it once, at the beginning, and that
//! may have left the window long ago: the marker and first block of FLAC, the header pages of Ogg, the chunks of WAV
//! before its samples. A [`HeadScanner`] looks over the bytes as they pass and keeps these; with them in front, a decoder
//! can be opened at any page, frame or block.
//!
//! Nothing here does I/O.

use std::sync::Arc;

use crate::wave::{MARKER_BYTES, Step, WaveScanner, is_wave};

/// More than this is not kept as a head.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// Beyond this, the pages of Ogg in which no packet ends are left out of a head: they are the middle of a picture.
const MAX_COMMENT_BYTES: usize = 128 << 10;

/// ID3 tags say their length in four times seven bits; such tags may stand before anything.
const ID3_HEADER_BYTES: usize = 10;

/// FLAC's marker, and the block that says what the samples are, with its header.
const FLAC_HEAD_BYTES: usize = 4 + 4 + 34;

/// A page's header before its table of segments, by RFC 3533.
const PAGE_HEADER_BYTES: usize = 27;
const CONTINUED_PAGE: u8 = 1;
const FIRST_PAGE: u8 = 2;

/// The formats of streams whose beginning has to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// FLAC as such.
    Flac,
    /// Ogg, with whatever is in it.
    Ogg,
    /// WAV, or a relative of it; a block is a sample of each channel.
    Wav {
        /// Bytes of a block.
        block_bytes: u32,
        /// How many bytes of samples there are, if it is known.
        data_len: Option<u64>,
    },
}

/// What stands at the beginning of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of what.
    pub kind: HeadKind,
    /// The bytes to begin with, in place of those that stood there. Of FLAC and WAV, only what is needed; of Ogg, without
    /// long pictures.
    pub bytes: Arc<[u8]>,
    /// How many bytes of the stream they stand for.
    pub len: u64,
}

impl Head {
    /// Whether what stands so many bytes behind the beginning of the stream still belongs to it.
    #[must_use]
    pub fn covers(&self, at: u64) -> bool {
        match self.kind {
            HeadKind::Wav { data_len: Some(data_len), .. } => at < self.len.saturating_add(data_len),
            _ => true,
        }
    }

    /// What to give to a decoder before the bytes of the stream that stand so far behind its beginning.
    #[must_use]
    pub fn in_front_of(&self, at: u64) -> Arc<[u8]> {
        let HeadKind::Wav { data_len: Some(data_len), .. } = self.kind else { return self.bytes.clone() };
        let left = data_len.saturating_sub(at.saturating_sub(self.len));
        let (Ok(left), Some((bytes, _))) = (u32::try_from(left), self.bytes.split_last_chunk::<4>()) else {
            return self.bytes.clone();
        };
        // The length of the samples is the last that a header says.
        [bytes, &left.to_le_bytes()].concat().into()
    }
}

/// Looks for heads in a stream, however it is cut into pieces.
#[derive(Debug)]
pub struct HeadScanner {
    /// The offset of the byte that comes next.
    offset: u64,
    state: State,
    /// What of the current item has come.
    held: Vec<u8>,
    /// What is not part of any head has been met.
    is_behind_head: bool,
}

#[derive(Debug)]
enum State {
    /// At the beginning of the stream: nothing is known of it.
    Beginning,
    /// In something that stands before the stream proper, or in the samples of WAV.
    Skipping { bytes_left: u64 },
    /// In FLAC's first block.
    Flac,
    /// Before the samples of WAV, where so many bytes are wanted.
    Wav { scanner: WaveScanner, start: u64, wanted: usize },
    /// In a part of that which is of no interest.
    WavSkipping { scanner: WaveScanner, start: u64, bytes_left: u64 },
    /// At a page of Ogg.
    Page(Option<Pages>),
    /// In the rest of a page that is of no interest.
    PageBody { bytes_left: usize },
    /// There is nothing more to be found.
    Done,
}

/// The header pages of a logical stream, so far.
#[derive(Debug)]
struct Pages {
    start: u64,
    bytes: Vec<u8>,
}

/// A head, and the offset of the stream that it begins.
pub type Found = (u64, Head);

impl HeadScanner {
    /// For a stream whose first byte has this offset.
    #[must_use]
    pub fn new(offset: u64) -> Self {
        Self { offset, state: State::Beginning, held: Vec::new(), is_behind_head: false }
    }

    /// Whether nothing more is to be found.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether what comes now belongs to no head: to find one, the rest of the stream would have to be looked over.
    #[must_use]
    pub fn is_behind_head(&self) -> bool {
        self.is_done() || self.is_behind_head
    }

    /// Looks over the next bytes of the stream. `found` gets each head that is complete with them.
    pub fn push(&mut self, mut bytes: &[u8], mut found: impl FnMut(Found)) {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Done => {
                    self.offset += bytes.len() as u64;
                    return;
                }
                State::Skipping { bytes_left } => {
                    let n = bytes.len().min(usize::try_from(*bytes_left).unwrap_or(usize::MAX));
                    *bytes_left -= n as u64;
                    if *bytes_left == 0 {
                        self.state = State::Beginning;
                    }
                    self.pass(&mut bytes, n);
                }
                State::PageBody { bytes_left } => {
                    let n = bytes.len().min(*bytes_left);
                    *bytes_left -= n;
                    if *bytes_left == 0 {
                        self.state = State::Page(None);
                    }
                    self.pass(&mut bytes, n);
                }
                State::WavSkipping { bytes_left, .. } => {
                    let n = bytes.len().min(usize::try_from(*bytes_left).unwrap_or(usize::MAX));
                    *bytes_left -= n as u64;
                    let is_over = *bytes_left == 0;
                    self.pass(&mut bytes, n);
                    if is_over && let State::WavSkipping { scanner, start, .. } = self.take_state() {
                        self.state = self.step_wave(scanner, start, &mut found);
                    }
                }
                _ => {
                    // One more than is held, and as many as are wanted then.
                    let n = bytes.len().min(self.wanted().max(1));
                    self.held.extend_from_slice(&bytes[..n]);
                    self.pass(&mut bytes, n);
                    // Out of step, what is held may be enough for more than one look.
                    while self.wanted() == 0 && !self.held.is_empty() {
                        self.take_held(&mut found);
                    }
                }
            }
        }
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Done)
    }

    fn pass(&mut self, bytes: &mut &[u8], n: usize) {
        self.offset += n as u64;
        *bytes = &bytes[n..];
    }

    /// How many more bytes have to be held before anything can be said of them.
    fn wanted(&self) -> usize {
        let held = &self.held[..];
        let enough = match &self.state {
            State::Beginning if held.len() < 3 => 3,
            State::Beginning if held.starts_with(b"ID3") => ID3_HEADER_BYTES,
            State::Beginning => MARKER_BYTES,
            State::Flac => FLAC_HEAD_BYTES,
            State::Wav { wanted, .. } => *wanted,
            State::Page(_) => page_len(held),
            State::Skipping { .. } | State::WavSkipping { .. } | State::PageBody { .. } | State::Done => 0,
        };
        enough.saturating_sub(held.len())
    }

    fn take_held(&mut self, found: &mut impl FnMut(Found)) {
        let start = self.offset - self.held.len() as u64;
        self.state = match self.take_state() {
            State::Beginning => {
                let (state, keep) = begin(&self.held, start);
                if !keep {
                    self.held.clear();
                }
                state
            }
            State::Flac => {
                let mut bytes = std::mem::take(&mut self.held);
                // The first block is the last one now.
                bytes[4] |= 0x80;
                found((start, Head { kind: HeadKind::Flac, len: bytes.len() as u64, bytes: bytes.into() }));
                State::Done
            }
            State::Wav { scanner, start, .. } => self.step_wave(scanner, start, found),
            State::Page(pages) => self.take_page(start, pages, found),
            state => state,
        };
    }

    /// Goes on with what is held of the chunks of WAV.
    fn step_wave(&mut self, mut scanner: WaveScanner, start: u64, found: &mut impl FnMut(Found)) -> State {
        let held = std::mem::take(&mut self.held);
        match scanner.next(&held) {
            Step::Hold(wanted) => State::Wav { scanner, start, wanted },
            Step::Skip(bytes_left) => State::WavSkipping { scanner, start, bytes_left },
            Step::Done(head) => {
                self.is_behind_head = true;
                // What is in it can be entered anywhere.
                if head.is_mpeg() {
                    return State::Done;
                }
                let (block_bytes, data_len) = (head.block_bytes, head.data_len);
                let kind = HeadKind::Wav { block_bytes, data_len };
                found((start, Head { kind, len: head.len, bytes: head.bytes().into() }));
                // Behind its samples, another may begin.
                data_len.map_or(State::Done, |len| State::Skipping { bytes_left: len + len % 2 })
            }
            Step::Broken(_) => State::Done,
        }
    }

    /// Looks at a page of which the header is held, and the whole of it if it is a header page itself.
    fn take_page(&mut self, start: u64, pages: Option<Pages>, found: &mut impl FnMut(Found)) -> State {
        if !self.held.starts_with(b"OggS") {
            // Out of step: the next page begins somewhere behind.
            let at = self.held[1..].iter().position(|&byte| byte == b'O').map_or(self.held.len(), |at| at + 1);
            self.held.drain(..at);
            self.is_behind_head = true;
            return State::Page(None);
        }
        let is_first = self.held[5] & FIRST_PAGE != 0;
        let granule = i64::from_le_bytes(self.held[6..14].try_into().expect("eight bytes"));
        let mut pages = match pages {
            None if is_first => Some(Pages { start, bytes: Vec::new() }),
            pages => pages,
        };
        // Header pages have no samples in them: their position is nought, or none, if no packet ends there.
        let is_head = is_first || granule == 0 || granule == -1;
        if let Some(Pages { bytes, .. }) = pages.as_mut().filter(|_| is_head) {
            let len = page_header_len(&self.held) + page_body_len(&self.held);
            let is_middle =
                self.held[5] & CONTINUED_PAGE != 0 && page_lengths(&self.held).iter().all(|&len| len == 255);
            if is_middle && bytes.len() + len > MAX_COMMENT_BYTES {
                self.held.drain(..len);
            } else if bytes.len() + len > MAX_HEAD_BYTES {
                pages = None;
                self.held.drain(..len);
            } else {
                bytes.extend(self.held.drain(..len));
            }
            return State::Page(pages);
        }
        self.is_behind_head = true;
        if let Some(Pages { start: begins, bytes }) = pages {
            found((begins, Head { kind: HeadKind::Ogg, len: start - begins, bytes: bytes.into() }));
        }
        let len = page_header_len(&self.held) + page_body_len(&self.held);
        let bytes_left = len.saturating_sub(self.held.len());
        self.held.drain(..len.min(self.held.len()));
        if bytes_left == 0 { State::Page(None) } else { State::PageBody { bytes_left } }
    }
}

/// What begins with these bytes, and whether they are still needed.
fn begin(held: &[u8], start: u64) -> (State, bool) {
    if held.starts_with(b"ID3") {
        let len = held[6..ID3_HEADER_BYTES].iter().fold(0, |len, &byte| len << 7 | u64::from(byte & 0x7f));
        return (if len == 0 { State::Beginning } else { State::Skipping { bytes_left: len } }, false);
    }
    if held.starts_with(b"fLaC") {
        (State::Flac, true)
    } else if held.starts_with(b"OggS") {
        (State::Page(None), true)
    } else if is_wave(held) {
        let mut scanner = WaveScanner::default();
        let _ = scanner.next(&[]);
        (State::Wav { scanner, start, wanted: MARKER_BYTES }, true)
    } else {
        (State::Done, false)
    }
}

/// How much of a page has to be held: all of it, if it is a header page, or else its header.
fn page_len(held: &[u8]) -> usize {
    let header = page_header_len(held);
    if held.len() < header || !held.starts_with(b"OggS") {
        return header;
    }
    let granule = &held[6..14];
    let is_head = held[5] & FIRST_PAGE != 0 || granule == [0; 8] || granule == [0xff; 8];
    header + if is_head { page_body_len(held) } else { 0 }
}

fn page_header_len(held: &[u8]) -> usize {
    PAGE_HEADER_BYTES + held.get(PAGE_HEADER_BYTES - 1).map_or(0, |&segments| usize::from(segments))
}

fn page_body_len(held: &[u8]) -> usize {
    page_lengths(held).iter().map(|&length| usize::from(length)).sum()
}

/// The lengths of the parts of packets in a page: 255 if the packet goes on behind that part.
fn page_lengths(held: &[u8]) -> &[u8] {
    &held[PAGE_HEADER_BYTES..page_header_len(held)]
}

/// Where the first page begins in `bytes`.
#[must_use]
pub fn find_page(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"OggS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(offset: u64, stream: &[u8], cuts: &[usize]) -> Vec<Found> {
        let mut scanner = HeadScanner::new(offset);
        let (mut all, mut rest) = (Vec::new(), stream);
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let n = cuts.next().map_or(rest.len(), |&cut| cut.clamp(1, rest.len()));
            scanner.push(&rest[..n], |found| all.push(found));
            rest = &rest[n..];
        }
        all
    }

    fn page(flags: u8, granule: i64, body: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend(granule.to_le_bytes());
        page.extend([7, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9]);
        let whole = body.len() / 255;
        page.push(whole as u8 + 1);
        page.extend(std::iter::repeat_n(255, whole));
        page.push((body.len() % 255) as u8);
        page.extend(body);
        page
    }

    fn ogg(tag: u8) -> (Vec<u8>, Vec<u8>) {
        let head = [page(2, 0, &[tag; 30]), page(0, -1, &[tag; 510]), page(0, 0, &[tag; 40])].concat();
        let audio = [page(0, 1024, b"OggS? no, audio"), page(0, -1, &[1; 300]), page(4, 2048, &[])].concat();
        (head, audio)
    }

    #[test]
    fn each_chain_of_ogg_has_its_header_pages() {
        let ((first, audio), (second, more)) = (ogg(1), ogg(2));
        let stream = [&first[..], &audio, &second, &more].concat();
        let found = scan(1_000, &stream, &[]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0, &found[0].1.bytes[..]), (1_000, &first[..]));
        let at = 1_000 + (first.len() + audio.len()) as u64;
        assert_eq!((found[1].0, &found[1].1.bytes[..]), (at, &second[..]));
        assert_eq!(found[1].1.len, second.len() as u64);
    }

    #[test]
    fn ogg_out_of_step_is_found_again() {
        let ((first, audio), (second, more)) = (ogg(1), ogg(2));
        let stream = [&first[..], &audio, b"some OOOg noise that is no page at all......", &second, &more].concat();
        assert_eq!(scan(0, &stream, &[]).len(), 2);
    }

    #[test]
    fn flac_keeps_its_first_block_as_the_only_one() {
        let mut stream = b"ID3\x04\0\0\0\0\0\x05tag..fLaC\0\0\0\x22".to_vec();
        stream.extend([5; 34]);
        stream.extend([6; 500]);
        let [(15, head)] = &scan(0, &stream, &[])[..] else { panic!() };
        assert_eq!((&head.bytes[..5], head.bytes.len(), head.kind), (&b"fLaC\x80"[..], 42, HeadKind::Flac));
    }

    #[test]
    fn wav_keeps_all_before_its_samples() {
        let mut stream =
            b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x02\0\x80\xbb\0\0\0\xee\x02\0\x04\0\x10\0".to_vec();
        stream.extend(b"LIST\x03\0\0\0abc\0data\xff\xff\xff\xff");
        let len = stream.len();
        stream.extend([0; 400]);
        let [(0, head)] = &scan(0, &stream, &[])[..] else { panic!() };
        assert_eq!((head.len, head.kind), (len as u64, HeadKind::Wav { block_bytes: 4, data_len: None }));
        assert!(head.bytes.starts_with(b"RIFF") && head.bytes.ends_with(b"data\xff\xff\xff\xff"));
    }

    #[test]
    fn what_can_be_entered_anywhere_has_no_head() {
        assert!(scan(0, &[0xff, 0xfb, 0x90, 0x64].repeat(100), &[]).is_empty());
        assert!(scan(0, b"<html>", &[]).is_empty());
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_same_is_found(cuts in proptest::collection::vec(1usize..200, 1..20)) {
            let ((first, audio), (second, more)) = (ogg(1), ogg(2));
            let stream = [&b"ID3\x04\0\0\0\0\0\x05tag.."[..], &first, &audio, &second, &more].concat();
            prop_assert_eq!(scan(0, &stream, &[]), scan(0, &stream, &cuts));
        }

        #[test]
        fn no_bytes_are_too_strange(
            start in prop_oneof![Just(&b"OggS"[..]), Just(&b"fLaC"[..]), Just(&b"RIFF\0\0\0\0WAVE"[..]), Just(&b"ID3"[..])],
            bytes in proptest::collection::vec(any::<u8>(), 0..3_000),
        ) {
            let stream = [start, &bytes].concat();
            let whole = scan(0, &stream, &[]);
            prop_assert_eq!(whole, scan(0, &stream, &[7]));
        }
    }
}
