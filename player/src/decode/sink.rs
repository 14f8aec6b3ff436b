//! The frames' way to the callback: into the output's rate and channels, at a speed that follows the station's clock, in
//! blocks that wake nobody more often than need be.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use roundelay::pcm::{self, Epoch, PcmError, PcmOptions, PcmReader, PcmWriter, Tap};

use super::{DecodeError, DecodeOptions, Format, Shared, lock};
use crate::convert::{Converter, Layout};
use crate::drift::Drift;
use crate::timeline::{Moment, Timeline};

/// What is kept behind the playhead for the level meter.
const HISTORY_FRAMES: usize = 8_192;

/// With enough at hand, frames are handed on in blocks of so much: each is one sleep of the decoder.
const BLOCK: Duration = Duration::from_millis(1_000);

/// Before that, so that something is heard soon.
const FIRST_BLOCK: Duration = Duration::from_millis(250);

/// Nothing is lost by waiting for a while with so much at hand.
const WELL_AHEAD: Duration = Duration::from_millis(1_200);

/// With less than this before it, the decoder hands on what it has.
const NEAR_EDGE_SECONDS: f64 = 0.25;

/// Whoever plays what comes gets no more samples a second than this: of what has more channels, two. The ring of frames
/// takes memory, and a header of a few bytes can say anything.
const MOST_SAMPLES_HZ: usize = 192_000 * 8;

type Opened = Box<dyn FnOnce(PcmReader<f32>, Format) + Send>;

/// The ring of frames is made when the first of them says what they are.
pub(super) struct Sink {
    options: DecodeOptions,
    shared: Arc<Shared>,
    timeline: Arc<Timeline>,
    opened: Option<Opened>,
    ring: Option<Ring>,
    /// Nobody plays what is written any more.
    gone: bool,
    drift: Drift,
    started: Instant,
}

struct Ring {
    writer: PcmWriter<f32>,
    tap: Tap<f32>,
    layout: Layout,
    /// What is decoded for now.
    epoch: Epoch,
    /// Whether a frame of it was written.
    begun: bool,
    /// The place of the next frame among all that went to the output.
    frame: u64,
    /// What comes, and how it becomes what goes.
    from: Layout,
    converter: Converter,
    block: Vec<f32>,
    /// Of the first frame of the block.
    moment: Moment,
    portions: Portions,
}

/// How much audio comes at once: between two times that the network has to be waited for.
#[derive(Debug, Default)]
struct Portions {
    /// How often it was waited for; `None` before anything came.
    meals: Option<u64>,
    /// What has come since.
    current: Duration,
    /// Whether all of it was waited for: what a station sends at the beginning, or what was there already, was not.
    counts: bool,
    /// The largest of late; `None` before the first.
    largest: Option<Duration>,
}

impl Portions {
    fn add(&mut self, meals: u64, lasts: Duration) {
        if self.meals.replace(meals).is_some_and(|before| before != meals) {
            if std::mem::replace(&mut self.counts, true) {
                let before = self.largest.unwrap_or_default();
                self.largest = Some(self.current.max(before * 7 / 8));
            }
            self.current = Duration::ZERO;
        }
        self.current += lasts;
    }

    /// As far as is known: before anything else is, what has come by now.
    fn guess(&self) -> Duration {
        self.largest.unwrap_or(self.current)
    }

    /// What follows is somewhere else.
    fn moved(&mut self) {
        self.counts = false;
    }
}

impl Sink {
    pub(super) fn new(options: DecodeOptions, shared: Arc<Shared>, timeline: Arc<Timeline>, opened: Opened) -> Self {
        let (drift, started) = (Drift::default(), Instant::now());
        Self { options, shared, timeline, opened: Some(opened), ring: None, gone: false, drift, started }
    }

    /// Decodes for the newest epoch from now on.
    pub(super) fn begin(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        let epoch = ring.writer.epoch();
        if epoch != ring.epoch {
            ring.epoch = epoch;
            ring.begun = false;
            self.shared.well_ahead.store(false, Relaxed);
            ring.portions.moved();
            ring.block.clear();
            ring.converter.reset();
            self.drift.restart();
        }
    }

    /// What is ahead will be another amount from now on.
    pub(super) fn disturb_clock(&mut self) {
        self.drift.restart();
        if let Some(ring) = &mut self.ring {
            ring.portions.moved();
        }
    }

    /// Whether any frames went to the output.
    pub(super) fn has_played(&self) -> bool {
        self.ring.is_some()
    }

