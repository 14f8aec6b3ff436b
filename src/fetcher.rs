//! Several connections that fill one resource.

use crate::{
    DriverIo, Interrupter, Span, StorageError, StorageResult,
    coverage::Coverage,
    gate::Gates,
    lifecycle::Stage,
    resource::Shared,
    state::State,
    sync::{Deadline, Mutex, MutexGuard},
    wait::{Interrupts, Look, Patience, Waited},
};
use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// Hands out the gaps of a resource, so that several connections fill it at once without writing a byte twice. It is
/// made from the writer, by [`Writer::into_fetcher`](crate::Writer::into_fetcher), and takes its place.
///
/// Give each connection a clone. It takes a [`Claim`], fetches those bytes, appends them, and takes the next. What
/// readers wait for is handed out first. The claim that fills the last gap commits the resource. When all fetchers and
/// claims are dropped before that, the resource fails with [`StorageError::WriterDropped`].
///
/// ```
/// use roundelay::{MemOptions, open};
/// # fn fetch(range: roundelay::Span) -> Vec<u8> { vec![7; range.len() as usize] }
///
/// let resource = open(MemOptions { len: Some(1 << 20), ..Default::default() })?;
/// let fetcher = resource.writer()?.into_fetcher();
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         let fetcher = fetcher.clone();
///         scope.spawn(move || {
///             while let Some(mut claim) = fetcher.wait_claim(64 << 10)? {
///                 claim.append(&fetch(claim.range()))?;
///             }
///             Ok::<(), roundelay::StorageError>(())
///         });
///     }
/// });
/// assert_eq!(resource.reader().final_len(), Some(1 << 20));
/// # Ok::<(), roundelay::StorageError>(())
/// ```
///
/// # Real-time
/// Blocking, all of it: claims are kept behind a lock. Not for a callback.
pub struct Fetcher<D: DriverIo> {
    seat: Arc<FetchSeat<D>>,
    interrupts: Interrupts,
}

/// The exclusive right to write a stretch that is missing. Dropping it gives back what was not written of it.
pub struct Claim<D: DriverIo> {
    seat: Arc<FetchSeat<D>>,
    range: Span,
    position: u64,
}

/// What takes the writer's place: all fetchers and claims share it.
struct FetchSeat<D: DriverIo> {
    shared: Arc<Shared<D>>,
    state: Arc<State<D>>,
    /// The gates that wait for the next writer.
    gates: Option<Gates>,
    course: Mutex<Course>,
}

/// Never held while anybody else's code runs.
#[derive(Default)]
struct Course {
    /// Where the last claim ended: unless somebody waits elsewhere, the next one begins there.
    next: u64,
    /// All below is there.
    whole_to: u64,
    /// Somebody commits.
    committing: bool,
}

