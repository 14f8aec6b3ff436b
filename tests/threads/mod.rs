//! The threads of a test: none of them hangs unnoticed, and a sleeper is known to sleep.
#![allow(dead_code)] // each test binary uses what it needs

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

/// Longer than anything here takes on a busy machine. No claim depends on it.
const HANG: Duration = Duration::from_secs(30);

/// Runs `story`, and fails the test if it does not end.
pub fn must_end<T: Send + 'static>(story: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    let name = thread::current().name().unwrap_or("story").to_owned();
    let thread = thread::Builder::new()
        .name(name)
        .spawn(move || done.send(catch_unwind(AssertUnwindSafe(story))))
        .expect("a thread can be started");
    let end = ended.recv_timeout(HANG);
    if end.is_ok() {
        // What the thread keeps for itself goes with it.
        let _ = thread.join();
    }
    match end {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => panic!("it hangs: not ended after {HANG:?}"),
    }
}

/// A thread that waits for something.
pub struct Sleeper<T>(JoinHandle<T>);

impl<T: Send + 'static> Sleeper<T> {
    /// Starts a thread that runs `wait`, and returns once it sleeps in there (or has ended, if it does not sleep).
    pub fn start(wait: impl FnOnce() -> T + Send + 'static) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            tell.send(sleep_state::this_thread()).expect("the test waits for it");
            drop(tell);
            wait()
        });
        let id = told.recv().expect("the thread says who it is");
        sleep_state::until_asleep(&id, || thread.is_finished());
        Self(thread)
    }

    /// Whether the wait goes on.
    pub fn still_waits(&self) -> bool {
        !self.0.is_finished()
    }

    /// What the wait returned; blocks until it does.
    pub fn wakes_with(self) -> T {
        match self.0.join() {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }
}

#[cfg(target_os = "linux")]
mod sleep_state {
    use std::{fs, path::PathBuf, thread, time::Duration};

    /// The folder in which the kernel tells about a thread.
    pub struct ThreadId(PathBuf);

    pub fn this_thread() -> ThreadId {
        let link = fs::read_link("/proc/thread-self").expect("/proc is mounted");
        ThreadId(PathBuf::from("/proc").join(link).join("status"))
    }

    /// Whether the thread sleeps, and how often it has gone to sleep so far. `None` if it is gone.
    fn look(id: &ThreadId) -> Option<(bool, u64)> {
        let status = fs::read_to_string(&id.0).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let asleep = field("State:")?.starts_with('S');
        Some((asleep, field("voluntary_ctxt_switches:")?.parse().ok()?))
    }

    /// Asleep for three looks in a row without a break, or, if it sleeps in paced slices, many times.
    pub fn until_asleep(id: &ThreadId, ended: impl Fn() -> bool) {
        let mut first_sleeps = None;
        let mut last_sleeps = 0;
        let mut in_a_row = 0;
        while !ended() {
            let Some((asleep, sleeps)) = look(id) else { return };
            in_a_row = if asleep && sleeps == last_sleeps { in_a_row + 1 } else { 0 };
            last_sleeps = sleeps;
            if in_a_row >= 3 || sleeps >= *first_sleeps.get_or_insert(sleeps) + 10 {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Elsewhere a sleeper cannot be told from a thread that is about to sleep.
#[cfg(not(target_os = "linux"))]
mod sleep_state {
    pub struct ThreadId;

    pub fn this_thread() -> ThreadId {
        ThreadId
    }

    pub fn until_asleep(_: &ThreadId, _: impl Fn() -> bool) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Fails with what there is, if that is not what was expected.
#[allow(unused_macros)] // as above
macro_rules! assert_is {
    ($value:expr, $pattern:pat $(if $guard:expr)?) => {
        match $value {
            $pattern $(if $guard)? => {}
            other => panic!("expected {}, found {other:?}", stringify!($pattern $(if $guard)?)),
        }
    };
}
#[allow(unused_imports)] // as above
pub(crate) use assert_is;
