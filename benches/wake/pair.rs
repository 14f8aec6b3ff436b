//! Two threads, on a processor each: one waits, the other publishes when it sleeps for certain.
//!
//! Where the scheduler puts them, a wake on the processor of the publisher takes less than half the time of one on
//! another, and which of the two a contender gets more often is luck.

use super::{
    report::machine::{Usage, now, stay_on},
    waits::{Contender, Publisher, Sleeper},
};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::*},
    },
    thread,
    time::Duration,
};

/// So long a sleeper sleeps before a publication at least: no spinning lasts that long, and its processor has found
/// something else to do.
const PARKED: Duration = Duration::from_millis(1);

/// A publication comes up to so much later, so that it does not keep time with whoever polls.
const SPREAD: Duration = Duration::from_millis(2);

/// A packet, and a buffer that is fed with small writes.
const PACKET: usize = 64;
const BUFFER: usize = 64 << 10;
const WRITE: usize = 1 << 10;

/// More than there are in one go, unless somebody asks for minutes.
const MANY: usize = 1 << 16;

/// One wait that counts.
#[derive(Clone, Copy)]
pub struct Wait {
    /// From just before the publication to the sleeper's next instruction, in nanoseconds.
    pub latency: u64,
    /// How long the publication took, in nanoseconds.
    pub publication: u64,
    /// How often the sleeper slept, and so was woken.
    pub sleeps: u64,
}

pub struct Pair {
    publisher: Box<dyn Publisher>,
    sleeper: Box<dyn Sleeper>,
    random: u64,
    offset: usize,
}

/// What is published: differs from its neighbours.
fn byte(offset: usize) -> u8 {
    (offset % 251) as u8
}

impl Pair {
    pub fn new(contender: Contender) -> Self {
        let (publisher, sleeper) = contender.open();
        Self { publisher, sleeper, random: 0x9e37_79b9_7f4a_7c15, offset: 0 }
    }

    /// Waits for a packet, again and again, for so long and so often at most. Returns those that count.
    pub fn packets(&mut self, at_most: Duration, count: Option<usize>) -> Vec<Wait> {
        let deadline = now() + at_most.as_nanos() as u64;
        let Self { publisher, sleeper, random, offset } = self;
        let (announced, over) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let first = *offset;
        let (published, woken) = thread::scope(|scope| {
            let sleeping = scope.spawn(|| {
                stay_on(1);
                let mut woken = Vec::with_capacity(MANY);
                // [over] Acquire: pairs with the Release of the publisher, who sets it before the last packet.
                while woken.len() < over.load(Acquire) {
                    let mut back = [0; PACKET];
                    let before = Usage::so_far();
                    let asleep = now();
                    // Release: the publisher, who loads it with Acquire, starts its clock after this.
                    announced.store(woken.len() + 1, Release);
                    sleeper.wait(PACKET);
                    let awake = now();
                    let Usage { sleeps, .. } = Usage::since(before);
                    sleeper.read(&mut back);
                    check(first + woken.len() * PACKET, &back);
                    woken.push((asleep, awake, sleeps));
                }
                woken
            });
            let publishing = scope.spawn(|| {
                stay_on(0);
                let mut published = Vec::with_capacity(MANY);
                while published.len() < over.load(Relaxed) {
                    while announced.load(Acquire) <= published.len() {
                        thread::sleep(PARKED / 20);
                    }
                    // xorshift64
                    *random ^= *random << 13;
                    *random ^= *random >> 7;
                    *random ^= *random << 17;
                    thread::sleep(PARKED + Duration::from_nanos(*random % SPREAD.as_nanos() as u64));
                    let packet: [u8; PACKET] = std::array::from_fn(|i| byte(*offset + i));
                    if now() > deadline || Some(published.len() + 1) == count {
                        // [over]
                        over.store(published.len() + 1, Release);
                    }
                    let before = now();
                    publisher.publish(&packet);
                    published.push((before, now() - before));
                    *offset += PACKET;
                }
                published
            });
            let published = publishing.join().expect("the publisher does not panic");
            (published, sleeping.join().expect("the sleeper does not panic"))
        });
        assert_eq!(published.len(), woken.len());
        let waits = published.into_iter().zip(woken);
        let parked = |&((publishing, _), (asleep, _, sleeps)): &((u64, u64), (u64, u64, u64))| {
            sleeps > 0 && publishing.saturating_sub(asleep) >= PARKED.as_nanos() as u64
        };
        waits
            .filter(parked)
            .map(|((publishing, publication), (_, awake, sleeps))| Wait {
                latency: awake.saturating_sub(publishing),
                publication,
                sleeps,
            })
            .collect()
    }

    /// Waits for a buffer that is fed with small writes, and returns how often the sleeper slept, and so was woken.
    pub fn buffer(&mut self) -> u64 {
        let Self { publisher, sleeper, offset, .. } = self;
        let first = *offset;
        let asleep = Barrier::new(2);
        thread::scope(|scope| {
            let sleeping = scope.spawn(|| {
                let mut back = vec![0; BUFFER];
                asleep.wait();
                let before = Usage::so_far();
                sleeper.wait(BUFFER);
                let Usage { sleeps, .. } = Usage::since(before);
                sleeper.read(&mut back);
                check(first, &back);
                sleeps
            });
            asleep.wait();
            thread::sleep(5 * PARKED);
            for _ in 0..BUFFER / WRITE {
                let piece: Vec<u8> = (*offset..*offset + WRITE).map(byte).collect();
                publisher.publish(&piece);
                *offset += WRITE;
                thread::sleep(PARKED / 4);
            }
            sleeping.join().expect("the sleeper does not panic")
        })
    }
}

fn check(offset: usize, back: &[u8]) {
    assert!(back.iter().enumerate().all(|(i, &b)| b == byte(offset + i)), "not what was published at {offset}");
}
