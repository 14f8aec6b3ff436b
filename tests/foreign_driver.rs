//! Drivers that a user wrote: holes, the order of calls, and what becomes of one that fails or lies.

mod kinds;
mod threads;
mod witness;

use kinds::{Linear, LinearOptions, Windowed};
use rangemap::RangeSet;
use roundelay::{
    AvailabilityObserver, CancelToken, DriverIo, DriverState, MAX_OFFSET, OnLap, ReadError, Resource, ResourceStatus,
    Span, StorageError, StorageResult, WaitOutcome,
};
use std::{
    collections::HashSet,
    io::{self, Read, Write},
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};
use threads::{Sleeper, assert_is, must_end};
use witness::{Event, Witness};

// ---- a length that was given ----

fn of_length<D: DriverIo>(driver: D, len: u64) -> Resource<D> {
    let state = DriverState { final_len: Some(len), ..DriverState::default() };
    Resource::from_driver(CancelToken::new(), driver, state).unwrap()
}

/// A whole that was cut short was committed, and nobody was told.
#[test]
fn a_commit_without_a_length_has_no_hole_at_its_end() {
    fn check<D: DriverIo>(driver: D) {
        let resource = of_length(driver, 4);
        let mut writer = resource.writer().unwrap();
        writer.append(b"123").unwrap();
        assert_is!(writer.commit(None), Err(StorageError::Hole { hole: Span { start: 3, end: 4 } }));
        assert_eq!(resource.status(), ResourceStatus::Active);
        writer.append(b"4").unwrap();
        writer.commit(None).unwrap();
        assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 4 });
    }
    check(Linear::default());
    check(Windowed::new(16));
}

/// The resource ended where the length said, and the driver behind that: the next generation wrote over what was there.
/// Now no driver is given such bytes.
#[test]
fn bytes_beyond_the_length_never_reach_the_driver() {
    let resource = of_length(Linear::default(), 4);
    let mut writer = resource.writer().unwrap();
    assert_is!(writer.append(b"123456"), Err(StorageError::BeyondLength { end: 6, len: 4 }));
    writer.append(b"1234").unwrap();
    writer.commit(None).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 4 });
    drop(writer);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"56").unwrap();
    writer.commit(None).unwrap();
    let mut bytes = [0; 6];
    assert_eq!(resource.reader().read_at(0, &mut bytes).unwrap(), 6);
    assert_eq!(&bytes, b"123456");
}

// ---- a driver by the book, of which the test sees each call ----

type OnRead = Box<dyn FnMut(&mut [u8]) -> StorageResult<usize> + Send>;
type OnNotify = Box<dyn FnMut(&Range<u64>) + Send>;

/// What a test sees of an [`Actor`] and tells it to do.
#[derive(Default)]
struct Script {
    store: Linear,
    calls: Mutex<Vec<Call>>,
    /// Methods that fail.
    failing: Mutex<HashSet<&'static str>>,
    on_read: Mutex<Option<OnRead>>,
    on_notify: Mutex<Option<OnNotify>>,
    window: Mutex<Option<Range<u64>>>,
    checks: AtomicBool,
    /// How many bytes there is room for; writing takes them.
    room: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Write(u64, Vec<u8>, bool),
    Notify(Range<u64>),
    Read(u64, usize, u64),
    Commit(Option<u64>),
    Reactivate,
}

impl Script {
    fn new() -> Arc<Self> {
        let script = Self::default();
        script.room.store(u64::MAX / 2, SeqCst);
        Arc::new(script)
    }

    fn resource(self: &Arc<Self>) -> Resource<Actor> {
        Resource::from_driver(CancelToken::new(), Actor(self.clone()), DriverState::default()).unwrap()
    }

    fn observed(self: &Arc<Self>, observer: Arc<dyn AvailabilityObserver>) -> Resource<Actor> {
        let driver = Actor(self.clone());
        Resource::from_driver_observed(CancelToken::new(), driver, DriverState::default(), observer).unwrap()
    }

    fn fail(&self, method: &'static str) {
        self.failing.lock().unwrap().insert(method);
    }

    fn succeed(&self, method: &'static str) {
        self.failing.lock().unwrap().remove(method);
    }

    fn answer(&self, method: &'static str) -> StorageResult<()> {
        if self.failing.lock().unwrap().contains(method) {
            return Err(StorageError::Io(io::Error::other(format!("{method} fails"))));
        }
        Ok(())
    }

