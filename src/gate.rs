//! Gates, positions that hold the writer back: protocol 2 of ARCHITECTURE.md.
//!
//! The writer mints every gate itself and keeps their positions, so that there is no race between a gate that arrives
//! and a writer that evicts. It caches the slowest position and looks again only when that is not enough:
//!
//! ```text
//!   writer, about to evict below ns              gate, done with the bytes below p
//!     ns ≤ limit, or                               (last read of them)
//!     limit = min over gates of                    position.store(p, Release)             [gate]
//!        max(position.load(Acquire), base)  [gate]
//!     start.store(ns) …, see the window
//! ```
//!
//! `base` is where the last discontinuity began: a gate that had drained to before it, and does not know of it yet, does
//! not hold the writer. A gate that has read all of a generation that is over, and was told so, holds nobody either.
//! Checked by `loom-tests/models/src/gate.rs`.

use crate::{
    Interrupter, MAX_OFFSET, Publication, ReadError, StorageError, StorageResult,
    driver::RingDriver,
    lifecycle::Stage,
    state::{Edge, State},
    sync::{AtomicU64, CachePadded, Deadline, Ordering::*},
    wait::{Interrupts, Look, Patience, WaitTable, Waited},
    window::Window,
};
use std::{
    io::{self, BufRead, Read},
    sync::Arc,
    time::Duration,
};

/// The position of a gate that was dropped, or is retired: above every offset.
const GONE: u64 = u64::MAX;

/// The end of a generation that goes on, as far as a gate knows: above every offset.
const NO_END: u64 = u64::MAX;

/// What a gate tells the writer, on a cache line of its own: one side stores it, the other loads it.
#[derive(Debug)]
pub struct GatePosition(CachePadded<Told>);

#[derive(Debug)]
struct Told {
    /// The next byte that the gate will read.
    position: AtomicU64,
    /// The pace in nanoseconds of a writer that waits for this gate, if the gate is silent; 0 if it wakes the writer.
    pace_nanos: AtomicU64,
}

impl GatePosition {
    fn new(position: u64) -> Self {
        Self(CachePadded::new(Told { position: AtomicU64::new(position), pace_nanos: AtomicU64::new(0) }))
    }

    #[inline]
    fn publish(&self, position: u64) {
        // [gate] Release: the gate's last reads below `position` come before. Pairs with the Acquire in `position`.
        self.0.position.store(position, Release);
    }

    fn position(&self) -> u64 {
        // [gate] Acquire: the gate's reads below its position come before our writes there. Pairs with the Release in
        // `publish`.
        self.0.position.load(Acquire)
    }

    fn set_pace(&self, pace: Option<Duration>) {
        let nanos = pace.map_or(0, |pace| u64::try_from(pace.as_nanos()).unwrap_or(u64::MAX).max(1));
        // Relaxed: the caller wakes the writer, and the fence [wake] of that orders it.
        self.0.pace_nanos.store(nanos, Relaxed);
    }

    fn pace(&self) -> Option<Duration> {
        // Relaxed: see `set_pace`.
        Some(self.0.pace_nanos.load(Relaxed)).filter(|&nanos| nanos > 0).map(Duration::from_nanos)
    }
}

/// The writer's account of its gates.
#[derive(Debug)]
pub struct Gates {
    positions: Vec<Arc<GatePosition>>,
    /// The slowest position when last looked; may be stale, and then it is too low.
    limit: u64,
    /// Where the last discontinuity began.
    base: u64,
    /// Where the writer sleeps, until a gate releases the byte that it needs.
    room: Arc<WaitTable<1>>,
}

impl Gates {
    pub fn new(room: Arc<WaitTable<1>>) -> Self {
        Self { positions: Vec::new(), limit: GONE, base: 0, room }
    }

    /// How many bytes may be written at the live edge, looking again if `wanted` are not known to fit.
    #[inline]
    pub fn room(&mut self, window: &Window, wanted: u64) -> u64 {
        let end = window.written_to();
        let room = |limit: u64| limit.saturating_add(window.capacity()).saturating_sub(end);
        if room(self.limit) < wanted {
            self.refresh();
        }
        room(self.limit)
    }

    /// Whether all gates have passed `byte`.
    pub fn passed(&mut self, byte: u64) -> bool {
        if self.limit <= byte {
            self.refresh();
        }
        self.limit > byte
    }

