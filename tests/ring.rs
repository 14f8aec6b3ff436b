//! The ring: what it keeps, where it ends, and its odd sizes.

mod threads;

use roundelay::{
    CancelToken, Driver, DriverIo, DriverState, InvalidOptions, MAX_OFFSET, OnLap, PREAMBLE_MAX, ReadError, Resource,
    ResourceStatus, RingDriver, RingOptions, Span, StorageError, WaitOutcome,
};
use std::{
    io::Read,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use threads::{Sleeper, assert_is, must_end};

/// The byte that a test puts at an offset.
fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn bytes_at(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(byte_at).collect()
}

fn ring_at(capacity: usize, start_offset: u64) -> Resource<RingDriver> {
    roundelay::open(RingOptions { capacity_bytes: capacity, start_offset, ..Default::default() }).unwrap()
}

#[test]
fn options_pick_the_driver_without_an_annotation() {
    let resource =
        Resource::open(CancelToken::new(), RingOptions { capacity_bytes: 16, ..Default::default() }).unwrap();
    assert_eq!(resource.capacity(), 16);
    assert_eq!(roundelay::open(RingOptions::new(32)).unwrap().reader().capacity(), 32);
    assert_eq!(resource.path(), None);
    assert_eq!(resource.reader().path(), None);
}

#[test]
fn a_ring_of_no_bytes_is_refused() {
    assert_is!(roundelay::open(RingOptions::new(0)), Err(StorageError::InvalidOptions(InvalidOptions::ZeroCapacity)));
}

#[test]
fn a_ring_larger_than_memory_is_refused_with_the_reason() {
    assert_is!(
        roundelay::open(RingOptions::new(usize::MAX)),
        Err(StorageError::InvalidOptions(InvalidOptions::CapacityTooLarge(_)))
    );
    let most = isize::MAX as usize;
    assert_is!(roundelay::open(RingOptions::new(most)), Err(StorageError::OutOfMemory { bytes }) if bytes >= most);
}

#[test]
fn a_stream_that_would_start_past_the_largest_offset_is_refused() {
    let options = |start_offset| RingOptions { capacity_bytes: 8, start_offset, ..Default::default() };
    for start in [MAX_OFFSET + 1, u64::MAX] {
        assert_is!(
            roundelay::open(options(start)),
            Err(StorageError::InvalidOptions(InvalidOptions::StartTooLarge(found))) if found == start
        );
    }
    roundelay::open(options(MAX_OFFSET)).unwrap();
}

#[test]
fn touched_and_locked_rings_hold_bytes_like_any_other() {
    for (prefault, lock_memory) in [(true, false), (false, true), (true, true)] {
        let options = RingOptions { capacity_bytes: 10_000, prefault, lock_memory, ..Default::default() };
        let resource = roundelay::open(options).unwrap();
        assert!(lock_memory || !resource.memory_locked(), "nobody asked for it");
        let mut writer = resource.writer().unwrap();
        writer.append(&bytes_at(0..25_000)).unwrap();
        let mut buf = vec![0; 10_000];
        assert_eq!(resource.reader().try_read_at(15_000, &mut buf), Ok(10_000));
        assert_eq!(buf, bytes_at(15_000..25_000));
    }
}

#[test]
fn any_capacity_keeps_the_last_bytes_of_any_writes() {
    for capacity in (1..=33).chain([63, 64, 65, 100, 127, 128, 129, 1000]) {
        for piece in [1, 2, 3, 7, 16, 31, 64, 65, 200] {
            let resource = ring_at(capacity, 0);
            let mut writer = resource.writer().unwrap();
            let reader = resource.reader();
            let mut end = 0;
            while end < 3 * capacity as u64 + 100 {
                writer.append(&bytes_at(end..end + piece)).unwrap();
                end += piece;
                let start = end.saturating_sub(capacity as u64);
                assert_eq!(reader.valid_window(), Some(Span { start, end }));
                let mut buf = vec![0; capacity + 1];
                let n = reader.try_read_at(start, &mut buf).unwrap();
                assert_eq!(buf[..n], bytes_at(start..end), "capacity {capacity}, pieces of {piece}, at {end}");
                assert_eq!(reader.try_read_at(end - 1, &mut buf), Ok(1));
                assert_eq!(buf[0], byte_at(end - 1));
                if start > 0 {
                    assert_eq!(
                        reader.try_read_at(start - 1, &mut buf),
                        Err(ReadError::Evicted { window: Span { start, end } })
                    );
                }
            }
        }
    }
}

#[test]
fn a_ring_of_one_byte_hands_on_byte_by_byte() {
    must_end(|| {
        let resource = ring_at(1, 0);
        let mut writer = resource.writer().unwrap();
        let mut gate = writer.gate();
        let sent = bytes_at(0..1000);
        let expected = sent.clone();
        let writing = thread::spawn(move || {
            writer.append(&sent)?;
            writer.commit(None)
        });
        let mut received = Vec::new();
        gate.read_to_end(&mut received).unwrap();
        assert_eq!(received, expected);
        writing.join().unwrap().unwrap();
    });
}

#[test]
fn a_write_larger_than_the_ring_streams_through() {
    for capacity in [1, 3, 64, 5000, 70_000] {
        let resource = ring_at(capacity, 0);
        let mut writer = resource.writer().unwrap();
        let len = 5 * capacity as u64 + 7;
        writer.append(&bytes_at(0..len)).unwrap();
        let start = len - capacity as u64;
        assert_eq!(writer.window(), Span { start, end: len });
        let mut buf = vec![0; capacity];
        assert_eq!(resource.reader().try_read_at(start, &mut buf), Ok(capacity));
        assert_eq!(buf, bytes_at(start..len));
    }
}

#[test]
fn a_read_larger_than_the_window_gets_the_window() {
    let resource = ring_at(16, 0);
    let mut writer = resource.writer().unwrap();
    writer.append(&bytes_at(0..40)).unwrap();
    let mut buf = vec![0xee; 1000];
    assert_eq!(resource.reader().try_read_at(24, &mut buf), Ok(16));
    assert_eq!(buf[..16], bytes_at(24..40));
    assert_eq!(buf[16..], [0xee; 984]);
    assert_eq!(resource.cursor(OnLap::Error).try_read(&mut buf), Ok(16));
}

#[test]
fn a_ring_works_up_to_the_largest_offset_and_no_further() {
    must_end(|| {
        for capacity in [1, 8, 10, 64] {
            let from = MAX_OFFSET - 20;
            let resource = ring_at(capacity, from);
            let mut writer = resource.writer().unwrap();
            let reader = resource.reader();
            let mut cursor = resource.cursor(OnLap::SkipToOldest);
            assert_eq!(writer.position(), from);
            assert_eq!(cursor.position(), from);
            assert_eq!(reader.valid_window(), Some(Span { start: from, end: from }));
            writer.append(&bytes_at(from..from + 15)).unwrap();
            assert_is!(
                writer.append(&[0; 6]),
                Err(StorageError::OffsetOverflow { offset, len: 6 }) if offset == from + 15
            );
            assert_eq!(writer.position(), from + 15, "nothing was changed");
            let window = writer.window();
            let mut buf = vec![0; 64];
            let n = reader.try_read_at(window.start, &mut buf).unwrap();
            assert_eq!(buf[..n], bytes_at(window.start..window.end));
            writer.append(&bytes_at(from + 15..MAX_OFFSET)).unwrap();
            writer.append(&[]).unwrap();
            assert_is!(writer.append(&[0]), Err(StorageError::OffsetOverflow { .. }));
            assert_is!(writer.try_append(&[0]), Err(StorageError::OffsetOverflow { .. }));
            let start = from.max(MAX_OFFSET - capacity as u64);
            assert_eq!(writer.window(), Span { start, end: MAX_OFFSET });
            assert_is!(reader.wait_range(start..MAX_OFFSET), Ok(WaitOutcome::Ready));
            assert_eq!(reader.try_read_at(MAX_OFFSET, &mut buf), Err(ReadError::NotYet));
            assert_eq!(reader.try_read_at(u64::MAX, &mut buf), Err(ReadError::NotYet));
            writer.commit(Some(MAX_OFFSET)).unwrap();
            assert_eq!(resource.status(), ResourceStatus::Committed { final_len: MAX_OFFSET });
            let mut rest = Vec::new();
            cursor.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, bytes_at(start..MAX_OFFSET));
            assert_eq!(reader.try_read_at(u64::MAX, &mut buf), Ok(0));
            assert_is!(reader.wait_range(u64::MAX - 1..u64::MAX), Ok(WaitOutcome::Eof));
        }
    });
}

