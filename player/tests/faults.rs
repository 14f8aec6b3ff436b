//! What goes wrong around a player: it is stopped in the middle of it all, for as long as somebody likes, and goes on.
//!
//! `ROUNDELAY_STOP_SECONDS=60 cargo test -p roundelay-player --test faults` stops it for a minute.
#![cfg(target_os = "linux")]

mod program;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use program::roundelay;
use serde_json::Value;

/// More memory than this was not there before.
const GROWTH_KIB: u64 = 2 << 10;

fn stop_time() -> Duration {
    let seconds = std::env::var("ROUNDELAY_STOP_SECONDS");
    Duration::from_secs(seconds.map_or(2, |seconds| seconds.parse().expect("a number of seconds")))
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn memory_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it is still there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What it says in the end. One that does not end in time is ended.
fn ends_within(mut child: Child, time: Duration) -> (bool, String) {
    let mut out = child.stdout.take().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        let _ = tell.send(text);
    });
    let text = told.recv_timeout(time);
    if text.is_err() {
        child.kill().unwrap();
    }
    let success = child.wait().unwrap().success();
    (success, text.expect("it hangs"))
}

#[test]
fn a_demo_that_is_stopped_plays_on_to_its_end_when_it_is_continued() {
    let mut demo = roundelay(&["demo", "--seconds", "8", "--json"]).spawn().unwrap();
    let mut said = BufReader::new(demo.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains(" on air at http://127.0.0.1:"), "{line}");
    thread::spawn(move || said.read_to_end(&mut Vec::new()));
    thread::sleep(Duration::from_secs(4));
    let before = memory_kib(&demo);
    signal(&demo, "-STOP");
    thread::sleep(stop_time());
    signal(&demo, "-CONT");
    thread::sleep(Duration::from_secs(2));
    let after = memory_kib(&demo);
    let (success, text) = ends_within(demo, Duration::from_secs(60));
    assert!(success, "{text}");
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["seconds_played"], 8.0, "{summary}");
    assert!(after <= before + GROWTH_KIB, "it had {before} KiB, and has {after}");
}
