//! Reads anywhere in what a full buffer holds, against copying from the same offsets of plain memory.

use crate::{
    buffer::{Buffer, check, fill},
    linear::{
        store::{Store, StoreReader, StoreWriter, folder},
        theirs::{self, Theirs},
    },
    pipe::{CAPACITY, Pipe, SIZES, Sender, locked::Locked, ours, ringbuf, rtrb, size_name, stream_download},
    race::{
        Contender,
        Promise::{self, InPlace, Lossy},
        Races,
    },
};
use roundelay::OnLap;
use std::{
    hint::black_box,
    io::{Read, Seek, SeekFrom},
    time::Instant,
};

/// A power of two; more than a branch predictor learns by heart.
const OFFSETS: usize = 1 << 14;

/// The ring has gone round this often, so that its cells lie where those of plain memory do.
const LAPS: u64 = 2;

pub fn run(races: &mut Races) {
    for size in SIZES {
        at_size(races, size);
    }
    races.cannot(&["stream-download, bounded"], "reads nothing more after a seek forward and one back");
    races.cannot(&["ArrayQueue", "photon-ring", "disruptor"], "hands out the value that is next, and no other");
}

fn at_size(races: &mut Races, size: usize) {
    let (ring, mut writer) = ours::ring();
    let start = LAPS * CAPACITY as u64;
    let mut plain = Buffer::at_page(CAPACITY);
    fill(start, &mut plain);
    for _ in 0..LAPS {
        writer.append(&vec![0xff; CAPACITY]).expect("nobody holds the writer");
    }
    let mut gate = writer.gate();
    writer.append(&plain).expect("as much as the gate leaves room for");

    let offsets = offsets(CAPACITY - size);
    let reader = ring.reader();
    let mut cursor = ring.cursor(OnLap::Error);
    let ours = vec![
        contender(&[Lossy], "Reader::try_read_at", size, start, &offsets, |offset, buf| {
            reader.try_read_at(offset, buf).is_ok_and(|n| n == buf.len())
        }),
        contender(&[Lossy], "Cursor::seek_to, try_read", size, start, &offsets, |offset, buf| {
            cursor.seek_to(offset).is_ok() && cursor.try_read(buf).is_ok_and(|n| n == buf.len())
        }),
        contender(&[InPlace], "Gate::slices", size, start, &offsets, |offset, buf| {
            gate.slices().is_ok_and(|slices| copy_at(slices.as_slices(), offset - start, buf))
        }),
    ];

    let (mut locked, locked_reader) = Locked.open();
    let (mut producer, mut consumer) = rtrb::Slices.open();
    let (mut ringbuf, ringbuf_reader) = ringbuf::Shared.open();
    assert!(locked.send(&plain) && producer.send(&plain) && ringbuf.send(&plain), "a full buffer for everybody");
    let mut kept = stream_download::kept(&plain);
    let folder = folder();
    let (mut their_writer, theirs) = Theirs.open(folder.path(), CAPACITY as u64);
    their_writer.write(0, &plain);
    let rivals = vec![
        contender(Promise::ALL, "memcpy", size, start, &offsets, |offset, buf| {
            copy_at((&plain, &[]), offset - start, buf)
        }),
        contender(&[Lossy], "Mutex<VecDeque>", size, start, &offsets, |offset, buf| {
            let queue = locked_reader.0.lock().expect("nobody panicked");
            copy_at(queue.as_slices(), offset - start, buf)
        }),
        contender(&[Lossy], "stream-download, memory", size, start, &offsets, |offset, buf| {
            kept.seek(SeekFrom::Start(offset - start)).is_ok() && kept.read(buf).is_ok_and(|n| n == buf.len())
        }),
        contender(&[Lossy], theirs::NAME, size, start, &offsets, |offset, buf| theirs.read(offset - start, buf)),
        contender(&[InPlace], "rtrb, chunks", size, start, &offsets, |offset, buf| {
            let all = consumer.slots();
            consumer.read_chunk(all).is_ok_and(|chunk| copy_at(chunk.as_slices(), offset - start, buf))
        }),
        contender(&[InPlace], "ringbuf, in place", size, start, &offsets, |offset, buf| {
            copy_at(ringbuf::lent(&ringbuf_reader), offset - start, buf)
        }),
    ];
    races.run("random read", &size_name(size), ours, rivals);
}

/// Copies from memory that is lent in two parts.
#[inline]
fn copy_at((first, second): (&[u8], &[u8]), at: u64, buf: &mut [u8]) -> bool {
    let (at, end) = (at as usize, at as usize + buf.len());
    if end > first.len() + second.len() {
        return false;
    }
    if let Some(there) = first.get(at..end) {
        buf.copy_from_slice(there);
    } else if let Some(at) = at.checked_sub(first.len()) {
        buf.copy_from_slice(&second[at..][..buf.len()]);
    } else {
        let (head, tail) = buf.split_at_mut(first.len() - at);
        head.copy_from_slice(&first[at..]);
        tail.copy_from_slice(&second[..tail.len()]);
    }
    true
}

/// Somebody who reads `size` bytes at a time, at `offsets` counted from `base`.
pub fn contender<'a>(
    promises: &'static [Promise],
    name: &str,
    size: usize,
    base: u64,
    offsets: &'a [u64],
    mut read: impl FnMut(u64, &mut [u8]) -> bool + 'a,
) -> Contender<'a> {
    let mut buf = Buffer::mid_page(size);
    for &offset in &offsets[..64] {
        assert!(read(base + offset, &mut buf), "{name}: no bytes at {offset}");
        check(base + offset, &buf, name);
    }
    Contender::of(promises, name, move |n| {
        let buf = &mut *buf;
        let start = Instant::now();
        for i in 0..n as usize {
            assert!(read(base + offsets[i % OFFSETS], black_box(&mut *buf)), "no bytes");
        }
        start.elapsed()
    })
}

/// Offsets up to `most`, the same in every run.
pub fn offsets(most: usize) -> Vec<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % (most as u64 + 1)
    };
    (0..OFFSETS).map(|_| next()).collect()
}
