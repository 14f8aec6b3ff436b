//! Gates: the writer never writes where a gate has yet to read, and neither side waits for ever.
//!
//! The byte at offset `o` is `o + 1`. A lent byte is no atomic access: loom reports a race if the writer replaces it.

use std::ops::Range;

use loom::thread;
use roundelay::{Gate, Publication, ReadError, Resource, RingDriver, RingOptions, StorageError, Writer};

use crate::Preemptions::{Any, AtMost};
use crate::{explore, models};

models! {
    // One side polls, the other too: no fence but those of the protocol.
    lent_bytes_stay => polled(2, 4, 2),
    lent_bytes_stay_in_a_ring_of_three => polled(3, 4, 1),
    copied_bytes_stay => copied(),
    a_write_that_fits_in_part_leaves_no_room => in_part(),
    a_gate_minted_late_holds_too => minted_late(),
    the_slower_of_two_gates_holds => two_gates(),
    a_dropped_gate_lets_go => dropped(),
    minting_forgets_no_read => minted_over_a_dropped_one(),
    a_jump_waits_for_the_gate => jump(2),
    a_jump_waits_for_the_gate_that_reads_on => jump(3),
    a_gate_left_behind_a_jump_does_not_hold => left_behind(),
    the_next_writer_inherits_the_gates => inherited(),
    a_retired_gate_stays_retired => retired(),
    a_failure_heard_by_waiting_retires => heard_by_waiting(),
    a_gate_retires_with_its_last_byte => retires_with_its_last_byte(),
    a_failure_is_no_end => failed_midway(),
    // Both sides sleep.
    both_sleep => both_sleep(1, &[1, 1], &[1, 1], 2),
    the_first_byte_of_a_chunk_wakes => both_sleep(2, &[2], &[1], 3),
    neither_insists_on_all => both_sleep(3, &[2, 2], &[3], 2),
    a_silent_gate_and_a_paced_writer => silent_gate(),
    a_writer_goes_silent => silent_writer(false),
    a_silent_writer_tells_before_it_wakes_again => silent_writer(true),
    a_dropped_gate_wakes_the_writer => drop_wakes(),
    a_commit_wakes_a_gate => commit_wakes(),
    a_failure_wakes_the_writer => failure_wakes(),
    // Both sides sleep, and the stream jumps.
    a_gate_that_waits_across_a_gap => gap(2, 1, 0, &[1]),
    a_gate_gets_all_there_is_before_a_gap => gap(3, 2, 0, &[1, 2]),
    a_gate_gets_all_there_is_before_a_gap_of_a_silent_writer => silent_gap(),
    a_gate_that_waits_across_a_gap_that_is_tried => tried_gap(false),
    a_gate_gets_all_there_is_before_a_gap_that_is_tried_silently => tried_gap(true),
    a_gate_that_waits_at_a_gap => gap(2, 1, 1, &[7, 8]),
    a_gap_that_was_thought_better_of_is_forgotten => thought_better(),
    a_gap_that_is_thought_better_of_meanwhile => thought_better_meanwhile(),
    a_gap_after_one_that_was_thought_better_of => second_gap(),
    a_range_below_a_jump_is_evicted => evicted(2..3),
    a_range_across_a_jump_is_evicted => evicted(4..7),
    // What a reader without a gate is told is ready.
    what_a_jump_leaves_out_is_never_ready => never_ready(2..3, true),
    more_than_the_ring_holds_is_never_ready => never_ready(0..4, false),
}

fn byte(offset: u64) -> u8 {
    offset as u8 + 1
}

fn ring(capacity: usize) -> (Resource<RingDriver>, Writer<RingDriver>) {
    let resource = roundelay::open(RingOptions::new(capacity)).unwrap();
    let writer = resource.writer().unwrap();
    (resource, writer)
}

/// Neither side wakes the other, nor has a fence for it.
fn silence(writer: &mut Writer<RingDriver>, gate: &mut Gate) {
    writer.set_publication(Publication::SILENT);
    gate.set_publication(Publication::SILENT);
}

