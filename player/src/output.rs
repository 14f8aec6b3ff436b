//! Where the frames go: a callback, and the devices that call it.
//!
//! A `Callback` is all that a device sees of the player. A device calls it once a period, from a thread whose deadline
//! it is; so it does nothing that could wait: it has the library fill the period, looks at the clock before and after,
//! and leaves the time it took in a ring of its own, where the status finds it.

#[cfg(target_os = "linux")]
mod alsa;
#[cfg(all(feature = "cpal", not(target_os = "linux")))]
mod cpal;
mod device;
#[cfg(target_os = "linux")]
mod jack;
#[cfg(target_os = "linux")]
mod library;
mod null;
mod realtime;
mod timings;
mod valve;
mod wav;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use roundelay::pcm::{Fill, PcmReader};
use roundelay::{ReadError, StorageError};
use thiserror::Error;

use crate::convert::Layout;
use crate::decode::{DecoderState, Format};
use crate::summary::DeviceFigures;
use device::{CHANNELS, Counters, Device};
use timings::TimingsWriter;
use valve::{Flow, Valve};

#[cfg(target_os = "linux")]
pub use alsa::AlsaError;
pub use device::DeviceState;
#[cfg(target_os = "linux")]
pub use jack::JackError;
#[cfg(target_os = "linux")]
pub use library::LibraryError;
pub use realtime::Scheduling;
pub use timings::Timings;
pub use valve::{Marks, Transport};
pub use wav::Recording;

/// Frames in a period, unless somebody wants others: 5.3 ms at 48 kHz.
const PERIOD_FRAMES: usize = 256;

/// How long a thread that waits for frames goes without looking whether it is to stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// So long a device has to take its last period, and a disk the end of a file.
const PATIENCE: Duration = Duration::from_secs(2);

/// The output, as it is asked for on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OutputChoice {
    /// JACK if a server answers, or else ALSA, or else what `Null` is. Where there are no JACK and ALSA: the system's own
    /// sound, if that was built in.
    #[default]
    Auto,
    /// A JACK server.
    Jack,
    /// A device of ALSA.
    Alsa,
    /// A device that throws the audio away, on time.
    Null,
    /// A WAV file.
    Wav(PathBuf),
}

impl FromStr for OutputChoice {
    type Err = OutputError;

    fn from_str(text: &str) -> Result<Self, OutputError> {
        match (text, text.split_once(':')) {
            ("auto", _) => Ok(Self::Auto),
            ("jack", _) => Ok(Self::Jack),
            ("alsa", _) => Ok(Self::Alsa),
            ("null", _) => Ok(Self::Null),
            (_, Some(("wav", path))) if !path.is_empty() => Ok(Self::Wav(path.into())),
            _ => Err(OutputError::Unknown),
        }
    }
}

/// What to open, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// The output.
    pub choice: OutputChoice,
    /// Frames in a period, if that is not left to the output. A JACK server has its own in any case; a device of ALSA has
    /// the nearest that it can.
    pub period_frames: Option<usize>,
    /// The device: ALSA's name for it, or what the names of JACK's ports begin with.
    pub device: Option<String>,
}

impl OutputOptions {
    fn period_frames(&self) -> usize {
        self.period_frames.unwrap_or(PERIOD_FRAMES).max(1)
    }
}

