//! How a resource ends, by whom, and how it begins again, over each kind of driver.

mod kinds;
mod threads;

use kinds::{CAPACITY, Kind, over_every_kind};
use roundelay::{
    CancelToken, OnLap, ReadError, Reader, Resource, ResourceStatus, RingDriver, RingOptions, Span, StorageError,
    WaitOutcome,
};
use std::{
    error::Error,
    io::{self, ErrorKind, Read, Write},
    time::Duration,
};
use threads::{Sleeper, assert_is};

over_every_kind!(
    after_a_failure_what_is_there_stays_readable,
    after_a_cancellation_what_is_there_stays_readable,
    the_first_verdict_stands,
    dropping_the_writer_without_a_commit_is_a_failure,
    dropping_the_writer_after_a_verdict_changes_nothing,
    a_writer_that_panics_fails_the_resource_and_wakes_its_readers,
    there_is_one_writer_at_a_time,
    nothing_is_written_after_a_verdict,
    a_token_cancels_every_resource_that_was_opened_with_it,
    a_child_token_is_cancelled_with_its_parent_and_not_the_other_way_round,
    a_cancelled_token_opens_nothing,
    readers_outlive_the_writer_and_the_resource,
    reactivate_goes_on_at_the_end,
    reactivate_is_refused_while_the_resource_is_active_or_has_a_writer,
    reactivate_is_refused_after_the_token_was_cancelled,
    readers_of_a_committed_generation_keep_their_end,
    readers_of_a_failed_generation_keep_their_end,
    a_generation_that_was_evicted_whole_still_has_its_end,
    a_refreshed_handle_reads_on_in_the_new_generation,
    each_generation_has_its_own_verdict,
    errors_travel_through_io_with_their_kind,
    an_interrupter_reaches_its_handle_in_the_next_generation,
);

fn is_failed(status: ResourceStatus, with: &str) -> bool {
    matches!(status, ResourceStatus::Failed(reason) if reason.to_string() == with)
}

fn read_all<K: Kind>(reader: &Reader<K::Driver>, from: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4 * CAPACITY];
    let n = reader.try_read_at(from, &mut bytes).unwrap();
    bytes.truncate(n);
    bytes
}

fn after_a_failure_what_is_there_stays_readable<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"played out").unwrap();
    writer.fail(StorageError::other("the station went away"));
    assert!(is_failed(resource.status(), "the station went away"));
    let reader = resource.reader();
    assert_eq!(read_all::<K>(&reader, 0), b"played out");
    assert!(reader.contains_range(0..10));
    assert_is!(reader.wait_range(0..10), Ok(WaitOutcome::Ready));
    assert_eq!(reader.try_read_at(10, &mut [0]), Err(ReadError::Failed));
    assert_is!(
        reader.read_at(10, &mut [0]),
        Err(StorageError::Failed(reason)) if reason.to_string() == "the station went away"
    );
    assert_is!(reader.wait_range(5..11), Err(StorageError::Failed(_)));
    assert_is!(reader.wait_range_timeout(5..11, Duration::ZERO), Err(StorageError::Failed(_)));
    let mut text = Vec::new();
    let error = resource.cursor(OnLap::Error).read_to_end(&mut text).unwrap_err();
    assert_eq!(text, b"played out", "all of it comes before the error");
    assert_eq!(error.to_string(), "the resource failed: the station went away");
}

fn after_a_cancellation_what_is_there_stays_readable<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"played out").unwrap();
    resource.cancel();
    assert_eq!(resource.status(), ResourceStatus::Cancelled);
    let reader = resource.reader();
    assert_eq!(read_all::<K>(&reader, 0), b"played out");
    assert_is!(reader.wait_range(0..10), Ok(WaitOutcome::Ready));
    assert_eq!(reader.try_read_at(10, &mut [0]), Err(ReadError::Cancelled));
    assert_is!(reader.read_at(10, &mut [0]), Err(StorageError::Cancelled));
    assert_is!(reader.wait_range(5..11), Err(StorageError::Cancelled));
    let mut text = Vec::new();
    assert_is!(resource.cursor(OnLap::Error).read_to_end(&mut text), Err(_));
    assert_eq!(text, b"played out");
}

