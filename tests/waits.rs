//! Waiting: who is woken, by what, and with which reason. Over each kind of driver where it can be.

mod kinds;
mod threads;

use kinds::{CAPACITY, Kind, over_every_kind};
use roundelay::{
    AvailabilityObserver, CancelToken, OnLap, Publication, Resource, RingDriver, RingOptions, Span, StorageError,
    WaitOutcome, Writer,
};
use std::{
    io::{BufRead, Read, Write},
    ops::Range,
    sync::Arc,
    time::Duration,
};
use threads::{Sleeper, assert_is, must_end};

over_every_kind!(
    a_wait_ends_when_its_last_byte_is_there,
    a_wait_for_what_is_there_is_ready_at_once,
    a_wait_with_no_time_only_looks,
    a_wait_that_runs_out_of_time_can_be_made_again,
    a_timeout_that_no_clock_can_express_is_no_timeout,
    a_range_that_ends_before_it_starts_is_an_error,
    a_wait_behind_the_end_is_eof_and_one_across_it_is_ready,
    commit_wakes_those_that_wait_behind_the_end,
    fail_wakes_sleepers_with_its_reason,
    cancel_wakes_sleepers,
    an_interrupt_ends_the_wait_in_progress,
    an_interrupt_before_the_wait_is_not_lost,
    an_interrupt_ends_one_handle_only,
    an_interrupt_ends_every_wait_of_its_handle,
    an_interrupter_keeps_nothing_open,
    two_interrupts_before_the_wait_count_as_one,
    an_interrupt_leaves_reads_that_need_not_wait_alone,
    an_interrupted_read_exact_does_not_try_again,
    a_publication_wakes_only_those_whose_byte_it_has,
    sixty_four_writes_wake_a_wait_for_all_of_them_once,
    a_publication_with_no_sleeper_wakes_nobody,
    more_sleepers_than_slots_all_wake,
    more_sleepers_than_slots_all_hear_of_a_verdict,
    silence_does_not_keep_an_untimed_wait_for_ever,
    a_sleeper_hears_that_its_publisher_goes_silent,
    a_silent_batch_is_told_at_once_by_notify,
);

fn a_wait_ends_when_its_last_byte_is_there<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let sleeper = Sleeper::start(move || reader.wait_range(2..6));
    writer.append(b"abcde").unwrap();
    assert!(sleeper.still_waits(), "a byte is missing");
    writer.append(b"f").unwrap();
    assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
}

fn a_wait_for_what_is_there_is_ready_at_once<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let reader = resource.reader();
    for range in [0..3, 1..2, 2..3, 0..0, 3..3, 100..100] {
        assert_is!(reader.wait_range(range.clone()), Ok(WaitOutcome::Ready));
        assert_is!(reader.wait_range_timeout(range, Duration::ZERO), Ok(WaitOutcome::Ready));
    }
    assert_eq!(resource.wakes(), 0);
}

fn a_wait_with_no_time_only_looks<K: Kind>() {
    let resource = K::open();
    let _writer = resource.writer().unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    assert_is!(resource.reader().wait_range_timeout(0..1, Duration::ZERO), Ok(WaitOutcome::TimedOut));
    assert_is!(resource.reader().read_at_timeout(0, &mut [0], Duration::ZERO), Err(StorageError::TimedOut));
    assert_is!(cursor.read_timeout(&mut [0], Duration::ZERO), Err(StorageError::TimedOut));
}

fn a_wait_that_runs_out_of_time_can_be_made_again<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let mut cursor = resource.cursor(OnLap::Error);
    let soon = Duration::from_millis(5);
    assert_is!(reader.wait_range_timeout(0..2, soon), Ok(WaitOutcome::TimedOut));
    assert_is!(reader.read_at_timeout(0, &mut [0], soon), Err(StorageError::TimedOut));
    assert_is!(cursor.read_timeout(&mut [0], soon), Err(StorageError::TimedOut));
    writer.append(b"ab").unwrap();
    assert_is!(reader.wait_range_timeout(0..2, soon), Ok(WaitOutcome::Ready));
    assert_is!(reader.read_at_timeout(0, &mut [0], soon), Ok(1));
    assert_is!(cursor.read_timeout(&mut [0], soon), Ok(1));
}

