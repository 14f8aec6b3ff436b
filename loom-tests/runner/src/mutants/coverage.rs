//! `coverage.rs` and the words below it.

use super::{Edit, Mutant, edit};

const FILE: &str = "coverage.rs";
const WORD: &str = "coverage/word.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "coverage/set-aside-without-a-second-look",
        why: "the extent has reached the piece before the word said that there is one",
        edits: &[edit(FILE, &["fn set_aside"], "slow.drain(block, word);", "")],
        caught_by: &["coverage::a_stray_and_who_joins_it", "coverage::two_strays_and_who_joins_them"],
        symptom: "STUCK",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/flag-outside-of-the-word",
        why: "the second look and the look at the flag miss each other",
        edits: &[
            // The word of the next block stands in for a flag.
            edit(FILE, &["fn set_aside"], "word.set_spilled();", "self.leaves.at(BLOCK).unwrap()[1].set_spilled();"),
            edit(
                FILE,
                &["fn insert_piece"],
                "extent.spilled()",
                "self.leaves.at(BLOCK).unwrap()[1].extent().spilled()",
            ),
        ],
        caught_by: &["coverage::a_stray_and_who_joins_it"],
        symptom: "STUCK",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/stray-not-announced",
        why: "nobody takes the mutex for a stray that the word says nothing of",
        edits: &[edit(FILE, &["fn set_aside"], "word.set_spilled();", "")],
        caught_by: &["coverage::a_sleeper_on_a_stray"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/no-drain",
        why: "a stray stays one after the extent has reached it",
        edits: &[edit(FILE, &["fn insert_piece"], "if extent.spilled() { self.drain(block, word); }", "")],
        caught_by: &["coverage::a_stray_and_who_joins_it", "coverage::two_strays_and_who_joins_them"],
        symptom: "STUCK",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/spill-cleared-blind",
        why: "there is another stray, and nobody looks for it any more",
        edits: &[edit(
            FILE,
            &["fn drain(&mut self"],
            "if strays.is_empty() { entry.remove(); word.clear_spilled(); }",
            "if strays.is_empty() { entry.remove(); } word.clear_spilled();",
        )],
        caught_by: &["coverage::two_strays_and_who_joins_them"],
        symptom: "STUCK",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/spill-set-by-a-store",
        why: "a join between the load and the store is lost",
        edits: &[edit(
            WORD,
            &["fn set_spilled"],
            "self.0.fetch_or(SPILL, Relaxed);",
            "let word = self.0.load(Relaxed); self.0.store(word | SPILL, Relaxed);",
        )],
        caught_by: &["coverage::a_stray_and_who_joins_it"],
        symptom: "STUCK",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/spill-cleared-by-a-store",
        why: "a join between the load and the store is lost",
        edits: &[edit(
            WORD,
            &["fn clear_spilled"],
            "self.0.fetch_and(!SPILL, Relaxed);",
            "let word = self.0.load(Relaxed); self.0.store(word & !SPILL, Relaxed);",
        )],
        caught_by: &["coverage::two_strays_and_who_joins_them"],
        symptom: "STUCK",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/join-relaxed",
        why: "the word is seen before the bytes",
        edits: &[edit(WORD, &["fn try_join"], "to.0, «Release», Relaxed", "Relaxed")],
        caught_by: &["coverage::two_neighbours_at_once_with_a_reader", "coverage::a_commit_over_the_bytes_of_another"],
        symptom: "Causality violation",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/drain-relaxed",
        why: "what a drain takes along is seen before its bytes",
        edits: &[edit(
            WORD,
            &["fn try_join"],
            "to.0, «Release», Relaxed",
            "if from.spilled() { Relaxed } else { Release }",
        )],
        caught_by: &["coverage::a_stray_and_who_joins_it_with_a_reader"],
        symptom: "Causality violation",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/extent-relaxed",
        why: "the word is seen before the bytes, by a reader and by a commit",
        edits: &[edit(WORD, &["fn extent"], "self.0.load(«Acquire»)", "Relaxed")],
        caught_by: &[
            "coverage::a_stray_and_who_joins_it_with_a_reader",
            "coverage::two_neighbours_at_once_with_a_reader",
            "coverage::a_commit_over_the_bytes_of_another",
            "coverage::a_reader_of_what_a_cut_leaves",
        ],
        symptom: "Causality violation",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/cut-by-a-store",
        why: "whoever sees what is left of the extent does not see its bytes",
        edits: &[Edit {
            file: WORD,
            within: &["fn cut"],
            find: "while let Err(now) = self.0.compare_exchange(found.0, found.below(end).0, Relaxed, Relaxed) {
                found = Extent(now); }",
            replace: "self.0.store(found.below(end).0, Relaxed);",
            binds: "",
        }],
        caught_by: &["coverage::a_reader_of_what_a_cut_leaves"],
        symptom: "Causality violation",
        ..Mutant::NONE
    },
    Mutant {
        name: "coverage/word-not-loaded-again",
        why: "what was joined while the reader took the mutex is neither in its word nor among the strays",
        edits: &[Edit {
            file: FILE,
            within: &["fn look_closer"],
            find: "let slow = self.lock(); let extent = word.extent();",
            replace: "let extent = word.extent(); let slow = self.lock();",
            binds: "(slow, extent)",
        }],
        caught_by: &["coverage::a_sleeper_on_a_stray_that_is_joined"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
];
