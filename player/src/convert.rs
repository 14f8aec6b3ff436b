//! From a stream's rate and channels to a device's, at a speed that can follow a clock.
//!
//! Where the rates are equal and the speed was never changed, samples go through as they are, bit by bit. Everything else
//! goes through a windowed sinc of `rubato`'s. The first time that the speed leaves 1.0 in a stream that was copied till
//! then, the filter is given the frames that were put out last, and goes on where they end: nothing is lost, doubled or
//! delayed in the sound, and since a filter takes off what lies just below half the rate, the two are faded over a few
//! milliseconds.
//!
//! # Quality and cost
//! A sinc of 256 points (more where the rate gets lower, so that it is as steep for the lower rate) under a squared
//! Blackman window, 128 times between two frames, and a cubic between those. What it adds to a sine, at rates from
//! 22.05 to 96 kHz, is 133 dB below it, where the rounding of 32-bit samples is; up to 20 kHz it is flat within 0.002 dB
//! at 44.1 kHz; what would be mirrored is 125 dB down. The tests hold it to nearly that, and print it. More points in
//! between gain nothing.
//!
//! Resampling a second costs 5.2 ms of one core from 44.1 to 48 kHz in stereo, 3.9 in mono, 9.0 from 96 kHz; a copy 10 µs
//! (x86-64 with AVX, alone on the machine: `cargo run --release -p roundelay-player --example convert_cost`).
//!
//! # Channels
//! Channels in the order of WAVE and FLAC, as Symphonia gives them. Where they get fewer it is done before resampling,
//! where they get more, behind.
//!
//! | from | to | how |
//! |---|---|---|
//! | as many | as many | as they are |
//! | 1 | more | on the first two, and silence on the others |
//! | 3 and more | 2 | mixed, as below |
//! | 2 and more | 1 | the average of the two of which the row above speaks |
//! | any | any other | by way of two, on the first two |
//!
//! The mix is that of ITU-R BS.775, annex 4: `L + 0.7071 C + 0.7071 Ls` and its mirror image, without the channel for low
//! frequencies; divided by the sum of the coefficients, so that it cannot clip. BS.775 knows no 7.1: of its two pairs of
//! surround channels each gets 0.5, as if they were mixed down to 5.1 in the same way before. What is in the middle at
//! the back is a surround channel on both sides.

use std::collections::VecDeque;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Adjustable, Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};
use thiserror::Error;

/// Rates that are somebody's, from telephones to laboratories.
const RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=768_000;

/// As many as a WAVE file can name places for, and then some.
const MOST_CHANNELS: usize = 32;

/// How far the speed goes from 1.0: 8.6 cents.
const MOST_DEVIATION: f64 = 0.005;

/// Frames that are resampled at a time. A speed is reached within so many.
const CHUNK_FRAMES: usize = 256;

/// Frames from the stream under the filter, and at most so many where the rate gets lower.
const SINC_FRAMES: usize = 256;
const MOST_SINC_FRAMES: usize = 2_048;

/// Over so many frames, the copy goes over into what is resampled.
const FADE_FRAMES: usize = 256;

/// Points of the filter from one frame to the next.
const OVERSAMPLING: usize = 128;

const SILENT_FRAME: [f32; MOST_CHANNELS] = [0.0; MOST_CHANNELS];

/// Two times, in frames, that are one.
const TIME_TOLERANCE: f64 = 1e-6;

/// What samples are, on one side of a [`Converter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Frames a second.
    pub rate_hz: u32,
    /// Samples a frame, interleaved.
    pub channels: usize,
}

/// Why there is no conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Nothing plays at such a rate.
    #[error("{rate_hz} Hz is no rate for audio: those are from {} to {} Hz", RATES_HZ.start(), RATES_HZ.end())]
    Rate {
        /// The rate in question.
        rate_hz: u32,
    },
    /// None, or more than anybody has.
    #[error("audio has 1 to {MOST_CHANNELS} channels, not {channels}")]
    Channels {
        /// The number in question.
        channels: usize,
    },
}

/// Converts interleaved samples. See the [module](self).
///
/// # Real-time
/// For the decoder's thread. Beside the output it is given, it allocates only when it is made.
#[derive(Debug)]
pub struct Converter {
    from: Layout,
    mix: Mix,
    spread: Spread,
    speed: f64,
    path: Path,
    resampling: Resampling,
    /// The last frames that were copied. Silence, where there were not so many.
    history: VecDeque<f32>,
    /// Mixed, resampled, and not yet spread.
    mixed: Vec<f32>,
    resampled: Vec<f32>,
}

/// Which way frames take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Copied,
    Resampled,
}

