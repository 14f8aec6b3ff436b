//! One generation of a store that keeps everything: its bytes, and which of them are there.
//!
//! Bytes that were written in a generation are never replaced in it, so a copy needs no second look: what coverage says
//! is there, is there, and stays as it is.
//!
//! A generation that follows a committed one starts with all its bytes, without a copy: it reads them from the segments
//! of the one before, until it has written them anew. Neither are ever replaced in place, so readers of the old
//! generation keep it, and readers of the new one see either the old bytes or the new.
//!
//! A stream is mostly written in order. The *frontier* says how far all is there, so that a look at what lies below it
//! takes one load, and not one for each block. It is a hint: where it is behind, coverage is asked, and the answer is the
//! same. So no write has to bring it up to date: each moves it over a stretch of what is there, [`STRIDE`] at most beside
//! its own bytes, and the writes after it go on.
//!
//! ```text
//!   write: copy in; insert in coverage            is all below `end` there?
//!     the write is at the frontier, or               end ≤ frontier.load(Acquire) → yes      [frontier]
//!     what is at the frontier was filled →           else ask coverage
//!       frontier.fetch_max(as far as coverage's
//!         words go from there, but no more than
//!         a stride, Release)              [frontier]
//! ```
//!
//! Why all below it is there, with its bytes. Whoever raises it from `f` to `t` has written the bytes of `f..t`, or seen
//! them in words, loaded with Acquire; the Release of the raise hands them on. Those below `f` were handed on by the raises
//! before: all of them are read-modify-writes, so that each carries on the releases of those before it. Of two that
//! write neighbouring pieces at once, each may be too early to see the other's, and the frontier stays behind until a
//! later write finds it so.

use crate::{
    coverage::{BLOCK, Coverage},
    segments::Segments,
    sync::{AtomicU64, CachePadded, Ordering::*},
};
use std::{convert::Infallible, io, ops::Range, sync::Arc};

/// How far a write moves the frontier over what others wrote, at most: 256 words to look at, some 0.3 µs, or 1 µs out of
/// cache. Whoever waits for the bytes of the write is woken only after that.
const STRIDE: u64 = 256 * BLOCK;

/// One generation.
#[derive(Debug)]
pub struct Store {
    segments: Arc<Segments>,
    coverage: Coverage,
    frontier: Frontier,
    /// Where the bytes below `coverage.inherited()` are until they are written anew.
    before: Option<Arc<Segments>>,
}

/// Below it all is there, in this generation's own segments.
#[derive(Debug)]
struct Frontier(CachePadded<AtomicU64>);

impl Frontier {
    fn at(offset: u64) -> Self {
        Self(CachePadded::new(AtomicU64::new(offset)))
    }

    /// For whoever goes on to read what lies below.
    #[inline]
    fn get(&self) -> u64 {
        // [frontier] Acquire: the bytes below are there. Pairs with the Release in `raise`.
        self.0.load(Acquire)
    }

    /// For whoever goes on to raise it.
    #[inline]
    fn glance(&self) -> u64 {
        // Relaxed: what lies below is handed on by the chain of raises, whoever knows of them.
        self.0.load(Relaxed)
    }

    /// All below `to` is there: what was not below before, the caller has written, or seen in coverage.
    #[inline]
    fn raise(&self, to: u64) {
        // [frontier] Release: pairs with the Acquire in `get`. A read-modify-write, which continues the release sequences of
        // the raises before it.
        self.0.fetch_max(to, Release);
    }
}

/// What a read makes of bytes that only coverage's mutex tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strays {
    /// They count as missing: for a real-time thread.
    Missing,
    /// They count; a short lock if it comes to that.
    Lock,
}

impl Store {
    pub fn new(segments: Segments, coverage: Coverage) -> Self {
        Self::over(Arc::new(segments), coverage, None)
    }

    fn over(segments: Arc<Segments>, coverage: Coverage, before: Option<Arc<Segments>>) -> Self {
        // What is inherited lies in other segments, or is all that there is.
        let store = Self { segments, coverage, frontier: Frontier::at(0), before };
        store.advance(0..0, u64::MAX);
        store
    }

    /// A store that is complete from the start: `len` bytes, all of which `segments` have.
    pub fn whole(segments: Segments, len: u64) -> Self {
        Self::over(Arc::new(segments), Coverage::inheriting(len), None)
    }

