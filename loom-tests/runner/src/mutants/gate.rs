//! `gate.rs`, and what `writer.rs` and `state.rs` do for gates and for jumps.
//!
//! Not here: a writer that notifies what it wrote silently before it sleeps for room. Opposite a silent writer sleepers
//! look again at a pace, so that without it they are late, and not asleep for ever.

use super::{Edit, Mutant, edit};

const FILE: &str = "gate.rs";
const WRITER: &str = "writer.rs";
const STATE: &str = "state.rs";

const RACE: &str = "Causality violation";

pub(super) const MUTANTS: &[Mutant] = &[
    // Who writes where.
    Mutant {
        name: "gate/position-store-relaxed",
        why: "the position is seen before the reads below it are over",
        edits: &[edit(
            FILE,
            &["impl GatePosition", "fn publish"],
            "self.0.position.store(position, «Release»)",
            "Relaxed",
        )],
        caught_by: &["gate::lent_bytes_stay", "gate::a_dropped_gate_lets_go"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/position-load-relaxed",
        why: "the position is seen before the reads below it are over",
        edits: &[edit(FILE, &["impl GatePosition", "fn position"], "self.0.position.load(«Acquire»)", "Relaxed")],
        caught_by: &["gate::lent_bytes_stay", "gate::a_dropped_gate_lets_go"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/forgotten-relaxed",
        why: "a gate that is gone is forgotten before its reads are over",
        edits: &[edit(FILE, &["fn mint"], "gate.position()", "gate.0.position.load(Relaxed)")],
        caught_by: &["gate::minting_forgets_no_read"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/end-load-relaxed",
        why: "a byte is lent before it is there",
        edits: &[edit("window.rs", &["fn end"], "self.end.load(«Acquire»)", "Relaxed")],
        caught_by: &["gate::lent_bytes_stay"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/given-up-before-the-last-read",
        why: "the bytes are still being looked at",
        edits: &[edit(
            FILE,
            &["fn as_slices"],
            "self.gate.lent()",
            "{ self.gate.published.publish(self.gate.known_end); self.gate.lent() }",
        )],
        caught_by: &["gate::lent_bytes_stay"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/no-look-at-the-gates",
        why: "the writer writes where a gate has yet to read",
        edits: &[edit(FILE, &["impl Gates", "fn room"], "self.refresh(); } «room(self.limit)»", "u64::MAX")],
        caught_by: &["gate::lent_bytes_stay"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/fastest-for-slowest",
        why: "the slower gate is run over",
        edits: &[edit(
            FILE,
            &["impl Gates", "fn refresh"],
            "self.positions.iter().map(|gate| gate.position().max(self.base)).min()",
            "self.positions.iter().map(|gate| gate.position()).max()",
        )],
        caught_by: &["gate::the_slower_of_two_gates_holds"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/mint-keeps-the-limit",
        why: "the writer goes by a limit that is older than the gate",
        edits: &[edit(FILE, &["fn mint"], "self.limit = self.limit.min(at);", "")],
        caught_by: &["gate::a_gate_minted_late_holds_too"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/mint-keeps-the-grant",
        why: "the writer goes by a grant that is older than the gate",
        edits: &[edit(WRITER, &["fn mint"], "self.pen.granted = 0;", "")],
        caught_by: &["gate::a_gate_minted_late_holds_too"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/grant-spent-twice",
        why: "what was granted was written by other ways",
        edits: &[edit(WRITER, &["impl Pen", "fn put<D: DriverIo>"], "self.granted = 0;", "")],
        caught_by: &["gate::a_write_that_fits_in_part_leaves_no_room"],
        symptom: "OVERRUN",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/grant-not-spent",
        why: "the writer writes as much again as it was granted once",
        edits: &[edit(WRITER, &["fn append_at_once"], "self.granted -= len;", "")],
        caught_by: &["gate::copied_bytes_stay"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/given-up-before-the-copy",
        why: "the bytes are still being copied",
        edits: &[edit(
            FILE,
            &["pub fn try_read"],
            "self.copy_out(buf);",
            "self.publish(self.position + wanted); self.copy_out(buf);",
        )],
        caught_by: &["gate::copied_bytes_stay"],
        symptom: "TORN",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/not-inherited",
        why: "the next writer does not know of a gate that the last one minted",
        edits: &[edit(
            WRITER,
            &["impl<D: DriverIo> Drop for Writer<D>"],
            "let gates = «std::mem::replace(&mut self.pen.gates, Gates::new(room))»;",
            "Gates::new(room)",
        )],
        caught_by: &["gate::the_next_writer_inherits_the_gates"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/retired-holds-on",
        why: "a gate that has read all of its generation holds the next writer for ever",
        edits: &[edit(FILE, &["impl Gate", "fn release"], "self.retired()", "false")],
        caught_by: &["gate::a_retired_gate_stays_retired", "gate::a_gate_retires_with_its_last_byte"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/retires-too-early",
        why: "a gate whose generation is over has yet to read what is left of it",
        edits: &[edit(FILE, &["fn adopt"], "self.final_end = «self.known_end»", "self.position")],
        caught_by: &["gate::the_next_writer_inherits_the_gates"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/retires-only-when-it-looks",
        why: "a gate that was told the verdict, and then reads the last byte, has no reason to look again",
        edits: &[edit(
            FILE,
            &["fn adopt"],
            "edge.stage != Stage::Active",
            "edge.stage != Stage::Active && self.known_end == self.position",
        )],
        caught_by: &["gate::a_gate_retires_with_its_last_byte"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/failure-heard-and-not-adopted",
        why: "a gate that hears of a failure by waiting holds the next writer for ever",
        edits: &[edit(
            FILE,
            &["fn wait_for"],
            "self.adopt(&found.edge); found.outcome?;",
            "found.outcome?; self.adopt(&found.edge);",
        )],
        caught_by: &["gate::a_failure_heard_by_waiting_retires"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/retired-looks-at-the-edge",
        why: "what was published after a failure that was told makes a wait end well, with nothing to lend",
        edits: &[edit(FILE, &["impl Gate", "fn look("], "self.retired()", "false")],
        caught_by: &["gate::a_failure_is_no_end"],
        symptom: "ENDED",
        ..Mutant::NONE
    },
    // Jumps.
    Mutant {
        name: "gate/no-start-check",
        why: "the gate reads on in the gap",
        edits: &[edit(FILE, &["fn adopt"], "self.position < edge.start", "false")],
        caught_by: &["gate::a_jump_waits_for_the_gate"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/no-base-check",
        why: "the gate reads on in the gap",
        edits: &[edit(FILE, &["fn glance"], "ring.window().base() <= self.position", "true")],
        caught_by: &["gate::a_jump_waits_for_the_gate"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/base-before-the-end",
        why: "an end behind the jump is held against a base before it",
        edits: &[
            edit(
                FILE,
                &["fn glance"],
                "match «self.state.glance(ring)»",
                "{ let base = ring.window().base(); self.state.glance(ring).filter(|_| base <= self.position) }",
            ),
            edit(FILE, &["fn glance"], "ring.window().base() <= self.position", "true"),
        ],
        caught_by: &["gate::a_jump_waits_for_the_gate"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/jump-does-not-wait",
        why: "the gate loses what it has yet to read",
        edits: &[edit(WRITER, &["fn restart"], "!self.gates.passed(last)", "false")],
        caught_by: &["gate::a_jump_waits_for_the_gate"],
        symptom: RACE,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/no-base",
        why: "a gate that drained before the jump, and does not know of it, holds the writer",
        edits: &[edit(FILE, &["impl Gates", "fn refresh"], "gate.position().max(self.base)", "gate.position()")],
        caught_by: &["gate::a_gate_left_behind_a_jump_does_not_hold"],
        symptom: "HELD",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/base-not-moved",
        why: "a gate that drained before the jump, and does not know of it, holds the writer",
        edits: &[edit(FILE, &["fn jumped"], "self.base = at;", "")],
        caught_by: &["gate::a_gate_left_behind_a_jump_does_not_hold"],
        symptom: "HELD",
        ..Mutant::NONE
    },
    // Both sides sleep.
    Mutant {
        name: "gate/advance-does-not-wake",
        why: "the writer sleeps for room that is there",
        edits: &[edit(FILE, &["impl Gate", "fn publish"], "self.state.room.notify(0..position);", "")],
        caught_by: &["gate::both_sleep"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/advance-wakes-first",
        why: "the writer looks before there is anything to see",
        edits: &[
            edit(
                FILE,
                &["impl Gate", "fn publish"],
                "self.published.publish(position);",
                "self.state.room.notify(0..position); self.published.publish(position);",
            ),
            edit(FILE, &["impl Gate", "fn publish"], "self.state.room.notify(0..position);", ""),
        ],
        caught_by: &["gate::both_sleep"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/no-fence-after-an-advance",
        why: "the writer's two words: its sleep, and the gate's position",
        edits: &[edit("wait.rs", &["fn notify"], "fence(SeqCst);", "")],
        caught_by: &["gate::both_sleep"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/drop-does-not-wake",
        why: "the writer sleeps for room that is there",
        edits: &[edit(FILE, &["impl Drop for Gate"], "self.publish(GONE);", "self.published.publish(GONE);")],
        caught_by: &["gate::a_dropped_gate_wakes_the_writer"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/append-wakes-only-for-its-last-byte",
        why: "a gate sleeps for a byte in the middle",
        edits: &[edit(WRITER, &["impl Pen", "fn notify"], "state.waits.notify(«self.notified_to»..end)", "end - 1")],
        caught_by: &["gate::the_first_byte_of_a_chunk_wakes"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/writer-insists-on-all",
        why: "the writer wants two with one free, the gate three with two there",
        edits: &[
            edit(WRITER, &["fn append<D: DriverIo>"], "room > 0", "room >= rest.len() as u64"),
            edit(
                WRITER,
                &["fn append<D: DriverIo>"],
                "let byte = «window.written_to() - window.capacity()»",
                "window.written_to() + rest.len() as u64 - 1 - window.capacity()",
            ),
        ],
        caught_by: &["gate::neither_insists_on_all"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/silent-gate-not-told",
        why: "the writer sleeps without a limit for a gate that does not wake it",
        edits: &[edit(FILE, &["fn set_publication"], "self.state.room.notify_all();", "")],
        caught_by: &["gate::a_silent_gate_and_a_paced_writer"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/pace-of-a-silent-gate-not-told",
        why: "the writer sleeps without a limit for a gate that does not wake it",
        edits: &[edit(FILE, &["impl GatePosition", "fn set_pace"], "self.0.pace_nanos.store(nanos, Relaxed);", "")],
        caught_by: &["gate::a_silent_gate_and_a_paced_writer"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/told-before-the-pace",
        why: "the writer is woken, sees no pace, and sleeps again",
        edits: &[
            edit(
                FILE,
                &["fn set_publication"],
                "self.publication = publication;",
                "self.publication = publication; self.state.room.notify_all();",
            ),
            edit(FILE, &["fn set_publication"], "self.state.room.notify_all();", ""),
        ],
        caught_by: &["gate::a_silent_gate_and_a_paced_writer"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/pace-looked-at-last",
        why: "a silent gate held us at the first look, was gone at the second, and wakes nobody",
        edits: &[edit(FILE, &["impl Gates", "fn wait<T>"], "room.set_pace(pace);", "room.set_pace(self.pace());")],
        caught_by: &["gate::a_gate_gets_all_there_is_before_a_gap_of_a_silent_writer"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/silent-writer-not-told",
        why: "the gate sleeps without a limit for a writer that does not wake it",
        edits: &[edit(WRITER, &["fn set_publication"], "self.state.waits.go_silent(pace)", "()")],
        caught_by: &["gate::a_writer_goes_silent"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/loud-without-telling",
        why: "what was written silently is never notified, and nobody looks at a pace any more",
        edits: &[edit(WRITER, &["fn set_publication"], "self.notify();", "")],
        caught_by: &["gate::a_silent_writer_tells_before_it_wakes_again"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/verdict-does-not-reach-the-writer",
        why: "a writer that sleeps for room does not hear of a cancel",
        edits: &[edit(
            STATE,
            &["impl<D: DriverIo> WakeAll for State<D>", "fn wake_all"],
            "self.room.notify_all();",
            "",
        )],
        caught_by: &["gate::a_failure_wakes_the_writer"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/writer-does-not-look-at-the-verdict",
        why: "a writer that is woken by a cancel sleeps again",
        edits: &[edit(WRITER, &["fn wait_for_gates"], "state.life.check_active().err()", "None")],
        caught_by: &["gate::a_failure_wakes_the_writer"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    // Gaps.
    Mutant {
        name: "gate/gap-not-announced",
        why: "the gate waits for bytes beyond the gap, the writer for the gate",
        edits: &[edit(WRITER, &["fn restart"], "state.announce_gap(before.end);", "")],
        caught_by: &["gate::a_gate_that_waits_across_a_gap"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/gap-announced-only-by-who-blocks",
        why: "a writer that tries again and again never gets a sleeping gate to drain",
        edits: &[edit(
            WRITER,
            &["fn restart"],
            "state.announce_gap(before.end);",
            "if let Wait::For(_) = wait { state.announce_gap(before.end); }",
        )],
        caught_by: &["gate::a_gate_that_waits_across_a_gap_that_is_tried"],
        hangs: true,
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/gap-wakes-nobody",
        why: "a gate that sleeps does not look",
        edits: &[edit(STATE, &["fn announce_gap"], "self.waits.notify_all();", "")],
        caught_by: &["gate::a_gate_that_waits_across_a_gap"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/gap-wakes-first",
        why: "the gate looks before there is anything to see",
        edits: &[edit(
            STATE,
            &["fn announce_gap"],
            "self.announce_gap_silently(at); self.waits.notify_all();",
            "self.waits.notify_all(); self.announce_gap_silently(at);",
        )],
        caught_by: &["gate::a_gate_that_waits_across_a_gap"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/gap-where-the-stream-went-on",
        why: "a gap that was withdrawn is held against an end behind it, or one that is announced against an end before it",
        edits: &[edit(FILE, &["impl Gate", "fn look("], "gap == edge.end", "gap < position + at_least")],
        caught_by: &[
            "gate::a_gap_that_is_thought_better_of_meanwhile",
            "gate::a_gate_gets_all_there_is_before_a_gap_of_a_silent_writer",
            "gate::a_gate_gets_all_there_is_before_a_gap_that_is_tried_silently",
        ],
        symptom: "SHORT",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/gap-announced-once-only",
        why: "the writer went on at its first gap, and waits at the second for a gate that waits for bytes beyond that",
        edits: &[edit(WRITER, &["fn restart"], "self.announced_gap != before.end", "self.announced_gap == NO_GAP")],
        caught_by: &["gate::a_gap_after_one_that_was_thought_better_of"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/ready-by-a-start-seen-first",
        why: "what was evicted, or left out, between the two looks counts as there",
        edits: &[edit(
            STATE,
            &["fn contains_at_once"],
            "self.glance(ring).is_some_and(|end| range.end <= end && ring.window().oldest() <= range.start)",
            "{ let start = ring.window().oldest(); self.glance(ring).is_some_and(|end| range.end <= end && start <= range.start) }",
        )],
        caught_by: &["gate::what_a_jump_leaves_out_is_never_ready", "gate::more_than_the_ring_holds_is_never_ready"],
        symptom: "READY",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/edge-with-its-start-seen-first",
        why: "what was evicted, or left out, between the two looks counts as there",
        edits: &[Edit {
            file: STATE,
            within: &["fn edge"],
            find: "let stage = self.life.stage(); let end = ring.window().end(); let start = start_of(ring.window());",
            replace: "let stage = self.life.stage(); let start = start_of(ring.window()); let end = ring.window().end();",
            binds: "(stage, end, start)",
        }],
        caught_by: &["gate::what_a_jump_leaves_out_is_never_ready", "gate::more_than_the_ring_holds_is_never_ready"],
        symptom: "READY",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/jump-wakes-only-its-range",
        why: "whoever waits for what the jump leaves out, or across its start, is never woken",
        edits: &[edit(WRITER, &["fn restart"], "state.waits.notify_all();", "state.waits.notify(offset..offset + 1);")],
        caught_by: &["gate::a_range_below_a_jump_is_evicted", "gate::a_range_across_a_jump_is_evicted"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "gate/end-looked-at-before-start",
        why: "a range across the new start is said to be not there yet, for ever",
        edits: &[edit(
            STATE,
            &["fn look_window"],
            "range.start < window.start",
            "range.start < window.start && range.end <= window.end",
        )],
        caught_by: &["gate::a_range_across_a_jump_is_evicted"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
];
