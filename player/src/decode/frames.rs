//! Frames that follow one another without a container: MPEG audio, AAC in ADTS, FLAC.
//!
//! What stands between the frames is passed over: tags without a word, anything else counted. What the frames are may
//! change at any frame, as it does where a station inserts an advertisement, or somebody has joined files: that is
//! reported as Symphonia's readers report a new stream, and a new decoder is opened for it. A count at the beginning of
//! a file ends what it counts, and nothing behind that.

mod adts;
mod flac;
mod mpeg;

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use symphonia::core::audio::{Channels, Position};
use symphonia::core::checksum::Crc16Ansi;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::Track;
use symphonia::core::io::{BufReader, MediaSourceStream, Monitor, SeekBuffered};
use symphonia::core::meta::{MetadataBuilder, MetadataLog, MetadataOptions, MetadataReader};
use symphonia::core::packet::{Packet, PacketBuilder};
use symphonia::core::units::{Duration, Timestamp};
use symphonia::default::meta::Id3v2Reader;
use symphonia::default::meta::embedded::flac::{FLAC_METADATA_INFO, read_flac_comment_block};

use super::stream::Progress;
use flac::StreamInfo;
pub(super) use mpeg::Info;

/// Longer tags hold pictures: these are passed over unread.
const MOST_TAG_BYTES: u64 = 256 << 10;

/// What stands before a tag of ID3v2 or APEv2.
const TAG_HEADER_BYTES: usize = 32;
const ID3V2_HEADER_BYTES: u64 = 10;
const ID3V1_BYTES: u64 = 128;

/// No header is longer, and no name that a stream begins with.
const HEADER_BYTES: usize = flac::HEADER_BYTES;

/// FLAC is searched for the end of a frame in pieces of this size.
const SEARCH_BYTES: usize = 1 << 10;

/// What frames are. Where this changes, another decoder is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    codec: AudioCodecId,
    rate_hz: u32,
    channels: u8,
    /// The version of MPEG audio, the version and profile of AAC, the bits of FLAC.
    variant: u8,
}

/// What stands at the beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    kind: Kind,
    /// Bytes of the frame; of FLAC, of its header.
    len: usize,
    /// Where in the frame its data begin, for the decoder.
    data_at: usize,
    /// Frames of audio.
    frames: u32,
    /// Which it is, if it says so: counted in blocks, or in frames of audio.
    number: Option<(u64, bool)>,
}

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Mpeg,
    Adts,
    Flac,
}

impl Syntax {
    fn header(self, bytes: &[u8]) -> Option<Header> {
        match self {
            Self::Mpeg => mpeg::header(bytes),
            Self::Adts => adts::header(bytes),
            Self::Flac => flac::header(bytes),
        }
    }

    fn header_bytes(self) -> usize {
        match self {
            Self::Mpeg => mpeg::HEADER_BYTES,
            Self::Adts => adts::HEADER_BYTES,
            Self::Flac => flac::HEADER_BYTES,
        }
    }
}

/// Bytes that are looked at before they are taken.
struct Lookahead<'a> {
    stream: MediaSourceStream<'a>,
    held: Vec<u8>,
    taken: usize,
}

