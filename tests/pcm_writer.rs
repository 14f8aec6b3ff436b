//! The writer's end: an end that a seek takes back, drains, frames that do not fit, and planar frames.

mod threads;

use roundelay::{
    ReadError, ResourceStatus, StorageError,
    pcm::{self, Fill, PcmError, PcmOptions, PcmReader, PcmWriter},
};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use threads::{Sleeper, must_end};

/// Longer than any wait here takes; no claim depends on it.
const HANG: Duration = Duration::from_secs(30);

fn options(channels: usize, capacity_frames: usize) -> PcmOptions {
    PcmOptions { channels, capacity_frames, history_frames: 0, lock_memory: false, ..Default::default() }
}

fn mono(capacity_frames: usize) -> (PcmWriter<f32>, PcmReader<f32>) {
    pcm::open(options(1, capacity_frames)).unwrap()
}

// ---- the end, which a seek takes back ----

fn fill(reader: &mut PcmReader<f32>, frames: usize) -> (Vec<f32>, Fill) {
    let mut out = vec![9.0; frames];
    let fill = reader.fill(&mut out);
    (out, fill)
}

/// The decoder had finished a second before the last frame was heard, and each seek after that was silence for ever.
#[test]
fn a_seek_after_the_end_is_answered() {
    let (mut writer, mut reader) = mono(8);
    let first = writer.epoch();
    writer.write(first, &[1.0, 2.0]).unwrap();
    writer.end_epoch(first).unwrap();
    writer.end_epoch(first).unwrap();
    assert_eq!(writer.write(first, &[3.0]), Err(PcmError::Finished));
    assert_eq!(writer.try_write(first, &[3.0]), Err(PcmError::Finished));
    assert_eq!(writer.begin(first, 0), Err(PcmError::Finished));
    let (out, ended) = fill(&mut reader, 3);
    assert_eq!((out, ended.frames, ended.cause), (vec![1.0, 2.0, 0.0], 2, Some(ReadError::Ended)));
    assert_eq!(reader.underruns(), 0);
    assert_eq!(reader.wait(1).unwrap(), 0, "there are no more for now");
    assert_eq!(reader.status(), ResourceStatus::Active);
    let second = reader.control().try_seek().unwrap();
    let (_, seeking) = fill(&mut reader, 1);
    assert_eq!((seeking.cause, seeking.seeking), (Some(ReadError::NotYet), true));
    assert_eq!(writer.end_epoch(first), Err(PcmError::Stale));
    writer.begin(second, 100).unwrap();
    writer.write(second, &[5.0, 6.0]).unwrap();
    let (out, goes_on) = fill(&mut reader, 2);
    assert_eq!((out, goes_on.cause), (vec![5.0, 6.0], None));
    assert_eq!(reader.position(), 102);
    let (_, late) = fill(&mut reader, 1);
    assert_eq!((late.cause, reader.underruns()), (Some(ReadError::NotYet), 1), "this epoch has not ended");
    writer.end_epoch(second).unwrap();
    assert_eq!(fill(&mut reader, 1).1.cause, Some(ReadError::Ended));
    writer.finish();
    assert_eq!(reader.status(), ResourceStatus::Committed { final_len: 4 });
    assert_eq!(reader.status().to_string(), "committed, length 4", "these are frames, and no bytes");
}

#[test]
fn an_epoch_ends_without_a_frame() {
    let (mut writer, mut reader) = mono(8);
    let control = reader.control();
    let epoch = control.seek();
    writer.end_epoch(epoch).unwrap();
    assert_eq!(fill(&mut reader, 1).1.cause, Some(ReadError::Ended));
    control.wait_heard(epoch, Duration::ZERO).unwrap();
    control.wait_drained(Duration::ZERO).unwrap();
}

#[test]
fn a_writer_dropped_after_its_last_epoch_has_finished() {
    let (mut writer, reader) = mono(8);
    let epoch = writer.epoch();
    writer.write(epoch, &[1.0]).unwrap();
    writer.end_epoch(epoch).unwrap();
    drop(writer);
    assert_eq!(reader.status(), ResourceStatus::Committed { final_len: 1 });
    let (mut writer, reader) = mono(8);
    writer.end_epoch(writer.epoch()).unwrap();
    reader.control().seek();
    drop(writer);
    let dropped = |reason: &StorageError| matches!(reason, StorageError::WriterDropped);
    assert!(matches!(reader.status(), ResourceStatus::Failed(reason) if dropped(&reason)), "a seek was not answered");
}

