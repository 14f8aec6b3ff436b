//! Scenes over rings, scripted: everything here happens on the callback's own thread, so that each branch is reached in
//! each step.

use crate::{
    pattern,
    tally::{Branch, Call, Tally},
};
use roundelay::{
    Cursor, Gate, OnLap, Publication, ReadError, Reader, RingDriver, RingOptions, StorageError, StorageResult, Writer,
};

pub const POLICIES: [(OnLap, Call); 3] = [
    (OnLap::Error, Call::CursorError),
    (OnLap::SkipToOldest, Call::CursorSkipToOldest),
    (OnLap::SkipToLive, Call::CursorSkipToLive),
];

pub fn ring(capacity_bytes: usize) -> roundelay::Resource<RingDriver> {
    roundelay::open(RingOptions { prefault: true, ..RingOptions::new(capacity_bytes) }).expect("a small ring")
}

fn written(tally: &mut Tally, result: StorageResult<usize>, wanted: usize) {
    tally.add(
        Call::TryWriteAt,
        match result {
            Ok(n) if n == wanted => Branch::Whole,
            Ok(0) => Branch::Nothing,
            Ok(_) => Branch::Part,
            Err(StorageError::Committed) => Branch::Committed,
            Err(StorageError::Failed(_)) => Branch::Failed,
            Err(StorageError::Cancelled) => Branch::Cancelled,
            Err(_) => Branch::Stale,
        },
    );
}

/// A ring that the callback itself writes, silently: it laps its own followers.
pub struct Followed {
    pub writer: Writer<RingDriver>,
    pub reader: Reader<RingDriver>,
    cursors: Cursors,
    data: Vec<u8>,
    buf: Vec<u8>,
}

impl Followed {
    const CAPACITY: usize = 256;

    pub fn new() -> Self {
        let ring = ring(Self::CAPACITY);
        let mut writer = ring.writer().expect("the first writer");
        writer.set_publication(Publication::SILENT);
        Self {
            writer,
            reader: ring.reader(),
            cursors: POLICIES.map(|(policy, call)| (ring.cursor(policy), call)).into(),
            data: vec![0; 2 * Self::CAPACITY],
            buf: vec![0; 64],
        }
    }

    fn append(&mut self, tally: &mut Tally, n: usize) {
        pattern::write(self.writer.position(), &mut self.data[..n]);
        let result = self.writer.try_append(&self.data[..n]);
        written(tally, result, n);
    }

    pub fn step(&mut self, tally: &mut Tally) {
        let at = self.writer.position();
        self.append(tally, 64);
        for i in 0..self.cursors.len() {
            let (cursor, _) = &mut self.cursors[i];
            tally.check(cursor.seek_to(at).is_ok() && cursor.lag() == 64);
            for n in [32, 64, 64, 0] {
                // The second finds 32, the third none.
                let _ = self.read(tally, i, n);
            }
        }
        self.read_at(tally, at, 64);
        self.read_at(tally, at + 32, 64);
        self.read_at(tally, at + 64, 64);
        self.read_at(tally, at + 1000, 64); // ahead of the live edge
        let window = self.reader.valid_window().unwrap_or_default();
        tally.add(Call::ValidWindow, Branch::Whole);
        tally.check(window.end == at + 64 && window.len() <= Self::CAPACITY as u64);
        tally.check(self.reader.contains_range(at..at + 64) && !self.reader.contains_range(at..at + 65));
        tally.check(self.reader.live_edge() == at + 64 && self.reader.final_len().is_none());

        // The writer comes round twice, and the followers stand where nothing is left.
        self.append(tally, 2 * Self::CAPACITY);
        self.lapped(tally);
        self.read_at(tally, at, 64);
        self.append(tally, 64);
        for i in 0..self.cursors.len() {
            let _ = self.read(tally, i, 64);
        }

        // A discontinuity, then some of it once more, then some of it and some that is new.
        let end = self.writer.position();
        for (cursor, _) in &mut self.cursors {
            tally.check(cursor.seek_to(end).is_ok());
        }
        let gap = end + 80;
        pattern::write(gap, &mut self.data[..64]);
        written(tally, self.writer.try_write_at(gap, &self.data[..64]), 64);
        tally.add(Call::TryWriteAt, Branch::Discontinuity);
        self.lapped(tally);
        self.read_at(tally, gap - 8, 64);
        self.read_at(tally, gap, 64);
        written(tally, self.writer.try_write_at(gap, &self.data[..64]), 64);
        tally.add(Call::TryWriteAt, Branch::Resent);
        tally.check(self.writer.position() == gap + 64);
        pattern::write(gap + 32, &mut self.data[..64]);
        written(tally, self.writer.try_write_at(gap + 32, &self.data[..64]), 64);
        tally.add(Call::TryWriteAt, Branch::Overlapping);
        self.read_at(tally, gap + 32, 64);
    }