    fn on_read(&self, on_read: impl FnMut(&mut [u8]) -> StorageResult<usize> + Send + 'static) {
        *self.on_read.lock().unwrap() = Some(Box::new(on_read));
    }

    fn set_window(&self, window: Range<u64>) {
        *self.window.lock().unwrap() = Some(window);
    }

    fn called(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

struct Actor(Arc<Script>);

impl DriverIo for Actor {
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        self.0.called(Call::Commit(final_len));
        self.0.answer("commit")?;
        self.0.store.commit(final_len)
    }

    fn notify_write(&self, range: &Range<u64>) {
        self.0.called(Call::Notify(range.clone()));
        if let Some(on_notify) = &mut *self.0.on_notify.lock().unwrap() {
            on_notify(range);
        }
    }

    fn path(&self) -> Option<&Path> {
        Some(Path::new("/in/the/test"))
    }

    fn reactivate(&self) -> StorageResult<()> {
        self.0.called(Call::Reactivate);
        self.0.answer("reactivate")
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        self.0.called(Call::Read(offset, buf.len(), effective_len));
        self.0.answer("read")?;
        match &mut *self.0.on_read.lock().unwrap() {
            Some(on_read) => on_read(buf),
            None => self.0.store.read_at(offset, buf, effective_len),
        }
    }

    fn storage_len(&self) -> u64 {
        self.0.store.storage_len()
    }

    fn try_fast_check(&self, range: &Range<u64>) -> bool {
        self.0.checks.load(SeqCst) && range.end <= self.0.store.storage_len()
    }

    fn valid_window(&self) -> Option<Range<u64>> {
        self.0.window.lock().unwrap().clone()
    }

    fn room(&self, _: u64) -> u64 {
        self.0.room.load(SeqCst)
    }

    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()> {
        self.0.called(Call::Write(offset, data.to_vec(), committed));
        self.0.answer("write")?;
        self.0.room.fetch_sub(data.len() as u64, SeqCst);
        self.0.store.write_at(offset, data, committed)?;
        if let Some(window) = &mut *self.0.window.lock().unwrap() {
            window.end = window.end.max(offset + data.len() as u64);
        }
        Ok(())
    }
}

fn is_failed(status: ResourceStatus, with: &str) -> bool {
    matches!(status, ResourceStatus::Failed(reason) if reason.to_string().contains(with))
}

fn ranges<const N: usize>(ranges: [Range<u64>; N]) -> RangeSet<u64> {
    RangeSet::from_iter(ranges)
}

// ---- opening ----

#[test]
fn options_pick_a_users_driver_without_an_annotation() {
    let witness = Witness::new();
    let found = || LinearOptions { found: b"found".to_vec() };
    for resource in [
        Resource::open(CancelToken::new(), found()).unwrap(),
        roundelay::open(found()).unwrap(),
        Resource::open_observed(CancelToken::new(), found(), witness.clone()).unwrap(),
    ] {
        let mut buf = [0; 8];
        assert_eq!(resource.reader().try_read_at(0, &mut buf), Ok(5));
        resource.writer().unwrap().append(b" more").unwrap();
        assert_eq!(resource.reader().try_read_at(4, &mut buf), Ok(6));
        assert_eq!(&buf[..6], b"d more");
    }
    assert_eq!(witness.take()[0], Event::Write(5..10), "what was found is no news");
}

#[test]
fn a_driver_that_overrides_nothing_promises_nothing() {
    let driver = Linear::holding(b"found");
    assert!(!driver.try_fast_check(&(0..1)), "not even what is there");
    assert_eq!(driver.valid_window(), None);
    assert_eq!(driver.room(1 << 40), u64::MAX);
    driver.notify_write(&(0..1));
}

#[test]
fn the_writer_goes_on_where_the_furthest_write_ended() {
    let resource = Script::new().resource();
    let mut writer = resource.writer().unwrap();
    writer.write_at(10, b"klm").unwrap();
    writer.write_at(0, b"abc").unwrap();
    assert_eq!(writer.position(), 13);
    writer.append(b"n").unwrap();
    assert_eq!(resource.reader().available(), ranges([0..3, 10..14]));
}

#[test]
fn a_cancelled_token_keeps_a_users_driver_shut() {
    let token = CancelToken::new();
    token.cancel();
    assert_is!(Resource::open(token, LinearOptions { found: vec![] }), Err(StorageError::Cancelled));
}

#[test]
fn what_the_driver_found_is_there_from_the_start() {
    let state = DriverState { available: ranges([2..4, 6..10]), ..Default::default() };
    let resource = Resource::from_driver(CancelToken::new(), Linear::holding(b"0123456789"), state).unwrap();
    let reader = resource.reader();
    assert_eq!(reader.available(), ranges([2..4, 6..10]));
    assert_eq!(reader.live_edge(), 10);
    assert_eq!(reader.valid_window(), None);
    let mut buf = [0; 8];
    assert_eq!(reader.try_read_at(2, &mut buf), Ok(2), "no further than the gap");
    assert_eq!(&buf[..2], b"23");
    assert_eq!(reader.try_read_at(0, &mut buf), Err(ReadError::NotYet), "bytes that nobody wrote are not read");
    assert_eq!(reader.try_read_at(4, &mut buf), Err(ReadError::NotYet));
    let mut writer = resource.writer().unwrap();
    assert_eq!(writer.position(), 10);
    writer.write_at(0, b"abcdef").unwrap();
    assert_eq!(reader.try_read_at(0, &mut buf), Ok(8));
    assert_eq!(&buf, b"ab23ef67", "what was found stays as it is");
}

#[test]
fn a_store_that_was_found_committed_is_read_only() {
    let state = DriverState { final_len: Some(6), available: RangeSet::from_iter([0..6]), is_committed: true };
    let resource = Resource::from_driver(CancelToken::new(), Linear::holding(b"012345"), state).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 6 });
    assert_is!(resource.writer(), Err(StorageError::Committed));
    let mut text = String::new();
    resource.cursor(OnLap::Error).read_to_string(&mut text).unwrap();
    assert_eq!(text, "012345");
    resource.reactivate().unwrap();
    resource.writer().unwrap().append(b"6").unwrap();
}