fn a_timeout_that_no_clock_can_express_is_no_timeout<K: Kind>() {
    for timeout in [Duration::MAX, Duration::from_secs(i64::MAX as u64), Duration::from_secs(1 << 40)] {
        let resource = K::open();
        let mut writer = resource.writer().unwrap();
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range_timeout(0..1, timeout));
        writer.append(b"a").unwrap();
        assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
    }
}

#[allow(clippy::reversed_empty_ranges)] // the claim is about those
fn a_range_that_ends_before_it_starts_is_an_error<K: Kind>() {
    let resource = K::open();
    let reader = resource.reader();
    assert_is!(reader.wait_range(5..4), Err(StorageError::InvalidRange { start: 5, end: 4 }));
    assert_is!(reader.wait_range_timeout(u64::MAX..0, Duration::MAX), Err(StorageError::InvalidRange { .. }));
}

fn a_wait_behind_the_end_is_eof_and_one_across_it_is_ready<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    writer.commit(None).unwrap();
    let reader = resource.reader();
    assert_is!(reader.wait_range(1..100), Ok(WaitOutcome::Ready));
    assert_is!(reader.wait_range(0..u64::MAX), Ok(WaitOutcome::Ready));
    assert_is!(reader.wait_range(3..4), Ok(WaitOutcome::Eof));
    assert_is!(reader.wait_range(50..u64::MAX), Ok(WaitOutcome::Eof));
}

fn commit_wakes_those_that_wait_behind_the_end<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let wait = |range: Range<u64>| {
        let reader = resource.reader();
        Sleeper::start(move || reader.wait_range(range))
    };
    let (across, behind) = (wait(1..10), wait(3..4));
    let mut cursor = resource.cursor(OnLap::Error);
    cursor.seek_to(3).unwrap();
    let reading = Sleeper::start(move || cursor.read(&mut [0]));
    assert!(across.still_waits() && behind.still_waits() && reading.still_waits());
    writer.commit(None).unwrap();
    assert_is!(across.wakes_with(), Ok(WaitOutcome::Ready));
    assert_is!(behind.wakes_with(), Ok(WaitOutcome::Eof));
    assert_is!(reading.wakes_with(), Ok(0));
}

fn fail_wakes_sleepers_with_its_reason<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
    let waiting = Sleeper::start(move || reader.wait_range(0..1));
    let reading = Sleeper::start(move || cursor.read(&mut [0]));
    writer.fail(StorageError::other("the station went away"));
    assert_is!(
        waiting.wakes_with(),
        Err(StorageError::Failed(reason)) if reason.to_string() == "the station went away"
    );
    assert_is!(reading.wakes_with(), Err(error) if error.to_string() == "the resource failed: the station went away");
}

fn cancel_wakes_sleepers<K: Kind>() {
    for by_token in [false, true] {
        let token = CancelToken::new();
        let resource = K::open_with(token.clone()).unwrap();
        let _writer = resource.writer().unwrap();
        let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
        let waiting = Sleeper::start(move || reader.wait_range_timeout(0..1, Duration::MAX));
        let reading = Sleeper::start(move || cursor.read_timeout(&mut [0], Duration::MAX));
        if by_token {
            token.cancel();
        } else {
            resource.cancel();
        }
        assert_is!(waiting.wakes_with(), Err(StorageError::Cancelled));
        assert_is!(reading.wakes_with(), Err(StorageError::Cancelled));
    }
}

