//! Cursors: a position, what being overtaken does to it, and where it can go.

mod kinds;
mod threads;

use kinds::{CAPACITY, Kind, over_every_kind};
use roundelay::{
    Cursor, DriverIo, MemOptions, OnLap, ReadError, Resource, RingDriver, RingOptions, Span, StorageError, Writer,
};
use std::io::{BufRead, ErrorKind, Read, Seek, SeekFrom};
use threads::{Sleeper, assert_is, must_end};

over_every_kind!(
    a_cursor_begins_at_the_oldest_byte,
    a_cursor_reads_on_from_where_it_is,
    read_and_bufread_agree,
    bytes_read_ahead_are_not_taken,
    a_seek_goes_anywhere_from_the_start_or_from_here,
    a_seek_from_the_end_of_a_live_stream_is_an_error_at_once,
    a_seek_from_the_end_of_a_committed_resource_goes_there,
    a_seek_out_of_the_stream_is_an_error_and_the_cursor_stays,
    a_seek_ahead_of_the_live_edge_makes_reads_wait,
    a_clone_reads_on_by_itself,
    a_cursor_gives_its_reader_back,
    the_live_edge_is_where_a_cursor_goes_live,
);

/// The byte that a test puts at an offset.
fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn append<D: DriverIo>(writer: &mut Writer<D>, n: u64) {
    let at = writer.position();
    writer.append(&(at..at + n).map(byte_at).collect::<Vec<_>>()).unwrap();
}

fn read<D: DriverIo>(cursor: &mut Cursor<D>, n: usize) -> Vec<u8> {
    let mut buf = vec![0; n];
    let n = cursor.try_read(&mut buf).unwrap();
    buf.truncate(n);
    buf
}

fn a_cursor_begins_at_the_oldest_byte<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    append(&mut writer, CAPACITY as u64 + 10);
    let mut cursor = resource.cursor(OnLap::Error);
    let oldest = if K::FORGETS { 10 } else { 0 };
    assert_eq!(cursor.position(), oldest);
    assert_eq!(cursor.lag(), CAPACITY as u64 + 10 - oldest);
    assert_eq!(read(&mut cursor, 1), [byte_at(oldest)]);
    assert_eq!(cursor.on_lap(), OnLap::Error);
}

fn a_cursor_reads_on_from_where_it_is<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let mut cursor = resource.cursor(OnLap::default());
    for _ in 0..50 {
        append(&mut writer, 13);
        let at = cursor.position();
        assert_eq!(read(&mut cursor, 5), (at..at + 5).map(byte_at).collect::<Vec<_>>());
        assert_eq!(read(&mut cursor, 100), (at + 5..at + 13).map(byte_at).collect::<Vec<_>>());
        assert_eq!(cursor.try_read(&mut [0]), Err(ReadError::NotYet));
        assert_eq!(cursor.try_read(&mut []), Ok(0));
        assert_eq!((cursor.position(), cursor.lag()), (at + 13, 0));
    }
    assert_eq!((cursor.laps(), cursor.lost_bytes()), (0, 0));
}

fn read_and_bufread_agree<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"first line\nsecond line\n\nthe last, without an end").unwrap();
    writer.commit(None).unwrap();
    let mut by_read = String::new();
    resource.cursor(OnLap::Error).read_to_string(&mut by_read).unwrap();
    let lines: Vec<_> = resource.cursor(OnLap::Error).lines().map(Result::unwrap).collect();
    assert_eq!(by_read.lines().collect::<Vec<_>>(), lines);
    // And mixed.
    let mut cursor = resource.cursor(OnLap::Error);
    let mut line = String::new();
    cursor.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), cursor.position()), ("first line\n", 11));
    assert_eq!(read(&mut cursor, 7), b"second ");
    assert_eq!(cursor.fill_buf().unwrap()[0], b'l');
    assert_eq!(cursor.seek(SeekFrom::Current(-3)).unwrap(), 15);
    assert_eq!(read(&mut cursor, 7), b"nd line");
    let mut rest = String::new();
    cursor.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\n\nthe last, without an end");
    assert!(cursor.fill_buf().unwrap().is_empty());
}

