//! Unfinished files as they are found after a crash, or after somebody has meddled with them: what can be believed is
//! gone on with, byte for byte; what cannot is fetched again; what is not ours is set aside and told of.

use crate::{assert_same, pattern, read, read_all, refusal, scratch::Scratch, threads::assert_is};
use roundelay::{IndexProblem, Leftover, MmapOptions, open};
use std::{fs, ops::Range, os::unix::fs::symlink, process::Command};

const LEN: u64 = 200;
const PIECES: [Range<u64>; 3] = [0..60, 80..120, 150..200];
const WRITTEN: u64 = 150;
/// The index: its head, and a record for each piece.
const HEAD: usize = 36 + 2;
const RECORD: usize = 24;

/// A download that was cut off, as it lies in a folder of its own.
struct Interrupted {
    part: Vec<u8>,
    index: Vec<u8>,
    len: Option<u64>,
}

impl Interrupted {
    fn new(len: Option<u64>) -> Self {
        let scratch = Scratch::new();
        let resource = open(wanted(&scratch, len)).unwrap();
        let mut writer = resource.writer().unwrap();
        for piece in PIECES {
            writer.write_at(piece.start, &pattern(0, piece)).unwrap();
            resource.flush().unwrap();
        }
        drop((writer, resource));
        let (part, index) = (scratch.read("f.part"), scratch.read("f.part.index"));
        assert_eq!(index.len(), HEAD + PIECES.len() * RECORD);
        Self { part, index, len }
    }

    fn place(&self) -> Scratch {
        let scratch = Scratch::new();
        scratch.write("f.part", &self.part);
        scratch.write("f.part.index", &self.index);
        scratch
    }

    /// Goes on with it as it lies there, and says what was found.
    fn go_on(&self, scratch: &Scratch) -> Leftover {
        go_on(scratch, wanted(scratch, self.len))
    }
}

fn wanted(scratch: &Scratch, len: Option<u64>) -> MmapOptions {
    MmapOptions { len, tag: b"v1".to_vec(), ..MmapOptions::new(scratch.path("f")) }
}

/// Opens, sees that what is there is right, fetches the rest, commits, and sees that the whole is right.
fn go_on(scratch: &Scratch, options: MmapOptions) -> Leftover {
    let resource = open(options).unwrap();
    let (mut writer, reader) = (resource.writer().unwrap(), resource.reader());
    let mut there = 0;
    for range in reader.available().iter() {
        assert_eq!(read(&reader, range.clone()), pattern(0, range.clone()), "{range:?} is served, and wrong");
        there += range.end - range.start;
    }
    let leftover = resource.leftover();
    match leftover {
        Leftover::Resumed { bytes, .. } => assert_eq!(bytes, there),
        _ => assert_eq!(there, 0),
    }
    writer.write_at(0, &pattern(0, 0..LEN)).unwrap();
    writer.commit(Some(LEN)).unwrap();
    assert_eq!(read_all(&reader), pattern(0, 0..LEN));
    assert_same(scratch.read("f"), pattern(0, 0..LEN));
    leftover
}

fn resumed(bytes: u64) -> Leftover {
    Leftover::Resumed { bytes, dropped: WRITTEN - bytes }
}

/// As many bytes as the pieces have that `holds`.
fn bytes_of(holds: impl Fn(&Range<u64>) -> bool) -> u64 {
    PIECES.into_iter().filter(holds).map(|piece| piece.end - piece.start).sum()
}

#[test]
fn an_unfinished_file_that_was_cut_short_is_believed_up_to_the_cut() {
    for len in [Some(LEN), None] {
        let interrupted = Interrupted::new(len);
        for cut in 0..=LEN {
            let scratch = interrupted.place();
            scratch.write("f.part", &interrupted.part[..cut as usize]);
            assert_eq!(interrupted.go_on(&scratch), resumed(bytes_of(|piece| piece.end <= cut)), "cut at {cut}");
            assert_eq!(scratch.names(), ["f"]);
        }
    }
}

