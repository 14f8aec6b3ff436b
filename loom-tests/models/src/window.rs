//! Protocol 1: one writer, readers that find out afterwards.
//!
//! A window of two or three bytes; the byte at offset `o` is `o + 1`.

use loom::sync::Arc;
use loom::thread;
use roundelay::internals::Window;

use crate::{Preemptions::Any, explore, models};

models! {
    // A reader that is lapped while it copies, at every place where that makes a difference.
    read_0_2 => reader(2, APPENDS, 0, 2),
    read_0_2_before_a_jump => reader(2, WITH_JUMP, 0, 2),
    read_1_1_replaced_after_a_jump => reader(2, WITH_JUMP, 1, 1),
    read_3_1_in_the_gap => reader(2, WITH_JUMP, 3, 1),
    read_4_2_across_the_new_start => reader(2, WITH_JUMP, 4, 2),
    read_5_2_behind_the_jump => reader(2, WITH_JUMP, 5, 2),
    read_1_2_of_pairs => reader(2, PAIRS, 1, 2),
    read_8_2_of_pairs => reader(2, PAIRS, 8, 2),
    // Not a power of two, so that cells are found by division, and a copy wraps round in the middle.
    read_2_2_round_the_edge_of_three => reader(3, LONG, 2, 2),
    // More data than capacity, in one call.
    read_1_2_of_a_write_that_streams_through => reader(2, LONG, 1, 2),
    a_known_end_stays_good => known_end(),
    // What `span` says, over all states that the window is in.
    span_of_appends_and_a_jump => spans(WITH_JUMP, 2, false),
    span_of_pairs => spans(PAIRS, 2, false),
    span_three_times => spans(SHORT_JUMP, 3, false),
    bytes_of_a_span_are_there => spans(WITH_JUMP, 1, true),
    oldest_after_end_belongs_to_it => oldest_after_end(),
    base_after_end_belongs_to_it => base_after_end(),
}

#[derive(Clone, Copy)]
enum Op {
    Append(u64),
    Jump(u64),
}
use Op::{Append, Jump};

const APPENDS: &[Op] = &[Append(1), Append(1), Append(1), Append(1)];
const WITH_JUMP: &[Op] = &[Append(1), Append(1), Jump(5), Append(1), Append(1)];
const PAIRS: &[Op] = &[Append(2), Append(1), Jump(7), Append(2), Append(1)];
const SHORT_JUMP: &[Op] = &[Append(1), Jump(5), Append(1)];
const LONG: &[Op] = &[Append(5), Append(2)];

fn run(window: &Window, ops: &[Op]) {
    for op in ops {
        match *op {
            Append(n) => {
                let end = window.written_to();
                let data: Vec<u8> = (end..end + n).map(byte).collect();
                window.append(&data);
            }
            Jump(at) => window.restart(at),
        }
    }
}

fn byte(offset: u64) -> u8 {
    offset as u8 + 1
}

/// Every `start..end` that the window is in at some moment.
fn states(capacity: u64, ops: &[Op]) -> Vec<(u64, u64)> {
    let (mut start, mut end) = (0, 0);
    let mut all = vec![(start, end)];
    for op in ops {
        match *op {
            Append(n) => {
                start = start.max((end + n).saturating_sub(capacity));
                all.push((start, end));
                end += n;
            }
            Jump(at) => (start, end) = (at, at),
        }
        all.push((start, end));
    }
    all
}

fn read(window: &Window, offset: u64, len: usize, end: u64) {
    let mut buf = vec![0; len];
    if let Some(n) = window.read(offset, &mut buf, end) {
        for (at, got) in (offset..).zip(&buf[..n]) {
            assert_eq!(*got, byte(at), "TORN at offset {at}");
        }
    }
}

fn reader(capacity: usize, ops: &'static [Op], offset: u64, len: usize) {
    explore(Any, move || {
        let window = Arc::new(Window::new(capacity, 0).unwrap());
        let other = window.clone();
        let writer = thread::spawn(move || run(&other, ops));
        read(&window, offset, len, window.end());
        writer.join().unwrap();
    });
}

/// An end that was loaded once serves several reads: what changed since is found out by the check of the start.
fn known_end() {
    explore(Any, || {
        let window = Arc::new(Window::new(2, 0).unwrap());
        run(&window, &[Append(2)]);
        let other = window.clone();
        let writer = thread::spawn(move || run(&other, &[Append(1), Jump(6), Append(1)]));
        read(&window, 0, 1, 2);
        read(&window, 1, 1, 2);
        writer.join().unwrap();
    });
}

fn spans(ops: &'static [Op], looks: usize, read_too: bool) {
    explore(Any, move || {
        let window = Arc::new(Window::new(2, 0).unwrap());
        let other = window.clone();
        let writer = thread::spawn(move || run(&other, ops));
        let states = states(2, ops);
        let mut last = (0, 0);
        for _ in 0..looks {
            let span = window.span();
            let (start, end) = (span.start, span.end);
            assert!(start <= end, "INVERTED {span}");
            assert!(end - start <= 2, "WIDER than the capacity: {span}");
            assert!(states.iter().any(|&(s, e)| s <= start && end <= e.max(s)), "NEVER the window: {span}");
            assert!(start >= last.0 && end >= last.1, "WENT BACK from {last:?} to {span}");
            last = (start, end);
            if read_too && start < end {
                read(&window, start, 1, end);
            }
        }
        writer.join().unwrap();
    });
}

/// Who sees the end behind a jump sees its start as well, or would wait for bytes of the gap.
fn oldest_after_end() {
    explore(Any, || {
        let window = Arc::new(Window::new(2, 0).unwrap());
        let other = window.clone();
        let writer = thread::spawn(move || run(&other, WITH_JUMP));
        let end = window.end();
        let start = window.oldest();
        assert!(end < 5 || start >= 5, "a gap inside the window: {start}..{end}");
        writer.join().unwrap();
    });
}

/// Nor a gate, which looks at the base only.
fn base_after_end() {
    explore(Any, || {
        let window = Arc::new(Window::new(2, 0).unwrap());
        let other = window.clone();
        let writer = thread::spawn(move || run(&other, WITH_JUMP));
        let end = window.end();
        let base = window.base();
        assert!(end < 5 || base >= 5, "a gap above the base: {base}..{end}");
        writer.join().unwrap();
    });
}
