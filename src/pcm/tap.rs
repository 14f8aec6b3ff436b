//! Handles for other threads: seeking, and listening in.

use super::{Epoch, PcmError, Sample, Shared};
use crate::{
    ResourceStatus,
    cells::bytes_of_mut,
    lifecycle::Stage,
    sync::{Deadline, Ordering::*},
};
use std::{marker::PhantomData, sync::Arc, time::Duration};

/// Seeks, from any thread.
#[derive(Clone)]
pub struct PcmControl {
    pub(super) shared: Arc<Shared>,
}

impl PcmControl {
    /// Makes all frames that were decoded so far stale, and returns the epoch that begins. From the next
    /// [`fill`](super::PcmReader::fill) on there is silence, until frames of the new epoch come. Say where to go before, in
    /// whatever the decoder looks at once it finds its epoch stale.
    ///
    /// If the writer is gone, nobody answers, and the silence stays: [`try_seek`](Self::try_seek) says so instead.
    ///
    /// # Real-time
    /// Lock-free, but it may enter the kernel to wake the writer. Not for a callback.
    pub fn seek(&self) -> Epoch {
        // [seek] Release: pairs with the Acquire in `requested`. The fence [wake] in `notify_all` orders it before the
        // load of `armed`.
        let epoch = self.shared.requested.fetch_add(1, Release) + 1;
        self.shared.room.notify_all();
        Epoch(epoch)
    }

    /// As [`seek`](Self::seek), if there is still a writer to answer. Otherwise nothing changes, and the queued frames are
    /// played out. A writer that goes at this very moment may leave the seek unanswered;
    /// [`wait_heard`](Self::wait_heard) then says so.
    ///
    /// # Real-time
    /// As [`seek`](Self::seek).
    ///
    /// # Errors
    /// [`PcmError::Finished`], [`Failed`](PcmError::Failed) or [`Cancelled`](PcmError::Cancelled): how the stream ended.
    pub fn try_seek(&self) -> Result<Epoch, PcmError> {
        match self.shared.life.stage() {
            Stage::Active => Ok(self.seek()),
            stage => Err(self.shared.error(stage)),
        }
    }

    /// Blocks until the first frame of `epoch` was played, at most for `timeout`: the seek has arrived. An epoch that the
    /// writer ends without a frame has arrived once it is ended.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// [`PcmError::Stale`] if another seek came after it; [`Finished`](PcmError::Finished) or
    /// [`Failed`](PcmError::Failed) if the writer went without an answer; [`Cancelled`](PcmError::Cancelled);
    /// [`TimedOut`](PcmError::TimedOut), also while the callback is paused.
    pub fn wait_heard(&self, epoch: Epoch, timeout: Duration) -> Result<(), PcmError> {
        self.shared.wait_for_playhead(Some(&Deadline::after(timeout)), None, |progress| progress.heard(epoch))
    }

    /// Blocks until the writer has ended its epoch or the stream ([`PcmWriter::end_epoch`](super::PcmWriter::end_epoch),
    /// [`finish`](super::PcmWriter::finish)) and all its frames were played, at most for `timeout`.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// [`PcmError::Failed`] once all is played of a stream that failed; [`Cancelled`](PcmError::Cancelled), since nobody
    /// plays the rest; [`TimedOut`](PcmError::TimedOut), also while the writer goes on or the callback is paused.
    pub fn wait_drained(&self, timeout: Duration) -> Result<(), PcmError> {
        self.shared.wait_for_playhead(Some(&Deadline::after(timeout)), None, |progress| progress.drained())
    }
}

impl std::fmt::Debug for PcmControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PcmControl").field("epoch", &self.shared.requested()).finish_non_exhaustive()
    }
}

/// Reads what is being heard, from any thread, and holds up neither side: for meters, scopes and analysers.
pub struct Tap<S> {
    pub(super) shared: Arc<Shared>,
    laps: u64,
    sample: PhantomData<fn() -> S>,
}

impl<S: Sample> Tap<S> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, laps: 0, sample: PhantomData }
    }

    /// Fills `out` with the interleaved samples that end at the playhead, and returns how many frames of them are of
    /// the stream. Those stand at the end of `out`; before them is silence, if less has been played since the last
    /// seek, or is kept. Samples beyond the last whole frame of `out` are silence too.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    pub fn latest(&mut self, out: &mut [S]) -> usize {
        let shared = &*self.shared;
        let channels = shared.channels::<S>();
        let whole = out.len() / channels * channels;
        let playhead = shared.playhead();
        // Relaxed: after the playhead, it is at least the base of the playhead's epoch, by the Release of [playhead].
        // A later one lies above the playhead, and nothing of that epoch was heard yet.
        let base = shared.base.load(Relaxed);
        let heard = playhead.saturating_sub(base.max(shared.window.oldest()));
        let heard = heard - heard % shared.frame_bytes;
        let bytes = ((whole * size_of::<S>()) as u64).min(heard);
        let start = whole - bytes as usize / size_of::<S>();
        let recent = bytes_of_mut(&mut out[start..whole]);
        let frames = match shared.window.read(playhead - bytes, recent, playhead) {
            _ if bytes == 0 => 0,
            Some(_) => (bytes / shared.frame_bytes) as usize,
            None => {
                self.laps += 1;
                0
            }
        };
        let silence = if frames == 0 { whole } else { start };
        out[..silence].fill(S::SILENCE);
        out[whole..].fill(S::SILENCE);
        frames
    }

    /// The place of the playhead in the medium, in frames; `None` for the moment in which the writer answers a seek.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        let shared = &*self.shared;
        let playhead = shared.playhead();
        let (_, base, media_ahead) = shared.epoch_base()?;
        // Below the base: the seek was answered, and nothing of it played yet.
        Some((playhead.max(base) / shared.frame_bytes).wrapping_add(media_ahead))
    }

    /// How many frames wait to be played.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn queued_frames(&self) -> usize {
        let shared = &*self.shared;
        let playhead = shared.playhead();
        // Relaxed: a number to show.
        let played_to = playhead.max(shared.base.load(Relaxed));
        (shared.window.end().saturating_sub(played_to) / shared.frame_bytes) as usize
    }

    /// How often the frames were overwritten while they were read: this thread was held up for longer than the history
    /// lasts.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn laps(&self) -> u64 {
        self.laps
    }

    /// As [`PcmReader::underruns`](super::PcmReader::underruns).
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn underruns(&self) -> u64 {
        self.shared.underruns.get()
    }

    /// As [`PcmReader::missing_frames`](super::PcmReader::missing_frames).
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn missing_frames(&self) -> u64 {
        self.shared.missing_frames.get()
    }

    /// As [`PcmWriter::overruns`](super::PcmWriter::overruns).
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.shared.overruns.get()
    }

    /// As [`PcmWriter::refused_frames`](super::PcmWriter::refused_frames).
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn refused_frames(&self) -> u64 {
        self.shared.refused_frames.get()
    }

    /// As [`PcmReader::status`](super::PcmReader::status).
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the reason of a failure is shared, and whoever drops it last frees it.
    #[must_use]
    pub fn status(&self) -> ResourceStatus {
        self.shared.life.status()
    }

    /// Samples a frame.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.shared.channels::<S>()
    }

    /// Frames a second.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.shared.rate_hz
    }
}

impl<S: Sample> Clone for Tap<S> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}
