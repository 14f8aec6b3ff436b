//! A disk that fills is an error of the call that needed room: never a signal, and never the end of the resource.

use crate::{
    alone::{alone_with_mounts, mount_read_only, mount_small},
    assert_same, finish, in_words, options, pattern, read, read_all, refusal, resuming,
    scratch::Scratch,
    threads::assert_is,
};
use roundelay::{Leftover, MmapOptions, OpenMode, ResourceStatus, StorageError, open};
use std::{fs, path::Path};

const DISK: u64 = 1 << 20;
const NOTHING: [&str; 0] = [];

/// A disk of a megabyte.
fn small_disk() -> Scratch {
    let scratch = Scratch::new();
    mount_small(&scratch.path(""), DISK);
    scratch
}

/// Fills the disk with a file of somebody else's.
fn fill(scratch: &Scratch) {
    use std::io::Write;
    let mut file = fs::File::create(scratch.path("filler")).unwrap();
    for len in [4096, 1] {
        while file.write_all(&vec![1; len]).is_ok() {}
    }
}

fn is_disk_full(error: &StorageError, path: &Path) -> bool {
    matches!(error, StorageError::DiskFull { path: found, .. } if found == path)
}

#[test]
fn a_length_that_the_disk_has_no_room_for_is_refused_at_open_and_nothing_is_left() {
    alone_with_mounts(a_length_that_the_disk_has_no_room_for_is_refused_at_open_and_nothing_is_left, || {
        let scratch = small_disk();
        for mode in [OpenMode::Auto, OpenMode::ReadWrite, OpenMode::Replace] {
            let too_long = MmapOptions { len: Some(2 * DISK), ..options(scratch.path("f"), mode) };
            assert_eq!(refusal(too_long), "the disk is full: no room for 2097152 bytes of NAME.part");
            assert_eq!(scratch.names(), NOTHING);
        }
        let resource = open(MmapOptions { len: Some(DISK / 2), ..MmapOptions::new(scratch.path("f")) }).unwrap();
        finish(&resource, &pattern(0, 0..DISK / 2));
        assert_same(scratch.read("f"), pattern(0, 0..DISK / 2));
    });
}

/// What is reserved is mapped without a hole behind it: a hole would be a signal when the disk is full.
#[test]
fn a_file_of_known_length_has_its_room_whatever_becomes_of_the_disk() {
    alone_with_mounts(a_file_of_known_length_has_its_room_whatever_becomes_of_the_disk, || {
        let scratch = small_disk();
        let resource = open(MmapOptions { len: Some(DISK / 2), ..MmapOptions::new(scratch.path("f")) }).unwrap();
        fill(&scratch);
        finish(&resource, &pattern(0, 0..DISK / 2));
        assert_same(scratch.read("f"), pattern(0, 0..DISK / 2));
        assert_eq!(scratch.names(), ["f", "filler"]);
    });
}

