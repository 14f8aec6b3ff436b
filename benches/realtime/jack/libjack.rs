//! What is used of JACK's library, which is loaded when it is needed.

use super::Unavailable;
use crate::{
    realtime::{
        paced::Scheduling,
        pipes::{CHANNELS, duration},
        session::Session,
    },
    report::machine::now,
};
use libloading::Library;
use std::{
    cell::UnsafeCell,
    ffi::{CStr, CString, c_char, c_int, c_ulong, c_void},
    ptr::NonNull,
    slice,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
    thread,
    time::{Duration, Instant},
};

// From jack/types.h.
const NO_START_SERVER: c_int = 0x01;
const SERVER_NAME: c_int = 0x04;
const PORT_IS_OUTPUT: c_ulong = 0x2;
const AUDIO: &CStr = c"32 bit float mono audio";

enum RawClient {}
enum RawPort {}

macro_rules! functions {
    ($($function:ident: $signature:ty,)*) => {
        struct Libjack {
            $($function: $signature,)*
        }

        impl Libjack {
            fn load() -> Result<Self, String> {
                // SAFETY: the file is JACK's library, by the name under which systems install it; what it runs when it
                // is loaded sets up its own state.
                let library = unsafe { Library::new("libjack.so.0") }.map_err(|error| error.to_string())?;
                // Its threads may run longer than anybody here uses it.
                let library: &'static Library = Box::leak(Box::new(library));
                Ok(Self {
                    $($function: {
                        // SAFETY: the signatures below are those of jack/jack.h.
                        let function = unsafe { library.get::<$signature>(stringify!($function).as_bytes()) };
                        *function.map_err(|error| error.to_string())?
                    },)*
                })
            }
        }
    };
}

functions! {
    jack_activate: unsafe extern "C" fn(*mut RawClient) -> c_int,
    jack_client_close: unsafe extern "C" fn(*mut RawClient) -> c_int,
    jack_client_open: unsafe extern "C" fn(*const c_char, c_int, *mut c_int, ...) -> *mut RawClient,
    jack_connect: unsafe extern "C" fn(*mut RawClient, *const c_char, *const c_char) -> c_int,
    jack_port_get_buffer: unsafe extern "C" fn(*mut RawPort, u32) -> *mut c_void,
    jack_port_name: unsafe extern "C" fn(*const RawPort) -> *const c_char,
    jack_port_register: unsafe extern "C" fn(*mut RawClient, *const c_char, *const c_char, c_ulong, c_ulong) -> *mut RawPort,
    jack_set_error_function: unsafe extern "C" fn(extern "C" fn(*const c_char)),
    jack_set_info_function: unsafe extern "C" fn(extern "C" fn(*const c_char)),
    jack_set_process_callback: unsafe extern "C" fn(*mut RawClient, extern "C" fn(u32, *mut c_void) -> c_int, *mut c_void) -> c_int,
    jack_set_xrun_callback: unsafe extern "C" fn(*mut RawClient, extern "C" fn(*mut c_void) -> c_int, *mut c_void) -> c_int,
}

/// The library, loaded once.
fn libjack() -> Result<&'static Libjack, Unavailable> {
    extern "C" fn ignore(_: *const c_char) {}
    static LIBJACK: OnceLock<Result<Libjack, String>> = OnceLock::new();
    let load = || {
        let libjack = Libjack::load()?;
        // What it has to say it would print in the middle of a table.
        // SAFETY: the library only keeps the pointer, and the function lives as long as the program.
        unsafe { (libjack.jack_set_error_function)(ignore) };
        // SAFETY: as above.
        unsafe { (libjack.jack_set_info_function)(ignore) };
        Ok(libjack)
    };
    LIBJACK.get_or_init(load).as_ref().map_err(|_| Unavailable::NotInstalled("libjack.so.0"))
}

/// A client with two ports that is not called yet; leaves when this is dropped.
pub struct Client {
    libjack: &'static Libjack,
    raw: NonNull<RawClient>,
    ports: [NonNull<RawPort>; CHANNELS],
}

/// What came of it.
pub struct Played {
    pub session: Session,
    pub scheduling: Scheduling,
    /// How often the server says that a period was not played in time.
    pub xruns: u64,
}

fn refused(what: &str) -> Unavailable {
    Unavailable::Unusable(format!("the JACK server refuses {what}"))
}

