//! Atomics, fences and the futex: of the standard library, or of loom.
//!
//! Nothing else in the crate names `std::sync::atomic`, so that `--cfg loom` puts every protocol under the model
//! checker as it stands.

#[cfg(not(loom))]
#[allow(unused_imports, reason = "aarch64 has nothing to find out about its processor, and no byte of its own")]
pub(crate) use std::sync::atomic::AtomicU8;
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
    },
};

#[cfg(not(loom))]
pub(crate) use crossbeam_queue::ArrayQueue;
pub(crate) use crossbeam_utils::CachePadded;
pub use deadline::Deadline;
pub use futex::Futex;
pub(crate) use owned::{Ceiling, Flag, OwnedCounter, Tally};
#[cfg(loom)]
pub(crate) use queue::ArrayQueue;

/// How often a waiter looks again before it enters the kernel.
///
/// A wake through the kernel costs tens of microseconds; a writer that is in the middle of a packet needs about one.
/// 100 pauses are 1 to 4 µs on the machines at hand.
#[cfg(not(loom))]
pub(crate) const SPINS: u32 = 100;
#[cfg(loom)]
pub(crate) const SPINS: u32 = 0;

/// One pause of a spinning waiter. No `yield_now` under loom: that would hold the waiter back until another thread has
/// taken a step, and hide every execution in which none does before it sleeps.
pub(crate) fn spin() {
    std::hint::spin_loop();
}

mod owned {
    use std::sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    };

    /// A counter that one thread owns and no other looks at.
    ///
    /// It is an atomic for one reason: a driver that is used without a resource can be called from two threads by
    /// mistake (`DriverIo::write_at` takes `&self`). That may mix up bytes; it may not be undefined. Under loom it
    /// stays the standard library's: what no other thread looks at needs no exploring, and loom is blind to a store
    /// that follows a load of the same atomic by one thread (its issues #166 and #392).
    #[derive(Debug, Default)]
    pub(crate) struct OwnedCounter(AtomicU64);

    impl OwnedCounter {
        pub(crate) fn new(value: u64) -> Self {
            Self(AtomicU64::new(value))
        }

        // Relaxed, both: only the owner looks.
        #[inline]
        pub(crate) fn get(&self) -> u64 {
            self.0.load(Relaxed)
        }

        #[inline]
        pub(crate) fn set(&self, value: u64) {
            self.0.store(value, Relaxed);
        }
    }

    /// Something that happens once and is never undone.
    #[derive(Debug, Default)]
    pub(crate) struct Flag(AtomicBool);

    impl Flag {
        pub(crate) fn set(&self) {
            // [flag] Release: pairs with `get`.
            self.0.store(true, Release);
        }

        pub(crate) fn get(&self) -> bool {
            // [flag] Acquire: what was done before `set` is seen.
            self.0.load(Acquire)
        }
    }

    /// A bound that only falls, and that hands nothing on.
    ///
    /// Under loom it stays the standard library's, as above.
    #[derive(Debug)]
    pub(crate) struct Ceiling(AtomicU64);

    impl Ceiling {
        pub(crate) fn new(value: u64) -> Self {
            Self(AtomicU64::new(value))
        }

        // Relaxed, both: what lies below the bound was handed on together with it.
        #[inline]
        pub(crate) fn get(&self) -> u64 {
            self.0.load(Relaxed)
        }

        pub(crate) fn lower(&self, to: u64) {
            self.0.fetch_min(to, Relaxed);
        }
    }

    /// A count that many threads add to and that decides nothing: statistics.
    ///
    /// Under loom it stays the standard library's, as above.
    #[derive(Debug, Default)]
    pub(crate) struct Tally(AtomicU64);

    impl Tally {
        // Relaxed, both: nothing is read on the strength of a count.
        pub(crate) fn add(&self, n: u64) {
            self.0.fetch_add(n, Relaxed);
        }

        pub(crate) fn get(&self) -> u64 {
            self.0.load(Relaxed)
        }
    }
}

#[cfg(not(loom))]
mod deadline {
    use std::time::{Duration, Instant};

    /// The moment at which a wait gives up.
    #[derive(Clone, Copy, Debug)]
    pub struct Deadline(Option<Instant>);

    impl Deadline {
        /// `timeout` from now; a timeout that no clock can express is no deadline.
        pub(crate) fn after(timeout: Duration) -> Self {
            Self(Instant::now().checked_add(timeout))
        }

        /// The time that is left, zero once the deadline has passed; `None` if there is no end to it.
        pub(crate) fn left(&self) -> Option<Duration> {
            self.0.map(|at| at.saturating_duration_since(Instant::now()))
        }

        pub(crate) fn passed(&self) -> bool {
            self.left().is_some_and(|left| left.is_zero())
        }
    }
}

#[cfg(loom)]
mod deadline {
    use std::time::Duration;

    /// Under loom time passes when the model says so, and no time at all has passed from the start.
    #[derive(Clone, Debug, Default)]
    pub struct Deadline(loom::sync::Arc<loom::sync::atomic::AtomicU32>);

    impl Deadline {
        pub fn after(timeout: Duration) -> Self {
            let deadline = Self::default();
            if timeout.is_zero() {
                deadline.pass();
            }
            deadline
        }

        /// Lets the time run out.
        pub fn pass(&self) {
            // Relaxed: a clock orders nothing.
            self.0.store(1, loom::sync::atomic::Ordering::Relaxed);
        }

        pub(crate) fn left(&self) -> Option<Duration> {
            self.passed().then_some(Duration::ZERO)
        }

