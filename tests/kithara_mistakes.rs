//! What went wrong in the storage layer that this crate's contract comes from (`kithara-storage` 0.0.1-alpha5), each
//! mistake with a test that it cannot happen here.
#![cfg(target_os = "linux")]

mod alone;
#[path = "linear/scratch.rs"]
mod scratch;
mod threads;

use alone::{alone, deny_sync_of, memory_kib, next_file};
use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use roundelay::{
    CancelToken, DriverIo, Leftover, MemDriver, MemOptions, MmapDriver, MmapOptions, OnLap, OpenMode, ReadError,
    Resource, ResourceStatus, Resume, RingOptions, Span, StorageError, WaitOutcome, Writer, open,
};
use scratch::Scratch;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};
use threads::{Sleeper, assert_is, must_end};

/// Aborts on an allocation or a free inside of `assert_no_alloc`.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

fn pattern(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1).collect()
}

fn memory() -> Resource<MemDriver> {
    open(MemOptions::default()).unwrap()
}

fn file(scratch: &Scratch) -> Resource<MmapDriver> {
    open(MmapOptions::new(scratch.path("f"))).unwrap()
}

// ---- what is there, and what is not ----

/// `commit(None)` of 10 bytes reported a length of 65,536, and reads went on into zeros.
#[test]
fn ten_bytes_that_are_committed_are_ten_bytes() {
    fn check<D: DriverIo>(resource: &Resource<D>) {
        let mut writer = resource.writer().unwrap();
        writer.append(b"ten bytes.").unwrap();
        writer.commit(None).unwrap();
        let reader = resource.reader();
        assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 10 });
        let mut buf = [7; 100];
        assert_eq!(reader.try_read_at(0, &mut buf), Ok(10));
        assert_eq!((&buf[..10], &buf[10..]), (&b"ten bytes."[..], &[7; 90][..]));
        assert_eq!(reader.try_read_at(10, &mut buf), Ok(0));
        assert!(!reader.contains_range(9..11));
    }
    let scratch = Scratch::new();
    check(&memory());
    check(&file(&scratch));
    assert_eq!(scratch.read("f"), b"ten bytes.");
}

/// A commit over a hole said that the hole was there.
#[test]
fn a_hole_is_not_committed_over() {
    fn check<D: DriverIo>(resource: &Resource<D>) {
        let mut writer = resource.writer().unwrap();
        writer.write_at(0, b"abc").unwrap();
        writer.write_at(5, b"fgh").unwrap();
        for final_len in [None, Some(8), Some(5), Some(4), Some(100)] {
            assert_is!(writer.commit(final_len), Err(StorageError::Hole { hole: Span { start: 3, .. } }));
        }
        assert_eq!(resource.status(), ResourceStatus::Active);
        assert!(!resource.reader().contains_range(3..5));
        writer.write_at(3, b"de").unwrap();
        writer.commit(None).unwrap();
    }
    let scratch = Scratch::new();
    check(&memory());
    check(&file(&scratch));
    assert_eq!(scratch.read("f"), b"abcdefgh");
}

/// A read of an active resource returned bytes that nobody had written, as zeros.
#[test]
fn what_nobody_wrote_is_never_read() {
    fn check<D: DriverIo>(resource: &Resource<D>) {
        let mut writer = resource.writer().unwrap();
        let reader = resource.reader();
        let written = |at: u64| at % 1000 < at / 1000 * 7;
        for start in (0..100_000).step_by(1000) {
            let len = start / 1000 * 7;
            writer.write_at(start, &pattern(start..start + len)).unwrap();
        }
        let mut buf = vec![0; 3000];
        for at in (0..100_000).step_by(13) {
            let read = reader.read_at_timeout(at, &mut buf, Duration::ZERO);
            if written(at) {
                let read = read.unwrap() as u64;
                assert_eq!(buf[..read as usize], pattern(at..at + read)[..], "at {at}");
                assert!((at..at + read).all(written));
            } else {
                assert_is!(read, Err(StorageError::TimedOut));
                assert_is!(reader.try_read_at(at, &mut buf), Err(ReadError::NotYet));
            }
            assert_eq!(reader.contains_range(at..at + 1), written(at));
        }
    }
    check(&memory());
    check(&file(&Scratch::new()));
}

