//! Which unfinished file is resumed, what becomes of the others, and when they go.

use crate::{
    alone::{alone, alone_with_mounts, answer, bytes_read_and_written, mount_small},
    assert_same, finish, options, pattern, read_all, resuming,
    scratch::Scratch,
    threads::assert_is,
};
use roundelay::{
    CancelToken, Driver, DriverIo, DriverState, IndexProblem, Leftover, MmapDriver, MmapOptions, OpenMode, OpenOptions,
    Resource, Resume, StorageError, StorageResult, open,
};
use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

const LEN: u64 = 100_000;

fn tagged(scratch: &Scratch, tag: &str) -> MmapOptions {
    MmapOptions { tag: tag.into(), ..MmapOptions::new(scratch.path("f")) }
}

/// An unfinished file with the first `LEN` bytes of this seed.
fn begun(seed: u8, tag: &str) -> Scratch {
    let scratch = Scratch::new();
    begin(&scratch, seed, tag);
    scratch
}

fn begin(scratch: &Scratch, seed: u8, tag: &str) {
    let resource = open(tagged(scratch, tag)).unwrap();
    resource.writer().unwrap().append(&pattern(seed, 0..LEN)).unwrap();
}

/// Monday's bytes and Tuesday's were one file, and nobody was told.
#[test]
fn without_a_tag_nothing_is_resumed() {
    for (monday, tuesday, why) in [
        ("", "", IndexProblem::NoTag),
        ("v1", "", IndexProblem::NoTag),
        ("", "v2", IndexProblem::TagDiffers),
        ("v1", "v2", IndexProblem::TagDiffers),
    ] {
        let scratch = begun(1, monday);
        let resource = open(tagged(&scratch, tuesday)).unwrap();
        assert_eq!(resource.leftover(), Leftover::SetAside { why });
        assert_eq!(resource.reader().live_edge(), 0);
        finish(&resource, &pattern(2, 0..2 * LEN));
        assert_same(scratch.read("f"), pattern(2, 0..2 * LEN));
        assert_eq!(scratch.names(), ["f"]);
    }
    assert_eq!(
        IndexProblem::NoTag.to_string(),
        "nothing tells whether the unfinished file is of the same source (no tag was given); the data are fetched again"
    );
}

#[test]
fn any_tag_is_resumed_if_asked_for() {
    for (first, second) in [("", ""), ("v1", ""), ("", "v2"), ("v1", "v2")] {
        let scratch = begun(1, first);
        let resource = open(MmapOptions { resume: Resume::AnyTag, ..tagged(&scratch, second) }).unwrap();
        assert_eq!(resource.leftover(), Leftover::Resumed { bytes: LEN, dropped: 0 });
        finish(&resource, &pattern(1, LEN..2 * LEN));
        assert_same(scratch.read("f"), pattern(1, 0..2 * LEN));
    }
    // Whatever is asked for, another length is another file.
    let scratch = begun(1, "");
    let resource = open(MmapOptions { len: Some(7), ..resuming(scratch.path("f"), OpenMode::Auto) }).unwrap();
    let why = IndexProblem::LengthDiffers { found: None, given: Some(7) };
    assert_eq!(resource.leftover(), Leftover::SetAside { why });
}

#[test]
fn begin_afresh_empties_the_unfinished_file() {
    for (tag, len) in [("v1", None), ("v2", None), ("", None), ("v1", Some(2 * LEN))] {
        let scratch = begun(1, "v1");
        let resource = open(MmapOptions { resume: Resume::Never, len, ..tagged(&scratch, tag) }).unwrap();
        assert_eq!(resource.leftover(), Leftover::Discarded { bytes: LEN });
        assert_eq!(scratch.names(), ["f.part", "f.part.index"], "nothing is set aside");
        finish(&resource, &pattern(2, 0..2 * LEN));
        assert_same(scratch.read("f"), pattern(2, 0..2 * LEN));
        assert_eq!(scratch.names(), ["f"]);
    }
    // What is not ours is not emptied.
    let scratch = Scratch::new();
    scratch.write("f.part", b"somebody's file");
    let resource = open(MmapOptions { resume: Resume::Never, ..tagged(&scratch, "") }).unwrap();
    assert_eq!(resource.leftover(), Leftover::SetAside { why: IndexProblem::Missing });
    assert_eq!(scratch.read("f.part.old"), b"somebody's file");
}