#[test]
fn a_committed_store_of_unknown_length_ends_at_its_last_byte() {
    let state = DriverState { final_len: None, available: RangeSet::from_iter([0..6]), is_committed: true };
    let resource = Resource::from_driver(CancelToken::new(), Linear::holding(b"012345"), state).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 6 });
}

#[test]
fn a_committed_store_with_a_hole_is_refused() {
    for (available, hole) in [(ranges([0..2, 4..6]), 2..4), (ranges([0..5]), 5..6), (ranges([]), 0..6)] {
        let state = DriverState { final_len: Some(6), available, is_committed: true };
        let opened = Resource::from_driver(CancelToken::new(), Linear::holding(b"012345"), state);
        assert_is!(opened, Err(StorageError::Hole { hole: found }) if found == Span::from(hole.clone()));
    }
}

#[test]
fn bytes_beyond_the_final_length_of_a_committed_store_are_not_there() {
    let state = DriverState { final_len: Some(4), available: RangeSet::from_iter([0..6]), is_committed: true };
    let resource = Resource::from_driver(CancelToken::new(), Linear::holding(b"012345"), state).unwrap();
    let reader = resource.reader();
    assert_eq!(reader.available(), ranges([0..4]));
    assert_eq!(reader.live_edge(), 4);
    assert!(!reader.contains_range(3..5));
    assert_eq!(reader.try_read_at(0, &mut [0; 8]), Ok(4));
}

/// A length that no stream can have once wrapped around in the state of the resource, and came out as "cancelled".
#[test]
fn a_store_that_claims_an_impossible_length_is_refused() {
    for final_len in [MAX_OFFSET + 1, u64::MAX - 1, u64::MAX] {
        let available = RangeSet::from_iter([0..final_len]);
        let state = DriverState { final_len: Some(final_len), available, is_committed: true };
        let opened = Resource::from_driver(CancelToken::new(), Linear::default(), state);
        assert_is!(opened, Err(StorageError::OffsetOverflow { .. }));
        let script = Script::new();
        script.set_window(0..final_len);
        let state = DriverState { is_committed: true, ..Default::default() };
        let opened = Resource::from_driver(CancelToken::new(), Actor(script.clone()), state);
        assert_is!(opened, Err(StorageError::OffsetOverflow { .. }));
        let resource = script.resource();
        assert_is!(resource.writer().unwrap().commit(None), Err(StorageError::OffsetOverflow { .. }));
    }
}

#[test]
fn the_path_is_the_drivers() {
    let resource = Script::new().resource();
    assert_eq!(resource.path().as_deref(), Some(Path::new("/in/the/test")));
    assert_eq!(resource.reader().path(), Some(Path::new("/in/the/test")));
}

// ---- holes ----

