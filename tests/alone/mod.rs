//! Tests in a process of their own: for what concerns a whole process (its memory, its mappings, a signal), for what
//! takes several, and for file systems that are mounted for a test alone. For Linux.
#![allow(dead_code)] // each test binary uses what it needs

use crate::threads::must_end;
use std::{
    any::type_name,
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs::File,
    os::fd::AsRawFd,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

/// What a process is to do in the test that started it.
const ROLE: &str = "ROUNDELAY_TEST_ROLE";

/// What this process was started for; `None` if by the test harness.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs `story` in a process of its own, in which no other test runs. `test` is the test that calls this.
pub fn alone<F: Fn() + Copy>(test: F, story: impl FnOnce() + Send + 'static) {
    match role() {
        Some(_) => must_end(story),
        None => assert_succeeds(&command(test, "alone").output().expect("a test can be started once more")),
    }
}

/// As [`alone`], where the process may mount file systems that nobody else sees, and its temporary files lie in memory.
/// A system that lets nobody do that cannot be tested so; the test says so, and passes.
pub fn alone_with_mounts<F: Fn() + Copy>(test: F, story: impl FnOnce() + Send + 'static) {
    if role().is_some() {
        // A folder in which something is mounted cannot be removed. This one goes with the process.
        mount_small(&env::temp_dir(), 64 << 20);
        return must_end(story);
    }
    for namespaces in ["-rm", "-m"] {
        let unshare = |program: &mut Command| {
            let mut unshare = Command::new("unshare");
            unshare.arg(namespaces).arg(program.get_program()).args(program.get_args());
            unshare.env(ROLE, "alone").output()
        };
        if unshare(&mut Command::new("true")).is_ok_and(|tried| tried.status.success()) {
            return assert_succeeds(&unshare(&mut command(test, "alone")).expect("it could be started just now"));
        }
    }
    eprintln!("not tested: nothing can be mounted here");
}

/// Starts another process in this test, with `role` and these variables. Its standard input is a pipe.
pub fn start<F: Fn() + Copy>(test: F, role: &str, variables: &[(&str, &OsStr)]) -> Child {
    let mut command = command(test, role);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("a test can be started once more")
}

/// A run of one test, whose function has the path by which the harness calls it, behind the name of this program.
fn command<F: Fn() + Copy>(_test: F, role: &str) -> Command {
    let (_, name) = type_name::<F>().split_once("::").expect("a function lies in a crate");
    let mut command = Command::new(env::current_exe().expect("a test knows its own path"));
    command.args(["--exact", name, "--nocapture"]).env(ROLE, role);
    command
}

/// Fails with what the process has said, if it failed or ran no test.
pub fn assert_succeeds(output: &Output) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}:\n{text}", output.status);
    assert!(text.contains("1 passed"), "it ran no test:\n{text}");
}

/// Mounts a file system of `bytes` that lies in memory on `folder`.
pub fn mount_small(folder: &Path, bytes: u64) {
    mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"], folder);
}

/// Makes `folder` one in which nothing can be changed.
pub fn mount_read_only(folder: &Path) {
    mount(&["--bind", folder.to_str().expect("a plain name")], folder);
    mount(&["-o", "remount,bind,ro"], folder);
}

fn mount(options: &[&str], folder: &Path) {
    let output = Command::new("mount").args(options).arg(folder).output().expect("there is a mount");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A figure of this process, in KiB: `VmRSS`, the memory that it has, or another.
pub fn memory_kib(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with(figure)).expect("the kernel knows it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// How many bytes this process has read from files and the like, and how many it has written.
pub fn bytes_read_and_written() -> (u64, u64) {
    let io = std::fs::read_to_string("/proc/self/io").expect("/proc is mounted");
    let count = |name| io.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel knows it");
    let [read, written] = ["rchar: ", "wchar: "].map(|name| count(name).trim().parse().expect("a number"));
    (read, written)
}

/// How many mappings this process has of files whose path contains `name`, gone ones included.
pub fn mappings_of(name: &str) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    maps.lines().filter(|line| line.contains(name)).count()
}

/// How many files this process has open, sockets and the like included.
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// The file that is opened next, until it is closed: its number.
pub fn next_file() -> i32 {
    File::open("/dev/null").unwrap().as_raw_fd()
}

/// From now on this thread's calls of this number are answered with `errno`, and not made.
pub fn answer(call: libc::c_long, errno: i32) {
    answer_if(call, errno, vec![]);
}

/// From now on this thread's `fsync` of the file of this number fails.
pub fn deny_sync_of(file: i32) {
    use seccompiler::{SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, SeccompCondition, SeccompRule};
    let this_file = SeccompCondition::new(0, Dword, Eq, file as u64).unwrap();
    answer_if(libc::SYS_fsync, libc::EIO, vec![SeccompRule::new(vec![this_file]).unwrap()]);
}

fn answer_if(call: libc::c_long, errno: i32, rules: Vec<seccompiler::SeccompRule>) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let rules = BTreeMap::from([(call, rules)]);
    let arch = std::env::consts::ARCH.try_into().expect("a processor that seccompiler knows");
    let denied = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}
