//! How many bits a second a stream takes, measured from its beginning: for stations that do not say.
//!
//! Nothing here does I/O.

use std::io::Cursor;

use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;

/// Of less, a measure says nothing.
const MIN_SECONDS: f64 = 0.2;

/// Packets that are all about as long as the mean are of a constant rate: padding makes some a little longer.
const CONSTANT: f64 = 1.15;

/// The bit rate of a beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BitRate {
    /// The average, of the audio alone.
    pub bits_per_second: u64,
    /// Of so much audio.
    pub seconds: f64,
    /// It stays as it is. Otherwise what comes later may take more or less, as it is louder or quieter.
    pub is_constant: bool,
}

impl BitRate {
    /// Measures the first bytes of a stream, cut anywhere. `None` if too little is there, or it is of no known format.
    #[must_use]
    pub fn measure(beginning: &[u8]) -> Option<Self> {
        let source = ReadOnlySource::new(Cursor::new(beginning.to_vec()));
        let stream = MediaSourceStream::new(Box::new(source), Default::default());
        let options = (FormatOptions::default(), MetadataOptions::default());
        let mut format = symphonia::default::get_probe().probe(&Hint::new(), stream, options.0, options.1).ok()?;
        let track = format.default_track(TrackType::Audio)?;
        let (id, base) = (track.id, track.time_base?);
        let (mut bytes, mut longest, mut packets, mut seconds) = (0, 0, 0, 0.0);
        // The last packet may be cut.
        let mut last = None;
        while let Ok(Some(packet)) = format.next_packet() {
            if packet.track_id != id {
                continue;
            }
            let this = (packet.data.len(), base.calc_duration_saturating(packet.dur).as_secs_f64());
            if let Some((len, lasts)) = last.replace(this) {
                bytes += len;
                longest = longest.max(len);
                packets += 1;
                seconds += lasts;
            }
        }
        if seconds < MIN_SECONDS {
            return None;
        }
        let bits_per_second = (bytes as f64 * 8.0 / seconds) as u64;
        let is_constant = longest as f64 <= bytes as f64 / f64::from(packets) * CONSTANT;
        Some(Self { bits_per_second, seconds, is_constant })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::station::flac::{BLOCK_FRAMES, FlacEncoder};
    use crate::station::music::{CHANNELS, Music};

    /// Frames of MP3, 128 kbit/s at 44.1 kHz, with nothing in them.
    fn mp3(frames: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut owed = 0;
        for _ in 0..frames {
            // 417.96 bytes, by padding.
            owed += 144 * 128_000 % 44_100;
            let padding = owed >= 44_100;
            owed -= if padding { 44_100 } else { 0 };
            let end = bytes.len() + 417 + usize::from(padding);
            bytes.extend([0xff, 0xfb, 0x90 | u8::from(padding) << 1, 0x64]);
            bytes.resize(end, 0);
        }
        bytes
    }

    /// Two seconds of music.
    static FLAC: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut encoder = FlacEncoder::new().unwrap();
        let mut music = Music::new(1);
        let mut bytes = encoder.header().unwrap();
        let mut block = vec![0; BLOCK_FRAMES * CHANNELS];
        for _ in 0..48_000 * 2 / BLOCK_FRAMES {
            music.render(&mut block);
            bytes.extend_from_slice(encoder.encode(&block).unwrap());
        }
        bytes
    });

    #[test]
    fn a_constant_rate_is_measured_from_any_cut() {
        let stream = mp3(60);
        for (from, to) in [(0, stream.len()), (100, 9_000), (417, 6_000)] {
            let rate = BitRate::measure(&stream[from..to]).unwrap();
            assert!(rate.bits_per_second.abs_diff(128_000) < 1_000 && rate.is_constant, "{from}..{to}: {rate:?}");
        }
    }

    #[test]
    fn a_rate_that_changes_is_an_average() {
        let stream = &*FLAC;
        let rate = BitRate::measure(stream).unwrap();
        let expected = stream.len() as f64 * 8.0 / 2.0;
        assert!((rate.bits_per_second as f64 / expected - 1.0).abs() < 0.1, "{rate:?}, not {expected}");
    }

    #[test]
    fn of_nothing_nothing_is_measured() {
        for nothing in [&b""[..], &mp3(4), &[0; 5_000], b"http://a.example/"] {
            assert_eq!(BitRate::measure(nothing), None);
        }
    }

    proptest! {
        #[test]
        fn no_beginning_is_too_strange(at in 0usize..20_000, noise in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            for mut stream in [mp3(60), FLAC[..30_000].to_vec()] {
                let end = stream.len().min(at + noise.len());
                stream.splice(at.min(end)..end, noise.iter().copied());
                let _ = BitRate::measure(&stream);
            }
            let _ = BitRate::measure(&noise);
        }
    }
}
