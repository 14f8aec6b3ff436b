//! What reading, writing and committing mean, over each kind of driver.

mod kinds;
mod threads;
mod witness;

use kinds::{CAPACITY, Kind, over_every_kind};
use rangemap::RangeSet;
use roundelay::{MAX_OFFSET, OnLap, ReadError, ResourceStatus, Span, StorageError, WaitOutcome};
use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};
use threads::{Sleeper, assert_is};
use witness::{Event, Witness};

over_every_kind!(
    what_was_written_is_read_back_anywhere,
    a_read_of_a_live_stream_never_reports_the_end,
    a_blocking_read_of_a_live_stream_waits_for_a_byte,
    a_read_returns_0_only_at_the_end_of_a_committed_resource,
    a_reader_ahead_of_the_live_edge_gets_its_bytes_when_they_come,
    bytes_that_are_there_stay_as_they_are,
    a_read_takes_what_is_there_and_no_more,
    commit_none_ends_at_the_last_byte_written,
    commit_some_ends_at_the_given_length,
    a_commit_beyond_the_last_byte_is_refused_and_changes_nothing,
    an_empty_resource_can_be_committed,
    what_can_be_read_is_told_alike_by_every_question,
    nothing_is_written_past_the_largest_offset,
    a_read_past_the_largest_offset_ends_with_the_reason,
    a_wait_past_the_largest_offset_ends_with_the_reason,
    copying_with_std_io_loses_nothing,
);

fn what_was_written_is_read_back_anywhere<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"never the ").unwrap();
    writer.append(b"same river").unwrap();
    let reader = resource.reader();
    let text = b"never the same river";
    for from in 0..text.len() {
        for to in from..=text.len() {
            let mut buf = vec![0; to - from];
            assert_eq!(reader.try_read_at(from as u64, &mut buf), Ok(to - from));
            assert_eq!(buf, text[from..to]);
        }
    }
}

fn a_read_of_a_live_stream_never_reports_the_end<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let mut cursor = resource.cursor(OnLap::Error);
    let mut buf = [0; 8];
    assert_eq!(reader.try_read_at(0, &mut buf), Err(ReadError::NotYet));
    assert_eq!(cursor.try_read(&mut buf), Err(ReadError::NotYet));
    writer.append(b"abc").unwrap();
    assert_eq!(cursor.try_read(&mut buf), Ok(3));
    for offset in [3, 4, 1000, MAX_OFFSET, u64::MAX] {
        assert_eq!(reader.try_read_at(offset, &mut buf), Err(ReadError::NotYet), "at {offset}");
    }
    assert_eq!(cursor.try_read(&mut buf), Err(ReadError::NotYet));
    assert_is!(cursor.read_timeout(&mut buf, Duration::ZERO), Err(StorageError::TimedOut));
    assert_is!(reader.read_at_timeout(3, &mut buf, Duration::ZERO), Err(StorageError::TimedOut));
    assert_eq!(reader.try_read_at(3, &mut []), Ok(0), "an empty buffer is full");
}

fn a_blocking_read_of_a_live_stream_waits_for_a_byte<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    let reader = resource.reader();
    let by_cursor = Sleeper::start(move || {
        let mut buf = [0; 8];
        let n = cursor.read(&mut buf).unwrap();
        buf[..n].to_vec()
    });
    let by_reader = Sleeper::start(move || {
        let mut buf = [0; 8];
        let n = reader.read_at(1, &mut buf).unwrap();
        buf[..n].to_vec()
    });
    assert!(by_cursor.still_waits() && by_reader.still_waits());
    writer.append(b"x").unwrap();
    assert_eq!(by_cursor.wakes_with(), b"x");
    assert!(by_reader.still_waits(), "the byte at 1 is not there");
    writer.append(b"yz").unwrap();
    assert_eq!(by_reader.wakes_with(), b"yz");
}

fn a_read_returns_0_only_at_the_end_of_a_committed_resource<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    let reader = resource.reader();
    let mut buf = [0; 8];
    assert_eq!(reader.try_read_at(2, &mut buf), Ok(1));
    for offset in [3, 4, 1000, MAX_OFFSET, u64::MAX] {
        assert_eq!(reader.try_read_at(offset, &mut buf), Ok(0), "at {offset}");
        assert_is!(reader.read_at(offset, &mut buf), Ok(0));
    }
    let mut text = String::new();
    resource.cursor(OnLap::Error).read_to_string(&mut text).unwrap();
    assert_eq!(text, "abc");
}

