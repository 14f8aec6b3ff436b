//! The decoder's thread: reads the stream behind the network, decodes with Symphonia, and writes frames ahead of the
//! audio callback.
//!
//! It waits at both ends. Out of bytes, it sleeps on a futex until the network has written some; a live stream has
//! nothing *yet*, and never an end of file. Out of room, it sleeps until the callback has played some.
//!
//! A seek is the same for every format and for files as for live streams: the decoder is opened anew at the offset that
//! the [`Timeline`] gives for the wanted moment, with the stream's [head](crate::head) in front where it needs one, and
//! what lies before the moment is decoded and dropped. Where the frames say when they are, they are believed, and an
//! offset that was too far off is chosen again.
//!
//! A stream is decoded in sessions, one after the other: each ends where something else begins, be it a connection, a
//! link of a chain, or a file that somebody joined to another, and the next one looks what that is.

mod edits;
mod foreign;
mod format;
mod frames;
mod links;
mod opening;
mod place;
mod plain_wave;
mod recognise;
mod session;
mod sink;
mod stream;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use roundelay::pcm::{Epoch, PcmControl, PcmReader};
use roundelay::{CancelToken, Cursor, DriverIo, Interrupter, OnLap, StorageError};
use symphonia::core::errors::Error as SymphoniaError;
use thiserror::Error;

use crate::convert::{ConvertError, Layout};
use crate::timeline::Timeline;
use session::{Decoder, Place};
use sink::Sink;

/// Whoever is live is no further behind than a station with such portions makes it necessary.
const MOST_PORTION: Duration = Duration::from_secs(2);

/// Why decoding stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The format is none that this program was built for.
    #[error("this is no audio that can be decoded (it is {content_type}): MP3, AAC, ALAC, Vorbis, FLAC and WAV can")]
    Unsupported {
        /// What it is said to be.
        content_type: String,
        /// What Symphonia says.
        #[source]
        reason: SymphoniaError,
    },
    /// It is known what it is, and that is not decoded here.
    #[error("{codec} is not supported: MP3, AAC, ALAC, Vorbis, FLAC and WAV are")]
    Codec {
        /// Its name.
        codec: &'static str,
    },
    /// It begins as a file that can be played, and does not go on so.
    #[error("this {container} file is damaged, and nothing of it can be played: {reason}")]
    Damaged {
        /// What it begins as.
        container: &'static str,
        /// What is wrong with it.
        #[source]
        reason: SymphoniaError,
    },
    /// It was understood, and there was nothing to be heard in it.
    #[error("no audio in it could be decoded")]
    Silent,
    /// Nobody has loudspeakers for it.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The stream stopped.
    #[error("the stream ended: {0}")]
    Stream(#[source] Arc<StorageError>),
    /// The ring of frames could not be made.
    #[error("cannot open the ring of frames: {0}")]
    Pcm(#[source] StorageError),
    /// A fault of the decoder's; it has said which on standard error.
    #[error("the decoder failed")]
    Panicked,
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

impl Format {
    fn layout(self) -> Layout {
        Layout { rate_hz: self.rate_hz, channels: self.channels }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} channels at {} Hz", self.channels, self.rate_hz)
    }
}

/// What becomes of a listener whom the network has overtaken, since the window is full and it was paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenLapped {
    /// Goes on with the oldest that is there: as little as possible is lost.
    #[default]
    Oldest,
    /// Goes on live.
    Live,
}

/// What of a stream is not heard, while the rest of it is.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LeftOut {
    /// A part of it cannot be decoded.
    #[error("passed over a part of the stream: {codec} is not supported")]
    Codec {
        /// What it is.
        codec: &'static str,
    },
    /// A part of it does not say what is in it.
    #[error("passed over a part of the stream: its beginning is damaged")]
    Damaged,
    /// It ends inside of a page of Ogg, and nothing of that page is heard.
    #[error("the file is cut: its last page is not all there")]
    LastPage,
    /// It has an end before the one it names.
    #[error("the file is cut: {heard:.1} of {promised:.1} seconds are in it")]
    Cut {
        /// Seconds of audio that were decoded.
        heard: f64,
        /// Seconds of audio that the file says it has.
        promised: f64,
    },
}

