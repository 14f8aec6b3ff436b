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
            contender("Reader::try_read_at", size, &offsets, move |offset, buf| {
                reader.try_read_at(start + offset as u64, buf).is_ok_and(|n| n == buf.len())
            }),
            contender("Cursor::seek_to, try_read", size, &offsets, move |offset, buf| {
                cursor.seek_to(start + offset as u64).is_ok() && cursor.try_read(buf).is_ok_and(|n| n == buf.len())
            }),
        ];
        let rivals = vec![contender("memcpy", size, &offsets, move |offset, buf| {
            buf.copy_from_slice(&plain[offset..offset + buf.len()]);
            true
        })];
        races.run(&format!("random read, {size} B"), ours, rivals);
    }
}

fn contender<'a>(
    name: &str,
    size: usize,
    offsets: &'a [usize],
    mut read: impl FnMut(usize, &mut [u8]) -> bool + 'a,
) -> Contender<'a> {
    let mut buf = Buffer::mid_page(size);
    for &offset in &offsets[..64] {
        assert!(read(offset, &mut buf), "{name}: no bytes at {offset}");
        check(LAPS * CAPACITY as u64 + offset as u64, &buf, name);
    }
    Contender::new(name, move |n| {
        let buf = &mut *buf;
        let start = Instant::now();
        for i in 0..n as usize {
            assert!(read(offsets[i % OFFSETS], black_box(&mut *buf)), "no bytes");
        }
        start.elapsed()
    })
}

/// Offsets up to `most`, the same in every run.
fn offsets(most: usize) -> Vec<usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % (most as u64 + 1)) as usize
    };
    (0..OFFSETS).map(|_| next()).collect()
}
