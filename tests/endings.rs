//! Every way in which a resource ends, and what its readers and its observer are told.

mod kinds;
mod threads;
mod witness;

use kinds::{Kind, over_every_kind};
use roundelay::{MemOptions, ResourceStatus, RingOptions, StorageError, open};
use std::thread;
use threads::{Sleeper, assert_is};

over_every_kind!(
    a_resource_that_nobody_can_write_has_failed,
    a_writer_outlives_its_resource,
    a_reactivated_resource_that_is_dropped_has_failed,
    a_clone_can_still_take_the_writer,
);

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
