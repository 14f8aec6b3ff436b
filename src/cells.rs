//! Bytes that two threads may touch at once, and the copy in and out of them.
//!
//! A reader may copy bytes that the writer is replacing, and finds out afterwards. That is sound only if both sides
//! touch the bytes atomically. So they are *cells*: nobody has a `&[u8]` or `&mut [u8]` to them while another thread
//! may write, and every access is one of the functions here.
//!
//! # What a copy is
//!
//! To the language, [`copy_out`] is a loop of relaxed `AtomicU8` loads and [`copy_in`] a loop of relaxed `AtomicU8`
//! stores, a byte at a time, in any order. One cell size for the whole build: atomic accesses of different sizes to the
//! same bytes, one of them a store, are undefined while they race.
//!
//! Such a loop is ten to twenty times slower than `memcpy`, so on x86-64 and aarch64 it is written as `asm!` blocks of vector
//! moves. What happens inside an `asm!` block is no access of the language's; the block has to be *explainable* as
//! something that Rust code could do, and that loop is the explanation. A move of 32 bytes may be seen in pieces by
//! another processor, but never in pieces of a byte.
//!
//! The written-out loop is used on other processors, under Miri, and with `--cfg roundelay_written_out`, which is for
//! thread sanitizers and the like: they see the loop, and they do not see into `asm!`. (On stable Rust a crate cannot
//! ask whether a sanitizer is on.) Under loom there is a [`Cells`] of its own.
//!
//! # What orders a copy
//!
//! Nothing here. The protocols do, with fences: `end.store(.., Release)` after a copy in, `fence(Acquire)` after a copy
//! out, `fence(Release)` before a copy in. That these hold a copy in place:
//!
//! - The compiler: the blocks are neither `pure` nor `nomem` nor `readonly`, so each may read and write any memory that
//!   others can reach, atomically too, and may not be left out, repeated or merged. The cells and whatever the fence
//!   orders are such memory. A fence may not move across code that may access memory, nor such code across the fence,
//!   whichever kind of access it turns out to make.
//! - The processor: the moves are ordinary loads and stores to write-back memory, never non-temporal ones, so that the
//!   instruction that the fence turns into (none on x86-64, where the order is there anyway; `dmb` on aarch64) orders
//!   them like any other.

#[cfg(not(loom))]
use memmap2::{MmapMut, MmapOptions, MmapRaw};
#[cfg(not(loom))]
use std::ptr::NonNull;
use std::{fmt, fs::File, io, slice};

#[cfg(loom)]
pub(crate) use modelled::Cells;

#[cfg(not(loom))]
#[cfg_attr(all(target_arch = "x86_64", not(any(miri, roundelay_written_out))), path = "cells/x86_64.rs")]
#[cfg_attr(all(target_arch = "aarch64", not(any(miri, roundelay_written_out))), path = "cells/aarch64.rs")]
#[cfg_attr(
    any(miri, roundelay_written_out, not(any(target_arch = "x86_64", target_arch = "aarch64"))),
    path = "cells/written_out.rs"
)]
mod kernel;
// The oracle that the kernels are held against.
#[cfg(all(test, not(loom)))]
#[allow(dead_code, reason = "an oracle has nothing to prepare")]
mod written_out;

/// Finds out what the processor has, so that no copy has to: the first question can take tens of microseconds.
///
/// [`Cells::new`] does it. Whoever keeps cells in memory of another kind calls it before the first copy.
///
/// # Real-time
///
/// Not for a callback, the first time in a process.
#[cfg(not(loom))]
pub(crate) fn prepare() {
    kernel::prepare();
}

/// Copies `len` bytes out of cells, while others may write them: a byte is then an old or a new one.
///
/// # Real-time
///
/// Wait-free. Never allocates, frees, locks or enters the kernel, if the memory is resident and [`prepare`] was called.
///
/// # Safety
///
/// - `len` bytes at `cells` are readable, and nobody accesses them meanwhile but through the functions of this module,
///   or by reading them.
/// - `len` bytes at `dst` are writable, and nobody else accesses them meanwhile. They overlap no cells.
#[cfg(not(loom))]
#[inline]
pub(crate) unsafe fn copy_out(cells: *const u8, dst: *mut u8, len: usize) {
    // SAFETY: what the caller has promised is what the kernels ask for.
    unsafe { kernel::copy_out(cells, dst, len) }
}

