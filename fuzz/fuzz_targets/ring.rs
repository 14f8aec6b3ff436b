//! Any sequence of operations on a ring, over many generations of it, with followers of each policy and gates of each
//! kind, against a plain model: the stream is known by heart, and the window is two numbers.
#![no_main]

#[path = "../../tests/witness/mod.rs"]
mod witness;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use roundelay::{
    CancelToken, Cursor, Gate, MAX_OFFSET, OnLap, Publication, ReadError, Resource, ResourceStatus, RingDriver,
    RingOptions, StorageError, StorageResult, WaitOutcome, Writer,
};
use std::{
    io::{BufRead, Read, Seek, SeekFrom},
    mem,
    ops::Range,
    sync::Arc,
    time::Duration,
};
use witness::{Event, Witness};

const NOW: Duration = Duration::ZERO;

#[derive(Arbitrary, Debug)]
struct Start {
    /// 1 to 64 bytes; small rings wrap sooner.
    capacity: u8,
    start_offset: u16,
    /// Without an observer appends take a shorter way.
    observed: bool,
}

#[derive(Debug)]
struct Input {
    start: Start,
    operations: Vec<Operation>,
}

/// As many operations as there are bytes for. (Derived, each one would be the last with a chance of a half.)
impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(bytes: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let start = bytes.arbitrary()?;
        let mut operations = Vec::new();
        while !bytes.is_empty() {
            operations.push(bytes.arbitrary()?);
        }
        Ok(Self { start, operations })
    }
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Append(u8),
    /// Relative to the live edge, so that overlaps and gaps are both likely.
    WriteAt(i8, u8),
    WriterPublishes(Option<u8>),
    Notify,
    ReadAt(i8, u8),
    Cursor(u8, CursorOperation),
    MintGate(u8),
    Gate(u8, GateOperation),
    Commit(Option<i8>),
    Fail(bool),
    Cancel,
    DropWriter,
    Reactivate,
}

#[derive(Arbitrary, Debug)]
enum CursorOperation {
    Read(u8, bool),
    FillBuf(u8),
    SeekTo(i8),
    SeekEnd(i8),
    Oldest,
    Live,
    SetOnLap(Policy),
    Wait(i8, u8),
    Interrupt,
    Clone,
    Refresh,
}

#[derive(Arbitrary, Debug)]
enum GateOperation {
    Read(u8),
    Consume(u8),
    Wait(u8, u8),
    FillBuf(u8),
    Publishes(Option<u8>),
    Drop,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Policy {
    Error,
    SkipToOldest,
    SkipToLive,
}

impl From<Policy> for OnLap {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Error => Self::Error,
            Policy::SkipToOldest => Self::SkipToOldest,
            Policy::SkipToLive => Self::SkipToLive,
        }
    }
}

fn publication(pace: Option<u8>) -> Publication {
    pace.map_or(Publication::Notify, |pace| Publication::Silent { pace: Duration::from_micros(pace.into()) })
}

/// What is written at an offset.
fn byte(offset: u64) -> u8 {
    (offset ^ (offset >> 8)).wrapping_mul(167) as u8
}

