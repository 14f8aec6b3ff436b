//! All contenders, in turn.

use super::{
    pair::Pair,
    picture,
    report::{
        arguments::Arguments,
        latencies::{Latencies, Nanos, SUMMARY},
        machine::{Load, Stolen, clock_cost},
        table::Table,
    },
    waits::Contender,
};
use std::time::Duration;

/// Each contender is measured in so many turns.
const ROUNDS: u32 = 10;

/// Unless told otherwise.
const SECONDS: f64 = 10.0;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Idle,
    Loaded,
}

impl Condition {
    pub const ALL: [Self; 2] = [Self::Idle, Self::Loaded];

    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loaded => "loaded",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Idle => "Idle: nothing else runs",
            Self::Loaded => "Loaded: every core is kept busy by others",
        }
    }
}

/// One contender under one condition.
pub struct Cell {
    pub condition: Condition,
    pub contender: Contender,
    pair: Pair,
    pub latency: Latencies,
    pub publication: Latencies,
    sleeps: u64,
    /// How often a sleeper slept for a buffer, once for each.
    buffers: Vec<u64>,
    stolen: Stolen,
}

impl Cell {
    fn new(condition: Condition, contender: Contender) -> Self {
        Self {
            condition,
            contender,
            pair: Pair::new(contender),
            latency: Latencies::new(),
            publication: Latencies::new(),
            sleeps: 0,
            buffers: Vec::new(),
            stolen: Stolen::default(),
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.condition.name(), self.contender.name())
    }

    fn turn(&mut self, at_most: Duration, count: Option<usize>) {
        let before = Stolen::so_far();
        for wait in self.pair.packets(at_most, count) {
            self.latency.record(wait.latency);
            self.publication.record(wait.publication);
            self.sleeps += wait.sleeps;
        }
        self.buffers.push(self.pair.buffer());
        self.stolen.add(Stolen::since(before));
    }

    fn sleeps_for_a_packet(&self) -> f64 {
        self.sleeps as f64 / self.latency.count().max(1) as f64
    }

    pub fn sleeps_for_a_buffer(&self) -> f64 {
        self.buffers.iter().sum::<u64>() as f64 / self.buffers.len().max(1) as f64
    }
}

pub fn main() {
    let arguments =
        Arguments::parse("wake", "how long each contender is measured under each condition; 10 if not said");
    let before = Stolen::so_far();
    let rounds = if arguments.check { 1 } else { ROUNDS };
    let turn = Duration::from_secs_f64(arguments.seconds.unwrap_or(SECONDS)) / ROUNDS;
    let mut cells = Vec::new();
    for condition in Condition::ALL {
        let mut mine: Vec<_> = Contender::ALL.map(|contender| Cell::new(condition, contender)).into();
        mine.retain(|cell| arguments.wants(&cell.name()));
        let _load = (condition == Condition::Loaded && !mine.is_empty()).then(Load::on_every_core);
        for round in 0..rounds {
            for i in 0..mine.len() {
                // Another one goes first in each round.
                let cell = (i + round as usize) % mine.len();
                mine[cell].turn(turn, arguments.check.then_some(20));
            }
        }
        cells.append(&mut mine);
    }
    if cells.is_empty() {
        return;
    }

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (stolen, clock) = (Stolen::since(before), Nanos(clock_cost()));
    let what = format!("{cores} cores; stolen by the host {stolen}; a look at the clock takes {clock}.");
    println!("from a publication to the sleeper's next instruction, and time in the publication. {what}");
    for condition in Condition::ALL {
        let cells: Vec<_> = cells.iter().filter(|cell| cell.condition == condition).collect();
        if !cells.is_empty() {
            println!("\n{}\n\n{}", condition.title(), table(&cells));
        }
    }
    // A check has too few waits to compare anything.
    if !arguments.check {
        println!("\n{}", ratios(&cells));
    }
    let path = arguments.plot();
    match picture::draw(&cells, &what).write(&path) {
        Ok(()) => println!("drawn: {}", path.display()),
        Err(error) => eprintln!("cannot write {}: {error}", path.display()),
    }
}

fn table(cells: &[&Cell]) -> Table {
    let head = ["contender".to_owned()].into_iter();
    let head = head.chain(SUMMARY.map(|name| format!("wake {name}")));
    let head = head.chain(SUMMARY.map(|name| format!("publish {name}")));
    let more = ["waits", "sleeps for a packet", "sleeps for 64 KiB by 1 KiB", "stolen"];
    let mut table = Table::new(head.chain(more.map(str::to_owned)));
    for cell in cells {
        let mut row = vec![cell.contender.name().to_owned()];
        row.extend([&cell.latency, &cell.publication].iter().flat_map(|l| l.summary().map(|nanos| nanos.to_string())));
        row.push(cell.latency.count().to_string());
        row.push(format!("{:.2}", cell.sleeps_for_a_packet()));
        row.push(format!("{:.1}", cell.sleeps_for_a_buffer()));
        row.push(cell.stolen.to_string());
        table.row(row);
    }
    table
}

/// The rivals' times from a publication to the sleeper's next instruction over ours. Above 1, we are faster.
fn ratios(cells: &[Cell]) -> Table {
    let mut table = Table::new(["wake: rival over ours", "p50", "p99", "p99.9"]);
    for condition in Condition::ALL {
        let of = |contender| cells.iter().find(|cell| cell.condition == condition && cell.contender == contender);
        let Some(ours) = of(Contender::Roundelay) else { continue };
        for rival in Contender::ALL[1..].iter().filter_map(|&contender| of(contender)) {
            let mut row = vec![format!("{:<6} {}", condition.name(), rival.contender.name())];
            let both = rival.latency.summary().into_iter().zip(ours.latency.summary());
            row.extend(both.take(3).map(|(rival, ours)| format!("{:.2}", rival.0 as f64 / ours.0.max(1) as f64)));
            table.row(row);
        }
    }
    table
}
