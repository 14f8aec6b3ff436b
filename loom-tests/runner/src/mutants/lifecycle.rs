//! `lifecycle.rs`, and what `state.rs` makes of it.

use super::{Edit, Mutant, edit};

const FILE: &str = "lifecycle.rs";
const STATE: &str = "state.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "lifecycle/end-before-life",
        why: "the bytes written between the two looks are never served",
        edits: &[Edit {
            file: STATE,
            within: &["fn edge"],
            find: "let stage = self.life.stage(); let end = ring.window().end();",
            replace: "let end = ring.window().end(); let stage = self.life.stage();",
            binds: "(stage, end)",
        }],
        caught_by: &[
            "lifecycle::all_is_read_before_the_end",
            "lifecycle::all_is_read_before_the_failure",
            "lifecycle::a_wait_for_the_last_byte_is_ready",
        ],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/verdict-of-the-second-look",
        why: "the second look comes after the end: it is good for the final length only",
        edits: &[edit(
            STATE,
            &["fn edge"],
            "Edge { stage, start: start.min(end), end }",
            "Edge { stage: self.life.stage(), start: start.min(end), end }",
        )],
        caught_by: &["lifecycle::all_is_read_before_the_failure", "lifecycle::a_wait_for_the_last_byte_is_ready"],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/no-second-look",
        why: "a reader of an old generation reads on in the next",
        edits: &[edit(STATE, &["fn last"], "match «self.life.stage()»", "Stage::Active")],
        caught_by: &[
            "lifecycle::an_old_generation_keeps_its_end",
            "lifecycle::an_old_generation_that_failed_keeps_its_end",
        ],
        symptom: "NEXT",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/start-above-the-end",
        why: "who sees a start of the next generation, and not yet this one's verdict, is told that it was overtaken",
        edits: &[edit(STATE, &["fn edge"], "start.min(end)", "start.min(self.last())")],
        caught_by: &[
            "lifecycle::a_cursor_of_an_old_generation_sees_no_jump_of_the_next",
            "lifecycle::a_cursor_of_one_that_failed_sees_no_jump_of_the_next",
            "lifecycle::a_gate_of_an_old_generation_sees_no_jump_of_the_next",
            "lifecycle::a_gate_of_one_that_failed_sees_no_jump_of_the_next",
            "lifecycle::a_sleeper_of_an_old_generation_sees_no_jump_of_the_next",
        ],
        symptom: "NEXT",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/glance-at-the-end-only",
        why: "a reader of an old generation reads on in the next",
        edits: &[edit(STATE, &["fn glance"], "self.life.is_active().then_some(end)", "Some(end)")],
        caught_by: &[
            "lifecycle::an_old_generation_keeps_its_end",
            "lifecycle::an_old_generation_that_failed_keeps_its_end",
        ],
        symptom: "NEXT",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/glance-at-the-state-first",
        why: "the generation may end, and the next one write, between the two looks",
        edits: &[
            Edit {
                file: STATE,
                within: &["fn glance"],
                find: "let end = ring.window().end();",
                replace: "let end = if self.life.is_active() { ring.window().end() } else { 0 };",
                binds: "end",
            },
            edit(STATE, &["fn glance"], "self.life.is_active().then_some(end)", "Some(end)"),
        ],
        caught_by: &[
            "lifecycle::an_old_generation_keeps_its_end",
            "lifecycle::an_old_generation_that_failed_keeps_its_end",
        ],
        symptom: "NEXT",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/known-end-for-the-verdict",
        why: "the verdict is newer than the end that it is held against",
        edits: &[edit(
            STATE,
            &["fn read_ring"],
            "*known_end = edge.end;",
            "let edge = Edge { end: if *known_end > 0 { *known_end } else { edge.end }, ..edge }; *known_end = edge.end;",
        )],
        caught_by: &["lifecycle::all_is_read_before_the_end_with_a_known_end"],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/verdict-store-relaxed",
        why: "the verdict is seen before the last bytes",
        edits: &[edit(FILE, &["fn leave"], "compare_exchange(ACTIVE, word, «Release», Relaxed)", "Relaxed")],
        caught_by: &["lifecycle::all_is_read_before_the_failure"],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/verdict-load-relaxed",
        why: "the verdict is seen before the last bytes",
        edits: &[edit(FILE, &["fn stage"], "self.word.load(«Acquire»)", "Relaxed")],
        caught_by: &["lifecycle::all_is_read_before_the_failure"],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/swap-for-the-compare-and-swap",
        why: "the last verdict stands, not the first",
        edits: &[edit(
            FILE,
            &["fn leave"],
            "self.word.compare_exchange(ACTIVE, word, Release, Relaxed).is_ok()",
            "self.word.swap(word, Release) == ACTIVE",
        )],
        caught_by: &["lifecycle::commit_against_fail", "lifecycle::cancel_against_fail"],
        symptom: "CHANGED",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/store-for-the-compare-and-swap",
        why: "both believe that theirs is the verdict",
        edits: &[edit(
            FILE,
            &["fn leave"],
            "self.word.compare_exchange(ACTIVE, word, Release, Relaxed).is_ok()",
            "self.word.load(Acquire) == ACTIVE && { self.word.store(word, Release); true }",
        )],
        caught_by: &["lifecycle::commit_against_fail", "lifecycle::commit_against_fail_in_a_resource"],
        symptom: "CHANGED",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/reason-last",
        why: "who sees the failure finds no reason",
        edits: &[edit(
            FILE,
            &["fn fail"],
            "let _ = self.reason.set(reason); self.leave(FAILED)",
            // loom does not know the cell of the reason: the load gives another thread its turn in between.
            "let first = self.leave(FAILED); self.word.load(Relaxed); let _ = self.reason.set(reason); first",
        )],
        caught_by: &["lifecycle::fail_against_fail", "lifecycle::commit_against_fail"],
        symptom: "the reason is set before the state",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/commit-wakes-nobody",
        why: "whoever waits for what will never come sleeps on",
        edits: &[edit(STATE, &["pub(crate) fn commit("], "self.wake_all();", "")],
        caught_by: &[
            "lifecycle::a_commit_wakes",
            "lifecycle::a_range_that_is_cut_short_is_ready",
            "gate::a_commit_wakes_a_gate",
        ],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/failure-wakes-nobody",
        why: "whoever waits for what will never come sleeps on",
        edits: &[edit(STATE, &["pub(crate) fn fail("], "self.wake_all();", "")],
        caught_by: &["lifecycle::a_failure_wakes", "lifecycle::a_dropped_writer_wakes"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/cancel-wakes-nobody",
        why: "whoever waits for what will never come sleeps on",
        edits: &[edit(STATE, &["pub(crate) fn cancel(&self)"], "self.wake_all();", "")],
        caught_by: &["lifecycle::a_cancel_wakes", "lifecycle::a_cancelled_token_wakes"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/wakes-before-the-verdict",
        why: "the sleeper looks before there is anything to see",
        edits: &[edit(
            STATE,
            &["pub(crate) fn cancel(&self)"],
            "if self.life.cancel() {
                self.wake_all();
                if let Some(observer) = &self.observer {
                    observer.on_cancel();
                }
            }",
            "self.wake_all(); self.life.cancel();",
        )],
        caught_by: &["lifecycle::a_cancel_wakes"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "lifecycle/no-fence-after-the-verdict",
        why: "`armed` may be loaded before the verdict is seen",
        edits: &[edit("wait.rs", &["fn notify"], "fence(SeqCst);", "")],
        caught_by: &["lifecycle::a_cancel_wakes", "lifecycle::a_commit_wakes"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
];