fn data(range: Range<u64>) -> Vec<u8> {
    range.map(byte).collect()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Life {
    Active,
    Committed,
    Failed,
    Cancelled,
}

/// A generation: how it ended, and where, once there is a next one.
#[derive(Clone, Copy, Debug)]
struct Generation {
    life: Life,
    last: u64,
    /// Where a gap was announced that gates have yet to make way for.
    gap: Option<u64>,
}

const BEGINS: Generation = Generation { life: Life::Active, last: u64::MAX, gap: None };

/// The ring as one would write it down.
struct Model {
    capacity: u64,
    start: u64,
    end: u64,
    /// Where the last discontinuity went.
    base: u64,
    /// The last one is the current one.
    generations: Vec<Generation>,
}

/// What readers of a generation see.
#[derive(Clone, Copy, Debug)]
struct View {
    start: u64,
    end: u64,
    life: Life,
}

impl Model {
    fn view(&self, of: usize) -> View {
        let Generation { life, last, .. } = self.generations[of];
        View { start: self.start.min(last), end: self.end.min(last), life }
    }

    fn newest(&self) -> usize {
        self.generations.len() - 1
    }

    fn current(&mut self) -> &mut Generation {
        self.generations.last_mut().expect("there is one")
    }

    fn life(&self) -> Life {
        self.generations[self.newest()].life
    }

    fn append(&mut self, n: u64) {
        self.end += n;
        self.start = self.start.max(self.end.saturating_sub(self.capacity));
    }

    fn at(&self, relative: i8) -> u64 {
        self.end.saturating_add_signed(i64::from(relative))
    }
}

struct Follower {
    cursor: Cursor<RingDriver>,
    of: usize,
    interrupted: bool,
    /// Whether the lap that the cursor is in has been counted, by a read that was an error.
    lap_counted: bool,
    /// How many bytes were read ahead.
    buffered: u64,
}

struct Held {
    gate: Gate,
    of: usize,
    position: u64,
    known_end: u64,
    discontinuities: u64,
    /// Whether it was told how its generation ended.
    heard: bool,
}

impl Held {
    /// It has read all of a generation that is over, and knows that.
    fn retired(&self) -> bool {
        self.heard && self.position == self.known_end
    }

    /// What it holds the writer at.
    fn holds(&self, base: u64) -> u64 {
        if self.retired() { u64::MAX } else { self.position.max(base) }
    }

    /// It looks at the live edge.
    fn look(&mut self, view: View) {
        if self.retired() {
            return;
        }
        if self.position < view.start {
            self.discontinuities += 1;
            self.position = view.start;
        }
        self.known_end = view.end.max(self.position);
        self.heard = view.life != Life::Active;
    }

    fn advance(&mut self, n: u64) {
        self.position += n;
    }
}

struct Run {
    ring: Resource<RingDriver>,
    writer: Option<Writer<RingDriver>>,
    followers: Vec<Follower>,
    gates: Vec<Held>,
    model: Model,
    witness: Option<Arc<Witness>>,
    /// What the observer should have heard in this step.
    expected: Vec<Event>,
}

impl Run {
    fn new(start: &Start) -> Self {
        let (capacity, at) = (u64::from(start.capacity % 64) + 1, u64::from(start.start_offset));
        let options = RingOptions { start_offset: at, ..RingOptions::new(capacity as usize) };
        let witness = start.observed.then(Arc::<Witness>::default);
        let ring = match &witness {
            Some(witness) => Resource::open_observed(CancelToken::new(), options, witness.clone()),
            None => Resource::open(CancelToken::new(), options),
        };
        let ring = ring.expect("the options are valid");
        let writer = Some(ring.writer().expect("the first writer"));
        let followers = [OnLap::Error, OnLap::SkipToOldest, OnLap::SkipToLive].map(|on_lap| Follower {
            cursor: ring.cursor(on_lap),
            of: 0,
            interrupted: false,
            lap_counted: false,
            buffered: 0,
        });
        let model = Model { capacity, start: at, end: at, base: 0, generations: vec![BEGINS] };
        Self { ring, writer, followers: followers.into(), gates: vec![], model, witness, expected: vec![] }
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Append(n) => {
                let end = self.model.end;
                self.write(end, u64::from(n), |writer, _, data| writer.try_append(data));
            }
            Operation::WriteAt(at, n) => self.write(self.model.at(at), u64::from(n), Writer::try_write_at),
            Operation::WriterPublishes(pace) => {
                if let Some(writer) = &mut self.writer {
                    writer.set_publication(publication(pace));
                }
            }
            Operation::Notify => {
                if let Some(writer) = &mut self.writer {
                    writer.notify();
                }
            }
            Operation::ReadAt(at, n) => self.read_at(self.model.at(at), usize::from(n)),
            Operation::Cursor(i, ref operation) => self.cursor(i, operation),
            Operation::MintGate(at) => self.mint(self.model.start + u64::from(at)),
            Operation::Gate(i, ref operation) => self.gate(i, operation),
            Operation::Commit(at) => self.commit(at),
            Operation::Fail(by_writer) => {
                match &mut self.writer {
                    Some(writer) if by_writer => writer.fail(StorageError::other("on purpose")),
                    _ => self.ring.fail(StorageError::other("on purpose")),
                }
                self.failed("on purpose");
            }
            Operation::Cancel => {
                self.ring.cancel();
                if self.model.life() == Life::Active {
                    self.model.current().life = Life::Cancelled;
                    self.expected.push(Event::Cancel);
                }
            }
            Operation::DropWriter => {
                if self.writer.take().is_some() {
                    self.failed(&StorageError::WriterDropped.to_string());
                }
            }
            Operation::Reactivate => self.reactivate(),
        }
        self.check();
    }

    fn failed(&mut self, why: &str) {
        if self.model.life() == Life::Active {
            self.model.current().life = Life::Failed;
            self.expected.push(Event::Fail(why.to_owned()));
        }
    }

    /// Never waits: gates are read by this very thread.
    fn write(
        &mut self,
        offset: u64,
        n: u64,
        write: impl FnOnce(&mut Writer<RingDriver>, u64, &[u8]) -> StorageResult<usize>,
    ) {
        let Some(writer) = &mut self.writer else { return };
        let (model, gates) = (&mut self.model, &self.gates);
        let written = write(writer, offset, &data(offset..offset + n));
        let written = match (written, model.life()) {
            (written, Life::Active) => written.expect("an active resource") as u64,
            (Err(StorageError::Committed), Life::Committed) => return,
            (Err(StorageError::Failed(_)), Life::Failed) => return,
            (Err(StorageError::Cancelled), Life::Cancelled) => return,
            (written, life) => panic!("{written:?} of a resource that is {life:?}"),
        };
        let slowest = |base| gates.iter().map(|gate| gate.holds(base)).min().unwrap_or(u64::MAX);
        let (from, before) = (model.end, model.start);
        let end = offset + n;
        if n == 0 || end <= model.end {
            assert_eq!(written, n, "what is there already counts as written");
            return;
        }
        if offset > model.end {
            if model.end > 0 && slowest(model.base) < model.end {
                assert_eq!(written, 0, "a gate has yet to read what is before the gap");
                let end = model.end;
                // It counts for as long as the stream ends there.
                model.current().gap = Some(end);
                return;
            }
            // All gates go on where the window does.
            if before < from {
                self.expected.push(Event::Evict(before..from));
            }
            (model.start, model.end, model.base) = (offset, offset, offset);
        }
        let room = slowest(model.base).saturating_add(model.capacity).saturating_sub(model.end);
        let (from, before) = (model.end, model.start);
        let new = (end - from).min(room);
        assert_eq!(written, from - offset + new);
        model.append(new);
        if new > 0 {
            self.expected.push(Event::Write(from..model.end));
            if before < model.start {
                self.expected.push(Event::Evict(before..model.start));
            }
        }
    }

    fn read_at(&self, offset: u64, n: usize) {
        let View { start, end, life } = self.model.view(self.model.newest());
        let mut buf = vec![0xEE; n];
        let result = self.ring.reader().try_read_at(offset, &mut buf);
        if n == 0 {
            return assert_eq!(result, Ok(0));
        }
        match result {
            Ok(0) => assert!(life == Life::Committed && offset >= end),
            Ok(n) => {
                assert!(start <= offset && offset + n as u64 <= end);
                assert_eq!(n as u64, (buf.len() as u64).min(end - offset), "less than there is");
                assert_eq!(buf[..n], data(offset..offset + n as u64));
            }
            Err(ReadError::Evicted { window }) => {
                assert!(offset < start);
                assert_eq!((window.start, window.end), (start, end));
            }
            Err(ReadError::NotYet) => assert!(life == Life::Active && offset >= end),
            Err(ReadError::Failed) => assert!(life == Life::Failed && offset >= end),
            Err(ReadError::Cancelled) => assert!(life == Life::Cancelled && offset >= end),
            Err(error) => panic!("{error}"),
        }
    }

    fn cursor(&mut self, i: u8, operation: &CursorOperation) {
        let (i, model) = (usize::from(i) % self.followers.len(), &self.model);
        let view = model.view(self.followers[i].of);
        let follower = &mut self.followers[i];
        match *operation {
            CursorOperation::Read(n, blocking) => follower.read(view, usize::from(n), blocking),
            CursorOperation::FillBuf(n) => follower.fill_buf(view, usize::from(n)),
            CursorOperation::SeekTo(at) => follower.seek_to(view, model.at(at)),
            CursorOperation::SeekEnd(by) => {
                let end = view.end.checked_add_signed(by.into());
                match (follower.cursor.seek(SeekFrom::End(by.into())), end) {
                    (Ok(position), Some(end)) => {
                        assert!(view.life == Life::Committed, "a live stream has no end");
                        let skipped = if follower.skips_to_live() { view.end } else { view.start };
                        assert_eq!(position, if end < view.start { skipped } else { end });
                        follower.went();
                    }
                    (Ok(position), None) => panic!("it went to {position}"),
                    (Err(_), end) => {
                        let evicted = end.is_none_or(|end| end < view.start);
                        let refused = evicted && (end.is_none() || follower.cursor.on_lap() == OnLap::Error);
                        assert!(view.life != Life::Committed || refused);
                    }
                }
            }
            CursorOperation::Oldest => {
                assert_eq!(follower.cursor.seek_oldest(), view.start);
                follower.went();
            }
            CursorOperation::Live => {
                assert_eq!(follower.cursor.seek_live(), view.end);
                follower.went();
            }
            CursorOperation::SetOnLap(policy) => follower.cursor.set_on_lap(policy.into()),
            CursorOperation::Wait(at, n) => follower.wait(view, model.at(at), n.into(), model.capacity),
            CursorOperation::Interrupt => {
                follower.cursor.interrupter().interrupt();
                follower.interrupted = true;
            }
            CursorOperation::Clone => {
                let (cursor, of) = (follower.cursor.clone(), follower.of);
                assert_eq!(cursor.position(), follower.cursor.position());
                let clone = Follower { cursor, of, interrupted: false, lap_counted: false, buffered: 0 };
                match self.followers.len() {
                    ..6 => self.followers.push(clone),
                    _ => self.followers[i] = clone,
                }
            }
            CursorOperation::Refresh => {
                assert_eq!(follower.cursor.refresh(), follower.of != model.newest());
                follower.of = model.newest();
            }
        }
    }

    fn mint(&mut self, offset: u64) {
        let Some(writer) = &mut self.writer else { return };
        let of = self.model.newest();
        match writer.gate_at(offset) {
            Ok(gate) if self.gates.len() < 8 => {
                let (position, known_end) = (offset, offset);
                self.gates.push(Held { gate, of, position, known_end, discontinuities: 0, heard: false });
            }
            Ok(_) => {}
            Err(_) => assert!(offset > self.model.end),
        }
    }

    fn gate(&mut self, i: u8, operation: &GateOperation) {
        if self.gates.is_empty() {
            return;
        }
        let i = usize::from(i) % self.gates.len();
        let of = self.gates[i].of;
        let (view, gap) = (self.model.view(of), self.model.generations[of].gap);
        let (capacity, held) = (self.model.capacity, &mut self.gates[i]);
        match *operation {
            GateOperation::Read(n) => held.read(view, usize::from(n)),
            GateOperation::Consume(n) => held.consume(view, usize::from(n)),
            GateOperation::Wait(n, take) => held.wait(view, gap, n.into(), usize::from(take), capacity),
            GateOperation::FillBuf(n) => held.fill_buf(view, usize::from(n)),
            GateOperation::Publishes(pace) => held.gate.set_publication(publication(pace)),
            GateOperation::Drop => drop(self.gates.swap_remove(i)),
        }
    }

    fn commit(&mut self, at: Option<i8>) {
        let Some(writer) = &mut self.writer else { return };
        let final_len = at.map(|at| self.model.at(at));
        match (writer.commit(final_len), self.model.life()) {
            (Ok(()), Life::Active) => {
                assert!(final_len.is_none_or(|final_len| final_len == self.model.end));
                let end = self.model.end;
                let current = self.model.current();
                (current.life, current.last) = (Life::Committed, end);
                self.expected.push(Event::Commit(end));
            }
            (Err(StorageError::NotLiveEdge { .. }), Life::Active) => assert_ne!(final_len, Some(self.model.end)),
            (Err(_), Life::Committed | Life::Failed | Life::Cancelled) => {}
            (done, life) => panic!("{done:?} of a resource that is {life:?}"),
        }
    }

    /// Readers and gates of the old generation keep its end.
    fn reactivate(&mut self) {
        match self.ring.reactivate() {
            Ok(()) => {
                assert!(self.model.life() != Life::Active && self.writer.is_none());
                let end = self.model.end;
                self.model.current().last = end;
                self.model.generations.push(BEGINS);
                self.writer = Some(self.ring.writer().expect("there is no other"));
            }
            Err(StorageError::Active) => assert_eq!(self.model.life(), Life::Active),
            Err(StorageError::WriterTaken) => assert!(self.writer.is_some()),
            Err(error) => panic!("{error}"),
        }
    }

    /// What must hold after every step.
    fn check(&mut self) {
        if let Some(witness) = &self.witness {
            assert_eq!(witness.take(), self.expected);
        }
        self.expected.clear();
        for Follower { cursor, of, .. } in &self.followers {
            let View { start, end, life } = self.model.view(*of);
            let window = cursor.reader().valid_window().expect("a ring has a window");
            assert_eq!((window.start, window.end), (start, end));
            assert!(is(life, end, &cursor.reader().status()));
        }
        assert!(is(self.model.life(), self.model.end, &self.ring.status()));
        for held in &self.gates {
            assert_eq!(held.gate.position(), held.position);
            assert_eq!(held.gate.discontinuities(), held.discontinuities);
            assert_eq!(held.gate.lag(), self.model.view(held.of).end.saturating_sub(held.position));
        }
    }

    /// What a plain reader of the whole window gets at the end, and how much room a writer has.
    fn finish(mut self) {
        if self.model.life() != Life::Active {
            self.writer = None;
            self.reactivate();
            self.check();
        }
        if self.writer.is_none() {
            return;
        }
        let slowest = self.gates.iter().map(|gate| gate.holds(self.model.base)).min().unwrap_or(u64::MAX);
        let (end, mut writer) = (self.model.end, self.writer.take().expect("it is there"));
        let limit = slowest.saturating_add(self.model.capacity).min(MAX_OFFSET);
        assert_eq!(writer.room(), limit.saturating_sub(end));
        assert_eq!(writer.gate_lag(), end.saturating_sub(slowest));
        writer.commit(None).expect("a ring can be committed where it ends");
        let mut cursor = self.ring.cursor(OnLap::Error);
        let mut rest = Vec::new();
        cursor.read_to_end(&mut rest).expect("a committed resource ends");
        assert_eq!(rest, data(self.model.start..end));
    }
}

