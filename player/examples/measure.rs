//! Measures what is in a WAV file that should hold a sine: how long, at which frequency, and whether it is whole.
//!
//! ```text
//! cargo run --release -p roundelay-player --example measure -- heard.wav
//! ```
//!
//! Prints a line of JSON. The file is cut where all channels are silent, and where the frequency changes; of each piece
//! the frequency is the slope of its phase against time, and so exact to a small fraction of a hertz for a second of
//! audio, whatever the codec did to the amplitude. A phase that jumps says that frames are missing, or are there twice.
//! Only the first channel is looked at for that.

use std::error::Error;
use std::f64::consts::TAU;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hound::{SampleFormat, WavReader};
use serde::Serialize;

/// A phase is taken of so much audio: at 300 Hz six periods.
const BLOCK_SECONDS: f64 = 0.02;

/// Less than so much of full scale is silence: a codec's noise, and not even the zero crossings of a sine.
const SILENCE: f32 = 3e-4;

/// Silence that lasts so long is a gap.
const LEAST_GAP_SECONDS: f64 = 0.003;

/// Blocks are of the same tone while their frequencies differ by no more.
const SAME_TONE_HZ: f64 = 4.0;

/// A tone that is shorter is an edge between two others.
const LEAST_TONE_BLOCKS: usize = 3;

/// A phase that jumps by more, in radians, is a discontinuity: at 440 Hz and 48 kHz, five frames.
const JUMP: f64 = 0.3;

/// A jump is one from what was usual over so many blocks: the frequency may drift.
const USUAL_BLOCKS: usize = 15;

/// Measures what is in a WAV file that should hold a sine: how long, at which frequency, and whether it is whole.
#[derive(Debug, Parser)]
struct Cli {
    /// The file
    wav: PathBuf,

    /// Look at what begins so many seconds into it
    #[arg(long, default_value_t = 0.0)]
    from: f64,

    /// Look at so many seconds of it
    #[arg(long)]
    seconds: Option<f64>,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    rate_hz: u32,
    channels: usize,
    /// All of them, whatever was looked at.
    frames: usize,
    seconds: f64,
    /// For each channel, in decibels of a square wave at full scale.
    rms_dbfs: Vec<f64>,
    /// Of the longest tone.
    frequency_hz: Option<f64>,
    leading_silence_seconds: f64,
    trailing_silence_seconds: f64,
    /// Silences in between.
    gaps: Vec<Gap>,
    /// Jumps of the phase within a tone.
    discontinuities: usize,
    tones: Vec<Tone>,
}

#[derive(Debug, Serialize)]
struct Gap {
    at_seconds: f64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Tone {
    at_seconds: f64,
    seconds: f64,
    frequency_hz: f64,
    /// Where its phase jumps.
    jumps_at: Vec<f64>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let mut wav = WavReader::open(&cli.wav)?;
    let spec = wav.spec();
    let samples: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => wav.samples().collect::<Result<_, _>>()?,
        SampleFormat::Int => {
            let full_scale = (1_i64 << (spec.bits_per_sample - 1)) as f32;
            wav.samples::<i32>()
                .map(|sample| sample.map(|sample| sample as f32 / full_scale))
                .collect::<Result<_, _>>()?
        }
    };
    let channels = usize::from(spec.channels);
    let rate_hz = f64::from(spec.sample_rate);
    let frames = samples.len() / channels;
    let frame_of = |seconds: f64| ((seconds * rate_hz) as usize).min(frames);
    let first = frame_of(cli.from);
    let last = cli.seconds.map_or(frames, |seconds| frame_of(cli.from + seconds));
    let heard = &samples[first * channels..last * channels];
    let report = measure(heard, channels, spec.sample_rate, frames, first);
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(())
}

fn measure(samples: &[f32], channels: usize, rate_hz: u32, frames: usize, first: usize) -> Report {
    let rate = f64::from(rate_hz);
    let seconds_of = |frame: usize| round((first + frame) as f64 / rate, 1e3);
    let silences = silences(samples, channels, (LEAST_GAP_SECONDS * rate) as usize);
    let mono: Vec<f32> = samples.iter().step_by(channels).copied().collect();
    let mut report = Report {
        rate_hz,
        channels,
        frames,
        seconds: round(frames as f64 / rate, 1e3),
        rms_dbfs: (0..channels).map(|channel| rms_dbfs(samples, channels, channel)).collect(),
        frequency_hz: None,
        leading_silence_seconds: 0.0,
        trailing_silence_seconds: 0.0,
        gaps: Vec::new(),
        discontinuities: 0,
        tones: Vec::new(),
    };
    let mut from = 0;
    for (start, end) in silences.into_iter().chain([(mono.len(), mono.len())]) {
        report.tones.extend(tones(&mono[from..start], rate).into_iter().map(|tone| Tone {
            at_seconds: seconds_of(from + tone.start),
            seconds: round((tone.end - tone.start) as f64 / rate, 1e3),
            frequency_hz: round(tone.frequency_hz, 1e3),
            jumps_at: tone.jumps.iter().map(|jump| seconds_of(from + jump)).collect(),
        }));
        let seconds = round((end - start) as f64 / rate, 1e4);
        match (start, end) {
            _ if start == end => {}
            (0, _) => report.leading_silence_seconds = seconds,
            // Before its first whole frame a lossy codec hums.
            _ if report.tones.is_empty() => {
                report.leading_silence_seconds = round(end as f64 / rate, 1e4);
            }
            _ if end == mono.len() => report.trailing_silence_seconds = seconds,
            _ => report.gaps.push(Gap { at_seconds: seconds_of(start), seconds }),
        }
        from = end;
    }
    report.discontinuities = report.tones.iter().map(|tone| tone.jumps_at.len()).sum();
    let longest = report.tones.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    report.frequency_hz = longest.map(|tone| tone.frequency_hz);
    report
}

