//! Any sequence of operations on a ring, against a plain model: the whole stream in a map, and two numbers.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use roundelay::{
    CancelToken, Cursor, Gate, OnLap, ReadError, Resource, ResourceStatus, RingDriver, RingOptions, StorageError,
    WaitOutcome, Writer,
};
use std::{
    io::{Read, Seek, SeekFrom},
    ops::Range,
    time::Duration,
};

#[derive(Arbitrary, Debug)]
struct Input {
    /// 1 to 64 bytes; small rings wrap sooner.
    capacity: u8,
    start_offset: u16,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Append(u8),
    /// Relative to the live edge, so that overlaps and gaps are both likely.
    WriteAt(i8, u8),
    ReadAt(i8, u8),
    Cursor(CursorOperation),
    SetOnLap(Policy),
    MintGate(u8),
    ReadGate(u8, u8),
    Consume(u8, u8),
    DropGate(u8),
    Wait(i8, u8),
    Interrupt,
    Commit(Option<i8>),
    Fail,
    Reactivate,
}

#[derive(Arbitrary, Debug)]
enum CursorOperation {
    Read(u8),
    SeekTo(i8),
    SeekEnd(i8),
    Oldest,
    Live,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
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

/// What is written at an offset, in a generation of writes: it tells apart a byte from the one that it replaced, and
/// from one that was sent again.
fn byte(offset: u64) -> u8 {
    (offset ^ (offset >> 8)).wrapping_mul(167) as u8
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Life {
    Active,
    Committed,
    Failed,
}

/// The ring as one would write it down.
struct Model {
    capacity: u64,
    start: u64,
    end: u64,
    life: Life,
}

impl Model {
    fn room(&self, gates: &[(Gate, u64)]) -> u64 {
        let slowest = gates.iter().map(|&(_, position)| position).min();
        slowest.map_or(u64::MAX, |slowest| slowest + self.capacity - self.end)
    }

    fn append(&mut self, n: u64) {
        self.end += n;
        self.start = self.start.max(self.end.saturating_sub(self.capacity));
    }

    fn at(&self, relative: i8) -> u64 {
        self.end.saturating_add_signed(i64::from(relative))
    }
}

fn data(range: Range<u64>) -> Vec<u8> {
    range.map(byte).collect()
}

struct Run {
    ring: Resource<RingDriver>,
    /// `None` once it is committed or failed, until it is reactivated.
    writer: Option<Writer<RingDriver>>,
    cursor: Cursor<RingDriver>,
    gates: Vec<(Gate, u64)>,
    model: Model,
    interrupted: bool,
    /// Whether the lap that the cursor is in has been counted, by a read that was an error.
    lap_counted: bool,
}

impl Run {
    fn new(capacity: u64, start: u64) -> Self {
        let options = RingOptions { start_offset: start, ..RingOptions::new(capacity as usize) };
        let ring = Resource::open(CancelToken::new(), options).expect("the options are valid");
        let writer = ring.writer().expect("the first writer");
        let cursor = ring.cursor(OnLap::Error);
        let model = Model { capacity, start, end: start, life: Life::Active };
        Self { ring, writer: Some(writer), cursor, gates: Vec::new(), model, interrupted: false, lap_counted: false }
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Append(n) => self.write(self.model.end, u64::from(n)),
            Operation::WriteAt(at, n) => self.write(self.model.at(at), u64::from(n)),
            Operation::ReadAt(at, n) => self.read_at(self.model.at(at), usize::from(n)),
            Operation::Cursor(ref operation) => self.cursor(operation),
            Operation::SetOnLap(policy) => self.cursor.set_on_lap(policy.into()),
            Operation::MintGate(at) => self.mint(self.model.start + u64::from(at)),
            Operation::ReadGate(i, n) => self.read_gate(i, usize::from(n)),
            Operation::Consume(i, n) => self.consume(i, usize::from(n)),
            Operation::DropGate(i) => {
                if !self.gates.is_empty() {
                    self.gates.swap_remove(usize::from(i) % self.gates.len());
                }
            }
            Operation::Wait(at, n) => self.wait(self.model.at(at), u64::from(n)),
            Operation::Interrupt => {
                self.cursor.interrupter().interrupt();
                self.interrupted = true;
            }
            Operation::Commit(at) => self.commit(at),
            Operation::Fail => {
                if let Some(mut writer) = self.writer.take() {
                    writer.fail(StorageError::other("on purpose"));
                    self.model.life = Life::Failed;
                }
            }
            Operation::Reactivate => self.reactivate(),
        }
        self.check();
    }

    /// Never waits: gates are read by this very thread.
    fn write(&mut self, offset: u64, n: u64) {
        let Some(writer) = &mut self.writer else { return };
        let model = &mut self.model;
        let written = writer.try_write_at(offset, &data(offset..offset + n)).expect("an active resource");
        let end = offset + n;
        if n == 0 || end <= model.end {
            assert_eq!(written as u64, n, "what is there already counts as written");
        } else if offset <= model.end {
            let new = (end - model.end).min(model.room(&self.gates));
            assert_eq!(written as u64, model.end - offset + new);
            model.append(new);
        } else if self.gates.iter().any(|&(_, position)| position < model.end) {
            assert_eq!(written, 0, "a gate has yet to read what is before the gap");
        } else {
            // All gates go on where the window does.
            self.gates.iter_mut().for_each(|(_, position)| *position = offset);
            (model.start, model.end) = (offset, offset);
            let new = n.min(model.room(&self.gates));
            assert_eq!(written as u64, new);
            model.append(new);
        }
    }

    fn read_at(&self, offset: u64, n: usize) {
        let model = &self.model;
        let mut buf = vec![0xEE; n];
        let result = self.ring.reader().try_read_at(offset, &mut buf);
        if n == 0 {
            return assert_eq!(result, Ok(0));
        }
        match result {
            Ok(0) => assert!(model.life == Life::Committed && offset >= model.end),
            Ok(n) => {
                assert!(model.start <= offset && offset + n as u64 <= model.end);
                assert_eq!(n as u64, (buf.len() as u64).min(model.end - offset), "less than there is");
                assert_eq!(buf[..n], data(offset..offset + n as u64));
            }
            Err(ReadError::Evicted { window }) => {
                assert!(offset < model.start);
                assert_eq!((window.start, window.end), (model.start, model.end));
            }
            Err(ReadError::NotYet) => assert!(model.life == Life::Active && offset >= model.end),
            Err(ReadError::Failed) => assert!(model.life == Life::Failed && offset >= model.end),
            Err(error) => panic!("{error}"),
        }
    }

    fn cursor(&mut self, operation: &CursorOperation) {
        let (model, cursor) = (&self.model, &mut self.cursor);
        let before = cursor.position();
        let lap_counted = std::mem::take(&mut self.lap_counted);
        match *operation {
            CursorOperation::Read(n) => {
                let mut buf = vec![0; usize::from(n)];
                let (laps, lost) = (cursor.laps(), cursor.lost_bytes());
                let lapped = !buf.is_empty() && before < model.start;
                match cursor.try_read(&mut buf) {
                    Ok(n) => {
                        let from = cursor.position() - n as u64;
                        assert_eq!(buf[..n], data(from..from + n as u64));
                        if lapped {
                            let target = if cursor.on_lap() == OnLap::SkipToLive { model.end } else { model.start };
                            assert_eq!(from, target);
                            assert_eq!(cursor.laps(), laps + u64::from(!lap_counted));
                            assert_eq!(cursor.lost_bytes(), lost + (target - before));
                        } else {
                            assert_eq!(from, before);
                        }
                    }
                    Err(ReadError::Evicted { .. }) => {
                        assert!(lapped && cursor.on_lap() == OnLap::Error);
                        assert_eq!(cursor.position(), before);
                        assert_eq!(cursor.laps(), laps + u64::from(!lap_counted));
                        self.lap_counted = true;
                    }
                    Err(_) => assert!(cursor.position() >= model.end, "there were bytes to read"),
                }
                // A read of nothing finds nothing out.
                self.lap_counted |= buf.is_empty() && lap_counted;
            }
            CursorOperation::SeekTo(at) => {
                let offset = model.at(at);
                match cursor.seek(SeekFrom::Start(offset)) {
                    Ok(position) => {
                        let skipped = if cursor.on_lap() == OnLap::SkipToLive { model.end } else { model.start };
                        assert_eq!(position, if offset < model.start { skipped } else { offset });
                        assert_eq!(position, cursor.position());
                    }
                    Err(_) => {
                        assert!(cursor.on_lap() == OnLap::Error && offset < model.start);
                        self.lap_counted = lap_counted;
                    }
                }
            }
            CursorOperation::SeekEnd(by) => {
                let known = model.life == Life::Committed;
                let result = cursor.seek(SeekFrom::End(i64::from(by)));
                assert!(known || result.is_err(), "a live stream has no end");
                self.lap_counted = result.is_err() && lap_counted;
            }
            CursorOperation::Oldest => assert_eq!(cursor.seek_oldest(), model.start),
            CursorOperation::Live => assert_eq!(cursor.seek_live(), model.end),
        }
    }

    fn mint(&mut self, offset: u64) {
        let Some(writer) = &mut self.writer else { return };
        match writer.gate_at(offset) {
            Ok(gate) if self.gates.len() < 8 => self.gates.push((gate, offset)),
            Ok(_) => {}
            Err(_) => assert!(offset > self.model.end),
        }
    }

    fn pick(&mut self, i: u8) -> Option<&mut (Gate, u64)> {
        let n = self.gates.len();
        (n > 0).then(|| &mut self.gates[usize::from(i) % n])
    }

    fn read_gate(&mut self, i: u8, n: usize) {
        let end = self.model.end;
        let life = self.model.life;
        let Some((gate, position)) = self.pick(i) else { return };
        let mut buf = vec![0; n];
        match gate.try_read(&mut buf) {
            Ok(0) => assert!(n == 0 || life == Life::Committed && *position == end),
            Ok(n) => {
                assert_eq!(n as u64, (buf.len() as u64).min(end - *position));
                assert_eq!(buf[..n], data(*position..*position + n as u64));
                *position += n as u64;
            }
            Err(_) => assert_eq!(*position, end),
        }
        assert!(n == 0 || gate.position() == *position);
    }

    fn consume(&mut self, i: u8, n: usize) {
        let end = self.model.end;
        let Some((gate, position)) = self.pick(i) else { return };
        match gate.slices() {
            Ok(slices) => {
                assert_eq!(slices.offset(), *position);
                let (first, second) = slices.as_slices();
                assert_eq!([first, second].concat(), data(*position..end), "a gate lends all there is");
                let n = n.min(slices.len());
                slices.consume(n);
                *position += n as u64;
            }
            Err(_) => assert_eq!(*position, end),
        }
    }

    fn wait(&mut self, offset: u64, n: u64) {
        let model = &self.model;
        let range = offset..offset + n;
        let outcome = self.cursor.reader().wait_range_timeout(range.clone(), Duration::ZERO);
        if std::mem::take(&mut self.interrupted) {
            return assert_eq!(outcome.expect("an interrupt is no error"), WaitOutcome::Interrupted);
        }
        let there = model.start <= offset && range.end <= model.end;
        match outcome {
            Ok(WaitOutcome::Ready) if model.life == Life::Committed => {
                assert!(n == 0 || model.start <= offset && offset < model.end);
            }
            Ok(WaitOutcome::Ready) => assert!(n == 0 || there),
            Ok(WaitOutcome::Eof) => assert!(model.life == Life::Committed && offset >= model.end),
            Ok(WaitOutcome::TimedOut) => assert!(!there && offset >= model.start && n <= model.capacity),
            Ok(WaitOutcome::Interrupted) => panic!("nobody interrupted"),
            Err(StorageError::Evicted { .. }) => assert!(offset < model.start),
            Err(StorageError::RangeTooLarge { .. }) => assert!(n > model.capacity),
            Err(StorageError::Failed(_)) => assert!(model.life == Life::Failed && !there),
            Err(error) => panic!("{error}"),
        }
    }

    fn commit(&mut self, at: Option<i8>) {
        let Some(writer) = &mut self.writer else { return };
        let final_len = at.map(|at| self.model.at(at));
        match writer.commit(final_len) {
            Ok(()) => {
                assert!(final_len.is_none_or(|final_len| final_len == self.model.end));
                self.model.life = Life::Committed;
                self.writer = None;
            }
            Err(StorageError::NotLiveEdge { .. }) => assert_ne!(final_len, Some(self.model.end)),
            Err(error) => panic!("{error}"),
        }
    }

    fn reactivate(&mut self) {
        if self.model.life == Life::Active {
            return assert!(self.ring.reactivate().is_err());
        }
        self.ring.reactivate().expect("there is no writer");
        // Readers and gates of the old generation keep its end; these go over to the new one, and the gates are done.
        self.gates.clear();
        assert!(self.cursor.refresh());
        self.model.life = Life::Active;
        self.writer = Some(self.ring.writer().expect("there is no other"));
    }

    /// What must hold after every step.
    fn check(&self) {
        let window = self.ring.reader().valid_window().expect("a ring has a window");
        assert_eq!((window.start, window.end), (self.model.start, self.model.end));
        let status = self.ring.status();
        match self.model.life {
            Life::Active => assert_eq!(status, ResourceStatus::Active),
            Life::Committed => assert_eq!(status, ResourceStatus::Committed { final_len: self.model.end }),
            Life::Failed => assert!(matches!(status, ResourceStatus::Failed(_))),
        }
    }

    /// What a plain reader of the whole window gets at the end.
    fn finish(mut self) {
        if self.model.life == Life::Failed {
            return;
        }
        if let Some(mut writer) = self.writer.take() {
            writer.commit(None).expect("a ring can be committed where it ends");
        }
        let mut cursor = self.ring.cursor(OnLap::Error);
        let mut rest = Vec::new();
        cursor.read_to_end(&mut rest).expect("a committed resource ends");
        assert_eq!(rest, data(self.model.start..self.model.end));
    }
}

fuzz_target!(|input: Input| {
    let mut run = Run::new(u64::from(input.capacity % 64) + 1, u64::from(input.start_offset));
    for operation in input.operations.iter().take(512) {
        run.step(operation);
    }
    run.finish();
});
