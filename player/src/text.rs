//! What others wrote, for people to read on a terminal.

use std::fmt;
use std::str::Utf8Chunk;

use encoding_rs::WINDOWS_1252;

/// Text in UTF-8 or, failing that, in Windows-1252, which is Latin-1 and what many programs send in its place.
///
/// Of UTF-8, characters that were cut are left out: programs cut titles at a number of bytes.
pub(crate) fn decode(bytes: &[u8]) -> String {
    if let Ok(text) = str::from_utf8(bytes) {
        return text.to_owned();
    }
    if is_cut_utf8(bytes) {
        return bytes.utf8_chunks().map(|chunk| chunk.valid()).collect();
    }
    WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned()
}

/// Whether bytes that are not UTF-8 are so only because characters in it were cut.
///
/// Two bytes or more that make a character are hardly ever letters of Windows-1252 side by side. A single one is a letter
/// at the end of many words; only a capital behind a small letter is not.
fn is_cut_utf8(bytes: &[u8]) -> bool {
    let is_character = |chunk: &Utf8Chunk<'_>| !chunk.valid().is_ascii() || chunk.invalid().len() > 1;
    let is_capital = |byte: u8| matches!(byte, 0xc2..=0xd6 | 0xd8..=0xde);
    let ends_in_capital = matches!(bytes, [.., before, last] if before.is_ascii_lowercase() && is_capital(*last));
    let is_at_the_end = || bytes[..bytes.len() - 1].is_ascii();
    bytes.utf8_chunks().any(|chunk| is_character(&chunk)) || ends_in_capital && is_at_the_end()
}

/// Whether these bytes, the beginning of something, may be text: nothing in them steers anything but a line's end.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    const MPEG_SYNC: u8 = 0xff;
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    // A bell, the end of a file of DOS, and what begins the letters of other charsets.
    const ODD: [u8; 3] = [0x07, 0x1a, 0x1b];
    let is_of_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace() || ODD.contains(byte);
    is_utf16 && !bytes.windows(3).any(|three| three == [0; 3])
        || bytes.first() != Some(&MPEG_SYNC) && !bytes.starts_with(b"ID3") && bytes.iter().all(is_of_text)
}

/// Without what could move the cursor or turn the text of a terminal around, and without space at the ends.
pub(crate) fn printable(text: &str) -> String {
    let is_bidi_control =
        |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let kept: String = text.chars().filter(|&c| !c.is_control() && !is_bidi_control(c)).collect();
    kept.trim().to_owned()
}

/// Text in which the entities of web pages (`&amp;`, `&eacute;`, `&#8217;`) are characters, as in [`printable`]. What is
/// no entity stays as it is.
pub(crate) fn without_entities(text: &str) -> String {
    const LONGEST: usize = 8;
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        read.push_str(before);
        let name = behind.split_once(';').filter(|(name, _)| name.len() <= LONGEST);
        match name.and_then(|(name, after)| entity(name).zip(Some(after))) {
            Some((character, after)) => {
                read.push(character);
                rest = after;
            }
            None => {
                read.push('&');
                rest = behind;
            }
        }
    }
    read.push_str(rest);
    printable(&read)
}

/// The character that stands between `&` and `;`.
fn entity(name: &str) -> Option<char> {
    /// From U+00A0 on.
    const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn \
        sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde \
        Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde \
        Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil \
        egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash \
        ugrave uacute ucirc uuml yacute thorn yuml";
    const OTHERS: [(&str, char); 14] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("ndash", '\u{2013}'),
        ("mdash", '\u{2014}'),
        ("lsquo", '\u{2018}'),
        ("rsquo", '\u{2019}'),
        ("ldquo", '\u{201c}'),
        ("rdquo", '\u{201d}'),
        ("bull", '\u{2022}'),
        ("hellip", '\u{2026}'),
        ("euro", '\u{20ac}'),
    ];
    let Some(number) = name.strip_prefix('#') else {
        let other = OTHERS.iter().find(|(other, _)| *other == name).map(|&(_, character)| character);
        return other.or_else(|| ('\u{a0}'..).zip(LATIN.split(' ')).find(|(_, latin)| *latin == name).map(|(c, _)| c));
    };
    if !number.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    match u8::try_from(number) {
        // Meant as Windows-1252, as in web pages.
        Ok(byte @ 0x80..=0x9f) => WINDOWS_1252.decode_without_bom_handling(&[byte]).0.chars().next(),
        _ => char::from_u32(number),
    }
    .filter(|&character| character != '\0')
}

/// A path, for people.
pub(crate) fn printable_path(path: &std::path::Path) -> String {
    printable(&path.to_string_lossy())
}

