//! A driver of somebody else's, by the book: it overrides nothing, and fails when it is told to.

use rangemap::RangeSet;
use roundelay::{AnyDriver, DriverIo, StorageError, StorageResult};
use std::{
    mem,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

/// It has room for so many bytes.
pub const ROOM: u64 = 1 << 17;

/// What is made to fail.
#[derive(arbitrary::Arbitrary, Clone, Copy, Debug)]
pub enum Method {
    Write,
    Commit,
    Reactivate,
    Read,
}

/// What the test tells the driver, and what the driver keeps.
#[derive(Default)]
pub struct Script {
    bytes: Vec<u8>,
    written: RangeSet<u64>,
    /// What of that stays as it is: a generation that follows a commit may write once over what it inherits.
    kept: RangeSet<u64>,
    committed: bool,
    /// The next call of these fails, in the order of [`Method`].
    broken: [bool; 4],
}

#[derive(Clone, Default)]
pub struct Actor(Arc<Mutex<Script>>);

impl Actor {
    /// One that holds these bytes.
    pub fn holding(bytes: Vec<u8>) -> Self {
        let written: RangeSet<u64> = (!bytes.is_empty()).then_some(0..bytes.len() as u64).into_iter().collect();
        let kept = written.clone();
        Self(Arc::new(Mutex::new(Script { bytes, written, kept, committed: true, ..Script::default() })))
    }

    /// The next call of `method` fails.
    pub fn break_next(&self, method: Method) {
        self.script().broken[method as usize] = true;
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        self.script().broken = [false; 4];
    }

    pub fn fails(&self, method: Method) -> bool {
        self.script().broken[method as usize]
    }

    /// How many bytes it holds.
    pub fn len(&self) -> u64 {
        self.script().bytes.len() as u64
    }

    pub fn driver(&self) -> AnyDriver {
        Box::new(self.clone())
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("nothing panics in here that goes on")
    }

    fn answer(&self, method: Method) -> StorageResult<()> {
        match mem::take(&mut self.script().broken[method as usize]) {
            true => Err(StorageError::other("on purpose")),
            false => Ok(()),
        }
    }
}

impl DriverIo for Actor {
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        self.answer(Method::Commit)?;
        let mut script = self.script();
        if let Some(len) = final_len {
            script.bytes.truncate(len as usize);
            script.written.remove(len..u64::MAX);
        }
        script.committed = true;
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn reactivate(&self) -> StorageResult<()> {
        self.answer(Method::Reactivate)?;
        let mut script = self.script();
        if mem::take(&mut script.committed) {
            script.kept.clear();
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        self.answer(Method::Read)?;
        let script = self.script();
        let range = offset..offset + buf.len() as u64;
        assert!(!range.is_empty() && range.end <= effective_len && effective_len <= script.bytes.len() as u64);
        assert!(script.written.gaps(&range).next().is_none(), "asked for bytes that were not written");
        buf.copy_from_slice(&script.bytes[range.start as usize..range.end as usize]);
        Ok(buf.len())
    }

    fn storage_len(&self) -> u64 {
        self.script().bytes.len() as u64
    }

    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()> {
        assert!(!committed && !data.is_empty());
        let failed = self.answer(Method::Write);
        if offset > ROOM || offset + data.len() as u64 > ROOM {
            return Err(StorageError::other("no room"));
        }
        let mut script = self.script();
        // One that fails has written a half.
        let data = if failed.is_err() { &data[..data.len() / 2] } else { data };
        let (start, end) = (offset as usize, offset as usize + data.len());
        let len = script.bytes.len().max(end);
        script.bytes.resize(len, 0);
        script.bytes[start..end].copy_from_slice(data);
        failed?;
        let range = start as u64..end as u64;
        assert!(script.kept.overlapping(&range).next().is_none(), "what is there stays as it is");
        script.written.insert(range.clone());
        script.kept.insert(range);
        Ok(())
    }
}
