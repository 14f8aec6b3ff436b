//! MPEG audio: the header of a frame, and the Info frame in front of a file, which counts frames.

use symphonia::core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};

use super::{Header, Kind};

/// Of a header.
pub(super) const HEADER_BYTES: usize = 4;

/// Kilobits a second by the four bits of a header; none for the two values that name no rate.
const RATES_1_LAYER_1: [u16; 14] = [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448];
const RATES_1_LAYER_2: [u16; 14] = [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384];
const RATES_1_LAYER_3: [u16; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const RATES_2_LAYER_1: [u16; 14] = [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256];
const RATES_2_LAYERS_2_3: [u16; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// The header that `bytes` begin with.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let &[0xff, b1, b2, b3, ..] = bytes else { return None };
    if b1 & 0xe0 != 0xe0 {
        return None;
    }
    // Version 1 has the full rates, 2 has half of them, and 2.5 a quarter.
    let (version, shift) = match b1 >> 3 & 3 {
        3 => (1, 0),
        2 => (2, 1),
        0 => (3, 2),
        _ => return None,
    };
    let layer = match b1 >> 1 & 3 {
        3 => 1,
        2 => 2,
        1 => 3,
        _ => return None,
    };
    let rates = match (version, layer) {
        (1, 1) => RATES_1_LAYER_1,
        (1, 2) => RATES_1_LAYER_2,
        (1, _) => RATES_1_LAYER_3,
        (_, 1) => RATES_2_LAYER_1,
        _ => RATES_2_LAYERS_2_3,
    };
    let kilobits = usize::from(*rates.get(usize::from(b2 >> 4).checked_sub(1)?)?);
    let rate_hz = [44_100u32, 48_000, 32_000].get(usize::from(b2 >> 2 & 3))? >> shift;
    let frames = match (layer, version) {
        (1, _) => 384,
        (3, 2..) => 576,
        _ => 1_152,
    };
    // A slot is the unit of a frame's length.
    let slot_bytes = if layer == 1 { 4 } else { 1 };
    let slots = frames as usize / 8 / slot_bytes * kilobits * 1_000 / rate_hz as usize + usize::from(b2 >> 1 & 1);
    let codec = match layer {
        1 => CODEC_ID_MP1,
        2 => CODEC_ID_MP2,
        _ => CODEC_ID_MP3,
    };
    let channels = if b3 >> 6 == 3 { 1 } else { 2 };
    let kind = Kind { codec, rate_hz, channels, variant: version };
    Some(Header { kind, len: slots * slot_bytes, data_at: 0, frames, number: None })
}

/// What the Info frame says of the frames behind it. It holds no audio itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Info {
    /// So many frames of MPEG follow.
    pub(in super::super) count: Option<u32>,
    /// With this one, they take so many bytes.
    pub(in super::super) bytes: Option<u32>,
    /// Frames of audio that the encoder put before the first, and behind the last one.
    pub(super) delay: u32,
    pub(super) padding: u32,
}

/// A decoder for layer 3 is this much late, in frames of audio.
const DECODER_DELAY: u32 = 529;

