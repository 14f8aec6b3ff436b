//! A store in memory or in a small file, filled by several fetchers that lose connections, give up, are interrupted and fail,
//! over as many generations as that takes; then written anew, while its readers read on.

use crate::storm::{Lane, Round, Step, Stream};
use roundelay::{
    AnyDriver, CancelToken, Fetcher, Interrupter, MemOptions, MmapOptions, ReadError, Reader, Resource, ResourceStatus,
    StorageError, WaitOutcome,
};
use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// A folder that goes with the round.
struct Folder(PathBuf);

impl Folder {
    fn new(seed: u64) -> Self {
        let path = env::temp_dir().join(format!("roundelay-storm-{}-{seed}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn round(round: &Round) {
    let mut random = round.random();
    let len = match random.below(4) {
        0 => random.below(20),
        1 => random.between(4090, 4100),
        _ => random.between(1, 200_000),
    };
    let folder = random.once_in(2).then(|| Folder::new(round.seed));
    let resource = match &folder {
        None => Resource::open_any(CancelToken::new(), MemOptions { len: Some(len), ..MemOptions::default() }),
        Some(folder) => Resource::open_any(
            CancelToken::new(),
            MmapOptions {
                len: Some(len),
                flush_every_bytes: random.pick(&[None, Some(10_000)]),
                ..MmapOptions::new(folder.0.join("store"))
            },
        ),
    }
    .unwrap();
    let stream = Stream(round.seed);
    // Of each byte, whether somebody has fetched it: over all generations nobody does twice.
    let fetched: Arc<[AtomicBool]> = (0..len).map(|_| AtomicBool::new(false)).collect();
    for attempt in (0..random.below(5)).rev() {
        fill(round, &resource, stream, &fetched, attempt == 0);
        round.figures.generations.fetch_add(1, Relaxed);
        round.figures.wakes.fetch_add(resource.wakes(), Relaxed);
        match resource.status() {
            ResourceStatus::Committed { final_len } => {
                assert_eq!(final_len, len);
                break;
            }
            _ => resource.reactivate().unwrap(),
        }
    }
    if resource.status() == ResourceStatus::Active {
        fill(round, &resource, stream, &fetched, true);
    }
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: len }, "nobody hinders the last attempt");
    assert!(fetched.iter().all(|byte| byte.load(Relaxed)));
    let mut lane = round.lane("end");
    lane.check(stream, 0, &read_all(&resource.reader(), len));
    if let Some(folder) = &folder {
        lane.check(stream, 0, &fs::read(folder.0.join("store")).unwrap());
    }
    if random.once_in(2) {
        rewrite(round, &resource, stream, len);
        round.figures.generations.fetch_add(1, Relaxed);
    }
}

fn read_all(reader: &Reader<AnyDriver>, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    let mut done = 0;
    while done < bytes.len() {
        done += reader.read_at(done as u64, &mut bytes[done..]).unwrap();
    }
    bytes
}

/// One generation: fetchers, readers, and those who disturb them. With `honest` it is committed in the end.
fn fill(round: &Round, resource: &Resource<AnyDriver>, stream: Stream, fetched: &[AtomicBool], honest: bool) {
    let mut lane = round.lane(if honest { "last attempt" } else { "attempt" });
    lane.step(Step::TakesWriter, 0, 0);
    let fetcher = resource.writer().unwrap().into_fetcher();
    let over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let mut interrupters = Vec::new();
        let mut fetching = Vec::new();
        for i in 0..lane.random.between(1, 5) {
            let fetcher = fetcher.clone();
            interrupters.push(fetcher.interrupter());
            let patience = if honest { u64::MAX } else { lane.random.below(40) };
            fetching.push(scope.spawn(move || {
                fetch(&mut round.lane(format!("fetcher {i}")), &fetcher, stream, fetched, patience);
            }));
        }
        drop(fetcher);
        for i in 0..lane.random.between(1, 3) {
            let reader = resource.reader();
            interrupters.push(reader.interrupter());
            scope.spawn(move || read(&mut round.lane(format!("reader {i}")), &reader, stream, fetched.len() as u64));
        }
        scope.spawn(move || interrupt(&mut round.lane("interrupts"), &interrupters, over));
        if !honest && lane.random.once_in(2) {
            for _ in 0..lane.random.below(10) {
                lane.random.dawdle();
            }
            if lane.random.once_in(2) {
                lane.step(Step::Fails, 0, 0);
                resource.fail(StorageError::other("a storm"));
            } else {
                lane.step(Step::Cancels, 0, 0);
                resource.cancel();
            }
        }
        lane.step(Step::Joins, 0, 0);
        for fetching in fetching {
            fetching.join().unwrap();
        }
        over.store(true, Relaxed);
        assert_ne!(resource.status(), ResourceStatus::Active, "the last fetcher is gone");
    });
}

