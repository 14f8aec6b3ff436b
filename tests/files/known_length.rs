//! A store whose length was given has that length when it is complete, or is not complete.

use crate::{pattern, scratch::Scratch, threads::assert_is};
use roundelay::{
    Driver, DriverIo, MAX_OFFSET, MemDriver, MemOptions, MmapDriver, MmapOptions, OpenMode, Resource, ResourceStatus,
    Span, StorageError, open,
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
    // The same in the generation that follows.
    writer.fail(StorageError::other("for now"));
    drop(writer);
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    assert_is!(writer.commit(None), Err(StorageError::Hole { .. }));
    writer.append(&pattern(0, LEN - 1..LEN)).unwrap();
    writer.commit(None).unwrap();
    assert_eq!(resource.status(), ResourceStatus::Committed { final_len: LEN });
}

/// A file that was cut short was published, and the commit returned Ok.
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

/// The length of the generation that was over was counted also where a write begins the next: there was no room, and the
/// write succeeded. After a failure there was room, and no write succeeded.
#[test]
fn room_of_a_committed_file_is_what_a_write_takes() {
    let scratch = Scratch::new();
    let options =
        |name| MmapOptions { len: Some(5), mode: OpenMode::ReadWrite, ..MmapOptions::new(scratch.path(name)) };
    let resource = open(options("f")).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"hello").unwrap();
    assert_eq!(writer.room(), 0);
    writer.commit(None).unwrap();
    assert_eq!(writer.room(), MAX_OFFSET - 5);
    assert_eq!(writer.try_append(b"more").unwrap(), 4);
    assert_eq!(writer.room(), MAX_OFFSET - 9);

    let resource = open(options("g")).unwrap();
    let mut writer = resource.writer().unwrap();
    resource.fail(StorageError::other("gone"));
    assert_eq!(writer.room(), 0);
    assert_is!(writer.try_append(b"hello"), Err(StorageError::Failed(_)));
}