impl Converter {
    /// A converter between these two, at the speed 1.0.
    ///
    /// # Errors
    /// [`ConvertError`], if one of them is no audio.
    pub fn new(from: Layout, to: Layout) -> Result<Self, ConvertError> {
        for Layout { rate_hz, channels } in [from, to] {
            if !RATES_HZ.contains(&rate_hz) {
                return Err(ConvertError::Rate { rate_hz });
            }
            if channels == 0 || channels > MOST_CHANNELS {
                return Err(ConvertError::Channels { channels });
            }
        }
        let middle = match (from.channels, to.channels) {
            (from, to) if from == to => from,
            (1, _) | (_, 1) => 1,
            _ => 2,
        };
        let resampling = Resampling::new(from.rate_hz, to.rate_hz, middle);
        Ok(Self {
            from,
            mix: Mix::new(from.channels, middle),
            spread: Spread { from: middle, to: to.channels },
            speed: 1.0,
            path: if from.rate_hz == to.rate_hz { Path::Copied } else { Path::Resampled },
            history: silence(CHUNK_FRAMES * middle),
            mixed: Vec::new(),
            resampled: Vec::new(),
            resampling,
        })
    }

    /// Takes frames of the stream, and appends to `out` what is ready for the device.
    ///
    /// # Panics
    /// If `input` does not end with a frame.
    pub fn push(&mut self, input: &[f32], out: &mut Vec<f32>) {
        assert!(input.len().is_multiple_of(self.from.channels), "whole frames");
        self.mixed.clear();
        // Most often there is nothing to mix, nothing to resample, or nothing to spread.
        let input = if self.mix.is_needed() {
            self.mix.apply(input, &mut self.mixed);
            &self.mixed
        } else {
            input
        };
        match self.path {
            Path::Copied => {
                remember(&mut self.history, input);
                self.spread.apply(input, out);
            }
            Path::Resampled if self.spread.is_needed() => {
                self.resampled.clear();
                self.resampling.push(input, &mut self.resampled);
                self.spread.apply(&self.resampled, out);
            }
            Path::Resampled => self.resampling.push(input, out),
        }
    }

    /// The stream is over: appends what is still inside, and begins anew as after [`Self::reset`].
    ///
    /// In all, there are then as many frames as the stream's length says, give or take one.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        if self.path == Path::Resampled {
            self.resampled.clear();
            self.resampling.finish(&mut self.resampled);
            self.spread.apply(&self.resampled, out);
        }
        self.reset();
    }

    /// Forgets what is inside: what follows has nothing to do with what was before. The speed stays.
    pub fn reset(&mut self) {
        self.history.iter_mut().for_each(|sample| *sample = 0.0);
        if self.resampling.step == 1.0 && self.speed == 1.0 {
            self.path = Path::Copied;
        } else {
            self.path = Path::Resampled;
            self.resampling.begin(self.speed);
        }
    }

    /// Plays the stream faster or slower: frames of the stream for each that is nominally played. Within 0.5 %, and what
    /// is beyond that, or no number, is brought there.
    ///
    /// The new speed is reached by a glide over the next 256 frames of the stream; where [`Self::push`] was copying, it
    /// is reached over the 256 after those, and what is put out is late by [`Self::delay_frames`] from then on.
    pub fn set_speed(&mut self, speed: f64) {
        let speed = if speed.is_nan() { 1.0 } else { speed.clamp(1.0 - MOST_DEVIATION, 1.0 + MOST_DEVIATION) };
        if speed == self.speed {
            return;
        }
        self.speed = speed;
        if self.path == Path::Copied {
            self.resampling.take_over(&self.history);
            self.path = Path::Resampled;
        }
        self.resampling.speed = speed;
    }

    /// The speed as it was set.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// What was taken and is not yet put out, in frames of the device's.
    #[must_use]
    pub fn delay_frames(&self) -> usize {
        match self.path {
            Path::Copied => 0,
            Path::Resampled => self.resampling.delay_frames(),
        }
    }

    /// How many samples a frame of the output has.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.spread.to
    }
}

/// So many samples of silence.
fn silence(samples: usize) -> VecDeque<f32> {
    std::iter::repeat_n(0.0, samples).collect()
}

/// Moves `samples` into a history, which stays as long as it is.
fn remember(history: &mut VecDeque<f32>, samples: &[f32]) {
    let new = &samples[samples.len().saturating_sub(history.len())..];
    history.drain(..new.len());
    history.extend(new);
}

/// A sinc filter at work, with an account of where it is.
struct Resampling {
    filter: Async<f32>,
    channels: usize,
    /// The frames on either side of a frame that make it.
    half_sinc: usize,
    /// Frames of the stream from one frame of the output to the next, at the speed 1.0.
    step: f64,
    /// The speed that is to be reached.
    speed: f64,
    /// The speed at the end of the last chunk.
    reached: f64,
    /// Interleaved, always less than a chunk.
    pending: Vec<f32>,
    /// What comes out of a chunk.
    scratch: Vec<f32>,
    /// How far what was put out last is behind the end of what was taken, in frames of the stream.
    behind: f64,
    /// Frames to come which are from before the beginning.
    to_drop: usize,
    /// Frames of the copy that go over into frames of the filter's, while they do.
    fade: Option<Fade>,
}

