//! Ready ranges on their way to the disk. The queue has room for one.

use std::ops::Range;

use loom::sync::Arc;
use loom::thread;
use roundelay::internals::{Coverage, ReadyQueue};

use crate::Preemptions::{Any, AtMost};
use crate::{Model, explore};

pub(crate) const MODELS: &[Model] = &[
    passes("ready::one_writer_fills_the_queue", || one_writer(false)),
    passes("ready::two_writers_find_it_full", two_writers),
    fails("ready::a_push_before_the_publication", "LOST", || one_writer(true)),
];

const fn passes(name: &'static str, run: fn()) -> Model {
    Model { name, run, symptom: "" }
}

/// What the library's users owe it: without that, this must fail.
const fn fails(name: &'static str, symptom: &'static str, run: fn()) -> Model {
    Model { name, run, symptom }
}

struct Store {
    coverage: Coverage,
    ready: ReadyQueue,
}

impl Store {
    /// Byte 1 is there, and fills the queue if it is to be full.
    fn new(full: bool) -> Arc<Self> {
        let store = Self { coverage: Coverage::new(), ready: ReadyQueue::new() };
        store.coverage.insert(1..2);
        if full {
            store.ready.push(1..2);
        }
        Arc::new(store)
    }

    fn take(&self) -> Vec<Range<u64>> {
        // What is there as far as the model asks, without the mutex that `available` takes besides.
        let all = || {
            let start = self.coverage.last_missing(&(0..2)).map_or(0, |last| last + 1);
            std::iter::once(start..start + self.coverage.run_now(start, 5)).collect()
        };
        self.ready.take(all).iter().cloned().collect()
    }
}

fn one_writer(too_early: bool) {
    explore(Any, move || {
        let store = Store::new(false);
        let other = store.clone();
        let writer = thread::spawn(move || {
            for at in 2..5 {
                if too_early {
                    other.ready.push(at..at + 1);
                }
                other.coverage.insert(at..at + 1);
                if !too_early {
                    other.ready.push(at..at + 1);
                }
            }
        });
        let mut taken = store.take();
        writer.join().unwrap();
        taken.extend(store.take());
        assert!(
            (2..5).all(|at| taken.iter().any(|range| range.contains(&at))),
            "LOST: all that was taken is {taken:?}"
        );
    });
}

fn two_writers() {
    explore(AtMost(3), || {
        let store = Store::new(true);
        let writers = [0, 2].map(|at| {
            let store = store.clone();
            thread::spawn(move || {
                store.coverage.insert(at..at + 1);
                store.ready.push(at..at + 1);
            })
        });
        let mut taken = store.take();
        for writer in writers {
            writer.join().unwrap();
        }
        taken.extend(store.take());
        assert!(
            (0..3).all(|at| taken.iter().any(|range| range.contains(&at))),
            "LOST: all that was taken is {taken:?}"
        );
    });
}
