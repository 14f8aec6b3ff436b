//! The steps of those who read, and what they should find.

use crate::{
    Run,
    actor::Method,
    assert_refused,
    input::CursorOperation,
    model::{Life, NOW, failed},
    witness::Event,
};
use roundelay::{MAX_OFFSET, ReadError, StorageError, StorageResult, WaitOutcome};
use std::{
    io::{Seek, SeekFrom},
    ops::Range,
};

impl Run {
    /// A driver that cannot be read fails an active resource.
    fn is_unreadable(&mut self, of: usize, offset: u64, buf: &[u8], broken: bool) -> bool {
        let unreadable = broken && !buf.is_empty() && self.generations[of].run(offset).is_ok_and(|run| run > 0);
        if unreadable && self.generations[of].life == Life::Active {
            self.generations[of].life = Life::Failed;
            self.expected.push(Event::Fail);
        }
        unreadable
    }

    pub fn check_bytes(&self, of: usize, offset: u64, read: &[u8]) {
        let range = offset as usize..offset as usize + read.len();
        assert!(
            read.is_empty() || *read == self.generations[of].bytes[range],
            "{} bytes at {offset} are wrong",
            read.len()
        );
    }

    pub fn check_try_read(
        &mut self,
        of: usize,
        offset: u64,
        buf: &[u8],
        broken: bool,
        read: Result<usize, ReadError>,
    ) -> usize {
        if self.is_unreadable(of, offset, buf, broken) {
            assert_eq!(read, Err(ReadError::Failed));
            return 0;
        }
        let generation = &self.generations[of];
        // Where a lock tells, it need not be there.
        let unclear = |offset| self.store.is_ours() && generation.has_strays(offset);
        let expected = generation.run(offset).map(|run| run.min(buf.len() as u64) as usize);
        match read {
            Ok(0) => assert!(buf.is_empty() || expected == Ok(0)),
            Ok(n) => {
                assert!(expected == Ok(n) || expected.is_ok_and(|most| n < most) && unclear(offset + n as u64));
                self.check_bytes(of, offset, &buf[..n]);
                return n;
            }
            Err(ReadError::NotYet) if unclear(offset) => {}
            Err(error) => assert_eq!(expected, Err(error)),
        }
        0
    }

    pub fn check_read(
        &mut self,
        of: usize,
        offset: u64,
        buf: &[u8],
        broken: bool,
        read: StorageResult<usize>,
    ) -> usize {
        if self.is_unreadable(of, offset, buf, broken) {
            assert_refused(read, &failed());
            return 0;
        }
        let generation = &self.generations[of];
        match (generation.run(offset), generation.life.error()) {
            _ if buf.is_empty() => assert_eq!(read.expect("nothing was asked for"), 0),
            (Ok(run), _) => {
                let n = read.expect("it is there");
                assert_eq!(n as u64, run.min(buf.len() as u64));
                self.check_bytes(of, offset, &buf[..n]);
                return n;
            }
            (Err(_), Some(error)) => assert_refused(read, &error),
            (Err(_), None) if offset >= MAX_OFFSET => {
                assert_refused(read, &StorageError::OffsetOverflow { offset, len: 1 });
            }
            (Err(_), None) => assert_refused(read, &StorageError::TimedOut),
        }
        0
    }

    pub fn ask(&self, i: usize, range: Range<u64>) {
        let (reader, generation) = (&self.readers[i].0, &self.generations[self.readers[i].1]);
        let there = range.is_empty() || generation.there.gaps(&range).next().is_none();
        assert_eq!(reader.contains_range(range.clone()), there);
        let expected = generation.wait(&range);
        let waited = match expected {
            // One that ends may take its time.
            Ok(WaitOutcome::Ready) => reader.wait_range(range),
            _ => reader.wait_range_timeout(range, NOW),
        };
        match expected {
            Ok(outcome) => assert_eq!(waited.expect("nothing is wrong with it"), outcome),
            Err(error) => assert_refused(waited, &error),
        }
    }

    pub fn cursor(&mut self, operation: CursorOperation) {
        let of = self.cursor.1;
        let before = self.cursor.0.position();
        let broken = self.fails(Method::Read);
        let generation = &self.generations[of];
        match operation {
            CursorOperation::TryRead(len) => {
                let mut buf = vec![0xEE; len.bytes() as usize];
                let read = self.cursor.0.try_read(&mut buf);
                let n = self.check_try_read(of, before, &buf, broken, read);
                assert_eq!(self.cursor.0.position(), before + n as u64);
            }
            CursorOperation::Read(len) => {
                let mut buf = vec![0xEE; len.bytes() as usize];
                let read = self.cursor.0.read_timeout(&mut buf, NOW);
                let n = self.check_read(of, before, &buf, broken, read);
                assert_eq!(self.cursor.0.position(), before + n as u64);
            }
            CursorOperation::SeekTo(place) => {
                let offset = self.offset(place);
                assert_eq!(self.cursor.0.seek(SeekFrom::Start(offset)).expect("nothing is evicted"), offset);
            }
            CursorOperation::SeekEnd(by) => {
                let end = generation.final_len().or(generation.expected_len);
                let target = end.and_then(|end| end.checked_add_signed(by.into()));
                assert_eq!(self.cursor.0.seek(SeekFrom::End(by.into())).ok(), target);
            }
            CursorOperation::Oldest => assert_eq!(self.cursor.0.seek_oldest(), 0),
            CursorOperation::Live => assert_eq!(self.cursor.0.seek_live(), generation.live_edge()),
            CursorOperation::Refresh => {
                let last = self.generations.len() - 1;
                assert!(self.cursor.0.refresh() || of == last);
                self.cursor.1 = last;
            }
        }
    }
}