/// Appends bytes until `end` is reached.
fn write_to(writer: &mut Writer<RingDriver>, end: u64) {
    while writer.position() < end {
        let at = writer.position();
        if writer.try_append(&[byte(at)]).unwrap() == 0 {
            thread::yield_now();
        }
    }
}

/// Looks at what there is, twice, and gives it up.
fn read(gate: &mut Gate) {
    let Ok(slices) = gate.slices() else { return };
    let at = slices.offset();
    for _ in 0..2 {
        let (first, second) = slices.as_slices();
        for (at, got) in (at..).zip(first.iter().chain(second)) {
            assert_eq!(*got, byte(at), "TORN at offset {at}");
        }
    }
    let n = slices.len();
    slices.consume(n);
}

fn polled(capacity: usize, end: u64, reads: usize) {
    explore(AtMost(3), move || {
        let (_resource, mut writer) = ring(capacity);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        let reader = thread::spawn(move || {
            for _ in 0..reads {
                read(&mut gate);
            }
        });
        write_to(&mut writer, end);
        reader.join().unwrap();
    });
}

/// The same for a gate that copies.
fn copied() {
    explore(AtMost(3), || {
        let (_resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                let at = gate.position();
                let mut got = [0];
                if gate.try_read(&mut got).is_ok() {
                    assert_eq!(got, [byte(at)], "TORN at offset {at}");
                }
            }
        });
        write_to(&mut writer, 4);
        reader.join().unwrap();
    });
}

