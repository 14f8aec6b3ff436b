//! Containers as other programs write them.

use super::*;
use crate::head::HeadKind;

/// What a file or a stream comes to: its samples, and how it ended.
pub(super) fn heard(bytes: &[u8], options: DecodeOptions) -> (Vec<f32>, Result<(), DecodeError>) {
    let mut deck = Deck::new((bytes.len() + 1).next_power_of_two().max(1 << 16), options);
    if options.live {
        deck.connect("", bytes);
    } else {
        deck.writer.append(bytes).unwrap();
    }
    deck.writer.commit(None).unwrap();
    let samples = deck.opened.recv().map(|(mut reader, _)| play(&mut reader, usize::MAX)).unwrap_or_default();
    let ended = deck.ended.recv_timeout(PATIENCE).expect("there is an end of it");
    deck.decoding.join();
    (samples, ended)
}

fn chunk(name: &[u8; 4], said: u32, body: &[u8]) -> Vec<u8> {
    [&name[..], &said.to_le_bytes(), body].concat()
}

const FRAMES: usize = 16_000;

/// Samples in stereo, as WAV has them and as they are heard.
fn stereo() -> (Vec<u8>, Vec<f32>) {
    let samples = (0..FRAMES * CHANNELS).map(|n| (n * 37) as i16);
    (samples.clone().flat_map(i16::to_le_bytes).collect(), samples.map(|sample| f32::from(sample) / 32_768.0).collect())
}

fn format() -> Vec<u8> {
    chunk(b"fmt ", 16, b"\x01\0\x02\0\x80\xbb\0\0\0\xee\x02\0\x04\0\x10\0")
}

fn wav(riff: u32, data: u32, behind: &[u8]) -> Vec<u8> {
    let (pcm, _) = stereo();
    [chunk(b"RIFF", riff, b"WAVE"), format(), chunk(b"data", data, &pcm), behind.to_vec()].concat()
}

#[test]
fn wav_is_heard_to_its_end_whatever_lengths_it_says() {
    // A program that writes to a pipe leaves 0, the largest number or one near 2 GiB; others are wrong.
    let (pcm, samples) = stereo();
    let (data, riff) = (pcm.len() as u32, pcm.len() as u32 + 36);
    let lengths = [
        (0, 0),
        (riff, 0),
        (0, data),
        (36, data),
        (1, data),
        (riff, data + 8_000),
        (riff, u32::MAX),
        (u32::MAX, data),
        (u32::MAX, u32::MAX),
        (0x7fff_f024, 0x7fff_f000),
        (0x8000_0024, 0x8000_0000),
        (riff, data),
    ];
    for (riff, data) in lengths {
        for options in [file(), options()] {
            let (heard, ended) = heard(&wav(riff, data, b""), options);
            ended.unwrap();
            assert!(heard == samples, "{riff}, {data}: {} of {}", heard.len(), samples.len());
        }
    }
}

#[test]
fn what_stands_behind_the_samples_is_not_heard() {
    let (pcm, samples) = stereo();
    let behind = chunk(b"LIST", 40_000, &[&b"INFO"[..], &[0x55; 39_996]].concat());
    let bytes = wav(pcm.len() as u32 + 36 + 40_008, pcm.len() as u32, &behind);
    for options in [file(), options()] {
        let (heard, ended) = heard(&bytes, options);
        ended.unwrap();
        assert!(heard == samples, "{} of {}", heard.len(), samples.len());
    }
    // The decoder is opened again in the middle, and knows where the end is all the same.
    let deck = Deck::of_file(&bytes, DecodeOptions { ahead: Duration::from_millis(100), ..file() });
    let (mut reader, _) = deck.opened.recv().unwrap();
    deck.decoding.seek(Target::Seconds(0.25));
    let heard = play(&mut reader, usize::MAX);
    assert!(samples.ends_with(&heard[heard.len().saturating_sub(4_000 * CHANNELS)..]), "{}", heard.len());
    deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    deck.decoding.join();
}

#[test]
fn lengths_of_64_bits_are_understood() {
    let (pcm, samples) = stereo();
    for name in [b"RF64", b"BW64"] {
        for said in [pcm.len() as u64, 0, 5 << 30, u64::MAX] {
            let lengths = [(pcm.len() as u64 + 72).to_le_bytes(), said.to_le_bytes(), 0_u64.to_le_bytes()].concat();
            let table = chunk(b"ds64", 28, &[&lengths[..], &[0; 4]].concat());
            let parts = [chunk(name, u32::MAX, b"WAVE"), table, format(), chunk(b"data", u32::MAX, &pcm)];
            for options in [file(), options()] {
                let (heard, ended) = heard(&parts.concat(), options);
                ended.unwrap();
                assert!(heard == samples, "{said}: {} of {}", heard.len(), samples.len());
            }
        }
    }
}

