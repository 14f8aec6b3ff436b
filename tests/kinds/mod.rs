//! The kinds of driver over which the contract holds: the crate's own, two that a user might write, and drivers chosen
//! at run time.
#![allow(dead_code)] // each test binary uses what it needs

#[path = "../linear/scratch.rs"]
mod scratch;

use roundelay::{
    AnyDriver, AvailabilityObserver, CancelToken, Driver, DriverIo, DriverState, MemDriver, MemOptions, MmapDriver,
    MmapOptions, OpenOptions, Resource, RingDriver, RingOptions, StorageError, StorageResult,
};
pub use scratch::Scratch;
use std::{
    cell::Cell,
    marker::PhantomData,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

/// How many bytes the kinds that forget can hold.
pub const CAPACITY: usize = 64;

/// A kind of driver, fresh and empty.
pub trait Kind: 'static {
    type Driver: DriverIo;

    /// Whether it keeps no more than [`CAPACITY`] bytes.
    const FORGETS: bool;

    fn driver() -> Self::Driver;

    fn open() -> Resource<Self::Driver> {
        Self::open_with(CancelToken::new()).expect("the token is not cancelled")
    }

    fn open_with(cancel: CancelToken) -> StorageResult<Resource<Self::Driver>> {
        Resource::from_driver(cancel, Self::driver(), DriverState::default())
    }

    fn open_observed(observer: Arc<dyn AvailabilityObserver>) -> Resource<Self::Driver> {
        Resource::from_driver_observed(CancelToken::new(), Self::driver(), DriverState::default(), observer)
            .expect("the token is not cancelled")
    }
}

/// The crate's own ring.
pub struct Ring;

impl Kind for Ring {
    type Driver = RingDriver;
    const FORGETS: bool = true;

    fn driver() -> RingDriver {
        RingDriver::open(RingOptions::new(CAPACITY)).expect("it is small").0
    }
}

/// The crate's own store in memory.
pub struct Mem;

impl Kind for Mem {
    type Driver = MemDriver;
    const FORGETS: bool = false;

    fn driver() -> MemDriver {
        MemDriver::open(MemOptions::default()).expect("it is small").0
    }
}

/// The crate's own store in a file.
pub struct Mmap;

impl Kind for Mmap {
    type Driver = MmapDriver;
    const FORGETS: bool = false;

    /// In a folder that goes with the thread of the test.
    fn driver() -> MmapDriver {
        thread_local! {
            static FOLDER: Scratch = Scratch::new();
            static FILES: Cell<u32> = const { Cell::new(0) };
        }
        let name = FILES.replace(FILES.get() + 1).to_string();
        MmapDriver::open(MmapOptions::new(FOLDER.with(|folder| folder.path(&name)))).expect("there is room for it").0
    }
}

/// Another kind, chosen at run time.
pub struct Any<K>(PhantomData<K>);

impl<K: Kind> Kind for Any<K> {
    type Driver = AnyDriver;
    const FORGETS: bool = K::FORGETS;

    fn driver() -> AnyDriver {
        Box::new(K::driver())
    }
}

/// A user's own store that keeps everything.
pub struct OwnLinear;

impl Kind for OwnLinear {
    type Driver = Linear;
    const FORGETS: bool = false;

    fn driver() -> Linear {
        Linear::default()
    }
}

/// A user's own store that forgets.
pub struct OwnWindow;

impl Kind for OwnWindow {
    type Driver = Windowed;
    const FORGETS: bool = true;

    fn driver() -> Windowed {
        Windowed::new(CAPACITY)
    }
}

