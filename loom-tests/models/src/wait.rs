//! Protocol 3: sleeping on a futex until a byte is there.
//!
//! A lost wake shows as a deadlock: the futex of `sync.rs` sleeps for ever under loom, and hands on no happens-before.

use std::sync::Arc as StdArc;
use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::*, fence};
use loom::thread;
use roundelay::internals::{Deadline, Futex, Interrupts, Look, Patience, WaitTable, Waited, WakeAll};

use crate::Preemptions::{Any, AtMost};
use crate::{explore, models};

models! {
    one_sleeper => one_sleeper(),
    one_sleeper_two_publications => silent_then_notify(&[(0, 1), (1, 2)], 1),
    two_sleepers_one_slot => two_sleepers::<1>([0, 1]),
    two_sleepers_one_slot_the_other_way_round => two_sleepers::<1>([1, 0]),
    two_sleepers_on_the_shared_word => two_sleepers::<0>([0, 1]),
    two_sleepers_two_slots => two_sleepers::<2>([0, 1]),
    a_slot_used_again => slot_used_again(),
    a_timeout_comes_after_a_last_look => last_look(),
    two_interrupts_in_a_row => interrupts(),
    an_interrupt_before_the_wait => interrupt_before(),
    an_interrupt_ends_both_waits => interrupt_both(),
    an_interrupt_is_answered_once => interrupt_once(),
    several_gaps_filled_from_behind => gaps([2, 0], false),
    several_gaps_filled_from_the_front => gaps([0, 2], false),
    several_gaps_filled_by_two => gaps([2, 0], true),
    three_silent_publications_one_notification => silent_then_notify(&[(0, 3)], 3),
    two_wakers_one_sleeper => two_wakers(),
    bumps_never_add_up => bumps(),
    a_publisher_goes_silent => goes_silent(),
}

/// A live edge, and who waits for it.
struct Line<const N: usize> {
    end: AtomicU64,
    waits: WaitTable<N>,
}

impl<const N: usize> Line<N> {
    fn new() -> Arc<Self> {
        Arc::new(Self { end: AtomicU64::new(0), waits: WaitTable::new() })
    }

    fn publish_silently(&self, end: u64) {
        self.end.store(end, Release);
    }

    fn publish(&self, end: u64) {
        self.publish_silently(end);
        self.waits.notify(end - 1..end);
    }

    fn look(&self, byte: u64) -> Look<()> {
        if byte < self.end.load(Acquire) { Look::Done(()) } else { Look::Missing(byte) }
    }

    fn wait(&self, byte: u64) {
        assert_eq!(self.waits.wait(&Patience::default(), || self.look(byte)), Waited::Done(()));
    }
}

fn one_sleeper() {
    explore(Any, || {
        let line = Line::<1>::new();
        let other = line.clone();
        let sleeper = thread::spawn(move || other.wait(0));
        line.publish(1);
        sleeper.join().unwrap();
    });
}