/// What a decoder reports, each from its own thread.
pub struct Reports {
    /// The format is known, and here is the end from which frames are played. Once.
    pub opened: Box<dyn FnOnce(PcmReader<f32>, Format) + Send>,
    /// Something is not heard.
    pub left_out: Box<dyn Fn(LeftOut) + Send>,
    /// It is over.
    pub ended: Box<dyn FnOnce(Result<(), DecodeError>) + Send>,
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

/// How to decode.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// What the output plays; `None` for one that plays what comes.
    pub layout: Option<Layout>,
    /// Whether the stream goes on by itself, at a pace of its own. Otherwise it is a file.
    pub live: bool,
    /// The output's clock need not be the station's: the stream is played a little faster or slower, so that neither runs
    /// away from the other.
    pub follow_clock: bool,
    /// What to do when overtaken.
    pub when_lapped: WhenLapped,
    /// How much is decoded ahead.
    pub ahead: Duration,
    /// How far behind the live edge "live" is.
    pub live_lead: Duration,
}

/// Hears of an offset.
pub type Moved = Arc<dyn Fn(u64) + Send + Sync>;

/// Where to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// To a moment of the programme, in seconds since it began.
    Seconds(f64),
    /// As near to the live edge as goes well.
    Live,
}

/// What the decoder tells while it is at work, and is told. Numbers and flags that order nothing else: `Relaxed`.
#[derive(Debug, Default)]
struct Shared {
    /// Nobody listens any more. What reads and what writes ask it wherever they wait, and the decoder for each packet: the
    /// bytes of a file that is complete never end in "cancelled" by themselves.
    cancel: CancelToken,
    laps: AtomicU64,
    broken: AtomicU64,
    skipped: AtomicU64,
    /// How often it waited for the network, and got something.
    meals: AtomicU64,
    /// How much audio comes at once, in milliseconds; 0 before it is known.
    portion_ms: AtomicU64,
    /// The same, and before it is known what has come by now.
    portion_guess_ms: AtomicU64,
    /// What is decoded lasts for a while.
    well_ahead: AtomicBool,
    /// All there is has been written to the callback.
    drained: AtomicBool,
    /// The listener cannot hear how the buffer fills and empties: paused.
    idle: AtomicBool,
    drift_ppm: AtomicI64,
    target: Mutex<Option<Target>>,
    /// The newest epoch of which frames were decoded.
    landed: Mutex<Option<Epoch>>,
    /// Known once there are frames.
    pcm: Mutex<Option<PcmControl>>,
    /// What is decoded now, for people.
    format: Mutex<Option<(&'static str, Format)>>,
}

impl Shared {
    fn take_target(&self) -> Option<Target> {
        lock(&self.target).take()
    }

    /// How much audio comes at once, if that is known.
    fn portion(&self) -> Duration {
        Duration::from_millis(self.portion_ms.load(Relaxed)).min(MOST_PORTION)
    }

