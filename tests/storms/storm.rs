//! What all storms share: seeds, bytes that are known from their offset, figures, and a watchdog.

use std::{
    env, fmt,
    hash::{BuildHasher, RandomState},
    io::Write,
    panic, process,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// A thread that takes no step for this long hangs. Far more than any step takes on a busy machine, or any round.
const HANG: Duration = Duration::from_secs(40);

/// Pseudo-random numbers, by splitmix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Lets others run, for a random while.
    pub fn dawdle(&mut self) {
        match self.below(16) {
            0 => thread::sleep(Duration::from_micros(self.below(500))),
            1..=4 => thread::yield_now(),
            n => (0..n * 10).for_each(|_| std::hint::spin_loop()),
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A stream of bytes, each of which follows from its offset and the salt (a seed, a generation).
#[derive(Clone, Copy, Debug)]
pub struct Stream(pub u64);

impl Stream {
    fn word(self, at: u64) -> [u8; 8] {
        mix(self.0 ^ (at / 8).wrapping_mul(0xd6e8_feb8_6659_fd93)).to_le_bytes()
    }

    /// Fills `buf` with what belongs at `offset`.
    pub fn put(self, offset: u64, buf: &mut [u8]) {
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let word = self.word(at);
            let from = (at % 8) as usize;
            let len = rest.len().min(8 - from);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&word[from..from + len]);
            (at, rest) = (at + len as u64, later);
        }
    }

    pub fn bytes(self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.put(offset, &mut bytes);
        bytes
    }

    /// The first byte that is not what belongs there.
    pub fn first_wrong(self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let word = self.word(at);
            let from = (at % 8) as usize;
            let len = rest.len().min(8 - from);
            if rest[..len] != word[from..from + len] {
                return (at..)
                    .zip(rest)
                    .find(|(at, byte)| **byte != self.word(*at)[(at % 8) as usize])
                    .map(|(at, _)| at);
            }
            (at, rest) = (at + len as u64, &rest[len..]);
        }
        None
    }
}

/// What a thread is about to do.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Begins,
    TakesWriter,
    Appends,
    WritesAt,
    Commits,
    Fails,
    Cancels,
    DropsWriter,
    Reactivates,
    TriesToRead,
    Reads,
    ReadsInPlace,
    Waits,
    WaitsForAWhile,
    HoldsOn,
    Claims,
    WaitsForAClaim,
    DropsAClaim,
    Interrupts,
    Seeks,
    BeginsAnEpoch,
    WritesFrames,
    FillsAPeriod,
    Taps,
    Joins,
    Done,
}

const STEPS: [Step; 26] = {
    use Step::*;
    [
        Begins,
        TakesWriter,
        Appends,
        WritesAt,
        Commits,
        Fails,
        Cancels,
        DropsWriter,
        Reactivates,
        TriesToRead,
        Reads,
        ReadsInPlace,
        Waits,
        WaitsForAWhile,
        HoldsOn,
        Claims,
        WaitsForAClaim,
        DropsAClaim,
        Interrupts,
        Seeks,
        BeginsAnEpoch,
        WritesFrames,
        FillsAPeriod,
        Taps,
        Joins,
        Done,
    ]
};

/// The last step of one thread. Relaxed, all of it: the storm must bring no order that the library has not.
struct Trace {
    name: String,
    step: AtomicUsize,
    with: [AtomicU64; 2],
    steps: AtomicU64,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = [0, 1].map(|i: usize| self.with[i].load(Relaxed));
        let (step, steps) = (STEPS[self.step.load(Relaxed)], self.steps.load(Relaxed));
        write!(f, "{}: {step:?} ({a}, {b}), its step {steps}", self.name)
    }
}

/// Counts, for the line at the end.
#[derive(Default)]
pub struct Figures {
    pub operations: AtomicU64,
    pub bytes: AtomicU64,
    pub generations: AtomicU64,
    pub wakes: AtomicU64,
}

/// One round of a storm.
pub struct Round {
    pub seed: u64,
    name: &'static str,
    traces: Mutex<Vec<Arc<Trace>>>,
    pub figures: Arc<Figures>,
}

impl Round {
    /// The pseudo-random numbers of the round's plan.
    pub fn random(&self) -> Random {
        Random::new(self.seed)
    }

    /// A thread of this round. Its own numbers follow from the seed and its name.
    pub fn lane(&self, name: impl Into<String>) -> Lane<'_> {
        let name = name.into();
        let seed = name.bytes().fold(self.seed, |seed, byte| mix(seed ^ u64::from(byte)));
        let trace =
            Arc::new(Trace { name, step: AtomicUsize::new(0), with: Default::default(), steps: AtomicU64::new(0) });
        self.traces.lock().expect("no thread panics here").push(trace.clone());
        Lane { round: self, trace, random: Random::new(seed), bytes: 0 }
    }
}