/// What `frame` says, if it is an Info, Xing or VBRI frame.
pub(super) fn info(frame: &[u8], header: &Header) -> Option<Info> {
    if header.kind.codec != CODEC_ID_MP3 {
        return None;
    }
    let has_checksum = frame.get(1)? & 1 == 0;
    let side_bytes = match (header.kind.variant, header.kind.channels) {
        (1, 1) | (2.., 2) => 17,
        (1, _) => 32,
        _ => 9,
    };
    let side_at = HEADER_BYTES + if has_checksum { 2 } else { 0 };
    // Not moved by a checksum.
    let at = HEADER_BYTES + side_bytes;
    let tag = frame.get(at..at + 4)?;
    if tag == b"Xing" || tag == b"Info" {
        // Of a frame with audio, this would say where the audio is.
        let is_silent = frame[side_at..at].iter().all(|&byte| byte == 0);
        return is_silent.then(|| xing(&frame[at + 4..]));
    }
    const VBRI_AT: usize = HEADER_BYTES + 32;
    let vbri = frame.get(VBRI_AT..VBRI_AT + 18)?;
    let is_silent = frame[side_at..VBRI_AT].iter().all(|&byte| byte == 0);
    (vbri.starts_with(b"VBRI") && is_silent).then(|| Info {
        bytes: Some(word(&vbri[10..])),
        count: Some(word(&vbri[14..])),
        ..Info::default()
    })
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// What stands behind the name.
fn xing(mut rest: &[u8]) -> Info {
    let mut next = |len: usize| match rest.split_at_checked(len) {
        Some((field, behind)) => {
            rest = behind;
            field
        }
        None => std::mem::take(&mut rest),
    };
    let flags = word(next(4));
    let count = (flags & 1 != 0).then(|| word(next(4)));
    let bytes = (flags & 2 != 0).then(|| word(next(4)));
    // A table for seeking, and how good it sounds.
    next(if flags & 4 != 0 { 100 } else { 0 });
    next(if flags & 8 != 0 { 4 } else { 0 });
    let encoder = next(9);
    next(12);
    let trim = word(next(3));
    let known = [&b"LAME"[..], b"Lavf", b"Lavc"].iter().any(|name| encoder.starts_with(name));
    let (delay, padding) =
        if known { ((trim >> 12) + DECODER_DELAY, (trim & 0xfff).saturating_sub(DECODER_DELAY)) } else { (0, 0) };
    Info { count, bytes, delay, padding }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_length_and_kind() {
        let said = |bytes: [u8; 4]| header(&bytes).map(|found| (found.len, found.kind.rate_hz, found.kind.channels));
        // 128 kbit/s, without and with a byte of padding; joint stereo.
        assert_eq!(said([0xff, 0xfb, 0x90, 0x64]), Some((417, 44_100, 2)));
        assert_eq!(said([0xff, 0xfb, 0x92, 0x64]), Some((418, 44_100, 2)));
        // MPEG 2, 22.05 kHz, mono, 64 kbit/s; MPEG 2.5, 8 kHz, 8 kbit/s.
        assert_eq!(said([0xff, 0xf3, 0x80, 0xc0]), Some((208, 22_050, 1)));
        assert_eq!(said([0xff, 0xe3, 0x18, 0xc0]), Some((72, 8_000, 1)));
        // Layer 2 and layer 1, 48 kHz.
        assert_eq!(said([0xff, 0xfd, 0x84, 0x00]), Some((384, 48_000, 2)));
        assert_eq!(said([0xff, 0xff, 0x84, 0x00]), Some((256, 48_000, 2)));
        for wrong in [[0xff, 0xfb, 0xf0, 0], [0xff, 0xfb, 0, 0], [0xff, 0xfb, 0x9c, 0], [0xff, 0xf9, 0x90, 0], [0; 4]] {
            assert_eq!(said(wrong), None, "{wrong:x?}");
        }
    }

    #[test]
    fn info_frames_count_what_follows() {
        let mut frame = vec![0xff, 0xfb, 0x90, 0x64];
        frame.resize(417, 0);
        let header = header(&frame).unwrap();
        assert_eq!(info(&frame, &header), None);
        frame[36..52].copy_from_slice(b"Info\0\0\0\x03\0\0\0\x26\0\0\x3e\x80");
        assert_eq!(info(&frame, &header), Some(Info { count: Some(38), bytes: Some(16_000), delay: 0, padding: 0 }));
        frame[52..56].copy_from_slice(b"LAME");
        frame[73..76].copy_from_slice(&[0x24, 0x04, 0x00]);
        let said = info(&frame, &header).unwrap();
        assert_eq!((said.delay, said.padding), (576 + 529, 1_024 - 529));
        // Side information that is not nought is that of audio.
        frame[20] = 1;
        assert_eq!(info(&frame, &header), None);
    }
}