#[test]
fn a_disk_that_fills_is_an_error_of_the_write_and_the_resource_goes_on_when_there_is_room() {
    alone_with_mounts(a_disk_that_fills_is_an_error_of_the_write_and_the_resource_goes_on_when_there_is_room, || {
        let scratch = small_disk();
        scratch.write("other", &vec![7; DISK as usize / 2]);
        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        let (mut writer, reader) = (resource.writer().unwrap(), resource.reader());
        let error = loop {
            let at = writer.position();
            match writer.append(&pattern(0, at..at + 10_000)) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        let written = writer.position();
        assert!(is_disk_full(&error, &scratch.path("f.part")), "{error:?}");
        assert_is!(&*in_words(&error, &scratch.path("f")), message
            if message.starts_with("the disk is full: no room for ") && message.ends_with(" bytes of NAME.part"));
        assert!(written > DISK / 3, "it ran out at {written}, and there was room for half a megabyte");
        for _ in 0..3 {
            assert_is!(writer.append(&pattern(0, 0..DISK / 2)), Err(error) if is_disk_full(&error, &scratch.path("f.part")));
        }
        // Further out there is no room either.
        assert_is!(writer.write_at(DISK * 100, &[1; 4096]), Err(StorageError::DiskFull { .. }));
        assert_eq!((resource.status(), writer.position()), (ResourceStatus::Active, written));
        assert_same(read_all(&reader), pattern(0, 0..written));
        assert!(scratch.read("other") == vec![7; DISK as usize / 2]);

        fs::remove_file(scratch.path("other")).unwrap();
        let len = DISK * 9 / 10;
        writer.append(&pattern(0, written..len)).unwrap();
        writer.commit(Some(len)).unwrap();
        assert_same(read_all(&reader), pattern(0, 0..len));
        assert_same(scratch.read("f"), pattern(0, 0..len));
        assert_eq!(scratch.names(), ["f"]);
    });
}

#[test]
fn what_was_written_before_the_disk_filled_survives_and_is_gone_on_with() {
    alone_with_mounts(what_was_written_before_the_disk_filled_survives_and_is_gone_on_with, || {
        let scratch = small_disk();
        scratch.write("other", &vec![7; DISK as usize / 2]);
        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(0, 0..100_000)).unwrap();
        fill(&scratch);
        assert_is!(writer.append(&pattern(0, 100_000..DISK)), Err(StorageError::DiskFull { .. }));
        drop((writer, resource));
        // Nothing was lost for want of room, for the index had its page.
        let resource = open(resuming(scratch.path("f"), OpenMode::Auto)).unwrap();
        let Leftover::Resumed { bytes, dropped: 0 } = resource.leftover() else { panic!("{:?}", resource.leftover()) };
        assert!(bytes >= 100_000);
        assert_same(read_all(&resource.reader()), pattern(0, 0..bytes));
        fs::remove_file(scratch.path("filler")).unwrap();
        finish(&resource, &pattern(0, bytes..300_000));
        assert_same(scratch.read("f"), pattern(0, 0..300_000));
    });
}

/// What a run without a length had left was set aside by the next one, which then had no room for its own.
#[test]
fn what_was_set_aside_gives_its_room_to_the_next() {
    alone_with_mounts(what_was_set_aside_gives_its_room_to_the_next, || {
        // At the end of the room that is left, and with none left at all.
        for filled in [false, true] {
            let scratch = small_disk();
            let tagged = |tag: &str| MmapOptions { tag: tag.into(), ..MmapOptions::new(scratch.path("f")) };
            let resource = open(tagged("v1")).unwrap();
            resource.writer().unwrap().append(&pattern(1, 0..DISK * 2 / 3)).unwrap();
            drop(resource);
            if filled {
                fill(&scratch);
            }
            let resource = open(tagged("v2")).unwrap();
            assert_is!(resource.leftover(), Leftover::SetAside { .. });
            assert_eq!(scratch.path("f.part.old").exists(), !filled);
            finish(&resource, &pattern(2, 0..DISK / 2));
            assert_same(scratch.read("f"), pattern(2, 0..DISK / 2));
            assert!(!scratch.path("f.part.old").exists());
            drop(resource);
            // The same for a length that is reserved at once.
            fs::remove_file(scratch.path("f")).unwrap();
            let _ = fs::remove_file(scratch.path("filler"));
            let resource = open(tagged("v1")).unwrap();
            resource.writer().unwrap().append(&pattern(1, 0..DISK * 2 / 3)).unwrap();
            drop(resource);
            let resource = open(MmapOptions { len: Some(DISK / 2), ..tagged("v2") }).unwrap();
            finish(&resource, &pattern(2, 0..DISK / 2));
            assert_eq!(scratch.names(), ["f"]);
        }
    });
}

