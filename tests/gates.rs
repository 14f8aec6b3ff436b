//! Gates: positions that hold the writer back, and lend bytes in place.

mod threads;

use roundelay::{
    AvailabilityObserver, CancelToken, Gate, MAX_OFFSET, Publication, ReadError, Resource, RingDriver, RingOptions,
    Span, StorageError, Writer,
};
use std::{
    io::{BufRead, Read, Write},
    ops::Range,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use threads::{Sleeper, assert_is, must_end};

fn ring(capacity: usize) -> (Resource<RingDriver>, Writer<RingDriver>) {
    let resource = roundelay::open(RingOptions::new(capacity)).unwrap();
    let writer = resource.writer().unwrap();
    (resource, writer)
}

fn read_all(gate: &mut Gate) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 10];
    match gate.try_read(&mut bytes) {
        Ok(n) => bytes.truncate(n),
        Err(ReadError::NotYet) => bytes.clear(),
        other => panic!("unexpected: {other:?}"),
    }
    bytes
}

#[test]
fn a_gate_holds_the_writer_back_and_loses_nothing() {
    let (_resource, mut writer) = ring(8);
    let mut gate = writer.gate();
    assert_eq!(writer.room(), 8);
    assert_eq!(writer.try_append(b"0123456789").unwrap(), 8);
    assert_eq!(writer.room(), 0);
    assert_eq!(writer.try_append(b"89").unwrap(), 0);
    assert_eq!((writer.gate_lag(), gate.lag()), (8, 8));
    let mut buf = [0; 3];
    assert_eq!(gate.try_read(&mut buf), Ok(3));
    assert_eq!(&buf, b"012");
    assert_eq!((writer.room(), gate.lag(), gate.position()), (3, 5, 3));
    assert_eq!(writer.try_append(b"89").unwrap(), 2);
    assert_eq!(read_all(&mut gate), b"3456789");
    assert_eq!(gate.try_read(&mut buf), Err(ReadError::NotYet));
    assert_eq!(gate.try_read(&mut []), Ok(0));
}

#[test]
fn a_gate_starts_where_it_was_minted() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        writer.append(b"0123456789").unwrap();
        let mut at_live_edge = writer.gate();
        let mut at_start = writer.gate_at(2).unwrap();
        let mut at_end = writer.gate_at(10).unwrap();
        let window = Span { start: 2, end: 10 };
        for outside in [0, 1, 11, u64::MAX] {
            assert_is!(
                writer.gate_at(outside),
                Err(StorageError::OutsideWindow { offset, window: found }) if offset == outside && found == window
            );
        }
        assert_eq!(writer.try_append(b"ab").unwrap(), 0);
        assert_eq!(read_all(&mut at_start), b"23456789");
        assert_eq!(writer.try_append(b"ab").unwrap(), 2);
        assert_eq!(read_all(&mut at_live_edge), b"ab");
        assert_eq!(read_all(&mut at_end), b"ab");
    });
}

#[test]
fn the_slowest_of_several_gates_counts() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let (mut quick, mut slow) = (writer.gate(), writer.gate());
        assert_eq!(writer.try_append(&[0; 20]).unwrap(), 8);
        quick.slices().unwrap().consume(8);
        assert_eq!(writer.room(), 0);
        slow.slices().unwrap().consume(1);
        assert_eq!((writer.room(), writer.gate_lag()), (1, 7));
        drop(slow);
        assert_eq!((writer.room(), writer.gate_lag()), (8, 0));
        drop(quick);
        assert_eq!(writer.try_append(&[0; 100]).unwrap(), 100, "nobody holds it any more");
    });
}

