//! Waking a thread that sleeps in the kernel.

pub mod pairs;

use crate::{
    buffer::{check, fill},
    linear::{store::folder, theirs},
    race::{Races, median, nanos},
};
use pairs::{Blocking, Condition, Kept, Ours, Publisher, Sleeper};
use std::{
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long a sleeper sleeps before it is woken: no spinning lasts that long, and its processor has found something
/// else to do.
const PARKED: Duration = Duration::from_millis(1);

/// A packet, in bytes.
const LEN: usize = 64;

pub fn run(races: &mut Races) {
    latency(races);
    count(races);
    races.cannot(&["rtrb", "ArrayQueue"], "nothing to sleep on");
    races.cannot(&["photon-ring", "disruptor"], "its waits spin, or sleep for a time that was set: nobody is woken");
    races.cannot(&["stream-download"], "its storage does not wait; its downloader does, on an async runtime");
    races.cannot(&["memcpy"], "nobody to wake");
}

/// A sleeper, who wakes it, and how long each wake took, in nanoseconds.
struct Pair {
    name: &'static str,
    sleeper: Box<dyn Sleeper>,
    publisher: Box<dyn Publisher>,
    /// Where in the stream they are.
    offset: u64,
    /// Of this round.
    times: Vec<f64>,
    medians: Vec<f64>,
}

impl Pair {
    fn new<S: Sleeper + 'static, P: Publisher + 'static>(name: &'static str, (sleeper, publisher): (S, P)) -> Self {
        let (sleeper, publisher) = (Box::new(sleeper), Box::new(publisher));
        Self { name, sleeper, publisher, offset: 0, times: Vec::new(), medians: Vec::new() }
    }

    /// One wake; not counted if the sleeper turns out not to have slept, or not for long enough.
    fn wake(&mut self) {
        let (sleeping, woken) = mpsc::sync_channel(1);
        let Self { name, sleeper, publisher, offset, times, .. } = self;
        let mut packet = [0; LEN];
        fill(*offset, &mut packet);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                sleeping.send(Instant::now()).expect("it is waiting");
                let before = sleeps();
                assert!(sleeper.wait(LEN), "{name}: it ended");
                let at = Instant::now();
                // Where nobody counts, every sleep is believed.
                let slept = before.is_none() || sleeps() > before;
                let mut back = [0; LEN];
                assert!(sleeper.take(&mut back), "{name}: no bytes at {offset}");
                check(*offset, &back, name);
                (at, slept)
            });
            let asleep = woken.recv().expect("it says so");
            thread::sleep(PARKED + Duration::from_micros(500));
            let published = Instant::now();
            publisher.publish(&packet);
            let (at, slept) = sleeper.join().expect("it does not panic");
            if slept && published - asleep >= PARKED {
                times.push(nanos(at - published));
            }
        });
        *offset += LEN as u64;
    }
}

fn pairs(folder: &Path) -> (Pair, [Pair; 3]) {
    let rivals = [
        Pair::new("Mutex<VecDeque>, Condvar", Condition::open()),
        Pair::new("ringbuf, blocking", Blocking::open()),
        Pair::new(theirs::NAME, Kept::open(folder)),
    ];
    (Pair::new("wait_range", Ours::open()), rivals)
}

/// From just before the publication to the sleeper's next instruction, everybody in turn.
fn latency(races: &mut Races) {
    let folder = folder();
    let (ours, rivals) = pairs(folder.path());
    let mut all: Vec<_> = std::iter::once(ours).chain(rivals).collect();
    let wakes = races.effort.wakes;
    for _ in 0..races.effort.rounds {
        while all.iter().any(|pair| pair.times.len() < wakes) {
            all.iter_mut().for_each(Pair::wake);
        }
        for pair in &mut all {
            pair.medians.push(median(&pair.times));
            pair.times.clear();
        }
    }
    for pair in &all {
        eprintln!("  {:9.1} ns  wake: {}", median(&pair.medians), pair.name);
    }
    for rival in &all[1..] {
        races.add("wake of a parked reader", all[0].name, "", rival.name, &all[0].medians, &rival.medians);
    }
}

/// How often each of them wakes up while it waits for 64 KiB that come by writes of 1 KiB.
fn count(races: &mut Races) {
    let folder = folder();
    let (_, rivals) = pairs(folder.path());
    let (mut sleeper, mut publisher) = Ours::open();
    let mut counts = vec![("roundelay", wakes_of("roundelay", &mut sleeper, &mut publisher))];
    assert_eq!(publisher.ring.wakes(), 1, "a range is waited for once");
    for Pair { name, mut sleeper, mut publisher, .. } in rivals {
        counts.push((name, wakes_of(name, &mut *sleeper, &mut *publisher)));
    }
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    races.note(format!("Wakes in one wait for 64 KiB that come by writes of 1 KiB: {}.", counts.join("; ")));
}

fn wakes_of(name: &str, sleeper: &mut dyn Sleeper, publisher: &mut dyn Publisher) -> String {
    const WANTED: usize = 64 << 10;
    const WRITE: usize = 1 << 10;
    let mut bytes = vec![0; WANTED];
    fill(0, &mut bytes);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let before = sleeps();
            assert!(sleeper.wait(WANTED), "{name}: it ended");
            let after = sleeps();
            let mut back = vec![0; WANTED];
            assert!(sleeper.take(&mut back), "{name}: no bytes");
            check(0, &back, name);
            after.zip(before).map(|(after, before)| after - before)
        });
        thread::sleep(20 * PARKED);
        for piece in bytes.chunks(WRITE) {
            publisher.publish(piece);
            // Time to fall asleep again.
            thread::sleep(PARKED / 4);
        }
        let wakes = sleeper.join().expect("it does not panic");
        wakes.map_or("not counted on this system".into(), |wakes| wakes.to_string())
    })
}

/// How often this thread has gone to sleep of its own accord, where somebody counts that.
#[cfg(target_os = "linux")]
fn sleeps() -> Option<i64> {
    // SAFETY: every field of it is an integer, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a `rusage` that this thread has to itself.
    let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    assert_eq!(result, 0, "a thread may ask about itself");
    Some(usage.ru_nvcsw)
}

#[cfg(not(target_os = "linux"))]
fn sleeps() -> Option<i64> {
    None
}
