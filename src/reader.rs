//! Reading anywhere.

use crate::{
    Cursor, DriverIo, Interrupter, OnLap, ReadError, ResourceStatus, Span, StorageResult, WaitOutcome,
    driver::RingDriver,
    resource::Shared,
    state::State,
    store::Strays,
    sync::{Deadline, Tally},
    wait::{Interrupts, Patience},
};
use rangemap::RangeSet;
use std::{ops::Range, path::Path, sync::Arc, time::Duration};

/// Reads a resource anywhere, and never holds the writer back.
///
/// The last handle of a resource frees its memory: do not let that be the callback's.
///
/// Clone it freely. An [`Interrupter`] ends the waits of one handle, in all threads that share it: a thread that is to
/// be interrupted alone needs a clone of its own.
///
/// # Real-time
/// Over a ring, every method that does not say otherwise is wait-free; none of those allocates, frees, locks or enters
/// the kernel. Over the stores that keep everything that holds for [`try_read_at`](Self::try_read_at), unless the
/// generation rewrites another; the rest may take a short lock, where a block of 4 KiB was written in pieces that do not
/// touch.
pub struct Reader<D: DriverIo> {
    shared: Arc<Shared<D>>,
    pub(crate) state: Arc<State<D>>,
    pub(crate) interrupts: Interrupts,
    evictions: Tally,
}

/// The clone has interrupters and counts of its own.
impl<D: DriverIo> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone(), self.state.clone())
    }
}