/// Copies `len` bytes into cells, while others may read or write them: a byte that two write is that of one of them.
///
/// # Real-time
///
/// Wait-free. Never allocates, frees, locks or enters the kernel, if the memory is resident and [`prepare`] was called.
///
/// # Safety
///
/// - `len` bytes at `src` are readable, and nobody writes them meanwhile. They overlap no bytes at `cells`.
/// - `len` bytes at `cells` are writable, and nobody accesses them meanwhile but through [`copy_in`] and [`copy_out`].
#[cfg(not(loom))]
#[inline]
pub(crate) unsafe fn copy_in(src: *const u8, cells: *mut u8, len: usize) {
    // SAFETY: what the caller has promised is what the kernels ask for.
    unsafe { kernel::copy_in(src, cells, len) }
}

/// The cells could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// How many were asked for.
    pub(crate) bytes: usize,
}

/// A fixed number of cells, starting on a cache line of their own: memory, all zero at first, or a stretch of a file.
///
/// `&Cells` is enough to write them, and any number of threads may: what a race leaves behind is a mix of the bytes
/// written, and nothing worse.
#[cfg(not(loom))]
pub(crate) struct Cells {
    /// The first cell, at the start of a page.
    first: NonNull<u8>,
    len: usize,
    /// How many may be written: all or none.
    writable: usize,
    /// Whose memory it is. Pages of their own, so that locking them locks nothing else, and giving them back undoes it.
    memory: MmapRaw,
}

// SAFETY: `Cells` owns its memory, which any thread may give back.
#[cfg(not(loom))]
unsafe impl Send for Cells {}
// SAFETY: through `&Cells`, the bytes are touched by `copy_in` and `copy_out` alone, which may race, and read through
// slices from `lend`, whose callers have promised that nothing writes there meanwhile. The fields never change.
#[cfg(not(loom))]
unsafe impl Sync for Cells {}

#[cfg(not(loom))]
impl Cells {
    /// Maps `len` zeroed cells. They take memory only page by page, as they are touched: see
    /// [`prefault`](Self::prefault).
    ///
    /// # Real-time
    ///
    /// Not for a callback: it enters the kernel, and so does dropping it.
    pub(crate) fn new(len: usize) -> Result<Self, OutOfMemory> {
        let memory = MmapMut::map_anon(len).map_err(|_| OutOfMemory { bytes: len })?;
        Self::over(memory.into(), len, len).ok_or(OutOfMemory { bytes: len })
    }

