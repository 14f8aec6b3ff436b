//! Errors: rich ones for those who can wait, `Copy` ones for a callback.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A stretch of stream offsets, `start..end` in bytes. `Range<u64>`, but `Copy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First offset inside.
    pub start: u64,
    /// First offset behind.
    pub end: u64,
}

impl Span {
    /// The number of bytes; 0 for an inverted span.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is no byte inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `offset` lies inside.
    #[must_use]
    pub fn contains(&self, offset: u64) -> bool {
        self.start <= offset && offset < self.end
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

impl From<Range<u64>> for Span {
    fn from(range: Range<u64>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl From<Span> for Range<u64> {
    fn from(span: Span) -> Self {
        span.start..span.end
    }
}

/// Why a read that does not wait has no bytes. `Copy` and without text, so that a real-time callback can handle it.
///
/// None of these changes anything: the same read can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nobody has written the bytes yet. Try again later, or wait. (Over a store that keeps everything also of bytes that
    /// only a lock tells of; see [`Reader::try_read_at`](crate::Reader::try_read_at).)
    #[error("the bytes are not there yet")]
    NotYet,
    /// The bytes have left the window. `window` is what there was instead when this was found out.
    #[error("the bytes were evicted; the window is {window}")]
    Evicted {
        /// The window at that moment.
        window: Span,
    },
    /// The resource is committed and ends before these bytes.
    #[error("the stream has ended")]
    Ended,
    /// The writer failed before it wrote these bytes; `status()` has the reason.
    #[error("the writer failed before it wrote these bytes")]
    Failed,
    /// The resource was cancelled before these bytes were written.
    #[error("cancelled before these bytes were written")]
    Cancelled,
}

/// Result type of everything that may wait, allocate or do I/O.
pub type StorageResult<T> = Result<T, StorageError>;

/// Errors of storage operations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// An operation on the backing store failed.
    #[error("I/O failed: {0}")]
    Io(#[from] io::Error),

    /// The range ends before it starts.
    #[error("invalid range {start}..{end}: it ends before it starts")]
    InvalidRange {
        /// First offset of the range.
        start: u64,
        /// The end that lies before it.
        end: u64,
    },

    /// A write, a wait or a final length would go past [`MAX_OFFSET`](crate::MAX_OFFSET). Nothing was changed.
    #[error("offset {offset} + {len} bytes is past the largest stream offset")]
    OffsetOverflow {
        /// Where the bytes were to go.
        offset: u64,
        /// How many there were.
        len: u64,
    },

    /// A store cannot be made with these options.
    #[error(transparent)]
    InvalidOptions(#[from] InvalidOptions),

    /// Memory could not be allocated. Nothing was changed.
    #[error("out of memory: {bytes} bytes could not be allocated")]
    OutOfMemory {
        /// How much was asked of the system. A store that keeps everything grows by segments, each as long as all before it:
        /// that may be far more than was to be written.
        bytes: usize,
    },

    /// The disk is full. Nothing was changed: make room, and try again.
    #[error("the disk is full: no room for {} of {}", Bytes(*.bytes), .path.display())]
    DiskFull {
        /// The file that was to grow.
        path: PathBuf,
        /// How much was asked for, or 0 if it was not for data.
        bytes: u64,
    },

    /// This file is being written, in this process or another. It is unharmed.
    #[error("{} is being written by {}; try again when that has finished", .path.display(), Holder(*.pid))]
    Locked {
        /// The unfinished file that is locked.
        path: PathBuf,
        /// The process that has the lock, where the system tells (Linux): this one's number, if it is this one.
        pid: Option<u32>,
    },

    /// The file was to be read only, and is not complete: only an unfinished file is there.
    #[error("{} is not complete: {}", .path.display(), Unfinished(.part, *.pid))]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// Its unfinished file.
        part: PathBuf,
        /// The process that writes it, where the system tells (Linux). `None`: nobody does, or it is not known.
        pid: Option<u32>,
    },

    /// The folder that the file was to lie in does not exist. Nothing was changed.
    #[error("{} cannot be opened: the folder {} does not exist; create it first", .path.display(), .folder.display())]
    FolderMissing {
        /// The file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },

    /// An unfinished file, or its index, lost its name while it was written. What was written can be read until the
    /// resource is dropped; nothing of it can be resumed. Without its unfinished file it cannot be committed either.
    #[error("{} was removed or renamed while it was written; what was written cannot be resumed", .path.display())]
    Removed {
        /// The name that is gone.
        path: PathBuf,
    },

    /// The file would be longer than this process may make one. Nothing was changed: raise the limit, and try again.
    #[error(
        "{} cannot grow to {end} bytes: this process may write {limit} bytes (ulimit -f); raise the limit",
        .path.display()
    )]
    FileSizeLimit {
        /// The file that was to grow.
        path: PathBuf,
        /// How long it was to be.
        end: u64,
        /// How long it may be.
        limit: u64,
    },

    /// The path names something that cannot hold a stream. Nothing was changed.
    #[error("{} is {what}", Name(.path))]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there, in words.
        what: &'static str,
    },

    /// Something could not be done with a file.
    #[error("cannot {doing} {}: {source}", Name(.path))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: a verb.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },

    /// A complete file has another length than the one asked for. Nothing was changed.
    #[error("{} has {found} bytes, and {wanted} were wanted", .path.display())]
    LengthDiffers {
        /// The file.
        path: PathBuf,
        /// How long it is.
        found: u64,
        /// How long it was to be.
        wanted: u64,
    },

    /// The file was opened to be read only. Nothing was changed.
    #[error("the file was opened to be read only")]
    ReadOnly,

    /// The bytes would go past the capacity of the store. Nothing was changed.
    #[error("the store would have to hold {needed} bytes, and its capacity is {capacity}")]
    CapacityExceeded {
        /// Where the bytes would end.
        needed: u64,
        /// The most that it may hold.
        capacity: u64,
    },

    /// The bytes would go past the length that the store was opened with. Nothing was changed.
    #[error("the bytes would end at {end}, and the whole was to have {len}")]
    BeyondLength {
        /// Where the bytes would end.
        end: u64,
        /// The length.
        len: u64,
    },

    /// More bytes were asked for at once than the window can ever hold.
    #[error("{requested} bytes were asked for at once, and the window holds {capacity}; ask for less")]
    RangeTooLarge {
        /// The length that was asked for.
        requested: u64,
        /// The capacity of the window.
        capacity: u64,
    },

    /// The bytes have left the window and will not come back. Go on inside `window`.
    #[error("offset {offset} was evicted; the window is {window}")]
    Evicted {
        /// The offset that was asked for.
        offset: u64,
        /// The window when this was found out.
        window: Span,
    },

    /// The resource is committed: it takes no more bytes.
    #[error("the resource is committed; call `reactivate` to write on")]
    Committed,

    /// The resource is still being written; only one that is over can be reactivated.
    #[error("the resource is active; commit, fail or cancel it first")]
    Active,

    /// The resource failed; this is the reason.
    #[error("the resource failed: {0}")]
    Failed(Arc<StorageError>),

    /// The resource, or the token that it was opened with, was cancelled.
    #[error("the operation was cancelled")]
    Cancelled,

    /// The wait was ended by its interrupter. Nothing was changed; the same call can be made again.
    #[error("the wait was interrupted")]
    Interrupted,

    /// The timeout passed first. Nothing was changed; the same call can be made again.
    #[error("the wait timed out")]
    TimedOut,

    /// There is a writer already. Drop that one first.
    #[error("the resource has a writer already; there can be one at a time")]
    WriterTaken,

    /// Nobody can write the rest: the writer (or the last fetcher and claim) was dropped without `commit`, or the resource
    /// before anybody took its writer. [`Resource::reactivate`](crate::Resource::reactivate) begins anew.
    #[error(
        "nobody is left to write the rest: the writer was dropped before `commit`, or the resource before its writer was taken"
    )]
    WriterDropped,

    /// A commit would seal a hole. Nothing was changed: fill the hole, or commit at its start.
    #[error("cannot commit: the bytes {hole} were never written")]
    Hole {
        /// The first stretch that is missing.
        hole: Span,
    },

    /// A ring can be committed only where it ends. Nothing was changed.
    #[error("cannot commit a ring at {final_len}: it ends at {end}")]
    NotLiveEdge {
        /// The length that was asked for.
        final_len: u64,
        /// Where the ring ends.
        end: u64,
    },

    /// The bytes to pin are more than the preamble holds. The old preamble stays.
    #[error("a preamble holds {max} bytes, and {len} were given")]
    PreambleTooLarge {
        /// How many were given.
        len: usize,
        /// How many fit.
        max: usize,
    },

    /// A gate was asked for outside the window.
    #[error("a gate cannot be placed at {offset}: the window is {window}")]
    OutsideWindow {
        /// Where the gate was to be.
        offset: u64,
        /// The window.
        window: Span,
    },

    /// A seek to before the start of the stream, or relative to an end that is not known yet.
    #[error("invalid seek: {0}")]
    InvalidSeek(&'static str),

    /// The operation needs more than this driver offers.
    #[error("this driver cannot do that: {0}")]
    Unsupported(&'static str),

    /// A driver broke its contract. The bytes of this call cannot be trusted and were discarded.
    #[error("the driver broke its contract: {0}")]
    Driver(&'static str),

    /// A reason in the words of whoever failed the resource.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A path that may be empty, in words.
struct Name<'a>(&'a Path);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_os_str().is_empty() {
            true => f.write_str("an empty path"),
            false => self.0.display().fmt(f),
        }
    }
}

