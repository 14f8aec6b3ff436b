//! Bytes in segments that never move: a store that grows while others read it.
//!
//! ```text
//!   offset   0      64K           192K                       448K
//!            ├──────┼─────────────┼──────────────────────────┼──── … each twice as long as the one before
//!   segment    0          1                   2                 3
//! ```
//!
//! A segment is found with one `ilog2`; forty-nine of them reach the largest offset. It is mapped when its first byte is
//! written, and stays where it is for as long as anybody has the store: a reader's copy needs no lock.
//!
//! What may be read is not known here: that is [`Coverage`](crate::coverage::Coverage)'s.

use crate::{
    cells::Cells,
    sync::{AtomicU64, Ordering::*},
};
use std::{
    fs::File,
    io,
    ops::Range,
    sync::{Mutex, OnceLock, PoisonError},
};

/// The length of the first segment. Mappings of files begin at multiples of the system's granularity, which is 64 KiB
/// at most (on Windows).
#[cfg(not(loom))]
const FIRST: u64 = 64 << 10;
#[cfg(loom)]
const FIRST: u64 = 8;

/// As many as it takes to reach the largest offset.
const SEGMENTS: usize = 64 - FIRST.trailing_zeros() as usize + 1;

/// The bytes of a store.
#[derive(Debug)]
pub struct Segments {
    table: [OnceLock<Cells>; SEGMENTS],
    medium: Medium,
    /// No byte is at or behind this offset.
    limit: u64,
    /// Below this, the medium has room and all is mapped. May be behind, and then the driver is asked.
    roomy_to: AtomicU64,
    /// One thread maps at a time. Not taken by anything else.
    mapping: Mutex<()>,
}

/// What the segments are made of.
#[derive(Debug)]
pub enum Medium {
    Memory,
    File { file: File, writable: bool },
}

impl Segments {
    /// No segment is mapped yet. None will reach past `limit`.
    pub fn new(medium: Medium, limit: u64) -> Self {
        Self {
            table: std::array::from_fn(|_| OnceLock::new()),
            medium,
            limit,
            roomy_to: AtomicU64::new(0),
            mapping: Mutex::new(()),
        }
    }

    /// Sees to it that the segments of `range` are mapped.
    ///
    /// # Errors
    /// What the system says of the mapping; [`io::ErrorKind::OutOfMemory`] also if the range lies behind the limit, or
    /// is longer than an address.
    pub fn map(&self, range: &Range<u64>) -> io::Result<()> {
        let Some(last) = range.end.checked_sub(1).filter(|&last| last >= range.start) else { return Ok(()) };
        for k in place(range.start).0..=place(last).0 {
            if self.table[k].get().is_none() {
                self.map_segment(k)?;
            }
        }
        Ok(())
    }

    /// How many bytes the first segment of `range` has that is not mapped: those that could not be.
    #[cold]
    pub fn first_unmapped(&self, range: &Range<u64>) -> usize {
        let segments = place(range.start).0..=place(range.end.saturating_sub(1)).0;
        let unmapped = segments.into_iter().find(|&k| self.table[k].get().is_none());
        unmapped.map_or(0, |k| usize::try_from(self.len_of(k)).unwrap_or(usize::MAX))
    }

    fn len_of(&self, k: usize) -> u64 {
        // The last one would be as long as all offsets together and one more, which is no number.
        FIRST.saturating_mul(1 << k).min(self.limit.saturating_sub(start(k)))
    }