#[test]
fn discard_removes_what_is_unfinished_and_no_more() {
    let scratch = begun(1, "v1");
    drop(open(tagged(&scratch, "v2")).unwrap());
    begin(&scratch, 2, "v2");
    scratch.write("f", b"complete");
    assert_eq!(scratch.names(), ["f", "f.part", "f.part.index", "f.part.index.old", "f.part.old"]);
    let writing = open(MmapOptions { mode: OpenMode::Replace, ..tagged(&scratch, "v2") }).unwrap();
    assert_is!(MmapDriver::discard(scratch.path("f")), Err(StorageError::Locked { .. }));
    drop(writing);
    assert!(MmapDriver::discard(scratch.path("f")).unwrap());
    assert_eq!((scratch.names(), scratch.read("f")), (vec!["f".to_owned()], b"complete".to_vec()));
    assert!(!MmapDriver::discard(scratch.path("f")).unwrap());
    // An index that lost its data, and data that lost their index.
    for lost in ["f.part", "f.part.index"] {
        let scratch = begun(1, "v1");
        fs::remove_file(scratch.path(lost)).unwrap();
        assert!(MmapDriver::discard(scratch.path("f")).unwrap());
        assert_eq!(scratch.names(), [""; 0]);
    }
    assert_is!(MmapDriver::discard(""), Err(StorageError::NotAFile { .. }));
    assert_is!(MmapDriver::discard(scratch.path("missing/f")), Err(StorageError::FolderMissing { .. }));
    fs::create_dir(scratch.path("f.part")).unwrap();
    assert_is!(MmapDriver::discard(scratch.path("f")), Err(StorageError::NotAFile { .. }));
}

#[test]
fn set_aside_files_do_not_pile_up() {
    let scratch = Scratch::new();
    for round in 0..5 {
        begin(&scratch, round, &format!("v{round}"));
        if round > 0 {
            assert_eq!(scratch.names(), ["f.part", "f.part.index", "f.part.index.old", "f.part.old"]);
            assert_same(&scratch.read("f.part.old")[..LEN as usize], pattern(round - 1, 0..LEN));
        }
    }
    finish(&open(tagged(&scratch, "v4")).unwrap(), b"the end");
    assert_eq!(scratch.names(), ["f"]);
}

/// A file of full size was set aside of which nobody could have resumed a byte.
#[test]
fn an_unfinished_file_without_bytes_is_not_set_aside() {
    let (first, scratch) = (Scratch::new(), Scratch::new());
    let reserved = open(MmapOptions { len: Some(LEN), ..tagged(&first, "v1") }).unwrap();
    for name in ["f.part", "f.part.index"] {
        fs::copy(first.path(name), scratch.path(name)).unwrap();
    }
    drop(reserved);
    assert_eq!(scratch.read("f.part").len() as u64, LEN);
    let resource = open(tagged(&scratch, "v2")).unwrap();
    assert_eq!(resource.leftover(), Leftover::None);
    assert_eq!(scratch.names(), ["f.part", "f.part.index"]);
}

/// Whoever is cut off behind the rename of a commit leaves its index, and what had been set aside.
#[test]
fn what_a_commit_left_goes_at_the_next_open() {
    let left = || {
        let scratch = begun(1, "v1");
        drop(open(tagged(&scratch, "v2")).unwrap());
        begin(&scratch, 2, "v2");
        fs::rename(scratch.path("f.part"), scratch.path("f")).unwrap();
        assert_eq!(scratch.names(), ["f", "f.part.index", "f.part.index.old", "f.part.old"]);
        scratch
    };
    let scratch = left();
    drop(open(options(scratch.path("f"), OpenMode::ReadOnly)).unwrap());
    assert_eq!(scratch.names().len(), 4, "who only reads changes nothing");
    for mode in [OpenMode::Auto, OpenMode::ReadWrite] {
        let scratch = left();
        let resource = open(options(scratch.path("f"), mode)).unwrap();
        assert_same(&read_all(&resource.reader())[..LEN as usize], pattern(2, 0..LEN));
        assert_eq!(scratch.names(), ["f"]);
    }
    // Of a download that is to replace the file, it is needed; and somebody's file is not ours to remove.
    let scratch = begun(1, "v1");
    scratch.write("f", b"complete");
    drop(open(options(scratch.path("f"), OpenMode::Auto)).unwrap());
    assert_eq!(scratch.names(), ["f", "f.part", "f.part.index"]);
    let scratch = Scratch::new();
    scratch.write("f", b"complete");
    scratch.write("f.part.index", b"my notes");
    drop(open(options(scratch.path("f"), OpenMode::Auto)).unwrap());
    assert_eq!(scratch.read("f.part.index"), b"my notes");
}

