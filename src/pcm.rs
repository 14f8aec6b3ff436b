//! Audio frames on their way to (or from) a real-time callback.
//!
//! A [`PcmWriter`] and a [`PcmReader`] share a ring of typed, interleaved frames. The reader's
//! [`fill`](PcmReader::fill) is what an audio callback calls: it always fills the whole buffer and is wait-free. Behind
//! the playhead some history is kept, from which a [`Tap`] on any other thread reads what is being heard. A seek
//! ([`PcmControl::seek`]) makes everything that was decoded before it stale at once: it is dropped, never played.
//!
//! ```
//! use roundelay::pcm::{self, PcmOptions};
//!
//! let (mut writer, mut reader) = pcm::open::<f32>(PcmOptions { rate_hz: 48_000, channels: 2, ..Default::default() })?;
//! let epoch = writer.epoch();
//! writer.write(epoch, &[0.5; 2 * 64])?; // 64 stereo frames; the decoder's thread
//!
//! let mut period = [0.0; 2 * 128];
//! let fill = reader.fill(&mut period); // the audio callback
//! assert_eq!((fill.frames, fill.missing), (64, 64));
//! assert_eq!(period[127], 0.5);
//! assert_eq!(period[128], 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The protocol
//! The reader holds the writer back like a gate, but one that a seek revokes: a callback that is paused must not keep
//! the decoder from filling the ring anew.
//!
//! ```text
//!   seek      requested.fetch_add(1, Release); fence(SeqCst); wake the writer                    [seek]
//!   writer    epoch ≠ requested.load(Acquire) → the frames in hand are stale                     [seek]
//!             new epoch: answered.store(BUSY); fence(Release)                                    [epoch]
//!                        base, media_ahead.store(…); answered.store(epoch, Release)         [epoch]
//!             room: end + n ≤ max(position.load(Acquire), base) + capacity                       [playhead]
//!   fill      r = requested.load(Acquire)                                                         [seek]
//!             ended.load(Acquire); end.load(Acquire), unless position + n is known to lie below it [ended] [end]
//!             answered.load(Acquire) < r → silence                                                    [epoch]
//!             base, media_ahead; fence(Acquire); answered changed → silence                            [epoch]
//!             position < base → end and answered once more, as above                             [end] [epoch]
//!             p = max(position, base); copy from the window, validated, else silence
//!             position.store(p + n, Release)                                                     [playhead]
//!   end       after the epoch's last frame: ended.store(epoch, Release)                             [ended]
//! ```
//!
//! A writer ends an epoch ([`PcmWriter::end_epoch`]) long before its last frame is heard. A seek takes that back: `ended`
//! names an older epoch from then on, and the writer, which is still there, answers. Only [`PcmWriter::finish`] ends the
//! stream itself.
//!
//! A `fill` that had begun when the seek was called may finish, or run into the new epoch. Which frames are whose is told
//! by an answer that is looked at after the end: frames of a later answer were published after that answer, so that a
//! reader that sees them below the end sees it, too. Checked by `loom-tests/models/src/pcm.rs`.

mod reader;
mod tap;
mod writer;

pub use reader::PcmReader;
pub use tap::{PcmControl, Tap};
pub use writer::PcmWriter;

