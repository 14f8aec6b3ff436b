//! A lock-free ring-buffer streaming engine for audio: one side writes a byte stream, any number of others read it
//! anywhere inside a bounded window, or, over a store that keeps everything, anywhere at all.
//!
//! ```text
//!         evicted      │◀───────────── window: valid_window() ─────────────▶│   not there yet
//!    ──────────────────┼────────────────────────────────────────────────────┼──────────────────
//!                    start       ▲ follower        ▲ reader     ▲ gate      end ◀── writer
//! ```
//!
//! - [`Resource`] is the stream. It hands out one [`Writer`], and any number of [`Reader`]s (anywhere), [`Cursor`]s
//!   (reading on, may be lapped) and [`Gate`]s (reading on, holding the writer back).
//! - [`RingDriver`] keeps the last bytes in memory. [`MemDriver`] and [`MmapDriver`], a file, keep all of them, written in
//!   any order, by several connections at once if need be ([`Fetcher`]). A [`DriverIo`] of your own goes through the same
//!   resource; code that reads does not know which it is, at compile time or at run time ([`AnyDriver`]).
//! - [`pcm`] has typed frames for audio callbacks.
//!
//! # May I call this in the callback?
//!
//! Each item says so under "Real-time". *Wait-free* means that every call ends in a bounded number of steps, whatever
//! other threads do; *lock-free* and *blocking* are weaker, and so named. In short, over a ring (over a store that keeps
//! everything: [`Reader::try_read_at`], [`Cursor::try_read`] and the seeks):
//!
//! | yes | no |
//! |---|---|
//! | [`Reader::try_read_at`], [`Cursor::try_read`], [`Gate::slices`] | `read`, `read_at`, `wait`, everything with a timeout |
//! | [`Reader::valid_window`], [`Reader::contains_range`], counts | [`Reader::available`], [`Reader::preamble`] |
//! | [`pcm::PcmReader::fill`], [`pcm::Tap::latest`], [`pcm::PcmWriter::try_write`] | [`pcm::PcmWriter::write`], [`pcm::PcmControl::seek`] |
//! | [`Writer::try_append`] and [`Gate`], with [`Publication::Silent`] | making and dropping handles |
//!
//! # Offsets
//!
//! All offsets are bytes from the start of the stream, and only grow, up to [`MAX_OFFSET`]. A media seek backwards is a
//! new stretch above the live edge.
//!
//! # Platforms
//!
//! Linux in full. Windows passes the tests under Wine (`ci/windows.sh`); macOS compiles and was never run. Their timed
//! waits sleep in slices of at most 5 ms. `--cfg loom` is for the model tests; `--cfg roundelay_written_out` copies byte by
//! byte, for sanitizers that do not see into assembler.
#![deny(unsafe_code)]

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
compile_error!("roundelay sleeps on futexes, and knows those of Linux, macOS and Windows only");

mod adapters;
mod cancel;
#[allow(unsafe_code)] // shared bytes and copy kernels
mod cells;
mod coverage;
mod cursor;
mod disk;
mod driver;
mod error;
mod fetcher;
mod gate;
mod index;
mod lifecycle;
mod observer;
pub mod pcm;
mod reader;
mod ready;
mod resource;
mod segments;
mod state;
mod store;
mod sync;
mod wait;
mod window;
mod writer;

pub use cancel::CancelToken;
pub use cursor::{Cursor, OnLap};
/// A driver made of expectations, by [`unimock`](https://docs.rs/unimock): for tests of what happens above a driver that
/// fails.
///
/// What the test does not mention and has a default does what it does by default; any other call is a panic.
///
/// ```
/// use roundelay::{CancelToken, DriverIoMock, DriverState, Resource, StorageError};
/// use unimock::{MockFn, Unimock, matching};
///
/// let driver = Unimock::new((
///     DriverIoMock::write_at.each_call(matching!(_, _, _)).answers(&|_, _offset, _data, _committed| Ok(())),
///     DriverIoMock::commit.next_call(matching!(Some(3))).answers(&|_, _| Err(StorageError::other("the disk broke"))),
/// ));
/// let resource = Resource::from_driver(CancelToken::new(), driver, DriverState::default())?;
/// let mut writer = resource.writer()?;
/// writer.append(b"abc")?;
/// assert_eq!(writer.commit(Some(3)).unwrap_err().to_string(), "the resource failed: the disk broke");
/// # Ok::<(), StorageError>(())
/// ```
#[cfg(feature = "mock")]
pub use driver::DriverIoMock;
pub use driver::{
    AnyDriver, Driver, DriverIo, DriverState, Leftover, MemDriver, MemOptions, MmapDriver, MmapOptions, OpenMode,
    OpenOptions, PREAMBLE_MAX, Resume, RingDriver, RingOptions,
};
pub use error::{InvalidOptions, ReadError, ResourceStatus, Span, StorageError, StorageResult, WaitOutcome};
pub use fetcher::{Claim, Fetcher};
pub use gate::{Gate, Slices};
pub use index::IndexProblem;
pub use observer::AvailabilityObserver;
pub use reader::Reader;
pub use resource::Resource;
pub use wait::Interrupter;
pub use window::MAX_OFFSET;
pub use writer::{Publication, Writer};

/// The README's program compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

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
        coverage::{BLOCK, Coverage},
        gate::{GatePosition, Gates},
        lifecycle::{Life, Stage},
        ready::ReadyQueue,
        segments::{Medium, Segments},
        store::{Store, Strays},
        sync::{Deadline, Futex},
        wait::{Interrupts, Look, Patience, SLOTS, WaitTable, Waited, WakeAll},
        window::Window,
    };
}

/// What the fuzz targets look at.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::{
        coverage::{BLOCK, Coverage},
        index::{Header, IndexProblem, Parsed, Record, parse},
    };
}
