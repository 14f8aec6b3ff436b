//! Which bytes of a store that keeps everything are there: protocol 6 of ARCHITECTURE.md.
//!
//! The offsets are split in blocks of [`BLOCK`] bytes. Each has a word, which holds the one extent of the block that is
//! there. Pieces that do not touch the extent of their block are *strays*: they wait in a set behind a mutex, and the
//! word says so with its bit `SPILL`. A stray is there like any other byte, for all who may take the mutex.
//!
//! ```text
//!   insert                                            is x there?
//!     the piece touches the extent:                     the word (Acquire) covers x → yes            [there]
//!       CAS the word to the two joined (Release)        no SPILL → no
//!       it had SPILL → lock, drain                      lock; the word AGAIN; then the strays
//!     else
//!       lock; add to the strays                       drain (under the lock)
//!       word.fetch_or(SPILL, Relaxed); drain            while a stray touches the extent:
//!                                                         CAS it into the word (Release); remove it
//!                                                       none is left → clear SPILL
//! ```
//!
//! Writing takes as long with a hundred thousand fragments as with none: it looks at one word for each block, and at
//! the strays of that block only. (Whoever keeps a frontier over it, as `store.rs` does, looks once at each word that it
//! moves over.)
//!
//! Why no stray is left behind by an extent that reaches it. A writer S found that its piece does not touch, and sets it
//! aside; another one, B, joins a piece to the word that reaches the one of S. All changes of a word are
//! read-modify-writes, so they stand in one order:
//! 1. B's join comes after S has set SPILL: the compare-and-swap of B found the bit, and B drains. It gets the mutex
//!    after S, and finds the piece, if nobody has taken it by then.
//! 2. B's join comes before S sets SPILL: the drain of S, which follows, sees the joined word, and takes the piece back
//!    out. Without this second look, or with the bit in a word of its own, both could miss each other.
//! 3. SPILL was cleared in between: that happens under the mutex, when there is no stray left. S sets it again.
//!
//! Why nothing is missed that is there, and nothing is read that is not.
//! 1. The extent was seen with Acquire: the bytes of all that was ever joined to it are there. Each join is a Release,
//!    and a read-modify-write carries on the releases of those before it.
//! 2. A stray was seen under the mutex: its author wrote the bytes and then took the mutex to set it aside. Whoever
//!    drains it took the mutex later, so the Release of that join carries its bytes as well.
//! 3. A byte was a stray when the reader loaded the word, and is joined before the reader has the mutex: it is no stray
//!    any more, but the word, loaded again under the mutex, has it. Without that the reader would go to sleep, and
//!    whoever joined the byte wakes only those who wait for its own piece.
//! 4. A writer publishes, then a SeqCst fence, then it looks who sleeps; a sleeper arms, then a SeqCst fence, then it
//!    looks here. One of the two sees the other, also where the publication is the bit SPILL, or a leaf that was not
//!    there before. That holds for who looks with [`covers`](Coverage::covers). A byte that is a stray is missing to
//!    [`covers_now`](Coverage::covers_now), and nobody is woken when it ceases to be one.
//!
//! Checked by `loom-tests/models/src/coverage.rs`.

mod leaves;
mod word;

use crate::sync::{Ceiling, Flag, Mutex, MutexGuard};
use leaves::{LIMIT, Leaves, WORDS};
use rangemap::RangeSet;
use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    ops::Range,
    sync::PoisonError,
};
pub use word::BLOCK;
use word::{Extent, Word};

/// Which bytes are there, byte for byte.
///
/// A byte is *written* if it was inserted here, and *there* if it was written or inherited from an earlier generation.
/// Offsets above 4 TiB less 4 MiB are as exact as others, but for each of them the mutex is taken, and those methods that
/// never take it say that nothing is there.
///
/// # Real-time
/// The methods called `…_now` and `…_at_once` are wait-free: they never allocate, free, lock or enter the kernel. The
/// others take the mutex if they find a byte missing in a block with strays, or always, where they say so.
pub struct Coverage {
    leaves: Leaves,
    inherited: Ceiling,
    /// Something was written above the words.
    reaches_far: Flag,
    slow: Mutex<Slow>,
}

/// What needs the mutex.
#[derive(Default)]
struct Slow {
    /// By block. No set is empty, and a block is in here exactly if its word has SPILL.
    strays: HashMap<u64, RangeSet<u32>>,
    /// What was written above the words.
    far: RangeSet<u64>,
}

