//! What the fuzzer makes up: a store, and what is done with it.

use crate::{actor::Method, model::BLOCK};
use arbitrary::{Arbitrary, Unstructured};
use roundelay::{MmapOptions, OpenMode, Resume};
use std::{ops::Range, path::Path};

#[derive(Debug)]
pub struct Input {
    pub store: StoreInput,
    pub operations: Vec<Operation>,
}

/// As many operations as there are bytes for. (Derived, each one would be the last with a chance of a half.)
impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let store = bytes.arbitrary()?;
        let mut operations = Vec::new();
        while !bytes.is_empty() {
            operations.push(bytes.arbitrary()?);
        }
        Ok(Self { store, operations })
    }
}

#[derive(Arbitrary, Debug)]
pub enum StoreInput {
    Memory(MemoryInput),
    /// With so many bytes in the file that is there already.
    File(Option<u16>, FileInput),
    /// With so many bytes in it, and of this length.
    Actor(u16, Option<u16>),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct MemoryInput {
    pub initial: Option<u16>,
    pub capacity: Option<u16>,
    pub len: Option<u16>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct FileInput {
    pub mode: Mode,
    pub len: Option<u16>,
    pub tag: u8,
    pub flush_every: Option<u16>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Mode {
    Auto,
    ReadWrite,
    ReadOnly,
    Replace,
}

impl FileInput {
    pub fn options(self, path: &Path) -> MmapOptions {
        MmapOptions {
            path: path.to_owned(),
            mode: match self.mode {
                Mode::Auto => OpenMode::Auto,
                Mode::ReadWrite => OpenMode::ReadWrite,
                Mode::ReadOnly => OpenMode::ReadOnly,
                Mode::Replace => OpenMode::Replace,
            },
            len: self.len.map(u64::from),
            tag: vec![7; usize::from(self.tag % 3)],
            resume: [Resume::SameTag, Resume::AnyTag, Resume::Never][usize::from(self.tag / 3 % 3)],
            flush_every_bytes: self.flush_every.map(u64::from),
        }
    }
}

#[derive(Arbitrary, Debug)]
pub enum Operation {
    TakeWriter,
    DropWriter,
    WriteAt(Place, Len),
    TryWriteAt(Place, Len),
    Append(Len),
    Commit(Option<Place>),
    Fail(bool),
    Cancel,
    Reactivate,
    IntoFetcher,
    CloneFetcher,
    DropFetcher,
    Claim(Len),
    Fill(u8, Len),
    DropClaim(u8),
    Flush,
    KeepReader,
    Refresh(u8),
    Read(u8, Place, Len, bool),
    Ask(u8, Place, Len),
    AskBackwards(Place, Place),
    Cursor(CursorOperation),
    /// Dropped and opened again; or as after a crash, from a copy of the files.
    Reopen(FileInput, bool),
    OpenAgain(FileInput),
    Break(Method),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum CursorOperation {
    TryRead(Len),
    Read(Len),
    SeekTo(Place),
    SeekEnd(i8),
    Oldest,
    Live,
    Refresh,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Place {
    Here(u16),
    /// About where a block begins; the first segment ends with one of them.
    Block(u8, i8),
    Live(i8),
    Hostile(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Len {
    Bytes(u8),
    Blocks(u8, i8),
    Much,
}

impl Len {
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bytes(n) => n.into(),
            Self::Blocks(n, by) => (u64::from(n % 3) * BLOCK).saturating_add_signed(by.into()),
            Self::Much => 70_000,
        }
    }
}

/// What is written by the write of this number: it tells apart a byte from one that was written there before.
pub fn data(seed: u64, range: Range<u64>) -> Vec<u8> {
    range.map(|at| (at ^ at >> 8).wrapping_mul(167).wrapping_add(seed.wrapping_mul(29)) as u8).collect()
}
