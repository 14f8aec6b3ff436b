//! One ring over many generations, each of which is committed, failed, cancelled or left, mostly in the middle of
//! something. Gates are kept over the end and into the next generation; readers and cursors stay with theirs.
//!
//! What they hear of the end must be what happened, by whatever method they ask, and again when they ask again; and no
//! gate that has heard of the end holds the next generation's writer.

use crate::storm::{Lane, Random, Round, Step, Stream};
use roundelay::{
    Gate, OnLap, ReadError, Resource, ResourceStatus, RingDriver, RingOptions, StorageError, WaitOutcome, Writer,
};
use std::{
    io::{BufRead, Read},
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

/// How a generation ended, as somebody heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Committed,
    Failed,
    Cancelled,
}

impl End {
    fn of(status: &ResourceStatus) -> Self {
        match status {
            ResourceStatus::Committed { .. } => Self::Committed,
            ResourceStatus::Failed(_) => Self::Failed,
            ResourceStatus::Cancelled => Self::Cancelled,
            other => panic!("not over: {other:?}"),
        }
    }

    fn of_error(error: &StorageError) -> Self {
        match error {
            StorageError::Failed(_) => Self::Failed,
            StorageError::Cancelled => Self::Cancelled,
            other => panic!("no end: {other:?}"),
        }
    }

    fn of_io(error: std::io::Error) -> Self {
        Self::of_error(&error.downcast().expect("an error of the library"))
    }
}

pub fn round(round: &Round) {
    let mut random = round.random();
    let capacity = random.pick(&[16, 61, 256, 1000, 4096]);
    let resource = roundelay::open(RingOptions::new(capacity as usize)).unwrap();
    let stream = Stream(round.seed);
    // The generation that is being written.
    let now = &AtomicU64::new(0);
    thread::scope(|scope| {
        let mut lane = round.lane("writer");
        for generation in 0..random.between(2, 12) {
            now.store(generation, Relaxed);
            lane.step(Step::TakesWriter, generation, 0);
            let mut writer = resource.writer().unwrap();
            for i in 0..random.below(3) {
                // A thread of its own for each, so that none that is held keeps another from reading.
                let (gate, from) = (writer.gate(), writer.position());
                scope.spawn(move || {
                    let mut lane = round.lane(format!("gate {i} of {generation}"));
                    assert_eq!(gate.position(), from);
                    let until = generation + lane.random.below(4);
                    hold(&mut lane, gate, stream, || now.load(Relaxed) <= until);
                });
            }
            for i in 0..random.below(2) {
                let mut cursor = resource.cursor(OnLap::SkipToOldest);
                scope.spawn(move || {
                    let mut lane = round.lane(format!("cursor {i} of {generation}"));
                    let mut buf = [0; 700];
                    let end = loop {
                        lane.step(Step::Reads, cursor.position(), 0);
                        match cursor.read(&mut buf) {
                            Ok(0) => break End::Committed,
                            Ok(n) => lane.check(stream, cursor.position() - n as u64, &buf[..n]),
                            Err(error) => break End::of_io(error),
                        }
                    };
                    assert_eq!(end, End::of(&cursor.reader().status()));
                });
            }
            let reader = resource.reader();
            scope.spawn(move || {
                let mut lane = round.lane(format!("reader of {generation}"));
                let mut buf = [0; 700];
                loop {
                    let from = reader.live_edge().saturating_sub(lane.random.below(300));
                    lane.step(Step::Waits, from, 0);
                    match reader.wait_range(from..from + 1 + lane.random.below(16)) {
                        Ok(WaitOutcome::Ready) => {}
                        Err(StorageError::Evicted { .. }) => continue,
                        Ok(WaitOutcome::Eof) => break assert!(reader.final_len().is_some()),
                        Ok(outcome) => panic!("{outcome:?}"),
                        Err(error) => break assert_eq!(End::of_error(&error), End::of(&reader.status())),
                    }
                    lane.step(Step::TriesToRead, from, 0);
                    match reader.try_read_at(from, &mut buf) {
                        Ok(n) => lane.check(stream, from, &buf[..n]),
                        Err(ReadError::Evicted { .. }) => {}
                        Err(error) => panic!("ready, and then {error}"),
                    }
                }
            });
            write_and_end(round, &mut lane, &mut random, &resource, writer, capacity, stream);
            round.figures.generations.fetch_add(1, Relaxed);
            round.figures.wakes.fetch_add(resource.wakes(), Relaxed);
            lane.step(Step::Reactivates, generation, 0);
            resource.reactivate().unwrap();
        }
        now.store(u64::MAX, Relaxed);
        resource.writer().unwrap().commit(None).unwrap();
        lane.step(Step::Joins, 0, 0);
    });
}

