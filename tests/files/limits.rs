//! What a process may do: files up to a length, and calls that signals interrupt.

use crate::{
    alone::{alone, answer},
    assert_same, finish, in_words, options, pattern, read, resuming,
    scratch::Scratch,
    threads::assert_is,
};
use roundelay::{Leftover, MAX_OFFSET, MmapOptions, OpenMode, ResourceStatus, StorageError, open};
use rustix::process::{Resource::Fsize, Rlimit, getrlimit, setrlimit};
use std::{fs, io::ErrorKind, os::unix::fs::MetadataExt, thread};

fn limit_files_to(bytes: Option<u64>) {
    setrlimit(Fsize, Rlimit { current: bytes, maximum: getrlimit(Fsize).maximum }).unwrap();
}

/// Offsets reach twice as far as the lengths of files. "Invalid argument", it said.
#[test]
fn a_write_beyond_the_length_of_any_file_is_an_error_in_words() {
    let scratch = Scratch::new();
    let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
    let mut writer = resource.writer().unwrap();
    for offset in [i64::MAX as u64, 1 << 63, MAX_OFFSET - 1] {
        assert_is!(writer.write_at(offset, b"x"), Err(StorageError::File { source, .. })
            if source.kind() == ErrorKind::FileTooLarge);
    }
    writer.append(b"active still").unwrap();
}

/// The system's answer is a signal that ends the process.
#[test]
fn a_limit_to_the_size_of_files_is_an_error() {
    alone(a_limit_to_the_size_of_files_is_an_error, || {
        const LIMIT: u64 = 1 << 20;
        let scratch = Scratch::new();
        limit_files_to(Some(LIMIT));
        let error =
            open(MmapOptions { len: Some(LIMIT + 1), ..options(scratch.path("f"), OpenMode::Auto) }).unwrap_err();
        assert_eq!(
            in_words(&error, &scratch.path("f")),
            "NAME.part cannot grow to 1048577 bytes: this process may write 1048576 bytes (ulimit -f); raise the limit"
        );
        assert_eq!(scratch.names(), [""; 0]);

        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(0, 0..LIMIT)).unwrap();
        assert_is!(writer.append(b"x"), Err(StorageError::FileSizeLimit { limit: LIMIT, .. }));
        assert_is!(writer.write_at(100 * LIMIT, b"x"), Err(StorageError::FileSizeLimit { .. }));
        assert_eq!((resource.status(), writer.position()), (ResourceStatus::Active, LIMIT));
        resource.flush().unwrap();
        // A copy of what a short commit keeps, and an index that would grow.
        limit_files_to(Some(1000));
        assert_is!(writer.commit(Some(5000)), Err(StorageError::Failed(reason))
            if matches!(*reason, StorageError::FileSizeLimit { end: 5000, limit: 1000, .. }));
        drop(writer);
        limit_files_to(Some(LIMIT + 2));
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(b"x").unwrap();
        limit_files_to(Some(70));
        assert_is!(resource.flush(), Err(StorageError::File { source, .. }) if source.to_string().contains("ulimit -f"));
        assert_is!(open(MmapOptions::new(scratch.path("g"))).unwrap().flush(), Ok(0));
        limit_files_to(Some(30));
        assert_is!(open(MmapOptions::new(scratch.path("h"))), Err(StorageError::File { .. }));
        limit_files_to(None);
        assert_eq!(resource.flush().unwrap(), 1, "it is listed as soon as it may be");
        writer.commit(None).unwrap();
        assert_same(scratch.read("f"), [pattern(0, 0..LIMIT), b"x".to_vec()].concat());
        assert_eq!(scratch.names(), ["f"]);
    });
}

/// Each call of the life of a file is interrupted for ever, on a thread of its own.
#[test]
fn a_call_that_is_interrupted_for_ever_is_an_error() {
    alone(a_call_that_is_interrupted_for_ever_is_an_error, || {
        let calls = [
            #[cfg(target_arch = "x86_64")]
            ("open", libc::SYS_open),
            #[cfg(not(target_arch = "x86_64"))]
            ("open", libc::SYS_openat),
            ("fallocate", libc::SYS_fallocate),
            ("ftruncate", libc::SYS_ftruncate),
            ("fsync", libc::SYS_fsync),
            ("fdatasync", libc::SYS_fdatasync),
            ("flock", libc::SYS_flock),
            ("fstatfs", libc::SYS_fstatfs),
            ("read", libc::SYS_read),
            ("write", libc::SYS_write),
            ("lseek", libc::SYS_lseek),
            ("msync", libc::SYS_msync),
        ];
        for (name, call) in calls {
            let scratch = Scratch::new();
            let begun = open(MmapOptions::new(scratch.path("begun"))).unwrap();
            begun.writer().unwrap().append(&pattern(0, 0..1000)).unwrap();
            drop(begun);
            let going = open(MmapOptions::new(scratch.path("going"))).unwrap();
            let mut writer = going.writer().unwrap();
            writer.append(&pattern(0, 0..1000)).unwrap();
            let (opened, flushed, grown, committed) = thread::scope(|scope| {
                let interrupted = scope.spawn(|| {
                    answer(call, libc::EINTR);
                    let opened = [
                        open(resuming(scratch.path("begun"), OpenMode::Auto)).is_err(),
                        open(resuming(scratch.path("new"), OpenMode::Auto)).is_err(),
                    ];
                    let flushed = going.flush().is_err();
                    let grown = writer.append(&pattern(0, 1000..500_000)).is_err();
                    (opened.contains(&true), flushed, grown, writer.commit(None).is_err())
                });
                interrupted.join().unwrap()
            });
            assert!(opened || flushed || grown || committed || name == "fstatfs", "{name} is never called");
            drop((writer, going));
            let resource = open(resuming(scratch.path("begun"), OpenMode::Auto)).unwrap();
            assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 1000, dropped: 0 }, "{name}");
            finish(&resource, &pattern(0, 1000..3000));
            assert_same(scratch.read("begun"), pattern(0, 0..3000));
        }
    });
}

/// A byte at 1 GiB reserved 64 MiB more, and the next one at 2 GiB as well.
#[test]
fn bytes_far_apart_reserve_little_each() {
    let scratch = Scratch::new();
    let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
    let mut writer = resource.writer().unwrap();
    for i in 1..=20 {
        writer.write_at(i << 30, b"x").unwrap();
    }
    let reserved = fs::metadata(scratch.path("f.part")).unwrap().blocks() * 512;
    assert!(reserved <= 20 * (128 << 10), "{reserved} bytes are reserved for 20");
    // A stretch that grows still grows in large steps, wherever it lies.
    let mut at = 1 << 40;
    for _ in 0..100 {
        writer.write_at(at, &[7; 100_000]).unwrap();
        at += 100_000;
    }
    assert_eq!(read(&resource.reader(), 5 << 30..(5 << 30) + 1), b"x");
}