impl<D: DriverIo> std::fmt::Debug for Reader<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl<D: DriverIo> Reader<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, state: Arc<State<D>>) -> Self {
        Self { shared, state, interrupts: Interrupts::new(), evictions: Tally::default() }
    }

    /// Reads what there is at `offset` without waiting: at least a byte, and as many as fit or are there without a gap.
    /// 0 only at the end or for an empty buffer. A resource ends where it was committed or, if its length was given, there:
    /// before the commit, too.
    ///
    /// # Real-time
    /// Wait-free over a ring and over the stores that keep everything: never allocates, frees, locks or enters the
    /// kernel. A generation that rewrites another takes a short lock, and a driver of your own is read by its
    /// `read_at`.
    ///
    /// # Errors
    /// [`ReadError::NotYet`]; [`Evicted`](ReadError::Evicted), and `buf` then holds no data;
    /// [`Failed`](ReadError::Failed) or [`Cancelled`](ReadError::Cancelled) if that is why the bytes are not there.
    ///
    /// Over a store that keeps everything, bytes that only a lock tells of count as not there yet: pieces of a block of
    /// 4 KiB that do not touch what is there of it, and what is missing beside them. The forms that may block read them;
    /// [`status`](Self::status) says whether more is to come.
    #[inline]
    pub fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.look(offset, buf, Strays::Missing)
    }

    #[inline]
    fn look(&self, offset: u64, buf: &mut [u8], strays: Strays) -> Result<usize, ReadError> {
        // No end is known beforehand: a reader keeps no position to know one by.
        let result = self.state.read(offset, buf, &mut 0, strays);
        if let Err(ReadError::Evicted { .. }) = result {
            self.evictions.add(1);
        }
        result
    }

    /// Reads at `offset`, and blocks for at least a byte. 0 only at the end (as for [`try_read_at`](Self::try_read_at)) or
    /// for an empty buffer.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::Evicted`](crate::StorageError::Evicted), and `buf` then holds no data;
    /// [`Failed`](crate::StorageError::Failed) or [`Cancelled`](crate::StorageError::Cancelled) if that is why the bytes
    /// will never be there; [`Interrupted`](crate::StorageError::Interrupted).
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> StorageResult<usize> {
        self.read_before(offset, buf, None)
    }

    /// As [`read_at`](Self::read_at), at most for `timeout`.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at), and [`StorageError::TimedOut`](crate::StorageError::TimedOut).
    pub fn read_at_timeout(&self, offset: u64, buf: &mut [u8], timeout: Duration) -> StorageResult<usize> {
        self.read_before(offset, buf, Some(&Deadline::after(timeout)))
    }

    fn read_before(&self, offset: u64, buf: &mut [u8], deadline: Option<&Deadline>) -> StorageResult<usize> {
        // One for all waits of this call: another thread's may answer the interrupt that comes between two of them.
        let mut patience = None;
        loop {
            match self.look(offset, buf, Strays::Lock) {
                Ok(n) => return Ok(n),
                Err(ReadError::NotYet) => {
                    self.state.wait_byte(offset, patience.get_or_insert_with(|| self.patience(deadline)))?;
                }
                Err(error) => return Err(self.state.read_error(error, offset)),
            }
        }
    }

    fn patience<'a>(&'a self, deadline: Option<&'a Deadline>) -> Patience<'a> {
        Patience { deadline, interrupts: Some(self.interrupts.watch()), from: None }
    }

    /// Blocks until all of `range` can be read, or all of it that lies before the end of the resource (which
    /// [`try_read_at`](Self::try_read_at) defines). A range behind the end is [`WaitOutcome::Eof`] at once; an empty one is
    /// ready at once. [`wait_end`](Self::wait_end) waits for the commit.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// A wait that cannot succeed ends at once with the reason: [`StorageError::Evicted`](crate::StorageError::Evicted),
    /// [`RangeTooLarge`](crate::StorageError::RangeTooLarge) if it is wider than the ring,
    /// [`Failed`](crate::StorageError::Failed), [`Cancelled`](crate::StorageError::Cancelled),
    /// [`InvalidRange`](crate::StorageError::InvalidRange).
    #[inline]
    pub fn wait_range(&self, range: Range<u64>) -> StorageResult<WaitOutcome> {
        // What is there already is not passed through the table: most waits are for such bytes.
        if self.interrupts.is_quiet() && self.state.contains_at_once(&range) {
            return Ok(WaitOutcome::Ready);
        }
        self.state.wait_range(range, &self.patience(None))
    }

    /// As [`wait_range`](Self::wait_range), at most for `timeout`; with a timeout of zero it only looks.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`wait_range`](Self::wait_range).
    pub fn wait_range_timeout(&self, range: Range<u64>, timeout: Duration) -> StorageResult<WaitOutcome> {
        self.state.wait_range(range, &self.patience(Some(&Deadline::after(timeout))))
    }

    /// Blocks until the resource is committed, and returns its length.
    ///
    /// Of a resource whose length was given, reads and [`wait_range`](Self::wait_range) end at that length, whether it is
    /// committed by then or not. This is the wait for the commit itself.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::Failed`](crate::StorageError::Failed) or [`Cancelled`](crate::StorageError::Cancelled) if that is how
    /// the resource ends; [`Interrupted`](crate::StorageError::Interrupted).
    pub fn wait_end(&self) -> StorageResult<u64> {
        self.state.wait_end(&self.patience(None))
    }

    /// As [`wait_end`](Self::wait_end), at most for `timeout`.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`wait_end`](Self::wait_end), and [`StorageError::TimedOut`](crate::StorageError::TimedOut).
    pub fn wait_end_timeout(&self, timeout: Duration) -> StorageResult<u64> {
        self.state.wait_end(&self.patience(Some(&Deadline::after(timeout))))
    }

    /// Ends the waits of this handle (not of its clones), of all threads that share it, from another thread.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the last handle that is dropped frees what it holds.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        // By way of what all generations share: a `refresh` does not take this handle out of its reach.
        self.interrupts.interrupter(self.shared.clone())
    }

    /// Whether all of `range` can be read now. An empty range always can.
    ///
    /// # Real-time
    /// Wait-free over a ring: never allocates, frees, locks or enters the kernel. Over other drivers it may take a
    /// short lock.
    #[must_use]
    #[inline]
    pub fn contains_range(&self, range: Range<u64>) -> bool {
        self.state.contains_at_once(&range) || self.state.contains(&range)
    }

    /// What can be read now.
    ///
    /// # Real-time
    /// Allocates. Not for a callback; there is [`valid_window`](Self::valid_window).
    #[must_use]
    pub fn available(&self) -> RangeSet<u64> {
        self.state.available()
    }

    /// The window, of a store that forgets; `None` of one that keeps everything. The bytes inside were all there at one
    /// moment; by now some may be evicted.
    ///
    /// # Real-time
    /// Wait-free over a ring: never allocates, frees, locks or enters the kernel. Over other drivers it may take a
    /// short lock.
    #[must_use]
    #[inline]
    pub fn valid_window(&self) -> Option<Span> {
        self.state.window()
    }

    /// The live edge: where the last byte that is there ends.
    ///
    /// # Real-time
    /// Wait-free over a ring: never allocates, frees, locks or enters the kernel. Over other drivers it may take a
    /// short lock.
    #[must_use]
    pub fn live_edge(&self) -> u64 {
        self.state.live_edge()
    }

    /// The length of a committed resource.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn final_len(&self) -> Option<u64> {
        match self.state.life.stage() {
            crate::lifecycle::Stage::Committed(final_len) => Some(final_len),
            _ => None,
        }
    }

    /// The length that the resource will have, if its driver was told when it was opened. `None` once it is committed, and
    /// of a generation that follows a committed one: that may become longer or shorter.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn expected_len(&self) -> Option<u64> {
        self.state.expected_len.filter(|_| self.final_len().is_none())
    }

    /// Whether it is still being written, and if not, why not.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the reason of a failure is shared, and whoever drops it last frees it.
    #[must_use]
    pub fn status(&self) -> ResourceStatus {
        self.state.life.status()
    }

    /// The file behind it, if there is one.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.state.driver.path()
    }

    /// The headers that the writer of a ring pinned beside the window; empty if none, or over another driver.
    ///
    /// # Real-time
    /// Blocking (a short lock that no read takes). Not for a callback.
    #[must_use]
    pub fn preamble(&self) -> Arc<[u8]> {
        self.state.ring().map(RingDriver::preamble).unwrap_or_default()
    }

    /// How many reads of this handle came too late.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.get()
    }

    /// Goes over to the newest generation of the resource; says whether there was a newer one, or this one no longer
    /// holds on to the one that it rewrote.
    ///
    /// # Real-time
    /// Blocking (a short lock). Not for a callback.
    pub fn refresh(&mut self) -> bool {
        let current = self.shared.current();
        let newer = !Arc::ptr_eq(&current, &self.state);
        self.state = current;
        newer
    }

    /// A cursor at the oldest byte there is, in place of this handle.
    ///
    /// # Real-time
    /// Wait-free over a ring: never allocates, frees, locks or enters the kernel. Over other drivers it may take a
    /// short lock.
    #[must_use]
    pub fn into_cursor(self, on_lap: OnLap) -> Cursor<D> {
        Cursor::new(self, on_lap)
    }
}

impl Reader<RingDriver> {
    /// How many bytes the ring holds.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.state.driver.capacity()
    }
}
