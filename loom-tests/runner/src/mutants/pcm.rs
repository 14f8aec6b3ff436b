//! `pcm.rs` and the files below it.
//!
//! Not here: the Release and Acquire of the playhead as far as the writer goes. The fences of the window already keep a byte
//! from being replaced before it is read (loom runs no load after a store that depends on it). A tap needs them.

use super::{Edit, Mutant, edit};

const FILE: &str = "pcm.rs";
const READER: &str = "pcm/reader.rs";
const TAP: &str = "pcm/tap.rs";
const WRITER: &str = "pcm/writer.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    // Seeks.
    Mutant {
        name: "pcm/no-answer-check",
        why: "frames of the old epoch are played although a seek was asked for",
        edits: &[edit(READER, &["fn look("], "epoch >= requested", "true")],
        caught_by: &["pcm::a_seek_between_two_fills", "pcm::a_seek_while_it_plays"],
        symptom: "STALE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/answer-looked-at-before-the-end",
        why: "frames of a later answer are told as being at the place of this one",
        edits: &[
            edit(READER, &["fn look("], "self.look_at_the_end(shared, self.position + wanted)", "Over::NOTHING"),
            edit(READER, &["fn look("], "self.position < answer.1", "true"),
            edit(READER, &["fn look("], "answer = answered().ok_or(Silence(ReadError::NotYet))?;", ""),
        ],
        caught_by: &["pcm::a_place_corrected_while_it_fills", "pcm::a_seek_behind_a_fill_that_had_begun"],
        symptom: "WRONG",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/answer-of-a-new-epoch-looked-at-before-its-end",
        why: "the epoch that had just begun is over: the frames below the end are those of the next one",
        edits: &[edit(READER, &["fn look("], "answer = answered().ok_or(Silence(ReadError::NotYet))?;", "")],
        caught_by: &["pcm::two_seeks_behind_a_fill_that_had_begun"],
        symptom: "WRONG",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/end-below-the-base",
        why: "one more epoch began behind the end that was seen, and none of its frames lies below that",
        edits: &[edit(
            READER,
            &["fn look("],
            "self.known_end.saturating_sub(from)",
            "self.known_end.wrapping_sub(from)",
        )],
        caught_by: &["pcm::two_seeks_behind_a_fill_that_had_begun"],
        symptom: "WRONG",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/answered-before-the-base",
        why: "the old base is taken for that of the new epoch",
        edits: &[
            edit(
                WRITER,
                &["fn answer"],
                "shared.answered.store(BUSY, Relaxed);",
                "shared.answered.store(epoch.0, Release);",
            ),
            edit(WRITER, &["fn answer"], "shared.answered.store(epoch.0, Release);", ""),
        ],
        caught_by: &["pcm::a_seek_between_two_fills"],
        symptom: "STALE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/answer-store-relaxed",
        why: "the answer is seen before the base",
        edits: &[edit(WRITER, &["fn answer"], "shared.answered.store(epoch.0, «Release»)", "Relaxed")],
        caught_by: &["pcm::a_seek_between_two_fills"],
        symptom: "STALE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/answer-load-relaxed",
        why: "the answer is seen before the base",
        edits: &[edit(FILE, &["fn epoch_base"], "let answered = self.answered.load(«Acquire»)", "Relaxed")],
        caught_by: &["pcm::a_seek_between_two_fills"],
        symptom: "STALE",
        ..Mutant::NONE
    },
    // Ends that a seek takes back.
    Mutant {
        name: "pcm/ended-store-relaxed",
        why: "the end of an epoch is seen before its last frames",
        edits: &[edit(WRITER, &["fn end_epoch"], "ended.store(epoch.0, «Release»)", "Relaxed")],
        caught_by: &["pcm::all_is_played_before_an_epoch_ends"],
        symptom: "EARLY end",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/ended-load-relaxed",
        why: "the end of an epoch is seen before its last frames",
        edits: &[edit(FILE, &["fn over("], "self.ended.load(«Acquire»)", "Relaxed")],
        caught_by: &["pcm::all_is_played_before_an_epoch_ends"],
        symptom: "EARLY end",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/ended-whatever-the-epoch",
        why: "the end of an older epoch is taken for that of this one",
        edits: &[edit(FILE, &["impl Over", "fn of"], "self.ended == epoch", "self.ended <= epoch")],
        caught_by: &["pcm::a_seek_takes_an_end_back"],
        symptom: "ENDED by an older epoch",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/drained-after-the-window",
        why: "the end of an epoch is asked for after its frames, and the last ones are not waited for",
        edits: &[edit(FILE, &["fn progress"], "over.of(epoch)", "self.over().of(epoch)")],
        caught_by: &["pcm::a_drain_ends_with_the_last_frame"],
        symptom: "EARLY end",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/drained-without-an-answer",
        why: "an epoch has ended, and the writer changes over to the next one: that has frames still",
        edits: &[edit(FILE, &["fn progress"], "stage: «over.stage»", "over.of(requested)")],
        caught_by: &["pcm::a_drain_does_not_end_by_a_seek"],
        symptom: "EARLY end",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/unanswered-while-it-changes-over",
        why: "an epoch has ended, and the writer changes over to the next one: it has answered",
        edits: &[edit(FILE, &["fn progress"], "stage: «over.stage»", "over.of(requested)")],
        caught_by: &["pcm::only_what_was_heard_is_said_to_be"],
        symptom: "UNANSWERED",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/drained-by-a-later-answer",
        why: "a seek was answered behind the look at what was asked for, and the stream ends with its frames",
        edits: &[edit(FILE, &["fn progress"], "answered >= requested", "answered == requested")],
        caught_by: &["pcm::a_drain_does_not_end_by_a_seek"],
        symptom: "EARLY end",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/heard-after-the-answer",
        why: "the playhead of the next epoch is taken for that of this one, of which nothing was heard",
        edits: &[edit(FILE, &["fn progress"], "playhead.max(base)", "self.playhead().max(base)")],
        caught_by: &["pcm::only_what_was_heard_is_said_to_be"],
        symptom: "UNHEARD",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/answer-not-busy",
        why: "the base of the next epoch is taken together with the place of this one",
        edits: &[edit(WRITER, &["fn answer"], "shared.answered.store(BUSY, Relaxed);", "")],
        caught_by: &["pcm::a_tap_knows_where_it_is"],
        symptom: "NOWHERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/no-writer-fence",
        why: "the next base is seen before the answer that it belongs to is withdrawn",
        edits: &[edit(WRITER, &["fn answer"], "fence(Release);", "")],
        caught_by: &["pcm::a_tap_knows_where_it_is"],
        symptom: "NOWHERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/no-reader-fence",
        why: "the second look at the answer may come before the base is loaded",
        edits: &[edit(FILE, &["fn epoch_base"], "fence(Acquire);", "")],
        caught_by: &["pcm::a_tap_knows_where_it_is"],
        symptom: "NOWHERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/no-second-look-at-the-answer",
        why: "the base of the next epoch is taken together with the place of this one",
        edits: &[edit(FILE, &["fn epoch_base"], "self.answered.load(Relaxed) == answered", "true")],
        caught_by: &["pcm::a_tap_knows_where_it_is"],
        symptom: "NOWHERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/seek-relaxed",
        why: "the decoder sees that it is to go, and not where",
        edits: &[edit(TAP, &["fn seek"], "self.shared.requested.fetch_add(1, «Release»)", "Relaxed")],
        caught_by: &["pcm::the_seekers_place_is_seen"],
        symptom: "WHERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/requested-relaxed",
        why: "the decoder sees that it is to go, and not where",
        edits: &[edit(FILE, &["fn requested"], "self.requested.load(«Acquire»)", "Relaxed")],
        caught_by: &["pcm::the_seekers_place_is_seen"],
        symptom: "WHERE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/seek-wakes-nobody",
        why: "the decoder sleeps for room that its stale frames will never need",
        edits: &[edit(TAP, &["fn seek"], "self.shared.room.notify_all();", "")],
        caught_by: &["pcm::a_seek_ends_a_wait_for_room", "pcm::a_seek_ends_a_drain"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/frames-in-hand",
        why: "a frame that was decoded before the seek is written as one of the new epoch",
        edits: &[Edit {
            file: WRITER,
            within: &["fn check"],
            find: "if epoch != shared.requested() { return Err(PcmError::Stale); }",
            replace: "let epoch = shared.requested();",
            binds: "epoch",
        }],
        caught_by: &["pcm::a_seek_between_two_fills"],
        symptom: "STALE",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/base-not-looked-at",
        why: "the reader goes on where it was, in frames of the old epoch",
        edits: &[edit(READER, &["fn look("], "self.position.max(base)", "self.position")],
        caught_by: &["pcm::a_seek_between_two_fills"],
        symptom: "WRONG",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/hard-gate",
        why: "a callback that is paused keeps the writer from answering its seek",
        edits: &[
            edit(FILE, &["fn limit"], "self.playhead().max(base)", "self.playhead()"),
            edit(WRITER, &["fn answer"], "self.limit = self.base + shared.ahead_bytes;", ""),
        ],
        caught_by: &["pcm::a_paused_callback_does_not_hold_the_writer"],
        symptom: "HELD",
        ..Mutant::NONE
    },
    // Reading.
    Mutant {
        name: "pcm/no-start-check",
        why: "a seek was answered and the ring filled anew while the reader copied",
        edits: &[edit("window.rs", &["fn read_all"], "!self.lapped(offset)", "true")],
        caught_by: &["pcm::a_seek_while_it_plays"],
        symptom: "WRONG",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/no-room-check",
        why: "frames are overwritten before they are played",
        edits: &[edit(WRITER, &["fn put"], "wanted.min(self.limit - written)", "wanted")],
        caught_by: &["pcm::frames_come_in_order"],
        symptom: "overflow",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/end-before-the-state",
        why: "the frames written between the two looks are never played",
        edits: &[Edit {
            file: READER,
            within: &["fn look_at_the_end"],
            find: "let over = shared.over(); self.known_end = shared.window.end();",
            replace: "self.known_end = shared.window.end(); let over = shared.over();",
            binds: "over",
        }],
        caught_by: &["pcm::all_is_played_before_the_end", "pcm::all_is_played_before_an_epoch_ends"],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/answer-looked-at-before-the-state-only",
        why: "the writer answered and finished between the two looks",
        edits: &[edit(
            READER,
            &["fn look("],
            "answered().ok_or(Silence(stage.why_no_more()))?",
            "return Err(Silence(stage.why_no_more()))",
        )],
        caught_by: &["pcm::all_is_played_before_the_end_of_a_new_epoch"],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/verdict-store-relaxed",
        why: "the end is seen before the last frames",
        edits: &[edit("lifecycle.rs", &["fn leave"], "compare_exchange(ACTIVE, word, «Release», Relaxed)", "Relaxed")],
        caught_by: &["pcm::all_is_played_before_the_end"],
        symptom: "EARLY",
        ..Mutant::NONE
    },
    // Waiting.
    Mutant {
        name: "pcm/write-wakes-nobody",
        why: "a reader that is no callback sleeps for frames that are there",
        edits: &[edit(
            WRITER,
            &["fn write_all"],
            "self.shared.frames.notify(from..self.shared.window.written_to());",
            "",
        )],
        caught_by: &["pcm::a_reader_that_waits_makes_room"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/wait-wakes-nobody",
        why: "a reader that is no callback sleeps for frames, and the writer for the room that it does not know of",
        edits: &[edit(READER, &["fn wait_until"], "shared.room.notify(0..head.position);", "")],
        caught_by: &["pcm::a_reader_that_waits_makes_room", "pcm::a_drain_ends_by_a_reader_that_waits"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/end-of-an-epoch-wakes-nobody",
        why: "a reader that is no callback sleeps for frames that will not come",
        edits: &[edit(WRITER, &["fn end_epoch"], "self.shared.frames.notify_all();", "")],
        caught_by: &["pcm::the_end_of_an_epoch_ends_a_wait_for_frames"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/end-wakes-nobody",
        why: "a reader that is no callback sleeps for frames that will not come",
        edits: &[edit(WRITER, &["fn finish"], "shared.wake_all();", "")],
        caught_by: &["pcm::the_end_ends_a_wait_for_frames"],
        symptom: "deadlock",
        ..Mutant::NONE
    },
    // Taps.
    Mutant {
        name: "pcm/playhead-store-relaxed",
        why: "a tap sees the playhead and not the base of its epoch: it hears frames that were skipped",
        edits: &[edit(READER, &["fn played"], "shared.position.store(head.position, «Release»)", "Relaxed")],
        caught_by: &["pcm::a_tap_leaves_out_what_was_skipped"],
        symptom: "NOT heard",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/playhead-load-relaxed",
        why: "a tap sees the playhead and not the base of its epoch: it hears frames that were skipped",
        edits: &[edit(FILE, &["fn playhead"], "self.position.load(«Acquire»)", "Relaxed")],
        caught_by: &["pcm::a_tap_leaves_out_what_was_skipped"],
        symptom: "NOT heard",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/tap-base-first",
        why: "the playhead of the next epoch is taken together with the base of this one",
        edits: &[Edit {
            file: TAP,
            within: &["fn latest"],
            find: "let playhead = shared.playhead(); let base = shared.base.load(Relaxed);",
            replace: "let base = shared.base.load(Relaxed); let playhead = shared.playhead();",
            binds: "(playhead, base)",
        }],
        caught_by: &["pcm::a_tap_leaves_out_what_was_skipped"],
        symptom: "NOT heard",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/tap-no-base",
        why: "a tap hears frames that were skipped by a seek",
        edits: &[edit(
            TAP,
            &["fn latest"],
            "playhead.saturating_sub(base.max(shared.window.oldest()))",
            "playhead.saturating_sub(shared.window.oldest())",
        )],
        caught_by: &["pcm::a_tap_leaves_out_what_was_skipped"],
        symptom: "NOT heard",
        ..Mutant::NONE
    },
    Mutant {
        name: "pcm/tap-no-start-check",
        why: "frames were overwritten while the tap copied them",
        edits: &[edit("window.rs", &["fn read_all"], "!self.lapped(offset)", "true")],
        caught_by: &["pcm::a_tap_hears_what_was_heard"],
        symptom: "NOT heard",
        ..Mutant::NONE
    },
];
