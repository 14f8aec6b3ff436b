//! Threads that die in the middle of something.

use crate::{
    assert_are, bytes,
    threads::{Sleeper, assert_is, must_end},
};
use roundelay::{
    AvailabilityObserver, CancelToken, Gate, MemOptions, OnLap, Publication, ReadError, Resource, ResourceStatus,
    RingDriver, RingOptions, StorageError, Writer,
    pcm::{self, PcmError, PcmOptions},
};
use std::{io::Read, ops::Range, sync::Arc, thread, time::Duration};

/// Runs something that panics, on a thread of its own.
fn dies(story: impl FnOnce() + Send + 'static) {
    thread::spawn(story).join().expect_err("it was to panic");
}

fn dropped(reason: &StorageError) -> bool {
    matches!(reason, StorageError::Failed(reason) if matches!(**reason, StorageError::WriterDropped))
}

/// Of a ring with a writer, and everybody who can wait for it.
struct Audience {
    range: Sleeper<roundelay::StorageResult<roundelay::WaitOutcome>>,
    bytes: Sleeper<std::io::Result<Vec<u8>>>,
    gate: Sleeper<(roundelay::StorageResult<()>, Gate)>,
}

impl Audience {
    fn of(ring: &Resource<RingDriver>, writer: &mut Writer<RingDriver>) -> Self {
        let (reader, mut cursor, mut gate) = (ring.reader(), ring.cursor(OnLap::Error), writer.gate());
        let range = Sleeper::start(move || reader.wait_range(30..40));
        let bytes = Sleeper::start(move || {
            let mut all = Vec::new();
            cursor.read_to_end(&mut all).map(|_| all)
        });
        let gate = Sleeper::start(move || (gate.wait(40).map(drop), gate));
        Self { range, bytes, gate }
    }

    fn hears_that_the_writer_is_gone(self) -> Gate {
        assert!(dropped(&self.range.wakes_with().unwrap_err()));
        self.bytes.wakes_with().unwrap_err();
        let (waited, gate) = self.gate.wakes_with();
        assert!(dropped(&waited.unwrap_err()));
        gate
    }
}

#[test]
fn who_waits_for_a_writer_that_dies_is_told_and_the_next_one_goes_on() {
    must_end(|| {
        for publication in [Publication::Notify, Publication::SILENT] {
            let ring = roundelay::open(RingOptions::new(64)).unwrap();
            let mut writer = ring.writer().unwrap();
            writer.set_publication(publication);
            let audience = Audience::of(&ring, &mut writer);
            dies(move || {
                writer.append(&bytes(0..20)).unwrap();
                panic!("killed");
            });
            let mut gate = audience.hears_that_the_writer_is_gone();
            assert_is!(ring.status(), ResourceStatus::Failed(reason) if matches!(*reason, StorageError::WriterDropped));

            // What was written is there, for everybody.
            let mut buf = [0; 64];
            assert_eq!(ring.reader().read_at(0, &mut buf).unwrap(), 20);
            assert_are(&buf[..20], 0);
            assert_is!(ring.reader().try_read_at(20, &mut buf), Err(ReadError::Failed));

            ring.reactivate().unwrap();
            let mut next = ring.writer().unwrap();
            assert_eq!(next.position(), 20);
            // The gate has yet to read what the dead one wrote.
            assert_eq!(next.try_append(&bytes(20..100)).unwrap(), 44);
            assert_eq!(gate.try_read(&mut buf), Ok(20));
            assert_is!(gate.try_read(&mut buf), Err(ReadError::Failed));
            assert_eq!(next.try_append(&bytes(64..100)).unwrap(), 36);
            assert_eq!(ring.reader().read_at(36, &mut buf).unwrap(), 64);
            assert_are(&buf, 36);
        }
    });
}

/// Dies when it hears of the byte at 10.
struct Mortal;

impl AvailabilityObserver for Mortal {
    fn on_write(&self, range: Range<u64>) {
        assert!(!range.contains(&10), "killed");
    }

    fn on_commit(&self, _: u64) {}
}

/// In the middle of a write, when the bytes are published and those who wait for them are not all awake yet.
#[test]
fn a_writer_that_dies_inside_of_a_write_leaves_what_it_published() {
    must_end(|| {
        let ring = Resource::open_observed(CancelToken::new(), RingOptions::new(64), Arc::new(Mortal)).unwrap();
        let mut writer = ring.writer().unwrap();
        let audience = Audience::of(&ring, &mut writer);
        dies(move || {
            writer.append(&bytes(0..10)).unwrap();
            writer.append(&bytes(10..20)).unwrap();
        });
        let mut gate = audience.hears_that_the_writer_is_gone();
        let mut buf = [0; 64];
        assert_eq!(gate.try_read(&mut buf), Ok(20));
        assert_are(&buf[..20], 0);

        let store = Resource::open_observed(CancelToken::new(), MemOptions::default(), Arc::new(Mortal)).unwrap();
        let (mut writer, reader) = (store.writer().unwrap(), store.reader());
        let waiting = Sleeper::start(move || reader.wait_range(0..40));
        dies(move || writer.append(&bytes(0..20)).unwrap());
        assert!(dropped(&waiting.wakes_with().unwrap_err()));
        assert_eq!(store.reader().read_at(0, &mut buf).unwrap(), 20);
        assert_are(&buf[..20], 0);
        store.reactivate().unwrap();
        let mut next = store.writer().unwrap();
        next.append(&bytes(20..30)).unwrap();
        next.commit(None).unwrap();
        assert_eq!(store.reader().read_at(0, &mut buf).unwrap(), 30);
        assert_are(&buf[..30], 0);
    });
}

