//! What it costs to convert a second of audio: milliseconds of processor time, the median of nine, the least and the most.

use std::error::Error;
use std::time::Instant;

use roundelay_player::convert::{Converter, Layout};

/// As an MP3 decoder gives them.
const PIECE_FRAMES: usize = 1_152;

const SECONDS: u32 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let layout = |rate_hz, channels| Layout { rate_hz, channels };
    for (from, to, speed) in [
        (layout(48_000, 2), layout(48_000, 2), 1.0),
        (layout(48_000, 2), layout(48_000, 2), 1.001),
        (layout(44_100, 2), layout(48_000, 2), 1.0),
        (layout(44_100, 1), layout(48_000, 2), 1.0),
        (layout(48_000, 6), layout(44_100, 2), 1.0),
        (layout(96_000, 2), layout(48_000, 2), 1.0),
    ] {
        let mut converter = Converter::new(from, to)?;
        converter.set_speed(speed);
        let wave = |n: usize| (n as f32 * 0.0576).sin() * 0.5;
        let input: Vec<f32> = (0..PIECE_FRAMES * from.channels).map(|n| wave(n / from.channels)).collect();
        let mut out = Vec::new();
        let mut times = [0.0; 9];
        for time in &mut times {
            let start = Instant::now();
            for _ in 0..SECONDS * from.rate_hz / PIECE_FRAMES as u32 {
                out.clear();
                converter.push(&input, &mut out);
            }
            *time = start.elapsed().as_secs_f64() * 1e3 / f64::from(SECONDS);
        }
        times.sort_by(f64::total_cmp);
        println!("{from:?} to {to:?} at {speed}: {:.2} ms a second ({:.2} to {:.2})", times[4], times[0], times[8]);
    }
    Ok(())
}
