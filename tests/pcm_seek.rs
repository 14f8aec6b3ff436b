//! Seeking: nothing stale is played, nobody is held up, and what is heard is what is shown.

mod threads;

use roundelay::{
    ReadError, ResourceStatus,
    pcm::{self, Epoch, Fill, PcmError, PcmOptions, PcmReader, PcmWriter},
};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};
use threads::{Sleeper, must_end};

fn open(channels: usize, capacity_frames: usize, history_frames: usize) -> (PcmWriter<i32>, PcmReader<i32>) {
    pcm::open(PcmOptions { channels, capacity_frames, history_frames, lock_memory: false, ..Default::default() })
        .unwrap()
}

/// Plays `n` frames of a mono stream.
fn play(reader: &mut PcmReader<i32>, n: usize) -> Vec<i32> {
    let mut out = vec![-77; n];
    let fill = reader.fill(&mut out);
    assert!(out[fill.frames..].iter().all(|&sample| sample == 0));
    out.truncate(fill.frames);
    out
}

#[test]
fn what_was_queued_before_a_seek_is_never_played() {
    let (mut writer, mut reader) = open(1, 8, 8);
    let old = writer.epoch();
    writer.write(old, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(play(&mut reader, 3), [1, 2, 3]);
    let new = reader.control().seek();
    assert!(new > old);
    let fill = reader.fill(&mut [0; 4]);
    assert_eq!((fill.frames, fill.missing, fill.cause, fill.seeking), (0, 4, Some(ReadError::NotYet), true));
    assert_eq!(writer.epoch(), new);
    for stale in [writer.write(old, &[9]), writer.try_write(old, &[9]).map(drop), writer.begin(old, 0)] {
        assert_eq!(stale, Err(PcmError::Stale));
    }
    assert_eq!(play(&mut reader, 4), []);
    writer.write(new, &[11, 12]).unwrap();
    assert_eq!(play(&mut reader, 4), [11, 12]);
    assert_eq!(writer.write(old, &[9]), Err(PcmError::Stale), "stale for ever");
}

#[test]
fn a_stale_writer_is_told_so_before_anything_else() {
    let (mut writer, reader) = open(2, 8, 8);
    let old = writer.epoch();
    reader.control().seek();
    assert_eq!(writer.try_write(old, &[1]), Err(PcmError::Stale));
    assert_eq!(writer.write_timeout(old, &[], Duration::ZERO), Err(PcmError::Stale));
}

#[test]
fn a_seek_that_nothing_was_written_for_before_the_next_is_skipped() {
    let (mut writer, mut reader) = open(1, 8, 8);
    let control = writer.control();
    let epochs: Vec<Epoch> = (0..5).map(|_| control.clone().seek()).collect();
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]));
    for stale in &epochs[..4] {
        assert_eq!(writer.try_write(*stale, &[9]), Err(PcmError::Stale));
    }
    assert_eq!(writer.try_write(epochs[4], &[1, 2]), Ok(2));
    assert_eq!(play(&mut reader, 2), [1, 2]);
}

/// A callback that is paused holds the decoder like a gate, until a seek revokes that.
#[test]
fn a_paused_callback_does_not_hold_the_decoder_after_a_seek() {
    must_end(|| {
        let (mut writer, mut reader) = open(1, 8, 0);
        let full = |from: i32| (from..from + 8).collect::<Vec<_>>();
        let epoch = writer.epoch();
        writer.write(epoch, &full(1)).unwrap();
        assert_eq!(writer.try_write(epoch, &[9]), Ok(0));
        for i in 1..20 {
            let epoch = reader.control().seek();
            // Without a single `fill`, and a whole capacity of it.
            writer.write(epoch, &full(100 * i)).unwrap();
            assert_eq!(writer.try_write(epoch, &[9]), Ok(0));
            assert_eq!(writer.queued_frames(), 8);
        }
        assert_eq!(play(&mut reader, 20), full(1900));
    });
}

