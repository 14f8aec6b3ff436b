//! Waiting for a byte, on futexes that are woken by range: protocol 3 of ARCHITECTURE.md.
//!
//! A sleeper owns a slot: the offset that it needs, and a futex word. Whoever published `s..e` wakes the slots whose
//! offset lies in `s..e`, and no others: a thread that waits for 64 KiB fed 1 KiB at a time wakes once. With no sleeper
//! a publication costs one fence and one load.
//!
//! ```text
//!   sleep                                        wake
//!     there? done                                  (published, with Release)
//!     key = word                                   fence(SeqCst)                                [wake]
//!     needed.store(byte); armed.fetch_or(bit)      for each bit of armed.load(), needed in s..e
//!     fence(SeqCst)                    [wake]          word.fetch_add(1); futex_wake(word)
//!     there? disarm, done
//!     futex_wait(word, key); disarm; again
//! ```
//!
//! Why no wake is lost. Of the two SeqCst fences one comes first.
//! 1. The sleeper's: then the waker's load of `armed` sees the bit, and of `needed` the byte. It bumps the word; the
//!    sleeper took its key before, so that its `futex_wait` returns at once or is woken.
//! 2. The waker's: then the sleeper's second look sees what was published, and it does not sleep.
//!
//! The same table serves the writer that waits for room: a gate that advances from `s` to `e` publishes just that.
//! Checked by `loom-tests/models/src/wait.rs`.

use crate::sync::{AtomicU64, CachePadded, Deadline, Futex, Ordering::*, SPINS, Tally, fence, spin};
use std::{
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
};

/// Slots of a resource's table. With more sleepers than that, the rest share one word, which every notification wakes.
#[cfg(not(loom))]
pub const SLOTS: usize = 32;
#[cfg(loom)]
pub const SLOTS: usize = 1;

/// The top 32 bits of `armed` count the sleepers on the shared word. A count and not a flag: the first of two that
/// leaves would clear a flag for both. It cannot overflow: each sleeper is a thread, and no system can number 2^32 of
/// them (Linux: 2^22 in all).
const SHARED: u64 = 1 << 32;

const NO_PACE: u64 = u64::MAX;

/// The pace of a sleeper opposite a silent publisher, where nothing better is known.
pub const DEFAULT_PACE: Duration = Duration::from_millis(2);

/// Sleepers, and what each of them needs.
#[derive(Debug)]
pub struct WaitTable<const N: usize = SLOTS> {
    /// Bit i: slot i is armed. On top the count of [`SHARED`].
    armed: CachePadded<AtomicU64>,
    /// Bit i: slot i has an owner.
    claimed: AtomicU64,
    /// The pace in nanoseconds of sleepers here, because somebody publishes without waking; or [`NO_PACE`].
    pace_nanos: AtomicU64,
    slots: [CachePadded<Slot>; N],
    shared: Futex,
    /// Futex wakes issued, to be counted by tests and by the curious.
    wakes: Tally,
}

#[derive(Debug, Default)]
struct Slot {
    needed: AtomicU64,
    /// Where what the sleeper waits for begins. A hint for whoever fetches it; wakes do not look at it.
    from: AtomicU64,
    futex: Futex,
}

/// What a sleeper finds when it looks.
#[derive(Debug)]
pub enum Look<T> {
    /// What it waits for is there, or will never be.
    Done(T),
    /// The last byte that is missing.
    Missing(u64),
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited<T> {
    Done(T),
    Interrupted,
    TimedOut,
}

/// How long a sleeper is willing to wait, and who may interrupt it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience<'a> {
    pub deadline: Option<&'a Deadline>,
    pub interrupts: Option<Watch<'a>>,
    /// Where what it waits for begins, if that is not the byte that is missing.
    pub from: Option<u64>,
}

impl Patience<'_> {
    #[inline]
    pub fn interrupted(&self) -> bool {
        self.interrupts.as_ref().is_some_and(Watch::take)
    }

    fn timed_out(&self) -> bool {
        self.deadline.is_some_and(Deadline::passed)
    }
}

impl<const N: usize> WaitTable<N> {
    const ASSERT_FITS: () = assert!(N <= 32, "slots and the count of the shared word share 64 bits");

