//! The one writer of a resource.

use crate::{
    DriverIo, Fetcher, Gate, Interrupter, Span, StorageError, StorageResult,
    driver::{Linear, Placed, RingDriver},
    gate::Gates,
    lifecycle::Stage,
    resource::Shared,
    state::{NO_GAP, State},
    store::Store,
    sync::Deadline,
    wait::{DEFAULT_PACE, Interrupts, Look, Patience, Waited},
};
use std::{io, sync::Arc, time::Duration};

/// Whether a publication wakes those that wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Publication {
    /// Wakes whom it concerns: one fence and one load with no sleeper, some 9 µs of system call for each that is woken.
    #[default]
    Notify,
    /// Wakes nobody, and costs no fence: for a real-time thread, or a loop of small pieces that calls
    /// [`Writer::notify`] once per batch. Whoever waits on the other side looks again at every `pace`.
    Silent {
        /// How long the other side sleeps between two looks.
        pace: Duration,
    },
}

impl Publication {
    /// Silent, with the other side looking again every 2 ms.
    pub const SILENT: Self = Self::Silent { pace: DEFAULT_PACE };
}

/// Writes a resource. There is one at a time, taken by [`Resource::writer`](crate::Resource::writer).
///
/// Dropping it without [`commit`](Self::commit) fails the resource with [`StorageError::WriterDropped`] and wakes
/// everybody, unless it was cancelled.
///
/// # Real-time
/// Over a ring, [`append`](Self::append), [`try_append`](Self::try_append) and [`write_at`](Self::write_at) never
/// allocate, free or lock, and without gates they are wait-free. They enter the kernel only to wake a reader, and with
/// [`Publication::Silent`] not at all.
pub struct Writer<D: DriverIo> {
    shared: Arc<Shared<D>>,
    state: Arc<State<D>>,
    pen: Pen,
    /// A fetcher writes in its place.
    handed_over: bool,
}

/// What a writer keeps beside the resource that it writes.
struct Pen {
    gates: Gates,
    /// How many bytes may be appended before anything but the state has to be looked at: gates, the largest offset, an
    /// observer. What it is when last looked; may be stale, and then it is too low.
    granted: u64,
    /// Where `append` goes, over a driver that is not a ring.
    position: u64,
    publication: Publication,
    /// Up to here readers have been notified.
    notified_to: u64,
    /// A discontinuity was announced or published silently: the next notification is for all.
    untold: bool,
    /// Where a discontinuity was announced last, or [`NO_GAP`]. Once the stream went on there, it says nothing.
    announced_gap: u64,
    interrupts: Interrupts,
}

/// What a write does when gates leave no room.
#[derive(Clone, Copy)]
enum Wait<'a> {
    Never,
    For(Option<&'a Deadline>),
}

/// How far a write came.
struct Put {
    written: usize,
    /// Why it stopped, if that was not the end of the data, or no room for one that does not wait.
    stopped: Option<StorageError>,
}

