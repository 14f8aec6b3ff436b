//! A resource, its generations, and the handles that it hands out.

use crate::{
    AnyDriver, AvailabilityObserver, CancelToken, Cursor, Driver, DriverIo, Leftover, OnLap, OpenOptions, Reader,
    ResourceStatus, StorageError, StorageResult, Writer,
    cancel::OnCancel,
    driver::{self, DriverState, Kind, RingDriver},
    gate::Gates,
    lifecycle::Stage,
    state::State,
    wait::WakeAll,
};
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// A stream of bytes over a driver: one writer, any number of readers.
///
/// The resource itself neither reads nor writes; it hands out the handles that do. Cloning it is cheap, and all clones
/// are the same resource.
///
/// | handle | what for | made by |
/// |---|---|---|
/// | [`Writer`] | writes; one at a time | [`writer`](Self::writer) |
/// | [`Reader`] | reads anywhere | [`reader`](Self::reader) |
/// | [`Cursor`] | reads on from a position, and may be lapped | [`cursor`](Self::cursor) |
/// | [`Gate`](crate::Gate) | reads on, and holds the writer back | [`Writer::gate`] |
/// | [`Fetcher`](crate::Fetcher) | fills gaps, with others | [`Writer::into_fetcher`] |
///
/// ```
/// use roundelay::{CancelToken, Resource, RingOptions};
/// use std::io::{Read, Write};
///
/// let ring = Resource::open(CancelToken::new(), RingOptions::new(16))?;
/// let (mut writer, mut cursor) = (ring.writer()?, ring.cursor(Default::default()));
/// let thread = std::thread::spawn(move || -> std::io::Result<()> {
///     writer.write_all(b"round and round")?;
///     Ok(writer.commit(None)?)
/// });
/// let mut text = String::new();
/// cursor.read_to_string(&mut text)?;
/// assert_eq!(text, "round and round");
/// # thread.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// When the last clone is dropped and nobody has the writer, nobody can take it any more: an active resource then fails
/// with [`StorageError::WriterDropped`], and its readers are told.
pub struct Resource<D: DriverIo> {
    owner: Arc<Owner<D>>,
}

impl<D: DriverIo> Clone for Resource<D> {
    fn clone(&self) -> Self {
        Self { owner: self.owner.clone() }
    }
}

/// Who can hand out a writer: all clones of a resource together.
struct Owner<D: DriverIo> {
    shared: Arc<Shared<D>>,
}

impl<D: DriverIo> Drop for Owner<D> {
    fn drop(&mut self) {
        let seat = self.shared.seat();
        // While somebody has the writer or a fetcher in its place, the drop of that gives the verdict.
        let abandoned = seat.gates.is_some().then(|| seat.state.clone());
        // Before the verdict: an observer may call back in.
        drop(seat);
        if let Some(state) = abandoned {
            state.fail(Arc::new(StorageError::WriterDropped));
        }
    }
}

impl<D: DriverIo> std::fmt::Debug for Resource<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resource").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// What all clones of a resource share, over all its generations. The lock is taken when handles are made, never to
/// read or write.
pub(crate) struct Shared<D: DriverIo> {
    seat: Mutex<Seat<D>>,
    cancel: CancelToken,
}

pub(crate) struct Seat<D: DriverIo> {
    /// The generation that new handles belong to.
    state: Arc<State<D>>,
    /// Those before it that somebody may still read. They are kept so that the last reader does not have to free what
    /// they hold: the writing side does, when it comes by.
    retired: Vec<Arc<State<D>>>,
    /// The gates, while there is no writer to keep them. A gate outlives the writer that minted it, and the next
    /// writer must not run over it.
    gates: Option<Gates>,
}

impl<D: DriverIo> Shared<D> {
    fn seat(&self) -> MutexGuard<'_, Seat<D>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer is gone, and leaves its gates for the next.
    fn leave(&self, gates: Gates) {
        self.seat().gates = Some(gates);
        self.free_retired();
    }

    /// The writer is gone before the end, unless that has come: then nothing happens to the resource. What it wrote is
    /// made durable as far as possible, so that it can be resumed.
    pub(crate) fn leave_undone(&self, state: Arc<State<D>>, gates: Gates) {
        let _left = GatesLeft { shared: self, gates: Some(gates) };
        state.fail(Arc::new(StorageError::WriterDropped));
        // Nobody is left to tell. What is not durable is missing at the next open.
        let _ = state.driver.flush();
        // Or it would be found in use, and not be freed.
        drop(state);
    }

