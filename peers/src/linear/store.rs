//! What the works ask of a store, behind one interface that the compiler sees through.

use crate::buffer::fill;
use std::{ops::Range, path::Path};
use tempfile::TempDir;

/// Something that makes stores.
pub trait Store {
    type Writer: StoreWriter;
    type Reader: StoreReader;

    fn name(&self) -> String;

    /// A new store of `len` bytes that are yet to come, in files in `folder`. Its length is known beforehand to both,
    /// so that neither has to grow.
    fn open(&self, folder: &Path, len: u64) -> (Self::Writer, Self::Reader);
}

pub trait StoreWriter {
    fn write(&mut self, offset: u64, data: &[u8]);

    /// Makes the first `len` bytes, whole pages that nobody has written, warm: no write to them comes upon a page that
    /// is yet to be mapped, and each of them still has something to write.
    fn warm(&mut self, len: u64);

    fn commit(self, len: u64);
}

pub trait StoreReader {
    /// Fills `buf`, or says that it cannot at once.
    fn read(&self, offset: u64, buf: &mut [u8]) -> bool;

    /// Fills `buf` with bytes that are there, if it takes a lock.
    fn read_there(&self, offset: u64, buf: &mut [u8]) -> bool;

    fn contains(&self, range: Range<u64>) -> bool;

    /// Waits for `range`, and says whether it is there now.
    fn wait(&self, range: Range<u64>) -> bool;
}

/// The page of the machine, as far as stores are concerned: none of them is smaller.
pub const PAGE: u64 = 4096;

/// A folder that goes when it is dropped, with all that is in it. Handles of stores go first.
pub fn folder() -> TempDir {
    TempDir::with_prefix("peers-").expect("a new folder among the temporary ones")
}

/// Writes the first `len` bytes of a stream, as [`check`](crate::buffer::check) expects them.
pub fn write_stream(writer: &mut impl StoreWriter, len: u64) {
    let mut bytes = vec![0; len as usize];
    fill(0, &mut bytes);
    writer.write(0, &bytes);
}