/// What was cut off stayed in the index; the file was reserved there anew, as zeros, and at the open after that a stretch
/// that had been zeros was right once more, though nobody had written it.
#[test]
fn what_was_cut_off_is_not_believed_when_there_are_zeros_in_its_place() {
    for len in [Some(LEN), None] {
        let scratch = Scratch::new();
        let resource = open(wanted(&scratch, len)).unwrap();
        let mut writer = resource.writer().unwrap();
        for piece in PIECES {
            writer.write_at(piece.start, &vec![0; (piece.end - piece.start) as usize]).unwrap();
            resource.flush().unwrap();
        }
        drop((writer, resource));
        scratch.write("f.part", &[0; 100]);
        for dropped in [WRITTEN - 60, 0] {
            let resource = open(wanted(&scratch, len)).unwrap();
            assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 60, dropped });
            assert_eq!(resource.reader().available(), [0..60].into_iter().collect());
        }
    }
}

#[test]
fn a_stretch_with_a_wrong_byte_is_fetched_again() {
    let interrupted = Interrupted::new(Some(LEN));
    for at in 0..LEN {
        let scratch = interrupted.place();
        let mut part = interrupted.part.clone();
        part[at as usize] ^= 0x10;
        scratch.write("f.part", &part);
        assert_eq!(interrupted.go_on(&scratch), resumed(bytes_of(|piece| !piece.contains(&at))), "at {at}");
    }
}

#[test]
fn an_index_that_was_cut_short_counts_as_far_as_it_goes() {
    let interrupted = Interrupted::new(Some(LEN));
    for cut in 0..=interrupted.index.len() {
        let scratch = interrupted.place();
        scratch.write("f.part.index", &interrupted.index[..cut]);
        let found = interrupted.go_on(&scratch);
        if let Some(records) = cut.checked_sub(HEAD) {
            let bytes: u64 = PIECES.into_iter().take(records / RECORD).map(|piece| piece.end - piece.start).sum();
            let expected = if bytes == 0 { Leftover::None } else { Leftover::Resumed { bytes, dropped: 0 } };
            assert_eq!(found, expected, "cut at {cut}");
            assert_eq!(scratch.names(), ["f"]);
        } else {
            assert_eq!(found, Leftover::SetAside { why: IndexProblem::Damaged }, "cut at {cut}");
            // An index that has not even its name cannot be told from somebody's file.
            if cut < 8 {
                assert_eq!(scratch.read("f.part.old"), interrupted.part);
                assert_eq!(scratch.read("f.part.index.old"), &interrupted.index[..cut]);
            } else {
                assert_eq!(scratch.names(), ["f"], "cut at {cut}");
            }
        }
    }
}

#[test]
fn an_index_with_a_wrong_byte_counts_up_to_there() {
    let interrupted = Interrupted::new(Some(LEN));
    for at in 0..interrupted.index.len() {
        let scratch = interrupted.place();
        let mut index = interrupted.index.clone();
        index[at] ^= 0x10;
        scratch.write("f.part.index", &index);
        let found = interrupted.go_on(&scratch);
        match at {
            0..8 => assert_eq!(found, Leftover::SetAside { why: IndexProblem::NotAnIndex }, "at {at}"),
            8..12 => assert_is!(found, Leftover::SetAside { why: IndexProblem::Version { known: 1, .. } }),
            12..HEAD => assert_eq!(found, Leftover::SetAside { why: IndexProblem::Damaged }, "at {at}"),
            _ => {
                let records = (at - HEAD) / RECORD;
                let bytes: u64 = PIECES.into_iter().take(records).map(|piece| piece.end - piece.start).sum();
                let expected = if bytes == 0 { Leftover::None } else { Leftover::Resumed { bytes, dropped: 0 } };
                assert_eq!(found, expected, "at {at}");
            }
        }
        if at < 8 {
            assert_eq!(scratch.read("f.part.old"), interrupted.part);
            assert_eq!(scratch.read("f.part.index.old"), index);
            assert_eq!(scratch.names(), ["f", "f.part.index.old", "f.part.old"]);
        } else {
            assert_eq!(scratch.names(), ["f"], "at {at}");
        }
    }
}

