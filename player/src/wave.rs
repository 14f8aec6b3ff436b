//! WAV and its relatives, up to the first sample: RIFF, RF64 and BW64 with lengths of 64 bits, and Wave64.
//!
//! Programs that write to a pipe cannot go back to fill in the lengths; others fill in wrong ones. What counts here is
//! where the samples begin, what they are, and where they end if that can be believed. [`WaveHead::bytes`] says the same
//! in the plainest way, for a decoder that knows less.
//!
//! Nothing here does I/O.

/// A description of samples is 40 bytes at most, and one of compressed samples not much longer.
const MAX_FORMAT_BYTES: u64 = 4 << 10;

/// Titles are kept up to this size.
const MAX_INFO_BYTES: u64 = 64 << 10;

/// What of an RF64 header's table of lengths is needed: those of all, and of the samples.
const WIDE_LENGTHS_BYTES: u64 = 16;

/// Lengths of 32 bits from here on are those that programs leave that do not know better.
const MIN_PLACEHOLDER: u32 = 0x7fff_0000;

/// A length that has not been filled in.
const UNKNOWN: u32 = u32::MAX;

/// The part of a Wave64 identifier that follows the four letters of a chunk, and of the file itself.
const WAVE64_CHUNK: &[u8] = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";
const WAVE64_RIFF: &[u8] = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
const WAVE64_HEADER_BYTES: u64 = 24;

/// How many bytes are needed to tell whether this is WAV or a relative.
pub const MARKER_BYTES: usize = 12;

/// Whether a file that begins with these bytes is WAV or a relative.
#[must_use]
pub fn is_wave(first: &[u8]) -> bool {
    Kind::of(first).is_some()
}

/// What stands before the samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaveHead {
    /// How many bytes of the file it takes.
    pub len: u64,
    /// How many bytes of samples follow; `None` up to the end of the stream.
    pub data_len: Option<u64>,
    /// Bytes of a sample of each channel, or of a compressed block.
    pub block_bytes: u32,
    /// Frames a second.
    pub rate_hz: u32,
    /// How the samples are coded, by Microsoft's registry.
    pub coding: u16,
    format: Vec<u8>,
    info: Vec<u8>,
}

impl WaveHead {
    /// The same as an ordinary WAV header.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let chunk = |name: &[u8], body: &[u8]| {
            let mut chunk = [name, &(body.len() as u32).to_le_bytes(), body].concat();
            chunk.resize(chunk.len().next_multiple_of(2), 0);
            chunk
        };
        let info = if self.info.is_empty() { Vec::new() } else { chunk(b"LIST", &self.info) };
        let data_len = self.data_len.and_then(|len| u32::try_from(len).ok()).unwrap_or(UNKNOWN);
        [
            &[&b"RIFF"[..], &UNKNOWN.to_le_bytes(), b"WAVE"].concat()[..],
            &chunk(b"fmt ", &self.format),
            &info,
            b"data",
            &data_len.to_le_bytes(),
        ]
        .concat()
    }

    /// Whether there is MPEG audio in it, each frame of which says what it is.
    #[must_use]
    pub fn is_mpeg(&self) -> bool {
        matches!(self.coding, MPEG | MP3)
    }

    /// How long `bytes` of samples last that are not compressed, in seconds.
    #[must_use]
    pub fn seconds(&self, bytes: u64) -> Option<f64> {
        let is_plain = matches!(self.coding, PCM | FLOAT | A_LAW | MU_LAW | EXTENSIBLE);
        (is_plain && self.rate_hz > 0).then(|| (bytes / u64::from(self.block_bytes)) as f64 / f64::from(self.rate_hz))
    }
}

/// Microsoft's numbers for how samples are coded.
pub const PCM: u16 = 1;
/// Numbers with a fraction.
pub const FLOAT: u16 = 3;
/// 8 bits a sample, as telephones in Europe.
pub const A_LAW: u16 = 6;
/// 8 bits a sample, as telephones elsewhere.
pub const MU_LAW: u16 = 7;
/// MPEG audio, layers I and II.
pub const MPEG: u16 = 0x50;
/// MPEG audio, layer III.
pub const MP3: u16 = 0x55;
/// One of the others, with an identifier that says which.
pub const EXTENSIBLE: u16 = 0xfffe;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Riff,
    /// RF64 and BW64, which are the same.
    Wide,
    Wave64,
}

