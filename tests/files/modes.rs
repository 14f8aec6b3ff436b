//! Who wins: the file, the unfinished file, or neither, in each mode; and what a commit may take the place of.

use crate::{
    alone::alone, assert_same, finish, in_words, options, pattern, read_all, refusal, resuming, scratch::Scratch,
    threads::assert_is,
};
use roundelay::{
    Driver, DriverIo, IndexProblem, Leftover, MmapDriver, MmapOptions, OpenMode, ResourceStatus, StorageError, open,
};
use std::fs;

const WHOLE: u64 = 300;
const BEGUN: u64 = 200;

/// `f` and `f.part`, as asked for.
fn place(whole: bool, begun: bool) -> Scratch {
    let scratch = Scratch::new();
    if begun {
        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        resource.writer().unwrap().append(&pattern(2, 0..BEGUN)).unwrap();
    }
    if whole {
        scratch.write("f", &pattern(1, 0..WHOLE));
    }
    scratch
}

/// All files of the folder, with their bytes.
fn snapshot(scratch: &Scratch) -> Vec<(String, Vec<u8>)> {
    scratch.names().into_iter().map(|name| (name.clone(), scratch.read(&name))).collect()
}

#[test]
fn the_file_wins_unless_it_is_to_be_replaced() {
    use OpenMode::*;
    #[derive(PartialEq)]
    enum Wins {
        Whole,
        Begun,
        New,
        Nobody,
    }
    for (whole, begun) in [(false, false), (true, false), (false, true), (true, true)] {
        for mode in [Auto, ReadWrite, ReadOnly, Replace] {
            let case = format!("{mode:?}, whole: {whole}, begun: {begun}");
            let scratch = place(whole, begun);
            let before = snapshot(&scratch);
            let wins = match (mode, whole, begun) {
                (Auto | ReadWrite | ReadOnly, true, _) => Wins::Whole,
                (ReadOnly, false, _) => Wins::Nobody,
                (_, _, true) => Wins::Begun,
                _ => Wins::New,
            };
            if wins == Wins::Nobody {
                match open(resuming(scratch.path("f"), mode)) {
                    Err(StorageError::Unfinished { path, part, pid: None }) if begun => {
                        assert_eq!((path, part), (scratch.path("f"), scratch.path("f.part")));
                    }
                    Err(error) if !begun => {
                        let message = in_words(&error, &scratch.path("f"));
                        assert!(message.starts_with("cannot open NAME: "), "{message}");
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(snapshot(&scratch), before, "{case}");
                continue;
            }
            let resource = open(resuming(scratch.path("f"), mode)).unwrap();
            let (status, bytes, leftover) = match wins {
                Wins::Whole => (ResourceStatus::Committed { final_len: WHOLE }, pattern(1, 0..WHOLE), Leftover::None),
                Wins::Begun => {
                    let leftover = Leftover::Resumed { bytes: BEGUN, dropped: 0 };
                    (ResourceStatus::Active, pattern(2, 0..BEGUN), leftover)
                }
                _ => (ResourceStatus::Active, Vec::new(), Leftover::None),
            };
            assert_eq!(resource.status(), status, "{case}");
            assert_eq!(read_all(&resource.reader()), bytes, "{case}");
            assert_eq!(resource.leftover(), leftover, "{case}");
            assert_eq!(resource.path(), Some(scratch.path("f")));
            drop(resource);
            let after = snapshot(&scratch);
            if wins == Wins::Begun {
                // It may have grown, and has not lost a byte.
                for ((name, before), (_, after)) in before.iter().zip(&after) {
                    assert!(after.starts_with(before), "{case}: {name}");
                }
                assert_eq!(before.len(), after.len(), "{case}");
            } else {
                assert_eq!(after, before, "{case}: nothing was written, and something changed");
            }
        }
    }
}

#[test]
fn a_file_is_replaced_at_the_commit_and_not_before() {
    for begun in [false, true] {
        let scratch = place(true, begun);
        let resource = open(resuming(scratch.path("f"), OpenMode::Replace)).unwrap();
        let start = if begun { BEGUN } else { 0 };
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(2, start..1000)).unwrap();
        resource.flush().unwrap();
        assert_same(scratch.read("f"), pattern(1, 0..WHOLE));
        writer.commit(None).unwrap();
        assert_same(scratch.read("f"), pattern(2, 0..1000));
        assert_eq!(scratch.names(), ["f"]);
    }
}

#[test]
fn a_committed_file_takes_writes_in_one_mode_only_and_else_nothing_changes() {
    for mode in [OpenMode::Auto, OpenMode::ReadOnly] {
        let scratch = place(true, true);
        let before = snapshot(&scratch);
        let resource = open(options(scratch.path("f"), mode)).unwrap();
        assert_is!(resource.writer(), Err(StorageError::Committed));
        if mode == OpenMode::ReadOnly {
            assert_is!(resource.reactivate(), Err(StorageError::ReadOnly));
            assert_eq!(StorageError::ReadOnly.to_string(), "the file was opened to be read only");
        }
        assert_eq!(resource.status(), ResourceStatus::Committed { final_len: WHOLE });
        drop(resource);
        let (driver, _) = MmapDriver::open(options(scratch.path("f"), mode)).unwrap();
        for committed in [false, true] {
            match driver.write_at(0, b"x", committed) {
                Err(StorageError::Committed) if mode == OpenMode::Auto => {}
                Err(StorageError::ReadOnly) if mode == OpenMode::ReadOnly => {}
                other => panic!("{other:?}"),
            }
        }
        assert_is!(driver.commit(None), Err(StorageError::Committed));
        assert_eq!(snapshot(&scratch), before);
    }
    let scratch = place(true, false);
    let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(10, b"new").unwrap();
    assert_same(scratch.read("f"), pattern(1, 0..WHOLE));
    writer.commit(None).unwrap();
    let mut changed = pattern(1, 0..WHOLE);
    changed[10..13].copy_from_slice(b"new");
    assert_same(scratch.read("f"), changed);
    assert_eq!(scratch.names(), ["f"]);
}

/// What a rewrite has written is of no use to anybody without the rest.
#[test]
fn a_rewrite_that_is_given_up_leaves_nothing() {
    let scratch = place(true, false);
    let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(10, b"new").unwrap();
    drop((writer, resource));
    assert_eq!(snapshot(&scratch), [("f".to_owned(), pattern(1, 0..WHOLE))]);
}

#[test]
fn a_rewrite_that_was_killed_is_forgotten() {
    let scratch = place(true, false);
    let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(10, b"killed").unwrap();
    resource.flush().unwrap();
    let killed = Scratch::new();
    for (name, bytes) in snapshot(&scratch) {
        killed.write(&name, &bytes);
    }
    assert_eq!(killed.names(), ["f", "f.part", "f.part.index"]);
    let resource = open(options(killed.path("f"), OpenMode::ReadWrite)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, b"new").unwrap();
    writer.commit(None).unwrap();
    let mut changed = pattern(1, 0..WHOLE);
    changed[..3].copy_from_slice(b"new");
    assert_eq!(snapshot(&killed), [("f".to_owned(), changed)]);
}

/// It was renamed without a word.
#[test]
fn a_rewrite_sets_an_unfinished_download_aside_and_says_so() {
    let scratch = place(true, true);
    let begun = scratch.read("f.part");
    let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
    assert_eq!(resource.leftover(), Leftover::None);
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, b"new").unwrap();
    assert_eq!(resource.leftover(), Leftover::SetAside { why: IndexProblem::InTheWay });
    assert_same(scratch.read("f.part.old"), begun);
    writer.commit(None).unwrap();
    assert_eq!(scratch.names(), ["f"]);
    assert_eq!(&scratch.read("f")[..3], b"new");
}

