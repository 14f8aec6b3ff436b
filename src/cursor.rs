//! Reading on from a position.

use crate::{
    DriverIo, Interrupter, ReadError, Reader, Span, StorageError, StorageResult, store::Strays, sync::Deadline,
    wait::Patience,
};
use std::{
    io::{self, BufRead, Read, Seek, SeekFrom},
    time::Duration,
};

/// What a [`Cursor`] does when the writer has overtaken it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLap {
    /// The read is an error that names the window; the cursor stays where it is until it is told where to go.
    #[default]
    Error,
    /// Go on at the oldest byte there is: lose as little as possible.
    SkipToOldest,
    /// Go on at the live edge: catch up at once.
    SkipToLive,
}

/// A reader with a position. It never holds the writer back, and may be overtaken ("lapped"); [`OnLap`] says what then.
///
/// `Read` blocks for at least a byte and returns 0 only at the end, never because a live stream has nothing yet. A resource
/// ends where it was committed or, if its length was given, there: before the commit, too ([`Reader::wait_end`] waits for
/// that). `Seek` goes anywhere. Ahead of the live edge, reads then wait. To bytes that were evicted, a seek is an error
/// with [`OnLap::Error`]; otherwise it skips to bytes that are left, and returns their offset.
/// [`seekable`](Self::seekable) is the range to seek in.
///
/// # Real-time
/// Over a ring, [`try_read`](Self::try_read), the seeks and the counts are wait-free; they never allocate, free, lock
/// or enter the kernel. `BufRead` allocates its buffer when it is first used.
pub struct Cursor<D: DriverIo> {
    reader: Reader<D>,
    position: u64,
    /// A live edge seen before; may be stale, and then it is too low.
    known_end: u64,
    on_lap: OnLap,
    laps: u64,
    lost_bytes: u64,
    /// Whether the lap at this position has been counted.
    lapped: bool,
    /// Of `BufRead`: bytes copied ahead, `taken..filled`. `position` is that of the first one not taken.
    buffer: Box<[u8]>,
    taken: usize,
    filled: usize,
}

const BUFFER_BYTES: usize = 8 << 10;

/// How often one call lets itself be lapped before it goes to the live edge.
const SKIPS: u64 = 4;

impl<D: DriverIo> Cursor<D> {
    pub(crate) fn new(reader: Reader<D>, on_lap: OnLap) -> Self {
        let position = reader.valid_window().map_or(0, |window| window.start);
        Self {
            reader,
            position,
            known_end: 0,
            on_lap,
            laps: 0,
            lost_bytes: 0,
            lapped: false,
            buffer: Box::default(),
            taken: 0,
            filled: 0,
        }
    }

