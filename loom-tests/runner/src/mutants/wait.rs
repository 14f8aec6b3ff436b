//! `wait.rs`, and the futex below it.
//!
//! Not here: a slot that is given back by a Relaxed `fetch_and`. All that the old owner stored to the slot lies before its
//! own SeqCst fence, which makes up for the Release; what lies behind it is the `fetch_and` that disarms, and loom puts
//! read-modify-writes of one atomic in the order in which they are executed. The language does not: without the Release
//! the new owner's `armed.fetch_or` may come before the old one's `fetch_and`, which then clears the wrong bit.

use super::{Mutant, edit};

const FILE: &str = "wait.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "wait/no-sleeper-fence",
        why: "the second look may come before `armed` is set: both miss each other",
        edits: &[edit(FILE, &["fn wait<T>"], "fence(SeqCst);", "")],
        caught_by: &["wait::one_sleeper", "wait::two_sleepers_one_slot", "wait::two_sleepers_on_the_shared_word"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/sleeper-fence-acqrel",
        why: "no order of a store before a later load",
        edits: &[edit(FILE, &["fn wait<T>"], "fence(SeqCst)", "fence(AcqRel)")],
        caught_by: &["wait::one_sleeper"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/no-waker-fence",
        why: "`armed` may be loaded before the publication is seen: both miss each other",
        edits: &[edit(FILE, &["fn notify"], "fence(SeqCst);", "")],
        caught_by: &[
            "wait::one_sleeper",
            "wait::two_sleepers_on_the_shared_word",
            "wait::an_interrupt_before_the_wait",
            "wait::a_publisher_goes_silent",
        ],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/waker-fence-acqrel",
        why: "no order of a store before a later load",
        edits: &[edit(FILE, &["fn notify"], "fence(SeqCst)", "fence(AcqRel)")],
        caught_by: &["wait::one_sleeper"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/key-late",
        why: "a bump between the second look and the key is taken for the state to sleep on",
        edits: &[edit(FILE, &["fn wait<T>"], "place.futex().wait(«key», self.nap(patience))", "place.futex().key()")],
        caught_by: &["wait::one_sleeper"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/no-second-look",
        why: "what was published before `armed` was set wakes nobody",
        edits: &[edit(
            FILE,
            &["fn wait<T>"],
            "match «look()» { Look::Done(done) => return done, Look::Missing(missing) if missing == byte =>",
            "Look::Missing(byte)",
        )],
        caught_by: &["wait::one_sleeper"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/sleeps-while-the-range-is-not-ready",
        why: "the byte armed on came, another is missing, and nobody would wake for that one",
        edits: &[edit(FILE, &["fn wait<T>"], "missing == byte", "missing != u64::MAX")],
        caught_by: &["wait::several_gaps_filled_from_behind", "wait::several_gaps_filled_by_two"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/no-last-look",
        why: "a byte that came just before the deadline is thrown away",
        edits: &[edit(
            FILE,
            &["fn wait<T>", "if patience.timed_out()"],
            "return match look() { Look::Done(done) => done, Look::Missing(_) => Waited::TimedOut, };",
            "return Waited::TimedOut;",
        )],
        caught_by: &["wait::a_timeout_comes_after_a_last_look"],
        symptom: "TIMED OUT",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/shared-flag-for-the-count",
        why: "the first of two that leaves the shared word clears the flag for both",
        edits: &[
            edit(
                FILE,
                &["fn arm"],
                "self.table.armed.fetch_add(SHARED, Relaxed)",
                "self.table.armed.fetch_or(SHARED, Relaxed)",
            ),
            edit(
                FILE,
                &["fn disarm"],
                "self.table.armed.fetch_sub(SHARED, Relaxed)",
                "self.table.armed.fetch_and(!SHARED, Relaxed)",
            ),
        ],
        caught_by: &["wait::two_sleepers_on_the_shared_word"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/shared-word-not-woken",
        why: "more sleepers than slots, and nobody thinks of the rest",
        edits: &[edit(FILE, &["fn wake("], "armed >= SHARED", "false")],
        caught_by: &["wait::two_sleepers_on_the_shared_word", "wait::two_sleepers_one_slot"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/released-before-disarmed",
        why: "the old owner clears the bit of the new one",
        edits: &[
            edit(
                FILE,
                &["fn drop"],
                "self.disarm();",
                "if let Some(i) = self.slot { self.table.claimed.fetch_and(!(1 << i), Release); }",
            ),
            edit(
                FILE,
                &["fn drop"],
                "if let Some(i) = self.slot { self.table.claimed.fetch_and(!(1 << i), Release); }",
                "self.disarm();",
            ),
        ],
        caught_by: &["wait::a_slot_used_again"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/claim-relaxed",
        why: "what the old owner did to the slot may come after what the new one does",
        edits: &[edit(FILE, &["fn claim"], "table.claimed.fetch_or(1 << free, «Acquire»)", "Relaxed")],
        caught_by: &["wait::a_slot_used_again"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/bump-is-no-read-modify-write",
        why: "two bumps that load the same value make one key",
        edits: &[edit(
            "sync.rs",
            &["#[cfg(loom)] mod futex", "fn bump_and_wake"],
            "self.0.fetch_add(1, Relaxed);",
            "let key = self.0.load(Relaxed); self.0.store(key.wrapping_add(1), Relaxed);",
        )],
        caught_by: &["wait::bumps_never_add_up"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/silence-not-told",
        why: "who sleeps without a limit already never hears of a publisher that went silent",
        edits: &[edit(FILE, &["fn go_silent"], "self.notify_all();", "")],
        caught_by: &["wait::a_publisher_goes_silent"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/silence-told-first",
        why: "who is woken before the pace is set sleeps without a limit again",
        edits: &[edit(
            FILE,
            &["fn go_silent"],
            "self.set_pace(Some(pace)); self.notify_all();",
            "self.notify_all(); self.set_pace(Some(pace));",
        )],
        caught_by: &["wait::a_publisher_goes_silent"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/interrupt-flag-for-the-epoch",
        why: "a flag that is loaded and cleared loses the interrupt that comes in between",
        edits: &[
            edit(FILE, &["fn take"], "epoch != self.since", "epoch != 0"),
            edit(
                FILE,
                &["fn take"],
                "self.interrupts.seen.fetch_max(epoch, Relaxed);",
                "self.interrupts.epoch.store(0, Relaxed);",
            ),
            edit(FILE, &["fn interrupt(&self)"], "self.epoch.fetch_add(1, Release);", "self.epoch.store(1, Release);"),
        ],
        caught_by: &["wait::two_interrupts_in_a_row"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/interrupt-wakes-first",
        why: "the sleeper looks before there is anything to see",
        edits: &[edit(
            FILE,
            &["fn interrupt(&self)"],
            "self.epoch.fetch_add(1, Release); if let Some(wake) = self.wake.upgrade() { wake.wake_all(); }",
            "if let Some(wake) = self.wake.upgrade() { wake.wake_all(); } self.epoch.fetch_add(1, Release);",
        )],
        caught_by: &["wait::an_interrupt_before_the_wait"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/interrupt-relaxed",
        why: "the interrupt is seen before what the interrupter did",
        edits: &[edit(FILE, &["fn interrupt(&self)"], "self.epoch.fetch_add(1, «Release»)", "Relaxed")],
        caught_by: &["wait::an_interrupt_before_the_wait"],
        symptom: "INTERRUPTED",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/interrupt-taken-relaxed",
        why: "the interrupt is seen before what the interrupter did",
        edits: &[edit(FILE, &["fn take"], "self.interrupts.epoch.load(«Acquire»)", "Relaxed")],
        caught_by: &["wait::an_interrupt_before_the_wait"],
        symptom: "INTERRUPTED",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/interrupt-taken-by-the-first",
        why: "of two threads that wait on one handle, the first that wakes takes the interrupt from the other",
        edits: &[edit(FILE, &["fn take"], "epoch != self.since", "epoch != self.interrupts.seen.load(Relaxed)")],
        caught_by: &["wait::an_interrupt_ends_both_waits"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "wait/interrupt-answered-again",
        why: "the one that answers an earlier interrupt forgets that a later one was answered",
        edits: &[edit(
            FILE,
            &["fn take"],
            "self.interrupts.seen.fetch_max(epoch, Relaxed);",
            "self.interrupts.seen.store(epoch, Relaxed);",
        )],
        caught_by: &["wait::an_interrupt_is_answered_once"],
        symptom: "AGAIN",
        ..Mutant::NONE
    },
];
