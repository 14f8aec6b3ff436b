//! The scene with other threads in it: they write and read the other ends, lap, seek and sleep while the callback runs,
//! so that a lock or a wake on its path would meet somebody.

use crate::{
    frames::{options, wrote},
    pattern,
    rings::ring,
    tally::{Branch, Call, Tally},
};
use roundelay::{
    Cursor, Gate, OnLap, Publication, Reader, RingDriver, Writer,
    pcm::{self, PcmControl, PcmReader, PcmWriter, Tap},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

const PERIOD: usize = 64;
/// Bytes of the ring whose followers are lapped, and of what is written to it at a time.
const LAPPED: usize = 64 << 10;
const PACKET: usize = 1400;
/// What a sleeper waits for at most; so it hears of the end.
const NAP: Duration = Duration::from_millis(5);

/// Frame `n` of the medium, decoded after seek number `seek`.
fn frame(n: u64, seek: u64) -> [i32; 2] {
    [n as i32, seek as i32]
}

/// The callback's ends.
pub struct Live {
    cursors: Vec<(Cursor<RingDriver>, Call)>,
    gate: Gate,
    reader: PcmReader<i32>,
    tap: Tap<i32>,
    capture: PcmWriter<i32>,
    captured: u64,
    jumping: Writer<RingDriver>,
    /// The last seek that was asked for. Frames of an earlier one are stale.
    seeks: Arc<AtomicU64>,
    /// How often the callback has run. The feeder goes by it.
    steps: Arc<AtomicU64>,
    buf: Vec<u8>,
    out: Vec<i32>,
}

/// The threads at the other ends.
pub struct Others {
    pub stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<bool>>,
}

impl Others {
    pub fn add(&mut self, thread: JoinHandle<bool>) {
        self.threads.push(thread);
    }

    /// Whether all that they read was right.
    pub fn stop(self) -> bool {
        self.stop.store(true, Release);
        self.threads.into_iter().all(|thread| thread.join().is_ok_and(|right| right))
    }
}

impl Live {
    /// `followed` is written by the callback; somebody sleeps opposite it.
    pub fn new(followed: Reader<RingDriver>) -> (Self, Others) {
        let lapping = ring(LAPPED);
        let cursors = [
            (lapping.cursor(OnLap::Error), Call::LiveCursorError),
            (lapping.cursor(OnLap::SkipToOldest), Call::LiveCursorSkipToOldest),
            (lapping.cursor(OnLap::SkipToLive), Call::LiveCursorSkipToLive),
        ];
        let mut lossless = ring(8 << 10).writer().expect("the first writer");
        let mut gate = lossless.gate();
        gate.set_publication(Publication::SILENT);
        let mut jumping = ring(1 << 10).writer().expect("the first writer");
        jumping.set_publication(Publication::SILENT);
        let held_by = jumping.gate();
        let (writer, reader) = pcm::open(options(1024)).expect("a small ring");
        let (capture, captured) = pcm::open(options(1024)).expect("a small ring");
        let seeks = Arc::new(AtomicU64::new(0));
        let steps = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));

        let feeder = Feeder {
            steps: steps.clone(),
            seen: 0,
            rounds: 0,
            lapping: lapping.writer().expect("the first writer"),
            pcm: Decoder {
                control: reader.control(),
                writer,
                seeks: seeks.clone(),
                seek: 0,
                media: 0,
                frames: vec![0; 512],
            },
        };
        let threads = vec![
            repeat(&stop, feeder, Feeder::run),
            repeat(&stop, lossless, write_when_there_is_room),
            repeat(&stop, captured, read_what_was_captured),
            repeat(&stop, followed, sleep_opposite_the_callback),
            repeat(&stop, held_by, read_across_gaps),
        ];
        let live = Self {
            cursors: cursors.into(),
            gate,
            tap: reader.tap(),
            reader,
            capture,
            captured: 0,
            jumping,
            seeks,
            steps,
            buf: vec![0; 512],
            out: vec![0; 2 * PERIOD],
        };
        (live, Others { stop, threads })
    }

    pub fn step(&mut self, tally: &mut Tally) {
        // Orders nothing: it only says that the feeder may go on.
        self.steps.fetch_add(1, Relaxed);
        for (cursor, call) in &mut self.cursors {
            let laps = cursor.laps();
            let result = cursor.try_read(&mut self.buf);
            tally.read(*call, result, self.buf.len());
            if let Ok(n) = result {
                tally.check(pattern::holds(cursor.position() - n as u64, &self.buf[..n]));
            } else if cursor.on_lap() == OnLap::Error {
                cursor.seek_oldest();
            }
            if cursor.laps() != laps {
                tally.add(*call, Branch::Skipped);
            }
        }

        let from = self.gate.position();
        let result = self.gate.try_read(&mut self.buf);
        tally.read(Call::LiveGate, result, self.buf.len());
        tally.check(result.is_err() || pattern::holds(from, &self.buf[..result.unwrap_or(0)]));

        // [seeks] Acquire: pairs with the Release in `Decoder::seek`.
        let seek = self.seeks.load(Acquire);
        let fill = self.reader.fill(&mut self.out);
        tally.fill(Call::LiveFill, fill);
        let first = self.reader.position() - fill.frames as u64;
        let (heard, silence) = self.out.split_at(2 * fill.frames);
        tally.check(silence.iter().all(|&sample| sample == 0));
        if !heard.is_empty() {
            // Nothing stale, and all of one epoch.
            tally.check(heard[1] >= seek as i32);
            check_run(tally, heard, Some(first));
        }

        let n = self.tap.latest(&mut self.out);
        tally.add(Call::LiveTap, if n == PERIOD { Branch::Whole } else { Branch::Part });
        check_run(tally, &self.out[2 * (PERIOD - n)..], None);

        for (i, sample) in self.out.chunks_exact_mut(2).enumerate() {
            sample.copy_from_slice(&frame(self.captured + i as u64, 0));
        }
        let epoch = self.capture.epoch();
        let result = self.capture.try_write(epoch, &self.out);
        wrote(tally, result, PERIOD);
        tally.add(Call::LiveCapture, if result == Ok(PERIOD) { Branch::Whole } else { Branch::Part });
        self.captured += result.unwrap_or(0) as u64;

        // A gap after each write: most are announced to a gate that has yet to drain.
        let at = self.jumping.position() + 64;
        pattern::write(at, &mut self.buf[..64]);
        let result = self.jumping.try_write_at(at, &self.buf[..64]);
        tally.add(Call::LiveJump, if matches!(result, Ok(64)) { Branch::Whole } else { Branch::Nothing });
        tally.check(matches!(result, Ok(0 | 64)));
    }
}

