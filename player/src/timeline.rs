//! What happened where in the stream: where a connection began, where a title applies, which frame was decoded from
//! which byte, and which moment of the programme that is.
//!
//! A player lives at several places of the same stream at once: the network writes at the live edge, the decoder reads
//! seconds behind it, and what is heard lies behind that. A title that arrives now is heard later. So everything that
//! happens is noted down with the offset at which it happened, and whoever wants to know asks for the offset of
//! interest.
//!
//! Three things are told from one another, and the notes lead from each to the others:
//!
//! ```text
//!   frame    what went to the output, counted            heard        ┐
//!   offset   a byte of the stream                        heard, clock ├ noted by the decoder
//!   seconds  of the programme, since it began            clock        ┘
//! ```
//!
//! This is for the threads that may wait; the audio callback knows nothing of it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::head::{Found, Head};

/// Notes older than this many are forgotten. Titles come by the minute and connections by the hour.
const MAX_NOTES: usize = 256;

/// Blocks are half a second long: this is more than the decoded audio that can be waiting.
const MAX_HEARD: usize = 4096;

/// The clock is noted this often, and a day of it is kept.
const CLOCK_SECONDS: f64 = 0.5;
const MAX_CLOCK: usize = 24 * 3600 * 2;

/// A connection to a station, from the byte on that it sent first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// What the station calls itself, if it does.
    pub station_name: Option<String>,
    /// The media type of the stream, such as `audio/flac`.
    pub content_type: Option<String>,
}

/// A place in the stream, and the moment of the programme that is heard there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Of the stream, in bytes.
    pub offset: u64,
    /// Since the programme began.
    pub seconds: f64,
}

/// The notes. Shared by reference; every method locks for a few steps.
#[derive(Debug, Default)]
pub struct Timeline {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    connections: VecDeque<(u64, Connection)>,
    heads: VecDeque<Found>,
    titles: VecDeque<(u64, String)>,
    /// The first frame of a block, and what it was decoded from.
    heard: VecDeque<(u64, Moment)>,
    /// In order of both.
    clock: VecDeque<Moment>,
    /// The end of a file, if it is known how long that is.
    end: Option<Moment>,
}

impl Timeline {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes from `offset` on come from a new connection. Note this before the first of them is published.
    pub fn connected(&self, offset: u64, connection: Connection) {
        push(&mut self.notes().connections, (offset, connection), MAX_NOTES);
    }

    /// A stream begins that has such a head.
    pub fn begun(&self, (offset, head): Found) {
        let heads = &mut self.notes().heads;
        // A file's is looked for again now and then.
        if heads.back().is_none_or(|&(last, _)| last < offset) {
            push(heads, (offset, head), MAX_NOTES);
        }
    }

    /// From `offset` on, `title` is heard.
    pub fn titled(&self, offset: u64, title: String) {
        let titles = &mut self.notes().titles;
        let at = titles.partition_point(|&(from, _)| from < offset);
        match titles.get_mut(at) {
            // The same place, decoded once more.
            Some((from, there)) if *from == offset => *there = title,
            _ => titles.insert(at, (offset, title)),
        }
        if titles.len() > MAX_NOTES {
            titles.pop_front();
        }
    }

    /// The frames from `frame` on are those of `moment`. What was noted of them before is void: a seek has made it stale.
    pub fn decoded(&self, frame: u64, moment: Moment) {
        let notes = &mut *self.notes();
        while notes.heard.back().is_some_and(|&(noted, _)| noted >= frame) {
            notes.heard.pop_back();
        }
        push(&mut notes.heard, (frame, moment), MAX_HEARD);
        notes.pass(moment);
    }

    /// It has turned out what is heard there, or before the bytes that end there.
    pub fn passed(&self, moment: Moment) {
        self.notes().pass(moment);
    }

    /// The stream is a file that ends there.
    pub fn ends(&self, end: Moment) {
        self.notes().end = Some(end);
    }

    /// How long the file lasts, if that is known.
    #[must_use]
    pub fn duration(&self) -> Option<f64> {
        self.notes().end.map(|end| end.seconds)
    }

    /// The connection that the byte at `offset` came from.
    #[must_use]
    pub fn connection_at(&self, offset: u64) -> Option<Connection> {
        latest(&self.notes().connections, offset).map(|(_, connection)| connection.clone())
    }

    /// Where the connection began that the byte at `offset` came from.
    #[must_use]
    pub fn connection_start(&self, offset: u64) -> u64 {
        latest(&self.notes().connections, offset).map_or(0, |&(start, _)| start)
    }

    /// Where the connection that the byte at `offset` came from gave way to the next one, if it did.
    #[must_use]
    pub fn next_connection(&self, offset: u64) -> Option<u64> {
        self.notes().connections.iter().map(|&(start, _)| start).find(|&start| start > offset)
    }

    /// The head of the stream that the byte at `offset` is of, and where that begins.
    #[must_use]
    pub fn head_at(&self, offset: u64) -> Option<(u64, Head)> {
        let notes = self.notes();
        let connection = latest(&notes.connections, offset).map_or(0, |&(start, _)| start);
        latest(&notes.heads, offset).filter(|&&(start, _)| start >= connection).cloned()
    }