/// Why there is no output, or no more.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutputError {
    /// No such output.
    #[error(
        "give `null`, or `wav:PATH` for a file, or a sound system: `jack`, `alsa`, or `auto` for whichever is there"
    )]
    Unknown,
    /// A device of something that has none.
    #[error("{0} has no devices to choose from; leave out `{1}`, or choose `jack` or `alsa`")]
    NoDevices(&'static str, String),
    /// No sound system has a device of that name.
    #[error("no output has a device `{device}`: {}", list(.reasons))]
    NoDevice {
        /// The name.
        device: String,
        /// What each said.
        reasons: Vec<Self>,
    },
    /// The sound system is not that of this system, or was not built in.
    #[error("{0} is not built into this program on this system")]
    NotBuilt(&'static str),
    /// The system's own sound, on systems without JACK and ALSA.
    #[error("the system's audio device `{device}` cannot be used: {reason}")]
    System {
        /// Its name.
        device: String,
        /// What the system says.
        reason: String,
    },
    /// JACK.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Jack(#[from] JackError),
    /// ALSA.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Alsa(#[from] AlsaError),
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
    /// A WAV file has no more room, whatever its disk has.
    #[error("{path} is full: a WAV file holds no more than 4 GiB; what was played before is in it")]
    Full {
        /// Its path.
        path: PathBuf,
    },
    /// The ring of callback times could not be made.
    #[error("cannot open the ring of callback times: {0}")]
    Timings(#[source] StorageError),
    /// No thread.
    #[error("cannot start a thread for the output: {0}")]
    Thread(#[source] io::Error),
}

fn list(reasons: &[OutputError]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// An output that is there, before anything is played: what can fail for a wrong argument has not.
#[derive(Debug)]
pub struct Output {
    sink: Sink,
    period_frames: usize,
    /// Why it is not one that would have been better.
    passed_over: Vec<OutputError>,
}

/// Where the frames go.
#[derive(Debug)]
enum Sink {
    Null,
    Wav(Recording),
    Device(Box<dyn Device>),
}

/// Its name on the command line.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sink {
            Sink::Null => f.write_str("null"),
            Sink::Wav(recording) => write!(f, "wav:{}", recording.path().display()),
            Sink::Device(device) => f.write_str(device.name()),
        }
    }
}

impl Output {
    /// Opens the output that was chosen.
    ///
    /// # Errors
    /// If the output is not there, has no such device, or the file cannot be made.
    pub fn open(options: &OutputOptions) -> Result<Self, OutputError> {
        let mut passed_over = Vec::new();
        let sink = match &options.choice {
            OutputChoice::Auto => open_best(options, &mut passed_over)?,
            OutputChoice::Jack => Sink::Device(open_jack(options)?),
            OutputChoice::Alsa => Sink::Device(open_alsa(options)?),
            OutputChoice::Null => without_device("null", options, || Ok(Sink::Null))?,
            OutputChoice::Wav(path) => without_device("a file", options, || Recording::open(path).map(Sink::Wav))?,
        };
        Ok(Self { sink, period_frames: options.period_frames(), passed_over })
    }

    /// The file that takes what is played, if that is what it is.
    #[must_use]
    pub fn recording(&self) -> Option<Recording> {
        match &self.sink {
            Sink::Wav(recording) => Some(recording.clone()),
            _ => None,
        }
    }

    /// The same file once more, for what is played next.
    #[must_use]
    pub fn to_recording(recording: Recording, options: &OutputOptions) -> Self {
        Self { sink: Sink::Wav(recording), period_frames: options.period_frames(), passed_over: Vec::new() }
    }

    /// What is to be known of it: which it is, and why it is not a better one. Nothing, of an output that was chosen and
    /// has no device.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let mut note = match &self.sink {
            Sink::Device(device) => format!("playing to {}", device.describe()),
            _ if self.passed_over.is_empty() => return None,
            _ => "playing to null, which throws the audio away, on time".to_owned(),
        };
        if !self.passed_over.is_empty() {
            note += &format!(": {}", list(&self.passed_over));
        }
        Some(note)
    }

    /// What the device plays, or what was recorded before; `None` if it plays whatever comes.
    #[must_use]
    pub fn layout(&self) -> Option<Layout> {
        match &self.sink {
            Sink::Device(device) => Some(Layout { rate_hz: device.counters().rate_hz(), channels: CHANNELS }),
            Sink::Wav(recording) => recording.layout(),
            Sink::Null => None,
        }
    }

    /// Whether it has a clock of its own. A file has none: it takes what comes.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        !matches!(self.sink, Sink::Wav(_))
    }

    /// Frames in a period. A JACK server may change its mind later.
    #[must_use]
    pub fn period_frames(&self) -> usize {
        match &self.sink {
            Sink::Device(device) => device.counters().period_frames(),
            _ => self.period_frames,
        }
    }

    /// Plays what `reader` has, which has to be of the output's [layout](Self::layout), on a thread of its own, until the
    /// stream ends, `limit_frames` are played, or it is stopped. `ended` is called then; `changed` before, each time that
    /// the device goes away, or is back.
    ///
    /// # Errors
    /// [`OutputError::Thread`], [`OutputError::Timings`].
    pub fn play(
        self,
        reader: PcmReader<f32>,
        format: Format,
        limit_frames: Option<u64>,
        flow: FlowOptions,
        mut changed: impl FnMut(DeviceState) + Send + 'static,
        ended: impl FnOnce(Result<Scheduling, OutputError>) + Send + 'static,
    ) -> Result<(Playback, Timings), OutputError> {
        let (timings_writer, timings) = timings::open().map_err(OutputError::Timings)?;
        let FlowOptions { transport, decoder, marks } = flow;
        let valve = Valve::new(transport.clone(), reader.tap(), decoder, marks, limit_frames);
        let callback = Callback { reader, valve, timings: timings_writer };
        let stop = Arc::<AtomicBool>::default();
        let period_frames = self.period_frames();
        let session = Session { callback, format, period_frames, limit_frames, transport, stop: stop.clone() };
        let counters = match &self.sink {
            Sink::Device(device) => Some(device.counters()),
            _ => None,
        };
        let run = move || {
            ended(match self.sink {
                Sink::Null => Ok(null::play(session)),
                Sink::Wav(recording) => recording.record(session).map(|()| Scheduling::NotNeeded),
                Sink::Device(device) => device.play(session, &mut changed),
            });
        };
        let thread = thread::Builder::new().name("output".into()).spawn(run).map_err(OutputError::Thread)?;
        Ok((Playback { stop, thread, counters }, timings))
    }
}