#[test]
fn a_seek_ends_a_write_that_waits_for_a_paused_callback() {
    must_end(|| {
        // Frames that last for days: the writer is woken or it sleeps on.
        let options = PcmOptions { channels: 1, capacity_frames: 100_000, rate_hz: 1, ..Default::default() };
        let (mut writer, reader) = pcm::open::<i32>(options).unwrap();
        let control = reader.control();
        let writing = Sleeper::start(move || {
            let epoch = writer.epoch();
            (writer.write(epoch, &[7; 200_000]), writer)
        });
        let epoch = control.seek();
        let (outcome, mut writer) = writing.wakes_with();
        assert_eq!(outcome, Err(PcmError::Stale));
        assert_eq!(writer.try_write(epoch, &[1; 200_000]), Ok(100_000));
    });
}

#[test]
fn the_position_after_a_seek_is_where_the_decoder_said_it_went() {
    let (mut writer, mut reader) = open(1, 8, 8);
    let tap = reader.tap();
    let epoch = writer.epoch();
    writer.write(epoch, &[1, 2, 3, 4]).unwrap();
    play(&mut reader, 2);
    let epoch = reader.control().seek();
    assert_eq!((reader.position(), tap.position()), (2, Some(2)), "until it is answered");
    writer.begin(epoch, 48_000).unwrap();
    assert_eq!(tap.position(), Some(48_000));
    assert_eq!(play(&mut reader, 2), []);
    assert_eq!(reader.position(), 48_000);
    writer.write(epoch, &[5, 6, 7]).unwrap();
    assert_eq!(play(&mut reader, 2), [5, 6]);
    assert_eq!((reader.position(), tap.position()), (48_002, Some(48_002)));
    // Backwards too.
    let epoch = reader.control().seek();
    writer.begin(epoch, 10).unwrap();
    writer.begin(epoch, 11).unwrap();
    writer.write(epoch, &[8]).unwrap();
    assert_eq!(play(&mut reader, 2), [8]);
    assert_eq!((reader.position(), tap.position()), (12, Some(12)));
    assert_eq!(writer.begin(epoch, 500), Ok(()), "it has begun, and stays where it is");
    assert_eq!(reader.position(), 12);
}

/// `fill_planar` of no frames looked at nothing, and the position stayed where it was before the seek.
#[test]
fn a_fill_of_no_frames_takes_the_position_to_the_newest_epoch() {
    let fills: [fn(&mut PcmReader<i32>) -> Fill; 4] = [
        |reader| reader.fill(&mut []),
        |reader| reader.fill_planar(&mut [&mut []]),
        |reader| reader.fill_planar(&mut [&mut [], &mut [7; 5]]),
        |reader| reader.fill_planar(&mut []),
    ];
    for fill in fills {
        let (mut writer, mut reader) = open(1, 8, 8);
        let epoch = writer.epoch();
        writer.write(epoch, &[1, 2]).unwrap();
        let epoch = reader.control().seek();
        assert_eq!(fill(&mut reader), Fill { cause: Some(ReadError::NotYet), seeking: true, ..Fill::default() });
        assert_eq!(reader.position(), 0, "until it is answered");
        writer.begin(epoch, 48_000).unwrap();
        assert_eq!(fill(&mut reader), Fill::default());
        assert_eq!(reader.position(), 48_000);
        writer.write(epoch, &[3]).unwrap();
        assert_eq!(play(&mut reader, 2), [3]);
    }
}