#[derive(Debug)]
struct Fade {
    /// What the copy would have put out next.
    copy: Vec<f32>,
    /// Samples of it that were gone over.
    done: usize,
}

impl std::fmt::Debug for Resampling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampling").field("speed", &self.speed).field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl Resampling {
    fn new(from_hz: u32, to_hz: u32, channels: usize) -> Self {
        let step = f64::from(from_hz) / f64::from(to_hz);
        let sinc_frames = (SINC_FRAMES as f64 * step.max(1.0)).min(MOST_SINC_FRAMES as f64);
        // A multiple of 8, as the filter would make it.
        let sinc_frames = (sinc_frames as usize).next_multiple_of(8);
        let parameters = SincInterpolationParameters::new(sinc_frames, WindowFunction::Blackman2)
            .oversampling_factor(OVERSAMPLING)
            .interpolation(SincInterpolationType::Cubic);
        let filter = Async::new_sinc(
            step.recip(),
            // What a start needs at most, and more than the speed does.
            1.0 + 2.0 * MOST_DEVIATION + step / 100.0,
            &parameters,
            CHUNK_FRAMES,
            channels,
            FixedAsync::Input,
        )
        .expect("the rates and the number of channels were looked at");
        let mut resampling = Self {
            scratch: vec![0.0; filter.output_frames_max() * channels],
            filter,
            channels,
            half_sinc: sinc_frames / 2,
            step,
            speed: 1.0,
            reached: 1.0,
            pending: Vec::with_capacity(CHUNK_FRAMES * channels),
            behind: 0.0,
            to_drop: 0,
            fade: None,
        };
        resampling.begin(1.0);
        resampling
    }

    /// Forgets everything, and starts at `speed`, such that the first frame that comes out is the first that goes in.
    fn begin(&mut self, speed: f64) {
        let silence = [0.0; CHUNK_FRAMES * MOST_CHANNELS];
        self.start(speed, [&silence[..CHUNK_FRAMES * self.channels], &[]]);
    }

    /// Goes on behind `history`, a chunk that was copied. The rates are equal.
    fn take_over(&mut self, history: &VecDeque<f32>) {
        let (older, newer) = history.as_slices();
        self.start(1.0, [older, newer]);
        self.fade = Some(Fade { copy: Vec::with_capacity(FADE_FRAMES * self.channels), done: 0 });
    }

    /// Forgets everything, and starts at `speed`, such that the first frame that comes out is the one behind the chunk
    /// `before`.
    ///
    /// At its own pace, the filter would put its frames somewhere around that one, but not on it. So it goes through the
    /// chunk, of which nothing is kept, at a pace that is a little off.
    fn start(&mut self, speed: f64, before: [&[f32]; 2]) {
        self.filter.reset();
        self.pending.clear();
        self.fade = None;
        self.behind = self.half_sinc as f64 - 1.0 / OVERSAMPLING as f64;
        let step = self.step * speed;
        let way = CHUNK_FRAMES as f64 + self.behind;
        // The filter leaves as many frames as will do for the next step but not for another, of any length. The steps
        // behind the chunk are as they are; those in it are made longer to fit, by one in as many as they are at most.
        let reach = CHUNK_FRAMES as f64 - 2.0;
        let behind_it = ((way - reach) / step).ceil();
        let rest = way - behind_it * step;
        let in_it = (rest / step).floor().max(1.0);
        self.speed = rest / in_it / self.step;
        self.set_ratio(self.speed, false);
        debug_assert_eq!(self.filter.output_frames_next(), in_it as usize);
        // The last of those behind it is the first that is kept.
        self.to_drop = (in_it + behind_it) as usize - 1;
        for part in before {
            self.take(part, &mut Vec::new());
        }
        self.speed = speed;
        self.set_ratio(speed, false);
    }

    /// At the end of the next chunk, or by now.
    fn set_ratio(&mut self, speed: f64, glide: bool) {
        self.filter.set_resample_ratio_relative(speed.recip(), glide).expect("within what the filter was made for");
        if !glide {
            self.reached = speed;
        }
    }

    fn push(&mut self, input: &[f32], out: &mut Vec<f32>) {
        if let Some(fade) = &mut self.fade {
            let wanted = (FADE_FRAMES * self.channels - fade.copy.len()).min(input.len());
            fade.copy.extend_from_slice(&input[..wanted]);
        }
        self.take(input, out);
    }

    /// Resamples as many chunks as are complete.
    fn take(&mut self, mut input: &[f32], out: &mut Vec<f32>) {
        self.behind += (input.len() / self.channels) as f64;
        let chunk = CHUNK_FRAMES * self.channels;
        while !input.is_empty() {
            let (part, rest) = input.split_at(input.len().min(chunk - self.pending.len()));
            self.pending.extend_from_slice(part);
            input = rest;
            if self.pending.len() == chunk {
                self.resample_chunk(out);
                self.pending.clear();
            }
        }
    }

    fn resample_chunk(&mut self, out: &mut Vec<f32>) {
        // A fade is between frames that are at the same places in both.
        let speed = if self.fade.is_some() { 1.0 } else { self.speed };
        if speed != self.reached {
            self.set_ratio(speed, true);
        }
        let room = self.scratch.len() / self.channels;
        let input = InterleavedSlice::new(&self.pending, self.channels, CHUNK_FRAMES);
        let output = InterleavedSlice::new_mut(&mut self.scratch, self.channels, room);
        let (Ok(input), Ok(mut output)) = (input, output) else { unreachable!("slices are as long as they are") };
        let resampled = self.filter.process_into_buffer(&input, &mut output, None);
        let (_, frames) = resampled.expect("a chunk, and room for what comes of it");
        // The steps grow evenly from the old one to the new one, which is the last.
        let (old, new) = (self.step * self.reached, self.step * speed);
        self.behind -= frames as f64 * 0.5 * (old + new) + 0.5 * (new - old);
        self.reached = speed;
        let dropped = frames.min(self.to_drop);
        self.to_drop -= dropped;
        let kept = &mut self.scratch[dropped * self.channels..frames * self.channels];
        if let Some(fade) = &mut self.fade {
            fade.apply(kept, self.channels);
            if fade.done == FADE_FRAMES * self.channels {
                self.fade = None;
            }
        }
        out.extend_from_slice(kept);
    }

    /// Appends what is left, as far as it is of the stream and not of the silence behind it.
    fn finish(&mut self, out: &mut Vec<f32>) {
        let start = out.len();
        let left = self.delay_frames() * self.channels;
        // Silence is behind everything else for half a sinc, and until the chunk is full.
        while out.len() - start < left {
            self.push(&SILENT_FRAME[..self.channels], out);
        }
        out.truncate(start + left);
    }

    fn delay_frames(&self) -> usize {
        let steps = (self.behind / (self.step * self.reached) - TIME_TOLERANCE).ceil();
        // The last step leads to the end, or beyond it.
        ((steps - 1.0).max(0.0) as usize).saturating_sub(self.to_drop)
    }
}

