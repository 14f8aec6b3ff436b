//! Several writers of one path: one of them has it, the others are told so; whatever the race, the file is whole.

use crate::{
    alone::{assert_succeeds, role, start},
    assert_same, finish, in_words, options, pattern, read_all, resuming,
    scratch::Scratch,
    threads::{assert_is, must_end},
};
use roundelay::{Leftover, MmapDriver, MmapOptions, OpenMode, Resource, ResourceStatus, StorageError, open};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::Duration,
};

/// Where the other process finds the folder of the test.
const FOLDER: &str = "ROUNDELAY_TEST_FOLDER";

/// Starts this test once more, in another process.
fn start_in<F: Fn() + Copy>(test: F, role: &str, scratch: &Scratch) -> Child {
    start(test, role, &[(FOLDER, scratch.path("").as_os_str())])
}

fn folder() -> PathBuf {
    env::var_os(FOLDER).expect("the test says where").into()
}

fn succeeds(child: Child) {
    assert_succeeds(&child.wait_with_output().unwrap());
}

fn wait_for(path: &Path) {
    while !path.exists() {
        thread::sleep(Duration::from_millis(1));
    }
}

const WRITING: [OpenMode; 3] = [OpenMode::Auto, OpenMode::ReadWrite, OpenMode::Replace];

/// Tries to write what process `pid` is writing.
fn is_refused(path: &Path, pid: u32) {
    let writer = if pid == std::process::id() { "this process".into() } else { format!("process {pid}") };
    for mode in WRITING {
        // Also with another length and another tag, which must not set the file aside.
        for (len, tag) in [(None, "v1"), (Some(10), "v1"), (None, "v2")] {
            let options = MmapOptions { len, tag: tag.into(), ..options(path, mode) };
            let error = open(options).unwrap_err();
            assert_is!(&error, StorageError::Locked { pid: Some(found), .. } if *found == pid);
            let expected = format!("NAME.part is being written by {writer}; try again when that has finished");
            assert_eq!(in_words(&error, path), expected);
        }
    }
}

#[test]
fn a_second_writer_is_refused_and_the_first_is_unharmed() {
    match role().as_deref() {
        Some("second writer") => is_refused(&folder().join("f"), std::os::unix::process::parent_id()),
        _ => {
            let scratch = Scratch::new();
            let resource = open(MmapOptions { tag: b"v1".to_vec(), ..MmapOptions::new(scratch.path("f")) }).unwrap();
            let mut writer = resource.writer().unwrap();
            writer.append(&pattern(0, 0..100_000)).unwrap();
            resource.flush().unwrap();
            is_refused(&scratch.path("f"), std::process::id());
            succeeds(start_in(a_second_writer_is_refused_and_the_first_is_unharmed, "second writer", &scratch));
            assert_eq!(scratch.names(), ["f.part", "f.part.index"]);
            writer.append(&pattern(0, 100_000..300_000)).unwrap();
            writer.commit(None).unwrap();
            assert_same(scratch.read("f"), pattern(0, 0..300_000));
            assert_eq!(scratch.names(), ["f"]);
        }
    }
}

/// Two who have the file as committed begin a next generation: the second is refused, and reads on.
#[test]
fn a_second_rewrite_is_refused_and_can_be_tried_again() {
    let scratch = Scratch::new();
    scratch.write("f", b"committed");
    let (first, second) = (
        open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap(),
        open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap(),
    );
    let (mut one, mut two) = (first.writer().unwrap(), second.writer().unwrap());
    one.write_at(0, b"C").unwrap();
    assert_is!(two.write_at(0, b"X"), Err(StorageError::Locked { .. }));
    assert_eq!(second.status(), ResourceStatus::Committed { final_len: 9 });
    assert_eq!(read_all(&second.reader()), b"committed");
    one.commit(None).unwrap();
    assert_eq!(scratch.read("f"), b"Committed");
    two.write_at(8, b"D").unwrap();
    two.commit(None).unwrap();
    assert_eq!(scratch.read("f"), b"committeD", "it is the next generation of what it has read");
    assert_eq!(scratch.names(), ["f"]);
}

