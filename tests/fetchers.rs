//! Several connections that fill one resource: claims, their order, and how it ends.

mod kinds;
mod threads;
mod witness;

use kinds::{Kind, Linear, OwnLinear};
use roundelay::{
    AvailabilityObserver, CancelToken, Claim, DriverIo, DriverState, Fetcher, MemDriver, MemOptions, Resource,
    ResourceStatus, RingOptions, Span, StorageError, StorageResult, WaitOutcome, open,
};
use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use threads::{Sleeper, assert_is, must_end};
use witness::{Event, Witness};

const BLOCK: u64 = 4096;

fn mem(len: u64) -> Resource<MemDriver> {
    open(MemOptions { len: Some(len), ..MemOptions::default() }).unwrap()
}

fn claim<D: DriverIo>(fetcher: &Fetcher<D>, max: u64) -> Claim<D> {
    fetcher.next_claim(max).unwrap().expect("a gap is free")
}

fn span<D: DriverIo>(claim: &Claim<D>) -> Range<u64> {
    claim.range().into()
}

#[test]
fn claims_do_not_overlap_and_end_with_a_block_where_they_can() {
    let fetcher = mem(10 * BLOCK + 5).writer().unwrap().into_fetcher();
    let claims: Vec<_> = std::iter::from_fn(|| fetcher.next_claim(3 * BLOCK + 100).unwrap()).collect();
    let ranges: Vec<_> = claims.iter().map(span).collect();
    assert_eq!(ranges, [0..3 * BLOCK, 3 * BLOCK..6 * BLOCK, 6 * BLOCK..9 * BLOCK, 9 * BLOCK..10 * BLOCK + 5]);
}

#[test]
fn a_dropped_claim_gives_back_what_it_did_not_fill() {
    let resource = mem(4 * BLOCK);
    let fetcher = resource.writer().unwrap().into_fetcher();
    let mut first = claim(&fetcher, 4 * BLOCK);
    assert!(fetcher.next_claim(1).unwrap().is_none(), "all is claimed");
    assert_eq!(first.append(&[1; 1000]).unwrap(), 1000);
    assert_eq!((first.position(), first.remaining()), (1000, 4 * BLOCK - 1000));
    assert_eq!(fetcher.missing(), 4 * BLOCK - 1000);
    drop(first);
    assert_eq!(span(&claim(&fetcher, u64::MAX)), 1000..4 * BLOCK);
}

#[test]
fn a_claim_from_an_offset_ignores_waiting_readers() {
    let resource = open(MemOptions { len: Some(100), ..MemOptions::default() }).unwrap();
    let fetcher = resource.writer().unwrap().into_fetcher();
    let from = |offset| fetcher.claim_from(offset, 30).unwrap();
    let (late, next) = (from(50).unwrap(), from(50).unwrap());
    assert_eq!((late.range(), next.range()), (Span { start: 50, end: 80 }, Span { start: 80, end: 100 }));
    assert!(from(50).is_none(), "what is free lies before it");
    drop(late);
    assert_eq!(from(0).unwrap().range(), Span { start: 0, end: 30 });
    fetcher.fail(StorageError::other("an end"));
    assert!(matches!(fetcher.claim_from(0, 1), Err(StorageError::Failed(_))));
}

#[test]
fn more_than_was_claimed_is_not_taken() {
    let resource = mem(10);
    let fetcher = resource.writer().unwrap().into_fetcher();
    let mut first = claim(&fetcher, 4);
    assert_eq!(first.append(b"0123456789").unwrap(), 4);
    assert_eq!(first.append(b"456").unwrap(), 0);
    let written = std::io::Write::write_all(&mut first, b"4");
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::WriteZero);
    assert!(!resource.reader().contains_range(4..5));
}

