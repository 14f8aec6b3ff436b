//! What a write costs when what is there is in many pieces, as several connections leave it.

use super::{
    ours::Ours,
    store::{PAGE, Store, StoreReader, StoreWriter, folder},
    theirs::{NAME, Theirs},
};
use crate::{
    buffer::{check, fill},
    race::{Races, median, nanos},
};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How many bytes a fragment has at first.
const FRAGMENT: u64 = 64;

/// How many bytes a write adds to the end of one.
const STEP: u64 = 4;

/// So many fragments are written to, spread over all of them. As many whatever there is beside them, so that the pages
/// written are warm alike and the number of fragments is all that differs.
const WRITTEN: u64 = 10;

/// How many writes there are in a round, if there is room for them.
const WRITES: u64 = 60;

/// Where the fragments are.
#[derive(Clone, Copy)]
struct Layout {
    name: &'static str,
    /// From one fragment to the next, in bytes.
    spacing: u64,
    /// How long a fragment may become.
    room: u64,
}

const APART: Layout = Layout { name: "one in each second block", spacing: 2 * PAGE, room: PAGE };

/// More than our word for each block can say.
const DENSE: Layout = Layout { name: "eight in each block", spacing: PAGE / 8, room: PAGE / 8 - STEP };

pub fn run(races: &mut Races) {
    let counts = races.effort.fragments;
    let stores = counts.map(|count| race(races, count));
    for who in 0..stores[0].len() {
        let of = stores.each_ref().map(|stores| &stores[who]);
        let nanos = of.map(|store| median(&store.times));
        let list = |figures: [f64; 3], digits| figures.map(|figure| format!("{figure:.digits$}")).join(", ");
        races.note(format!(
            "file write, {STEP} B, at {} fragments, {}: {} ns, {} times that at {}; {:.1} s to write all these fragments.",
            counts.map(|count| count.to_string()).join(", "),
            of[0].name,
            list(nanos, 0),
            list(nanos.map(|n| n / nanos[0]), 2),
            counts[0],
            of[2].to_get_there.as_secs_f64()
        ));
    }
}

/// Ours in both layouts and theirs, with `count` fragments each, and the times that they took.
fn race(races: &mut Races, count: u64) -> [Contestant; 3] {
    let rounds = races.effort.rounds;
    // Theirs has one layout, to which it takes minutes to get: a set of ranges does not care how far they are apart.
    let mut stores = [
        Contestant::new(&Ours::AT_COMMIT, "ours, one in each second block", APART, count, rounds),
        Contestant::new(&Ours::AT_COMMIT, "ours, eight in each block", DENSE, count, rounds),
        Contestant::new(&Theirs, NAME, APART, count, rounds),
    ];
    for round in 0..rounds {
        for turn in 0..stores.len() {
            // Another one goes first in each round.
            let store = &mut stores[(turn + round) % 3];
            let time = (store.round)();
            store.times.push(time);
        }
    }
    let [ours @ .., theirs] = &stores;
    for (ours, layout) in ours.iter().zip([APART, DENSE]) {
        let (work, column) = (format!("file write, {STEP} B, among"), format!("{count} fragments"));
        races.add(&work, layout.name, &column, theirs.name, &ours.times, &theirs.times);
    }
    stores
}

struct Contestant {
    name: &'static str,
    /// How long it took to write the fragments.
    to_get_there: Duration,
    /// Nanoseconds for each write, in every round.
    times: Vec<f64>,
    /// Writes, and returns such a time.
    round: Box<dyn FnMut() -> f64>,
}

impl Contestant {
    fn new<S: Store + 'static>(store: &S, name: &'static str, layout: Layout, count: u64, rounds: usize) -> Self {
        let start = Instant::now();
        let mut fragments = Fragments::new(store, name, layout, count);
        let to_get_there = start.elapsed();
        fragments.verify(layout, count);

        let steps = (layout.room - FRAGMENT) / STEP;
        let mut offsets = (0..steps).flat_map(move |step| {
            (0..WRITTEN).map(move |i| i * (count / WRITTEN) * layout.spacing + FRAGMENT + step * STEP)
        });
        // There is one round more, which warms up.
        let writes = WRITES.min(steps * WRITTEN / (rounds as u64 + 1));
        let mut round = move || {
            let pieces: Vec<_> = offsets.by_ref().take(writes as usize).map(piece).collect();
            fragments.write(&pieces)
        };
        round();
        Self { name, to_get_there, times: Vec::new(), round: Box::new(round) }
    }
}

type Piece = (u64, [u8; STEP as usize]);

fn piece(offset: u64) -> Piece {
    let mut bytes = [0; STEP as usize];
    fill(offset, &mut bytes);
    (offset, bytes)
}

/// A store with fragments in it.
struct Fragments<S: Store> {
    writer: S::Writer,
    reader: S::Reader,
    name: &'static str,
    // Goes last.
    _folder: TempDir,
}

impl<S: Store> Fragments<S> {
    fn new(store: &S, name: &'static str, layout: Layout, count: u64) -> Self {
        let folder = folder();
        let (mut writer, reader) = store.open(folder.path(), count * layout.spacing);
        let mut bytes = [0; FRAGMENT as usize];
        for i in 0..count {
            let at = i * layout.spacing;
            fill(at, &mut bytes);
            writer.write(at, &bytes);
        }
        Self { writer, reader, name, _folder: folder }
    }

    /// All fragments are there, and none of them touches the next.
    fn verify(&self, layout: Layout, count: u64) {
        for i in 0..count {
            let at = i * layout.spacing;
            let end = at + FRAGMENT;
            assert!(!self.reader.contains(end..end + 1), "{}: nobody wrote the byte at {end}", self.name);
            self.verify_piece(at, &mut [0; FRAGMENT as usize]);
        }
    }

    fn verify_piece(&self, at: u64, back: &mut [u8]) {
        let there = self.reader.contains(at..at + back.len() as u64) && self.reader.read_there(at, back);
        assert!(there, "{}: no bytes at {at}", self.name);
        check(at, back, self.name);
    }

    /// Nanoseconds for each write. The first to each fragment are not counted: what the others did since the last round
    /// has pushed its page out of the caches, theirs the more the more fragments there are.
    fn write(&mut self, pieces: &[Piece]) -> f64 {
        let (warming, timed) = pieces.split_at(WRITTEN as usize);
        for (offset, bytes) in warming {
            self.writer.write(*offset, bytes);
        }
        let start = Instant::now();
        for (offset, bytes) in timed {
            self.writer.write(*offset, bytes);
        }
        let time = start.elapsed();
        for (offset, _) in pieces {
            self.verify_piece(*offset, &mut [0; STEP as usize]);
        }
        nanos(time) / timed.len() as f64
    }
}
