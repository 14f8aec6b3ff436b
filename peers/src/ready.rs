//! Asking for bytes that are there.

use crate::{
    buffer::{check, fill},
    linear::{
        store::{Store, StoreReader, folder, write_stream},
        theirs::{self, Theirs},
    },
    pipe::{Pipe, Sender, array_queue, disruptor, locked::Locked, ours, photon_ring, ringbuf, rtrb},
    race::{Contender, Races},
    wake::pairs::{Blocking, Condition, Publisher, Sleeper},
};
use roundelay::{Reader, Resource, RingDriver, WaitOutcome, Writer};
use std::{hint::black_box, ops::Range, path::Path, time::Instant};

/// How much is there, in bytes.
pub const LEN: u64 = 64 << 10;

/// As one value of a queue of values.
const VALUE: usize = LEN as usize;

pub fn run(races: &mut Races) {
    let mut bytes = vec![0; LEN as usize];
    fill(0, &mut bytes);
    look(races, &bytes);
    wait(races, &bytes);
    races.cannot(&["stream-download"], "its storage cannot be asked");
    races.cannot(&["memcpy"], "there is nothing to ask");
}

fn look(races: &mut Races, bytes: &[u8]) {
    let (_ring, _writer, reader) = ours(bytes);
    let (mut producer, consumer) = rtrb::Slices.open();
    let (mut ringbuf, ringbuf_there) = ringbuf::Shared.open();
    let (mut values, values_there) = array_queue::Blocks::<VALUE>.open();
    let (mut publisher, subscriber) = photon_ring::Bounded::<VALUE>.open();
    let (mut disruptor, poller) = disruptor::One::<VALUE>.open();
    let (mut locked, locked_there) = Locked.open();
    let senders: [&mut dyn Sender; 6] =
        [&mut producer, &mut ringbuf, &mut values, &mut publisher, &mut disruptor, &mut locked];
    for sender in senders {
        assert!(sender.send(bytes), "an empty buffer has room");
    }
    let folder = folder();
    let (_their_writer, theirs) = their(folder.path());

    let ours = vec![contender("contains_range", |range| reader.contains_range(range))];
    let rivals = vec![
        contender("rtrb", |range| consumer.slots() as u64 >= range.end),
        contender("ringbuf", |range| ringbuf::there(&ringbuf_there) as u64 >= range.end),
        contender("ArrayQueue", |range| (values_there.0.len() * VALUE) as u64 >= range.end),
        contender("photon-ring", |range| subscriber.pending() * LEN >= range.end),
        // It says whether there is a value, and not how many.
        contender("disruptor", |range| range.end <= LEN && poller.has_available()),
        contender("Mutex<VecDeque>", |range| locked_there.0.lock().expect("nobody panicked").len() as u64 >= range.end),
        contender(theirs::NAME, |range| theirs.contains(range)),
    ];
    races.run("ready", "", ours, rivals);
}

/// Alike with alike: a wait says more than a look.
fn wait(races: &mut Races, bytes: &[u8]) {
    let (_ring, _writer, reader) = ours(bytes);
    let (mut blocking, mut blocking_sender) = Blocking::open();
    let (mut condition, mut condition_sender) = Condition::open();
    blocking_sender.publish(bytes);
    condition_sender.publish(bytes);
    let folder = folder();
    let (_their_writer, theirs) = their(folder.path());

    let ours = vec![contender("wait_range", |range| matches!(reader.wait_range(range), Ok(WaitOutcome::Ready)))];
    let rivals = vec![
        contender("ringbuf, blocking", |range| blocking.wait(range.end as usize)),
        contender("Mutex<VecDeque>, Condvar", |range| condition.wait(range.end as usize)),
        contender(theirs::NAME, |range| theirs.wait(range)),
    ];
    races.run("ready", "", ours, rivals);
}

fn ours(bytes: &[u8]) -> (Resource<RingDriver>, Writer<RingDriver>, Reader<RingDriver>) {
    let (ring, mut writer) = ours::ring();
    writer.append(bytes).expect("nobody holds the writer");
    let reader = ring.reader();
    let mut back = vec![0; bytes.len()];
    assert_eq!(reader.try_read_at(0, &mut back), Ok(back.len()));
    check(0, &back, "ready");
    (ring, writer, reader)
}

fn their(folder: &Path) -> (<Theirs as Store>::Writer, <Theirs as Store>::Reader) {
    let (mut writer, reader) = Theirs.open(folder, LEN);
    write_stream(&mut writer, LEN);
    (writer, reader)
}

/// Somebody who says whether bytes are there, of those who have the first [`LEN`] of a stream.
pub fn contender<'a>(name: &str, mut there: impl FnMut(Range<u64>) -> bool + 'a) -> Contender<'a> {
    assert!(there(0..LEN) && there(LEN - 1..LEN), "{name}: bytes that are there are not found");
    Contender::new(name, move |n| {
        let start = Instant::now();
        for _ in 0..n {
            assert!(there(black_box(4096..8192)), "bytes that are there are not found");
        }
        start.elapsed()
    })
}