    /// Frees the generations that nobody reads any more.
    pub(crate) fn free_retired(&self) {
        let mut seat = self.seat();
        let (read, free) = seat.retired.drain(..).partition(|state| Arc::strong_count(state) > 1);
        seat.retired = read;
        drop(seat);
        // Not under the lock: unmapping can take a while.
        drop::<Vec<_>>(free);
    }

    fn succeed(&self, state: State<D>) -> Arc<State<D>> {
        let state = Arc::new(state);
        let mut seat = self.seat();
        let before = std::mem::replace(&mut seat.state, state.clone());
        seat.retired.push(before);
        state
    }

    /// Begins the next generation. Only whoever has the gates may: there is one at a time.
    pub(crate) fn next_generation(&self) -> StorageResult<Arc<State<D>>> {
        let state = self.current();
        if state.life.stage() == Stage::Active {
            return Err(StorageError::Active);
        }
        if self.cancel.is_cancelled() {
            return Err(StorageError::Cancelled);
        }
        // Not under the lock: it may have files to open.
        state.driver.reactivate()?;
        let state = self.succeed(state.next_generation());
        // The token may have been cancelled before the new generation was there to hear of it.
        if self.cancel.is_cancelled() {
            state.cancel();
        }
        self.free_retired();
        Ok(state)
    }

    /// Puts a generation that rewrote another, and is committed now, in its own place without the other.
    pub(crate) fn settle(&self, state: &State<D>) {
        if let Some(settled) = state.settled() {
            self.succeed(settled);
        }
    }

    pub(crate) fn current(&self) -> Arc<State<D>> {
        self.seat().state.clone()
    }
}

/// Gates that are left for the next writer, once this is dropped: also when a driver or an observer, which may be somebody
/// else's, has panicked before that. Without them nobody would ever write again.
struct GatesLeft<'a, D: DriverIo> {
    shared: &'a Shared<D>,
    gates: Option<Gates>,
}

impl<D: DriverIo> Drop for GatesLeft<'_, D> {
    fn drop(&mut self) {
        if let Some(gates) = self.gates.take() {
            self.shared.leave(gates);
        }
    }
}

/// Whoever waits, waits in the newest generation: the others are over.
impl<D: DriverIo> WakeAll for Shared<D> {
    fn wake_all(&self) {
        let state = self.current();
        state.wake_all();
    }
}

impl<D: DriverIo> OnCancel for Shared<D> {
    fn on_cancel(&self) {
        let state = self.current();
        state.cancel();
    }
}

impl<D: Driver> Resource<D> {
    /// Opens a resource. The options pick the driver.
    ///
    /// # Real-time
    /// Blocking: allocates, and the driver may do I/O. Not for a callback.
    ///
    /// # Errors
    /// What the driver says of the options or the store; [`StorageError::Cancelled`] if `cancel` is.
    pub fn open<O>(cancel: CancelToken, options: O) -> StorageResult<Self>
    where
        O: OpenOptions<Driver = D>,
        D: Driver<Options = O>,
    {
        check_cancel(&cancel)?;
        let (driver, state) = D::open_cancellable(options, &cancel)?;
        Self::from_driver(cancel, driver, state)
    }

    /// As [`open`](Self::open), with an observer.
    ///
    /// # Real-time
    /// Blocking: allocates, and the driver may do I/O. Not for a callback.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_observed<O>(
        cancel: CancelToken,
        options: O,
        observer: Arc<dyn AvailabilityObserver>,
    ) -> StorageResult<Self>
    where
        O: OpenOptions<Driver = D>,
        D: Driver<Options = O>,
    {
        check_cancel(&cancel)?;
        let (driver, state) = D::open_cancellable(options, &cancel)?;
        Self::build(cancel, driver, state, Some(observer))
    }
}

impl<D: DriverIo> Resource<D> {
    /// A resource over a driver that is open already.
    ///
    /// # Real-time
    /// Blocking: allocates, and the driver may do I/O. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::Cancelled`] if `cancel` is; [`StorageError::Hole`] if the state says committed and bytes are
    /// missing.
    pub fn from_driver(cancel: CancelToken, driver: D, state: DriverState) -> StorageResult<Self> {
        Self::build(cancel, driver, state, None)
    }

