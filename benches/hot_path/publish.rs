//! What a publication costs its caller while others sleep for something else, which it must not wake.

use crate::rings::{pattern, ring};
use criterion::{BenchmarkId, Criterion};
use roundelay::WaitOutcome;
use std::{hint::black_box, sync::mpsc, thread, time::Duration};

pub fn group(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish beside sleepers");
    let data = pattern(512);
    for sleepers in [0, 1, 16] {
        let (ring, mut writer) = ring(1 << 20);
        let (asleep, ready) = mpsc::channel();
        let threads: Vec<_> = (0..sleepers)
            .map(|_| {
                let (reader, asleep) = (ring.reader(), asleep.clone());
                thread::spawn(move || {
                    asleep.send(()).expect("the benchmark waits");
                    // A byte that is never written; the end of the resource wakes them.
                    reader.wait_range(u64::MAX / 2..u64::MAX / 2 + 1)
                })
            })
            .collect();
        ready.iter().take(sleepers).for_each(drop);
        // They have said that they are about to sleep.
        thread::sleep(Duration::from_millis(20));
        let before = ring.wakes();
        group.bench_function(BenchmarkId::new("512 B, sleepers", sleepers), |b| {
            b.iter(|| writer.append(black_box(&data)))
        });
        assert_eq!(ring.wakes(), before, "a publication woke somebody whom it does not concern");
        writer.commit(None).expect("a ring can be committed where it ends");
        for thread in threads {
            assert_eq!(thread.join().expect("no panic").expect("committed"), WaitOutcome::Eof);
        }
    }
}