impl Fade {
    /// Goes over from the copy to `frames`.
    fn apply(&mut self, frames: &mut [f32], channels: usize) {
        for (sample, &copy) in frames.iter_mut().zip(&self.copy[self.done..]) {
            let part = (self.done / channels + 1) as f32 / (FADE_FRAMES + 1) as f32;
            *sample = copy + (*sample - copy) * part;
            self.done += 1;
        }
    }
}

/// Makes few channels of many.
#[derive(Debug)]
struct Mix {
    from: usize,
    to: usize,
    /// For each channel of the output, what it takes of each of the input.
    parts: Vec<f32>,
}

impl Mix {
    /// Down to one or two; or from as many as there are, to as many.
    fn new(from: usize, to: usize) -> Self {
        let stereo = stereo_parts(from);
        let parts = match to {
            _ if from == to => Vec::new(),
            1 => stereo.iter().map(|[left, right]| 0.5 * (left + right)).collect(),
            _ => {
                let side = |side: usize| stereo.iter().map(move |parts| parts[side]);
                side(0).chain(side(1)).collect()
            }
        };
        Self { from, to, parts }
    }

    fn is_needed(&self) -> bool {
        self.from != self.to
    }

    fn apply(&self, input: &[f32], out: &mut Vec<f32>) {
        for frame in input.chunks_exact(self.from) {
            out.extend(self.parts.chunks_exact(self.from).map(|parts| {
                let products = frame.iter().zip(parts).map(|(sample, part)| sample * part);
                products.sum::<f32>()
            }));
        }
    }
}

/// What left and right take of each channel: no more than 1 in all, on either side.
fn stereo_parts(channels: usize) -> Vec<[f32; 2]> {
    /// -3 dB.
    const LESS: f64 = std::f64::consts::FRAC_1_SQRT_2;
    const LEFT: [f64; 2] = [1.0, 0.0];
    const RIGHT: [f64; 2] = [0.0, 1.0];
    const CENTRE: [f64; 2] = [LESS, LESS];
    const LOW: [f64; 2] = [0.0, 0.0];
    const LEFT_SURROUND: [f64; 2] = [LESS, 0.0];
    const RIGHT_SURROUND: [f64; 2] = [0.0, LESS];
    const HALF_LEFT: [f64; 2] = [0.5, 0.0];
    const HALF_RIGHT: [f64; 2] = [0.0, 0.5];
    // As RFC 9639, section 9.1.3, lists them for each number of channels.
    let parts: &[[f64; 2]] = match channels {
        1 => &[[1.0, 1.0]],
        2 => &[LEFT, RIGHT],
        3 => &[LEFT, RIGHT, CENTRE],
        4 => &[LEFT, RIGHT, LEFT_SURROUND, RIGHT_SURROUND],
        5 => &[LEFT, RIGHT, CENTRE, LEFT_SURROUND, RIGHT_SURROUND],
        6 => &[LEFT, RIGHT, CENTRE, LOW, LEFT_SURROUND, RIGHT_SURROUND],
        7 => &[LEFT, RIGHT, CENTRE, LOW, [0.5, 0.5], HALF_LEFT, HALF_RIGHT],
        8 => &[LEFT, RIGHT, CENTRE, LOW, HALF_LEFT, HALF_RIGHT, HALF_LEFT, HALF_RIGHT],
        // Nobody knows what the others are for: left and right are there.
        _ => &[LEFT, RIGHT],
    };
    let sum = |side: usize| parts.iter().map(|part| part[side]).sum::<f64>();
    let sums = [sum(0), sum(1)];
    let scaled = parts.iter().map(|part| [0, 1].map(|side| (part[side] / sums[side]) as f32));
    scaled.chain(std::iter::repeat([0.0; 2])).take(channels).collect()
}

