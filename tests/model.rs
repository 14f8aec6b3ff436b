//! Random operations on a ring, against a plain model: the whole stream in a vector, and offsets into it.

mod threads;
mod witness;

use proptest::prelude::*;
use rangemap::RangeSet;
use roundelay::{
    CancelToken, Cursor, Gate, MAX_OFFSET, OnLap, ReadError, Reader, Resource, ResourceStatus, RingDriver, RingOptions,
    Span, StorageError, WaitOutcome, Writer,
};
use std::{
    io::{BufRead, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
    time::Duration,
};
use threads::must_end;
use witness::{Event, Witness};

/// What is done; numbers are brought into range when it is done.
#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    /// At the live edge plus this many bytes.
    WriteAt(i64, usize),
    Read(u64, usize),
    Wait(u64, u64),
    CursorRead(usize, usize),
    CursorFillBuf(usize, usize),
    CursorSeek(usize, u64),
    CursorSeekCurrent(usize, i64),
    CursorSeekEnd(usize, i64),
    CursorOldest(usize),
    CursorLive(usize),
    CursorRefresh(usize),
    Mint,
    MintAt(u64),
    GateRead(usize, usize),
    GateLook(usize),
    GateDrop(usize),
    CommitNone,
    CommitSome(i64),
    Fail,
    Cancel,
    DropWriter,
    Reactivate,
}

fn op() -> impl Strategy<Value = Op> {
    use Op::*;
    let (which, len) = (0..8usize, 0..70usize);
    prop_oneof![
        8 => len.clone().prop_map(Append),
        4 => (-50..20i64, len.clone()).prop_map(|(at, len)| WriteAt(at, len)),
        2 => (1..300i64, len.clone()).prop_map(|(at, len)| WriteAt(at, len)),
        4 => (any::<u64>(), len.clone()).prop_map(|(at, len)| Read(at, len)),
        4 => (any::<u64>(), 0..70u64).prop_map(|(at, len)| Wait(at, len)),
        12 => (which.clone(), len.clone()).prop_map(|(which, len)| CursorRead(which, len)),
        3 => (which.clone(), len.clone()).prop_map(|(which, len)| CursorFillBuf(which, len)),
        2 => (which.clone(), any::<u64>()).prop_map(|(which, to)| CursorSeek(which, to)),
        2 => (which.clone(), -80..80i64).prop_map(|(which, by)| CursorSeekCurrent(which, by)),
        1 => (which.clone(), -80..80i64).prop_map(|(which, by)| CursorSeekEnd(which, by)),
        1 => which.clone().prop_map(CursorOldest),
        1 => which.clone().prop_map(CursorLive),
        2 => which.clone().prop_map(CursorRefresh),
        1 => Just(Mint),
        2 => any::<u64>().prop_map(MintAt),
        10 => (which.clone(), len).prop_map(|(which, len)| GateRead(which, len)),
        2 => which.clone().prop_map(GateLook),
        1 => which.prop_map(GateDrop),
        1 => Just(CommitNone),
        1 => (-3..3i64).prop_map(CommitSome),
        1 => Just(Fail),
        1 => Just(Cancel),
        1 => Just(DropWriter),
        4 => Just(Reactivate),
    ]
}

// ---- the model ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Committed,
    Failed,
    Cancelled,
}

/// A generation: how it ended, and where.
type Generation = Option<(Verdict, u64)>;

struct Model {
    capacity: u64,
    /// The offset of the first byte in `stream`.
    from: u64,
    /// All that was ever written. What was skipped is 0, and never read.
    stream: Vec<u8>,
    start: u64,
    /// Where the last discontinuity began.
    base: u64,
    generations: Vec<Generation>,
    cursors: Vec<CursorModel>,
    gates: Vec<GateModel>,
    told: Vec<Event>,
}

#[derive(Clone)]
struct CursorModel {
    generation: usize,
    on_lap: OnLap,
    position: u64,
    lapped: bool,
    laps: u64,
    lost: u64,
    buffer: Vec<u8>,
}

struct GateModel {
    generation: usize,
    position: u64,
    /// Where its bytes ended when it looked last. It reads up to there without another look.
    known_end: u64,
    discontinuities: u64,
    /// Whether it was told how its generation ended.
    heard: bool,
}

