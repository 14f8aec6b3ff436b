//! Paths that cannot be written to, and why, in words. Nothing hangs, nobody's file is touched.

use crate::{
    assert_same, finish, in_words, options, pattern, read_all, refusal, resuming,
    scratch::Scratch,
    threads::{assert_is, must_end},
};
use roundelay::{MmapDriver, MmapOptions, OpenMode, StorageError, open};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    process::Command,
};

const MODES: [OpenMode; 4] = [OpenMode::Auto, OpenMode::ReadWrite, OpenMode::ReadOnly, OpenMode::Replace];
const WRITING: [OpenMode; 3] = [OpenMode::Auto, OpenMode::ReadWrite, OpenMode::Replace];
const LINK: &str = "a symbolic link; give the path that it leads to";
const NO_SUCH_FILE: &str = "No such file or directory (os error 2)";

fn make_pipe(scratch: &Scratch, name: &str) {
    assert!(Command::new("mkfifo").arg(scratch.path(name)).status().unwrap().success());
}

#[test]
fn a_path_that_names_no_file_is_refused() {
    for mode in MODES {
        for path in ["", "/", ".", "..", "x/..", "/..", "nothing/", "nothing/."] {
            let error = open(options(path, mode)).unwrap_err();
            let shown = if path.is_empty() { "an empty path" } else { path };
            assert_eq!(error.to_string(), format!("{shown} is not the name of a file"));
            assert_is!(MmapDriver::discard(path), Err(StorageError::NotAFile { .. }));
        }
    }
}

#[test]
fn a_folder_is_refused_at_either_name() {
    let scratch = Scratch::new();
    for name in ["f", "g.part"] {
        fs::create_dir(scratch.path(name)).unwrap();
    }
    for mode in MODES {
        assert_eq!(refusal(options(scratch.path("f"), mode)), "NAME is a folder");
        assert!(refusal(options(scratch.path("f/"), mode)).ends_with(" is a folder"));
    }
    for mode in WRITING {
        assert_eq!(refusal(options(scratch.path("g"), mode)), "NAME.part is a folder");
    }
    assert_eq!(scratch.names(), ["f", "g.part"]);
}

#[test]
fn a_pipe_is_refused_at_either_name_and_nobody_waits_for_its_other_end() {
    must_end(|| {
        let scratch = Scratch::new();
        make_pipe(&scratch, "f");
        make_pipe(&scratch, "g.part");
        for mode in MODES {
            assert_eq!(refusal(options(scratch.path("f"), mode)), "NAME is no plain file");
        }
        for mode in WRITING {
            assert_eq!(refusal(options(scratch.path("g"), mode)), "NAME.part is no plain file");
        }
        assert_eq!(scratch.names(), ["f", "g.part"]);
    });
}

#[test]
fn a_link_is_not_written_through_and_not_replaced() {
    let scratch = Scratch::new();
    scratch.write("theirs", b"theirs");
    symlink(scratch.path("theirs"), scratch.path("f")).unwrap();
    symlink(scratch.path("nothing"), scratch.path("dangling")).unwrap();
    symlink(scratch.path("theirs"), scratch.path("g.part")).unwrap();
    symlink(scratch.path("nothing"), scratch.path("h.part")).unwrap();
    let before = scratch.names();
    for mode in WRITING {
        for name in ["f", "dangling"] {
            assert_eq!(refusal(options(scratch.path(name), mode)), format!("NAME is {LINK}"));
        }
        for name in ["g", "h"] {
            assert_eq!(refusal(options(scratch.path(name), mode)), format!("NAME.part is {LINK}"));
        }
    }
    // Who only reads may come by it.
    let resource = open(options(scratch.path("f"), OpenMode::ReadOnly)).unwrap();
    assert_eq!(read_all(&resource.reader()), b"theirs");
    let message = refusal(options(scratch.path("dangling"), OpenMode::ReadOnly));
    assert!(message.starts_with("cannot open NAME: "), "{message}");
    assert_eq!((scratch.names(), scratch.read("theirs")), (before, b"theirs".to_vec()));
}

