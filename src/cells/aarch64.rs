//! The copy on aarch64, in vector moves.
//!
//! [`super::copy_out`] has the contract and the story told to the language. Every byte goes through an ordinary load and an
//! ordinary store of the general or vector registers. Such an access to normal memory, of any size and alignment, is a
//! set of single-byte accesses that happen in any order, none of which tears: relaxed byte accesses. `fence(Acquire)`
//! (`dmb ishld`) and `fence(Release)` (`dmb ish`) order them as they order any load and store. No `ldnp` or `stnp`.
//!
//! The sizes overlap instead of ending in a loop of single bytes: the last move of a size is anchored at the end, and
//! bytes in the middle may be copied twice. To a racing reader that is one more store of the byte that is there.

use std::arch::asm;

// Both sides use the same moves: to the processor there is no difference between the cells and the rest.
pub(super) use self::{copy as copy_in, copy as copy_out};

/// There is nothing to find out.
pub(super) fn prepare() {}

/// Copies `len` bytes from `src` to `dst`.
///
/// # Safety
///
/// That of [`super::copy_out`] or [`super::copy_in`].
#[inline]
pub(super) unsafe fn copy(src: *const u8, dst: *mut u8, len: usize) {
    if len <= 64 {
        // SAFETY: the caller's promise, and `len` is at most 64.
        unsafe { upto_64(src, dst, len) }
    } else {
        // SAFETY: the caller's promise, and `len` is over 64.
        unsafe { over_64(src, dst, len) }
    }
}

/// At most 64 bytes.
///
/// # Safety
///
/// That of [`super::copy_out`] or [`super::copy_in`], and `len` is at most 64.
#[inline]
pub(super) unsafe fn upto_64(src: *const u8, dst: *mut u8, len: usize) {
    debug_assert!(len <= 64);
    // One past the last byte: where the second half of each size is anchored.
    let src_end = src.wrapping_add(len);
    let dst_end = dst.wrapping_add(len);
    // Each block reads `len` bytes from `src` and writes `len` bytes to `dst`, which the caller has promised: its moves
    // are anchored at the start and at the end, and `len` is at least the size of one of them. The registers that it
    // changes are declared, no move changes a flag, and none uses the stack.
    if len > 32 {
        // SAFETY: 33 to 64 bytes as two pairs of 16, at the start and at the end.
        unsafe {
            asm!(
                "ldp {a:q}, {b:q}, [{src}]",
                "ldp {c:q}, {d:q}, [{src_end}, #-32]",
                "stp {a:q}, {b:q}, [{dst}]",
                "stp {c:q}, {d:q}, [{dst_end}, #-32]",
                src = in(reg) src, dst = in(reg) dst, src_end = in(reg) src_end, dst_end = in(reg) dst_end,
                a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len >= 16 {
        // SAFETY: 16 to 32 bytes as two times 16.
        unsafe {
            asm!(
                "ldr {a:q}, [{src}]",
                "ldur {b:q}, [{src_end}, #-16]",
                "str {a:q}, [{dst}]",
                "stur {b:q}, [{dst_end}, #-16]",
                src = in(reg) src, dst = in(reg) dst, src_end = in(reg) src_end, dst_end = in(reg) dst_end,
                a = out(vreg) _, b = out(vreg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len >= 8 {
        // SAFETY: 8 to 15 bytes as two times 8.
        unsafe {
            asm!(
                "ldr {a:x}, [{src}]",
                "ldur {b:x}, [{src_end}, #-8]",
                "str {a:x}, [{dst}]",
                "stur {b:x}, [{dst_end}, #-8]",
                src = in(reg) src, dst = in(reg) dst, src_end = in(reg) src_end, dst_end = in(reg) dst_end,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len >= 4 {
        // SAFETY: 4 to 7 bytes as two times 4.
        unsafe {
            asm!(
                "ldr {a:w}, [{src}]",
                "ldur {b:w}, [{src_end}, #-4]",
                "str {a:w}, [{dst}]",
                "stur {b:w}, [{dst_end}, #-4]",
                src = in(reg) src, dst = in(reg) dst, src_end = in(reg) src_end, dst_end = in(reg) dst_end,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len >= 2 {
        // SAFETY: 2 or 3 bytes as two times 2.
        unsafe {
            asm!(
                "ldrh {a:w}, [{src}]",
                "ldurh {b:w}, [{src_end}, #-2]",
                "strh {a:w}, [{dst}]",
                "sturh {b:w}, [{dst_end}, #-2]",
                src = in(reg) src, dst = in(reg) dst, src_end = in(reg) src_end, dst_end = in(reg) dst_end,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len == 1 {
        // SAFETY: one byte.
        unsafe {
            asm!(
                "ldrb {a:w}, [{src}]",
                "strb {a:w}, [{dst}]",
                src = in(reg) src, dst = in(reg) dst, a = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// More than 64 bytes in pairs of 16-byte registers.
///
/// # Safety
///
/// That of [`super::copy_out`] or [`super::copy_in`], and `len` is over 64.
#[inline]
pub(super) unsafe fn over_64(src: *const u8, dst: *mut u8, len: usize) {
    debug_assert!(len > 64);
    // The first 16 bytes, whatever the alignment; whole blocks of 64 to 16-aligned addresses of `dst`, while a byte
    // before the last 64 is left; the last 64 bytes.
    let skip = 16 - (dst.addr() & 15);
    let from = src.wrapping_add(skip);
    let to = dst.wrapping_add(skip);
    let last_from = src.wrapping_add(len - 64);
    let last_to = dst.wrapping_add(len - 64);
    // SAFETY: every move is inside `len` bytes from `src` or `dst`, which the caller has promised: `skip` is 1 to 16
    // and `len` is over 64; a block starts before `last_to`, 64 bytes before the end, so it ends before the end. What
    // the block changes is declared; it changes flags and does not use the stack.
    unsafe {
        asm!(
            "ldr {a:q}, [{src}]",
            "str {a:q}, [{dst}]",
            "cmp {to}, {last_to}",
            "b.hs 3f",
            "2:",
            "ldp {a:q}, {b:q}, [{from}]",
            "ldp {c:q}, {d:q}, [{from}, #32]",
            "add {from}, {from}, #64",
            "stp {a:q}, {b:q}, [{to}]",
            "stp {c:q}, {d:q}, [{to}, #32]",
            "add {to}, {to}, #64",
            "cmp {to}, {last_to}",
            "b.lo 2b",
            "3:",
            "ldp {a:q}, {b:q}, [{last_from}]",
            "ldp {c:q}, {d:q}, [{last_from}, #32]",
            "stp {a:q}, {b:q}, [{last_to}]",
            "stp {c:q}, {d:q}, [{last_to}, #32]",
            src = in(reg) src, dst = in(reg) dst,
            from = inout(reg) from => _, to = inout(reg) to => _,
            last_from = in(reg) last_from, last_to = in(reg) last_to,
            a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
            options(nostack),
        );
    }
}
