//! The station's encoder: blocks of 16-bit samples in, FLAC frames out, one at a time.
//!
//! FLAC suits a live station: every frame stands on its own, so a listener may join at any of them, given the stream's
//! header. And it is lossless, so what comes out at the far end can be compared with what went in.

use flacenc::bitsink::MemSink;
use flacenc::component::{BitRepr, Stream, StreamInfo};
use flacenc::config;
use flacenc::encode_fixed_size_frame;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Fill, FrameBuf};
use thiserror::Error;

use super::music::{CHANNELS, RATE_HZ};

/// Audio frames in every FLAC frame: 85 ms at 48 kHz.
pub const BLOCK_FRAMES: usize = 4096;

/// FLAC frame numbers have 31 bits: at 85 ms a frame, five years of broadcasting.
const FRAME_NUMBERS: u64 = 1 << 31;

/// The encoder refused; only a bug in this program brings that about.
#[derive(Debug, Error)]
#[error("the FLAC encoder refused {what}: {why}")]
pub struct EncodeError {
    what: &'static str,
    why: String,
}

impl EncodeError {
    fn refused(what: &'static str) -> impl FnOnce(String) -> Self {
        move |why| Self { what, why }
    }
}

/// A FLAC stream without an end.
pub struct FlacEncoder {
    config: Verified<config::Encoder>,
    stream_info: StreamInfo,
    block: FrameBuf,
    widened: Vec<i32>,
    frame_number: u64,
    encoded: MemSink<u8>,
}

impl std::fmt::Debug for FlacEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlacEncoder").field("frame_number", &self.frame_number).finish_non_exhaustive()
    }
}

impl FlacEncoder {
    /// An encoder for 48 kHz, stereo, 16 bits.
    ///
    /// # Errors
    /// If the encoder's library does not accept that format.
    pub fn new() -> Result<Self, EncodeError> {
        let refused = EncodeError::refused;
        let mut config = config::Encoder::default();
        config.block_size = BLOCK_FRAMES;
        // Fixed predictors alone: a quarter of the work of the fitted ones, for a tenth more bits.
        config.subframe_coding.use_lpc = false;
        let config = config.into_verified().map_err(|(_, e)| refused("its configuration")(e.to_string()))?;
        let mut stream_info =
            StreamInfo::new(RATE_HZ as usize, CHANNELS, 16).map_err(|e| refused("the sample format")(e.to_string()))?;
        // Equal smallest and largest blocks say "fixed block size": decoders then expect frame numbers, and accept a
        // stream that starts with any of them. Frame sizes and the length of the stream stay unknown (0).
        stream_info
            .set_block_sizes(BLOCK_FRAMES, BLOCK_FRAMES)
            .and_then(|()| stream_info.set_frame_sizes(0, 0))
            .map_err(|e| refused("the block size")(e.to_string()))?;
        let block =
            FrameBuf::with_size(CHANNELS, BLOCK_FRAMES).map_err(|e| refused("the block size")(e.to_string()))?;
        let widened = Vec::with_capacity(BLOCK_FRAMES * CHANNELS);
        Ok(Self { config, stream_info, block, widened, frame_number: 0, encoded: MemSink::new() })
    }

    /// `fLaC` and STREAMINFO: what every listener needs before the first frame, wherever it joins.
    ///
    /// # Errors
    /// None in practice: the header has nothing that could be out of range.
    pub fn header(&self) -> Result<Vec<u8>, EncodeError> {
        let mut header = MemSink::<u8>::new();
        Stream::with_stream_info(self.stream_info.clone())
            .write(&mut header)
            .map_err(|e| EncodeError::refused("the stream header")(e.to_string()))?;
        Ok(header.into_inner())
    }

    /// The FLAC frame for the next [`BLOCK_FRAMES`] frames of interleaved samples.
    ///
    /// # Errors
    /// If `samples` is not exactly one block.
    pub fn encode(&mut self, samples: &[i16]) -> Result<&[u8], EncodeError> {
        let refused = EncodeError::refused;
        if samples.len() != BLOCK_FRAMES * CHANNELS {
            return Err(refused("a block")(format!("it has {} samples", samples.len())));
        }
        self.widened.clear();
        self.widened.extend(samples.iter().map(|&sample| i32::from(sample)));
        self.block.fill_interleaved(&self.widened).map_err(|e| refused("a block")(e.to_string()))?;
        let number = (self.frame_number % FRAME_NUMBERS) as usize;
        let frame = encode_fixed_size_frame(&self.config, &self.block, number, &self.stream_info)
            .map_err(|e| refused("a block")(e.to_string()))?;
        self.encoded.clear();
        frame.write(&mut self.encoded).map_err(|e| refused("to write a frame")(e.to_string()))?;
        self.frame_number += 1;
        Ok(self.encoded.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use symphonia::core::codecs::audio::AudioDecoderOptions;
    use symphonia::core::formats::probe::Hint;
    use symphonia::core::formats::{FormatOptions, TrackType};
    use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
    use symphonia::core::meta::MetadataOptions;

    use super::super::music::Music;
    use super::*;

    #[test]
    fn a_listener_may_join_at_any_frame_and_loses_nothing() {
        let mut music = Music::new(5);
        let mut encoder = FlacEncoder::new().unwrap();
        let mut samples = vec![0; BLOCK_FRAMES * CHANNELS];
        let mut programme = Vec::new();
        let mut stream = encoder.header().unwrap();
        const JOINED_AT: usize = 130; // More than 127: the frame number takes two bytes.
        for number in 0..JOINED_AT + 12 {
            music.render(&mut samples);
            let frame = encoder.encode(&samples).unwrap();
            if number >= JOINED_AT {
                stream.extend_from_slice(frame);
                programme.extend_from_slice(&samples);
            }
        }
        assert_eq!(decode(stream), programme);
    }

    fn decode(stream: Vec<u8>) -> Vec<i16> {
        let source = MediaSourceStream::new(Box::new(ReadOnlySource::new(Cursor::new(stream))), Default::default());
        let mut format = symphonia::default::get_probe()
            .probe(&Hint::new(), source, FormatOptions::default(), MetadataOptions::default())
            .unwrap();
        let track = format.default_track(TrackType::Audio).unwrap();
        assert_eq!(track.num_frames, None, "a live stream has no length");
        let parameters = track.codec_params.as_ref().unwrap().audio().unwrap();
        let mut decoder =
            symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()).unwrap();
        let (mut packet_samples, mut decoded) = (Vec::new(), Vec::new());
        while let Some(packet) = format.next_packet().unwrap() {
            decoder.decode(&packet).unwrap().copy_to_vec_interleaved::<i16>(&mut packet_samples);
            decoded.extend_from_slice(&packet_samples);
        }
        decoded
    }
}
