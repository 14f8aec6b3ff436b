//! What an audio callback may call, called a million times under nets that no system call, allocation, free or page
//! fault slips through: on every branch, with other threads at the other ends.
//!
//! A lock that nobody holds enters no kernel, and would slip through. That is what the other threads are for: they
//! hold, for much of the time, whatever there might be to hold.
#![cfg(target_os = "linux")]

mod frames;
mod live;
mod net;
mod pattern;
mod rings;
mod stores;
mod tally;

use net::{Counters, Nets, in_child};
use std::os::unix::process::ExitStatusExt;
use tally::{
    Branch::{self, *},
    Call::{self, *},
    Tally,
};

/// A million, where the compiler optimises: without that they take minutes.
const CALLBACKS: u32 = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };

/// All that a callback does, once.
struct Callback {
    followed: rings::Followed,
    over: rings::Over,
    gated: rings::Gated,
    interleaved: frames::Played,
    planar: frames::Played,
    live: live::Live,
    stores: stores::Stores,
}

impl Callback {
    fn new() -> (Self, live::Others) {
        let followed = rings::Followed::new();
        let (live, mut others) = live::Live::new(followed.reader.clone());
        let stores = stores::Stores::new(&mut others);
        let callback = Self {
            followed,
            over: rings::Over::new(),
            gated: rings::Gated::new(),
            interleaved: frames::Played::new(false),
            planar: frames::Played::new(true),
            live,
            stores,
        };
        (callback, others)
    }

    fn run(&mut self, times: u32) -> Tally {
        let mut tally = Tally::new();
        for n in 0..times {
            self.followed.step(&mut tally);
            self.over.step(&mut tally);
            self.gated.step(&mut tally);
            self.interleaved.step(&mut tally);
            self.planar.step(&mut tally);
            self.live.step(&mut tally);
            self.stores.step(&mut tally, n);
        }
        tally
    }
}

/// The branches that must have been reached.
const BRANCHES: &[(Call, &[Branch])] = &[
    (Fill, &[Whole, Part, NotYet, SeekPending, NewEpoch, PartialFrame, Ended, Failed, Cancelled]),
    (FillPlanar, &[Whole, Part, NotYet, SeekPending, NewEpoch, Ended, Failed, Cancelled]),
    (TapLatest, &[Whole, Part, Nothing]),
    (PcmTryWrite, &[Whole, Part, Nothing, Stale, PartialFrame, Cancelled]),
    (CursorError, &[Whole, Part, Nothing, NotYet, Evicted, Ended, Failed, Cancelled]),
    (CursorSkipToOldest, &[Whole, Part, Nothing, NotYet, Skipped, Ended, Failed, Cancelled]),
    (CursorSkipToLive, &[Whole, Part, Nothing, NotYet, Skipped, Ended, Failed, Cancelled]),
    (TryReadAt, &[Whole, Part, NotYet, Evicted, Ended, Failed, Cancelled]),
    (ValidWindow, &[Whole]),
    (GateSlices, &[Whole, Wrapped, NotYet, Discontinuity, Ended, Failed, Cancelled]),
    (GateTryRead, &[Whole, Part, Nothing, NotYet, Ended, Failed, Cancelled]),
    (TryWriteAt, &[Whole, Part, Nothing, Discontinuity, Resent, Overlapping, Committed, Failed, Cancelled]),
    (LiveFill, &[Whole]),
    (LiveTap, &[Whole]),
    (LiveCapture, &[Whole]),
    (LiveCursorError, &[Whole, Evicted]),
    (LiveCursorSkipToOldest, &[Whole, Skipped]),
    (LiveCursorSkipToLive, &[Whole, Skipped]),
    (LiveGate, &[Whole]),
    (LiveJump, &[Whole, Nothing]),
    (StoreRead, &[Whole, Part, NotYet, Ended, Failed, Cancelled]),
];

