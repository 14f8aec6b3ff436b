//! A cursor as a source of Symphonia's.

use crate::{Cursor, DriverIo};
use symphonia_core::io::MediaSource;

/// Seekable where the length is known and the beginning is there: after a commit, and before it if the length was given. A
/// seek ahead of what is there then waits, as `Read` does, until a writer or fetcher has filled that place.
///
/// A live stream says that it cannot be sought: a probe that looks for its end would stall. So does a ring that has evicted
/// its beginning, since a demuxer goes back to offsets it has seen, and those are counted from 0.
/// [`seekable`](Cursor::seekable) says what such a cursor can still seek to: seek it, and open a new decoder.
impl<D: DriverIo> MediaSource for Cursor<D> {
    fn is_seekable(&self) -> bool {
        self.byte_len().is_some() && self.seekable().start == 0
    }

    fn byte_len(&self) -> Option<u64> {
        self.reader().final_len().or_else(|| self.reader().expected_len())
    }
}