/// When the callback plays what there is, and when it waits for more.
#[derive(Clone, Debug)]
pub struct FlowOptions {
    /// The listener's side.
    pub transport: Arc<Transport>,
    /// Knows whether there will be more.
    pub decoder: DecoderState,
    /// How much has to be there.
    pub marks: Marks,
}

/// Opens a device of a sound system.
type Open = fn(&OutputOptions) -> Result<Box<dyn Device>, OutputError>;

/// The sound systems, the best one first.
const SYSTEMS: &[Open] = if cfg!(target_os = "linux") { &[open_jack, open_alsa] } else { &[open_other] };

/// The first output that is there. To play to none of them is well only for somebody who named no device.
fn open_best(options: &OutputOptions, passed_over: &mut Vec<OutputError>) -> Result<Sink, OutputError> {
    for open in SYSTEMS {
        match open(options) {
            Ok(device) => return Ok(Sink::Device(device)),
            Err(error) => passed_over.push(error),
        }
    }
    match options.device.clone() {
        None => Ok(Sink::Null),
        Some(device) => Err(OutputError::NoDevice { device, reasons: std::mem::take(passed_over) }),
    }
}

/// An output for which naming a device makes no sense.
fn without_device(
    what: &'static str,
    options: &OutputOptions,
    open: impl FnOnce() -> Result<Sink, OutputError>,
) -> Result<Sink, OutputError> {
    match &options.device {
        None => open(),
        Some(device) => Err(OutputError::NoDevices(what, device.clone())),
    }
}

#[cfg(target_os = "linux")]
fn open_jack(options: &OutputOptions) -> Result<Box<dyn Device>, OutputError> {
    Ok(Box::new(jack::Jack::open(options.device.as_deref())?))
}

#[cfg(target_os = "linux")]
fn open_alsa(options: &OutputOptions) -> Result<Box<dyn Device>, OutputError> {
    Ok(Box::new(alsa::Alsa::open(options.device.as_deref(), options.period_frames())?))
}

#[cfg(not(target_os = "linux"))]
fn open_jack(_: &OutputOptions) -> Result<Box<dyn Device>, OutputError> {
    Err(OutputError::NotBuilt("JACK"))
}

#[cfg(not(target_os = "linux"))]
fn open_alsa(_: &OutputOptions) -> Result<Box<dyn Device>, OutputError> {
    Err(OutputError::NotBuilt("ALSA"))
}

#[cfg(all(feature = "cpal", not(target_os = "linux")))]
fn open_other(options: &OutputOptions) -> Result<Box<dyn Device>, OutputError> {
    Ok(Box::new(cpal::Cpal::open(options.device.as_deref(), options.period_frames())?))
}

#[cfg(not(all(feature = "cpal", not(target_os = "linux"))))]
fn open_other(_: &OutputOptions) -> Result<Box<dyn Device>, OutputError> {
    Err(OutputError::NotBuilt("sound (by the feature `cpal`)"))
}

/// An output that is playing.
#[derive(Debug)]
pub struct Playback {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    counters: Option<Arc<Counters>>,
}

impl Playback {
    /// What its device has counted so far, if it has one.
    #[must_use]
    pub fn device(&self) -> Option<DeviceFigures> {
        self.counters.as_deref().map(Counters::figures)
    }

