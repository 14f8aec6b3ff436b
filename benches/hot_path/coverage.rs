//! A store that keeps everything, of which more and more pieces are there: neither adding to one nor asking for one may
//! depend on how many others there are.

use criterion::{BenchmarkId, Criterion};
use roundelay::{CancelToken, MemDriver, MemOptions, Reader, Resource, Writer};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

const FRAGMENTS: [u64; 3] = [1, 100, 10_000];

/// How many bytes a fragment has at first, and how many an insertion adds to its end.
const FRAGMENT: u64 = 64;
const STEP: u64 = 4;

/// From one fragment to the next: one in each second block of 4 KiB, so that none ever touches another.
const SPACING: u64 = 8 << 10;

/// How long a fragment becomes: as long as its block is.
const ROOM: u64 = 4 << 10;

/// So many fragments grow at a time, so that the memory written to is as warm however many there are beside them.
const GROWING: u64 = 10;

struct Fragments {
    writer: Writer<MemDriver>,
    reader: Reader<MemDriver>,
    count: u64,
}

impl Fragments {
    fn new(count: u64) -> Self {
        let store = Resource::open(CancelToken::new(), MemOptions::default()).expect("nothing is kept yet");
        let mut writer = store.writer().expect("the first writer");
        for fragment in 0..count {
            writer.write_at(fragment * SPACING, &[fragment as u8; FRAGMENT as usize]).expect("memory");
        }
        Self { writer, reader: store.reader(), count }
    }

    fn check(&self) {
        assert_eq!(self.reader.available().iter().count() as u64, self.count);
        for fragment in 0..self.count {
            let start = fragment * SPACING;
            let mut back = [0; FRAGMENT as usize];
            assert!(self.reader.contains_range(start..start + FRAGMENT));
            assert!(!self.reader.contains_range(start..start + FRAGMENT + 1), "nobody wrote the last byte");
            assert_eq!(self.reader.try_read_at(start, &mut back), Ok(back.len()));
            assert_eq!(back, [fragment as u8; FRAGMENT as usize]);
        }
    }

    /// Where each insertion goes, until all fragments are as long as they can be: some of them in turn, then the next.
    fn insertions(&self) -> impl Iterator<Item = u64> + use<> {
        let count = self.count;
        (0..count).step_by(GROWING as usize).flat_map(move |first| {
            let growing = first..count.min(first + GROWING);
            (FRAGMENT..ROOM)
                .step_by(STEP as usize)
                .flat_map(move |at| growing.clone().map(move |fragment| fragment * SPACING + at))
        })
    }
}

pub fn insert(c: &mut Criterion) {
    let mut group = c.benchmark_group("coverage insert");
    for count in FRAGMENTS {
        let mut fragments = Fragments::new(count);
        fragments.check();
        let mut insertions = fragments.insertions();
        let mut to_check = None;
        group.bench_function(BenchmarkId::new("4 B, fragments", count), |b| {
            b.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                let mut left = times;
                while left > 0 {
                    let start = Instant::now();
                    for at in insertions.by_ref().take(left as usize) {
                        fragments.writer.write_at(at, black_box(&[7; STEP as usize])).expect("memory");
                        to_check = Some(at);
                        left -= 1;
                    }
                    spent += start.elapsed();
                    if left > 0 {
                        fragments = Fragments::new(count);
                        insertions = fragments.insertions();
                    }
                }
                spent
            });
        });
        if let Some(at) = to_check {
            let mut back = [0; STEP as usize];
            assert!(fragments.reader.contains_range(at - at % SPACING..at + STEP), "it joined its fragment");
            assert_eq!(fragments.reader.try_read_at(at, &mut back), Ok(back.len()));
            assert_eq!(back, [7; STEP as usize]);
            assert_eq!(fragments.reader.available().iter().count() as u64, count);
        }
    }
}

pub fn query(c: &mut Criterion) {
    let mut group = c.benchmark_group("coverage query");
    for count in FRAGMENTS {
        let fragments = Fragments::new(count);
        fragments.check();
        let reader = &fragments.reader;
        // In turn, and all over the store.
        let asked: Vec<u64> = (0..GROWING).map(|i| i * count / GROWING * SPACING).collect();
        for (name, len) in [("there, fragments", FRAGMENT), ("missing, fragments", FRAGMENT + 1)] {
            let mut next = asked.iter().cycle();
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    let start = *next.next().expect("it goes round");
                    reader.contains_range(black_box(start..start + len))
                });
            });
        }
        let mut next = asked.iter().cycle();
        let mut back = [0; FRAGMENT as usize];
        group.bench_function(BenchmarkId::new("read 64 B, fragments", count), |b| {
            b.iter(|| reader.try_read_at(*next.next().expect("it goes round"), black_box(&mut back)));
        });
    }
}
