//! What moves bytes from a sender to a receiver: ours and the rivals, behind one interface that the compiler sees
//! through.

use crate::buffer::Buffer;
use roundelay::{CancelToken, Cursor, Gate, OnLap, Publication, Resource, RingDriver, RingOptions, Writer};
use rtrb::CopyToUninit;
use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

/// How many bytes everybody's buffer holds. Every size of piece divides it, so that no piece ever goes in by halves.
pub const CAPACITY: usize = 1 << 20;

/// Sends whole pieces.
pub trait Sender: Send {
    /// Copies a piece in, or says that there is no room.
    fn send(&mut self, piece: &[u8]) -> bool;
}

/// Receives whole pieces.
pub trait Receiver: Send {
    /// Copies a piece out, or says that there is none.
    fn receive(&mut self, piece: &mut [u8]) -> bool;
}

/// Something that moves bytes.
pub trait Pipe {
    type Sender: Sender;
    type Receiver: Receiver;

    fn open(&self) -> (Self::Sender, Self::Receiver);
}

fn ring(publication: Publication) -> (Resource<RingDriver>, Writer<RingDriver>) {
    let options = RingOptions { prefault: true, ..RingOptions::new(CAPACITY) };
    let ring = Resource::open(CancelToken::new(), options).expect("a megabyte of memory");
    let mut writer = ring.writer().expect("the first writer");
    writer.set_publication(publication);
    (ring, writer)
}

/// A writer that a gate holds back: nothing is lost.
pub struct OurGate(pub Publication);

impl Pipe for OurGate {
    type Sender = Writer<RingDriver>;
    type Receiver = Gate;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (_, mut writer) = ring(self.0);
        let mut gate = writer.gate();
        gate.set_publication(self.0);
        (writer, gate)
    }
}

impl Sender for Writer<RingDriver> {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.try_append(piece).is_ok_and(|n| n == piece.len())
    }
}

impl Receiver for Gate {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.try_read(piece).is_ok_and(|n| n == piece.len())
    }
}

/// The same, read in place and copied from there.
pub struct OurSlices(pub Publication);

pub struct SlicesOf(Gate);

impl Pipe for OurSlices {
    type Sender = Writer<RingDriver>;
    type Receiver = SlicesOf;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (writer, gate) = OurGate(self.0).open();
        (writer, SlicesOf(gate))
    }
}

impl Receiver for SlicesOf {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        let Ok(slices) = self.0.slices() else { return false };
        let first = slices.first();
        let Some(first) = first.get(..piece.len()) else { return false };
        piece.copy_from_slice(first);
        slices.consume(piece.len());
        true
    }
}

/// A follower, which the writer may overtake. Nothing holds the writer, which suits one thread that reads what it has
/// just written.
pub struct OurFollower(pub Publication);

impl Pipe for OurFollower {
    type Sender = Writer<RingDriver>;
    type Receiver = Cursor<RingDriver>;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (ring, writer) = ring(self.0);
        (writer, ring.cursor(OnLap::Error))
    }
}

impl Receiver for Cursor<RingDriver> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.try_read(piece).is_ok_and(|n| n == piece.len())
    }
}

/// A follower that tells the sender every quarter of a lap how far it is: between two threads something has to, or the
/// figure would say how quickly bytes can be lost.
pub struct OurPacedFollower(pub Publication);

#[repr(align(128))]
struct Told(AtomicU64);

pub struct PacedWriter {
    writer: Writer<RingDriver>,
    told: Arc<Told>,
    /// Up to here the follower has read, at least.
    read_to: u64,
}

pub struct PacedFollower {
    cursor: Cursor<RingDriver>,
    told: Arc<Told>,
    /// When to tell next.
    tell_at: u64,
}

impl Pipe for OurPacedFollower {
    type Sender = PacedWriter;
    type Receiver = PacedFollower;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (writer, cursor) = OurFollower(self.0).open();
        let told = Arc::new(Told(AtomicU64::new(0)));
        let follower = PacedFollower { cursor, told: told.clone(), tell_at: CAPACITY as u64 / 4 };
        (PacedWriter { writer, told, read_to: 0 }, follower)
    }
}

impl Sender for PacedWriter {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        let end = self.writer.position() + piece.len() as u64;
        if end - self.read_to > CAPACITY as u64 {
            // [told] Acquire: the follower's copies come before ours. Pairs with the Release in `receive`.
            self.read_to = self.told.0.load(Acquire);
            if end - self.read_to > CAPACITY as u64 {
                return false;
            }
        }
        self.writer.send(piece)
    }
}

impl Receiver for PacedFollower {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        if !self.cursor.receive(piece) {
            return false;
        }
        let position = self.cursor.position();
        if position >= self.tell_at {
            self.tell_at = position + CAPACITY as u64 / 4;
            // [told] Release: pairs with the Acquire in `send`.
            self.told.0.store(position, Release);
        }
        true
    }
}

/// `rtrb`, by its calls that take a whole slice.
pub struct RtrbSlices;

impl Pipe for RtrbSlices {
    type Sender = rtrb::Producer<u8>;
    type Receiver = rtrb::Consumer<u8>;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        rtrb::RingBuffer::new(CAPACITY)
    }
}

impl Sender for rtrb::Producer<u8> {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.push_entire_slice(piece).is_ok()
    }
}

impl Receiver for rtrb::Consumer<u8> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.pop_entire_slice(piece).is_ok()
    }
}

/// `rtrb`, by its chunks: memory lent for writing and for reading, with our own copies in between.
pub struct RtrbChunks;

pub struct ChunksIn(rtrb::Producer<u8>);
pub struct ChunksOut(rtrb::Consumer<u8>);

impl Pipe for RtrbChunks {
    type Sender = ChunksIn;
    type Receiver = ChunksOut;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
        (ChunksIn(producer), ChunksOut(consumer))
    }
}

impl Sender for ChunksIn {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        // The uninitialised form: the other one zeroes the memory first.
        let Ok(mut chunk) = self.0.write_chunk_uninit(piece.len()) else { return false };
        let (first, second) = chunk.as_mut_slices();
        let (head, tail) = piece.split_at(first.len());
        head.copy_to_uninit(first);
        tail.copy_to_uninit(second);
        // SAFETY: both slices were filled on the lines above: together they are as long as the piece.
        unsafe { chunk.commit_all() };
        true
    }
}

impl Receiver for ChunksOut {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        let Ok(chunk) = self.0.read_chunk(piece.len()) else { return false };
        let (first, second) = chunk.as_slices();
        let (head, tail) = piece.split_at_mut(first.len());
        head.copy_from_slice(first);
        tail.copy_from_slice(second);
        chunk.commit_all();
        true
    }
}

/// Two copies and nothing else: in one thread, no ring can beat it that uses the same copy.
pub struct Memcpy {
    ring: Buffer,
    written: usize,
    read: usize,
}

impl Memcpy {
    pub fn new() -> Self {
        Self { ring: Buffer::at_page(CAPACITY), written: 0, read: 0 }
    }

    #[inline]
    pub fn send(&mut self, piece: &[u8]) -> bool {
        let at = self.written % CAPACITY;
        self.ring[at..at + piece.len()].copy_from_slice(piece);
        self.written += piece.len();
        true
    }

    #[inline]
    pub fn receive(&mut self, piece: &mut [u8]) -> bool {
        let at = self.read % CAPACITY;
        piece.copy_from_slice(&self.ring[at..at + piece.len()]);
        self.read += piece.len();
        true
    }
}
