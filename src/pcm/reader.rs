//! The reader's end: what an audio callback calls.

use super::{Epoch, Fill, Over, PcmControl, PcmError, Sample, Shared, Tap};
use crate::{
    Interrupter, ReadError, ResourceStatus,
    cells::bytes_of_mut,
    lifecycle::Stage,
    sync::{Deadline, Ordering::*},
    wait::{Interrupts, Look, Patience, Waited, WakeAll},
};
use std::{marker::PhantomData, sync::Arc, time::Duration};

/// Reads frames, in an audio callback. Dropping it cancels the stream: the writer gets [`PcmError::Cancelled`], and so does
/// everybody who waits for frames to be heard.
pub struct PcmReader<S> {
    pub(super) shared: Arc<Shared>,
    head: Playhead,
    interrupts: Interrupts,
    sample: PhantomData<fn() -> S>,
}

/// Where a reader is.
#[derive(Debug)]
struct Playhead {
    /// In bytes of the ring: what is played next. Ahead of the shared one between a seek and the next frame.
    position: u64,
    /// The end of the frames when last looked; may be stale, and then it is too low.
    known_end: u64,
    epoch: Epoch,
    /// What to add to the position, in frames, to get the place in the medium; wraps around.
    media_ahead: u64,
    /// Whether a frame of this epoch was played: before that, silence is no underrun.
    primed: bool,
}