#[test]
fn nobody_answers_a_seek_once_the_writer_is_gone() {
    let (mut writer, mut reader) = mono(8);
    writer.write(writer.epoch(), &[1.0, 2.0]).unwrap();
    let control = reader.control();
    writer.finish();
    assert_eq!(control.try_seek(), Err(PcmError::Finished));
    assert_eq!(fill(&mut reader, 2).0, [1.0, 2.0], "nothing has changed");
    let unanswered = control.seek();
    assert_eq!(control.wait_heard(unanswered, HANG), Err(PcmError::Finished));
    control.wait_drained(HANG).unwrap();
    type Gone = fn(PcmWriter<f32>, PcmReader<f32>) -> Option<PcmReader<f32>>;
    let gone: [(Gone, PcmError); 3] = [
        (|writer, reader| (drop(writer), Some(reader)).1, PcmError::Failed),
        (|writer, reader| (writer.fail(StorageError::other("broken")), Some(reader)).1, PcmError::Failed),
        (|_writer, reader| (drop(reader), None).1, PcmError::Cancelled),
    ];
    for (go, error) in gone {
        let (writer, reader) = mono(8);
        let control = reader.control();
        let epoch = control.seek();
        let _reader = go(writer, reader);
        assert_eq!(control.try_seek(), Err(error));
        assert_eq!(control.wait_heard(epoch, HANG), Err(error));
        assert_eq!(control.wait_drained(HANG), Err(error));
    }
}

/// Frames of a finished stream are still to be heard, and with the reader gone nobody plays them: the waits timed out.
#[test]
fn nobody_waits_for_a_reader_that_is_gone() {
    must_end(|| {
        type End = fn(PcmWriter<f32>);
        let ends: [End; 2] = [|writer| writer.finish(), |writer| writer.fail(StorageError::other("broken"))];
        for end in ends {
            let (mut writer, mut reader) = mono(8);
            let (epoch, control) = (writer.epoch(), writer.control());
            writer.write(epoch, &[1.0, 2.0]).unwrap();
            end(writer);
            let waiting = control.clone();
            let sleeper = Sleeper::start(move || waiting.wait_drained(HANG));
            assert!(sleeper.still_waits());
            drop(reader);
            assert_eq!(sleeper.wakes_with(), Err(PcmError::Cancelled));
            assert_eq!(control.wait_heard(epoch, HANG), Err(PcmError::Cancelled));

            (writer, reader) = mono(8);
            let (epoch, control) = (writer.epoch(), writer.control());
            writer.write(epoch, &[1.0]).unwrap();
            fill(&mut reader, 1);
            writer.finish();
            drop(reader);
            control.wait_drained(HANG).unwrap();
            control.wait_heard(epoch, HANG).unwrap();
        }
    });
}

#[test]
fn a_seek_is_waited_for_until_it_is_heard() {
    must_end(|| {
        let (mut writer, mut reader) = mono(8);
        let control = reader.control();
        let first = writer.epoch();
        writer.write(first, &[1.0]).unwrap();
        assert_eq!(control.wait_heard(first, Duration::ZERO), Err(PcmError::TimedOut));
        fill(&mut reader, 1);
        control.wait_heard(first, Duration::ZERO).unwrap();
        let second = control.seek();
        assert_eq!(control.wait_heard(first, HANG), Err(PcmError::Stale));
        let waiting = control.clone();
        let sleeper = Sleeper::start(move || waiting.wait_heard(second, HANG));
        writer.write(second, &[2.0]).unwrap();
        assert!(sleeper.still_waits(), "it was written, and not heard");
        fill(&mut reader, 1);
        assert_eq!(sleeper.wakes_with(), Ok(()));
        let third = control.seek();
        let waiting = control.clone();
        let sleeper = Sleeper::start(move || waiting.wait_heard(third, HANG));
        control.seek();
        assert_eq!(sleeper.wakes_with(), Err(PcmError::Stale));
    });
}

#[test]
fn a_drain_ends_with_the_last_frame_or_a_seek() {
    must_end(|| {
        let (mut writer, mut reader) = mono(8);
        let control = reader.control();
        let first = writer.epoch();
        writer.write(first, &[1.0, 2.0]).unwrap();
        assert_eq!(control.wait_drained(Duration::ZERO), Err(PcmError::TimedOut));
        assert_eq!(writer.drain_timeout(first, Duration::ZERO), Err(PcmError::TimedOut));
        let sleeper = Sleeper::start(move || (writer.drain(first), writer));
        fill(&mut reader, 1);
        assert!(sleeper.still_waits());
        let second = control.seek();
        let (drained, mut writer) = sleeper.wakes_with();
        assert_eq!(drained, Err(PcmError::Stale));
        writer.write(second, &[3.0]).unwrap();
        let listening = control.clone();
        let listener = Sleeper::start(move || listening.wait_drained(HANG));
        let sleeper = Sleeper::start(move || (writer.drain(second), writer));
        fill(&mut reader, 2);
        let (drained, writer) = sleeper.wakes_with();
        assert_eq!((drained, listener.wakes_with()), (Ok(()), Ok(())));
        writer.finish();
        control.wait_drained(Duration::ZERO).unwrap();
    });
}