fn is(life: Life, end: u64, status: &ResourceStatus) -> bool {
    match life {
        Life::Active => *status == ResourceStatus::Active,
        Life::Committed => *status == ResourceStatus::Committed { final_len: end },
        Life::Failed => matches!(status, ResourceStatus::Failed(_)),
        Life::Cancelled => *status == ResourceStatus::Cancelled,
    }
}

/// Why a read has no bytes.
#[derive(Debug)]
enum Why {
    NotYet,
    Interrupted,
    Evicted,
    Over(Life),
}

impl From<ReadError> for Why {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotYet => Self::NotYet,
            ReadError::Evicted { .. } => Self::Evicted,
            ReadError::Failed => Self::Over(Life::Failed),
            ReadError::Cancelled => Self::Over(Life::Cancelled),
            error => panic!("{error}"),
        }
    }
}

impl From<StorageError> for Why {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::TimedOut => Self::NotYet,
            StorageError::Interrupted => Self::Interrupted,
            StorageError::Evicted { .. } => Self::Evicted,
            StorageError::Failed(_) => Self::Over(Life::Failed),
            StorageError::Cancelled => Self::Over(Life::Cancelled),
            error => panic!("{error}"),
        }
    }
}

impl Follower {
    fn skips_to_live(&self) -> bool {
        self.cursor.on_lap() == OnLap::SkipToLive
    }

