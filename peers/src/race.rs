//! Rounds in which every contender does the same work in turn, and what comes of them.

use serde::Serialize;
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
        Self { rounds: 7, batch: Duration::from_millis(2), wakes: 15, fragments: [10, 1_000, 10_000] };
}

/// One line of the table.
#[derive(Serialize)]
pub struct Row {
    pub work: String,
    pub rival: String,
    /// The rival's median time over ours.
    pub ratio: f64,
    /// The least and the most that the ratio was in any one round.
    pub low: f64,
    pub high: f64,
}

/// Somebody who can do the work `n` times over, and says how long it took. It has verified its bytes when it is made.
pub struct Contender<'a> {
    pub name: String,
    pub run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// The rows so far.
pub struct Races {
    pub effort: Effort,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Races {
    pub fn new(effort: Effort) -> Self {
        Self { effort, rows: Vec::new(), notes: Vec::new() }
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Something that was counted.
    pub fn note(&mut self, note: String) {
        eprintln!("  {note}");
        self.notes.push(note);
    }

    /// All of ours against all of the rivals. In each round everybody runs once, ours and rivals in turn, so that
    /// whatever else the machine is busy with meets all of them; a ratio of one round compares neighbours in time.
    pub fn run<'a>(&mut self, work: &str, mut ours: Vec<Contender<'a>>, mut rivals: Vec<Contender<'a>>) {
        let n = self.batch_size(ours.iter_mut().chain(&mut rivals));
        let mut our_times = vec![Vec::new(); ours.len()];
        let mut rival_times = vec![Vec::new(); rivals.len()];
        for round in 0..self.effort.rounds {
            for turn in 0..ours.len().max(rivals.len()) {
                // Another one goes first in each round.
                let turn = turn + round;
                for (side, times) in [(&mut ours, &mut our_times), (&mut rivals, &mut rival_times)] {
                    let who = turn % side.len();
                    if times[who].len() == round {
                        times[who].push(nanos((side[who].run)(n)));
                    }
                }
            }
        }
        let all = || ours.iter().zip(&our_times).chain(rivals.iter().zip(&rival_times));
        for (contender, times) in all() {
            eprintln!("  {:7.1} ns  {work}, {}", median(times) / n as f64, contender.name);
        }
        for (ours, our_times) in ours.iter().zip(&our_times) {
            for (rival, rival_times) in rivals.iter().zip(&rival_times) {
                self.add(format!("{work}, {}", ours.name), &rival.name, our_times, rival_times);
            }
        }
    }

    /// A row from times of the same rounds.
    pub fn add(&mut self, work: String, rival: &str, ours: &[f64], rivals: &[f64]) {
        let ratios = || ours.iter().zip(rivals).map(|(ours, rival)| rival / ours);
        self.rows.push(Row {
            work,
            rival: rival.to_owned(),
            ratio: median(rivals) / median(ours),
            low: ratios().fold(f64::INFINITY, f64::min),
            high: ratios().fold(0.0, f64::max),
        });
    }

    /// A count with which the quickest contender fills a batch.
    fn batch_size<'a, 'b: 'a>(&self, contenders: impl Iterator<Item = &'a mut Contender<'b>>) -> u64 {
        let batch = self.effort.batch;
        let enough = |contender: &mut Contender<'_>| {
            let mut n = 1;
            while (contender.run)(n) < batch {
                n *= 2;
            }
            n
        };
        contenders.map(enough).max().unwrap_or(1)
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