fn an_interrupt_ends_the_wait_in_progress<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let interrupter = reader.interrupter();
    let sleeper = Sleeper::start(move || (reader.wait_range(0..1), reader));
    interrupter.clone().interrupt();
    let (outcome, reader) = sleeper.wakes_with();
    assert_is!(outcome, Ok(WaitOutcome::Interrupted));

    let sleeper = Sleeper::start(move || (reader.read_at(0, &mut [0]), reader));
    interrupter.interrupt();
    let (outcome, reader) = sleeper.wakes_with();
    assert_is!(outcome, Err(StorageError::Interrupted));

    let mut cursor = resource.cursor(OnLap::Error);
    let interrupter = cursor.interrupter();
    let sleeper = Sleeper::start(move || (cursor.fill_buf().map(<[u8]>::len), cursor));
    interrupter.interrupt();
    let (outcome, mut cursor) = sleeper.wakes_with();
    assert_is!(outcome, Err(_));

    writer.append(b"a").unwrap();
    assert_is!(reader.wait_range(0..1), Ok(WaitOutcome::Ready));
    assert_eq!(cursor.read(&mut [0]).unwrap(), 1);
}

fn an_interrupt_before_the_wait_is_not_lost<K: Kind>() {
    let resource = K::open();
    let _writer = resource.writer().unwrap();
    let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
    reader.interrupter().interrupt();
    assert_is!(reader.wait_range(0..1), Ok(WaitOutcome::Interrupted));
    reader.interrupter().interrupt();
    assert_is!(reader.read_at(0, &mut [0]), Err(StorageError::Interrupted));
    reader.interrupter().interrupt();
    assert_is!(reader.wait_range_timeout(0..1, Duration::MAX), Ok(WaitOutcome::Interrupted));
    cursor.interrupter().interrupt();
    assert_is!(cursor.read_timeout(&mut [0], Duration::MAX), Err(StorageError::Interrupted));
    cursor.interrupter().interrupt();
    assert_is!(cursor.read(&mut [0]), Err(_));
}

fn an_interrupt_ends_one_handle_only<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let interrupter = reader.interrupter();
    let clone = reader.clone();
    let interrupted = Sleeper::start(move || reader.wait_range(0..1));
    let undisturbed = Sleeper::start(move || clone.wait_range(0..1));
    interrupter.interrupt();
    assert_is!(interrupted.wakes_with(), Ok(WaitOutcome::Interrupted));
    assert!(undisturbed.still_waits());
    writer.append(b"a").unwrap();
    assert_is!(undisturbed.wakes_with(), Ok(WaitOutcome::Ready));
}

/// Two threads may wait on one `&Reader`: once the first that woke took the interrupt from the other.
fn an_interrupt_ends_every_wait_of_its_handle<K: Kind>() {
    let resource = K::open();
    let _writer = resource.writer().unwrap();
    let reader = Arc::new(resource.reader());
    // More than the wait table has slots.
    let sleepers: Vec<_> = (0..40)
        .map(|i| {
            let reader = reader.clone();
            Sleeper::start(move || match i % 3 {
                0 => reader.wait_range(0..1).unwrap() == WaitOutcome::Interrupted,
                1 => reader.wait_range_timeout(0..2, Duration::MAX).unwrap() == WaitOutcome::Interrupted,
                _ => matches!(reader.read_at(0, &mut [0]), Err(StorageError::Interrupted)),
            })
        })
        .collect();
    reader.interrupter().interrupt();
    for sleeper in sleepers {
        assert!(sleeper.wakes_with(), "another outcome than an interrupt");
    }
    assert_is!(reader.wait_range_timeout(0..1, Duration::ZERO), Ok(WaitOutcome::TimedOut));
}

/// It once held the resource, and with it a store's file and the lock on that.
fn an_interrupter_keeps_nothing_open<K: Kind>() {
    struct Observer;
    impl AvailabilityObserver for Observer {
        fn on_write(&self, _: Range<u64>) {}
        fn on_commit(&self, _: u64) {}
    }
    let observer = Arc::new(Observer);
    let open = Arc::downgrade(&observer);
    let resource = K::open_observed(observer);
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let (reader, cursor) = (resource.reader(), resource.cursor(OnLap::Error));
    let interrupters = [writer.interrupter(), reader.interrupter(), cursor.interrupter()];
    drop((writer, reader, cursor, resource));
    assert!(open.upgrade().is_none(), "kept by an interrupter");
    for interrupter in interrupters {
        interrupter.interrupt();
    }
}

