//! `DriverIoMock`: a driver made of expectations, in a resource by `Resource::from_driver`. What a driver fails at is
//! reported as that, and nothing is reported that did not happen.

mod threads;
mod witness;

use roundelay::{
    AnyDriver, CancelToken, DriverIo, DriverIoMock, DriverState, OnLap, ReadError, Resource, ResourceStatus, Span,
    StorageError, WaitOutcome,
};
use std::{
    io::Read,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use threads::{Sleeper, assert_is, must_end};
use unimock::{Clause, MockFn, Unimock, matching};
use witness::{Event, Witness};

/// A resource over a driver that does what `clauses` say; and what its observer is told.
fn mocked(clauses: impl Clause) -> (Resource<Unimock>, Arc<Witness>) {
    let witness = Witness::new();
    let (cancel, driver) = (CancelToken::new(), Unimock::new(clauses));
    let resource = Resource::from_driver_observed(cancel, driver, DriverState::default(), witness.clone());
    (resource.unwrap(), witness)
}

/// Takes whatever is written.
fn writes() -> impl Clause {
    DriverIoMock::write_at.each_call(matching!(_, _, false)).answers(&|_, _, _, _| Ok(()))
}

fn broken(what: &str) -> StorageError {
    StorageError::other(format!("{what} is broken"))
}

fn is_broken(error: &StorageError, what: &str) -> bool {
    matches!(error, StorageError::Failed(reason) if reason.to_string() == format!("{what} is broken"))
}

fn waits(resource: &Resource<Unimock>, range: Range<u64>) -> Sleeper<Result<WaitOutcome, StorageError>> {
    let reader = resource.reader();
    Sleeper::start(move || reader.wait_range(range))
}

#[test]
fn what_is_not_mentioned_and_has_a_default_does_what_it_does_by_default() {
    let driver = Unimock::new(());
    assert_eq!(driver.valid_window(), None);
    assert!(!driver.try_fast_check(&(0..1)));
    assert_eq!(driver.room(0), u64::MAX);
    assert!(!driver.rewrites());
    driver.notify_write(&(0..1));
    drop(mocked(()));
}

#[test]
fn a_driver_is_called_in_the_order_of_the_contract() {
    let (resource, witness) = mocked((
        DriverIoMock::write_at.next_call(matching!((0, data, false) if *data == b"abc")).answers(&|_, _, _, _| Ok(())),
        DriverIoMock::notify_write.next_call(matching!((range) if *range == &(0..3))).returns(()),
        DriverIoMock::write_at.next_call(matching!((3, data, false) if *data == b"def")).answers(&|_, _, _, _| Ok(())),
        DriverIoMock::notify_write.next_call(matching!((range) if *range == &(3..6))).returns(()),
        DriverIoMock::commit.next_call(matching!(Some(6))).answers(&|_, _| Ok(())),
        DriverIoMock::storage_len.next_call(matching!()).returns(6_u64),
        DriverIoMock::read_at.next_call(matching!(1, _, 6)).answers(&|_, _, buf, _| {
            buf.copy_from_slice(b"bcdef");
            Ok(5)
        }),
        DriverIoMock::reactivate.next_call(matching!()).answers(&|_| Ok(())),
    ));
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.write_at(0, b"ABCdef").unwrap();
    writer.commit(Some(6)).unwrap();
    drop(writer);
    let mut text = [0; 10];
    assert_eq!(resource.reader().try_read_at(1, &mut text), Ok(5));
    assert_eq!(&text[..5], b"bcdef");
    resource.reactivate().unwrap();
    assert_eq!(witness.take(), [Event::Write(0..3), Event::Write(3..6), Event::Commit(6)]);
}

#[test]
fn a_write_that_fails_is_no_write_and_ends_the_waits_with_its_reason() {
    must_end(|| {
        let (resource, witness) = mocked((
            DriverIoMock::write_at.next_call(matching!(0, _, false)).answers(&|_, _, _, _| Ok(())),
            DriverIoMock::notify_write.next_call(matching!((range) if *range == &(0..3))).returns(()),
            // Of this one the driver is not notified: a second call would be a failure of the mock.
            DriverIoMock::write_at.next_call(matching!(3, _, false)).answers(&|_, _, _, _| Err(broken("the disk"))),
        ));
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        let sleeper = waits(&resource, 0..6);
        assert_is!(writer.append(b"def"), Err(error) if is_broken(&error, "the disk"));
        assert_is!(sleeper.wakes_with(), Err(error) if is_broken(&error, "the disk"));
        assert_is!(resource.status(), ResourceStatus::Failed(reason) if reason.to_string() == "the disk is broken");
        assert_eq!(resource.reader().available(), [0..3].into_iter().collect());
        assert_eq!(writer.position(), 3);
        assert_is!(writer.append(b"def"), Err(error) if is_broken(&error, "the disk"));
        assert_is!(writer.commit(Some(3)), Err(error) if is_broken(&error, "the disk"));
        drop(writer);
        assert_eq!(witness.take(), [Event::Write(0..3), Event::Fail("the disk is broken".into())]);
    });
}

#[test]
fn a_commit_that_fails_is_no_commit_and_ends_the_waits_with_its_reason() {
    must_end(|| {
        let commit = DriverIoMock::commit.next_call(matching!(Some(2))).answers(&|_, _| Err(broken("the folder")));
        let (resource, witness) = mocked((writes(), commit));
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        let sleeper = waits(&resource, 2..4);
        assert_is!(writer.commit(Some(2)), Err(error) if is_broken(&error, "the folder"));
        assert_is!(sleeper.wakes_with(), Err(error) if is_broken(&error, "the folder"));
        assert_is!(resource.status(), ResourceStatus::Failed(reason) if reason.to_string() == "the folder is broken");
        assert_eq!(resource.reader().final_len(), None);
        assert_eq!(resource.reader().available(), [0..3].into_iter().collect(), "nothing was dropped");
        drop(writer);
        assert_eq!(witness.take(), [Event::Write(0..3), Event::Fail("the folder is broken".into())]);
    });
}

#[test]
fn a_commit_over_a_hole_does_not_come_to_the_driver() {
    let (resource, witness) = mocked(writes());
    let mut writer = resource.writer().unwrap();
    writer.write_at(5, b"fgh").unwrap();
    for final_len in [None, Some(8), Some(3)] {
        assert_is!(writer.commit(final_len), Err(StorageError::Hole { .. }));
    }
    assert_is!(writer.commit(None), Err(StorageError::Hole { hole }) if hole == Span { start: 0, end: 5 });
    assert_eq!(resource.status(), ResourceStatus::Active);
    assert_eq!(witness.take(), [Event::Write(5..8)]);
}

#[test]
fn a_reactivate_that_fails_leaves_the_resource_committed_and_can_be_tried_again() {
    must_end(|| {
        let (resource, witness) = mocked((
            writes(),
            DriverIoMock::commit.next_call(matching!(None)).answers(&|_, _| Ok(())),
            DriverIoMock::reactivate.next_call(matching!()).answers(&|_| Err(broken("the folder"))),
            DriverIoMock::reactivate.next_call(matching!()).answers(&|_| Ok(())),
        ));
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        writer.commit(None).unwrap();
        drop(writer);
        let mut reader = resource.reader();
        assert_is!(resource.reactivate(), Err(error) if error.to_string() == "the folder is broken");
        assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 3 });
        assert!(!reader.refresh(), "there is no newer generation");
        assert_is!(reader.wait_range(3..4), Ok(WaitOutcome::Eof));
        assert_is!(resource.writer(), Err(StorageError::Committed));
        resource.reactivate().unwrap();
        assert!(reader.refresh());
        assert_eq!(resource.writer().unwrap().position(), 3);
        let dropped = Event::Fail(StorageError::WriterDropped.to_string());
        assert_eq!(witness.take(), [Event::Write(0..3), Event::Commit(3), dropped]);
    });
}

