//! Several connections that fill one resource.
//!
//! Gaps are claimed and given back under one mutex, so that two claims never hold the same byte: a claim is cut out of the
//! set of gaps, and what it filled is published in the coverage and never enters the set again. To append takes no lock.
//!
//! ```text
//!   wait for a claim                              a claim ends
//!     lock; a gap? done                             what it wrote is published (coverage)
//!     none free, no claim out? commit, done         lock; what it did not write is a gap again
//!     arm; fence(SeqCst)              [wake]        the last one, and no gap? commit, which wakes all
//!     lock; the same once more                      else if a gap came back: fence(SeqCst)       [wake]
//!     sleep                                           wake who waits for a claim
//! ```
//!
//! Why no wake is lost. The set changes under the mutex before the fence of the one that ends a claim, and a sleeper looks
//! at the set after its own fence: [wake] in `wait.rs`. Only two events let a wait succeed, a gap that comes back
//! and the end of the resource, and each wakes. A byte that is appended frees nothing, and wakes no fetcher. A claim
//! that ends full, with others out, frees nothing either: of the last two to end, one finds no claim out, and commits.
//!
//! Checked by `loom-tests/models/src/fetcher.rs`.

mod gaps;

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
use gaps::Gaps;
use std::{
    io, mem,
    ops::Range,
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
    /// Never locked while anybody else's code runs.
    gaps: Mutex<Gaps>,
}

impl<D: DriverIo> Fetcher<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, state: Arc<State<D>>, gates: Gates) -> Self {
        let mut seat = FetchSeat { shared, state, gates: Some(gates), gaps: Mutex::default() };
        if let Ok((coverage, len)) = seat.store() {
            seat.gaps = Mutex::new(Gaps::of(coverage, len));
        }
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
            Gap::Claimed(range) => Ok(Some(Claim::new(&self.seat, range))),
            Gap::NotNow | Gap::AllThere => Ok(None),
        }
    }

    /// The right to fill the first `max` bytes (at least one) that are free at or behind `offset`, wherever readers wait:
    /// for a connection whose answer goes on there. `None` if nothing is free there now.
    ///
    /// # Real-time
    /// Blocking (a short lock, and it allocates). Not for a callback.
    ///
    /// # Errors
    /// As [`next_claim`](Self::next_claim), but for those of a commit: it never commits.
    pub fn claim_from(&self, offset: u64, max: u64) -> StorageResult<Option<Claim<D>>> {
        self.seat.store()?;
        let range = match self.seat.state.life.stage() {
            Stage::Active => self.seat.gaps().claim_from(offset, max),
            Stage::Committed(_) => None,
            stage => return Err(self.seat.state.life.error(stage)),
        };
        Ok(range.map(|range| Claim::new(&self.seat, range.into())))
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
        let patience = Patience { deadline, interrupts: Some(self.interrupts.watch()), from: None };
        let waited = self.seat.state.room.wait(&patience, || match self.seat.look(max) {
            Ok(Gap::Claimed(range)) => Look::Done(Ok(Some(range))),
            Ok(Gap::AllThere) => Look::Done(Ok(None)),
            // A gap that comes back wakes all that wait here, wherever it is.
            Ok(Gap::NotNow) => Look::Missing(0),
            Err(error) => Look::Done(Err(error)),
        });
        match waited {
            Waited::Done(found) => Ok(found?.map(|range| Claim::new(&self.seat, range))),
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
        let Ok((coverage, len)) = self.seat.store() else { return 0 };
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
    fn gaps(&self) -> MutexGuard<'_, Gaps> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there, and how long the whole will be.
    fn store(&self) -> StorageResult<(&Coverage, u64)> {
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
        let (_, len) = self.store()?;
        let mut gaps = self.gaps();
        if let Some(range) = gaps.claim(self.state.waits.wanted(), max) {
            return Ok(Gap::Claimed(range.into()));
        }
        if !gaps.begin_commit() {
            return Ok(Gap::NotNow);
        }
        drop(gaps);
        self.commit(len)?;
        Ok(Gap::AllThere)
    }

    /// Commits, for the one that was told to by [`Gaps::begin_commit`].
    fn commit(&self, len: u64) -> StorageResult<()> {
        let attempt = CommitAttempt(self);
        self.state.commit(Some(len))?;
        mem::forget(attempt);
        self.shared.settle(&self.state);
        Ok(())
    }

    /// A claim is over that did not fill `rest`, or a commit.
    fn end_claim(&self, rest: impl Iterator<Item = Range<u64>>) {
        self.gaps().give_back(rest);
        // After the set has changed: see the head of the file.
        self.state.room.notify_all();
    }

    fn write(&self, offset: u64, data: &[u8]) -> StorageResult<()> {
        self.state.life.check_active()?;
        match self.state.linear() {
            Some(linear) => self.state.write_store(linear, offset, data, true),
            None => self.state.write_foreign(offset, data),
        }
    }

    /// A claim is over that was filled.
    fn filled(&self) -> StorageResult<()> {
        let (_, len) = self.store()?;
        let mut gaps = self.gaps();
        gaps.give_back([].into_iter());
        let last = gaps.begin_commit();
        drop(gaps);
        if last { self.commit(len) } else { Ok(()) }
    }
}

/// A commit that has not succeeded. If the resource is active still, whoever asks next tries again: also when the driver,
/// which may be somebody else's, has panicked.
struct CommitAttempt<'a, D: DriverIo>(&'a FetchSeat<D>);

