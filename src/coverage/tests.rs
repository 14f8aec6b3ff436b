use super::leaves::SPAN;
use super::*;
use crate::sync::{AtomicU8, Ordering::Relaxed};
use proptest::{collection::vec, prelude::*};
use std::thread;

const MAX_OFFSET: u64 = u64::MAX - 8;

/// The same by plain sets.
#[derive(Debug, Default)]
struct Plain {
    inherited: u64,
    written: RangeSet<u64>,
}

impl Plain {
    fn there(&self) -> RangeSet<u64> {
        let mut there = self.written.clone();
        if self.inherited > 0 {
            there.insert(0..self.inherited);
        }
        there
    }

    fn truncate(&mut self, end: u64) {
        self.inherited = self.inherited.min(end);
        self.written.remove(end..u64::MAX);
    }
}

fn first_gap(set: &RangeSet<u64>, range: &Range<u64>) -> Option<Range<u64>> {
    if range.is_empty() { None } else { set.gaps(range).next() }
}

fn run(set: &RangeSet<u64>, offset: u64, max: u64) -> u64 {
    set.get(&offset).map_or(0, |range| (range.end - offset).min(max))
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Range<u64>),
    Truncate(u64),
}

/// The places where something changes: the first leaves, and the end of all offsets.
const ANCHORS: [u64; 4] = [0, SPAN - 2 * BLOCK, 3 * SPAN - 2 * BLOCK, MAX_OFFSET - 4 * BLOCK];

/// Around the first `anchors` of these, and there at the edges of blocks.
fn offsets(anchors: usize) -> impl Strategy<Value = u64> {
    let near = prop_oneof![
        0..4 * BLOCK,
        (0u64..5, 0u64..5).prop_map(|(block, byte)| (block * BLOCK + byte).saturating_sub(2)),
        0u64..40,
    ];
    (prop::sample::select(&ANCHORS[..anchors]), near).prop_map(|(anchor, near)| (anchor + near).min(MAX_OFFSET))
}

fn ranges(anchors: usize) -> impl Strategy<Value = Range<u64>> {
    let lens = prop_oneof![
        5 => Just(1),
        3 => 0u64..10,
        3 => 1..2 * BLOCK,
        1 => Just(BLOCK),
        1 => 1..3 * SPAN,
    ];
    (offsets(anchors), lens).prop_map(|(start, len)| start..start.saturating_add(len).min(MAX_OFFSET))
}

fn ops(anchors: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => ranges(anchors).prop_map(Op::Insert),
        1 => offsets(anchors).prop_map(Op::Truncate),
    ]
}

/// What is to hold whenever nobody is at work.
fn check_strays(coverage: &Coverage) {
    let slow = coverage.lock();
    for (block, strays) in &slow.strays {
        let leaf = coverage.leaves.at(block * BLOCK).unwrap();
        let extent = leaf[word_index(block * BLOCK)].extent();
        assert!(!strays.is_empty() && extent.spilled() && touching(extent, strays).is_none(), "block {block}");
    }
    let flagged = coverage.leaves.backwards().flat_map(|(_, leaf)| leaf).filter(|word| word.extent().spilled()).count();
    assert_eq!(flagged, slow.strays.len());
}

