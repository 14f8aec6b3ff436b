//! The whole chain, from a station to an output:
//!
//! ```text
//!  station ─HTTP─► source ─► ring ─► decoder ─► frames ─► callback ─► output
//!                    │        │         │          └─tap─► level meter
//!                    └────────┴─ timeline (titles, connections) ─► status
//! ```
//!
//! Four threads: the source waits for the network, the decoder for bytes and for room, the output for its next period,
//! and this one shows the status and waits for any of them to be done.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use roundelay::pcm::{PcmReader, Tap};
use roundelay::{CancelToken, Reader, Resource, RingDriver, RingOptions, StorageError};
use thiserror::Error;

use crate::decode::{DecodeError, Decoding, Format};
use crate::output::{DeviceState, Output, OutputError, Playback, Scheduling, Timings};
use crate::source::{Source, SourceError};
use crate::status::{Display, Meter, Phase, Snapshot};
use crate::summary::Summary;
use crate::timeline::Timeline;

/// What the ring holds: some ten seconds of FLAC, a minute of MP3.
const RING_BYTES: usize = 1 << 20;

/// The status is drawn this often.
const REDRAW: Duration = Duration::from_millis(100);

/// Over so long the bit rate is an average.
const BIT_RATE_SECONDS: u64 = 5;

/// The level meter looks at so many frames before the playhead: 43 ms at 48 kHz.
const METER_FRAMES: usize = 2_048;

/// What to play, and where to.
#[derive(Debug)]
pub struct PlayOptions {
    /// The station.
    pub url: String,
    /// The output, open.
    pub output: Output,
    /// Stop after so much audio.
    pub limit: Option<Duration>,
}

/// Why there is nothing to hear, or no more.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlayError {
    /// The station.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The decoder.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The ring.
    #[error("cannot open the ring: {0}")]
    Storage(#[from] StorageError),
}

/// What the threads have to say, and the user.
enum Event {
    /// The user has had enough.
    Stop,
    /// The format is known, and here is the end from which frames are played.
    Opened(PcmReader<f32>, Format),
    /// Nothing more comes from the station.
    Received(Result<(), SourceError>),
    /// Nothing more is decoded.
    Decoded(Result<(), DecodeError>),
    /// The output's device has gone, or is back.
    Device(DeviceState),
    /// Nothing more is played.
    Played(Result<Scheduling, OutputError>),
}

/// Stops a player from another thread, such as a signal handler's. Can be made before the player is.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Event>);

impl Stopper {
    /// Stops the player. Once is enough; a player that has stopped already is left alone.
    pub fn stop(&self) {
        // An error says that there is nobody left to stop.
        let _ = self.0.send(Event::Stop);
    }
}

/// A player that waits to be given something to play.
#[derive(Debug)]
pub struct Player {
    events: Receiver<Event>,
    sender: Sender<Event>,
}

impl Default for Player {
    fn default() -> Self {
        let (sender, events) = mpsc::channel();
        Self { events, sender }
    }
}

impl Player {
    /// A handle that stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Plays until the stream ends, the limit is reached, or it is stopped, and says what it came to.
    ///
    /// # Errors
    /// If the station cannot be listened to, its stream not be decoded, or the output not be written.
    pub fn play(self, options: PlayOptions, display: &mut Display) -> Result<Summary, PlayError> {
        let output_name = options.output.to_string();
        let mut chain = Chain::start(options, &self.sender)?;
        let result = chain.run(&self.events, display);
        display.finish();
        let summary = chain.finish(&self.events, output_name);
        result?;
        Ok(summary?)
    }
}

/// All the parts, at work.
struct Chain {
    cancel: CancelToken,
    reader: Reader<RingDriver>,
    timeline: Arc<Timeline>,
    source: Source,
    decoding: Decoding,
    /// Until the decoder knows what to play.
    output: Option<Output>,
    sender: Sender<Event>,
    playing: Option<Playing>,
    limit: Option<Duration>,
    device: DeviceState,
    scheduling: Option<Scheduling>,
}

