//! A lock-free ring-buffer streaming engine.
#![deny(unsafe_code)]

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
compile_error!("roundelay sleeps on futexes, and knows those of Linux, macOS and Windows only");

mod adapters;
mod cancel;
#[allow(unsafe_code)] // shared bytes and copy kernels
mod cells;
mod coverage;
mod cursor;
mod driver;
mod error;
mod gate;
mod lifecycle;
mod observer;
pub mod pcm;
mod reader;
mod resource;
mod sync;
mod wait;
mod window;
mod writer;

pub use cancel::CancelToken;
pub use cursor::{Cursor, OnLap};
pub use driver::{Driver, DriverIo, DriverState, OpenOptions, PREAMBLE_MAX, RingDriver, RingOptions};
pub use error::{InvalidOptions, ReadError, ResourceStatus, Span, StorageError, StorageResult, WaitOutcome};
pub use gate::{Gate, Slices};
pub use observer::AvailabilityObserver;
pub use reader::Reader;
pub use resource::Resource;
pub use wait::Interrupter;
pub use window::MAX_OFFSET;
pub use writer::{Publication, Writer};

/// Opens a resource that nothing needs to cancel; see [`Resource::open`].
///
/// # Errors
/// What the driver says of the options or the store.
pub fn open<O: OpenOptions>(options: O) -> StorageResult<Resource<O::Driver>> {
    Resource::open(CancelToken::new(), options)
}

/// What the model tests look at.
#[cfg(loom)]
#[doc(hidden)]
pub mod internals {
    pub use crate::{
        gate::{GatePosition, Gates},
        lifecycle::{Life, Stage},
        sync::{Deadline, Futex},
        wait::{Interrupts, Look, Patience, SLOTS, WaitTable, Waited, WakeAll},
        window::Window,
    };
}
