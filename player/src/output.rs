//! Where the frames go: a callback, and the devices that call it.
//!
//! A `Callback` is all that a device sees of the player. A device calls it once a period, from a thread whose deadline
//! it is; so it does nothing that could wait: it has the library fill the period, looks at the clock before and after,
//! and leaves the time it took in a ring of its own, where the status finds it.

mod null;
mod realtime;
mod timings;
mod wav;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use roundelay::StorageError;
use roundelay::pcm::{Fill, PcmReader};
use thiserror::Error;

use crate::decode::Format;
use timings::TimingsWriter;

pub use realtime::Scheduling;
pub use timings::Timings;

/// Frames in a period: 5.3 ms at 48 kHz.
const PERIOD_FRAMES: usize = 256;

/// Playing starts once this much is decoded. Less starts sooner and stumbles over the first stutter of the network.
const START_MARK: Duration = Duration::from_millis(500);

/// How long a thread that waits for frames goes without looking whether it is to stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// The output, as it is asked for on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputChoice {
    /// A device that throws the audio away, on time.
    Null,
    /// A WAV file.
    Wav(PathBuf),
}

impl FromStr for OutputChoice {
    type Err = OutputError;

    fn from_str(text: &str) -> Result<Self, OutputError> {
        match text.split_once(':') {
            None if text == "null" => Ok(Self::Null),
            Some(("wav", path)) if !path.is_empty() => Ok(Self::Wav(path.into())),
            _ => Err(OutputError::Unknown),
        }
    }
}

/// Why there is no output, or no more.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutputError {
    /// No such output.
    #[error("give `null`, or `wav:PATH` for a file")]
    Unknown,
    /// The file cannot be made.
    #[error("cannot create {path}: {reason}; is there such a folder, and may you write there?")]
    Create {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        reason: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {reason}; what was played before is in the file if its disk is not full")]
    Write {
        /// Its path.
        path: PathBuf,
        /// What went wrong.
        #[source]
        reason: hound::Error,
    },
    /// The ring of callback times could not be made.
    #[error("cannot open the ring of callback times: {0}")]
    Timings(#[source] StorageError),
    /// No thread.
    #[error("cannot start a thread for the output: {0}")]
    Thread(#[source] io::Error),
}

/// As it was asked for.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Wav { path, .. } => write!(f, "wav:{}", path.display()),
        }
    }
}

/// An output that is there, before anything is played: what can fail for a wrong argument has not.
#[derive(Debug)]
pub enum Output {
    /// See [`OutputChoice::Null`].
    Null,
    /// See [`OutputChoice::Wav`].
    Wav {
        /// Where it is.
        path: PathBuf,
        /// The file, still empty.
        file: File,
    },
}

impl Output {
    /// Opens the output that was chosen.
    ///
    /// # Errors
    /// [`OutputError::Create`].
    pub fn open(choice: &OutputChoice) -> Result<Self, OutputError> {
        match choice {
            OutputChoice::Null => Ok(Self::Null),
            OutputChoice::Wav(path) => {
                let file = File::create(path).map_err(|reason| OutputError::Create { path: path.clone(), reason })?;
                Ok(Self::Wav { path: path.clone(), file })
            }
        }
    }

    /// Plays what `reader` has, on a thread of its own, until the stream ends, `limit_frames` are played, or it is
    /// stopped. `ended` is called then.
    ///
    /// # Errors
    /// [`OutputError::Thread`], [`OutputError::Timings`].
    pub fn play(
        self,
        reader: PcmReader<f32>,
        format: Format,
        limit_frames: Option<u64>,
        ended: impl FnOnce(Result<Scheduling, OutputError>) + Send + 'static,
    ) -> Result<(Playback, Timings), OutputError> {
        let (timings_writer, timings) = timings::open().map_err(OutputError::Timings)?;
        let callback = Callback { reader, timings: timings_writer };
        let stop = Arc::<AtomicBool>::default();
        let session = Session { callback, format, limit_frames, stop: stop.clone() };
        let run = move || {
            ended(match self {
                Self::Null => Ok(null::play(session)),
                Self::Wav { path, file } => wav::write(session, file)
                    .map(|()| Scheduling::NotNeeded)
                    .map_err(|reason| OutputError::Write { path, reason }),
            });
        };
        let thread = thread::Builder::new().name("output".into()).spawn(run).map_err(OutputError::Thread)?;
        Ok((Playback { stop, thread }, timings))
    }
}

/// An output that is playing.
#[derive(Debug)]
pub struct Playback {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Playback {
    /// Stops after the current period, and waits for that.
    pub fn stop(self) {
        // Relaxed: the flag goes with no other memory, and the thread is joined.
        self.stop.store(true, Relaxed);
        // A thread that panicked has said so on standard error.
        let _ = self.thread.join();
    }
}

/// What a device calls once a period.
struct Callback {
    reader: PcmReader<f32>,
    timings: TimingsWriter,
}

impl Callback {
    /// Fills one period.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees or locks. Enters the kernel for the time of day only where that cannot be read
    /// without.
    fn fill(&mut self, period: &mut [f32]) -> Fill {
        let began = Instant::now();
        let fill = self.reader.fill(period);
        self.timings.record(began.elapsed());
        fill
    }
}

/// One run of an output, from the start mark to the end.
struct Session {
    callback: Callback,
    format: Format,
    limit_frames: Option<u64>,
    stop: Arc<AtomicBool>,
}

impl Session {
    /// Whether it is over because somebody said so.
    fn is_stopped(&self) -> bool {
        // Relaxed: see `Playback::stop`.
        self.stop.load(Relaxed)
    }

    /// How many frames the next period has: fewer in the last one, none behind it.
    fn period_frames(&self) -> usize {
        let played = self.callback.reader.position();
        let left = self.limit_frames.map_or(u64::MAX, |limit| limit.saturating_sub(played));
        PERIOD_FRAMES.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Blocks until `frames` can be played; returns how many can, fewer only if there are no more, or it is stopped.
    fn wait_for(&mut self, frames: usize) -> usize {
        loop {
            match self.callback.reader.wait_timeout(frames, LOOK_UP) {
                Ok(there) if there >= frames || self.is_stopped() => return there,
                Ok(there) if self.callback.reader.status() != roundelay::ResourceStatus::Active => return there,
                Ok(_) => {}
                Err(_) => return 0,
            }
        }
    }

    /// Blocks until there is enough to begin with.
    fn wait_for_start_mark(&mut self) {
        let mark = START_MARK.as_secs_f64() * f64::from(self.format.rate_hz);
        // Less if less is to be played at all.
        let limit = self.limit_frames.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        self.wait_for((mark as usize).min(limit));
    }
}
