//! The whole chain, from an address to an output:
//!
//! ```text
//!  station ─HTTP─► source ──► ring ──┐
//!  server ─HTTP─► download ─► file ──┼─► decoder ─► converter ─► frames ─► callback ─► output
//!  disk ───────────────────► file ───┘     │                        └─tap─► level meter
//!                    └──────── timeline (titles, connections, clock) ─► status
//! ```
//!
//! The source waits for the network, the decoder for bytes and for room, the output for its next period, the keyboard for
//! a key; and this thread shows the status and does what the others, or the listener, say.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use roundelay::CancelToken;
use roundelay::pcm::{Epoch, PcmReader, Tap};
use thiserror::Error;

use crate::address::without_credentials;
use crate::decode::{DecodeError, DecodeOptions, Decoding, Format, LeftOut, Target, WhenLapped};
use crate::keys::{self, Key, Keyboard};
use crate::media::{Media, MediaError, Told, WindowSize};
use crate::output::{
    DeviceState, FlowOptions, Marks, Output, OutputError, OutputOptions, Playback, Recording, Scheduling, Timings,
    Transport,
};
use crate::playlist::List;
use crate::programme::{self, Found, Programme, ProgrammeError, Queue};
use crate::status::{Display, Meter, Phase, Position, Snapshot};
use crate::summary::Summary;
use crate::text::{for_people, printable_path};
use crate::timeline::{Moment, Timeline};

/// The status is drawn this often: as seldom as a meter can be looked at.
const REDRAW: Duration = Duration::from_millis(333);

/// Without a terminal there is less to see.
const LOOK: Duration = Duration::from_millis(1_000);

/// Over so long the bit rate is an average.
const BIT_RATE_SECONDS: f64 = 5.0;

/// The level meter looks at so many frames before the playhead: 43 ms at 48 kHz.
const METER_FRAMES: usize = 2_048;

/// What is decoded ahead of the playhead, beside the start mark. The ring keeps the rest, in fewer bytes.
const AHEAD: Duration = Duration::from_millis(1_500);

/// "Live" is so far behind the live edge, beside the start mark: nobody wants to hear every stutter of the network.
const LIVE_LEAD: Duration = Duration::from_millis(500);

/// So long before a paused listener is overtaken, that is said.
const LAP_WARNING_SECONDS: f64 = 60.0;

/// With less than this left of what was asked for, all of it was played: a frame is a fraction of it.
const LEAST_LEFT: Duration = Duration::from_millis(1);

/// In the summary, in place of how the output's thread was scheduled.
const NOTHING_PLAYED: &str = "nothing was played";

/// What to play, and how.
#[derive(Clone, Debug)]
pub struct PlayOptions {
    /// A URL, or a path.
    pub address: String,
    /// The output.
    pub output: OutputOptions,
    /// Stop after so much audio, of a playlist all together.
    pub limit: Option<Duration>,
    /// How much of a live stream is kept.
    pub window: WindowSize,
    /// How much audio there has to be.
    pub marks: Marks,
    /// What becomes of a listener who is overtaken.
    pub when_lapped: WhenLapped,
    /// Connections at once, for a file.
    pub connections: u8,
    /// Where titles are noted as they are heard.
    pub title_log: Option<PathBuf>,
    /// Whether keys are read.
    pub keys: bool,
    /// Said once the output is there.
    pub introduction: Option<String>,
}

impl PlayOptions {
    /// For an address, with all else as most people have it.
    #[must_use]
    pub fn new(address: impl Into<String>, output: OutputOptions) -> Self {
        Self {
            address: address.into(),
            output,
            limit: None,
            window: WindowSize::Time(Duration::from_secs(600)),
            marks: Marks::default(),
            when_lapped: WhenLapped::default(),
            connections: 4,
            title_log: None,
            keys: false,
            introduction: None,
        }
    }
}