#[test]
fn slices_are_the_bytes_in_place_and_in_order_at_every_wrap() {
    let (_resource, mut writer) = ring(7);
    let mut gate = writer.gate();
    let mut next = 0u8;
    let mut expected = 0u8;
    for step in 1..200usize {
        let data: Vec<u8> = (0..step % 8).map(|i| next.wrapping_add(i as u8)).collect();
        let n = writer.try_append(&data).unwrap();
        next = next.wrapping_add(n as u8);
        let Ok(slices) = gate.slices() else { continue };
        let (first, second) = slices.as_slices();
        assert!(!slices.is_empty() && !first.is_empty());
        assert_eq!((slices.first(), slices.second()), (first, second));
        assert_eq!(slices.len(), first.len() + second.len());
        let mut copy = [0; 7];
        assert_eq!(slices.copy_to(&mut copy), slices.len());
        for (i, byte) in first.iter().chain(second).enumerate() {
            assert_eq!((*byte, copy[i]), (expected.wrapping_add(i as u8), *byte));
        }
        let mut head = [0; 2];
        assert_eq!(slices.copy_to(&mut head), slices.len().min(2));
        let take = slices.len().min(step % 5);
        slices.consume(take);
        expected = expected.wrapping_add(take as u8);
    }
}

#[test]
fn dropping_slices_gives_nothing_up() {
    must_end(|| {
        let (_resource, mut writer) = ring(4);
        let mut gate = writer.gate();
        writer.append(b"abcd").unwrap();
        assert_eq!(gate.slices().unwrap().offset(), 0);
        _ = gate.slices().unwrap();
        assert_eq!(writer.room(), 0);
        assert_eq!(read_all(&mut gate), b"abcd");
    });
}

#[test]
#[should_panic(expected = "5 bytes cannot be consumed: 4 are lent")]
fn more_than_was_lent_cannot_be_consumed() {
    let (_resource, mut writer) = ring(4);
    let mut gate = writer.gate();
    writer.append(b"abcd").unwrap();
    gate.slices().unwrap().consume(5);
}

#[test]
fn what_is_written_while_slices_are_lent_does_not_touch_them() {
    let (_resource, mut writer) = ring(4);
    let mut gate = writer.gate();
    writer.append(b"ab").unwrap();
    let slices = gate.slices().unwrap();
    assert_eq!(writer.try_append(b"cdef").unwrap(), 2);
    assert_eq!(writer.try_append(b"ef").unwrap(), 0);
    assert_eq!(slices.as_slices(), (&b"ab"[..], &b""[..]), "what was lent stays what it was");
    slices.consume(2);
    assert_eq!(read_all(&mut gate), b"cd");
}

#[test]
fn a_writer_that_waits_for_room_goes_on_when_a_gate_advances_or_is_dropped() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        let other = writer.gate();
        let writing = Sleeper::start(move || (writer.append(&[7; 12]), writer));
        gate.slices().unwrap().consume(8);
        assert!(writing.still_waits(), "the other one holds it");
        drop(other);
        let (outcome, mut writer) = writing.wakes_with();
        outcome.unwrap();
        assert_eq!(read_all(&mut gate), [7; 4]);
        writer.append(&[8; 8]).unwrap();
        let writing = Sleeper::start(move || writer.append(b"x"));
        gate.slices().unwrap().consume(1);
        writing.wakes_with().unwrap();
    });
}

#[test]
fn a_silent_gate_does_not_keep_an_untimed_writer_for_ever() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        gate.set_publication(Publication::SILENT);
        let writing = Sleeper::start(move || (writer.append(&[7; 16]), writer));
        gate.slices().unwrap().consume(8);
        let (outcome, mut writer) = writing.wakes_with();
        outcome.unwrap();
        gate.slices().unwrap().consume(8);
        // And one that goes silent while the writer sleeps already, without a limit.
        let mut gate2 = writer.gate();
        drop(gate);
        writer.append(&[0; 8]).unwrap();
        let writing = Sleeper::start(move || writer.append(&[7; 8]));
        gate2.set_publication(Publication::Silent { pace: Duration::from_micros(100) });
        gate2.slices().unwrap().consume(8);
        writing.wakes_with().unwrap();
    });
}

#[test]
fn a_silent_gate_that_was_dropped_slows_nobody() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut silent = writer.gate();
        // Nobody lives to see the writer look again at this pace.
        silent.set_publication(Publication::Silent { pace: Duration::MAX });
        let mut loud = writer.gate();
        let writing = Sleeper::start(move || writer.append(&[7; 16]));
        drop(silent);
        assert!(writing.still_waits());
        loud.slices().unwrap().consume(8);
        writing.wakes_with().unwrap();
    });
}