/// An amount that may be unknown (0), in words.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("more"),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

/// A process that writes, in words.
struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) if pid == std::process::id() => f.write_str("this process"),
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another writer"),
        }
    }
}

/// What becomes of an unfinished file, in words.
struct Unfinished<'a>(&'a Path, Option<u32>);

impl fmt::Display for Unfinished<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part, pid) = self;
        match pid {
            Some(_) => write!(f, "{} writes it, to {}; try again when that has finished", Holder(*pid), part.display()),
            None => write!(f, "{} holds what has been written of it; finish it first", part.display()),
        }
    }
}

/// Options with which no store can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOptions {
    /// A ring of no bytes holds nothing.
    #[error("a ring of capacity 0 holds nothing; give at least 1 byte")]
    ZeroCapacity,
    /// More than an allocation can have.
    #[error("a capacity of {0} bytes is more than an allocation can have")]
    CapacityTooLarge(u64),
    /// The stream would start past the largest offset.
    #[error("a stream cannot start at {0}: that is past the largest stream offset")]
    StartTooLarge(u64),
    /// The whole would end past the largest offset.
    #[error("a length of {0} bytes is past the largest stream offset")]
    LengthTooLarge(u64),
    /// The bytes that a store is to start with are not as many as it is to have.
    #[error("{initial} initial bytes for a store of {len}")]
    InitialLength {
        /// How many bytes were given.
        initial: u64,
        /// How long the store was to be.
        len: u64,
    },
    /// A tag longer than an index holds.
    #[error("a tag of {len} bytes; give at most {max}")]
    TagTooLong {
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// No channels, or a frame larger than any format has.
    #[error("{0} channels: give 1 to 1024")]
    Channels(usize),
    /// A rate of nothing.
    #[error("a sample rate of {0} Hz: give 1 to 10,000,000")]
    Rate(u32),
    /// More than an allocation can have.
    #[error("a capacity of {0} frames, with the history, is more than an allocation can have")]
    TooManyFrames(usize),
    /// No frames of room.
    #[error("a capacity of 0 frames holds nothing; give at least 1 frame")]
    ZeroFrames,
}

