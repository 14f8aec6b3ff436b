//! `photon-ring`, a broadcast of values: a piece is a value. With its default features, as its author advises: values
//! are copied by atomic words.

use super::{Block, Broadcast, CAPACITY, Receiver, Sender};
use photon_ring::{Pod, Publisher, Subscriber, TryRecvError};

// SAFETY: a block is laid out as in C, any bytes are one, and there is none behind them: `Block::of` is compiled only for
// a whole number of cache lines, and no other block comes here.
unsafe impl<const N: usize> Pod for Block<N> {}

/// Its fastest form. It overtakes whoever is slow.
pub struct Lossy<const N: usize>;

/// Its form that waits for whoever is slow.
pub struct Bounded<const N: usize>;

pub struct LossyPublisher<const N: usize>(Publisher<Block<N>>);

pub struct BoundedPublisher<const N: usize>(Publisher<Block<N>>);

impl<const N: usize> Broadcast for Lossy<N> {
    type Sender = LossyPublisher<N>;
    type Receiver = Subscriber<Block<N>>;

    fn open_for(&self, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let (publisher, topic) = photon_ring::channel(CAPACITY / N);
        (LossyPublisher(publisher), (0..receivers).map(|_| topic.subscribe()).collect())
    }
}

impl<const N: usize> Broadcast for Bounded<N> {
    type Sender = BoundedPublisher<N>;
    type Receiver = Subscriber<Block<N>>;

    fn open_for(&self, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let (publisher, topic) = photon_ring::channel_bounded(CAPACITY / N, 0);
        (BoundedPublisher(publisher), (0..receivers).map(|_| topic.subscribe()).collect())
    }
}

impl<const N: usize> Sender for LossyPublisher<N> {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.0.publish(Block::of(piece));
        true
    }
}

impl<const N: usize> Sender for BoundedPublisher<N> {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.0.try_publish(Block::of(piece)).is_ok()
    }
}

impl<const N: usize> Receiver for Subscriber<Block<N>> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        match self.try_recv() {
            Ok(block) => {
                piece.copy_from_slice(&block.0);
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(lagged) => panic!("nobody was to be overtaken: {lagged:?}"),
        }
    }
}