impl<D: DriverIo> Writer<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, state: Arc<State<D>>, gates: Gates) -> Self {
        let position = match state.ring() {
            Some(ring) => ring.window().written_to(),
            None => state.live_edge(),
        };
        let pen = Pen {
            gates,
            granted: 0,
            position,
            publication: Publication::Notify,
            notified_to: position,
            untold: false,
            announced_gap: NO_GAP,
            interrupts: Interrupts::new(),
        };
        Self { shared, state, pen, handed_over: false }
    }

    /// Where [`append`](Self::append) goes: the live edge of a ring, or where the furthest byte that is there ends.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    #[inline]
    pub fn position(&self) -> u64 {
        match self.state.ring() {
            Some(ring) => ring.window().written_to(),
            None => self.pen.position,
        }
    }

    /// Writes all of `data` at the live edge. Blocks while a gate leaves no room.
    ///
    /// # Real-time
    /// Over a ring it never allocates, frees or locks. It enters the kernel to wake a reader that sleeps (with
    /// [`Publication::Silent`] not), and to sleep while a gate leaves no room. Over other drivers blocking: not for a
    /// callback.
    ///
    /// # Errors
    /// [`StorageError::Committed`], [`Failed`](StorageError::Failed) or [`Cancelled`](StorageError::Cancelled) if the
    /// resource takes no more bytes; [`OffsetOverflow`](StorageError::OffsetOverflow);
    /// [`Interrupted`](StorageError::Interrupted). What was written before stays written;
    /// [`position`](Self::position) tells how much.
    #[inline]
    pub fn append(&mut self, data: &[u8]) -> StorageResult<()> {
        if self.pen.append_at_once(&self.state, data) { Ok(()) } else { self.append_at_length(data) }
    }

    #[inline(never)]
    fn append_at_length(&mut self, data: &[u8]) -> StorageResult<()> {
        self.write_at(self.position(), data)
    }

    /// Writes what fits at the live edge without waiting, and returns how much that is.
    ///
    /// # Real-time
    /// Over a ring it never allocates, frees, locks or sleeps; without gates it is wait-free, and with them it looks at
    /// each. It enters the kernel only to wake a reader that sleeps, with [`Publication::Silent`] never. Over other
    /// drivers blocking: not for a callback.
    ///
    /// # Errors
    /// As [`append`](Self::append); nothing was written then.
    #[inline]
    pub fn try_append(&mut self, data: &[u8]) -> StorageResult<usize> {
        if self.pen.append_at_once(&self.state, data) { Ok(data.len()) } else { self.try_append_at_length(data) }
    }

    #[inline(never)]
    fn try_append_at_length(&mut self, data: &[u8]) -> StorageResult<usize> {
        self.try_write_at(self.position(), data)
    }

    /// Writes at the live edge, waits for room for `timeout` at most, and returns how much was written.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`append`](Self::append). That the time was not enough is no error: the count says so.
    pub fn append_timeout(&mut self, data: &[u8], timeout: Duration) -> StorageResult<usize> {
        self.write_at_timeout(self.position(), data, timeout)
    }

    /// Writes at `offset`, waits for gates for `timeout` at most, and returns how much was written.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`append`](Self::append). That the time was not enough is no error: the count says so.
    pub fn write_at_timeout(&mut self, offset: u64, data: &[u8], timeout: Duration) -> StorageResult<usize> {
        let deadline = Deadline::after(timeout);
        let put = self.put(offset, data, Wait::For(Some(&deadline)))?;
        match put.stopped {
            None | Some(StorageError::TimedOut) => Ok(put.written),
            Some(error) => Err(error),
        }
    }

    /// Writes all of `data` at `offset`. Bytes that are there already stay as they are: a reconnect that sends some
    /// again is trimmed. Blocks while a gate leaves no room.
    ///
    /// Over a store that keeps everything, a generation that follows a committed one can write each byte of that once more. With
    /// [`OpenMode::ReadWrite`](crate::OpenMode::ReadWrite) a write to the committed store begins such a generation.
    ///
    /// Over a ring, a write above the live edge is a discontinuity: once all gates have read what there is, the window
    /// restarts at `offset`, and all that was before is evicted.
    ///
    /// # Real-time
    /// Over a ring it never allocates, frees or locks. It enters the kernel to wake a reader that sleeps (with
    /// [`Publication::Silent`] not), and to sleep while a gate leaves no room. Over other drivers blocking: not for a
    /// callback.
    ///
    /// # Errors
    /// As [`append`](Self::append); [`CapacityExceeded`](StorageError::CapacityExceeded),
    /// [`BeyondLength`](StorageError::BeyondLength), [`DiskFull`](StorageError::DiskFull) and
    /// [`OutOfMemory`](StorageError::OutOfMemory) of a store that keeps everything: the bytes before the piece that has no
    /// room may have been written, and the resource stays active.
    #[inline]
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> StorageResult<()> {
        match self.put(offset, data, Wait::For(None))?.stopped {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Writes what fits at `offset` without waiting, and returns how much that is. 0 above the live edge of a ring means
    /// that gates have yet to read what is before the gap.
    ///
    /// # Real-time
    /// Over a ring it never allocates, frees, locks or sleeps; without gates it is wait-free, and with them it looks at
    /// each. It enters the kernel only to wake a reader that sleeps, with [`Publication::Silent`] never. Over other
    /// drivers blocking: not for a callback.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    #[inline]
    pub fn try_write_at(&mut self, offset: u64, data: &[u8]) -> StorageResult<usize> {
        let put = self.put(offset, data, Wait::Never)?;
        match put.stopped {
            None => Ok(put.written),
            Some(error) => Err(error),
        }
    }

    #[inline]
    fn put(&mut self, offset: u64, data: &[u8], wait: Wait<'_>) -> StorageResult<Put> {
        match self.pen.put(&self.state, offset, data, wait) {
            Err(StorageError::Committed) if self.state.driver.rewrites() => {
                self.state = self.shared.next_generation()?;
                if let Publication::Silent { pace } = self.pen.publication {
                    self.state.waits.go_silent(pace);
                }
                self.pen.put(&self.state, offset, data, wait)
            }
            put => put,
        }
    }

    /// How many bytes [`try_append`](Self::try_append) would take: what gates, the capacity and the length that was given
    /// leave; none once the resource is over, unless a write would begin a next generation. Whether memory or the disk has
    /// room for them, a write finds out.
    ///
    /// # Real-time
    /// Wait-free over a ring; reads each gate's position. Never allocates, frees, locks or enters the kernel. Over other
    /// drivers as the driver's `room`.
    #[must_use]
    pub fn room(&mut self) -> u64 {
        let most = match self.state.life.stage() {
            Stage::Active => self.state.expected_len.unwrap_or(crate::MAX_OFFSET),
            // A write begins the next generation, which no length was given for.
            Stage::Committed(_) if self.state.driver.rewrites() => crate::MAX_OFFSET,
            _ => return 0,
        };
        let position = self.position();
        let room = match (self.state.ring(), self.state.linear()) {
            (Some(ring), _) => self.pen.gates.room(ring.window(), u64::MAX),
            (None, Some((_, linear))) => linear.limit().saturating_sub(position),
            (None, None) => self.state.driver.room(position),
        };
        room.min(most.saturating_sub(position))
    }

    /// Says whether what is written from now on wakes the readers that wait for it.
    ///
    /// # Real-time
    /// Not for a callback: readers that sleep already are woken once, to learn of it.
    pub fn set_publication(&mut self, publication: Publication) {
        self.notify();
        match publication {
            Publication::Silent { pace } => self.state.waits.go_silent(pace),
            Publication::Notify => self.state.waits.set_pace(None),
        }
        self.pen.publication = publication;
    }

    /// Wakes the readers that wait for what was written silently since the last call.
    ///
    /// # Real-time
    /// A fence and a load if nobody sleeps, and a system call for each reader that is woken. Never allocates, frees or
    /// locks.
    pub fn notify(&mut self) {
        let end = self.position();
        self.pen.notify(&self.state, end);
    }

    /// Ends the waits of this writer from another thread.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the last handle that is dropped frees what it holds.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        // By way of what all generations share: a write that begins one does not take this handle out of its reach.
        self.pen.interrupts.interrupter(self.shared.clone())
    }

    /// Completes the resource. `Some(n)` ends it at `n`: bytes beyond are dropped, and a ring can end only at its live
    /// edge. `None` drops nothing: it ends the resource at the length that the store was opened with or, without one, where
    /// the furthest byte that is there ends, the live edge. All that wait are woken.
    ///
    /// A generation that follows a committed one begins with all bytes of that, and they are there. So `None` keeps those
    /// that were not written anew, also behind the last byte written: a change in the middle of a file leaves the rest of
    /// it. A new version that is shorter says so, with `Some(n)`.
    ///
    /// The driver commits first. If another thread fails or cancels the resource meanwhile, that verdict stands, and the
    /// store is complete nevertheless.
    ///
    /// # Real-time
    /// Blocking: the driver commits, and all that wait are woken. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::Hole`] or [`NotLiveEdge`](StorageError::NotLiveEdge), and nothing is changed. If the driver
    /// cannot commit, the resource fails with its reason, and this is [`StorageError::Failed`]. Also
    /// [`Committed`](StorageError::Committed), [`Failed`](StorageError::Failed) and
    /// [`Cancelled`](StorageError::Cancelled) if it is that already.
    pub fn commit(&mut self, final_len: Option<u64>) -> StorageResult<()> {
        self.state.commit(final_len)?;
        if self.state.coverage().is_some() {
            // Bytes behind the end were dropped: a next generation goes on before them.
            self.pen.position = self.state.live_edge();
        }
        self.shared.settle(&self.state);
        // What is settled does not hold the generation before any more.
        self.state = self.shared.current();
        self.shared.free_retired();
        Ok(())
    }

    /// Several connections in place of this one writer: each fills gaps that it alone has claimed. The last one commits.
    ///
    /// For a store that keeps everything and whose length is known; others give no claims.
    ///
    /// # Real-time
    /// Allocates. Not for a callback.
    #[must_use]
    pub fn into_fetcher(mut self) -> Fetcher<D> {
        self.notify();
        let gates = std::mem::replace(&mut self.pen.gates, Gates::new(self.state.room.clone()));
        self.handed_over = true;
        Fetcher::new(self.shared.clone(), self.state.clone(), gates)
    }

    /// Fails the resource: bytes that are there stay readable, whoever waits for more gets the reason. Does nothing if
    /// it is committed, failed or cancelled already.
    ///
    /// # Real-time
    /// Allocates, wakes all that wait, and calls the observer. Not for a callback.
    pub fn fail(&mut self, reason: impl Into<StorageError>) {
        self.state.fail(Arc::new(reason.into()));
    }
}