use crate::{
    CancelToken, InvalidOptions, ReadError, StorageError, StorageResult,
    cancel::OnCancel,
    lifecycle::{Life, Stage},
    sync::{AtomicU64, CachePadded, Deadline, Flag, Ordering::*, Tally, fence},
    wait::{DEFAULT_PACE, Look, Patience, WaitTable, Waited, WakeAll, Watch},
    window::Window,
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// A sample of one channel: `f32`, `i16` or `i32`.
pub trait Sample: sealed::Sealed {
    /// What is played where there is nothing.
    const SILENCE: Self;
}

mod sealed {
    pub trait Sealed: crate::cells::Pod + Send + Sync {}
}

macro_rules! samples {
    ($($sample:ty = $silence:expr),*) => {$(
        impl sealed::Sealed for $sample {}
        impl Sample for $sample {
            const SILENCE: Self = $silence;
        }
    )*};
}
samples!(f32 = 0.0, i16 = 0, i32 = 0);
// One byte a sample: as few atomics as a model can have.
#[cfg(loom)]
samples!(u8 = 0);

/// Options of [`open`].
#[derive(Clone, Debug)]
pub struct PcmOptions {
    /// Frames a second. Only sleeps depend on it: opposite a real-time thread, which wakes nobody, the other side
    /// sleeps for as long as the frames last.
    pub rate_hz: u32,
    /// Samples a frame, 1 to 1024.
    pub channels: usize,
    /// How many frames the writer may be ahead of the playhead, at least 1.
    pub capacity_frames: usize,
    /// How many frames behind the playhead are kept for taps, at least.
    pub history_frames: usize,
    /// Keep the ring's pages in memory (`mlock`) where the system allows it. They are touched in any case.
    pub lock_memory: bool,
    /// Cancels both sides.
    pub cancel: CancelToken,
}

/// 48 kHz stereo, one second ahead, and 8192 frames of history.
impl Default for PcmOptions {
    fn default() -> Self {
        Self {
            rate_hz: 48_000,
            channels: 2,
            capacity_frames: 48_000,
            history_frames: 8_192,
            lock_memory: true,
            cancel: CancelToken::new(),
        }
    }
}

/// What frames were decoded for: each seek begins a new epoch, and frames of older ones are never played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// In `answered` while the writer is changing over.
const BUSY: u64 = u64::MAX;

/// In `ended` before any epoch has.
const NO_EPOCH: u64 = u64::MAX;

/// Why frames were not written. `Copy`, for writers in a capture callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PcmError {
    /// A seek has made these frames stale. Drop them, ask for the [`epoch`](PcmWriter::epoch), and decode for it.
    #[error("a seek has made these frames stale; decode for the newest epoch")]
    Stale,
    /// The samples are no whole number of frames. Nothing was written.
    #[error("the samples are no whole number of frames of {channels} channels")]
    PartialFrame {
        /// Samples a frame.
        channels: usize,
    },
    /// The writer has finished the stream, or ended this epoch: only a seek brings more frames, if the writer is still
    /// there to answer it.
    #[error("the stream, or this epoch of it, has ended; only a seek that the writer answers brings more frames")]
    Finished,
    /// It has failed; `status()` has the reason.
    #[error("the stream has failed")]
    Failed,
    /// It was cancelled, or the reader is gone.
    #[error("cancelled, or the reader is gone")]
    Cancelled,
    /// An [`Interrupter`](crate::Interrupter) ended the wait.
    #[error("the wait was interrupted")]
    Interrupted,
    /// The timeout passed first.
    #[error("the wait timed out")]
    TimedOut,
}

/// What became of a [`fill`](PcmReader::fill). `frames + missing` is the length of the buffer in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Frames of the stream, at the beginning of the buffer.
    pub frames: usize,
    /// Frames of silence after them.
    pub missing: usize,
    /// Why there is silence: [`ReadError::NotYet`] is an underrun, or a seek that the writer has yet to answer.
    pub cause: Option<ReadError>,
    /// Whether the silence is that of a seek.
    pub seeking: bool,
}

/// A writer and a reader of a new ring of frames.
///
/// # Real-time
/// Blocking: allocates, touches and locks the pages of the ring. Not for a callback.
///
/// # Errors
/// [`StorageError::InvalidOptions`], [`StorageError::OutOfMemory`], [`StorageError::Cancelled`] if the token is.
pub fn open<S: Sample>(options: PcmOptions) -> StorageResult<(PcmWriter<S>, PcmReader<S>)> {
    if options.cancel.is_cancelled() {
        return Err(StorageError::Cancelled);
    }
    let shared = Arc::new(Shared::new::<S>(&options)?);
    let listener: Weak<Shared> = Arc::downgrade(&shared);
    options.cancel.listen(listener);
    Ok((PcmWriter::new(shared.clone()), PcmReader::new(shared)))
}

