//! The decoder's thread: reads the ring behind the network, decodes with Symphonia, and writes frames ahead of the
//! audio callback.
//!
//! It waits at both ends. Out of bytes, it sleeps on a futex until the network has written some; a live stream has
//! nothing *yet*, and never an end of file. Out of room, it sleeps until the callback has played some.

use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use roundelay::pcm::{self, PcmError, PcmOptions, PcmReader, PcmWriter};
use roundelay::{CancelToken, Cursor, OnLap, Resource, ResourceStatus, RingDriver, StorageError};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use thiserror::Error;

use crate::timeline::Timeline;

/// How much decoded audio is kept ahead of the playhead. The ring keeps the rest, in fewer bytes.
const AHEAD_SECONDS: usize = 1;

/// What is kept behind the playhead for the level meter.
const HISTORY_FRAMES: usize = 8_192;

/// Symphonia reads ahead, by up to 32 KiB at a time if it gets them: two seconds of a 128 kbit/s stream, in which a
/// title would be shown too late. In pieces of this size, the offset of a frame is known to a fraction of a second.
const READ_AHEAD_BYTES: usize = 2 << 10;

/// Why decoding stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The format is none that this program was built for.
    #[error("cannot decode what the station sends ({content_type}): {reason}")]
    Unsupported {
        /// What the station says it is.
        content_type: String,
        /// What Symphonia says.
        #[source]
        reason: SymphoniaError,
    },
    /// The format changed where the station was called again.
    #[error("the station now sends {now}, after {before}; start the player again")]
    Changed {
        /// What it was.
        before: Format,
        /// What it is.
        now: Format,
    },
    /// The stream stopped.
    #[error("the stream ended: {0}")]
    Stream(#[source] Arc<StorageError>),
    /// The ring of frames could not be made.
    #[error("cannot open the ring of frames: {0}")]
    Pcm(#[source] StorageError),
    /// No thread.
    #[error("cannot start a thread for the decoder: {0}")]
    Thread(#[source] io::Error),
}

/// What the samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Frames a second.
    pub rate_hz: u32,
    /// Samples a frame.
    pub channels: usize,
    /// Bits a sample, where the codec has such a thing.
    pub bits: Option<u32>,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} channels at {} Hz", self.channels, self.rate_hz)
    }
}

/// A decoder at work.
#[derive(Debug)]
pub struct Decoding {
    laps: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Decoding {
    /// Starts to decode `ring` from its oldest byte.
    ///
    /// `opened` is called once, when the format is known, with the end from which frames are played. `ended` is called
    /// when it is over.
    ///
    /// # Errors
    /// [`DecodeError::Thread`].
    pub fn start(
        ring: &Resource<RingDriver>,
        timeline: Arc<Timeline>,
        cancel: CancelToken,
        opened: impl FnOnce(PcmReader<f32>, Format) + Send + 'static,
        ended: impl FnOnce(Result<(), DecodeError>) + Send + 'static,
    ) -> Result<Self, DecodeError> {
        // Overtaken, the decoder goes on with the oldest byte: what is lost is lost, and a decoder finds the next frame.
        let mut cursor = ring.cursor(OnLap::SkipToOldest);
        let laps = Arc::<AtomicU64>::default();
        let mut frames = Frames { ring: None, opened: Some(opened), timeline, cancel, written: 0 };
        let decoder_laps = laps.clone();
        let run = move || ended(decode_all(&mut cursor, &mut frames, &decoder_laps));
        let thread = thread::Builder::new().name("decoder".into()).spawn(run).map_err(DecodeError::Thread)?;
        Ok(Self { laps, thread })
    }

    /// Times that the decoder was overtaken by the network.
    #[must_use]
    pub fn laps(&self) -> u64 {
        // Relaxed: a number to show, written by the decoder alone.
        self.laps.load(Relaxed)
    }

    /// Waits for the thread. Cancel the ring first.
    pub fn join(self) {
        // A thread that panicked has said so on standard error.
        let _ = self.thread.join();
    }
}

/// Decodes one connection after the other, until the stream ends or is cancelled.
fn decode_all<F>(cursor: &mut Cursor<RingDriver>, frames: &mut Frames<F>, laps: &AtomicU64) -> Result<(), DecodeError>
where
    F: FnOnce(PcmReader<f32>, Format),
{
    loop {
        let decoded = decode_connection(cursor, frames, laps);
        // The ring knows better than a decoder that finds itself out of bytes.
        match cursor.reader().status() {
            ResourceStatus::Cancelled => return Ok(()),
            ResourceStatus::Failed(reason) if cursor.lag() == 0 => {
                frames.finish();
                return Err(DecodeError::Stream(reason));
            }
            ResourceStatus::Committed { .. } if decoded.is_ok() && cursor.lag() == 0 => {
                frames.finish();
                return Ok(());
            }
            _ => {}
        }
        if decoded?.is_break() {
            return Ok(());
        }
    }
}

/// Decodes the connection that the cursor is in, until it has no more bytes; breaks when nobody plays the frames any more.
fn decode_connection<F>(
    cursor: &mut Cursor<RingDriver>,
    frames: &mut Frames<F>,
    laps: &AtomicU64,
) -> Result<ControlFlow<()>, DecodeError>
where
    F: FnOnce(PcmReader<f32>, Format),
{
    let read_to = Arc::<AtomicU64>::default();
    let timeline = frames.timeline.clone();
    let content_type = move |start| {
        let connection = timeline.connection_at(start).unwrap_or_default();
        connection.content_type.unwrap_or_else(|| "of no stated type".to_owned())
    };
    let start = cursor.position();
    let reader = ConnectionReader { cursor, timeline: frames.timeline.clone(), start, read_to: read_to.clone(), laps };
    let unsupported = |reason| DecodeError::Unsupported { content_type: content_type(start), reason };
    let (mut format, mut decoder, track_id) = open_decoder(reader).map_err(unsupported)?;
    let bits = decoder.codec_params().bits_per_sample;
    let mut samples = Vec::new();
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) if packet.track_id == track_id => packet,
            Ok(Some(_)) => continue,
            // The connection's bytes are at an end, or the ring is: whichever, there are no more packets here.
            Ok(None) | Err(_) => return Ok(ControlFlow::Continue(())),
        };
        // A packet that cannot be decoded is a moment of noise on the line, and no reason to stop.
        let Ok(decoded) = decoder.decode(&packet) else { continue };
        let spec = decoded.spec();
        let now = Format { rate_hz: spec.rate(), channels: spec.channels().count(), bits };
        decoded.copy_to_vec_interleaved::<f32>(&mut samples);
        if frames.write(now, &samples, read_to.load(Relaxed))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