fn two_interrupts_before_the_wait_count_as_one<K: Kind>() {
    let resource = K::open();
    let _writer = resource.writer().unwrap();
    let reader = resource.reader();
    reader.interrupter().interrupt();
    reader.interrupter().interrupt();
    assert_is!(reader.wait_range(0..1), Ok(WaitOutcome::Interrupted));
    assert_is!(reader.wait_range_timeout(0..1, Duration::ZERO), Ok(WaitOutcome::TimedOut));
}

fn an_interrupt_leaves_reads_that_need_not_wait_alone<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let reader = resource.reader();
    reader.interrupter().interrupt();
    assert_eq!(reader.try_read_at(0, &mut [0; 4]), Ok(3));
    assert_eq!(reader.read_at(0, &mut [0; 4]).unwrap(), 3);
    assert_is!(reader.read_at(3, &mut [0; 4]), Err(StorageError::Interrupted));
}

/// `read_exact` answers `ErrorKind::Interrupted` by reading again: an interrupt must not come as that.
fn an_interrupted_read_exact_does_not_try_again<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.append(b"abc").unwrap();
    let mut cursor = resource.cursor(OnLap::Error);
    let interrupter = cursor.interrupter();
    let sleeper = Sleeper::start(move || cursor.read_exact(&mut [0; 10]));
    interrupter.interrupt();
    let error = sleeper.wakes_with().unwrap_err();
    let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<StorageError>());
    assert_is!(inside, Some(StorageError::Interrupted));
}

fn a_publication_wakes_only_those_whose_byte_it_has<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let wait = |range: Range<u64>| {
        let reader = resource.reader();
        Sleeper::start(move || reader.wait_range(range))
    };
    let (first, second, third) = (wait(0..4), wait(0..8), wait(0..12));
    for (piece, wakes) in [(4, 1), (3, 1), (1, 2), (4, 3)] {
        writer.append(&[0; 4][..piece]).unwrap();
        assert_eq!(resource.wakes(), wakes, "after {} bytes", writer.position());
    }
    for sleeper in [first, second, third] {
        assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
    }
}

fn sixty_four_writes_wake_a_wait_for_all_of_them_once<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let sleeper = Sleeper::start(move || reader.wait_range(0..64));
    for _ in 0..64 {
        assert!(sleeper.still_waits());
        writer.append(b"x").unwrap();
    }
    assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
    assert_eq!(resource.wakes(), 1);
}

#[test]
fn a_wait_for_64_kib_fed_by_1_kib_wakes_once() {
    must_end(|| {
        let resource = roundelay::open(RingOptions::new(64 << 10)).unwrap();
        let mut writer = resource.writer().unwrap();
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range(0..64 << 10));
        for _ in 0..64 {
            assert!(sleeper.still_waits());
            writer.append(&[7; 1 << 10]).unwrap();
        }
        assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
        assert_eq!(resource.wakes(), 1);
    });
}

fn a_publication_with_no_sleeper_wakes_nobody<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    for _ in 0..100 {
        writer.append(b"abc").unwrap();
    }
    writer.commit(None).unwrap();
    assert_eq!(resource.wakes(), 0);
}

fn more_sleepers_than_slots_all_wake<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let sleepers: Vec<_> = (0..100)
        .map(|i| {
            let reader = resource.reader();
            let byte = i % CAPACITY as u64;
            Sleeper::start(move || reader.wait_range(0..byte + 1))
        })
        .collect();
    assert!(sleepers.iter().all(Sleeper::still_waits));
    for _ in 0..CAPACITY {
        writer.append(b"x").unwrap();
    }
    for sleeper in sleepers {
        assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
    }
}