    #[cold]
    fn map_segment(&self, k: usize) -> io::Result<()> {
        let _mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        if self.table[k].get().is_some() {
            return Ok(());
        }
        let start = start(k);
        let len = usize::try_from(self.len_of(k)).ok().filter(|&len| len > 0).ok_or(io::ErrorKind::OutOfMemory)?;
        let cells = match &self.medium {
            Medium::Memory => Cells::new(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?,
            Medium::File { file, writable } => Cells::map(file, start, len, *writable)?,
        };
        // It was empty a moment ago, and only the holder of the lock fills it.
        let _ = self.table[k].set(cells);
        Ok(())
    }

    /// Below this, bytes can be written without asking the driver for room.
    #[inline]
    pub fn roomy_to(&self) -> u64 {
        // [room] Acquire: pairs with the Release in `has_room`, for two reasons. The segments below were mapped, perhaps by
        // another thread, and are seen to be, or `segment` would find none and panic. And the file is as long as that, or
        // a write there would fault. No model shows either: the table is the standard library's `OnceLock`, and the length
        // of the file lies in the kernel.
        self.roomy_to.load(Acquire)
    }

    /// The medium has room for all bytes below `end`. Those in segments that are mapped count from now on.
    pub fn has_room(&self, end: u64) {
        // [room] Release: pairs with the Acquire in `roomy_to`. A maximum, since several threads may raise it at once.
        self.roomy_to.fetch_max(end.min(self.mapped_to()), Release);
    }

    /// The driver is to be asked from now on: there may be no room, or nobody who may write. Nobody writes meanwhile.
    pub fn forget_room(&self) {
        // Relaxed: whoever writes next came by the store after this.
        self.roomy_to.store(0, Relaxed);
    }

    /// Below this all segments are mapped.
    fn mapped_to(&self) -> u64 {
        let mapped = self.table.iter().take_while(|cells| cells.get().is_some()).count();
        // The last one may be shorter than its place.
        mapped.checked_sub(1).and_then(|last| Some(start(last) + self.table[last].get()?.len() as u64)).unwrap_or(0)
    }

    /// Copies `dst.len()` bytes out.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel, if the memory is resident.
    ///
    /// # Panics
    /// If they are not mapped. What was written is.
    #[inline]
    pub fn read(&self, offset: u64, dst: &mut [u8]) {
        if dst.is_empty() {
            return;
        }
        let (cells, at) = self.segment(offset);
        if dst.len() <= cells.len() - at {
            cells.read(at, dst);
        } else {
            self.read_across(offset, dst);
        }
    }

    /// The same where the bytes lie in more than one segment.
    #[cold]
    fn read_across(&self, offset: u64, dst: &mut [u8]) {
        let mut done = 0;
        while done < dst.len() {
            let (cells, at) = self.segment(offset + done as u64);
            let len = (dst.len() - done).min(cells.len() - at);
            cells.read(at, &mut dst[done..done + len]);
            done += len;
        }
    }

    /// Copies `src` in.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel, if the memory is resident.
    ///
    /// # Panics
    /// If the bytes are not mapped, or of a medium that can only be read.
    #[inline]
    pub fn write(&self, offset: u64, src: &[u8]) {
        if src.is_empty() {
            return;
        }
        let (cells, at) = self.segment(offset);
        if src.len() <= cells.len() - at {
            cells.write(at, src);
        } else {
            self.write_across(offset, src);
        }
    }

    /// The same where the bytes lie in more than one segment.
    #[cold]
    fn write_across(&self, offset: u64, src: &[u8]) {
        let mut done = 0;
        while done < src.len() {
            let (cells, at) = self.segment(offset + done as u64);
            let len = (src.len() - done).min(cells.len() - at);
            cells.write(at, &src[done..done + len]);
            done += len;
        }
    }

    /// Makes the bytes of `range` durable, if they are a file's. They are mapped.
    ///
    /// # Errors
    /// What the system says. Some of the bytes may not be durable then.
    pub fn sync(&self, range: &Range<u64>) -> io::Result<()> {
        let mut offset = range.start;
        while offset < range.end {
            let (cells, at) = self.segment(offset);
            let len = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(cells.len() - at);
            cells.sync(at, len)?;
            offset += len as u64;
        }
        Ok(())
    }

    /// The segment of a byte that is mapped, and where in it the byte is.
    #[inline]
    fn segment(&self, offset: u64) -> (&Cells, usize) {
        let (k, at) = place(offset);
        let cells = self.table[k].get().expect("a byte that is there is mapped");
        // Within a segment, whose length is a usize.
        (cells, at as usize)
    }
}

/// The segment that `offset` lies in, and where.
#[inline]
fn place(offset: u64) -> (usize, u64) {
    let k = (offset / FIRST + 1).ilog2() as usize;
    (k, offset - start(k))
}

/// Where segment `k` starts.
#[inline]
fn start(k: usize) -> u64 {
    // `FIRST << k` is 2^64 for the last; what is left of it after the subtraction is right nevertheless.
    (1_u64 << k).wrapping_sub(1) * FIRST
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_each_other_without_a_gap() {
        let mut end = 0;
        for k in 0..SEGMENTS - 1 {
            assert_eq!(start(k), end);
            assert_eq!(place(end), (k, 0));
            end += FIRST << k;
            assert_eq!(place(end - 1), (k, (FIRST << k) - 1));
        }
        assert_eq!(place(u64::MAX).0, SEGMENTS - 1);
    }

    #[test]
    fn bytes_that_straddle_segments_come_back() {
        let segments = Segments::new(Medium::Memory, u64::MAX);
        let data: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
        for offset in [0, 1, FIRST - 1, 3 * FIRST - 7, 1 << 30] {
            segments.map(&(offset..offset + data.len() as u64)).unwrap();
            segments.write(offset, &data);
            let mut back = vec![0; data.len()];
            segments.read(offset, &mut back);
            assert!(back == data, "at {offset}");
        }
    }

    /// Its length was taken for 0, so that "0 bytes could not be allocated".
    #[test]
    fn the_last_segment_holds_the_last_bytes() {
        let segments = Segments::new(Medium::Memory, crate::MAX_OFFSET);
        let last = crate::MAX_OFFSET - 3..crate::MAX_OFFSET;
        assert_eq!(place(last.start).0, SEGMENTS - 1);
        segments.map(&last).unwrap();
        segments.write(last.start, b"abc");
        let mut back = [0; 3];
        segments.read(last.start, &mut back);
        assert_eq!(&back, b"abc");
    }

    #[test]
    fn a_range_behind_the_limit_is_an_error() {
        let segments = Segments::new(Medium::Memory, 1000);
        segments.map(&(0..1000)).unwrap();
        assert_eq!(segments.map(&(FIRST..FIRST + 1)).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(
            Segments::new(Medium::Memory, u64::MAX).map(&(1 << 62..(1 << 62) + 1)).unwrap_err().kind(),
            io::ErrorKind::OutOfMemory
        );
    }
}