fn the_first_verdict_stands<K: Kind>() {
    type Verdict<D> = fn(&Resource<D>, &mut roundelay::Writer<D>);
    let verdicts: [Verdict<K::Driver>; 3] = [
        |_, writer| _ = writer.commit(None),
        |_, writer| writer.fail(StorageError::other("verdict")),
        |resource, _| resource.cancel(),
    ];
    for first in 0..3 {
        for second in 0..3 {
            let token = CancelToken::new();
            let resource = K::open_with(token.clone()).unwrap();
            let mut writer = resource.writer().unwrap();
            verdicts[first](&resource, &mut writer);
            verdicts[second](&resource, &mut writer);
            resource.fail(StorageError::other("too late"));
            token.cancel();
            match first {
                0 => assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 0 }),
                1 => assert!(is_failed(resource.status(), "verdict")),
                _ => assert_eq!(resource.status(), ResourceStatus::Cancelled),
            }
        }
    }
}

fn dropping_the_writer_without_a_commit_is_a_failure<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let reader = resource.reader();
    let sleeper = Sleeper::start(move || reader.wait_range(0..10));
    assert!(sleeper.still_waits());
    drop(writer);
    assert_is!(
        sleeper.wakes_with(),
        Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::WriterDropped)
    );
    assert_is!(resource.status(), ResourceStatus::Failed(reason) if matches!(*reason, StorageError::WriterDropped));
    assert_eq!(read_all::<K>(&resource.reader(), 0), b"abc");
}

fn dropping_the_writer_after_a_verdict_changes_nothing<K: Kind>() {
    let resource = K::open();
    let writer = resource.writer().unwrap();
    resource.cancel();
    drop(writer);
    assert_eq!(resource.status(), ResourceStatus::Cancelled);

    let resource = K::open();
    resource.writer().unwrap().commit(None).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 0 });

    let resource = K::open();
    resource.writer().unwrap().fail(StorageError::other("verdict"));
    assert!(is_failed(resource.status(), "verdict"));
}

fn a_writer_that_panics_fails_the_resource_and_wakes_its_readers<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let sleeper = Sleeper::start(move || reader.wait_range(0..10));
    let writing = std::thread::spawn(move || {
        writer.append(b"abc").unwrap();
        std::panic::resume_unwind(Box::new("a bug of the user's"));
    });
    assert!(writing.join().is_err());
    assert_is!(
        sleeper.wakes_with(),
        Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::WriterDropped)
    );
}

fn there_is_one_writer_at_a_time<K: Kind>() {
    let resource = K::open();
    let writer = resource.writer().unwrap();
    assert_is!(resource.writer(), Err(StorageError::WriterTaken));
    assert_is!(resource.clone().writer(), Err(StorageError::WriterTaken));
    assert_eq!(resource.status(), ResourceStatus::Active, "asking for one does no harm");
    drop(writer);
    assert_is!(
        resource.writer(),
        Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::WriterDropped)
    );
}

fn nothing_is_written_after_a_verdict<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    resource.fail(StorageError::other("verdict"));
    for error in [
        writer.append(b"d").unwrap_err(),
        writer.try_append(b"d").map(drop).unwrap_err(),
        writer.append_timeout(b"d", Duration::ZERO).map(drop).unwrap_err(),
        writer.write_at(9, b"d").unwrap_err(),
        writer.try_write_at(9, b"d").map(drop).unwrap_err(),
        writer.write_at_timeout(9, b"d", Duration::ZERO).map(drop).unwrap_err(),
        writer.commit(None).unwrap_err(),
        writer.commit(Some(3)).unwrap_err(),
    ] {
        assert_is!(error, StorageError::Failed(reason) if reason.to_string() == "verdict");
    }
    assert_is!(writer.write(b"d"), Err(_));
    assert_eq!(resource.reader().live_edge(), 3);

    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.commit(None).unwrap();
    assert_is!(writer.append(b"d"), Err(StorageError::Committed));
    drop(writer);
    assert_is!(resource.writer(), Err(StorageError::Committed));

    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    resource.cancel();
    assert_is!(writer.append(b"d"), Err(StorageError::Cancelled));
    assert_is!(writer.commit(None), Err(StorageError::Cancelled));
    drop(writer);
    assert_is!(resource.writer(), Err(StorageError::Cancelled));
}

fn a_token_cancels_every_resource_that_was_opened_with_it<K: Kind>() {
    let token = CancelToken::new();
    let resources = [K::open_with(token.clone()).unwrap(), K::open_with(token.clone()).unwrap()];
    let other = K::open();
    let sleepers = resources.clone().map(|resource| {
        let reader = resource.reader();
        Sleeper::start(move || reader.wait_range(0..1))
    });
    drop(K::open_with(token.clone()).unwrap());
    assert!(!token.is_cancelled());
    token.cancel();
    token.cancel();
    assert!(token.is_cancelled());
    for sleeper in sleepers {
        assert_is!(sleeper.wakes_with(), Err(StorageError::Cancelled));
    }
    for resource in resources {
        assert_eq!(resource.status(), ResourceStatus::Cancelled);
    }
    assert_eq!(other.status(), ResourceStatus::Active);
}

