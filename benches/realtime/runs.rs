//! All cells, in an order in which whatever else the machine does meets all contenders alike.

use super::{
    cell::{Cell, Condition, PERIODS, ratios, table},
    feeder::{Feeder, Habit},
    jack::{Server, Unavailable},
    paced::{self, Scheduling},
    picture,
    pipes::{Contender, RATE_HZ, duration},
    report::{
        arguments::Arguments,
        latencies::Nanos,
        machine::{Load, Stolen, clock_cost},
    },
    session::Session,
};
use std::{
    process::exit,
    time::{Duration, Instant},
};

/// Each cell is measured in so many turns.
const ROUNDS: u32 = 3;

/// Unless told otherwise.
const SECONDS: f64 = 3.0;

struct Run {
    arguments: Arguments,
    cells: Vec<Cell>,
    /// How the callback was scheduled: by us, and by a JACK server.
    ours: Option<Scheduling>,
    jack: Option<Scheduling>,
    no_jack: Option<Unavailable>,
    before: Stolen,
}

pub fn main() {
    let mut run = Run::new();
    if run.cells.is_empty() {
        return;
    }
    run.without_jack();
    run.with_jack();
    run.report();
}

impl Run {
    fn new() -> Self {
        let arguments = Arguments::parse("realtime", "how long each of the 80 cells is measured; 3 if not said");
        let mut cells = Vec::new();
        for condition in Condition::ALL {
            for period_frames in PERIODS {
                let contenders = Contender::ALL.map(|contender| Cell::new(condition, period_frames, contender));
                cells.extend(contenders.into_iter().filter(|cell| arguments.wants(&cell.name())));
            }
        }
        Self { arguments, cells, ours: None, jack: None, no_jack: None, before: Stolen::so_far() }
    }

    fn rounds(&self) -> u32 {
        if self.arguments.check { 1 } else { ROUNDS }
    }

    /// How many calls a turn has.
    fn calls(&self, period_frames: usize) -> usize {
        let seconds = self.arguments.seconds.unwrap_or(SECONDS) / f64::from(ROUNDS);
        if self.arguments.check { 20 } else { (seconds * RATE_HZ as f64 / period_frames as f64).ceil() as usize }
    }

    /// The cells of a condition and a period; another contender goes first in each round.
    fn turns(&self, condition: Condition, period_frames: usize, round: u32) -> Vec<usize> {
        let all = self.cells.iter().enumerate();
        let mine = all.filter(|(_, cell)| cell.condition == condition && cell.period_frames == period_frames);
        let mut turns: Vec<_> = mine.map(|(i, _)| i).collect();
        let first = round as usize % turns.len().max(1);
        turns.rotate_left(first);
        turns
    }

    fn without_jack(&mut self) {
        for round in 0..self.rounds() {
            for condition in [Condition::Idle, Condition::Loaded, Condition::Bursts, Condition::Lapped] {
                let _load = (condition == Condition::Loaded
                    && self.cells.iter().any(|cell| cell.condition == condition))
                .then(Load::on_every_core);
                for period_frames in PERIODS {
                    let calls = self.calls(period_frames);
                    for i in self.turns(condition, period_frames, round) {
                        let scheduling = &mut self.ours;
                        let played = turn(&mut self.cells[i], calls, |session| {
                            let (session, how) = paced::play(session, period_frames);
                            *scheduling = Some(how);
                            Ok((session, 0))
                        });
                        played.unwrap_or_else(|error: Unavailable| unreachable!("{error}"));
                    }
                }
            }
        }
    }

    fn with_jack(&mut self) {
        for period_frames in PERIODS {
            if self.turns(Condition::Jack, period_frames, 0).is_empty() {
                continue;
            }
            if let Err(error) = self.in_a_graph(period_frames) {
                self.no_jack = Some(error);
                return;
            }
        }
    }

    fn in_a_graph(&mut self, period_frames: usize) -> Result<(), Unavailable> {
        let server = Server::start(period_frames)?;
        let calls = self.calls(period_frames);
        let at_most = 2 * duration(calls * period_frames) + Duration::from_secs(5);
        for round in 0..self.rounds() {
            for i in self.turns(Condition::Jack, period_frames, round) {
                let scheduling = &mut self.jack;
                turn(&mut self.cells[i], calls, |session| {
                    let played = server.play(session, at_most)?;
                    *scheduling = Some(played.scheduling);
                    Ok((played.session, played.xruns))
                })?;
            }
        }
        Ok(())
    }

    fn report(mut self) {
        let Arguments { check, .. } = self.arguments;
        self.cells.retain(|cell| cell.read.count() > 0);
        println!("{}", self.what_was_measured());
        for condition in Condition::ALL {
            let cells: Vec<_> = self.cells.iter().filter(|cell| cell.condition == condition).collect();
            if !cells.is_empty() {
                let (title, late, table) =
                    (condition.title(), condition.lateness(), table(condition, cells.into_iter()));
                println!("\n{title}\nlate: {late}\n\n{table}");
            }
        }
        // A check has too few calls to compare anything.
        if !check {
            println!("\n{}", ratios(&self.cells));
        }
        if let Some(why) = &self.no_jack {
            println!("Not measured: a JACK graph, since {why}.");
        }
        if self.cells.is_empty() {
            return;
        }
        let path = self.arguments.plot();
        match picture::draw(&self.cells, &self.what_was_measured()).write(&path) {
            Ok(()) => println!("drawn: {}", path.display()),
            Err(error) => eprintln!("cannot write {}: {error}", path.display()),
        }
        let wrong: Vec<_> = self.cells.iter().filter(|cell| cell.wrong > 0).collect();
        for cell in &wrong {
            eprintln!("{}: {} frames were not those that were written", cell.name(), cell.wrong);
        }
        let faulting: Vec<_> = self.cells.iter().filter(|cell| cell.faults > 0).collect();
        for cell in &faulting {
            eprintln!("{}: {} page faults in the callback's thread", cell.name(), cell.faults);
        }
        // Memory that was touched may have gone again in a long measurement; in a check it has not.
        if !wrong.is_empty() || check && !faulting.is_empty() {
            exit(1);
        }
    }

    fn what_was_measured(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut what = format!("{cores} cores");
        if let Some(scheduling) = &self.ours {
            what += &format!(", callback {scheduling}");
        }
        if let Some(scheduling) = &self.jack {
            what += &format!(", JACK's {scheduling}");
        }
        what += &format!("; stolen by the host {}", Stolen::since(self.before));
        what + &format!("; a look at the clock takes {}.", Nanos(clock_cost()))
    }
}

/// Plays once.
fn turn(
    cell: &mut Cell,
    calls: usize,
    play: impl FnOnce(Session) -> Result<(Session, u64), Unavailable>,
) -> Result<(), Unavailable> {
    let lapping = cell.condition == Condition::Lapped;
    let habit = match cell.condition {
        Condition::Lapped => Habit::Laps,
        Condition::Bursts => Habit::Bursts,
        _ => Habit::Steady,
    };
    let (feed, callback) = cell.contender.open(lapping);
    let session = Session::new(callback, lapping, cell.period_frames, calls);
    let feeder = Feeder::start(feed, habit);
    let (began, before) = (Instant::now(), Stolen::so_far());
    let played = play(session);
    cell.took += began.elapsed();
    cell.stolen.add(Stolen::since(before));
    // The callback's end goes here, before the writer is told to stop: if it waits for room, it hears of that.
    let played = played.map(|(session, xruns)| {
        cell.add(&session);
        cell.xruns += xruns;
    });
    cell.sleeps += feeder.stop();
    played
}
