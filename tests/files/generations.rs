//! One generation after another: readers of the old keep it, the writing side frees it, and nothing stays behind.

use crate::{
    alone::{alone, mappings_of, open_files},
    assert_same, finish, options, pattern, read_all,
    scratch::Scratch,
    threads::{Sleeper, assert_is, must_end},
};
use roundelay::{
    MemOptions, MmapDriver, MmapOptions, OpenMode, Publication, ReadError, Reader, Resource, ResourceStatus,
    StorageError, WaitOutcome, open,
};
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

/// Several segments.
const LEN: u64 = 300_000;

/// The next generation of a committed resource: all bytes written anew, but for every third page.
fn rewrite(resource: &Resource<MmapDriver>, seed: u8) {
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    for start in (0..LEN).step_by(4096).filter(|start| start / 4096 % 3 != 0) {
        writer.write_at(start, &pattern(seed, start..(start + 4096).min(LEN))).unwrap();
    }
    writer.commit(None).unwrap();
}

/// What a file is after rewrites of a first generation by these seeds.
fn rewritten(seed: u8) -> Vec<u8> {
    let mut bytes = pattern(seed, 0..LEN);
    for page in (0..LEN as usize).step_by(4096).filter(|start| start / 4096 % 3 == 0) {
        let end = (page + 4096).min(LEN as usize);
        bytes[page..end].copy_from_slice(&pattern(0, page as u64..end as u64));
    }
    bytes
}

#[test]
fn readers_of_each_generation_keep_it_byte_for_byte() {
    let scratch = Scratch::new();
    let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
    finish(&resource, &pattern(0, 0..LEN));
    let mut readers = vec![(resource.reader(), pattern(0, 0..LEN))];
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (first, stop) = (resource.reader(), &stop);
        let reading = scope.spawn(move || {
            while !stop.load(Relaxed) {
                assert_same(read_all(&first), pattern(0, 0..LEN));
            }
        });
        for seed in 1..6 {
            rewrite(&resource, seed);
            assert_same(scratch.read("f"), rewritten(seed));
            readers.push((resource.reader(), rewritten(seed)));
            for (reader, bytes) in &readers {
                assert_same(read_all(reader), bytes);
            }
        }
        stop.store(true, Relaxed);
        reading.join().unwrap();
    });
    assert_eq!(scratch.names(), ["f"]);
    for (mut reader, _) in readers {
        reader.refresh();
        assert_same(read_all(&reader), rewritten(5));
    }
}

#[test]
fn the_writing_side_unmaps_what_nobody_reads_and_a_reader_never_does() {
    let scratch = Scratch::new();
    let folder = scratch.path("").display().to_string();
    let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
    finish(&resource, &pattern(0, 0..LEN));
    let one_generation = mappings_of(&folder);
    assert!(one_generation >= 2, "several segments");
    let mut readers: Vec<Reader<MmapDriver>> = Vec::new();
    for seed in 1..5 {
        readers.push(resource.reader());
        rewrite(&resource, seed);
    }
    let all = mappings_of(&folder);
    assert_eq!(all, 5 * one_generation, "each generation is read by somebody");
    for reader in &mut readers {
        assert!(reader.refresh());
        assert_eq!(mappings_of(&folder), all, "a reader goes over, and unmaps nothing");
    }
    drop(readers);
    assert_eq!(mappings_of(&folder), all);
    // The writing side comes by.
    assert_is!(resource.writer(), Err(StorageError::Committed));
    assert_eq!(mappings_of(&folder), one_generation);
    for seed in 1..6 {
        rewrite(&resource, seed);
        assert_eq!(mappings_of(&folder), one_generation, "nobody has read the one before");
    }
    drop(resource);
    assert_eq!(mappings_of(&folder), 0);
}

