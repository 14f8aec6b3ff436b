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

mod edits;
mod format;
mod one_way;
mod sink;
mod stream;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use roundelay::pcm::{Epoch, PcmControl, PcmReader};
use roundelay::{CancelToken, Cursor, DriverIo, Interrupter, OnLap, Reader, StorageError};
use symphonia::core::errors::Error as SymphoniaError;
use thiserror::Error;

use crate::convert::{ConvertError, Layout};
use crate::head::{HeadKind, HeadScanner, find_page};
use crate::timeline::{Moment, Timeline};
use format::{Container, Demuxer, OpenError};
use sink::Sink;
use stream::{Progress, Stop, StreamReader};

/// A decoder needs a moment before what it puts out is right: MP3 takes bits from frames before.
const PREROLL_SECONDS: f64 = 0.3;

/// What is decoded and dropped up to the wanted moment is no more than so much, or the offset is chosen again.
const MOST_DROPPED_SECONDS: f64 = 3.0;

/// Between two packets of which one says that it is heard so long after the end of the other, others are missing.
const LEAST_GAP_SECONDS: f64 = 0.005;

/// How far behind the wanted moment a seek may end.
const MOST_LATE_SECONDS: f64 = 0.1;

/// How often an offset is chosen again. Each time the clock has learned where the last one was.
const MOST_CHOICES: u32 = 8;

/// After so many packets in a row that cannot be decoded, or had, there is something else.
const MOST_FAILED_PACKETS: u32 = 8;

/// A stream of which so much can be skipped without a frame of audio is none.
const MOST_BARREN_BYTES: u64 = 4 << 20;

/// Whoever is live is no further behind than a station with such portions makes it necessary.
const MOST_PORTION: Duration = Duration::from_secs(2);

/// By how much further ahead an offset is chosen that turned out too late, at least.
const LEAST_STEP_BYTES: u64 = 4 << 10;

/// Pictures longer than this at the beginning are too much for Symphonia.
const MAX_SYMPHONIA_HEAD_BYTES: u64 = 16 << 20;

/// Where nothing could be made of the bytes, so many are passed over.
const LOST_STEP_BYTES: u64 = 4 << 10;

/// Before the end of a stream there is so much left to play when that is told: until then a seek goes on.
const LAST_WORDS: Duration = Duration::from_millis(150);