/// A message for people, wherever it comes from: without the system's numbers ("os error 28"), and without what could
/// steer a terminal. Whatever this program says goes through here.
#[must_use]
pub fn for_people(message: &(impl fmt::Display + ?Sized)) -> String {
    const NUMBER: &str = " (os error ";
    let message = message.to_string();
    let mut kept = String::with_capacity(message.len());
    let mut rest = &*message;
    while let Some((before, behind)) = rest.split_once(NUMBER) {
        kept.push_str(before);
        let is_number = |text: &&str| text.strip_prefix('-').unwrap_or(text).parse::<u32>().is_ok();
        let after = behind.split_once(')').filter(|(number, _)| is_number(number)).map(|(_, after)| after);
        if after.is_none() {
            kept.push_str(NUMBER);
        }
        rest = after.unwrap_or(behind);
    }
    kept.push_str(rest);
    printable(&kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_read_in_the_charset_it_is_in() {
        for (bytes, text) in [
            (&b"plain"[..], "plain"),
            ("Bj\u{f6}rk \u{2013} J\u{f3}ga".as_bytes(), "Bj\u{f6}rk \u{2013} J\u{f3}ga"),
            (b"Bj\xf6rk", "Bj\u{f6}rk"),
            (b"Caf\xe9", "Caf\u{e9}"),
            (b"Spa\xdf", "Spa\u{df}"),
            (b"IRM\xc3", "IRM\u{c3}"),
            (b"\xd6l", "\u{d6}l"),
            (b"Don\x92t \x96 \x93Stop\x94 \x80", "Don\u{2019}t \u{2013} \u{201c}Stop\u{201d} \u{20ac}"),
            (b"\x85", "\u{2026}"),
        ] {
            assert_eq!(decode(bytes), text, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_character_that_is_cut_is_left_out() {
        for (bytes, text) in [
            (&b"Bj\xc3\xb6rk - J\xc3"[..], "Bj\u{f6}rk - J"),
            (b"Bj\xc3", "Bj"),
            (b"Don\xe2\x80", "Don"),
            (b"Don\xe2\x80\x99t \xe2", "Don\u{2019}t "),
            (b"\xf0\x9f\x8e", ""),
            (b"\xc3\xb6 cut\xc3 - \xc3\xa4", "\u{f6} cut - \u{e4}"),
        ] {
            assert_eq!(decode(bytes), text, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn entities_are_characters() {
        for (sent, text) in [
            ("Tom &amp; Jerry", "Tom & Jerry"),
            ("L&#8217;&eacute;t&eacute; &#x27;90 &#X27; &lt;3", "L\u{2019}\u{e9}t\u{e9} '90 ' <3"),
            ("&Uuml;ber &yuml;&iexcl; &#150; &euro;", "\u{dc}ber \u{ff}\u{a1} \u{2013} \u{20ac}"),
            ("&amp;amp;", "&amp;"),
            (
                "R&B; AT&T &; && &unknown; &#; &#x; &#+5; &#0; &#99999999; &#xd800; &amp",
                "R&B; AT&T &; && &unknown; &#; &#x; &#+5; &#0; &#99999999; &#xd800; &amp",
            ),
            ("a&#27;[2J&#x202e;b&#10;", "a[2Jb"),
        ] {
            assert_eq!(without_entities(sent), text, "{sent}");
        }
    }

    #[test]
    fn the_numbers_of_the_system_are_left_out() {
        let reason = std::io::Error::from_raw_os_error(2);
        let words = for_people(&reason);
        assert!(!words.is_empty() && !words.contains("os error"), "{words}");
        assert_eq!(
            for_people(&format!("cannot open a: {reason}; cannot open b: {reason}.")),
            format!("cannot open a: {words}; cannot open b: {words}.")
        );
        for kept in ["", "song (os error ).mp3", "song (os error x).mp3", "(os error 2)"] {
            assert_eq!(for_people(kept), kept);
        }
        assert_eq!(for_people("a\u{1b}[2J (os error -5) b\n"), "a[2J b");
    }

    #[test]
    fn audio_is_no_text() {
        for text in [
            &b""[..],
            b"http://a.example/\r\n",
            b"\t<html>\x0c",
            b"\x1b]0;gone\x07.wav\x1a",
            "\u{feff}\u{f6}".as_bytes(),
            b"\xff\xfe#\0",
        ] {
            assert!(is_text(text), "{}", text.escape_ascii());
        }
        for audio in [&b"\xff\xfb\x90"[..], b"\xff\xfa", b"ID3", b"OggS\0", b"fLaC\0", b"RIFF\x04\0", b"\xff\xfe\0\0\0"]
        {
            assert!(!is_text(audio), "{}", audio.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn utf8_that_is_cut_anywhere_loses_the_cut_character_only(text in "[a-z]{1,5}[\u{a1}-\u{3000}]{2}[a-z]{0,3}", cut in 3usize..12) {
            let bytes = &text.as_bytes()[..cut.min(text.len())];
            let whole: String = bytes.utf8_chunks().map(|chunk| chunk.valid()).collect();
            if !whole.is_ascii() {
                prop_assert_eq!(decode(bytes), whole);
            }
        }
    }
}
