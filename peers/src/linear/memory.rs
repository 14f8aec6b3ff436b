//! What a store still holds in memory after two million writes that nobody reads.
//!
//! Each store is written by a child process of its own, the same program again, so that no allocator has to tell two
//! stores apart. What is counted are the anonymous pages in memory: both map their file, whose pages the kernel can
//! take back.

use super::{
    ours::Ours,
    store::{Store, StoreReader, StoreWriter, folder},
    theirs::{NAME, Theirs},
};
use crate::{
    buffer::{check, fill},
    race::Races,
};
use clap::ValueEnum;
use std::process::{Command, Stdio};

const WRITES: u64 = 2_000_000;

/// So many come before the first count: whatever a store makes at its first write is there then.
const BEFORE: u64 = 10_000;

/// How many bytes each write adds at the end.
const STEP: usize = 16;

/// The argument that makes a child of this program.
pub const ARGUMENT: &str = "memory-of";

/// Whose memory a child counts.
#[derive(Clone, Copy, ValueEnum)]
pub enum Whose {
    OursAtCommit,
    OursByDefault,
    Theirs,
}

pub fn run(races: &mut Races) {
    let at_commit = ask_child(Whose::OursAtCommit);
    let by_default = ask_child(Whose::OursByDefault);
    let theirs = ask_child(Whose::Theirs);
    races.note(format!(
        "file memory: growth over {WRITES} writes of {STEP} B without a reader: {at_commit} ({}), {by_default} ({}); \
         {NAME}: {theirs}.",
        Ours::AT_COMMIT.name(),
        Ours::by_default().name()
    ));
}

fn ask_child(whose: Whose) -> String {
    let program = std::env::current_exe().expect("this program is a file");
    let whose = whose.to_possible_value().expect("no value is hidden");
    let child = Command::new(program)
        .arg(format!("--{ARGUMENT}"))
        .arg(whose.get_name())
        .stderr(Stdio::inherit())
        .output()
        .expect("this program can be run again");
    assert!(child.status.success(), "the child that counts {} failed", whose.get_name());
    String::from_utf8_lossy(&child.stdout).trim().to_owned()
}

/// What a child does: prints the growth.
pub fn child(whose: Whose) {
    let growth = match whose {
        Whose::OursAtCommit => growth(&Ours::AT_COMMIT),
        Whose::OursByDefault => growth(&Ours::by_default()),
        Whose::Theirs => growth(&Theirs),
    };
    match growth {
        Some(kib) => println!("{kib} KiB"),
        None => println!("not counted on this system"),
    }
}

/// In KiB, if the system says.
fn growth<S: Store>(store: &S) -> Option<i64> {
    let folder = folder();
    let len = (BEFORE + WRITES) * STEP as u64;
    let (mut writer, reader) = store.open(folder.path(), len);
    let mut bytes = [0; STEP];
    let mut write = |i: u64| {
        let offset = i * STEP as u64;
        fill(offset, &mut bytes);
        writer.write(offset, &bytes);
    };
    (0..BEFORE).for_each(&mut write);
    let before = anonymous_kib();
    (BEFORE..BEFORE + WRITES).for_each(&mut write);
    let after = anonymous_kib();

    let mut back = vec![0; len as usize];
    assert!(reader.read(0, &mut back), "{}: not all is there", store.name());
    check(0, &back, &store.name());
    Some(after? - before?)
}

/// The anonymous memory of this process that is in memory now.
fn anonymous_kib() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
