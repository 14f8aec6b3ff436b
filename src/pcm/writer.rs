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
/// the reader plays out what is there. With its newest epoch [ended](Self::end_epoch), the drop finishes the stream.
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
    /// Whether all frames of that epoch are written: its own view of `ended`.
    ended: bool,
    interrupts: Interrupts,
    sample: PhantomData<fn(S)>,
}

/// How many samples of a planar write are put in order at a time. A frame of the most channels fits.
const SCRATCH: usize = 1024;

impl<S: Sample> PcmWriter<S> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let limit = shared.ahead_bytes;
        let (epoch, interrupts) = (Epoch(0), Interrupts::new());
        Self { shared, limit, base: 0, epoch, ended: false, interrupts, sample: PhantomData }
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
    /// [`PcmError::Stale`] if it is not the newest epoch; [`Finished`](PcmError::Finished) if it has [ended](Self::end_epoch).
    pub fn begin(&mut self, epoch: Epoch, media_frame: u64) -> Result<(), PcmError> {
        if epoch != self.shared.requested() {
            return Err(PcmError::Stale);
        }
        if epoch == self.epoch && self.ended {
            return Err(PcmError::Finished);
        }
        if epoch != self.epoch || self.shared.window.written_to() == self.base {
            self.answer(epoch, media_frame);
        }
        Ok(())
    }

    fn answer(&mut self, epoch: Epoch, media_frame: u64) {
        let shared = &*self.shared;
        self.epoch = epoch;
        self.ended = false;
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

    /// Writes what fits of the interleaved samples, in whole frames, and returns how many frames that was. Frames that did
    /// not fit are counted as an [overrun](Self::overruns).
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel: it wakes nobody.
    ///
    /// # Errors
    /// Any [`PcmError`] but those of waits. Nothing was written then.
    pub fn try_write(&mut self, epoch: Epoch, samples: &[S]) -> Result<usize, PcmError> {
        let bytes = self.check_frames(epoch, samples)?;
        let written = self.put(bytes);
        Ok(self.count(bytes.len() as u64 / self.shared.frame_bytes, written / self.shared.frame_bytes))
    }

    /// As [`try_write`](Self::try_write), from one slice for each channel.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel: it wakes nobody.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write); [`PcmError::PartialFrame`] if there is not one slice for each channel, or they
    /// are not of one length.
    pub fn try_write_planar(&mut self, epoch: Epoch, channels: &[&[S]]) -> Result<usize, PcmError> {
        let frames = self.check_planar(epoch, channels)?;
        let written = self.put_planar(channels, 0, frames);
        Ok(self.count(frames as u64, written as u64))
    }

    #[inline]
    fn count(&self, wanted: u64, written: u64) -> usize {
        if written < wanted {
            self.shared.overruns.add(1);
            self.shared.refused_frames.add(wanted - written);
        }
        written as usize
    }

    /// How many calls that do not wait ([`try_write`](Self::try_write), [`try_write_planar`](Self::try_write_planar)) had
    /// frames left over, because the reader was late.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.shared.overruns.get()
    }

    /// How many frames those calls had left over. A capture callback, which does not come again with them, has lost them.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn refused_frames(&self) -> u64 {
        self.shared.refused_frames.get()
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

    /// As [`write`](Self::write), from one slice for each channel.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`PcmError::PartialFrame`] if there is not one slice for each channel, or they are not of
    /// one length.
    pub fn write_planar(&mut self, epoch: Epoch, channels: &[&[S]]) -> Result<(), PcmError> {
        let frames = self.check_planar(epoch, channels)?;
        self.write_all(epoch, frames, None, |writer, from| writer.put_planar(channels, from, frames)).map(|_| ())
    }

    fn write_before(&mut self, epoch: Epoch, samples: &[S], deadline: Option<&Deadline>) -> Result<usize, PcmError> {
        let bytes = self.check_frames(epoch, samples)?;
        let frame_bytes = self.shared.frame_bytes as usize;
        self.write_all(epoch, bytes.len() / frame_bytes, deadline, |writer, from| {
            writer.put(&bytes[from * frame_bytes..]) as usize / frame_bytes
        })
    }

    /// Writes `frames`. `put` writes what fits of them from one of them on, and says how many those were.
    fn write_all(
        &mut self,
        epoch: Epoch,
        frames: usize,
        deadline: Option<&Deadline>,
        put: impl Fn(&mut Self, usize) -> usize,
    ) -> Result<usize, PcmError> {
        let mut written = 0;
        loop {
            let from = self.shared.window.written_to();
            written += put(self, written);
            self.shared.frames.notify(from..self.shared.window.written_to());
            let rest = (frames - written) as u64 * self.shared.frame_bytes;
            if rest == 0 || deadline.is_some_and(Deadline::passed) {
                return Ok(written);
            }
            self.wait_for_room(epoch, rest, deadline)?;
        }
    }

    /// What can go wrong before anything is written.
    #[inline]
    fn check_frames<'a>(&mut self, epoch: Epoch, samples: &'a [S]) -> Result<&'a [u8], PcmError> {
        let bytes = bytes_of(samples);
        let whole = (bytes.len() as u64).is_multiple_of(self.shared.frame_bytes);
        self.check(epoch, whole)?;
        Ok(bytes)
    }

    /// The same of a planar write; says how many frames it has.
    fn check_planar(&mut self, epoch: Epoch, channels: &[&[S]]) -> Result<usize, PcmError> {
        let frames = channels.first().map_or(0, |channel| channel.len());
        let one_length = channels.iter().all(|channel| channel.len() == frames);
        self.check(epoch, one_length && channels.len() == self.channels())?;
        Ok(frames)
    }

    #[inline]
    fn check(&mut self, epoch: Epoch, whole_frames: bool) -> Result<(), PcmError> {
        let shared = &*self.shared;
        match shared.life.stage() {
            Stage::Active => {}
            stage => return Err(shared.error(stage)),
        }
        if epoch != shared.requested() {
            return Err(PcmError::Stale);
        }
        if !whole_frames {
            return Err(PcmError::PartialFrame { channels: shared.channels::<S>() });
        }
        if epoch != self.epoch {
            self.answer(epoch, self.media_frame());
        }
        if self.ended { Err(PcmError::Finished) } else { Ok(()) }
    }

    /// Writes what fits of frames `from..frames`; returns how many.
    fn put_planar(&mut self, channels: &[&[S]], from: usize, frames: usize) -> usize {
        let mut scratch = [S::SILENCE; SCRATCH];
        let mut at = from;
        while at < frames {
            let part = (frames - at).min(SCRATCH / channels.len());
            let interleaved = &mut scratch[..part * channels.len()];
            for (c, channel) in channels.iter().enumerate() {
                for (i, &sample) in channel[at..at + part].iter().enumerate() {
                    interleaved[i * channels.len() + c] = sample;
                }
            }
            let written = (self.put(bytes_of(interleaved)) / self.shared.frame_bytes) as usize;
            at += written;
            if written < part {
                break;
            }
        }
        at - from
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

    /// Ends `epoch`: all its frames are written. The reader plays them out, and then finds
    /// [`ReadError::Ended`](crate::ReadError::Ended); that is no underrun. Nothing more is written for this epoch. A seek
    /// takes the end back: this writer answers it with frames of the new epoch, as before.
    ///
    /// For a player that may be sought until its last frame is heard, and beyond: [`drain`](Self::drain), and
    /// [`finish`](Self::finish) after that. Does nothing if the epoch has ended already.
    ///
    /// # Real-time
    /// Lock-free, but it may enter the kernel to wake a reader that is no callback. Not for a callback.
    ///
    /// # Errors
    /// [`PcmError::Stale`] if a seek has come in between; [`Failed`](PcmError::Failed), [`Cancelled`](PcmError::Cancelled).
    pub fn end_epoch(&mut self, epoch: Epoch) -> Result<(), PcmError> {
        match self.check(epoch, true) {
            Err(PcmError::Finished) if self.ended => return Ok(()),
            checked => checked?,
        }
        self.ended = true;
        // [ended] Release: after the last frame of the epoch. Pairs with the Acquire in `over`.
        self.shared.ended.store(epoch.0, Release);
        self.shared.frames.notify_all();
        Ok(())
    }

    /// Ends `epoch`, as [`end_epoch`](Self::end_epoch), and blocks until all its frames were played.
    ///
    /// ```
    /// # use roundelay::pcm::{self, Epoch, PcmError, PcmWriter};
    /// # fn decode(writer: &mut PcmWriter<f32>, epoch: Epoch) -> Result<(), PcmError> { writer.write(epoch, &[0.5; 2 * 64]) }
    /// fn play(mut writer: PcmWriter<f32>) -> Result<(), PcmError> {
    ///     loop {
    ///         let epoch = writer.epoch();
    ///         match decode(&mut writer, epoch).and_then(|()| writer.drain(epoch)) {
    ///             Err(PcmError::Stale) => {} // sought: decode from there
    ///             Ok(()) => return Ok(writer.finish()),
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    /// }
    /// # let (writer, mut reader) = pcm::open::<f32>(Default::default()).unwrap();
    /// # let player = std::thread::spawn(|| play(writer));
    /// # while !player.is_finished() { reader.fill(&mut [0.0; 64]); }
    /// # player.join().unwrap().unwrap();
    /// ```
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// [`PcmError::Stale`] once a seek takes the end back: decode for the newest epoch. [`Failed`](PcmError::Failed),
    /// [`Cancelled`](PcmError::Cancelled), [`Interrupted`](PcmError::Interrupted).
    pub fn drain(&mut self, epoch: Epoch) -> Result<(), PcmError> {
        self.drain_before(epoch, None)
    }

    /// As [`drain`](Self::drain), at most for `timeout`.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`drain`](Self::drain), and [`TimedOut`](PcmError::TimedOut).
    pub fn drain_timeout(&mut self, epoch: Epoch, timeout: Duration) -> Result<(), PcmError> {
        self.drain_before(epoch, Some(&Deadline::after(timeout)))
    }

    fn drain_before(&mut self, epoch: Epoch, deadline: Option<&Deadline>) -> Result<(), PcmError> {
        self.end_epoch(epoch)?;
        self.shared.wait_for_playhead(deadline, Some(self.interrupts.watch()), |progress| {
            if progress.epoch == epoch { progress.drained() } else { Some(Err(PcmError::Stale)) }
        })
    }

    /// Ends the stream: the reader plays out what is there. Nobody answers a seek after this: the reader then plays silence,
    /// and [`PcmControl::try_seek`] is an error. A player that may still be sought calls [`drain`](Self::drain) before.
    ///
    /// # Real-time
    /// Not for a callback: it may wake the reader, and frees what this writer holds.
    pub fn finish(self) {
        let shared = &*self.shared;
        if shared.life.commit(shared.window.written_to() / shared.frame_bytes) {
            shared.wake_all();
        }
    }

    /// Fails the stream: the reader plays out what is there, and then finds [`ReadError::Failed`](crate::ReadError::Failed).
    ///
    /// # Real-time
    /// Not for a callback: it allocates, may wake the reader, and frees what this writer holds.
    pub fn fail(self, reason: impl Into<StorageError>) {
        if self.shared.life.fail(Arc::new(reason.into())) {
            self.shared.wake_all();
        }
    }

    /// Ends the waits of this writer from another thread.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the last handle that is dropped frees what it holds.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.interrupts.interrupter(self.shared.clone())
    }

    /// A handle to seek with.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the last handle that is dropped frees what it holds.
    #[must_use]
    pub fn control(&self) -> PcmControl {
        PcmControl { shared: self.shared.clone() }
    }

    /// A tap on what is being heard.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the last handle that is dropped frees what it holds.
    #[must_use]
    pub fn tap(&self) -> Tap<S> {
        Tap::new(self.shared.clone())
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

impl<S> Drop for PcmWriter<S> {
    fn drop(&mut self) {
        let shared = &*self.shared;
        // Nothing happens to a stream that is finished, failed or cancelled.
        let over = if self.ended && self.epoch == shared.requested() {
            shared.life.commit(shared.window.written_to() / shared.frame_bytes)
        } else {
            shared.life.fail(Arc::new(StorageError::WriterDropped))
        };
        if over {
            shared.wake_all();
        }
    }
}
