//! Scenes over pcm, scripted: both ends on the callback's thread, and a seek in each step.

use crate::tally::{Branch, Call, Tally};
use roundelay::{
    CancelToken, StorageError,
    pcm::{self, Epoch, Fill, PcmControl, PcmError, PcmOptions, PcmReader, PcmWriter, Tap},
};

const CHANNELS: usize = 2;
const CAPACITY_FRAMES: usize = 64;

pub fn options(capacity_frames: usize) -> PcmOptions {
    PcmOptions { channels: CHANNELS, capacity_frames, history_frames: 64, ..PcmOptions::default() }
}

/// Frame `n` of the medium: exact in an f32 below 2^24.
pub fn frame(n: u64) -> [f32; CHANNELS] {
    let n = (n % (1 << 23)) as f32;
    [n, -n]
}

pub struct Played {
    writer: PcmWriter<f32>,
    reader: PcmReader<f32>,
    control: PcmControl,
    tap: Tap<f32>,
    /// Stale after the first seek.
    first_epoch: Epoch,
    /// Where the next frame is to be decoded from.
    media: u64,
    planar: bool,
    over: Vec<PcmReader<f32>>,
    /// Of a stream whose reader is gone.
    unheard: PcmWriter<f32>,
    decoded: Vec<f32>,
    out: Vec<f32>,
}

impl Played {
    pub fn new(planar: bool) -> Self {
        let (writer, reader) = pcm::open(options(CAPACITY_FRAMES)).expect("a small ring");
        let (control, tap) = (reader.control(), reader.tap());
        let (unheard, _) = pcm::open(options(CAPACITY_FRAMES)).expect("a small ring");
        Self {
            first_epoch: writer.epoch(),
            writer,
            reader,
            control,
            tap,
            media: 0,
            planar,
            over: (0..3).map(over).collect(),
            unheard,
            decoded: vec![0.0; 4 * CAPACITY_FRAMES * CHANNELS],
            out: vec![0.0; CAPACITY_FRAMES * CHANNELS + 1],
        }
    }

    fn call(&self) -> Call {
        if self.planar { Call::FillPlanar } else { Call::Fill }
    }

    fn fill(&mut self, tally: &mut Tally, frames: usize) -> Fill {
        let out = &mut self.out[..frames * CHANNELS];
        out.fill(f32::NAN);
        let fill = fill(&mut self.reader, out, self.planar);
        tally.fill(if self.planar { Call::FillPlanar } else { Call::Fill }, fill);
        tally.check(fill.frames + fill.missing == frames);
        let first = self.reader.position() - fill.frames as u64;
        for i in 0..frames {
            let [left, right] = if i < fill.frames { frame(first + i as u64) } else { [0.0; 2] };
            let (l, r) = if self.planar { (i, frames + i) } else { (2 * i, 2 * i + 1) };
            tally.check((out[l], out[r]) == (left, right));
        }
        fill
    }

    /// Decodes `frames` and writes what fits of them.
    fn write(&mut self, tally: &mut Tally, epoch: Epoch, frames: usize) -> Result<usize, PcmError> {
        for i in 0..frames {
            self.decoded[2 * i..][..2].copy_from_slice(&frame(self.media + i as u64));
        }
        let result = self.writer.try_write(epoch, &self.decoded[..frames * CHANNELS]);
        self.media += result.unwrap_or(0) as u64;
        wrote(tally, result, frames);
        result
    }

    fn listen(&mut self, tally: &mut Tally, frames: usize, heard: usize) {
        let out = &mut self.out[..frames * CHANNELS];
        let n = self.tap.latest(out);
        tally.check(n == heard);
        let branch = match n {
            0 => Branch::Nothing,
            n if n == frames => Branch::Whole,
            _ => Branch::Part,
        };
        tally.add(Call::TapLatest, branch);
        let Some(playhead) = self.tap.position() else { return tally.check(false) };
        for (i, pair) in out.chunks_exact(CHANNELS).enumerate() {
            // They end at the playhead.
            let before = (frames - i) as u64;
            let expected = if before <= n as u64 { frame(playhead - before) } else { [0.0; 2] };
            tally.check(pair == expected);
        }
    }

