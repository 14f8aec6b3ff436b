//! `ready.rs`.

use super::{Edit, Mutant, edit};

const FILE: &str = "ready.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "ready/flag-cleared-after-the-scan",
        why: "the scan was too early for the range that set the flag in between",
        edits: &[
            Edit {
                file: FILE,
                within: &["fn take"],
                find: "let overflowed = self.overflowed.swap(false, Acquire);",
                replace: "let overflowed = self.overflowed.load(Acquire);",
                binds: "overflowed",
            },
            edit(
                FILE,
                &["fn take"],
                "taken.extend(all().iter().cloned());",
                "taken.extend(all().iter().cloned()); self.overflowed.swap(false, Acquire);",
            ),
        ],
        caught_by: &["ready::two_writers_find_it_full"],
        symptom: "LOST",
        ..Mutant::NONE
    },
    Mutant {
        name: "ready/flag-set-relaxed",
        why: "the scan does not see the publication that the flag stands for",
        edits: &[edit(FILE, &["fn push"], "self.overflowed.swap(true, «Release»)", "Relaxed")],
        caught_by: &["ready::one_writer_fills_the_queue", "ready::two_writers_find_it_full"],
        symptom: "LOST",
        ..Mutant::NONE
    },
    Mutant {
        name: "ready/flag-taken-relaxed",
        why: "the scan does not see the publication that the flag stands for",
        edits: &[edit(FILE, &["fn take"], "self.overflowed.swap(false, «Acquire»)", "Relaxed")],
        caught_by: &["ready::one_writer_fills_the_queue", "ready::two_writers_find_it_full"],
        symptom: "LOST",
        ..Mutant::NONE
    },
    Mutant {
        name: "ready/flag-set-by-a-store",
        why: "the store hides the Release of the one before it",
        edits: &[edit(
            FILE,
            &["fn push"],
            "self.overflowed.swap(true, Release);",
            "self.overflowed.store(true, Release);",
        )],
        caught_by: &["ready::two_writers_find_it_full"],
        symptom: "LOST",
        ..Mutant::NONE
    },
    Mutant {
        name: "ready/full-and-not-said",
        why: "nobody knows of what did not fit",
        edits: &[edit(FILE, &["fn push"], "self.overflowed.swap(true, Release);", "")],
        caught_by: &["ready::one_writer_fills_the_queue"],
        symptom: "LOST",
        ..Mutant::NONE
    },
];
