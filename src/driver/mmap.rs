//! A store in a file, mapped, that keeps all that is written.

use super::{
    Driver, DriverIo, DriverState, OpenOptions,
    linear::{self, Linear},
    part::{FlushError, Leftover, Opened, Part, Resume, Wanted, failed, not_opened, open_file, unfinished},
};
use crate::{
    CancelToken, InvalidOptions, MAX_OFFSET, StorageError, StorageResult,
    coverage::Coverage,
    disk::Access,
    index::{Header, TAG_MAX},
    ready::ReadyQueue,
    segments::{Medium, Segments},
    store::Store,
    sync::{AtomicU64, Ordering::*},
};
use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// What becomes of a file that is there already, and what may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// A file that is there is a committed store, which takes no writes until it is reactivated. Otherwise the store is
    /// new, or resumes `NAME.part`.
    #[default]
    Auto,
    /// As [`Auto`](Self::Auto), and a write to the committed store begins a next generation by itself.
    ReadWrite,
    /// The file must be there, and is never written.
    ReadOnly,
    /// The store is new, or resumes `NAME.part`; at its commit it takes the place of what has the name then.
    Replace,
}

/// Options of a [`MmapDriver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MmapOptions {
    /// The file, once it is complete: `NAME`. Until then there are `NAME.part` and `NAME.part.index` beside it. Its folder
    /// must exist: none is made.
    pub path: PathBuf,
    /// What becomes of a file that is there already.
    pub mode: OpenMode,
    /// How long the whole will be, if that is known. It is reserved on the disk at once, and a write beyond is an error; so
    /// is a commit without a length while bytes are missing, and so is a committed file of another length.
    pub len: Option<u64>,
    /// What tells one source from another, or from itself after a change: an ETag or the like, at most 1,024 bytes. It is
    /// stored as it is, in `NAME.part.index`, which only the owner may read; keep passwords out of it, or hash it.
    pub tag: Vec<u8>,
    /// Which unfinished file is resumed: without a tag none, unless this says so.
    pub resume: Resume,
    /// The writing thread makes what was written durable after so many bytes; without, only
    /// [`Resource::flush`](crate::Resource::flush) and the commit do.
    pub flush_every_bytes: Option<u64>,
}

impl MmapOptions {
    /// [`OpenMode::Auto`], of unknown length and without a tag, made durable every 32 MiB.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

/// As [`MmapOptions::new`], of no path yet.
impl Default for MmapOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            mode: OpenMode::Auto,
            len: None,
            tag: Vec::new(),
            resume: Resume::SameTag,
            flush_every_bytes: Some(32 << 20),
        }
    }
}

impl OpenOptions for MmapOptions {
    type Driver = MmapDriver;
}

/// A store in a file that keeps all that is written, in any order, and survives a crash.
///
/// - While it is written, the data are in `NAME.part`, under an exclusive lock. A commit syncs it, truncates it, renames
///   it to `NAME` and syncs the folder: whoever looks at `NAME` sees nothing or all of it.
/// - What was made durable (every few megabytes, see [`MmapOptions::flush_every_bytes`]) is listed in `NAME.part.index`.
///   After a crash the next open with the same [tag](MmapOptions::tag) resumes just that, each stretch held against its
///   checksum, which reads it once. Without a tag nothing is resumed, unless [`MmapOptions::resume`] asks for it.
/// - `NAME` and `NAME.part` both there: `NAME` wins, for it is complete, and `NAME.part` is left alone until somebody
///   writes. Only [`OpenMode::Replace`] resumes `NAME.part` then.
/// - The blocks are reserved before they are mapped: a full disk is an error of `open` or of a write. The resource stays
///   active: make room, and write on.
/// - Whatever cannot be resumed is set aside, to `NAME.part.old` and `NAME.part.index.old`, and
///   [`Resource::leftover`](crate::Resource::leftover) says so. Both are removed when `NAME` is complete, or when the disk
///   is full and their room is needed.
///   [`Resume::Never`] begins afresh, and [`MmapDriver::discard`] removes an unfinished file.
/// - `NAME.part` with a second name (a hard link) is refused, as links, pipes, devices and folders are.
/// - A generation after a commit (by [`Resource::reactivate`](crate::Resource::reactivate), or a write with
///   [`OpenMode::ReadWrite`]) starts with all the bytes of `NAME`, and is a file of its own: readers of `NAME` keep it. It is
///   all or nothing: after a crash it is gone, and `NAME` as it was. At its commit it takes the place of what has the name
///   then. Windows may refuse that for a file that is mapped: then the commit fails, and `NAME` stays as it was.
///
/// Nobody else may cut the files short while they are open: reading what is gone ends the process with a signal, as with
/// any mapping.
///
/// Under a limit to the size of files (`ulimit -f`), what would go beyond it is an error
/// ([`StorageError::FileSizeLimit`]): the limit is asked before each growth. A limit that is lowered between the two still
/// ends the process with `SIGXFSZ`; a program that expects that ignores the signal, and gets the error then, too.
///
/// # Real-time
/// Through a [`Reader`](crate::Reader), a read that does not wait is wait-free; it enters the kernel only where a page is
/// not in memory. Writing touches new pages, reserves blocks and syncs: not for a callback.
#[derive(Debug)]
pub struct MmapDriver {
    path: PathBuf,
    mode: OpenMode,
    flush_every: Option<u64>,
    current: RwLock<Generation>,
    ready: ReadyQueue,
    /// Bytes written since the last flush. A count that decides only when to flush.
    unflushed: AtomicU64,
    leftover: Mutex<Leftover>,
}