    /// Looks at all positions. Frees nothing: a real-time writer comes here.
    fn refresh(&mut self) {
        self.limit = self.positions.iter().map(|gate| gate.position().max(self.base)).min().unwrap_or(GONE);
    }

    /// The pace of the quickest of the silent gates that are there: whoever is held by a slower one looks too often,
    /// which does no harm.
    fn pace(&self) -> Option<Duration> {
        self.positions.iter().filter(|gate| gate.position() != GONE).filter_map(|gate| gate.pace()).min()
    }

    /// A discontinuity: every gate had drained, and the window goes on at `at`.
    pub fn jumped(&mut self, at: u64) {
        self.base = at;
        self.refresh();
    }

    /// A new gate at `at`, which lies inside the window now.
    pub fn mint(&mut self, at: u64) -> Arc<GatePosition> {
        self.positions.retain(|gate| gate.position() != GONE);
        let gate = Arc::new(GatePosition::new(at));
        self.positions.push(gate.clone());
        self.limit = self.limit.min(at);
        gate
    }

    /// Blocks until all gates have passed `byte`, or `stop` finds a reason to give up.
    pub fn wait<T>(
        &mut self,
        byte: u64,
        patience: &Patience<'_>,
        mut stop: impl FnMut() -> Option<T>,
    ) -> Waited<Result<(), T>> {
        let room = self.room.clone();
        room.wait(patience, || {
            // Anew before each sleep: a gate that goes silent wakes us, to be seen here. Before the positions: a silent
            // gate that is dropped after both looks at it wakes nobody, and has to have its pace counted.
            let pace = self.pace();
            match stop() {
                Some(reason) => Look::Done(Err(reason)),
                None if self.passed(byte) => Look::Done(Ok(())),
                None => {
                    room.set_pace(pace);
                    Look::Missing(byte)
                }
            }
        })
    }

    /// How far the slowest gate is behind the live edge; 0 without gates.
    pub fn lag(&mut self, window: &Window) -> u64 {
        self.refresh();
        window.written_to().saturating_sub(self.limit)
    }
}

/// Reads a ring from a position on, in order, and holds the writer back: it never writes where this gate has yet to
/// read. Minted by [`Writer::gate`](crate::Writer::gate).
///
/// Since nobody can write there, a gate lends the bytes in place ([`slices`](Self::slices), or
/// [`BufRead`](std::io::BufRead)). It moves forward only, and it holds the writer for as long as it is kept: drop a
/// gate that is not read. A gate that is leaked holds the writer for ever.
///
/// ```
/// use roundelay::{CancelToken, Resource, RingOptions};
/// let ring = Resource::open(CancelToken::new(), RingOptions::new(8))?;
/// let mut writer = ring.writer()?;
/// let mut gate = writer.gate();
/// assert_eq!(writer.try_append(b"hello, world")?, 8); // no further than the gate allows
/// let slices = gate.slices()?;
/// assert_eq!(slices.first(), b"hello, w");
/// slices.consume(5);
/// assert_eq!(writer.try_append(b"orld")?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Real-time
/// [`slices`](Self::slices), [`try_read`](Self::try_read) and [`Slices::consume`] are wait-free; they never allocate,
/// free or lock. They enter the kernel only to wake a writer that sleeps for room (`slices` and `try_read` too, when the
/// stream has jumped or ended), and not at all with [`Publication::Silent`].
pub struct Gate {
    state: Arc<State<RingDriver>>,
    published: Arc<GatePosition>,
    /// The next byte to read. Always in sync with `published`: the gate publishes whatever it gives up.
    position: u64,
    /// The live edge when last looked; may be stale, and then it is too low.
    known_end: u64,
    publication: Publication,
    interrupts: Interrupts,
    discontinuities: u64,
    /// Where its generation ends, as the verdict told it, or [`NO_END`] until it has heard of one. A gate that has read
    /// up to there is *retired*: it holds nobody, lends nothing, and answers by the verdict alone.
    final_end: u64,
}

impl Gate {
    pub(crate) fn new(state: Arc<State<RingDriver>>, published: Arc<GatePosition>, position: u64) -> Self {
        Self {
            state,
            published,
            position,
            known_end: position,
            publication: Publication::Notify,
            interrupts: Interrupts::new(),
            discontinuities: 0,
            final_end: NO_END,
        }
    }