impl Writer<RingDriver> {
    /// A gate at the live edge: it reads all that is written from now on.
    ///
    /// # Real-time
    /// Allocates. Not for a callback.
    #[must_use]
    pub fn gate(&mut self) -> Gate {
        self.mint(self.position())
    }

    /// A gate at `offset`, which must lie inside the window; its end, the live edge, counts as inside.
    ///
    /// # Real-time
    /// Allocates. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::OutsideWindow`].
    pub fn gate_at(&mut self, offset: u64) -> StorageResult<Gate> {
        let window = self.window();
        if offset < window.start || window.end < offset {
            return Err(StorageError::OutsideWindow { offset, window });
        }
        Ok(self.mint(offset))
    }

    fn mint(&mut self, offset: u64) -> Gate {
        self.pen.granted = 0;
        Gate::new(self.state.clone(), self.pen.gates.mint(offset), offset)
    }

    /// The window. Exact: only this writer moves it.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn window(&self) -> Span {
        self.state.driver.window().span()
    }

    /// How far the slowest gate is behind, in bytes; 0 without gates.
    ///
    /// # Real-time
    /// Looks at each gate. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn gate_lag(&mut self) -> u64 {
        self.pen.gates.lag(self.state.driver.window())
    }

    /// Pins a copy of `bytes` (at most [`PREAMBLE_MAX`](crate::PREAMBLE_MAX)) beside the window, in place of those
    /// pinned before: the headers without which a decoder cannot start in the middle of the stream. Readers get them
    /// by [`Reader::preamble`](crate::Reader::preamble).
    ///
    /// # Real-time
    /// Blocking (allocates, and takes a lock that no read takes). Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::PreambleTooLarge`]; the old preamble stays.
    pub fn set_preamble(&mut self, bytes: &[u8]) -> StorageResult<()> {
        self.state.driver.set_preamble(bytes)
    }
}

