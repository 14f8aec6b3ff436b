//! Storms: many threads do random things to one resource, round after round. Each byte that is read is known from its
//! offset and its generation, each wait must end, and each thread's last step is printed if one does not.
//!
//! Two seconds each, as a test. For longer, side by side: `ci/storms.sh`. `ROUNDELAY_STORM_SECONDS` says how long, and
//! `ROUNDELAY_STORM_SEED` repeats the plan of a round (not its interleaving, which is the machine's).

mod frames;
mod generations;
mod rings;
mod stores;
mod storm;
mod waits;

use storm::storm;

#[test]
fn rings_gates_and_lapped_followers() {
    storm("rings", rings::round);
}

#[test]
fn generations_end_while_gates_are_held() {
    storm("generations", generations::round);
}

#[test]
fn frames_are_heard_where_they_belong() {
    storm("frames", frames::round);
}

#[test]
fn stores_are_filled_by_many_fetchers() {
    storm("stores", stores::round);
}

#[test]
fn waits_all_end() {
    storm("waits", waits::round);
}