type Opened<'a> = (Box<dyn FormatReader + 'a>, Box<dyn AudioDecoder>, u32);

fn open_decoder(reader: ConnectionReader<'_>) -> Result<Opened<'_>, SymphoniaError> {
    let source = MediaSourceStream::new(Box::new(ReadOnlySource::new(reader)), Default::default());
    let format = symphonia::default::get_probe().probe(
        &Hint::new(),
        source,
        FormatOptions::default(),
        MetadataOptions::default(),
    )?;
    let nothing_to_play = SymphoniaError::Unsupported("there is no audio in it");
    let Some(track) = format.default_track(TrackType::Audio) else { return Err(nothing_to_play) };
    let Some(parameters) = track.codec_params.as_ref().and_then(|parameters| parameters.audio()) else {
        return Err(nothing_to_play);
    };
    let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default())?;
    let track_id = track.id;
    Ok((format, decoder, track_id))
}

/// The bytes of one connection, as a stream that ends where the next connection begins.
///
/// Of a stream without such seams, the library's own adapter makes a Symphonia source: a `Cursor` is one, with the
/// library's feature `symphonia`.
struct ConnectionReader<'a> {
    cursor: &'a mut Cursor<RingDriver>,
    timeline: Arc<Timeline>,
    start: u64,
    read_to: Arc<AtomicU64>,
    laps: &'a AtomicU64,
}

impl Read for ConnectionReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Waits for a byte. Only then is it known which connection that belongs to: connections are noted before their
        // first byte is published.
        let there = self.cursor.fill_buf()?.len() as u64;
        let position = self.cursor.position();
        let end = self.timeline.next_connection(self.start).unwrap_or(u64::MAX);
        let left = there.min(end.saturating_sub(position));
        let length = buf.len().min(READ_AHEAD_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
        let length = if length == 0 { 0 } else { self.cursor.read(&mut buf[..length])? };
        // Relaxed, both: numbers that go with no other memory.
        self.read_to.store(self.cursor.position(), Relaxed);
        self.laps.store(self.cursor.laps(), Relaxed);
        Ok(length)
    }
}

/// The frames' way to the callback. Their ring is made when the first of them says what they are.
struct Frames<F> {
    ring: Option<(PcmWriter<f32>, Format)>,
    opened: Option<F>,
    timeline: Arc<Timeline>,
    cancel: CancelToken,
    /// Frames so far.
    written: u64,
}