    /// Stops after the current period, and waits for that, but not for ever: a device that hangs in the middle of a
    /// period is left to it. Returns what the device has counted, as [`device`](Self::device).
    pub fn stop(self) -> Option<DeviceFigures> {
        // Relaxed: the flag goes with no other memory, and the thread is joined.
        self.stop.store(true, Relaxed);
        // Out of the sleep of a thread that watches a device.
        self.thread.thread().unpark();
        let asked = Instant::now();
        while !self.thread.is_finished() && asked.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
        if self.thread.is_finished() {
            // A thread that panicked has said so on standard error.
            let _ = self.thread.join();
        }
        self.counters.as_deref().map(Counters::figures)
    }
}

/// What a device calls once a period.
struct Callback {
    reader: PcmReader<f32>,
    valve: Valve,
    timings: TimingsWriter,
}

impl Callback {
    /// Fills one period.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees or locks. Enters the kernel for the time of day only where that cannot be read
    /// without.
    fn fill(&mut self, period: &mut [f32]) -> Fill {
        let channels = self.reader.channels();
        self.timed(|reader, valve| {
            let flow = valve.next(period.len() / channels);
            if flow == Flow::Closed {
                period.fill(0.0);
                return silence(period.len() / channels);
            }
            let fill = reader.fill(period);
            flow.fade(period, channels);
            fill
        })
    }

    /// As [`fill`](Self::fill), for a device that has a buffer for each channel.
    ///
    /// # Real-time
    /// As [`fill`](Self::fill).
    #[cfg(target_os = "linux")]
    fn fill_planar(&mut self, channels: &mut [&mut [f32]]) -> Fill {
        self.timed(|reader, valve| {
            let frames = channels.first().map_or(0, |channel| channel.len());
            let flow = valve.next(frames);
            if flow == Flow::Closed {
                for channel in channels {
                    channel.fill(0.0);
                }
                return silence(frames);
            }
            let fill = reader.fill_planar(channels);
            for channel in channels {
                flow.fade(channel, 1);
            }
            fill
        })
    }

    /// As [`fill`](Self::fill), of what there is in any case.
    ///
    /// # Real-time
    /// As [`fill`](Self::fill).
    fn fill_at_once(&mut self, period: &mut [f32]) -> Fill {
        self.timed(|reader, _| reader.fill(period))
    }

    fn timed(&mut self, fill: impl FnOnce(&mut PcmReader<f32>, &mut Valve) -> Fill) -> Fill {
        let began = Instant::now();
        let fill = fill(&mut self.reader, &mut self.valve);
        self.timings.record(began.elapsed());
        if fill.frames > 0 {
            self.valve.note_sound();
        }
        fill
    }
}

/// A period in which nothing was played, and nothing is missing either.
fn silence(frames: usize) -> Fill {
    Fill { missing: frames, ..Fill::default() }
}

/// Whether a period was the first behind the end of the stream.
fn is_over(fill: Fill) -> bool {
    fill.frames == 0 && fill.cause.is_some_and(|cause| cause != ReadError::NotYet)
}

/// One run of an output, from the start mark to the end.
struct Session {
    callback: Callback,
    format: Format,
    period_frames: usize,
    limit_frames: Option<u64>,
    transport: Arc<Transport>,
    stop: Arc<AtomicBool>,
}

impl Session {
    /// Whether it is over because somebody said so.
    fn is_stopped(&self) -> bool {
        // Relaxed: see `Playback::stop`.
        self.stop.load(Relaxed)
    }

    /// How many frames the next period has: fewer in the last one, none behind it.
    fn frames_due(&self) -> usize {
        let played = self.callback.reader.position();
        let left = self.limit_frames.map_or(u64::MAX, |limit| limit.saturating_sub(played));
        self.period_frames.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Blocks until `frames` can be played; returns how many can, fewer only if there are no more, or it is stopped.
    fn wait_for(&mut self, frames: usize) -> usize {
        loop {
            match self.callback.reader.wait_timeout(frames, LOOK_UP) {
                Ok(there) if there >= frames || self.is_stopped() => {
                    self.transport.set_buffering(false);
                    return there;
                }
                Ok(there) if self.callback.reader.status() != roundelay::ResourceStatus::Active => return there,
                Ok(_) => self.transport.set_buffering(true),
                Err(_) => return 0,
            }
        }
    }
}