fn more_sleepers_than_slots_all_hear_of_a_verdict<K: Kind>() {
    let resource = K::open();
    let writer = resource.writer().unwrap();
    let readers: Vec<_> = (0..100).map(|_| resource.reader()).collect();
    let interrupters: Vec<_> = readers.iter().map(|reader| reader.interrupter()).collect();
    let sleepers: Vec<_> = readers.into_iter().map(|reader| Sleeper::start(move || reader.wait_range(0..1))).collect();
    let mut outcomes = Vec::new();
    for (i, sleeper) in sleepers.into_iter().enumerate() {
        if i < 50 {
            // From the last slots and from the first.
            interrupters[99 - i].interrupt();
        } else if i == 50 {
            resource.cancel();
        }
        outcomes.push((i, sleeper));
    }
    for (i, sleeper) in outcomes {
        if i >= 50 {
            assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Interrupted));
        } else {
            assert_is!(sleeper.wakes_with(), Err(StorageError::Cancelled));
        }
    }
    drop(writer);
}

fn silence_does_not_keep_an_untimed_wait_for_ever<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    writer.set_publication(Publication::SILENT);
    let (reader, mut cursor) = (resource.reader(), resource.cursor(OnLap::Error));
    let waiting = Sleeper::start(move || reader.wait_range(0..3));
    let reading = Sleeper::start(move || cursor.read(&mut [0; 8]));
    writer.append(b"abc").unwrap();
    assert_is!(waiting.wakes_with(), Ok(WaitOutcome::Ready));
    assert_is!(reading.wakes_with(), Ok(3));
}

fn a_sleeper_hears_that_its_publisher_goes_silent<K: Kind>() {
    let resource = K::open();
    let mut writer = resource.writer().unwrap();
    let reader = resource.reader();
    let sleeper = Sleeper::start(move || reader.wait_range(0..3));
    // It sleeps without a limit by now.
    writer.set_publication(Publication::Silent { pace: Duration::from_micros(100) });
    writer.append(b"abc").unwrap();
    assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
}

fn a_silent_batch_is_told_at_once_by_notify<K: Kind>() {
    type Tell<D> = fn(&mut Writer<D>);
    let ways: [Tell<K::Driver>; 3] = [
        |writer| writer.notify(),
        |writer| writer.flush().unwrap(),
        |writer| writer.set_publication(Publication::Notify),
    ];
    for tell in ways {
        let resource = K::open();
        let mut writer = resource.writer().unwrap();
        // Nobody lives to see a sleeper look again by itself.
        writer.set_publication(Publication::Silent { pace: Duration::MAX });
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range(0..3));
        writer.append(b"a").unwrap();
        writer.append(b"bc").unwrap();
        tell(&mut writer);
        assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
    }
}

fn ring(capacity: usize) -> (Resource<RingDriver>, Writer<RingDriver>) {
    let resource = roundelay::open(RingOptions::new(capacity)).unwrap();
    let writer = resource.writer().unwrap();
    (resource, writer)
}

#[test]
fn a_ring_publishes_in_silence_without_a_single_wake() {
    must_end(|| {
        let (resource, mut writer) = ring(64);
        writer.set_publication(Publication::SILENT);
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range(0..64));
        for _ in 0..64 {
            writer.append(b"x").unwrap();
        }
        assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
        assert_eq!(resource.wakes(), 0);
    });
}

#[test]
fn a_wait_for_what_was_evicted_ends_at_once() {
    must_end(|| {
        let (resource, mut writer) = ring(8);
        writer.append(b"0123456789").unwrap();
        let reader = resource.reader();
        for range in [0..1, 1..3, 0..9, 1..100] {
            assert_is!(reader.wait_range(range), Err(StorageError::Evicted { window: Span { start: 2, end: 10 }, .. }));
        }
        assert_is!(reader.read_at(0, &mut [0]), Err(StorageError::Evicted { offset: 0, .. }));
        assert_is!(reader.wait_range(2..10), Ok(WaitOutcome::Ready));
    });
}