#[test]
fn what_a_reader_waits_for_is_claimed_first_and_what_follows_it_next() {
    must_end(|| {
        let resource = mem(100 * BLOCK);
        let fetcher = resource.writer().unwrap().into_fetcher();
        let reader = resource.reader();
        let waiting = Sleeper::start(move || reader.wait_range(50 * BLOCK + 10..52 * BLOCK));
        let mut first = claim(&fetcher, 2 * BLOCK);
        assert_eq!(span(&first), 50 * BLOCK + 10..52 * BLOCK);
        let second = claim(&fetcher, BLOCK);
        assert_eq!(span(&second), 52 * BLOCK..53 * BLOCK, "the nearest behind what is being fetched");
        first.append(&vec![0; 2 * BLOCK as usize]).unwrap();
        assert_is!(waiting.wakes_with(), Ok(WaitOutcome::Ready));
        assert_eq!(span(&claim(&fetcher, BLOCK)), 53 * BLOCK..54 * BLOCK, "nobody waits, and the listener is there");
    });
}

#[test]
fn of_two_waiting_readers_both_are_served_before_anything_else() {
    must_end(|| {
        let resource = mem(100 * BLOCK);
        let fetcher = resource.writer().unwrap().into_fetcher();
        let waiting = [20, 70].map(|block| {
            let reader = resource.reader();
            Sleeper::start(move || reader.wait_range(block * BLOCK..(block + 1) * BLOCK))
        });
        let mut claims = [claim(&fetcher, BLOCK), claim(&fetcher, BLOCK)];
        assert_eq!(claims.each_ref().map(|claim| claim.range().start / BLOCK), [20, 70]);
        for claim in &mut claims {
            claim.append(&vec![0; BLOCK as usize]).unwrap();
        }
        for reader in waiting {
            assert_is!(reader.wakes_with(), Ok(WaitOutcome::Ready));
        }
    });
}

#[test]
fn after_the_end_of_the_whole_the_gaps_before_come() {
    let resource = mem(4 * BLOCK);
    let mut writer = resource.writer().unwrap();
    writer.write_at(BLOCK, &vec![0; BLOCK as usize]).unwrap();
    let fetcher = writer.into_fetcher();
    let starts: Vec<_> = std::iter::from_fn(|| fetcher.next_claim(BLOCK).unwrap())
        .map(|mut claim| {
            claim.append(&vec![0; BLOCK as usize]).unwrap();
            claim.range().start / BLOCK
        })
        .collect();
    assert_eq!(starts, [0, 2, 3]);
    assert_is!(resource.status(), ResourceStatus::Committed { final_len } if final_len == 4 * BLOCK);
}

#[test]
fn the_claim_that_fills_the_last_gap_commits() {
    let witness = Witness::new();
    let (driver, state) = {
        use roundelay::Driver;
        MemDriver::open(MemOptions { len: Some(10), ..MemOptions::default() }).unwrap()
    };
    let resource = Resource::from_driver_observed(CancelToken::new(), driver, state, witness.clone()).unwrap();
    let fetcher = resource.writer().unwrap().into_fetcher();
    let (mut a, mut b) = (claim(&fetcher, 6), claim(&fetcher, 6));
    assert_eq!((span(&a), span(&b)), (0..6, 6..10));
    b.append(b"6789").unwrap();
    assert_is!(resource.status(), ResourceStatus::Active);
    a.append(b"012345").unwrap();
    assert_is!(resource.status(), ResourceStatus::Committed { final_len: 10 });
    assert!(fetcher.next_claim(1).unwrap().is_none());
    assert!(fetcher.wait_claim(1).unwrap().is_none());
    assert_eq!(witness.take(), [Event::Write(6..10), Event::Write(0..6), Event::Commit(10)]);
}

#[test]
fn a_whole_that_is_there_already_is_committed_by_whoever_asks_for_a_claim() {
    let resource = mem(10);
    let mut writer = resource.writer().unwrap();
    writer.append(&[0; 10]).unwrap();
    let fetcher = writer.into_fetcher();
    assert!(fetcher.wait_claim(1).unwrap().is_none());
    assert_is!(resource.status(), ResourceStatus::Committed { final_len: 10 });
    // And one of no bytes.
    let empty = mem(0);
    assert!(empty.writer().unwrap().into_fetcher().wait_claim(1).unwrap().is_none());
    assert_is!(empty.status(), ResourceStatus::Committed { final_len: 0 });
}

