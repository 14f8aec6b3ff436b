//! Writing at the live edge of a ring that nobody holds.

use crate::rings::{SIZES, capacity, pattern, ring};
use criterion::{BenchmarkId, Criterion, Throughput};
use roundelay::Publication;
use std::hint::black_box;

pub fn group(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for (name, publication) in [("notify", Publication::Notify), ("silent", Publication::SILENT)] {
        for size in SIZES {
            let (ring, mut writer) = ring(capacity(size));
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
