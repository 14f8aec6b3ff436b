//! What others wrote, for people to read on a terminal.

/// Text in UTF-8 or, failing that, in Latin-1, where every byte is the code point of its character.
pub(crate) fn decode(bytes: &[u8]) -> String {
    str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned)
}

/// Without what could move the cursor or turn the text of a terminal around, and without space at the ends.
pub(crate) fn printable(text: &str) -> String {
    let is_bidi_control =
        |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let kept: String = text.chars().filter(|&c| !c.is_control() && !is_bidi_control(c)).collect();
    kept.trim().to_owned()
}

/// A path, for people.
pub(crate) fn printable_path(path: &std::path::Path) -> String {
    printable(&path.to_string_lossy())
}

/// The system's words without Rust's "(os error 1)".
pub(crate) fn without_code(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
