//! AAC in ADTS: the header of a frame.

use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;

use super::{Header, Kind};

/// Of a header without a checksum.
pub(super) const HEADER_BYTES: usize = 7;

const CHECKSUM_BYTES: usize = 2;

const RATES_HZ: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// The header that `bytes` begin with. Frames that hold more than one block of AAC have none: no decoder takes them.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let &[0xff, b1, b2, b3, b4, b5, b6, ..] = bytes else { return None };
    if b1 & 0xf6 != 0xf0 || b6 & 3 != 0 {
        return None;
    }
    let rate_hz = *RATES_HZ.get(usize::from(b2 >> 2 & 15))?;
    let channels = match (b2 & 1) << 2 | b3 >> 6 {
        7 => 8,
        channels => channels,
    };
    let len = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
    let data_at = HEADER_BYTES + if b1 & 1 == 0 { CHECKSUM_BYTES } else { 0 };
    // The version is part of what may change, and the profile.
    let kind = Kind { codec: CODEC_ID_AAC, rate_hz, channels, variant: b2 >> 6 | (b1 & 8) };
    (len > data_at).then_some(Header { kind, len, data_at, frames: 1_024, number: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_length_and_kind() {
        let found = header(&[0xff, 0xf1, 0x50, 0x80, 0x2e, 0x7f, 0xfc]).unwrap();
        assert_eq!((found.len, found.data_at), (371, 7));
        assert_eq!((found.kind.rate_hz, found.kind.channels), (44_100, 2));
        // With a checksum.
        assert_eq!(header(&[0xff, 0xf0, 0x50, 0x80, 0x2e, 0x7f, 0xfc]).unwrap().data_at, 9);
        // Another profile is another kind; a length of nought, a layer and an unknown rate are no header.
        assert_ne!(header(&[0xff, 0xf1, 0x10, 0x80, 0x2e, 0x7f, 0xfc]).unwrap().kind, found.kind);
        assert!(header(&[0xff, 0xf1, 0x50, 0x80, 0x00, 0x1f, 0xfc]).is_none());
        assert!(header(&[0xff, 0xf3, 0x50, 0x80, 0x2e, 0x7f, 0xfc]).is_none());
        assert!(header(&[0xff, 0xf1, 0x7c, 0x80, 0x2e, 0x7f, 0xfc]).is_none());
    }
}