/// Why there is nothing to hear, or no more.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlayError {
    /// There is nothing at the address.
    #[error(transparent)]
    Programme(#[from] ProgrammeError),
    /// It cannot be received.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The decoder.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The file for titles.
    #[error("cannot write titles to {}: {reason}", printable_path(.path))]
    TitleLog {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        reason: io::Error,
    },
    /// The file to be played is the one to be written.
    #[error("{} is what is to be played: give the name of another file to write", printable_path(.path))]
    Itself {
        /// Its path.
        path: PathBuf,
    },
    /// Nothing in a list can be played.
    #[error("nothing in the playlist {} can be played; the last one: {last}", without_credentials(.address))]
    NoneOf {
        /// Where it is.
        address: String,
        /// Why the last entry cannot.
        last: Box<Self>,
    },
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl PlayError {
    /// Whether something else may be played all the same.
    fn is_of_what_is_played(&self) -> bool {
        matches!(self, Self::Programme(_) | Self::Media(_) | Self::Decode(_))
    }

    /// Whether it is of no use to hear that it was the last of a list.
    fn says_it_all(&self) -> bool {
        matches!(self, Self::Programme(ProgrammeError::Endless { .. }))
    }
}

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was played, also before something failed.
    pub summary: Summary,
    /// Whether it ended well.
    pub result: Result<(), PlayError>,
    /// Whether all of it was heard, as far as that can be told: no entry of a list was passed over, no part of a
    /// stream, and no packet of a file. A station may have noise on its line.
    pub is_whole: bool,
}

impl Outcome {
    /// What was played, if it ended well.
    ///
    /// # Errors
    /// Why it did not.
    pub fn into_result(self) -> Result<Summary, PlayError> {
        self.result.map(|()| self.summary)
    }
}

/// What the threads have to say, and the user.
enum Event {
    /// The user has had enough.
    Stop,
    /// A key was pressed, or the terminal changed.
    Key(Key),
    /// It is known what there is at the address.
    Found(Box<Result<Found, ProgrammeError>>),
    /// The format is known, and here is the end from which frames are played.
    Opened(PcmReader<f32>, Format),
    /// Nothing more comes.
    Received(Result<(), MediaError>),
    /// Something is not heard.
    LeftOut(LeftOut),
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
    began: Instant,
}

impl Default for Player {
    fn default() -> Self {
        let (sender, events) = mpsc::channel();
        Self { events, sender, began: Instant::now() }
    }
}

/// How a programme ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All of it was played, or as much as was asked for.
    Played,
    /// The listener has had enough.
    Stopped,
}

impl Player {
    /// A handle that stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Plays until the stream ends, the limit is reached, or it is stopped, and says what it came to. Of a playlist of
    /// files, plays one after the other, and passes over what cannot be played.
    pub fn play(self, options: &PlayOptions, display: &mut Display) -> Outcome {
        let mut summary = Summary { scheduling: NOTHING_PLAYED.to_owned(), ..Summary::default() };
        let mut is_whole = true;
        let result = self.play_all(options, display, &mut summary, &mut is_whole);
        Outcome { is_whole: is_whole && summary.skipped == 0, summary, result }
    }

