//! A WAV file, written as fast as a device would play it.
//!
//! Its thread has time, and so it never plays silence in place of a frame that is late: it waits for the frame. What is
//! in the file is what was decoded, sample by sample.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hound::{SampleFormat, WavSpec, WavWriter};

use super::realtime::Pacer;
use super::{OutputError, Session};
use crate::convert::Layout;
use crate::decode::Format;

/// All that a WAV file can say of its length, with room for what is before the samples.
const MOST_BYTES: u64 = u32::MAX as u64 - 256;

/// A WAV file, for one programme or several, one behind the other. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Recording(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    most_bytes: u64,
    /// Locked while something is recorded.
    state: Mutex<State>,
}

enum State {
    /// What was in the file before is there still: there may be nothing to put in its place.
    Untouched(File),
    Begun {
        wav: WavWriter<BufWriter<File>>,
        spec: WavSpec,
        bytes: u64,
    },
    /// It could not be begun.
    Lost,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Untouched(_) => "Untouched",
            Self::Begun { .. } => "Begun",
            Self::Lost => "Lost",
        })
    }
}

impl Recording {
    /// Opens the file, and leaves what is in it until there is something to record.
    pub(super) fn open(path: &Path) -> Result<Self, OutputError> {
        Self::of_at_most(path, MOST_BYTES)
    }

    fn of_at_most(path: &Path, most_bytes: u64) -> Result<Self, OutputError> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|reason| OutputError::Create { path: path.to_owned(), reason })?;
        let state = Mutex::new(State::Untouched(file));
        Ok(Self(Arc::new(Inner { path: path.to_owned(), most_bytes, state })))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Whether a file is this one, by whatever name.
    #[must_use]
    pub fn is(&self, path: &Path) -> bool {
        same_file::is_same_file(&self.0.path, path).unwrap_or(false)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all further programmes have to be in: what the first of them was. Not to be asked while one is recorded.
    pub(super) fn layout(&self) -> Option<Layout> {
        match &*self.state() {
            State::Begun { spec, .. } => Some(Layout { rate_hz: spec.sample_rate, channels: spec.channels.into() }),
            State::Untouched(_) | State::Lost => None,
        }
    }

    /// Records until the end, and completes the file so far.
    pub(super) fn record(&self, mut session: Session) -> Result<(), OutputError> {
        let mut state = self.state();
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
            state
                .begin(session.format)
                .and_then(|()| state.write(samples, self.0.most_bytes))
                .map_err(|e| self.failed(e))?;
            pacer.wait();
        }
        state.complete().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: Failure) -> OutputError {
        let path = self.0.path.clone();
        match error {
            Failure::Write(reason) => OutputError::Write { path, reason },
            Failure::Full => OutputError::Full { path },
        }
    }
}

enum Failure {
    Write(hound::Error),
    Full,
}

impl From<hound::Error> for Failure {
    fn from(error: hound::Error) -> Self {
        Self::Write(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error.into())
    }
}

impl State {
    /// The first samples are there.
    fn begin(&mut self, format: Format) -> Result<(), Failure> {
        match std::mem::replace(self, Self::Lost) {
            Self::Untouched(file) => {
                // A pipe has no length.
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                let spec = spec(format);
                *self = Self::Begun { wav: WavWriter::new(BufWriter::new(file), spec)?, spec, bytes: 0 };
            }
            begun => *self = begun,
        }
        Ok(())
    }

    fn write(&mut self, samples: &[f32], most_bytes: u64) -> Result<(), Failure> {
        let Self::Begun { wav, spec, bytes } = self else { return Ok(()) };
        *bytes += samples.len() as u64 * u64::from(spec.bits_per_sample / 8);
        if *bytes > most_bytes {
            wav.flush()?;
            return Err(Failure::Full);
        }
        write_samples(wav, *spec, samples)?;
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Failure> {
        let Self::Begun { wav, .. } = self else { return Ok(()) };
        Ok(wav.flush()?)
    }
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

    /// A file that is gone when the test is over.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("roundelay-wav-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            Self(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_that_can_hold_no_more_is_complete_and_an_error() {
        let file = Temporary::new("full.wav", &[1; 5_000]);
        let recording = Recording::of_at_most(&file.0, 1_000).unwrap();
        assert_eq!(std::fs::metadata(&file.0).unwrap().len(), 5_000, "nothing was to be recorded yet");
        assert_eq!(recording.layout(), None);
        let mut state = recording.state();
        let format = Format { rate_hz: 48_000, channels: 2, bits: Some(16) };
        let mut written = 0;
        while state.begin(format).and_then(|()| state.write(&[0.5; 64], 1_000)).is_ok() {
            written += 64;
        }
        drop(state);
        assert_eq!(recording.layout(), Some(Layout { rate_hz: 48_000, channels: 2 }));
        let heard: Vec<i16> = hound::WavReader::open(&file.0).unwrap().samples().map(Result::unwrap).collect();
        assert_eq!((written, heard), (448, vec![16_384; 448]));
    }
}
