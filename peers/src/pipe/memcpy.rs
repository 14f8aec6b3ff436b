//! Copies and nothing else: in one thread, no ring can beat them that uses the same copy.

use super::CAPACITY;
use crate::buffer::Buffer;

pub struct Memcpy {
    ring: Buffer,
    written: usize,
}

impl Memcpy {
    pub fn new() -> Self {
        Self { ring: Buffer::at_page(CAPACITY), written: 0 }
    }

    /// A copy in, and one out to each part of `received` that is as long.
    #[inline]
    pub fn pass(&mut self, sent: &[u8], received: &mut [u8]) {
        let at = self.written % CAPACITY;
        let place = &mut self.ring[at..at + sent.len()];
        place.copy_from_slice(sent);
        for received in received.chunks_exact_mut(sent.len()) {
            received.copy_from_slice(place);
        }
        self.written += sent.len();
    }
}