/// Puts one or two channels on more.
#[derive(Clone, Copy, Debug)]
struct Spread {
    from: usize,
    to: usize,
}

impl Spread {
    fn is_needed(&self) -> bool {
        self.from != self.to
    }

    fn apply(&self, input: &[f32], out: &mut Vec<f32>) {
        if !self.is_needed() {
            out.extend_from_slice(input);
            return;
        }
        for frame in input.chunks_exact(self.from) {
            // `to` is 2 at least, since it is more than `from`.
            let pair = [frame[0], frame[self.from - 1]];
            out.extend_from_slice(&pair);
            out.extend(std::iter::repeat_n(0.0, self.to - pair.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    fn layout(rate_hz: u32, channels: usize) -> Layout {
        Layout { rate_hz, channels }
    }

    /// So many frames of a sine on every channel.
    fn sine(hz: f64, layout: Layout, frames: usize) -> Vec<f32> {
        let sample = |frame: usize| (0.5 * (TAU * hz * frame as f64 / f64::from(layout.rate_hz)).sin()) as f32;
        (0..frames).flat_map(|frame| std::iter::repeat_n(sample(frame), layout.channels)).collect()
    }

    /// One channel.
    fn channel(samples: &[f32], channels: usize, channel: usize) -> Vec<f32> {
        samples.iter().skip(channel).step_by(channels).copied().collect()
    }

    fn convert(converter: &mut Converter, input: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        converter.push(input, &mut out);
        converter.finish(&mut out);
        out
    }

    /// The sine of `hz` that fits best: its amplitude, its phase at the first sample, and how far below it the rest is,
    /// in dB.
    fn fit(samples: &[f32], hz: f64, rate_hz: u32) -> (f64, f64, f64) {
        let angle = |at: usize| TAU * hz * at as f64 / f64::from(rate_hz);
        // The normal equations for `a sin + b cos`.
        let (mut ss, mut sc, mut cc, mut sy, mut cy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (at, &sample) in samples.iter().enumerate() {
            let (s, c) = angle(at).sin_cos();
            let y = f64::from(sample);
            (ss, sc, cc, sy, cy) = (ss + s * s, sc + s * c, cc + c * c, sy + s * y, cy + c * y);
        }
        let det = ss * cc - sc * sc;
        let (a, b) = ((sy * cc - cy * sc) / det, (cy * ss - sy * sc) / det);
        let (mut signal, mut rest) = (0.0, 0.0);
        for (at, &sample) in samples.iter().enumerate() {
            let (s, c) = angle(at).sin_cos();
            let fitted = a * s + b * c;
            signal += fitted * fitted;
            rest += (f64::from(sample) - fitted).powi(2);
        }
        (a.hypot(b), b.atan2(a), 10.0 * (signal / rest).log10())
    }

    /// The frequency of something that is nearly `hz`: by how much the phase moves from one half to the other.
    fn measure_hz(samples: &[f32], hz: f64, rate_hz: u32) -> f64 {
        let half = samples.len() / 2;
        let (first, second) = samples.split_at(half);
        let (_, before, _) = fit(first, hz, rate_hz);
        let (_, behind, _) = fit(&second[..half], hz, rate_hz);
        let seconds = half as f64 / f64::from(rate_hz);
        let moved = behind - before - TAU * hz * seconds;
        hz + (moved - (moved / TAU).round() * TAU) / TAU / seconds
    }

    /// The part of a sound that is far from its ends, where a sine has to start from nothing.
    fn inside(samples: &[f32]) -> &[f32] {
        &samples[2_000..samples.len() - 2_000]
    }

    #[test]
    fn a_mono_station_at_44100_hz_is_heard_at_its_pitch_and_for_its_time_at_48000_hz_stereo() {
        let (from, to) = (layout(44_100, 1), layout(48_000, 2));
        let mut converter = Converter::new(from, to).unwrap();
        let out = convert(&mut converter, &sine(440.0, from, 44_100));
        assert!((out.len() / 2).abs_diff(48_000) <= 1, "{} frames", out.len() / 2);
        let (left, right) = (channel(&out, 2, 0), channel(&out, 2, 1));
        assert_eq!(left, right);
        let hz = measure_hz(inside(&left), 440.0, 48_000);
        assert!((hz - 440.0).abs() < 1e-4, "{hz} Hz");
        // The first frame is the first frame.
        let (amplitude, phase, _) = fit(&left[2_000..40_000], 440.0, 48_000);
        let expected = TAU * 440.0 * 2_000.0 / 48_000.0;
        let off = (phase - expected) / TAU;
        assert!((off - off.round()).abs() * 48_000.0 / 440.0 < 1e-3, "{off} periods off");
        assert!((amplitude - 0.5).abs() < 1e-4);
    }

    #[test]
    fn what_a_sine_picks_up_on_its_way_is_below_125_db() {
        let of = |from_hz, to_hz, hz| {
            let from = layout(from_hz, 1);
            let mut converter = Converter::new(from, layout(to_hz, 1)).unwrap();
            let out = convert(&mut converter, &sine(hz, from, 12_000));
            fit(inside(&out), hz, to_hz).2
        };
        for (from_hz, to_hz) in [(44_100, 48_000), (48_000, 44_100), (22_050, 48_000), (96_000, 48_000)] {
            // The highest is beyond what 22.05 kHz can say.
            for hz in [100.0, 997.0, 9_000.0, 18_000.0].into_iter().filter(|hz| hz * 2.0 < f64::from(from_hz)) {
                let db = of(from_hz, to_hz, hz);
                println!("{from_hz} to {to_hz} Hz, {hz} Hz: {db:.1} dB");
                assert!(db > 125.0, "{from_hz} to {to_hz} Hz, {hz} Hz: {db} dB");
            }
        }
    }

    #[test]
    fn what_can_be_heard_is_as_loud_as_before_and_what_would_be_mirrored_is_gone() {
        let loudness = |from_hz, to_hz, hz| {
            let from = layout(from_hz, 1);
            let mut converter = Converter::new(from, layout(to_hz, 1)).unwrap();
            let out = convert(&mut converter, &sine(hz, from, 10_000 * (1 + from_hz as usize / to_hz as usize)));
            let out = inside(&out);
            let mean = out.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / out.len() as f64;
            10.0 * (mean / 0.125).log10()
        };
        for (from_hz, to_hz, hz) in [
            (44_100, 48_000, 20_000.0),
            (48_000, 44_100, 20_000.0),
            (96_000, 44_100, 20_000.0),
            (48_000, 48_001, 21_700.0),
        ] {
            let db = loudness(from_hz, to_hz, hz);
            println!("{from_hz} to {to_hz} Hz: {hz} Hz at {db:.4} dB");
            assert!(db.abs() < 0.005, "{hz} Hz at {db} dB");
        }
        for (from_hz, to_hz, hz) in [
            (48_000, 44_100, 22_800.0),
            (96_000, 48_000, 25_000.0),
            (192_000, 44_100, 23_000.0),
            (48_000, 8_000, 4_200.0),
        ] {
            let db = loudness(from_hz, to_hz, hz);
            println!("{from_hz} to {to_hz} Hz: {hz} Hz at {db:.1} dB");
            assert!(db < -120.0, "{hz} Hz at {db} dB");
        }
    }

    #[test]
    fn an_impulse_and_a_step_come_out_where_they_belong() {
        for (from_hz, to_hz, at, expected) in
            [(44_100, 48_000, 147 * 20, 160 * 20), (48_000, 44_100, 160 * 20, 147 * 20), (48_000, 96_000, 0, 0)]
        {
            let mut converter = Converter::new(layout(from_hz, 1), layout(to_hz, 1)).unwrap();
            let mut impulse = vec![0.0; 6_000];
            impulse[at] = 1.0;
            let out = convert(&mut converter, &impulse);
            let peak = (0..out.len()).max_by(|&a, &b| out[a].abs().total_cmp(&out[b].abs())).unwrap();
            assert_eq!(peak, expected);
            assert!((peak + 1..out.len().min(peak + 50)).all(|behind| {
                // As much before it as behind it.
                behind > 2 * peak || (out[behind] - out[2 * peak - behind]).abs() < 1e-5
            }));
            let mut step = vec![0.0; at];
            step.resize(6_000, 1.0);
            let out = convert(&mut converter, &step);
            let risen = out.iter().position(|&sample| sample >= 0.5).unwrap();
            assert!(risen.abs_diff(expected) <= 1, "{risen} for {expected}");
        }
    }

    #[test]
    fn as_many_frames_come_out_as_the_speed_says() {
        for (from_hz, to_hz) in [(44_100, 48_000), (48_000, 48_000), (44_099, 48_000), (48_000, 11_025)] {
            for speed in [0.995, 0.9999, 1.0, 1.001, 1.005] {
                let from = layout(from_hz, 1);
                let mut converter = Converter::new(from, layout(to_hz, 1)).unwrap();
                converter.set_speed(speed);
                let out = convert(&mut converter, &sine(440.0, from, 12_000));
                let expected = 12_000.0 / speed * f64::from(to_hz) / f64::from(from_hz);
                // It glides for 256 frames, 512 where it was a copy: at half of the difference.
                let glide = 512.0 * (speed - 1.0).abs() + 1.0;
                assert!((out.len() as f64 - expected).abs() <= glide, "{} frames for {expected}", out.len());
                let pitch = measure_hz(&out[out.len() / 4..out.len() - 500], 440.0 * speed, to_hz);
                assert!((pitch / 440.0 - speed).abs() < 1e-6, "{pitch} Hz at the speed {speed}");
            }
        }
    }

    #[test]
    fn a_speed_is_within_half_a_percent_and_a_number() {
        let mut converter = Converter::new(layout(48_000, 2), layout(48_000, 2)).unwrap();
        for (asked, had) in [(2.0, 1.005), (0.0, 0.995), (f64::NAN, 1.0), (f64::INFINITY, 1.005)] {
            converter.set_speed(asked);
            assert_eq!(converter.speed(), had);
        }
    }

    #[test]
    fn at_equal_rates_a_copy_is_exact_to_the_bit() {
        let mut converter = Converter::new(layout(48_000, 2), layout(48_000, 2)).unwrap();
        let strange = [0.1, -0.0, f32::MIN_POSITIVE / 2.0, 3.5, f32::INFINITY, 1e-30];
        converter.set_speed(1.0);
        let out = convert(&mut converter, &strange);
        assert_eq!(out.map_bits(), strange.map_bits());
        assert_eq!(converter.delay_frames(), 0);
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u32>;
    }

    impl Bits for [f32] {
        fn map_bits(&self) -> Vec<u32> {
            self.iter().map(|sample| sample.to_bits()).collect()
        }
    }

    #[test]
    fn a_copy_goes_over_into_a_resampled_stream_without_a_seam() {
        let layout = layout(48_000, 2);
        let input = sine(1_000.0, layout, 12_000);
        for copied in [0, 1, 100, 300, 5_003] {
            let mut converter = Converter::new(layout, layout).unwrap();
            let mut out = Vec::new();
            converter.push(&input[..copied * 2], &mut out);
            assert_eq!(out, input[..copied * 2]);
            converter.set_speed(1.0 + 1e-9);
            converter.push(&input[copied * 2..], &mut out);
            converter.finish(&mut out);
            assert_eq!(out.len(), input.len(), "no frame lost or doubled");
            // At next to no speed it is the same sound everywhere, from frame to frame.
            let worst = out.iter().zip(&input).map(|(out, input)| (out - input).abs()).take(11_800 * 2);
            let worst = worst.fold(0.0, f32::max);
            assert!(worst < 1e-4, "{worst} off, after {copied} frames");
            let before_the_end = &channel(&out, 2, 1)[256.min(copied)..11_800];
            assert!(fit(before_the_end, 1_000.0, 48_000).2 > 90.0);
        }
    }

    #[test]
    fn a_change_of_speed_is_a_glide_and_no_click() {
        let layout = layout(48_000, 1);
        let mut converter = Converter::new(layout, layout).unwrap();
        let mut out = Vec::new();
        for (number, part) in sine(1_000.0, layout, 40_000).chunks(5_000).enumerate() {
            converter.push(part, &mut out);
            converter.set_speed([1.005, 0.995, 1.0, 1.001][number % 4]);
        }
        // The second difference of a sine of 1005 Hz is no more than this; a step of the phase would show in it.
        let steepest = 0.5 * (TAU * 1_005.0 / 48_000.0).powi(2) * 1.01;
        let bends = out.windows(3).map(|three| f64::from(three[0] - 2.0 * three[1] + three[2]).abs());
        assert!(bends.fold(0.0, f64::max) < steepest);
    }

    #[test]
    fn after_a_reset_nothing_is_left_of_what_was_before() {
        for to_hz in [48_000, 44_100] {
            let from = layout(48_000, 2);
            let mut converter = Converter::new(from, layout(to_hz, 2)).unwrap();
            let input = sine(700.0, from, 3_000);
            let fresh = convert(&mut converter, &input);
            converter.set_speed(1.004);
            converter.push(&vec![1.0; 10_000], &mut Vec::new());
            converter.set_speed(1.0);
            converter.reset();
            assert_eq!(convert(&mut converter, &input), fresh);
        }
    }

    #[test]
    fn what_is_inside_comes_out_at_the_end() {
        for (from_hz, to_hz, speed) in [(44_100, 48_000, 1.0), (48_000, 48_000, 1.002), (48_000, 8_000, 0.996)] {
            let from = layout(from_hz, 1);
            let mut converter = Converter::new(from, layout(to_hz, 1)).unwrap();
            converter.set_speed(speed);
            let mut out = Vec::new();
            for part in sine(440.0, from, 10_000).chunks(777) {
                converter.push(part, &mut out);
                // No more than a chunk and half a sinc.
                let most = (256.0 + 1_024.0) * f64::from(to_hz) / f64::from(from_hz);
                assert!(converter.delay_frames() as f64 <= most);
            }
            let (inside, before) = (converter.delay_frames(), out.len());
            converter.finish(&mut out);
            assert_eq!(out.len() - before, inside);
        }
    }

    #[test]
    fn in_steady_state_nothing_grows() {
        let from = layout(44_100, 6);
        let mut converter = Converter::new(from, layout(48_000, 2)).unwrap();
        let input = sine(440.0, from, 1_000);
        let mut out = Vec::with_capacity(4_000);
        let mut capacities = Vec::new();
        for _ in 0..20 {
            out.clear();
            converter.push(&input, &mut out);
            let resampling = &converter.resampling;
            capacities.push((out.capacity(), converter.mixed.capacity(), resampling.pending.capacity()));
        }
        assert!(capacities.iter().all(|capacity| *capacity == capacities[1]));
    }

    #[test]
    fn many_channels_are_mixed_down_by_the_book() {
        let mix = |channels: usize, to: usize| {
            let mut converter = Converter::new(layout(48_000, channels), layout(48_000, to)).unwrap();
            // Frame by frame, one channel sounds.
            let mut input = vec![0.0; channels * channels];
            (0..channels).for_each(|channel| input[channel * channels + channel] = 1.0);
            convert(&mut converter, &input)
        };
        let close = |out: Vec<f32>, expected: &[f32]| {
            assert_eq!(out.len(), expected.len());
            assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?} is not {expected:?}");
        };
        let (one, less) = (1.0 / 2.414_213_6, 0.707_106_77 / 2.414_213_6);
        close(mix(6, 2), &[one, 0.0, 0.0, one, less, less, 0.0, 0.0, less, 0.0, 0.0, less]);
        close(mix(5, 2), &[one, 0.0, 0.0, one, less, less, less, 0.0, 0.0, less]);
        let half = |side: [f32; 12]| side.chunks(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect::<Vec<_>>();
        close(mix(6, 1), &half([one, 0.0, 0.0, one, less, less, 0.0, 0.0, less, 0.0, 0.0, less]));
        close(mix(2, 1), &[0.5, 0.5]);
        close(mix(1, 2), &[1.0, 1.0]);
        close(mix(1, 4), &[1.0, 1.0, 0.0, 0.0]);
        close(mix(2, 4), &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        close(mix(3, 3), &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        for channels in (1..=9).chain([MOST_CHANNELS]) {
            for to in [1, 2, 3, 8] {
                let mut converter = Converter::new(layout(48_000, channels), layout(48_000, to)).unwrap();
                let loudest = convert(&mut converter, &vec![1.0; channels]);
                assert_eq!(loudest.len(), to);
                assert!(loudest.iter().all(|sample| sample.abs() <= 1.0 + 1e-6), "{channels} to {to} cannot clip");
                assert!((loudest[0] - 1.0).abs() < 1e-6, "{channels} to {to} is as loud as can be");
            }
        }
    }

    #[test]
    fn what_is_no_audio_is_refused() {
        let good = layout(48_000, 2);
        for rate_hz in [0, 100, u32::MAX] {
            let error = Converter::new(layout(rate_hz, 2), good).unwrap_err();
            assert_eq!(error, ConvertError::Rate { rate_hz });
            assert!(error.to_string().contains("4000 to 768000 Hz"));
        }
        for channels in [0, 33, usize::MAX] {
            let error = Converter::new(good, layout(48_000, channels)).unwrap_err();
            assert_eq!(error, ConvertError::Channels { channels });
        }
        assert!(Converter::new(layout(768_000, 32), layout(4_000, 32)).is_ok());
        assert!(Converter::new(layout(4_000, 1), layout(768_000, 2)).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn in_pieces_of_any_size_it_sounds_the_same(
            rates in prop_oneof![Just((44_100, 48_000)), Just((48_000, 48_000)), Just((48_000, 32_000))],
            channels in 1usize..4,
            pieces in proptest::collection::vec(0usize..600, 1..12),
            speed_after in 0usize..1_500,
        ) {
            let from = layout(rates.0, channels);
            let frames: usize = pieces.iter().sum();
            let input = sine(441.0, from, frames);
            let run = |pieces: &[usize]| {
                let mut converter = Converter::new(from, layout(rates.1, 2)).unwrap();
                let (mut out, mut at) = (Vec::new(), 0);
                for &piece in pieces {
                    // The speed changes at the same frame, however the rest is cut.
                    let cut = speed_after.clamp(at, at + piece);
                    converter.push(&input[at * channels..cut * channels], &mut out);
                    if (at..at + piece).contains(&speed_after) {
                        converter.set_speed(1.003);
                    }
                    converter.push(&input[cut * channels..(at + piece) * channels], &mut out);
                    at += piece;
                }
                converter.finish(&mut out);
                out
            };
            prop_assert!(run(&pieces) == run(&[frames]));
        }
    }
}