impl Kind {
    fn of(first: &[u8]) -> Option<Self> {
        let first: &[u8; MARKER_BYTES] = first.first_chunk()?;
        match (&first[..4], &first[8..]) {
            (b"RIFF", b"WAVE") => Some(Self::Riff),
            (b"RF64" | b"BW64", b"WAVE") => Some(Self::Wide),
            _ if WAVE64_RIFF.starts_with(first) => Some(Self::Wave64),
            _ => None,
        }
    }

    /// Of what stands before the first chunk.
    fn marker_bytes(self) -> usize {
        if self == Self::Wave64 { 40 } else { MARKER_BYTES }
    }

    fn chunk_header_bytes(self) -> usize {
        if self == Self::Wave64 { WAVE64_HEADER_BYTES as usize } else { 8 }
    }

    /// Chunks begin at multiples of this.
    fn alignment(self) -> u64 {
        if self == Self::Wave64 { 8 } else { 2 }
    }
}

/// What a [`WaveScanner`] wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next so many bytes.
    Hold(usize),
    /// That so many bytes are passed over.
    Skip(u64),
    /// Nothing: the samples begin here.
    Done(WaveHead),
    /// Nothing: this is broken, or something else.
    Broken(&'static str),
}

/// Reads what stands before the samples, chunk by chunk: each byte once, and memory only for what is needed.
#[derive(Debug)]
pub struct WaveScanner {
    kind: Kind,
    /// How many bytes were wanted so far.
    at: u64,
    /// The length of all, as RIFF has it.
    riff_len: u32,
    /// The length of the samples, if it stands in a table of its own.
    wide_len: Option<u64>,
    format: Option<Vec<u8>>,
    info: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Beginning,
    Marker,
    Chunk,
    Body(Body, u64),
    /// What is left of a chunk was passed over.
    Passed,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Format,
    Info,
    WideLengths,
}

impl Default for WaveScanner {
    fn default() -> Self {
        Self {
            kind: Kind::Riff,
            at: 0,
            riff_len: 0,
            wide_len: None,
            format: None,
            info: Vec::new(),
            state: State::Beginning,
        }
    }
}

impl WaveScanner {
    /// Takes what was wanted, nothing at first, and says what is next.
    #[must_use]
    pub fn next(&mut self, held: &[u8]) -> Step {
        match self.state {
            State::Beginning => self.hold(State::Marker, MARKER_BYTES),
            State::Marker => {
                let Some(kind) = Kind::of(held) else { return Step::Broken("it does not begin as WAV does") };
                self.kind = kind;
                self.riff_len = le32(held, 4);
                self.state = State::Passed;
                self.skip((kind.marker_bytes() - MARKER_BYTES) as u64)
            }
            State::Passed => self.hold(State::Chunk, self.kind.chunk_header_bytes()),
            State::Chunk => self.chunk(held),
            State::Body(body, len) => {
                match body {
                    Body::Format => self.format = Some(held.to_vec()),
                    Body::Info => self.info = tidy_info(held),
                    Body::WideLengths => self.wide_len = Some(le64(held, 8)),
                }
                self.state = State::Passed;
                self.skip((len - held.len() as u64).saturating_add(self.padding(len)))
            }
        }
    }

    fn hold(&mut self, state: State, bytes: usize) -> Step {
        self.state = state;
        self.at += bytes as u64;
        Step::Hold(bytes)
    }

    fn skip(&mut self, bytes: u64) -> Step {
        self.at = self.at.saturating_add(bytes);
        if bytes == 0 { self.next(&[]) } else { Step::Skip(bytes) }
    }

    fn padding(&self, len: u64) -> u64 {
        len.next_multiple_of(self.kind.alignment()).wrapping_sub(len)
    }

