//! A piece is sent, then received, over and over on one thread: what the code costs when nobody else touches its cache
//! lines.

use crate::{
    buffer::{Buffer, check, fill},
    pipe::{CAPACITY, Pipe, Receiver, Sender, memcpy::Memcpy},
    race::{Contender, Promise},
};
use std::{hint::black_box, time::Instant};

/// How many pieces of `size` are verified: more than two laps, and not the same places each time.
pub fn verified_pieces(size: usize) -> u64 {
    (2 * CAPACITY / size + 3) as u64
}

/// Somebody who sends pieces of `size` bytes through a pipe to itself.
pub fn contender<P: Pipe + 'static>(
    promises: &'static [Promise],
    name: String,
    pipe: P,
    size: usize,
) -> Contender<'static> {
    let (mut sender, mut receiver) = pipe.open();
    passing(promises, name, size, 1, move |sent, received| sender.send(sent) && receiver.receive(received))
}

/// A copy in, and one out for each of so many receivers.
pub fn limit(size: usize, receivers: usize) -> Contender<'static> {
    let mut memcpy = Memcpy::new();
    passing(Promise::ALL, "memcpy".into(), size, receivers, move |sent, received| {
        memcpy.pass(sent, received);
        true
    })
}

/// Somebody who passes pieces of `size` bytes to so many receivers, whose buffers lie one after the other.
pub fn passing(
    promises: &'static [Promise],
    name: String,
    size: usize,
    receivers: usize,
    mut pass: impl FnMut(&[u8], &mut [u8]) -> bool + 'static,
) -> Contender<'static> {
    let (mut sent, mut received) = (Buffer::mid_page(size), Buffer::mid_page(size * receivers));
    for i in 0..verified_pieces(size) {
        let offset = i * size as u64;
        fill(offset, &mut sent);
        assert!(pass(&sent, &mut received), "{name}: piece {i} did not get through");
        for received in received.chunks_exact(size) {
            check(offset, received, &name);
        }
    }
    Contender::of(promises, name, move |n| {
        let (sent, received) = (&*sent, &mut *received);
        let start = Instant::now();
        for _ in 0..n {
            assert!(pass(black_box(sent), black_box(received)), "a piece did not get through");
        }
        start.elapsed()
    })
}