#[test]
fn what_lies_in_the_place_of_the_index_and_is_none_is_set_aside_unharmed() {
    type Put = fn(&Scratch);
    let others: [(&str, Put); 5] = [
        ("somebody's file", |scratch| scratch.write("f.part.index", b"my notes")),
        ("a folder", |scratch| {
            fs::create_dir(scratch.path("f.part.index")).unwrap();
            scratch.write("f.part.index/inside", b"my notes");
        }),
        ("a link to somebody's file", |scratch| {
            scratch.write("notes", b"my notes");
            symlink(scratch.path("notes"), scratch.path("f.part.index")).unwrap();
        }),
        ("a link to nothing", |scratch| symlink(scratch.path("nothing"), scratch.path("f.part.index")).unwrap()),
        ("a pipe", |scratch| {
            let made = Command::new("mkfifo").arg(scratch.path("f.part.index")).status();
            assert!(made.unwrap().success());
        }),
    ];
    let interrupted = Interrupted::new(Some(LEN));
    for (what, put) in others {
        let scratch = interrupted.place();
        fs::remove_file(scratch.path("f.part.index")).unwrap();
        put(&scratch);
        let kind = |name| fs::symlink_metadata(scratch.path(name)).unwrap().file_type();
        let before = kind("f.part.index");
        let found = interrupted.go_on(&scratch);
        assert_eq!(found, Leftover::SetAside { why: IndexProblem::NotAnIndex }, "{what}");
        assert_eq!(scratch.read("f.part.old"), interrupted.part, "{what}");
        assert_eq!(kind("f.part.index.old"), before, "{what}");
        for notes in ["notes", "f.part.index.old/inside"] {
            if scratch.path(notes).exists() {
                assert_eq!(scratch.read(notes), b"my notes", "{what}");
            }
        }
        assert!(!scratch.path("nothing").exists(), "{what}: a link was followed");
    }
    let why = IndexProblem::NotAnIndex.to_string();
    assert_eq!(why, "what lies in the place of the unfinished file's index is no index; the data are fetched again");
}

#[test]
fn data_without_an_index_are_not_believed_and_not_lost() {
    let scratch = Scratch::new();
    scratch.write("f.part", b"somebody's file");
    assert_eq!(go_on(&scratch, wanted(&scratch, None)), Leftover::SetAside { why: IndexProblem::Missing });
    assert_eq!(scratch.read("f.part.old"), b"somebody's file");
    assert_eq!(scratch.names(), ["f", "f.part.old"]);
    assert_eq!(
        IndexProblem::Missing.to_string(),
        "the unfinished file has no index that says which of its bytes were written; they are fetched again"
    );
}

#[test]
fn the_index_of_another_download_makes_no_byte_believed() {
    let interrupted = Interrupted::new(Some(LEN));
    // Of the same length and with the same tag: its checksums are not those of these bytes.
    let scratch = interrupted.place();
    scratch.write("f.part", &pattern(77, 0..LEN));
    assert_eq!(interrupted.go_on(&scratch), resumed(0));
    // Of another length.
    let scratch = interrupted.place();
    scratch.write("f.part.index", &Interrupted::new(None).index);
    let why = IndexProblem::LengthDiffers { found: None, given: Some(LEN) };
    assert_eq!(interrupted.go_on(&scratch), Leftover::SetAside { why });
}