    /// The next byte to read, as a stream offset.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How far the live edge is ahead, in bytes; 0 once the gate has read all and was told how the stream ended.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn lag(&self) -> u64 {
        if self.retired() { 0 } else { self.state.live_edge().saturating_sub(self.position) }
    }

    /// How often the stream jumped ahead under this gate. No byte is lost by that: what was skipped was never written.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn discontinuities(&self) -> u64 {
        self.discontinuities
    }

    /// Says whether advancing wakes a writer that sleeps for room. The default is to wake it; a gate on a real-time
    /// thread is silent, and the writer then looks again at the given pace.
    ///
    /// # Real-time
    /// Not for a callback: a writer that sleeps already is woken once, to learn of it.
    pub fn set_publication(&mut self, publication: Publication) {
        self.publication = publication;
        self.published.set_pace(match publication {
            Publication::Silent { pace } => Some(pace),
            Publication::Notify => None,
        });
        self.state.room.notify_all();
    }

    /// Ends the waits of this gate from another thread.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the last handle that is dropped frees what it holds.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.interrupts.interrupter(self.state.clone())
    }

    /// Looks at the live edge again. A discontinuity moves the gate to where the window goes on.
    fn refresh(&mut self) -> Edge {
        let edge = self.edge();
        self.adopt(&edge);
        edge
    }

    #[inline]
    fn edge(&self) -> Edge {
        // A gate belongs to a ring, always.
        self.state.edge(&self.state.driver, Window::base)
    }

    /// Looks at the live edge again, and says how many bytes there are; 0 also if that takes more than a glance, because
    /// the stream has jumped or is over.
    #[inline]
    fn glance(&mut self) -> u64 {
        let ring = &*self.state.driver;
        match self.state.glance(ring) {
            // The base after the end: it belongs to it.
            Some(end) if ring.window().base() <= self.position => {
                // A gate is not ahead of an end that it sees. What is lent goes by this difference: it never wraps.
                self.known_end = end.max(self.position);
                self.known_end - self.position
            }
            _ => 0,
        }
    }

    /// Takes over what a look has found, the verdict included.
    ///
    /// Every path that learns of a verdict comes here with it, whatever it tells its caller: nothing more will come of
    /// this generation, and a gate that has read all of it must not hold the next one's writer. Such a gate stays as it
    /// is: a writer that was failed in the middle of a write may publish still, and that is not looked at.
    fn adopt(&mut self, edge: &Edge) {
        if self.retired() {
            return;
        }
        let jumped = self.position < edge.start;
        // Only a jump takes the start past a gate, and only once the gate has read all that was before.
        if jumped {
            self.discontinuities += 1;
            self.position = edge.start;
        }
        self.known_end = edge.end.max(self.position);
        if edge.stage != Stage::Active {
            self.final_end = self.known_end;
        }
        if jumped || self.retired() {
            self.release();
        }
    }

    #[inline]
    fn retired(&self) -> bool {
        self.position == self.final_end
    }

    /// Gives up the bytes below `position`.
    #[inline]
    fn move_to(&mut self, position: u64) {
        self.position = position;
        self.release();
    }

    /// Publishes the position, or that there is nothing left to hold the writer for.
    #[inline]
    fn release(&self) {
        if self.retired() { self.let_go() } else { self.publish(self.position) }
    }

    /// Out of line: once a generation.
    #[cold]
    fn let_go(&self) {
        self.publish(GONE);
    }

    #[inline]
    fn publish(&self, position: u64) {
        self.published.publish(position);
        if self.publication == Publication::Notify {
            // All below: which of it is new does not matter to a writer that waits for a byte of it.
            self.state.room.notify(0..position);
        }
    }

    /// All the bytes that there are, in place.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees or locks; enters the kernel as said above.
    ///
    /// # Errors
    /// [`ReadError::NotYet`], or [`Ended`](ReadError::Ended), [`Failed`](ReadError::Failed),
    /// [`Cancelled`](ReadError::Cancelled) once all that was written is consumed. Nothing is changed.
    #[inline]
    pub fn slices(&mut self) -> Result<Slices<'_>, ReadError> {
        if self.glance() == 0 {
            self.look_closer()?;
        }
        Ok(Slices { gate: self })
    }

    /// Looks at the live edge properly. There is at least a byte then, or the reason why not.
    #[inline(never)]
    fn look_closer(&mut self) -> Result<(), ReadError> {
        let edge = self.refresh();
        if self.known_end > self.position {
            return Ok(());
        }
        Err(edge.stage.why_no_more())
    }

    /// The bytes from the position to the known end.
    #[inline]
    #[allow(unsafe_code)]
    fn lent(&self) -> (&[u8], &[u8]) {
        let window = self.state.driver.window();
        let len = (self.known_end - self.position).min(window.capacity()) as usize;
        // SAFETY:
        // - `known_end` came from `Window::end`, at most clipped, and `len` is at most the capacity;
        // - the only writer of a ring inside a resource is its `Writer`, which asks `Gates` before every write and
        //   goes no further than this gate's published position + capacity; a later writer inherits the gates. The
        //   position does not move while the slices live: they borrow the gate, and moving it takes `&mut`.
        unsafe { window.lend(self.position, len) }
    }

    /// Copies what there is, at least a byte, and gives it up. 0 only at the end of a committed resource or for an
    /// empty buffer.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees or locks; enters the kernel as said above.
    ///
    /// # Errors
    /// As [`slices`](Self::slices), but the end is `Ok(0)`.
    #[inline]
    pub fn try_read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        let wanted = buf.len() as u64;
        // As long as the live edge that was seen last is enough, the writer is not asked: its cache line stays with it.
        let there = self.known_end - self.position;
        if wanted == 0 || there < wanted && self.glance() < wanted {
            return self.read_what_there_is(buf);
        }
        self.copy_out(buf);
        self.position += wanted;
        self.release();
        Ok(buf.len())
    }

    /// [`try_read`](Self::try_read) where there are fewer bytes than fit into `buf`, or none at all.
    #[inline(never)]
    fn read_what_there_is(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        if buf.is_empty() {
            return Ok(0);
        }
        match self.look_closer() {
            Err(ReadError::Ended) => return Ok(0),
            looked => looked?,
        }
        let window = self.state.driver.window();
        let there = (self.known_end - self.position).min(window.capacity());
        let n = there.min(buf.len() as u64) as usize;
        self.copy_out(&mut buf[..n]);
        self.move_to(self.position + n as u64);
        Ok(n)
    }

    /// By the writer's own kernels, as whoever reads right behind it gets the bytes out of the store buffer only in the
    /// pieces in which they were put there.
    #[inline]
    fn copy_out(&self, buf: &mut [u8]) {
        self.state.driver.window().copy_out(self.position, buf);
    }

    /// Blocks until there are `at_least` bytes, and lends all that there are. Fewer are lent only at the end of a
    /// committed resource, or where the writer has announced a jump. The writer may give the jump up and go on here: fewer
    /// bytes say that a jump was announced, not that it will come.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::RangeTooLarge`] if the ring cannot hold that many;
    /// [`OffsetOverflow`](StorageError::OffsetOverflow) if they would lie beyond
    /// [`MAX_OFFSET`](crate::MAX_OFFSET); [`Interrupted`](StorageError::Interrupted);
    /// [`Failed`](StorageError::Failed) or [`Cancelled`](StorageError::Cancelled) if there are fewer bytes and that is
    /// why. No byte is given up, and what there is can be read. At the end of a committed resource the slices are empty.
    pub fn wait(&mut self, at_least: usize) -> StorageResult<Slices<'_>> {
        self.wait_for(at_least, None)
    }

    /// As [`wait`](Self::wait), at most for `timeout`.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and [`StorageError::TimedOut`].
    pub fn wait_timeout(&mut self, at_least: usize, timeout: Duration) -> StorageResult<Slices<'_>> {
        self.wait_for(at_least, Some(&Deadline::after(timeout)))
    }

    fn wait_for(&mut self, at_least: usize, deadline: Option<&Deadline>) -> StorageResult<Slices<'_>> {
        let capacity = self.state.driver.capacity();
        if at_least as u64 > capacity {
            return Err(StorageError::RangeTooLarge { requested: at_least as u64, capacity });
        }
        let patience = Patience { deadline, interrupts: Some(self.interrupts.watch()), from: None };
        let found = match self.state.waits.wait(&patience, || self.look(at_least as u64)) {
            Waited::Done(found) => found,
            Waited::Interrupted => return Err(StorageError::Interrupted),
            Waited::TimedOut => return Err(StorageError::TimedOut),
        };
        // Adopted whatever the outcome is: a failure is a verdict as well.
        self.adopt(&found.edge);
        found.outcome?;
        Ok(Slices { gate: self })
    }

    fn look(&self, at_least: u64) -> Look<Found> {
        let gap = self.state.gap();
        let edge = self.edge();
        let position = self.position.max(edge.start);
        let there = if self.retired() { 0 } else { edge.end.saturating_sub(position) };
        // A gap counts only where the stream ends now. Elsewhere it is over: the stream went on there, or behind the jump.
        // At the gap itself there is nothing left to return: what follows it is waited for.
        let before_a_gap = gap == edge.end && there > 0;
        let outcome = match edge.stage {
            _ if there >= at_least || before_a_gap => Ok(()),
            Stage::Active if at_least > MAX_OFFSET.saturating_sub(position) => {
                Err(StorageError::OffsetOverflow { offset: position, len: at_least })
            }
            Stage::Active => return Look::Missing(position + at_least - 1),
            Stage::Committed(_) => Ok(()),
            stage => Err(self.state.life.error(stage)),
        };
        Look::Done(Found { edge, outcome })
    }
}

