//! Any sequence of operations on a coverage, against sets of ranges: what was written, and a number below which
//! all was inherited.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use rangemap::RangeSet;
use roundelay::fuzzing::{BLOCK, Coverage};
use std::ops::Range;

/// A leaf has this many words.
const LEAF: u64 = 1024 * BLOCK;
/// Above, there are no words.
const LIMIT: u64 = (1 << 42) - LEAF;

#[derive(Debug)]
struct Input {
    start: Start,
    operations: Vec<Operation>,
}

/// As many operations as there are bytes for. (Derived, each one would be the last with a chance of a half.)
impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let start = bytes.arbitrary()?;
        let mut operations = Vec::new();
        while !bytes.is_empty() {
            operations.push(bytes.arbitrary()?);
        }
        Ok(Self { start, operations })
    }
}

#[derive(Arbitrary, Debug)]
enum Start {
    New,
    Inheriting(Place),
    Found(Vec<Stretch>),
    Written(Vec<Stretch>),
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Insert(Stretch),
    /// One byte of few, so that pieces touch.
    InsertByte(u8),
    Truncate(Place),
    Ask(Stretch),
}

/// Offsets where something happens.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    /// About where the second block begins.
    Here(u8),
    /// About where a block begins.
    Block(u8, i8),
    /// About where the second or a later leaf begins.
    Leaf(u8, i8),
    /// Where the words end, mostly behind that.
    Far(u8),
    /// Before the end of all numbers.
    Last(u8),
}

