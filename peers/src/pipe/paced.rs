//! A receiver that may be overtaken, and that tells the sender every quarter of a lap how far it is: between two threads
//! something has to, or the figure would say how quickly bytes can be lost. The same for ours and for the rivals.

use super::{CAPACITY, Pipe, Receiver, Sender};
use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

pub struct Paced<P>(pub P);

/// On a cache line of its own, and away from its neighbour's.
#[repr(align(128))]
struct Told(AtomicU64);

pub struct PacedSender<S> {
    sender: S,
    told: Arc<Told>,
    /// How many bytes were sent.
    sent: u64,
    /// How many were received, at least.
    received: u64,
}

pub struct PacedReceiver<R> {
    receiver: R,
    told: Arc<Told>,
    received: u64,
    /// When to tell next.
    tell_at: u64,
}

impl<P: Pipe> Pipe for Paced<P> {
    type Sender = PacedSender<P::Sender>;
    type Receiver = PacedReceiver<P::Receiver>;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = self.0.open();
        let told = Arc::new(Told(AtomicU64::new(0)));
        let receiver = PacedReceiver { receiver, told: told.clone(), received: 0, tell_at: CAPACITY as u64 / 4 };
        (PacedSender { sender, told, sent: 0, received: 0 }, receiver)
    }
}

impl<S: Sender> Sender for PacedSender<S> {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        let sent = self.sent + piece.len() as u64;
        if sent - self.received > CAPACITY as u64 {
            // [told] Acquire: the receiver's copies come before ours. Pairs with the Release in `receive`.
            self.received = self.told.0.load(Acquire);
            if sent - self.received > CAPACITY as u64 {
                return false;
            }
        }
        if !self.sender.send(piece) {
            return false;
        }
        self.sent = sent;
        true
    }
}

impl<R: Receiver> Receiver for PacedReceiver<R> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        if !self.receiver.receive(piece) {
            return false;
        }
        self.received += piece.len() as u64;
        if self.received >= self.tell_at {
            self.tell_at = self.received + CAPACITY as u64 / 4;
            // [told] Release: pairs with the Acquire in `send`.
            self.told.0.store(self.received, Release);
        }
        true
    }
}
