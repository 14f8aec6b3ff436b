//! Symphonia, from bytes to samples.

use std::io::{self, SeekFrom};
use std::ops::Range;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_ALAC, CODEC_ID_FLAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_OPUS,
    CODEC_ID_SPEEX, CODEC_ID_VORBIS,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{
    FORMAT_ID_ADTS, FORMAT_ID_AIFF, FORMAT_ID_CAF, FORMAT_ID_FLAC, FORMAT_ID_ISOMP4, FORMAT_ID_MKV, FORMAT_ID_MP1,
    FORMAT_ID_MP2, FORMAT_ID_MP3, FORMAT_ID_OGG, FORMAT_ID_WAVE,
};
use symphonia::core::formats::{FormatId, FormatOptions, FormatReader, SeekMode, SeekTo, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::{MetadataOptions, StandardTag};
use symphonia::core::packet::Packet as SymphoniaPacket;
use symphonia::core::units::{Duration, Time, TimeBase, Timestamp};
use symphonia::default::formats::{
    AdtsReader, AiffReader, CafReader, FlacReader, IsoMp4Reader, MkvReader, MpaReader, OggReader, WavReader,
};

use super::Format;
use super::edits::{self, Edits};
use super::one_way::OneWay;
use crate::text::printable;
use crate::wave::{MARKER_BYTES, is_wave};

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
    fn of(format: FormatId) -> Self {
        match format {
            FORMAT_ID_MP1 | FORMAT_ID_MP2 | FORMAT_ID_MP3 => Self::Mpeg,
            FORMAT_ID_ADTS => Self::Adts,
            FORMAT_ID_FLAC => Self::Flac,
            FORMAT_ID_OGG => Self::Ogg,
            FORMAT_ID_WAVE => Self::Wav,
            FORMAT_ID_ISOMP4 => Self::Mp4,
            FORMAT_ID_AIFF => Self::Aiff,
            FORMAT_ID_CAF => Self::Caf,
            FORMAT_ID_MKV => Self::Matroska,
            _ => Self::Unknown,
        }
    }

    /// Whether packets say when they are to be heard, wherever the reading began.
    pub(super) fn says_when(self) -> bool {
        matches!(self, Self::Flac | Self::Ogg) || self.has_index()
    }

    /// Whether a moment of a file is found by the container, which is always opened at its beginning.
    pub(super) fn has_index(self) -> bool {
        matches!(self, Self::Mp4 | Self::Aiff | Self::Caf | Self::Matroska)
    }

    /// The containers that have to be known before they are opened, by the first bytes of a file.
    pub(super) fn with_index(first: &[u8]) -> Option<Self> {
        match first {
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Self::Mp4),
            [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => Some(Self::Aiff),
            [b'c', b'a', b'f', b'f', ..] => Some(Self::Caf),
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Self::Matroska),
            _ => None,
        }
    }
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

/// A packet, and when it is to be heard, in seconds of the stream's own time.
pub(super) struct Packet {
    packet: SymphoniaPacket,
    /// What stands before its data, and is not part of them.
    header_bytes: u64,
    /// What of it is heard, in frames of the track's time from its beginning.
    heard: Option<Range<u64>>,
    pub(super) seconds: Option<f64>,
}

impl Packet {
    /// How many bytes of the stream it takes.
    pub(super) fn len(&self) -> u64 {
        self.header_bytes + self.packet.data.len() as u64
    }
}

