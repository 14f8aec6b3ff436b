//! The frontier in `store.rs`.

use super::{Mutant, edit};

const FILE: &str = "store.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "store/frontier-load-relaxed",
        why: "the frontier is seen before the bytes below it",
        edits: &[edit(FILE, &["impl Frontier", "fn get"], "self.0.load(«Acquire»)", "Relaxed")],
        caught_by: &["store::what_is_below_the_frontier_is_there"],
        symptom: "NOT THERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "store/frontier-raise-relaxed",
        why: "the frontier is seen before the bytes below it",
        edits: &[edit(FILE, &["impl Frontier", "fn raise"], "self.0.fetch_max(to, «Release»)", "Relaxed")],
        caught_by: &["store::what_is_below_the_frontier_is_there"],
        symptom: "NOT THERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "store/frontier-raised-by-a-store",
        why: "whoever raises it hands on what it wrote, and not what those before it did",
        edits: &[edit(
            FILE,
            &["impl Frontier", "fn raise"],
            "self.0.fetch_max(to, Release);",
            "self.0.store(to, Release);",
        )],
        caught_by: &["store::what_two_wrote_is_there"],
        symptom: "NOT THERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "store/frontier-raised-first",
        why: "the frontier is seen before the bytes below it",
        edits: &[edit(
            FILE,
            &["pub fn write"],
            "self.segments.write(offset, data);",
            "self.advance(range.clone(), STRIDE); self.segments.write(offset, data);",
        )],
        caught_by: &["store::what_is_below_the_frontier_is_there"],
        symptom: "NOT THERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "store/words-relaxed",
        why: "what somebody else wrote is below the frontier before its bytes are seen",
        edits: &[edit("coverage/word.rs", &["fn extent"], "self.0.load(«Acquire»)", "Relaxed")],
        caught_by: &["store::what_two_wrote_is_there"],
        symptom: "NOT THERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "store/rewrite-with-a-frontier",
        why: "what the generation before has is read where this one has yet to write it",
        edits: &[edit(FILE, &["fn advance"], "self.before.is_some()", "false")],
        caught_by: &["store::a_rewrite_has_old_bytes_or_new_ones"],
        symptom: "NOT THERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "store/frontier-stays-behind",
        why: "a frontier that was missed once is never moved again",
        edits: &[edit(
            FILE,
            &["fn advance"],
            "let from = if written.start <= frontier { written.end.max(frontier) } else { «frontier» };",
            "return",
        )],
        caught_by: &["store::a_frontier_left_behind_catches_up"],
        symptom: "BEHIND",
        ..Mutant::NONE
    },
];