fn compare(coverage: &Coverage, plain: &Plain, range: &Range<u64>) {
    let there = plain.there();
    let missing: Vec<_> = if range.is_empty() { Vec::new() } else { there.gaps(range).collect() };
    let max = range.end - range.start;
    assert_eq!(coverage.covers(range), missing.is_empty());
    assert_eq!(coverage.first_missing(range), missing.first().cloned());
    assert_eq!(coverage.last_missing(range), missing.last().map(|gap| gap.end - 1));
    assert_eq!(coverage.run(range.start, max), run(&there, range.start, max));
    assert_eq!(coverage.run(range.start, u64::MAX), run(&there, range.start, u64::MAX));
    assert_eq!(coverage.written_run(range.start, max), run(&plain.written, range.start, max));
    assert_eq!(coverage.next_unwritten(range), first_gap(&plain.written, range));
    // The wait-free answers are cautious.
    assert!(!coverage.covers_now(range) || missing.is_empty());
    assert!(coverage.run_now(range.start, max) <= run(&there, range.start, max));
    assert_eq!(coverage.covers_now(range), coverage.run_now(range.start, max) == max);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_that_of_a_plain_set(
        (inherited, ops) in prop_oneof![Just(1usize), Just(ANCHORS.len())].prop_flat_map(|anchors| {
            let inherited = prop_oneof![3 => Just(0), 1 => offsets(anchors)];
            (inherited, vec((ops(anchors), ranges(anchors)), 1..60))
        }),
    ) {
        let coverage = Coverage::inheriting(inherited);
        let mut plain = Plain { inherited, ..Plain::default() };
        for (op, asked) in ops {
            let about = match op {
                Op::Insert(range) => {
                    coverage.insert(range.clone());
                    if !range.is_empty() {
                        plain.written.insert(range.clone());
                    }
                    range
                }
                Op::Truncate(end) => {
                    coverage.truncate(end);
                    plain.truncate(end);
                    end..end + 1
                }
            };
            compare(&coverage, &plain, &about);
            compare(&coverage, &plain, &asked);
            check_strays(&coverage);
            prop_assert_eq!(coverage.inherited(), plain.inherited);
            prop_assert_eq!(coverage.end(), plain.there().last().map_or(0, |range| range.end));
        }
        prop_assert_eq!(&coverage.available(), &plain.there());
        let copy = Coverage::from_ranges(&plain.written);
        prop_assert_eq!(&copy.available(), &plain.written);
    }
}

/// A generator good enough to shuffle by.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn shuffle<T>(items: &mut [T], seed: &mut u64) {
    for i in (1..items.len()).rev() {
        items.swap(i, (random(seed) % (i as u64 + 1)) as usize);
    }
}

#[test]
fn what_is_there_was_written_while_several_write_at_once() {
    // Across the border of two leaves.
    const AT: u64 = SPAN - 2 * BLOCK;
    const LEN: u64 = 5 * BLOCK;
    for round in 0..12 {
        let mut seed = 0x9E37_79B9_7F4A_7C15 ^ round;
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < LEN {
            let len = match random(&mut seed) % 4 {
                0 => 1,
                1 => random(&mut seed) % 16 + 1,
                2 => random(&mut seed) % 700 + 1,
                _ => random(&mut seed) % (BLOCK + 900) + 1,
            };
            let len = if round % 2 == 0 { len % 4 + 1 } else { len }.min(LEN - at);
            pieces.push(AT + at..AT + at + len);
            at += len;
        }
        shuffle(&mut pieces, &mut seed);
        let coverage = Coverage::new();
        let bytes: Vec<AtomicU8> = (0..LEN).map(|_| AtomicU8::new(0)).collect();
        // Relaxed, these and the stores below: the order is the coverage's to give, by [there]. That is what is tested.
        let written = |range: Range<u64>| {
            range.clone().all(|offset| bytes[(offset - AT) as usize].load(Relaxed) == 1)
                || panic!("nobody wrote {range:?}")
        };
        thread::scope(|scope| {
            for mine in pieces.chunks(pieces.len().div_ceil(3)) {
                let (coverage, bytes) = (&coverage, &bytes);
                scope.spawn(move || {
                    for piece in mine {
                        for offset in piece.clone() {
                            bytes[(offset - AT) as usize].store(1, Relaxed);
                        }
                        coverage.insert(piece.clone());
                        assert!(coverage.covers(piece));
                    }
                });
            }
            for reader in 0..2 {
                let (coverage, written) = (&coverage, &written);
                let mut seed = seed ^ reader;
                scope.spawn(move || {
                    while !coverage.covers_now(&(AT..AT + LEN)) {
                        let at = AT + random(&mut seed) % LEN;
                        let max = AT + LEN - at;
                        let sure = coverage.run_now(at, max);
                        let run = coverage.run(at, max);
                        assert!(run >= sure);
                        written(at..at + run);
                        if let Some(last) = coverage.last_missing(&(AT..AT + LEN)) {
                            written(last + 1..AT + LEN);
                        }
                        if let Some(gap) = coverage.first_missing(&(AT..AT + LEN)) {
                            written(AT..gap.start);
                        }
                        if reader == 0 {
                            coverage.available().iter().for_each(|range| _ = written(range.clone()));
                        }
                    }
                });
            }
        });
        check_strays(&coverage);
        assert!(coverage.lock().strays.is_empty());
        assert_eq!(coverage.available(), [AT..AT + LEN].into_iter().collect());
    }
}

