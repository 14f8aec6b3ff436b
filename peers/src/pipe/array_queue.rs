//! `crossbeam`'s `ArrayQueue`, a queue of values of many senders and many receivers: a piece is a value.

use super::{Block, CAPACITY, Pipe, Receiver, Sender};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;

pub struct Blocks<const N: usize>;

pub struct End<const N: usize>(pub Arc<ArrayQueue<Block<N>>>);

impl<const N: usize> Pipe for Blocks<N> {
    type Sender = End<N>;
    type Receiver = End<N>;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let queue = Arc::new(ArrayQueue::new(CAPACITY / N));
        (End(queue.clone()), End(queue))
    }
}

impl<const N: usize> Sender for End<N> {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.0.push(Block::of(piece)).is_ok()
    }
}

impl<const N: usize> Receiver for End<N> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        let Some(block) = self.0.pop() else { return false };
        piece.copy_from_slice(&block.0);
        true
    }
}
