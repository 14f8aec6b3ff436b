//! The copy as the language sees it: one relaxed byte at a time.
//!
//! For processors without a file here, and for tools that cannot look into `asm!`. Ten times slower than the vector
//! moves.

use crate::sync::{AtomicU8, Ordering::Relaxed};

/// There is nothing to find out.
pub(super) fn prepare() {}

/// Copies `len` bytes out of the cells.
///
/// # Safety
///
/// That of [`super::copy_out`].
#[inline]
pub(super) unsafe fn copy_out(cells: *const u8, dst: *mut u8, len: usize) {
    for at in 0..len {
        // SAFETY: the caller has promised `len` bytes at `cells`, and that nobody touches them but atomically, one
        // byte at a time. A byte is always aligned.
        let cell = unsafe { AtomicU8::from_ptr(cells.wrapping_add(at).cast_mut()) };
        // Relaxed: what the byte belongs to is ordered by the caller's fences and counters.
        let byte = cell.load(Relaxed);
        // SAFETY: the caller has promised `len` bytes at `dst` that are ours alone.
        unsafe { dst.wrapping_add(at).write(byte) };
    }
}

/// Copies `len` bytes into the cells.
///
/// # Safety
///
/// That of [`super::copy_in`].
#[inline]
pub(super) unsafe fn copy_in(src: *const u8, cells: *mut u8, len: usize) {
    for at in 0..len {
        // SAFETY: the caller has promised `len` bytes at `src` that nobody writes meanwhile.
        let byte = unsafe { src.wrapping_add(at).read() };
        // SAFETY: the caller has promised `len` bytes at `cells`, and that nobody touches them but atomically, one
        // byte at a time. A byte is always aligned.
        let cell = unsafe { AtomicU8::from_ptr(cells.wrapping_add(at)) };
        // Relaxed: what the byte belongs to is ordered by the caller's fences and counters.
        cell.store(byte, Relaxed);
    }
}
