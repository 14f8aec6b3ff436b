//! The instruments: a plucked string, a pad, a bass, two drums, and an echo that they share.
//!
//! All of them are cheap enough that a dozen voices take a few per cent of one core: an oscillator is a rotation by a
//! fixed angle (four multiplications), a string is a delay line.

use std::f32::consts::{FRAC_PI_4, TAU};

use super::score::{Instrument, Note};
use super::{RATE_HZ, Rng};

/// Below this an instrument has died away (-90 dBFS).
const SILENCE: f32 = 3.0e-5;

/// A note that sounds.
#[derive(Debug)]
pub(super) struct Voice {
    sound: Sound,
    gain: [f32; 2],
    echo_send: f32,
}

#[derive(Debug)]
enum Sound {
    String(PluckedString),
    Pad(Pad),
    Bass(Bass),
    Kick(Kick),
    Shaker(Shaker),
}

impl Voice {
    pub(super) fn new(note: &Note) -> Self {
        let (sound, level, echo_send) = match note.instrument {
            Instrument::String => (Sound::String(PluckedString::new(note)), 0.62, 0.35),
            Instrument::Pad => (Sound::Pad(Pad::new(note)), 0.085, 0.2),
            Instrument::Bass => (Sound::Bass(Bass::new(note)), 0.34, 0.0),
            Instrument::Kick => (Sound::Kick(Kick::new()), 0.42, 0.0),
            Instrument::Shaker => (Sound::Shaker(Shaker::new(note)), 0.11, 0.1),
        };
        // Equal power: a voice is as loud at the side as it is in the middle.
        let (right, left) = ((note.pan + 1.0) * FRAC_PI_4).sin_cos();
        let level = level * note.velocity;
        Self { sound, gain: [left * level, right * level], echo_send }
    }

    /// The next frame, and how much of it goes to the echo.
    pub(super) fn next_frame(&mut self) -> ([f32; 2], f32) {
        let x = match &mut self.sound {
            Sound::String(string) => string.next_sample(),
            Sound::Pad(pad) => pad.next_sample(),
            Sound::Bass(bass) => bass.next_sample(),
            Sound::Kick(kick) => kick.next_sample(),
            Sound::Shaker(shaker) => shaker.next_sample(),
        };
        ([x * self.gain[0], x * self.gain[1]], self.echo_send)
    }

    pub(super) fn is_audible(&self) -> bool {
        match &self.sound {
            Sound::String(string) => string.loudness > SILENCE,
            Sound::Pad(pad) => pad.held_frames > 0 || pad.envelope > SILENCE,
            Sound::Bass(bass) => bass.envelope > SILENCE,
            Sound::Kick(kick) => kick.envelope > SILENCE,
            Sound::Shaker(shaker) => shaker.envelope > SILENCE,
        }
    }
}

fn frequency_hz(pitch: i32) -> f32 {
    440.0 * ((pitch - 69) as f32 / 12.0).exp2()
}

/// The factor that, applied once a frame, takes a level down by 60 dB in `seconds`.
fn decay_to_silence_in(seconds: f32) -> f32 {
    (-6.9 / (seconds * RATE_HZ as f32)).exp()
}

/// Karplus and Strong's string (Computer Music Journal 7:2, 1983): a burst of noise goes round a delay line one period
/// long and loses its edge a little on each round; an all-pass filter makes up the fraction of a sample that the tuning
/// needs (Jaffe and Smith, same issue).
#[derive(Debug)]
struct PluckedString {
    line: Vec<f32>,
    at: usize,
    before: f32,
    all_pass: f32,
    all_pass_in: f32,
    all_pass_out: f32,
    loss: f32,
    loudness: f32,
}

