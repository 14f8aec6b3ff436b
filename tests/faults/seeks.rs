//! A thousand seeks a second, for as long as somebody holds the key down.

use crate::{Memory, Random, alone::alone, assert_are, bytes};
use roundelay::{
    MemOptions, OnLap, ReadError, RingOptions,
    pcm::{self, PcmError, PcmOptions},
};
use std::{
    io::{BufRead, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// Between two seeks; no shorter than it takes a decoder to answer.
const PAUSE: Duration = Duration::from_millis(1);

/// So many seeks, and half as many before memory is looked at.
const SEEKS: u64 = 2_000;

/// One seek after the other, a pause between each two and no pause where one was late.
fn a_thousand_a_second(mut seek: impl FnMut(u64)) {
    let (mut at, mut memory) = (Instant::now(), None);
    for i in 0..SEEKS {
        if i == SEEKS / 2 {
            memory = Some(Memory::now());
        }
        seek(i);
        at += PAUSE;
        thread::sleep(at.saturating_duration_since(Instant::now()));
    }
    memory.expect("half of them are over").assert_no_growth();
}

#[test]
fn a_cursor_over_a_live_ring_lands_where_it_is_sent_a_thousand_times_a_second() {
    alone(a_cursor_over_a_live_ring_lands_where_it_is_sent_a_thousand_times_a_second, || {
        let ring = roundelay::open(RingOptions::new(100_003)).unwrap();
        let mut writer = ring.writer().unwrap();
        writer.append(&bytes(0..100_003)).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                while !over.load(SeqCst) {
                    let at = writer.position();
                    writer.append(&bytes(at..at + 500)).unwrap();
                    thread::sleep(PAUSE);
                }
                writer.commit(None).unwrap();
            });
            let mut cursors = [OnLap::Error, OnLap::SkipToOldest, OnLap::SkipToLive].map(|on_lap| ring.cursor(on_lap));
            let mut random = Random(1);
            let mut heard = 0;
            a_thousand_a_second(|i| {
                let cursor = &mut cursors[i as usize % 3];
                let window = cursor.reader().valid_window().unwrap();
                let target = window.start.saturating_sub(2_000) + random.below(window.len() + 3_000);
                let sought = match i % 4 {
                    0 => cursor.seek(SeekFrom::Current(target as i64 - cursor.position() as i64)),
                    _ => cursor.seek(SeekFrom::Start(target)),
                };
                let Ok(position) = sought else {
                    assert!(cursor.on_lap() == OnLap::Error && target < cursor.reader().valid_window().unwrap().start);
                    return;
                };
                assert_eq!(position, cursor.position());
                let mut buf = [0; 300];
                match i % 2 {
                    0 => match cursor.try_read(&mut buf) {
                        Ok(n) => {
                            heard += n;
                            assert_are(&buf[..n], cursor.position() - n as u64);
                        }
                        Err(ReadError::NotYet) => assert!(cursor.position() >= window.end),
                        Err(ReadError::Evicted { .. }) => assert_eq!(cursor.on_lap(), OnLap::Error),
                        Err(error) => panic!("{error}"),
                    },
                    // Blocking, and by way of the buffer: the bytes of the last seek are not those of this one.
                    _ => {
                        if position < window.end
                            && let Ok(filled) = cursor.fill_buf()
                        {
                            let filled = filled.to_vec();
                            assert_are(&filled, cursor.position());
                            cursor.consume(filled.len() / 2);
                            heard += filled.len();
                        }
                    }
                }
            });
            over.store(true, SeqCst);
            writing.join().unwrap();
            assert!(heard > 0);
        });
    });
}

#[test]
fn a_cursor_over_a_store_that_is_being_filled_lands_where_it_is_sent() {
    alone(a_cursor_over_a_store_that_is_being_filled_lands_where_it_is_sent, || {
        const LEN: u64 = 4 << 20;
        let store = roundelay::open(MemOptions { len: Some(LEN), ..MemOptions::default() }).unwrap();
        let fetcher = store.writer().unwrap().into_fetcher();
        let (filled, hurry) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (fills, hurries) = (filled.clone(), hurry.clone());
        let fetching = thread::spawn(move || {
            while let Some(mut claim) = fetcher.wait_claim(4 << 10).unwrap() {
                let range = claim.range();
                claim.append(&bytes(range.start..range.end)).unwrap();
                fills.fetch_add(1, SeqCst);
                // Two claims for a seek; and all is there before memory is looked at.
                if !hurries.load(SeqCst) {
                    thread::sleep(PAUSE / 2);
                }
            }
        });
        let (mut waited, mut passed_over) = (0, 0);
        let mut cursor = store.cursor(OnLap::Error);
        let mut random = Random(2);
        a_thousand_a_second(|i| {
            hurry.fetch_or(i == SEEKS / 4, SeqCst);
            let at = random.below(LEN - 100);
            assert_eq!(cursor.seek(SeekFrom::Start(at)).unwrap(), at);
            let mut buf = [0; 100];
            let (there, before) = (cursor.reader().contains_range(at..at + 1), filled.load(SeqCst));
            let n = cursor.read_timeout(&mut buf, Duration::from_secs(20)).unwrap();
            assert!(n > 0);
            assert_are(&buf[..n], at);
            if !there {
                waited += 1;
                // Fetched next, because somebody waits for it; or a few later, if it was late to do so.
                passed_over += u64::from(filled.load(SeqCst) - before > 8);
            }
        });
        fetching.join().unwrap();
        assert!(passed_over * 2 < waited, "{waited} reads waited, and {passed_over} were passed over");
    });
}

#[test]
fn frames_of_the_last_of_a_thousand_seeks_a_second_are_heard() {
    alone(frames_of_the_last_of_a_thousand_seeks_a_second_are_heard, || {
        let options = PcmOptions { channels: 1, capacity_frames: 4_800, history_frames: 4_800, ..Default::default() };
        let (mut writer, mut reader) = pcm::open::<i32>(options).unwrap();
        let (control, mut tap) = (reader.control(), reader.tap());
        // Where to go, said before a seek is called; and the last seek whose call has returned.
        let (place, sought) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            // A frame says which place it was decoded at.
            let decoding = scope.spawn(|| {
                loop {
                    let epoch = writer.epoch();
                    let at = place.load(SeqCst);
                    if writer.begin(epoch, at * 1_000).is_err() {
                        continue;
                    }
                    loop {
                        match writer.write(epoch, &[at as i32; 256]) {
                            Ok(()) => {}
                            Err(PcmError::Stale) => break,
                            Err(PcmError::Cancelled) => return,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
            let playing = scope.spawn(|| {
                let (mut newest, mut heard) = (0, 0);
                while heard < SEEKS as i32 {
                    let mut out = [-1; 64];
                    newest = newest.max(sought.load(SeqCst) as i32);
                    let fill = reader.fill(&mut out);
                    assert!(out[fill.frames..].iter().all(|&sample| sample == 0), "noise in place of silence");
                    for &place in &out[..fill.frames] {
                        assert!(place >= newest, "{place} was heard after {newest} was sought or heard");
                        (newest, heard) = (place, place);
                    }
                    thread::sleep(Duration::from_micros(300));
                }
                drop(reader);
            });
            let mut shown = [0; 1_000];
            a_thousand_a_second(|i| {
                place.store(i + 1, SeqCst);
                control.seek();
                sought.store(i + 1, SeqCst);
                tap.latest(&mut shown);
            });
            playing.join().unwrap();
            decoding.join().unwrap();
        });
        assert!(tap.position().is_some_and(|frame| frame >= SEEKS * 1_000), "{:?}", tap.position());
    });
}