impl<F: FnOnce(PcmReader<f32>, Format)> Frames<F> {
    /// Writes frames that were decoded from the bytes before `offset`. Blocks for room; breaks when nobody plays them.
    fn write(&mut self, format: Format, samples: &[f32], offset: u64) -> Result<ControlFlow<()>, DecodeError> {
        self.timeline.decoded(self.written, offset);
        let (writer, before) = match &mut self.ring {
            Some(ring) => ring,
            none => none.insert((open_pcm(format, &self.cancel, &mut self.opened)?, format)),
        };
        if (before.rate_hz, before.channels) != (format.rate_hz, format.channels) {
            return Err(DecodeError::Changed { before: *before, now: format });
        }
        match writer.write(writer.epoch(), samples) {
            Ok(()) => self.written += (samples.len() / format.channels) as u64,
            // A seek came in between: the frames are dropped, and the next ones are for the new epoch.
            Err(PcmError::Stale) => {}
            Err(_) => return Ok(ControlFlow::Break(())),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// There will be no more; what is there is played.
    fn finish(&mut self) {
        if let Some((writer, _)) = self.ring.take() {
            writer.finish();
        }
    }
}

fn open_pcm<F>(format: Format, cancel: &CancelToken, opened: &mut Option<F>) -> Result<PcmWriter<f32>, DecodeError>
where
    F: FnOnce(PcmReader<f32>, Format),
{
    let options = PcmOptions {
        rate_hz: format.rate_hz,
        channels: format.channels,
        capacity_frames: format.rate_hz as usize * AHEAD_SECONDS,
        history_frames: HISTORY_FRAMES,
        lock_memory: true,
        cancel: cancel.clone(),
    };
    let (writer, reader) = pcm::open(options).map_err(DecodeError::Pcm)?;
    if let Some(opened) = opened.take() {
        opened(reader, format);
    }
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use roundelay::RingOptions;

    use super::*;
    use crate::station::flac::{BLOCK_FRAMES, FlacEncoder};
    use crate::station::music::{CHANNELS, Music};
    use crate::timeline::Connection;

    const BLOCKS: usize = 6;

    /// What a listener gets that joins at block `first`: the bytes, and the samples that are in them.
    fn connection(first: usize) -> (Vec<u8>, Vec<f32>) {
        let mut encoder = FlacEncoder::new().unwrap();
        let mut music = Music::new(1);
        let mut bytes = encoder.header().unwrap();
        let mut samples = Vec::new();
        let mut block = vec![0; BLOCK_FRAMES * CHANNELS];
        for number in 0..first + BLOCKS {
            music.render(&mut block);
            let frame = encoder.encode(&block).unwrap();
            if number >= first {
                bytes.extend_from_slice(frame);
                samples.extend(block.iter().map(|&sample| f32::from(sample) / 32_768.0));
            }
        }
        (bytes, samples)
    }

    /// Everything that is played, until the end.
    fn play(mut reader: PcmReader<f32>) -> Vec<f32> {
        let mut played = Vec::new();
        while let Ok(frames @ 1..) = reader.wait(1_000) {
            let mut period = vec![0.0; frames.min(1_000) * CHANNELS];
            assert_eq!(reader.fill(&mut period).missing, 0);
            played.extend_from_slice(&period);
        }
        played
    }

    #[test]
    fn a_connection_that_follows_another_is_decoded_anew_without_a_seam() {
        let ring = roundelay::open(RingOptions::new(1 << 20)).unwrap();
        let mut writer = ring.writer().unwrap();
        let timeline = Arc::<Timeline>::default();
        let (opened, reader) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let decoding = Decoding::start(
            &ring,
            timeline.clone(),
            CancelToken::new(),
            move |reader, format| opened.send((reader, format)).unwrap(),
            move |result| ended.send(result).unwrap(),
        )
        .unwrap();
        // The second one goes back in time: its frame numbers are lower than those before.
        let ((first_bytes, first), (second_bytes, second)) = (connection(20), connection(3));
        for bytes in [&first_bytes, &second_bytes] {
            timeline.connected(writer.position(), Connection::default());
            writer.append(bytes).unwrap();
        }
        writer.commit(None).unwrap();
        let (reader, format) = reader.recv().unwrap();
        assert_eq!(format, Format { rate_hz: 48_000, channels: 2, bits: Some(16) });
        assert!(play(reader) == [first, second].concat());
        end.recv().unwrap().unwrap();
        assert_eq!(decoding.laps(), 0);
        decoding.join();
        // The offset of a frame is that of its bytes, give or take what Symphonia reads ahead.
        let middle = timeline.offset_of((BLOCKS * BLOCK_FRAMES) as u64).unwrap();
        let distance = middle - first_bytes.len() as u64;
        assert!(distance < 2 * second_bytes.len() as u64 / BLOCKS as u64, "{distance} bytes");
    }

    #[test]
    fn what_is_no_audio_is_said_to_be_none() {
        let ring = roundelay::open(RingOptions::new(1 << 20)).unwrap();
        let mut writer = ring.writer().unwrap();
        let timeline = Arc::<Timeline>::default();
        let page = Connection { content_type: Some("text/html".into()), station_name: None };
        timeline.connected(0, page);
        writer.append(b"<!doctype html><title>Log in to our Wi-Fi</title>").unwrap();
        writer.commit(None).unwrap();
        let (ended, end) = mpsc::channel();
        let never = |_, _| panic!("there is nothing to play");
        let _decoding = Decoding::start(&ring, timeline, CancelToken::new(), never, move |r| ended.send(r).unwrap());
        let error = end.recv().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("cannot decode what the station sends (text/html): "), "{error}");
    }

    #[test]
    fn cancelling_ends_a_decoder_that_waits() {
        let cancel = CancelToken::new();
        let ring = Resource::open(cancel.clone(), RingOptions::new(1 << 16)).unwrap();
        let mut writer = ring.writer().unwrap();
        writer.append(&connection(0).0[..2_000]).unwrap();
        let (ended, end) = mpsc::channel();
        let decoding =
            Decoding::start(&ring, Arc::default(), cancel.clone(), |_, _| {}, move |r| ended.send(r).unwrap()).unwrap();
        cancel.cancel();
        end.recv().unwrap().unwrap();
        decoding.join();
    }
}
