//! Protocol 4: how a resource ends, and what its readers see of that.
//!
//! The byte at offset `o` is `o + 1`. Handles are made before any thread starts: making one takes a lock that loom does
//! not know.

use std::sync::Arc as StdArc;

use loom::sync::Arc;
use loom::thread;
use roundelay::internals::{Life, Stage};
use roundelay::{
    CancelToken, Cursor, OnLap, Publication, ReadError, Resource, ResourceStatus, RingDriver, RingOptions,
    StorageError, WaitOutcome, Writer,
};

use crate::Preemptions::{Any, AtMost};
use crate::{explore, models};

models! {
    // Bytes first, then the verdict.
    all_is_read_before_the_end => played_out(End::Commit, false),
    all_is_read_before_the_end_with_a_known_end => played_out(End::Commit, true),
    all_is_read_before_the_failure => played_out(End::Fail, true),
    all_is_read_before_the_cancel => played_out(End::Cancel, false),
    a_wait_for_the_last_byte_is_ready => last_byte(End::Commit),
    a_wait_for_the_last_byte_is_ready_before_a_failure => last_byte(End::Fail),
    // Whoever waits for what will never come hears of it.
    a_commit_wakes => woken(End::Commit),
    a_failure_wakes => woken(End::Fail),
    a_cancel_wakes => woken(End::Cancel),
    a_cancelled_token_wakes => woken(End::Token),
    a_dropped_writer_wakes => woken(End::Drop),
    a_range_that_is_cut_short_is_ready => cut_short(),
    // Of two verdicts the first stands.
    commit_against_fail => two_verdicts(|life| _ = life.commit(2), |life| _ = life.fail(reason(1))),
    fail_against_fail => two_verdicts(|life| _ = life.fail(reason(1)), |life| _ = life.fail(reason(2))),
    cancel_against_fail => two_verdicts(|life| _ = life.cancel(), |life| _ = life.fail(reason(1))),
    commit_against_fail_in_a_resource => commit_against_fail(),
    // Generations.
    an_old_generation_keeps_its_end => old_generation(End::Commit),
    an_old_generation_that_failed_keeps_its_end => old_generation(End::Fail),
    a_cursor_of_an_old_generation_sees_no_jump_of_the_next => jump_in_the_next(End::Commit, cursor_at_its_end),
    a_cursor_of_one_that_failed_sees_no_jump_of_the_next => jump_in_the_next(End::Fail, cursor_at_its_end),
    a_gate_of_an_old_generation_sees_no_jump_of_the_next => jump_in_the_next(End::Commit, gate_at_its_end),
    a_gate_of_one_that_failed_sees_no_jump_of_the_next => jump_in_the_next(End::Fail, gate_at_its_end),
    a_sleeper_of_an_old_generation_sees_no_jump_of_the_next => jump_in_the_next(End::Commit, sleeper_at_its_end),
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Commit,
    Fail,
    Cancel,
    Token,
    Drop,
}

struct Ring {
    resource: Resource<RingDriver>,
    token: CancelToken,
    writer: Writer<RingDriver>,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        let token = CancelToken::new();
        let resource = Resource::open(token.clone(), RingOptions::new(capacity)).unwrap();
        let writer = resource.writer().unwrap();
        Self { resource, token, writer }
    }

    fn append(&mut self) {
        let at = self.writer.position();
        self.writer.append(&[byte(at)]).unwrap();
    }

    fn end(mut self, end: End) {
        match end {
            End::Commit => self.writer.commit(None).unwrap(),
            End::Fail => self.writer.fail(StorageError::other("a reason")),
            End::Cancel => self.resource.cancel(),
            End::Token => self.token.cancel(),
            End::Drop => {}
        }
    }
}

fn byte(offset: u64) -> u8 {
    offset as u8 + 1
}

fn reason(which: u8) -> StdArc<StorageError> {
    StdArc::new(StorageError::Driver(["", "one", "two"][which as usize]))
}