impl Lookahead<'_> {
    fn bytes(&self) -> &[u8] {
        &self.held[self.taken..]
    }

    /// Waits until `len` bytes can be looked at; false where the stream ends before.
    fn want(&mut self, len: usize) -> io::Result<bool> {
        if self.bytes().len() >= len {
            return Ok(true);
        }
        self.held.drain(..std::mem::take(&mut self.taken));
        while self.held.len() < len {
            let there = self.held.len();
            self.held.resize(len, 0);
            let read = self.stream.read(&mut self.held[there..]);
            self.held.truncate(there + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, len: usize) {
        self.taken += len;
    }

    /// Bytes that were read from the source, and are still to be taken.
    fn unread(&self) -> u64 {
        (self.bytes().len() + self.stream.unread_buffer_len()) as u64
    }
}

/// A stream of frames.
pub(super) struct Frames<'a> {
    ahead: Lookahead<'a>,
    syntax: Syntax,
    progress: Arc<Progress>,
    metadata: MetadataLog,
    track: Track,
    kind: Option<Kind>,
    /// Of FLAC.
    stream_info: Option<StreamInfo>,
    /// The next byte stands where a frame ended.
    in_step: bool,
    /// Bytes that were passed over since the last frame, and are in no tag.
    skipped: u64,
    /// What the Info frame at the beginning says, if there is one.
    info: Option<Info>,
    /// Frames that came.
    count: u64,
    next_pts: i64,
    /// A tag came that nobody has looked at yet.
    has_new_tag: bool,
    /// Another stream begins where the frames end.
    gives_way: bool,
}

/// What a frame is, and how much of it there is.
struct Found {
    header: Header,
    len: usize,
    /// So much goes to the decoder: of FLAC, more than it takes where the end is not certain.
    data_to: usize,
}

/// A packet, and what it was found behind.
pub(super) struct Framed {
    pub(super) packet: Packet,
    /// Bytes that are neither frames nor tags.
    pub(super) skipped: u64,
}