/// How far a look goes.
#[derive(Clone, Copy)]
enum Sight {
    /// The words only.
    Words,
    /// The strays too, if the words leave it open.
    Strays,
}

/// What is there of one block, as offsets from its start.
struct Pieces<'a> {
    extent: Extent,
    strays: Option<&'a RangeSet<u32>>,
}

impl Pieces<'_> {
    /// Where the bytes that are there from `at` on end; `at` itself if that byte is missing.
    fn run_to(&self, at: u32) -> u32 {
        let mut end = self.extent.run_to(at);
        // A stray may touch the extent for the moment until somebody drains it.
        while let Some(stray) = self.strays.and_then(|strays| strays.get(&end)) {
            end = self.extent.run_to(stray.end);
        }
        end
    }

    /// Where the bytes that are there up to `at` begin; `at` itself if the byte before is missing.
    fn run_from(&self, at: u32) -> u32 {
        let mut start = self.extent.run_from(at);
        while let Some(stray) = self.strays.and_then(|strays| strays.get(&start.checked_sub(1)?)) {
            start = self.extent.run_from(stray.start);
        }
        start
    }

    /// The first byte at or after `at` that is there, or the end of the block.
    fn next(&self, at: u32) -> u32 {
        let block = BLOCK as u32;
        let extent = if at < self.extent.end() { self.extent.start().max(at) } else { block };
        let stray = self.strays.and_then(|strays| strays.overlapping(&(at..block)).next());
        stray.map_or(extent, |stray| stray.start.max(at).min(extent))
    }

    /// Where the last byte that is there ends.
    fn end(&self) -> u32 {
        let stray = self.strays.and_then(RangeSet::last);
        self.extent.end().max(stray.map_or(0, |stray| stray.end))
    }
}

impl Slow {
    fn pieces(&self, block: u64, extent: Extent) -> Pieces<'_> {
        Pieces { extent, strays: self.strays.get(&block) }
    }

    /// Takes the strays of a block that the extent has reached into the word.
    fn drain(&mut self, block: u64, word: &Word) {
        let Entry::Occupied(mut entry) = self.strays.entry(block) else { return };
        let strays = entry.get_mut();
        let mut extent = word.glance();
        while let Some(stray) = touching(extent, strays) {
            let joined = extent.join(&stray);
            extent = match word.try_join(extent, joined) {
                Ok(()) => {
                    strays.remove(stray);
                    joined
                }
                Err(now) => now,
            };
        }
        if strays.is_empty() {
            entry.remove();
            word.clear_spilled();
        }
    }
}

/// One of `strays` that can be joined to `extent`.
fn touching(extent: Extent, strays: &RangeSet<u32>) -> Option<Range<u32>> {
    if extent.is_empty() {
        return strays.first().cloned();
    }
    strays.overlapping(&(extent.start().saturating_sub(1)..extent.end() + 1)).next().cloned()
}

/// The block of an offset, and where in the block it lies.
#[inline]
fn block(offset: u64) -> (u64, u32) {
    (offset / BLOCK, (offset % BLOCK) as u32)
}

/// The words of a leaf from that of `offset` on begin at this index.
#[inline]
fn word_index(offset: u64) -> usize {
    (offset / BLOCK % WORDS) as usize
}

impl Coverage {
    /// Nothing is there.
    pub fn new() -> Self {
        Self::inheriting(0)
    }

    /// These were written.
    pub fn from_ranges(ranges: &RangeSet<u64>) -> Self {
        let coverage = Self::new();
        for range in ranges.iter() {
            coverage.insert(range.clone());
        }
        coverage
    }

    /// These are there from before, for a store that writes none of them again. What starts at 0 is inherited, which
    /// takes no words, however much it is.
    pub fn found(ranges: &RangeSet<u64>) -> Self {
        let coverage = Self::inheriting(ranges.first().filter(|first| first.start == 0).map_or(0, |first| first.end));
        for range in ranges.iter().filter(|range| range.start > 0) {
            coverage.insert(range.clone());
        }
        coverage
    }

    /// Below `len` all is there, from an earlier generation; it may be written once more in this one.
    pub fn inheriting(len: u64) -> Self {
        Self {
            leaves: Leaves::default(),
            inherited: Ceiling::new(len),
            reaches_far: Flag::default(),
            slow: Mutex::new(Slow::default()),
        }
    }

    /// Below this all is there, from an earlier generation.
    #[inline]
    pub fn inherited(&self) -> u64 {
        self.inherited.get()
    }

    fn lock(&self) -> MutexGuard<'_, Slow> {
        // No state in there is ever half changed when something can panic.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the writers' side ----

