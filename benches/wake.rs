//! How long it takes from a publication until a thread that sleeps for it runs, what that costs the thread that
//! publishes, and how often a sleeper is woken for one wait: our futex wait, and what is used otherwise.
//!
//! `cargo bench --bench wake` measures that in a minute and a half, prints a table for each condition, and draws
//! `benches/plots/wake.svg`. `-- --seconds N` says for how long each contender is measured, `-- idle` picks a condition,
//! `-- --test` only checks the answers.
//!
//! Two threads at a time, on a processor each. A wait only counts if the sleeper had said at least a millisecond before that it was about to
//! wait, and then went to sleep, by the system's count.

#[cfg(target_os = "linux")]
mod report;

/// Each file of it is one thing that it takes.
#[cfg(target_os = "linux")]
mod wake {
    use super::report;

    mod pair;
    mod picture;
    pub mod runs;
    mod waits;
}

#[cfg(target_os = "linux")]
fn main() {
    wake::runs::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("wake: only Linux counts how often a thread sleeps");
}