impl<'a> Frames<'a> {
    /// Opens what `stream` begins with.
    pub(super) fn open(
        stream: MediaSourceStream<'a>,
        syntax: Syntax,
        progress: Arc<Progress>,
    ) -> Result<Self, SymphoniaError> {
        let mut frames = Self {
            ahead: Lookahead { stream, held: Vec::new(), taken: 0 },
            syntax,
            progress,
            metadata: MetadataLog::default(),
            track: Track::new(0),
            kind: None,
            stream_info: None,
            in_step: true,
            skipped: 0,
            info: None,
            count: 0,
            next_pts: 0,
            has_new_tag: false,
            gives_way: false,
        };
        while frames.pass_tag()? {}
        if syntax == Syntax::Flac && frames.ahead.want(4)? && frames.ahead.bytes().starts_with(b"fLaC") {
            frames.read_flac_head()?;
            return Ok(frames);
        }
        let Some(first) = frames.find()? else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no frame in it").into());
        };
        frames.is_of_another_kind(&first.header);
        // What was before is not missed.
        frames.skipped = 0;
        if let Some(info) = mpeg::info(&frames.ahead.bytes()[..first.len], &first.header) {
            frames.ahead.take(first.len);
            frames.begin_count(info, &first.header);
        }
        Ok(frames)
    }

    pub(super) fn track(&self) -> &Track {
        &self.track
    }

    pub(super) fn metadata(&mut self) -> &mut MetadataLog {
        &mut self.metadata
    }

    /// Whether a tag came since the last time that this was asked.
    pub(super) fn take_new_tag(&mut self) -> bool {
        std::mem::take(&mut self.has_new_tag)
    }

    /// What the Info frame says.
    pub(super) fn info(&self) -> Option<Info> {
        self.info
    }

    /// Bytes that were read, and not yet taken.
    pub(super) fn unread(&self) -> u64 {
        self.ahead.unread()
    }

    /// Whether the frames ended where another stream begins, and how many bytes before that are neither.
    pub(super) fn gives_way(&self) -> Option<u64> {
        self.gives_way.then_some(self.skipped)
    }

    /// The next frame. `None` at the end.
    ///
    /// # Errors
    /// `ResetRequired` before a frame of another kind, which [`track`](Self::track) describes then.
    pub(super) fn next(&mut self) -> Result<Option<Framed>, SymphoniaError> {
        loop {
            let Some(Found { header, len, data_to }) = self.find()? else { return Ok(None) };
            if self.is_of_another_kind(&header) {
                return Err(SymphoniaError::ResetRequired);
            }
            let frame = &self.ahead.bytes()[..data_to];
            // Behind the beginning, such a frame counts what somebody has joined to something else.
            if mpeg::info(frame, &header).is_some() {
                self.ahead.take(len);
                continue;
            }
            let data: Box<[u8]> = frame[header.data_at..].into();
            self.ahead.take(len);
            let packet = self.packet(&header, data);
            self.count += 1;
            return Ok(Some(Framed { packet, skipped: std::mem::take(&mut self.skipped) }));
        }
    }

    fn packet(&mut self, header: &Header, data: Box<[u8]>) -> Packet {
        let pts = match (header.number, self.stream_info) {
            (Some((block, true)), Some(info)) => (block * u64::from(info.block_frames)) as i64,
            (Some((frame, false)), _) => frame as i64,
            _ => self.next_pts,
        };
        let duration = Duration::from(header.frames);
        self.next_pts = pts.saturating_add(i64::from(header.frames));
        let packet = PacketBuilder::new().track_id(self.track.id).pts(Timestamp::new(pts));
        match self.info {
            Some(info) if info.count.is_none_or(|count| self.count < u64::from(count)) => {
                let end = self.track.num_frames.map(|frames| Timestamp::new(frames as i64));
                packet.trimmed_dur(duration, end).data(data).build()
            }
            _ => packet.dur(duration).data(data).build(),
        }
    }

    /// Finds the next frame and leaves it at the front.
    fn find(&mut self) -> Result<Option<Found>, SymphoniaError> {
        loop {
            if !self.ahead.want(HEADER_BYTES)? && self.ahead.bytes().is_empty() {
                return Ok(None);
            }
            if self.pass_tag()? {
                continue;
            }
            if is_marker(self.ahead.bytes()) {
                self.gives_way = true;
                return Ok(None);
            }
            if let Some(header) = self.syntax.header(self.ahead.bytes())
                && let Some(found) = self.confirm(header)?
            {
                self.in_step = true;
                return Ok(Some(found));
            }
            if self.others_begin()? {
                self.gives_way = true;
                return Ok(None);
            }
            self.in_step = false;
            let rest = &self.ahead.bytes()[1..];
            // Frames begin with such a byte, and tags and heads with those.
            let is_first = |byte: &u8| matches!(byte, 0xff | b'I' | b'A' | b'T' | b'f' | b'O' | b'R');
            let next = rest.iter().position(is_first).unwrap_or(rest.len());
            self.ahead.take(1 + next);
            self.skipped += 1 + next as u64;
        }
    }

    /// Whether what looks like the header of a frame is one, and how long the frame is then.
    fn confirm(&mut self, header: Header) -> Result<Option<Found>, SymphoniaError> {
        if self.syntax == Syntax::Flac {
            return self.confirm_flac(header);
        }
        let found = Found { header, len: header.len, data_to: header.len };
        let is_expected = self.kind == Some(header.kind);
        if is_expected && self.in_step {
            return Ok(self.ahead.want(header.len)?.then_some(found));
        }
        // Where anything may come next, it takes others of its kind to say that it is a frame.
        let others = if is_expected { 1 } else { 2 };
        let mut end = header.len;
        for _ in 0..others {
            if !self.ahead.want(end + self.syntax.header_bytes())? {
                // The last of all.
                let is_whole = self.ahead.bytes().len() >= end;
                let is_followed = self.ahead.bytes().len() > end;
                return Ok((is_whole && (!is_followed || self.in_step)).then_some(found));
            }
            let behind = &self.ahead.bytes()[end..];
            match self.syntax.header(behind) {
                Some(next) if next.kind == header.kind => end += next.len,
                _ if is_tag(behind) || is_marker(behind) => return Ok(Some(found)),
                _ => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// A frame of FLAC does not say where it ends: its checksum is right there, and it is followed by another, or a tag,
    /// or nothing. What is followed by anything else may be longer, and the decoder gets more.
    fn confirm_flac(&mut self, header: Header) -> Result<Option<Found>, SymphoniaError> {
        let expected = self.stream_info.filter(|info| info.has(&header));
        let Some(stream) = expected.or_else(|| StreamInfo::of(&header)) else { return Ok(None) };
        let most = stream.most_bytes(&header);
        let mut checksum = Crc16Ansi::new(0);
        let (mut at, mut first, mut last) = (0, None, 0);
        while at < most {
            if at == self.ahead.bytes().len() && !self.ahead.want(at + SEARCH_BYTES)? && at == self.ahead.bytes().len()
            {
                break;
            }
            while at < self.ahead.bytes().len().min(most) {
                checksum.process_byte(self.ahead.bytes()[at]);
                at += 1;
                // A frame has more than its header: a byte for each channel, and the checksum.
                if checksum.crc() != 0 || at < header.len + 3 {
                    continue;
                }
                let is_followed = self.ahead.want(at + flac::HEADER_BYTES)? || at < self.ahead.bytes().len();
                let behind = &self.ahead.bytes()[at..];
                let is_next = |next: Header| stream.has(&next);
                if !is_followed || flac::header(behind).is_some_and(is_next) || is_tag(behind) || is_marker(behind) {
                    return Ok(Some(Found { header, len: at, data_to: at }));
                }
                first = first.or(Some(at));
                last = at;
            }
        }
        // A frame that lost bytes has a later one before its end. By chance, its checksum may be right somewhere.
        let searched = &self.ahead.bytes()[..at];
        let is_later = |next: Header| stream.has(&next) && next.number > header.number;
        let mut syncs = (1..at).filter(|&at| searched[at] == 0xff);
        if syncs.any(|at| flac::header(&searched[at..]).is_some_and(is_later)) {
            return Ok(None);
        }
        Ok(first.map(|len| Found { header, len, data_to: last }))
    }

    /// Whether a frame is of another kind than those before; what [`track`](Self::track) says is that of its kind then.
    fn is_of_another_kind(&mut self, header: &Header) -> bool {
        let kind = match (self.syntax, self.stream_info) {
            // What a frame leaves open, the stream says.
            (Syntax::Flac, Some(info)) if info.has(header) => return false,
            (Syntax::Flac, _) => {
                self.stream_info = StreamInfo::of(header);
                header.kind
            }
            _ => header.kind,
        };
        if self.kind.replace(kind) == Some(kind) {
            return false;
        }
        self.describe(kind, self.stream_info.map(|info| info.block()));
        true
    }

    fn describe(&mut self, kind: Kind, extra: Option<Box<[u8]>>) {
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(kind.codec).with_sample_rate(kind.rate_hz);
        if let Some(positions) = Position::from_count(kind.channels.into()).filter(|_| kind.channels > 0) {
            parameters.with_channels(Channels::from(positions));
        }
        if let Some(extra) = extra {
            parameters.with_extra_data(extra).with_bits_per_sample(kind.variant.into());
        }
        let mut track = Track::new(0);
        track.with_codec_params(CodecParameters::Audio(parameters));
        self.track = track;
    }

    /// The frames that follow are counted.
    fn begin_count(&mut self, info: Info, header: &Header) {
        self.next_pts = -i64::from(info.delay);
        if let Some(count) = info.count {
            let frames = u64::from(count) * u64::from(header.frames);
            let frames = frames.saturating_sub(u64::from(info.delay) + u64::from(info.padding));
            self.track.with_num_frames(frames).with_duration(Duration::from(frames));
        }
        self.info = Some(info);
    }

    /// What stands before the first frame of FLAC.
    fn read_flac_head(&mut self) -> Result<(), SymphoniaError> {
        const STREAM_INFO: u8 = 0;
        const COMMENT: u8 = 4;
        const UNREADABLE: SymphoniaError = SymphoniaError::DecodeError("FLAC does not say what it is");
        self.ahead.take(4);
        loop {
            if !self.ahead.want(4)? {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let &[block, a, b, c] = self.ahead.bytes().first_chunk().ok_or(UNREADABLE)?;
            let len = u32::from_be_bytes([0, a, b, c]);
            self.ahead.take(4);
            match block & 0x7f {
                STREAM_INFO if self.stream_info.is_none() => {
                    let block = self.read(len.into())?;
                    let info = StreamInfo::read(&block).ok_or(UNREADABLE)?;
                    let kind = Kind {
                        codec: symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC,
                        rate_hz: info.rate_hz,
                        channels: info.channels,
                        variant: info.bits,
                    };
                    self.describe(kind, Some(block[..34].into()));
                    let total = (u64::from(block[13]) & 15) << 32
                        | u64::from(u32::from_be_bytes([block[14], block[15], block[16], block[17]]));
                    if total > 0 {
                        self.track.with_num_frames(total).with_duration(Duration::from(total));
                    }
                    (self.kind, self.stream_info) = (Some(kind), Some(info));
                }
                COMMENT if u64::from(len) <= MOST_TAG_BYTES => {
                    let block = self.read(len.into())?;
                    let mut builder = MetadataBuilder::new(FLAC_METADATA_INFO);
                    // Without a title, the music is the same.
                    if read_flac_comment_block(&mut BufReader::new(&block), &mut builder).is_ok() {
                        self.metadata.push(builder.build());
                    }
                }
                _ => self.pass(len.into())?,
            }
            if block & 0x80 != 0 {
                return self.stream_info.map(|_| ()).ok_or(UNREADABLE);
            }
        }
    }

    /// Reads what is short enough.
    fn read(&mut self, len: u64) -> Result<Vec<u8>, SymphoniaError> {
        let len = len as usize;
        if !self.ahead.want(len)? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let bytes = self.ahead.bytes()[..len].to_vec();
        self.ahead.take(len);
        self.progress.is_alive();
        Ok(bytes)
    }

    /// Passes over `len` bytes that are known to be no frames.
    fn pass(&mut self, mut len: u64) -> Result<(), SymphoniaError> {
        while len > 0 {
            let piece = len.min(SEARCH_BYTES as u64) as usize;
            self.ahead.want(piece)?;
            let piece = piece.min(self.ahead.bytes().len());
            if piece == 0 {
                return Ok(());
            }
            self.ahead.take(piece);
            len -= piece as u64;
            self.progress.is_alive();
        }
        Ok(())
    }

    /// Passes over a tag, if that is what comes next. What was skipped right before is part of one, too: it says its
    /// name at the end.
    fn pass_tag(&mut self) -> Result<bool, SymphoniaError> {
        self.ahead.want(3)?;
        if !matches!(self.ahead.bytes(), [b'I', b'D', b'3', ..] | [b'T', b'A', b'G', ..] | [b'A', b'P', b'E', ..]) {
            return Ok(false);
        }
        self.ahead.want(TAG_HEADER_BYTES)?;
        let Some(len) = tag_len(self.ahead.bytes()) else { return Ok(false) };
        // Three letters may stand anywhere.
        if len == ID3V1_BYTES && !self.in_step && self.ahead.want(ID3V1_BYTES as usize + 1)? {
            let behind = &self.ahead.bytes()[ID3V1_BYTES as usize..];
            if !behind.starts_with(&[0xff]) && !behind.starts_with(b"I") {
                return Ok(false);
            }
        }
        if self.ahead.bytes().starts_with(b"ID3") && len <= MOST_TAG_BYTES {
            let tag = self.read(len)?;
            let stream = MediaSourceStream::new(Box::new(Cursor::new(tag)), Default::default());
            if let Ok(read) =
                Id3v2Reader::try_new(stream, MetadataOptions::default()).and_then(|mut tag| tag.read_all())
            {
                self.metadata.push(read.revision);
                self.has_new_tag = true;
            }
        } else {
            self.pass(len)?;
        }
        self.skipped = 0;
        self.in_step = true;
        Ok(true)
    }

    /// Whether frames that are written in another way begin with the next byte.
    fn others_begin(&mut self) -> Result<bool, SymphoniaError> {
        let others = [Syntax::Mpeg, Syntax::Adts, Syntax::Flac].into_iter().filter(|&other| other != self.syntax);
        for syntax in others {
            let Some(first) = syntax.header(self.ahead.bytes()) else { continue };
            let most = match syntax {
                Syntax::Flac => StreamInfo::of(&first).map_or(0, |info| info.most_bytes(&first)) + HEADER_BYTES,
                _ => 3 * first.len + HEADER_BYTES,
            };
            let ended = !self.ahead.want(most)?;
            if begins(self.ahead.bytes(), syntax, ended) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How long the tag is that `bytes` begin with.
pub(super) fn tag_len(bytes: &[u8]) -> Option<u64> {
    if let &[b'I', b'D', b'3', version, revision, flags, a, b, c, d, ..] = bytes {
        let is_tag = version < 0xff && revision < 0xff && (a | b | c | d) < 0x80;
        let len = [a, b, c, d].iter().fold(0, |len, &byte| len << 7 | u64::from(byte));
        let footer_bytes = if flags & 0x10 != 0 { ID3V2_HEADER_BYTES } else { 0 };
        return is_tag.then_some(ID3V2_HEADER_BYTES + len + footer_bytes);
    }
    if bytes.starts_with(b"TAG") {
        return Some(ID3V1_BYTES);
    }
    if bytes.len() >= TAG_HEADER_BYTES && bytes.starts_with(b"APETAGEX") {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        // The same stands at the end of such a tag.
        let is_header = word(20) >> 29 & 1 == 1;
        return Some(TAG_HEADER_BYTES as u64 + if is_header { word(12).into() } else { 0 });
    }
    None
}

fn is_tag(bytes: &[u8]) -> bool {
    tag_len(bytes).is_some() || bytes.starts_with(b"APETAGEX") || bytes.starts_with(b"LYRICS")
}

/// Whether a stream begins there that has a head.
fn is_marker(bytes: &[u8]) -> bool {
    let is_riff = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE");
    is_riff || bytes.starts_with(b"fLaC") || bytes.starts_with(b"OggS\0\x02")
}

/// Where the first frames begin in `bytes`, and how they are written; `ended` if nothing follows these bytes.
pub(super) fn search(bytes: &[u8], ended: bool) -> Option<(usize, Syntax)> {
    let syncs = (0..bytes.len()).filter(|&at| bytes[at] == 0xff);
    let mut found = syncs.flat_map(|at| [Syntax::Mpeg, Syntax::Flac, Syntax::Adts].map(|syntax| (at, syntax)));
    found.find(|&(at, syntax)| begins(&bytes[at..], syntax, ended))
}

/// Whether three frames that are written in this way follow one another, or as many as there are up to the end.
fn begins(bytes: &[u8], syntax: Syntax, ended: bool) -> bool {
    let Some(first) = syntax.header(bytes) else { return false };
    if syntax == Syntax::Flac {
        return is_flac_frame(bytes, &first, ended);
    }
    let mut next = first.len;
    for others in 0..2 {
        if next >= bytes.len() {
            return ended && (others > 0 || next == bytes.len());
        }
        match syntax.header(&bytes[next..]) {
            Some(header) if header.kind == first.kind => next += header.len,
            None if is_tag(&bytes[next..]) || is_marker(&bytes[next..]) => return true,
            _ => return false,
        }
    }
    true
}

fn is_flac_frame(bytes: &[u8], header: &Header, ended: bool) -> bool {
    let Some(stream) = StreamInfo::of(header) else { return false };
    let mut checksum = Crc16Ansi::new(0);
    for (at, &byte) in bytes.iter().enumerate().take(stream.most_bytes(header)) {
        checksum.process_byte(byte);
        if checksum.crc() == 0 && at > header.len {
            let behind = &bytes[at + 1..];
            if flac::header(behind).is_some_and(|next| stream.has(&next)) || (ended && behind.is_empty()) {
                return true;
            }
        }
    }
    false
}