#[test]
fn a_gate_works_up_to_the_largest_offset() {
    must_end(|| {
        let from = MAX_OFFSET - 20;
        let resource = ring_at(8, from);
        let mut writer = resource.writer().unwrap();
        let mut gate = writer.gate();
        let mut received = Vec::new();
        let mut sent = from;
        while sent < MAX_OFFSET {
            sent += writer.try_append(&bytes_at(sent..MAX_OFFSET)).unwrap() as u64;
            let slices = gate.slices().unwrap();
            received.extend_from_slice(slices.first());
            received.extend_from_slice(slices.second());
            let len = slices.len();
            slices.consume(len);
        }
        assert_eq!(received, bytes_at(from..MAX_OFFSET));
        assert_eq!(gate.slices().map(drop), Err(ReadError::NotYet));
        writer.commit(None).unwrap();
        assert!(gate.wait(8).unwrap().is_empty());
    });
}

#[test]
fn a_jump_to_the_largest_offsets_is_a_jump_like_any_other() {
    let resource = ring_at(8, 0);
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.write_at(MAX_OFFSET - 2, b"de").unwrap();
    assert_eq!(writer.window(), Span { start: MAX_OFFSET - 2, end: MAX_OFFSET });
    assert_is!(resource.reader().try_read_at(0, &mut [0]), Err(ReadError::Evicted { .. }));
    let mut buf = [0; 8];
    assert_eq!(resource.reader().try_read_at(MAX_OFFSET - 2, &mut buf), Ok(2));
    assert_eq!(&buf[..2], b"de");
}