#[test]
fn wave64_is_understood() {
    const RIFF: &[u8] = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
    const CHUNK: &[u8] = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";
    let chunk = |name: &[u8], said: u64, body: &[u8]| [name, CHUNK, &said.to_le_bytes(), body].concat();
    let (pcm, samples) = stereo();
    for said in [pcm.len() as u64 + 24, 0, 24, u64::MAX] {
        let bytes = [
            [RIFF, &0_u64.to_le_bytes(), b"wave", CHUNK].concat(),
            chunk(b"junk", 24 + 3, &[9; 8]),
            chunk(b"fmt ", 24 + 16, &format()[8..]),
            chunk(b"data", said, &pcm),
        ]
        .concat();
        for options in [file(), options()] {
            let (heard, ended) = heard(&bytes, options);
            ended.unwrap();
            assert!(heard == samples, "{said}: {} of {}", heard.len(), samples.len());
        }
    }
}

/// AIFF, and its samples.
fn aiff() -> (Vec<u8>, Vec<f32>) {
    let (pcm, samples) = stereo();
    let swapped: Vec<u8> = pcm.chunks_exact(2).flat_map(|sample| [sample[1], sample[0]]).collect();
    let chunk = |name: &[u8; 4], body: &[u8]| [&name[..], &(body.len() as u32).to_be_bytes(), body].concat();
    // Two channels, so many frames, 16 bits, and 48,000 as a number of 80 bits.
    let common = [&[0, 2], &(FRAMES as u32).to_be_bytes()[..], &[0, 16, 0x40, 0x0e, 0xbb, 0x80, 0, 0, 0, 0, 0, 0]];
    let sound = [&[0; 8], &swapped[..]].concat();
    let body = [b"AIFF", &chunk(b"COMM", &common.concat())[..], &chunk(b"SSND", &sound)].concat();
    (chunk(b"FORM", &body), samples)
}

#[test]
fn aiff_is_heard_from_any_moment() {
    let (bytes, samples) = aiff();
    let deck = Deck::of_file(&bytes, file());
    let (mut reader, _) = deck.opened.recv().unwrap();
    let all = play(&mut reader, 4_000);
    assert!(samples.starts_with(&all));
    deck.decoding.seek(Target::Seconds(0.25));
    assert!(play(&mut reader, usize::MAX) == samples[12_000 * CHANNELS..]);
    deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    deck.decoding.join();
}

/// Puts a box at the beginning of another, whose name is found first, and of the index.
fn put_in(mp4: &mut Vec<u8>, within: &[u8; 4], inner: &[u8]) {
    let names = if within == b"moov" { vec![b"moov"] } else { vec![b"moov", within] };
    for name in &names {
        let at = mp4.windows(4).position(|found| found == *name).unwrap();
        let len = u32::from_be_bytes(mp4[at - 4..at].try_into().unwrap()) + inner.len() as u32;
        mp4[at - 4..at].copy_from_slice(&len.to_be_bytes());
    }
    let at = mp4.windows(4).position(|found| found == within).unwrap() + 4;
    mp4.splice(at..at, inner.iter().copied());
}

/// 10,000 samples in MP4, with an edit list of lengths and beginnings.
fn edited(samples: &[i16], edits: &[(u32, i32)]) -> Vec<u8> {
    let mut bytes = mp4(samples, samples.len() as u32);
    let entries: Vec<u32> = edits.iter().flat_map(|&(len, start)| [len, start as u32, 0x10000]).collect();
    let list = [words(&[0, edits.len() as u32]), words(&entries)].concat();
    put_in(&mut bytes, b"trak", &mp4_box(b"edts", &[&mp4_box(b"elst", &[&list])]));
    bytes
}

fn play_mono(reader: &mut PcmReader<f32>) -> Vec<f32> {
    let mut played = Vec::new();
    while let Ok(frames @ 1..) = reader.wait(1_000) {
        let mut period = vec![0.0; frames.min(1_000)];
        let frames = reader.fill(&mut period).frames;
        played.extend_from_slice(&period[..frames]);
    }
    played
}

