//! The steps of whoever writes: one writer, or several who fetch; and what they should do.

use crate::{
    Run,
    actor::{Method, ROOM},
    assert_is, assert_refused,
    below::Store,
    input::{Len, Mode, data},
    model::{BLOCK, Life, failed},
    witness::Event,
};
use rangemap::RangeSet;
use roundelay::{AnyDriver, Claim, Fetcher, MAX_OFFSET, OnLap, StorageError, StorageResult, Writer};
use std::{mem, ops::Range};

/// Who writes.
pub enum Seat {
    Nobody,
    /// With the offset at which it should append.
    Writer(Writer<AnyDriver>, u64),
    Fetchers(Crew),
}

/// Those who fill gaps.
pub struct Crew {
    pub fetchers: Vec<Fetcher<AnyDriver>>,
    /// Each with what is left of it.
    pub claims: Vec<(Claim<AnyDriver>, Range<u64>)>,
    /// Where the last claim ended.
    pub next: u64,
}

impl Run {
    pub fn take_writer(&mut self) {
        let error = match self.current().life {
            Life::Committed(_) if self.rewrites() => None,
            life => life.error(),
        };
        let taken = !matches!(self.seat, Seat::Nobody);
        match error.or(taken.then_some(StorageError::WriterTaken)) {
            Some(error) => assert_refused(self.resource.writer(), &error),
            None => {
                let writer = self.resource.writer().expect("nobody has it");
                self.seat = Seat::Writer(writer, self.current().live_edge());
            }
        }
    }

    /// The writer, out of its seat for a moment, if that is who sits there.
    pub fn take_pen(&mut self) -> Seat {
        match mem::replace(&mut self.seat, Seat::Nobody) {
            seat @ Seat::Writer(..) => seat,
            other => {
                self.seat = other;
                Seat::Nobody
            }
        }
    }

    /// Whoever writes goes.
    pub fn leave(&mut self) {
        if !matches!(self.seat, Seat::Nobody) {
            self.seat = Seat::Nobody;
            self.fail();
            self.flushed();
        }
    }

    pub fn fail(&mut self) {
        if self.current().life == Life::Active {
            self.current_mut().life = Life::Failed;
            self.expected.push(Event::Fail);
        }
    }

    pub fn write(
        &mut self,
        offset: u64,
        len: Len,
        write: impl FnOnce(&mut Writer<AnyDriver>, u64, &[u8]) -> StorageResult<usize>,
    ) {
        let range = offset..offset.saturating_add(len.bytes());
        let sparse = self.files().is_some_and(|files| files.live || matches!(files.input.mode, Mode::ReadWrite))
            && range.end > 1 << 40
            && range.end <= MAX_OFFSET;
        if sparse {
            // Whether a file can be so long is the file system's business.
            return;
        }
        let Seat::Writer(mut writer, position) = self.take_pen() else { return };
        self.seed += 1;
        // Whole, also where the range is cut off by the end of numbers.
        let bytes = data(self.seed, 0..len.bytes());
        if matches!(self.current().life, Life::Committed(_)) && self.rewrites() {
            self.begin();
        }
        let expected = match self.current().life.error() {
            None => self.put(offset, &bytes),
            Some(error) => Err(error),
        };
        let written = write(&mut writer, offset, &bytes);
        let mut moved = position;
        if let Some(written) = assert_is(written, &expected) {
            assert_eq!(written, bytes.len());
            if written > 0 {
                moved = position.max(range.end);
            }
        }
        self.seat = Seat::Writer(writer, moved);
    }

    /// What a write to an active resource does.
    fn put(&mut self, offset: u64, bytes: &[u8]) -> StorageResult<()> {
        let len = bytes.len() as u64;
        let end = offset.checked_add(len).filter(|&end| end <= MAX_OFFSET);
        let end = end.ok_or(StorageError::OffsetOverflow { offset, len })?;
        if let Some(whole) = self.current().expected_len.filter(|&whole| len > 0 && end > whole) {
            return Err(StorageError::BeyondLength { end, len: whole });
        }
        let gaps: Vec<_> = if len == 0 { vec![] } else { self.current().written.gaps(&(offset..end)).collect() };
        for gap in gaps {
            self.put_piece(gap.clone(), &bytes[(gap.start - offset) as usize..(gap.end - offset) as usize])?;
        }
        let due = self
            .files()
            .is_some_and(|files| files.input.flush_every.is_some_and(|every| files.unflushed >= u64::from(every)));
        if due {
            self.flushed();
        }
        Ok(())
    }

