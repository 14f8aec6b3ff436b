//! `rtrb`, a queue of one sender and one receiver.

use super::{CAPACITY, Pipe, Receiver, Sender, copy_all};
use rtrb::CopyToUninit;

/// By its calls that take a whole slice.
pub struct Slices;

impl Pipe for Slices {
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

/// By its chunks: memory lent for writing and for reading, with our own copies in between.
pub struct Chunks;

pub struct ChunksIn(rtrb::Producer<u8>);
pub struct ChunksOut(rtrb::Consumer<u8>);

impl Pipe for Chunks {
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

    #[inline]
    fn receive_all(&mut self, piece: &mut [u8], most: u64, show: impl FnMut(&mut [u8])) -> u64 {
        let there = self.0.slots();
        if there < piece.len() {
            return 0;
        }
        let chunk = self.0.read_chunk(there).expect("what is there does not go away");
        let copied = copy_all(chunk.as_slices(), piece, most, show);
        chunk.commit(copied as usize * piece.len());
        copied
    }
}