#[test]
fn holes_are_filled_in_any_order() {
    let witness = Witness::new();
    let script = Script::new();
    let resource = script.observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    writer.write_at(6, b"67").unwrap();
    writer.write_at(2, b"23").unwrap();
    assert_eq!(reader.available(), ranges([2..4, 6..8]));
    // Over holes and what is there.
    writer.write_at(0, b"01xx45xx89").unwrap();
    assert_eq!(reader.available(), ranges([0..10]));
    let mut buf = [0; 10];
    assert_eq!(reader.try_read_at(0, &mut buf), Ok(10));
    assert_eq!(&buf, b"0123456789");
    assert_eq!(
        witness.take(),
        [6..8, 2..4, 0..2, 4..6, 8..10].map(Event::Write),
        "each byte once, and only what became available"
    );
    assert_eq!(
        script.take_calls().into_iter().filter(|call| matches!(call, Call::Write(..))).count(),
        5,
        "the driver is not asked to write what is there"
    );
}

#[test]
fn a_read_stops_at_a_hole_and_waits_there() {
    must_end(|| {
        let resource = Script::new().resource();
        let mut writer = resource.writer().unwrap();
        writer.write_at(0, b"ab").unwrap();
        writer.write_at(4, b"ef").unwrap();
        let mut cursor = resource.cursor(OnLap::Error);
        let mut buf = [0; 6];
        assert_eq!(cursor.try_read(&mut buf), Ok(2));
        assert_eq!(cursor.try_read(&mut buf), Err(ReadError::NotYet));
        let sleeper = Sleeper::start(move || {
            let mut buf = [0; 4];
            cursor.read_exact(&mut buf).map(|()| buf)
        });
        writer.write_at(3, b"d").unwrap();
        assert!(sleeper.still_waits());
        writer.write_at(2, b"c").unwrap();
        assert_eq!(sleeper.wakes_with().unwrap(), *b"cdef");
    });
}

#[test]
fn a_wait_over_several_holes_ends_when_all_are_filled() {
    must_end(|| {
        // Whichever hole is filled last.
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let resource = Script::new().resource();
            let mut writer = resource.writer().unwrap();
            let holes = [0..2, 4..5, 7..9];
            writer.write_at(2, b"xx").unwrap();
            writer.write_at(5, b"xx").unwrap();
            let reader = resource.reader();
            let sleeper = Sleeper::start(move || reader.wait_range(0..9));
            for (i, hole) in order.into_iter().enumerate() {
                assert!(sleeper.still_waits(), "after {i} of {order:?}");
                let range = holes[hole].clone();
                writer.write_at(range.start, &vec![b'y'; (range.end - range.start) as usize]).unwrap();
            }
            assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
        }
    });
}

#[test]
fn a_commit_over_a_hole_names_it_and_changes_nothing() {
    let witness = Witness::new();
    let script = Script::new();
    let resource = script.observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, b"ab").unwrap();
    writer.write_at(4, b"ef").unwrap();
    writer.write_at(8, b"ij").unwrap();
    witness.take();
    script.take_calls();
    for (final_len, hole) in [(None, 2..4), (Some(10), 2..4), (Some(5), 2..4), (Some(3), 2..3), (Some(20), 2..4)] {
        assert_is!(writer.commit(final_len), Err(StorageError::Hole { hole: found }) if found == Span::from(hole.clone()));
    }
    assert_eq!(resource.status(), ResourceStatus::Active);
    assert_eq!((witness.take(), script.take_calls()), (vec![], vec![]), "nobody hears of it");
    writer.write_at(2, b"cd").unwrap();
    assert_is!(
        writer.commit(None),
        Err(StorageError::Hole { hole }) if hole == Span { start: 6, end: 8 }
    );
    writer.write_at(6, b"gh").unwrap();
    writer.commit(None).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 10 });
}

#[test]
fn a_commit_drops_what_lies_beyond_its_length() {
    let script = Script::new();
    let resource = script.resource();
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, b"abcdef").unwrap();
    writer.write_at(10, b"beyond a hole").unwrap();
    writer.commit(Some(4)).unwrap();
    let reader = resource.reader();
    assert_eq!(reader.available(), ranges([0..4]));
    assert_eq!(reader.final_len(), Some(4));
    assert_eq!(reader.live_edge(), 4);
    assert_eq!(reader.try_read_at(0, &mut [0; 10]), Ok(4));
    assert_eq!(reader.try_read_at(4, &mut [0; 10]), Ok(0));
    assert_is!(reader.wait_range(4..6), Ok(WaitOutcome::Eof));
    drop(writer);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    assert_eq!(writer.position(), 4, "what was dropped is to be written again");
    writer.append(b"EFGH").unwrap();
    let mut buf = [0; 10];
    assert_eq!(resource.reader().try_read_at(0, &mut buf), Ok(8));
    assert_eq!(&buf[..8], b"abcdEFGH");
    assert_eq!(reader.try_read_at(3, &mut buf), Ok(1), "the old generation ends where it did");
    assert!(!reader.contains_range(3..5));
}

