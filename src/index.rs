//! The index: the journal beside an unfinished file, which says which of its bytes are known to be on the medium.
//!
//! The data of `NAME` grow in `NAME.part`; `NAME.part.index` holds a header, and then one record for each stretch that
//! was synced. A flush appends what is new and nothing else, so that it costs what is new. All numbers are
//! little-endian:
//!
//! ```text
//!   offset  bytes
//!        0      8  magic                "rlayindx"
//!        8      4  version              1
//!       12      4  length of the header H = 36 + T
//!       16      8  length of the whole  u64::MAX: unknown
//!       24      4  flags                bit 0: the pieces of a rewrite; the others are 0
//!       28      4  length of the tag    T, at most 1024
//!       32      T  tag                  what the source was, in the words of whoever opened the file
//!   32 + T      4  CRC-32 of all above
//!
//!        H     24  record 0
//!   H + 24     24  record 1, and so on to the end of the file
//!
//!   a record
//!        0      8  start                first offset of the stretch
//!        8      8  end                  first offset behind it
//!       16      4  CRC-32 of the bytes of the stretch
//!       20      4  CRC-32 of the header's CRC-32 (4 bytes), of the record's number (8 bytes), of the 20 bytes above
//! ```
//!
//! # Invariants
//!
//! - **A record is written after its bytes were synced**, never before: `start..end` was on the medium, with that
//!   checksum, when the record was made. The header is synced before the first record.
//! - **What counts is a prefix.** Records are valid up to the first that is not: whose checksum is wrong, whose stretch
//!   is empty or inverted, or which goes past the length of the whole or past `MAX_OFFSET`. What follows that one is
//!   dropped, whatever it looks like.
//! - **A record holds in its place only.** Its checksum covers the header's and its own number. A CRC-32 finds every
//!   change that lies within 32 bits, so a record copied from another place, or one that was left by an index with
//!   another header, is found out for certain. So are a flipped bit, and a tail of zeros (0..0 is empty).
//! - **A half-written record never precedes a whole one**: a torn tail is cut off before anything is appended.
//! - **Order means nothing, and stretches do not overlap.** Whoever resumes joins them in a set. Of an index that lists
//!   more bytes than its file has, which is not one of ours, some records are not believed.
//!
//! # What it assumes of the medium
//!
//! When a sync has returned, what was written before it is there, and stays. Nothing is assumed of what was not synced:
//! after a crash it may be there in part, in any order, as zeros, or as what was there before, and the file may have
//! its old length or its new one. Then a record can even be right and out of date (its bytes replaced by a download
//! that was begun again and cut off): hence the checksum of the bytes, which whoever resumes compares with the data
//! before it believes the record.
//!
//! One process at a time writes an index: the one that holds the lock on `NAME.part`.

use crate::{
    MAX_OFFSET,
    disk::{self, Access, same_file},
};
use std::{
    fmt,
    fs::{self, File},
    io,
    ops::Range,
    path::Path,
};

const MAGIC: [u8; 8] = *b"rlayindx";
const VERSION: u32 = 1;
/// The header without its tag.
const HEADER_MIN: u32 = 36;
const RECORD_BYTES: usize = 24;
/// In place of the length of the whole, which is never above `MAX_OFFSET`.
const UNKNOWN_LEN: u64 = u64::MAX;
const FLAG_GENERATION: u32 = 1;

/// The longest tag, in bytes.
pub const TAG_MAX: usize = 1024;

/// The largest index that is read, and so the largest that is written: 11 million records.
const INDEX_MAX_BYTES: u64 = 256 << 20;

/// What an index says of the whole of its file. Written once, when the index is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The length of the whole, if it is known: at most `MAX_OFFSET`.
    pub len: Option<u64>,
    /// What the source was (an ETag or the like): at most `TAG_MAX` bytes.
    pub tag: Vec<u8>,
    /// The data are the pieces of a rewrite of `NAME`, of no use without it.
    pub generation: bool,
}

/// A stretch that was on the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offsets; not empty.
    pub range: Range<u64>,
    /// The CRC-32 of its bytes.
    pub data_crc: u32,
}

/// What can be believed of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What it says of the whole.
    pub header: Header,
    /// The stretches, in the order in which they were synced. They may overlap.
    pub records: Vec<Record>,
    /// How long the header and these records are, in bytes. The rest of the file is a torn tail.
    pub valid_bytes: u64,
}