impl<S: Sample> PcmReader<S> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let head = Playhead { position: 0, known_end: 0, epoch: Epoch(0), media_ahead: 0, primed: false };
        Self { shared, head, interrupts: Interrupts::new(), sample: PhantomData }
    }

    /// Fills the whole of `out` with interleaved samples: frames of the stream as far as there are, then silence.
    /// Samples beyond the last whole frame of `out` are silence too.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel, on any branch.
    pub fn fill(&mut self, out: &mut [S]) -> Fill {
        let channels = self.shared.channels::<S>();
        let frames = out.len() / channels;
        let (stream, rest) = out.split_at_mut(frames * channels);
        rest.fill(S::SILENCE);
        let fill = self.take(stream);
        self.count(fill)
    }

    /// Fills the whole of each channel's buffer, as many frames as the shortest has; the rest, and channels that the
    /// stream does not have, are silence. Channels that `out` does not have are dropped.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel, on any branch.
    pub fn fill_planar(&mut self, out: &mut [&mut [S]]) -> Fill {
        /// A frame of the most channels fits.
        const SCRATCH: usize = 1024;
        let channels = self.shared.channels::<S>();
        let frames = out.iter().map(|channel| channel.len()).min().unwrap_or(0);
        // One look for all of it: the frames are of one piece, and one that comes late does not come after silence.
        let mut ready = self.ready(frames);
        let mut scratch = [S::SILENCE; SCRATCH];
        let mut at = 0;
        while at < frames {
            let part = (frames - at).min(SCRATCH / channels);
            let interleaved = &mut scratch[..part * channels];
            self.copy(&mut ready, at, interleaved);
            for (c, channel) in out.iter_mut().enumerate() {
                for (i, sample) in channel[at..at + part].iter_mut().enumerate() {
                    *sample = if c < channels { interleaved[i * channels + c] } else { S::SILENCE };
                }
            }
            at += part;
        }
        for channel in out.iter_mut() {
            channel[frames..].fill(S::SILENCE);
        }
        let fill = self.played(&ready, frames);
        self.count(fill)
    }

    /// Fills whole frames.
    #[inline]
    fn take(&mut self, out: &mut [S]) -> Fill {
        let frames = out.len() / self.shared.channels::<S>();
        let mut ready = self.ready(frames);
        self.copy(&mut ready, 0, out);
        self.played(&ready, frames)
    }

    /// What there is of the next `frames`.
    #[inline]
    fn ready(&mut self, frames: usize) -> Ready {
        match self.head.look(&self.shared, frames as u64 * self.shared.frame_bytes) {
            Err(Silence(cause)) => {
                Ready { from: self.head.position, frames: 0, cause: Some(cause), seeking: cause == ReadError::NotYet }
            }
            Ok(there) => Ready {
                from: there.from,
                frames: (there.bytes / self.shared.frame_bytes) as usize,
                cause: there.cause,
                seeking: false,
            },
        }
    }

    /// Copies whole frames out, as far as there are, from the one with the number `at` of those that are ready; then
    /// silence.
    #[inline]
    fn copy(&self, ready: &mut Ready, at: usize, out: &mut [S]) {
        let shared = &*self.shared;
        let channels = shared.channels::<S>();
        let mut n = (ready.frames.saturating_sub(at) * channels).min(out.len());
        let from = ready.from + at as u64 * shared.frame_bytes;
        if n > 0 && shared.window.read(from, bytes_of_mut(&mut out[..n]), self.head.known_end).is_none() {
            // The window has left these frames behind: a seek was asked for and answered meanwhile, and the writer no
            // longer waits for a reader that is slow to hear of it.
            *ready = Ready { frames: at, cause: Some(ReadError::NotYet), seeking: true, ..*ready };
            n = 0;
        }
        out[n..].fill(S::SILENCE);
    }

    /// Gives up what was copied.
    #[inline]
    fn played(&mut self, ready: &Ready, frames: usize) -> Fill {
        let (shared, head) = (&*self.shared, &mut self.head);
        head.position = ready.from + ready.frames as u64 * shared.frame_bytes;
        head.primed |= ready.frames > 0;
        // [playhead] Release: the reads above come before. Pairs with the Acquire in `playhead`.
        shared.position.store(head.position, Release);
        Fill { frames: ready.frames, missing: frames - ready.frames, cause: ready.cause, seeking: ready.seeking }
    }

    fn count(&self, fill: Fill) -> Fill {
        if fill.cause == Some(ReadError::NotYet) && !fill.seeking && self.head.primed {
            self.shared.underruns.add(1);
            self.shared.missing_frames.add(fill.missing as u64);
        }
        fill
    }

    /// Blocks until `frames` (or half the capacity, if that is less) can be read, and returns how many can be; fewer
    /// only if the stream or its epoch has ended. For a reader that is no callback: it fills a file, or is fed by one.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// `Failed` or `Cancelled` once all is read; `Interrupted`.
    pub fn wait(&mut self, frames: usize) -> Result<usize, PcmError> {
        loop {
            if let Some(frames) = self.wait_until(frames, None)? {
                return Ok(frames);
            }
        }
    }

    /// As [`wait`](Self::wait), at most for `timeout`; returns what can be read by then.
    ///
    /// # Real-time
    /// Blocking. Not for a callback.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, frames: usize, timeout: Duration) -> Result<usize, PcmError> {
        let deadline = Deadline::after(timeout);
        loop {
            if let Some(frames) = self.wait_until(frames, Some(&deadline))? {
                return Ok(frames);
            }
            if deadline.passed() {
                return Ok(self.ready_frames());
            }
        }
    }

    /// One nap: as long as the frames last, since a writer in a capture callback wakes nobody.
    fn wait_until(&mut self, frames: usize, deadline: Option<&Deadline>) -> Result<Option<usize>, PcmError> {
        let shared = &*self.shared;
        let head = &mut self.head;
        // Room is made known here: this reader is no callback, and the writer may sleep for it.
        shared.room.notify(0..head.position);
        let wanted = (frames as u64).saturating_mul(shared.frame_bytes);
        let wanted = wanted.min((shared.ahead_bytes / 2).max(shared.frame_bytes));
        let nap = shared.duration(wanted);
        let nap = Deadline::after(deadline.and_then(Deadline::left).map_or(nap, |left| left.min(nap)));
        let patience = Patience { deadline: Some(&nap), interrupts: Some(self.interrupts.watch()), from: None };
        let waited = shared.frames.wait(&patience, || match head.look(shared, wanted) {
            Ok(there) => match there.cause {
                None | Some(ReadError::Ended) => Look::Done(Ok(there.bytes)),
                Some(ReadError::Failed | ReadError::Cancelled) if there.bytes > 0 => Look::Done(Ok(there.bytes)),
                Some(ReadError::Failed) => Look::Done(Err(PcmError::Failed)),
                Some(ReadError::Cancelled) => Look::Done(Err(PcmError::Cancelled)),
                _ => Look::Missing(there.from + wanted - 1),
            },
            Err(Silence(ReadError::Ended)) => Look::Done(Ok(0)),
            Err(Silence(ReadError::Failed)) => Look::Done(Err(PcmError::Failed)),
            Err(Silence(ReadError::Cancelled)) => Look::Done(Err(PcmError::Cancelled)),
            Err(Silence(_)) if wanted == 0 => Look::Done(Ok(0)),
            // An epoch that begins does so at the live edge.
            Err(Silence(_)) => Look::Missing(shared.window.end() + wanted - 1),
        });
        match waited {
            Waited::Done(bytes) => Ok(Some((bytes? / shared.frame_bytes) as usize)),
            Waited::Interrupted => Err(PcmError::Interrupted),
            Waited::TimedOut => Ok(None),
        }
    }

    fn ready_frames(&mut self) -> usize {
        let bytes = self.head.look(&self.shared, self.shared.ahead_bytes).map_or(0, |there| there.bytes);
        (bytes / self.shared.frame_bytes) as usize
    }

    /// The place in the medium of the next frame to be played, in frames. Frames of silence do not count.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn position(&self) -> u64 {
        (self.head.position / self.shared.frame_bytes).wrapping_add(self.head.media_ahead)
    }

    /// How many fills fell short because the writer was late. Silence before the first frame of an epoch, during a seek
    /// and after the end does not count.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn underruns(&self) -> u64 {
        self.shared.underruns.get()
    }

    /// How many frames those fills were short of.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn missing_frames(&self) -> u64 {
        self.shared.missing_frames.get()
    }

    /// Whether the stream goes on, and if not, why not; a final length is in frames.
    ///
    /// # Real-time
    /// Wait-free, but not for a callback: the reason of a failure is shared, and whoever drops it last frees it.
    #[must_use]
    pub fn status(&self) -> ResourceStatus {
        self.shared.life.status()
    }

    /// Ends the waits of this reader from another thread.
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

    /// Whether the ring's pages are locked in memory, as [`PcmOptions::lock_memory`](super::PcmOptions::lock_memory) asked for.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    #[must_use]
    pub fn memory_locked(&self) -> bool {
        self.shared.memory_locked
    }
}