#[test]
fn a_read_that_fails_fails_the_resource_and_ends_the_waits_with_its_reason() {
    must_end(|| {
        let (resource, witness) = mocked((
            writes(),
            DriverIoMock::storage_len.each_call(matching!()).returns(3_u64),
            DriverIoMock::read_at.each_call(matching!(0, _, 3)).answers(&|_, _, _, _| Err(broken("a sector"))),
        ));
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        let sleeper = waits(&resource, 0..6);
        assert_eq!(resource.reader().try_read_at(0, &mut [0; 3]), Err(ReadError::Failed));
        assert_is!(sleeper.wakes_with(), Err(error) if is_broken(&error, "a sector"));
        assert_is!(resource.reader().read_at(0, &mut [0; 3]), Err(error) if is_broken(&error, "a sector"));
        let error = resource.cursor(OnLap::Error).read(&mut [0; 3]).unwrap_err();
        assert_eq!(error.to_string(), "the resource failed: a sector is broken");
        assert_eq!(witness.take(), [Event::Write(0..3), Event::Fail("a sector is broken".into())]);
    });
}

/// No byte of it reaches the caller, whatever it has put into the buffer.
#[test]
fn a_driver_that_claims_more_bytes_than_it_was_given_room_for_is_found_out() {
    must_end(|| {
        for claim in [4, 8, usize::MAX] {
            let (resource, witness) = mocked((
                writes(),
                DriverIoMock::storage_len.each_call(matching!()).returns(3_u64),
                DriverIoMock::read_at
                    .each_call(matching!(_, _, _))
                    .answers_arc(Arc::new(move |_: &Unimock, _: u64, _: &mut [u8], _: u64| Ok(claim))),
            ));
            let mut writer = resource.writer().unwrap();
            writer.append(b"abc").unwrap();
            let sleeper = waits(&resource, 3..6);
            assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Err(ReadError::Failed));
            assert_is!(sleeper.wakes_with(), Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::Driver(_)));
            assert_is!(&witness.take()[..], [Event::Write(_), Event::Fail(_)]);
        }
    });
}