/// Beginning at the oldest byte of a full window, so much is left for the writer to overwrite meanwhile.
const MARGIN_SECONDS: f64 = 1.0;

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
    /// The container was understood, and not what is in it.
    #[error("{codec} cannot be decoded: MP3, AAC, ALAC, Vorbis, FLAC and WAV can")]
    Codec {
        /// Its name.
        codec: &'static str,
    },
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
    /// `moved` is told where the reading goes on, each time that it does not go on where it was. `opened` is called once, when the format is known, with the end from which frames are played. `ended` is called
    /// when it is over.
    ///
    /// # Errors
    /// [`DecodeError::Thread`].
    pub fn start<D: DriverIo>(
        mut cursor: Cursor<D>,
        moved: Moved,
        options: DecodeOptions,
        timeline: Arc<Timeline>,
        cancel: CancelToken,
        opened: impl FnOnce(PcmReader<f32>, Format) + Send + 'static,
        ended: impl FnOnce(Result<(), DecodeError>) + Send + 'static,
    ) -> Result<Self, DecodeError> {
        // Overtaken, the decoder is opened anew where it goes on.
        cursor.set_on_lap(OnLap::Error);
        let shared = Arc::new(Shared { cancel, ..Shared::default() });
        let interrupter = cursor.interrupter();
        let sink = Sink::new(options, shared.clone(), timeline.clone(), Box::new(opened));
        let mut decoder = Decoder {
            options,
            reader: cursor.reader().clone(),
            moved,
            timeline,
            shared: shared.clone(),
            sink,
            place: Place { offset: cursor.position(), seconds: 0.0, from: None, choices: 0 },
            containers: Vec::new(),
            bases: Vec::new(),
            barren_from: 0,
            lost_at: None,
        };
        let run = move || {
            // Hostile bytes may find a fault that nobody knows of yet.
            let result = catch_unwind(AssertUnwindSafe(|| decoder.run(&mut cursor)));
            let result = result.unwrap_or(Err(DecodeError::Panicked));
            decoder.shared.drained.store(true, Relaxed);
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

/// Where to open a decoder.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    /// The moment that is heard there, as near as can be told.
    seconds: f64,
    /// The moment from which on it is to be heard.
    from: Option<f64>,
    /// How often an offset was chosen for that.
    choices: u32,
}

/// How decoding at a place ended.
enum End {
    /// Somebody wants to hear something else.
    Asked,
    /// Go on there.
    GoOn(Place),
    /// The stream is complete, and decoded to its end.
    Complete,
    /// Nobody plays it any more.
    Cancelled,
    /// The source failed, and all that came is decoded.
    Failed(Arc<StorageError>),
}

/// The thread's side.
struct Decoder<D: DriverIo> {
    options: DecodeOptions,
    /// To look at what is there; what is decoded is read by the cursor.
    reader: Reader<D>,
    /// Hears where the reading goes on each time that it does not go on where it was.
    moved: Moved,
    timeline: Arc<Timeline>,
    shared: Arc<Shared>,
    sink: Sink,
    place: Place,
    /// What each connection was found to send, by its first byte.
    containers: Vec<(u64, Container)>,
    /// The moment of the programme at which the frames' own time is nought, by the first byte of their stream.
    bases: Vec<(u64, f64)>,
    /// Since there nothing could be decoded.
    barren_from: u64,
    /// Where it was lost the last time, since it came to where it is.
    lost_at: Option<u64>,
}

impl<D: DriverIo> Decoder<D> {
    fn run(&mut self, cursor: &mut Cursor<D>) -> Result<(), DecodeError> {
        if !self.options.live {
            self.look_at_the_beginning();
        }
        loop {
            // First the epoch: a seek that comes behind it makes what follows stale.
            self.sink.begin();
            if let Some(target) = self.shared.take_target() {
                self.place = self.locate(target, 0);
                (self.barren_from, self.lost_at) = (self.place.offset, None);
            }
            let end = self.decode(cursor, self.place)?;
            match end {
                End::Asked if self.sink.is_gone() => return Ok(()),
                End::Asked => {}
                End::GoOn(place) => {
                    self.sink.disturb_clock();
                    self.place = place;
                }
                End::Cancelled => return Ok(()),
                End::Complete | End::Failed(_) => {
                    // A seek may come in between.
                    if self.sink.drain().is_continue() && self.wait_for_the_end().is_break() {
                        self.sink.finish();
                        return match end {
                            End::Failed(reason) => Err(DecodeError::Stream(reason)),
                            _ => Ok(()),
                        };
                    }
                    if self.sink.is_gone() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// All is decoded. Until it is played, somebody may still want to hear it again.
    fn wait_for_the_end(&self) -> ControlFlow<()> {
        self.shared.drained.store(true, Relaxed);
        loop {
            if self.shared.is_asked() {
                self.shared.drained.store(false, Relaxed);
                return ControlFlow::Continue(());
            }
            let left = self.sink.queued();
            if left <= LAST_WORDS || self.shared.cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            thread::park_timeout((left - LAST_WORDS).max(Duration::from_millis(5)));
        }
    }

    /// What a file begins with, which nobody has looked at while it came.
    fn look_at_the_beginning(&mut self) {
        let start = self.place.offset;
        let mut scanner = HeadScanner::new(start);
        let (mut piece, mut at) = ([0; 4096], start);
        let mut found = false;
        while !found && !scanner.is_behind_head() && !self.shared.cancel.is_cancelled() {
            // Whatever is wrong, whoever reads next is told.
            let Ok(length @ 1..) = self.reader.read_at(at, &mut piece) else { return };
            if let Some(container) = Container::with_index(&piece[..length]).filter(|_| at == start) {
                drop_in(&mut self.containers, start, container);
            }
            at += length as u64;
            scanner.push(&piece[..length], |head| {
                self.timeline.begun(head);
                found = true;
            });
        }
    }

    /// The place to open a decoder at, for somebody who wants to hear the target.
    fn locate(&self, target: Target, choices: u32) -> Place {
        let window = self.reader.valid_window();
        let edge = self.reader.live_edge();
        let last = if self.options.live { edge } else { self.file_len().unwrap_or(edge) };
        let seconds = match target {
            Target::Seconds(seconds) => seconds.max(0.0),
            Target::Live => {
                let lead = self.options.live_lead + self.shared.portion();
                self.timeline.seconds_at(last).unwrap_or(0.0) - lead.as_secs_f64()
            }
        };
        let wanted = self.timeline.offset_at(seconds - PREROLL_SECONDS).unwrap_or(0);
        let oldest = window.map_or(0, |window| self.oldest_safe(window));
        let offset = wanted.clamp(oldest.min(last), last);
        let at = self.timeline.seconds_at(offset).unwrap_or(0.0);
        Place { offset, seconds: at, from: Some(seconds).filter(|&seconds| seconds > at), choices }
    }

    /// The oldest byte that a reader that begins there can hope to read.
    fn oldest_safe(&self, window: roundelay::Span) -> u64 {
        if window.start == 0 {
            return 0;
        }
        let margin = self.timeline.bytes_per_second(window.end, 30.0).unwrap_or(16e3) * MARGIN_SECONDS;
        window.start + (margin as u64).min(window.len() / 4)
    }

    fn file_len(&self) -> Option<u64> {
        self.reader.final_len().or_else(|| self.reader.expected_len())
    }

    /// Decodes from a place on until something ends that.
    fn decode(&mut self, cursor: &mut Cursor<D>, place: Place) -> Result<End, DecodeError> {
        let opening = match self.opening(cursor, place) {
            Ok(opening) => opening,
            Err(stop) => return self.end_of(stop, place),
        };
        let progress = Arc::new(Progress::new(opening.start, opening.container, self.options.live));
        let whole_file = !self.options.live && opening.front.is_empty();
        let file_len = self.file_len().filter(|_| whole_file);
        let source = StreamReader {
            cursor,
            timeline: self.timeline.clone(),
            shared: self.shared.clone(),
            connection: opening.start,
            front: opening.front.clone(),
            taken: 0,
            progress: progress.clone(),
            moved: self.moved.clone(),
            // Only what has an index is sought in: a probe that looked for the end would stall.
            seekable_len: file_len.filter(|_| opening.container.is_some_and(Container::has_index)),
        };
        let left = self.file_len().filter(|_| !self.options.live).map(|len| len.saturating_sub(opening.start));
        let source_len = left.map(|left| left + opening.front.len() as u64);
        let mut demuxer = match Demuxer::open(source, opening.container, source_len) {
            Ok(demuxer) => demuxer,
            Err(reason) => return self.failed_to_open(reason, &progress, &opening, place),
        };
        progress.opened(demuxer.container);
        if opening.container.is_none() {
            drop_in(&mut self.containers, opening.start, demuxer.container);
        }
        let has_index = demuxer.container.has_index();
        if let Some(from) = place.from.filter(|_| has_index) {
            demuxer.seek(from);
        }
        let mut clock = Clock { seconds: place.seconds, exact: demuxer.container.says_when(), base: None };
        clock.base = match opening.head.and_then(|start| noted(&self.bases, start)) {
            None if !self.options.live => Some(0.0),
            base => base,
        };
        if let (Some(offset), Some(seconds)) = (file_len, demuxer.duration()) {
            self.timeline.ends(Moment { offset, seconds });
        }
        if let Some(title) = demuxer.title() {
            self.timeline.titled(opening.head.unwrap_or(opening.start), title);
        }
        let mut failed = 0;
        let stop = loop {
            if self.shared.cancel.is_cancelled() {
                break Some(Stop::Cancelled);
            }
            let packet = match demuxer.next_packet() {
                Ok(Some(packet)) => packet,
                Err(SymphoniaError::DecodeError(_)) if progress.stop().is_none() => {
                    self.shared.broken.fetch_add(1, Relaxed);
                    failed += 1;
                    match failed > MOST_FAILED_PACKETS {
                        // Such an index has no end: it says the same again without any reading.
                        true if has_index => break Some(Stop::Complete),
                        true => break Some(Stop::Silent),
                        false => continue,
                    }
                }
                Err(SymphoniaError::ResetRequired) => {
                    // Another stream follows in the same connection, with a head and a time of its own.
                    clock.base = None;
                    demuxer.reset().map_err(|reason| self.unsupported(reason, opening.start))?;
                    if let Some(title) = demuxer.title() {
                        let here = progress.read_to();
                        self.timeline.titled(self.timeline.head_at(here).map_or(here, |(start, _)| start), title);
                    }
                    continue;
                }
                // Some files have more behind their audio: tags, or nothing that means anything.
                Ok(None) if !self.options.live => break progress.stop().or(Some(Stop::Complete)),
                Ok(None) | Err(_) => break progress.stop(),
            };
            // What does not look like a frame is passed over in silence.
            let skipped = progress.packet(&packet);
            let codec_name = demuxer.codec_name;
            let Ok((format, samples)) = demuxer.decode(&packet) else {
                // A packet that cannot be decoded is a moment of noise on the line, and no reason to stop.
                self.shared.broken.fetch_add(1, Relaxed);
                failed += 1;
                // What is in front is gone through in any case, and to a place in an index there is no other way.
                if failed > MOST_FAILED_PACKETS && !has_index && progress.read_to() > opening.start {
                    break Some(Stop::Silent);
                }
                continue;
            };
            failed = 0;
            progress.good();
            if samples.is_empty() {
                continue;
            }
            let mut missing = skipped;
            let read_to = progress.read_to();
            self.barren_from = read_to;
            if let Some(when) = packet.seconds.filter(|_| clock.exact) {
                let base = clock.base.unwrap_or_else(|| self.new_base(read_to, clock.seconds - when));
                clock.base = Some(base);
                missing |= base + when > clock.seconds + LEAST_GAP_SECONDS;
                clock.seconds = base + when;
            }
            self.shared.broken.fetch_add((missing && progress.has_settled()).into(), Relaxed);
            let may_move = !progress.has_settled() && clock.exact && !has_index;
            let here = Moment { offset: read_to, seconds: clock.seconds };
            if may_move && let Some(better) = self.better_place(place, here) {
                return Ok(End::GoOn(better));
            }
            progress.settle();
            *lock(&self.shared.format) = Some((codec_name, format));
            let rate_hz = f64::from(format.rate_hz);
            let frames = samples.len() / format.channels;
            let early = place.from.map_or(0.0, |from| ((from - clock.seconds) * rate_hz).round().max(0.0)) as usize;
            if early < frames {
                let seconds = clock.seconds + early as f64 / rate_hz;
                let lead = self.lead(read_to);
                let moment = Moment { offset: read_to, seconds };
                if self.sink.write(format, &samples[early * format.channels..], moment, lead)?.is_break() {
                    break Some(Stop::Interrupted);
                }
            }
            clock.seconds += frames as f64 / rate_hz;
        };
        drop(demuxer);
        let offset = match stop {
            // Something else began where the last good packet ended.
            Some(Stop::Silent) | None if progress.good_to() > opening.start => progress.good_to(),
            _ => progress.read_to(),
        };
        let here = Place { offset, seconds: clock.seconds, from: None, choices: 0 };
        match stop {
            Some(stop) => self.end_of(stop, here),
            // Symphonia has had enough, and neither the stream nor anybody else: there is something else now.
            None => self.lost(here),
        }
    }

    /// How to open a decoder there.
    fn opening(&self, cursor: &mut Cursor<D>, place: Place) -> Result<Opening, Stop> {
        let connection = self.timeline.connection_start(place.offset);
        let head = self.timeline.head_at(place.offset);
        let mut container = latest(&self.containers, connection, place.offset);
        let (mut start, mut front) = (place.offset, Arc::default());
        if container.is_some_and(Container::has_index) {
            // From its index, wherever that stands.
            start = connection;
        } else if place.offset == connection {
            // Whoever begins with a connection looks at what comes, whatever came before.
            container = None;
        }
        if let Some((begins, head)) = head.as_ref().filter(|(begins, head)| head.covers(place.offset - begins)) {
            let behind = begins + head.len;
            // Where it was lost in what was taken for a head, its beginning leads there again.
            let at = if self.lost_at == Some(place.offset) { place.offset.max(behind) } else { place.offset };
            if at < behind && head.len <= MAX_SYMPHONIA_HEAD_BYTES {
                start = *begins;
            } else {
                let at = at.max(behind);
                start = match head.kind {
                    HeadKind::Flac => at,
                    HeadKind::Wav { block_bytes, .. } => at - (at - behind) % u64::from(block_bytes),
                    HeadKind::Ogg => self.next_page(cursor, at)?,
                };
                front = head.in_front_of(start - begins);
            }
        }
        (self.moved)(start);
        match cursor.seek_to(start) {
            Ok(_) => Ok(Opening { start, front, container, head: head.map(|(start, _)| start) }),
            // The only error that there is.
            Err(_) => Err(Stop::Lapped),
        }
    }

    /// The moment of the programme at which a stream's own time is nought, as it turns out with its first packet.
    fn new_base(&mut self, read_to: u64, base: f64) -> f64 {
        /// Streams of long ago are of no use.
        const MOST: usize = 256;
        if let Some((start, _)) = self.timeline.head_at(read_to)
            && noted(&self.bases, start).is_none()
        {
            self.bases.push((start, base));
            if self.bases.len() > MOST {
                self.bases.remove(0);
            }
        }
        base
    }

    /// Where to begin instead of at `place`, now that it is known which moment is heard there.
    fn better_place(&self, place: Place, here: Moment) -> Option<Place> {
        let from = place.from.filter(|_| place.choices < MOST_CHOICES)?;
        let off = here.seconds - from;
        if (-MOST_DROPPED_SECONDS..=MOST_LATE_SECONDS).contains(&off) {
            return None;
        }
        // The clock learns of it.
        self.timeline.passed(here);
        let mut better = self.locate(Target::Seconds(from), place.choices + 1);
        if off > MOST_LATE_SECONDS {
            // A decoder begins at the next page or frame, which may be long: before it, then, and each time by more.
            let rate = self.timeline.bytes_per_second(here.offset, 30.0).unwrap_or(0.0);
            let back = (off * rate) as u64 + (LEAST_STEP_BYTES << place.choices);
            let oldest = self.reader.valid_window().map_or(0, |window| self.oldest_safe(window));
            better.offset = better.offset.min(place.offset).saturating_sub(back).max(oldest);
            better.seconds = self.timeline.seconds_at(better.offset).unwrap_or(0.0);
            better.from = Some(from);
        }
        Some(better).filter(|better| better.offset != place.offset)
    }

    /// What is between the decoder and the live edge, in seconds, if the stream is live and it can be told.
    fn lead(&self, read_to: u64) -> Option<f64> {
        if !self.options.live {
            return None;
        }
        let edge = self.reader.live_edge();
        let rate = self.timeline.bytes_per_second(read_to, 30.0)?;
        Some(edge.saturating_sub(read_to) as f64 / rate)
    }

    fn failed_to_open(
        &mut self,
        reason: OpenError,
        progress: &Progress,
        opening: &Opening,
        place: Place,
    ) -> Result<End, DecodeError> {
        let here = Place { offset: progress.read_to(), from: None, choices: 0, ..place };
        let stop = progress.stop();
        match (reason, stop) {
            (_, Some(stop @ (Stop::Interrupted | Stop::Cancelled | Stop::Lapped))) => self.end_of(stop, here),
            // Too little of a connection to be anything. What it was before may come with the next one.
            (_, Some(stop)) if self.sink.has_played() => self.end_of(stop, here),
            (_, Some(Stop::Failed(reason))) if opening.start == here.offset => Ok(End::Failed(reason)),
            // What was known of it is so no longer.
            (OpenError::Symphonia(_), _) if opening.container.is_some() => self.lost(here),
            (OpenError::Symphonia(_), _) if self.sink.has_played() || self.lost_at.is_some() => self.lost(here),
            (reason, _) => Err(self.unsupported(reason, opening.start)),
        }
    }

    /// What comes is no longer what it was: whatever it is, it is looked at anew.
    fn lost(&mut self, here: Place) -> Result<End, DecodeError> {
        self.shared.broken.fetch_add(1, Relaxed);
        let is_behind = !self.options.live && self.file_len().is_some_and(|len| here.offset >= len);
        if is_behind && self.sink.has_played() {
            return Ok(End::Complete);
        }
        if is_behind || here.offset.saturating_sub(self.barren_from) > MOST_BARREN_BYTES {
            let reason = SymphoniaError::Unsupported("for some time there was no audio in it");
            return Err(self.unsupported(reason.into(), here.offset));
        }
        // Whatever is done about it, it goes on: nothing is to be tried at the same place for ever.
        let offset = match self.lost_at {
            Some(before) if here.offset <= before => before + LOST_STEP_BYTES,
            _ => here.offset,
        };
        self.lost_at = Some(offset);
        drop_in(&mut self.containers, offset, Container::Unknown);
        Ok(End::GoOn(Place { offset, ..here }))
    }

    fn unsupported(&self, reason: OpenError, offset: u64) -> DecodeError {
        match reason {
            OpenError::Codec(codec) => DecodeError::Codec { codec },
            OpenError::Symphonia(reason) => {
                let connection = self.timeline.connection_at(offset).unwrap_or_default();
                let content_type = connection.content_type.unwrap_or_else(|| "not said of what type".to_owned());
                DecodeError::Unsupported { content_type, reason }
            }
        }
    }

    /// What follows from the reason for which there are no more bytes.
    fn end_of(&mut self, stop: Stop, here: Place) -> Result<End, DecodeError> {
        Ok(match stop {
            Stop::Interrupted => End::Asked,
            Stop::Cancelled => End::Cancelled,
            Stop::Complete => End::Complete,
            Stop::Failed(reason) => End::Failed(reason),
            Stop::Boundary(next) => End::GoOn(Place { offset: next, ..here }),
            Stop::Silent => return self.lost(here),
            Stop::Lapped => {
                self.shared.laps.fetch_add(1, Relaxed);
                if self.options.when_lapped == WhenLapped::Live {
                    return Ok(End::GoOn(self.locate(Target::Live, 0)));
                }
                let window = self.reader.valid_window().unwrap_or_default();
                let offset = self.oldest_safe(window).max(here.offset);
                let seconds = self.timeline.seconds_at(offset).unwrap_or(here.seconds);
                End::GoOn(Place { offset, seconds, from: None, choices: 0 })
            }
        })
    }

    /// The first page of Ogg at or behind `offset`.
    fn next_page(&self, cursor: &Cursor<D>, offset: u64) -> Result<u64, Stop> {
        /// No page is longer.
        const MOST_PAGE_BYTES: u64 = 65_307;
        let mut piece = [0; 4096];
        let mut at = offset;
        while at < offset + MOST_PAGE_BYTES {
            let length = stream::read_at(cursor.reader(), &self.shared, at, &mut piece)?;
            if length == 0 {
                break;
            }
            if let Some(found) = find_page(&piece[..length]) {
                return Ok(at + found as u64);
            }
            // A page may begin at the end of one piece and go on in the next.
            at += (length as u64).saturating_sub(3).max(1);
        }
        Ok(offset)
    }
}

/// How a decoder is opened.
struct Opening {
    /// The first byte of the stream that it gets.
    start: u64,
    /// What it gets before that.
    front: Arc<[u8]>,
    /// What it is, if that is known.
    container: Option<Container>,
    /// The first byte of its stream, if that has a head.
    head: Option<u64>,
}

/// Which moment it is.
struct Clock {
    seconds: f64,
    /// The packets say so themselves.
    exact: bool,
    base: Option<f64>,
}

/// What is noted of the connection that began at `connection`, or of the last stretch of it before `offset`.
fn latest(containers: &[(u64, Container)], connection: u64, offset: u64) -> Option<Container> {
    let noted = containers.iter().rfind(|&&(start, _)| (connection..=offset).contains(&start));
    noted.map(|&(_, container)| container).filter(|&container| container != Container::Unknown)
}

fn noted(bases: &[(u64, f64)], start: u64) -> Option<f64> {
    bases.iter().find(|&&(noted, _)| noted == start).map(|&(_, base)| base)
}

/// Notes what begins at `start`; in order.
fn drop_in(containers: &mut Vec<(u64, Container)>, start: u64, container: Container) {
    /// Connections of long ago are of no use.
    const MOST: usize = 256;
    containers.retain(|&(noted, _)| noted != start);
    let at = containers.partition_point(|&(noted, _)| noted < start);
    containers.insert(at, (start, container));
    if containers.len() > MOST {
        containers.remove(0);
    }
}

#[cfg(test)]
mod tests;
