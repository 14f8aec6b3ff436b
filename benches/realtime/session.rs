//! What happens in the callback: a read, timed, and a look at what was read.

use super::{
    feeder::{FRAMES_KNOWN, frame},
    pipes::{CHANNELS, Callback},
    report::machine::{Usage, now},
};

/// The first calls find cold caches and a thread that was just made real-time; they are not counted.
const WARM_UP: usize = 10;

#[derive(Clone, Copy)]
pub struct Call {
    /// How long after it was due the callback began, in nanoseconds.
    pub late: u64,
    /// How long the read took, in nanoseconds; with one look at the clock in it.
    pub read: u64,
    /// Whether the callback ended after its period.
    pub missed: bool,
    /// Whether frames were missing.
    pub underrun: bool,
}

/// One stretch of playing. Its memory is there before the first call.
pub struct Session {
    callback: Box<dyn Callback>,
    pub out: Vec<f32>,
    calls: Vec<Call>,
    called: usize,
    expected: u64,
    lapping: bool,
    /// How many frames were skipped, where that may happen.
    pub skipped: u64,
    /// How many frames were wrong.
    pub wrong: u64,
    warm: Option<Usage>,
    /// How often the thread touched memory that was not there; none, since all of it was touched before.
    pub faults: u64,
}

impl Session {
    pub fn new(callback: Box<dyn Callback>, lapping: bool, period_frames: usize, calls: usize) -> Self {
        let never = Call { late: u64::MAX, read: u64::MAX, missed: true, underrun: true };
        Self {
            callback,
            out: vec![f32::NAN; period_frames * CHANNELS],
            calls: vec![never; calls + WARM_UP],
            called: 0,
            expected: 0,
            lapping,
            skipped: 0,
            wrong: 0,
            warm: None,
            faults: 0,
        }
    }

    pub fn is_over(&self) -> bool {
        self.called == self.calls.len()
    }

    /// # Real-time
    /// Never allocates, frees or enters the kernel, unless what it reads from does.
    pub fn call(&mut self, late: u64, is_over_time: impl FnOnce() -> bool) {
        let before = now();
        let frames = self.callback.read(&mut self.out);
        let read = now() - before;
        self.check(frames);
        // What was not there is silence.
        self.out[frames * CHANNELS..].fill(0.0);
        let underrun = frames * CHANNELS < self.out.len();
        if let Some(call) = self.calls.get_mut(self.called) {
            *call = Call { late, read, missed: is_over_time(), underrun };
            self.called += 1;
        }
        // These two are system calls: before the first that counts, and behind the last.
        if self.called == WARM_UP {
            self.warm = Some(Usage::so_far());
        } else if let (true, Some(warm)) = (self.is_over(), self.warm.take()) {
            self.faults = Usage::since(warm).faults;
        }
    }

    fn check(&mut self, frames: usize) {
        for read in self.out[..frames * CHANNELS].chunks_exact(CHANNELS) {
            let number = (read[0] as u64).wrapping_sub(1);
            let ahead = number.wrapping_sub(self.expected) % FRAMES_KNOWN;
            let right = read == frame(number) && (ahead == 0 || self.lapping && ahead < FRAMES_KNOWN / 2);
            self.wrong += u64::from(!right);
            self.skipped += ahead;
            self.expected = number.wrapping_add(1);
        }
    }

    /// Those that count.
    pub fn calls(&self) -> &[Call] {
        &self.calls[WARM_UP..self.called.max(WARM_UP)]
    }
}