/// Whoever had the other name found a download in the place of the file.
#[test]
fn a_file_with_a_second_name_is_refused() {
    let scratch = Scratch::new();
    scratch.write("theirs", b"theirs");
    fs::hard_link(scratch.path("theirs"), scratch.path("f.part")).unwrap();
    for mode in WRITING {
        let message = refusal(options(scratch.path("f"), mode));
        let what = "a file with a second name (a hard link); remove this name, or copy the file";
        assert_eq!(message, format!("NAME.part is {what}"));
    }
    assert_is!(MmapDriver::discard(scratch.path("f")), Err(StorageError::NotAFile { .. }));
    // An empty one is no less somebody's.
    scratch.write("theirs", b"");
    assert_is!(open(MmapOptions::new(scratch.path("f"))), Err(StorageError::NotAFile { .. }));
    scratch.write("theirs", b"theirs");
    assert_eq!(scratch.names(), ["f.part", "theirs"]);
    // A complete file may have as many as it likes: a next one takes the place of one of them.
    fs::rename(scratch.path("f.part"), scratch.path("f")).unwrap();
    let resource = open(options(scratch.path("f"), OpenMode::ReadWrite)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.write_at(0, b"T").unwrap();
    writer.write_at(6, b" no more").unwrap();
    writer.commit(None).unwrap();
    assert_eq!((scratch.read("theirs"), scratch.read("f")), (b"theirs".to_vec(), b"Theirs no more".to_vec()));
}

/// What lies at the names of an index, and at those of its scratch files, is never written through.
#[test]
fn nothing_is_written_through_the_names_beside_a_file() {
    type Put = fn(&Scratch, &str);
    let kinds: [(&str, Put); 4] = [
        ("a hard link", |scratch, name| fs::hard_link(scratch.path("theirs"), scratch.path(name)).unwrap()),
        ("a link", |scratch, name| symlink(scratch.path("theirs"), scratch.path(name)).unwrap()),
        ("a dangling link", |scratch, name| symlink(scratch.path("nothing"), scratch.path(name)).unwrap()),
        ("a pipe", make_pipe),
    ];
    must_end(move || {
        for (kind, put) in kinds {
            for name in ["f.part.index", "f.part.index.new", "f.part.cut", "f.part.old", "f.part.index.old"] {
                let scratch = Scratch::new();
                let tag = || MmapOptions { tag: b"v1".to_vec(), ..MmapOptions::new(scratch.path("f")) };
                let resource = open(tag()).unwrap();
                resource.writer().unwrap().append(&pattern(0, 0..1000)).unwrap();
                drop(resource);
                // Theirs looks like an index of ours, with what a torn write left behind it.
                let theirs = [scratch.read("f.part.index"), b"torn".to_vec()].concat();
                scratch.write("theirs", &theirs);
                // So that its index is written anew.
                let mut data = scratch.read("f.part");
                data[0] ^= 1;
                scratch.write("f.part", &data);
                let _ = fs::remove_file(scratch.path(name));
                put(&scratch, name);
                let resource = open(tag()).unwrap();
                let mut writer = resource.writer().unwrap();
                writer.append(&pattern(0, 0..2000)).unwrap();
                resource.flush().unwrap();
                writer.commit(Some(500)).unwrap();
                assert_same(scratch.read("f"), pattern(0, 0..500));
                assert_eq!(scratch.read("theirs"), theirs, "{kind} at {name}");
                assert!(!scratch.path("nothing").exists(), "{kind} at {name}");
            }
        }
    });
}

/// A commit below what was written puts its copy there first.
#[test]
fn a_link_in_the_place_of_the_copy_of_a_short_commit_is_not_written_through() {
    let scratch = Scratch::new();
    scratch.write("theirs", b"theirs");
    let resource = open(MmapOptions::new(scratch.path("f"))).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(&pattern(0, 0..1000)).unwrap();
    symlink(scratch.path("theirs"), scratch.path("f.part.cut")).unwrap();
    writer.commit(Some(500)).unwrap();
    assert_eq!(scratch.read("theirs"), b"theirs");
    assert!(fs::symlink_metadata(scratch.path("f")).unwrap().is_file());
    assert_same(scratch.read("f"), pattern(0, 0..500));
    assert_eq!(scratch.names(), ["f", "theirs"]);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let scratch = Scratch::new();
    scratch.write("file", b"no folder");
    for mode in MODES {
        let error = open(options(scratch.path("missing/deep/f"), mode)).unwrap_err();
        let folder = scratch.path("missing/deep");
        assert_is!(&error, StorageError::FolderMissing { folder: named, .. } if *named == folder);
        let missing = format!("cannot be opened: the folder {} does not exist; create it first", folder.display());
        assert!(error.to_string().ends_with(&missing), "{error}");
    }
    for mode in WRITING {
        let message = refusal(options(scratch.path("file/f"), mode));
        assert_eq!(message, "cannot open NAME: Not a directory (os error 20)");
        refusal(options(scratch.path("new/"), mode));
    }
    assert_eq!(refusal(options(scratch.path("none"), OpenMode::ReadOnly)), format!("cannot open NAME: {NO_SUCH_FILE}"));
    assert_eq!(scratch.names(), ["file"]);
}

#[test]
fn a_name_that_is_too_long_is_refused_and_nothing_is_left() {
    const TOO_LONG: &str = "File name too long (os error 36)";
    let scratch = Scratch::new();
    for mode in WRITING {
        // Of itself; with `.part`; with `.part.index`.
        for (len, message) in [
            (256, format!("cannot open NAME: {TOO_LONG}")),
            (251, format!("cannot open or create NAME.part: {TOO_LONG}")),
            (245, format!("cannot read NAME.part.index: {TOO_LONG}")),
        ] {
            assert_eq!(refusal(options(scratch.path(&"n".repeat(len)), mode)), message);
            assert_eq!(scratch.names(), [""; 0], "{len}");
        }
    }
    let longest = "n".repeat(244);
    let resource = open(MmapOptions::new(scratch.path(&longest))).unwrap();
    finish(&resource, b"there is room for .part.index");
    assert_eq!(scratch.names(), [longest]);
}

#[test]
fn a_name_need_not_be_text() {
    let scratch = Scratch::new();
    let path = scratch.path("").join(OsStr::from_bytes(b"\xff\xfe\x80 \n"));
    let resource = open(MmapOptions::new(&path)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(b"first ").unwrap();
    assert_is!(open(MmapOptions::new(&path)), Err(StorageError::Locked { .. }));
    drop((writer, resource));
    let resource = open(resuming(&path, OpenMode::Auto)).unwrap();
    finish(&resource, b"second");
    assert_eq!(resource.path(), Some(path.clone()));
    assert_eq!(fs::read(&path).unwrap(), b"first second");
    assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 1);
}

#[test]
fn a_folder_that_goes_away_is_an_error_of_the_commit() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("folder")).unwrap();
    let path = scratch.path("folder/f");
    let resource = open(MmapOptions::new(&path)).unwrap();
    let mut writer = resource.writer().unwrap();
    writer.append(&pattern(0, 0..1000)).unwrap();
    fs::remove_dir_all(scratch.path("folder")).unwrap();
    let error = writer.commit(None).unwrap_err();
    assert_eq!(
        in_words(&error, &path),
        "the resource failed: NAME.part was removed or renamed while it was written; what was written cannot be resumed"
    );
    assert_eq!(read_all(&resource.reader()), pattern(0, 0..1000), "what is there stays readable");
    assert_eq!(scratch.names(), [""; 0]);
}
