//! Frames on their way to a callback, and seeks.
//!
//! A frame is one byte: the epoch that it was decoded for, counted from 1, times 16, plus its number in that epoch. That
//! is its place in the medium as well.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::*};
use loom::thread;
use roundelay::ReadError;
use roundelay::pcm::{self, Epoch, PcmError, PcmOptions, PcmReader, PcmWriter};
use std::time::Duration;

use crate::Preemptions::{Any, AtMost};
use crate::{explore, models};

models! {
    frames_come_in_order => played(0, 4, 3, 2, 0),
    a_seek_while_it_plays => played(2, 2, 2, 2, 1),
    a_seek_while_it_plays_frame_by_frame => played(2, 2, 2, 1, 1),
    two_seeks_while_it_plays => played(1, 3, 2, 1, 2),
    a_seek_between_two_fills => seek_between(),
    a_place_corrected_while_it_fills => corrected(),
    a_seek_behind_a_fill_that_had_begun => seek_behind(1),
    two_seeks_behind_a_fill_that_had_begun => seek_behind(2),
    the_seekers_place_is_seen => place_seen(),
    a_paused_callback_does_not_hold_the_writer => paused(),
    all_is_played_before_the_end => played_out(false, finish),
    all_is_played_before_the_end_of_a_new_epoch => played_out(true, finish),
    all_is_played_before_an_epoch_ends => played_out(false, Decoder::end),
    all_is_played_before_a_new_epoch_ends => played_out(true, Decoder::end),
    a_seek_takes_an_end_back => taken_back(),
    a_drain_ends_with_the_last_frame => drained(),
    a_drain_does_not_end_by_a_seek => drained_behind_a_seek(),
    only_what_was_heard_is_said_to_be => heard_behind_a_seek(),
    a_seek_ends_a_wait_for_room => seek_ends_wait(),
    a_seek_ends_a_drain => seek_ends_drain(),
    a_drain_ends_by_a_reader_that_waits => waits_while_it_drains(),
    the_end_of_an_epoch_ends_a_wait_for_frames => end_ends_wait(Decoder::end),
    the_end_ends_a_wait_for_frames => end_ends_wait(finish),
    a_reader_that_waits_makes_room => both_wait(),
    a_tap_hears_what_was_heard => tap(2, false),
    a_tap_leaves_out_what_was_skipped => tap(1, true),
    a_tap_knows_where_it_is => tap_position(),
}

fn open(capacity_frames: usize) -> (Decoder, PcmReader<u8>) {
    let options = PcmOptions { channels: 1, capacity_frames, history_frames: 0, ..PcmOptions::default() };
    let (writer, reader) = pcm::open(options).unwrap();
    let epoch = writer.epoch();
    let mut decoder = Decoder { writer, epoch, next: first(epoch) };
    decoder.writer.begin(epoch, first(epoch)).unwrap();
    (decoder, reader)
}

/// The first frame of an epoch.
fn first(epoch: Epoch) -> u64 {
    let name = format!("{epoch:?}");
    let number: u64 = name.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    (number + 1) * 16
}

struct Decoder {
    writer: PcmWriter<u8>,
    /// What it decodes for.
    epoch: Epoch,
    /// The frame in hand.
    next: u64,
}