fn ramp() -> (Vec<i16>, Vec<f32>) {
    let samples: Vec<i16> = (0..10_000).map(|n| n * 3).collect();
    let heard = samples.iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
    (samples, heard)
}

#[test]
fn an_edit_list_says_what_is_heard() {
    // The encoder's delay was heard, and what fills up the last packet.
    let (samples, all) = ramp();
    type Case<'a> = (&'a [(u32, i32)], &'a [std::ops::Range<usize>]);
    let cases: [Case; 9] = [
        (&[(8_000, 1_024)], &[1_024..9_024]),
        (&[(500, -1), (8_000, 1_024)], &[1_024..9_024]),
        (&[(20_000, 1_024)], &[1_024..10_000]),
        (&[(0, 1_024)], &[1_024..10_000]),
        (&[(100, 1_024), (3_000, 1_124), (500, 6_000)], &[1_024..4_124, 6_000..6_500]),
        (&[(1_000, 5_000), (2_000, 300), (2_000, 300)], &[5_000..6_000, 300..2_300, 300..2_300]),
        // Nothing would be left: there is no such list then.
        (&[(500, 20_000)], &[0..10_000]),
        (&[(500, -1)], &[0..10_000]),
        (&[], &[0..10_000]),
    ];
    for (edits, heard) in cases {
        let deck = Deck::of_file(&edited(&samples, edits), file());
        let (mut reader, _) = deck.opened.recv().unwrap();
        let played = play_mono(&mut reader);
        let expected = heard.iter().flat_map(|range| &all[range.clone()]).copied().collect::<Vec<_>>();
        assert!(played == expected, "{edits:?}: {} of {}", played.len(), expected.len());
        deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
        let seconds = expected.len() as f64 / 48e3;
        assert!((deck.timeline.duration().unwrap() - seconds).abs() < 1e-6, "{edits:?}");
        assert_eq!(deck.decoding.broken(), 0, "{edits:?}");
        deck.decoding.join();
    }
}

#[test]
fn a_seek_goes_by_the_edit_list() {
    let (samples, all) = ramp();
    // In small steps, so that the end is not decoded before the seek.
    let options = DecodeOptions { ahead: Duration::from_millis(20), ..file() };
    let deck = Deck::of_file(&edited(&samples, &[(4_800, 5_000), (4_800, 100)]), options);
    let (mut reader, _) = deck.opened.recv().unwrap();
    let mut period = vec![0.0; 1_200];
    assert!(reader.wait(900).is_ok() && reader.fill(&mut period).frames > 0);
    for seconds in [0.15, 0.05] {
        deck.decoding.seek(Target::Seconds(seconds));
        let mut period = vec![0.0; 200];
        let frames = reader.wait(200).unwrap().min(200);
        assert_eq!(reader.fill(&mut period[..frames]).frames, frames);
        let at = (seconds * 48e3) as usize;
        let at = if at < 4_800 { 5_000 + at } else { 100 + at - 4_800 };
        assert!(period[..frames] == all[at..at + frames], "after a seek to {seconds} s");
    }
    let rest = play_mono(&mut reader);
    assert!(rest.ends_with(&all[100..4_900]));
    deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    deck.decoding.join();
}

#[test]
fn what_itunes_notes_of_the_encoder_is_cut_off() {
    let (samples, all) = ramp();
    let note = b" 00000000 00000840 000001CA 00000000000017A6 00000000";
    let note = mp4_box(
        b"----",
        &[
            &mp4_box(b"mean", &[b"\0\0\0\0com.apple.iTunes"]),
            &mp4_box(b"name", &[b"\0\0\0\0iTunSMPB"]),
            &mp4_box(b"data", &[&words(&[1, 0]), note]),
        ],
    );
    let hdlr = mp4_box(b"hdlr", &[&words(&[0, 0]), b"mdir", &[0; 13]]);
    let meta = mp4_box(b"meta", &[&words(&[0]), &hdlr, &mp4_box(b"ilst", &[&note])]);
    for edits in [&[][..], &[(10_000, 0)]] {
        let mut bytes = edited(&samples, edits);
        put_in(&mut bytes, b"moov", &mp4_box(b"udta", &[&meta]));
        let deck = Deck::of_file(&bytes, file());
        let (mut reader, _) = deck.opened.recv().unwrap();
        assert!(play_mono(&mut reader) == all[0x840..0x840 + 0x17a6], "{edits:?}");
        deck.decoding.join();
    }
}