/// Reads a byte, which has to be the right one; tells whether there was one, or why not.
fn step(cursor: &mut Cursor<RingDriver>) -> Result<bool, ReadError> {
    let at = cursor.position();
    let mut buf = [0];
    let n = cursor.try_read(&mut buf)?;
    if n > 0 {
        assert_eq!(buf[0], byte(at), "WRONG byte at {at}");
    }
    Ok(n > 0)
}

fn played_out(end: End, known_end: bool) {
    explore(AtMost(3), move || {
        let mut ring = Ring::new(2);
        // No fence but those of the protocol.
        ring.writer.set_publication(Publication::SILENT);
        let mut cursor = ring.resource.cursor(OnLap::Error);
        if known_end {
            ring.append();
        }
        let writer = thread::spawn(move || {
            while ring.writer.position() < 2 {
                ring.append();
            }
            ring.end(end);
        });
        for _ in 0..3 {
            match step(&mut cursor) {
                Ok(true) => {}
                Err(ReadError::NotYet) => break,
                verdict => {
                    let right = match end {
                        End::Commit => Ok(false),
                        End::Cancel => Err(ReadError::Cancelled),
                        _ => Err(ReadError::Failed),
                    };
                    assert_eq!(verdict, right, "EARLY or wrong verdict");
                    assert_eq!(cursor.position(), 2, "EARLY verdict");
                    break;
                }
            }
        }
        writer.join().unwrap();
    });
}

fn last_byte(end: End) {
    explore(AtMost(3), move || {
        let mut ring = Ring::new(2);
        let reader = ring.resource.reader();
        let writer = thread::spawn(move || {
            ring.append();
            ring.append();
            ring.end(end);
        });
        match reader.wait_range(1..2) {
            Ok(WaitOutcome::Ready) => {}
            other => panic!("EARLY verdict: {other:?}"),
        }
        writer.join().unwrap();
    });
}

fn woken(end: End) {
    explore(AtMost(3), move || {
        let ring = Ring::new(2);
        let reader = ring.resource.reader();
        let sleeper = thread::spawn(move || match (reader.wait_range(0..1), end) {
            (Ok(WaitOutcome::Eof), End::Commit) => {}
            (Err(StorageError::Failed(_)), End::Fail | End::Drop) => {}
            (Err(StorageError::Cancelled), End::Cancel | End::Token) => {}
            (other, _) => panic!("WRONG verdict: {other:?}"),
        });
        ring.end(end);
        sleeper.join().unwrap();
    });
}

/// A wait for more than there will be: what there is counts.
fn cut_short() {
    explore(AtMost(3), || {
        let mut ring = Ring::new(2);
        let reader = ring.resource.reader();
        let sleeper = thread::spawn(move || match reader.wait_range(0..2) {
            Ok(WaitOutcome::Ready) => {}
            other => panic!("WRONG verdict: {other:?}"),
        });
        ring.append();
        ring.end(End::Commit);
        sleeper.join().unwrap();
    });
}

fn two_verdicts(one: fn(&Life), two: fn(&Life)) {
    explore(Any, move || {
        let life = Arc::new(Life::active());
        let threads = [one, two].map(|verdict| {
            let life = life.clone();
            thread::spawn(move || verdict(&life))
        });
        let look = || {
            let stage = life.stage();
            if stage == Stage::Failed {
                // Panics if there is none.
                life.reason();
            }
            stage
        };
        let (first, then) = (look(), look());
        assert!(first == Stage::Active || first == then, "CHANGED from {first:?} to {then:?}");
        for thread in threads {
            thread.join().unwrap();
        }
        assert_ne!(look(), Stage::Active);
    });
}

/// Exactly one of the two gets its way, and both know which.
fn commit_against_fail() {
    explore(Any, || {
        let mut ring = Ring::new(2);
        ring.append();
        let other = ring.resource.clone();
        let failing = thread::spawn(move || other.fail(StorageError::other("a reason")));
        let committed = ring.writer.commit(None).is_ok();
        let status = ring.resource.status();
        assert_eq!(committed, matches!(status, ResourceStatus::Committed { final_len: 1 }), "CHANGED: {status}");
        failing.join().unwrap();
    });
}