fn a_reader_ahead_of_the_live_edge_gets_its_bytes_when_they_come<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    cursor.seek_to(40).unwrap();
    assert_eq!(cursor.lag(), 0);
    assert_eq!(cursor.try_read(&mut [0; 4]), Err(ReadError::NotYet));
    let sleeper = Sleeper::start(move || {
        let mut buf = [0; 4];
        cursor.read_exact(&mut buf).unwrap();
        (buf, cursor.position())
    });
    writer.append(&[b'-'; 40]).unwrap();
    assert!(sleeper.still_waits());
    writer.append(b"here").unwrap();
    assert_eq!(sleeper.wakes_with(), (*b"here", 44));
}

fn bytes_that_are_there_stay_as_they_are<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdef").unwrap();
    // A reconnect that sends some again, and would have it otherwise.
    writer.write_at(2, b"CDEFgh").unwrap();
    writer.write_at(0, b"XYZ").unwrap();
    assert_eq!(writer.try_write_at(4, b"EFGHij").unwrap(), 6, "what was trimmed counts as written");
    let mut buf = [0; 10];
    assert_eq!(resource.reader().try_read_at(0, &mut buf), Ok(10));
    assert_eq!(&buf, b"abcdefghij");
    assert_eq!(witness.take(), [Event::Write(0..6), Event::Write(6..8), Event::Write(8..10)]);
}

fn a_read_takes_what_is_there_and_no_more<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdef").unwrap();
    let mut buf = [b'.'; 2 * CAPACITY];
    assert_eq!(resource.reader().try_read_at(4, &mut buf), Ok(2));
    assert_eq!(&buf[..4], b"ef..");
    writer.commit(None).unwrap();
    assert_eq!(resource.reader().try_read_at(1, &mut buf), Ok(5));
    assert_eq!(&buf[..7], b"bcdef..");
}

fn commit_none_ends_at_the_last_byte_written<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"ten bytes.").unwrap();
    writer.commit(None).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 10 });
    assert_eq!(resource.reader().final_len(), Some(10));
    assert_eq!(witness.take(), [Event::Write(0..10), Event::Commit(10)]);
    assert_is!(writer.append(b"x"), Err(StorageError::Committed));
    assert_is!(writer.commit(None), Err(StorageError::Committed));
}

fn commit_some_ends_at_the_given_length<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"ten bytes.").unwrap();
    writer.commit(Some(10)).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 10 });
    assert_eq!(witness.take(), [Event::Write(0..10), Event::Commit(10)]);
}

fn a_commit_beyond_the_last_byte_is_refused_and_changes_nothing<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    witness.take();
    match writer.commit(Some(5)) {
        Err(StorageError::Hole { hole }) if !K::FORGETS => assert_eq!(hole, Span { start: 3, end: 5 }),
        Err(StorageError::NotLiveEdge { final_len: 5, end: 3 }) if K::FORGETS => {}
        other => panic!("unexpected: {other:?}"),
    }
    assert_is!(writer.commit(Some(u64::MAX)), Err(_));
    assert_eq!(resource.status(), ResourceStatus::Active);
    assert_eq!(witness.take(), []);
    writer.append(b"de").unwrap();
    writer.commit(Some(5)).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 5 });
}

fn an_empty_resource_can_be_committed<K: Kind>() {
    for final_len in [None, Some(0)] {
        let resource = K::open();
        resource.writer().unwrap().commit(final_len).unwrap();
        assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 0 });
        assert_eq!(resource.reader().try_read_at(0, &mut [0]), Ok(0));
        assert_is!(resource.reader().wait_range(0..1), Ok(WaitOutcome::Eof));
        assert_is!(resource.reader().wait_range(0..0), Ok(WaitOutcome::Ready));
    }
}

