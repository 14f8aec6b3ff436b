//! Being told what became available.

use crate::StorageError;
use std::ops::Range;

/// Is told what happens to a resource.
///
/// Called on the thread that caused it, in that thread's order, after the publication and after the wakes. No lock of
/// this crate is held: an observer may take its own, and call back in.
///
/// # Real-time
/// A writer with an observer is as real-time safe as the observer.
pub trait AvailabilityObserver: Send + Sync {
    /// `range` has become available, and nothing of it was before.
    fn on_write(&self, range: Range<u64>);

    /// The resource was committed by `commit(Some(final_len))`. A `commit(None)` is silent.
    fn on_commit(&self, final_len: u64);

    /// `range` has left the window.
    fn on_evict(&self, _range: Range<u64>) {}

    /// The resource failed.
    fn on_fail(&self, _reason: &StorageError) {}
}
