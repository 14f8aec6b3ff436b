//! Frames on their way to a callback, or from one.

mod threads;

use roundelay::{
    CancelToken, InvalidOptions, ReadError, ResourceStatus, StorageError,
    pcm::{self, Fill, PcmError, PcmOptions, PcmReader, PcmWriter, Sample},
};
use std::{fmt::Debug, thread, time::Duration};
use threads::{Sleeper, assert_is, must_end};

/// What no test writes: whatever is left of it after a fill was not filled.
const STALE: i32 = -77;

fn options(channels: usize, capacity_frames: usize) -> PcmOptions {
    PcmOptions { channels, capacity_frames, history_frames: 0, lock_memory: false, ..Default::default() }
}

fn open(channels: usize, capacity_frames: usize) -> (PcmWriter<i32>, PcmReader<i32>) {
    pcm::open(options(channels, capacity_frames)).unwrap()
}

/// Samples `from..to`, counted from 1, so that none is silence.
fn samples(from: usize, to: usize) -> Vec<i32> {
    (from..to).map(|i| i as i32 + 1).collect()
}

fn write(writer: &mut PcmWriter<i32>, samples: &[i32]) {
    let epoch = writer.epoch();
    writer.write(epoch, samples).unwrap();
}

fn try_write(writer: &mut PcmWriter<i32>, samples: &[i32]) -> usize {
    let epoch = writer.epoch();
    writer.try_write(epoch, samples).unwrap()
}