fn bytes_read_ahead_are_not_taken<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdef").unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    assert_eq!(cursor.fill_buf().unwrap(), b"abcdef");
    assert_eq!((cursor.position(), cursor.lag(), cursor.stream_position().unwrap()), (0, 6, 0));
    cursor.consume(2);
    assert_eq!(cursor.position(), 2);
    assert_eq!(read(&mut cursor.clone(), 2), b"cd", "a clone goes on from the same position");
    assert_eq!(cursor.fill_buf().unwrap(), b"cdef");
    cursor.consume(100);
    assert_eq!(cursor.position(), 6, "no more is taken than there was");
    assert_eq!(cursor.try_read(&mut [0]), Err(ReadError::NotYet));
}

fn a_seek_goes_anywhere_from_the_start_or_from_here<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"0123456789").unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    for (to, lands_at) in [
        (SeekFrom::Start(4), 4),
        (SeekFrom::Current(3), 7),
        (SeekFrom::Current(-7), 0),
        (SeekFrom::Current(0), 0),
        (SeekFrom::Start(9), 9),
    ] {
        assert_eq!(cursor.seek(to).unwrap(), lands_at);
        assert_eq!(cursor.stream_position().unwrap(), lands_at);
        assert_eq!(read(&mut cursor.clone(), 1), [b'0' + lands_at as u8]);
    }
    cursor.rewind().unwrap();
    assert_eq!(cursor.position(), 0);
    assert_eq!(cursor.seek_to(5).unwrap(), 5);
    cursor.seek_relative(2).unwrap();
    assert_eq!(read(&mut cursor, 10), b"789");
}

fn a_seek_from_the_end_of_a_live_stream_is_an_error_at_once<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    assert_eq!(read(&mut cursor, 1), b"a");
    for by in [0, -1, 1] {
        let error = cursor.seek(SeekFrom::End(by)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<StorageError>());
        assert_is!(inside, Some(StorageError::InvalidSeek(_)));
    }
    assert_eq!(cursor.position(), 1, "the cursor stays");
    writer.fail(StorageError::other("the station went away"));
    assert_is!(cursor.seek(SeekFrom::End(0)), Err(_));
}

fn a_seek_from_the_end_of_a_committed_resource_goes_there<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"0123456789").unwrap();
    writer.commit(None).unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    assert_eq!(cursor.seek(SeekFrom::End(-3)).unwrap(), 7);
    assert_eq!(read(&mut cursor, 10), b"789");
    assert_eq!(cursor.seek(SeekFrom::End(0)).unwrap(), 10);
    assert_eq!(cursor.try_read(&mut [0]), Ok(0));
    assert_eq!(cursor.seek(SeekFrom::End(90)).unwrap(), 100);
    assert_eq!(cursor.try_read(&mut [0]), Ok(0));
    assert_eq!(cursor.seek(SeekFrom::End(-10)).unwrap(), 0);
    assert_is!(cursor.seek(SeekFrom::End(-11)), Err(error) if error.kind() == ErrorKind::InvalidInput);
}

fn a_seek_out_of_the_stream_is_an_error_and_the_cursor_stays<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    assert_eq!(read(&mut cursor, 2), b"ab");
    assert_is!(cursor.seek(SeekFrom::Current(-3)), Err(error) if error.kind() == ErrorKind::InvalidInput);
    assert_is!(cursor.seek(SeekFrom::Current(i64::MIN)), Err(_));
    assert_eq!(cursor.position(), 2);
    cursor.seek(SeekFrom::Start(u64::MAX)).unwrap();
    assert_is!(cursor.seek(SeekFrom::Current(1)), Err(_));
    assert_eq!(cursor.position(), u64::MAX);
    assert_eq!(cursor.try_read(&mut [0; 8]), Err(ReadError::NotYet));
    cursor.rewind().unwrap();
    assert_eq!(read(&mut cursor, 8), b"abc");
}

fn a_seek_ahead_of_the_live_edge_makes_reads_wait<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    cursor.seek(SeekFrom::Start(3)).unwrap();
    let sleeper = Sleeper::start(move || {
        let mut buf = [0; 2];
        cursor.read_exact(&mut buf).map(|()| buf)
    });
    writer.append(b"abc").unwrap();
    assert!(sleeper.still_waits());
    writer.append(b"de").unwrap();
    assert_eq!(sleeper.wakes_with().unwrap(), *b"de");
}

