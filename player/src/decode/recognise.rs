//! What a stream is, by its first bytes. Stations say all sorts of things of what they send: the bytes know better.

use super::format::Container;
use super::frames::{self, Syntax};
use crate::wave::is_wave;

/// A decision needs no more than this much of what begins with a name.
pub(super) const NAME_BYTES: usize = 40;

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recognised {
    /// Such a stream begins at this place of them.
    Stream(Container, usize),
    /// A tag of this length, which may stand before anything.
    Tag(u64),
    /// A format that is not played here, by its name.
    Foreign(&'static str),
    /// Nothing that is known.
    Nothing,
}

/// Formats that are not played here, by what they begin with at a place of their beginning.
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"TTA1", "True Audio"),
    (0, b"TTA2", "True Audio"),
    (0, b"tBaK", "TAK"),
    (0, b"OFR ", "OptimFROG"),
    (0, b"ajkg", "Shorten"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b"#!AMR", "AMR"),
    (0, b".snd", "AU"),
    (0, b".RMF", "RealMedia"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"ADIF", "AAC in ADIF"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
    (0, b"FLV\x01", "Flash video"),
    (8, b"AVI ", "AVI"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"MThd", "MIDI"),
    (0, b"IMPM", "Impulse Tracker"),
    (0, b"Extended Module: ", "FastTracker"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
];

/// Looks what `bytes` are; `ended` if there are no others behind them.
pub(super) fn recognise(bytes: &[u8], ended: bool) -> Recognised {
    if is_wave(bytes) {
        return Recognised::Stream(Container::Wav, 0);
    }
    if bytes.starts_with(b"fLaC") {
        return Recognised::Stream(Container::Flac, 0);
    }
    if bytes.starts_with(b"OggS") {
        return Recognised::Stream(Container::Ogg, 0);
    }
    if let Some(container) = Container::with_index(bytes) {
        return Recognised::Stream(container, 0);
    }
    // Three letters may stand anywhere else.
    if let Some(len) = frames::tag_len(bytes) {
        return Recognised::Tag(len);
    }
    let begins = |&&(at, name, _): &&(usize, &[u8], &str)| bytes.get(at..).is_some_and(|rest| rest.starts_with(name));
    if let Some(&(.., name)) = FOREIGN.iter().find(begins) {
        return Recognised::Foreign(name);
    }
    let container = |syntax| match syntax {
        Syntax::Mpeg => Container::Mpeg,
        Syntax::Adts => Container::Adts,
        Syntax::Flac => Container::Flac,
    };
    match frames::search(bytes, ended) {
        Some((at, syntax)) => Recognised::Stream(container(syntax), at),
        None => find_page(bytes).map_or(Recognised::Nothing, |at| Recognised::Stream(Container::Ogg, at)),
    }
}

/// Where a stream of Ogg begins.
fn find_page(bytes: &[u8]) -> Option<usize> {
    const FIRST: u8 = 2;
    bytes.windows(6).position(|window| window.starts_with(b"OggS\0") && window[5] & FIRST != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_formats_have_their_own_names() {
        let mut wavpack = b"wvpk\x24\x16\0\0\x10\x04\0\0\x44\xac\0\0".to_vec();
        // Inside, there is what looks like a frame of MPEG audio.
        wavpack.extend([0xff, 0xff, 0x84, 0x00].repeat(100));
        assert_eq!(recognise(&wavpack, true), Recognised::Foreign("WavPack"));
        assert_eq!(recognise(b"MAC \x96\x0f\0\0\x34\0\0\0", true), Recognised::Foreign("Monkey's Audio"));
        assert_eq!(recognise(b"FORM\0\0\0\x24AIFFCOMM", true), Recognised::Stream(Container::Aiff, 0));
        assert_eq!(recognise(b"<!doctype html><title>Log in</title>", true), Recognised::Nothing);
        assert_eq!(recognise(&[0; 4_000], true), Recognised::Nothing);
    }

    #[test]
    fn frames_are_found_behind_noise() {
        let frame = [&[0xff, 0xfb, 0x90, 0x64][..], &[0; 413]].concat();
        let stream = [&[0x55; 77][..], &frame.repeat(3)].concat();
        assert_eq!(recognise(&stream, false), Recognised::Stream(Container::Mpeg, 77));
        // Two headers are a beginning; the third decides, or the end.
        let short = &stream[..77 + 2 * 417];
        assert_eq!(recognise(short, false), Recognised::Nothing);
        assert_eq!(recognise(short, true), Recognised::Stream(Container::Mpeg, 77));
    }

    #[test]
    fn a_tag_may_stand_before_anything() {
        assert_eq!(recognise(b"ID3\x04\0\0\0\0\x02\x01....", false), Recognised::Tag(10 + 257));
        assert_eq!(recognise(b"ID3\x04\0\x10\0\0\x02\x01....", false), Recognised::Tag(20 + 257));
    }
}
