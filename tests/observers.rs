//! What observers are told, when, and what they may do about it.

mod kinds;
mod threads;
mod witness;

use kinds::{CAPACITY, Kind, Ring, over_every_kind};
use roundelay::{
    AvailabilityObserver, CancelToken, DriverIo, DriverState, Resource, ResourceStatus, StorageError, WaitOutcome,
    Writer,
};
use std::{
    ops::Range,
    sync::{Arc, Mutex, OnceLock},
    thread,
};
use threads::{Sleeper, assert_is, must_end};
use witness::{Event, Witness};

over_every_kind!(
    every_byte_is_announced_once_and_in_order,
    what_leaves_the_window_is_announced,
    a_write_of_nothing_new_is_not_announced,
    a_failure_is_announced_once_with_its_reason,
    a_verdict_that_came_too_late_is_not_announced,
    a_cancellation_is_announced_once,
    every_ending_is_announced,
    an_observer_finds_what_it_is_told_of,
    the_observer_stays_over_reactivate,
    readers_are_woken_before_observers_are_called,
    an_observer_that_panics_keeps_nobody_from_writing,
);

fn every_byte_is_announced_once_and_in_order<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.append(b"").unwrap();
    assert_eq!(writer.try_append(b"de").unwrap(), 2);
    writer.write_at(1, b"....fgh").unwrap();
    writer.commit(Some(8)).unwrap();
    assert_eq!(witness.take(), [Event::Write(0..3), Event::Write(3..5), Event::Write(5..8), Event::Commit(8)]);
}

fn what_leaves_the_window_is_announced<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    let capacity = CAPACITY as u64;
    writer.append(&[1; CAPACITY]).unwrap();
    writer.append(&[2; 10]).unwrap();
    let mut told = vec![Event::Write(0..capacity), Event::Write(capacity..capacity + 10)];
    if K::FORGETS {
        told.push(Event::Evict(0..10));
    }
    assert_eq!(witness.take(), told);
}

fn a_write_of_nothing_new_is_not_announced<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdef").unwrap();
    witness.take();
    writer.write_at(2, b"cd").unwrap();
    writer.append(b"").unwrap();
    assert_eq!(witness.take(), []);
}

fn a_failure_is_announced_once_with_its_reason<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.fail(StorageError::other("the station went away"));
    writer.fail(StorageError::other("and again"));
    resource.fail(StorageError::other("and again"));
    drop(writer);
    assert_eq!(witness.take(), [Event::Write(0..3), Event::Fail("the station went away".into())]);
}

fn a_verdict_that_came_too_late_is_not_announced<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    resource.cancel();
    assert_is!(writer.commit(Some(0)), Err(StorageError::Cancelled));
    writer.fail(StorageError::other("too late"));
    drop(writer);
    assert_eq!(witness.take(), [Event::Cancel]);
    assert_eq!(resource.status(), ResourceStatus::Cancelled);
}

fn a_cancellation_is_announced_once<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    witness.take();
    resource.cancel();
    resource.cancel();
    assert_is!(writer.append(b"def"), Err(StorageError::Cancelled));
    assert_eq!(witness.take(), [Event::Cancel]);
}