#[test]
fn what_was_published_silently_is_told_before_the_writer_waits_for_room() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        writer.set_publication(Publication::Silent { pace: Duration::MAX });
        let mut gate = writer.gate();
        // Each would wait for the other.
        let reading = Sleeper::start(move || {
            let len = gate.wait(8)?.len();
            gate.slices().expect("they are there").consume(len);
            gate.wait(8).map(|slices| slices.len())
        });
        let writing = Sleeper::start(move || (writer.append(&[7; 16]), writer));
        let (outcome, mut writer) = writing.wakes_with();
        outcome.unwrap();
        writer.notify();
        assert_eq!(reading.wakes_with().unwrap(), 8);
    });
}

/// A writer that insists on room for all of its data waits for the gate, which waits for bytes that do not come.
#[test]
fn a_write_that_does_not_fit_whole_is_written_as_far_as_it_fits() {
    must_end(|| {
        let (_resource, mut writer) = ring(3);
        let mut gate = writer.gate();
        writer.append(b"ab").unwrap();
        let writing = Sleeper::start(move || writer.append(b"cd"));
        let slices = gate.wait(3).unwrap();
        assert_eq!(slices.first(), b"abc");
        slices.consume(1);
        writing.wakes_with().unwrap();
        assert_eq!(read_all(&mut gate), b"bcd");
    });
}

#[test]
fn a_wait_for_several_bytes_ends_when_they_are_all_there() {
    must_end(|| {
        let (resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        let reading = Sleeper::start(move || gate.wait(4).map(|slices| slices.as_slices().0.to_vec()));
        for byte in b"abc" {
            writer.append(&[*byte]).unwrap();
        }
        assert!(reading.still_waits());
        assert_eq!(resource.wakes(), 0);
        writer.append(b"d").unwrap();
        assert_eq!(reading.wakes_with().unwrap(), b"abcd");
        assert_eq!(resource.wakes(), 1);
    });
}

#[test]
fn a_wait_for_more_than_the_ring_holds_ends_at_once() {
    let (_resource, mut writer) = ring(8);
    let mut gate = writer.gate();
    assert_is!(gate.wait(9).map(drop), Err(StorageError::RangeTooLarge { requested: 9, capacity: 8 }));
    assert_is!(gate.wait_timeout(usize::MAX, Duration::MAX).map(drop), Err(StorageError::RangeTooLarge { .. }));
    assert!(gate.wait(0).unwrap().is_empty());
}

#[test]
fn at_the_end_a_gate_reads_all_and_then_lends_nothing() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        writer.append(b"abc").unwrap();
        writer.commit(None).unwrap();
        assert_eq!(gate.wait(8).unwrap().first(), b"abc", "fewer, since no more can come");
        assert_eq!(read_all(&mut gate), b"abc");
        assert_eq!(gate.slices().map(drop), Err(ReadError::Ended));
        assert_eq!(gate.try_read(&mut [0]), Ok(0));
        assert!(gate.wait(1).unwrap().is_empty());
        assert_eq!(gate.read(&mut [0]).unwrap(), 0);
        assert!(gate.fill_buf().unwrap().is_empty());
    });
}

#[test]
fn after_a_failure_a_gate_plays_out_what_is_there() {
    must_end(|| {
        for cancelled in [false, true] {
            let (resource, mut writer) = ring(8);
            let mut gate = writer.gate();
            writer.append(b"abc").unwrap();
            if cancelled {
                resource.cancel();
            } else {
                writer.fail(StorageError::other("the station went away"));
            }
            assert_is!(gate.wait(8).map(drop), Err(StorageError::Failed(_) | StorageError::Cancelled));
            assert_eq!(gate.wait(3).unwrap().first(), b"abc");
            assert_eq!(read_all(&mut gate), b"abc");
            let verdict = if cancelled { ReadError::Cancelled } else { ReadError::Failed };
            assert_eq!(gate.slices().map(drop), Err(verdict));
            assert_eq!(gate.try_read(&mut [0]), Err(verdict));
            assert_is!(gate.wait(1).map(drop), Err(StorageError::Failed(_) | StorageError::Cancelled));
            assert_is!(gate.read(&mut [0]), Err(_));
        }
    });
}