/// Between the rename of its data and the removal of its index: whoever begins anew in that moment would have his index
/// removed.
#[test]
fn whoever_is_about_to_finish_is_not_run_into() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let resource = open(MmapOptions::new(other.path("f"))).unwrap();
    resource.writer().unwrap().append(b"begun").unwrap();
    drop(resource);
    let index = other.read("f.part.index");
    scratch.write("f.part.index", &index);
    let held = fs::File::open(scratch.path("f.part.index")).unwrap();
    held.try_lock().unwrap();
    for mode in WRITING {
        let error = open(options(scratch.path("f"), mode)).unwrap_err();
        assert_eq!(
            in_words(&error, &scratch.path("f")),
            "NAME.part.index is being written by this process; try again when that has finished"
        );
        assert_eq!((scratch.names(), scratch.read("f.part.index")), (vec!["f.part.index".to_owned()], index.clone()));
    }
    drop(held);
    finish(&open(MmapOptions::new(scratch.path("f"))).unwrap(), b"anew");
    assert_eq!(scratch.read("f"), b"anew");
}

// ---- races ----

/// A file that says itself how long it is, and whose it is.
fn signed(seed: u8, round: u64) -> Vec<u8> {
    let len = 16 + round.wrapping_mul(0x9e37_79b9) % 100_000;
    let mut bytes = pattern(seed, 0..len);
    bytes[..8].copy_from_slice(&len.to_le_bytes());
    bytes[8] = seed;
    bytes
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some((len, rest)) = bytes.split_first_chunk() else { return false };
    let len = u64::from_le_bytes(*len);
    len == bytes.len() as u64 && rest[1..] == pattern(rest[0], 0..len)[9..]
}

/// Writes the file again and again, and gives up now and then, with and without something that survives, so that
/// `NAME.part` is renamed, set aside and removed under the other one's lock.
fn write_again_and_again(path: &Path, seed: u8) {
    let (mut commits, mut opened) = (0, 0);
    for round in 0.. {
        let tag = vec![seed * u8::from(opened % 3 == 0)];
        let resource = match open(MmapOptions { tag, ..resuming(path, OpenMode::Replace) }) {
            Ok(resource) => resource,
            Err(StorageError::Locked { .. }) => continue,
            Err(error) => panic!("round {round} of {seed}: {error}"),
        };
        opened += 1;
        let mut writer = resource.writer().unwrap();
        let data = signed(seed, opened);
        match (opened % 5, writer.position()) {
            (0, 0) => drop(writer),
            (1, 0) => {
                writer.append(&data).unwrap();
                resource.flush().unwrap();
            }
            (_, 0) => {
                writer.append(&data).unwrap();
                writer.commit(None).unwrap();
                commits += 1;
            }
            _ => {
                // It is all there but for the commit.
                assert!(is_whole(&read_all(&resource.reader())), "round {round} of {seed}");
                writer.commit(None).unwrap();
                commits += 1;
            }
        }
        if commits == ROUNDS {
            return;
        }
    }
}

const ROUNDS: u64 = 100;

#[test]
fn whoever_wins_the_race_the_file_is_whole() {
    match role().as_deref() {
        Some("rival") => must_end(|| write_again_and_again(&folder().join("f"), 2)),
        _ => {
            let scratch = Scratch::new();
            let rival = start_in(whoever_wins_the_race_the_file_is_whole, "rival", &scratch);
            thread::scope(|scope| {
                let ours = scope.spawn(|| write_again_and_again(&scratch.path("f"), 1));
                while !ours.is_finished() {
                    if let Ok(bytes) = fs::read(scratch.path("f")) {
                        assert!(is_whole(&bytes), "{} bytes were found under the name", bytes.len());
                        // A reader that maps it keeps it, too.
                        let resource = open(options(scratch.path("f"), OpenMode::ReadOnly)).unwrap();
                        assert!(is_whole(&read_all(&resource.reader())));
                    }
                }
            });
            succeeds(rival);
            assert!(is_whole(&scratch.read("f")));
        }
    }
}

/// The first to have it commits; the other finds it locked or committed, never half, and never commits over it.
fn race_for_each(folder: &Path, seed: u8) {
    for round in 0..ROUNDS {
        let path = folder.join(round.to_string());
        loop {
            let resource = match open(MmapOptions::new(&path)) {
                Ok(resource) => resource,
                Err(StorageError::Locked { .. }) => continue,
                Err(error) => panic!("round {round} of {seed}: {error}"),
            };
            if resource.status() == ResourceStatus::Active {
                finish(&resource, &signed(seed, round));
            }
            assert!(is_whole(&read_all(&resource.reader())), "round {round} of {seed}");
            break;
        }
        // To the next one together.
        fs::write(folder.join(format!("{round} {seed}")), b"").unwrap();
        while !folder.join(format!("{round} {}", 3 - seed)).exists() {
            std::hint::spin_loop();
        }
    }
}