#[test]
fn a_resource_goes_on_after_each_kind_of_end() {
    let scratch = Scratch::new();
    let resource =
        open(MmapOptions { flush_every_bytes: Some(50_000), ..MmapOptions::new(scratch.path("f")) }).unwrap();
    let mut end = 0;
    let mut readers: Vec<(Reader<MmapDriver>, u64)> = Vec::new();
    for round in 0..12 {
        let mut writer = resource.writer().unwrap();
        assert_eq!(writer.position(), end);
        writer.append(&pattern(0, end..end + 70_001)).unwrap();
        end += 70_001;
        match round % 4 {
            0 => writer.fail(StorageError::other("the station went away")),
            1 => writer.commit(Some(end)).unwrap(),
            2 => resource.cancel(),
            _ => {}
        }
        drop(writer);
        readers.push((resource.reader(), end));
        resource.reactivate().unwrap();
        for (reader, end) in &readers {
            assert_same(read_all(reader), pattern(0, 0..*end));
        }
    }
    resource.writer().unwrap().commit(None).unwrap();
    assert_same(scratch.read("f"), pattern(0, 0..end));
    assert_eq!(scratch.names(), ["f"]);
}

#[test]
fn a_rewrite_that_failed_is_gone_on_with() {
    let scratch = Scratch::new();
    scratch.write("f", &pattern(0, 0..LEN));
    let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
    let old = resource.reader();
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, &pattern(1, 0..100_000)).unwrap();
    writer.fail(StorageError::other("for now"));
    drop(writer);
    let failed = resource.reader();
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(50_000, &pattern(1, 50_000..200_000)).unwrap();
    writer.commit(None).unwrap();
    let expected = [pattern(1, 0..200_000), pattern(0, 200_000..LEN)].concat();
    assert_same(scratch.read("f"), &expected);
    assert_same(read_all(&resource.reader()), &expected);
    assert_same(read_all(&old), pattern(0, 0..LEN));
    assert_same(read_all(&failed), [pattern(1, 0..100_000), pattern(0, 100_000..LEN)].concat());
}

/// It went on where the bytes had ended that the commit dropped, and left a hole.
#[test]
fn a_writer_goes_on_at_the_end_that_its_commit_made() {
    let scratch = Scratch::new();
    let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(&pattern(0, 0..100)).unwrap();
    writer.commit(Some(50)).unwrap();
    assert_eq!(writer.position(), 50);
    writer.append(&pattern(0, 50..60)).unwrap();
    writer.commit(None).unwrap();
    assert_same(scratch.read("f"), pattern(0, 0..60));
}

/// The readers of the next generation were not told that its writer wakes nobody, and slept for ever.
#[test]
fn a_silent_writer_that_begins_a_generation_is_still_heard() {
    must_end(|| {
        let scratch = Scratch::new();
        let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
        let mut writer = resource.writer().unwrap();
        writer.set_publication(Publication::SILENT);
        writer.append(&pattern(0, 0..100)).unwrap();
        writer.commit(None).unwrap();
        writer.append(b"x").unwrap();
        let reader = resource.reader();
        let waiting = Sleeper::start(move || reader.wait_range(101..102));
        writer.append(b"y").unwrap();
        assert_is!(waiting.wakes_with(), Ok(WaitOutcome::Ready));
    });
}

/// A flush told of bytes as durable that no open would go on with.
#[test]
fn a_flush_of_a_rewrite_promises_nothing() {
    let scratch = Scratch::new();
    scratch.write("f", &pattern(0, 0..LEN));
    for flush_every_bytes in [None, Some(1)] {
        let options = MmapOptions { flush_every_bytes, ..options(scratch.path("f"), OpenMode::ReadWrite) };
        let resource = open(options).unwrap();
        let mut writer = resource.writer().unwrap();
        assert_eq!(resource.flush().unwrap(), 0);
        writer.write_at(0, b"new").unwrap();
        assert_eq!(resource.flush().unwrap(), 0);
        writer.fail(StorageError::other("for good"));
        assert_eq!(resource.flush().unwrap(), 0);
    }
    assert_eq!(scratch.names(), ["f"]);
}

