//! What appending costs while others follow: the writer does not know how many there are, and must not.

use crate::rings::{pattern, ring};
use criterion::{BenchmarkId, Criterion, Throughput};
use roundelay::{Cursor, OnLap, ReadError, RingDriver};
use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

const PIECE: usize = 512;

pub fn group(c: &mut Criterion) {
    let mut group = c.benchmark_group("append with followers on another thread");
    group.throughput(Throughput::Bytes(PIECE as u64));
    let data = pattern(PIECE);
    for count in [1, 8, 64, 512] {
        let (ring, mut writer) = ring(1 << 20);
        let mut followers: Vec<_> = (0..count).map(|_| Follower::new(ring.cursor(OnLap::SkipToOldest))).collect();
        let stop = AtomicBool::new(false);
        let following = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                following.wait();
                // Relaxed: the flag goes with no other memory.
                while !stop.load(Relaxed) {
                    for follower in &mut followers {
                        follower.read(&data);
                    }
                }
                // What is there now is there for good: each of them has something to read.
                for follower in &mut followers {
                    follower.read(&data);
                    assert!(follower.pieces > 0, "a follower has read nothing");
                }
            });
            following.wait();
            group.bench_function(BenchmarkId::new("512 B, followers", count), |b| {
                b.iter(|| writer.append(black_box(&data)))
            });
            // Whatever was skipped to is a whole lap now.
            writer.append(&data).expect("open");
            stop.store(true, Relaxed);
        });
    }
}

/// Reads on, and knows what it should find.
struct Follower {
    cursor: Cursor<RingDriver>,
    piece: [u8; PIECE],
    pieces: u64,
}

impl Follower {
    fn new(cursor: Cursor<RingDriver>) -> Self {
        Self { cursor, piece: [0; PIECE], pieces: 0 }
    }

    fn read(&mut self, data: &[u8]) {
        match self.cursor.try_read(&mut self.piece) {
            Ok(n) => {
                let at = (self.cursor.position() as usize - n) % PIECE;
                let (head, tail) = (&data[at..PIECE.min(at + n)], &data[..(at + n).saturating_sub(PIECE)]);
                assert_eq!(self.piece[..head.len()], *head);
                assert_eq!(self.piece[head.len()..n], *tail);
                self.pieces += 1;
            }
            Err(ReadError::NotYet) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
