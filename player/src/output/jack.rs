//! A JACK server: it calls once a period, from a real-time thread of its own, with a buffer for each channel.
//!
//! The server may go at any time, and come back. Then the client is of no use any more; a new one is opened as soon as a
//! server answers, and the callback moves there, with all that it has yet to play.

mod libjack;

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::device::{CHANNELS, Counters, Device, DeviceState, RETRY};
use super::library::LibraryError;
use super::realtime::Scheduling;
use super::{OutputError, Session};
use libjack::{ActiveClient, Client, Process};

/// The callback wakes nobody, so its thread's flags are looked at this often.
const WATCH: Duration = Duration::from_millis(500);

/// So long a server has to let a client go.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why JACK does not play.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JackError {
    /// There is no JACK here.
    #[error("no JACK server answers ({0})")]
    NoLibrary(#[from] LibraryError),
    /// JACK is installed, and not running.
    #[error("no JACK server answers (none is running, or it is another user's)")]
    NoServer,
    /// The library is not the server's.
    #[error("no JACK server answers (the one that runs is of another version than libjack.so.0)")]
    OtherVersion,
    /// No port of that name.
    #[error("JACK has no playback port whose name begins with `{device}`; there are: {there}")]
    NoPort {
        /// What was asked for.
        device: String,
        /// What there is.
        there: String,
    },
    /// The server will not.
    #[error("the JACK server would not {doing}")]
    Refused {
        /// What was asked of it.
        doing: &'static str,
    },
    /// The server came back different.
    #[error("the JACK server came back at {now_hz} Hz, after {before_hz} Hz; start the player again")]
    RateChanged {
        /// What it was.
        before_hz: u32,
        /// What it is.
        now_hz: u32,
    },
}

/// A client of a JACK server, open, and not playing yet.
#[derive(Debug)]
pub(super) struct Jack {
    client: Client,
    /// The beginning of the names of the ports to play to, if not the hardware's.
    device: Option<String>,
    targets: Vec<CString>,
    counters: Arc<Counters>,
}

impl Jack {
    /// Becomes a client of the server, if there is one, and looks for the ports to play to.
    pub(super) fn open(device: Option<&str>) -> Result<Self, JackError> {
        let counters = Arc::<Counters>::default();
        let client = Client::open(counters.clone())?;
        let targets = targets(&client, device)?;
        counters.set_pace(client.rate_hz(), client.period_frames());
        Ok(Self { client, device: device.map(str::to_owned), targets, counters })
    }
}

/// The ports to play to, one for each channel; fewer, or none, if the hardware has no more.
fn targets(client: &Client, device: Option<&str>) -> Result<Vec<CString>, JackError> {
    let Some(device) = device else {
        return Ok(client.playback_ports(true).into_iter().take(CHANNELS).collect());
    };
    let all = client.playback_ports(false);
    let begins = |name: &CString| name.as_bytes().starts_with(device.as_bytes());
    let chosen: Vec<_> = all.iter().filter(|name| begins(name)).take(CHANNELS).cloned().collect();
    if chosen.is_empty() {
        return Err(JackError::NoPort { device: device.to_owned(), there: list(&all) });
    }
    Ok(chosen)
}

fn list(names: &[CString]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ")
}

impl Device for Jack {
    fn name(&self) -> &'static str {
        "jack"
    }

    fn describe(&self) -> String {
        let (rate_hz, period_frames) = (self.client.rate_hz(), self.client.period_frames());
        format!("JACK at {rate_hz} Hz, in periods of {period_frames} frames, to {}", list(&self.targets))
    }

    fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    fn play(
        self: Box<Self>,
        mut session: Session,
        changed: &mut dyn FnMut(DeviceState),
    ) -> Result<Scheduling, OutputError> {
        let Self { mut client, device, counters, .. } = *self;
        let (stop, ended) = (session.stop.clone(), Arc::<AtomicBool>::default());
        // Relaxed, both: flags that go with no other memory.
        let is_over = || stop.load(Relaxed) || ended.load(Relaxed);
        let rate_hz = session.format.rate_hz;
        let mut scheduling = Scheduling::Unknown { why: "the JACK server never called" };
        loop {
            let connected = Arc::<AtomicBool>::default();
            let player = Player { session, connected: connected.clone(), ended: ended.clone() };
            let why = match client.activate(player) {
                Ok(active) => {
                    let why = watch(&active, device.as_deref(), &counters, &connected, &is_over, &mut scheduling);
                    if is_over() {
                        leave(active);
                        return Ok(scheduling);
                    }
                    session = active.close().session;
                    why
                }
                Err((player, error)) => {
                    session = player.session;
                    error.to_string()
                }
            };
            if is_over() {
                return Ok(scheduling);
            }
            counters.add_stop();
            changed(DeviceState::Stopped { why });
            match wait_for_server(device.as_deref(), rate_hz, &counters, &is_over)? {
                Some(back) => client = back,
                None => return Ok(scheduling),
            }
            changed(DeviceState::Playing);
        }
    }
}

