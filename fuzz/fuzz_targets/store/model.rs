//! What a store is by the book: each generation's bytes, which of them are there, and how it ended; and the files of
//! one that has some.

use rangemap::RangeSet;
use roundelay::{
    IndexProblem, Leftover, MmapOptions, OpenMode, ReadError, ResourceStatus, Resume, StorageError, WaitOutcome,
};
use std::{ops::Range, time::Duration};

pub const BLOCK: u64 = 4096;
pub const NOW: Duration = Duration::ZERO;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Life {
    Active,
    Committed(u64),
    Failed,
    Cancelled,
}

impl Life {
    pub fn is(self, status: &ResourceStatus) -> bool {
        match (self, status) {
            (Self::Active, ResourceStatus::Active)
            | (Self::Failed, ResourceStatus::Failed(_))
            | (Self::Cancelled, ResourceStatus::Cancelled) => true,
            (Self::Committed(len), &ResourceStatus::Committed { final_len }) => len == final_len,
            _ => false,
        }
    }

    /// The error of somebody who wants to write, and of one who waits for what is missing.
    pub fn error(self) -> Option<StorageError> {
        match self {
            Self::Active => None,
            Self::Committed(_) => Some(StorageError::Committed),
            Self::Failed => Some(failed()),
            Self::Cancelled => Some(StorageError::Cancelled),
        }
    }
}

/// The reason is not compared.
pub fn failed() -> StorageError {
    StorageError::Failed(StorageError::WriterDropped.into())
}

#[derive(Clone, Debug)]
pub struct Generation {
    pub bytes: Vec<u8>,
    pub there: RangeSet<u64>,
    /// What was written in this generation: it stays as it is. What was only inherited may be written once more.
    pub written: RangeSet<u64>,
    /// Below, all was there when the generation began.
    pub inherited: u64,
    pub life: Life,
    pub expected_len: Option<u64>,
}

impl Generation {
    pub fn new(expected_len: Option<u64>) -> Self {
        let (there, written) = Default::default();
        Self { bytes: Vec::new(), there, written, inherited: 0, life: Life::Active, expected_len }
    }

    pub fn committed(bytes: Vec<u8>) -> Self {
        let len = bytes.len() as u64;
        let there = (len > 0).then_some(0..len).into_iter().collect();
        Self { bytes, there, inherited: len, life: Life::Committed(len), ..Self::new(None) }
    }

    /// The one that follows.
    pub fn next(&self) -> Self {
        match self.life {
            Life::Committed(_) => Self { life: Life::Active, ..Self::committed(self.bytes.clone()) },
            _ => Self { life: Life::Active, ..self.clone() },
        }
    }

    /// Where its readers find the end.
    fn end(&self) -> Option<u64> {
        match self.life {
            Life::Active => self.expected_len,
            Life::Committed(len) => Some(len),
            Life::Failed | Life::Cancelled => None,
        }
    }

    pub fn live_edge(&self) -> u64 {
        self.there.last().map_or(0, |last| last.end)
    }

    pub fn final_len(&self) -> Option<u64> {
        if let Life::Committed(len) = self.life { Some(len) } else { None }
    }

    pub fn write(&mut self, at: u64, data: &[u8]) {
        let (start, end) = (at as usize, at as usize + data.len());
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[start..end].copy_from_slice(data);
        self.written.insert(at..end as u64);
        self.there.insert(at..end as u64);
    }

    /// Ends it.
    pub fn commit(&mut self, len: u64) {
        self.bytes.truncate(len as usize);
        self.there.remove(len..u64::MAX);
        self.life = Life::Committed(len);
    }

    /// How many bytes a read at `offset` has at most, or why it has none.
    pub fn run(&self, offset: u64) -> Result<u64, ReadError> {
        match (self.there.get(&offset), self.life) {
            (Some(range), _) => Ok(range.end - offset),
            (None, Life::Active) if self.end().is_some_and(|end| offset >= end) => Ok(0),
            (None, Life::Active) => Err(ReadError::NotYet),
            (None, Life::Failed) => Err(ReadError::Failed),
            (None, Life::Cancelled) => Err(ReadError::Cancelled),
            (None, Life::Committed(len)) => {
                assert!(offset >= len, "the model has a hole");
                Ok(0)
            }
        }
    }

    /// Whether a lock is needed to tell what is there of the block of `offset`: it was written in several pieces.
    pub fn has_strays(&self, offset: u64) -> bool {
        let block = offset / BLOCK * BLOCK;
        let pieces = self.written.overlapping(block..block.saturating_add(BLOCK));
        !matches!(self.life, Life::Committed(_)) && pieces.count() > 1
    }