impl Pen {
    /// Appends all of `data`, if nothing stands in the way of that and nobody observes: the usual case, without the
    /// detours of the others. `false` if it did nothing.
    #[inline(always)]
    fn append_at_once<D: DriverIo>(&mut self, state: &State<D>, data: &[u8]) -> bool {
        let Some(ring) = state.ring() else { return false };
        let len = data.len() as u64;
        if !state.life.is_active() || len > self.granted && !self.grant(state, ring, len) {
            return false;
        }
        self.granted -= len;
        ring.window().append(data);
        if !self.silent() {
            self.notify(state, ring.window().written_to());
        }
        true
    }

    /// Looks whether `wanted` bytes may be appended without further ado.
    #[inline(never)]
    fn grant<D: DriverIo>(&mut self, state: &State<D>, ring: &RingDriver, wanted: u64) -> bool {
        self.granted = if state.observer.is_some() {
            0
        } else {
            let window = ring.window();
            let most = state.expected_len.unwrap_or(crate::MAX_OFFSET);
            self.gates.room(window, wanted).min(most.saturating_sub(window.written_to()))
        };
        self.granted >= wanted
    }

    fn put<D: DriverIo>(&mut self, state: &State<D>, offset: u64, data: &[u8], wait: Wait<'_>) -> StorageResult<Put> {
        state.life.check_active()?;
        // One that has no end is refused further down.
        if let Some(end) = offset.checked_add(data.len() as u64).filter(|&end| offset < end && end <= crate::MAX_OFFSET)
        {
            state.check_end(end)?;
        }
        self.granted = 0;
        match (state.ring(), state.linear()) {
            (Some(ring), _) => self.put_ring(state, ring, offset, data, wait),
            (None, Some(linear)) => self.put_linear(state, linear, offset, data),
            (None, None) => self.put_foreign(state, offset, data, wait),
        }
    }

