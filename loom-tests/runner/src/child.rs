//! One run of one model, in a process of its own: a model that deadlocks aborts its process.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

/// What a run came to.
pub struct Outcome {
    pub end: End,
    /// The first line of what the model complained of; empty if it did not.
    pub complaint: String,
    pub executions: u64,
    /// Whether the mutant that was on was ever asked for.
    pub reached: bool,
    pub time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Passed,
    Failed,
    TimedOut,
}

/// Runs `model` with mutant number `mutant` on (0: none). What it prints is kept under `logs`.
pub fn run(program: &Path, model: &str, mutant: u32, limit: Duration, logs: &Path) -> io::Result<Outcome> {
    fs::create_dir_all(logs)?;
    let log = |kind: &str| logs.join(format!("{}-{mutant}.{kind}", model.replace("::", ".")));
    let (out, err) = (log("out"), log("err"));
    let start = Instant::now();
    // Into files, not pipes: a pipe that nobody empties would stop a talkative model.
    let mut child = Command::new(program)
        .arg(model)
        .env("MUTANT", mutant.to_string())
        // The two halves of loom.patch.
        .env("LOOM_WEAK", "1")
        .env("LOOM_FULL", "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()?;
    let mut pause = Duration::from_micros(200);
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() < limit => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            None => {
                child.kill()?;
                child.wait()?;
                break None;
            }
        }
    };
    let time = start.elapsed();
    let said = String::from_utf8_lossy(&fs::read(out)?).into_owned();
    let word = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let executions = word("executions ").and_then(|n| n.parse().ok()).unwrap_or(0);
    let (end, complaint) = match status {
        None => (End::TimedOut, String::new()),
        Some(status) if !status.success() => (End::Failed, complaint(&String::from_utf8_lossy(&fs::read(err)?))),
        // A checker that is off, or blind, is content with anything.
        Some(_) if executions <= 1 => (End::Failed, "one execution: nothing was explored".to_owned()),
        Some(_) => (End::Passed, String::new()),
    };
    Ok(Outcome { end, complaint, executions, reached: word("reached ") == Some("true"), time })
}

/// The message of the first panic. Later ones are its echoes: a thread that unwinds drops what others still hold.
fn complaint(stderr: &str) -> String {
    let mut lines = stderr.lines();
    let first = lines.clone().find(|line| !line.trim().is_empty()).unwrap_or("");
    match lines.find(|line| line.contains(" panicked at ")) {
        Some(_) => lines.next().unwrap_or("").trim().to_owned(),
        None => first.trim().to_owned(),
    }
}