    fn is_asked(&self) -> bool {
        lock(&self.target).is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A decoder at work.
#[derive(Debug)]
pub struct Decoding {
    shared: Arc<Shared>,
    live_lead: Duration,
    interrupter: Interrupter,
    thread: JoinHandle<()>,
}

/// What others may look at while a decoder works, wherever that is.
#[derive(Clone, Debug, Default)]
pub struct DecoderState(Arc<Shared>);

impl DecoderState {
    /// Whether what is decoded lasts for a while, so that nothing is lost by taking what comes a little later.
    #[must_use]
    pub fn is_well_ahead(&self) -> bool {
        self.0.well_ahead.load(Relaxed)
    }

    /// How much audio comes at once from the network, as far as is known: until the next comes, it has to last.
    #[must_use]
    pub fn portion(&self) -> Duration {
        Duration::from_millis(self.0.portion_guess_ms.load(Relaxed))
    }

    /// Whether all there is has been decoded.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.0.drained.load(Relaxed)
    }
}

impl Decoding {
    /// Starts to decode from where `cursor` is.
    ///
    /// `moved` is told where the reading goes on, each time that it does not go on where it was.
    ///
    /// # Errors
    /// [`DecodeError::Thread`].
    pub fn start<D: DriverIo>(
        mut cursor: Cursor<D>,
        moved: Moved,
        options: DecodeOptions,
        timeline: Arc<Timeline>,
        cancel: CancelToken,
        reports: Reports,
    ) -> Result<Self, DecodeError> {
        let Reports { opened, left_out, ended } = reports;
        // Overtaken, the decoder is opened anew where it goes on.
        cursor.set_on_lap(OnLap::Error);
        let shared = Arc::new(Shared { cancel, ..Shared::default() });
        let interrupter = cursor.interrupter();
        let sink = Sink::new(options, shared.clone(), timeline.clone(), opened);
        let place = Place { offset: cursor.position(), seconds: 0.0, from: None, choices: 0 };
        let reader = cursor.reader().clone();
        let mut decoder = Decoder::new(options, reader, moved, timeline, shared.clone(), sink, left_out, place);
        let run = move || {
            // Hostile bytes may find a fault that nobody knows of yet.
            let result = catch_unwind(AssertUnwindSafe(|| decoder.run(&mut cursor)));
            let result = result.unwrap_or(Err(DecodeError::Panicked));
            decoder.finish();
            ended(result);
        };
        let thread = thread::Builder::new().name("decoder".into()).spawn(run).map_err(DecodeError::Thread)?;
        Ok(Self { shared, live_lead: options.live_lead, interrupter, thread })
    }

    /// Goes elsewhere: nothing that was decoded before is heard any more.
    ///
    /// Returns what [`has_landed`](Self::has_landed) wants to know; `None` before there are any frames.
    pub fn seek(&self, target: Target) -> Option<Epoch> {
        *lock(&self.shared.target) = Some(target);
        let epoch = lock(&self.shared.pcm).as_ref().map(PcmControl::seek);
        self.interrupter.interrupt();
        self.thread.thread().unpark();
        epoch
    }

    /// How far behind the live edge "live" is.
    #[must_use]
    pub fn live_lead(&self) -> Duration {
        self.live_lead + self.shared.portion()
    }

    /// Whether frames of that seek, or a later one, were decoded.
    #[must_use]
    pub fn has_landed(&self, epoch: Option<Epoch>) -> bool {
        epoch.is_none_or(|epoch| lock(&self.shared.landed).is_some_and(|landed| landed >= epoch))
    }

    /// What others may look at.
    #[must_use]
    pub fn state(&self) -> DecoderState {
        DecoderState(self.shared.clone())
    }

    /// Nobody listens for the moment, and what the buffer does says nothing of the clocks.
    pub fn set_idle(&self, idle: bool) {
        self.shared.idle.store(idle, Relaxed);
    }

    /// Times that the decoder was overtaken by the network.
    #[must_use]
    pub fn laps(&self) -> u64 {
        self.shared.laps.load(Relaxed)
    }

    /// Packets that could not be decoded, and stretches without any.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.shared.broken.load(Relaxed)
    }

    /// Parts of the stream that are not heard: not supported, or with a damaged beginning.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.load(Relaxed)
    }

    /// How much faster than it says the stream is played, in millionths, to keep up with the station's clock.
    #[must_use]
    pub fn drift_ppm(&self) -> i64 {
        self.shared.drift_ppm.load(Relaxed)
    }

    /// What is decoded: the name of its codec, and what its samples are.
    #[must_use]
    pub fn format(&self) -> Option<(&'static str, Format)> {
        *lock(&self.shared.format)
    }

    /// Waits for the thread. Cancel the stream first.
    pub fn join(self) {
        self.thread.thread().unpark();
        // Whoever hears of its end panicked, if anybody: that is said on standard error.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests;