/// Keeps the figures up until there is nothing more to play, or the server is of no more use; says why.
fn watch(
    active: &ActiveClient<Player>,
    device: Option<&str>,
    counters: &Counters,
    heard: &AtomicBool,
    is_over: &impl Fn() -> bool,
    scheduling: &mut Scheduling,
) -> String {
    let client = active.client();
    let rate_hz = client.rate_hz();
    let mut connected = false;
    let began = Instant::now();
    loop {
        // A server that has only just come back may have its ports a moment later.
        if !connected {
            let targets = targets(client, device).unwrap_or_default();
            connected = !targets.is_empty() && active.connect(&targets).is_ok();
            // Relaxed: a flag that goes with no other memory. Some servers have no ports to play to, and somebody else
            // connects ours, or nobody.
            heard.store(connected || began.elapsed() > PATIENCE, Relaxed);
        }
        if !is_over() {
            thread::park_timeout(WATCH);
        }
        if client.is_gone() {
            return "the JACK server has stopped".to_owned();
        }
        if client.rate_hz() != rate_hz {
            return "the JACK server has changed its rate".to_owned();
        }
        counters.set_pace(rate_hz, client.period_frames());
        *scheduling = active.scheduling();
        if is_over() {
            return String::new();
        }
    }
}

/// Leaves the server for good. One that hangs would hold up its clients, who are to answer the user.
fn leave(active: ActiveClient<Player>) {
    let (left, wait) = mpsc::channel::<()>();
    let close = move || {
        active.close();
        drop(left);
    };
    // Without a thread it is left to the system, when the program ends.
    if thread::Builder::new().name("leave JACK".into()).spawn(close).is_ok() {
        // Ends with an error in any case: when the other end is dropped, or after this time.
        let _ = wait.recv_timeout(PATIENCE);
    }
}

/// Asks for a server until one answers; `None` if there is nothing to be played any more.
fn wait_for_server(
    device: Option<&str>,
    rate_hz: u32,
    counters: &Arc<Counters>,
    is_over: &impl Fn() -> bool,
) -> Result<Option<Client>, JackError> {
    while !is_over() {
        // Opened anew, it counts where the one before did.
        if let Ok(client) = Client::open(counters.clone())
            && targets(&client, device).is_ok()
        {
            let now_hz = client.rate_hz();
            if now_hz != rate_hz {
                return Err(JackError::RateChanged { before_hz: rate_hz, now_hz });
            }
            return Ok(Some(client));
        }
        thread::park_timeout(RETRY);
    }
    Ok(None)
}

/// What is called.
struct Player {
    session: Session,
    /// Before that nobody hears what is played.
    connected: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Process for Player {
    /// # Real-time
    /// Wait-free. Never allocates, frees or locks.
    fn process(&mut self, mut channels: [&mut [f32]; CHANNELS]) {
        self.session.period_frames = channels[0].len();
        // Relaxed: see `watch`.
        if !self.connected.load(Relaxed) {
            for channel in &mut channels {
                channel.fill(0.0);
            }
            return;
        }
        let frames = self.session.frames_due();
        for channel in &mut channels {
            channel[frames..].fill(0.0);
        }
        let fill = self.session.callback.fill_planar(&mut channels.map(|channel| &mut channel[..frames]));
        if frames == 0 || super::is_over(fill) {
            // Relaxed: see `Jack::play`.
            self.ended.store(true, Relaxed);
        }
    }
}
