//! The contract between a store of bytes and the resource above it.
//!
//! A driver does raw I/O. What is there, who waits, and how it ends is the business of
//! [`Resource`](crate::Resource). A driver of your own needs the six required methods; through a resource it gets
//! waits, cursors, lifecycle and observers.

mod linear;
mod mem;
mod mmap;
mod part;
mod ring;

pub(crate) use linear::{Linear, write_missing};
pub use mem::{MemDriver, MemOptions};
pub use mmap::{MmapDriver, MmapOptions, OpenMode};
pub use part::{Leftover, Resume};
pub(crate) use ring::Placed;
pub use ring::{PREAMBLE_MAX, RingDriver, RingOptions};

use crate::{CancelToken, StorageResult};
use rangemap::RangeSet;
use std::{any::Any, ops::Range, path::Path};

/// Raw byte I/O. All methods take `&self`: a driver sees to its own interior mutability.
///
/// A [`Resource`](crate::Resource) calls the writing methods (`write_at`, `notify_write`, `commit`, `reactivate`) from
/// one thread at a time, the others from any number.
#[cfg_attr(feature = "mock", unimock::unimock(api = DriverIoMock))]
pub trait DriverIo: Any + Send + Sync {
    /// Makes the store final. `Some(final_len)` is its length, and the bytes beyond are dropped. `None` drops nothing: the
    /// store ends where the furthest byte ends, be it of this generation or inherited from those before. A resource whose
    /// length was given says `None` only when it has all those bytes.
    ///
    /// # Errors
    /// If the store cannot be made final. The resource then fails with that reason.
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()>;

    /// Called after `range` was written and published, before anybody is woken. Must not block.
    fn notify_write(&self, _range: &Range<u64>) {}

    /// The file behind the store, if there is one.
    fn path(&self) -> Option<&Path>;

    /// Opens the committed store for writing again. Without a window, the resource may then write bytes anew that are there:
    /// once each, while others read them.
    ///
    /// # Errors
    /// If it cannot be. The resource then stays as it was.
    fn reactivate(&self) -> StorageResult<()>;

    /// Reads at `offset`, not beyond `effective_len` (the smaller of the final length and [`storage_len`](Self::storage_len)),
    /// and returns how many bytes it put into `buf`.
    ///
    /// The resource asks only for bytes that are there, and checks [`valid_window`](Self::valid_window) again afterwards.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize>;

    /// The offset at which the store ends now. For a ring: the end of its window, not its capacity.
    fn storage_len(&self) -> u64;

    /// `true` if `range` is definitely there. A hint that spares the resource a lock; `false` means nothing.
    fn try_fast_check(&self, _range: &Range<u64>) -> bool {
        false
    }

    /// The offsets that can be read, for a store that forgets; `None` if all that is written is kept.
    ///
    /// Which of the two it is does not change over the life of a driver. With a window, the window says what is there,
    /// and the resource keeps no account of its own. Its start never goes back.
    fn valid_window(&self) -> Option<Range<u64>> {
        None
    }

    /// How many bytes can be written at `offset` now; 0 makes a writer wait, looking again every few milliseconds.
    fn room(&self, _offset: u64) -> u64 {
        u64::MAX
    }

    /// Writes all of `data` at `offset`. `committed` says whether the resource is committed; a store that takes no
    /// more bytes then answers [`StorageError::Committed`](crate::StorageError::Committed).
    ///
    /// # Errors
    /// If not all could be written. The resource then fails with that reason.
    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()>;

    /// Makes durable what was written so far, and says how many bytes of it were not. For a store that survives; others
    /// have nothing to do.
    ///
    /// # Errors
    /// What the medium says. The bytes stay written, and may or may not survive.
    fn flush(&self) -> StorageResult<u64> {
        Ok(0)
    }

    /// Whether a write to the committed store begins a next generation by itself, as if
    /// [`Resource::reactivate`](crate::Resource::reactivate) had been called.
    fn rewrites(&self) -> bool {
        false
    }
}

/// A driver that is chosen at run time, as in [`Resource::open_any`](crate::Resource::open_any): one type of handle
/// for all of them. Each operation costs an indirect call more.
pub type AnyDriver = Box<dyn DriverIo>;

