//! Symphonia, from bytes to samples.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_ALAC, CODEC_ID_FLAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_OPUS,
    CODEC_ID_SPEEX, CODEC_ID_VORBIS,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatOptions, FormatReader, SeekMode, SeekTo, Track, TrackFlags};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::{Metadata, StandardTag};
use symphonia::core::packet::Packet as SymphoniaPacket;
use symphonia::core::units::{Duration, Time, TimeBase, Timestamp};
use symphonia::default::formats::{AiffReader, CafReader, IsoMp4Reader, MkvReader, OggReader, WavReader};

use super::Format;
use super::edits::{self, Edits};
use super::frames::{Frames, Info, Syntax};
use super::plain_wave::PlainWave;
use super::stream::Progress;
use crate::text::printable;

/// What the packets are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// Frames of MPEG audio, one after the other.
    Mpeg,
    /// Frames of AAC, one after the other.
    Adts,
    Flac,
    Ogg,
    Wav,
    /// MP4, whose index may stand at its end.
    Mp4,
    Aiff,
    Caf,
    /// Matroska, and WebM, which is the same.
    Matroska,
    /// To be found out.
    Unknown,
}

impl Container {
    /// The containers that have an index, by the first bytes of a file.
    pub(super) fn with_index(first: &[u8]) -> Option<Self> {
        match first {
            // An ISO file begins with the length of a box of the first name; a stream of it, with the second.
            [_, _, _, _, b'f' | b's', b't', b'y', b'p', ..] => Some(Self::Mp4),
            [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => Some(Self::Aiff),
            [b'c', b'a', b'f', b'f', ..] => Some(Self::Caf),
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Self::Matroska),
            _ => None,
        }
    }

    /// Its name, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mpeg => "MPEG audio",
            Self::Adts => "AAC",
            Self::Flac => "FLAC",
            Self::Ogg => "Ogg",
            Self::Wav => "WAV",
            Self::Mp4 => "MP4",
            Self::Aiff => "AIFF",
            Self::Caf => "CAF",
            Self::Matroska => "Matroska",
            Self::Unknown => "unknown",
        }
    }

    /// Whether tags may stand before it and between its packets.
    pub(super) fn has_tags(self) -> bool {
        matches!(self, Self::Mpeg | Self::Adts | Self::Flac)
    }

    /// Whether a moment of a file is found by the container, which is always opened at its beginning.
    pub(super) fn has_index(self) -> bool {
        matches!(self, Self::Mp4 | Self::Aiff | Self::Caf | Self::Matroska)
    }

    /// Whether its audio follows what says what it is, and no index is needed to begin with.
    pub(super) fn begins_at_once(self) -> bool {
        matches!(self, Self::Aiff | Self::Matroska)
    }

    /// Whether it is known by its first bytes alone, and all of a file.
    pub(super) fn is_file(self) -> bool {
        self.has_index() || self == Self::Wav
    }

    /// Whether packets say when they are to be heard, wherever the reading began.
    pub(super) fn says_when(self) -> bool {
        matches!(self, Self::Flac | Self::Ogg) || self.has_index()
    }
}

/// How a container with an index is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Wherever the index leads.
    ByIndex,
    /// From its beginning on: so may be played what has no end.
    Forward,
}

/// Why a stream cannot be decoded.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The codec, by its name.
    Codec(&'static str),
    /// Anything else.
    Symphonia(SymphoniaError),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Symphonia(error.into())
    }
}

impl From<SymphoniaError> for OpenError {
    fn from(error: SymphoniaError) -> Self {
        Self::Symphonia(error)
    }
}

/// A file that says of itself that it is longer than any: of one that is cut, Symphonia's reader of MP4 finds no packets
/// where their box ends behind the file. It looks for the end only if the index has not come before the audio.
struct Endless<S>(S);

impl<S: MediaSource> Read for Endless<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<S: MediaSource> Seek for Endless<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // Whoever looks for the end goes back at once.
            SeekFrom::End(_) => Ok(u64::MAX >> 1),
            to => self.0.seek(to),
        }
    }
}

impl<S: MediaSource> MediaSource for Endless<S> {
    fn is_seekable(&self) -> bool {
        self.0.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}

/// A packet, and when it is to be heard, in seconds of the stream's own time.
pub(super) struct Packet {
    packet: SymphoniaPacket,
    /// What of it is heard, in the track's time from its beginning on.
    heard: Option<Range<u64>>,
    pub(super) seconds: Option<f64>,
    /// So many bytes before it could not be made anything of.
    pub(super) skipped: u64,
}

/// What takes a stream apart.
enum Packets<'a> {
    Symphonia(Box<dyn FormatReader + 'a>),
    /// What Symphonia's readers for such streams end too soon, or decode as what it was before.
    Frames(Box<Frames<'a>>),
}

impl Packets<'_> {
    fn tracks(&self) -> &[Track] {
        match self {
            Self::Symphonia(format) => format.tracks(),
            Self::Frames(frames) => std::slice::from_ref(frames.track()),
        }
    }

    fn metadata(&mut self) -> Metadata<'_> {
        match self {
            Self::Symphonia(format) => format.metadata(),
            Self::Frames(frames) => frames.metadata().metadata(),
        }
    }