impl<D: DriverIo> Fetcher<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, state: Arc<State<D>>, gates: Gates) -> Self {
        let seat = FetchSeat { shared, state, gates: Some(gates), course: Mutex::default() };
        Self { seat: Arc::new(seat), interrupts: Interrupts::new() }
    }

    /// The right to fill the first `max` bytes (at least one) of the gap that is nearest to what a reader waits for, or
    /// else nearest behind the last one so handed out; `None` if no gap is free now. A resource that turns out to be
    /// whole is committed.
    ///
    /// # Real-time
    /// Blocking (a short lock, and it allocates). Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::Failed`], [`Cancelled`](StorageError::Cancelled); the commit's errors;
    /// [`Unsupported`](StorageError::Unsupported) over a store that forgets, or whose length is not known: it was not
    /// given, or the generation follows a committed one, all of whose bytes are there.
    pub fn next_claim(&self, max: u64) -> StorageResult<Option<Claim<D>>> {
        match self.seat.look(max)? {
            Gap::Claimed(range) => Ok(Some(Claim { seat: self.seat.clone(), range, position: range.start })),
            Gap::NotNow | Gap::AllThere => Ok(None),
        }
    }

    /// As [`next_claim`](Self::next_claim), and blocks until a gap is free: another claim may be dropped unfinished.
    /// `None` only when all is there.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`next_claim`](Self::next_claim), and [`Interrupted`](StorageError::Interrupted).
    pub fn wait_claim(&self, max: u64) -> StorageResult<Option<Claim<D>>> {
        self.wait_before(max, None)
    }

    /// As [`wait_claim`](Self::wait_claim), at most for `timeout`.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`wait_claim`](Self::wait_claim), and [`TimedOut`](StorageError::TimedOut).
    pub fn wait_claim_timeout(&self, max: u64, timeout: Duration) -> StorageResult<Option<Claim<D>>> {
        self.wait_before(max, Some(&Deadline::after(timeout)))
    }

    fn wait_before(&self, max: u64, deadline: Option<&Deadline>) -> StorageResult<Option<Claim<D>>> {
        let patience = Patience { deadline, interrupts: Some(&self.interrupts), from: None };
        let waited = self.seat.state.room.wait(&patience, || match self.seat.look(max) {
            Ok(Gap::Claimed(range)) => Look::Done(Ok(Some(range))),
            Ok(Gap::AllThere) => Look::Done(Ok(None)),
            // Whatever is given back, it wakes all that wait here.
            Ok(Gap::NotNow) => Look::Missing(0),
            Err(error) => Look::Done(Err(error)),
        });
        match waited {
            Waited::Done(found) => {
                Ok(found?.map(|range| Claim { seat: self.seat.clone(), range, position: range.start }))
            }
            Waited::Interrupted => Err(StorageError::Interrupted),
            Waited::TimedOut => Err(StorageError::TimedOut),
        }
    }

    /// How many bytes are not there yet, claimed or not; 0 if the length is not known.
    ///
    /// # Real-time
    /// Blocking (a short lock; it allocates, and takes longer the more pieces there are). Not for a callback.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let Ok((coverage, len)) = self.seat.gaps() else { return 0 };
        let there: u64 = coverage.available().iter().map(|range| range.end.min(len) - range.start.min(len)).sum();
        len - there
    }

    /// Fails the resource: bytes that are there stay readable, whoever waits for more gets the reason. Does nothing if
    /// it is committed, failed or cancelled already.
    ///
    /// # Real-time
    /// Allocates, wakes all that wait, and calls the observer. Not for a callback.
    pub fn fail(&self, reason: impl Into<StorageError>) {
        self.seat.state.fail(Arc::new(reason.into()));
    }

    /// Ends the waits of this fetcher (not of its clones) from another thread.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the last handle that is dropped frees what it holds.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.interrupts.interrupter(self.seat.state.clone())
    }
}

/// The clone has interrupters of its own.
impl<D: DriverIo> Clone for Fetcher<D> {
    fn clone(&self) -> Self {
        Self { seat: self.seat.clone(), interrupts: Interrupts::new() }
    }
}

impl<D: DriverIo> std::fmt::Debug for Fetcher<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("status", &self.seat.state.life.status()).finish_non_exhaustive()
    }
}

/// What a look for a gap finds.
enum Gap {
    Claimed(Span),
    /// All that is missing is claimed.
    NotNow,
    AllThere,
}

impl<D: DriverIo> FetchSeat<D> {
    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there, and how long the whole will be.
    fn gaps(&self) -> StorageResult<(&Coverage, u64)> {
        let coverage =
            self.state.coverage().ok_or(StorageError::Unsupported("a store that forgets has no gaps to fill"))?;
        let len = self.state.expected_len.ok_or(StorageError::Unsupported(
            "gaps are filled in a whole of known length: give the length when the store is opened, and fill it before its \
             first commit (what follows a commit has no gaps; write it with the writer)",
        ))?;
        Ok((coverage, len))
    }

    fn look(&self, max: u64) -> StorageResult<Gap> {
        match self.state.life.stage() {
            Stage::Active => {}
            Stage::Committed(_) => return Ok(Gap::AllThere),
            stage => return Err(self.state.life.error(stage)),
        }
        let (coverage, len) = self.gaps()?;
        if let Some(range) = self.claim(coverage, len, max.max(1)) {
            return Ok(Gap::Claimed(range));
        }
        if coverage.claimed() > 0 {
            return Ok(Gap::NotNow);
        }
        self.commit_if_whole(coverage, len)?;
        match self.state.life.stage() {
            Stage::Committed(_) => Ok(Gap::AllThere),
            // Given back in this moment, or being committed.
            Stage::Active => Ok(Gap::NotNow),
            stage => Err(self.state.life.error(stage)),
        }
    }