/// Where every channel is silent for at least `least` frames.
fn silences(samples: &[f32], channels: usize, least: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut since = None;
    let frames = samples.len() / channels;
    for (at, frame) in samples.chunks_exact(channels).enumerate() {
        if frame.iter().all(|sample| sample.abs() < SILENCE) {
            since.get_or_insert(at);
        } else if let Some(start) = since.take().filter(|start| at - start >= least) {
            found.push((start, at));
        }
    }
    found.extend(since.filter(|start| frames - start >= least).map(|start| (start, frames)));
    found
}

/// A stretch of one frequency, in frames.
struct Found {
    start: usize,
    end: usize,
    frequency_hz: f64,
    jumps: Vec<usize>,
}

/// Cuts what has no silence in it where the frequency changes.
fn tones(mono: &[f32], rate: f64) -> Vec<Found> {
    let block = (BLOCK_SECONDS * rate) as usize;
    let frequencies: Vec<_> = mono.chunks_exact(block).map(|block| crossings_hz(block, rate)).collect();
    let mut found = Vec::new();
    let mut start = 0;
    for at in 1..=frequencies.len() {
        let about = median(&frequencies[start.max(at.saturating_sub(USUAL_BLOCKS))..at]);
        let is_same = |frequency: &f64| (frequency - about).abs() <= SAME_TONE_HZ;
        // One block that differs, between others that do not, is an accident within a tone.
        if frequencies.get(at).is_some_and(is_same) || frequencies.get(at + 1).is_some_and(is_same) {
            continue;
        }
        if at - start >= LEAST_TONE_BLOCKS {
            let end = if at == frequencies.len() { mono.len() } else { at * block };
            let (from, about) = (start * block, median(&frequencies[start..at]));
            let (frequency_hz, jumps) = follow_phase(&mono[from..end], block, about, rate);
            let jumps = jumps.into_iter().map(|jump| from + jump).collect();
            found.push(Found { start: from, end, frequency_hz, jumps });
        }
        start = at;
    }
    found
}

/// About the frequency of a short piece, from its first and last upward zero crossing.
fn crossings_hz(piece: &[f32], rate: f64) -> f64 {
    let (mut first, mut last, mut periods) = (None, 0.0, 0_u32);
    for (at, pair) in piece.windows(2).enumerate() {
        if pair[0] < 0.0 && pair[1] >= 0.0 {
            last = at as f64 + f64::from(pair[0] / (pair[0] - pair[1]));
            periods += u32::from(first.is_some());
            first.get_or_insert(last);
        }
    }
    first.filter(|_| periods > 0).map_or(0.0, |first| f64::from(periods) * rate / (last - first))
}

/// The frequency of a tone that is about `about` hertz, and the frames at which its phase jumps.
fn follow_phase(tone: &[f32], block: usize, about: f64, rate: f64) -> (f64, Vec<usize>) {
    let step = TAU * about / rate;
    // The phase of each block, against an even sine of that frequency.
    let phases: Vec<f64> = (tone.chunks_exact(block).enumerate())
        .map(|(index, samples)| {
            let (mut re, mut im) = (0.0, 0.0);
            for (at, &sample) in samples.iter().enumerate() {
                let window = 0.5 - 0.5 * (TAU * at as f64 / block as f64).cos();
                let angle = step * ((index * block + at) as f64);
                re += window * f64::from(sample) * angle.cos();
                im -= window * f64::from(sample) * angle.sin();
            }
            im.atan2(re)
        })
        .collect();
    let turns: Vec<f64> = phases.windows(2).map(|pair| wrap(pair[1] - pair[0])).collect();
    let mut jumps: Vec<usize> = Vec::new();
    let mut smooth = Vec::with_capacity(turns.len());
    // A jump within a block shows in the differences to both of its neighbours.
    let mut in_jump_until = 0;
    for (at, &turn) in turns.iter().enumerate() {
        let from = at.saturating_sub(USUAL_BLOCKS / 2).min(turns.len().saturating_sub(USUAL_BLOCKS));
        let usual = median(&turns[from..turns.len().min(from + USUAL_BLOCKS)]);
        let both = turns.get(at + 1).map_or(0.0, |next| wrap(turn + next - 2.0 * usual));
        if wrap(turn - usual).abs() > JUMP || both.abs() > JUMP {
            if at >= in_jump_until {
                jumps.push((at + 1) * block);
            }
            in_jump_until = at + 2;
            smooth.push(usual);
        } else {
            smooth.push(turn);
        }
    }
    // Least squares through the phases, without the jumps.
    let mut phase = 0.0;
    let mut points = vec![0.0];
    points.extend(smooth.iter().map(|turn| {
        phase += turn;
        phase
    }));
    let n = points.len() as f64;
    let (mean_at, mean) = ((n - 1.0) / 2.0, points.iter().sum::<f64>() / n);
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (at, point) in points.iter().enumerate() {
        covariance += (at as f64 - mean_at) * (point - mean);
        variance += (at as f64 - mean_at).powi(2);
    }
    let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
    (about + slope / TAU * rate / block as f64, jumps)
}

fn wrap(angle: f64) -> f64 {
    angle - TAU * (angle / TAU).round()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn rms_dbfs(samples: &[f32], channels: usize, channel: usize) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for &sample in samples.iter().skip(channel).step_by(channels) {
        sum += f64::from(sample).powi(2);
        count += 1;
    }
    round(10.0 * (sum / f64::from(count.max(1))).max(1e-12).log10(), 1e1)
}

fn round(value: f64, per_unit: f64) -> f64 {
    (value * per_unit).round() / per_unit
}
