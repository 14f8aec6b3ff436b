//! A client of a JACK server, through the server's own library.

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::JackError;
use crate::output::device::{CHANNELS, Counters};
use crate::output::library::{LibraryError, functions};
use crate::output::realtime::Scheduling;

/// The name under which the server and patch bays know this client.
const CLIENT_NAME: &CStr = c"roundelay";

const PORT_NAMES: [&CStr; CHANNELS] = [c"left", c"right"];

/// The type of audio ports: 32-bit floating point, one channel.
const AUDIO: &CStr = c"32 bit float mono audio";

// From jack/types.h.
const NO_START_SERVER: c_int = 0x01;
const PORT_IS_INPUT: c_ulong = 0x1;
const PORT_IS_OUTPUT: c_ulong = 0x2;
const PORT_IS_PHYSICAL: c_ulong = 0x4;
const STATUS_VERSION_ERROR: c_int = 0x400;

enum RawClient {}
enum RawPort {}

type OnProcess = extern "C" fn(u32, *mut c_void) -> c_int;
type OnXrun = extern "C" fn(*mut c_void) -> c_int;
type OnShutdown = extern "C" fn(*mut c_void);
type OnMessage = extern "C" fn(*const c_char);

functions! {
    /// What is used of libjack.
    Libjack of "libjack.so.0" {
        jack_activate: unsafe extern "C" fn(*mut RawClient) -> c_int,
        jack_client_close: unsafe extern "C" fn(*mut RawClient) -> c_int,
        jack_client_open: unsafe extern "C" fn(*const c_char, c_int, *mut c_int, ...) -> *mut RawClient,
        jack_client_thread_id: unsafe extern "C" fn(*mut RawClient) -> libc::pthread_t,
        jack_connect: unsafe extern "C" fn(*mut RawClient, *const c_char, *const c_char) -> c_int,
        jack_free: unsafe extern "C" fn(*mut c_void),
        jack_get_buffer_size: unsafe extern "C" fn(*mut RawClient) -> u32,
        jack_get_ports: unsafe extern "C" fn(*mut RawClient, *const c_char, *const c_char, c_ulong) -> *mut *const c_char,
        jack_get_sample_rate: unsafe extern "C" fn(*mut RawClient) -> u32,
        jack_on_shutdown: unsafe extern "C" fn(*mut RawClient, OnShutdown, *mut c_void),
        jack_port_get_buffer: unsafe extern "C" fn(*mut RawPort, u32) -> *mut c_void,
        jack_port_name: unsafe extern "C" fn(*const RawPort) -> *const c_char,
        jack_port_register: unsafe extern "C" fn(*mut RawClient, *const c_char, *const c_char, c_ulong, c_ulong) -> *mut RawPort,
        jack_set_error_function: unsafe extern "C" fn(OnMessage),
        jack_set_info_function: unsafe extern "C" fn(OnMessage),
        jack_set_process_callback: unsafe extern "C" fn(*mut RawClient, OnProcess, *mut c_void) -> c_int,
        jack_set_xrun_callback: unsafe extern "C" fn(*mut RawClient, OnXrun, *mut c_void) -> c_int,
    }
}

/// The library, loaded once.
fn libjack() -> Result<&'static Libjack, LibraryError> {
    static LIBJACK: OnceLock<Result<Libjack, LibraryError>> = OnceLock::new();
    let load = || {
        let libjack = Libjack::load()?;
        // What it has to say it would print in the middle of our status.
        // SAFETY: the library only keeps the pointer, and the function lives as long as the program.
        unsafe { (libjack.jack_set_error_function)(ignore) };
        // SAFETY: as above.
        unsafe { (libjack.jack_set_info_function)(ignore) };
        Ok(libjack)
    };
    LIBJACK.get_or_init(load).as_ref().map_err(Clone::clone)
}

extern "C" fn ignore(_: *const c_char) {}

/// What the server calls once a period.
pub(super) trait Process: Send {
    /// Fills both channels, which are of the same length.
    ///
    /// # Real-time
    /// Is to be wait-free: called from the server's real-time thread.
    fn process(&mut self, channels: [&mut [f32]; CHANNELS]);
}

/// What the server's other calls leave behind.
#[derive(Debug)]
struct Signals {
    gone: AtomicBool,
    counters: Arc<Counters>,
}

/// A client with two ports that is not called yet.
#[derive(Debug)]
pub(super) struct Client {
    libjack: &'static Libjack,
    raw: NonNull<RawClient>,
    ports: [NonNull<RawPort>; CHANNELS],
    signals: Arc<Signals>,
}

// SAFETY: libjack's functions may be called from any thread; a client is bound to none.
unsafe impl Send for Client {}

