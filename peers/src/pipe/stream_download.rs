//! `stream-download`'s storage: what it keeps a download in, between the task that fetches and the thread that reads.

use super::{CAPACITY, Pipe, Receiver, Sender};
use std::{
    io::{Read, Write},
    num::NonZeroUsize,
};
use stream_download::storage::{
    StorageProvider,
    bounded::{BoundedStorageProvider, BoundedStorageReader, BoundedStorageWriter},
    memory::{MemoryStorage, MemoryStorageProvider},
};

/// Its bounded storage, in memory.
pub struct Bounded;

impl Pipe for Bounded {
    type Sender = BoundedStorageWriter<MemoryStorage>;
    type Receiver = BoundedStorageReader<MemoryStorage>;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let capacity = NonZeroUsize::new(CAPACITY).expect("a megabyte is more than nothing");
        let storage = BoundedStorageProvider::new(MemoryStorageProvider, capacity);
        let (reader, writer) = storage.into_reader_writer(None).expect("a megabyte of memory");
        (writer, reader)
    }
}

impl Sender for BoundedStorageWriter<MemoryStorage> {
    /// Pieces divide the capacity, so that room for a part of one is room for all of it.
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.write(piece).is_ok_and(|n| n == piece.len())
    }
}

impl Receiver for BoundedStorageReader<MemoryStorage> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.read(piece).is_ok_and(|n| n == piece.len())
    }
}

/// Its storage in memory that keeps everything, and a reader of it.
pub fn kept(bytes: &[u8]) -> MemoryStorage {
    let storage = MemoryStorageProvider.into_reader_writer(Some(bytes.len() as u64));
    let (reader, mut writer) = storage.expect("a megabyte of memory");
    writer.write_all(bytes).expect("it has room");
    reader
}