#[test]
fn dropping_the_writer_wakes_a_gate_that_waits() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        let reading = Sleeper::start(move || gate.wait(1).map(drop));
        drop(writer);
        assert_is!(
            reading.wakes_with(),
            Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::WriterDropped)
        );
    });
}

#[test]
fn read_and_bufread_of_a_gate_agree() {
    must_end(|| {
        let text: Vec<u8> = (0..1000u32).map(|i| (i * i % 251) as u8).collect();
        for buffered in [false, true] {
            let (_resource, mut writer) = ring(37);
            let mut gate = writer.gate();
            let sent = text.clone();
            let writing = thread::spawn(move || {
                writer.write_all(&sent)?;
                std::io::Result::Ok(writer.commit(None)?)
            });
            let mut received = Vec::new();
            if buffered {
                loop {
                    let piece = gate.fill_buf().unwrap();
                    if piece.is_empty() {
                        break;
                    }
                    let n = piece.len().min(11);
                    received.extend_from_slice(&piece[..n]);
                    gate.consume(n);
                }
            } else {
                gate.read_to_end(&mut received).unwrap();
            }
            assert_eq!(received, text);
            writing.join().unwrap().unwrap();
        }
    });
}

// ---- discontinuities ----

#[test]
fn a_jump_waits_until_every_gate_has_read_what_was_before_it() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let (mut first, mut second) = (writer.gate(), writer.gate());
        writer.append(b"abcd").unwrap();
        assert_eq!(writer.try_write_at(100, b"xy").unwrap(), 0);
        assert_eq!(read_all(&mut first), b"abcd");
        assert_eq!(writer.try_write_at(100, b"xy").unwrap(), 0, "one of them is behind");
        assert_eq!(writer.window(), Span { start: 0, end: 4 });
        assert_eq!(read_all(&mut second), b"abcd");
        assert_eq!(writer.try_write_at(100, b"xy").unwrap(), 2);
        for gate in [&mut first, &mut second] {
            assert_eq!(gate.slices().unwrap().offset(), 100);
            assert_eq!(read_all(gate), b"xy");
            assert_eq!(gate.discontinuities(), 1);
        }
    });
}

#[test]
fn a_blocking_jump_sleeps_until_the_gates_are_through() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        writer.append(b"abcd").unwrap();
        let writing = Sleeper::start(move || (writer.write_at(100, b"xy"), writer));
        gate.slices().unwrap().consume(3);
        assert!(writing.still_waits());
        gate.slices().unwrap().consume(1);
        let (outcome, writer) = writing.wakes_with();
        outcome.unwrap();
        assert_eq!(writer.window(), Span { start: 100, end: 102 });
        assert_eq!(read_all(&mut gate), b"xy");
        assert_eq!((gate.discontinuities(), gate.position()), (1, 102));
    });
}

/// The gate waits for bytes beyond the gap, the writer for the gate: the gate returns short.
#[test]
fn a_gate_that_waits_across_a_jump_returns_short() {
    must_end(|| {
        for waits_first in [false, true] {
            let (_resource, mut writer) = ring(8);
            let mut gate = writer.gate();
            writer.append(b"abcd").unwrap();
            let read = move |gate: &mut Gate| {
                let slices = gate.wait(6)?;
                let len = slices.len();
                slices.consume(len);
                Ok::<_, StorageError>(len)
            };
            let write = move || (writer.write_at(100, b"xyxyxy"), writer);
            let (reading, writing) = if waits_first {
                let reading = Sleeper::start(move || (read(&mut gate), read(&mut gate), gate));
                (reading, Sleeper::start(write))
            } else {
                let writing = Sleeper::start(write);
                (Sleeper::start(move || (read(&mut gate), read(&mut gate), gate)), writing)
            };
            let (before, after, gate) = reading.wakes_with();
            assert_eq!((before.unwrap(), after.unwrap()), (4, 6));
            assert_eq!(gate.discontinuities(), 1);
            writing.wakes_with().0.unwrap();
        }
    });
}

