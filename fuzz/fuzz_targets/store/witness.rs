//! The observer: it remembers what it hears.

use roundelay::{AvailabilityObserver, StorageError};
use std::{mem, ops::Range, sync::Mutex};

#[derive(Debug, PartialEq)]
pub enum Event {
    Write(Range<u64>),
    Commit(u64),
    Fail,
    Cancel,
}

#[derive(Default)]
pub struct Witness(Mutex<Vec<Event>>);

impl Witness {
    fn heard(&self, event: Event) {
        self.0.lock().expect("no panic goes on").push(event);
    }

    /// What happened since the last call.
    pub fn take(&self) -> Vec<Event> {
        mem::take(&mut *self.0.lock().expect("no panic goes on"))
    }
}

impl AvailabilityObserver for Witness {
    fn on_write(&self, range: Range<u64>) {
        self.heard(Event::Write(range));
    }

    fn on_commit(&self, final_len: u64) {
        self.heard(Event::Commit(final_len));
    }

    fn on_evict(&self, range: Range<u64>) {
        panic!("nothing is evicted, and not {range:?}");
    }

    fn on_fail(&self, _: &StorageError) {
        self.heard(Event::Fail);
    }

    fn on_cancel(&self) {
        self.heard(Event::Cancel);
    }
}
