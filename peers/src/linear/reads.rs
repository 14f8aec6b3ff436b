//! Reads anywhere in a store, while it is written and when it is committed.

use super::{
    ours::Ours,
    store::{Store, StoreReader, StoreWriter, folder, write_stream},
    theirs::{NAME, Theirs},
};
use crate::{
    pipe::size_name,
    race::{Promise, Races},
    random_reads::{contender, offsets},
};

/// What is there, in bytes: it fits a cache, so that the code is timed and not the memory.
const LEN: usize = 1 << 20;

/// A period of an audio callback, and a large read of a decoder, in bytes.
const SIZES: [usize; 2] = [512, 64 << 10];

pub fn run(races: &mut Races) {
    for committed in [false, true] {
        let (our_folder, their_folder) = (folder(), folder());
        let (our_writer, ours) = Ours::AT_COMMIT.open(our_folder.path(), LEN as u64);
        let (their_writer, theirs) = Theirs.open(their_folder.path(), LEN as u64);
        // A writer that was dropped before its commit would have failed the store.
        let _our_writer = write(our_writer, committed);
        let _their_writer = write(their_writer, committed);
        let state = if committed { "committed" } else { "active" };
        for size in SIZES {
            let offsets = offsets(LEN - size);
            races.run(
                &format!("file read, {state}"),
                &size_name(size),
                vec![contender(Promise::ALL, "try_read_at", size, 0, &offsets, |offset, buf| ours.read(offset, buf))],
                vec![contender(Promise::ALL, NAME, size, 0, &offsets, |offset, buf| theirs.read(offset, buf))],
            );
        }
    }
}

/// Writes all, and returns the writer if it is not to commit.
fn write<W: StoreWriter>(mut writer: W, commit: bool) -> Option<W> {
    write_stream(&mut writer, LEN as u64);
    if commit {
        writer.commit(LEN as u64);
        return None;
    }
    Some(writer)
}
