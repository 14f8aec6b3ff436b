//! FLAC: the header of a frame, and the block that says what all frames of a stream are.

use symphonia::core::checksum::Crc8Ccitt;
use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;
use symphonia::core::io::Monitor;

use super::{Header, Kind};

/// No header is longer.
pub(super) const HEADER_BYTES: usize = 16;

/// Of the block that says what all frames are.
const STREAM_INFO_BYTES: usize = 34;

/// What a FLAC stream says of all its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamInfo {
    pub(super) rate_hz: u32,
    pub(super) channels: u8,
    pub(super) bits: u8,
    /// Frames of audio in a block, of which the last may have fewer.
    pub(super) block_frames: u32,
}

impl StreamInfo {
    pub(super) fn read(block: &[u8]) -> Option<Self> {
        let block: &[u8; STREAM_INFO_BYTES] = block.get(..STREAM_INFO_BYTES)?.try_into().ok()?;
        Some(Self {
            rate_hz: u32::from(block[10]) << 12 | u32::from(block[11]) << 4 | u32::from(block[12] >> 4),
            channels: (block[12] >> 1 & 7) + 1,
            bits: ((block[12] & 1) << 4 | block[13] >> 4) + 1,
            block_frames: u32::from(block[2]) << 8 | u32::from(block[3]),
        })
    }

    /// For a stream that was joined behind its beginning: what its first frame says. `None` if it leaves that to the
    /// beginning.
    pub(super) fn of(header: &Header) -> Option<Self> {
        let Kind { rate_hz, channels, variant: bits, .. } = header.kind;
        (rate_hz > 0 && bits > 0).then_some(Self { rate_hz, channels, bits, block_frames: header.frames })
    }

    /// The block as it would stand there. Blocks may be of any length.
    pub(super) fn block(&self) -> Box<[u8]> {
        let Self { rate_hz, channels, bits, .. } = *self;
        let mut block = [0; STREAM_INFO_BYTES];
        block[..4].copy_from_slice(&[0, 16, 0xff, 0xff]);
        block[10..14].copy_from_slice(&[
            (rate_hz >> 12) as u8,
            (rate_hz >> 4) as u8,
            (rate_hz << 4) as u8 | (channels - 1) << 1 | (bits - 1) >> 4,
            (bits - 1) << 4,
        ]);
        block.into()
    }

    /// Whether a frame that says this may be of this stream. What it leaves open is as the stream says.
    pub(super) fn has(&self, header: &Header) -> bool {
        let Kind { rate_hz, channels, variant: bits, .. } = header.kind;
        (rate_hz == 0 || rate_hz == self.rate_hz) && channels == self.channels && (bits == 0 || bits == self.bits)
    }

    /// No frame of this stream is longer: no encoder takes much more than the samples as they are.
    pub(super) fn most_bytes(&self, header: &Header) -> usize {
        let samples = header.frames as usize * usize::from(self.channels);
        samples * usize::from(self.bits + 1) / 8 * 5 / 4 + 1_024
    }
}

/// A number in the manner of UTF-8, of up to 36 bits, and the bytes it takes.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let more = match first.leading_ones() as usize {
        0 => return Some((first.into(), 1)),
        ones @ 2..=7 => ones - 1,
        _ => return None,
    };
    let begun = u64::from(first) & (0x3f >> more);
    let rest = bytes.get(1..=more)?;
    let all =
        rest.iter().try_fold(begun, |number, &byte| (byte >> 6 == 2).then(|| number << 6 | u64::from(byte & 0x3f)));
    all.map(|number| (number, more + 1))
}

/// The header that `bytes` begin with, with a right checksum. Its length is that of the header alone: a frame does not
/// say its own.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let &[0xff, b1, b2, b3, ..] = bytes else { return None };
    if b1 & 0xfe != 0xf8 || b3 & 1 != 0 {
        return None;
    }
    let (counted, len) = number(&bytes[4..])?;
    let mut at = 4 + len;
    let mut field = |len: usize| {
        let field = bytes.get(at..at + len)?;
        at += len;
        Some(field.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    };
    let frames = match b2 >> 4 {
        0 => return None,
        1 => 192,
        code @ 2..=5 => 576 << (code - 2),
        6 => field(1)? + 1,
        7 => field(2)? + 1,
        code => 256 << (code - 8),
    };
    let rate_hz = match b2 & 15 {
        // As the stream says.
        0 => 0,
        12 => field(1)? * 1_000,
        13 => field(2)?,
        14 => field(2)? * 10,
        code => *[88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000]
            .get(usize::from(code) - 1)?,
    };
    let channels = match b3 >> 4 {
        channels @ 0..=7 => channels + 1,
        8..=10 => 2,
        _ => return None,
    };
    let bits = match b3 >> 1 & 7 {
        0 => 0,
        3 => return None,
        code => [8, 12, 0, 16, 20, 24, 32][usize::from(code) - 1],
    };
    let mut checksum = Crc8Ccitt::new(0);
    checksum.process_buf_bytes(bytes.get(..=at)?);
    let kind = Kind { codec: CODEC_ID_FLAC, rate_hz, channels, variant: bits };
    let is_counted_in_blocks = b1 & 1 == 0;
    let number = Some((counted, is_counted_in_blocks));
    (checksum.crc() == 0).then_some(Header { kind, len: at + 1, data_at: 0, frames, number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::flac::{BLOCK_FRAMES, FlacEncoder};
    use crate::station::music::CHANNELS;

    #[test]
    fn headers_say_kind_number_and_frames() {
        let mut encoder = FlacEncoder::new().unwrap();
        let stream = StreamInfo::read(&encoder.header().unwrap()[8..]).unwrap();
        assert_eq!((stream.rate_hz, stream.channels, stream.bits), (48_000, CHANNELS as u8, 16));
        for number in 0..130 {
            let mut frame = encoder.encode(&[0; BLOCK_FRAMES * CHANNELS]).unwrap().to_vec();
            let found = header(&frame).unwrap();
            assert_eq!((found.frames as usize, found.number), (BLOCK_FRAMES, Some((number, true))));
            assert!(stream.has(&found));
            frame[2] ^= 1;
            assert_eq!(header(&frame), None, "the checksum is wrong");
        }
    }

    #[test]
    fn synthesized_stream_block_says_the_same() {
        let stream = StreamInfo { rate_hz: 192_000, channels: 8, bits: 24, block_frames: 4_096 };
        let read = StreamInfo::read(&stream.block()).unwrap();
        assert_eq!(read, StreamInfo { block_frames: 65_535, ..stream });
    }

    #[test]
    fn numbers_are_read_in_all_lengths() {
        for (bytes, value) in [
            (&[0x7f][..], 0x7f),
            (&[0xc2, 0x80], 0x80),
            (&[0xe0, 0xa0, 0x80], 0x800),
            (&[0xfe, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf], 0xf_ffff_ffff),
        ] {
            assert_eq!(number(bytes), Some((value, bytes.len())));
        }
        assert!([&[0x80][..], &[0xff, 0x80], &[0xc2, 0x00], &[0xc2], &[]].iter().all(|bytes| number(bytes).is_none()));
    }
}
