//! `kithara-storage`'s store in a file.

use super::store::{Store, StoreReader, StoreWriter, write_stream};
use kithara_platform::CancelToken;
use kithara_storage::{MmapDriver, MmapOptions, ResourceRead, ResourceReader, ResourceWriter, WaitOutcome};
use std::{ops::Range, path::Path};

/// Its name in the tables.
pub const NAME: &str = "kithara-storage";

/// `MmapDriver`. It syncs nothing, neither at the commit nor before.
pub struct Theirs;

impl Store for Theirs {
    type Writer = ResourceWriter<MmapDriver>;
    type Reader = ResourceReader<MmapDriver>;

    fn name(&self) -> String {
        NAME.into()
    }

    fn open(&self, folder: &Path, len: u64) -> (Self::Writer, Self::Reader) {
        let options = MmapOptions::for_path(folder.join("theirs")).initial_len(len).build();
        let writer = ResourceWriter::open(CancelToken::never(), options).expect("a file in a new folder");
        let reader = writer.reader();
        (writer, reader)
    }
}

impl StoreWriter for ResourceWriter<MmapDriver> {
    #[inline]
    fn write(&mut self, offset: u64, data: &[u8]) {
        self.write_at(offset, data).expect("a file that takes bytes");
    }

    /// All of it at once: bytes that are there are written over. One write leaves one fragment; a byte of each page
    /// would leave as many as there are pages, and every write would pay for them.
    fn warm(&mut self, len: u64) {
        write_stream(self, len);
    }

    fn commit(self, len: u64) {
        ResourceWriter::commit(self, Some(len)).expect("a file that takes bytes");
    }
}

impl StoreReader for ResourceReader<MmapDriver> {
    #[inline]
    fn read(&self, offset: u64, buf: &mut [u8]) -> bool {
        self.read_at(offset, buf).is_ok_and(|n| n == buf.len())
    }

    fn read_there(&self, offset: u64, buf: &mut [u8]) -> bool {
        self.read(offset, buf)
    }

    #[inline]
    fn contains(&self, range: Range<u64>) -> bool {
        self.contains_range(range)
    }

    #[inline]
    fn wait(&self, range: Range<u64>) -> bool {
        matches!(self.wait_range(range), Ok(WaitOutcome::Ready))
    }
}