/// `write_at` said Ok, and the driver was not asked.
#[test]
fn a_next_generation_replaces_inherited_bytes_once() {
    let script = Script::new();
    let witness = Witness::new();
    let resource = script.observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdef").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    resource.reactivate().unwrap();
    let (mut writer, reader, mut buf) = (resource.writer().unwrap(), resource.reader(), [0; 10]);
    script.take_calls();
    witness.take();
    writer.write_at(1, b"BC").unwrap();
    writer.write_at(0, b"xyz!").unwrap();
    let written = |at, data: &[u8]| Call::Write(at, data.to_vec(), false);
    assert_eq!(
        script.take_calls(),
        [
            written(1, b"BC"),
            Call::Notify(1..3),
            written(0, b"x"),
            Call::Notify(0..1),
            written(3, b"!"),
            Call::Notify(3..4)
        ],
        "what this generation wrote stays as it is"
    );
    assert_eq!(reader.try_read_at(0, &mut buf), Ok(6));
    assert_eq!(&buf[..6], b"xBC!ef");
    writer.write_at(4, b"EFGH").unwrap();
    assert_eq!(witness.take(), [Event::Write(6..8)], "the others were there before");
    writer.fail(StorageError::other("for now"));
    drop(writer);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    script.take_calls();
    writer.write_at(0, b"--------").unwrap();
    assert_eq!(script.take_calls(), [], "all was written, in a generation that is gone on with");
    writer.commit(Some(7)).unwrap();
    assert_eq!(resource.reader().try_read_at(0, &mut buf), Ok(7));
    assert_eq!(&buf[..7], b"xBC!EFG");
}

/// A store that was found unfinished is no committed generation: its bytes stay.
#[test]
fn bytes_that_were_found_are_not_written_again() {
    let script = Script::new();
    let state = DriverState { available: ranges([0..3]), ..DriverState::default() };
    script.store.write_at(0, b"abc", false).unwrap();
    let resource = Resource::from_driver(CancelToken::new(), Actor(script.clone()), state).unwrap();
    for _ in 0..2 {
        resource.writer().unwrap().write_at(0, b"ABC").unwrap();
        resource.reactivate().unwrap();
    }
    resource.writer().unwrap().commit(None).unwrap();
    assert!(!script.take_calls().iter().any(|call| matches!(call, Call::Write(..))));
    resource.reactivate().unwrap();
    resource.writer().unwrap().write_at(0, b"ABC").unwrap();
    assert_eq!(script.take_calls(), [Call::Reactivate, Call::Write(0, b"ABC".to_vec(), false), Call::Notify(0..3)]);
}

#[test]
fn an_old_generation_does_not_believe_a_fast_check_of_the_new_one() {
    let script = Script::new();
    script.checks.store(true, SeqCst);
    let resource = script.resource();
    resource.writer().unwrap().append(b"abc").unwrap();
    let failed = resource.reader();
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"def").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    let committed = resource.reader();
    resource.reactivate().unwrap();
    resource.writer().unwrap().append(b"ghi").unwrap();
    for (reader, end) in [(failed, 3), (committed, 6)] {
        assert!(reader.contains_range(0..end));
        assert!(!reader.contains_range(end - 1..end + 1));
        assert_eq!(reader.live_edge(), end);
    }
}

// ---- the order of calls, and what the driver is told ----

#[test]
fn the_driver_is_told_of_a_write_after_it_is_published_and_before_anybody_is_woken() {
    must_end(|| {
        let script = Script::new();
        let witness = Witness::new();
        let resource = script.observed(witness.clone());
        let mut writer = resource.writer().unwrap();
        let woken = Arc::new(AtomicBool::new(false));
        let (reader, inside) = (resource.reader(), resource.reader());
        let sleeper = {
            let woken = woken.clone();
            Sleeper::start(move || {
                let outcome = reader.wait_range(0..3);
                woken.store(true, SeqCst);
                outcome
            })
        };
        let (report, reported) = mpsc::channel();
        *script.on_notify.lock().unwrap() = Some(Box::new(move |range| {
            let told = witness.take().len();
            report.send((inside.contains_range(range.clone()), woken.load(SeqCst), told)).unwrap();
        }));
        writer.append(b"abc").unwrap();
        let (published, woken, told) = reported.recv().unwrap();
        assert!(published && !woken);
        assert_eq!(told, 0, "the observer is called last");
        assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
        assert_eq!(script.take_calls()[..2], [Call::Write(0, b"abc".to_vec(), false), Call::Notify(0..3)]);
    });
}