#[test]
fn a_write_above_the_live_edge_restarts_the_window_there() {
    let resource = ring_at(16, 0);
    let mut writer = resource.writer().unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    writer.append(b"before").unwrap();
    writer.write_at(20, b"after").unwrap();
    let window = Span { start: 20, end: 25 };
    assert_eq!(resource.reader().valid_window(), Some(window));
    assert_eq!(cursor.try_read(&mut [0; 8]), Err(ReadError::Evicted { window }));
    for offset in [0, 5, 6, 19] {
        assert_eq!(resource.reader().try_read_at(offset, &mut [0; 8]), Err(ReadError::Evicted { window }));
    }
    let mut buf = [0; 8];
    assert_eq!(resource.reader().try_read_at(20, &mut buf), Ok(5));
    assert_eq!(&buf[..5], b"after");
    writer.append(b"wards").unwrap();
    assert_eq!(writer.position(), 30);
    writer.write_at(100, b"").unwrap();
    assert_eq!(writer.position(), 30, "a write of nothing is no discontinuity");
}

#[test]
fn a_write_that_lies_below_the_window_changes_nothing() {
    let resource = ring_at(4, 0);
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdefgh").unwrap();
    writer.write_at(0, b"ABCD").unwrap();
    writer.write_at(2, b"CDEFGH").unwrap();
    assert_eq!(writer.window(), Span { start: 4, end: 8 });
    writer.write_at(1, b"BCDEFGHij").unwrap();
    let mut buf = [0; 4];
    assert_eq!(resource.reader().try_read_at(6, &mut buf), Ok(4));
    assert_eq!(&buf, b"ghij");
}

#[test]
fn readers_sleeping_on_both_sides_of_a_discontinuity_hear_of_it() {
    must_end(|| {
        let resource = ring_at(16, 0);
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        let wait = |range: std::ops::Range<u64>| {
            let reader = resource.reader();
            Sleeper::start(move || reader.wait_range(range))
        };
        let (before, above) = (wait(0..10), wait(100..103));
        writer.write_at(100, b"de").unwrap();
        let window = Span { start: 100, end: 102 };
        assert_is!(before.wakes_with(), Err(StorageError::Evicted { offset: 0, window: found }) if found.start == window.start);
        assert!(above.still_waits());
        writer.append(b"f").unwrap();
        assert_is!(above.wakes_with(), Ok(WaitOutcome::Ready));
    });
}