    /// The title that is heard at `offset`, of the connection that it is in.
    #[must_use]
    pub fn title_at(&self, offset: u64) -> Option<String> {
        latest(&self.notes().titles, offset).map(|(_, title)| title.clone())
    }

    /// How many bytes of the stream a second takes, over the last `seconds` that were decoded before `offset`.
    #[must_use]
    pub fn bytes_per_second(&self, offset: u64, seconds: f64) -> Option<f64> {
        self.notes().bytes_per_second(offset, seconds)
    }

    /// What frame number `frame` was decoded from; frames follow one another at `rate_hz`.
    #[must_use]
    pub fn heard(&self, frame: u64, rate_hz: u32) -> Option<Moment> {
        let notes = self.notes();
        let at = notes.heard.partition_point(|&(noted, _)| noted <= frame).checked_sub(1)?;
        let (noted, moment) = notes.heard[at];
        let seconds = (frame - noted) as f64 / f64::from(rate_hz);
        // The bytes of a block are spread over its frames.
        let offset = match notes.heard.get(at + 1) {
            Some(&(next, next_moment)) if next_moment.offset > moment.offset => {
                let share = (frame - noted) as f64 / (next - noted) as f64;
                moment.offset + ((next_moment.offset - moment.offset) as f64 * share) as u64
            }
            _ => moment.offset,
        };
        Some(Moment { offset, seconds: moment.seconds + seconds })
    }

    /// The moment that is heard at `offset`; as near as can be told of what was not decoded.
    #[must_use]
    pub fn seconds_at(&self, offset: u64) -> Option<f64> {
        let notes = self.notes();
        let (before, after) = notes.around(notes.clock.partition_point(|noted| noted.offset <= offset));
        Some(match (before, after) {
            (Some(before), Some(after)) => {
                let share = (offset - before.offset) as f64 / (after.offset - before.offset) as f64;
                before.seconds + (after.seconds - before.seconds) * share
            }
            (Some(before), None) => before.seconds + (offset - before.offset) as f64 / notes.recent_rate()?,
            (None, Some(after)) => (after.seconds - (after.offset - offset) as f64 / notes.recent_rate()?).max(0.0),
            (None, None) => return None,
        })
    }

    /// Where `seconds` is heard; as near as can be told of what was not decoded.
    #[must_use]
    pub fn offset_at(&self, seconds: f64) -> Option<u64> {
        let notes = self.notes();
        let (before, after) = notes.around(notes.clock.partition_point(|noted| noted.seconds <= seconds));
        Some(match (before, after) {
            (Some(before), Some(after)) => {
                let share = (seconds - before.seconds) / (after.seconds - before.seconds);
                before.offset + ((after.offset - before.offset) as f64 * share) as u64
            }
            (Some(before), None) => before.offset + ((seconds - before.seconds) * notes.recent_rate()?) as u64,
            (None, Some(after)) => {
                after.offset.saturating_sub(((after.seconds - seconds) * notes.recent_rate()?) as u64)
            }
            (None, None) => return None,
        })
    }
}

/// Over so long the rate of bytes is an average.
const RATE_SECONDS: f64 = 30.0;

impl Notes {
    fn pass(&mut self, moment: Moment) {
        let at = self.clock.partition_point(|noted| noted.offset < moment.offset);
        let before = at.checked_sub(1).and_then(|at| self.clock.get(at));
        let after_it =
            before.is_none_or(|noted| noted.offset < moment.offset && noted.seconds + CLOCK_SECONDS <= moment.seconds);
        let before_next = self
            .clock
            .get(at)
            .is_none_or(|noted| moment.offset < noted.offset && moment.seconds + CLOCK_SECONDS <= noted.seconds);
        if after_it && before_next {
            self.clock.insert(at, moment);
            if self.clock.len() > MAX_CLOCK {
                self.clock.pop_front();
            }
        }
    }

    /// The notes before and after place `at` of the clock. Behind the last one stands the end, if that is known.
    fn around(&self, at: usize) -> (Option<Moment>, Option<Moment>) {
        let before = at.checked_sub(1).and_then(|at| self.clock.get(at)).copied();
        let after = self.clock.get(at).copied();
        let end = self
            .end
            .filter(|end| before.is_none_or(|before| before.offset < end.offset && before.seconds < end.seconds));
        (before, after.or(end))
    }

    fn recent_rate(&self) -> Option<f64> {
        let last = self.clock.back()?;
        self.bytes_per_second(last.offset, RATE_SECONDS)
    }

    fn bytes_per_second(&self, offset: u64, seconds: f64) -> Option<f64> {
        let last = self.clock.get(self.clock.partition_point(|noted| noted.offset <= offset).checked_sub(1)?)?;
        let first = self.clock.partition_point(|noted| noted.seconds < last.seconds - seconds);
        let first = self.clock.get(first)?;
        let rate = (last.offset - first.offset) as f64 / (last.seconds - first.seconds);
        (first.offset < last.offset).then_some(rate)
    }
}