    /// What becomes of a piece of which nothing is there.
    fn put_piece(&mut self, range: Range<u64>, bytes: &[u8]) -> StorageResult<()> {
        match &mut self.store {
            Store::Actor(actor) => {
                let fails = actor.fails(Method::Write);
                self.forget_earlier(&range);
                if fails || range.end > ROOM {
                    if range.end <= ROOM {
                        // It has written a half; what was inherited is seen.
                        let (start, half) = (range.start as usize, bytes.len() / 2);
                        let there = (self.current().inherited.max(range.start) - range.start) as usize;
                        let half = half.min(there);
                        if half > 0 {
                            self.current_mut().bytes[start..start + half].copy_from_slice(&bytes[..half]);
                        }
                    }
                    self.fail();
                    return Err(failed());
                }
            }
            Store::Memory(input) => {
                if let Some(capacity) = input.capacity.map(u64::from).filter(|&capacity| range.end > capacity) {
                    return Err(StorageError::CapacityExceeded { needed: range.end, capacity });
                }
                if range.end > 1 << 40 {
                    return Err(StorageError::OutOfMemory { bytes: 0 });
                }
            }
            Store::File(files) => {
                files.unflushed += range.end - range.start;
                files.disk.part.as_mut().expect("it is being written").grown = true;
            }
        }
        let generation = self.current_mut();
        generation.write(range.start, bytes);
        let new = range.start.max(generation.inherited)..range.end;
        if !new.is_empty() {
            self.expected.push(Event::Write(new));
        }
        Ok(())
    }

    /// All that was written is made durable; says how much that is.
    pub fn flushed(&mut self) -> u64 {
        let written = self.current().written.clone();
        let Some(files) = self.files() else { return 0 };
        files.unflushed = 0;
        let Some(part) = files.disk.part.as_mut().filter(|part| files.live && !part.rewrite) else { return 0 };
        let total = |set: &RangeSet<u64>| set.iter().map(|range| range.end - range.start).sum::<u64>();
        let new = total(&written) - total(&part.durable);
        part.durable = written;
        new
    }

    pub fn commit(&mut self, final_len: Option<u64>) {
        let Seat::Writer(mut writer, position) = self.take_pen() else { return };
        let expected = self.expect_commit(final_len);
        let committed = writer.commit(final_len);
        let done = assert_is(committed, &expected).is_some();
        let position = if done { self.current().live_edge() } else { position };
        self.seat = Seat::Writer(writer, position);
    }

    /// What a commit does.
    fn expect_commit(&mut self, final_len: Option<u64>) -> StorageResult<()> {
        let generation = self.current();
        if let Some(error) = generation.life.error() {
            return Err(error);
        }
        let end = final_len.unwrap_or(generation.live_edge().max(generation.expected_len.unwrap_or(0)));
        if end > MAX_OFFSET {
            return Err(StorageError::OffsetOverflow { offset: end, len: 0 });
        }
        let hole = if end == 0 { None } else { generation.there.gaps(&(0..end)).next() };
        if let Some(hole) = hole {
            return Err(StorageError::Hole { hole: hole.into() });
        }
        if self.fails(Method::Commit) {
            self.fail();
            return Err(failed());
        }
        let generation = self.current_mut();
        generation.commit(end);
        let whole = generation.bytes.clone();
        assert_eq!(whole.len() as u64, end);
        if let Some(files) = self.files() {
            (files.disk.whole, files.disk.part, files.disk.aside, files.live) = (Some(whole), None, None, false);
        }
        self.expected.push(Event::Commit(end));
        self.shorten_earlier(end);
        Ok(())
    }

    /// What a driver of somebody else's drops, earlier generations lose: their readers are not asked any more.
    fn shorten_earlier(&mut self, end: u64) {
        let last = self.generations.len() - 1;
        let loses = |of: usize| of < last && self.generations[of].live_edge() > end;
        if !self.store.is_ours() {
            self.readers.retain(|&(_, of)| !loses(of));
            if loses(self.cursor.1) {
                self.cursor = (self.resource.cursor(OnLap::Error), last);
            }
        }
        if self.readers.is_empty() {
            self.readers.push((self.resource.reader(), last));
        }
    }

    /// What is written anew in a driver of somebody else's, earlier generations see: their readers are not asked any more.
    fn forget_earlier(&mut self, range: &Range<u64>) {
        let last = self.generations.len() - 1;
        if range.start >= self.current().inherited {
            return;
        }
        self.readers.retain(|&(_, of)| of == last);
        if self.cursor.1 < last {
            self.cursor = (self.resource.cursor(OnLap::Error), last);
        }
        if self.readers.is_empty() {
            self.readers.push((self.resource.reader(), last));
        }
    }

