//! The frontier of a store: what lies below it is there, whoever wrote it.
//!
//! Two blocks, since within one the word itself hands on who else wrote there; mapped, and with a leaf, before any thread
//! is, for the reason given in `coverage.rs`. All is there before the last byte of the first block. The byte at offset `o` is
//! `o + 1`.

use loom::sync::Arc;
use loom::thread;
use roundelay::internals::{BLOCK, Coverage, Medium, Segments, Store, Strays};

use crate::Preemptions::{Any, AtMost};
use crate::{explore, models};

models! {
    what_is_below_the_frontier_is_there => in_order(),
    what_two_wrote_is_there => neighbours(),
    a_frontier_left_behind_catches_up => left_behind(),
    a_rewrite_has_old_bytes_or_new_ones => rewritten(),
}

const LAST: u64 = BLOCK - 1;

fn segments() -> Segments {
    let segments = Segments::new(Medium::Memory, 2 * BLOCK);
    segments.map(&(0..2 * BLOCK)).unwrap();
    segments
}

fn store() -> Arc<Store> {
    let store = Store::new(segments(), Coverage::new());
    store.write(0, &[0; LAST as usize]);
    Arc::new(store)
}

fn write(store: &Store, at: u64) {
    store.write(at, &[at as u8 + 1]);
}

/// Reads `len` bytes from the last of the first block on, if the frontier says that they are there.
fn look(store: &Store, len: usize) -> bool {
    let mut buf = vec![0; len];
    let there = store.read_at_once(LAST, &mut buf);
    if there {
        for (at, got) in (LAST..).zip(&buf) {
            assert_eq!(*got, at as u8 + 1, "NOT THERE below the frontier: {buf:?}");
        }
    }
    there
}

fn in_order() {
    explore(Any, || {
        let store = store();
        let other = store.clone();
        let writer = thread::spawn(move || {
            write(&other, LAST);
            write(&other, LAST + 1);
        });
        look(&store, 1);
        look(&store, 2);
        writer.join().unwrap();
        assert!(look(&store, 2), "BEHIND");
    });
}

/// Of each of two writers a neighbour, and a reader that knows of neither. Whoever comes second hands on both.
fn neighbours() {
    explore(AtMost(2), || {
        let store = store();
        let writers = [LAST, LAST + 1].map(|at| {
            let store = store.clone();
            thread::spawn(move || write(&store, at))
        });
        look(&store, 2);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

/// Two neighbours that come at once may be too early to see each other; the next write finds that out.
fn left_behind() {
    explore(Any, || {
        let store = store();
        let other = store.clone();
        let writer = thread::spawn(move || write(&other, LAST + 1));
        write(&store, LAST);
        writer.join().unwrap();
        write(&store, LAST + 2);
        assert!(look(&store, 3), "BEHIND");
    });
}

/// All is there in the generation before, and is read from there until it is written anew: nothing is below a frontier.
fn rewritten() {
    const OLD: u8 = 100;
    const NEW: u8 = 200;
    explore(Any, || {
        let before = Store::new(segments(), Coverage::new());
        before.write(0, &[OLD; 2 * BLOCK as usize]);
        let store = Arc::new(before.rewrite(2 * BLOCK, segments()));
        // Its leaf is there before any thread is.
        store.write(0, &[NEW]);
        let other = store.clone();
        let writer = thread::spawn(move || other.write(LAST, &[NEW]));
        let mut buf = [0; 2];
        if !store.read_at_once(LAST, &mut buf) {
            assert_eq!(store.read(LAST, &mut buf, Strays::Lock), 2);
        }
        assert!([OLD, NEW].contains(&buf[0]) && buf[1] == OLD, "NOT THERE: {buf:?}");
        writer.join().unwrap();
    });
}
