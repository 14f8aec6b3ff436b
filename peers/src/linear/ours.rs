//! `roundelay`'s store in a file.

use super::store::{PAGE, Store, StoreReader, StoreWriter};
use crate::buffer::fill;
use roundelay::{CancelToken, MmapDriver, MmapOptions, Reader, Resource, WaitOutcome, Writer};
use std::{ops::Range, path::Path};

/// `MmapDriver`, which syncs what was written after so many bytes.
pub struct Ours {
    flush_every_bytes: Option<u64>,
}

impl Ours {
    /// Synced at the commit, and not before: until then the kernel has the pages, as it has all those of the rival.
    pub const AT_COMMIT: Self = Self { flush_every_bytes: None };

    /// As whoever asks for nothing gets it.
    pub fn by_default() -> Self {
        Self { flush_every_bytes: MmapOptions::new("").flush_every_bytes }
    }
}

impl Store for Ours {
    type Writer = Writer<MmapDriver>;
    type Reader = Reader<MmapDriver>;

    fn name(&self) -> String {
        match self.flush_every_bytes {
            None => "flush at commit".into(),
            Some(bytes) => format!("flush every {} MiB", bytes >> 20),
        }
    }

    fn open(&self, folder: &Path, len: u64) -> (Self::Writer, Self::Reader) {
        let options = MmapOptions {
            len: Some(len),
            flush_every_bytes: self.flush_every_bytes,
            ..MmapOptions::new(folder.join("ours"))
        };
        let store = Resource::open(CancelToken::new(), options).expect("a file in a new folder");
        (store.writer().expect("the first writer"), store.reader())
    }
}

impl StoreWriter for Writer<MmapDriver> {
    #[inline]
    fn write(&mut self, offset: u64, data: &[u8]) {
        self.write_at(offset, data).expect("the file is reserved");
    }

    /// A byte of each page: bytes that are there stay as they are, so that those to come have to be new ones.
    fn warm(&mut self, len: u64) {
        for page in (0..len).step_by(PAGE as usize) {
            let mut byte = [0];
            fill(page, &mut byte);
            self.write(page, &byte);
        }
    }

    fn commit(mut self, len: u64) {
        Writer::commit(&mut self, Some(len)).expect("all of it was written");
    }
}

impl StoreReader for Reader<MmapDriver> {
    #[inline]
    fn read(&self, offset: u64, buf: &mut [u8]) -> bool {
        self.try_read_at(offset, buf).is_ok_and(|n| n == buf.len())
    }

    fn read_there(&self, offset: u64, buf: &mut [u8]) -> bool {
        self.read_at(offset, buf).is_ok_and(|n| n == buf.len())
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
