//! What `state.rs` does for drivers of others.

use super::{Mutant, edit};

const FILE: &str = "state.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "driver/no-fence-after-the-copy",
        why: "nothing holds the driver's copy before its load of the start",
        edits: &[edit(FILE, &["fn read_foreign"], "fence(Acquire);", "")],
        caught_by: &["driver::read_0_1_while_it_is_replaced"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "driver/window-looked-at-before-only",
        why: "nobody finds out that the copy was lapped",
        edits: &[edit(FILE, &["fn read_foreign"], "if «self.kept.is_none()» { fence(Acquire);", "false")],
        caught_by: &["driver::read_0_1_while_it_is_replaced", "driver::read_0_2_while_it_is_replaced"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "driver/verdict-after-the-window",
        why: "the bytes written between the two looks are never served",
        edits: &[edit(FILE, &["fn read_foreign"], "out_of_bytes(«stage», offset)", "self.life.stage()")],
        caught_by: &["driver::all_is_read_before_the_end"],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    Mutant {
        name: "driver/write-wakes-nobody",
        why: "whoever sleeps for the byte sleeps on",
        edits: &[edit(FILE, &["fn publish_foreign"], "self.waits.notify(written);", "")],
        caught_by: &["driver::a_wait_is_woken"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "driver/eviction-wakes-only-for-what-was-written",
        why: "whoever waits for what a jump left out is never woken",
        edits: &[edit(FILE, &["fn publish_foreign"], "self.waits.notify_all();", "self.waits.notify(written);")],
        caught_by: &["driver::a_wait_for_what_a_jump_leaves_out_ends"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "driver/wakes-before-the-bytes",
        why: "who is woken finds nothing, and sleeps again",
        edits: &[
            edit(
                FILE,
                &["fn write_foreign"],
                "self.check_written(self.driver.write_at(«offset», data, false))?; let after",
                "{ self.waits.notify(offset..end); offset }",
            ),
            edit(FILE, &["fn publish_foreign"], "self.waits.notify(written);", ""),
        ],
        caught_by: &["driver::a_wait_is_woken"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
];