impl Client {
    /// Opens a client of a server that is running, and registers its ports.
    pub(super) fn open(counters: Arc<Counters>) -> Result<Self, JackError> {
        let libjack = libjack()?;
        let mut status = 0;
        // SAFETY: both pointers are good for the call; with this option, no further arguments are looked at.
        let raw = unsafe { (libjack.jack_client_open)(CLIENT_NAME.as_ptr(), NO_START_SERVER, &raw mut status) };
        let raw = NonNull::new(raw).ok_or(match status & STATUS_VERSION_ERROR {
            0 => JackError::NoServer,
            _ => JackError::OtherVersion,
        })?;
        let signals = Arc::new(Signals { gone: AtomicBool::new(false), counters });
        // Closed if anything fails below. It has no ports yet, and nobody asks for any.
        let mut client = Self { libjack, raw, ports: [NonNull::dangling(); CHANNELS], signals };
        for (port, name) in client.ports.iter_mut().zip(PORT_NAMES) {
            // SAFETY: the client is open; the strings are constants; a size of 0 is the one to give for audio.
            let raw =
                unsafe { (libjack.jack_port_register)(raw.as_ptr(), name.as_ptr(), AUDIO.as_ptr(), PORT_IS_OUTPUT, 0) };
            *port = NonNull::new(raw).ok_or(JackError::Refused { doing: "register a port" })?;
        }
        let signals = Arc::as_ptr(&client.signals).cast_mut().cast();
        // SAFETY: the client is open and not active; the signals live until it is closed, since it drops them after.
        unsafe { (libjack.jack_on_shutdown)(raw.as_ptr(), on_shutdown, signals) };
        // SAFETY: as above.
        let code = unsafe { (libjack.jack_set_xrun_callback)(raw.as_ptr(), on_xrun, signals) };
        if code != 0 {
            return Err(JackError::Refused { doing: "count xruns" });
        }
        Ok(client)
    }

    /// Frames a second, as the server has it now.
    pub(super) fn rate_hz(&self) -> u32 {
        // SAFETY: the client is open.
        unsafe { (self.libjack.jack_get_sample_rate)(self.raw.as_ptr()) }
    }

    /// Frames in a period, as the server has it now.
    pub(super) fn period_frames(&self) -> usize {
        // SAFETY: the client is open.
        unsafe { (self.libjack.jack_get_buffer_size)(self.raw.as_ptr()) as usize }
    }

    /// Whether the server has gone, or has thrown this client out.
    pub(super) fn is_gone(&self) -> bool {
        // Relaxed: the flag goes with no other memory.
        self.signals.gone.load(Relaxed)
    }

    /// The names of ports that play, in the server's order: all of them, or the hardware's.
    pub(super) fn playback_ports(&self, only_physical: bool) -> Vec<CString> {
        let flags = if only_physical { PORT_IS_INPUT | PORT_IS_PHYSICAL } else { PORT_IS_INPUT };
        // SAFETY: the client is open; no pattern for the names means all of them.
        let names = unsafe { (self.libjack.jack_get_ports)(self.raw.as_ptr(), ptr::null(), AUDIO.as_ptr(), flags) };
        if names.is_null() {
            return Vec::new();
        }
        let mut owned = Vec::new();
        loop {
            // SAFETY: the array ends with a null, at which this loop ends; `owned.len()` entries came before.
            let entry = unsafe { names.add(owned.len()) };
            // SAFETY: see above.
            let name = unsafe { *entry };
            if name.is_null() {
                break;
            }
            // SAFETY: each entry is a string that ends with a nought, and lives until the array is freed, below.
            owned.push(unsafe { CStr::from_ptr(name) }.to_owned());
        }
        // SAFETY: the array came from `jack_get_ports`, and nothing points into it any more.
        unsafe { (self.libjack.jack_free)(names.cast()) };
        owned
    }

    /// Has the server call `process`; hands it back if the server will not.
    pub(super) fn activate<P: Process>(self, process: P) -> Result<ActiveClient<P>, (P, JackError)> {
        let (raw, libjack) = (self.raw.as_ptr(), self.libjack);
        let context = Context { process, ports: self.ports, get_buffer: libjack.jack_port_get_buffer };
        let active = ActiveClient { client: self, context: Box::into_raw(Box::new(context)) };
        // SAFETY: the client is open and not active; the context lives until it is closed, by `ActiveClient::close`.
        let code = unsafe { (libjack.jack_set_process_callback)(raw, on_process::<P>, active.context.cast()) };
        if code != 0 {
            return Err((active.close(), JackError::Refused { doing: "take a callback" }));
        }
        // SAFETY: the client is open.
        let code = unsafe { (libjack.jack_activate)(raw) };
        if code != 0 {
            return Err((active.close(), JackError::Refused { doing: "start to call back" }));
        }
        Ok(active)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the client is open, and nobody has it after this. Its threads have ended when this returns.
        unsafe { (self.libjack.jack_client_close)(self.raw.as_ptr()) };
    }
}

