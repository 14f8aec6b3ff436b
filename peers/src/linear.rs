//! Stores in files that keep all that is written: ours, and that of `kithara-storage`, which has the same handles.
//!
//! Their files lie side by side in the folder for temporary files (`TMPDIR` says which): on a disk or in memory, it is
//! the same for both.

use crate::race::Races;

pub mod fragments;
pub mod memory;
mod ours;
pub mod reads;
pub mod ready;
pub mod store;
pub mod theirs;
pub mod warm_writes;
pub mod whole;

/// Those who are not here.
pub fn cannot(races: &mut Races) {
    let in_memory = ["rtrb", "ringbuf", "ArrayQueue", "photon-ring", "disruptor", "Mutex<VecDeque>", "memcpy"];
    races.cannot(&in_memory, "keeps nothing in a file");
    races.cannot(&["stream-download"], "its file is a temporary one, and gone with the last handle");
}
