//! The ring: the last `capacity` bytes of a stream, in memory.

use super::{Driver, DriverIo, DriverState, OpenOptions};
use crate::{InvalidOptions, MAX_OFFSET, StorageError, StorageResult, window::Window};
use std::{
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// The most that a preamble holds, in bytes: the headers of every streaming codec fit, cover art does not.
pub const PREAMBLE_MAX: usize = 64 << 10;

/// Options of a [`RingDriver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// How many bytes the window holds, at least 1. Any number; a power of two is a little faster.
    pub capacity_bytes: usize,
    /// The offset of the first byte.
    pub start_offset: u64,
    /// Touch all pages when the ring is opened, so that not even the first lap takes page faults.
    pub prefault: bool,
    /// Keep the pages in memory (`mlock`) where the system allows it; implies `prefault`.
    /// [`RingDriver::memory_locked`] says whether it did.
    pub lock_memory: bool,
}

impl RingOptions {
    /// A ring of this capacity, all else by default.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        Self { capacity_bytes, ..Self::default() }
    }
}

/// 1 MiB: a minute of a 128 kbit/s stream.
impl Default for RingOptions {
    fn default() -> Self {
        Self { capacity_bytes: 1 << 20, start_offset: 0, prefault: false, lock_memory: false }
    }
}

impl OpenOptions for RingOptions {
    type Driver = RingDriver;
}

/// A ring in memory: keeps the last `capacity` bytes of a stream.
///
/// - `write_at` at the live edge appends and evicts what no longer fits; below it, bytes that are there or were there
///   stay as they are (a reconnect that sends again is trimmed); above it, the window restarts there, and all that was
///   before is evicted.
/// - A write larger than the capacity streams through.
/// - Offsets never go back. A media seek backwards is a new stretch above the live edge.
///
/// Through a [`Resource`](crate::Resource) there is one writer by construction. Called directly from two threads at
/// once, `write_at` mixes up their bytes, and nothing worse.
///
/// # Real-time
/// `read_at`, `write_at`, `valid_window`, `storage_len` and `try_fast_check` are wait-free; they never allocate, free,
/// lock or enter the kernel.
#[derive(Debug)]
pub struct RingDriver {
    window: Window,
    /// Beside the window and not part of it. The lock is taken by `preamble` and `set_preamble` only.
    preamble: Mutex<Arc<[u8]>>,
    memory_locked: bool,
}

impl RingDriver {
    /// How many bytes the window holds.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.window.capacity()
    }

    /// Whether the pages are locked in memory.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn memory_locked(&self) -> bool {
        self.memory_locked
    }

    #[inline]
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    pub(crate) fn preamble(&self) -> Arc<[u8]> {
        self.preamble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_preamble(&self, bytes: &[u8]) -> StorageResult<()> {
        if bytes.len() > PREAMBLE_MAX {
            return Err(StorageError::PreambleTooLarge { len: bytes.len(), max: PREAMBLE_MAX });
        }
        *self.preamble.lock().unwrap_or_else(PoisonError::into_inner) = bytes.into();
        Ok(())
    }

    /// What a write of `data` at `offset` comes to.
    #[inline]
    pub(crate) fn place<'a>(&self, offset: u64, data: &'a [u8]) -> StorageResult<Placed<'a>> {
        let end = self.window.written_to();
        let new_end = offset.checked_add(data.len() as u64).filter(|&e| e <= MAX_OFFSET);
        let Some(new_end) = new_end else {
            return Err(StorageError::OffsetOverflow { offset, len: data.len() as u64 });
        };
        Ok(if data.is_empty() || new_end <= end {
            Placed::Nothing
        } else if offset <= end {
            Placed::Append(&data[(end - offset) as usize..])
        } else {
            Placed::Restart
        })
    }
}

/// Where the bytes of a write go.
pub(crate) enum Placed<'a> {
    /// All of them were written before.
    Nothing,
    /// These are new, and belong at the live edge.
    Append(&'a [u8]),
    /// All of them lie above a gap: the window restarts.
    Restart,
}

impl Driver for RingDriver {
    type Options = RingOptions;

    fn open(options: RingOptions) -> StorageResult<(Self, DriverState)> {
        if options.capacity_bytes == 0 {
            return Err(InvalidOptions::ZeroCapacity.into());
        }
        if isize::try_from(options.capacity_bytes).is_err() {
            return Err(InvalidOptions::CapacityTooLarge(options.capacity_bytes as u64).into());
        }
        if options.start_offset > MAX_OFFSET {
            return Err(InvalidOptions::StartTooLarge(options.start_offset).into());
        }
        let mut window = Window::new(options.capacity_bytes, options.start_offset)
            .map_err(|e| StorageError::OutOfMemory { bytes: e.bytes })?;
        if options.prefault || options.lock_memory {
            window.prefault();
        }
        let memory_locked = options.lock_memory && window.lock_memory();
        let ring = Self { window, preamble: Mutex::new(Arc::from([])), memory_locked };
        Ok((ring, DriverState::default()))
    }
}

impl DriverIo for RingDriver {
    /// A ring ends at its live edge and nowhere else.
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        let end = self.window.end();
        match final_len {
            Some(final_len) if final_len != end => Err(StorageError::NotLiveEdge { final_len, end }),
            _ => Ok(()),
        }
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    /// Writing goes on at the live edge.
    fn reactivate(&self) -> StorageResult<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        let end = self.window.end().min(effective_len);
        let evicted = || StorageError::Evicted { offset, window: self.window.span() };
        if offset >= end {
            return if offset < self.window.oldest() { Err(evicted()) } else { Ok(0) };
        }
        self.window.read(offset, buf, end).ok_or_else(evicted)
    }

    fn storage_len(&self) -> u64 {
        self.window.end()
    }

    fn try_fast_check(&self, range: &Range<u64>) -> bool {
        let there = self.window.span();
        range.is_empty() || there.start <= range.start && range.end <= there.end
    }

    fn valid_window(&self) -> Option<Range<u64>> {
        Some(self.window.span().into())
    }

    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()> {
        if committed {
            return Err(StorageError::Committed);
        }
        match self.place(offset, data)? {
            Placed::Nothing => {}
            Placed::Append(data) => self.window.append(data),
            Placed::Restart => {
                self.window.restart(offset);
                self.window.append(data);
            }
        }
        Ok(())
    }
}
