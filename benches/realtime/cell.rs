//! One condition, one period, one contender; and the table of them.

use super::{
    pipes::Contender,
    report::{
        latencies::{Latencies, SUMMARY},
        machine::Stolen,
        table::{Table, spread},
    },
    session::Session,
};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Idle,
    Loaded,
    Bursts,
    Lapped,
    Jack,
}

impl Condition {
    pub const ALL: [Self; 5] = [Self::Idle, Self::Loaded, Self::Bursts, Self::Lapped, Self::Jack];

    /// For the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loaded => "loaded",
            Self::Bursts => "bursts",
            Self::Lapped => "lapped",
            Self::Jack => "jack",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Idle => "Idle: nothing else runs",
            Self::Loaded => "Loaded: every core is kept busy by others",
            Self::Bursts => "Bursts: the writer stalls for 14 ms, then fills all there is room for",
            Self::Lapped => {
                "Lapped: the writer is twice as fast, and overtakes the callback (rtrb: throws away the newest)"
            }
            Self::Jack => "JACK: a client in the graph of jackd with its dummy driver",
        }
    }

    /// What "late" means.
    pub fn lateness(self) -> &'static str {
        match self {
            // When a period was to begin its server does not say.
            Self::Jack => "time since the last callback, beyond a period",
            _ => "wake-up lateness of the callback",
        }
    }
}

/// Frames in a period.
pub const PERIODS: [usize; 4] = [32, 64, 128, 256];

pub struct Cell {
    pub condition: Condition,
    pub period_frames: usize,
    pub contender: Contender,
    pub read: Latencies,
    pub late: Latencies,
    /// How many callbacks ended after their period.
    pub missed: u64,
    /// How many found too few frames.
    pub underruns: u64,
    pub skipped: u64,
    pub wrong: u64,
    pub faults: u64,
    pub xruns: u64,
    /// How often the writer slept.
    pub sleeps: u64,
    pub stolen: Stolen,
    pub took: Duration,
}

impl Cell {
    pub fn new(condition: Condition, period_frames: usize, contender: Contender) -> Self {
        Self {
            condition,
            period_frames,
            contender,
            read: Latencies::new(),
            late: Latencies::new(),
            missed: 0,
            underruns: 0,
            skipped: 0,
            wrong: 0,
            faults: 0,
            xruns: 0,
            sleeps: 0,
            stolen: Stolen::default(),
            took: Duration::ZERO,
        }
    }

    /// As in `loaded/64/rtrb, writer paced by the clock`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.condition.name(), self.period_frames, self.contender.name())
    }

    pub fn add(&mut self, session: &Session) {
        for call in session.calls() {
            self.read.record(call.read);
            self.late.record(call.late);
            self.missed += u64::from(call.missed);
            self.underruns += u64::from(call.underrun);
        }
        self.skipped += session.skipped;
        self.wrong += session.wrong;
        self.faults += session.faults;
    }
}

/// The cells of one condition.
pub fn table<'a>(condition: Condition, cells: impl Iterator<Item = &'a Cell>) -> Table {
    let extra = match condition {
        Condition::Lapped => Some("skipped"),
        Condition::Jack => Some("xruns"),
        _ => None,
    };
    let head = ["frames, contender".to_owned()].into_iter();
    let head = head.chain(SUMMARY.map(|name| format!("read {name}"))).chain(SUMMARY.map(|name| format!("late {name}")));
    let head = head.chain(["calls", "missed", "underruns", "writer sleeps/s", "stolen"].map(str::to_owned));
    let mut table = Table::new(head.chain(extra.map(str::to_owned)));
    for cell in cells {
        let mut row = vec![format!("{:>3} {}", cell.period_frames, cell.contender.name())];
        row.extend([&cell.read, &cell.late].iter().flat_map(|l| l.summary().map(|nanos| nanos.to_string())));
        row.extend([cell.read.count(), cell.missed, cell.underruns].map(|n| n.to_string()));
        row.push(format!("{:.0}", cell.sleeps as f64 / cell.took.as_secs_f64()));
        row.push(cell.stolen.to_string());
        match condition {
            Condition::Lapped => row.push(format!("{:.0} %", percent(cell))),
            Condition::Jack => row.push(cell.xruns.to_string()),
            _ => {}
        }
        table.row(row);
    }
    table
}

/// How much of what was written was never read.
fn percent(cell: &Cell) -> f64 {
    let read = cell.read.count() * cell.period_frames as u64;
    100.0 * cell.skipped as f64 / (cell.skipped + read).max(1) as f64
}

/// The rivals' times in the read over ours: the middle of all periods, and the range. Above 1, we are faster.
pub fn ratios(cells: &[Cell]) -> Table {
    let mut table = Table::new(["read: rival over ours", "p50", "p99", "p99.9"]);
    for condition in Condition::ALL {
        for rival in &Contender::ALL[1..] {
            let of = |contender| cells.iter().filter(move |c| c.condition == condition && c.contender == contender);
            let pairs: Vec<_> = of(*rival)
                .filter_map(|rival| {
                    Some((rival, of(Contender::Roundelay).find(|c| c.period_frames == rival.period_frames)?))
                })
                .collect();
            if pairs.is_empty() {
                continue;
            }
            let mut row = vec![format!("{:<6} {}", condition.name(), rival.name())];
            row.extend((0..3).map(|i| {
                let nanos = |cell: &Cell| cell.read.summary()[i].0 as f64;
                spread(pairs.iter().map(|(rival, ours)| nanos(rival) / nanos(ours)))
            }));
            table.row(row);
        }
    }
    table
}
