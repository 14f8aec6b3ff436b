//! What the devices of all sound systems have in common.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::realtime::Scheduling;
use super::{OutputError, Session};
use crate::summary::DeviceFigures;

/// Samples a frame, of every device.
pub(super) const CHANNELS: usize = 2;

/// A device that has gone is asked for again this often.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A device of a sound system, open, and silent so far.
pub(super) trait Device: fmt::Debug + Send {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it is, for people.
    fn describe(&self) -> String;

    /// What it counts.
    fn counters(&self) -> Arc<Counters>;

    /// Plays until the session is over or stopped; a device that goes away meanwhile is waited for. `changed` hears of
    /// that.
    fn play(self: Box<Self>, session: Session, changed: &mut dyn FnMut(DeviceState))
    -> Result<Scheduling, OutputError>;
}

/// Whether a device plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// It does, again.
    Playing,
    /// It has gone, and is waited for.
    Stopped {
        /// What became of it.
        why: String,
    },
}

/// What a device's threads count, for others to see. Relaxed, all of it: numbers that go with no other memory.
#[derive(Debug, Default)]
pub(super) struct Counters {
    rate_hz: AtomicU64,
    period_frames: AtomicU64,
    xruns: AtomicU64,
    stops: AtomicU64,
}

impl Counters {
    pub(super) fn set_pace(&self, rate_hz: u32, period_frames: usize) {
        self.rate_hz.store(rate_hz.into(), Relaxed);
        self.period_frames.store(period_frames as u64, Relaxed);
    }

    pub(super) fn add_xrun(&self) {
        self.xruns.fetch_add(1, Relaxed);
    }

    pub(super) fn add_stop(&self) {
        self.stops.fetch_add(1, Relaxed);
    }

    pub(super) fn rate_hz(&self) -> u32 {
        u32::try_from(self.rate_hz.load(Relaxed)).unwrap_or(u32::MAX)
    }

    pub(super) fn period_frames(&self) -> usize {
        usize::try_from(self.period_frames.load(Relaxed)).unwrap_or(usize::MAX)
    }

    pub(super) fn figures(&self) -> DeviceFigures {
        DeviceFigures {
            rate_hz: self.rate_hz(),
            period_frames: self.period_frames.load(Relaxed),
            xruns: self.xruns.load(Relaxed),
            stops: self.stops.load(Relaxed),
        }
    }
}
