//! Where the words of a coverage are.
//!
//! ```text
//!   directories      0        1           2                   19          each twice as long as the one before,
//!                   [·]     [· ·]     [· · · ·]     …     [· · · … ·]     made when something falls into it
//!                    │       │           │
//!   leaves         1024    1024        1024 words                         4 MiB of data each, made likewise
//! ```
//!
//! A word never moves once it is made, so nobody who looks for one has to be held off. It is found with two dependent
//! loads and an `ilog2`. A store that is full from 0 on pays 0.1 % of its size; a single byte somewhere pays a leaf of
//! 4 KiB and the directory above it, which is 4 millionths of its offset.

use super::word::{BLOCK, Word};
use std::{ops::Range, sync::OnceLock};

#[cfg(not(loom))]
pub(super) const WORDS: u64 = 1024;
#[cfg(loom)]
pub(super) const WORDS: u64 = 2;

const DIRECTORIES: usize = 20;
const LEAVES: u64 = (1 << DIRECTORIES) - 1;

/// How many bytes a leaf speaks for.
pub(super) const SPAN: u64 = WORDS * BLOCK;

/// The offsets below this have words: 4 TiB less 4 MiB.
pub(super) const LIMIT: u64 = LEAVES * SPAN;

pub(super) type Leaf = [Word; WORDS as usize];

#[derive(Default)]
pub(super) struct Leaves {
    directories: [OnceLock<Directory>; DIRECTORIES],
}

type Directory = Box<[OnceLock<Box<Leaf>>]>;

/// The directory of a leaf, and its place in there.
#[inline]
fn place(leaf: u64) -> (usize, usize) {
    let directory = (leaf + 1).ilog2();
    (directory as usize, (leaf + 1 - (1 << directory)) as usize)
}

impl Leaves {
    /// The leaf that speaks for `offset`, if there is one.
    #[inline]
    pub(super) fn at(&self, offset: u64) -> Option<&Leaf> {
        let (directory, i) = place(offset / SPAN);
        self.directories.get(directory)?.get()?.get(i)?.get().map(|leaf| &**leaf)
    }

    /// The leaf that speaks for `offset`, which is below [`LIMIT`].
    #[inline]
    pub(super) fn at_or_new(&self, offset: u64) -> &Leaf {
        match self.at(offset) {
            Some(leaf) => leaf,
            None => self.grow(offset),
        }
    }

    #[cold]
    fn grow(&self, offset: u64) -> &Leaf {
        let (directory, i) = place(offset / SPAN);
        let directory =
            self.directories[directory].get_or_init(|| (0..1 << directory).map(|_| OnceLock::new()).collect());
        directory[i].get_or_init(|| Box::new(std::array::from_fn(|_| Word::empty())))
    }

    /// The first leaf that is there of those that speak for `range`, and the offset at which it begins.
    pub(super) fn first(&self, range: Range<u64>) -> Option<(u64, &Leaf)> {
        let mut leaf = range.start / SPAN;
        let end = range.end.min(LIMIT).div_ceil(SPAN);
        while leaf < end {
            let (directory, i) = place(leaf);
            if let Some(directory) = self.directories[directory].get() {
                let found = directory[i..].iter().zip(leaf..end).find_map(|(leaf, n)| Some((n * SPAN, &**leaf.get()?)));
                if found.is_some() {
                    return found;
                }
            }
            // To the first leaf of the next directory.
            leaf = (2 << directory) - 1;
        }
        None
    }

    /// All that are there, the last one first, with the offsets at which they begin.
    pub(super) fn backwards(&self) -> impl Iterator<Item = (u64, &Leaf)> {
        let directories = self.directories.iter().enumerate().rev();
        directories.filter_map(|(n, directory)| Some(((1 << n) - 1, directory.get()?))).flat_map(
            |(first, directory)| {
                let leaves = directory.iter().enumerate().rev();
                leaves.filter_map(move |(i, leaf)| Some(((first + i as u64) * SPAN, &**leaf.get()?)))
            },
        )
    }
}
