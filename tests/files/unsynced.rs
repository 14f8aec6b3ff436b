//! What the medium does not take: a sync that fails is not forgotten, and what is published stays as it is.

use crate::{
    alone::{alone, deny_sync_of, next_file},
    assert_same, in_words, pattern, read_all,
    scratch::Scratch,
    threads::assert_is,
};
use roundelay::{MmapOptions, ResourceStatus, StorageError, open};
use std::fs::File;

/// The file had its name, and only the folder could not be synced; whoever wrote on wrote into that file, and grew it.
#[test]
fn a_commit_that_has_published_does_not_write_into_the_file_any_more() {
    alone(a_commit_that_has_published_does_not_write_into_the_file_any_more, || {
        let scratch = Scratch::new();
        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(1, 0..1000)).unwrap();
        // The folder.
        let number = next_file();
        deny_sync_of(number);
        assert_is!(writer.commit(None), Err(StorageError::Failed(reason)) if reason.to_string().contains("cannot sync "));
        assert_same(scratch.read("f"), pattern(1, 0..1000));
        drop(writer);
        // Its number goes to no other file.
        let _taken: Vec<_> = (0..=number).map(|_| File::open("/dev/null").unwrap()).collect();
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(1, 1000..20_000)).unwrap();
        assert_same(scratch.read("f"), pattern(1, 0..1000));
        writer.commit(None).unwrap();
        assert_same(scratch.read("f"), pattern(1, 0..20_000));
    });
}

/// The system says once that pages were lost, and the second commit would have published the file without them.
#[test]
fn a_commit_that_could_not_sync_is_followed_by_none_that_can() {
    alone(a_commit_that_could_not_sync_is_followed_by_none_that_can, || {
        let scratch = Scratch::new();
        // The unfinished file.
        deny_sync_of(next_file());
        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(1, 0..1000)).unwrap();
        let commit_error = |error| in_words(&error, &scratch.path("f"));
        let message = commit_error(writer.commit(None).unwrap_err());
        assert_eq!(message, "the resource failed: cannot sync NAME.part: Input/output error (os error 5)");
        drop(writer);
        resource.reactivate().unwrap();
        let message = commit_error(resource.writer().unwrap().commit(None).unwrap_err());
        let why = "an earlier sync failed, and what it lost is not known";
        assert_eq!(message, format!("the resource failed: cannot sync NAME.part: {why}"));
        assert_is!(resource.status(), ResourceStatus::Failed(_));
        assert_same(read_all(&resource.reader()), pattern(1, 0..1000));
        assert!(!scratch.path("f").exists());
    });
}
