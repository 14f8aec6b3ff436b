//! The file of a store while it is unfinished: `NAME.part`, its lock, its journal, and how it becomes `NAME`.
//!
//! ```text
//!   open     NAME.part is locked, and checked to be the file that still has this name; its index says which bytes can
//!            be believed, and each stretch is held against its checksum
//!   reserve  blocks are allocated before they are mapped: a full disk is an error here, and never a signal
//!   flush    data synced, then records of them appended to NAME.part.index, and synced
//!   publish  truncated, synced, renamed to NAME, the folder synced; only then is the lock given up
//! ```
//!
//! Whatever lies there and cannot be gone on with is *set aside*: renamed to `NAME.part.old` and `NAME.part.index.old`.

use crate::{
    MAX_OFFSET, StorageError, StorageResult,
    index::{Header, Index, IndexProblem, Parsed, Record, same_file},
    ready::ReadyQueue,
    store::Store,
    sync::{AtomicU64, Ordering::*},
};
use rangemap::RangeSet;
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    mem,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

/// What was found in place of an unfinished file when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// Nothing.
    #[default]
    None,
    /// An unfinished file, which is gone on with.
    Resumed {
        /// How many of its bytes are there.
        bytes: u64,
        /// How many bytes its index lists that are not what was written; they are missing again.
        dropped: u64,
    },
    /// Something that cannot be gone on with. It was renamed to `NAME.part.old` and `NAME.part.index.old`, in place of
    /// what had those names.
    SetAside {
        /// Why not.
        why: IndexProblem,
    },
}

/// An unfinished file, locked against all other writers for as long as anybody has it mapped.
#[derive(Debug)]
pub struct Part {
    name: PathBuf,
    paths: Paths,
    file: File,
    /// How long it will be, if that is known.
    len: Option<u64>,
    /// Whether the next open goes on with it: not if it holds the changes to `name`.
    resumable: bool,
    /// All bytes below are reserved.
    reserved_to: AtomicU64,
    reserved: Mutex<RangeSet<u64>>,
    journal: Mutex<Journal>,
}

#[derive(Debug)]
struct Journal {
    index: Index,
    /// What the index lists: what would be there after a crash.
    durable: RangeSet<u64>,
    /// The data could not be synced once. The system need not say so again, so nothing is believed any more.
    lost: bool,
}

/// How a part was opened.
pub struct Opened {
    pub part: Part,
    /// The length of the whole, if it is known.
    pub len: Option<u64>,
    /// What is there already.
    pub available: RangeSet<u64>,
    pub leftover: Leftover,
}

#[derive(Debug)]
struct Paths {
    data: PathBuf,
    index: PathBuf,
    /// An index that is to take the place of another.
    new_index: PathBuf,
    /// The first bytes of a file that is committed shorter than what others may be reading of it.
    cut: PathBuf,
}

impl Paths {
    fn of(name: &Path) -> Self {
        Self {
            data: beside(name, ".part"),
            index: beside(name, ".part.index"),
            new_index: beside(name, ".part.index.new"),
            cut: beside(name, ".part.cut"),
        }
    }
}

fn beside(name: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(name);
    path.push(suffix);
    path.into()
}

