//! Reading: anywhere, on, at a gate, and typed frames in a callback.

use crate::rings::{SIZES, capacity, full, pattern, ring};
use criterion::{BenchmarkId, Criterion, Throughput};
use roundelay::{
    OnLap, Publication,
    pcm::{self, PcmOptions},
};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

pub fn follower(c: &mut Criterion) {
    let mut group = c.benchmark_group("follower read");
    for size in SIZES {
        let capacity = capacity(size);
        let (ring, _writer, data) = full(capacity);
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
                at = (at + 4_099) % (capacity - size) as u64;
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

/// Runs `read` so many times, in rounds of at most `most`; before each round `refill` puts back what it takes. Only the
/// reads are timed.
fn in_rounds(mut times: u64, most: usize, mut refill: impl FnMut(usize), mut read: impl FnMut()) -> Duration {
    let mut spent = Duration::ZERO;
    while times > 0 {
        let round = times.min(most as u64);
        refill(round as usize);
        let start = Instant::now();
        for _ in 0..round {
            read();
        }
        spent += start.elapsed();
        times -= round;
    }
    spent
}

pub fn gate(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate read");
    for (name, publication) in [("notify", Publication::Notify), ("silent", Publication::SILENT)] {
        for size in SIZES {
            let capacity = capacity(size);
            let (_ring, mut writer) = ring(capacity);
            let mut gate = writer.gate();
            writer.set_publication(publication);
            gate.set_publication(publication);
            let data = pattern(size);
            let mut buf = vec![0; size];
            assert_eq!(writer.try_append(&data).expect("open"), size);
            assert_eq!(gate.slices().expect("it was written").first(), data);
            assert_eq!(gate.try_read(&mut buf), Ok(size));
            assert_eq!(buf, data);
            group.throughput(Throughput::Bytes(size as u64));
            let mut refill = |pieces| {
                for _ in 0..pieces {
                    writer.append(&data).expect("the gate has read what was there");
                }
            };
            group.bench_function(BenchmarkId::new(format!("copy, {name}"), size), |b| {
                b.iter_custom(|times| {
                    in_rounds(times, capacity / size, &mut refill, || {
                        let read = gate.try_read(black_box(&mut buf));
                        debug_assert_eq!(read, Ok(size));
                    })
                });
            });
            group.bench_function(BenchmarkId::new(format!("lend, {name}"), size), |b| {
                b.iter_custom(|times| {
                    in_rounds(times, capacity / size, &mut refill, || {
                        let slices = gate.slices().expect("it was written");
                        black_box(slices.first());
                        slices.consume(size);
                    })
                });
            });
        }
    }
}

pub fn pcm(c: &mut Criterion) {
    /// Stereo, of `f32`.
    const FRAME: usize = 8;
    let mut group = c.benchmark_group("pcm fill");
    for size in SIZES {
        let frames = size / FRAME;
        let capacity_frames = capacity(size) / FRAME;
        let options = PcmOptions { capacity_frames, ..PcmOptions::default() };
        let (mut writer, mut reader) = pcm::open::<f32>(options).expect("some megabytes of memory");
        let epoch = writer.epoch();
        let period: Vec<f32> = (0..2 * frames).map(|i| i as f32).collect();
        let mut out = vec![0.0; 2 * frames];
        assert_eq!(writer.try_write(epoch, &period), Ok(frames));
        assert_eq!(reader.fill(&mut out).frames, frames);
        assert_eq!(out, period);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("interleaved", size), |b| {
            b.iter_custom(|times| {
                let refill = |periods| {
                    for _ in 0..periods {
                        writer.try_write(epoch, &period).expect("open");
                    }
                };
                in_rounds(times, capacity_frames / frames, refill, || {
                    black_box(reader.fill(black_box(&mut out)));
                })
            });
        });
        let underrun = reader.fill(&mut out);
        assert_eq!((underrun.frames, underrun.missing), (0, frames));
        assert!(out.iter().all(|&sample| sample == 0.0));
        group.bench_function(BenchmarkId::new("underrun", size), |b| b.iter(|| reader.fill(black_box(&mut out))));
    }
}
