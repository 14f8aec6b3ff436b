//! What a file is that is no audio, or none that is decoded here, for people: by its first bytes.

/// So many bytes decide.
pub(super) const KIND_BYTES: usize = 1_084;

/// What begins with these bytes at a place of the file.
const KINDS: &[(usize, &[u8], &str)] = &[
    (0, b"RIFX", "big-endian WAV"),
    (0, b"FFIR", "big-endian WAV"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"moov", "a QuickTime film"),
    (4, b"mdat", "a QuickTime film"),
    (4, b"wide", "a QuickTime film"),
    (0, b"\0\0\x01\xba", "an MPEG film"),
    (0, b"\0\0\x01\xb3", "an MPEG film"),
    (0, b"Creative Voice File", "a Creative Voice file"),
    (0, b"qoaf", "QOA"),
    (0, b"PSID", "a SID tune"),
    (0, b"RSID", "a SID tune"),
    (0, b"NESM\x1a", "an NES tune"),
    (0, b"FWS", "Flash"),
    (0, b"CWS", "Flash"),
    (44, b"SCRM", "a tracker module"),
    (1_080, b"M.K.", "a tracker module"),
    (1_080, b"M!K!", "a tracker module"),
    (1_080, b"4CHN", "a tracker module"),
    (1_080, b"6CHN", "a tracker module"),
    (1_080, b"8CHN", "a tracker module"),
    (1_080, b"FLT4", "a tracker module"),
    (257, b"ustar", "a tar archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"BM", "a bitmap"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"SQLite format 3\0", "a database"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"<?xml", "XML"),
];

/// Packets of a transport stream, each of which begins with the same byte.
const TRANSPORT_PACKET_BYTES: usize = 188;

/// What a file is that begins with these bytes, if that is known.
pub(super) fn kind(first: &[u8]) -> Option<&'static str> {
    let begins = |&&(at, name, _): &&(usize, &[u8], &str)| first.get(at..).is_some_and(|rest| rest.starts_with(name));
    let is_transport = first.len() > 3 * TRANSPORT_PACKET_BYTES
        && first.iter().step_by(TRANSPORT_PACKET_BYTES).take(4).all(|&byte| byte == b'G');
    if is_transport {
        return Some("an MPEG transport stream");
    }
    KINDS.iter().find(begins).map(|&(.., kind)| kind).or_else(|| text(first))
}

/// What sort of text it is, if it is one.
fn text(first: &[u8]) -> Option<&'static str> {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        // Cut inside of a letter.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&first[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_ascii_lowercase();
    if text.is_empty() || text.contains(|letter: char| letter.is_control() && !letter.is_ascii_whitespace()) {
        return None;
    }
    let is_html = ["<!doctype html", "<html", "<head", "<body"].iter().any(|name| text.starts_with(name));
    Some(match text.as_bytes() {
        _ if is_html => "an HTML page",
        [b'{' | b'[', ..] => "JSON, or other text",
        _ => "text",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_audio_have_names() {
        let at = |at, name: &[u8]| [&vec![7; at], name, &[7; 200]].concat();
        for (bytes, name) in [
            (b"\n <!DOCTYPE html><title>Log in</title>".to_vec(), "an HTML page"),
            (b"{\"error\":\"no such stream\"}".to_vec(), "JSON, or other text"),
            ("na\u{ef}ve".as_bytes().to_vec(), "text"),
            (at(257, b"ustar"), "a tar archive"),
            (at(1_080, b"M.K."), "a tracker module"),
            (at(0, b"RIFX\0\0\0\0WAVE"), "big-endian WAV"),
            ([&b"G\x40\0\x10"[..], &[7; 184]].concat().repeat(5), "an MPEG transport stream"),
        ] {
            assert_eq!(kind(&bytes), Some(name));
        }
        assert_eq!((kind(b""), kind(&[0xff, 0x12, 0x80, 1])), (None, None));
        // A letter that is cut off is no reason to call it something else.
        assert_eq!(kind(&"na\u{ef}".as_bytes()[..3]), Some("text"));
    }
}