#[test]
fn the_resource_fails_when_the_last_fetcher_and_the_last_claim_are_dropped() {
    let resource = mem(10);
    let fetcher = resource.writer().unwrap().into_fetcher();
    assert_is!(resource.writer(), Err(StorageError::WriterTaken));
    let (clone, mut last) = (fetcher.clone(), claim(&fetcher, 4));
    drop((fetcher, clone));
    last.append(b"01").unwrap();
    assert_is!(resource.status(), ResourceStatus::Active);
    drop(last);
    assert_is!(resource.status(), ResourceStatus::Failed(reason) if matches!(*reason, StorageError::WriterDropped));
    // What is there is gone on with.
    resource.reactivate().unwrap();
    assert_eq!(resource.reader().expected_len(), Some(10));
    let fetcher = resource.writer().unwrap().into_fetcher();
    assert_eq!(span(&claim(&fetcher, 100)), 2..10);
}

#[test]
fn a_wait_for_a_claim_is_woken_by_what_is_given_back_and_by_the_end() {
    must_end(|| {
        let resource = mem(10);
        let fetcher = resource.writer().unwrap().into_fetcher();
        let all = claim(&fetcher, 10);
        let waiting = {
            let fetcher = fetcher.clone();
            Sleeper::start(move || fetcher.wait_claim(10).unwrap().expect("it was given back"))
        };
        assert!(waiting.still_waits());
        drop(all);
        let mut all = waiting.wakes_with();
        assert_eq!(span(&all), 0..10);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let fetcher = fetcher.clone();
                Sleeper::start(move || fetcher.wait_claim(10).unwrap().is_none())
            })
            .collect();
        all.append(&[0; 10]).unwrap();
        assert!(waiting.into_iter().all(Sleeper::wakes_with));
    });
}

#[test]
fn a_wait_for_a_claim_times_out_is_interrupted_and_hears_of_verdicts() {
    must_end(|| {
        let resource = mem(10);
        let fetcher = resource.writer().unwrap().into_fetcher();
        let _all = claim(&fetcher, 10);
        assert_is!(fetcher.wait_claim_timeout(1, Duration::from_millis(1)), Err(StorageError::TimedOut));
        let interrupter = fetcher.interrupter();
        interrupter.interrupt();
        assert_is!(fetcher.wait_claim(1), Err(StorageError::Interrupted));
        let other = fetcher.clone();
        let waiting = Sleeper::start(move || other.wait_claim(1).map(drop));
        fetcher.fail(StorageError::other("no route to host"));
        assert_is!(waiting.wakes_with(), Err(StorageError::Failed(reason)) if reason.to_string() == "no route to host");
        assert_is!(fetcher.next_claim(1), Err(StorageError::Failed(_)));
        let resource = mem(10);
        let fetcher = resource.writer().unwrap().into_fetcher();
        let mut claim = claim(&fetcher, 10);
        resource.cancel();
        assert_is!(fetcher.next_claim(1), Err(StorageError::Cancelled));
        assert_is!(claim.append(b"x"), Err(StorageError::Cancelled));
        drop((claim, fetcher));
        assert_is!(resource.status(), ResourceStatus::Cancelled);
    });
}

#[test]
fn a_store_that_forgets_or_of_unknown_length_has_no_claims() {
    let ring = open(RingOptions::new(64)).unwrap();
    assert_is!(ring.writer().unwrap().into_fetcher().next_claim(1), Err(StorageError::Unsupported(_)));
    let mem = open(MemOptions::default()).unwrap();
    assert_is!(mem.writer().unwrap().into_fetcher().wait_claim(1), Err(StorageError::Unsupported(_)));
}

#[test]
fn a_driver_of_somebody_else_is_filled_too_one_write_at_a_time() {
    const LEN: u64 = 100_000;
    let state = DriverState { final_len: Some(LEN), ..DriverState::default() };
    let resource = Resource::from_driver(CancelToken::new(), OwnLinear::driver(), state).unwrap();
    let fetcher = resource.writer().unwrap().into_fetcher();
    thread::scope(|scope| {
        for _ in 0..3 {
            let fetcher = fetcher.clone();
            scope.spawn(move || {
                while let Some(mut claim) = fetcher.wait_claim(5000).unwrap() {
                    let data: Vec<_> = span(&claim).map(|at| at as u8).collect();
                    data.chunks(700).for_each(|piece| _ = claim.append(piece).unwrap());
                }
            });
        }
    });
    let mut data = vec![0; LEN as usize];
    let mut done = 0;
    while done < data.len() {
        done += resource.reader().read_at(done as u64, &mut data[done..]).unwrap();
    }
    assert!(data.iter().enumerate().all(|(at, &byte)| byte == at as u8));
    assert_is!(resource.status(), ResourceStatus::Committed { final_len: LEN });
}

