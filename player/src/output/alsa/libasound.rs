//! A playback device of ALSA, through the system's own library.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use crate::output::device::CHANNELS;
use crate::output::library::{LibraryError, functions};
use crate::output::wav::to_16_bits;

// From alsa/pcm.h.
const STREAM_PLAYBACK: c_int = 0;
const ACCESS_INTERLEAVED: c_int = 3;
const FORMAT_S16: c_int = if cfg!(target_endian = "little") { 2 } else { 3 };
const FORMAT_FLOAT: c_int = if cfg!(target_endian = "little") { 14 } else { 15 };

enum RawPcm {}

/// Called with more arguments than these, for its format.
type OnError = extern "C" fn(*const c_char, c_int, *const c_char, c_int, *const c_char);

functions! {
    /// What is used of libasound.
    Libasound of "libasound.so.2" {
        snd_lib_error_set_handler: unsafe extern "C" fn(OnError) -> c_int,
        snd_pcm_close: unsafe extern "C" fn(*mut RawPcm) -> c_int,
        snd_pcm_drain: unsafe extern "C" fn(*mut RawPcm) -> c_int,
        snd_pcm_get_params: unsafe extern "C" fn(*mut RawPcm, *mut c_ulong, *mut c_ulong) -> c_int,
        snd_pcm_open: unsafe extern "C" fn(*mut *mut RawPcm, *const c_char, c_int, c_int) -> c_int,
        snd_pcm_recover: unsafe extern "C" fn(*mut RawPcm, c_int, c_int) -> c_int,
        snd_pcm_set_params: unsafe extern "C" fn(*mut RawPcm, c_int, c_int, c_uint, c_uint, c_int, c_uint) -> c_int,
        snd_pcm_writei: unsafe extern "C" fn(*mut RawPcm, *const c_void, c_ulong) -> c_long,
        snd_strerror: unsafe extern "C" fn(c_int) -> *const c_char,
    }
}

/// The library, loaded once.
fn libasound() -> Result<&'static Libasound, LibraryError> {
    static LIBASOUND: OnceLock<Result<Libasound, LibraryError>> = OnceLock::new();
    let load = || {
        let libasound = Libasound::load()?;
        // What it has to say it would print in the middle of our status; the codes that it returns say enough.
        // SAFETY: the library only keeps the pointer, and the function lives as long as the program. The library calls it
        // as a function of variable arguments: on Linux, the only system with ALSA, those come after the five named ones,
        // in registers and stack that belong to the caller, and the function looks at none of them.
        unsafe { (libasound.snd_lib_error_set_handler)(ignore) };
        Ok(libasound)
    };
    LIBASOUND.get_or_init(load).as_ref().map_err(Clone::clone)
}

extern "C" fn ignore(_: *const c_char, _: c_int, _: *const c_char, _: c_int, _: *const c_char) {}

/// What the library returned in place of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(c_int);

impl Code {
    /// The buffer ran empty.
    pub(super) fn is_xrun(self) -> bool {
        self.0 == -libc::EPIPE
    }

    /// The library's words for it.
    pub(super) fn text(self) -> String {
        let Ok(libasound) = libasound() else { return format!("error {}", self.0) };
        // SAFETY: takes any number.
        let text = unsafe { (libasound.snd_strerror)(self.0) };
        if text.is_null() {
            return format!("error {}", self.0);
        }
        // SAFETY: a string that ends with a nought, and is copied before anybody asks for another.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

/// A result, if it is no error.
fn check(code: c_int) -> Result<(), Code> {
    if code < 0 { Err(Code(code)) } else { Ok(()) }
}

/// How a device is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setup {
    rate_hz: u32,
    format: c_int,
    /// Whether ALSA may put a resampler in between.
    resample: bool,
}

/// A device that is open, and has its parameters.
#[derive(Debug)]
pub(super) struct Pcm {
    libasound: &'static Libasound,
    raw: NonNull<RawPcm>,
    setup: Setup,
    buffer_frames: usize,
    period_frames: usize,
    /// Room for a period of 16-bit samples, if that is what the device takes.
    shorts: Vec<i16>,
}

// SAFETY: a device is bound to no thread, and every use of it takes `&mut`.
unsafe impl Send for Pcm {}

impl Pcm {
    /// Opens a device at the first of the rates that it has without a resampler, or else with one at the first of them.
    pub(super) fn open(device: &CStr, rates_hz: &[u32], period_frames: usize) -> Result<Self, OpenError> {
        let libasound = libasound()?;
        let mut raw = ptr::null_mut();
        // SAFETY: both pointers are good for the call.
        let code = unsafe { (libasound.snd_pcm_open)(&raw mut raw, device.as_ptr(), STREAM_PLAYBACK, 0) };
        check(code)?;
        let raw = NonNull::new(raw).ok_or(OpenError::Code(Code(-libc::ENODEV)))?;
        let as_it_is = rates_hz.iter().map(|&rate_hz| (rate_hz, false));
        let resampled = rates_hz.first().map(|&rate_hz| (rate_hz, true));
        let formats = [FORMAT_FLOAT, FORMAT_S16];
        let setups = as_it_is
            .chain(resampled)
            .flat_map(|(rate_hz, resample)| formats.map(|format| Setup { rate_hz, format, resample }));
        let setup = Setup { rate_hz: 0, format: FORMAT_FLOAT, resample: false };
        // Closed if anything fails below.
        let mut pcm = Self { libasound, raw, setup, buffer_frames: 0, period_frames: 0, shorts: Vec::new() };
        let mut refused = Code(-libc::EINVAL);
        for setup in setups {
            match pcm.set_up(setup, period_frames) {
                Ok(()) => return Ok(pcm),
                Err(code) => refused = code,
            }
        }
        Err(refused.into())
    }

