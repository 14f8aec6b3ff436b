mod containers;

use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use roundelay::{Resource, ResourceStatus, RingDriver, RingOptions, Writer};

use super::*;
use crate::head::HeadScanner;
use crate::station::flac::{BLOCK_FRAMES, FlacEncoder};
use crate::station::music::{CHANNELS, Music};
use crate::timeline::Connection;

const BLOCKS: usize = 6;

/// What a listener gets that joins at block `first`: the bytes, and the samples that are in them.
fn connection(first: usize, blocks: usize) -> (Vec<u8>, Vec<f32>) {
    let mut encoder = FlacEncoder::new().unwrap();
    let mut music = Music::new(1);
    let mut bytes = encoder.header().unwrap();
    let mut samples = Vec::new();
    let mut block = vec![0; BLOCK_FRAMES * CHANNELS];
    for number in 0..first + blocks {
        music.render(&mut block);
        let frame = encoder.encode(&block).unwrap();
        if number >= first {
            bytes.extend_from_slice(frame);
            samples.extend(block.iter().map(|&sample| f32::from(sample) / 32_768.0));
        }
    }
    (bytes, samples)
}

fn options() -> DecodeOptions {
    DecodeOptions {
        layout: None,
        live: true,
        follow_clock: false,
        when_lapped: WhenLapped::Oldest,
        ahead: Duration::from_secs(2),
        live_lead: Duration::from_millis(500),
    }
}

/// A ring that is decoded, and both its ends.
struct Deck {
    cancel: CancelToken,
    ring: Resource<RingDriver>,
    writer: Writer<RingDriver>,
    timeline: Arc<Timeline>,
    decoding: Decoding,
    opened: Receiver<(PcmReader<f32>, Format)>,
    left_out: Receiver<LeftOut>,
    ended: Receiver<Result<(), DecodeError>>,
}

impl Deck {
    fn new(capacity: usize, options: DecodeOptions) -> Self {
        Self::prepared(capacity, options, |_| {})
    }

    /// The ring is as a file is, with all its bytes, before anybody reads.
    fn of_file(bytes: &[u8], options: DecodeOptions) -> Self {
        Self::prepared(bytes.len(), options, |writer| {
            writer.append(bytes).unwrap();
            writer.commit(None).unwrap();
        })
    }