    /// This store once it is complete with `len` bytes, without what it took from the generation before.
    pub fn settled(&self, len: u64) -> Self {
        Self::over(self.segments.clone(), Coverage::inheriting(len), None)
    }

    /// Whether bytes of the generation before may be read from its segments.
    pub fn is_rewrite(&self) -> bool {
        self.before.is_some()
    }

    /// The generation after this one, which is complete and has `len` bytes: they are there, and are written anew into
    /// `segments`.
    pub fn rewrite(&self, len: u64, segments: Segments) -> Self {
        Self::over(Arc::new(segments), Coverage::inheriting(len), Some(self.segments.clone()))
    }

    /// The generation after this one, which was given up: it goes on with the same bytes. Readers of this one see no
    /// more than there is now.
    pub fn resume(&self) -> Self {
        Self::over(self.segments.clone(), resumed(&self.coverage), self.before.clone())
    }

    #[inline]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    #[inline]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Whether a glance shows that all of `range`, which is not empty, is there.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[inline]
    pub fn covers_at_once(&self, range: &Range<u64>) -> bool {
        range.end <= self.frontier.get() || self.coverage.covers_at_once(range)
    }

    /// Copies out all of `buf.len()` bytes at `offset`, if the frontier shows that they are there.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[inline]
    pub fn read_at_once(&self, offset: u64, buf: &mut [u8]) -> bool {
        let whole = offset.checked_add(buf.len() as u64).is_some_and(|end| end <= self.frontier.get());
        if whole {
            self.segments.read(offset, buf);
        }
        whole
    }

    /// Copies out what there is from `offset` on, without a gap, and says how many bytes that are.
    ///
    /// # Real-time
    /// Wait-free with [`Strays::Missing`], but for a generation that rewrites another: that takes a short lock.
    #[inline]
    pub fn read(&self, offset: u64, buf: &mut [u8], strays: Strays) -> usize {
        if let Some(before) = &self.before {
            return self.read_either(before, offset, buf);
        }
        let wanted = buf.len() as u64;
        let there = match strays {
            Strays::Missing => self.coverage.run_now(offset, wanted),
            Strays::Lock => self.coverage.run(offset, wanted),
        } as usize;
        self.segments.read(offset, &mut buf[..there]);
        there
    }

    /// As `read`, piece by piece from the generation that has it. An old byte that is replaced while it is copied is
    /// still an old byte: nobody writes there.
    #[cold]
    fn read_either(&self, before: &Segments, offset: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let (at, rest) = (offset + done as u64, &mut buf[done..]);
            let written = self.coverage.written_run(at, rest.len() as u64);
            let len = if written > 0 {
                self.segments.read(at, &mut rest[..written as usize]);
                written
            } else {
                let inherited = at..self.coverage.inherited().min(at.saturating_add(rest.len() as u64));
                match self.coverage.next_unwritten(&inherited) {
                    Some(old) if old.start == at => {
                        let len = old.end - at;
                        before.read(at, &mut rest[..len as usize]);
                        len
                    }
                    // Written in this very moment.
                    Some(_) => continue,
                    None if inherited.is_empty() => break,
                    None => continue,
                }
            };
            done += len as usize;
        }
        done
    }

    /// Copies out bytes of a complete store, which has them all in its own segments.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel, if the memory is resident.
    #[inline]
    pub fn read_complete(&self, offset: u64, buf: &mut [u8]) {
        self.segments.read(offset, buf);
    }

    /// Copies `data` in, where nothing was written in this generation and the segments are mapped, and publishes it.
    #[inline]
    pub fn write(&self, offset: u64, data: &[u8]) {
        let range = offset..offset + data.len() as u64;
        self.segments.write(offset, data);
        self.coverage.insert(range.clone());
        self.advance(range, STRIDE);
    }

    /// Moves the frontier over `written`, if it has come that far, and over what is there behind it, `most` bytes of that.
    #[inline]
    fn advance(&self, written: Range<u64>, most: u64) {
        // A generation that rewrites another reads from two places, whatever is there.
        if self.before.is_some() {
            return;
        }
        let frontier = self.frontier.glance();
        let from = if written.start <= frontier { written.end.max(frontier) } else { frontier };
        let to = from + self.coverage.run_now(from, most);
        if to > frontier {
            self.frontier.raise(to);
        }
    }

    /// Writes what is still missing of the generation before, up to `end`, so that this one has all its bytes itself.
    /// `reserve` makes room first.
    pub fn complete<E>(&self, end: u64, mut reserve: impl FnMut(&Range<u64>) -> Result<(), E>) -> Result<(), E> {
        let Some(before) = &self.before else { return Ok(()) };
        let mut buf = vec![0; COPY_BYTES];
        let mut rest = 0..end.min(self.coverage.inherited());
        while let Some(gap) = self.coverage.next_unwritten(&rest) {
            let piece = gap.start..gap.end.min(gap.start + COPY_BYTES as u64);
            reserve(&piece)?;
            let buf = &mut buf[..(piece.end - piece.start) as usize];
            before.read(piece.start, buf);
            self.write(piece.start, buf);
            rest.start = piece.end;
        }
        Ok(())
    }

    /// Hands the written bytes of `range` to `take` in order, piece by piece. They are there.
    pub fn each_piece(&self, range: &Range<u64>, mut take: impl FnMut(&[u8])) {
        let Ok(()) = self.try_each_piece(range, |piece| {
            take(piece);
            Ok::<(), Infallible>(())
        });
    }

    /// The same, until `take` fails.
    pub fn try_each_piece<E>(&self, range: &Range<u64>, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut buf = vec![0; (range.end - range.start).min(COPY_BYTES as u64) as usize];
        let mut offset = range.start;
        while offset < range.end {
            let len = (range.end - offset).min(COPY_BYTES as u64) as usize;
            self.segments.read(offset, &mut buf[..len]);
            take(&buf[..len])?;
            offset += len as u64;
        }
        Ok(())
    }

    /// Makes the bytes of `range`, which are there, durable.
    pub fn sync(&self, range: &Range<u64>) -> io::Result<()> {
        self.segments.sync(range)
    }
}