    /// The offset of the next byte.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How far the live edge is ahead, in bytes; 0 ahead of it.
    ///
    /// # Real-time
    /// Wait-free over a ring: never allocates, frees, locks or enters the kernel. Over other drivers it may take a
    /// short lock.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.reader.live_edge().saturating_sub(self.position)
    }

    /// How often the writer has overtaken this cursor.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn laps(&self) -> u64 {
        self.laps
    }

    /// How many bytes the cursor has skipped since it was lapped, by its policy.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// What it does when it is lapped.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn on_lap(&self) -> OnLap {
        self.on_lap
    }

    /// Changes what it does when it is lapped.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    pub fn set_on_lap(&mut self, on_lap: OnLap) {
        self.on_lap = on_lap;
    }

    /// The reader below, for all that has no position.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn reader(&self) -> &Reader<D> {
        &self.reader
    }

    /// The reader below, without the cursor.
    ///
    /// # Real-time
    /// Frees the buffer of `BufRead`, if that was used. Not for a callback.
    #[must_use]
    pub fn into_reader(self) -> Reader<D> {
        self.reader
    }

    /// Ends the waits of this cursor from another thread.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the last handle that is dropped frees what it holds.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.reader.interrupter()
    }

    /// Goes over to the newest generation of the resource; says whether there was a newer one. The position stays.
    ///
    /// # Real-time
    /// Blocking (a short lock). Not for a callback.
    pub fn refresh(&mut self) -> bool {
        self.known_end = 0;
        let newer = self.reader.refresh();
        // What was read ahead may have been written anew. In a window it never is, and may be evicted by now.
        if newer && self.reader.valid_window().is_none() {
            (self.taken, self.filled) = (0, 0);
        }
        newer
    }

    /// Reads on without waiting: at least a byte. 0 only at the end (as for `Read`) or for an empty buffer.
    ///
    /// # Real-time
    /// Wait-free over a ring and over the stores that keep everything: never allocates, frees, locks or enters the
    /// kernel. A generation that rewrites another takes a short lock, and a driver of your own is read by its
    /// `read_at`.
    ///
    /// # Errors
    /// [`ReadError::NotYet`]; [`Evicted`](ReadError::Evicted) with [`OnLap::Error`] only, and the cursor stays;
    /// [`Failed`](ReadError::Failed) or [`Cancelled`](ReadError::Cancelled) once all that was written is read.
    #[inline]
    pub fn try_read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.look(buf, Strays::Missing)
    }

    #[inline]
    fn look(&mut self, buf: &mut [u8], strays: Strays) -> Result<usize, ReadError> {
        if self.taken < self.filled {
            return Ok(self.read_buffered(buf));
        }
        let result = self.reader.state.read(self.position, buf, &mut self.known_end, strays);
        match result {
            Ok(n) => {
                self.position += n as u64;
                // A read of nothing finds nothing out.
                self.lapped &= n == 0;
                Ok(n)
            }
            Err(ReadError::Evicted { .. }) => self.read_lapped(buf, strays),
            Err(error) => Err(error),
        }
    }

    /// The read after a lap, by the policy. Each skip that is lapped in turn goes further towards the live edge, so that
    /// the call ends.
    #[cold]
    fn read_lapped(&mut self, buf: &mut [u8], strays: Strays) -> Result<usize, ReadError> {
        for skip in 0..=SKIPS {
            let window = self.reader.valid_window().unwrap_or_default();
            if !self.lapped {
                self.laps += 1;
                self.lapped = true;
            }
            let target = match self.on_lap {
                OnLap::Error => return Err(ReadError::Evicted { window }),
                OnLap::SkipToOldest => window.start + window.len() / SKIPS * skip,
                OnLap::SkipToLive => window.end,
            };
            self.lost_bytes += target.saturating_sub(self.position);
            self.position = self.position.max(target);
            match self.reader.state.read(self.position, buf, &mut self.known_end, strays) {
                Err(ReadError::Evicted { .. }) => {}
                result => {
                    self.lapped = false;
                    self.position += *result.as_ref().unwrap_or(&0) as u64;
                    return result;
                }
            }
        }
        // Overtaken each time, even at the live edge: there is nothing that could be read in time.
        self.lapped = false;
        Err(ReadError::NotYet)
    }

    /// Reads on, and blocks for at least a byte, at most for `timeout`. `Read` is the form without a timeout.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As `Read`, and [`StorageError::TimedOut`].
    pub fn read_timeout(&mut self, buf: &mut [u8], timeout: Duration) -> StorageResult<usize> {
        self.read_before(buf, Some(&Deadline::after(timeout)))
    }

    fn read_before(&mut self, buf: &mut [u8], deadline: Option<&Deadline>) -> StorageResult<usize> {
        loop {
            match self.look(buf, Strays::Lock) {
                Ok(n) => return Ok(n),
                Err(ReadError::NotYet) => {
                    let patience = Patience { deadline, interrupts: Some(self.reader.interrupts.watch()), from: None };
                    match self.reader.state.wait_byte(self.position, &patience) {
                        // Lapped while it waited: the next read says so, by the policy.
                        Ok(()) | Err(StorageError::Evicted { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(self.reader.state.read_error(error, self.position)),
            }
        }
    }

    /// The range that this cursor can seek to now. It begins at the oldest byte that was not evicted. It ends at the end of
    /// the resource, if that is known (it is committed, or its length was given), and otherwise at the live edge. A seek
    /// ahead of the live edge succeeds too, and reads there wait.
    ///
    /// # Real-time
    /// Wait-free over a ring. Over the stores that keep everything it may take a short lock.
    #[must_use]
    pub fn seekable(&self) -> Span {
        let (start, live) = match self.reader.valid_window() {
            Some(window) => (window.start, window.end),
            None => (0, self.reader.live_edge()),
        };
        let end = self.reader.final_len().or_else(|| self.reader.expected_len());
        Span { start, end: end.unwrap_or(live).max(start) }
    }

    /// Goes to `offset`.
    ///
    /// # Real-time
    /// Wait-free over a ring: never allocates, frees, locks or enters the kernel. Over other drivers it may take a
    /// short lock.
    ///
    /// # Errors
    /// [`StorageError::Evicted`] with [`OnLap::Error`], and the cursor stays. Otherwise an evicted offset is skipped from,
    /// as [`position`](Self::position) then says; what was skipped is not counted as lost.
    #[inline]
    pub fn seek_to(&mut self, offset: u64) -> StorageResult<u64> {
        // Most seeks stay inside of a ring, and then one look at its start is enough.
        let inside = self.reader.state.ring().is_some_and(|ring| ring.window().oldest() <= offset);
        let window = if inside { None } else { self.reader.valid_window().filter(|window| offset < window.start) };
        let position = match (window, self.on_lap) {
            (None, _) => offset,
            (Some(window), OnLap::Error) => return Err(StorageError::Evicted { offset, window }),
            (Some(window), OnLap::SkipToOldest) => window.start,
            (Some(window), OnLap::SkipToLive) => window.end,
        };
        self.go(position);
        Ok(position)
    }

    /// Goes to the oldest byte there is, and returns its offset.
    ///
    /// # Real-time
    /// Wait-free over a ring: never allocates, frees, locks or enters the kernel. Over other drivers it may take a
    /// short lock.
    pub fn seek_oldest(&mut self) -> u64 {
        let oldest = match self.reader.valid_window() {
            Some(window) => window.start,
            None => 0,
        };
        self.go(oldest);
        oldest
    }

    /// Goes to the live edge, and returns its offset.
    ///
    /// # Real-time
    /// Wait-free over a ring: never allocates, frees, locks or enters the kernel. Over other drivers it may take a
    /// short lock.
    pub fn seek_live(&mut self) -> u64 {
        let live = self.reader.live_edge();
        self.go(live);
        live
    }

    #[inline]
    fn go(&mut self, position: u64) {
        self.position = position;
        self.lapped = false;
        (self.taken, self.filled) = (0, 0);
    }

    fn read_buffered(&mut self, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.filled - self.taken);
        buf[..n].copy_from_slice(&self.buffer[self.taken..self.taken + n]);
        self.consume(n);
        n
    }
}

/// A clone reads on from the same position, with counts of its own.
impl<D: DriverIo> Clone for Cursor<D> {
    fn clone(&self) -> Self {
        let mut clone = Self::new(self.reader.clone(), self.on_lap);
        clone.position = self.position;
        clone
    }
}

impl<D: DriverIo> std::fmt::Debug for Cursor<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor")
            .field("position", &self.position)
            .field("on_lap", &self.on_lap)
            .field("laps", &self.laps)
            .field("lost_bytes", &self.lost_bytes)
            .finish_non_exhaustive()
    }
}

impl<D: DriverIo> Read for Cursor<D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_before(buf, None)?)
    }
}

impl<D: DriverIo> Seek for Cursor<D> {
    /// `SeekFrom::End` needs a resource that is committed, or whose length is known beforehand: a live stream has no end
    /// yet, and to wait for one would stall.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self
                .reader
                .final_len()
                .or_else(|| self.reader.expected_len())
                .ok_or(StorageError::InvalidSeek("the end of a stream that is still being written is not known"))?
                .checked_add_signed(by),
        };
        let position = position.ok_or(StorageError::InvalidSeek("it leads out of the stream"))?;
        Ok(self.seek_to(position)?)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }
}

impl<D: DriverIo> BufRead for Cursor<D> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken == self.filled {
            if self.buffer.is_empty() {
                self.buffer = vec![0; BUFFER_BYTES].into();
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = self.read_before(&mut buffer, None);
            self.buffer = buffer;
            let n = read?;
            // Read ahead, but not taken: the position stays with what was taken.
            self.position -= n as u64;
            (self.taken, self.filled) = (0, n);
        }
        Ok(&self.buffer[self.taken..self.filled])
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.filled - self.taken);
        self.taken += n;
        self.position += n as u64;
    }
}