impl PluckedString {
    fn new(note: &Note) -> Self {
        let period = RATE_HZ as f32 / frequency_hz(note.pitch);
        // The average of two neighbours in `next_sample` delays by half a sample.
        let length = (period - 0.5).floor();
        let fraction = period - 0.5 - length;
        // Higher strings are shorter and die sooner: per round trip, from the time in which they fade.
        let seconds = 4.5 * (-(note.pitch - 40) as f32 / 24.0).exp2();
        let loss = (-6.9 * period / (seconds * RATE_HZ as f32)).exp();
        Self {
            line: Self::pluck(length as usize, note),
            at: 0,
            before: 0.0,
            all_pass: (1.0 - fraction) / (1.0 + fraction),
            all_pass_in: 0.0,
            all_pass_out: 0.0,
            loss,
            loudness: 1.0,
        }
    }

    /// The shape that the plectrum leaves: noise, softer for softer notes, without a steady part, and with the
    /// harmonics missing that have a node where it plucks, a fifth of the way along the string.
    fn pluck(length: usize, note: &Note) -> Vec<f32> {
        let mut rng = Rng::new(note.grain);
        let softness = 0.75 - 0.45 * note.velocity;
        let mut smooth = 0.0;
        let noise: Vec<f32> = (0..length)
            .map(|_| {
                smooth += (rng.bipolar() - smooth) * (1.0 - softness);
                smooth
            })
            .collect();
        let shift = length / 5;
        let mut shape: Vec<f32> = (0..length).map(|i| noise[i] - 0.9 * noise[(i + length - shift) % length]).collect();
        let mean = shape.iter().sum::<f32>() / length as f32;
        let peak = shape.iter().map(|x| (x - mean).abs()).fold(f32::MIN_POSITIVE, f32::max);
        for x in &mut shape {
            *x = (*x - mean) / peak;
        }
        shape
    }

    fn next_sample(&mut self) -> f32 {
        let out = self.line[self.at];
        let averaged = 0.5 * (out + self.before) * self.loss;
        self.before = out;
        let tuned = self.all_pass * (averaged - self.all_pass_out) + self.all_pass_in;
        self.all_pass_in = averaged;
        self.all_pass_out = tuned;
        self.line[self.at] = tuned;
        self.at += 1;
        if self.at == self.line.len() {
            self.at = 0;
            self.loudness *= self.loss;
        }
        out
    }
}

/// A sine that costs four multiplications a sample: a point on the unit circle, turned by a fixed angle.
#[derive(Debug)]
struct Rotor {
    cos: f32,
    sin: f32,
    turn_cos: f32,
    turn_sin: f32,
}

impl Rotor {
    fn new(frequency_hz: f32, phase: f32) -> Self {
        let (turn_sin, turn_cos) = (TAU * frequency_hz / RATE_HZ as f32).sin_cos();
        let (sin, cos) = (TAU * phase).sin_cos();
        Self { cos, sin, turn_cos, turn_sin }
    }

    fn next_sample(&mut self) -> f32 {
        let cos = self.cos * self.turn_cos - self.sin * self.turn_sin;
        self.sin = self.sin * self.turn_cos + self.cos * self.turn_sin;
        self.cos = cos;
        self.sin
    }
}

/// Three sines a shade apart that beat against each other, with an octave above; comes and goes slowly.
#[derive(Debug)]
struct Pad {
    rotors: [Rotor; 4],
    envelope: f32,
    held_frames: u64,
}

impl Pad {
    fn new(note: &Note) -> Self {
        let mut rng = Rng::new(note.grain);
        let hz = frequency_hz(note.pitch);
        let rotors = [hz * 0.9975, hz, hz * 1.0025, hz * 2.001].map(|hz| Rotor::new(hz, rng.unit()));
        Self { rotors, envelope: 0.0, held_frames: note.held_frames }
    }

