//! Being told what became available.

use crate::StorageError;
use std::ops::Range;

/// Is told what happens to a resource. Each generation ends with exactly one of [`on_commit`](Self::on_commit),
/// [`on_fail`](Self::on_fail) and [`on_cancel`](Self::on_cancel).
///
/// Called on the thread that caused it, in that thread's order, after the publication and after the wakes. No lock of
/// this crate is held: an observer may take its own, and call back in.
///
/// # Real-time
/// A writer with an observer is as real-time safe as the observer.
pub trait AvailabilityObserver: Send + Sync {
    /// `range` has become available, and nothing of it was before.
    fn on_write(&self, range: Range<u64>);

    /// The resource was committed, whoever did it, and has this length.
    fn on_commit(&self, final_len: u64);

    /// `range` has left the window.
    fn on_evict(&self, _range: Range<u64>) {}

    /// The resource failed: by a call of `fail`, a driver's error, or because nobody is left to write it.
    fn on_fail(&self, _reason: &StorageError) {}

    /// The resource was cancelled, by itself or by its token.
    fn on_cancel(&self) {}
}