/// The index of many small stretches grows, the file has its room: writing and the commit go on, a flush says why not.
#[test]
fn a_disk_that_is_full_for_the_index_alone_costs_no_byte() {
    alone_with_mounts(a_disk_that_is_full_for_the_index_alone_costs_no_byte, || {
        let scratch = small_disk();
        let len = 100_000;
        let options = || MmapOptions {
            len: Some(len),
            flush_every_bytes: Some(1),
            ..resuming(scratch.path("f"), OpenMode::Auto)
        };
        let resource = open(options()).unwrap();
        fill(&scratch);
        let mut writer = resource.writer().unwrap();
        // A page of the index holds 169 of them.
        let pieces = (0..500).map(|i| 200 * i..200 * i + 100);
        for piece in pieces.clone() {
            writer.write_at(piece.start, &pattern(0, piece)).unwrap();
        }
        assert_is!(resource.flush(), Err(error) if is_disk_full(&error, &scratch.path("f.part.index")));
        assert_eq!(
            in_words(&resource.flush().unwrap_err(), &scratch.path("f")),
            "the disk is full: no room for more of NAME.part.index"
        );
        assert_eq!(resource.status(), ResourceStatus::Active);
        // Whoever died now would find what the index had room for.
        let copied = Scratch::new();
        for name in ["f.part", "f.part.index"] {
            fs::copy(scratch.path(name), copied.path(name)).unwrap();
        }
        let resumed = open(MmapOptions { path: copied.path("f"), ..options() }).unwrap();
        assert_eq!(resumed.leftover(), Leftover::Resumed { bytes: 169 * 100, dropped: 0 });
        for piece in pieces.take(169) {
            assert_same(read(&resumed.reader(), piece.clone()), pattern(0, piece));
        }
        drop(resumed);

        fs::remove_file(scratch.path("filler")).unwrap();
        assert_eq!(resource.flush().unwrap(), 331 * 100, "the rest is listed as soon as there is room");
        fill(&scratch);
        writer.write_at(0, &pattern(0, 0..len)).unwrap();
        writer.commit(None).unwrap();
        assert_same(scratch.read("f"), pattern(0, 0..len));
        assert_eq!(scratch.names(), ["f", "filler"]);
    });
}

#[test]
fn a_disk_without_room_for_an_index_is_refused_at_open_and_nothing_is_left() {
    alone_with_mounts(a_disk_without_room_for_an_index_is_refused_at_open_and_nothing_is_left, || {
        let scratch = small_disk();
        fill(&scratch);
        for len in [None, Some(0), Some(1)] {
            let options = MmapOptions { len, ..MmapOptions::new(scratch.path("f")) };
            assert_eq!(refusal(options), "the disk is full: no room for more of NAME.part.index");
            assert_eq!(scratch.names(), ["filler"]);
        }
    });
}

/// A commit below what was written makes a copy, for others may be reading what lies above. That takes room.
#[test]
fn a_short_commit_without_room_for_its_copy_keeps_all_that_was_written() {
    alone_with_mounts(a_short_commit_without_room_for_its_copy_keeps_all_that_was_written, || {
        let scratch = small_disk();
        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.append(&pattern(0, 0..DISK / 4)).unwrap();
        fill(&scratch);
        assert_is!(writer.commit(Some(DISK / 4 - 1)), Err(StorageError::Failed(reason))
            if in_words(&reason, &scratch.path("f")).ends_with("of NAME.part.cut"));
        assert_same(read_all(&resource.reader()), pattern(0, 0..DISK / 4));
        assert_eq!(scratch.names(), ["f.part", "f.part.index", "filler"]);
        fs::remove_file(scratch.path("filler")).unwrap();
        drop(writer);
        resource.reactivate().unwrap();
        resource.writer().unwrap().commit(Some(DISK / 4 - 1)).unwrap();
        assert_same(scratch.read("f"), pattern(0, 0..DISK / 4 - 1));
        assert_eq!(scratch.names(), ["f"]);
    });
}