/// What lies above the end of a short commit may be read at that moment: it must be there until nobody can.
#[test]
fn a_commit_below_what_is_being_read_is_no_signal() {
    alone(a_commit_below_what_is_being_read_is_no_signal, || {
        let scratch = Scratch::new();
        for end in [0, 1, 4095, 4096, 65_536, LEN - 1] {
            let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
            let mut writer = resource.writer().unwrap();
            writer.append(&pattern(0, 0..LEN)).unwrap();
            thread::scope(|scope| {
                for _ in 0..2 {
                    let reader = resource.reader();
                    let whole = pattern(0, 0..LEN);
                    scope.spawn(move || {
                        let (mut bytes, mut at) = (vec![0; 10_000], end);
                        loop {
                            let read = match reader.try_read_at(at, &mut bytes) {
                                // Dropped already, and the commit not told yet.
                                Err(ReadError::NotYet) => continue,
                                read => read.unwrap(),
                            };
                            assert!(bytes[..read] == whole[at as usize..][..read]);
                            if read == 0 {
                                return;
                            }
                            at = if at + read as u64 == LEN { end } else { at + read as u64 };
                        }
                    });
                }
                writer.commit(Some(end)).unwrap();
            });
            assert_eq!(read_all(&resource.reader()), pattern(0, 0..end));
            assert_same(scratch.read("f"), pattern(0, 0..end));
            drop((writer, resource));
            assert_eq!(scratch.names(), ["f"]);
            std::fs::remove_file(scratch.path("f")).unwrap();
        }
    });
}

#[test]
fn an_empty_resource_is_an_empty_file_and_can_be_opened_again() {
    for (len, final_len) in [(None, None), (None, Some(0)), (Some(0), None), (Some(0), Some(0))] {
        let scratch = Scratch::new();
        let resource = open(MmapOptions { len, ..MmapOptions::new(scratch.path("f")) }).unwrap();
        resource.writer().unwrap().commit(final_len).unwrap();
        assert_eq!(scratch.names(), ["f"]);
        assert_eq!(scratch.read("f"), b"");
        for mode in [OpenMode::Auto, OpenMode::ReadOnly, OpenMode::ReadWrite] {
            let resource = open(options(scratch.path("f"), mode)).unwrap();
            assert_eq!(resource.status(), ResourceStatus::Committed { final_len: 0 });
            assert_eq!(resource.reader().try_read_at(0, &mut [0; 8]), Ok(0));
        }
        let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
        finish(&resource, b"no more");
        assert_eq!(scratch.read("f"), b"no more");
    }
}

#[test]
fn nothing_stays_open_or_mapped_when_a_resource_goes() {
    alone(nothing_stays_open_or_mapped_when_a_resource_goes, || {
        must_end(|| {
            let scratch = Scratch::new();
            let folder = scratch.path("").display().to_string();
            let data = pattern(0, 0..LEN);
            scratch.write("committed", &data);
            let live_through = |i: u32| {
                let committed = open(options(scratch.path("committed"), OpenMode::ReadWrite)).unwrap();
                let reader = committed.reader();
                let new = open(options(scratch.path(&i.to_string()), OpenMode::Replace)).unwrap();
                let mut writer = new.writer().unwrap();
                writer.append(&data).unwrap();
                match i % 4 {
                    0 => writer.commit(None).unwrap(),
                    1 => writer.commit(Some(1000)).unwrap(),
                    2 => writer.fail(StorageError::other("for good")),
                    _ => committed.writer().unwrap().write_at(0, b"given up").unwrap(),
                }
                drop((writer, new));
                assert!(open(options(scratch.path("missing/file"), OpenMode::Auto)).is_err());
                open(MemOptions::committed(&*data)).unwrap();
                assert_same(read_all(&reader), &data);
            };
            (0..4).for_each(live_through);
            let before = open_files();
            (0..100).for_each(live_through);
            assert_eq!(open_files(), before);
            assert_eq!(mappings_of(&folder), 0);
        });
    });
}

/// The index went first. Whoever died in between left data of which nothing told any more that they were ours: they
/// stayed for good.
#[test]
fn the_index_outlives_the_data_that_a_commit_has_cut() {
    use rustix::fs::inotify;
    let scratch = Scratch::new();
    let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(&pattern(0, 0..100)).unwrap();
    let watched = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watched, scratch.path(""), inotify::WatchFlags::DELETE).unwrap();
    writer.commit(Some(40)).unwrap();
    let mut buf = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watched, &mut buf);
    let mut removed = Vec::new();
    while let Ok(event) = events.next() {
        removed.push(event.file_name().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(removed, ["f.part", "f.part.index"]);
    assert_eq!(scratch.names(), ["f"]);
}