#[test]
fn a_wait_wider_than_the_ring_ends_at_once() {
    must_end(|| {
        let (resource, mut writer) = ring(8);
        let reader = resource.reader();
        assert_is!(reader.wait_range(0..9), Err(StorageError::RangeTooLarge { requested: 9, capacity: 8 }));
        assert_is!(reader.wait_range(100..u64::MAX), Err(StorageError::RangeTooLarge { .. }));
        let sleeper = Sleeper::start({
            let reader = reader.clone();
            move || reader.wait_range(0..8)
        });
        writer.append(&[0; 8]).unwrap();
        assert_is!(sleeper.wakes_with(), Ok(WaitOutcome::Ready));
    });
}

#[test]
fn a_sleeper_whose_bytes_are_written_and_evicted_in_one_write_is_told() {
    must_end(|| {
        let (resource, mut writer) = ring(8);
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range(0..4));
        writer.append(&[0; 100]).unwrap();
        assert_is!(sleeper.wakes_with(), Err(StorageError::Evicted { offset: 0, .. }));
    });
}

#[test]
fn a_wait_that_straddles_a_new_start_ends() {
    must_end(|| {
        let (resource, mut writer) = ring(16);
        writer.append(b"abc").unwrap();
        let wait = |range: Range<u64>| {
            let reader = resource.reader();
            Sleeper::start(move || reader.wait_range(range))
        };
        let (across, gone, above) = (wait(95..105), wait(3..4), wait(101..103));
        writer.write_at(100, b"de").unwrap();
        assert_is!(across.wakes_with(), Err(StorageError::Evicted { offset: 95, .. }));
        assert_is!(gone.wakes_with(), Err(StorageError::Evicted { offset: 3, .. }));
        writer.append(b"f").unwrap();
        assert_is!(above.wakes_with(), Ok(WaitOutcome::Ready));
    });
}

#[test]
fn a_silent_jump_is_found_by_those_who_sleep() {
    must_end(|| {
        let (resource, mut writer) = ring(16);
        writer.append(b"abc").unwrap();
        writer.set_publication(Publication::SILENT);
        let reader = resource.reader();
        let sleeper = Sleeper::start(move || reader.wait_range(3..4));
        writer.write_at(100, b"de").unwrap();
        assert_is!(sleeper.wakes_with(), Err(StorageError::Evicted { offset: 3, .. }));
    });
}

#[test]
fn a_cursor_asleep_at_a_gap_goes_by_its_policy() {
    must_end(|| {
        for on_lap in [OnLap::SkipToOldest, OnLap::SkipToLive] {
            let (resource, mut writer) = ring(16);
            writer.append(b"abc").unwrap();
            let mut cursor = resource.cursor(on_lap);
            cursor.seek_live();
            let sleeper = Sleeper::start(move || {
                let mut buf = [0; 1];
                cursor.read_exact(&mut buf).map(|()| (buf[0], cursor))
            });
            writer.write_at(100, &[100, 101]).unwrap();
            while sleeper.still_waits() {
                // For the one that goes to the live edge and waits there.
                let byte = writer.position() as u8;
                writer.append(&[byte]).unwrap();
                std::thread::yield_now();
            }
            let (byte, cursor) = sleeper.wakes_with().unwrap();
            assert_eq!(byte, (cursor.position() - 1) as u8);
            assert!(cursor.position() > 100 && cursor.laps() >= 1, "{on_lap:?}: {cursor:?}");
            assert!(cursor.lost_bytes() >= 97);
        }
        let (resource, mut writer) = ring(16);
        let mut cursor = resource.cursor(OnLap::Error);
        let sleeper = Sleeper::start(move || cursor.read_timeout(&mut [0], Duration::MAX));
        writer.write_at(100, b"de").unwrap();
        assert_is!(
            sleeper.wakes_with(),
            Err(StorageError::Evicted { offset: 0, window }) if window.start == 100
        );
    });
}