fn a_clone_reads_on_by_itself<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdef").unwrap();
    let mut cursor = resource.cursor(OnLap::SkipToLive);
    assert_eq!(read(&mut cursor, 2), b"ab");
    let mut clone = cursor.clone();
    assert_eq!((clone.position(), clone.on_lap()), (2, OnLap::SkipToLive));
    assert_eq!(read(&mut clone, 3), b"cde");
    assert_eq!(read(&mut cursor, 3), b"cde");
}

fn a_cursor_gives_its_reader_back<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let cursor = resource.reader().into_cursor(OnLap::Error);
    assert_eq!(cursor.reader().live_edge(), 3);
    assert_eq!(cursor.into_reader().try_read_at(1, &mut [0; 8]), Ok(2));
}

fn the_live_edge_is_where_a_cursor_goes_live<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    append(&mut writer, CAPACITY as u64 + 10);
    let mut cursor = resource.cursor(OnLap::Error);
    assert_eq!(cursor.seek_live(), CAPACITY as u64 + 10);
    assert_eq!(cursor.try_read(&mut [0]), Err(ReadError::NotYet));
    append(&mut writer, 1);
    assert_eq!(read(&mut cursor, 8), [byte_at(CAPACITY as u64 + 10)]);
    assert_eq!(cursor.seek_oldest(), if K::FORGETS { 11 } else { 0 });
    assert_eq!((cursor.laps(), cursor.lost_bytes()), (0, 0), "who goes on its own is not overtaken");
}

// ---- being overtaken ----

fn ring(capacity: usize, on_lap: OnLap) -> (Resource<RingDriver>, Writer<RingDriver>, Cursor<RingDriver>) {
    let resource = roundelay::open(RingOptions::new(capacity)).unwrap();
    let (writer, cursor) = (resource.writer().unwrap(), resource.cursor(on_lap));
    (resource, writer, cursor)
}

#[test]
fn a_lapped_cursor_that_wants_an_error_gets_it_until_it_is_told_where_to_go() {
    let (_resource, mut writer, mut cursor) = ring(10, OnLap::Error);
    append(&mut writer, 4);
    assert_eq!(read(&mut cursor, 2), [byte_at(0), byte_at(1)]);
    append(&mut writer, 20);
    let window = Span { start: 14, end: 24 };
    for _ in 0..3 {
        assert_eq!(cursor.try_read(&mut [0; 4]), Err(ReadError::Evicted { window }));
        assert_is!(
            cursor.read_timeout(&mut [0; 4], std::time::Duration::ZERO),
            Err(StorageError::Evicted { offset: 2, window: found }) if found == window
        );
        assert_is!(cursor.read(&mut [0; 4]), Err(_));
        assert_eq!(cursor.position(), 2);
    }
    assert_eq!((cursor.laps(), cursor.lost_bytes()), (1, 0), "overtaken once, however often it asks");
    assert_eq!(cursor.seek_oldest(), 14);
    assert_eq!(read(&mut cursor, 1), [byte_at(14)]);
    append(&mut writer, 20);
    assert_is!(cursor.try_read(&mut [0]), Err(ReadError::Evicted { .. }));
    assert_eq!(cursor.laps(), 2);
    // Changing its mind is a way to be told, too.
    cursor.set_on_lap(OnLap::SkipToOldest);
    assert_eq!(read(&mut cursor, 1), [byte_at(34)]);
    assert_eq!((cursor.laps(), cursor.lost_bytes(), cursor.position()), (2, 34 - 15, 35));
}

#[test]
fn a_lapped_cursor_that_skips_to_the_oldest_byte_loses_as_little_as_possible() {
    let (_resource, mut writer, mut cursor) = ring(10, OnLap::SkipToOldest);
    let (mut laps, mut lost) = (0, 0);
    for i in 0..200 {
        append(&mut writer, i % 23);
        let before = cursor.position();
        let oldest = writer.position().saturating_sub(10);
        if before < oldest {
            laps += 1;
            lost += oldest - before;
        }
        let mut buf = [0; 4];
        match cursor.try_read(&mut buf) {
            Ok(n) => {
                let from = before.max(oldest);
                assert_eq!(buf[..n], (from..from + n as u64).map(byte_at).collect::<Vec<_>>());
                assert_eq!(cursor.position(), from + n as u64);
            }
            Err(error) => assert_eq!((error, before), (ReadError::NotYet, writer.position())),
        }
        assert_eq!((cursor.laps(), cursor.lost_bytes()), (laps, lost));
    }
    assert!(laps > 50);
}

