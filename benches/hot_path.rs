//! What each operation of the hot path costs, on one thread. Ratios to other crates are in `peers/`; these figures are for
//! comparing a change with the state before it, on one machine.
//!
//! Each benchmark checks the answer before it times it. `cargo bench -- --test` runs each once, as a check.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roundelay::{
    CancelToken, OnLap, Publication, Resource, RingDriver, RingOptions, WaitOutcome, Writer,
    pcm::{self, PcmOptions},
};
use std::{hint::black_box, sync::mpsc, thread};

const CAPACITY: usize = 1 << 20;
const SIZES: [usize; 4] = [64, 512, 4 << 10, 64 << 10];

fn ring() -> (Resource<RingDriver>, Writer<RingDriver>) {
    let options = RingOptions { prefault: true, ..RingOptions::new(CAPACITY) };
    let ring = Resource::open(CancelToken::new(), options).expect("a megabyte of memory");
    let writer = ring.writer().expect("the first writer");
    (ring, writer)
}

/// Bytes that differ from their neighbours and from those a lap away.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// A ring that has gone round, and holds the pattern throughout.
fn full() -> (Resource<RingDriver>, Writer<RingDriver>, Vec<u8>) {
    let (ring, mut writer) = ring();
    let data = pattern(CAPACITY);
    writer.append(&pattern(12_345)).expect("room");
    writer.append(&data).expect("room");
    (ring, writer, data)
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for (name, publication) in [("notify", Publication::Notify), ("silent", Publication::SILENT)] {
        for size in SIZES {
            let (ring, mut writer) = ring();
            writer.set_publication(publication);
            let data = pattern(size);
            writer.append(&data).expect("room");
            let mut back = vec![0; size];
            assert_eq!(ring.reader().try_read_at(0, &mut back), Ok(size));
            assert_eq!(back, data);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(name, size), |b| b.iter(|| writer.append(black_box(&data))));
        }
    }
}

fn follower_read(c: &mut Criterion) {
    let mut group = c.benchmark_group("follower read");
    for size in SIZES {
        let (ring, _writer, data) = full();
        let reader = ring.reader();
        let start = reader.valid_window().expect("a ring has a window").start;
        let mut buf = vec![0; size];
        assert_eq!(reader.try_read_at(start, &mut buf), Ok(size));
        assert_eq!(buf, data[..size]);
        group.throughput(Throughput::Bytes(size as u64));
        let mut at = 0;
        group.bench_function(BenchmarkId::new("reader", size), |b| {
            b.iter(|| {
                // A stride that visits every alignment.
                at = (at + 4_099) % (CAPACITY - size) as u64;
                reader.try_read_at(start + at, black_box(&mut buf))
            });
        });
        let mut cursor = ring.cursor(OnLap::Error);
        group.bench_function(BenchmarkId::new("cursor", size), |b| {
            b.iter(|| {
                if cursor.lag() < size as u64 {
                    cursor.seek_oldest();
                }
                cursor.try_read(black_box(&mut buf))
            });
        });
    }
}

fn gate_read(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate append and read");
    for (name, publication) in [("notify", Publication::Notify), ("silent", Publication::SILENT)] {
        for size in SIZES {
            let (_ring, mut writer) = ring();
            let mut gate = writer.gate();
            writer.set_publication(publication);
            gate.set_publication(publication);
            let data = pattern(size);
            let mut buf = vec![0; size];
            assert_eq!(writer.try_append(&data).expect("open"), size);
            assert_eq!(gate.try_read(&mut buf), Ok(size));
            assert_eq!(buf, data);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    writer.try_append(black_box(&data)).expect("open");
                    gate.try_read(black_box(&mut buf))
                });
            });
        }
    }
}

fn fill(c: &mut Criterion) {
    let mut group = c.benchmark_group("pcm write and fill");
    for frames in [32, 64, 128, 256] {
        let (mut writer, mut reader) = pcm::open::<f32>(PcmOptions::default()).expect("memory");
        let epoch = writer.epoch();
        let period: Vec<f32> = (0..2 * frames).map(|i| i as f32).collect();
        let mut out = vec![0.0; 2 * frames];
        assert_eq!(writer.try_write(epoch, &period), Ok(frames));
        assert_eq!(reader.fill(&mut out).frames, frames);
        assert_eq!(out, period);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(BenchmarkId::new("frames", frames), |b| {
            b.iter(|| {
                writer.try_write(epoch, black_box(&period)).expect("open");
                reader.fill(black_box(&mut out))
            });
        });
        let underrun = reader.fill(&mut out);
        assert_eq!((underrun.frames, underrun.missing), (0, frames));
        group.bench_function(BenchmarkId::new("underrun", frames), |b| b.iter(|| reader.fill(black_box(&mut out))));
    }
}

fn ready(c: &mut Criterion) {
    let (ring, _writer, _) = full();
    let reader = ring.reader();
    let window = reader.valid_window().expect("a ring has a window");
    let range = window.start..window.start + 4_096;
    assert!(reader.contains_range(range.clone()));
    assert_eq!(reader.wait_range(range.clone()).expect("inside"), WaitOutcome::Ready);
    let mut group = c.benchmark_group("ready check");
    group.bench_function("contains_range", |b| b.iter(|| reader.contains_range(black_box(range.clone()))));
    group.bench_function("wait_range", |b| b.iter(|| reader.wait_range(black_box(range.clone()))));
    group.bench_function("valid_window", |b| b.iter(|| reader.valid_window()));
}

/// What a publication costs its caller while others sleep for something else, which it must not wake.
fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish beside sleepers");
    let data = pattern(512);
    for sleepers in [0, 1, 16] {
        let (ring, mut writer) = ring();
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

criterion_group!(benches, append, follower_read, gate_read, fill, ready, publish);
criterion_main!(benches);