/// `commit(None)` and a cancellation were silent: an observer that follows a resource never heard that it was over.
fn every_ending_is_announced<K: Kind>() {
    let dropped = || Event::Fail(StorageError::WriterDropped.to_string());
    type Ending<K> = fn(&CancelToken, Resource<<K as Kind>::Driver>, Writer<<K as Kind>::Driver>);
    let endings: [(Ending<K>, Event); 9] = [
        (|_, _, mut writer| writer.commit(None).unwrap(), Event::Commit(3)),
        (|_, _, mut writer| writer.commit(Some(3)).unwrap(), Event::Commit(3)),
        (|_, _, mut writer| writer.fail(StorageError::other("gone")), Event::Fail("gone".into())),
        (|_, resource, _writer| resource.fail(StorageError::other("gone")), Event::Fail("gone".into())),
        (|_, resource, _writer| resource.cancel(), Event::Cancel),
        (|cancel, _, _writer| cancel.cancel(), Event::Cancel),
        (|_, _, writer| drop(writer), dropped()),
        (|_, _, writer| drop(writer.into_fetcher()), dropped()),
        (
            |_, resource, writer| {
                drop(writer);
                resource.reactivate().unwrap();
            },
            dropped(),
        ),
    ];
    for (i, (end, event)) in endings.into_iter().enumerate() {
        let (witness, cancel) = (Witness::new(), CancelToken::new());
        let state = DriverState::default();
        let resource = Resource::from_driver_observed(cancel.clone(), K::driver(), state, witness.clone()).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        assert_eq!(witness.take(), [Event::Write(0..3)]);
        end(&cancel, resource, writer);
        let told = witness.take();
        assert_eq!(told[0], event, "ending {i}");
        // The last one reactivated it, and left it to nobody.
        assert_eq!(told[1..], if i == 8 { vec![dropped()] } else { vec![] }, "ending {i}");
    }
}

/// Calls back into the resource from inside each call, under a lock of its own.
struct Inquirer<D: DriverIo> {
    resource: OnceLock<Resource<D>>,
    read: Mutex<Vec<u8>>,
}

impl<D: DriverIo> Inquirer<D> {
    fn resource(&self) -> &Resource<D> {
        self.resource.get().expect("it was set before the first write")
    }
}

impl<D: DriverIo> AvailabilityObserver for Inquirer<D> {
    fn on_write(&self, range: Range<u64>) {
        let mut read = self.read.lock().unwrap();
        let (resource, reader) = (self.resource(), self.resource().reader());
        assert_eq!(resource.status(), ResourceStatus::Active);
        assert_is!(resource.writer(), Err(StorageError::WriterTaken));
        assert_is!(resource.reactivate(), Err(StorageError::Active));
        let mut buf = vec![0; (range.end - range.start) as usize];
        assert!(reader.contains_range(range.clone()), "{range:?} was announced before it was published");
        assert_eq!(reader.read_at(range.start, &mut buf).unwrap(), buf.len());
        read.extend(buf);
    }

    fn on_commit(&self, final_len: u64) {
        let _own = self.read.lock().unwrap();
        assert_eq!(self.resource().status(), ResourceStatus::Committed { final_len });
        self.resource().cancel();
        assert_is!(self.resource().reactivate(), Err(StorageError::WriterTaken));
    }

    fn on_evict(&self, range: Range<u64>) {
        let _own = self.read.lock().unwrap();
        assert!(!self.resource().reader().contains_range(range));
    }

    fn on_fail(&self, reason: &StorageError) {
        let _own = self.read.lock().unwrap();
        assert_is!(self.resource().status(), ResourceStatus::Failed(found) if found.to_string() == reason.to_string());
        self.resource().fail(StorageError::other("from inside"));
    }
}

fn an_observer_finds_what_it_is_told_of<K: Kind>() {
    for fails in [false, true] {
        let inquirer = Arc::new(Inquirer { resource: OnceLock::new(), read: Mutex::default() });
        let resource = K::open_observed(inquirer.clone());
        inquirer.resource.set(resource.clone()).unwrap();
        let mut writer = resource.writer().unwrap();
        let text: Vec<u8> = (0..200).collect();
        for piece in text.chunks(17) {
            writer.append(piece).unwrap();
        }
        if fails {
            writer.fail(StorageError::other("the station went away"));
            assert_is!(resource.status(), ResourceStatus::Failed(reason) if reason.to_string() == "the station went away");
        } else {
            writer.commit(Some(200)).unwrap();
            assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 200 });
        }
        assert_eq!(*inquirer.read.lock().unwrap(), text);
    }
}

fn the_observer_stays_over_reactivate<K: Kind>() {
    let witness = Witness::new();
    let resource = K::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.commit(Some(3)).unwrap();
    drop(writer);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"de").unwrap();
    writer.commit(Some(5)).unwrap();
    assert_eq!(witness.take(), [Event::Write(0..3), Event::Commit(3), Event::Write(3..5), Event::Commit(5)]);
}

