//! Decoding, from one place on until something ends that: a seek, the end of the stream, or something else that begins.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use roundelay::{Cursor, DriverIo, Reader, StorageError};
use symphonia::core::errors::Error as SymphoniaError;

use super::foreign::{self, KIND_BYTES};
use super::format::{Container, Demuxer, OpenError, Packet, Way};
use super::links;
use super::opening::{Containers, Opening, Unopened};
use super::sink::Sink;
use super::stream::{self, Progress, Stop};
use super::{DecodeError, DecodeOptions, LeftOut, Moved, Shared, Target, WhenLapped, lock};
use crate::timeline::{Moment, Timeline};

/// Between two packets of which one says that it is heard so long after the end of the other, others are missing.
const LEAST_GAP_SECONDS: f64 = 0.005;

/// After so many packets in a row that cannot be decoded, or had, there is something else.
const MOST_FAILED_PACKETS: u32 = 8;

/// Give up after this many bytes without a frame of audio.
const MOST_BARREN_BYTES: u64 = 4 << 20;

/// Where nothing could be made of the bytes, so many are passed over.
const LOST_STEP_BYTES: u64 = 4 << 10;

/// Before the end of a stream there is so much left to play when that is told: until then a seek goes on.
const LAST_WORDS: Duration = Duration::from_millis(150);

/// A file that lacks more than this of what it promises is cut.
const LEAST_CUT_SECONDS: f64 = 0.1;

/// Where to open a decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// The moment that is heard there, as near as can be told.
    pub(super) seconds: f64,
    /// The moment from which on it is to be heard.
    pub(super) from: Option<f64>,
    /// How often an offset was chosen for that.
    pub(super) choices: u32,
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
pub(super) struct Decoder<D: DriverIo> {
    pub(super) options: DecodeOptions,
    /// To look at what is there; what is decoded is read by the cursor.
    pub(super) reader: Reader<D>,
    /// Hears where the reading goes on each time that it does not go on where it was.
    pub(super) moved: Moved,
    pub(super) timeline: Arc<Timeline>,
    pub(super) shared: Arc<Shared>,
    pub(super) sink: Sink,
    left_out: Box<dyn Fn(LeftOut) + Send>,
    /// Where the stream begins.
    begin: u64,
    place: Place,
    /// What each connection was found to send, by its first byte.
    pub(super) containers: Containers,
    /// Up to there, the links of a file are noted.
    pub(super) links_to: u64,
    /// The moment of the programme at which the frames' own time is nought, by the first byte of their stream.
    pub(super) bases: Vec<(u64, f64)>,
    /// Since there nothing could be decoded.
    barren_from: u64,
    /// Where it was lost the last time, since it came to where it is.
    pub(super) lost_at: Option<u64>,
    /// It was lost, and nothing was decoded since.
    is_lost: bool,
    /// The file ends inside of a page, and that was told.
    is_cut: bool,
    /// Why nothing was heard, if nothing was.
    reason: Option<DecodeError>,
}

/// What is known while a session lasts.
struct Session {
    opening: Opening,
    place: Place,
    progress: Arc<Progress>,
    clock: Clock,
    /// Packets in a row that could not be decoded.
    failed: u32,
    has_index: bool,
    /// Its packets are of a kind that is not supported, until others come.
    is_mute: bool,
}

/// Which moment it is.
struct Clock {
    seconds: f64,
    /// The packets say so themselves.
    exact: bool,
    base: Option<f64>,
}

/// What became of a packet.
enum Step {
    /// The next one.
    Next,
    /// There are no more here, for this reason; `None` if nobody but the container had enough.
    Ended(Option<Stop>),
    /// It is heard too early or too late: begin there instead.
    Elsewhere(Place),
}