#[test]
fn reads_that_come_too_late_are_counted_on_the_handle() {
    let resource = ring_at(4, 0);
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdefgh").unwrap();
    let reader = resource.reader();
    for offset in 0..6 {
        let _ = reader.try_read_at(offset, &mut [0]);
    }
    assert_is!(reader.read_at(0, &mut [0]), Err(StorageError::Evicted { .. }));
    assert_eq!(reader.evictions(), 5);
    assert_eq!(reader.clone().evictions(), 0);
}

#[test]
fn a_read_of_nothing_never_comes_too_late() {
    let resource = ring_at(4, 0);
    let mut cursor = resource.cursor(OnLap::Error);
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdefgh").unwrap();
    let reader = resource.reader();
    for offset in 0..9 {
        assert_eq!(reader.try_read_at(offset, &mut []), Ok(0));
    }
    assert_eq!(cursor.try_read(&mut []), Ok(0));
    assert_eq!((reader.evictions(), cursor.laps()), (0, 0));
}

#[test]
fn a_preamble_stays_beside_the_window_whatever_is_evicted() {
    let resource = ring_at(4, 0);
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    assert!(reader.preamble().is_empty());
    writer.set_preamble(b"fLaC header").unwrap();
    writer.append(&[0; 100]).unwrap();
    assert_eq!(&*reader.preamble(), b"fLaC header");
    writer.set_preamble(&[7; PREAMBLE_MAX]).unwrap();
    assert_eq!(*reader.preamble(), [7; PREAMBLE_MAX]);
    assert_is!(
        writer.set_preamble(&[8; PREAMBLE_MAX + 1]),
        Err(StorageError::PreambleTooLarge { len, max: PREAMBLE_MAX }) if len == PREAMBLE_MAX + 1
    );
    assert_eq!(*reader.preamble(), [7; PREAMBLE_MAX], "the old one stays");
    writer.commit(None).unwrap();
    drop(writer);
    resource.reactivate().unwrap();
    assert_eq!(reader.preamble().len(), PREAMBLE_MAX);
    resource.writer().unwrap().set_preamble(b"").unwrap();
    assert!(reader.preamble().is_empty());
}

// ---- the driver alone ----

fn driver(capacity: usize) -> RingDriver {
    RingDriver::open(RingOptions::new(capacity)).unwrap().0
}

#[test]
fn the_storage_of_a_ring_ends_where_its_window_ends() {
    let ring = driver(8);
    assert_eq!(ring.storage_len(), 0);
    ring.write_at(0, b"0123456789ab", false).unwrap();
    assert_eq!(ring.storage_len(), 12, "an offset, and not the capacity");
    assert_eq!(ring.valid_window(), Some(4..12));
    ring.write_at(20, b"xyz", false).unwrap();
    assert_eq!(ring.storage_len(), 23);
    assert_eq!(ring.valid_window(), Some(20..23));
    assert_eq!(ring.path(), None);
    assert_eq!(ring.room(23), u64::MAX, "alone it waits for nobody");
    assert_eq!(ring.capacity(), 8);
}

#[test]
fn the_driver_alone_reads_no_further_than_it_is_told() {
    let ring = driver(8);
    ring.write_at(0, b"0123456789ab", false).unwrap();
    let mut buf = [0; 16];
    assert_is!(ring.read_at(6, &mut buf, u64::MAX), Ok(6));
    assert_eq!(&buf[..6], b"6789ab");
    assert_is!(ring.read_at(6, &mut buf, 9), Ok(3));
    assert_is!(ring.read_at(12, &mut buf, u64::MAX), Ok(0));
    assert_is!(ring.read_at(u64::MAX, &mut buf, u64::MAX), Ok(0));
    assert_is!(
        ring.read_at(3, &mut buf, u64::MAX),
        Err(StorageError::Evicted { offset: 3, window: Span { start: 4, end: 12 } })
    );
}

#[test]
fn the_driver_alone_answers_fast_checks_exactly() {
    let ring = driver(8);
    ring.write_at(0, b"0123456789ab", false).unwrap();
    for (range, there) in [(4..12, true), (4..5, true), (3..5, false), (4..13, false), (12..13, false), (7..7, true)] {
        assert_eq!(ring.try_fast_check(&range), there, "{range:?}");
    }
}