impl Playhead {
    /// Looks at the end of the frames, unless it is known to lie at or above `to`; and before it at what is over, as
    /// everywhere: what was written before the end is played.
    #[inline]
    fn look_at_the_end(&mut self, shared: &Shared, to: u64) -> Over {
        if self.known_end >= to {
            return Over::NOTHING;
        }
        let over = shared.over();
        self.known_end = shared.window.end();
        over
    }

    /// Where the next frames are, and how many bytes of the `wanted` ones.
    #[inline]
    fn look(&mut self, shared: &Shared, wanted: u64) -> Result<There, Silence> {
        let requested = shared.requested();
        // One that was asked for since we looked is as good: its frames are newer.
        let answered = || shared.epoch_base().filter(|&(epoch, ..)| epoch >= requested);
        // The end, and then the answer: below the end may lie frames that belong to a later answer, at another place.
        let mut over = self.look_at_the_end(shared, self.position + wanted);
        let mut answer = match answered() {
            Some(answer) => answer,
            None => match shared.life.stage() {
                Stage::Active => return Err(Silence(ReadError::NotYet)),
                // Once more, after the state: a writer that answered and then finished did answer.
                stage => answered().ok_or(Silence(stage.why_no_more()))?,
            },
        };
        if self.position < answer.1 {
            // Its frames begin behind what we have looked for. Both again, in the same order; there is no answer only
            // while the writer changes over once more.
            over = self.look_at_the_end(shared, answer.1 + wanted);
            answer = answered().ok_or(Silence(ReadError::NotYet))?;
        }
        let (epoch, base, media_ahead) = answer;
        if epoch != self.epoch {
            self.epoch = epoch;
            self.primed = false;
        }
        self.media_ahead = media_ahead;
        self.position = self.position.max(base);
        let from = self.position;
        // The end may lie below `from`, if it was loaded before the base moved; and in the middle of a frame, since long
        // writes are published in pieces.
        let there = self.known_end.saturating_sub(from);
        if there >= wanted {
            return Ok(There { from, bytes: wanted, cause: None });
        }
        Ok(There { from, bytes: there - there % shared.frame_bytes, cause: Some(over.of(epoch).why_no_more()) })
    }
}

/// The next frames, in bytes of the ring, and why there are not more.
struct There {
    from: u64,
    bytes: u64,
    cause: Option<ReadError>,
}

/// A seek was asked for that the writer has yet to answer; or never will, if it is gone.
struct Silence(ReadError);

/// What a fill takes.
#[derive(Clone, Copy)]
struct Ready {
    /// Where the frames begin, in bytes of the ring.
    from: u64,
    frames: usize,
    cause: Option<ReadError>,
    seeking: bool,
}

impl<S> Drop for PcmReader<S> {
    fn drop(&mut self) {
        self.shared.reader_gone.set();
        self.shared.life.cancel();
        // Of a stream that is over already, too: somebody may wait for its frames to be heard.
        self.shared.wake_all();
    }
}