/// What went wrong, with all that it takes to try it again.
impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, seed) = (self.name, self.seed);
        writeln!(f, "storm {name}: this round again: ROUNDELAY_STORM_SEED={seed} cargo test --test storms {name}")?;
        self.traces.lock().expect("no thread panics here").iter().try_for_each(|trace| writeln!(f, "    {trace}"))
    }
}

/// A thread of a storm.
pub struct Lane<'a> {
    round: &'a Round,
    trace: Arc<Trace>,
    pub random: Random,
    bytes: u64,
}

impl Lane<'_> {
    /// Says what comes next.
    pub fn step(&self, step: Step, a: u64, b: u64) {
        self.trace.step.store(step as usize, Relaxed);
        self.trace.with[0].store(a, Relaxed);
        self.trace.with[1].store(b, Relaxed);
        // Relaxed, and no read-modify-write: only this thread stores it.
        self.trace.steps.store(self.trace.steps.load(Relaxed) + 1, Relaxed);
    }

    /// Fails if these are not the bytes of that offset.
    pub fn check(&mut self, stream: Stream, offset: u64, bytes: &[u8]) {
        if let Some(at) = stream.first_wrong(offset, bytes) {
            panic!("{}: of {} bytes at {offset}, the one at {at} is wrong", self.trace.name, bytes.len());
        }
        self.bytes += bytes.len() as u64;
    }

    /// Counts what was checked elsewhere.
    pub fn checked(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.step(Step::Done, 0, 0);
        }
        self.round.figures.bytes.fetch_add(self.bytes, Relaxed);
        self.round.figures.operations.fetch_add(self.trace.steps.load(Relaxed), Relaxed);
    }
}

/// The rounds that run at this moment, one a storm.
static RUNNING: Mutex<Vec<Arc<Round>>> = Mutex::new(Vec::new());

/// Ends the process, with every thread's last step. Not by `eprintln`, which the test harness would keep to itself.
fn give_up(why: &str) -> ! {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "\n{why}");
    // A thread that panics may hold the lock.
    for round in RUNNING.try_lock().iter().flat_map(|rounds| rounds.iter()) {
        let _ = writeln!(stderr, "{round}");
    }
    let _ = stderr.flush();
    process::exit(1);
}

/// Without this a panic would leave the others of its round asleep, and the round would never end.
fn end_at_a_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| panic::set_hook(Box::new(|panic| give_up(&panic.to_string()))));
}

/// Looks at each thread, as those that hang not always keep all others from going on.
fn watch(round: &Round, over: &AtomicU64) {
    let mut seen = Vec::new();
    while over.load(Relaxed) == 0 {
        thread::park_timeout(Duration::from_millis(200));
        let traces = round.traces.lock().expect("no thread panics here");
        for (i, trace) in traces.iter().enumerate() {
            let steps = trace.steps.load(Relaxed);
            let done = trace.step.load(Relaxed) == Step::Done as usize;
            match seen.get_mut(i) {
                None => seen.push((steps, Instant::now())),
                Some((then, since)) if done || *then != steps => (*then, *since) = (steps, Instant::now()),
                Some((_, since)) if since.elapsed() > HANG => {
                    let hang = format!("a hang: {trace}, and no other for {HANG:?}");
                    drop(traces);
                    give_up(&hang);
                }
                Some(_) => {}
            }
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// Rounds of one storm, until the time is up: two seconds, or `ROUNDELAY_STORM_SECONDS`. The first has the seed
/// `ROUNDELAY_STORM_SEED`, or a random one.
pub fn storm(name: &'static str, run: fn(&Round)) {
    end_at_a_panic();
    let lasts = Duration::from_secs(setting("ROUNDELAY_STORM_SECONDS").unwrap_or(2));
    let first = setting("ROUNDELAY_STORM_SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let figures = Arc::<Figures>::default();
    let (mut seed, mut rounds, began) = (first, 0, Instant::now());
    while rounds == 0 || began.elapsed() < lasts {
        let round = Arc::new(Round { seed, name, traces: Mutex::default(), figures: figures.clone() });
        RUNNING.lock().expect("no thread panics here").push(round.clone());
        let over = AtomicU64::new(0);
        thread::scope(|scope| {
            let dog = scope.spawn(|| watch(&round, &over));
            run(&round);
            over.store(1, Relaxed);
            dog.thread().unpark();
        });
        RUNNING.lock().expect("no thread panics here").retain(|running| running.name != name);
        rounds += 1;
        seed = mix(seed.wrapping_add(rounds));
    }
    let [operations, bytes, generations, wakes] =
        [&figures.operations, &figures.bytes, &figures.generations, &figures.wakes].map(|figure| figure.load(Relaxed));
    println!(
        "storm {name}: seed {first}, {rounds} rounds, {operations} operations, {bytes} bytes checked, {generations} \
         generations, {wakes} wakes, 0 hangs, {:.0} s",
        began.elapsed().as_secs_f64()
    );
    assert!(bytes > 0, "nothing was put to the test");
}
