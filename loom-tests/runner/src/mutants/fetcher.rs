//! `fetcher.rs` and the gaps below it.

use super::{Edit, Mutant, edit};

const FILE: &str = "fetcher.rs";
const GAPS: &str = "fetcher/gaps.rs";
const STATE: &str = "state.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "fetcher/claim-stays-a-gap",
        why: "a gap that somebody fills right now is handed out again",
        edits: &[edit(GAPS, &["fn take"], "self.free.remove(claim.clone());", "")],
        caught_by: &["fetcher::two_fetchers_write_no_byte_twice_and_one_commits"],
        symptom: "WRITTEN TWICE",
        ..Mutant::NONE
    },
    Mutant {
        name: "fetcher/commit-with-a-claim-out",
        why: "the bytes of the other claim are not there yet",
        edits: &[edit(GAPS, &["fn begin_commit"], "self.free.is_empty() && «self.out == 0»", "true")],
        caught_by: &["fetcher::two_claims_that_end_at_once_commit"],
        symptom: "Hole",
        ..Mutant::NONE
    },
    Mutant {
        name: "fetcher/commit-before-the-claim-ends",
        why: "of the last two claims each sees the other one out, and nobody commits",
        edits: &[Edit {
            file: FILE,
            within: &["fn filled"],
            find: "gaps.give_back([].into_iter()); let last = gaps.begin_commit();",
            replace: "let last = gaps.begin_commit(); gaps.give_back([].into_iter());",
            binds: "last",
        }],
        caught_by: &["fetcher::two_claims_that_end_at_once_commit"],
        symptom: "NOT COMMITTED",
        ..Mutant::NONE
    },
    Mutant {
        name: "fetcher/two-commits",
        why: "a fetcher that waits finds no claim out while the last one commits, commits too, and gives back a claim that \
              nobody took",
        edits: &[edit(GAPS, &["fn begin_commit"], "self.out = 1;", "")],
        caught_by: &["fetcher::the_commit_wakes_a_waiting_fetcher"],
        symptom: "subtract with overflow",
        ..Mutant::NONE
    },
    Mutant {
        name: "fetcher/dropped-claim-wakes-nobody",
        why: "who waits for a claim sleeps on beside a gap",
        edits: &[edit(FILE, &["fn end_claim"], "self.state.room.notify_all();", "")],
        caught_by: &["fetcher::a_dropped_claim_wakes_a_waiting_fetcher"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "fetcher/wakes-before-the-gap-is-back",
        why: "who is woken finds no gap, and sleeps again",
        edits: &[edit(
            FILE,
            &["fn end_claim"],
            "self.gaps().give_back(rest); self.state.room.notify_all();",
            "self.state.room.notify_all(); self.gaps().give_back(rest);",
        )],
        caught_by: &["fetcher::a_dropped_claim_wakes_a_waiting_fetcher"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "fetcher/dropped-claim-gives-nothing-back",
        why: "nobody can fill what it left",
        edits: &[edit(GAPS, &["fn give_back"], "self.free.extend(rest);", "")],
        caught_by: &["fetcher::a_claim_dropped_beside_the_last_one_is_a_gap"],
        symptom: "Hole",
        ..Mutant::NONE
    },
    Mutant {
        name: "fetcher/verdict-wakes-readers-only",
        why: "who waits for a claim never hears of the end",
        edits: &[edit(STATE, &["for State<D>", "fn wake_all"], "self.room.notify_all();", "")],
        caught_by: &["fetcher::the_commit_wakes_a_waiting_fetcher", "fetcher::a_failure_wakes_a_waiting_fetcher"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "fetcher/append-wakes-no-reader",
        why: "who waits for the byte sleeps on",
        edits: &[edit(STATE, &["fn write_store"], "self.waits.notify(range.clone());", "")],
        caught_by: &["fetcher::an_append_wakes_a_reader"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
];