    fn prepared(capacity: usize, options: DecodeOptions, prepare: impl FnOnce(&mut Writer<RingDriver>)) -> Self {
        let cancel = CancelToken::new();
        let ring = Resource::open(cancel.clone(), RingOptions::new(capacity)).unwrap();
        let mut writer = ring.writer().unwrap();
        prepare(&mut writer);
        let timeline = Arc::<Timeline>::default();
        let ((open, opened), (leave, left_out), (end, ended)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let decoding = Decoding::start(
            ring.cursor(OnLap::Error),
            Arc::new(|_| {}),
            options,
            timeline.clone(),
            cancel.clone(),
            Reports {
                opened: Box::new(move |reader, format| open.send((reader, format)).unwrap()),
                left_out: Box::new(move |what| drop(leave.send(what))),
                ended: Box::new(move |result| end.send(result).unwrap()),
            },
        )
        .unwrap();
        Self { cancel, ring, writer, timeline, decoding, opened, left_out, ended }
    }

    /// As a source does.
    fn connect(&mut self, content_type: &str, bytes: &[u8]) {
        let connection = Connection { content_type: Some(content_type.into()), station_name: None };
        self.timeline.connected(self.writer.position(), connection);
        HeadScanner::new(self.writer.position()).push(bytes, |head| self.timeline.begun(head));
        self.writer.append(bytes).unwrap();
    }
}

fn play(reader: &mut PcmReader<f32>, most_frames: usize) -> Vec<f32> {
    let mut played = Vec::new();
    while played.len() / CHANNELS < most_frames
        && let Ok(frames @ 1..) = reader.wait(1_000)
    {
        let mut period = vec![0.0; frames.min(1_000) * CHANNELS];
        let fill = reader.fill(&mut period);
        played.extend_from_slice(&period[..fill.frames * CHANNELS]);
    }
    played
}

#[test]
fn a_connection_that_follows_another_is_decoded_anew_without_a_seam() {
    let mut deck = Deck::new(1 << 20, options());
    // The second one goes back in time: its frame numbers are lower than those before.
    let ((first_bytes, first), (second_bytes, second)) = (connection(20, BLOCKS), connection(3, BLOCKS));
    for bytes in [&first_bytes, &second_bytes] {
        deck.connect("audio/flac", bytes);
    }
    deck.writer.commit(None).unwrap();
    let (mut reader, format) = deck.opened.recv().unwrap();
    assert_eq!(format, Format { rate_hz: 48_000, channels: 2, bits: Some(16) });
    assert!(play(&mut reader, usize::MAX) == [first, second].concat());
    deck.ended.recv().unwrap().unwrap();
    assert_eq!((deck.decoding.laps(), deck.decoding.broken()), (0, 0));
    // The offset of a frame is that of its bytes, give or take a block of what is handed on.
    let middle = deck.timeline.heard((BLOCKS * BLOCK_FRAMES) as u64, 48_000).unwrap();
    assert!(middle.offset.abs_diff(first_bytes.len() as u64) < second_bytes.len() as u64 / 2, "{middle:?}");
    assert!((middle.seconds - (BLOCKS * BLOCK_FRAMES) as f64 / 48e3).abs() < 1e-3, "{middle:?}");
    deck.decoding.join();
}

#[test]
fn a_seek_in_flac_is_exact_to_the_frame() {
    // Ten seconds, and the beginning has left the window.
    let (bytes, samples) = connection(0, 10 * 48_000 / BLOCK_FRAMES);
    let mut deck = Deck::new(bytes.len() * 3 / 4, DecodeOptions { ahead: Duration::from_secs(20), ..options() });
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    deck.connect("audio/flac", first);
    let (mut reader, _) = deck.opened.recv().unwrap();
    let half = play(&mut reader, 4 * 48_000);
    assert!(samples.starts_with(&half));
    deck.writer.append(rest).unwrap();
    play(&mut reader, 4 * 48_000);
    for seconds in [5.5, 4.25, 7.0, 3.5] {
        let epoch = deck.decoding.seek(Target::Seconds(seconds));
        let heard = play(&mut reader, 9_000);
        assert!(deck.decoding.has_landed(epoch));
        let at = (seconds * 48e3) as usize * CHANNELS;
        assert!(heard == samples[at..at + heard.len()], "after a seek to {seconds} s");
    }
    let lead = options().live_lead.as_secs_f64();
    deck.decoding.seek(Target::Live);
    let heard = play(&mut reader, 9_000);
    let at = samples.windows(512).position(|window| window == &heard[..512]).unwrap() / CHANNELS;
    let behind = (samples.len() / CHANNELS - at) as f64 / 48e3;
    assert!((behind - lead).abs() < 0.2, "{behind} s behind the live edge");
    deck.cancel.cancel();
    deck.ended.recv().unwrap().unwrap();
    deck.decoding.join();
}

#[test]
fn whoever_is_overtaken_goes_on_where_the_window_begins() {
    let (bytes, samples) = connection(0, 10 * 48_000 / BLOCK_FRAMES);
    let mut deck = Deck::new(bytes.len() / 3, DecodeOptions { ahead: Duration::from_secs(1), ..options() });
    let (first, rest) = bytes.split_at(bytes.len() / 4);
    deck.connect("audio/flac", first);
    let (mut reader, _) = deck.opened.recv().unwrap();
    // Nobody plays. Only once the decoder has no room for more does it read no more, and can be overtaken but once.
    let tap = reader.tap();
    while tap.queued_frames() < 48_000 {
        thread::yield_now();
    }
    deck.writer.append(rest).unwrap();
    deck.writer.commit(None).unwrap();
    let heard = play(&mut reader, usize::MAX);
    assert_eq!(deck.decoding.laps(), 1);
    let tail = &heard[heard.len() - 2 * 48_000 * CHANNELS..];
    assert!(samples.ends_with(tail), "the end of it is whole");
    assert!(heard.len() < samples.len());
    deck.decoding.join();
}

#[test]
fn what_is_no_audio_is_said_to_be_none() {
    let mut deck = Deck::new(1 << 20, options());
    deck.connect("text/html", b"<!doctype html><title>Log in to our Wi-Fi</title>");
    deck.writer.commit(None).unwrap();
    let error = deck.ended.recv().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("this is no audio that can be decoded (it is text/html): "), "{error}");
    assert!(deck.opened.try_recv().is_err());
}

#[test]
fn noise_in_the_middle_is_skipped_and_counted() {
    let (mut bytes, samples) = connection(0, 3 * 48_000 / BLOCK_FRAMES);
    let middle = bytes.len() / 2;
    bytes[middle..middle + 700].fill(0x55);
    let mut deck = Deck::new(1 << 20, options());
    deck.connect("audio/flac", &bytes);
    deck.writer.commit(None).unwrap();
    let (mut reader, _) = deck.opened.recv().unwrap();
    let heard = play(&mut reader, usize::MAX);
    assert!(heard.len() < samples.len() && heard.len() > samples.len() * 8 / 10, "{}", heard.len());
    assert!(samples.ends_with(&heard[heard.len() - 48_000..]));
    assert!(deck.decoding.broken() > 0);
}