    /// What a wait that only looks finds.
    pub fn wait(&self, range: &Range<u64>) -> Result<WaitOutcome, StorageError> {
        if range.end < range.start {
            return Err(StorageError::InvalidRange { start: range.start, end: range.end });
        }
        let range = match self.end() {
            Some(end) if !range.is_empty() && range.start >= end => return Ok(WaitOutcome::Eof),
            Some(end) => range.start..range.end.min(end),
            None => range.clone(),
        };
        let missing = if range.is_empty() { None } else { self.there.gaps(&range).last() };
        match (missing, self.life.error()) {
            (None, _) => Ok(WaitOutcome::Ready),
            (Some(_), Some(error)) => Err(error),
            (Some(gap), None) if gap.end > roundelay::MAX_OFFSET => {
                Err(StorageError::OffsetOverflow { offset: range.start, len: 0 })
            }
            (Some(_), None) => Ok(WaitOutcome::TimedOut),
        }
    }
}

/// What a folder holds.
#[derive(Clone, Default)]
pub struct Disk {
    pub whole: Option<Vec<u8>>,
    pub part: Option<Part>,
    /// What was set aside last.
    pub aside: Option<Part>,
}

/// `NAME.part` and its index.
#[derive(Clone, Default)]
pub struct Part {
    pub bytes: Vec<u8>,
    /// What would be there after a crash.
    pub durable: RangeSet<u64>,
    pub len: Option<u64>,
    pub tag: Vec<u8>,
    /// It is not empty: something was reserved.
    pub grown: bool,
    /// It holds the changes to a file, and nobody goes on with it.
    pub rewrite: bool,
}

impl Disk {
    /// What an open finds, and whether it goes on with the unfinished file.
    pub fn open(&mut self, options: &MmapOptions) -> Result<(Generation, Leftover, bool), StorageError> {
        match &self.whole {
            Some(whole) if options.mode != OpenMode::Replace => {
                let (path, found) = (options.path.clone(), whole.len() as u64);
                return match options.len.filter(|&len| len != found) {
                    Some(wanted) => Err(StorageError::LengthDiffers { path, found, wanted }),
                    None => Ok((Generation::committed(whole.clone()), Leftover::None, false)),
                };
            }
            None if options.mode == OpenMode::ReadOnly => {
                let path = options.path.clone();
                return Err(if self.part.is_some() {
                    StorageError::Unfinished { part: path.clone(), path, pid: None }
                } else {
                    StorageError::File { path, doing: "open", source: std::io::ErrorKind::NotFound.into() }
                });
            }
            _ => {}
        }
        let found = self.part.take().filter(|part| part.grown && !part.rewrite);
        let why = found.as_ref().and_then(|part| {
            match options.resume {
                Resume::SameTag if options.tag.is_empty() => return Some(IndexProblem::NoTag),
                Resume::SameTag if options.tag != part.tag => return Some(IndexProblem::TagDiffers),
                Resume::Never => return None,
                Resume::SameTag | Resume::AnyTag => {}
            }
            let differs = options.len.is_some() && options.len != part.len;
            differs.then_some(IndexProblem::LengthDiffers { found: part.len, given: options.len })
        });
        let bytes = found.iter().flat_map(|part| part.durable.iter()).map(|range| range.end - range.start).sum();
        let (len, tag) = (options.len, options.tag.clone());
        let new = Part { len, tag, grown: len.is_some_and(|len| len > 0), ..Part::default() };
        let (part, leftover) = match (found, why) {
            (Some(_), None) if options.resume == Resume::Never => (new, Leftover::Discarded { bytes }),
            (Some(part), None) => {
                (part, if bytes > 0 { Leftover::Resumed { bytes, dropped: 0 } } else { Leftover::None })
            }
            (found, Some(why)) if bytes > 0 => {
                self.aside = found;
                (new, Leftover::SetAside { why })
            }
            _ => (new, Leftover::None),
        };
        let (there, written) = (part.durable.clone(), part.durable.clone());
        let generation = Generation { bytes: part.bytes.clone(), there, written, ..Generation::new(part.len) };
        self.part = Some(part);
        Ok((generation, leftover, true))
    }

    /// The committed file is about to be written anew.
    pub fn rewrite(&mut self) -> Leftover {
        let found = self.part.replace(Part { rewrite: true, ..Part::default() });
        match found.filter(|part| part.grown && !part.rewrite && !part.durable.is_empty()) {
            None => Leftover::None,
            found => {
                self.aside = found;
                Leftover::SetAside { why: IndexProblem::InTheWay }
            }
        }
    }

    /// The names of its files.
    pub fn names(&self) -> Vec<&'static str> {
        let kinds: [(bool, &[&str]); 3] = [
            (self.whole.is_some(), &["f"]),
            (self.part.is_some(), &["f.part", "f.part.index"]),
            (self.aside.is_some(), &["f.part.index.old", "f.part.old"]),
        ];
        kinds.iter().filter(|(there, _)| *there).flat_map(|(_, names)| names.iter().copied()).collect()
    }
}