/// What was over when it was looked at: the stream, or the frames of an epoch.
#[derive(Clone, Copy, Debug)]
struct Over {
    stage: Stage,
    /// The newest epoch that the writer has ended.
    ended: Epoch,
}

impl Over {
    /// Nothing is known to be over.
    const NOTHING: Self = Self { stage: Stage::Active, ended: Epoch(NO_EPOCH) };

    /// The stage of the frames of `epoch`: they are over with the stream, or before it once the writer has ended them.
    #[inline]
    fn of(self, epoch: Epoch) -> Stage {
        match self.stage {
            // How long the stream is nobody asks here.
            Stage::Active if self.ended == epoch => Stage::Committed(0),
            stage => stage,
        }
    }
}

#[derive(Debug)]
struct Shared {
    window: Window,
    frame_bytes: u64,
    ahead_bytes: u64,
    rate_hz: u32,
    memory_locked: bool,
    life: Life,
    /// The newest epoch that was asked for. Written by seeks.
    requested: CachePadded<AtomicU64>,
    /// The epoch that the frames from `base` on belong to, or [`BUSY`]. These three are written by the writer.
    answered: CachePadded<AtomicU64>,
    /// Where that epoch begins, in bytes of the ring.
    base: AtomicU64,
    /// What to add to a place in the ring, in frames, to get the place in the medium; wraps around.
    media_ahead: AtomicU64,
    /// The last epoch of which all frames are written, or [`NO_EPOCH`]. Written by the writer.
    ended: AtomicU64,
    /// The playhead, in bytes of the ring. Written by `fill`.
    position: CachePadded<AtomicU64>,
    /// The writer, waiting for room; and all that wait for the playhead.
    room: WaitTable<1>,
    /// A reader that is no callback, waiting for frames.
    frames: WaitTable<1>,
    underruns: Tally,
    missing_frames: Tally,
    overruns: Tally,
    refused_frames: Tally,
    /// Nobody plays what is there, however the stream ends.
    reader_gone: Flag,
    /// Held, since a child token is forgotten by its parent when the last clone is gone.
    _cancel: CancelToken,
}

impl Shared {
    fn new<S: Sample>(options: &PcmOptions) -> StorageResult<Self> {
        let &PcmOptions { rate_hz, channels, capacity_frames, history_frames, lock_memory, .. } = options;
        if !(1..=1024).contains(&channels) {
            return Err(InvalidOptions::Channels(channels).into());
        }
        if !(1..=10_000_000).contains(&rate_hz) {
            return Err(InvalidOptions::Rate(rate_hz).into());
        }
        if capacity_frames == 0 {
            return Err(InvalidOptions::ZeroFrames.into());
        }
        let frame_bytes = channels * size_of::<S>();
        // A power of two spares each access a division; what is gained is more history.
        let bytes = capacity_frames
            .checked_add(history_frames)
            .and_then(|frames| frames.checked_mul(frame_bytes))
            .and_then(usize::checked_next_power_of_two)
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or(InvalidOptions::TooManyFrames(capacity_frames))?;
        let mut window = Window::new(bytes, 0).map_err(|e| StorageError::OutOfMemory { bytes: e.bytes })?;
        window.prefault();
        let memory_locked = lock_memory && window.lock_memory();
        Ok(Self {
            window,
            frame_bytes: frame_bytes as u64,
            ahead_bytes: (capacity_frames * frame_bytes) as u64,
            rate_hz,
            memory_locked,
            life: Life::active(),
            requested: CachePadded::new(AtomicU64::new(0)),
            answered: CachePadded::new(AtomicU64::new(0)),
            base: AtomicU64::new(0),
            media_ahead: AtomicU64::new(0),
            ended: AtomicU64::new(NO_EPOCH),
            position: CachePadded::new(AtomicU64::new(0)),
            room: WaitTable::new(),
            frames: WaitTable::new(),
            underruns: Tally::default(),
            missing_frames: Tally::default(),
            overruns: Tally::default(),
            refused_frames: Tally::default(),
            reader_gone: Flag::default(),
            _cancel: options.cancel.clone(),
        })
    }

