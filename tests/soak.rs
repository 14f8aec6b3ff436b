//! Memory stays flat however much goes through.
//!
//! `ROUNDELAY_SOAK_GIB=100 cargo test --release --test soak -- --nocapture` pushes that much.
#![cfg(target_os = "linux")]

use roundelay::{OnLap, Publication, ReadError, RingOptions};
use std::{
    sync::atomic::{AtomicBool, Ordering::*},
    thread,
    time::{Duration, Instant},
};

const CAPACITY: usize = 1 << 20;
const GIB: u64 = 1 << 30;
const ALLOWED_BYTES: u64 = 4 << 20;

/// A few laps in a debug build, where bytes are compared slowly.
const DEFAULT_BYTES: u64 = if cfg!(debug_assertions) { GIB / 4 } else { 4 * GIB };

/// What this process has in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process can read its own status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

fn bytes_to_push() -> u64 {
    let given = std::env::var("ROUNDELAY_SOAK_GIB").ok();
    given.map_or(DEFAULT_BYTES, |gib| gib.parse::<u64>().expect("ROUNDELAY_SOAK_GIB is a number of GiB") * GIB)
}

/// The stream repeats itself after a prime number of bytes, so that no lap of the ring looks like the last.
const PERIOD: usize = 65_521;

fn pattern() -> Vec<u8> {
    let period: Vec<u8> = (0..PERIOD as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    // Twice, so that any stretch of a period can be taken in one piece.
    [period.as_slice(), &period].concat()
}

/// At most a period.
fn at(pattern: &[u8], offset: u64, len: usize) -> &[u8] {
    let from = (offset % PERIOD as u64) as usize;
    &pattern[from..from + len]
}

#[test]
fn resident_memory_stays_flat_however_much_is_pushed_through_a_ring() {
    let total = bytes_to_push();
    let ring = roundelay::open(RingOptions { prefault: true, ..RingOptions::new(CAPACITY) }).unwrap();
    let writer = ring.writer().unwrap();
    let pattern = pattern();
    let done = AtomicBool::new(false);
    let began = Instant::now();

    thread::scope(|scope| {
        // Dropped by whatever goes wrong here, so that the others hear of it.
        let mut writer = writer;
        writer.set_publication(Publication::SILENT);
        // A follower that loses what it cannot keep up with, and one that sleeps for a byte in every 16 MiB.
        // Made here: a thread that is late would begin at the oldest byte of by then.
        let mut cursor = ring.cursor(OnLap::SkipToOldest);
        let pattern = &pattern;
        let follower = scope.spawn(move || {
            let mut buf = vec![0; 16 << 10];
            let mut read = 0_u64;
            loop {
                match cursor.try_read(&mut buf) {
                    Ok(0) => return (read, cursor.lost_bytes(), cursor.laps()),
                    Ok(n) => {
                        assert!(buf[..n] == *at(pattern, cursor.position() - n as u64, n), "torn");
                        read += n as u64;
                    }
                    Err(ReadError::NotYet) => thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        scope.spawn(|| {
            let reader = ring.reader();
            while !done.load(Acquire) {
                let byte = reader.live_edge() + (16 << 20);
                // Ready or evicted already: either way it was woken, or the time is over.
                let _ = reader.wait_range_timeout(byte..byte + 1, Duration::from_millis(50));
            }
        });

        let first = resident_bytes();
        let (mut least, mut most) = (first, first);
        let mut sample = |pushed: u64| {
            let resident = resident_bytes();
            (least, most) = (least.min(resident), most.max(resident));
            println!(
                "{:7.2} GiB in {:6.1} s: {} KiB resident, {:+} KiB",
                pushed as f64 / GIB as f64,
                began.elapsed().as_secs_f64(),
                resident >> 10,
                (resident as i64 - first as i64) >> 10,
            );
        };

        let step = (total / 20).max(1);
        let mut next = step;
        for piece in [1_000, 4 << 10, 64_000, 188, 1 << 14].into_iter().cycle() {
            let position = writer.position();
            if position >= total {
                break;
            }
            // A tenth of it through a gate that holds the writer back, notifying; the rest at full speed.
            if position >= next {
                sample(position);
                next += step;
                through_a_gate(&mut writer, pattern, step / 10);
            }
            writer.append(at(pattern, writer.position(), piece)).unwrap();
        }
        let pushed = writer.position();
        writer.commit(None).unwrap();
        done.store(true, Release);
        let (read, lost, laps) = follower.join().unwrap();
        sample(pushed);
        println!("the follower read {read} bytes, and lost {lost} in {laps} laps");
        assert_eq!(read + lost, pushed);
        assert!(
            most - first.min(most) <= ALLOWED_BYTES && first - least <= ALLOWED_BYTES,
            "{first} bytes were resident at first, then {least} to {most}"
        );
    });
}

fn through_a_gate(writer: &mut roundelay::Writer<roundelay::RingDriver>, pattern: &[u8], bytes: u64) {
    let mut gate = writer.gate();
    let end = writer.position() + bytes;
    thread::scope(|scope| {
        scope.spawn(move || {
            while gate.position() < end {
                let slices = gate.wait(1).unwrap();
                let n = slices.first().len().min(PERIOD);
                assert!(slices.first()[..n] == *at(pattern, slices.offset(), n), "torn");
                slices.consume(n);
            }
        });
        writer.set_publication(Publication::Notify);
        while writer.position() < end {
            let position = writer.position();
            writer.append(at(pattern, position, (end - position).min(64_000) as usize)).unwrap();
        }
        writer.set_publication(Publication::SILENT);
    });
}