impl<D: DriverIo> Decoder<D> {
    #[expect(clippy::too_many_arguments, reason = "it is made in one place, of what it is")]
    pub(super) fn new(
        options: DecodeOptions,
        reader: Reader<D>,
        moved: Moved,
        timeline: Arc<Timeline>,
        shared: Arc<Shared>,
        sink: Sink,
        left_out: Box<dyn Fn(LeftOut) + Send>,
        place: Place,
    ) -> Self {
        Self {
            options,
            reader,
            moved,
            timeline,
            shared,
            sink,
            left_out,
            begin: place.offset,
            place,
            containers: Containers::default(),
            links_to: 0,
            bases: Vec::new(),
            barren_from: place.offset,
            lost_at: None,
            is_lost: false,
            is_cut: false,
            reason: None,
        }
    }

    pub(super) fn run(&mut self, cursor: &mut Cursor<D>) -> Result<(), DecodeError> {
        loop {
            // First the epoch: a seek that comes behind it makes what follows stale.
            self.sink.begin();
            if let Some(target) = self.shared.take_target() {
                self.place = self.locate(target, 0);
                (self.barren_from, self.lost_at, self.is_lost) = (self.place.offset, None, false);
            }
            let end = match self.decode(cursor, self.place)? {
                End::Asked if self.sink.is_gone() => return Ok(()),
                End::Asked => continue,
                End::GoOn(place) => {
                    self.sink.disturb_clock();
                    self.place = place;
                    continue;
                }
                End::Cancelled => return Ok(()),
                End::Complete => Ok(()),
                End::Failed(reason) => Err(DecodeError::Stream(reason)),
            };
            if end.is_ok() && !self.sink.has_played() {
                return Err(self.reason.take().unwrap_or(DecodeError::Silent));
            }
            // A seek may come in between.
            if self.sink.drain().is_continue() && self.wait_for_the_end().is_break() {
                return end;
            }
            if self.sink.is_gone() {
                return Ok(());
            }
        }
    }

