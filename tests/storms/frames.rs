//! A decoder that answers seeks, a callback that is slow now and then, one who seeks, and taps. Each frame is known from
//! its place in the medium: the number of its epoch, and its own in there. In half of the rounds nobody pauses: the decoder
//! seeks by itself, as often as it can, and writes a frame or two of each epoch.

use crate::storm::{Lane, Round, Step};
use roundelay::{
    ReadError,
    pcm::{self, Epoch, PcmError, PcmOptions, PcmReader, PcmWriter, Tap},
};
use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// The places of one epoch. No epoch has more frames than fit, with where it may begin.
const PLACES: u64 = 1 << 20;
const MOST_FRAMES: u64 = 500_000;
const MOST_START: u64 = 1000;

/// What a frame at this place sounds like.
fn sample(place: u64) -> i32 {
    (place & 0x7fff_ffff) as i32
}

/// What the threads tell each other.
#[derive(Default)]
struct Score {
    /// The epochs by their numbers, while `looks` is on.
    epochs: Mutex<HashMap<u64, Epoch>>,
    /// Whether the callback looks which seek is the newest. That is a lock, which orders more than a callback does.
    looks: bool,
    /// Nobody pauses.
    hot: bool,
    /// The newest seek that has returned.
    sought: Mutex<Option<Epoch>>,
    /// Nobody seeks any more.
    over: AtomicBool,
    /// The place behind the last frame of all.
    end: AtomicU64,
}

pub fn round(round: &Round) {
    let mut random = round.random();
    let options = PcmOptions {
        rate_hz: 1_000_000,
        channels: random.pick(&[1, 2]),
        capacity_frames: random.pick(&[8, 100, 1000]),
        history_frames: random.pick(&[0, 50, 2000]),
        lock_memory: false,
        ..PcmOptions::default()
    };
    let (writer, reader) = pcm::open(options).unwrap();
    let (control, taps) = (reader.control(), [reader.tap(), writer.tap()]);
    let hot = random.once_in(2);
    let score = &Score { looks: !hot && random.once_in(2), hot, ..Score::default() };
    thread::scope(|scope| {
        if hot {
            let epochs = random.between(1000, 100_000);
            scope.spawn(move || decode_hot(&mut round.lane("decoder"), writer, score, epochs));
            scope.spawn(move || listen(&mut round.lane("callback"), reader, score));
            return;
        }
        scope.spawn(move || decode(&mut round.lane("decoder"), writer, score));
        scope.spawn(move || listen(&mut round.lane("callback"), reader, score));
        for (i, tap) in taps.into_iter().enumerate() {
            scope.spawn(move || tap_in(&mut round.lane(format!("tap {i}")), tap));
        }
        let mut lane = round.lane("seeker");
        for seek in 0..random.between(10, 300) {
            lane.step(Step::Seeks, seek, 0);
            let epoch = control.seek();
            let mut sought = score.sought.lock().unwrap();
            *sought = (*sought).max(Some(epoch));
            drop(sought);
            lane.random.dawdle();
        }
        score.over.store(true, SeqCst);
    });
}

/// Where the epoch of this number begins.
fn begin_of(number: u64) -> u64 {
    number * PLACES + number.wrapping_mul(0x9e37_79b9) % MOST_START
}

/// Answers each seek: says where it goes, once or more often, and writes frames of there.
fn decode(lane: &mut Lane<'_>, mut writer: PcmWriter<i32>, score: &Score) {
    let channels = writer.channels();
    let mut samples = Vec::new();
    let mut number = 0;
    'seeks: loop {
        let epoch = writer.epoch();
        number += 1;
        let mut place = begin_of(number);
        if score.looks {
            score.epochs.lock().unwrap().insert(number, epoch);
        }
        // Somewhere else first, mostly.
        for at in [place + lane.random.below(3), place] {
            lane.step(Step::BeginsAnEpoch, number, at);
            match writer.begin(epoch, at) {
                Ok(()) => {}
                Err(PcmError::Stale) => continue 'seeks,
                Err(error) => panic!("{error}"),
            }
        }
        let (mut stop, mut last) = (place + MOST_FRAMES, false);
        while place < stop {
            if !last && score.over.load(SeqCst) {
                // If this is not the newest epoch, the write says so.
                last = true;
                stop = place + 500;
            }
            let frames = lane.random.between(1, 300).min(stop - place);
            samples.clear();
            samples.extend((place..place + frames).flat_map(|place| std::iter::repeat_n(sample(place), channels)));
            lane.step(Step::WritesFrames, place, frames);
            let written = match lane.random.below(4) {
                0 => writer.write(epoch, &samples).map(|()| frames as usize),
                1 => writer.write_timeout(epoch, &samples, Duration::from_micros(200)),
                _ => writer.try_write(epoch, &samples),
            };
            match written {
                Ok(written) => place += written as u64,
                Err(PcmError::Stale) => continue 'seeks,
                Err(error) => panic!("{error}"),
            }
            if lane.random.once_in(20) {
                lane.random.dawdle();
            }
        }
        // All of this epoch is written: the next seek will come, if there is one.
        while !last {
            last = score.over.load(SeqCst);
            if writer.epoch() != epoch {
                continue 'seeks;
            }
            lane.random.dawdle();
        }
        if last {
            score.end.store(place, SeqCst);
            lane.step(Step::Commits, place, 0);
            return writer.finish();
        }
    }
}