/// Why nothing of an unfinished file could be kept. It was set aside, and its data are fetched again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexProblem {
    /// There are data, and no index that says which of them were written.
    #[error("the unfinished file has no index that says which of its bytes were written; they are fetched again")]
    Missing,
    /// What lies in the place of the index is something else: another kind of file, a folder, a link, or a file that has
    /// another name as well.
    #[error("what lies in the place of the unfinished file's index is no index; the data are fetched again")]
    NotAnIndex,
    /// The index was written by a version of this crate with another format.
    #[error(
        "the unfinished file's index has format {found}, and this program knows {known}; the data are fetched again"
    )]
    Version {
        /// The format of the index.
        found: u32,
        /// The format that is known here.
        known: u32,
    },
    /// The checksum of the header is wrong, or the header contradicts itself, or it was cut off.
    #[error("the head of the unfinished file's index is damaged; the data are fetched again")]
    Damaged,
    /// The unfinished file was to have another length.
    #[error(
        "the unfinished file is one of {}, and the one wanted is one of {}; the data are fetched again",
        Length(*.found), Length(*.given)
    )]
    LengthDiffers {
        /// The length in the index, in bytes.
        found: Option<u64>,
        /// The length in the options, in bytes.
        given: Option<u64>,
    },
    /// The unfinished file came from a source with another tag: it has changed since, or is another one.
    #[error("the source has changed since the unfinished file was begun (its tag differs); the data are fetched again")]
    TagDiffers,
    /// No tag was given, so that nothing tells whether the unfinished file came from the same source; see
    /// [`Resume`](crate::Resume).
    #[error(
        "nothing tells whether the unfinished file is of the same source (no tag was given); the data are fetched again"
    )]
    NoTag,
    /// An unfinished file of another kind lay where the changes to a file are collected.
    #[error("an unfinished file lay in the place of the changes to this one")]
    InTheWay,
}

/// A length in words.
struct Length(Option<u64>);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(1) => f.write_str("1 byte"),
            Some(len) => write!(f, "{len} bytes"),
            None => f.write_str("unknown length"),
        }
    }
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (front, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*front)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

impl Header {
    /// Whether a header like this one can be written.
    fn is_valid(&self) -> bool {
        self.tag.len() <= TAG_MAX && self.len.is_none_or(|len| len <= MAX_OFFSET)
    }

    /// Where the last stretch may end.
    fn limit(&self) -> u64 {
        self.len.unwrap_or(MAX_OFFSET)
    }

    /// The header as it lies in the file, and the CRC-32 at its end.
    ///
    /// The tag is not longer than `TAG_MAX`.
    pub fn encode(&self) -> (Vec<u8>, u32) {
        debug_assert!(self.is_valid());
        let tag_len = self.tag.len() as u32;
        let mut bytes = Vec::with_capacity(HEADER_MIN as usize + self.tag.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((HEADER_MIN + tag_len).to_le_bytes());
        bytes.extend(self.len.unwrap_or(UNKNOWN_LEN).to_le_bytes());
        bytes.extend(if self.generation { FLAG_GENERATION } else { 0 }.to_le_bytes());
        bytes.extend(tag_len.to_le_bytes());
        bytes.extend(&self.tag);
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        (bytes, crc)
    }

    /// What follows the magic and the version. `None`: it is damaged.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(MAGIC.len() + size_of_val(&VERSION)..)?;
        let header_bytes = take_u32(&mut rest)?;
        let len = take_u64(&mut rest)?;
        let flags = take_u32(&mut rest)?;
        let tag_len = take_u32(&mut rest)?;
        // Bounded before it is added to or allocated.
        if tag_len > TAG_MAX as u32 || header_bytes != HEADER_MIN + tag_len || flags & !FLAG_GENERATION != 0 {
            return None;
        }
        let (tag, mut rest) = rest.split_at_checked(tag_len as usize)?;
        let crc = take_u32(&mut rest)?;
        let covered = bytes.len() - rest.len() - size_of_val(&crc);
        let header = Self {
            len: (len != UNKNOWN_LEN).then_some(len),
            tag: tag.to_vec(),
            generation: flags & FLAG_GENERATION != 0,
        };
        (crc32fast::hash(&bytes[..covered]) == crc && header.is_valid()).then_some(header)
    }
}

impl Record {
    /// Whether a parser takes it, in an index whose stretches end at `limit` or before.
    fn is_valid(&self, limit: u64) -> bool {
        self.range.start < self.range.end && self.range.end <= limit
    }

