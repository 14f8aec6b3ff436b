//! Asking whether a range is there.

use crate::rings::full;
use criterion::Criterion;
use roundelay::WaitOutcome;
use std::hint::black_box;

pub fn group(c: &mut Criterion) {
    let (ring, _writer, _) = full(1 << 20);
    let reader = ring.reader();
    let window = reader.valid_window().expect("a ring has a window");
    let range = window.start..window.start + 4_096;
    assert!(reader.contains_range(range.clone()));
    assert!(!reader.contains_range(window.start - 1..window.start), "a lap ago");
    assert!(!reader.contains_range(window.end..window.end + 1), "never written");
    assert_eq!(reader.wait_range(range.clone()).expect("inside"), WaitOutcome::Ready);
    let mut group = c.benchmark_group("ready check");
    group.bench_function("contains_range", |b| b.iter(|| reader.contains_range(black_box(range.clone()))));
    group.bench_function("wait_range", |b| b.iter(|| reader.wait_range(black_box(range.clone()))));
    group.bench_function("valid_window", |b| b.iter(|| reader.valid_window()));
}