/// A file that has appeared under the name since the open is somebody else's.
#[test]
fn a_file_that_has_appeared_meanwhile_is_not_replaced() {
    // At the end of what was written, and below it.
    for len in [1000, 500] {
        let scratch = Scratch::new();
        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(2, 0..1000)).unwrap();
        scratch.write("f", b"theirs");
        let error = writer.commit(Some(len)).unwrap_err();
        assert_eq!(
            in_words(&error, &scratch.path("f")),
            "the resource failed: cannot publish NAME: File exists (os error 17)"
        );
        assert_is!(resource.status(), ResourceStatus::Failed(_));
        assert_eq!(read_all(&resource.reader()), pattern(2, 0..1000), "nothing was dropped");
        drop((writer, resource));
        assert_eq!(scratch.read("f"), b"theirs");
        assert_eq!(scratch.names(), ["f", "f.part", "f.part.index"]);
        // Once that is out of the way, nothing has to be fetched again.
        fs::remove_file(scratch.path("f")).unwrap();
        let resource = open(resuming(scratch.path("f"), OpenMode::Auto)).unwrap();
        assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 1000, dropped: 0 });
        resource.writer().unwrap().commit(None).unwrap();
        assert_same(scratch.read("f"), pattern(2, 0..1000));
        assert_eq!(scratch.names(), ["f"]);
    }
}

