//! What each operation of the hot path costs, on one thread unless its name says otherwise. Ratios to other crates are in
//! `peers/`; these figures are for comparing a change with the state before it, on one machine.
//!
//! Each benchmark checks the answer before it times it. `cargo bench -p roundelay --benches -- --test` runs each once, as
//! a check.

mod append;
mod coverage;
mod followers;
mod publish;
mod read;
mod ready;
mod rings;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

/// Long enough for medians that repeat within a few percent, short enough for some ninety of them.
fn config() -> Criterion {
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(1_000))
        .without_plots()
}

criterion_group!(
    name = benches;
    config = config();
    targets = append::group, read::follower, read::gate, read::pcm, ready::group, publish::group, coverage::insert,
        coverage::query, followers::group
);
criterion_main!(benches);
