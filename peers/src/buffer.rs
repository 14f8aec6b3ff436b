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

/// The bytes of a stream repeat after so many, of which no size and no capacity is a multiple: no lap repeats the one
/// before. No two neighbours are equal.
const PERIOD: usize = 251;

/// The first bytes of a stream.
static STREAM: [u8; 33 * PERIOD] = {
    let mut bytes = [0; 33 * PERIOD];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % PERIOD) as u8;
        at += 1;
    }
    bytes
};

/// What a stream has from `offset` on, `len` bytes at most: at least one, and many in most cases.
fn stream(offset: u64, len: usize) -> &'static [u8] {
    let phase = (offset % PERIOD as u64) as usize;
    &STREAM[phase..][..len.min(STREAM.len() - PERIOD)]
}

/// Writes the bytes that a stream has from `offset` on.
pub fn fill(mut offset: u64, mut piece: &mut [u8]) {
    while !piece.is_empty() {
        let right = stream(offset, piece.len());
        let (head, tail) = piece.split_at_mut(right.len());
        head.copy_from_slice(right);
        (offset, piece) = (offset + right.len() as u64, tail);
    }
}

/// Panics unless `piece` is what [`fill`] writes.
pub fn check(mut offset: u64, mut piece: &[u8], whose: &str) {
    while !piece.is_empty() {
        let right = stream(offset, piece.len());
        let (head, tail) = piece.split_at(right.len());
        if head != right {
            let wrong = head.iter().zip(right).position(|(byte, right)| byte != right).expect("they differ");
            panic!("{whose}: the byte at {} is {} and not {}", offset + wrong as u64, head[wrong], right[wrong]);
        }
        (offset, piece) = (offset + right.len() as u64, tail);
    }
}