/// Only a reservation, and the index of a new file, took the room of what was set aside; a flush, a resumed index that is
/// written anew and a commit below what was written failed beside it.
#[test]
fn whatever_needs_room_takes_that_of_what_was_set_aside() {
    alone_with_mounts(whatever_needs_room_takes_that_of_what_was_set_aside, || {
        let tagged =
            |scratch: &Scratch, tag: &str| MmapOptions { tag: tag.into(), ..MmapOptions::new(scratch.path("f")) };
        // A file of `len` bytes that was given up, beside one that was set aside.
        let beside = |len: u64| {
            let scratch = small_disk();
            let resource = open(tagged(&scratch, "v1")).unwrap();
            resource.writer().unwrap().append(&pattern(1, 0..DISK / 3)).unwrap();
            drop(resource);
            let resource = open(tagged(&scratch, "v2")).unwrap();
            resource.writer().unwrap().append(&pattern(2, 0..len)).unwrap();
            (scratch, resource)
        };
        let is_gone = |scratch: &Scratch| !scratch.path("f.part.old").exists();

        // A commit that makes a copy.
        let (scratch, resource) = beside(DISK / 4);
        resource.reactivate().unwrap();
        fill(&scratch);
        resource.writer().unwrap().commit(Some(DISK / 4 - 1)).unwrap();
        assert_same(scratch.read("f"), pattern(2, 0..DISK / 4 - 1));
        assert_eq!(scratch.names(), ["f", "filler"]);

        // An index that grows.
        let (scratch, resource) = beside(1);
        resource.reactivate().unwrap();
        let mut writer = resource.writer().unwrap();
        fill(&scratch);
        (1..300).for_each(|piece| writer.write_at(8 * piece, &[7]).unwrap());
        assert_eq!(resource.flush().unwrap(), 299);
        assert!(is_gone(&scratch));

        // An index that is written anew.
        let (scratch, resource) = beside(100);
        drop(resource);
        let mut data = scratch.read("f.part");
        data[50] ^= 1;
        scratch.write("f.part", &data);
        fill(&scratch);
        let resource = open(tagged(&scratch, "v2")).unwrap();
        assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 0, dropped: 100 });
        assert!(is_gone(&scratch));
    });
}

#[test]
fn a_next_generation_without_room_leaves_the_committed_file_as_it_is() {
    alone_with_mounts(a_next_generation_without_room_leaves_the_committed_file_as_it_is, || {
        let scratch = small_disk();
        scratch.write("f", &pattern(0, 0..DISK * 2 / 3));
        let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.write_at(5, b"new").unwrap();
        // There is no room for a second copy of it.
        assert_is!(writer.commit(None), Err(StorageError::Failed(reason)) if matches!(*reason, StorageError::DiskFull { .. }));
        drop((writer, resource));
        assert_same(scratch.read("f"), pattern(0, 0..DISK * 2 / 3));
        let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
        assert_same(read_all(&resource.reader()), pattern(0, 0..DISK * 2 / 3));
    });
}

#[test]
fn a_read_only_folder_is_an_error_to_a_writer_and_none_to_a_reader() {
    alone_with_mounts(a_read_only_folder_is_an_error_to_a_writer_and_none_to_a_reader, || {
        let scratch = Scratch::new();
        let folder = scratch.path("folder");
        fs::create_dir(&folder).unwrap();
        scratch.write("folder/whole", b"committed");
        scratch.write("folder/begun.part", b"begun");
        mount_read_only(&folder);
        let read_only = "Read-only file system (os error 30)";
        for mode in [OpenMode::Auto, OpenMode::ReadWrite, OpenMode::Replace] {
            for name in ["new", "begun"] {
                let message = refusal(options(folder.join(name), mode));
                assert_eq!(message, format!("cannot open or create NAME.part: {read_only}"));
            }
        }
        for mode in [OpenMode::Auto, OpenMode::ReadWrite, OpenMode::ReadOnly] {
            let resource = open(options(folder.join("whole"), mode)).unwrap();
            assert_eq!(read_all(&resource.reader()), b"committed");
            if mode != OpenMode::ReadOnly {
                let error = resource.reactivate().unwrap_err();
                let message = in_words(&error, &folder.join("whole"));
                assert_eq!(message, format!("cannot open or create NAME.part: {read_only}"));
                assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 9 });
            }
        }
        assert_eq!(scratch.read("folder/whole"), b"committed");
        assert_eq!(scratch.read("folder/begun.part"), b"begun");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    });
}

/// All of the hole before it was reserved at the second open, and there was no room for that.
#[test]
fn a_piece_far_out_is_gone_on_with_on_a_small_disk() {
    alone_with_mounts(a_piece_far_out_is_gone_on_with_on_a_small_disk, || {
        let scratch = small_disk();
        let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
        resource.writer().unwrap().write_at(100 * DISK, b"far out").unwrap();
        drop(resource);
        let resource = open(resuming(scratch.path("f"), OpenMode::Auto)).unwrap();
        assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 7, dropped: 0 });
    });
}