fn push<T>(notes: &mut VecDeque<T>, note: T, max: usize) {
    if notes.len() == max {
        notes.pop_front();
    }
    notes.push_back(note);
}

/// The last note at or before `at`. Notes are in order.
fn latest<T>(notes: &VecDeque<(u64, T)>, at: u64) -> Option<&(u64, T)> {
    notes.get(notes.partition_point(|&(from, _)| from <= at).checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, seconds: f64) -> Moment {
        Moment { offset, seconds }
    }

    #[test]
    fn a_title_applies_from_its_offset_on() {
        let timeline = Timeline::default();
        timeline.titled(200, "second".into());
        timeline.titled(100, "first".into());
        timeline.titled(100, "first, again".into());
        assert_eq!(timeline.title_at(99), None);
        assert_eq!(timeline.title_at(100).as_deref(), Some("first, again"));
        assert_eq!(timeline.title_at(199).as_deref(), Some("first, again"));
        assert_eq!(timeline.title_at(10_000).as_deref(), Some("second"));
    }

    #[test]
    fn a_connection_ends_where_the_next_begins() {
        let timeline = Timeline::default();
        timeline.connected(0, Connection::default());
        assert_eq!(timeline.next_connection(0), None);
        timeline.connected(500, Connection { station_name: Some("again".into()), content_type: None });
        assert_eq!(timeline.next_connection(0), Some(500));
        assert_eq!(timeline.next_connection(499), Some(500));
        assert_eq!(timeline.next_connection(500), None);
        assert_eq!((timeline.connection_start(499), timeline.connection_start(500)), (0, 500));
        assert_eq!(timeline.connection_at(500).unwrap().station_name.as_deref(), Some("again"));
    }

    #[test]
    fn a_head_is_that_of_its_own_connection() {
        let timeline = Timeline::default();
        let head = Head { kind: crate::head::HeadKind::Ogg, bytes: [1].into(), len: 1 };
        timeline.connected(0, Connection::default());
        timeline.begun((0, head.clone()));
        timeline.begun((300, head.clone()));
        timeline.connected(500, Connection::default());
        assert_eq!(timeline.head_at(299).unwrap().0, 0);
        assert_eq!(timeline.head_at(499).unwrap().0, 300);
        assert_eq!(timeline.head_at(500), None);
    }

    #[test]
    fn the_clock_leads_from_bytes_to_seconds_and_back() {
        let timeline = Timeline::default();
        assert_eq!((timeline.seconds_at(5), timeline.offset_at(1.0)), (None, None));
        // A second takes 100 bytes, then 200.
        for (frame, moment) in [(0, at(1_000, 10.0)), (100, at(1_100, 11.0)), (200, at(1_300, 12.0))] {
            timeline.decoded(frame, moment);
        }
        assert_eq!(timeline.seconds_at(1_200), Some(11.5));
        assert_eq!(timeline.offset_at(10.5), Some(1_050));
        // What is beyond goes on as of late.
        assert_eq!(timeline.seconds_at(1_450), Some(13.0));
        assert_eq!(timeline.offset_at(13.0), Some(1_450));
        assert_eq!(timeline.offset_at(9.0), Some(850));
        assert_eq!(timeline.seconds_at(0), Some(10.0 - 1_000.0 / 150.0));
        assert_eq!(timeline.bytes_per_second(1_100, 30.0), Some(100.0));
    }

    #[test]
    fn the_end_of_a_file_says_more_than_a_rate() {
        let timeline = Timeline::default();
        timeline.ends(at(10_000, 50.0));
        timeline.decoded(0, at(0, 0.0));
        timeline.decoded(1, at(100, 1.0));
        assert_eq!(timeline.offset_at(25.5), Some(5_050));
        assert_eq!(timeline.duration(), Some(50.0));
    }

    #[test]
    fn what_is_decoded_again_after_a_seek_does_not_disturb_the_clock() {
        let timeline = Timeline::default();
        timeline.decoded(0, at(0, 0.0));
        timeline.decoded(50, at(50, 0.5));
        timeline.decoded(100, at(100, 1.0));
        timeline.decoded(60, at(0, 0.0));
        timeline.decoded(110, at(52, 0.4));
        assert_eq!(timeline.seconds_at(75), Some(0.75));
        assert_eq!(timeline.heard(60, 100), Some(at(0, 0.0)));
        assert_eq!(timeline.heard(85, 100), Some(at(26, 0.25)));
        assert_eq!(timeline.heard(55, 100).unwrap().offset, 50);
    }

    #[test]
    fn old_notes_are_forgotten() {
        let timeline = Timeline::default();
        for frame in 0..2 * MAX_HEARD as u64 {
            timeline.decoded(frame * 10, at(frame, frame as f64));
        }
        assert_eq!(timeline.heard(5, 1), None);
        assert_eq!(timeline.heard(20 * MAX_HEARD as u64, 1).unwrap().offset, 2 * MAX_HEARD as u64 - 1);
    }
}