/// A stream, taken apart into packets and those decoded.
pub(super) struct Demuxer<'a> {
    format: Box<dyn FormatReader + 'a>,
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
    /// Opens what `source` begins with: `container` if that is known, else what it is found to be.
    /// `len` is the length of the source, if it is known.
    pub(super) fn open(
        mut source: impl MediaSource + 'a,
        container: Option<Container>,
        len: Option<u64>,
    ) -> Result<Self, OpenError> {
        let options = FormatOptions::default();
        let tracks = match container {
            Some(Container::Mp4) if source.is_seekable() => {
                // What is wrong with the index, its reader says better.
                let tracks = edits::read(&mut source).unwrap_or_default();
                source.seek(SeekFrom::Start(0))?;
                tracks
            }
            _ => Vec::new(),
        };
        let (mut container, mut duration) = (container, None);
        let source: Box<dyn MediaSource + 'a> = match container {
            Some(Container::Unknown | Container::Wav) | None => {
                let mut source = OneWay::new(source);
                if is_wave(source.peek(MARKER_BYTES)?) {
                    let (head, plain) = source.plain_wave(len)?;
                    duration = head.data_len.and_then(|bytes| head.seconds(bytes));
                    container = Some(if head.is_mpeg() { Container::Mpeg } else { Container::Wav });
                    Box::new(plain)
                } else {
                    Box::new(source)
                }
            }
            _ => Box::new(source),
        };
        let stream = MediaSourceStream::new(source, Default::default());
        let format: Box<dyn FormatReader + 'a> = match container {
            Some(Container::Mpeg) => Box::new(MpaReader::try_new(stream, options)?),
            Some(Container::Adts) => Box::new(AdtsReader::try_new(stream, options)?),
            Some(Container::Flac) => Box::new(FlacReader::try_new(stream, options)?),
            Some(Container::Ogg) => Box::new(OggReader::try_new(stream, options)?),
            Some(Container::Wav) => Box::new(WavReader::try_new(stream, options)?),
            Some(Container::Mp4) => Box::new(IsoMp4Reader::try_new(stream, options)?),
            Some(Container::Aiff) => Box::new(AiffReader::try_new(stream, options)?),
            Some(Container::Caf) => Box::new(CafReader::try_new(stream, options)?),
            Some(Container::Matroska) => Box::new(MkvReader::try_new(stream, options)?),
            Some(Container::Unknown) | None => {
                // Stations say all sorts of things of what they send: the bytes know better.
                symphonia::default::get_probe().probe(&Hint::new(), stream, options, MetadataOptions::default())?
            }
        };
        let container = Container::of(format.format_info().format);
        let (decoder, track_id, time_base, codec_name) = decoder_for(&*format)?;
        let track_len = format.tracks().iter().find(|track| track.id == track_id).and_then(|track| track.duration);
        let edits = match container {
            // What the encoder put before the first frame comes before the time begins.
            Container::Matroska | Container::Caf => Some(Edits::from_zero()),
            _ => tracks.into_iter().find(|&(id, _)| id == track_id).map(|(_, edits)| edits),
        };
        let edits = edits.and_then(|edits| match track_len {
            Some(len) if len.get() > 0 => edits.within(len.get()),
            _ => Some(edits),
        });
        Ok(Self { format, decoder, track_id, time_base, container, codec_name, edits, duration, samples: Vec::new() })
    }

    /// Another stream follows in the same container.
    pub(super) fn reset(&mut self) -> Result<(), OpenError> {
        (self.decoder, self.track_id, self.time_base, self.codec_name) = decoder_for(&*self.format)?;
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
        let _ = self.format.seek(SeekMode::Accurate, SeekTo::Time { time, track_id: Some(self.track_id) });
        self.decoder.reset();
    }

    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, SymphoniaError> {
        loop {
            let packet = match self.format.next_packet() {
                // The samples may end with the bytes.
                Err(SymphoniaError::IoError(error)) if self.ends_with(&error) => None,
                packet => packet?,
            };
            let Some(packet) = packet else { return Ok(None) };
            if packet.track_id != self.track_id {
                continue;
            }
            let (mut pts, mut heard) = (packet.pts, None);
            if let Some(edits) = &mut self.edits {
                let (edit, at) = (edits.now(), packet.pts.get());
                if u64::try_from(at).is_ok_and(|at| at >= edit.end) {
                    if !edits.next() {
                        return Ok(None);
                    }
                    let start = edits.now().start;
                    if start < edit.end
                        && let (Some(base), Ok(start)) = (self.time_base, i64::try_from(start))
                    {
                        self.seek_in_track(base.calc_time_saturating(Timestamp::new(start)).as_secs_f64());
                    }
                    continue;
                }
                let from = |moment: u64| u64::try_from(i128::from(moment) - i128::from(at)).unwrap_or(0);
                heard = Some(from(edit.start)..from(edit.end));
                let behind = u64::try_from(at).unwrap_or(0).saturating_sub(edit.start);
                pts = Timestamp::new(edits.begins().saturating_add(behind).try_into().unwrap_or(i64::MAX));
            }
            let seconds = self.time_base.map(|base| base.calc_time_saturating(pts).as_secs_f64());
            // A checksum, which few have, would be two more.
            let header_bytes = if self.container == Container::Adts { 7 } else { 0 };
            return Ok(Some(Packet { packet, header_bytes, heard, seconds }));
        }
    }

    fn ends_with(&self, error: &io::Error) -> bool {
        self.container == Container::Wav && error.kind() == io::ErrorKind::UnexpectedEof
    }

    /// The samples of a packet, interleaved.
    pub(super) fn decode(&mut self, packet: &Packet) -> Result<(Format, &[f32]), SymphoniaError> {
        let format = match decode_with(&mut *self.decoder, packet, &mut self.samples) {
            Ok(format) => format,
            Err(error) => {
                // A decoder takes packets only as the first one was, and a station may go over to another rate.
                let (mut fresh, ..) = decoder_for(&*self.format).map_err(|_| error)?;
                let format = decode_with(&mut *fresh, packet, &mut self.samples)?;
                self.decoder = fresh;
                format
            }
        };
        if let (Some(heard), Some(base)) = (&packet.heard, self.time_base) {
            let frames = (self.samples.len() / format.channels.max(1)) as u64;
            let frame = |moment| in_frames(moment, base, format.rate_hz).min(frames) as usize * format.channels;
            let (start, end) = (frame(heard.start), frame(heard.end));
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
        let track = self.format.tracks().iter().find(|track| track.id == self.track_id)?;
        let edited = self.edits.as_ref().and_then(Edits::len).map(Duration::new);
        let duration = edited.or(track.duration).or_else(|| track.num_frames.map(Into::into))?;
        Some(track.time_base?.calc_duration_saturating(duration).as_secs_f64()).filter(|&seconds| seconds > 0.0)
    }

    /// "Artist - Title", as far as the stream says.
    pub(super) fn title(&mut self) -> Option<String> {
        let mut metadata = self.format.metadata();
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

fn decoder_for(format: &dyn FormatReader) -> Result<Opened, OpenError> {
    // A codec that is not known is better named than passed over for a picture.
    let audio = |track: &&Track| matches!(track.codec_params, Some(CodecParameters::Audio(_)));
    let track = format.default_track(TrackType::Audio).or_else(|| format.tracks().iter().find(audio));
    let parameters = track.and_then(|track| track.codec_params.as_ref()).and_then(CodecParameters::audio);
    let (Some(track), Some(parameters)) = (track, parameters) else {
        return Err(SymphoniaError::Unsupported("there is no audio in it").into());
    };
    let codecs = symphonia::default::get_codecs();
    let name = codec_name(parameters.codec);
    if codecs.get_audio_decoder(parameters.codec).is_none() {
        return Err(OpenError::Codec(name));
    }
    let decoder = codecs.make_audio_decoder(parameters, &AudioDecoderOptions::default())?;
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