/// One who waits looked at what was asked for, at what had ended, at the answer and at the playhead, and each could be of
/// another epoch: an end without a frame played, a seek said to be heard of which nothing was, or to be without an answer.
#[test]
fn no_seek_makes_a_wait_end_too_early() {
    const SEEKS: u64 = 500_000;
    must_end(|| {
        let (mut writer, mut reader) = mono(8);
        let control = reader.control();
        let first = writer.epoch();
        writer.write(first, &[1.0]).unwrap();
        writer.end_epoch(first).unwrap();
        let unheard = Mutex::new(first);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let epoch = *unheard.lock().unwrap();
                    let heard = control.wait_heard(epoch, Duration::ZERO);
                    assert!(matches!(heard, Err(PcmError::Stale | PcmError::TimedOut)), "{epoch:?}: {heard:?}");
                }
            });
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    assert_eq!(
                        control.wait_drained(Duration::ZERO),
                        Err(PcmError::TimedOut),
                        "a frame is never played"
                    );
                }
            });
            for seek in 0..SEEKS {
                let epoch = control.seek();
                writer.write(epoch, &[2.0, 3.0]).unwrap();
                if seek % 2 == 0 {
                    writer.end_epoch(epoch).unwrap();
                    *unheard.lock().unwrap() = epoch;
                } else {
                    fill(&mut reader, 1);
                }
            }
            over.store(true, Relaxed);
        });
    });
}

#[test]
fn frames_that_do_not_fit_are_counted() {
    let (mut writer, mut reader) = pcm::open::<f32>(options(2, 3)).unwrap();
    let (epoch, tap) = (writer.epoch(), reader.tap());
    assert_eq!(writer.try_write(epoch, &[1.0; 4]), Ok(2));
    assert_eq!((writer.overruns(), writer.refused_frames()), (0, 0));
    assert_eq!(writer.try_write(epoch, &[1.0; 8]), Ok(1));
    assert_eq!(writer.try_write_planar(epoch, &[&[1.0; 5], &[1.0; 5]]), Ok(0));
    assert_eq!((writer.overruns(), writer.refused_frames()), (2, 3 + 5));
    assert_eq!((tap.overruns(), tap.refused_frames()), (2, 3 + 5));
    reader.fill(&mut [0.0; 6]);
    assert_eq!(writer.write_timeout(epoch, &[1.0; 8], Duration::ZERO), Ok(3));
    assert_eq!(writer.overruns(), 2, "one that waits comes again");
}

#[test]
fn a_planar_write_reads_back_planar() {
    for channels in [1, 2, 3, 1024] {
        let options = options(channels, 2000);
        let (mut writer, mut reader) = pcm::open::<i32>(options).unwrap();
        let epoch = writer.epoch();
        let planes: Vec<Vec<i32>> = (0..channels as i32).map(|c| (0..1500).map(|i| i * 10_000 + c).collect()).collect();
        let slices: Vec<&[i32]> = planes.iter().map(|plane| &plane[..700]).collect();
        writer.write_planar(epoch, &slices).unwrap();
        let slices: Vec<&[i32]> = planes.iter().map(|plane| &plane[700..]).collect();
        assert_eq!(writer.try_write_planar(epoch, &slices), Ok(800));
        let mut back = vec![vec![0; 1500]; channels];
        let mut outs: Vec<&mut [i32]> = back.iter_mut().map(|plane| &mut plane[..]).collect();
        assert_eq!(reader.fill_planar(&mut outs).frames, 1500);
        assert!(back == planes, "{channels} channels");
    }
}

#[test]
fn a_planar_write_of_partial_frames_is_refused() {
    let (mut writer, _reader) = pcm::open::<f32>(options(2, 8)).unwrap();
    let epoch = writer.epoch();
    let wrong: [&[&[f32]]; 4] = [&[], &[&[1.0]], &[&[1.0], &[]], &[&[1.0], &[1.0], &[1.0]]];
    for channels in wrong {
        assert_eq!(writer.try_write_planar(epoch, channels), Err(PcmError::PartialFrame { channels: 2 }));
        assert_eq!(writer.write_planar(epoch, channels), Err(PcmError::PartialFrame { channels: 2 }));
    }
    assert_eq!(writer.queued_frames(), 0);
}

#[test]
fn a_planar_write_waits_for_room() {
    must_end(|| {
        let options = options(2, 4);
        let (mut writer, mut reader) = pcm::open::<i16>(options).unwrap();
        let epoch = writer.epoch();
        let (left, right): (Vec<i16>, Vec<i16>) = (1..=100).map(|i| (i, -i)).unzip();
        let sleeper = Sleeper::start(move || (writer.write_planar(epoch, &[&left, &right]), writer).0);
        let mut heard = Vec::new();
        while heard.len() < 200 {
            let mut out = [0; 6];
            let fill = reader.fill(&mut out);
            heard.extend_from_slice(&out[..fill.frames * 2]);
            thread::yield_now();
        }
        assert_eq!(heard, (1..=100).flat_map(|i| [i, -i]).collect::<Vec<i16>>());
        sleeper.wakes_with().unwrap();
    });
}