fn interrupt(lane: &mut Lane<'_>, interrupters: &[Interrupter], over: &AtomicBool) {
    while !over.load(Relaxed) {
        let i = lane.random.below(interrupters.len() as u64);
        lane.step(Step::Interrupts, i, 0);
        interrupters[i as usize].interrupt();
        lane.random.dawdle();
        thread::yield_now();
    }
}

/// A connection: claims, appends in pieces, loses what is left now and then, and gives up after `patience` claims.
fn fetch(lane: &mut Lane<'_>, fetcher: &Fetcher<AnyDriver>, stream: Stream, fetched: &[AtomicBool], mut patience: u64) {
    while patience > 0 {
        patience -= 1;
        let max = lane.random.pick(&[1, 700, 4096, 10_000, 50_000, u64::MAX]);
        let claim = match lane.random.below(4) {
            0 => {
                lane.step(Step::Claims, max, 0);
                match fetcher.next_claim(max) {
                    // No gap is free at this moment, or the store is whole.
                    Ok(None) => {
                        lane.random.dawdle();
                        continue;
                    }
                    claim => claim,
                }
            }
            1 => {
                lane.step(Step::WaitsForAClaim, max, 1);
                fetcher.wait_claim_timeout(max, Duration::from_micros(lane.random.below(500)))
            }
            _ => {
                lane.step(Step::WaitsForAClaim, max, 0);
                fetcher.wait_claim(max)
            }
        };
        let mut claim = match claim {
            Ok(Some(claim)) => claim,
            Ok(None) => return,
            Err(StorageError::Interrupted | StorageError::TimedOut) => continue,
            Err(StorageError::Failed(_) | StorageError::Cancelled) => return,
            Err(error) => panic!("{error}"),
        };
        while claim.remaining() > 0 && !lane.random.once_in(20) {
            let at = claim.position();
            let piece = lane.random.between(1, 1400).min(claim.remaining());
            let bytes = stream.bytes(at, piece as usize);
            lane.step(Step::Appends, at, piece);
            let appended = claim.append(&bytes);
            // Also where an error says that the commit which followed came too late.
            let mine = &fetched[at as usize..claim.position() as usize];
            assert!(mine.iter().all(|byte| !byte.swap(true, Relaxed)), "{at} or one behind it was fetched twice");
            match appended {
                Ok(taken) => assert_eq!(taken as u64, piece),
                Err(StorageError::Failed(_) | StorageError::Cancelled) => return,
                Err(error) => panic!("{error}"),
            }
            if lane.random.once_in(10) {
                lane.random.dawdle();
            }
        }
        lane.step(Step::DropsAClaim, claim.position(), claim.remaining());
        drop(claim);
    }
}