/// A tag may name its source by an address with a password.
#[test]
fn nobody_but_the_owner_reads_an_index() {
    let mode = |scratch: &Scratch| fs::metadata(scratch.path("f.part.index")).unwrap().mode() & 0o777;
    let scratch = begun(1, "v1");
    assert_eq!(mode(&scratch), 0o600);
    // One that an earlier version has left.
    fs::set_permissions(scratch.path("f.part.index"), fs::Permissions::from_mode(0o644)).unwrap();
    let resource = open(tagged(&scratch, "v1")).unwrap();
    assert_eq!(mode(&scratch), 0o600);
    finish(&resource, b"the end");
    assert_eq!(fs::metadata(scratch.path("f")).unwrap().mode() & 0o600, 0o600);
}

// ---- what an index may cost ----

/// The start and the end of a stretch, and the checksum of its bytes.
type Forged = (u64, u64, u32);

/// An index with these records, as its format says.
fn forge(path: &Path, len: Option<u64>, tag: &[u8], records: impl Iterator<Item = Forged>) {
    let mut head = b"rlayindx".to_vec();
    head.extend(1_u32.to_le_bytes());
    head.extend((36 + tag.len() as u32).to_le_bytes());
    head.extend(len.unwrap_or(u64::MAX).to_le_bytes());
    head.extend([0; 4]);
    head.extend((tag.len() as u32).to_le_bytes());
    head.extend(tag);
    let head_crc = crc32fast::hash(&head).to_le_bytes();
    head.extend(head_crc);
    for (number, (start, end, data_crc)) in records.enumerate() {
        let mut record = [start.to_le_bytes(), end.to_le_bytes()].concat();
        record.extend(data_crc.to_le_bytes());
        let crc = crc32fast::hash(&[&head_crc[..], &(number as u64).to_le_bytes(), &record].concat());
        head.extend(record);
        head.extend(crc.to_le_bytes());
    }
    fs::write(path, head).unwrap();
}

/// Two hundred records of the same 64 MiB, 4.8 KB in all, took three seconds to open.
#[test]
fn an_index_makes_no_more_read_than_the_file_has() {
    alone(an_index_makes_no_more_read_than_the_file_has, || {
        const FILE: u64 = 1 << 20;
        let data = pattern(3, 0..FILE);
        let right = crc32fast::hash(&data);
        let shifted = |i: u64| crc32fast::hash(&data[i as usize..]);
        // The same stretch, right and wrong; stretches that overlap but for a byte; small ones within a large one.
        let half = (0, FILE / 2, crc32fast::hash(&data[..FILE as usize / 2]));
        let forgeries: [(&str, u64, Vec<Forged>); 5] = [
            ("half of it twice", FILE, vec![half, half, (FILE / 2, FILE, shifted(FILE / 2))]),
            ("right", FILE, (0..200).map(|_| (0, FILE, right)).collect()),
            ("wrong", 0, (0..200).map(|_| (0, FILE, !right)).collect()),
            ("overlapping", FILE, (0..20).map(|i| (i, FILE, shifted(i))).collect()),
            ("inside", FILE, (0..5_000).map(|i| (i, i + 4096, 7)).chain([(0, FILE, right)]).collect()),
        ];
        for (what, believed, records) in forgeries {
            let scratch = Scratch::new();
            fs::write(scratch.path("f.part"), &data).unwrap();
            let size = 40 + 24 * records.len() as u64;
            forge(&scratch.path("f.part.index"), None, b"v1", records.into_iter());
            let before = bytes_read_and_written().0;
            let resource = open(tagged(&scratch, "v1")).unwrap();
            let read = bytes_read_and_written().0 - before;
            assert!(read <= FILE + size + (256 << 10), "{what}: {read} bytes were read");
            let dropped = FILE - believed;
            assert_eq!(resource.leftover(), Leftover::Resumed { bytes: believed, dropped }, "{what}");
        }
    });
}

/// Neighbours are read together, and none of them is lost.
#[test]
fn an_index_of_many_small_records_is_believed() {
    let scratch = Scratch::new();
    let data = pattern(3, 0..1 << 18);
    fs::write(scratch.path("f.part"), &data).unwrap();
    let records = (0..1 << 16).rev().map(|i| (4 * i, 4 * i + 4));
    let records = records.map(|(start, end)| (start, end, crc32fast::hash(&data[start as usize..end as usize])));
    forge(&scratch.path("f.part.index"), None, b"v1", records);
    let resource = open(tagged(&scratch, "v1")).unwrap();
    assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 1 << 18, dropped: 0 });
    assert_same(read_all(&resource.reader()), data);
}

