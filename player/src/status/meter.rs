//! A level meter: the peak falls slowly enough to be read, the body of the bar follows the loudness.

use std::time::Duration;

use unicode_width::UnicodeWidthStr;

/// The left end of the bar.
const FLOOR_DB: f32 = -60.0;

/// How fast a peak falls that is not reached again.
const FALL_DB_PER_SECOND: f32 = 20.0;

/// The levels of all channels over time.
#[derive(Clone, Debug)]
pub struct Meter {
    levels: Vec<Level>,
}

/// The level of one channel, in decibels below full scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The largest sample of late.
    pub peak_db: f32,
    /// The loudness of the last look: the root of the mean square.
    pub rms_db: f32,
}

impl Meter {
    /// A meter at rest.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self { levels: vec![Level { peak_db: FLOOR_DB, rms_db: FLOOR_DB }; channels] }
    }

    /// Shows the interleaved samples that were heard last, `elapsed` after the look before.
    pub fn show(&mut self, samples: &[f32], elapsed: Duration) {
        let channels = self.levels.len();
        for (channel, level) in self.levels.iter_mut().enumerate() {
            let (mut peak, mut sum, mut count) = (0.0f32, 0.0f32, 0u32);
            for sample in samples.iter().skip(channel).step_by(channels) {
                peak = peak.max(sample.abs());
                sum += sample * sample;
                count += 1;
            }
            let fallen = level.peak_db - FALL_DB_PER_SECOND * elapsed.as_secs_f32();
            level.peak_db = decibels(peak).max(fallen).max(FLOOR_DB);
            level.rms_db = decibels((sum / count.max(1) as f32).sqrt());
        }
    }

    /// One for each channel.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }
}

fn decibels(amplitude: f32) -> f32 {
    (20.0 * amplitude.max(f32::MIN_POSITIVE).log10()).clamp(FLOOR_DB, 0.0)
}

impl Level {
    /// The level as a bar of `cells` with a name before it and the peak behind it.
    pub(super) fn bar(&self, name: &str, cells: usize) -> String {
        let cell_of = |db: f32| ((1.0 - db / FLOOR_DB) * cells as f32).round() as usize;
        let body = cell_of(self.rms_db).min(cells);
        let mut bar: Vec<char> = "█".repeat(body).chars().chain(" ".repeat(cells - body).chars()).collect();
        let peak = cell_of(self.peak_db).saturating_sub(1);
        if let Some(cell) = bar.get_mut(peak).filter(|cell| **cell == ' ' && self.peak_db > FLOOR_DB) {
            *cell = '|';
        }
        let bar: String = bar.into_iter().collect();
        debug_assert_eq!(bar.width(), cells);
        format!("{name} ▕{bar}▏ {:5.1} dBFS", self.peak_db)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_scale_is_nought_and_silence_is_the_floor() {
        let mut meter = Meter::new(2);
        meter.show(&[1.0, 0.0, -1.0, 0.0], Duration::ZERO);
        assert_eq!(meter.levels()[0], Level { peak_db: 0.0, rms_db: 0.0 });
        assert_eq!(meter.levels()[1], Level { peak_db: FLOOR_DB, rms_db: FLOOR_DB });
    }

    #[test]
    fn a_peak_falls_slowly_and_the_loudness_at_once() {
        let mut meter = Meter::new(1);
        meter.show(&[1.0; 4], Duration::ZERO);
        meter.show(&[0.0; 4], Duration::from_millis(500));
        assert_eq!(meter.levels()[0], Level { peak_db: -10.0, rms_db: FLOOR_DB });
    }

    #[test]
    fn a_bar_has_its_body_and_its_peak() {
        let level = Level { peak_db: -6.0, rms_db: -30.0 };
        assert_eq!(level.bar("L", 10), "L ▕█████   | ▏  -6.0 dBFS");
    }
}