#[test]
fn the_driver_receives_what_commit_was_called_with() {
    let script = Script::new();
    let resource = script.resource();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    script.take_calls();
    writer.commit(None).unwrap();
    drop(writer);
    resource.reactivate().unwrap();
    resource.writer().unwrap().commit(Some(2)).unwrap();
    assert_eq!(script.take_calls(), [Call::Commit(None), Call::Reactivate, Call::Commit(Some(2))]);
}

#[test]
fn the_driver_is_asked_only_for_bytes_that_are_there_and_told_where_the_store_ends() {
    let script = Script::new();
    let resource = script.resource();
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, b"abcdef").unwrap();
    writer.write_at(8, b"ij").unwrap();
    script.take_calls();
    let reader = resource.reader();
    assert_eq!(reader.try_read_at(4, &mut [0; 100]), Ok(2));
    assert_eq!(reader.try_read_at(6, &mut [0; 100]), Err(ReadError::NotYet));
    writer.commit(Some(5)).unwrap();
    assert_eq!(reader.try_read_at(1, &mut [0; 100]), Ok(4));
    assert_eq!(reader.try_read_at(5, &mut [0; 100]), Ok(0));
    assert_eq!(
        script.take_calls(),
        [Call::Read(4, 2, 10), Call::Commit(Some(5)), Call::Read(1, 4, 5)],
        "the smaller of final length and storage length"
    );
}

// ---- drivers that fail ----

#[test]
fn a_write_that_fails_is_reported_to_nobody_as_written() {
    must_end(|| {
        let witness = Witness::new();
        let script = Script::new();
        let resource = script.observed(witness.clone());
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range(0..6));
        script.fail("write");
        assert_is!(
            writer.append(b"def"),
            Err(StorageError::Failed(reason)) if reason.to_string().contains("write fails")
        );
        assert_is!(
            sleeper.wakes_with(),
            Err(StorageError::Failed(reason)) if reason.to_string().contains("write fails")
        );
        assert!(is_failed(resource.status(), "write fails"));
        let told = witness.take();
        assert_eq!(told[0], Event::Write(0..3));
        assert_is!(&told[1..], [Event::Fail(reason)] if reason.contains("write fails"));
        assert_eq!(resource.reader().available(), ranges([0..3]));
        assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Ok(3));
        assert_eq!(writer.position(), 3);
        assert!(!script.take_calls().contains(&Call::Notify(3..6)));
        script.succeed("write");
        assert_is!(writer.append(b"def"), Err(StorageError::Failed(_)));
    });
}

#[test]
fn of_a_write_that_fails_half_way_the_first_half_is_there() {
    let script = Script::new();
    let resource = script.resource();
    let mut writer = resource.writer().unwrap();
    writer.write_at(2, b"cd").unwrap();
    let before = script.room.load(SeqCst);
    // The second of two holes cannot be filled.
    let reader = resource.reader();
    let in_between = script.clone();
    *script.on_notify.lock().unwrap() = Some(Box::new(move |_| in_between.fail("write")));
    assert_is!(writer.write_at(0, b"abxxef"), Err(StorageError::Failed(_)));
    assert_eq!(script.room.load(SeqCst), before - 2);
    assert_eq!(reader.available(), ranges([0..4]));
    let mut buf = [0; 8];
    assert_eq!(reader.try_read_at(0, &mut buf), Ok(4));
    assert_eq!(&buf[..4], b"abcd");
}

#[test]
fn a_commit_that_fails_fails_the_resource_and_is_announced_as_that() {
    must_end(|| {
        let witness = Witness::new();
        let script = Script::new();
        let resource = script.observed(witness.clone());
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range(3..4));
        script.fail("commit");
        assert_is!(
            writer.commit(Some(2)),
            Err(StorageError::Failed(reason)) if reason.to_string().contains("commit fails")
        );
        assert_is!(
            sleeper.wakes_with(),
            Err(StorageError::Failed(reason)) if reason.to_string().contains("commit fails")
        );
        assert!(is_failed(resource.status(), "commit fails"));
        assert_is!(&witness.take()[..], [Event::Write(..), Event::Fail(_)]);
        assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Ok(3), "nothing was dropped");
        assert_eq!(resource.reader().final_len(), None);
    });
}

