//! A download from its beginning to its end: open, write, commit.

use super::{
    ours::Ours,
    store::{Store, StoreWriter, folder},
    theirs::Theirs,
};
use crate::{
    buffer::{check, fill},
    race::{Contender, Races},
};
use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

/// How much is downloaded, in bytes.
const LEN: u64 = 64 << 20;

/// How much comes at once.
const PIECE: usize = 64 << 10;

pub fn run(races: &mut Races) {
    let mut stream = vec![0; LEN as usize];
    fill(0, &mut stream);
    let ours = vec![
        contender(Ours::AT_COMMIT, Ours::AT_COMMIT.name(), &stream, |_| ()),
        contender(Ours::by_default(), Ours::by_default().name(), &stream, |_| ()),
    ];
    let rivals = vec![
        contender(Theirs, Theirs.name(), &stream, |_| ()),
        contender(Theirs, format!("{}, then synced", Theirs.name()), &stream, sync),
    ];
    races.run("file whole, 64 MiB", "", ours, rivals);
    races.note(format!(
        "file whole: ours reserves the file, and its commit syncs data and folder; theirs has a sparse file, and syncs \
         nothing unless the caller does after it (\"then synced\"). Files in {}.",
        std::env::temp_dir().display()
    ));
}

/// The least that a caller has to add for the file to be there after a power cut.
fn sync(folder: &Path) {
    let mut synced = vec![only_file(folder)];
    // Elsewhere a folder is not opened as a file is.
    if cfg!(unix) {
        synced.push(folder.to_owned());
    }
    for path in synced {
        File::open(path).and_then(|file| file.sync_all()).expect("what was opened can be synced");
    }
}

fn only_file(folder: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it has files").path());
    let file = files.next().expect("the file was published");
    assert!(files.next().is_none(), "a commit leaves one file behind");
    file
}

fn contender<'a, S: Store + 'a>(store: S, name: String, stream: &'a [u8], after: impl Fn(&Path) + 'a) -> Contender<'a> {
    let download = move |folder: &Path| {
        let start = Instant::now();
        let (mut writer, reader) = store.open(folder, LEN);
        for (i, piece) in stream.chunks(PIECE).enumerate() {
            writer.write((i * PIECE) as u64, piece);
        }
        writer.commit(LEN);
        after(folder);
        let time = start.elapsed();
        drop(reader);
        time
    };
    let verified = folder();
    download(verified.path());
    let published = fs::read(only_file(verified.path())).expect("the file was published");
    assert_eq!(published.len() as u64, LEN, "{name}: the length");
    check(0, &published, &name);
    Contender::new(name, move |n| {
        (0..n)
            .map(|_| {
                // Removed when the time was taken.
                let folder = folder();
                download(folder.path())
            })
            .sum::<Duration>()
    })
}
