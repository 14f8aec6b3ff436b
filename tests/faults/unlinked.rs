//! Files that are removed while they are used.

use crate::{
    assert_are, bytes,
    scratch::Scratch,
    threads::{assert_is, must_end},
};
use roundelay::{MmapDriver, MmapOptions, OpenMode, Resource, ResourceStatus, StorageError, open};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

const LEN: u64 = 300_000;

fn part(scratch: &Scratch, len: Option<u64>) -> Resource<MmapDriver> {
    open(MmapOptions { len, flush_every_bytes: Some(50_000), ..MmapOptions::new(scratch.path("f")) }).unwrap()
}

fn reads_all(resource: &Resource<MmapDriver>, len: u64) {
    let mut all = vec![0; len as usize];
    assert_eq!(resource.reader().read_at(0, &mut all).unwrap(), all.len());
    assert_are(&all, 0);
}

/// Its bytes stay there for those who have it open. It cannot get its name any more, and says so.
#[test]
fn an_unfinished_file_that_is_removed_can_be_written_and_read_and_not_committed() {
    must_end(|| {
        for names in [&["f.part"][..], &["f.part", "f.part.index"]] {
            for len in [None, Some(LEN)] {
                let scratch = Scratch::new();
                let resource = part(&scratch, len);
                let mut writer = resource.writer().unwrap();
                writer.append(&bytes(0..100_000)).unwrap();
                for name in names {
                    fs::remove_file(scratch.path(name)).unwrap();
                }
                // Across several flushes, and beyond what was reserved, if it did not know how long it would be.
                for at in (100_000..LEN).step_by(10_000) {
                    writer.append(&bytes(at..at + 10_000)).unwrap();
                }
                assert_is!(resource.flush(), Err(StorageError::Removed { path }) if path == scratch.path("f.part"));
                reads_all(&resource, LEN);
                assert_is!(writer.commit(None), Err(StorageError::Failed(reason))
                    if matches!(&*reason, StorageError::Removed { .. }));
                assert_is!(resource.status(), ResourceStatus::Failed(_));
                reads_all(&resource, LEN);
                drop(writer);
                // Nobody else's file gets the name, and none is made of nothing.
                assert!(!scratch.path("f").exists());
                drop(resource);
                assert!(!scratch.names().contains(&"f".into()));
                let next = part(&scratch, len);
                let mut writer = next.writer().unwrap();
                for at in (0..LEN).step_by(50_000) {
                    writer.write_at(at, &bytes(at..at + 50_000)).unwrap();
                }
                writer.commit(None).unwrap();
                assert_are(&scratch.read("f"), 0);
            }
        }
    });
}

#[test]
fn an_index_that_is_removed_costs_no_byte_of_a_download_that_ends() {
    let scratch = Scratch::new();
    let resource = part(&scratch, Some(LEN));
    let mut writer = resource.writer().unwrap();
    writer.append(&bytes(0..100_000)).unwrap();
    resource.flush().unwrap();
    fs::remove_file(scratch.path("f.part.index")).unwrap();
    writer.append(&bytes(100_000..LEN)).unwrap();
    // Nothing of it could be resumed.
    assert_is!(resource.flush(), Err(StorageError::Removed { path }) if path == scratch.path("f.part.index"));
    writer.commit(None).unwrap();
    assert_are(&scratch.read("f"), 0);
    assert_eq!(scratch.names(), ["f"]);
}

/// A flush said that all was kept, of a file that had been renamed and of one in whose place another lay.
#[test]
fn a_flush_tells_that_the_file_has_lost_its_name() {
    let scratch = Scratch::new();
    let resource = part(&scratch, None);
    let mut writer = resource.writer().unwrap();
    writer.append(&bytes(0..100_000)).unwrap();
    resource.flush().unwrap();
    fs::rename(scratch.path("f.part"), scratch.path("elsewhere")).unwrap();
    for _ in 0..2 {
        // Also with nothing new to flush.
        let error = resource.flush().unwrap_err().to_string();
        assert!(error.ends_with("was removed or renamed while it was written; what was written cannot be resumed"));
        scratch.write("f.part", b"another");
    }
    fs::rename(scratch.path("elsewhere"), scratch.path("f.part")).unwrap();
    writer.append(&bytes(100_000..LEN)).unwrap();
    resource.flush().unwrap();
    writer.commit(None).unwrap();
    assert_are(&scratch.read("f"), 0);
}

/// Whoever reads it keeps it, whatever has its name by then.
#[test]
fn a_committed_file_that_is_removed_or_replaced_is_read_on() {
    let scratch = Scratch::new();
    let written = part(&scratch, Some(LEN));
    let mut writer = written.writer().unwrap();
    writer.append(&bytes(0..LEN)).unwrap();
    writer.commit(None).unwrap();
    let opened = open(MmapOptions { mode: OpenMode::ReadOnly, ..MmapOptions::new(scratch.path("f")) }).unwrap();
    fs::remove_file(scratch.path("f")).unwrap();
    scratch.write("f", b"another one");
    for resource in [&written, &opened] {
        reads_all(resource, LEN);
        assert_eq!(resource.status(), ResourceStatus::Committed { final_len: LEN });
    }
    fs::remove_file(scratch.path("f")).unwrap();
    reads_all(&opened, LEN);
    drop((writer, written, opened));
    assert_eq!(scratch.names(), [""; 0], "nothing comes back");
}

/// It is removed at any moment of a download, its commit included: the file is whole, or there is an error and no file.
#[test]
fn a_file_that_is_removed_at_any_moment_is_whole_or_an_error() {
    must_end(|| {
        let (mut committed, mut failed) = (0, 0);
        for round in 0..200 {
            let scratch = Scratch::new();
            let over = AtomicBool::new(false);
            let result = thread::scope(|scope| {
                let (resource, part) = (part(&scratch, None), scratch.path("f.part"));
                let over = &over;
                scope.spawn(move || {
                    while !over.load(SeqCst) {
                        // So that it falls before, into and behind the commit.
                        for _ in 0..round * 200 {
                            std::hint::spin_loop();
                        }
                        let _ = fs::remove_file(&part);
                    }
                });
                let mut writer = resource.writer().unwrap();
                let written = writer.append(&bytes(0..20_000)).and_then(|()| writer.commit(None));
                over.store(true, SeqCst);
                reads_all(&resource, 20_000);
                written
            });
            match result {
                Ok(()) => {
                    committed += 1;
                    assert_are(&scratch.read("f"), 0);
                    assert_eq!(scratch.names(), ["f"]);
                }
                Err(StorageError::Failed(_)) => {
                    failed += 1;
                    assert!(!scratch.path("f").exists());
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(failed > 0, "{committed} committed, {failed} failed");
    });
}