/// Waits for stretches here and there, and reads them, until the generation is over.
fn read(lane: &mut Lane<'_>, reader: &Reader<AnyDriver>, stream: Stream, len: u64) {
    let mut buf = vec![0; 9000];
    while reader.status() == ResourceStatus::Active {
        let start = lane.random.below(len + 10);
        let range = start..start + lane.random.between(1, buf.len() as u64);
        let there = match lane.random.below(4) {
            0 => {
                lane.step(Step::Waits, range.start, range.end);
                matches!(waited(reader.wait_range(range.clone())), Some(WaitOutcome::Ready))
            }
            1 => {
                lane.step(Step::WaitsForAWhile, range.start, range.end);
                let timeout = Duration::from_micros(lane.random.below(500));
                matches!(waited(reader.wait_range_timeout(range.clone(), timeout)), Some(WaitOutcome::Ready))
            }
            2 => {
                lane.step(Step::Reads, range.start, 0);
                match reader.read_at(range.start, &mut buf) {
                    Ok(n) => {
                        // Nothing, at the end.
                        assert!(n > 0 || range.start >= len);
                        lane.check(stream, range.start, &buf[..n]);
                    }
                    Err(StorageError::Interrupted | StorageError::Failed(_) | StorageError::Cancelled) => {}
                    Err(error) => panic!("{error}"),
                }
                false
            }
            _ => reader.contains_range(range.clone()),
        };
        let buf = &mut buf[..(range.end - range.start) as usize];
        if there {
            // Locking: a stray is not there for those who do not.
            let wanted = range.end.min(len) - range.start;
            lane.step(Step::Reads, range.start, wanted);
            match reader.read_at(range.start, buf) {
                Ok(n) => {
                    assert!(n as u64 >= wanted, "ready, and then {n} of {wanted}");
                    lane.check(stream, range.start, &buf[..n]);
                }
                Err(StorageError::Interrupted) => {}
                Err(error) => panic!("ready, and then {error}"),
            }
        }
        lane.step(Step::TriesToRead, range.start, 0);
        match reader.try_read_at(range.start, buf) {
            Ok(n) => lane.check(stream, range.start, &buf[..n]),
            Err(ReadError::NotYet | ReadError::Failed | ReadError::Cancelled) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A wait for a stretch that may be beyond the end, may be interrupted, or see the end.
fn waited(outcome: Result<WaitOutcome, StorageError>) -> Option<WaitOutcome> {
    match outcome {
        Ok(outcome) => Some(outcome),
        Err(StorageError::Failed(_) | StorageError::Cancelled) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The next generation has other bytes in some places. Readers of the old one keep its bytes; those of the new one find one
/// or the other in each place, and at the end what was written.
fn rewrite(round: &Round, resource: &Resource<AnyDriver>, old: Stream, len: u64) {
    let new = Stream(!round.seed);
    let old_reader = resource.reader();
    resource.reactivate().unwrap();
    let mut lane = round.lane("rewriter");
    let mut expected = old.bytes(0, len as usize);
    let over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = resource.reader();
        scope.spawn(move || {
            let mut lane = round.lane("reader of both");
            let mut buf = vec![0; 3000];
            while !over.load(Relaxed) {
                let at = lane.random.below(len + 1);
                lane.step(Step::TriesToRead, at, 0);
                match old_reader.try_read_at(at, &mut buf) {
                    Ok(n) => lane.check(old, at, &buf[..n]),
                    Err(error) => panic!("{error}"),
                }
                match reader.try_read_at(at, &mut buf) {
                    Ok(n) => {
                        let (olds, news) = (old.bytes(at, n), new.bytes(at, n));
                        let known = |i: usize| buf[i] == olds[i] || buf[i] == news[i];
                        assert!((0..n).all(known), "neither an old byte nor a new one");
                        lane.checked(n as u64);
                    }
                    Err(ReadError::NotYet) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let mut writer = resource.writer().unwrap();
        for _ in 0..lane.random.below(30) {
            let at = lane.random.below(len + 1);
            let bytes = new.bytes(at, lane.random.between(0, 5000).min(len - at) as usize);
            lane.step(Step::WritesAt, at, bytes.len() as u64);
            writer.write_at(at, &bytes).unwrap();
            expected[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
        }
        lane.step(Step::Commits, len, 0);
        writer.commit(Some(len)).unwrap();
        over.store(true, Relaxed);
    });
    assert!(read_all(&resource.reader(), len) == expected, "not what was written");
    lane.checked(len);
}