#[test]
fn a_stray_is_there_for_all_but_those_who_never_lock() {
    let coverage = Coverage::new();
    coverage.insert(10..20);
    coverage.insert(30..31);
    coverage.insert(40..50);
    assert!(coverage.covers(&(30..31)) && !coverage.covers_now(&(30..31)));
    assert_eq!((coverage.run(45, 100), coverage.run_now(45, 100)), (5, 0));
    assert_eq!(coverage.first_missing(&(10..100)), Some(20..30));
    // It lies between the two and takes in one of them, which then is an extent like any other.
    coverage.insert(20..30);
    assert_eq!(coverage.run_now(10, 100), 21);
    coverage.insert(0..BLOCK);
    assert!(coverage.lock().strays.is_empty());
    assert!(coverage.covers_now(&(0..BLOCK)));
}

#[test]
fn what_was_inherited_is_there_and_can_be_written_once_more() {
    let coverage = Coverage::inheriting(5000);
    assert_eq!((coverage.run_now(100, 10_000), coverage.written_run(100, 10_000)), (4900, 0));
    assert_eq!(coverage.next_unwritten(&(0..5000)), Some(0..5000));
    coverage.insert(0..4096);
    assert_eq!(coverage.next_unwritten(&(0..5000)), Some(4096..5000));
    coverage.insert(4990..5100);
    assert_eq!(coverage.run_now(0, u64::MAX), 5100);
    coverage.truncate(4500);
    assert_eq!((coverage.inherited(), coverage.end()), (4500, 4500));
    assert_eq!(coverage.available(), [0..4500].into_iter().collect());
}

#[test]
fn a_cut_through_a_block_keeps_what_is_below() {
    let coverage = Coverage::new();
    for piece in [100..200, 300..400, 500..600, 10 * SPAN..10 * SPAN + 1, MAX_OFFSET - 1..MAX_OFFSET] {
        coverage.insert(piece);
    }
    coverage.truncate(550);
    assert_eq!(coverage.available(), [100..200, 300..400, 500..550].into_iter().collect());
    coverage.truncate(150);
    assert_eq!(coverage.available(), [100..150].into_iter().collect());
    check_strays(&coverage);
    coverage.truncate(0);
    assert_eq!((coverage.end(), coverage.available()), (0, RangeSet::new()));
}

#[test]
fn the_end_of_the_words_is_nowhere_to_be_seen() {
    let coverage = Coverage::new();
    let mut plain = Plain::default();
    for piece in [LIMIT - 10..LIMIT - 5, LIMIT - 1..LIMIT + 1, LIMIT + 9..LIMIT + 10, LIMIT - 5..LIMIT - 2] {
        coverage.insert(piece.clone());
        plain.written.insert(piece.clone());
        for asked in [piece, LIMIT - 11..LIMIT + 11, LIMIT - 1..LIMIT + 9, LIMIT..LIMIT + 1, LIMIT + 1..LIMIT + 10] {
            compare(&coverage, &plain, &asked);
        }
    }
    assert_eq!(coverage.available(), plain.written);
    coverage.truncate(LIMIT);
    plain.truncate(LIMIT);
    assert_eq!((coverage.end(), coverage.available()), (LIMIT, plain.written));
}

#[test]
fn sparse_offsets_make_few_leaves() {
    let coverage = Coverage::new();
    for offset in [0, 1 << 30, 1 << 40, LIMIT - 1] {
        coverage.insert(offset..offset + 1);
    }
    assert_eq!(coverage.leaves.backwards().count(), 4);
    assert_eq!(coverage.end(), LIMIT);
    assert_eq!(coverage.first_missing(&(1..u64::MAX)), Some(1..1 << 30));
}