impl GateModel {
    /// It has read all of a generation that is over, and knows that: it holds nobody.
    fn retired(&self) -> bool {
        self.heard && self.position == self.known_end
    }
}

impl Model {
    fn end(&self) -> u64 {
        self.from + self.stream.len() as u64
    }

    fn now(&self) -> usize {
        self.generations.len() - 1
    }

    fn verdict(&self) -> Option<Verdict> {
        self.generations[self.now()].map(|(verdict, _)| verdict)
    }

    /// The window as a generation sees it.
    fn window(&self, generation: usize) -> Span {
        let last = self.generations[generation].map_or(u64::MAX, |(_, last)| last);
        Span { start: self.start.min(last), end: self.end().min(last) }
    }

    fn bytes(&self, range: Range<u64>) -> &[u8] {
        &self.stream[(range.start - self.from) as usize..(range.end - self.from) as usize]
    }

    fn out_of_bytes(&self, generation: usize) -> Result<Vec<u8>, ReadError> {
        match self.generations[generation] {
            None => Err(ReadError::NotYet),
            Some((Verdict::Committed, _)) => Ok(vec![]),
            Some((Verdict::Failed, _)) => Err(ReadError::Failed),
            Some((Verdict::Cancelled, _)) => Err(ReadError::Cancelled),
        }
    }

    fn read(&self, generation: usize, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let window = self.window(generation);
        if len == 0 {
            Ok(vec![])
        } else if offset < window.start {
            Err(ReadError::Evicted { window })
        } else if offset >= window.end {
            self.out_of_bytes(generation)
        } else {
            let end = window.end.min(offset.saturating_add(len as u64));
            Ok(self.bytes(offset..end).to_vec())
        }
    }

    fn wait(&self, generation: usize, range: Range<u64>) -> Result<WaitOutcome, String> {
        let window = self.window(generation);
        let mut end = range.end;
        if range.is_empty() {
            return Ok(WaitOutcome::Ready);
        }
        if let Some((Verdict::Committed, last)) = self.generations[generation] {
            if range.start >= last {
                return Ok(WaitOutcome::Eof);
            }
            end = end.min(last);
        }
        if range.start < window.start {
            Err("Evicted".into())
        } else if end - range.start > self.capacity {
            Err("RangeTooLarge".into())
        } else if end <= window.end {
            Ok(WaitOutcome::Ready)
        } else {
            match self.generations[generation] {
                None if end > MAX_OFFSET => Err("OffsetOverflow".into()),
                None => Ok(WaitOutcome::TimedOut),
                Some((verdict, _)) => Err(format!("{verdict:?}")),
            }
        }
    }

    /// The slowest gate.
    fn limit(&self) -> Option<u64> {
        self.gates.iter().filter(|gate| !gate.retired()).map(|gate| gate.position.max(self.base)).min()
    }