/// What ends a wait: the edge that was seen, and what it comes to.
struct Found {
    edge: Edge,
    outcome: StorageResult<()>,
}

/// Gives the writer the room that this gate held.
impl Drop for Gate {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("position", &self.position)
            .field("publication", &self.publication)
            .field("discontinuities", &self.discontinuities)
            .finish_non_exhaustive()
    }
}

/// Blocks for at least a byte; 0 only at the end of a committed resource.
impl Read for Gate {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.wait(1)?;
        match self.try_read(buf) {
            Ok(n) => Ok(n),
            Err(error) => Err(self.state.read_error(error, self.position).into()),
        }
    }
}

/// Lends the ring's own memory: nothing is copied.
impl BufRead for Gate {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.wait(1)?;
        Ok(self.lent().0)
    }

    fn consume(&mut self, n: usize) {
        let there = self.known_end - self.position;
        self.move_to(self.position + there.min(n as u64));
    }
}

/// Bytes of the ring in place, lent by a [`Gate`]: two pieces, of which the second is empty unless they wrap around.
///
/// Dropping them gives nothing up; [`consume`](Self::consume) does.
#[derive(Debug)]
pub struct Slices<'a> {
    gate: &'a mut Gate,
}

impl Slices<'_> {
    /// The stream offset of the first byte.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> u64 {
        self.gate.position
    }

    /// How many bytes there are.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        // As in `lent`.
        (self.gate.known_end - self.gate.position).min(self.gate.state.driver.capacity()) as usize
    }

    /// Whether there are none, which is so only after a [`Gate::wait`] at the end of the stream.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both pieces.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    #[inline]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        self.gate.lent()
    }

    /// The first piece.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    #[inline]
    pub fn first(&self) -> &[u8] {
        self.as_slices().0
    }

    /// The second piece.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    #[inline]
    pub fn second(&self) -> &[u8] {
        self.as_slices().1
    }

    /// Copies as many bytes as fit into `buf`, and returns how many. Gives none of them up.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[inline]
    pub fn copy_to(&self, buf: &mut [u8]) -> usize {
        let (first, second) = self.as_slices();
        let head = first.len().min(buf.len());
        let tail = second.len().min(buf.len() - head);
        buf[..head].copy_from_slice(&first[..head]);
        buf[head..head + tail].copy_from_slice(&second[..tail]);
        head + tail
    }

    /// Gives up the first `n` bytes: the writer may write there.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees or locks. Wakes a writer that sleeps for room, unless the gate is
    /// [`Publication::Silent`].
    ///
    /// # Panics
    /// If there are fewer than `n`.
    #[inline]
    pub fn consume(self, n: usize) {
        assert!(n <= self.len(), "{n} bytes cannot be consumed: {} are lent", self.len());
        self.gate.move_to(self.gate.position + n as u64);
    }
}