fn a_child_token_is_cancelled_with_its_parent_and_not_the_other_way_round<K: Kind>() {
    let parent = CancelToken::new();
    let (child, sibling) = (parent.child_token(), parent.child_token());
    let of_parent = K::open_with(parent.clone()).unwrap();
    let of_child = K::open_with(child.clone()).unwrap();
    let of_sibling = K::open_with(sibling.child_token()).unwrap();
    child.cancel();
    assert_eq!(of_child.status(), ResourceStatus::Cancelled);
    assert_eq!(of_parent.status(), ResourceStatus::Active);
    assert_eq!(of_sibling.status(), ResourceStatus::Active);
    parent.cancel();
    assert_eq!(of_parent.status(), ResourceStatus::Cancelled);
    assert_eq!(of_sibling.status(), ResourceStatus::Cancelled);
    assert!(parent.child_token().is_cancelled());
}

fn a_cancelled_token_opens_nothing<K: Kind>() {
    let token = CancelToken::new();
    token.cancel();
    assert_is!(K::open_with(token), Err(StorageError::Cancelled));
}

fn readers_outlive_the_writer_and_the_resource<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    drop(resource);
    assert_eq!(read_all::<K>(&reader, 0), b"abc");
    let mut text = String::new();
    cursor.read_to_string(&mut text).unwrap();
    assert_eq!(text, "abc");
    assert_eq!(reader.status(), ResourceStatus::Committed { final_len: 3 });
    assert_eq!(reader.clone().try_read_at(3, &mut [0]), Ok(0));
}

fn reactivate_goes_on_at_the_end<K: Kind>() {
    let resource = K::open();
    for (i, verdict) in ["commit", "fail", "cancel", "drop"].into_iter().enumerate() {
        let mut writer = resource.writer().unwrap();
        assert_eq!(writer.position(), 3 * i as u64);
        writer.append(b"abc").unwrap();
        match verdict {
            "commit" => writer.commit(None).unwrap(),
            "fail" => writer.fail(StorageError::other("verdict")),
            "cancel" => resource.cancel(),
            _ => {}
        }
        drop(writer);
        assert_is!(
            resource.status(),
            ResourceStatus::Committed { .. } | ResourceStatus::Failed(_) | ResourceStatus::Cancelled
        );
        resource.reactivate().unwrap();
        assert_eq!(resource.status(), ResourceStatus::Active);
        assert_eq!(resource.reader().final_len(), None);
        assert_eq!(resource.reader().try_read_at(3 * i as u64 + 3, &mut [0]), Err(ReadError::NotYet));
    }
    assert_eq!(read_all::<K>(&resource.reader(), 0), b"abcabcabcabc");
}

fn reactivate_is_refused_while_the_resource_is_active_or_has_a_writer<K: Kind>() {
    let resource = K::open();
    assert_is!(resource.reactivate(), Err(StorageError::Active));
    let mut writer = resource.writer().unwrap();
    assert_is!(resource.reactivate(), Err(StorageError::Active));
    writer.commit(None).unwrap();
    assert_is!(resource.reactivate(), Err(StorageError::WriterTaken));
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 0 });
    drop(writer);
    resource.reactivate().unwrap();
    assert_is!(resource.reactivate(), Err(StorageError::Active));
}

fn reactivate_is_refused_after_the_token_was_cancelled<K: Kind>() {
    let token = CancelToken::new();
    let resource = K::open_with(token.clone()).unwrap();
    resource.writer().unwrap().commit(None).unwrap();
    token.cancel();
    assert_is!(resource.reactivate(), Err(StorageError::Cancelled));
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 0 });

    let token = CancelToken::new();
    let resource = K::open_with(token.clone()).unwrap();
    resource.writer().unwrap().commit(None).unwrap();
    resource.reactivate().unwrap();
    token.cancel();
    assert_eq!(resource.status(), ResourceStatus::Cancelled, "the token reaches every generation");
}