const COPY_BYTES: usize = 64 << 10;

/// The coverage of a generation that follows one that was given up: as much was inherited, and as much was written.
pub fn resumed(coverage: &Coverage) -> Coverage {
    let next = Coverage::inheriting(coverage.inherited());
    let written = coverage.written_in(&(0..u64::MAX));
    written.iter().for_each(|range| next.insert(range.clone()));
    next
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::segments::Medium;

    const BEHIND: u64 = 1000;

    /// `BEHIND` blocks, of which the first one is missing its last byte. The byte at offset `o` is `o / BLOCK`.
    fn with_a_hole() -> Store {
        let segments = Segments::new(Medium::Memory, (BEHIND + 1) * BLOCK);
        segments.map(&(0..(BEHIND + 1) * BLOCK)).unwrap();
        let store = Store::new(segments, Coverage::new());
        for block in (1..BEHIND).rev() {
            store.write(block * BLOCK, &[block as u8; BLOCK as usize]);
        }
        store.write(0, &[0; BLOCK as usize - 1]);
        store
    }

    #[test]
    fn what_lies_behind_a_hole_that_is_filled_is_there_though_the_frontier_has_yet_to_come() {
        let store = with_a_hole();
        assert_eq!(store.frontier.get(), BLOCK - 1);
        store.write(BLOCK - 1, &[0]);
        assert_eq!(store.frontier.get(), BLOCK + STRIDE, "a write looks at no more than a stride");
        let far = (BEHIND - 1) * BLOCK;
        assert!(store.coverage().covers_now(&(0..far + BLOCK)));
        let mut buf = [0; 10];
        assert!(!store.read_at_once(far, &mut buf));
        assert_eq!((store.read(far, &mut buf, Strays::Missing), buf), (10, [(BEHIND - 1) as u8; 10]));
    }

    #[test]
    fn the_writes_that_follow_take_the_frontier_to_the_end() {
        let store = with_a_hole();
        store.write(BLOCK - 1, &[0]);
        for more in 0..BEHIND * BLOCK / STRIDE {
            assert!(store.frontier.get() < BEHIND * BLOCK);
            store.write(BEHIND * BLOCK + more, &[BEHIND as u8]);
        }
        assert_eq!(store.frontier.get(), BEHIND * BLOCK + BEHIND * BLOCK / STRIDE);
    }

    #[test]
    fn a_store_begins_with_its_frontier_where_it_belongs() {
        let before = with_a_hole();
        before.write(BLOCK - 1, &[0]);
        assert_eq!(before.resume().frontier.get(), BEHIND * BLOCK);
    }
}
