//! The window of a ring: protocol 1 of ARCHITECTURE.md.
//!
//! One writer appends to a stream of bytes, of which the last `capacity` are kept. Any number of readers copy bytes out
//! and find out afterwards whether the writer replaced them meanwhile. `start` and `end` are stream offsets that only
//! grow, so a reader needs one pass and no retry: it is wait-free, and so is the writer.
//!
//! ```text
//!   write n bytes at e = end                    read n bytes at o
//!     ns = max(start, e + n − capacity)           o + n ≤ end.load(Acquire), or not yet    [end]
//!     start.store(ns, Relaxed)                    copy out
//!     fence(Release)              [start]         fence(Acquire)                            [start]
//!     copy in                                     o ≥ start.load(Relaxed), or evicted
//!     end.store(e + n, Release)   [end]
//! ```
//!
//! Why the check comes out right. A byte that was copied is either what offset `o` held, or what a later lap put into
//! the same cell. In the second case
//! 1. the writer's fence [start] stands between its store of `start > o` and its store of that byte;
//! 2. the reader's fence [start] stands between its load of that byte and its load of `start`;
//! 3. the load of the byte took the value that the writer's store put there, so the two fences synchronise, and the
//!    load of `start` sees that store or a later one: it is above `o`, and the copy is discarded.
//!
//! Neither a Release store of `start` nor an Acquire load of it can stand in for its fence: both order the wrong side.
//! Checked by `loom-tests/models/src/window.rs`.

use crate::{
    Span,
    cells::{Cells, OutOfMemory},
    sync::{AtomicU64, CachePadded, Ordering::*, OwnedCounter, fence},
};

/// The largest offset that a stream can reach: `u64::MAX - 8`, at 1.4 Mbit/s some three million years in.
///
/// What lies above is used for marks (no gate, no gap, the states of a resource).
pub const MAX_OFFSET: u64 = u64::MAX - 8;

/// The bytes of a ring with the two offsets that say which of them are there.
#[derive(Debug)]
pub struct Window {
    /// The oldest offset that is still there; all below may be overwritten at any moment.
    start: CachePadded<AtomicU64>,
    /// The live edge: the first offset that is not there yet.
    end: CachePadded<AtomicU64>,
    /// The writer's own view, always in sync. Nobody else looks at it.
    own: CachePadded<Own>,
    /// Where the last discontinuity began, or the window itself. Changes that seldom, it lies beside what never changes:
    /// who looks here does not take a cache line from the writer.
    base: AtomicU64,
    capacity: u64,
    /// `capacity - 1` if that is a mask, or 0.
    mask: u64,
    /// The largest piece that is evicted, copied and published at a time.
    piece: usize,
    cells: Cells,
}

#[derive(Debug)]
struct Own {
    start: OwnedCounter,
    end: OwnedCounter,
}

impl Window {
    /// An empty window of `capacity` (at least 1) bytes, at offset `at`.
    pub fn new(capacity: usize, at: u64) -> Result<Self, OutOfMemory> {
        assert!(capacity > 0, "the options were validated");
        let cells = Cells::new(capacity)?;
        let capacity = capacity as u64;
        Ok(Self {
            start: CachePadded::new(AtomicU64::new(at)),
            end: CachePadded::new(AtomicU64::new(at)),
            own: CachePadded::new(Own { start: OwnedCounter::new(at), end: OwnedCounter::new(at) }),
            base: AtomicU64::new(at),
            capacity,
            mask: if capacity.is_power_of_two() { capacity - 1 } else { 0 },
            piece: piece(capacity),
            cells,
        })
    }

    #[inline]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Touches every page, so that nobody who comes later takes a page fault.
    pub fn prefault(&mut self) {
        self.cells.prefault();
    }

    /// Keeps the pages in memory, where the system allows it; says whether it did.
    pub fn lock_memory(&self) -> bool {
        self.cells.lock_memory()
    }

    /// The cell of an offset.
    #[inline]
    fn cell(&self, offset: u64) -> usize {
        // A division takes some 5 ns, and most rings are a power of two.
        if self.mask + 1 == self.capacity { (offset & self.mask) as usize } else { self.cell_by_division(offset) }
    }

    #[inline(never)]
    fn cell_by_division(&self, offset: u64) -> usize {
        (offset % self.capacity) as usize
    }

