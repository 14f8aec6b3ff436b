//! Every way in which a resource ends, and what its readers and its observer are told.

mod kinds;
mod threads;
mod witness;

use kinds::{Kind, over_every_kind};
use roundelay::{
    CancelToken, DriverIo, DriverState, MemOptions, OnLap, ReadError, Resource, ResourceStatus, RingOptions,
    StorageError, WaitOutcome, open,
};
use std::{
    io::{Read, Seek, SeekFrom},
    thread,
    time::Duration,
};
use threads::{Sleeper, assert_is};

over_every_kind!(
    a_resource_that_nobody_can_write_has_failed,
    a_writer_outlives_its_resource,
    a_reactivated_resource_that_is_dropped_has_failed,
    a_clone_can_still_take_the_writer,
    a_given_length_ends_reads_before_the_commit,
    a_wait_beyond_a_given_length_ends_at_once,
    a_failure_comes_before_a_given_length,
    a_write_beyond_a_given_length_is_refused,
    a_wait_for_the_end_ends_with_the_verdict,
);

/// A resource whose length is given.
fn of_length<K: Kind>(len: u64) -> Resource<K::Driver> {
    let state = DriverState { final_len: Some(len), ..DriverState::default() };
    Resource::from_driver(CancelToken::new(), K::driver(), state).unwrap()
}

/// Readers waited for ever for a writer that nobody could take any more.
fn a_resource_that_nobody_can_write_has_failed<K: Kind>() {
    let resource = K::open();
    let reader = resource.reader();
    let waiting = resource.reader();
    let sleeper = Sleeper::start(move || waiting.read_at(0, &mut [0]));
    drop(resource);
    assert_is!(sleeper.wakes_with(), Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::WriterDropped));
    assert_is!(reader.status(), ResourceStatus::Failed(reason) if matches!(*reason, StorageError::WriterDropped));
}

fn a_writer_outlives_its_resource<K: Kind>() {
    let resource = K::open();
    let reader = resource.reader();
    let mut writer = resource.writer().unwrap();
    drop(resource);
    writer.append(b"still here").unwrap();
    assert_is!(reader.status(), ResourceStatus::Active);
    writer.commit(None).unwrap();
    drop(writer);
    assert_eq!(reader.status(), ResourceStatus::Committed { final_len: 10 });
}

fn a_reactivated_resource_that_is_dropped_has_failed<K: Kind>() {
    let resource = K::open();
    resource.writer().unwrap().append(b"first").unwrap();
    let old = resource.reader();
    resource.reactivate().unwrap();
    let reader = resource.reader();
    assert_is!(reader.status(), ResourceStatus::Active);
    drop(resource);
    assert_is!(reader.read_at(5, &mut [0]), Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::WriterDropped));
    assert_eq!(reader.read_at(0, &mut [0; 9]).unwrap(), 5, "what is there stays readable");
    assert_is!(old.status(), ResourceStatus::Failed(_));
}

fn a_clone_can_still_take_the_writer<K: Kind>() {
    let resource = K::open();
    let clone = resource.clone();
    drop(resource);
    let reader = clone.reader();
    assert_is!(reader.status(), ResourceStatus::Active);
    let mut writer = clone.writer().unwrap();
    drop(clone);
    writer.commit(None).unwrap();
    assert_is!(reader.status(), ResourceStatus::Committed { final_len: 0 });
}

/// A reader that had all bytes of a file waited for the commit, which may take a while: it syncs.
fn a_given_length_ends_reads_before_the_commit<K: Kind>() {
    let resource = of_length::<K>(10);
    let reader = resource.reader();
    let mut writer = resource.writer().unwrap();
    assert_eq!(reader.try_read_at(10, &mut [0]), Ok(0), "nothing lies there, whatever comes");
    assert_eq!(reader.try_read_at(9, &mut [0]), Err(ReadError::NotYet));
    writer.append(b"0123456789").unwrap();
    for offset in [10, 11, u64::MAX] {
        assert_eq!(reader.try_read_at(offset, &mut [0; 4]), Ok(0), "at {offset}");
        assert_eq!(reader.read_at(offset, &mut [0; 4]).unwrap(), 0, "at {offset}");
    }
    let (mut cursor, mut text) = (resource.cursor(OnLap::Error), String::new());
    cursor.read_to_string(&mut text).unwrap();
    assert_eq!(text, "0123456789");
    assert_eq!(cursor.seek(SeekFrom::End(-3)).unwrap(), 7);
    assert_eq!(reader.status(), ResourceStatus::Active);
    writer.commit(None).unwrap();
    assert_eq!((reader.final_len(), reader.expected_len()), (Some(10), None));
}

