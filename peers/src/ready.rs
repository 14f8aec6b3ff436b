//! Asking for bytes that are there, against a lock that nobody else wants and the range behind it.

use crate::{
    buffer::{check, fill},
    race::{Contender, Races},
};
use roundelay::{CancelToken, Resource, RingOptions, WaitOutcome};
use std::{hint::black_box, ops::Range, sync::Mutex, time::Instant};

/// How much is there, in bytes.
pub const LEN: u64 = 64 << 10;

pub fn run(races: &mut Races) {
    let ring = Resource::open(CancelToken::new(), RingOptions::default()).expect("a megabyte of memory");
    let mut writer = ring.writer().expect("the first writer");
    let mut bytes = vec![0; LEN as usize];
    fill(0, &mut bytes);
    writer.append(&bytes).expect("nobody holds the writer");
    let reader = ring.reader();
    let mut back = vec![0; LEN as usize];
    assert_eq!(reader.try_read_at(0, &mut back), Ok(back.len()));
    check(0, &back, "ready");

    let ours = vec![
        contender("wait_range", |range| matches!(reader.wait_range(range), Ok(WaitOutcome::Ready))),
        contender("contains_range", |range| reader.contains_range(range)),
    ];
    // One range and no set of them: the least that somebody with a lock can get away with.
    let there = Mutex::new(0..LEN);
    let rivals = vec![contender("Mutex<Range>", |range| {
        let there = there.lock().expect("nobody panicked");
        there.start <= range.start && range.end <= there.end
    })];
    races.run("ready", ours, rivals);
}

/// Somebody who says whether bytes are there, of a store that has the first [`LEN`] of them.
pub fn contender<'a>(name: &str, mut there: impl FnMut(Range<u64>) -> bool + 'a) -> Contender<'a> {
    assert!(there(0..LEN) && there(LEN - 1..LEN), "{name}: bytes that are there are not found");
    Contender::new(name, move |n| {
        let start = Instant::now();
        for _ in 0..n {
            assert!(there(black_box(4096..8192)), "bytes that are there are not found");
        }
        start.elapsed()
    })
}