#[test]
fn an_unfinished_file_of_another_source_is_set_aside_whole() {
    let interrupted = Interrupted::new(Some(LEN));
    let place = || (interrupted.place(), [("f.part.old", &interrupted.part), ("f.part.index.old", &interrupted.index)]);
    let (scratch, kept) = place();
    let other = || MmapOptions { tag: b"v2".to_vec(), ..wanted(&scratch, Some(LEN)) };
    drop(open(other()).unwrap());
    kept.iter().for_each(|(name, bytes)| assert_eq!(&scratch.read(name), *bytes));
    assert_eq!(scratch.names(), ["f.part.index.old", "f.part.old"]);
    assert_eq!(go_on(&scratch, other()), Leftover::None);
    assert_eq!(scratch.names(), ["f"], "nobody needs it when the file is complete");
    let (scratch, _) = place();
    let other = MmapOptions { tag: b"v2".to_vec(), ..wanted(&scratch, Some(LEN)) };
    assert_eq!(go_on(&scratch, other), Leftover::SetAside { why: IndexProblem::TagDiffers });
    assert_eq!(
        IndexProblem::TagDiffers.to_string(),
        "the source has changed since the unfinished file was begun (its tag differs); the data are fetched again"
    );

    // It is longer than the one wanted: not a byte of it is cut off.
    let (scratch, kept) = place();
    let resource = open(wanted(&scratch, Some(10))).unwrap();
    let why = IndexProblem::LengthDiffers { found: Some(LEN), given: Some(10) };
    assert_eq!(
        why.to_string(),
        "the unfinished file is one of 200 bytes, and the one wanted is one of 10 bytes; the data are fetched again"
    );
    assert_eq!(resource.leftover(), Leftover::SetAside { why });
    kept.iter().for_each(|(name, bytes)| assert_eq!(&scratch.read(name), *bytes));
    drop(resource);
    assert_eq!(scratch.names(), ["f.part.index.old", "f.part.old"]);
}

/// The data were renamed before it was known whether the index could be: what was a whole was then in two places, and
/// an index without its data took the next writer for its own.
#[test]
fn what_cannot_be_set_aside_whole_stays_as_it_is() {
    let interrupted = Interrupted::new(Some(LEN));
    let scratch = interrupted.place();
    // A file does not take the place of a folder.
    fs::create_dir(scratch.path("f.part.index.old")).unwrap();
    let other = || MmapOptions { tag: b"v2".to_vec(), ..wanted(&scratch, Some(LEN)) };
    assert_eq!(refusal(other()), "cannot set aside NAME.part.index: Is a directory (os error 21)");
    assert_eq!(scratch.names(), ["f.part", "f.part.index", "f.part.index.old"]);
    assert_eq!(
        (scratch.read("f.part"), scratch.read("f.part.index")),
        (interrupted.part.clone(), interrupted.index.clone())
    );
    fs::remove_dir(scratch.path("f.part.index.old")).unwrap();
    assert_eq!(interrupted.go_on(&scratch), resumed(WRITTEN));
}

/// The data were renamed before the index. Whoever died in between left an index without data, and the next open
/// renamed the empty file that it had just made over the data set aside.
#[test]
fn what_was_set_aside_survives_a_crash_in_the_middle_of_that() {
    let interrupted = Interrupted::new(Some(LEN));
    let other = |scratch: &Scratch| MmapOptions { tag: b"v2".to_vec(), ..wanted(scratch, Some(LEN)) };
    let set_aside = |scratch: &Scratch, name| {
        fs::rename(scratch.path(name), scratch.path(&format!("{name}.old"))).unwrap();
    };
    // Between the two renames, in either order.
    let scratch = interrupted.place();
    set_aside(&scratch, "f.part");
    go_on(&scratch, other(&scratch));
    assert_eq!(scratch.read("f.part.old"), interrupted.part);
    let scratch = interrupted.place();
    set_aside(&scratch, "f.part.index");
    let resource = open(other(&scratch)).unwrap();
    assert_eq!(resource.leftover(), Leftover::SetAside { why: IndexProblem::Missing });
    drop(resource);
    assert_eq!(scratch.read("f.part.old"), interrupted.part);
    assert_eq!(scratch.read("f.part.index.old"), interrupted.index);
    go_on(&scratch, other(&scratch));
    assert_eq!(scratch.names(), ["f"]);
    // Behind both, and while the index of the file that follows was made.
    for begun in [0, 1, HEAD - 1] {
        let scratch = interrupted.place();
        set_aside(&scratch, "f.part");
        set_aside(&scratch, "f.part.index");
        scratch.write("f.part", b"");
        scratch.write("f.part.index", &interrupted.index[..begun]);
        let resource = open(other(&scratch)).unwrap();
        assert_eq!(resource.leftover(), Leftover::None);
        drop(resource);
        assert_eq!(scratch.read("f.part.old"), interrupted.part, "{begun}");
        assert_eq!(scratch.read("f.part.index.old"), interrupted.index, "{begun}");
    }
}

