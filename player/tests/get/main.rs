//! `roundelay get` against servers of all kinds, as its user has it. One file for each kind of story.
#![cfg(unix)]

#[path = "../server/mod.rs"]
mod server;

mod changes;
mod cuts;
mod heads;
mod in_the_way;
mod interrupts;
mod lies;
mod parts;
mod proxies;
mod refusals;
mod secrets;
mod secure;
mod stragglers;
mod whole_files;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use roundelay::MmapOptions;
use roundelay_player::get::{open_patiently, version_tag};
use serde_json::Value;
use server::{After, Answer, Asked, Remote, Server, chunked};

const MIB: usize = 1 << 20;

/// Bytes like no others.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(len);
    bytes
}

/// A folder of its own for each test, gone when that is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("roundelay-get-{}-{}", std::process::id(), COUNT.fetch_add(1, SeqCst));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("file")
    }

    fn part(&self) -> PathBuf {
        self.0.join("file.part")
    }

    /// What is in it, sorted.
    fn names(&self) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn get(url: &str, file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundelay"));
    command.args(["get", url]).arg(file).arg("--json");
    // A proxy cannot reach this machine's loopback.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a run ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    /// The one line on standard output.
    #[track_caller]
    fn done(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        assert!(!self.stderr.contains(['\r', '\u{1b}']), "there is no terminal to draw on: {self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// One clear sentence, and the code for scripts.
    #[track_caller]
    fn failed(&self, code: i32, why: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("roundelay: ") && last.contains(why), "{self:?}");
    }
}

/// Runs it to its end; one that hangs is killed.
fn run(command: &mut Command) -> Ended {
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap().into()
}

/// Waits for `what`.
#[track_caller]
fn until(what: &str, mut happens: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happens() {
        assert!(began.elapsed() < Duration::from_secs(30), "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn assert_same(file: &Path, bytes: &[u8]) {
    let here = fs::read(file).unwrap();
    assert_eq!(here.len(), bytes.len());
    let differs = here.iter().zip(bytes).position(|(here, there)| here != there);
    assert_eq!(differs, None, "the first byte that differs");
}

/// The parts that were asked for, of a file of `len` bytes; the whole counts as one, and a look at its first byte as none.
fn parts(asked: &[Asked], len: usize) -> Vec<Range<u64>> {
    let len = len as u64;
    let gets = asked.iter().filter(|asked| !is_look(asked));
    gets.map(|asked| asked.range(len).unwrap_or(0..len)).collect()
}

/// Whether no more was asked than what there is.
fn is_look(asked: &Asked) -> bool {
    asked.header("range") == Some("bytes=0-0")
}