impl Decoder {
    /// Writes the frame in hand, or finds out that it is stale; `false` if there was no room.
    fn step(&mut self) -> bool {
        match self.writer.try_write(self.epoch, &[self.next as u8]) {
            Ok(written) => {
                self.next += written as u64;
                written > 0
            }
            Err(PcmError::Stale) => {
                self.seek();
                true
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// All frames of the epoch are written.
    fn end(mut self) -> Option<Self> {
        match self.writer.end_epoch(self.epoch) {
            Ok(()) | Err(PcmError::Stale) => Some(self),
            Err(other) => panic!("{other}"),
        }
    }

    fn seek(&mut self) {
        self.epoch = self.writer.epoch();
        self.next = first(self.epoch);
        // Stale again: the next step says so.
        let _ = self.writer.begin(self.epoch, self.next);
    }
}

struct Listener {
    reader: PcmReader<u8>,
    heard: Vec<u64>,
}

impl Listener {
    fn new(reader: PcmReader<u8>) -> Self {
        Self { reader, heard: Vec::new() }
    }

    /// Fills a buffer of `n`, whose frames must be in order, from where the reader says, and not older than `oldest`.
    fn fill(&mut self, n: usize, oldest: u64) -> pcm::Fill {
        let mut out = [0; 2];
        let out = &mut out[..n];
        let fill = self.reader.fill(out);
        let from = self.reader.position() - fill.frames as u64;
        for (place, got) in (from..).zip(out[..fill.frames].iter().map(|got| u64::from(*got))) {
            assert!(got == place, "WRONG frame {got} at {place}");
            assert!(got >= oldest, "STALE frame {got} after a seek to {oldest}");
            let last = self.heard.last().copied().unwrap_or(15);
            assert!(got == last + 1 || got % 16 == 0 && got > last, "LOST: {got} after {last}");
            self.heard.push(got);
        }
        assert!(out[fill.frames..].iter().all(|sample| *sample == 0), "NOISE for silence");
        fill
    }
}

/// `before` frames are there; then `steps` of the decoder, `fills` of `n` frames each and `seeks`, all at once.
fn played(before: usize, steps: usize, fills: usize, n: usize, seeks: u64) {
    // As many seeks, as many more places for a preemption.
    explore(AtMost(3 - seeks as usize), move || {
        let (mut decoder, reader) = open(2);
        for _ in 0..before {
            assert!(decoder.step());
        }
        let control = reader.control();
        // The first frame that may be played, as far as seeks have returned.
        let oldest = Arc::new(AtomicU64::new(0));
        let asked = oldest.clone();
        let seeker = (seeks > 0).then(|| {
            thread::spawn(move || {
                for _ in 0..seeks {
                    asked.store(first(control.seek()), Release);
                }
            })
        });
        let decoding = thread::spawn(move || {
            for _ in 0..steps {
                if !decoder.step() {
                    thread::yield_now();
                }
            }
            decoder
        });
        let mut listener = Listener::new(reader);
        for _ in 0..fills {
            let oldest = oldest.load(Acquire);
            listener.fill(n, oldest);
        }
        decoding.join().unwrap();
        if let Some(seeker) = seeker {
            seeker.join().unwrap();
        }
    });
}

/// The callback's own thread seeks.
fn seek_between() {
    explore(AtMost(2), || {
        let (mut decoder, reader) = open(2);
        for _ in 0..2 {
            decoder.step();
        }
        let decoding = thread::spawn(move || {
            for _ in 0..4 {
                if !decoder.step() {
                    thread::yield_now();
                }
            }
            decoder
        });
        let control = reader.control();
        let mut listener = Listener::new(reader);
        listener.fill(1, 0);
        let oldest = first(control.seek());
        for _ in 0..2 {
            listener.fill(2, oldest);
        }
        decoding.join().unwrap();
    });
}

/// The decoder says anew where its first frame is, and writes that, while a fill is under way.
fn corrected() {
    explore(Any, || {
        let (mut decoder, reader) = open(2);
        let decoding = thread::spawn(move || {
            decoder.next = 32;
            decoder.writer.begin(decoder.epoch, decoder.next).unwrap();
            decoder.step();
            decoder
        });
        let mut listener = Listener::new(reader);
        listener.fill(1, 0);
        decoding.join().unwrap();
    });
}

/// A frame, and then a seek and a frame of its epoch, once or twice, come while a fill is under way: it is told which is
/// which.
fn seek_behind(seeks: usize) {
    explore(AtMost(3), move || {
        let (mut decoder, reader) = open(2);
        let control = reader.control();
        let decoding = thread::spawn(move || {
            decoder.step();
            for _ in 0..seeks {
                control.seek();
                decoder.seek();
                decoder.step();
            }
            decoder
        });
        let mut listener = Listener::new(reader);
        listener.fill(2, 0);
        decoding.join().unwrap();
    });
}

/// The decoder that finds its epoch stale sees where it is to go.
fn place_seen() {
    explore(Any, || {
        let (decoder, reader) = open(2);
        let control = reader.control();
        let place = Arc::new(AtomicU64::new(0));
        let there = place.clone();
        let seeker = thread::spawn(move || {
            there.store(7, Relaxed);
            control.seek();
        });
        if decoder.writer.epoch() != decoder.epoch {
            assert_eq!(place.load(Relaxed), 7, "WHERE to is not seen");
        }
        seeker.join().unwrap();
    });
}

fn paused() {
    explore(Any, || {
        let (mut decoder, reader) = open(2);
        assert!(decoder.step() && decoder.step() && !decoder.step());
        let control = reader.control();
        let seeker = thread::spawn(move || control.seek());
        decoder.step();
        let epoch = seeker.join().unwrap();
        for _ in 0..3 {
            decoder.step();
        }
        assert_eq!(decoder.next, first(epoch) + 2, "HELD by a callback that is paused");
        assert!(!decoder.step(), "OVERRUN");
        let mut listener = Listener::new(reader);
        assert_eq!(listener.fill(2, first(epoch)).frames, 2);
        assert!(decoder.step(), "HELD by a callback that goes on");
    });
}

fn finish(decoder: Decoder) -> Option<Decoder> {
    decoder.writer.finish();
    None
}

/// What was written before the end is played, and then the end is seen.
fn played_out(seek: bool, end: fn(Decoder) -> Option<Decoder>) {
    explore(AtMost(3), move || {
        let (mut decoder, reader) = open(2);
        if seek {
            reader.control().seek();
        }
        let oldest = first(decoder.writer.epoch());
        let decoding = thread::spawn(move || {
            if seek {
                decoder.seek();
            }
            decoder.step();
            decoder.step();
            end(decoder)
        });
        let mut listener = Listener::new(reader);
        for _ in 0..2 {
            if listener.fill(2, oldest).cause == Some(ReadError::Ended) {
                assert_eq!(listener.heard, [oldest, oldest + 1], "EARLY end");
            }
        }
        decoding.join().unwrap();
    });
}

/// An epoch has ended; a seek comes while it is played out, and what it brings is heard.
fn taken_back() {
    explore(AtMost(3), || {
        let (mut decoder, reader) = open(2);
        decoder.step();
        decoder = decoder.end().unwrap();
        let control = reader.control();
        let seeker = thread::spawn(move || control.try_seek().expect("the writer is there"));
        let decoding = thread::spawn(move || {
            if decoder.writer.epoch() != decoder.epoch {
                decoder.seek();
                decoder.step();
            }
            decoder
        });
        let mut listener = Listener::new(reader);
        listener.fill(1, 0);
        let epoch = seeker.join().unwrap();
        let mut decoder = decoding.join().unwrap();
        if decoder.epoch != epoch {
            let fill = listener.fill(1, first(epoch));
            assert_eq!(fill.cause, Some(ReadError::NotYet), "ENDED by an older epoch");
            decoder.seek();
            decoder.step();
        }
        if listener.heard.last() != Some(&first(epoch)) {
            assert_eq!(listener.fill(1, first(epoch)).frames, 1, "UNHEARD after a seek");
        }
        assert_eq!(listener.fill(1, first(epoch)).cause, Some(ReadError::NotYet), "ENDED by an older epoch");
        decoder.end().unwrap();
        assert_eq!(listener.fill(1, first(epoch)).cause, Some(ReadError::Ended), "ENDLESS");
    });
}

/// Nobody is told that all was played before the last frame is.
fn drained() {
    explore(AtMost(2), || {
        let (mut decoder, reader) = open(2);
        let control = reader.control();
        let mut listener = Listener::new(reader);
        decoder.step();
        listener.fill(1, 0);
        // How many frames may have been played.
        let playing = Arc::new(AtomicU64::new(1));
        let played = playing.clone();
        let waiting = thread::spawn(move || {
            control.wait_drained(Duration::from_secs(1)).expect("it is played out");
            assert_eq!(played.load(Relaxed), 2, "EARLY end");
        });
        decoder.step();
        let _writer = decoder.end();
        playing.store(2, Relaxed);
        listener.fill(1, 0);
        // A reader that is no callback makes the playhead known.
        assert_eq!(listener.reader.wait(1), Ok(0));
        waiting.join().unwrap();
    });
}

/// An epoch that has ended, and a seek that is answered by another one, which ends with the stream: nothing is played, and
/// nobody is told that all was.
fn drained_behind_a_seek() {
    explore(AtMost(2), || {
        let (mut decoder, reader) = open(2);
        let control = reader.control();
        decoder.step();
        let mut decoder = decoder.end().unwrap();
        let deciding = thread::spawn(move || {
            decoder.writer.control().seek();
            decoder.seek();
            decoder.step();
            finish(decoder)
        });
        let drained = control.wait_drained(Duration::ZERO);
        assert_ne!(drained, Ok(()), "EARLY end: nothing was played");
        deciding.join().unwrap();
        drop(reader);
    });
}

/// A seek is answered, and ended; the next one makes it stale before anything is played. What is played of that is not taken
/// for the first one's, nor is the first one said to be without an answer.
fn heard_behind_a_seek() {
    explore(AtMost(2), || {
        let (mut decoder, reader) = open(2);
        let control = reader.control();
        let epoch = control.seek();
        decoder.seek();
        decoder.step();
        let mut decoder = decoder.end().unwrap();
        let playing = thread::spawn(move || {
            decoder.writer.control().seek();
            decoder.seek();
            decoder.step();
            let mut listener = Listener::new(reader);
            listener.fill(1, 0);
            (decoder, listener)
        });
        match control.wait_heard(epoch, Duration::ZERO) {
            Ok(()) => panic!("UNHEARD"),
            Err(PcmError::Stale | PcmError::TimedOut) => {}
            Err(other) => panic!("UNANSWERED: {other}"),
        }
        playing.join().unwrap();
    });
}

fn seek_ends_wait() {
    explore(AtMost(3), || {
        let (mut decoder, reader) = open(1);
        decoder.step();
        let control = reader.control();
        let decoding = thread::spawn(move || {
            let waited = decoder.writer.write(decoder.epoch, &[decoder.next as u8]);
            assert_eq!(waited, Err(PcmError::Stale));
            decoder
        });
        control.seek();
        decoding.join().unwrap();
    });
}

/// The frame in hand is never played.
fn seek_ends_drain() {
    explore(AtMost(3), || {
        let (mut decoder, reader) = open(1);
        decoder.step();
        let control = reader.control();
        let draining = thread::spawn(move || {
            assert_eq!(decoder.writer.drain(decoder.epoch), Err(PcmError::Stale));
            decoder
        });
        control.seek();
        draining.join().unwrap();
    });
}

/// A reader that is no callback wakes whoever waits for its playhead, once it comes for more.
fn waits_while_it_drains() {
    explore(AtMost(2), || {
        let (mut decoder, mut reader) = open(1);
        decoder.step();
        let draining = thread::spawn(move || {
            assert_eq!(decoder.writer.drain(decoder.epoch), Ok(()));
            decoder
        });
        reader.fill(&mut [0]);
        assert_eq!(reader.wait(1), Ok(0));
        draining.join().unwrap();
    });
}

/// A reader that is no callback waits for a frame that will not come.
fn end_ends_wait(end: fn(Decoder) -> Option<Decoder>) {
    explore(AtMost(3), move || {
        let (decoder, mut reader) = open(1);
        let ending = thread::spawn(move || end(decoder));
        assert_eq!(reader.wait(1), Ok(0));
        ending.join().unwrap();
    });
}

/// Neither side is a callback.
fn both_wait() {
    explore(AtMost(2), || {
        let (mut decoder, mut reader) = open(1);
        let writing = thread::spawn(move || {
            let frames = [decoder.next as u8, decoder.next as u8 + 1];
            decoder.writer.write(decoder.epoch, &frames).unwrap();
            decoder
        });
        for _ in 0..2 {
            assert_eq!(reader.wait(1), Ok(1));
            reader.fill(&mut [0]);
        }
        writing.join().unwrap();
    });
}

/// What the tap gets was heard, just like that: it ends at the playhead and leaves out what was skipped.
fn tap(before: usize, seek: bool) {
    explore(AtMost(2), move || {
        let (mut decoder, reader) = open(2);
        for _ in 0..before {
            decoder.step();
        }
        let mut tap = decoder.writer.tap();
        let control = reader.control();
        let mut listener = Listener::new(reader);
        listener.fill(1, 0);
        // The next frame is one that a seek makes stale.
        decoder.step();
        let decoding = thread::spawn(move || {
            if seek {
                control.seek();
                // Finds out, and writes the first frame of the new epoch.
                decoder.step();
            }
            decoder.step();
            decoder
        });
        let playing = thread::spawn(move || {
            for _ in 0..if seek { 1 } else { 2 } {
                listener.fill(1, 0);
            }
            listener
        });
        let mut out = [0; 2];
        let frames = tap.latest(&mut out);
        let frames: Vec<u64> = out[2 - frames..].iter().map(|frame| u64::from(*frame)).collect();
        decoding.join().unwrap();
        let heard = playing.join().unwrap().heard;
        let found = frames.is_empty() || heard.windows(frames.len()).any(|window| window == frames);
        assert!(found, "NOT heard like this: {frames:?} of {heard:?}");
    });
}

/// Frames of an epoch between two answers, so that neither half of one goes with the other half of the other.
fn tap_position() {
    explore(AtMost(3), || {
        let (mut decoder, reader) = open(2);
        decoder.step();
        decoder.step();
        let tap = decoder.writer.tap();
        let mut listener = Listener::new(reader);
        listener.fill(2, 0);
        let control = listener.reader.control();
        let deciding = thread::spawn(move || {
            control.seek();
            decoder.seek();
            decoder.step();
            control.seek();
            decoder.seek();
            decoder
        });
        if let Some(place) = tap.position() {
            // Frame 2 of the first epoch, or the first one of a later epoch.
            assert!([18, 32, 48].contains(&place), "NOWHERE: {place}");
        }
        deciding.join().unwrap();
        drop(listener);
    });
}