fn readers_of_a_committed_generation_keep_their_end<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"def").unwrap();
    assert_eq!(read_all::<K>(&reader, 0), b"abc");
    assert_eq!(reader.try_read_at(3, &mut [0]), Ok(0));
    assert_eq!(reader.final_len(), Some(3));
    assert_eq!(reader.live_edge(), 3);
    assert!(!reader.contains_range(0..4));
    assert_eq!(reader.available().last().unwrap().end, 3);
    assert_is!(reader.wait_range(3..4), Ok(WaitOutcome::Eof));
    assert_eq!(reader.valid_window(), K::FORGETS.then_some(Span { start: 0, end: 3 }));
    let mut text = String::new();
    cursor.read_to_string(&mut text).unwrap();
    assert_eq!(text, "abc");
}

/// Once, only a committed generation had an end of its own: a reader that had been told of a failure read on, in bytes
/// that came after the failure.
fn readers_of_a_failed_generation_keep_their_end<K: Kind>() {
    for cancelled in [false, true] {
        let resource = K::open();
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        if cancelled {
            resource.cancel();
        }
        drop(writer);
        let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
        let verdict = if cancelled { ReadError::Cancelled } else { ReadError::Failed };
        assert_eq!(reader.try_read_at(3, &mut [0]), Err(verdict));
        resource.reactivate().unwrap();
        resource.writer().unwrap().append(b"def").unwrap();
        assert_eq!(reader.try_read_at(3, &mut [0]), Err(verdict));
        assert_eq!(read_all::<K>(&reader, 0), b"abc");
        assert_eq!(reader.live_edge(), 3);
        assert!(!reader.contains_range(2..4));
        assert_is!(reader.wait_range(2..4), Err(StorageError::Failed(_) | StorageError::Cancelled));
        let mut text = String::new();
        assert_is!(cursor.read_to_string(&mut text), Err(_));
        assert_eq!(cursor.position(), 3);
    }
}

/// Once, a reader at the end of its generation was told that what comes there had been evicted, as soon as a later
/// generation had filled the ring: a decoder that had one read to go got an error in place of its end of file.
fn a_generation_that_was_evicted_whole_still_has_its_end<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::SkipToOldest));
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    for _ in 0..3 {
        writer.append(&[b'x'; CAPACITY]).unwrap();
    }
    for offset in [3, 4, 100] {
        assert_eq!(reader.try_read_at(offset, &mut [0]), Ok(0), "at {offset}");
        assert_is!(reader.wait_range(offset..offset + 1), Ok(WaitOutcome::Eof));
    }
    if K::FORGETS {
        assert_eq!(reader.try_read_at(2, &mut [0]), Err(ReadError::Evicted { window: Span { start: 3, end: 3 } }));
        let mut rest = Vec::new();
        cursor.read_to_end(&mut rest).unwrap();
        assert_eq!((rest.len(), cursor.lost_bytes(), cursor.position()), (0, 3, 3), "no more is lost than there was");
    } else {
        assert_eq!(read_all::<K>(&reader, 0), b"abc");
    }
}

fn a_refreshed_handle_reads_on_in_the_new_generation<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    let (mut reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
    assert!(!reader.refresh(), "there is no newer one");
    let mut buf = [0; 8];
    assert_eq!(cursor.try_read(&mut buf), Ok(3));
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    assert_eq!(cursor.try_read(&mut buf), Ok(0));
    assert!(reader.refresh() && cursor.refresh());
    assert!(!reader.refresh() && !cursor.refresh());
    assert_eq!(cursor.position(), 3, "the position stays");
    assert_eq!(cursor.try_read(&mut buf), Err(ReadError::NotYet));
    assert_eq!(reader.status(), ResourceStatus::Active);
    let sleeper = Sleeper::start(move || {
        let mut buf = [0; 3];
        cursor.read_exact(&mut buf).map(|()| buf)
    });
    writer.append(b"def").unwrap();
    assert_eq!(sleeper.wakes_with().unwrap(), *b"def");
    assert_eq!(read_all::<K>(&reader, 0), b"abcdef");
}

fn each_generation_has_its_own_verdict<K: Kind>() {
    let resource = K::open();
    resource.writer().unwrap().commit(None).unwrap();
    let first = resource.reader();
    resource.reactivate().unwrap();
    resource.writer().unwrap().fail(StorageError::other("second"));
    let second = resource.reader();
    resource.reactivate().unwrap();
    resource.cancel();
    let third = resource.reader();
    assert_eq!(first.status(), ResourceStatus::Committed { final_len: 0 });
    assert!(is_failed(second.status(), "second"));
    assert_eq!(third.status(), ResourceStatus::Cancelled);
    assert_eq!(resource.status(), ResourceStatus::Cancelled);
}

