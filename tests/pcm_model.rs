//! Frames, seeks, positions and the tap against a plain model: a queue, what was heard, and where in the medium that is.

use proptest::prelude::*;
use roundelay::{
    ReadError,
    pcm::{self, Epoch, PcmError, PcmOptions, PcmReader, PcmWriter, Tap},
};
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Operation {
    Write(usize),
    WriteStale,
    Begin(u64),
    Fill(usize),
    FillPlanar(usize),
    Seek,
    Latest(usize),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let place = prop_oneof![0..1_000_u64, Just(0), u64::MAX - 1_000..=u64::MAX];
    let operation = prop_oneof![
        4 => (0..30_usize).prop_map(Operation::Write),
        1 => Just(Operation::WriteStale),
        1 => place.prop_map(Operation::Begin),
        4 => (0..25_usize).prop_map(Operation::Fill),
        1 => (0..25_usize).prop_map(Operation::FillPlanar),
        2 => Just(Operation::Seek),
        2 => (0..60_usize).prop_map(Operation::Latest),
    ];
    prop::collection::vec(operation, 0..80)
}

/// What one would say the stream is. A frame is a number; its samples follow from that.
#[derive(Default)]
struct Model {
    /// Of the epoch that the writer has answered, which frames are queued, and which were heard.
    queue: VecDeque<i32>,
    heard: Vec<i32>,
    seeking: bool,
    /// Whether frames of the epoch were written.
    begun: bool,
    /// The place in the medium of the frame that is written next, and of the one that is heard next.
    next_written: u64,
    next_heard: u64,
    underruns: u64,
    missing: u64,
}

impl Model {
    /// The writer answers a seek, or begins where it says.
    fn answer(&mut self, place: u64) {
        (self.seeking, self.begun) = (false, false);
        (self.next_written, self.next_heard) = (place, place);
        self.queue.clear();
        self.heard.clear();
    }
}

struct Run {
    channels: usize,
    capacity: usize,
    history: usize,
    writer: PcmWriter<i32>,
    reader: PcmReader<i32>,
    tap: Tap<i32>,
    stale: Option<Epoch>,
    next: i32,
    model: Model,
}

impl Run {
    fn new(channels: usize, capacity: usize, history: usize) -> Self {
        let options = PcmOptions {
            channels,
            capacity_frames: capacity,
            history_frames: history,
            lock_memory: false,
            ..Default::default()
        };
        let (writer, reader) = pcm::open(options).unwrap();
        let tap = reader.tap();
        Self { channels, capacity, history, writer, reader, tap, stale: None, next: 1, model: Model::default() }
    }

    fn samples(&self, frames: impl IntoIterator<Item = i32>) -> Vec<i32> {
        let sample = |frame: i32| (0..self.channels as i32).map(move |channel| frame * 1_000 + channel);
        frames.into_iter().flat_map(sample).collect()
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write(n) => self.write(n),
            Operation::WriteStale => {
                if let Some(stale) = self.stale {
                    assert_eq!(self.writer.try_write(stale, &self.samples([7])), Err(PcmError::Stale));
                    assert_eq!(self.writer.begin(stale, 7), Err(PcmError::Stale));
                }
            }
            Operation::Begin(place) => {
                self.writer.begin(self.writer.epoch(), place).unwrap();
                if self.model.seeking || !self.model.begun {
                    self.model.answer(place);
                }
            }
            Operation::Fill(n) => {
                let mut out = vec![-77; n * self.channels];
                let fill = self.reader.fill(&mut out);
                self.filled(n, fill, &out);
            }
            Operation::FillPlanar(n) => {
                let mut planes = vec![vec![-77; n]; self.channels];
                let mut out: Vec<&mut [i32]> = planes.iter_mut().map(Vec::as_mut_slice).collect();
                let fill = self.reader.fill_planar(&mut out);
                let interleaved: Vec<_> = (0..n).flat_map(|i| planes.iter().map(move |plane| plane[i])).collect();
                self.filled(n, fill, &interleaved);
            }
            Operation::Seek => {
                self.stale = Some(self.writer.epoch());
                let epoch = self.reader.control().seek();
                assert!(self.stale < Some(epoch) && epoch == self.writer.epoch());
                self.model.seeking = true;
            }
            Operation::Latest(n) => {
                let mut out = vec![-77; n * self.channels];
                let shown = self.tap.latest(&mut out);
                let (silence, frames) = out.split_at((n - shown) * self.channels);
                assert!(silence.iter().all(|&sample| sample == 0));
                let heard = &self.model.heard;
                assert!(shown <= heard.len() && shown >= n.min(heard.len()).min(self.history), "{shown} of {n}");
                assert_eq!(frames, self.samples(heard[heard.len() - shown..].iter().copied()));
            }
        }
        self.check();
    }

    fn write(&mut self, n: usize) {
        let frames: Vec<_> = (self.next..self.next + n as i32).collect();
        let written = self.writer.try_write(self.writer.epoch(), &self.samples(frames.iter().copied())).unwrap();
        if self.model.seeking {
            let place = self.model.next_written;
            self.model.answer(place);
        }
        let room = self.capacity - self.model.queue.len();
        assert_eq!(written, n.min(room));
        self.model.queue.extend(&frames[..written]);
        self.model.begun |= written > 0;
        self.model.next_written = self.model.next_written.wrapping_add(written as u64);
        self.next += written as i32;
    }

    fn filled(&mut self, n: usize, fill: pcm::Fill, out: &[i32]) {
        let model = &mut self.model;
        let there = if model.seeking { 0 } else { n.min(model.queue.len()) };
        assert_eq!((fill.frames, fill.missing), (there, n - there));
        let played: Vec<_> = model.queue.drain(..there).collect();
        model.heard.extend(&played);
        model.next_heard = model.next_heard.wrapping_add(there as u64);
        if n > there {
            assert_eq!((fill.cause, fill.seeking), (Some(ReadError::NotYet), model.seeking));
            if !model.seeking && !model.heard.is_empty() {
                model.underruns += 1;
                model.missing += (n - there) as u64;
            }
        }
        let (frames, silence) = out.split_at(there * self.channels);
        assert_eq!(frames, self.samples(played));
        assert!(silence.iter().all(|&sample| sample == 0));
        // A fill of nothing need not look.
        if n > 0 && !self.model.seeking {
            assert_eq!(self.reader.position(), self.model.next_heard);
        }
    }

    fn check(&self) {
        let model = &self.model;
        assert_eq!(self.tap.position(), Some(model.next_heard));
        assert_eq!((self.tap.underruns(), self.tap.missing_frames()), (model.underruns, model.missing));
        if !model.seeking {
            assert_eq!((self.writer.queued_frames(), self.tap.queued_frames()), (model.queue.len(), model.queue.len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_are_heard_once_in_their_epoch_and_at_their_place(
        channels in prop_oneof![Just(1_usize), Just(2), 3..7_usize],
        capacity in 1..40_usize,
        history in prop_oneof![Just(0_usize), 1..40_usize],
        operations in operations(),
    ) {
        let mut run = Run::new(channels, capacity, history);
        for operation in &operations {
            run.step(operation);
        }
    }
}