/// A writer that polls with `try_write_at` waits for the gate just as one that sleeps, and once it did not say so.
#[test]
fn a_gate_that_waits_opposite_a_writer_that_polls_to_jump_returns_short() {
    must_end(|| {
        for publication in [Publication::Notify, Publication::SILENT] {
            let (_resource, mut writer) = ring(8);
            writer.set_publication(publication);
            let mut gate = writer.gate();
            writer.append(b"abcd").unwrap();
            let reading = Sleeper::start(move || {
                let len = gate.wait(6)?.len();
                gate.slices().expect("they are there").consume(len);
                Ok::<_, StorageError>((len, gate))
            });
            while writer.try_write_at(100, b"xy").unwrap() == 0 {
                thread::yield_now();
            }
            let (len, mut gate) = reading.wakes_with().unwrap();
            assert_eq!(len, 4);
            assert_eq!(read_all(&mut gate), b"xy");
        }
    });
}

#[test]
fn a_jump_that_was_given_up_leaves_waits_whole() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        writer.append(b"abcd").unwrap();
        assert_eq!(writer.write_at_timeout(100, b"xy", Duration::from_millis(1)).unwrap(), 0);
        assert_is!(gate.wait_timeout(6, Duration::ZERO).map(drop), Err(StorageError::TimedOut));
        assert_eq!(writer.try_write_at(100, b"xy").unwrap(), 0);
        // The writer thinks better of it.
        writer.append(b"e").unwrap();
        let reading = Sleeper::start(move || gate.wait(6).map(|slices| slices.len()));
        assert!(reading.still_waits());
        writer.append(b"f").unwrap();
        assert_eq!(reading.wakes_with().unwrap(), 6);
    });
}

#[test]
fn a_gate_that_was_drained_before_a_jump_does_not_hold_the_writer_after_it() {
    let (_resource, mut writer) = ring(8);
    let mut gate = writer.gate();
    writer.append(b"abcd").unwrap();
    gate.slices().unwrap().consume(4);
    // It has not looked since, and stands at 4.
    assert_eq!(writer.try_write_at(100, &[1; 20]).unwrap(), 8);
    assert_eq!(writer.try_append(&[2; 20]).unwrap(), 0, "it holds the writer from 100 on");
    assert_eq!(gate.position(), 4);
    assert_eq!(gate.slices().unwrap().offset(), 100);
    assert_eq!(read_all(&mut gate), [1; 8]);
}

#[test]
fn a_jump_of_an_empty_ring_with_a_gate_waits_for_nothing() {
    let (_resource, mut writer) = ring(8);
    let mut gate = writer.gate();
    assert_eq!(writer.try_write_at(5, b"abc").unwrap(), 3);
    assert_eq!(writer.try_write_at(50, b"abc").unwrap(), 0);
    assert_eq!(gate.slices().unwrap().offset(), 5);
    gate.slices().unwrap().consume(3);
    assert_eq!(writer.try_write_at(50, b"def").unwrap(), 3);
    assert_eq!(read_all(&mut gate), b"def");
    assert_eq!(gate.discontinuities(), 2);
}

#[test]
fn a_gate_asleep_at_the_live_edge_wakes_beyond_the_jump() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        let reading = Sleeper::start(move || gate.wait(3).map(|slices| (slices.offset(), slices.first().to_vec())));
        writer.write_at(104, b"ab").unwrap();
        assert!(reading.still_waits());
        writer.append(b"c").unwrap();
        assert_eq!(reading.wakes_with().unwrap(), (104, b"abc".to_vec()));
    });
}

// ---- generations ----

#[test]
fn a_gate_of_the_old_writer_still_holds_the_new_one() {
    let (resource, mut writer) = ring(8);
    let mut gate = writer.gate();
    writer.append(b"abcdef").unwrap();
    writer.commit(None).unwrap();
    drop(writer);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    assert_eq!(writer.try_append(b"ghijkl").unwrap(), 2);
    assert_eq!(writer.gate_lag(), 8);
    assert_eq!(gate.lag(), 6, "its own generation ends at 6");
    let mut buf = [0; 16];
    assert_eq!(gate.try_read(&mut buf), Ok(6));
    assert_eq!(&buf[..6], b"abcdef");
    assert_eq!(gate.try_read(&mut buf), Ok(0));
    assert_eq!(gate.slices().map(drop), Err(ReadError::Ended));
    assert_eq!(writer.try_append(b"ijklmnop").unwrap(), 8, "a gate that is through holds nobody any more");
}

