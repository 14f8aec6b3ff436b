//! A ring with gates that come and go, followers that are lapped, readers anywhere, and jumps.

use crate::storm::{Lane, Random, Round, Step, Stream};
use roundelay::{
    Cursor, Gate, OnLap, Publication, ReadError, Reader, ResourceStatus, RingDriver, RingOptions, StorageError, Writer,
};
use std::{
    io::{BufRead, Read},
    sync::mpsc,
    thread,
    time::Duration,
};

pub fn round(round: &Round) {
    let mut random = round.random();
    let capacity = random.pick(&[16, 61, 256, 1000, 4096, 9999]);
    let resource = roundelay::open(RingOptions::new(capacity as usize)).unwrap();
    let stream = Stream(round.seed);
    let mut writer = resource.writer().unwrap();
    if random.once_in(3) {
        writer.set_publication(silent(&mut random));
    }
    let gates: Vec<_> = (0..random.below(3)).map(|_| writer.gate()).collect();
    let (hand_over, handed_over) = mpsc::channel();
    thread::scope(|scope| {
        for (i, gate) in gates.into_iter().enumerate() {
            scope.spawn(move || drain(&mut round.lane(format!("gate {i}")), gate, stream));
        }
        for i in 0..random.below(3) {
            let cursor = resource.cursor(random.pick(&[OnLap::Error, OnLap::SkipToOldest, OnLap::SkipToLive]));
            scope.spawn(move || follow(&mut round.lane(format!("follower {i}")), cursor, stream));
        }
        for i in 0..random.below(3) {
            let reader = resource.reader();
            scope.spawn(move || read_anywhere(&mut round.lane(format!("reader {i}")), &reader, stream));
        }
        scope.spawn(move || {
            if let Ok(gate) = handed_over.recv() {
                drain(&mut round.lane("late gate"), gate, stream);
            }
        });
        write(&mut round.lane("writer"), &mut writer, capacity, stream, &hand_over);
        drop(hand_over);
        round.lane("end").step(Step::Commits, writer.position(), 0);
        writer.commit(None).unwrap();
    });
    round.figures.wakes.fetch_add(resource.wakes(), std::sync::atomic::Ordering::Relaxed);
}

fn silent(random: &mut Random) -> Publication {
    Publication::Silent { pace: Duration::from_micros(random.between(50, 500)) }
}

/// Writes on, jumps ahead now and then, and mints one more gate.
fn write(
    lane: &mut Lane<'_>,
    writer: &mut Writer<RingDriver>,
    capacity: u64,
    stream: Stream,
    hand_over: &mpsc::Sender<Gate>,
) {
    let mut late_gate = false;
    for _ in 0..lane.random.between(50, 2000) {
        let mut at = writer.position();
        if lane.random.once_in(100) {
            at += lane.random.between(1, 2 * capacity);
        }
        let bytes = stream.bytes(at, lane.random.below(capacity * 3 / 2) as usize);
        match lane.random.below(4) {
            0 => {
                lane.step(Step::TriesToRead, at, bytes.len() as u64);
                writer.try_write_at(at, &bytes).unwrap();
            }
            1 => {
                lane.step(Step::WaitsForAWhile, at, bytes.len() as u64);
                let timeout = Duration::from_micros(lane.random.below(300));
                writer.write_at_timeout(at, &bytes, timeout).unwrap();
            }
            _ => {
                lane.step(Step::WritesAt, at, bytes.len() as u64);
                writer.write_at(at, &bytes).unwrap();
            }
        }
        match lane.random.below(400) {
            0 if !late_gate => {
                late_gate = true;
                let window = writer.window();
                let offset = lane.random.between(window.start, window.end);
                hand_over.send(writer.gate_at(offset).unwrap()).unwrap();
            }
            1 => writer.set_publication(Publication::Notify),
            2 => writer.set_publication(silent(&mut lane.random)),
            3..30 => writer.notify(),
            _ => {}
        }
    }
    writer.set_publication(Publication::Notify);
}

/// Reads all, in every way that a gate has, or is dropped before the end.
fn drain(lane: &mut Lane<'_>, mut gate: Gate, stream: Stream) {
    let early = lane.random.once_in(4).then(|| lane.random.below(500));
    let mut turns = 0;
    loop {
        if early.is_some_and(|early| turns > early) {
            return;
        }
        turns += 1;
        if lane.random.once_in(200) {
            let publication = if lane.random.once_in(2) { Publication::Notify } else { silent(&mut lane.random) };
            gate.set_publication(publication);
        }
        let (before, jumps) = (gate.position(), gate.discontinuities());
        let (from, over) = read_by_gate(lane, &mut gate, stream);
        assert!(
            from == before || from > before && gate.discontinuities() > jumps,
            "{before}..{from} is missing without a jump"
        );
        if over {
            return;
        }
    }
}

