//! Any bytes as the body that a station sends, cut anywhere, against a plain walk over all of it; any bytes as a block of
//! metadata; and what a station mixes, taken apart again.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use roundelay_player::icy::{IcyDemux, IcyMux, Metadata, Piece};
use std::num::NonZeroUsize;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    interval: Interval,
    /// How long the pieces are in which a body arrives, over and over.
    cuts: [u8; 6],
    songs: Vec<(&'a str, u8)>,
    /// Both a body and a block.
    bytes: &'a [u8],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Interval {
    None,
    Short(u8),
    Long(u16),
    Huge(u64),
}

impl Interval {
    fn bytes(self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(match self {
            Self::None => 0,
            Self::Short(bytes) => bytes.into(),
            Self::Long(bytes) => bytes.into(),
            Self::Huge(bytes) => bytes as usize,
        })
    }
}

/// The audio of a body, and each block with the count of audio bytes before it.
type Body = (Vec<u8>, Vec<(usize, Metadata)>);

/// As one would say it: audio, a count, so many blocks, audio again.
fn walk(interval: Option<NonZeroUsize>, body: &[u8]) -> Body {
    let Some(interval) = interval else { return (body.to_vec(), Vec::new()) };
    let (mut audio, mut told, mut at) = (Vec::new(), Vec::new(), 0);
    while at < body.len() {
        let end = at.saturating_add(interval.get()).min(body.len());
        audio.extend_from_slice(&body[at..end]);
        let Some(&blocks) = body.get(end) else { break };
        at = end + 1 + 16 * usize::from(blocks);
        if let Some(block) = body.get(end + 1..at).filter(|block| !block.is_empty()) {
            told.push((audio.len(), Metadata::parse(block)));
        }
    }
    (audio, told)
}

fn demux(interval: Option<NonZeroUsize>, body: &[u8], cuts: &[u8]) -> Body {
    let mut demux = IcyDemux::new(interval);
    let (mut audio, mut told, mut rest) = (Vec::new(), Vec::new(), body);
    for cut in cuts.iter().cycle() {
        let (mut part, behind) = rest.split_at(rest.len().min(usize::from(*cut).max(1)));
        rest = behind;
        while let Some(piece) = demux.next_piece(&mut part) {
            match piece {
                Piece::Audio(bytes) => {
                    assert!(!bytes.is_empty(), "a piece of nothing");
                    audio.extend_from_slice(bytes);
                }
                Piece::Metadata(metadata) => told.push((audio.len(), metadata)),
            }
        }
        assert!(part.is_empty(), "some of it was left lying");
        if rest.is_empty() {
            break;
        }
    }
    (audio, told)
}

/// Nothing in it can steer a terminal, and it was all sent.
fn assert_harmless(text: &str, block: &[u8]) {
    let steers = |c: char| c.is_control() || "\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}".contains(c);
    assert!(!text.chars().any(|c| steers(c) || ('\u{2066}'..='\u{2069}').contains(&c)), "{text:?}");
    let sent: Vec<char> = match std::str::from_utf8(block.split(|&byte| byte == 0).next().unwrap_or_default()) {
        Ok(sent) => sent.chars().collect(),
        Err(_) => block.iter().map(|&byte| char::from(byte)).collect(),
    };
    // In this order, with something left out here and there.
    let mut sent = sent.into_iter();
    assert!(text.chars().all(|c| sent.any(|sent| sent == c)), "{text:?} was made up");
}

fuzz_target!(|input: Input<'_>| {
    let interval = input.interval.bytes();
    let plain = walk(interval, input.bytes);
    assert_eq!(demux(interval, input.bytes, &input.cuts), plain);
    assert_eq!(demux(interval, input.bytes, &[u8::MAX]), plain);

    let metadata = Metadata::parse(input.bytes);
    for text in [&metadata.title, &metadata.url].into_iter().flatten() {
        assert_harmless(text, input.bytes);
    }

    let Some(interval) = interval.filter(|interval| interval.get() < 1 << 16) else { return };
    let mut mux = IcyMux::new(interval);
    let (mut body, mut sent) = (Vec::new(), Vec::new());
    for (title, parts) in &input.songs {
        let audio = input.bytes.repeat(usize::from(parts % 4));
        mux.push(&audio, Some(title), &mut body);
        sent.extend(audio);
    }
    let (audio, told) = demux(Some(interval), &body, &input.cuts);
    assert_eq!(audio, sent);
    assert_eq!((audio.clone(), told.clone()), walk(Some(interval), &body));
    for (at, metadata) in told {
        assert_eq!(at % interval.get(), 0);
        let title = metadata.title.expect("a station tells titles");
        let mixed =
            input.songs.iter().any(|(sent, _)| sent.contains("';") || sent.contains('\0') || told_as(sent, &title));
        assert!(mixed, "{title:?} is nobody's");
    }
});

/// Whether a title comes out as `told`: cut where a block ends, and without what could steer a terminal.
fn told_as(sent: &str, told: &str) -> bool {
    let mut kept = sent.chars();
    told.chars().all(|c| kept.any(|sent| sent == c)) && (sent.len() > 4000 || !kept.any(char::is_alphanumeric))
}