        pub(crate) fn passed(&self) -> bool {
            // Relaxed: a clock orders nothing.
            self.0.load(loom::sync::atomic::Ordering::Relaxed) == 1
        }
    }
}

#[cfg(not(loom))]
mod futex {
    use super::{AtomicU32, Ordering::Relaxed};
    use std::time::Duration;

    /// A word to sleep on.
    ///
    /// It orders nothing by itself: whoever sleeps looks again at what it waits for, with the orderings of that.
    #[derive(Debug, Default)]
    pub struct Futex(AtomicU32);

    impl Futex {
        pub(crate) fn new() -> Self {
            Self(AtomicU32::new(0))
        }

        /// What the word says now. A wait with this key returns at once if the word was bumped since.
        pub(crate) fn key(&self) -> u32 {
            // Relaxed: the SeqCst fence of the waiter stands between this load and the second look [wake].
            self.0.load(Relaxed)
        }

        /// Sleeps until the word is bumped, the timeout has passed, or for no reason at all.
        pub(crate) fn wait(&self, key: u32, timeout: Option<Duration>) {
            match timeout {
                None => atomic_wait::wait(&self.0, key),
                Some(timeout) if timeout.is_zero() => {}
                Some(timeout) => self.wait_timed(key, timeout),
            }
        }

        #[cfg(target_os = "linux")]
        fn wait_timed(&self, key: u32, timeout: Duration) {
            use rustix::thread::futex::{self, Flags, Timespec};
            let timeout = Timespec {
                tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            };
            // Woken, word changed, timed out, interrupted by a signal: each time the waiter looks again for itself.
            let _ = futex::wait(&self.0, Flags::PRIVATE, key, Some(&timeout));
        }

        /// Without a timed futex: slices of at most 5 ms, each ended early by nothing.
        #[cfg(not(target_os = "linux"))]
        fn wait_timed(&self, key: u32, timeout: Duration) {
            // Relaxed: as in `key`.
            if self.0.load(Relaxed) == key {
                std::thread::sleep(timeout.min(Duration::from_millis(5)));
            }
        }

        /// Bumps the word and wakes whoever sleeps on it. One system call.
        pub(crate) fn bump_and_wake(&self) {
            // A read-modify-write, so that two bumps never make one key. Relaxed: the kernel compares the newest
            // value under its own lock, and what was published is ordered by the caller's SeqCst fence [wake].
            self.0.fetch_add(1, Relaxed);
            atomic_wait::wake_all(&self.0);
        }
    }
}

#[cfg(loom)]
mod futex {
    use super::{AtomicU32, Ordering::Relaxed};
    use loom::sync::{Condvar, Mutex};
    use std::time::Duration;

    /// A futex that hands on no happens-before: a mutex that excludes only, and a condvar that does not synchronise
    /// (both by `loom-tests/loom.patch`). The kernel's comparison sees the newest value: a read-modify-write here.
    #[derive(Debug)]
    pub struct Futex(AtomicU32, Mutex<()>, Condvar);

    impl Default for Futex {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Futex {
        pub fn new() -> Self {
            Self(AtomicU32::new(0), Mutex::new_relaxed(()), Condvar::new())
        }

        pub fn key(&self) -> u32 {
            // Relaxed: as without loom.
            self.0.load(Relaxed)
        }

        /// A sleep with a timeout is no sleep under loom: it lets the others run and looks again.
        pub fn wait(&self, key: u32, timeout: Option<Duration>) {
            if timeout.is_some() {
                return loom::thread::yield_now();
            }
            let guard = self.1.lock().unwrap();
            // Relaxed: as without loom.
            if self.0.fetch_add(0, Relaxed) == key {
                drop(self.2.wait(guard).unwrap());
            }
        }

        pub fn bump_and_wake(&self) {
            // Relaxed: as without loom.
            self.0.fetch_add(1, Relaxed);
            drop(self.1.lock().unwrap());
            self.2.notify_all();
        }
    }
}

#[cfg(loom)]
mod queue {
    use super::{AtomicU32, Ordering::*};
    use loom::sync::Mutex;
    use std::collections::VecDeque;

    /// The bounded queue of `crossbeam-queue`, with no more order than that promises: what was done before a push is
    /// seen after the pop of the same element, and by nobody who finds the queue full or empty.
    #[derive(Debug)]
    pub(crate) struct ArrayQueue<T> {
        /// Excludes only, like the mutex of the futex.
        elements: Mutex<VecDeque<(T, usize)>>,
        /// One a place. Bumped by a push, and read by the pop of what was pushed there.
        stamps: Vec<AtomicU32>,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self {
                elements: Mutex::new_relaxed(VecDeque::new()),
                stamps: (0..capacity).map(|_| AtomicU32::new(0)).collect(),
            }
        }

        pub(crate) fn push(&self, element: T) -> Result<(), T> {
            let mut elements = self.elements.lock().unwrap();
            let free = (0..self.stamps.len()).find(|free| elements.iter().all(|(_, taken)| taken != free));
            let Some(place) = free else { return Err(element) };
            // [stamp] Release: pairs with the Acquire in `pop`.
            self.stamps[place].fetch_add(1, Release);
            elements.push_back((element, place));
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            let mut elements = self.elements.lock().unwrap();
            let (element, place) = elements.pop_front()?;
            // [stamp] Acquire, and a read-modify-write, which sees the newest: pairs with the Release in `push`.
            self.stamps[place].fetch_add(0, Acquire);
            Some(element)
        }
    }
}