    /// The next generation begins.
    fn begin(&mut self) {
        let rewrite = matches!(self.current().life, Life::Committed(_));
        if let Some(files) = self.files().filter(|_| rewrite) {
            files.leftover = files.disk.rewrite();
            files.live = true;
        }
        let next = self.current().next();
        self.generations.push(next);
    }

    pub fn reactivate(&mut self) {
        let read_only = matches!(&self.store, Store::File(files) if matches!(files.input.mode, Mode::ReadOnly));
        let error = match (self.current().life, &self.seat) {
            (Life::Active, _) => Some(StorageError::Active),
            (_, Seat::Writer(..) | Seat::Fetchers(_)) => Some(StorageError::WriterTaken),
            _ if read_only => Some(StorageError::ReadOnly),
            _ => self.fails(Method::Reactivate).then(|| StorageError::other("on purpose")),
        };
        match error {
            Some(error) => assert_refused(self.resource.reactivate(), &error),
            None => {
                self.resource.reactivate().expect("nothing is in the way");
                self.begin();
            }
        }
    }

    // ---- fetching ----

    /// A step of those who fetch, if there are any; the last one to go leaves.
    pub fn with_crew(&mut self, act: impl FnOnce(&mut Self, &mut Crew)) {
        match mem::replace(&mut self.seat, Seat::Nobody) {
            Seat::Fetchers(mut crew) => {
                act(self, &mut crew);
                let last = crew.fetchers.is_empty() && crew.claims.is_empty();
                self.seat = Seat::Fetchers(crew);
                if last {
                    self.leave();
                }
            }
            other => self.seat = other,
        }
    }

    pub fn claim(&mut self, crew: &mut Crew, max: u64) {
        let Some(fetcher) = crew.fetchers.first() else { return };
        let expected = self.expect_claim(crew, max.max(1));
        match (fetcher.next_claim(max), expected) {
            (Ok(Some(claim)), Ok(Some(range))) => {
                assert_eq!(Range::from(claim.range()), range);
                crew.next = range.end;
                crew.claims.push((claim, range));
            }
            (Ok(None), Ok(None)) => {}
            (found, Err(error)) => assert_refused(found, &error),
            (found, expected) => panic!("{found:?}, and not {expected:?}"),
        }
    }

    /// What the next claim holds.
    fn expect_claim(&mut self, crew: &Crew, max: u64) -> StorageResult<Option<Range<u64>>> {
        let generation = self.current();
        match generation.life.error() {
            None => {}
            Some(StorageError::Committed) => return Ok(None),
            Some(error) => return Err(error),
        }
        let len = generation.expected_len.ok_or(StorageError::Unsupported("it has no length"))?;
        let mut taken = generation.there.clone();
        taken.extend(crew.claims.iter().map(|(_, rest)| rest.clone()).filter(|rest| !rest.is_empty()));
        let gap = |from: u64| if from < len { taken.gaps(&(from..len)).next() } else { None };
        let Some(gap) = gap(crew.next).or_else(|| gap(0)) else {
            return self.expect_end(crew).map(|()| None);
        };
        let end = gap.start.saturating_add(max);
        let block = end / BLOCK * BLOCK;
        let end = if end < gap.end && block > gap.start { block } else { end.min(gap.end) };
        Ok(Some(gap.start..end))
    }

    /// A whole of which no part is claimed any more is committed.
    fn expect_end(&mut self, crew: &Crew) -> StorageResult<()> {
        let Some(len) = self.current().expected_len else { return Ok(()) };
        let claimed = crew.claims.iter().any(|(_, rest)| !rest.is_empty());
        let whole = len == 0 || self.current().there.gaps(&(0..len)).next().is_none();
        if whole && !claimed { self.expect_commit(Some(len)) } else { Ok(()) }
    }

    pub fn fill(&mut self, crew: &mut Crew, i: u8, len: u64) {
        if crew.claims.is_empty() {
            return;
        }
        let (mut claim, mut rest) = crew.claims.swap_remove(usize::from(i) % crew.claims.len());
        self.seed += 1;
        let bytes = data(self.seed, 0..len);
        let taken = len.min(rest.end - rest.start);
        let mut expected = Ok(());
        if taken > 0 {
            expected = match self.current().life.error() {
                None => self.put(rest.start, &bytes[..taken as usize]),
                Some(error) => Err(error),
            };
            if expected.is_ok() {
                rest.start += taken;
                if rest.is_empty() {
                    expected = self.expect_end(crew);
                }
            }
        }
        let appended = claim.append(&bytes);
        if let Some(appended) = assert_is(appended, &expected) {
            assert_eq!(appended as u64, taken);
        }
        assert_eq!((claim.position(), claim.remaining()), (rest.start, rest.end - rest.start));
        crew.claims.push((claim, rest));
    }
}