    /// The next packet, and how many bytes before it were passed over.
    fn next(&mut self) -> Result<Option<(SymphoniaPacket, u64)>, SymphoniaError> {
        Ok(match self {
            Self::Symphonia(format) => format.next_packet()?.map(|packet| (packet, 0)),
            Self::Frames(frames) => frames.next()?.map(|framed| (framed.packet, framed.skipped)),
        })
    }
}

/// A stream, taken apart into packets and those decoded.
pub(super) struct Demuxer<'a> {
    packets: Packets<'a>,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    time_base: Option<TimeBase>,
    pub(super) container: Container,
    pub(super) codec_name: &'static str,
    /// What of the track is heard, if it is not all.
    edits: Option<Edits>,
    /// How long it lasts, if that is known otherwise than from Symphonia.
    duration: Option<f64>,
    samples: Vec<f32>,
}

impl<'a> Demuxer<'a> {
    /// Opens what `source` begins with, behind tags. `len` is the length of the source, if it is known.
    pub(super) fn open(
        mut source: impl MediaSource + 'a,
        mut container: Container,
        len: Option<u64>,
        way: Way,
        progress: &Arc<Progress>,
    ) -> Result<Self, OpenError> {
        let (mut edited, mut is_endless) = (Vec::new(), false);
        if container == Container::Mp4 && source.is_seekable() {
            // What is wrong with the index, its reader says better.
            let index = edits::read(&mut source).unwrap_or_default();
            source.seek(SeekFrom::Start(0))?;
            is_endless = index.is_first;
            edited = index.edits;
        }
        let mut duration = None;
        let source: Box<dyn MediaSource + 'a> = if container == Container::Wav {
            let (head, plain) = PlainWave::open(source, len)?;
            duration = head.data_len.and_then(|bytes| head.seconds(bytes));
            if head.is_mpeg() {
                container = Container::Mpeg;
            }
            Box::new(plain)
        } else if way == Way::Forward {
            Box::new(ReadOnlySource::new(source))
        } else if is_endless {
            Box::new(Endless(source))
        } else {
            Box::new(source)
        };
        let stream = MediaSourceStream::new(source, Default::default());
        let options = FormatOptions::default();
        let frames = |stream, syntax| {
            Frames::open(stream, syntax, progress.clone()).map(|frames| Packets::Frames(Box::new(frames)))
        };
        let packets = match container {
            Container::Mpeg => frames(stream, Syntax::Mpeg)?,
            Container::Adts => frames(stream, Syntax::Adts)?,
            Container::Flac => frames(stream, Syntax::Flac)?,
            Container::Ogg => Packets::Symphonia(Box::new(OggReader::try_new(stream, options)?)),
            Container::Wav => Packets::Symphonia(Box::new(WavReader::try_new(stream, options)?)),
            Container::Mp4 => Packets::Symphonia(Box::new(IsoMp4Reader::try_new(stream, options)?)),
            Container::Aiff => Packets::Symphonia(Box::new(AiffReader::try_new(stream, options)?)),
            Container::Caf => Packets::Symphonia(Box::new(CafReader::try_new(stream, options)?)),
            Container::Matroska => Packets::Symphonia(Box::new(MkvReader::try_new(stream, options)?)),
            Container::Unknown => return Err(SymphoniaError::Unsupported("it is not known what it is").into()),
        };
        let (decoder, track_id, time_base, codec_name) = decoder_for(packets.tracks())?;
        let track_len = packets.tracks().iter().find(|track| track.id == track_id).and_then(|track| track.duration);
        let edits = match container {
            // What the encoder put before the first frame comes before the time begins.
            Container::Matroska | Container::Caf => Some(Edits::from_zero()),
            _ => edited.into_iter().find(|&(id, _)| id == track_id).map(|(_, edits)| edits),
        };
        let edits = edits.and_then(|edits| match track_len {
            Some(len) if len.get() > 0 => edits.within(len.get()),
            _ => Some(edits),
        });
        let samples = Vec::new();
        Ok(Self { packets, decoder, track_id, time_base, container, codec_name, edits, duration, samples })
    }

    /// Another stream follows in the same container.
    pub(super) fn reset(&mut self) -> Result<(), OpenError> {
        (self.decoder, self.track_id, self.time_base, self.codec_name) = decoder_for(self.packets.tracks())?;
        Ok(())
    }

    /// Goes to a moment, by the container's index.
    pub(super) fn seek(&mut self, seconds: f64) {
        let mut seconds = seconds.max(0.0);
        if let (Some(edits), Some(base)) = (&mut self.edits, self.time_base) {
            let unit = f64::from(base.numer.get()) / f64::from(base.denom.get());
            seconds = edits.seek((seconds / unit).round() as u64) as f64 * unit;
        }
        self.seek_in_track(seconds);
    }

    fn seek_in_track(&mut self, seconds: f64) {
        let Some(time) = Time::try_from_secs_f64(seconds) else { return };
        // Behind the end there is nothing to be heard, and then that is so.
        if let Packets::Symphonia(format) = &mut self.packets {
            let _ = format.seek(SeekMode::Accurate, SeekTo::Time { time, track_id: Some(self.track_id) });
        }
        self.decoder.reset();
    }

    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, SymphoniaError> {
        loop {
            let next = match self.packets.next() {
                // The samples may end with the bytes.
                Err(SymphoniaError::IoError(error)) if self.ends_with(&error) => None,
                next => next?,
            };
            let Some((packet, skipped)) = next else { return Ok(None) };
            if packet.track_id != self.track_id {
                continue;
            }
            let at = packet.pts.get();
            if self.edits.as_ref().is_some_and(|edits| u64::try_from(at).is_ok_and(|at| at >= edits.now().end)) {
                if !self.next_edit() {
                    return Ok(None);
                }
                continue;
            }
            let (mut pts, mut heard) = (packet.pts, None);
            if let Some(edits) = &self.edits {
                let edit = edits.now();
                let from = |moment: u64| u64::try_from(i128::from(moment) - i128::from(at)).unwrap_or(0);
                heard = Some(from(edit.start)..from(edit.end));
                let behind = u64::try_from(at).unwrap_or(0).saturating_sub(edit.start);
                pts = Timestamp::new(edits.begins().saturating_add(behind).try_into().unwrap_or(i64::MAX));
            }
            let seconds = self.time_base.map(|base| base.calc_time_saturating(pts).as_secs_f64());
            return Ok(Some(Packet { packet, heard, seconds, skipped }));
        }
    }

    /// Goes on to the next part of the track that is heard, if there is one.
    fn next_edit(&mut self) -> bool {
        let Some(edits) = &mut self.edits else { return false };
        let end = edits.now().end;
        if !edits.next() {
            return false;
        }
        let start = edits.now().start;
        // Ahead, the packets come to it by themselves.
        if start < end
            && let (Some(base), Ok(start)) = (self.time_base, i64::try_from(start))
        {
            self.seek_in_track(base.calc_time_saturating(Timestamp::new(start)).as_secs_f64());
        }
        true
    }

    fn ends_with(&self, error: &io::Error) -> bool {
        self.container == Container::Wav && error.kind() == io::ErrorKind::UnexpectedEof
    }

    /// Bytes that were read and are in no packet yet, as far as that is known.
    pub(super) fn unread(&self) -> u64 {
        match &self.packets {
            Packets::Symphonia(_) => 0,
            Packets::Frames(frames) => frames.unread(),
        }
    }

    /// Whether there are no more packets since another stream begins there, and how many bytes before that are neither.
    pub(super) fn gives_way(&self) -> Option<u64> {
        match &self.packets {
            Packets::Symphonia(_) => None,
            Packets::Frames(frames) => frames.gives_way(),
        }
    }

    /// What counts the frames, if anything does.
    pub(super) fn info(&self) -> Option<Info> {
        match &self.packets {
            Packets::Symphonia(_) => None,
            Packets::Frames(frames) => frames.info(),
        }
    }

    /// The samples of a packet, interleaved.
    pub(super) fn decode(&mut self, packet: &Packet) -> Result<(Format, &[f32]), SymphoniaError> {
        let format = match decode_with(&mut *self.decoder, packet, &mut self.samples) {
            Ok(format) => format,
            Err(error) => {
                // A decoder takes packets only as the first one was, and a station may go over to another rate.
                let (mut fresh, ..) = decoder_for(self.packets.tracks()).map_err(|_| error)?;
                let format = decode_with(&mut *fresh, packet, &mut self.samples)?;
                self.decoder = fresh;
                format
            }
        };
        if let (Some(heard), Some(base)) = (&packet.heard, self.time_base) {
            let frames = (self.samples.len() / format.channels.max(1)) as u64;
            let sample = |moment| in_frames(moment, base, format.rate_hz).min(frames) as usize * format.channels;
            let (start, end) = (sample(heard.start), sample(heard.end));
            self.samples.truncate(end);
            self.samples.drain(..start.min(end));
        }
        Ok((format, &self.samples))
    }

    /// How long it lasts, if it says so.
    pub(super) fn duration(&self) -> Option<f64> {
        if self.duration.is_some() {
            return self.duration;
        }
        let track = self.packets.tracks().iter().find(|track| track.id == self.track_id)?;
        let edited = self.edits.as_ref().and_then(Edits::len).map(Duration::new);
        let duration = edited.or(track.duration).or_else(|| track.num_frames.map(Into::into))?;
        Some(track.time_base?.calc_duration_saturating(duration).as_secs_f64()).filter(|&seconds| seconds > 0.0)
    }

    /// The title, if a tag between the packets has said another one.
    pub(super) fn new_title(&mut self) -> Option<String> {
        let is_new = match &mut self.packets {
            Packets::Symphonia(_) => false,
            Packets::Frames(frames) => frames.take_new_tag(),
        };
        if is_new { self.title() } else { None }
    }

    /// "Artist - Title", as far as the stream says.
    pub(super) fn title(&mut self) -> Option<String> {
        let mut metadata = self.packets.metadata();
        let revision = metadata.skip_to_latest()?;
        let of_track = revision.per_track.iter().flat_map(|track| &track.metadata.tags);
        let (mut artist, mut title) = (None, None);
        for tag in revision.media.tags.iter().chain(of_track) {
            match &tag.std {
                Some(StandardTag::Artist(name)) => artist = artist.or(Some(printable(name))),
                Some(StandardTag::TrackTitle(name)) => title = title.or(Some(printable(name))),
                _ => {}
            }
        }
        match (artist.filter(|text| !text.is_empty()), title.filter(|text| !text.is_empty())) {
            (Some(artist), Some(title)) => Some(format!("{artist} - {title}")),
            (artist, title) => title.or(artist),
        }
    }
}