    /// Maps the `len` bytes (at least 1) of `file` at `offset`, a multiple of 64 KiB: to be read and written, or only
    /// read. They may lie behind the end of the file, and must not be touched until it has grown over them.
    ///
    /// The cells do not keep `file` open. Others who change the file change the cells: what is read is then any bytes.
    /// Others who cut the file short take the cells away: touching them ends the process with a signal.
    ///
    /// # Real-time
    ///
    /// Not for a callback: it enters the kernel, and so do dropping it and the first touch of each page.
    ///
    /// # Errors
    ///
    /// What the system says of the mapping.
    pub(crate) fn map(file: &File, offset: u64, len: usize, writable: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let memory = if writable { options.map_raw(file) } else { options.map_raw_read_only(file) }?;
        let writable = if writable { len } else { 0 };
        Self::over(memory, len, writable).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn over(memory: MmapRaw, len: usize, writable: usize) -> Option<Self> {
        prepare();
        // From here on the bytes are touched through this pointer alone.
        let first = NonNull::new(memory.as_mut_ptr())?;
        Some(Self { first, len, writable, memory })
    }

    /// The number of cells.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many of them may be written: all or none.
    #[inline]
    pub(crate) fn writable(&self) -> usize {
        self.writable
    }

    /// Copies `dst.len()` bytes out, starting at `at`. May race with a [`write`](Self::write) of the same cells; each
    /// byte is then an old or a new one, and the caller has to find out that it lost.
    ///
    /// # Real-time
    ///
    /// Wait-free. Never allocates, frees, locks or enters the kernel, if the memory is resident.
    ///
    /// # Panics
    ///
    /// If there are no such cells.
    #[inline]
    #[track_caller]
    pub(crate) fn read(&self, at: usize, dst: &mut [u8]) {
        check_bounds(at, dst.len(), self.len);
        let cells = self.at(at);
        // SAFETY: there are `dst.len()` cells from `at` on, which was checked. They are accessed through this module alone,
        // and read through `lend`. `dst` is borrowed for us alone, and no cell lies in a `&mut [u8]`.
        unsafe { copy_out(cells, dst.as_mut_ptr(), dst.len()) }
    }

    /// Copies `src` in, starting at `at`. May race with a [`read`](Self::read) or `write` of the same cells.
    ///
    /// # Real-time
    ///
    /// Wait-free. Never allocates, frees, locks or enters the kernel, if the memory is resident.
    ///
    /// # Panics
    ///
    /// If there are no such cells, or they can only be read.
    #[inline]
    #[track_caller]
    pub(crate) fn write(&self, at: usize, src: &[u8]) {
        check_bounds(at, src.len(), self.writable);
        let cells = self.at(at);
        // SAFETY: there are `src.len()` cells from `at` on, mapped to be written, which was checked. Whoever lent some
        // of them has promised that they are not written now, so nobody accesses them but through `copy_in` and
        // `copy_out`, and `src`, should it be lent, does not overlap them.
        unsafe { copy_in(src.as_ptr(), cells, src.len()) }
    }

    /// Touches every page, so that a callback does not have to wait for the kernel to find one. Keeps the bytes.
    ///
    /// # Real-time
    ///
    /// Not for a callback: this is where the page faults happen.
    pub(crate) fn prefault(&mut self) {
        // Pages may be larger than that, and not smaller.
        const PAGE: usize = 4096;
        let last = self.writable.checked_sub(1);
        for at in (0..self.writable).step_by(PAGE).chain(last) {
            // SAFETY: `at` is below `writable`, and that is at most `len`.
            let cell = unsafe { self.first.add(at) };
            // SAFETY: the cell belongs to us, and `&mut self` says that nobody else has access to it. Volatile, so
            // that the compiler does not leave out storing what is there already.
            let byte = unsafe { cell.read_volatile() };
            // SAFETY: as on the line above.
            unsafe { cell.write_volatile(byte) };
        }
    }

    /// Keeps the pages in memory until they are given back, if the system allows it; says whether it does.
    pub(crate) fn lock_memory(&self) -> bool {
        #[cfg(unix)]
        return self.memory.lock().is_ok();
        #[cfg(not(unix))]
        false
    }

    /// The `len` cells from `at` on, in place.
    ///
    /// # Real-time
    ///
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    ///
    /// # Panics
    ///
    /// If there are no such cells.
    ///
    /// # Safety
    ///
    /// - No [`write`](Self::write) touches any of these cells while the slice lives, and those that did before
    ///   happened before this call.
    #[inline]
    #[track_caller]
    pub(crate) unsafe fn lend(&self, at: usize, len: usize) -> &[u8] {
        check_bounds(at, len, self.len);
        let cells = self.at(at);
        // SAFETY: there are `len` cells from `at` on, initialised when they were allocated, in one allocation that lives
        // as long as `self`. The caller has promised that they do not change.
        unsafe { slice::from_raw_parts(cells, len) }
    }

    /// The address of cell `at`, which the caller has checked to be at most the number of cells.
    #[inline]
    fn at(&self, at: usize) -> *mut u8 {
        debug_assert!(at <= self.len);
        // `wrapping_add` needs no promise; that the result may be touched is for the callers to say.
        self.first.as_ptr().wrapping_add(at)
    }

    /// Makes the bytes of a file in `at..at + len` durable, with all of the file's length and place that it takes to
    /// find them again.
    ///
    /// # Errors
    ///
    /// What the system says. Some of the bytes may not be durable then, and asking again may not say so again.
    pub(crate) fn sync(&self, at: usize, len: usize) -> io::Result<()> {
        self.memory.flush_range(at, len)
    }
}

impl fmt::Debug for Cells {
    /// The bytes stay out of it: another thread may be writing them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Panics unless `at + len <= cells`.
#[inline]
#[track_caller]
fn check_bounds(at: usize, len: usize, cells: usize) {
    // In this order: a caller that has just asked whether it reaches the last cell has asked the second question.
    if at > cells || len > cells - at {
        out_of_bounds(at, len, cells);
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn out_of_bounds(at: usize, len: usize, cells: usize) -> ! {
    panic!("{len} bytes at {at} are not within {cells} cells");
}

/// Types without padding in which every pattern of bits is a value.
///
/// # Safety
///
/// That is what an implementation promises.
pub unsafe trait Pod: Copy + 'static {}

// SAFETY: an integer has no padding, and every pattern of bits is one.
unsafe impl Pod for u8 {}
// SAFETY: as for `u8`.
unsafe impl Pod for i16 {}
// SAFETY: as for `u8`.
unsafe impl Pod for i32 {}
// SAFETY: a float has no padding, and every pattern of bits is one, if maybe not a number.
unsafe impl Pod for f32 {}

/// The bytes of `values`, in the order of this machine.
#[inline]
pub(crate) fn bytes_of<T: Pod>(values: &[T]) -> &[u8] {
    // SAFETY: the slice is readable as long as it is borrowed, bytes have no alignment, and `T` has no padding that
    // would be uninitialised.
    unsafe { slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The bytes of `values`, in the order of this machine, to be changed.
#[inline]
pub(crate) fn bytes_of_mut<T: Pod>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `bytes_of`; the slice is borrowed for us alone, and whatever is written is a value of `T`.
    unsafe { slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// Cells that loom understands.
///
/// A racing read is the loop of atomic loads that it stands for. A lent slice is no atomic access: a write has to
/// happen before it is lent or after it was given back, which loom checks on a tracker for each byte.
#[cfg(loom)]
mod modelled {
    use super::{OutOfMemory, check_bounds};
    use crate::sync::{AtomicU8, Ordering::Relaxed, UnsafeCell};
    use std::{fs::File, io, slice};

    pub(crate) struct Cells {
        bytes: Vec<AtomicU8>,
        /// Written by `write`, read by `lend`.
        trackers: Vec<UnsafeCell<()>>,
        /// The same bytes in one piece, for `lend`. Threads under loom take turns, so nothing races here.
        mirror: Box<[std::cell::UnsafeCell<u8>]>,
    }

    // SAFETY: only the mirror is not `Send` and `Sync` by itself. Threads under loom take turns on one processor, and
    // `lend` hands out only what the trackers say nobody writes.
    unsafe impl Send for Cells {}
    // SAFETY: as for `Send`.
    unsafe impl Sync for Cells {}

    impl Cells {
        pub(crate) fn new(len: usize) -> Result<Self, OutOfMemory> {
            Ok(Self {
                bytes: (0..len).map(|_| AtomicU8::new(0)).collect(),
                trackers: (0..len).map(|_| UnsafeCell::new(())).collect(),
                mirror: (0..len).map(|_| std::cell::UnsafeCell::new(0)).collect(),
            })
        }

        /// There are no files under loom.
        pub(crate) fn map(_: &File, _: u64, _: usize, _: bool) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn sync(&self, _: usize, _: usize) -> io::Result<()> {
            Ok(())
        }

        pub(crate) fn len(&self) -> usize {
            self.bytes.len()
        }

        pub(crate) fn writable(&self) -> usize {
            self.len()
        }

        #[track_caller]
        pub(crate) fn read(&self, at: usize, dst: &mut [u8]) {
            check_bounds(at, dst.len(), self.len());
            for (cell, byte) in self.bytes[at..].iter().zip(dst) {
                // Relaxed: what the byte belongs to is ordered by the caller's fences and counters.
                *byte = cell.load(Relaxed);
            }
        }

        #[track_caller]
        pub(crate) fn write(&self, at: usize, src: &[u8]) {
            check_bounds(at, src.len(), self.len());
            for (at, byte) in (at..).zip(src) {
                self.trackers[at].with_mut(|_| {});
                // SAFETY: threads take turns, and the tracker above has seen that no lent slice is left here.
                unsafe { *self.mirror[at].get() = *byte };
                // Relaxed: what the byte belongs to is ordered by the caller's fences and counters.
                self.bytes[at].store(*byte, Relaxed);
            }
        }

        pub(crate) fn prefault(&mut self) {}

        pub(crate) fn lock_memory(&self) -> bool {
            false
        }

        pub(crate) fn as_ptr(&self) -> *const u8 {
            self.mirror.as_ptr().cast()
        }

        /// # Safety
        ///
        /// As without loom. Loom sees the slice as being read at this moment; call again before it is given back, and
        /// it sees the whole time between.
        #[track_caller]
        pub(crate) unsafe fn lend(&self, at: usize, len: usize) -> &[u8] {
            check_bounds(at, len, self.len());
            for tracker in &self.trackers[at..at + len] {
                tracker.with(|_| {});
            }
            // SAFETY: the bounds were checked, so that this is inside the mirror or one past its end.
            let first = unsafe { self.as_ptr().add(at) };
            // SAFETY: there are `len` bytes, and the caller has promised that nothing writes them.
            unsafe { slice::from_raw_parts(first, len) }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::{
        AtomicU8,
        Ordering::{Acquire, Relaxed, Release},
        fence,
    };
    use std::{ops::RangeInclusive, panic, thread};

    const ANY: RangeInclusive<usize> = 0..=usize::MAX;
    const WRITTEN_OUT: &str = "written out";

    type Copy = unsafe fn(*const u8, *mut u8, usize);

    struct Kernel {
        name: &'static str,
        /// In, and out.
        copy: [Copy; 2],
        lens: RangeInclusive<usize>,
    }

    /// Every way to copy that this machine has, not only those that it would choose.
    fn kernels() -> Vec<Kernel> {
        prepare();
        #[allow(unused_mut, reason = "there is not always an assembler")]
        let mut kernels = vec![
            Kernel { name: "chosen", copy: [copy_in, copy_out], lens: ANY },
            Kernel { name: WRITTEN_OUT, copy: [written_out::copy_in, written_out::copy_out], lens: ANY },
        ];
        #[cfg(all(target_arch = "x86_64", not(any(miri, roundelay_written_out))))]
        {
            kernels.push(Kernel { name: "up to 64", copy: [kernel::upto_64; 2], lens: 0..=64 });
            kernels.push(Kernel { name: "sse2", copy: [kernel::sse2; 2], lens: 65..=usize::MAX });
            if std::is_x86_feature_detected!("avx") {
                kernels.push(Kernel { name: "avx", copy: [kernel::avx; 2], lens: 65..=usize::MAX });
            }
        }
        #[cfg(all(target_arch = "aarch64", not(any(miri, roundelay_written_out))))]
        {
            kernels.push(Kernel { name: "up to 64", copy: [kernel::upto_64; 2], lens: 0..=64 });
            kernels.push(Kernel { name: "over 64", copy: [kernel::over_64; 2], lens: 65..=usize::MAX });
        }
        kernels
    }

    /// Each kernel in each direction.
    fn copies() -> impl Iterator<Item = (&'static str, Copy, RangeInclusive<usize>)> {
        kernels().into_iter().flat_map(|kernel| kernel.copy.map(|copy| (kernel.name, copy, kernel.lens.clone())))
    }

    /// Bytes in which a neighbour, or the same place a power of two away, is another byte.
    fn pattern(seed: u64, len: usize) -> Vec<u8> {
        let mut x = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// Lengths on both sides of everything that a kernel decides by length.
    fn long_lens() -> impl Iterator<Item = usize> {
        let blocks = (1..=20).map(|blocks| 64 * blocks);
        let powers = (11..=20).map(|power| 1 << power);
        blocks.chain(powers).flat_map(|len| len - 2..=len + 2).chain([1_000_003])
    }

    #[test]
    fn every_kernel_copies_every_short_length_at_every_alignment_and_touches_nothing_else() {
        const LENS: usize = 301;
        const ROOM: usize = 64 + LENS + 64;
        const BLANK: [u8; ROOM] = [0xee; ROOM];
        let source = pattern(1, ROOM);
        for (name, copy, lens) in copies() {
            let mut target = BLANK;
            // The loops of single bytes have no alignment to go wrong with, and are slow.
            let step = if name == WRITTEN_OUT { 13 } else { 1 };
            for len in (0..LENS).filter(|len| lens.contains(len)) {
                for from in (0..64).step_by(step) {
                    for to in (0..64).step_by(step) {
                        let end = to + len;
                        // SAFETY: `from + len` is at most `ROOM`, and so is `end`; both arrays are ours alone.
                        unsafe { copy(source[from..].as_ptr(), target[to..].as_mut_ptr(), len) };
                        let copied = target[to..end] == source[from..from + len];
                        assert!(copied, "{name}: {len} bytes from {from} to {to} are not the same");
                        let kept = target[..to] == BLANK[..to] && target[end..] == BLANK[end..];
                        assert!(kept, "{name}: {len} bytes from {from} to {to} reached further");
                        target[to..end].fill(BLANK[0]);
                    }
                }
            }
        }
        assert!(source == pattern(1, ROOM), "a source was written to");
    }

    #[test]
    fn every_kernel_copies_long_pieces_and_touches_nothing_else() {
        const ROOM: usize = 200 + (1 << 20) + 200;
        let source = pattern(2, ROOM);
        let mut target = vec![0xee; ROOM];
        for (name, copy, lens) in copies() {
            // The loop of single bytes knows no lengths, and is slow.
            let most = if name == WRITTEN_OUT || cfg!(any(miri, roundelay_written_out)) { 3000 } else { usize::MAX };
            for len in long_lens().filter(|len| *len <= most && lens.contains(len)) {
                for (from, to) in [(0, 0), (0, 1), (1, 0), (13, 27), (31, 33), (64, 96), (7, 160)] {
                    let end = to + len;
                    // SAFETY: `from + len` is at most `ROOM`, and so is `end`; both vectors are ours alone.
                    unsafe { copy(source[from..].as_ptr(), target[to..].as_mut_ptr(), len) };
                    let copied = target[to..end] == source[from..from + len];
                    assert!(copied, "{name}: {len} bytes from {from} to {to} are not the same");
                    let kept = target[..to].iter().chain(&target[end..][..100]).all(|byte| *byte == 0xee);
                    assert!(kept, "{name}: {len} bytes from {from} to {to} reached further");
                    target[to..end].fill(0xee);
                }
            }
        }
    }

    #[test]
    fn the_chosen_kernels_agree_with_the_written_out_loop() {
        let cells = Cells::new(4096).unwrap();
        let oracle = Cells::new(4096).unwrap();
        let mut random = pattern(3, 8 * 4000).into_iter();
        let mut below = |limit: usize| {
            let number = u32::from_le_bytes([(); 4].map(|()| random.next().unwrap()));
            number as usize % limit
        };
        for round in 0..4000 {
            let at = below(4097);
            let len = below(if round % 2 == 0 { 4097 - at } else { 100.min(4097 - at) });
            let bytes = pattern(round, len);
            cells.write(at, &bytes);
            // SAFETY: `at + len` is at most 4096; nobody else uses these cells.
            unsafe { written_out::copy_in(bytes.as_ptr(), oracle.at(at), len) };
            let mut chosen = vec![0; 4096 - at];
            let mut looped = chosen.clone();
            cells.read(at, &mut chosen);
            // SAFETY: as above, and `looped` has that many bytes.
            unsafe { written_out::copy_out(oracle.at(at), looped.as_mut_ptr(), looped.len()) };
            assert_eq!(chosen, looped, "round {round}: {len} bytes at {at}");
        }
    }

    /// Memory between two pages that nobody may touch.
    #[cfg(all(unix, not(miri)))]
    struct BetweenGuards {
        map: *mut u8,
    }

    #[cfg(all(unix, not(miri)))]
    impl BetweenGuards {
        /// A multiple of every page size in use.
        const SIZE: usize = 64 << 10;

        fn new() -> Self {
            use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
            // SAFETY: a new mapping, wherever the kernel likes, overlaps nothing.
            let map = unsafe {
                mmap_anonymous(std::ptr::null_mut(), 3 * Self::SIZE, ProtFlags::empty(), MapFlags::PRIVATE).unwrap()
            };
            let this = Self { map: map.cast() };
            // SAFETY: the middle third of the mapping made above, which nobody else knows of.
            unsafe { mprotect(this.start().cast(), Self::SIZE, MprotectFlags::READ | MprotectFlags::WRITE).unwrap() };
            this
        }

        fn start(&self) -> *mut u8 {
            self.map.wrapping_add(Self::SIZE)
        }

        fn all(&mut self) -> &mut [u8] {
            // SAFETY: mapped zeroed in `new`, and borrowed from the owner for as long as the slice lives.
            unsafe { slice::from_raw_parts_mut(self.start(), Self::SIZE) }
        }
    }

    #[cfg(all(unix, not(miri)))]
    impl Drop for BetweenGuards {
        fn drop(&mut self) {
            // SAFETY: the mapping made in `new`; every slice of it borrowed from `self`.
            unsafe { rustix::mm::munmap(self.map.cast(), 3 * Self::SIZE).unwrap() };
        }
    }

    #[test]
    #[cfg(all(unix, not(miri)))]
    fn no_kernel_touches_a_byte_before_the_first_or_behind_the_last() {
        let (mut source, mut target) = (BetweenGuards::new(), BetweenGuards::new());
        let size = BetweenGuards::SIZE;
        let bytes = pattern(4, size);
        source.all().copy_from_slice(&bytes);
        for (name, copy, lens) in copies() {
            let all_lens = (0..=300).chain(long_lens()).chain(size - 70..=size);
            for len in all_lens.filter(|len| *len <= size && lens.contains(len)) {
                let (first, last) = (0, size - len);
                for (from, to) in [(first, first), (first, last), (last, first), (last, last)] {
                    // SAFETY: `from + len` and `to + len` are at most `SIZE`; both mappings are ours alone.
                    unsafe { copy(source.start().wrapping_add(from), target.start().wrapping_add(to), len) };
                    let copied = target.all()[to..to + len] == bytes[from..from + len];
                    assert!(copied, "{name}: {len} bytes from {from} to {to}");
                    target.all()[to..to + len].fill(0);
                }
            }
        }
    }

    #[test]
    fn a_racing_copy_holds_no_byte_that_nobody_wrote() {
        let rounds = if cfg!(miri) { 3 } else { 300 };
        for Kernel { name, copy: [copy_in, copy_out], lens } in kernels() {
            for len in [1, 3, 7, 15, 31, 64, 65, 127, 128, 129, 512, 5000].into_iter().filter(|len| lens.contains(len))
            {
                let one = pattern(5, len);
                let other: Vec<u8> = one.iter().map(|byte| !byte).collect();
                let cells = Cells::new(len + 3).unwrap();
                cells.write(3, &one);
                thread::scope(|scope| {
                    let writer = scope.spawn(|| {
                        for bytes in [&other, &one].into_iter().cycle().take(rounds) {
                            // SAFETY: there are `len` cells from 3 on; they are only copied in and out of.
                            unsafe { copy_in(bytes.as_ptr(), cells.at(3), len) };
                        }
                    });
                    let mut copied = vec![0; len];
                    let mut last_one = false;
                    while !last_one {
                        last_one = writer.is_finished();
                        // SAFETY: as above, and `copied` has `len` bytes.
                        unsafe { copy_out(cells.at(3), copied.as_mut_ptr(), len) };
                        for (at, byte) in copied.iter().enumerate() {
                            let written = *byte == one[at] || *byte == other[at];
                            assert!(written, "{name}: byte {at} of {len} is {byte}, which nobody wrote");
                        }
                    }
                    // A scope waits for its threads, but a thread sanitizer does not see how.
                    writer.join().unwrap();
                });
            }
        }
    }

    #[test]
    fn a_copy_does_not_leave_its_place_between_fences() {
        const LEN: usize = 700;
        let rounds: u8 = if cfg!(miri) { 5 } else { 250 };
        let cells = Cells::new(LEN).unwrap();
        let (published, taken) = (AtomicU8::new(0), AtomicU8::new(0));
        let mut torn = vec![];
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 1..=rounds {
                    // Relaxed: the fence behind the loop orders what it has seen.
                    while taken.load(Relaxed) != round - 1 {
                        thread::yield_now();
                    }
                    // [taken] Acquire: the reader has copied the last round out. Pairs with its Release fence.
                    fence(Acquire);
                    cells.write(0, &[round; LEN]);
                    // [published] Release: the copy above comes first. Pairs with the reader's Acquire fence.
                    fence(Release);
                    published.store(round, Relaxed);
                }
            });
            for round in 1..=rounds {
                while published.load(Relaxed) != round && !writer.is_finished() {
                    thread::yield_now();
                }
                // [published] Acquire: the copy below comes later. Pairs with the writer's Release fence.
                fence(Acquire);
                let mut copied = [0; LEN];
                cells.read(0, &mut copied);
                // [taken] Release: the copy above comes first. Pairs with the writer's Acquire fence.
                fence(Release);
                taken.store(round, Relaxed);
                torn.extend((copied != [round; LEN]).then_some(round));
            }
            writer.join().unwrap();
        });
        assert!(torn.is_empty(), "rounds {torn:?}");
    }

    /// With `nomem` or `readonly` on the blocks, an optimised build would know better than to look.
    #[test]
    fn the_compiler_takes_a_copy_for_an_access_to_memory() {
        let cells = Cells::new(40).unwrap();
        let mut bytes = [7; 40];
        cells.write(0, &bytes);
        bytes = [8; 40];
        cells.read(0, &mut bytes);
        assert_eq!(bytes[9], 7);
        bytes[9] = 9;
        cells.write(0, &bytes);
        let mut byte = [0];
        cells.read(9, &mut byte);
        assert_eq!(byte[0], 9);
    }

    #[test]
    fn cells_are_zeroed_and_start_on_a_cache_line_of_their_own() {
        for len in [0, 1, 100, 4096, 1 << 20] {
            let cells = Cells::new(len).unwrap();
            assert_eq!(cells.len(), len);
            assert_eq!(cells.at(0).addr() % 128, 0);
            let mut copied = vec![1; len];
            cells.read(0, &mut copied);
            assert!(copied.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn cells_that_do_not_fit_into_memory_are_an_error() {
        for bytes in [usize::MAX, usize::MAX - 127, isize::MAX as usize, isize::MAX as usize - 127] {
            assert_eq!(Cells::new(bytes).unwrap_err(), OutOfMemory { bytes });
        }
    }

    #[test]
    fn a_prefault_keeps_the_bytes() {
        let mut cells = Cells::new(100_001).unwrap();
        let bytes = pattern(6, 100_001);
        cells.write(0, &bytes);
        cells.prefault();
        let mut copied = vec![0; 100_001];
        cells.read(0, &mut copied);
        assert!(copied == bytes);
        Cells::new(0).unwrap().prefault();
    }

    #[test]
    fn what_is_lent_is_what_was_written() {
        let cells = Cells::new(1000).unwrap();
        let bytes = pattern(7, 500);
        cells.write(300, &bytes);
        // SAFETY: nobody writes these cells any more.
        let lent = unsafe { cells.lend(300, 500) };
        assert_eq!(lent, bytes);
        // Other cells may be written meanwhile, and these may be read; even from one to the other.
        cells.write(0, &lent[..300]);
        let mut copied = vec![0; 800];
        cells.read(0, &mut copied);
        assert_eq!(copied[..300], bytes[..300]);
        assert_eq!(copied[300..], bytes);
    }

    #[test]
    fn a_range_that_leaves_the_cells_panics() {
        let cells = Cells::new(100).unwrap();
        for (at, len) in [(0, 0), (100, 0), (99, 1), (0, 100)] {
            check_bounds(at, len, cells.len());
        }
        for (at, len) in [(0, 101), (1, 100), (100, 1), (101, 0), (usize::MAX, 1), (usize::MAX, 0), (1, usize::MAX)] {
            assert!(panic::catch_unwind(|| check_bounds(at, len, cells.len())).is_err(), "{len} bytes at {at}");
        }
        assert!(panic::catch_unwind(|| cells.read(1, &mut [0; 100])).is_err());
        assert!(panic::catch_unwind(|| cells.write(usize::MAX, &[0; 2])).is_err());
        // SAFETY: nobody writes these cells.
        assert!(panic::catch_unwind(|| unsafe { cells.lend(98, 3) }.len()).is_err());
    }

    #[test]
    fn samples_keep_their_bits_as_bytes() {
        let mut samples = [0.0_f32, -1.5, f32::NAN, f32::INFINITY];
        let bits = samples.map(f32::to_bits);
        assert_eq!(bytes_of(&samples), bits.map(u32::to_ne_bytes).as_flattened());
        bytes_of_mut(&mut samples).reverse();
        assert_eq!(samples[0].to_bits(), bits[3].swap_bytes());
        assert_eq!(bytes_of(&[1_i16, -2]), [1_i16, -2].map(i16::to_ne_bytes).as_flattened());
        assert_eq!(bytes_of_mut(&mut [3_i32]), 3_i32.to_ne_bytes());
        assert!(bytes_of::<u8>(&[]).is_empty());
    }
}
