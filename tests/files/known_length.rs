//! A store whose length was given has that length when it is complete, or is not complete.

use crate::{pattern, scratch::Scratch, threads::assert_is};
use roundelay::{
    Driver, DriverIo, MemDriver, MemOptions, MmapDriver, MmapOptions, OpenMode, Resource, ResourceStatus, Span,
    StorageError, open,
};

const LEN: u64 = 100_000;

/// With a hole at its end, and then whole.
fn is_committed_whole_or_not_at_all<D: DriverIo>(resource: &Resource<D>) {
    let mut writer = resource.writer().unwrap();
    for written in [0, 1, LEN - 1] {
        writer.write_at(0, &pattern(0, 0..written)).unwrap();
        let missing = Span { start: written, end: LEN };
        assert_is!(writer.commit(None), Err(StorageError::Hole { hole }) if hole == missing);
        assert_eq!(resource.status(), ResourceStatus::Active);
    }
    // The same by a generation that goes on with it.
    writer.fail(StorageError::other("for now"));
    drop(writer);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    assert_is!(writer.commit(None), Err(StorageError::Hole { .. }));
    writer.append(&pattern(0, LEN - 1..LEN)).unwrap();
    writer.commit(None).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: LEN });
}

/// It published a file that was cut short, and said that all was well.
#[test]
fn a_commit_without_a_length_has_no_hole_at_its_end() {
    let scratch = Scratch::new();
    for mode in [OpenMode::Auto, OpenMode::ReadWrite, OpenMode::Replace] {
        let path = scratch.path(&format!("{mode:?}"));
        let resource = open(MmapOptions { len: Some(LEN), mode, ..MmapOptions::new(&path) }).unwrap();
        let writer = resource.writer();
        assert_is!(writer.unwrap().commit(None), Err(StorageError::Hole { .. }));
        assert!(!path.exists(), "nothing is published");
        drop(resource);
        let resource = open(MmapOptions { len: Some(LEN), mode, ..MmapOptions::new(&path) }).unwrap();
        is_committed_whole_or_not_at_all(&resource);
        assert_eq!(std::fs::read(&path).unwrap(), pattern(0, 0..LEN));
    }
    is_committed_whole_or_not_at_all(&open(MemOptions { len: Some(LEN), ..MemOptions::default() }).unwrap());
}

#[test]
fn a_driver_alone_commits_all_or_nothing() {
    let scratch = Scratch::new();
    let drivers: [Box<dyn DriverIo>; 2] = [
        Box::new(MemDriver::open(MemOptions { len: Some(LEN), ..MemOptions::default() }).unwrap().0),
        Box::new(MmapDriver::open(MmapOptions { len: Some(LEN), ..MmapOptions::new(scratch.path("f")) }).unwrap().0),
    ];
    for driver in drivers {
        driver.write_at(0, &pattern(0, 0..LEN - 7), false).unwrap();
        let missing = Span { start: LEN - 7, end: LEN };
        assert_is!(driver.commit(None), Err(StorageError::Hole { hole }) if hole == missing);
        driver.write_at(LEN - 7, &pattern(0, LEN - 7..LEN), false).unwrap();
        driver.commit(None).unwrap();
        assert_eq!(driver.storage_len(), LEN);
    }
    assert_eq!(scratch.read("f"), pattern(0, 0..LEN));
}

/// Whoever names an end means it.
#[test]
fn a_commit_with_a_length_ends_there() {
    let scratch = Scratch::new();
    let resource = open(MmapOptions { len: Some(LEN), ..MmapOptions::new(scratch.path("f")) }).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(&pattern(0, 0..1000)).unwrap();
    writer.commit(Some(1000)).unwrap();
    assert_eq!(scratch.read("f"), pattern(0, 0..1000));
}
