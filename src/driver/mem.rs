//! A store in memory that keeps all that is written.

use super::{
    Driver, DriverIo, DriverState, OpenOptions,
    linear::{self, Linear},
};
use crate::{
    InvalidOptions, MAX_OFFSET, StorageError, StorageResult,
    coverage::Coverage,
    segments::{Medium, Segments},
    store::Store,
};
use std::{
    ops::Range,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Options of a [`MemDriver`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemOptions {
    /// The bytes of a store that is committed from the start.
    pub initial: Option<Vec<u8>>,
    /// The most bytes that a generation may hold; without, as many as there is memory for. While one follows another,
    /// both take memory.
    pub capacity_bytes: Option<u64>,
    /// How long the whole will be, if that is known. A write beyond is an error, and so is a commit without a length while
    /// bytes are missing.
    pub len: Option<u64>,
}

impl MemOptions {
    /// A store that is committed from the start, with these bytes.
    #[must_use]
    pub fn committed(bytes: impl Into<Vec<u8>>) -> Self {
        Self { initial: Some(bytes.into()), ..Self::default() }
    }
}

impl OpenOptions for MemOptions {
    type Driver = MemDriver;
}

/// A store in memory that keeps all that is written, in any order. It grows by segments that never move, so that a
/// reader's copy takes no lock.
///
/// Bytes that are there stay as they are. After a commit, [`Resource::reactivate`](crate::Resource::reactivate) begins
/// a next generation with the same bytes, each of which can be written once more.
///
/// # Real-time
/// Through a [`Reader`](crate::Reader), a read that does not wait is wait-free. Writing maps memory as the store grows,
/// and its first touch of a page enters the kernel: not for a callback.
#[derive(Debug)]
pub struct MemDriver {
    current: RwLock<Generation>,
    capacity: Option<u64>,
}

#[derive(Debug)]
struct Generation {
    store: Arc<Store>,
    /// How long it will be, if that is known.
    len: Option<u64>,
    /// How long it is, once it is committed.
    committed: Option<u64>,
}

impl MemDriver {
    fn current(&self) -> RwLockReadGuard<'_, Generation> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn current_mut(&self) -> RwLockWriteGuard<'_, Generation> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, generation: &Generation, range: &Range<u64>) -> StorageResult<()> {
        if generation.committed.is_some() {
            return Err(StorageError::Committed);
        }
        if let Some(len) = generation.len.filter(|&len| range.end > len) {
            return Err(StorageError::BeyondLength { end: range.end, len });
        }
        if let Some(capacity) = self.capacity.filter(|&capacity| range.end > capacity) {
            return Err(StorageError::CapacityExceeded { needed: range.end, capacity });
        }
        map(generation.store.segments(), range)?;
        generation.store.segments().has_room(generation.len.into_iter().chain(self.capacity).min().unwrap_or(u64::MAX));
        Ok(())
    }
}

/// The segments of a store that has this capacity.
fn segments(capacity: Option<u64>) -> Segments {
    Segments::new(Medium::Memory, capacity.unwrap_or(MAX_OFFSET))
}

/// Maps `range`. What is asked for is a whole segment, however few bytes are to be written.
fn map(segments: &Segments, range: &Range<u64>) -> StorageResult<()> {
    segments.map(range).map_err(|_| StorageError::OutOfMemory { bytes: segments.first_unmapped(range) })
}

impl Driver for MemDriver {
    type Options = MemOptions;

    fn open(options: MemOptions) -> StorageResult<(Self, DriverState)> {
        let MemOptions { initial, capacity_bytes: capacity, len } = options;
        if let Some(len) = len.filter(|&len| len > MAX_OFFSET) {
            return Err(InvalidOptions::LengthTooLarge(len).into());
        }
        if let (Some(initial), Some(len)) = (initial.as_ref().map(|initial| initial.len() as u64), len)
            && initial != len
        {
            return Err(InvalidOptions::InitialLength { initial, len }.into());
        }
        let needed = initial.as_ref().map_or(len.unwrap_or(0), |initial| initial.len() as u64);
        if let Some(capacity) = capacity.filter(|&capacity| needed > capacity) {
            return Err(StorageError::CapacityExceeded { needed, capacity });
        }
        let segments = segments(capacity);
        let (generation, state) = match initial {
            None => {
                let store = Arc::new(Store::new(segments, Coverage::new()));
                (Generation { store, len, committed: None }, DriverState { final_len: len, ..DriverState::default() })
            }
            Some(initial) => {
                let whole = 0..initial.len() as u64;
                map(&segments, &whole)?;
                segments.write(0, &initial);
                let state = DriverState::committed(whole.end);
                let store = Arc::new(Store::whole(segments, whole.end));
                (Generation { store, len: None, committed: Some(whole.end) }, state)
            }
        };
        Ok((Self { current: RwLock::new(generation), capacity }, state))
    }
}

impl Linear for MemDriver {
    fn store(&self) -> (Arc<Store>, Option<u64>) {
        let current = self.current();
        (current.store.clone(), current.committed)
    }

    fn reserve(&self, range: &Range<u64>) -> StorageResult<()> {
        self.reserve(&self.current(), range)
    }

    fn limit(&self) -> u64 {
        self.capacity.unwrap_or(MAX_OFFSET)
    }
}

impl DriverIo for MemDriver {
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        let mut current = self.current_mut();
        if current.committed.is_some() {
            return Err(StorageError::Committed);
        }
        let end = linear::commit_end(&current.store, final_len.or(current.len))?;
        current.store.complete(end, |range| self.reserve(&current, range))?;
        current.store.segments().forget_room();
        *current = Generation { store: Arc::new(current.store.settled(end)), len: None, committed: Some(end) };
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    /// After a commit, a next generation that starts with all its bytes; without, writing goes on.
    fn reactivate(&self) -> StorageResult<()> {
        let mut current = self.current_mut();
        let store = match current.committed {
            Some(len) => current.store.rewrite(len, segments(self.capacity)),
            None => current.store.resume(),
        };
        *current = Generation { store: Arc::new(store), len: current.len, committed: None };
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        Ok(linear::read_up_to(&self.current().store, offset, buf, effective_len))
    }

    fn storage_len(&self) -> u64 {
        let current = self.current();
        current.committed.unwrap_or_else(|| current.store.coverage().end())
    }

    fn try_fast_check(&self, range: &Range<u64>) -> bool {
        self.current().store.coverage().covers_now(range)
    }

    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()> {
        let current = self.current();
        if committed {
            return Err(StorageError::Committed);
        }
        linear::write_missing(&current.store, offset, data, |range| self.reserve(&current, range), |_| {})
    }
}
