//! One thread sends as quickly as it can, another receives as quickly as it can.

use crate::{
    buffer::{Buffer, check, fill},
    one_thread::verified_pieces,
    pipe::{Pipe, Receiver, Sender},
    race::{Contender, Promise},
};
use std::{
    hint::{black_box, spin_loop},
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    thread,
    time::{Duration, Instant},
};

/// Somebody who sends pieces of `size` bytes from one thread to another.
pub fn contender<P>(promises: &'static [Promise], name: String, pipe: P, size: usize) -> Contender<'static>
where
    P: Pipe<Sender: Send + 'static, Receiver: 'static>,
{
    let (mut sender, mut receiver) = pipe.open();
    let (mut sent, mut received) = (Buffer::mid_page(size), Buffer::mid_page(size));
    let mut offset = 0;
    transfer(
        &mut sender,
        &mut receiver,
        |sender, i| {
            fill(i * size as u64, &mut sent);
            sender.send(&sent)
        },
        |receiver, most| {
            receiver.receive_all(&mut received, most, |piece| {
                check(offset, piece, &name);
                offset += size as u64;
            })
        },
        verified_pieces(size),
    );
    Contender::of(promises, name, move |n| {
        transfer(
            &mut sender,
            &mut receiver,
            |sender, _| sender.send(black_box(&sent)),
            |receiver, most| {
                receiver.receive_all(black_box(&mut received), most, |piece| {
                    black_box(piece);
                })
            },
            n,
        )
    })
}

/// The time from the moment that both threads are there until the last of `n` pieces was received.
fn transfer<S: Send, R>(
    sender: &mut S,
    receiver: &mut R,
    mut send: impl FnMut(&mut S, u64) -> bool + Send,
    mut receive: impl FnMut(&mut R, u64) -> u64,
    n: u64,
) -> Duration {
    let (ready, go) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            // [ready], [go] Release and Acquire: both only say that a thread has come that far.
            ready.store(true, Release);
            until(|| go.load(Acquire));
            for i in 0..n {
                until(|| send(sender, i));
            }
        });
        until(|| ready.load(Acquire));
        let start = Instant::now();
        go.store(true, Release);
        let mut missing = n;
        while missing > 0 {
            let before = missing;
            until(|| {
                missing -= receive(receiver, missing);
                missing < before
            });
        }
        start.elapsed()
    })
}

/// Tries again until it is done: spins, and lets others run when that was not enough.
#[inline]
fn until(mut done: impl FnMut() -> bool) {
    const SPINS: u32 = 100;
    let mut tries = 0;
    while !done() {
        if tries < SPINS {
            tries += 1;
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}