#[test]
fn a_reactivate_that_fails_leaves_the_resource_as_it_was() {
    let script = Script::new();
    let resource = script.resource();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    let mut reader = resource.reader();
    script.fail("reactivate");
    assert_is!(resource.reactivate(), Err(StorageError::Io(_)));
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 3 });
    assert!(!reader.refresh());
    assert_eq!(reader.try_read_at(0, &mut [0; 8]), Ok(3));
    script.succeed("reactivate");
    resource.reactivate().unwrap();
    assert_eq!(resource.status(), ResourceStatus::Active);
}

#[test]
fn a_read_that_fails_fails_an_active_resource_and_wakes_its_waiters() {
    must_end(|| {
        let script = Script::new();
        let resource = script.resource();
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range(0..6));
        script.fail("read");
        assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Err(ReadError::Failed));
        assert_is!(
            sleeper.wakes_with(),
            Err(StorageError::Failed(reason)) if reason.to_string().contains("read fails")
        );
        assert_is!(
            resource.reader().read_at(0, &mut [0; 8]),
            Err(StorageError::Failed(reason)) if reason.to_string().contains("read fails")
        );
        assert_is!(writer.append(b"def"), Err(StorageError::Failed(_)));
    });
}

/// The writer of a committed resource leaves as every writer does, and that was once found as the reason why the store
/// could not be read.
#[test]
fn a_read_that_fails_after_the_commit_tells_the_drivers_reason() {
    let script = Script::new();
    let resource = script.resource();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    resource.fail(StorageError::other("too late"));
    script.fail("read");
    assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Err(ReadError::Failed));
    assert_is!(
        resource.reader().read_at(0, &mut [0; 8]),
        Err(StorageError::Failed(reason)) if reason.to_string().contains("read fails")
    );
    let error = resource.cursor(OnLap::Error).read(&mut [0]).unwrap_err();
    assert!(error.to_string().contains("read fails"), "{error}");
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 3 }, "it is complete all the same");
    script.succeed("read");
    assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Ok(3));
}

// ---- drivers that lie ----

#[test]
fn a_driver_that_claims_more_bytes_than_it_had_room_for_is_found_out() {
    for claim in [4, 5, usize::MAX] {
        let script = Script::new();
        let resource = script.resource();
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        script.on_read(move |_| Ok(claim));
        // There is room for more in the buffer, but three bytes were asked for.
        assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Err(ReadError::Failed));
        assert_is!(resource.status(), ResourceStatus::Failed(reason) if matches!(*reason, StorageError::Driver(_)));
        assert_is!(resource.reader().read_at(0, &mut [0; 8]), Err(StorageError::Failed(_)));
    }
}

/// An end of file would be a lie.
#[test]
fn a_driver_that_has_no_bytes_where_there_are_some_is_found_out() {
    must_end(|| {
        for commits in [false, true] {
            let script = Script::new();
            let resource = script.resource();
            let mut writer = resource.writer().unwrap();
            writer.append(b"abc").unwrap();
            if commits {
                writer.commit(None).unwrap();
            }
            script.on_read(|_| Ok(0));
            assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Err(ReadError::Failed));
            assert_is!(
                resource.reader().read_at(0, &mut [0; 8]),
                Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::Driver(_))
            );
            assert_is!(resource.cursor(OnLap::Error).read(&mut [0; 8]), Err(_));
            assert_eq!(resource.reader().try_read_at(3, &mut [0; 8]).is_ok(), commits);
        }
    });
}

#[test]
fn a_short_read_is_handed_on_as_it_is() {
    let script = Script::new();
    let resource = script.resource();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abcdef").unwrap();
    script.on_read(|buf| {
        buf[0] = b'x';
        Ok(1)
    });
    let mut buf = [0; 3];
    resource.cursor(OnLap::Error).read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"xxx");
    assert_eq!(resource.status(), ResourceStatus::Active);
}