/// The commit had cut the file to its length before it found the name taken; what was reserved behind that was
/// believed to be there still, and the next write died of a signal.
#[test]
fn a_resource_whose_commit_failed_can_be_written_on() {
    alone(a_resource_whose_commit_failed_can_be_written_on, || {
        for len in [None, Some(200_000)] {
            let scratch = Scratch::new();
            let resource = open(MmapOptions { len, ..MmapOptions::new(scratch.path("f")) }).unwrap();
            let mut writer = resource.writer().unwrap();
            writer.append(&pattern(2, 0..10)).unwrap();
            scratch.write("f", b"theirs");
            assert_is!(writer.commit(Some(10)), Err(StorageError::Failed(_)));
            drop(writer);
            resource.reactivate().unwrap();
            fs::remove_file(scratch.path("f")).unwrap();
            finish(&resource, &pattern(2, 10..200_000));
            assert_same(scratch.read("f"), pattern(2, 0..200_000));
            assert_eq!(scratch.names(), ["f"]);
        }
    });
}

/// As above, by whoever uses the driver alone.
#[test]
fn a_driver_whose_commit_failed_can_be_written_on() {
    alone(a_driver_whose_commit_failed_can_be_written_on, || {
        let scratch = Scratch::new();
        let (driver, _) = MmapDriver::open(MmapOptions::new(scratch.path("f"))).unwrap();
        driver.write_at(0, &pattern(2, 0..10), false).unwrap();
        scratch.write("f", b"theirs");
        assert_is!(driver.commit(None), Err(StorageError::File { .. }));
        driver.write_at(10, &pattern(2, 10..20_000), false).unwrap();
        fs::remove_file(scratch.path("f")).unwrap();
        driver.commit(None).unwrap();
        assert_same(scratch.read("f"), pattern(2, 0..20_000));
    });
}

/// The length that was wanted was forgotten when there was a file.
#[test]
fn a_committed_file_of_another_length_is_refused() {
    let scratch = place(true, false);
    for mode in [OpenMode::Auto, OpenMode::ReadWrite, OpenMode::ReadOnly] {
        for len in [0, WHOLE - 1, WHOLE + 1] {
            let wanted = MmapOptions { len: Some(len), ..options(scratch.path("f"), mode) };
            assert_eq!(refusal(wanted), format!("NAME has {WHOLE} bytes, and {len} were wanted"));
        }
        open(MmapOptions { len: Some(WHOLE), ..options(scratch.path("f"), mode) }).unwrap();
    }
    assert_eq!(snapshot(&scratch), [("f".to_owned(), pattern(1, 0..WHOLE))]);
}

#[test]
fn a_folder_that_has_appeared_under_the_name_is_not_replaced() {
    for mode in [OpenMode::Auto, OpenMode::Replace] {
        let scratch = Scratch::new();
        let resource = open(options(scratch.path("f"), mode)).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(2, 0..1000)).unwrap();
        fs::create_dir(scratch.path("f")).unwrap();
        assert_is!(writer.commit(None), Err(StorageError::Failed(reason))
            if in_words(&reason, &scratch.path("f")).starts_with("cannot publish NAME: "));
        drop((writer, resource));
        assert_eq!(scratch.names(), ["f", "f.part", "f.part.index"]);
        assert!(scratch.path("f").is_dir());
    }
}