/// One read; returns where it began, and whether that was the end of a committed resource.
fn read_by_gate(lane: &mut Lane<'_>, gate: &mut Gate, stream: Stream) -> (u64, bool) {
    let mut buf = [0; 3000];
    let len = lane.random.between(1, buf.len() as u64) as usize;
    let at_least = lane.random.between(1, 16) as usize;
    let at = gate.position();
    let from_slices = |lane: &mut Lane<'_>, slices: roundelay::Slices<'_>| {
        let from = slices.offset();
        let (first, second) = slices.as_slices();
        lane.check(stream, from, first);
        lane.check(stream, from + first.len() as u64, second);
        let taken = lane.random.below(slices.len() as u64 + 1) as usize;
        slices.consume(taken);
        from
    };
    match lane.random.below(6) {
        0 => {
            lane.step(Step::TriesToRead, at, len as u64);
            match gate.try_read(&mut buf[..len]) {
                Ok(0) => (gate.position(), true),
                Ok(n) => {
                    let from = gate.position() - n as u64;
                    lane.check(stream, from, &buf[..n]);
                    (from, false)
                }
                Err(ReadError::NotYet) => {
                    lane.random.dawdle();
                    (gate.position(), false)
                }
                Err(error) => panic!("{error}"),
            }
        }
        1 => {
            lane.step(Step::ReadsInPlace, at, 0);
            match gate.slices() {
                Ok(slices) => (from_slices(lane, slices), false),
                Err(ReadError::NotYet) => (gate.position(), false),
                Err(ReadError::Ended) => (gate.position(), true),
                Err(error) => panic!("{error}"),
            }
        }
        2 => {
            lane.step(Step::Waits, at, at_least as u64);
            let slices = gate.wait(at_least).unwrap();
            let over = slices.is_empty();
            (from_slices(lane, slices), over)
        }
        3 => {
            lane.step(Step::WaitsForAWhile, at, at_least as u64);
            match gate.wait_timeout(at_least, Duration::from_micros(lane.random.below(300))) {
                Ok(slices) => {
                    let over = slices.is_empty();
                    (from_slices(lane, slices), over)
                }
                Err(StorageError::TimedOut) => (gate.position(), false),
                Err(error) => panic!("{error}"),
            }
        }
        4 => {
            lane.step(Step::ReadsInPlace, at, 1);
            let lent = gate.fill_buf().unwrap().to_vec();
            let from = gate.position();
            lane.check(stream, from, &lent);
            gate.consume(lane.random.below(lent.len() as u64 + 1) as usize);
            (from, lent.is_empty())
        }
        _ => {
            lane.step(Step::Reads, at, len as u64);
            let n = gate.read(&mut buf[..len]).unwrap();
            let from = gate.position() - n as u64;
            lane.check(stream, from, &buf[..n]);
            (from, n == 0)
        }
    }
}

/// Reads on until the end, and is lapped. Each byte is got or lost.
fn follow(lane: &mut Lane<'_>, mut cursor: Cursor<RingDriver>, stream: Stream) {
    let mut buf = [0; 3000];
    let (mut got, began) = (0, cursor.position());
    loop {
        let len = lane.random.between(1, buf.len() as u64) as usize;
        lane.step(Step::Reads, cursor.position(), len as u64);
        let read = match lane.random.below(3) {
            0 => cursor.try_read(&mut buf[..len]).map_err(Some),
            1 => cursor.read_timeout(&mut buf[..len], Duration::from_micros(200)).map_err(|_| None),
            _ => cursor.read(&mut buf[..len]).map_err(|_| None),
        };
        match read {
            Ok(0) => break,
            Ok(n) => {
                lane.check(stream, cursor.position() - n as u64, &buf[..n]);
                got += n as u64;
            }
            Err(Some(ReadError::NotYet)) => lane.random.dawdle(),
            // It timed out, or was lapped and stays.
            Err(_) => {
                let before = cursor.position();
                let window = cursor.reader().valid_window().unwrap();
                if cursor.on_lap() == OnLap::Error && window.start > before {
                    got += cursor.seek_oldest() - before;
                }
            }
        }
        if lane.random.once_in(50) {
            lane.random.dawdle();
        }
    }
    assert_eq!(cursor.position() - began, got + cursor.lost_bytes(), "each byte was got or lost");
}

/// Reads in and around the window until the end.
fn read_anywhere(lane: &mut Lane<'_>, reader: &Reader<RingDriver>, stream: Stream) {
    let mut buf = [0; 3000];
    while reader.status() == ResourceStatus::Active {
        let window = reader.valid_window().unwrap();
        let offset = (window.start + lane.random.below(window.len() + 20)).saturating_sub(10);
        let len = lane.random.between(1, buf.len() as u64) as usize;
        lane.step(Step::TriesToRead, offset, len as u64);
        match reader.try_read_at(offset, &mut buf[..len]) {
            Ok(0) => assert!(reader.final_len().is_some(), "the end of a live stream"),
            Ok(n) => lane.check(stream, offset, &buf[..n]),
            Err(ReadError::Evicted { .. } | ReadError::NotYet) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