impl Part {
    /// Opens the unfinished file of `name`, or makes one. An empty tag in `wanted` is no tag asked for, and no length no
    /// length.
    ///
    /// # Errors
    /// [`StorageError::Locked`], [`NotAFile`](StorageError::NotAFile), [`DiskFull`](StorageError::DiskFull),
    /// [`File`](StorageError::File). What lay there is unharmed.
    pub fn open(name: &Path, wanted: &Header) -> StorageResult<Opened> {
        let mut leftover = Leftover::None;
        loop {
            let paths = Paths::of(name);
            let file = open_locked(&paths.data)?;
            let data_len = file.metadata().map_err(|e| failed(&paths.data, "look at", e))?.len();
            let data = paths.data.clone();
            // The lock is held for as long as one of the two is open.
            let locked = file.try_clone().map_err(|e| failed(&data, "open", e))?;
            match Self::take_up(name, paths, file, data_len, wanted, &mut leftover) {
                Ok(Some(opened)) => return Ok(opened),
                // From the start: the file that was there has another name now.
                Ok(None) => {}
                Err(error) => {
                    if data_len == 0 && same_file(&locked, &data).unwrap_or(false) {
                        // Most likely we have made it ourselves just now. We have the lock, and it is empty.
                        let _ = fs::remove_file(data);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Goes on with the locked `file`, or begins anew with it; or sets it aside, and `None`.
    fn take_up(
        name: &Path,
        paths: Paths,
        file: File,
        data_len: u64,
        wanted: &Header,
        leftover: &mut Leftover,
    ) -> StorageResult<Option<Opened>> {
        let found = Index::open(&paths.index).map_err(|error| index_failed(&paths.index, "read", error))?;
        let why = match found {
            Ok((index, _)) if !index.is_at(&paths.index) => return Ok(None),
            // An index without data is one that outlived them, and says nothing of those to come; and changes that
            // were given up, nobody else can use.
            Ok((index, parsed)) if data_len == 0 || parsed.header.generation => {
                drop(index);
                let dropped = total(&parsed.records.into_iter().map(|record| record.range).collect());
                if !parsed.header.generation && dropped > 0 {
                    *leftover = Leftover::Resumed { bytes: 0, dropped };
                }
                file.set_len(0).map_err(|e| failed(&paths.data, "empty", e))?;
                return Self::begin(name, paths, file, wanted, mem::take(leftover)).map(Some);
            }
            Ok((index, parsed)) => match unsuitable(&parsed.header, wanted) {
                None => return Self::resume(name, paths, file, data_len, index, parsed).map(Some),
                Some(why) => why,
            },
            // Damaged: a crash came before its first bytes.
            Err(IndexProblem::Missing | IndexProblem::Damaged) if data_len == 0 => {
                return Self::begin(name, paths, file, wanted, mem::take(leftover)).map(Some);
            }
            Err(why) => why,
        };
        // The index first: while the data have their name, nobody else gets in.
        set_aside(&paths.index)?;
        if data_len == 0 {
            return Self::begin(name, paths, file, wanted, mem::take(leftover)).map(Some);
        }
        set_aside(&paths.data)?;
        *leftover = Leftover::SetAside { why };
        Ok(None)
    }

    /// A new file. The index first: data without one are not ours.
    fn begin(name: &Path, paths: Paths, file: File, header: &Header, leftover: Leftover) -> StorageResult<Opened> {
        let index = Index::create(&paths.index, header).map_err(|error| {
            // Empty or half written: made by us just now.
            if error.kind() != io::ErrorKind::InvalidInput && error.kind() != io::ErrorKind::WouldBlock {
                let _ = fs::remove_file(&paths.index);
            }
            index_failed(&paths.index, "create", error)
        })?;
        let part = Self::new(name, paths, file, header, index, RangeSet::new());
        let ready = sync_folder(name).and_then(|()| part.reserve(&(0..header.len.unwrap_or(0))));
        if let Err(error) = ready {
            // What could not be reserved in full is no use to anybody, and in the way of others.
            part.remove();
            return Err(error);
        }
        Ok(Opened { part, len: header.len, available: RangeSet::new(), leftover })
    }

    /// Goes on with a file, as far as it can be believed.
    fn resume(
        name: &Path,
        paths: Paths,
        file: File,
        data_len: u64,
        mut index: Index,
        parsed: Parsed,
    ) -> StorageResult<Opened> {
        let (mut kept, mut dropped) = (Vec::new(), RangeSet::new());
        for record in parsed.records {
            let whole = record.range.end <= data_len;
            let crc = || checksum(&file, &record.range).map_err(|e| failed(&paths.data, "read", e));
            if whole && crc()? == record.data_crc {
                kept.push(record);
            } else {
                dropped.insert(record.range);
            }
        }
        if !dropped.is_empty() {
            // Or a stretch of zeros, say, would be believed next time, when the file has been reserved there.
            index = index
                .replace(&paths.index, &paths.new_index, &parsed.header, &kept)
                .map_err(|e| failed(&paths.index, "replace", e))?;
        }
        // A crash may have come before this when the file was begun.
        sync_folder(name)?;
        let available: RangeSet<u64> = kept.into_iter().map(|record| record.range).collect();
        available.iter().for_each(|range| dropped.remove(range.clone()));
        let (bytes, dropped) = (total(&available), total(&dropped));
        let leftover = if bytes + dropped > 0 { Leftover::Resumed { bytes, dropped } } else { Leftover::None };
        let len = parsed.header.len;
        let part = Self::new(name, paths, file, &parsed.header, index, available.clone());
        // Of a file of unknown length, the bytes that are there have their blocks, and those to come are reserved in their
        // time: holes may be larger than the disk.
        part.reserve(&(0..len.unwrap_or(0)))?;
        Ok(Opened { part, len, available, leftover })
    }

    fn new(name: &Path, paths: Paths, file: File, header: &Header, index: Index, available: RangeSet<u64>) -> Self {
        // What a crash may have left of a commit.
        let _ = fs::remove_file(&paths.cut);
        let _ = fs::remove_file(&paths.new_index);
        Self {
            name: name.to_owned(),
            paths,
            file,
            len: header.len,
            resumable: !header.generation,
            reserved_to: AtomicU64::new(0),
            // What is on the disk has its blocks.
            reserved: Mutex::new(available.clone()),
            journal: Mutex::new(Journal { index, durable: available, lost: false }),
        }
    }

    /// A second handle on the file, for mappings. The lock is held until both are closed.
    pub fn file(&self) -> StorageResult<File> {
        self.file.try_clone().map_err(|e| failed(&self.paths.data, "open", e))
    }

    /// Allocates the blocks of `range`, and some more of a file that grows.
    ///
    /// # Errors
    /// [`StorageError::BeyondLength`], [`DiskFull`](StorageError::DiskFull), [`File`](StorageError::File). Nothing that
    /// was there is harmed.
    #[inline]
    pub fn reserve(&self, range: &Range<u64>) -> StorageResult<()> {
        if range.end <= self.reserved_to() {
            return Ok(());
        }
        self.reserve_more(range)
    }

    /// Below this all blocks are allocated.
    #[inline]
    pub fn reserved_to(&self) -> u64 {
        // [reserved] Acquire: the file is as long as that. Pairs with the Release in `reserve_more`; what it orders is the
        // length of the file, in the kernel, so that no model shows it.
        self.reserved_to.load(Acquire)
    }

    #[cold]
    fn reserve_more(&self, range: &Range<u64>) -> StorageResult<()> {
        if let Some(len) = self.len.filter(|&len| range.end > len) {
            return Err(StorageError::BeyondLength { end: range.end, len });
        }
        let mut reserved = lock(&self.reserved);
        // Whole pages: blocks may be smaller, and a page with a block missing cannot be touched. And a file of unknown
        // length grows by an eighth of itself, so that it is rarely extended; without that, if there is no room for it.
        let pages = |end: u64| {
            let page = page_bytes();
            let end = end.checked_next_multiple_of(page).unwrap_or(MAX_OFFSET).min(self.len.unwrap_or(MAX_OFFSET));
            range.start / page * page..end
        };
        let step = (range.end / 8).clamp(GROWTH_MIN, GROWTH_MAX);
        match self.allocate(&mut reserved, &pages(range.end.saturating_add(step))) {
            Ok(()) => {}
            Err(_) => self.allocate(&mut reserved, &pages(range.end))?,
        }
        let to = reserved.first().filter(|first| first.start == 0).map_or(0, |first| first.end);
        // [reserved] Release: pairs with the Acquire in `reserved_to`.
        self.reserved_to.store(to, Release);
        Ok(())
    }

    fn allocate(&self, reserved: &mut RangeSet<u64>, range: &Range<u64>) -> StorageResult<()> {
        for gap in gaps(reserved, range) {
            allocate(&self.file, &gap).map_err(|error| match failed(&self.paths.data, "extend", error) {
                StorageError::DiskFull { path, .. } => StorageError::DiskFull { path, bytes: gap.end - gap.start },
                other => other,
            })?;
            reserved.insert(gap);
        }
        Ok(())
    }

    /// Makes durable what was written, and says how many bytes of it were not.
    ///
    /// # Errors
    /// [`FlushError`]. The bytes stay written, and may or may not survive a crash.
    pub fn flush(&self, store: &Store, ready: &ReadyQueue) -> Result<u64, FlushError> {
        if !self.resumable {
            // Whatever became durable now, the next open would not go on with it.
            return Ok(0);
        }
        let mut journal = lock(&self.journal);
        // Taken under the lock: another flush, which finds the queue empty, waits here until this one is through.
        let written = ready.take(|| store.coverage().written_in(&(0..u64::MAX)));
        let flushed = self.flush_ranges(&mut journal, store, &written);
        if flushed.is_err() {
            written.iter().for_each(|range| ready.push(range.clone()));
        }
        flushed
    }

    /// `true` if somebody is at it already.
    pub fn is_flushing(&self) -> bool {
        matches!(self.journal.try_lock(), Err(TryLockError::WouldBlock))
    }

    fn flush_ranges(&self, journal: &mut Journal, store: &Store, written: &RangeSet<u64>) -> Result<u64, FlushError> {
        if journal.lost {
            return Err(FlushError::Data(self.lost()));
        }
        let new = written.iter().flat_map(|range| gaps(&journal.durable, range));
        // Whoever uses the driver alone can claim anything, and ranges of a generation before may be among them.
        let new: Vec<Range<u64>> = new.flat_map(|range| store.coverage().written_in(&range)).collect();
        if new.is_empty() {
            return Ok(0);
        }
        if let Err(error) = self.sync(store, &new) {
            journal.lost = true;
            return Err(FlushError::Data(failed(&self.paths.data, "sync", error)));
        }
        let records: Vec<Record> = new
            .iter()
            .map(|range| {
                let mut crc = crc32fast::Hasher::new();
                store.each_piece(range, |piece| crc.update(piece));
                Record { range: range.clone(), data_crc: crc.finalize() }
            })
            .collect();
        journal.index.append(&records).map_err(|e| FlushError::Index(failed(&self.paths.index, "write", e)))?;
        journal.durable.extend(new.iter().cloned());
        Ok(new.iter().map(|range| range.end - range.start).sum())
    }

    /// The pages alone if they are few; a sync of a page is a transaction of the file system's.
    fn sync(&self, store: &Store, ranges: &[Range<u64>]) -> io::Result<()> {
        if cfg!(target_os = "linux") && ranges.len() > SYNCS_MAX {
            // On Linux it syncs what was written through mappings, too.
            return self.file.sync_data();
        }
        ranges.iter().try_for_each(|range| store.sync(range))
    }

    fn lost(&self) -> StorageError {
        failed(&self.paths.data, "sync", io::Error::other("an earlier sync failed, and what it lost is not known"))
    }

    /// Makes the first `len` bytes, which are all there, the file `name`. Nobody writes meanwhile.
    ///
    /// # Errors
    /// [`StorageError::File`], [`StorageError::DiskFull`]. The outer one: nothing is published, `name` is as it was, and
    /// the file can be gone on with. The inner one: it is published, and may not be there after a power cut.
    pub fn publish(&self, store: &Store, len: u64, replace: bool) -> StorageResult<StorageResult<()>> {
        let mut journal = lock(&self.journal);
        if journal.lost {
            return Err(self.lost());
        }
        let data = &self.paths.data;
        if !cfg!(target_os = "linux") {
            self.sync_or_lose(&mut journal, || store.sync(&(0..len)))?;
        }
        // A reader may be copying what lies behind: its pages must not go. Nor does Windows shorten a file that is mapped.
        let cut = store.coverage().end() > len || cfg!(windows) && self.file.metadata().is_ok_and(|it| it.len() > len);
        if cut {
            self.cut(store, len)?;
        } else {
            self.shorten(len).map_err(|e| failed(data, "truncate", e))?;
            self.sync_or_lose(&mut journal, || self.file.sync_all())?;
        }
        if !self.has_its_name().map_err(|e| failed(&self.name, "publish", e))? {
            // What has the name now is not ours to publish.
            let why = io::Error::new(io::ErrorKind::NotFound, "its unfinished file was taken away");
            return Err(failed(&self.name, "publish", why));
        }
        let whole = if cut { &self.paths.cut } else { data };
        rename(whole, &self.name, replace).map_err(|error| {
            if cut {
                let _ = fs::remove_file(&self.paths.cut);
            }
            failed(&self.name, "publish", error)
        })?;
        // From here on it is published. The index goes last, still locked, so that nobody begins beside it; and only
        // when the name is sure to stay.
        let synced = sync_folder(&self.name);
        if synced.is_ok() {
            if journal.index.is_at(&self.paths.index) {
                let _ = fs::remove_file(&self.paths.index);
            }
            if cut {
                let _ = fs::remove_file(data);
            }
        }
        let _ = self.file.unlock();
        journal.index.unlock();
        Ok(synced)
    }

    fn sync_or_lose(&self, journal: &mut Journal, sync: impl FnOnce() -> io::Result<()>) -> StorageResult<()> {
        sync().map_err(|error| {
            // The system need not say so again, and what was lost is not known.
            journal.lost = true;
            failed(&self.paths.data, "sync", error)
        })
    }

    /// Cuts off what is reserved behind `len`, and forgets that it was: if this generation goes on after all, it is
    /// reserved anew.
    fn shorten(&self, len: u64) -> io::Result<()> {
        let mut reserved = lock(&self.reserved);
        if len < u64::MAX {
            reserved.remove(len..u64::MAX);
        }
        // [reserved] Release: pairs with the Acquire in `reserved_to`. Nobody writes now; whoever does later looks anew.
        self.reserved_to.fetch_min(len, Release);
        self.file.set_len(len)
    }

    fn cut(&self, store: &Store, len: u64) -> StorageResult<()> {
        let path = &self.paths.cut;
        let cut = || -> io::Result<()> {
            let _ = fs::remove_file(path);
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            store.try_each_piece(&(0..len), |piece| file.write_all(piece))?;
            file.sync_all()
        };
        cut().map_err(|error| {
            let _ = fs::remove_file(path);
            failed(path, "write", error)
        })
    }

    /// Gives up a file of which nothing would be there after a crash: it only takes room. Keeps any other.
    pub fn give_up(&self) {
        if lock(&self.journal).durable.is_empty() {
            self.remove();
        }
    }

    /// The data last: while they have their name, nobody else gets in.
    fn remove(&self) {
        if self.has_its_name().unwrap_or(false) {
            let _ = fs::remove_file(&self.paths.index);
            let _ = fs::remove_file(&self.paths.data);
        }
    }

    /// Whether nobody has taken the name away from the file, or given it to another.
    fn has_its_name(&self) -> io::Result<bool> {
        same_file(&self.file, &self.paths.data)
    }
}

/// Why a flush failed.
pub enum FlushError {
    /// The data could not be synced, and are not to be trusted any more.
    Data(StorageError),
    /// The data are synced, and the index does not say so. The next flush tries again.
    Index(StorageError),
}

impl From<FlushError> for StorageError {
    fn from(error: FlushError) -> Self {
        match error {
            FlushError::Data(error) | FlushError::Index(error) => error,
        }
    }
}

/// The unit of mapping.
fn page_bytes() -> u64 {
    #[cfg(unix)]
    return rustix::param::page_size() as u64;
    // As large as it is anywhere.
    #[cfg(not(unix))]
    65_536
}

const GROWTH_MIN: u64 = 64 << 10;
const GROWTH_MAX: u64 = 64 << 20;

/// So many stretches are synced one by one; more of them in one go.
const SYNCS_MAX: usize = 8;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn total(ranges: &RangeSet<u64>) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// What of `range` is not in `set`. (`RangeSet::gaps` does not take an empty range.)
fn gaps(set: &RangeSet<u64>, range: &Range<u64>) -> Vec<Range<u64>> {
    if range.is_empty() { Vec::new() } else { set.gaps(range).collect() }
}

/// Why an unfinished file is not the one wanted.
fn unsuitable(found: &Header, wanted: &Header) -> Option<IndexProblem> {
    if wanted.generation {
        return Some(IndexProblem::InTheWay);
    }
    if !wanted.tag.is_empty() && wanted.tag != found.tag {
        return Some(IndexProblem::TagDiffers);
    }
    let differs = wanted.len.is_some() && wanted.len != found.len;
    differs.then_some(IndexProblem::LengthDiffers { found: found.len, given: wanted.len })
}

/// Opens and locks `path`, and sees to it that the locked file is the one that has this name: another writer may have
/// renamed it between the two.
fn open_locked(path: &Path) -> StorageResult<File> {
    loop {
        let file = open_file(path, true)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StorageError::Locked { path: path.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(failed(path, "lock", error)),
        }
        match same_file(&file, path) {
            Ok(true) => return Ok(file),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(path, "look at", error)),
        }
    }
}

/// Opens the plain file at `path` itself, not what a link there leads to: for reading, or for both and made if missing.
///
/// # Errors
/// [`StorageError::NotAFile`], [`StorageError::File`].
pub fn open_file(path: &Path, writable: bool) -> StorageResult<File> {
    if let Some(what) = not_a_file(fs::symlink_metadata(path)) {
        return Err(StorageError::NotAFile { path: path.to_owned(), what });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(writable).create(writable);
    // If it has become a link since, that is an error and not somebody else's file; a pipe does not block.
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    let file = options.open(path).map_err(|e| failed(path, if writable { "open or create" } else { "open" }, e))?;
    match not_a_file(file.metadata()) {
        Some(what) => Err(StorageError::NotAFile { path: path.to_owned(), what }),
        None => Ok(file),
    }
}

/// What it is, if it is there and no plain file.
fn not_a_file(metadata: io::Result<fs::Metadata>) -> Option<&'static str> {
    let kind = metadata.ok()?.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_symlink() {
        Some("a symbolic link; give the path that it leads to")
    } else {
        Some("no plain file")
    }
}

/// The error of something done to a file.
pub fn failed(path: &Path, doing: &'static str, error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StorageError::DiskFull { path: path.to_owned(), bytes: 0 }
        }
        _ => StorageError::File { path: path.to_owned(), doing, source: error },
    }
}

/// The error of something done to an index.
fn index_failed(path: &Path, doing: &'static str, error: io::Error) -> StorageError {
    match error.kind() {
        // Somebody has just published the file before this one, and is about to remove its index.
        io::ErrorKind::WouldBlock => StorageError::Locked { path: path.to_owned() },
        _ => failed(path, doing, error),
    }
}

fn set_aside(path: &Path) -> StorageResult<()> {
    match fs::rename(path, beside(path, ".old")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, "set aside", error)),
        _ => Ok(()),
    }
}

