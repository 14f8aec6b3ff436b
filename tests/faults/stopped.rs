//! A process that is stopped, for as long as somebody likes, and goes on: `SIGSTOP` and `SIGCONT`, a laptop that is
//! closed, a debugger.
//!
//! `ROUNDELAY_STOP_SECONDS=60 cargo test --test faults -- stopped` stops it for a minute.

use crate::{
    Memory,
    alone::{assert_succeeds, role, start},
    assert_are, bytes,
};
use roundelay::{OnLap, Publication, RingOptions, StorageError, WaitOutcome};
use std::{
    env,
    io::{BufRead, BufReader, Read},
    process::{Child, Command},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

/// For so long the process is watched before and after.
const WATCHED: Duration = Duration::from_millis(400);

fn stop_time() -> Duration {
    let seconds = env::var("ROUNDELAY_STOP_SECONDS").map_or(1, |seconds| seconds.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("there is a kill");
    assert!(sent.success());
}

/// Never reached but by a process that was stopped for longer.
const LONG: Duration = Duration::from_secs(20);

/// How often each of those who wait came back.
#[derive(Default)]
struct Counts {
    ready: AtomicU64,
    timed_out: AtomicU64,
    gated: AtomicU64,
    followed: AtomicU64,
}

impl Counts {
    fn all(&self) -> [u64; 4] {
        [&self.ready, &self.timed_out, &self.gated, &self.followed].map(|count| count.load(SeqCst))
    }
}

/// What is stopped: a writer, and readers that wait for it, each in its own way.
fn at_work() {
    let ring = roundelay::open(RingOptions::new(10_000)).unwrap();
    let mut writer = ring.writer().unwrap();
    let mut gate = writer.gate();
    gate.set_publication(Publication::Silent { pace: Duration::from_millis(3) });
    let (counts, over) = (&Counts::default(), &AtomicBool::new(false));
    thread::scope(|scope| {
        let ring = &ring;
        scope.spawn(move || {
            while !over.load(SeqCst) {
                let at = writer.position();
                writer.append(&bytes(at..at + 100)).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
            writer.commit(None).unwrap();
        });
        scope.spawn(move || {
            let reader = ring.reader();
            loop {
                let end = reader.live_edge();
                match reader.wait_range_timeout(end + 50..end + 150, LONG).unwrap() {
                    WaitOutcome::Ready => _ = counts.ready.fetch_add(1, SeqCst),
                    WaitOutcome::TimedOut => {}
                    WaitOutcome::Eof => break,
                    other => panic!("{other:?}"),
                }
            }
        });
        scope.spawn(move || {
            let reader = ring.reader();
            while !over.load(SeqCst) {
                // It never comes within that time.
                let far = reader.live_edge() + 9_000;
                match reader.wait_range_timeout(far..far + 1, Duration::from_millis(5)) {
                    Ok(WaitOutcome::TimedOut) => _ = counts.timed_out.fetch_add(1, SeqCst),
                    // On a machine that stood still, it may.
                    Ok(WaitOutcome::Ready | WaitOutcome::Eof) | Err(StorageError::Evicted { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        scope.spawn(move || {
            let mut buf = [0; 1_000];
            loop {
                let n = gate.read(&mut buf).unwrap();
                if n == 0 {
                    break;
                }
                assert_are(&buf[..n], gate.position() - n as u64);
                counts.gated.fetch_add(1, SeqCst);
            }
        });
        scope.spawn(move || {
            let mut cursor = ring.cursor(OnLap::SkipToOldest);
            let mut buf = [0; 1_000];
            loop {
                match cursor.read_timeout(&mut buf, LONG) {
                    Ok(0) => break,
                    Ok(n) => {
                        assert_are(&buf[..n], cursor.position() - n as u64);
                        counts.followed.fetch_add(1, SeqCst);
                    }
                    Err(StorageError::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        thread::sleep(WATCHED);
        let (memory, before) = (Memory::now(), counts.all());
        eprintln!("stop me now");
        // Said by whoever has stopped and continued this process.
        let _ = std::io::stdin().read_line(&mut String::new());
        let during = counts.all();
        thread::sleep(WATCHED);
        let after = counts.all();
        // Before anything can fail: the others end by that.
        over.store(true, SeqCst);
        assert!((0..4).all(|i| before[i] > 0 && after[i] > during[i]), "{before:?}, {during:?}, {after:?}");
        memory.assert_no_growth();
    });
}

#[test]
fn a_stopped_process_goes_on_where_it_was() {
    if role().is_some() {
        return at_work();
    }
    let mut child = start(a_stopped_process_goes_on_where_it_was, "stopped", &[]);
    let mut said = BufReader::new(child.stderr.take().expect("it is a pipe"));
    let mut line = String::new();
    while line != "stop me now\n" {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it is gone");
    }
    signal(&child, "-STOP");
    thread::sleep(stop_time());
    signal(&child, "-CONT");
    // Closes its standard input, and it goes on.
    drop(child.stdin.take());
    let (tell, told) = std::sync::mpsc::channel();
    let id = child.id();
    thread::spawn(move || tell.send(child.wait_with_output().unwrap()));
    let output = told.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        panic!("it hangs")
    });
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    eprint!("{rest}");
    assert_succeeds(&output);
}