/// An index that had outlived its data was gone on with. The new file was reserved as zeros, so that stretches of zeros
/// were right at the open after that, though this download had not written them.
#[test]
fn an_index_without_data_says_nothing_of_the_file_that_follows() {
    let scratch = Scratch::new();
    let open_it = || open(wanted(&scratch, Some(LEN))).unwrap();
    let resource = open_it();
    resource.writer().unwrap().write_at(0, &[0; 60]).unwrap();
    drop(resource);
    fs::remove_file(scratch.path("f.part")).unwrap();
    let resource = open_it();
    assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 0, dropped: 60 });
    resource.writer().unwrap().write_at(100, b"this one's").unwrap();
    drop(resource);
    let resource = open_it();
    assert_eq!(resource.leftover(), Leftover::Resumed { bytes: 10, dropped: 0 });
    assert_eq!(resource.reader().available(), [100..110].into_iter().collect());
    drop(resource);
    // Nor is there anything to set aside, whatever comes next; the place may hold the index of data that are.
    fs::remove_file(scratch.path("f.part")).unwrap();
    scratch.write("f.part.index.old", b"of f.part.old");
    drop(open(MmapOptions { tag: b"v2".to_vec(), ..wanted(&scratch, Some(LEN)) }).unwrap());
    assert_eq!(scratch.names(), ["f.part.index.old"]);
    assert_eq!(scratch.read("f.part.index.old"), b"of f.part.old");
}

/// The index of another format was set aside without data. What was somebody else's and came to lie beside it was then
/// taken for ours, and removed at the commit.
#[test]
fn an_index_without_data_makes_nobody_elses_file_ours() {
    let interrupted = Interrupted::new(Some(LEN));
    let mut index = interrupted.index.clone();
    index[8] += 1;
    let scratch = Scratch::new();
    scratch.write("f.part.index", &index);
    drop(open(wanted(&scratch, Some(LEN))).unwrap());
    assert_eq!(scratch.names(), [""; 0]);
    scratch.write("f.part", b"somebody's file");
    assert_eq!(go_on(&scratch, wanted(&scratch, Some(LEN))), Leftover::SetAside { why: IndexProblem::Missing });
    assert_eq!(scratch.read("f.part.old"), b"somebody's file");
}

/// The empty file that it had made for itself stayed.
#[test]
fn an_open_that_finds_the_index_in_the_way_leaves_nothing() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("f.part.index")).unwrap();
    fs::create_dir_all(scratch.path("f.part.index.old/full")).unwrap();
    let message = refusal(wanted(&scratch, None));
    assert_eq!(message, "cannot set aside NAME.part.index: Directory not empty (os error 39)");
    assert_eq!(scratch.names(), ["f.part.index", "f.part.index.old"]);
}

/// Whoever died in the middle of `begin` or of `publish`.
#[test]
fn what_a_crash_leaves_between_two_steps_is_taken_for_what_it_is() {
    let interrupted = Interrupted::new(None);
    // An empty file, and no index yet.
    let scratch = Scratch::new();
    scratch.write("f.part", b"");
    assert_eq!(go_on(&scratch, wanted(&scratch, None)), Leftover::None);
    assert_eq!(scratch.names(), ["f"]);
    // An index whose data were renamed to another place.
    let scratch = interrupted.place();
    fs::remove_file(scratch.path("f.part")).unwrap();
    assert_eq!(interrupted.go_on(&scratch), resumed(0));
    assert_eq!(scratch.names(), ["f"]);
    // The file is published, its index is not gone yet: it is complete for whoever looks, and a next generation does
    // not believe the index.
    let scratch = Scratch::new();
    scratch.write("f", &pattern(0, 0..LEN));
    scratch.write("f.part.index", &interrupted.index);
    let resource = open(wanted(&scratch, None)).unwrap();
    assert_eq!((resource.leftover(), read_all(&resource.reader())), (Leftover::None, pattern(0, 0..LEN)));
    resource.reactivate().unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"more").unwrap();
    writer.commit(None).unwrap();
    assert_eq!(scratch.read("f"), [pattern(0, 0..LEN), b"more".to_vec()].concat());
}
