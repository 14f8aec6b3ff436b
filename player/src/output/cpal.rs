//! The sound system of macOS, Windows and others, through `cpal`: it calls once a period, from a thread of the system's.
//!
//! A device that goes away takes its stream along. The session comes out of that as it is dropped, and goes into the
//! next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, ErrorKind, SampleFormat, Stream, StreamConfig, SupportedBufferSize, SupportedStreamConfigRange,
};

use super::device::{CHANNELS, Counters, Device, DeviceState, RETRY};
use super::realtime::Scheduling;
use super::{OutputError, Session, is_over};

/// The callback wakes nobody, so its thread's flags are looked at this often.
const WATCH: Duration = Duration::from_millis(250);

/// The rates that are asked for, the most usual one first.
const RATES_HZ: [u32; 2] = [48_000, 44_100];

/// A device, and how it is to be run.
#[derive(Debug)]
pub(super) struct Cpal {
    config: StreamConfig,
    /// Its name, if it was asked for by that.
    wanted: Option<String>,
    name: String,
    counters: Arc<Counters>,
}

impl Cpal {
    /// Finds a device that takes floating-point samples of two channels.
    pub(super) fn open(wanted: Option<&str>, period_frames: usize) -> Result<Self, OutputError> {
        let device = find(wanted)?;
        let name = name(&device);
        let refuse = |reason: String| OutputError::System { device: name.clone(), reason };
        let ranges: Vec<_> = device.supported_output_configs().map_err(|error| refuse(error.to_string()))?.collect();
        let fits = |range: &SupportedStreamConfigRange| {
            usize::from(range.channels()) == CHANNELS && range.sample_format() == SampleFormat::F32
        };
        let with_rate =
            |rate_hz| ranges.iter().filter(|range| fits(range)).find_map(|r| r.try_with_sample_rate(rate_hz));
        let supported = RATES_HZ.into_iter().find_map(with_rate);
        let supported = supported.ok_or_else(|| refuse("it takes no two channels of floating point".to_owned()))?;
        let mut config = supported.config();
        let mut frames = period_frames;
        if let SupportedBufferSize::Range { min, max } = *supported.buffer_size() {
            let nearest = u32::try_from(period_frames).unwrap_or(u32::MAX).max(min).min(max);
            config.buffer_size = BufferSize::Fixed(nearest);
            frames = nearest as usize;
        }
        let counters = Arc::<Counters>::default();
        counters.set_pace(config.sample_rate, frames);
        Ok(Self { config, wanted: wanted.map(str::to_owned), name, counters })
    }
}

fn find(wanted: Option<&str>) -> Result<cpal::Device, OutputError> {
    let host = cpal::default_host();
    let refuse = |reason: String| OutputError::System { device: wanted.unwrap_or("default").to_owned(), reason };
    let Some(wanted) = wanted else {
        return host.default_output_device().ok_or_else(|| refuse("there is none".to_owned()));
    };
    let devices: Vec<_> = host.output_devices().map_err(|error| refuse(error.to_string()))?.collect();
    let names: Vec<_> = devices.iter().map(name).collect();
    let found = devices.into_iter().find(|device| name(device) == wanted);
    found.ok_or_else(|| refuse(format!("there are only: {}", names.join(", "))))
}

fn name(device: &cpal::Device) -> String {
    device.description().map_or_else(|_| "unnamed".to_owned(), |description| description.name().to_owned())
}

impl Device for Cpal {
    fn name(&self) -> &'static str {
        "cpal"
    }

    fn describe(&self) -> String {
        let period_frames = self.counters.period_frames();
        format!("`{}` at {} Hz, in periods of {period_frames} frames", self.name, self.config.sample_rate)
    }

    fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    fn play(
        self: Box<Self>,
        mut session: Session,
        changed: &mut dyn FnMut(DeviceState),
    ) -> Result<Scheduling, OutputError> {
        let stop = session.stop.clone();
        let flags = Arc::<Flags>::default();
        // Relaxed, all of them: flags that go with no other memory.
        let is_over = || stop.load(Relaxed) || flags.ended.load(Relaxed);
        let scheduling = Scheduling::Unknown { why: "the system has threads of its own for that" };
        let mut is_playing = true;
        loop {
            flags.gone.store(false, Relaxed);
            let (back, returned) = mpsc::channel();
            let player = Player { session: Some(session), flags: flags.clone(), back };
            let started = self.start(player);
            if started.is_ok() && !is_playing {
                changed(DeviceState::Playing);
                is_playing = true;
            }
            while started.is_ok() && !is_over() && !flags.gone.load(Relaxed) {
                thread::park_timeout(WATCH);
            }
            let why = started.as_ref().err().map_or_else(|| "it has gone".to_owned(), ToString::to_string);
            drop(started);
            session = match wait_for(&returned) {
                Some(session) if !is_over() => session,
                _ => return Ok(scheduling),
            };
            if is_playing {
                self.counters.add_stop();
                changed(DeviceState::Stopped { why: format!("`{}` has stopped: {why}", self.name) });
                is_playing = false;
            }
            thread::park_timeout(RETRY);
            if is_over() {
                return Ok(scheduling);
            }
        }
    }
}

/// The session, once the system has let go of the stream.
fn wait_for(returned: &Receiver<Session>) -> Option<Session> {
    returned.recv_timeout(RETRY).ok()
}

impl Cpal {
    fn start(&self, mut player: Player) -> Result<Stream, OutputError> {
        let device = find(self.wanted.as_deref())?;
        let (flags, counters) = (player.flags.clone(), self.counters.clone());
        let refuse = |error: cpal::Error| OutputError::System { device: self.name.clone(), reason: error.to_string() };
        let on_error = move |error: cpal::Error| match error.kind() {
            ErrorKind::Xrun => counters.add_xrun(),
            // Neither ends the stream.
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
            _ => flags.gone.store(true, Relaxed),
        };
        let on_period = move |samples: &mut [f32], _: &cpal::OutputCallbackInfo| player.play(samples);
        let stream = device.build_output_stream(self.config, on_period, on_error, None).map_err(refuse)?;
        stream.play().map_err(refuse)?;
        Ok(stream)
    }
}

/// What the callback and the thread that watches it tell each other.
#[derive(Debug, Default)]
struct Flags {
    ended: AtomicBool,
    gone: AtomicBool,
}

/// What is called.
struct Player {
    /// Until it is dropped.
    session: Option<Session>,
    flags: Arc<Flags>,
    back: Sender<Session>,
}

impl Player {
    /// # Real-time
    /// Wait-free. Never allocates, frees or locks.
    fn play(&mut self, samples: &mut [f32]) {
        let Some(session) = &mut self.session else { return };
        session.period_frames = samples.len() / CHANNELS;
        let frames = session.frames_due();
        let (due, rest) = samples.split_at_mut(frames * CHANNELS);
        rest.fill(0.0);
        if frames == 0 || is_over(session.callback.fill(due)) {
            self.flags.ended.store(true, Relaxed);
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // An error says that nobody wants it back.
            let _ = self.back.send(session);
        }
    }
}