    pub fn new() -> Self {
        let () = Self::ASSERT_FITS;
        Self {
            armed: CachePadded::new(AtomicU64::new(0)),
            claimed: AtomicU64::new(0),
            pace_nanos: AtomicU64::new(NO_PACE),
            slots: std::array::from_fn(|_| CachePadded::new(Slot::default())),
            shared: Futex::new(),
            wakes: Tally::default(),
        }
    }

    /// Blocks until `look` is done, the patience has run out, or the wait is interrupted.
    ///
    /// `look` is called many times, and must see what was published before the notification it waits for.
    pub fn wait<T>(&self, patience: &Patience<'_>, mut look: impl FnMut() -> Look<T>) -> Waited<T> {
        let mut look = || {
            if patience.interrupted() { Look::Done(Waited::Interrupted) } else { look().map(Waited::Done) }
        };
        // Spin a little first. The clock is read only after that, so that a wait that is ready costs no clock.
        for _ in 0..=SPINS {
            if let Look::Done(done) = look() {
                return done;
            }
            spin();
        }
        let mut place = Place::claim(self);
        loop {
            let byte = match look() {
                Look::Done(done) => return done,
                Look::Missing(byte) => byte,
            };
            if patience.timed_out() {
                // Once more: what arrived just in time is not thrown away.
                return match look() {
                    Look::Done(done) => done,
                    Look::Missing(_) => Waited::TimedOut,
                };
            }
            // The key before the second look, or a bump in between would be taken for the state to sleep on.
            let key = place.futex().key();
            place.arm(byte, patience.from.unwrap_or(byte));
            // [wake] SeqCst: `armed` is set before the second look. Pairs with the fence in `notify` and `notify_all`.
            fence(SeqCst);
            match look() {
                Look::Done(done) => return done,
                // Only for the byte armed on. If another one is missing by now, nobody would wake us for it.
                Look::Missing(missing) if missing == byte => place.futex().wait(key, self.nap(patience)),
                Look::Missing(_) => {}
            }
            place.disarm();
        }
    }

    /// How long to sleep at most: to the deadline, or to the next look opposite a silent publisher.
    fn nap(&self, patience: &Patience<'_>) -> Option<Duration> {
        let left = patience.deadline.and_then(Deadline::left);
        // Relaxed: the SeqCst fences [wake] order it like everything else that ends a wait.
        let pace = match self.pace_nanos.load(Relaxed) {
            NO_PACE => None,
            nanos => Some(Duration::from_nanos(nanos)),
        };
        match (left, pace) {
            (Some(left), Some(pace)) => Some(left.min(pace)),
            (left, pace) => left.or(pace),
        }
    }

    /// Wakes those that need a byte of `range`, which was published just before.
    ///
    /// # Real-time
    /// Wait-free, and two instructions, with no sleeper; a system call of some 9 µs for each that is woken.
    #[inline]
    pub fn notify(&self, range: Range<u64>) {
        // [wake] SeqCst: the publication comes before the load of `armed`. Pairs with the fence in `wait`.
        fence(SeqCst);
        // Relaxed, because of the fence.
        let armed = self.armed.load(Relaxed);
        if armed != 0 {
            self.wake(armed, &range);
        }
    }

    /// Wakes everybody: something changed that concerns all.
    pub fn notify_all(&self) {
        self.notify(0..u64::MAX);
    }

    #[cold]
    fn wake(&self, armed: u64, range: &Range<u64>) {
        for (i, slot) in self.slots.iter().enumerate() {
            // Relaxed: stored before `armed` was set, which the fence [wake] shows us. A slot that is someone else's by
            // now is woken for nothing, and sleeps again.
            if armed & (1 << i) != 0 && range.contains(&slot.needed.load(Relaxed)) {
                self.wakes.add(1);
                slot.futex.bump_and_wake();
            }
        }
        if armed >= SHARED {
            self.wakes.add(1);
            self.shared.bump_and_wake();
        }
    }

    /// From now on somebody publishes without waking: whoever sleeps here looks again every `pace`.
    ///
    /// Wakes those that are asleep already, since they may be asleep without a limit.
    pub fn go_silent(&self, pace: Duration) {
        self.set_pace(Some(pace));
        // The fence [wake] orders the pace before the load of `armed`.
        self.notify_all();
    }

    /// Sets the pace of those that go to sleep from now on; `None` if every publication wakes whom it concerns.
    pub fn set_pace(&self, pace: Option<Duration>) {
        let nanos =
            pace.map_or(NO_PACE, |pace| u64::try_from(pace.as_nanos()).unwrap_or(NO_PACE).clamp(1, NO_PACE - 1));
        // Relaxed: set by the sleeper itself, or ordered by the notification that follows.
        self.pace_nanos.store(nanos, Relaxed);
    }