/// The ring goes on above its end when it is reactivated; a reader of the old generation does not see that.
fn old_generation(end: End) {
    explore(AtMost(3), move || {
        let mut ring = Ring::new(3);
        let mut cursor = ring.resource.cursor(OnLap::Error);
        let writer = thread::spawn(move || {
            ring.append();
            let resource = ring.resource.clone();
            ring.end(end);
            resource.reactivate().unwrap();
            let mut writer = resource.writer().unwrap();
            writer.append(&[byte(1)]).unwrap();
        });
        for _ in 0..2 {
            let verdict = step(&mut cursor);
            if verdict == Ok(true) {
                assert_eq!(cursor.position(), 1, "read on in the NEXT generation");
            } else if verdict != Err(ReadError::NotYet) {
                let right = if end == End::Commit { Ok(false) } else { Err(ReadError::Failed) };
                assert_eq!(verdict, right, "WRONG verdict");
                assert_eq!(cursor.position(), 1, "EARLY verdict");
            }
        }
        writer.join().unwrap();
    });
}

/// Somebody who has read all of a generation, and looks on.
type AtItsEnd = fn(&mut Ring) -> Box<dyn FnOnce(End) + Send>;

/// The next generation begins with a jump: its start is published before its end, and nothing ties it to the verdict on the
/// old one. Whoever is at the end of that one is told of its end, or of nothing; never that it was overtaken.
fn jump_in_the_next(end: End, at_its_end: AtItsEnd) {
    explore(AtMost(2), move || {
        let mut ring = Ring::new(2);
        let look_on = at_its_end(&mut ring);
        let reader = thread::spawn(move || look_on(end));
        let resource = ring.resource.clone();
        ring.end(end);
        resource.reactivate().unwrap();
        resource.writer().unwrap().write_at(6, &[byte(6)]).unwrap();
        reader.join().unwrap();
    });
}

fn cursor_at_its_end(ring: &mut Ring) -> Box<dyn FnOnce(End) + Send> {
    let mut cursor = ring.resource.cursor(OnLap::SkipToOldest);
    ring.append();
    assert_eq!(step(&mut cursor), Ok(true));
    Box::new(move |end| {
        let window = cursor.reader().valid_window().unwrap();
        assert!(window.start <= 1 && window.end == 1, "sees {window} of the NEXT generation");
        let verdict = step(&mut cursor);
        let right = if end == End::Commit { Ok(false) } else { Err(ReadError::Failed) };
        assert!(verdict == right || verdict == Err(ReadError::NotYet), "{verdict:?} of the NEXT generation");
        assert_eq!((cursor.position(), cursor.laps()), (1, 0), "overtaken by the NEXT generation");
    })
}

fn gate_at_its_end(ring: &mut Ring) -> Box<dyn FnOnce(End) + Send> {
    let mut gate = ring.writer.gate();
    ring.append();
    gate.slices().unwrap().consume(1);
    Box::new(move |end| {
        for _ in 0..2 {
            let verdict = gate.slices().map(|slices| slices.len());
            let right = Err(if end == End::Commit { ReadError::Ended } else { ReadError::Failed });
            assert!(verdict == right || verdict == Err(ReadError::NotYet), "{verdict:?} of the NEXT generation");
            assert_eq!((gate.position(), gate.discontinuities()), (1, 0), "jumped with the NEXT generation");
        }
    })
}

fn sleeper_at_its_end(ring: &mut Ring) -> Box<dyn FnOnce(End) + Send> {
    let reader = ring.resource.reader();
    ring.append();
    Box::new(move |_| match reader.wait_range(1..2) {
        Ok(WaitOutcome::Eof) => {}
        other => panic!("{other:?} of the NEXT generation"),
    })
}
