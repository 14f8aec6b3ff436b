//! What the callback reads from: ours, and what is used otherwise. Each has two ends; both are asked for the same.

use roundelay::{
    Cursor, OnLap, Publication, ReadError, Resource, RingDriver, RingOptions, Writer,
    pcm::{self, Epoch, PcmOptions, PcmReader, PcmWriter},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

pub const CHANNELS: usize = 2;
pub const RATE_HZ: u64 = 48_000;

/// How far the writer may be ahead: 21 ms. In bytes it is a power of two, which none of the contenders dislikes.
pub const AHEAD_FRAMES: usize = 1_024;

/// How long a writer waits at most before it looks whether it should stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// How often a writer looks that nobody wakes, and that does not know for how long its frames last.
pub const POLL: Duration = Duration::from_millis(1);

/// The callback's end.
pub trait Callback: Send {
    /// Copies frames to the beginning of `out`, as many as there are, and returns how many.
    fn read(&mut self, out: &mut [f32]) -> usize;
}

/// The other end, on a thread like any other.
pub trait Feed: Send {
    /// Writes what fits now, and returns how many frames that is. Where frames may be overtaken, that is all of them.
    fn try_write(&mut self, frames: &[f32]) -> usize;
    /// Writes all frames, and sleeps while there is no room; gives up after a while, and returns how many it wrote.
    fn write(&mut self, frames: &[f32]) -> usize;
    /// How long it sleeps when its work comes at a rate of its own.
    fn pace(&self) -> Duration {
        5 * POLL
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Roundelay,
    Condvar,
    Rtrb,
    Poll,
}

impl Contender {
    pub const ALL: [Self; 4] = [Self::Roundelay, Self::Condvar, Self::Rtrb, Self::Poll];

    pub fn name(self) -> &'static str {
        match self {
            Self::Roundelay => "roundelay",
            Self::Condvar => "Mutex + Condvar + VecDeque",
            Self::Rtrb => "rtrb, writer paced by the clock",
            Self::Poll => "rtrb, writer polls each 1 ms",
        }
    }

    /// Both ends; of something that is overwritten while it is read, if that is asked for.
    pub fn open(self, lapping: bool) -> (Box<dyn Feed>, Box<dyn Callback>) {
        match (self, lapping) {
            (Self::Roundelay, false) => {
                let options = PcmOptions { capacity_frames: AHEAD_FRAMES, history_frames: 0, ..PcmOptions::default() };
                let (writer, reader) = pcm::open(options).expect("a small ring");
                (Box::new(PcmFeed { epoch: writer.epoch(), writer }), Box::new(reader))
            }
            (Self::Roundelay, true) => {
                let options = RingOptions { lock_memory: true, ..RingOptions::new(AHEAD_FRAMES * FRAME_BYTES) };
                let ring = roundelay::open(options).expect("a small ring");
                let mut writer = ring.writer().expect("the first writer");
                writer.set_publication(Publication::SILENT);
                let cursor = ring.cursor(OnLap::SkipToOldest);
                (Box::new(RingFeed { writer, bytes: Vec::new(), _ring: ring }), Box::new(Follower { cursor }))
            }
            (Self::Condvar, lapping) => {
                let queue = VecDeque::from(vec![f32::NAN; AHEAD_FRAMES * CHANNELS]);
                let shared = Arc::new(Queue { queue: Mutex::new(queue), room: Condvar::new() });
                // Filled above, so that its memory is there.
                shared.queue.lock().expect("nobody panicked").clear();
                (Box::new(QueueFeed { shared: shared.clone(), lapping }), Box::new(QueueReader { shared }))
            }
            (Self::Rtrb | Self::Poll, lapping) => {
                let (mut feed, mut callback) = rtrb::RingBuffer::new(AHEAD_FRAMES * CHANNELS);
                // Once round, so that its memory is there.
                let silence = [0.0; AHEAD_FRAMES * CHANNELS];
                feed.push_entire_slice(&silence).expect("it is empty");
                callback.pop_entire_slice(&mut { silence }).expect("it is full");
                let polls = self == Self::Poll;
                (Box::new(RtrbFeed { feed, polls, lapping }), Box::new(callback))
            }
        }
    }
}

const FRAME_BYTES: usize = CHANNELS * size_of::<f32>();

/// How long so many frames last.
pub fn duration(frames: usize) -> Duration {
    Duration::from_nanos(frames as u64 * 1_000_000_000 / RATE_HZ)
}

struct PcmFeed {
    writer: PcmWriter<f32>,
    epoch: Epoch,
}

impl Feed for PcmFeed {
    fn try_write(&mut self, frames: &[f32]) -> usize {
        self.writer.try_write(self.epoch, frames).unwrap_or(0)
    }

    fn write(&mut self, frames: &[f32]) -> usize {
        self.writer.write_timeout(self.epoch, frames, PATIENCE).unwrap_or(0)
    }
}

impl Callback for PcmReader<f32> {
    fn read(&mut self, out: &mut [f32]) -> usize {
        self.fill(out).frames
    }
}

struct RingFeed {
    writer: Writer<RingDriver>,
    bytes: Vec<u8>,
    _ring: Resource<RingDriver>,
}

impl Feed for RingFeed {
    fn try_write(&mut self, frames: &[f32]) -> usize {
        self.bytes.clear();
        self.bytes.extend(frames.iter().flat_map(|sample| sample.to_ne_bytes()));
        self.writer.append(&self.bytes).expect("nobody holds the writer");
        frames.len() / CHANNELS
    }

    fn write(&mut self, frames: &[f32]) -> usize {
        self.try_write(frames)
    }
}

/// Is overtaken by the writer, again and again.
struct Follower {
    cursor: Cursor<RingDriver>,
}

impl Callback for Follower {
    fn read(&mut self, out: &mut [f32]) -> usize {
        let bytes = bytes_of_mut(out);
        let mut there = 0;
        while there < bytes.len() {
            match self.cursor.try_read(&mut bytes[there..]) {
                Ok(n) => there += n,
                Err(ReadError::NotYet) => break,
                Err(error) => panic!("{error}"),
            }
        }
        there / FRAME_BYTES
    }
}

fn bytes_of_mut(samples: &mut [f32]) -> &mut [u8] {
    // SAFETY: the pointer and the length are those of `samples`, which is borrowed for as long; a byte needs no alignment,
    // and whatever is written is a number, or not one, which is a value of `f32` as well.
    unsafe { std::slice::from_raw_parts_mut(samples.as_mut_ptr().cast(), size_of_val(samples)) }
}

/// What the standard library has for it.
struct Queue {
    queue: Mutex<VecDeque<f32>>,
    room: Condvar,
}

struct QueueFeed {
    shared: Arc<Queue>,
    lapping: bool,
}

const QUEUE_SAMPLES: usize = AHEAD_FRAMES * CHANNELS;

impl Feed for QueueFeed {
    fn try_write(&mut self, frames: &[f32]) -> usize {
        let mut queue = self.shared.queue.lock().expect("nobody panicked");
        let room = QUEUE_SAMPLES - queue.len();
        if self.lapping && room < frames.len() {
            queue.drain(..frames.len() - room);
        }
        let n = frames.len().min(QUEUE_SAMPLES - queue.len());
        queue.extend(&frames[..n]);
        n / CHANNELS
    }

    fn write(&mut self, frames: &[f32]) -> usize {
        let queue = self.shared.queue.lock().expect("nobody panicked");
        let no_room = |queue: &mut VecDeque<f32>| QUEUE_SAMPLES - queue.len() < frames.len();
        let (mut queue, waited) =
            self.shared.room.wait_timeout_while(queue, PATIENCE, no_room).expect("nobody panicked");
        if waited.timed_out() {
            return 0;
        }
        queue.extend(frames);
        frames.len() / CHANNELS
    }
}

struct QueueReader {
    shared: Arc<Queue>,
}

impl Callback for QueueReader {
    fn read(&mut self, out: &mut [f32]) -> usize {
        let mut queue = self.shared.queue.lock().expect("nobody panicked");
        let n = out.len().min(queue.len());
        let (head, tail) = queue.as_slices();
        let first = n.min(head.len());
        out[..first].copy_from_slice(&head[..first]);
        out[first..n].copy_from_slice(&tail[..n - first]);
        queue.drain(..n);
        drop(queue);
        // After the lock is given back, so that the writer does not wake up to find it taken.
        self.shared.room.notify_one();
        n / CHANNELS
    }
}

struct RtrbFeed {
    feed: rtrb::Producer<f32>,
    polls: bool,
    lapping: bool,
}

impl Feed for RtrbFeed {
    fn try_write(&mut self, frames: &[f32]) -> usize {
        let (written, _) = self.feed.push_partial_slice(frames);
        // It cannot overwrite: whoever must not wait throws the newest away, and not the oldest.
        if self.lapping { frames.len() / CHANNELS } else { written.len() / CHANNELS }
    }

    fn write(&mut self, frames: &[f32]) -> usize {
        while self.feed.slots() < frames.len() {
            // Nobody wakes it. Either it looks often, or it knows how long the frames last that have to be played first.
            let missing = (frames.len() - self.feed.slots()) / CHANNELS;
            thread::sleep(if self.polls { POLL } else { duration(missing) });
            if self.feed.is_abandoned() {
                return 0;
            }
        }
        self.feed.push_entire_slice(frames).expect("there is room");
        frames.len() / CHANNELS
    }

    fn pace(&self) -> Duration {
        if self.polls { POLL } else { 5 * POLL }
    }
}

impl Callback for rtrb::Consumer<f32> {
    fn read(&mut self, out: &mut [f32]) -> usize {
        self.pop_partial_slice(out).0.len() / CHANNELS
    }
}
