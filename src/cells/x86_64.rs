//! The copy on x86-64, in vector moves.
//!
//! [`super::copy_out`] has the contract and the story told to the language. Here every byte goes through `mov`, `movdqu`
//! or `vmovdqu`, ordinary moves to write-back memory: the processor keeps loads in order among themselves, and stores
//! among themselves, so that `fence(Acquire)` and `fence(Release)` have only the compiler to hold back. Non-temporal
//! moves are outside that order, and not used.
//!
//! Nor is `rep movsb`, though it needs no AVX and is what `memcpy` uses on many processors: it is level with the moves
//! here from 16 KiB on at best, and 20 to 30 times slower (2.2 µs for 4 KiB on a Zen 3) where the destination starts a
//! few bytes behind the source, modulo 4096. A callback cannot choose its addresses.
//!
//! The sizes overlap instead of ending in a loop of single bytes: the last move of a size is anchored at the end, and
//! bytes in the middle may be copied twice. To a racing reader that is one more store of the byte that is there.

use crate::sync::{AtomicU8, Ordering::Relaxed};
use std::arch::asm;

// Both sides use the same moves: to the processor there is no difference between the cells and the rest.
pub(super) use self::{copy as copy_in, copy as copy_out};

/// 1 once AVX was found. Whoever sees 0 still does without.
static HAS_AVX: AtomicU8 = AtomicU8::new(0);

/// Asks the processor whether it has AVX, which can take tens of microseconds the first time.
pub(super) fn prepare() {
    // Relaxed: nothing else is published by it.
    HAS_AVX.store(std::is_x86_feature_detected!("avx").into(), Relaxed);
}

#[inline]
fn has_avx() -> bool {
    // Relaxed: the load brings nothing else with it.
    cfg!(target_feature = "avx") || HAS_AVX.load(Relaxed) != 0
}

