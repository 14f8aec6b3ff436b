//! The music that the station plays: endless, generated, and the same for everyone who asks twice.
//!
//! A song is [`SONG_FRAMES`] long and depends on nothing but the seed and its own number: it is composed
//! (`score`), performed by a handful of instruments (`instruments`) and faded out before the next one starts.
//! So every sample of the station is a function of the seed and of a frame index, which is what lets a test ask
//! "is this file what the station played?" and compare sample by sample.

mod instruments;
mod score;

use instruments::{Echo, Voice};
use score::Score;

/// Frames per second of everything the station plays.
pub const RATE_HZ: u32 = 48_000;

/// Samples per frame: left, right.
pub const CHANNELS: usize = 2;

/// Length of every song: twelve seconds, so that a short demo hears at least one title change.
pub const SONG_FRAMES: u64 = 12 * RATE_HZ as u64;

/// The last stretch of a song, in which it fades to exact silence.
const FADE_OUT_FRAMES: u64 = RATE_HZ as u64;

/// The endless programme, one frame after the other.
#[derive(Debug)]
pub struct Music {
    seed: u64,
    song_number: u64,
    performance: Performance,
}

impl Music {
    /// The programme from its very first frame.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::from_song(seed, 0)
    }

    /// The programme from frame `frame` on: the same samples that [`Music::new`] would reach in time.
    ///
    /// Instruments remember what they played, so this performs the song from its start and discards what comes
    /// before `frame`: at most twelve seconds of music, a few milliseconds of work.
    #[must_use]
    pub fn at(seed: u64, frame: u64) -> Self {
        let mut music = Self::from_song(seed, frame / SONG_FRAMES);
        let mut frames_to_discard = (frame % SONG_FRAMES) as usize;
        let mut discarded = [0; 1024 * CHANNELS];
        while frames_to_discard > 0 {
            let frames = frames_to_discard.min(1024);
            music.render(&mut discarded[..frames * CHANNELS]);
            frames_to_discard -= frames;
        }
        music
    }

    fn from_song(seed: u64, song_number: u64) -> Self {
        Self { seed, song_number, performance: Performance::of(&Score::compose(seed, song_number)) }
    }

    /// The index of the frame that [`render`](Self::render) will give next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.song_number * SONG_FRAMES + self.performance.frame
    }

    /// Fills `out` with the next `out.len() / 2` frames, interleaved.
    ///
    /// How the programme is cut into calls makes no difference to the samples.
    ///
    /// # Panics
    /// If `out` ends in the middle of a frame.
    pub fn render(&mut self, out: &mut [i16]) {
        assert!(out.len().is_multiple_of(CHANNELS), "a buffer of {} samples holds half a frame", out.len());
        for frame in out.chunks_exact_mut(CHANNELS) {
            if self.performance.frame == SONG_FRAMES {
                *self = Self::from_song(self.seed, self.song_number + 1);
            }
            let [left, right] = self.performance.next_frame();
            frame[0] = to_sample(left);
            frame[1] = to_sample(right);
        }
    }
}

/// The title of song number `song_number`, as "Artist - Title".
#[must_use]
pub fn title(seed: u64, song_number: u64) -> String {
    Score::compose(seed, song_number).title
}

/// One song being played: the notes still to come, and those that sound.
#[derive(Debug)]
struct Performance {
    /// In order of their start.
    upcoming: std::vec::IntoIter<score::Note>,
    next: Option<score::Note>,
    sounding: Vec<Voice>,
    echo: Echo,
    frame: u64,
}

impl Performance {
    fn of(score: &Score) -> Self {
        let mut upcoming = score.notes.clone().into_iter();
        let next = upcoming.next();
        Self { upcoming, next, sounding: Vec::new(), echo: Echo::new(score.echo_frames), frame: 0 }
    }

