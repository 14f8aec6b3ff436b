//! A cursor as a source of Symphonia's.

use crate::{Cursor, DriverIo};
use symphonia_core::io::MediaSource;

/// Seekable once the resource is committed. Before that a probe that looks for the end would stall, so a live stream says
/// that it cannot be sought; seek the cursor itself, and open a new decoder.
impl<D: DriverIo> MediaSource for Cursor<D> {
    fn is_seekable(&self) -> bool {
        self.reader().final_len().is_some()
    }

    fn byte_len(&self) -> Option<u64> {
        self.reader().final_len()
    }
}
