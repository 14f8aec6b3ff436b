//! A device that throws the audio away, on time: a real-time thread, called once a period.

use super::{pipes::RATE_HZ, report::machine::now, session::Session};
use std::{fmt, io, thread};

/// Where JACK has its clients.
const FIFO_PRIORITY: i32 = 65;

/// How a thread is scheduled, by what the system says of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Scheduling {
    RealTime { priority: i32 },
    Ordinary { refused: Option<String> },
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RealTime { priority } => write!(f, "SCHED_FIFO {priority}"),
            Self::Ordinary { refused: Some(why) } => write!(f, "SCHED_OTHER: real-time scheduling was refused ({why})"),
            Self::Ordinary { refused: None } => f.write_str("SCHED_OTHER"),
        }
    }
}

impl Scheduling {
    /// Of this thread.
    pub fn current() -> Self {
        let mut parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: thread 0 is this one.
        let policy = unsafe { libc::sched_getscheduler(0) };
        // SAFETY: as above; `parameters` outlives the call, which writes it.
        let result = unsafe { libc::sched_getparam(0, &raw mut parameters) };
        // Whoever may only have it for himself and not for his children has a flag beside the policy.
        match policy & !libc::SCHED_RESET_ON_FORK {
            libc::SCHED_FIFO if result == 0 => Self::RealTime { priority: parameters.sched_priority },
            _ => Self::Ordinary { refused: None },
        }
    }

    /// Makes this thread one of real time, if that is permitted.
    pub fn request_real_time() -> Self {
        let parameters = libc::sched_param { sched_priority: FIFO_PRIORITY };
        // SAFETY: thread 0 is this one; `parameters` outlives the call, which reads it.
        let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
        if result != 0 {
            // The system's words, without Rust's "(os error 1)".
            let why = io::Error::last_os_error().to_string();
            let why = why.split(" (os error").next().unwrap_or_default().to_owned();
            return Self::Ordinary { refused: Some(why) };
        }
        Self::current()
    }
}

/// Plays to the end, and says how the thread was scheduled.
pub fn play(mut session: Session, period_frames: usize) -> (Session, Scheduling) {
    let thread = thread::spawn(move || {
        touch_stack();
        let scheduling = Scheduling::request_real_time();
        let mut due = Deadline::new(period_frames);
        while !session.is_over() {
            due.sleep();
            // One that is behind by more than this has lost its clock, as a device does that stops.
            if now() > due.at + 500_000_000 {
                due.at = now();
            }
            let late = now().saturating_sub(due.at);
            let next = due.next();
            session.call(late, || now() > next);
        }
        (session, scheduling)
    });
    thread.join().expect("the callback does not panic")
}

/// Touches the stack that the callback uses, so that it takes no page fault later.
fn touch_stack() {
    let mut stack = [0u8; 64 << 10];
    std::hint::black_box(&mut stack);
}

/// When the next period begins. Absolute: being late once does not make all later ones late.
struct Deadline {
    at: u64,
    period_frames: u64,
    /// Of a nanosecond, in parts of the rate.
    remainder: u64,
}

impl Deadline {
    fn new(period_frames: usize) -> Self {
        Self { at: now(), period_frames: period_frames as u64, remainder: 0 }
    }

    /// When the period after the present one begins.
    fn next(&self) -> u64 {
        self.at + (self.period_frames * 1_000_000_000 + self.remainder) / RATE_HZ
    }

    fn sleep(&mut self) {
        use rustix::thread::{ClockId, Timespec, clock_nanosleep_absolute};
        let next = self.next();
        self.remainder = (self.period_frames * 1_000_000_000 + self.remainder) % RATE_HZ;
        self.at = next;
        let at = Timespec { tv_sec: (next / 1_000_000_000) as i64, tv_nsec: (next % 1_000_000_000) as i64 };
        // A signal ends the sleep early; what is left of it is slept again.
        while clock_nanosleep_absolute(ClockId::Monotonic, &at) == Err(rustix::io::Errno::INTR) {}
    }
}
