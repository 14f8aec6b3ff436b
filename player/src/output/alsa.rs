//! A device of ALSA, fed by a thread of ours: each write blocks until the device has room for another period.

mod libasound;

use std::ffi::CString;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::device::{CHANNELS, Counters, Device, DeviceState, RETRY};
use super::library::LibraryError;
use super::realtime::{self, Pacer, Scheduling};
use super::{OutputError, Session, is_over};
use libasound::{OpenError, Pcm};

/// What ALSA's configuration makes of this name is what the user hears everything else on.
const DEFAULT_DEVICE: &str = "default";

/// The rates that are asked for, the most usual one first.
const RATES_HZ: [u32; 2] = [48_000, 44_100];

/// A device that fails so often in a row has gone.
const MAX_RECOVERIES: u32 = 8;

/// Why ALSA does not play.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AlsaError {
    /// There is no ALSA here.
    #[error("no ALSA ({0})")]
    NoLibrary(#[source] LibraryError),
    /// The device is not there, or cannot be had.
    #[error("ALSA cannot open its device `{device}`: {reason}")]
    Device {
        /// Its name.
        device: String,
        /// What ALSA says.
        reason: String,
    },
}

/// A device of ALSA, open, and not playing yet.
#[derive(Debug)]
pub(super) struct Alsa {
    pcm: Pcm,
    device: DeviceName,
    /// As asked for; the device may have another.
    period_frames: usize,
    counters: Arc<Counters>,
}

/// A device, by its name.
#[derive(Debug)]
struct DeviceName {
    name: String,
    c_name: CString,
}

impl DeviceName {
    fn open(&self, rates_hz: &[u32], period_frames: usize) -> Result<Pcm, AlsaError> {
        Pcm::open(&self.c_name, rates_hz, period_frames).map_err(|error| match error {
            OpenError::Library(error) => AlsaError::NoLibrary(error),
            OpenError::Code(code) => AlsaError::Device { device: self.name.clone(), reason: code.text() },
        })
    }
}

impl Alsa {
    /// Opens a device.
    pub(super) fn open(device: Option<&str>, period_frames: usize) -> Result<Self, AlsaError> {
        let name = device.unwrap_or(DEFAULT_DEVICE).to_owned();
        let Some(c_name) = libasound::device_name(&name) else {
            return Err(AlsaError::Device { device: name, reason: "no name holds a nought".to_owned() });
        };
        let device = DeviceName { name, c_name };
        let pcm = device.open(&RATES_HZ, period_frames)?;
        let counters = Arc::<Counters>::default();
        counters.set_pace(pcm.rate_hz(), pcm.period_frames());
        Ok(Self { pcm, device, period_frames, counters })
    }
}

impl Device for Alsa {
    fn name(&self) -> &'static str {
        "alsa"
    }

    fn describe(&self) -> String {
        let Self { pcm, device, .. } = self;
        format!(
            "ALSA's device `{}` at {} Hz{}, in {} periods of {} frames",
            device.name,
            pcm.rate_hz(),
            if pcm.is_resampled() { " (which ALSA resamples)" } else { "" },
            pcm.format(),
            pcm.period_frames(),
        )
    }

    fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    fn play(
        self: Box<Self>,
        mut session: Session,
        changed: &mut dyn FnMut(DeviceState),
    ) -> Result<Scheduling, OutputError> {
        let Self { mut pcm, device, period_frames, counters } = *self;
        let rate_hz = pcm.rate_hz();
        realtime::touch_stack();
        let scheduling = realtime::request_real_time();
        loop {
            let opened = Instant::now();
            match feed(&mut pcm, &mut session, &counters) {
                Fed::Stopped => return Ok(scheduling),
                Fed::Ended => {
                    pcm.drain();
                    return Ok(scheduling);
                }
                Fed::Lost(why) => {
                    // Before it is opened again.
                    drop(pcm);
                    counters.add_stop();
                    changed(DeviceState::Stopped { why: format!("ALSA's device `{}` has gone: {why}", device.name) });
                }
            }
            // One that is there and takes nothing (a monitor without a loudspeaker) is not to be asked without a pause.
            let mut wait = opened.elapsed() < RETRY;
            pcm = loop {
                if wait && !session.is_stopped() {
                    thread::park_timeout(RETRY);
                }
                if session.is_stopped() {
                    return Ok(scheduling);
                }
                match device.open(&[rate_hz], period_frames) {
                    Ok(pcm) => break pcm,
                    Err(_) => wait = true,
                }
            };
            counters.set_pace(rate_hz, pcm.period_frames());
            changed(DeviceState::Playing);
        }
    }
}

/// Why a device gets no more.
enum Fed {
    /// The stream is at its end, or the limit.
    Ended,
    /// Somebody said so.
    Stopped,
    /// The device fails.
    Lost(String),
}