    /// Publishes `range`, whose bytes the caller has written just before. Nothing happens if it is empty.
    ///
    /// # Real-time
    /// Lock-free, and allocates only the first time within 4 MiB, if the range touches what is there in each of its
    /// blocks, and no strays lie in these. Otherwise blocking: a short lock.
    #[inline]
    pub fn insert(&self, range: Range<u64>) {
        let mut at = range.start;
        while at < range.end && at < LIMIT {
            let leaf = self.leaves.at_or_new(at);
            for word in &leaf[word_index(at)..] {
                let (block, start) = block(at);
                let len = (range.end - at).min(BLOCK - u64::from(start));
                self.insert_piece(block, word, start..start + len as u32);
                at += len;
                if at == range.end {
                    return;
                }
            }
        }
        if at < range.end {
            self.lock().far.insert(at..range.end);
            self.reaches_far.set();
        }
    }

    #[inline]
    fn insert_piece(&self, block: u64, word: &Word, piece: Range<u32>) {
        let mut extent = word.glance();
        while extent.touches(&piece) {
            match word.try_join(extent, extent.join(&piece)) {
                Ok(()) => {
                    if extent.spilled() {
                        self.drain(block, word);
                    }
                    return;
                }
                Err(now) => extent = now,
            }
        }
        self.set_aside(block, word, piece);
    }

    #[cold]
    fn drain(&self, block: u64, word: &Word) {
        self.lock().drain(block, word);
    }

    /// Adds a stray.
    #[cold]
    fn set_aside(&self, block: u64, word: &Word, piece: Range<u32>) {
        let mut slow = self.lock();
        slow.strays.entry(block).or_default().insert(piece);
        word.set_spilled();
        // The word may have grown since it was looked at.
        slow.drain(block, word);
    }

    /// Forgets all from `end` on, what was inherited as well. Takes the mutex. Nobody inserts meanwhile; whoever reads
    /// meanwhile may find the bytes there or not.
    pub fn truncate(&self, end: u64) {
        self.inherited.lower(end);
        let mut slow = self.lock();
        if end < u64::MAX {
            slow.far.remove(end.max(LIMIT)..u64::MAX);
        }
        let mut at = end;
        while let Some((begin, leaf)) = self.leaves.first(at..LIMIT) {
            at = at.max(begin);
            for word in &leaf[word_index(at)..] {
                let (block, keep) = block(at);
                if let Some(strays) = slow.strays.get_mut(&block) {
                    strays.remove(keep..BLOCK as u32);
                }
                word.cut(keep);
                slow.drain(block, word);
                at += BLOCK - u64::from(keep);
            }
        }
    }

    // ---- what is there ----

    /// Whether all of `range` is there.
    #[inline]
    pub fn covers(&self, range: &Range<u64>) -> bool {
        self.covers_by(range, Sight::Strays)
    }

    /// Whether a glance shows that all of `range`, which is not empty, is there.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[inline]
    pub fn covers_at_once(&self, range: &Range<u64>) -> bool {
        range.end <= self.inherited() || self.is_in_one_word(range.start, range.end)
    }

    /// Whether all of `range` is there; bytes of strays count as missing.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[inline]
    pub fn covers_now(&self, range: &Range<u64>) -> bool {
        self.covers_by(range, Sight::Words)
    }

    #[inline]
    fn covers_by(&self, range: &Range<u64>, sight: Sight) -> bool {
        let from = range.start.max(self.inherited());
        from >= range.end || self.is_in_one_word(from, range.end) || self.run_to(from, range.end, sight) == range.end
    }

    /// Whether the word of `from` alone says that all of `from..end` was written. Of short ranges it mostly does.
    #[inline]
    fn is_in_one_word(&self, from: u64, end: u64) -> bool {
        let (_, start) = block(from);
        let len = end - from;
        if len > BLOCK - u64::from(start) {
            return false;
        }
        let Some(leaf) = self.leaves.at(from) else { return false };
        leaf[word_index(from)].extent().run_to(start) >= start + len as u32
    }

    /// How many bytes are there from `offset` on without a gap, up to `max`.
    #[inline]
    pub fn run(&self, offset: u64, max: u64) -> u64 {
        self.run_by(offset, max, self.inherited(), Sight::Strays)
    }

    /// The same; bytes of strays count as missing.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[inline]
    pub fn run_now(&self, offset: u64, max: u64) -> u64 {
        self.run_by(offset, max, self.inherited(), Sight::Words)
    }

