//! The nets: a system-call filter that kills, an allocator that aborts, and counters of page faults and switches.

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::{
    collections::BTreeMap,
    process::{Command, Output},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

/// Aborts on an allocation or a free of a thread that is inside [`assert_no_alloc`], in release builds too.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

/// What the kernel has counted for this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Pages that had to be mapped in, without I/O.
    pub minor_faults: i64,
    /// Pages that had to be read in.
    pub major_faults: i64,
    /// Times that the thread gave up the processor by itself: it slept or blocked. That others took it away does not
    /// count, since it cannot help that.
    pub voluntary_switches: i64,
}

impl Counters {
    pub fn now() -> Self {
        let mut usage = std::mem::MaybeUninit::zeroed();
        // SAFETY: `usage` has room for the structure that the call fills in.
        let done = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
        // No `assert_eq`: the values are never to be formatted where nothing may be allocated.
        assert!(done == 0, "getrusage has failed");
        // SAFETY: zeroed integers are a value, and the call has filled them in since.
        let usage: libc::rusage = unsafe { usage.assume_init() };
        Self { minor_faults: usage.ru_minflt, major_faults: usage.ru_majflt, voluntary_switches: usage.ru_nvcsw }
    }

    fn since(self, before: Self) -> Self {
        Self {
            minor_faults: self.minor_faults - before.minor_faults,
            major_faults: self.major_faults - before.major_faults,
            voluntary_switches: self.voluntary_switches - before.voluntary_switches,
        }
    }
}

/// Which nets are up. A control takes down all but the one that it is about.
#[derive(Clone, Copy, Debug)]
pub struct Nets {
    pub system_calls: bool,
    pub allocations: bool,
}

pub const ALL: Nets = Nets { system_calls: true, allocations: true };

/// Runs `warm_up` and then `section` on a thread of its own, `section` under the nets, and says what it returned and
/// what the kernel counted meanwhile.
///
/// A thread that may not make a system call cannot end the usual way either (it would unmap its stack), so it
/// publishes the result and leaves by a bare `exit`. What it owned is leaked.
pub fn under<T: Copy + Send + Sync + 'static>(
    nets: Nets,
    warm_up: impl FnOnce() + Send + 'static,
    section: impl FnOnce() -> T + Send + 'static,
) -> (T, Counters) {
    let filter = filter();
    let report = Arc::new(OnceLock::new());
    let publish = report.clone();
    thread::spawn(move || {
        warm_up();
        // The first call may take page faults of its own.
        Counters::now();
        if nets.system_calls {
            seccompiler::apply_filter(&filter).expect("the kernel takes the filter");
        }
        let before = Counters::now();
        let result = if nets.allocations { assert_no_alloc(section) } else { section() };
        let counted = Counters::now().since(before);
        // Enters no kernel: nobody sleeps on it.
        let _ = publish.set((result, counted));
        exit_thread()
    });
    loop {
        if let Some(&report) = report.get() {
            return report;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Kills the process (with SIGSYS) on every system call but the two that end a section.
fn filter() -> BpfProgram {
    let allowed = BTreeMap::from([(libc::SYS_getrusage, vec![]), (libc::SYS_exit, vec![])]);
    let arch = std::env::consts::ARCH.try_into().expect("a processor that seccompiler knows");
    SeccompFilter::new(allowed, SeccompAction::KillProcess, SeccompAction::Allow, arch)
        .and_then(BpfProgram::try_from)
        .expect("a valid filter")
}

fn exit_thread() -> ! {
    // SAFETY: ends this thread and nothing else. Its stack stays mapped, and what it owned is leaked, not dropped.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended")
}

const IN_CHILD: &str = "ROUNDELAY_IN_CHILD";

/// Runs the test `name` in a process of its own and returns how that ended; `None` in that process.
///
/// The nets kill a whole process: so a test is told of it, and no other test is killed along.
pub fn in_child(name: &str) -> Option<Output> {
    if std::env::var_os(IN_CHILD).is_some() {
        return None;
    }
    let this = std::env::current_exe().expect("a test knows its own path");
    let child = Command::new(this).args(["--exact", name, "--nocapture"]).env(IN_CHILD, "1").output();
    Some(child.expect("a test can be started once more"))
}