fn a_wait_beyond_a_given_length_ends_at_once<K: Kind>() {
    let resource = of_length::<K>(10);
    let (reader, mut writer) = (resource.reader(), resource.writer().unwrap());
    assert_eq!(reader.wait_range(10..11).unwrap(), WaitOutcome::Eof);
    assert_eq!(reader.wait_range(30..70).unwrap(), WaitOutcome::Eof);
    let waiting = resource.reader();
    let sleeper = Sleeper::start(move || waiting.wait_range(5..20));
    writer.append(b"012345678").unwrap();
    assert!(sleeper.still_waits());
    writer.append(b"9").unwrap();
    assert_eq!(sleeper.wakes_with().unwrap(), WaitOutcome::Ready);
    assert!(!reader.contains_range(5..20));
}

fn a_failure_comes_before_a_given_length<K: Kind>() {
    let resource = of_length::<K>(4);
    let reader = resource.reader();
    let mut writer = resource.writer().unwrap();
    writer.append(b"0123").unwrap();
    writer.fail(StorageError::other("the checksum is another one"));
    assert_eq!(reader.try_read_at(0, &mut [0; 9]), Ok(4));
    assert_eq!(reader.try_read_at(4, &mut [0; 9]), Err(ReadError::Failed));
    assert_is!(reader.wait_range(4..5), Err(StorageError::Failed(_)));
}

fn a_write_beyond_a_given_length_is_refused<K: Kind>() {
    let resource = of_length::<K>(4);
    let mut writer = resource.writer().unwrap();
    assert_is!(writer.append(b"01234"), Err(StorageError::BeyondLength { end: 5, len: 4 }));
    writer.append(b"01").unwrap();
    assert_is!(writer.try_append(b"234"), Err(StorageError::BeyondLength { end: 5, len: 4 }));
    assert_is!(writer.write_at(u64::MAX, b"x"), Err(StorageError::OffsetOverflow { .. }));
    writer.append(b"23").unwrap();
    assert_is!(writer.append(b"4"), Err(StorageError::BeyondLength { end: 5, len: 4 }));
    writer.append(b"").unwrap();
    writer.commit(None).unwrap();
    assert_eq!(resource.reader().final_len(), Some(4));
}

fn a_wait_for_the_end_ends_with_the_verdict<K: Kind>() {
    let resource = of_length::<K>(4);
    let (reader, mut writer) = (resource.reader(), resource.writer().unwrap());
    assert_is!(reader.wait_end_timeout(Duration::ZERO), Err(StorageError::TimedOut));
    reader.interrupter().interrupt();
    assert_is!(reader.wait_end(), Err(StorageError::Interrupted));
    let waiting = resource.reader();
    let sleeper = Sleeper::start(move || waiting.wait_end());
    writer.append(b"0123").unwrap();
    assert!(sleeper.still_waits(), "all bytes are there, and nobody has committed");
    writer.commit(None).unwrap();
    assert_eq!(sleeper.wakes_with().unwrap(), 4);
    assert_eq!(reader.wait_end_timeout(Duration::ZERO).unwrap(), 4);
    drop(writer);
    resource.reactivate().unwrap();
    let waiting = resource.reader();
    let sleeper = Sleeper::start(move || waiting.wait_end());
    resource.cancel();
    assert_is!(sleeper.wakes_with(), Err(StorageError::Cancelled));
    resource.reactivate().unwrap();
    let waiting = resource.reader();
    let sleeper = Sleeper::start(move || waiting.wait_end());
    resource.fail(StorageError::other("gone"));
    assert_is!(sleeper.wakes_with(), Err(StorageError::Failed(_)));
}

#[test]
fn a_fetcher_whose_thread_panics_fails_the_resource() {
    let resource = open(MemOptions { len: Some(10), ..MemOptions::default() }).unwrap();
    let reader = resource.reader();
    let fetcher = resource.writer().unwrap().into_fetcher();
    drop(resource);
    let panicked = thread::spawn(move || {
        let mut claim = fetcher.wait_claim(4).unwrap().unwrap();
        claim.append(b"01").unwrap();
        std::panic::resume_unwind(Box::new("the connection's thread"));
    });
    panicked.join().unwrap_err();
    assert_is!(reader.status(), ResourceStatus::Failed(reason) if matches!(*reason, StorageError::WriterDropped));
}

#[test]
fn a_fetcher_over_a_ring_that_is_dropped_fails_it() {
    let resource = open(RingOptions::new(64)).unwrap();
    let reader = resource.reader();
    let fetcher = resource.writer().unwrap().into_fetcher();
    drop(resource);
    assert_is!(fetcher.next_claim(1), Err(StorageError::Unsupported(_)));
    assert_is!(reader.status(), ResourceStatus::Active);
    drop(fetcher);
    assert_is!(reader.status(), ResourceStatus::Failed(reason) if matches!(*reason, StorageError::WriterDropped));
}