#[test]
fn two_that_open_while_one_commits_agree_on_the_file() {
    match role().as_deref() {
        Some("rival") => must_end(|| race_for_each(&folder(), 2)),
        _ => {
            let scratch = Scratch::new();
            let rival = start_in(two_that_open_while_one_commits_agree_on_the_file, "rival", &scratch);
            race_for_each(&scratch.path(""), 1);
            succeeds(rival);
            for round in 0..ROUNDS {
                assert!(is_whole(&scratch.read(&round.to_string())), "round {round}");
            }
            assert_eq!(scratch.names().len() as u64, 3 * ROUNDS, "nothing was left");
        }
    }
}

// ---- a file that was taken away ----

/// Somebody has removed the unfinished file, and another writer has begun anew under its name.
fn taken_away(scratch: &Scratch) -> [Resource<MmapDriver>; 2] {
    let first = open(MmapOptions::new(scratch.path("f"))).unwrap();
    fs::remove_file(scratch.path("f.part")).unwrap();
    fs::remove_file(scratch.path("f.part.index")).unwrap();
    [first, open(MmapOptions::new(scratch.path("f"))).unwrap()]
}

/// The commit renamed what had the name, and that was the other one's file, half written.
#[test]
fn a_commit_publishes_its_own_file_or_none() {
    let scratch = Scratch::new();
    let [first, second] = taken_away(&scratch);
    let (mut one, mut two) = (first.writer().unwrap(), second.writer().unwrap());
    one.append(&pattern(1, 0..1000)).unwrap();
    two.append(&pattern(2, 0..500)).unwrap();
    assert_is!(one.commit(None), Err(StorageError::Failed(_)));
    drop((one, first));
    two.append(&pattern(2, 500..1000)).unwrap();
    two.commit(None).unwrap();
    assert_same(scratch.read("f"), pattern(2, 0..1000));
    assert_eq!(scratch.names(), ["f"]);
}

/// The index was removed by its name, which was by then that of whoever had begun next.
#[test]
fn a_commit_removes_its_own_index_or_none() {
    let scratch = Scratch::new();
    let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
    fs::remove_file(scratch.path("f.part.index")).unwrap();
    scratch.write("f.part.index", b"theirs");
    finish(&resource, &pattern(1, 0..1000));
    assert_same(scratch.read("f"), pattern(1, 0..1000));
    assert_eq!(scratch.names(), ["f", "f.part.index"]);
    assert_eq!(scratch.read("f.part.index"), b"theirs");
}

/// A store of which nothing would survive removes what has its name, and that was the other one's file.
#[test]
fn a_store_that_is_given_up_removes_its_own_file_or_none() {
    let scratch = Scratch::new();
    let [first, second] = taken_away(&scratch);
    let mut two = second.writer().unwrap();
    two.append(&pattern(2, 0..500)).unwrap();
    drop(first);
    assert_eq!(scratch.names(), ["f.part", "f.part.index"]);
    two.commit(None).unwrap();
    assert_same(scratch.read("f"), pattern(2, 0..500));
}

#[test]
fn a_lock_dies_with_its_process() {
    match role().as_deref() {
        Some("killed") => {
            let resource = open(MmapOptions::new(folder().join("f"))).unwrap();
            let mut writer = resource.writer().unwrap();
            writer.append(&pattern(0, 0..1000)).unwrap();
            resource.flush().unwrap();
            writer.append(&pattern(0, 1000..2000)).unwrap();
            fs::write(folder().join("ready"), b"").unwrap();
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        _ => {
            let scratch = Scratch::new();
            let mut killed = start_in(a_lock_dies_with_its_process, "killed", &scratch);
            wait_for(&scratch.path("ready"));
            is_refused(&scratch.path("f"), killed.id());
            // A reader is told as well, and not that there is no such file.
            let error = open(options(scratch.path("f"), OpenMode::ReadOnly)).unwrap_err();
            let message = "NAME is not complete: process PID writes it, to NAME.part; try again when that has finished";
            assert_eq!(in_words(&error, &scratch.path("f")), message.replace("PID", &killed.id().to_string()));
            killed.kill().unwrap();
            killed.wait().unwrap();
            let error = open(options(scratch.path("f"), OpenMode::ReadOnly)).unwrap_err();
            assert_is!(&error, StorageError::Unfinished { pid: None, .. });
            let message = "NAME is not complete: NAME.part holds what has been written of it; finish it first";
            assert_eq!(in_words(&error, &scratch.path("f")), message);
            let resource = open(resuming(scratch.path("f"), OpenMode::Auto)).unwrap();
            assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 1000, dropped: 0 });
            finish(&resource, &pattern(0, 1000..2000));
            assert_same(scratch.read("f"), pattern(0, 0..2000));
        }
    }
}
