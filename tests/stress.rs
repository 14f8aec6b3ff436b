//! All at once, for a second or two each: what is read is what was written there, and every wait ends.

mod kinds;
mod threads;

use kinds::Windowed;
use roundelay::{
    CancelToken, Cursor, DriverIo, DriverState, Gate, Interrupter, OnLap, Publication, ReadError, Reader, Resource,
    ResourceStatus, RingDriver, RingOptions, StorageError, WaitOutcome, Writer,
};
use std::{
    io::Read,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use threads::must_end;

const WHILE: Duration = Duration::from_millis(1500);

/// A prime, and no divisor of any capacity here: the byte of an offset is not that of a lap later.
const PERIOD: u64 = 10_007;

/// The most bytes that are compared at once.
const MOST: usize = 1 << 14;

/// The bytes of the stream, over and over. Each eight of them occur once in a period.
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut period = Vec::new();
    for _ in 0..PERIOD {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        period.push((state >> 32) as u8);
    }
    period.iter().copied().cycle().take(PERIOD as usize + MOST).collect()
});

/// What belongs at an offset.
fn stream(offset: u64, len: usize) -> &'static [u8] {
    &STREAM[(offset % PERIOD) as usize..][..len]
}

/// Fails if these are not the bytes of that offset.
fn check(offset: u64, bytes: &[u8]) {
    let expected = stream(offset, bytes.len());
    if bytes != expected {
        let at = bytes.iter().zip(expected).position(|(a, b)| a != b).unwrap_or_default();
        panic!("torn: of {} bytes at {offset}, the one at {} is wrong", bytes.len(), offset + at as u64);
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Writes as fast as it goes until it is time, with a jump now and then. Returns how many bytes were written.
fn write<D: DriverIo>(writer: &mut Writer<D>, until: Instant, most: u64, jumps: bool) -> u64 {
    let mut random = Random(1);
    let mut written = 0;
    while Instant::now() < until {
        for _ in 0..64 {
            let mut at = writer.position();
            if jumps && random.below(500) == 0 {
                at += 1 + random.below(2 * most);
            }
            let len = 1 + random.below(most) as usize;
            writer.write_at(at, stream(at, len)).unwrap();
            written += len as u64;
        }
    }
    written
}

/// Reads at random places in and around the window until the end.
fn read_anywhere<D: DriverIo>(reader: Reader<D>, seed: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let mut buf = vec![0; MOST];
    let mut read = 0;
    while reader.status() == ResourceStatus::Active {
        let window = reader.valid_window().unwrap();
        let offset = (window.start + random.below(window.len() + 20)).saturating_sub(10);
        let len = if random.below(4) == 0 { MOST } else { 1 + random.below(200) as usize };
        match reader.try_read_at(offset, &mut buf[..len]) {
            Ok(n) => {
                assert!(n > 0 || reader.final_len().is_some(), "the end of a live stream");
                check(offset, &buf[..n]);
                read += n as u64;
            }
            Err(ReadError::Evicted { .. } | ReadError::NotYet) => {}
            Err(error) => panic!("{error}"),
        }
    }
    (read, reader.evictions())
}

/// Follows until the end, skipping by its policy; returns how many bytes it got, and lost.
fn follow<D: DriverIo>(mut cursor: Cursor<D>, seed: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let mut buf = vec![0; MOST];
    let (mut got, from) = (0, cursor.position());
    loop {
        let len = 1 + random.below(3000) as usize;
        match cursor.read(&mut buf[..len]) {
            Ok(0) => break,
            Ok(n) => {
                check(cursor.position() - n as u64, &buf[..n]);
                got += n as u64;
            }
            Err(error) => {
                assert_eq!(cursor.on_lap(), OnLap::Error, "{error}");
                assert!(cursor.laps() > 0);
                let lost = cursor.position();
                let to = cursor.seek_oldest();
                assert!(to > lost, "it was not overtaken: {error}");
                // To be counted with the others.
                got += to - lost;
            }
        }
        if random.below(1000) == 0 {
            thread::sleep(Duration::from_micros(200));
        }
    }
    assert_eq!(cursor.position() - from, got + cursor.lost_bytes(), "each byte was got or lost");
    (got, cursor.laps())
}

fn no_torn_bytes<D: DriverIo>(resource: &Resource<D>, most: u64, jumps: bool) {
    let mut writer = resource.writer().unwrap();
    let until = Instant::now() + WHILE;
    thread::scope(|scope| {
        let readers = [2, 3].map(|seed| {
            let reader = resource.reader();
            scope.spawn(move || read_anywhere(reader, seed))
        });
        let followers = [OnLap::Error, OnLap::SkipToOldest, OnLap::SkipToLive].map(|on_lap| {
            let cursor = resource.cursor(on_lap);
            scope.spawn(move || follow(cursor, 4 + on_lap as u64))
        });
        write(&mut writer, until, most, jumps);
        writer.commit(None).unwrap();
        let readers = readers.map(|reader| reader.join().unwrap());
        let followers = followers.map(|follower| follower.join().unwrap());
        // Or nothing was put to the test.
        assert!(readers.iter().any(|&(read, _)| read > 0) && followers.iter().any(|&(got, _)| got > 0));
        assert!(followers.iter().any(|&(_, laps)| laps > 0), "nobody was ever overtaken");
    });
}

#[test]
fn a_lapped_reader_of_a_ring_never_returns_torn_bytes() {
    must_end(|| {
        let resource = roundelay::open(RingOptions::new(5000)).unwrap();
        no_torn_bytes(&resource, 1500, true);
    });
}

#[test]
fn a_lapped_reader_of_a_tiny_ring_never_returns_torn_bytes() {
    must_end(|| {
        let resource = roundelay::open(RingOptions::new(64)).unwrap();
        no_torn_bytes(&resource, 100, false);
    });
}

#[test]
fn a_lapped_reader_of_a_users_window_never_returns_torn_bytes() {
    must_end(|| {
        let resource = Resource::from_driver(CancelToken::new(), Windowed::new(5000), DriverState::default()).unwrap();
        no_torn_bytes(&resource, 1500, true);
    });
}

/// Reads all of it by `Read`, or in place; returns how many bytes that was.
fn drain(mut gate: Gate, in_place: bool, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut buf = vec![0; 3000];
    let mut total = 0;
    let mut position = gate.position();
    let mut jumps = 0;
    loop {
        let from = if in_place {
            let slices = gate.wait(1 + random.below(2000) as usize).unwrap();
            let from = slices.offset();
            let (first, second) = slices.as_slices();
            check(from, first);
            check(from + first.len() as u64, second);
            let take = random.below(slices.len() as u64 + 1) as usize;
            let ended = slices.is_empty();
            slices.consume(take);
            total += take as u64;
            if ended {
                return total;
            }
            from
        } else {
            let len = 1 + random.below(3000) as usize;
            let n = gate.read(&mut buf[..len]).unwrap();
            let from = gate.position() - n as u64;
            check(from, &buf[..n]);
            total += n as u64;
            if n == 0 {
                return total;
            }
            from
        };
        if from != position {
            assert!(from > position && gate.discontinuities() > jumps, "it missed {position}..{from}");
        }
        (position, jumps) = (gate.position(), gate.discontinuities());
    }
}

#[test]
fn gates_get_every_byte_while_followers_come_and_go() {
    must_end(|| {
        let resource = roundelay::open(RingOptions::new(5000)).unwrap();
        let mut writer = resource.writer().unwrap();
        let gates = [writer.gate(), writer.gate(), writer.gate()];
        let until = Instant::now() + WHILE;
        thread::scope(|scope| {
            let gates: Vec<_> = gates
                .into_iter()
                .enumerate()
                .map(|(i, mut gate)| {
                    if i == 2 {
                        gate.set_publication(Publication::Silent { pace: Duration::from_micros(200) });
                    }
                    scope.spawn(move || drain(gate, i != 1, 10 + i as u64))
                })
                .collect();
            let reader = resource.reader();
            let reading = scope.spawn(move || read_anywhere(reader, 20));
            let cursor = resource.cursor(OnLap::SkipToOldest);
            let following = scope.spawn(move || follow(cursor, 21));
            let written = write(&mut writer, until, 8000, true);
            writer.commit(None).unwrap();
            for gate in gates {
                assert_eq!(gate.join().unwrap(), written);
            }
            reading.join().unwrap();
            following.join().unwrap();
            assert!(written > 0);
        });
    });
}

/// Waits for one thing after another until the stream has ended. Returns how many waits were for something to come.
fn wait_for_random_things(reader: &Reader<RingDriver>, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut buf = vec![0; 1000];
    let mut waits = 0;
    loop {
        let from = reader.live_edge().saturating_sub(500) + random.below(1500);
        let range = from..from + 1 + random.below(700);
        let outcome = match random.below(3) {
            0 => reader.wait_range_timeout(range.clone(), Duration::from_micros(random.below(3000))),
            _ => reader.wait_range(range.clone()),
        };
        match outcome {
            Ok(WaitOutcome::Ready) => {
                let len = (range.end - range.start) as usize;
                match reader.try_read_at(range.start, &mut buf[..len]) {
                    Ok(n) => {
                        assert!(n == len || reader.final_len().is_some(), "ready, and then {n} of {len} bytes");
                        check(range.start, &buf[..n]);
                    }
                    Err(ReadError::Evicted { .. }) => {}
                    Err(error) => panic!("ready, and then {error}"),
                }
            }
            Ok(WaitOutcome::Eof) => return waits,
            Ok(WaitOutcome::Interrupted | WaitOutcome::TimedOut) | Err(StorageError::Evicted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        waits += 1;
    }
}

#[test]
fn many_random_waits_all_end() {
    must_end(|| {
        let resource = roundelay::open(RingOptions::new(1000)).unwrap();
        let mut writer = resource.writer().unwrap();
        // More than there are slots.
        let readers: Vec<_> = (0..48).map(|_| resource.reader()).collect();
        let interrupters: Vec<Interrupter> = readers.iter().map(Reader::interrupter).collect();
        let until = Instant::now() + WHILE;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let waiting: Vec<_> = readers
                .iter()
                .enumerate()
                .map(|(i, reader)| scope.spawn(move || wait_for_random_things(reader, 100 + i as u64)))
                .collect();
            scope.spawn(|| {
                let mut random = Random(7);
                while !done.load(Relaxed) {
                    interrupters[random.below(48) as usize].interrupt();
                    thread::sleep(Duration::from_micros(random.below(500)));
                }
            });
            let mut random = Random(8);
            while Instant::now() < until {
                match random.below(40) {
                    0 => writer.set_publication(Publication::Silent { pace: Duration::from_micros(300) }),
                    1 => writer.set_publication(Publication::Notify),
                    2 => writer.notify(),
                    3 => {
                        let at = writer.position() + random.below(1200);
                        writer.write_at(at, stream(at, 10)).unwrap();
                    }
                    4..10 => thread::sleep(Duration::from_micros(random.below(1000))),
                    _ => {
                        let at = writer.position();
                        writer.append(stream(at, 1 + random.below(300) as usize)).unwrap();
                    }
                }
            }
            // Whoever waits still does so for bytes that will not come.
            writer.commit(None).unwrap();
            let waits: u64 = waiting.into_iter().map(|thread| thread.join().unwrap()).sum();
            done.store(true, Relaxed);
            assert!(waits > 0);
        });
    });
}

#[test]
fn a_stream_goes_on_over_many_generations() {
    must_end(|| {
        let resource = roundelay::open(RingOptions::new(1000)).unwrap();
        let over = AtomicBool::new(false);
        let generations = AtomicU64::new(0);
        let until = Instant::now() + WHILE;
        thread::scope(|scope| {
            let follow = |seed: u64| {
                let mut random = Random(seed);
                let mut cursor = resource.cursor(OnLap::SkipToOldest);
                let mut buf = [0; 100];
                let mut read = 0;
                loop {
                    // Before the read: what comes after is the last.
                    let ended = over.load(Relaxed);
                    let len = 1 + random.below(100) as usize;
                    match cursor.read(&mut buf[..len]) {
                        Ok(0) => {}
                        Ok(n) => {
                            check(cursor.position() - n as u64, &buf[..n]);
                            read += n;
                            continue;
                        }
                        // One that failed, or was cancelled.
                        Err(_) => assert_ne!(cursor.reader().status(), ResourceStatus::Active),
                    }
                    assert!(cursor.position() >= cursor.reader().live_edge(), "all of a generation is read first");
                    if !cursor.refresh() && ended {
                        return read;
                    }
                    thread::yield_now();
                }
            };
            let following = [scope.spawn(move || follow(1)), scope.spawn(move || follow(2))];
            let mut random = Random(3);
            while Instant::now() < until {
                let mut writer = resource.writer().unwrap();
                for _ in 0..random.below(5) {
                    let at = writer.position();
                    writer.append(stream(at, random.below(400) as usize)).unwrap();
                }
                match random.below(4) {
                    0 => writer.commit(None).unwrap(),
                    1 => writer.fail(StorageError::other("verdict")),
                    2 => resource.cancel(),
                    _ => {}
                }
                drop(writer);
                resource.reactivate().unwrap();
                generations.fetch_add(1, Relaxed);
            }
            resource.cancel();
            over.store(true, Relaxed);
            for follower in following {
                assert!(follower.join().unwrap() > 0);
            }
        });
        assert!(generations.load(Relaxed) > 0);
    });
}