    /// Nothing stands in the way of a write to a store that keeps everything but a full disk.
    #[inline]
    fn put_linear<D: DriverIo>(
        &mut self,
        state: &State<D>,
        linear: (&Store, &dyn Linear),
        offset: u64,
        data: &[u8],
    ) -> StorageResult<Put> {
        let silent = self.silent();
        state.write_store(linear, offset, data, !silent)?;
        if !data.is_empty() {
            self.untold |= silent;
            self.position = self.position.max(offset + data.len() as u64);
        }
        Ok(Put { written: data.len(), stopped: None })
    }

    #[inline]
    fn put_ring<D: DriverIo>(
        &mut self,
        state: &State<D>,
        ring: &RingDriver,
        offset: u64,
        data: &[u8],
        wait: Wait<'_>,
    ) -> StorageResult<Put> {
        let new = match ring.place(offset, data)? {
            Placed::Nothing => return Ok(Put { written: data.len(), stopped: None }),
            Placed::Append(new) => new,
            Placed::Restart => match self.restart(state, ring, offset, wait) {
                Ok(true) => data,
                Ok(false) => return Ok(Put { written: 0, stopped: None }),
                Err(error) => return Ok(Put { written: 0, stopped: Some(error) }),
            },
        };
        let mut put = self.append(state, ring, new, wait);
        put.written += data.len() - new.len();
        Ok(put)
    }

    #[inline]
    fn append<D: DriverIo>(&mut self, state: &State<D>, ring: &RingDriver, data: &[u8], wait: Wait<'_>) -> Put {
        let window = ring.window();
        let mut written = 0;
        let stopped = loop {
            let rest = &data[written..];
            if rest.is_empty() {
                break None;
            }
            let room = self.gates.room(window, rest.len() as u64);
            if room > 0 {
                // Whatever fits, at once: a writer that insists on more than there is room for, opposite a gate that
                // insists on more than there is, would wait for ever.
                let fits = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                self.append_part(state, ring, &rest[..fits]);
                written += fits;
                continue;
            }
            let Wait::For(deadline) = wait else { break None };
            // No room: the live edge is a capacity ahead of the slowest gate.
            let byte = window.written_to() - window.capacity();
            if let Err(error) = self.wait_for_gates(state, byte, deadline) {
                break Some(error);
            }
        };
        Put { written, stopped }
    }

    #[inline]
    fn append_part<D: DriverIo>(&mut self, state: &State<D>, ring: &RingDriver, data: &[u8]) {
        let window = ring.window();
        // Only an observer wants to know.
        let before = state.observer.as_ref().map(|_| window.span());
        window.append(data);
        let end = window.written_to();
        if !self.silent() {
            self.notify(state, end);
        }
        if let (Some(observer), Some(before)) = (&state.observer, before) {
            observer.on_write(before.end..end);
            let start = window.oldest();
            if start > before.start {
                observer.on_evict(before.start..start);
            }
        }
    }

    #[inline]
    fn silent(&self) -> bool {
        self.publication != Publication::Notify
    }

    /// Wakes the readers that wait for anything up to `end` which they have not been told of.
    #[inline]
    fn notify<D: DriverIo>(&mut self, state: &State<D>, end: u64) {
        if self.untold {
            self.untold = false;
            self.notified_to = end;
            return state.waits.notify_all();
        }
        if self.notified_to < end {
            state.waits.notify(self.notified_to..end);
            self.notified_to = end;
        }
    }

    /// Blocks until all gates have passed `byte`.
    #[cold]
    fn wait_for_gates<D: DriverIo>(
        &mut self,
        state: &State<D>,
        byte: u64,
        deadline: Option<&Deadline>,
    ) -> StorageResult<()> {
        // What was published silently is told before we sleep, or a gate's reader may sleep too, for those very bytes.
        if let Some(ring) = state.ring() {
            self.notify(state, ring.window().written_to());
        }
        let patience = Patience { deadline, interrupts: Some(self.interrupts.watch()), from: None };
        match self.gates.wait(byte, &patience, || state.life.check_active().err()) {
            Waited::Done(done) => done,
            Waited::Interrupted => Err(StorageError::Interrupted),
            Waited::TimedOut => Err(StorageError::TimedOut),
        }
    }