#[derive(Clone, Debug)]
struct Generation {
    store: Arc<Store>,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Written {
        part: Arc<Part>,
        /// It takes the place of what has the name when it is committed.
        replaces: bool,
    },
    Committed(u64),
}

impl Generation {
    fn committed(&self) -> Option<u64> {
        match self.phase {
            Phase::Committed(len) => Some(len),
            Phase::Written { .. } => None,
        }
    }
}

impl MmapDriver {
    /// Removes the unfinished file of `path` with all that belongs to it: `NAME.part`, whatever it holds, its index, and
    /// what was set aside from there. `NAME` itself stays. Says whether there was any of it.
    ///
    /// # Real-time
    /// Blocking: it removes files. Not for a callback.
    ///
    /// # Errors
    /// [`StorageError::Locked`] while somebody writes it; [`NotAFile`](StorageError::NotAFile),
    /// [`FolderMissing`](StorageError::FolderMissing), [`File`](StorageError::File).
    pub fn discard(path: impl AsRef<Path>) -> StorageResult<bool> {
        check_name(path.as_ref())?;
        Part::discard(path.as_ref())
    }

    fn flush_written(&self) -> Result<u64, FlushError> {
        // Held to the end: what the next generation writes is not to be taken for this one's.
        let current = self.current();
        let Phase::Written { part, .. } = &current.phase else { return Ok(0) };
        // Relaxed: see the field.
        self.unflushed.store(0, Relaxed);
        part.flush(&current.store, &self.ready)
    }

    fn current(&self) -> RwLockReadGuard<'_, Generation> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn current_mut(&self) -> RwLockWriteGuard<'_, Generation> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn new(options: MmapOptions, generation: Generation, leftover: Leftover) -> Self {
        Self {
            path: options.path,
            mode: options.mode,
            flush_every: options.flush_every_bytes,
            current: RwLock::new(generation),
            ready: ReadyQueue::new(),
            unflushed: AtomicU64::new(0),
            leftover: Mutex::new(leftover),
        }
    }

    /// The committed file `path`.
    fn open_committed(options: MmapOptions, file: File) -> StorageResult<(Self, DriverState)> {
        let path = &options.path;
        let len = file.metadata().map_err(|e| failed(path, "look at", e))?.len();
        if let Some(wanted) = options.len.filter(|&wanted| wanted != len) {
            return Err(StorageError::LengthDiffers { path: options.path, found: len, wanted });
        }
        let segments = Segments::new(Medium::File { file, writable: false }, len);
        segments.map(&(0..len)).map_err(|e| failed(path, "map", e))?;
        let generation = Generation { store: Arc::new(Store::whole(segments, len)), phase: Phase::Committed(len) };
        Ok((Self::new(options, generation, Leftover::None), DriverState::committed(len)))
    }

