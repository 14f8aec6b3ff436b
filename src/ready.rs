//! Ready ranges on their way to the disk.
//!
//! Whoever writes pushes what it has published; whoever flushes takes all that was pushed since the last time. The queue
//! is bounded. If it is full, that is no loss: a flag says so, and the next flush takes all that there is instead.
//!
//! ```text
//!   publish in the coverage                       overflowed = flag.swap(false, Acquire)    [overflow]
//!   push; the queue is full →                     drain the queue
//!     flag.swap(true, Release)     [overflow]     overflowed → scan the coverage
//! ```
//!
//! Why nothing is lost. A range was published, and then pushed:
//! 1. There was room: it is in the queue until a flush takes it out. The queue hands over what was done before the push.
//! 2. There was none, and the flag was set before a flush swaps it to false: this flush scans the coverage, after the
//!    swap, and the swap sees the publication. Several may have set the flag: each does so by a read-modify-write, so
//!    that the Release of every one of them reaches the swap that clears it.
//! 3. There was none, and the flag is set after that swap: it stays set for the next flush. With the scan before the
//!    swap, the flag could be cleared for a range that the scan was too early for.
//!
//! A flush that fails has taken ranges that are not on disk: it pushes them again. Checked by
//! `loom-tests/models/src/ready.rs`.

use crate::sync::{ArrayQueue, AtomicBool, Ordering::*};
use rangemap::RangeSet;
use std::{iter, ops::Range};

#[cfg(not(loom))]
const CAPACITY: usize = 1024;
#[cfg(loom)]
const CAPACITY: usize = 1;

/// Ranges that are there and not yet on disk.
#[derive(Debug)]
pub struct ReadyQueue {
    ranges: ArrayQueue<(u64, u64)>,
    /// The queue was full when somebody came.
    overflowed: AtomicBool,
}

impl ReadyQueue {
    pub fn new() -> Self {
        Self { ranges: ArrayQueue::new(CAPACITY), overflowed: AtomicBool::new(false) }
    }

    /// Adds a range that has been published in the coverage.
    ///
    /// # Real-time
    /// Never allocates, frees, locks or enters the kernel, and never fails. It waits for nobody, but for a flush that was
    /// preempted in the middle of taking an element from a queue that is full.
    #[inline]
    pub fn push(&self, range: Range<u64>) {
        if range.start < range.end && self.ranges.push((range.start, range.end)).is_err() {
            // [overflow] Release: the range was published before. Pairs with the Acquire in `take`. A read-modify-write,
            // which carries on the Release of others that found the queue full.
            self.overflowed.swap(true, Release);
        }
    }

    /// Takes what was pushed since the last time, joined; or, if there was more of it than fits, `all()` that is there.
    ///
    /// # Real-time
    /// Allocates. Not for a callback.
    pub fn take(&self, all: impl FnOnce() -> RangeSet<u64>) -> RangeSet<u64> {
        // [overflow] Acquire: `all` sees what those who set the flag had published. Pairs with the Release in `push`.
        let overflowed = self.overflowed.swap(false, Acquire);
        // What others push meanwhile may wait for the next time, or this would not have to end.
        let mut taken: RangeSet<u64> =
            iter::from_fn(|| self.ranges.pop()).take(CAPACITY).map(|(start, end)| start..end).collect();
        if overflowed {
            taken.extend(all().iter().cloned());
        }
        taken
    }
}

impl Default for ReadyQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::Coverage;
    use std::thread;

    fn nothing() -> RangeSet<u64> {
        panic!("nothing overflowed")
    }

    #[test]
    fn neighbours_are_joined_and_taken_once() {
        let queue = ReadyQueue::new();
        for range in [0..10, 20..30, 10..20, 50..51, 7..7] {
            queue.push(range);
        }
        assert_eq!(queue.take(nothing), [0..30, 50..51].into_iter().collect());
        assert!(queue.take(nothing).is_empty());
    }

    #[test]
    fn a_full_queue_loses_nothing() {
        let (queue, coverage) = (ReadyQueue::new(), Coverage::new());
        let last = 2 * CAPACITY as u64 + 1;
        for i in 0..=last {
            coverage.insert(2 * i..2 * i + 1);
            queue.push(2 * i..2 * i + 1);
        }
        assert_eq!(queue.take(|| coverage.available()), coverage.available());
        queue.push(1..2);
        assert_eq!(queue.take(nothing), [1..2].into_iter().collect(), "the flag was cleared");
    }

    #[test]
    fn what_several_push_while_one_takes_is_all_taken() {
        const EACH: u64 = 20_000;
        let (queue, coverage) = (ReadyQueue::new(), Coverage::new());
        let mut taken = RangeSet::new();
        thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let (queue, coverage) = (&queue, &coverage);
                    scope.spawn(move || {
                        for i in writer * EACH..(writer + 1) * EACH {
                            coverage.insert(2 * i..2 * i + 1);
                            queue.push(2 * i..2 * i + 1);
                        }
                    })
                })
                .collect();
            while !writers.iter().all(|writer| writer.is_finished()) {
                taken.extend(queue.take(|| coverage.available()).iter().cloned());
            }
        });
        taken.extend(queue.take(|| coverage.available()).iter().cloned());
        assert_eq!(taken, coverage.available());
    }
}