#[test]
fn a_window_is_believed_in_place_of_an_account_of_ones_own() {
    let end = Arc::new(AtomicU64::new(0));
    let (written, window) = (end.clone(), end.clone());
    let (resource, witness) = mocked((
        DriverIoMock::write_at.each_call(matching!(_, _, false)).answers_arc(Arc::new(
            move |_: &Unimock, offset: u64, data: &[u8], _: bool| {
                written.store(offset + data.len() as u64, SeqCst);
                Ok(())
            },
        )),
        // It keeps four bytes.
        DriverIoMock::valid_window.each_call(matching!()).answers_arc(Arc::new(move |_: &Unimock| {
            let end = window.load(SeqCst);
            Some(end.saturating_sub(4)..end)
        })),
    ));
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.append(b"def").unwrap();
    let window = Span { start: 2, end: 6 };
    assert_eq!(resource.reader().valid_window(), Some(window));
    assert_eq!(resource.reader().try_read_at(0, &mut [0]), Err(ReadError::Evicted { window }));
    assert_eq!(witness.take(), [Event::Write(0..3), Event::Write(3..6), Event::Evict(0..2)]);
}

#[test]
fn a_write_that_fails_over_a_window_is_no_write_either() {
    let (resource, witness) = mocked((
        DriverIoMock::valid_window.each_call(matching!()).answers(&|_| Some(0..0)),
        DriverIoMock::write_at.next_call(matching!(0, _, false)).answers(&|_, _, _, _| Err(broken("the disk"))),
    ));
    let mut writer = resource.writer().unwrap();
    assert_is!(writer.append(b"abc"), Err(error) if is_broken(&error, "the disk"));
    assert_is!(resource.status(), ResourceStatus::Failed(_));
    assert_eq!(witness.take(), [Event::Fail("the disk is broken".into())]);
}

#[test]
fn a_driver_without_room_is_asked_again_and_not_written_to() {
    let (resource, _) = mocked((
        DriverIoMock::room.next_call(matching!(0)).returns(2_u64),
        DriverIoMock::write_at.next_call(matching!((0, data, false) if *data == b"ab")).answers(&|_, _, _, _| Ok(())),
        DriverIoMock::notify_write.next_call(matching!(_)).returns(()),
        DriverIoMock::room.next_call(matching!(2)).returns(0_u64),
    ));
    assert_eq!(resource.writer().unwrap().try_append(b"abc").unwrap(), 2);
}

/// One of several connections finds the disk broken: all of them end with that reason.
#[test]
fn a_fetcher_whose_write_fails_ends_all_claims_with_its_reason() {
    let state = DriverState { final_len: Some(8), ..DriverState::default() };
    let driver = Unimock::new((
        DriverIoMock::write_at.next_call(matching!(0, _, false)).answers(&|_, _, _, _| Ok(())),
        DriverIoMock::write_at.next_call(matching!(4, _, false)).answers(&|_, _, _, _| Err(broken("the disk"))),
    ));
    let resource = Resource::from_driver(CancelToken::new(), driver, state).unwrap();
    let fetcher = resource.writer().unwrap().into_fetcher();
    let mut claims = [fetcher.next_claim(4).unwrap().unwrap(), fetcher.next_claim(4).unwrap().unwrap()];
    assert_eq!(claims[0].append(b"ab").unwrap(), 2);
    assert_is!(claims[1].append(b"efgh"), Err(error) if is_broken(&error, "the disk"));
    assert_eq!((claims[1].position(), claims[1].remaining()), (4, 4));
    assert_is!(claims[0].append(b"cd"), Err(error) if is_broken(&error, "the disk"));
    assert_is!(fetcher.next_claim(4), Err(error) if is_broken(&error, "the disk"));
    assert_is!(fetcher.wait_claim(4), Err(error) if is_broken(&error, "the disk"));
    assert_eq!(resource.reader().available(), [0..2].into_iter().collect());
}

#[test]
fn a_mock_goes_into_a_resource_whose_driver_is_chosen_at_run_time() {
    let calls: &'static Mutex<Vec<u64>> = Box::leak(Box::default());
    let driver = Unimock::new(DriverIoMock::write_at.each_call(matching!(_, _, _)).answers_arc(Arc::new(
        |_: &Unimock, offset: u64, _: &[u8], _: bool| {
            calls.lock().unwrap().push(offset);
            Ok(())
        },
    )));
    let driver: AnyDriver = Box::new(driver);
    let resource = Resource::from_driver(CancelToken::new(), driver, DriverState::default()).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.append(b"def").unwrap();
    assert_eq!(*calls.lock().unwrap(), [0, 3]);
}
