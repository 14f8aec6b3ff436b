//! A real-time audio callback, called at 48 kHz in periods of 32 to 256 frames, and what it reads from: ours, and what is
//! used otherwise, under the same conditions and in turn.
//!
//! `cargo bench --bench realtime` measures all of it in some five minutes, prints a table for each condition, and draws
//! `benches/plots/realtime.svg`. `-- --seconds N` says how long each cell is measured, `-- idle` or `-- loaded/64` picks
//! some of them, `-- --test` only checks the answers.
//!
//! Measured are the time in the read (with one look at the clock in it), how late the callback was woken, how many
//! callbacks ended after their period, and how many found too few frames. Every frame that is read is checked, outside
//! the time that is measured. Real-time threads may use 950 ms of each second (`sched_rt_runtime_us`); this one uses a
//! few, and nothing spins in real time.

#[cfg(target_os = "linux")]
mod report;

/// Each file of it is one thing that it takes.
#[cfg(target_os = "linux")]
mod realtime {
    use super::report;

    mod cell;
    mod feeder;
    mod jack;
    mod paced;
    mod picture;
    mod pipes;
    pub mod runs;
    mod session;
}

#[cfg(target_os = "linux")]
fn main() {
    realtime::runs::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("realtime: only Linux has the clocks and the real-time threads that this measures");
}
