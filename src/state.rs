//! One generation of a resource: what is there, who waits for what, how it ends.

use crate::{
    AvailabilityObserver, DriverIo, MAX_OFFSET, ReadError, Span, StorageError, StorageResult, WaitOutcome,
    coverage::Coverage,
    driver::{self, DriverState, Kind, Linear, RingDriver},
    lifecycle::{Life, Stage},
    store::{Store, Strays, resumed},
    sync::{AtomicU64, CachePadded, Ordering::*, fence},
    wait::{Look, Patience, WaitTable, Waited, WakeAll},
    window::Window,
};
use rangemap::RangeSet;
use std::{
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// One generation of a resource.
pub(crate) struct State<D: DriverIo> {
    pub(crate) driver: Arc<D>,
    pub(crate) life: Life,
    /// Readers that wait for bytes.
    pub(crate) waits: WaitTable,
    /// The writer that waits for gates. It goes with the gates, from one generation to the next.
    pub(crate) room: Arc<WaitTable<1>>,
    /// The offset at which a discontinuity is about to begin, or [`NO_GAP`]: gates do not wait beyond it.
    gap: CachePadded<AtomicU64>,
    /// Where the next generation begins, once there is one: this one, if it was not committed, ends there.
    next_from: AtomicU64,
    /// Why the driver could not be read once the resource was over: its status says something else.
    unreadable: OnceLock<Arc<StorageError>>,
    /// What is there, of a driver that keeps everything; of a driver with a window, the window says so.
    kept: Option<Kept>,
    /// Held for each write to a driver that is not ours.
    writing: Mutex<()>,
    /// How long the whole will be, if the driver knew when it was opened: no byte lies behind it. Not of a generation that
    /// follows a committed one.
    pub(crate) expected_len: Option<u64>,
    pub(crate) observer: Option<Arc<dyn AvailabilityObserver>>,
}

/// What is there, of a driver that keeps everything.
enum Kept {
    /// Of one of ours, with the bytes themselves.
    Ours(Arc<Store>),
    /// Of somebody else's. A `rewrite` follows a committed generation: what it inherits can be written once more.
    Theirs { coverage: Box<Coverage>, rewrite: bool },
}

impl Kept {
    #[inline]
    fn coverage(&self) -> &Coverage {
        match self {
            Self::Ours(store) => store.coverage(),
            Self::Theirs { coverage, .. } => coverage,
        }
    }

    /// What a driver of somebody else's has from before, and writes no more.
    fn found(available: &RangeSet<u64>) -> Self {
        Self::Theirs { coverage: Coverage::found(available).into(), rewrite: false }
    }

    /// What the next generation of `driver` starts with, after this one has ended at `stage`.
    fn next_generation<D: DriverIo>(&self, driver: &D, stage: Stage) -> Self {
        if let (Self::Ours(_), Kind::Linear(linear)) = (self, driver::kind(driver)) {
            return Self::Ours(linear.store().0);
        }
        match (self, stage) {
            (_, Stage::Committed(len)) => Self::Theirs { coverage: Coverage::inheriting(len).into(), rewrite: true },
            (Self::Theirs { coverage, rewrite: true }, _) => {
                Self::Theirs { coverage: resumed(coverage).into(), rewrite: true }
            }
            _ => Self::found(&self.coverage().available()),
        }
    }
}

/// No gap is announced.
pub(crate) const NO_GAP: u64 = u64::MAX;

/// What a reader of a ring sees when it looks properly: the state first, then the window.
pub(crate) struct Edge {
    pub(crate) stage: Stage,
    /// Where the window begins, or its last discontinuity; not beyond `end`.
    pub(crate) start: u64,
    /// The live edge, not beyond where this generation ends.
    pub(crate) end: u64,
}

/// What a read of all that is asked for of a ring comes to, if it goes no detour.
enum AtOnce {
    Read,
    /// The bytes have left the window, before or meanwhile, and will not come back.
    Evicted,
    /// Not all that was asked for is there, or a glance does not show it.
    NotSeen,
}

impl<D: DriverIo> State<D> {
    pub(crate) fn new(
        driver: Arc<D>,
        mut found: DriverState,
        observer: Option<Arc<dyn AvailabilityObserver>>,
    ) -> StorageResult<Self> {
        let window = driver.valid_window();
        let kept = match driver::kind(&*driver) {
            _ if window.is_some() => None,
            Kind::Linear(linear) => {
                let (store, committed) = linear.store();
                // Whatever the caller says: a read of a committed store looks no further.
                found.is_committed = committed.is_some();
                found.final_len = committed.or(found.final_len);
                Some(Kept::Ours(store))
            }
            _ => Some(Kept::found(&found.available)),
        };
        let coverage = kept.as_ref().map(Kept::coverage);
        let mut life = Life::active();
        if found.is_committed {
            let end = window.map_or_else(|| coverage.map_or(0, Coverage::end), |window| window.end);
            let final_len = found.final_len.unwrap_or(end);
            check_len(final_len)?;
            if let Some(coverage) = coverage {
                if let Some(hole) = coverage.first_missing(&(0..final_len)) {
                    return Err(StorageError::Hole { hole: hole.into() });
                }
                coverage.truncate(final_len);
            }
            life = Life::committed(final_len);
        }
        let expected_len = found.final_len.filter(|_| !found.is_committed);
        if let Some(len) = expected_len {
            check_len(len)?;
            if let Some(coverage) = coverage {
                coverage.truncate(len);
            }
        }
        Ok(Self::over(driver, life, Arc::default(), kept, expected_len, observer))
    }

    fn over(
        driver: Arc<D>,
        life: Life,
        room: Arc<WaitTable<1>>,
        kept: Option<Kept>,
        expected_len: Option<u64>,
        observer: Option<Arc<dyn AvailabilityObserver>>,
    ) -> Self {
        Self {
            driver,
            life,
            waits: WaitTable::new(),
            room,
            gap: CachePadded::new(AtomicU64::new(NO_GAP)),
            next_from: AtomicU64::new(u64::MAX),
            unreadable: OnceLock::new(),
            kept,
            writing: Mutex::new(()),
            expected_len,
            observer,
        }
    }

    /// The generation after this one, whose driver is active again. Of this one there is no more than there is now.
    pub(crate) fn next_generation(&self) -> Self {
        // Relaxed: whoever sees bytes of the next generation sees this before, by the Release of their end; its writer
        // takes the seat after us.
        self.next_from.store(self.live_edge(), Relaxed);
        let stage = self.life.stage();
        let kept = self.kept.as_ref().map(|kept| kept.next_generation(&*self.driver, stage));
        // What was committed has shown how long it was; what will become of it now, nobody knows.
        let expected_len = self.expected_len.filter(|_| !matches!(stage, Stage::Committed(_)));
        Self::over(self.driver.clone(), Life::active(), self.room.clone(), kept, expected_len, self.observer.clone())
    }

    /// This generation without the one that it rewrote, if it is committed and did.
    pub(crate) fn settled(&self) -> Option<Self> {
        let Stage::Committed(len) = self.life.stage() else { return None };
        let Some(kept @ Kept::Ours(store)) = &self.kept else { return None };
        store.is_rewrite().then(|| {
            let kept = Some(kept.next_generation(&*self.driver, Stage::Committed(len)));
            let (life, room) = (Life::committed(len), self.room.clone());
            Self::over(self.driver.clone(), life, room, kept, None, self.observer.clone())
        })
    }

    /// The ring below, if it is one of ours.
    #[inline]
    pub(crate) fn ring(&self) -> Option<&RingDriver> {
        match driver::kind(&*self.driver) {
            Kind::Ring(ring) => Some(ring),
            _ => None,
        }
    }

    /// The store below, and what sees to its growth, if it is one of ours.
    #[inline]
    pub(crate) fn linear(&self) -> Option<(&Store, &dyn Linear)> {
        match (&self.kept, driver::kind(&*self.driver)) {
            (Some(Kept::Ours(store)), Kind::Linear(linear)) => Some((store, linear)),
            _ => None,
        }
    }

    /// What is there, of a driver that keeps everything.
    #[inline]
    pub(crate) fn coverage(&self) -> Option<&Coverage> {
        self.kept.as_ref().map(Kept::coverage)
    }

    // ---- verdicts ----

    pub(crate) fn fail(&self, reason: Arc<StorageError>) {
        if self.life.fail(reason) {
            self.wake_all();
            if let Some(observer) = &self.observer {
                observer.on_fail(&self.life.reason());
            }
        }
    }

    pub(crate) fn cancel(&self) {
        if self.life.cancel() {
            self.wake_all();
            if let Some(observer) = &self.observer {
                observer.on_cancel();
            }
        }
    }

    /// Commits; see [`Writer::commit`]. One thread at a time: the writer's, or the fetcher's that has filled the last gap.
    pub(crate) fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        self.life.check_active()?;
        let end = self.commit_end(final_len)?;
        if let Err(error) = self.driver.commit(final_len) {
            let reason = Arc::new(error);
            self.fail(reason.clone());
            return Err(StorageError::Failed(reason));
        }
        if !self.life.commit(end) {
            return Err(self.life.error(self.life.stage()));
        }
        // After the verdict: a reader behind the end finds bytes, and then the end.
        if let Some(coverage) = self.coverage() {
            coverage.truncate(end);
        }
        self.wake_all();
        if let Some(observer) = &self.observer {
            observer.on_commit(end);
        }
        Ok(())
    }

    /// Where the resource would end, if it can end there.
    fn commit_end(&self, final_len: Option<u64>) -> StorageResult<u64> {
        match self.coverage() {
            Some(coverage) => {
                // A whole of known length is that long, or has a hole at its end: no write goes beyond.
                let end = final_len.or(self.expected_len).unwrap_or_else(|| coverage.end());
                check_len(end)?;
                match coverage.first_missing(&(0..end)) {
                    Some(hole) => Err(StorageError::Hole { hole: hole.into() }),
                    None => Ok(end),
                }
            }
            None => {
                let end = self.foreign_window().end;
                check_len(end)?;
                match final_len {
                    Some(final_len) if final_len != end => Err(StorageError::NotLiveEdge { final_len, end }),
                    Some(_) => Ok(end),
                    None => match self.expected_len.filter(|&len| end < len) {
                        Some(len) => Err(StorageError::Hole { hole: (end..len).into() }),
                        None => Ok(end),
                    },
                }
            }
        }
    }

    // ---- reading ----

    /// The window of a ring, with the state that goes with it.
    ///
    /// The state first: a writer publishes its last bytes and then commits, so that an end loaded after a verdict is
    /// the last one. Then the end of this generation, in a second look: a resource that was reactivated since goes on
    /// above it, and a reader of this generation does not see that, nor what was evicted there.
    /// 1. It saw an end of a later generation: then it sees this one's verdict too, by the Release of [end], and
    ///    nothing beyond where that says this one ends.
    /// 2. It saw only a start or a base of a later one, which no ordering ties to the verdict: a start is taken for no
    ///    more than the end that was seen with it. Below that end it says what is true of this generation too, whoever
    ///    overwrote the bytes; above it, whose it is will be known once its own end is seen.
    ///
    /// So a jump, too, shows when its end does. Nobody sleeps through that: it wakes all, after its end.
    ///
    /// `start_of` is [`Window::oldest`], or [`Window::base`] for a gate, which nobody can lap.
    #[inline]
    pub(crate) fn edge(&self, ring: &RingDriver, start_of: impl FnOnce(&Window) -> u64) -> Edge {
        let stage = self.life.stage();
        let end = ring.window().end();
        let start = start_of(ring.window());
        let end = end.min(self.last());
        Edge { stage, start: start.min(end), end }
    }

    /// The live edge, unless it takes more than a glance to say what it is to this generation: [`edge`](Self::edge) does.
    ///
    /// The state after the end: the second look of `edge`. Whoever has seen an end of a later generation sees that this one
    /// is over. The first look is for who finds too little, to say why.
    #[inline]
    pub(crate) fn glance(&self, ring: &RingDriver) -> Option<u64> {
        let end = ring.window().end();
        self.life.is_active().then_some(end)
    }

    /// Where this generation ends, as far as that is known; asked after the window was looked at.
    #[inline]
    fn last(&self) -> u64 {
        match self.life.stage() {
            Stage::Active => u64::MAX,
            Stage::Committed(final_len) => final_len,
            // Relaxed: see `next_generation`.
            Stage::Failed | Stage::Cancelled => self.next_from.load(Relaxed),
        }
    }

    /// Where this generation ends for its readers, at a stage of it: where it was committed or, while it is written, where
    /// it is going to end. A failure comes before an end that nobody has reached by a commit.
    #[inline]
    fn end_at(&self, stage: Stage) -> Option<u64> {
        match stage {
            Stage::Active => self.expected_len,
            Stage::Committed(final_len) => Some(final_len),
            Stage::Failed | Stage::Cancelled => None,
        }
    }

    /// What a reader gets at `offset`, which it has no byte of.
    #[inline]
    fn out_of_bytes(&self, stage: Stage, offset: u64) -> Result<usize, ReadError> {
        match self.end_at(stage) {
            Some(end) if offset >= end => Ok(0),
            // Committed, below the end and not there: it was evicted, and the caller has said so. Only a driver that broke
            // its word comes here with that.
            _ => Err(stage.why_no_more()),
        }
    }

    /// The window of a driver that is not ours, as far as this generation goes.
    fn window_foreign(&self) -> Option<Span> {
        let window = self.driver.valid_window()?;
        let last = self.last();
        Some(Span { start: window.start.min(last), end: window.end.min(last) })
    }

    /// Reads what there is at `offset`: at least a byte, or the reason why not. 0 only at the end, or for an empty
    /// buffer. `known_end` is an end of the window that the caller has seen; it is brought up to date if it is not
    /// enough. `strays` is for a store that keeps everything.
    #[inline(always)]
    pub(crate) fn read(
        &self,
        offset: u64,
        buf: &mut [u8],
        known_end: &mut u64,
        strays: Strays,
    ) -> Result<usize, ReadError> {
        match (self.ring(), &self.kept) {
            (Some(ring), _) => match self.read_at_once(ring, offset, buf, known_end) {
                AtOnce::Read => Ok(buf.len()),
                AtOnce::Evicted => self.read_evicted(buf),
                AtOnce::NotSeen => self.read_at_length(offset, buf, known_end, strays),
            },
            (None, Some(Kept::Ours(store))) if self.read_store_at_once(store, offset, buf) => Ok(buf.len()),
            _ => self.read_at_length(offset, buf, known_end, strays),
        }
    }

    /// Reads all that is asked for of a ring, if that is there: the usual case, without the detours of the others.
    /// Unless it was read, `buf` may hold a mixture.
    #[inline(always)]
    fn read_at_once(&self, ring: &RingDriver, offset: u64, buf: &mut [u8], known_end: &mut u64) -> AtOnce {
        let len = buf.len() as u64;
        let Some(to) = offset.checked_add(len) else { return AtOnce::NotSeen };
        if to > *known_end {
            match self.glance(ring) {
                Some(end) if to <= end => *known_end = end,
                _ => return AtOnce::NotSeen,
            }
        }
        if len > ring.capacity() {
            return AtOnce::NotSeen;
        }
        // The bytes lie below an end of this generation. Whoever has overwritten them since, they are gone.
        if ring.window().read_all(offset, buf) { AtOnce::Read } else { AtOnce::Evicted }
    }

    /// Nothing is never evicted.
    #[cold]
    fn read_evicted(&self, buf: &[u8]) -> Result<usize, ReadError> {
        if buf.is_empty() { Ok(0) } else { Err(self.evicted()) }
    }

    /// All that is asked for, of a store that keeps everything; `false` if that takes more than a glance. The state first,
    /// as in [`read_store`](Self::read_store).
    #[inline(always)]
    fn read_store_at_once(&self, store: &Store, offset: u64, buf: &mut [u8]) -> bool {
        match self.life.stage() {
            Stage::Active => store.read_at_once(offset, buf),
            Stage::Committed(final_len)
                if final_len.checked_sub(offset).is_some_and(|there| buf.len() as u64 <= there) =>
            {
                store.read_complete(offset, buf);
                true
            }
            _ => false,
        }
    }

    #[inline(never)]
    fn read_at_length(
        &self,
        offset: u64,
        buf: &mut [u8],
        known_end: &mut u64,
        strays: Strays,
    ) -> Result<usize, ReadError> {
        if buf.is_empty() {
            return Ok(0);
        }
        match (self.ring(), &self.kept) {
            (Some(ring), _) => self.read_ring(ring, offset, buf, known_end),
            (None, Some(Kept::Ours(store))) => self.read_store(store, offset, buf, strays),
            (None, _) => self.read_foreign(offset, buf),
        }
    }

    /// The state first: what was published before a verdict is seen after it. A generation's store is its own, and
    /// what is there of it stays as it is, so that one look is enough.
    #[inline]
    fn read_store(&self, store: &Store, offset: u64, buf: &mut [u8], strays: Strays) -> Result<usize, ReadError> {
        let stage = self.life.stage();
        if let Stage::Committed(final_len) = stage {
            let len = final_len.saturating_sub(offset).min(buf.len() as u64) as usize;
            store.read_complete(offset, &mut buf[..len]);
            return Ok(len);
        }
        match store.read(offset, buf, strays) {
            0 => match self.out_of_bytes(stage, offset) {
                // Not for us to see, so that the verdict, if there is one, need not be true of it.
                Err(_) if strays == Strays::Missing && store.coverage().may_be_stray(offset) => Err(ReadError::NotYet),
                outcome => outcome,
            },
            n => Ok(n),
        }
    }

    #[inline]
    fn read_ring(
        &self,
        ring: &RingDriver,
        offset: u64,
        buf: &mut [u8],
        known_end: &mut u64,
    ) -> Result<usize, ReadError> {
        let window = ring.window();
        let wanted = (buf.len() as u64).min(window.capacity());
        if offset.saturating_add(wanted) > *known_end {
            let edge = self.edge(ring, Window::oldest);
            *known_end = edge.end;
            if offset >= edge.end {
                return self.out_of_bytes(edge.stage, offset);
            }
        }
        window.read(offset, buf, *known_end).ok_or_else(|| self.evicted())
    }

    #[cold]
    fn evicted(&self) -> ReadError {
        ReadError::Evicted { window: self.window().unwrap_or_default() }
    }

    fn read_foreign(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let stage = self.life.stage();
        let there = match (self.coverage(), self.window_foreign()) {
            (Some(coverage), _) => coverage.run(offset, buf.len() as u64),
            (None, Some(window)) if offset < window.start => return Err(ReadError::Evicted { window }),
            (None, Some(window)) => window.end.saturating_sub(offset),
            (None, None) => 0,
        };
        let there = self.end_at(stage).map_or(there, |end| there.min(end.saturating_sub(offset)));
        if there == 0 {
            return self.out_of_bytes(stage, offset);
        }
        let wanted = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let mut effective_len = self.driver.storage_len();
        if let Stage::Committed(final_len) = stage {
            effective_len = effective_len.min(final_len);
        }
        let read = match self.driver.read_at(offset, &mut buf[..wanted], effective_len) {
            Ok(n) if n > wanted => Err(StorageError::Driver("read_at claims more bytes than it was given room for")),
            other => other,
        };
        if self.kept.is_none() {
            // [foreign] Acquire: the driver's loads of the bytes come before its load of the window's start. Pairs with
            // whatever the driver publishes that start with.
            fence(Acquire);
            if let Some(window) = self.window_foreign().filter(|window| offset < window.start) {
                return Err(ReadError::Evicted { window });
            }
        }
        match read {
            // Bytes that are there and cannot be had: an end of file would be a lie.
            Ok(0) => self.fail_read(StorageError::Driver("read_at has no bytes where there are some")),
            Ok(n) => Ok(n),
            Err(error) => self.fail_read(error),
        }
    }

    /// A driver that cannot be read fails the resource, if it is active; the reason is in the status then.
    #[cold]
    fn fail_read(&self, error: StorageError) -> Result<usize, ReadError> {
        let reason = Arc::new(error);
        let _ = self.unreadable.set(reason.clone());
        self.fail(reason);
        Err(ReadError::Failed)
    }

    /// Whether a glance shows that all of `range` can be read now. It says nothing of an empty one.
    #[inline(always)]
    pub(crate) fn contains_at_once(&self, range: &Range<u64>) -> bool {
        match (self.ring(), &self.kept) {
            _ if range.start >= range.end => false,
            // The start after the end, as in `Window::span`.
            (Some(ring), _) => {
                self.glance(ring).is_some_and(|end| range.end <= end && ring.window().oldest() <= range.start)
            }
            (None, Some(Kept::Ours(store))) => match self.life.stage() {
                Stage::Active => store.covers_at_once(range),
                Stage::Committed(final_len) => range.end <= final_len,
                Stage::Failed | Stage::Cancelled => false,
            },
            _ => false,
        }
    }

    /// Whether all of `range` can be read now.
    pub(crate) fn contains(&self, range: &Range<u64>) -> bool {
        if range.is_empty() {
            return true;
        }
        match (self.ring(), &self.kept) {
            (Some(ring), _) => {
                let edge = self.edge(ring, Window::oldest);
                edge.start <= range.start && range.end <= edge.end
            }
            // The driver may know of bytes that a later generation wrote.
            (None, Some(kept)) => range.end <= self.last() && self.covers(kept.coverage(), range),
            (None, None) => {
                self.window_foreign().is_some_and(|window| window.start <= range.start && range.end <= window.end)
            }
        }
    }

    /// Whether coverage has `range`, or the driver of somebody else says so.
    #[inline]
    fn covers(&self, coverage: &Coverage, range: &Range<u64>) -> bool {
        let theirs = matches!(self.kept, Some(Kept::Theirs { .. }));
        theirs && self.driver.try_fast_check(range) || coverage.covers(range)
    }

    /// What can be read now.
    pub(crate) fn available(&self) -> RangeSet<u64> {
        match (self.coverage(), self.window()) {
            (Some(coverage), _) => coverage.available(),
            (None, Some(window)) if !window.is_empty() => RangeSet::from_iter([Range::from(window)]),
            _ => RangeSet::new(),
        }
    }

    /// The window, of a driver that has one.
    pub(crate) fn window(&self) -> Option<Span> {
        match self.ring() {
            Some(ring) => {
                let edge = self.edge(ring, Window::oldest);
                Some(Span { start: edge.start, end: edge.end })
            }
            None => self.window_foreign(),
        }
    }

    /// The live edge: where the window ends, or the last byte that is there.
    pub(crate) fn live_edge(&self) -> u64 {
        match (self.ring(), self.coverage()) {
            (Some(ring), _) => self.edge(ring, Window::oldest).end,
            (None, Some(coverage)) => coverage.end(),
            (None, None) => self.window_foreign().map_or(0, |window| window.end),
        }
    }

    /// The error of a stage, for somebody who can wait and read.
    pub(crate) fn read_error(&self, error: ReadError, offset: u64) -> StorageError {
        match error {
            ReadError::Evicted { window } => StorageError::Evicted { offset, window },
            ReadError::Failed => match (self.life.stage(), self.unreadable.get()) {
                // It ended well, and its driver cannot be read.
                (Stage::Committed(_) | Stage::Cancelled, Some(reason)) => StorageError::Failed(reason.clone()),
                _ => StorageError::Failed(self.life.reason()),
            },
            ReadError::Cancelled => StorageError::Cancelled,
            ReadError::NotYet | ReadError::Ended => StorageError::Driver("a finished wait without its bytes"),
        }
    }

    // ---- waiting ----

    /// Blocks until `range` is there, or never will be.
    pub(crate) fn wait_range(&self, range: Range<u64>, patience: &Patience<'_>) -> StorageResult<WaitOutcome> {
        if range.end < range.start {
            return Err(StorageError::InvalidRange { start: range.start, end: range.end });
        }
        // If asking is cheap. `contains_at_once`, where it was asked, has left some cases.
        if self.ring().is_some() || matches!(self.kept, Some(Kept::Ours(_))) {
            if patience.interrupted() {
                return Ok(WaitOutcome::Interrupted);
            }
            if self.contains(&range) {
                return Ok(WaitOutcome::Ready);
            }
        }
        let patience = Patience { from: Some(range.start), ..*patience };
        match self.waits.wait(&patience, || self.look(&range)) {
            Waited::Done(outcome) => outcome,
            Waited::Interrupted => Ok(WaitOutcome::Interrupted),
            Waited::TimedOut => Ok(WaitOutcome::TimedOut),
        }
    }

    /// Blocks until there is a byte at `offset`, or the end of the resource.
    pub(crate) fn wait_byte(&self, offset: u64, patience: &Patience<'_>) -> StorageResult<()> {
        // A range that can hold a byte; none that is out of reach ever comes.
        let offset = offset.min(u64::MAX - 1);
        match self.wait_range(offset..offset + 1, patience)? {
            WaitOutcome::Ready | WaitOutcome::Eof => Ok(()),
            WaitOutcome::Interrupted => Err(StorageError::Interrupted),
            WaitOutcome::TimedOut => Err(StorageError::TimedOut),
        }
    }

    /// Blocks until the resource is committed, and says how long it is; or until it never will be.
    pub(crate) fn wait_end(&self, patience: &Patience<'_>) -> StorageResult<u64> {
        let waited = self.waits.wait(patience, || match self.life.stage() {
            // No write ends this wait; a verdict wakes all.
            Stage::Active => Look::Missing(u64::MAX - 1),
            Stage::Committed(final_len) => Look::Done(Ok(final_len)),
            stage => Look::Done(Err(self.life.error(stage))),
        });
        match waited {
            Waited::Done(end) => end,
            Waited::Interrupted => Err(StorageError::Interrupted),
            Waited::TimedOut => Err(StorageError::TimedOut),
        }
    }

    /// A write that ends at `end` stays within the length that was given.
    #[inline]
    pub(crate) fn check_end(&self, end: u64) -> StorageResult<()> {
        match self.expected_len {
            Some(len) if end > len => Err(StorageError::BeyondLength { end, len }),
            _ => Ok(()),
        }
    }

    fn look(&self, range: &Range<u64>) -> Look<StorageResult<WaitOutcome>> {
        match self.ring() {
            Some(ring) => {
                let edge = self.edge(ring, Window::oldest);
                self.look_window(range, edge.stage, Span { start: edge.start, end: edge.end }, Some(ring.capacity()))
            }
            None => {
                let stage = self.life.stage();
                match (self.coverage(), self.window_foreign()) {
                    (Some(coverage), _) => self.look_kept(coverage, range, stage),
                    (None, Some(window)) => self.look_window(range, stage, window, None),
                    (None, None) => Look::Done(Err(StorageError::Driver("its window has disappeared"))),
                }
            }
        }
    }

    /// The part of `range` that there can be, or the outcome.
    fn clip(&self, range: &Range<u64>, stage: Stage) -> Result<Range<u64>, WaitOutcome> {
        match self.end_at(stage) {
            _ if range.is_empty() => Err(WaitOutcome::Ready),
            Some(end) if range.start >= end => Err(WaitOutcome::Eof),
            Some(end) => Ok(range.start..range.end.min(end)),
            None => Ok(range.clone()),
        }
    }

    /// The start of the window is looked at before "not yet" is said, or a range that straddles a new start would be
    /// waited for for ever.
    fn look_window(
        &self,
        range: &Range<u64>,
        stage: Stage,
        window: Span,
        capacity: Option<u64>,
    ) -> Look<StorageResult<WaitOutcome>> {
        let range = match self.clip(range, stage) {
            Ok(range) => range,
            Err(outcome) => return Look::Done(Ok(outcome)),
        };
        if range.start < window.start {
            let window = self.window().unwrap_or(window);
            return Look::Done(Err(StorageError::Evicted { offset: range.start, window }));
        }
        let len = range.end - range.start;
        if let Some(capacity) = capacity.filter(|&capacity| len > capacity) {
            return Look::Done(Err(StorageError::RangeTooLarge { requested: len, capacity }));
        }
        if range.end <= window.end {
            return Look::Done(Ok(WaitOutcome::Ready));
        }
        self.missing(stage, &range, range.end - 1)
    }

    fn look_kept(&self, coverage: &Coverage, range: &Range<u64>, stage: Stage) -> Look<StorageResult<WaitOutcome>> {
        let range = match self.clip(range, stage) {
            Ok(range) => range,
            Err(outcome) => return Look::Done(Ok(outcome)),
        };
        if self.covers(coverage, &range) {
            return Look::Done(Ok(WaitOutcome::Ready));
        }
        match coverage.last_missing(&range) {
            None => Look::Done(Ok(WaitOutcome::Ready)),
            Some(byte) => self.missing(stage, &range, byte),
        }
    }

    fn missing(&self, stage: Stage, range: &Range<u64>, byte: u64) -> Look<StorageResult<WaitOutcome>> {
        match stage {
            Stage::Active if byte >= MAX_OFFSET => {
                Look::Done(Err(StorageError::OffsetOverflow { offset: range.start, len: range.end - range.start }))
            }
            Stage::Active => Look::Missing(byte),
            stage => Look::Done(Err(self.life.error(stage))),
        }
    }

    // ---- what gates need ----

    // A gap counts only for a gate that sees the stream end there. So it hands nothing on; and it need not be withdrawn
    // once the stream has gone on, there or behind the jump.

    /// A discontinuity is about to begin at `at`: gates that wait beyond it return short.
    pub(crate) fn announce_gap(&self, at: u64) {
        self.announce_gap_silently(at);
        self.waits.notify_all();
    }

    /// As [`announce_gap`](Self::announce_gap), opposite gates that look again by themselves.
    pub(crate) fn announce_gap_silently(&self, at: u64) {
        // [gap] Relaxed: see above. The fence [wake] of a notification that follows orders it before the load of `armed`.
        self.gap.store(at, Relaxed);
    }

    /// The discontinuity was given up, and the stream ends there still.
    pub(crate) fn withdraw_gap(&self) {
        // [gap] Relaxed: see above.
        self.gap.store(NO_GAP, Relaxed);
    }

    /// Where a discontinuity was announced last, or [`NO_GAP`].
    pub(crate) fn gap(&self) -> u64 {
        // [gap] Relaxed: see above. The fence [wake] of the sleeper orders it after `armed`.
        self.gap.load(Relaxed)
    }

    // ---- writing, to a driver that keeps everything, or is not ours ----

    /// Writes what is missing of `data` into a store, and publishes it. `wake` is false for a writer that notifies later.
    ///
    /// A store that has no room for a piece says so before it is touched: the resource stays as it is.
    #[inline]
    pub(crate) fn write_store(
        &self,
        (store, linear): (&Store, &dyn Linear),
        offset: u64,
        data: &[u8],
        wake: bool,
    ) -> StorageResult<()> {
        driver::write_missing(
            store,
            offset,
            data,
            |range| linear.reserve(range),
            |range| {
                self.driver.notify_write(&range);
                if wake {
                    self.waits.notify(range.clone());
                }
                if let Some(observer) = &self.observer {
                    // What was inherited was there before.
                    let new = range.start.max(store.coverage().inherited())..range.end;
                    if !new.is_empty() {
                        observer.on_write(new);
                    }
                }
            },
        )?;
        self.check_written(linear.flush_if_due())
    }

    /// Writes through a driver that is not ours, and publishes.
    pub(crate) fn write_foreign(&self, offset: u64, data: &[u8]) -> StorageResult<()> {
        let end = offset.saturating_add(data.len() as u64);
        match &self.kept {
            // What was written in this generation stays as it is. What it inherited from a committed one is written anew,
            // in place: the driver has one store for all generations.
            Some(kept) => {
                let (coverage, rewrite) = (kept.coverage(), matches!(kept, Kept::Theirs { rewrite: true, .. }));
                let mut rest = offset..end;
                let next = |rest: &Range<u64>| {
                    if rewrite { coverage.next_unwritten(rest) } else { coverage.first_missing(rest) }
                };
                while let Some(gap) = next(&rest) {
                    let data = &data[(gap.start - offset) as usize..(gap.end - offset) as usize];
                    // Fetchers come from several threads, and the driver is promised one at a time.
                    let alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
                    let written = self.driver.write_at(gap.start, data, false);
                    if written.is_ok() {
                        coverage.insert(gap.clone());
                        self.driver.notify_write(&gap);
                    }
                    drop(alone);
                    self.check_written(written)?;
                    rest.start = gap.end;
                    // What was inherited was there before.
                    let new = if rewrite { gap.start.max(coverage.inherited())..gap.end } else { gap.clone() };
                    self.publish_foreign(gap, &[new], None);
                }
            }
            None => {
                // What is there stays as it is, and what was there does not come back.
                let before = self.foreign_window();
                let there = before.end.saturating_sub(offset).min(data.len() as u64);
                let (offset, data) = (offset + there, &data[there as usize..]);
                if data.is_empty() {
                    return Ok(());
                }
                self.check_written(self.driver.write_at(offset, data, false))?;
                let after = self.foreign_window();
                let evicted = before.start..after.start.min(before.end);
                let new =
                    [after.start..after.end.min(before.start.max(after.start)), after.start.max(before.end)..after.end];
                let evicted = (after.start > before.start).then_some(evicted);
                self.driver.notify_write(&(offset..end));
                self.publish_foreign(offset..end, &new, evicted);
            }
        }
        Ok(())
    }

    fn foreign_window(&self) -> Range<u64> {
        self.driver.valid_window().unwrap_or(0..0)
    }

    /// A driver that did not write all fails the resource.
    fn check_written(&self, written: StorageResult<()>) -> StorageResult<()> {
        written.map_err(|error| {
            let reason = Arc::new(error);
            self.fail(reason.clone());
            StorageError::Failed(reason)
        })
    }

    fn publish_foreign(&self, written: Range<u64>, new: &[Range<u64>], evicted: Option<Range<u64>>) {
        if evicted.is_some() {
            // Whom an eviction concerns cannot be told from what they need.
            self.waits.notify_all();
        } else {
            self.waits.notify(written);
        }
        let Some(observer) = &self.observer else { return };
        for new in new.iter().filter(|new| !new.is_empty()) {
            observer.on_write(new.clone());
        }
        if let Some(evicted) = evicted.filter(|evicted| !evicted.is_empty()) {
            observer.on_evict(evicted);
        }
    }
}

impl<D: DriverIo> WakeAll for State<D> {
    fn wake_all(&self) {
        self.waits.notify_all();
        self.room.notify_all();
    }
}

/// A length fits into the state of a resource.
fn check_len(final_len: u64) -> StorageResult<()> {
    if final_len > MAX_OFFSET {
        return Err(StorageError::OffsetOverflow { offset: final_len, len: 0 });
    }
    Ok(())
}