    fn play_all(
        &self,
        options: &PlayOptions,
        display: &mut Display,
        summary: &mut Summary,
        is_whole: &mut bool,
    ) -> Result<(), PlayError> {
        let mut titles = options.title_log.as_ref().map(TitleLog::open).transpose()?;
        // What can fail for a wrong argument fails before anything has begun.
        let output = Output::open(&options.output)?;
        summary.output = output.to_string();
        if let Some(introduction) = &options.introduction {
            display.announce(introduction);
        }
        let mut note = output.note();
        let recording = output.recording();
        let mut output = Some(output);
        let keyboard = self.open_keyboard(options, display);
        let mut queue = Queue::new(&options.address);
        let mut left = options.limit;
        let (mut is_list, mut any_played) = (false, false);
        while let Some(address) = queue.take_next() {
            let Some(found) = self.find(&address, keyboard.as_ref(), display) else { return Ok(()) };
            let result = match found {
                Ok(Found::List(List { entries, left_out, first_left_out })) => {
                    is_list = true;
                    summary.skipped += left_out as u64;
                    if let Some(first) = first_left_out {
                        let list = without_credentials(&address);
                        display.announce(&format!("left out of the playlist {list}: {left_out}, the first {first:?}"));
                    }
                    for entry in &entries {
                        not_the_recording(recording.as_ref(), Path::new(&entry.address))?;
                    }
                    match queue.put(&address, entries) {
                        Ok(()) => continue,
                        Err(error) => Err(error.into()),
                    }
                }
                Ok(Found::Programme(mut programme)) => {
                    match &mut *programme {
                        Programme::Local { path } => not_the_recording(recording.as_ref(), path)?,
                        Programme::Live { route, .. } => *route = queue.route(),
                        Programme::Remote(_) => {}
                    }
                    let opened = match (output.take(), &recording) {
                        (Some(output), _) => output,
                        (None, Some(recording)) => Output::to_recording(recording.clone(), &options.output),
                        (None, None) => Output::open(&options.output)?,
                    };
                    if let Some(note) = note.take() {
                        display.announce(&note);
                    }
                    let is_live = Media::is_live(&programme);
                    let chain = Chain::start(*programme, opened, left, options, &self.sender, self.began);
                    chain.and_then(|mut chain| {
                        let ended = chain.run(&self.events, keyboard.as_ref(), titles.as_mut(), display);
                        display.finish();
                        let finished = chain.finish(&self.events, titles.as_mut());
                        *is_whole &= is_live || finished.summary.broken == 0;
                        *summary = std::mem::take(summary).and(finished.summary);
                        left = left.map(|left| left.saturating_sub(finished.played));
                        finished.result?;
                        // A stream that has ended is not followed by another: it would have gone on.
                        let is_last = is_live || left.is_some_and(|left| left < LEAST_LEFT);
                        ended.map(|ended| if is_last || finished.stopped { Ended::Stopped } else { ended })
                    })
                }
                Err(error) => Err(error.into()),
            };
            match result {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Played) => {
                    any_played = true;
                    queue.played();
                }
                Err(error) if !error.is_of_what_is_played() => return Err(error),
                Err(error) => match (queue.is_elsewhere(), queue.failed(), any_played) {
                    (is_elsewhere, has_more @ true, _) | (is_elsewhere, has_more, true) => {
                        summary.skipped += u64::from(!is_elsewhere);
                        display.announce(&format!("passed over: {error}"));
                        if !has_more {
                            return Ok(());
                        }
                    }
                    (_, false, false) if is_list && !error.says_it_all() => {
                        let (address, last) = (options.address.clone(), Box::new(error));
                        return Err(PlayError::NoneOf { address, last });
                    }
                    (_, false, false) => return Err(error),
                },
            }
        }
        Ok(())
    }

    fn open_keyboard(&self, options: &PlayOptions, display: &mut Display) -> Option<Keyboard> {
        if !options.keys {
            return None;
        }
        let sender = self.sender.clone();
        let keyboard = Keyboard::open(move |key| sender.send(Event::Key(key)).is_ok())?;
        display.set_keys(keys::HELP);
        let sender = self.sender.clone();
        // Without it, a suspended player is not drawn anew when it goes on.
        let _ = keys::watch_signals(move |key| drop(sender.send(Event::Key(key))));
        Some(keyboard)
    }

    /// Looks what there is at an address; `None` if it is stopped meanwhile.
    fn find(
        &self,
        address: &str,
        keyboard: Option<&Keyboard>,
        display: &mut Display,
    ) -> Option<Result<Found, ProgrammeError>> {
        let (sender, asked) = (self.sender.clone(), address.to_owned());
        let look = move || {
            // An error says that nobody listens any more.
            let _ = sender.send(Event::Found(Box::new(programme::find(&asked))));
        };
        // Not waited for if the listener leaves: it may be calling an address that never answers.
        if thread::Builder::new().name("find".into()).spawn(look).is_err() {
            return Some(programme::find(address));
        }
        loop {
            match self.events.recv_timeout(REDRAW) {
                Ok(Event::Stop | Event::Key(Key::Quit)) => {
                    display.finish();
                    return None;
                }
                Ok(Event::Key(Key::Suspend)) => suspend(keyboard, display),
                Ok(Event::Found(found)) => return Some(*found),
                Ok(_) => {}
                Err(_) => {
                    // A terminal that is gone is no reason to stop.
                    let _ =
                        display.show(&Snapshot { title: Some(without_credentials(address)), ..Snapshot::default() });
                }
            }
        }
    }
}

/// What is played is not to be written over.
fn not_the_recording(recording: Option<&Recording>, path: &Path) -> Result<(), PlayError> {
    match recording {
        Some(recording) if recording.is(path) => Err(PlayError::Itself { path: path.to_owned() }),
        _ => Ok(()),
    }
}

/// Lets the terminal be somebody else's, until the program goes on.
fn suspend(keyboard: Option<&Keyboard>, display: &mut Display) {
    display.finish();
    if let Some(keyboard) = keyboard {
        keyboard.release();
    }
    keys::suspend();
    if let Some(keyboard) = keyboard {
        keyboard.take_back();
    }
}