    /// Makes what the writer sees and what is published one again, for a window that two threads may have written at
    /// once. The caller has it to itself: it was handed the driver.
    ///
    /// A resource relies on them being one: a gate stands at the writer's end and lends up to the published one.
    pub fn settle(&self) {
        // Relaxed, all: nobody else is here, and whoever comes later was handed the window.
        let end = self.own.end.get().max(self.end.load(Relaxed));
        let start = self.own.start.get().max(self.start.load(Relaxed)).max(end.saturating_sub(self.capacity)).min(end);
        self.own.start.set(start);
        self.own.end.set(end);
        self.start.store(start, Relaxed);
        self.base.store(start, Relaxed);
        self.end.store(end, Relaxed);
    }

    // ---- the writer's side ----

    /// Where the writer is: its own view of `end`.
    #[inline]
    pub fn written_to(&self) -> u64 {
        self.own.end.get()
    }

    /// Appends `data` at the live edge, evicting the oldest bytes as needed. Data larger than the capacity stream
    /// through. The caller has made sure that [`MAX_OFFSET`] is not passed and that no gate stands in the way.
    ///
    /// Called by two threads at once, it mixes up their bytes; that is all.
    #[inline]
    pub fn append(&self, data: &[u8]) {
        if data.len() <= self.piece {
            self.append_piece(data);
        } else {
            self.append_in_pieces(data);
        }
    }

    #[inline(never)]
    fn append_in_pieces(&self, data: &[u8]) {
        for data in data.chunks(self.piece) {
            self.append_piece(data);
        }
    }

    #[inline(always)]
    fn append_piece(&self, data: &[u8]) {
        let end = self.own.end.get();
        let new_end = end + data.len() as u64;
        let new_start = new_end.saturating_sub(self.capacity);
        if new_start > self.own.start.get() {
            self.own.start.set(new_start);
            // [start] Relaxed, because the fence on the next line orders it before the copy. Pairs with the Acquire
            // fence in `lapped`.
            self.start.store(new_start, Relaxed);
            fence(Release);
        }
        self.copy_in(end, data);
        self.own.end.set(new_end);
        // [end] Release: publishes the bytes copied above. Pairs with the Acquire load in `end` and `span`.
        self.end.store(new_end, Release);
    }

    /// A discontinuity: forgets all that is there and goes on at `at`, which lies above the live edge.
    ///
    /// `start` first: in the other order a reader could find offsets below `at`, which nobody wrote, inside the window.
    pub fn restart(&self, at: u64) {
        self.own.start.set(at);
        // [start] Relaxed, because of the fence, as in `append_piece`; the bytes appended next replace what a reader
        // may be copying right now.
        self.start.store(at, Relaxed);
        fence(Release);
        // [base] Relaxed: the Release of [end] below hands it on.
        self.base.store(at, Relaxed);
        self.own.end.set(at);
        // [end] Release: whoever sees this end sees a start and a base that are not below it. Pairs with `end` and `span`.
        self.end.store(at, Release);
    }

    // ---- the readers' side ----

    /// The live edge.
    #[inline]
    pub fn end(&self) -> u64 {
        // [end] Acquire: the bytes below are there. Pairs with the Release stores in `append_piece` and `restart`.
        self.end.load(Acquire)
    }

    /// The oldest offset that is still there, as far as this thread has seen: it may be evicted by now.
    #[inline]
    pub fn oldest(&self) -> u64 {
        // Relaxed: it proves nothing about bytes. After `end` it is not below the start that belonged to that end,
        // by the Release of [end].
        self.start.load(Relaxed)
    }

    /// Where the last discontinuity began that this thread has seen, or the window itself. After [`end`](Self::end) it
    /// belongs to that end: all from there on, up to the end, was written, and only what a lap took is no longer there.
    ///
    /// For who cannot be lapped, and need not look at [`oldest`](Self::oldest), which changes with each write.
    #[inline]
    pub fn base(&self) -> u64 {
        // [base] Relaxed: after `end` it is not below the base that belonged to that end, by the Release of [end] in
        // `restart`.
        self.base.load(Relaxed)
    }