/// `write_all` calls `write` again with the rest: an interrupt that ended the first of these calls must end the next,
/// or it ends nothing.
#[test]
fn an_interrupt_ends_a_write_all_that_waits_for_room() {
    must_end(|| {
        let (resource, mut writer) = ring(8);
        let gate = writer.gate();
        let interrupter = writer.interrupter();
        let sleeper = Sleeper::start(move || {
            let error = writer.write_all(&[7; 20]).unwrap_err();
            (error, writer)
        });
        interrupter.interrupt();
        let (error, mut writer) = sleeper.wakes_with();
        let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<StorageError>());
        assert_is!(inside, Some(StorageError::Interrupted));
        assert_eq!(writer.position(), 8, "what fitted was written");
        drop(gate);
        writer.write_all(&[7; 20]).unwrap();
        assert_eq!(resource.reader().live_edge(), 28);
    });
}

#[test]
fn every_wait_of_writer_and_gate_can_be_interrupted_timed_and_cancelled() {
    must_end(|| {
        let (_resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        let soon = Duration::from_millis(5);
        assert_is!(gate.wait_timeout(1, Duration::ZERO).map(drop), Err(StorageError::TimedOut));
        assert_is!(gate.wait_timeout(1, soon).map(drop), Err(StorageError::TimedOut));
        gate.interrupter().interrupt();
        assert_is!(gate.wait(1).map(drop), Err(StorageError::Interrupted));
        gate.interrupter().interrupt();
        assert_is!(gate.read(&mut [0]), Err(_));
        gate.interrupter().interrupt();
        assert_is!(gate.fill_buf(), Err(_));
        assert_eq!(writer.append_timeout(&[1; 20], Duration::ZERO).unwrap(), 8);
        assert_eq!(writer.append_timeout(&[1; 20], soon).unwrap(), 0);
        assert_eq!(writer.write_at_timeout(50, &[1; 20], soon).unwrap(), 0);
        writer.interrupter().interrupt();
        assert_is!(writer.append(&[1]), Err(StorageError::Interrupted));
        writer.interrupter().interrupt();
        assert_is!(writer.write(&[1]), Err(_));
        writer.interrupter().interrupt();
        assert_is!(writer.write_at(50, &[1]), Err(StorageError::Interrupted));
        writer.interrupter().interrupt();
        assert_is!(writer.append_timeout(&[1], Duration::MAX), Err(StorageError::Interrupted));
        assert_eq!(writer.window(), Span { start: 0, end: 8 });
        assert_eq!(gate.try_read(&mut [0; 9]), Ok(8), "nothing is lost by any of it");
    });
    must_end(|| {
        let (resource, mut writer) = ring(8);
        let mut gate = writer.gate();
        let (to_writer, to_gate) = (writer.interrupter(), gate.interrupter());
        let waits_for_bytes = Sleeper::start(move || (gate.wait(1).map(drop), gate));
        to_gate.interrupt();
        let (outcome, mut gate) = waits_for_bytes.wakes_with();
        assert_is!(outcome, Err(StorageError::Interrupted));
        let waits_for_room = Sleeper::start(move || (writer.append(&[0; 9]), writer));
        to_writer.interrupt();
        let (outcome, mut writer) = waits_for_room.wakes_with();
        assert_is!(outcome, Err(StorageError::Interrupted));
        gate.slices().unwrap().consume(8);
        let waits_for_bytes = Sleeper::start(move || gate.wait(1).map(drop));
        resource.cancel();
        assert_is!(waits_for_bytes.wakes_with(), Err(StorageError::Cancelled));
        assert_is!(writer.append(&[0; 9]), Err(StorageError::Cancelled));

        let (resource, mut writer) = ring(8);
        let _gate = writer.gate();
        let waits_for_room = Sleeper::start(move || writer.append(&[0; 9]));
        resource.cancel();
        assert_is!(waits_for_room.wakes_with(), Err(StorageError::Cancelled));
    });
}