    fn channels<S: Sample>(&self) -> usize {
        self.frame_bytes as usize / size_of::<S>()
    }

    #[inline]
    fn requested(&self) -> Epoch {
        // [seek] Acquire: what the seeker did before is seen (the place to go to). Pairs with the Release in `seek`.
        Epoch(self.requested.load(Acquire))
    }

    #[inline]
    fn playhead(&self) -> u64 {
        // [playhead] Acquire: the reads of `fill` below the playhead come before our writes there, and of a tap: it
        // sees the base of the playhead's epoch. Pairs with the Release in `fill`.
        self.position.load(Acquire)
    }

    /// Up to where there is room for a writer whose epoch begins at `base`. A callback that was paused before a seek, and
    /// has not moved since, does not hold the writer.
    #[inline]
    fn limit(&self, base: u64) -> u64 {
        self.playhead().max(base) + self.ahead_bytes
    }

    /// The answered epoch, where it begins, and how far the medium is ahead of the ring; `None` while the writer changes over.
    #[inline]
    fn epoch_base(&self) -> Option<(Epoch, u64, u64)> {
        // [epoch] Acquire: pairs with the Release in `answer`.
        let answered = self.answered.load(Acquire);
        // Relaxed, both: the fences [epoch] and the second look at `answered` see to it that they belong together.
        let base = self.base.load(Relaxed);
        let media_ahead = self.media_ahead.load(Relaxed);
        // [epoch] Acquire: pairs with the Release fence in `answer`.
        fence(Acquire);
        // Relaxed, because of the fence.
        let unchanged = self.answered.load(Relaxed) == answered;
        (unchanged && answered != BUSY).then_some((Epoch(answered), base, media_ahead))
    }

    /// What is over. Asked before the window's end: whoever sees that frames are over sees the last of them.
    #[inline]
    fn over(&self) -> Over {
        let stage = self.life.stage();
        // [ended] Acquire: the end of the last frame is seen after it. Pairs with the Release in `end_epoch`.
        Over { stage, ended: Epoch(self.ended.load(Acquire)) }
    }

    /// How far the newest epoch has come to be heard.
    ///
    /// A seek may come and be answered at any point of this. Then it is told of the newer epoch, or that the newest has
    /// no frames yet; never that this one is over, or was heard, by what the other one has or has not.
    fn progress(&self) -> Progress {
        // Before the playhead: a reader that is gone has moved it for the last time.
        let reader_gone = self.reader_gone.get();
        let requested = self.requested();
        // Before the answer: whoever sees a later epoch's playhead sees the answer to that one, too.
        let playhead = self.playhead();
        let over = self.over();
        // After what is over: a writer that answered and then went did answer. One that was asked for since is newer.
        let Some((epoch, base, _)) = self.epoch_base().filter(|&(answered, ..)| answered >= requested) else {
            // An epoch that the writer has ended it has answered before: it is changing over to the next one.
            return Progress { epoch: requested, stage: over.stage, reader_gone, frames: None };
        };
        let end = self.window.end().max(base);
        let playhead = playhead.max(base);
        Progress {
            epoch,
            stage: over.of(epoch),
            reader_gone,
            frames: Some(Frames { heard: playhead - base, queued: end.saturating_sub(playhead), end }),
        }
    }

    /// Sleeps until `look` has an answer. A callback wakes nobody: naps are as long as the frames that have to be played
    /// first, and short where that is not known.
    fn wait_for_playhead<T>(
        &self,
        deadline: Option<&Deadline>,
        interrupts: Option<Watch<'_>>,
        look: impl Fn(Progress) -> Option<Result<T, PcmError>>,
    ) -> Result<T, PcmError> {
        loop {
            let playing = self.progress().frames.filter(|frames| frames.heard > 0);
            let nap = playing.map_or(DEFAULT_PACE, |frames| self.duration(frames.queued).max(DEFAULT_PACE));
            let nap = Deadline::after(deadline.and_then(Deadline::left).map_or(nap, |left| left.min(nap)));
            let patience = Patience { deadline: Some(&nap), interrupts, from: None };
            let waited = self.room.wait(&patience, || {
                let progress = self.progress();
                // The byte that the playhead has to pass.
                let byte = progress.frames.map_or(0, |frames| frames.end.saturating_sub(1));
                look(progress).map_or(Look::Missing(byte), Look::Done)
            });
            match waited {
                Waited::Done(done) => return done,
                Waited::Interrupted => return Err(PcmError::Interrupted),
                Waited::TimedOut if deadline.is_some_and(Deadline::passed) => return Err(PcmError::TimedOut),
                Waited::TimedOut => {}
            }
        }
    }