/// Frames that follow one another, decoded after one and the same seek.
fn check_run(tally: &mut Tally, frames: &[i32], first: Option<u64>) {
    let Some(&[left, seek]) = frames.first_chunk() else { return };
    let first = first.unwrap_or(left as u64);
    tally.check(frames.chunks_exact(2).enumerate().all(|(i, pair)| pair == frame(first + i as u64, seek as u64)));
}

pub fn repeat<T: Send + 'static>(stop: &Arc<AtomicBool>, mut it: T, step: fn(&mut T, u64) -> bool) -> JoinHandle<bool> {
    let stop = stop.clone();
    thread::spawn(move || {
        let mut right = true;
        for n in 0.. {
            if stop.load(Acquire) {
                break;
            }
            right &= step(&mut it, n);
        }
        right
    })
}

/// Writes a packet a round, and every 16th time as many as lap the followers; decodes, and seeks.
struct Feeder {
    steps: Arc<AtomicU64>,
    seen: u64,
    rounds: u64,
    lapping: Writer<RingDriver>,
    pcm: Decoder,
}

struct Decoder {
    writer: PcmWriter<i32>,
    control: PcmControl,
    seeks: Arc<AtomicU64>,
    seek: u64,
    media: u64,
    frames: Vec<i32>,
}

impl Feeder {
    /// One round for a step of the callback, and none to make up for those that it missed: however the two are
    /// scheduled, even on one core, the followers find some bytes at one time and are lapped at another.
    fn run(&mut self, _: u64) -> bool {
        let steps = self.steps.load(Relaxed);
        if steps == self.seen {
            thread::yield_now();
            return true;
        }
        self.seen = steps;
        self.rounds += 1;
        let packets = if self.rounds.is_multiple_of(16) { 2 * LAPPED / PACKET } else { 1 };
        let written = (0..packets).all(|_| self.write_packet());
        if self.rounds.is_multiple_of(1000) {
            self.pcm.seek();
        }
        self.pcm.decode() && written
    }

    fn write_packet(&mut self) -> bool {
        let mut packet = [0; PACKET];
        let mut at = self.lapping.position();
        // Now and then a discontinuity.
        if at % (1 << 22) < PACKET as u64 {
            at += 4096;
        }
        pattern::write(at, &mut packet);
        self.lapping.write_at(at, &packet).is_ok()
    }
}

impl Decoder {
    fn seek(&mut self) {
        self.seek += 1;
        let epoch = self.control.seek();
        // [seeks] Release: whoever sees the number comes after the seek. Pairs with the Acquire in `Live::step`.
        self.seeks.store(self.seek, Release);
        self.media = self.seek * 999_983 % 1_000_000_007;
        self.writer.begin(epoch, self.media).expect("nobody else seeks");
    }

    fn decode(&mut self) -> bool {
        for (i, pair) in self.frames.chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&frame(self.media + i as u64, self.seek));
        }
        let epoch = self.writer.epoch();
        let written = self.writer.try_write(epoch, &self.frames);
        self.media += *written.as_ref().unwrap_or(&0) as u64;
        written.is_ok()
    }
}

/// Sleeps until the callback's gate, which wakes nobody, has made room.
fn write_when_there_is_room(writer: &mut Writer<RingDriver>, _: u64) -> bool {
    let mut data = [0; 1400];
    pattern::write(writer.position(), &mut data);
    let n = writer.append_timeout(&data, NAP).unwrap_or(1);
    n.is_multiple_of(pattern::WORD)
}

/// Sleeps until the callback, which wakes nobody, has captured some frames.
fn read_what_was_captured(reader: &mut PcmReader<i32>, _: u64) -> bool {
    let mut out = [0; 2 * 100];
    if reader.wait_timeout(100, NAP).is_err() {
        return false;
    }
    let fill = reader.fill(&mut out);
    let first = reader.position() - fill.frames as u64;
    out[..2 * fill.frames].chunks_exact(2).enumerate().all(|(i, pair)| pair == frame(first + i as u64, 0))
}

/// Sleeps for more than there is before the next gap, which the callback announces without waking anybody.
fn read_across_gaps(gate: &mut Gate, _: u64) -> bool {
    let Ok(slices) = gate.wait_timeout(128, NAP) else { return true };
    let (first, second) = slices.as_slices();
    let right = pattern::holds(slices.offset(), first) && pattern::holds(slices.offset() + first.len() as u64, second);
    let n = slices.len();
    slices.consume(n);
    right
}

/// Sleeps for bytes that the callback writes silently.
fn sleep_opposite_the_callback(reader: &mut Reader<RingDriver>, _: u64) -> bool {
    let edge = reader.live_edge();
    // Ready, timed out, or evicted: whatever it is, nobody was to be woken.
    let _ = reader.wait_range_timeout(edge + 64..edge + 128, NAP);
    true
}