#[test]
fn a_lapped_cursor_that_skips_to_the_live_edge_catches_up_at_once() {
    let (_resource, mut writer, mut cursor) = ring(10, OnLap::SkipToLive);
    append(&mut writer, 25);
    assert_eq!(cursor.try_read(&mut [0; 4]), Err(ReadError::NotYet));
    assert_eq!((cursor.laps(), cursor.lost_bytes(), cursor.position(), cursor.lag()), (1, 25, 25, 0));
    append(&mut writer, 3);
    assert_eq!(read(&mut cursor, 4), (25..28).map(byte_at).collect::<Vec<_>>());
    append(&mut writer, 11);
    assert_eq!(cursor.try_read(&mut [0; 4]), Err(ReadError::NotYet));
    assert_eq!((cursor.laps(), cursor.lost_bytes(), cursor.position()), (2, 36, 39));
}

#[test]
fn a_cursor_that_skips_sees_the_end_of_what_it_was_overtaken_in() {
    must_end(|| {
        for on_lap in [OnLap::SkipToOldest, OnLap::SkipToLive] {
            let (_resource, mut writer, mut cursor) = ring(10, on_lap);
            append(&mut writer, 25);
            writer.commit(None).unwrap();
            let mut rest = Vec::new();
            cursor.read_to_end(&mut rest).unwrap();
            let from = if on_lap == OnLap::SkipToLive { 25 } else { 15 };
            assert_eq!(rest, (from..25).map(byte_at).collect::<Vec<_>>());
            assert_eq!((cursor.laps(), cursor.lost_bytes()), (1, from));
        }
    });
}

#[test]
fn a_seek_to_evicted_bytes_goes_by_the_policy() {
    let window = Span { start: 15, end: 25 };
    for (on_lap, lands_at) in [(OnLap::Error, None), (OnLap::SkipToOldest, Some(15)), (OnLap::SkipToLive, Some(25))] {
        let (_resource, mut writer, mut cursor) = ring(10, on_lap);
        append(&mut writer, 25);
        cursor.seek_to(20).unwrap();
        match lands_at {
            None => {
                assert_is!(
                    cursor.seek_to(3),
                    Err(StorageError::Evicted { offset: 3, window: found }) if found == window
                );
                assert_is!(cursor.seek(SeekFrom::Start(14)), Err(_));
                assert_is!(cursor.seek(SeekFrom::Current(-6)), Err(_));
                assert_eq!(cursor.position(), 20, "the cursor stays");
            }
            Some(at) => {
                assert_eq!(cursor.seek_to(3).unwrap(), at);
                assert_eq!(cursor.seek(SeekFrom::Start(14)).unwrap(), at);
                assert_eq!(cursor.position(), at);
            }
        }
        assert_eq!(cursor.seek(SeekFrom::Start(15)).unwrap(), 15, "the oldest byte is there");
        assert_eq!((cursor.laps(), cursor.lost_bytes()), (0, 0));
    }
}

#[test]
fn what_was_read_ahead_outlives_its_eviction() {
    let (_resource, mut writer, mut cursor) = ring(10, OnLap::SkipToOldest);
    append(&mut writer, 10);
    assert_eq!(cursor.fill_buf().unwrap().len(), 10);
    append(&mut writer, 100);
    let mut buf = [0; 4];
    cursor.read_exact(&mut buf).unwrap();
    assert_eq!(buf.to_vec(), (0..4).map(byte_at).collect::<Vec<_>>());
    assert_eq!(cursor.laps(), 0);
    cursor.consume(6);
    assert_eq!(cursor.fill_buf().unwrap(), (100..110).map(byte_at).collect::<Vec<_>>());
    assert_eq!((cursor.position(), cursor.laps(), cursor.lost_bytes()), (100, 1, 90));
}

/// They were those of the generation before.
#[test]
fn bytes_read_ahead_are_read_again_in_the_next_generation() {
    let resource = roundelay::open(MemOptions::committed("old bytes")).unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    cursor.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(cursor.fill_buf().unwrap(), b"bytes");
    cursor.consume(2);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, b"new paint").unwrap();
    assert_eq!(cursor.fill_buf().unwrap(), b"tes", "it has not been told to go over");
    assert!(cursor.refresh());
    assert_eq!((cursor.position(), cursor.fill_buf().unwrap()), (6, &b"int"[..]));
    // In a ring they are the same, and the last that there is of them.
    let (resource, mut writer, mut cursor) = ring(10, OnLap::Error);
    append(&mut writer, 10);
    assert_eq!(cursor.fill_buf().unwrap().len(), 10);
    writer.commit(None).unwrap();
    drop(writer);
    resource.reactivate().unwrap();
    append(&mut resource.writer().unwrap(), 10);
    assert!(cursor.refresh());
    assert_eq!(cursor.fill_buf().unwrap(), (0..10).map(byte_at).collect::<Vec<_>>());
}

