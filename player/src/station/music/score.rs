//! Composing a song: chords, bass, a plucked figure, a tune, a little percussion, and a title.
//!
//! All songs are eight chords of a second and a half each. What differs is the metre they are counted in, the key and
//! mode, the progression, the figures, and how busy the tune is.

use super::{RATE_HZ, Rng, SONG_FRAMES};

/// Eight chords make a song.
const CHORDS: usize = 8;
const CHORD_FRAMES: u64 = SONG_FRAMES / CHORDS as u64;

/// What a note is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instrument {
    /// A plucked string: the figure and the tune.
    String,
    /// A soft held chord under everything.
    Pad,
    Bass,
    Kick,
    Shaker,
}

/// One note, as written.
#[derive(Clone, Debug)]
pub(super) struct Note {
    /// From the start of the song.
    pub(super) start_frame: u64,
    /// How long the note is held; strings and drums ring as long as they like.
    pub(super) held_frames: u64,
    /// MIDI note number; 69 is the A of 440 Hz.
    pub(super) pitch: i32,
    /// 0 to 1.
    pub(super) velocity: f32,
    /// -1 (left) to 1 (right).
    pub(super) pan: f32,
    pub(super) instrument: Instrument,
    /// Makes two plucks of the same pitch differ, as they do on a real string.
    pub(super) grain: u64,
}

/// A song on paper.
#[derive(Debug)]
pub(super) struct Score {
    /// "Artist - Title".
    pub(super) title: String,
    /// In order of their start.
    pub(super) notes: Vec<Note>,
    /// Delay of the echo, a musical fraction of the bar.
    pub(super) echo_frames: usize,
}

impl Score {
    pub(super) fn compose(seed: u64, song_number: u64) -> Self {
        // Songs are independent of each other, so that any of them can be played without those before it.
        let mut rng = Rng::new(seed ^ song_number.wrapping_mul(0xd1b5_4a32_d192_ed03));
        let title = compose_title(&mut rng);
        let mut composer = Composer::new(rng);
        composer.write_pad();
        composer.write_bass();
        composer.write_figure();
        composer.write_tune();
        composer.write_percussion();
        composer.write_ending();
        let mut notes = composer.notes;
        notes.sort_by_key(|note| note.start_frame);
        Self { title, notes, echo_frames: composer.metre.step_frames() as usize * 3 }
    }
}

/// How a chord's second and a half is counted.
#[derive(Clone, Copy, Debug)]
enum Metre {
    /// Two slow beats of four sixteenths: 80 to the minute.
    Slow,
    /// Three beats of two eighths: 120 to the minute.
    Waltz,
    /// Four beats of two eighths: 160 to the minute.
    Brisk,
}

impl Metre {
    fn steps(self) -> u64 {
        match self {
            Self::Waltz => 6,
            Self::Slow | Self::Brisk => 8,
        }
    }

    fn steps_per_beat(self) -> u64 {
        match self {
            Self::Slow => 4,
            Self::Waltz | Self::Brisk => 2,
        }
    }

    fn step_frames(self) -> u64 {
        CHORD_FRAMES / self.steps()
    }

    fn is_beat(self, step: u64) -> bool {
        step.is_multiple_of(self.steps_per_beat())
    }
}

/// A seven-note scale, as semitones above its root, and progressions that sound well in it (scale degrees from 0).
struct Mode {
    scale: [i32; 7],
    progressions: &'static [[usize; 4]],
}

const MODES: &[Mode] = &[
    // Major.
    Mode {
        scale: [0, 2, 4, 5, 7, 9, 11],
        progressions: &[[0, 4, 5, 3], [0, 5, 3, 4], [0, 2, 3, 4], [3, 0, 4, 5], [0, 3, 1, 4]],
    },
    // Natural minor.
    Mode { scale: [0, 2, 3, 5, 7, 8, 10], progressions: &[[0, 5, 2, 6], [0, 3, 6, 2], [0, 6, 5, 6], [5, 6, 0, 0]] },
    // Dorian.
    Mode { scale: [0, 2, 3, 5, 7, 9, 10], progressions: &[[0, 3, 0, 6], [0, 6, 3, 3], [0, 2, 3, 0]] },
    // Mixolydian.
    Mode { scale: [0, 2, 4, 5, 7, 9, 10], progressions: &[[0, 6, 3, 0], [0, 4, 6, 3], [3, 0, 6, 0]] },
];

struct Composer {
    rng: Rng,
    metre: Metre,
    scale: [i32; 7],
    /// MIDI number of the key's root, around the A below middle C.
    root: i32,
    /// The scale degree on which each chord is built.
    chords: [usize; CHORDS],
    notes: Vec<Note>,
}