#[test]
fn a_writer_that_waits_for_a_gate_goes_on_when_the_thread_of_the_gate_dies() {
    must_end(|| {
        // A silent gate wakes nobody, not even as it goes: the writer looks again at its pace.
        for publication in [Publication::Notify, Publication::Silent { pace: Duration::from_millis(20) }] {
            for beyond_a_gap in [false, true] {
                let ring = roundelay::open(RingOptions::new(64)).unwrap();
                let mut writer = ring.writer().unwrap();
                let mut gate = writer.gate();
                gate.set_publication(publication);
                writer.append(&bytes(0..64)).unwrap();
                let (kill, killed) = std::sync::mpsc::channel::<()>();
                let holder = thread::spawn(move || {
                    // The bytes are lent, and stay as they are, until it dies.
                    let slices = gate.wait(64).unwrap();
                    let _ = killed.recv();
                    assert_are(slices.first(), slices.offset());
                    assert!(slices.is_empty(), "killed");
                });
                let writing = Sleeper::start(move || {
                    let at = if beyond_a_gap { 200 } else { 64 };
                    writer.write_at(at, &bytes(at..at + 100)).map(|()| writer)
                });
                assert!(writing.still_waits());
                kill.send(()).unwrap();
                holder.join().expect_err("it was to panic");
                let writer = writing.wakes_with().unwrap();
                let window = writer.window();
                let mut buf = [0; 64];
                assert_eq!(ring.reader().read_at(window.start, &mut buf).unwrap(), 64);
                assert_are(&buf, window.start);
            }
        }
    });
}

#[test]
fn the_claims_of_a_fetcher_that_dies_are_handed_out_again() {
    must_end(|| {
        let store = roundelay::open(MemOptions { len: Some(100_000), ..MemOptions::default() }).unwrap();
        let fetcher = store.writer().unwrap().into_fetcher();
        let (mortal, other) = (fetcher.clone(), fetcher.clone());
        let (kill, killed) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let holder = thread::spawn(move || {
            let mut claim = mortal.wait_claim(u64::MAX).unwrap().unwrap();
            claim.append(&bytes(0..5_000)).unwrap();
            tell.send(claim.range()).unwrap();
            let _ = killed.recv();
            panic!("killed");
        });
        let claimed = told.recv().unwrap();
        assert_eq!((claimed.start, claimed.end), (0, 100_000));
        let waiting = Sleeper::start(move || {
            let mut claimed = Vec::new();
            while let Some(mut claim) = other.wait_claim(64 << 10).unwrap() {
                let range = claim.range();
                claim.append(&bytes(range.start..range.end)).unwrap();
                claimed.push(range.start);
            }
            claimed
        });
        assert!(waiting.still_waits());
        kill.send(()).unwrap();
        holder.join().expect_err("it was to panic");
        assert_eq!(waiting.wakes_with()[0], 5_000, "what it wrote is kept");
        assert_eq!(store.status(), ResourceStatus::Committed { final_len: 100_000 });
        let mut all = vec![0; 100_000];
        assert_eq!(store.reader().read_at(0, &mut all).unwrap(), 100_000);
        assert_are(&all, 0);
    });
}

#[test]
fn frames_whose_decoder_or_callback_dies_hold_up_neither() {
    must_end(|| {
        // Frames that last for days: no nap ends by itself.
        let options = || PcmOptions { channels: 1, capacity_frames: 64, rate_hz: 1, ..Default::default() };
        let (mut writer, mut reader) = pcm::open::<i32>(options()).unwrap();
        let waiting = Sleeper::start(move || (reader.wait(40), reader));
        dies(move || {
            let epoch = writer.epoch();
            writer.write(epoch, &[7; 10]).unwrap();
            panic!("killed");
        });
        let (waited, mut reader) = waiting.wakes_with();
        assert_is!(waited, Ok(10) | Err(PcmError::Failed));
        let mut out = [-1; 20];
        assert_eq!(reader.fill(&mut out).frames, 10);
        assert_eq!(out, std::array::from_fn(|i| if i < 10 { 7 } else { 0 }));

        let (mut writer, mut reader) = pcm::open::<i32>(options()).unwrap();
        let writing = Sleeper::start(move || {
            let epoch = writer.epoch();
            writer.write(epoch, &[7; 1_000])
        });
        dies(move || {
            reader.fill(&mut [0; 10]);
            panic!("killed");
        });
        assert_eq!(writing.wakes_with(), Err(PcmError::Cancelled));
    });
}