/// Copies `len` bytes from `src` to `dst` with the best kernel for that size and this processor.
///
/// A small packet is copied on the spot. Everything else is a call away, so that whoever copies stays small enough to be
/// inlined: a call is dear only where there is little to copy.
///
/// # Safety
///
/// That of [`super::copy_out`] or [`super::copy_in`].
#[inline]
pub(super) unsafe fn copy(src: *const u8, dst: *mut u8, len: usize) {
    if (16..=64).contains(&len) {
        // SAFETY: the caller's promise, and `len` is 16 to 64.
        unsafe { from_16_to_64(src, dst, len) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { copy_by_call(src, dst, len) }
    }
}

/// # Safety
///
/// That of [`super::copy_out`] or [`super::copy_in`].
#[inline(never)]
unsafe fn copy_by_call(src: *const u8, dst: *mut u8, len: usize) {
    if len <= 64 {
        // SAFETY: the caller's promise, and `len` is at most 64.
        unsafe { upto_64(src, dst, len) }
    } else if has_avx() {
        // SAFETY: the caller's promise; `len` is over 64, and there is AVX.
        unsafe { avx(src, dst, len) }
    } else {
        // SAFETY: the caller's promise, and `len` is over 64.
        unsafe { sse2(src, dst, len) }
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
    // Each block reads `len` bytes from `src` and writes `len` bytes to `dst`, which the caller has promised: its moves
    // are anchored at the start and at the end, and `len` is at least the size of one of them. The registers that it
    // changes are declared, no move changes a flag, and none uses the stack.
    if len >= 16 {
        // SAFETY: the caller's promise, and `len` is 16 to 64.
        unsafe { from_16_to_64(src, dst, len) }
    } else if len >= 8 {
        // SAFETY: 8 to 15 bytes as two times 8.
        unsafe {
            asm!(
                "mov {a}, [{src}]",
                "mov {b}, [{src} + {len} - 8]",
                "mov [{dst}], {a}",
                "mov [{dst} + {len} - 8], {b}",
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len >= 4 {
        // SAFETY: 4 to 7 bytes as two times 4.
        unsafe {
            asm!(
                "mov {a:e}, [{src}]",
                "mov {b:e}, [{src} + {len} - 4]",
                "mov [{dst}], {a:e}",
                "mov [{dst} + {len} - 4], {b:e}",
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len >= 2 {
        // SAFETY: 2 or 3 bytes as two times 2.
        unsafe {
            asm!(
                "movzx {a:e}, word ptr [{src}]",
                "movzx {b:e}, word ptr [{src} + {len} - 2]",
                "mov [{dst}], {a:x}",
                "mov [{dst} + {len} - 2], {b:x}",
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len == 1 {
        // SAFETY: one byte.
        unsafe {
            asm!(
                "mov {a}, [{src}]",
                "mov [{dst}], {a}",
                src = in(reg) src, dst = in(reg) dst, a = out(reg_byte) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// 16 to 64 bytes.
///
/// # Safety
///
/// That of [`super::copy_out`] or [`super::copy_in`], and `len` is 16 to 64.
#[inline]
unsafe fn from_16_to_64(src: *const u8, dst: *mut u8, len: usize) {
    debug_assert!((16..=64).contains(&len));
    // Each block reads `len` bytes from `src` and writes `len` bytes to `dst`, which the caller has promised: its moves
    // are anchored at the start and at the end, and `len` is at least the size of one of them. The registers that it
    // changes are declared, no move changes a flag, and none uses the stack.
    if len > 32 {
        // SAFETY: 33 to 64 bytes as two pairs of 16, at the start and at the end.
        unsafe {
            asm!(
                "movdqu {a}, [{src}]",
                "movdqu {b}, [{src} + 16]",
                "movdqu {c}, [{src} + {len} - 32]",
                "movdqu {d}, [{src} + {len} - 16]",
                "movdqu [{dst}], {a}",
                "movdqu [{dst} + 16], {b}",
                "movdqu [{dst} + {len} - 32], {c}",
                "movdqu [{dst} + {len} - 16], {d}",
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else {
        // SAFETY: 16 to 32 bytes as two times 16.
        unsafe {
            asm!(
                "movdqu {a}, [{src}]",
                "movdqu {b}, [{src} + {len} - 16]",
                "movdqu [{dst}], {a}",
                "movdqu [{dst} + {len} - 16], {b}",
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// More than 64 bytes in moves of 16.
///
/// # Safety
///
/// That of [`super::copy_out`] or [`super::copy_in`], and `len` is over 64.
#[inline]
pub(super) unsafe fn sse2(src: *const u8, dst: *mut u8, len: usize) {
    debug_assert!(len > 64);
    // The first 16 bytes, then blocks of 64 from the next multiple of 16 at `dst` on while a byte before the last 64 is
    // left, then the last 64.
    let skip = 16 - dst.addr() % 16;
    let from = src.wrapping_add(skip);
    let to = dst.wrapping_add(skip);
    let last_from = src.wrapping_add(len - 64);
    let last_to = dst.wrapping_add(len - 64);
    // SAFETY: every move is inside the `len` bytes at `src` and `dst` that the caller has promised: a block starts
    // before `last_to`, 64 bytes before the end, so it ends before the end. `skip` is at most 16, so that none is left
    // out. What the block changes is declared; it changes flags and does not use the stack.
    unsafe {
        asm!(
            "movdqu {a}, [{src}]",
            "movdqu [{dst}], {a}",
            "cmp {to}, {last_to}",
            "jae 3f",
            ".p2align 4",
            "2:",
            "movdqu {a}, [{from}]",
            "movdqu {b}, [{from} + 16]",
            "movdqu {c}, [{from} + 32]",
            "movdqu {d}, [{from} + 48]",
            "add {from}, 64",
            "movdqu [{to}], {a}",
            "movdqu [{to} + 16], {b}",
            "movdqu [{to} + 32], {c}",
            "movdqu [{to} + 48], {d}",
            "add {to}, 64",
            "cmp {to}, {last_to}",
            "jb 2b",
            "3:",
            "movdqu {a}, [{last_from}]",
            "movdqu {b}, [{last_from} + 16]",
            "movdqu {c}, [{last_from} + 32]",
            "movdqu {d}, [{last_from} + 48]",
            "movdqu [{last_to}], {a}",
            "movdqu [{last_to} + 16], {b}",
            "movdqu [{last_to} + 32], {c}",
            "movdqu [{last_to} + 48], {d}",
            src = in(reg) src, dst = in(reg) dst,
            from = inout(reg) from => _, to = inout(reg) to => _,
            last_from = in(reg) last_from, last_to = in(reg) last_to,
            a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// More than 64 bytes in moves of 32.
///
/// # Safety
///
/// That of [`super::copy_out`] or [`super::copy_in`]; `len` is over 64; the processor and the system have AVX.
#[inline]
pub(super) unsafe fn avx(src: *const u8, dst: *mut u8, len: usize) {
    debug_assert!(len > 64);
    if len <= 128 {
        // SAFETY: 65 to 128 bytes as two pairs of 32, at the start and at the end: inside what the caller has
        // promised. All registers that `vzeroupper` changes are declared; no move changes a flag.
        unsafe {
            asm!(
                "vmovdqu ymm0, [{src}]",
                "vmovdqu ymm1, [{src} + 32]",
                "vmovdqu ymm2, [{src} + {len} - 64]",
                "vmovdqu ymm3, [{src} + {len} - 32]",
                "vmovdqu [{dst}], ymm0",
                "vmovdqu [{dst} + 32], ymm1",
                "vmovdqu [{dst} + {len} - 64], ymm2",
                "vmovdqu [{dst} + {len} - 32], ymm3",
                "vzeroupper",
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack, preserves_flags),
            );
        }
        return;
    }
    if len <= 256 {
        // SAFETY: 129 to 256 bytes as two times four moves of 32, at the start and at the end: inside what the caller
        // has promised. All registers that `vzeroupper` changes are declared; no move changes a flag.
        unsafe {
            asm!(
                "vmovdqu ymm0, [{src}]",
                "vmovdqu ymm1, [{src} + 32]",
                "vmovdqu ymm2, [{src} + 64]",
                "vmovdqu ymm3, [{src} + 96]",
                "vmovdqu ymm4, [{src} + {len} - 128]",
                "vmovdqu ymm5, [{src} + {len} - 96]",
                "vmovdqu ymm6, [{src} + {len} - 64]",
                "vmovdqu ymm7, [{src} + {len} - 32]",
                "vmovdqu [{dst}], ymm0",
                "vmovdqu [{dst} + 32], ymm1",
                "vmovdqu [{dst} + 64], ymm2",
                "vmovdqu [{dst} + 96], ymm3",
                "vmovdqu [{dst} + {len} - 128], ymm4",
                "vmovdqu [{dst} + {len} - 96], ymm5",
                "vmovdqu [{dst} + {len} - 64], ymm6",
                "vmovdqu [{dst} + {len} - 32], ymm7",
                "vzeroupper",
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack, preserves_flags),
            );
        }
        return;
    }
    if len <= 512 {
        // SAFETY: 257 to 512 bytes as two times eight moves of 32, at the start and at the end: inside what the caller
        // has promised. All registers that `vzeroupper` changes are declared; no move changes a flag.
        unsafe {
            asm!(
                "vmovdqu ymm0, [{src}]",
                "vmovdqu ymm1, [{src} + 32]",
                "vmovdqu ymm2, [{src} + 64]",
                "vmovdqu ymm3, [{src} + 96]",
                "vmovdqu ymm4, [{src} + 128]",
                "vmovdqu ymm5, [{src} + 160]",
                "vmovdqu ymm6, [{src} + 192]",
                "vmovdqu ymm7, [{src} + 224]",
                "vmovdqu ymm8, [{src} + {len} - 256]",
                "vmovdqu ymm9, [{src} + {len} - 224]",
                "vmovdqu ymm10, [{src} + {len} - 192]",
                "vmovdqu ymm11, [{src} + {len} - 160]",
                "vmovdqu ymm12, [{src} + {len} - 128]",
                "vmovdqu ymm13, [{src} + {len} - 96]",
                "vmovdqu ymm14, [{src} + {len} - 64]",
                "vmovdqu ymm15, [{src} + {len} - 32]",
                "vmovdqu [{dst}], ymm0",
                "vmovdqu [{dst} + 32], ymm1",
                "vmovdqu [{dst} + 64], ymm2",
                "vmovdqu [{dst} + 96], ymm3",
                "vmovdqu [{dst} + 128], ymm4",
                "vmovdqu [{dst} + 160], ymm5",
                "vmovdqu [{dst} + 192], ymm6",
                "vmovdqu [{dst} + 224], ymm7",
                "vmovdqu [{dst} + {len} - 256], ymm8",
                "vmovdqu [{dst} + {len} - 224], ymm9",
                "vmovdqu [{dst} + {len} - 192], ymm10",
                "vmovdqu [{dst} + {len} - 160], ymm11",
                "vmovdqu [{dst} + {len} - 128], ymm12",
                "vmovdqu [{dst} + {len} - 96], ymm13",
                "vmovdqu [{dst} + {len} - 64], ymm14",
                "vmovdqu [{dst} + {len} - 32], ymm15",
                "vzeroupper",
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack, preserves_flags),
            );
        }
        return;
    }
    // The first 32 bytes, then blocks of 128 from the next multiple of 32 at `dst` on while a byte before the last 128
    // is left, then the last 128.
    let skip = 32 - dst.addr() % 32;
    let from = src.wrapping_add(skip);
    let to = dst.wrapping_add(skip);
    let last_from = src.wrapping_add(len - 128);
    let last_to = dst.wrapping_add(len - 128);
    // SAFETY: every move is inside the `len` bytes at `src` and `dst` that the caller has promised: a block starts
    // before `last_to`, 128 bytes before the end, so it ends before the end. `skip` is at most 32, so that none
    // is left out. All registers that `vzeroupper` changes are declared; the block changes flags and does not use the
    // stack.
    unsafe {
        asm!(
            "vmovdqu ymm0, [{src}]",
            "vmovdqu [{dst}], ymm0",
            "cmp {to}, {last_to}",
            "jae 3f",
            ".p2align 4",
            "2:",
            "vmovdqu ymm0, [{from}]",
            "vmovdqu ymm1, [{from} + 32]",
            "vmovdqu ymm2, [{from} + 64]",
            "vmovdqu ymm3, [{from} + 96]",
            "sub {from}, -128",
            "vmovdqu [{to}], ymm0",
            "vmovdqu [{to} + 32], ymm1",
            "vmovdqu [{to} + 64], ymm2",
            "vmovdqu [{to} + 96], ymm3",
            "sub {to}, -128",
            "cmp {to}, {last_to}",
            "jb 2b",
            "3:",
            "vmovdqu ymm0, [{last_from}]",
            "vmovdqu ymm1, [{last_from} + 32]",
            "vmovdqu ymm2, [{last_from} + 64]",
            "vmovdqu ymm3, [{last_from} + 96]",
            "vmovdqu [{last_to}], ymm0",
            "vmovdqu [{last_to} + 32], ymm1",
            "vmovdqu [{last_to} + 64], ymm2",
            "vmovdqu [{last_to} + 96], ymm3",
            "vzeroupper",
            src = in(reg) src, dst = in(reg) dst,
            from = inout(reg) from => _, to = inout(reg) to => _,
            last_from = in(reg) last_from, last_to = in(reg) last_to,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
            out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack),
        );
    }
}