    /// Nothing more is decoded: what was, is played.
    pub(super) fn finish(&mut self) {
        let _ = self.sink.drain();
        self.sink.finish();
        self.shared.drained.store(true, Relaxed);
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

    /// Decodes from a place on until something ends that.
    fn decode(&mut self, cursor: &mut Cursor<D>, place: Place) -> Result<End, DecodeError> {
        let opening = match self.opening(cursor, place) {
            Ok(opening) => opening,
            Err(Unopened::Stop(stop)) => return self.end_of(stop, place),
            Err(Unopened::Foreign { codec, at }) => return self.foreign(codec, Place { offset: at, ..place }),
            Err(Unopened::Nothing { to }) => return self.nothing(Place { offset: to, ..place }, place.offset),
        };
        match self.foreign_link(&opening) {
            Ok(None) => {}
            Ok(Some(codec)) => return self.pass_link(cursor, &opening, place, LeftOut::Codec { codec }),
            Err(stop) => return self.end_of(stop, place),
        }
        let (container, len) = (opening.container, self.source_len(&opening));
        // From the beginning on, nothing has to be here but that. Of a file that is cut, the end of which its reader looks
        // for, the rest can be played so.
        let ways = match self.options.live || !container.has_index() {
            true => &[Way::ByIndex][..],
            false if container.begins_at_once() && place.from.is_none() => &[Way::Forward, Way::ByIndex],
            false => &[Way::ByIndex, Way::Forward],
        };
        let mut failed = None;
        for &way in ways {
            if failed.is_some() && cursor.seek_to(opening.start).is_err() {
                break;
            }
            let (source, progress) = self.source(cursor, &opening);
            let reason = match Demuxer::open(source, container, len, way, &progress) {
                Ok(demuxer) => return self.play(demuxer, opening, place, progress),
                Err(reason) => reason,
            };
            let is_over = !matches!(reason, OpenError::Symphonia(_))
                || matches!(progress.stop(), Some(Stop::Interrupted | Stop::Cancelled | Stop::Failed(_)));
            if failed.is_none() || is_over || way == Way::ByIndex {
                failed = Some((reason, progress));
            }
            if is_over {
                break;
            }
        }
        let (reason, progress) = failed.expect("there is a way at least");
        self.failed_to_open(cursor, reason, &progress, &opening, place)
    }

    /// Decodes what was opened until something ends that.
    fn play(
        &mut self,
        mut demuxer: Demuxer<'_>,
        opening: Opening,
        place: Place,
        progress: Arc<Progress>,
    ) -> Result<End, DecodeError> {
        progress.opened(demuxer.container);
        if !opening.is_known {
            self.containers.insert(opening.start, demuxer.container);
        }
        let mut session = self.session(&mut demuxer, opening, place, progress);
        let stop = loop {
            match self.step(&mut demuxer, &mut session)? {
                Step::Next => {}
                Step::Ended(stop) => break stop,
                Step::Elsewhere(better) => return Ok(End::GoOn(better)),
            }
        };
        self.end_of_session(stop, &demuxer, &session)
    }

    /// What there is to know before the first packet.
    fn session(
        &mut self,
        demuxer: &mut Demuxer<'_>,
        opening: Opening,
        place: Place,
        progress: Arc<Progress>,
    ) -> Session {
        let has_index = demuxer.container.has_index();
        if let Some(from) = place.from.filter(|_| has_index) {
            demuxer.seek(from);
        }
        let begins_file = !self.options.live && (has_index || place.offset == self.begin);
        let base = opening.head.and_then(|start| noted(&self.bases, start));
        let clock = Clock {
            seconds: place.seconds,
            exact: demuxer.container.says_when(),
            base: base.or(begins_file.then_some(0.0)),
        };
        let is_whole = !self.options.live && opening.front.is_empty();
        if let Some(len) = self.file_len().filter(|_| is_whole)
            && let Some(seconds) = demuxer.duration()
            && covers(demuxer, len.saturating_sub(progress.read_to()))
        {
            let before = if place.from.is_none() { place.seconds } else { 0.0 };
            self.timeline.ends(Moment { offset: len, seconds: before + seconds });
        }
        if let Some(title) = demuxer.title() {
            self.timeline.titled(opening.head.unwrap_or(opening.start), title);
        }
        Session { opening, place, progress, clock, failed: 0, has_index, is_mute: false }
    }

    /// Takes a packet, decodes it, and hands its samples on.
    fn step(&mut self, demuxer: &mut Demuxer<'_>, session: &mut Session) -> Result<Step, DecodeError> {
        if self.shared.cancel.is_cancelled() {
            return Ok(Step::Ended(Some(Stop::Cancelled)));
        }
        let progress = session.progress.clone();
        let packet = match demuxer.next_packet() {
            Ok(Some(packet)) => packet,
            Err(SymphoniaError::DecodeError(_)) if progress.stop().is_none() => {
                self.shared.broken.fetch_add(1, Relaxed);
                session.failed += 1;
                return Ok(match session.failed > MOST_FAILED_PACKETS {
                    // Such an index has no end: it says the same again without any reading.
                    true if session.has_index => Step::Ended(Some(Stop::Complete)),
                    true => Step::Ended(Some(Stop::Silent)),
                    false => Step::Next,
                });
            }
            Err(SymphoniaError::ResetRequired) => {
                self.reset(demuxer, session);
                return Ok(Step::Next);
            }
            Ok(None) => return Ok(Step::Ended(self.no_more_packets(demuxer, session))),
            Err(_) => return Ok(Step::Ended(progress.stop())),
        };
        if progress.is_called_off() {
            // It may be cut there, and is not counted as broken then.
            return Ok(Step::Ended(progress.stop()));
        }
        progress.is_alive();
        // The frames of what is put in front are not in the stream.
        let read_to = progress.read_to().saturating_sub(demuxer.unread()).max(session.opening.start);
        // A station says elsewhere what it plays, and better.
        if let Some(title) = demuxer.new_title().filter(|_| !self.options.live) {
            self.timeline.titled(read_to, title);
        }
        if session.is_mute {
            self.barren_from = read_to;
            return Ok(Step::Next);
        }
        let codec_name = demuxer.codec_name;
        let Ok((format, samples)) = demuxer.decode(&packet) else {
            // A packet that cannot be decoded is a moment of noise on the line, and no reason to stop.
            self.shared.broken.fetch_add(1, Relaxed);
            session.failed += 1;
            // What is in front is gone through in any case, and to a place in an index there is no other way.
            let is_elsewhere =
                session.failed > MOST_FAILED_PACKETS && !session.has_index && read_to > session.opening.start;
            return Ok(if is_elsewhere { Step::Ended(Some(Stop::Silent)) } else { Step::Next });
        };
        session.failed = 0;
        progress.good(read_to);
        if samples.is_empty() {
            return Ok(Step::Next);
        }
        self.barren_from = read_to;
        self.tell_the_time(&packet, session, read_to);
        let here = Moment { offset: read_to, seconds: session.clock.seconds };
        let may_move = !progress.has_settled() && session.clock.exact && !session.has_index;
        if may_move && let Some(better) = self.better_place(session.place, here) {
            return Ok(Step::Elsewhere(better));
        }
        progress.settle();
        *lock(&self.shared.format) = Some((codec_name, format));
        let rate_hz = f64::from(format.rate_hz);
        let frames = samples.len() / format.channels;
        let early = session.place.from.map_or(0.0, |from| ((from - here.seconds) * rate_hz).round().max(0.0)) as usize;
        session.clock.seconds += frames as f64 / rate_hz;
        if early < frames {
            let moment = Moment { seconds: here.seconds + early as f64 / rate_hz, ..here };
            let lead = self.lead(read_to);
            if self.sink.write(format, &samples[early * format.channels..], moment, lead)?.is_break() {
                return Ok(Step::Ended(Some(Stop::Interrupted)));
            }
        }
        Ok(Step::Next)
    }

    /// Why there are no more packets.
    fn no_more_packets(&mut self, demuxer: &Demuxer<'_>, session: &Session) -> Option<Stop> {
        let progress = &session.progress;
        if let Some(skipped) = demuxer.gives_way() {
            self.is_lost |= skipped > 0;
            let next = progress.read_to().saturating_sub(demuxer.unread()).max(session.opening.start);
            return Some(Stop::Boundary(next));
        }
        // Some files have more behind their audio: tags, or nothing that means anything.
        progress.stop().or((!self.options.live).then_some(Stop::Complete))
    }

    /// Sets the clock by a packet, and counts what is missing before it.
    fn tell_the_time(&mut self, packet: &Packet, session: &mut Session, read_to: u64) {
        // What does not look like a frame is passed over in silence.
        let mut is_missing = packet.skipped > 0;
        let clock = &mut session.clock;
        if let Some(when) = packet.seconds.filter(|_| clock.exact) {
            let base = clock.base.unwrap_or(clock.seconds - when);
            if !session.progress.has_settled() || clock.base.is_none() {
                self.note_base(read_to, base);
            }
            clock.base = Some(base);
            is_missing |= base + when > clock.seconds + LEAST_GAP_SECONDS;
            clock.seconds = base + when;
        }
        is_missing &= session.progress.has_settled();
        // A stretch without audio is counted once there is some behind it.
        is_missing |= std::mem::take(&mut self.is_lost);
        self.shared.broken.fetch_add(is_missing.into(), Relaxed);
    }

    /// Packets of another kind follow.
    fn reset(&mut self, demuxer: &mut Demuxer<'_>, session: &mut Session) {
        session.is_mute = false;
        // They may have a time of their own.
        session.clock.base = None;
        if let Err(reason) = demuxer.reset() {
            session.is_mute = true;
            self.leave_out(match reason {
                OpenError::Codec(codec) => LeftOut::Codec { codec },
                OpenError::Symphonia(_) => LeftOut::Damaged,
            });
        }
    }

    /// Something is not heard: it is counted, and told.
    fn leave_out(&self, what: LeftOut) {
        self.shared.skipped.fetch_add(1, Relaxed);
        (self.left_out)(what);
    }

    fn end_of_session(
        &mut self,
        stop: Option<Stop>,
        demuxer: &Demuxer<'_>,
        session: &Session,
    ) -> Result<End, DecodeError> {
        let progress = &session.progress;
        let offset = match stop {
            // Something else began where the last good packet ended.
            Some(Stop::Silent) | None if progress.good_to() > session.opening.start => progress.good_to(),
            _ => progress.read_to(),
        };
        let begins_file = session.place.offset == self.begin && session.place.from.is_none();
        if begins_file
            && matches!(stop, Some(Stop::Complete | Stop::Boundary(_)))
            && !self.options.live
            && (demuxer.container.has_tags() || demuxer.container.has_index())
            && let Some(promised) = demuxer.duration()
            && session.clock.seconds + LEAST_CUT_SECONDS < promised
        {
            self.leave_out(LeftOut::Cut { heard: session.clock.seconds, promised });
        }
        if !self.options.live
            && !self.is_cut
            && matches!((&stop, demuxer.container), (Some(Stop::Complete), Container::Ogg))
            && let Some(len) = self.file_len()
            && links::ends_in_a_page(&stream::peek(&self.reader, &self.shared, &self.timeline, 0), len).unwrap_or(false)
        {
            self.is_cut = true;
            self.leave_out(LeftOut::LastPage);
        }
        let seconds = session.clock.seconds;
        // What is wanted may be in what follows.
        let from = session.place.from.filter(|&from| from > seconds);
        let here = Place { offset, seconds, from, choices: session.place.choices };
        match stop {
            Some(stop) => self.end_of(stop, here),
            // Symphonia has had enough, and neither the stream nor anybody else: there is something else now.
            None => self.lost(here),
        }
    }

    fn failed_to_open(
        &mut self,
        cursor: &mut Cursor<D>,
        reason: OpenError,
        progress: &Progress,
        opening: &Opening,
        place: Place,
    ) -> Result<End, DecodeError> {
        let here = Place { offset: progress.read_to(), from: None, choices: 0, ..place };
        let stop = progress.stop();
        match (reason, stop) {
            (_, Some(stop @ (Stop::Interrupted | Stop::Cancelled | Stop::Lapped))) => self.end_of(stop, here),
            (_, Some(Stop::Failed(reason))) if opening.start == here.offset => Ok(End::Failed(reason)),
            // The link of a chain has its beginning but once.
            (reason, _) if opening.container == Container::Ogg && !opening.is_known && self.is_followed(opening) => {
                let what = match reason {
                    OpenError::Codec(codec) => LeftOut::Codec { codec },
                    OpenError::Symphonia(_) => LeftOut::Damaged,
                };
                let reason = self.unsupported(reason, opening.start);
                self.reason.get_or_insert(reason);
                self.pass_link(cursor, opening, place, what)
            }
            // Too little of a connection to be anything. What it was before may come with the next one.
            (_, Some(stop)) if self.sink.has_played() => self.end_of(stop, here),
            // There is nothing else behind a file that has an index, and nothing in it without that.
            (OpenError::Symphonia(reason), _) if opening.container.is_file() && !self.options.live => {
                Err(DecodeError::Damaged { container: opening.container.name(), reason })
            }
            // What was known of it is so no longer.
            (OpenError::Symphonia(_), _) if opening.is_known => self.lost(here),
            (OpenError::Symphonia(_), _) if self.sink.has_played() || self.lost_at.is_some() => self.lost(here),
            (reason, _) => Err(self.unsupported(reason, opening.start)),
        }
    }

    /// Whether it makes sense to look for something else behind what begins there.
    fn is_followed(&self, opening: &Opening) -> bool {
        self.sink.has_played() || (!self.options.live && opening.start == self.begin)
    }

    /// Passes over a link of a chain.
    fn pass_link(
        &mut self,
        cursor: &mut Cursor<D>,
        opening: &Opening,
        place: Place,
        what: LeftOut,
    ) -> Result<End, DecodeError> {
        if let LeftOut::Codec { codec } = what {
            if self.options.live && !self.sink.has_played() {
                return Err(DecodeError::Codec { codec });
            }
            self.reason.get_or_insert(DecodeError::Codec { codec });
        }
        if cursor.seek_to(opening.start).is_err() {
            return self.end_of(Stop::Lapped, place);
        }
        let (mut source, progress) = self.source(cursor, opening);
        progress.expect_nothing();
        // It reports its end, and no errors.
        let _ = io::copy(&mut source, &mut io::sink());
        let stop = progress.stop().unwrap_or(Stop::Complete);
        let is_all = matches!(stop, Stop::Complete) && !self.sink.has_played();
        if !is_all && !matches!(stop, Stop::Interrupted | Stop::Cancelled) {
            self.leave_out(what);
        }
        let here = Place { offset: progress.read_to(), from: None, choices: 0, ..place };
        self.barren_from = here.offset;
        self.end_of(stop, here)
    }

    /// What begins there is of a format that is not supported.
    fn foreign(&mut self, codec: &'static str, here: Place) -> Result<End, DecodeError> {
        if !self.sink.has_played() && self.lost_at.is_none() {
            return Err(DecodeError::Codec { codec });
        }
        self.leave_out(LeftOut::Codec { codec });
        self.lost(Place { offset: here.offset + 1, ..here })
    }

    /// From `from` up to `here`, it is nothing that is known.
    fn nothing(&mut self, here: Place, from: u64) -> Result<End, DecodeError> {
        if !self.sink.has_played() && self.lost_at.is_none() {
            let reason = SymphoniaError::Unsupported("there is no audio in it");
            return Err(self.unsupported(reason.into(), from));
        }
        self.lost(here)
    }

    /// What comes is no longer what it was: whatever it is, it is looked at anew.
    fn lost(&mut self, here: Place) -> Result<End, DecodeError> {
        self.is_lost = true;
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
        self.containers.insert(offset, Container::Unknown);
        Ok(End::GoOn(Place { offset, ..here }))
    }

    fn unsupported(&self, reason: OpenError, offset: u64) -> DecodeError {
        match reason {
            OpenError::Codec(codec) => DecodeError::Codec { codec },
            OpenError::Symphonia(reason) => {
                let content_type = self.what_is_at(offset);
                DecodeError::Unsupported { content_type, reason }
            }
        }
    }

    /// What bytes are that are not decoded: as the server says, or as can be told.
    fn what_is_at(&self, offset: u64) -> String {
        let said = self.timeline.connection_at(offset).and_then(|connection| connection.content_type);
        let said = said.filter(|said| !said.is_empty());
        let mut first = [0; KIND_BYTES];
        // What is not here now is not waited for.
        let is_here = self.reader.contains_range(offset..offset + 1);
        let length = if is_here { self.reader.read_at(offset, &mut first).unwrap_or(0) } else { 0 };
        let kind = foreign::kind(&first[..length]);
        match (said, kind) {
            (Some(said), Some(kind)) if said.starts_with("audio/") => format!("{kind}, sent as {said}"),
            (Some(said), _) => said,
            (None, Some(kind)) => kind.to_owned(),
            (None, None) => "not said of what type".to_owned(),
        }
    }

    /// What follows from the reason for which there are no more bytes.
    fn end_of(&mut self, stop: Stop, here: Place) -> Result<End, DecodeError> {
        Ok(match stop {
            Stop::Interrupted => End::Asked,
            Stop::Cancelled => End::Cancelled,
            Stop::Complete => End::Complete,
            Stop::Failed(reason) => End::Failed(reason),
            // Where nothing comes before it, it is not what it seems.
            Stop::Boundary(next) if next <= self.place.offset => return self.lost(here),
            Stop::Boundary(next) => {
                // Whatever was before, it is looked at anew.
                self.containers.insert(next, Container::Unknown);
                End::GoOn(Place { offset: next, ..here })
            }
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
}

/// Whether what a file says of its duration is so of all of it: the `rest` of it, from its first frame on. A count of
/// frames may be that of the first of several files that somebody has joined.
fn covers(demuxer: &Demuxer<'_>, rest: u64) -> bool {
    /// Tags at the end are not counted.
    const TAGS_BYTES: u64 = 4 << 10;
    let counted = demuxer.info().and_then(|info| info.bytes).map(u64::from);
    counted.is_none_or(|bytes| rest <= bytes + bytes / 8 + TAGS_BYTES)
}

/// What is noted of the stream that begins at `start`.
pub(super) fn noted(bases: &[(u64, f64)], start: u64) -> Option<f64> {
    bases.iter().find(|&&(noted, _)| noted == start).map(|&(_, base)| base)
}
