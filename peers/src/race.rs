//! Rounds in which every contender does the same work in turn, and what comes of them.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::time::Duration;

/// How much time to spend.
#[derive(Clone, Copy)]
pub struct Effort {
    /// How often each contender's time is taken.
    pub rounds: usize,
    /// A batch is made to take about this long at least, so that neither the clock nor an interrupt decides it.
    pub batch: Duration,
    /// How often a parked thread is woken in each round.
    pub wakes: usize,
    /// At how many fragments a write is timed, the least first. A rival may take minutes to write a hundred thousand.
    pub fragments: [u64; 3],
}

impl Effort {
    pub const FULL: Self =
        Self { rounds: 25, batch: Duration::from_millis(5), wakes: 60, fragments: [10, 1_000, 100_000] };
    pub const QUICK: Self =
        Self { rounds: 5, batch: Duration::from_millis(1), wakes: 15, fragments: [10, 1_000, 4_000] };
}

/// One cell of a table.
pub struct Row {
    /// Which column of the overview it belongs to.
    pub part: &'static str,
    /// What is done: a table.
    pub work: String,
    /// By which of ours: a section of it.
    pub ours: String,
    /// How large, or how many: a column.
    pub column: String,
    pub rival: String,
    /// The rival's median time over ours.
    pub ratio: f64,
    /// The least and the most that the ratio was in any one round.
    pub low: f64,
    pub high: f64,
}

/// With all that the work consists of as one name.
impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("Row", 5)?;
        row.serialize_field("work", &joined([&self.work, &self.ours, &self.column]))?;
        row.serialize_field("rival", &self.rival)?;
        row.serialize_field("ratio", &self.ratio)?;
        row.serialize_field("low", &self.low)?;
        row.serialize_field("high", &self.high)?;
        row.end()
    }
}

/// Why some rivals are not in the table of a work.
pub struct Gap {
    pub part: &'static str,
    pub rivals: Vec<&'static str>,
    pub why: &'static str,
}

/// What a contender promises its receivers. Those are compared who promise the same.
#[derive(Clone, Copy, PartialEq)]
pub enum Promise {
    /// Nothing is lost: the sender waits.
    Lossless,
    /// Nothing is lost, and bytes are read where they are.
    InPlace,
    /// A receiver that is slow is overtaken, and told.
    Lossy,
}

impl Promise {
    pub const ALL: &'static [Self] = &[Self::Lossless, Self::InPlace, Self::Lossy];
}

/// Somebody who can do the work `n` times over, and says how long it took. It has verified its bytes when it is made.
pub struct Contender<'a> {
    name: String,
    promises: &'static [Promise],
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    /// To be compared with everybody.
    pub fn new(name: impl Into<String>, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self::of(Promise::ALL, name, run)
    }

    /// To be compared with whoever promises one of these.
    pub fn of(promises: &'static [Promise], name: impl Into<String>, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self { name: name.into(), promises, run: Box::new(run) }
    }
}

/// What one contender does in each round, and how long it took, in nanoseconds for each time that it did the work.
struct Lane<'a> {
    who: Contender<'a>,
    n: u64,
    times: Vec<f64>,
}

impl<'a> Lane<'a> {
    /// With a count that fills a batch, and not once only: something may have been in the way.
    fn new(mut who: Contender<'a>, batch: Duration) -> Self {
        let mut n = 1;
        while (who.run)(n) < batch || (who.run)(n) < batch {
            n *= 2;
        }
        Self { who, n, times: Vec::new() }
    }

    fn run(&mut self) {
        self.times.push(nanos((self.who.run)(self.n)) / self.n as f64);
    }
}

/// The rows so far.
pub struct Races {
    pub effort: Effort,
    part: &'static str,
    rows: Vec<Row>,
    gaps: Vec<Gap>,
    notes: Vec<String>,
}

impl Races {
    pub fn new(effort: Effort) -> Self {
        Self { effort, part: "", rows: Vec::new(), gaps: Vec::new(), notes: Vec::new() }
    }

    /// From here on, rows belong to `part`.
    pub fn begin(&mut self, part: &'static str) {
        self.part = part;
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Something that was counted.
    pub fn note(&mut self, note: String) {
        eprintln!("  {note}");
        self.notes.push(note);
    }

    /// Says why `rivals` cannot do this work.
    pub fn cannot(&mut self, rivals: &[&'static str], why: &'static str) {
        self.gaps.push(Gap { part: self.part, rivals: rivals.to_vec(), why });
    }

    /// All of ours against all of the rivals that promise the same. In each round everybody runs once, ours and rivals in
    /// turn, so that whatever else the machine is busy with meets all of them; a ratio of one round compares neighbours
    /// in time.
    pub fn run<'a>(&mut self, work: &str, column: &str, ours: Vec<Contender<'a>>, rivals: Vec<Contender<'a>>) {
        let lanes = |side: Vec<_>| side.into_iter().map(|who| Lane::new(who, self.effort.batch)).collect::<Vec<_>>();
        let (mut ours, mut rivals) = (lanes(ours), lanes(rivals));
        for round in 0..self.effort.rounds {
            for turn in 0..ours.len().max(rivals.len()) {
                // Another one goes first in each round.
                let turn = turn + round;
                for side in [&mut ours, &mut rivals] {
                    let who = turn % side.len();
                    if side[who].times.len() == round {
                        side[who].run();
                    }
                }
            }
        }
        for lane in ours.iter().chain(&rivals) {
            eprintln!("  {:9.1} ns  {}: {}", median(&lane.times), joined([work, column]), lane.who.name);
        }
        for ours in &ours {
            for rival in &rivals {
                if ours.who.promises.iter().any(|promise| rival.who.promises.contains(promise)) {
                    self.add(work, &ours.who.name, column, &rival.who.name, &ours.times, &rival.times);
                }
            }
        }
    }

    /// A row from times of the same rounds.
    pub fn add(&mut self, work: &str, ours: &str, column: &str, rival: &str, our_times: &[f64], rival_times: &[f64]) {
        let ratios = || our_times.iter().zip(rival_times).map(|(ours, rival)| rival / ours);
        self.rows.push(Row {
            part: self.part,
            work: work.to_owned(),
            ours: ours.to_owned(),
            column: column.to_owned(),
            rival: rival.to_owned(),
            ratio: median(rival_times) / median(our_times),
            low: ratios().fold(f64::INFINITY, f64::min),
            high: ratios().fold(0.0, f64::max),
        });
    }
}

pub fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// With commas between those that are not empty.
fn joined<const N: usize>(parts: [&str; N]) -> String {
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}