/// After `reactivate` the account of the generation before still said "ready" for what had been cut off.
#[test]
fn the_account_of_a_generation_ends_where_the_generation_did() {
    fn check<D: DriverIo>(resource: &Resource<D>) {
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(0..100_000)).unwrap();
        writer.commit(Some(50_000)).unwrap();
        drop(writer);
        let committed = resource.reader();
        resource.reactivate().unwrap();
        let reader = resource.reader();
        for reader in [&committed, &reader] {
            assert!(reader.contains_range(0..50_000) && !reader.contains_range(49_999..50_001));
            assert_eq!((reader.live_edge(), reader.available()), (50_000, [0..50_000].into_iter().collect()));
        }
        assert_is!(reader.wait_range_timeout(50_000..50_001, Duration::ZERO), Ok(WaitOutcome::TimedOut));
        assert_eq!(reader.try_read_at(50_000, &mut [0]), Err(ReadError::NotYet));
    }
    check(&memory());
    check(&file(&Scratch::new()));
}

/// What a crash had left was taken for a committed file.
#[test]
fn what_a_crash_leaves_is_no_committed_file() {
    let (scratch, crashed) = (Scratch::new(), Scratch::new());
    let resource = file(&scratch);
    let mut writer = resource.writer().unwrap();
    writer.append(&pattern(0..1000)).unwrap();
    resource.flush().unwrap();
    writer.append(&pattern(1000..2000)).unwrap();
    for name in scratch.names() {
        fs::copy(scratch.path(&name), crashed.path(&name)).unwrap();
    }
    assert_is!(
        open(MmapOptions { mode: OpenMode::ReadOnly, ..MmapOptions::new(crashed.path("f")) }),
        Err(StorageError::Unfinished { .. })
    );
    let resource = open(MmapOptions { resume: Resume::AnyTag, ..MmapOptions::new(crashed.path("f")) }).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Active);
    assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 1000, dropped: 0 });
    assert_eq!(resource.reader().live_edge(), 1000, "what was synced, and not a byte more");
}

// ---- files ----

/// The lock was taken on a file that might have lost its name by then: two had a lock, each on another file, one cut
/// the other's short, and committed files had the wrong length.
#[test]
fn a_lock_is_on_the_file_that_has_the_name() {
    must_end(|| {
        const ROUNDS: u64 = 50;
        let scratch = Scratch::new();
        let path = scratch.path("f");
        let write = |seed: u64| {
            let (mut committed, mut opened) = (0, 0);
            while committed < ROUNDS {
                let options = MmapOptions { mode: OpenMode::Replace, ..MmapOptions::new(&path) };
                let resource = match open(options) {
                    Ok(resource) => resource,
                    Err(StorageError::Locked { .. }) => continue,
                    Err(error) => panic!("{error}"),
                };
                opened += 1;
                if opened % 3 != 0 {
                    // Given up: the file goes, perhaps between the other one's open and lock.
                    continue;
                }
                let mut writer = resource.writer().unwrap();
                assert_eq!(writer.position(), 0, "somebody else has written it");
                let len = (committed * 7919 + seed) % 100_000;
                writer.append(&pattern(0..len)).unwrap();
                writer.commit(None).unwrap();
                committed += 1;
                // Whosever it is by now, it is whole.
                let found = fs::read(&path).unwrap();
                assert!(found == pattern(0..found.len() as u64));
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| write(1));
            scope.spawn(|| write(50_000));
        });
        assert_eq!(scratch.names(), ["f"]);
    });
}

/// The folder was not synced: after a power cut a committed file could be gone.
#[test]
fn a_commit_syncs_the_folder() {
    alone(a_commit_syncs_the_folder, || {
        let scratch = Scratch::new();
        let resource = file(&scratch);
        let mut writer = resource.writer().unwrap();
        writer.append(b"ten bytes.").unwrap();
        // The next file that is opened is the folder, and this thread cannot sync it.
        deny_sync_of(next_file());
        assert_is!(writer.commit(None), Err(error) if error.to_string().contains("cannot sync "));
        assert_eq!(scratch.read("f"), b"ten bytes.", "it is there; whether it stays is not known");
    });
}