#[test]
fn a_jump_overtakes_a_cursor_too() {
    let (_resource, mut writer, mut cursor) = ring(10, OnLap::SkipToOldest);
    append(&mut writer, 5);
    writer.write_at(100, &[byte_at(100)]).unwrap();
    assert_eq!(read(&mut cursor, 4), [byte_at(100)]);
    assert_eq!((cursor.laps(), cursor.lost_bytes()), (1, 100));
    // A cursor ahead of the live edge is not overtaken by a jump that stays below it.
    cursor.seek_to(300).unwrap();
    writer.write_at(200, b"x").unwrap();
    assert_eq!(cursor.try_read(&mut [0]), Err(ReadError::NotYet));
    writer.write_at(300, &[byte_at(300)]).unwrap();
    assert_eq!(read(&mut cursor, 4), [byte_at(300)]);
    assert_eq!(cursor.laps(), 1);
}

#[cfg(feature = "symphonia")]
#[test]
fn symphonia_may_seek_once_the_end_is_known() {
    use symphonia_core::io::MediaSource;
    let (_resource, mut writer, cursor) = ring(10, OnLap::Error);
    append(&mut writer, 5);
    assert!(!cursor.is_seekable(), "a probe that looks for the end of a live stream would stall");
    assert_eq!(cursor.byte_len(), None);
    writer.commit(None).unwrap();
    assert!(cursor.is_seekable());
    assert_eq!(cursor.byte_len(), Some(5));
}

/// A file that was being downloaded could not be sought until its last byte had come.
#[cfg(feature = "symphonia")]
#[test]
fn symphonia_may_seek_where_the_length_is_given() {
    use symphonia_core::io::MediaSource;
    let resource = roundelay::open(roundelay::MemOptions { len: Some(9), ..Default::default() }).unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    assert!(cursor.is_seekable());
    assert_eq!(cursor.byte_len(), Some(9));
    let mut writer = resource.writer().unwrap();
    writer.write_at(6, b"end").unwrap();
    assert_eq!(cursor.seek(SeekFrom::End(-3)).unwrap(), 6);
    assert_eq!(cursor.read(&mut [0; 9]).unwrap(), 3);
    assert_eq!(cursor.read(&mut [0; 9]).unwrap(), 0);
}

/// It said that it could be sought, and each seek to the beginning failed, or went elsewhere.
#[cfg(feature = "symphonia")]
#[test]
fn symphonia_may_not_seek_without_the_beginning() {
    use symphonia_core::io::MediaSource;
    let (_resource, mut writer, cursor) = ring(10, OnLap::SkipToOldest);
    append(&mut writer, 25);
    writer.commit(None).unwrap();
    assert!(!cursor.is_seekable());
    assert_eq!(cursor.byte_len(), Some(25));
    assert_eq!(cursor.seekable(), Span { start: 15, end: 25 });
}

#[test]
fn a_cursor_says_where_it_can_seek_to() {
    let (_resource, mut writer, mut cursor) = ring(10, OnLap::Error);
    assert_eq!(cursor.seekable(), Span { start: 0, end: 0 });
    append(&mut writer, 25);
    let can = cursor.seekable();
    assert_eq!(can, Span { start: 15, end: 25 });
    assert!(cursor.seek_to(can.start - 1).is_err());
    for offset in [can.start, can.end] {
        assert_eq!(cursor.seek_to(offset).unwrap(), offset);
    }
    let resource = roundelay::open(roundelay::MemOptions::default()).unwrap();
    let cursor = resource.cursor(OnLap::Error);
    resource.writer().unwrap().append(b"abc").unwrap();
    assert_eq!(cursor.seekable(), Span { start: 0, end: 3 });
    let resource = roundelay::open(roundelay::MemOptions { len: Some(9), ..Default::default() }).unwrap();
    assert_eq!(resource.cursor(OnLap::Error).seekable(), Span { start: 0, end: 9 });
}
