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

/// What becomes of a stream that is decoded to its end.
struct Heard {
    samples: Vec<f32>,
    channels: usize,
    broken: u64,
    left_out: Vec<LeftOut>,
    result: Result<(), DecodeError>,
}

impl Heard {
    fn frames(&self) -> usize {
        self.samples.len() / self.channels
    }
}

/// Hears a stream as a file, or as a station that sends it and hangs up.
fn hear(bytes: &[u8], options: DecodeOptions) -> Heard {
    let deck = Deck::prepared(bytes.len().max(1 << 16), options, |writer| {
        writer.append(bytes).unwrap();
        writer.commit(None).unwrap();
    });
    let (mut samples, mut channels) = (Vec::new(), 1);
    // Nothing is opened where nothing can be heard.
    if let Ok((mut reader, format)) = deck.opened.recv() {
        channels = format.channels;
        while let Ok(frames @ 1..) = reader.wait(1_000) {
            let mut period = vec![0.0; frames.min(1_000) * channels];
            let fill = reader.fill(&mut period);
            samples.extend_from_slice(&period[..fill.frames * channels]);
        }
    }
    let result = deck.ended.recv_timeout(PATIENCE).expect("it comes to an end");
    let (broken, skipped) = (deck.decoding.broken(), deck.decoding.skipped());
    deck.decoding.join();
    let left_out: Vec<_> = deck.left_out.try_iter().collect();
    assert_eq!(skipped, left_out.len() as u64, "what is told is counted");
    Heard { samples, channels, broken, left_out, result }
}

/// A file and a station.
fn both() -> [DecodeOptions; 2] {
    [file(), options()]
}

/// Frames of MPEG audio without a sound: all are like the first, which begins with this header.
fn mpeg(header: [u8; 4], bytes: usize, count: usize) -> Vec<u8> {
    let mut frame = header.to_vec();
    frame.resize(bytes, 0);
    frame.repeat(count)
}

/// 1,152 frames of audio each, at 44.1 kHz in stereo.
fn mp3(count: usize) -> Vec<u8> {
    mpeg([0xff, 0xfb, 0x90, 0x64], 417, count)
}

/// A frame that counts others; an encoder's delay and padding stand behind its name.
fn info_frame(count: u32, encoder: &[u8], delay: u32, padding: u32) -> Vec<u8> {
    let mut frame = mp3(1);
    frame[36..44].copy_from_slice(b"Info\0\0\0\x01");
    frame[44..48].copy_from_slice(&count.to_be_bytes());
    frame[48..48 + encoder.len()].copy_from_slice(encoder);
    frame[69..72].copy_from_slice(&(delay << 12 | padding).to_be_bytes()[1..]);
    frame
}

/// Frames of AAC without a sound, of the rate that has this index.
fn aac(rate_index: u8, channels: u8, count: usize) -> Vec<u8> {
    let data: &[u8] = match channels {
        1 => &[0x00, 0xc8, 0x00, 0x80, 0x23, 0x80],
        _ => &[0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c],
    };
    let len = 7 + data.len() as u8;
    let mut frame =
        vec![0xff, 0xf1, 1 << 6 | rate_index << 2 | channels >> 2, channels << 6, len >> 3, len << 5 | 0x1f, 0xfc];
    frame.extend(data);
    frame.repeat(count)
}

const ID3V1: &[u8; 128] = &{
    let mut tag = [b' '; 128];
    [tag[0], tag[1], tag[2]] = *b"TAG";
    tag
};

/// A tag of 600 bytes with nothing in it.
fn id3v2() -> Vec<u8> {
    let mut tag = b"ID3\x03\0\0\0\0\x04\x4e".to_vec();
    tag.resize(600, 0);
    tag
}

#[test]
fn a_count_ends_only_what_it_counts() {
    let songs =
        [info_frame(10, b"", 0, 0), mp3(10), ID3V1.to_vec(), id3v2(), info_frame(9, b"", 0, 0), mp3(9)].concat();
    for options in both() {
        let heard = hear(&songs, options);
        assert_eq!((heard.frames(), heard.broken), (19 * 1_152, 0));
        // A count before a stream that has none, and one that is wrong.
        let heard = hear(&[info_frame(10, b"", 0, 0), mp3(300)].concat(), options);
        assert_eq!((heard.frames(), heard.broken), (300 * 1_152, 0));
    }
}

#[test]
fn an_encoders_delay_and_padding_are_not_heard() {
    let song = [info_frame(10, b"LAME3.100", 576, 1_000), mp3(10)].concat();
    let heard = hear(&song, file());
    // A decoder is 529 frames late itself.
    assert_eq!((heard.frames(), heard.broken), (10 * 1_152 - 576 - 1_000, 0));
    // What somebody has joined is heard whole.
    let heard = hear(&[&song[..], &mp3(5)].concat(), file());
    assert_eq!(heard.frames(), 15 * 1_152 - 576 - 1_000);
}