impl Client {
    pub fn open(server: &str) -> Result<Self, Unavailable> {
        let libjack = libjack()?;
        let server = CString::new(server).expect("a name of ours");
        let mut status = 0;
        let (options, name) = (NO_START_SERVER | SERVER_NAME, c"roundelay");
        // SAFETY: all pointers are good for the call; with these options one more argument is looked at, the server's name.
        let raw = unsafe { (libjack.jack_client_open)(name.as_ptr(), options, &raw mut status, server.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| refused("a client"))?;
        let mut client = Self { libjack, raw, ports: [NonNull::dangling(); CHANNELS] };
        for (port, name) in client.ports.iter_mut().zip([c"left", c"right"]) {
            // SAFETY: the client is open; the strings are constants; a size of 0 is the one to give for audio.
            let raw =
                unsafe { (libjack.jack_port_register)(raw.as_ptr(), name.as_ptr(), AUDIO.as_ptr(), PORT_IS_OUTPUT, 0) };
            *port = NonNull::new(raw).ok_or_else(|| refused("a port"))?;
        }
        Ok(client)
    }

    /// Has the server call the session until it is over.
    pub fn play(self, session: Session, at_most: Duration) -> Result<Played, Unavailable> {
        let context = Box::new(Context {
            libjack: self.libjack,
            ports: self.ports,
            over: AtomicBool::new(false),
            xruns: AtomicU64::new(0),
            playing: UnsafeCell::new(Playing { session, scheduling: None, last: None }),
        });
        let started = self.start(&context);
        let deadline = Instant::now() + at_most;
        // [over] Acquire: pairs with the Release in `on_process`.
        while started.is_ok() && !context.over.load(Acquire) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        // Before the context goes: the threads that use it have ended when this returns.
        drop(self);
        started?;
        let xruns = context.xruns.load(Relaxed);
        let Playing { session, scheduling, .. } = context.playing.into_inner();
        if !session.is_over() {
            return Err(Unavailable::Unusable("the JACK server stopped calling".to_owned()));
        }
        let scheduling = scheduling.unwrap_or(Scheduling::Ordinary { refused: None });
        Ok(Played { session, scheduling, xruns })
    }

    /// The context has to live until the client is closed.
    fn start(&self, context: &Context) -> Result<(), Unavailable> {
        let (libjack, raw) = (self.libjack, self.raw.as_ptr());
        let pointer = (&raw const *context).cast_mut().cast();
        // SAFETY: the client is open and not active; its callbacks take the context for shared.
        if unsafe { (libjack.jack_set_process_callback)(raw, on_process, pointer) } != 0 {
            return Err(refused("a callback"));
        }
        // SAFETY: as above.
        if unsafe { (libjack.jack_set_xrun_callback)(raw, on_xrun, pointer) } != 0 {
            return Err(refused("to count xruns"));
        }
        // SAFETY: the client is open.
        if unsafe { (libjack.jack_activate)(raw) } != 0 {
            return Err(refused("to call"));
        }
        for (port, target) in self.ports.iter().zip([c"system:playback_1", c"system:playback_2"]) {
            // SAFETY: the port was registered with the client, which is open.
            let name = unsafe { (libjack.jack_port_name)(port.as_ptr()) };
            // SAFETY: the client is open; both names are strings that end with a nought.
            if unsafe { (libjack.jack_connect)(raw, name, target.as_ptr()) } != 0 {
                return Err(refused("a connection"));
            }
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the client is open, and nobody has it after this.
        unsafe { (self.libjack.jack_client_close)(self.raw.as_ptr()) };
    }
}

/// What the callbacks work on.
struct Context {
    libjack: &'static Libjack,
    ports: [NonNull<RawPort>; CHANNELS],
    over: AtomicBool,
    xruns: AtomicU64,
    /// Only the process callback touches it, until the client is closed.
    playing: UnsafeCell<Playing>,
}

struct Playing {
    session: Session,
    scheduling: Option<Scheduling>,
    /// When the last call began.
    last: Option<u64>,
}

extern "C" fn on_process(frames: u32, context: *mut c_void) -> c_int {
    // SAFETY: the context that `play` gave, which lives until the client is closed; it is shared with `on_xrun`.
    let context = unsafe { &*context.cast::<Context>() };
    // SAFETY: one thread calls this, and nobody else touches it before the client is closed.
    let playing = unsafe { &mut *context.playing.get() };
    let libjack = context.libjack;
    let outputs = context.ports.map(|port| {
        // SAFETY: the port was registered with this client; this is its process callback, of so many frames.
        let buffer = unsafe { (libjack.jack_port_get_buffer)(port.as_ptr(), frames) };
        // SAFETY: `frames` samples, good until this callback returns, and no other port's.
        unsafe { slice::from_raw_parts_mut(buffer.cast::<f32>(), frames as usize) }
    });
    if playing.session.is_over() || playing.session.out.len() != frames as usize * CHANNELS {
        outputs.into_iter().for_each(|output| output.fill(0.0));
        return 0;
    }
    // A system call, but the first calls are not counted.
    playing.scheduling.get_or_insert_with(Scheduling::current);
    let began = now();
    let period = duration(frames as usize).as_nanos() as u64;
    // When the period began the server only says through a filter. Between two calls there should be one period.
    let late = began.saturating_sub(playing.last.unwrap_or(began) + period);
    playing.last = Some(began);
    playing.session.call(late, || now() > began + period);
    for (channel, output) in outputs.into_iter().enumerate() {
        for (to, from) in output.iter_mut().zip(playing.session.out.chunks_exact(CHANNELS)) {
            *to = from[channel];
        }
    }
    if playing.session.is_over() {
        // [over] Release: pairs with the Acquire in `play`.
        context.over.store(true, Release);
    }
    0
}

extern "C" fn on_xrun(context: *mut c_void) -> c_int {
    // SAFETY: the context that `play` gave, which lives until the client is closed.
    let context = unsafe { &*context.cast::<Context>() };
    // Relaxed: a count, read after the client is closed.
    context.xruns.fetch_add(1, Relaxed);
    0
}