    fn chunk(&mut self, header: &[u8]) -> Step {
        let len = if self.kind == Kind::Wave64 {
            let Some(len) = le64(header, 16).checked_sub(WAVE64_HEADER_BYTES) else {
                return match &header[..4] {
                    b"data" => self.samples(None),
                    _ => Step::Broken("a chunk is shorter than its own header"),
                };
            };
            len
        } else {
            le32(header, 4).into()
        };
        // What no stream is long enough for is not rounded up either.
        let len = len.min(u64::MAX >> 1);
        let is_known = self.kind != Kind::Wave64 || &header[4..16] == WAVE64_CHUNK;
        let (body, most, least) = match &header[..4] {
            b"data" if is_known => return self.samples(Some(len)),
            b"fmt " if is_known => (Body::Format, MAX_FORMAT_BYTES, 16),
            b"ds64" if self.kind == Kind::Wide => (Body::WideLengths, WIDE_LENGTHS_BYTES, WIDE_LENGTHS_BYTES),
            b"LIST" if self.kind != Kind::Wave64 && (4..=MAX_INFO_BYTES).contains(&len) => {
                (Body::Info, MAX_INFO_BYTES, 0)
            }
            _ => {
                self.state = State::Passed;
                return self.skip(len + self.padding(len));
            }
        };
        if len < least {
            return Step::Broken("a chunk that is needed is too short");
        }
        self.hold(State::Body(body, len), len.min(most) as usize)
    }

    /// The samples begin, and say of themselves how long they are.
    fn samples(&mut self, said: Option<u64>) -> Step {
        let data_len = said.and_then(|said| match self.kind {
            // A table that was not filled in is of no use, and neither is what stands here then.
            Kind::Wide if said >= u64::from(MIN_PLACEHOLDER) || said == 0 => {
                self.wide_len.filter(|&len| len > 0 && len <= u64::MAX >> 1)
            }
            Kind::Wave64 => Some(said).filter(|&len| len > 0 && len < u64::MAX >> 1),
            Kind::Riff if said >= u64::from(MIN_PLACEHOLDER) => {
                // True if the file says that it is longer still: chunks stand behind the samples.
                let behind = u64::from(self.riff_len) + 8;
                Some(said).filter(|said| self.riff_len != UNKNOWN && behind > self.at + said)
            }
            Kind::Riff | Kind::Wide => Some(said).filter(|&len| len > 0),
        });
        let Some(format) = self.format.as_deref() else {
            return Step::Broken("the samples come before what says what they are");
        };
        let (coding, channels, rate_hz) = (le16(format, 0), le16(format, 2), le32(format, 4));
        let (block, bits) = (le16(format, 12), le16(format, 14));
        let format = match coding {
            PCM | FLOAT | A_LAW | MU_LAW => {
                // Of samples with fewer bits than they take room for, those that take the room are right.
                let room = u32::from(block) * 8;
                let bits = match room.checked_div(channels.into()) {
                    Some(room) if coding == PCM && room <= 32 && room >= u32::from(bits) => room.next_multiple_of(8),
                    _ => u32::from(bits).next_multiple_of(8),
                };
                let mut plain = format[..14].to_vec();
                plain.extend((bits as u16).to_le_bytes());
                if matches!(coding, A_LAW | MU_LAW) {
                    // Nothing more is said of them, and this has to be said.
                    plain.extend([0, 0]);
                }
                plain
            }
            _ => format.to_vec(),
        };
        let block_bytes = match coding {
            PCM | FLOAT | A_LAW | MU_LAW | EXTENSIBLE => u32::from(channels) * u32::from(le16(&format, 14) / 8),
            _ => block.into(),
        };
        if channels == 0 || block_bytes == 0 || block_bytes > u32::from(u16::MAX) {
            return Step::Broken("a frame of it would have no bytes, or more than can be");
        }
        let info = std::mem::take(&mut self.info);
        Step::Done(WaveHead { len: self.at, data_len, block_bytes, rate_hz, coding, format, info })
    }
}