/// The file was sparse: a disk that filled was a signal, and not an error. (What a full disk does: `files`.)
#[test]
fn a_file_has_its_blocks_before_it_is_written() {
    let scratch = Scratch::new();
    let blocks = |name| fs::metadata(scratch.path(name)).unwrap().blocks() * 512;
    const LEN: u64 = 10 << 20;
    let _known = open(MmapOptions { len: Some(LEN), ..MmapOptions::new(scratch.path("known")) }).unwrap();
    assert!(blocks("known.part") >= LEN);
    let unknown = open(MmapOptions::new(scratch.path("unknown"))).unwrap();
    let mut writer = unknown.writer().unwrap();
    for end in (1 << 20..=LEN).step_by(1 << 20) {
        writer.append(&vec![1; 1 << 20]).unwrap();
        assert!(blocks("unknown.part") >= end);
    }
}

// ---- windows ----

/// No driver had a `valid_window`; a wait for what had been evicted slept for ever; a read was not validated after it.
#[test]
fn a_wait_for_what_was_evicted_ends() {
    must_end(|| {
        let resource = open(RingOptions::new(64)).unwrap();
        let mut writer = resource.writer().unwrap();
        let reader = resource.reader();
        let pending = Sleeper::start(move || reader.wait_range(10..30));
        writer.append(&[1; 20]).unwrap();
        // It leaves the window before it is whole.
        writer.write_at(1000, &[1; 64]).unwrap();
        assert_is!(pending.wakes_with(), Err(StorageError::Evicted { offset: 10, .. }));
        let reader = resource.reader();
        assert_eq!(reader.valid_window(), Some(Span { start: 1000, end: 1064 }));
        assert_is!(reader.wait_range(10..30), Err(StorageError::Evicted { .. }));
        assert_is!(reader.read_at(10, &mut [0]), Err(StorageError::Evicted { .. }));
    });
}

#[test]
fn a_read_that_is_overtaken_says_so() {
    must_end(|| {
        let resource = open(RingOptions::new(4096)).unwrap();
        let mut writer = resource.writer().unwrap();
        thread::scope(|scope| {
            let reader = resource.reader();
            let reading = scope.spawn(move || {
                let (mut right, mut evicted, mut buf) = (0, 0, [0; 2048]);
                while right < 1000 || evicted < 10 {
                    let oldest = reader.valid_window().unwrap().start;
                    if right % 2 == 0 {
                        thread::yield_now();
                    }
                    match reader.try_read_at(oldest, &mut buf) {
                        Ok(n) => {
                            assert!(buf[..n] == pattern(oldest..oldest + n as u64));
                            right += 1;
                        }
                        Err(ReadError::Evicted { .. }) => evicted += 1,
                        Err(error) => assert_eq!(error, ReadError::NotYet),
                    }
                }
            });
            while !reading.is_finished() {
                let at = writer.position();
                writer.append(&pattern(at..at + 1000)).unwrap();
            }
        });
    });
}

// ---- memory ----

/// Two million, where the compiler optimises: without that they take half a minute. At 24 bytes for each of them, as it
/// was there, these would be seen too.
const WRITES: u64 = if cfg!(debug_assertions) { 200_000 } else { 2_000_000 };
/// What a process may grow by for other reasons.
const SLACK_KIB: u64 = 512;

/// How much memory this process has gained, beyond `data` bytes.
fn gained_kib(story: impl FnOnce(), data: u64) -> u64 {
    let before = memory_kib("VmRSS");
    story();
    memory_kib("VmRSS").saturating_sub(before + data / 1024)
}

/// Writes of a byte: each to the next of 512 fragments that grow.
fn write_fragmented<D: DriverIo>(writer: &mut Writer<D>) {
    const FRAGMENTS: u64 = 512;
    let write = |writer: &mut Writer<D>, i: u64| {
        writer.write_at(i % FRAGMENTS * 4096 + i / FRAGMENTS, &[i as u8]).unwrap();
    };
    // The pages are touched, and the bookkeeping of all blocks is there.
    (0..FRAGMENTS).for_each(|i| write(writer, i));
    let gained = gained_kib(|| (FRAGMENTS..WRITES).for_each(|i| write(writer, i)), 0);
    assert!(gained < SLACK_KIB, "{WRITES} writes in fragments have taken {gained} KiB");
}