#[test]
fn a_cancelled_open_leaves_everything_as_it_is() {
    let scratch = begun(1, "v1");
    let before: Vec<_> = scratch.names().iter().map(|name| scratch.read(name)).collect();
    let cancel = CancelToken::new();
    cancel.cancel();
    assert_is!(MmapDriver::open_cancellable(tagged(&scratch, "v1"), &cancel), Err(StorageError::Cancelled));
    assert_eq!(scratch.names().iter().map(|name| scratch.read(name)).collect::<Vec<_>>(), before);
    let resource = open(tagged(&scratch, "v1")).unwrap();
    assert_eq!(resource.leftover(), Leftover::Resumed { bytes: LEN, dropped: 0 });
}

/// A driver that is cancelled while it is opened.
struct Slow;

struct SlowOptions;

impl OpenOptions for SlowOptions {
    type Driver = Slow;
}

impl Driver for Slow {
    type Options = SlowOptions;

    fn open(_: SlowOptions) -> StorageResult<(Self, DriverState)> {
        unreachable!("the resource has a token to ask")
    }

    fn open_cancellable(_: SlowOptions, cancel: &CancelToken) -> StorageResult<(Self, DriverState)> {
        cancel.cancel();
        Err(StorageError::Cancelled)
    }
}

impl DriverIo for Slow {
    fn commit(&self, _: Option<u64>) -> StorageResult<()> {
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn reactivate(&self) -> StorageResult<()> {
        Ok(())
    }

    fn read_at(&self, _: u64, _: &mut [u8], _: u64) -> StorageResult<usize> {
        Ok(0)
    }

    fn storage_len(&self) -> u64 {
        0
    }

    fn write_at(&self, _: u64, _: &[u8], _: bool) -> StorageResult<()> {
        Ok(())
    }
}

#[test]
fn an_open_is_given_the_token_of_its_resource() {
    let tokens: [CancelToken; 2] = std::array::from_fn(|_| CancelToken::new());
    assert_is!(Resource::open(tokens[0].clone(), SlowOptions), Err(StorageError::Cancelled));
    assert_is!(Resource::open_any(tokens[1].clone(), SlowOptions), Err(StorageError::Cancelled));
    assert!(tokens.iter().all(CancelToken::is_cancelled));
}

/// A length of 1 TiB in an index took the whole disk, and the right length then had no room.
#[test]
fn a_forged_length_leaves_the_room_to_the_right_one() {
    alone_with_mounts(a_forged_length_leaves_the_room_to_the_right_one, || {
        const DISK: u64 = 4 << 20;
        // A file system that cannot reserve, so that zeros are written; and one that does not say what is free either.
        let systems = [(true, true), (true, false), (false, false)];
        for (forged, (statfs, fallocate)) in [1 << 40, DISK + 1].into_iter().flat_map(|len| systems.map(|it| (len, it)))
        {
            let scratch = Scratch::new();
            mount_small(&scratch.path(""), DISK);
            std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        if !statfs {
                            answer(libc::SYS_fstatfs, libc::ENOSYS);
                        }
                        if !fallocate {
                            answer(libc::SYS_fallocate, libc::EOPNOTSUPP);
                        }
                        let data = pattern(3, 0..LEN);
                        let mut part = fs::File::create(scratch.path("f.part")).unwrap();
                        part.write_all(&data).unwrap();
                        let record = (0, LEN, crc32fast::hash(&data));
                        forge(&scratch.path("f.part.index"), Some(forged), b"v1", [record].into_iter());
                        let before = bytes_read_and_written().1;
                        assert_is!(open(tagged(&scratch, "v1")), Err(StorageError::DiskFull { .. }));
                        let written = bytes_read_and_written().1 - before;
                        assert!(!statfs || written < LEN, "the free space is asked first");
                        assert_eq!(part.seek(SeekFrom::End(0)).unwrap(), LEN);
                        assert!(part.metadata().unwrap().blocks() * 512 < 2 * LEN);
                        let right = MmapOptions { len: Some(DISK / 2), ..tagged(&scratch, "v1") };
                        let resource = open(right).unwrap();
                        assert_is!(resource.leftover(), Leftover::SetAside { .. });
                        finish(&resource, &pattern(3, 0..DISK / 2));
                        assert_eq!(scratch.names(), ["f"]);
                    })
                    .join()
                    .unwrap();
            });
        }
    });
}