    fn next_sample(&mut self) -> f32 {
        const ATTACK: f32 = 1.0 / (0.25 * RATE_HZ as f32);
        const RELEASE: f32 = 1.0 / (0.2 * RATE_HZ as f32);
        if self.held_frames > 0 {
            self.held_frames -= 1;
            self.envelope += (1.0 - self.envelope) * ATTACK;
        } else {
            self.envelope -= self.envelope * RELEASE;
        }
        let [low, middle, high, octave] = &mut self.rotors;
        let sum = low.next_sample() + middle.next_sample() + high.next_sample() + 0.3 * octave.next_sample();
        sum * self.envelope
    }
}

/// A round bass: a sine and a little of its octave.
#[derive(Debug)]
struct Bass {
    rotor: Rotor,
    attack: f32,
    envelope: f32,
    decay: f32,
    release: f32,
    held_frames: u64,
}

impl Bass {
    fn new(note: &Note) -> Self {
        Self {
            rotor: Rotor::new(frequency_hz(note.pitch), 0.0),
            attack: 0.0,
            envelope: 1.0,
            decay: decay_to_silence_in(2.5),
            release: decay_to_silence_in(0.12),
            held_frames: note.held_frames,
        }
    }

    fn next_sample(&mut self) -> f32 {
        // Six milliseconds of attack, or the start of the note clicks.
        self.attack += (1.0 - self.attack) * (1.0 / (0.006 * RATE_HZ as f32));
        self.envelope *= if self.held_frames > 0 { self.decay } else { self.release };
        self.held_frames = self.held_frames.saturating_sub(1);
        let sin = self.rotor.next_sample();
        let octave = 2.0 * sin * self.rotor.cos;
        (sin + 0.35 * octave) * self.attack * self.envelope
    }
}

/// A soft bass drum: a sine that falls from 120 Hz to 45 Hz.
#[derive(Debug)]
struct Kick {
    phase: f32,
    frequency_hz: f32,
    envelope: f32,
}

impl Kick {
    fn new() -> Self {
        Self { phase: 0.0, frequency_hz: 120.0, envelope: 1.0 }
    }

    fn next_sample(&mut self) -> f32 {
        self.frequency_hz += (45.0 - self.frequency_hz) * 0.0008;
        self.phase = (self.phase + self.frequency_hz / RATE_HZ as f32).fract();
        self.envelope *= 0.99965;
        (TAU * self.phase).sin() * self.envelope
    }
}

/// A shaker: noise without its low half, gone in a few hundredths of a second.
#[derive(Debug)]
struct Shaker {
    rng: Rng,
    low: f32,
    attack: f32,
    envelope: f32,
}

impl Shaker {
    fn new(note: &Note) -> Self {
        Self { rng: Rng::new(note.grain), low: 0.0, attack: 0.0, envelope: 1.0 }
    }

    fn next_sample(&mut self) -> f32 {
        let noise = self.rng.bipolar();
        self.low += (noise - self.low) * 0.55;
        self.attack += (1.0 - self.attack) * 0.01;
        self.envelope *= 0.9982;
        (noise - self.low) * self.attack * self.envelope
    }
}

/// An echo that bounces from one side to the other and gets darker with every bounce.
#[derive(Debug)]
pub(super) struct Echo {
    line: Vec<[f32; 2]>,
    at: usize,
    dark: [f32; 2],
}

impl Echo {
    pub(super) fn new(delay_frames: usize) -> Self {
        Self { line: vec![[0.0; 2]; delay_frames.max(1)], at: 0, dark: [0.0; 2] }
    }

    pub(super) fn next_frame(&mut self, [left, right]: [f32; 2]) -> [f32; 2] {
        const FEEDBACK: f32 = 0.38;
        let heard = self.line[self.at];
        self.dark[0] += (heard[0] - self.dark[0]) * 0.35;
        self.dark[1] += (heard[1] - self.dark[1]) * 0.35;
        self.line[self.at] = [left + self.dark[1] * FEEDBACK, right + self.dark[0] * FEEDBACK];
        self.at = (self.at + 1) % self.line.len();
        heard
    }
}