/// Writes of a byte, at the end.
fn write_on<D: DriverIo>(writer: &mut Writer<D>) {
    writer.append(&[0; 4096]).unwrap();
    let gained = gained_kib(|| (0..WRITES).for_each(|i| writer.append(&[i as u8]).unwrap()), WRITES);
    assert!(gained < SLACK_KIB, "{WRITES} writes at the end have taken {gained} KiB beside their bytes");
}

/// The queue of ready ranges had no bound, and only a reader emptied it: two million writes took 47 MiB.
#[test]
fn two_million_writes_without_a_reader_take_the_memory_of_their_bytes() {
    alone(two_million_writes_without_a_reader_take_the_memory_of_their_bytes, || {
        let scratch = Scratch::new();
        write_on(&mut memory().writer().unwrap());
        write_fragmented(&mut memory().writer().unwrap());
        for (name, write) in [("on", write_on as fn(&mut Writer<MmapDriver>)), ("fragmented", write_fragmented)] {
            let options = MmapOptions { flush_every_bytes: None, ..MmapOptions::new(scratch.path(name)) };
            write(&mut open(options).unwrap().writer().unwrap());
        }
    });
}

/// A reader leaked the snapshot that it had read by when its bin was full: 40 MiB in a short run.
#[test]
fn reading_while_others_write_takes_no_memory() {
    const READS: u64 = if cfg!(debug_assertions) { 50_000 } else { 300_000 };
    alone(reading_while_others_write_takes_no_memory, || {
        let resource = memory();
        let mut writer = resource.writer().unwrap();
        writer.append(&[1; 1 << 20]).unwrap();
        thread::scope(|scope| {
            let read = |from: u64| {
                let reader = resource.reader();
                let mut buf = [0; 64];
                for i in 0..READS {
                    reader.try_read_at((from + i * 4099) % (1 << 19), &mut buf).unwrap();
                    assert!(reader.contains_range(i..i + 10_000));
                }
            };
            // The stacks of the threads are there.
            scope.spawn(move || read(0)).join().unwrap();
            let gained = gained_kib(
                || {
                    let readers = [1, 2, 3].map(|from| scope.spawn(move || read(from)));
                    for i in 0..READS {
                        writer.append(&[i as u8]).unwrap();
                    }
                    readers.into_iter().for_each(|reader| reader.join().unwrap());
                },
                READS,
            );
            assert!(gained < SLACK_KIB, "{READS} reads by each have taken {gained} KiB");
        });
    });
}

/// Each write cloned the set of all ranges: 0.2 µs with one fragment, 67 µs with ten thousand. A clone allocates.
#[test]
fn a_write_among_ten_thousand_fragments_copies_none_of_them() {
    alone(a_write_among_ten_thousand_fragments_copies_none_of_them, || {
        const FRAGMENTS: u64 = 10_000;
        fn check<D: DriverIo>(resource: &Resource<D>) {
            let (mut writer, _reader) = (resource.writer().unwrap(), resource.reader());
            for fragment in 0..FRAGMENTS {
                writer.write_at(fragment * 4096, b"begun").unwrap();
            }
            assert_eq!(resource.reader().available().len() as u64, FRAGMENTS);
            assert_no_alloc(|| {
                for fragment in 0..FRAGMENTS {
                    writer.write_at(fragment * 4096 + 5, b"gone on with").unwrap();
                }
            });
        }
        let scratch = Scratch::new();
        check(&memory());
        let len = Some(FRAGMENTS * 4096);
        check(&open(MmapOptions { len, flush_every_bytes: None, ..MmapOptions::new(scratch.path("f")) }).unwrap());
    });
}

// ---- waits ----

/// A wait registered closures behind a mutex before it looked whether there was anything to wait for.
#[test]
fn a_wait_for_what_is_there_registers_nothing() {
    alone(a_wait_for_what_is_there_registers_nothing, || {
        fn check<D: DriverIo>(resource: &Resource<D>) {
            let mut writer = resource.writer().unwrap();
            writer.append(&[1; 100_000]).unwrap();
            let reader = resource.reader();
            assert_no_alloc(|| {
                for start in 0..1000 {
                    assert!(matches!(reader.wait_range(start..start + 99_000), Ok(WaitOutcome::Ready)));
                    assert_eq!(reader.read_at(start, &mut [0; 64]).unwrap_or(0), 64);
                }
            });
            assert_eq!(resource.wakes(), 0);
        }
        check(&memory());
        check(&file(&Scratch::new()));
        check(&open(RingOptions::new(1 << 17)).unwrap());
    });
}