#[test]
fn a_discontinuity_of_a_ring_announces_first_what_is_lost() {
    let witness = Witness::new();
    let resource = Ring::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.write_at(100, b"abc").unwrap();
    writer.write_at(200, b"de").unwrap();
    assert_eq!(
        witness.take(),
        [Event::Write(100..103), Event::Evict(100..103), Event::Write(200..202)],
        "of an empty window nothing is lost"
    );
}

#[test]
fn a_write_larger_than_the_ring_is_announced_whole_and_its_loss_too() {
    let witness = Witness::new();
    let resource = Ring::open_observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(&[0; 4]).unwrap();
    writer.append(&[0; 200]).unwrap();
    assert_eq!(witness.take(), [Event::Write(0..4), Event::Write(4..204), Event::Evict(0..204 - CAPACITY as u64)]);
}

#[test]
fn what_gates_let_through_is_announced_as_it_is_written() {
    must_end(|| {
        let witness = Witness::new();
        let resource = Ring::open_observed(witness.clone());
        let mut writer = resource.writer().unwrap();
        let mut gate = writer.gate();
        assert_eq!(writer.try_append(&[0; 100]).unwrap(), CAPACITY);
        assert_eq!(witness.take(), [Event::Write(0..64)]);
        gate.slices().unwrap().consume(20);
        assert_eq!(writer.try_append(&[0; 100]).unwrap(), 20);
        assert_eq!(witness.take(), [Event::Write(64..84), Event::Evict(0..20)]);
        assert_eq!(writer.try_append(&[0; 100]).unwrap(), 0);
        assert_eq!(witness.take(), []);
    });
}

/// Ends each of its calls only when the reader that slept for it is awake.
struct WaitsForTheReader(Mutex<std::sync::mpsc::Receiver<()>>);

impl WaitsForTheReader {
    fn until_awake(&self) {
        self.0.lock().unwrap().recv().expect("the reader says when it is awake");
    }
}

impl AvailabilityObserver for WaitsForTheReader {
    fn on_write(&self, _: Range<u64>) {
        self.until_awake();
    }

    fn on_commit(&self, _: u64) {
        self.until_awake();
    }

    fn on_fail(&self, _: &StorageError) {
        self.until_awake();
    }
}

fn readers_are_woken_before_observers_are_called<K: Kind>() {
    for fails in [false, true] {
        let (awake, told) = std::sync::mpsc::channel();
        let resource = K::open_observed(Arc::new(WaitsForTheReader(Mutex::new(told))));
        let mut writer = resource.writer().unwrap();
        let wait = |range: Range<u64>| {
            let (reader, awake) = (resource.reader(), awake.clone());
            Sleeper::start(move || {
                let outcome = reader.wait_range(range);
                awake.send(()).unwrap();
                outcome
            })
        };
        let for_bytes = wait(0..3);
        writer.append(b"abc").unwrap();
        assert_is!(for_bytes.wakes_with(), Ok(WaitOutcome::Ready));
        let for_more = wait(3..4);
        if fails {
            writer.fail(StorageError::other("the station went away"));
            assert_is!(for_more.wakes_with(), Err(StorageError::Failed(_)));
        } else {
            writer.commit(Some(3)).unwrap();
            assert_is!(for_more.wakes_with(), Ok(WaitOutcome::Eof));
        }
    }
}

struct Panics;

impl AvailabilityObserver for Panics {
    fn on_write(&self, _: Range<u64>) {}

    fn on_commit(&self, _: u64) {}

    fn on_fail(&self, _: &StorageError) {
        panic!("a bug of the observer's");
    }
}

/// The writer's drop was cut off before it had left the gates for the next writer, and there never was one.
fn an_observer_that_panics_keeps_nobody_from_writing<K: Kind>() {
    let resource = K::open_observed(Arc::new(Panics));
    let writer = resource.writer().unwrap();
    thread::spawn(move || drop(writer)).join().unwrap_err();
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"after all").unwrap();
    writer.commit(None).unwrap();
    assert_is!(resource.status(), ResourceStatus::Committed { final_len: 9 });
}
