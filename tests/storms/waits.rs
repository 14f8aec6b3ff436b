//! Many sleepers, more than there are slots, on one ring whose writer sleeps too. Each wait ends: by its bytes, its time, an
//! interrupt that was meant for it, or the end of the resource.

use crate::storm::{Lane, Round, Step, Stream};
use roundelay::{
    Interrupter, OnLap, Publication, ReadError, Reader, ResourceStatus, RingDriver, RingOptions, StorageError,
    WaitOutcome, Writer,
};
use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

/// No byte of this offset is ever written.
const NEVER: u64 = 1 << 50;

/// A sleeper's wait for what never comes, and the interrupt that ends it.
struct Bell {
    interrupter: Interrupter,
    /// How many such waits have begun, or are about to.
    asked: AtomicU64,
}

pub fn round(round: &Round) {
    let mut random = round.random();
    let resource = roundelay::open(RingOptions::new(1000)).unwrap();
    let mut writer = resource.writer().unwrap();
    let gate = writer.gate();
    let stream = Stream(round.seed);
    let readers: Vec<_> = (0..random.between(1, 60)).map(|_| resource.reader()).collect();
    let bells: Vec<_> =
        readers.iter().map(|r| Bell { interrupter: r.interrupter(), asked: AtomicU64::new(0) }).collect();
    let asleep = &AtomicUsize::new(readers.len());
    thread::scope(|scope| {
        for (i, (reader, bell)) in readers.into_iter().zip(&bells).enumerate() {
            scope.spawn(move || {
                let mut lane = round.lane(format!("sleeper {i}"));
                for _ in 0..lane.random.below(60) {
                    sleep(&mut lane, &reader, bell, stream);
                }
                asleep.fetch_sub(1, SeqCst);
                lane.step(Step::Waits, NEVER, 1);
                let end = reader.wait_range(NEVER..NEVER + 1);
                let ended = match reader.status() {
                    ResourceStatus::Committed { .. } => matches!(end, Ok(WaitOutcome::Eof)),
                    ResourceStatus::Failed(_) => matches!(end, Err(StorageError::Failed(_))),
                    ResourceStatus::Cancelled => matches!(end, Err(StorageError::Cancelled)),
                    _ => false,
                };
                assert!(ended, "{end:?}, and it is {:?}", reader.status());
            });
        }
        let bells = &bells;
        scope.spawn(move || {
            let mut lane = round.lane("interrupts");
            let mut answered = vec![0; bells.len()];
            while asleep.load(SeqCst) > 0 {
                for (i, (bell, answered)) in bells.iter().zip(&mut answered).enumerate() {
                    if bell.asked.load(SeqCst) > *answered {
                        lane.step(Step::Interrupts, i as u64, *answered);
                        bell.interrupter.interrupt();
                        *answered += 1;
                    }
                }
                lane.random.dawdle();
            }
        });
        scope.spawn(move || {
            let (mut lane, mut gate) = (round.lane("gate"), gate);
            loop {
                let at_least = lane.random.between(1, 900) as usize;
                lane.step(Step::Waits, gate.position(), at_least as u64);
                match gate.wait(at_least) {
                    Ok(slices) if slices.is_empty() => return,
                    Ok(slices) => {
                        let (first, second) = slices.as_slices();
                        lane.check(stream, slices.offset(), first);
                        lane.check(stream, slices.offset() + first.len() as u64, second);
                        let taken = lane.random.between(1, slices.len() as u64) as usize;
                        slices.consume(taken);
                    }
                    Err(StorageError::Failed(_) | StorageError::Cancelled) => return,
                    Err(error) => panic!("{error}"),
                }
                lane.random.dawdle();
            }
        });
        let mut lane = round.lane("writer");
        while asleep.load(SeqCst) > 0 {
            write(&mut lane, &mut writer, stream);
        }
        lane.random.dawdle();
        lane.step(Step::Commits, writer.position(), 0);
        match lane.random.below(4) {
            0 => writer.commit(None).unwrap(),
            1 => writer.fail(StorageError::other("a storm")),
            2 => resource.cancel(),
            _ => drop(writer),
        }
    });
    round.figures.wakes.fetch_add(resource.wakes(), SeqCst);
}

fn write(lane: &mut Lane<'_>, writer: &mut Writer<RingDriver>, stream: Stream) {
    if lane.random.once_in(50) {
        let pace = Duration::from_micros(lane.random.between(50, 500));
        let silent = lane.random.once_in(2);
        writer.set_publication(if silent { Publication::Silent { pace } } else { Publication::Notify });
    }
    let at = writer.position();
    let bytes = stream.bytes(at, lane.random.below(1500) as usize);
    match lane.random.below(4) {
        0 => {
            lane.step(Step::WaitsForAWhile, at, bytes.len() as u64);
            match writer.append_timeout(&bytes, Duration::from_micros(lane.random.below(300))) {
                Ok(_) | Err(StorageError::Interrupted) => {}
                Err(error) => panic!("{error}"),
            }
        }
        1 => {
            lane.step(Step::Interrupts, at, bytes.len() as u64);
            writer.interrupter().interrupt();
            // It ends this wait, if there is one, or else a later one.
            match writer.append(&bytes) {
                Ok(()) | Err(StorageError::Interrupted) => {}
                Err(error) => panic!("{error}"),
            }
        }
        _ => {
            lane.step(Step::Appends, at, bytes.len() as u64);
            match writer.append(&bytes) {
                Ok(()) | Err(StorageError::Interrupted) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    lane.random.dawdle();
}

fn sleep(lane: &mut Lane<'_>, reader: &Reader<RingDriver>, bell: &Bell, stream: Stream) {
    let from = reader.live_edge().saturating_sub(500) + lane.random.below(1500);
    let range = from..from + lane.random.between(1, 700);
    let outcome = match lane.random.below(4) {
        0 => {
            bell.asked.fetch_add(1, SeqCst);
            lane.step(Step::Waits, NEVER, 0);
            return assert_eq!(reader.wait_range(NEVER..NEVER + 1).unwrap(), WaitOutcome::Interrupted);
        }
        1 => {
            lane.step(Step::WaitsForAWhile, range.start, range.end);
            reader.wait_range_timeout(range.clone(), Duration::from_micros(lane.random.below(2000)))
        }
        2 => {
            lane.step(Step::WaitsForAWhile, NEVER, 0);
            let outcome = reader.wait_range_timeout(NEVER..NEVER + 1, Duration::from_micros(lane.random.below(2000)));
            return assert_eq!(outcome.unwrap(), WaitOutcome::TimedOut);
        }
        _ => {
            lane.step(Step::Waits, range.start, range.end);
            reader.wait_range(range.clone())
        }
    };
    match outcome {
        Ok(WaitOutcome::Ready) => {
            let mut buf = vec![0; (range.end - range.start) as usize];
            match reader.try_read_at(range.start, &mut buf) {
                Ok(n) => {
                    assert_eq!(n, buf.len(), "ready, and then only a part");
                    lane.check(stream, range.start, &buf);
                }
                Err(ReadError::Evicted { .. }) => {}
                Err(error) => panic!("ready, and then {error}"),
            }
        }
        Ok(WaitOutcome::TimedOut) | Err(StorageError::Evicted { .. }) => {}
        other => panic!("{other:?}"),
    }
    // A handle that comes and goes, beside those that sleep.
    if lane.random.once_in(20) {
        let mut cursor = reader.clone().into_cursor(OnLap::SkipToOldest);
        match cursor.read_timeout(&mut [0; 100], Duration::from_micros(100)) {
            Ok(_) | Err(StorageError::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
