//! The word of one block: the extent that is there, and whether pieces that do not touch it wait elsewhere.

use crate::sync::{AtomicU32, Ordering::*};
use std::ops::Range;

/// How many bytes share a word.
#[cfg(not(loom))]
pub const BLOCK: u64 = 4096;
/// Room for an extent and a stray piece on either side of it, with a byte between.
#[cfg(loom)]
pub const BLOCK: u64 = 8;

/// 13 bits each for where the extent begins and ends: 4096 is the largest.
const BITS: u32 = 13;
const MASK: u32 = (1 << BITS) - 1;
/// Pieces of this block wait behind the mutex. It stands in the word itself, so that every compare-and-swap of the
/// extent tells its author whether there is something to take along.
const SPILL: u32 = 1 << 31;

/// What a word says. All zero: nothing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent(u32);

impl Extent {
    #[inline]
    pub fn start(self) -> u32 {
        self.0 & MASK
    }

    #[inline]
    pub fn end(self) -> u32 {
        self.0 >> BITS & MASK
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.end() == 0
    }

    #[inline]
    pub fn spilled(self) -> bool {
        self.0 & SPILL != 0
    }

    /// Whether `piece` can be joined without a gap; nothing can be joined with all.
    #[inline]
    pub fn touches(self, piece: &Range<u32>) -> bool {
        self.is_empty() || piece.start <= self.end() && self.start() <= piece.end
    }

    /// Where the extent ends if it holds `at`, else `at`.
    #[inline]
    pub fn run_to(self, at: u32) -> u32 {
        if self.start() <= at && at < self.end() { self.end() } else { at }
    }

    /// Where the extent begins if it holds the byte before `at`, else `at`.
    #[inline]
    pub fn run_from(self, at: u32) -> u32 {
        if self.start() < at && at <= self.end() { self.start() } else { at }
    }

    /// The extent with a `piece` that touches it.
    #[inline]
    pub fn join(self, piece: &Range<u32>) -> Self {
        debug_assert!(self.touches(piece) && piece.start < piece.end && u64::from(piece.end) <= BLOCK);
        if self.is_empty() {
            self.with(piece)
        } else {
            self.with(&(self.start().min(piece.start)..self.end().max(piece.end)))
        }
    }

    /// What is left of it below `end`.
    fn below(self, end: u32) -> Self {
        if self.start() < end { self.with(&(self.start()..self.end().min(end))) } else { self.with(&(0..0)) }
    }

    #[inline]
    fn with(self, extent: &Range<u32>) -> Self {
        Self(self.0 & SPILL | extent.start | extent.end << BITS)
    }
}

#[derive(Debug)]
pub struct Word(AtomicU32);

impl Word {
    pub fn empty() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The extent, for whoever goes on to read its bytes.
    #[inline]
    pub fn extent(&self) -> Extent {
        // [there] Acquire: the bytes of the extent are there. Pairs with the Release in `try_join`: of the last join, and
        // through the chain of read-modify-writes that all later changes are, of every one before it.
        Extent(self.0.load(Acquire))
    }

    /// The extent, for whoever goes on to change it.
    #[inline]
    pub fn glance(&self) -> Extent {
        // Relaxed: only where a compare-and-swap starts from, and that fails if this was stale.
        Extent(self.0.load(Relaxed))
    }

    /// Makes `from` into `to`, which is `from` joined with a piece that the caller wrote or took from behind the mutex;
    /// or says what stands there instead.
    #[inline]
    pub fn try_join(&self, from: Extent, to: Extent) -> Result<(), Extent> {
        // [there] Release: publishes the bytes of the piece. Pairs with the Acquire in `extent`. No Acquire of earlier
        // joins: a read-modify-write continues the release sequences that it finds. Relaxed on failure: tried again.
        match self.0.compare_exchange(from.0, to.0, Release, Relaxed) {
            Ok(_) => Ok(()),
            Err(found) => Err(Extent(found)),
        }
    }

    /// Says that a piece waits behind the mutex, which the caller holds.
    pub fn set_spilled(&self) {
        // [spill] Relaxed: whoever sees the bit takes the mutex, and that hands over the piece. A read-modify-write, so
        // that it stands before or after each join of the same word: see the cases in `coverage.rs`.
        self.0.fetch_or(SPILL, Relaxed);
    }

    /// Says that none waits any more. The caller holds the mutex, without which the bit is never set.
    pub fn clear_spilled(&self) {
        // [spill] Relaxed: takes away a detour, and hands on nothing.
        self.0.fetch_and(!SPILL, Relaxed);
    }

    /// Forgets what lies at `end` and above. Nobody joins meanwhile.
    pub fn cut(&self, end: u32) {
        let mut found = self.glance();
        // Relaxed: nothing is published. A read-modify-write, which keeps what is left of the extent published [there].
        while let Err(now) = self.0.compare_exchange(found.0, found.below(end).0, Relaxed, Relaxed) {
            found = Extent(now);
        }
    }
}