// ---- generations that follow a commit ----

/// The length was given for the first whole. What follows may have another, and all that it inherits is there.
#[test]
fn a_given_length_ends_with_its_commit() {
    let resource = open(MemOptions { len: Some(4), ..MemOptions::default() }).unwrap();
    resource.writer().unwrap().append(b"abcd").unwrap();
    resource.reactivate().unwrap();
    assert_eq!(resource.reader().expected_len(), Some(4), "it was given up, not committed");
    resource.writer().unwrap().commit(None).unwrap();
    assert_eq!(resource.reader().expected_len(), None);
    resource.reactivate().unwrap();
    let reader = resource.reader();
    assert_eq!((reader.expected_len(), reader.live_edge()), (None, 4));
    assert_eq!(reader.try_read_at(4, &mut [0]), Err(ReadError::NotYet), "it may become longer");
    let mut writer = resource.writer().unwrap();
    writer.append(b"efgh").unwrap();
    writer.commit(None).unwrap();
    assert_eq!(resource.reader().final_len(), Some(8));
}

#[test]
fn no_claims_after_a_commit() {
    let resource = open(MemOptions { len: Some(4), ..MemOptions::default() }).unwrap();
    let fetcher = resource.writer().unwrap().into_fetcher();
    let mut claim = fetcher.next_claim(4).unwrap().unwrap();
    claim.append(b"abcd").unwrap();
    drop(claim);
    assert_is!(fetcher.next_claim(4), Ok(None));
    assert_is!(fetcher.wait_claim(4), Ok(None));
    assert_eq!(fetcher.missing(), 0);
    drop(fetcher);
    resource.reactivate().unwrap();
    let fetcher = resource.writer().unwrap().into_fetcher();
    assert_is!(fetcher.next_claim(4), Err(StorageError::Unsupported(why)) if why.contains("first commit"));
    assert_is!(resource.status(), ResourceStatus::Active);
}

// ---- how much a writer may write ----

#[test]
fn room_counts_capacity_and_length() {
    let resource = open(MemOptions { capacity_bytes: Some(10), ..MemOptions::default() }).unwrap();
    let mut writer = resource.writer().unwrap();
    assert_eq!(writer.room(), 10);
    writer.append(b"0123").unwrap();
    assert_eq!(writer.room(), 6);
    assert_eq!(writer.try_append(&[7; 6]).unwrap(), 6);
    assert_eq!(writer.room(), 0);
    assert_is!(writer.try_append(b"x"), Err(StorageError::CapacityExceeded { needed: 11, capacity: 10 }));
    writer.commit(None).unwrap();
    assert_eq!(writer.room(), 0);

    let resource = open(MemOptions { len: Some(6), capacity_bytes: Some(10), ..MemOptions::default() }).unwrap();
    assert_eq!(resource.writer().unwrap().room(), 6);
    assert_eq!(of_length::<kinds::OwnLinear>(6).writer().unwrap().room(), 6);
    assert_eq!(of_length::<kinds::Ring>(6).writer().unwrap().room(), 6);
    let resource = open(RingOptions::new(64)).unwrap();
    let mut writer = resource.writer().unwrap();
    let _gate = writer.gate();
    assert_eq!(writer.room(), 64);
    resource.cancel();
    assert_eq!(writer.room(), 0);
}

/// Three bytes were said to be too many, of a segment of 2^59.
#[test]
fn out_of_memory_names_what_was_asked_for() {
    let resource = open(MemOptions::default()).unwrap();
    let mut writer = resource.writer().unwrap();
    assert_is!(writer.write_at(1 << 60, b"abc"), Err(StorageError::OutOfMemory { bytes }) if bytes >= 1 << 59);
    writer.append(b"still active").unwrap();
}

/// The docs said that it ends behind the last byte written.
fn keeps_the_tail<D: DriverIo>(resource: &Resource<D>, until_commit: Option<u64>, expected: &[u8]) {
    let mut writer = resource.writer().unwrap();
    writer.append(b"the old one").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, b"a new").unwrap();
    let reader = resource.reader();
    assert!(reader.contains_range(0..11), "what is inherited is there");
    writer.commit(until_commit).unwrap();
    let mut bytes = Vec::new();
    resource.cursor(OnLap::Error).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
    assert_eq!(resource.reader().final_len(), Some(expected.len() as u64));
}

#[test]
fn commit_none_of_a_shorter_rewrite_drops_nothing() {
    fn check<K: Kind>() {
        keeps_the_tail(&K::open(), None, b"a newld one");
        keeps_the_tail(&K::open(), Some(5), b"a new");
    }
    check::<kinds::Mem>();
    check::<kinds::Mmap>();
    check::<kinds::Any<kinds::Mmap>>();
    check::<kinds::OwnLinear>();
}