/// What the process callback works on; while the client is active, only that touches it.
struct Context<P> {
    process: P,
    ports: [NonNull<RawPort>; CHANNELS],
    get_buffer: unsafe extern "C" fn(*mut RawPort, u32) -> *mut c_void,
}

/// A client that the server calls.
pub(super) struct ActiveClient<P> {
    client: Client,
    /// From a `Box`, which `close` makes of it again.
    context: *mut Context<P>,
}

// SAFETY: the context is touched by the client's own thread, and by `close`, after that thread has ended; `P`, which
// moves there and back, is `Send`, as `Client` is.
unsafe impl<P: Process> Send for ActiveClient<P> {}

impl<P: Process> ActiveClient<P> {
    /// The client.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Connects the ports with those named, one by one.
    pub(super) fn connect(&self, targets: &[CString]) -> Result<(), JackError> {
        let Client { libjack, raw, ports, .. } = &self.client;
        for (port, target) in ports.iter().zip(targets) {
            // SAFETY: the port was registered with the client, which is open.
            let source = unsafe { (libjack.jack_port_name)(port.as_ptr()) };
            // SAFETY: the client is open; both names are strings that end with a nought. Of a port that is no more, the
            // name is null, which the library looks for.
            let code = unsafe { (libjack.jack_connect)(raw.as_ptr(), source, target.as_ptr()) };
            if code != 0 && code != libc::EEXIST {
                return Err(JackError::Refused { doing: "connect the ports" });
            }
        }
        Ok(())
    }

    /// How the thread that calls back is scheduled.
    pub(super) fn scheduling(&self) -> Scheduling {
        let unknown = || Scheduling::Unknown { why: "the JACK server does not say how it calls" };
        // SAFETY: the client is open.
        let thread = unsafe { (self.client.libjack.jack_client_thread_id)(self.client.raw.as_ptr()) };
        if thread == 0 || self.client.is_gone() {
            return unknown();
        }
        let mut policy = 0;
        let mut parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: both pointers are good for the call. The thread was named by the client, which joins it when it is
        // closed and not before.
        let code = unsafe { libc::pthread_getschedparam(thread, &raw mut policy, &raw mut parameters) };
        let priority = parameters.sched_priority;
        match policy & !libc::SCHED_RESET_ON_FORK {
            _ if code != 0 => unknown(),
            libc::SCHED_FIFO => Scheduling::Fifo { priority },
            libc::SCHED_RR => Scheduling::RoundRobin { priority },
            _ => Scheduling::Refused { reason: "the JACK server runs without it".to_owned() },
        }
    }

    /// Ends the calls, and hands back what was called.
    pub(super) fn close(self) -> P {
        let Self { client, context } = self;
        drop(client);
        // SAFETY: from `Box::into_raw` in `activate`; the thread that called `on_process` has ended with the client.
        let context = unsafe { Box::from_raw(context) };
        context.process
    }
}

/// # Real-time
/// Wait-free as far as `P` is; the library's part of it looks up two addresses.
extern "C" fn on_process<P: Process>(frames: u32, context: *mut c_void) -> c_int {
    // SAFETY: the context that `activate` gave, which lives until the client is closed. One thread calls, and nobody else
    // touches it.
    let context = unsafe { &mut *context.cast::<Context<P>>() };
    let [left, right] = context.ports.map(|port| {
        // SAFETY: the port was registered with this client; this is its process callback, of so many frames.
        unsafe { (context.get_buffer)(port.as_ptr(), frames) }.cast::<f32>()
    });
    if left.is_null() || right.is_null() {
        return 0;
    }
    // SAFETY: `frames` samples, good until this callback returns; of an output port, which has a buffer of its own.
    let left = unsafe { slice::from_raw_parts_mut(left, frames as usize) };
    // SAFETY: as above, and of another port.
    let right = unsafe { slice::from_raw_parts_mut(right, frames as usize) };
    context.process.process([left, right]);
    0
}

extern "C" fn on_xrun(signals: *mut c_void) -> c_int {
    // SAFETY: the signals that `Client::open` gave, which live until the client is closed; they are shared, and atomic.
    let signals = unsafe { &*signals.cast::<Signals>() };
    signals.counters.add_xrun();
    0
}

/// May come as a signal handler would, so there is nothing in it but a flag.
extern "C" fn on_shutdown(signals: *mut c_void) {
    // SAFETY: as in `on_xrun`.
    let signals = unsafe { &*signals.cast::<Signals>() };
    // Relaxed: see `Client::is_gone`.
    signals.gone.store(true, Relaxed);
}