#[test]
fn frames_of_another_kind_are_played_at_their_own_rate() {
    const SECOND: [(u8, f64); 3] = [(4, 44_100.0), (3, 48_000.0), (7, 22_050.0)];
    let seconds: f64 = SECOND.iter().map(|(_, rate_hz)| 20.0 * 1_024.0 / rate_hz).sum();
    let stream = [aac(4, 2, 20), aac(3, 2, 20), aac(7, 1, 20)].concat();
    for options in both() {
        let heard = hear(&stream, options);
        assert_eq!((heard.channels, heard.broken), (2, 0));
        assert!((heard.frames() as f64 / 44_100.0 - seconds).abs() < 0.001, "{} of {seconds} s", heard.frames());
        assert!(heard.samples.iter().all(|sample| sample.abs() < 1e-3), "there is no noise");
    }
}

#[test]
fn layers_and_versions_of_mpeg_audio_may_change() {
    const COUNT: usize = 8;
    // Layer 3 at 44.1 kHz, at 22.05 kHz in mono, at 8 kHz; layers 2 and 1 at 48 kHz.
    let kinds = [
        (mp3(COUNT), 1_152.0 / 44_100.0),
        (mpeg([0xff, 0xf3, 0x80, 0xc0], 208, COUNT), 576.0 / 22_050.0),
        (mpeg([0xff, 0xe3, 0x18, 0xc0], 72, COUNT), 576.0 / 8_000.0),
        (mpeg([0xff, 0xfd, 0x84, 0x00], 384, COUNT), 1_152.0 / 48_000.0),
        (mpeg([0xff, 0xff, 0x84, 0x00], 256, COUNT), 384.0 / 48_000.0),
    ];
    let seconds: f64 = kinds.iter().map(|(_, seconds)| COUNT as f64 * seconds).sum();
    let stream = kinds.map(|(bytes, _)| bytes).concat();
    for options in both() {
        let heard = hear(&stream, options);
        assert_eq!((heard.broken, heard.left_out.len()), (0, 0));
        assert!((heard.frames() as f64 / 44_100.0 - seconds).abs() < 0.001, "{} of {seconds} s", heard.frames());
    }
}