    /// A discontinuity: the window restarts at `offset`, once the gates have read all that there is. `false` if they
    /// have not and this writer does not wait.
    #[cold]
    fn restart<D: DriverIo>(
        &mut self,
        state: &State<D>,
        ring: &RingDriver,
        offset: u64,
        wait: Wait<'_>,
    ) -> StorageResult<bool> {
        let window = ring.window();
        let before = window.span();
        // The last byte before the gap; of a ring that nothing was written to, there is none.
        if let Some(last) = before.end.checked_sub(1)
            && !self.gates.passed(last)
        {
            // A gate that waits for bytes beyond the gap would wait for us as we wait for it, or as we come back.
            if self.announced_gap != before.end {
                if self.silent() && matches!(wait, Wait::Never) {
                    state.announce_gap_silently(before.end);
                    self.untold = true;
                } else {
                    state.announce_gap(before.end);
                }
                self.announced_gap = before.end;
            }
            let Wait::For(deadline) = wait else { return Ok(false) };
            let waited = self.wait_for_gates(state, last, deadline);
            if waited.is_err() {
                state.withdraw_gap();
                self.announced_gap = NO_GAP;
                waited?;
            }
        }
        window.restart(offset);
        self.gates.jumped(offset);
        self.notified_to = offset;
        if self.silent() {
            self.untold = true;
        } else {
            // All: a range that straddles the new start is waited for at a byte above it.
            state.waits.notify_all();
        }
        if let Some(observer) = state.observer.as_ref().filter(|_| !before.is_empty()) {
            observer.on_evict(before.into());
        }
        Ok(true)
    }

    fn put_foreign<D: DriverIo>(
        &mut self,
        state: &State<D>,
        offset: u64,
        data: &[u8],
        wait: Wait<'_>,
    ) -> StorageResult<Put> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > crate::MAX_OFFSET) {
            return Err(StorageError::OffsetOverflow { offset, len: data.len() as u64 });
        }
        let mut written = 0;
        while written < data.len() {
            let at = offset + written as u64;
            let room = usize::try_from(state.driver.room(at)).unwrap_or(usize::MAX);
            if room == 0 {
                let Wait::For(deadline) = wait else { break };
                if let Err(error) = self.wait_for_driver(state, at, deadline) {
                    return Ok(Put { written, stopped: Some(error) });
                }
                continue;
            }
            let part = &data[written..written + room.min(data.len() - written)];
            if let Err(error) = state.write_foreign(at, part) {
                return Ok(Put { written, stopped: Some(error) });
            }
            written += part.len();
            self.position = self.position.max(at + part.len() as u64);
            self.notified_to = self.position;
        }
        Ok(Put { written, stopped: None })
    }

    /// A driver of somebody else's does not say when it has room: it is asked again and again.
    fn wait_for_driver<D: DriverIo>(
        &mut self,
        state: &State<D>,
        offset: u64,
        deadline: Option<&Deadline>,
    ) -> StorageResult<()> {
        let patience = Patience { deadline, interrupts: Some(self.interrupts.watch()), from: None };
        state.room.go_silent(DEFAULT_PACE);
        let waited = state.room.wait(&patience, || match state.life.check_active() {
            Err(error) => Look::Done(Err(error)),
            Ok(()) if state.driver.room(offset) > 0 => Look::Done(Ok(())),
            Ok(()) => Look::Missing(offset),
        });
        match waited {
            Waited::Done(done) => done,
            Waited::Interrupted => Err(StorageError::Interrupted),
            Waited::TimedOut => Err(StorageError::TimedOut),
        }
    }
}

impl<D: DriverIo> Drop for Writer<D> {
    fn drop(&mut self) {
        if self.handed_over {
            return;
        }
        let room = self.state.room.clone();
        let gates = std::mem::replace(&mut self.pen.gates, Gates::new(room));
        let state = std::mem::replace(&mut self.state, self.shared.current());
        self.shared.leave_undone(state, gates);
    }
}

/// Appends. Blocks while a gate leaves no room, and then writes what fits.
impl<D: DriverIo> io::Write for Writer<D> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let position = self.position();
        let put = self.put(position, data, Wait::For(None))?;
        match put.stopped {
            Some(error) if put.written == 0 => Err(error.into()),
            stopped => {
                // `write_all` comes again with the rest, and would wait as if nobody had interrupted it.
                if matches!(stopped, Some(StorageError::Interrupted)) {
                    self.pen.interrupts.put_back();
                }
                Ok(put.written)
            }
        }
    }

    /// Wakes the readers that wait for what was written silently.
    fn flush(&mut self) -> io::Result<()> {
        self.notify();
        Ok(())
    }
}

impl<D: DriverIo> std::fmt::Debug for Writer<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("position", &self.position())
            .field("publication", &self.pen.publication)
            .finish_non_exhaustive()
    }
}