impl DriverIo for AnyDriver {
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        (**self).commit(final_len)
    }

    fn notify_write(&self, range: &Range<u64>) {
        (**self).notify_write(range);
    }

    fn path(&self) -> Option<&Path> {
        (**self).path()
    }

    fn reactivate(&self) -> StorageResult<()> {
        (**self).reactivate()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        (**self).read_at(offset, buf, effective_len)
    }

    fn storage_len(&self) -> u64 {
        (**self).storage_len()
    }

    fn try_fast_check(&self, range: &Range<u64>) -> bool {
        (**self).try_fast_check(range)
    }

    fn valid_window(&self) -> Option<Range<u64>> {
        (**self).valid_window()
    }

    fn room(&self, offset: u64) -> u64 {
        (**self).room(offset)
    }

    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()> {
        (**self).write_at(offset, data, committed)
    }

    fn flush(&self) -> StorageResult<u64> {
        (**self).flush()
    }

    fn rewrites(&self) -> bool {
        (**self).rewrites()
    }
}

/// The drivers whose inside the handles know, and the others.
pub(crate) enum Kind<'a> {
    Ring(&'a RingDriver),
    Linear(&'a dyn Linear),
    Foreign,
}

/// Which of them it is: known when the program is compiled, but for [`AnyDriver`].
#[inline]
pub(crate) fn kind<D: DriverIo>(driver: &D) -> Kind<'_> {
    let mut driver: &dyn Any = driver;
    if let Some(any) = driver.downcast_ref::<AnyDriver>() {
        driver = &**any;
    }
    if let Some(ring) = driver.downcast_ref::<RingDriver>() {
        Kind::Ring(ring)
    } else if let Some(mem) = driver.downcast_ref::<MemDriver>() {
        Kind::Linear(mem)
    } else if let Some(mmap) = driver.downcast_ref::<MmapDriver>() {
        Kind::Linear(mmap)
    } else {
        Kind::Foreign
    }
}

/// How a driver is made from its options.
pub trait Driver: DriverIo + Sized {
    /// What it needs to know.
    type Options: Send;

    /// Opens or creates the store, and says what is in it.
    ///
    /// # Errors
    /// If it can be neither opened nor created; nothing is left behind then.
    fn open(options: Self::Options) -> StorageResult<(Self, DriverState)>;

    /// As [`open`](Self::open), which the default calls. A driver whose open takes a while overrides this, and asks
    /// `cancel` meanwhile.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`StorageError::Cancelled`](crate::StorageError::Cancelled).
    fn open_cancellable(options: Self::Options, _cancel: &CancelToken) -> StorageResult<(Self, DriverState)> {
        Self::open(options)
    }
}

/// Options that name their driver, so that `Resource::open(cancel, MyOptions { .. })` needs no annotation.
///
/// ```
/// # use roundelay::*;
/// # use std::{ops::Range, path::Path};
/// # struct MyDriver; struct MyOptions;
/// # impl DriverIo for MyDriver {
/// #     fn commit(&self, _: Option<u64>) -> StorageResult<()> { Ok(()) }
/// #     fn path(&self) -> Option<&Path> { None }
/// #     fn reactivate(&self) -> StorageResult<()> { Ok(()) }
/// #     fn read_at(&self, _: u64, _: &mut [u8], _: u64) -> StorageResult<usize> { Ok(0) }
/// #     fn storage_len(&self) -> u64 { 0 }
/// #     fn write_at(&self, _: u64, _: &[u8], _: bool) -> StorageResult<()> { Ok(()) }
/// # }
/// # impl Driver for MyDriver {
/// #     type Options = MyOptions;
/// #     fn open(_: MyOptions) -> StorageResult<(Self, DriverState)> { Ok((MyDriver, DriverState::default())) }
/// # }
/// impl OpenOptions for MyOptions { type Driver = MyDriver; }
///
/// let resource = Resource::open(CancelToken::new(), MyOptions)?;
/// # Ok::<(), StorageError>(())
/// ```
pub trait OpenOptions: Send + Sized {
    /// The driver that these options open.
    type Driver: Driver<Options = Self>;
}

/// What a driver found when it was opened.
#[derive(Clone, Debug, Default)]
pub struct DriverState {
    /// The length of the whole, if it is known. A [`Reader`](crate::Reader) or [`Cursor`](crate::Cursor) finds the end there
    /// (a [`Gate`](crate::Gate) waits for the verdict), and a write beyond is
    /// [`StorageError::BeyondLength`](crate::StorageError::BeyondLength).
    pub final_len: Option<u64>,
    /// What is there already. Not asked of a driver with a window.
    pub available: RangeSet<u64>,
    /// Whether it is complete.
    pub is_committed: bool,
}

impl DriverState {
    /// A complete store of `len` bytes.
    fn committed(len: u64) -> Self {
        let available = (len > 0).then_some(0..len).into_iter().collect();
        Self { final_len: Some(len), available, is_committed: true }
    }
}
