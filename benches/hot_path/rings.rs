//! The rings that the benchmarks work on, and what is in them.

use roundelay::{CancelToken, Resource, RingDriver, RingOptions, Writer};

/// A cache line, a period of 64 stereo frames, a page, what a decoder takes at a time, and more than a second of audio.
pub const SIZES: [usize; 5] = [64, 512, 4 << 10, 64 << 10, 1 << 20];

/// A megabyte, or what holds some accesses of this size.
pub fn capacity(size: usize) -> usize {
    (4 * size).max(1 << 20)
}

pub fn ring(capacity: usize) -> (Resource<RingDriver>, Writer<RingDriver>) {
    let options = RingOptions { prefault: true, ..RingOptions::new(capacity) };
    let ring = Resource::open(CancelToken::new(), options).expect("some megabytes of memory");
    let writer = ring.writer().expect("the first writer");
    (ring, writer)
}

/// Bytes that differ from their neighbours and from those a lap away.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// A ring that has gone round, and holds the pattern throughout.
pub fn full(capacity: usize) -> (Resource<RingDriver>, Writer<RingDriver>, Vec<u8>) {
    let (ring, mut writer) = ring(capacity);
    let data = pattern(capacity);
    writer.append(&pattern(12_345)).expect("room");
    writer.append(&data).expect("room");
    (ring, writer, data)
}
