//! Fetchers and claims over a store in memory: no byte is written twice, the last claim commits, and whoever waits for a
//! claim or for bytes is woken.
//!
//! One block and one segment. The first byte is written before any thread is, so that nothing is made while others look,
//! for the reason given in `coverage.rs`. The byte at offset `o` is `o + 1`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::thread;
use roundelay::{
    Claim, Fetcher, MemDriver, MemOptions, ReadError, Resource, ResourceStatus, StorageError, WaitOutcome,
};

use crate::Preemptions::AtMost;
use crate::{explore, models};

models! {
    two_fetchers_write_no_byte_twice_and_one_commits => two_fetchers(),
    two_claims_that_end_at_once_commit => two_claims(),
    a_dropped_claim_wakes_a_waiting_fetcher => dropped(),
    a_claim_dropped_beside_the_last_one_is_a_gap => dropped_beside(),
    the_commit_wakes_a_waiting_fetcher => committed(),
    a_failure_wakes_a_waiting_fetcher => failed(),
    a_failure_while_the_last_claim_commits => failed_at_the_end(),
    an_append_wakes_a_reader => reader(),
    a_reader_of_what_was_committed_has_all => whole(),
}

fn open(len: u64) -> (Resource<MemDriver>, Fetcher<MemDriver>) {
    let resource = roundelay::open(MemOptions { len: Some(len), ..MemOptions::default() }).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(&[1]).unwrap();
    let fetcher = writer.into_fetcher();
    (resource, fetcher)
}

fn claim(fetcher: &Fetcher<MemDriver>, max: u64) -> Claim<MemDriver> {
    fetcher.next_claim(max).unwrap().expect("a gap is free")
}

fn fill(claim: &mut Claim<MemDriver>) {
    let bytes: Vec<_> = (claim.position()..claim.range().end).map(|at| at as u8 + 1).collect();
    assert_eq!(claim.append(&bytes).unwrap(), bytes.len());
}

fn check_committed(resource: &Resource<MemDriver>, len: u64) {
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: len }, "NOT COMMITTED");
}

/// Each takes what it gets, a byte at a time.
fn two_fetchers() {
    explore(AtMost(2), || {
        let (resource, fetcher) = open(3);
        // Not loom's: two writes of one byte are to be found also when one comes after the other.
        let written = Arc::new([true, false, false].map(AtomicBool::new));
        let fetch = |fetcher: &Fetcher<MemDriver>, written: &[AtomicBool; 3]| {
            while let Some(mut claim) = fetcher.next_claim(1).unwrap() {
                let at = claim.position();
                assert!(!written[at as usize].swap(true, Relaxed), "WRITTEN TWICE: {at}");
                fill(&mut claim);
            }
        };
        let (other, theirs) = (fetcher.clone(), written.clone());
        let fetching = thread::spawn(move || fetch(&other, &theirs));
        fetch(&fetcher, &written);
        fetching.join().unwrap();
        check_committed(&resource, 3);
    });
}

fn two_claims() {
    explore(AtMost(4), || {
        let (resource, fetcher) = open(3);
        let (mut first, mut second) = (claim(&fetcher, 1), claim(&fetcher, 1));
        let filling = thread::spawn(move || fill(&mut first));
        fill(&mut second);
        filling.join().unwrap();
        check_committed(&resource, 3);
    });
}

fn dropped() {
    explore(AtMost(3), || {
        let (resource, fetcher) = open(2);
        let lost = claim(&fetcher, 1);
        let waiting = thread::spawn(move || fill(&mut fetcher.wait_claim(1).unwrap().expect("it was given back")));
        drop(lost);
        waiting.join().unwrap();
        check_committed(&resource, 2);
    });
}

