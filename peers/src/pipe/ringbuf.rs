//! `ringbuf`, a queue of one sender and one receiver, by its calls that take a slice.

use super::{CAPACITY, Pipe, Receiver, Sender};
use ringbuf::{
    HeapCons, HeapProd, HeapRb, LocalRb,
    storage::Heap,
    traits::{Consumer, Observer, Producer, Split},
};

/// For two threads.
pub struct Shared;

impl Pipe for Shared {
    type Sender = In<HeapProd<u8>>;
    type Receiver = Out<HeapCons<u8>>;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (producer, consumer) = HeapRb::new(CAPACITY).split();
        (In(producer), Out(consumer))
    }
}

/// For one thread alone, as its author advises there: without an atomic.
pub struct Local;

type LocalBytes = LocalRb<Heap<u8>>;

impl Pipe for Local {
    type Sender = In<<LocalBytes as Split>::Prod>;
    type Receiver = Out<<LocalBytes as Split>::Cons>;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (producer, consumer) = LocalBytes::new(CAPACITY).split();
        (In(producer), Out(consumer))
    }
}

pub struct In<P>(P);

pub struct Out<C>(C);

impl<P: Producer<Item = u8>> Sender for In<P> {
    /// Pieces divide the capacity, so that room for a part of one is room for all of it.
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.0.push_slice(piece) == piece.len()
    }
}

impl<C: Consumer<Item = u8>> Receiver for Out<C> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.0.pop_slice(piece) == piece.len()
    }
}

/// How many bytes are there.
pub fn there(receiver: &Out<HeapCons<u8>>) -> usize {
    receiver.0.occupied_len()
}

/// All that is there, in place.
pub fn lent(receiver: &Out<HeapCons<u8>>) -> (&[u8], &[u8]) {
    receiver.0.as_slices()
}