    /// An unfinished file, that of a store which replaces nothing or what has the name.
    fn open_part(options: MmapOptions, cancel: &CancelToken) -> StorageResult<(Self, DriverState)> {
        let header = Header { len: options.len, tag: options.tag.clone(), generation: false };
        let wanted = Wanted { header: &header, resume: options.resume, cancel };
        let Opened { part, len, available, leftover } = Part::open(&options.path, wanted)?;
        let replaces = options.mode == OpenMode::Replace;
        let look_again = || if replaces { Ok(None) } else { committed_file(&options) };
        let mapped = || -> StorageResult<Segments> {
            let segments = segments(&part, len)?;
            let mut ranges = available.iter();
            ranges.try_for_each(|range| segments.map(range)).map_err(|e| failed(&options.path, "map", e))?;
            Ok(segments)
        };
        match look_again().and_then(|file| Ok((file, mapped()?))) {
            Ok((None, segments)) => {
                let store = Arc::new(Store::new(segments, Coverage::from_ranges(&available)));
                let generation = Generation { store, phase: Phase::Written { part: Arc::new(part), replaces } };
                let state = DriverState { final_len: len, available, is_committed: false };
                Ok((Self::new(options, generation, leftover), state))
            }
            Ok((Some(file), _)) => {
                // Another writer has committed it between our first look and the lock.
                part.give_up();
                Self::open_committed(options, file)
            }
            Err(error) => {
                part.give_up();
                Err(error)
            }
        }
    }

    /// The generation after `before`, to be written.
    fn next(&self, before: &Generation) -> StorageResult<Generation> {
        Ok(match &before.phase {
            Phase::Written { .. } => Generation { store: Arc::new(before.store.resume()), ..before.clone() },
            &Phase::Committed(len) => {
                let header = Header { generation: true, ..Header::default() };
                let wanted = Wanted { header: &header, resume: Resume::SameTag, cancel: &CancelToken::new() };
                let Opened { part, leftover, .. } = Part::open(&self.path, wanted)?;
                *self.leftover.lock().unwrap_or_else(PoisonError::into_inner) = leftover;
                let store = Arc::new(before.store.rewrite(len, segments(&part, None)?));
                Generation { store, phase: Phase::Written { part: Arc::new(part), replaces: true } }
            }
        })
    }
}

fn segments(part: &Part, len: Option<u64>) -> StorageResult<Segments> {
    Ok(Segments::new(Medium::File { file: part.file()?, writable: true }, len.unwrap_or(MAX_OFFSET)))
}

/// The file of a store that is complete, if it is there; it must be, to be read only.
fn committed_file(options: &MmapOptions) -> StorageResult<Option<File>> {
    let path = &options.path;
    // Who only reads may come by a link. Who may write later would put a file in the link's place.
    let opened = match options.mode {
        OpenMode::ReadOnly => fs::canonicalize(path)
            .map_err(|e| not_opened(path, "open", e))
            .and_then(|path| open_file(&path, Access::Read)),
        _ => open_file(path, Access::Read),
    };
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(StorageError::File { source, .. })
            if source.kind() == io::ErrorKind::NotFound && options.mode != OpenMode::ReadOnly =>
        {
            Ok(None)
        }
        Err(error) => {
            let is_missing =
                matches!(&error, StorageError::File { source, .. } if source.kind() == io::ErrorKind::NotFound);
            Err(if is_missing { unfinished(path).unwrap_or(error) } else { error })
        }
    }
}

fn check_name(path: &Path) -> StorageResult<()> {
    match path.file_name() {
        // What follows the name, a slash say, would stand before ".part". If a folder is there, the open says so.
        Some(name) if path.as_os_str().as_encoded_bytes().ends_with(name.as_encoded_bytes()) || path.is_dir() => Ok(()),
        _ => Err(StorageError::NotAFile { path: path.to_owned(), what: "not the name of a file" }),
    }
}

impl Driver for MmapDriver {
    type Options = MmapOptions;

    fn open(options: MmapOptions) -> StorageResult<(Self, DriverState)> {
        Self::open_cancellable(options, &CancelToken::new())
    }

    fn open_cancellable(options: MmapOptions, cancel: &CancelToken) -> StorageResult<(Self, DriverState)> {
        check_name(&options.path)?;
        if let Some(len) = options.len.filter(|&len| len > MAX_OFFSET) {
            return Err(InvalidOptions::LengthTooLarge(len).into());
        }
        if options.tag.len() > TAG_MAX {
            return Err(InvalidOptions::TagTooLong { len: options.tag.len(), max: TAG_MAX }.into());
        }
        // Also for `Replace`, which cannot take the place of a folder.
        match committed_file(&options)? {
            Some(file) if options.mode != OpenMode::Replace => {
                if options.mode != OpenMode::ReadOnly {
                    Part::clean_up(&options.path);
                }
                Self::open_committed(options, file)
            }
            _ => Self::open_part(options, cancel),
        }
    }
}

