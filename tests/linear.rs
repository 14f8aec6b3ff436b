//! The stores that keep everything, through the same handles as the ring.

use roundelay::{
    AnyDriver, CancelToken, Driver, DriverIo, DriverState, Fetcher, InvalidOptions, MAX_OFFSET, MemDriver, MemOptions,
    MmapDriver, MmapOptions, OnLap, OpenMode, OpenOptions, ReadError, Reader, Resource, ResourceStatus, RingOptions,
    StorageError, WaitOutcome, open,
};
use std::{
    io::{Read, Seek, SeekFrom, Write},
    thread,
    time::Duration,
};

#[path = "linear/scratch.rs"]
mod scratch;
use scratch::Scratch;

fn pattern(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|at| (at ^ at >> 8 ^ at >> 16) as u8 ^ 0x5a).collect()
}

fn read_all<D: DriverIo>(reader: &Reader<D>, from: u64, len: usize) -> Vec<u8> {
    let mut back = vec![0; len];
    let mut done = 0;
    while done < len {
        match reader.read_at(from + done as u64, &mut back[done..]).unwrap() {
            0 => break,
            n => done += n,
        }
    }
    back.truncate(done);
    back
}

/// What code above a driver does; it does not know which one is below.
fn a_life<D: DriverIo>(resource: &Resource<D>) {
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let mut buf = [0; 8];
    assert_eq!(reader.try_read_at(0, &mut buf), Err(ReadError::NotYet));
    writer.append(b"0123456789").unwrap();
    assert_eq!(reader.try_read_at(2, &mut buf), Ok(8));
    assert_eq!(&buf, b"23456789");
    assert!(reader.contains_range(0..10) && !reader.contains_range(9..11));
    let waiting = {
        let reader = reader.clone();
        thread::spawn(move || reader.wait_range(10..20))
    };
    writer.append(b"abcdefghij").unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), WaitOutcome::Ready);
    writer.commit(None).unwrap();
    assert_eq!(reader.final_len(), Some(20));
    assert_eq!(reader.try_read_at(20, &mut buf), Ok(0));
    let mut text = String::new();
    let mut cursor = resource.cursor(OnLap::Error);
    cursor.read_to_string(&mut text).unwrap();
    assert_eq!(text, "0123456789abcdefghij");
    assert_eq!(cursor.seek(SeekFrom::End(-5)).unwrap(), 15);
    assert!(matches!(writer.append(b"x"), Err(StorageError::Committed)));
}

/// The write that fills the first hole does not look at all that lies behind it; who reads there is told nothing else.
#[test]
fn what_lies_behind_a_hole_is_there_as_soon_as_that_is_filled() {
    const LEN: u64 = 3 << 20;
    let resource = open(MemOptions { len: Some(LEN + 1), ..MemOptions::default() }).unwrap();
    let (mut writer, reader) = (resource.writer().unwrap(), resource.reader());
    writer.write_at(1, &pattern(1..LEN)).unwrap();
    assert!(!reader.contains_range(0..LEN) && reader.contains_range(1..LEN));
    let waiting = {
        let reader = reader.clone();
        thread::spawn(move || reader.wait_range(0..LEN))
    };
    writer.write_at(0, &pattern(0..1)).unwrap();
    assert!(reader.contains_range(0..LEN));
    let mut buf = vec![0; LEN as usize];
    assert_eq!(reader.try_read_at(0, &mut buf), Ok(LEN as usize));
    assert!(buf == pattern(0..LEN));
    assert_eq!(reader.try_read_at(LEN - 8, &mut buf), Ok(8));
    assert_eq!(waiting.join().unwrap().unwrap(), WaitOutcome::Ready);
}

#[test]
fn every_driver_lives_the_same_life_behind_the_same_handles() {
    let scratch = Scratch::new();
    a_life(&open(RingOptions::new(64)).unwrap());
    a_life(&open(MemOptions::default()).unwrap());
    a_life(&open(MmapOptions::new(scratch.path("whole"))).unwrap());
    assert_eq!(scratch.read("whole"), b"0123456789abcdefghij");
    for i in 0..3 {
        let resource: Resource<AnyDriver> = match i {
            0 => Resource::open_any(CancelToken::new(), RingOptions::new(64)),
            1 => Resource::open_any(CancelToken::new(), MemOptions::default()),
            _ => Resource::open_any(CancelToken::new(), MmapOptions::new(scratch.path("any"))),
        }
        .unwrap();
        a_life(&resource);
    }
    assert_eq!(scratch.names(), ["any", "whole"]);
}

#[test]
fn initial_data_are_committed_at_once() {
    let resource = open(MemOptions::committed(pattern(0..100_000))).unwrap();
    let reader = resource.reader();
    assert_eq!(reader.final_len(), Some(100_000));
    assert_eq!(read_all(&reader, 0, 200_000), pattern(0..100_000));
    assert!(matches!(resource.writer(), Err(StorageError::Committed)));
}