#[test]
fn a_million_callbacks_neither_allocate_nor_free_nor_enter_the_kernel_nor_fault_on_any_branch() {
    if let Some(child) =
        in_child("a_million_callbacks_neither_allocate_nor_free_nor_enter_the_kernel_nor_fault_on_any_branch")
    {
        let text = format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        println!("{text}");
        match child.status.signal() {
            Some(libc::SIGSYS) => panic!("the callback has made a system call"),
            Some(libc::SIGABRT) => panic!("the callback has allocated or freed memory:\n{text}"),
            _ => assert!(child.status.success(), "{text}"),
        }
        return;
    }
    // Another callback goes first, so that code and stack are there; the memory of this one is its own affair.
    let warm_up = || {
        let (mut callback, others) = Callback::new();
        callback.run(100);
        others.stop();
    };
    let (callback, others) = Callback::new();
    // Not owned by the section, which would free it.
    let callback = Box::leak(Box::new(callback));
    let (tally, counted) = net::under(net::ALL, warm_up, || callback.run(CALLBACKS));
    assert!(others.stop(), "a thread at another end read something wrong");

    for &(call, branches) in BRANCHES {
        for &branch in branches {
            let times = tally.reached(call, branch);
            println!("{times:>10} × {call:?}: {branch:?}");
            assert!(times > 0, "{call:?} never came to {branch:?}");
        }
    }
    println!("{counted:?}");
    assert_eq!(tally.wrong, None, "bytes, frames or answers were wrong there");
    assert_eq!(counted, Counters { minor_faults: 0, major_faults: 0, voluntary_switches: 0 });
}

// ---- the nets hold ----

const SYSTEM_CALLS: Nets = Nets { system_calls: true, allocations: false };
const ALLOCATIONS: Nets = Nets { system_calls: false, allocations: true };
const NONE: Nets = Nets { system_calls: false, allocations: false };

/// Runs `section` under `nets` in a child and asserts that it dies of `signal`.
fn dies_of(signal: i32, test: &str, nets: Nets, section: impl FnOnce() + Send + 'static) {
    match in_child(test) {
        Some(child) => assert_eq!(child.status.signal(), Some(signal), "the net did not hold: {child:?}"),
        None => _ = net::under(nets, || (), section),
    }
}

#[test]
fn an_empty_section_survives_the_nets() {
    if let Some(child) = in_child("an_empty_section_survives_the_nets") {
        assert!(child.status.success(), "{child:?}");
    } else {
        let (answer, counted) = net::under(net::ALL, || (), || 42);
        assert_eq!((answer, counted), (42, Counters { minor_faults: 0, major_faults: 0, voluntary_switches: 0 }));
    }
}

#[test]
fn a_system_call_dies_in_the_net() {
    dies_of(libc::SIGSYS, "a_system_call_dies_in_the_net", SYSTEM_CALLS, || {
        // SAFETY: takes no argument and changes nothing.
        unsafe { libc::syscall(libc::SYS_getppid) };
    });
}

#[test]
fn an_allocation_dies_in_the_net() {
    dies_of(libc::SIGABRT, "an_allocation_dies_in_the_net", ALLOCATIONS, || {
        std::hint::black_box(Box::new(1_u8));
    });
}

#[test]
fn a_free_dies_in_the_net() {
    let boxed = Box::new(1_u8);
    dies_of(libc::SIGABRT, "a_free_dies_in_the_net", ALLOCATIONS, move || drop(std::hint::black_box(boxed)));
}

#[test]
fn a_lock_that_somebody_holds_dies_in_the_net() {
    let lock: &_ = Box::leak(Box::new(std::sync::Mutex::new(())));
    let _held = lock.lock();
    dies_of(libc::SIGSYS, "a_lock_that_somebody_holds_dies_in_the_net", SYSTEM_CALLS, || drop(lock.lock()));
}

#[test]
fn a_page_fault_and_a_sleep_are_counted() {
    if let Some(child) = in_child("a_page_fault_and_a_sleep_are_counted") {
        assert!(child.status.success(), "{child:?}");
        return;
    }
    let fresh = || {
        let mut pages = vec![0_u8; 1 << 20].into_boxed_slice();
        pages[1 << 19] = 1;
        std::mem::forget(std::hint::black_box(pages));
    };
    let (_, faulted) = net::under(NONE, || (), fresh);
    assert!(faulted.minor_faults > 0, "{faulted:?}");
    let (_, slept) = net::under(NONE, || (), || std::thread::sleep(std::time::Duration::from_millis(1)));
    assert!(slept.voluntary_switches > 0, "{slept:?}");
}
