//! Files and disks as they are found in the wild: full, read-only, damaged, somebody else's, raced for. Whatever
//! happens is a clear error, what others have is unharmed, and nothing is left that was not there.
#![cfg(target_os = "linux")]

mod full_disk;
mod generations;
mod known_length;
mod leftovers;
mod limits;
mod modes;
mod paths;
mod resume;
mod unsynced;
mod writers;

#[path = "../alone/mod.rs"]
mod alone;
#[path = "../linear/scratch.rs"]
mod scratch;
#[path = "../threads/mod.rs"]
mod threads;

use roundelay::{DriverIo, MmapDriver, MmapOptions, OpenMode, Reader, Resource, Resume, StorageError, open};
use std::{ops::Range, path::Path, time::Duration};

/// The bytes of a file from `range.start` on, different from those of another one by their `seed`.
fn pattern(seed: u8, range: Range<u64>) -> Vec<u8> {
    range.map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ seed).collect()
}

/// The bytes of `range`, which are all there.
fn read<D: DriverIo>(reader: &Reader<D>, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = reader.read_at_timeout(range.start, &mut bytes, Duration::ZERO).unwrap();
    assert_eq!(read, bytes.len(), "of {range:?}");
    bytes
}

/// All that can be read, from the start to the end of what is there without a gap.
fn read_all<D: DriverIo>(reader: &Reader<D>) -> Vec<u8> {
    let mut bytes = vec![0; reader.live_edge() as usize];
    let mut done = 0;
    while done < bytes.len() {
        match reader.read_at_timeout(done as u64, &mut bytes[done..], Duration::ZERO) {
            Ok(0) | Err(StorageError::TimedOut | StorageError::Failed(_) | StorageError::Cancelled) => break,
            Ok(n) => done += n,
            Err(error) => panic!("at {done}: {error}"),
        }
    }
    bytes.truncate(done);
    bytes
}

/// Fails with the place where they differ, not with all the bytes.
#[track_caller]
fn assert_same(found: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
    let (found, expected) = (found.as_ref(), expected.as_ref());
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{} bytes, and {} were expected; they differ from {differs:?} on",
        found.len(),
        expected.len()
    );
}

fn options(path: impl AsRef<Path>, mode: OpenMode) -> MmapOptions {
    MmapOptions { mode, ..MmapOptions::new(path.as_ref()) }
}

/// The same, to resume whatever unfinished file there is.
fn resuming(path: impl AsRef<Path>, mode: OpenMode) -> MmapOptions {
    MmapOptions { resume: Resume::AnyTag, ..options(path, mode) }
}

/// What is wrong with opening it, in words; with the path left out.
fn refusal(options: MmapOptions) -> String {
    let path = options.path.clone();
    match open(options) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => in_words(&error, &path),
    }
}

/// An error's message, with NAME in place of `path`.
fn in_words(error: &StorageError, path: &Path) -> String {
    let (message, path) = (error.to_string(), path.display().to_string());
    if path.is_empty() { message } else { message.replace(&path, "NAME") }
}

/// Writes `data` at the end and commits.
fn finish(resource: &Resource<MmapDriver>, data: &[u8]) {
    let mut writer = resource.writer().unwrap();
    writer.append(data).unwrap();
    writer.commit(None).unwrap();
}
