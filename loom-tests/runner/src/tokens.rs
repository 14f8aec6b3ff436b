//! Just enough of Rust's lexical grammar to find a piece of code whatever its line breaks and comments.
//!
//! A mutant table that named its code by exact text would go stale at every reformatting, and could match a comment.
//! Tokens do neither, and let an anchor such as `fn read` be followed to its closing brace.

use std::ops::Range;

/// Where a token lies in the source, in bytes.
pub type Span = Range<usize>;

/// Splits `source` into tokens; white space and comments are between tokens. Punctuation is one character a token.
pub fn tokens(source: &str) -> Vec<Span> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        let len = if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if rest.starts_with("/*") {
            at += block_comment(rest);
            continue;
        } else if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        } else if let Some(len) = raw_string(rest) {
            len
        } else if rest.starts_with('"') {
            quoted(rest, b'"')
        } else if rest.starts_with("b\"") || rest.starts_with("c\"") {
            1 + quoted(&rest[1..], b'"')
        } else if rest.starts_with("b'") {
            1 + quoted(&rest[1..], b'\'')
        } else if rest.starts_with('\'') {
            char_or_lifetime(rest)
        } else {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if word > 0 { word } else { rest.chars().next().map_or(1, char::len_utf8) }
        };
        found.push(at..at + len);
        at += len;
    }
    found
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of the literal that `rest` opens with, its quotes included.
fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inside.find(&close)? + close.len();
    Some(rest.len() - inside.len() + end)
}

fn char_or_lifetime(rest: &str) -> usize {
    let mut chars = rest[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(rest, b'\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => {
            let name = &rest[1..];
            1 + name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tokens;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).into_iter().map(|span| &source[span]).collect()
    }

    #[test]
    fn comments_and_layout_do_not_matter() {
        assert_eq!(texts("a . b(\n  c, // d }\n  e /* f /* g */ } */ )"), texts("a.b(c,e)"));
    }

    #[test]
    fn quotes_hide_braces_and_lifetimes_are_not_quotes() {
        assert_eq!(
            texts(r##"f::<'a>("}\"", '}', '\'', b'{', r#"""#)"##),
            [
                "f",
                ":",
                ":",
                "<",
                "'a",
                ">",
                "(",
                r#""}\"""#,
                ",",
                "'}'",
                ",",
                r"'\''",
                ",",
                "b'{'",
                ",",
                r##"r#"""#"##,
                ")"
            ]
        );
    }
}