#[test]
fn a_capacity_is_an_error_and_the_resource_stays() {
    let resource = open(MemOptions { capacity_bytes: Some(1000), ..MemOptions::default() }).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(&[1; 1000]).unwrap();
    assert!(matches!(writer.append(&[1]), Err(StorageError::CapacityExceeded { needed: 1001, capacity: 1000 })));
    writer.commit(Some(1000)).unwrap();
    assert!(matches!(
        open(MemOptions { capacity_bytes: Some(3), ..MemOptions::committed(*b"four") }),
        Err(StorageError::CapacityExceeded { needed: 4, capacity: 3 })
    ));
}

fn fill<D: DriverIo>(fetcher: &Fetcher<D>, threads: usize, max: u64, piece: usize) {
    thread::scope(|scope| {
        for _ in 0..threads {
            let fetcher = fetcher.clone();
            scope.spawn(move || {
                while let Some(mut claim) = fetcher.wait_claim(max).unwrap() {
                    let data = pattern(claim.range().into());
                    for piece in data.chunks(piece) {
                        claim.write_all(piece).unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn several_connections_fill_a_resource_and_the_last_one_commits() {
    const LEN: u64 = 3_000_001;
    let scratch = Scratch::new();
    let mem = open(MemOptions { len: Some(LEN), ..MemOptions::default() }).unwrap();
    let mmap = open(MmapOptions { len: Some(LEN), ..MmapOptions::new(scratch.path("file")) }).unwrap();
    let readers = thread::scope(|scope| {
        let mem_reader = mem.reader();
        let reading = scope.spawn(move || read_all(&mem_reader, 0, LEN as usize));
        fill(&mem.writer().unwrap().into_fetcher(), 4, 70_001, 1000);
        fill(&mmap.writer().unwrap().into_fetcher(), 4, 70_001, 1000);
        reading.join().unwrap()
    });
    assert!(readers == pattern(0..LEN));
    assert_eq!(mem.reader().final_len(), Some(LEN));
    assert!(scratch.read("file") == pattern(0..LEN));
    assert_eq!(scratch.names(), ["file"]);
}

#[test]
fn what_was_flushed_is_there_after_the_writer_is_gone_and_the_rest_is_fetched() {
    const LEN: u64 = 1 << 20;
    let scratch = Scratch::new();
    let options = || MmapOptions { len: Some(LEN), tag: b"v1".to_vec(), ..MmapOptions::new(scratch.path("f")) };
    let resource = open(options()).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(100_000, &pattern(100_000..200_000)).unwrap();
    assert_eq!(resource.flush().unwrap(), 100_000);
    assert_eq!(resource.flush().unwrap(), 0);
    drop((writer, resource));
    let resource = open(options()).unwrap();
    assert_eq!(resource.leftover(), roundelay::Leftover::Resumed { bytes: 100_000, dropped: 0 });
    let reader = resource.reader();
    assert_eq!(reader.available().iter().cloned().collect::<Vec<_>>(), [100_000..200_000]);
    assert_eq!(read_all(&reader, 100_000, 50_000), pattern(100_000..150_000));
    fill(&resource.writer().unwrap().into_fetcher(), 2, 65_536, 4096);
    assert!(scratch.read("f") == pattern(0..LEN));
}

#[test]
fn a_write_to_a_committed_file_begins_a_generation_that_is_published_at_commit() {
    let scratch = Scratch::new();
    scratch.write("f", b"hello, old world");
    let options = MmapOptions { mode: OpenMode::ReadWrite, ..MmapOptions::new(scratch.path("f")) };
    let resource = open(options).unwrap();
    let old = resource.reader();
    let mut writer = resource.writer().unwrap();
    writer.write_at(7, b"new").unwrap();
    assert_eq!(scratch.read("f"), b"hello, old world");
    let new = resource.reader();
    assert_eq!(read_all(&new, 0, 16), b"hello, new world");
    assert_eq!(read_all(&old, 0, 16), b"hello, old world");
    let committed = writer.commit(None);
    if cfg!(windows) && committed.is_err() {
        // It may keep a name for a file that is mapped. Then nothing is lost.
        assert_eq!(scratch.read("f"), b"hello, old world");
        assert_eq!(read_all(&new, 0, 16), b"hello, new world");
        return;
    }
    committed.unwrap();
    assert_eq!(scratch.read("f"), b"hello, new world");
    assert_eq!(read_all(&resource.reader(), 0, 16), b"hello, new world");
    assert_eq!(read_all(&old, 0, 16), b"hello, old world");
    // And once more, by the same writer, to another length.
    writer.write_at(0, b"HELLO").unwrap();
    writer.commit(Some(5)).unwrap();
    assert_eq!(scratch.read("f"), b"HELLO");
    assert_eq!(scratch.names(), ["f"]);
}

#[test]
fn a_type_erased_reader_waits_like_any_other() {
    let resource = Resource::<AnyDriver>::open_any(CancelToken::new(), MemOptions::default()).unwrap();
    let reader = resource.reader();
    assert_eq!(reader.wait_range_timeout(0..1, Duration::from_millis(1)).unwrap(), WaitOutcome::TimedOut);
    let _: Resource<MemDriver> = open(MemOptions::default()).unwrap();
    fn is_options<O: OpenOptions>(_: &O) {}
    is_options(&MemOptions::default());
}

/// The position moved to where nothing had been written, and the next `append` left a hole before itself.
#[test]
fn a_write_of_nothing_does_not_move_the_position() {
    let resource = open(MemOptions::default()).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(1000, &[]).unwrap();
    assert_eq!(writer.position(), 0);
    writer.append(b"x").unwrap();
    writer.commit(None).unwrap();
    assert_eq!(resource.reader().final_len(), Some(1));
}

/// The sum of the offset and the length of the buffer was more than a number holds.
#[test]
fn an_offset_at_the_end_of_numbers_is_no_panic_in_a_rewrite() {
    let resource = open(MemOptions::committed([1; 100])).unwrap();
    resource.reactivate().unwrap();
    let reader = resource.reader();
    for offset in [u64::MAX, u64::MAX - 3, MAX_OFFSET] {
        assert_eq!(reader.try_read_at(offset, &mut [0; 16]), Err(ReadError::NotYet));
        let read = reader.read_at_timeout(offset, &mut [0; 16], Duration::ZERO);
        assert!(matches!(read, Err(StorageError::OffsetOverflow { .. })), "{read:?}");
    }
}

/// Only a lock tells that they are there, and the form that takes none said that they never would be.
#[test]
fn a_piece_that_touches_no_other_is_not_lost_when_the_resource_fails() {
    let resource = open(MemOptions::default()).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, &[1; 10]).unwrap();
    writer.write_at(20, &[2; 10]).unwrap();
    writer.fail(StorageError::other("the station went away"));
    let (reader, mut buf) = (resource.reader(), [0; 10]);
    assert_eq!(reader.try_read_at(20, &mut buf), Err(ReadError::NotYet));
    assert_eq!(reader.read_at(20, &mut buf).unwrap(), 10);
    assert_eq!(buf, [2; 10]);
    assert!(matches!(reader.read_at(10, &mut buf), Err(StorageError::Failed(_))));
}

/// Its bytes were written in place, under the hands of those who were copying them.
#[test]
fn a_committed_store_is_committed_whatever_the_state_says() {
    let (driver, _) = MemDriver::open(MemOptions::committed([1; 100])).unwrap();
    assert!(matches!(driver.write_at(0, &[2; 100], false), Err(StorageError::Committed)));
    let resource = Resource::from_driver(CancelToken::new(), driver, DriverState::default()).unwrap();
    assert!(matches!(resource.writer(), Err(StorageError::Committed)));
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 100 });
    assert_eq!(read_all(&resource.reader(), 0, 200), [1; 100]);
}

/// The state said "committed" of a driver that had been reactivated since, and a read went for bytes that only the
/// generation before had.
#[test]
fn a_store_that_is_being_rewritten_is_active_whatever_the_state_says() {
    let (driver, state) = MemDriver::open(MemOptions::committed([1; 100])).unwrap();
    driver.reactivate().unwrap();
    let resource = Resource::from_driver(CancelToken::new(), driver, state).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Active);
    let reader = resource.reader();
    assert_eq!(read_all(&reader, 0, 100), [1; 100]);
    let mut writer = resource.writer().unwrap();
    writer.write_at(10, &[2; 10]).unwrap();
    writer.commit(None).unwrap();
    assert_eq!(read_all(&resource.reader(), 0, 200), [&[1; 10][..], &[2; 10], &[1; 80]].concat());
}

/// One of the two was believed, and the other forgotten.
#[test]
fn a_length_that_contradicts_the_initial_data_is_refused() {
    for len in [0, 3, 5] {
        let opened = open(MemOptions { len: Some(len), ..MemOptions::committed(*b"four") });
        let expected = InvalidOptions::InitialLength { initial: 4, len };
        assert!(matches!(opened, Err(StorageError::InvalidOptions(found)) if found == expected), "{opened:?}");
    }
    open(MemOptions { len: Some(4), ..MemOptions::committed(*b"four") }).unwrap();
}

/// The length of a range that ends before it starts was a panic.
#[test]
fn a_driver_that_is_told_nonsense_flushes_what_was_written() {
    let scratch = Scratch::new();
    let (driver, _) = MmapDriver::open(MmapOptions::new(scratch.path("f"))).unwrap();
    driver.write_at(0, b"written", false).unwrap();
    for (start, end) in [(10, 5), (u64::MAX, 0), (0, u64::MAX)] {
        driver.notify_write(&(start..end));
    }
    assert_eq!(driver.flush().unwrap(), 7);
    assert_eq!(driver.flush().unwrap(), 0);
}