fn two_sleepers<const N: usize>(bytes: [u64; 2]) {
    explore(AtMost(2), move || {
        let line = Line::<N>::new();
        let sleepers = bytes.map(|byte| {
            let line = line.clone();
            thread::spawn(move || line.wait(byte))
        });
        line.publish(1);
        line.publish(2);
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

/// One sleeper finds, just after it has armed its slot, that it need not sleep, and leaves the slot to another.
fn slot_used_again() {
    explore(AtMost(3), || {
        let line = Line::<1>::new();
        let first = line.clone();
        let first = thread::spawn(move || {
            let mut looks = 0;
            let look = || {
                looks += 1;
                // Before the claim, before arming, after.
                if looks < 3 { Look::Missing(7) } else { Look::Done(()) }
            };
            assert_eq!(first.waits.wait(&Patience::default(), look), Waited::Done(()));
        });
        let second = line.clone();
        let second = thread::spawn(move || second.wait(0));
        line.publish(1);
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// What was published before the deadline passed is not reported as a timeout.
fn last_look() {
    explore(Any, || {
        let line = Line::<1>::new();
        let deadline = Deadline::after(Duration::from_secs(1));
        let (other, clock) = (line.clone(), deadline.clone());
        let sleeper = thread::spawn(move || {
            let patience = Patience { deadline: Some(&clock), interrupts: None, from: None };
            let look = || {
                // With the fence below: a clock that is seen to have passed comes with what was published before.
                fence(Acquire);
                other.look(0)
            };
            assert_eq!(other.waits.wait(&patience, look), Waited::Done(()), "TIMED OUT with the byte there");
        });
        line.publish(1);
        fence(Release);
        deadline.pass();
        sleeper.join().unwrap();
    });
}

/// The table as something to interrupt.
struct Table(WaitTable<1>);

impl WakeAll for Table {
    fn wake_all(&self) {
        self.0.notify_all();
    }
}

fn until_interrupted(interrupts: &Interrupts) -> Patience<'_> {
    Patience { deadline: None, interrupts: Some(interrupts.watch()), from: None }
}

/// Each command is published before its interrupt, and each must be seen.
fn interrupts() {
    explore(AtMost(3), || {
        let table = StdArc::new(Table(WaitTable::new()));
        let commands = Arc::new(AtomicU64::new(0));
        let interrupts = Interrupts::new();
        let interrupter = interrupts.interrupter(table.clone());
        let published = commands.clone();
        let sleeper = thread::spawn(move || {
            while published.load(Relaxed) < 2 {
                let patience = until_interrupted(&interrupts);
                let waited: Waited<()> = table.0.wait(&patience, || Look::Missing(0));
                assert_eq!(waited, Waited::Interrupted);
            }
        });
        for command in 1..=2 {
            commands.store(command, Relaxed);
            interrupter.interrupt();
        }
        sleeper.join().unwrap();
    });
}

fn interrupt_before() {
    explore(Any, || {
        let line = Line::<1>::new();
        let table = StdArc::new(Table(WaitTable::new()));
        let interrupts = Interrupts::new();
        let interrupter = interrupts.interrupter(table.clone());
        let other = line.clone();
        let sleeper = thread::spawn(move || {
            let patience = until_interrupted(&interrupts);
            let waited: Waited<()> = table.0.wait(&patience, || Look::Missing(0));
            assert_eq!(waited, Waited::Interrupted);
            // What the interrupter did before is seen.
            assert_eq!(other.end.load(Relaxed), 1, "INTERRUPTED without the reason");
        });
        line.publish_silently(1);
        interrupter.interrupt();
        sleeper.join().unwrap();
    });
}

/// Two threads wait on one handle when it is interrupted.
fn interrupt_both() {
    explore(AtMost(2), || {
        let table = StdArc::new(Table(WaitTable::new()));
        let interrupts = StdArc::new(Interrupts::new());
        let patience = until_interrupted(&interrupts);
        let second = {
            let (table, interrupts) = (table.clone(), interrupts.clone());
            thread::spawn(move || {
                let patience = until_interrupted(&interrupts);
                // Both have begun by now.
                let interrupter = interrupts.interrupter(table.clone());
                let interrupting = thread::spawn(move || interrupter.interrupt());
                let waited: Waited<()> = table.0.wait(&patience, || Look::Missing(0));
                assert_eq!(waited, Waited::Interrupted);
                interrupting.join().unwrap();
            })
        };
        let waited: Waited<()> = table.0.wait(&patience, || Look::Missing(0));
        assert_eq!(waited, Waited::Interrupted);
        second.join().unwrap();
        assert!(interrupts.is_quiet(), "AGAIN: it has ended two waits already");
    });
}

/// One thread answers the first of two interrupts, another both.
fn interrupt_once() {
    explore(Any, || {
        let table = StdArc::new(Table(WaitTable::new()));
        let interrupts = StdArc::new(Interrupts::new());
        interrupts.interrupter(table.clone()).interrupt();
        let patience = until_interrupted(&interrupts);
        let both = {
            let (table, interrupts) = (table.clone(), interrupts.clone());
            thread::spawn(move || {
                let patience = until_interrupted(&interrupts);
                interrupts.interrupter(table.clone()).interrupt();
                let waited: Waited<()> = table.0.wait(&patience, || Look::Missing(0));
                assert_eq!(waited, Waited::Interrupted);
            })
        };
        let waited: Waited<()> = table.0.wait(&patience, || Look::Missing(0));
        assert_eq!(waited, Waited::Interrupted);
        both.join().unwrap();
        assert!(interrupts.is_quiet(), "AGAIN: both were answered");
    });
}

/// A store without order: three bytes, of which the middle one is there. The sleeper needs all.
fn gaps(order: [usize; 2], two_writers: bool) {
    struct Store {
        there: [AtomicU64; 3],
        waits: WaitTable<1>,
    }
    impl Store {
        fn put(&self, byte: usize) {
            self.there[byte].store(1, Release);
            self.waits.notify(byte as u64..byte as u64 + 1);
        }
        fn look(&self) -> Look<()> {
            match (0..3).rev().find(|&byte| self.there[byte].load(Acquire) == 0) {
                None => Look::Done(()),
                Some(byte) => Look::Missing(byte as u64),
            }
        }
    }
    explore(AtMost(3), move || {
        let store = Arc::new(Store { there: [0, 1, 0].map(AtomicU64::new), waits: WaitTable::new() });
        let other = store.clone();
        let sleeper = thread::spawn(move || {
            assert_eq!(other.waits.wait(&Patience::default(), || other.look()), Waited::Done(()));
        });
        if two_writers {
            let other = store.clone();
            let writer = thread::spawn(move || other.put(order[0]));
            store.put(order[1]);
            writer.join().unwrap();
        } else {
            for byte in order {
                store.put(byte);
            }
        }
        sleeper.join().unwrap();
    });
}

/// Publishes byte by byte up to `end`, and notifies these ranges at the end.
fn silent_then_notify(ranges: &'static [(u64, u64)], end: u64) {
    explore(Any, move || {
        let line = Line::<1>::new();
        let other = line.clone();
        let sleeper = thread::spawn(move || other.wait(0));
        for end in 1..=end {
            line.publish_silently(end);
        }
        for &(from, to) in ranges {
            line.waits.notify(from..to);
        }
        sleeper.join().unwrap();
    });
}

/// Somebody else bumps the word meanwhile: bumps must not add up to a word that looks untouched.
fn bumps() {
    explore(AtMost(3), || {
        let shared = Arc::new((AtomicU64::new(0), Futex::new()));
        let (sleeper, bystander) = (shared.clone(), shared.clone());
        let sleeper = thread::spawn(move || {
            loop {
                let key = sleeper.1.key();
                fence(SeqCst);
                if sleeper.0.load(Acquire) == 1 {
                    break;
                }
                sleeper.1.wait(key, None);
            }
        });
        let bystander = thread::spawn(move || bystander.1.bump_and_wake());
        shared.1.bump_and_wake();
        shared.0.store(1, Release);
        fence(SeqCst);
        shared.1.bump_and_wake();
        bystander.join().unwrap();
        sleeper.join().unwrap();
    });
}

/// Two that notify the same sleeper at once.
fn two_wakers() {
    explore(AtMost(2), || {
        let line = Line::<1>::new();
        let (sleeper, waker) = (line.clone(), line.clone());
        let sleeper = thread::spawn(move || sleeper.wait(1));
        let waker = thread::spawn(move || waker.waits.notify_all());
        line.publish(1);
        line.publish(2);
        waker.join().unwrap();
        sleeper.join().unwrap();
    });
}

/// Whoever sleeps without a limit when the publisher goes silent hears of it, and looks for itself from then on.
fn goes_silent() {
    explore(Any, || {
        let line = Line::<1>::new();
        let other = line.clone();
        let sleeper = thread::spawn(move || other.wait(0));
        line.waits.go_silent(Duration::from_millis(1));
        line.publish_silently(1);
        sleeper.join().unwrap();
    });
}
