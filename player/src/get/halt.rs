//! Stops a download: at once if nothing would be lost by that, otherwise with a moment to keep what is there.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;

/// The connections of a download, and the way to end them all.
#[derive(Clone)]
pub(super) struct Halt(Arc<Connections>);

struct Connections {
    agents: Vec<Agent>,
    halted: Mutex<bool>,
    changed: Condvar,
}

impl Halt {
    /// For the connections that these agents make.
    pub(super) fn new(agents: impl Into<Vec<Agent>>) -> Self {
        Self(Arc::new(Connections { agents: agents.into(), halted: Mutex::new(false), changed: Condvar::new() }))
    }

    fn halted(&self) -> MutexGuard<'_, bool> {
        self.0.halted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hangs up, everywhere. What is read from a connection from now on, an end of file included, means nothing.
    pub(super) fn halt(&self) {
        *self.halted() = true;
        self.0.changed.notify_all();
        for agent in &self.0.agents {
            agent.clone().shutdown();
        }
    }

    pub(super) fn is_halted(&self) -> bool {
        *self.halted()
    }

    /// Sleeps; `false` if it was halted meanwhile.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut halted = self.halted();
        while !*halted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.0.changed.wait_timeout(halted, left);
            halted = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

impl fmt::Debug for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Halt").field("halted", &self.is_halted()).finish_non_exhaustive()
    }
}

/// What an interrupt stops. For a signal's handler; clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    connections: Option<Halt>,
    /// There are bytes here that can be kept.
    holding: bool,
}

impl Stopper {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the download. Returns whether the program should wait for it: not the second time, and not before there
    /// is anything to keep.
    #[must_use]
    pub fn stop(&self) -> bool {
        let (connections, wait) = {
            let mut state = self.state();
            let wait = state.holding && !state.stopped;
            state.stopped = true;
            (state.connections.clone(), wait)
        };
        if let Some(connections) = connections {
            connections.halt();
        }
        wait
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// These are the connections from now on.
    pub(super) fn watch(&self, connections: Halt) {
        let mut state = self.state();
        if state.stopped {
            connections.halt();
        }
        state.connections = Some(connections);
    }

    /// From now on there is something to keep.
    pub(super) fn hold(&self) {
        self.state().holding = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Halt {
        Halt::new([Agent::new_with_defaults()])
    }

    #[test]
    fn a_sleep_ends_when_it_is_halted() {
        let halt = connections();
        assert!(halt.sleep(Duration::from_millis(1)));
        let sleeper = halt.clone();
        let slept = std::thread::spawn(move || sleeper.sleep(Duration::from_secs(3600)));
        halt.halt();
        assert!(!slept.join().unwrap());
    }

    #[test]
    fn the_program_waits_once_and_only_for_something_to_keep() {
        let stopper = Stopper::default();
        assert!(!stopper.stop(), "nothing to keep");
        let stopper = Stopper::default();
        stopper.hold();
        assert!(stopper.stop());
        assert!(!stopper.stop(), "the second time");
    }

    #[test]
    fn connections_made_after_the_stop_are_halted_too() {
        let stopper = Stopper::default();
        let _ = stopper.stop();
        let late = connections();
        stopper.watch(late.clone());
        assert!(late.is_halted());
    }
}