/// What there is once frames are played.
struct Playing {
    playback: Playback,
    timings: Timings,
    tap: Tap<f32>,
    meter: Meter,
    metered_at: Instant,
    rate_hz: u32,
}

impl Chain {
    fn start(options: PlayOptions, sender: &Sender<Event>) -> Result<Self, PlayError> {
        let PlayOptions { url, output, limit } = options;
        let cancel = CancelToken::new();
        let ring = Resource::open(cancel.clone(), RingOptions::new(RING_BYTES))?;
        let timeline = Arc::<Timeline>::default();
        let source = Source::listen(&url, ring.writer()?, timeline.clone(), tell(sender, Event::Received))?;
        let opened = sender.clone();
        let decoding = Decoding::start(
            &ring,
            timeline.clone(),
            cancel.clone(),
            // Here as in `tell`: an error says that nobody listens any more.
            move |reader, format| drop(opened.send(Event::Opened(reader, format))),
            tell(sender, Event::Decoded),
        )?;
        Ok(Self {
            cancel,
            reader: ring.reader(),
            timeline,
            source,
            decoding,
            output: Some(output),
            sender: sender.clone(),
            playing: None,
            limit,
            device: DeviceState::Playing,
            scheduling: None,
        })
    }

    /// Shows the status until something ends it.
    fn run(&mut self, events: &Receiver<Event>, display: &mut Display) -> Result<(), PlayError> {
        // A source that failed fails the ring, and so the decoder, which then knows less of the reason.
        let mut source_error = None;
        let mut decode_error = None;
        let mut redraw_at = Instant::now();
        loop {
            match events.recv_timeout(redraw_at.saturating_duration_since(Instant::now())) {
                Ok(Event::Stop) => return Ok(()),
                Ok(Event::Opened(reader, format)) => self.start_output(reader, format)?,
                Ok(Event::Received(result)) => source_error = result.err(),
                Ok(Event::Decoded(result)) => {
                    decode_error = result.err();
                    // With nothing being played, there is nothing to wait for.
                    if self.playing.is_none() {
                        return first_error(source_error, decode_error);
                    }
                }
                Ok(Event::Device(state)) => self.device = state,
                Ok(Event::Played(result)) => {
                    self.scheduling = Some(result?);
                    return first_error(source_error, decode_error);
                }
                Err(RecvTimeoutError::Timeout) => {
                    redraw_at = Instant::now() + REDRAW;
                    // A terminal that is gone is no reason to stop the music.
                    let _ = display.show(&self.snapshot());
                }
                // Not while `sender` is here.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn start_output(&mut self, reader: PcmReader<f32>, format: Format) -> Result<(), PlayError> {
        // The decoder opens its frames once.
        let Some(output) = self.output.take() else { return Ok(()) };
        let tap = reader.tap();
        let limit_frames = self.limit.map(|limit| (limit.as_secs_f64() * f64::from(format.rate_hz)).round() as u64);
        let sender = self.sender.clone();
        // Here as in `tell`: an error says that nobody listens any more.
        let changed = move |state| drop(sender.send(Event::Device(state)));
        let ended = tell(&self.sender, Event::Played);
        let (playback, timings) = output.play(reader, format, limit_frames, changed, ended)?;
        let meter = Meter::new(format.channels);
        let metered_at = Instant::now();
        self.playing = Some(Playing { playback, timings, tap, meter, metered_at, rate_hz: format.rate_hz });
        Ok(())
    }

    fn snapshot(&mut self) -> Snapshot {
        let window = self.reader.valid_window().unwrap_or_default();
        let frame = self.playing.as_ref().map_or(0, Playing::playhead);
        let heard = self.timeline.offset_of(frame).unwrap_or(window.start).clamp(window.start, window.end);
        let connection = self.timeline.connection_at(heard).unwrap_or_default();
        let mut snapshot = Snapshot {
            phase: self.phase(frame),
            title: self.timeline.title_at(heard).filter(|title| !title.is_empty()).or(connection.station_name),
            played: Duration::ZERO,
            limit: self.limit,
            window_capacity: self.reader.capacity(),
            behind_bytes: heard - window.start,
            ahead_bytes: window.end - heard,
            bits_per_second: None,
            levels: Vec::new(),
            underruns: 0,
            callback_ns: Default::default(),
        };
        if let Some(playing) = &mut self.playing {
            playing.add_to(&mut snapshot, &self.timeline);
        }
        if let DeviceState::Stopped { why } = &self.device {
            snapshot.title = Some(format!("{why}; waiting for it"));
        }
        snapshot
    }

    fn phase(&self, playhead_frame: u64) -> Phase {
        match (playhead_frame, self.source.is_connected()) {
            (0, false) => Phase::Connecting,
            (0, true) => Phase::Buffering,
            (_, false) => Phase::Reconnecting,
            (_, true) => Phase::Playing,
        }
    }

    /// Stops all the parts, those at the end of the chain first, and adds up.
    fn finish(self, events: &Receiver<Event>, output: String) -> Result<Summary, OutputError> {
        let window = self.reader.valid_window().unwrap_or_default();
        let mut summary = Summary {
            output,
            window_capacity: self.reader.capacity(),
            window_bytes: window.len(),
            bytes_in: self.source.bytes_in(),
            reconnects: self.source.reconnects(),
            laps: self.decoding.laps(),
            scheduling: "nothing was played".to_owned(),
            ..Summary::default()
        };
        if let Some(playing) = self.playing {
            playing.finish(&mut summary);
        }
        self.cancel.cancel();
        self.source.stop();
        self.decoding.join();
        // Of an output that was stopped from here, the result is still on its way.
        let played = events.try_iter().find_map(|event| match event {
            Event::Played(result) => Some(result),
            _ => None,
        });
        if let Some(scheduling) = played.transpose()?.or(self.scheduling) {
            summary.scheduling = scheduling.to_string();
        }
        Ok(summary)
    }
}

impl Playing {
    /// The frame that is played next.
    fn playhead(&self) -> u64 {
        // None only while a seek is answered.
        self.tap.position().unwrap_or(0)
    }

    fn played(&self) -> Duration {
        Duration::from_secs_f64(self.playhead() as f64 / f64::from(self.rate_hz))
    }

    fn add_to(&mut self, snapshot: &mut Snapshot, timeline: &Timeline) {
        let mut heard = [0.0; METER_FRAMES];
        self.tap.latest(&mut heard);
        self.meter.show(&heard, self.metered_at.elapsed());
        self.metered_at = Instant::now();
        self.timings.collect();
        let rate_hz = f64::from(self.rate_hz);
        let bytes_per_frame = timeline.bytes_per_frame(BIT_RATE_SECONDS * u64::from(self.rate_hz));
        snapshot.played = self.played();
        snapshot.bits_per_second = bytes_per_frame.map(|bytes| bytes * 8.0 * rate_hz);
        snapshot.levels = self.meter.levels().to_vec();
        snapshot.underruns = self.tap.underruns();
        snapshot.callback_ns = self.timings.percentiles();
    }

    fn finish(mut self, summary: &mut Summary) {
        summary.device = self.playback.stop();
        self.timings.collect();
        let seconds = self.tap.position().unwrap_or(0) as f64 / f64::from(self.rate_hz);
        summary.seconds_played = (seconds * 1e3).round() / 1e3;
        summary.underruns = self.tap.underruns();
        summary.frames_missing = self.tap.missing_frames();
        summary.callbacks = self.timings.calls();
        summary.callback_ns = self.timings.percentiles();
    }
}

/// A callback that tells this thread of an event.
fn tell<T: 'static>(sender: &Sender<Event>, event: fn(T) -> Event) -> impl FnOnce(T) + Send + 'static {
    let sender = sender.clone();
    move |what| {
        // An error says that nobody listens any more.
        let _ = sender.send(event(what));
    }
}

/// The source's, since what the decoder says follows from it.
fn first_error(source: Option<SourceError>, decode: Option<DecodeError>) -> Result<(), PlayError> {
    match (source, decode) {
        (Some(error), _) => Err(error.into()),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Ok(()),
    }
}