#[test]
fn a_fill_fills_the_whole_buffer_whatever_the_state() {
    type Prepare = fn(PcmWriter<i32>, &PcmReader<i32>) -> Option<PcmWriter<i32>>;
    let states: [(&str, Prepare, Option<ReadError>); 9] = [
        ("active", |writer, _| Some(writer), Some(ReadError::NotYet)),
        ("finished", |writer, _| (writer.finish(), None).1, Some(ReadError::Ended)),
        ("failed", |writer, _| (writer.fail(StorageError::other("reason")), None).1, Some(ReadError::Failed)),
        ("dropped", |_, _| None, Some(ReadError::Failed)),
        ("seeking", |writer, reader| (reader.control().seek(), Some(writer)).1, Some(ReadError::NotYet)),
        (
            "sought",
            |mut writer, reader| {
                reader.control().seek();
                let epoch = writer.epoch();
                writer.begin(epoch, 0).unwrap();
                Some(writer)
            },
            Some(ReadError::NotYet),
        ),
        (
            "seeking after the end",
            |writer, reader| {
                writer.finish();
                reader.control().seek();
                None
            },
            Some(ReadError::Ended),
        ),
        (
            "seeking after a failure",
            |writer, reader| {
                drop(writer);
                reader.control().seek();
                None
            },
            Some(ReadError::Failed),
        ),
        ("cut off", |writer, _| Some(writer), Some(ReadError::NotYet)),
    ];
    for (state, prepare, cause) in states {
        for channels in [1, 2, 3, 7] {
            for queued in [0, 1, 5, 64] {
                for (len, planar) in [(0, false), (1, false), (10, false), (200, false), (203, false), (200, true)] {
                    let (mut writer, mut reader) = open(channels, 64);
                    assert_eq!(try_write(&mut writer, &samples(0, queued * channels)), queued);
                    let drops_what_is_there = state.starts_with("seeking") || state == "sought";
                    let queued = if drops_what_is_there { 0 } else { queued };
                    let _writer = prepare(writer, &reader);
                    let len = if planar { len - len % channels } else { len };
                    let mut out = vec![STALE; len];
                    let fill = if planar {
                        let mut planes: Vec<&mut [i32]> = out.chunks_mut(len / channels).collect();
                        reader.fill_planar(&mut planes)
                    } else {
                        reader.fill(&mut out)
                    };
                    let wanted = len / channels;
                    let frames = queued.min(wanted);
                    let expected = Fill {
                        frames,
                        missing: wanted - frames,
                        cause: cause.filter(|_| frames < wanted),
                        seeking: state == "seeking",
                    };
                    let story = format!("{state}, {queued} frames of {channels} queued, {len} samples wanted");
                    if wanted > 0 {
                        assert_eq!(fill, expected, "{story}");
                    } else {
                        assert_eq!((fill.frames, fill.missing), (0, 0), "{story}");
                    }
                    assert!(!out.contains(&STALE), "{story}");
                    if !planar {
                        assert_eq!(out[..frames * channels], samples(0, frames * channels), "{story}");
                        assert!(out[frames * channels..].iter().all(|&sample| sample == 0), "{story}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_cancelled_stream_plays_out_and_then_is_silent() {
    for by_token in [false, true] {
        let cancel = CancelToken::new();
        let (mut writer, mut reader) =
            pcm::open::<i32>(PcmOptions { cancel: cancel.child_token(), ..options(1, 8) }).unwrap();
        write(&mut writer, &samples(0, 3));
        if !by_token {
            drop(reader);
            let epoch = writer.epoch();
            assert_eq!(writer.try_write(epoch, &[1]), Err(PcmError::Cancelled), "the reader is gone");
            continue;
        }
        cancel.cancel();
        let epoch = writer.epoch();
        assert_eq!(writer.write(epoch, &[1]), Err(PcmError::Cancelled));
        assert_eq!(writer.try_write(epoch, &[1]), Err(PcmError::Cancelled));
        let mut out = [STALE; 5];
        let fill = reader.fill(&mut out);
        assert_eq!((fill.frames, fill.missing, fill.cause), (3, 2, Some(ReadError::Cancelled)));
        assert_eq!(out, [1, 2, 3, 0, 0]);
        assert_eq!(reader.status(), ResourceStatus::Cancelled);
        assert_eq!(reader.wait(1), Err(PcmError::Cancelled));
        drop(writer);
        assert_eq!(reader.status(), ResourceStatus::Cancelled, "no failure");
    }
}

#[test]
fn planar_is_interleaved_by_channel() {
    for channels in [1, 2, 3, 5, 8, 1024] {
        let (mut a, mut interleaved) = open(channels, 3000);
        let (mut b, mut planar) = open(channels, 3000);
        let mut written = 0;
        let mut fallen_short = false;
        for (write, read) in [(10, 4), (0, 4), (0, 4), (700, 700), (2100, 1100), (0, 1300), (1, 2), (0, 0)] {
            let data = samples(written, written + write * channels);
            written += write * channels;
            assert_eq!((try_write(&mut a, &data), try_write(&mut b, &data)), (write, write));
            let mut flat = vec![STALE; read * channels];
            // The first buffer is longer than the others, and there is one more than the stream has channels.
            let mut planes: Vec<Vec<i32>> = (0..=channels).map(|c| vec![STALE; read + usize::from(c == 0)]).collect();
            let by_interleaved = interleaved.fill(&mut flat);
            let by_planar = {
                let mut planes: Vec<&mut [i32]> = planes.iter_mut().map(Vec::as_mut_slice).collect();
                planar.fill_planar(&mut planes)
            };
            assert_eq!(by_planar, by_interleaved);
            fallen_short |= by_planar.missing > 0;
            for (c, plane) in planes[..channels].iter().enumerate() {
                let own: Vec<i32> = flat.iter().skip(c).step_by(channels).copied().collect();
                assert_eq!(plane[..read], own, "channel {c} of {channels}");
            }
            assert_eq!(planes[0][read..], [0]);
            assert!(planes[channels].iter().all(|&sample| sample == 0), "a channel that the stream does not have");
        }
        assert!(fallen_short);
        assert_eq!(planar.position(), interleaved.position());
        assert_eq!(
            (planar.underruns(), planar.missing_frames()),
            (interleaved.underruns(), interleaved.missing_frames())
        );
    }
}

#[test]
fn planar_drops_channels_that_are_not_asked_for() {
    let (mut writer, mut reader) = open(3, 8);
    write(&mut writer, &[11, 12, 13, 21, 22, 23]);
    let mut left = [STALE; 2];
    assert_eq!(reader.fill_planar(&mut [&mut left]).frames, 2);
    assert_eq!(left, [11, 21]);
    assert_eq!(reader.fill_planar(&mut []), Fill::default());
}

/// A long buffer is filled in parts: what comes between two of them comes too late.
#[test]
fn a_frame_that_comes_during_a_planar_fill_is_not_played_after_silence() {
    must_end(|| {
        let (mut writer, mut reader) = open(1, 8192);
        let writing = thread::spawn(move || {
            for i in 0..40_000 {
                while try_write(&mut writer, &samples(i, i + 1)) == 0 {
                    thread::yield_now();
                }
            }
            writer.finish();
        });
        let mut played = 0;
        loop {
            let mut plane = [STALE; 8192];
            let fill = reader.fill_planar(&mut [&mut plane]);
            assert_eq!(plane[..fill.frames], samples(played, played + fill.frames));
            assert!(plane[fill.frames..].iter().all(|&sample| sample == 0));
            played += fill.frames;
            if fill.cause == Some(ReadError::Ended) {
                break;
            }
        }
        assert_eq!(played, 40_000);
        writing.join().unwrap();
    });
}

fn every_bit_arrives<S: Sample + Copy + Debug>(patterns: &[S], silence: S, same: fn(S, S) -> bool) {
    // Not a power of two in bytes, so that frames straddle the end of the ring.
    let (mut writer, mut reader) = pcm::open::<S>(options(3, 7)).unwrap();
    assert_eq!((writer.channels(), writer.rate_hz(), reader.channels()), (3, 48_000, 3));
    let epoch = writer.epoch();
    let data: Vec<S> = patterns.iter().copied().cycle().take(3 * 1000).collect();
    let mut received = Vec::new();
    let mut sent = 0;
    while received.len() < data.len() {
        sent += 3 * writer.try_write(epoch, &data[sent..]).unwrap();
        let mut out = [patterns[0]; 3 * 5];
        let fill = reader.fill(&mut out);
        received.extend_from_slice(&out[..3 * fill.frames]);
        assert!(out[3 * fill.frames..].iter().all(|&sample| same(sample, silence)));
    }
    for (i, (&received, &sent)) in received.iter().zip(&data).enumerate() {
        assert!(same(received, sent), "{received:?} is not {sent:?} at {i}");
    }
}

#[test]
fn samples_of_every_type_arrive_bit_for_bit() {
    let floats = [1.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, f32::from_bits(0x7fc0_1234), -1.5e-39, 0.1];
    every_bit_arrives(&floats, 0.0, |a, b| a.to_bits() == b.to_bits());
    every_bit_arrives(&[i16::MIN, -1, 1, i16::MAX, 0x1234], 0, |a, b| a == b);
    every_bit_arrives(&[i32::MIN, -1, 1, i32::MAX, 0x1234_5678], 0, |a, b| a == b);
}

#[test]
fn the_writer_may_be_ahead_by_the_capacity_and_no_more() {
    for capacity in [1, 2, 3, 10, 1000] {
        let (mut writer, mut reader) = open(2, capacity);
        assert_eq!(try_write(&mut writer, &samples(0, 2 * capacity + 20)), capacity);
        assert_eq!(try_write(&mut writer, &[1, 2]), 0);
        assert_eq!((writer.queued_frames(), reader.tap().queued_frames()), (capacity, capacity));
        assert_eq!(reader.fill(&mut [0; 2]).frames, 1);
        assert_eq!(writer.queued_frames(), capacity - 1);
        assert_eq!(try_write(&mut writer, &[1, 2, 3, 4]), 1);
    }
}

#[test]
fn a_partial_frame_is_refused_and_nothing_of_it_written() {
    let (mut writer, mut reader) = open(3, 8);
    let epoch = writer.epoch();
    for len in [1, 2, 4, 8, 10] {
        let data = samples(0, len);
        let refused = PcmError::PartialFrame { channels: 3 };
        assert_eq!(writer.write(epoch, &data), Err(refused));
        assert_eq!(writer.try_write(epoch, &data), Err(refused));
        assert_eq!(writer.write_timeout(epoch, &data, Duration::MAX), Err(refused));
    }
    assert_eq!(writer.queued_frames(), 0);
    assert_eq!(writer.try_write(epoch, &[]), Ok(0));
    write(&mut writer, &samples(0, 3));
    // Of a buffer that ends within a frame, the rest is silence.
    let mut out = [STALE; 5];
    assert_eq!(reader.fill(&mut out).frames, 1);
    assert_eq!(out, [1, 2, 3, 0, 0]);
}

#[test]
fn only_an_underrun_counts_as_one() {
    let (mut writer, mut reader) = open(1, 8);
    let mut out = [0; 4];
    reader.fill(&mut out);
    assert_eq!((reader.underruns(), reader.missing_frames()), (0, 0), "nothing was played yet");
    write(&mut writer, &samples(0, 5));
    reader.fill(&mut out);
    assert_eq!(reader.underruns(), 0);
    let fill = reader.fill(&mut out);
    assert_eq!((fill.frames, fill.missing, fill.cause, fill.seeking), (1, 3, Some(ReadError::NotYet), false));
    assert_eq!((reader.underruns(), reader.missing_frames()), (1, 3));
    reader.fill(&mut out);
    assert_eq!((reader.underruns(), reader.missing_frames()), (2, 7));
    assert_eq!((reader.tap().underruns(), reader.tap().missing_frames()), (2, 7));
    reader.control().seek();
    reader.fill(&mut out);
    let epoch = writer.epoch();
    writer.begin(epoch, 0).unwrap();
    reader.fill(&mut out);
    assert_eq!(reader.underruns(), 2, "a seek is none");
    write(&mut writer, &samples(0, 2));
    reader.fill(&mut out);
    assert_eq!((reader.underruns(), reader.missing_frames()), (3, 9));
    writer.finish();
    reader.fill(&mut out);
    assert_eq!(reader.underruns(), 3, "the end is none");
}

#[test]
fn the_position_counts_frames_of_the_medium_and_no_silence() {
    let (mut writer, mut reader) = open(2, 8);
    assert_eq!(reader.position(), 0);
    let epoch = writer.epoch();
    writer.begin(epoch, 1000).unwrap();
    write(&mut writer, &samples(0, 6));
    assert_eq!(reader.fill(&mut [0; 4]).frames, 2);
    assert_eq!((reader.position(), reader.tap().position()), (1002, Some(1002)));
    assert_eq!(reader.fill(&mut [0; 100]).frames, 1);
    assert_eq!(reader.position(), 1003, "silence is not of the medium");
    writer.begin(epoch, 7).unwrap();
    assert_eq!(reader.fill(&mut [0; 4]).frames, 0);
    assert_eq!(reader.position(), 1003, "frames of the epoch were written: it has begun");
}

#[test]
fn positions_near_the_largest_wrap_and_do_not_panic() {
    let (mut writer, mut reader) = open(1, 8);
    let epoch = writer.epoch();
    writer.begin(epoch, u64::MAX - 1).unwrap();
    write(&mut writer, &samples(0, 4));
    assert_eq!(reader.fill(&mut [0; 1]).frames, 1);
    assert_eq!((reader.position(), reader.tap().position()), (u64::MAX, Some(u64::MAX)));
    assert_eq!(reader.fill(&mut [0; 3]).frames, 3);
    assert_eq!((reader.position(), reader.tap().position()), (2, Some(2)));
    reader.control().seek();
    write(&mut writer, &samples(0, 1));
    assert_eq!(reader.fill(&mut [0; 1]).frames, 1);
    assert_eq!(reader.position(), 3, "an epoch that was begun by a write counts on");
}

// ---- blocking writes ----

#[test]
fn a_write_larger_than_the_capacity_goes_through_in_parts() {
    must_end(|| {
        let (mut writer, mut reader) = open(2, 10);
        let data = samples(0, 2 * 1000);
        let expected = data.clone();
        let writing = thread::spawn(move || {
            write(&mut writer, &data);
            writer.finish();
        });
        let mut received = Vec::new();
        loop {
            let mut out = [STALE; 2 * 7];
            let fill = reader.fill(&mut out);
            received.extend_from_slice(&out[..2 * fill.frames]);
            if fill.cause == Some(ReadError::Ended) {
                break;
            }
            if fill.missing > 0 {
                thread::yield_now();
            }
        }
        assert_eq!(received, expected);
        writing.join().unwrap();
    });
}

#[test]
fn a_blocked_write_goes_on_though_a_callback_wakes_nobody() {
    must_end(|| {
        let (mut writer, mut reader) = open(1, 8);
        write(&mut writer, &samples(0, 8));
        let writing = Sleeper::start(move || {
            write(&mut writer, &samples(8, 12));
            writer.queued_frames()
        });
        let mut out = [0; 8];
        assert_eq!(reader.fill(&mut out[..5]).frames, 5);
        assert_eq!(writing.wakes_with(), 7);
    });
}

#[test]
fn a_write_with_a_timeout_writes_what_fits_by_then() {
    must_end(|| {
        let (mut writer, _reader) = open(1, 8);
        let epoch = writer.epoch();
        assert_eq!(writer.write_timeout(epoch, &samples(0, 5), Duration::ZERO), Ok(5));
        assert_eq!(writer.write_timeout(epoch, &samples(5, 15), Duration::from_millis(5)), Ok(3));
        assert_eq!(writer.write_timeout(epoch, &samples(8, 15), Duration::ZERO), Ok(0));
    });
}

/// The sleep of a writer is as long as its frames last, and once the timeout did not shorten it.
#[test]
fn a_timeout_ends_a_write_whose_frames_last_for_days() {
    must_end(|| {
        let options = PcmOptions { rate_hz: 1, ..options(1, 1 << 17) };
        let (mut writer, mut reader) = pcm::open::<i32>(options).unwrap();
        let epoch = writer.epoch();
        let much = vec![1; 1 << 18];
        assert_eq!(writer.write_timeout(epoch, &much, Duration::from_millis(1)), Ok(1 << 17));
        assert_eq!(writer.write_timeout(epoch, &much, Duration::from_millis(1)), Ok(0));
        assert_eq!(reader.wait_timeout(1 << 17, Duration::from_millis(1)), Ok(1 << 16), "half the capacity");
        while reader.fill(&mut [0; 1 << 10]).frames > 0 {}
        assert_eq!(reader.wait_timeout(1 << 16, Duration::from_millis(1)), Ok(0));
    });
}

#[test]
fn interrupts_end_the_waits_of_either_side() {
    must_end(|| {
        let (mut writer, mut reader) = open(1, 8);
        let (to_writer, to_reader) = (writer.interrupter(), reader.interrupter());
        to_reader.interrupt();
        assert_eq!(reader.wait(1), Err(PcmError::Interrupted), "one that comes before is not lost");
        let waiting = Sleeper::start(move || (reader.wait(1), reader));
        to_reader.interrupt();
        let (outcome, mut reader) = waiting.wakes_with();
        assert_eq!(outcome, Err(PcmError::Interrupted));
        let epoch = writer.epoch();
        to_writer.interrupt();
        assert_eq!(writer.write(epoch, &samples(0, 9)), Err(PcmError::Interrupted));
        assert_eq!(writer.queued_frames(), 8, "what fitted was written");
        let waiting = Sleeper::start(move || (writer.write(epoch, &samples(0, 1)), writer));
        to_writer.interrupt();
        let (outcome, writer) = waiting.wakes_with();
        assert_eq!(outcome, Err(PcmError::Interrupted));
        drop(writer);
        assert_eq!(reader.wait(4), Ok(4));
    });
}

// ---- how it ends ----

#[test]
fn a_finished_stream_plays_out_and_ends() {
    let (mut writer, mut reader) = open(1, 8);
    write(&mut writer, &samples(0, 5));
    writer.finish();
    assert_eq!(reader.status(), ResourceStatus::Committed { final_len: 5 });
    let mut out = [STALE; 3];
    assert_eq!(reader.fill(&mut out), Fill { frames: 3, missing: 0, cause: None, seeking: false });
    let fill = reader.fill(&mut out);
    assert_eq!(fill, Fill { frames: 2, missing: 1, cause: Some(ReadError::Ended), seeking: false });
    assert_eq!(out, [4, 5, 0]);
    assert_eq!(reader.wait(1), Ok(0));
    assert_eq!(reader.tap().status(), ResourceStatus::Committed { final_len: 5 });
}

#[test]
fn a_failed_stream_plays_out_and_has_its_reason() {
    for dropped in [false, true] {
        let (mut writer, mut reader) = open(1, 8);
        write(&mut writer, &samples(0, 5));
        if dropped {
            drop(writer);
        } else {
            writer.fail(StorageError::other("the decoder gave up"));
        }
        assert_eq!(reader.wait(4), Ok(4));
        assert_eq!(reader.wait(8), Ok(4), "half the capacity");
        let fill = reader.fill(&mut [0; 8]);
        assert_eq!((fill.frames, fill.cause), (5, Some(ReadError::Failed)));
        assert_eq!(reader.wait(1), Err(PcmError::Failed));
        assert_eq!(reader.wait_timeout(1, Duration::MAX), Err(PcmError::Failed));
        match reader.status() {
            ResourceStatus::Failed(reason) if dropped => assert_is!(&*reason, StorageError::WriterDropped),
            ResourceStatus::Failed(reason) => assert_eq!(reason.to_string(), "the decoder gave up"),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[test]
fn a_blocked_writer_hears_that_the_reader_is_gone_or_the_stream_cancelled() {
    must_end(|| {
        let cancel = CancelToken::new();
        for by_token in [false, true] {
            let (mut writer, reader) =
                pcm::open::<i32>(PcmOptions { cancel: cancel.clone(), rate_hz: 1, ..options(1, 100_000) }).unwrap();
            let writing = Sleeper::start(move || {
                let epoch = writer.epoch();
                writer.write(epoch, &[1; 200_000])
            });
            if by_token {
                cancel.cancel();
            } else {
                drop(reader);
            }
            assert_eq!(writing.wakes_with(), Err(PcmError::Cancelled));
        }
    });
}

#[test]
fn a_waiting_reader_hears_how_the_stream_ended() {
    must_end(|| {
        type End = fn(PcmWriter<i32>, &CancelToken);
        let ends: [(End, Result<usize, PcmError>); 4] = [
            (|writer, _| writer.finish(), Ok(0)),
            (|writer, _| writer.fail(StorageError::other("x")), Err(PcmError::Failed)),
            (|writer, _| drop(writer), Err(PcmError::Failed)),
            (|writer, cancel| (cancel.cancel(), drop(writer)).1, Err(PcmError::Cancelled)),
        ];
        for (end, expected) in ends {
            let cancel = CancelToken::new();
            // Frames that last for days: no nap ends by itself.
            let options = PcmOptions { cancel: cancel.clone(), rate_hz: 1, ..options(1, 1 << 17) };
            let (writer, mut reader) = pcm::open::<i32>(options).unwrap();
            let waiting = Sleeper::start(move || reader.wait(1 << 16));
            end(writer, &cancel);
            assert_eq!(waiting.wakes_with(), expected);
        }
    });
}

// ---- the other direction ----

#[test]
fn a_capture_callback_hands_its_frames_to_a_thread_that_waits() {
    must_end(|| {
        let (mut writer, mut reader) = open(2, 64);
        let capturing = thread::spawn(move || {
            let epoch = writer.epoch();
            let mut next = 0;
            while next < 2 * 5000 {
                // As a callback does: it never waits, and what does not fit is an overrun. This one tries again.
                let written = writer.try_write(epoch, &samples(next, (next + 2 * 16).min(2 * 5000))).unwrap();
                next += 2 * written;
                if written == 0 {
                    thread::yield_now();
                }
            }
            writer.finish();
        });
        let mut received = Vec::new();
        loop {
            let ready = reader.wait(16).unwrap();
            if ready == 0 {
                break;
            }
            let mut out = vec![STALE; 2 * ready];
            let fill = reader.fill(&mut out);
            assert_eq!((fill.frames, fill.missing), (ready, 0), "what was ready is there");
            received.extend(out);
        }
        assert_eq!(received, samples(0, 2 * 5000));
        assert_eq!(reader.underruns(), 0);
        capturing.join().unwrap();
    });
}

#[test]
fn a_wait_ends_when_its_frames_are_there() {
    must_end(|| {
        let (mut writer, mut reader) = open(1, 1000);
        assert_eq!(reader.wait(0), Ok(0));
        assert_eq!(reader.wait_timeout(1, Duration::ZERO), Ok(0));
        let waiting = Sleeper::start(move || (reader.wait(3), reader));
        write(&mut writer, &samples(0, 2));
        assert!(waiting.still_waits());
        write(&mut writer, &samples(2, 3));
        let (ready, mut reader) = waiting.wakes_with();
        assert_eq!(ready, Ok(3));
        assert_eq!(reader.wait_timeout(2, Duration::ZERO), Ok(2));
        assert_eq!(reader.wait(3), Ok(3));
        // A frame that comes without a wake is found in time.
        let waiting = Sleeper::start(move || reader.wait(4));
        assert_eq!(try_write(&mut writer, &samples(3, 4)), 1);
        assert_eq!(waiting.wakes_with(), Ok(4));
    });
}

#[test]
fn a_wait_for_more_than_can_be_there_is_content_with_half_the_capacity() {
    must_end(|| {
        for capacity in [1, 2, 3, 8] {
            let (mut writer, mut reader) = open(1, capacity);
            let waiting = Sleeper::start(move || reader.wait(usize::MAX));
            write(&mut writer, &samples(0, capacity));
            assert_eq!(waiting.wakes_with(), Ok((capacity / 2).max(1)));
        }
    });
}

/// Each side sleeps for the other only if one of them does not say what it did.
#[test]
fn a_blocking_writer_and_a_waiting_reader_do_not_wait_for_each_other() {
    must_end(|| {
        for capacity in [1, 2, 3, 7] {
            // Frames that last for days: whoever is not woken sleeps on.
            let options = PcmOptions { rate_hz: 1, ..options(1, capacity) };
            let (mut writer, mut reader) = pcm::open::<i32>(options).unwrap();
            let writing = thread::spawn(move || {
                write(&mut writer, &samples(0, 300));
                writer.finish();
            });
            let mut received = Vec::new();
            loop {
                let ready = reader.wait(capacity).unwrap();
                let mut out = vec![STALE; ready];
                assert_eq!(reader.fill(&mut out).frames, ready);
                received.extend(out);
                if ready == 0 {
                    break;
                }
            }
            assert_eq!(received, samples(0, 300));
            writing.join().unwrap();
        }
    });
}

// ---- options ----

#[test]
fn options_that_make_no_ring_are_refused() {
    let refused = |options: PcmOptions| match pcm::open::<i32>(options).map(drop) {
        Err(StorageError::InvalidOptions(reason)) => reason,
        other => panic!("unexpected: {other:?}"),
    };
    assert_eq!(refused(options(0, 8)), InvalidOptions::Channels(0));
    assert_eq!(refused(options(1025, 8)), InvalidOptions::Channels(1025));
    assert_eq!(refused(options(1, 0)), InvalidOptions::ZeroFrames);
    assert_eq!(refused(options(1, usize::MAX)), InvalidOptions::TooManyFrames(usize::MAX));
    assert_eq!(refused(options(1, usize::MAX / 4)), InvalidOptions::TooManyFrames(usize::MAX / 4));
    assert_eq!(refused(PcmOptions { rate_hz: 0, ..options(1, 8) }), InvalidOptions::Rate(0));
    assert_eq!(refused(PcmOptions { rate_hz: 10_000_001, ..options(1, 8) }), InvalidOptions::Rate(10_000_001));
    let history = PcmOptions { history_frames: usize::MAX, ..options(1, 8) };
    assert_is!(refused(history), InvalidOptions::TooManyFrames(_));
    let cancel = CancelToken::new();
    cancel.cancel();
    assert_is!(pcm::open::<i32>(PcmOptions { cancel, ..options(1, 8) }).map(drop), Err(StorageError::Cancelled));
    assert!(!pcm::open::<f32>(options(1, 8)).unwrap().1.memory_locked(), "nobody asked for it");
}

// ---- taps ----

fn with_history(channels: usize, capacity: usize, history: usize) -> (PcmWriter<i32>, PcmReader<i32>) {
    pcm::open(PcmOptions { history_frames: history, ..options(channels, capacity) }).unwrap()
}

#[test]
fn a_tap_reads_the_samples_that_end_at_the_playhead() {
    let (mut writer, mut reader) = with_history(2, 16, 20);
    let (mut tap, mut other) = (reader.tap(), writer.tap().clone());
    assert_eq!((tap.channels(), tap.rate_hz()), (2, 48_000));
    let mut out = [STALE; 2 * 6 + 1];
    assert_eq!(tap.latest(&mut out), 0, "nothing was heard");
    assert_eq!(out, [0; 13]);
    let (mut written, mut played) = (0, 0);
    for period in [1, 3, 7, 2, 16, 0, 5, 16, 16, 16, 1] {
        let data = samples(2 * written, 2 * (written + 16));
        written += try_write(&mut writer, &data);
        let mut buf = vec![0; 2 * period];
        assert_eq!(reader.fill(&mut buf).frames, period);
        played += period;
        let heard = played.min(6);
        for tap in [&mut tap, &mut other] {
            let mut out = [STALE; 2 * 6 + 1];
            assert_eq!(tap.latest(&mut out), heard);
            assert_eq!(
                out[2 * (6 - heard)..12],
                samples(2 * (played - heard), 2 * played),
                "queued frames are not heard"
            );
            assert!(out[..2 * (6 - heard)].iter().all(|&sample| sample == 0));
            assert_eq!(out[12], 0, "what lies beyond the last whole frame is silence");
        }
    }
    assert_eq!(tap.latest(&mut []), 0);
    assert_eq!(tap.latest(&mut [STALE]), 0);
    assert_eq!(tap.laps(), 0);
}

#[test]
fn the_history_is_kept_however_far_the_writer_is_ahead() {
    for (capacity, history) in [(1, 1), (5, 8), (100, 30), (7, 1000), (16, 0)] {
        let (mut writer, mut reader) = with_history(1, capacity, history);
        let mut tap = reader.tap();
        let mut written = 0;
        let mut played = 0;
        for _ in 0..100 + 3 * history {
            written += try_write(&mut writer, &samples(written, written + capacity));
            let mut buf = vec![0; capacity / 2 + 1];
            played += reader.fill(&mut buf).frames;
            written += try_write(&mut writer, &samples(written, written + capacity));
            let mut out = vec![STALE; history];
            let kept = played.min(history);
            assert_eq!(tap.latest(&mut out), kept);
            assert_eq!(out[history - kept..], samples(played - kept, played));
        }
    }
}

#[test]
fn a_tap_reads_on_when_both_sides_are_gone() {
    let (mut writer, mut reader) = with_history(1, 8, 8);
    let mut tap = reader.tap();
    write(&mut writer, &samples(0, 8));
    reader.fill(&mut [0; 5]);
    drop((writer, reader));
    let mut out = [STALE; 8];
    assert_eq!(tap.latest(&mut out), 5);
    assert_eq!(out, [0, 0, 0, 1, 2, 3, 4, 5]);
    assert_is!(tap.status(), ResourceStatus::Failed(_));
}