impl StorageError {
    /// A failure in the caller's own words or error type.
    ///
    /// ```
    /// use roundelay::StorageError;
    /// assert_eq!(StorageError::other("the station went away").to_string(), "the station went away");
    /// ```
    #[must_use]
    pub fn other(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(reason.into())
    }

    /// The kind under which this error travels through `std::io`.
    ///
    /// Never a kind that says something to readers which is not so, whatever the cause inside is of:
    /// [`io::ErrorKind::Interrupted`] (`read_exact` and its like try again, for ever), [`io::ErrorKind::WouldBlock`] (they
    /// come back later), [`io::ErrorKind::UnexpectedEof`] (they take it for the end of the stream).
    fn io_kind(&self) -> io::ErrorKind {
        match self.kind_of_cause() {
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::UnexpectedEof => {
                io::ErrorKind::Other
            }
            kind => kind,
        }
    }

    fn kind_of_cause(&self) -> io::ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::File { source, .. } => source.kind(),
            Self::DiskFull { .. } => io::ErrorKind::StorageFull,
            Self::Locked { .. } | Self::Unfinished { .. } => io::ErrorKind::ResourceBusy,
            Self::FolderMissing { .. } | Self::Removed { .. } => io::ErrorKind::NotFound,
            Self::ReadOnly => io::ErrorKind::PermissionDenied,
            Self::CapacityExceeded { .. } | Self::BeyondLength { .. } | Self::FileSizeLimit { .. } => {
                io::ErrorKind::FileTooLarge
            }
            Self::Failed(reason) => reason.kind_of_cause(),
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::Cancelled => io::ErrorKind::ConnectionAborted,
            Self::WriterDropped => io::ErrorKind::BrokenPipe,
            Self::OutOfMemory { .. } => io::ErrorKind::OutOfMemory,
            Self::Unsupported(_) => io::ErrorKind::Unsupported,
            Self::InvalidRange { .. }
            | Self::InvalidSeek(_)
            | Self::InvalidOptions(_)
            | Self::NotAFile { .. }
            | Self::OffsetOverflow { .. }
            | Self::RangeTooLarge { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        }
    }
}