impl<D: DriverIo> Drop for CommitAttempt<'_, D> {
    fn drop(&mut self) {
        self.0.end_claim([].into_iter());
    }
}

impl<D: DriverIo> Drop for FetchSeat<D> {
    fn drop(&mut self) {
        if let Some(gates) = self.gates.take() {
            let state = mem::replace(&mut self.state, self.shared.current());
            self.shared.leave_undone(state, gates);
        }
    }
}

impl<D: DriverIo> Claim<D> {
    fn new(seat: &Arc<FetchSeat<D>>, range: Span) -> Self {
        Self { seat: seat.clone(), range, position: range.start }
    }

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
        self.position += taken as u64;
        if self.remaining() == 0 {
            self.seat.filled()?;
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
        if self.remaining() == 0 {
            // It was over when it was filled.
            return;
        }
        let coverage = self.seat.state.coverage();
        // An append that failed may have written some of it.
        let rest = coverage.into_iter().flat_map(|coverage| gaps::missing(coverage, self.position..self.range.end));
        self.seat.end_claim(rest);
    }
}

impl<D: DriverIo> std::fmt::Debug for Claim<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("range", &self.range).field("position", &self.position).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{MemOptions, ResourceStatus, WaitOutcome, open, wait::WaitTable};
    use std::thread;

    const LEN: u64 = 4 << 30;
    const PIECE: [u8; 1400] = [7; 1400];

    /// Blocks until a sleeper is armed: from then on, whatever wakes is counted.
    fn until_one_sleeps(room: &WaitTable<1>) {
        while room.wanted().count() == 0 {
            thread::yield_now();
        }
    }

    /// Each append once woke all that waited for a claim, and each of them looked at all words of the store.
    #[test]
    fn an_append_wakes_no_waiting_fetcher() {
        let resource = open(MemOptions { len: Some(LEN), ..MemOptions::default() }).unwrap();
        let fetcher = resource.writer().unwrap().into_fetcher();
        let room = &fetcher.seat.state.room;
        let mut all = fetcher.next_claim(u64::MAX).unwrap().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| fetcher.wait_claim(u64::MAX).unwrap().unwrap().range());
            until_one_sleeps(room);
            let taken: usize = (0..1000).map(|_| all.append(&PIECE).unwrap()).sum();
            let while_appending = room.wakes();
            drop(all);
            assert_eq!(waiting.join().unwrap(), Span { start: taken as u64, end: LEN });
            assert_eq!((while_appending, room.wakes()), (0, 1));
        });
    }

    /// A claim that ends full leaves no gap, unless it was the last.
    #[test]
    fn a_full_claim_wakes_only_by_its_commit() {
        let resource = open(MemOptions { len: Some(30), ..MemOptions::default() }).unwrap();
        let fetcher = resource.writer().unwrap().into_fetcher();
        let room = &fetcher.seat.state.room;
        let mut claims = [0; 3].map(|_| fetcher.next_claim(10).unwrap().unwrap());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| fetcher.wait_claim(1).unwrap().is_none());
            until_one_sleeps(room);
            let before = claims.each_mut().map(|claim| {
                let wakes = room.wakes();
                claim.append(&[7; 10]).unwrap();
                wakes
            });
            assert!(waiting.join().unwrap());
            assert_eq!((before, room.wakes()), ([0; 3], 1));
        });
        assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 30 });
    }

    /// A reader that begins to wait elsewhere frees nothing: it wakes no fetcher, and the next claim goes there.
    #[test]
    fn a_reader_that_waits_wakes_no_fetcher() {
        let resource = open(MemOptions { len: Some(LEN), ..MemOptions::default() }).unwrap();
        let fetcher = resource.writer().unwrap().into_fetcher();
        let room = &fetcher.seat.state.room;
        let all = fetcher.next_claim(u64::MAX).unwrap().unwrap();
        let reader = resource.reader();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| fetcher.wait_claim(10).unwrap().unwrap());
            until_one_sleeps(room);
            let reading = scope.spawn(|| reader.wait_range(LEN - 100..LEN - 90));
            while fetcher.seat.state.waits.wanted().count() == 0 {
                thread::yield_now();
            }
            let while_reading = room.wakes();
            drop(all);
            let mut claim = waiting.join().unwrap();
            assert_eq!(while_reading, 0);
            assert_eq!(claim.range(), Span { start: LEN - 100, end: LEN - 90 });
            claim.append(&PIECE).unwrap();
            assert_eq!(reading.join().unwrap().unwrap(), WaitOutcome::Ready);
        });
    }

    /// An append that fails half-way leaves bytes behind; they are not handed out again.
    #[test]
    fn what_a_failed_append_wrote_is_no_gap() {
        let resource = open(MemOptions { len: Some(100), ..MemOptions::default() }).unwrap();
        let fetcher = resource.writer().unwrap().into_fetcher();
        let claim = fetcher.next_claim(u64::MAX).unwrap().unwrap();
        fetcher.seat.write(20, &[7; 10]).unwrap();
        drop(claim);
        let claims: Vec<_> = std::iter::from_fn(|| fetcher.next_claim(u64::MAX).unwrap()).collect();
        let ranges: Vec<_> = claims.iter().map(|claim| Range::from(claim.range)).collect();
        assert_eq!(ranges, [0..20, 30..100]);
    }
}