    /// Where what the sleepers wait for begins, of as many as have slots. By now some may be awake.
    pub fn wanted(&self) -> impl Iterator<Item = u64> {
        // Relaxed, both: a hint where to begin.
        let armed = self.armed.load(Relaxed);
        let slots = self.slots.iter().enumerate();
        slots.filter(move |(i, _)| armed & (1 << i) != 0).map(|(_, slot)| slot.from.load(Relaxed))
    }

    /// Futex wakes issued so far.
    pub fn wakes(&self) -> u64 {
        self.wakes.get()
    }
}

impl<const N: usize> Default for WaitTable<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Look<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Look<U> {
        match self {
            Self::Done(done) => Look::Done(f(done)),
            Self::Missing(byte) => Look::Missing(byte),
        }
    }
}

/// A sleeper's slot, or its share of the shared word. Disarmed and given back when dropped, also by a panic.
struct Place<'a, const N: usize> {
    table: &'a WaitTable<N>,
    slot: Option<usize>,
    armed: bool,
}

impl<'a, const N: usize> Place<'a, N> {
    fn claim(table: &'a WaitTable<N>) -> Self {
        // Relaxed: a hint where to try.
        let mut taken = table.claimed.load(Relaxed);
        let slot = loop {
            let free = (!taken).trailing_zeros() as usize;
            if free >= N {
                break None;
            }
            // [slot] Acquire: what the last owner did to the slot comes before what we do. Pairs with the Release in
            // `drop`.
            taken = table.claimed.fetch_or(1 << free, Acquire);
            if taken & (1 << free) == 0 {
                break Some(free);
            }
        };
        Self { table, slot, armed: false }
    }

    fn futex(&self) -> &'a Futex {
        match self.slot {
            Some(i) => &self.table.slots[i].futex,
            None => &self.table.shared,
        }
    }

    fn arm(&mut self, byte: u64, from: u64) {
        self.armed = true;
        match self.slot {
            Some(i) => {
                // Relaxed, all: the fence [wake] follows.
                self.table.slots[i].from.store(from, Relaxed);
                self.table.slots[i].needed.store(byte, Relaxed);
                self.table.armed.fetch_or(1 << i, Relaxed);
            }
            // Relaxed: the fence [wake] follows.
            None => _ = self.table.armed.fetch_add(SHARED, Relaxed),
        }
    }

    fn disarm(&mut self) {
        if !std::mem::take(&mut self.armed) {
            return;
        }
        // Relaxed, both: a wake too many does no harm.
        match self.slot {
            Some(i) => _ = self.table.armed.fetch_and(!(1 << i), Relaxed),
            None => _ = self.table.armed.fetch_sub(SHARED, Relaxed),
        }
    }
}

impl<const N: usize> Drop for Place<'_, N> {
    fn drop(&mut self) {
        // Disarmed first: the bit is ours only while the slot is.
        self.disarm();
        if let Some(i) = self.slot {
            // [slot] Release: pairs with the Acquire in `claim`.
            self.table.claimed.fetch_and(!(1 << i), Release);
        }
    }
}

/// A handle's side of its interrupters: an epoch, and the newest one that has ended a wait.
///
/// An epoch and not a flag: a flag that is loaded and cleared loses an interrupt that comes in between. Several threads
/// may wait on one handle at once, and what ends the wait of one must not be taken from the others: each goes by what was
/// seen when it began, its [`Watch`].
#[derive(Debug)]
pub struct Interrupts {
    epoch: Arc<AtomicU64>,
    seen: AtomicU64,
}

/// What one call knows of the interrupts of its handle. An interrupt ends all calls that began before some call has
/// answered it, and none that begin later.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    interrupts: &'a Interrupts,
    /// The epoch that was seen when the call began to wait.
    since: u64,
}

impl Watch<'_> {
    /// Whether there was an interrupt.
    #[inline]
    fn take(&self) -> bool {
        // [interrupt] Acquire: what the interrupter did before is seen. Pairs with the Release in `interrupt`.
        let epoch = self.interrupts.epoch.load(Acquire);
        // Later, and not another: `since` may be of a call that saw an epoch which this load does not show yet.
        let new = epoch > self.since;
        if new {
            // Relaxed: it only says which interrupts need not be answered again. A maximum: another thread may have
            // answered a later one.
            self.interrupts.seen.fetch_max(epoch, Relaxed);
        }
        new
    }
}

