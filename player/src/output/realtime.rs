//! What an audio thread asks of the system: to run when it is due, and to sleep until then.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::text::for_people;

/// Below JACK's server (70) and above nearly everything else.
const FIFO_PRIORITY: i32 = 65;

/// How the thread that calls back is scheduled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// In real time: it runs as soon as it is due, before all ordinary threads.
    Fifo {
        /// 1 to 99.
        priority: i32,
    },
    /// In real time, in turn with threads of the same priority.
    RoundRobin {
        /// 1 to 99.
        priority: i32,
    },
    /// Like any other thread, since the system refused more.
    Refused {
        /// What the system said.
        reason: String,
    },
    /// By somebody else, who does not say how.
    Unknown {
        /// Who.
        why: &'static str,
    },
    /// Like any other thread, since the output is no device.
    NotNeeded,
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fifo { priority } => write!(f, "SCHED_FIFO {priority}"),
            Self::RoundRobin { priority } => write!(f, "SCHED_RR {priority}"),
            Self::Refused { reason } => write!(f, "SCHED_OTHER (real-time refused: {reason})"),
            Self::Unknown { why } => write!(f, "unknown ({why})"),
            Self::NotNeeded => f.write_str("SCHED_OTHER (a file needs no real-time thread)"),
        }
    }
}

/// Makes the calling thread a real-time thread, where that is permitted.
pub(super) fn request_real_time() -> Scheduling {
    match set_fifo(FIFO_PRIORITY) {
        Ok(()) => Scheduling::Fifo { priority: FIFO_PRIORITY },
        Err(error) => Scheduling::Refused { reason: for_people(&error) },
    }
}

#[cfg(target_os = "linux")]
fn set_fifo(priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameters` outlives the call, which only reads it. Thread 0 is the calling one.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn set_fifo(_priority: i32) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "not supported on this system"))
}

/// Touches the stack that the callback will use, so that it takes no page fault later.
pub(super) fn touch_stack() {
    let mut stack = [0u8; 64 << 10];
    std::hint::black_box(&mut stack);
}

/// A clock that ticks once a period. Deadlines are absolute: being late once does not make all later ones late.
#[derive(Debug)]
pub(super) struct Pacer {
    deadline: Duration,
    period: Duration,
    remainder: u64,
    period_frames: u64,
    rate_hz: u64,
}

/// A device that fell further behind than this has lost its clock (a suspended machine); it starts anew.
const MAX_LATENESS: Duration = Duration::from_millis(500);

impl Pacer {
    pub(super) fn new(period_frames: usize, rate_hz: u32) -> Self {
        let (period_frames, rate_hz) = (period_frames as u64, u64::from(rate_hz));
        let period = Duration::from_nanos(period_frames * 1_000_000_000 / rate_hz);
        Self { deadline: now(), period, remainder: 0, period_frames, rate_hz }
    }

    /// Puts all further periods off.
    #[cfg(target_os = "linux")]
    pub(super) fn postpone(&mut self, by: Duration) {
        self.deadline += by;
    }

    /// Sleeps until the next period begins.
    pub(super) fn wait(&mut self) {
        self.deadline += self.period;
        // What a period has in fractions of a nanosecond, lest the clock run fast.
        self.remainder += self.period_frames * 1_000_000_000 % self.rate_hz;
        self.deadline += Duration::from_nanos(self.remainder / self.rate_hz);
        self.remainder %= self.rate_hz;
        let now = now();
        if self.deadline + MAX_LATENESS < now {
            self.deadline = now;
        }
        sleep_until(self.deadline);
    }
}

#[cfg(target_os = "linux")]
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(target_os = "linux")]
fn sleep_until(deadline: Duration) {
    use rustix::thread::{ClockId, Timespec, clock_nanosleep_absolute};
    let until = Timespec {
        tv_sec: i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: deadline.subsec_nanos().into(),
    };
    // A signal ends the sleep early; what is left of it is slept again.
    while clock_nanosleep_absolute(ClockId::Monotonic, &until) == Err(rustix::io::Errno::INTR) && now() < deadline {}
}

#[cfg(not(target_os = "linux"))]
fn now() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

#[cfg(not(target_os = "linux"))]
fn sleep_until(deadline: Duration) {
    std::thread::sleep(deadline.saturating_sub(now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pacer_does_not_drift() {
        let mut pacer = Pacer::new(256, 44_100);
        let start = pacer.deadline;
        for _ in 0..100 {
            pacer.wait();
        }
        let expected = Duration::from_nanos(100 * 256 * 1_000_000_000 / 44_100);
        assert_eq!((pacer.deadline - start).as_micros(), expected.as_micros());
        assert!(now() >= pacer.deadline, "it returned before the deadline");
    }

    #[test]
    fn a_refusal_is_said_in_the_words_of_the_system() {
        let refused = Scheduling::Refused { reason: for_people(&io::Error::from_raw_os_error(1)) };
        assert_eq!(refused.to_string(), "SCHED_OTHER (real-time refused: Operation not permitted)");
    }
}