fn in_part() {
    explore(Any, || {
        let (_resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        write_to(&mut writer, 1);
        let reader = thread::spawn(move || {
            let _ = gate.slices().unwrap().as_slices();
            // Kept, with all that there is.
            gate
        });
        assert_eq!(writer.try_append(&[byte(1), byte(2)]).unwrap(), 1);
        assert_eq!(writer.try_append(&[byte(2)]).unwrap(), 0, "OVERRUN");
        reader.join().unwrap();
    });
}

fn minted_late() {
    explore(Any, || {
        let (_resource, mut writer) = ring(2);
        writer.set_publication(Publication::SILENT);
        write_to(&mut writer, 3);
        let mut gate = writer.gate_at(1).unwrap();
        gate.set_publication(Publication::SILENT);
        let reader = thread::spawn(move || read(&mut gate));
        write_to(&mut writer, 4);
        reader.join().unwrap();
    });
}

fn two_gates() {
    explore(AtMost(2), || {
        let (_resource, mut writer) = ring(2);
        let mut gates = [writer.gate(), writer.gate()];
        for gate in &mut gates {
            silence(&mut writer, gate);
        }
        write_to(&mut writer, 2);
        let readers = gates.map(|mut gate| thread::spawn(move || read(&mut gate)));
        write_to(&mut writer, 3);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

fn dropped() {
    explore(Any, || {
        let (_resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        write_to(&mut writer, 2);
        let reader = thread::spawn(move || {
            // Looked at and not given up: the drop does.
            let _ = gate.slices().unwrap().as_slices();
            drop(gate);
        });
        write_to(&mut writer, 4);
        reader.join().unwrap();
    });
}

/// The gates that are gone are forgotten when the next is minted, and their reads are not.
fn minted_over_a_dropped_one() {
    explore(Any, || {
        let (_resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        write_to(&mut writer, 2);
        let reader = thread::spawn(move || {
            let _ = gate.slices().unwrap().as_slices();
            drop(gate);
        });
        let _next = writer.gate();
        writer.try_append(&[byte(2)]).unwrap();
        reader.join().unwrap();
    });
}

fn jump(reads: usize) {
    explore(AtMost(5 - reads), move || {
        let (_resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        write_to(&mut writer, 1);
        let reader = thread::spawn(move || {
            for _ in 0..reads {
                let before = gate.position();
                read(&mut gate);
                // Everything before the gap was read before anything behind it.
                assert!(gate.position() < 6 || before >= 1, "LOST what was before the gap");
            }
        });
        while writer.try_write_at(6, &[byte(6)]).unwrap() == 0 {
            thread::yield_now();
        }
        write_to(&mut writer, 9);
        reader.join().unwrap();
    });
}

/// The gate has drained, and does not know of the jump yet.
fn left_behind() {
    explore(Any, || {
        let (_resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        write_to(&mut writer, 1);
        read(&mut gate);
        let reader = thread::spawn(move || read(&mut gate));
        assert_eq!(writer.try_write_at(6, &[byte(6), byte(7)]).unwrap(), 2, "HELD by a gate that was left behind");
        reader.join().unwrap();
    });
}

fn inherited() {
    explore(Any, || {
        let (resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        write_to(&mut writer, 2);
        writer.commit(None).unwrap();
        drop(writer);
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        let reader = thread::spawn(move || read(&mut gate));
        write_to(&mut writer, 3);
        reader.join().unwrap();
    });
}

/// A gate that has read all of its generation does not hold the next writer, whatever is consumed of nothing.
fn retired() {
    explore(AtMost(3), || {
        let (resource, mut writer) = ring(1);
        let mut gate = writer.gate();
        write_to(&mut writer, 1);
        read(&mut gate);
        writer.commit(None).unwrap();
        drop(writer);
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        let reader = thread::spawn(move || {
            gate.wait(1).unwrap().consume(0);
            // Kept, until the writer is through.
            gate
        });
        writer.append(&[byte(1), byte(2), byte(3)]).unwrap();
        reader.join().unwrap();
    });
}

/// The gate, drained, sleeps until the writer is gone, and is kept: it does not hold the next writer.
fn heard_by_waiting() {
    explore(AtMost(2), || {
        let (resource, mut writer) = ring(1);
        let mut gate = writer.gate();
        write_to(&mut writer, 1);
        read(&mut gate);
        let reader = thread::spawn(move || {
            gate.wait(1).unwrap_err();
            gate
        });
        drop(writer);
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&[byte(1), byte(2)]).unwrap();
        reader.join().unwrap();
    });
}

/// The gate hears that no more will come while it has yet to read what there is.
fn retires_with_its_last_byte() {
    explore(AtMost(3), || {
        let (resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        write_to(&mut writer, 1);
        drop(writer);
        gate.wait(2).unwrap_err();
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        let reader = thread::spawn(move || {
            gate.slices().unwrap().consume(1);
            gate
        });
        writer.append(&[byte(1), byte(2), byte(3)]).unwrap();
        reader.join().unwrap();
    });
}

/// The resource fails while an append is under way. A gate that was told so is told the same ever after, whatever the
/// append publishes still.
fn failed_midway() {
    explore(AtMost(3), || {
        let (resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        let writing = thread::spawn(move || {
            let _ = writer.append(&[byte(0)]);
            writer
        });
        resource.fail(StorageError::other("gone"));
        let told = matches!(gate.slices(), Err(ReadError::Failed));
        let writer = writing.join().unwrap();
        if told {
            match gate.wait(1) {
                Err(StorageError::Failed(_)) => {}
                other => panic!("ENDED after a failure: {other:?}"),
            }
        }
        drop(writer);
    });
}

/// Both block: the writer for the room that its chunks need, the gate for as many bytes as it wants at a time.
fn both_sleep(capacity: usize, chunks: &'static [usize], wants: &'static [usize], preemptions: usize) {
    explore(AtMost(preemptions), move || {
        let (_resource, mut writer) = ring(capacity);
        let mut gate = writer.gate();
        let reader = thread::spawn(move || {
            for &want in wants {
                let at = gate.position();
                let slices = gate.wait(want).unwrap();
                assert!(slices.len() >= want, "SHORT");
                assert_eq!(slices.first()[0], byte(at), "TORN");
                slices.consume(want);
            }
        });
        for &chunk in chunks {
            let at = writer.position();
            let data: Vec<u8> = (at..at + chunk as u64).map(byte).collect();
            writer.append(&data).unwrap();
        }
        reader.join().unwrap();
    });
}

fn silent_gate() {
    explore(AtMost(2), || {
        let (_resource, mut writer) = ring(1);
        let mut gate = writer.gate();
        let reader = thread::spawn(move || {
            gate.set_publication(Publication::SILENT);
            for _ in 0..2 {
                gate.wait(1).unwrap().consume(1);
            }
        });
        writer.append(&[byte(0), byte(1)]).unwrap();
        reader.join().unwrap();
    });
}

/// A writer that was silent tells what it wrote before it falls back to waking.
fn silent_writer(and_back: bool) {
    explore(AtMost(3), move || {
        let (_resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        let reader = thread::spawn(move || {
            gate.wait(2).unwrap();
        });
        writer.set_publication(Publication::SILENT);
        writer.append(&[byte(0), byte(1)]).unwrap();
        if and_back {
            writer.set_publication(Publication::Notify);
        }
        reader.join().unwrap();
    });
}

fn drop_wakes() {
    explore(AtMost(3), || {
        let (_resource, mut writer) = ring(1);
        let gate = writer.gate();
        let reader = thread::spawn(move || drop(gate));
        writer.append(&[byte(0), byte(1)]).unwrap();
        reader.join().unwrap();
    });
}

fn commit_wakes() {
    explore(AtMost(3), || {
        let (_resource, mut writer) = ring(2);
        let mut gate = writer.gate();
        let reader = thread::spawn(move || {
            let slices = gate.wait(2).unwrap();
            assert_eq!(slices.first(), [byte(0)]);
            slices.consume(1);
            assert_eq!(gate.slices().unwrap_err(), ReadError::Ended);
        });
        writer.append(&[byte(0)]).unwrap();
        writer.commit(None).unwrap();
        reader.join().unwrap();
    });
}

fn failure_wakes() {
    explore(AtMost(3), || {
        let (resource, mut writer) = ring(1);
        let gate = writer.gate();
        let writing = thread::spawn(move || {
            writer.append(&[byte(0), byte(1)]).unwrap_err();
        });
        resource.cancel();
        writing.join().unwrap();
        drop(gate);
    });
}

/// The gate, which has read `read` of the bytes that were there at first, waits for as many as the ring holds, while
/// the writer appends up to `end` and then jumps.
fn gap(capacity: usize, end: u64, read: usize, expected: &'static [u8]) {
    explore(AtMost(2), move || {
        let (_resource, mut writer) = ring(capacity);
        let mut gate = writer.gate();
        write_to(&mut writer, end - 1 + read as u64);
        if read > 0 {
            gate.slices().unwrap().consume(read);
        }
        let reader = thread::spawn(move || {
            let slices = gate.wait(capacity).unwrap();
            let (first, second) = slices.as_slices();
            assert_eq!([first, second].concat(), *expected, "SHORT of what there is, or wrong");
            let n = slices.len();
            slices.consume(n);
        });
        while writer.position() < end {
            writer.append(&[byte(writer.position())]).unwrap();
        }
        let data: Vec<u8> = (6..6 + capacity as u64).map(byte).collect();
        writer.write_at(6, &data).unwrap();
        reader.join().unwrap();
    });
}

/// No fence of a notification stands between the bytes and the announcement.
fn silent_gap() {
    explore(AtMost(2), || {
        let (_resource, mut writer) = ring(3);
        let mut gate = writer.gate();
        silence(&mut writer, &mut gate);
        let reader = thread::spawn(move || {
            let slices = gate.wait(3).unwrap();
            assert_eq!(slices.first(), [byte(0), byte(1)], "SHORT of what there is, or wrong");
            let n = slices.len();
            slices.consume(n);
        });
        write_to(&mut writer, 2);
        writer.write_at(6, &[byte(6)]).unwrap();
        reader.join().unwrap();
    });
}

/// The writer does not block; it comes back again and again.
fn tried_gap(silent: bool) {
    explore(AtMost(2), move || {
        let (_resource, mut writer) = ring(3);
        let mut gate = writer.gate();
        if silent {
            silence(&mut writer, &mut gate);
        }
        write_to(&mut writer, 1);
        let reader = thread::spawn(move || {
            let slices = gate.wait(3).unwrap();
            assert_eq!(slices.first(), [byte(0), byte(1)], "SHORT of what there is, or wrong");
            let n = slices.len();
            slices.consume(n);
        });
        write_to(&mut writer, 2);
        while writer.try_write_at(6, &[byte(6)]).unwrap() == 0 {
            thread::yield_now();
        }
        reader.join().unwrap();
    });
}

/// The writer announced a gap, and went on at the live edge: gates wait across the place again.
fn thought_better() {
    explore(AtMost(3), || {
        let (_resource, mut writer) = ring(3);
        let mut gate = writer.gate();
        write_to(&mut writer, 1);
        assert_eq!(writer.try_write_at(6, &[byte(6)]).unwrap(), 0);
        write_to(&mut writer, 2);
        let reader = thread::spawn(move || {
            assert_eq!(gate.wait(3).unwrap().len(), 3, "SHORT of what there is, or wrong");
        });
        write_to(&mut writer, 3);
        reader.join().unwrap();
    });
}

/// The same while a gate waits: it is told of the gap, or gets all it waits for, and nothing in between.
fn thought_better_meanwhile() {
    explore(AtMost(2), || {
        let (_resource, mut writer) = ring(3);
        let mut gate = writer.gate();
        write_to(&mut writer, 1);
        assert_eq!(writer.try_write_at(6, &[byte(6)]).unwrap(), 0);
        let reader = thread::spawn(move || {
            let len = gate.wait(3).unwrap().len();
            assert!(len == 1 || len == 3, "SHORT where no gap is: {len}");
        });
        write_to(&mut writer, 2);
        write_to(&mut writer, 3);
        reader.join().unwrap();
    });
}

/// The writer thought better of a first gap, and leaves one after that.
fn second_gap() {
    explore(AtMost(2), || {
        let (_resource, mut writer) = ring(3);
        let mut gate = writer.gate();
        write_to(&mut writer, 1);
        assert_eq!(writer.try_write_at(6, &[byte(6)]).unwrap(), 0);
        write_to(&mut writer, 2);
        let reader = thread::spawn(move || {
            let slices = gate.wait(3).unwrap();
            assert_eq!(slices.first(), [byte(0), byte(1)], "SHORT of what there is, or wrong");
            let n = slices.len();
            slices.consume(n);
        });
        writer.write_at(6, &[byte(6)]).unwrap();
        reader.join().unwrap();
    });
}

/// Of no moment is it true that all of `range` can be read.
fn never_ready(range: Range<u64>, jump: bool) {
    explore(AtMost(3), move || {
        let (resource, mut writer) = ring(3);
        write_to(&mut writer, 1);
        let reader = resource.reader();
        let range = range.clone();
        let looking = thread::spawn(move || assert!(!reader.contains_range(range), "READY and never there"));
        if jump {
            writer.write_at(5, &[byte(5)]).unwrap();
        } else {
            write_to(&mut writer, 4);
        }
        looking.join().unwrap();
    });
}

/// A reader without a gate waits for what a jump leaves out.
fn evicted(range: Range<u64>) {
    explore(AtMost(3), move || {
        let (resource, mut writer) = ring(3);
        write_to(&mut writer, 1);
        let reader = resource.reader();
        let range = range.clone();
        let sleeper = thread::spawn(move || match reader.wait_range(range) {
            Err(StorageError::Evicted { .. }) => {}
            other => panic!("WRONG outcome: {other:?}"),
        });
        writer.write_at(5, &[byte(5)]).unwrap();
        sleeper.join().unwrap();
    });
}