/// Writes until somebody ends the generation: the writer itself, or another thread in the middle of an append.
fn write_and_end(
    round: &Round,
    lane: &mut Lane<'_>,
    random: &mut Random,
    resource: &Resource<RingDriver>,
    mut writer: Writer<RingDriver>,
    capacity: u64,
    stream: Stream,
) {
    let by_another = random.once_in(2);
    thread::scope(|scope| {
        let (go, gone) = mpsc::channel();
        if by_another {
            scope.spawn(move || {
                let mut lane = round.lane("who ends it");
                let () = gone.recv().unwrap();
                lane.random.dawdle();
                if lane.random.once_in(2) {
                    lane.step(Step::Fails, 0, 0);
                    resource.fail(StorageError::other("a storm"));
                } else {
                    lane.step(Step::Cancels, 0, 0);
                    resource.cancel();
                }
            });
        }
        let turns = random.below(40);
        let begin_to_end = random.below(turns + 1);
        let mut turn = 0;
        let heard = loop {
            if turn == begin_to_end {
                let _ = go.send(());
            }
            if turn >= turns && !by_another {
                break false;
            }
            turn += 1;
            let at = writer.position();
            let bytes = stream.bytes(at, lane.random.between(1, capacity / 2 + 1) as usize);
            lane.step(Step::Appends, at, bytes.len() as u64);
            match writer.append(&bytes) {
                Ok(()) => {}
                Err(error) => {
                    End::of_error(&error);
                    break true;
                }
            }
        };
        match lane.random.below(4) {
            0 if !heard => {
                lane.step(Step::Commits, writer.position(), 0);
                writer.commit(None).unwrap();
            }
            1 => {
                lane.step(Step::Fails, writer.position(), 0);
                writer.fail(StorageError::other("by its writer"));
            }
            2 => {
                lane.step(Step::Cancels, writer.position(), 0);
                resource.cancel();
            }
            _ => {}
        }
        lane.step(Step::DropsWriter, writer.position(), 0);
        drop(writer);
    });
}

/// Reads all of its generation, hears of the end, asks again in other ways, and keeps the gate for some of the next ones. It
/// may be dropped before.
fn hold(lane: &mut Lane<'_>, mut gate: Gate, stream: Stream, keep: impl Fn() -> bool) {
    let method = lane.random.below(7);
    // Mostly always the same method: what only another one would do is then left undone.
    let faithful = !lane.random.once_in(4);
    let end = loop {
        if lane.random.once_in(1000) {
            return;
        }
        let method = if faithful { method } else { lane.random.below(7) };
        if let Some(end) = ask(lane, &mut gate, method, stream) {
            break end;
        }
    };
    let read_to = gate.position();
    for _ in 0..lane.random.below(4) {
        if lane.random.once_in(2) {
            lane.random.dawdle();
        }
        let method = lane.random.below(7);
        match ask(lane, &mut gate, method, stream) {
            Some(again) => assert_eq!(again, end, "method {method} says something else"),
            None => panic!("method {method} found something behind the end at {read_to}: {end:?}"),
        }
        assert_eq!(gate.position(), read_to, "it has moved behind the end");
    }
    // It holds nobody any more. One step for all of this, or it would look as if something went on.
    lane.step(Step::HoldsOn, read_to, 0);
    while keep() {
        thread::sleep(Duration::from_micros(100));
    }
}

/// One read, by one of seven methods; the end, if it is that. Bytes are checked, and some consumed.
fn ask(lane: &mut Lane<'_>, gate: &mut Gate, method: u64, stream: Stream) -> Option<End> {
    let mut buf = [0; 500];
    let len = lane.random.between(1, buf.len() as u64) as usize;
    let at = gate.position();
    let take = |lane: &mut Lane<'_>, slices: roundelay::Slices<'_>| {
        let (first, second) = slices.as_slices();
        lane.check(stream, slices.offset(), first);
        lane.check(stream, slices.offset() + first.len() as u64, second);
        let taken = lane.random.below(slices.len() as u64 + 1) as usize;
        slices.consume(taken);
    };
    let waited = |lane: &mut Lane<'_>, slices: Result<roundelay::Slices<'_>, StorageError>| match slices {
        Ok(slices) if slices.is_empty() => Some(End::Committed),
        Ok(slices) => {
            take(lane, slices);
            None
        }
        Err(StorageError::TimedOut) => None,
        Err(error) => Some(End::of_error(&error)),
    };
    let tried = |lane: &mut Lane<'_>, error| match error {
        ReadError::NotYet => {
            lane.random.dawdle();
            None
        }
        ReadError::Ended => Some(End::Committed),
        ReadError::Failed => Some(End::Failed),
        ReadError::Cancelled => Some(End::Cancelled),
        other => panic!("{other}"),
    };
    match method {
        0 => {
            lane.step(Step::TriesToRead, at, len as u64);
            match gate.try_read(&mut buf[..len]) {
                Ok(0) => Some(End::Committed),
                Ok(n) => {
                    lane.check(stream, gate.position() - n as u64, &buf[..n]);
                    None
                }
                Err(error) => tried(lane, error),
            }
        }
        1 => {
            lane.step(Step::ReadsInPlace, at, 0);
            match gate.slices() {
                Ok(slices) => {
                    take(lane, slices);
                    None
                }
                Err(error) => tried(lane, error),
            }
        }
        2 | 3 => {
            lane.step(Step::Waits, at, 1);
            let slices = gate.wait(1);
            waited(lane, slices)
        }
        4 => {
            lane.step(Step::WaitsForAWhile, at, 1);
            let slices = gate.wait_timeout(1, Duration::from_micros(lane.random.below(300)));
            waited(lane, slices)
        }
        5 => {
            lane.step(Step::ReadsInPlace, at, 1);
            match gate.fill_buf().map(<[u8]>::to_vec) {
                Ok(lent) if lent.is_empty() => Some(End::Committed),
                Ok(lent) => {
                    lane.check(stream, gate.position(), &lent);
                    gate.consume(lane.random.below(lent.len() as u64 + 1) as usize);
                    None
                }
                Err(error) => Some(End::of_io(error)),
            }
        }
        _ => {
            lane.step(Step::Reads, at, len as u64);
            match gate.read(&mut buf[..len]) {
                Ok(0) => Some(End::Committed),
                Ok(n) => {
                    lane.check(stream, gate.position() - n as u64, &buf[..n]);
                    None
                }
                Err(error) => Some(End::of_io(error)),
            }
        }
    }
}