/// Seeks, goes somewhere else first, and writes a frame or two, without a pause.
fn decode_hot(lane: &mut Lane<'_>, mut writer: PcmWriter<i32>, score: &Score, epochs: u64) {
    let (channels, control) = (writer.channels(), writer.control());
    let mut samples = [0; 4];
    for number in 1..=epochs {
        let place = begin_of(number);
        let frames = 1 + number % 2;
        for (i, sample_at) in samples.iter_mut().enumerate() {
            *sample_at = sample(place + (i / channels) as u64);
        }
        if number % 64 == 0 {
            lane.step(Step::BeginsAnEpoch, number, place);
        }
        let epoch = control.seek();
        writer.begin(epoch, place + 1 + number % 3).unwrap();
        writer.begin(epoch, place).unwrap();
        let written = writer.try_write(epoch, &samples[..frames as usize * channels]).unwrap();
        assert_eq!(written as u64, frames, "a new epoch has room");
    }
    score.end.store(begin_of(epochs) + 1 + epochs % 2, SeqCst);
    lane.step(Step::Commits, epochs, 0);
    writer.finish();
}

/// Plays on until the end. Within an epoch no frame is left out, and the position is that of the last one heard.
fn listen(lane: &mut Lane<'_>, mut reader: PcmReader<i32>, score: &Score) {
    let channels = reader.channels();
    let (mut heard, mut out, mut turn) = (None, vec![0; 500 * channels], 0_u64);
    loop {
        let frames = lane.random.below(if score.hot { 4 } else { 500 }) as usize;
        if !score.hot && lane.random.once_in(50) {
            lane.step(Step::WaitsForAWhile, frames as u64, 0);
            match reader.wait_timeout(frames, Duration::from_micros(200)) {
                Ok(_) | Err(PcmError::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let sought = if score.looks { *score.sought.lock().unwrap() } else { None };
        turn += 1;
        if !score.hot || turn % 64 == 0 {
            lane.step(Step::FillsAPeriod, reader.position(), frames as u64);
        }
        let out = &mut out[..frames * channels];
        let fill = if score.hot { reader.fill(out) } else { fill(lane, &mut reader, out) };
        let stream = &out[..fill.frames * channels];
        if let (Some(&first), Some(&last)) = (stream.first(), stream.last()) {
            // The place is told in full, and a sample says its lower part.
            let place = reader.position() - fill.frames as u64;
            assert_eq!(
                (sample(place), sample(reader.position() - 1)),
                (first, last),
                "the position {} is not that of the frames",
                reader.position()
            );
            let consecutive = stream.chunks_exact(channels).zip(place..);
            assert!(consecutive.into_iter().all(|(frame, place)| frame.iter().all(|&s| s == sample(place))));
            lane.checked(size_of_val(stream) as u64);
            let number = place / PLACES;
            match heard {
                Some(next) if next / PLACES == number => assert_eq!(place, next, "frames were left out"),
                _ => {
                    assert_eq!(place, begin_of(number), "the first frame of an epoch is not where the decoder went");
                    if let Some(sought) = sought {
                        assert!(
                            score.epochs.lock().unwrap()[&number] >= sought,
                            "a frame from before a seek was heard"
                        );
                    }
                }
            }
            heard = Some(reader.position());
        }
        if fill.cause == Some(ReadError::Ended) {
            let end = score.end.load(SeqCst);
            return assert_eq!(heard, Some(end), "not all was heard");
        }
        assert!(matches!(fill.cause, None | Some(ReadError::NotYet)), "{fill:?}");
        if !score.hot && lane.random.once_in(4) {
            lane.random.dawdle();
        }
    }
}

/// In the one layout or the other.
fn fill(lane: &mut Lane<'_>, reader: &mut PcmReader<i32>, out: &mut [i32]) -> pcm::Fill {
    let channels = reader.channels();
    let frames = out.len() / channels;
    if lane.random.once_in(2) {
        let fill = reader.fill(out);
        assert!(out[fill.frames * channels..].iter().all(|&sample| sample == 0), "noise where silence belongs");
        return fill;
    }
    let mut planes = vec![vec![-1; frames]; channels];
    let mut planar: Vec<_> = planes.iter_mut().map(Vec::as_mut_slice).collect();
    let fill = reader.fill_planar(&mut planar);
    for (frame, at) in out.chunks_exact_mut(channels).zip(0..) {
        frame.iter_mut().zip(&planes).for_each(|(sample, plane)| *sample = plane[at]);
    }
    assert!(out[fill.frames * channels..].iter().all(|&sample| sample == 0), "noise where silence belongs");
    fill
}

/// Shows what is heard: consecutive frames of one epoch, and a place that the decoder went to.
fn tap_in(lane: &mut Lane<'_>, mut tap: Tap<i32>) {
    let channels = tap.channels();
    let mut out = vec![0; 700 * channels];
    while tap.status() == roundelay::ResourceStatus::Active {
        let len = lane.random.below(700) as usize * channels;
        lane.step(Step::Taps, len as u64, 0);
        let frames = tap.latest(&mut out[..len]);
        let (silence, shown) = out[..len].split_at(len - frames * channels);
        assert!(silence.iter().all(|&sample| sample == 0));
        if let Some(&first) = shown.first() {
            let places = (first as u64)..;
            let consecutive = shown.chunks_exact(channels).zip(places);
            assert!(consecutive.into_iter().all(|(frame, place)| frame.iter().all(|&s| s == sample(place))));
            lane.checked(size_of_val(shown) as u64);
        }
        if let Some(place) = tap.position() {
            assert!(place % PLACES <= MOST_START + MOST_FRAMES, "the decoder never went to {place}");
        }
        if lane.random.once_in(4) {
            lane.random.dawdle();
        }
    }
}