#[test]
fn bytes_that_were_evicted_while_they_were_read_are_not_handed_on() {
    for answer in [Some(3), Some(0), Some(100), None] {
        let script = Script::new();
        script.set_window(0..0);
        let resource = script.resource();
        let mut writer = resource.writer().unwrap();
        writer.append(b"abcdef").unwrap();
        let meanwhile = script.clone();
        script.on_read(move |buf| {
            buf.fill(b'?');
            meanwhile.set_window(2..6);
            answer.ok_or(StorageError::Cancelled)
        });
        let window = Span { start: 2, end: 6 };
        assert_eq!(resource.reader().try_read_at(1, &mut [0; 3]), Err(ReadError::Evicted { window }));
        assert_eq!(resource.status(), ResourceStatus::Active, "that is no fault of the driver's");
    }
}

#[test]
fn bytes_that_a_driver_with_a_window_did_not_keep_are_not_announced() {
    let witness = Witness::new();
    let script = Script::new();
    script.set_window(10..10);
    let resource = script.observed(witness.clone());
    let mut writer = resource.writer().unwrap();
    assert_eq!(writer.position(), 10);
    // Below its window nothing comes back.
    writer.write_at(0, b"0123456789ab").unwrap();
    assert_eq!(witness.take(), [Event::Write(10..12)]);
    assert_eq!(script.take_calls()[0], Call::Write(10, b"ab".to_vec(), false));
    writer.write_at(0, b"0123").unwrap();
    assert_eq!((witness.take(), script.take_calls()), (vec![], vec![]));
    assert_eq!(resource.reader().valid_window(), Some(Span { start: 10, end: 12 }));
}

#[test]
fn a_window_that_disappears_is_found_out_and_nothing_hangs() {
    must_end(|| {
        let script = Script::new();
        script.set_window(0..0);
        let resource = script.resource();
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        *script.window.lock().unwrap() = None;
        let reader = resource.reader();
        assert_is!(reader.wait_range(0..3), Err(StorageError::Driver(_)));
        assert!(!reader.contains_range(0..3));
        assert!(reader.available().is_empty());
        assert_is!(reader.try_read_at(0, &mut [0; 8]), Err(_));
        assert_is!(reader.read_at_timeout(0, &mut [0; 8], Duration::ZERO), Err(_));
    });
}

#[test]
fn a_wait_for_what_a_users_window_leaves_behind_ends() {
    must_end(|| {
        let resource =
            Resource::from_driver(CancelToken::new(), kinds::Windowed::new(8), DriverState::default()).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(b"abc").unwrap();
        let wait = |range: Range<u64>| {
            let reader = resource.reader();
            Sleeper::start(move || reader.wait_range(range))
        };
        // Wider than it can ever hold, which the resource does not know; and across a jump.
        let (too_wide, across) = (wait(0..20), wait(95..105));
        writer.append(&[0; 8]).unwrap();
        assert_is!(too_wide.wakes_with(), Err(StorageError::Evicted { offset: 0, .. }));
        assert!(across.still_waits());
        writer.write_at(100, b"x").unwrap();
        assert_is!(across.wakes_with(), Err(StorageError::Evicted { offset: 95, .. }));
    });
}

// ---- drivers with limited room ----

#[test]
fn what_does_not_fit_waits_until_the_driver_has_room() {
    must_end(|| {
        let script = Script::new();
        script.room.store(3, SeqCst);
        let resource = script.resource();
        let mut writer = resource.writer().unwrap();
        assert_eq!(writer.room(), 3);
        assert_eq!(writer.try_append(b"abcdef").unwrap(), 3);
        assert_eq!(writer.try_append(b"def").unwrap(), 0);
        assert_eq!(writer.append_timeout(b"def", Duration::from_millis(1)).unwrap(), 0);
        writer.interrupter().interrupt();
        assert_is!(writer.append(b"def"), Err(StorageError::Interrupted));
        let writing = Sleeper::start(move || (writer.write_all(b"def"), writer));
        script.room.store(2, SeqCst);
        let reader = resource.reader();
        assert_is!(reader.wait_range(0..5), Ok(WaitOutcome::Ready));
        assert!(writing.still_waits());
        script.room.store(10, SeqCst);
        let (outcome, mut writer) = writing.wakes_with();
        outcome.unwrap();
        let mut buf = [0; 8];
        assert_eq!(reader.try_read_at(0, &mut buf), Ok(6));
        assert_eq!(&buf[..6], b"abcdef");
        script.room.store(0, SeqCst);
        let writing = Sleeper::start(move || writer.append(b"x"));
        resource.cancel();
        assert_is!(writing.wakes_with(), Err(StorageError::Cancelled));
    });
}