impl Composer {
    fn new(mut rng: Rng) -> Self {
        let metre = *rng.pick(&[Metre::Slow, Metre::Waltz, Metre::Brisk]);
        let mode = rng.pick(MODES);
        let first = *rng.pick(mode.progressions);
        let second = if rng.chance(0.5) { first } else { *rng.pick(mode.progressions) };
        let mut chords = [0; CHORDS];
        chords[..4].copy_from_slice(&first);
        chords[4..].copy_from_slice(&second);
        // Whatever happened before, a song comes home.
        chords[CHORDS - 1] = 0;
        Self { metre, scale: mode.scale, root: 52 + rng.below(9) as i32, chords, rng, notes: Vec::new() }
    }

    /// The pitch of a scale degree, which may lie below the root or above the octave.
    fn pitch(&self, degree: i32) -> i32 {
        self.root + 12 * degree.div_euclid(7) + self.scale[degree.rem_euclid(7) as usize]
    }

    /// The degrees of a chord, counted upwards from its root in thirds, without end.
    fn chord_degree(&self, chord: usize, tone: usize) -> i32 {
        let octave = 7 * (tone / 3) as i32;
        self.chords[chord] as i32 + 2 * (tone % 3) as i32 + octave
    }

    /// The tone of a chord that lies next to a degree.
    fn nearest_chord_degree(&self, chord: usize, degree: i32) -> i32 {
        let distance = |tone: &i32| ((degree - tone).abs(), *tone);
        (0..9).map(|tone| self.chord_degree(chord, tone) - 7).min_by_key(distance).unwrap_or(degree)
    }

    fn at(&self, chord: usize, step: u64) -> u64 {
        chord as u64 * CHORD_FRAMES + step * self.metre.step_frames()
    }

    fn note(&mut self, instrument: Instrument, start_frame: u64, pitch: i32, velocity: f32, pan: f32) {
        let grain = self.rng.next_u64();
        let held_frames = CHORD_FRAMES;
        self.notes.push(Note { start_frame, held_frames, pitch, velocity, pan, instrument, grain });
    }

    /// Chords are brought near each other: each tone sits in the octave around the root.
    fn write_pad(&mut self) {
        for chord in 0..CHORDS {
            for tone in 0..3 {
                let degree = self.chord_degree(chord, tone);
                let pitch = self.root - 5 + (self.pitch(degree) - self.root + 5).rem_euclid(12);
                let pan = [-0.7, 0.0, 0.7][tone];
                self.note(Instrument::Pad, self.at(chord, 0), pitch, 0.5, pan);
            }
        }
    }

    fn write_bass(&mut self) {
        let walks = self.rng.chance(0.5);
        let metre = self.metre;
        for chord in 0..CHORDS - 1 {
            let root = self.chords[chord] as i32 - 7;
            self.bass_note(self.at(chord, 0), root, 0.9);
            for step in (1..metre.steps()).filter(|&step| metre.is_beat(step)) {
                if walks || step * 2 == metre.steps() {
                    // The fifth, or the octave, on the beats in between.
                    let degree = root + *self.rng.pick(&[4, 4, 7, 0]);
                    self.bass_note(self.at(chord, step), degree, 0.6);
                }
            }
        }
    }

    fn bass_note(&mut self, start_frame: u64, degree: i32, velocity: f32) {
        let mut pitch = self.pitch(degree);
        while pitch > 50 {
            pitch -= 12;
        }
        self.note(Instrument::Bass, start_frame, pitch, velocity, 0.0);
        if let Some(note) = self.notes.last_mut() {
            note.held_frames = self.metre.step_frames() * self.metre.steps_per_beat();
        }
    }

    /// A broken chord that repeats under all of the song, strings to the left and right in turn.
    fn write_figure(&mut self) {
        const FIGURES: &[[usize; 8]] =
            &[[0, 1, 2, 3, 2, 1, 2, 1], [0, 2, 1, 2, 3, 2, 1, 2], [0, 2, 3, 4, 3, 2, 3, 2], [2, 1, 0, 1, 2, 3, 2, 1]];
        let figure = *self.rng.pick(FIGURES);
        for chord in 0..CHORDS - 1 {
            for step in 0..self.metre.steps() {
                let degree = self.chord_degree(chord, figure[step as usize]);
                let accent = if step == 0 { 0.55 } else { 0.32 + 0.12 * self.rng.unit() };
                let pan = if step % 2 == 0 { -0.55 } else { 0.55 };
                let late = self.breath();
                self.note(Instrument::String, self.at(chord, step) + late, self.pitch(degree), accent, pan);
            }
        }
    }

