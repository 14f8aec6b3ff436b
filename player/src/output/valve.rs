//! Whether the callback plays what there is: not while the listener has paused, and not before enough is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use roundelay::pcm::Tap;

use crate::decode::DecoderState;

/// How much audio there has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Playing starts, and goes on after a pause for want of audio, with so much decoded.
    pub start: Duration,
    /// Playing pauses when less than so much is left. Lower than the other: what has just been collected is not to be
    /// waited for again at once.
    pub rebuffer: Duration,
}

impl Marks {
    /// Each time that the audio runs out, the start mark is doubled, up to this: some stations send in portions that are
    /// longer than a mark.
    pub const MOST_START: Duration = Duration::from_secs(4);
}

impl Default for Marks {
    fn default() -> Self {
        Self { start: Duration::from_millis(1_000), rebuffer: Duration::from_millis(100) }
    }
}

/// What the listener and the status have to do with the callback. Flags and numbers that order nothing else: `Relaxed`.
#[derive(Debug)]
pub struct Transport {
    paused: AtomicBool,
    buffering: AtomicBool,
    seeks: AtomicU64,
    /// The start mark, by now.
    start_frames: AtomicU64,
    rebuffers: AtomicU64,
    /// Frames of silence that were played while audio was collected, once playing had begun.
    silent_frames: AtomicU64,
    /// Since `began`, in nanoseconds; 0 before.
    first_sound: AtomicU64,
    began: Instant,
}

impl Transport {
    /// Nothing was played yet, since `began`.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self {
            paused: false.into(),
            buffering: true.into(),
            seeks: 0.into(),
            start_frames: 0.into(),
            rebuffers: 0.into(),
            silent_frames: 0.into(),
            first_sound: 0.into(),
            began,
        }
    }

    /// From the next period on.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
    }

    /// Whether the listener has paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Relaxed)
    }

    /// There will be silence that is nobody's fault.
    pub fn note_seek(&self) {
        self.seeks.fetch_add(1, Relaxed);
    }

    /// How often the listener went elsewhere.
    #[must_use]
    pub fn seeks(&self) -> u64 {
        self.seeks.load(Relaxed)
    }

    /// Whether audio is being collected.
    #[must_use]
    pub fn is_buffering(&self) -> bool {
        self.buffering.load(Relaxed)
    }

    /// How many frames there have to be before playing starts, or goes on; 0 before there are any.
    #[must_use]
    pub fn start_frames(&self) -> u64 {
        self.start_frames.load(Relaxed)
    }

    /// How often playing paused for want of audio.
    #[must_use]
    pub fn rebuffers(&self) -> u64 {
        self.rebuffers.load(Relaxed)
    }

    /// How many frames of silence that came to.
    #[must_use]
    pub fn silent_frames(&self) -> u64 {
        self.silent_frames.load(Relaxed)
    }

    /// How long it took until something was heard.
    #[must_use]
    pub fn first_sound(&self) -> Option<Duration> {
        Some(self.first_sound.load(Relaxed)).filter(|&nanos| nanos > 0).map(Duration::from_nanos)
    }

    /// Audio is being collected, or no longer.
    pub(super) fn set_buffering(&self, buffering: bool) {
        self.buffering.store(buffering, Relaxed);
    }

    pub(super) fn note_sound(&self) {
        if self.first_sound.load(Relaxed) == 0 {
            let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.first_sound.store(nanos.max(1), Relaxed);
        }
    }
}

/// What the next period is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// What there is.
    Open,
    /// What there is, getting louder from silence on.
    Opening,
    /// What there is, getting silent.
    Closing,
    /// Silence.
    Closed,
}

/// The callback's side.
///
/// # Real-time
/// All of it: wait-free. Never allocates, frees, locks or enters the kernel.
#[derive(Debug)]
pub(super) struct Valve {
    transport: Arc<Transport>,
    tap: Tap<f32>,
    decoder: DecoderState,
    start_frames: usize,
    most_start_frames: usize,
    rebuffer_frames: usize,
    collected: bool,
    has_begun: bool,
    paused: bool,
    seeks: u64,
}

