//! The writer's end.

use super::{BUSY, Epoch, PcmControl, PcmError, Sample, Shared, Tap};
use crate::{
    Interrupter, StorageError,
    cells::bytes_of,
    lifecycle::Stage,
    sync::{Deadline, Ordering::*, fence},
    wait::{Interrupts, Look, Patience, Waited, WakeAll},
};
use std::{marker::PhantomData, sync::Arc, time::Duration};

/// Writes frames. Dropping it before [`finish`](Self::finish) fails the stream with [`StorageError::WriterDropped`];
/// the reader plays out what is there.
///
/// It may live on a decoder's thread ([`write`](Self::write) blocks for room), or in a real-time capture callback
/// ([`try_write`](Self::try_write) never does).
pub struct PcmWriter<S> {
    pub(super) shared: Arc<Shared>,
    /// Up to here there is room, by the playhead last seen; may be stale, and then it is too low.
    limit: u64,
    /// Where this writer's epoch begins: its own view of `base`, always in sync.
    base: u64,
    epoch: Epoch,
    interrupts: Interrupts,
    sample: PhantomData<fn(S)>,
}

impl<S: Sample> PcmWriter<S> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let limit = shared.ahead_bytes;
        Self { shared, limit, base: 0, epoch: Epoch(0), interrupts: Interrupts::new(), sample: PhantomData }
    }

    /// The epoch to decode for: the newest that was asked for. Take it before looking where to go, and hand it to
    /// [`write`](Self::write) with every frame that was decoded from there.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.requested()
    }

    /// Begins an epoch whose first frame is frame `media_frame` of the medium, for the sake of
    /// [`PcmReader::position`](super::PcmReader::position). Without it, `write` begins the epoch, and positions count
    /// on. Does nothing once frames of the epoch are written.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    ///
    /// # Errors
    /// [`PcmError::Stale`] if it is not the newest epoch.
    pub fn begin(&mut self, epoch: Epoch, media_frame: u64) -> Result<(), PcmError> {
        if epoch != self.shared.requested() {
            return Err(PcmError::Stale);
        }
        if epoch != self.epoch || self.shared.window.written_to() == self.base {
            self.answer(epoch, media_frame);
        }
        Ok(())
    }

    fn answer(&mut self, epoch: Epoch, media_frame: u64) {
        let shared = &*self.shared;
        self.epoch = epoch;
        self.base = shared.window.written_to();
        self.limit = self.base + shared.ahead_bytes;
        // [epoch] Relaxed, because the fence orders it before what follows: whoever sees the new base or place finds
        // that `answered` has changed. Pairs with the Acquire fence in `epoch_base`.
        shared.answered.store(BUSY, Relaxed);
        fence(Release);
        // Relaxed, both: published by the next store.
        shared.base.store(self.base, Relaxed);
        shared.media_ahead.store(media_frame.wrapping_sub(self.base / shared.frame_bytes), Relaxed);
        // [epoch] Release: pairs with the Acquire in `epoch_base`.
        shared.answered.store(epoch.0, Release);
    }

    /// The place in the medium of the next frame to be written.
    fn media_frame(&self) -> u64 {
        let shared = &*self.shared;
        // Relaxed: only the writer, which we are, stores it.
        let media_ahead = shared.media_ahead.load(Relaxed);
        (shared.window.written_to() / shared.frame_bytes).wrapping_add(media_ahead)
    }

    /// Writes what fits of the interleaved samples, in whole frames, and returns how many frames that was.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel: it wakes nobody.
    ///
    /// # Errors
    /// Any [`PcmError`] but those of waits. Nothing was written then.
    pub fn try_write(&mut self, epoch: Epoch, samples: &[S]) -> Result<usize, PcmError> {
        let bytes = self.check(epoch, samples)?;
        Ok((self.put(bytes) / self.shared.frame_bytes) as usize)
    }

    /// Writes all of the interleaved samples, and blocks while there is no room. A seek ends the wait.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// Any [`PcmError`] but `TimedOut`. Some of the frames may have been written; with `Stale` that is of no consequence.
    pub fn write(&mut self, epoch: Epoch, samples: &[S]) -> Result<(), PcmError> {
        self.write_before(epoch, samples, None).map(|_| ())
    }

    /// As [`write`](Self::write), at most for `timeout`; returns how many frames were written.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`write`](Self::write). That the time was not enough is no error: the count says so.
    pub fn write_timeout(&mut self, epoch: Epoch, samples: &[S], timeout: Duration) -> Result<usize, PcmError> {
        self.write_before(epoch, samples, Some(&Deadline::after(timeout)))
    }

    fn write_before(&mut self, epoch: Epoch, samples: &[S], deadline: Option<&Deadline>) -> Result<usize, PcmError> {
        let bytes = self.check(epoch, samples)?;
        let mut written = 0;
        loop {
            let from = self.shared.window.written_to();
            written += self.put(&bytes[written as usize..]);
            self.shared.frames.notify(from..self.shared.window.written_to());
            let rest = bytes.len() as u64 - written;
            if rest == 0 || deadline.is_some_and(Deadline::passed) {
                return Ok((written / self.shared.frame_bytes) as usize);
            }
            self.wait_for_room(epoch, rest, deadline)?;
        }
    }

    /// What can go wrong before anything is written.
    #[inline]
    fn check<'a>(&mut self, epoch: Epoch, samples: &'a [S]) -> Result<&'a [u8], PcmError> {
        let shared = &*self.shared;
        match shared.life.stage() {
            Stage::Active => {}
            stage => return Err(shared.error(stage)),
        }
        if epoch != shared.requested() {
            return Err(PcmError::Stale);
        }
        let bytes = bytes_of(samples);
        if !(bytes.len() as u64).is_multiple_of(shared.frame_bytes) {
            return Err(PcmError::PartialFrame { channels: shared.channels::<S>() });
        }
        if epoch != self.epoch {
            self.answer(epoch, self.media_frame());
        }
        Ok(bytes)
    }

    /// Writes what fits; returns how many bytes.
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> u64 {
        let shared = &*self.shared;
        let written = shared.window.written_to();
        let wanted = bytes.len() as u64;
        if self.limit - written < wanted {
            self.limit = shared.limit(self.base);
        }
        // Whole frames, as all offsets are.
        let n = wanted.min(self.limit - written);
        shared.window.append(&bytes[..n as usize]);
        n
    }

    /// Sleeps until about half of what is missing fits, or something else is to be done. The callback wakes nobody, so
    /// the sleep is as long as the frames last that have to be played first.
    #[cold]
    fn wait_for_room(&mut self, epoch: Epoch, rest: u64, deadline: Option<&Deadline>) -> Result<(), PcmError> {
        let shared = &*self.shared;
        let written = shared.window.written_to();
        let wanted = rest.min((shared.ahead_bytes / 2).max(shared.frame_bytes));
        // The byte that the playhead has to pass.
        let byte = (written + wanted).saturating_sub(shared.ahead_bytes + 1);
        let nap = shared.duration(wanted.saturating_sub(self.limit - written));
        let nap = Deadline::after(deadline.and_then(Deadline::left).map_or(nap, |left| left.min(nap)));
        let patience = Patience { deadline: Some(&nap), interrupts: Some(self.interrupts.watch()), from: None };
        let waited = shared.room.wait(&patience, || {
            self.limit = shared.limit(self.base);
            match shared.life.stage() {
                Stage::Active if shared.requested() != epoch => Look::Done(Err(PcmError::Stale)),
                Stage::Active if self.limit - written >= wanted => Look::Done(Ok(())),
                Stage::Active => Look::Missing(byte),
                stage => Look::Done(Err(shared.error(stage))),
            }
        });
        match waited {
            Waited::Done(done) => done,
            Waited::Interrupted => Err(PcmError::Interrupted),
            // The nap is over: what fits by now is written.
            Waited::TimedOut => Ok(()),
        }
    }

    /// How many frames wait to be played.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn queued_frames(&self) -> usize {
        let shared = &*self.shared;
        let played_to = shared.playhead().max(self.base);
        (shared.window.written_to().saturating_sub(played_to) / shared.frame_bytes) as usize
    }

    /// Ends the stream: the reader plays out what is there.
    pub fn finish(self) {
        let shared = &*self.shared;
        if shared.life.commit(shared.window.written_to() / shared.frame_bytes) {
            shared.wake_all();
        }
    }

    /// Fails the stream: the reader plays out what is there, and then finds [`ReadError::Failed`](crate::ReadError::Failed).
    pub fn fail(self, reason: impl Into<StorageError>) {
        if self.shared.life.fail(Arc::new(reason.into())) {
            self.shared.wake_all();
        }
    }

    /// Ends the waits of this writer from another thread.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.interrupts.interrupter(self.shared.clone())
    }

    /// A handle to seek with.
    #[must_use]
    pub fn control(&self) -> PcmControl {
        PcmControl { shared: self.shared.clone() }
    }

    /// A tap on what is being heard.
    #[must_use]
    pub fn tap(&self) -> Tap<S> {
        Tap::new(self.shared.clone())
    }

    /// Samples a frame.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.shared.channels::<S>()
    }

    /// Frames a second.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.shared.rate_hz
    }
}

impl<S> Drop for PcmWriter<S> {
    fn drop(&mut self) {
        // Nothing happens to a stream that is finished, failed or cancelled.
        if self.shared.life.fail(Arc::new(StorageError::WriterDropped)) {
            self.shared.wake_all();
        }
    }
}
