//! Asking a store for bytes that are there.

use super::{
    ours::Ours,
    store::{Store, StoreReader, folder, write_stream},
    theirs::{NAME, Theirs},
};
use crate::{
    race::Races,
    ready::{LEN, contender},
};

pub fn run(races: &mut Races) {
    let (our_folder, their_folder) = (folder(), folder());
    let (mut our_writer, ours) = Ours::AT_COMMIT.open(our_folder.path(), LEN);
    let (mut their_writer, theirs) = Theirs.open(their_folder.path(), LEN);
    write_stream(&mut our_writer, LEN);
    write_stream(&mut their_writer, LEN);

    // Alike with alike: a wait says more than a look.
    let ours_waits = vec![contender("wait_range", |range| ours.wait(range))];
    races.run("file ready", "", ours_waits, vec![contender(NAME, |range| theirs.wait(range))]);
    let ours_looks = vec![contender("contains_range", |range| ours.contains(range))];
    races.run("file ready", "", ours_looks, vec![contender(NAME, |range| theirs.contains(range))]);
    super::cannot(races);
}