fn what_can_be_read_is_told_alike_by_every_question<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    assert!(reader.available().is_empty());
    assert_eq!(reader.live_edge(), 0);
    let mut end = 0;
    for piece in [1, 20, 30, 40, 7, 64] {
        writer.append(&vec![b'x'; piece]).unwrap();
        end += piece as u64;
        let start = if K::FORGETS { end.saturating_sub(CAPACITY as u64) } else { 0 };
        assert_eq!(reader.live_edge(), end);
        assert_eq!(writer.position(), end);
        assert_eq!(reader.available(), RangeSet::from_iter(std::iter::once(start..end)));
        assert_eq!(reader.valid_window(), K::FORGETS.then_some(Span { start, end }));
        for range in [start..end, start..start, start..start + 1, end - 1..end, end..end, end + 5..end + 5] {
            assert!(reader.contains_range(range.clone()), "{range:?}");
            assert_is!(reader.wait_range_timeout(range, Duration::ZERO), Ok(WaitOutcome::Ready));
        }
        assert!(!reader.contains_range(end..end + 1));
        assert!(!reader.contains_range(start..end + 1));
        if start > 0 {
            assert!(!reader.contains_range(start - 1..start + 1));
            assert_is!(
                reader.try_read_at(start - 1, &mut [0]),
                Err(ReadError::Evicted { window }) if window == Span { start, end }
            );
        }
    }
    writer.commit(None).unwrap();
    assert_eq!(reader.live_edge(), end);
    assert!(!reader.contains_range(end..end + 1));
}

fn nothing_is_written_past_the_largest_offset<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    for offset in [MAX_OFFSET, MAX_OFFSET + 1, u64::MAX - 1, u64::MAX] {
        assert_is!(writer.write_at(offset, b"xy"), Err(StorageError::OffsetOverflow { .. }));
        assert_is!(writer.try_write_at(offset, b"xy"), Err(StorageError::OffsetOverflow { .. }));
    }
    assert_eq!(witness.take(), []);
    assert_eq!(resource.reader().live_edge(), 0);
    writer.append(b"fine").unwrap();
    writer.commit(None).unwrap();
}

/// Once, a blocking read at `u64::MAX` waited for the empty range there, found it ready, found no byte, and so on for
/// ever, with no regard to its timeout.
fn a_read_past_the_largest_offset_ends_with_the_reason<K: Kind>() {
    let resource = K::open();
    let _writer = resource.writer().unwrap();
    let reader = resource.reader();
    for offset in [MAX_OFFSET, u64::MAX - 1, u64::MAX] {
        assert_is!(reader.read_at(offset, &mut [0]), Err(StorageError::OffsetOverflow { .. }));
        assert_is!(reader.read_at_timeout(offset, &mut [0], Duration::ZERO), Err(StorageError::OffsetOverflow { .. }));
        let mut cursor = resource.cursor(OnLap::Error);
        cursor.seek_to(offset).unwrap();
        assert_is!(cursor.read(&mut [0]), Err(error) if error.kind() == ErrorKind::InvalidInput);
    }
}

fn a_wait_past_the_largest_offset_ends_with_the_reason<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    for range in [MAX_OFFSET..MAX_OFFSET + 1, MAX_OFFSET - 1..u64::MAX, u64::MAX - 1..u64::MAX] {
        assert_is!(reader.wait_range(range), Err(StorageError::OffsetOverflow { .. }));
    }
    assert_is!(reader.wait_range_timeout(MAX_OFFSET - 1..MAX_OFFSET, Duration::ZERO), Ok(WaitOutcome::TimedOut));
    assert_is!(reader.wait_range(u64::MAX..u64::MAX), Ok(WaitOutcome::Ready));
    writer.commit(None).unwrap();
    assert_is!(reader.wait_range(MAX_OFFSET..u64::MAX), Ok(WaitOutcome::Eof));
}

fn copying_with_std_io_loses_nothing<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    let text: Vec<u8> = (0..5_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let source = text.clone();
    let (ask, asked) = std::sync::mpsc::channel();
    let writing = std::thread::spawn(move || {
        for piece in source.chunks(CAPACITY / 2) {
            // No more than the slowest kind keeps.
            asked.recv().unwrap();
            writer.write_all(piece).unwrap();
        }
        writer.flush().unwrap();
        writer.commit(None).unwrap();
    });
    let mut copy = Vec::new();
    while copy.len() < text.len() {
        ask.send(()).unwrap();
        let mut piece = vec![0; (CAPACITY / 2).min(text.len() - copy.len())];
        cursor.read_exact(&mut piece).unwrap();
        copy.extend(piece);
    }
    assert_eq!(cursor.read_to_end(&mut copy).unwrap(), 0);
    assert_eq!(copy, text);
    writing.join().unwrap();
}