/// The one that is filled at the same moment does not commit a whole with a hole in it.
fn dropped_beside() {
    explore(AtMost(3), || {
        let (resource, fetcher) = open(3);
        let (lost, mut filled) = (claim(&fetcher, 1), claim(&fetcher, 1));
        let filling = thread::spawn(move || fill(&mut filled));
        drop(lost);
        filling.join().unwrap();
        assert_eq!(resource.status(), ResourceStatus::Active, "EARLY commit");
        let mut last = claim(&fetcher, 5);
        assert_eq!((last.range().start, last.range().end), (1, 2), "LOST gap");
        fill(&mut last);
        check_committed(&resource, 3);
    });
}

fn committed() {
    explore(AtMost(3), || {
        let (resource, fetcher) = open(2);
        let mut last = claim(&fetcher, 1);
        let waiting = thread::spawn(move || assert!(fetcher.wait_claim(1).unwrap().is_none()));
        fill(&mut last);
        waiting.join().unwrap();
        check_committed(&resource, 2);
    });
}

fn failed() {
    explore(AtMost(3), || {
        let (_resource, fetcher) = open(2);
        let mut last = claim(&fetcher, 1);
        let other = fetcher.clone();
        let waiting = thread::spawn(move || match other.wait_claim(1) {
            Err(StorageError::Failed(_)) => {}
            other => panic!("WRONG outcome: {other:?}"),
        });
        fetcher.fail(StorageError::other("broken"));
        assert!(matches!(last.append(&[2]), Err(StorageError::Failed(_))));
        waiting.join().unwrap();
    });
}

/// Whichever comes first stands, and nobody waits for more.
fn failed_at_the_end() {
    explore(AtMost(2), || {
        let (resource, fetcher) = open(2);
        let mut last = claim(&fetcher, 1);
        let other = fetcher.clone();
        let waiting = thread::spawn(move || match other.wait_claim(1) {
            Ok(None) => true,
            Err(StorageError::Failed(_)) => false,
            // It came back between the look at the verdict and the look at the gaps.
            Ok(Some(mut claim)) => {
                assert!(matches!(claim.append(&[2]), Err(StorageError::Failed(_))), "WRONG outcome");
                false
            }
            other => panic!("WRONG outcome: {other:?}"),
        });
        let filling = thread::spawn(move || match last.append(&[2]) {
            Ok(1) | Err(StorageError::Failed(_)) => {}
            other => panic!("WRONG outcome: {other:?}"),
        });
        fetcher.fail(StorageError::other("broken"));
        filling.join().unwrap();
        let committed = waiting.join().unwrap();
        assert_eq!(matches!(resource.status(), ResourceStatus::Committed { .. }), committed, "WRONG verdict");
    });
}

fn reader() {
    explore(AtMost(3), || {
        let (resource, fetcher) = open(3);
        let reader = resource.reader();
        let mut first = claim(&fetcher, 1);
        let reading = thread::spawn(move || {
            assert_eq!(reader.wait_range(1..2).unwrap(), WaitOutcome::Ready);
            let mut byte = [0];
            assert_eq!((reader.read_at(1, &mut byte).unwrap(), byte), (1, [2]), "NOT THERE");
        });
        fill(&mut first);
        reading.join().unwrap();
    });
}

/// The bytes of one claim, the commit by another, and a reader that knows of neither.
fn whole() {
    explore(AtMost(2), || {
        let (resource, fetcher) = open(3);
        let (mut first, mut second) = (claim(&fetcher, 1), claim(&fetcher, 1));
        let filling = thread::spawn(move || fill(&mut first));
        let reader = resource.reader();
        let reading = thread::spawn(move || {
            let over = reader.final_len().is_some();
            let mut bytes = [0; 3];
            match reader.try_read_at(0, &mut bytes) {
                Ok(n) => {
                    assert!(n == 3 || !over, "NOT THERE after the commit");
                    assert_eq!(bytes[..n], [1, 2, 3][..n], "NOT THERE");
                }
                Err(ReadError::NotYet) => {}
                Err(other) => panic!("WRONG outcome: {other}"),
            }
        });
        fill(&mut second);
        filling.join().unwrap();
        reading.join().unwrap();
    });
}
