//! A WAV file, written as fast as a device would play it.
//!
//! Its thread has time, and so it never plays silence in place of a frame that is late: it waits for the frame. What is
//! in the file is what was decoded, sample by sample.

use std::fs::File;
use std::io::BufWriter;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::Session;
use super::realtime::Pacer;
use crate::decode::Format;

/// Writes until the end, and completes the file.
pub(super) fn write(mut session: Session, file: File) -> Result<(), hound::Error> {
    let spec = spec(session.format);
    let mut wav = WavWriter::new(BufWriter::new(file), spec)?;
    let mut period = vec![0.0; session.period_frames * session.format.channels];
    let mut pacer = Pacer::new(session.period_frames, session.format.rate_hz);
    while !session.is_stopped() {
        if session.transport.is_paused() {
            pacer.wait();
            continue;
        }
        let wanted = session.frames_due();
        let frames = session.wait_for(wanted);
        if frames == 0 {
            break;
        }
        let samples = &mut period[..frames.min(wanted) * session.format.channels];
        session.callback.fill_at_once(samples);
        write_samples(&mut wav, spec, samples)?;
        pacer.wait();
    }
    wav.finalize()
}

/// 16-bit integers hold all of a codec with at most so many bits; for all others there is floating point.
fn spec(format: Format) -> WavSpec {
    let sixteen_bits_do = format.bits.is_some_and(|bits| bits <= 16);
    let (bits_per_sample, sample_format) =
        if sixteen_bits_do { (16, SampleFormat::Int) } else { (32, SampleFormat::Float) };
    let channels = u16::try_from(format.channels).unwrap_or(u16::MAX);
    WavSpec { channels, sample_rate: format.rate_hz, bits_per_sample, sample_format }
}

fn write_samples<W>(wav: &mut WavWriter<W>, spec: WavSpec, samples: &[f32]) -> Result<(), hound::Error>
where
    W: std::io::Write + std::io::Seek,
{
    for &sample in samples {
        match spec.sample_format {
            SampleFormat::Int => wav.write_sample(to_16_bits(sample))?,
            SampleFormat::Float => wav.write_sample(sample)?,
        }
    }
    Ok(())
}

/// The way back from `i16 as f32 / 32768.0`, exactly.
pub(super) fn to_16_bits(sample: f32) -> i16 {
    // `as` saturates, so that a sample beyond full scale is clipped.
    (sample * 32_768.0).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_survive_the_way_through_floating_point() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(to_16_bits(f32::from(sample) / 32_768.0), sample);
        }
        assert_eq!((to_16_bits(1.5), to_16_bits(-1.5)), (i16::MAX, i16::MIN));
    }
}