#[test]
fn flac_is_heard_to_its_last_frame_whatever_is_behind() {
    let (bytes, samples) = connection(0, BLOCKS);
    let noise: Vec<u8> = (0..3_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let tails: [&[u8]; 6] = [b"", ID3V1, &id3v2(), &[0; 128], &[0; 5_000], &noise];
    for (number, tail) in tails.into_iter().enumerate() {
        for options in both() {
            let heard = hear(&[&bytes[..], tail].concat(), options);
            assert!(heard.samples == samples, "tail {number}: {} of {}", heard.samples.len(), samples.len());
            assert_eq!((heard.broken, heard.left_out), (0, vec![]));
        }
    }
    let heard = hear(&[&id3v2()[..], &bytes].concat(), file());
    assert!(heard.samples == samples && heard.result.is_ok());
}

#[test]
fn a_damaged_frame_of_flac_is_never_noise() {
    let (bytes, samples) = connection(0, BLOCKS);
    let middle = bytes.len() / 2;
    // For some of these, the checksum of what is left comes out right somewhere by chance.
    for lost in 200..260 {
        let damaged = [&bytes[..middle], &bytes[middle + lost..]].concat();
        let heard = hear(&damaged, file());
        let block = BLOCK_FRAMES * CHANNELS;
        assert!(heard.samples.chunks(block).all(|heard| samples.chunks(block).any(|block| block == heard)), "{lost}");
        assert!(heard.broken > 0, "{lost} bytes are lost without a word");
    }
}

#[test]
fn flac_is_joined_behind_its_beginning() {
    let (bytes, samples) = connection(0, 2 * BLOCKS);
    let cut = bytes.len() / 3;
    for options in both() {
        let heard = hear(&bytes[cut..], options);
        assert!(samples.ends_with(&heard.samples), "it is the same music");
        assert!(heard.samples.len() >= samples.len() / 2, "from the next frame on");
    }
}

#[test]
fn streams_that_were_joined_are_each_heard_whole() {
    let (flac, samples) = connection(0, BLOCKS);
    let (ogg, ogg_samples) = ogg_with_bad_packets(0, BLOCKS);
    let silence = 20 * 1_152 * 48_000 / 44_100 * CHANNELS;
    for options in both() {
        let heard = hear(&[&flac[..], &mp3(20), &ogg, &flac, &id3v2(), &flac, &aac(4, 2, 20)].concat(), options);
        assert_eq!((heard.broken, &heard.left_out), (0, &vec![]));
        assert!(heard.samples.starts_with(&samples));
        let behind = &heard.samples[samples.len() + silence - 100..];
        let begins = behind.iter().position(|&sample| sample != 0.0).unwrap();
        let music = [ogg_samples.clone(), samples.clone(), samples.clone()].concat();
        let first = music.iter().position(|&sample| sample != 0.0).unwrap();
        assert!(behind[begins..].starts_with(&music[first..]), "each follows the one before");
    }
}

#[test]
fn ogg_is_joined_at_its_next_link() {
    let (link, samples) = ogg_with_bad_packets(0, BLOCKS);
    let behind = link.windows(5).skip(300).position(|window| window == b"OggS\0").unwrap() + 300;
    for options in both() {
        let heard = hear(&[&link[behind..], &link].concat(), options);
        assert!(heard.samples == samples && heard.result.is_ok());
        // Without another, there is nothing to be heard; what is in it is no matter.
        let result = hear(&opus_link()[100..], options).result.unwrap_err().to_string();
        assert!(result.starts_with("Ogg without its beginning is not supported"), "{result}");
    }
}

#[test]
fn titles_of_joined_songs_follow_one_another() {
    let tag = |title: &[u8]| {
        let frame = [&b"TIT2\0\0\0"[..], &[title.len() as u8 + 1, 0, 0, 0], title].concat();
        [&b"ID3\x03\0\0\0\0\0"[..], &[frame.len() as u8], &frame].concat()
    };
    let first = [&tag(b"One")[..], &mp3(10)].concat();
    let songs = [&first[..], &tag(b"Two"), &mp3(10)].concat();
    let deck = Deck::of_file(&songs, file());
    let (mut reader, _) = deck.opened.recv_timeout(PATIENCE).unwrap();
    play(&mut reader, usize::MAX);
    deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    let title = |offset: usize| deck.timeline.title_at(offset as u64);
    assert_eq!(title(first.len() - 1).as_deref(), Some("One"));
    assert_eq!(title(songs.len()).as_deref(), Some("Two"));
    deck.decoding.join();
}

/// A link of a chain whose codec is not supported.
fn opus_link() -> Vec<u8> {
    let head = page(2, 0, 0, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0");
    let tags = page(0, 0, 1, b"OpusTags\x04\0\0\0test\0\0\0\0");
    [head, tags, page(0, 960, 2, &[0xfc; 200]), page(4, 1_920, 3, &[0xfc; 200])].concat()
}

#[test]
fn a_link_that_cannot_be_decoded_is_passed_over_and_told() {
    let (link, samples) = ogg_with_bad_packets(0, BLOCKS);
    for options in both() {
        let heard = hear(&[&link[..], &opus_link(), &link].concat(), options);
        assert!(heard.samples == [samples.clone(), samples.clone()].concat(), "{} samples", heard.samples.len());
        assert_eq!(heard.left_out, [LeftOut::Codec { codec: "Opus" }]);
        heard.result.unwrap();
    }
    let heard = hear(&[&opus_link()[..], &link].concat(), file());
    assert!(heard.samples == samples);
    assert_eq!(heard.left_out.len(), 1);
    for options in both() {
        let heard = hear(&opus_link(), options);
        assert!(matches!(heard.result, Err(DecodeError::Codec { codec: "Opus" })), "{:?}", heard.result);
    }
}

#[test]
fn a_link_with_a_damaged_head_is_passed_over_and_told() {
    let (link, samples) = ogg_with_bad_packets(0, BLOCKS);
    let mut damaged = link.clone();
    // In the page that says what it is, whose checksum is wrong then.
    damaged[50] ^= 0xff;
    for options in both() {
        let heard = hear(&[&link[..], &damaged, &link].concat(), options);
        assert!(heard.samples == [samples.clone(), samples.clone()].concat(), "{} samples", heard.samples.len());
        assert_eq!(heard.left_out, [LeftOut::Damaged]);
    }
}

#[test]
fn a_link_without_its_first_page_is_heard_if_it_is_like_the_one_before() {
    let (link, samples) = ogg_with_bad_packets(0, BLOCKS);
    let mut headless = link.clone();
    headless[1] = 0;
    for options in both() {
        let heard = hear(&[&link[..], &headless, &link].concat(), options);
        assert!(heard.samples == samples.repeat(3), "{} samples", heard.samples.len());
    }
}

#[test]
fn a_link_that_is_cut_in_its_head_does_no_harm_to_others() {
    let (link, samples) = ogg_with_bad_packets(0, BLOCKS);
    for cut in [10, 27, 50, 90, 110] {
        for options in both() {
            let heard = hear(&[&link[..], &link[..cut], &link].concat(), options);
            assert!(heard.samples.starts_with(&samples), "cut at {cut}");
            assert!(heard.samples.len() == 2 * samples.len(), "cut at {cut}: {}", heard.samples.len());
        }
    }
}

#[test]
fn frames_of_an_unsupported_kind_are_passed_over_and_told() {
    let stream = [aac(4, 2, 20), aac(4, 6, 20), aac(4, 2, 20)].concat();
    for options in both() {
        let heard = hear(&stream, options);
        assert_eq!(heard.frames(), 40 * 1_024);
        assert!(matches!(heard.left_out[..], [LeftOut::Codec { codec }] if codec.starts_with("AAC ")));
    }
}

#[test]
fn a_file_that_is_cut_says_so() {
    let heard = hear(&[info_frame(100, b"", 0, 0), mp3(60)].concat(), file());
    assert!(matches!(heard.left_out[..], [LeftOut::Cut { heard, promised }] if heard + 1.0 < promised));
    assert_eq!(heard.frames(), 60 * 1_152);
}

/// A page is up to a second long. What was cut off with it was once left out without a word.
#[test]
fn a_file_that_ends_inside_of_a_page_says_so() {
    let (ogg, samples) = ogg_with_bad_packets(0, BLOCKS);
    let cut = hear(&ogg[..ogg.len() - 20], file());
    assert_eq!(cut.left_out, [LeftOut::LastPage]);
    assert_eq!(cut.frames() * CHANNELS, samples.len() - BLOCK_FRAMES * CHANNELS);
    let behind_a_whole = hear(&[&ogg[..], &ogg[..ogg.len() - 20]].concat(), file());
    assert_eq!(behind_a_whole.left_out, [LeftOut::LastPage]);
    assert_eq!(hear(&ogg, file()).left_out, []);
    assert_eq!(hear(&ogg[..ogg.len() - 20], options()).left_out, [], "a station is cut where somebody hangs up");
}

#[test]
fn what_was_decoded_before_an_error_is_heard() {
    let (bytes, samples) = connection(0, BLOCKS);
    let heard = hear(&[&bytes[..], &vec![0x55; 6 << 20]].concat(), options());
    assert!(matches!(heard.result, Err(DecodeError::Unsupported { .. })), "{:?}", heard.result);
    assert!(heard.samples == samples, "{} of {}", heard.samples.len(), samples.len());
}

#[test]
fn a_file_without_a_frame_is_no_success() {
    let (bytes, _) = connection(0, 0);
    assert!(matches!(hear(&bytes, file()).result, Err(DecodeError::Silent)));
    let foreign = hear(b"wvpk\x24\x16\0\0\x10\x04\0\0\x44\xac\0\0\xff\xff\x84\0", file());
    assert!(matches!(foreign.result, Err(DecodeError::Codec { codec: "WavPack" })), "{:?}", foreign.result);
}

#[test]
fn a_seek_leads_into_another_of_joined_streams() {
    let (flac, samples) = connection(0, 30);
    let (ogg, ogg_samples) = ogg_with_bad_packets(0, 30);
    // Of FLAC, only once it was come to: its beginning stands nowhere else.
    let [flac, ogg] = [(flac, samples, 0.9), (ogg, ogg_samples, 0.05)];
    for (stream, samples, played) in [flac, ogg] {
        let (joined, all) = (stream.repeat(2), samples.repeat(2));
        let deck = Deck::of_file(&joined, DecodeOptions { ahead: Duration::from_millis(200), ..file() });
        let (mut reader, _) = deck.opened.recv_timeout(PATIENCE).unwrap();
        let frames = (all.len() / CHANNELS) as f64;
        play(&mut reader, (frames * played) as usize);
        let seconds = frames / 48e3;
        for share in [0.75, 0.25, 0.8] {
            deck.decoding.seek(Target::Seconds(seconds * share));
            let heard = play(&mut reader, 9_000);
            let at = all.windows(512).position(|window| window == &heard[..512]).expect("it is of the music");
            assert!(all[at..].starts_with(&heard), "without a gap");
            let second_half = all.windows(512).rposition(|window| window == &heard[..512]).unwrap();
            let there = [at, second_half].map(|at| at as f64 / all.len() as f64);
            assert!(there.iter().any(|there| (there - share).abs() < 0.1), "{there:?}, not {share}");
        }
        deck.cancel.cancel();
        drop(reader);
        deck.decoding.join();
    }
}