#[test]
fn the_driver_alone_commits_at_its_live_edge_only() {
    let ring = driver(8);
    ring.write_at(0, b"0123456789ab", false).unwrap();
    assert_is!(ring.commit(Some(8)), Err(StorageError::NotLiveEdge { final_len: 8, end: 12 }));
    ring.commit(Some(12)).unwrap();
    ring.commit(None).unwrap();
    assert_is!(ring.write_at(12, b"x", true), Err(StorageError::Committed));
    ring.reactivate().unwrap();
    ring.write_at(12, b"x", false).unwrap();
    assert_is!(ring.write_at(u64::MAX, b"xy", false), Err(StorageError::OffsetOverflow { .. }));
}

#[test]
fn a_ring_that_was_written_before_becomes_a_resource_with_its_window() {
    let ring = driver(8);
    ring.write_at(100, b"abc", false).unwrap();
    let resource = Resource::from_driver(CancelToken::new(), ring, DriverState::default()).unwrap();
    assert_eq!(resource.reader().valid_window(), Some(Span { start: 100, end: 103 }));
    let mut writer = resource.writer().unwrap();
    assert_eq!(writer.position(), 103);
    let gate = writer.gate_at(100).unwrap();
    writer.append(b"defgh").unwrap();
    assert_eq!(writer.try_append(b"i").unwrap(), 0, "the gate holds");
    drop(gate);
    writer.commit(Some(108)).unwrap();
}

#[test]
fn the_window_seen_from_any_thread_is_never_inverted_nor_too_wide_nor_goes_back() {
    must_end(|| {
        let ring = driver(64);
        let done = AtomicBool::new(false);
        let start = Barrier::new(3);
        thread::scope(|scope| {
            let look = || {
                start.wait();
                let mut last = 0..0;
                while !done.load(Relaxed) {
                    let window = ring.valid_window().expect("a ring has one");
                    assert!(window.start <= window.end, "inverted: {window:?}");
                    assert!(window.end - window.start <= 64, "too wide: {window:?}");
                    assert!(window.start >= last.start && window.end >= last.end, "{window:?} after {last:?}");
                    last = window;
                }
            };
            let lookers = [scope.spawn(look), scope.spawn(look)];
            start.wait();
            let mut at = 0;
            for i in 0..300_000u64 {
                if i % 64 == 0 {
                    at += 100;
                }
                let len = i % 80 + 1;
                ring.write_at(at, &[0; 80][..len as usize], false).unwrap();
                at += len;
            }
            done.store(true, Relaxed);
            for looker in lookers {
                looker.join().unwrap();
            }
        });
    });
}

/// A driver's `write_at` takes `&self`: two threads that call it by mistake mix up bytes, and nothing worse.
#[test]
fn two_threads_that_write_the_driver_alone_at_once_do_no_worse_than_mix_up_bytes() {
    must_end(|| {
        let ring = driver(100);
        let start = Barrier::new(2);
        thread::scope(|scope| {
            for value in [1, 2] {
                let (ring, start) = (&ring, &start);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..20_000 {
                        let _ = ring.write_at(ring.storage_len(), &[value; 37], false);
                    }
                });
            }
        });
        let window = ring.valid_window().unwrap();
        assert!(window.start <= window.end, "{window:?}");
        let mut buf = [0; 200];
        let n = ring.read_at(window.start, &mut buf, u64::MAX).unwrap();
        assert!(n <= 100 && buf[..n].iter().all(|byte| [0, 1, 2].contains(byte)));
        // As a resource it is in order again.
        let resource = Resource::from_driver(CancelToken::new(), ring, DriverState::default()).unwrap();
        let mut writer = resource.writer().unwrap();
        let end = writer.position();
        writer.append(&[9; 100]).unwrap();
        assert_eq!(resource.reader().valid_window(), Some(Span { start: end, end: end + 100 }));
        assert_eq!(resource.reader().try_read_at(end, &mut buf), Ok(100));
        assert_eq!(buf[..100], [9; 100]);
    });
}