/// FLAC in Ogg with a picture of so many bytes before its audio; how long all before that is, and the samples.
fn ogg_with_picture(picture: usize, blocks: usize) -> (Vec<u8>, usize, Vec<f32>) {
    let mut encoder = FlacEncoder::new().unwrap();
    let mut music = Music::new(1);
    let head = encoder.header().unwrap();
    let mut numbers = 0..;
    let mut next =
        |flags, granule, lacing: &[u8], body: &[u8]| laced_page(flags, granule, numbers.next().unwrap(), lacing, body);
    let mapping = [b"\x7fFLAC\x01\0\0\x02fLaC\0", &head[5..4 + 4 + 34]].concat();
    let mut ogg = next(2, 0, &[mapping.len() as u8], &mapping);
    let comment = b"\x04\0\0\x08\0\0\0\0\0\0\0\0";
    ogg.extend(next(0, 0, &[comment.len() as u8], comment));
    // Its length has 24 bits; what it says does not matter here.
    let block = [&b"\x86"[..], &(picture as u32).to_be_bytes()[1..], &vec![b'O'; picture]].concat();
    let pieces = block.chunks_exact(255 * 255);
    let rest = pieces.remainder();
    for (nth, piece) in pieces.enumerate() {
        ogg.extend(next(u8::from(nth > 0), -1, &[255; 255], piece));
    }
    let mut lacing = vec![255; rest.len() / 255];
    lacing.push((rest.len() % 255) as u8);
    ogg.extend(next(1, 0, &lacing, rest));
    let head_len = ogg.len();
    let mut samples = Vec::new();
    for number in 0..blocks {
        let mut block = [0; BLOCK_FRAMES * CHANNELS];
        music.render(&mut block);
        let frame = encoder.encode(&block).unwrap();
        let mut lacing = vec![255; frame.len() / 255];
        lacing.push((frame.len() % 255) as u8);
        ogg.extend(next(0, ((number + 1) * BLOCK_FRAMES) as i64, &lacing, frame));
        samples.extend(block.iter().map(|&sample| f32::from(sample) / 32_768.0));
    }
    (ogg, head_len, samples)
}

#[test]
fn ogg_behind_a_picture_is_heard_as_it_comes() {
    // The whole of a file was looked through for a head when the picture was too large to be one.
    for picture in [2 << 20, 17 << 20] {
        let (bytes, _, samples) = ogg_with_picture(picture, 20);
        let mut deck = Deck::new(1 << 25, file());
        let (first, rest) = bytes.split_at(bytes.len() - 4_000);
        deck.writer.append(first).unwrap();
        let (mut reader, _) = deck.opened.recv_timeout(PATIENCE).expect("there is sound before the end has come");
        let before = play(&mut reader, 4_000);
        assert!(!before.is_empty() && samples.starts_with(&before), "{picture}");
        deck.writer.append(rest).unwrap();
        deck.writer.commit(None).unwrap();
        let all = [before, play(&mut reader, usize::MAX)].concat();
        assert!(all == samples, "{picture}: {} of {}", all.len(), samples.len());
        assert_eq!(deck.decoding.broken(), 0);
        deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
        deck.decoding.join();
    }
}

#[test]
fn a_head_of_ogg_leaves_out_the_picture() {
    let (bytes, head_len, _) = ogg_with_picture(5 << 20, 3);
    let mut heads = Vec::new();
    HeadScanner::new(0).push(&bytes, |head| heads.push(head));
    let [(0, head)] = &heads[..] else { panic!("{} heads", heads.len()) };
    assert_eq!((head.len, head.kind), (head_len as u64, HeadKind::Ogg));
    assert!(head.bytes.len() < 256 << 10, "{}", head.bytes.len());
}

#[test]
fn ogg_without_its_beginning_is_not_looked_through() {
    let (bytes, head_len, _) = ogg_with_picture(100, 20);
    let mut scanner = HeadScanner::new(0);
    scanner.push(&bytes[head_len..head_len + 500], |_| panic!("there is no head"));
    assert!(scanner.is_behind_head() && !scanner.is_done());
}

