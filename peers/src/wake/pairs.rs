//! Who sleeps, and who wakes them: ours and the rivals that have something to sleep on.

use crate::{
    linear::{
        store::{Store, StoreReader, StoreWriter},
        theirs::Theirs,
    },
    pipe::{CAPACITY, Receiver, locked, ours},
};
use ringbuf_blocking::{
    BlockingCons, BlockingHeapRb, BlockingProd,
    traits::{Consumer, Producer, Split},
};
use roundelay::{Reader, Resource, RingDriver, WaitOutcome, Writer};
use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

/// Reads a stream on.
pub trait Sleeper: Send {
    /// Blocks until so many bytes are there that were not taken, and says whether they are.
    fn wait(&mut self, len: usize) -> bool;

    /// Takes bytes that are there.
    fn take(&mut self, buf: &mut [u8]) -> bool;
}

/// Writes a stream on.
pub trait Publisher {
    fn publish(&mut self, bytes: &[u8]);
}

/// A reader of a ring, and where it is.
pub struct Ours {
    reader: Reader<RingDriver>,
    position: u64,
}

/// Keeps the ring beside its writer, which counts the wakes.
pub struct OurPublisher {
    writer: Writer<RingDriver>,
    pub ring: Resource<RingDriver>,
}

impl Ours {
    pub fn open() -> (Self, OurPublisher) {
        let (ring, writer) = ours::ring();
        (Self { reader: ring.reader(), position: 0 }, OurPublisher { writer, ring })
    }
}

impl Sleeper for Ours {
    fn wait(&mut self, len: usize) -> bool {
        matches!(self.reader.wait_range(self.position..self.position + len as u64), Ok(WaitOutcome::Ready))
    }

    fn take(&mut self, buf: &mut [u8]) -> bool {
        let there = self.reader.try_read_at(self.position, buf).is_ok_and(|n| n == buf.len());
        self.position += buf.len() as u64;
        there
    }
}

impl Publisher for OurPublisher {
    fn publish(&mut self, bytes: &[u8]) {
        self.writer.append(bytes).expect("nobody holds the writer");
    }
}

/// What the standard library has for it.
pub struct Condition {
    queue: locked::End,
    changed: Arc<Condvar>,
}

pub struct Notifier {
    queue: Arc<Mutex<VecDeque<u8>>>,
    changed: Arc<Condvar>,
}

impl Condition {
    pub fn open() -> (Self, Notifier) {
        let queue = Arc::new(Mutex::new(VecDeque::with_capacity(CAPACITY)));
        let changed = Arc::new(Condvar::new());
        (Self { queue: locked::End(queue.clone()), changed: changed.clone() }, Notifier { queue, changed })
    }
}

impl Sleeper for Condition {
    fn wait(&mut self, len: usize) -> bool {
        let queue = self.queue.0.lock().expect("nobody panicked");
        self.changed.wait_while(queue, |queue| queue.len() < len).is_ok()
    }

    fn take(&mut self, buf: &mut [u8]) -> bool {
        self.queue.receive(buf)
    }
}

impl Publisher for Notifier {
    fn publish(&mut self, bytes: &[u8]) {
        self.queue.lock().expect("nobody panicked").extend(bytes);
        // After the lock is given back, so that the sleeper does not wake up to find it taken.
        self.changed.notify_one();
    }
}

type BlockingBytes = Arc<BlockingHeapRb<u8>>;

/// `ringbuf`'s form that blocks.
pub struct Blocking(BlockingCons<BlockingBytes>);

impl Blocking {
    pub fn open() -> (Self, BlockingProd<BlockingBytes>) {
        let (producer, consumer) = BlockingHeapRb::new(CAPACITY).split();
        (Self(consumer), producer)
    }
}

impl Sleeper for Blocking {
    fn wait(&mut self, len: usize) -> bool {
        self.0.wait_occupied(len).is_ok()
    }

    fn take(&mut self, buf: &mut [u8]) -> bool {
        self.0.pop_slice(buf) == buf.len()
    }
}

impl Publisher for BlockingProd<BlockingBytes> {
    fn publish(&mut self, bytes: &[u8]) {
        assert_eq!(self.push_slice(bytes), bytes.len(), "there is room");
    }
}

/// A reader of `kithara-storage`, and where it is.
pub struct Kept {
    reader: <Theirs as Store>::Reader,
    position: u64,
}

pub struct Keeper {
    writer: <Theirs as Store>::Writer,
    position: u64,
}

impl Kept {
    pub fn open(folder: &Path) -> (Self, Keeper) {
        let (writer, reader) = Theirs.open(folder, CAPACITY as u64);
        (Self { reader, position: 0 }, Keeper { writer, position: 0 })
    }
}

impl Sleeper for Kept {
    fn wait(&mut self, len: usize) -> bool {
        self.reader.wait(self.position..self.position + len as u64)
    }

    fn take(&mut self, buf: &mut [u8]) -> bool {
        let there = self.reader.read(self.position, buf);
        self.position += buf.len() as u64;
        there
    }
}

impl Publisher for Keeper {
    fn publish(&mut self, bytes: &[u8]) {
        self.writer.write(self.position, bytes);
        self.position += bytes.len() as u64;
    }
}