    pub fn step(&mut self, tally: &mut Tally) {
        let epoch = self.writer.epoch();
        let right = self.write(tally, epoch, 24) == Ok(24);
        tally.check(right);
        self.fill(tally, 8);
        self.fill(tally, 8);
        self.listen(tally, 16, 16);
        let late = self.fill(tally, 16);
        tally.check((late.frames, late.missing) == (8, 8));
        self.fill(tally, 8);

        // As far as there is room, then not at all, and never half a frame.
        let right = self.write(tally, epoch, 2 * CAPACITY_FRAMES) == Ok(CAPACITY_FRAMES);
        tally.check(right);
        let right = self.write(tally, epoch, 8) == Ok(0) && self.writer.queued_frames() == CAPACITY_FRAMES;
        tally.check(right);
        wrote(tally, self.writer.try_write(epoch, &self.decoded[..3]), 1);
        self.fill(tally, 8);
        if !self.planar {
            // Half a frame more than the period.
            let odd = self.reader.fill(&mut self.out[..8 * CHANNELS + 1]);
            tally.check((odd.frames, odd.missing, self.out[8 * CHANNELS]) == (8, 0, 0.0));
            tally.add(self.call(), Branch::PartialFrame);
        }

        // A seek, while most of that waits to be played.
        let epoch = self.control.seek();
        let silence = self.fill(tally, 16);
        tally.check(silence.seeking && silence.frames == 0);
        wrote(tally, self.writer.try_write(self.first_epoch, &self.decoded[..16]), 8);
        let epoch_now = self.writer.epoch();
        tally.check(epoch_now == epoch);
        self.media = (self.media * 7 + 1000) % (1 << 22);
        tally.check(self.writer.begin(epoch, self.media).is_ok());
        self.listen(tally, 16, 0);
        let right = self.fill(tally, 8).cause.is_some();
        tally.check(right);
        let first = self.media;
        let right = self.write(tally, epoch, 16) == Ok(16);
        tally.check(right);
        let right = self.fill(tally, 8).frames == 8 && self.reader.position() == first + 8;
        tally.check(right);
        tally.add(self.call(), Branch::NewEpoch);
        // Less was played since the seek than is asked for.
        self.listen(tally, 16, 8);
        self.fill(tally, 8);

        for reader in &mut self.over {
            tally.fill(
                if self.planar { Call::FillPlanar } else { Call::Fill },
                fill(reader, &mut self.out[..16], self.planar),
            );
        }
        let epoch = self.unheard.epoch();
        wrote(tally, self.unheard.try_write(epoch, &self.decoded[..16]), 8);
    }
}

/// One period, either way.
pub fn fill(reader: &mut PcmReader<f32>, out: &mut [f32], planar: bool) -> Fill {
    if planar {
        let (left, right) = out.split_at_mut(out.len() / CHANNELS);
        reader.fill_planar(&mut [left, right])
    } else {
        reader.fill(out)
    }
}

pub fn wrote(tally: &mut Tally, result: Result<usize, PcmError>, wanted: usize) {
    tally.add(
        Call::PcmTryWrite,
        match result {
            Ok(n) if n == wanted => Branch::Whole,
            Ok(0) => Branch::Nothing,
            Ok(_) => Branch::Part,
            Err(PcmError::Stale) => Branch::Stale,
            Err(PcmError::PartialFrame { .. }) => Branch::PartialFrame,
            Err(PcmError::Failed) => Branch::Failed,
            Err(_) => Branch::Cancelled,
        },
    );
}

/// A stream that has ended, with half a period left to play; one for each way to end.
fn over(way: usize) -> PcmReader<f32> {
    let cancel = CancelToken::new();
    let options = PcmOptions { cancel: cancel.clone(), ..options(CAPACITY_FRAMES) };
    let (mut writer, reader) = pcm::open(options).expect("a small ring");
    let epoch = writer.epoch();
    writer.write(epoch, &[0.5; 4 * CHANNELS]).expect("there is room");
    match way {
        0 => writer.finish(),
        1 => writer.fail(StorageError::other("the source went away")),
        _ => cancel.cancel(),
    }
    reader
}