/// A time of a track in frames of its samples.
fn in_frames(moment: u64, base: TimeBase, rate_hz: u32) -> u64 {
    let (numer, denom) = (u128::from(base.numer.get()), u128::from(base.denom.get()));
    let frames = (u128::from(moment) * numer * u128::from(rate_hz) + denom / 2) / denom;
    u64::try_from(frames).unwrap_or(u64::MAX)
}

fn decode_with(
    decoder: &mut dyn AudioDecoder,
    packet: &Packet,
    samples: &mut Vec<f32>,
) -> Result<Format, SymphoniaError> {
    let bits = decoder.codec_params().bits_per_sample;
    let decoded = decoder.decode(&packet.packet)?;
    let spec = decoded.spec();
    decoded.copy_to_vec_interleaved::<f32>(samples);
    Ok(Format { rate_hz: spec.rate(), channels: spec.channels().count(), bits })
}

type Opened = (Box<dyn AudioDecoder>, u32, Option<TimeBase>, &'static str);

fn decoder_for(tracks: &[Track]) -> Result<Opened, OpenError> {
    let codecs = symphonia::default::get_codecs();
    let parameters = |track: &Track| track.codec_params.as_ref().and_then(CodecParameters::audio).cloned();
    let can = |track: &&Track| parameters(track).is_some_and(|audio| codecs.get_audio_decoder(audio.codec).is_some());
    // A codec that is not known is better named than passed over for a picture.
    let is_default = |track: &&Track| track.flags.contains(TrackFlags::DEFAULT);
    let track = tracks.iter().filter(can).find(is_default).or_else(|| tracks.iter().find(can));
    let track = track.or_else(|| tracks.iter().find(|track| parameters(track).is_some()));
    let parameters = track.and_then(parameters);
    let (Some(track), Some(parameters)) = (track, parameters) else {
        return Err(SymphoniaError::Unsupported("there is no audio in it").into());
    };
    let name = codec_name(parameters.codec);
    if codecs.get_audio_decoder(parameters.codec).is_none() {
        return Err(OpenError::Codec(name));
    }
    let decoder = codecs.make_audio_decoder(&parameters, &AudioDecoderOptions::default());
    let decoder = decoder.map_err(|error| match error {
        // The codec is known, and this kind of it is not.
        SymphoniaError::Unsupported(_) if parameters.codec == CODEC_ID_AAC => {
            OpenError::Codec("AAC other than LC in mono or stereo")
        }
        error => error.into(),
    })?;
    Ok((decoder, track.id, track.time_base, name))
}

fn codec_name(codec: AudioCodecId) -> &'static str {
    match codec {
        CODEC_ID_MP1 => "MP1",
        CODEC_ID_MP2 => "MP2",
        CODEC_ID_MP3 => "MP3",
        CODEC_ID_AAC => "AAC",
        CODEC_ID_ALAC => "ALAC",
        CODEC_ID_VORBIS => "Vorbis",
        CODEC_ID_FLAC => "FLAC",
        CODEC_ID_OPUS => "Opus",
        CODEC_ID_SPEEX => "Speex",
        _ if symphonia::default::get_codecs().get_audio_decoder(codec).is_some() => "PCM",
        _ => "its codec",
    }
}