    fn read(&mut self, tally: &mut Tally, cursor: usize, n: usize) -> Result<usize, ReadError> {
        let (cursor, call) = &mut self.cursors[cursor];
        let from = cursor.position();
        let result = cursor.try_read(&mut self.buf[..n]);
        if n == 0 {
            tally.add(*call, Branch::Nothing);
            tally.check(result == Ok(0));
            return result;
        }
        tally.read(*call, result, n);
        if let Ok(n) = result {
            let from = cursor.position() - n as u64;
            tally.check(pattern::holds(from, &self.buf[..n]));
        }
        if cursor.position() != from + result.unwrap_or(0) as u64 {
            tally.add(*call, Branch::Skipped);
        }
        result
    }

    fn lapped(&mut self, tally: &mut Tally) {
        for i in 0..self.cursors.len() {
            let laps = self.cursors[i].0.laps();
            let result = self.read(tally, i, 64);
            tally.check(self.cursors[i].0.laps() == laps + 1);
            match self.cursors[i].0.on_lap() {
                OnLap::Error => {
                    tally.check(matches!(result, Err(ReadError::Evicted { .. })));
                    // It stays until it is told where to go, and is not lapped twice by that.
                    let right = self.read(tally, i, 64) == result;
                    tally.check(right);
                    tally.check(self.cursors[i].0.laps() == laps + 1);
                    let oldest = self.cursors[i].0.seek_oldest();
                    tally.check(self.reader.valid_window().is_some_and(|window| window.start == oldest));
                    let right = self.read(tally, i, 64) == Ok(64);
                    tally.check(right);
                }
                OnLap::SkipToOldest => tally.check(result == Ok(64)),
                OnLap::SkipToLive => tally.check(result == Err(ReadError::NotYet)),
            }
        }
    }

    fn read_at(&mut self, tally: &mut Tally, offset: u64, n: usize) {
        let result = self.reader.try_read_at(offset, &mut self.buf[..n]);
        tally.read(Call::TryReadAt, result, n);
        tally.check(result.is_err() || pattern::holds(offset, &self.buf[..result.unwrap_or(0)]));
    }
}

/// One of each policy.
type Cursors = Vec<(Cursor<RingDriver>, Call)>;

/// Rings that have ended, in each of the three ways.
pub struct Over {
    rings: Vec<(Writer<RingDriver>, Reader<RingDriver>, Cursors)>,
    buf: Vec<u8>,
}

/// A ring that has come round once and then ended; one for each way to end.
fn over() -> Vec<(roundelay::Resource<RingDriver>, Writer<RingDriver>, Gate)> {
    (0..3)
        .map(|way| {
            let ring = ring(64);
            let mut writer = ring.writer().expect("the first writer");
            let mut data = [0; 128];
            pattern::write(0, &mut data);
            writer.append(&data).expect("no gate is in the way");
            let mut gate = writer.gate_at(64).expect("inside the window");
            gate.set_publication(Publication::SILENT);
            match way {
                0 => writer.commit(None).expect("no hole"),
                1 => writer.fail(StorageError::other("the source went away")),
                _ => ring.cancel(),
            }
            (ring, writer, gate)
        })
        .collect()
}

impl Over {
    pub fn new() -> Self {
        let rings = over().into_iter().map(|(ring, writer, _)| {
            (writer, ring.reader(), POLICIES.map(|(policy, call)| (ring.cursor(policy), call)).into())
        });
        Self { rings: rings.collect(), buf: vec![0; 64] }
    }

    pub fn step(&mut self, tally: &mut Tally) {
        for (writer, reader, cursors) in &mut self.rings {
            written(tally, writer.try_append(&self.buf), 64);
            for (cursor, call) in cursors {
                tally.check(cursor.seek_oldest() == 64);
                let result = cursor.try_read(&mut self.buf);
                tally.read(*call, result, 64);
                tally.check(pattern::holds(64, &self.buf));
                tally.read(*call, cursor.try_read(&mut self.buf), 64);
            }
            for offset in [0, 64, 128] {
                let result = reader.try_read_at(offset, &mut self.buf);
                tally.read(Call::TryReadAt, result, 64);
                tally.check((result == Ok(64)) == (offset == 64));
            }
            tally.check(reader.final_len().is_none_or(|len| len == 128));
            tally.check(reader.valid_window().is_some_and(|window| (window.start, window.end) == (64, 128)));
        }
    }
}