/// Makes a test of each claim over each kind.
#[allow(unused_macros)] // as above
macro_rules! over_every_kind {
    ($($claim:ident),* $(,)?) => {
        crate::kinds::over_every_kind!(@ ring: crate::kinds::Ring, $($claim)*);
        crate::kinds::over_every_kind!(@ mem: crate::kinds::Mem, $($claim)*);
        crate::kinds::over_every_kind!(@ mmap: crate::kinds::Mmap, $($claim)*);
        crate::kinds::over_every_kind!(@ any_ring: crate::kinds::Any<crate::kinds::Ring>, $($claim)*);
        crate::kinds::over_every_kind!(@ any_mmap: crate::kinds::Any<crate::kinds::Mmap>, $($claim)*);
        crate::kinds::over_every_kind!(@ own_linear: crate::kinds::OwnLinear, $($claim)*);
        crate::kinds::over_every_kind!(@ own_window: crate::kinds::OwnWindow, $($claim)*);
    };
    (@ $name:ident: $kind:ty, $($claim:ident)*) => {
        mod $name {
            $(#[test] fn $claim() { crate::threads::must_end(super::$claim::<$kind>); })*
        }
    };
}
#[allow(unused_imports)] // as above
pub(crate) use over_every_kind;

/// A vector behind a mutex, with no default overridden.
#[derive(Default)]
pub struct Linear(Mutex<Vec<u8>>);

impl Linear {
    pub fn holding(bytes: &[u8]) -> Self {
        Self(Mutex::new(bytes.to_vec()))
    }

    pub fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }
}

impl DriverIo for Linear {
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        if let Some(len) = final_len {
            self.bytes().truncate(len as usize);
        }
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn reactivate(&self) -> StorageResult<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        let bytes = self.bytes();
        let end = effective_len.min(bytes.len() as u64);
        let n = end.saturating_sub(offset).min(buf.len() as u64) as usize;
        buf[..n].copy_from_slice(&bytes[offset as usize..][..n]);
        Ok(n)
    }

    fn storage_len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()> {
        if committed {
            return Err(StorageError::Committed);
        }
        let mut bytes = self.bytes();
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }
}

/// What opens a [`Linear`].
pub struct LinearOptions {
    pub found: Vec<u8>,
}

impl OpenOptions for LinearOptions {
    type Driver = Linear;
}

impl Driver for Linear {
    type Options = LinearOptions;

    fn open(options: LinearOptions) -> StorageResult<(Self, DriverState)> {
        let mut state = DriverState::default();
        if !options.found.is_empty() {
            state.available.insert(0..options.found.len() as u64);
        }
        Ok((Self::holding(&options.found), state))
    }
}

/// The last bytes of a stream in a vector behind a mutex. Overrides `valid_window`, and nothing else.
pub struct Windowed {
    capacity: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    start: u64,
    bytes: Vec<u8>,
}

impl Kept {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Windowed {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

impl DriverIo for Windowed {
    fn commit(&self, _: Option<u64>) -> StorageResult<()> {
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn reactivate(&self) -> StorageResult<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        let kept = self.kept();
        let Some(at) = offset.checked_sub(kept.start) else {
            return Ok(0); // evicted meanwhile; the resource finds out by the window
        };
        let end = effective_len.min(kept.end());
        let n = end.saturating_sub(offset).min(buf.len() as u64) as usize;
        buf[..n].copy_from_slice(&kept.bytes[at as usize..][..n]);
        Ok(n)
    }

    fn storage_len(&self) -> u64 {
        self.kept().end()
    }

    fn valid_window(&self) -> Option<Range<u64>> {
        let kept = self.kept();
        Some(kept.start..kept.end())
    }

    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()> {
        if committed {
            return Err(StorageError::Committed);
        }
        let mut kept = self.kept();
        if offset > kept.end() {
            *kept = Kept { start: offset, bytes: Vec::new() };
        }
        // Where it overlaps, it writes over what is there, as a naive store does.
        let at = offset.saturating_sub(kept.start) as usize;
        let skip = kept.start.saturating_sub(offset) as usize;
        let data = data.get(skip..).unwrap_or_default();
        let overlap = data.len().min(kept.bytes.len() - at);
        kept.bytes[at..at + overlap].copy_from_slice(&data[..overlap]);
        kept.bytes.extend_from_slice(&data[overlap..]);
        let excess = kept.bytes.len().saturating_sub(self.capacity);
        kept.bytes.drain(..excess);
        kept.start += excess as u64;
        Ok(())
    }
}