    /// Whether only the mutex tells if `offset`, which [`run_now`](Self::run_now) does not find, is there.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    pub fn may_be_stray(&self, offset: u64) -> bool {
        match self.leaves.at(offset) {
            Some(leaf) => leaf[word_index(offset)].extent().spilled(),
            None => offset >= LIMIT && self.reaches_far.get(),
        }
    }

    #[inline]
    fn run_by(&self, offset: u64, max: u64, inherited: u64, sight: Sight) -> u64 {
        let limit = offset.saturating_add(max);
        let from = offset.max(inherited);
        if from >= limit { limit - offset } else { self.run_to(from, limit, sight) - offset }
    }

    /// The first stretch of `range` that is missing, claimed or not.
    pub fn first_missing(&self, range: &Range<u64>) -> Option<Range<u64>> {
        self.first_unwritten(range.start.max(self.inherited()), range.end)
    }

    /// The last byte of `range` that is missing.
    pub fn last_missing(&self, range: &Range<u64>) -> Option<u64> {
        let floor = range.start.max(self.inherited());
        if floor >= range.end {
            return None;
        }
        let start = self.run_from(floor, range.end);
        (start > floor).then(|| start - 1)
    }

    /// Where the last byte that is there ends; 0 if there is none. Takes the mutex.
    pub fn end(&self) -> u64 {
        self.inherited().max(self.written_end())
    }

    /// All that is there. Takes the mutex, allocates, and takes time in proportion to the data.
    pub fn available(&self) -> RangeSet<u64> {
        let inherited = self.inherited();
        let mut all = self.written_in(&(inherited..u64::MAX));
        if inherited > 0 {
            all.insert(0..inherited);
        }
        all
    }

    // ---- what was written in this generation ----

    /// How many bytes were written from `offset` on without a gap, up to `max`.
    #[inline]
    pub fn written_run(&self, offset: u64, max: u64) -> u64 {
        self.run_by(offset, max, 0, Sight::Strays)
    }

    /// The first stretch of `range` that was not written.
    #[inline]
    pub fn next_unwritten(&self, range: &Range<u64>) -> Option<Range<u64>> {
        if range.is_empty() {
            return None;
        }
        self.next_unwritten_of_word(range).unwrap_or_else(|| self.first_unwritten_at_length(range))
    }

    /// The same, if the word of the range's start says it by itself.
    #[inline]
    fn next_unwritten_of_word(&self, range: &Range<u64>) -> Option<Option<Range<u64>>> {
        let (_, start) = block(range.start);
        let base = range.start - u64::from(start);
        if range.end - base > BLOCK {
            return None;
        }
        let extent = self.leaves.at(range.start)?[word_index(range.start)].extent();
        if extent.spilled() {
            return None;
        }
        let from = extent.run_to(start);
        let end = (range.end - base) as u32;
        let to = if from < extent.start() { extent.start().min(end) } else { end };
        Some((from < to).then(|| base + u64::from(from)..base + u64::from(to)))
    }

    #[inline(never)]
    fn first_unwritten_at_length(&self, range: &Range<u64>) -> Option<Range<u64>> {
        self.first_unwritten(range.start, range.end)
    }

    /// All of `range` that was written. Takes the mutex, allocates, and takes time in proportion to the data.
    pub fn written_in(&self, range: &Range<u64>) -> RangeSet<u64> {
        let mut all = RangeSet::new();
        let mut at = range.start;
        while at < range.end {
            let start = self.gap_to(at, range.end, Sight::Strays);
            at = self.run_to(start, range.end, Sight::Strays);
            if start < at {
                all.insert(start..at);
            }
        }
        all
    }

    // ---- how all these look at words and strays ----

    /// Where the bytes written from `from` on end, or `limit`; `from` itself if that byte is missing.
    #[inline]
    fn run_to(&self, from: u64, limit: u64, sight: Sight) -> u64 {
        let mut at = from;
        while at < limit {
            let Some(leaf) = self.leaves.at(at) else { return self.far_run_to(at, limit, sight) };
            for word in &leaf[word_index(at)..] {
                let (block, start) = block(at);
                let base = at - u64::from(start);
                let enough = (limit - base).min(BLOCK) as u32;
                let end = self.run_in_block(block, word, start, enough, sight);
                at = base + u64::from(end);
                if end < enough || at >= limit {
                    return at.min(limit);
                }
            }
        }
        limit
    }

    /// Where the bytes of a block that were written from `at` on end. It does not matter by how much that is more than
    /// `enough`.
    #[inline]
    fn run_in_block(&self, block: u64, word: &Word, at: u32, enough: u32, sight: Sight) -> u32 {
        let extent = word.extent();
        let end = extent.run_to(at);
        if end >= enough || !extent.spilled() {
            return end;
        }
        self.look_closer(block, word, sight, end, |pieces| pieces.run_to(at))
    }

    /// Answers a question about a block with strays; with `in_words` if the strays do not count.
    #[cold]
    fn look_closer(
        &self,
        block: u64,
        word: &Word,
        sight: Sight,
        in_words: u32,
        ask: impl FnOnce(Pieces<'_>) -> u32,
    ) -> u32 {
        match sight {
            Sight::Words => in_words,
            Sight::Strays => {
                let slow = self.lock();
                // The word again: what was a stray may be in there by now, and among the strays no more.
                let extent = word.extent();
                ask(slow.pieces(block, extent))
            }
        }
    }

    /// [`run_to`](Self::run_to) where there are no words.
    #[cold]
    fn far_run_to(&self, at: u64, limit: u64, sight: Sight) -> u64 {
        match sight {
            Sight::Strays if at >= LIMIT => self.lock().far.get(&at).map_or(at, |range| range.end.min(limit)),
            _ => at,
        }
    }

    /// The first byte at or after `from` that was written, or `limit`.
    fn gap_to(&self, from: u64, limit: u64, sight: Sight) -> u64 {
        let mut at = from;
        while let Some((begin, leaf)) = self.leaves.first(at..limit) {
            at = at.max(begin);
            for word in &leaf[word_index(at)..] {
                let (block, start) = block(at);
                let base = at - u64::from(start);
                let extent = word.extent();
                let mut next = Pieces { extent, strays: None }.next(start);
                if extent.spilled() {
                    next = self.look_closer(block, word, sight, next, |pieces| pieces.next(start));
                }
                at = base + u64::from(next);
                if u64::from(next) < BLOCK || at >= limit {
                    return at.min(limit);
                }
            }
        }
        let at = at.max(LIMIT);
        if at >= limit {
            return limit;
        }
        match sight {
            Sight::Words => limit,
            Sight::Strays => {
                self.lock().far.overlapping(&(at..limit)).next().map_or(limit, |range| range.start.max(at))
            }
        }
    }

    fn first_unwritten(&self, from: u64, limit: u64) -> Option<Range<u64>> {
        let mut start = from;
        loop {
            start = self.run_to(start, limit, Sight::Strays);
            if start >= limit {
                return None;
            }
            let end = self.gap_to(start, limit, Sight::Strays);
            // If `start` was written just now, we go on behind it.
            if start < end {
                return Some(start..end);
            }
        }
    }

    /// Where the bytes written up to `end` begin, or `floor`; `end` itself if the byte before is missing.
    fn run_from(&self, floor: u64, end: u64) -> u64 {
        let mut at = end;
        if at > LIMIT {
            at = self.lock().far.get(&(at - 1)).map_or(at, |range| range.start);
        }
        // Above the words, either a byte is missing or that was all.
        while at > floor && at <= LIMIT {
            let last = at - 1;
            let Some(leaf) = self.leaves.at(last) else { return at };
            for word in leaf[..=word_index(last)].iter().rev() {
                let (block, last) = block(at - 1);
                let base = at - 1 - u64::from(last);
                let enough = floor.saturating_sub(base) as u32;
                let extent = word.extent();
                let mut start = extent.run_from(last + 1);
                if start > enough && extent.spilled() {
                    start = self.look_closer(block, word, Sight::Strays, start, |p| p.run_from(last + 1));
                }
                at = base + u64::from(start);
                if start > enough || at <= floor {
                    return at.max(floor);
                }
            }
        }
        at.max(floor)
    }

    fn written_end(&self) -> u64 {
        if let Some(range) = self.lock().far.last() {
            return range.end;
        }
        let blocks = self.leaves.backwards().flat_map(|(begin, leaf)| {
            let words = leaf.iter().enumerate().rev();
            words.map(move |(i, word)| (begin / BLOCK + i as u64, word))
        });
        let mut ends = blocks.map(|(block, word)| {
            let extent = word.extent();
            let mut end = extent.end();
            if extent.spilled() {
                end = self.look_closer(block, word, Sight::Strays, end, |pieces| pieces.end());
            }
            (block * BLOCK, end)
        });
        ends.find(|&(_, end)| end > 0).map_or(0, |(base, end)| base + u64::from(end))
    }
}

impl Default for Coverage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coverage").field("inherited", &self.inherited()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