/// A ring with a gate, both on the callback's thread.
pub struct Gated {
    writer: Writer<RingDriver>,
    gate: Gate,
    over: Vec<Gate>,
    data: Vec<u8>,
    buf: Vec<u8>,
    /// Keeps the rings that are over.
    _writers: Vec<Writer<RingDriver>>,
}

impl Gated {
    const CAPACITY: usize = 256;

    pub fn new() -> Self {
        let ring = ring(Self::CAPACITY);
        let mut writer = ring.writer().expect("the first writer");
        writer.set_publication(Publication::SILENT);
        let mut gate = writer.gate();
        gate.set_publication(Publication::SILENT);
        let (over, writers) = over().into_iter().map(|(_, writer, gate)| (gate, writer)).unzip();
        Self { writer, gate, over, data: vec![0; 2 * Self::CAPACITY], buf: vec![0; 96], _writers: writers }
    }

    fn write(&mut self, tally: &mut Tally, offset: u64, n: usize) -> usize {
        pattern::write(offset, &mut self.data[..n]);
        let result = self.writer.try_write_at(offset, &self.data[..n]);
        let count = result.as_ref().map_or(0, |&n| n);
        written(tally, result, n);
        count
    }

    pub fn step(&mut self, tally: &mut Tally) {
        // In threes of 32 bytes through a window of eight: each wraps somewhere else.
        let at = self.writer.position();
        let right = self.write(tally, at, 96) == 96;
        tally.check(right);
        self.slices(tally, 96, 32);
        // Lent, looked at and not consumed.
        self.slices(tally, 64, 0);
        self.read(tally, 32);
        self.read(tally, 96); // of which there are 32
        self.read(tally, 96);
        self.slices(tally, 0, 0);
        self.read(tally, 0);

        // As far as the gate allows, then not at all.
        let at = self.writer.position();
        let right = self.write(tally, at, 2 * Self::CAPACITY) == Self::CAPACITY;
        tally.check(right);
        let right = self.write(tally, at + Self::CAPACITY as u64, 8) == 0 && self.writer.room() == 0;
        tally.check(right);
        // A discontinuity waits until the gate has drained.
        let gap = at + 2 * Self::CAPACITY as u64 + 8;
        let right = self.write(tally, gap, 64) == 0;
        tally.check(right);
        self.slices(tally, Self::CAPACITY, Self::CAPACITY);
        let right = self.write(tally, gap, 64) == 64;
        tally.check(right);
        let jumps = self.gate.discontinuities();
        self.slices(tally, 64, 64);
        tally.check(self.gate.discontinuities() == jumps + 1 && self.gate.position() == gap + 64);
        tally.add(Call::GateSlices, Branch::Discontinuity);
        tally.check(self.gate.lag() == 0);

        for gate in &mut self.over {
            let result = gate.slices().map(|slices| {
                let n = slices.len();
                slices.consume(n);
                n
            });
            tally.read(Call::GateSlices, result, 64);
            tally.read(Call::GateTryRead, gate.try_read(&mut self.buf), 64);
        }
    }

    fn slices(&mut self, tally: &mut Tally, there: usize, consume: usize) {
        let result = self.gate.slices();
        let Ok(slices) = result else {
            tally.read(Call::GateSlices, result.map(|_| 0), there);
            return tally.check(there == 0);
        };
        tally.add(Call::GateSlices, if slices.second().is_empty() { Branch::Whole } else { Branch::Wrapped });
        let (first, second) = slices.as_slices();
        tally.check(slices.len() == there);
        tally.check(pattern::holds(slices.offset(), first));
        tally.check(pattern::holds(slices.offset() + first.len() as u64, second));
        slices.consume(consume);
    }

    fn read(&mut self, tally: &mut Tally, n: usize) {
        let from = self.gate.position();
        let result = self.gate.try_read(&mut self.buf[..n]);
        match n {
            0 => tally.add(Call::GateTryRead, Branch::Nothing),
            n => tally.read(Call::GateTryRead, result, n),
        }
        tally.check(result.is_err() || pattern::holds(from, &self.buf[..result.unwrap_or(0)]));
    }
}
