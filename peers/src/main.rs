//! The same work done by `roundelay` and by other crates, timed side by side.
//!
//! Figures in nanoseconds belong to one machine and one day; a ratio to a rival that ran in the same second travels
//! better. So this prints ratios: the rival's median time over ours, above 1 where we are faster. Rows that we lose stay.
//!
//! A new rival for moving bytes is a [`pipe::Pipe`] and a line in `spsc::rivals`; a new kind of work is a module with
//! a function that takes a [`race::Races`], and a line in [`WORKS`].

mod buffer;
mod linear;
mod pipe;
mod race;
mod random_reads;
mod ready;
mod report;
mod spsc;
mod wake;

use clap::Parser;
use linear::memory;
use race::{Effort, Races};

/// Times roundelay against other crates that do the same work.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Print a JSON array instead of a table
    #[arg(long)]
    json: bool,
    /// Fewer and shorter rounds: under a minute, and less sure
    #[arg(long)]
    quick: bool,
    /// Only work whose name contains this
    #[arg(value_name = "NAME")]
    only: Option<String>,
    /// What this program asks of itself
    #[arg(long = memory::ARGUMENT, hide = true)]
    memory_of: Option<memory::Whose>,
}

type Work = (&'static str, fn(&mut Races));

/// What there is to do, in the order of the table.
const WORKS: [Work; 11] = [
    ("one thread", spsc::one_thread),
    ("two threads", spsc::two_threads),
    ("random read", random_reads::run),
    ("ready", ready::run),
    ("wake", wake::run),
    ("file ready", linear::ready::run),
    ("file read", linear::reads::run),
    ("file write on warm pages", linear::warm_writes::run),
    ("file whole", linear::whole::run),
    ("file write among fragments", linear::fragments::run),
    ("file memory", memory::run),
];

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    if let Some(whose) = arguments.memory_of {
        memory::child(whose);
        return Ok(());
    }
    let mut races = Races::new(if arguments.quick { Effort::QUICK } else { Effort::FULL });
    for (name, work) in WORKS {
        if arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            eprintln!("{name}");
            work(&mut races);
        }
    }
    if arguments.json { report::json(races.rows()) } else { report::table(races.rows(), races.notes()) }
}