#[test]
fn flac_behind_a_picture_is_heard_as_it_comes() {
    let (plain, samples) = connection(0, 20);
    // Behind the description of the samples, which is the last block no longer.
    let (front, audio) = plain.split_at(42);
    let mut bytes = front.to_vec();
    bytes[4] &= 0x7f;
    bytes.extend([&b"\x86"[..], &(8_u32 << 20).to_be_bytes()[1..], &vec![0; 8 << 20]].concat());
    bytes.extend(audio);
    for options in [file(), options()] {
        let mut deck = Deck::new(1 << 24, options);
        let (first, rest) = bytes.split_at(bytes.len() - 4_000);
        deck.connect("audio/flac", first);
        let (mut reader, _) = deck.opened.recv_timeout(PATIENCE).expect("there is sound before the end has come");
        let before = play(&mut reader, 4_000);
        deck.writer.append(rest).unwrap();
        deck.writer.commit(None).unwrap();
        assert!([before, play(&mut reader, usize::MAX)].concat() == samples);
        deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
        deck.decoding.join();
    }
}

/// The same with its index before its samples.
fn index_first(mp4: &[u8]) -> Vec<u8> {
    let at = |name: &[u8]| mp4.windows(4).position(|found| found == name).unwrap() - 4;
    let (mdat, moov) = (at(b"mdat"), at(b"moov"));
    let mut bytes = [&mp4[..mdat], &mp4[moov..], &mp4[mdat..moov]].concat();
    let offsets = bytes.windows(4).position(|found| found == b"stco").unwrap() + 12;
    let samples = (mdat + mp4.len() - moov + 8) as u32;
    bytes[offsets..offsets + 4].copy_from_slice(&samples.to_be_bytes());
    bytes
}

#[test]
fn a_cut_mp4_is_heard_as_far_as_it_goes() {
    let (samples, all) = ramp();
    let bytes = index_first(&edited(&samples, &[(9_000, 1_000)]));
    let deck = Deck::of_file(&bytes[..bytes.len() - 2 * 7_500], file());
    let (mut reader, _) = deck.opened.recv_timeout(PATIENCE).expect("some of it is there");
    assert!(play_mono(&mut reader) == all[1_000..2_500]);
    deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(matches!(deck.left_out.try_recv(), Ok(LeftOut::Cut { .. })));
    deck.decoding.join();
}

#[test]
fn a_cut_aiff_is_heard_as_far_as_it_goes() {
    let (bytes, samples) = aiff();
    let (heard, ended) = heard(&bytes[..bytes.len() - 4 * 5_000], file());
    ended.unwrap();
    assert!(heard == samples[..(FRAMES - 5_000) * CHANNELS], "{}", heard.len());
}

#[test]
fn an_index_that_leaves_no_audio_is_an_error() {
    // Nothing was heard, and the exit code said that all was well.
    let (samples, _) = ramp();
    let bytes = mp4(&samples, 10_000);
    let changes: [(&[u8; 4], usize, &[u8]); 5] = [
        (b"moov", 0, b"free"),
        (b"stsd", 8, &[0; 4]),
        (b"stsc", 8, &[0; 4]),
        (b"stco", 12, &[0xff, 0xff, 0xff, 0xf0]),
        (b"trak", 0, b"free"),
    ];
    for (name, behind, change) in changes {
        let mut bytes = bytes.clone();
        let at = bytes.windows(4).position(|found| found == name).unwrap() + behind;
        bytes[at..at + change.len()].copy_from_slice(change);
        let (heard, ended) = heard(&bytes, file());
        let error = ended.unwrap_err();
        assert!(matches!(error, DecodeError::Damaged { .. } | DecodeError::Silent), "{name:?}: {error}");
        assert!(heard.is_empty());
    }
}

#[test]
fn what_is_no_audio_is_named() {
    for (bytes, name) in [
        (&b"<!DOCTYPE html><title>Log in</title>"[..], "(it is an HTML page)"),
        (b"RIFX\0\0\0\x24WAVEfmt \0\0\0\x10", "(it is big-endian WAV)"),
        (b"RIFF\x24\0\0\0WAVEdata\0\0\0\0", "this WAV file is damaged"),
    ] {
        let error = heard(bytes, file()).1.unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn aiff_is_heard_as_it_comes() {
    // Its reader looked for the end first: from a server without ranges, nothing was heard before that had come.
    let (bytes, samples) = aiff();
    let mut deck = Deck::new(1 << 17, file());
    // Frames are handed on in blocks, the first of a quarter of a second.
    let (first, rest) = bytes.split_at(bytes.len() - 4_000);
    deck.writer.append(first).unwrap();
    let (mut reader, _) = deck.opened.recv_timeout(PATIENCE).expect("there is sound before the end has come");
    let before = play(&mut reader, 4_000);
    deck.writer.append(rest).unwrap();
    deck.writer.commit(None).unwrap();
    assert!([before, play(&mut reader, usize::MAX)].concat() == samples);
    deck.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    deck.decoding.join();
}
