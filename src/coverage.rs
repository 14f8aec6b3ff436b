//! Which bytes of a store that keeps everything are there.

use crate::Span;
use rangemap::RangeSet;
use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The ranges that were written to a driver that does not say so itself.
///
/// # Real-time
/// Blocking: a lock for every question. Not for a callback.
#[derive(Debug)]
pub(crate) struct Coverage(Mutex<RangeSet<u64>>);

impl Coverage {
    pub(crate) fn new(available: RangeSet<u64>) -> Self {
        Self(Mutex::new(available))
    }

    fn lock(&self) -> MutexGuard<'_, RangeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, range: Range<u64>) {
        if !range.is_empty() {
            self.lock().insert(range);
        }
    }

    /// Forgets all from `end` on.
    pub(crate) fn truncate(&self, end: u64) {
        if end < u64::MAX {
            self.lock().remove(end..u64::MAX);
        }
    }

    /// How many bytes are there from `offset` on, without a gap.
    pub(crate) fn run(&self, offset: u64) -> u64 {
        self.lock().get(&offset).map_or(0, |range| range.end - offset)
    }

    /// The first stretch of `range` that is missing.
    pub(crate) fn first_gap(&self, range: &Range<u64>) -> Option<Span> {
        self.lock().gaps(range).next().map(Span::from)
    }

    /// All stretches of `range` that are missing.
    pub(crate) fn gaps(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        self.lock().gaps(range).collect()
    }

    /// The last byte of `range` that is missing.
    pub(crate) fn last_missing(&self, range: &Range<u64>) -> Option<u64> {
        self.lock().gaps(range).last().map(|gap| gap.end - 1)
    }

    /// Where the last byte that is there ends.
    pub(crate) fn end(&self) -> u64 {
        self.lock().last().map_or(0, |range| range.end)
    }

    pub(crate) fn available(&self) -> RangeSet<u64> {
        self.lock().clone()
    }
}