/// Every write woke every waiter.
#[test]
fn a_write_wakes_whom_it_concerns_and_nobody_else() {
    fn check<D: DriverIo>(resource: &Resource<D>) {
        const WAITERS: u64 = 8;
        let mut writer = resource.writer().unwrap();
        let mut sleepers: Vec<_> = (0..WAITERS)
            .map(|i| {
                let reader = resource.reader();
                Sleeper::start(move || reader.wait_range(i * 10_000..i * 10_000 + 10))
            })
            .collect();
        // From the last to the first, each in ten pieces.
        for i in (0..WAITERS).rev() {
            let before = resource.wakes();
            for at in 0..10 {
                writer.write_at(i * 10_000 + at, &[1]).unwrap();
            }
            assert_is!(sleepers.pop().unwrap().wakes_with(), Ok(WaitOutcome::Ready));
            assert_eq!(resource.wakes() - before, 1, "one sleeper, one wake, of ten writes");
            assert!(sleepers.iter().all(Sleeper::still_waits));
        }
    }
    must_end(|| check(&memory()));
    must_end(|| check(&file(&Scratch::new())));
}

/// Whoever looked emptied the queue of what was ready, and those that it concerned never heard of it; it was emptied
/// even by a wait that had been cancelled already.
#[test]
fn whoever_looks_takes_nothing_from_those_that_wait() {
    must_end(|| {
        let token = CancelToken::new();
        let resource = Resource::open(token.clone(), MemOptions::default()).unwrap();
        let mut writer = resource.writer().unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                let (reader, stop) = (resource.reader(), &stop);
                let interrupter = reader.interrupter();
                scope.spawn(move || {
                    while !stop.load(Relaxed) {
                        // Interrupted already, out of time already, and just looking.
                        interrupter.interrupt();
                        let _ = reader.wait_range(0..1 << 20);
                        let _ = reader.wait_range_timeout(0..1 << 20, Duration::ZERO);
                        let _ = reader.contains_range(0..1 << 20);
                    }
                });
            }
            for round in 0..200_u64 {
                let sleepers = [0, 1, 2].map(|i| {
                    let (reader, at) = (resource.reader(), round * 3000 + i * 1000);
                    thread::spawn(move || reader.wait_range(at..at + 1000))
                });
                for i in 0..3 {
                    writer.write_at(round * 3000 + i * 1000, &[1; 1000]).unwrap();
                }
                for sleeper in sleepers {
                    assert_is!(sleeper.join().unwrap(), Ok(WaitOutcome::Ready));
                }
            }
            stop.store(true, Relaxed);
        });
        // A cancelled resource still has what it has.
        token.cancel();
        assert_is!(resource.reader().wait_range(0..1000), Ok(WaitOutcome::Ready));
        assert_is!(resource.reader().wait_range(0..1 << 30), Err(StorageError::Cancelled));
    });
}

/// No wait had a timeout.
#[test]
fn every_wait_has_a_form_that_ends() {
    must_end(|| {
        let timeout = Duration::from_millis(5);
        let resource = open(MemOptions { len: Some(10), ..MemOptions::default() }).unwrap();
        let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
        assert_is!(reader.wait_range_timeout(0..1, timeout), Ok(WaitOutcome::TimedOut));
        assert_is!(reader.read_at_timeout(0, &mut [0], timeout), Err(StorageError::TimedOut));
        assert_is!(cursor.read_timeout(&mut [0], timeout), Err(StorageError::TimedOut));
        let fetcher = resource.writer().unwrap().into_fetcher();
        let _all = fetcher.next_claim(10).unwrap().unwrap();
        assert_is!(fetcher.wait_claim_timeout(1, timeout), Err(StorageError::TimedOut));
        let ring = open(RingOptions::new(64)).unwrap();
        let mut writer = ring.writer().unwrap();
        let _gate = writer.gate();
        let room = ring.capacity() as usize;
        assert_eq!(writer.append_timeout(&vec![1; room + 1], timeout).unwrap(), room);
        assert_eq!(writer.append_timeout(&[1], timeout).unwrap(), 0);
    });
}
