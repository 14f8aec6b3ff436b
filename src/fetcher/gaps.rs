//! The gaps that fetchers share: what is missing and claimed by nobody.
//!
//! The set is taken from the coverage once, when the fetcher is made. From then on only claims write, so that the set says
//! everything: a claim is cut out of it, and what a claim did not fill goes back in. Whoever looks for a gap looks
//! at ranges, and at no word of the coverage, however long the store is and however much of it is there.

use crate::coverage::{BLOCK, Coverage};
use rangemap::RangeSet;
use std::ops::Range;

/// The gaps of one store.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Missing, and claimed by nobody.
    free: RangeSet<u64>,
    /// How many claims are out. The commit counts as one.
    out: usize,
    /// Where the last claim ended: unless a reader waits elsewhere, the next one begins there.
    next: u64,
}

impl Gaps {
    /// What `coverage` is missing below `len`.
    pub(super) fn of(coverage: &Coverage, len: u64) -> Self {
        Self { free: missing(coverage, 0..len).collect(), ..Self::default() }
    }

    /// Claims the first `max` bytes of the gap that is nearest behind one of `wanted`, or else behind the last claim; a
    /// claim to a part of a gap ends at the end of a block if it can, so that two claims share no word. `None` if no gap
    /// is free.
    pub(super) fn claim(&mut self, wanted: impl Iterator<Item = u64>, max: u64) -> Option<Range<u64>> {
        let nearest = wanted.filter_map(|wanted| {
            let gap = self.at_or_after(wanted)?;
            Some((gap.start - wanted, gap))
        });
        let nearest = nearest.min_by_key(|(distance, gap)| (*distance, gap.start)).map(|(_, gap)| gap);
        let gap = nearest.or_else(|| self.at_or_after(self.next)).or_else(|| self.at_or_after(0))?;
        let claim = self.take(&gap, max);
        self.next = claim.end;
        Some(claim)
    }

    /// Claims the first `max` free bytes at or behind `from`. The next [`claim`](Self::claim) begins where it would have
    /// begun without.
    pub(super) fn claim_from(&mut self, from: u64, max: u64) -> Option<Range<u64>> {
        let gap = self.at_or_after(from)?;
        Some(self.take(&gap, max))
    }

    fn take(&mut self, gap: &Range<u64>, max: u64) -> Range<u64> {
        let claim = gap.start..claim_end(gap, max.max(1));
        self.free.remove(claim.clone());
        self.out += 1;
        claim
    }

    /// The first free bytes at or behind `from`, to the end of their gap.
    fn at_or_after(&self, from: u64) -> Option<Range<u64>> {
        let gap = self.free.overlapping(&(from..u64::MAX)).next()?;
        Some(gap.start.max(from)..gap.end)
    }

    /// Ends a claim. It has not filled `rest`.
    pub(super) fn give_back(&mut self, rest: impl Iterator<Item = Range<u64>>) {
        self.free.extend(rest);
        self.out -= 1;
    }

    /// Whether all is there. The caller then commits, and nobody else: the commit is a claim to no bytes.
    pub(super) fn begin_commit(&mut self) -> bool {
        let whole = self.free.is_empty() && self.out == 0;
        if whole {
            self.out = 1;
        }
        whole
    }
}

/// What `coverage` is missing of `range`, in order.
pub(super) fn missing(coverage: &Coverage, mut range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    std::iter::from_fn(move || {
        let gap = coverage.first_missing(&range)?;
        range.start = gap.end;
        Some(gap)
    })
}

/// Where a claim to the start of `gap` ends.
fn claim_end(gap: &Range<u64>, max: u64) -> u64 {
    let end = gap.start.saturating_add(max);
    if end >= gap.end {
        return gap.end;
    }
    let rounded = end / BLOCK * BLOCK;
    if rounded > gap.start { rounded } else { end }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_claim_ends_with_a_block_if_it_can() {
        let coverage = Coverage::new();
        coverage.insert(0..100);
        let mut gaps = Gaps::of(&coverage, 3 * BLOCK + 5);
        let mut claim = |max| gaps.claim([].into_iter(), max);
        assert_eq!(claim(10), Some(100..110), "less than a block");
        assert_eq!(claim(BLOCK), Some(110..BLOCK), "rounded down");
        assert_eq!(claim(0), Some(BLOCK..BLOCK + 1), "at least a byte");
        assert_eq!(claim(5 * BLOCK), Some(BLOCK + 1..3 * BLOCK + 5), "all that is left");
        assert_eq!(claim(1), None);
        gaps.give_back([105..110].into_iter());
        assert_eq!(gaps.claim([BLOCK].into_iter(), u64::MAX), Some(105..110), "nothing is free behind what is wanted");
    }

    #[test]
    fn the_gap_nearest_behind_a_wanted_byte_comes_first() {
        let coverage = Coverage::inheriting(10);
        [20..30, 40..50].into_iter().for_each(|there| coverage.insert(there));
        let mut gaps = Gaps::of(&coverage, 100);
        let mut claim = |wanted: &[u64]| gaps.claim(wanted.iter().copied(), 5);
        assert_eq!(claim(&[0, 22, 45]), Some(50..55), "five bytes away");
        assert_eq!(claim(&[0, 22, 45]), Some(30..35), "eight bytes away");
        assert_eq!(claim(&[33]), Some(35..40));
        assert_eq!(claim(&[]), Some(55..60), "behind the last");
        assert_eq!(claim(&[97]), Some(97..100));
        assert_eq!(claim(&[100, u64::MAX]), Some(10..15), "from the start, when nothing is left behind the last");
    }

    #[test]
    fn a_claim_from_an_offset_takes_nothing_before_it() {
        let mut gaps = Gaps::of(&Coverage::inheriting(10), 100);
        assert_eq!(gaps.claim_from(50, 20), Some(50..70));
        assert_eq!(gaps.claim_from(60, 20), Some(70..90), "behind what is claimed");
        assert_eq!(gaps.claim([].into_iter(), 20), Some(10..30), "the order of the others is as it was");
        assert_eq!(gaps.claim_from(90, 20), Some(90..100));
        assert_eq!(gaps.claim_from(70, 20), None, "what is free lies before it");
    }

    #[test]
    fn one_caller_commits_once_no_claim_is_out() {
        let mut gaps = Gaps::of(&Coverage::new(), 10);
        assert!(!gaps.begin_commit(), "ten bytes are missing");
        assert_eq!(gaps.claim([].into_iter(), 10), Some(0..10));
        assert!(!gaps.begin_commit(), "a claim is out");
        gaps.give_back([].into_iter());
        assert!(gaps.begin_commit());
        assert!(!gaps.begin_commit(), "somebody commits");
    }
}