    /// It was told where to go.
    fn went(&mut self) {
        (self.lap_counted, self.buffered) = (false, 0);
    }

    fn read(&mut self, view: View, n: usize, blocking: bool) {
        let cursor = &mut self.cursor;
        let before = cursor.position();
        let (laps, lost) = (cursor.laps(), cursor.lost_bytes());
        let mut buf = vec![0; n];
        let read = match blocking {
            false => cursor.try_read(&mut buf).map_err(Why::from),
            true => cursor.read_timeout(&mut buf, NOW).map_err(Why::from),
        };
        if self.buffered > 0 {
            let n = (n as u64).min(self.buffered);
            assert_eq!(read.expect("it was read already"), n as usize);
            assert_eq!(buf[..n as usize], data(before..before + n));
            self.buffered -= n;
            return;
        }
        let lapped = n > 0 && before < view.start;
        let lap_counted = mem::take(&mut self.lap_counted);
        match read {
            Ok(n) => {
                let from = cursor.position() - n as u64;
                assert_eq!(buf[..n], data(from..from + n as u64));
                if lapped {
                    let target = if cursor.on_lap() == OnLap::SkipToLive { view.end } else { view.start };
                    assert_eq!(from, target);
                    assert_eq!(cursor.laps(), laps + u64::from(!lap_counted));
                    assert_eq!(cursor.lost_bytes(), lost + (target - before));
                } else {
                    assert_eq!(from, before);
                }
                let ended = view.life == Life::Committed && from >= view.end;
                assert!(n > 0 || buf.is_empty() || ended, "an end where there is none");
                // A read of nothing finds nothing out.
                self.lap_counted = n == 0 && !lapped && lap_counted;
            }
            Err(Why::Evicted) => {
                assert!(lapped && cursor.on_lap() == OnLap::Error);
                assert_eq!(cursor.position(), before);
                assert_eq!(cursor.laps(), laps + u64::from(!lap_counted));
                self.lap_counted = true;
            }
            Err(why) => {
                assert!(cursor.position() >= view.end, "there were bytes to read");
                match why {
                    Why::Interrupted => assert!(mem::take(&mut self.interrupted)),
                    Why::NotYet => assert!(view.life == Life::Active && !(blocking && self.interrupted)),
                    Why::Over(life) => assert_eq!(view.life, life),
                    Why::Evicted => unreachable!(),
                }
                self.lap_counted = !lapped && lap_counted;
            }
        }
    }