/// Gives the device one period after the other.
fn feed(pcm: &mut Pcm, session: &mut Session, counters: &Counters) -> Fed {
    session.period_frames = pcm.period_frames();
    // All that allocates comes before the first period.
    let mut period = vec![0.0; pcm.period_frames() * CHANNELS];
    let mut pace = Pace::new(pcm);
    while !session.is_stopped() {
        let frames = session.frames_due();
        if frames == 0 {
            return Fed::Ended;
        }
        let samples = &mut period[..frames * CHANNELS];
        if is_over(session.callback.fill(samples)) {
            return Fed::Ended;
        }
        if let Err(why) = write_all(pcm, samples, counters) {
            return Fed::Lost(why);
        }
        pace.taken(frames);
    }
    Fed::Stopped
}

/// Writes a period, over xruns and a suspended machine.
fn write_all(pcm: &mut Pcm, samples: &[f32], counters: &Counters) -> Result<(), String> {
    let mut rest = samples;
    let mut recoveries = 0;
    while !rest.is_empty() {
        let failed = match pcm.write(rest) {
            Ok(frames @ 1..) => {
                rest = &rest[frames * CHANNELS..];
                recoveries = 0;
                continue;
            }
            Ok(0) => None,
            Err(code) => Some(code),
        };
        recoveries += 1;
        if recoveries > MAX_RECOVERIES {
            return Err(failed.map_or_else(|| "it takes no more".to_owned(), libasound::Code::text));
        }
        if let Some(code) = failed {
            if code.is_xrun() {
                counters.add_xrun();
            }
            pcm.recover(code).map_err(libasound::Code::text)?;
        }
    }
    Ok(())
}

/// Keeps the time for devices that have none: ALSA's `null` and `file` take in a moment what should last for minutes.
#[derive(Debug)]
struct Pace {
    stopwatch: Stopwatch,
    rate_hz: u32,
    period_frames: usize,
    /// Once the device has turned out to have no clock.
    pacer: Option<Pacer>,
}

impl Pace {
    fn new(pcm: &Pcm) -> Self {
        let (rate_hz, period_frames) = (pcm.rate_hz(), pcm.period_frames());
        Self {
            stopwatch: Stopwatch::new(rate_hz, pcm.buffer_frames(), Instant::now()),
            rate_hz,
            period_frames,
            pacer: None,
        }
    }

    /// The device took so many frames. Sleeps if they should have taken longer.
    fn taken(&mut self, frames: usize) {
        if let Some(pacer) = &mut self.pacer {
            pacer.wait();
        } else if let Some(ahead) = self.stopwatch.taken(frames, Instant::now()) {
            let mut pacer = Pacer::new(self.period_frames, self.rate_hz);
            pacer.postpone(ahead);
            pacer.wait();
            self.pacer = Some(pacer);
        }
    }
}

/// Times frames by the second.
#[derive(Debug)]
struct Stopwatch {
    rate_hz: u32,
    /// So many frames are timed together. Even if an empty buffer took its part of them at once, a real device needs more
    /// than half of what they last.
    timed_frames: usize,
    frames: usize,
    since: Instant,
}

impl Stopwatch {
    fn new(rate_hz: u32, buffer_frames: usize, now: Instant) -> Self {
        let timed_frames = buffer_frames.saturating_mul(2).saturating_add(rate_hz as usize / 4);
        Self { rate_hz, timed_frames, frames: 0, since: now }
    }

    /// Frames were taken. If that was far too fast: by how much.
    fn taken(&mut self, frames: usize, now: Instant) -> Option<Duration> {
        self.frames += frames;
        if self.frames < self.timed_frames {
            return None;
        }
        let should = Duration::from_secs_f64(self.frames as f64 / f64::from(self.rate_hz));
        let took = now.saturating_duration_since(self.since);
        self.frames = 0;
        self.since = now;
        (took * 2 < should).then(|| should - took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_clock_is_found_out_in_its_first_second() {
        let start = Instant::now();
        let mut stopwatch = Stopwatch::new(48_000, 1_024, start);
        let found = (1..).find_map(|period| Some((period * 256, stopwatch.taken(256, start)?)));
        let (frames, ahead) = found.unwrap();
        assert!(frames < 48_000);
        assert_eq!(ahead, Duration::from_secs_f64(frames as f64 / 48_000.0));
    }

    #[test]
    fn a_device_with_a_clock_keeps_it_even_if_it_fills_its_buffer_at_once_again_and_again() {
        let start = Instant::now();
        let (period, buffer) = (1_200_usize, 24_000);
        let mut stopwatch = Stopwatch::new(48_000, buffer, start);
        let (mut played, mut held) = (0, 0);
        for taken in 0..1_000 {
            // Now and then it gets nothing until all is played: an xrun.
            if taken % 40 == 0 {
                played += std::mem::take(&mut held);
            }
            let waited = (held + period).saturating_sub(buffer);
            played += waited;
            held = held + period - waited;
            let now = start + Duration::from_secs_f64(played as f64 / 48_000.0);
            assert_eq!(stopwatch.taken(period, now), None, "period {taken}");
        }
    }

    #[test]
    fn a_name_with_a_nought_in_it_is_no_device() {
        let error = Alsa::open(Some("hw\0:0"), 256).unwrap_err().to_string();
        assert!(error.starts_with("ALSA cannot open its device `hw\0:0`: "), "{error}");
    }
}