impl Linear for MmapDriver {
    fn store(&self) -> (Arc<Store>, Option<u64>) {
        let current = self.current();
        (current.store.clone(), current.committed())
    }

    fn reserve(&self, range: &Range<u64>) -> StorageResult<()> {
        reserve(&self.current(), &self.path, range)
    }

    fn flush_if_due(&self) -> StorageResult<()> {
        // Relaxed: see the field.
        if self.flush_every.is_none_or(|every| self.unflushed.load(Relaxed) < every) {
            return Ok(());
        }
        // One is enough: the others go on fetching.
        if matches!(&self.current().phase, Phase::Written { part, .. } if part.is_flushing()) {
            return Ok(());
        }
        match self.flush_written() {
            // What the index does not list is fetched again after a crash, and nothing worse.
            Ok(_) | Err(FlushError::Index(_)) => Ok(()),
            Err(FlushError::Data(error)) => Err(error),
        }
    }

    fn leftover(&self) -> Leftover {
        self.leftover.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn reserve(generation: &Generation, path: &Path, range: &Range<u64>) -> StorageResult<()> {
    let Phase::Written { part, .. } = &generation.phase else { return Err(StorageError::Committed) };
    part.reserve(range)?;
    generation.store.segments().map(range).map_err(|e| failed(path, "map", e))?;
    generation.store.segments().has_room(part.reserved_to());
    Ok(())
}

impl DriverIo for MmapDriver {
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        let mut current = self.current_mut();
        let Phase::Written { part, replaces } = &current.phase else { return Err(StorageError::Committed) };
        let end = linear::commit_end(&current.store, final_len.or(part.len()))?;
        current.store.complete(end, |range| reserve(&current, &self.path, range))?;
        // A commit that cuts the file and then fails can be written on.
        current.store.segments().forget_room();
        let synced = part.publish(&current.store, end, *replaces)?;
        *current = Generation { store: Arc::new(current.store.settled(end)), phase: Phase::Committed(end) };
        synced
    }

    /// Puts the range in the queue of what is to be made durable. It waits for nobody, but for a flush that was
    /// preempted in the middle of taking an element from a queue that is full.
    fn notify_write(&self, range: &Range<u64>) {
        self.ready.push(range.clone());
        // Nobody asks how much it is if nothing is flushed by itself.
        if self.flush_every.is_some() {
            // Relaxed: see the field.
            self.unflushed.fetch_add(range.end.saturating_sub(range.start), Relaxed);
        }
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    /// After a commit, a next generation in a file of its own, which starts with all the bytes of the last; without,
    /// writing goes on.
    fn reactivate(&self) -> StorageResult<()> {
        if self.mode == OpenMode::ReadOnly {
            return Err(StorageError::ReadOnly);
        }
        let mut current = self.current_mut();
        *current = self.next(&current)?;
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        Ok(linear::read_up_to(&self.current().store, offset, buf, effective_len))
    }

    fn storage_len(&self) -> u64 {
        let current = self.current();
        current.committed().unwrap_or_else(|| current.store.coverage().end())
    }

    fn try_fast_check(&self, range: &Range<u64>) -> bool {
        self.current().store.coverage().covers_now(range)
    }

    fn flush(&self) -> StorageResult<u64> {
        Ok(self.flush_written()?)
    }

    fn rewrites(&self) -> bool {
        self.mode == OpenMode::ReadWrite
    }

    fn write_at(&self, offset: u64, data: &[u8], _committed: bool) -> StorageResult<()> {
        let committed = self.current().committed().is_some();
        if committed {
            if self.mode == OpenMode::ReadOnly {
                return Err(StorageError::ReadOnly);
            }
            if !self.rewrites() {
                return Err(StorageError::Committed);
            }
            let mut current = self.current_mut();
            if current.committed().is_some() {
                *current = self.next(&current)?;
            }
        }
        let current = self.current();
        linear::write_missing(&current.store, offset, data, |range| reserve(&current, &self.path, range), |_| {})
    }
}

impl Drop for MmapDriver {
    fn drop(&mut self) {
        if let Phase::Written { part, .. } = &self.current().phase {
            part.give_up();
        }
    }
}
