//! Cancelling many resources at once.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::sync::Flag;

/// Cancels all the resources that were opened with it or with a clone, and wakes whoever waits on them.
///
/// Cancelling is for good. A resource that was committed or failed before stays so.
///
/// ```
/// use roundelay::{CancelToken, Resource, ResourceStatus, RingOptions};
/// let cancel = CancelToken::new();
/// let ring = Resource::open(cancel.clone(), RingOptions::new(1024))?;
/// cancel.cancel();
/// assert_eq!(ring.status(), ResourceStatus::Cancelled);
/// # Ok::<(), roundelay::StorageError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    cancelled: Flag,
    listeners: Mutex<Vec<Weak<dyn OnCancel>>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("cancelled", &self.cancelled.get()).finish_non_exhaustive()
    }
}

/// What a token cancels.
pub(crate) trait OnCancel: Send + Sync {
    fn on_cancel(&self);
}

impl CancelToken {
    /// A token that is not cancelled.
    ///
    /// # Real-time
    /// Allocates. Not for a callback.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled with this one, and can be cancelled alone.
    ///
    /// # Real-time
    /// Blocking (a short lock, and it allocates). Not for a callback.
    #[must_use]
    pub fn child_token(&self) -> Self {
        let child = Self::new();
        let listener: Arc<dyn OnCancel> = child.inner.clone();
        self.listen(Arc::downgrade(&listener));
        child
    }

    /// Cancels. Calling it again does nothing.
    ///
    /// # Real-time
    /// Blocking (a lock, and a wake for each sleeper). Not for a callback.
    pub fn cancel(&self) {
        self.inner.on_cancel();
    }

    /// Whether it was cancelled.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.get()
    }

    /// Calls `listener` when the token is cancelled; at once, if it is already.
    pub(crate) fn listen(&self, listener: Weak<dyn OnCancel>) {
        let mut listeners = self.inner.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_cancelled() {
            listeners.retain(|listener| listener.strong_count() > 0);
            listeners.push(listener);
            return;
        }
        drop(listeners);
        if let Some(listener) = listener.upgrade() {
            listener.on_cancel();
        }
    }
}

impl OnCancel for Inner {
    fn on_cancel(&self) {
        // Under the lock, so that a listener is either in the list or sees the flag. Called outside of it, since a
        // listener may come back.
        let listeners = {
            let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            self.cancelled.set();
            std::mem::take(&mut *listeners)
        };
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.on_cancel();
        }
    }
}
