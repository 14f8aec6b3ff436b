//! Which place of the stream a moment is at, and which moment is heard at a place.

use roundelay::DriverIo;

use super::Target;
use super::session::{Decoder, Place, noted};
use crate::timeline::Moment;

/// A decoder needs a moment before what it puts out is right: MP3 takes bits from frames before.
const PREROLL_SECONDS: f64 = 0.3;

/// What is decoded and dropped up to the wanted moment is no more than so much, or the offset is chosen again.
const MOST_DROPPED_SECONDS: f64 = 3.0;

/// How far behind the wanted moment a seek may end.
const MOST_LATE_SECONDS: f64 = 0.1;

/// How often an offset is chosen again. Each time the clock has learned where the last one was.
const MOST_CHOICES: u32 = 8;

/// By how much further ahead an offset is chosen that turned out too late, at least.
const LEAST_STEP_BYTES: u64 = 4 << 10;

/// Beginning at the oldest byte of a full window, so much is left for the writer to overwrite meanwhile.
const MARGIN_SECONDS: f64 = 1.0;

impl<D: DriverIo> Decoder<D> {
    /// The place to open a decoder at, for somebody who wants to hear the target.
    pub(super) fn locate(&self, target: Target, choices: u32) -> Place {
        let window = self.reader.valid_window();
        let edge = self.reader.live_edge();
        let last = if self.options.live { edge } else { self.file_len().unwrap_or(edge) };
        let seconds = match target {
            Target::Seconds(seconds) => seconds.max(0.0),
            Target::Live => {
                let lead = self.options.live_lead + self.shared.portion();
                self.timeline.seconds_at(last).unwrap_or(0.0) - lead.as_secs_f64()
            }
        };
        let wanted = self.timeline.offset_at(seconds - PREROLL_SECONDS).unwrap_or(0);
        let oldest = window.map_or(0, |window| self.oldest_safe(window));
        let offset = wanted.clamp(oldest.min(last), last);
        let at = self.timeline.seconds_at(offset).unwrap_or(0.0);
        Place { offset, seconds: at, from: Some(seconds).filter(|&seconds| seconds > at), choices }
    }

    /// The oldest byte that a reader that begins there can hope to read.
    pub(super) fn oldest_safe(&self, window: roundelay::Span) -> u64 {
        if window.start == 0 {
            return 0;
        }
        let margin = self.timeline.bytes_per_second(window.end, 30.0).unwrap_or(16e3) * MARGIN_SECONDS;
        window.start + (margin as u64).min(window.len() / 4)
    }

    pub(super) fn file_len(&self) -> Option<u64> {
        self.reader.final_len().or_else(|| self.reader.expected_len())
    }

    /// Notes the moment of the programme at which a stream's own time is nought, as it turns out with its first packet.
    pub(super) fn note_base(&mut self, read_to: u64, base: f64) {
        /// Streams of long ago are of no use.
        const MOST: usize = 256;
        if let Some((start, _)) = self.timeline.head_at(read_to)
            && noted(&self.bases, start).is_none()
        {
            self.bases.push((start, base));
            if self.bases.len() > MOST {
                self.bases.remove(0);
            }
        }
    }

    /// Where to begin instead of at `place`, now that it is known which moment is heard there.
    pub(super) fn better_place(&self, place: Place, here: Moment) -> Option<Place> {
        let from = place.from.filter(|_| place.choices < MOST_CHOICES)?;
        let off = here.seconds - from;
        if (-MOST_DROPPED_SECONDS..=MOST_LATE_SECONDS).contains(&off) {
            return None;
        }
        // The clock learns of it.
        self.timeline.passed(here);
        let mut better = self.locate(Target::Seconds(from), place.choices + 1);
        if off > MOST_LATE_SECONDS {
            // A decoder begins at the next page or frame, which may be long: before it, then, and each time by more.
            let rate = self.timeline.bytes_per_second(here.offset, 30.0).unwrap_or(0.0);
            let back = (off * rate) as u64 + (LEAST_STEP_BYTES << place.choices);
            let oldest = self.reader.valid_window().map_or(0, |window| self.oldest_safe(window));
            better.offset = better.offset.min(place.offset).saturating_sub(back).max(oldest);
            better.seconds = self.timeline.seconds_at(better.offset).unwrap_or(0.0);
            better.from = Some(from);
        }
        Some(better).filter(|better| better.offset != place.offset)
    }

    /// What is between the decoder and the live edge, in seconds, if the stream is live and it can be told.
    pub(super) fn lead(&self, read_to: u64) -> Option<f64> {
        if !self.options.live {
            return None;
        }
        let edge = self.reader.live_edge();
        let rate = self.timeline.bytes_per_second(read_to, 30.0)?;
        Some(edge.saturating_sub(read_to) as f64 / rate)
    }
}