#[test]
fn cancelling_ends_a_decoder_that_waits() {
    let mut deck = Deck::new(1 << 16, options());
    deck.writer.append(&connection(0, BLOCKS).0[..2_000]).unwrap();
    deck.cancel.cancel();
    deck.ended.recv().unwrap().unwrap();
    deck.decoding.join();
    assert!(matches!(deck.ring.status(), ResourceStatus::Cancelled));
}

/// That is how a file is that lies there, and what was downloaded to its end.
fn file() -> DecodeOptions {
    DecodeOptions { live: false, ..options() }
}

/// Longer than anything here takes, and no time to wait for a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn cancelling_ends_a_decoder_that_has_decoded_all_and_is_not_heard_out() {
    let mut deck = Deck::new(1 << 20, file());
    deck.writer.append(&connection(0, BLOCKS).0).unwrap();
    deck.writer.commit(None).unwrap();
    let (reader, _) = deck.opened.recv().unwrap();
    while !deck.decoding.state().is_drained() {
        thread::yield_now();
    }
    // In this order, as the player does: then nobody plays what is left.
    drop(reader);
    deck.cancel.cancel();
    deck.decoding.thread.thread().unpark();
    deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    deck.decoding.join();
}

#[test]
fn a_seek_beyond_all_audio_ends_the_file() {
    let mut deck = Deck::new(1 << 20, file());
    deck.writer.append(&connection(0, 8 * BLOCKS).0).unwrap();
    deck.writer.commit(None).unwrap();
    let (mut reader, _) = deck.opened.recv().unwrap();
    play(&mut reader, 4_000);
    let epoch = deck.decoding.seek(Target::Seconds(1e6));
    let began = Instant::now();
    let ended = loop {
        reader.fill(&mut [0.0; 1_000 * CHANNELS]);
        match deck.ended.try_recv() {
            Ok(ended) => break ended,
            Err(_) => assert!(began.elapsed() < PATIENCE, "it is waited for frames that never come"),
        }
    };
    ended.unwrap();
    assert!(deck.decoding.has_landed(epoch));
    deck.decoding.join();
}

#[test]
fn a_station_that_never_comes_to_its_audio_is_none() {
    let mut deck = Deck::new(32 << 20, options());
    // Blocks of metadata follow one another without end.
    let block = [&[1, 0x0f, 0, 0][..], &[0; 0x0f_00_00]].concat();
    deck.connect("audio/flac", &connection(0, 0).0[..4 + 4 + 34]);
    for _ in 0..20 {
        deck.writer.append(&block).unwrap();
    }
    let error = deck.ended.recv_timeout(PATIENCE).expect("there is an end of it").unwrap_err().to_string();
    assert!(error.starts_with("this is no audio that can be decoded (it is audio/flac): "), "{error}");
}

/// A page of Ogg that holds one packet of fewer than 255 × 255 bytes.
fn page(flags: u8, granule: i64, number: u32, packet: &[u8]) -> Vec<u8> {
    let mut lacing = vec![255; packet.len() / 255];
    lacing.push((packet.len() % 255) as u8);
    laced_page(flags, granule, number, &lacing, packet)
}

/// A page of Ogg that holds parts of packets, of these lengths.
fn laced_page(flags: u8, granule: i64, number: u32, lacing: &[u8], body: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(granule.to_le_bytes());
    page.extend(77u32.to_le_bytes());
    page.extend(number.to_le_bytes());
    page.extend([0; 4]);
    page.push(lacing.len() as u8);
    page.extend(lacing);
    page.extend(body);
    let table: [u32; 256] = std::array::from_fn(|byte| {
        (0..8).fold((byte as u32) << 24, |crc, _| crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 })
    });
    let crc = page.iter().fold(0u32, |crc, &byte| crc << 8 ^ table[(crc >> 24) as usize ^ usize::from(byte)]);
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

/// FLAC in Ogg, of which the first blocks are no audio, on pages that look like those of a head; and the samples behind.
fn ogg_with_bad_packets(bad: usize, good: usize) -> (Vec<u8>, Vec<f32>) {
    let mut encoder = FlacEncoder::new().unwrap();
    let mut music = Music::new(1);
    let head = encoder.header().unwrap();
    let mut samples = Vec::new();
    let mut numbers = 0..;
    let mut next = |flags, granule, packet: &[u8]| page(flags, granule, numbers.next().unwrap(), packet);
    let mapping = [b"\x7fFLAC\x01\0\0\x01fLaC\0", &head[5..4 + 4 + 34]].concat();
    let mut ogg = next(2, 0, &mapping);
    ogg.extend(next(0, 0, b"\x84\0\0\x08\0\0\0\0\0\0\0\0"));
    for number in 0..bad + good {
        let mut block = [0; BLOCK_FRAMES * CHANNELS];
        music.render(&mut block);
        let mut frame = encoder.encode(&block).unwrap().to_vec();
        if number < bad {
            let middle = frame.len() / 2;
            frame[8..middle].fill(0xff);
            ogg.extend(next(0, 0, &frame));
        } else {
            ogg.extend(next(0, ((number + 1) * BLOCK_FRAMES) as i64, &frame));
            samples.extend(block.iter().map(|&sample| f32::from(sample) / 32_768.0));
        }
    }
    (ogg, samples)
}

