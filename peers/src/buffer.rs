//! Buffers whose address within a page is known.
//!
//! `memcpy` and our own copies are several times slower at some distances between source and destination modulo 4096
//! than at others, so an address that the allocator happened to pick would decide a race.

use std::ops::{Deref, DerefMut};

const PAGE: usize = 4096;

/// Zeroed bytes at a fixed place within a page.
pub struct Buffer {
    bytes: Vec<u8>,
    first: usize,
    len: usize,
}

impl Buffer {
    /// At the start of a page, as a ring's cells are.
    pub fn at_page(len: usize) -> Self {
        Self::at(0, len)
    }

    /// In the middle of a page: half a page from the start of everybody's ring, whether that is page-aligned or has an
    /// allocator's header before it.
    pub fn mid_page(len: usize) -> Self {
        Self::at(PAGE / 2, len)
    }

    fn at(within: usize, len: usize) -> Self {
        let bytes = vec![0; len + 2 * PAGE];
        let first = bytes.as_ptr().addr().next_multiple_of(PAGE) - bytes.as_ptr().addr() + within;
        Self { bytes, first, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.first..][..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.first..][..self.len]
    }
}

/// Writes the bytes that a stream has from `offset` on. No two neighbours are equal, and no lap repeats the one before.
pub fn fill(offset: u64, piece: &mut [u8]) {
    for (at, byte) in (offset..).zip(piece) {
        *byte = byte_at(at);
    }
}

/// Panics unless `piece` is what [`fill`] writes.
pub fn check(offset: u64, piece: &[u8], whose: &str) {
    for (at, byte) in (offset..).zip(piece) {
        assert!(*byte == byte_at(at), "{whose}: the byte at {at} is {byte} and not {}", byte_at(at));
    }
}

fn byte_at(offset: u64) -> u8 {
    (offset % 251) as u8
}
