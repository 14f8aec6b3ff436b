//! A resource over a driver of somebody else's that forgets: its `read_at` does not notice that it was lapped, so the
//! resource has to.

use std::ops::Range;
use std::path::Path;

use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering::*, fence};
use loom::thread;
use roundelay::{
    CancelToken, DriverIo, DriverState, ReadError, Reader, Resource, StorageError, StorageResult, WaitOutcome, Writer,
};

use crate::Preemptions::AtMost;
use crate::{explore, models};

models! {
    read_0_1_while_it_is_replaced => read_while_written(0, 1),
    read_0_2_while_it_is_replaced => read_while_written(0, 2),
    all_is_read_before_the_end => played_out(),
    a_wait_is_woken => woken(),
    a_wait_for_what_a_jump_leaves_out_ends => evicted(1..2),
}

/// Two bytes, of which the one at offset `o` is `o + 1`.
struct Two {
    start: AtomicU64,
    end: AtomicU64,
    bytes: [AtomicU8; 2],
}

impl DriverIo for Two {
    fn commit(&self, _: Option<u64>) -> StorageResult<()> {
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn reactivate(&self) -> StorageResult<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8], _: u64) -> StorageResult<usize> {
        for (at, byte) in (offset..).zip(buf.iter_mut()) {
            *byte = self.bytes[at as usize % 2].load(Relaxed);
        }
        Ok(buf.len())
    }

    fn storage_len(&self) -> u64 {
        self.end.load(Acquire)
    }

    fn valid_window(&self) -> Option<Range<u64>> {
        let end = self.end.load(Acquire);
        let start = self.start.load(Relaxed);
        Some(start..end.max(start))
    }

    fn write_at(&self, offset: u64, data: &[u8], _: bool) -> StorageResult<()> {
        for (at, byte) in (offset..).zip(data) {
            let Range { start, end } = self.valid_window().unwrap();
            let start = if at > end { at } else { start.max((at + 1).saturating_sub(2)) };
            self.start.store(start, Relaxed);
            fence(Release);
            self.bytes[at as usize % 2].store(*byte, Relaxed);
            self.end.store(at + 1, Release);
        }
        Ok(())
    }
}

fn open() -> (Writer<Two>, Reader<Two>) {
    let driver = Two { start: AtomicU64::new(0), end: AtomicU64::new(0), bytes: [AtomicU8::new(0), AtomicU8::new(0)] };
    let resource = Resource::from_driver(CancelToken::new(), driver, DriverState::default()).unwrap();
    (resource.writer().unwrap(), resource.reader())
}

fn byte(offset: u64) -> u8 {
    offset as u8 + 1
}

fn append(writer: &mut Writer<Two>) {
    let at = writer.position();
    writer.append(&[byte(at)]).unwrap();
}

fn read_while_written(offset: u64, len: usize) {
    explore(AtMost(2), move || {
        let (mut writer, reader) = open();
        append(&mut writer);
        append(&mut writer);
        let writing = thread::spawn(move || {
            append(&mut writer);
            append(&mut writer);
            writer
        });
        let mut buf = vec![0; len];
        match reader.try_read_at(offset, &mut buf) {
            Ok(n) => {
                for (at, got) in (offset..).zip(&buf[..n]) {
                    assert_eq!(*got, byte(at), "TORN at offset {at}");
                }
            }
            Err(ReadError::Evicted { .. }) => {}
            Err(other) => panic!("WRONG outcome: {other}"),
        }
        writing.join().unwrap();
    });
}

fn played_out() {
    explore(AtMost(2), || {
        let (mut writer, reader) = open();
        let writing = thread::spawn(move || {
            append(&mut writer);
            writer.commit(None).unwrap();
        });
        let mut at = 0;
        for _ in 0..2 {
            match reader.try_read_at(at, &mut [0]) {
                Ok(1) => at += 1,
                Ok(_) => assert_eq!(at, 1, "EARLY end"),
                Err(ReadError::NotYet) => {}
                Err(other) => panic!("EARLY or wrong verdict: {other}"),
            }
        }
        writing.join().unwrap();
    });
}

fn woken() {
    explore(AtMost(2), || {
        let (mut writer, reader) = open();
        let sleeper = thread::spawn(move || assert_eq!(reader.wait_range(0..1).unwrap(), WaitOutcome::Ready));
        append(&mut writer);
        sleeper.join().unwrap();
    });
}

fn evicted(range: Range<u64>) {
    explore(AtMost(2), move || {
        let (mut writer, reader) = open();
        append(&mut writer);
        let range = range.clone();
        let sleeper = thread::spawn(move || match reader.wait_range(range) {
            Err(StorageError::Evicted { .. }) => {}
            other => panic!("WRONG outcome: {other:?}"),
        });
        writer.write_at(5, &[byte(5)]).unwrap();
        sleeper.join().unwrap();
    });
}
