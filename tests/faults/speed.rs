//! A source that sends a hundred times as fast as it is played.

use crate::{Memory, Random, alone::alone, assert_are, byte};
use roundelay::{OnLap, ReadError, RingOptions};
use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

/// Two channels of four bytes at 48 kHz.
const BYTES_A_SECOND: u64 = 2 * 4 * 48_000;
const SPEED: u64 = 100;

/// Some two seconds of it.
const CAPACITY: u64 = 768_000;

const PERIOD: Duration = Duration::from_millis(5);
const PERIOD_BYTES: usize = BYTES_A_SECOND as usize / 200;

/// The stream from any offset on; the bytes repeat themselves, at no multiple of the capacity.
struct Stream(Vec<u8>);

impl Stream {
    const LEN: u64 = 1_000_003;

    fn new() -> Self {
        let once: Vec<u8> = (0..Self::LEN).map(byte).collect();
        Self([&once[..], &once[..]].concat())
    }

    fn at(&self, offset: u64, len: usize) -> &[u8] {
        &self.0[(offset % Self::LEN) as usize..][..len]
    }
}

/// Writes at that speed until it is over, `burst` bytes at a time; what was late is made up for.
fn race(over: &AtomicBool, began: Instant, mut write: impl FnMut(u64)) {
    let mut sent = 0;
    while !over.load(SeqCst) {
        let due = (began.elapsed().as_secs_f64() * (BYTES_A_SECOND * SPEED) as f64) as u64;
        while sent < due && !over.load(SeqCst) {
            write(sent);
            sent += 16 << 10;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn listeners_of_a_source_that_is_a_hundred_times_too_fast_are_told_and_go_on() {
    alone(listeners_of_a_source_that_is_a_hundred_times_too_fast_are_told_and_go_on, || {
        let ring = roundelay::open(RingOptions { prefault: true, ..RingOptions::new(CAPACITY as usize) }).unwrap();
        let mut writer = ring.writer().unwrap();
        let (stream, over, began) = (Stream::new(), AtomicBool::new(false), Instant::now());
        let mut cursors = [OnLap::Error, OnLap::SkipToOldest, OnLap::SkipToLive].map(|on_lap| ring.cursor(on_lap));
        let mut heard = [0_u64; 3];
        let (stream, over) = (&stream, &over);
        thread::scope(|scope| {
            let writing = scope.spawn(move || {
                race(over, began, |_| {
                    let at = writer.position();
                    writer.append(stream.at(at, 16 << 10)).unwrap();
                });
                writer.commit(None).unwrap();
            });
            let mut memory = None;
            let mut buf = [0; PERIOD_BYTES];
            for period in 0..400 {
                if period == 100 {
                    memory = Some(Memory::now());
                }
                for (cursor, heard) in cursors.iter_mut().zip(&mut heard) {
                    match cursor.try_read(&mut buf) {
                        Ok(n) => {
                            assert!(buf[..n] == *stream.at(cursor.position() - n as u64, n), "other bytes");
                            *heard += n as u64;
                            assert!(cursor.lag() <= cursor.reader().live_edge());
                        }
                        Err(ReadError::Evicted { .. }) => {
                            assert_eq!(cursor.on_lap(), OnLap::Error);
                            cursor.seek_live();
                        }
                        Err(ReadError::NotYet) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                thread::sleep(PERIOD);
            }
            memory.expect("it is over").assert_no_growth();
            over.store(true, SeqCst);
            writing.join().unwrap();
        });
        for (cursor, heard) in cursors.iter().zip(heard) {
            assert!(heard > 0 && cursor.laps() > 0, "{:?}: {heard} bytes, {} laps", cursor.on_lap(), cursor.laps());
        }
    });
}

#[test]
fn a_gate_holds_a_source_that_is_a_hundred_times_too_fast_and_loses_nothing() {
    alone(a_gate_holds_a_source_that_is_a_hundred_times_too_fast_and_loses_nothing, || {
        let ring = roundelay::open(RingOptions { prefault: true, ..RingOptions::new(CAPACITY as usize) }).unwrap();
        let mut writer = ring.writer().unwrap();
        let mut gate = writer.gate();
        let (over, began) = (&AtomicBool::new(false), Instant::now());
        thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut random = Random(3);
                race(over, began, |_| {
                    let at = writer.position();
                    let burst: Vec<u8> = (at..at + 1 + random.below(16 << 10)).map(byte).collect();
                    writer.append_timeout(&burst, Duration::from_millis(20)).unwrap();
                });
                writer.position()
            });
            let mut memory = None;
            let mut read = 0;
            for period in 0..300 {
                if period == 100 {
                    memory = Some(Memory::now());
                }
                if let Ok(slices) = gate.slices() {
                    let n = slices.first().len().min(PERIOD_BYTES);
                    assert_eq!(slices.offset(), read);
                    assert_are(&slices.first()[..n], read);
                    slices.consume(n);
                    read += n as u64;
                }
                assert!(ring.reader().live_edge() <= read + CAPACITY, "it was not held");
                thread::sleep(PERIOD);
            }
            memory.expect("it is over").assert_no_growth();
            over.store(true, SeqCst);
            let written = writing.join().unwrap();
            assert!(read > 0 && written <= read + CAPACITY);
            assert!(written >= CAPACITY, "a source that was not too fast: {written} bytes");
        });
    });
}