impl Valve {
    pub(super) fn new(
        transport: Arc<Transport>,
        tap: Tap<f32>,
        decoder: DecoderState,
        marks: Marks,
        limit_frames: Option<u64>,
    ) -> Self {
        let rate_hz = f64::from(tap.rate_hz());
        let frames = |mark: Duration| (mark.as_secs_f64() * rate_hz) as usize;
        // Less if less is to be played at all.
        let limit = limit_frames.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let start_frames = frames(marks.start).clamp(1, limit.max(1));
        let rebuffer_frames = frames(marks.rebuffer).min(start_frames);
        let most_start_frames = frames(Marks::MOST_START).min(limit);
        let seeks = transport.seeks();
        transport.start_frames.store(start_frames as u64, Relaxed);
        let (collected, has_begun, paused) = (false, false, false);
        Self {
            transport,
            tap,
            decoder,
            start_frames,
            most_start_frames,
            rebuffer_frames,
            collected,
            has_begun,
            paused,
            seeks,
        }
    }

    /// What the next period, of so many frames, is to be.
    pub(super) fn next(&mut self, frames: usize) -> Flow {
        let was_paused = std::mem::replace(&mut self.paused, self.transport.is_paused());
        if self.paused && (was_paused || !self.collected) {
            return Flow::Closed;
        }
        // Before the queue is looked at: once it is set, the queue has all that there will be.
        let drained = self.decoder.is_drained();
        let queued = self.tap.queued_frames();
        if self.collected && queued < self.rebuffer_frames.max(1) && !drained {
            self.collected = false;
            if std::mem::replace(&mut self.seeks, self.transport.seeks()) == self.seeks {
                self.transport.rebuffers.fetch_add(1, Relaxed);
                self.start_frames = self.start_frames.max(self.most_start_frames.min(2 * self.start_frames));
            }
        }
        if !self.collected && (queued >= self.wanted_frames() || drained) {
            self.collected = true;
            self.has_begun = true;
            self.seeks = self.transport.seeks();
        }
        self.transport.set_buffering(!self.collected);
        match (self.collected, self.paused, was_paused) {
            (false, ..) => {
                if self.has_begun && self.seeks == self.transport.seeks() {
                    self.transport.silent_frames.fetch_add(frames as u64, Relaxed);
                }
                Flow::Closed
            }
            (true, true, _) => Flow::Closing,
            (true, false, true) => Flow::Opening,
            (true, false, false) => Flow::Open,
        }
    }

    /// The start mark, beyond what the next ones from the network may keep everybody waiting for: some send a second of
    /// audio once a second.
    fn wanted_frames(&self) -> usize {
        let portion = (self.decoder.portion().as_secs_f64() * f64::from(self.tap.rate_hz())) as usize;
        let most = self.most_start_frames.max(self.start_frames);
        let wanted = (self.start_frames + portion.min(self.most_start_frames / 2)).min(most);
        self.transport.start_frames.store(wanted as u64, Relaxed);
        wanted
    }

    pub(super) fn note_sound(&self) {
        self.transport.note_sound();
    }
}

impl Flow {
    /// Makes one channel of a period, or all of them interleaved, louder or softer, if that is what it is to be.
    pub(super) fn fade(self, samples: &mut [f32], channels: usize) {
        let frames = (samples.len() / channels.max(1)) as f32;
        for (frame, samples) in samples.chunks_mut(channels.max(1)).enumerate() {
            let louder = frame as f32 / frames;
            let gain = match self {
                Self::Open | Self::Closed => return,
                Self::Opening => louder,
                Self::Closing => 1.0 - louder,
            };
            for sample in samples {
                *sample *= gain;
            }
        }
    }
}