    /// How long `bytes` of frames last.
    fn duration(&self, bytes: u64) -> Duration {
        let frames = bytes / self.frame_bytes;
        // At least 1 ms, so that a wait for a frame or two does not become a spin.
        Duration::from_nanos(frames.saturating_mul(1_000_000_000) / u64::from(self.rate_hz))
            .max(Duration::from_millis(1))
    }

    fn error(&self, stage: Stage) -> PcmError {
        match stage {
            // Asked only of a stage that is over.
            Stage::Active | Stage::Committed(_) => PcmError::Finished,
            Stage::Failed => PcmError::Failed,
            Stage::Cancelled => PcmError::Cancelled,
        }
    }

    fn cancel(&self) {
        if self.life.cancel() {
            self.wake_all();
        }
    }
}

/// How far the newest epoch has come to be heard, at one moment.
#[derive(Clone, Copy)]
struct Progress {
    epoch: Epoch,
    /// Of its frames; see [`Over::of`].
    stage: Stage,
    reader_gone: bool,
    /// `None` while the writer has yet to answer.
    frames: Option<Frames>,
}

/// Frames of an epoch, in bytes.
#[derive(Clone, Copy)]
struct Frames {
    heard: u64,
    queued: u64,
    /// Where they end by now.
    end: u64,
}

impl Progress {
    /// Whether a frame of `epoch` was heard, or why none will be.
    fn heard(&self, epoch: Epoch) -> Option<Result<(), PcmError>> {
        match (&self.frames, self.stage) {
            _ if self.epoch != epoch => Some(Err(PcmError::Stale)),
            (Some(frames), _) if frames.heard > 0 => Some(Ok(())),
            (_, Stage::Cancelled) => Some(Err(PcmError::Cancelled)),
            (_, Stage::Active) => None,
            // They are still to be heard.
            (Some(frames), _) if frames.queued > 0 => self.still_to_be_heard(),
            (_, Stage::Failed) => Some(Err(PcmError::Failed)),
            // An epoch without frames.
            (Some(_), Stage::Committed(_)) => Some(Ok(())),
            (None, Stage::Committed(_)) => Some(Err(PcmError::Finished)),
        }
    }

    /// Of frames in the queue: a reader that is gone plays none of them.
    fn still_to_be_heard(&self) -> Option<Result<(), PcmError>> {
        self.reader_gone.then_some(Err(PcmError::Cancelled))
    }

    /// Whether all was heard that the writer has to say.
    fn drained(&self) -> Option<Result<(), PcmError>> {
        match (&self.frames, self.stage) {
            (_, Stage::Cancelled) => Some(Err(PcmError::Cancelled)),
            (_, Stage::Active) => None,
            (Some(frames), _) if frames.queued > 0 => self.still_to_be_heard(),
            (_, Stage::Failed) => Some(Err(PcmError::Failed)),
            // Or a seek that nobody answers: nothing comes any more.
            (_, Stage::Committed(_)) => Some(Ok(())),
        }
    }
}

impl WakeAll for Shared {
    fn wake_all(&self) {
        self.room.notify_all();
        self.frames.notify_all();
    }
}

impl OnCancel for Shared {
    fn on_cancel(&self) {
        self.cancel();
    }
}

macro_rules! debug {
    ($($handle:ident),*) => {$(
        impl<S> std::fmt::Debug for $handle<S> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($handle)).field("status", &self.shared.life.status()).finish_non_exhaustive()
            }
        }
    )*};
}
debug!(PcmWriter, PcmReader, Tap);
