//! The file of a store while it is unfinished: `NAME.part`, its lock, its journal, and how it becomes `NAME`.
//!
//! ```text
//!   open     NAME.part is locked, and checked to be the file that still has this name; its index says which bytes can
//!            be believed, and each stretch is held against its checksum
//!   reserve  the free space is asked, and blocks are allocated before they are mapped: a full disk is an error here, and
//!            never a signal; the file then has its former length
//!   flush    data synced, then records of them appended to NAME.part.index, and synced
//!   publish  truncated, synced, renamed to NAME, the folder synced; then what was set aside and the index are removed;
//!            only then is the lock given up
//! ```
//!
//! Whatever lies there and cannot be resumed is *set aside*: renamed to `NAME.part.old` and `NAME.part.index.old`. The
//! next file that is set aside takes its place; it is removed when the file is published, or before that if the disk is
//! full.

use crate::{
    CancelToken, MAX_OFFSET, StorageError, StorageResult,
    disk::{self, Access, same_file},
    index::{self, Header, Index, IndexProblem, Parsed, Record},
    ready::ReadyQueue,
    store::Store,
    sync::{AtomicU64, Ordering::*},
};
use rangemap::RangeSet;
use std::{
    ffi::OsString,
    fs::{self, File},
    io, mem,
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
    /// An unfinished file, which is resumed.
    Resumed {
        /// How many of its bytes are there.
        bytes: u64,
        /// How many bytes its index lists that are not what was written; they are missing again.
        dropped: u64,
    },
    /// Something that cannot be resumed. It was renamed to `NAME.part.old` and `NAME.part.index.old`, in place of
    /// what had those names. If an index was among it, both are removed when `NAME` is complete, or their room is needed.
    SetAside {
        /// Why not.
        why: IndexProblem,
    },
    /// An unfinished file, which was emptied, since [`Resume::Never`] was asked for.
    Discarded {
        /// How many bytes its index listed.
        bytes: u64,
    },
}

/// Which unfinished file is resumed. One with another length than the one asked for never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resume {
    /// One that was begun with the same tag. Without a tag none is: nothing tells whether its bytes are of the same
    /// source. What is not resumed is set aside.
    #[default]
    SameTag,
    /// Any, whatever its tag: the caller knows that it is of the same source.
    AnyTag,
    /// None: begin afresh. An unfinished file is emptied, and its bytes are lost. What is no file of ours (it has no
    /// index, or a damaged one) is set aside.
    Never,
}

/// What an open asks for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub header: &'a Header,
    pub resume: Resume,
    pub cancel: &'a CancelToken,
}

