//! Stores in files that keep all that is written: ours, and that of `kithara-storage`, which has the same handles.
//!
//! Their files lie side by side in the folder for temporary files (`TMPDIR` says which): on a disk or in memory, it is
//! the same for both.

pub mod fragments;
pub mod memory;
mod ours;
pub mod reads;
pub mod ready;
mod store;
mod theirs;
pub mod warm_writes;
pub mod whole;
