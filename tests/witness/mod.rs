//! An observer that remembers what it was told.
#![allow(dead_code)] // each test binary uses what it needs

use roundelay::{AvailabilityObserver, StorageError};
use std::{
    mem,
    ops::Range,
    sync::{Arc, Mutex},
};

/// What an observer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Write(Range<u64>),
    Evict(Range<u64>),
    Commit(u64),
    Fail(String),
    Cancel,
}

/// Remembers, in order.
#[derive(Default)]
pub struct Witness(Mutex<Vec<Event>>);

impl Witness {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn remember(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    /// What happened since the last call.
    pub fn take(&self) -> Vec<Event> {
        mem::take(&mut *self.0.lock().unwrap())
    }
}

impl AvailabilityObserver for Witness {
    fn on_write(&self, range: Range<u64>) {
        self.remember(Event::Write(range));
    }

    fn on_commit(&self, final_len: u64) {
        self.remember(Event::Commit(final_len));
    }

    fn on_evict(&self, range: Range<u64>) {
        self.remember(Event::Evict(range));
    }

    fn on_fail(&self, reason: &StorageError) {
        self.remember(Event::Fail(reason.to_string()));
    }

    fn on_cancel(&self) {
        self.remember(Event::Cancel);
    }
}
