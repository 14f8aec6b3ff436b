//! `disruptor`, a broadcast of values that are written and read in place: a piece is a value. By its pollers, since the
//! threads are ours.

use super::{Block, Broadcast, CAPACITY, Pipe, Receiver, Sender};
use disruptor::{
    BusySpin, EventPoller, MultiConsumerBarrier, Producer, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
};

/// For one receiver, for which it has a form of its own.
pub struct One<const N: usize>;

/// For a number of receivers that is known when it is opened.
pub struct Many<const N: usize>;

pub type Poller<const N: usize> = EventPoller<Block<N>, SingleProducerBarrier>;

impl<const N: usize> Pipe for One<N> {
    type Sender = SingleProducer<Block<N>, SingleConsumerBarrier>;
    type Receiver = Poller<N>;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let builder = disruptor::build_single_producer(CAPACITY / N, || Block::EMPTY, BusySpin);
        let (poller, builder) = builder.new_event_poller();
        (builder.build(), poller)
    }
}

impl<const N: usize> Broadcast for Many<N> {
    type Sender = SingleProducer<Block<N>, MultiConsumerBarrier>;
    type Receiver = Poller<N>;

    fn open_for(&self, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let builder = disruptor::build_single_producer(CAPACITY / N, || Block::EMPTY, BusySpin);
        let mut builder = builder.with_multi_consumer();
        let mut pollers = Vec::new();
        for _ in 0..receivers {
            let poller;
            (poller, builder) = builder.new_event_poller();
            pollers.push(poller);
        }
        (builder.build(), pollers)
    }
}

impl<const N: usize, C> Sender for SingleProducer<Block<N>, C>
where
    Self: Producer<Block<N>>,
{
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.try_publish(|value| value.0 = *Block::bytes(piece)).is_ok()
    }
}

impl<const N: usize> Receiver for Poller<N> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.receive_all(piece, 1, |_| ()) == 1
    }

    #[inline]
    fn receive_all(&mut self, piece: &mut [u8], most: u64, mut show: impl FnMut(&mut [u8])) -> u64 {
        let Ok(mut values) = self.take(most) else { return 0 };
        let mut copied = 0;
        for value in &mut values {
            piece.copy_from_slice(&value.0);
            show(piece);
            copied += 1;
        }
        copied
    }
}
