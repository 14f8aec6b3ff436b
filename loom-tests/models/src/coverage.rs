//! Protocol 6: which bytes of a linear store are there.
//!
//! One block. The byte at offset `o` is `o + 1`. What is there at the start is inserted before any thread is, so that no
//! leaf is made while others look: that is the standard library's `OnceLock`, of which loom knows nothing.

use std::ops::Range;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use roundelay::internals::{Coverage, Life, Look, Patience, Stage, WaitTable, Waited};

use crate::Preemptions::{Any, AtMost};
use crate::{Model, explore};

pub(crate) const MODELS: &[Model] = &[
    // No piece is left behind.
    passes("coverage::a_stray_and_who_joins_it", || stray(false)),
    passes("coverage::two_strays_and_who_joins_them", two_strays),
    // What is there was written.
    passes("coverage::a_stray_and_who_joins_it_with_a_reader", || stray(true)),
    passes("coverage::two_neighbours_at_once_with_a_reader", neighbours),
    passes("coverage::a_commit_over_the_bytes_of_another", commit),
    passes("coverage::a_reader_of_what_a_cut_leaves", cut),
    // Whoever sleeps is woken by the notification of its own byte.
    passes("coverage::a_sleeper_on_a_stray", || sleeper(false, Coverage::covers)),
    passes("coverage::a_sleeper_on_a_stray_that_is_joined", || sleeper(true, Coverage::covers)),
    fails("coverage::a_sleeper_that_looks_at_words_only", "deadlock", || sleeper(true, Coverage::covers_now)),
];

const fn passes(name: &'static str, run: fn()) -> Model {
    Model { name, run, symptom: "" }
}

/// What the library's users owe it: without that, this must fail.
const fn fails(name: &'static str, symptom: &'static str, run: fn()) -> Model {
    Model { name, run, symptom }
}

struct Store {
    bytes: [UnsafeCell<u8>; 5],
    coverage: Coverage,
}

// SAFETY: that no byte is written while another thread reads it is what the models check.
unsafe impl Sync for Store {}

impl Store {
    fn holding(range: Range<u64>) -> Arc<Self> {
        let store = Self { bytes: std::array::from_fn(|_| UnsafeCell::new(0)), coverage: Coverage::new() };
        store.write(range);
        Arc::new(store)
    }

    fn write(&self, range: Range<u64>) {
        for at in range.clone() {
            // SAFETY: the pointer is that of the cell; whether another thread reads is the checker's to say.
            self.bytes[at as usize].with_mut(|byte| unsafe { *byte = at as u8 + 1 });
        }
        self.coverage.insert(range);
    }

    fn read(&self, range: Range<u64>) {
        for at in range {
            // SAFETY: as in `write`.
            self.bytes[at as usize].with(|byte| assert_eq!(unsafe { *byte }, at as u8 + 1, "NOBODY WROTE {at}"));
        }
    }

    /// Reads what is there from `at` on.
    fn look(&self, at: u64) {
        self.read(at..at + self.coverage.run_now(at, 5));
    }

    fn check(&self, range: Range<u64>) {
        assert!(self.coverage.covers_now(&range), "STUCK: {:?} is not in its word", self.coverage.available());
    }
}

/// A piece that touches nothing, and another one between it and the extent.
fn stray(reader: bool) {
    explore(if reader { AtMost(3) } else { Any }, move || {
        let store = Store::holding(2..3);
        let other = store.clone();
        let writer = thread::spawn(move || other.write(0..1));
        let other = store.clone();
        let reader = reader.then(|| thread::spawn(move || other.look(0)));
        store.write(1..2);
        writer.join().unwrap();
        if let Some(reader) = reader {
            reader.join().unwrap();
        }
        store.check(0..3);
    });
}

/// One stray on either side.
fn two_strays() {
    explore(AtMost(3), || {
        let store = Store::holding(2..3);
        let strays = [0, 4].map(|at| {
            let store = store.clone();
            thread::spawn(move || store.write(at..at + 1))
        });
        store.write(1..2);
        store.write(3..4);
        for stray in strays {
            stray.join().unwrap();
        }
        store.check(0..5);
    });
}

/// Two that extend one word, each by its own side.
fn neighbours() {
    explore(AtMost(3), || {
        let store = Store::holding(1..2);
        let writers = [0, 2].map(|at| {
            let store = store.clone();
            thread::spawn(move || store.write(at..at + 1))
        });
        store.look(1);
        store.look(0);
        for writer in writers {
            writer.join().unwrap();
        }
        store.check(0..3);
    });
}

/// Who commits has not written all; who reads what is committed does not look at the coverage.
fn commit() {
    explore(AtMost(3), || {
        let shared = Arc::new((Store::holding(1..2), Life::active()));
        let (writer, reader) = (shared.clone(), shared.clone());
        let writer = thread::spawn(move || writer.0.write(0..1));
        let reader = thread::spawn(move || {
            if reader.1.stage() == Stage::Committed(2) {
                reader.0.read(0..2);
            }
        });
        if shared.0.coverage.first_missing(&(0..2)).is_none() {
            shared.1.commit(2);
        }
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

/// What a cut leaves of an extent is as published as before.
fn cut() {
    explore(Any, || {
        let store = Store::holding(1..2);
        let other = store.clone();
        let reader = thread::spawn(move || other.look(0));
        store.write(0..1);
        store.coverage.truncate(1);
        reader.join().unwrap();
        assert_eq!(store.coverage.end(), 1);
    });
}

/// A sleeper waits for a byte that is a stray at first, or for ever. Each writer notifies of its own piece.
fn sleeper(joined: bool, there: fn(&Coverage, &Range<u64>) -> bool) {
    explore(AtMost(3), move || {
        let shared = Arc::new((Store::holding(2..3), WaitTable::<1>::new()));
        let put = |shared: &(Arc<Store>, WaitTable<1>), at: u64| {
            shared.0.write(at..at + 1);
            shared.1.notify(at..at + 1);
        };
        let (writer, sleeper) = (shared.clone(), shared.clone());
        let writer = thread::spawn(move || put(&writer, 0));
        let sleeper = thread::spawn(move || {
            let look = || if there(&sleeper.0.coverage, &(0..1)) { Look::Done(()) } else { Look::Missing(0) };
            assert_eq!(sleeper.1.wait(&Patience::default(), look), Waited::Done(()));
            sleeper.0.read(0..1);
        });
        if joined {
            put(&shared, 1);
        }
        writer.join().unwrap();
        sleeper.join().unwrap();
    });
}