    /// Whether nobody plays what is written any more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// How long what was written lasts yet.
    pub(super) fn queued(&self) -> Duration {
        let Some(ring) = &self.ring else { return Duration::ZERO };
        Duration::from_secs_f64(ring.writer.queued_frames() as f64 / f64::from(ring.layout.rate_hz))
    }

    /// Writes samples that are to be heard at `moment`; `lead` is what lies between them and the live edge, in seconds.
    /// Blocks for room; breaks when nobody wants them.
    pub(super) fn write(
        &mut self,
        format: Format,
        samples: &[f32],
        moment: Moment,
        lead: Option<f64>,
    ) -> Result<ControlFlow<()>, DecodeError> {
        if let Some(ring) = &mut self.ring
            && ring.from != format.layout()
        {
            ring.converter.finish(&mut ring.block);
            ring.converter = Converter::new(format.layout(), ring.layout)?;
            ring.from = format.layout();
        }
        let ring = match &mut self.ring {
            Some(ring) => ring,
            none => none.insert(open(&self.options, &self.shared, &mut self.opened, format)?),
        };
        if ring.block.is_empty() {
            ring.moment = moment;
        }
        ring.converter.push(samples, &mut ring.block);
        let near_edge = lead.is_some_and(|lead| lead < NEAR_EDGE_SECONDS);
        let frames = ring.block.len() / ring.layout.channels;
        let block = if self.shared.well_ahead.load(Relaxed) { BLOCK } else { FIRST_BLOCK };
        let whole = block.as_secs_f64() * f64::from(ring.layout.rate_hz);
        if frames > 0 && (near_edge || frames as f64 >= whole) {
            self.follow_clock(lead);
            return Ok(self.flush());
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The stream is at its end: hands on all of it. A seek that found nothing is answered all the same, or the callback
    /// would wait for ever.
    pub(super) fn drain(&mut self) -> ControlFlow<()> {
        let Some(ring) = &mut self.ring else { return ControlFlow::Continue(()) };
        ring.converter.finish(&mut ring.block);
        let epoch = ring.epoch;
        self.answer()?;
        self.flush()?;
        *lock(&self.shared.landed) = Some(epoch);
        ControlFlow::Continue(())
    }

    /// Begins what is decoded for now, once.
    fn answer(&mut self) -> ControlFlow<()> {
        let Some(ring) = self.ring.as_mut().filter(|ring| !ring.begun) else { return ControlFlow::Continue(()) };
        // What has been heard goes on being counted: a place in the programme is the timeline's to tell.
        ring.frame = ring.tap.position().unwrap_or(ring.frame);
        if ring.writer.begin(ring.epoch, ring.frame).is_err() {
            ring.block.clear();
            return ControlFlow::Break(());
        }
        ring.begun = true;
        ControlFlow::Continue(())
    }

    /// Hands on what there is.
    fn flush(&mut self) -> ControlFlow<()> {
        if self.ring.as_ref().is_none_or(|ring| ring.block.is_empty()) {
            return ControlFlow::Continue(());
        }
        self.answer()?;
        let Some(ring) = &mut self.ring else { return ControlFlow::Continue(()) };
        self.timeline.decoded(ring.frame, ring.moment);
        *lock(&self.shared.landed) = Some(ring.epoch);
        let written = ring.writer.write(ring.epoch, &ring.block);
        let frames = ring.block.len() / ring.layout.channels;
        ring.block.clear();
        match written {
            Ok(()) => {
                ring.frame += frames as u64;
                let lasts = Duration::from_secs_f64(frames as f64 / f64::from(ring.layout.rate_hz));
                ring.portions.add(self.shared.meals.load(Relaxed), lasts);
                let ms = |portion: Duration| portion.as_millis() as u64;
                self.shared.portion_guess_ms.store(ms(ring.portions.guess()), Relaxed);
                self.shared.portion_ms.store(ms(ring.portions.largest.unwrap_or_default()), Relaxed);
                let well_ahead = self.queued() >= WELL_AHEAD;
                self.shared.well_ahead.store(well_ahead, Relaxed);
                ControlFlow::Continue(())
            }
            // A seek came in between, or nobody plays them any more.
            Err(PcmError::Stale) => ControlFlow::Break(()),
            Err(_) => {
                self.gone = true;
                ControlFlow::Break(())
            }
        }
    }

    /// There will be no more; what is there is played.
    pub(super) fn finish(&mut self) {
        if let Some(ring) = self.ring.take() {
            *lock(&self.shared.pcm) = None;
            ring.writer.finish();
        }
    }

    fn follow_clock(&mut self, lead: Option<f64>) {
        let (Some(ring), Some(lead)) = (&mut self.ring, lead) else { return };
        if !self.options.follow_clock {
            return;
        }
        if self.shared.idle.load(Relaxed) {
            self.drift.restart();
            return;
        }
        let queued = ring.writer.queued_frames() as f64 / f64::from(ring.layout.rate_hz);
        let lead = Duration::from_secs_f64(lead + queued);
        let speed = self.drift.observe(self.started.elapsed(), lead);
        ring.converter.set_speed(speed);
        self.shared.drift_ppm.store(self.drift.correction_ppm().round() as i64, Relaxed);
    }
}

/// The ring for what goes to the output, of frames that come like `format`.
fn open(
    options: &DecodeOptions,
    shared: &Shared,
    opened: &mut Option<Opened>,
    format: Format,
) -> Result<Ring, DecodeError> {
    let from = format.layout();
    let stereo = Layout { channels: 2, ..from };
    let is_modest = from.channels.saturating_mul(from.rate_hz as usize) <= MOST_SAMPLES_HZ;
    let layout = options.layout.unwrap_or(if is_modest { from } else { stereo });
    // First: it says what is no audio at all.
    let converter = Converter::new(from, layout)?;
    let (writer, reader) = pcm::open(PcmOptions {
        rate_hz: layout.rate_hz,
        channels: layout.channels,
        capacity_frames: (f64::from(layout.rate_hz) * options.ahead.as_secs_f64()) as usize,
        history_frames: HISTORY_FRAMES,
        lock_memory: true,
        cancel: shared.cancel.clone(),
    })
    .map_err(DecodeError::Pcm)?;
    *lock(&shared.pcm) = Some(writer.control());
    if let Some(opened) = opened.take() {
        opened(reader, Format { rate_hz: layout.rate_hz, channels: layout.channels, bits: format.bits });
    }
    Ok(Ring {
        tap: writer.tap(),
        epoch: writer.epoch(),
        writer,
        layout,
        begun: false,
        frame: 0,
        from,
        converter,
        block: Vec::new(),
        moment: Moment::default(),
        portions: Portions::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_what_comes_between_two_waits() {
        let ms = Duration::from_millis;
        let mut portions = Portions::default();
        // All that is known at first, and no portion: it may be what a station sends at the beginning.
        portions.add(1, ms(500));
        portions.add(1, ms(3_500));
        assert_eq!((portions.guess(), portions.largest), (ms(4_000), None));
        portions.add(2, ms(250));
        portions.add(2, ms(750));
        portions.add(3, ms(100));
        assert_eq!((portions.guess(), portions.largest), (ms(1_000), Some(ms(1_000))));
        // Behind a seek there is as much as there is.
        portions.moved();
        portions.add(3, ms(60_000));
        portions.add(4, ms(100));
        assert_eq!(portions.largest, Some(ms(1_000)));
        portions.add(5, ms(100));
        assert_eq!(portions.largest, Some(ms(875)));
    }

    /// What a ring is made of for frames of this kind, if the output has no layout of its own.
    fn opened(rate_hz: u32, channels: usize) -> Result<Layout, DecodeError> {
        let options = DecodeOptions {
            layout: None,
            live: false,
            follow_clock: false,
            when_lapped: crate::decode::WhenLapped::Oldest,
            ahead: Duration::from_millis(100),
            live_lead: Duration::ZERO,
        };
        let (told, opened) = std::sync::mpsc::channel();
        let open: Opened = Box::new(move |_, format| told.send(format.layout()).unwrap());
        let mut sink = Sink::new(options, Arc::default(), Arc::default(), open);
        let format = Format { rate_hz, channels, bits: None };
        let written = sink.write(format, &vec![0.0; channels], Moment::default(), None);
        assert_eq!(opened.try_recv().is_ok(), written.is_ok());
        written.map(|_| sink.ring.unwrap().layout)
    }

    #[test]
    fn nothing_is_made_for_what_is_no_audio() {
        for (rate_hz, channels) in [(10_000_000, 6), (48_000, 33), (48_000, 0), (1, 2)] {
            assert!(matches!(opened(rate_hz, channels), Err(DecodeError::Convert(_))), "{channels} at {rate_hz} Hz");
        }
    }

    #[test]
    fn no_header_makes_the_ring_larger_than_anybody_needs() {
        let layout = |rate_hz, channels| Layout { rate_hz, channels };
        for (rate_hz, channels) in [(48_000, 32), (192_000, 8), (768_000, 2)] {
            assert_eq!(opened(rate_hz, channels).unwrap(), layout(rate_hz, channels));
        }
        assert_eq!(opened(768_000, 3).unwrap(), layout(768_000, 2));
        assert_eq!(opened(192_000, 32).unwrap(), layout(192_000, 2));
    }
}
