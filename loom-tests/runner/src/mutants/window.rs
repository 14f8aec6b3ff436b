//! `window.rs`.
//!
//! Not here: the Release of the end that `restart` stores. The fence on the line above it does the same; the ordering says
//! what the store is for, and stays right if the fence moves.

use super::{Edit, Mutant, edit};

const FILE: &str = "window.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "window/no-writer-fence",
        why: "nothing holds the copy behind the store of `start`",
        edits: &[edit(FILE, &["fn append_piece"], "fence(Release);", "")],
        caught_by: &["window::read_0_2", "window::read_2_2_round_the_edge_of_three"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/start-release-for-the-fence",
        why: "a Release store orders what comes before it, and the copy comes after",
        edits: &[
            edit(FILE, &["fn append_piece"], "self.start.store(new_start, «Relaxed»)", "Release"),
            edit(FILE, &["fn append_piece"], "fence(Release);", ""),
        ],
        caught_by: &["window::read_0_2"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/writer-fence-acquire",
        why: "the wrong half of a fence",
        edits: &[edit(FILE, &["fn append_piece"], "fence(«Release»)", "Acquire")],
        caught_by: &["window::read_0_2"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/no-eviction",
        why: "`start` stays where it is while its bytes are replaced",
        edits: &[edit(FILE, &["fn append_piece"], "self.start.store(new_start, Relaxed);", "")],
        caught_by: &["window::read_0_2"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/copy-before-eviction",
        why: "the bytes are replaced before `start` says so",
        edits: &[
            edit(
                FILE,
                &["fn append_piece"],
                "new_end.saturating_sub(self.capacity)",
                "{ self.copy_in(end, data); new_end.saturating_sub(self.capacity) }",
            ),
            edit(FILE, &["fn append_piece"], "self.copy_in(end, data);", ""),
        ],
        caught_by: &["window::read_0_2"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/no-reader-fence",
        why: "nothing holds the copy before the load of `start`",
        edits: &[edit(FILE, &["fn lapped"], "fence(Acquire);", "")],
        caught_by: &["window::read_0_2", "window::a_known_end_stays_good"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/start-acquire-for-the-fence",
        why: "an Acquire load orders what comes after it, and the copy comes before",
        edits: &[
            edit(FILE, &["fn lapped"], "fence(Acquire);", ""),
            edit(FILE, &["fn lapped"], "self.start.load(«Relaxed»)", "Acquire"),
        ],
        caught_by: &["window::read_0_2"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/no-start-check",
        why: "nobody finds out that the copy was lapped, or was of a gap",
        edits: &[edit(FILE, &["fn read_all"], "!self.lapped(offset)", "true")],
        caught_by: &["window::read_0_2", "window::read_3_1_in_the_gap"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/start-check-first",
        why: "the start is looked at before the copy and not after it",
        edits: &[
            edit(
                FILE,
                &["fn read_all"],
                "self.copy_out(offset, buf);",
                "if self.lapped(offset) { return false; } self.copy_out(offset, buf);",
            ),
            edit(FILE, &["fn read_all"], "!self.lapped(offset)", "true"),
        ],
        caught_by: &["window::read_0_2"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/end-store-relaxed",
        why: "the end is seen before the bytes below it",
        edits: &[edit(FILE, &["fn append_piece"], "self.end.store(new_end, «Release»)", "Relaxed")],
        caught_by: &["window::read_0_2", "window::bytes_of_a_span_are_there"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/end-load-relaxed",
        why: "the end is seen before the bytes below it",
        edits: &[edit(FILE, &["fn end"], "self.end.load(«Acquire»)", "Relaxed")],
        caught_by: &["window::read_0_2", "window::bytes_of_a_span_are_there"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/end-load-relaxed-hides-a-jump",
        why: "the end behind a jump is seen before the jump's start",
        edits: &[edit(FILE, &["fn end"], "self.end.load(«Acquire»)", "Relaxed")],
        caught_by: &["window::oldest_after_end_belongs_to_it"],
        symptom: "a gap inside the window",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/end-before-the-copy",
        why: "the end is stored before the bytes below it",
        edits: &[
            edit(
                FILE,
                &["fn append_piece"],
                "self.copy_in(end, data);",
                "self.end.store(new_end, Release); self.copy_in(end, data);",
            ),
            edit(FILE, &["fn append_piece"], "self.end.store(new_end, Release);", ""),
        ],
        caught_by: &["window::read_0_2"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/no-jump-fence",
        why: "what is appended after a jump is seen before the jump's start",
        edits: &[edit(FILE, &["fn restart"], "fence(Release);", "")],
        caught_by: &["window::read_1_1_replaced_after_a_jump"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/jump-end-first",
        why: "for a while the gap lies inside the window",
        edits: &[
            edit(
                FILE,
                &["fn restart"],
                "self.start.store(at, Relaxed);",
                "self.end.store(at, Release); self.start.store(at, Relaxed);",
            ),
            edit(FILE, &["fn restart"], "self.end.store(at, Release);", ""),
        ],
        caught_by: &["window::read_3_1_in_the_gap"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/base-after-the-end",
        why: "the end behind a jump is seen before the jump's base",
        edits: &[
            edit(
                FILE,
                &["fn restart"],
                "self.end.store(at, Release);",
                "self.end.store(at, Release); self.base.store(at, Relaxed);",
            ),
            edit(FILE, &["fn restart"], "self.base.store(at, Relaxed);", ""),
        ],
        caught_by: &["window::base_after_end_belongs_to_it"],
        symptom: "a gap above the base",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/end-load-relaxed-hides-a-base",
        why: "the end behind a jump is seen before the jump's base",
        edits: &[edit(FILE, &["fn end"], "self.end.load(«Acquire»)", "Relaxed")],
        caught_by: &["window::base_after_end_belongs_to_it"],
        symptom: "a gap above the base",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/span-start-first",
        why: "an eviction in between makes the span wider than the window ever was",
        edits: &[Edit {
            file: FILE,
            within: &["fn span"],
            find: "let end = self.end(); let start = self.oldest();",
            replace: "let start = self.oldest(); let end = self.end();",
            binds: "(start, end)",
        }],
        caught_by: &["window::span_of_appends_and_a_jump"],
        symptom: "WIDER",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/span-no-clamp",
        why: "the start may have overtaken the end that was loaded before",
        edits: &[edit(FILE, &["fn span"], "end.max(start)", "end")],
        caught_by: &["window::span_of_appends_and_a_jump"],
        symptom: "INVERTED",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/span-clipped",
        why: "a fresher end, clipped to the capacity, belongs to no start that was loaded before",
        edits: &[edit(FILE, &["fn span"], "end.max(start)", "self.end().min(start + self.capacity).max(start)")],
        caught_by: &["window::span_three_times"],
        symptom: "NEVER",
        ..Mutant::NONE
    },
    Mutant {
        name: "window/span-end-relaxed",
        why: "the end is seen before the bytes below it",
        edits: &[edit(FILE, &["fn span"], "self.end()", "self.end.load(Relaxed)")],
        caught_by: &["window::bytes_of_a_span_are_there"],
        symptom: "TORN",
        ..Mutant::NONE
    },
];