    /// As [`from_driver`](Self::from_driver), with an observer.
    ///
    /// # Real-time
    /// Blocking: allocates, and the driver may do I/O. Not for a callback.
    ///
    /// # Errors
    /// As [`from_driver`](Self::from_driver).
    pub fn from_driver_observed(
        cancel: CancelToken,
        driver: D,
        state: DriverState,
        observer: Arc<dyn AvailabilityObserver>,
    ) -> StorageResult<Self> {
        Self::build(cancel, driver, state, Some(observer))
    }

    fn shared(&self) -> &Arc<Shared<D>> {
        &self.owner.shared
    }

    fn build(
        cancel: CancelToken,
        driver: D,
        found: DriverState,
        observer: Option<Arc<dyn AvailabilityObserver>>,
    ) -> StorageResult<Self> {
        check_cancel(&cancel)?;
        if let Kind::Ring(ring) = driver::kind(&driver) {
            // It may have been written before, by two threads at once.
            ring.window().settle();
        }
        let state = Arc::new(State::new(Arc::new(driver), found, observer)?);
        let gates = Some(Gates::new(state.room.clone()));
        let shared = Arc::new(Shared { seat: Mutex::new(Seat { state, retired: Vec::new(), gates }), cancel });
        let listener: Weak<Shared<D>> = Arc::downgrade(&shared);
        shared.cancel.listen(listener);
        Ok(Self { owner: Arc::new(Owner { shared }) })
    }

    /// The writer.
    ///
    /// # Real-time
    /// Blocking (a short lock; it allocates, and frees generations that nobody reads). Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::WriterTaken`] while there is one; [`StorageError::Committed`] (unless the store takes a write as
    /// the start of a next generation: [`OpenMode::ReadWrite`](crate::OpenMode::ReadWrite)),
    /// [`Failed`](StorageError::Failed) or [`Cancelled`](StorageError::Cancelled) if there is nothing more to write.
    pub fn writer(&self) -> StorageResult<Writer<D>> {
        self.shared().free_retired();
        let mut seat = self.shared().seat();
        match seat.state.life.check_active() {
            Err(StorageError::Committed) if seat.state.driver.rewrites() => {}
            checked => checked?,
        }
        let gates = seat.gates.take().ok_or(StorageError::WriterTaken)?;
        Ok(Writer::new(self.shared().clone(), seat.state.clone(), gates))
    }

    /// A handle that reads anywhere.
    ///
    /// # Real-time
    /// Blocking (a short lock, and it allocates). Not for a callback.
    #[must_use]
    pub fn reader(&self) -> Reader<D> {
        Reader::new(self.shared().clone(), self.shared().current())
    }

    /// A handle that reads on from the oldest byte there is. `on_lap` says what it does when the writer overtakes it.
    ///
    /// # Real-time
    /// Blocking (a short lock, and it allocates). Not for a callback.
    #[must_use]
    pub fn cursor(&self, on_lap: OnLap) -> Cursor<D> {
        self.reader().into_cursor(on_lap)
    }

    /// Whether it is still being written, and if not, why not.
    ///
    /// # Real-time
    /// Blocking (a short lock). Not for a callback.
    #[must_use]
    pub fn status(&self) -> ResourceStatus {
        self.shared().current().life.status()
    }

    /// The file behind it, if there is one.
    ///
    /// # Real-time
    /// Blocking (a short lock, and it allocates). Not for a callback.
    #[must_use]
    pub fn path(&self) -> Option<std::path::PathBuf> {
        self.shared().current().driver.path().map(Path::to_owned)
    }

    /// Fails the resource: bytes that are there stay readable, whoever waits for more gets the reason. Does nothing if
    /// it is committed, failed or cancelled already. The writer notices at its next call.
    ///
    /// # Real-time
    /// Blocking (a short lock; it allocates, wakes all that wait, and calls the observer). Not for a callback.
    pub fn fail(&self, reason: impl Into<StorageError>) {
        self.shared().current().fail(Arc::new(reason.into()));
    }

    /// Cancels this resource alone; its token stays as it is.
    ///
    /// # Real-time
    /// Blocking (a short lock; it wakes all that wait, and calls the observer). Not for a callback.
    pub fn cancel(&self) {
        self.shared().current().cancel();
    }

