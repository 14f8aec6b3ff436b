//! What goes wrong around a program: clocks that jump, threads that die, users who cannot decide, sources that race,
//! files that are taken away, processes that are stopped. Nothing hangs, panics, or grows.
#![cfg(target_os = "linux")]

mod clock;
mod killed;
mod seeks;
mod speed;
mod stopped;
mod unlinked;

#[path = "../alone/mod.rs"]
mod alone;
#[path = "../linear/scratch.rs"]
mod scratch;
#[path = "../threads/mod.rs"]
mod threads;

use std::ops::Range;

/// The byte of an offset. It is not that of a lap of any ring here.
fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn bytes(range: Range<u64>) -> Vec<u8> {
    range.map(byte).collect()
}

/// Fails if these are not the bytes from `offset` on.
fn assert_are(found: &[u8], offset: u64) {
    assert!(*found == bytes(offset..offset + found.len() as u64), "other bytes at {offset}");
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// More memory than this was not there before: 1 MiB, since an allocator keeps some of what it was given back.
const GROWTH_KIB: u64 = 1 << 10;

/// What this process has in memory must be no more than it was.
struct Memory(u64);

impl Memory {
    /// To be called once all is warm.
    fn now() -> Self {
        Self(alone::memory_kib("VmRSS"))
    }

    fn assert_no_growth(&self) {
        let now = alone::memory_kib("VmRSS");
        assert!(now <= self.0 + GROWTH_KIB, "it had {} KiB, and has {now}", self.0);
    }
}