/// A store whose first commit panics.
struct PanicsOnce(Linear, AtomicBool);

impl DriverIo for PanicsOnce {
    fn commit(&self, final_len: Option<u64>) -> StorageResult<()> {
        assert!(self.1.swap(true, Relaxed), "a bug of the driver's");
        self.0.commit(final_len)
    }

    fn path(&self) -> Option<&Path> {
        self.0.path()
    }

    fn reactivate(&self) -> StorageResult<()> {
        self.0.reactivate()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], effective_len: u64) -> StorageResult<usize> {
        self.0.read_at(offset, buf, effective_len)
    }

    fn storage_len(&self) -> u64 {
        self.0.storage_len()
    }

    fn write_at(&self, offset: u64, data: &[u8], committed: bool) -> StorageResult<()> {
        self.0.write_at(offset, data, committed)
    }
}

/// The commit counts as a claim, and one that panicked once stayed out: the others waited for its end for ever.
#[test]
fn a_commit_that_panics_is_tried_again_by_a_fetcher_that_waits() {
    let state = DriverState { final_len: Some(10), ..DriverState::default() };
    let driver = PanicsOnce(OwnLinear::driver(), AtomicBool::new(false));
    let resource = Resource::from_driver(CancelToken::new(), driver, state).unwrap();
    let fetcher = resource.writer().unwrap().into_fetcher();
    let mut all = claim(&fetcher, 10);
    let waiting = Sleeper::start(move || fetcher.wait_claim(1).map(|claim| claim.is_none()));
    thread::spawn(move || all.append(&[7; 10])).join().unwrap_err();
    assert!(must_end(|| waiting.wakes_with()).unwrap());
    assert_is!(resource.status(), ResourceStatus::Committed { final_len: 10 });
}

/// Takes part itself: the first bytes that it hears of make it claim and fill the next.
struct Meddler<D: DriverIo>(Mutex<Option<Fetcher<D>>>, Witness);

impl<D: DriverIo> AvailabilityObserver for Meddler<D> {
    fn on_write(&self, range: Range<u64>) {
        self.1.on_write(range);
        let fetcher = self.0.lock().unwrap().take();
        if let Some(fetcher) = fetcher {
            let mut claim = fetcher.wait_claim(20).unwrap().expect("more is missing");
            claim.append(&[2; 20]).unwrap();
            assert_eq!(fetcher.missing(), 70);
        }
    }

    fn on_commit(&self, final_len: u64) {
        self.1.on_commit(final_len);
    }
}

/// The lock that keeps two writes to a driver of somebody else's apart was held while the observer was told of the
/// first, and waited for itself.
#[test]
fn an_observer_may_claim_and_fill_itself() {
    fn meddle<D: DriverIo>(driver: D) {
        let state = DriverState { final_len: Some(100), ..DriverState::default() };
        let observer = Arc::new(Meddler(Mutex::default(), Witness::default()));
        let resource = Resource::from_driver_observed(CancelToken::new(), driver, state, observer.clone()).unwrap();
        let fetcher = resource.writer().unwrap().into_fetcher();
        *observer.0.lock().unwrap() = Some(fetcher.clone());
        let mut first = claim(&fetcher, 10);
        first.append(&[1; 10]).unwrap();
        let mut rest = claim(&fetcher, 100);
        rest.append(&[3; 100]).unwrap();
        let events = [Event::Write(0..10), Event::Write(10..30), Event::Write(30..100), Event::Commit(100)];
        assert_eq!(observer.1.take(), events);
    }
    must_end(|| {
        use roundelay::Driver;
        meddle(MemDriver::open(MemOptions { len: Some(100), ..MemOptions::default() }).unwrap().0);
        meddle(OwnLinear::driver());
    });
}
