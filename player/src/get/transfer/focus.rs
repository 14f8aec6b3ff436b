//! Somebody reads a file while it comes: what is wanted first may change at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use roundelay::{Fetcher, MmapDriver};

use super::connection::{MAX_PART_BYTES, MIN_PART_BYTES};

/// For a reader, what a connection fetches at once is no more than what comes in so long.
const PART_SECONDS: f64 = 2.0;

/// And no less than this, which is worth the question, nor more: a server's burst at the beginning says little of what
/// follows, and what is heard next must not wait for what is heard much later.
const MIN_READ_PART_BYTES: u64 = 64 << 10;
const MAX_READ_PART_BYTES: u64 = 512 << 10;

/// Where the reader looks: a number that changes each time that it looks elsewhere. Orders nothing else: `Relaxed`.
#[derive(Debug, Default)]
pub(in crate::get) struct Focus {
    /// 0 while nobody reads.
    looks: AtomicU64,
}

/// Where a reader looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look(u64);

impl Focus {
    /// Of a file that is read while it comes.
    pub(in crate::get) fn of_a_reader() -> Self {
        Self { looks: 1.into() }
    }

    /// The reader looks elsewhere: what it waits for comes first, and what is on its way is broken off.
    pub(in crate::get) fn change(&self) {
        self.looks.fetch_add(1, Relaxed);
    }

    /// Whether somebody reads the file while it comes.
    pub(super) fn is_of_a_reader(&self) -> bool {
        self.look() != Look(0)
    }

    pub(super) fn look(&self) -> Look {
        Look(self.looks.load(Relaxed))
    }

    pub(super) fn is_still(&self, look: Look) -> bool {
        self.look() == look
    }

    /// How much to ask for at once, as one of so many connections, of which one got `rate` bytes a second of late.
    pub(super) fn part_bytes(&self, fetcher: &Fetcher<MmapDriver>, connections: u64, rate: Option<f64>) -> u64 {
        if !self.is_of_a_reader() {
            // Some four rounds for everybody, and whoever is quick takes more of them.
            return (fetcher.missing() / (4 * connections)).clamp(MIN_PART_BYTES, MAX_PART_BYTES);
        }
        // Parts come in the order in which they are heard, and the first of them is heard soon.
        let soon = rate.map_or(0, |rate| (rate * PART_SECONDS) as u64);
        soon.clamp(MIN_READ_PART_BYTES, MAX_READ_PART_BYTES)
    }
}