/// The error stays inside: `io::Error::get_ref` and `downcast` find it.
impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = error.io_kind();
        match error {
            StorageError::Io(cause) if cause.kind() == kind => cause,
            error => Self::new(kind, error),
        }
    }
}

/// The error stays inside, as with [`StorageError`].
impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match error {
            ReadError::NotYet => io::ErrorKind::WouldBlock,
            ReadError::Ended => io::ErrorKind::UnexpectedEof,
            ReadError::Cancelled => io::ErrorKind::ConnectionAborted,
            ReadError::Failed | ReadError::Evicted { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// How a wait for a range ended.
#[must_use = "a wait may have ended without its range"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitOutcome {
    /// The range can be read, as far as the resource goes.
    Ready,
    /// The range starts at or behind the end of the resource: where it was committed, or at the length that was given.
    Eof,
    /// An [`Interrupter`](crate::Interrupter) ended the wait.
    Interrupted,
    /// The timeout passed first.
    TimedOut,
}

/// The state of a resource.
#[derive(Clone, Debug)]
pub enum ResourceStatus {
    /// It is being written.
    Active,
    /// It is complete.
    Committed {
        /// Where it ends, in bytes from the start of the stream; of [`pcm`](crate::pcm), in frames.
        final_len: u64,
    },
    /// It will never be complete. What was written before stays readable.
    Failed(Arc<StorageError>),
    /// It was cancelled before it was committed or failed.
    Cancelled,
}

impl PartialEq for ResourceStatus {
    /// Two failures are equal if they are one and the same failure.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Active, Self::Active) | (Self::Cancelled, Self::Cancelled) => true,
            (Self::Committed { final_len: a }, Self::Committed { final_len: b }) => a == b,
            (Self::Failed(a), Self::Failed(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Eq for ResourceStatus {}

impl fmt::Display for ResourceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Committed { final_len } => write!(f, "committed, length {final_len}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}