    fn room(&self) -> u64 {
        if self.verdict().is_some() {
            return 0;
        }
        let limit = self.limit().map_or(MAX_OFFSET, |limit| limit.saturating_add(self.capacity));
        limit.min(MAX_OFFSET) - self.end()
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize, String> {
        if let Some(verdict) = self.verdict() {
            return Err(format!("{verdict:?}"));
        }
        let Some(data_end) = offset.checked_add(data.len() as u64).filter(|&end| end <= MAX_OFFSET) else {
            return Err("OffsetOverflow".into());
        };
        if data.is_empty() || data_end <= self.end() {
            return Ok(data.len());
        }
        if offset > self.end() {
            if self.limit().is_some_and(|limit| limit < self.end()) {
                return Ok(0);
            }
            if self.start < self.end() {
                self.told.push(Event::Evict(self.start..self.end()));
            }
            self.stream.resize((offset - self.from) as usize, 0);
            (self.start, self.base) = (offset, offset);
        }
        let trimmed = (self.end() - offset) as usize;
        let fits = self.room().min((data.len() - trimmed) as u64) as usize;
        let (start, end) = (self.start, self.end());
        self.stream.extend_from_slice(&data[trimmed..trimmed + fits]);
        self.start = self.start.max(self.end().saturating_sub(self.capacity));
        if fits > 0 {
            self.told.push(Event::Write(end..self.end()));
        }
        if self.start > start {
            self.told.push(Event::Evict(start..self.start));
        }
        Ok(trimmed + fits)
    }

    fn end_generation(&mut self, verdict: Verdict) {
        let end = self.end();
        let now = self.now();
        self.generations[now].get_or_insert((verdict, end));
    }

    fn cursor_read(&self, cursor: &mut CursorModel, len: usize) -> Result<Vec<u8>, ReadError> {
        if !cursor.buffer.is_empty() {
            let n = len.min(cursor.buffer.len());
            cursor.position += n as u64;
            return Ok(cursor.buffer.drain(..n).collect());
        }
        let mut read = self.read(cursor.generation, cursor.position, len);
        if let Err(ReadError::Evicted { window }) = read {
            cursor.laps += u64::from(!cursor.lapped);
            let target = match cursor.on_lap {
                OnLap::Error => {
                    cursor.lapped = true;
                    return read;
                }
                OnLap::SkipToOldest => window.start,
                OnLap::SkipToLive => window.end,
            };
            cursor.lost += target - cursor.position;
            cursor.position = target;
            cursor.lapped = false;
            read = self.read(cursor.generation, cursor.position, len);
        }
        if let Ok(bytes) = &read {
            cursor.position += bytes.len() as u64;
            cursor.lapped &= bytes.is_empty();
        }
        read
    }

    fn cursor_seek(&self, cursor: &mut CursorModel, offset: u64) -> Option<u64> {
        let window = self.window(cursor.generation);
        let to = match cursor.on_lap {
            _ if offset >= window.start => offset,
            OnLap::Error => return None,
            OnLap::SkipToOldest => window.start,
            OnLap::SkipToLive => window.end,
        };
        cursor.go(to);
        Some(to)
    }

    /// The gate looks at the live edge.
    fn gate_look(&self, gate: &mut GateModel) {
        let window = self.window(gate.generation);
        if !gate.retired() {
            if gate.position < window.start {
                gate.discontinuities += 1;
                gate.position = window.start;
            }
            gate.known_end = window.end.max(gate.position);
            gate.heard = self.generations[gate.generation].is_some();
        }
    }
}

impl CursorModel {
    fn go(&mut self, to: u64) {
        self.position = to;
        self.lapped = false;
        self.buffer.clear();
    }
}

// ---- the ring beside it ----

struct Ring {
    resource: Resource<RingDriver>,
    /// A write that nobody observes takes a way of its own.
    witness: Option<Arc<Witness>>,
    writer: Option<Writer<RingDriver>>,
    /// One of each generation.
    readers: Vec<Reader<RingDriver>>,
    cursors: Vec<Cursor<RingDriver>>,
    gates: Vec<Gate>,
}

/// An error, in as many words as the model has.
fn name(error: &StorageError) -> String {
    let debug = format!("{error:?}");
    debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

struct Pair {
    model: Model,
    ring: Ring,
    /// Each write has bytes of its own, so that none passes for another.
    salt: u8,
}

impl Pair {
    fn new(capacity: usize, from: u64, observed: bool) -> Self {
        let options = RingOptions { capacity_bytes: capacity, start_offset: from, ..Default::default() };
        let witness = observed.then(Witness::new);
        let resource = match &witness {
            Some(witness) => Resource::open_observed(CancelToken::new(), options, witness.clone()).unwrap(),
            None => roundelay::open(options).unwrap(),
        };
        let policies = [OnLap::Error, OnLap::SkipToOldest, OnLap::SkipToLive];
        let cursor = |on_lap| CursorModel {
            generation: 0,
            on_lap,
            position: from,
            lapped: false,
            laps: 0,
            lost: 0,
            buffer: vec![],
        };
        let model = Model {
            capacity: capacity as u64,
            from,
            stream: vec![],
            start: from,
            base: 0,
            generations: vec![None],
            cursors: policies.map(cursor).to_vec(),
            gates: vec![],
            told: vec![],
        };
        let ring = Ring {
            witness,
            writer: Some(resource.writer().unwrap()),
            readers: vec![resource.reader()],
            cursors: policies.map(|on_lap| resource.cursor(on_lap)).into(),
            gates: vec![],
            resource,
        };
        Self { model, ring, salt: 0 }
    }

    fn data(&mut self, len: usize) -> Vec<u8> {
        self.salt = self.salt.wrapping_add(37);
        (0..len).map(|i| (i as u8).wrapping_mul(3).wrapping_add(self.salt)).collect()
    }

    /// An offset in the neighbourhood of the window.
    fn near(&self, pick: u64) -> u64 {
        let width = self.model.end() - self.model.start + 20;
        (self.model.start.saturating_sub(10)).saturating_add(pick % width)
    }

    fn run(&mut self, op: Op) {
        let Self { model, .. } = self;
        let cursors = model.cursors.len();
        match op {
            Op::Append(len) => {
                let data = self.data(len);
                let Some(writer) = &mut self.ring.writer else { return };
                let written = writer.try_append(&data).map_err(|error| name(&error));
                assert_eq!(written, self.model.write(self.model.end(), &data), "{len} bytes");
            }
            Op::WriteAt(by, len) => {
                let data = self.data(len);
                self.write(self.model.end().saturating_add_signed(by), &data);
            }
            Op::Read(pick, len) => {
                let generation = pick as usize % model.generations.len();
                let offset = self.near(pick >> 8);
                let mut buf = vec![0; len];
                let read = self.ring.readers[generation].try_read_at(offset, &mut buf);
                let read = read.map(|n| buf[..n].to_vec());
                assert_eq!(read, self.model.read(generation, offset, len));
            }
            Op::Wait(pick, len) => {
                let generation = pick as usize % model.generations.len();
                let offset = self.near(pick >> 8);
                let range = offset..offset.saturating_add(len);
                let waited = self.ring.readers[generation].wait_range_timeout(range.clone(), Duration::ZERO);
                assert_eq!(
                    waited.map_err(|error| name(&error)),
                    self.model.wait(generation, range.clone()),
                    "{range:?}"
                );
            }
            Op::CursorRead(which, len) => {
                let (cursor, mut own) =
                    (&mut self.ring.cursors[which % cursors], model.cursors[which % cursors].clone());
                let mut buf = vec![0; len];
                let read = cursor.try_read(&mut buf).map(|n| buf[..n].to_vec());
                assert_eq!(read, model.cursor_read(&mut own, len));
                model.cursors[which % cursors] = own;
            }
            Op::CursorFillBuf(which, len) => {
                let (cursor, mut own) =
                    (&mut self.ring.cursors[which % cursors], model.cursors[which % cursors].clone());
                let mut ahead = Ok(vec![]);
                if own.buffer.is_empty() {
                    ahead = model.cursor_read(&mut own, 8 << 10);
                }
                match ahead {
                    // It would wait.
                    Err(ReadError::NotYet) => return,
                    Err(_) => assert!(cursor.fill_buf().is_err()),
                    Ok(bytes) => {
                        own.position -= bytes.len() as u64;
                        own.buffer.extend(bytes);
                        assert_eq!(cursor.fill_buf().unwrap(), own.buffer);
                        let n = len.min(own.buffer.len());
                        cursor.consume(len);
                        own.buffer.drain(..n);
                        own.position += n as u64;
                    }
                }
                model.cursors[which % cursors] = own;
            }
            Op::CursorSeek(which, pick) => {
                let to = self.near(pick);
                self.seek(which % cursors, SeekFrom::Start(to), Some(to));
            }
            Op::CursorSeekCurrent(which, by) => {
                let to = model.cursors[which % cursors].position.checked_add_signed(by);
                self.seek(which % cursors, SeekFrom::Current(by), to);
            }
            Op::CursorSeekEnd(which, by) => {
                let end = match model.generations[model.cursors[which % cursors].generation] {
                    Some((Verdict::Committed, last)) => Some(last),
                    _ => None,
                };
                self.seek(which % cursors, SeekFrom::End(by), end.and_then(|end| end.checked_add_signed(by)));
            }
            Op::CursorOldest(which) => {
                let oldest = model.window(model.cursors[which % cursors].generation).start;
                assert_eq!(self.ring.cursors[which % cursors].seek_oldest(), oldest);
                model.cursors[which % cursors].go(oldest);
            }
            Op::CursorLive(which) => {
                let live = model.window(model.cursors[which % cursors].generation).end;
                assert_eq!(self.ring.cursors[which % cursors].seek_live(), live);
                model.cursors[which % cursors].go(live);
            }
            Op::CursorRefresh(which) => {
                let now = model.now();
                let newer = std::mem::replace(&mut model.cursors[which % cursors].generation, now) != now;
                assert_eq!(self.ring.cursors[which % cursors].refresh(), newer);
            }
            Op::Mint => self.mint(self.model.end()),
            Op::MintAt(pick) => self.mint(self.near(pick)),
            Op::GateRead(which, len) => {
                let Some(which) = which.checked_rem(model.gates.len()) else { return };
                let mut own = model.gates.remove(which);
                if len == 0 || own.known_end - own.position < len as u64 {
                    model.gate_look(&mut own);
                }
                let end = own.known_end;
                let mut buf = vec![0; len];
                let read = self.ring.gates[which].try_read(&mut buf).map(|n| buf[..n].to_vec());
                let expected = if len == 0 {
                    Ok(vec![])
                } else if own.position == end {
                    model.out_of_bytes(own.generation)
                } else {
                    let to = end.min(own.position.saturating_add(len as u64));
                    Ok(model.bytes(own.position..to).to_vec())
                };
                assert_eq!(read, expected);
                if len > 0 {
                    own.position += expected.map_or(0, |bytes| bytes.len() as u64);
                } else {
                    // It did not look, and is made to.
                    let _ = self.ring.gates[which].slices();
                }
                model.gates.insert(which, own);
            }
            Op::GateLook(which) => {
                let Some(which) = which.checked_rem(model.gates.len()) else { return };
                let mut own = model.gates.remove(which);
                model.gate_look(&mut own);
                let end = own.known_end;
                match self.ring.gates[which].slices() {
                    Ok(slices) => {
                        assert_eq!(slices.offset(), own.position);
                        let (first, second) = slices.as_slices();
                        assert_eq!([first, second].concat(), model.bytes(own.position..end));
                    }
                    Err(error) => {
                        assert_eq!(own.position, end);
                        let expected = model.out_of_bytes(own.generation).err().unwrap_or(ReadError::Ended);
                        assert_eq!(error, expected);
                    }
                }
                model.gates.insert(which, own);
            }
            Op::GateDrop(which) => {
                let Some(which) = which.checked_rem(model.gates.len()) else { return };
                model.gates.remove(which);
                self.ring.gates.remove(which);
            }
            Op::CommitNone => self.commit(None),
            Op::CommitSome(by) => self.commit(Some(self.model.end().saturating_add_signed(by))),
            Op::Fail => {
                if model.verdict().is_none() {
                    model.told.push(Event::Fail("because".into()));
                }
                model.end_generation(Verdict::Failed);
                self.ring.resource.fail(StorageError::other("because"));
            }
            Op::Cancel => {
                if model.verdict().is_none() {
                    model.told.push(Event::Cancel);
                }
                model.end_generation(Verdict::Cancelled);
                self.ring.resource.cancel();
            }
            Op::DropWriter => {
                if self.ring.writer.take().is_some() && model.verdict().is_none() {
                    model.told.push(Event::Fail(StorageError::WriterDropped.to_string()));
                    model.end_generation(Verdict::Failed);
                }
            }
            Op::Reactivate => {
                let reactivated = self.ring.resource.reactivate().map_err(|error| name(&error));
                if model.verdict().is_none() {
                    assert_eq!(reactivated, Err("Active".into()));
                } else if self.ring.writer.is_some() {
                    assert_eq!(reactivated, Err("WriterTaken".into()));
                    self.ring.writer = None;
                } else {
                    reactivated.unwrap();
                    model.generations.push(None);
                    self.ring.readers.push(self.ring.resource.reader());
                    self.ring.writer = Some(self.ring.resource.writer().unwrap());
                }
            }
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let Some(writer) = &mut self.ring.writer else { return };
        let written = writer.try_write_at(offset, data).map_err(|error| name(&error));
        assert_eq!(written, self.model.write(offset, data), "{} bytes at {offset}", data.len());
    }

    fn commit(&mut self, final_len: Option<u64>) {
        let Some(writer) = &mut self.ring.writer else { return };
        let committed = writer.commit(final_len).map_err(|error| name(&error));
        if let Some(verdict) = self.model.verdict() {
            assert_eq!(committed, Err(format!("{verdict:?}")));
        } else if final_len.is_some_and(|len| len != self.model.end()) {
            assert_eq!(committed, Err("NotLiveEdge".into()));
        } else {
            committed.unwrap();
            self.model.end_generation(Verdict::Committed);
            self.model.told.push(Event::Commit(self.model.end()));
        }
    }

    fn seek(&mut self, which: usize, to: SeekFrom, offset: Option<u64>) {
        let mut own = self.model.cursors[which].clone();
        let landed = offset.and_then(|offset| self.model.cursor_seek(&mut own, offset));
        assert_eq!(self.ring.cursors[which].seek(to).ok(), landed);
        self.model.cursors[which] = own;
    }

    fn mint(&mut self, at: u64) {
        let Some(writer) = &mut self.ring.writer else { return };
        let window = Span { start: self.model.start, end: self.model.end() };
        match writer.gate_at(at) {
            Ok(gate) => {
                assert!(window.start <= at && at <= window.end);
                assert_eq!(gate.position(), at);
                self.ring.gates.push(gate);
                let generation = self.model.now();
                let gate = GateModel { generation, position: at, known_end: at, discontinuities: 0, heard: false };
                self.model.gates.push(gate);
            }
            Err(error) => {
                assert_eq!(name(&error), "OutsideWindow");
                assert!(at < window.start || window.end < at);
            }
        }
    }

    /// Everything that can be asked without changing anything.
    fn compare(&mut self) {
        let Self { model, ring, .. } = self;
        let told = std::mem::take(&mut model.told);
        if let Some(witness) = &ring.witness {
            assert_eq!(witness.take(), told);
        }
        for (generation, reader) in ring.readers.iter().enumerate() {
            let window = model.window(generation);
            assert_eq!(reader.valid_window(), Some(window));
            assert_eq!(reader.live_edge(), window.end);
            let available = if window.is_empty() { RangeSet::new() } else { RangeSet::from_iter([window.into()]) };
            assert_eq!(reader.available(), available);
            assert!(reader.contains_range(window.into()));
            assert!(!reader.contains_range(window.end..window.end + 1));
            let status = reader.status();
            match model.generations[generation] {
                None => assert_eq!(status, ResourceStatus::Active),
                Some((Verdict::Committed, final_len)) => assert_eq!(status, ResourceStatus::Committed { final_len }),
                Some((Verdict::Failed, _)) => assert!(matches!(status, ResourceStatus::Failed(_))),
                Some((Verdict::Cancelled, _)) => assert_eq!(status, ResourceStatus::Cancelled),
            }
        }
        for (cursor, own) in ring.cursors.iter().zip(&model.cursors) {
            assert_eq!(cursor.position(), own.position, "{:?}", own.on_lap);
            assert_eq!((cursor.laps(), cursor.lost_bytes()), (own.laps, own.lost), "{:?}", own.on_lap);
            assert_eq!(cursor.lag(), model.window(own.generation).end.saturating_sub(own.position));
        }
        for (gate, own) in ring.gates.iter().zip(&model.gates) {
            assert_eq!((gate.position(), gate.discontinuities()), (own.position, own.discontinuities));
        }
        if let Some(writer) = &mut ring.writer {
            assert_eq!(writer.position(), model.end());
            assert_eq!(writer.window(), Span { start: model.start, end: model.end() });
            assert_eq!(writer.room(), model.room());
            assert_eq!(writer.gate_lag(), model.limit().map_or(0, |limit| model.end() - limit));
        }
        // All that is there, byte by byte.
        let mut buf = vec![0; model.capacity as usize];
        let window = model.window(model.now());
        if !window.is_empty() {
            let n = ring.readers[model.now()].try_read_at(window.start, &mut buf).unwrap();
            assert_eq!(buf[..n], *model.bytes(window.into()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_does_what_a_plain_vector_and_some_offsets_do(
        capacity in prop_oneof![1..5usize, 1..40usize, Just(32usize)],
        from in prop_oneof![Just(0u64), 0..1000u64, MAX_OFFSET - 3000..MAX_OFFSET],
        observed: bool,
        ops in prop::collection::vec(op(), 1..100),
    ) {
        must_end(move || {
            let mut pair = Pair::new(capacity, from, observed);
            for op in ops {
                pair.run(op);
                pair.compare();
            }
        });
    }
}