/// Of a list of texts, those that are whole.
fn tidy_info(list: &[u8]) -> Vec<u8> {
    let Some(mut rest) = list.strip_prefix(b"INFO") else { return Vec::new() };
    let mut tidy = b"INFO".to_vec();
    while let Some((header, behind)) = rest.split_at_checked(8) {
        let Some((text, behind)) = behind.split_at_checked(le32(header, 4) as usize) else { break };
        tidy.extend([header, text].concat());
        // The byte that fills a text up may be missing at the end.
        tidy.resize(tidy.len().next_multiple_of(2), 0);
        rest = behind.get(text.len() % 2..).unwrap_or_default();
    }
    tidy
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a header comes to, after how many steps, and how much was held at most.
    fn scan(mut bytes: &[u8]) -> (Option<Step>, usize, usize) {
        let mut scanner = WaveScanner::default();
        let (mut held, mut steps, mut most): (&[u8], _, _) = (&[], 0, 0);
        loop {
            steps += 1;
            match scanner.next(held) {
                Step::Hold(wanted) => {
                    most = most.max(wanted);
                    let Some((wanted, rest)) = bytes.split_at_checked(wanted) else { return (None, steps, most) };
                    (held, bytes) = (wanted, rest);
                }
                Step::Skip(passed) => {
                    let Some(rest) = usize::try_from(passed).ok().and_then(|passed| bytes.get(passed..)) else {
                        return (None, steps, most);
                    };
                    (held, bytes) = (&[], rest);
                }
                step => return (Some(step), steps, most),
            }
        }
    }

    const FORMAT: &[u8] = b"fmt \x10\0\0\0\x01\0\x02\0\x80\xbb\0\0\0\xee\x02\0\x04\0\x10\0";

    fn wav(chunks: &[&[u8]]) -> Vec<u8> {
        [&b"RIFF\0\0\0\0WAVE"[..], &chunks.concat(), b"data\x08\0\0\0"].concat()
    }

    #[test]
    fn tiny_chunks_cost_steps_in_proportion() {
        // Each look at the chunks began with the first again: 100,000 of them took minutes.
        for chunks in [1_000, 10_000, 100_000] {
            let (step, steps, most) = scan(&wav(&[&b"junk\0\0\0\0".repeat(chunks), FORMAT]));
            assert!(matches!(step, Some(Step::Done(_))), "{step:?}");
            assert!((chunks..chunks + 10).contains(&steps) && most <= 16, "{chunks}: {steps}, {most}");
        }
    }

    #[test]
    fn texts_that_are_cut_off_are_left_out() {
        let list = b"LIST\x1e\0\0\0INFOINAM\x05\0\0\0TitleIART\xff\0\0\0Abc";
        let list = [&list[..], &[0; 8]].concat();
        let (Some(Step::Done(head)), ..) = scan(&wav(&[&list[..38], FORMAT])) else { panic!() };
        assert_eq!(head.info, b"INFOINAM\x05\0\0\0Title\0");
        let list = b"LIST\x12\0\0\0INFOINAM\x06\0\0\0Title\0";
        let (Some(Step::Done(head)), ..) = scan(&wav(&[list, FORMAT])) else { panic!() };
        assert_eq!(head.info, b"INFOINAM\x06\0\0\0Title\0");
        assert!(head.bytes().windows(18).any(|window| window == head.info));
    }

    #[test]
    fn samples_without_a_description_are_broken() {
        assert!(matches!(scan(&wav(&[])).0, Some(Step::Broken(_))));
        // No channels; and more of them than there are numbers for their bytes.
        for channels in [[0, 0], [0xff, 0xff]] {
            let mut format = FORMAT.to_vec();
            format[10..12].copy_from_slice(&channels);
            assert!(matches!(scan(&wav(&[&format])).0, Some(Step::Broken(_))));
        }
    }

    proptest! {
        #[test]
        fn no_header_takes_much_memory(
            kind in prop_oneof![Just(&b"RIFF\0\0\0\0WAVE"[..]), Just(&b"RF64\0\0\0\0WAVE"[..]), Just(WAVE64_RIFF)],
            names in proptest::collection::vec(prop_oneof![
                Just(&b"fmt "[..]), Just(&b"LIST"[..]), Just(&b"ds64"[..]), Just(&b"data"[..]), Just(&b"junk"[..]),
            ], 0..8),
            noise in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = kind.to_vec();
            for name in names {
                bytes.extend(name);
                bytes.extend(&noise);
            }
            let (_, _, most) = scan(&bytes);
            prop_assert!(most as u64 <= MAX_INFO_BYTES);
        }
    }
}