/// An unfinished file, locked against all other writers for as long as anybody has it mapped.
#[derive(Debug)]
pub struct Part {
    name: PathBuf,
    paths: Paths,
    file: File,
    /// How long it will be, if that is known.
    len: Option<u64>,
    /// Whether the next open can resume it: not if it holds the changes to `name`.
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
    /// Opens the unfinished file of `name`, or makes one. Without a length in `wanted`, any length will do.
    ///
    /// # Errors
    /// [`StorageError::Locked`], [`NotAFile`](StorageError::NotAFile), [`FolderMissing`](StorageError::FolderMissing),
    /// [`DiskFull`](StorageError::DiskFull), [`FileSizeLimit`](StorageError::FileSizeLimit),
    /// [`Cancelled`](StorageError::Cancelled), [`File`](StorageError::File). What lay there is unharmed.
    pub fn open(name: &Path, wanted: Wanted<'_>) -> StorageResult<Opened> {
        let mut leftover = Leftover::None;
        loop {
            let paths = Paths::of(name);
            let file = open_locked(&paths.data, Access::ReadWriteOrCreate)?;
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

    /// Resumes the locked `file`, or begins anew with it; or sets it aside, and `None`.
    fn take_up(
        name: &Path,
        paths: Paths,
        file: File,
        data_len: u64,
        wanted: Wanted<'_>,
        leftover: &mut Leftover,
    ) -> StorageResult<Option<Opened>> {
        let found = Index::open(&paths.index).map_err(|error| index_failed(&paths.index, "read", error))?;
        let why = match found {
            Ok((index, _)) if !index.is_at(&paths.index) => return Ok(None),
            Ok((index, parsed)) => {
                let bytes = total(&parsed.records.iter().map(|record| record.range.clone()).collect());
                let unsuitable = unsuitable(&parsed.header, wanted);
                match unsuitable {
                    // An index without data is one that outlived them, and says nothing of those to come; and changes that
                    // were given up, nobody else can use.
                    _ if data_len == 0 || parsed.header.generation => {
                        if !parsed.header.generation && bytes > 0 {
                            *leftover = Leftover::Resumed { bytes: 0, dropped: bytes };
                        }
                    }
                    None if wanted.resume == Resume::Never => *leftover = Leftover::Discarded { bytes },
                    None => return Self::resume(name, paths, file, data_len, (index, parsed), wanted).map(Some),
                    // None of its bytes was made durable: it is of no use to anybody.
                    Some(_) if bytes == 0 => {}
                    Some(why) => {
                        set_aside(&paths)?;
                        *leftover = Leftover::SetAside { why };
                        return Ok(None);
                    }
                }
                drop(index);
                // Durable before its index goes: after a power cut, data without an index would be taken for somebody else's.
                let emptied = disk::set_len(&file, 0).and_then(|()| disk::sync_all(&file));
                emptied.map_err(|e| failed(&paths.data, "empty", e))?;
                return Self::begin(name, paths, file, wanted.header, mem::take(leftover)).map(Some);
            }
            // Damaged: a crash came before its first bytes.
            Err(IndexProblem::Missing | IndexProblem::Damaged) if data_len == 0 => {
                return Self::begin(name, paths, file, wanted.header, mem::take(leftover)).map(Some);
            }
            Err(why) => why,
        };
        if data_len == 0 {
            // One of ours says nothing without its data. Set aside, it would be taken for that of the next data there,
            // which then would be removed, whosever they are.
            if !index::looks_like_one(&paths.index) {
                set_index_aside(&paths)?;
            }
            return Self::begin(name, paths, file, wanted.header, mem::take(leftover)).map(Some);
        }
        set_aside(&paths)?;
        *leftover = Leftover::SetAside { why };
        Ok(None)
    }

    /// Removes the unfinished file of `name`, its index, and what was set aside; says whether there was any of it.
    ///
    /// # Errors
    /// [`StorageError::Locked`], [`NotAFile`](StorageError::NotAFile), [`File`](StorageError::File).
    pub fn discard(name: &Path) -> StorageResult<bool> {
        let paths = Paths::of(name);
        let data = match open_locked(&paths.data, Access::ReadWrite) {
            Ok(data) => Some(data),
            Err(StorageError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut found = data.is_some();
        found |= remove_set_aside(&paths);
        found |= remove_index(&paths)?;
        for scratch in [&paths.new_index, &paths.cut] {
            let _ = fs::remove_file(scratch);
        }
        // Last: while the data have their name, nobody else gets in.
        match data.map(|_locked| fs::remove_file(&paths.data)) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(failed(&paths.data, "remove", error)),
            _ => Ok(found),
        }
    }

    /// Removes what a commit left that was cut off behind its rename: nobody needs it, and nothing else would remove it.
    pub fn clean_up(name: &Path) {
        let paths = Paths::of(name);
        // Somebody begins anew, or has; it is theirs.
        if fs::symlink_metadata(&paths.data).is_ok() || !index::looks_like_one(&paths.index) {
            return;
        }
        let Ok(Ok((index, _))) = Index::open(&paths.index) else { return };
        // The lock keeps out whoever would begin now. And the index goes only when the name is sure to stay.
        let is_left = index.is_at(&paths.index) && fs::symlink_metadata(&paths.data).is_err();
        if is_left && sync_folder(name).is_ok() {
            remove_set_aside(&paths);
            let _ = fs::remove_file(&paths.index);
        }
    }

    /// A new file. The index first: data without one are not ours.
    fn begin(name: &Path, paths: Paths, file: File, header: &Header, leftover: Leftover) -> StorageResult<Opened> {
        let index = with_room_of_set_aside(&paths, || {
            Index::create(&paths.index, header).map_err(|error| {
                // Empty or half written: made by us just now.
                if error.kind() != io::ErrorKind::InvalidInput && error.kind() != io::ErrorKind::WouldBlock {
                    let _ = fs::remove_file(&paths.index);
                }
                index_failed(&paths.index, "create", error)
            })
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

    /// Resumes a file, as far as it can be believed.
    fn resume(
        name: &Path,
        paths: Paths,
        file: File,
        data_len: u64,
        (mut index, parsed): (Index, Parsed),
        wanted: Wanted<'_>,
    ) -> StorageResult<Opened> {
        let Believed { kept, available, dropped } =
            believe(&file, data_len, parsed.records, wanted.cancel).map_err(|error| match error {
                Unread::Cancelled => StorageError::Cancelled,
                Unread::Io(error) => failed(&paths.data, "read", error),
            })?;
        if !dropped.is_empty() {
            // Or a stretch of zeros, say, would be believed next time, when the file has been reserved there.
            index = with_room_of_set_aside(&paths, || {
                let replaced = index.replace(&paths.index, &paths.new_index, &parsed.header, &kept);
                replaced.map_err(|e| failed(&paths.index, "replace", e))
            })?;
        }
        // A crash may have come before this when the file was begun.
        sync_folder(name)?;
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

    /// How long the whole will be, if that is known.
    pub fn len(&self) -> Option<u64> {
        self.len
    }

    /// Allocates the blocks of `range`, and some more of a file that grows.
    ///
    /// # Errors
    /// [`StorageError::BeyondLength`], [`DiskFull`](StorageError::DiskFull),
    /// [`FileSizeLimit`](StorageError::FileSizeLimit), [`File`](StorageError::File). Nothing that was there is harmed.
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
        // Whole pages: blocks may be smaller, and a page with a block missing cannot be touched. And a stretch of a file of
        // unknown length grows by an eighth of itself, so that it is rarely extended; without that, if there is no room for
        // it. A stretch that lies alone far out is small, wherever it lies.
        let pages = |end: u64| {
            let page = page_bytes();
            let end = end.checked_next_multiple_of(page).unwrap_or(MAX_OFFSET).min(self.len.unwrap_or(MAX_OFFSET));
            // The last page that this process may write need not be whole.
            let end = end.min(disk::size_limit().max(range.end));
            range.start / page * page..end
        };
        let before = range.start.checked_sub(1).and_then(|last| reserved.get(&last));
        let start = before.map_or(range.start, |stretch| stretch.start);
        let step = ((range.end - start) / 8).clamp(GROWTH_MIN, GROWTH_MAX);
        let more = pages(range.end.saturating_add(step));
        if self.allocate(&mut reserved, &more).is_err() {
            with_room_of_set_aside(&self.paths, || self.allocate(&mut reserved, &pages(range.end)))?;
        }
        let to = reserved.first().filter(|first| first.start == 0).map_or(0, |first| first.end);
        // [reserved] Release: pairs with the Acquire in `reserved_to`.
        self.reserved_to.store(to, Release);
        Ok(())
    }

    fn allocate(&self, reserved: &mut RangeSet<u64>, range: &Range<u64>) -> StorageResult<()> {
        let gaps = gaps(reserved, range);
        let Some(end) = gaps.last().map(|gap| gap.end) else { return Ok(()) };
        let (path, limit) = (&self.paths.data, disk::size_limit());
        if end > limit {
            return Err(StorageError::FileSizeLimit { path: path.clone(), end, limit });
        }
        // Lengths of files are signed: what is longer, the system calls an invalid argument.
        if i64::try_from(end).is_err() {
            return Err(failed(path, "extend", io::ErrorKind::FileTooLarge.into()));
        }
        let full = |bytes| StorageError::DiskFull { path: path.clone(), bytes };
        // Asked first: a wish for more than there is would take all of it for a while, from everybody.
        let bytes = gaps.iter().map(|gap| gap.end - gap.start).sum();
        if !disk::may_have_room(&self.file, bytes, total(reserved)) {
            return Err(full(bytes));
        }
        disk::allocate(&self.file, &gaps).map_err(|error| match failed(path, "extend", error) {
            StorageError::DiskFull { .. } => full(bytes),
            other => other,
        })?;
        reserved.extend(gaps);
        Ok(())
    }

    /// Makes durable what was written, and says how many bytes of it were not.
    ///
    /// # Errors
    /// [`FlushError`]. The bytes stay written, and may or may not survive a crash; if the file or its index has lost its
    /// name ([`StorageError::Removed`]), none of them does.
    pub fn flush(&self, store: &Store, ready: &ReadyQueue) -> Result<u64, FlushError> {
        if !self.resumable {
            // Whatever became durable now, the next open would not resume it.
            return Ok(0);
        }
        let mut journal = lock(&self.journal);
        self.check_names(&journal).map_err(FlushError::Index)?;
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
        let mut append = || journal.index.append(&records).map_err(|e| failed(&self.paths.index, "write", e));
        with_room_of_set_aside(&self.paths, &mut append).map_err(FlushError::Index)?;
        journal.durable.extend(new.iter().cloned());
        Ok(new.iter().map(|range| range.end - range.start).sum())
    }

    /// The pages alone if they are few; a sync of a page is a transaction of the file system's.
    fn sync(&self, store: &Store, ranges: &[Range<u64>]) -> io::Result<()> {
        if cfg!(target_os = "linux") && ranges.len() > SYNCS_MAX {
            // On Linux it syncs what was written through mappings, too.
            return disk::sync_data(&self.file);
        }
        ranges.iter().try_for_each(|range| disk::bounded(|| store.sync(range)))
    }

    /// Whether the next open would find what was written.
    fn check_names(&self, journal: &Journal) -> StorageResult<()> {
        if !self.has_its_name()? {
            return Err(StorageError::Removed { path: self.paths.data.clone() });
        }
        if !journal.index.is_at(&self.paths.index) {
            return Err(StorageError::Removed { path: self.paths.index.clone() });
        }
        Ok(())
    }

    fn lost(&self) -> StorageError {
        failed(&self.paths.data, "sync", io::Error::other("an earlier sync failed, and what it lost is not known"))
    }

    /// Makes the first `len` bytes, which are all there, the file `name`. Nobody writes meanwhile.
    ///
    /// # Errors
    /// [`StorageError::File`], [`DiskFull`](StorageError::DiskFull), [`FileSizeLimit`](StorageError::FileSizeLimit),
    /// [`Removed`](StorageError::Removed). The outer one: nothing is published, `name` is as it was, and the file can be
    /// written on, if it has its name. The inner one: it is published, and may not be there after a power cut.
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
            with_room_of_set_aside(&self.paths, || self.cut(store, len))?;
        } else {
            self.shorten(len).map_err(|e| failed(data, "truncate", e))?;
            self.sync_or_lose(&mut journal, || disk::sync_all(&self.file))?;
        }
        if !self.has_its_name()? {
            // What has the name now is not ours to publish.
            if cut {
                let _ = fs::remove_file(&self.paths.cut);
            }
            return Err(StorageError::Removed { path: data.clone() });
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
            // The index after what was set aside: with it, the next open sees that there is something to remove.
            remove_set_aside(&self.paths);
            if cut {
                let _ = fs::remove_file(data);
            }
            if journal.index.is_at(&self.paths.index) {
                let _ = fs::remove_file(&self.paths.index);
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
        disk::set_len(&self.file, len)
    }

    fn cut(&self, store: &Store, len: u64) -> StorageResult<()> {
        let (path, limit) = (&self.paths.cut, disk::size_limit());
        if len > limit {
            return Err(StorageError::FileSizeLimit { path: path.clone(), end: len, limit });
        }
        let cut = || -> io::Result<()> {
            let _ = fs::remove_file(path);
            let file = disk::open(path, Access::CreateNew { private: false })?;
            store.try_each_piece(&(0..len), |piece| disk::write_all(&file, piece))?;
            disk::sync_all(&file)
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
    fn has_its_name(&self) -> StorageResult<bool> {
        match same_file(&self.file, &self.paths.data) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            found => found.map_err(|e| failed(&self.paths.data, "look at", e)),
        }
    }
}

/// What can be believed of an unfinished file.
struct Believed {
    /// Records whose bytes are what was written, enough of them for all of `available`.
    kept: Vec<Record>,
    available: RangeSet<u64>,
    /// What was listed besides.
    dropped: RangeSet<u64>,
}

/// Why that is not known.
enum Unread {
    Cancelled,
    Io(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Holds the bytes of each record against its checksum. Of an index that we wrote, no two records overlap, so that what
/// they list is no more than the file has: more than that is not read, whatever is listed. What is known to be right is
/// not read again.
fn believe(file: &File, data_len: u64, mut records: Vec<Record>, cancel: &CancelToken) -> Result<Believed, Unread> {
    let (mut kept, mut available, mut dropped) = (Vec::new(), RangeSet::new(), RangeSet::new());
    let mut left = data_len;
    let mut bytes = Ahead { file, buf: Vec::new(), start: 0 };
    // In the order of the file, of which each stretch is then read once.
    records.sort_by_key(|record| (record.range.start, std::cmp::Reverse(record.range.end)));
    for record in records {
        if cancel.is_cancelled() {
            return Err(Unread::Cancelled);
        }
        let range = &record.range;
        let covered = |set: &RangeSet<u64>| set.get(&range.start).is_some_and(|there| range.end <= there.end);
        if covered(&available) {
            continue;
        }
        let len = range.end - range.start;
        let may_be_read = range.end <= data_len && len <= left;
        if may_be_read {
            left -= len;
        }
        if may_be_read && bytes.checksum(range, cancel)? == record.data_crc {
            available.insert(range.clone());
            kept.push(record);
        } else if !covered(&dropped) {
            dropped.insert(range.clone());
        }
    }
    available.iter().for_each(|range| dropped.remove(range.clone()));
    Ok(Believed { kept, available, dropped })
}

/// Reads a file from its start to its end, and ahead of what is asked for.
struct Ahead<'a> {
    file: &'a File,
    buf: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
}

impl Ahead<'_> {
    const BYTES: u64 = 256 << 10;

    /// The CRC-32 of `range`, which lies inside the file.
    fn checksum(&mut self, range: &Range<u64>, cancel: &CancelToken) -> Result<u32, Unread> {
        let mut crc = crc32fast::Hasher::new();
        let mut at = range.start;
        while at < range.end {
            let there = at.checked_sub(self.start).and_then(|skip| self.buf.get(usize::try_from(skip).ok()?..));
            let there = there.filter(|there| !there.is_empty());
            let Some(there) = there else {
                if cancel.is_cancelled() {
                    return Err(Unread::Cancelled);
                }
                self.start = at;
                self.buf.resize(Self::BYTES as usize, 0);
                let read = disk::read_at(self.file, &mut self.buf, at)?;
                self.buf.truncate(read);
                if read == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                continue;
            };
            let len = (range.end - at).min(there.len() as u64);
            crc.update(&there[..len as usize]);
            at += len;
        }
        Ok(crc.finalize())
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
fn unsuitable(found: &Header, Wanted { header: wanted, resume, .. }: Wanted<'_>) -> Option<IndexProblem> {
    if wanted.generation {
        return Some(IndexProblem::InTheWay);
    }
    match resume {
        Resume::SameTag if wanted.tag.is_empty() => return Some(IndexProblem::NoTag),
        Resume::SameTag if wanted.tag != found.tag => return Some(IndexProblem::TagDiffers),
        // It is emptied, whatever it is of.
        Resume::Never => return None,
        Resume::SameTag | Resume::AnyTag => {}
    }
    let differs = wanted.len.is_some() && wanted.len != found.len;
    differs.then_some(IndexProblem::LengthDiffers { found: found.len, given: wanted.len })
}

/// Opens and locks `path`, and sees to it that the locked file is the one that has this name: another writer may have
/// renamed it between the two. A file with another name is refused: a write would change that one, too.
fn open_locked(path: &Path, access: Access) -> StorageResult<File> {
    loop {
        let file = open_file(path, access)?;
        if !disk::try_lock(&file).map_err(|e| failed(path, "lock", e))? {
            return Err(locked(path));
        }
        match same_file(&file, path) {
            Ok(true) => {
                let found = file.metadata().map_err(|e| failed(path, "look at", e))?;
                if disk::has_another_name(&found) {
                    let what = "a file with a second name (a hard link); remove this name, or copy the file";
                    return Err(StorageError::NotAFile { path: path.to_owned(), what });
                }
                return Ok(file);
            }
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(path, "look at", error)),
        }
    }
}

fn locked(path: &Path) -> StorageError {
    StorageError::Locked { path: path.to_owned(), pid: disk::lock_holder(path) }
}

/// Opens the plain file at `path` itself, not what a link there leads to.
///
/// # Errors
/// [`StorageError::NotAFile`], [`FolderMissing`](StorageError::FolderMissing), [`File`](StorageError::File).
pub fn open_file(path: &Path, access: Access) -> StorageResult<File> {
    if let Some(what) = not_a_file(fs::symlink_metadata(path)) {
        return Err(StorageError::NotAFile { path: path.to_owned(), what });
    }
    let doing = if access == Access::ReadWriteOrCreate { "open or create" } else { "open" };
    // If it has become a link since, that is an error and not somebody else's file; a pipe does not block.
    let file = disk::open(path, access).map_err(|error| not_opened(path, doing, error))?;
    match not_a_file(file.metadata()) {
        Some(what) => Err(StorageError::NotAFile { path: path.to_owned(), what }),
        None => Ok(file),
    }
}

/// The error of a file that could not be opened.
pub fn not_opened(path: &Path, doing: &'static str, error: io::Error) -> StorageError {
    let folder = folder_of(path);
    let is_missing = |folder| fs::metadata(folder).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    if error.kind() == io::ErrorKind::NotFound && is_missing(folder) {
        return StorageError::FolderMissing { path: path.to_owned(), folder: folder.to_owned() };
    }
    failed(path, doing, error)
}

/// The unfinished file of `name`, if there is one, as an error for somebody who wants all of it.
pub fn unfinished(name: &Path) -> Option<StorageError> {
    let part = Paths::of(name).data;
    fs::symlink_metadata(&part).ok().filter(fs::Metadata::is_file)?;
    let pid = disk::lock_holder(&part);
    Some(StorageError::Unfinished { path: name.to_owned(), part, pid })
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
        io::ErrorKind::WouldBlock => locked(path),
        _ => failed(path, doing, error),
    }
}

/// Sets an unfinished file aside. The index first: while the data have their name, nobody else gets in.
fn set_aside(paths: &Paths) -> StorageResult<()> {
    set_index_aside(paths)?;
    rename_aside(&paths.data)
}

/// What was set aside before goes as a whole: an index that stayed would be taken for that of the next data. One without
/// data is that of the data here, since whoever set it aside was cut off.
fn set_index_aside(paths: &Paths) -> StorageResult<()> {
    if fs::symlink_metadata(old(&paths.data)).is_ok() {
        remove_set_aside(paths);
    }
    rename_aside(&paths.index)
}

fn rename_aside(path: &Path) -> StorageResult<()> {
    match fs::rename(path, old(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, "set aside", error)),
        _ => Ok(()),
    }
}

/// Where a file is set aside to.
fn old(path: &Path) -> PathBuf {
    beside(path, ".old")
}

/// Removes what was set aside, if it was ours: its index tells. Says whether there was any. The index goes last, so that
/// whoever is cut off in between leaves what the next one still knows for ours.
fn remove_set_aside(paths: &Paths) -> bool {
    let (data, index) = (old(&paths.data), old(&paths.index));
    let ours = index::looks_like_one(&index);
    if ours {
        if fs::symlink_metadata(&data).is_ok_and(|found| found.is_file()) {
            let _ = fs::remove_file(data);
        }
        let _ = fs::remove_file(index);
    }
    ours
}

/// Does something that takes room; if the disk is full, once more without what was set aside, which nobody can resume.
fn with_room_of_set_aside<T>(paths: &Paths, mut take: impl FnMut() -> StorageResult<T>) -> StorageResult<T> {
    match take() {
        Err(StorageError::DiskFull { .. }) if remove_set_aside(paths) => take(),
        taken => taken,
    }
}

/// Removes an index, if there is one that nobody uses.
fn remove_index(paths: &Paths) -> StorageResult<bool> {
    let path = &paths.index;
    let found = Index::open(path).map_err(|error| index_failed(path, "read", error))?;
    let is_one = match &found {
        Ok(_) => true,
        Err(_) => fs::symlink_metadata(path).is_ok_and(|found| found.is_file()),
    };
    if is_one {
        fs::remove_file(path).map_err(|e| failed(path, "remove", e))?;
    }
    Ok(is_one)
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
        let folder = folder_of(name);
        let synced = disk::bounded(|| {
            use rustix::fs::{Mode, OFlags};
            Ok(File::from(rustix::fs::open(folder, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
        });
        synced.and_then(|folder| disk::sync_all(&folder)).map_err(|e| failed(folder, "sync", e))?;
    }
    #[cfg(not(unix))]
    let _ = name;
    Ok(())
}

/// The folder in which `name` lies.
fn folder_of(name: &Path) -> &Path {
    match name.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