fn errors_travel_through_io_with_their_kind<K: Kind>() {
    let through = |reason: StorageError| {
        let resource = K::open();
        resource.fail(reason);
        resource.cursor(OnLap::Error).read(&mut [0]).unwrap_err()
    };
    let refused = || StorageError::Io(io::Error::from(ErrorKind::ConnectionRefused));
    assert_eq!(through(refused()).kind(), ErrorKind::ConnectionRefused);
    assert_eq!(through(StorageError::WriterDropped).kind(), ErrorKind::BrokenPipe);
    assert_eq!(through(StorageError::other("x")).kind(), ErrorKind::Other);
    // `read_exact` and `read_to_end` try again on `Interrupted`.
    assert_ne!(through(StorageError::Interrupted).kind(), ErrorKind::Interrupted);
    assert_ne!(io::Error::from(StorageError::Interrupted).kind(), ErrorKind::Interrupted);
    let error = through(refused());
    let inside = error.get_ref().expect("the error stays inside").downcast_ref::<StorageError>();
    assert_is!(inside, Some(StorageError::Failed(reason)) if matches!(**reason, StorageError::Io(_)));
    let resource = K::open();
    resource.cancel();
    let error = resource.cursor(OnLap::Error).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert_eq!(io::Error::from(ReadError::NotYet).kind(), ErrorKind::WouldBlock);
    assert_eq!(io::Error::from(ReadError::Ended).kind(), ErrorKind::UnexpectedEof);
    let boxed: Box<dyn Error + Send + Sync> = error.into();
    assert!(!boxed.to_string().is_empty());
}

#[test]
fn a_cause_of_failure_is_never_taken_for_the_end_or_for_a_reason_to_try_again() {
    for kind in [ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::UnexpectedEof] {
        let ring = roundelay::open(RingOptions::new(16)).unwrap();
        let mut cursor = ring.cursor(roundelay::OnLap::Error);
        ring.fail(io::Error::from(kind));
        let error = io::Read::read_to_end(&mut cursor, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert_eq!(io::Error::from(StorageError::Io(kind.into())).kind(), ErrorKind::Other);
    }
}

#[test]
fn a_ring_can_be_committed_only_at_its_live_edge() {
    let resource = Resource::open(CancelToken::new(), RingOptions::new(8)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"0123456789ab").unwrap();
    for asked in [0, 4, 11, 13] {
        assert_is!(
            writer.commit(Some(asked)),
            Err(StorageError::NotLiveEdge { final_len, end: 12 }) if final_len == asked
        );
        assert_eq!(resource.status(), ResourceStatus::Active);
    }
    writer.commit(Some(12)).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 12 });
    assert_eq!(resource.reader().valid_window(), Some(Span { start: 4, end: 12 }), "what was evicted is no hole");
}

#[test]
fn a_discontinuity_of_a_ring_is_no_hole() {
    let resource = Resource::open(CancelToken::new(), RingOptions::new(8)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(100, b"abc").unwrap();
    writer.commit(Some(103)).unwrap();
    assert_eq!(resource.reader().try_read_at(100, &mut [0; 8]), Ok(3));
}

fn a_handle<T: Send>() {}

#[test]
fn handles_go_to_other_threads() {
    a_handle::<roundelay::Writer<RingDriver>>();
    a_handle::<roundelay::Gate>();
    a_handle::<roundelay::Cursor<RingDriver>>();
    a_handle::<roundelay::Interrupter>();
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Reader<RingDriver>>();
    shared::<Resource<RingDriver>>();
    shared::<Resource<kinds::Linear>>();
    shared::<CancelToken>();
    fn copy<T: Copy + Send + Sync + 'static>() {}
    copy::<ReadError>();
    copy::<roundelay::pcm::PcmError>();
}

/// An interrupter once woke the generation that its handle belonged to when it was made: a handle that had gone over to
/// the next one slept on.
fn an_interrupter_reaches_its_handle_in_the_next_generation<K: Kind>() {
    let resource = K::open();
    let (mut reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
    let (of_reader, of_cursor) = (reader.interrupter(), cursor.interrupter());
    resource.writer().unwrap().commit(None).unwrap();
    resource.reactivate().unwrap();
    assert!(reader.refresh() && cursor.refresh());
    let by_reader = Sleeper::start(move || reader.wait_range(0..1));
    let by_cursor = Sleeper::start(move || cursor.read(&mut [0]));
    of_reader.interrupt();
    assert_is!(by_reader.wakes_with(), Ok(WaitOutcome::Interrupted));
    assert!(by_cursor.still_waits());
    of_cursor.interrupt();
    assert_is!(by_cursor.wakes_with(), Err(_));
}