    fn next_frame(&mut self) -> [f32; 2] {
        while let Some(note) = self.next.take_if(|note| note.start_frame <= self.frame) {
            self.sounding.push(Voice::new(&note));
            self.next = self.upcoming.next();
        }
        let mut mix = [0.0; 2];
        let mut echo_send = [0.0; 2];
        for voice in &mut self.sounding {
            let ([left, right], send) = voice.next_frame();
            mix[0] += left;
            mix[1] += right;
            echo_send[0] += left * send;
            echo_send[1] += right * send;
        }
        // Looking for voices that have died away on every frame would cost more than the voices themselves.
        if self.frame.is_multiple_of(256) {
            self.sounding.retain(Voice::is_audible);
        }
        let [left, right] = self.echo.next_frame(echo_send);
        let gain = self.master_gain();
        self.frame += 1;
        [saturate((mix[0] + left) * gain), saturate((mix[1] + right) * gain)]
    }

    /// Full, and over the last second a curve down to nothing.
    fn master_gain(&self) -> f32 {
        let left = (SONG_FRAMES - 1).saturating_sub(self.frame);
        if left >= FADE_OUT_FRAMES {
            return 1.0;
        }
        let x = left as f32 / FADE_OUT_FRAMES as f32;
        x * x * (3.0 - 2.0 * x)
    }
}

/// A soft ceiling just below full scale: linear where it is quiet, rounder the louder it gets, never above ±0.95.
fn saturate(x: f32) -> f32 {
    let x = x.clamp(-1.5, 1.5);
    0.95 * (x - x * x * x * (4.0 / 27.0))
}

fn to_sample(x: f32) -> i16 {
    (x * 32_767.0).round() as i16
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): the same numbers on
/// every machine and in every later version, which no random-number crate promises.
#[derive(Clone, Debug)]
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0.0..1.0`.
    fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Uniform in `-1.0..1.0`.
    fn bipolar(&mut self) -> f32 {
        self.unit() * 2.0 - 1.0
    }

    /// Uniform in `0..n`; the bias of the remainder is of no concern to a composer.
    fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n as u64) as usize
    }

    fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(music: &mut Music, frames: usize) -> Vec<i16> {
        let mut out = vec![0; frames * CHANNELS];
        music.render(&mut out);
        out
    }

    #[test]
    fn the_same_seed_plays_the_same_programme_however_it_is_cut() {
        let whole = render(&mut Music::new(7), 100_000);
        let mut music = Music::new(7);
        let mut pieces = Vec::new();
        for frames in [1, 255, 4096, 31, 50_000, 45_617] {
            pieces.extend(render(&mut music, frames));
        }
        assert_eq!(whole, pieces);
        assert_ne!(whole, render(&mut Music::new(8), 100_000));
    }

    #[test]
    fn any_frame_can_be_asked_for_also_across_songs() {
        let mut music = Music::new(3);
        let programme = render(&mut music, (2 * SONG_FRAMES + 5_000) as usize);
        for frame in [0, 1, 12_345, SONG_FRAMES - 1, SONG_FRAMES, 2 * SONG_FRAMES - 100] {
            let mut later = Music::at(3, frame);
            assert_eq!(later.position(), frame);
            let from = frame as usize * CHANNELS;
            assert_eq!(render(&mut later, 4_000), programme[from..from + 4_000 * CHANNELS], "from frame {frame}");
        }
    }

    #[test]
    fn it_is_music_and_not_silence_or_noise_at_full_scale() {
        for song in 0..4 {
            let samples = render(&mut Music::at(1, song * SONG_FRAMES), SONG_FRAMES as usize);
            let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap();
            let mean_square = samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64;
            let rms_db = 10.0 * (mean_square / 32_768f64.powi(2)).log10();
            assert!((8_000..=31_200).contains(&peak), "song {song} peaks at {peak}");
            assert!((-28.0..-10.0).contains(&rms_db), "song {song} has {rms_db:.1} dBFS");
            assert_eq!(samples[samples.len() - 2..], [0, 0], "song {song} must fade to silence");
        }
    }

    #[test]
    fn titles_have_an_artist_and_follow_the_songs() {
        let titles: Vec<_> = (0..10).map(|song| title(1, song)).collect();
        for title in &titles {
            assert_eq!(title.split(" - ").count(), 2, "{title}");
        }
        let mut distinct = titles.clone();
        distinct.dedup();
        assert_eq!(distinct, titles, "neighbouring songs have titles of their own");
    }
}