    /// The record as it lies in the file, as number `sequence` behind a header with the CRC-32 `header_crc`.
    pub fn encode(&self, header_crc: u32, sequence: u64) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.range.start.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.range.end.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.data_crc.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header_crc.to_le_bytes());
        crc.update(&sequence.to_le_bytes());
        crc.update(&bytes[..20]);
        bytes[20..].copy_from_slice(&crc.finalize().to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; RECORD_BYTES], header_crc: u32, sequence: u64, limit: u64) -> Option<Self> {
        let mut rest = &bytes[..];
        let range = take_u64(&mut rest)?..take_u64(&mut rest)?;
        let record = Self { range, data_crc: take_u32(&mut rest)? };
        (record.encode(header_crc, sequence) == *bytes && record.is_valid(limit)).then_some(record)
    }
}

/// Reads an index, up to the first record that is not valid.
///
/// Total: any bytes are either an index or a problem. It allocates no more than twice the length of `bytes`.
///
/// # Errors
/// What is wrong with the header: [`IndexProblem::NotAnIndex`], [`IndexProblem::Version`] or
/// [`IndexProblem::Damaged`]. Nothing of the file can be believed then.
pub fn parse(bytes: &[u8]) -> Result<Parsed, IndexProblem> {
    let known = MAGIC.len().min(bytes.len());
    let (magic, mut rest) = bytes.split_at(known);
    if magic != &MAGIC[..known] {
        return Err(IndexProblem::NotAnIndex);
    }
    let version = take_u32(&mut rest).ok_or(IndexProblem::Damaged)?;
    if version != VERSION {
        return Err(IndexProblem::Version { found: version, known: VERSION });
    }
    let header = Header::decode(bytes).ok_or(IndexProblem::Damaged)?;
    let (head, header_crc) = header.encode();
    let (pieces, _torn) = bytes[head.len()..].as_chunks();
    let records: Vec<Record> = pieces
        .iter()
        .zip(0..)
        .map_while(|(piece, sequence)| Record::decode(piece, header_crc, sequence, header.limit()))
        .collect();
    let valid_bytes = (head.len() + records.len() * RECORD_BYTES) as u64;
    Ok(Parsed { header, records, valid_bytes })
}

/// An index that is open for appending.
///
/// # Real-time
/// Everything here is blocking. Not for a callback.
#[derive(Debug)]
pub struct Index {
    file: File,
    header_bytes: u64,
    header_crc: u32,
    /// Where the last stretch may end.
    limit: u64,
    /// How many records are whole and synced.
    records: u64,
    /// An append failed, and what it left behind the last record could not be cut off.
    torn: bool,
}