/// All the parts, at work.
struct Chain {
    cancel: CancelToken,
    media: Media,
    timeline: Arc<Timeline>,
    decoding: Decoding,
    transport: Arc<Transport>,
    /// Until the decoder knows what to play.
    output: Option<Output>,
    output_name: String,
    sender: Sender<Event>,
    playing: Option<Playing>,
    limit: Option<Duration>,
    marks: Marks,
    is_live: bool,
    device: DeviceState,
    scheduling: Option<Scheduling>,
    /// The seek that is under way, and where it goes.
    seek: Option<(Option<Epoch>, f64)>,
    /// Said in place of the title, for a while.
    notice: Option<(String, Instant)>,
    laps: u64,
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
    fn start(
        programme: Programme,
        output: Output,
        limit: Option<Duration>,
        options: &PlayOptions,
        sender: &Sender<Event>,
        began: Instant,
    ) -> Result<Self, PlayError> {
        let cancel = CancelToken::new();
        let timeline = Arc::<Timeline>::default();
        let is_live = Media::is_live(&programme);
        let live_lead = options.marks.start + LIVE_LEAD;
        let decode = DecodeOptions {
            layout: output.layout(),
            live: is_live,
            follow_clock: is_live && output.has_clock(),
            when_lapped: options.when_lapped,
            ahead: options.marks.start.max(Marks::MOST_START) + AHEAD,
            live_lead,
        };
        let (opened, left_out) = (sender.clone(), sender.clone());
        let told = Told {
            // Here as in `tell`: an error says that nobody listens any more.
            opened: Box::new(move |reader, format| drop(opened.send(Event::Opened(reader, format)))),
            received: Box::new(tell(sender, Event::Received)),
            left_out: Box::new(move |what| drop(left_out.send(Event::LeftOut(what)))),
            decoded: Box::new(tell(sender, Event::Decoded)),
        };
        let (media, decoding) =
            Media::start(programme, options.window, options.connections, decode, &timeline, &cancel, told)?;
        Ok(Self {
            cancel,
            media,
            timeline,
            decoding,
            transport: Arc::new(Transport::new(began)),
            output_name: output.to_string(),
            output: Some(output),
            sender: sender.clone(),
            playing: None,
            limit,
            marks: options.marks,
            is_live,
            device: DeviceState::Playing,
            scheduling: None,
            seek: None,
            notice: None,
            laps: 0,
        })
    }

