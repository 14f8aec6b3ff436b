//! No read is ever torn: a writer that never waits, and readers that it laps all the time. Every block of the stream
//! carries its own offset and a checksum, so that a read needs nothing but itself to be judged.
//!
//! How much is verified: `ROUNDELAY_TORN_BYTES=10000000000 cargo test --release --test torn -- --nocapture`.

use roundelay::{Cursor, OnLap, Publication, ReadError, Reader, RingDriver, RingOptions};
use std::{
    env,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// Offset, filling, checksum.
const BLOCK: usize = 512;
const CHECKSUM_AT: usize = BLOCK - 4;

/// At most so many blocks are read, or written, at once: more than half of the window.
const MOST_BLOCKS: u64 = 20;

/// No multiple of a block, so that each lap cuts other blocks where the ring wraps.
const CAPACITY: usize = 16_381;

/// So many that each is behind when its turn comes.
const FOLLOWERS: usize = 12;

/// Nothing was verified for so long: there is something wrong.
const HANG: Duration = Duration::from_secs(120);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The block at an offset. No byte of its filling is that of the block a lap before or behind.
fn put_block(offset: u64, block: &mut [u8]) {
    let filling = (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    block.fill(filling.wrapping_add((offset / CAPACITY as u64) as u8));
    block[..8].copy_from_slice(&offset.to_le_bytes());
    let checksum = crc32fast::hash(&block[..CHECKSUM_AT]);
    block[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
}

/// Fails if one of the whole blocks in `bytes`, which begin at `offset`, is not what was written there. Returns how many
/// bytes are in them.
fn verify(offset: u64, bytes: &[u8]) -> u64 {
    let first = offset.next_multiple_of(BLOCK as u64);
    let skipped = ((first - offset) as usize).min(bytes.len());
    let blocks = bytes[skipped..].chunks_exact(BLOCK);
    let mut verified = 0;
    for block in blocks {
        let found = u64::from_le_bytes(block[..8].try_into().expect("eight bytes"));
        let checksum = u32::from_le_bytes(block[CHECKSUM_AT..].try_into().expect("four bytes"));
        assert_eq!(found, first + verified, "torn: another offset");
        assert_eq!(checksum, crc32fast::hash(&block[..CHECKSUM_AT]), "torn: the block at {found}");
        verified += BLOCK as u64;
    }
    verified
}

/// What the readers came to.
#[derive(Default)]
struct Tally {
    verified: AtomicU64,
    reads: AtomicU64,
    /// Reads that found out that they had been overtaken, before they copied or while they did.
    laps: AtomicU64,
}

/// The readers, in turn on one thread: with the writer that makes two, which do run at the same time on two processors.
struct Readers {
    cursors: Vec<Cursor<RingDriver>>,
    anywhere: Reader<RingDriver>,
    random: Random,
    buf: Vec<u8>,
}

impl Readers {
    /// One read of one of them.
    fn turn(&mut self, tally: &Tally) {
        let len = 1 + self.random.below(self.buf.len() as u64) as usize;
        let buf = &mut self.buf[..len];
        let (read, offset, laps) = match self.cursors.get_mut(self.random.below(1 + FOLLOWERS as u64) as usize) {
            Some(cursor) => {
                let before = cursor.laps();
                let read = cursor.try_read(buf);
                let laps = cursor.laps() - before;
                if let Err(ReadError::Evicted { .. }) = read {
                    assert_eq!(cursor.on_lap(), OnLap::Error);
                    cursor.seek_oldest();
                }
                (read, cursor.position() - *read.as_ref().unwrap_or(&0) as u64, laps)
            }
            None => {
                // Where it is overwritten next.
                let window = self.anywhere.valid_window().expect("a ring has a window");
                let offset = window.start + self.random.below(3000);
                let read = self.anywhere.try_read_at(offset, buf);
                let laps = matches!(read, Err(ReadError::Evicted { .. })).into();
                (read, offset, laps)
            }
        };
        tally.laps.fetch_add(laps, Relaxed);
        match read {
            Ok(n) => {
                tally.verified.fetch_add(verify(offset, &buf[..n]), Relaxed);
                tally.reads.fetch_add(1, Relaxed);
            }
            Err(ReadError::NotYet | ReadError::Evicted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn no_block_is_torn_however_often_its_readers_are_lapped() {
    // Enough to show a reader that checks too early; at most a second or two.
    let default = if cfg!(debug_assertions) { 50_000_000 } else { 2_000_000_000 };
    let wanted = env::var("ROUNDELAY_TORN_BYTES").map_or(default, |bytes| bytes.parse().expect("a count of bytes"));
    let ring = roundelay::open(RingOptions::new(CAPACITY)).unwrap();
    let mut writer = ring.writer().unwrap();
    writer.set_publication(Publication::SILENT);
    let (stop, tally) = (&AtomicBool::new(false), &Tally::default());
    let began = Instant::now();
    let written = thread::scope(|scope| {
        let policies = [OnLap::Error, OnLap::SkipToOldest, OnLap::SkipToLive];
        let mut readers = Readers {
            cursors: policies.into_iter().cycle().take(FOLLOWERS).map(|on_lap| ring.cursor(on_lap)).collect(),
            anywhere: ring.reader(),
            random: Random(1),
            buf: vec![0; MOST_BLOCKS as usize * BLOCK],
        };
        let reading = scope.spawn(move || {
            while !stop.load(Relaxed) {
                readers.turn(tally);
            }
        });
        let mut random = Random(0);
        let mut blocks = vec![0; MOST_BLOCKS as usize * BLOCK];
        let (mut seen, mut at) = (0, Instant::now());
        while tally.verified.load(Relaxed) < wanted && !reading.is_finished() && at.elapsed() < HANG {
            for _ in 0..64 {
                let n = 1 + random.below(MOST_BLOCKS);
                let piece = &mut blocks[..n as usize * BLOCK];
                for (block, offset) in piece.chunks_exact_mut(BLOCK).zip((writer.position()..).step_by(BLOCK)) {
                    put_block(offset, block);
                }
                writer.append(piece).unwrap();
            }
            let verified = tally.verified.load(Relaxed);
            if verified > seen {
                (seen, at) = (verified, Instant::now());
            }
        }
        stop.store(true, Relaxed);
        reading.join().unwrap();
        writer.position()
    });
    let [verified, reads, laps] = [&tally.verified, &tally.reads, &tally.laps].map(|count| count.load(Relaxed));
    println!(
        "{verified} bytes verified in {reads} reads, none torn; overtaken {laps} times; {written} bytes written; {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert!(verified >= wanted, "nothing was verified for {HANG:?}");
    assert!(laps > 0, "nobody was ever overtaken");
}