    /// Only where it need not wait.
    fn fill_buf(&mut self, view: View, n: usize) {
        let at = self.cursor.position();
        if self.buffered == 0 {
            if at < view.start || at >= view.end {
                return;
            }
            self.lap_counted = false;
        }
        let filled = self.cursor.fill_buf().expect("there are bytes");
        assert_eq!(filled, data(at..at + filled.len() as u64));
        assert!(!filled.is_empty() && (self.buffered == 0 || filled.len() as u64 == self.buffered));
        assert!(self.buffered > 0 || at + filled.len() as u64 == view.end);
        self.buffered = filled.len() as u64;
        self.cursor.consume(n);
        let taken = self.buffered.min(n as u64);
        self.buffered -= taken;
        assert_eq!(self.cursor.position(), at + taken);
    }

    fn seek_to(&mut self, view: View, offset: u64) {
        match self.cursor.seek_to(offset) {
            Ok(position) => {
                let skipped = if self.skips_to_live() { view.end } else { view.start };
                assert_eq!(position, if offset < view.start { skipped } else { offset });
                assert_eq!(position, self.cursor.position());
                self.went();
            }
            Err(_) => assert!(self.cursor.on_lap() == OnLap::Error && offset < view.start),
        }
    }

    fn wait(&mut self, view: View, offset: u64, n: u64, capacity: u64) {
        let range = offset..offset + n;
        let outcome = self.cursor.reader().wait_range_timeout(range.clone(), NOW);
        if mem::take(&mut self.interrupted) {
            return assert_eq!(outcome.expect("an interrupt is no error"), WaitOutcome::Interrupted);
        }
        let there = view.start <= offset && range.end <= view.end;
        match outcome {
            Ok(WaitOutcome::Ready) if view.life == Life::Committed => {
                assert!(n == 0 || view.start <= offset && offset < view.end);
            }
            Ok(WaitOutcome::Ready) => assert!(n == 0 || there),
            Ok(WaitOutcome::Eof) => assert!(view.life == Life::Committed && offset >= view.end),
            Ok(WaitOutcome::TimedOut) => {
                assert!(view.life == Life::Active && !there && offset >= view.start && n <= capacity);
            }
            Ok(WaitOutcome::Interrupted) => panic!("nobody interrupted"),
            Err(StorageError::Evicted { .. }) => assert!(offset < view.start),
            Err(StorageError::RangeTooLarge { .. }) => assert!(n > capacity),
            Err(StorageError::Failed(_)) => assert!(view.life == Life::Failed && !there),
            Err(StorageError::Cancelled) => assert!(view.life == Life::Cancelled && !there),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Held {
    fn read(&mut self, view: View, n: usize) {
        if self.known_end - self.position < n as u64 {
            self.look(view);
        }
        let there = self.known_end - self.position;
        let mut buf = vec![0; n];
        match self.gate.try_read(&mut buf) {
            Ok(0) => assert!(n == 0 || view.life == Life::Committed && there == 0),
            Ok(n) => {
                assert_eq!(n as u64, (buf.len() as u64).min(there));
                assert_eq!(buf[..n], data(self.position..self.position + n as u64));
                self.advance(n as u64);
            }
            Err(error) => self.ended(view, error),
        }
    }

    fn ended(&self, view: View, error: ReadError) {
        assert_eq!(self.known_end, self.position, "there are bytes");
        match error {
            ReadError::NotYet => assert_eq!(view.life, Life::Active),
            ReadError::Ended => assert_eq!(view.life, Life::Committed),
            ReadError::Failed => assert_eq!(view.life, Life::Failed),
            ReadError::Cancelled => assert_eq!(view.life, Life::Cancelled),
            error => panic!("{error}"),
        }
    }

    fn consume(&mut self, view: View, n: usize) {
        self.look(view);
        let lent = match self.gate.slices() {
            Ok(slices) => {
                assert_eq!(slices.offset(), self.position);
                let (first, second) = slices.as_slices();
                let lent = [first, second].concat();
                let mut copy = vec![0; n];
                let copied = slices.copy_to(&mut copy);
                assert_eq!(copy[..copied], lent[..n.min(lent.len())]);
                slices.consume(n.min(lent.len()));
                lent
            }
            Err(error) => return self.ended(view, error),
        };
        assert_eq!(lent, data(self.position..self.known_end), "a gate lends all there is");
        self.advance(n.min(lent.len()) as u64);
    }

    fn wait(&mut self, view: View, gap: Option<u64>, n: u64, take: usize, capacity: u64) {
        let waited = self.gate.wait_timeout(n as usize, NOW).map(|slices| {
            let (first, second) = slices.as_slices();
            let lent = (slices.offset(), [first, second].concat());
            slices.consume(take.min(lent.1.len()));
            lent
        });
        let from = self.position.max(view.start);
        let there = view.end.saturating_sub(from);
        let short = gap == Some(view.end) && there > 0;
        match waited {
            Ok((offset, lent)) => {
                assert!(there >= n || short || view.life == Life::Committed, "less than was waited for");
                self.look(view);
                assert_eq!(offset, self.position);
                assert_eq!(lent, data(self.position..self.known_end));
                self.advance(take.min(lent.len()) as u64);
            }
            Err(StorageError::RangeTooLarge { .. }) => assert!(n > capacity),
            Err(StorageError::TimedOut) => assert!(view.life == Life::Active && there < n && !short),
            Err(StorageError::Failed(_)) => {
                assert!(view.life == Life::Failed && there < n && !short);
                self.look(view);
            }
            Err(StorageError::Cancelled) => {
                assert!(view.life == Life::Cancelled && there < n && !short);
                self.look(view);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Only where it need not wait.
    fn fill_buf(&mut self, view: View, n: usize) {
        if self.position.max(view.start) >= view.end {
            return;
        }
        self.look(view);
        let filled = self.gate.fill_buf().expect("there are bytes").to_vec();
        assert!(!filled.is_empty() && filled.len() as u64 <= self.known_end - self.position);
        assert_eq!(filled, data(self.position..self.position + filled.len() as u64));
        let n = n.min(filled.len());
        self.gate.consume(n);
        self.advance(n as u64);
    }
}

fuzz_target!(|input: Input| {
    let mut run = Run::new(&input.start);
    for operation in input.operations.iter().take(512) {
        run.step(operation);
    }
    run.finish();
});