    fn claim(&self, coverage: &Coverage, len: u64, max: u64) -> Option<Span> {
        let mut course = self.course();
        let nearest = self.state.waits.wanted().filter_map(|wanted| {
            let gap = coverage.next_gap(wanted, len)?;
            Some((gap.start - wanted, gap.start))
        });
        let wanted = nearest.min().map(|(_, start)| start);
        let from = wanted.unwrap_or(course.next);
        let range = coverage.claim(from, len, max).or_else(|| coverage.claim(course.whole_to, len, max))?;
        course.next = range.end;
        Some(range.into())
    }

    /// Commits if all is there and nobody has done so.
    fn commit_if_whole(&self, coverage: &Coverage, len: u64) -> StorageResult<()> {
        if coverage.claimed() > 0 {
            return Ok(());
        }
        let mut course = self.course();
        // What is there stays, so that nobody looks at it twice.
        course.whole_to = coverage.first_missing(&(course.whole_to..len)).map_or(len, |hole| hole.start);
        // Once all is there nobody claims any more; but who filled the last gap may still have to give it back, and
        // then comes here.
        if course.whole_to < len || coverage.claimed() > 0 || std::mem::replace(&mut course.committing, true) {
            return Ok(());
        }
        drop(course);
        self.state.commit(Some(len))?;
        self.shared.settle(&self.state);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> StorageResult<()> {
        self.state.life.check_active()?;
        match self.state.linear() {
            Some(linear) => self.state.write_store(linear, offset, data, true),
            None => self.state.write_foreign(offset, data),
        }
    }

    fn give_back(&self, range: Span) {
        if let Some(coverage) = self.state.coverage().filter(|_| !range.is_empty()) {
            coverage.give_back(&range.into());
            self.state.room.notify_all();
        }
    }
}

impl<D: DriverIo> Drop for FetchSeat<D> {
    fn drop(&mut self) {
        if let Some(gates) = self.gates.take() {
            let state = std::mem::replace(&mut self.state, self.shared.current());
            self.shared.leave_undone(state, gates);
        }
    }
}

impl<D: DriverIo> Claim<D> {
    /// The whole of it.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn range(&self) -> Span {
        self.range
    }

    /// Where the next byte goes.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes are still to be written.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.range.end - self.position
    }

    /// Writes on, and returns how many bytes were taken: all of them, or as many as the claim had left. If these were the
    /// last that the resource was missing, it is committed.
    ///
    /// # Real-time
    /// Blocking: takes short locks, a file may grow or be synced, and the last claim commits. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::Failed`], [`Cancelled`](StorageError::Cancelled), and those of a write
    /// ([`Writer::write_at`](crate::Writer::write_at)): the claim stays where it was. Those of a commit: the bytes were
    /// taken. (If two claims end at the same moment, the other one may be told.)
    pub fn append(&mut self, data: &[u8]) -> StorageResult<usize> {
        let taken = usize::try_from(self.remaining()).unwrap_or(usize::MAX).min(data.len());
        if taken == 0 {
            return Ok(0);
        }
        self.seat.write(self.position, &data[..taken])?;
        let written = Span { start: self.position, end: self.position + taken as u64 };
        self.position = written.end;
        // After the insert, or another claim could be made for these bytes.
        self.seat.give_back(written);
        if self.remaining() == 0 {
            let (coverage, len) = self.seat.gaps()?;
            self.seat.commit_if_whole(coverage, len)?;
        }
        Ok(taken)
    }
}

/// As [`append`](Claim::append). A claim that is full takes nothing more, and `write_all` then fails.
impl<D: DriverIo> io::Write for Claim<D> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(self.append(data)?)
    }

    /// Nothing is held back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: DriverIo> Drop for Claim<D> {
    fn drop(&mut self) {
        self.seat.give_back(Span { start: self.position, end: self.range.end });
    }
}

impl<D: DriverIo> std::fmt::Debug for Claim<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("range", &self.range).field("position", &self.position).finish_non_exhaustive()
    }
}