impl Interrupts {
    pub fn new() -> Self {
        Self { epoch: Arc::new(AtomicU64::new(0)), seen: AtomicU64::new(0) }
    }

    /// Whether there was none since the last one taken.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        // [interrupt] Relaxed, both: nothing is done on the strength of an interrupt here, `take` comes to it.
        self.epoch.load(Relaxed) == self.seen.load(Relaxed)
    }

    /// For a call that begins to wait, and for all waits of that call.
    #[inline]
    pub fn watch(&self) -> Watch<'_> {
        // Relaxed: one's own calls are seen, and to those of others there is no order.
        Watch { interrupts: self, since: self.seen.load(Relaxed) }
    }

    /// The interrupt just taken ended a call that has something else to say: the next wait is to hear of it. Only for a
    /// handle on which one thread waits.
    pub fn put_back(&self) {
        // Relaxed: only the caller looks.
        self.seen.fetch_sub(1, Relaxed);
    }

    pub fn interrupter(&self, wake: Arc<dyn WakeAll>) -> Interrupter {
        Interrupter { epoch: self.epoch.clone(), wake: Arc::downgrade(&wake) }
    }
}

impl Default for Interrupts {
    fn default() -> Self {
        Self::new()
    }
}

/// What an [`Interrupter`] wakes.
pub trait WakeAll: Send + Sync {
    /// A SeqCst fence, then a wake of everybody that sleeps.
    fn wake_all(&self);
}

/// Ends the waits of one handle, without touching the resource or any other handle.
///
/// It ends the wait in progress, or else the next one: an interrupt that comes before the wait is not lost. Two that
/// come before it count as one. If several threads wait on one handle, as they can on a shared `&Reader`, it ends the
/// waits of all of them.
///
/// It keeps nothing open: a store whose handles are gone is closed, and its file unlocked. An interrupt does nothing then.
///
/// # Real-time
/// Blocking (a short lock), and it may enter the kernel. If the last handle goes meanwhile, it frees what that held. Not
/// for a callback.
#[derive(Clone)]
pub struct Interrupter {
    epoch: Arc<AtomicU64>,
    /// Weak: a thread that waits has a handle, which holds what is to be woken.
    wake: Weak<dyn WakeAll>,
}

impl Interrupter {
    /// Interrupts.
    ///
    /// # Real-time
    /// Blocking (a short lock), and it may enter the kernel. Not for a callback.
    pub fn interrupt(&self) {
        // [interrupt] Release: pairs with the Acquire in `take`. The fence [wake] in `wake_all` orders it before the
        // load of `armed`.
        self.epoch.fetch_add(1, Release);
        if let Some(wake) = self.wake.upgrade() {
            wake.wake_all();
        }
    }
}

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupter").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::{
        sync::{atomic::AtomicBool, mpsc},
        thread,
    };

    /// The count once had 16 bits: the sleeper after 65,535 others made it 0, and nobody was woken any more.
    #[test]
    fn no_number_of_sleepers_hides_one() {
        // Relaxed on `armed`: the table's own fences [wake] order it. `there` is Release and Acquire, as bytes would be.
        for others in [0, (1 << 16) - 1, (1 << 32) - 2] {
            let table = Arc::new(WaitTable::<0>::new());
            let there = Arc::new(AtomicBool::new(false));
            let armed = SHARED.wrapping_mul(others);
            table.armed.store(armed, Relaxed);
            let (done, ended) = mpsc::channel();
            let sleeper = {
                let (table, there) = (table.clone(), there.clone());
                thread::spawn(move || {
                    let look = || if there.load(Acquire) { Look::Done(()) } else { Look::Missing(0) };
                    let _ = done.send(table.wait(&Patience::default(), look));
                })
            };
            while table.armed.load(Relaxed) == armed {
                thread::yield_now();
            }
            there.store(true, Release);
            table.notify(0..1);
            let waited = ended.recv_timeout(Duration::from_secs(30));
            assert_eq!(waited, Ok(Waited::Done(())), "asleep beside {others} others");
            sleeper.join().unwrap();
            assert_eq!(table.armed.load(Relaxed), armed);
        }
    }
}
