//! The checker, checked: what it must see, and what it must complain of. Of the library only the futex is in here, which
//! is the checker's as much as the library's.

use std::collections::BTreeSet;
use std::sync::Mutex;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::*, fence};
use loom::thread;
use roundelay::internals::Futex;

use crate::{Model, Preemptions::Any, explore};

pub(crate) const MODELS: &[Model] = &[
    passes("canary::compare_exchange_shows_both_outcomes", || both_outcomes(false)),
    passes("canary::load_then_compare_exchange_shows_both_outcomes", || both_outcomes(true)),
    passes("canary::a_load_more_removes_no_outcome", || assert_eq!(outcomes(false), outcomes(true), "outcomes lost")),
    passes("canary::fences_order_stores_before_loads", store_buffering),
    fails("canary::fences_alone_hand_nothing_over", "Causality violation", handed_over_by_fences),
    fails("canary::a_futex_hands_nothing_over", "Causality violation", handed_over_by_futex),
    fails("canary::a_lost_wake_is_a_deadlock", "deadlock", lost_wake),
    fails("canary::one_execution_is_an_error", "one execution", || explore(Any, || ())),
];

const fn passes(name: &'static str, run: fn()) -> Model {
    Model { name, run, symptom: "" }
}

const fn fails(name: &'static str, symptom: &'static str, run: fn()) -> Model {
    Model { name, run, symptom }
}

/// Collects what `body` returns over all executions.
fn all<T: Ord + Send + 'static>(body: impl Fn() -> T + Send + Sync + 'static) -> BTreeSet<T> {
    let seen = std::sync::Arc::new(Mutex::new(BTreeSet::new()));
    let inside = seen.clone();
    explore(Any, move || {
        let one = body();
        inside.lock().unwrap().insert(one);
    });
    std::mem::take(&mut *seen.lock().unwrap())
}

/// Stock loom explores one execution of the second form (its issues #166 and #392).
fn both_outcomes(load_first: bool) {
    let seen = all(move || {
        let word = Arc::new(AtomicU64::new(0));
        let other = word.clone();
        let thread = thread::spawn(move || {
            if load_first {
                other.load(Relaxed);
            }
            let _ = other.compare_exchange(0, 1, AcqRel, Relaxed);
        });
        let value = word.load(Acquire);
        thread.join().unwrap();
        value
    });
    assert_eq!(seen, BTreeSet::from([0, 1]), "an outcome is missing");
}

fn outcomes(load_more: bool) -> BTreeSet<(u64, u64)> {
    all(move || {
        let words = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let (first, second) = (words.clone(), words);
        let writer = thread::spawn(move || {
            first.0.store(1, SeqCst);
            first.1.store(1, SeqCst);
            first.1.store(0, SeqCst);
            if load_more {
                first.0.load(SeqCst);
            }
            first.0.store(0, SeqCst);
        });
        let reader = thread::spawn(move || {
            let one = second.1.load(SeqCst);
            (one, second.0.load(SeqCst))
        });
        writer.join().unwrap();
        reader.join().unwrap()
    })
}

fn store_buffering() {
    explore(Any, || {
        let words = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let other = words.clone();
        let thread = thread::spawn(move || {
            other.0.store(1, Relaxed);
            fence(SeqCst);
            other.1.load(Relaxed)
        });
        words.1.store(1, Relaxed);
        fence(SeqCst);
        let mine = words.0.load(Relaxed);
        assert!(mine == 1 || thread.join().unwrap() == 1, "both missed the other's store");
    });
}

struct Handover {
    value: UnsafeCell<u64>,
    asked: AtomicU64,
    done: AtomicU64,
}

// SAFETY: it is not. That the checker says so is what these two models are for.
unsafe impl Sync for Handover {}
// SAFETY: it holds numbers.
unsafe impl Send for Handover {}

impl Handover {
    fn new() -> Arc<Self> {
        Arc::new(Self { value: UnsafeCell::new(0), asked: AtomicU64::new(0), done: AtomicU64::new(0) })
    }

    fn write(&self) {
        // SAFETY: the pointer is that of the cell; whether another thread reads is the checker's to say.
        self.value.with_mut(|value| unsafe { *value = 1 });
    }

    fn read(&self) -> u64 {
        // SAFETY: as in `write`.
        self.value.with(|value| unsafe { *value })
    }
}

/// A SeqCst fence orders; with relaxed accesses alone it does not synchronise. Stock loom says that it does.
fn handed_over_by_fences() {
    explore(Any, || {
        let shared = Handover::new();
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.write();
            fence(SeqCst);
            if other.asked.load(Relaxed) == 0 {
                other.done.store(1, Relaxed);
            }
        });
        shared.asked.store(1, Relaxed);
        fence(SeqCst);
        if shared.done.load(Relaxed) == 1 {
            assert_eq!(shared.read(), 1);
        }
        thread.join().unwrap();
    });
}

fn handed_over_by_futex() {
    explore(Any, || {
        let shared = Arc::new((Handover::new(), Futex::new()));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.0.write();
            other.1.bump_and_wake();
        });
        shared.1.wait(0, None);
        assert_eq!(shared.0.read(), 1);
        thread.join().unwrap();
    });
}

fn lost_wake() {
    explore(Any, || {
        let shared = Arc::new((AtomicU64::new(0), Futex::new()));
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.1.bump_and_wake();
            // Too late: whoever slept looks before this and sleeps again.
            other.0.store(1, Release);
        });
        loop {
            let key = shared.1.key();
            if shared.0.load(Acquire) == 1 {
                break;
            }
            shared.1.wait(key, None);
        }
        thread.join().unwrap();
    });
}