    /// The offsets that can be read. Part of one window that there really was, never inverted, never wider than the
    /// capacity, and neither end ever goes back.
    ///
    /// `end` comes first: `start` only grows, so a start that is read later can only make the span smaller. In the
    /// other order an eviction in between would make it wider than the capacity. It may overtake `end`, so it is
    /// clamped.
    #[inline]
    pub fn span(&self) -> Span {
        let end = self.end();
        let start = self.oldest();
        Span { start, end: end.max(start) }
    }

    /// Whether bytes copied from `offset` on, just now, may have been overwritten while they were.
    #[inline]
    pub fn lapped(&self, offset: u64) -> bool {
        // [start] Acquire: the loads of the bytes come before the load of `start`. Pairs with the Release fences in
        // `append_piece` and `restart`.
        fence(Acquire);
        // Relaxed, because of the fence.
        offset < self.start.load(Relaxed)
    }

    /// Copies what there is from `offset` on, up to `end`, which must have come from [`end`](Self::end); `None` if it
    /// was evicted, before or meanwhile (`buf` then holds a mixture).
    #[inline]
    pub fn read(&self, offset: u64, buf: &mut [u8], end: u64) -> Option<usize> {
        let there = end.saturating_sub(offset).min(self.capacity);
        // At most `buf.len()`, which is a usize.
        let n = (buf.len() as u64).min(there) as usize;
        self.read_all(offset, &mut buf[..n]).then_some(n)
    }

    /// Copies `buf.len()` bytes out, at most a capacity, which lie below an [`end`](Self::end) that the caller has
    /// loaded; `false` if they were evicted, before or meanwhile (`buf` then holds a mixture).
    #[inline]
    pub fn read_all(&self, offset: u64, buf: &mut [u8]) -> bool {
        self.copy_out(offset, buf);
        !self.lapped(offset)
    }

    /// Copies bytes out, whatever they are; at most a capacity.
    #[inline]
    pub fn copy_out(&self, offset: u64, buf: &mut [u8]) {
        let at = self.cell(offset);
        if buf.len() <= self.cells.len() - at {
            self.cells.read(at, buf);
        } else {
            self.copy_out_around(at, buf);
        }
    }

    /// Out of line: once a lap at most.
    #[cold]
    fn copy_out_around(&self, at: usize, buf: &mut [u8]) {
        let (head, tail) = buf.split_at_mut(self.cells.len() - at);
        self.cells.read(at, head);
        self.cells.read(0, tail);
    }

    #[inline]
    fn copy_in(&self, offset: u64, data: &[u8]) {
        let at = self.cell(offset);
        // Of a ring all may be written: what is asked here is not asked again by `write`.
        if data.len() <= self.cells.writable() - at {
            self.cells.write(at, data);
        } else {
            self.copy_in_around(at, data);
        }
    }

    /// Out of line: once a lap at most.
    #[cold]
    fn copy_in_around(&self, at: usize, data: &[u8]) {
        let (head, tail) = data.split_at(self.cells.len() - at);
        self.cells.write(at, head);
        self.cells.write(0, tail);
    }

    /// The bytes of `offset..offset + len` in place, in one or two pieces.
    ///
    /// # Safety
    /// - `offset + len` is at most an [`end`](Self::end) that the caller has loaded, and `len` at most the capacity.
    /// - While the slices live, the writer does not write to these offsets' cells: a gate at or below `offset` holds it.
    #[allow(unsafe_code)]
    #[inline]
    pub unsafe fn lend(&self, offset: u64, len: usize) -> (&[u8], &[u8]) {
        debug_assert!(len as u64 <= self.capacity);
        let at = self.cell(offset);
        let head = len.min(self.capacity as usize - at);
        // SAFETY: the cells at..at + head are those of offset..offset + head, since `head` stops at the last cell;
        // the caller promises that the writer leaves them alone.
        let first = unsafe { self.cells.lend(at, head) };
        // SAFETY: likewise for the rest, which begins again at cell 0 and ends before `at`, as `len` is at most the
        // capacity.
        let second = unsafe { self.cells.lend(0, len - head) };
        (first, second)
    }
}

/// The largest piece that is evicted, copied and published at a time.
///
/// A write evicts what it will replace before it copies. In pieces of at most a quarter of the window, the rest stays
/// readable meanwhile. Below 4 KiB that is not worth it, and above 64 KiB there is nothing more to gain.
fn piece(capacity: u64) -> usize {
    (capacity / 4).clamp(capacity.min(4 << 10), 64 << 10) as usize
}