    /// Shows the status, and does what the listener says, until something ends it.
    fn run(
        &mut self,
        events: &Receiver<Event>,
        keyboard: Option<&Keyboard>,
        mut titles: Option<&mut TitleLog>,
        display: &mut Display,
    ) -> Result<Ended, PlayError> {
        // A source that failed fails the ring, and so the decoder, which then knows less of the reason.
        let mut media_error = None;
        let mut decode_error = None;
        let mut redraw_at = Instant::now();
        loop {
            match events.recv_timeout(redraw_at.saturating_duration_since(Instant::now())) {
                Ok(Event::Stop) => return Ok(Ended::Stopped),
                Ok(Event::Key(Key::Quit)) => return Ok(Ended::Stopped),
                Ok(Event::Key(key)) => {
                    self.press(key, keyboard, display);
                    redraw_at = Instant::now();
                }
                Ok(Event::Opened(reader, format)) => {
                    self.start_output(reader, format)?;
                    redraw_at = Instant::now();
                }
                Ok(Event::Found(_)) => {}
                Ok(Event::LeftOut(what)) => display.announce(&what.to_string()),
                Ok(Event::Received(result)) => media_error = result.err(),
                Ok(Event::Decoded(result)) => {
                    decode_error = result.err();
                    // With nothing being played, there is nothing to wait for.
                    if self.playing.is_none() {
                        return first_error(media_error, decode_error);
                    }
                }
                Ok(Event::Device(state)) => {
                    self.device = state;
                    redraw_at = Instant::now();
                }
                Ok(Event::Played(result)) => {
                    self.scheduling = Some(result?);
                    return first_error(media_error, decode_error);
                }
                Err(RecvTimeoutError::Timeout) => {
                    redraw_at = Instant::now() + if display.is_terminal() { REDRAW } else { LOOK };
                    let snapshot = self.snapshot();
                    if let Some(titles) = titles.as_deref_mut().filter(|_| self.is_heard()) {
                        let noted = titles.note(self.title_to_note().as_deref());
                        noted.unwrap_or_else(|error| display.announce(&error.to_string()));
                    }
                    // A terminal that is gone is no reason to stop the music.
                    let _ = display.show(&snapshot);
                }
                // Not while `sender` is here.
                Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Stopped),
            }
        }
    }

    fn press(&mut self, key: Key, keyboard: Option<&Keyboard>, display: &mut Display) {
        match key {
            Key::Skip(seconds) => {
                let here = match self.seek {
                    Some((_, target)) => Some(target),
                    None => self.heard().map(|heard| heard.seconds),
                };
                if let Some(here) = here {
                    self.go(Target::Seconds(here + seconds));
                }
            }
            Key::To(target) => self.go(target),
            Key::Pause => {
                let paused = !self.transport.is_paused();
                self.transport.set_paused(paused);
                self.decoding.set_idle(paused);
            }
            Key::Suspend => suspend(keyboard, display),
            Key::Redraw => {
                if let Some(keyboard) = keyboard {
                    keyboard.take_back();
                }
            }
            Key::Quit => {}
        }
    }

    fn go(&mut self, target: Target) {
        if self.playing.is_none() {
            return;
        }
        let (window, _) = self.media.window();
        let seconds_at = |offset| self.timeline.seconds_at(offset).unwrap_or(0.0);
        let (first, last) = if self.is_live {
            (seconds_at(window.start), seconds_at(window.end) - self.decoding.live_lead().as_secs_f64())
        } else {
            let len = self.media.file_len().unwrap_or(window.end);
            (0.0, self.timeline.duration().unwrap_or_else(|| seconds_at(len)) - 1.0)
        };
        let (target, seconds) = match target {
            Target::Live if self.is_live => (Target::Live, last),
            Target::Seconds(seconds) if self.is_live && seconds >= last => (Target::Live, last),
            Target::Live => return,
            Target::Seconds(wanted) => {
                if wanted < first && self.is_live && window.start > 0 {
                    self.say("as far back as there is");
                }
                let seconds = wanted.clamp(first.min(last), last.max(0.0));
                (Target::Seconds(seconds), seconds)
            }
        };
        self.transport.note_seek();
        let epoch = self.decoding.seek(target);
        self.seek = Some((epoch, seconds));
    }

    fn say(&mut self, notice: impl Into<String>) {
        /// So long a notice stands.
        const NOTICE: Duration = Duration::from_secs(4);
        self.notice = Some((notice.into(), Instant::now() + NOTICE));
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
        let flow = FlowOptions { transport: self.transport.clone(), decoder: self.decoding.state(), marks: self.marks };
        let (playback, timings) = output.play(reader, format, limit_frames, flow, changed, ended)?;
        let meter = Meter::new(format.channels);
        let metered_at = Instant::now();
        self.playing = Some(Playing { playback, timings, tap, meter, metered_at, rate_hz: format.rate_hz });
        Ok(())
    }

    /// What is heard now.
    fn heard(&self) -> Option<Moment> {
        let playing = self.playing.as_ref()?;
        self.timeline.heard(playing.playhead(), playing.rate_hz)
    }

    /// Whether anything was played yet.
    fn is_heard(&self) -> bool {
        self.playing.as_ref().is_some_and(|playing| playing.playhead() > 0)
    }

    /// What is heard, as it is noted: a station's name is no title.
    fn title_to_note(&self) -> Option<String> {
        let offset = self.heard()?.offset;
        let title = self.timeline.title_at(offset).filter(|title| !title.is_empty());
        title.or_else(|| if self.is_live { None } else { self.title_at(offset) })
    }

    /// What is heard is called.
    fn title_at(&self, offset: u64) -> Option<String> {
        let title = self.timeline.title_at(offset).filter(|title| !title.is_empty());
        title.or_else(|| self.timeline.connection_at(offset)?.station_name)
    }

    fn snapshot(&mut self) -> Snapshot {
        if self.seek.is_some_and(|(epoch, _)| self.decoding.has_landed(epoch)) {
            self.seek = None;
        }
        let (window, capacity) = self.media.window();
        let heard = self.heard();
        let at = heard.map_or(window.start, |heard| heard.offset).clamp(window.start, window.end);
        let seconds_at = |offset| self.timeline.seconds_at(offset);
        let rate = self.timeline.bytes_per_second(at, BIT_RATE_SECONDS);
        let queued = self.playing.as_ref().map_or(0.0, Playing::queued_seconds);
        let mut snapshot = Snapshot {
            phase: self.phase(queued),
            title: self.title_at(at),
            limit: self.limit,
            window_capacity: capacity,
            behind_bytes: at - window.start,
            ahead_bytes: if self.is_live { window.end - at } else { self.media.here_from(at) },
            bits_per_second: rate.map(|rate| rate * 8.0),
            is_live: self.is_live,
            codec: self.codec(),
            drift_ppm: self.decoding.drift_ppm(),
            rebuffers: self.transport.rebuffers(),
            ..Snapshot::default()
        };
        if let Some(heard) = heard {
            let seconds = self.seek.map_or(heard.seconds, |(_, target)| target);
            if self.is_live {
                snapshot.behind_seconds = seconds_at(window.start).map(|first| (heard.seconds - first).max(0.0));
                snapshot.ahead_seconds = seconds_at(window.end).map(|last| (last - heard.seconds).max(0.0));
            } else {
                let estimate = self.media.file_len().and_then(seconds_at);
                let duration = self.timeline.duration();
                let is_exact = duration.is_some();
                snapshot.position = Some(Position { seconds, duration: duration.or(estimate), is_exact });
            }
        }
        if let Some(playing) = &mut self.playing {
            playing.add_to(&mut snapshot);
        }
        snapshot.notice = self.notice(window.len(), capacity, snapshot.behind_seconds, rate);
        snapshot
    }

    /// What is more important than the title.
    fn notice(&mut self, held: u64, capacity: u64, behind: Option<f64>, rate: Option<f64>) -> Option<String> {
        if let DeviceState::Stopped { why } = &self.device {
            return Some(for_people(&format!("{why}; waiting for it")));
        }
        let laps = self.decoding.laps();
        if std::mem::replace(&mut self.laps, laps) < laps {
            self.say("overtaken: what was next has left the window");
        }
        if self.transport.is_paused()
            && self.is_live
            && let (Some(behind), Some(rate)) = (behind, rate)
        {
            let left = behind + capacity.saturating_sub(held) as f64 / rate;
            if left < LAP_WARNING_SECONDS {
                return Some(match left as u64 {
                    0 => "the window is full: what comes next is being lost".to_owned(),
                    left => format!("the window is nearly full: in {left} s what comes next will be lost"),
                });
            }
        }
        let noticed = self.notice.as_ref().filter(|(_, until)| Instant::now() < *until);
        let trouble = || self.media.trouble().map(|why| for_people(&format!("{why}; calling again")));
        noticed.map(|(notice, _)| notice.clone()).or_else(trouble)
    }

    fn codec(&self) -> Option<String> {
        let (name, format) = self.decoding.format()?;
        let channels = match format.channels {
            1 => "mono".to_owned(),
            2 => "stereo".to_owned(),
            channels => format!("{channels} channels"),
        };
        Some(format!("{name}, {} kHz, {channels}", f64::from(format.rate_hz) / 1e3))
    }

    fn phase(&self, queued: f64) -> Phase {
        let is_connected = self.media.is_connected();
        match &self.playing {
            None if is_connected => Phase::Buffering { there: Duration::ZERO, wanted: self.marks.start },
            None => Phase::Connecting,
            Some(_) if self.transport.is_paused() => Phase::Paused,
            Some(playing) if self.transport.is_buffering() && is_connected => {
                let wanted = self.transport.start_frames() as f64 / f64::from(playing.rate_hz);
                Phase::Buffering { there: Duration::from_secs_f64(queued), wanted: Duration::from_secs_f64(wanted) }
            }
            Some(_) if !is_connected && !self.decoding.state().is_drained() => Phase::Reconnecting,
            Some(_) => Phase::Playing,
        }
    }

    /// Stops all the parts, those at the end of the chain first, and adds up.
    fn finish(self, events: &Receiver<Event>, titles: Option<&mut TitleLog>) -> Finished {
        if let Some(titles) = titles.filter(|_| self.is_heard()) {
            // Of what was not written there, it was said before.
            let _ = titles.note(self.title_to_note().as_deref());
        }
        let (window, capacity) = self.media.window();
        let mut summary = Summary {
            output: self.output_name.clone(),
            window_capacity: capacity,
            window_bytes: window.len(),
            bytes_in: self.media.bytes_in(),
            reconnects: self.media.reconnects(),
            laps: self.decoding.laps(),
            broken: self.decoding.broken(),
            skipped: self.decoding.skipped(),
            drift_ppm: self.decoding.drift_ppm(),
            codec: self.codec(),
            rebuffers: self.transport.rebuffers(),
            rebuffer_frames: self.transport.silent_frames(),
            seeks: self.transport.seeks(),
            first_sound_seconds: self.transport.first_sound().map(|first| (first.as_secs_f64() * 1e3).round() / 1e3),
            scheduling: NOTHING_PLAYED.to_owned(),
            ..Summary::default()
        };
        let played = self.playing.map_or(Duration::ZERO, |playing| playing.finish(&mut summary));
        self.cancel.cancel();
        self.media.stop();
        self.decoding.join();
        // Of an output that was stopped from here, the result is still on its way.
        let (mut scheduling, mut result, mut stopped) = (self.scheduling, Ok(()), false);
        for event in events.try_iter() {
            match event {
                Event::Played(Ok(how)) => scheduling = Some(how),
                Event::Played(Err(error)) => result = Err(error),
                Event::Stop | Event::Key(Key::Quit) => stopped = true,
                _ => {}
            }
        }
        if let Some(scheduling) = scheduling {
            summary.scheduling = scheduling.to_string();
        }
        Finished { summary, played, stopped, result }
    }
}