    /// A tune of two phrases: the first comes twice, fitted to the chords of the moment, then a contrast, then again.
    fn write_tune(&mut self) {
        let statement = self.invent_phrase();
        let contrast = self.invent_phrase();
        for (at, phrase) in [(0, &statement), (2, &statement), (4, &contrast), (6, &statement)] {
            for &(step, degree, velocity) in phrase {
                let chord = at + (step / self.metre.steps()) as usize;
                if chord == CHORDS - 1 {
                    break;
                }
                let step = step % self.metre.steps();
                // On a beat the tune agrees with the chord; in between it may pass through anything in the scale.
                let degree = if self.metre.is_beat(step) { self.nearest_chord_degree(chord, degree) } else { degree };
                let start_frame = self.at(chord, step) + self.breath();
                self.note(Instrument::String, start_frame, self.pitch(degree) + 12, velocity, 0.12);
            }
        }
    }

    /// Steps, degrees and velocities over two chords: mostly neighbouring tones, now and then a leap.
    fn invent_phrase(&mut self) -> Vec<(u64, i32, f32)> {
        let busy = 0.25 + 0.3 * self.rng.unit();
        let mut degree = *self.rng.pick(&[2, 4, 7]);
        let mut phrase = Vec::new();
        for step in 0..self.metre.steps() * 2 {
            let sounds = if self.metre.is_beat(step) { self.rng.chance(0.8) } else { self.rng.chance(busy) };
            if !sounds {
                continue;
            }
            phrase.push((step, degree, 0.6 + 0.25 * self.rng.unit()));
            degree += *self.rng.pick(&[-1, -1, 1, 1, 2, -2, 0, 3]);
            degree = degree.clamp(-1, 9);
        }
        phrase
    }

    fn write_percussion(&mut self) {
        if self.rng.chance(0.2) {
            return;
        }
        let steps = self.metre.steps();
        // The song starts on its own and the drums come in with the second chord.
        for chord in 1..CHORDS - 1 {
            self.note(Instrument::Kick, self.at(chord, 0), 0, 0.8, 0.0);
            if matches!(self.metre, Metre::Slow | Metre::Brisk) {
                self.note(Instrument::Kick, self.at(chord, steps / 2), 0, 0.55, 0.0);
            }
            for step in 1..steps {
                let on_beat = self.metre.is_beat(step);
                let velocity = if on_beat { 0.5 } else { 0.22 + 0.1 * self.rng.unit() };
                let start_frame = self.at(chord, step) + self.breath();
                self.note(Instrument::Shaker, start_frame, 0, velocity, if on_beat { 0.25 } else { 0.4 });
            }
        }
    }

    /// The last chord is strummed once, from the lowest string up, and left to ring.
    fn write_ending(&mut self) {
        let last = CHORDS - 1;
        self.bass_note(self.at(last, 0), -7, 0.9);
        if let Some(note) = self.notes.last_mut() {
            note.held_frames = CHORD_FRAMES;
        }
        for tone in 0..6 {
            let start_frame = self.at(last, 0) + tone as u64 * u64::from(RATE_HZ) / 40;
            let pitch = self.pitch(self.chord_degree(last, tone));
            self.note(Instrument::String, start_frame, pitch, 0.5, -0.5 + 0.2 * tone as f32);
        }
    }

    /// Nobody plays exactly on the grid: up to eight milliseconds late.
    fn breath(&mut self) -> u64 {
        self.rng.below(RATE_HZ as usize / 125) as u64
    }
}

fn compose_title(rng: &mut Rng) -> String {
    const PLACES: &[&str] = &[
        "Hawthorn",
        "Saltmarsh",
        "Lowland",
        "Kestrel",
        "Juniper",
        "Tidewater",
        "Ember",
        "Halcyon",
        "Bramble",
        "Orchard",
        "Driftwood",
        "Lantern",
        "Marrow",
        "Northlight",
        "Fallow",
        "Quarry",
    ];
    const GROUPS: &[&str] = &[
        "Trio",
        "Society",
        "Quartet",
        "& Daughters",
        "Assembly",
        "Strings",
        "Collective",
        "& Ebb",
        "Radio Club",
        "Ramblers",
    ];
    const QUALITIES: &[&str] = &[
        "Slow",
        "Silver",
        "Borrowed",
        "Distant",
        "Paper",
        "Quiet",
        "Winding",
        "Amber",
        "Late",
        "Northern",
        "Hidden",
        "Open",
        "Half-Lit",
        "Small",
        "Second",
        "Wandering",
    ];
    const THINGS: &[&str] = &[
        "Lanterns", "Harbour", "Rounds", "Letters", "Rain", "Bridges", "Swallows", "Hours", "Gardens", "Rivers",
        "Windows", "Snow", "Ferry", "Orbits", "Stairs", "Morning",
    ];
    format!("{} {} - {} {}", rng.pick(PLACES), rng.pick(GROUPS), rng.pick(QUALITIES), rng.pick(THINGS))
}