#[test]
fn a_tap_shows_nothing_after_a_seek_that_was_not_heard() {
    let (mut writer, mut reader) = open(1, 8, 8);
    let mut tap = reader.tap();
    let mut latest = || {
        let mut out = [-77; 8];
        let frames = tap.latest(&mut out);
        assert!(out[..8 - frames].iter().all(|&sample| sample == 0));
        out[8 - frames..].to_vec()
    };
    let epoch = writer.epoch();
    writer.write(epoch, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    play(&mut reader, 3);
    assert_eq!(latest(), [1, 2, 3]);
    let epoch = reader.control().seek();
    assert_eq!(latest(), [1, 2, 3], "these were heard, and nothing since");
    writer.write(epoch, &[11, 12, 13]).unwrap();
    assert_eq!(latest(), [], "neither what was skipped, 4 to 8, nor what is yet to be heard");
    play(&mut reader, 0);
    assert_eq!(latest(), []);
    play(&mut reader, 2);
    assert_eq!(latest(), [11, 12]);
    play(&mut reader, 8);
    assert_eq!(latest(), [11, 12, 13], "silence is not shown");
}

#[test]
fn queued_frames_after_a_seek_are_those_of_the_new_epoch() {
    let (mut writer, reader) = open(1, 8, 8);
    let epoch = writer.epoch();
    writer.write(epoch, &[1; 6]).unwrap();
    let epoch = reader.control().seek();
    writer.write(epoch, &[2; 3]).unwrap();
    assert_eq!((writer.queued_frames(), reader.tap().queued_frames()), (3, 3));
}

/// Once, a seek that came when the writer had gone was waited for without end: no one was left to answer it.
#[test]
fn a_seek_that_nobody_is_left_to_answer_ends_with_the_reason() {
    must_end(|| {
        for finished in [false, true] {
            let (mut writer, mut reader) = open(1, 8, 8);
            let epoch = writer.epoch();
            writer.write(epoch, &[1, 2, 3]).unwrap();
            if finished {
                writer.finish();
            } else {
                drop(writer);
            }
            assert_eq!(play(&mut reader, 1), [1]);
            reader.control().seek();
            let fill = reader.fill(&mut [0; 4]);
            let cause = if finished { ReadError::Ended } else { ReadError::Failed };
            assert_eq!((fill.frames, fill.cause, fill.seeking), (0, Some(cause), false));
            let ended = if finished { Ok(0) } else { Err(PcmError::Failed) };
            assert_eq!(reader.wait(1), ended);
            assert_eq!(reader.wait_timeout(1, Duration::MAX), ended);
        }
    });
}

#[test]
fn a_reader_that_waits_over_a_seek_gets_frames_of_the_new_epoch() {
    must_end(|| {
        // Frames that last for days: no nap ends by itself.
        let options = PcmOptions { channels: 1, capacity_frames: 1 << 17, rate_hz: 1, ..Default::default() };
        let (mut writer, mut reader) = pcm::open::<i32>(options).unwrap();
        let control = reader.control();
        let epoch = writer.epoch();
        writer.write(epoch, &[1; 10]).unwrap();
        let epoch = control.seek();
        assert_eq!(reader.wait(0), Ok(0), "no frames are there at once");
        assert_eq!(reader.wait_timeout(5, Duration::ZERO), Ok(0), "the old ones do not count");
        let waiting = Sleeper::start(move || (reader.wait(3), reader));
        writer.write(epoch, &[2; 3]).unwrap();
        let (ready, mut reader) = waiting.wakes_with();
        assert_eq!(ready, Ok(3));
        assert_eq!(play(&mut reader, 10), [2; 3]);
    });
}

/// A seek before anything was written, and a wait for no frames: the byte before the first was once waited for.
#[test]
fn a_wait_for_nothing_during_a_seek_is_over_at_once() {
    must_end(|| {
        let (_writer, mut reader) = open(1, 8, 8);
        reader.control().seek();
        assert_eq!(reader.wait(0), Ok(0));
        assert_eq!(reader.wait_timeout(0, Duration::ZERO), Ok(0));
    });
}

// ---- all at once ----

/// What the threads of the story below know of each other.
#[derive(Default)]
struct Booth {
    /// Where to go, said before the seek is called.
    asked: AtomicU64,
    /// The last seek whose call has returned.
    sought: AtomicU64,
    over: AtomicBool,
}

/// A frame says which decoding run it is of, which place was asked for, and its index in the run; all from 1.
const CHANNELS: usize = 3;

/// Decodes from one place after another, as they are asked for, until all is over.
fn decode(mut writer: PcmWriter<i32>, booth: &Booth) {
    let mut run = 0;
    while !booth.over.load(SeqCst) {
        let epoch = writer.epoch();
        let place = booth.asked.load(SeqCst);
        run += 1;
        // In every other run it says where that is, and in some of those at the second go only.
        if run % 4 == 0 && writer.begin(epoch, 7).is_err()
            || run % 2 == 0 && writer.begin(epoch, place * 1_000_000).is_err()
        {
            continue;
        }
        let mut index = 0;
        loop {
            let frames = 1 + index as usize % 40;
            let samples: Vec<i32> = (1..=frames as i32).flat_map(|i| [run, place as i32 + 1, index + i]).collect();
            match writer.write_timeout(epoch, &samples, Duration::from_millis(1)) {
                Ok(written) => index += written as i32,
                Err(PcmError::Stale) => break,
                Err(error) => panic!("{error}"),
            }
            if booth.over.load(SeqCst) {
                break;
            }
        }
    }
    writer.finish();
}

/// Plays until the end. Whatever is played belongs to the newest place asked for, and no frame is missed or repeated. A
/// fill is of one run, and the reader says where that is.
fn listen(mut reader: PcmReader<i32>, booth: &Booth) -> u64 {
    let mut heard = [0, 0, 0];
    let mut frames = 0;
    for i in 0.. {
        if i % 1000 == 999 {
            // A pause: the decoder fills the ring, seeks come and go.
            thread::sleep(Duration::from_millis(2));
        }
        let sought = booth.sought.load(SeqCst) as i32 + 1;
        let mut out = [-77; 16 * CHANNELS];
        let fill = reader.fill(&mut out);
        let (played, silence) = out.split_at(fill.frames * CHANNELS);
        assert!(silence.iter().all(|&sample| sample == 0));
        assert_eq!(fill.frames + fill.missing, 16);
        for frame in played.chunks(CHANNELS) {
            let &[run, place, index] = frame else { unreachable!("frames are whole") };
            assert!(place >= sought, "stale: place {place} was played after {sought} was sought");
            if run == heard[0] {
                assert_eq!(index, heard[2] + 1, "of run {run}");
            } else {
                assert!(run > heard[0]);
                assert_eq!(*frame, played[..CHANNELS], "two runs in one fill");
                assert_eq!(index, 1, "run {run} begins at its beginning");
            }
            heard = [run, place, index];
        }
        if fill.frames > 0 && heard[0] % 2 == 0 {
            let place = (heard[1] - 1) as u64 * 1_000_000 + heard[2] as u64;
            assert_eq!(reader.position(), place, "after frame {heard:?}");
        }
        frames += fill.frames as u64;
        match fill.cause {
            Some(ReadError::Ended) => break,
            Some(_) => thread::yield_now(),
            None => {}
        }
    }
    frames
}

#[test]
fn nothing_stale_is_played_however_seeks_fall() {
    must_end(|| {
        let options = PcmOptions {
            channels: CHANNELS,
            capacity_frames: 200,
            history_frames: 300,
            // So that naps are short.
            rate_hz: 1_000_000,
            lock_memory: false,
            ..Default::default()
        };
        let (writer, reader) = pcm::open::<i32>(options).unwrap();
        let (control, mut tap) = (reader.control(), reader.tap());
        let booth = Booth::default();
        let (frames, seeks) = thread::scope(|scope| {
            scope.spawn(|| decode(writer, &booth));
            let listening = scope.spawn(|| listen(reader, &booth));
            let watching = scope.spawn(|| {
                // One run at a time, without a gap.
                let mut out = [-77; 250 * CHANNELS];
                let mut shown = 0;
                while !booth.over.load(SeqCst) {
                    let n = tap.latest(&mut out);
                    let (silence, frames) = out.split_at((250 - n) * CHANNELS);
                    assert!(silence.iter().all(|&sample| sample == 0));
                    for pair in frames.windows(2 * CHANNELS).step_by(CHANNELS) {
                        assert_eq!(pair[..2], pair[3..5], "two runs at once");
                        assert_eq!(pair[2] + 1, pair[5], "a gap");
                    }
                    shown += n;
                    thread::yield_now();
                }
                shown
            });
            let until = Instant::now() + Duration::from_millis(1500);
            let mut seeks = 0u64;
            let mut random = 0x2545_f491_4f6c_dd1d_u64;
            while Instant::now() < until {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match random >> 60 {
                    0..=7 => thread::sleep(Duration::from_micros(random >> 40 & 0x3ff)),
                    8..=11 => thread::yield_now(),
                    _ => {}
                }
                seeks += 1;
                booth.asked.store(seeks, SeqCst);
                control.seek();
                booth.sought.store(seeks, SeqCst);
            }
            booth.over.store(true, SeqCst);
            control.seek();
            let shown = watching.join().unwrap();
            let frames = listening.join().unwrap();
            assert!(shown > 0);
            (frames, seeks)
        });
        assert!(frames > 0 && seeks > 0, "{frames} frames played over {seeks} seeks");
        assert!(matches!(tap.status(), ResourceStatus::Committed { .. }));
    });
}
