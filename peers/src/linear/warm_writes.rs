//! Writes of a page each, one after the other, to pages that are mapped already.

use super::{
    ours::Ours,
    store::{PAGE, Store, StoreReader, StoreWriter, folder},
    theirs::Theirs,
};
use crate::{
    buffer::{Buffer, check, fill},
    race::{Contender, Races},
};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// In the cache of a core, with all that goes with it.
const PAGES_IN_CACHE: u64 = (256 << 10) / PAGE;

/// More than any cache holds, and twice as much as is synced at once.
const PAGES_BEYOND: u64 = (64 << 20) / PAGE;

pub fn run(races: &mut Races) {
    let ours = vec![contender(Ours::AT_COMMIT, PAGES_IN_CACHE)];
    races.run("file write, 4 KiB, warm pages in cache", "", ours, vec![contender(Theirs, PAGES_IN_CACHE)]);
    let ours = vec![contender(Ours::AT_COMMIT, PAGES_BEYOND), contender(Ours::by_default(), PAGES_BEYOND)];
    races.run("file write, 4 KiB, warm pages", "", ours, vec![contender(Theirs, PAGES_BEYOND)]);
    races.note("file write: with \"flush every\", the writing thread syncs what it wrote; theirs never syncs.".into());
}

fn contender<S: Store + 'static>(store: S, pages: u64) -> Contender<'static> {
    verify(&store);
    Contender::new(store.name(), move |n| (0..n).map(|_| write_pages(&store, pages)).sum())
}

/// The time that it takes to write a new file.
fn write_pages<S: Store>(store: &S, pages: u64) -> Duration {
    let folder = folder();
    let (mut writer, _reader) = store.open(folder.path(), pages * PAGE);
    writer.warm(pages * PAGE);
    let page = Buffer::mid_page(PAGE as usize);
    let start = Instant::now();
    for i in 0..pages {
        writer.write(i * PAGE, black_box(&page));
    }
    start.elapsed()
}

fn verify<S: Store>(store: &S) {
    const PAGES: u64 = PAGES_IN_CACHE;
    let folder = folder();
    let (mut writer, reader) = store.open(folder.path(), PAGES * PAGE);
    writer.warm(PAGES * PAGE);
    let mut page = vec![0; PAGE as usize];
    for offset in (0..PAGES * PAGE).step_by(PAGE as usize) {
        fill(offset, &mut page);
        writer.write(offset, &page);
        page.fill(0);
        assert!(reader.read(offset, &mut page), "{}: no bytes at {offset}", store.name());
        check(offset, &page, &store.name());
    }
}