/// Renames, and takes the place of nothing unless it is told to.
fn rename(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    if replace {
        return fs::rename(from, to);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::{fs as rfs, io::Errno};
        match rfs::renameat_with(rfs::CWD, from, rfs::CWD, to, rfs::RenameFlags::NOREPLACE) {
            // File systems that cannot do that.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            done => return done.map_err(io::Error::from),
        }
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// Makes the names in the folder of `name` durable.
fn sync_folder(name: &Path) -> StorageResult<()> {
    #[cfg(unix)]
    {
        let folder = match name.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(folder, "sync", e))?;
    }
    #[cfg(not(unix))]
    let _ = name;
    Ok(())
}

/// Allocates the blocks of `range`, where no data are, and lets the file reach at least that far.
fn allocate(file: &File, range: &Range<u64>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    loop {
        use rustix::{
            fs::{FallocateFlags, fallocate},
            io::Errno,
        };
        match fallocate(file, FallocateFlags::empty(), range.start, range.end - range.start) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            // File systems that cannot do that.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let zeros = [0; 64 << 10];
    let mut file = file;
    file.seek(SeekFrom::Start(range.start))?;
    let mut left = range.end - range.start;
    while left > 0 {
        let len = left.min(zeros.len() as u64);
        file.write_all(&zeros[..len as usize])?;
        left -= len;
    }
    Ok(())
}

/// The CRC-32 of `range`, which lies inside the file.
fn checksum(mut file: &File, range: &Range<u64>) -> io::Result<u32> {
    file.seek(SeekFrom::Start(range.start))?;
    let mut crc = crc32fast::Hasher::new();
    let mut buf = vec![0; 256 << 10];
    let mut left = range.end - range.start;
    while left > 0 {
        let len = left.min(buf.len() as u64) as usize;
        file.read_exact(&mut buf[..len])?;
        crc.update(&buf[..len]);
        left -= len as u64;
    }
    Ok(crc.finalize())
}
