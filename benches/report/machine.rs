//! The machine: what it is kept busy with, and what its host takes away.

use std::{
    fmt,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// A clock that nobody sets, in nanoseconds.
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What it takes to ask the clock, at the median: all short times contain it once.
pub fn clock_cost() -> u64 {
    let mut costs: Vec<_> = (0..10_001)
        .map(|_| {
            let before = now();
            now() - before
        })
        .collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// Processor time, and how much of it the host gave to somebody else: from `/proc/stat`, in its ticks.
#[derive(Clone, Copy, Default)]
pub struct Stolen {
    stolen: u64,
    all: u64,
}

impl Stolen {
    /// Since the machine was started; nothing where nobody counts.
    pub fn so_far() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        // user, nice, system, idle, iowait, irq, softirq, steal; the time of guests is part of these.
        let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let ticks: Vec<u64> = ticks.map(|ticks| ticks.parse().unwrap_or(0)).collect();
        Self { stolen: ticks.get(7).copied().unwrap_or(0), all: ticks.iter().sum() }
    }

    /// Since then.
    pub fn since(before: Self) -> Self {
        let now = Self::so_far();
        Self { stolen: now.stolen.saturating_sub(before.stolen), all: now.all.saturating_sub(before.all) }
    }

    pub fn add(&mut self, other: Self) {
        self.stolen += other.stolen;
        self.all += other.all;
    }
}

/// In percent.
impl fmt::Display for Stolen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} %", 100.0 * self.stolen as f64 / self.all.max(1) as f64))
    }
}

/// Keeps this thread on one processor: the first of those it may use, or the second, and so on. Does nothing if there are
/// not as many.
pub fn stay_on(which: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(usable) = sched_getaffinity(None) else { return };
    let Some(mine) = (0..CpuSet::MAX_CPU).filter(|&cpu| usable.is_set(cpu)).nth(which) else { return };
    let mut only = CpuSet::new();
    only.set(mine);
    // If it is refused, the thread is where the scheduler wants it.
    let _ = sched_setaffinity(None, &only);
}

/// What a thread has made the system do.
#[derive(Clone, Copy)]
pub struct Usage {
    /// How often it went to sleep of its own accord.
    pub sleeps: u64,
    /// How often it touched memory that was not there.
    pub faults: u64,
}

impl Usage {
    /// Of this thread.
    pub fn so_far() -> Self {
        // SAFETY: every field of it is an integer, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is a `rusage` that this thread has to itself.
        let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        assert_eq!(result, 0, "a thread may ask about itself");
        Self { sleeps: usage.ru_nvcsw as u64, faults: (usage.ru_minflt + usage.ru_majflt) as u64 }
    }

    pub fn since(before: Self) -> Self {
        let now = Self::so_far();
        Self { sleeps: now.sleeps - before.sleeps, faults: now.faults - before.faults }
    }
}

/// A thread for each processor that does nothing but use it; until this is dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn on_every_core() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let spin = |stop: Arc<AtomicBool>| {
            let mut x = 1u64;
            // Relaxed: the flag goes with no other memory.
            while !stop.load(Relaxed) {
                for _ in 0..1_000 {
                    x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                }
            }
        };
        let threads = (0..cores)
            .map(|_| {
                thread::spawn({
                    let stop = stop.clone();
                    move || spin(stop)
                })
            })
            .collect();
        // So that the scheduler has put them where they will stay.
        thread::sleep(Duration::from_millis(20));
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
