//! What happened where in the stream: where a connection began, where a title applies, which frame was decoded from
//! which byte.
//!
//! A player lives at several places of the same stream at once: the network writes at the live edge, the decoder reads
//! seconds behind it, and what is heard lies behind that. A title that arrives now is heard later. So everything that
//! happens is noted down with the offset at which it happened, and whoever wants to know asks for the offset of
//! interest.
//!
//! This is for the threads that may wait; the audio callback knows nothing of it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Notes older than this many are forgotten. Titles come by the minute and connections by the hour.
const MAX_NOTES: usize = 256;

/// Packets are some 20 to 90 ms long: this is more than the decoded audio that can be waiting.
const MAX_DECODED: usize = 4096;

/// A connection to a station, from the byte on that it sent first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// What the station calls itself, if it does.
    pub station_name: Option<String>,
    /// The media type of the stream, such as `audio/flac`.
    pub content_type: Option<String>,
}

/// The notes. Shared by reference; every method locks for a few steps.
#[derive(Debug, Default)]
pub struct Timeline {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    connections: VecDeque<(u64, Connection)>,
    titles: VecDeque<(u64, String)>,
    /// The first frame of a packet, and the offset up to which the stream was read for it.
    decoded: VecDeque<(u64, u64)>,
}

impl Timeline {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes from `offset` on come from a new connection. Note this before the first of them is published.
    pub fn connected(&self, offset: u64, connection: Connection) {
        push(&mut self.notes().connections, (offset, connection), MAX_NOTES);
    }

    /// From `offset` on, `title` is heard.
    pub fn titled(&self, offset: u64, title: String) {
        push(&mut self.notes().titles, (offset, title), MAX_NOTES);
    }

    /// The frames from `frame` on were decoded from the bytes before `offset`.
    pub fn decoded(&self, frame: u64, offset: u64) {
        push(&mut self.notes().decoded, (frame, offset), MAX_DECODED);
    }

    /// The connection that the byte at `offset` came from.
    #[must_use]
    pub fn connection_at(&self, offset: u64) -> Option<Connection> {
        latest(&self.notes().connections, offset).map(|(_, connection)| connection.clone())
    }

    /// Where the connection that the byte at `offset` came from gave way to the next one, if it did.
    #[must_use]
    pub fn next_connection(&self, offset: u64) -> Option<u64> {
        self.notes().connections.iter().map(|&(start, _)| start).find(|&start| start > offset)
    }

    /// The title that is heard at `offset`.
    #[must_use]
    pub fn title_at(&self, offset: u64) -> Option<String> {
        latest(&self.notes().titles, offset).map(|(_, title)| title.clone())
    }

    /// How many bytes of the stream a frame takes, over the last `frames` frames that were decoded.
    #[must_use]
    pub fn bytes_per_frame(&self, frames: u64) -> Option<f64> {
        let notes = self.notes();
        let &(last_frame, last_offset) = notes.decoded.back()?;
        let since = last_frame.saturating_sub(frames);
        let &(frame, offset) = notes.decoded.get(notes.decoded.partition_point(|&(frame, _)| frame < since))?;
        (frame < last_frame).then(|| last_offset.saturating_sub(offset) as f64 / (last_frame - frame) as f64)
    }

    /// The offset of the bytes that frame number `frame` was decoded from, as near as the packets tell.
    #[must_use]
    pub fn offset_of(&self, frame: u64) -> Option<u64> {
        latest(&self.notes().decoded, frame).map(|&(_, offset)| offset)
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

    #[test]
    fn a_title_applies_from_its_offset_on() {
        let timeline = Timeline::default();
        timeline.titled(100, "first".into());
        timeline.titled(200, "second".into());
        assert_eq!(timeline.title_at(99), None);
        assert_eq!(timeline.title_at(100).as_deref(), Some("first"));
        assert_eq!(timeline.title_at(199).as_deref(), Some("first"));
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
        assert_eq!(timeline.connection_at(500).unwrap().station_name.as_deref(), Some("again"));
    }

    #[test]
    fn the_bit_rate_is_that_of_late() {
        let timeline = Timeline::default();
        assert_eq!(timeline.bytes_per_frame(100), None);
        for (frame, offset) in [(0, 50), (100, 150), (200, 350), (300, 550)] {
            timeline.decoded(frame, offset);
        }
        assert_eq!(timeline.bytes_per_frame(200), Some(2.0));
        assert_eq!(timeline.bytes_per_frame(1_000), Some(500.0 / 300.0));
    }

    #[test]
    fn old_notes_are_forgotten() {
        let timeline = Timeline::default();
        for frame in 0..2 * MAX_DECODED as u64 {
            timeline.decoded(frame * 10, frame);
        }
        assert_eq!(timeline.offset_of(5), None);
        assert_eq!(timeline.offset_of(20 * MAX_DECODED as u64), Some(2 * MAX_DECODED as u64 - 1));
    }
}
