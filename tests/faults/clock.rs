//! The clock of the wall is set: by a person, a time server, a summer. No wait is any longer or shorter for that.
//!
//! The standard library asks the clocks by `clock_gettime`, which in this program is the one below: the wall's clock jumps
//! by days at every look. And the kernel kills whoever sleeps by the wall's clock on a futex.

use crate::{alone::alone, threads::must_end};
use roundelay::{
    MemOptions, OnLap, Publication, ReadError, RingOptions, StorageError, WaitOutcome,
    pcm::{self, PcmOptions},
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How often somebody has looked at the wall's clock.
static LOOKS: AtomicI64 = AtomicI64::new(0);

const DAY: i64 = 24 * 60 * 60;

// SAFETY: nothing else in the program has this name, and it is the C library's signature and contract: the time of the
// clock goes to `time`, 0 is success.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the arguments are those of the system call, as the caller has promised.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
        let look = LOOKS.fetch_add(1, SeqCst);
        // Now ahead, now behind.
        let days = if look % 2 == 0 { look % 7 + 1 } else { -(look % 5) - 1 };
        // SAFETY: the kernel has just written there.
        unsafe { (*time).tv_sec += days * DAY };
    }
    result as libc::c_int
}

/// From now on this thread, and those that it starts, die if they sleep by the wall's clock.
fn forbid_the_walls_clock() {
    use seccompiler::{
        BpfProgram, SeccompAction,
        SeccompCmpArgLen::{Dword, Qword},
        SeccompCmpOp::{MaskedEq, Ne},
        SeccompCondition, SeccompFilter, SeccompRule,
    };
    const BY_THE_WALL: u64 = libc::FUTEX_CLOCK_REALTIME as u64;
    let by_the_wall = SeccompCondition::new(1, Dword, MaskedEq(BY_THE_WALL), BY_THE_WALL).unwrap();
    // The C library names that clock, and no time, as it joins a thread.
    let timed = SeccompCondition::new(3, Qword, Ne, 0).unwrap();
    let rules = BTreeMap::from([(libc::SYS_futex, vec![SeccompRule::new(vec![by_the_wall, timed]).unwrap()])]);
    let arch = std::env::consts::ARCH.try_into().expect("a processor that seccompiler knows");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

const TIMEOUT: Duration = Duration::from_millis(30);

/// A wait for what never comes ends with its timeout, and not before.
fn takes_its_time(what: &str, wait: impl FnOnce()) {
    let began = Instant::now();
    wait();
    assert!(began.elapsed() >= TIMEOUT, "{what} ended after {:?}", began.elapsed());
}

#[test]
fn the_walls_clock_of_this_program_jumps() {
    let times: Vec<_> = (0..4).map(|_| SystemTime::now()).collect();
    let day = Duration::from_secs(DAY as u64);
    let far = |pair: &[SystemTime]| pair[0].duration_since(pair[1]).unwrap_or_else(|error| error.duration()) > day;
    assert!(times.windows(2).all(far), "{times:?}");
}

#[test]
fn no_wait_is_shorter_or_longer_because_the_clock_was_set() {
    alone(no_wait_is_shorter_or_longer_because_the_clock_was_set, || {
        forbid_the_walls_clock();
        let before = LOOKS.load(SeqCst);
        every_timed_wait();
        assert_eq!(LOOKS.load(SeqCst), before, "somebody looked at the wall's clock");
    });
}

fn every_timed_wait() {
    let ring = roundelay::open(RingOptions::new(64)).unwrap();
    let mut writer = ring.writer().unwrap();
    writer.append(&[7; 64]).unwrap();
    let (reader, mut cursor) = (ring.reader(), ring.cursor(OnLap::Error));
    cursor.seek_live();
    let mut gate = writer.gate_at(0).unwrap();
    for publication in [Publication::Notify, Publication::Silent { pace: Duration::from_millis(7) }] {
        writer.set_publication(publication);
        gate.set_publication(publication);
        takes_its_time("wait_range", || {
            assert_eq!(reader.wait_range_timeout(64..65, TIMEOUT).unwrap(), WaitOutcome::TimedOut);
        });
        takes_its_time("read_at", || {
            assert!(matches!(reader.read_at_timeout(64, &mut [0], TIMEOUT), Err(StorageError::TimedOut)));
        });
        takes_its_time("a cursor", || {
            assert!(matches!(cursor.read_timeout(&mut [0], TIMEOUT), Err(StorageError::TimedOut)));
        });
        takes_its_time("append", || assert_eq!(writer.append_timeout(&[8], TIMEOUT).unwrap(), 0));
        takes_its_time("a write beyond a gap", || {
            assert_eq!(writer.write_at_timeout(100, &[8], TIMEOUT).unwrap(), 0);
        });
    }
    gate.wait(64).unwrap().consume(64);
    takes_its_time("a gate", || assert!(matches!(gate.wait_timeout(1, TIMEOUT), Err(StorageError::TimedOut))));

    let store = roundelay::open(MemOptions { len: Some(1 << 20), ..MemOptions::default() }).unwrap();
    let fetcher = store.writer().unwrap().into_fetcher();
    let _all = fetcher.next_claim(1 << 20).unwrap().unwrap();
    takes_its_time("a fetcher", || {
        assert!(matches!(fetcher.wait_claim_timeout(1, TIMEOUT), Err(StorageError::TimedOut)));
    });

    let options = PcmOptions { channels: 1, capacity_frames: 64, lock_memory: false, ..Default::default() };
    let (mut frames, mut callback) = pcm::open::<f32>(options).unwrap();
    takes_its_time("frames", || assert_eq!(callback.wait_timeout(1, TIMEOUT), Ok(0)));
    let epoch = frames.epoch();
    let written = frames.try_write(epoch, &[0.0; 10_000]).unwrap();
    takes_its_time("a decoder", || assert_eq!(frames.write_timeout(epoch, &[0.0], TIMEOUT), Ok(0)));
    assert!(callback.fill(&mut vec![0.0; written]).missing == 0);

    // And one without a timeout, opposite somebody who wakes nobody.
    must_end(move || {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| reader.wait_range(64..65));
            thread::sleep(TIMEOUT);
            assert_eq!(reader.try_read_at(64, &mut [0]), Err(ReadError::NotYet));
            writer.append(&[8]).unwrap();
            assert_eq!(waiting.join().unwrap().unwrap(), WaitOutcome::Ready);
        });
    });
}
