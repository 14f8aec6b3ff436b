//! Waking a thread that sleeps in the kernel.

use crate::{
    buffer::{check, fill},
    race::{Races, median, nanos},
};
use roundelay::{CancelToken, Resource, RingOptions, WaitOutcome};
use std::{
    sync::{Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How long a sleeper sleeps before it is woken: no spinning lasts that long, and its processor has found something
/// else to do.
const PARKED: Duration = Duration::from_millis(1);

/// A packet.
const LEN: usize = 64;

pub fn run(races: &mut Races) {
    latency(races);
    count(races);
}

/// Something to wait for and to publish, a packet at a time.
trait Park: Sync {
    type Publisher;
    /// Blocks until packet `i` is there, and checks it.
    fn wait(&self, i: u64);
    fn publish(&self, publisher: &mut Self::Publisher, i: u64);
}

struct Ours {
    reader: roundelay::Reader<roundelay::RingDriver>,
}

impl Park for Ours {
    type Publisher = roundelay::Writer<roundelay::RingDriver>;

    fn wait(&self, i: u64) {
        let at = i * LEN as u64;
        assert!(matches!(self.reader.wait_range(at..at + LEN as u64), Ok(WaitOutcome::Ready)));
    }

    fn publish(&self, writer: &mut Self::Publisher, i: u64) {
        writer.append(&packet(i)).expect("nobody holds the writer");
    }
}

/// What the standard library has for it.
#[derive(Default)]
struct Condition {
    bytes: Mutex<Vec<u8>>,
    changed: Condvar,
}

impl Park for Condition {
    type Publisher = ();

    fn wait(&self, i: u64) {
        let end = (i as usize + 1) * LEN;
        let bytes = self.bytes.lock().expect("nobody panicked");
        drop(self.changed.wait_while(bytes, |bytes| bytes.len() < end).expect("nobody panicked"));
    }

    fn publish(&self, (): &mut (), i: u64) {
        self.bytes.lock().expect("nobody panicked").extend_from_slice(&packet(i));
        // After the lock is given back, so that the sleeper does not wake up to find it taken.
        self.changed.notify_one();
    }
}

fn packet(i: u64) -> [u8; LEN] {
    let mut packet = [0; LEN];
    fill(i * LEN as u64, &mut packet);
    packet
}

/// From just before the publication to the sleeper's next instruction, ours and the rival's in turn.
fn latency(races: &mut Races) {
    let ring = Resource::open(CancelToken::new(), RingOptions { prefault: true, ..RingOptions::default() })
        .expect("a megabyte of memory");
    let mut writer = ring.writer().expect("the first writer");
    let ours = Ours { reader: ring.reader() };
    let condition = Condition { bytes: Mutex::new(Vec::with_capacity(1 << 20)), ..Condition::default() };
    let (rounds, wakes) = (races.effort.rounds, races.effort.wakes);
    let (mut our_medians, mut rival_medians) = (Vec::new(), Vec::new());
    let (mut our_all, mut rival_all) = (Vec::new(), Vec::new());
    let mut packets = 0..;
    for _ in 0..rounds {
        let (mut our_times, mut rival_times) = (Vec::new(), Vec::new());
        while our_times.len() < wakes || rival_times.len() < wakes {
            let i = packets.next().expect("there are enough numbers");
            our_times.extend(wake(&ours, &mut writer, i));
            rival_times.extend(wake(&condition, &mut (), i));
        }
        our_medians.push(median(&our_times));
        rival_medians.push(median(&rival_times));
        our_all.append(&mut our_times);
        rival_all.append(&mut rival_times);
    }
    let mut back = [0; LEN];
    let last = (packets.start - 1) * LEN as u64;
    assert_eq!(ours.reader.try_read_at(last, &mut back), Ok(LEN));
    check(last, &back, "wake");
    eprintln!("  wake: {:.0} ns; Mutex + Condvar: {:.0} ns", median(&our_all), median(&rival_all));
    races.add("wake of a parked reader".into(), "Mutex + Condvar", &our_medians, &rival_medians);
}

/// One wake in nanoseconds; nothing if the sleeper turns out not to have slept, or not for long enough.
fn wake<P: Park>(park: &P, publisher: &mut P::Publisher, i: u64) -> Option<f64> {
    let (sleeping, woken) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            sleeping.send(Instant::now()).expect("it is waiting");
            let before = sleeps();
            park.wait(i);
            let at = Instant::now();
            (at, sleeps() > before)
        });
        let asleep = woken.recv().expect("it says so");
        thread::sleep(PARKED + Duration::from_micros(500));
        let published = Instant::now();
        park.publish(publisher, i);
        let (at, slept) = sleeper.join().expect("it does not panic");
        (slept && published - asleep >= PARKED).then(|| nanos(at - published))
    })
}

/// How often this thread has gone to sleep of its own accord.
#[cfg(target_os = "linux")]
fn sleeps() -> i64 {
    // SAFETY: every field of it is an integer, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a `rusage` that this thread has to itself.
    let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    assert_eq!(result, 0, "a thread may ask about itself");
    usage.ru_nvcsw
}

/// Elsewhere nobody counts: every sleep is believed.
#[cfg(not(target_os = "linux"))]
fn sleeps() -> i64 {
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
    static ASKED: AtomicI64 = AtomicI64::new(0);
    // Relaxed: the number means nothing.
    ASKED.fetch_add(1, Relaxed)
}

/// How many wakes it takes to feed somebody who waits for 64 KiB with writes of 1 KiB.
fn count(races: &mut Races) {
    const WANTED: usize = 64 << 10;
    const WRITE: usize = 1 << 10;
    let mut bytes = vec![0; WANTED];
    fill(0, &mut bytes);

    let ring = Resource::open(CancelToken::new(), RingOptions::default()).expect("a megabyte of memory");
    let mut writer = ring.writer().expect("the first writer");
    let reader = ring.reader();
    let ours = thread::scope(|scope| {
        scope.spawn(|| {
            assert!(matches!(reader.wait_range(0..WANTED as u64), Ok(WaitOutcome::Ready)));
            let mut back = vec![0; WANTED];
            assert_eq!(reader.try_read_at(0, &mut back), Ok(WANTED));
            check(0, &back, "wakes");
        });
        thread::sleep(20 * PARKED);
        for piece in bytes.chunks(WRITE) {
            writer.append(piece).expect("nobody holds the writer");
            thread::sleep(PARKED / 4);
        }
        ring.wakes()
    });
    assert_eq!(ours, 1, "a range is waited for once");

    let condition = Condition::default();
    let (calls, returns) = thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let mut returns = 0;
            let mut there = condition.bytes.lock().expect("nobody panicked");
            while there.len() < WANTED {
                there = condition.changed.wait(there).expect("nobody panicked");
                returns += 1;
            }
            check(0, &there, "Mutex + Condvar");
            returns
        });
        thread::sleep(20 * PARKED);
        let mut calls = 0;
        for piece in bytes.chunks(WRITE) {
            condition.bytes.lock().expect("nobody panicked").extend_from_slice(piece);
            condition.changed.notify_one();
            calls += 1;
            thread::sleep(PARKED / 4);
        }
        (calls, sleeper.join().expect("it does not panic"))
    });
    races.note(format!(
        "wakes to feed a wait for 64 KiB by writes of 1 KiB: {ours}; Mutex + Condvar: {calls}, of which {returns} \
         woke the sleeper."
    ));
}