impl Index {
    /// Makes a new index, in place of whatever index lies there, and syncs it. Nobody but the owner may read it: a tag may
    /// hold what the source is called by, an address with a password for example. Whether its name is there after a crash
    /// is decided by a sync of the folder, which is the caller's.
    ///
    /// # Errors
    /// `InvalidInput` if the header cannot be written (its tag or its length is too large), or if something else than
    /// a plain file has that name; a symbolic link is not followed, and a file with a second name loses this one and is
    /// not written. `WouldBlock` if somebody else has it open. Nothing was changed then. After any other error what lies
    /// there is an empty index or a damaged one.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        if !header.is_valid() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the tag or the length is too large for an index"));
        }
        match open_plain(path) {
            Ok(Some(file)) => lock(&file)?,
            Ok(None) if fs::symlink_metadata(path).is_ok_and(|it| it.is_file()) => {}
            Ok(None) => {
                let why = "what lies in the place of the index is no file";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (head, header_crc) = header.encode();
        check_size(head.len() as u64)?;
        // A file of its own, whatever other names the one before has.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk::open(path, Access::CreateNew { private: true })?;
        lock(&file)?;
        disk::write_all(&file, &head)?;
        disk::sync_all(&file)?;
        Ok(Self { file, header_bytes: head.len() as u64, header_crc, limit: header.limit(), records: 0, torn: false })
    }

    /// Opens the index of an unfinished file, and cuts a torn tail off it, so that the next record follows the last
    /// valid one.
    ///
    /// # Errors
    /// The outer error is the medium's: whether there is a good index is not known; `WouldBlock` if somebody else has it
    /// open. The inner one is the index's, which is left as it is.
    pub fn open(path: &Path) -> io::Result<Result<(Self, Parsed), IndexProblem>> {
        let file = match open_plain(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Err(IndexProblem::NotAnIndex)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(IndexProblem::Missing)),
            Err(error) => return Err(error),
        };
        lock(&file)?;
        if file.metadata()?.len() > INDEX_MAX_BYTES {
            return Ok(Err(IndexProblem::NotAnIndex));
        }
        let mut bytes = Vec::new();
        disk::read_up_to(&file, &mut bytes, INDEX_MAX_BYTES)?;
        let parsed = match parse(&bytes) {
            Ok(parsed) => parsed,
            Err(problem) => return Ok(Err(problem)),
        };
        disk::make_private(&file);
        let (head, header_crc) = parsed.header.encode();
        let index = Self {
            file,
            header_bytes: head.len() as u64,
            header_crc,
            limit: parsed.header.limit(),
            records: parsed.records.len() as u64,
            torn: false,
        };
        if index.end() < bytes.len() as u64 {
            index.cut()?;
        }
        Ok(Ok((index, parsed)))
    }

    /// A new index at `path`, in place of this one, that lists only `records`. It is written beside it, at `scratch`, and
    /// synced before it takes the place; whether it has it after a crash is decided by a sync of the folder.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`append`](Self::append); the old index is there then.
    pub fn replace(&self, path: &Path, scratch: &Path, header: &Header, records: &[Record]) -> io::Result<Self> {
        // A link, a pipe or a second name of somebody's file: the name is ours, and what it led to is unharmed.
        let _ = fs::remove_file(scratch);
        let mut new = Self::create(scratch, header)?;
        new.append(records)?;
        fs::rename(scratch, path)?;
        Ok(new)
    }

    /// Appends records of stretches whose bytes are synced, all in one write, and syncs them.
    ///
    /// # Errors
    /// `InvalidInput` for a record that a parser would not take, `FileTooLarge` if the index would be larger than
    /// what is read (256 MiB); or the medium's. In any case those before are in the index, and none of these is to be
    /// counted on. The next append may give them once more: they are written anew, since it is not known what a failed
    /// sync has left of a write.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if !records.iter().all(|record| record.is_valid(self.limit)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a stretch is empty or beyond the length"));
        }
        if records.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = records
            .iter()
            .zip(self.records..)
            .flat_map(|(record, sequence)| record.encode(self.header_crc, sequence))
            .collect();
        if bytes.len() as u64 > INDEX_MAX_BYTES.saturating_sub(self.end()) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the index is as large as it may be"));
        }
        check_size(self.end() + bytes.len() as u64)?;
        if self.torn {
            self.cut()?;
            self.torn = false;
        }
        if let Err(error) = self.write(&bytes) {
            // What was written of them goes now or, failing that, before anything else is written.
            self.torn = self.cut().is_err();
            return Err(error);
        }
        self.records += records.len() as u64;
        Ok(())
    }

    /// Whether this is the file that `path` names now: another may have removed it before we had the lock.
    pub fn is_at(&self, path: &Path) -> bool {
        same_file(&self.file, path).unwrap_or(false)
    }

    /// Lets others have it.
    pub fn unlock(&self) {
        let _ = self.file.unlock();
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        disk::write_at(&self.file, bytes, self.end())?;
        // The length of the file is among what this syncs.
        disk::sync_data(&self.file)
    }

    /// Where the last valid record ends.
    fn end(&self) -> u64 {
        self.header_bytes + self.records * RECORD_BYTES as u64
    }

    /// Drops all behind the last valid record.
    fn cut(&self) -> io::Result<()> {
        disk::set_len(&self.file, self.end())
    }
}

/// An index has one writer, and is read by it alone.
fn lock(file: &File) -> io::Result<()> {
    if disk::try_lock(file)? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// An index must not become longer than this process may make a file.
fn check_size(end: u64) -> io::Result<()> {
    let limit = disk::size_limit();
    if end > limit {
        let why = format!("it would have {end} bytes, and this process may write {limit} (ulimit -f); raise the limit");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(())
}

/// Opens what lies at `path` itself, to be read and written. `None`: it is no plain file, or has another name as well.
fn open_plain(path: &Path) -> io::Result<Option<File>> {
    match disk::open(path, Access::ReadWrite) {
        Ok(file) => {
            let found = file.metadata()?;
            Ok((found.is_file() && !disk::has_another_name(&found)).then_some(file))
        }
        // A folder, or a symbolic link: each system refuses those with an error of its own.
        Err(_) if fs::symlink_metadata(path).is_ok_and(|it| !it.is_file()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether what lies at `path` was an index, whole or damaged: a plain file that begins as one does.
pub fn looks_like_one(path: &Path) -> bool {
    let Ok(file) = disk::open(path, Access::Read) else { return false };
    let mut magic = [0; MAGIC.len()];
    file.metadata().is_ok_and(|found| found.is_file())
        && disk::read_at(&file, &mut magic, 0).is_ok_and(|read| read == magic.len())
        && magic == MAGIC
}

#[cfg(test)]
mod tests;