#[test]
fn a_gate_of_a_failed_generation_keeps_its_end() {
    must_end(|| {
        let (resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        writer.append(b"abc").unwrap();
        drop(writer);
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(b"def").unwrap();
        assert_eq!(gate.wait(3).unwrap().first(), b"abc");
        assert_is!(gate.wait(4).map(drop), Err(StorageError::Failed(_)));
        assert_eq!(read_all(&mut gate), b"abc");
        assert_eq!(gate.slices().map(drop), Err(ReadError::Failed));
        writer.append(&[0; 64]).unwrap();
        assert_eq!(gate.slices().map(drop), Err(ReadError::Failed));
    });
}

#[test]
fn a_writer_asleep_for_an_old_gate_goes_on_when_that_is_through() {
    must_end(|| {
        let (resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        writer.append(b"abcdef").unwrap();
        writer.commit(None).unwrap();
        drop(writer);
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        let writing = Sleeper::start(move || writer.append(&[0; 30]));
        let mut all = Vec::new();
        gate.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcdef");
        writing.wakes_with().unwrap();
    });
}

#[test]
fn a_gate_outlives_resource_and_writer() {
    let (resource, mut writer) = ring(8);
    let mut gate = writer.gate();
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    drop((resource, writer));
    assert_eq!(read_all(&mut gate), b"abc");
    assert_eq!(gate.try_read(&mut [0]), Ok(0));
}

// ---- verdicts ----

/// A way of a gate to hear how the stream ended.
type Hear = fn(&mut Gate);

/// A failure heard by waiting once left the gate where it was, and the next generation's writer asleep for ever.
#[test]
fn every_way_to_hear_retires_a_gate() {
    let ways: [(&str, Hear); 8] = [
        ("try_read", |gate| _ = gate.try_read(&mut [0])),
        ("slices", |gate| _ = gate.slices().map(drop)),
        ("wait", |gate| _ = gate.wait(1).map(drop)),
        ("wait for nothing", |gate| _ = gate.wait(0).map(drop)),
        ("wait_timeout", |gate| _ = gate.wait_timeout(1, Duration::ZERO).map(drop)),
        ("read", |gate| _ = gate.read(&mut [0])),
        ("fill_buf", |gate| _ = gate.fill_buf().map(drop)),
        ("read_to_end", |gate| _ = gate.read_to_end(&mut Vec::new())),
    ];
    for (way, hear) in ways {
        for ending in 0..3 {
            let (resource, mut writer) = ring(8);
            let mut gate = writer.gate();
            writer.append(b"abc").unwrap();
            gate.slices().unwrap().consume(3);
            match ending {
                0 => writer.commit(None).unwrap(),
                1 => resource.cancel(),
                _ => {}
            }
            drop(writer);
            hear(&mut gate);
            resource.reactivate().unwrap();
            let mut writer = resource.writer().unwrap();
            assert_eq!(
                writer.try_append(&[0; 20]).unwrap(),
                20,
                "held by a gate that heard by {way} (ending {ending})"
            );
            assert_eq!((gate.lag(), writer.gate_lag()), (0, 0));
        }
    }
}

/// The verdict came with bytes yet to be read: the gate need not ask again after the last of them.
#[test]
fn a_gate_retires_with_its_last_byte() {
    let ways: [(&str, Hear); 4] = [
        ("consume", |gate| gate.slices().unwrap().consume(3)),
        ("BufRead::consume", |gate| gate.consume(3)),
        ("try_read of as many", |gate| assert_eq!(gate.try_read(&mut [0; 3]), Ok(3))),
        ("try_read of more", |gate| assert_eq!(gate.try_read(&mut [0; 9]), Ok(3))),
    ];
    for (way, read) in ways {
        for committed in [true, false] {
            let (resource, mut writer) = ring(8);
            let mut gate = writer.gate();
            writer.append(b"abc").unwrap();
            if committed {
                writer.commit(None).unwrap();
            }
            drop(writer);
            assert_eq!(gate.wait(8).is_ok(), committed);
            resource.reactivate().unwrap();
            let mut writer = resource.writer().unwrap();
            assert_eq!(writer.room(), 5, "the bytes are lent still");
            read(&mut gate);
            assert_eq!(writer.try_append(&[0; 20]).unwrap(), 20, "held by a gate that read all by {way}");
        }
    }
}

/// Fails the resource in the middle of a write, and lets a gate hear of it before the rest is published.
struct FailsMidway {
    ring: Mutex<Option<(Resource<RingDriver>, Gate)>>,
    gate: Mutex<Option<Gate>>,
    cancel: bool,
}

impl AvailabilityObserver for FailsMidway {
    fn on_write(&self, _: Range<u64>) {
        let Some((resource, mut gate)) = self.ring.lock().unwrap().take() else { return };
        gate.slices().unwrap().consume(4);
        if self.cancel {
            resource.cancel();
        } else {
            resource.fail(StorageError::other("the station went away"));
        }
        assert_is!(gate.slices().map(drop), Err(ReadError::Failed | ReadError::Cancelled));
        *self.gate.lock().unwrap() = Some(gate);
    }

    fn on_commit(&self, _: u64) {}
}

/// What was published after the verdict once made a wait succeed, with nothing to lend: a failure looked like an end.
#[test]
fn a_retired_gate_answers_by_its_verdict() {
    must_end(|| {
        for cancel in [false, true] {
            let observer = Arc::new(FailsMidway { ring: Mutex::default(), gate: Mutex::default(), cancel });
            let resource = Resource::open_observed(CancelToken::new(), RingOptions::new(4), observer.clone()).unwrap();
            let mut writer = resource.writer().unwrap();
            *observer.ring.lock().unwrap() = Some((resource.clone(), writer.gate()));
            writer.append(b"abcdefgh").expect("it had passed its check");
            let mut gate = observer.gate.lock().unwrap().take().unwrap();
            let verdict = if cancel { ReadError::Cancelled } else { ReadError::Failed };
            for _ in 0..2 {
                assert_is!(gate.wait(1).map(drop), Err(StorageError::Failed(_) | StorageError::Cancelled));
                assert_is!(gate.wait(4).map(drop), Err(StorageError::Failed(_) | StorageError::Cancelled));
                assert_is!(
                    gate.wait_timeout(1, Duration::ZERO).map(drop),
                    Err(StorageError::Failed(_) | StorageError::Cancelled)
                );
                assert_is!(gate.fill_buf(), Err(_));
                assert_is!(gate.read(&mut [0]), Err(_));
                assert_eq!(gate.slices().map(drop), Err(verdict));
                assert_eq!(gate.try_read(&mut [0]), Err(verdict));
                assert_eq!((gate.position(), gate.lag()), (4, 0));
            }
        }
    });
}

#[test]
fn a_wait_beyond_the_largest_offset_ends() {
    must_end(|| {
        let options = RingOptions { start_offset: MAX_OFFSET - 2, ..RingOptions::new(8) };
        let resource = roundelay::open(options).unwrap();
        let mut writer = resource.writer().unwrap();
        let mut gate = writer.gate();
        assert_is!(
            gate.wait(3).map(drop),
            Err(StorageError::OffsetOverflow { offset, len: 3 }) if offset == MAX_OFFSET - 2
        );
        writer.append(b"ab").unwrap();
        assert_is!(gate.wait(8).map(drop), Err(StorageError::OffsetOverflow { .. }));
        assert_eq!(gate.wait(2).unwrap().first(), b"ab", "up to there all is as ever");
        assert_eq!(read_all(&mut gate), b"ab");
        assert_is!(gate.wait(1).map(drop), Err(StorageError::OffsetOverflow { offset: MAX_OFFSET, len: 1 }));
        assert_is!(gate.read(&mut [0]), Err(_));
        assert_is!(gate.fill_buf(), Err(_));
        writer.commit(None).unwrap();
        assert!(gate.wait(1).unwrap().is_empty(), "the end is one");
    });
}
