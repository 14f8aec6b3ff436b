//! Bytes that say where in the stream they belong: a word for each multiple of eight.

pub const WORD: usize = 8;

fn word(offset: u64) -> [u8; WORD] {
    // The odd constant spreads neighbours over all bits; a lap of any capacity gives another word.
    (offset / WORD as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

/// The words from `offset` on, which is a multiple of eight.
pub fn write(offset: u64, out: &mut [u8]) {
    for (at, bytes) in (offset..).step_by(WORD).zip(out.chunks_exact_mut(WORD)) {
        bytes.copy_from_slice(&word(at));
    }
}

/// Whether these are the bytes from `offset` on, wherever that is.
pub fn holds(offset: u64, bytes: &[u8]) -> bool {
    let skip = (offset % WORD as u64) as usize;
    let (head, words) = bytes.split_at(bytes.len().min((WORD - skip) % WORD));
    let after = offset + head.len() as u64;
    let mut words = words.chunks_exact(WORD);
    word(offset)[skip..].starts_with(head)
        && (after..).step_by(WORD).zip(&mut words).all(|(at, bytes)| bytes == word(at))
        && word(after + (bytes.len() - head.len()) as u64).starts_with(words.remainder())
}