    fn set_up(&mut self, setup: Setup, period_frames: usize) -> Result<(), Code> {
        let Setup { rate_hz, format, resample } = setup;
        // ALSA makes the period a quarter of that, if it can; rounded up, lest a frame be missing from it.
        let latency_us = (4 * period_frames as u64 * 1_000_000).div_ceil(rate_hz.max(1).into());
        let latency_us = c_uint::try_from(latency_us).unwrap_or(c_uint::MAX);
        // SAFETY: the device is open; all else are numbers.
        let code = unsafe {
            (self.libasound.snd_pcm_set_params)(
                self.raw.as_ptr(),
                format,
                ACCESS_INTERLEAVED,
                CHANNELS as c_uint,
                rate_hz,
                resample.into(),
                latency_us,
            )
        };
        check(code)?;
        let (mut buffer, mut period) = (0, 0);
        // SAFETY: the device is open, and both pointers are good for the call.
        let code = unsafe { (self.libasound.snd_pcm_get_params)(self.raw.as_ptr(), &raw mut buffer, &raw mut period) };
        check(code)?;
        // A device of no frames would never take any.
        if buffer == 0 || period == 0 {
            return Err(Code(-libc::EINVAL));
        }
        self.setup = setup;
        self.buffer_frames = usize::try_from(buffer).unwrap_or(usize::MAX);
        self.period_frames = usize::try_from(period).unwrap_or(usize::MAX).min(self.buffer_frames);
        self.shorts = if format == FORMAT_S16 { vec![0; self.period_frames * CHANNELS] } else { Vec::new() };
        Ok(())
    }

    /// Frames a second.
    pub(super) fn rate_hz(&self) -> u32 {
        self.setup.rate_hz
    }

    /// Frames that the device holds.
    pub(super) fn buffer_frames(&self) -> usize {
        self.buffer_frames
    }

    /// Frames that the device takes at once.
    pub(super) fn period_frames(&self) -> usize {
        self.period_frames
    }

    /// How the samples go to the device.
    pub(super) fn format(&self) -> &'static str {
        if self.setup.format == FORMAT_S16 { "16-bit" } else { "floating-point" }
    }

    /// Whether ALSA resamples what it is given.
    pub(super) fn is_resampled(&self) -> bool {
        self.setup.resample
    }

    /// Writes interleaved samples, at most a period, and returns how many frames of them the device took. Blocks until it
    /// has room.
    pub(super) fn write(&mut self, samples: &[f32]) -> Result<usize, Code> {
        let samples = &samples[..samples.len().min(self.period_frames * CHANNELS)];
        let data: *const c_void = if self.setup.format == FORMAT_S16 {
            for (short, &sample) in self.shorts.iter_mut().zip(samples) {
                *short = to_16_bits(sample);
            }
            self.shorts.as_ptr().cast()
        } else {
            samples.as_ptr().cast()
        };
        let frames = (samples.len() / CHANNELS) as c_ulong;
        // SAFETY: the device is open, and takes the samples at `data` as what they are: `shorts`, which holds a period and
        // so all of `samples`, was chosen by the same format that the device was given.
        let taken = unsafe { (self.libasound.snd_pcm_writei)(self.raw.as_ptr(), data, frames) };
        usize::try_from(taken).map_err(|_| Code(c_int::try_from(taken).unwrap_or(-libc::EIO)))
    }

    /// Makes the device ready again after an error, if it can be.
    pub(super) fn recover(&mut self, error: Code) -> Result<(), Code> {
        // SAFETY: the device is open; 1 is for silence on standard error.
        check(unsafe { (self.libasound.snd_pcm_recover)(self.raw.as_ptr(), error.0, 1) })
    }

    /// Blocks until all that was written is played.
    pub(super) fn drain(&mut self) {
        // An error says that there was nothing to wait for.
        // SAFETY: the device is open.
        let _ = unsafe { (self.libasound.snd_pcm_drain)(self.raw.as_ptr()) };
    }
}

impl Drop for Pcm {
    fn drop(&mut self) {
        // SAFETY: the device is open, and nobody has it after this.
        unsafe { (self.libasound.snd_pcm_close)(self.raw.as_ptr()) };
    }
}

/// Why a device is not open.
#[derive(Debug)]
pub(super) enum OpenError {
    /// There is no ALSA.
    Library(LibraryError),
    /// ALSA says no.
    Code(Code),
}

impl From<LibraryError> for OpenError {
    fn from(error: LibraryError) -> Self {
        Self::Library(error)
    }
}

impl From<Code> for OpenError {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

/// The name of a device, as ALSA takes it.
pub(super) fn device_name(device: &str) -> Option<CString> {
    CString::new(device).ok()
}
