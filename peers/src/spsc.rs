//! One sender, one receiver.

use crate::{
    buffer::{Buffer, check, fill},
    pipe::{
        CAPACITY, Memcpy, OurFollower, OurGate, OurPacedFollower, OurSlices, Pipe, Receiver, RtrbChunks, RtrbSlices,
        Sender,
    },
    race::{Contender, Races},
};
use roundelay::Publication;
use std::{
    hint::{black_box, spin_loop},
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    thread,
    time::{Duration, Instant},
};

/// From a small packet to a large read of a file, in bytes.
pub const SIZES: [usize; 4] = [64, 512, 4 << 10, 64 << 10];

const PUBLICATIONS: [(&str, Publication); 2] = [("silent", Publication::SILENT), ("notify", Publication::Notify)];

/// Who runs a pipe: one thread or two.
trait Course {
    fn contender<P: Pipe + 'static>(&self, name: String, pipe: P, size: usize) -> Contender<'static>;
}

/// Those that work on every course.
fn rivals(course: &impl Course, size: usize) -> Vec<Contender<'static>> {
    vec![
        course.contender("rtrb, slices".into(), RtrbSlices, size),
        course.contender("rtrb, chunks".into(), RtrbChunks, size),
    ]
}

/// A piece is appended, then read, over and over: what the code costs when nobody else touches its cache lines.
pub fn one_thread(races: &mut Races) {
    for size in SIZES {
        let mut ours = Vec::new();
        for (how, publication) in PUBLICATIONS {
            ours.push(Alone.contender(format!("gate, {how}"), OurGate(publication), size));
            ours.push(Alone.contender(format!("gate in place, {how}"), OurSlices(publication), size));
            ours.push(Alone.contender(format!("follower, {how}"), OurFollower(publication), size));
        }
        let mut rivals = rivals(&Alone, size);
        rivals.push(limit(size));
        races.run(&format!("one thread, {size} B"), ours, rivals);
    }
}

/// One thread appends as quickly as it can, another reads as quickly as it can.
pub fn two_threads(races: &mut Races) {
    for size in SIZES {
        let mut ours = Vec::new();
        for (how, publication) in PUBLICATIONS {
            ours.push(Together.contender(format!("gate, {how}"), OurGate(publication), size));
            ours.push(Together.contender(format!("gate in place, {how}"), OurSlices(publication), size));
            ours.push(Together.contender(format!("follower, {how}"), OurPacedFollower(publication), size));
        }
        races.run(&format!("two threads, {size} B"), ours, rivals(&Together, size));
    }
}

/// How many pieces of `size` are verified: more than two laps, and not the same places each time.
fn verified_pieces(size: usize) -> u64 {
    (2 * CAPACITY / size + 3) as u64
}

struct Alone;

impl Course for Alone {
    fn contender<P: Pipe + 'static>(&self, name: String, pipe: P, size: usize) -> Contender<'static> {
        let (mut sender, mut receiver) = pipe.open();
        alone(name, size, move |sent, received| sender.send(sent) && receiver.receive(received))
    }
}

fn limit(size: usize) -> Contender<'static> {
    let mut memcpy = Memcpy::new();
    alone("2 memcpy".into(), size, move |sent, received| memcpy.send(sent) && memcpy.receive(received))
}

fn alone(name: String, size: usize, mut pass: impl FnMut(&[u8], &mut [u8]) -> bool + 'static) -> Contender<'static> {
    let (mut sent, mut received) = (Buffer::mid_page(size), Buffer::mid_page(size));
    for i in 0..verified_pieces(size) {
        let offset = i * size as u64;
        fill(offset, &mut sent);
        assert!(pass(&sent, &mut received), "{name}: piece {i} did not get through");
        check(offset, &received, &name);
    }
    Contender::new(name, move |n| {
        let (sent, received) = (&*sent, &mut *received);
        let start = Instant::now();
        for _ in 0..n {
            assert!(pass(black_box(sent), black_box(received)), "a piece did not get through");
        }
        start.elapsed()
    })
}

struct Together;

impl Course for Together {
    fn contender<P: Pipe + 'static>(&self, name: String, pipe: P, size: usize) -> Contender<'static> {
        let (mut sender, mut receiver) = pipe.open();
        let (mut sent, mut received) = (Buffer::mid_page(size), Buffer::mid_page(size));
        let pieces = verified_pieces(size);
        together(
            &mut sender,
            &mut receiver,
            |sender, i| {
                fill(i * size as u64, &mut sent);
                sender.send(&sent)
            },
            |receiver, i| {
                let there = receiver.receive(&mut received);
                if there {
                    check(i * size as u64, &received, &name);
                }
                there
            },
            pieces,
        );
        Contender::new(name, move |n| {
            let (sent, received) = (&*sent, &mut *received);
            together(
                &mut sender,
                &mut receiver,
                |sender, _| sender.send(black_box(sent)),
                |receiver, _| receiver.receive(black_box(received)),
                n,
            )
        })
    }
}

/// The time from the moment that both threads are there until the last of `n` pieces was received.
fn together<S: Send, R>(
    sender: &mut S,
    receiver: &mut R,
    mut send: impl FnMut(&mut S, u64) -> bool + Send,
    mut receive: impl FnMut(&mut R, u64) -> bool,
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
        for i in 0..n {
            until(|| receive(receiver, i));
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