/// What became of a chain.
struct Finished {
    summary: Summary,
    /// So much audio went to the output.
    played: Duration,
    /// The listener has had enough meanwhile.
    stopped: bool,
    result: Result<(), OutputError>,
}

impl Playing {
    /// The frame that is played next.
    fn playhead(&self) -> u64 {
        // None only while a seek is answered.
        self.tap.position().unwrap_or(0)
    }

    fn queued_seconds(&self) -> f64 {
        self.tap.queued_frames() as f64 / f64::from(self.rate_hz)
    }

    fn add_to(&mut self, snapshot: &mut Snapshot) {
        let mut heard = [0.0; METER_FRAMES];
        self.tap.latest(&mut heard);
        self.meter.show(&heard, self.metered_at.elapsed());
        self.metered_at = Instant::now();
        self.timings.collect();
        snapshot.played = Duration::from_secs_f64(self.playhead() as f64 / f64::from(self.rate_hz));
        snapshot.levels = self.meter.levels().to_vec();
        snapshot.underruns = self.tap.underruns();
        snapshot.callback_ns = self.timings.percentiles();
    }

    /// Returns how much went to the output.
    fn finish(mut self, summary: &mut Summary) -> Duration {
        summary.device = self.playback.stop();
        self.timings.collect();
        let seconds = self.tap.position().unwrap_or(0) as f64 / f64::from(self.rate_hz);
        summary.seconds_played = (seconds * 1e3).round() / 1e3;
        summary.underruns = self.tap.underruns();
        summary.frames_missing = self.tap.missing_frames();
        summary.callbacks = self.timings.calls();
        summary.callback_ns = self.timings.percentiles();
        Duration::from_secs_f64(seconds)
    }
}

/// Titles, as they are heard.
struct TitleLog {
    path: PathBuf,
    file: File,
    last: Option<String>,
    /// It can no longer be written; that is said once.
    lost: bool,
}

impl TitleLog {
    fn open(path: &PathBuf) -> Result<Self, PlayError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|reason| PlayError::TitleLog { path: path.clone(), reason })?;
        Ok(Self { path: path.clone(), file, last: None, lost: false })
    }

    fn note(&mut self, title: Option<&str>) -> Result<(), PlayError> {
        let Some(title) = title.filter(|&title| !self.lost && self.last.as_deref() != Some(title)) else {
            return Ok(());
        };
        self.last = Some(title.to_owned());
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        writeln!(self.file, "{now}\t{title}").map_err(|reason| {
            self.lost = true;
            PlayError::TitleLog { path: self.path.clone(), reason }
        })
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
fn first_error(media: Option<MediaError>, decode: Option<DecodeError>) -> Result<Ended, PlayError> {
    match (media, decode) {
        (Some(error), _) => Err(error.into()),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Ok(Ended::Played),
    }
}
