//! The same work done by `roundelay` and by other crates, timed side by side.
//!
//! Figures in nanoseconds belong to one machine and one day; a ratio to a rival that ran in the same second travels
//! better. So this prints ratios: the rival's median time over ours, above 1 where we are faster. Rows that we lose stay.
//!
//! A new rival for moving bytes is a [`pipe::Pipe`] and a line in `spsc::lossless`; a new kind of work is a module with
//! a function that takes a [`race::Races`], and a line in [`WORKS`]. A rival that cannot do a work is said to by
//! [`Races::cannot`], with the reason; one that was forgotten fails a run of everything.

mod broadcast;
mod buffer;
mod linear;
mod one_thread;
mod pipe;
mod race;
mod random_reads;
mod ready;
mod report;
mod spsc;
mod two_threads;
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

/// A column of the overview, a name, and what to do.
type Work = (&'static str, &'static str, fn(&mut Races));

/// What there is to do, in the order of the tables.
const WORKS: [Work; 12] = [
    ("1 thread", "one thread", spsc::one_thread),
    ("2 threads", "two threads", spsc::two_threads),
    ("random read", "random read", random_reads::run),
    ("broadcast", "broadcast", broadcast::run),
    ("ready", "ready", ready::run),
    ("wake", "wake", wake::run),
    ("file", "file ready", linear::ready::run),
    ("file", "file read", linear::reads::run),
    ("file", "file write on warm pages", linear::warm_writes::run),
    ("file", "file whole", linear::whole::run),
    ("file", "file write among fragments", linear::fragments::run),
    ("file", "file memory", memory::run),
];

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    if let Some(whose) = arguments.memory_of {
        memory::child(whose);
        return Ok(());
    }
    let mut races = Races::new(if arguments.quick { Effort::QUICK } else { Effort::FULL });
    for (part, name, work) in WORKS {
        if arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            eprintln!("{name}");
            races.begin(part);
            work(&mut races);
        }
    }
    if arguments.only.is_none() {
        assert_eq!(report::forgotten(&races), [""; 0], "no figure and no reason for it, or both");
    }
    if arguments.json { report::json(races.rows()) } else { report::tables(&races) }
}