#[test]
fn packets_behind_a_head_that_cannot_be_decoded_are_passed_over() {
    let (ogg, samples) = ogg_with_bad_packets(20, 6);
    for options in [file(), options()] {
        let mut deck = Deck::new(1 << 20, options);
        deck.connect("audio/ogg", &ogg);
        deck.writer.commit(None).unwrap();
        let (mut reader, _) = deck.opened.recv_timeout(PATIENCE).expect("it goes on behind them");
        let heard = play(&mut reader, usize::MAX);
        assert!(samples.ends_with(&heard) && heard.len() > samples.len() / 2, "{} of {}", heard.len(), samples.len());
        deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
        // Each once where it was met, and once more in what was taken for the head.
        assert!((20..50).contains(&deck.decoding.broken()), "{}", deck.decoding.broken());
        deck.decoding.join();
    }
}

fn mp4_box(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(8 + body.len() as u32).to_be_bytes()[..], name, &body].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Samples of 16 bits in MP4, in mono, whose index promises more than there is.
fn mp4(samples: &[i16], promised: u32) -> Vec<u8> {
    const UNITY: [u32; 9] = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000];
    let pcm: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let ftyp = mp4_box(b"ftyp", &[b"M4A \0\0\0\0M4A mp42"]);
    let mdat = mp4_box(b"mdat", &[&pcm]);
    let entry = mp4_box(b"sowt", &[&words(&[0, 1, 0, 0, 0x0001_0010, 0]), &words(&[48_000 << 16])]);
    let per_chunk = samples.len() as u32;
    let stbl = mp4_box(
        b"stbl",
        &[
            &mp4_box(b"stsd", &[&words(&[0, 1]), &entry]),
            &mp4_box(b"stts", &[&words(&[0, 1, promised, 1])]),
            &mp4_box(b"stsc", &[&words(&[0, 1, 1, per_chunk, 1])]),
            &mp4_box(b"stsz", &[&words(&[0, 2, promised])]),
            &mp4_box(b"stco", &[&words(&[0, 1, ftyp.len() as u32 + 8])]),
        ],
    );
    let hdlr = mp4_box(b"hdlr", &[&words(&[0, 0]), b"soun", &[0; 13]]);
    let minf = mp4_box(b"minf", &[&mp4_box(b"smhd", &[&[0; 8]]), &stbl]);
    let mdhd = mp4_box(b"mdhd", &[&words(&[0, 0, 0, 48_000, promised, 0x55c4_0000])]);
    let mdia = mp4_box(b"mdia", &[&mdhd, &hdlr, &minf]);
    let tkhd =
        mp4_box(b"tkhd", &[&words(&[7, 0, 0, 1, 0, promised, 0, 0, 0, 0x0100_0000]), &words(&UNITY), &words(&[0, 0])]);
    let mvhd = mp4_box(
        b"mvhd",
        &[
            &words(&[0, 0, 0, 48_000, promised, 0x10000, 0x0100_0000, 0, 0]),
            &words(&UNITY),
            &words(&[0, 0, 0, 0, 0, 0, 2]),
        ],
    );
    let moov = mp4_box(b"moov", &[&mvhd, &mp4_box(b"trak", &[&tkhd, &mdia])]);
    [ftyp, mdat, moov].concat()
}

#[test]
fn an_index_that_leads_nowhere_ends_the_file() {
    let samples: Vec<i16> = (0..4_000).map(|n| n * 7).collect();
    let deck = Deck::of_file(&mp4(&samples, 5_000), file());
    // So short a file is over before any of it is played.
    deck.ended.recv_timeout(PATIENCE).expect("it is an end").unwrap();
    let (mut reader, format) = deck.opened.recv().unwrap();
    assert_eq!(format.layout(), Layout { rate_hz: 48_000, channels: 1 });
    let mut heard = vec![0.0; 5_000];
    assert_eq!(reader.fill(&mut heard).frames, 4_000);
    assert!(heard.iter().zip(&samples).all(|(heard, &sample)| *heard == f32::from(sample) / 32_768.0));
    deck.decoding.join();
}
