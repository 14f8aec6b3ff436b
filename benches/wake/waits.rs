//! Somebody who waits for bytes, and somebody who publishes them: ours, and what is used otherwise.

use ringbuf_blocking::{
    BlockingHeapRb,
    traits::{Consumer, Producer, Split},
};
use roundelay::{Reader, Resource, RingDriver, RingOptions, WaitOutcome, Writer};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

/// More than is ever there at once.
const CAPACITY: usize = 1 << 18;

/// How often somebody looks whom nobody wakes.
const POLL: Duration = Duration::from_millis(1);

pub trait Publisher: Send {
    fn publish(&mut self, bytes: &[u8]);
}

pub trait Sleeper: Send {
    /// Sleeps until so many bytes are there that were not read before.
    fn wait(&mut self, bytes: usize);
    /// Reads them.
    fn read(&mut self, bytes: &mut [u8]);
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Roundelay,
    Condvar,
    Poll,
    Ringbuf,
}

impl Contender {
    pub const ALL: [Self; 4] = [Self::Roundelay, Self::Condvar, Self::Poll, Self::Ringbuf];

    pub fn name(self) -> &'static str {
        match self {
            Self::Roundelay => "roundelay",
            Self::Condvar => "Mutex + Condvar + VecDeque",
            Self::Poll => "rtrb, polled each 1 ms",
            Self::Ringbuf => "ringbuf-blocking",
        }
    }

    pub fn open(self) -> (Box<dyn Publisher>, Box<dyn Sleeper>) {
        match self {
            Self::Roundelay => {
                let options = RingOptions { prefault: true, ..RingOptions::new(CAPACITY) };
                let ring = roundelay::open(options).expect("some memory");
                let writer = ring.writer().expect("the first writer");
                let sleeper = Ours { reader: ring.reader(), at: 0 };
                (Box::new(OurWriter { writer, _ring: ring }), Box::new(sleeper))
            }
            Self::Condvar => {
                let shared =
                    Arc::new(Queue { bytes: Mutex::new(VecDeque::with_capacity(CAPACITY)), more: Condvar::new() });
                (Box::new(QueuePublisher(shared.clone())), Box::new(QueueSleeper(shared)))
            }
            Self::Poll => {
                let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
                (Box::new(producer), Box::new(consumer))
            }
            Self::Ringbuf => {
                let (producer, consumer) = BlockingHeapRb::new(CAPACITY).split();
                (Box::new(RingbufPublisher(producer)), Box::new(RingbufSleeper(consumer)))
            }
        }
    }
}

struct OurWriter {
    writer: Writer<RingDriver>,
    _ring: Resource<RingDriver>,
}

impl Publisher for OurWriter {
    fn publish(&mut self, bytes: &[u8]) {
        self.writer.append(bytes).expect("nobody holds the writer");
    }
}

struct Ours {
    reader: Reader<RingDriver>,
    at: u64,
}

impl Sleeper for Ours {
    fn wait(&mut self, bytes: usize) {
        let there = self.reader.wait_range(self.at..self.at + bytes as u64);
        assert!(matches!(there, Ok(WaitOutcome::Ready)));
    }

    fn read(&mut self, bytes: &mut [u8]) {
        assert_eq!(self.reader.try_read_at(self.at, bytes), Ok(bytes.len()));
        self.at += bytes.len() as u64;
    }
}

/// What the standard library has for it.
struct Queue {
    bytes: Mutex<VecDeque<u8>>,
    more: Condvar,
}

struct QueuePublisher(Arc<Queue>);

impl Publisher for QueuePublisher {
    fn publish(&mut self, bytes: &[u8]) {
        self.0.bytes.lock().expect("nobody panicked").extend(bytes);
        // After the lock is given back, so that the sleeper does not wake up to find it taken.
        self.0.more.notify_one();
    }
}

struct QueueSleeper(Arc<Queue>);

impl Sleeper for QueueSleeper {
    fn wait(&mut self, bytes: usize) {
        let there = self.0.bytes.lock().expect("nobody panicked");
        drop(self.0.more.wait_while(there, |there| there.len() < bytes).expect("nobody panicked"));
    }

    fn read(&mut self, bytes: &mut [u8]) {
        let mut there = self.0.bytes.lock().expect("nobody panicked");
        let (head, tail) = there.as_slices();
        let first = head.len().min(bytes.len());
        bytes[..first].copy_from_slice(&head[..first]);
        let rest = bytes.len() - first;
        bytes[first..].copy_from_slice(&tail[..rest]);
        there.drain(..bytes.len());
    }
}

impl Publisher for rtrb::Producer<u8> {
    fn publish(&mut self, bytes: &[u8]) {
        self.push_entire_slice(bytes).expect("there is room");
    }
}

impl Sleeper for rtrb::Consumer<u8> {
    fn wait(&mut self, bytes: usize) {
        while self.slots() < bytes {
            thread::sleep(POLL);
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        self.pop_entire_slice(bytes).expect("they are there");
    }
}

struct RingbufPublisher(<BlockingHeapRb<u8> as Split>::Prod);

impl Publisher for RingbufPublisher {
    fn publish(&mut self, bytes: &[u8]) {
        assert_eq!(self.0.push_slice(bytes), bytes.len());
    }
}

struct RingbufSleeper(<BlockingHeapRb<u8> as Split>::Cons);

impl Sleeper for RingbufSleeper {
    fn wait(&mut self, bytes: usize) {
        self.0.wait_occupied(bytes).expect("the publisher is there");
    }

    fn read(&mut self, bytes: &mut [u8]) {
        assert_eq!(self.0.pop_slice(bytes), bytes.len());
    }
}
