//! Reads anywhere in a full ring, against copying from the same offsets of plain memory.

use crate::{
    buffer::{Buffer, check, fill},
    pipe::CAPACITY,
    race::{Contender, Races},
    spsc::SIZES,
};
use roundelay::{CancelToken, OnLap, Resource, RingOptions};
use std::{hint::black_box, time::Instant};

/// A power of two; more than a branch predictor learns by heart.
const OFFSETS: usize = 1 << 14;

/// The ring has gone round this often, so that its cells lie where those of plain memory do.
const LAPS: u64 = 2;

pub fn run(races: &mut Races) {
    for size in SIZES {
        let options = RingOptions { prefault: true, ..RingOptions::new(CAPACITY) };
        let ring = Resource::open(CancelToken::new(), options).expect("a megabyte of memory");
        let mut writer = ring.writer().expect("the first writer");
        let start = LAPS * CAPACITY as u64;
        let mut plain = Buffer::at_page(CAPACITY);
        fill(start, &mut plain);
        for _ in 0..LAPS {
            writer.append(&vec![0xff; CAPACITY]).expect("nobody holds the writer");
        }
        writer.append(&plain).expect("nobody holds the writer");

        let offsets = offsets(CAPACITY - size);
        let reader = ring.reader();
        let mut cursor = ring.cursor(OnLap::Error);
        let ours = vec![
            contender("Reader::try_read_at", size, start, &offsets, move |offset, buf| {
                reader.try_read_at(offset, buf).is_ok_and(|n| n == buf.len())
            }),
            contender("Cursor::seek_to, try_read", size, start, &offsets, move |offset, buf| {
                cursor.seek_to(offset).is_ok() && cursor.try_read(buf).is_ok_and(|n| n == buf.len())
            }),
        ];
        let rivals = vec![contender("memcpy", size, start, &offsets, move |offset, buf| {
            let offset = (offset - start) as usize;
            buf.copy_from_slice(&plain[offset..offset + buf.len()]);
            true
        })];
        races.run(&format!("random read, {size} B"), ours, rivals);
    }
}

/// Somebody who reads `size` bytes at a time, at `offsets` counted from `base`.
pub fn contender<'a>(
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
    Contender::new(name, move |n| {
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