impl Place {
    fn offset(self) -> u64 {
        match self {
            Self::Here(at) => BLOCK - 32 + u64::from(at % 64),
            Self::Block(block, by) => (u64::from(block) * BLOCK).saturating_add_signed(by.into()),
            Self::Leaf(leaf, by) => ((u64::from(leaf % 3) + 1) * LEAF).saturating_add_signed(by.into()),
            // A word there takes megabytes of a directory: seldom.
            Self::Far(u8::MAX) => LIMIT - 1,
            Self::Far(by) => LIMIT + u64::from(by),
            Self::Last(by) => u64::MAX - u64::from(by),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Len {
    Bytes(u8),
    Blocks(u8, i8),
    Leaf,
    All,
}

impl Len {
    fn bytes(self) -> u64 {
        match self {
            Self::Bytes(n) => u64::from(n % 16),
            Self::Blocks(n, by) => (u64::from(n) * BLOCK).saturating_add_signed(by.into()),
            Self::Leaf => LEAF,
            Self::All => u64::MAX,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Stretch(Place, Len);

impl Stretch {
    fn range(self) -> Range<u64> {
        let start = self.0.offset();
        start..start.saturating_add(self.1.bytes())
    }

    /// One that can be written: each byte of it takes a part of a word.
    fn short(self) -> Range<u64> {
        let range = self.range();
        range.start..range.end.min(range.start.saturating_add(40 * BLOCK))
    }
}

fn gap(set: &RangeSet<u64>, range: &Range<u64>) -> Option<Range<u64>> {
    // `gaps` takes no empty range.
    if range.is_empty() { None } else { set.gaps(range).next() }
}

fn insert(set: &mut RangeSet<u64>, range: Range<u64>) {
    if !range.is_empty() {
        set.insert(range);
    }
}

fn remove(set: &mut RangeSet<u64>, range: Range<u64>) {
    if !range.is_empty() {
        set.remove(range);
    }
}

/// How many bytes `set` holds from `offset` on without a gap, up to `max`.
fn run(set: &RangeSet<u64>, offset: u64, max: u64) -> u64 {
    set.get(&offset).map_or(0, |range| (range.end - offset).min(max))
}

#[derive(Default)]
struct Model {
    inherited: u64,
    written: RangeSet<u64>,
    /// Something was once written above the words.
    reaches_far: bool,
}

impl Model {
    fn there(&self) -> RangeSet<u64> {
        let mut there = self.written.clone();
        insert(&mut there, 0..self.inherited);
        there
    }

    /// The pieces that were written of a block.
    fn pieces(&self, block: u64) -> impl Iterator<Item = Range<u64>> {
        let bounds = block * BLOCK..(block + 1) * BLOCK;
        self.written
            .overlapping(bounds.clone())
            .map(move |piece| piece.start.max(bounds.start)..piece.end.min(bounds.end))
    }

    /// Whether only the mutex tells what of a block is there.
    fn has_strays(&self, offset: u64) -> bool {
        if offset >= LIMIT { self.reaches_far } else { self.pieces(offset / BLOCK).nth(1).is_some() }
    }
}

struct Run {
    coverage: Coverage,
    model: Model,
}

impl Run {
    fn new(start: &Start) -> Self {
        let mut model = Model::default();
        let ranges = |stretches: &[Stretch]| -> RangeSet<u64> {
            stretches.iter().take(16).map(|stretch| stretch.short()).filter(|range| !range.is_empty()).collect()
        };
        let coverage = match start {
            Start::New => Coverage::new(),
            Start::Inheriting(place) => {
                model.inherited = place.offset();
                Coverage::inheriting(model.inherited)
            }
            Start::Written(stretches) => {
                model.written = ranges(stretches);
                Coverage::from_ranges(&model.written)
            }
            Start::Found(stretches) => {
                let mut found = ranges(stretches);
                let coverage = Coverage::found(&found);
                model.inherited = found.get(&0).map_or(0, |first| first.end);
                remove(&mut found, 0..model.inherited);
                model.written = found;
                coverage
            }
        };
        model.reaches_far = model.written.last().is_some_and(|last| last.end > LIMIT);
        Self { coverage, model }
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Insert(stretch) => self.insert(stretch.short()),
            Operation::InsertByte(at) => {
                let at = BLOCK - 8 + u64::from(at % 16);
                self.insert(at..at + 1);
            }
            Operation::Truncate(place) => {
                let end = place.offset();
                self.model.inherited = self.model.inherited.min(end);
                remove(&mut self.model.written, end..u64::MAX);
                self.coverage.truncate(end);
            }
            Operation::Ask(stretch) => self.ask(&stretch.range()),
        }
        self.check();
    }

    fn insert(&mut self, range: Range<u64>) {
        self.model.reaches_far |= !range.is_empty() && range.end > LIMIT;
        insert(&mut self.model.written, range.clone());
        self.coverage.insert(range.clone());
        self.ask(&range);
    }

    /// All that can be asked about a range.
    fn ask(&self, range: &Range<u64>) {
        let (coverage, model, there) = (&self.coverage, &self.model, self.model.there());
        let len = range.end - range.start;
        let missing = gap(&there, range);
        assert_eq!(coverage.covers(range), missing.is_none());
        assert_eq!(coverage.first_missing(range), missing);
        let last = if range.is_empty() { None } else { there.gaps(range).last() };
        assert_eq!(coverage.last_missing(range), last.map(|gap| gap.end - 1));
        assert_eq!(coverage.run(range.start, len), run(&there, range.start, len));
        assert_eq!(coverage.written_run(range.start, len), run(&model.written, range.start, len));
        assert_eq!(coverage.next_unwritten(range), gap(&model.written, range));
        let pieces = model.written.overlapping(range).filter(|_| !range.is_empty());
        let pieces: RangeSet<u64> = pieces.map(|p| p.start.max(range.start)..p.end.min(range.end)).collect();
        assert_eq!(coverage.written_in(range), pieces);
        self.ask_now(range);
    }

    /// What can be asked without the mutex: never more than there is, and less only where there are strays.
    fn ask_now(&self, range: &Range<u64>) {
        let (coverage, model) = (&self.coverage, &self.model);
        let len = range.end - range.start;
        let (all, now) = (coverage.run(range.start, len), coverage.run_now(range.start, len));
        assert!(now <= all);
        assert!(now == all || model.has_strays(range.start + now));
        assert_eq!(coverage.covers_now(range), now == len);
        assert_eq!(coverage.may_be_stray(range.start), model.has_strays(range.start));
        // Of the pieces of a block one is no stray.
        let block = range.start / BLOCK;
        if range.start < LIMIT && (block * BLOCK) >= model.inherited && model.pieces(block).next().is_some() {
            assert_eq!(model.pieces(block).filter(|piece| coverage.covers_now(piece)).count(), 1);
        }
    }

    /// What must hold after every step.
    fn check(&self) {
        let there = self.model.there();
        assert_eq!(self.coverage.available(), there);
        assert_eq!(self.coverage.end(), there.last().map_or(0, |last| last.end));
        assert_eq!(self.coverage.inherited(), self.model.inherited);
    }

    /// In the end each piece, and what is around it, is asked about.
    fn finish(self) {
        for piece in self.model.there().iter().take(64) {
            self.ask(piece);
            self.ask(&(piece.start.saturating_sub(1)..piece.end));
            self.ask(&(piece.start..piece.end.saturating_add(1)));
        }
    }
}

fuzz_target!(|input: Input| {
    let mut run = Run::new(&input.start);
    run.check();
    for operation in input.operations.iter().take(64) {
        run.step(operation);
    }
    run.finish();
});