    /// Makes a committed, failed or cancelled resource active again, as a new generation: [`writer`](Self::writer) goes
    /// on where the old one ended. Readers of the old generation keep it, unchanged, until they
    /// [`refresh`](Reader::refresh). A driver of your own has one store for all generations: readers of the old
    /// generation see its bytes change when they are written again, and go when a shorter commit drops them.
    ///
    /// # Real-time
    /// Blocking: locks, allocates and frees, and the driver may do I/O. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::Active`] if it is; [`StorageError::WriterTaken`] until the old writer is dropped;
    /// [`StorageError::Cancelled`] if the token was cancelled; what the driver says. Nothing is changed then.
    pub fn reactivate(&self) -> StorageResult<()> {
        let mut seat = self.shared().seat();
        if seat.state.life.stage() == Stage::Active {
            return Err(StorageError::Active);
        }
        let gates = seat.gates.take().ok_or(StorageError::WriterTaken)?;
        drop(seat);
        let _left = GatesLeft { shared: self.shared(), gates: Some(gates) };
        self.shared().next_generation().map(drop)
    }

    /// Makes durable what was written so far, over a store that survives ([`MmapDriver`](crate::MmapDriver)): its bytes
    /// are there at the next open, whatever happens. Returns how many bytes that were; 0 for a committed store, for a
    /// generation that follows one, which is all or nothing, and for a store that does not survive.
    ///
    /// From any thread, while others read and write.
    ///
    /// # Real-time
    /// Blocking: it syncs the file. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::File`] or [`DiskFull`](StorageError::DiskFull). If the data could not be synced, no later flush or
    /// commit succeeds either, since what was lost is not known. [`StorageError::Removed`] if somebody has removed or
    /// renamed the unfinished file or its index: nothing of it can be resumed.
    pub fn flush(&self) -> StorageResult<u64> {
        self.shared().current().driver.flush()
    }

    /// What was found in place of an unfinished file when the store was opened, or when it was written again. Over
    /// [`MmapDriver`](crate::MmapDriver); others have none.
    ///
    /// # Real-time
    /// Blocking (a short lock). Not for a callback.
    #[must_use]
    pub fn leftover(&self) -> Leftover {
        match driver::kind(&*self.shared().current().driver) {
            Kind::Linear(linear) => linear.leftover(),
            _ => Leftover::None,
        }
    }

    /// The futex wakes that publications, verdicts and interrupts of this generation have issued to readers. A count
    /// for tests and measurements: a publication that wakes nobody adds nothing.
    ///
    /// # Real-time
    /// Blocking (a short lock). Not for a callback.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.shared().current().waits.wakes()
    }
}

impl Resource<AnyDriver> {
    /// Opens a resource whose driver is chosen at run time: its type says nothing of it.
    ///
    /// ```
    /// # use roundelay::*;
    /// # fn open(in_memory: bool, path: &std::path::Path) -> StorageResult<Resource<AnyDriver>> {
    /// let resource = if in_memory {
    ///     Resource::open_any(CancelToken::new(), RingOptions::new(1 << 20))
    /// } else {
    ///     Resource::open_any(CancelToken::new(), MmapOptions::new(path))
    /// }?;
    /// let reader: Reader<AnyDriver> = resource.reader();
    /// # Ok(resource) }
    /// # open(true, "".as_ref()).unwrap();
    /// ```
    ///
    /// # Real-time
    /// Blocking: allocates, and the driver may do I/O. Not for a callback.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_any<O: OpenOptions>(cancel: CancelToken, options: O) -> StorageResult<Self> {
        check_cancel(&cancel)?;
        let (driver, state) = O::Driver::open_cancellable(options, &cancel)?;
        Self::from_driver(cancel, Box::new(driver), state)
    }
}

impl Resource<RingDriver> {
    /// How many bytes the ring holds.
    ///
    /// # Real-time
    /// Blocking (a short lock). Not for a callback.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.shared().current().driver.capacity()
    }

    /// Whether the ring's pages are locked in memory, as [`RingOptions::lock_memory`](crate::RingOptions) asked for.
    ///
    /// # Real-time
    /// Blocking (a short lock). Not for a callback.
    #[must_use]
    pub fn memory_locked(&self) -> bool {
        self.shared().current().driver.memory_locked()
    }
}

/// A resource whose token is cancelled is not opened.
fn check_cancel(cancel: &CancelToken) -> StorageResult<()> {
    if cancel.is_cancelled() { Err(StorageError::Cancelled) } else { Ok(()) }
}
