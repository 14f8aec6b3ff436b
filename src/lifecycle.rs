//! The states of a resource: protocol 4 of ARCHITECTURE.md.
//!
//! ```text
//!   active ──commit──▶ committed(len)        left once, by one compare-and-swap;
//!     ├─────fail─────▶ failed                `reactivate` makes a new one and never resets this
//!     └────cancel────▶ cancelled
//! ```
//!
//! A reader that is out of bytes loads the state and *then* the live edge: what was written before a commit or a
//! failure is served before its verdict. Checked by `loom-tests/models/src/lifecycle.rs`.

use crate::{
    ReadError, ResourceStatus, StorageError, StorageResult,
    sync::{AtomicU64, CachePadded, Ordering::*},
};
use std::sync::{Arc, OnceLock};

/// One word: 0 active, 1 failed, 2 cancelled, 3 + n committed with n bytes ([`MAX_OFFSET`](crate::MAX_OFFSET) fits).
#[derive(Debug)]
pub struct Life {
    word: CachePadded<AtomicU64>,
    /// Set before the word says "failed".
    reason: OnceLock<Arc<StorageError>>,
}

const ACTIVE: u64 = 0;
const FAILED: u64 = 1;
const CANCELLED: u64 = 2;
const COMMITTED: u64 = 3;

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Active,
    Committed(u64),
    Failed,
    Cancelled,
}

impl Stage {
    /// What a reader is told that has read all there is.
    #[inline]
    pub fn why_no_more(self) -> ReadError {
        match self {
            Self::Active => ReadError::NotYet,
            Self::Committed(_) => ReadError::Ended,
            Self::Failed => ReadError::Failed,
            Self::Cancelled => ReadError::Cancelled,
        }
    }
}

impl Life {
    pub fn active() -> Self {
        Self::with(ACTIVE)
    }

    pub fn committed(final_len: u64) -> Self {
        Self::with(COMMITTED + final_len)
    }

    fn with(word: u64) -> Self {
        Self { word: CachePadded::new(AtomicU64::new(word)), reason: OnceLock::new() }
    }

    #[inline]
    pub fn stage(&self) -> Stage {
        // [life] Acquire: all that was published before the verdict is seen after it, the reason included. Pairs with
        // the Release in `leave`.
        match self.word.load(Acquire) {
            ACTIVE => Stage::Active,
            FAILED => Stage::Failed,
            CANCELLED => Stage::Cancelled,
            committed => Stage::Committed(committed - COMMITTED),
        }
    }

    /// Whether it is still active, for who goes by the verdict in no other way.
    #[inline]
    pub fn is_active(&self) -> bool {
        // [life] Relaxed: "active" says nothing about other memory, and the verdict is asked for by `stage`.
        self.word.load(Relaxed) == ACTIVE
    }

    /// Leaves `active`, if it is that still. A compare-and-swap: the first verdict stands.
    fn leave(&self, word: u64) -> bool {
        // [life] Release: pairs with the Acquire in `stage`. Relaxed on failure: nothing is read on the strength of it.
        self.word.compare_exchange(ACTIVE, word, Release, Relaxed).is_ok()
    }

    pub fn commit(&self, final_len: u64) -> bool {
        self.leave(COMMITTED + final_len)
    }

    pub fn cancel(&self) -> bool {
        self.leave(CANCELLED)
    }

    /// The first reason stands. It is set before the state, so that whoever sees "failed" finds a reason; of two that
    /// fail at once, the one whose reason stands may be the other than the one whose swap succeeds.
    pub fn fail(&self, reason: Arc<StorageError>) -> bool {
        let _ = self.reason.set(reason);
        self.leave(FAILED)
    }

    /// Why it failed. Asked only once the stage is [`Stage::Failed`].
    pub fn reason(&self) -> Arc<StorageError> {
        self.reason.get().expect("the reason is set before the state").clone()
    }

    /// Why nothing more will be written, if so.
    #[inline]
    pub fn check_active(&self) -> StorageResult<()> {
        match self.stage() {
            Stage::Active => Ok(()),
            stage => Err(self.error(stage)),
        }
    }

    /// What a stage other than active means for somebody who wants to write.
    #[cold]
    pub fn error(&self, stage: Stage) -> StorageError {
        match stage {
            Stage::Active => StorageError::Active,
            Stage::Committed(_) => StorageError::Committed,
            Stage::Failed => StorageError::Failed(self.reason()),
            Stage::Cancelled => StorageError::Cancelled,
        }
    }

    pub fn status(&self) -> ResourceStatus {
        match self.stage() {
            Stage::Active => ResourceStatus::Active,
            Stage::Committed(final_len) => ResourceStatus::Committed { final_len },
            Stage::Failed => ResourceStatus::Failed(self.reason()),
            Stage::Cancelled => ResourceStatus::Cancelled,
        }
    }
}
