//! The thread that fills what the callback empties.

use super::{
    pipes::{AHEAD_FRAMES, CHANNELS, Feed, RATE_HZ},
    report::machine::Usage,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What a decoder gives at a time.
const BLOCK_FRAMES: usize = 256;

/// How the writer goes about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Writes whenever there is room for a block.
    Steady,
    /// Fills all there is room for, then does nothing for most of the time that lasts.
    Bursts,
    /// Writes twice as much as is played, without looking at the other end.
    Laps,
}

/// Below the 21 ms that there are: nothing is missing unless somebody else is late.
const STALL: Duration = Duration::from_millis(14);

/// Frame `n` of what is played: exact in an `f32`, different in both channels, and unlike silence.
pub fn frame(n: u64) -> [f32; CHANNELS] {
    let n = (n % FRAMES_KNOWN + 1) as f32;
    [n, -n]
}

/// After so many frames they begin anew.
pub const FRAMES_KNOWN: u64 = 1 << 23;

pub struct Feeder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Feeder {
    /// Starts to write, and returns when there is no room for more.
    pub fn start(mut feed: Box<dyn Feed>, habit: Habit) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (full, filled) = mpsc::channel();
        let thread = thread::spawn({
            let stop = stop.clone();
            move || {
                let mut source = Source { next: 0, block: Vec::with_capacity(2 * AHEAD_FRAMES * CHANNELS) };
                while source.next < AHEAD_FRAMES as u64 {
                    let left = AHEAD_FRAMES - source.next as usize;
                    source.give(left.min(BLOCK_FRAMES), |frames| feed.try_write(frames));
                }
                full.send(()).expect("somebody waits for it");
                let before = Usage::so_far();
                // Relaxed: the flag goes with no other memory.
                while !stop.load(Relaxed) {
                    source.go_on(&mut *feed, habit);
                }
                Usage::since(before).sleeps
            }
        });
        filled.recv().expect("the writer does not panic");
        Self { stop, thread }
    }

    /// Ends it, and returns how often it has slept.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

struct Source {
    next: u64,
    block: Vec<f32>,
}

impl Source {
    /// Gives the next frames; says whether all of them were taken.
    fn give(&mut self, frames: usize, write: impl FnOnce(&[f32]) -> usize) -> bool {
        self.block.clear();
        self.block.extend((self.next..self.next + frames as u64).flat_map(frame));
        let written = write(&self.block);
        self.next += written as u64;
        written == frames
    }

    fn go_on(&mut self, feed: &mut dyn Feed, habit: Habit) {
        match habit {
            Habit::Steady => drop(self.give(BLOCK_FRAMES, |frames| feed.write(frames))),
            Habit::Bursts => {
                while self.give(BLOCK_FRAMES / 4, |frames| feed.try_write(frames)) {}
                thread::sleep(STALL);
            }
            Habit::Laps => {
                let began = Instant::now();
                thread::sleep(feed.pace());
                // Twice what was played meanwhile, in steps that keep frames whole wherever the window begins.
                let frames = 2 * began.elapsed().as_micros() as u64 * RATE_HZ / 1_000_000;
                let frames = (frames as usize).min(2 * AHEAD_FRAMES) / 4 * 4;
                self.give(frames.max(4), |frames| {
                    frames.chunks(2 * BLOCK_FRAMES).map(|piece| feed.try_write(piece)).sum()
                });
            }
        }
    }
}
